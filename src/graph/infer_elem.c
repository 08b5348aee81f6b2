/* SPDX-License-Identifier: MIT
 *
 * infer_elem.c: elementwise ops: types by broadcasting, integers and bools followed element by element.
 */
#include <string.h>

#include "graph/infer.h"

/* ---- one operand ---- */

/* |x|, sign x ... of a symbolic element; SM_DIM_UNKNOWN when it depends. */
static sm_dim unary(sm_inf *c, sm_dim x) {
    int64_t lo, hi;
    sm_dim_range(c->g, x, &lo, &hi);
    switch (c->n->op) {
    case SM_OP_IDENTITY:
    case SM_OP_CEIL:
    case SM_OP_FLOOR:
    case SM_OP_ROUND:
        return x;
    case SM_OP_ABS:
        return lo >= 0 ? x : hi <= 0 ? sm_dim_mul(c->g, x, -1) : SM_DIM_UNKNOWN;
    case SM_OP_RELU:
        return sm_dim_call(c->g, SM_FN_MAX, x, 0);
    case SM_OP_SIGN:
        return lo > 0 ? 1 : hi < 0 ? -1 : lo == 0 && hi == 0 ? 0 : SM_DIM_UNKNOWN;
    case SM_OP_SQUARE:
        return sm_dim_call(c->g, SM_FN_MUL, x, x);
    case SM_OP_LOGICAL_NOT:
        return sm_dim_known(x) ? x == 0 : SM_DIM_UNKNOWN;
    default:
        return SM_DIM_UNKNOWN;
    }
}

/* An optional tensor that runs along the last axis of x (gamma, beta). */
static sm_status check_last(sm_inf *c, const char *slot, const sm_value *x) {
    const sm_value *v = sm_arg(c->n, slot);
    if (v == NULL)
        return SM_OK;
    if (!sm_is_float(v->type.dtype) || v->type.rank != 1 || x->type.rank == 0)
        return sm_inf_bad(c, slot, v, "wanted a vector of floats");
    return sm_inf_same_dim(c, slot, v->type.dims[0], x->type.dims[x->type.rank - 1], NULL);
}

static sm_status check_rope(sm_inf *c, const sm_value *x) {
    const sm_value *pos = sm_arg(c->n, "pos"), *freq = sm_arg(c->n, "inv_freq");
    sm_dim head;
    if (x->type.rank != 3)
        return sm_inf_bad(c, "x", x, "wanted [t, heads, head dim]");
    if (pos->type.rank != 1 || !sm_is_int(pos->type.dtype))
        return sm_inf_bad(c, "pos", pos, "wanted integers [t]");
    SM_TRY(sm_inf_same_dim(c, "x and pos", x->type.dims[0], pos->type.dims[0], NULL));
    head = x->type.dims[2];
    if (freq->type.rank != 1 || !sm_is_float(freq->type.dtype))
        return sm_inf_bad(c, "inv_freq", freq, "wanted a vector of floats");
    if (sm_dim_known(head) && sm_dim_known(freq->type.dims[0]) && 2 * freq->type.dims[0] > head)
        return sm_inf_bad(c, "inv_freq", freq, "wanted at most half of the head's %d elements", (int)head);
    return SM_OK;
}

static sm_status check_rope_table(sm_inf *c, const sm_value *x) {
    const sm_value *pos = sm_arg(c->n, "pos"), *table[2] = {sm_arg(c->n, "cos"), sm_arg(c->n, "sin")};
    if (x->type.rank != 3)
        return sm_inf_bad(c, "x", x, "wanted [t, heads, head dim]");
    if (pos->type.rank != 1 || !sm_is_int(pos->type.dtype))
        return sm_inf_bad(c, "pos", pos, "wanted integers [t]");
    SM_TRY(sm_inf_same_dim(c, "x and pos", x->type.dims[0], pos->type.dims[0], NULL));
    for (int i = 0; i < 2; i++)
        if (table[i]->type.rank != 2 || !sm_is_float(table[i]->type.dtype))
            return sm_inf_bad(c, i == 0 ? "cos" : "sin", table[i], "wanted floats [positions, angles]");
    for (int i = 0; i < 2; i++)
        SM_TRY(sm_inf_same_dim(c, "cos and sin", table[0]->type.dims[i], table[1]->type.dims[i], NULL));
    sm_dim head = x->type.dims[2], half = table[0]->type.dims[1];
    if (sm_dim_known(head) && sm_dim_known(half) && 2 * half > head)
        return sm_inf_bad(c, "cos", table[0], "wanted at most half of the head's %d elements", (int)head);
    return SM_OK;
}

sm_status sm_infer_same(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x");
    int axis;
    bool flags[SM_MAX_RANK];
    int64_t n;
    switch (c->n->op) {
    case SM_OP_RMS_NORM:
        SM_TRY(check_last(c, "gamma", x));
        break;
    case SM_OP_ROPE:
        SM_TRY(check_rope(c, x));
        break;
    case SM_OP_ROPE_TABLE:
        SM_TRY(check_rope_table(c, x));
        break;
    case SM_OP_SOFTMAX:
    case SM_OP_CUMSUM:
        if (x->type.rank > 0)
            SM_TRY(sm_inf_axis(c, "axis", x->type.rank, &axis));
        break;
    case SM_OP_REVERSE:
        SM_TRY(sm_inf_axes(c, "axes", x->type.rank, flags));
        break;
    case SM_OP_LOGICAL_NOT:
        if (x->type.dtype != SM_BOOL)
            return sm_inf_bad(c, "x", x, "wanted bool");
        break;
    default:
        break;
    }
    SM_TRY(sm_inf_like(c, 0, x));
    sm_dim *sym = x->sym != NULL ? sm_inf_sym(c, 0, &n) : NULL;
    for (int64_t i = 0; sym != NULL && i < n; i++)
        sym[i] = unary(c, x->sym[i]);
    return SM_OK;
}

sm_status sm_infer_cast(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x");
    sm_sv name = {0};
    int64_t n;
    double f;
    sm_arg_str(c->n, "dtype", &name);
    sm_dtype t = sm_dtype_of_name(name);
    if (t == SM_NONE || t == SM_STRING)
        return sm_inf_bad(c, "dtype", NULL, "%s is not a type", sm_quote(name.p, name.n));
    SM_TRY(sm_inf_out(c, 0, t, x->type.rank, x->type.dims));
    sm_dim *sym = x->sym != NULL || x->cst != NULL ? sm_inf_sym(c, 0, &n) : NULL;
    if (sym != NULL && x->sym != NULL) {
        for (int64_t i = 0; i < n; i++) {
            bool zero = x->sym[i] == 0,
                 not_zero = sm_dim_at_least(c->g, x->sym[i], 1) || (sm_dim_known(x->sym[i]) && !zero);
            sym[i] = t != SM_BOOL ? x->sym[i] : zero || not_zero ? not_zero : SM_DIM_UNKNOWN;
        }
    } else if (sym != NULL && sm_value_float(x, &f) && f > -9e9 && f < 9e9) {
        for (int64_t i = 0; i < n; i++)
            sym[i] = t == SM_BOOL ? f != 0 : (int64_t)f;
    }
    return SM_OK;
}

/* prelu, softplus_parametric: one parameter for each index of axis 1. */
sm_status sm_infer_channels(sm_inf *c) {
    static const char *const names[] = {"alpha", "beta"};
    const sm_value *x = sm_arg(c->n, "x");
    if (x->type.rank < 3 || !sm_is_float(x->type.dtype))
        return sm_inf_bad(c, "x", x, "wanted floats [n, channels, ...]");
    for (int i = 0; i < 2; i++) {
        const sm_value *v = sm_op_slot(c->n->op, names[i]) < 0 ? NULL : sm_arg(c->n, names[i]);
        if (v == NULL)
            continue;
        if (v->type.rank != 1 || !sm_is_float(v->type.dtype))
            return sm_inf_bad(c, names[i], v, "wanted a vector of floats");
        SM_TRY(sm_inf_same_dim(c, "channels", v->type.dims[0], x->type.dims[1], NULL));
    }
    return sm_inf_like(c, 0, x);
}

/* ---- two operands ---- */

/* 1, 0, or SM_DIM_UNKNOWN for a relation of two elements. */
static sm_dim compare(sm_inf *c, sm_dim x, sm_dim y) {
    sm_graph *g = c->g;
    int eq = sm_dim_equal(g, x, y);
    bool le = sm_dim_le(g, x, y), ge = sm_dim_le(g, y, x), lt = le && eq == 0, gt = ge && eq == 0;
    bool bools = sm_dim_known(x) && sm_dim_known(y);
    switch (c->n->op) {
    case SM_OP_EQUAL:
        return eq >= 0 ? eq : SM_DIM_UNKNOWN;
    case SM_OP_NOT_EQUAL:
        return eq >= 0 ? !eq : SM_DIM_UNKNOWN;
    case SM_OP_LESS:
        return lt || ge ? lt : SM_DIM_UNKNOWN;
    case SM_OP_LESS_EQUAL:
        return le || gt ? le : SM_DIM_UNKNOWN;
    case SM_OP_GREATER:
        return gt || le ? gt : SM_DIM_UNKNOWN;
    case SM_OP_GREATER_EQUAL:
        return ge || lt ? ge : SM_DIM_UNKNOWN;
    case SM_OP_LOGICAL_AND:
        return x == 0 || y == 0 ? 0 : bools ? 1 : SM_DIM_UNKNOWN;
    case SM_OP_LOGICAL_OR:
        return x == 1 || y == 1 ? 1 : bools ? 0 : SM_DIM_UNKNOWN;
    case SM_OP_LOGICAL_XOR:
        return bools ? x != y : SM_DIM_UNKNOWN;
    default:
        return SM_DIM_UNKNOWN;
    }
}

static sm_dim power(sm_dim x, sm_dim y) {
    int64_t r = 1;
    if (!sm_dim_known(x) || !sm_dim_known(y) || y < 0 || y > 40)
        return SM_DIM_UNKNOWN;
    for (; y > 0; y--)
        if (__builtin_mul_overflow(r, x, &r) || !sm_dim_known(r))
            return SM_DIM_UNKNOWN;
    return r;
}

static sm_dim binary(sm_inf *c, sm_dim x, sm_dim y) {
    switch (c->n->op) {
    case SM_OP_ADD:
        return sm_dim_add(c->g, x, y);
    case SM_OP_SUB:
        return sm_dim_sub(c->g, x, y);
    case SM_OP_MUL:
        return sm_dim_call(c->g, SM_FN_MUL, x, y);
    case SM_OP_REAL_DIV:
        return y == 0 ? SM_DIM_UNKNOWN : sm_dim_call(c->g, SM_FN_TRUNC_DIV, x, y);
    case SM_OP_FLOOR_DIV:
        return y == 0 ? SM_DIM_UNKNOWN : sm_dim_call(c->g, SM_FN_FLOOR_DIV, x, y);
    case SM_OP_MOD:
        return y == 0 ? SM_DIM_UNKNOWN : sm_dim_call(c->g, SM_FN_MOD, x, y);
    case SM_OP_MAXIMUM:
        return sm_dim_call(c->g, SM_FN_MAX, x, y);
    case SM_OP_MINIMUM:
        return sm_dim_call(c->g, SM_FN_MIN, x, y);
    case SM_OP_POW:
        return power(x, y);
    default:
        return compare(c, x, y);
    }
}

/* Element i of a result of these extents, in an operand broadcast to them. */
static int64_t source_index(const sm_type *out, int64_t i, const sm_type *in) {
    int64_t at = 0, step = 1;
    for (int a = out->rank - 1; a >= 0; a--) {
        int64_t k = i % out->dims[a];
        int b = a - (out->rank - in->rank);
        i /= out->dims[a];
        if (b < 0)
            continue;
        at += in->dims[b] == 1 ? 0 : k * step;
        step *= in->dims[b];
    }
    return at;
}

static bool has_elems(const sm_value *v) {
    return v->sym != NULL && sm_type_numel(&v->type, SM_SYM_ELEMS) >= 0;
}

static sm_status two_operands(sm_inf *c, sm_dtype result) {
    const sm_value *x = sm_arg(c->n, "x"), *y = sm_arg(c->n, "y");
    sm_dim dims[SM_MAX_RANK];
    int rank;
    int64_t n;
    SM_TRY(sm_inf_broadcast(c, x->type.rank, x->type.dims, y->type.rank, y->type.dims, &rank, dims));
    SM_TRY(sm_inf_out(c, 0, result, rank, dims));
    sm_dim *sym = has_elems(x) && has_elems(y) ? sm_inf_sym(c, 0, &n) : NULL;
    const sm_type *o = &c->n->out[0]->type;
    for (int64_t i = 0; sym != NULL && i < n; i++)
        sym[i] = binary(c, x->sym[source_index(o, i, &x->type)], y->sym[source_index(o, i, &y->type)]);
    return SM_OK;
}

static sm_status want_equal_types(sm_inf *c, const char *a, const char *b) {
    const sm_value *x = sm_arg(c->n, a), *y = sm_arg(c->n, b);
    if (x->type.dtype == y->type.dtype)
        return SM_OK;
    return sm_inf_bad(c, b, y, "wanted %s, the type of %s '%s'", sm_dtype_name(x->type.dtype), a,
                      x->name != NULL ? x->name : "");
}

sm_status sm_infer_binary(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x"), *y = sm_arg(c->n, "y");
    if (c->n->op != SM_OP_POW || !sm_is_float(x->type.dtype) || x->type.dtype == y->type.dtype)
        SM_TRY(want_equal_types(c, "x", "y"));
    return two_operands(c, x->type.dtype);
}

sm_status sm_infer_compare(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x");
    bool logical = c->n->op == SM_OP_LOGICAL_AND || c->n->op == SM_OP_LOGICAL_OR || c->n->op == SM_OP_LOGICAL_XOR;
    SM_TRY(want_equal_types(c, "x", "y"));
    if (logical && x->type.dtype != SM_BOOL)
        return sm_inf_bad(c, "x", x, "wanted bool");
    return two_operands(c, SM_BOOL);
}

sm_status sm_infer_select(sm_inf *c) {
    const sm_value *cond = sm_arg(c->n, "cond"), *a = sm_arg(c->n, "a"), *b = sm_arg(c->n, "b");
    sm_dim ab[SM_MAX_RANK], dims[SM_MAX_RANK];
    int rank_ab, rank;
    int64_t n;
    if (cond->type.dtype != SM_BOOL)
        return sm_inf_bad(c, "cond", cond, "wanted bool");
    SM_TRY(want_equal_types(c, "a", "b"));
    SM_TRY(sm_inf_broadcast(c, a->type.rank, a->type.dims, b->type.rank, b->type.dims, &rank_ab, ab));
    SM_TRY(sm_inf_broadcast(c, rank_ab, ab, cond->type.rank, cond->type.dims, &rank, dims));
    SM_TRY(sm_inf_out(c, 0, a->type.dtype, rank, dims));
    sm_dim *sym = has_elems(cond) && has_elems(a) && has_elems(b) ? sm_inf_sym(c, 0, &n) : NULL;
    const sm_type *o = &c->n->out[0]->type;
    for (int64_t i = 0; sym != NULL && i < n; i++) {
        sm_dim k = cond->sym[source_index(o, i, &cond->type)];
        sm_dim x = a->sym[source_index(o, i, &a->type)], y = b->sym[source_index(o, i, &b->type)];
        sym[i] = x == y ? x : !sm_dim_known(k) ? SM_DIM_UNKNOWN : k != 0 ? x : y;
    }
    return SM_OK;
}
