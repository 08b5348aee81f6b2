/* SPDX-License-Identifier: MIT
 *
 * ref_gather.c: elements by computed indices, read and written.  Negative indices count from the end; others outside
 * are errors.  From iOS17 on negative ones are outside, too, and Core ML promises to fail only with validate_indices:
 * they are refused with it, and read as before without.
 */
#include <inttypes.h>
#include <string.h>

#include "backend/ref/ref_int.h"

/* Did the program ask for negative indices to be refused? */
static bool validated(const ref_call *c) {
    return c->node->block->func->opset >= 8 && ref_bool(c, "validate_indices");
}

/* Index i of an axis of n elements. */
static sm_status index_of(ref_call *c, const ref_val *indices, int64_t i, int64_t n, int64_t *out) {
    *out = 0;
    int64_t k = ref_is_float(indices) ? n : indices->i[i]; /* floats are no indices */
    if (k < -n || k >= n || (k < 0 && validated(c)))
        return SM_FAIL(c->err, SM_BADINPUT, "index %" PRId64 " outside an axis of extent %" PRId64, k, n);
    *out = k < 0 ? k + n : k;
    return SM_OK;
}

/* Rows of an encoded constant: the rest of it is not decoded. */
static sm_status gather_rows(ref_call *c, const ref_val *indices) {
    const sm_value *v = sm_arg(c->node, "x");
    const sm_tensor *t;
    ref_weight w;
    int64_t dims[2 * SM_MAX_RANK], at;
    int rank = indices->rank;
    SM_TRY(ref_const_tensor(c->e, v, &t, c->err));
    SM_TRY(ref_weight_of(c, "x", &w));
    memcpy(dims, indices->dims, sizeof indices->dims);
    for (int i = 1; i < t->rank; i++)
        dims[rank++] = t->dims[i];
    SM_TRY(ref_result_raw(c, 0, t->dtype, rank, dims));
    for (int64_t i = 0; i < indices->n; i++) {
        SM_TRY(index_of(c, indices, i, w.rows, &at));
        ref_weight_rows(&w, at, 1, ref_out(c, 0)->f + i * w.cols);
    }
    return SM_OK;
}

/* x [batch.., outer.., n, inner..], indices [batch.., k..] -> [batch.., outer.., k.., inner..] */
static sm_status gather_dense(ref_call *c, const ref_val *x, const ref_val *indices, int axis, int batch) {
    int64_t dims[2 * SM_MAX_RANK];
    int rank = 0;
    for (int i = 0; i < axis; i++)
        dims[rank++] = x->dims[i];
    for (int i = batch; i < indices->rank; i++)
        dims[rank++] = indices->dims[i];
    for (int i = axis + 1; i < x->rank; i++)
        dims[rank++] = x->dims[i];
    SM_TRY(ref_result_raw(c, 0, x->dtype, rank, dims));
    int64_t nb = ref_extent(x, 0, batch), outer = ref_extent(x, batch, axis), n = x->dims[axis];
    int64_t k = ref_extent(indices, batch, indices->rank);
    size_t run = (size_t)ref_extent(x, axis + 1, x->rank) * ref_elem_size(x);
    char *to = ref_out(c, 0)->p;
    for (int64_t o = 0; o < nb * outer; o++) {
        for (int64_t i = 0; i < k; i++, to += run) {
            int64_t at;
            SM_TRY(index_of(c, indices, o / outer * k + i, n, &at));
            memcpy(to, (const char *)x->p + (size_t)(o * n + at) * run, run);
        }
    }
    return SM_OK;
}

/* A lazy constant that cannot be read by rows is decoded after all. */
sm_status ref_gather(ref_call *c) {
    const ref_val *x = ref_in(c, "x"), *indices = ref_in(c, "indices");
    const sm_value *v = sm_arg(c->node, "x");
    int64_t batch = ref_int(c, "batch_dims");
    int axis, rank = x != NULL ? x->rank : v->type.rank;
    SM_TRY(ref_axis(c, "axis", rank, &axis));
    if (batch < 0 || batch > axis || batch > indices->rank)
        return SM_FAIL(c->err, SM_BADINPUT, "batch_dims %" PRId64 " with axis %d", batch, axis);
    if (x == NULL && axis == 0 && rank >= 2 && sm_dtype_kind(v->type.dtype) == 'f')
        return gather_rows(c, indices);
    ref_val tmp = {0};
    if (x == NULL)
        SM_TRY(ref_const_get(c->e, v, &tmp, &x, c->err));
    sm_status st = SM_OK;
    for (int i = 0; st == SM_OK && i < batch; i++)
        if (x->dims[i] != indices->dims[i])
            st = SM_FAIL(c->err, SM_BADINPUT, "batch axis %d has extents %" PRId64 " and %" PRId64, i, x->dims[i],
                         indices->dims[i]);
    if (st == SM_OK)
        st = gather_dense(c, x, indices, axis, (int)batch);
    ref_drop(&tmp);
    return st;
}

sm_status ref_gather_along_axis(ref_call *c) {
    const ref_val *x = ref_in(c, "x"), *indices = ref_in(c, "indices");
    int axis;
    int64_t s[SM_MAX_RANK];
    SM_TRY(ref_axis(c, "axis", x->rank, &axis));
    bool fits = x->rank == indices->rank;
    for (int i = 0; fits && i < x->rank; i++)
        fits = i == axis || x->dims[i] == indices->dims[i];
    if (!fits)
        return SM_FAIL(c->err, SM_BADINPUT, "x and indices do not fit");
    SM_TRY(ref_result_raw(c, 0, x->dtype, indices->rank, indices->dims));
    ref_strides(x->rank, x->dims, s);
    size_t size = ref_elem_size(x);
    for (int64_t e = 0; e < indices->n; e++) {
        int64_t rest = e, from = 0, k;
        SM_TRY(index_of(c, indices, e, x->dims[axis], &k));
        for (int i = x->rank - 1; i >= 0; i--) {
            from += (i == axis ? k : rest % indices->dims[i]) * s[i];
            rest /= indices->dims[i];
        }
        memcpy((char *)ref_out(c, 0)->p + (size_t)e * size, (const char *)x->p + (size_t)from * size, size);
    }
    return SM_OK;
}

/* Offset in x of the index vector `row` of indices [.., depth], axes from `first` on. */
static sm_status vector_offset(ref_call *c, const ref_val *x, int first, const ref_val *indices, int64_t row,
                               int64_t depth, int64_t *out) {
    int64_t s[SM_MAX_RANK], k;
    ref_strides(x->rank, x->dims, s);
    *out = 0;
    for (int64_t i = 0; i < depth; i++) {
        SM_TRY(index_of(c, indices, row * depth + i, x->dims[first + i], &k));
        *out += k * s[first + i];
    }
    return SM_OK;
}

sm_status ref_gather_nd(ref_call *c) {
    const ref_val *x = ref_in(c, "x"), *indices = ref_in(c, "indices");
    int64_t batch = ref_int(c, "batch_dims"), depth = indices->rank > 0 ? indices->dims[indices->rank - 1] : -1;
    int64_t dims[2 * SM_MAX_RANK], at;
    int rank = 0;
    if (batch < 0 || depth < 0 || batch >= indices->rank || batch + depth > x->rank)
        return SM_FAIL(c->err, SM_BADINPUT, "index vectors of %" PRId64 " into rank %d", depth, x->rank);
    for (int i = 0; i < indices->rank - 1; i++) {
        if (i < batch && x->dims[i] != indices->dims[i])
            return SM_FAIL(c->err, SM_BADINPUT, "batch axis %d differs", i);
        dims[rank++] = indices->dims[i];
    }
    for (int i = (int)(batch + depth); i < x->rank; i++)
        dims[rank++] = x->dims[i];
    SM_TRY(ref_result_raw(c, 0, x->dtype, rank, dims));
    int64_t n = ref_extent(indices, 0, indices->rank - 1), per = ref_extent(indices, (int)batch, indices->rank - 1);
    int64_t plane = ref_extent(x, (int)batch, x->rank), inner = ref_extent(x, (int)(batch + depth), x->rank);
    size_t size = ref_elem_size(x);
    for (int64_t i = 0; i < n && inner > 0; i++) {
        SM_TRY(vector_offset(c, x, (int)batch, indices, i, depth, &at));
        memcpy((char *)ref_out(c, 0)->p + (size_t)(i * inner) * size,
               (const char *)x->p + (size_t)(i / per * plane + at) * size, (size_t)inner * size);
    }
    return SM_OK;
}

/* ---- scatter ---- */

typedef enum put { PUT_ADD, PUT_SUB, PUT_MUL, PUT_DIV, PUT_MAX, PUT_MIN, PUT_UPDATE, PUT_COUNT } put;

static sm_status put_mode(ref_call *c, put *out) {
    static const char *const names[PUT_COUNT] = {"add", "sub", "mul", "div", "max", "min", "update"};
    *out = PUT_UPDATE;
    for (int i = 0; i < PUT_COUNT; i++) {
        if (ref_str_is(c, "mode", names[i])) {
            *out = (put)i;
            return SM_OK;
        }
    }
    return SM_FAIL(c->err, SM_UNSUPPORTED, "unknown mode");
}

static float put_float(put mode, float a, float b) {
    switch (mode) {
    case PUT_ADD:
        return a + b;
    case PUT_SUB:
        return a - b;
    case PUT_MUL:
        return a * b;
    case PUT_DIV:
        return a / b;
    case PUT_MAX:
        return SM_MAX(a, b);
    case PUT_MIN:
        return SM_MIN(a, b);
    default:
        return b;
    }
}

static int64_t put_int(put mode, int64_t a, int64_t b) {
    uint64_t x = (uint64_t)a, y = (uint64_t)b;
    switch (mode) {
    case PUT_ADD:
        return (int64_t)(x + y);
    case PUT_SUB:
        return (int64_t)(x - y);
    case PUT_MUL:
        return (int64_t)(x * y);
    case PUT_DIV:
        return b == 0 ? 0 : b == -1 ? (int64_t)(0 - x) : a / b;
    case PUT_MAX:
        return SM_MAX(a, b);
    case PUT_MIN:
        return SM_MIN(a, b);
    default:
        return b;
    }
}

/* Combines n updates from u on into y from `at` on. */
static void put_run(put mode, ref_val *y, int64_t at, const ref_val *u, int64_t from, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (ref_is_float(y))
            y->f[at + i] = put_float(mode, y->f[at + i], u->f[from + i]);
        else
            y->i[at + i] = ref_wrap(y->dtype, put_int(mode, y->i[at + i], u->i[from + i]));
    }
}

/* The result as a copy of data; updates must be `wanted` elements of its kind. */
static sm_status scatter_start(ref_call *c, const ref_val *data, const ref_val *u, int64_t wanted, put *mode) {
    SM_TRY(put_mode(c, mode));
    if (u->n != wanted || ref_is_float(u) != ref_is_float(data))
        return SM_FAIL(c->err, SM_BADINPUT, "%" PRId64 " updates of %s, wanted %" PRId64 " of %s", u->n,
                       sm_dtype_name(u->dtype), wanted, sm_dtype_name(data->dtype));
    SM_TRY(ref_result_like(c, 0, data));
    memcpy(ref_out(c, 0)->p, data->p, (size_t)data->n * ref_elem_size(data));
    return SM_OK;
}

/* data [outer.., n, inner..], indices [k..], updates [outer.., k.., inner..] */
sm_status ref_scatter(ref_call *c) {
    const ref_val *data = ref_in(c, "data"), *indices = ref_in(c, "indices"), *u = ref_in(c, "updates");
    int axis;
    put mode;
    int64_t at;
    SM_TRY(ref_axis(c, "axis", data->rank, &axis));
    int64_t outer = ref_extent(data, 0, axis), n = data->dims[axis], inner = ref_extent(data, axis + 1, data->rank);
    SM_TRY(scatter_start(c, data, u, outer * indices->n * inner, &mode));
    for (int64_t o = 0; o < outer; o++) {
        for (int64_t i = 0; i < indices->n; i++) {
            SM_TRY(index_of(c, indices, i, n, &at));
            put_run(mode, ref_out(c, 0), (o * n + at) * inner, u, (o * indices->n + i) * inner, inner);
        }
    }
    return SM_OK;
}

/* updates and indices of one shape; it is data's but for the axis. */
sm_status ref_scatter_along_axis(ref_call *c) {
    const ref_val *data = ref_in(c, "data"), *indices = ref_in(c, "indices"), *u = ref_in(c, "updates");
    int axis;
    put mode;
    int64_t s[SM_MAX_RANK];
    SM_TRY(ref_axis(c, "axis", data->rank, &axis));
    bool fits = data->rank == indices->rank;
    for (int i = 0; fits && i < data->rank; i++)
        fits = i == axis || data->dims[i] == indices->dims[i];
    if (!fits)
        return SM_FAIL(c->err, SM_BADINPUT, "data and indices do not fit");
    SM_TRY(scatter_start(c, data, u, indices->n, &mode));
    ref_strides(data->rank, data->dims, s);
    for (int64_t e = 0; e < indices->n; e++) {
        int64_t rest = e, to = 0, k;
        SM_TRY(index_of(c, indices, e, data->dims[axis], &k));
        for (int i = data->rank - 1; i >= 0; i--) {
            to += (i == axis ? k : rest % indices->dims[i]) * s[i];
            rest /= indices->dims[i];
        }
        put_run(mode, ref_out(c, 0), to, u, e, 1);
    }
    return SM_OK;
}

sm_status ref_scatter_nd(ref_call *c) {
    const ref_val *data = ref_in(c, "data"), *indices = ref_in(c, "indices"), *u = ref_in(c, "updates");
    int64_t depth = indices->rank > 0 ? indices->dims[indices->rank - 1] : -1, at;
    put mode;
    if (depth < 0 || depth > data->rank)
        return SM_FAIL(c->err, SM_BADINPUT, "index vectors of %" PRId64 " into rank %d", depth, data->rank);
    int64_t n = ref_extent(indices, 0, indices->rank - 1), inner = ref_extent(data, (int)depth, data->rank);
    SM_TRY(scatter_start(c, data, u, n * inner, &mode));
    for (int64_t i = 0; i < n; i++) {
        SM_TRY(vector_offset(c, data, 0, indices, i, depth, &at));
        put_run(mode, ref_out(c, 0), at, u, i * inner, inner);
    }
    return SM_OK;
}
