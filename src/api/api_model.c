/* SPDX-License-Identifier: MIT
 *
 * api_model.c: errors, models and what belongs to no noun of smelt.h.
 */
#include "api/api_int.h"

#include <stdio.h>

#include "base/log.h"

_Static_assert((int)SMELT_CANCELLED == (int)SM_CANCELLED, "statuses are one list");

smelt_status api_give(smelt_status code, const sm_err *e, smelt_error *out) {
    if (out) {
        memset(out, 0, sizeof *out);
        out->code = code;
        if (code != SMELT_OK) {
            snprintf(out->message, sizeof out->message, "%s", e->msg);
            snprintf(out->hint, sizeof out->hint, "%s", e->hint);
            sm_trace(SM_T_RUN, 1, "failed at %s:%d", e->file ? e->file : "?", e->line);
        }
    }
    return code;
}

sm_status api_hand_over(sm_str *s, char **text, size_t *n, sm_err *e) {
    sm_str_add(s, "", 0);
    if (!s->p && !s->failed)
        sm_str_addc(s, '\0'), s->n = 0;
    if (!sm_str_ok(s))
        return SM_NOMEM(e);
    *text = s->p;
    *n = s->n;
    *s = (sm_str)SM_STR_INIT;
    return SM_OK;
}

const char *smelt_version(void) {
    return SMELT_VERSION;
}

int smelt_exit_code(smelt_status s) {
    return sm_exit_code((sm_status)s);
}

void smelt_free(void *p) {
    sm_free(p);
}

void smelt_cancel(bool on) {
    sm_cancel_set(on);
}

/* ------------------------------------------------------------------ models */
smelt_status smelt_model_open(const char *path, const smelt_model_options *options, smelt_model **out,
                              smelt_error *err) {
    smelt_model_options o;
    sm_err e = {0};
    sm_status st;
    TAKE_OPTIONS(o, options);
    *out = NULL;
    smelt_model *m = sm_alloc(sizeof *m);
    if (m)
        m->path = sm_alloc(strlen(path) + 1);
    if (!m || !m->path) {
        sm_free(m);
        return GIVE(SM_NOMEM(&e), &e, err);
    }
    strcpy(m->path, path);
    sm_load_opts lo = {.tokenizer = o.tokenizer, .text_only = o.text_only};
    st = sm_load(path, &lo, &m->l, &e);
    if (st != SM_OK)
        smelt_model_free(&m);
    *out = m;
    return GIVE(st, &e, err);
}

void smelt_model_free(smelt_model **pm) {
    smelt_model *m = *pm;
    if (!m)
        return;
    sm_loaded_free(&m->l);
    sm_free(m->path);
    sm_free(m);
    *pm = NULL;
}

void smelt_model_get_info(const smelt_model *m, smelt_model_info *out) {
    const sm_loaded *l = m->l;
    *out = (smelt_model_info){
        .format = l->format,
        .name = l->name,
        .architecture = l->info.architecture,
        .layers = l->info.n_layers,
        .vocab = l->info.vocab,
        .trained_context = l->info.trained_ctx,
        .package_context = l->pkg_ctx,
        .parameters = l->info.n_params,
        .file_bytes = l->file_bytes,
        .has_tokenizer = l->tok != NULL,
        .has_chat_template = l->tok && sm_tokenizer_chat_template(l->tok, NULL).n > 0,
        .adds_bos = l->tok && sm_tokenizer_adds_bos(l->tok),
        .temp = l->gen.temp,
        .top_p = l->gen.top_p,
        .min_p = l->gen.min_p,
        .top_k = l->gen.top_k,
    };
}
