/* SPDX-License-Identifier: MIT
 *
 * vmath_neon.h: vectors of 4 floats that may be short, e^x and what is made of it.
 *
 * e^x = 2^n e^r with n = round(x / ln 2), |r| <= ln(2) / 2, e^r = 1 + r + r^2 P(r), P of degree 4 interpolated at
 * Chebyshev nodes: relative error 1e-8 before rounding.  ln 2 is split so that n * (its high part) is exact.  Arguments
 * are clamped to where the result is 0 or infinity anyway; NaN stays NaN.
 *
 * There are no masked loads: a short vector is copied, its other lanes being zero, so that a tail's arithmetic is that
 * of the body.
 */
#ifndef SM_VMATH_NEON_H
#define SM_VMATH_NEON_H

#ifdef __ARM_NEON /* else empty: headers compile alone, on other machines too */
#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

/* The first n (1..) of 4 floats. */
static inline float32x4_t load_4(const float *p, int n) {
    if (n >= 4)
        return vld1q_f32(p);
    float v[4] = {0};
    memcpy(v, p, (size_t)n * sizeof *v);
    return vld1q_f32(v);
}

static inline void store_4(float *p, float32x4_t x, int n) {
    if (n >= 4) {
        vst1q_f32(p, x);
        return;
    }
    float v[4];
    vst1q_f32(v, x);
    memcpy(p, v, (size_t)n * sizeof *v);
}

/* 4 fp16 to floats. */
static inline float32x4_t f16_to_4(uint16x4_t h) {
    return vcvt_f32_f16(vreinterpret_f16_u16(h));
}

static inline float32x4_t exp_4(float32x4_t x) {
    x = vmaxq_f32(vdupq_n_f32(-110.0f), vminq_f32(vdupq_n_f32(90.0f), x));
    float32x4_t n = vrndnq_f32(vmulq_f32(x, vdupq_n_f32(1.44269504089f)));
    float32x4_t r = vfmsq_f32(x, n, vdupq_n_f32(0.693145751953125f));
    r = vfmsq_f32(r, n, vdupq_n_f32(1.42860682030942e-6f));
    float32x4_t p = vdupq_n_f32(0.0013926176120140237f);
    p = vfmaq_f32(vdupq_n_f32(0.008363173074517234f), p, r);
    p = vfmaq_f32(vdupq_n_f32(0.04166655466204811f), p, r);
    p = vfmaq_f32(vdupq_n_f32(0.16666577025597942f), p, r);
    p = vfmaq_f32(vdupq_n_f32(0.5f), p, r);
    p = vaddq_f32(vfmaq_f32(r, vmulq_f32(r, r), p), vdupq_n_f32(1.0f));
    /* 2^n in two factors: n passes what one exponent holds at both ends. */
    int32x4_t i = vcvtq_s32_f32(n), half = vshrq_n_s32(i, 1), bias = vdupq_n_s32(127), other = vsubq_s32(i, half);
    p = vmulq_f32(p, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23)));
    return vmulq_f32(p, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(other, bias), 23)));
}

/* x / (1 + e^-z) */
static inline float32x4_t gated_4(float32x4_t x, float32x4_t z) {
    return vdivq_f32(x, vaddq_f32(exp_4(vnegq_f32(z)), vdupq_n_f32(1.0f)));
}

/* 1 - 2 / (e^2x + 1): absolute error of an ulp of 1 */
static inline float32x4_t tanh_4(float32x4_t x) {
    float32x4_t e = exp_4(vaddq_f32(x, x)), one = vdupq_n_f32(1.0f);
    return vsubq_f32(one, vdivq_f32(vdupq_n_f32(2.0f), vaddq_f32(e, one)));
}

#endif
#endif
