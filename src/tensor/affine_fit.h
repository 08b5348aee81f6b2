/* SPDX-License-Identifier: MIT
 *
 * affine_fit.h: the scale (and whole offset) of one block of weights with the least squared error.
 *
 * A block is x[n] ~ scale * d[n], d whole numbers in lo..hi.  Symmetric codes are d themselves; codes with a whole
 * offset are d + offset, which moves lo..hi.  Scales are numbers of the stored type, so that the error that is compared
 * is the one that gets written.
 *
 * Method: with the codes given, the best scale is sum(x d) / sum(d d), and what it leaves of the block's energy falls
 * as sum(x d)^2 / sum(d d) grows.  So codes are made for a row of trial scales, from a little above the one that just
 * reaches the largest weight down to where clipping costs more than it gains; the best trial's own scale is rounded to
 * the stored type, and wins if its error is below that of the plain scale.  The plain scale, largest weight / largest
 * code, is what coremltools takes: the error is never above its.
 *
 * All sums have a fixed order, so that every machine and instruction set gives the same bytes.
 */
#ifndef SM_AFFINE_FIT_H
#define SM_AFFINE_FIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/dtype.h"

/* The loops over a block's elements: one set per instruction set, equal results. */
typedef struct sm_fit_loops {
    const char *name;
    /* Least and greatest of x[n], n > 0; false when one is not finite. */
    bool (*range)(const float *x, size_t n, float *lo, float *hi);
    /* d = nearest(x * inv) in lo..hi: sum(x d) and sum(d d). */
    void (*products)(const float *x, size_t n, float inv, float lo, float hi, double *xd, double *dd);
    /* d = nearest(x / scale) in lo..hi: sum((x - scale d)^2), and the sums of products. */
    double (*error)(const float *x, size_t n, float scale, float lo, float hi, double *xd, double *dd);
    /* q = nearest(x / scale) in lo..hi, plus `add`. */
    void (*codes)(const float *x, size_t n, float scale, float lo, float hi, int32_t add, int32_t *q);
} sm_fit_loops;

/* Plain C, and what this machine runs best (the same when it has nothing better). */
const sm_fit_loops *sm_fit_loops_c(void);
const sm_fit_loops *sm_fit_loops_best(void);

typedef struct sm_block_fit {
    float scale;   /* 0: every weight becomes zero */
    float lo, hi;  /* of d */
    int32_t shift; /* the whole offset: code = d + shift */
} sm_block_fit;

/* Codes of type `code` in their whole range, without offset.  x is finite, from..to its range; scale_type a float
 * type.  buf[n] is scratch. */
sm_block_fit sm_fit_symmetric(const sm_fit_loops *l, sm_dtype code, sm_dtype scale_type, const float *x, size_t n,
                              float from, float to, float *buf);
/* The same with an offset of whole type `off`. */
sm_block_fit sm_fit_shifted(const sm_fit_loops *l, sm_dtype code, sm_dtype off, sm_dtype scale_type, const float *x,
                            size_t n, float from, float to, float *buf);

#endif
