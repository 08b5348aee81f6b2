/* SPDX-License-Identifier: MIT
 *
 * qpack.h: weights in the layouts of kernels.h.
 *
 * sm_packed_plan says how a tensor will lie and how many bytes that takes; sm_packed_fill makes a range of tiles, so that
 * threads share one tensor; sm_packed_row reads one row back (embeddings whose table is also the head).
 *
 * Coded tensors (tensor/encoding.h, sm_is_coded) keep their codes: 1 to 4 bits take 4, 5 take 5, 6 take 6, 8 take 8; 8-bit
 * codes that are all within 4, 5 or 6 bits take as many.  Their sub-blocks must be 16 columns or fill blocks of 32; scales
 * of longer ones are repeated.  Palettes keep their codes too (1 to 4 bits take 4) when a table serves whole rows, and rows
 * by fours (8 bits: by sixteens); a scale per row is folded in.  Everything else is decoded to fp16, bf16 or fp32: what the
 * file holds when it is dense, what it is declared as when a table or an unusual block is decoded (fp16 when that is fp32).
 *
 * Threads: any number may fill disjoint ranges of one sm_packed.
 */
#ifndef SM_QPACK_H
#define SM_QPACK_H

#include "backend/cpu/kernels.h"
#include "tensor/encoding.h"

typedef struct sm_packed {
    bool coded;
    int32_t n, k;
    int sub;      /* coded: columns of one scale in the source */
    int centre;   /* coded: taken off unsigned codes, see qpack.c */
    int group;    /* palettes: rows that share a table */
    size_t bytes; /* of data */
    union {
        sm_qw q;
        sm_dw d;
    } u;
} sm_packed;

/* src is [n, k].  Memory is the caller's: zeroed, 64-aligned, given with sm_packed_place. */
sm_status sm_packed_plan(const sm_tensor *src, sm_packed *out, sm_err *err);
void sm_packed_place(sm_packed *p, void *data);
size_t sm_packed_scratch(const sm_packed *p); /* bytes that sm_packed_fill needs */
/* Tiles [tile0, tile1) from src, whose row 0 is the packing's row `row0` (16 tile0 at most). */
void sm_packed_fill(sm_packed *p, const sm_tensor *src, int64_t row0, int tile0, int tile1, void *scratch);
/* out[k] = scale * row */
void sm_packed_row(const sm_packed *p, int64_t row, float scale, float *out);
/* Table entry that multiplies with it: rows are quantized when coded, else f32. */
const char *sm_packed_name(const sm_packed *p); /* "w4", "w8 min", "f16" ... for kcheck and traces */

#endif
