/* SPDX-License-Identifier: MIT
 *
 * convert.h: a checkpoint becomes a Core ML package.
 *
 * GGUF -> checkpoint -> model -> graph -> encode, lower (a profile) -> package.  Weights are streamed a slab at a time
 * while the package is written, so memory does not grow with the model.  The package carries what running it needs:
 * the tokenizer (a GGUF without tensors), chat template, generation config, context, and where it came from.
 */
#ifndef SM_CONVERT_H
#define SM_CONVERT_H

#include "format/mlpackage.h"
#include "job/convert_plan.h"

/* What is to be known of a function that is written: where it leaves the units that it was asked for. */
typedef struct sm_convert_note {
    const char *part; /* package of several; NULL: the only one */
    const char *function, *gate, *where, *what, *hint, *source;
    int count; /* of values */
} sm_convert_note;

typedef struct sm_convert_opts {
    sm_convert_words words; /* what the package shall look like */
    sm_quant quant;
    int quant_block;       /* of a re-quantization; 0: 32, negative: whole rows */
    int64_t group;         /* output channels that share a palette; 0: all, or SM_GROUP_USUAL */
    int threads;           /* 0: one per core */
    int64_t ctx;           /* positions; 0: trained, at most 2048 */
    const char *tokenizer; /* file with another vocabulary */
    const char *split;     /* several packages: convert_split.h; NULL: one */
    bool dry_run;          /* everything but writing */
    bool progress;
    void (*on_tensor)(void *user, const sm_pkg_tensor_report *r);
    void (*on_note)(void *user, const sm_convert_note *n);
    void *user;
} sm_convert_opts;

typedef struct sm_convert_report {
    int count[SM_CARRY_WIDENED + 1]; /* tensors, by how they were carried */
    uint64_t from_bytes, to_bytes, kv_bytes;
    int32_t ctx, spec_version, parts;
    sm_xerr err;                      /* over all */
    double stream_scale, stream_most; /* pass.h: sm_pipeline_fit */
    int scaled, in_blocks;            /* tensors of codes with scales; those of them in blocks as asked for */
} sm_convert_report;

sm_status sm_convert(const char *in, const char *out, const sm_convert_opts *o, sm_convert_report *rep, sm_err *err);

#endif
