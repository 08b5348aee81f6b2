/* SPDX-License-Identifier: MIT
 *
 * raise_pair.c: rotary embedding of neighbours: elements 2i and 2i + 1 of a head turn by angle i.
 *
 *     [x0 cos - x1 sin, x1 cos + x0 sin] stacked behind, and flattened;  x0, x1 = x in steps of 2, or x [.., d / 2, 2]
 *
 * The row form turns halves.  A row of the layer's weight is a feature, so the layer with its rows in another order (a view,
 * `deinterleave`) gives the even elements of each head in front of the odd ones; those halves turn as any others.  What
 * stands in pairs as written (M_PAIRED) is then in halves in the row function.  That is one thing only where both sides of a
 * product stand so: such queries meet such keys, whether they come from a cache or not, and nothing else.
 */
#include "pass/raise_int.h"

#include <string.h>

static sm_value *base_of(sm_value *row) {
    while (row != NULL && row->def != NULL && row->def->op == SM_OP_RESHAPE)
        row = sm_arg(row->def, "x");
    return row;
}

bool sm_raise_is_paired(const sm_raise *z, const sm_value *row) {
    const sm_value *b = base_of((sm_value *)row);
    for (int i = 0; i < z->n_paired; i++)
        if (z->paired[i] == b)
            return true;
    return false;
}

/* ------------------------------------------------------------------ a layer's rows in halves */
static sm_value *bias_in_halves(sm_raise *z, sm_value *bias, int64_t d) {
    size_t n = 0;
    float *x = sm_raise_floats(z, bias, &n), *y = x != NULL ? sm_alloc_n(n, sizeof *y) : NULL;
    int64_t len = (int64_t)n;
    sm_value *v = NULL;
    for (int64_t i = 0; y != NULL && i < len; i++) {
        int64_t at = i % d;
        y[i] = x[i - at + (at < d / 2 ? 2 * at : 2 * (at - d / 2) + 1)];
    }
    if (y != NULL)
        v = sm_const_data(z->b, bias->name, SM_FP32, 1, &len, y);
    else if (x != NULL && z->b->st == SM_OK)
        z->b->st = SM_NOMEM(&z->b->err);
    sm_free(x);
    sm_free(y);
    return v;
}

/* row [t, .., d] of a linear layer with the even elements of each head before the odd ones; the same value for the same
 * question.  NULL: it is no such layer. */
static sm_value *in_halves(sm_raise *z, sm_value *row, int64_t heads, int64_t d) {
    sm_value *from = base_of(row);
    const sm_node *n = from->def;
    if (n == NULL || n->op != SM_OP_LINEAR || from->type.rank != 2 || d % 2 != 0 || heads * d != from->type.dims[1])
        return NULL;
    for (int i = 0; i < z->n_halved; i++)
        if (z->halved[i][0] == from && sm_arg(z->halved[i][1]->def, "weight")->cst->src.deinterleave == d)
            return sm_raise_shape(z, z->halved[i][1], 2, (int64_t[]){heads, d});
    sm_value *w = sm_arg(n, "weight"), *bias = sm_arg(n, "bias");
    if (z->n_halved == SM_RAISE_PAIRS || w->cst == NULL || w->type.rank != 2 || w->cst->src.rank != 2 ||
        w->cst->src.deinterleave != 0 || !sm_enc_eq(&w->cst->src.enc, &w->cst->want, 2) || d > INT32_MAX)
        return NULL;
    sm_tensor t = w->cst->src;
    t.deinterleave = (int32_t)d;
    sm_value *in[SM_MAX_SLOTS] = {sm_arg(n, "x"), sm_const_tensor(z->b, w->name, &t), NULL};
    if (bias != NULL)
        in[2] = bias_in_halves(z, bias, d);
    if (in[1] == NULL || (bias != NULL && in[2] == NULL))
        return NULL;
    sm_value *made = sm_raise_again(z, SM_OP_LINEAR, in);
    if (made == NULL)
        return NULL;
    z->halved[z->n_halved][0] = from;
    z->halved[z->n_halved++][1] = made;
    return sm_raise_shape(z, made, 2, (int64_t[]){heads, d});
}

static bool halved(const sm_raise *z, sm_value *row) {
    for (int i = 0; i < z->n_halved; i++)
        if (z->halved[i][1] == base_of(row))
            return true;
    return false;
}

/* Every second element of heads, from 0 or 1: a half of them in the other order. */
static bool every_second(sm_raise *z, const sm_node *n) {
    const sm_value *v = sm_arg(n, "x");
    const sm_meaning *x = sm_raise_of(z, v);
    sm_dim lo[SM_MAX_RANK], hi[SM_MAX_RANK];
    int64_t stride[SM_MAX_RANK];
    bool gone[SM_MAX_RANK];
    int axis = -1, last = sm_raise_last(x);
    if (x->kind != M_ROWS || x->f != 1 || x->last || !sm_is_whole(x) || x->n_piece != 2 || last != 1 ||
        !sm_slice_strided(z, n, &v->type, lo, hi, gone, stride))
        return false;
    for (int i = 0; i < v->type.rank; i++) {
        bool second = stride[i] == 2 && x->ax[i] == last && axis < 0 && (lo[i] == 0 || lo[i] == 1);
        if (gone[i] || (stride[i] == 1 && (lo[i] != 0 || hi[i] != v->type.dims[i])) || (stride[i] != 1 && !second))
            return false;
        if (second)
            axis = i;
    }
    if (axis < 0 || hi[axis] < x->piece[1] - 1 + lo[axis] || hi[axis] > x->piece[1])
        return false;
    sm_meaning y = *x;
    int64_t half = x->piece[1] / 2;
    y.row = in_halves(z, x->row, x->piece[0], x->piece[1]);
    y.piece[1] = half;
    y.lo = lo[axis] * half;
    y.hi = y.lo + half;
    return y.row != NULL && sm_raise_set(z, n, y);
}

/* ------------------------------------------------------------------ turned, and put back in pairs */
/* The two that turned, neighbours again. */
static bool interleaved(sm_raise *z, const sm_node *n) {
    int64_t axis = 0;
    int rank = n->out[0]->type.rank;
    if (n->n_list != 2 || !sm_arg_int(n, "axis", &axis))
        return false;
    const sm_meaning *a = sm_raise_of(z, n->list[0]), *b = sm_raise_of(z, n->list[1]);
    int last = sm_raise_last(a);
    if (a->kind != M_HALF_TURN || b->kind != M_HALF_TURN || a->second || !b->second || a->row != b->row ||
        a->lo != b->lo || a->hi != b->hi || a->freq != b->freq || a->sines != b->sines || a->f != b->f ||
        a->last != b->last || a->last || memcmp(a->ax, b->ax, (size_t)n->list[0]->type.rank) != 0 ||
        (axis < 0 ? axis + rank : axis) != rank - 1 || last != 1 || a->lo != 0 || z->n_paired == SM_RAISE_PAIRS)
        return false;
    int64_t heads = a->piece[0], half = a->piece[1];
    sm_meaning m = *a;
    const sm_dim *t = a->row->type.dims; /* [t, heads, d / 2, 2]: as it is, still in pairs */
    bool apart = a->row->type.rank == 4 && t[1] == heads && t[2] == half && t[3] == 2 && a->hi == 2;
    if (!apart && (a->row->type.rank != 3 || a->hi != 2 * half || !halved(z, a->row)))
        return false;
    m.row_k = apart ? in_halves(z, a->row, heads, 2 * half) : a->row;
    if (m.row_k == NULL)
        return false;
    m.n_piece = 2;
    m.piece[1] = 2 * half;
    m.klo = 0;
    m.khi = 2 * half;
    const sm_node *before = z->b->b->last;
    if (!sm_raise_turn_heads(z, &m, 2 * half) || before == NULL)
        return false;
    for (const sm_node *d = before; d != NULL; d = d->prev) /* not one that turned in halves as written, too */
        if (d->out[0] == base_of(m.row))
            return false;
    z->paired[z->n_paired++] = base_of(m.row);
    m.kind = M_PAIRED;
    m.n_piece = 3;
    m.piece[0] = heads;
    m.piece[1] = half;
    m.piece[2] = 2;
    m.ax[rank - 1] = 2;
    return sm_raise_set(z, n, m);
}

/* [.., d / 2, 2] as [.., d] */
static bool flattened(sm_raise *z, const sm_node *n) {
    const sm_type *a = &sm_arg(n, "x")->type, *b = &n->out[0]->type;
    sm_meaning m = *sm_raise_arg(z, n, "x");
    if (m.kind != M_PAIRED || m.n_piece != 3 || b->rank != a->rank - 1 || m.ax[a->rank - 1] != 2 ||
        m.ax[a->rank - 2] != 1)
        return false;
    for (int i = 0; i < b->rank - 1; i++)
        if (a->dims[i] != b->dims[i])
            return false;
    m.n_piece = 2;
    m.piece[1] *= 2;
    return sm_raise_set(z, n, m);
}

sm_meaning sm_raise_unpaired(const sm_meaning *m) {
    sm_meaning y = *m;
    int64_t head = m->kind == M_PAIRED ? m->row->type.dims[m->row->type.rank - 1] : 0;
    if (m->kind != M_PAIRED || m->piece[m->n_piece - 1] != head)
        return y;
    y.kind = M_ROWS;
    y.f = 1;
    y.lo = 0;
    y.hi = head;
    return y;
}

bool sm_raise_pair_op(sm_raise *z, const sm_node *n) {
    switch (n->op) {
    case SM_OP_SLICE_BY_INDEX:
        return every_second(z, n);
    case SM_OP_STACK:
        return interleaved(z, n);
    case SM_OP_RESHAPE:
        return flattened(z, n);
    default:
        return false;
    }
}
