/* SPDX-License-Identifier: MIT
 *
 * raise_rows.c: meanings of what acts on rows: embedding, norms, linear layers, elementwise ops, moves.
 */
#include "pass/raise_int.h"

#include <math.h>

static sm_meaning rows(sm_value *v) {
    return (sm_meaning){.kind = M_ROWS, .row = v, .f = 1};
}
static sm_meaning like(const sm_meaning *m, sm_value *v) {
    return (sm_meaning){.kind = m->kind, .row = v, .f = 1, .heads = m->kind == M_HEADS};
}
static sm_meaning station(const sm_meaning *m, sm_meaning_kind kind) /* from a row value */
{
    return (sm_meaning){.kind = kind, .row = m->row, .f = 1, .heads = m->kind == M_HEADS};
}
static sm_meaning back_to_row(const sm_meaning *m, sm_value *v) /* from a station */
{
    return (sm_meaning){.kind = m->heads ? M_HEADS : M_ROWS, .row = v, .f = 1, .heads = m->heads};
}
static bool same_row(const sm_meaning *a, const sm_meaning *b) {
    return a->row == b->row && (a->kind == M_HEADS) == b->heads && a->f == 1;
}

/* ------------------------------------------------------------------ constants in row form: fp32 scalars, vectors */
static sm_value *row_const(sm_raise *z, sm_value *c) {
    double f;
    size_t n = 0;
    int64_t len = c->type.rank > 0 ? c->type.dims[c->type.rank - 1] : 1;
    if (c->type.rank == 0)
        return sm_value_float(c, &f) ? sm_const_f(z->b, SM_FP32, f) : NULL;
    if (len < 1 || sm_tensor_numel(&c->cst->src) != (uint64_t)len)
        return NULL;
    float *x = sm_raise_floats(z, c, &n);
    if (x == NULL)
        return NULL;
    sm_value *v = len == 1 ? sm_const_f(z->b, SM_FP32, x[0]) : sm_const_data(z->b, c->name, SM_FP32, 1, &len, x);
    sm_free(x);
    return v;
}

/* ------------------------------------------------------------------ rms_norm */
static void norm_of(sm_raise *z, const sm_node *n, const sm_meaning *of, double eps) {
    sm_value *y = sm_build(z->b, SM_OP_RMS_NORM, NULL, "x", of->row, "eps", sm_const_f(z->b, SM_FP32, eps), NULL);
    sm_raise_set(z, n, back_to_row(of, y));
}

/* norm without weight * vector of the last axis: the weight belongs inside. */
static bool norm_weight(sm_raise *z, const sm_node *n, const sm_meaning *x, sm_value *w) {
    const sm_node *d = x->row->def;
    if (d == NULL || d->op != SM_OP_RMS_NORM || sm_arg(d, "gamma") != NULL || x->f != 1)
        return false;
    if (w->type.rank < 1 || w->type.dims[w->type.rank - 1] != x->row->type.dims[x->row->type.rank - 1])
        return false;
    for (int i = 0; i < w->type.rank - 1; i++)
        if (w->type.dims[i] != 1)
            return false;
    if (w->type.rank > 1)
        w = row_const(z, w);
    if (w == NULL)
        return false;
    sm_value *y = sm_build(z->b, SM_OP_RMS_NORM, NULL, "x", sm_arg(d, "x"), "gamma", w, "eps", sm_arg(d, "eps"), NULL);
    sm_raise_set(z, n, like(x, y));
    return true;
}

/* ------------------------------------------------------------------ elementwise */
static void scale_row(sm_raise *z, const sm_node *n, const sm_meaning *x, double f) {
    if (f == -1) {
        sm_raise_set(z, n,
                     (sm_meaning){.kind = M_NEG, .row = x->row, .f = x->f, .heads = x->kind == M_HEADS, .hi = -1});
        return;
    }
    sm_meaning m = *x;
    if (x->kind == M_HEADS) { /* may turn out to be attention's scale */
        m.f = x->f * f;
    } else {
        m.row = sm_build(z->b, SM_OP_MUL, NULL, "x", x->row, "y", sm_const_f(z->b, SM_FP32, f), NULL);
    }
    sm_raise_set(z, n, m);
}

static void row_and_const(sm_raise *z, const sm_node *n, const sm_meaning *x, sm_value *c, bool const_first) {
    double f;
    bool scalar = sm_value_float(c, &f) && (c->type.rank == 0 || (c->type.rank == 1 && c->type.dims[0] == 1));
    if (n->op == SM_OP_POW && scalar && f == 2 && !const_first) {
        sm_raise_set(z, n, station(x, M_SQUARE));
        return;
    }
    if (n->op == SM_OP_MUL && scalar) {
        scale_row(z, n, x, f);
        return;
    }
    if (n->op == SM_OP_MUL && norm_weight(z, n, x, c))
        return;
    if (n->op == SM_OP_POW || sm_op_row_of(n->op)->lift != SM_LIFT_ELEM)
        return;
    sm_value *k = row_const(z, c), *r = sm_raise_row(z, x);
    if (k == NULL)
        return;
    sm_value *y = sm_build(z->b, n->op, NULL, "x", const_first ? k : r, "y", const_first ? r : k, NULL);
    sm_raise_set(z, n, like(x, y));
}

static void binary(sm_raise *z, const sm_node *n) {
    sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    const sm_meaning *a = sm_raise_arg(z, n, "x"), *b = sm_raise_arg(z, n, "y");
    double f;
    if (sm_is_row(a) && y->cst != NULL) {
        row_and_const(z, n, a, y, false);
    } else if (sm_is_row(b) && x->cst != NULL) {
        row_and_const(z, n, b, x, true);
    } else if (n->op == SM_OP_MUL && sm_is_row(a) && x == y && a->f == 1) {
        sm_raise_set(z, n, station(a, M_SQUARE));
    } else if (n->op == SM_OP_ADD && a->kind == M_MEAN && sm_value_float(y, &f)) {
        sm_raise_set(z, n, (sm_meaning){.kind = M_MEAN_EPS, .row = a->row, .heads = a->heads, .f = f});
    } else if (n->op == SM_OP_ADD && b->kind == M_MEAN && sm_value_float(x, &f)) {
        sm_raise_set(z, n, (sm_meaning){.kind = M_MEAN_EPS, .row = b->row, .heads = b->heads, .f = f});
    } else if (n->op == SM_OP_MUL && sm_is_row(a) && b->kind == M_INV_RMS && same_row(a, b)) {
        norm_of(z, n, b, b->f);
    } else if (n->op == SM_OP_MUL && sm_is_row(b) && a->kind == M_INV_RMS && same_row(b, a)) {
        norm_of(z, n, a, a->f);
    } else if (sm_is_row(a) && a->kind == b->kind && a->row->type.rank == b->row->type.rank) {
        /* the order of operands is part of the text: keep it */
        sm_raise_set(z, n,
                     like(a, sm_build(z->b, n->op, NULL, "x", sm_raise_row(z, a), "y", sm_raise_row(z, b), NULL)));
    }
}

static void unary(sm_raise *z, const sm_node *n) {
    const sm_meaning *x = sm_raise_arg(z, n, "x");
    if (n->op == SM_OP_SQUARE && sm_is_row(x) && x->f == 1) {
        sm_raise_set(z, n, station(x, M_SQUARE));
        return;
    }
    if (n->op == SM_OP_RSQRT && x->kind == M_MEAN_EPS) {
        double extra = 0;
        if (!sm_arg_float(n, "epsilon", &extra))
            return;
        sm_meaning m = *x;
        m.kind = M_INV_RMS;
        if (extra > 1e-4 * x->f) /* the default guards a division by 0 only */
            m.f += extra;
        sm_raise_set(z, n, m);
        return;
    }
    if (!sm_is_row(x))
        return;
    sm_value *r = sm_raise_row(z, x);
    if (n->op == SM_OP_GELU)
        sm_raise_set(z, n, like(x, sm_build(z->b, n->op, NULL, "x", r, "mode", sm_arg(n, "mode"), NULL)));
    else if (sm_op_row_of(n->op)->n_slots == 1)
        sm_raise_set(z, n, like(x, sm_build(z->b, n->op, NULL, "x", r, NULL)));
}

/* ------------------------------------------------------------------ reductions, layer_norm, concat of [x, -x] */
static void reduce_mean(sm_raise *z, const sm_node *n) {
    const sm_meaning *x = sm_raise_arg(z, n, "x");
    int64_t axes[SM_MAX_RANK];
    int k = 0;
    bool keep = false;
    if (x->kind == M_SQUARE && sm_arg_ints(n, "axes", axes, SM_MAX_RANK, &k) && k == 1 &&
        sm_is_last_axis(sm_arg(n, "x"), axes[0]) && sm_arg_bool(n, "keep_dims", &keep) && keep)
        sm_raise_set(z, n, (sm_meaning){.kind = M_MEAN, .row = x->row, .heads = x->heads, .f = 1});
}

static void layer_norm(sm_raise *z, const sm_node *n) {
    const sm_meaning *x = sm_raise_arg(z, n, "x");
    int64_t axes[SM_MAX_RANK];
    int k = 0;
    double eps = 0;
    if (x->kind == M_PLUS_MINUS && sm_arg_ints(n, "axes", axes, SM_MAX_RANK, &k) && k == 1 &&
        sm_is_last_axis(sm_arg(n, "x"), axes[0]) && sm_arg(n, "gamma") == NULL && sm_arg(n, "beta") == NULL &&
        sm_arg_float(n, "epsilon", &eps))
        sm_raise_set(z, n, (sm_meaning){.kind = M_PM_NORM, .row = x->row, .heads = x->heads, .f = eps});
}

static void concat(sm_raise *z, const sm_node *n) {
    int64_t axis;
    if (!sm_concat_two(n, &axis) || !sm_is_last_axis(n->list[0], axis))
        return;
    const sm_meaning *a = &z->m[n->list[0]->id], *b = &z->m[n->list[1]->id];
    if (sm_is_row(a) && a->f == 1 && b->kind == M_NEG && b->hi < 0 && b->f == 1 && b->row == a->row &&
        b->heads == (a->kind == M_HEADS))
        sm_raise_set(z, n, station(a, M_PLUS_MINUS));
}

static void slice(sm_raise *z, const sm_node *n) {
    const sm_value *v = sm_arg(n, "x");
    const sm_meaning *x = sm_raise_arg(z, n, "x");
    sm_dim lo[SM_MAX_RANK], hi[SM_MAX_RANK];
    bool squeeze[SM_MAX_RANK];
    int rank = v->type.rank;
    if (x->kind != M_PM_NORM || !sm_slice_bounds(z, n, &v->type, lo, hi, squeeze))
        return;
    for (int i = 0; i < rank - 1; i++)
        if (lo[i] != 0 || hi[i] != v->type.dims[i] || squeeze[i])
            return;
    if (lo[rank - 1] == 0 && 2 * hi[rank - 1] == v->type.dims[rank - 1])
        norm_of(z, n, x, x->f);
}

/* ------------------------------------------------------------------ embedding, linear, moves */
static void gather(sm_raise *z, const sm_node *n) {
    sm_value *table = sm_arg(n, "x");
    int64_t axis = -1;
    const sm_meaning *m = sm_raise_arg(z, n, "indices");
    if (m->kind != M_INT || table->cst == NULL || table->type.rank != 2 || !sm_arg_int(n, "axis", &axis) || axis != 0)
        return;
    if (sm_dtype_kind(table->type.dtype) != 'f' || (z->old_ids != NULL && z->old_ids != m->row) || z->old_pos == m->row)
        return;
    z->old_ids = m->row;
    sm_raise_set(z, n, rows(sm_build(z->b, SM_OP_EMBED, NULL, "ids", z->ids, "table", table, NULL)));
}

static bool is_zero(sm_raise *z, const sm_value *c) {
    size_t n = 0;
    float *x = sm_raise_floats(z, c, &n);
    bool zero = x != NULL;
    for (size_t i = 0; i < n && zero; i++)
        zero = x[i] == 0;
    sm_free(x);
    return zero;
}

static void linear(sm_raise *z, const sm_node *n) {
    const sm_meaning *x = sm_raise_arg(z, n, "x");
    sm_value *w = sm_arg(n, "weight"), *bias = sm_arg(n, "bias");
    if (x->kind != M_ROWS || w->cst == NULL || (bias != NULL && bias->cst == NULL))
        return;
    if (bias != NULL && is_zero(z, bias))
        bias = NULL;
    sm_raise_set(z, n,
                 rows(sm_build(z->b, SM_OP_LINEAR, NULL, "x", sm_raise_row(z, x), "weight", w, "bias", bias, NULL)));
}

/* [1, n, a...] -> [1, n, b...]; or heads split and joined: [1, h, n, d] <-> [kv, g, n, d]. */
static void reshape(sm_raise *z, const sm_node *n) {
    const sm_meaning *x = sm_raise_arg(z, n, "x");
    const sm_type *from = &sm_arg(n, "x")->type, *to = &n->out[0]->type;
    if (x->kind == M_HEADS || x->kind == M_KV) {
        /* what is before the last two axes is heads in order, in any number of axes */
        if (to->rank >= 4 && to->dims[to->rank - 2] == from->dims[from->rank - 2] &&
            to->dims[to->rank - 1] == from->dims[from->rank - 1])
            sm_raise_set(z, n, *x);
        return;
    }
    if (x->kind != M_ROWS || to->rank < 3 || to->dims[0] != 1 || to->dims[1] != z->n)
        return;
    int32_t shape[SM_MAX_RANK] = {-1};
    for (int i = 2; i < to->rank; i++) {
        if (!sm_dim_known(to->dims[i]) || to->dims[i] < 1 || to->dims[i] > INT32_MAX)
            return;
        shape[i - 1] = (int32_t)to->dims[i];
    }
    sm_value *s = sm_const_i32s(z->b, shape, to->rank - 1);
    sm_raise_set(z, n, rows(sm_build(z->b, SM_OP_RESHAPE, NULL, "x", sm_raise_row(z, x), "shape", s, NULL)));
}

static void transpose(sm_raise *z, const sm_node *n) {
    const sm_meaning *x = sm_raise_arg(z, n, "x");
    int64_t perm[SM_MAX_RANK];
    int k = 0;
    if (!sm_is_row(x) || !sm_arg_ints(n, "perm", perm, SM_MAX_RANK, &k) || k != 4)
        return;
    if (perm[0] != 0 || perm[1] != 2 || perm[2] != 1 || perm[3] != 3 || x->row->type.rank != 3)
        return;
    if (x->kind == M_HEADS && sm_arg(n, "x")->type.dims[0] != 1)
        return;
    sm_meaning m = *x;
    if (x->kind == M_HEADS && x->f != 1)
        m.row = sm_raise_row(z, x), m.f = 1;
    m.kind = x->kind == M_ROWS ? M_HEADS : M_ROWS;
    m.heads = m.kind == M_HEADS;
    sm_raise_set(z, n, m);
}

/* Activations have one dtype in row form, and so have positions: a cast that keeps the values keeps the meaning. */
static void cast(sm_raise *z, const sm_node *n) {
    const sm_meaning *x = sm_raise_arg(z, n, "x");
    sm_dtype a = sm_arg(n, "x")->type.dtype, b = n->out[0]->type.dtype;
    bool floats = sm_dtype_kind(a) == 'f' && sm_dtype_kind(b) == 'f';
    bool wide = sm_dtype_bits(b) >= 16 && (sm_dtype_kind(b) == 'i' || (sm_dtype_kind(b) == 'u' && x->kind == M_INT));
    bool ints = sm_dtype_kind(a) != 'f' && a != SM_BOOL && wide;
    bool place = x->kind == M_POS || x->kind == M_KEY_POS || x->kind == M_BACK;
    if (a == b || floats || ints || (place && sm_dtype_kind(b) == 'f'))
        sm_raise_set(z, n, *x);
    else if (x->kind == M_INT && sm_dtype_kind(b) == 'f') /* table rows are not counted in floats */
        sm_raise_set(z, n, *x);
}

void sm_raise_rows_op(sm_raise *z, const sm_node *n) {
    switch (n->op) {
    case SM_OP_CAST:
    case SM_OP_IDENTITY:
        cast(z, n);
        return;
    case SM_OP_GATHER:
        gather(z, n);
        return;
    case SM_OP_LINEAR:
        linear(z, n);
        return;
    case SM_OP_RESHAPE:
        reshape(z, n);
        return;
    case SM_OP_TRANSPOSE:
        transpose(z, n);
        return;
    case SM_OP_REDUCE_MEAN:
        reduce_mean(z, n);
        return;
    case SM_OP_LAYER_NORM:
        layer_norm(z, n);
        return;
    case SM_OP_CONCAT:
        concat(z, n);
        return;
    case SM_OP_SLICE_BY_INDEX:
        slice(z, n);
        return;
    case SM_OP_ADD:
    case SM_OP_SUB:
    case SM_OP_MUL:
    case SM_OP_REAL_DIV:
    case SM_OP_POW:
        binary(z, n);
        return;
    default:
        if (sm_op_row_of(n->op)->lift == SM_LIFT_ELEM && n->n_out == 1 && sm_op_slot(n->op, "x") == 0 &&
            sm_op_slot(n->op, "y") < 0)
            unary(z, n);
    }
}
