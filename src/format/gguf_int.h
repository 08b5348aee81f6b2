/* SPDX-License-Identifier: MIT
 *
 * gguf_int.h: what GGUF's reader and writer share: the numbers of value types.
 */
#ifndef SM_GGUF_INT_H
#define SM_GGUF_INT_H

#include "tensor/checkpoint.h"

enum { GGUF_VERSION = 3, GGUF_ALIGNMENT = 32 };

typedef enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPE_COUNT
} gguf_type;

typedef struct gguf_type_row {
    const char *name;
    sm_dtype raw; /* SM_NONE for arrays */
    sm_meta_type meta;
} gguf_type_row;

static const gguf_type_row gguf_types[GGUF_TYPE_COUNT] = {
    [GGUF_U8] = {"uint8", SM_UINT8, SM_META_INT},       [GGUF_I8] = {"int8", SM_INT8, SM_META_INT},
    [GGUF_U16] = {"uint16", SM_UINT16, SM_META_INT},    [GGUF_I16] = {"int16", SM_INT16, SM_META_INT},
    [GGUF_U32] = {"uint32", SM_UINT32, SM_META_INT},    [GGUF_I32] = {"int32", SM_INT32, SM_META_INT},
    [GGUF_F32] = {"float32", SM_FP32, SM_META_FLOAT},   [GGUF_BOOL] = {"bool", SM_BOOL, SM_META_BOOL},
    [GGUF_STRING] = {"string", SM_STRING, SM_META_STR}, [GGUF_ARRAY] = {"array", SM_NONE, SM_META_ARRAY},
    [GGUF_U64] = {"uint64", SM_UINT64, SM_META_INT},    [GGUF_I64] = {"int64", SM_INT64, SM_META_INT},
    [GGUF_F64] = {"float64", SM_FP64, SM_META_FLOAT},
};

#endif
