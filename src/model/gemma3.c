/* SPDX-License-Identifier: MIT
 *
 * gemma3.c: Gemma 3, text part.
 *
 *     x = sqrt(d) * embed(ids)
 *     each layer:  x = x + norm(attention(norm(x)));  x = x + norm(mlp_gelu(norm(x)))
 *     logits = head(norm(x)), the head being the embedding's table
 *
 * Heads of q and k are normed before rope.  Five layers of six see a sliding window and turn by a local base of 10000
 * without scaling; every sixth sees everything and turns by the file's base and scaling.  Scores are scaled by
 * 1/sqrt(head width), but in the 27B model by 1/sqrt(d / heads): Hugging Face files say so (query_pre_attn_scalar), GGUF
 * files do not, so its 62 layers tell it.  GGUF norms have the family's "1 +" added already.
 */
#include <math.h>

#include "model/blocks.h"

enum { LAYERS_27B = 62, PATTERN = 6 };

static double score_scale(sm_mb *m) {
    const sm_model_info *i = m->info;
    double d = i->n_layers == LAYERS_27B ? (double)i->d_model / i->n_heads : i->head_dim;
    return sm_mb_float(m, SM_H_ATTN_SCALE, 1.0 / sqrt(sm_mb_float(m, SM_H_QUERY_SCALAR, d, 1.0, 1e6)), 1e-6, 1e3);
}

sm_status sm_build_gemma3(sm_mb *m) {
    if (m->c->dialect != SM_DIALECT_GGUF)
        return SM_MB_FAIL(m, SM_UNSUPPORTED, "%s: Gemma 3 is read from GGUF only", m->c->path);
    sm_mb_shape(m);
    int rot = m->info->head_dim;
    int pattern = (int)sm_mb_int(m, SM_H_WINDOW_PATTERN, PATTERN, 1, INT32_MAX);
    sm_attn_spec global = {
        .rope = sm_mb_rope(m, sm_mb_float(m, SM_H_ROPE_BASE, 1e6, 1.0, 1e12), rot),
        .scale = score_scale(m),
        .qk_norm = true,
    };
    sm_attn_spec local = global;
    local.rope = sm_mb_rope_plain(m, "rope_local", sm_mb_float(m, SM_H_ROPE_LOCAL_BASE, 1e4, 1.0, 1e12), rot);
    local.window = (int)sm_mb_int(m, SM_H_WINDOW, 0, 0, INT32_MAX);

    sm_value *x = sm_mb_embed(m, sqrtf((float)m->info->d_model));
    for (int l = 0; l < m->info->n_layers; l++) {
        bool is_global = (l + 1) % pattern == 0;
        sm_value *y = sm_mb_norm(m, x, SM_W_ATTN_NORM, l, "attn_norm");
        y = sm_mb_attention(m, y, l, is_global ? &global : &local);
        y = sm_mb_norm(m, y, SM_W_POST_ATTN_NORM, l, "post_attn_norm");
        x = sm_mb_add(m, x, y, "attn_residual", l);
        y = sm_mb_norm(m, x, SM_W_PRE_MLP_NORM, l, "mlp_norm");
        y = sm_mb_mlp(m, y, l, "gelu_tanh");
        y = sm_mb_norm(m, y, SM_W_POST_MLP_NORM, l, "post_mlp_norm");
        x = sm_mb_add(m, x, y, "mlp_residual", l);
    }
    sm_mb_head(m, x, sm_mb_float(m, SM_H_HEAD_SOFTCAP, 0.0, 0.0, 1e6));
    return m->b.st;
}
