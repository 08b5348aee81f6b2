/* SPDX-License-Identifier: MIT
 *
 * affine_avx512.c: affine_blocks.h for AVX-512, 16 blocks side by side.
 */
#include <immintrin.h>

#include "base/mem.h"

enum { LANES = 16 };

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
#define sums_add(s, a, b) _mm512_add_epi32(s, _mm512_madd_epi16(a, b))
#define sums_lanes(s, out) _mm512_storeu_si512(out, s)

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

#include "tensor/affine_lanes.h"

const sm_block_loops sm_block_loops_avx512 = {"avx512", fit_vectors, codes8_vectors, codes4_vectors};
