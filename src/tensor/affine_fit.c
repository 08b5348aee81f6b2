/* SPDX-License-Identifier: MIT
 *
 * affine_fit.c: which scale a block of weights gets (affine_fit.h).
 *
 * A search keeps the best (scale, lo..hi, offset) seen.  Trials compare sums of products, which is cheap; finalists are
 * numbers of the scale's type and compare true errors.  Blocks far from 1 are brought near it by a power of two first,
 * so that squares stay within f32.
 *
 * At the ends of fp16: scales below 16 units of 2^-24 are tried one by one, since rounding one of them moves all codes;
 * codes whose product would round to infinity are not used, and neither are scales that leave none.
 */
#include "tensor/affine_fit.h"

#include <math.h>
#include <string.h>

#include "tensor/dtype_int.h"
#include "tensor/enc_int.h"

#define HALF_UNIT 0x1p-24f
#define HALF_OVERFLOW 65520.0f /* rounds to infinity */

typedef struct search {
    const sm_fit_loops *l;
    sm_dtype type; /* of the scale */
    const float *x;
    size_t n;
    float pow; /* x is the block divided by this */
    float lo, hi;
    int32_t shift;
    sm_block_fit best;
    double best_error;
} search;

/* Next and previous number of the scale's type above 0. */
static float step(sm_dtype t, float v, int by) {
    if (t == SM_FP16)
        return f16_to_f32((uint16_t)(f32_to_f16(v) + by));
    if (t == SM_BF16)
        return bf16_to_f32((uint16_t)(f32_to_bf16(v) + by));
    return f32_of_bits((uint32_t)((int64_t)f32_bits(v) + by));
}

/* True error of a scale (of the block as it is), kept when it is the least.  Returns the best scale for its codes. */
static float consider(search *s, float scale) {
    float lo = s->lo, hi = s->hi, unit;
    double xd, dd;
    scale = sm_enc_fit(s->type, scale);
    unit = scale / s->pow;
    if (!(scale > 0.0f) || !(unit > 0.0f) || !isfinite(unit))
        return 0.0f;
    if (s->type == SM_FP16 && SM_MAX(hi, -lo) * scale >= HALF_OVERFLOW) {
        float most = floorf(HALF_OVERFLOW / scale);
        most -= most * scale >= HALF_OVERFLOW ? 1.0f : 0.0f;
        hi = SM_MIN(hi, most);
        lo = SM_MAX(lo, -most);
    }
    double e = s->l->error(s->x, s->n, unit, lo, hi, &xd, &dd);
    if (e < s->best_error) {
        s->best_error = e;
        s->best = (sm_block_fit){scale, lo, hi, s->shift};
    }
    return dd > 0.0 ? (float)(xd / dd) * s->pow : 0.0f;
}

/* The best scale for the codes of the best of a row of trials, the first of which reaches `top` with `reach`: the
 * largest weight over the code it gets.  0 when no trial has a code but zero. */
static float try_scales(const search *s, float reach, float top) {
    double best = 0.0, xd, dd;
    float scale = 0.0f;
    int behind = 0;
    /* Codes that the largest weight gets, as parts of the largest code.  Small ones first: weights that were quantized
     * before, to few values or to other codes of 4 bits, are found again without error. */
    static const float few[] = {1.0f, 5.0f, 6.0f};
    if (top <= 15.0f)
        for (size_t i = 0; i < SM_ARRAY_LEN(few); i++) {
            s->l->products(s->x, s->n, few[i] / (reach * top), s->lo, s->hi, &xd, &dd);
            if (xd * xd > best * dd) {
                best = xd * xd / dd;
                scale = (float)(xd / dd);
            }
        }
    float by = top <= 15.0f ? 1.06f : 1.03f, part = top <= 15.0f ? 0.94f : 1.0f;
    for (int i = 0; i < 64 && behind < 4; i++) {
        s->l->products(s->x, s->n, part / reach, s->lo, s->hi, &xd, &dd);
        behind++;
        if (xd * xd > best * dd) {
            best = xd * xd / dd;
            scale = (float)(xd / dd);
            behind = 0;
        }
        part *= by;
    }
    return scale * s->pow;
}

/* Everything that is tried for one range of d.  from..to: the range of the block as it is. */
static void search_range(search *s, float from, float to) {
    float up = to > 0.0f && s->hi > 0.0f ? to / s->hi : 0.0f, down = from < 0.0f && s->lo < 0.0f ? from / s->lo : 0.0f;
    float reach = SM_MAX(up, down), most = SM_MAX(to, -from), top = SM_MAX(s->hi, -s->lo);
    if (!(reach > 0.0f))
        return;
    consider(s, reach);
    if (s->type == SM_FP16 && reach < 16.0f * HALF_UNIT) {
        for (float scale = HALF_UNIT; scale < reach + 2.0f * HALF_UNIT; scale += HALF_UNIT)
            consider(s, scale);
        return;
    }
    if (s->type == SM_FP16 && most > 0.5f * HALF_OVERFLOW)
        consider(s, step(SM_FP16, sm_enc_fit(SM_FP16, HALF_OVERFLOW / top), -1));
    if (from == to)
        for (float k = 1.0f; k <= top && k <= 15.0f; k++)
            consider(s, most / k);
    float fine = try_scales(s, reach / s->pow, top), again = consider(s, fine);
    if (s->type == SM_FP16 && fine < 0x1p-14f) {
        consider(s, step(SM_FP16, sm_enc_fit(SM_FP16, fine), -1));
        consider(s, step(SM_FP16, sm_enc_fit(SM_FP16, fine), 1));
    }
    if (sm_enc_fit(s->type, again) != sm_enc_fit(s->type, fine))
        consider(s, again);
}

/* A block whose largest weight is far from 1 is copied nearer.  False for all zeros.  (No scale is worse than scale 0:
 * the nearest of codes that have a zero is never farther than that.) */
static bool start(search *s, const sm_fit_loops *l, sm_dtype type, const float *x, size_t n, float most, float *buf) {
    int e;
    *s = (search){.l = l, .type = type, .x = x, .n = n, .pow = 1.0f, .best_error = INFINITY};
    if (most == 0.0f)
        return false;
    frexpf(most, &e);
    if (e > 32 || e < -32) {
        e = SM_MIN(SM_MAX(e, -120), 120);
        s->pow = ldexpf(1.0f, e);
        for (size_t i = 0; i < n; i++)
            buf[i] = x[i] / s->pow;
        s->x = buf;
    }
    return true;
}

sm_block_fit sm_fit_symmetric(const sm_fit_loops *l, sm_dtype code, sm_dtype scale_type, const float *x, size_t n,
                              float from, float to, float *buf) {
    search s;
    float most = SM_MAX(to, -from), top = (float)sm_dtype_max(code);
    if (!start(&s, l, scale_type, x, n, most, buf))
        return (sm_block_fit){0};
    s.lo = (float)sm_dtype_min(code);
    s.hi = top;
    consider(&s, most / top);
    search_range(&s, from, to);
    return s.best;
}

sm_block_fit sm_fit_shifted(const sm_fit_loops *l, sm_dtype code, sm_dtype off, sm_dtype scale_type, const float *x,
                            size_t n, float from, float to, float *buf) {
    search s;
    float qlo = (float)sm_dtype_min(code), qhi = (float)sm_dtype_max(code);
    float lo = SM_MIN(from, 0.0f), hi = SM_MAX(to, 0.0f);
    if (!start(&s, l, scale_type, x, n, SM_MAX(hi, -lo), buf))
        return (sm_block_fit){0};
    float scale = hi / (qhi - qlo) - lo / (qhi - qlo);
    float least = SM_MAX((float)sm_dtype_min(off), qlo), most = SM_MIN((float)sm_dtype_max(off), qhi);
    float middle = scale > 0.0f ? rintf(SM_MIN(SM_MAX(qlo - lo / scale, least), most)) : least;
    for (float shift = SM_MAX(middle - 1.0f, least); shift <= SM_MIN(middle + 1.0f, most); shift++) {
        bool coarse = qhi - qlo <= 15.0f; /* with many codes the nearest offset is as good as any */
        if (!coarse && shift != middle)
            continue;
        s.shift = (int32_t)shift;
        s.lo = qlo - shift;
        s.hi = qhi - shift;
        if (shift == middle)
            consider(&s, scale);
        search_range(&s, from, to);
    }
    if (s.best.scale == 0.0f)
        s.best.shift = (int32_t)least;
    return s.best;
}
