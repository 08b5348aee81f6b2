/* SPDX-License-Identifier: MIT
 *
 * attn_neon.c: pieces of attention over one block of cached positions.
 *
 * 16 positions (scores) or 16 elements (values) in four registers for up to 4 queries at once.  Every sum runs in the
 * order of the specification, so neighbours change nothing.
 */
#include "backend/cpu/arm/vmath_neon.h"

#include <math.h>

#include "backend/cpu/kernels.h"

#define ALWAYS static inline __attribute__((always_inline))

/* The first n (1..) of 4 fp16. */
ALWAYS float32x4_t f16_at(const uint16_t *p, int n) {
    if (n >= 4)
        return f16_to_4(vld1_u16(p));
    uint16_t h[4] = {0};
    memcpy(h, p, (size_t)n * sizeof *h);
    return f16_to_4(vld1_u16(h));
}

/* Scores of 4 * vecs positions, the last vector having `last` lanes. */
ALWAYS void scores(const float *q, int dim, const uint16_t *kt, int ldk, int last, float *s, int vecs, int n_q) {
    float32x4_t sum[16];
    for (int i = 0; i < n_q * vecs; i++)
        sum[i] = vdupq_n_f32(0.0f);
    for (int d = 0; d < dim; d++, kt += ldk)
        for (int v = 0; v < vecs; v++) {
            float32x4_t key = f16_at(kt + 4 * v, v == vecs - 1 ? last : 4);
            for (int i = 0; i < n_q; i++)
                sum[i * vecs + v] = vfmaq_n_f32(sum[i * vecs + v], key, q[(size_t)i * (size_t)dim + (size_t)d]);
        }
    for (int i = 0; i < n_q; i++)
        for (int v = 0; v < vecs; v++)
            store_4(s + i * SM_KV_BLOCK + 4 * v, sum[i * vecs + v], v == vecs - 1 ? last : 4);
}

ALWAYS void scores_vecs(const float *q, int dim, const uint16_t *kt, int ldk, int n, float *s, int n_q) {
    int j = 0;
    for (; j + 16 <= n; j += 16)
        scores(q, dim, kt + j, ldk, 4, s + j, 4, n_q);
    for (; j + 4 <= n; j += 4)
        scores(q, dim, kt + j, ldk, 4, s + j, 1, n_q);
    if (j < n)
        scores(q, dim, kt + j, ldk, n - j, s + j, 1, n_q);
}

static void attn_scores_neon(const float *q, int n_q, int dim, const uint16_t *kt, int ldk, int n, float *s) {
    int i = 0;
    for (; i + 4 <= n_q; i += 4)
        scores_vecs(q + (size_t)i * (size_t)dim, dim, kt, ldk, n, s + i * SM_KV_BLOCK, 4);
    if (i + 3 <= n_q) {
        scores_vecs(q + (size_t)i * (size_t)dim, dim, kt, ldk, n, s + i * SM_KV_BLOCK, 3);
        i += 3;
    }
    for (; i < n_q; i++)
        scores_vecs(q + (size_t)i * (size_t)dim, dim, kt, ldk, n, s + i * SM_KV_BLOCK, 1);
}

/* All ones in lanes j + i with lo <= j + i < hi. */
static inline uint32x4_t between(int j, int lo, int hi) {
    const int32_t count[4] = {0, 1, 2, 3};
    int32x4_t at = vaddq_s32(vld1q_s32(count), vdupq_n_s32(j));
    return vandq_u32(vcgeq_s32(at, vdupq_n_s32(lo)), vcltq_s32(at, vdupq_n_s32(hi)));
}

static float attn_softmax_neon(float *s, int n, int lo, int hi, float cap, float *max, float *sum) {
    float32x4_t low = vdupq_n_f32(-INFINITY), most = low, total = vdupq_n_f32(0.0f), v[SM_KV_BLOCK / 4];
    for (int j = 0; j < n; j += 4) {
        float32x4_t x = load_4(s + j, n - j);
        if (cap > 0.0f)
            x = vmulq_n_f32(tanh_4(vdivq_f32(x, vdupq_n_f32(cap))), cap);
        v[j / 4] = vbslq_f32(between(j, lo, hi), x, low);
        most = vmaxnmq_f32(most, v[j / 4]);
    }
    float top = vmaxnmvq_f32(most), before = *max;
    top = top > before ? top : before;
    for (int j = 0; j < n; j += 4) {
        float32x4_t e = exp_4(vsubq_f32(v[j / 4], vdupq_n_f32(top)));
        e = vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(e), between(j, lo, hi)));
        total = vaddq_f32(total, e);
        store_4(s + j, e, n - j);
    }
    float corr = vgetq_lane_f32(exp_4(vdupq_n_f32(before - top)), 0);
    *sum = *sum * corr + vaddvq_f32(total);
    *max = top;
    return corr;
}

/* Elements [0, 4 vecs) of n_q queries, the last vector having `last` lanes. */
ALWAYS void values(const float *s, const float *corr, const uint16_t *v, int dim, int n, int last, float *o, int vecs,
                   int n_q) {
    float32x4_t sum[16];
    for (int i = 0; i < n_q; i++)
        for (int e = 0; e < vecs; e++)
            sum[i * vecs + e] =
                vmulq_n_f32(load_4(o + (size_t)i * (size_t)dim + 4 * e, e == vecs - 1 ? last : 4), corr[i]);
    for (int j = 0; j < n; j++, v += dim)
        for (int e = 0; e < vecs; e++) {
            float32x4_t x = f16_at(v + 4 * e, e == vecs - 1 ? last : 4);
            for (int i = 0; i < n_q; i++)
                sum[i * vecs + e] = vfmaq_n_f32(sum[i * vecs + e], x, s[i * SM_KV_BLOCK + j]);
        }
    for (int i = 0; i < n_q; i++)
        for (int e = 0; e < vecs; e++)
            store_4(o + (size_t)i * (size_t)dim + 4 * e, sum[i * vecs + e], e == vecs - 1 ? last : 4);
}

ALWAYS void values_vecs(const float *s, const float *corr, const uint16_t *v, int dim, int n, float *o, int n_q) {
    int d = 0;
    for (; d + 16 <= dim; d += 16)
        values(s, corr, v + d, dim, n, 4, o + d, 4, n_q);
    for (; d + 4 <= dim; d += 4)
        values(s, corr, v + d, dim, n, 4, o + d, 1, n_q);
    if (d < dim)
        values(s, corr, v + d, dim, n, dim - d, o + d, 1, n_q);
}

static void attn_values_neon(const float *s, const float *corr, int n_q, const uint16_t *v, int dim, int n, float *o) {
    int i = 0;
    for (; i + 4 <= n_q; i += 4)
        values_vecs(s + i * SM_KV_BLOCK, corr + i, v, dim, n, o + (size_t)i * (size_t)dim, 4);
    if (i + 3 <= n_q) {
        values_vecs(s + i * SM_KV_BLOCK, corr + i, v, dim, n, o + (size_t)i * (size_t)dim, 3);
        i += 3;
    }
    for (; i < n_q; i++)
        values_vecs(s + i * SM_KV_BLOCK, corr + i, v, dim, n, o + (size_t)i * (size_t)dim, 1);
}

void sm_attn_init_neon(sm_kernels *k) {
    k->attn_scores = attn_scores_neon;
    k->attn_softmax = attn_softmax_neon;
    k->attn_values = attn_values_neon;
}
