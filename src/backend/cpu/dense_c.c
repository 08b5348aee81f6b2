/* SPDX-License-Identifier: MIT
 *
 * dense_c.c: dense weights times f32 rows, plain C: the specification.
 *
 * Each output is one running sum in the order of the columns.
 */
#include "backend/cpu/kernels.h"

#include <string.h>

#include "tensor/dtype.h"

static inline float elem_at(const uint8_t *p, sm_dw_kind kind) {
    float f;
    uint16_t h;
    if (kind == SM_DW_F32) {
        memcpy(&f, p, 4);
        return f;
    }
    memcpy(&h, p, 2);
    return kind == SM_DW_F16 ? sm_f16_to_f32(h) : sm_bf16_to_f32(h);
}

static void dgemm_c(const sm_dw *w, int tile0, int tile1, const float *x, size_t ldx, int rows, float *out,
                    size_t ldo) {
    size_t elem = sm_dw_elem(w->kind);
    for (int t = tile0; t < tile1; t++) {
        const uint8_t *tile = w->data + (size_t)t * w->tile_bytes;
        int lanes = w->n - t * SM_TILE < SM_TILE ? w->n - t * SM_TILE : SM_TILE;
        for (int r = 0; r < rows; r++) {
            float sum[SM_TILE] = {0};
            for (int c = 0; c < w->k; c++)
                for (int i = 0; i < SM_TILE; i++)
                    sum[i] += elem_at(tile + ((size_t)c * SM_TILE + (size_t)i) * elem, w->kind) *
                              x[(size_t)r * ldx + (size_t)c];
            memcpy(out + (size_t)r * ldo + (size_t)(t - tile0) * SM_TILE, sum, (size_t)lanes * sizeof *sum);
        }
    }
}

void sm_dense_init_c(sm_kernels *k) {
    for (int i = 0; i < SM_DW_COUNT; i++)
        k->dgemm[i] = dgemm_c;
}
