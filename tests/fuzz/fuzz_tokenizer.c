/* SPDX-License-Identifier: MIT
 *
 * fuzz_tokenizer.c: any text through small tokenizers, and small vocabularies that the bytes bend.
 *
 *     byte 0   which tokenizer (every kind of pre-tokenizer has its turn, and every other kind), and the encode flags
 *     byte 1   how many of the bytes after it change types, scores and ids of the vocabulary
 *     rest     the text
 *
 * Checked: text that is valid is encoded, to ids that exist; without special tokens of SentencePiece it comes back.
 */
#include <stdlib.h>

#include "../unit/small_vocab.h"
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static const char *const pres[] = {
    NULL,       "gpt-2",        "smollm",         "default",
    "falcon",   "llama-bpe",    "minicpm5",       "qwen2",
    "laguna",   "ufakzeka",     "qwen35",         "bailingmoe",
    "tekken",   "gpt-4o",       "tiny_aya",       "youtu",
    "kimi-k2",  "deepseek-llm", "deepseek-coder", "deepseek-v3",
    "spark2_5", "afmoe",        "bloom",          "viking",
    "superbpe", "chameleon",    "gemma4",         "sarvam-moe",
    "jais-2",   "seed-coder",   "exaone-moe",     "granite-embed-multi-97m",
};
static const char *const models[] = {"bert", "t5", "rwkv", "plamo2"};

static void bend(small_vocab *v, const uint8_t *p, size_t n) {
    for (size_t i = 0; i + 2 < n; i += 3) {
        size_t at = (p[i] | (size_t)(p[i + 1] & 1) << 8) % SM_ARRAY_LEN(v->tokens);
        if (p[i + 1] & 8) /* Unigram's map */
            v->map[(p[i] | (size_t)(p[i + 1] & 7) << 8) % sizeof v->map] ^= (char)p[i + 2];
        switch (p[i + 1] >> 1 & 3) {
        case 0:
            v->types[at] = p[i + 2] % 9;
            break;
        case 1:
            v->scores[at] = (float)(int8_t)p[i + 2];
            break;
        case 2:
            v->tokens[at] = v->tokens[p[i + 2]];
            break;
        default:
            v->tokens[at].n = SM_MIN(v->tokens[at].n, (size_t)p[i + 2] % 4);
        }
    }
}

/* mapped: a map of characters may turn out to be wrong while it is used. */
static void check(const sm_tokenizer *t, sm_sv text, bool mapped, unsigned flags, bool plain) {
    sm_ids ids = {0};
    sm_str back = SM_STR_INIT, stream = SM_STR_INIT;
    sm_detok *d;
    sm_err err = {0};
    sm_status st = sm_tokenizer_encode(t, text, flags, &ids, &err);
    if ((st == SM_OK) != (sm_utf8_valid(text.p, text.n) == text.n) && !(mapped && st == SM_BADINPUT))
        abort();
    if (st == SM_OK && sm_tokenizer_decode(t, ids.v, ids.n, SM_DEC_SPECIAL, &back, &err) != SM_OK)
        abort();
    if (sm_detok_new(t, SM_DEC_SPECIAL, &d, &err) != SM_OK)
        abort();
    for (size_t i = 0; i < ids.n; i++)
        if (sm_detok_push(d, ids.v[i], &stream, &err) != SM_OK)
            abort();
    sm_detok_finish(d, &stream, &err);
    if (sm_utf8_valid(stream.p, stream.n) != stream.n)
        abort();
    if (st == SM_OK && plain && (back.n != text.n || memcmp(back.p, text.p, text.n) != 0))
        abort();
    sm_detok_free(&d);
    sm_ids_free(&ids);
    sm_str_free(&back);
    sm_str_free(&stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    static small_vocab v;
    sm_tokenizer *t;
    sm_err err = {0};
    if (n < 2)
        return 0;
    size_t which = p[0] % (SM_ARRAY_LEN(pres) + SM_ARRAY_LEN(models));
    bool other = which >= SM_ARRAY_LEN(pres);
    const char *pre = other ? NULL : pres[which];
    size_t bent = SM_MIN((size_t)p[1], n - 2);
    sm_checkpoint *c = other ? small_checkpoint_of(&v, models[which - SM_ARRAY_LEN(pres)]) : small_checkpoint(&v, pre);
    bend(&v, p + 2, bent);
    if (c == NULL || sm_checkpoint_index(c, &err) != SM_OK)
        abort();
    sm_sv text = {(const char *)p + 2 + bent, n - 2 - bent};
    /* U+2581 comes back as a space, and a user-defined token puts one after itself */
    bool plain = pre == NULL && !other && bent < 3 && (p[0] & 0xc0) == 0 && text.n > 0 &&
                 memchr(text.p, '[', text.n) == NULL && memmem(text.p, text.n, "\xe2\x96\x81", 3) == NULL;
    if (sm_tokenizer_new(c, &t, &err) == SM_OK)
        check(t, text, which == SM_ARRAY_LEN(pres) + 1, p[0] >> 6 & (SM_ENC_BOS | SM_ENC_SPECIAL), plain);
    sm_tokenizer_free(&t);
    sm_checkpoint_free(&c);
    return 0;
}
