/* SPDX-License-Identifier: MIT
 *
 * constants.c: constants of a graph.
 *
 * Small dense ones are interned by type and bytes, so that parameters are shared between nodes, functions and passes
 * without anybody trying.  Named ones (weights, parameters of a file that is read) stay apart.  Integers and bools of up
 * to 64 elements carry their elements as symbolic value, like the results of shape arithmetic do.
 */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "graph/graph_int.h"

static sm_value *no_memory(sm_builder *b) {
    if (b->st == SM_OK)
        b->st = SM_NOMEM(&b->err);
    return NULL;
}

bool sm_const_sym(sm_graph *g, sm_value *v) {
    const sm_const *c = v->cst;
    int64_t n = sm_type_numel(&v->type, SM_SYM_ELEMS);
    bool small = n >= 0 && c->n_str == 0 && (sm_is_int(v->type.dtype) || v->type.dtype == SM_BOOL) &&
                 c->src.enc.id == SM_ENC_DENSE && c->src.enc.code == v->type.dtype && c->want.id == SM_ENC_DENSE &&
                 c->src.part[SM_PART_DATA].p != NULL;
    if (!small || sm_dtype_bits(v->type.dtype) > 64)
        return true;
    v->sym = sm_arena_alloc_n(g->arena, (size_t)n + 1, sizeof *v->sym);
    if (v->sym == NULL)
        return false;
    const uint8_t *p = c->src.part[SM_PART_DATA].p;
    for (int64_t i = 0; i < n; i++) {
        int64_t x = v->type.dtype == SM_BOOL ? p[i] != 0 : sm_code_get(v->type.dtype, p, (uint64_t)i);
        if (!sm_dim_known(x) || (v->type.dtype == SM_UINT64 && x < 0)) {
            v->sym = NULL; /* no extent is like this */
            return true;
        }
        v->sym[i] = x;
    }
    return true;
}

sm_value *sm_const_make(sm_builder *b, const char *name, const sm_tensor *src, const sm_encoding *want,
                        sm_dtype want_dtype) {
    if (b->st != SM_OK)
        return NULL;
    sm_graph *g = b->g;
    sm_value *v = sm_value_new(g);
    sm_const *c = v != NULL ? sm_arena_alloc(g->arena, sizeof *c) : NULL;
    if (c == NULL)
        return no_memory(b);
    c->src = *src;
    c->want = *want;
    c->want_dtype = want_dtype;
    sm_tensor_fold(&c->src, &c->want);
    v->cst = c;
    v->type = (sm_type){.kind = SM_V_TENSOR, .dtype = want_dtype, .rank = c->src.rank + c->src.ones};
    for (int i = 0; i < v->type.rank; i++)
        v->type.dims[i] = i < c->src.rank ? c->src.dims[i] : 1;
    if (!sm_const_name(g, v, name) || !sm_const_sym(g, v))
        return no_memory(b);
    return v;
}

sm_value *sm_const_tensor(sm_builder *b, const char *name, const sm_tensor *src) {
    if (b->st != SM_OK)
        return NULL;
    assert(src->rank >= 0 && src->rank <= SM_MAX_RANK);
    return sm_const_make(b, name, src, &src->enc, src->dtype);
}

/* Copies dense data; NULL when out of memory or when the size does not fit. */
static bool copy_dense(sm_builder *b, sm_dtype t, int rank, const int64_t *dims, const void *data, sm_tensor *out) {
    size_t bytes[SM_PART_COUNT];
    sm_encoding enc = sm_enc_dense(t);
    b->st = sm_enc_sizes(&enc, rank, dims, bytes, &b->err);
    if (b->st != SM_OK)
        return false;
    void *p = sm_arena_alloc(b->g->arena, SM_MAX(bytes[SM_PART_DATA], 1));
    if (p == NULL) {
        no_memory(b);
        return false;
    }
    if (bytes[SM_PART_DATA] > 0)
        memcpy(p, data, bytes[SM_PART_DATA]);
    *out = sm_tensor_dense(t, rank, dims, p);
    out->part[SM_PART_DATA] = (sm_bytes){p, bytes[SM_PART_DATA]};
    return true;
}

sm_value *sm_const_data(sm_builder *b, const char *name, sm_dtype t, int rank, const int64_t *dims, const void *data) {
    sm_tensor src;
    if (b->st != SM_OK || !copy_dense(b, t, rank, dims, data, &src))
        return NULL;
    return sm_const_make(b, name, &src, &src.enc, t);
}

sm_value *sm_const_as(sm_builder *b, const sm_value *v, const sm_encoding *want, sm_dtype want_dtype) {
    if (b->st != SM_OK || v == NULL)
        return NULL;
    assert(v->cst != NULL && v->cst->n_str == 0);
    return sm_const_make(b, v->name, &v->cst->src, want, want_dtype);
}

/* A constant of numbers; else the builder has an error. */
static bool is_numbers(sm_builder *b, const sm_value *v) {
    if (v->cst != NULL && v->cst->n_str == 0)
        return true;
    b->st = SM_FAIL(&b->err, SM_UNSUPPORTED, "'%s': wanted a constant of numbers", v->name);
    return false;
}

sm_value *sm_const_behind(sm_builder *b, const sm_value *v, int ones) {
    if (b->st != SM_OK || v == NULL)
        return NULL;
    if (!is_numbers(b, v))
        return NULL;
    assert(v->type.rank + ones <= SM_MAX_RANK);
    sm_tensor t = v->cst->src;
    t.ones += ones;
    return sm_const_make(b, v->name, &t, &v->cst->want, v->cst->want_dtype);
}

sm_value *sm_const_rows(sm_builder *b, const sm_value *v, int64_t row, int64_t n) {
    sm_tensor t;
    if (b->st != SM_OK || v == NULL || !is_numbers(b, v))
        return NULL;
    if (!sm_tensor_slice(&v->cst->src, row, n, &t)) {
        b->st = SM_FAIL(&b->err, SM_UNSUPPORTED, "constant '%s': rows %" PRId64 " to %" PRId64 " cannot be cut out",
                        v->name, row, row + n);
        return NULL;
    }
    sm_encoding want = v->cst->want;
    if (want.id == SM_ENC_LUT && want.block[0] == v->cst->src.dims[0]) /* one palette in all: one for each cut */
        want.block[0] = n;
    return sm_const_make(b, v->name, &t, &want, v->cst->want_dtype);
}

/* ---- interned ---- */

enum { KEY_MAX = 16 + 8 * SM_MAX_RANK + 8 * SM_SYM_ELEMS };

/* The constant of this content; NULL when there is none yet. */
static sm_value *known(sm_builder *b, sm_sv key) {
    int64_t i;
    return sm_map_get(b->g->priv->const_of, key, &i) ? b->g->priv->interned.v[i] : NULL;
}

static sm_value *remember(sm_builder *b, sm_sv key, sm_value *v) {
    struct sm_graph_priv *p = b->g->priv;
    if (v == NULL)
        return NULL;
    char *kept = sm_arena_strndup(b->g->arena, key.p, key.n);
    if (kept == NULL || !SM_GROW(&p->interned))
        return no_memory(b);
    if (!sm_map_put(p->const_of, (sm_sv){kept, key.n}, (int64_t)p->interned.n, NULL, NULL))
        return no_memory(b);
    p->interned.v[p->interned.n++] = v;
    return v;
}

sm_value *sm_const_intern(sm_builder *b, sm_dtype t, int rank, const int64_t *dims, const void *data) {
    char key[KEY_MAX];
    size_t bytes, n = 1, at;
    if (b->st != SM_OK)
        return NULL;
    for (int i = 0; i < rank; i++)
        n *= (size_t)dims[i];
    if (n > SM_SYM_ELEMS || !sm_dtype_bytes(t, n, &bytes))
        return sm_const_data(b, "c", t, rank, dims, data);
    memset(key, 0, 8);
    key[0] = (char)t;
    key[1] = (char)rank;
    at = 8;
    if (rank > 0)
        memcpy(key + at, dims, (size_t)rank * sizeof *dims);
    at += (size_t)rank * sizeof *dims;
    if (bytes > 0)
        memcpy(key + at, data, bytes);
    sm_value *v = known(b, (sm_sv){key, at + bytes});
    return v != NULL ? v : remember(b, (sm_sv){key, at + bytes}, sm_const_data(b, "c", t, rank, dims, data));
}

sm_value *sm_const_strs(sm_builder *b, const char *name, const sm_sv *strs, size_t n, bool scalar) {
    if (b->st != SM_OK)
        return NULL;
    sm_graph *g = b->g;
    sm_value *v = sm_value_new(g);
    sm_const *c = v != NULL ? sm_arena_alloc(g->arena, sizeof *c) : NULL;
    sm_sv *copy = sm_arena_alloc_n(g->arena, n + 1, sizeof *copy);
    if (c == NULL || copy == NULL)
        return no_memory(b);
    for (size_t i = 0; i < n; i++) {
        copy[i].p = sm_arena_strndup(g->arena, strs[i].p != NULL ? strs[i].p : "", strs[i].n);
        copy[i].n = strs[i].n;
        if (copy[i].p == NULL)
            return no_memory(b);
    }
    c->strs = copy;
    c->n_str = n;
    c->src.dtype = c->want_dtype = SM_STRING;
    c->src.rank = scalar ? 0 : 1;
    c->src.dims[0] = (int64_t)n;
    v->cst = c;
    v->type = (sm_type){.kind = SM_V_TENSOR, .dtype = SM_STRING, .rank = c->src.rank, .dims = {(int64_t)n}};
    return sm_const_name(g, v, name) ? v : no_memory(b);
}

sm_value *sm_const_str(sm_builder *b, const char *v) {
    if (b->st != SM_OK)
        return NULL;
    sm_sv s = sm_sv_of(v);
    char key[KEY_MAX];
    if (s.n + 1 > sizeof key)
        return sm_const_strs(b, "c", &s, 1, true);
    key[0] = (char)SM_STRING;
    memcpy(key + 1, s.p, s.n);
    sm_value *old = known(b, (sm_sv){key, s.n + 1});
    return old != NULL ? old : remember(b, (sm_sv){key, s.n + 1}, sm_const_strs(b, "c", &s, 1, true));
}

sm_value *sm_const_i32(sm_builder *b, int32_t v) {
    return sm_const_intern(b, SM_INT32, 0, NULL, &v);
}

sm_value *sm_const_i32s(sm_builder *b, const int32_t *v, int n) {
    int64_t dims[1] = {n};
    return sm_const_intern(b, SM_INT32, 1, dims, v);
}

sm_value *sm_const_bool(sm_builder *b, bool v) {
    uint8_t byte = v;
    return sm_const_intern(b, SM_BOOL, 0, NULL, &byte);
}

sm_value *sm_const_bools(sm_builder *b, const bool *v, int n) {
    uint8_t bytes[SM_SYM_ELEMS];
    int64_t dims[1] = {n};
    assert(n >= 0 && n <= SM_SYM_ELEMS);
    for (int i = 0; i < n; i++)
        bytes[i] = v[i];
    return sm_const_intern(b, SM_BOOL, 1, dims, bytes);
}

sm_value *sm_const_f(sm_builder *b, sm_dtype t, double v) {
    float f = (float)v;
    uint16_t h = sm_f32_to_f16(f);
    assert(t == SM_FP16 || t == SM_FP32);
    return sm_const_intern(b, t, 0, NULL, t == SM_FP16 ? (const void *)&h : (const void *)&f);
}
