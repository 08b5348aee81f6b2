/* SPDX-License-Identifier: MIT
 *
 * qgemm_dotprod.c: integer products with SDOT: for 4 weight rows, four products each and their sum into 32 bits.
 *
 * One register of a row's bytes serves four column groups, chosen by lane.  8-bit codes are made signed first; narrower
 * ones are non-negative signed bytes already.
 */
#include "backend/cpu/arm/qgemm_neon_int.h"

/* 8-bit codes have lost 128 already. */
ALWAYS int32_t start(int32_t nsum, bool is_signed, sm_qw_kind kind) {
    if (kind == SM_QW8)
        return is_signed ? 0 : -nsum * 128;
    return is_signed ? nsum * (8 << (int)kind) : 0;
}

ALWAYS int8x16_t signed_codes(const uint8_t *block, int g, int quarter, sm_qw_kind kind) {
    uint8x16_t u = codes_at(block, g, quarter, kind);
    return vreinterpretq_s8_u8(kind == SM_QW8 ? veorq_u8(u, vdupq_n_u8(128)) : u);
}

/* The lane of a register is part of the instruction. */
#define GROUP(lane)                                                                                                    \
    for (int i = 0; i < nq; i++) {                                                                                     \
        int8x16_t codes = signed_codes(block, g + lane, p.quarter + i, kind);                                          \
        for (int r = 0; r < p.rows; r++)                                                                               \
            acc[r * nq + i] = vdotq_laneq_s32(acc[r * nq + i], codes, x[r], lane);                                     \
    }

ALWAYS void block_sums(const uint8_t *block, part p, int b, int g0, int g1, sm_qw_kind kind, int32x4_t *acc) {
    const int nq = p.n_quarters;
    for (int i = 0; i < p.rows * nq; i++)
        acc[i] = vdupq_n_s32(0);
    for (int g = g0; g < g1; g += 4) {
        int8x16_t x[8];
        for (int r = 0; r < p.rows; r++)
            x[r] = vld1q_s8((const int8_t *)p.x + (size_t)r * p.ldx + 32 * b + 4 * g);
        GROUP(0)
        GROUP(1)
        GROUP(2)
        GROUP(3)
    }
}

ALWAYS void tile(const sm_qw *w, const uint8_t *t, const uint8_t *x, size_t ldx, int rows, float *out, size_t ldo,
                 int lanes, sm_qw_kind kind, bool sub16, bool has_min) {
    int r = 0;
    for (; r + 4 <= rows; r += 4, x += 4 * ldx, out += 4 * ldo)
        tile_rows(w, t, x, ldx, out, ldo, lanes, kind, sub16, has_min, 4, 4);
    if (r + 2 <= rows) {
        tile_rows(w, t, x, ldx, out, ldo, lanes, kind, sub16, has_min, 2, 4);
        r += 2, x += 2 * ldx, out += 2 * ldo;
    }
    if (r < rows)
        tile_rows(w, t, x, ldx, out, ldo, lanes, kind, sub16, has_min, 1, 4);
}

static void qgemm_w4_dotprod(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                             size_t ldo) {
    gemm_kind(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW4);
}

static void qgemm_w5_dotprod(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                             size_t ldo) {
    gemm_kind(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW5);
}

static void qgemm_w6_dotprod(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                             size_t ldo) {
    gemm_kind(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW6);
}

static void qgemm_w8_dotprod(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                             size_t ldo) {
    gemm_kind(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW8);
}

static void qgemm_lut4_dotprod(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                               size_t ldo) {
    gemm_lut(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW4);
}

static void qgemm_lut6_dotprod(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                               size_t ldo) {
    gemm_lut(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW6);
}

static void qgemm_lut8_dotprod(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                               size_t ldo) {
    gemm_lut(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW8);
}

void sm_qgemm_init_dotprod(sm_kernels *k) {
    k->qgemm[SM_QW4] = qgemm_w4_dotprod;
    k->qgemm[SM_QW5] = qgemm_w5_dotprod;
    k->qgemm[SM_QW6] = qgemm_w6_dotprod;
    k->qgemm[SM_QW8] = qgemm_w8_dotprod;
    k->qgemm_lut[SM_QW4] = qgemm_lut4_dotprod;
    k->qgemm_lut[SM_QW6] = qgemm_lut6_dotprod;
    k->qgemm_lut[SM_QW8] = qgemm_lut8_dotprod;
}
