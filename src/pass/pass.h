/* SPDX-License-Identifier: MIT
 *
 * pass.h: graph in, graph out.
 *
 * A pass builds a new function from an old one; pipeline.c is the readable list of passes behind each entry below.  In
 * debug builds (or with SMELT_VERIFY=1) the graph is verified after every pass; SMELT_DUMP=graph writes each result.
 *
 *   encode        picks, per constant, the encoding that a profile holds, keeping codes where it can
 *   lower         row form -> MIL, as the profile's row says
 *   raise         MIL as written -> row form, or a reason why not
 *   canonicalise  shape arithmetic resolved to constants, casts and moves that change nothing removed (as written stays
 *                 as written)
 *   fuse_rows     row form: chains that families write as one composite become it
 *   decompose     composites -> MIL: their definition, for tests
 */
#ifndef SM_PASS_H
#define SM_PASS_H

#include "graph/graph.h"
#include "tensor/transcode.h"

/* ------------------------------------------------------------------ profiles: package designs */
typedef enum sm_kv_form {
    SM_KV_STATE, /* states keyCache, valueCache [layers, 1, kv heads, ctx, d]; past = kv - n from the mask's extents */
    SM_KV_IO, /* the same caches as read-only inputs, positionIds as input; newKeys, newValues [layers, 1, kv heads, n, d] out */
    SM_KV_NONE, /* no cache: one pass over the whole text, mask made inside */
} sm_kv_form;
typedef enum sm_quant {
    SM_QUANT_AUTO,
    SM_QUANT_KEEP,
    SM_QUANT_NONE,
    SM_QUANT_INT4,
    SM_QUANT_INT8,
    SM_QUANT_UINT4,
    SM_QUANT_UINT8,
    SM_QUANT_LUT1, /* palettes, by the bits of a code */
    SM_QUANT_LUT2,
    SM_QUANT_LUT3,
    SM_QUANT_LUT4,
    SM_QUANT_LUT6,
    SM_QUANT_LUT8,
} sm_quant;
/* The name on a command line ("auto", "lut4"...) of each, SM_QUANT_LUT8 + 1 of them; and back: false when unknown. */
const char *sm_quant_name(sm_quant q);
bool sm_quant_of_name(const char *name, sm_quant *out);
/* About 16 channels a palette (8 to 32, as Apple's recipes have), where they divide the tensor and the package's version
 * has groups; else the whole tensor.  What is asked for by number is never changed. */
enum { SM_GROUP_USUAL = -1 };
typedef enum sm_norm_form {
    SM_NORM_F32,        /* the square to the reciprocal root in fp32, between casts */
    SM_NORM_LAYER_NORM, /* layer_norm over [x, -x]: no op leaves the activation dtype */
} sm_norm_form;

typedef struct sm_profile {
    const char *name, *doc;
    int opset; /* specification version of the program */
    sm_kv_form kv;
    sm_norm_form norm;
    sm_dtype act;         /* dtype of activations */
    bool fused_attention; /* scaled_dot_product_attention; else matmul, add, softmax, matmul */
    bool flexible;        /* tokens per call are a symbol with bounds; else exactly seq_max */
    bool block_quant;     /* holds constexpr_blockwise_shift_scale */
    bool float_offset;    /* ... with a float offset */
    /* from the command line: */
    int64_t ctx;              /* positions the caches hold */
    int64_t seq_min, seq_max; /* tokens per call */
    sm_quant quant;
    int quant_block; /* of a re-quantization; 0: 32, negative: whole rows */
    int64_t quant_group; /* output channels that share a palette; 0: all of a tensor, or SM_GROUP_USUAL */
} sm_profile;
/* A row of the table by name ("gpu", "kv-io", "plain"), to be copied and filled in with the command line's numbers; NULL
 * when unknown. */
const sm_profile *sm_profile_find(const char *name);
const sm_profile *sm_profiles(int *n);

/* ------------------------------------------------------------------ passes */
sm_status sm_pass_encode(sm_func *f, const sm_profile *p, sm_func **out, sm_err *err);
sm_status sm_pass_lower(sm_func *f, const sm_profile *p, sm_func **out, sm_err *err);

/* What raising found out besides the function. */
typedef struct sm_raised {
    bool ok; /* false: `why` says what was not recognised; the function runs as written */
    char why[256];
    int64_t ctx;     /* positions the program's caches hold; 0: it has none */
    int64_t seq_max; /* most tokens per call it was written for; 0: unbounded */
} sm_raised;
/* *out is NULL when info->ok is false; errors are only for running out of memory and bugs. */
sm_status sm_pass_raise(sm_func *f, sm_func **out, sm_raised *info, sm_err *err);
sm_status sm_pass_canonicalise(sm_func *f, sm_func **out, sm_err *err);
/* Row form: linear, activation, mul, linear -> gated_mlp; embed and a scale -> embed; ... (raise's last step) */
sm_status sm_pass_fuse_rows(sm_func *f, sm_func **out, sm_err *err);
/* Row form -> plain f32 MIL for one sequence without cache (profile "plain"): the definition of every composite. */
sm_status sm_pass_decompose(sm_func *f, sm_func **out, sm_err *err);

/* Passes by name, for graph text tests: canonicalise, fuse_rows, decompose, raise, lower_gpu, lower_kv_io (the last two
 * with ctx 16, seq 1..16 or 4). */
typedef sm_status (*sm_pass_fn)(sm_func *f, sm_func **out, sm_err *err);
sm_pass_fn sm_pass_by_name(const char *name);

/* ------------------------------------------------------------------ pipelines */
/* Row-form function -> function ready to be written as `p` says (encode, lower, canonicalise). */
sm_status sm_pipeline_package(sm_func *f, const sm_profile *p, sm_func **out, sm_err *err);
/* As-written function -> row form for running (canonicalise, raise, fuse_rows). */
sm_status sm_pipeline_raise(sm_func *f, sm_func **out, sm_raised *info, sm_err *err);

#endif
