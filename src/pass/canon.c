/* SPDX-License-Identifier: MIT
 *
 * canon.c: shape arithmetic resolved, moves that change nothing removed.
 *
 * What inference knows to be a number becomes a constant; identity, casts to the same dtype, reshapes to the same shape,
 * transposes in order and slices of everything become their operand.  The program computes the same values, so as
 * written stays as written.  Needed neither for running nor for raising; it makes both smaller.
 */
#include "pass/pass_int.h"

/* A scalar or a shape-sized vector of integers whose elements are all known numbers. */
static sm_value *known_number(sm_builder *b, const sm_value *v) {
    int64_t n = 1;
    int32_t x[SM_MAX_RANK];
    if (v->sym == NULL || v->type.dtype != SM_INT32 || v->type.rank > 1)
        return NULL;
    if (v->type.rank == 1)
        n = v->type.dims[0];
    if (n < 1 || n > (int64_t)SM_ARRAY_LEN(x))
        return NULL;
    for (int64_t i = 0; i < n; i++) {
        if (!sm_dim_known(v->sym[i]) || v->sym[i] < INT32_MIN || v->sym[i] > INT32_MAX)
            return NULL;
        x[i] = (int32_t)v->sym[i];
    }
    return v->type.rank == 0 ? sm_const_i32(b, x[0]) : sm_const_i32s(b, x, (int)n);
}

static bool in_order(const sm_node *n) {
    int64_t perm[SM_MAX_RANK];
    int k = 0;
    if (!sm_arg_ints(n, "perm", perm, SM_MAX_RANK, &k))
        return false;
    for (int i = 0; i < k; i++)
        if (perm[i] != i)
            return false;
    return true;
}

static bool whole_slice(const sm_node *n) {
    int64_t stride[SM_MAX_RANK];
    int k = 0;
    const sm_type *a = &sm_arg(n, "x")->type, *b = &n->out[0]->type;
    if (!sm_type_eq(a, b))
        return false;
    if (sm_arg(n, "stride") == NULL)
        return true;
    if (!sm_arg_ints(n, "stride", stride, SM_MAX_RANK, &k))
        return false;
    for (int i = 0; i < k; i++)
        if (stride[i] != 1)
            return false;
    return true;
}

static bool changes_nothing(const sm_node *n) {
    switch (n->op) {
    case SM_OP_IDENTITY:
        return true;
    case SM_OP_CAST:
        return sm_arg(n, "x")->type.dtype == n->out[0]->type.dtype;
    case SM_OP_RESHAPE:
        return sm_type_eq(&sm_arg(n, "x")->type, &n->out[0]->type);
    case SM_OP_TRANSPOSE:
        return in_order(n);
    case SM_OP_SLICE_BY_INDEX:
        return whole_slice(n);
    default:
        return false;
    }
}

sm_status sm_pass_canonicalise(sm_func *f, sm_func **out, sm_err *err) {
    sm_rebuild r;
    SM_TRY(sm_rebuild_start(&r, f, f->opset, err));
    for (const sm_node *n = f->body->first; n != NULL; n = n->next) {
        sm_value *v = n->n_out == 1 ? n->out[0] : NULL;
        if (v == NULL || v->out_of == f->body) { /* results keep a node of their own, and so their name */
            sm_build_copy(&r.b, n, r.map);
            continue;
        }
        sm_value *c = known_number(&r.b, v);
        if (c != NULL)
            r.map[v->id] = c;
        else if (changes_nothing(n) && sm_map_value(r.map, sm_arg(n, "x")) != NULL)
            r.map[v->id] = sm_map_value(r.map, sm_arg(n, "x"));
        else
            sm_build_copy(&r.b, n, r.map);
    }
    return sm_rebuild_end(&r, SM_OK, out, err);
}
