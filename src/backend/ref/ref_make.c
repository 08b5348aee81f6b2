/* SPDX-License-Identifier: MIT
 *
 * ref_make.c: values made from little, and orders of elements.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/ref/ref_int.h"

/* A result of one repeated value: of value's dtype, f32 zeros when it is absent. */
static sm_status filled(ref_call *c, int rank, const int64_t *dims) {
    const ref_val *value = ref_in(c, "value");
    SM_TRY(ref_result(c, 0, value == NULL ? SM_FP32 : value->dtype, rank, dims));
    ref_val *y = ref_out(c, 0);
    for (int64_t i = 0; value != NULL && value->n > 0 && i < y->n; i++) {
        if (ref_is_float(y))
            y->f[i] = value->f[0];
        else
            y->i[i] = value->i[0];
    }
    return SM_OK;
}

sm_status ref_fill(ref_call *c) {
    int64_t dims[SM_MAX_RANK];
    int rank;
    SM_TRY(ref_ints(c, "shape", dims, SM_MAX_RANK, &rank));
    return filled(c, SM_MAX(rank, 0), dims);
}

sm_status ref_fill_like(ref_call *c) {
    const ref_val *like = ref_in(c, "ref_tensor");
    return filled(c, like->rank, like->dims);
}

sm_status ref_range_1d(ref_call *c) {
    const ref_val *start = ref_in(c, "start"), *end = ref_in(c, "end"), *step = ref_in(c, "step");
    if (start->n != 1 || end->n != 1 || step->n != 1 || ref_is_float(start) != ref_is_float(end) ||
        ref_is_float(start) != ref_is_float(step))
        return SM_FAIL(c->err, SM_BADINPUT, "start, end and step are not three scalars of one kind");
    double a = ref_elem(start, 0), s = ref_elem(step, 0), n = ceil((ref_elem(end, 0) - a) / s);
    if (s == 0 || isnan(n) || n > (double)INT32_MAX)
        return SM_FAIL(c->err, SM_BADINPUT, "from %g by %g has no end", a, s);
    SM_TRY(ref_result(c, 0, start->dtype, 1, (int64_t[]){n < 0 ? 0 : (int64_t)n}));
    ref_val *y = ref_out(c, 0);
    for (int64_t i = 0; i < y->n; i++) {
        if (ref_is_float(y))
            y->f[i] = (float)(a + (double)i * s);
        else
            y->i[i] = ref_wrap(y->dtype, start->i[0] + i * step->i[0]);
    }
    return SM_OK;
}

/* Keeps element (m, n) of the last two axes when m - n <= lower and n - m <= upper; negative: no limit. */
sm_status ref_band_part(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    int64_t lower = ref_int(c, "lower"), upper = ref_int(c, "upper");
    if (x->rank < 2)
        return SM_FAIL(c->err, SM_BADINPUT, "wanted rank 2 or more");
    SM_TRY(ref_result_like(c, 0, x));
    ref_val *y = ref_out(c, 0);
    int64_t rows = x->dims[x->rank - 2], cols = x->dims[x->rank - 1];
    for (int64_t e = 0; e < x->n; e++) {
        int64_t m = e / cols % rows, n = e % cols;
        if ((lower >= 0 && m - n > lower) || (upper >= 0 && n - m > upper))
            continue; /* zero as made */
        if (ref_is_float(x))
            y->f[e] = x->f[e];
        else
            y->i[e] = x->i[e];
    }
    return SM_OK;
}

sm_status ref_one_hot(ref_call *c) {
    const ref_val *indices = ref_in(c, "indices"), *on = ref_in(c, "on_value"), *off = ref_in(c, "off_value");
    int64_t size = ref_int(c, "one_hot_vector_size"), dims[SM_MAX_RANK + 1];
    sm_dtype t = on != NULL ? on->dtype : off != NULL ? off->dtype : SM_INT32;
    int axis, rank = indices->rank + 1;
    if (ref_is_float(indices))
        return SM_FAIL(c->err, SM_BADINPUT, "indices are %s", sm_dtype_name(indices->dtype));
    SM_TRY(ref_axis(c, "axis", rank, &axis));
    for (int i = 0; i < rank; i++)
        dims[i] = i == axis ? size : indices->dims[i < axis ? i : i - 1];
    SM_TRY(ref_result(c, 0, t, rank, dims));
    ref_val *y = ref_out(c, 0);
    double yes = on == NULL || on->n < 1 ? 1 : ref_elem(on, 0), no = off == NULL || off->n < 1 ? 0 : ref_elem(off, 0);
    int64_t inner = ref_extent(indices, axis, indices->rank);
    for (int64_t e = 0; e < y->n; e++) {
        int64_t k = e / inner % size, at = e / inner / size * inner + e % inner;
        double v = indices->i[at] == k ? yes : no;
        if (ref_is_float(y))
            y->f[e] = (float)v;
        else
            y->i[e] = (int64_t)v;
    }
    return SM_OK;
}

/* Index vectors of the elements that are not 0, in their order. */
sm_status ref_non_zero(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    int64_t n = 0, at = 0;
    for (int64_t i = 0; i < x->n; i++)
        n += ref_elem(x, i) != 0;
    SM_TRY(ref_result(c, 0, SM_INT32, 2, (int64_t[]){n, x->rank}));
    for (int64_t i = 0; i < x->n; i++) {
        if (ref_elem(x, i) == 0)
            continue;
        int64_t rest = i;
        for (int a = x->rank - 1; a >= 0; a--) {
            ref_out(c, 0)->i[at + a] = rest % x->dims[a];
            rest /= x->dims[a];
        }
        at += x->rank;
    }
    return SM_OK;
}

/* ---- orders ---- */

typedef struct item {
    double v;
    int64_t i;
} item;

/* Larger first, the lower index first among equals; NaN last. */
static int by_largest(const void *pa, const void *pb) {
    const item *a = pa, *b = pb;
    if (a->v != b->v && !(isnan(a->v) && isnan(b->v)))
        return a->v > b->v || isnan(b->v) ? -1 : 1;
    return a->i < b->i ? -1 : 1;
}

/* Every line of x along `axis` in order; the first k indices (and values, when wanted) go to results. */
static sm_status ordered(ref_call *c, const ref_val *x, int axis, int64_t k, bool ascending, ref_val *values,
                         ref_val *indices) {
    int64_t n = x->dims[axis], stride = ref_extent(x, axis + 1, x->rank), lines = ref_extent(x, 0, axis) * stride;
    item *line = sm_alloc_n((size_t)n, sizeof *line);
    if (line == NULL)
        return SM_NOMEM(c->err);
    for (int64_t l = 0; l < lines; l++) {
        int64_t from = l / stride * n * stride + l % stride, to = l / stride * k * stride + l % stride;
        for (int64_t i = 0; i < n; i++)
            line[i] = (item){ascending ? -ref_elem(x, from + i * stride) : ref_elem(x, from + i * stride), i};
        qsort(line, (size_t)n, sizeof *line, by_largest);
        for (int64_t i = 0; i < k; i++) {
            int64_t src = from + line[i].i * stride, dst = to + i * stride;
            if (indices != NULL)
                indices->i[dst] = line[i].i;
            if (values != NULL && ref_is_float(x))
                values->f[dst] = x->f[src];
            else if (values != NULL)
                values->i[dst] = x->i[src];
        }
    }
    sm_free(line);
    return SM_OK;
}

sm_status ref_topk(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    int64_t k = ref_int(c, "k"), dims[SM_MAX_RANK];
    bool with_indices = c->node->n_out > 1;
    sm_sv name;
    int axis;
    SM_TRY(ref_axis(c, "axis", x->rank, &axis));
    k = ref_in(c, "k") == NULL ? 1 : k == -1 ? x->dims[axis] : k;
    if (k < 0 || k > x->dims[axis])
        return SM_FAIL(c->err, SM_BADINPUT, "the largest %" PRId64 " of %" PRId64, k, x->dims[axis]);
    memcpy(dims, x->dims, sizeof dims);
    dims[axis] = k;
    sm_dtype t = sm_arg_str(c->node, "output_indices_dtype", &name) ? sm_dtype_of_name(name) : SM_INT32;
    if (t == SM_NONE || sm_dtype_kind(t) == 'f' || sm_dtype_kind(t) == 's')
        return SM_FAIL(c->err, SM_UNSUPPORTED, "indices of dtype %s", sm_quote(name.p, name.n));
    SM_TRY(ref_result(c, 0, x->dtype, x->rank, dims));
    if (with_indices)
        SM_TRY(ref_result(c, 1, t, x->rank, dims));
    return ordered(c, x, axis, k, ref_bool(c, "ascending"), ref_out(c, 0), with_indices ? ref_out(c, 1) : NULL);
}

sm_status ref_argsort(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    int axis;
    SM_TRY(ref_axis(c, "axis", x->rank, &axis));
    SM_TRY(ref_result(c, 0, SM_INT32, x->rank, x->dims));
    return ordered(c, x, axis, x->dims[axis], ref_bool(c, "ascending"), NULL, ref_out(c, 0));
}
