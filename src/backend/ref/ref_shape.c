/* SPDX-License-Identifier: MIT
 *
 * ref_shape.c: shapes and moves: elements keep their values, only places change.
 */
#include <inttypes.h>
#include <string.h>

#include "backend/ref/ref_int.h"

/* The same elements under another shape, shared. */
static sm_status reshaped(ref_call *c, const ref_val *x, int rank, const int64_t *dims) {
    ref_val *y = ref_out(c, 0);
    int64_t n = 1;
    for (int i = 0; i < rank; i++)
        if (dims[i] < 0 || __builtin_mul_overflow(n, dims[i], &n))
            return SM_FAIL(c->err, SM_BADINPUT, "extent %" PRId64 " of axis %d does not fit", dims[i], i);
    if (n != x->n || rank > SM_MAX_RANK)
        return SM_FAIL(c->err, SM_BADINPUT, "%" PRId64 " elements do not fit a shape of %" PRId64, x->n, n);
    ref_share(y, x);
    y->rank = rank;
    memcpy(y->dims, dims, (size_t)rank * sizeof *dims);
    return SM_OK;
}

/* 0 copies the extent of the axis that is as far from the right; -1 is what is left. */
sm_status ref_reshape(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    int64_t dims[SM_MAX_RANK], known = 1;
    int rank, open = -1;
    SM_TRY(ref_ints(c, "shape", dims, SM_MAX_RANK, &rank));
    for (int i = 0; i < rank; i++) {
        int from = x->rank - (rank - i);
        if (dims[i] == 0)
            dims[i] = from >= 0 ? x->dims[from] : 1;
        if (dims[i] == -1 && open < 0)
            open = i;
        else if (dims[i] < 0 || __builtin_mul_overflow(known, dims[i], &known))
            return SM_FAIL(c->err, SM_BADINPUT, "extent %" PRId64 " of axis %d does not fit", dims[i], i);
    }
    if (open >= 0)
        dims[open] = known == 0 ? 0 : x->n / known;
    return reshaped(c, x, SM_MAX(rank, 0), dims);
}

sm_status ref_expand_dims(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    int64_t axes[SM_MAX_RANK], dims[2 * SM_MAX_RANK];
    bool fresh[2 * SM_MAX_RANK] = {false};
    int n, a, from = 0;
    SM_TRY(ref_ints(c, "axes", axes, SM_MAX_RANK, &n));
    int rank = x->rank + SM_MAX(n, 0);
    for (int i = 0; i < n; i++) {
        SM_TRY(ref_norm_axis(c, axes[i], rank, &a));
        if (fresh[a])
            return SM_FAIL(c->err, SM_BADINPUT, "axis %d is named twice", a);
        fresh[a] = true;
    }
    for (int i = 0; i < rank; i++)
        dims[i] = fresh[i] ? 1 : x->dims[from++];
    return reshaped(c, x, rank, dims);
}

sm_status ref_squeeze(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    bool marked[SM_MAX_RANK], all = ref_in(c, "axes") == NULL;
    int64_t dims[SM_MAX_RANK];
    int rank = 0;
    SM_TRY(ref_axes(c, "axes", x->rank, marked));
    for (int i = 0; i < x->rank; i++)
        if (!(marked[i] && (!all || x->dims[i] == 1)))
            dims[rank++] = x->dims[i];
    return reshaped(c, x, rank, dims);
}

sm_status ref_flatten2d(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    int64_t axis = ref_int(c, "axis");
    if (axis < -x->rank || axis > x->rank)
        return SM_FAIL(c->err, SM_BADINPUT, "axis %" PRId64 " outside rank %d", axis, x->rank);
    int cut = (int)(axis < 0 ? axis + x->rank : axis);
    return reshaped(c, x, 2, (int64_t[]){ref_extent(x, 0, cut), ref_extent(x, cut, x->rank)});
}

/* Integer element 0 of value i of a list. */
static int64_t listed(const ref_call *c, int i) {
    const ref_val *v = c->list[i];
    return v == NULL || v->n < 1 ? 0 : (int64_t)ref_elem(v, 0);
}

sm_status ref_reshape_like(ref_call *c) {
    int64_t dims[SM_MAX_RANK];
    int n = c->n_list / 4, r = 0;
    for (int i = 0; i < n; i++) {
        const ref_val *ref = c->list[i];
        int64_t rank = ref->rank, b = listed(c, n + i), e = listed(c, 2 * n + i);
        b = b < 0 ? SM_MAX(b + rank, 0) : SM_MIN(b, rank);
        e = listed(c, 3 * n + i) != 0 ? rank : e < 0 ? e + rank : SM_MIN(e, rank);
        for (; b < e; b++) {
            if (r == SM_MAX_RANK)
                return SM_FAIL(c->err, SM_UNSUPPORTED, "result of more than %d axes", SM_MAX_RANK);
            dims[r++] = ref->dims[b];
        }
    }
    return reshaped(c, ref_in(c, "x"), r, dims);
}

sm_status ref_shape(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    SM_TRY(ref_result(c, 0, SM_INT32, 1, (int64_t[]){x->rank}));
    for (int i = 0; i < x->rank; i++)
        ref_out(c, 0)->i[i] = x->dims[i];
    return SM_OK;
}

sm_status ref_transpose(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    int64_t perm[SM_MAX_RANK], dims[SM_MAX_RANK], from[SM_MAX_RANK], s[SM_MAX_RANK], to[SM_MAX_RANK];
    int n, a;
    SM_TRY(ref_ints(c, "perm", perm, SM_MAX_RANK, &n));
    if (n != x->rank)
        return SM_FAIL(c->err, SM_BADINPUT, "perm has %d axes, x %d", n, x->rank);
    ref_strides(x->rank, x->dims, s);
    for (int i = 0; i < n; i++) {
        SM_TRY(ref_norm_axis(c, perm[i], n, &a));
        dims[i] = x->dims[a];
        from[i] = s[a];
    }
    SM_TRY(ref_result_raw(c, 0, x->dtype, n, dims));
    ref_strides(n, dims, to);
    if (ref_out(c, 0)->n != x->n)
        return SM_FAIL(c->err, SM_BADINPUT, "perm names an axis twice");
    ref_move(n, dims, ref_elem_size(x), ref_out(c, 0)->p, 0, to, x->p, 0, from);
    return SM_OK;
}

/* Copies x into the result at `at` along an axis; extents of x elsewhere are the result's. */
static void put_along(ref_val *y, const ref_val *x, int axis, int64_t at, int64_t every) {
    int64_t to[SM_MAX_RANK], from[SM_MAX_RANK];
    ref_strides(y->rank, y->dims, to);
    ref_strides(x->rank, x->dims, from);
    int64_t off = at * to[axis];
    to[axis] *= every;
    ref_move(x->rank, x->dims, ref_elem_size(x), y->p, off, to, x->p, 0, from);
}

/* Scalars join as vectors of one element. */
static ref_val at_least_1d(const ref_val *x) {
    ref_val v = *x;
    if (v.rank == 0) {
        v.rank = 1;
        v.dims[0] = 1;
    }
    return v;
}

sm_status ref_concat(ref_call *c) {
    if (c->n_list < 1)
        return SM_FAIL(c->err, SM_BADINPUT, "nothing to join");
    ref_val first = at_least_1d(c->list[0]);
    bool interleave = ref_bool(c, "interleave");
    int64_t dims[SM_MAX_RANK];
    int axis;
    SM_TRY(ref_axis(c, "axis", first.rank, &axis));
    memcpy(dims, first.dims, sizeof dims);
    for (int k = 1; k < c->n_list; k++) {
        ref_val x = at_least_1d(c->list[k]);
        bool fits = x.rank == first.rank && ref_is_float(&x) == ref_is_float(&first);
        for (int i = 0; fits && i < x.rank; i++)
            fits = x.dims[i] == first.dims[i] || (i == axis && !interleave);
        if (!fits)
            return SM_FAIL(c->err, SM_BADINPUT, "value %d does not fit the first one along axis %d", k, axis);
        dims[axis] += x.dims[axis];
    }
    SM_TRY(ref_result_raw(c, 0, first.dtype, first.rank, dims));
    int64_t at = 0;
    for (int k = 0; k < c->n_list; k++) {
        ref_val x = at_least_1d(c->list[k]);
        put_along(ref_out(c, 0), &x, axis, interleave ? k : at, interleave ? c->n_list : 1);
        at += x.dims[axis];
    }
    return SM_OK;
}

sm_status ref_stack(ref_call *c) {
    if (c->n_list < 1)
        return SM_FAIL(c->err, SM_BADINPUT, "nothing to join");
    const ref_val *first = c->list[0];
    int64_t dims[SM_MAX_RANK + 1];
    int axis;
    SM_TRY(ref_axis(c, "axis", first->rank + 1, &axis));
    for (int i = 0; i <= first->rank; i++)
        dims[i] = i == axis ? c->n_list : first->dims[i < axis ? i : i - 1];
    SM_TRY(ref_result_raw(c, 0, first->dtype, first->rank + 1, dims));
    for (int k = 0; k < c->n_list; k++) {
        ref_val x = *c->list[k];
        if (x.rank != first->rank || memcmp(x.dims, first->dims, sizeof x.dims[0] * (size_t)x.rank) != 0 ||
            ref_is_float(&x) != ref_is_float(first))
            return SM_FAIL(c->err, SM_BADINPUT, "value %d does not have the first one's shape", k);
        x.rank++;
        memcpy(x.dims, dims, sizeof x.dims);
        x.dims[axis] = 1;
        put_along(ref_out(c, 0), &x, axis, k, 1);
    }
    return SM_OK;
}

/* Extent of part k of a split. */
static sm_status part_extent(ref_call *c, const ref_val *sizes, int64_t parts, int64_t whole, int64_t k, int64_t *out) {
    *out = sizes != NULL ? (ref_is_float(sizes) ? -1 : sizes->i[k]) : whole / parts;
    if (*out < 0 || (sizes == NULL && whole % parts != 0))
        return SM_FAIL(c->err, SM_BADINPUT, "extent %" PRId64 " does not split into %" PRId64, whole, parts);
    return SM_OK;
}

sm_status ref_split(ref_call *c) {
    const ref_val *x = ref_in(c, "x"), *sizes = ref_in(c, "split_sizes");
    int64_t parts = sizes != NULL ? sizes->n : ref_int(c, "num_splits"), dims[SM_MAX_RANK], at = 0;
    int64_t to[SM_MAX_RANK], from[SM_MAX_RANK];
    int axis;
    SM_TRY(ref_axis(c, "axis", x->rank, &axis));
    if (parts != c->node->n_out || parts < 1)
        return SM_FAIL(c->err, SM_BADINPUT, "%" PRId64 " parts for %d results", parts, c->node->n_out);
    memcpy(dims, x->dims, sizeof dims);
    ref_strides(x->rank, x->dims, from);
    for (int k = 0; k < (int)parts; k++) {
        SM_TRY(part_extent(c, sizes, parts, x->dims[axis], k, &dims[axis]));
        if (dims[axis] > x->dims[axis] - at)
            return SM_FAIL(c->err, SM_BADINPUT, "parts reach over extent %" PRId64, x->dims[axis]);
        SM_TRY(ref_result_raw(c, k, x->dtype, x->rank, dims));
        ref_strides(x->rank, dims, to);
        ref_move(x->rank, dims, ref_elem_size(x), ref_out(c, k)->p, 0, to, x->p, at * from[axis], from);
        at += dims[axis];
    }
    if (at != x->dims[axis])
        return SM_FAIL(c->err, SM_BADINPUT, "parts hold %" PRId64 " of extent %" PRId64, at, x->dims[axis]);
    return SM_OK;
}

/* Repeats x along one axis into y, which is x but for that axis. */
static void tile_axis(const ref_val *x, int axis, int64_t reps, ref_val *y) {
    int64_t outer = ref_extent(x, 0, axis);
    size_t run = (size_t)ref_extent(x, axis, x->rank) * ref_elem_size(x);
    char *to = y->p;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t r = 0; r < reps; r++, to += run)
            memcpy(to, (const char *)x->p + (size_t)o * run, run);
}

sm_status ref_tile(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    int64_t reps[SM_MAX_RANK];
    int n;
    SM_TRY(ref_ints(c, "reps", reps, SM_MAX_RANK, &n));
    if (n != x->rank)
        return SM_FAIL(c->err, SM_BADINPUT, "%d repetitions for rank %d", n, x->rank);
    ref_val *y = ref_out(c, 0);
    ref_share(y, x);
    for (int i = n - 1; i >= 0; i--) {
        ref_val from = *y;
        int64_t dims[SM_MAX_RANK];
        memcpy(dims, from.dims, sizeof dims);
        if (reps[i] < 0 || __builtin_mul_overflow(dims[i], reps[i], &dims[i]))
            return SM_FAIL(c->err, SM_BADINPUT, "%" PRId64 " repetitions of axis %d", reps[i], i);
        sm_status st = ref_result_raw(c, 0, from.dtype, n, dims);
        if (st == SM_OK)
            tile_axis(&from, i, reps[i], y);
        ref_drop(&from);
        SM_TRY(st);
    }
    return SM_OK;
}

sm_status ref_reverse(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    bool flip[SM_MAX_RANK];
    int64_t to[SM_MAX_RANK], from[SM_MAX_RANK], off = 0;
    SM_TRY(ref_axes(c, "axes", x->rank, flip));
    SM_TRY(ref_result_like(c, 0, x));
    ref_strides(x->rank, x->dims, to);
    ref_strides(x->rank, x->dims, from);
    for (int i = 0; i < x->rank; i++) {
        if (!flip[i])
            continue;
        off += (x->dims[i] - 1) * from[i];
        from[i] = -from[i];
    }
    if (x->n > 0)
        ref_move(x->rank, x->dims, ref_elem_size(x), ref_out(c, 0)->p, 0, to, x->p, off, from);
    return SM_OK;
}

sm_status ref_reverse_sequence(ref_call *c) {
    const ref_val *x = ref_in(c, "x"), *len = ref_in(c, "lengths");
    int seq, batch;
    int64_t s[SM_MAX_RANK];
    SM_TRY(ref_axis(c, "seq_axis", x->rank, &seq));
    SM_TRY(ref_axis(c, "batch_axis", x->rank, &batch));
    if (ref_is_float(len) || len->n != x->dims[batch])
        return SM_FAIL(c->err, SM_BADINPUT, "wanted a length for each of %" PRId64 " along batch_axis", x->dims[batch]);
    for (int64_t i = 0; i < len->n; i++)
        if (len->i[i] < 0 || len->i[i] > x->dims[seq])
            return SM_FAIL(c->err, SM_BADINPUT, "length %" PRId64 " of an axis of %" PRId64, len->i[i], x->dims[seq]);
    SM_TRY(ref_result_like(c, 0, x));
    ref_strides(x->rank, x->dims, s);
    size_t size = ref_elem_size(x);
    for (int64_t e = 0; e < x->n; e++) {
        int64_t at = e / s[seq] % x->dims[seq], n = len->i[e / s[batch] % x->dims[batch]];
        int64_t from = at < n ? e + (n - 1 - 2 * at) * s[seq] : e;
        memcpy((char *)ref_out(c, 0)->p + (size_t)e * size, (const char *)x->p + (size_t)from * size, size);
    }
    return SM_OK;
}

/* ---- pad ---- */

/* Where element i of a padded axis comes from in an axis of n; -1: the constant. */
static int64_t pad_source(int64_t i, int64_t n, bool reflect, bool replicate) {
    if (i >= 0 && i < n)
        return i;
    if (replicate)
        return i < 0 ? 0 : n - 1;
    if (!reflect)
        return -1;
    return i < 0 ? -i : 2 * (n - 1) - i;
}

static sm_status pad_extents(ref_call *c, const ref_val *x, bool reflect, bool replicate, int64_t *before,
                             int64_t *dims) {
    int64_t pad[2 * SM_MAX_RANK];
    int n;
    SM_TRY(ref_ints(c, "pad", pad, 2 * SM_MAX_RANK, &n));
    if (n % 2 != 0 || n / 2 > x->rank)
        return SM_FAIL(c->err, SM_BADINPUT, "pad has %d elements for rank %d", n, x->rank);
    for (int i = 0; i < x->rank; i++) {
        int k = i - (x->rank - n / 2);
        int64_t lo = k < 0 ? 0 : pad[2 * k], hi = k < 0 ? 0 : pad[2 * k + 1];
        int64_t most = reflect ? x->dims[i] - 1 : x->dims[i] > 0 || !replicate ? INT32_MAX : 0;
        if (lo < 0 || hi < 0 || ((lo > most || hi > most) && (lo > 0 || hi > 0)))
            return SM_FAIL(c->err, SM_BADINPUT, "pad %" PRId64 ", %" PRId64 " of axis %d with extent %" PRId64, lo, hi,
                           i, x->dims[i]);
        before[i] = lo;
        dims[i] = x->dims[i] + lo + hi;
    }
    return SM_OK;
}

sm_status ref_pad(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    bool reflect = ref_str_is(c, "mode", "reflect"), replicate = ref_str_is(c, "mode", "replicate");
    double fill = ref_num(c, "constant_val");
    int64_t before[SM_MAX_RANK] = {0}, dims[SM_MAX_RANK], s[SM_MAX_RANK];
    if (!reflect && !replicate && !ref_str_is(c, "mode", "constant"))
        return SM_FAIL(c->err, SM_UNSUPPORTED, "unknown mode");
    SM_TRY(pad_extents(c, x, reflect, replicate, before, dims));
    SM_TRY(ref_result_raw(c, 0, x->dtype, x->rank, dims));
    ref_val *y = ref_out(c, 0);
    ref_strides(x->rank, x->dims, s);
    for (int64_t e = 0; e < y->n; e++) {
        int64_t rest = e, from = 0;
        for (int i = x->rank - 1; i >= 0 && from >= 0; i--) {
            int64_t src = pad_source(rest % dims[i] - before[i], x->dims[i], reflect, replicate);
            from = src < 0 ? -1 : from + src * s[i];
            rest /= dims[i];
        }
        if (ref_is_float(x))
            y->f[e] = from < 0 ? (float)fill : x->f[from];
        else
            y->i[e] = from < 0 ? ref_wrap(x->dtype, (int64_t)fill) : x->i[from];
    }
    return SM_OK;
}
