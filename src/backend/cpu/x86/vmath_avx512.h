/* SPDX-License-Identifier: MIT
 *
 * vmath_avx512.h: e^x and what is made of it, 16 lanes.
 *
 * e^x = 2^n e^r with n = round(x / ln 2), |r| <= ln(2) / 2, e^r = 1 + r + r^2 P(r), P of degree 4 interpolated at
 * Chebyshev nodes: relative error 1e-8 before rounding.  ln 2 is split so that n * (its high part) is exact.  Arguments
 * are clamped to where the result is 0 or infinity anyway; NaN stays NaN.
 */
#ifndef SM_VMATH_AVX512_H
#define SM_VMATH_AVX512_H

#ifdef __AVX512DQ__ /* else empty: headers compile alone, without these flags */
#include <immintrin.h>

static inline __m512 exp_16(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(-110.0f), _mm512_min_ps(_mm512_set1_ps(90.0f), x));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504089f)), 8);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693145751953125f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(1.42860682030942e-6f), r);
    __m512 p = _mm512_set1_ps(0.0013926176120140237f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.008363173074517234f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.04166655466204811f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.16666577025597942f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_add_ps(_mm512_fmadd_ps(_mm512_mul_ps(r, r), p, r), _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

/* x / (1 + e^-z) */
static inline __m512 gated_16(__m512 x, __m512 z) {
    __m512 e = exp_16(_mm512_sub_ps(_mm512_setzero_ps(), z));
    return _mm512_div_ps(x, _mm512_add_ps(e, _mm512_set1_ps(1.0f)));
}

/* 1 - 2 / (e^2x + 1): absolute error of an ulp of 1 */
static inline __m512 tanh_16(__m512 x) {
    __m512 e = exp_16(_mm512_add_ps(x, x)), one = _mm512_set1_ps(1.0f);
    return _mm512_sub_ps(one, _mm512_div_ps(_mm512_set1_ps(2.0f), _mm512_add_ps(e, one)));
}

#endif
#endif
