/* SPDX-License-Identifier: MIT
 *
 * peak_dotprod.c: the integer loop of peak.h with SDOT: 16 products and their sums in one instruction.
 */
#include <arm_neon.h>

#include "backend/cpu/peak.h"

enum { SUMS = 20 };

static double int8_dotprod(long rounds, int32_t *sink) {
    int32x4_t s[SUMS];
    int8x16_t a = vdupq_n_s8(3), b = vdupq_n_s8(-5);
    for (int k = 0; k < SUMS; k++)
        s[k] = vdupq_n_s32(k);
    for (long r = 0; r < rounds; r++) {
        __asm__ volatile("" : "+w"(b)); /* not known any more: multiplied again each time */
        for (int k = 0; k < SUMS; k++)
            s[k] = vdotq_s32(s[k], a, b);
    }
    for (int k = 1; k < SUMS; k++)
        s[0] = veorq_s32(s[0], s[k]);
    *sink = vgetq_lane_s32(s[0], 0);
    return 2.0 * 16 * SUMS * (double)rounds;
}

void sm_peak_init_dotprod(sm_peak_loops *l) {
    l->int8_isa = "dotprod";
    l->int8 = int8_dotprod;
}
