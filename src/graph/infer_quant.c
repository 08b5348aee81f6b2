/* SPDX-License-Identifier: MIT
 *
 * infer_quant.c: 8-bit codes made and read at run time, and the constexpr ops that keep a mask beside their values.
 */
#include <inttypes.h>
#include <string.h>

#include "graph/infer.h"

/* scale and zero point: one value, or one per index of axis. */
static sm_status check_parameter(sm_inf *c, const char *slot, sm_dim along) {
    const sm_value *v = sm_arg(c->n, slot);
    if (v == NULL || v->type.rank == 0 || sm_type_numel(&v->type, 1) == 1)
        return SM_OK;
    if (v->type.rank != 1 || along == SM_DIM_UNKNOWN)
        return sm_inf_bad(c, slot, v, "wanted one element, or a vector and axis");
    return sm_inf_same_dim(c, slot, v->type.dims[0], along, NULL);
}

/* quantize, dequantize */
sm_status sm_infer_quantize(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "input"), *scale = sm_arg(c->n, "scale"), *zero = sm_arg(c->n, "zero_point");
    bool back = c->n->op == SM_OP_DEQUANTIZE;
    sm_dtype codes = x->type.dtype, t = scale->type.dtype;
    sm_sv name = {0};
    int axis = 0;
    if (!back) {
        sm_arg_str(c->n, "output_dtype", &name);
        codes = sm_dtype_of_name(name);
    }
    if (codes != SM_INT8 && codes != SM_UINT8)
        return back ? sm_inf_bad(c, "input", x, "wanted int8 or uint8")
                    : sm_inf_bad(c, "output_dtype", NULL, "%s is neither int8 nor uint8", sm_quote(name.p, name.n));
    if (!sm_is_float(t) || (!back && x->type.dtype != t))
        return sm_inf_bad(c, "scale", scale, back ? "wanted floats" : "wanted the type of input");
    if (zero != NULL && zero->type.dtype != codes)
        return sm_inf_bad(c, "zero_point", zero, "wanted %s, the type of the codes", sm_dtype_name(codes));
    if (sm_arg(c->n, "axis") != NULL)
        SM_TRY(sm_inf_axis(c, "axis", x->type.rank, &axis));
    sm_dim along = sm_arg(c->n, "axis") != NULL ? x->type.dims[axis] : SM_DIM_UNKNOWN;
    SM_TRY(check_parameter(c, "scale", along));
    SM_TRY(check_parameter(c, "zero_point", along));
    return sm_inf_out(c, 0, back ? t : codes, x->type.rank, x->type.dims);
}

/* ---- constants that decode at load time, with a mask ---- */

static sm_status want_mask(sm_inf *c, const char *mask, const char *data) {
    const sm_value *m = sm_arg(c->n, mask), *d = sm_arg(c->n, data);
    if (!sm_is_int(m->type.dtype) || m->type.rank == 0)
        return sm_inf_bad(c, mask, m, "wanted integers with at least one axis");
    return d->type.rank == 1 ? SM_OK : sm_inf_bad(c, data, d, "wanted a vector");
}

sm_status sm_infer_cx_lut_sparse(sm_inf *c) {
    const sm_value *mask = sm_arg(c->n, "indices_mask"), *data = sm_arg(c->n, "indices_nonzero_data");
    const sm_value *lut = sm_arg(c->n, "lut");
    sm_dim dims[SM_MAX_RANK];
    int rank = mask->type.rank, axis = 0;
    SM_TRY(want_mask(c, "indices_mask", "indices_nonzero_data"));
    if (!sm_is_int(data->type.dtype))
        return sm_inf_bad(c, "indices_nonzero_data", data, "wanted integers");
    SM_TRY(sm_inf_blocks(c, "lut", mask, 2, "the mask"));
    sm_dim vec = lut->type.dims[rank + 1], n = sm_dim_mul(c->g, data->type.dims[0], vec);
    memcpy(dims, mask->type.dims, sizeof dims);
    if (vec != 1) {
        if (sm_arg(c->n, "vector_axis") == NULL)
            return sm_inf_bad(c, "lut", lut, "vectors of more than 1 element want vector_axis");
        SM_TRY(sm_inf_axis(c, "vector_axis", rank, &axis));
        dims[axis] = sm_dim_mul(c->g, dims[axis], vec);
    }
    SM_TRY(sm_inf_out(c, 0, mask->type.dtype, rank, dims));
    return sm_inf_out(c, 1, lut->type.dtype, 1, &n);
}

sm_status sm_infer_cx_blockwise_sparse(sm_inf *c) {
    const sm_value *mask = sm_arg(c->n, "data_mask"), *data = sm_arg(c->n, "nonzero_data");
    const sm_value *scale = sm_arg(c->n, "scale");
    SM_TRY(want_mask(c, "data_mask", "nonzero_data"));
    SM_TRY(sm_inf_blocks(c, "scale", mask, 0, "the mask"));
    SM_TRY(sm_inf_blocks(c, "offset", mask, 0, "the mask"));
    if (!sm_is_float(scale->type.dtype))
        return sm_inf_bad(c, "scale", scale, "wanted floats");
    SM_TRY(sm_inf_like(c, 0, mask));
    return sm_inf_out(c, 1, scale->type.dtype, 1, data->type.dims);
}
