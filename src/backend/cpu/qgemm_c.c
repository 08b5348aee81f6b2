/* SPDX-License-Identifier: MIT
 *
 * qgemm_c.c: coded weights times quantized rows, plain C: the specification of the packed layouts (kernels.h).
 *
 * A block's integer sum is exact; blocks are then added in f32, in the order of the columns:
 *
 *     sum += (float)(codes . row codes) * (scale * row scale);   with mins: sum -= (min * row scale) * (float)nsum
 *     with tables: sum += (float)(256 (high . row codes) + low . row codes) * row scale
 */
#include "backend/cpu/kernels.h"

#include <math.h>
#include <string.h>

#include "tensor/dtype.h"

/* Code of lane `row`, column c (0..31) of a block. */
static inline int code_at(const uint8_t *block, sm_qw_kind kind, int row, int c) {
    int g = c / 4, i = 4 * row + c % 4;
    if (kind == SM_QW8)
        return block[64 * g + i];
    int v = block[64 * (g & 3) + i] >> (g < 4 ? 0 : 4) & 15;
    for (int p = 0; p < (int)kind - (int)SM_QW4; p++)
        v |= (block[256 + 64 * p + 8 * g + i / 8] >> (i % 8) & 1) << (4 + p);
    return v;
}

static float f16_at(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, 2);
    return sm_f16_to_f32(h);
}

static void tile_row(const sm_qw *w, const uint8_t *tile, const uint8_t *x, float *sum) {
    const int8_t *q = (const int8_t *)x;
    const float *d = sm_qrow_scale(x, w->nb);
    const int32_t *nsum = w->sub16 ? sm_qrow_nsum16(x, w->nb) : sm_qrow_nsum(x, w->nb);
    int subs = w->sub16 ? 2 : 1, len = SM_QBLOCK / subs;
    int shift = sm_qw_bits(w->kind) - 1;
    const uint8_t *meta = tile + (size_t)w->nb * (size_t)w->code_bytes;
    for (int b = 0; b < w->nb; b++)
        for (int s = 0; s < subs; s++) {
            const uint8_t *block = tile + (size_t)b * (size_t)w->code_bytes;
            int32_t ns = nsum[b * subs + s];
            for (int i = 0; i < SM_TILE; i++) {
                int32_t dot = w->is_signed ? ns * (1 << shift) : 0;
                for (int c = s * len; c < (s + 1) * len; c++)
                    dot += code_at(block, w->kind, i, c) * q[b * SM_QBLOCK + c];
                sum[i] += (float)dot * (f16_at(meta + 2 * i) * d[b]);
                if (w->has_min)
                    sum[i] -= f16_at(meta + 32 + 2 * i) * d[b] * (float)ns;
            }
            meta += w->has_min ? 64 : 32;
        }
}

/* Entry of a code as the number that mul multiplies. */
static inline int entry_at(const uint8_t *entries, sm_qw_kind kind, int row, int code) {
    int high, low;
    if (kind == SM_QW8) {
        low = entries[2 * code];
        high = entries[2 * code + 1];
    } else {
        int at = 64 * (code / 16) + 16 * (row / 4) + code % 16;
        high = entries[at];
        low = entries[at + (kind == SM_QW4 ? 64 : 256)];
    }
    return 256 * (high - 128) + (low - 128);
}

static void tile_row_lut(const sm_qw *w, const uint8_t *tile, const uint8_t *x, float *sum) {
    const int8_t *q = (const int8_t *)x;
    const float *d = sm_qrow_scale(x, w->nb);
    const uint8_t *entries = tile + (size_t)w->nb * (size_t)w->code_bytes;
    for (int b = 0; b < w->nb; b++, tile += w->code_bytes)
        for (int i = 0; i < SM_TILE; i++) {
            int32_t dot = 0;
            for (int c = 0; c < SM_QBLOCK; c++)
                dot += entry_at(entries, w->kind, i, code_at(tile, w->kind, i, c)) * q[b * SM_QBLOCK + c];
            sum[i] += (float)dot * d[b];
        }
}

static void qgemm_c(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                    size_t ldo) {
    for (int t = tile0; t < tile1; t++) {
        const uint8_t *tile = w->data + (size_t)t * w->tile_bytes;
        const float *mul = (const float *)(const void *)(tile + sm_qw_mul_at(w));
        int lanes = w->n - t * SM_TILE < SM_TILE ? w->n - t * SM_TILE : SM_TILE;
        for (int r = 0; r < rows; r++) {
            float sum[SM_TILE] = {0};
            (w->lut ? tile_row_lut : tile_row)(w, tile, x + (size_t)r * ldx, sum);
            for (int i = 0; i < lanes; i++)
                out[(size_t)r * ldo + (size_t)((t - tile0) * SM_TILE + i)] = sum[i] * mul[i];
        }
    }
}

static void quantize_c(const float *x, int k, uint8_t *row) {
    int nb = sm_qrow_blocks(k);
    int8_t *q = (int8_t *)row;
    float *d = (float *)(void *)(row + (size_t)nb * 32);
    int32_t *nsum = (int32_t *)(void *)(d + nb), *nsum16 = nsum + nb;
    for (int b = 0; b < nb; b++, q += SM_QBLOCK) {
        int n = k - b * SM_QBLOCK < SM_QBLOCK ? k - b * SM_QBLOCK : SM_QBLOCK;
        const float *xb = x + (size_t)b * SM_QBLOCK;
        float most = 0.0f;
        for (int i = 0; i < n; i++)
            most = fabsf(xb[i]) > most ? fabsf(xb[i]) : most;
        float inv = most > 0.0f ? 127.0f / most : 0.0f;
        int32_t sum[2] = {0, 0};
        for (int i = 0; i < SM_QBLOCK; i++) {
            q[i] = i < n ? (int8_t)lrintf(xb[i] * inv) : 0;
            sum[i / 16] += q[i];
        }
        d[b] = most / 127.0f;
        nsum16[2 * b] = -sum[0];
        nsum16[2 * b + 1] = -sum[1];
        nsum[b] = -sum[0] - sum[1];
    }
}

void sm_qgemm_init_c(sm_kernels *k) {
    k->quantize = quantize_c;
    for (int i = 0; i < SM_QW_COUNT; i++)
        k->qgemm[i] = k->qgemm_lut[i] = qgemm_c;
}
