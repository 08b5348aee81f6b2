/* SPDX-License-Identifier: MIT
 *
 * qgemm_neon_int.h: coded weights times quantized rows, the part that all three ARM sets share.
 *
 * A group vector of a tile (16 rows of 4 bytes) is four registers, "quarters" of 4 weight rows.  A body works on some
 * quarters and some rows at once, such that the integer sums of a block stay in registers.  The including file defines
 * how the codes of a block meet the rows' bytes (block_sums) and which bodies a product is cut into (tile); what is
 * left is one order of float operations for all of them: integer sums are exact, so a row does not notice its
 * neighbours, nor which of the three sets multiplied it.
 */
#ifndef SM_QGEMM_NEON_INT_H
#define SM_QGEMM_NEON_INT_H

#ifdef __ARM_NEON /* else empty: headers compile alone, on other machines too */
#include "backend/cpu/arm/vmath_neon.h"
#include "backend/cpu/kernels.h"

#define ALWAYS static inline __attribute__((always_inline))

enum { QUARTERS = 4, SUMS_MAX = 16 }; /* rows times quarters of a body */

/* What a body works on: `rows` rows from x against quarters [quarter, quarter + n_quarters) of a tile. */
typedef struct part {
    const uint8_t *x;
    size_t ldx;
    int rows, quarter, n_quarters;
} part;

/* acc[r * n_quarters + i] = sums of codes * bytes over column groups [g0, g1) of block b; g0 and g1 are 0, 4 or 8. */
ALWAYS void block_sums(const uint8_t *block, part p, int b, int g0, int g1, sm_qw_kind kind, int32x4_t *acc);
/* What makes these sums those over (code - off). */
ALWAYS int32_t start(int32_t nsum, bool is_signed, sm_qw_kind kind);

/* 16 bytes worth `value` where bits of the two bytes at idx of `plane` are set. */
ALWAYS uint8x16_t plane_bits(uint8x16_t plane, uint8x16_t idx, uint8x16_t bit, uint8_t value) {
    return vandq_u8(vtstq_u8(vqtbl1q_u8(plane, idx), bit), vdupq_n_u8(value));
}

/* Codes of column group g, one quarter. */
ALWAYS uint8x16_t codes_at(const uint8_t *block, int g, int quarter, sm_qw_kind kind) {
    if (kind == SM_QW8)
        return vld1q_u8(block + 64 * g + 16 * quarter);
    uint8x16_t v = vld1q_u8(block + 64 * (g & 3) + 16 * quarter);
    v = g < 4 ? vandq_u8(v, vdupq_n_u8(15)) : vshrq_n_u8(v, 4);
    if (kind == SM_QW4)
        return v;
    const uint8_t spread[16] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1};
    const uint8_t bits[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t idx = vaddq_u8(vld1q_u8(spread), vdupq_n_u8((uint8_t)(8 * (g & 1) + 2 * quarter)));
    uint8x16_t bit = vld1q_u8(bits);
    v = vorrq_u8(v, plane_bits(vld1q_u8(block + 256 + 16 * (g / 2)), idx, bit, 16));
    if (kind == SM_QW6)
        v = vorrq_u8(v, plane_bits(vld1q_u8(block + 320 + 16 * (g / 2)), idx, bit, 32));
    return v;
}

ALWAYS float32x4_t f16_at(const uint8_t *p) {
    return f16_to_4(vld1_u16((const uint16_t *)(const void *)p));
}

/* Rows times some quarters of a tile; `lanes` of these quarters' weight rows exist. */
ALWAYS void part_rows(const sm_qw *w, const uint8_t *tile, part p, float *out, size_t ldo, int lanes, sm_qw_kind kind,
                      bool sub16, bool has_min) {
    const int subs = sub16 ? 2 : 1, code_bytes = kind == SM_QW8 ? 512 : 256 + 64 * (int)kind, nq = p.n_quarters;
    const int nb = w->nb;
    const uint8_t *block = tile, *meta = tile + (size_t)nb * (size_t)code_bytes + 8 * p.quarter;
    float32x4_t sum[SUMS_MAX];
    for (int i = 0; i < p.rows * nq; i++)
        sum[i] = vdupq_n_f32(0.0f);
    for (int b = 0; b < nb; b++, block += code_bytes)
        for (int s = 0; s < subs; s++) {
            int32x4_t acc[SUMS_MAX];
            block_sums(block, p, b, sub16 ? 4 * s : 0, sub16 ? 4 * s + 4 : 8, kind, acc);
            float32x4_t scale[QUARTERS], min[QUARTERS];
            for (int i = 0; i < nq; i++)
                scale[i] = f16_at(meta + 8 * i);
            meta += 32;
            for (int i = 0; has_min && i < nq; i++)
                min[i] = f16_at(meta + 8 * i);
            meta += has_min ? 32 : 0;
            for (int r = 0; r < p.rows; r++) {
                const uint8_t *row = p.x + (size_t)r * p.ldx;
                int32_t nsum = sub16 ? sm_qrow_nsum16(row, nb)[2 * b + s] : sm_qrow_nsum(row, nb)[b];
                int32x4_t first = vdupq_n_s32(start(nsum, w->is_signed, kind));
                float d = sm_qrow_scale(row, nb)[b];
                for (int i = 0; i < nq; i++) {
                    float32x4_t *o = &sum[r * nq + i];
                    *o = vfmaq_f32(*o, vcvtq_f32_s32(vaddq_s32(acc[r * nq + i], first)), vmulq_n_f32(scale[i], d));
                    if (has_min)
                        *o = vfmsq_n_f32(*o, vmulq_n_f32(min[i], d), (float)nsum);
                }
            }
        }
    meta += 8 * p.quarter; /* now 4 bytes a lane */
    for (int r = 0; r < p.rows; r++)
        for (int i = 0; i < nq && 4 * i < lanes; i++) {
            float32x4_t mul = vld1q_f32((const float *)(const void *)(meta + 16 * i));
            store_4(out + (size_t)r * ldo + 4 * i, vmulq_f32(sum[r * nq + i], mul), lanes - 4 * i);
        }
}

/* One whole tile in bodies of `rows` rows and n_quarters quarters. */
ALWAYS void tile_rows(const sm_qw *w, const uint8_t *tile, const uint8_t *x, size_t ldx, float *out, size_t ldo,
                      int lanes, sm_qw_kind kind, bool sub16, bool has_min, int rows, int n_quarters) {
    for (int q = 0; q < QUARTERS && 4 * q < lanes; q += n_quarters)
        part_rows(w, tile, (part){x, ldx, rows, q, n_quarters}, out + 4 * q, ldo, lanes - 4 * q, kind, sub16, has_min);
}

/* All rows of one tile, in the bodies that suit the set. */
ALWAYS void tile(const sm_qw *w, const uint8_t *t, const uint8_t *x, size_t ldx, int rows, float *out, size_t ldo,
                 int lanes, sm_qw_kind kind, bool sub16, bool has_min);

ALWAYS void gemm(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out, size_t ldo,
                 sm_qw_kind kind, bool sub16, bool has_min) {
    for (int t = tile0; t < tile1; t++, out += SM_TILE) {
        int left = w->n - t * SM_TILE;
        tile(w, w->data + (size_t)t * w->tile_bytes, x, ldx, rows, out, ldo, left < SM_TILE ? left : SM_TILE, kind,
             sub16, has_min);
    }
}

ALWAYS void gemm_kind(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                      size_t ldo, sm_qw_kind kind) {
    if (w->sub16 && w->has_min)
        gemm(w, tile0, tile1, x, ldx, rows, out, ldo, kind, true, true);
    else if (w->sub16)
        gemm(w, tile0, tile1, x, ldx, rows, out, ldo, kind, true, false);
    else if (w->has_min)
        gemm(w, tile0, tile1, x, ldx, rows, out, ldo, kind, false, true);
    else
        gemm(w, tile0, tile1, x, ldx, rows, out, ldo, kind, false, false);
}

/* ---- tables ---- */

/* Entries of a tile: 4 and 6 bits as they lie there, 16 of a quarter after those of 64 bytes before; 8 bits taken apart. */
typedef struct entries {
    const uint8_t *high, *low;
    uint8_t apart[2][256];
} entries;

ALWAYS void entries_at(const uint8_t *p, sm_qw_kind kind, entries *e) {
    e->high = p;
    e->low = p + (kind == SM_QW4 ? 64 : 256);
    if (kind != SM_QW8)
        return;
    for (int i = 0; i < 256; i += 16) {
        uint8x16x2_t v = vld2q_u8(p + 2 * i);
        vst1q_u8(e->apart[0] + i, v.val[1]);
        vst1q_u8(e->apart[1] + i, v.val[0]);
    }
    e->high = e->apart[0];
    e->low = e->apart[1];
}

/* Bytes of the entries of 16 codes of one quarter. */
ALWAYS uint8x16_t look_up(const uint8_t *e, uint8x16_t codes, int quarter, sm_qw_kind kind) {
    if (kind == SM_QW4)
        return vqtbl1q_u8(vld1q_u8(e + 16 * quarter), codes);
    if (kind == SM_QW6) {
        e += 16 * quarter;
        uint8x16x4_t t = {{vld1q_u8(e), vld1q_u8(e + 64), vld1q_u8(e + 128), vld1q_u8(e + 192)}};
        return vqtbl4q_u8(t, codes);
    }
    uint8x16_t v = vdupq_n_u8(0);
    for (int i = 0; i < 4; i++, e += 64) { /* what is beyond a table gives nothing */
        uint8x16x4_t t = {{vld1q_u8(e), vld1q_u8(e + 16), vld1q_u8(e + 32), vld1q_u8(e + 48)}};
        v = vorrq_u8(v, vqtbl4q_u8(t, veorq_u8(codes, vdupq_n_u8((uint8_t)(64 * i)))));
    }
    return v;
}

/* Both bytes of a block's entries are laid out like 8-bit codes, and multiplied as such. */
ALWAYS void part_rows_lut(const sm_qw *w, const uint8_t *tile, const entries *e, part p, float *out, size_t ldo,
                          int lanes, sm_qw_kind kind) {
    const int code_bytes = kind == SM_QW8 ? 512 : 256 + 64 * (int)kind, nq = p.n_quarters, nb = w->nb;
    const uint8_t *block = tile;
    float32x4_t sum[SUMS_MAX];
    for (int i = 0; i < p.rows * nq; i++)
        sum[i] = vdupq_n_f32(0.0f);
    for (int b = 0; b < nb; b++, block += code_bytes) {
        uint8_t high[512], low[512];
        int32x4_t acc_high[SUMS_MAX], acc_low[SUMS_MAX];
        for (int g = 0; g < 8; g++)
            for (int i = p.quarter; i < p.quarter + nq; i++) {
                uint8x16_t codes = codes_at(block, g, i, kind);
                vst1q_u8(high + 64 * g + 16 * i, look_up(e->high, codes, i, kind));
                vst1q_u8(low + 64 * g + 16 * i, look_up(e->low, codes, i, kind));
            }
        block_sums(high, p, b, 0, 8, SM_QW8, acc_high);
        block_sums(low, p, b, 0, 8, SM_QW8, acc_low);
        for (int r = 0; r < p.rows; r++) {
            const uint8_t *row = p.x + (size_t)r * p.ldx;
            int32x4_t first = vdupq_n_s32(257 * start(sm_qrow_nsum(row, nb)[b], true, SM_QW8));
            float d = sm_qrow_scale(row, nb)[b];
            for (int i = r * nq; i < (r + 1) * nq; i++) {
                int32x4_t all = vaddq_s32(vaddq_s32(vshlq_n_s32(acc_high[i], 8), acc_low[i]), first);
                sum[i] = vfmaq_n_f32(sum[i], vcvtq_f32_s32(all), d);
            }
        }
    }
    const uint8_t *mul_at = tile + sm_qw_mul_at(w) + 16 * p.quarter;
    for (int r = 0; r < p.rows; r++)
        for (int i = 0; i < nq && 4 * i < lanes; i++) {
            float32x4_t mul = vld1q_f32((const float *)(const void *)(mul_at + 16 * i));
            store_4(out + (size_t)r * ldo + 4 * i, vmulq_f32(sum[r * nq + i], mul), lanes - 4 * i);
        }
}

ALWAYS void tile_rows_lut(const sm_qw *w, const uint8_t *tile, const entries *e, const uint8_t *x, size_t ldx,
                          float *out, size_t ldo, int lanes, sm_qw_kind kind, int rows, int n_quarters) {
    for (int q = 0; q < QUARTERS && 4 * q < lanes; q += n_quarters)
        part_rows_lut(w, tile, e, (part){x, ldx, rows, q, n_quarters}, out + 4 * q, ldo, lanes - 4 * q, kind);
}

ALWAYS void gemm_lut(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                     size_t ldo, sm_qw_kind kind) {
    for (int t = tile0; t < tile1; t++, out += SM_TILE) {
        const uint8_t *at = w->data + (size_t)t * w->tile_bytes, *xr = x;
        int lanes = w->n - t * SM_TILE < SM_TILE ? w->n - t * SM_TILE : SM_TILE, r = 0;
        float *o = out;
        entries e;
        entries_at(at + (size_t)w->nb * (size_t)w->code_bytes, kind, &e);
        for (; r + 4 <= rows; r += 4, xr += 4 * ldx, o += 4 * ldo)
            tile_rows_lut(w, at, &e, xr, ldx, o, ldo, lanes, kind, 4, 2);
        if (r + 2 <= rows) {
            tile_rows_lut(w, at, &e, xr, ldx, o, ldo, lanes, kind, 2, 4);
            r += 2, xr += 2 * ldx, o += 2 * ldo;
        }
        if (r < rows)
            tile_rows_lut(w, at, &e, xr, ldx, o, ldo, lanes, kind, 1, 4);
    }
}

#endif
#endif
