/* SPDX-License-Identifier: MIT
 *
 * affine_avx2.c: affine_blocks.h for AVX2, 8 blocks side by side.
 */
#include <immintrin.h>

#include "base/mem.h"

#define LANES 8

typedef __m256 vf;
typedef __m256i vi, vs, sums;

#define vf_load(p) _mm256_loadu_ps(p)
#define vf_store(p, v) _mm256_storeu_ps(p, v)
#define vf_set _mm256_set1_ps
#define vf_mul _mm256_mul_ps
#define vf_add _mm256_add_ps
#define vf_sub _mm256_sub_ps
#define vf_min _mm256_min_ps
#define vf_max _mm256_max_ps
#define vf_nearest(v) _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define vf_taint(x, a) _mm256_fmadd_ps(x, _mm256_setzero_ps(), a)
#define vi_of _mm256_cvtps_epi32
#define vi_add _mm256_add_epi32
#define vi_set _mm256_set1_epi32
#define vs_pair(a, b) _mm256_blend_epi16(a, _mm256_slli_epi32(b, 16), 0xAA)
#define vs_load(p) _mm256_loadu_si256((const __m256i *)(p))
#define vs_store(p, v) _mm256_storeu_si256((__m256i *)(p), v)
#define vs_set _mm256_set1_epi16
#define vs_min _mm256_min_epi16
#define vs_max _mm256_max_epi16
#define vs_product _mm256_mulhrs_epi16
#define sums_zero _mm256_setzero_si256
#define sums_add(s, a, b) _mm256_add_epi32(s, _mm256_madd_epi16(a, b))
#define sums_lanes(s, out) _mm256_storeu_si256((__m256i *)(out), s)

static inline int64_t sums_total(sums s) {
    __m256i a = _mm256_cvtepi32_epi64(_mm256_castsi256_si128(s));
    a = _mm256_add_epi64(a, _mm256_cvtepi32_epi64(_mm256_extracti128_si256(s, 1)));
    __m128i b = _mm_add_epi64(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    return _mm_cvtsi128_si64(b) + _mm_extract_epi64(b, 1);
}

static inline vf vf_quad(const float *x, size_t stride) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(x)), _mm_loadu_ps(x + 4 * stride), 1);
}

static inline void vf_turn(vf v[4]) {
    __m256d a = _mm256_castps_pd(_mm256_unpacklo_ps(v[0], v[1])), b = _mm256_castps_pd(_mm256_unpackhi_ps(v[0], v[1]));
    __m256d c = _mm256_castps_pd(_mm256_unpacklo_ps(v[2], v[3])), d = _mm256_castps_pd(_mm256_unpackhi_ps(v[2], v[3]));
    v[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, c));
    v[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, c));
    v[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(b, d));
    v[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(b, d));
}

/* The low bytes of 16 codes that `mask` leaves. */
static inline __m128i bytes_of(const vi *q, int mask) {
    __m256i m = _mm256_set1_epi32(mask);
    __m256i w = _mm256_packus_epi32(_mm256_and_si256(q[0], m), _mm256_and_si256(q[1], m));
    w = _mm256_permute4x64_epi64(w, 0xD8);
    return _mm_packus_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
}

static inline void put8(uint8_t *out, const vi *q) {
    _mm_storeu_si128((__m128i *)out, bytes_of(q, 255));
}

static inline void put4(uint8_t *out, const vi *q) {
    __m128i w = _mm_maddubs_epi16(bytes_of(q, 15), _mm_set1_epi16(0x1001));
    _mm_storel_epi64((__m128i *)out, _mm_packus_epi16(w, w));
}

static inline float sum_16(const vf *f) {
    __m256 a = _mm256_add_ps(f[0], f[1]);
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

#include "tensor/affine_lanes.h"

const sm_block_loops sm_block_loops_avx2 = {"avx2", fit_vectors, codes8_vectors, codes4_vectors};
