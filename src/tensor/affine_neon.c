/* SPDX-License-Identifier: MIT
 *
 * affine_neon.c: affine_blocks.h for 64-bit ARM, 4 blocks side by side.
 */
#include <arm_neon.h>

#include "base/mem.h"

#define LANES 4

typedef float32x4_t vf;
typedef int32x4_t vi;
typedef int16x8_t vs;
typedef struct sums {
    int32x4_t a, b;
} sums;

#define vf_load(p) vld1q_f32(p)
#define vf_store(p, v) vst1q_f32(p, v)
#define vf_set vdupq_n_f32
#define vf_mul vmulq_f32
#define vf_add vaddq_f32
#define vf_sub vsubq_f32
#define vf_min vminq_f32
#define vf_max vmaxq_f32
#define vf_nearest vrndnq_f32
#define vf_taint(x, a) vfmaq_f32(a, x, vdupq_n_f32(0.0f))
#define vi_of vcvtnq_s32_f32
#define vi_add vaddq_s32
#define vi_set vdupq_n_s32
#define vs_pair(a, b) vtrn1q_s16(vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b))
#define vs_load(p) vld1q_s16(p)
#define vs_store(p, v) vst1q_s16(p, v)
#define vs_set vdupq_n_s16
#define vs_min vminq_s16
#define vs_max vmaxq_s16
#define vs_product vqrdmulhq_s16
#define vf_quad(x, stride) ((void)(stride), vld1q_f32(x))

static inline sums sums_zero(void) {
    return (sums){vdupq_n_s32(0), vdupq_n_s32(0)};
}

static inline sums sums_add(sums s, vs a, vs b) {
    s.a = vmlal_s16(s.a, vget_low_s16(a), vget_low_s16(b));
    s.b = vmlal_high_s16(s.b, a, b);
    return s;
}

#define sums_total(s) (vaddlvq_s32((s).a) + vaddlvq_s32((s).b))
#define sums_lanes(s, out) vst1q_s32(out, vpaddq_s32((s).a, (s).b))

static inline void vf_turn(vf v[4]) {
    float64x2_t a = vreinterpretq_f64_f32(vzip1q_f32(v[0], v[1])), b = vreinterpretq_f64_f32(vzip2q_f32(v[0], v[1]));
    float64x2_t c = vreinterpretq_f64_f32(vzip1q_f32(v[2], v[3])), d = vreinterpretq_f64_f32(vzip2q_f32(v[2], v[3]));
    v[0] = vreinterpretq_f32_f64(vzip1q_f64(a, c));
    v[1] = vreinterpretq_f32_f64(vzip2q_f64(a, c));
    v[2] = vreinterpretq_f32_f64(vzip1q_f64(b, d));
    v[3] = vreinterpretq_f32_f64(vzip2q_f64(b, d));
}

static inline uint8x16_t bytes_of(const vi *q) {
    int16x8_t a = vcombine_s16(vmovn_s32(q[0]), vmovn_s32(q[1])), b = vcombine_s16(vmovn_s32(q[2]), vmovn_s32(q[3]));
    return vreinterpretq_u8_s8(vcombine_s8(vmovn_s16(a), vmovn_s16(b)));
}

static inline void put8(uint8_t *out, const vi *q) {
    vst1q_u8(out, bytes_of(q));
}

static inline void put4(uint8_t *out, const vi *q) {
    uint8x16_t h = bytes_of(q);
    uint8x16_t low = vandq_u8(vuzp1q_u8(h, h), vdupq_n_u8(15));
    vst1_u8(out, vget_low_u8(vsliq_n_u8(low, vuzp2q_u8(h, h), 4)));
}

static inline float sum_16(const vf *f) {
    float32x4_t a = vaddq_f32(vaddq_f32(f[0], f[2]), vaddq_f32(f[1], f[3]));
    return vaddvq_f32(vcombine_f32(vadd_f32(vget_low_f32(a), vget_high_f32(a)), vdup_n_f32(0.0f)));
}

#include "tensor/affine_lanes.h"

const sm_block_loops sm_block_loops_neon = {"neon", fit_vectors, codes8_vectors, codes4_vectors};
