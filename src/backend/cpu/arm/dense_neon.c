/* SPDX-License-Identifier: MIT
 *
 * dense_neon.c: dense weights times f32 rows, a tile of 16 weight rows being four registers.
 *
 * A running sum waits for the one before it (4 cycles on 2 to 4 pipes), so something independent must stand beside it:
 * up to 4 rows on one tile, or one row on 4 tiles; either is 16 registers of sums.
 */
#include <string.h>

#include "backend/cpu/arm/vmath_neon.h"
#include "backend/cpu/kernels.h"

#define ALWAYS static inline __attribute__((always_inline))

/* Elements of column c. */
ALWAYS void column(const uint8_t *tile, int c, sm_dw_kind kind, float32x4_t v[4]) {
    if (kind == SM_DW_F32) {
        const float *p = (const float *)(const void *)(tile + (size_t)c * 64);
        for (int i = 0; i < 4; i++)
            v[i] = vld1q_f32(p + 4 * i);
        return;
    }
    const uint16_t *p = (const uint16_t *)(const void *)(tile + (size_t)c * 32);
    for (int i = 0; i < 4; i++) {
        uint16x4_t h = vld1_u16(p + 4 * i);
        v[i] = kind == SM_DW_F16 ? f16_to_4(h) : vreinterpretq_f32_u32(vshll_n_u16(h, 16));
    }
}

ALWAYS void tiles_rows(const sm_dw *w, const uint8_t *tile, const float *x, size_t ldx, float *out, size_t ldo,
                       int last, sm_dw_kind kind, int tiles, int rows) {
    float32x4_t sum[16];
    for (int i = 0; i < 4 * tiles * rows; i++)
        sum[i] = vdupq_n_f32(0.0f);
    for (int c = 0; c < w->k; c++)
        for (int t = 0; t < tiles; t++) {
            float32x4_t v[4];
            column(tile + (size_t)t * w->tile_bytes, c, kind, v);
            for (int r = 0; r < rows; r++)
                for (int i = 0; i < 4; i++) {
                    float32x4_t *s = &sum[(t * rows + r) * 4 + i];
                    *s = vfmaq_n_f32(*s, v[i], x[(size_t)r * ldx + (size_t)c]);
                }
        }
    for (int t = 0; t < tiles; t++)
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < 4; i++) {
                int left = (t == tiles - 1 ? last : SM_TILE) - 4 * i;
                if (left > 0)
                    store_4(out + (size_t)r * ldo + t * SM_TILE + 4 * i, sum[(t * rows + r) * 4 + i], left);
            }
}

ALWAYS void gemm(const sm_dw *w, int tile0, int tile1, const float *x, size_t ldx, int rows, float *out, size_t ldo,
                 sm_dw_kind kind) {
    int wide = rows == 1 ? 4 : 1; /* tiles at once */
    for (int t = tile0; t < tile1;) {
        const uint8_t *tile = w->data + (size_t)t * w->tile_bytes;
        int n = tile1 - t >= wide ? wide : 1, last = w->n - (t + n - 1) * SM_TILE, r = 0;
        const float *xr = x;
        float *o = out;
        if (n == 4) {
            tiles_rows(w, tile, x, ldx, o, ldo, last, kind, 4, 1);
            r = 1;
        }
        for (; r + 4 <= rows; r += 4, xr += 4 * ldx, o += 4 * ldo)
            tiles_rows(w, tile, xr, ldx, o, ldo, last, kind, 1, 4);
        if (r + 2 <= rows) {
            tiles_rows(w, tile, xr, ldx, o, ldo, last, kind, 1, 2);
            r += 2, xr += 2 * ldx, o += 2 * ldo;
        }
        if (r < rows)
            tiles_rows(w, tile, xr, ldx, o, ldo, last, kind, 1, 1);
        t += n;
        out += n * SM_TILE;
    }
}

static void dgemm_f32_neon(const sm_dw *w, int tile0, int tile1, const float *x, size_t ldx, int rows, float *out,
                           size_t ldo) {
    gemm(w, tile0, tile1, x, ldx, rows, out, ldo, SM_DW_F32);
}

static void dgemm_f16_neon(const sm_dw *w, int tile0, int tile1, const float *x, size_t ldx, int rows, float *out,
                           size_t ldo) {
    gemm(w, tile0, tile1, x, ldx, rows, out, ldo, SM_DW_F16);
}

static void dgemm_bf16_neon(const sm_dw *w, int tile0, int tile1, const float *x, size_t ldx, int rows, float *out,
                            size_t ldo) {
    gemm(w, tile0, tile1, x, ldx, rows, out, ldo, SM_DW_BF16);
}

void sm_dense_init_neon(sm_kernels *k) {
    k->dgemm[SM_DW_F32] = dgemm_f32_neon;
    k->dgemm[SM_DW_F16] = dgemm_f16_neon;
    k->dgemm[SM_DW_BF16] = dgemm_bf16_neon;
}
