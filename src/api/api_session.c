/* SPDX-License-Identifier: MIT
 *
 * api_session.c: sessions of smelt.h over the engine.
 */
#include "api/api_int.h"

#include <sodium.h>

#include "engine/engine.h"
#include "engine/reply.h"
#include "engine/sampler.h"

struct smelt_session {
    smelt_model *m;
    smelt_session_options o;
    uint64_t seed;
    sm_engine *e;
    sm_seq *seq;
    sm_sampler *sampler;
    sm_reply *reply;
    sm_ids history;   /* all tokens, computed and not */
    bool have_logits; /* of the last token */
    int32_t made;     /* tokens chosen */
    sm_str text;      /* of the last token */
    sm_logprob *top;
};
_Static_assert(sizeof(smelt_logprob) == sizeof(sm_logprob), "one layout");

static void set_sampling(const smelt_session *s, sm_sampling *p) {
    const smelt_session_options *o = &s->o;
    *p = (sm_sampling)SM_SAMPLING_DEFAULT;
    if (o->temp > 0.0 || o->temp < 0.0)
        p->temp = o->temp;
    if (o->greedy)
        p->temp = 0.0;
    if (o->top_k)
        p->top_k = o->top_k < 0 ? 0 : o->top_k;
    if (o->top_p > 0.0 || o->top_p < 0.0)
        p->top_p = o->top_p;
    p->min_p = o->min_p;
    if (o->repeat_penalty > 0.0 || o->repeat_penalty < 0.0)
        p->repeat_penalty = o->repeat_penalty;
    p->seed = s->seed;
}

enum { CTX_USUAL = 4096 };

static sm_status open_session(smelt_session *s, sm_err *e) {
    const sm_loaded *l = s->m->l;
    sm_engine_opts eo = {.backend = s->o.backend, .n_threads = s->o.threads};
    sm_sampling p;
    SM_TRY(sm_loaded_runnable(l, s->m->path, e));
    SM_TRY(sm_loaded_ctx(l, s->o.context, CTX_USUAL, 1, &eo.ctx, e));
    s->seed = s->o.seed;
    if (!s->o.seeded)
        s->seed = (uint64_t)randombytes_random(); /* 32 bits: short enough to type again */
    set_sampling(s, &p);
    SM_TRY(sm_sampling_check(&p, e));
    SM_TRY(sm_engine_new(l->func, &eo, &s->e, e));
    SM_TRY(sm_seq_new(s->e, &s->seq, e));
    SM_TRY(sm_sampler_new(&p, sm_engine_vocab(s->e), &s->sampler, e));
    if (l->tok)
        SM_TRY(sm_reply_new(l->tok, s->o.stop, s->o.n_stop, &s->reply, e));
    s->top = sm_alloc_n((size_t)SM_MAX(s->o.logprobs, 0) + 1, sizeof *s->top);
    return s->top ? SM_OK : SM_NOMEM(e);
}

smelt_status smelt_session_new(smelt_model *m, const smelt_session_options *options, smelt_session **out,
                               smelt_error *err) {
    sm_err e = {0};
    sm_status st;
    *out = NULL;
    smelt_session *s = sm_alloc(sizeof *s);
    if (!s)
        return GIVE(SM_NOMEM(&e), &e, err);
    TAKE_OPTIONS(s->o, options);
    s->m = m;
    st = open_session(s, &e);
    if (st != SM_OK)
        smelt_session_free(&s);
    *out = s;
    return GIVE(st, &e, err);
}

void smelt_session_free(smelt_session **ps) {
    smelt_session *s = *ps;
    if (!s)
        return;
    sm_reply_free(&s->reply);
    sm_sampler_free(&s->sampler);
    sm_seq_free(&s->seq);
    sm_engine_free(&s->e);
    sm_ids_free(&s->history);
    sm_str_free(&s->text);
    sm_free(s->top);
    sm_free(s);
    *ps = NULL;
}

void smelt_session_get_info(const smelt_session *s, smelt_session_info *out) {
    sm_exe_info x;
    sm_engine_info(s->e, &x);
    *out = (smelt_session_info){
        .backend = sm_engine_backend(s->e)->name,
        .threads = x.n_threads,
        .context = sm_engine_ctx(s->e),
        .length = (int32_t)s->history.n,
        .seed = s->seed,
        .weight_bytes = x.weight_bytes,
        .kv_bytes = x.kv_bytes,
    };
    memcpy(out->isa, x.isa, sizeof out->isa);
}

static sm_status add_history(smelt_session *s, const int32_t *ids, size_t n, sm_err *e) {
    for (size_t i = 0; i < n; i++) {
        if (!SM_GROW(&s->history))
            return SM_NOMEM(e);
        s->history.v[s->history.n++] = ids[i];
    }
    return SM_OK;
}

/* Computes what the engine has not seen yet. */
static sm_status catch_up(smelt_session *s, sm_err *e) {
    int32_t len = sm_seq_len(s->seq);
    if (s->have_logits && (size_t)len == s->history.n)
        return SM_OK;
    if (s->history.n > INT32_MAX)
        return SM_FAIL(e, SM_RESOURCE, "context length exceeded: wanted %zu positions, there are %d", s->history.n,
                       sm_engine_ctx(s->e));
    s->have_logits = false;
    SM_TRY(sm_engine_feed(s->e, s->seq, s->history.v + len, (int32_t)s->history.n - len, SM_WANT_LAST, NULL, NULL, e));
    s->have_logits = true;
    return SM_OK;
}

smelt_status smelt_session_prompt(smelt_session *s, const int32_t *ids, size_t n, smelt_error *err) {
    sm_err e = {0};
    size_t before = s->history.n;
    sm_status st = n > 0 ? add_history(s, ids, n, &e) : SM_OK;
    if (st == SM_OK && s->history.n == 0)
        st = SM_FAIL(&e, SM_BADINPUT, "the prompt is empty: wanted at least one token");
    if (st == SM_OK)
        st = catch_up(s, &e);
    if (st != SM_OK && st != SM_CANCELLED)
        s->history.n = SM_MAX(before, (size_t)sm_seq_len(s->seq));
    return GIVE(st, &e, err);
}

smelt_status smelt_session_logits(smelt_session *s, const float **logits, int32_t *vocab, smelt_error *err) {
    sm_err e = {0};
    sm_status st = s->history.n ? catch_up(s, &e) : SM_FAIL(&e, SM_USAGE, "there are no logits before the first token");
    *logits = st == SM_OK ? sm_engine_logits(s->e, 0) : NULL;
    *vocab = sm_engine_vocab(s->e);
    return GIVE(st, &e, err);
}

/* Text of the token just chosen, and whether the reply is over. */
static sm_status finish_token(smelt_session *s, smelt_token *t, sm_err *e) {
    const sm_tokenizer *tok = s->m->l->tok;
    bool stopped = false;
    sm_str_clear(&s->text);
    if (tok && sm_tokenizer_is_end(tok, t->id) && !s->o.ignore_eos)
        t->finish = SMELT_STOP;
    else if (s->reply)
        SM_TRY(sm_reply_push(s->reply, t->id, &s->text, &stopped, e));
    if (stopped)
        t->finish = SMELT_STOP;
    else if (t->finish == SMELT_GOING &&
             ((s->o.max_tokens > 0 && s->made >= s->o.max_tokens) || (int64_t)s->history.n >= sm_engine_ctx(s->e)))
        t->finish = SMELT_LENGTH;
    if (t->finish != SMELT_GOING && !stopped && s->reply)
        SM_TRY(sm_reply_finish(s->reply, &s->text, e));
    t->text = sm_str_z(&s->text);
    t->n_text = s->text.n;
    return SM_OK;
}

smelt_status smelt_session_next(smelt_session *s, smelt_token *out, smelt_error *err) {
    sm_err e = {0};
    memset(out, 0, sizeof *out);
    out->id = -1;
    out->text = "";
    sm_status st = s->history.n ? catch_up(s, &e) : SM_FAIL(&e, SM_USAGE, "a reply needs a prompt first");
    if (st != SM_OK)
        return GIVE(st, &e, err);
    const float *logits = sm_engine_logits(s->e, 0);
    int32_t vocab = sm_engine_vocab(s->e);
    out->id = sm_sampler_pick(s->sampler, logits, s->history.v, s->history.n);
    if (s->o.logprobs >= 0) {
        double lse = sm_log_sum_exp(logits, vocab);
        out->logprob = (float)(logits[out->id] - lse);
        out->n_top = s->o.logprobs > 0 ? sm_top_logprobs(logits, vocab, lse, s->o.logprobs, s->top) : 0;
        out->top = (const smelt_logprob *)s->top;
    }
    st = add_history(s, &out->id, 1, &e);
    s->made++;
    if (st == SM_OK)
        st = finish_token(s, out, &e);
    return GIVE(st, &e, err);
}
