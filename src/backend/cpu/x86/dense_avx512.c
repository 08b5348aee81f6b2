/* SPDX-License-Identifier: MIT
 *
 * dense_avx512.c: dense weights times f32 rows, 16 weight rows a register.
 *
 * A running sum waits for the one before it (4 cycles), so something independent must stand beside it: up to 8 rows on
 * one tile, or one row on 4 tiles.
 */
#include <immintrin.h>

#include "backend/cpu/kernels.h"

#define ALWAYS static inline __attribute__((always_inline))

/* Elements of column c. */
ALWAYS __m512 column(const uint8_t *tile, int c, sm_dw_kind kind) {
    if (kind == SM_DW_F32)
        return _mm512_loadu_ps(tile + (size_t)c * 64);
    __m256i h = _mm256_loadu_si256((const void *)(tile + (size_t)c * 32));
    if (kind == SM_DW_F16)
        return _mm512_cvtph_ps(h);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

ALWAYS void tiles_rows(const sm_dw *w, const uint8_t *tile, const float *x, size_t ldx, float *out, size_t ldo,
                       __mmask16 last, sm_dw_kind kind, int tiles, int rows) {
    __m512 sum[8];
    for (int i = 0; i < tiles * rows; i++)
        sum[i] = _mm512_setzero_ps();
    for (int c = 0; c < w->k; c++)
        for (int t = 0; t < tiles; t++) {
            __m512 v = column(tile + (size_t)t * w->tile_bytes, c, kind);
            for (int r = 0; r < rows; r++)
                sum[t * rows + r] =
                    _mm512_fmadd_ps(v, _mm512_set1_ps(x[(size_t)r * ldx + (size_t)c]), sum[t * rows + r]);
        }
    for (int t = 0; t < tiles; t++)
        for (int r = 0; r < rows; r++)
            _mm512_mask_storeu_ps(out + (size_t)r * ldo + t * SM_TILE, t == tiles - 1 ? last : 0xffff,
                                  sum[t * rows + r]);
}

ALWAYS void gemm(const sm_dw *w, int tile0, int tile1, const float *x, size_t ldx, int rows, float *out, size_t ldo,
                 sm_dw_kind kind) {
    int wide = rows == 1 ? 4 : 1; /* tiles at once */
    for (int t = tile0; t < tile1;) {
        const uint8_t *tile = w->data + (size_t)t * w->tile_bytes;
        int n = tile1 - t >= wide ? wide : 1, left = w->n - (t + n - 1) * SM_TILE;
        __mmask16 last = left >= SM_TILE ? 0xffff : (__mmask16)((1u << left) - 1);
        const float *xr = x;
        float *o = out;
        int r = 0;
        if (n == 4) {
            tiles_rows(w, tile, x, ldx, o, ldo, last, kind, 4, 1);
            r = 1;
        }
        for (; r + 8 <= rows; r += 8, xr += 8 * ldx, o += 8 * ldo)
            tiles_rows(w, tile, xr, ldx, o, ldo, last, kind, 1, 8);
        if (r + 4 <= rows) {
            tiles_rows(w, tile, xr, ldx, o, ldo, last, kind, 1, 4);
            r += 4, xr += 4 * ldx, o += 4 * ldo;
        }
        for (; r < rows; r++, xr += ldx, o += ldo)
            tiles_rows(w, tile, xr, ldx, o, ldo, last, kind, 1, 1);
        t += n;
        out += n * SM_TILE;
    }
}

static void dgemm_f32_avx512(const sm_dw *w, int tile0, int tile1, const float *x, size_t ldx, int rows, float *out,
                             size_t ldo) {
    gemm(w, tile0, tile1, x, ldx, rows, out, ldo, SM_DW_F32);
}

static void dgemm_f16_avx512(const sm_dw *w, int tile0, int tile1, const float *x, size_t ldx, int rows, float *out,
                             size_t ldo) {
    gemm(w, tile0, tile1, x, ldx, rows, out, ldo, SM_DW_F16);
}

static void dgemm_bf16_avx512(const sm_dw *w, int tile0, int tile1, const float *x, size_t ldx, int rows, float *out,
                              size_t ldo) {
    gemm(w, tile0, tile1, x, ldx, rows, out, ldo, SM_DW_BF16);
}

void sm_dense_init_avx512(sm_kernels *k) {
    k->dgemm[SM_DW_F32] = dgemm_f32_avx512;
    k->dgemm[SM_DW_F16] = dgemm_f16_avx512;
    k->dgemm[SM_DW_BF16] = dgemm_bf16_avx512;
}
