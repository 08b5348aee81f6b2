/* SPDX-License-Identifier: MIT
 *
 * qgemm_avx512.c: integer products without VNNI; quantizing a row.
 *
 * VPMADDUBSW adds two products in 16 bits with saturation.  Codes of up to 6 bits cannot reach it (2 * 63 * 127); 8-bit
 * codes are made signed and their sign moved to the other operand (2 * 128 * 127 still fits).
 */
#include "backend/cpu/x86/qgemm_avx512_int.h"

ALWAYS __m512i dot(__m512i acc, __m512i codes, __m512i bytes, sm_qw_kind kind) {
    if (kind == SM_QW8) {
        codes = _mm512_xor_si512(codes, _mm512_set1_epi8(-128));
        bytes = _mm512_mask_sub_epi8(bytes, _mm512_movepi8_mask(codes), _mm512_setzero_si512(), bytes);
        codes = _mm512_abs_epi8(codes);
    }
    __m512i pairs = _mm512_maddubs_epi16(codes, bytes);
    return _mm512_add_epi32(acc, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}

/* The dot of 8 bits has taken 128 off each code already. */
ALWAYS __m512i start(int32_t nsum, __m512i is_signed, sm_qw_kind kind) {
    __m512i ns = _mm512_set1_epi32(nsum);
    if (kind == SM_QW8)
        return _mm512_andnot_si512(is_signed, _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(ns, 7)));
    return _mm512_and_si512(_mm512_slli_epi32(ns, (unsigned)(3 + (int)kind)), is_signed);
}

static void quantize_avx512(const float *x, int k, uint8_t *row) {
    int nb = sm_qrow_blocks(k);
    float *d = (float *)(void *)(row + (size_t)nb * 32);
    int32_t *nsum = (int32_t *)(void *)(d + nb), *nsum16 = nsum + nb;
    for (int b = 0; b < nb; b++, x += SM_QBLOCK) {
        int left = k - b * SM_QBLOCK;
        __mmask16 m0 = left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
        __mmask16 m1 = left >= 32 ? 0xffff : left <= 16 ? 0 : (__mmask16)((1u << (left - 16)) - 1);
        __m512 x0 = _mm512_maskz_loadu_ps(m0, x), x1 = _mm512_maskz_loadu_ps(m1, x + 16);
        float most = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(x0), _mm512_abs_ps(x1)));
        __m512 inv = _mm512_set1_ps(most > 0.0f ? 127.0f / most : 0.0f);
        __m512i q0 = _mm512_cvtps_epi32(_mm512_mul_ps(x0, inv)), q1 = _mm512_cvtps_epi32(_mm512_mul_ps(x1, inv));
        int32_t s0 = _mm512_reduce_add_epi32(q0), s1 = _mm512_reduce_add_epi32(q1);
        _mm_storeu_si128((void *)(row + 32 * b), _mm512_cvtepi32_epi8(q0));
        _mm_storeu_si128((void *)(row + 32 * b + 16), _mm512_cvtepi32_epi8(q1));
        d[b] = most / 127.0f;
        nsum16[2 * b] = -s0;
        nsum16[2 * b + 1] = -s1;
        nsum[b] = -s0 - s1;
    }
}

static void qgemm_w4_avx512(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                            size_t ldo) {
    gemm_kind(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW4);
}

static void qgemm_w5_avx512(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                            size_t ldo) {
    gemm_kind(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW5);
}

static void qgemm_w6_avx512(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                            size_t ldo) {
    gemm_kind(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW6);
}

static void qgemm_w8_avx512(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                            size_t ldo) {
    gemm_kind(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW8);
}

static void qgemm_lut4_avx512(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                              size_t ldo) {
    gemm_lut(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW4);
}

static void qgemm_lut6_avx512(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                              size_t ldo) {
    gemm_lut(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW6);
}

static void qgemm_lut8_avx512(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                              size_t ldo) {
    gemm_lut(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW8);
}

void sm_qgemm_init_avx512(sm_kernels *k) {
    k->qgemm[SM_QW4] = qgemm_w4_avx512;
    k->qgemm[SM_QW5] = qgemm_w5_avx512;
    k->qgemm[SM_QW6] = qgemm_w6_avx512;
    k->qgemm[SM_QW8] = qgemm_w8_avx512;
    k->qgemm_lut[SM_QW4] = qgemm_lut4_avx512;
    k->qgemm_lut[SM_QW6] = qgemm_lut6_avx512;
    k->qgemm_lut[SM_QW8] = qgemm_lut8_avx512;
    k->quantize = quantize_avx512;
}
