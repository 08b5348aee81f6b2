/* SPDX-License-Identifier: MIT
 *
 * peak_arm_int.h: the integer loop of peak.h around one instruction that multiplies bytes and sums in four lanes.
 *
 *     PEAK_LOOP(dotprod, vdotq_s32, 16)     defines sm_peak_init_dotprod; 16 products in each vdotq_s32
 *
 * Twenty sums: more than an instruction's latency times the units that take it, on every core known.  Unrolled by name,
 * since compilers stop before that by themselves, and sums in an array would lie in memory.
 */
#ifndef SM_PEAK_ARM_INT_H
#define SM_PEAK_ARM_INT_H

#ifdef __ARM_NEON /* else empty: headers compile alone, on other machines too */
#include <arm_neon.h>

#include "backend/cpu/peak.h"

enum { PEAK_SUMS = 20 };
#define UNROLL _Pragma("GCC unroll 20")

#define PEAK_LOOP(set, instruction, products)                                                                          \
    static double int8_##set(long rounds, int32_t *sink) {                                                             \
        int32x4_t s[PEAK_SUMS];                                                                                        \
        int8x16_t a = vdupq_n_s8(3), b = vdupq_n_s8(-5);                                                               \
        UNROLL for (int k = 0; k < PEAK_SUMS; k++) s[k] = vdupq_n_s32(k);                                              \
        for (long r = 0; r < rounds; r++) {                                                                            \
            __asm__ volatile("" : "+w"(b)); /* not known any more: multiplied again each time */                       \
            UNROLL for (int k = 0; k < PEAK_SUMS; k++) s[k] = instruction(s[k], a, b);                                 \
        }                                                                                                              \
        UNROLL for (int k = 1; k < PEAK_SUMS; k++) s[0] = veorq_s32(s[0], s[k]);                                       \
        *sink = vgetq_lane_s32(s[0], 0);                                                                               \
        return 2.0 * (products)*PEAK_SUMS * (double)rounds;                                                            \
    }                                                                                                                  \
                                                                                                                       \
    void sm_peak_init_##set(sm_peak_loops *l) {                                                                        \
        l->int8_isa = #set;                                                                                            \
        l->int8 = int8_##set;                                                                                          \
    }

#endif
#endif
