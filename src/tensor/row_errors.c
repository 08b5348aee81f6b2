/* SPDX-License-Identifier: MIT
 *
 * row_errors.c: how far written weights are from their source, before and after both are rounded to their types.
 *
 * f32 sums stay short: LANES of them over BATCH elements, element i in sum i % LANES, then f64.  The AVX2 loop gives the
 * same bits as the plain C.  A NaN counts as an infinite error.
 */
#include <math.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "tensor/dtype_int.h"
#include "tensor/enc_int.h"

enum { LANES = 8, BATCH = 512 };

/* Sums and maxima of one batch. */
typedef struct batch_errors {
    float sum[LANES], max[LANES];
} batch_errors;

enum { ERR, REF, ERR16, KINDS };

static inline void add_one(batch_errors *b, size_t lane, float e) {
    b->sum[lane] += e * e;
    b->max[lane] = e > b->max[lane] ? e : b->max[lane];
}

static void add_batch(const batch_errors *b, double *sum, double *max) {
    for (size_t l = 0; l < LANES; l++) {
        *sum += (double)b->sum[l];
        *max = fmax(*max, isnan(b->sum[l]) ? INFINITY : (double)b->max[l]);
    }
}

/* A batch of n. */
static void batch_c(const float *x, const float *y, size_t n, sm_dtype tx, sm_dtype ty, batch_errors *b) {
    float x16[BATCH], y16[BATCH];
    size_t i = 0;
    memcpy(x16, x, n * sizeof *x);
    memcpy(y16, y, n * sizeof *y);
    sm_enc_round(tx, x16, n);
    sm_enc_round(ty, y16, n);
    for (; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            add_one(b + ERR, l, fabsf(y[i + l] - x[i + l]));
    for (i = 0; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            add_one(b + REF, l, fabsf(x[i + l]));
    for (i = 0; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            add_one(b + ERR16, l, fabsf(y16[i + l] - x16[i + l]));
    for (; i < n; i++) {
        add_one(b + ERR, 0, fabsf(y[i] - x[i]));
        add_one(b + REF, 0, fabsf(x[i]));
        add_one(b + ERR16, 0, fabsf(y16[i] - x16[i]));
    }
}

#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2,f16c")))

static inline float rounded(sm_dtype t, float f) {
    return t == SM_FP16 ? f16_to_f32(f32_to_f16(f)) : t == SM_BF16 ? bf16_to_f32(f32_to_bf16(f)) : f;
}

AVX2 static inline __m256 rounded_avx2(sm_dtype t, __m256 v) {
    if (t == SM_FP16)
        return _mm256_cvtph_ps(_mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
    if (t != SM_BF16)
        return v;
    __m256i u = _mm256_castps_si256(v), high = _mm256_set1_epi32((int)0xFFFF0000u);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i near = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7FFF)), odd);
    __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
    __m256 nan = _mm256_cmp_ps(v, v, _CMP_UNORD_Q);
    return _mm256_castsi256_ps(_mm256_and_si256(_mm256_blendv_epi8(near, quiet, _mm256_castps_si256(nan)), high));
}

AVX2 static inline void add_avx2(__m256 e, __m256 *sum, __m256 *max) {
    e = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), e);
    *sum = _mm256_add_ps(*sum, _mm256_mul_ps(e, e));
    *max = _mm256_max_ps(e, *max);
}

AVX2 static void batch_avx2(const float *x, const float *y, size_t n, sm_dtype tx, sm_dtype ty, batch_errors *b) {
    __m256 sum[KINDS], max[KINDS];
    size_t i = 0;
    for (int k = 0; k < KINDS; k++)
        sum[k] = max[k] = _mm256_setzero_ps();
    for (; i + LANES <= n; i += LANES) {
        __m256 u = _mm256_loadu_ps(x + i), v = _mm256_loadu_ps(y + i);
        add_avx2(_mm256_sub_ps(v, u), sum + ERR, max + ERR);
        add_avx2(u, sum + REF, max + REF);
        add_avx2(_mm256_sub_ps(rounded_avx2(ty, v), rounded_avx2(tx, u)), sum + ERR16, max + ERR16);
    }
    for (int k = 0; k < KINDS; k++) {
        _mm256_storeu_ps(b[k].sum, sum[k]);
        _mm256_storeu_ps(b[k].max, max[k]);
    }
    for (; i < n; i++) {
        add_one(b + ERR, 0, fabsf(y[i] - x[i]));
        add_one(b + REF, 0, fabsf(x[i]));
        add_one(b + ERR16, 0, fabsf(rounded(ty, y[i]) - rounded(tx, x[i])));
    }
}
#endif

void sm_row_errors(sm_isa isa, const float *x, const float *y, size_t n, sm_dtype tx, sm_dtype ty, sm_xerr *e) {
    void (*batch)(const float *, const float *, size_t, sm_dtype, sm_dtype, batch_errors *) = batch_c;
#if defined(__x86_64__)
    if (isa >= SM_ISA_AVX2)
        batch = batch_avx2;
#endif
    (void)isa;
    for (size_t from = 0; from < n; from += BATCH) {
        batch_errors b[KINDS] = {0};
        batch(x + from, y + from, SM_MIN(n - from, (size_t)BATCH), tx, ty, b);
        add_batch(b + ERR, &e->sum_sq_err, &e->max_abs_err);
        add_batch(b + REF, &e->sum_sq_ref, &e->max_abs_ref);
        add_batch(b + ERR16, &e->sum_sq_err16, &e->max_abs_err16);
    }
}
