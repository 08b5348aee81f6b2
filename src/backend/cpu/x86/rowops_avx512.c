/* SPDX-License-Identifier: MIT
 *
 * rowops_avx512.c: work on single rows between products; tails are masked lanes.
 */
#include "backend/cpu/x86/vmath_avx512.h"

#include <math.h>

#include "backend/cpu/kernels.h"

/* Lanes i .. of n. */
static inline __mmask16 lanes(int n, int i) {
    return n - i >= 16 ? 0xffff : (__mmask16)((1u << (n - i)) - 1);
}

static void rms_norm_avx512(const float *x, const float *gamma, int n, float eps, float *y) {
    __m512d sum = _mm512_setzero_pd();
    for (int i = 0; i < n; i += 16) {
        __m512 v = _mm512_maskz_loadu_ps(lanes(n, i), x + i);
        __m512d a = _mm512_cvtps_pd(_mm512_castps512_ps256(v)), b = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
        sum = _mm512_fmadd_pd(a, a, sum);
        sum = _mm512_fmadd_pd(b, b, sum);
    }
    __m512 r = _mm512_set1_ps((float)(1.0 / sqrt(_mm512_reduce_add_pd(sum) / n + (double)eps)));
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = lanes(n, i);
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(m, x + i), r);
        if (gamma)
            v = _mm512_mul_ps(v, _mm512_maskz_loadu_ps(m, gamma + i));
        _mm512_mask_storeu_ps(y + i, m, v);
    }
}

static void rope_avx512(const float *x, const float *cos, const float *sin, int half, float *y) {
    for (int i = 0; i < half; i += 16) {
        __mmask16 m = lanes(half, i);
        __m512 a = _mm512_maskz_loadu_ps(m, x + i), b = _mm512_maskz_loadu_ps(m, x + i + half);
        __m512 c = _mm512_maskz_loadu_ps(m, cos + i), s = _mm512_maskz_loadu_ps(m, sin + i);
        _mm512_mask_storeu_ps(y + i, m, _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s)));
        _mm512_mask_storeu_ps(y + i + half, m, _mm512_fmadd_ps(b, c, _mm512_mul_ps(a, s)));
    }
}

static void silu_avx512(const float *gate, const float *up, int n, float *out) {
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = lanes(n, i);
        __m512 x = _mm512_maskz_loadu_ps(m, gate + i), v = gated_16(x, x);
        _mm512_mask_storeu_ps(out + i, m, up ? _mm512_mul_ps(v, _mm512_maskz_loadu_ps(m, up + i)) : v);
    }
}

static void gelu_tanh_avx512(const float *gate, const float *up, int n, float *out) {
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = lanes(n, i);
        __m512 x = _mm512_maskz_loadu_ps(m, gate + i), xx = _mm512_mul_ps(x, x);
        __m512 u = _mm512_fmadd_ps(_mm512_mul_ps(xx, x), _mm512_set1_ps(0.044715f), x);
        __m512 v = gated_16(x, _mm512_mul_ps(u, _mm512_set1_ps(1.5957691216f)));
        _mm512_mask_storeu_ps(out + i, m, up ? _mm512_mul_ps(v, _mm512_maskz_loadu_ps(m, up + i)) : v);
    }
}

static void softcap_avx512(float *x, int n, float cap) {
    __m512 c = _mm512_set1_ps(cap);
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = lanes(n, i);
        __m512 v = _mm512_div_ps(_mm512_maskz_loadu_ps(m, x + i), c);
        _mm512_mask_storeu_ps(x + i, m, _mm512_mul_ps(c, tanh_16(v)));
    }
}

static void add_avx512(const float *x, const float *y, int n, float *out) {
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = lanes(n, i);
        _mm512_mask_storeu_ps(out + i, m,
                              _mm512_add_ps(_mm512_maskz_loadu_ps(m, x + i), _mm512_maskz_loadu_ps(m, y + i)));
    }
}

static void mul_avx512(const float *x, const float *y, int n, float *out) {
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = lanes(n, i);
        _mm512_mask_storeu_ps(out + i, m,
                              _mm512_mul_ps(_mm512_maskz_loadu_ps(m, x + i), _mm512_maskz_loadu_ps(m, y + i)));
    }
}

static void to_f16_avx512(const float *x, int n, uint16_t *out) {
    __m512 hi = _mm512_set1_ps(65504.0f), lo = _mm512_set1_ps(-65504.0f);
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = lanes(n, i);
        __m512 v = _mm512_max_ps(lo, _mm512_min_ps(hi, _mm512_maskz_loadu_ps(m, x + i)));
        _mm256_mask_storeu_epi16(out + i, m, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    }
}

void sm_rowops_init_avx512(sm_kernels *k) {
    k->rms_norm = rms_norm_avx512;
    k->rope = rope_avx512;
    k->act[SM_ACT_SILU] = silu_avx512;
    k->act[SM_ACT_GELU_TANH] = gelu_tanh_avx512;
    k->softcap = softcap_avx512;
    k->add = add_avx512;
    k->mul = mul_avx512;
    k->to_f16 = to_f16_avx512;
}
