/* SPDX-License-Identifier: MIT
 *
 * peak_avx2.c: the loops of peak.h with AVX2 and FMA: 32 byte products in three instructions, as the kernels do them.
 */
#include <immintrin.h>

#include "backend/cpu/peak.h"

enum { SUMS_I = 8, SUMS_F = 10 };

/* A register whose value the compiler no longer knows: what is made from it is made again each time. */
#define FRESH(v) __asm__ volatile("" : "+x"(v))

static uint64_t read_avx2(const uint8_t *p, size_t n) {
    __m256i s[8];
    for (int k = 0; k < 8; k++)
        s[k] = _mm256_setzero_si256();
    for (size_t i = 0; i < n; i += 256)
        for (int k = 0; k < 8; k++)
            s[k] = _mm256_xor_si256(s[k], _mm256_load_si256((const __m256i *)(const void *)(p + i + 32 * k)));
    for (int k = 1; k < 8; k++)
        s[0] = _mm256_xor_si256(s[0], s[k]);
    return (uint64_t)(_mm256_extract_epi64(s[0], 0) ^ _mm256_extract_epi64(s[0], 1) ^ _mm256_extract_epi64(s[0], 2) ^
                      _mm256_extract_epi64(s[0], 3));
}

static double int8_avx2(long rounds, int32_t *sink) {
    __m256i s[SUMS_I], a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(-5), one = _mm256_set1_epi16(1);
    for (int k = 0; k < SUMS_I; k++)
        s[k] = _mm256_setzero_si256();
    for (long r = 0; r < rounds; r++)
        for (int k = 0; k < SUMS_I; k++) {
            FRESH(b);
            s[k] = _mm256_add_epi32(s[k], _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), one));
        }
    for (int k = 1; k < SUMS_I; k++)
        s[0] = _mm256_xor_si256(s[0], s[k]);
    *sink = _mm256_extract_epi32(s[0], 0);
    return 2.0 * 32 * SUMS_I * (double)rounds;
}

static double f32_avx2(long rounds, float *sink) {
    __m256 s[SUMS_F], x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(0.001f);
    for (int k = 0; k < SUMS_F; k++)
        s[k] = _mm256_set1_ps((float)k);
    for (long r = 0; r < rounds; r++)
        for (int k = 0; k < SUMS_F; k++)
            s[k] = _mm256_fmadd_ps(s[k], x, y);
    for (int k = 1; k < SUMS_F; k++)
        s[0] = _mm256_add_ps(s[0], s[k]);
    *sink = _mm256_cvtss_f32(s[0]);
    return 2.0 * 8 * SUMS_F * (double)rounds;
}

void sm_peak_init_avx2(sm_peak_loops *l) {
    *l = (sm_peak_loops){.int8_isa = "avx2", .f32_isa = "avx2", .read = read_avx2, .int8 = int8_avx2, .f32 = f32_avx2};
}
