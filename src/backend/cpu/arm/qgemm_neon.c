/* SPDX-License-Identifier: MIT
 *
 * qgemm_neon.c: integer products of ARMv8.0, which has no dot product; quantizing a row.
 *
 * SMLAL multiplies 8 codes by 8 bytes and adds the products to 16-bit lanes; a pair of these lanes is then added to a
 * 32-bit one.  Bytes are within +-127, so 16 bits hold 8 products of codes of up to 5 bits (8 * 31 * 127), 4 of 6 bits
 * and 2 of 8 bits, which are made signed first (2 * 128 * 127).
 */
#include "backend/cpu/arm/qgemm_neon_int.h"

#include <math.h>

/* 8-bit codes have lost 128 already. */
ALWAYS int32_t start(int32_t nsum, bool is_signed, sm_qw_kind kind) {
    if (kind == SM_QW8)
        return is_signed ? 0 : -nsum * 128;
    return is_signed ? nsum * (8 << (int)kind) : 0;
}

ALWAYS int8x16_t bytes_at(const uint8_t *p) {
    int32_t v;
    memcpy(&v, p, 4);
    return vreinterpretq_s8_s32(vdupq_n_s32(v));
}

/* lo: products of two weight rows, 4 lanes each; hi: of the next two. */
typedef struct sums16 {
    int16x8_t lo, hi;
} sums16;

ALWAYS void block_sums(const uint8_t *block, part p, int b, int g0, int g1, sm_qw_kind kind, int32x4_t *acc) {
    const int fit = kind <= SM_QW5 ? 8 : kind == SM_QW6 ? 4 : 2, nq = p.n_quarters;
    int32x4_t lo[SUMS_MAX], hi[SUMS_MAX];
    for (int i = 0; i < p.rows * nq; i++)
        lo[i] = hi[i] = vdupq_n_s32(0);
    for (int g = g0; g < g1; g += fit) {
        sums16 sum[SUMS_MAX];
        for (int i = 0; i < p.rows * nq; i++)
            sum[i].lo = sum[i].hi = vdupq_n_s16(0);
        for (int h = g; h < g + fit && h < g1; h++)
            for (int i = 0; i < nq; i++) {
                uint8x16_t u = codes_at(block, h, p.quarter + i, kind);
                int8x16_t codes = vreinterpretq_s8_u8(kind == SM_QW8 ? veorq_u8(u, vdupq_n_u8(128)) : u);
                for (int r = 0; r < p.rows; r++) {
                    int8x16_t bytes = bytes_at(p.x + (size_t)r * p.ldx + 32 * b + 4 * h);
                    sums16 *s = &sum[r * nq + i];
                    s->lo = vmlal_s8(s->lo, vget_low_s8(codes), vget_low_s8(bytes));
                    s->hi = vmlal_high_s8(s->hi, codes, bytes);
                }
            }
        for (int i = 0; i < p.rows * nq; i++) {
            lo[i] = vpadalq_s16(lo[i], sum[i].lo);
            hi[i] = vpadalq_s16(hi[i], sum[i].hi);
        }
    }
    for (int i = 0; i < p.rows * nq; i++)
        acc[i] = vpaddq_s32(lo[i], hi[i]);
}

ALWAYS void tile(const sm_qw *w, const uint8_t *t, const uint8_t *x, size_t ldx, int rows, float *out, size_t ldo,
                 int lanes, sm_qw_kind kind, bool sub16, bool has_min) {
    int r = 0;
    for (; r + 4 <= rows; r += 4, x += 4 * ldx, out += 4 * ldo)
        tile_rows(w, t, x, ldx, out, ldo, lanes, kind, sub16, has_min, 4, 1);
    for (; r < rows; r++, x += ldx, out += ldo)
        tile_rows(w, t, x, ldx, out, ldo, lanes, kind, sub16, has_min, 1, 4);
}

static void qgemm_w4_neon(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                          size_t ldo) {
    gemm_kind(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW4);
}

static void qgemm_w5_neon(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                          size_t ldo) {
    gemm_kind(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW5);
}

static void qgemm_w6_neon(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                          size_t ldo) {
    gemm_kind(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW6);
}

static void qgemm_w8_neon(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                          size_t ldo) {
    gemm_kind(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW8);
}

static void qgemm_lut4_neon(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                            size_t ldo) {
    gemm_lut(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW4);
}

static void qgemm_lut6_neon(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                            size_t ldo) {
    gemm_lut(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW6);
}

static void qgemm_lut8_neon(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                            size_t ldo) {
    gemm_lut(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW8);
}

/* Largest magnitude of a block; NaN is passed over, as in the specification. */
ALWAYS float block_most(const float32x4_t v[8]) {
    float32x4_t m = vabsq_f32(v[0]);
    for (int i = 1; i < 8; i++)
        m = vmaxnmq_f32(m, vabsq_f32(v[i]));
    return vmaxnmvq_f32(m);
}

/* 16 floats times inv, to the nearest even integers; returns their sum. */
ALWAYS int32_t codes_of(const float32x4_t v[4], float inv, int8_t *out) {
    int32x4_t q[4];
    for (int i = 0; i < 4; i++)
        q[i] = vcvtnq_s32_f32(vmulq_n_f32(v[i], inv));
    int16x8_t a = vqmovn_high_s32(vqmovn_s32(q[0]), q[1]), b = vqmovn_high_s32(vqmovn_s32(q[2]), q[3]);
    int8x16_t bytes = vqmovn_high_s16(vqmovn_s16(a), b);
    vst1q_s8(out, bytes);
    return vaddlvq_s8(bytes);
}

static void quantize_neon(const float *x, int k, uint8_t *row) {
    int nb = sm_qrow_blocks(k);
    float *d = (float *)(void *)(row + (size_t)nb * 32);
    int32_t *nsum = (int32_t *)(void *)(d + nb), *nsum16 = nsum + nb;
    for (int b = 0; b < nb; b++, x += SM_QBLOCK) {
        float tail[SM_QBLOCK] = {0};
        const float *p = x;
        if (k - b * SM_QBLOCK < SM_QBLOCK)
            p = memcpy(tail, x, (size_t)(k - b * SM_QBLOCK) * sizeof *x);
        float32x4_t v[8];
        for (int i = 0; i < 8; i++)
            v[i] = vld1q_f32(p + 4 * i);
        float most = block_most(v), inv = most > 0.0f ? 127.0f / most : 0.0f;
        int8_t *q = (int8_t *)row + 32 * b;
        int32_t s0 = codes_of(v, inv, q), s1 = codes_of(v + 4, inv, q + 16);
        d[b] = most / 127.0f;
        nsum16[2 * b] = -s0;
        nsum16[2 * b + 1] = -s1;
        nsum[b] = -s0 - s1;
    }
}

void sm_qgemm_init_neon(sm_kernels *k) {
    k->quantize = quantize_neon;
    k->qgemm[SM_QW4] = qgemm_w4_neon;
    k->qgemm[SM_QW5] = qgemm_w5_neon;
    k->qgemm[SM_QW6] = qgemm_w6_neon;
    k->qgemm[SM_QW8] = qgemm_w8_neon;
    k->qgemm_lut[SM_QW4] = qgemm_lut4_neon;
    k->qgemm_lut[SM_QW6] = qgemm_lut6_neon;
    k->qgemm_lut[SM_QW8] = qgemm_lut8_neon;
}
