/* SPDX-License-Identifier: MIT
 *
 * ref_constexpr.c: the constexpr ops, for programs that still have them as nodes (readers turn those over constants into
 * encoded constants).  Operands arrive as codes; the result is rounded to its declared dtype, fp16 included.
 */
#include <inttypes.h>
#include <string.h>

#include "backend/ref/ref_int.h"

/* The declared dtype of the result, which must be a float. */
static sm_dtype declared(const ref_call *c) {
    return c->node->out[0]->type.dtype;
}

static void round_declared(ref_val *y) {
    for (int64_t i = 0; i < y->n; i++)
        y->f[i] = y->dtype == SM_FP16   ? sm_round_f16(y->f[i])
                  : y->dtype == SM_BF16 ? sm_bf16_to_f32(sm_f32_to_bf16(y->f[i]))
                                        : y->f[i];
}

/* Strides over x's axes in an array of blocks; false when the block counts do not divide x's extents. */
static bool block_strides(const ref_val *x, const ref_val *blocks, int64_t *stride, int64_t *extent) {
    if (blocks->rank < x->rank)
        return false;
    ref_strides(blocks->rank, blocks->dims, stride);
    for (int i = 0; i < x->rank; i++) {
        if (blocks->dims[i] < 1 || x->dims[i] % blocks->dims[i] != 0)
            return false;
        extent[i] = x->dims[i] / blocks->dims[i];
    }
    return true;
}

/* Number of the block of element e. */
static int64_t block_of(const ref_val *x, int64_t e, const int64_t *stride, const int64_t *extent) {
    int64_t at = 0;
    for (int i = x->rank - 1; i >= 0; i--) {
        at += e % x->dims[i] / extent[i] * stride[i];
        e /= x->dims[i];
    }
    return at;
}

sm_status ref_cx_blockwise(ref_call *c) {
    const ref_val *data = ref_in(c, "data"), *scale = ref_in(c, "scale"), *offset = ref_in(c, "offset");
    int64_t stride[SM_MAX_RANK], extent[SM_MAX_RANK];
    if (scale->rank != data->rank || (offset != NULL && offset->n != scale->n) || sm_dtype_kind(declared(c)) != 'f' ||
        !block_strides(data, scale, stride, extent))
        return SM_FAIL(c->err, SM_BADINPUT, "data, scale and offset do not fit");
    SM_TRY(ref_result(c, 0, declared(c), data->rank, data->dims));
    ref_val *y = ref_out(c, 0);
    for (int64_t i = 0; i < data->n; i++) {
        int64_t b = block_of(data, i, stride, extent);
        float off = offset == NULL ? 0.0f : (float)ref_elem(offset, b);
        y->f[i] = (float)ref_elem(scale, b) * ((float)ref_elem(data, i) - off);
    }
    round_declared(y);
    return SM_OK;
}

static void looked_up(ref_val *y, int64_t i, const ref_val *lut, int64_t at) {
    if (ref_is_float(y))
        y->f[i] = lut->f[at];
    else
        y->i[i] = lut->i[at];
}

/* iOS16: flat table, indices packed into bytes, shape given. */
static sm_status lut_flat(ref_call *c, const ref_val *indices, const ref_val *lut) {
    int64_t dims[SM_MAX_RANK];
    int rank, bits = 0;
    SM_TRY(ref_ints(c, "shape", dims, SM_MAX_RANK, &rank));
    while (bits < 8 && ((int64_t)1 << bits) < lut->n)
        bits++;
    SM_TRY(ref_result(c, 0, declared(c), rank, dims));
    ref_val *y = ref_out(c, 0);
    if (((int64_t)1 << bits) != lut->n || indices->n != (y->n * bits + 7) / 8)
        return SM_FAIL(c->err, SM_BADINPUT,
                       "%" PRId64 " bytes of indices into a table of %" PRId64 " for %" PRId64 " elements", indices->n,
                       lut->n, y->n);
    for (int64_t i = 0; i < y->n; i++) {
        int64_t bit = i * bits, code = 0;
        for (int k = 0; k < bits; k++)
            code |= (indices->i[(bit + k) / 8] >> ((bit + k) % 8) & 1) << k;
        looked_up(y, i, lut, code);
    }
    if (ref_is_float(y))
        round_declared(y);
    return SM_OK;
}

/* The extent of vector_axis: that of the indices times a vector's.  A table without entries may have vectors of any. */
static sm_status widen(ref_call *c, int64_t vec, int64_t *extent) {
    if (__builtin_mul_overflow(*extent, vec, extent))
        return SM_FAIL(c->err, SM_RESOURCE, "vectors of %" PRId64 " elements", vec);
    return SM_OK;
}

/* iOS18: lut [blocks.., entries, vector]; one index gives `vector` neighbours along vector_axis. */
static sm_status lut_blocks(ref_call *c, const ref_val *indices, const ref_val *lut) {
    int64_t stride[SM_MAX_RANK], extent[SM_MAX_RANK], dims[SM_MAX_RANK];
    int axis = 0;
    if (lut->rank != indices->rank + 2 || !block_strides(indices, lut, stride, extent))
        return SM_FAIL(c->err, SM_BADINPUT, "indices and lut do not fit");
    int64_t entries = lut->dims[lut->rank - 2], vec = lut->dims[lut->rank - 1];
    memcpy(dims, indices->dims, sizeof dims);
    if (vec > 1) {
        SM_TRY(ref_axis(c, "vector_axis", indices->rank, &axis));
        SM_TRY(widen(c, vec, &dims[axis]));
    }
    SM_TRY(ref_result(c, 0, declared(c), indices->rank, dims));
    ref_val *y = ref_out(c, 0);
    int64_t inner = vec > 1 ? ref_extent(indices, axis + 1, indices->rank) : 1;
    for (int64_t i = 0; i < indices->n; i++) {
        int64_t code = ref_is_float(indices) ? -1 : indices->i[i];
        if (code < 0 || code >= entries)
            return SM_FAIL(c->err, SM_BADINPUT, "index %" PRId64 " outside a table of %" PRId64, code, entries);
        int64_t from = block_of(indices, i, stride, extent) + code * vec, to = i / inner * vec * inner + i % inner;
        for (int64_t k = 0; k < vec; k++)
            looked_up(y, to + k * inner, lut, from + k);
    }
    if (ref_is_float(y))
        round_declared(y);
    return SM_OK;
}

sm_status ref_cx_lut(ref_call *c) {
    const ref_val *indices = ref_in(c, "indices"), *lut = ref_in(c, "lut");
    if ((sm_dtype_kind(declared(c)) == 'f') != ref_is_float(lut) ||
        (ref_in(c, "shape") != NULL && ref_is_float(indices)))
        return SM_FAIL(c->err, SM_UNSUPPORTED, "a table of %s", sm_dtype_name(lut->dtype));
    return ref_in(c, "shape") != NULL ? lut_flat(c, indices, lut) : lut_blocks(c, indices, lut);
}

/* scale and zero point: scalars, or one per index of the axis. */
sm_status ref_cx_affine(ref_call *c) {
    const ref_val *q = ref_in(c, "quantized_data"), *zero = ref_in(c, "zero_point"), *scale = ref_in(c, "scale");
    int axis;
    SM_TRY(ref_axis(c, "axis", q->rank, &axis));
    int64_t n = q->dims[axis], inner = ref_extent(q, axis + 1, q->rank);
    if ((scale->n != 1 && scale->n != n) || (zero->n != 1 && zero->n != n) || sm_dtype_kind(declared(c)) != 'f')
        return SM_FAIL(c->err, SM_BADINPUT, "data, zero point and scale do not fit");
    SM_TRY(ref_result(c, 0, declared(c), q->rank, q->dims));
    ref_val *y = ref_out(c, 0);
    for (int64_t i = 0; i < q->n; i++) {
        int64_t k = i / inner % n;
        y->f[i] = (float)ref_elem(scale, scale->n == 1 ? 0 : k) *
                  ((float)ref_elem(q, i) - (float)ref_elem(zero, zero->n == 1 ? 0 : k));
    }
    round_declared(y);
    return SM_OK;
}

sm_status ref_cx_cast(ref_call *c) {
    const ref_val *x = ref_in(c, "source_val");
    if (!ref_is_float(x) || sm_dtype_kind(declared(c)) != 'f')
        return SM_FAIL(c->err, SM_UNSUPPORTED, "%s to %s", sm_dtype_name(x->dtype), sm_dtype_name(declared(c)));
    SM_TRY(ref_result(c, 0, declared(c), x->rank, x->dims));
    memcpy(ref_out(c, 0)->f, x->f, (size_t)x->n * sizeof *x->f);
    round_declared(ref_out(c, 0));
    return SM_OK;
}

/* Values of the set bits, zeros elsewhere.  iOS16: mask packed into bytes, shape given; iOS18: one mask element each. */
sm_status ref_cx_sparse(ref_call *c) {
    const ref_val *values = ref_in(c, "nonzero_data"), *mask = ref_in(c, "mask");
    int64_t dims[SM_MAX_RANK], used = 0;
    bool packed = ref_in(c, "shape") != NULL;
    int rank = mask->rank;
    memcpy(dims, mask->dims, sizeof dims);
    if (packed)
        SM_TRY(ref_ints(c, "shape", dims, SM_MAX_RANK, &rank));
    SM_TRY(ref_result(c, 0, values->dtype, rank, dims));
    ref_val *y = ref_out(c, 0);
    if (ref_is_float(mask) || (packed && mask->n != (y->n + 7) / 8))
        return SM_FAIL(c->err, SM_BADINPUT, "the mask does not fit %" PRId64 " elements", y->n);
    for (int64_t i = 0; i < y->n; i++) {
        if (!(packed ? mask->i[i / 8] >> (i % 8) & 1 : mask->i[i]))
            continue;
        if (used >= values->n)
            return SM_FAIL(c->err, SM_BADINPUT, "the mask has more than %" PRId64 " elements set", values->n);
        if (ref_is_float(y))
            y->f[i] = values->f[used++];
        else
            y->i[i] = values->i[used++];
    }
    if (used != values->n)
        return SM_FAIL(c->err, SM_BADINPUT, "the mask has %" PRId64 " elements set for %" PRId64 " values", used,
                       values->n);
    return SM_OK;
}

/* ---- values beside their mask ---- */

/* Number of the block of element e of the mask, in an array of blocks. */
static sm_status mask_blocks(ref_call *c, const ref_val *mask, const ref_val *blocks, int64_t *stride,
                             int64_t *extent) {
    if (blocks->rank < mask->rank || ref_is_float(mask) || !block_strides(mask, blocks, stride, extent))
        return SM_FAIL(c->err, SM_BADINPUT, "mask and blocks do not fit");
    return SM_OK;
}

static sm_status too_many(ref_call *c, int64_t values) {
    return SM_FAIL(c->err, SM_BADINPUT, "the mask does not have %" PRId64 " elements set, one for each value", values);
}

sm_status ref_cx_blockwise_sparse(ref_call *c) {
    const ref_val *mask = ref_in(c, "data_mask"), *data = ref_in(c, "nonzero_data");
    const ref_val *scale = ref_in(c, "scale"), *offset = ref_in(c, "offset");
    int64_t stride[SM_MAX_RANK], extent[SM_MAX_RANK], used = 0;
    sm_dtype t = c->node->out[1]->type.dtype;
    SM_TRY(mask_blocks(c, mask, scale, stride, extent));
    if (scale->rank != mask->rank || (offset != NULL && offset->n != scale->n) || sm_dtype_kind(t) != 'f')
        return SM_FAIL(c->err, SM_BADINPUT, "mask, scale and offset do not fit");
    ref_share(ref_out(c, 0), mask);
    SM_TRY(ref_result(c, 1, t, 1, &data->n));
    ref_val *y = ref_out(c, 1);
    for (int64_t i = 0; i < mask->n; i++) {
        if (mask->i[i] == 0)
            continue;
        if (used >= data->n)
            return too_many(c, data->n);
        int64_t b = block_of(mask, i, stride, extent);
        float off = offset == NULL ? 0.0f : (float)ref_elem(offset, b);
        y->f[used] = (float)ref_elem(scale, b) * ((float)ref_elem(data, used) - off);
        used++;
    }
    round_declared(y);
    return used == data->n ? SM_OK : too_many(c, data->n);
}

/* Vectors spread along the axis: the results' order is that of the widened mask's elements. */
sm_status ref_cx_lut_sparse(ref_call *c) {
    const ref_val *mask = ref_in(c, "indices_mask"), *ids = ref_in(c, "indices_nonzero_data"), *lut = ref_in(c, "lut");
    int64_t stride[SM_MAX_RANK], extent[SM_MAX_RANK], dims[SM_MAX_RANK], used = 0, n;
    sm_dtype t = c->node->out[1]->type.dtype;
    int axis = 0;
    SM_TRY(mask_blocks(c, mask, lut, stride, extent));
    if (lut->rank != mask->rank + 2 || ref_is_float(ids) || ref_is_float(lut) != (sm_dtype_kind(t) == 'f'))
        return SM_FAIL(c->err, SM_BADINPUT, "mask, indices and lut do not fit");
    int64_t entries = lut->dims[lut->rank - 2], vec = lut->dims[lut->rank - 1];
    memcpy(dims, mask->dims, sizeof dims);
    if (vec > 1) {
        SM_TRY(ref_axis(c, "vector_axis", mask->rank, &axis));
        SM_TRY(widen(c, vec, &dims[axis]));
    }
    if (vec < 1 || __builtin_mul_overflow(ids->n, vec, &n))
        return SM_FAIL(c->err, SM_BADINPUT, "vectors of %" PRId64, vec);
    /* Where in indices each set element of the mask has its index, and the widened mask. */
    SM_TRY(ref_result(c, 0, mask->dtype, mask->rank, dims));
    SM_TRY(ref_result(c, 1, t, 1, &n));
    ref_val *wide = ref_out(c, 0), *y = ref_out(c, 1);
    int64_t inner = vec > 1 ? ref_extent(mask, axis + 1, mask->rank) : 1;
    int64_t *place = sm_alloc_n((size_t)mask->n + 1, sizeof *place);
    if (place == NULL)
        return SM_NOMEM(c->err);
    for (int64_t i = 0; i < mask->n; i++) {
        place[i] = mask->i[i] != 0 ? used++ : -1;
        for (int64_t k = 0; k < vec; k++)
            wide->i[i / inner * vec * inner + k * inner + i % inner] = mask->i[i];
    }
    sm_status st = used == ids->n ? SM_OK : too_many(c, ids->n);
    used = 0;
    for (int64_t e = 0; st == SM_OK && e < wide->n; e++) {
        int64_t i = e / (vec * inner) * inner + e % inner, k = e / inner % vec;
        if (place[i] < 0)
            continue;
        int64_t code = ids->i[place[i]];
        if (code < 0 || code >= entries) {
            st = SM_FAIL(c->err, SM_BADINPUT, "index %" PRId64 " outside a table of %" PRId64, code, entries);
            break;
        }
        int64_t from = block_of(mask, i, stride, extent) + code * vec + k;
        looked_up(y, used++, lut, from);
    }
    sm_free(place);
    if (st == SM_OK && ref_is_float(y))
        round_declared(y);
    return st;
}
