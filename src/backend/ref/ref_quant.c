/* SPDX-License-Identifier: MIT
 *
 * ref_quant.c: 8-bit codes made and read at run time.
 */
#include <math.h>

#include "backend/ref/ref_int.h"

/* scale and zero point of element i: whole, or by index of an axis. */
typedef struct affine {
    const ref_val *scale, *zero;
    int64_t inner, n;
} affine;

static sm_status affine_of(ref_call *c, const ref_val *x, affine *a) {
    int axis = 0;
    *a = (affine){.scale = ref_in(c, "scale"), .zero = ref_in(c, "zero_point"), .inner = 1, .n = 1};
    if (ref_in(c, "axis") != NULL) {
        SM_TRY(ref_axis(c, "axis", x->rank, &axis));
        a->inner = ref_extent(x, axis + 1, x->rank);
        a->n = x->dims[axis];
    }
    if ((a->scale->n != 1 && a->scale->n != a->n) || (a->zero != NULL && a->zero->n != 1 && a->zero->n != a->n))
        return SM_FAIL(c->err, SM_BADINPUT, "wanted one scale and zero point, or as many as the axis has");
    return SM_OK;
}

static float scale_at(const affine *a, int64_t i) {
    return (float)ref_elem(a->scale, a->scale->n == 1 ? 0 : i / a->inner % a->n);
}

static float zero_at(const affine *a, int64_t i) {
    return a->zero == NULL ? 0 : (float)ref_elem(a->zero, a->zero->n == 1 ? 0 : i / a->inner % a->n);
}

/* Ties to even; NaN gives the smallest code. */
sm_status ref_quantize(ref_call *c) {
    const ref_val *x = ref_in(c, "input");
    sm_sv name = {0};
    affine a;
    sm_arg_str(c->node, "output_dtype", &name);
    sm_dtype t = sm_dtype_of_name(name);
    if ((t != SM_INT8 && t != SM_UINT8) || !ref_is_float(x))
        return SM_FAIL(c->err, SM_BADINPUT, "%s to %s", sm_dtype_name(x->dtype), sm_quote(name.p, name.n));
    SM_TRY(affine_of(c, x, &a));
    SM_TRY(ref_result(c, 0, t, x->rank, x->dims));
    float lo = (float)sm_dtype_min(t), hi = (float)sm_dtype_max(t);
    for (int64_t i = 0; i < x->n; i++)
        ref_out(c, 0)->i[i] = (int64_t)fminf(fmaxf(rintf(x->f[i] / scale_at(&a, i)) + zero_at(&a, i), lo), hi);
    return SM_OK;
}

sm_status ref_dequantize(ref_call *c) {
    const ref_val *x = ref_in(c, "input");
    affine a;
    SM_TRY(affine_of(c, x, &a));
    SM_TRY(ref_result(c, 0, a.scale->dtype, x->rank, x->dims));
    if (!ref_is_float(ref_out(c, 0)))
        return SM_FAIL(c->err, SM_BADINPUT, "a scale of %s", sm_dtype_name(a.scale->dtype));
    for (int64_t i = 0; i < x->n; i++)
        ref_out(c, 0)->f[i] = scale_at(&a, i) * ((float)ref_elem(x, i) - zero_at(&a, i));
    return SM_OK;
}
