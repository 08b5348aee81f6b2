/* SPDX-License-Identifier: MIT
 *
 * vmath_avx2.h: e^x and what is made of it, 8 lanes.
 *
 * e^x = 2^n e^r with n = round(x / ln 2), |r| <= ln(2) / 2, e^r = 1 + r + r^2 P(r), P of degree 4 interpolated at
 * Chebyshev nodes: relative error 1e-8 before rounding.  ln 2 is split so that n * (its high part) is exact.  Arguments
 * are clamped to where the result is 0 or infinity anyway; NaN stays NaN.
 */
#ifndef SM_VMATH_AVX2_H
#define SM_VMATH_AVX2_H

#ifdef __AVX2__ /* else empty: headers compile alone, without these flags */
#include <immintrin.h>

static inline __m256 exp_8(__m256 x) {
    x = _mm256_max_ps(_mm256_set1_ps(-110.0f), _mm256_min_ps(_mm256_set1_ps(90.0f), x));
    __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504089f)), 8);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693145751953125f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(1.42860682030942e-6f), r);
    __m256 p = _mm256_set1_ps(0.0013926176120140237f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.008363173074517234f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.04166655466204811f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.16666577025597942f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
    p = _mm256_add_ps(_mm256_fmadd_ps(_mm256_mul_ps(r, r), p, r), _mm256_set1_ps(1.0f));
    /* 2^n in two factors: n passes what one exponent holds at both ends. */
    __m256i i = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(i, 1), bias = _mm256_set1_epi32(127);
    __m256i other = _mm256_sub_epi32(i, half);
    p = _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23)));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(other, bias), 23)));
}

/* x / (1 + e^-z) */
static inline __m256 gated_8(__m256 x, __m256 z) {
    __m256 e = exp_8(_mm256_sub_ps(_mm256_setzero_ps(), z));
    return _mm256_div_ps(x, _mm256_add_ps(e, _mm256_set1_ps(1.0f)));
}

/* 1 - 2 / (e^2x + 1): absolute error of an ulp of 1 */
static inline __m256 tanh_8(__m256 x) {
    __m256 e = exp_8(_mm256_add_ps(x, x)), one = _mm256_set1_ps(1.0f);
    return _mm256_sub_ps(one, _mm256_div_ps(_mm256_set1_ps(2.0f), _mm256_add_ps(e, one)));
}

#endif
#endif
