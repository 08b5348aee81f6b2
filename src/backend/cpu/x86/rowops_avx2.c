/* SPDX-License-Identifier: MIT
 *
 * rowops_avx2.c: work on single rows between products.
 *
 * The lanes of a tail are masked loads and stores, so a tail's arithmetic is that of the body.
 */
#include "backend/cpu/x86/vmath_avx2.h"

#include <math.h>
#include <string.h>

#include "backend/cpu/kernels.h"

/* Lanes i .. of n. */
static inline __m256i lanes(int n, int i) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n - i), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static void rms_norm_avx2(const float *x, const float *gamma, int n, float eps, float *y) {
    __m256d s0 = _mm256_setzero_pd(), s1 = s0;
    for (int i = 0; i < n; i += 8) {
        __m256 v = _mm256_maskload_ps(x + i, lanes(n, i));
        __m256d a = _mm256_cvtps_pd(_mm256_castps256_ps128(v)), b = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
        s0 = _mm256_fmadd_pd(a, a, s0);
        s1 = _mm256_fmadd_pd(b, b, s1);
    }
    double sum[4];
    _mm256_storeu_pd(sum, _mm256_add_pd(s0, s1));
    __m256 r = _mm256_set1_ps((float)(1.0 / sqrt((sum[0] + sum[1] + sum[2] + sum[3]) / n + (double)eps)));
    for (int i = 0; i < n; i += 8) {
        __m256i m = lanes(n, i);
        __m256 v = _mm256_mul_ps(_mm256_maskload_ps(x + i, m), r);
        if (gamma)
            v = _mm256_mul_ps(v, _mm256_maskload_ps(gamma + i, m));
        _mm256_maskstore_ps(y + i, m, v);
    }
}

static void rope_avx2(const float *x, const float *cos, const float *sin, int half, float *y) {
    for (int i = 0; i < half; i += 8) {
        __m256i m = lanes(half, i);
        __m256 a = _mm256_maskload_ps(x + i, m), b = _mm256_maskload_ps(x + i + half, m);
        __m256 c = _mm256_maskload_ps(cos + i, m), s = _mm256_maskload_ps(sin + i, m);
        _mm256_maskstore_ps(y + i, m, _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s)));
        _mm256_maskstore_ps(y + i + half, m, _mm256_fmadd_ps(b, c, _mm256_mul_ps(a, s)));
    }
}

static void silu_avx2(const float *gate, const float *up, int n, float *out) {
    for (int i = 0; i < n; i += 8) {
        __m256i m = lanes(n, i);
        __m256 x = _mm256_maskload_ps(gate + i, m), v = gated_8(x, x);
        _mm256_maskstore_ps(out + i, m, up ? _mm256_mul_ps(v, _mm256_maskload_ps(up + i, m)) : v);
    }
}

static void gelu_tanh_avx2(const float *gate, const float *up, int n, float *out) {
    for (int i = 0; i < n; i += 8) {
        __m256i m = lanes(n, i);
        __m256 x = _mm256_maskload_ps(gate + i, m), xx = _mm256_mul_ps(x, x);
        __m256 u = _mm256_fmadd_ps(_mm256_mul_ps(xx, x), _mm256_set1_ps(0.044715f), x);
        __m256 v = gated_8(x, _mm256_mul_ps(u, _mm256_set1_ps(1.5957691216f)));
        _mm256_maskstore_ps(out + i, m, up ? _mm256_mul_ps(v, _mm256_maskload_ps(up + i, m)) : v);
    }
}

static void softcap_avx2(float *x, int n, float cap) {
    __m256 c = _mm256_set1_ps(cap);
    for (int i = 0; i < n; i += 8) {
        __m256i m = lanes(n, i);
        _mm256_maskstore_ps(x + i, m, _mm256_mul_ps(c, tanh_8(_mm256_div_ps(_mm256_maskload_ps(x + i, m), c))));
    }
}

static void add_avx2(const float *x, const float *y, int n, float *out) {
    for (int i = 0; i < n; i += 8) {
        __m256i m = lanes(n, i);
        _mm256_maskstore_ps(out + i, m, _mm256_add_ps(_mm256_maskload_ps(x + i, m), _mm256_maskload_ps(y + i, m)));
    }
}

static void mul_avx2(const float *x, const float *y, int n, float *out) {
    for (int i = 0; i < n; i += 8) {
        __m256i m = lanes(n, i);
        _mm256_maskstore_ps(out + i, m, _mm256_mul_ps(_mm256_maskload_ps(x + i, m), _mm256_maskload_ps(y + i, m)));
    }
}

static void to_f16_avx2(const float *x, int n, uint16_t *out) {
    __m256 hi = _mm256_set1_ps(65504.0f), lo = _mm256_set1_ps(-65504.0f);
    for (int i = 0; i < n; i += 8) {
        __m256 v = _mm256_max_ps(lo, _mm256_min_ps(hi, _mm256_maskload_ps(x + i, lanes(n, i))));
        __m128i h = _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        if (n - i >= 8)
            _mm_storeu_si128((void *)(out + i), h);
        else
            memcpy(out + i, &h, (size_t)(n - i) * sizeof *out);
    }
}

void sm_rowops_init_avx2(sm_kernels *k) {
    k->rms_norm = rms_norm_avx2;
    k->rope = rope_avx2;
    k->act[SM_ACT_SILU] = silu_avx2;
    k->act[SM_ACT_GELU_TANH] = gelu_tanh_avx2;
    k->softcap = softcap_avx2;
    k->add = add_avx2;
    k->mul = mul_avx2;
    k->to_f16 = to_f16_avx2;
}
