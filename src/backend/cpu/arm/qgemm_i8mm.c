/* SPDX-License-Identifier: MIT
 *
 * qgemm_i8mm.c: integer products with USMMLA: 2 weight rows by 2 rows over 8 columns into a 2 by 2 matrix of 32-bit
 * sums, twice the products of a dot.
 *
 * The words of two column groups are zipped, which puts 8 columns of a weight row side by side; two rows' bytes are
 * paired by their halves.  The matrix
 *
 *     | w0 . x0   w0 . x1   w1 . x0   w1 . x1 |
 *
 * of weight rows 0, 1 and that of 2, 3 are taken apart into one register a row when a block is done.  A row alone uses
 * the mixed-sign dot.  Codes stay unsigned.
 */
#include "backend/cpu/arm/qgemm_neon_int.h"

ALWAYS int32_t start(int32_t nsum, bool is_signed, sm_qw_kind kind) {
    return is_signed ? nsum * (1 << (sm_qw_bits(kind) - 1)) : 0;
}

ALWAYS uint8x16_t zip_words(uint8x16_t a, uint8x16_t b, int high) {
    uint32x4_t x = vreinterpretq_u32_u8(a), y = vreinterpretq_u32_u8(b);
    return vreinterpretq_u8_u32(high ? vzip2q_u32(x, y) : vzip1q_u32(x, y));
}

ALWAYS int8x16_t pair_halves(int8x16_t a, int8x16_t b, int high) {
    int64x2_t x = vreinterpretq_s64_s8(a), y = vreinterpretq_s64_s8(b);
    return vreinterpretq_s8_s64(high ? vzip2q_s64(x, y) : vzip1q_s64(x, y));
}

/* Codes of column groups g and g + 1 (g even): rows 0, 1 of the quarter in out[0], rows 2, 3 in out[1]. */
ALWAYS void codes_pair(const uint8_t *block, int g, int quarter, sm_qw_kind kind, uint8x16_t out[2]) {
    const uint8_t *p = block + 64 * (kind == SM_QW8 ? g : g & 3) + 16 * quarter;
    uint8x16_t a = vld1q_u8(p), b = vld1q_u8(p + 64);
    /* byte 2 quarter of groups g and g + 1 has the bits of rows 0 and 1, the next one those of rows 2 and 3 */
    const uint8_t spread[16] = {0, 0, 0, 0, 8, 8, 8, 8, 0, 0, 0, 0, 8, 8, 8, 8};
    const uint8_t bits[16] = {1, 2, 4, 8, 1, 2, 4, 8, 16, 32, 64, 128, 16, 32, 64, 128};
    for (int i = 0; i < 2; i++) {
        uint8x16_t v = zip_words(a, b, i);
        if (kind != SM_QW8)
            v = g < 4 ? vandq_u8(v, vdupq_n_u8(15)) : vshrq_n_u8(v, 4);
        uint8x16_t idx = vaddq_u8(vld1q_u8(spread), vdupq_n_u8((uint8_t)(2 * quarter + i))), bit = vld1q_u8(bits);
        if (kind == SM_QW5 || kind == SM_QW6)
            v = vorrq_u8(v, plane_bits(vld1q_u8(block + 256 + 8 * g), idx, bit, 16));
        if (kind == SM_QW6)
            v = vorrq_u8(v, plane_bits(vld1q_u8(block + 320 + 8 * g), idx, bit, 32));
        out[i] = v;
    }
}

#define GROUP(lane)                                                                                                    \
    for (int i = 0; i < nq; i++)                                                                                       \
        acc[i] = vusdotq_laneq_s32(acc[i], codes_at(block, g + lane, p.quarter + i, kind), x, lane);

ALWAYS void one_row_sums(const uint8_t *block, part p, int b, int g0, int g1, sm_qw_kind kind, int32x4_t *acc) {
    const int nq = p.n_quarters;
    for (int i = 0; i < nq; i++)
        acc[i] = vdupq_n_s32(0);
    for (int g = g0; g < g1; g += 4) {
        int8x16_t x = vld1q_s8((const int8_t *)p.x + 32 * b + 4 * g);
        GROUP(0)
        GROUP(1)
        GROUP(2)
        GROUP(3)
    }
}

ALWAYS void block_sums(const uint8_t *block, part p, int b, int g0, int g1, sm_qw_kind kind, int32x4_t *acc) {
    const int nq = p.n_quarters, pairs = p.rows / 2;
    if (p.rows == 1) {
        one_row_sums(block, p, b, g0, g1, kind, acc);
        return;
    }
    /* of row pair i and quarter q: weight rows 0, 1 and 2, 3 */
    int32x4_t m[SUMS_MAX / 2][2];
    for (int i = 0; i < pairs * nq; i++)
        m[i][0] = m[i][1] = vdupq_n_s32(0);
    for (int g = g0; g < g1; g += 2) {
        int8x16_t x[4];
        for (int i = 0; i < pairs; i++) {
            const int8_t *row = (const int8_t *)p.x + (size_t)(2 * i) * p.ldx + 32 * b + 4 * (g & 4);
            x[i] = pair_halves(vld1q_s8(row), vld1q_s8(row + p.ldx), g & 2);
        }
        for (int q = 0; q < nq; q++) {
            uint8x16_t codes[2];
            codes_pair(block, g, p.quarter + q, kind, codes);
            for (int i = 0; i < pairs; i++)
                for (int h = 0; h < 2; h++)
                    m[i * nq + q][h] = vusmmlaq_s32(m[i * nq + q][h], codes[h], x[i]);
        }
    }
    for (int i = 0; i < pairs; i++)
        for (int q = 0; q < nq; q++) {
            acc[(2 * i) * nq + q] = vuzp1q_s32(m[i * nq + q][0], m[i * nq + q][1]);
            acc[(2 * i + 1) * nq + q] = vuzp2q_s32(m[i * nq + q][0], m[i * nq + q][1]);
        }
}

ALWAYS void tile(const sm_qw *w, const uint8_t *t, const uint8_t *x, size_t ldx, int rows, float *out, size_t ldo,
                 int lanes, sm_qw_kind kind, bool sub16, bool has_min) {
    int r = 0;
    for (; r + 8 <= rows; r += 8, x += 8 * ldx, out += 8 * ldo)
        tile_rows(w, t, x, ldx, out, ldo, lanes, kind, sub16, has_min, 8, 2);
    if (r + 4 <= rows) {
        tile_rows(w, t, x, ldx, out, ldo, lanes, kind, sub16, has_min, 4, 4);
        r += 4, x += 4 * ldx, out += 4 * ldo;
    }
    if (r + 2 <= rows) {
        tile_rows(w, t, x, ldx, out, ldo, lanes, kind, sub16, has_min, 2, 4);
        r += 2, x += 2 * ldx, out += 2 * ldo;
    }
    if (r < rows)
        tile_rows(w, t, x, ldx, out, ldo, lanes, kind, sub16, has_min, 1, 4);
}

static void qgemm_w4_i8mm(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                          size_t ldo) {
    gemm_kind(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW4);
}

static void qgemm_w5_i8mm(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                          size_t ldo) {
    gemm_kind(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW5);
}

static void qgemm_w6_i8mm(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                          size_t ldo) {
    gemm_kind(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW6);
}

static void qgemm_w8_i8mm(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                          size_t ldo) {
    gemm_kind(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW8);
}

static void qgemm_lut4_i8mm(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                            size_t ldo) {
    gemm_lut(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW4);
}

static void qgemm_lut6_i8mm(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                            size_t ldo) {
    gemm_lut(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW6);
}

static void qgemm_lut8_i8mm(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                            size_t ldo) {
    gemm_lut(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW8);
}

void sm_qgemm_init_i8mm(sm_kernels *k) {
    k->qgemm[SM_QW4] = qgemm_w4_i8mm;
    k->qgemm[SM_QW5] = qgemm_w5_i8mm;
    k->qgemm[SM_QW6] = qgemm_w6_i8mm;
    k->qgemm[SM_QW8] = qgemm_w8_i8mm;
    k->qgemm_lut[SM_QW4] = qgemm_lut4_i8mm;
    k->qgemm_lut[SM_QW6] = qgemm_lut6_i8mm;
    k->qgemm_lut[SM_QW8] = qgemm_lut8_i8mm;
}
