/* SPDX-License-Identifier: MIT
 *
 * infer_list.c: lists of equally shaped tensors.
 *
 * A list's type is its element's, with a length that is known when it cannot grow.  Extents that the maker of a list left
 * open become known with what is written.
 */
#include <inttypes.h>
#include <string.h>

#include "graph/infer.h"

static sm_status list_out(sm_inf *c, sm_dtype t, int rank, const sm_dim *dims, sm_dim len) {
    if (rank + 1 > SM_MAX_RANK)
        return SM_FAIL(c->err, SM_UNSUPPORTED, "elements of %d axes: wanted at most %d", rank, SM_MAX_RANK - 1);
    SM_TRY(sm_inf_out(c, 0, t, rank, dims));
    c->n->out[0]->type.kind = SM_V_LIST;
    c->n->out[0]->type.len = len;
    return SM_OK;
}

sm_status sm_infer_make_list(sm_inf *c) {
    int64_t init = 1, d;
    bool dynamic = true;
    sm_sv name = {0};
    sm_dim dims[SM_MAX_RANK];
    int rank;
    sm_value *const *shape = sm_arg_list(c->n, "elem_shape", &rank);
    const sm_value *len = sm_arg(c->n, "init_length");
    SM_TRY(sm_inf_bool(c, "dynamic_length", &dynamic));
    sm_arg_str(c->n, "dtype", &name);
    sm_dtype t = sm_dtype_of_name(name);
    if (t == SM_NONE || t == SM_STRING)
        return sm_inf_bad(c, "dtype", NULL, "%s is not a type", sm_quote(name.p, name.n));
    if (rank >= SM_MAX_RANK)
        return SM_FAIL(c->err, SM_UNSUPPORTED, "elem_shape: wanted less than %d values, found %d", SM_MAX_RANK, rank);
    for (int i = 0; i < rank; i++) {
        dims[i] = SM_DIM_UNKNOWN;
        if (shape[i]->type.dtype == SM_STRING)
            continue;
        if (!sm_value_int(shape[i], &d) || d < 0)
            return sm_inf_bad(c, "elem_shape", shape[i], "wanted a number of 0 or more");
        dims[i] = d;
    }
    if (len != NULL && sm_value_int(len, &init) && (init < 0 || init > INT32_MAX))
        return sm_inf_bad(c, "init_length", len, "is %" PRId64, init);
    sm_dim n = dynamic ? SM_DIM_UNKNOWN : len == NULL ? 1 : len->sym != NULL ? len->sym[0] : SM_DIM_UNKNOWN;
    return list_out(c, t, rank, dims, n);
}

sm_status sm_infer_list_length(sm_inf *c) {
    sm_dim len = sm_arg(c->n, "ls")->type.len;
    int64_t n;
    SM_TRY(sm_inf_out(c, 0, SM_INT32, 0, NULL));
    sm_dim *sym = len != SM_DIM_UNKNOWN ? sm_inf_sym(c, 0, &n) : NULL;
    if (sym != NULL)
        sym[0] = len;
    return SM_OK;
}

/* list_read, list_gather */
sm_status sm_infer_list_read(sm_inf *c) {
    const sm_type *ls = &sm_arg(c->n, "ls")->type;
    sm_dim dims[SM_MAX_RANK + 1];
    int r = 0;
    if (c->n->op == SM_OP_LIST_GATHER) {
        const sm_value *ids = sm_arg(c->n, "indices");
        if (!sm_is_int(ids->type.dtype) || ids->type.rank != 1)
            return sm_inf_bad(c, "indices", ids, "wanted a vector of integers");
        dims[r++] = ids->type.dims[0];
    }
    for (int i = 0; i < ls->rank; i++)
        dims[r++] = ls->dims[i];
    return sm_inf_out(c, 0, ls->dtype, r, dims);
}

/* list_write, list_scatter */
sm_status sm_infer_list_write(sm_inf *c) {
    const sm_type *ls = &sm_arg(c->n, "ls")->type;
    const sm_value *v = sm_arg(c->n, "value");
    sm_dim dims[SM_MAX_RANK];
    int skip = c->n->op == SM_OP_LIST_SCATTER;
    if (v->type.dtype != ls->dtype || v->type.rank != ls->rank + skip)
        return sm_inf_bad(c, "value", v, "wanted %s of %d axes", sm_dtype_name(ls->dtype), ls->rank + skip);
    if (skip) {
        const sm_value *ids = sm_arg(c->n, "indices");
        if (!sm_is_int(ids->type.dtype) || ids->type.rank != 1)
            return sm_inf_bad(c, "indices", ids, "wanted a vector of integers");
        SM_TRY(sm_inf_same_dim(c, "indices and value", ids->type.dims[0], v->type.dims[0], NULL));
    }
    for (int i = 0; i < ls->rank; i++)
        SM_TRY(sm_inf_same_dim(c, "element and value", ls->dims[i], v->type.dims[i + skip], &dims[i]));
    return list_out(c, ls->dtype, ls->rank, dims, ls->len);
}
