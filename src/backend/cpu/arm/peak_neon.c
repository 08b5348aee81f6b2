/* SPDX-License-Identifier: MIT
 *
 * peak_neon.c: the loops of peak.h on ARMv8.0: 8 byte products and their sums an instruction, as the kernels do them.
 */
#include <arm_neon.h>

#include "backend/cpu/peak.h"

enum { SUMS_I = 16, SUMS_F = 20 };

/* A register whose value the compiler no longer knows: what is made from it is made again each time. */
#define FRESH(v) __asm__ volatile("" : "+w"(v))

static uint64_t read_neon(const uint8_t *p, size_t n) {
    uint64x2_t s[8];
    for (int k = 0; k < 8; k++)
        s[k] = vdupq_n_u64(0);
    for (size_t i = 0; i < n; i += 128)
        for (int k = 0; k < 8; k++)
            s[k] = veorq_u64(s[k], vld1q_u64((const uint64_t *)(const void *)(p + i + 16 * k)));
    for (int k = 1; k < 8; k++)
        s[0] = veorq_u64(s[0], s[k]);
    return vgetq_lane_u64(s[0], 0) ^ vgetq_lane_u64(s[0], 1);
}

static double int8_neon(long rounds, int32_t *sink) {
    int16x8_t s[SUMS_I];
    int8x8_t a = vdup_n_s8(3), b = vdup_n_s8(-5);
    for (int k = 0; k < SUMS_I; k++)
        s[k] = vdupq_n_s16((int16_t)k);
    for (long r = 0; r < rounds; r++) {
        FRESH(b);
        for (int k = 0; k < SUMS_I; k++)
            s[k] = vmlal_s8(s[k], a, b);
    }
    for (int k = 1; k < SUMS_I; k++)
        s[0] = veorq_s16(s[0], s[k]);
    *sink = vgetq_lane_s16(s[0], 0);
    return 2.0 * 8 * SUMS_I * (double)rounds;
}

static double f32_neon(long rounds, float *sink) {
    float32x4_t s[SUMS_F], x = vdupq_n_f32(0.999f), y = vdupq_n_f32(0.001f);
#pragma GCC unroll 20
    for (int k = 0; k < SUMS_F; k++)
        s[k] = vdupq_n_f32((float)k);
    for (long r = 0; r < rounds; r++) {
        FRESH(x);
#pragma GCC unroll 20
        for (int k = 0; k < SUMS_F;
             k++) /* compilers stop before twenty by themselves, and the sums would lie in memory */
            s[k] = vfmaq_f32(s[k], x, y);
    }
#pragma GCC unroll 20
    for (int k = 1; k < SUMS_F; k++)
        s[0] = vminq_f32(s[0], s[k]);
    *sink = 1.0f + vgetq_lane_f32(s[0], 0);
    return 2.0 * 4 * SUMS_F * (double)rounds;
}

void sm_peak_init_neon(sm_peak_loops *l) {
    *l = (sm_peak_loops){.int8_isa = "neon", .f32_isa = "neon", .read = read_neon, .int8 = int8_neon, .f32 = f32_neon};
}
