/* SPDX-License-Identifier: MIT
 *
 * infer_product.c: products, attention, reductions, and constants that decode at load time.
 */
#include <inttypes.h>
#include <string.h>

#include "base/str.h"
#include "graph/infer.h"

sm_status sm_inf_operand(sm_inf *c, const char *slot, sm_dtype x, bool loose) {
    const sm_value *v = sm_arg(c->n, slot);
    if (v == NULL || v->type.dtype == x || (loose && sm_is_float(x) && sm_is_float(v->type.dtype)))
        return SM_OK;
    return sm_inf_bad(c, slot, v, "wanted %s", sm_dtype_name(x));
}

sm_status sm_infer_linear(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x"), *w = sm_arg(c->n, "weight"), *b = sm_arg(c->n, "bias");
    sm_dim dims[SM_MAX_RANK];
    int r = x->type.rank;
    if (r == 0)
        return sm_inf_bad(c, "x", x, "wanted at least one axis");
    if (w->type.rank != 2)
        return sm_inf_bad(c, "weight", w, "wanted [out, in]");
    SM_TRY(sm_inf_operand(c, "weight", x->type.dtype, true));
    SM_TRY(sm_inf_operand(c, "bias", x->type.dtype, true));
    SM_TRY(sm_inf_same_dim(c, "x and weight", x->type.dims[r - 1], w->type.dims[1], NULL));
    if (b != NULL && (b->type.rank != 1 || sm_dim_equal(c->g, b->type.dims[0], w->type.dims[0]) == 0))
        return sm_inf_bad(c, "bias", b, "wanted one element per row of weight");
    memcpy(dims, x->type.dims, sizeof dims);
    dims[r - 1] = w->type.dims[0];
    return sm_inf_out(c, 0, x->type.dtype, r, dims);
}

sm_status sm_infer_matmul(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x"), *y = sm_arg(c->n, "y");
    bool tx = false, ty = false;
    sm_dim a[SM_MAX_RANK + 1], b[SM_MAX_RANK + 1], dims[SM_MAX_RANK + 1];
    int ra = x->type.rank, rb = y->type.rank, rank;
    SM_TRY(sm_inf_operand(c, "y", x->type.dtype, false));
    SM_TRY(sm_inf_bool(c, "transpose_x", &tx));
    SM_TRY(sm_inf_bool(c, "transpose_y", &ty));
    if (ra == 0 || rb == 0)
        return sm_inf_bad(c, ra == 0 ? "x" : "y", ra == 0 ? x : y, "wanted at least one axis");
    bool row = ra == 1, col = rb == 1; /* a vector stands for one row, or one column, which vanishes again */
    memcpy(a + row, x->type.dims, (size_t)ra * sizeof *a);
    memcpy(b, y->type.dims, (size_t)rb * sizeof *b);
    if (row) {
        a[0] = 1;
        ra = 2;
        tx = false;
    }
    if (col) {
        b[1] = 1;
        rb = 2;
        ty = false;
    }
    SM_TRY(sm_inf_same_dim(c, "inner axes of x and y", a[ra - 1 - tx], b[rb - 2 + ty], NULL));
    SM_TRY(sm_inf_broadcast(c, ra - 2, a, rb - 2, b, &rank, dims));
    if (!row)
        dims[rank++] = a[ra - 2 + tx];
    if (!col)
        dims[rank++] = b[rb - 1 - ty];
    return sm_inf_out(c, 0, x->type.dtype, rank, dims);
}

/* "abc,cd->abd": extents by letter from both operands, then the result's letters. */
sm_status sm_infer_einsum(sm_inf *c) {
    sm_sv eq = {0};
    sm_dim of[256], dims[SM_MAX_RANK];
    bool seen[256] = {false};
    size_t at = 0;
    int rank = 0;
    sm_arg_str(c->n, "equation", &eq);
    for (int i = 0; i < c->n->n_list; i++) {
        const sm_value *v = c->n->list[i];
        if (v->type.dtype != c->n->list[0]->type.dtype)
            return sm_inf_bad(c, "values", v, "wanted %s, the type of the first",
                              sm_dtype_name(c->n->list[0]->type.dtype));
        for (int a = 0; a < v->type.rank; a++, at++) {
            if (at >= eq.n || strchr(",-> ", eq.p[at]) != NULL)
                return sm_inf_bad(c, "values", v, "equation %s has fewer axes", sm_quote(eq.p, eq.n));
            uint8_t letter = (uint8_t)eq.p[at];
            if (seen[letter])
                SM_TRY(sm_inf_join(c, of[letter], v->type.dims[a], &of[letter]));
            else
                of[letter] = v->type.dims[a];
            seen[letter] = true;
        }
        const char *then = i + 1 < c->n->n_list ? "," : "->";
        for (; *then != 0; then++, at++)
            if (at >= eq.n || eq.p[at] != *then)
                return sm_inf_bad(c, "values", v, "equation %s does not fit", sm_quote(eq.p, eq.n));
    }
    for (; at < eq.n; at++) {
        if (!seen[(uint8_t)eq.p[at]] || rank == SM_MAX_RANK)
            return sm_inf_bad(c, "equation", NULL, "%s names an axis that no operand has", sm_quote(eq.p, eq.n));
        dims[rank++] = of[(uint8_t)eq.p[at]];
    }
    return sm_inf_out(c, 0, c->n->list[0]->type.dtype, rank, dims);
}

sm_status sm_infer_sdpa(sm_inf *c) {
    const sm_value *q = sm_arg(c->n, "query"), *k = sm_arg(c->n, "key"), *v = sm_arg(c->n, "value");
    const sm_value *m = sm_arg(c->n, "attn_mask");
    sm_dim dims[SM_MAX_RANK], kv[SM_MAX_RANK];
    int r = q->type.rank, rank;
    if (r < 3 || k->type.rank != r || v->type.rank != r)
        return sm_inf_bad(c, "query", q, "wanted query, key and value of one rank, 3 or more");
    SM_TRY(sm_inf_operand(c, "key", q->type.dtype, false));
    SM_TRY(sm_inf_operand(c, "value", q->type.dtype, false));
    SM_TRY(sm_inf_same_dim(c, "last axes of query and key", q->type.dims[r - 1], k->type.dims[r - 1], NULL));
    SM_TRY(sm_inf_same_dim(c, "rows of key and value", k->type.dims[r - 2], v->type.dims[r - 2], NULL));
    SM_TRY(sm_inf_broadcast(c, r - 2, k->type.dims, r - 2, v->type.dims, &rank, kv));
    SM_TRY(sm_inf_broadcast(c, r - 2, q->type.dims, r - 2, kv, &rank, dims));
    if (m != NULL && m->type.dtype != SM_BOOL)
        SM_TRY(sm_inf_operand(c, "attn_mask", q->type.dtype, false));
    if (m != NULL && m->type.rank >= 2)
        SM_TRY(
            sm_inf_same_dim(c, "last axis of attn_mask and rows of key",
                            m->type.dims[m->type.rank - 1] == 1 ? k->type.dims[r - 2] : m->type.dims[m->type.rank - 1],
                            k->type.dims[r - 2], NULL));
    dims[r - 2] = q->type.dims[r - 2];
    dims[r - 1] = v->type.dims[r - 1];
    return sm_inf_out(c, 0, q->type.dtype, r, dims);
}

/* ---- reductions ---- */

/* sum, product, largest, smallest of the elements of a vector. */
static sm_dim reduce_elems(sm_inf *c, const sm_dim *x, int64_t n) {
    sm_dim r = x[0];
    for (int64_t i = 1; i < n && r != SM_DIM_UNKNOWN; i++)
        switch (c->n->op) {
        case SM_OP_REDUCE_SUM:
            r = sm_dim_add(c->g, r, x[i]);
            break;
        case SM_OP_REDUCE_PROD:
            r = sm_dim_call(c->g, SM_FN_MUL, r, x[i]);
            break;
        case SM_OP_REDUCE_MAX:
            r = sm_dim_call(c->g, SM_FN_MAX, r, x[i]);
            break;
        case SM_OP_REDUCE_MIN:
            r = sm_dim_call(c->g, SM_FN_MIN, r, x[i]);
            break;
        default:
            return SM_DIM_UNKNOWN;
        }
    return r;
}

static bool follows(sm_op op) {
    return op == SM_OP_REDUCE_SUM || op == SM_OP_REDUCE_PROD || op == SM_OP_REDUCE_MAX || op == SM_OP_REDUCE_MIN;
}

sm_status sm_infer_reduce(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x");
    bool flag[SM_MAX_RANK], keep = false, all = true;
    sm_dim dims[SM_MAX_RANK];
    int rank = 0;
    int64_t n;
    SM_TRY(sm_inf_axes(c, "axes", x->type.rank, flag));
    SM_TRY(sm_inf_bool(c, "keep_dims", &keep));
    for (int a = 0; a < x->type.rank; a++) {
        all &= flag[a];
        if (!flag[a] || keep)
            dims[rank++] = flag[a] ? 1 : x->type.dims[a];
    }
    SM_TRY(sm_inf_out(c, 0, x->type.dtype, rank, dims));
    int64_t have = sm_type_numel(&x->type, SM_SYM_ELEMS);
    sm_dim *sym = x->sym != NULL && all && have > 0 && follows(c->n->op) ? sm_inf_sym(c, 0, &n) : NULL;
    if (sym != NULL)
        sym[0] = reduce_elems(c, x->sym, have);
    return SM_OK;
}

sm_status sm_infer_argreduce(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x");
    bool keep = false;
    sm_dim dims[SM_MAX_RANK];
    sm_sv name = {0};
    int axis, rank = 0;
    sm_arg_str(c->n, "output_dtype", &name);
    sm_dtype t = sm_dtype_of_name(name);
    if (!sm_is_int(t))
        return sm_inf_bad(c, "output_dtype", NULL, "%s is no integer type", sm_quote(name.p, name.n));
    if (x->type.rank == 0)
        return sm_inf_bad(c, "x", x, "wanted at least one axis");
    SM_TRY(sm_inf_axis(c, "axis", x->type.rank, &axis));
    SM_TRY(sm_inf_bool(c, "keep_dims", &keep));
    for (int a = 0; a < x->type.rank; a++)
        if (a != axis || keep)
            dims[rank++] = a == axis ? 1 : x->type.dims[a];
    return sm_inf_out(c, 0, t, rank, dims);
}

/* ---- constants that decode at load time ---- */

sm_status sm_inf_blocks(sm_inf *c, const char *slot, const sm_value *of, int extra, const char *whose) {
    const sm_value *p = sm_arg(c->n, slot);
    if (p == NULL)
        return SM_OK;
    if (p->type.rank != of->type.rank + extra)
        return sm_inf_bad(c, slot, p, "wanted %d axes, %s has %d", of->type.rank + extra, whose, of->type.rank);
    for (int a = 0; a < of->type.rank; a++) {
        sm_dim d = of->type.dims[a], b = p->type.dims[a];
        if (sm_dim_known(d) && sm_dim_known(b) && (b < 1 || d % b != 0))
            return sm_inf_bad(c, slot, p, "axis %d does not divide %s's %" PRId64, a, whose, (int64_t)d);
    }
    return SM_OK;
}

sm_status sm_infer_cx_blockwise(sm_inf *c) {
    const sm_value *data = sm_arg(c->n, "data"), *scale = sm_arg(c->n, "scale");
    SM_TRY(sm_inf_blocks(c, "scale", data, 0, "data"));
    SM_TRY(sm_inf_blocks(c, "offset", data, 0, "data"));
    if (!sm_is_float(scale->type.dtype))
        return sm_inf_bad(c, "scale", scale, "wanted floats");
    return sm_inf_out(c, 0, scale->type.dtype, data->type.rank, data->type.dims);
}

/* The iOS16 forms carry the result's shape as a constant. */
static sm_status shape_operand(sm_inf *c, int *rank, sm_dim *dims) {
    const sm_value *s = sm_arg(c->n, "shape");
    int64_t n = sm_type_numel(&s->type, SM_MAX_RANK);
    if (s->sym == NULL || n < 0 || s->type.rank > 1)
        return sm_inf_bad(c, "shape", s, "wanted a constant vector");
    *rank = (int)n;
    for (int i = 0; i < *rank; i++) {
        dims[i] = s->sym[i];
        if (sm_dim_known(dims[i]) && dims[i] < 0)
            return sm_inf_bad(c, "shape", s, "element %d is negative", i);
    }
    return SM_OK;
}

sm_status sm_infer_cx_lut(sm_inf *c) {
    const sm_value *ids = sm_arg(c->n, "indices"), *lut = sm_arg(c->n, "lut");
    sm_dim dims[SM_MAX_RANK];
    int rank = ids->type.rank, axis;
    if (sm_arg(c->n, "shape") != NULL) {
        SM_TRY(shape_operand(c, &rank, dims));
        return sm_inf_out(c, 0, lut->type.dtype, rank, dims);
    }
    if (lut->type.rank != rank + 2 || rank == 0)
        return sm_inf_bad(c, "lut", lut, "wanted %d axes: indices', entries, vector", rank + 2);
    memcpy(dims, ids->type.dims, sizeof dims);
    sm_dim vec = lut->type.dims[rank + 1];
    if (vec != 1) {
        if (sm_arg(c->n, "vector_axis") == NULL)
            return sm_inf_bad(c, "lut", lut, "vectors of more than 1 element want vector_axis");
        SM_TRY(sm_inf_axis(c, "vector_axis", rank, &axis));
        dims[axis] = sm_dim_mul(c->g, dims[axis], vec);
    }
    return sm_inf_out(c, 0, lut->type.dtype, rank, dims);
}

sm_status sm_infer_cx_affine(sm_inf *c) {
    const sm_value *data = sm_arg(c->n, "quantized_data"), *scale = sm_arg(c->n, "scale");
    int axis;
    if (data->type.rank == 0)
        return sm_inf_bad(c, "quantized_data", data, "wanted at least one axis");
    SM_TRY(sm_inf_axis(c, "axis", data->type.rank, &axis));
    if (!sm_is_float(scale->type.dtype) || scale->type.rank > 1)
        return sm_inf_bad(c, "scale", scale, "wanted a scalar or vector of floats");
    if (scale->type.rank == 1)
        SM_TRY(sm_inf_same_dim(c, "scale and axis", scale->type.dims[0], data->type.dims[axis], NULL));
    return sm_inf_out(c, 0, scale->type.dtype, data->type.rank, data->type.dims);
}

sm_status sm_infer_cx_cast(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "source_val");
    sm_sv name = {0};
    sm_arg_str(c->n, "output_dtype", &name);
    sm_dtype t = sm_dtype_of_name(name);
    if (t == SM_NONE || t == SM_STRING)
        return sm_inf_bad(c, "output_dtype", NULL, "%s is not a type", sm_quote(name.p, name.n));
    return sm_inf_out(c, 0, t, x->type.rank, x->type.dims);
}

sm_status sm_infer_cx_sparse(sm_inf *c) {
    const sm_value *data = sm_arg(c->n, "nonzero_data"), *mask = sm_arg(c->n, "mask");
    sm_dim dims[SM_MAX_RANK];
    int rank;
    if (sm_arg(c->n, "shape") == NULL)
        return sm_inf_out(c, 0, data->type.dtype, mask->type.rank, mask->type.dims);
    SM_TRY(shape_operand(c, &rank, dims));
    return sm_inf_out(c, 0, data->type.dtype, rank, dims);
}
