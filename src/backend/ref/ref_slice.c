/* SPDX-License-Identifier: MIT
 *
 * ref_slice.c: slices, with the bounds of Python's: negative ones count from the end, those outside are cut off.
 */
#include <inttypes.h>
#include <string.h>

#include "backend/ref/ref_int.h"

typedef struct slice {
    int64_t dims[SM_MAX_RANK];   /* extents of the slice, squeezed axes as 1 */
    int64_t stride[SM_MAX_RANK]; /* in elements of x */
    int64_t off;
    bool squeeze[SM_MAX_RANK];
} slice;

/* Extent and first index of begin:end:stride over an axis of n. */
static void slice_axis(int64_t n, int64_t begin, int64_t end, int64_t stride, bool open_begin, bool open_end,
                       int64_t *first, int64_t *extent) {
    int64_t lo = stride > 0 ? 0 : -1, hi = stride > 0 ? n : n - 1; /* what bounds are cut to */
    int64_t b = begin < 0 ? begin + n : begin, e = end < 0 ? end + n : end;
    b = open_begin ? (stride > 0 ? lo : hi) : SM_MIN(SM_MAX(b, lo), hi);
    e = open_end ? (stride > 0 ? hi : lo) : SM_MIN(SM_MAX(e, lo), hi);
    int64_t span = stride > 0 ? e - b : b - e, step = stride > 0 ? stride : -stride;
    *first = b;
    *extent = span <= 0 ? 0 : (span - 1) / step + 1;
}

static sm_status mask_of(ref_call *c, const char *slot, int rank, bool *out) {
    int64_t m[SM_MAX_RANK];
    int n;
    SM_TRY(ref_ints(c, slot, m, SM_MAX_RANK, &n));
    if (n >= 0 && n != rank)
        return SM_FAIL(c->err, SM_BADINPUT, "'%s' has %d elements for rank %d", slot, n, rank);
    for (int i = 0; i < rank; i++)
        out[i] = n >= 0 && m[i] != 0;
    return SM_OK;
}

static sm_status slice_of(ref_call *c, const ref_val *x, slice *s) {
    int64_t begin[SM_MAX_RANK], end[SM_MAX_RANK], stride[SM_MAX_RANK];
    bool open_begin[SM_MAX_RANK], open_end[SM_MAX_RANK];
    int nb, ne, ns;
    *s = (slice){0};
    SM_TRY(ref_ints(c, "begin", begin, SM_MAX_RANK, &nb));
    SM_TRY(ref_ints(c, "end", end, SM_MAX_RANK, &ne));
    SM_TRY(ref_ints(c, "stride", stride, SM_MAX_RANK, &ns));
    if (nb != x->rank || ne != x->rank || (ns >= 0 && ns != x->rank))
        return SM_FAIL(c->err, SM_BADINPUT, "begin, end, stride have %d, %d, %d elements for rank %d", nb, ne, ns,
                       x->rank);
    SM_TRY(mask_of(c, "begin_mask", x->rank, open_begin));
    SM_TRY(mask_of(c, "end_mask", x->rank, open_end));
    SM_TRY(mask_of(c, "squeeze_mask", x->rank, s->squeeze));
    ref_strides(x->rank, x->dims, s->stride);
    for (int i = 0; i < x->rank; i++) {
        int64_t first, step = ns < 0 ? 1 : stride[i];
        if (step == 0 || step < -INT32_MAX || step > INT32_MAX)
            return SM_FAIL(c->err, SM_BADINPUT, "stride %" PRId64 " of axis %d", step, i);
        if (s->squeeze[i]) {
            first = open_begin[i] ? 0 : begin[i] < 0 ? begin[i] + x->dims[i] : begin[i];
            if (first < 0 || first >= x->dims[i])
                return SM_FAIL(c->err, SM_BADINPUT, "index %" PRId64 " outside axis %d of extent %" PRId64, begin[i], i,
                               x->dims[i]);
            s->dims[i] = step = 1;
        } else {
            slice_axis(x->dims[i], begin[i], end[i], step, open_begin[i], open_end[i], &first, &s->dims[i]);
        }
        s->off += first * s->stride[i];
        s->stride[i] *= step;
    }
    return SM_OK;
}

sm_status ref_slice_by_index(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    slice s;
    int64_t dims[SM_MAX_RANK], to[SM_MAX_RANK];
    int rank = 0;
    SM_TRY(slice_of(c, x, &s));
    for (int i = 0; i < x->rank; i++)
        if (!s.squeeze[i])
            dims[rank++] = s.dims[i];
    SM_TRY(ref_result_raw(c, 0, x->dtype, rank, dims));
    ref_strides(x->rank, s.dims, to);
    ref_move(x->rank, s.dims, ref_elem_size(x), ref_out(c, 0)->p, 0, to, x->p, s.off, s.stride);
    return SM_OK;
}

/* May the update go into x itself?  Nothing reads x afterwards: its elements are its own, or the state's that the very next
 * step replaces with this result. */
static bool is_last_reader(const ref_call *c, const ref_val *x, const ref_val *u) {
    const sm_value *v = sm_arg(c->node, "x");
    const sm_node *next = c->node->next;
    const sm_block *body = c->e->f->body;
    bool dies = false;
    int others = ref_refs(x) - 1;
    for (int i = 0; i < c->step->n_dead; i++)
        dies = dies || c->step->dead[i] == v->id;
    if (c->e->spare == NULL || v->cst != NULL || !dies || u->mem == x->mem)
        return false;
    if (others == 1 && next != NULL && next->op == SM_OP_WRITE_STATE && sm_arg(next, "data") == c->node->out[0])
        for (int i = 0; i < body->n_in; i++)
            if (body->in[i] == sm_arg(next, "input") && c->e->held[i].mem == x->mem)
                others = 0;
    return others == 0;
}

sm_status ref_slice_update(ref_call *c) {
    const ref_val *x = ref_in(c, "x"), *u = ref_in(c, "update");
    slice s;
    int64_t from[SM_MAX_RANK];
    int at = 0;
    SM_TRY(slice_of(c, x, &s));
    bool fits = ref_is_float(x) == ref_is_float(u);
    for (int i = 0; i < x->rank; i++) {
        if (s.squeeze[i])
            continue;
        if (fits && at < u->rank && u->dims[at] != s.dims[i])
            return SM_FAIL(c->err, SM_BADINPUT, "the slice has extent %" PRId64 " along axis %d, the update %" PRId64,
                           s.dims[i], i, u->dims[at]);
        at++;
    }
    if (!fits || at != u->rank)
        return SM_FAIL(c->err, SM_BADINPUT, "an update of %s, rank %d, for a slice of %s, rank %d",
                       sm_dtype_name(u->dtype), u->rank, sm_dtype_name(x->dtype), at);
    ref_val *y = ref_out(c, 0);
    if (is_last_reader(c, x, u)) {
        ref_share(y, x);
    } else {
        SM_TRY(ref_result_raw(c, 0, x->dtype, x->rank, x->dims));
        memcpy(y->p, x->p, (size_t)x->n * ref_elem_size(x));
    }
    ref_strides(x->rank, s.dims, from);
    ref_move(x->rank, s.dims, ref_elem_size(x), y->p, s.off, s.stride, u->p, 0, from);
    return SM_OK;
}

sm_status ref_slice_by_size(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    int64_t begin[SM_MAX_RANK], dims[SM_MAX_RANK], from[SM_MAX_RANK], to[SM_MAX_RANK], off = 0;
    int nb, ns;
    SM_TRY(ref_ints(c, "begin", begin, SM_MAX_RANK, &nb));
    SM_TRY(ref_ints(c, "size", dims, SM_MAX_RANK, &ns));
    if (nb != x->rank || ns != x->rank)
        return SM_FAIL(c->err, SM_BADINPUT, "begin, size have %d, %d elements for rank %d", nb, ns, x->rank);
    ref_strides(x->rank, x->dims, from);
    for (int i = 0; i < x->rank; i++) {
        int64_t b = begin[i] < 0 ? begin[i] + x->dims[i] : begin[i], n = dims[i] == -1 ? x->dims[i] - b : dims[i];
        if (b < 0 || n < 0 || b > x->dims[i] || n > x->dims[i] - b)
            return SM_FAIL(c->err, SM_BADINPUT,
                           "%" PRId64 " elements from %" PRId64 " outside axis %d of extent %" PRId64, dims[i],
                           begin[i], i, x->dims[i]);
        dims[i] = n;
        off += b * from[i];
    }
    SM_TRY(ref_result_raw(c, 0, x->dtype, x->rank, dims));
    ref_strides(x->rank, dims, to);
    ref_move(x->rank, dims, ref_elem_size(x), ref_out(c, 0)->p, 0, to, x->p, off, from);
    return SM_OK;
}
