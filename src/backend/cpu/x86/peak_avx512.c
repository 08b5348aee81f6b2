/* SPDX-License-Identifier: MIT
 *
 * peak_avx512.c: the loops of peak.h with AVX-512, without VNNI's dot product.
 */
#include <immintrin.h>

#include "backend/cpu/peak.h"

enum { SUMS = 16 };

#define FRESH(v) __asm__ volatile("" : "+v"(v))

static uint64_t read_avx512(const uint8_t *p, size_t n) {
    __m512i s[8];
    for (int k = 0; k < 8; k++)
        s[k] = _mm512_setzero_si512();
    for (size_t i = 0; i < n; i += 512)
        for (int k = 0; k < 8; k++)
            s[k] = _mm512_xor_si512(s[k], _mm512_load_si512(p + i + 64 * k));
    for (int k = 1; k < 8; k++)
        s[0] = _mm512_xor_si512(s[0], s[k]);
    uint64_t words[8], all = 0;
    _mm512_storeu_si512(words, s[0]);
    for (int k = 0; k < 8; k++)
        all ^= words[k];
    return all;
}

static double int8_avx512(long rounds, int32_t *sink) {
    __m512i s[SUMS], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-5), one = _mm512_set1_epi16(1);
    for (int k = 0; k < SUMS; k++)
        s[k] = _mm512_setzero_si512();
    for (long r = 0; r < rounds; r++)
        for (int k = 0; k < SUMS; k++) {
            FRESH(b);
            s[k] = _mm512_add_epi32(s[k], _mm512_madd_epi16(_mm512_maddubs_epi16(a, b), one));
        }
    for (int k = 1; k < SUMS; k++)
        s[0] = _mm512_xor_si512(s[0], s[k]);
    *sink = _mm512_reduce_add_epi32(s[0]);
    return 2.0 * 64 * SUMS * (double)rounds;
}

static double f32_avx512(long rounds, float *sink) {
    __m512 s[SUMS], x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(0.001f);
    for (int k = 0; k < SUMS; k++)
        s[k] = _mm512_set1_ps((float)k);
    for (long r = 0; r < rounds; r++)
        for (int k = 0; k < SUMS; k++)
            s[k] = _mm512_fmadd_ps(s[k], x, y);
    for (int k = 1; k < SUMS; k++)
        s[0] = _mm512_add_ps(s[0], s[k]);
    *sink = _mm512_reduce_add_ps(s[0]);
    return 2.0 * 16 * SUMS * (double)rounds;
}

void sm_peak_init_avx512(sm_peak_loops *l) {
    *l = (sm_peak_loops){
        .int8_isa = "avx512", .f32_isa = "avx512", .read = read_avx512, .int8 = int8_avx512, .f32 = f32_avx512};
}
