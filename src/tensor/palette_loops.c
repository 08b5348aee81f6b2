/* SPDX-License-Identifier: MIT
 *
 * palette_loops.c: bins and codes of weights (palette_loops.h), one body compiled for plain C, AVX2 and AVX-512.
 */
#include "tensor/palette_loops.h"

#include "base/isa.h"
#include "tensor/dtype_int.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

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

INLINE void count_of(const float *x, size_t n, const float *edge, int n_edges, uint8_t *code) {
    for (size_t from = 0; from < n; from += BLOCK) {
        size_t len = n - from < BLOCK ? n - from : BLOCK;
        int32_t c[BLOCK] = {0};
        float v[BLOCK];
        memcpy(v, x + from, len * sizeof *v);
        memset(v + len, 0, (BLOCK - len) * sizeof *v);
        for (int k = 0; k < n_edges; k++)
            for (int i = 0; i < BLOCK; i++)
                c[i] += v[i] > edge[k];
        for (size_t i = 0; i < len; i++)
            code[from + i] = (uint8_t)c[i];
    }
}

/* Of an fp16 number's bits. */
INLINE uint16_t key_of(uint16_t half) {
    uint16_t sign = (uint16_t)(0u - (half >> 15));
    return (uint16_t)(0x8000u + (((half & 0x7FFFu) ^ sign) - sign));
}

INLINE bool keys_of(const float *x, size_t n, float scale, uint16_t *key) {
    for (size_t i = 0; i < n; i++) {
        float v = x[i] * scale;
        uint16_t half = f32_to_f16(v);
        if ((half & 0x7C00) == 0x7C00 || f16_to_f32(half) != v)
            return false;
        key[i] = key_of(half);
    }
    return true;
}

/* ------------------------------------------------------------------ plain C */

static bool keys_c(const float *x, size_t n, float scale, uint16_t *key) {
    return keys_of(x, n, scale, key);
}

static bool bins_c(const float *x, size_t n, float scale, uint32_t *key, int32_t *off) {
    return bins_of(x, n, scale, key, off);
}

static void count_c(const float *x, size_t n, const float *edge, int n_edges, uint8_t *code) {
    count_of(x, n, edge, n_edges, code);
}

const sm_palette_loops *sm_palette_loops_c(void) {
    static const sm_palette_loops loops = {keys_c, bins_c, count_c};
    return &loops;
}

/* ------------------------------------------------------------------ AVX2, AVX-512 */
#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2,f16c")))
#define AVX512 __attribute__((target("avx2,f16c,avx512f,avx512bw,avx512vl,avx512dq")))

AVX2 static bool keys_avx2(const float *x, size_t n, float scale, uint16_t *key) {
    const __m256 by = _mm256_set1_ps(scale);
    const __m128i rest = _mm_set1_epi16(0x7FFF), top = _mm_set1_epi16(0x7C00), middle = _mm_set1_epi16((short)0x8000);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), by);
        __m128i half = _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT), sign = _mm_srai_epi16(half, 15);
        __m128i wide = _mm_cmpeq_epi16(_mm_and_si128(half, top), top);
        int off = _mm256_movemask_ps(_mm256_cmp_ps(_mm256_cvtph_ps(half), v, _CMP_NEQ_UQ));
        if ((off | _mm_movemask_epi8(wide)) != 0)
            return false;
        half = _mm_sub_epi16(_mm_xor_si128(_mm_and_si128(half, rest), sign), sign);
        _mm_storeu_si128((__m128i *)(key + i), _mm_add_epi16(half, middle));
    }
    return keys_of(x + i, n - i, scale, key + i);
}

AVX2 static bool bins_avx2(const float *x, size_t n, float scale, uint32_t *key, int32_t *off) {
    return bins_of(x, n, scale, key, off);
}

AVX2 static void count_avx2(const float *x, size_t n, const float *edge, int n_edges, uint8_t *code) {
    count_of(x, n, edge, n_edges, code);
}

AVX512 static bool bins_avx512(const float *x, size_t n, float scale, uint32_t *key, int32_t *off) {
    return bins_of(x, n, scale, key, off);
}

AVX512 static void count_avx512(const float *x, size_t n, const float *edge, int n_edges, uint8_t *code) {
    count_of(x, n, edge, n_edges, code);
}

const sm_palette_loops *sm_palette_loops_best(void) {
    static const sm_palette_loops avx2 = {keys_avx2, bins_avx2, count_avx2};
    static const sm_palette_loops avx512 = {keys_avx2, bins_avx512, count_avx512};
    sm_isa isa;
    if (sm_isa_choose(&isa, NULL) != SM_OK || isa < SM_ISA_AVX2)
        return sm_palette_loops_c();
    return isa >= SM_ISA_AVX512 ? &avx512 : &avx2;
}
#else
const sm_palette_loops *sm_palette_loops_best(void) {
    return sm_palette_loops_c();
}
#endif
