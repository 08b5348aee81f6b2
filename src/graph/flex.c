/* SPDX-License-Identifier: MIT
 *
 * flex.c: flexible inputs (flex.h).
 *
 * Inputs of equal ranges are given symbols of their own, for nothing in a file says that they go together; enumerated
 * shapes do go together: Core ML matches those of several inputs by their place in the list.
 */
#include "graph/flex.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

sm_map *sm_flex_names(const sm_flex_input *f, int n, sm_sv func) {
    sm_map *m = sm_map_new((size_t)n);
    for (int i = 0; m != NULL && i < n; i++)
        if ((f[i].func.n == 0 || sm_sv_eq(f[i].func, func)) && !sm_map_put(m, f[i].name, i, NULL, NULL))
            sm_map_free(&m);
    return m;
}

const sm_flex_input *sm_flex_find(const sm_flex_input *f, const sm_map *names, sm_sv input) {
    int64_t i;
    return sm_map_get(names, input, &i) ? &f[i] : NULL;
}

static sm_dim axis_symbol(sm_graph *g, const char *func, const char *input, int a, int64_t lo, int64_t hi) {
    char name[256];
    int64_t lo2 = lo, hi2 = hi;
    if (lo == hi)
        return lo;
    snprintf(name, sizeof name, "%.200s_%d", input, a);
    int k = sm_graph_find_symbol(g, name);
    if (k >= 0)
        sm_graph_symbol(g, k, &lo2, &hi2);
    if (lo2 != lo || hi2 != hi)
        snprintf(name, sizeof name, "%.100s_%.100s_%d", func, input, a);
    return sm_dim_symbol(g, name, lo, hi);
}

sm_status sm_flex_dims(sm_graph *g, const char *func, const char *input, const sm_flex_input *f, sm_type *t,
                       sm_err *err) {
    if (f != NULL && f->rank != t->rank)
        return SM_FAIL(err, SM_BADINPUT, "its description has %d dimensions, its type %d", f->rank, t->rank);
    for (int a = 0; a < t->rank; a++) {
        int64_t lo = f == NULL ? 1 : f->lo[a], hi = f == NULL ? -1 : f->hi[a];
        if (t->dims[a] != SM_DIM_UNKNOWN)
            continue;
        for (int i = 0; f != NULL && i < f->n_rows; i++) {
            int64_t v = f->rows[(int64_t)i * f->rank + a];
            if (v < 0 || v > INT32_MAX)
                return SM_FAIL(err, SM_BADINPUT, "enumerated shape %d: dimension %d is %" PRId64, i, a, v);
            lo = i == 0 ? v : SM_MIN(lo, v);
            hi = i == 0 ? v : SM_MAX(hi, v);
        }
        if (lo < 0 || lo > INT32_MAX || (hi >= 0 && hi < lo))
            return SM_FAIL(err, SM_BADINPUT, "dimension %d: bounds %" PRId64 "..%" PRId64, a, lo, hi);
        t->dims[a] = axis_symbol(g, func, input, a, lo, hi > INT32_MAX ? -1 : hi);
    }
    return SM_OK;
}

/* A column of a set: where its values are. */
typedef struct column {
    int sym, axis;
    const sm_flex_input *f;
} column;

/* of[i]: what is known of the function's input i. */
static int columns_of(const sm_func *fn, const sm_flex_input *const *of, int n_rows, column *out, int cap) {
    int n_out = 0;
    for (int i = 0; i < fn->body->n_in; i++) {
        const sm_value *v = fn->body->in[i];
        for (int a = 0; of[i] != NULL && of[i]->n_rows == n_rows && a < v->type.rank; a++) {
            int k = sm_dim_as_symbol(fn->graph, v->type.dims[a]);
            bool again = k < 0;
            for (int c = 0; c < n_out && !again; c++)
                again = out[c].sym == k;
            if (!again && n_out < cap)
                out[n_out++] = (column){k, a, of[i]};
        }
    }
    return n_out;
}

static sm_status add_sets(sm_func *fn, const sm_flex_input *const *of, const sm_flex_input *f, int n, sm_err *err) {
    enum { COLUMNS_MAX = 256 };
    column c[COLUMNS_MAX];
    for (int i = 0; i < n; i++) {
        bool before = f[i].n_rows == 0;
        for (int k = 0; k < i && !before; k++)
            before = f[k].n_rows == f[i].n_rows;
        int n_c = before ? 0 : columns_of(fn, of, f[i].n_rows, c, COLUMNS_MAX);
        sm_shape_set *s = NULL;
        if (n_c == 0)
            continue;
        SM_TRY(sm_func_add_shapes(fn, n_c, f[i].n_rows, &s, err));
        for (int k = 0; k < n_c; k++) {
            s->sym[k] = c[k].sym;
            for (int r = 0; r < s->n_rows; r++)
                s->value[(int64_t)r * n_c + k] = c[k].f->rows[(int64_t)r * c[k].f->rank + c[k].axis];
        }
    }
    return SM_OK;
}

sm_status sm_flex_sets(sm_func *fn, sm_sv func, const sm_flex_input *f, int n, sm_err *err) {
    if (n == 0)
        return SM_OK;
    const sm_flex_input **of = sm_alloc_n((size_t)fn->body->n_in + 1, sizeof *of);
    sm_map *names = sm_flex_names(f, n, func);
    sm_status st = of == NULL || names == NULL ? SM_NOMEM(err) : SM_OK;
    for (int i = 0; st == SM_OK && i < fn->body->n_in; i++)
        of[i] = sm_flex_find(f, names, sm_sv_of(fn->body->in[i]->name));
    if (st == SM_OK)
        st = add_sets(fn, of, f, n, err);
    sm_map_free(&names);
    sm_free((void *)of);
    return st;
}
