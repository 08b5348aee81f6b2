/* SPDX-License-Identifier: MIT
 *
 * peak_avx512vnni.c: the integer loop of peak.h with VPDPBUSD: 64 products and their sums in one instruction.
 */
#include <immintrin.h>

#include "backend/cpu/peak.h"

enum { SUMS = 16 };

static double int8_avx512vnni(long rounds, int32_t *sink) {
    __m512i s[SUMS], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-5);
    for (int k = 0; k < SUMS; k++)
        s[k] = _mm512_set1_epi32(k);
    for (long r = 0; r < rounds; r++)
        for (int k = 0; k < SUMS; k++)
            s[k] = _mm512_dpbusd_epi32(s[k], a, b);
    for (int k = 1; k < SUMS; k++)
        s[0] = _mm512_xor_si512(s[0], s[k]);
    *sink = _mm512_reduce_add_epi32(s[0]);
    return 2.0 * 64 * SUMS * (double)rounds;
}

void sm_peak_init_avx512vnni(sm_peak_loops *l) {
    l->int8_isa = "avx512vnni";
    l->int8 = int8_avx512vnni;
}
