/* SPDX-License-Identifier: MIT
 *
 * attn_avx512.c: pieces of attention over one block of cached positions.
 *
 * Scores: 16 positions a register, up to 8 queries share each key vector.  Values: 16 elements a register, 64 at once
 * for up to 4 queries.  Every sum runs in the order of the specification, so neighbours change nothing.
 */
#include "backend/cpu/x86/vmath_avx512.h"

#include <math.h>

#include "backend/cpu/kernels.h"

#define ALWAYS static inline __attribute__((always_inline))

/* Scores of 16 * vecs positions, the last vector having `last` lanes. */
ALWAYS void scores(const float *q, int dim, const uint16_t *kt, int ldk, __mmask16 last, float *s, int vecs, int n_q) {
    __m512 sum[16];
    for (int i = 0; i < n_q * vecs; i++)
        sum[i] = _mm512_setzero_ps();
    for (int d = 0; d < dim; d++, kt += ldk)
        for (int v = 0; v < vecs; v++) {
            __m512 key = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(v == vecs - 1 ? last : 0xffff, kt + 16 * v));
            for (int i = 0; i < n_q; i++)
                sum[i * vecs + v] =
                    _mm512_fmadd_ps(_mm512_set1_ps(q[(size_t)i * (size_t)dim + (size_t)d]), key, sum[i * vecs + v]);
        }
    for (int i = 0; i < n_q; i++)
        for (int v = 0; v < vecs; v++)
            _mm512_mask_storeu_ps(s + i * SM_KV_BLOCK + 16 * v, v == vecs - 1 ? last : 0xffff, sum[i * vecs + v]);
}

ALWAYS void scores_vecs(const float *q, int dim, const uint16_t *kt, int ldk, int n, float *s, int n_q) {
    int j = 0;
    for (; n - j > 16; j += 32) {
        __mmask16 last = n - j >= 32 ? 0xffff : (__mmask16)((1u << (n - j - 16)) - 1);
        scores(q, dim, kt + j, ldk, last, s + j, 2, n_q);
    }
    if (j < n)
        scores(q, dim, kt + j, ldk, n - j == 16 ? 0xffff : (__mmask16)((1u << (n - j)) - 1), s + j, 1, n_q);
}

static void attn_scores_avx512(const float *q, int n_q, int dim, const uint16_t *kt, int ldk, int n, float *s) {
    int i = 0;
    for (; i + 8 <= n_q; i += 8)
        scores_vecs(q + (size_t)i * (size_t)dim, dim, kt, ldk, n, s + i * SM_KV_BLOCK, 8);
    for (; i + 3 <= n_q; i += 3)
        scores_vecs(q + (size_t)i * (size_t)dim, dim, kt, ldk, n, s + i * SM_KV_BLOCK, 3);
    for (; i < n_q; i++)
        scores_vecs(q + (size_t)i * (size_t)dim, dim, kt, ldk, n, s + i * SM_KV_BLOCK, 1);
}

static inline __mmask16 between(int j, int lo, int hi) {
    int a = lo > j ? lo - j : 0, b = hi < j + 16 ? hi - j : 16;
    return a >= b ? 0 : (__mmask16)(((1u << b) - 1) & ~((1u << a) - 1));
}

static float attn_softmax_avx512(float *s, int n, int lo, int hi, float cap, float *max, float *sum) {
    __m512 low = _mm512_set1_ps(-INFINITY), most = low, total = _mm512_setzero_ps(), v[SM_KV_BLOCK / 16];
    for (int j = 0; j < n; j += 16) {
        __mmask16 m = between(j, lo, hi);
        __m512 x = _mm512_maskz_loadu_ps(m, s + j);
        if (cap > 0.0f)
            x = _mm512_mul_ps(_mm512_set1_ps(cap), tanh_16(_mm512_div_ps(x, _mm512_set1_ps(cap))));
        v[j / 16] = _mm512_mask_mov_ps(low, m, x);
        most = _mm512_max_ps(most, v[j / 16]);
    }
    float top = _mm512_reduce_max_ps(most), before = *max;
    top = top > before ? top : before;
    for (int j = 0; j < n; j += 16) {
        __m512 e = _mm512_maskz_mov_ps(between(j, lo, hi), exp_16(_mm512_sub_ps(v[j / 16], _mm512_set1_ps(top))));
        total = _mm512_add_ps(total, e);
        _mm512_mask_storeu_ps(s + j, between(j, 0, n), e);
    }
    float corr = _mm512_cvtss_f32(exp_16(_mm512_set1_ps(before - top)));
    *sum = *sum * corr + _mm512_reduce_add_ps(total);
    *max = top;
    return corr;
}

/* Elements [0, 16 vecs) of n_q queries, the last vector having `last` lanes. */
ALWAYS void values(const float *s, const float *corr, const uint16_t *v, int dim, int n, __mmask16 last, float *o,
                   int vecs, int n_q) {
    __m512 sum[16];
    for (int i = 0; i < n_q; i++)
        for (int e = 0; e < vecs; e++)
            sum[i * vecs + e] = _mm512_mul_ps(
                _mm512_maskz_loadu_ps(e == vecs - 1 ? last : 0xffff, o + (size_t)i * (size_t)dim + 16 * e),
                _mm512_set1_ps(corr[i]));
    for (int j = 0; j < n; j++, v += dim)
        for (int e = 0; e < vecs; e++) {
            __m512 x = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(e == vecs - 1 ? last : 0xffff, v + 16 * e));
            for (int i = 0; i < n_q; i++)
                sum[i * vecs + e] = _mm512_fmadd_ps(_mm512_set1_ps(s[i * SM_KV_BLOCK + j]), x, sum[i * vecs + e]);
        }
    for (int i = 0; i < n_q; i++)
        for (int e = 0; e < vecs; e++)
            _mm512_mask_storeu_ps(o + (size_t)i * (size_t)dim + 16 * e, e == vecs - 1 ? last : 0xffff,
                                  sum[i * vecs + e]);
}

ALWAYS void values_vecs(const float *s, const float *corr, const uint16_t *v, int dim, int n, float *o, int n_q) {
    int d = 0;
    for (; d + 64 <= dim; d += 64)
        values(s, corr, v + d, dim, n, 0xffff, o + d, 4, n_q);
    for (; d < dim; d += 16)
        values(s, corr, v + d, dim, n, dim - d >= 16 ? 0xffff : (__mmask16)((1u << (dim - d)) - 1), o + d, 1, n_q);
}

static void attn_values_avx512(const float *s, const float *corr, int n_q, const uint16_t *v, int dim, int n,
                               float *o) {
    int i = 0;
    for (; i + 4 <= n_q; i += 4)
        values_vecs(s + i * SM_KV_BLOCK, corr + i, v, dim, n, o + (size_t)i * (size_t)dim, 4);
    for (; i + 3 <= n_q; i += 3)
        values_vecs(s + i * SM_KV_BLOCK, corr + i, v, dim, n, o + (size_t)i * (size_t)dim, 3);
    for (; i < n_q; i++)
        values_vecs(s + i * SM_KV_BLOCK, corr + i, v, dim, n, o + (size_t)i * (size_t)dim, 1);
}

void sm_attn_init_avx512(sm_kernels *k) {
    k->attn_scores = attn_scores_avx512;
    k->attn_softmax = attn_softmax_avx512;
    k->attn_values = attn_values_avx512;
}
