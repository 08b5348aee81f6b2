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
#include "graph/target.h"
#include "tensor/transcode.h"

/* ------------------------------------------------------------------ profiles: package designs */
typedef enum sm_kv_form {
    SM_KV_STATE, /* states keyCache, valueCache */
    SM_KV_IO,    /* the same caches as read-only inputs; new columns newKeys, newValues as outputs */
    SM_KV_NONE,  /* no cache: one pass over the whole text */
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
/* What `auto` lets a palette leave of a tensor where codes cannot be kept: sum of squared errors over sum of squares.
 * With 44.6 dB for each tensor, packages of the models that it was measured on stay well within what `smelt check` allows
 * (docs/numerics.md). */
#define SM_AUTO_NMSE 3.5e-5
typedef enum sm_norm_form {
    SM_NORM_F32,        /* the square to the reciprocal root in fp32, between casts */
    SM_NORM_LAYER_NORM, /* layer_norm over [x, -x]: no op leaves the activation dtype */
} sm_norm_form;
typedef enum sm_attn_form {
    SM_ATTN_FUSED,    /* scaled_dot_product_attention; where it cannot (soft cap) as GROUPED */
    SM_ATTN_GROUPED,  /* matmul, add, softmax, matmul; query heads grouped by their key head */
    SM_ATTN_PER_HEAD, /* one head after the other, softmax over the key axis; channels first only */
} sm_attn_form;
typedef enum sm_axes_form {
    SM_AXES_ROWS,     /* [1, n, d], products are `linear` */
    SM_AXES_CHANNELS, /* [1, d, 1, n], products are 1x1 `conv` */
} sm_axes_form;
typedef enum sm_shape_form {
    SM_SHAPE_RANGE, /* tokens per call: any number of seq[0]..seq[n_seq - 1] */
    SM_SHAPE_LIST,  /* one of seq[] */
    SM_SHAPE_FIXED, /* seq[0] */
} sm_shape_form;
/* Where what depends on positions comes from. */
typedef enum sm_place_form { SM_PLACE_GIVEN, SM_PLACE_MADE } sm_place_form;
typedef enum sm_head_form {
    SM_HEAD_ALL,    /* logits of every row */
    SM_HEAD_LAST,   /* logits of the last row */
    SM_HEAD_ARGMAX, /* token: the most likely id of the last row */
    SM_HEAD_TOPK,   /* topValues, topIds of the last row */
} sm_head_form;

enum { SM_MAX_SHAPES = 128 }; /* that Core ML enumerates */

typedef struct sm_profile {
    const char *name, *doc;
    int opset; /* specification version of the program */
    sm_kv_form kv;
    sm_norm_form norm;
    sm_dtype act; /* dtype of activations */
    sm_attn_form attn;
    sm_axes_form axes;
    sm_place_form mask;  /* input causalMask, or made from positions */
    sm_place_form turns; /* cos and sin of the rotary embedding: inputs, or computed */
    sm_head_form head;
    bool as_is;        /* no encoding is changed: not for packages */
    bool narrow;       /* nothing in fp32: scalars round to the activation dtype */
    bool blocks;       /* scales along a row: constexpr_blockwise_shift_scale with blocks */
    bool float_offset; /* ... and with a float offset */
    int64_t head_rows; /* most rows of a projection to the vocabulary: more are several outputs; 0: any */
    /* from the command line: */
    int64_t ctx; /* positions the caches hold */
    sm_shape_form shape;
    int n_seq;
    int64_t seq[SM_MAX_SHAPES]; /* tokens per call, ascending */
    int top_k;                  /* SM_HEAD_TOPK */
    sm_quant quant;
    int quant_block;         /* of a re-quantization; 0: 32, negative: whole rows */
    int64_t quant_group;     /* output channels that share a palette; 0: all of a tensor, or SM_GROUP_USUAL */
    const char *const *wide; /* names (fnmatch patterns) of tensors and values whose ops are computed in fp32 */
    int n_wide;
    sm_pool *pool; /* borrowed, to measure weights by: NULL for the calling thread alone */
} sm_profile;
/* Tokens per call as the shape of the profile has them: 1..most, or exactly most. */
void sm_profile_tokens(sm_profile *p, int64_t most);
/* Positions of a call are read off the extents of the mask: past = kv - n.  Else they are an input. */
bool sm_profile_measures(const sm_profile *p);
/* SM_UNSUPPORTED where a design cannot have what was chosen for it, or its target does not hold it. */
sm_status sm_profile_check(const sm_profile *p, sm_err *err);
/* Is n computed in fp32 although activations are not: one of p->wide names it, or a constant that it reads. */
bool sm_profile_is_wide(const sm_profile *p, const sm_node *n);
/* A row of the table by name ("gpu", "kv-io", "ane", "plain"), to be copied and filled in with the command line's numbers; NULL
 * when unknown. */
const sm_profile *sm_profile_find(const char *name);
const sm_profile *sm_profiles(int *n);

/* ------------------------------------------------------------------ passes */
sm_status sm_pass_encode(sm_func *f, const sm_profile *p, sm_func **out, sm_err *err);
/* What a caller of a lowered function must know beyond its types. */
typedef struct sm_lowered_turn {
    const char *cos, *sin; /* inputs: cos and sin of position * inv_freq, both halves equal, times scale */
    double scale;
    const sm_value *inv_freq; /* fp32 constant [half] */
} sm_lowered_turn;
typedef struct sm_lowered_mask {
    const char *name; /* input: causal, and hides keys that are `window` or more positions back */
    int64_t window;   /* 0: none */
} sm_lowered_mask;
typedef struct sm_lowered {
    sm_lowered_turn turn[8];
    int n_turns;
    sm_lowered_mask mask[8];
    int n_masks;
} sm_lowered;
/* *out has f's name; notes may be NULL.  The constants are f's, so that functions lowered from one share them. */
sm_status sm_pass_lower(sm_func *f, const sm_profile *p, sm_func **out, sm_lowered *notes, sm_err *err);

/* What stands between a lowered function and the Neural Engine (gates.def). */
typedef struct sm_gate {
    const char *name;
    int64_t limit;
    bool refuse;
    const char *source, *what, *hint;
} sm_gate;
typedef struct sm_gate_found {
    const sm_gate *gate;
    int count;       /* of values that it holds of */
    char where[160]; /* op and name of the first */
} sm_gate_found;
enum { SM_GATES_MAX = 16 };
int sm_pass_gates(const sm_func *f, sm_gate_found *out, int cap); /* how many were found */

/* Where a row-form function is cut: behind the layer whose attention is the `after`-th (from 1), or behind the embedding. */
typedef struct sm_cut {
    int after;        /* SM_CUT_EMBED: behind the embedding */
    const char *what; /* "behind the embedding", for messages */
} sm_cut;
enum { SM_CUT_EMBED = -1 };
/* out[n + 1]: row-form functions, to be run one after the other; cuts ascend.  f leaves the graph's list. */
sm_status sm_pass_split(sm_func *f, const sm_cut *cut, int n, sm_func **out, sm_err *err);

/* Where it can be cut: at[k] is the number of the node, in order of the body, behind which a cut after k attentions lies
 * (k from 1 to n), at[0] that of the cut behind the embedding; -1: there is no such place. */
sm_status sm_pass_cut_places(const sm_func *f, int n, int *at, sm_err *err);
/* The most that an element of the residual stream of a row-form function can be, by its weights; INFINITY where they do not
 * bound it: where not every branch ends in a norm.  Decodes the embedding. */
sm_status sm_pass_stream_bound(const sm_func *f, double *most, sm_err *err);
/* The same model with a residual stream `by` times as large (a power of two): what is added to it is scaled, norms that
 * read it do not see it.  SM_UNSUPPORTED where not every branch ends in a norm.  f leaves the graph's list. */
sm_status sm_pass_scale_stream(sm_func *f, double by, sm_func **out, sm_err *err);

/* What raising found out besides the function. */
typedef struct sm_raised {
    bool ok; /* false: `why` says what was not recognised; the function runs as written */
    char why[256];
    int64_t ctx;               /* positions the program's caches hold; 0: it has none */
    int64_t seq_max;           /* most tokens per call it was written for; 0: unbounded */
    bool part;                 /* of a model only: rows come in, or go out instead of logits; sm_pass_link joins such */
    int64_t rows_in, rows_out; /* of a part: their widths; 0: ids, logits */
} sm_raised;
/* What a program does not say itself: how its host makes inputs that depend on positions. */
typedef struct sm_raise_turn {
    const char *cos, *sin; /* inputs: cos and sin of position * inv_freq, both halves equal, times scale */
    double scale;
    const float *inv_freq; /* [half] */
    int64_t half;
} sm_raise_turn;
typedef struct sm_raise_hints {
    const sm_raise_turn *turn;
    int n_turns;
    const sm_lowered_mask *mask;
    int n_masks;
} sm_raise_hints;
/* *out is NULL when info->ok is false; errors are only for running out of memory and bugs.  hints may be NULL. */
sm_status sm_pass_raise(sm_func *f, const sm_raise_hints *hints, sm_func **out, sm_raised *info, sm_err *err);
sm_status sm_pass_canonicalise(sm_func *f, sm_func **out, sm_err *err);
/* Row form: linear, activation, mul, linear -> gated_mlp; embed and a scale -> embed; ... (raise's last step) */
sm_status sm_pass_fuse_rows(sm_func *f, sm_func **out, sm_err *err);
/* Row form -> plain f32 MIL for one sequence without cache (profile "plain"): the definition of every composite. */
sm_status sm_pass_decompose(sm_func *f, sm_func **out, sm_err *err);

/* Parts of a model in row form, each fed by the one before it, as one function "main" of graph `to` (the parts' graphs must
 * outlive it; one of them may be it).  Attention slots are numbered through.  SM_UNSUPPORTED where widths do not meet, or
 * the whole is no model. */
sm_status sm_pass_link(sm_func *const *part, int n, sm_graph *to, sm_func **out, sm_err *err);

/* Passes by name, for graph text tests: canonicalise, fuse_rows, decompose, raise, and lower_gpu, lower_kv_io, lower_ane with
 * ctx 16, 1..16 or 4 tokens per call. */
typedef sm_status (*sm_pass_fn)(sm_func *f, sm_func **out, sm_err *err);
sm_pass_fn sm_pass_by_name(const char *name);

/* ------------------------------------------------------------------ pipelines */
/* Row-form function -> functions ready to be written as p[0..n) say (encode once, then lower and canonicalise each).  The
 * profiles differ in what shapes a function (ctx, shape, seq, head), not in encodings; name[] are the functions' names.
 * notes[n] may be NULL.  f leaves the graph's list. */
sm_status sm_pipeline_package(sm_func *f, const sm_profile *p, const char *const *name, int n, sm_func **out,
                              sm_lowered *notes, sm_err *err);
/* The steps of that, for jobs that do something between them: encode, cut in parts (sm_pass_split), lower each. */
/* Makes the residual stream fit the activations of a profile: *scale is what it was multiplied with (1: it fits, or is
 * bounded by no weights), *most the bound before.  *out may be f. */
sm_status sm_pipeline_fit(sm_func *f, const sm_profile *p, sm_func **out, double *scale, double *most, sm_err *err);
sm_status sm_pipeline_encode(sm_func *f, const sm_profile *p, sm_func **out, sm_err *err);
sm_status sm_pipeline_split(sm_func *f, const sm_cut *cut, int n, sm_func **out, sm_err *err);
sm_status sm_pipeline_lower(sm_func *f, const sm_profile *p, const char *const *name, int n, sm_func **out,
                            sm_lowered *notes, sm_err *err);
/* As-written function -> row form for running (canonicalise, raise, fuse_rows). */
sm_status sm_pipeline_raise(sm_func *f, const sm_raise_hints *hints, sm_func **out, sm_raised *info, sm_err *err);

#endif
