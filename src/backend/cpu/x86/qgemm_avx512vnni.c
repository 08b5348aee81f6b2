/* SPDX-License-Identifier: MIT
 *
 * qgemm_avx512vnni.c: integer products with VPDPBUSD: four products and their sum into 32 bits in one instruction.
 */
#include "backend/cpu/x86/qgemm_avx512_int.h"

ALWAYS __m512i dot(__m512i acc, __m512i codes, __m512i bytes, sm_qw_kind kind) {
    (void)kind;
    return _mm512_dpbusd_epi32(acc, codes, bytes);
}

ALWAYS __m512i start(int32_t nsum, __m512i is_signed, sm_qw_kind kind) {
    int bits = kind == SM_QW8 ? 8 : 4 + (int)kind;
    return _mm512_and_si512(_mm512_slli_epi32(_mm512_set1_epi32(nsum), (unsigned)(bits - 1)), is_signed);
}

static void qgemm_w4_avx512vnni(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows,
                                float *out, size_t ldo) {
    gemm_kind(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW4);
}

static void qgemm_w5_avx512vnni(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows,
                                float *out, size_t ldo) {
    gemm_kind(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW5);
}

static void qgemm_w6_avx512vnni(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows,
                                float *out, size_t ldo) {
    gemm_kind(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW6);
}

static void qgemm_w8_avx512vnni(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows,
                                float *out, size_t ldo) {
    gemm_kind(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW8);
}

static void qgemm_lut4_avx512vnni(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows,
                                  float *out, size_t ldo) {
    gemm_lut(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW4);
}

static void qgemm_lut6_avx512vnni(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows,
                                  float *out, size_t ldo) {
    gemm_lut(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW6);
}

static void qgemm_lut8_avx512vnni(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows,
                                  float *out, size_t ldo) {
    gemm_lut(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW8);
}

void sm_qgemm_init_avx512vnni(sm_kernels *k) {
    k->qgemm[SM_QW4] = qgemm_w4_avx512vnni;
    k->qgemm[SM_QW5] = qgemm_w5_avx512vnni;
    k->qgemm[SM_QW6] = qgemm_w6_avx512vnni;
    k->qgemm[SM_QW8] = qgemm_w8_avx512vnni;
    k->qgemm_lut[SM_QW4] = qgemm_lut4_avx512vnni;
    k->qgemm_lut[SM_QW6] = qgemm_lut6_avx512vnni;
    k->qgemm_lut[SM_QW8] = qgemm_lut8_avx512vnni;
}
