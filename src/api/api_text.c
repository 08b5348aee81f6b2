/* SPDX-License-Identifier: MIT
 *
 * api_text.c: tokens and chat templates of smelt.h.
 */
#include "api/api_int.h"

#include <jansson.h>

#include "text/template.h"

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

/* What templates expect: messages, add_generation_prompt, the spelling of the special tokens. */
static json_t *chat_context(const sm_tokenizer *t, const smelt_message *messages, size_t n) {
    sm_sv bos = sm_tokenizer_text(t, sm_tokenizer_bos(t)), eos = sm_tokenizer_text(t, sm_tokenizer_eos(t));
    json_t *list = json_array(), *c = json_object();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_pack("{s:s, s:s}", "role", messages[i].role, "content", messages[i].content));
    int bad = json_array_size(list) != n;
    bad |= json_object_set_new(c, "messages", list);
    bad |= json_object_set_new(c, "add_generation_prompt", json_true());
    bad |= json_object_set_new(c, "bos_token", json_stringn(bos.n ? bos.p : "", bos.n));
    bad |= json_object_set_new(c, "eos_token", json_stringn(eos.n ? eos.p : "", eos.n));
    if (!bad)
        return c;
    json_decref(c);
    return NULL;
}

smelt_status smelt_chat_prompt(const smelt_model *m, const smelt_message *messages, size_t n, char **text,
                               size_t *n_text, smelt_error *err) {
    sm_err e = {0};
    sm_str out = SM_STR_INIT;
    sm_template *t = NULL;
    json_t *context = NULL;
    sm_status st;
    *text = NULL;
    SM_TRY_DONE(sm_loaded_tokenizer(m->l, m->path, &e));
    sm_sv source = sm_tokenizer_chat_template(m->l->tok, NULL);
    if (source.n == 0) {
        st = SM_FAIL(&e, SM_UNSUPPORTED, "%s: the model has no chat template", m->path);
        goto done;
    }
    SM_TRY_DONE(sm_template_parse(source, &t, &e));
    context = chat_context(m->l->tok, messages, n);
    if (!context) {
        st = SM_FAIL(&e, SM_BADINPUT, "the messages are not UTF-8, or memory ran out");
        goto done;
    }
    SM_TRY_DONE(sm_template_render(t, context, &out, &e));
    st = api_hand_over(&out, text, n_text, &e);
done:
    json_decref(context);
    sm_template_free(&t);
    sm_str_free(&out);
    return GIVE(st, &e, err);
}
