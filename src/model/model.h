/* SPDX-License-Identifier: MIT
 *
 * model.h: families: a checkpoint's hyper-parameters and named tensors in, a row-form graph out.
 *
 * A family is one file here plus one row of families.def.  Everything families share (roles of tensors and
 * hyper-parameters and their names per dialect, RoPE tables with scaling, building blocks) is in names.def and blocks.h,
 * so that a family file says only what makes the family different.  Nothing outside this room knows a family's name.
 *
 * The function is "main", row form (graph/graph.h): ids [t], pos [t], out [r], batch -> logits [r, vocab] fp32.
 * Weights are constants viewing the checkpoint, which must outlive the graph (or be handed over with sm_graph_keep).
 */
#ifndef SM_MODEL_H
#define SM_MODEL_H

#include "graph/graph.h"
#include "tensor/checkpoint.h"

typedef struct sm_model_info {
    char family[32];       /* row of families.def that built it */
    char architecture[48]; /* the checkpoint's own word */
    int32_t n_layers, d_model, n_heads, n_kv_heads, head_dim, d_ff, vocab;
    int32_t trained_ctx; /* positions the checkpoint was trained for; 0 unknown */
    uint64_t n_params;
} sm_model_info;

/* SM_UNSUPPORTED for an architecture no family takes, naming it and listing those there are. */
sm_status sm_model_build(const sm_checkpoint *c, sm_graph **out, sm_model_info *info, sm_err *err);

#endif
