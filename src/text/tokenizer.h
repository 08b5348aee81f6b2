/* SPDX-License-Identifier: MIT
 *
 * tokenizer.h: text to token ids and back, as a checkpoint's vocabulary says.
 *
 * Kinds: byte-level BPE ("gpt2"; the pre-tokenizer that tokenizer.ggml.pre names is a row of pretokenizers.def), BPE
 * over raw UTF-8 with merges ("gemma4", "whitespace", and "gpt2" with such a pre-tokenizer), BPE with stretches of DNA
 * ("hybriddna"), SentencePiece BPE by scores ("llama"), SentencePiece Unigram ("t5"), WordPiece ("bert"), RWKV's World
 * ("rwkv"), PLaMo 2 ("plamo2").
 * Others are refused with their names.  Ids are those of llama.cpp, its partition at special tokens included.
 *
 * Ownership: the tokenizer borrows all strings from the checkpoint, which must outlive it; of its own it holds the
 * index of tokens and merges, about 16 bytes a token.  Threads: immutable once made; any number of threads encode and
 * decode at once.  A sm_detok belongs to one thread.
 */
#ifndef SM_TOKENIZER_H
#define SM_TOKENIZER_H

#include "base/err.h"
#include "tensor/checkpoint.h"

typedef struct sm_tokenizer sm_tokenizer;

/* Of ids: none. */
#define SM_NO_TOKEN (-1)

typedef struct sm_ids {
    int32_t *v;
    size_t n, cap;
} sm_ids;
bool sm_ids_add(sm_ids *ids, int32_t id); /* false when out of memory */
void sm_ids_free(sm_ids *ids);            /* safe on a zeroed struct */

typedef enum sm_token_type {
    SM_TOKEN_NORMAL,
    SM_TOKEN_UNKNOWN,
    SM_TOKEN_CONTROL, /* found in text only when asked, not printed unless asked */
    SM_TOKEN_USER,    /* user-defined: always found in text before anything else, always printed */
    SM_TOKEN_UNUSED,
    SM_TOKEN_BYTE, /* one byte, written <0xHH> */
    SM_TOKEN_UNDEFINED,
} sm_token_type;

/* True when the checkpoint carries a vocabulary at all. */
bool sm_tokenizer_present(const sm_checkpoint *c);
sm_status sm_tokenizer_new(const sm_checkpoint *c, sm_tokenizer **out, sm_err *err);
void sm_tokenizer_free(sm_tokenizer **t); /* NULL-safe, nulls */

enum {
    SM_ENC_BOS = 1, /* add what the model adds: beginning-of-text first, end-of-text last, each only if it says so */
    SM_ENC_SPECIAL = 2, /* control tokens written in the text are those tokens; without it they are plain text */
};
/* Appends the ids of text to *out.  SM_BADINPUT at the first byte that is not UTF-8. */
sm_status sm_tokenizer_encode(const sm_tokenizer *t, sm_sv text, unsigned flags, sm_ids *out, sm_err *err);

enum {
    SM_DEC_SPECIAL = 1, /* control tokens appear as their text; without it they are left out */
    SM_DEC_PIECE = 2,   /* a piece from the middle: the space that encoding put before the text stays */
};
/* Appends the bytes of ids to *out (a cut-off character stays cut off).  SM_BADINPUT for an id out of range.
 * WordPiece's tokens put a space before each word and mark; before punctuation and contractions it goes, as llama.cpp
 * has it, except in a SM_DEC_PIECE. */
sm_status sm_tokenizer_decode(const sm_tokenizer *t, const int32_t *ids, size_t n, unsigned flags, sm_str *out,
                              sm_err *err);

int32_t sm_tokenizer_count(const sm_tokenizer *t);
sm_sv sm_tokenizer_text(const sm_tokenizer *t, int32_t id); /* as the vocabulary spells it; empty when out of range */
sm_token_type sm_tokenizer_type(const sm_tokenizer *t, int32_t id);
int32_t sm_tokenizer_find(const sm_tokenizer *t, sm_sv text); /* SM_NO_TOKEN when there is none of that spelling */
const char *sm_tokenizer_kind(const sm_tokenizer *t);         /* "bpe (smollm)", "spm", for people */

/* SM_NO_TOKEN where the model has none. */
int32_t sm_tokenizer_bos(const sm_tokenizer *t);
int32_t sm_tokenizer_eos(const sm_tokenizer *t);
int32_t sm_tokenizer_eot(const sm_tokenizer *t); /* end of a turn */
int32_t sm_tokenizer_unk(const sm_tokenizer *t);
int32_t sm_tokenizer_pad(const sm_tokenizer *t);
bool sm_tokenizer_adds_bos(const sm_tokenizer *t);
bool sm_tokenizer_adds_eos(const sm_tokenizer *t);
/* Generation ends at these: end of text, turn or message, by id and by the names that models use. */
bool sm_tokenizer_is_end(const sm_tokenizer *t, int32_t id);
const int32_t *sm_tokenizer_ends(const sm_tokenizer *t, size_t *n); /* ascending; borrowed */

/* The chat template's source, or the one called `name` ("tool_use") if it is not NULL; empty when there is none. */
sm_sv sm_tokenizer_chat_template(const sm_tokenizer *t, const char *name);

/* Text of a stream of ids, always whole characters: bytes of an unfinished character are held back until it is
 * finished, and bytes that can never be one become U+FFFD. */
typedef struct sm_detok sm_detok;
sm_status sm_detok_new(const sm_tokenizer *t, unsigned flags, sm_detok **out, sm_err *err); /* flags: SM_DEC_* */
void sm_detok_free(sm_detok **d);                                                           /* NULL-safe, nulls */
sm_status sm_detok_push(sm_detok *d, int32_t id, sm_str *out, sm_err *err); /* appends what became whole */
sm_status sm_detok_finish(sm_detok *d, sm_str *out, sm_err *err);           /* appends what was held; ready again */

#endif
