/* SPDX-License-Identifier: MIT
 *
 * attn_avx2.c: pieces of attention over one block of cached positions.
 *
 * 8 positions (scores) or 8 elements (values) a register, up to 4 queries at once.  A short vector of fp16 is copied
 * before it is loaded: there are no masked 16-bit loads.
 */
#include "backend/cpu/x86/vmath_avx2.h"

#include <math.h>
#include <string.h>

#include "backend/cpu/kernels.h"

#define ALWAYS static inline __attribute__((always_inline))

static inline __m256i lanes(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* The first n (1..8) of 8 fp16, the rest zero. */
ALWAYS __m256 f16_at(const uint16_t *p, int n) {
    __m128i h = _mm_setzero_si128();
    if (n >= 8)
        h = _mm_loadu_si128((const void *)p);
    else
        memcpy(&h, p, (size_t)n * sizeof *p);
    return _mm256_cvtph_ps(h);
}

ALWAYS void scores(const float *q, int dim, const uint16_t *kt, int ldk, int n, float *s, int n_q) {
    __m256 sum[4];
    for (int i = 0; i < n_q; i++)
        sum[i] = _mm256_setzero_ps();
    for (int d = 0; d < dim; d++, kt += ldk) {
        __m256 key = f16_at(kt, n);
        for (int i = 0; i < n_q; i++)
            sum[i] = _mm256_fmadd_ps(_mm256_set1_ps(q[(size_t)i * (size_t)dim + (size_t)d]), key, sum[i]);
    }
    for (int i = 0; i < n_q; i++)
        _mm256_maskstore_ps(s + i * SM_KV_BLOCK, lanes(n), sum[i]);
}

static void attn_scores_avx2(const float *q, int n_q, int dim, const uint16_t *kt, int ldk, int n, float *s) {
    for (int j = 0; j < n; j += 8) {
        int i = 0, len = n - j < 8 ? n - j : 8;
        for (; i + 4 <= n_q; i += 4)
            scores(q + (size_t)i * (size_t)dim, dim, kt + j, ldk, len, s + i * SM_KV_BLOCK + j, 4);
        for (; i < n_q; i++)
            scores(q + (size_t)i * (size_t)dim, dim, kt + j, ldk, len, s + i * SM_KV_BLOCK + j, 1);
    }
}

static inline float reduce_8(__m256 v, bool max) {
    __m128 a = _mm256_castps256_ps128(v), b = _mm256_extractf128_ps(v, 1);
    a = max ? _mm_max_ps(a, b) : _mm_add_ps(a, b);
    b = _mm_movehl_ps(a, a);
    a = max ? _mm_max_ps(a, b) : _mm_add_ps(a, b);
    b = _mm_movehdup_ps(a);
    return _mm_cvtss_f32(max ? _mm_max_ss(a, b) : _mm_add_ss(a, b));
}

/* All ones in lanes j + i with lo <= j + i < hi. */
static inline __m256i between(int j, int lo, int hi) {
    return _mm256_andnot_si256(lanes(lo - j), lanes(hi - j));
}

static float attn_softmax_avx2(float *s, int n, int lo, int hi, float cap, float *max, float *sum) {
    __m256 low = _mm256_set1_ps(-INFINITY), most = low, total = _mm256_setzero_ps(), v[SM_KV_BLOCK / 8];
    for (int j = 0; j < n; j += 8) {
        __m256i m = between(j, lo, hi);
        __m256 x = _mm256_maskload_ps(s + j, m);
        if (cap > 0.0f)
            x = _mm256_mul_ps(_mm256_set1_ps(cap), tanh_8(_mm256_div_ps(x, _mm256_set1_ps(cap))));
        v[j / 8] = _mm256_blendv_ps(low, x, _mm256_castsi256_ps(m));
        most = _mm256_max_ps(most, v[j / 8]);
    }
    float top = reduce_8(most, true), before = *max;
    top = top > before ? top : before;
    for (int j = 0; j < n; j += 8) {
        __m256 e = exp_8(_mm256_sub_ps(v[j / 8], _mm256_set1_ps(top)));
        e = _mm256_and_ps(e, _mm256_castsi256_ps(between(j, lo, hi)));
        total = _mm256_add_ps(total, e);
        _mm256_maskstore_ps(s + j, lanes(n - j), e);
    }
    float corr = _mm256_cvtss_f32(exp_8(_mm256_set1_ps(before - top)));
    *sum = *sum * corr + reduce_8(total, false);
    *max = top;
    return corr;
}

/* Elements [0, n_e) with n_e <= 16 of n_q queries. */
ALWAYS void values(const float *s, const float *corr, const uint16_t *v, int dim, int n, int n_e, float *o, int vecs,
                   int n_q) {
    __m256 sum[8];
    for (int i = 0; i < n_q; i++)
        for (int e = 0; e < vecs; e++)
            sum[i * vecs + e] = _mm256_mul_ps(
                _mm256_maskload_ps(o + (size_t)i * (size_t)dim + 8 * e, lanes(n_e - 8 * e)), _mm256_set1_ps(corr[i]));
    for (int j = 0; j < n; j++, v += dim)
        for (int e = 0; e < vecs; e++) {
            __m256 x = f16_at(v + 8 * e, n_e - 8 * e);
            for (int i = 0; i < n_q; i++)
                sum[i * vecs + e] = _mm256_fmadd_ps(_mm256_set1_ps(s[i * SM_KV_BLOCK + j]), x, sum[i * vecs + e]);
        }
    for (int i = 0; i < n_q; i++)
        for (int e = 0; e < vecs; e++)
            _mm256_maskstore_ps(o + (size_t)i * (size_t)dim + 8 * e, lanes(n_e - 8 * e), sum[i * vecs + e]);
}

ALWAYS void values_vecs(const float *s, const float *corr, const uint16_t *v, int dim, int n, float *o, int n_q) {
    int d = 0;
    for (; d + 16 <= dim; d += 16)
        values(s, corr, v + d, dim, n, 16, o + d, 2, n_q);
    for (; d < dim; d += 8)
        values(s, corr, v + d, dim, n, dim - d < 8 ? dim - d : 8, o + d, 1, n_q);
}

static void attn_values_avx2(const float *s, const float *corr, int n_q, const uint16_t *v, int dim, int n, float *o) {
    int i = 0;
    for (; i + 4 <= n_q; i += 4)
        values_vecs(s + i * SM_KV_BLOCK, corr + i, v, dim, n, o + (size_t)i * (size_t)dim, 4);
    for (; i < n_q; i++)
        values_vecs(s + i * SM_KV_BLOCK, corr + i, v, dim, n, o + (size_t)i * (size_t)dim, 1);
}

void sm_attn_init_avx2(sm_kernels *k) {
    k->attn_scores = attn_scores_avx2;
    k->attn_softmax = attn_softmax_avx2;
    k->attn_values = attn_values_avx2;
}
