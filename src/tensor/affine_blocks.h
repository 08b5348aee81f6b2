/* SPDX-License-Identifier: MIT
 *
 * affine_blocks.h: the scales of many ordinary blocks at once, and their codes.
 *
 * The aim is that of affine_fit.h: least squared error, never above that of the plain scale.  What makes it fast is that
 * trials are whole numbers, so that sums are exact in any order: blocks can lie side by side, one a lane, and the lanes
 * of a long block can each take a part of it.  Every instruction set gives the same bytes as the plain C.
 *
 *   1. v = the block in 16-bit whole numbers, its largest weight at VFULL.
 *   2. A trial multiplies by a 16-bit fraction, which gives d with `frac` bits behind the point; clamps; rounds.  Its
 *      worth is sum(v d)^2 / sum(d d).  The first trials give the largest weight a code that weights quantized before
 *      may have had, so that those are found again without error.  Then they start where the largest weight just fits
 *      and clip more each time, until some in a row are no better.  With an offset of 4 bits, those beside it are tried
 *      round the best; last come trials between the best and its neighbours.
 *   3. The best trial's scale, sum(v d) / sum(d d), is rounded to fp16 and competes with the plain scale: true errors,
 *      in f32.
 *
 * Ordinary are blocks that are not constant, of codes of 4 or 8 bits with fp16 scales, whose scales are normal numbers
 * of fp16 and whose weights are well below its end.  Others are left to affine_fit.h, whose search is slower and knows
 * the ends of fp16.
 *
 * Sums of true errors have one order: in blocks of up to SM_SHORT_BLOCK weights SHORT_SUMS partial sums, weight i in sum
 * i % SHORT_SUMS; in longer ones LONG_SUMS of them, emptied into an f64 every LONG_RUN weights.
 */
#ifndef SM_AFFINE_BLOCKS_H
#define SM_AFFINE_BLOCKS_H

#include "base/isa.h"
#include "tensor/affine_fit.h"

enum { SM_SHORT_BLOCK = 256, SHORT_SUMS = 4, LONG_SUMS = 16, LONG_RUN = 2048 };

/* One form of codes. */
typedef struct sm_block_rule {
    float qlo, qhi;       /* of the codes */
    float off_lo, off_hi; /* of the offset, within the codes; both 0 when there is none */
    bool shifted;         /* has an offset */
    bool coarse;          /* codes of 4 bits */
    int frac;             /* bits behind the point of a trial's d */
} sm_block_rule;

/* False: the form has no ordinary blocks. */
bool sm_block_rule_of(sm_dtype code, sm_dtype off, sm_dtype scale_type, sm_block_rule *r);

/* int16_t that the fit of a block of n takes. */
static inline size_t sm_block_room(size_t n) {
    return n + 64;
}

typedef struct sm_block_loops {
    const char *name;
    /* fit[count] of blocks of n weights that follow one another; scale < 0 where a block is not ordinary (weights that
     * are not finite included).  room: sm_block_room(n) numbers, of 64-byte alignment or less. */
    void (*fit)(const sm_block_rule *r, const float *x, size_t n, size_t count, int16_t *room, sm_block_fit *fit);
    /* Codes of the blocks, d + shift, d = nearest(x / scale) in lo..hi (0 for scale 0), one after another from out on:
     * a byte each, or two in a byte, the first in the low half; then n is even, or count is 1 and a last half byte is
     * left as it is. */
    void (*codes8)(const float *x, size_t n, size_t count, const sm_block_fit *fit, uint8_t *out);
    void (*codes4)(const float *x, size_t n, size_t count, const sm_block_fit *fit, uint8_t *out);
} sm_block_loops;

/* The set for `isa` or the next lower one that has one. */
const sm_block_loops *sm_block_loops_of(sm_isa isa);
const sm_block_loops *sm_block_loops_c(void);

#if defined(__x86_64__)
extern const sm_block_loops sm_block_loops_avx2, sm_block_loops_avx512, sm_block_loops_avx512vnni;
#elif defined(__aarch64__)
extern const sm_block_loops sm_block_loops_neon;
#endif

#endif
