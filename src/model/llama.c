/* SPDX-License-Identifier: MIT
 *
 * llama.c: Llama 1-3.x, SmolLM2, CodeLlama, Mistral, and what else files call "llama".
 *
 *     x = embed(ids)
 *     each layer:  x = x + attention(norm(x));  x = x + mlp_silu(norm(x))
 *     logits = head(norm(x))
 *
 * What may differ between files: grouped heads, a head of its own or the embedding's table, biases, a head width that
 * is not d / heads, RoPE scaling, a sliding window (Mistral 7B v0.1).  GGUF files of this family interleave the rows of
 * q and k; blocks.c undoes it.
 */
#include "model/blocks.h"

sm_status sm_build_llama(sm_mb *m) {
    m->interleaved_qk = m->c->dialect == SM_DIALECT_GGUF;
    sm_mb_shape(m);
    sm_attn_spec a = {
        .rope = sm_mb_rope(m, sm_mb_float(m, SM_H_ROPE_BASE, 10000.0, 1.0, 1e12),
                           (int)sm_mb_int(m, SM_H_ROPE_DIM, m->info->head_dim, 2, m->info->head_dim)),
        .window = (int)sm_mb_int(m, SM_H_WINDOW, 0, 0, INT32_MAX),
    };
    sm_value *x = sm_mb_embed(m, 1.0);
    for (int l = 0; l < m->info->n_layers; l++) {
        sm_value *y = sm_mb_attention(m, sm_mb_norm(m, x, SM_W_ATTN_NORM, l, "attn_norm"), l, &a);
        x = sm_mb_add(m, x, y, "attn_residual", l);
        y = sm_mb_mlp(m, sm_mb_norm(m, x, SM_W_MLP_NORM, l, "mlp_norm"), l, "silu");
        x = sm_mb_add(m, x, y, "mlp_residual", l);
    }
    sm_mb_head(m, x, 0.0);
    return m->b.st;
}
