/* SPDX-License-Identifier: MIT
 *
 * small_vocab.h: checkpoints that hold nothing but a small vocabulary, for tests and fuzzing of tokenizers.
 *
 *     ids    SentencePiece                        byte-level BPE
 *     0-2    <unk> <s> </s>                       <|endoftext|> <|im_start|> <|im_end|>
 *     3      <end_of_turn> (control)              <|eot_id|> (control)
 *     4, 5   [user] [user]x (user-defined)        the same
 *     6-261  the bytes: <0x00> ..                 the bytes, printable
 *     262-   U+2581 a b c ab abc U+2581+a e-acute  ab abc Ga aa (G: the printable space), merges in this order
 *
 * The kinds without merges have SentencePiece's list; bytes are tokens of PLaMo 2 and, as \\xHH, of RWKV.  Unigram has a map
 * of characters that makes "a" of "A".
 */
#ifndef SM_TEST_SMALL_VOCAB_H
#define SM_TEST_SMALL_VOCAB_H

#include <stdio.h>
#include <string.h>

#include "tensor/checkpoint.h"

enum { SMALL_SPACE = 262, SMALL_A, SMALL_B, SMALL_C, SMALL_AB, SMALL_ABC, SMALL_SPACE_A, SMALL_E, SMALL_SPM_COUNT };
enum { SMALL_BPE_AB = 262, SMALL_BPE_ABC, SMALL_BPE_SPACE_A, SMALL_BPE_AA, SMALL_BPE_COUNT };
#define SMALL_BYTE(b) (6 + (b))
enum { SMALL_MAP_UNITS = 0x101, SMALL_MAP_BYTES = 4 + SMALL_MAP_UNITS * 4 + 2 };

typedef struct small_vocab {
    char names[256][8];
    sm_sv tokens[SMALL_SPM_COUNT];
    float scores[SMALL_SPM_COUNT];
    int32_t types[SMALL_SPM_COUNT];
    char map[SMALL_MAP_BYTES];
    sm_meta meta[20];
} small_vocab;

static inline void small_meta(sm_checkpoint *c, const char *key, sm_meta m) {
    m.key = sm_sv_of(key);
    c->meta[c->n_meta++] = m;
}

static inline sm_meta small_str(const char *s) {
    return (sm_meta){.type = SM_META_STR, .u.s = sm_sv_of(s)};
}

static inline sm_meta small_bool(bool b) {
    return (sm_meta){.type = SM_META_BOOL, .raw = SM_BOOL, .u.i = b};
}

static inline void small_bytes(small_vocab *v, bool spm) {
    int hidden = 0;
    for (int b = 0; b < 256; b++) {
        bool prints = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        if (spm)
            snprintf(v->names[b], sizeof v->names[b], "<0x%02X>", (unsigned)b);
        else
            v->names[b][sm_utf8_encode(prints ? (uint32_t)b : 0x100u + (uint32_t)hidden++, v->names[b])] = '\0';
        v->tokens[SMALL_BYTE(b)] = sm_sv_of(v->names[b]);
        v->types[SMALL_BYTE(b)] = spm ? 6 : 1;
    }
}

/* NULL when out of memory; free with sm_checkpoint_free, v lives longer.  pre: NULL for SentencePiece. */
static inline sm_checkpoint *small_checkpoint(small_vocab *v, const char *pre) {
    static const char *const spm[] = {"<unk>", "<s>", "</s>", "<end_of_turn>", "[user]", "[user]x"};
    static const char *const bpe[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "[user]", "[user]x"};
    static const char *const spm_words[] = {"\xe2\x96\x81", "a", "b", "c", "ab", "abc", "\xe2\x96\x81\x61", "\xc3\xa9"};
    static const char *const bpe_words[] = {"ab", "abc", "\xc4\xa0\x61", "aa"};
    static const float scores[] = {-9, -9, -9, -9, -3, -1, -4, -9};
    static const sm_sv merges[] = {{"a b", 3}, {"ab c", 4}, {"\xc4\xa0 a", 4}, {"a a", 3}};
    sm_checkpoint *c;
    if (sm_checkpoint_new(SM_DIALECT_GGUF, "small", &c, NULL) != SM_OK)
        return NULL;
    *v = (small_vocab){0};
    c->meta = v->meta;
    int n = pre ? SMALL_BPE_COUNT : SMALL_SPM_COUNT;
    for (int i = 0; i < 6; i++) {
        v->tokens[i] = sm_sv_of((pre ? bpe : spm)[i]);
        v->types[i] = i == 0 && !pre ? 2 : i < 4 ? 3 : 4;
    }
    small_bytes(v, pre == NULL);
    for (int i = 262; i < n; i++) {
        v->tokens[i] = sm_sv_of(pre ? bpe_words[i - 262] : spm_words[i - 262]);
        v->scores[i] = pre ? 0 : scores[i - 262];
        v->types[i] = 1;
    }
    sm_meta m = {.type = SM_META_ARRAY, .elem = SM_META_STR, .u.a = {(uint64_t)n, NULL, v->tokens}};
    small_meta(c, "tokenizer.ggml.model", small_str(pre ? "gpt2" : "llama"));
    small_meta(c, "tokenizer.ggml.tokens", m);
    m = (sm_meta){.type = SM_META_ARRAY, .elem = SM_META_INT, .raw = SM_INT32, .u.a = {(uint64_t)n, v->types, NULL}};
    small_meta(c, "tokenizer.ggml.token_type", m);
    m = (sm_meta){.type = SM_META_ARRAY, .elem = SM_META_FLOAT, .raw = SM_FP32, .u.a = {(uint64_t)n, v->scores, NULL}};
    small_meta(c, "tokenizer.ggml.scores", m);
    if (pre) {
        m = (sm_meta){.type = SM_META_ARRAY, .elem = SM_META_STR, .u.a = {SM_ARRAY_LEN(merges), NULL, merges}};
        small_meta(c, "tokenizer.ggml.merges", m);
        small_meta(c, "tokenizer.ggml.pre", small_str(pre));
        small_meta(c, "tokenizer.ggml.bos_token_id", (sm_meta){.type = SM_META_INT, .raw = SM_INT32, .u.i = 1});
        small_meta(c, "tokenizer.ggml.eos_token_id", (sm_meta){.type = SM_META_INT, .raw = SM_INT32, .u.i = 2});
    }
    return c;
}

static inline sm_meta small_int(int32_t i) {
    return (sm_meta){.type = SM_META_INT, .raw = SM_INT32, .u.i = i};
}

/* Root, 'A' with a value, and the value: offset 0 of the texts "a". */
static inline void small_map(small_vocab *v) {
    const uint32_t bytes = SMALL_MAP_UNITS * 4, leaf = (0x100u ^ 'A') << 10 | 1u << 8 | 'A', value = 1u << 31;
    memcpy(v->map, &bytes, 4);
    memcpy(v->map + 4 + (size_t)'A' * 4, &leaf, 4);
    memcpy(v->map + 4 + (size_t)0x100 * 4, &value, 4);
    v->map[SMALL_MAP_BYTES - 2] = 'a';
}

/* model: bert, t5, rwkv, plamo2.  As above. */
static inline sm_checkpoint *small_checkpoint_of(small_vocab *v, const char *model) {
    sm_checkpoint *c = small_checkpoint(v, NULL);
    bool rwkv = strcmp(model, "rwkv") == 0, plamo = strcmp(model, "plamo2") == 0;
    if (c == NULL)
        return NULL;
    v->meta[0].u.s = sm_sv_of(model);
    for (int b = 0; b < 256; b++) {
        if (rwkv)
            snprintf(v->names[b], sizeof v->names[b], "\\x%02x", (unsigned)b);
        v->tokens[SMALL_BYTE(b)] = sm_sv_of(v->names[b]);
        v->types[SMALL_BYTE(b)] = plamo ? 6 : 1;
    }
    small_meta(c, "tokenizer.ggml.unknown_token_id", small_int(0));
    small_meta(c, "tokenizer.ggml.bos_token_id", small_int(1));
    small_meta(c, "tokenizer.ggml.eos_token_id", small_int(2));
    small_meta(c, "tokenizer.ggml.seperator_token_id", small_int(2));
    if (strcmp(model, "t5") == 0) {
        small_map(v);
        small_meta(c, "tokenizer.ggml.add_space_prefix", small_bool(true));
        small_meta(c, "tokenizer.ggml.remove_extra_whitespaces", small_bool(true));
        sm_meta m = {
            .type = SM_META_ARRAY, .elem = SM_META_INT, .raw = SM_UINT8, .u.a = {SMALL_MAP_BYTES, v->map, NULL}};
        small_meta(c, "tokenizer.ggml.precompiled_charsmap", m);
    }
    return c;
}

#endif
