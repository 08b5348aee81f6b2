/* SPDX-License-Identifier: MIT
 *
 * infer_index.c: slices, gathers, scatters, sorting.
 *
 * Bounds computed at run time are followed symbolically and trusted to be in range: `begin = past, end = past + n` is an
 * axis of n.  Numbers are clamped as numpy does; a number against a symbolic extent becomes their minimum unless the
 * bounds of the symbol decide.
 */
#include <inttypes.h>
#include <string.h>

#include "graph/infer.h"

typedef struct slice {
    int rank, out_rank;
    sm_dim begin[SM_MAX_RANK], end[SM_MAX_RANK];
    int64_t stride[SM_MAX_RANK];
    bool begin_mask[SM_MAX_RANK], end_mask[SM_MAX_RANK], squeeze[SM_MAX_RANK];
    sm_dim start[SM_MAX_RANK], len[SM_MAX_RANK]; /* resolved; len is 1 for squeezed axes */
} slice;

/* One bound of an axis of extent d, as a position: negative numbers count from the end, then clamped to lo..d. */
static sm_dim position(sm_inf *c, sm_dim b, sm_dim d, int64_t lo) {
    if (b == SM_DIM_UNKNOWN || !sm_dim_known(b))
        return b;
    if (b < 0) {
        sm_dim p = sm_dim_add(c->g, d, b);
        return p == SM_DIM_UNKNOWN || (sm_dim_known(p) && p >= lo) ? p
               : sm_dim_known(p)                                   ? lo
                                                                   : sm_dim_call(c->g, SM_FN_MAX, p, lo);
    }
    return sm_dim_call(c->g, SM_FN_MIN, b, d);
}

/* Start and length of axis a of extent d. */
static sm_status resolve_axis(sm_inf *c, slice *s, int a, sm_dim d) {
    sm_graph *g = c->g;
    int64_t st = s->stride[a];
    if (s->squeeze[a]) {
        sm_dim b = s->begin_mask[a] ? 0 : s->begin[a];
        if (sm_dim_known(b) && sm_dim_known(d) && (b < -d || b >= d))
            return SM_FAIL(c->err, SM_BADINPUT, "begin: element %" PRId64 " of axis %d, which has %" PRId64, (int64_t)b,
                           a, (int64_t)d);
        s->start[a] = sm_dim_known(b) && b < 0 ? sm_dim_add(g, d, b) : b;
        s->len[a] = 1;
        return SM_OK;
    }
    if (st == 0)
        return SM_FAIL(c->err, SM_BADINPUT, "stride: axis %d: wanted a number other than 0", a);
    sm_dim from, to, span;
    if (st > 0) {
        from = s->begin_mask[a] ? 0 : position(c, s->begin[a], d, 0);
        to = s->end_mask[a] ? d : position(c, s->end[a], d, 0);
        span = from == SM_DIM_UNKNOWN || to == SM_DIM_UNKNOWN ? SM_DIM_UNKNOWN : sm_dim_sub(g, to, from);
    } else {
        sm_dim last = sm_dim_sub(g, d, 1);
        from = s->begin_mask[a] ? last : position(c, s->begin[a], last, -1);
        to = s->end_mask[a] ? -1 : position(c, s->end[a], d, -1);
        span = from == SM_DIM_UNKNOWN || to == SM_DIM_UNKNOWN ? SM_DIM_UNKNOWN : sm_dim_sub(g, from, to);
        st = st == INT64_MIN ? INT64_MAX : -st;
    }
    s->start[a] = from;
    s->len[a] = span;
    if (span != SM_DIM_UNKNOWN && st != 1) {
        sm_dim up = sm_dim_add(g, span, st - 1);
        s->len[a] = up == SM_DIM_UNKNOWN ? up : sm_dim_call(g, SM_FN_FLOOR_DIV, up, st);
    }
    if (sm_dim_known(s->len[a]) && s->len[a] < 0)
        s->len[a] = 0;
    return SM_OK;
}

static sm_status read_slice(sm_inf *c, const sm_value *x, slice *s) {
    int n, rank = x->type.rank;
    s->rank = rank;
    s->out_rank = 0;
    SM_TRY(sm_inf_dims(c, "begin", s->begin, SM_MAX_RANK, &n));
    if (n != rank)
        return sm_inf_bad(c, "begin", sm_arg(c->n, "begin"), "wanted %d elements, one per axis of x", rank);
    SM_TRY(sm_inf_dims(c, "end", s->end, SM_MAX_RANK, &n));
    if (n != rank)
        return sm_inf_bad(c, "end", sm_arg(c->n, "end"), "wanted %d elements, one per axis of x", rank);
    for (int a = 0; a < rank; a++)
        s->stride[a] = 1;
    if (sm_arg(c->n, "stride") != NULL) {
        SM_TRY(sm_inf_ints(c, "stride", s->stride, SM_MAX_RANK, &n));
        if (n != rank)
            return sm_inf_bad(c, "stride", sm_arg(c->n, "stride"), "wanted %d elements, one per axis of x", rank);
    }
    SM_TRY(sm_inf_mask(c, "begin_mask", rank, s->begin_mask));
    SM_TRY(sm_inf_mask(c, "end_mask", rank, s->end_mask));
    SM_TRY(sm_inf_mask(c, "squeeze_mask", rank, s->squeeze));
    for (int a = 0; a < rank; a++) {
        SM_TRY(resolve_axis(c, s, a, x->type.dims[a]));
        s->out_rank += !s->squeeze[a];
    }
    return SM_OK;
}

sm_status sm_infer_slice(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x");
    slice s;
    sm_dim dims[SM_MAX_RANK];
    int64_t n;
    int r = 0;
    SM_TRY(read_slice(c, x, &s));
    for (int a = 0; a < s.rank; a++)
        if (!s.squeeze[a])
            dims[r++] = s.len[a];
    SM_TRY(sm_inf_out(c, 0, x->type.dtype, r, dims));
    int64_t have = sm_type_numel(&x->type, SM_SYM_ELEMS);
    bool follow = x->sym != NULL && s.rank == 1 && have >= 0 && sm_dim_known(s.start[0]);
    sm_dim *sym = follow ? sm_inf_sym(c, 0, &n) : NULL;
    for (int64_t i = 0; sym != NULL && i < n; i++) {
        int64_t at = s.start[0] + i * s.stride[0];
        sym[i] = at >= 0 && at < have ? x->sym[at] : SM_DIM_UNKNOWN;
    }
    return SM_OK;
}

sm_status sm_infer_slice_size(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x");
    sm_dim begin[SM_MAX_RANK], size[SM_MAX_RANK];
    int nb, ns, rank = x->type.rank;
    int64_t n;
    SM_TRY(sm_inf_dims(c, "begin", begin, SM_MAX_RANK, &nb));
    SM_TRY(sm_inf_dims(c, "size", size, SM_MAX_RANK, &ns));
    if (nb != rank || ns != rank)
        return sm_inf_bad(c, nb != rank ? "begin" : "size", sm_arg(c->n, nb != rank ? "begin" : "size"),
                          "wanted %d elements, one per axis of x", rank);
    for (int a = 0; a < rank; a++) {
        sm_dim d = x->type.dims[a];
        if (sm_dim_known(begin[a]) && begin[a] < 0)
            begin[a] = sm_dim_add(c->g, d, begin[a]);
        if (size[a] == -1)
            size[a] = begin[a] == SM_DIM_UNKNOWN ? begin[a] : sm_dim_sub(c->g, d, begin[a]);
        if (sm_dim_known(size[a]) && (size[a] < 0 || (sm_dim_known(d) && size[a] > d)))
            return sm_inf_bad(c, "size", sm_arg(c->n, "size"), "axis %d: %" PRId64 " elements of x's %" PRId64, a,
                              (int64_t)size[a], (int64_t)d);
    }
    SM_TRY(sm_inf_out(c, 0, x->type.dtype, rank, size));
    int64_t have = sm_type_numel(&x->type, SM_SYM_ELEMS);
    sm_dim *sym = x->sym != NULL && rank == 1 && have >= 0 && sm_dim_known(begin[0]) ? sm_inf_sym(c, 0, &n) : NULL;
    for (int64_t i = 0; sym != NULL && i < n; i++)
        sym[i] = begin[0] + i < have && begin[0] + i >= 0 ? x->sym[begin[0] + i] : SM_DIM_UNKNOWN;
    return SM_OK;
}

sm_status sm_infer_slice_update(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x"), *u = sm_arg(c->n, "update");
    slice s;
    SM_TRY(read_slice(c, x, &s));
    if (u->type.dtype != x->type.dtype)
        return sm_inf_bad(c, "update", u, "wanted %s, the type of x", sm_dtype_name(x->type.dtype));
    if (u->type.rank != s.out_rank && u->type.rank != 0)
        return sm_inf_bad(c, "update", u, "wanted %d axes, those of the slice", s.out_rank);
    for (int a = 0, i = 0; a < s.rank && u->type.rank > 0; a++) {
        if (s.squeeze[a])
            continue;
        sm_dim d = u->type.dims[i++];
        if (d != 1 && s.len[a] != SM_DIM_UNKNOWN && sm_dim_equal(c->g, d, s.len[a]) == 0)
            return sm_inf_bad(c, "update", u, "axis %d does not fit the slice", i - 1);
    }
    return sm_inf_like(c, 0, x);
}

/* ---- gather, scatter ---- */

static sm_status want_indices(sm_inf *c, const char *slot) {
    const sm_value *v = sm_arg(c->n, slot);
    return sm_is_int(v->type.dtype) ? SM_OK : sm_inf_bad(c, slot, v, "wanted integers");
}

sm_status sm_infer_gather(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x"), *ids = sm_arg(c->n, "indices");
    sm_dim dims[2 * SM_MAX_RANK];
    int axis, r = 0;
    int64_t batch = 0, n;
    SM_TRY(want_indices(c, "indices"));
    if (x->type.rank == 0)
        return sm_inf_bad(c, "x", x, "wanted at least one axis");
    SM_TRY(sm_inf_axis(c, "axis", x->type.rank, &axis));
    SM_TRY(sm_inf_int(c, "batch_dims", &batch));
    if (batch < 0 || batch > axis || batch > ids->type.rank)
        return SM_FAIL(c->err, SM_BADINPUT, "batch_dims: wanted 0..%d, found %" PRId64, SM_MIN(axis, ids->type.rank),
                       batch);
    for (int a = 0; a < axis; a++)
        dims[r++] = x->type.dims[a];
    for (int a = (int)batch; a < ids->type.rank; a++)
        dims[r++] = ids->type.dims[a];
    for (int a = axis + 1; a < x->type.rank; a++)
        dims[r++] = x->type.dims[a];
    SM_TRY(sm_inf_out(c, 0, x->type.dtype, r, dims));
    int64_t have = sm_type_numel(&x->type, SM_SYM_ELEMS);
    bool follow = x->sym != NULL && x->type.rank == 1 && ids->sym != NULL && have >= 0;
    sm_dim *sym = follow ? sm_inf_sym(c, 0, &n) : NULL;
    for (int64_t i = 0; sym != NULL && i < n; i++) {
        sm_dim at = ids->sym[i];
        if (!sm_dim_known(at))
            continue;
        if (at < -have || at >= have)
            return sm_inf_bad(c, "indices", ids, "element %" PRId64 " of a value with %" PRId64, (int64_t)at, have);
        sym[i] = x->sym[at < 0 ? at + have : at];
    }
    return SM_OK;
}

sm_status sm_infer_like_indices(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x"), *ids = sm_arg(c->n, "indices");
    int axis;
    SM_TRY(want_indices(c, "indices"));
    if (x->type.rank == 0 || ids->type.rank != x->type.rank)
        return sm_inf_bad(c, "indices", ids, "wanted as many axes as x, at least one");
    SM_TRY(sm_inf_axis(c, "axis", x->type.rank, &axis));
    return sm_inf_out(c, 0, x->type.dtype, ids->type.rank, ids->type.dims);
}

sm_status sm_infer_gather_nd(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x"), *ids = sm_arg(c->n, "indices");
    sm_dim dims[2 * SM_MAX_RANK];
    int64_t batch = 0;
    int r = 0;
    SM_TRY(want_indices(c, "indices"));
    SM_TRY(sm_inf_int(c, "batch_dims", &batch));
    if (ids->type.rank == 0 || !sm_dim_known(ids->type.dims[ids->type.rank - 1]))
        return sm_inf_bad(c, "indices", ids, "wanted a last axis of known extent");
    int64_t depth = ids->type.dims[ids->type.rank - 1];
    if (batch < 0 || batch >= ids->type.rank || depth < 0 || depth > x->type.rank - batch)
        return sm_inf_bad(c, "indices", ids, "index vectors of %" PRId64 " for %d axes, %" PRId64 " of them batch",
                          depth, x->type.rank, batch);
    for (int a = 0; a < ids->type.rank - 1; a++)
        dims[r++] = ids->type.dims[a];
    for (int a = (int)(batch + depth); a < x->type.rank; a++)
        dims[r++] = x->type.dims[a];
    return sm_inf_out(c, 0, x->type.dtype, r, dims);
}

/* scatter_along_axis: indices and updates of one shape, which is data's but for the axis. */
static sm_status check_along(sm_inf *c, const sm_value *data, const sm_value *updates, int axis) {
    const sm_value *ids = sm_arg(c->n, "indices");
    if (data->type.rank == 0 || ids->type.rank != data->type.rank || updates->type.rank != data->type.rank)
        return sm_inf_bad(c, "indices", ids, "wanted data, indices and updates of as many axes, at least one");
    for (int a = 0; a < data->type.rank; a++) {
        SM_TRY(sm_inf_same_dim(c, "indices and updates", ids->type.dims[a], updates->type.dims[a], NULL));
        if (a != axis)
            SM_TRY(sm_inf_same_dim(c, "indices and data", ids->type.dims[a], data->type.dims[a], NULL));
    }
    return SM_OK;
}

sm_status sm_infer_data(sm_inf *c) {
    const sm_value *data = sm_arg(c->n, "data"), *updates = sm_arg(c->n, "updates");
    int axis = 0;
    SM_TRY(want_indices(c, "indices"));
    if (updates->type.dtype != data->type.dtype)
        return sm_inf_bad(c, "updates", updates, "wanted %s, the type of data", sm_dtype_name(data->type.dtype));
    if (c->n->op != SM_OP_SCATTER_ND && data->type.rank > 0)
        SM_TRY(sm_inf_axis(c, "axis", data->type.rank, &axis));
    if (c->n->op == SM_OP_SCATTER_ALONG_AXIS)
        SM_TRY(check_along(c, data, updates, axis));
    return sm_inf_like(c, 0, data);
}

sm_status sm_infer_non_zero(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x");
    return sm_inf_out(c, 0, SM_INT32, 2, (sm_dim[]){SM_DIM_UNKNOWN, x->type.rank});
}

sm_status sm_infer_reverse_sequence(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x"), *len = sm_arg(c->n, "lengths");
    int seq, batch;
    if (x->type.rank == 0)
        return sm_inf_bad(c, "x", x, "wanted at least one axis");
    SM_TRY(sm_inf_axis(c, "seq_axis", x->type.rank, &seq));
    SM_TRY(sm_inf_axis(c, "batch_axis", x->type.rank, &batch));
    if (len->type.rank != 1 || !sm_is_int(len->type.dtype))
        return sm_inf_bad(c, "lengths", len, "wanted a vector of integers");
    SM_TRY(sm_inf_same_dim(c, "lengths and batch_axis", len->type.dims[0], x->type.dims[batch], NULL));
    return sm_inf_like(c, 0, x);
}

/* ---- sorting ---- */

sm_status sm_infer_topk(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x"), *k = sm_arg(c->n, "k");
    sm_dim dims[SM_MAX_RANK];
    sm_sv name = {0};
    bool indices = true;
    int axis;
    if (x->type.rank == 0)
        return sm_inf_bad(c, "x", x, "wanted at least one axis");
    SM_TRY(sm_inf_axis(c, "axis", x->type.rank, &axis));
    SM_TRY(sm_inf_bool(c, "return_indices", &indices));
    sm_arg_str(c->n, "output_indices_dtype", &name);
    sm_dtype t = sm_dtype_of_name(name);
    if (!sm_is_int(t))
        return sm_inf_bad(c, "output_indices_dtype", NULL, "wanted an integer type");
    memcpy(dims, x->type.dims, sizeof dims);
    dims[axis] = k == NULL ? 1 : k->sym != NULL ? k->sym[0] : SM_DIM_UNKNOWN;
    if (dims[axis] == -1)
        dims[axis] = x->type.dims[axis];
    if (sm_dim_known(dims[axis]) && dims[axis] < 0)
        return sm_inf_bad(c, "k", k, "is negative");
    SM_TRY(sm_inf_results(c, indices ? 2 : 1));
    SM_TRY(sm_inf_out(c, 0, x->type.dtype, x->type.rank, dims));
    return indices ? sm_inf_out(c, 1, t, x->type.rank, dims) : SM_OK;
}

sm_status sm_infer_argsort(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x");
    int axis;
    if (x->type.rank > 0)
        SM_TRY(sm_inf_axis(c, "axis", x->type.rank, &axis));
    return sm_inf_out(c, 0, SM_INT32, x->type.rank, x->type.dims);
}
