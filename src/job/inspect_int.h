/* SPDX-License-Identifier: MIT
 *
 * inspect_int.h: the report that inspect fills for both kinds of file, and its printers.
 *
 *     inspect.c            opens, fills what both kinds have, prints
 *     inspect_ckpt.c       checkpoints: tensors, hyper-parameters by their names in the file
 *     inspect_pkg.c        packages: functions, interfaces, constants
 *     inspect_hash.c       hashes
 *     inspect_json.c, inspect_text.c   the report printed
 *
 * Texts are views of what was loaded or lie in the report's arena; 0, negative numbers and empty texts mean that nothing
 * says it (what may be 0 says so).  Threads: one.
 */
#ifndef SM_INSPECT_INT_H
#define SM_INSPECT_INT_H

#include "job/inspect.h"
#include "job/load.h"
#include "pass/pass.h"

enum { INS_ENC_TEXT = 160 };

typedef struct ins_tensor {
    sm_sv name;
    const sm_tensor *t;
    char encoding[INS_ENC_TEXT];
    uint64_t numel, bytes;
    const char *file; /* NULL: not in a file of its own (an immediate value) */
    uint64_t offset;
} ins_tensor;

/* Tensors of one encoding. */
typedef struct ins_encoding {
    char name[INS_ENC_TEXT];
    uint64_t tensors, numel, bytes;
} ins_encoding;

typedef struct ins_op {
    const char *name;
    int since; /* specification version; 0: a composite */
    uint64_t n;
} ins_op;

typedef struct ins_ops {
    ins_op *v;
    size_t n, cap;
} ins_ops;

typedef struct ins_func {
    const sm_func *f;
    ins_ops ops;
    struct ins_value {
        const char *name, *dtype;
        int rank;
        char role; /* 'i' input, 'o' output, 's' state */
        struct ins_dim {
            int64_t n;        /* extent; negative: flexible */
            const char *text; /* as the text form prints it */
            int64_t lo, hi;   /* of a flexible one; hi < 0: no upper bound */
            bool bounded;
        } dim[SM_MAX_RANK];
        const int64_t *shapes; /* enumerated: [n_shapes][rank]; else NULL */
        int n_shapes;
    } * values;
    size_t n_values, cap_values;
} ins_func;

/* Numbers of the model. */
typedef struct ins_hparams {
    int64_t layers, width, mlp_width, heads, kv_heads, head_dim, v_dim, vocab, trained_ctx;
    int64_t window, windowed_layers; /* windowed_layers may be 0 */
    bool layers_differ;              /* heads or dims of the first layer are not those of all */
    double rope_base, rope_local_base, rope_factor;
    int64_t rope_dim, rope_ctx;
    char rope_scaling[32];
    double norm_eps, attn_softcap, head_softcap;
    int64_t experts, experts_used;
} ins_hparams;

typedef struct ins_memory {
    bool known;
    int32_t ctx;
    const char *backend;
    uint64_t weights, mapped, kv, activations, total;
    uint64_t kv_f16;       /* keys and values at two bytes each */
    double read_per_token; /* bytes that one new token at the end of the context reads */
    double flops_per_token;
    char why[256]; /* not known: why */
} ins_memory;

typedef struct ins_file {
    const char *path; /* as opened, or inside the package */
    uint64_t bytes;
    char sha256[65];
} ins_file;

typedef struct sm_report {
    sm_arena *arena;
    sm_loaded *l;
    const sm_inspect_opts *o;
    const char *path;
    ins_tensor *tensors; /* checkpoints: in the file's order; packages: in order of first use */
    size_t n_tensors, cap_tensors;
    struct {
        ins_encoding *v;
        size_t n, cap;
    } encodings;
    struct {
        ins_file *v;
        size_t n, cap;
    } files;
    ins_func *funcs; /* packages */
    int n_funcs;
    ins_ops ops; /* checkpoints */
    uint64_t parameters, embedding_parameters, weight_bytes, weight_numel;
    ins_hparams h;
    ins_memory mem;
    char content_hash[65];
    sm_str graph;
} sm_report;

/* ---- filling ---- */
sm_status ins_fill_checkpoint(sm_report *r, sm_err *err);
/* What is written; call before the package is raised. */
sm_status ins_fill_package(sm_report *r, sm_err *err);
/* What the row form says of hyper-parameters; those known already stay. */
sm_status ins_fill_from_rows(sm_report *r, sm_err *err);
sm_status ins_add_tensor(sm_report *r, sm_sv name, const sm_tensor *t, sm_err *err);
sm_status ins_count_op(ins_ops *ops, const sm_block *b, sm_err *err);
const char *ins_opset_name(int since); /* "iOS18"; "smelt" for 0 */

/* ---- memory at a context ---- */
/* A context that does not fit is SM_RESOURCE; a backend that does not say is no failure. */
sm_status ins_fill_memory(sm_report *r, sm_err *err);

/* ---- hashes ---- */
sm_status ins_hash_content(sm_report *r, sm_err *err);
sm_status ins_hash_files(sm_report *r, sm_err *err);

/* ---- printing ---- */
sm_status ins_print_json(const sm_report *r, sm_str *out, sm_err *err);
void ins_print_text(const sm_report *r, sm_str *out);
/* "a long text" of at most `most` bytes on one line, what was cut said by "...". */
void ins_one_line(sm_str *out, sm_sv s, size_t most);

#endif
