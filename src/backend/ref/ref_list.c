/* SPDX-License-Identifier: MIT
 *
 * ref_list.c: lists of equally shaped tensors.
 *
 * A list is an array of its elements along a first axis (ref_int.h).  Writing makes a new one, as for any value; one that
 * may grow is filled up with zeros.
 */
#include <inttypes.h>
#include <string.h>

#include "backend/ref/ref_int.h"

/* Does the list that slot `ls` holds grow? */
static bool grows(const ref_call *c) {
    return sm_arg(c->node, "ls")->type.len == SM_DIM_UNKNOWN;
}

sm_status ref_make_list(ref_call *c) {
    int64_t dims[SM_MAX_RANK] = {ref_int(c, "init_length")};
    int rank = c->n_list + 1;
    sm_sv name = {0};
    sm_arg_str(c->node, "dtype", &name);
    sm_dtype t = sm_dtype_of_name(name);
    if (t == SM_NONE || t == SM_STRING || rank > SM_MAX_RANK)
        return SM_FAIL(c->err, SM_UNSUPPORTED, "elements of dtype %s with %d axes", sm_quote(name.p, name.n), rank - 1);
    for (int i = 0; i < c->n_list; i++)
        dims[i + 1] = c->list[i] == NULL ? 0 : (int64_t)ref_elem(c->list[i], 0);
    return ref_result(c, 0, t, rank, dims);
}

sm_status ref_list_length(ref_call *c) {
    SM_TRY(ref_result(c, 0, SM_INT32, 0, NULL));
    ref_out(c, 0)->i[0] = ref_in(c, "ls")->dims[0];
    return SM_OK;
}

/* Bytes of one element. */
static size_t element_bytes(const ref_val *ls) {
    return (size_t)ref_extent(ls, 1, ls->rank) * ref_elem_size(ls);
}

static sm_status in_list(ref_call *c, const ref_val *ls, int64_t k) {
    if (k < 0 || k >= ls->dims[0])
        return SM_FAIL(c->err, SM_BADINPUT, "element %" PRId64 " of a list of %" PRId64, k, ls->dims[0]);
    return SM_OK;
}

sm_status ref_list_read(ref_call *c) {
    const ref_val *ls = ref_in(c, "ls");
    int64_t k = ref_int(c, "index");
    SM_TRY(in_list(c, ls, k));
    SM_TRY(ref_result(c, 0, ls->dtype, ls->rank - 1, ls->dims + 1));
    size_t bytes = element_bytes(ls);
    memcpy(ref_out(c, 0)->p, (const char *)ls->p + (size_t)k * bytes, bytes);
    return SM_OK;
}

sm_status ref_list_gather(ref_call *c) {
    const ref_val *ls = ref_in(c, "ls"), *ids = ref_in(c, "indices");
    int64_t dims[SM_MAX_RANK];
    if (ref_is_float(ids))
        return SM_FAIL(c->err, SM_BADINPUT, "indices are %s", sm_dtype_name(ids->dtype));
    memcpy(dims, ls->dims, sizeof dims);
    dims[0] = ids->n;
    SM_TRY(ref_result(c, 0, ls->dtype, ls->rank, dims));
    size_t bytes = element_bytes(ls);
    for (int64_t i = 0; i < ids->n; i++) {
        SM_TRY(in_list(c, ls, ids->i[i]));
        memcpy((char *)ref_out(c, 0)->p + (size_t)i * bytes, (const char *)ls->p + (size_t)ids->i[i] * bytes, bytes);
    }
    return SM_OK;
}

/* The result: the list with elements of these extents, long enough for n. */
static sm_status written_list(ref_call *c, const ref_val *ls, const int64_t *extents, int64_t n, const ref_val *value) {
    int64_t dims[SM_MAX_RANK] = {SM_MAX(ls->dims[0], n)};
    bool same = true, open = ls->n == 0;
    for (int i = 1; i < ls->rank; i++) {
        dims[i] = extents[i - 1];
        same = same && dims[i] == ls->dims[i];
        open = open && (ls->dims[i] == 0 || ls->dims[i] == dims[i]);
    }
    if ((!same && !open) || ref_is_float(value) != ref_is_float(ls))
        return SM_FAIL(c->err, SM_BADINPUT, "the value does not have the type of the list's elements");
    if (n > ls->dims[0] && !grows(c))
        return SM_FAIL(c->err, SM_BADINPUT, "element %" PRId64 " of a list of %" PRId64, n - 1, ls->dims[0]);
    SM_TRY(ref_result(c, 0, ls->dtype, ls->rank, dims));
    memcpy(ref_out(c, 0)->p, ls->p, (size_t)ls->n * ref_elem_size(ls));
    return SM_OK;
}

sm_status ref_list_write(ref_call *c) {
    const ref_val *ls = ref_in(c, "ls"), *value = ref_in(c, "value");
    int64_t k = ref_int(c, "index");
    if (value->rank != ls->rank - 1 || k < 0 || k >= INT32_MAX)
        return SM_FAIL(c->err, SM_BADINPUT, "a value of %d axes as element %" PRId64 " of a list of %d axes",
                       value->rank, k, ls->rank - 1);
    SM_TRY(written_list(c, ls, value->dims, k + 1, value));
    size_t bytes = element_bytes(ref_out(c, 0));
    memcpy((char *)ref_out(c, 0)->p + (size_t)k * bytes, value->p, bytes);
    return SM_OK;
}

sm_status ref_list_scatter(ref_call *c) {
    const ref_val *ls = ref_in(c, "ls"), *value = ref_in(c, "value"), *ids = ref_in(c, "indices");
    int64_t n = 0;
    if (ref_is_float(ids) || value->rank != ls->rank || value->dims[0] != ids->n)
        return SM_FAIL(c->err, SM_BADINPUT, "wanted an index for each element along the first axis of value");
    for (int64_t i = 0; i < ids->n; i++) {
        if (ids->i[i] < 0 || ids->i[i] >= INT32_MAX)
            return SM_FAIL(c->err, SM_BADINPUT, "element %" PRId64 " of a list", ids->i[i]);
        n = SM_MAX(n, ids->i[i] + 1);
    }
    SM_TRY(written_list(c, ls, value->dims + 1, n, value));
    size_t bytes = element_bytes(ref_out(c, 0));
    for (int64_t i = 0; i < ids->n; i++)
        memcpy((char *)ref_out(c, 0)->p + (size_t)ids->i[i] * bytes, (const char *)value->p + (size_t)i * bytes, bytes);
    return SM_OK;
}
