/* SPDX-License-Identifier: MIT
 *
 * affine_avx512.h: the vectors of affine_lanes.h in AVX-512, 16 lanes, with VNNI where the compiler may use it.
 */
#ifndef SM_AFFINE_AVX512_H
#define SM_AFFINE_AVX512_H

#ifdef __AVX512BW__ /* else empty: headers compile alone, without flags too */
#include <immintrin.h>

#include "base/mem.h"

#define LANES 16

typedef __m512 vf;
typedef __m512i vi, vs, sums;

#define vf_load(p) _mm512_loadu_ps(p)
#define vf_store(p, v) _mm512_storeu_ps(p, v)
#define vf_set _mm512_set1_ps
#define vf_mul _mm512_mul_ps
#define vf_add _mm512_add_ps
#define vf_sub _mm512_sub_ps
#define vf_min _mm512_min_ps
#define vf_max _mm512_max_ps
#define vf_nearest(v) _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define vf_taint(x, a) _mm512_fmadd_ps(x, _mm512_setzero_ps(), a)
#define vi_of _mm512_cvtps_epi32
#define vi_add _mm512_add_epi32
#define vi_set _mm512_set1_epi32
#define vs_pair(a, b) _mm512_mask_blend_epi16(0xAAAAAAAAu, a, _mm512_slli_epi32(b, 16))
#define vs_load(p) _mm512_loadu_si512(p)
#define vs_store(p, v) _mm512_storeu_si512(p, v)
#define vs_set _mm512_set1_epi16
#define vs_min _mm512_min_epi16
#define vs_max _mm512_max_epi16
#define vs_product _mm512_mulhrs_epi16
#define sums_zero _mm512_setzero_si512
#if defined(__AVX512VNNI__)
#define sums_add _mm512_dpwssd_epi32
#else
#define sums_add(s, a, b) _mm512_add_epi32(s, _mm512_madd_epi16(a, b))
#endif
#define sums_lanes(s, out) _mm512_storeu_si512(out, s)

static inline int64_t sums_total(sums s) {
    __m512i a = _mm512_cvtepi32_epi64(_mm512_castsi512_si256(s));
    return _mm512_reduce_add_epi64(_mm512_add_epi64(a, _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(s, 1))));
}

static inline vf vf_quad(const float *x, size_t stride) {
    vf v = _mm512_castps128_ps512(_mm_loadu_ps(x));
    v = _mm512_insertf32x4(v, _mm_loadu_ps(x + 4 * stride), 1);
    v = _mm512_insertf32x4(v, _mm_loadu_ps(x + 8 * stride), 2);
    return _mm512_insertf32x4(v, _mm_loadu_ps(x + 12 * stride), 3);
}

static inline void vf_turn(vf v[4]) {
    __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(v[0], v[1])), b = _mm512_castps_pd(_mm512_unpackhi_ps(v[0], v[1]));
    __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(v[2], v[3])), d = _mm512_castps_pd(_mm512_unpackhi_ps(v[2], v[3]));
    v[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
    v[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
    v[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
    v[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
}

static inline void put8(uint8_t *out, const vi *q) {
    _mm_storeu_si128((__m128i *)out, _mm512_cvtepi32_epi8(q[0]));
}

static inline void put4(uint8_t *out, const vi *q) {
    vi h = _mm512_and_si512(q[0], _mm512_set1_epi32(15));
    _mm_storel_epi64((__m128i *)out, _mm512_cvtepi64_epi8(_mm512_or_si512(h, _mm512_srli_epi64(h, 28))));
}

static inline float sum_16(const vf *f) {
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(f[0]), _mm512_extractf32x8_ps(f[0], 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

#endif
#endif
