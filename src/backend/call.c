/* SPDX-License-Identifier: MIT
 *
 * call.c: checks before a run (call.h).
 */
#include "backend/call.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

/* ---- symbols ---- */

void sm_binding_free(sm_binding *b) {
    sm_free(b->sym);
    *b = (sm_binding){0};
}

static sm_status extent_fail(const sm_func *f, const sm_value *v, int axis, const sm_array *a, sm_err *err) {
    char want[64];
    return SM_FAIL(err, SM_BADINPUT, "input '%s' of function '%s': axis %d: wanted %s, found %" PRId64, v->name,
                   f->name, axis, sm_dim_print(f->graph, v->type.dims[axis], want, sizeof want), a->dims[axis]);
}

/* Binds symbol k to the extent found, within its bounds. */
static sm_status bind_symbol(const sm_func *f, const sm_value *v, int axis, const sm_array *a, int k, sm_binding *b,
                             sm_err *err) {
    int64_t lo, hi, found = a->dims[axis];
    const char *name = sm_graph_symbol(f->graph, k, &lo, &hi);
    bool listed = false; /* among enumerated shapes, whose own check says more */
    for (int i = 0; i < f->n_shapes; i++)
        for (int c = 0; c < f->shapes[i].n_sym; c++)
            listed |= f->shapes[i].sym[c] == k;
    if (!listed && (found < lo || (hi >= 0 && found > hi))) {
        char to[32] = "more";
        if (hi >= 0)
            snprintf(to, sizeof to, "%" PRId64, hi);
        return SM_FAIL(err, SM_BADINPUT,
                       "input '%s' of function '%s': axis %d: wanted %" PRId64 " to %s, found %" PRId64, v->name,
                       f->name, axis, lo, to, found);
    }
    if (b->sym[k] >= 0 && b->sym[k] != found)
        return SM_FAIL(err, SM_BADINPUT,
                       "input '%s' of function '%s': axis %d: wanted %s = %" PRId64
                       " as in another input, found %" PRId64,
                       v->name, f->name, axis, name, b->sym[k], found);
    b->sym[k] = found;
    return SM_OK;
}

static sm_status bind_extents(const sm_func *f, const sm_value *v, const sm_array *a, sm_binding *b, sm_err *err) {
    const sm_type *t = &v->type;
    if (a->rank != t->rank)
        return SM_FAIL(err, SM_BADINPUT, "input '%s' of function '%s': wanted rank %d, found %d", v->name, f->name,
                       t->rank, a->rank);
    for (int i = 0; i < t->rank; i++) {
        if (sm_dim_known(t->dims[i])) {
            if (t->dims[i] != a->dims[i])
                return extent_fail(f, v, i, a, err);
            continue;
        }
        int k = sm_dim_as_symbol(f->graph, t->dims[i]);
        if (k >= 0)
            SM_TRY(bind_symbol(f, v, i, a, k, b, err));
    }
    return SM_OK;
}

/* Extents that are expressions are checked once all symbols are bound. */
static sm_status check_expressions(const sm_func *f, const sm_value *v, const sm_array *a, const sm_binding *b,
                                   sm_err *err) {
    for (int i = 0; i < v->type.rank; i++) {
        sm_dim d = v->type.dims[i];
        if (!sm_dim_known(d) && d != SM_DIM_UNKNOWN && sm_dim_as_symbol(f->graph, d) < 0 &&
            sm_dim_eval(f->graph, d, b->sym) != a->dims[i])
            return extent_fail(f, v, i, a, err);
    }
    return SM_OK;
}

/* ---- enumerated shapes ---- */

static bool row_fits(const sm_shape_set *s, int row, const sm_binding *b) {
    for (int k = 0; k < s->n_sym; k++) {
        int64_t v = b->sym[s->sym[k]];
        if (v >= 0 && v != s->value[(int64_t)row * s->n_sym + k])
            return false;
    }
    return true;
}

/* The shape of an input in row r of a set, "[1, 8]"; other extents as they are. */
static void print_row(const sm_func *f, const sm_value *v, const sm_shape_set *s, int row, sm_str *out) {
    char dim[64];
    for (int a = 0; a < v->type.rank; a++) {
        int k = sm_dim_as_symbol(f->graph, v->type.dims[a]);
        const char *text = sm_dim_print(f->graph, v->type.dims[a], dim, sizeof dim);
        for (int c = 0; c < s->n_sym; c++)
            if (s->sym[c] == k) {
                snprintf(dim, sizeof dim, "%" PRId64, s->value[(int64_t)row * s->n_sym + c]);
                text = dim;
            }
        sm_str_addf(out, "%s%s", a == 0 ? "[" : ", ", text);
    }
    sm_str_addf(out, "]");
}

static bool in_set(const sm_func *f, const sm_value *v, const sm_shape_set *s) {
    for (int a = 0; a < v->type.rank; a++)
        for (int c = 0; c < s->n_sym; c++)
            if (sm_dim_as_symbol(f->graph, v->type.dims[a]) == s->sym[c])
                return true;
    return false;
}

/* "input 'a' and input 'b' together: wanted [1, 8] and [1, 8], or .., found [1, 9] and [1, 8]" */
static sm_status no_such_shape(const sm_func *f, const sm_shape_set *s, const sm_arrays *in, sm_err *err) {
    enum { SHOWN = 16 };
    sm_str text = SM_STR_INIT;
    for (int part = 0; part < 3; part++) { /* names, rows, what was given */
        int rows = part == 1 ? SM_MIN(s->n_rows, SHOWN) : 1;
        sm_str_addf(&text, "%s", part == 0 ? "" : part == 1 ? ": wanted " : ", found ");
        for (int r = 0; r < rows; r++) {
            int n = 0;
            sm_str_addf(&text, "%s", r > 0 ? " or " : "");
            for (int i = 0; i < f->body->n_in; i++) {
                const sm_value *v = f->body->in[i];
                const sm_array *a = sm_arrays_find(in, v->name);
                if (!in_set(f, v, s) || a == NULL)
                    continue;
                sm_str_addf(&text, "%s", n++ == 0 ? "" : " with ");
                if (part == 0)
                    sm_str_addf(&text, "'%s'", v->name);
                else if (part == 1)
                    print_row(f, v, s, r, &text);
                for (int k = 0; part == 2 && k < a->rank; k++)
                    sm_str_addf(&text, "%s%" PRId64 "%s", k == 0 ? "[" : ", ", a->dims[k], k + 1 == a->rank ? "]" : "");
            }
        }
        if (part == 1 && s->n_rows > SHOWN)
            sm_str_addf(&text, " or %d others", s->n_rows - SHOWN);
    }
    sm_status st = SM_FAIL(err, SM_BADINPUT, "shape of input %s (function '%s')", sm_str_z(&text), f->name);
    sm_str_free(&text);
    return st;
}

static sm_status check_shapes(const sm_func *f, const sm_arrays *in, const sm_binding *b, sm_err *err) {
    for (int i = 0; i < f->n_shapes; i++) {
        bool fits = false;
        for (int r = 0; r < f->shapes[i].n_rows && !fits; r++)
            fits = row_fits(&f->shapes[i], r, b);
        if (!fits)
            return no_such_shape(f, &f->shapes[i], in, err);
    }
    return SM_OK;
}

/* ---- dtypes ---- */

sm_dtype sm_call_dtype(sm_dtype t) {
    return sm_dtype_kind(t) == 'f' ? SM_FP32 : t;
}

static sm_status check_dtype(const sm_func *f, const sm_value *v, const sm_array *a, sm_err *err) {
    sm_dtype want = v->type.dtype;
    char kind = sm_dtype_kind(a->dtype);
    if ((sm_dtype_kind(want) == 'f') != (kind == 'f') || kind == 's' || kind == 0)
        return SM_FAIL(err, SM_BADINPUT, "input '%s' of function '%s': wanted %s, found %s", v->name, f->name,
                       sm_dtype_name(want), sm_dtype_name(a->dtype));
    if (kind == 'f' || a->dtype == want)
        return SM_OK;
    int64_t lo = want == SM_BOOL ? 0 : sm_dtype_min(want), hi = want == SM_BOOL ? 1 : sm_dtype_max(want);
    uint64_t n = sm_array_numel(a);
    for (uint64_t i = 0; i < n; i++) {
        int64_t x = kind == 'b' ? ((const uint8_t *)a->data)[i] != 0 : sm_code_get(a->dtype, a->data, i);
        if (x < lo || x > hi)
            return SM_FAIL(err, SM_BADINPUT,
                           "input '%s' of function '%s': element %" PRIu64 ": wanted %s, found %" PRId64 " (%s)",
                           v->name, f->name, i, sm_dtype_name(want), x, sm_dtype_name(a->dtype));
    }
    return SM_OK;
}

static bool is_input(const sm_func *f, const char *name) {
    for (int i = 0; i < f->body->n_in; i++)
        if (f->body->in[i]->type.kind == SM_V_TENSOR && strcmp(f->body->in[i]->name, name) == 0)
            return true;
    return false;
}

static sm_status unknown_input(const sm_func *f, const char *name, sm_err *err) {
    sm_str names = SM_STR_INIT;
    for (int i = 0; i < f->body->n_in; i++)
        if (f->body->in[i]->type.kind == SM_V_TENSOR)
            sm_str_addf(&names, "%s'%s'", names.n > 0 ? ", " : "", f->body->in[i]->name);
    sm_status st = SM_FAIL(err, SM_BADINPUT, "function '%s' has no input %s: wanted %s", f->name,
                           sm_quote(name, strlen(name)), sm_str_z(&names));
    sm_str_free(&names);
    return st;
}

sm_status sm_call_bind(const sm_func *f, const sm_arrays *in, sm_binding *b, sm_err *err) {
    *b = (sm_binding){.n_sym = sm_graph_n_symbols(f->graph)};
    b->sym = sm_alloc_n((size_t)b->n_sym, sizeof *b->sym);
    if (b->sym == NULL)
        return SM_NOMEM(err);
    for (int k = 0; k < b->n_sym; k++)
        b->sym[k] = -1;
    for (size_t i = 0; i < in->n; i++)
        if (!is_input(f, in->v[i].name))
            return unknown_input(f, in->v[i].name, err);
    for (int i = 0; i < f->body->n_in; i++) {
        const sm_value *v = f->body->in[i];
        if (v->type.kind != SM_V_TENSOR)
            continue;
        const sm_array *a = sm_arrays_find(in, v->name);
        if (a == NULL)
            return SM_FAIL(err, SM_BADINPUT, "input '%s' of function '%s' is not given", v->name, f->name);
        SM_TRY(check_dtype(f, v, a, err));
        SM_TRY(bind_extents(f, v, a, b, err));
    }
    SM_TRY(check_shapes(f, in, b, err));
    for (int i = 0; i < f->body->n_in; i++)
        if (f->body->in[i]->type.kind == SM_V_TENSOR)
            SM_TRY(check_expressions(f, f->body->in[i], sm_arrays_find(in, f->body->in[i]->name), b, err));
    return SM_OK;
}

sm_status sm_call_dims(const sm_func *f, const sm_value *v, const sm_binding *b, int64_t *dims, sm_err *err) {
    for (int i = 0; i < v->type.rank; i++) {
        sm_dim d = v->type.dims[i];
        dims[i] = d == SM_DIM_UNKNOWN ? -1 : sm_dim_known(d) ? d : sm_dim_eval(f->graph, d, b->sym);
        if (dims[i] < 0)
            return SM_FAIL(err, SM_UNSUPPORTED,
                           "extent %d of '%s' in function '%s' depends on values, not on input shapes", i, v->name,
                           f->name);
    }
    return SM_OK;
}

/* ---- states ---- */

sm_status sm_call_states(const sm_func *f, sm_states *st, sm_err *err) {
    const sm_binding none = {0};
    for (int i = 0; i < f->body->n_in; i++) {
        const sm_value *v = f->body->in[i];
        if (v->type.kind != SM_V_STATE)
            continue;
        int64_t dims[SM_MAX_RANK];
        for (int k = 0; k < v->type.rank; k++)
            if (!sm_dim_known(v->type.dims[k]))
                return SM_FAIL(err, SM_UNSUPPORTED, "state '%s' of function '%s' has a flexible shape", v->name,
                               f->name);
        SM_TRY(sm_call_dims(f, v, &none, dims, err));
        const sm_array *a = sm_arrays_find(&st->a, v->name);
        if (a == NULL) {
            sm_array *s = sm_arrays_add(&st->a);
            if (s == NULL)
                return SM_NOMEM(err);
            sm_status status = sm_array_new(s, v->name, sm_call_dtype(v->type.dtype), v->type.rank, dims, err);
            if (status != SM_OK) {
                st->a.n--;
                return status;
            }
        } else if (a->dtype != sm_call_dtype(v->type.dtype) || a->rank != v->type.rank ||
                   memcmp(a->dims, dims, sizeof dims[0] * (size_t)a->rank) != 0) {
            return SM_FAIL(err, SM_BADINPUT,
                           "state '%s' of function '%s' has another type than the function before it gave it", v->name,
                           f->name);
        }
    }
    return SM_OK;
}

/* ---- compile ---- */

sm_status sm_call_check_func(const sm_func *f, const sm_limits *lim, sm_err *err) {
    if (!sm_func_is_rows(f))
        return SM_OK;
    if (lim == NULL || lim->max_rows < 1 || lim->max_out < 0 || lim->max_ctx < 1 || lim->max_seqs < 1 ||
        lim->page_tokens < 1 || (lim->page_tokens & (lim->page_tokens - 1)) != 0 || lim->n_pages < 1)
        return SM_FAIL(err, SM_USAGE, "function '%s': limits of rows, context or KV pages make no sense", f->name);
    return SM_OK;
}

static sm_status check_seq(const sm_batch *b, const sm_batch_seq *s, int32_t row, const sm_limits *lim, sm_err *err) {
    if (s->row0 != row || s->n_rows < 1 || s->past < 0 || s->n_rows > b->n_rows - row)
        return SM_FAIL(err, SM_USAGE, "batch: sequence rows %d + %d do not follow row %d of %d", s->row0, s->n_rows,
                       row, b->n_rows);
    if (s->past > lim->max_ctx - s->n_rows)
        return SM_FAIL(err, SM_RESOURCE, "context is full: %d positions wanted, %d there", s->past + s->n_rows,
                       lim->max_ctx);
    int32_t n_pages = (s->past + s->n_rows - 1) / lim->page_tokens + 1;
    for (int32_t i = 0; i < n_pages; i++)
        if (s->pages[i] < 0 || s->pages[i] >= lim->n_pages)
            return SM_FAIL(err, SM_USAGE, "batch: KV page %d outside 0..%d", s->pages[i], lim->n_pages - 1);
    return SM_OK;
}

sm_status sm_batch_check(const sm_batch *b, const sm_limits *lim, sm_err *err) {
    if (b->n_rows < 0 || b->n_rows > lim->max_rows || b->n_out < 0 || b->n_out > lim->max_out || b->n_seqs < 0 ||
        b->n_seqs > lim->max_seqs)
        return SM_FAIL(err, SM_USAGE, "batch of %d rows, %d sequences, %d outputs is over the limits %d, %d, %d",
                       b->n_rows, b->n_seqs, b->n_out, lim->max_rows, lim->max_seqs, lim->max_out);
    int32_t row = 0;
    for (int32_t i = 0; i < b->n_seqs; i++) {
        SM_TRY(check_seq(b, &b->seqs[i], row, lim, err));
        row += b->seqs[i].n_rows;
    }
    if (row != b->n_rows)
        return SM_FAIL(err, SM_USAGE, "batch: sequences hold %d rows of %d", row, b->n_rows);
    for (int32_t i = 0; i < b->n_out; i++)
        if (b->out[i] < 0 || b->out[i] >= b->n_rows)
            return SM_FAIL(err, SM_USAGE, "batch: wanted row %d outside 0..%d", b->out[i], b->n_rows - 1);
    return SM_OK;
}
