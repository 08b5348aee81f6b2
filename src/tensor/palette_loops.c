/* SPDX-License-Identifier: MIT
 *
 * palette_loops.c: bins and codes of weights (palette_loops.h), one body compiled for plain C and for AVX2.
 */
#include "tensor/palette_loops.h"

#include "base/isa.h"
#include "tensor/dtype_int.h"

#define INLINE static inline __attribute__((always_inline))

enum { BLOCK = 64 };

/* Integer arithmetic on 32 bits throughout, so that compilers make vector code of it; rounding as in dtype_int.h. */
INLINE bool bins_of(const float *x, size_t n, float scale, uint32_t *key, int32_t *off) {
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t u = f32_bits(x[i] * scale), mag = u & 0x7FFFFFFF, sign = (uint32_t)((int32_t)u >> 31);
        mag = mag < 0x47800000u ? mag : 0x47800000u; /* 65536: infinite in fp16 */
        uint32_t normal = (mag + 0xFFF + (mag >> 13 & 1)) & ~UINT32_C(0x1FFF);
        uint32_t small = (uint32_t)((int32_t)(mag - 0x38800000u) >> 31); /* all ones below 2^-14 */
        float near_half = f32_of_bits(mag & small) + 0.5f;               /* whole units of 2^-24 */
        uint32_t tiny = f32_bits(near_half - 0.5f);
        uint32_t number = (tiny & small) | (normal & ~small);
        uint32_t half = ((f32_bits(near_half) - 0x3F000000u) & small) | ((normal - (112u << 23)) >> 13 & ~small);
        uint32_t e = half >> 10;
        e = e < 1 ? 1 : e;
        most = normal > most ? normal : most;
        int32_t d = (int32_t)((f32_of_bits(mag) - f32_of_bits(number)) * f32_of_bits((165u - e) << 23)); /* 2^(38-e) */
        off[i] = (int32_t)(((uint32_t)d ^ sign) - sign);
        key[i] = 0x8000u + ((half ^ sign) - sign);
    }
    return most < 0x47800000u;
}

INLINE void count_of(const float *x, size_t n, const float *edge, int n_edges, int32_t *code) {
    for (size_t from = 0; from < n; from += BLOCK) {
        size_t len = n - from < BLOCK ? n - from : BLOCK;
        int32_t c[BLOCK] = {0};
        float v[BLOCK];
        memcpy(v, x + from, len * sizeof *v);
        memset(v + len, 0, (BLOCK - len) * sizeof *v);
        for (int k = 0; k < n_edges; k++)
            for (int i = 0; i < BLOCK; i++)
                c[i] += v[i] > edge[k];
        memcpy(code + from, c, len * sizeof *c);
    }
}

/* ------------------------------------------------------------------ plain C */

static bool bins_c(const float *x, size_t n, float scale, uint32_t *key, int32_t *off) {
    return bins_of(x, n, scale, key, off);
}

static void count_c(const float *x, size_t n, const float *edge, int n_edges, int32_t *code) {
    count_of(x, n, edge, n_edges, code);
}

const sm_palette_loops *sm_palette_loops_c(void) {
    static const sm_palette_loops loops = {bins_c, count_c};
    return &loops;
}

/* ------------------------------------------------------------------ AVX2 */
#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2")))

AVX2 static bool bins_avx2(const float *x, size_t n, float scale, uint32_t *key, int32_t *off) {
    return bins_of(x, n, scale, key, off);
}

AVX2 static void count_avx2(const float *x, size_t n, const float *edge, int n_edges, int32_t *code) {
    count_of(x, n, edge, n_edges, code);
}

const sm_palette_loops *sm_palette_loops_best(void) {
    static const sm_palette_loops loops = {bins_avx2, count_avx2};
    sm_isa isa;
    return sm_isa_choose(&isa, NULL) == SM_OK && isa >= SM_ISA_AVX2 ? &loops : sm_palette_loops_c();
}
#else
const sm_palette_loops *sm_palette_loops_best(void) {
    return sm_palette_loops_c();
}
#endif
