/* SPDX-License-Identifier: MIT
 *
 * text_int.h: what the text form's printer and parser share (docs/text-form is the grammar).
 */
#ifndef SM_TEXT_INT_H
#define SM_TEXT_INT_H

#include "graph/graph_int.h"

enum { SM_TYPE_TEXT = SM_MAX_RANK * SM_DIM_TEXT + 64 }; /* holds the text of any type */

/* ---- words ---- */

/* Characters of names: letters, digits, and _ . @ :  Others stand between backquotes. */
bool sm_text_word_char(char c);
/* A name that is a word and means nothing else. */
bool sm_text_plain_name(sm_sv name);
/* v as the nearest value of float type t. */
double sm_text_round(sm_dtype t, double v);
/* "ios18"; "rows" for 0. */
const char *sm_text_opset(int opset, char *out, size_t cap);
bool sm_text_opset_of(sm_sv name, int *opset);

/* ---- tokens ---- */

typedef enum sm_tok_kind {
    SM_TOK_END,
    SM_TOK_WORD,  /* letters, digits, _ . @ : */
    SM_TOK_NAME,  /* `...`, decoded */
    SM_TOK_NUM,   /* as written */
    SM_TOK_STR,   /* "...", decoded */
    SM_TOK_ARROW, /* -> */
    SM_TOK_CHAR,  /* one of ( ) [ ] { } < > , ; = ? + * / */
} sm_tok_kind;

typedef struct sm_tok {
    sm_tok_kind kind;
    sm_sv text;
    char c;         /* of SM_TOK_CHAR */
    const char *at; /* where it begins */
} sm_tok;

/* A plain value: copy it to look ahead, assign it back to return. */
typedef struct sm_lex {
    sm_sv all;
    const char *p; /* behind tok */
    sm_tok tok;    /* the current token */
    const char *file;
    sm_arena *arena; /* decoded strings */
    sm_err *err;
} sm_lex;

sm_status sm_lex_start(sm_lex *l, sm_sv text, const char *file, sm_arena *arena, sm_err *err);
sm_status sm_lex_next(sm_lex *l);
/* Fails: "file:line:column: wanted WHAT, found TOKEN". */
sm_status sm_lex_wanted(sm_lex *l, const char *what);
/* Puts "file:line:column: " of a place before a failure. */
void sm_lex_place(const sm_lex *l, const char *at);
bool sm_lex_is(const sm_lex *l, char c);
bool sm_lex_word(const sm_lex *l, const char *word);
sm_status sm_lex_need(sm_lex *l, char c);           /* this character, and on */
bool sm_lex_take(sm_lex *l, char c, sm_status *st); /* on when it is this character; *st of reading on */
sm_status sm_lex_need_word(sm_lex *l, const char *word);

/* ---- data of constants ---- */

/* Where BLOBFILE leads, and how much RANDOM may still make. */
typedef struct sm_text_env {
    sm_blob_resolver blob;
    void *ctx;
    uint64_t random_left; /* elements */
    sm_arena *arena;
} sm_text_env;

/* Data between the parentheses of `type(...)`, into *out: its dtype, shape, encoding and row order are set, its parts
 * are filled (EXTERN leaves them empty). */
sm_status sm_text_data(sm_lex *l, sm_text_env *env, sm_tensor *out);
/* Strings of a string value: one, or a flat list. */
sm_status sm_text_strings(sm_lex *l, sm_arena *arena, sm_sv **out, size_t *n);
/* A bare list of numbers or bools "[1, -1, 64]" as elements of t; at most cap. */
sm_status sm_text_list(sm_lex *l, sm_dtype t, int cap, void *out, int *n);
/* One number or bool as element i of t. */
sm_status sm_text_elem(sm_lex *l, sm_dtype t, void *out, uint64_t i);

#endif
