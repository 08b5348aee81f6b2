/* SPDX-License-Identifier: MIT
 *
 * palette.h: lookup tables fitted to weights.
 *
 * Per table (one for the tensor, for a group of output channels, for a group of columns) the weights go into a histogram
 * over fp16 numbers: how many round to each, and what they sum to.  The entries are the means of the best clusters of
 * that histogram (kmeans.h), rounded to the table's type and moved on while rounding leaves something to gain.  Weights
 * then get the nearest entry, by their own value.
 *
 * So the table is an exact optimum of the sum of squared errors for weights that are fp16 numbers (and for bf16 ones of
 * fp16's range); for others it is the optimum over clusters that do not part weights of one fp16 number, sums being of
 * the true weights, before entries are rounded.  fp32 tables see the weights scaled by a power of two, so that fp16's
 * range covers them.
 *
 * A table of more entries than a group has different fp16 numbers holds them all; what is left repeats the last one.
 * Entries ascend.  The same weights give the same bytes for any number of threads: all sums are of integers.
 */
#ifndef SM_PALETTE_H
#define SM_PALETTE_H

#include "base/threads.h"
#include "tensor/encoding.h"

/* Whether want's tables can be fitted to src: scalar entries of fp16 or fp32, no scale, tables over whole rows of axis 0
 * or of the last axis.  SM_UNSUPPORTED with the reason. */
sm_status sm_palette_check(const sm_tensor *src, const sm_encoding *want, sm_err *err);

/* The tables of want (SM_PART_LUT, all its bytes) for src.  pool: NULL for the calling thread alone.  A weight that is
 * not finite, or that the table's type cannot hold, is SM_BADINPUT with its place. */
sm_status sm_palette_fit(const sm_tensor *src, const sm_encoding *want, sm_pool *pool, uint8_t *lut, sm_err *err);
/* What fitted tables leave of src: sum of squared errors over sum of squares, by at most `most` of the tables, evenly
 * apart (0: all of them). */
sm_status sm_palette_error(const sm_tensor *src, const sm_encoding *want, int64_t most, sm_pool *pool, double *nmse,
                           sm_err *err);
/* Like sm_palette_fit for n numbers and one table of `entries` entries of type aux (fp16, fp32), as f32.  with_zero: the entry
 * nearest to zero is zero. */
sm_status sm_palette_fit_values(const float *x, size_t n, int entries, sm_dtype aux, bool with_zero, float *table,
                                sm_err *err);

/* Codes of rows [row, row + n) of src, whose values are x[n][cols]: the nearest entries of their tables. */
typedef struct sm_palette_room sm_palette_room; /* scratch of one thread for one array of tables, which stay */
sm_status sm_palette_room_new(sm_palette_room **out, sm_err *err);
void sm_palette_room_free(sm_palette_room **r);
void sm_palette_codes(const sm_tensor *src, const sm_encoding *want, const uint8_t *lut, uint64_t row, uint64_t n,
                      const float *x, uint8_t *codes, sm_palette_room *r);
/* Their values: what sm_decode_rows gives for the whole tensor, before rounding. */
void sm_palette_values(const sm_tensor *src, const sm_encoding *want, const uint8_t *lut, uint64_t row, uint64_t n,
                       const uint8_t *codes, float *out);

#endif
