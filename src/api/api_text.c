/* SPDX-License-Identifier: MIT
 *
 * api_text.c: tokens of smelt.h.
 */
#include "api/api_int.h"

smelt_status smelt_tokenize(const smelt_model *m, const char *text, size_t n_text, int flags, int32_t **ids, size_t *n,
                            smelt_error *err) {
    sm_err e = {0};
    sm_ids list = {0};
    *ids = NULL;
    *n = 0;
    sm_status st = sm_loaded_tokenizer(m->l, m->path, &e);
    unsigned f = (flags & SMELT_BOS ? SM_ENC_BOS : 0u) | (flags & (SMELT_SPECIAL | SMELT_CHAT) ? SM_ENC_SPECIAL : 0u);
    if (st == SM_OK && flags & SMELT_CHAT) {
        /* A template may write the beginning itself: look before adding one. */
        const sm_tokenizer *t = m->l->tok;
        sm_sv bos = sm_tokenizer_text(t, sm_tokenizer_bos(t));
        bool there = bos.n > 0 && n_text >= bos.n && memcmp(text, bos.p, bos.n) == 0;
        f = there ? f & ~(unsigned)SM_ENC_BOS : f | SM_ENC_BOS;
    }
    if (st == SM_OK)
        st = sm_tokenizer_encode(m->l->tok, (sm_sv){text, n_text}, f, &list, &e);
    if (st != SM_OK) {
        sm_ids_free(&list);
        return GIVE(st, &e, err);
    }
    *ids = list.v;
    *n = list.n;
    return GIVE(SM_OK, &e, err);
}

smelt_status smelt_detokenize(const smelt_model *m, const int32_t *ids, size_t n, char **text, size_t *n_text,
                              smelt_error *err) {
    sm_err e = {0};
    sm_str s = SM_STR_INIT;
    *text = NULL;
    sm_status st = sm_loaded_tokenizer(m->l, m->path, &e);
    if (st == SM_OK)
        st = sm_tokenizer_decode(m->l->tok, ids, n, SM_DEC_SPECIAL, &s, &e);
    if (st == SM_OK)
        st = api_hand_over(&s, text, n_text, &e);
    sm_str_free(&s);
    return GIVE(st, &e, err);
}
