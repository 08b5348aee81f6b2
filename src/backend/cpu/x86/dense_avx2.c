/* SPDX-License-Identifier: MIT
 *
 * dense_avx2.c: dense weights times f32 rows, half a tile (8 weight rows) a register, up to 8 rows at once.
 */
#include <immintrin.h>
#include <string.h>

#include "backend/cpu/kernels.h"

#define ALWAYS static inline __attribute__((always_inline))

/* Elements of column c, lanes 8 half .. 8 half + 7. */
ALWAYS __m256 column(const uint8_t *tile, int c, int half, sm_dw_kind kind) {
    if (kind == SM_DW_F32)
        return _mm256_loadu_ps((const void *)(tile + (size_t)c * 64 + 32 * half));
    __m128i h = _mm_loadu_si128((const void *)(tile + (size_t)c * 32 + 16 * half));
    if (kind == SM_DW_F16)
        return _mm256_cvtph_ps(h);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

ALWAYS void half_rows(const sm_dw *w, const uint8_t *tile, int half, const float *x, size_t ldx, float *out, size_t ldo,
                      int lanes, sm_dw_kind kind, int rows) {
    __m256 sum[8];
    for (int r = 0; r < rows; r++)
        sum[r] = _mm256_setzero_ps();
    for (int c = 0; c < w->k; c++) {
        __m256 v = column(tile, c, half, kind);
        for (int r = 0; r < rows; r++)
            sum[r] = _mm256_fmadd_ps(v, _mm256_set1_ps(x[(size_t)r * ldx + (size_t)c]), sum[r]);
    }
    for (int r = 0; r < rows; r++) {
        float v[8];
        _mm256_storeu_ps(v, sum[r]);
        memcpy(out + (size_t)r * ldo, v, (size_t)lanes * sizeof *v);
    }
}

ALWAYS void gemm(const sm_dw *w, int tile0, int tile1, const float *x, size_t ldx, int rows, float *out, size_t ldo,
                 sm_dw_kind kind) {
    for (int h = 2 * tile0; h < 2 * tile1 && h * 8 < w->n; h++, out += 8) {
        const uint8_t *tile = w->data + (size_t)(h / 2) * w->tile_bytes;
        int lanes = w->n - h * 8 < 8 ? w->n - h * 8 : 8, r = 0;
        const float *xr = x;
        float *o = out;
        for (; r + 8 <= rows; r += 8, xr += 8 * ldx, o += 8 * ldo)
            half_rows(w, tile, h % 2, xr, ldx, o, ldo, lanes, kind, 8);
        for (; r < rows; r++, xr += ldx, o += ldo)
            half_rows(w, tile, h % 2, xr, ldx, o, ldo, lanes, kind, 1);
    }
}

static void dgemm_f32_avx2(const sm_dw *w, int tile0, int tile1, const float *x, size_t ldx, int rows, float *out,
                           size_t ldo) {
    gemm(w, tile0, tile1, x, ldx, rows, out, ldo, SM_DW_F32);
}

static void dgemm_f16_avx2(const sm_dw *w, int tile0, int tile1, const float *x, size_t ldx, int rows, float *out,
                           size_t ldo) {
    gemm(w, tile0, tile1, x, ldx, rows, out, ldo, SM_DW_F16);
}

static void dgemm_bf16_avx2(const sm_dw *w, int tile0, int tile1, const float *x, size_t ldx, int rows, float *out,
                            size_t ldo) {
    gemm(w, tile0, tile1, x, ldx, rows, out, ldo, SM_DW_BF16);
}

void sm_dense_init_avx2(sm_kernels *k) {
    k->dgemm[SM_DW_F32] = dgemm_f32_avx2;
    k->dgemm[SM_DW_F16] = dgemm_f16_avx2;
    k->dgemm[SM_DW_BF16] = dgemm_bf16_avx2;
}
