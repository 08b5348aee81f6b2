/* SPDX-License-Identifier: MIT
 *
 * encoding.h: what the bytes of a tensor mean.
 *
 * An sm_encoding is a small value: a row of encodings.def plus that row's parameters.  An sm_tensor is a borrowed view
 * of encoded bytes: shape, declared (decoded) dtype, encoding, and up to four parts:
 *
 *     DENSE   part[SM_PART_DATA]
 *     BLOCK   part[SM_PART_DATA]: rows of blocks; rows are not padded, the last axis is a multiple of the block
 *     AFFINE  part[SM_PART_DATA] codes (enc.code), [SM_PART_SCALE] enc.aux, [SM_PART_OFFSET] enc.off (optional)
 *     LUT     part[SM_PART_DATA] indices (enc.code, unsigned), [SM_PART_LUT] tables (enc.aux),
 *             [SM_PART_SCALE] enc.sc, optional: multiplies the entry looked up
 *
 * Shapes are row-major, outermost first.  "Row" means the last axis; a tensor of rank r has prod(dims[0..r-2]) rows.
 * For AFFINE and LUT, block[a] is the extent of a block along axis a, dims[a] / block[a] the number of blocks.
 *
 * A row order other than stored: GGUF writers of the llama family interleave the rows of the q and k projections for
 * their rotary kernel.  `deinterleave` = head rows H undoes it in the view: inside each group of H rows, logical row
 * i < H/2 is stored row 2i, logical row H/2 + i is stored row 2i + 1.  All decoding below honours it; 0 means none.
 *
 * Axes of extent 1 behind the last: a 1x1 convolution's weight [out, in, 1, 1] is the matrix [out, in] with ones = 2.  Rows,
 * columns and blocks are those of the matrix, so that nothing but shapes shown to others knows of them.
 *
 * The decoded value is rounded to the declared dtype (fp16 forms of Core ML decode to fp16); GGUF blocks declare fp32.
 *
 * Sources: the GGML block layouts are those of the public GGUF ecosystem; the Core ML forms are those of the public
 * coremltools op definitions.
 */
#ifndef SM_ENCODING_H
#define SM_ENCODING_H

#include "base/err.h"
#include "tensor/dtype.h"

#define SM_MAX_RANK 8

typedef enum sm_enc_kind { SM_KIND_DENSE, SM_KIND_BLOCK, SM_KIND_AFFINE, SM_KIND_LUT } sm_enc_kind;

typedef enum sm_enc_id {
#define ENC(id, name, kind, ggml, block, bytes, sub, code, has_min, open, pack) SM_ENC_##id,
#include "tensor/encodings.def"
#undef ENC
    SM_ENC_COUNT_
} sm_enc_id;

enum { SM_PART_DATA, SM_PART_SCALE, SM_PART_OFFSET, SM_PART_LUT, SM_PART_COUNT };

typedef struct sm_encoding {
    sm_enc_id id;
    sm_dtype code;                 /* DENSE: element type; AFFINE, LUT: type of the codes; BLOCK: SM_NONE */
    sm_dtype aux;                  /* AFFINE: scale type; LUT: table entry type; else SM_NONE */
    sm_dtype off;                  /* AFFINE: offset type, SM_NONE when there is none */
    sm_dtype sc;                   /* LUT: type of the optional result scale, SM_NONE when there is none */
    int32_t vec;                   /* LUT: vector length (1 = scalar entries) */
    int32_t vec_axis;              /* LUT: axis the vectors run along, when vec > 1 */
    int64_t block[SM_MAX_RANK];    /* AFFINE: block extent per axis; LUT: extent of one table per axis */
    int64_t sc_block[SM_MAX_RANK]; /* LUT with sc: block extent of the scale per axis */
} sm_encoding;

typedef struct sm_tensor {
    sm_sv name;
    sm_dtype dtype; /* of the decoded values */
    int rank;
    int64_t dims[SM_MAX_RANK]; /* of the decoded tensor */
    sm_encoding enc;
    sm_bytes part[SM_PART_COUNT];
    int32_t deinterleave;
    int ones; /* axes of extent 1 behind these */
    int64_t cut_row, cut_of; /* of a piece: its first row in the named tensor, how many that has; cut_of 0: it is whole */
} sm_tensor;

typedef struct sm_enc_row {
    const char *name;
    sm_enc_kind kind;
    int ggml_type;
    int block, block_bytes, sub;
    sm_dtype code;
    bool has_min;
    /* One block: codes[block], and per sub-block scale and min (block / sub of each): value = scale * code + min. */
    void (*open)(const void *blk, int8_t *codes, float *scale, float *min);
    /* The nearest block of this encoding to x[block]; weight[block] is an importance per element or NULL. */
    void (*pack)(const float *x, const float *weight, void *blk);
} sm_enc_row;

const sm_enc_row *sm_enc_row_of(sm_enc_id id);
bool sm_enc_of_ggml(int ggml_type, sm_encoding *out); /* dense types included; false when unknown */
const char *sm_ggml_type_name(int ggml_type);         /* also of types that are not decoded here; NULL when unknown */

sm_encoding sm_enc_dense(sm_dtype t);
sm_encoding sm_enc_block(sm_enc_id id);
/* AFFINE with blocks of `block` along the last axis and 1 along the others. */
sm_encoding sm_enc_affine(sm_dtype code, sm_dtype scale, sm_dtype offset, int rank, int64_t block);
bool sm_enc_eq(const sm_encoding *a, const sm_encoding *b, int rank);
/* "q4_1", "fp16", "affine(int4, fp16, [1, 32])", "affine(uint4, fp16, offset fp16, [1, 32])",
 * "lut(uint4, fp16, [64, 64])": the spelling of the text form; sm_enc_parse reads it back.  Into out, returned. */
const char *sm_enc_print(const sm_encoding *e, int rank, char *out, size_t cap);
sm_status sm_enc_parse(sm_sv text, int rank, sm_encoding *out, sm_err *err);

/* Bytes of each part of a tensor of this encoding and shape.  Fails (SM_BADINPUT) when the shape does not fit the
 * encoding (a last axis that is no multiple of the block...) or sizes overflow. */
sm_status sm_enc_sizes(const sm_encoding *e, int rank, const int64_t *dims, size_t bytes[SM_PART_COUNT], sm_err *err);
/* Shape of a part as an array (codes: dims, scale: dims / block, lut: rank + 2 ...); returns its rank, -1 when the
 * encoding has no such part.  BLOCK data is rows of bytes. */
int sm_enc_part_shape(const sm_encoding *e, int part, int rank, const int64_t *dims,
                      int64_t *out /* SM_MAX_RANK + 2 */);
sm_dtype sm_enc_part_dtype(const sm_encoding *e, int part);              /* SM_NONE when there is no such part */
double sm_enc_bits(const sm_encoding *e, int rank, const int64_t *dims); /* per weight, everything counted */

uint64_t sm_tensor_numel(const sm_tensor *t);
uint64_t sm_tensor_rows(const sm_tensor *t); /* 1 for rank 0 and 1 */
int64_t sm_tensor_cols(const sm_tensor *t);
uint64_t sm_tensor_bytes(const sm_tensor *t); /* all parts */
/* Checks that parts have the sizes the encoding wants. */
sm_status sm_tensor_check(const sm_tensor *t, sm_err *err);
/* Axes of extent 1 at the end of a tensor of more than two become `ones`, where no encoding minds; and back: rank + ones
 * axes.  want: another encoding of the same shape, or NULL. */
void sm_tensor_fold(sm_tensor *t, sm_encoding *want);
void sm_tensor_unfold(sm_tensor *t, sm_encoding *want);
/* Rows [row, row + n) of a matrix, or elements of a vector, as a view; false when they do not begin and end at whole bytes and blocks of each part. */
bool sm_tensor_slice(const sm_tensor *t, int64_t row, int64_t n, sm_tensor *out);
/* A dense view over `data`. */
sm_tensor sm_tensor_dense(sm_dtype t, int rank, const int64_t *dims, const void *data);

/* Decoded values of rows [row, row + n) as f32 (rounded to the declared dtype): the definition of every encoding.
 * Any numeric dtype; integers convert.  t was checked. */
void sm_decode_rows(const sm_tensor *t, uint64_t row, uint64_t n, float *out);

/* True for tensors that reduce to codes with per-sub-block scale and min along rows: BLOCK rows of the table, and
 * AFFINE whose blocks lie along the last axis or hold whole rows.  sub receives the sub-block length (divides cols),
 * code the narrowest dtype of the codes. */
bool sm_is_coded(const sm_tensor *t, int *sub, sm_dtype *code, bool *has_min);
/* One row of a coded tensor: codes[cols], scale[cols / sub], min[cols / sub] (zeros when it has none):
 * value = scale * code + min, before rounding to the declared dtype. */
void sm_open_row(const sm_tensor *t, uint64_t row, int16_t *codes, float *scale, float *min);

#endif
