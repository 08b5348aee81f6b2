/* SPDX-License-Identifier: MIT
 *
 * raise_weight.c: weights [out, in] of linear layers out of the constants that programs hold.
 *
 * A 1x1 convolution's [out, in, 1, 1] is the same bytes with two axes less.  Rows of a weight are a run of its bytes, part
 * by part, where its blocks and its bytes divide there; weights one below the other are their bytes joined.  Nothing is
 * decoded, but for a dense weight that stands the other way (matmul of a row by a matrix), which is turned.
 */
#include "pass/raise_int.h"

#include <string.h>

/* ------------------------------------------------------------------ views */
static bool only_axes(const sm_type *t, int a, int b) {
    for (int i = 0; i < t->rank; i++)
        if (i != a && i != b && t->dims[i] != 1)
            return false;
    return a != b;
}

static void keep_axes(sm_encoding *e, int a, int b) {
    e->block[0] = e->block[a];
    e->block[1] = e->block[b];
    e->sc_block[0] = e->sc_block[a];
    e->sc_block[1] = e->sc_block[b];
    for (int i = 2; i < SM_MAX_RANK; i++)
        e->block[i] = e->sc_block[i] = 0;
}

/* Axes a < b of c, all others being 1. */
static sm_value *view(sm_raise *z, sm_value *c, int a, int b) {
    sm_tensor t = c->cst->src;
    sm_encoding want = c->cst->want;
    if (t.deinterleave != 0 || (t.enc.vec > 1 && t.enc.vec_axis != a && t.enc.vec_axis != b) ||
        !sm_enc_eq(&t.enc, &want, t.rank) || sm_enc_row_of(t.enc.id)->kind == SM_KIND_BLOCK)
        return NULL;
    if (t.enc.vec > 1)
        t.enc.vec_axis = t.enc.vec_axis == a ? 0 : 1;
    t.dims[0] = c->type.dims[a];
    t.dims[1] = c->type.dims[b];
    t.rank = 2;
    for (int i = 2; i < SM_MAX_RANK; i++)
        t.dims[i] = 0;
    keep_axes(&t.enc, a, b);
    return sm_const_tensor(z->b, c->name, &t);
}

/* The same bytes as `like`: then it is one weight, which backends hold once. */
static bool same_bytes(const sm_value *a, const sm_value *like) {
    const sm_tensor *x = &a->cst->src, *y = &like->cst->src;
    return x->part[SM_PART_DATA].p == y->part[SM_PART_DATA].p && x->part[SM_PART_DATA].p != NULL &&
           x->rank == y->rank && memcmp(x->dims, y->dims, (size_t)x->rank * sizeof *x->dims) == 0 &&
           sm_enc_eq(&x->enc, &y->enc, x->rank) && x->part[SM_PART_LUT].p == y->part[SM_PART_LUT].p &&
           x->part[SM_PART_SCALE].p == y->part[SM_PART_SCALE].p;
}

/* [in, out] as [out, in]; dense ones only. */
static sm_value *turned(sm_raise *z, sm_value *c) {
    const sm_tensor *t = &c->cst->src;
    int64_t dims[2];
    size_t n;
    if (t->enc.id != SM_ENC_DENSE || (t->enc.code != SM_FP16 && t->enc.code != SM_FP32))
        return NULL;
    int64_t rows = c->type.dims[c->type.rank - 2], cols = c->type.dims[c->type.rank - 1];
    float *x = sm_raise_floats(z, c, &n);
    if (x == NULL)
        return NULL;
    bool half = t->enc.code == SM_FP16;
    uint8_t *y = sm_alloc_n(n, half ? 2 : 4);
    for (int64_t i = 0; y != NULL && i < rows; i++)
        for (int64_t k = 0; k < cols; k++)
            if (half)
                ((uint16_t *)(void *)y)[k * rows + i] = sm_f32_to_f16(x[i * cols + k]);
            else
                ((float *)(void *)y)[k * rows + i] = x[i * cols + k];
    dims[0] = cols;
    dims[1] = rows;
    sm_value *v = y != NULL ? sm_const_data(z->b, c->name, half ? SM_FP16 : SM_FP32, 2, dims, y) : NULL;
    if (y == NULL && z->b->st == SM_OK)
        z->b->st = SM_NOMEM(&z->b->err);
    sm_free(y);
    sm_free(x);
    return v;
}

sm_value *sm_raise_weight(sm_raise *z, sm_value *c, int out_axis, int in_axis) {
    if (c->cst == NULL || sm_dtype_kind(c->type.dtype) != 'f' || !only_axes(&c->type, out_axis, in_axis))
        return NULL;
    if (c->type.rank == 2 && out_axis == 0)
        return c;
    sm_value **made = c->id < z->n_values ? &z->m[c->id].row : NULL; /* constants have no meaning of their own */
    if (made != NULL && *made != NULL)
        return *made;
    sm_value *w = NULL;
    if (out_axis < in_axis)
        w = view(z, c, out_axis, in_axis);
    else if (in_axis == c->type.rank - 2)
        w = turned(z, c);
    if (w != NULL && z->table != NULL && same_bytes(w, z->table))
        w = z->table;
    if (made != NULL)
        *made = w;
    return w;
}

/* ------------------------------------------------------------------ rows of a weight */
/* Bytes of a part per `rows` rows of the tensor; 0 when rows do not end on a byte, or blocks do not divide there. */
static size_t part_bytes(const sm_tensor *t, int part, int64_t rows) {
    size_t bytes[SM_PART_COUNT];
    sm_err err = {0};
    int64_t dims[SM_MAX_RANK];
    memcpy(dims, t->dims, sizeof dims);
    dims[0] = rows;
    sm_encoding e = t->enc;
    if (e.id != SM_ENC_DENSE && e.block[0] > rows)
        e.block[0] = rows;
    return sm_enc_sizes(&e, t->rank, dims, bytes, &err) == SM_OK ? bytes[part] : 0;
}

static bool divides(const sm_tensor *t, int64_t at) {
    sm_enc_kind k = sm_enc_row_of(t->enc.id)->kind;
    int64_t cols = t->rank > 1 ? sm_tensor_cols(t) : 1;
    if (t->deinterleave != 0 || (t->enc.vec > 1 && t->enc.vec_axis == 0) || t->enc.sc != SM_NONE)
        return false;
    if (k == SM_KIND_DENSE)
        return true;
    if (k == SM_KIND_BLOCK)
        return true;
    return t->enc.block[0] > 0 && (t->enc.block[0] >= t->dims[0] ? k == SM_KIND_LUT : at % t->enc.block[0] == 0) &&
           at * cols * sm_dtype_bits(t->enc.code) % 8 == 0;
}

sm_value *sm_raise_weight_rows(sm_raise *z, sm_value *w, int64_t lo, int64_t hi) {
    sm_tensor t = w->cst->src;
    if (lo == 0 && hi == w->type.dims[0])
        return w;
    if (lo < 0 || hi <= lo || hi > w->type.dims[0] || !sm_enc_eq(&t.enc, &w->cst->want, t.rank) || !divides(&t, lo) ||
        !divides(&t, hi))
        return NULL;
    bool one_table = sm_enc_row_of(t.enc.id)->kind == SM_KIND_LUT && t.enc.block[0] >= t.dims[0];
    for (int p = 0; p < SM_PART_COUNT; p++) {
        if (t.part[p].n == 0 || (p == SM_PART_LUT && one_table))
            continue;
        size_t from = lo > 0 ? part_bytes(&t, p, lo) : 0, to = part_bytes(&t, p, hi);
        if (to <= from || to > t.part[p].n)
            return NULL;
        if (t.part[p].p != NULL)
            t.part[p].p = (const uint8_t *)t.part[p].p + from;
        t.part[p].n = to - from;
    }
    t.dims[0] = hi - lo;
    if (one_table)
        t.enc.block[0] = hi - lo;
    return sm_const_tensor(z->b, w->name, &t);
}

/* ------------------------------------------------------------------ weights joined */
static bool joins(const sm_tensor *a, const sm_tensor *b, int64_t rows) {
    sm_encoding x = a->enc, y = b->enc;
    if (x.id != SM_ENC_DENSE && x.block[0] >= a->dims[0])
        x.block[0] = y.block[0] = b->dims[0] == rows ? rows : 0;
    return a->rank == b->rank && (a->rank < 2 || a->dims[1] == b->dims[1]) && a->dtype == b->dtype &&
           sm_enc_eq(&x, &y, a->rank) && divides(a, a->dims[0]) && a->deinterleave == b->deinterleave &&
           a->part[SM_PART_DATA].p != NULL && b->part[SM_PART_DATA].p != NULL;
}

sm_value *sm_raise_weight_join(sm_raise *z, sm_value *const *w, int n) {
    sm_tensor t = w[0]->cst->src;
    int64_t rows = 0, each = t.dims[0];
    for (int i = 0; i < n; i++) {
        if (!joins(&t, &w[i]->cst->src, each) || (t.enc.id != SM_ENC_DENSE && w[i]->type.dims[0] != each))
            return NULL;
        rows += w[i]->type.dims[0];
    }
    for (int p = 0; p < SM_PART_COUNT; p++) {
        size_t bytes = 0, at = 0;
        for (int i = 0; i < n; i++)
            bytes += w[i]->cst->src.part[p].n;
        if (bytes == 0)
            continue;
        uint8_t *x = sm_arena_alloc(z->b->g->arena, bytes);
        if (x == NULL) {
            z->b->st = SM_NOMEM(&z->b->err);
            return NULL;
        }
        for (int i = 0; i < n; i++) {
            const sm_bytes *from = &w[i]->cst->src.part[p];
            memcpy(x + at, from->p, from->n);
            at += from->n;
        }
        t.part[p] = (sm_bytes){x, bytes};
    }
    t.dims[0] = rows;
    return sm_const_tensor(z->b, w[0]->name, &t);
}
