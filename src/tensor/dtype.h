/* SPDX-License-Identifier: MIT
 *
 * dtype.h: element types and small scalar codecs.
 *
 * The set is MIL's.  Sub-byte elements are packed least significant bit first, row-major, without row padding (the
 * layout of Core ML's blob files; 3- and 6-bit elements straddle bytes); int4 is two's complement.
 * Float conversions are IEEE round-to-nearest-even, in software where the CPU has no instruction, so that every
 * machine gives the same bytes.
 */
#ifndef SM_DTYPE_H
#define SM_DTYPE_H

#include "base/mem.h"

typedef enum sm_dtype {
    SM_NONE = 0, /* absent */
#define DTYPE(id, name, bits, kind, mil, blob) SM_##id,
#include "tensor/dtypes.def"
#undef DTYPE
    SM_DTYPE_COUNT_
} sm_dtype;

const char *sm_dtype_name(sm_dtype t); /* "fp16"; "none" for SM_NONE */
int sm_dtype_bits(sm_dtype t);         /* 0 for strings */
char sm_dtype_kind(sm_dtype t);        /* 'f' 'i' 'u' 'b' 's'; 0 for SM_NONE */
int sm_dtype_mil(sm_dtype t);          /* number in MIL.proto */
int sm_dtype_blob(sm_dtype t);         /* number in blob storage; 0: never a blob */
sm_dtype sm_dtype_of_mil(int n);       /* SM_NONE when unknown */
sm_dtype sm_dtype_of_blob(int n);
sm_dtype sm_dtype_of_name(sm_sv name);
/* Least and greatest value of an integer type. */
int64_t sm_dtype_min(sm_dtype t);
int64_t sm_dtype_max(sm_dtype t);

/* Bytes of n packed elements; false when it does not fit size_t. */
bool sm_dtype_bytes(sm_dtype t, uint64_t n, size_t *out);
uint64_t sm_dtype_size(sm_dtype t, uint64_t n); /* the same without the check, for n already checked */

float sm_f16_to_f32(uint16_t h);
uint16_t sm_f32_to_f16(float f); /* overflow gives infinity */
float sm_bf16_to_f32(uint16_t h);
uint16_t sm_f32_to_bf16(float f);
float sm_round_f16(float f); /* through fp16 and back */
void sm_f16_to_f32_n(const uint16_t *h, float *f, size_t n);
void sm_f32_to_f16_n(const float *f, uint16_t *h, size_t n);

/* Element i of packed integer codes of type t (any integer type), and its inverse.  For loops over sub-byte codes use
 * the bulk forms: n elements from element i on. */
int64_t sm_code_get(sm_dtype t, const void *p, uint64_t i);
void sm_code_put(sm_dtype t, void *p, uint64_t i, int64_t v); /* keeps neighbouring elements */
void sm_codes_unpack(sm_dtype t, const void *p, uint64_t i, size_t n, int32_t *out);
void sm_codes_pack(sm_dtype t, void *p, uint64_t i, size_t n, const int32_t *in);
/* The same for unsigned types, of codes that they hold. */
void sm_codes_pack_bytes(sm_dtype t, void *p, uint64_t i, size_t n, const uint8_t *in);
/* Any numeric element as f64. */
double sm_elem_get(sm_dtype t, const void *p, uint64_t i);

#endif
