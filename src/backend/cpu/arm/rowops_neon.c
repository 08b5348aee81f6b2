/* SPDX-License-Identifier: MIT
 *
 * rowops_neon.c: work on single rows between products; a tail's arithmetic is that of the body.
 */
#include "backend/cpu/arm/vmath_neon.h"

#include <math.h>

#include "backend/cpu/kernels.h"

static void rms_norm_neon(const float *x, const float *gamma, int n, float eps, float *y) {
    float64x2_t s0 = vdupq_n_f64(0.0), s1 = s0;
    for (int i = 0; i < n; i += 4) {
        float32x4_t v = load_4(x + i, n - i);
        float64x2_t a = vcvt_f64_f32(vget_low_f32(v)), b = vcvt_high_f64_f32(v);
        s0 = vfmaq_f64(s0, a, a);
        s1 = vfmaq_f64(s1, b, b);
    }
    float r = (float)(1.0 / sqrt(vaddvq_f64(vaddq_f64(s0, s1)) / n + (double)eps));
    for (int i = 0; i < n; i += 4) {
        float32x4_t v = vmulq_n_f32(load_4(x + i, n - i), r);
        if (gamma)
            v = vmulq_f32(v, load_4(gamma + i, n - i));
        store_4(y + i, v, n - i);
    }
}

static void rope_neon(const float *x, const float *cos, const float *sin, int half, float *y) {
    for (int i = 0; i < half; i += 4) {
        int m = half - i;
        float32x4_t a = load_4(x + i, m), b = load_4(x + i + half, m), c = load_4(cos + i, m), s = load_4(sin + i, m);
        store_4(y + i, vfmsq_f32(vmulq_f32(a, c), b, s), m);
        store_4(y + i + half, vfmaq_f32(vmulq_f32(a, s), b, c), m);
    }
}

static void silu_neon(const float *gate, const float *up, int n, float *out) {
    for (int i = 0; i < n; i += 4) {
        float32x4_t x = load_4(gate + i, n - i), v = gated_4(x, x);
        store_4(out + i, up ? vmulq_f32(v, load_4(up + i, n - i)) : v, n - i);
    }
}

static void gelu_tanh_neon(const float *gate, const float *up, int n, float *out) {
    for (int i = 0; i < n; i += 4) {
        float32x4_t x = load_4(gate + i, n - i), xx = vmulq_f32(x, x);
        float32x4_t u = vfmaq_f32(x, vmulq_f32(xx, x), vdupq_n_f32(0.044715f));
        float32x4_t v = gated_4(x, vmulq_n_f32(u, 1.5957691216f));
        store_4(out + i, up ? vmulq_f32(v, load_4(up + i, n - i)) : v, n - i);
    }
}

static void softcap_neon(float *x, int n, float cap) {
    float32x4_t c = vdupq_n_f32(cap);
    for (int i = 0; i < n; i += 4)
        store_4(x + i, vmulq_f32(c, tanh_4(vdivq_f32(load_4(x + i, n - i), c))), n - i);
}

static void add_neon(const float *x, const float *y, int n, float *out) {
    for (int i = 0; i < n; i += 4)
        store_4(out + i, vaddq_f32(load_4(x + i, n - i), load_4(y + i, n - i)), n - i);
}

static void mul_neon(const float *x, const float *y, int n, float *out) {
    for (int i = 0; i < n; i += 4)
        store_4(out + i, vmulq_f32(load_4(x + i, n - i), load_4(y + i, n - i)), n - i);
}

static void to_f16_neon(const float *x, int n, uint16_t *out) {
    float32x4_t hi = vdupq_n_f32(65504.0f), lo = vdupq_n_f32(-65504.0f);
    for (int i = 0; i < n; i += 4) {
        float32x4_t v = vmaxq_f32(lo, vminq_f32(hi, load_4(x + i, n - i)));
        uint16x4_t h = vreinterpret_u16_f16(vcvt_f16_f32(v));
        if (n - i >= 4)
            vst1_u16(out + i, h);
        else
            memcpy(out + i, &h, (size_t)(n - i) * sizeof *out);
    }
}

void sm_rowops_init_neon(sm_kernels *k) {
    k->rms_norm = rms_norm_neon;
    k->rope = rope_neon;
    k->act[SM_ACT_SILU] = silu_neon;
    k->act[SM_ACT_GELU_TANH] = gelu_tanh_neon;
    k->softcap = softcap_neon;
    k->add = add_neon;
    k->mul = mul_neon;
    k->to_f16 = to_f16_neon;
}
