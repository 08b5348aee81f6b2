/* SPDX-License-Identifier: MIT
 *
 * affine_blocks.c: the definition of affine_blocks.h in plain C, one block after another.
 */
#include "tensor/affine_blocks.h"

#include <string.h>

#include "tensor/affine_blocks_int.h"

bool sm_block_rule_of(sm_dtype code, sm_dtype off, sm_dtype scale_type, sm_block_rule *r) {
    int bits = sm_dtype_bits(code);
    char kind = sm_dtype_kind(code);
    if (scale_type != SM_FP16 || (kind != 'i' && kind != 'u') || (bits != 4 && bits != 8))
        return false;
    if (off == SM_NONE ? kind == 'u' : sm_dtype_kind(off) == 'f')
        return false;
    *r = (sm_block_rule){.qlo = (float)sm_dtype_min(code), .qhi = (float)sm_dtype_max(code), .coarse = bits == 4};
    r->shifted = off != SM_NONE;
    r->frac = bits == 4 ? 7 : r->shifted ? 5 : 6;
    if (r->shifted) {
        r->off_lo = SM_MAX((float)sm_dtype_min(off), r->qlo);
        r->off_hi = SM_MIN((float)sm_dtype_max(off), r->qhi);
    }
    return r->off_lo <= r->off_hi;
}

/* ------------------------------------------------------------------ one block */

/* The best trial so far. */
typedef struct best {
    double vd, dd; /* its sums */
    float part, shift;
} best;

/* (a b + 2^14) / 2^15, which all instruction sets have. */
static int32_t product15(int32_t a, int32_t b) {
    return (a * b + 0x4000) >> 15;
}

static bool try_part(const sm_block_rule *r, const int16_t *v, size_t n, float code_at, float part, float shift,
                     best *b) {
    int32_t mul = (int32_t)block_nearest(part * code_at), round = 1 << (15 - r->frac);
    int32_t lo = (int32_t)(r->qlo - shift) * (1 << r->frac), hi = (int32_t)(r->qhi - shift) * (1 << r->frac);
    int64_t sum_vd = 0, sum_dd = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t t = product15(v[i], mul);
        t = SM_MIN(SM_MAX(t, lo), hi);
        int32_t d = product15(t, round);
        sum_vd += v[i] * d;
        sum_dd += d * d;
    }
    double vd = (double)sum_vd, dd = (double)sum_dd;
    if (!(vd * vd * b->dd > b->vd * b->vd * dd))
        return false;
    *b = (best){vd, dd, part, shift};
    return true;
}

static best search_parts(const sm_block_rule *r, const int16_t *v, size_t n, const block_plan *p) {
    block_trials t = block_trials_of(r, n);
    best b = {0.0, 1.0, 1.0f, p->shift};
    for (int i = 0; i < t.n_few; i++)
        try_part(r, v, n, p->code_at, t.few[i] * p->part_of, p->shift, &b);
    int behind = 0;
    for (float part = t.first; part < t.last && behind < t.patience; part *= t.by)
        behind = try_part(r, v, n, p->code_at, part, p->shift, &b) ? 0 : behind + 1;
    float base = b.part;
    for (float shift = p->shift - 1.0f; shift <= p->shift + 1.0f && t.beside > 0; shift += 2.0f) {
        float part = base;
        if (shift < r->off_lo || shift > r->off_hi)
            continue;
        for (int i = 0; i < t.beside; i++)
            part *= 1.0f / t.by;
        for (int i = -t.beside; i <= t.beside; i++, part *= t.by)
            try_part(r, v, n, p->code_at, part, shift, &b);
    }
    for (int i = 0; i < t.halvings; i++) {
        float part = b.part, half = t.half[i];
        try_part(r, v, n, p->code_at, part * (1.0f / half), b.shift, &b);
        try_part(r, v, n, p->code_at, part * half, b.shift, &b);
    }
    return b;
}

static float sum_tree(float *f, size_t n) {
    for (; n > 1; n /= 2)
        for (size_t i = 0; i < n / 2; i++)
            f[i] += f[i + n / 2];
    return f[0];
}

static double error_of(const float *x, size_t n, sm_block_fit f) {
    size_t sums = n <= SM_SHORT_BLOCK ? SHORT_SUMS : LONG_SUMS, run = n <= SM_SHORT_BLOCK ? n : LONG_RUN;
    double sum = 0.0;
    float inv = 1.0f / f.scale;
    for (size_t from = 0; from < n; from += run) {
        float part[LONG_SUMS] = {0};
        for (size_t i = from; i < SM_MIN(n, from + run); i++) {
            float e = x[i] - block_nearest(block_clamp(x[i] * inv, f.lo, f.hi)) * f.scale;
            part[(i - from) % sums] += e * e;
        }
        sum += (double)sum_tree(part, sums);
    }
    return sum;
}

static sm_block_fit fit_with(const sm_block_rule *r, float scale, float shift) {
    return (sm_block_fit){scale, r->qlo - shift, r->qhi - shift, (int32_t)shift};
}

static sm_block_fit fit_one(const sm_block_rule *r, const float *x, size_t n, int16_t *v) {
    static const sm_block_fit other = {.scale = -1.0f};
    float from = x[0], to = x[0];
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i]))
            return other;
        from = x[i] < from ? x[i] : from;
        to = x[i] > to ? x[i] : to;
    }
    block_plan p = block_plan_of(r, from, to);
    if (!p.ordinary)
        return other;
    float mul = VFULL / p.most;
    for (size_t i = 0; i < n; i++)
        v[i] = (int16_t)block_nearest(x[i] * mul);
    best b = search_parts(r, v, n, &p);
    float scale = block_fp16((float)(b.vd / b.dd) * (p.most / VFULL));
    if (scale < ORDINARY_LEAST)
        return other;
    sm_block_fit plain = fit_with(r, p.plain, p.shift), fine = fit_with(r, scale, b.shift);
    return error_of(x, n, fine) < error_of(x, n, plain) ? fine : plain;
}

static void fit_c(const sm_block_rule *r, const float *x, size_t n, size_t count, int16_t *room, sm_block_fit *fit) {
    for (size_t b = 0; b < count; b++)
        fit[b] = fit_one(r, x + b * n, n, room);
}

/* ------------------------------------------------------------------ codes */

static int32_t code_of(float x, float inv, const sm_block_fit *f) {
    return (int32_t)block_nearest(block_clamp(x * inv, f->lo, f->hi)) + f->shift;
}

static float inverse(const sm_block_fit *f) {
    return f->scale > 0.0f ? 1.0f / f->scale : 0.0f;
}

static void codes8_c(const float *x, size_t n, size_t count, const sm_block_fit *fit, uint8_t *out) {
    for (size_t b = 0; b < count; b++, x += n, out += n) {
        float inv = inverse(fit + b);
        for (size_t i = 0; i < n; i++)
            out[i] = (uint8_t)code_of(x[i], inv, fit + b);
    }
}

static void codes4_c(const float *x, size_t n, size_t count, const sm_block_fit *fit, uint8_t *out) {
    for (size_t b = 0; b < count; b++, x += n, out += n / 2) {
        float inv = inverse(fit + b);
        for (size_t i = 0; i + 1 < n; i += 2)
            out[i / 2] = (uint8_t)((code_of(x[i], inv, fit + b) & 15) | (code_of(x[i + 1], inv, fit + b) & 15) << 4);
        if (n % 2)
            out[n / 2] = (uint8_t)((out[n / 2] & 0xF0) | (code_of(x[n - 1], inv, fit + b) & 15));
    }
}

/* ------------------------------------------------------------------ which set */

const sm_block_loops *sm_block_loops_c(void) {
    static const sm_block_loops loops = {"c", fit_c, codes8_c, codes4_c};
    return &loops;
}

const sm_block_loops *sm_block_loops_of(sm_isa isa) {
#if defined(__x86_64__)
    if (isa >= SM_ISA_AVX512VNNI)
        return &sm_block_loops_avx512vnni;
    if (isa >= SM_ISA_AVX512)
        return &sm_block_loops_avx512;
    if (isa >= SM_ISA_AVX2)
        return &sm_block_loops_avx2;
#elif defined(__aarch64__)
    if (isa >= SM_ISA_NEON)
        return &sm_block_loops_neon;
#endif
    (void)isa;
    return sm_block_loops_c();
}
