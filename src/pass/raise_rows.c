/* SPDX-License-Identifier: MIT
 *
 * raise_rows.c: meanings of what acts on rows: embedding, linear layers in their four spellings, elementwise ops.
 *
 *   linear        x [.., in], weight [out, in]
 *   conv          x [1, in, ..], weight [out, in, 1, 1], no strides, pads or groups
 *   matmul        x [.., in], weight [in, out] or transposed; or weight [out, in], x [.., in, n]
 */
#include "pass/raise_int.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------ constants in row form: fp32 scalars, vectors */
bool sm_raise_const_along(const sm_value *x, const sm_meaning *m, const sm_value *c, int *role) {
    int shift = x->type.rank - c->type.rank;
    *role = AX_ONE;
    if (c->cst == NULL || sm_dtype_kind(c->type.dtype) != 'f')
        return false;
    for (int i = 0; i < c->type.rank; i++) {
        if (c->type.dims[i] == 1)
            continue;
        if (i + shift < 0 || *role != AX_ONE || m->ax[i + shift] < 0 || c->type.dims[i] != m->piece[m->ax[i + shift]])
            return false;
        *role = m->ax[i + shift];
    }
    return shift >= 0;
}

sm_value *sm_raise_vector(sm_raise *z, sm_value *c, double f) {
    size_t n = 0;
    float *x = sm_raise_floats(z, c, &n);
    if (x == NULL)
        return NULL;
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(x[i] * f);
    int64_t len = (int64_t)n;
    sm_value *v = n == 1 ? sm_const_f(z->b, SM_FP32, x[0]) : sm_const_data(z->b, c->name, SM_FP32, 1, &len, x);
    sm_free(x);
    return v;
}

static bool all_zero(sm_raise *z, const sm_value *c) {
    size_t n = 0;
    float *x = sm_raise_floats(z, c, &n);
    bool zero = x != NULL;
    for (size_t i = 0; i < n && zero; i++)
        zero = x[i] == 0;
    sm_free(x);
    return zero;
}

/* ------------------------------------------------------------------ elementwise */
/* A row value with its factor applied; a square that no mean wants is a product.  Others: kind M_NONE. */
static sm_meaning operand(sm_raise *z, const sm_meaning *m) {
    sm_meaning y = *m;
    if (m->kind == M_SQUARE && m->over == NULL && sm_is_whole(m)) {
        sm_value *in[SM_MAX_SLOTS] = {m->row, m->row};
        y.kind = M_ROWS;
        y.row = sm_raise_again(z, SM_OP_MUL, in);
    }
    if (y.kind == M_ROWS && y.row != NULL &&
        !sm_is_whole(&y)) { /* rows of one weight: gate and up in one, q k v in one */
        const sm_node *d = y.row->def;
        while (d != NULL && d->op == SM_OP_RESHAPE)
            d = sm_arg(d, "x")->def;
        if (d != NULL && d->op == SM_OP_LINEAR && y.row->type.rank == 2 && d->out[0]->type.rank == 2) {
            sm_value *bias = sm_arg(d, "bias");
            sm_value *w = sm_raise_weight_rows(z, sm_arg(d, "weight"), y.lo, y.hi);
            sm_value *part = bias != NULL && w != NULL ? sm_raise_weight_rows(z, bias, y.lo, y.hi) : NULL;
            sm_value *in[SM_MAX_SLOTS] = {sm_arg(d, "x"), w, part};
            if (w != NULL && (bias == NULL || part != NULL)) {
                y.row = sm_raise_shape(z, sm_raise_again(z, SM_OP_LINEAR, in), y.n_piece, y.piece);
                y.lo = 0;
                y.hi = y.piece[y.n_piece - 1];
            }
        }
    }
    if (y.kind != M_ROWS || y.row == NULL || !sm_raise_settle(z, &y))
        y.kind = M_NONE;
    return y;
}

/* Result of an op on the whole of m's row. */
static bool whole(sm_raise *z, const sm_node *n, const sm_meaning *m, sm_value *y) {
    sm_meaning r = sm_raise_whole(m, y);
    r.last = m->last;
    return y != NULL && sm_raise_set(z, n, r);
}

static bool scale_row(sm_raise *z, const sm_node *n, const sm_meaning *x, double f) {
    sm_meaning m = *x;
    m.f *= f;
    /* heads and parts: it may turn out to be attention's scale; -x may be half of [x, -x] */
    bool wait = x->row->type.rank > 2 || !sm_is_whole(x) || f == -1 || m.f == 1;
    if (!isfinite(m.f) || (!wait && !sm_raise_settle(z, &m)))
        return false;
    return sm_raise_set(z, n, m);
}

static bool row_and_const(sm_raise *z, const sm_node *n, const sm_value *v, sm_value *c, bool const_first) {
    const sm_meaning *x = sm_raise_of(z, v);
    double f;
    int role;
    if (c->type.rank > v->type.rank || (x->kind != M_ROWS && x->kind != M_SQUARE))
        return false;
    bool scalar = sm_raise_scalar(c, &f);
    if (x->kind == M_ROWS && scalar && n->op == SM_OP_MUL)
        return scale_row(z, n, x, f);
    if (x->kind == M_ROWS && scalar && n->op == SM_OP_REAL_DIV && !const_first && f != 0 &&
        (x->row->type.rank > 2 || !sm_is_whole(x)))
        return scale_row(z, n, x, 1 / f);
    if (x->kind == M_ROWS && scalar && n->op == SM_OP_SUB && const_first && f == 0)
        return scale_row(z, n, x, -1);
    sm_meaning m = operand(z, x);
    if (m.kind != M_ROWS || sm_op_row_of(n->op)->lift != SM_LIFT_ELEM || (n->op == SM_OP_POW && !scalar))
        return false;
    if (!scalar && (!sm_raise_const_along(v, x, c, &role) || role != m.n_piece - 1))
        return false;
    sm_value *k = scalar ? sm_const_f(z->b, SM_FP32, f) : sm_raise_vector(z, c, 1);
    sm_value *act = k != NULL && const_first && n->op == SM_OP_REAL_DIV ? sm_raise_quotient(z, k, m.row) : NULL;
    if (act != NULL)
        return whole(z, n, &m, act);
    return k != NULL &&
           whole(z, n, &m,
                 sm_build(z->b, n->op, NULL, "x", const_first ? k : m.row, "y", const_first ? m.row : k, NULL));
}

/* b in a's shape of features: pieces of extent 1 make no difference. */
static bool align(sm_raise *z, const sm_meaning *a, sm_meaning *b) {
    int map[SM_RAISE_PIECES], i = 0;
    for (int k = 0; k < b->n_piece; k++) {
        map[k] = AX_ONE;
        if (b->piece[k] == 1)
            continue;
        while (i < a->n_piece && a->piece[i] == 1)
            i++;
        if (i == a->n_piece || a->piece[i] != b->piece[k])
            return false;
        map[k] = i++;
    }
    for (; i < a->n_piece; i++)
        if (a->piece[i] != 1)
            return false;
    for (int k = 0; k < SM_MAX_RANK; k++)
        if (b->ax[k] >= 0 && b->ax[k] < b->n_piece)
            b->ax[k] = (int8_t)map[b->ax[k]];
    b->row = sm_raise_shape(z, b->row, a->n_piece, a->piece);
    return b->row != NULL;
}

/* An activation that ends here. */
static sm_value *written_out(sm_raise *z, const sm_node *n, sm_value *x, sm_value *y, double *f) {
    *f = 1;
    if (n->op == SM_OP_REAL_DIV)
        return sm_raise_quotient(z, x, y);
    sm_value *act = n->op == SM_OP_MUL ? sm_raise_product(z, x, y, f) : NULL;
    return act == NULL && n->op == SM_OP_MUL ? sm_raise_product(z, y, x, f) : act;
}

static bool two_rows(sm_raise *z, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    sm_meaning a = operand(z, sm_raise_of(z, x)), b = operand(z, sm_raise_of(z, y));
    if (a.kind != M_ROWS || b.kind != M_ROWS || a.last != b.last || !align(z, &a, &b))
        return false;
    sm_meaning m = a;
    if (!sm_raise_join(x, a.ax, y, b.ax, m.ax))
        return false;
    double f;
    sm_value *act = written_out(z, n, a.row, b.row, &f);
    if (act != NULL) {
        sm_meaning r = sm_raise_whole(&m, act);
        r.last = m.last;
        r.f = f;
        return sm_raise_set(z, n, r);
    }
    /* the order of operands is part of the text: keep it */
    return whole(z, n, &m, sm_build(z->b, n->op, NULL, "x", a.row, "y", b.row, NULL));
}

/* integers * 0, and what that is added to */
static bool zero(sm_raise *z, const sm_node *n, const sm_value *x, const sm_value *y) {
    double f = 1;
    const sm_value *from = x->def != NULL && x->def->op == SM_OP_CAST ? sm_arg(x->def, "x") : x;
    if (n->op == SM_OP_MUL && x->cst == NULL && sm_dtype_kind(from->type.dtype) == 'i' && sm_raise_scalar(y, &f) &&
        f == 0)
        return sm_raise_set(z, n, (sm_meaning){.kind = M_ZERO});
    return n->op == SM_OP_ADD && sm_raise_of(z, x)->kind == M_ZERO && sm_raise_of(z, y)->kind == M_ROWS &&
           n->out[0]->type.rank == y->type.rank && sm_raise_set(z, n, *sm_raise_of(z, y));
}

static bool binary(sm_raise *z, const sm_node *n) {
    sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    if (zero(z, n, x, y) || zero(z, n, y, x))
        return true;
    if (y->cst != NULL)
        return row_and_const(z, n, x, y, false);
    if (x->cst != NULL)
        return row_and_const(z, n, y, x, true);
    return n->op != SM_OP_POW && two_rows(z, n);
}

static bool unary(sm_raise *z, const sm_node *n) {
    const sm_meaning *x = sm_raise_arg(z, n, "x");
    if (x->kind != M_ROWS && x->kind != M_SQUARE)
        return false;
    sm_meaning m = operand(z, x);
    if (m.kind != M_ROWS)
        return false;
    double eps = 0; /* added to 1 + e^-x: less than fp16 tells apart */
    bool inverse = n->op == SM_OP_INVERSE && sm_arg_float(n, "epsilon", &eps) && fabs(eps) <= 1e-4;
    sm_value *act = inverse ? sm_raise_quotient(z, NULL, m.row) : NULL;
    if (act != NULL)
        return whole(z, n, &m, act);
    if (n->op == SM_OP_GELU)
        return whole(z, n, &m, sm_build(z->b, n->op, NULL, "x", m.row, "mode", sm_arg(n, "mode"), NULL));
    return sm_op_row_of(n->op)->n_slots == 1 && whole(z, n, &m, sm_build(z->b, n->op, NULL, "x", m.row, NULL));
}

/* ------------------------------------------------------------------ embedding */
static bool embed(sm_raise *z, const sm_node *n) {
    sm_value *table = sm_arg(n, "x");
    int64_t axis = -1, batch = 0;
    const sm_value *at = sm_arg(n, "indices");
    const sm_meaning *m = sm_raise_of(z, at);
    if (m->kind != M_INT || table->cst == NULL || table->type.rank != 2 || !sm_arg_int(n, "axis", &axis) ||
        !sm_arg_int(n, "batch_dims", &batch) || axis != 0 || batch != 0)
        return false;
    if (sm_dtype_kind(table->type.dtype) != 'f' || (z->old_ids != NULL && z->old_ids != m->row) || z->old_pos == m->row)
        return false;
    z->old_ids = m->row;
    z->table = table;
    sm_value *row = sm_build(z->b, SM_OP_EMBED, NULL, "ids", z->ids, "table", table, NULL);
    sm_meaning y = sm_raise_whole(m, row);
    y.ax[at->type.rank] = 0;
    return row != NULL && sm_raise_set(z, n, y);
}

/* ------------------------------------------------------------------ linear layers */
/* x's axis `in` becomes the layer's outputs, at axis `out` of n's result; perm: role of the other axes unchanged. */
static bool layer(sm_raise *z, const sm_node *n, const sm_value *v, int in, sm_value *w, sm_value *bias) {
    sm_meaning x = operand(z, sm_raise_of(z, v));
    int last = sm_raise_last(&x);
    if (w == NULL || x.kind != M_ROWS || last < 0 || (bias != NULL && bias->cst == NULL) ||
        (x.piece[last] != 1 && x.ax[in] != last) || w->type.dims[1] != v->type.dims[in])
        return false;
    if (bias != NULL && all_zero(z, bias))
        bias = NULL;
    if (last != x.n_piece - 1) { /* pieces of 1 behind it */
        x.row = sm_raise_shape(z, x.row, last + 1, x.piece);
        x.n_piece = last + 1;
    }
    sm_value *row =
        x.row != NULL ? sm_build(z->b, SM_OP_LINEAR, NULL, "x", x.row, "weight", w, "bias", bias, NULL) : NULL;
    for (int i = 0; i < v->type.rank; i++)
        if (x.ax[i] >= x.n_piece)
            x.ax[i] = AX_ONE;
    x.ax[in] = (int8_t)(x.n_piece - 1);
    return whole(z, n, &x, row);
}

static bool linear(sm_raise *z, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x");
    return x->type.rank > 0 &&
           layer(z, n, x, x->type.rank - 1, sm_raise_weight(z, sm_arg(n, "weight"), 0, 1), sm_arg(n, "bias"));
}

static bool all_equal(const sm_node *n, const char *slot, int64_t want) {
    int64_t v[SM_MAX_RANK];
    int k = 0;
    if (sm_arg(n, slot) == NULL)
        return true;
    if (!sm_arg_ints(n, slot, v, SM_MAX_RANK, &k))
        return false;
    for (int i = 0; i < k; i++)
        if (v[i] != want)
            return false;
    return true;
}

static bool conv(sm_raise *z, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x");
    int64_t groups = 0;
    sm_sv pad = {0};
    if (sm_raise_of(z, x)->kind == M_NONE || x->type.rank < 3 || !all_equal(n, "strides", 1) ||
        !all_equal(n, "dilations", 1) || !sm_arg_int(n, "groups", &groups) || groups != 1 ||
        !sm_arg_str(n, "pad_type", &pad) || (sm_sv_is(pad, "custom") && !all_equal(n, "pad", 0)))
        return false;
    return layer(z, n, x, 1, sm_raise_weight(z, sm_arg(n, "weight"), 0, 1), sm_arg(n, "bias"));
}

static bool matmul(sm_raise *z, const sm_node *n) {
    sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    bool tx = false, ty = false;
    if (!sm_arg_bool(n, "transpose_x", &tx) || !sm_arg_bool(n, "transpose_y", &ty))
        return false;
    if (y->cst != NULL && x->cst == NULL && !tx && x->type.rank >= 2 && y->type.rank >= 2 &&
        y->type.rank <= x->type.rank && sm_raise_of(z, x)->kind == M_ROWS) {
        int r = y->type.rank;
        return layer(z, n, x, x->type.rank - 1, sm_raise_weight(z, y, ty ? r - 2 : r - 1, ty ? r - 1 : r - 2), NULL);
    }
    if (x->cst != NULL && y->cst == NULL && !ty && x->type.rank >= 2 && y->type.rank >= x->type.rank &&
        sm_raise_of(z, y)->kind == M_ROWS) {
        int r = x->type.rank;
        return layer(z, n, y, y->type.rank - 2, sm_raise_weight(z, x, tx ? r - 1 : r - 2, tx ? r - 2 : r - 1), NULL);
    }
    return false;
}

/* Products of the same rows one after the other: one product by the weights one below the other. */
static bool join_layers(sm_raise *z, const sm_node *n) {
    sm_value *w[SM_RAISE_HEADS];
    const sm_node *first = NULL;
    int64_t axis = 0;
    bool interleave = false;
    const sm_value *v = n->list[0];
    sm_meaning x = *sm_raise_of(z, v);
    if (n->n_list < 2 || n->n_list > SM_RAISE_HEADS || !sm_arg_int(n, "axis", &axis) ||
        !sm_arg_bool(n, "interleave", &interleave) || interleave || !sm_raise_is_last(&x, v->type.rank, axis))
        return false;
    for (int i = 0; i < n->n_list; i++) {
        const sm_meaning *m = sm_raise_of(z, n->list[i]);
        const sm_node *d = m->kind == M_ROWS && m->f == 1 && sm_is_whole(m) ? m->row->def : NULL;
        if (d == NULL || d->op != SM_OP_LINEAR || sm_arg(d, "bias") != NULL || m->row->type.rank != 2 ||
            m->last != x.last || n->list[i]->type.rank != v->type.rank ||
            memcmp(m->ax, x.ax, (size_t)v->type.rank) != 0 || (first != NULL && sm_arg(d, "x") != sm_arg(first, "x")))
            return false;
        first = first != NULL ? first : d;
        w[i] = sm_arg(d, "weight");
    }
    sm_value *all = sm_raise_weight_join(z, w, n->n_list);
    return all != NULL &&
           whole(z, n, &x, sm_build(z->b, SM_OP_LINEAR, NULL, "x", sm_arg(first, "x"), "weight", all, NULL));
}

bool sm_raise_rows_op(sm_raise *z, const sm_node *n) {
    switch (n->op) {
    case SM_OP_CONCAT:
        return n->n_list > 0 && join_layers(z, n);
    case SM_OP_GATHER:
        return embed(z, n);
    case SM_OP_LINEAR:
        return linear(z, n);
    case SM_OP_CONV:
        return conv(z, n);
    case SM_OP_MATMUL:
        return matmul(z, n);
    case SM_OP_ADD:
    case SM_OP_SUB:
    case SM_OP_MUL:
    case SM_OP_REAL_DIV:
    case SM_OP_POW:
    case SM_OP_MAXIMUM:
    case SM_OP_MINIMUM:
        return binary(z, n);
    case SM_OP_CAST: /* casts that keep a row value are moves; others end it */
    case SM_OP_IDENTITY:
        return false;
    default:
        return sm_op_row_of(n->op)->lift == SM_LIFT_ELEM && n->n_out == 1 && sm_op_slot(n->op, "x") == 0 &&
               sm_op_slot(n->op, "y") < 0 && unary(z, n);
    }
}
