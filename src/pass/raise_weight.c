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

sm_value *sm_raise_plain(sm_raise *z, sm_value *c) {
    return c->cst->src.ones > 0 ? sm_const_behind(z->b, c, -c->cst->src.ones) : c;
}

/* The same bytes as `like`: then it is one weight, which backends hold once. */
static bool same_bytes(const sm_value *a, const sm_value *like) {
    const sm_tensor *x = &a->cst->src, *y = &like->cst->src;
    return x->part[SM_PART_DATA].p == y->part[SM_PART_DATA].p && x->part[SM_PART_DATA].p != NULL &&
           x->rank == y->rank && memcmp(x->dims, y->dims, (size_t)x->rank * sizeof *x->dims) == 0 &&
           sm_enc_eq(&x->enc, &y->enc, x->rank) && sm_enc_eq(&a->cst->want, &like->cst->want, x->rank) &&
           x->part[SM_PART_LUT].p == y->part[SM_PART_LUT].p && x->part[SM_PART_SCALE].p == y->part[SM_PART_SCALE].p;
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
    if (out_axis == 0 && in_axis == 1 && c->cst->src.rank == 2)
        w = sm_raise_plain(z, c);
    else if (c->cst->src.ones > 0)
        return NULL;
    else if (out_axis < in_axis)
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
sm_value *sm_raise_weight_rows(sm_raise *z, sm_value *w, int64_t lo, int64_t hi) {
    sm_tensor part;
    if (lo == 0 && hi == w->type.dims[0])
        return w;
    return sm_tensor_slice(&w->cst->src, lo, hi - lo, &part) ? sm_const_rows(z->b, w, lo, hi - lo) : NULL;
}

/* ------------------------------------------------------------------ weights joined */
static int64_t common(int64_t a, int64_t b) {
    while (b != 0) {
        int64_t t = a % b;
        a = b;
        b = t;
    }
    return a;
}

/* Rows that a block of codes shares a scale or a palette in; 1 where nothing is shared. */
static int64_t shared(const sm_tensor *t) {
    sm_enc_kind k = sm_enc_row_of(t->enc.id)->kind;
    return k == SM_KIND_AFFINE || k == SM_KIND_LUT ? t->enc.block[0] : 1;
}

static bool alike(const sm_tensor *a, const sm_tensor *b) {
    sm_encoding x = a->enc, y = b->enc;
    x.block[0] = y.block[0] = 1;
    return a->rank == b->rank && a->rank <= 2 && (a->rank < 2 || a->dims[1] == b->dims[1]) && a->dtype == b->dtype &&
           sm_enc_eq(&x, &y, a->rank) && a->deinterleave == 0 && b->deinterleave == 0 && b->enc.sc == SM_NONE &&
           (b->enc.vec <= 1 || b->enc.vec_axis != 0) && b->part[SM_PART_DATA].p != NULL;
}

/* Pieces that were cut from one tensor lie behind each other. */
static bool behind_each_other(sm_value *const *w, int n) {
    for (int i = 1; i < n; i++)
        for (int p = 0; p < SM_PART_COUNT; p++) {
            const sm_bytes *a = &w[i - 1]->cst->src.part[p], *b = &w[i]->cst->src.part[p];
            if (shared(&w[i]->cst->src) != shared(&w[0]->cst->src) || (a->n > 0 && a->p + a->n != b->p))
                return false;
        }
    return true;
}

/* Part p of all pieces, scales and palettes once per `block` rows. */
static bool join_part(sm_raise *z, sm_value *const *w, int n, int p, int64_t block, sm_bytes *out) {
    size_t bytes = 0, at = 0;
    for (int i = 0; i < n; i++)
        bytes += w[i]->cst->src.part[p].n * (size_t)(p == SM_PART_DATA ? 1 : shared(&w[i]->cst->src) / block);
    *out = (sm_bytes){NULL, 0};
    if (bytes == 0)
        return true;
    uint8_t *x = sm_arena_alloc(z->b->g->arena, bytes);
    if (x == NULL) {
        z->b->st = SM_NOMEM(&z->b->err);
        return false;
    }
    for (int i = 0; i < n; i++) {
        const sm_tensor *t = &w[i]->cst->src;
        int64_t groups = p == SM_PART_DATA ? 1 : t->dims[0] / shared(t);
        int64_t times = p == SM_PART_DATA ? 1 : shared(t) / block;
        size_t each = t->part[p].n / (size_t)groups;
        if (each * (size_t)groups != t->part[p].n)
            return false;
        for (int64_t g = 0; g < groups; g++)
            for (int64_t k = 0; k < times; k++, at += each)
                memcpy(x + at, t->part[p].p + (size_t)g * each, each);
    }
    *out = (sm_bytes){x, bytes};
    return true;
}

sm_value *sm_raise_weight_join(sm_raise *z, sm_value *const *w, int n) {
    sm_tensor t = w[0]->cst->src;
    int64_t rows = 0, block = 0;
    if (n == 1)
        return w[0];
    for (int i = 0; i < n; i++) {
        const sm_tensor *p = &w[i]->cst->src;
        int64_t bits = p->rank > 1 && p->enc.code != SM_NONE ? p->dims[1] * sm_dtype_bits(p->enc.code) : 8;
        if (!alike(&t, p) || shared(p) < 1 || p->dims[0] % shared(p) != 0 || (i < n - 1 && p->dims[0] * bits % 8 != 0))
            return NULL;
        rows += p->dims[0];
        block = common(shared(p), block);
    }
    bool views = behind_each_other(w, n);
    for (int p = 0; p < SM_PART_COUNT; p++) {
        if (!views && !join_part(z, w, n, p, block, &t.part[p]))
            return NULL;
        for (int i = 1; views && i < n; i++)
            t.part[p].n += w[i]->cst->src.part[p].n;
    }
    t.dims[0] = rows;
    if (shared(&t) != block)
        t.enc.block[0] = block;
    sm_value *v = sm_const_tensor(z->b, w[0]->name, &t);
    bool same = v != NULL && z->table != NULL && same_bytes(v, z->table);
    return same ? z->table : v;
}
