/* SPDX-License-Identifier: MIT
 *
 * transcode.h: from one encoding to another, a slab of rows at a time, with what it cost.
 *
 * How a tensor is carried over:
 *   TRANSCODED  equal codes, equal scales, equal f32 products (rounding to fp16 is reported apart)
 *   KEPT        equal codes; scale or offset rounded to the target's type
 *   REQUANTIZED new codes
 *   WIDENED     to a dense float type
 * The rule is computed from the encodings table, not listed per pair: codes of the source fit the target's code type,
 * sub-blocks are equal or the target's divide the source's, and a min is held as offset = -min / scale.
 */
#ifndef SM_TRANSCODE_H
#define SM_TRANSCODE_H

#include "base/threads.h"
#include "tensor/encoding.h"

typedef enum sm_carry {
    SM_CARRY_SAME,
    SM_CARRY_TRANSCODED,
    SM_CARRY_KEPT,
    SM_CARRY_REQUANTIZED,
    SM_CARRY_WIDENED
} sm_carry;
const char *sm_carry_name(sm_carry c); /* "same", "transcoded", "kept", "re-quantized", "widened" */

/* Error between decoded source and decoded result (both before rounding the result to fp16, and after). */
typedef struct sm_xerr {
    uint64_t n;
    double sum_sq_err, sum_sq_ref; /* NMSE = their ratio */
    double max_abs_err, max_abs_ref;
    double sum_sq_err16, max_abs_err16; /* the same against the result rounded to its declared dtype */
} sm_xerr;
void sm_xerr_add(sm_xerr *a, const sm_xerr *b);
double sm_xerr_nmse(const sm_xerr *e);

/* How src would be carried to `want`; fails when the table has no way. */
sm_status sm_transcode_how(const sm_tensor *src, const sm_encoding *want, sm_carry *how, sm_err *err);

/* The affine encoding (fp16 scales) that keeps src's codes: int4/uint4/int8/uint8, sub-block of the source, float
 * offset when the source has a min.  False when src is not coded. */
bool sm_affine_for(const sm_tensor *src, sm_encoding *out);

/* Converts rows [row, row + n) of src.  out[p] receives part p's bytes of exactly these rows (part rows are contiguous
 * because blocks lie along the last axis; the caller picks n so that sub-byte rows end on a byte: n even is enough for
 * every type used here).  scratch: heap, made inside.  err stats are added to *xe when not NULL. */
sm_status sm_transcode_rows(const sm_tensor *src, const sm_encoding *want, sm_dtype want_dtype, uint64_t row,
                            uint64_t n, uint8_t *out[SM_PART_COUNT], sm_xerr *xe, sm_err *err);

/* What belongs to the whole tensor and comes before its rows: with new tables (LUT, palette.h), out[SM_PART_LUT]
 * receives all of them, and sm_transcode_rows reads them there; nothing otherwise. */
bool sm_transcode_has_tables(const sm_tensor *src, const sm_encoding *want);
sm_status sm_transcode_tables(const sm_tensor *src, const sm_encoding *want, sm_pool *pool, uint8_t *out[SM_PART_COUNT],
                              sm_err *err);
/* Tables and all rows. */
sm_status sm_transcode_whole(const sm_tensor *src, const sm_encoding *want, sm_dtype want_dtype, sm_pool *pool,
                             uint8_t *out[SM_PART_COUNT], sm_xerr *xe, sm_err *err);

/* Encodes f32 rows to AFFINE along the last axis.  Without an offset and with a whole one, each block gets the scale
 * (and offset) of least squared error (affine_fit.h), all codes in use and scales positive; with a float offset the
 * block's range is spread over the codes.  x is rows * cols.  Scales that are zero stand for all-zero blocks.  The
 * block is the last one set in want->block; `cols` makes it one scale a row.  Weights that are not finite are
 * SM_BADINPUT naming the first one. */
sm_status sm_affine_encode(const sm_encoding *want, int64_t cols, uint64_t rows, const float *x,
                           uint8_t *out[SM_PART_COUNT], sm_err *err);

#endif
