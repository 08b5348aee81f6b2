/* SPDX-License-Identifier: MIT
 *
 * affine_encode.c: f32 weights to block-affine codes, the plain way.
 *
 * Scales and offsets are rounded to their stored type first and the codes chosen against the rounded ones, so that the
 * only error is the codes' own.  Symmetric codes use -max..max.  With an offset, the block's range is spread over all
 * codes; a block far from zero in units of its range (an fp16 offset would be coarser than a code) is widened to
 * reach zero, and a block of one value is held exactly by scale = value, offset = -1, code 0.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "tensor/dtype_int.h"
#include "tensor/enc_int.h"
#include "tensor/transcode.h"

float sm_enc_fit(sm_dtype t, float f) {
    float r = t == SM_FP16 ? f16_to_f32(f32_to_f16(f)) : t == SM_BF16 ? bf16_to_f32(f32_to_bf16(f)) : f;
    if (isinf(r) && !isinf(f))
        return copysignf(t == SM_FP16 ? 65504.0f : 0x1.FEp127f, f);
    return r;
}

void sm_enc_put(sm_dtype t, uint8_t *p, uint64_t i, float v) {
    uint16_t h;
    switch (t) {
    case SM_FP32:
        memcpy(p + 4 * i, &v, 4);
        return;
    case SM_FP16:
    case SM_BF16:
        h = t == SM_FP16 ? f32_to_f16(v) : f32_to_bf16(v);
        memcpy(p + 2 * i, &h, 2);
        return;
    default:
        sm_code_put(t, p, i, (int64_t)v);
    }
}

/* Nearest integer, ties to even, of |v| < 2^22: without a call, so that loops over it are vector code. */
static inline int32_t nearest(float v) {
    return (int32_t)((v + 12582912.0f) - 12582912.0f);
}

static inline float clampf(float v, float lo, float hi) {
    v = v > lo ? v : lo;
    return v < hi ? v : hi;
}

static void quantize(const float *x, size_t n, float scale, float offset, float lo, float hi, int32_t *q) {
    for (size_t i = 0; i < n; i++)
        q[i] = nearest(clampf(x[i] / scale + offset, lo, hi));
}

static void encode_symmetric(const sm_encoding *want, const float *x, size_t n, float *scale, int32_t *q) {
    float amax = 0.0f, top = (float)sm_dtype_max(want->code);
    for (size_t i = 0; i < n; i++)
        amax = fabsf(x[i]) > amax ? fabsf(x[i]) : amax;
    *scale = sm_enc_fit(want->aux, amax / top);
    if (*scale == 0.0f)
        memset(q, 0, n * sizeof *q);
    else
        quantize(x, n, *scale, 0.0f, -top, top, q);
}

/* One value for the whole block. */
static void encode_constant(const sm_encoding *want, float value, size_t n, float *scale, float *offset, int32_t *q) {
    *scale = sm_enc_fit(want->aux, value);
    *offset = *scale == 0.0f ? 0.0f : -1.0f;
    memset(q, 0, n * sizeof *q);
}

static void encode_minmax(const sm_encoding *want, const float *x, size_t n, float *scale, float *offset, int32_t *q) {
    float qlo = (float)sm_dtype_min(want->code), qhi = (float)sm_dtype_max(want->code);
    float lo = x[0], hi = x[0];
    bool whole = sm_dtype_kind(want->off) != 'f';
    for (size_t i = 1; i < n; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
    }
    if (lo == hi && !whole) {
        encode_constant(want, lo, n, scale, offset, q);
        return;
    }
    for (int widened = whole;; widened = 1) {
        if (widened) {
            lo = lo < 0.0f ? lo : 0.0f;
            hi = hi > 0.0f ? hi : 0.0f;
        }
        *scale = sm_enc_fit(want->aux, hi / (qhi - qlo) - lo / (qhi - qlo));
        if (*scale == 0.0f) {
            if (whole)
                encode_constant(want, 0.0f, n, scale, offset, q);
            else
                encode_constant(want, lo / 2 + hi / 2, n, scale, offset, q);
            return;
        }
        *offset = qlo - lo / *scale;
        if (widened || fabsf(*offset) < 1024.0f)
            break;
    }
    if (whole)
        *offset = (float)nearest(clampf(*offset, (float)sm_dtype_min(want->off), (float)sm_dtype_max(want->off)));
    else
        *offset = sm_enc_fit(want->off, *offset);
    quantize(x, n, *scale, *offset, qlo, qhi, q);
}

sm_status sm_affine_encode_row(const sm_encoding *want, int64_t block, int64_t cols, uint64_t at, const float *x,
                               int32_t *q, uint8_t *out[SM_PART_COUNT], sm_err *err) {
    uint64_t n_blocks = (uint64_t)(cols / block);
    size_t n = (size_t)block;
    if (want->off == SM_NONE && sm_dtype_kind(want->code) == 'u')
        return SM_FAIL(err, SM_UNSUPPORTED, "%s codes without an offset cannot hold negative weights",
                       sm_dtype_name(want->code));
    for (uint64_t b = 0; b < n_blocks; b++) {
        const float *xb = x + b * n;
        float scale, offset = 0.0f, sum = 0.0f;
        for (size_t i = 0; i < n; i++)
            sum += xb[i] * 0.0f; /* NaN if any is not finite */
        if (sum != 0.0f)
            return SM_FAIL(err, SM_BADINPUT,
                           "row %" PRIu64 ", column block %" PRIu64 ": wanted finite weights, found inf or nan", at, b);
        if (want->off == SM_NONE)
            encode_symmetric(want, xb, n, &scale, q);
        else
            encode_minmax(want, xb, n, &scale, &offset, q);
        sm_codes_pack(want->code, out[SM_PART_DATA], at * (uint64_t)cols + b * n, n, q);
        sm_enc_put(want->aux, out[SM_PART_SCALE], at * n_blocks + b, scale);
        if (want->off != SM_NONE)
            sm_enc_put(want->off, out[SM_PART_OFFSET], at * n_blocks + b, offset);
    }
    return SM_OK;
}

sm_status sm_affine_encode(const sm_encoding *want, int64_t cols, uint64_t rows, const float *x,
                           uint8_t *out[SM_PART_COUNT], sm_err *err) {
    sm_status st = SM_OK;
    int last = SM_MAX_RANK - 1;
    while (last > 0 && want->block[last] == 0)
        last--;
    int64_t block = want->block[last], dims[2] = {(int64_t)rows, cols};
    sm_encoding e = sm_enc_affine(want->code, want->aux, want->off, 2, block);
    size_t bytes[SM_PART_COUNT];
    SM_TRY(sm_enc_sizes(&e, 2, dims, bytes, err));
    if (sm_dtype_kind(want->code) == 'f')
        return SM_FAIL(err, SM_UNSUPPORTED, "affine codes of type %s cannot be made", sm_dtype_name(want->code));
    if (bytes[SM_PART_DATA] == 0)
        return SM_OK;
    int32_t *q = sm_alloc_n((size_t)block, sizeof *q);
    if (q == NULL)
        return SM_NOMEM(err);
    out[SM_PART_DATA][bytes[SM_PART_DATA] - 1] = 0; /* padding bits */
    for (uint64_t r = 0; r < rows && st == SM_OK; r++)
        st = sm_affine_encode_row(&e, block, cols, r, x + r * (uint64_t)cols, q, out, err);
    sm_free(q);
    return st;
}
