/* SPDX-License-Identifier: MIT
 *
 * affine_lanes.h: affine_blocks.h over vectors; each instruction set includes it once.
 *
 * Before it stand the vectors and what they do:
 *
 *   LANES                         f32 in a vector, a power of two of 4 to 16
 *   vf, vi, vs                    f32[LANES], int32_t[LANES], int16_t[2 LANES]
 *   vf_load vf_store vf_set vf_mul vf_add vf_sub vf_min vf_max
 *   vf_nearest                    nearest integer, ties to even
 *   vf_taint(x, a)                a, or NaN once an x is not finite; a starts at 0
 *   vf_quad(x, stride)            elements 0 .. 3 of LANES / 4 rows that are 4 strides apart
 *   vf_turn(v[4])                 4 x 4 elements across the diagonal, in each quarter
 *   vi_of(x)                      nearest integer
 *   vi_add vi_set
 *   vs_pair(a, b)                 a[0] b[0] a[1] b[1] ...
 *   vs_load vs_store vs_set vs_min vs_max
 *   vs_product(a, b)              (a b + 2^14) / 2^15
 *   sums, sums_zero, sums_add(s, a, b), sums_lanes(s, int32_t[LANES])
 *                                 s[i] += a[2 i] b[2 i] + a[2 i + 1] b[2 i + 1]
 *   sums_total(s)                 of all lanes, int64_t
 *   sum_16(f)                     f32 of the 16 in f[16 / LANES]: halves added until one is left
 *   put8(out, q), put4(out, q)    16 codes of q[16 / LANES], a byte or half a byte each
 *
 * Short blocks lie one a lane: weight i of all of them is vector i.  A long block goes through the same loops as if each
 * lane were a part of it, and the lanes are summed at the end.  Weights past the end are 0, which add nothing anywhere.
 */
#ifndef SM_AFFINE_LANES_H
#define SM_AFFINE_LANES_H

#ifdef LANES /* else empty: headers compile alone, without vectors too */
#include <stdalign.h>
#include <string.h>

#include "tensor/affine_blocks_int.h"

enum { QUADS = LANES / 4, PER_16 = 16 / LANES, PAIR = 2 * LANES };

/* ------------------------------------------------------------------ a trial */

/* Sums over `count` vectors of pairs, few enough for 32 bits. */
static inline void trial_sums(const int16_t *v, size_t count, vs mul, vs lo, vs hi, vs round, sums *vd, sums *dd) {
    sums s_vd = sums_zero(), s_dd = sums_zero();
#pragma GCC unroll 4
    for (size_t i = 0; i < count; i++) {
        vs a = vs_load(v + i * PAIR);
        vs d = vs_product(vs_min(vs_max(vs_product(a, mul), lo), hi), round);
        s_vd = sums_add(s_vd, a, d);
        s_dd = sums_add(s_dd, d, d);
    }
    *vd = s_vd;
    *dd = s_dd;
}

/* e = x - scale * d for two scales at once: adds e^2. */
typedef struct try_scale {
    vf inv, scale, lo, hi;
} try_scale;

static inline vf add_error(const try_scale *t, vf x, vf sum) {
    vf d = vf_nearest(vf_min(vf_max(vf_mul(x, t->inv), t->lo), t->hi));
    vf e = vf_sub(x, vf_mul(d, t->scale));
    return vf_add(sum, vf_mul(e, e));
}

/* ------------------------------------------------------------------ short blocks, one a lane */

typedef struct lanes_best {
    alignas(64) double vd[LANES];
    alignas(64) double dd[LANES];
    alignas(64) float part[LANES];
    alignas(64) float shift[LANES];
    alignas(64) int32_t behind[LANES];
} lanes_best;

typedef struct lanes {
    const sm_block_rule *r;
    block_trials trials;
    size_t rows; /* a block's weights, to a multiple of 4 */
    alignas(64) float most[LANES];
    alignas(64) float plain[LANES];
    alignas(64) float code_at[LANES];
    alignas(64) float part_of[LANES];
    alignas(64) float shift[LANES];
    alignas(64) int32_t ordinary[LANES];
    alignas(64) int32_t lo[LANES];
    alignas(64) int32_t hi[LANES]; /* of a trial, both halves of a pair */
    lanes_best best;
    alignas(64) float x[SM_SHORT_BLOCK * LANES];
    alignas(64) int16_t v[SM_SHORT_BLOCK * LANES];
} lanes;

static inline int32_t twice(int32_t h) {
    return (int32_t)((uint32_t)h << 16 | ((uint32_t)h & 0xFFFF));
}

/* Weight i of block b to x[i * LANES + b]; the last block stands for those beyond count. */
static void spread(lanes *g, const float *x, size_t n, size_t count) {
    size_t i = 0;
    if (count == LANES)
        for (; i + 4 <= n; i += 4) {
            vf v[4];
            for (size_t k = 0; k < 4; k++)
                v[k] = vf_quad(x + k * n + i, n);
            vf_turn(v);
            for (size_t k = 0; k < 4; k++)
                vf_store(g->x + (i + k) * LANES, v[k]);
        }
    for (; i < n; i++)
        for (size_t b = 0; b < LANES; b++)
            g->x[i * LANES + b] = x[SM_MIN(b, count - 1) * n + i];
    g->rows = (n + 3) / 4 * 4;
    memset(g->x + n * LANES, 0, (g->rows - n) * LANES * sizeof *g->x);
}

/* Trial limits of the lanes' offsets. */
static void limits_of(lanes *g, const float *shift) {
    for (size_t l = 0; l < LANES; l++) {
        g->lo[l] = twice((int32_t)(g->r->qlo - shift[l]) * (1 << g->r->frac));
        g->hi[l] = twice((int32_t)(g->r->qhi - shift[l]) * (1 << g->r->frac));
    }
}

static void plan_lanes(lanes *g, size_t n) {
    alignas(64) float from[LANES], to[LANES], taint[LANES];
    vf lo = vf_load(g->x), hi = lo, t = vf_set(0.0f);
    for (size_t i = 0; i < n; i++) {
        vf v = vf_load(g->x + i * LANES);
        lo = vf_min(lo, v);
        hi = vf_max(hi, v);
        t = vf_taint(v, t);
    }
    vf_store(from, lo);
    vf_store(to, hi);
    vf_store(taint, t);
    for (size_t l = 0; l < LANES; l++) {
        bool good = taint[l] == 0.0f;
        block_plan p = block_plan_of(g->r, good ? from[l] : 0.0f, good ? to[l] : 0.0f);
        g->most[l] = p.most;
        g->plain[l] = p.plain;
        g->code_at[l] = p.code_at;
        g->part_of[l] = p.part_of;
        g->shift[l] = p.shift;
        g->ordinary[l] = p.ordinary;
    }
    alignas(64) float mul[LANES];
    for (size_t l = 0; l < LANES; l++)
        mul[l] = g->ordinary[l] ? VFULL / g->most[l] : 0.0f;
    vf m = vf_load(mul);
    for (size_t i = 0; i < g->rows; i += 2)
        vs_store(g->v + i * LANES, vs_pair(vi_of(vf_mul(vf_load(g->x + i * LANES), m)),
                                           vi_of(vf_mul(vf_load(g->x + (i + 1) * LANES), m))));
}

/* One trial of every lane that `may`; returns whether any lane still is patient. */
static inline bool try_lanes(lanes *g, const float *part, const float *shift, const int32_t *may) {
    lanes_best *b = &g->best;
    alignas(64) int32_t mul[LANES], sum_vd[LANES], sum_dd[LANES];
    sums s_vd, s_dd;
    int32_t patient = 0, patience = g->trials.patience;
    for (size_t l = 0; l < LANES; l++)
        mul[l] = twice((int32_t)block_nearest(part[l] * g->code_at[l]));
    trial_sums(g->v, g->rows / 2, vs_load((const int16_t *)mul), vs_load((const int16_t *)g->lo),
               vs_load((const int16_t *)g->hi), vs_set((int16_t)(1 << (15 - g->r->frac))), &s_vd, &s_dd);
    sums_lanes(s_vd, sum_vd);
    sums_lanes(s_dd, sum_dd);
    for (size_t l = 0; l < LANES; l++) {
        double vd = (double)sum_vd[l], dd = (double)sum_dd[l];
        int32_t take = (vd * vd * b->dd[l] > b->vd[l] * b->vd[l] * dd) & may[l];
        b->vd[l] = take ? vd : b->vd[l];
        b->dd[l] = take ? dd : b->dd[l];
        b->part[l] = take ? part[l] : b->part[l];
        b->shift[l] = take ? shift[l] : b->shift[l];
        b->behind[l] = take ? 0 : b->behind[l] + 1;
        patient |= b->behind[l] < patience;
    }
    return patient != 0;
}

/* The offsets beside the first one, round the best trial. */
static void try_beside(lanes *g) {
    alignas(64) float shift[LANES], part[LANES], base[LANES];
    alignas(64) int32_t may[LANES];
    const block_trials t = g->trials;
    memcpy(base, g->best.part, sizeof base);
    for (float step = -1.0f; step <= 1.0f; step += 2.0f) {
        for (size_t l = 0; l < LANES; l++) {
            shift[l] = g->shift[l] + step;
            may[l] = (shift[l] >= g->r->off_lo) & (shift[l] <= g->r->off_hi);
            shift[l] = may[l] ? shift[l] : g->shift[l];
        }
        limits_of(g, shift);
        memcpy(part, base, sizeof part);
        for (int i = 0; i < t.beside; i++)
            for (size_t l = 0; l < LANES; l++)
                part[l] *= 1.0f / t.by;
        for (int i = -t.beside; i <= t.beside; i++) {
            try_lanes(g, part, shift, may);
            for (size_t l = 0; l < LANES; l++)
                part[l] *= t.by;
        }
    }
}

static void search_lanes(lanes *g) {
    lanes_best *b = &g->best;
    const block_trials t = g->trials;
    alignas(64) float part[LANES], base[LANES], shift[LANES];
    alignas(64) int32_t may[LANES];
    for (size_t l = 0; l < LANES; l++) {
        b->vd[l] = 0.0;
        b->dd[l] = 1.0;
        b->part[l] = 1.0f;
        b->shift[l] = g->shift[l];
        may[l] = 1;
    }
    limits_of(g, g->shift);
    for (int i = 0; i < t.n_few; i++) {
        for (size_t l = 0; l < LANES; l++)
            part[l] = t.few[i] * g->part_of[l];
        try_lanes(g, part, g->shift, may);
    }
    for (size_t l = 0; l < LANES; l++)
        b->behind[l] = g->ordinary[l] ? 0 : t.patience;
    bool patient = true;
    for (float p = t.first; p < t.last && patient; p *= t.by) {
        for (size_t l = 0; l < LANES; l++) {
            part[l] = p;
            may[l] = b->behind[l] < t.patience;
        }
        patient = try_lanes(g, part, g->shift, may);
    }
    if (t.beside > 0)
        try_beside(g);
    for (size_t l = 0; l < LANES; l++)
        may[l] = 1;
    for (int i = 0; i < t.halvings; i++) {
        memcpy(base, b->part, sizeof base);
        memcpy(shift, b->shift, sizeof shift);
        limits_of(g, shift);
        for (int k = 0; k < 2; k++) {
            for (size_t l = 0; l < LANES; l++)
                part[l] = base[l] * (k == 0 ? 1.0f / t.half[i] : t.half[i]);
            try_lanes(g, part, shift, may);
        }
    }
}

static void lanes_errors(const lanes *g, const float *fine, float *fine_error, float *plain_error) {
    alignas(64) float f[8][LANES];
    for (size_t l = 0; l < LANES; l++) {
        f[0][l] = 1.0f / fine[l];
        f[1][l] = g->r->qlo - g->best.shift[l];
        f[2][l] = g->r->qhi - g->best.shift[l];
        f[3][l] = 1.0f / g->plain[l];
        f[4][l] = g->r->qlo - g->shift[l];
        f[5][l] = g->r->qhi - g->shift[l];
    }
    try_scale a = {vf_load(f[0]), vf_load(fine), vf_load(f[1]), vf_load(f[2])};
    try_scale b = {vf_load(f[3]), vf_load(g->plain), vf_load(f[4]), vf_load(f[5])};
    vf sa[SHORT_SUMS], sb[SHORT_SUMS];
    for (size_t k = 0; k < SHORT_SUMS; k++)
        sa[k] = sb[k] = vf_set(0.0f);
    for (size_t i = 0; i < g->rows; i += SHORT_SUMS)
        for (size_t k = 0; k < SHORT_SUMS; k++) {
            vf x = vf_load(g->x + (i + k) * LANES);
            sa[k] = add_error(&a, x, sa[k]);
            sb[k] = add_error(&b, x, sb[k]);
        }
    vf_store(fine_error, vf_add(vf_add(sa[0], sa[2]), vf_add(sa[1], sa[3])));
    vf_store(plain_error, vf_add(vf_add(sb[0], sb[2]), vf_add(sb[1], sb[3])));
}

static void fit_lanes(lanes *g, const float *x, size_t n, size_t count, sm_block_fit *fit) {
    alignas(64) float fine[LANES], fine_error[LANES], plain_error[LANES];
    const sm_block_rule *r = g->r;
    spread(g, x, n, count);
    plan_lanes(g, n);
    search_lanes(g);
    for (size_t l = 0; l < LANES; l++)
        fine[l] = block_fp16((float)(g->best.vd[l] / g->best.dd[l]) * (g->most[l] / VFULL));
    lanes_errors(g, fine, fine_error, plain_error);
    for (size_t l = 0; l < count; l++) {
        bool better = fine_error[l] < plain_error[l];
        float shift = better ? g->best.shift[l] : g->shift[l], scale = better ? fine[l] : g->plain[l];
        if (!g->ordinary[l] || fine[l] < ORDINARY_LEAST)
            scale = -1.0f;
        fit[l] = (sm_block_fit){scale, r->qlo - shift, r->qhi - shift, (int32_t)shift};
    }
}

/* ------------------------------------------------------------------ a long block */

typedef struct long_block {
    const sm_block_rule *r;
    const float *x;
    const int16_t *v;
    size_t n, pairs; /* vectors of pairs in v */
    block_plan plan;
    double vd, dd; /* of the best trial */
    float part, shift;
} long_block;

static bool long_range(const float *x, size_t n, float *from, float *to) {
    vf lo[2] = {vf_load(x), vf_load(x)}, hi[2] = {lo[0], lo[0]}, t[2] = {vf_set(0.0f), vf_set(0.0f)};
    size_t i = 0;
    for (; i + PAIR <= n; i += PAIR)
        for (size_t k = 0; k < 2; k++) {
            vf v = vf_load(x + i + k * LANES);
            lo[k] = vf_min(lo[k], v);
            hi[k] = vf_max(hi[k], v);
            t[k] = vf_taint(v, t[k]);
        }
    float a[LANES], b[LANES], c[LANES], taint = 0.0f;
    vf_store(a, vf_min(lo[0], lo[1]));
    vf_store(b, vf_max(hi[0], hi[1]));
    vf_store(c, vf_add(t[0], t[1]));
    for (size_t l = 0; l < LANES; l++) {
        a[0] = a[l] < a[0] ? a[l] : a[0];
        b[0] = b[l] > b[0] ? b[l] : b[0];
        taint += c[l];
    }
    for (; i < n; i++) {
        a[0] = x[i] < a[0] ? x[i] : a[0];
        b[0] = x[i] > b[0] ? x[i] : b[0];
        taint += x[i] - x[i];
    }
    *from = a[0];
    *to = b[0];
    return taint == 0.0f;
}

static size_t long_whole(const float *x, size_t n, float mul, int16_t *v) {
    vf m = vf_set(mul);
    size_t i = 0, pairs = 0;
    for (; i + PAIR <= n; i += PAIR, pairs++)
        vs_store(v + i, vs_pair(vi_of(vf_mul(vf_load(x + i), m)), vi_of(vf_mul(vf_load(x + i + LANES), m))));
    if (i < n) {
        float tail[PAIR] = {0};
        memcpy(tail, x + i, (n - i) * sizeof *x);
        vs_store(v + i, vs_pair(vi_of(vf_mul(vf_load(tail), m)), vi_of(vf_mul(vf_load(tail + LANES), m))));
        pairs++;
    }
    return pairs;
}

static bool try_long(long_block *b, float part, float shift) {
    enum { RUN = 128 }; /* vectors whose sums stay within 32 bits */
    const sm_block_rule *r = b->r;
    vs mul = vs_set((int16_t)block_nearest(part * b->plan.code_at)), round = vs_set((int16_t)(1 << (15 - r->frac)));
    vs lo = vs_set((int16_t)((int32_t)(r->qlo - shift) * (1 << r->frac)));
    vs hi = vs_set((int16_t)((int32_t)(r->qhi - shift) * (1 << r->frac)));
    int64_t sum_vd = 0, sum_dd = 0;
    for (size_t i = 0; i < b->pairs; i += RUN) {
        sums run_vd, run_dd;
        trial_sums(b->v + i * PAIR, SM_MIN(b->pairs - i, (size_t)RUN), mul, lo, hi, round, &run_vd, &run_dd);
        sum_vd += sums_total(run_vd);
        sum_dd += sums_total(run_dd);
    }
    double vd = (double)sum_vd, dd = (double)sum_dd;
    if (!(vd * vd * b->dd > b->vd * b->vd * dd))
        return false;
    b->vd = vd;
    b->dd = dd;
    b->part = part;
    b->shift = shift;
    return true;
}

static void search_long(long_block *b) {
    const sm_block_rule *r = b->r;
    block_trials t = block_trials_of(r, b->n);
    float first = b->plan.shift;
    for (int i = 0; i < t.n_few; i++)
        try_long(b, t.few[i] * b->plan.part_of, first);
    int behind = 0;
    for (float part = t.first; part < t.last && behind < t.patience; part *= t.by)
        behind = try_long(b, part, first) ? 0 : behind + 1;
    float base = b->part;
    for (float shift = first - 1.0f; shift <= first + 1.0f && t.beside > 0; shift += 2.0f) {
        float part = base;
        if (shift < r->off_lo || shift > r->off_hi)
            continue;
        for (int i = 0; i < t.beside; i++)
            part *= 1.0f / t.by;
        for (int i = -t.beside; i <= t.beside; i++, part *= t.by)
            try_long(b, part, shift);
    }
    for (int i = 0; i < t.halvings; i++) {
        float part = b->part, half = t.half[i];
        try_long(b, part * (1.0f / half), b->shift);
        try_long(b, part * half, b->shift);
    }
}

static try_scale try_of(const sm_block_fit *f) {
    return (try_scale){vf_set(1.0f / f->scale), vf_set(f->scale), vf_set(f->lo), vf_set(f->hi)};
}

static void long_errors(const float *x, size_t n, const sm_block_fit *fine, const sm_block_fit *plain,
                        double error[2]) {
    try_scale a = try_of(fine), b = try_of(plain);
    error[0] = error[1] = 0.0;
    for (size_t from = 0; from < n; from += LONG_RUN) {
        size_t i = from, to = SM_MIN(n, from + LONG_RUN);
        vf sa[PER_16], sb[PER_16];
        for (size_t k = 0; k < PER_16; k++)
            sa[k] = sb[k] = vf_set(0.0f);
        for (; i + 16 <= to; i += 16)
            for (size_t k = 0; k < PER_16; k++) {
                vf v = vf_load(x + i + k * LANES);
                sa[k] = add_error(&a, v, sa[k]);
                sb[k] = add_error(&b, v, sb[k]);
            }
        if (i < to) {
            float tail[16] = {0};
            memcpy(tail, x + i, (to - i) * sizeof *x);
            for (size_t k = 0; k < PER_16; k++) {
                vf v = vf_load(tail + k * LANES);
                sa[k] = add_error(&a, v, sa[k]);
                sb[k] = add_error(&b, v, sb[k]);
            }
        }
        error[0] += (double)sum_16(sa);
        error[1] += (double)sum_16(sb);
    }
}

static sm_block_fit fit_long(const sm_block_rule *r, const float *x, size_t n, int16_t *room) {
    static const sm_block_fit other = {.scale = -1.0f};
    float from, to;
    if (!long_range(x, n, &from, &to))
        return other;
    long_block b = {.r = r, .x = x, .v = room, .n = n, .plan = block_plan_of(r, from, to), .dd = 1.0, .part = 1.0f};
    if (!b.plan.ordinary)
        return other;
    b.shift = b.plan.shift;
    b.pairs = long_whole(x, n, VFULL / b.plan.most, room);
    search_long(&b);
    float scale = block_fp16((float)(b.vd / b.dd) * (b.plan.most / VFULL));
    if (scale < ORDINARY_LEAST)
        return other;
    double error[2];
    sm_block_fit fine = {scale, r->qlo - b.shift, r->qhi - b.shift, (int32_t)b.shift};
    sm_block_fit plain = {b.plan.plain, r->qlo - b.plan.shift, r->qhi - b.plan.shift, (int32_t)b.plan.shift};
    long_errors(x, n, &fine, &plain, error);
    return error[0] < error[1] ? fine : plain;
}

static void fit_vectors(const sm_block_rule *r, const float *x, size_t n, size_t count, int16_t *room,
                        sm_block_fit *fit) {
    if (n > SM_SHORT_BLOCK) {
        for (size_t b = 0; b < count; b++)
            fit[b] = fit_long(r, x + b * n, n, room);
        return;
    }
    lanes g;
    g.r = r;
    g.trials = block_trials_of(r, n);
    for (size_t b = 0; b < count; b += LANES)
        fit_lanes(&g, x + b * n, n, SM_MIN(count - b, (size_t)LANES), fit + b);
}

/* ------------------------------------------------------------------ codes */

typedef struct coder {
    vf inv, lo, hi;
    vi shift;
} coder;

static inline coder coder_of(const sm_block_fit *f) {
    float inv = f->scale > 0.0f ? 1.0f / f->scale : 0.0f;
    return (coder){vf_set(inv), vf_set(f->lo), vf_set(f->hi), vi_set(f->shift)};
}

static inline void codes_16(const coder *c, const float *x, vi q[PER_16]) {
    for (size_t k = 0; k < PER_16; k++)
        q[k] = vi_add(vi_of(vf_min(vf_max(vf_mul(vf_load(x + k * LANES), c->inv), c->lo), c->hi)), c->shift);
}

static void codes8_vectors(const float *x, size_t n, size_t count, const sm_block_fit *fit, uint8_t *out) {
    vi q[PER_16];
    for (size_t b = 0; b < count; b++, x += n, out += n) {
        coder c = coder_of(fit + b);
        size_t i = 0;
        for (; i + 16 <= n; i += 16) {
            codes_16(&c, x + i, q);
            put8(out + i, q);
        }
        if (i < n) {
            float tail[16] = {0};
            uint8_t bytes[16];
            memcpy(tail, x + i, (n - i) * sizeof *x);
            codes_16(&c, tail, q);
            put8(bytes, q);
            memcpy(out + i, bytes, n - i);
        }
    }
}

static void codes4_vectors(const float *x, size_t n, size_t count, const sm_block_fit *fit, uint8_t *out) {
    vi q[PER_16];
    for (size_t b = 0; b < count; b++, x += n, out += n / 2) {
        coder c = coder_of(fit + b);
        size_t i = 0;
        for (; i + 16 <= n; i += 16) {
            codes_16(&c, x + i, q);
            put4(out + i / 2, q);
        }
        if (i < n) {
            float tail[16] = {0};
            uint8_t bytes[8];
            memcpy(tail, x + i, (n - i) * sizeof *x);
            codes_16(&c, tail, q);
            put4(bytes, q);
            memcpy(out + i / 2, bytes, (n - i) / 2);
            if (n % 2)
                out[n / 2] = (uint8_t)((out[n / 2] & 0xF0) | (bytes[(n - i) / 2] & 15));
        }
    }
}

#endif
#endif
