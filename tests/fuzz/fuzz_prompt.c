/* SPDX-License-Identifier: MIT
 *
 * fuzz_prompt.c: any text through fixed small vocabularies of every kind.
 *
 *     byte 0   which vocabulary, and the encode flags
 *     rest     the text
 *
 * Checked: text is encoded when it is UTF-8, otherwise the offset of the first wrong byte is named; ids exist; the same
 * text gives the same ids after another one; a stream gives the text of the whole in whole characters; where the kind
 * loses nothing the text comes back.
 */
#include <stdlib.h>

#include "../unit/small_vocab.h"
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

typedef struct vocabulary {
    const char *model, *pre; /* pre: of byte-level BPE */
    bool lossless;
    small_vocab v;
    sm_tokenizer *t;
} vocabulary;

static vocabulary vocabularies[] = {
    {.model = "llama"},
    {.model = "bert"},
    {.model = "t5"},
    {.model = "rwkv", .lossless = true},
    {.model = "plamo2"},
    {.pre = "gpt-2", .lossless = true},
    {.pre = "llama-bpe", .lossless = true},
    {.pre = "gpt-4o", .lossless = true},
    {.pre = "deepseek-v3", .lossless = true},
    {.pre = "tiny_aya", .lossless = true},
    {.pre = "gemma4"},
    {.pre = "whitespace"},
};

static const sm_tokenizer *tokenizer_of(vocabulary *x) {
    sm_err err = {0};
    if (x->t != NULL)
        return x->t;
    sm_checkpoint *c = x->pre != NULL || strcmp(x->model, "llama") == 0 ? small_checkpoint(&x->v, x->pre)
                                                                        : small_checkpoint_of(&x->v, x->model);
    if (c == NULL || sm_checkpoint_index(c, &err) != SM_OK || sm_tokenizer_new(c, &x->t, &err) != SM_OK)
        abort();
    return x->t;
}

static void demand(bool holds) {
    if (!holds)
        abort();
}

/* Bytes that are no character are U+FFFD each. */
static void mend(const sm_str *s, sm_str *out) {
    for (size_t i = 0; i < s->n;) {
        size_t good = sm_utf8_valid(s->p + i, s->n - i);
        sm_str_add(out, s->p + i, good);
        i += good;
        if (i < s->n) {
            sm_str_adds(out, "\xef\xbf\xbd");
            i++;
        }
    }
}

static bool same(const sm_str *a, const char *p, size_t n) {
    return a->n == n && (n == 0 || memcmp(a->p, p, n) == 0);
}

static void check_streams(const sm_tokenizer *t, const sm_ids *ids) {
    sm_err err = {0};
    for (unsigned flags = 0; flags < 4; flags++) {
        sm_str whole = SM_STR_INIT, mended = SM_STR_INIT, stream = SM_STR_INIT;
        sm_detok *d;
        demand(sm_tokenizer_decode(t, ids->v, ids->n, flags, &whole, &err) == SM_OK);
        demand(sm_detok_new(t, flags, &d, &err) == SM_OK);
        for (size_t i = 0; i < ids->n; i++) {
            demand(sm_detok_push(d, ids->v[i], &stream, &err) == SM_OK);
            demand(sm_utf8_valid(stream.p, stream.n) == stream.n);
        }
        demand(sm_detok_finish(d, &stream, &err) == SM_OK);
        mend(&whole, &mended);
        demand(same(&stream, mended.p, mended.n));
        sm_detok_free(&d);
        sm_str_free(&whole);
        sm_str_free(&mended);
        sm_str_free(&stream);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    sm_ids ids = {0}, again = {0};
    sm_str back = SM_STR_INIT;
    sm_err err = {0};
    char offset[40];
    if (n < 1)
        return 0;
    vocabulary *x = &vocabularies[p[0] % SM_ARRAY_LEN(vocabularies)];
    const sm_tokenizer *t = tokenizer_of(x);
    unsigned flags = p[0] >> 6 & (SM_ENC_BOS | SM_ENC_SPECIAL);
    sm_sv text = {(const char *)p + 1, n - 1};
    size_t valid = sm_utf8_valid(text.p, text.n);
    sm_status st = sm_tokenizer_encode(t, text, flags, &ids, &err);
    demand((st == SM_OK) == (valid == text.n));
    if (st != SM_OK) {
        snprintf(offset, sizeof offset, "offset %zu:", valid);
        demand(st == SM_BADINPUT && strstr(err.msg, offset) != NULL);
    } else {
        for (size_t i = 0; i < ids.n; i++)
            demand(ids.v[i] >= 0 && ids.v[i] < sm_tokenizer_count(t));
        demand(sm_tokenizer_encode(t, text, flags, &again, &err) == SM_OK && again.n == ids.n);
        demand(ids.n == 0 || memcmp(again.v, ids.v, ids.n * sizeof *ids.v) == 0);
        check_streams(t, &ids);
        demand(sm_tokenizer_decode(t, ids.v, ids.n, SM_DEC_SPECIAL, &back, &err) == SM_OK);
        demand(!x->lossless || (flags & SM_ENC_BOS) || same(&back, text.p, text.n));
    }
    sm_ids_free(&ids);
    sm_ids_free(&again);
    sm_str_free(&back);
    return 0;
}
