/* SPDX-License-Identifier: MIT
 *
 * affine_blocks_int.h: what all sets of affine_blocks.h do alike: the numbers of one block and the row of trials.
 */
#ifndef SM_AFFINE_BLOCKS_INT_H
#define SM_AFFINE_BLOCKS_INT_H

#include <math.h>

#include "tensor/affine_blocks.h"
#include "tensor/dtype_int.h"

#define VFULL 32000.0f /* the largest weight as a whole number */
#define ORDINARY_LEAST 0x1p-14f
#define ORDINARY_MOST 16384.0f

/* Nearest integer, ties to even, of |v| < 2^22. */
static inline float block_nearest(float v) {
    return (v + 12582912.0f) - 12582912.0f;
}

static inline float block_clamp(float v, float lo, float hi) {
    v = v > lo ? v : lo;
    return v < hi ? v : hi;
}

/* A row of trials.  A trial's part is what the code of the largest weight is multiplied by, 1 where it just fits.  The
 * error of a short block jumps from trial to trial, so that many of them find a better one; that of a long block of few
 * codes is a smooth curve, whose lowest place is closed in on. */
typedef struct block_trials {
    float first, by, last; /* beyond `last` trials leave 16 bits */
    int patience;          /* trials in a row that are no better */
    int n_few;             /* trials of few[] before: codes of the largest weight */
    float few[3];
    int beside;    /* trials to each side of the best with each offset beside */
    int halvings;  /* pairs of trials beside the best, */
    float half[2]; /* nearer each time */
} block_trials;

/* few: codes that the largest of weights quantized before may have had: of few values or other codes of 4 bits; in 8
 * bits 8 or 16 times a power of two, which leaves their scale a number of fp16, and 16 times 7, 15 times 8. */
static inline block_trials block_trials_of(const sm_block_rule *r, size_t n) {
    if (!r->coarse)
        return (block_trials){1.0f, 1.03f, 3.6f, 4, r->shifted ? 0 : 3, {64.0f, 112.0f, 120.0f}, 0, 1, {1.015f}};
    if (n <= SM_SHORT_BLOCK)
        return (block_trials){0.94f, 1.06f, 13.0f, 4, 3, {1.0f, 5.0f, 6.0f}, r->shifted ? 2 : 0, 1, {1.03f}};
    return (block_trials){0.94f, 1.12f, 13.0f, 2, 3, {1.0f, 5.0f, 6.0f}, r->shifted ? 1 : 0, 2, {1.06f, 1.03f}};
}

/* The numbers of a block whose weights are in from..to. */
typedef struct block_plan {
    bool ordinary;
    float most;    /* largest magnitude */
    float plain;   /* the plain scale, of fp16 */
    float code_at; /* fraction that makes d of v at part 1 */
    float part_of; /* part at which the largest weight gets code 1 */
    float shift;   /* offset */
} block_plan;

static inline float block_fp16(float v) {
    return f16_to_f32(f32_to_f16(v));
}

static inline block_plan block_plan_of(const sm_block_rule *r, float from, float to) {
    block_plan p;
    float lo = from < 0.0f ? from : 0.0f, hi = to > 0.0f ? to : 0.0f, down = -lo, most = down > hi ? down : hi;
    bool ordinary = from != to && most < ORDINARY_MOST && most > ORDINARY_LEAST;
    float unit, plain;
    p.shift = 0.0f;
    if (r->shifted) {
        unit = plain = (hi + down) / (r->qhi - r->qlo);
        float middle = block_nearest(r->qlo + (ordinary ? down / unit : 0.0f));
        p.shift = block_clamp(middle, r->off_lo, r->off_hi);
    } else {
        float up = hi / r->qhi;
        down = down / -r->qlo;
        unit = up > down ? up : down;
        plain = most / r->qhi;
    }
    p.ordinary = ordinary;
    p.most = ordinary ? most : 1.0f;
    p.plain = ordinary ? block_fp16(plain) : 1.0f;
    p.part_of = ordinary ? unit / most : 0.0f;
    p.code_at = ordinary ? most / unit * ((float)(1 << r->frac) * (32768.0f / VFULL)) : 0.0f;
    return p;
}

#endif
