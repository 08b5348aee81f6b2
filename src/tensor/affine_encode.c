/* SPDX-License-Identifier: MIT
 *
 * affine_encode.c: f32 weights to block-affine codes.
 *
 * Scales and offsets are rounded to their stored type first and the codes chosen against the rounded ones, so that the
 * only error is the codes' own.  Without an offset, and with a whole one, the scale of least squared error is searched
 * (affine_fit.h).  With a float offset the block's range is spread over all codes; a block far from zero in units of
 * its range (an fp16 offset would be coarser than a code) is widened to reach zero, and a block of one value is held
 * exactly by scale = value, offset = -1, code 0.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "tensor/affine_fit.h"
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

static inline float clampf(float v, float lo, float hi) {
    v = v > lo ? v : lo;
    return v < hi ? v : hi;
}

/* One value for the whole block. */
static void encode_constant(const sm_encoding *want, float value, size_t n, float *scale, float *offset, int32_t *q) {
    *scale = sm_enc_fit(want->aux, value);
    *offset = *scale == 0.0f ? 0.0f : -1.0f;
    memset(q, 0, n * sizeof *q);
}

/* With a float offset: the block's range over all codes. */
static void encode_minmax(const sm_encoding *want, const float *x, size_t n, float lo, float hi, float *scale,
                          float *offset, int32_t *q) {
    float qlo = (float)sm_dtype_min(want->code), qhi = (float)sm_dtype_max(want->code);
    if (lo == hi) {
        encode_constant(want, lo, n, scale, offset, q);
        return;
    }
    for (int widened = 0;; widened = 1) {
        if (widened) {
            lo = lo < 0.0f ? lo : 0.0f;
            hi = hi > 0.0f ? hi : 0.0f;
        }
        *scale = sm_enc_fit(want->aux, hi / (qhi - qlo) - lo / (qhi - qlo));
        if (*scale == 0.0f) {
            encode_constant(want, lo / 2 + hi / 2, n, scale, offset, q);
            return;
        }
        *offset = qlo - lo / *scale;
        if (widened || fabsf(*offset) < 1024.0f)
            break;
    }
    *offset = sm_enc_fit(want->off, *offset);
    for (size_t i = 0; i < n; i++)
        q[i] = (int32_t)rintf(clampf(x[i] / *scale + *offset, qlo, qhi));
}

static sm_status not_finite(const float *x, uint64_t row, uint64_t col, sm_err *err) {
    while (isfinite(*x))
        x++, col++;
    return SM_FAIL(err, SM_BADINPUT, "row %" PRIu64 ", column %" PRIu64 ": wanted a finite weight, found %s", row, col,
                   isnan(*x) ? "nan" : "inf");
}

static sm_status encode_block(const sm_encoding *want, const sm_fit_loops *l, const float *x, size_t n, uint64_t row,
                              uint64_t col, sm_affine_scratch *s, float *scale, float *offset, sm_err *err) {
    float lo, hi;
    sm_block_fit f;
    if (!l->range(x, n, &lo, &hi))
        return not_finite(x, row, col, err);
    if (want->off != SM_NONE && sm_dtype_kind(want->off) == 'f') {
        encode_minmax(want, x, n, lo, hi, scale, offset, s->q);
        return SM_OK;
    }
    if (want->off == SM_NONE)
        f = sm_fit_symmetric(l, want->code, want->aux, x, n, lo, hi, s->x);
    else
        f = sm_fit_shifted(l, want->code, want->off, want->aux, x, n, lo, hi, s->x);
    *scale = f.scale;
    *offset = (float)f.shift;
    if (f.scale == 0.0f)
        for (size_t i = 0; i < n; i++)
            s->q[i] = f.shift;
    else
        l->codes(x, n, f.scale, f.lo, f.hi, f.shift, s->q);
    return SM_OK;
}

sm_status sm_affine_encode_row(const sm_encoding *want, int64_t block, int64_t cols, uint64_t row, uint64_t at,
                               const float *x, sm_affine_scratch *s, uint8_t *out[SM_PART_COUNT], sm_err *err) {
    const sm_fit_loops *l = sm_fit_loops_best();
    uint64_t n_blocks = (uint64_t)(cols / block);
    size_t n = (size_t)block;
    if (want->off == SM_NONE && sm_dtype_kind(want->code) == 'u')
        return SM_FAIL(err, SM_UNSUPPORTED, "%s codes without an offset cannot hold negative weights",
                       sm_dtype_name(want->code));
    for (uint64_t b = 0; b < n_blocks; b++) {
        float scale = 0.0f, offset = 0.0f;
        SM_TRY(encode_block(want, l, x + b * n, n, row, b * n, s, &scale, &offset, err));
        sm_codes_pack(want->code, out[SM_PART_DATA], at * (uint64_t)cols + b * n, n, s->q);
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
    sm_affine_scratch s = {sm_alloc_n((size_t)block, sizeof *s.q), sm_alloc_n((size_t)block, sizeof *s.x)};
    if (s.q == NULL || s.x == NULL)
        st = SM_NOMEM(err);
    for (int k = SM_PART_DATA; k <= SM_PART_OFFSET; k++)
        if (bytes[k] > 0)
            out[k][bytes[k] - 1] = 0; /* padding bits */
    for (uint64_t r = 0; r < rows && st == SM_OK; r++)
        st = sm_affine_encode_row(&e, block, cols, r, r, x + r * (uint64_t)cols, &s, out, err);
    sm_free(s.q);
    sm_free(s.x);
    return st;
}
