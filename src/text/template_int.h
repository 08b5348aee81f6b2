/* SPDX-License-Identifier: MIT
 *
 * template_int.h: what the files of the template engine share.
 *
 *     tmpl_lex.c      source -> tokens, all whitespace rules
 *     tmpl_parse.c    tokens -> nodes
 *     tmpl_eval.c     nodes + context -> text: statements, expressions, scopes
 *     tmpl_value.c    values: from JSON, truth, equality, printing
 *     tmpl_op.c       operators, attributes, items, slices
 *     tmpl_filter.c   filters and tests
 *     tmpl_call.c     functions and methods
 *
 * Tokens and nodes live in the template's arena, values in the arena of one rendering.
 */
#ifndef SM_TEMPLATE_INT_H
#define SM_TEMPLATE_INT_H

#include "text/template.h"

/* ---- tokens -------------------------------------------------------------------------------------------------- */

typedef enum tok_kind {
    TOK_DATA,
    TOK_PRINT, /* {{ */
    TOK_PRINT_END,
    TOK_BLOCK, /* {% */
    TOK_BLOCK_END,
    TOK_NAME,
    TOK_INT,
    TOK_FLOAT,
    TOK_STR, /* text is what is between the quotes, escapes resolved */
    TOK_OP,
    TOK_END,
} tok_kind;

typedef struct tok {
    tok_kind kind;
    int line;
    sm_sv text;
} tok;

typedef struct tok_list {
    tok *v;
    size_t n, cap;
} tok_list;

/* Text and token texts are in the arena; the list is the caller's to free. */
sm_status tmpl_lex(sm_arena *a, sm_sv source, tok_list *out, sm_err *err);

/* ---- values -------------------------------------------------------------------------------------------------- */

typedef enum val_kind {
    VAL_UNDEFINED, /* s: the name, for messages */
    VAL_NONE,
    VAL_BOOL,
    VAL_INT,
    VAL_FLOAT,
    VAL_STR,
    VAL_LIST,
    VAL_TUPLE, /* a list that prints with parentheses */
    VAL_DICT,
    VAL_NAMESPACE, /* a dict whose members can be set */
    VAL_LOOP,
    VAL_FUNCTION, /* s: the name of a global function */
    VAL_METHOD,   /* bound */
} val_kind;

typedef struct val val;
typedef struct val_list val_list;
typedef struct val_dict val_dict;
typedef struct val_loop val_loop;
typedef struct val_method val_method;

struct val {
    val_kind kind;
    union {
        bool b;
        int64_t i;
        double f;
        sm_sv s;
        val_list *list;
        val_dict *dict;
        val_loop *loop;
        val_method *method;
    } u;
};

struct val_list {
    val *v;
    size_t n, cap;
};

struct val_dict {
    val *keys, *values; /* in order of insertion */
    size_t n, cap;
};

struct val_loop {
    val_list *items;
    size_t at;
    val changed; /* last arguments of loop.changed() */
};

struct val_method {
    val self;
    sm_sv name;
};

/* ---- nodes --------------------------------------------------------------------------------------------------- */

typedef enum node_kind {
    /* expressions; a, b, c: operands */
    NODE_CONST,
    NODE_NAME,
    NODE_LIST,   /* list */
    NODE_TUPLE,  /* list */
    NODE_DICT,   /* list: key, value, key, value.. */
    NODE_ATTR,   /* a.text */
    NODE_ITEM,   /* a[b] */
    NODE_SLICE,  /* a[b:c:d], any of b, c, d NULL */
    NODE_CALL,   /* a(list, named) */
    NODE_FILTER, /* a | text(list, named) */
    NODE_TEST,   /* a is text(list) */
    NODE_NOT,
    NODE_NEG,
    NODE_POS,
    NODE_BINARY, /* text: the operator */
    NODE_AND,
    NODE_OR,
    NODE_COND, /* a if b else c (c may be NULL) */
    /* statements */
    NODE_DATA,
    NODE_PRINT,     /* a */
    NODE_IF,        /* a; body; other */
    NODE_FOR,       /* a: target (name or tuple), b: iterated, c: filter or NULL; body; other */
    NODE_SET,       /* a: target; b */
    NODE_SET_BLOCK, /* a: target; body; filters: b is a chain on a const that is replaced by the body's text */
    NODE_BODY,      /* body, in the scope around it */
    NODE_BREAK,
    NODE_CONTINUE,
} node_kind;

typedef struct node node;
typedef struct node_list {
    node **v;
    size_t n, cap;
} node_list;

struct node {
    node_kind kind;
    int line;
    int depth; /* of the tree below */
    sm_sv text;
    node *a, *b, *c, *d;
    node_list list, body, other;
    struct {
        sm_sv *v;
        size_t n, cap;
    } names; /* of the last names.n of list: named arguments */
    val value;
};

struct sm_template {
    sm_arena *arena;
    node *root; /* NODE_BODY */
};

sm_status tmpl_parse(sm_arena *a, const tok_list *toks, node **root, sm_err *err);

/* ---- rendering ----------------------------------------------------------------------------------------------- */

typedef struct scope scope;
typedef struct run {
    sm_arena *arena;
    sm_str *out;
    size_t out_start;
    scope *top;
    long steps;
    int line; /* of what is being evaluated, for messages */
    sm_err *err;
} run;

typedef struct call_args {
    val *v; /* positional first, then named */
    size_t n;
    const sm_sv *names; /* of the last n_names of v */
    size_t n_names;
} call_args;

/* Failures name the line.  what: printf-like. */
sm_status tmpl_fail(run *r, sm_status code, const char *fmt, ...) SM_PRINTF(3, 4);
sm_status tmpl_nomem(run *r);
void *tmpl_alloc(run *r, size_t n); /* NULL and filled error when out of memory or over the limit */

/* Evaluates nodes (tmpl_eval.c). */
sm_status tmpl_eval(run *r, const node *e, val *out);
sm_status tmpl_call(run *r, val callee, const call_args *args, val *out); /* tmpl_call.c */
sm_status tmpl_filter(run *r, sm_sv name, val in, const call_args *args, val *out);
sm_status tmpl_test(run *r, sm_sv name, val in, const call_args *args, bool *out);
bool tmpl_has_filter(sm_sv name);
bool tmpl_has_test(sm_sv name);
bool tmpl_has_function(sm_sv name);

/* tmpl_op.c */
sm_status tmpl_binary(run *r, sm_sv op, val a, val b, val *out);
sm_status tmpl_negate(run *r, val a, val *out);
sm_status tmpl_attr(run *r, val a, sm_sv name, val *out);
sm_status tmpl_item(run *r, val a, val key, val *out);
sm_status tmpl_slice(run *r, val a, const val *from, const val *to, const val *step, val *out); /* NULL: left out */
sm_status tmpl_contains(run *r, val item, val in, bool *out);
sm_status tmpl_compare(run *r, val a, val b, int *out); /* <, ==, > 0 */
sm_status tmpl_iterate(run *r, val a, val_list **out);  /* items of a list, keys of a dict, characters of a string */

/* tmpl_value.c */
val val_bool(bool b);
val val_int(int64_t i);
val val_float(double f);
val val_none(void);
val val_undefined(sm_sv name);
sm_status val_str(run *r, const char *p, size_t n, val *out); /* copies */
val val_view(sm_sv s);                                        /* does not */
sm_status val_take_str(run *r, sm_str *s, val *out);          /* copies and frees s, also when it fails */
sm_status val_list_new(run *r, val_kind kind, val *out);
sm_status val_dict_new(run *r, val_kind kind, val *out);
sm_status val_push(run *r, val_list *l, val v);
sm_status val_put(run *r, val_dict *d, val key, val v);
const val *val_get(const val_dict *d, val key); /* NULL when absent */
const val *val_get_z(const val_dict *d, sm_sv key);
bool val_true(val v);
bool val_equal(val a, val b);
bool val_is_number(val v); /* bool, int, float */
double val_number(val v);
bool val_is_seq(val v);      /* list or tuple */
const char *val_type(val v); /* as Python calls it */
sm_status val_from_json(run *r, const json_t *j, int depth, val *out);
void val_print(val v, sm_str *out);           /* as {{ }} prints it */
void val_repr(val v, int depth, sm_str *out); /* as it prints inside a list */
sm_status val_tojson(run *r, val v, int indent, const char *item_sep, const char *key_sep, bool ascii, bool sort,
                     sm_str *out);
/* Next character of a valid UTF-8 string; Python's idea of white space. */
uint32_t val_char(sm_sv s, size_t *at);
bool val_is_space(uint32_t cp);
sm_sv val_strip(sm_sv s, const sm_sv *chars, bool left, bool right); /* chars NULL: white space */
size_t val_str_len(sm_sv s);                                         /* characters */

/* Arguments by position or name; `found` NULL: required. */
const val *args_get(const call_args *a, size_t at, const char *name); /* NULL when not given */
size_t args_positional(const call_args *a);

#endif
