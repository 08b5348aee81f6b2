/* SPDX-License-Identifier: MIT
 *
 * ref_call.c: what kernels ask about their node: operands, parameters, results (ref_int.h).
 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "backend/ref/ref_int.h"
#include "base/number.h"

const ref_val *ref_in(const ref_call *c, const char *slot) {
    int i = sm_op_slot(c->node->op, slot);
    assert(i >= 0);
    return c->in[i];
}

ref_val *ref_out(ref_call *c, int k) {
    assert(k < c->node->n_out);
    return &c->e->val[c->node->out[k]->id];
}

static const char *default_text(const ref_call *c, const char *slot) {
    return sm_op_row_of(c->node->op)->slot[sm_op_slot(c->node->op, slot)].def;
}

/* Element i as an integer; floats truncate and saturate. */
static int64_t elem_int(const ref_val *v, int64_t i) {
    if (!ref_is_float(v))
        return v->i[i];
    float f = v->f[i];
    return f != f ? 0 : f > 1e18f ? (int64_t)1e18 : f < -1e18f ? (int64_t)-1e18 : (int64_t)f;
}

int64_t ref_int(const ref_call *c, const char *slot) {
    const ref_val *v = ref_in(c, slot);
    if (v == NULL)
        return strtoll(default_text(c, slot), NULL, 10);
    return v->n == 0 ? 0 : elem_int(v, 0);
}

double ref_num(const ref_call *c, const char *slot) {
    const ref_val *v = ref_in(c, slot);
    if (v == NULL)
        return sm_strtod(default_text(c, slot), NULL);
    return v->n == 0 ? 0 : ref_elem(v, 0);
}

bool ref_bool(const ref_call *c, const char *slot) {
    const ref_val *v = ref_in(c, slot);
    if (v == NULL)
        return strcmp(default_text(c, slot), "true") == 0;
    return v->n > 0 && ref_elem(v, 0) != 0;
}

bool ref_str_is(const ref_call *c, const char *slot, const char *what) {
    sm_sv s;
    return sm_arg_str(c->node, slot, &s) && sm_sv_is(s, what);
}

sm_status ref_ints(const ref_call *c, const char *slot, int64_t *out, int cap, int *n) {
    const ref_val *v = ref_in(c, slot);
    *n = -1;
    if (v == NULL)
        return SM_OK;
    if (v->n > cap)
        return SM_FAIL(c->err, SM_BADINPUT, "parameter '%s' has %" PRId64 " elements, at most %d make sense", slot,
                       v->n, cap);
    for (int64_t i = 0; i < v->n; i++)
        out[i] = elem_int(v, i);
    *n = (int)v->n;
    return SM_OK;
}

sm_status ref_norm_axis(const ref_call *c, int64_t axis, int rank, int *out) {
    if (axis < -rank || axis >= rank)
        return SM_FAIL(c->err, SM_BADINPUT, "axis %" PRId64 " outside rank %d", axis, rank);
    *out = (int)(axis < 0 ? axis + rank : axis);
    return SM_OK;
}

sm_status ref_axis(const ref_call *c, const char *slot, int rank, int *out) {
    return ref_norm_axis(c, ref_int(c, slot), rank, out);
}

sm_status ref_axes(const ref_call *c, const char *slot, int rank, bool *marked) {
    int64_t axes[SM_MAX_RANK];
    int n, a = 0;
    SM_TRY(ref_ints(c, slot, axes, SM_MAX_RANK, &n));
    for (int i = 0; i < rank; i++)
        marked[i] = n < 0;
    for (int i = 0; i < n; i++) {
        SM_TRY(ref_norm_axis(c, axes[i], rank, &a));
        marked[a] = true;
    }
    return SM_OK;
}

sm_status ref_result(ref_call *c, int k, sm_dtype t, int rank, const int64_t *dims) {
    return ref_alloc_in(c->e->spare, false, ref_out(c, k), t, rank, dims, c->err);
}

sm_status ref_result_raw(ref_call *c, int k, sm_dtype t, int rank, const int64_t *dims) {
    return ref_alloc_in(c->e->spare, true, ref_out(c, k), t, rank, dims, c->err);
}

sm_status ref_result_like(ref_call *c, int k, const ref_val *v) {
    return ref_result(c, k, v->dtype, v->rank, v->dims);
}
