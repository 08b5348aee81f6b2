/* SPDX-License-Identifier: MIT
 *
 * turn.c: prompts from conversations, replies as they are made, and their times.
 */
#include "cli/turn.h"

#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/cli.h"

/* ------------------------------------------------------------------ the prompt */
sm_status turn_text(const smelt_model *m, const request_args *q, const smelt_message *v, size_t n, sm_str *out,
                    int *flags, sm_err *err) {
    *flags = q ? SMELT_CHAT : SMELT_BOS | SMELT_SPECIAL;
    if (q)
        return request_text(q, m, v, n, out, err);
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && strcmp(v[i].role, "assistant") != 0)
            sm_str_addc(out, '\n'); /* what follows a reply is a new line */
        sm_str_adds(out, v[i].content);
    }
    return sm_str_ok(out) ? SM_OK : SM_NOMEM(err);
}

sm_status turn_ids(const smelt_model *m, const request_args *q, const smelt_message *v, size_t n, int32_t **ids,
                   size_t *n_ids, sm_err *err) {
    sm_str text = SM_STR_INIT;
    smelt_error e;
    int flags;
    *ids = NULL;
    sm_status st = turn_text(m, q, v, n, &text, &flags, err);
    if (st == SM_OK && smelt_tokenize(m, sm_str_z(&text), text.n, flags, ids, n_ids, &e) != SMELT_OK)
        st = cli_fail(&e, err);
    sm_str_free(&text);
    return st;
}

/* ------------------------------------------------------------------ the reply */
static void json_token(sm_str *out, const smelt_token *t, bool with_top) {
    sm_str_addf(out, "{\"id\":%d,\"text\":", t->id);
    json_text(out, t->text, t->n_text);
    sm_str_adds(out, ",\"logprob\":");
    json_num(out, t->logprob, 9);
    if (with_top) {
        sm_str_adds(out, ",\"top\":");
        json_top(out, t->top, t->n_top);
    }
    sm_str_adds(out, "}\n");
}

static sm_status stream(turn *r, smelt_session *s, bool shown, sm_str *out, sm_err *err) {
    smelt_error e;
    smelt_token t = {.finish = SMELT_GOING};
    while (t.finish == SMELT_GOING) {
        CLI_TRY(smelt_session_next(s, &t, &e), &e, err);
        if (r->made++ == 0)
            r->first_us = sm_now_us();
        if (r->json)
            json_token(out, &t, r->top);
        else if (shown)
            sm_str_add_shown(out, t.text, t.n_text);
        else
            sm_str_add(out, t.text, t.n_text);
        if (r->keep)
            sm_str_add(r->keep, t.text, t.n_text);
        SM_TRY(cli_print(out, err));
        sm_mem_sample();
        if (sm_cancelled() && t.finish == SMELT_GOING)
            return SM_FAIL(err, SM_CANCELLED, "stopped");
    }
    r->finish = t.finish;
    return r->keep && !sm_str_ok(r->keep) ? SM_NOMEM(err) : SM_OK;
}

sm_status turn_run(turn *t, smelt_session *s, const int32_t *ids, size_t n, sm_err *err) {
    sm_str out = SM_STR_INIT;
    smelt_error e;
    sm_status st = SM_OK;
    t->n_prompt = n;
    t->start_us = t->first_us = sm_now_us();
    if (smelt_session_sync(s, ids, n, &t->reused, &e) != SMELT_OK)
        st = cli_fail(&e, err);
    else if (!t->silent)
        st = stream(t, s, isatty(STDOUT_FILENO), &out, err);
    t->end_us = sm_now_us();
    if (t->made > 0 && !t->json && (st == SM_OK || st == SM_CANCELLED)) {
        sm_str_clear(&out);
        sm_str_addc(&out, '\n');
        sm_status printed = cli_print(&out, st == SM_OK ? err : NULL);
        st = st == SM_OK ? printed : st;
    }
    sm_str_free(&out);
    return st;
}

/* ------------------------------------------------------------------ figures */
static double per_second(double n, int64_t us) {
    return us > 0 ? n * 1e6 / (double)us : 0.0;
}

double turn_prompt_tps(const turn *t) {
    return per_second((double)(t->n_prompt - t->reused), (t->made ? t->first_us : t->end_us) - t->start_us);
}

double turn_gen_tps(const turn *t) {
    return per_second(SM_MAX(t->made - 1, 0), t->end_us - (t->made ? t->first_us : t->end_us));
}

const char *turn_finish(const turn *t) {
    return t->finish == SMELT_STOP ? "stop" : t->finish == SMELT_LENGTH || t->silent ? "length" : "stopped";
}
