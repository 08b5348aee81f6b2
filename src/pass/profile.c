/* SPDX-License-Identifier: MIT
 *
 * profile.c: the package designs, one row each.
 *
 * A profile says what a lowered program looks like; lower.c and its files only look at these fields, never at a name.
 * The numbers of a conversion (context, tokens per call, quantization) are filled into a copy of a row.
 */
#include "pass/pass.h"

#include <string.h>

static const sm_profile profiles[] = {
    {
        .name = "gpu",
        .doc = "iOS 18 GPU design: KV caches as states, fused attention, flexible length, blockwise integer weights",
        .opset = 9,
        .kv = SM_KV_STATE,
        .norm = SM_NORM_F32,
        .act = SM_FP16,
        .fused_attention = true,
        .flexible = true,
        .block_quant = true,
        .float_offset = true,
    },
    {
        .name = "kv-io",
        .doc = "static shapes, KV caches as inputs and new columns as outputs, decomposed attention",
        .opset = 9,
        .kv = SM_KV_IO,
        .norm = SM_NORM_LAYER_NORM,
        .act = SM_FP16,
        .fused_attention = false,
        .flexible = false,
        .block_quant = true,
        .float_offset = true,
    },
    {
        .name = "plain",
        .doc = "the definition of the composites: fp32 MIL for one whole text, no cache",
        .opset = 9,
        .kv = SM_KV_NONE,
        .norm = SM_NORM_F32,
        .act = SM_FP32,
        .fused_attention = false,
        .flexible = true,
        .block_quant = true,
        .float_offset = true,
    },
};

const sm_profile *sm_profiles(int *n) {
    *n = (int)SM_ARRAY_LEN(profiles);
    return profiles;
}

const sm_profile *sm_profile_find(const char *name) {
    for (size_t i = 0; i < SM_ARRAY_LEN(profiles); i++)
        if (strcmp(profiles[i].name, name) == 0)
            return &profiles[i];
    return NULL;
}
