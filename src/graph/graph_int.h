/* SPDX-License-Identifier: MIT
 *
 * graph_int.h: what the files of graph/ share behind graph.h: symbols, interned expressions, names.
 *
 * Out of memory inside extents and symbolic values has no return channel of its own: it sets priv->oom, the value becomes
 * SM_DIM_UNKNOWN, and sm_infer_node or the builder turns the flag into SM_RESOURCE.
 */
#ifndef SM_GRAPH_INT_H
#define SM_GRAPH_INT_H

#include "graph/graph.h"

/* ---- extents ---- */

/* What an anonymous symbol stands for when it is a function of two other extents: equal functions of equal operands are
 * the same symbol, and sm_dim_eval can compute them. */
typedef enum sm_dim_fn {
    SM_FN_NONE,
    SM_FN_MUL,
    SM_FN_FLOOR_DIV,
    SM_FN_TRUNC_DIV,
    SM_FN_MOD,
    SM_FN_MAX,
    SM_FN_MIN
} sm_dim_fn;

enum {
    SM_LIN_MAX = 16,    /* terms of an expression; longer sums become a fresh symbol */
    SM_FN_DEPTH = 8,    /* nesting of functions; deeper ones become a fresh symbol */
    SM_SYM_ELEMS = 64,  /* elements of a value that are followed symbolically */
    SM_SYM_FRESH = 8,   /* elements of a run-time value that get symbols of their own */
    SM_DIM_TEXT = 2560, /* holds the text of any extent (names of symbols have at most 127 characters) */
};

typedef struct sm_symbol {
    const char *name; /* "n"; "?3" for anonymous ones */
    int64_t lo, hi;   /* INT64_MIN, INT64_MAX: unbounded */
    bool anon;
    sm_dim_fn fn;
    int depth;
    sm_dim a, b;
} sm_symbol;

/* sum of k[i] * symbol sym[i], ascending, no zero factor, plus c */
typedef struct sm_lin {
    int n;
    int64_t c;
    int64_t sym[SM_LIN_MAX], k[SM_LIN_MAX];
} sm_lin;

/* False for SM_DIM_UNKNOWN. */
bool sm_lin_of(const sm_graph *g, sm_dim d, sm_lin *out);
/* Anonymous symbol with bounds (INT64_MIN, INT64_MAX: none). */
sm_dim sm_dim_anon(sm_graph *g, int64_t lo, int64_t hi);
/* fn(a, b), folded where it can be, never SM_DIM_UNKNOWN but out of memory. */
sm_dim sm_dim_call(sm_graph *g, sm_dim_fn fn, sm_dim a, sm_dim b);
/* Is lo <= d for all values of the symbols? */
bool sm_dim_at_least(const sm_graph *g, sm_dim d, int64_t lo);
/* a - b <= 0 for all values?  Pure: makes no new expression. */
bool sm_dim_le(const sm_graph *g, sm_dim a, sm_dim b);
/* Prints with anonymous symbol k shown as "?anon[k]" (NULL: their own names); mil: any expression is "?". */
const char *sm_dim_print_as(const sm_graph *g, sm_dim d, const int *anon, char *out, size_t cap);
/* Bounds that are INT64_MIN, INT64_MAX where there are none. */
void sm_dim_range(const sm_graph *g, sm_dim d, int64_t *lo, int64_t *hi);

/* ---- graph ---- */

typedef struct sm_name_entry {
    sm_value *cst; /* the constant of this name */
    bool in_func;  /* a value of some function has it */
    int next;      /* suffix to try next */
} sm_name_entry;

typedef struct sm_func_full {
    sm_func f;
    sm_map *names; /* name -> index of holders */
    struct {
        sm_value **v; /* NULL: the name is free again */
        size_t n, cap;
    } holders;
    struct sm_func_full *next;
} sm_func_full;

typedef struct sm_owner {
    void *p;
    void (*free_fn)(void *);
} sm_owner;

struct sm_graph_priv {
    struct {
        sm_symbol *v;
        size_t n, cap;
    } syms;
    struct {
        const int64_t **v; /* [0] terms, [1] constant, then symbol, factor pairs */
        size_t n, cap;
    } exprs;
    struct {
        sm_name_entry *v;
        size_t n, cap;
    } names;
    struct {
        sm_value **v;
        size_t n, cap;
    } interned;
    struct {
        sm_owner *v;
        size_t n, cap;
    } owners;
    struct {
        int *v; /* suffix to try next */
        size_t n, cap;
    } shown;
    sm_map *expr_of, *sym_of, *fn_of, *name_of, *const_of;
    sm_map *shown_of; /* names that symbols show -> index into shown */
    sm_func_full *all_funcs;
    size_t funcs_cap;
    int n_anon;
    bool oom;
};

/* New value with the next id, not named; NULL when out of memory. */
sm_value *sm_value_new(sm_graph *g);
/* Gives v a name close to `want` that is unique inside f; a constant that holds it yields. */
bool sm_value_name(sm_func *f, sm_value *v, const char *want);
/* Gives v exactly this name; a value that holds it gets another one. */
bool sm_value_take_name(sm_func *f, sm_value *v, const char *name);
/* sm_value_name for a constant of the graph. */
bool sm_const_name(sm_graph *g, sm_value *v, const char *want);
/* The value of this name; NULL when there is none. */
sm_value *sm_func_holder(const sm_func *f, const char *name);
bool sm_node_writes_state(const sm_node *n); /* nested blocks included */

/* Small integer and bool elements of a dense constant as symbolic value; leaves v->sym NULL for others. */
bool sm_const_sym(sm_graph *g, sm_value *v);
/* Elements of a type when all extents are numbers and there are at most cap, else -1. */
int64_t sm_type_numel(const sm_type *t, int64_t cap);
bool sm_is_int(sm_dtype t); /* signed or unsigned integers */
bool sm_is_float(sm_dtype t);
/* "tensor<fp16, [1, n, 64]>"; into out, returned. */
const char *sm_type_print(const sm_graph *g, const sm_type *t, const int *anon, bool mil, char *out, size_t cap);

/* Interned constant by content; NULL when out of memory. */
sm_value *sm_const_intern(sm_builder *b, sm_dtype t, int rank, const int64_t *dims, const void *data);
/* A constant over src that shall become `want`. */
sm_value *sm_const_make(sm_builder *b, const char *name, const sm_tensor *src, const sm_encoding *want,
                        sm_dtype want_dtype);

#endif
