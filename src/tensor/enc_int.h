/* SPDX-License-Identifier: MIT
 *
 * enc_int.h: what the files of this room share beside encoding.h.
 */
#ifndef SM_ENC_INT_H
#define SM_ENC_INT_H

#include <math.h>

#include "base/isa.h"
#include "tensor/dtype_int.h"
#include "tensor/encoding.h"
#include "tensor/transcode.h"

/* Rounds x[n] through dtype t, where t is a 16-bit float; other types leave x as it is. */
void sm_enc_round(sm_dtype t, float *x, size_t n);

/* Where logical row `row` is stored (encoding.h, deinterleave). */
uint64_t sm_stored_row(const sm_tensor *t, uint64_t row);

/* f rounded to float type t (fp16, bf16, fp32); a finite value beyond its range becomes its largest. */
float sm_enc_fit(sm_dtype t, float f);
/* The same as an inline function, for loops. */
static inline float enc_fit(sm_dtype t, float f) {
    float r = t == SM_FP16 ? f16_to_f32(f32_to_f16(f)) : t == SM_BF16 ? bf16_to_f32(f32_to_bf16(f)) : f;
    if (isinf(r) && !isinf(f))
        return copysignf(t == SM_FP16 ? 65504.0f : 0x1.FEp127f, f);
    return r;
}
/* Element i of a part of float or integer type t, set to a value that it holds. */
void sm_enc_put(sm_dtype t, uint8_t *p, uint64_t i, float v);

typedef struct sm_affine_scratch {
    int32_t *q; /* a block of codes */
    float *x;   /* a block of weights */
    int16_t *v; /* sm_block_room() of a block (affine_blocks.h) */
} sm_affine_scratch;
/* Encodes one row to AFFINE along the last axis (sm_affine_encode) as row `at` of out; errors call it `row`. */
sm_status sm_affine_encode_row(const sm_encoding *want, int64_t block, int64_t cols, uint64_t row, uint64_t at,
                               const float *x, sm_affine_scratch *s, uint8_t *out[SM_PART_COUNT], sm_err *err);

/* Adds the errors of y[n], written for x[n], to *e: as they are, and x rounded to tx against y rounded to ty.  The same
 * bits for every isa that the machine has. */
void sm_row_errors(sm_isa isa, const float *x, const float *y, size_t n, sm_dtype tx, sm_dtype ty, sm_xerr *e);

enum { ENC_BLOCK_MAX = 256, ENC_SUBS_MAX = 16 }; /* elements and sub-blocks of a block, at most */

#endif
