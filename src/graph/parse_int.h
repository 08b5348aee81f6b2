/* SPDX-License-Identifier: MIT
 *
 * parse_int.h: what the files of the text form's parser share.
 *
 *     parse.c        types, constants, operations, functions
 *     parse_attr.c   attributes of programs and functions, flexible shapes among them
 */
#ifndef SM_PARSE_INT_H
#define SM_PARSE_INT_H

#include "graph/flex.h"
#include "graph/text_int.h"

typedef struct sm_parser {
    sm_lex l;
    sm_graph *g;
    sm_text_env env;
    const sm_parse_opts *o;
    sm_func *f;
    sm_map *consts; /* constants by name in the text: functions repeat them */
    sm_map *anon;   /* "?3" of this function -> extent */
    sm_err *err;
} sm_parser;

/* A type as written: extents are kept as text until it is known whether they make symbols. */
typedef struct sm_written {
    sm_type type;
    sm_sv dim[SM_MAX_RANK];
    const char *at;
} sm_written;

/* "tensor<fp16, [1, ?]>" and the like; extents stay text. */
sm_status sm_parse_type(sm_parser *p, sm_written *w, int depth);
bool sm_parse_starts_type(const sm_lex *l);
/* Digits at the front of s; false when there are none or too many. */
bool sm_parse_number(sm_sv *s, int64_t *out);
static inline bool sm_parse_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
static inline bool sm_parse_digit(char c) {
    return c >= '0' && c <= '9';
}
bool sm_parse_symbol_char(char c); /* of names of extents */

/* Over one value of whatever form, up to a ',' or closing bracket that is not its own. */
sm_status sm_parse_skip_value(sm_parser *p);
/* The string of "string("x")", "tensor<string, []>("x")" or "x". */
sm_status sm_parse_attr_string(sm_parser *p, sm_sv *out);
sm_status sm_parse_attr_int(sm_parser *p, int32_t *out);

/* What a function's attributes say; all of it in the graph's arena. */
typedef struct sm_func_attrs {
    struct {
        sm_flex_input *v;
        size_t n, cap;
    } flex;         /* heap */
    sm_sv shapes;   /* our own list of shape sets; empty: none */
    const char *at; /* where that is */
} sm_func_attrs;
/* "[a = .., b = ..]" or "[[..]]" of a program (a NULL) or function; nothing when the current token is no '['. */
sm_status sm_parse_attributes(sm_parser *p, sm_func_attrs *a);
/* "list<string, 2>(["a", "b"])" of texts or whole numbers, to o->labels. */
sm_status sm_parse_labels(sm_parser *p);
/* Shape sets of a function from our own attribute, once its inputs are there. */
sm_status sm_parse_shapes(sm_parser *p, const sm_func_attrs *a);

#endif
