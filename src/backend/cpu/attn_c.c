/* SPDX-License-Identifier: MIT
 *
 * attn_c.c: pieces of attention over one block of cached positions, plain C: the specification.
 *
 * Keys lie with positions innermost, so that a vector of scores needs no sum across lanes; values lie with their width
 * innermost, so that a weighted sum of them does not either.
 */
#include "backend/cpu/kernels.h"

#include <math.h>

#include "tensor/dtype.h"

static void attn_scores_c(const float *q, int n_q, int dim, const uint16_t *kt, int ldk, int n, float *s) {
    for (int i = 0; i < n_q; i++)
        for (int j = 0; j < n; j++) {
            float sum = 0.0f;
            for (int d = 0; d < dim; d++)
                sum += q[(size_t)i * (size_t)dim + (size_t)d] * sm_f16_to_f32(kt[(size_t)d * (size_t)ldk + (size_t)j]);
            s[i * SM_KV_BLOCK + j] = sum;
        }
}

static float attn_softmax_c(float *s, int n, int lo, int hi, float cap, float *max, float *sum) {
    float most = *max, total = 0.0f;
    for (int j = lo; j < hi; j++) {
        if (cap > 0.0f)
            s[j] = cap * tanhf(s[j] / cap);
        most = s[j] > most ? s[j] : most;
    }
    for (int j = 0; j < n; j++) {
        s[j] = j >= lo && j < hi ? expf(s[j] - most) : 0.0f;
        total += s[j];
    }
    float corr = expf(*max - most);
    *sum = *sum * corr + total;
    *max = most;
    return corr;
}

static void attn_values_c(const float *s, const float *corr, int n_q, const uint16_t *v, int dim, int n, float *o) {
    for (int i = 0; i < n_q; i++, o += dim)
        for (int d = 0; d < dim; d++) {
            float sum = o[d] * corr[i];
            for (int j = 0; j < n; j++)
                sum += s[i * SM_KV_BLOCK + j] * sm_f16_to_f32(v[(size_t)j * (size_t)dim + (size_t)d]);
            o[d] = sum;
        }
}

void sm_attn_init_c(sm_kernels *k) {
    k->attn_scores = attn_scores_c;
    k->attn_softmax = attn_softmax_c;
    k->attn_values = attn_values_c;
}
