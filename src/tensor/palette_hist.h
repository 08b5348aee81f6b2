/* SPDX-License-Identifier: MIT
 *
 * palette_hist.h: weights counted by the fp16 numbers that they round to.
 *
 * A histogram has a bin per fp16 number, in ascending order: key 0 is -65504's side, key 65535 the other.  A bin counts
 * weights and sums what they are off its number, in whole units of 2^-13 of fp16's last place there (the last place of
 * an f32 of that size): integers, so that threads may add in any order.
 *
 * Threads: one a histogram.
 */
#ifndef SM_PALETTE_HIST_H
#define SM_PALETTE_HIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { SM_HIST_KEYS = 1 << 16 };

typedef struct sm_hist sm_hist;
sm_status sm_hist_new(sm_hist **out, sm_err *err); /* 0.5 MB; up to 2 MB when weights are no fp16 numbers, or many */
void sm_hist_free(sm_hist **h);                    /* NULL-safe, nulls */

/* Adds x times scale, a power of two. */
void sm_hist_add(sm_hist *h, const float *x, size_t n, float scale);
/* What both hold goes to `to`; `from` is empty afterwards. */
void sm_hist_merge(sm_hist *to, sm_hist *from);
/* SM_BADINPUT: some weight was not finite, or beyond fp16, SM_RESOURCE: there was no memory for some; such were left
 * out.  Said until what the histogram holds is taken. */
sm_status sm_hist_state(const sm_hist *h);

/* Bins that hold something as prefix sums of masses, mass[n + 1], and of mass times value about *middle, their mean,
 * sum[n + 1]: what sm_kmeans_split takes.  Room for SM_HIST_KEYS + 1 of both.  Returns n; the histogram is empty again. */
uint32_t sm_hist_take(sm_hist *h, double *mass, double *sum, double *middle);

#endif
