/* SPDX-License-Identifier: MIT
 *
 * blocks.h: what families are written with.
 *
 * An sm_mb is one model being built: the checkpoint, the builder of its function, the numbers read so far.  Errors stick
 * to the builder: after the first one every call returns NULL or its default and does nothing, so that a family reads
 * like the model it describes and sm_mb_end reports.
 *
 * Weights are fetched by role (names.def) with the shape the family expects; what differs between dialects in layout
 * (GGUF's interleaved rows of q and k) is undone here, so that a family sees one convention: rotary embeddings in halves
 * form, weights [out, in].
 *
 * Ownership: constants view the checkpoint; computed tables live in the graph's arena.  Threads: one per sm_mb.
 */
#ifndef SM_BLOCKS_H
#define SM_BLOCKS_H

#include "model/model.h"

typedef enum sm_tensor_role {
#define TENSOR(role, gguf, hf) SM_W_##role,
#include "model/names.def"
    SM_W_COUNT_
} sm_tensor_role;

typedef enum sm_hparam_role {
#define HPARAM(role, gguf, hf) SM_H_##role,
#include "model/names.def"
    SM_H_COUNT_
} sm_hparam_role;

typedef struct sm_mb {
    const sm_checkpoint *c;
    sm_model_info *info;
    sm_builder b;
    sm_value *ids, *pos, *out, *batch; /* the function's inputs */
    double eps;                        /* of the norms */
    bool interleaved_qk;               /* this file stores rows of q and k in pairs (family's GGUF convention) */
    sm_value **weight;                 /* per tensor of the checkpoint: its constant once fetched */
    bool *used;
} sm_mb;

/* Keeps the first error. */
#define SM_MB_FAIL(m, status, ...)                                                                                     \
    ((m)->b.st != SM_OK ? (m)->b.st : ((m)->b.st = SM_FAIL(&(m)->b.err, (status), __VA_ARGS__)))

/* ---- hyper-parameters: the value, or def when the file does not say; outside lo..hi is bad input ---- */
/* A def below lo means that the file must say it. */
int64_t sm_mb_int(sm_mb *m, sm_hparam_role role, int64_t def, int64_t lo, int64_t hi);
double sm_mb_float(sm_mb *m, sm_hparam_role role, double def, double lo, double hi);
sm_sv sm_mb_text(sm_mb *m, sm_hparam_role role); /* empty when absent */
bool sm_mb_has(const sm_mb *m, sm_hparam_role role);
bool sm_mb_has_tensor(const sm_mb *m, sm_tensor_role role, int layer);
/* Layers, widths, heads, norm epsilon, trained context: what every decoder has, into m->info and m->eps.  A head's
 * width is the file's, else d_model / heads. */
void sm_mb_shape(sm_mb *m);

/* ---- weights ---- */
/* [rows, cols], or [cols] when rows is 0.  Declared fp32 whatever holds it, so that activations are fp32. */
sm_value *sm_mb_weight(sm_mb *m, sm_tensor_role role, int layer, int64_t rows, int64_t cols);
sm_value *sm_mb_weight_opt(sm_mb *m, sm_tensor_role role, int layer, int64_t rows, int64_t cols); /* NULL when absent */

/* ---- rotary tables ---- */
typedef struct sm_rope {
    sm_value *inv_freq; /* f32 [rot / 2] */
    double scale;       /* of cos and sin */
} sm_rope;
/* Frequencies base^(-2i/rot), then scaled as the file says: none, linear, llama3 (by its numbers or by the table of
 * factors that GGUF ships).  Other kinds of scaling are SM_UNSUPPORTED. */
sm_rope sm_mb_rope(sm_mb *m, double base, int rot);
sm_rope sm_mb_rope_plain(sm_mb *m, const char *name, double base, int rot); /* unscaled */
/* The arithmetic alone: inv_freq[rot / 2]. */
void sm_rope_base(double base, int rot, float *inv_freq);
void sm_rope_llama3(double factor, double low, double high, double ctx, int n, float *inv_freq);

/* ---- blocks ---- */
typedef struct sm_attn_spec {
    sm_rope rope;
    double scale; /* of q k^T; 0: 1 / sqrt(head_dim) */
    int window;   /* 0: all positions */
    bool qk_norm; /* RMS norm of each head of q and k before rope */
} sm_attn_spec;
sm_value *sm_mb_norm(sm_mb *m, sm_value *x, sm_tensor_role role, int layer, const char *name);
/* x [t, d] -> projections, rope, cached attention in slot `layer`, output projection -> [t, d] */
sm_value *sm_mb_attention(sm_mb *m, sm_value *x, int layer, const sm_attn_spec *a);
/* down(act(gate x) * up x); act as in smelt.gated_mlp */
sm_value *sm_mb_mlp(sm_mb *m, sm_value *x, int layer, const char *act);
sm_value *sm_mb_add(sm_mb *m, sm_value *x, sm_value *y, const char *name, int layer);
/* scale * table[ids]; reads the vocabulary's size from the table. */
sm_value *sm_mb_embed(sm_mb *m, double scale);
/* Rows wanted, last norm, head (the embedding's table when the file has no other): the function's output. */
void sm_mb_head(sm_mb *m, sm_value *x, double softcap);

/* One line of families.def. */
typedef sm_status (*sm_family_fn)(sm_mb *m);
#define FAMILY(name, words, build) sm_status build(sm_mb *m);
#include "model/families.def"
#undef FAMILY

#endif
