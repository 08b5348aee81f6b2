/* SPDX-License-Identifier: MIT
 *
 * qwen3.c: Qwen 3, dense models.
 *
 *     x = embed(ids)
 *     each layer:  x = x + attention(norm(x));  x = x + mlp_silu(norm(x))
 *     logits = head(norm(x))
 *
 * Llama's layer with heads of q and k normed before rope, a head width of its own, and rows of q and k in plain order.
 */
#include "model/blocks.h"

sm_status sm_build_qwen3(sm_mb *m) {
    sm_mb_shape(m);
    sm_attn_spec a = {
        .rope = sm_mb_rope(m, sm_mb_float(m, SM_H_ROPE_BASE, 1e6, 1.0, 1e12), m->info->head_dim),
        .qk_norm = true,
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
