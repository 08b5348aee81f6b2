/* SPDX-License-Identifier: MIT
 *
 * ref_reduce.c: reductions, norms, running sums.  Sums are in f64, in the order of the elements.
 */
#include <math.h>
#include <string.h>

#include "backend/ref/ref_int.h"

/* ---- over any set of axes ---- */

/* One result's running value: f64 for floats, wrapped at the end for integers. */
typedef struct acc {
    double f, max; /* max: of reduce_log_sum_exp, whose f is relative to it */
    int64_t i;
    bool any;
} acc;

static void acc_exp(acc *a, double x) {
    double max = !a->any || x > a->max || isnan(x) ? x : a->max;
    if (isinf(max) || isnan(max))
        a->f = max == -INFINITY ? 0 : 1;
    else
        a->f = (a->any ? a->f * exp(a->max - max) : 0) + exp(x - max);
    a->max = max;
}

static void acc_float(sm_op op, acc *a, double x) {
    switch (op) {
    case SM_OP_REDUCE_SUM:
    case SM_OP_REDUCE_MEAN:
    case SM_OP_REDUCE_LOG_SUM:
        a->f += x;
        break;
    case SM_OP_REDUCE_L1_NORM:
        a->f += fabs(x);
        break;
    case SM_OP_REDUCE_LOG_SUM_EXP:
        acc_exp(a, x);
        break;
    case SM_OP_REDUCE_SUM_SQUARE:
    case SM_OP_REDUCE_L2_NORM:
        a->f += x * x;
        break;
    case SM_OP_REDUCE_PROD:
        a->f = a->any ? a->f * x : x;
        break;
    case SM_OP_REDUCE_MAX:
        a->f = !a->any || x > a->f || isnan(x) ? x : a->f;
        break;
    default:
        a->f = !a->any || x < a->f || isnan(x) ? x : a->f;
    }
    a->any = true;
}

static void acc_int(sm_op op, acc *a, int64_t x) {
    uint64_t u = (uint64_t)a->i;
    switch (op) {
    case SM_OP_REDUCE_SUM:
    case SM_OP_REDUCE_MEAN:
    case SM_OP_REDUCE_LOG_SUM:
        a->i = (int64_t)(u + (uint64_t)x);
        break;
    case SM_OP_REDUCE_SUM_SQUARE:
    case SM_OP_REDUCE_L2_NORM:
        a->i = (int64_t)(u + (uint64_t)x * (uint64_t)x);
        break;
    case SM_OP_REDUCE_L1_NORM:
        a->i = (int64_t)(u + (x < 0 ? 0 - (uint64_t)x : (uint64_t)x));
        break;
    case SM_OP_REDUCE_LOG_SUM_EXP:
        acc_exp(a, (double)x);
        break;
    case SM_OP_REDUCE_PROD:
        a->i = a->any ? (int64_t)(u * (uint64_t)x) : x;
        break;
    case SM_OP_REDUCE_MAX:
        a->i = !a->any || x > a->i ? x : a->i;
        break;
    default:
        a->i = !a->any || x < a->i ? x : a->i;
    }
    a->any = true;
}

/* Truncated; what int32 does not hold becomes its end. */
static int64_t to_whole(double x) {
    return isnan(x) ? 0 : x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : (int64_t)x;
}

static void acc_result(sm_op op, const acc *a, int64_t n, ref_val *y, int64_t at) {
    double f = a->f;
    int64_t i = a->i;
    if (op == SM_OP_REDUCE_PROD && !a->any)
        f = (double)(i = 1);
    if (op == SM_OP_REDUCE_MEAN) {
        f /= (double)n;
        i = n == 0 ? 0 : i / n;
    }
    if (op == SM_OP_REDUCE_L2_NORM) {
        f = sqrt(f);
        i = (int64_t)sqrt((double)i);
    }
    if (op == SM_OP_REDUCE_LOG_SUM) {
        f = log(f);
        i = to_whole(log((double)i));
    }
    if (op == SM_OP_REDUCE_LOG_SUM_EXP) {
        f = a->any && isfinite(a->max) ? a->max + log(f) : a->any ? a->max : -INFINITY;
        i = to_whole(f);
    }
    if (ref_is_float(y))
        y->f[at] = (float)f;
    else
        y->i[at] = ref_wrap(y->dtype, i);
}

/* Extents of the result (kept axes, or 1) and, per axis of x, the stride in it: 0 along reduced axes. */
static int reduced_shape(const ref_val *x, const bool *reduced, bool keep, int64_t *dims, int64_t *stride) {
    int64_t kept[SM_MAX_RANK], s[SM_MAX_RANK];
    int rank = 0;
    for (int i = 0; i < x->rank; i++) {
        kept[i] = reduced[i] ? 1 : x->dims[i];
        if (!reduced[i] || keep)
            dims[rank++] = kept[i];
    }
    ref_strides(x->rank, kept, s);
    for (int i = 0; i < x->rank; i++)
        stride[i] = reduced[i] ? 0 : s[i];
    return rank;
}

sm_status ref_reduce(ref_call *c) {
    sm_op op = c->node->op;
    const ref_val *x = ref_in(c, "x");
    bool reduced[SM_MAX_RANK];
    int64_t dims[SM_MAX_RANK], to[SM_MAX_RANK], from[SM_MAX_RANK], n = 1;
    SM_TRY(ref_axes(c, "axes", x->rank, reduced));
    for (int i = 0; i < x->rank; i++)
        n *= reduced[i] ? x->dims[i] : 1;
    int rank = reduced_shape(x, reduced, ref_bool(c, "keep_dims"), dims, to);
    SM_TRY(ref_result(c, 0, x->dtype, rank, dims));
    ref_val *y = ref_out(c, 0);
    if (n == 0 && (op == SM_OP_REDUCE_MAX || op == SM_OP_REDUCE_MIN || op == SM_OP_REDUCE_MEAN) && y->n > 0)
        return SM_FAIL(c->err, SM_BADINPUT, "nothing to reduce");
    acc *a = sm_alloc_n((size_t)y->n, sizeof *a);
    if (a == NULL)
        return SM_NOMEM(c->err);
    ref_walk w;
    ref_strides(x->rank, x->dims, from);
    ref_walk_init(&w, x->rank, x->dims);
    ref_walk_add(&w, to, 0);
    ref_walk_add(&w, from, 0);
    for (bool more = ref_walk_start(&w); more; more = ref_walk_next(&w)) {
        for (int64_t i = 0; i < w.inner; i++) {
            acc *at = &a[w.off[0] + i * w.step[0]];
            if (ref_is_float(x))
                acc_float(op, at, (double)x->f[w.off[1] + i * w.step[1]]);
            else
                acc_int(op, at, x->i[w.off[1] + i * w.step[1]]);
        }
    }
    for (int64_t i = 0; i < y->n; i++)
        acc_result(op, &a[i], n, y, i);
    sm_free(a);
    return SM_OK;
}

/* ---- along one axis: element i of line (outer, inner) is at (outer * n + i) * stride + inner ---- */

typedef struct lines {
    int64_t outer, n, stride;
} lines;

static sm_status lines_of(ref_call *c, const ref_val *x, lines *l, int *axis) {
    SM_TRY(ref_axis(c, "axis", x->rank, axis));
    *l = (lines){ref_extent(x, 0, *axis), x->dims[*axis], ref_extent(x, *axis + 1, x->rank)};
    return SM_OK;
}

sm_status ref_argreduce(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    bool largest = c->node->op == SM_OP_REDUCE_ARGMAX;
    lines l;
    int axis, rank = 0;
    int64_t dims[SM_MAX_RANK];
    sm_sv name = {0};
    sm_arg_str(c->node, "output_dtype", &name);
    sm_dtype t = sm_dtype_of_name(name);
    if (t == SM_NONE || sm_dtype_kind(t) == 'f' || sm_dtype_kind(t) == 's')
        return SM_FAIL(c->err, SM_UNSUPPORTED, "indices of dtype %s", sm_quote(name.p, name.n));
    SM_TRY(lines_of(c, x, &l, &axis));
    for (int i = 0; i < x->rank; i++)
        if (i != axis || ref_bool(c, "keep_dims"))
            dims[rank++] = i == axis ? 1 : x->dims[i];
    SM_TRY(ref_result(c, 0, t, rank, dims));
    if (l.n == 0 && ref_out(c, 0)->n > 0)
        return SM_FAIL(c->err, SM_BADINPUT, "nothing to reduce");
    for (int64_t k = 0; k < l.outer * l.stride; k++) {
        int64_t at = k / l.stride * l.n * l.stride + k % l.stride, best = 0;
        for (int64_t i = 1; i < l.n; i++) {
            double v = ref_elem(x, at + i * l.stride), b = ref_elem(x, at + best * l.stride);
            best = (largest ? v > b : v < b) ? i : best; /* the first of equals */
        }
        ref_out(c, 0)->i[k] = ref_wrap(t, best);
    }
    return SM_OK;
}

void ref_softmax_row(float *s, int64_t n) {
    float max = -INFINITY;
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        max = s[i] > max ? s[i] : max;
    if (max == -INFINITY) {
        memset(s, 0, (size_t)n * sizeof *s);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        s[i] = (float)exp((double)s[i] - (double)max);
        sum += (double)s[i];
    }
    for (int64_t i = 0; i < n; i++)
        s[i] = (float)((double)s[i] / sum);
}

sm_status ref_softmax(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    lines l;
    int axis;
    if (!ref_is_float(x))
        return SM_FAIL(c->err, SM_UNSUPPORTED, "not for %s", sm_dtype_name(x->dtype));
    SM_TRY(lines_of(c, x, &l, &axis));
    SM_TRY(ref_result_like(c, 0, x));
    float *y = ref_out(c, 0)->f, *row = sm_alloc_n((size_t)l.n, sizeof *row);
    if (row == NULL)
        return SM_NOMEM(c->err);
    for (int64_t k = 0; k < l.outer * l.stride; k++) {
        int64_t at = k / l.stride * l.n * l.stride + k % l.stride;
        for (int64_t i = 0; i < l.n; i++)
            row[i] = x->f[at + i * l.stride];
        ref_softmax_row(row, l.n);
        for (int64_t i = 0; i < l.n; i++)
            y[at + i * l.stride] = row[i];
    }
    sm_free(row);
    return SM_OK;
}

sm_status ref_cumsum(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    bool exclusive = ref_bool(c, "exclusive"), reverse = ref_bool(c, "reverse");
    lines l;
    int axis;
    SM_TRY(lines_of(c, x, &l, &axis));
    SM_TRY(ref_result_like(c, 0, x));
    ref_val *y = ref_out(c, 0);
    for (int64_t k = 0; k < l.outer * l.stride; k++) {
        int64_t at = k / l.stride * l.n * l.stride + k % l.stride, before_i, sum_i = 0;
        double before, sum = 0;
        for (int64_t i = 0; i < l.n; i++) {
            int64_t e = at + (reverse ? l.n - 1 - i : i) * l.stride;
            before = sum;
            before_i = sum_i;
            if (ref_is_float(x)) {
                sum += (double)x->f[e];
                y->f[e] = (float)(exclusive ? before : sum);
            } else {
                sum_i = (int64_t)((uint64_t)sum_i + (uint64_t)x->i[e]);
                y->i[e] = ref_wrap(y->dtype, exclusive ? before_i : sum_i);
            }
        }
    }
    return SM_OK;
}

/* ---- norms ---- */

/* Strides in x of the axes that are marked (or not), and their extents, as a shape of its own. */
static int marked_axes(const ref_val *x, const bool *marked, bool which, int64_t *dims, int64_t *stride) {
    int64_t all[SM_MAX_RANK];
    int rank = 0;
    ref_strides(x->rank, x->dims, all);
    for (int i = 0; i < x->rank; i++) {
        if (marked[i] == which) {
            dims[rank] = x->dims[i];
            stride[rank++] = all[i];
        }
    }
    return rank;
}

/* Offsets in x of every element of a shape with strides, in order; heap, or NULL. */
static int64_t *offsets_of(int rank, const int64_t *dims, const int64_t *stride, int64_t *n) {
    ref_walk w;
    ref_walk_init(&w, rank, dims);
    ref_walk_add(&w, stride, 0);
    *n = 1;
    for (int i = 0; i < rank; i++)
        *n *= dims[i];
    int64_t *out = sm_alloc_n((size_t)*n, sizeof *out), k = 0;
    for (bool more = out != NULL && ref_walk_start(&w); more; more = ref_walk_next(&w))
        for (int64_t i = 0; i < w.inner; i++)
            out[k++] = w.off[0] + i * w.step[0];
    return out;
}

/* One group of elements: mean and 1 / sqrt(variance + eps) in f64. */
static void normalise(const float *x, const int64_t *at, int64_t n, double eps, const float *gamma, const float *beta,
                      float *y) {
    double mean = 0, var = 0;
    for (int64_t i = 0; i < n; i++)
        mean += (double)x[at[i]];
    mean /= (double)n;
    for (int64_t i = 0; i < n; i++)
        var += ((double)x[at[i]] - mean) * ((double)x[at[i]] - mean);
    double r = 1.0 / sqrt(var / (double)n + eps);
    for (int64_t i = 0; i < n; i++) {
        double v = ((double)x[at[i]] - mean) * r;
        v = gamma != NULL ? v * (double)gamma[i] : v;
        y[at[i]] = (float)(beta != NULL ? v + (double)beta[i] : v);
    }
}

sm_status ref_layer_norm(ref_call *c) {
    const ref_val *x = ref_in(c, "x"), *gamma = ref_in(c, "gamma"), *beta = ref_in(c, "beta");
    bool marked[SM_MAX_RANK];
    int64_t dims[SM_MAX_RANK], stride[SM_MAX_RANK], n_in, n_out;
    if (!ref_is_float(x))
        return SM_FAIL(c->err, SM_UNSUPPORTED, "not for %s", sm_dtype_name(x->dtype));
    SM_TRY(ref_axes(c, "axes", x->rank, marked));
    SM_TRY(ref_result_like(c, 0, x));
    int rank = marked_axes(x, marked, true, dims, stride);
    int64_t *inner = offsets_of(rank, dims, stride, &n_in);
    rank = marked_axes(x, marked, false, dims, stride);
    int64_t *outer = offsets_of(rank, dims, stride, &n_out);
    sm_status st = inner == NULL || outer == NULL ? SM_NOMEM(c->err) : SM_OK;
    if (st == SM_OK && ((gamma != NULL && gamma->n != n_in) || (beta != NULL && beta->n != n_in)))
        st = SM_FAIL(c->err, SM_BADINPUT, "gamma or beta does not have one element per normalised element");
    for (int64_t k = 0; st == SM_OK && k < n_out && n_in > 0; k++)
        normalise(x->f + outer[k], inner, n_in, ref_num(c, "epsilon"), gamma != NULL ? gamma->f : NULL,
                  beta != NULL ? beta->f : NULL, ref_out(c, 0)->f + outer[k]);
    sm_free(inner);
    sm_free(outer);
    return st;
}

sm_status ref_l2_norm(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    double eps = ref_num(c, "epsilon");
    if (!ref_is_float(x) || x->rank < 3)
        return SM_FAIL(c->err, SM_BADINPUT, "wanted floats of rank 3 or more");
    SM_TRY(ref_result_like(c, 0, x));
    float *y = ref_out(c, 0)->f;
    int64_t n = ref_extent(x, x->rank - 3, x->rank);
    for (int64_t at = 0; at < x->n; at += n) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++)
            sum += (double)x->f[at + i] * (double)x->f[at + i];
        for (int64_t i = 0; i < n; i++)
            y[at + i] = (float)((double)x->f[at + i] / sqrt(sum + eps));
    }
    return SM_OK;
}
