/* SPDX-License-Identifier: MIT
 *
 * mlpackage_read_cx.c: constexpr ops -> encoded constants (tensor/encoding.h); nothing is decoded.
 *
 *     blockwise_shift_scale(codes, scale, offset?)            AFFINE
 *     affine_dequantize(codes, zero point, scale, axis)       AFFINE, per channel or whole
 *     lut_to_dense(indices, table)                            LUT, iOS16's flat form or iOS18's typed one
 *     blockwise_shift_scale(lut_to_dense(..), scale)          LUT with a scale of the result
 *     lut_to_dense(indices, blockwise_shift_scale(table, s))  the same: a scale per table multiplies what is looked up
 *
 * A part may come by name from an earlier constexpr op; by then that is an encoded constant, whose parts are taken over.
 * Whatever else there is (sparse masks, casts, scales finer than a table) stays a node over constants, which is correct
 * as well: these are the forms that kernels and writers have one name for.
 */
#include <inttypes.h>
#include <string.h>

#include "format/mlpackage_int.h"

/* An operand's tensor: read in place, or the source of a constant by name.  Absent: dtype SM_NONE. */
static sm_status operand(sm_pkg_reader *r, const char *key, const sm_pkg_operand *args, int n_args, sm_tensor *out,
                         sm_err *err) {
    *out = (sm_tensor){0};
    for (int i = 0; i < n_args; i++) {
        sm_pkg_value v;
        if (strcmp(args[i].key, key) != 0)
            continue;
        if (args[i].inlined == NULL) {
            if (args[i].named->cst != NULL && args[i].named->cst->strs == NULL) {
                *out = args[i].named->cst->src;
                sm_tensor_unfold(out, NULL);
            }
            return SM_OK;
        }
        sm_status st = sm_pkg_read_value(r, args[i].inlined, &v, err);
        if (st != SM_OK)
            sm_err_prefix(err, "'%s'", key);
        *out = v.t;
        return st;
    }
    return SM_OK;
}

static bool is_dense(const sm_tensor *t) {
    return t->dtype != SM_NONE && t->dtype != SM_STRING && t->enc.id == SM_ENC_DENSE && t->enc.code == t->dtype;
}

static bool is_float(sm_dtype t) {
    return t == SM_FP16 || t == SM_FP32;
}

/* dims / parts per axis; false when one does not divide the other. */
static bool blocks_of(const sm_tensor *data, const sm_tensor *part, int64_t *block) {
    for (int a = 0; a < data->rank; a++) {
        if (part->dims[a] < 1 || data->dims[a] < 1 || data->dims[a] % part->dims[a] != 0)
            return false;
        block[a] = data->dims[a] / part->dims[a];
    }
    return true;
}

static sm_status bad_shape(sm_err *err, const char *part, const char *of) {
    return SM_FAIL(err, SM_BADINPUT, "'%s': its rank is not that of '%s', or its shape does not divide it", part, of);
}

/* ------------------------------------------------------------------ the forms */

static sm_status read_blockwise(sm_pkg_reader *r, const sm_pkg_operand *args, int n, sm_tensor *t, bool *fits,
                                sm_err *err) {
    sm_tensor data, scale, offset;
    SM_TRY(operand(r, "data", args, n, &data, err));
    SM_TRY(operand(r, "scale", args, n, &scale, err));
    SM_TRY(operand(r, "offset", args, n, &offset, err));
    bool has_offset = offset.dtype != SM_NONE;
    if (!is_dense(&scale) || !is_float(scale.dtype) || (has_offset && !is_dense(&offset)))
        return SM_OK;
    int64_t block[SM_MAX_RANK] = {0};
    if (scale.rank != data.rank || !blocks_of(&data, &scale, block))
        return bad_shape(err, "scale", "data");
    if (has_offset) {
        if (offset.rank != scale.rank || memcmp(offset.dims, scale.dims, sizeof scale.dims) != 0)
            return SM_FAIL(err, SM_BADINPUT, "'offset': its shape is not that of 'scale'");
    }
    *t = data;
    t->dtype = scale.dtype;
    t->part[SM_PART_SCALE] = scale.part[SM_PART_DATA];
    if (is_dense(&data)) {
        t->enc = (sm_encoding){
            .id = SM_ENC_AFFINE, .code = data.dtype, .aux = scale.dtype, .off = has_offset ? offset.dtype : SM_NONE};
        memcpy(t->enc.block, block, sizeof block);
        if (has_offset)
            t->part[SM_PART_OFFSET] = offset.part[SM_PART_DATA];
    } else if (data.enc.id == SM_ENC_LUT && data.enc.sc == SM_NONE && data.enc.aux == data.dtype && !has_offset) {
        t->enc.sc = scale.dtype;
        memcpy(t->enc.sc_block, block, sizeof block);
    } else {
        return SM_OK;
    }
    *fits = true;
    return SM_OK;
}

/* Smallest index type of a table of n entries; SM_NONE when n is no power of two of at most 8 bits. */
static sm_dtype index_type(int64_t n) {
    static const sm_dtype of_bits[] = {SM_NONE, SM_UINT1, SM_UINT2, SM_UINT3, SM_UINT4,
                                       SM_NONE, SM_UINT6, SM_NONE,  SM_UINT8};
    for (int bits = 1; bits <= 8; bits++)
        if (n == INT64_C(1) << bits)
            return of_bits[bits];
    return SM_NONE;
}

/* iOS16: indices packed in flat uint8, flat table, the shape beside them. */
static sm_status read_lut_flat(const sm_tensor *indices, const sm_tensor *lut, const sm_tensor *shape, sm_tensor *t,
                               bool *fits, sm_err *err) {
    if (!is_dense(indices) || !is_dense(lut) || !is_dense(shape))
        return SM_OK;
    if (indices->dtype != SM_UINT8 || indices->rank != 1 || lut->rank != 1 || shape->rank != 1 ||
        shape->dims[0] > SM_MAX_RANK || (shape->dtype != SM_UINT32 && shape->dtype != SM_INT32))
        return SM_FAIL(err, SM_BADINPUT, "wanted uint8 'indices', 'lut' and uint32 'shape' of one dimension");
    sm_dtype code = index_type(lut->dims[0]);
    if (code == SM_NONE)
        return SM_FAIL(err, SM_BADINPUT, "'lut': wanted 2, 4, 8, 16, 64 or 256 entries, found %" PRId64, lut->dims[0]);
    *t = (sm_tensor){.dtype = lut->dtype, .rank = (int)shape->dims[0]};
    t->enc = (sm_encoding){.id = SM_ENC_LUT, .code = code, .aux = lut->dtype, .vec = 1};
    for (int a = 0; a < t->rank; a++)
        t->dims[a] = t->enc.block[a] = sm_code_get(shape->dtype, shape->part[SM_PART_DATA].p, (uint64_t)a);
    t->part[SM_PART_DATA] = indices->part[SM_PART_DATA];
    t->part[SM_PART_LUT] = lut->part[SM_PART_DATA];
    *fits = true;
    return SM_OK;
}

/* The table of a typed form: entries, and the scale that multiplies each table, when it came from a blockwise op. */
static bool table_parts(const sm_tensor *lut, int rank, sm_tensor *t) {
    if (is_dense(lut)) {
        t->enc.aux = t->dtype = lut->dtype;
        t->part[SM_PART_LUT] = lut->part[SM_PART_DATA];
        return true;
    }
    const sm_encoding *e = &lut->enc;
    if (e->id != SM_ENC_AFFINE || e->off != SM_NONE || e->block[rank] != lut->dims[rank] ||
        e->block[rank + 1] != lut->dims[rank + 1] || (e->code != lut->dtype && sm_dtype_bits(e->code) != 8))
        return false;
    t->enc.aux = e->code;
    t->enc.sc = e->aux;
    t->dtype = lut->dtype;
    t->part[SM_PART_LUT] = lut->part[SM_PART_DATA];
    t->part[SM_PART_SCALE] = lut->part[SM_PART_SCALE];
    return true;
}

static sm_status read_lut(sm_pkg_reader *r, const sm_pkg_operand *args, int n, sm_tensor *t, bool *fits, sm_err *err) {
    sm_tensor indices, lut, shape, axis;
    SM_TRY(operand(r, "indices", args, n, &indices, err));
    SM_TRY(operand(r, "lut", args, n, &lut, err));
    SM_TRY(operand(r, "shape", args, n, &shape, err));
    SM_TRY(operand(r, "vector_axis", args, n, &axis, err));
    if (shape.dtype != SM_NONE)
        return read_lut_flat(&indices, &lut, &shape, t, fits, err);
    if (!is_dense(&indices) || lut.dtype == SM_NONE || lut.dtype == SM_STRING)
        return SM_OK;
    int rank = indices.rank;
    if (lut.rank != rank + 2 || sm_dtype_kind(indices.dtype) != 'u' || sm_dtype_bits(indices.dtype) > 8 ||
        lut.dims[rank] != INT64_C(1) << sm_dtype_bits(indices.dtype))
        return SM_FAIL(err, SM_BADINPUT,
                       "'lut': wanted rank %d and a table of 2^bits entries for each 'indices' value of type %s",
                       rank + 2, sm_dtype_name(indices.dtype));
    *t = indices;
    t->enc = (sm_encoding){.id = SM_ENC_LUT, .code = indices.dtype};
    if (!table_parts(&lut, rank, t))
        return SM_OK;
    if (lut.dims[rank + 1] < 1 || lut.dims[rank + 1] > 4096)
        return SM_FAIL(err, SM_BADINPUT, "'lut': wanted vectors of 1..4096, found %" PRId64, lut.dims[rank + 1]);
    t->enc.vec = (int32_t)lut.dims[rank + 1];
    if (t->enc.vec > 1) {
        int64_t a = is_dense(&axis) && axis.dtype == SM_INT32 && sm_tensor_numel(&axis) == 1
                        ? sm_code_get(SM_INT32, axis.part[SM_PART_DATA].p, 0)
                        : INT64_MAX;
        a += a < 0 ? rank : 0;
        if (a < 0 || a >= rank)
            return SM_FAIL(err, SM_BADINPUT, "'vector_axis': wanted an axis of rank %d", rank);
        t->enc.vec_axis = (int32_t)a;
        t->dims[a] *= t->enc.vec;
    }
    if (!blocks_of(t, &lut, t->enc.block))
        return bad_shape(err, "lut", "indices");
    for (int a = 0; a < rank && t->enc.sc != SM_NONE; a++)
        t->enc.sc_block[a] = t->enc.block[a] * lut.enc.block[a];
    *fits = true;
    return SM_OK;
}

static bool all_zero(sm_bytes b) {
    for (size_t i = 0; i < b.n; i++)
        if (b.p[i] != 0)
            return false;
    return true;
}

/* A scalar or vector as n elements. */
static sm_status spread(sm_pkg_reader *r, const sm_tensor *v, uint64_t n, sm_bytes *out, sm_err *err) {
    size_t one = (size_t)sm_dtype_size(v->dtype, 1);
    *out = v->part[SM_PART_DATA];
    if (sm_tensor_numel(v) == n)
        return SM_OK;
    if (n > r->pkg->weight_bytes + r->pkg->model_bytes) /* as many codes must be there */
        return SM_FAIL(err, SM_BADINPUT, "more channels than the file has bytes");
    uint8_t *p = sm_arena_alloc_n(r->g->arena, (size_t)n, one);
    if (p == NULL)
        return SM_NOMEM(err);
    for (uint64_t i = 0; i < n; i++)
        memcpy(p + i * one, v->part[SM_PART_DATA].p, one);
    *out = (sm_bytes){p, (size_t)n * one};
    return SM_OK;
}

static sm_status read_affine(sm_pkg_reader *r, const sm_pkg_operand *args, int n, sm_tensor *t, bool *fits,
                             sm_err *err) {
    sm_tensor data, zero, scale, axis;
    SM_TRY(operand(r, "quantized_data", args, n, &data, err));
    SM_TRY(operand(r, "zero_point", args, n, &zero, err));
    SM_TRY(operand(r, "scale", args, n, &scale, err));
    SM_TRY(operand(r, "axis", args, n, &axis, err));
    if (!is_dense(&data) || !is_dense(&zero) || !is_dense(&scale) || !is_dense(&axis))
        return SM_OK;
    if ((data.dtype != SM_INT8 && data.dtype != SM_UINT8) || zero.dtype != data.dtype || !is_float(scale.dtype) ||
        axis.dtype != SM_INT32 || sm_tensor_numel(&axis) != 1)
        return SM_FAIL(err, SM_BADINPUT,
                       "wanted int8 or uint8 codes with 'zero_point' of their type, float 'scale', int32 'axis'");
    int64_t a = sm_code_get(SM_INT32, axis.part[SM_PART_DATA].p, 0);
    a += a < 0 ? data.rank : 0;
    uint64_t n_scale = sm_tensor_numel(&scale), n_zero = sm_tensor_numel(&zero), channels = SM_MAX(n_scale, n_zero);
    if (zero.rank > 1 || scale.rank > 1 || a < 0 || a >= SM_MAX(data.rank, 1) ||
        (channels > 1 && (data.rank == 0 || (int64_t)channels != data.dims[a])) ||
        (n_scale != 1 && n_scale != channels) || (n_zero != 1 && n_zero != channels))
        return SM_FAIL(err, SM_BADINPUT, "'scale' and 'zero_point': wanted one value or one per channel of 'axis'");
    *t = data;
    t->dtype = scale.dtype;
    t->enc = (sm_encoding){.id = SM_ENC_AFFINE, .code = data.dtype, .aux = scale.dtype};
    for (int i = 0; i < data.rank; i++)
        t->enc.block[i] = i == a && channels > 1 ? 1 : data.dims[i];
    SM_TRY(spread(r, &scale, channels, &t->part[SM_PART_SCALE], err));
    if (!all_zero(zero.part[SM_PART_DATA])) {
        t->enc.off = data.dtype;
        SM_TRY(spread(r, &zero, channels, &t->part[SM_PART_OFFSET], err));
    }
    *fits = true;
    return SM_OK;
}

sm_status sm_pkg_read_constexpr(sm_pkg_reader *r, sm_builder *b, sm_op op, const char *name, const sm_pkg_operand *args,
                                int n_args, sm_value **out, sm_err *err) {
    sm_pkg_value v = {0};
    bool fits = false;
    *out = NULL;
    if (op == SM_OP_CX_BLOCKWISE)
        SM_TRY(read_blockwise(r, args, n_args, &v.t, &fits, err));
    else if (op == SM_OP_CX_LUT)
        SM_TRY(read_lut(r, args, n_args, &v.t, &fits, err));
    else if (op == SM_OP_CX_AFFINE)
        SM_TRY(read_affine(r, args, n_args, &v.t, &fits, err));
    return fits ? sm_pkg_const(r, b, name, &v, out, err) : SM_OK;
}
