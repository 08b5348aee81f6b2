/* SPDX-License-Identifier: MIT
 *
 * peak_c.c: the loops of peak.h in plain C, as the compiler vectorizes it for any machine of this architecture.
 */
#include <string.h>

#include "backend/cpu/peak.h"

enum { LANES = 64 };

/* Makes the compiler believe that memory changed: nothing moves out of the loop. */
#define KEEP() __asm__ volatile("" ::: "memory")

static uint64_t read_c(const uint8_t *p, size_t n) {
    uint64_t sum[8] = {0}, all = 0;
    for (size_t i = 0; i < n; i += 64) {
        uint64_t w[8];
        memcpy(w, p + i, 64);
        for (int k = 0; k < 8; k++)
            sum[k] ^= w[k];
    }
    for (int k = 0; k < 8; k++)
        all ^= sum[k];
    return all;
}

static double int8_c(long rounds, int32_t *sink) {
    int8_t a[LANES], b[LANES];
    int32_t sum[LANES] = {0};
    for (int i = 0; i < LANES; i++)
        a[i] = (int8_t)i, b[i] = (int8_t)(i - 32);
    for (long r = 0; r < rounds; r++) {
        KEEP();
        for (int i = 0; i < LANES; i++)
            sum[i] += (int32_t)a[i] * b[i];
    }
    *sink = sum[0];
    for (int i = 1; i < LANES; i++)
        *sink ^= sum[i];
    return 2.0 * LANES * (double)rounds;
}

static double f32_c(long rounds, float *sink) {
    float sum[LANES];
    for (int i = 0; i < LANES; i++)
        sum[i] = (float)i;
    for (long r = 0; r < rounds; r++)
        for (int i = 0; i < LANES; i++)
            sum[i] = sum[i] * 0.999f + 0.001f;
    *sink = 0.0f;
    for (int i = 0; i < LANES; i++)
        *sink += sum[i];
    return 2.0 * LANES * (double)rounds;
}

void sm_peak_init_c(sm_peak_loops *l) {
    *l = (sm_peak_loops){.int8_isa = "c", .f32_isa = "c", .read = read_c, .int8 = int8_c, .f32 = f32_c};
}
