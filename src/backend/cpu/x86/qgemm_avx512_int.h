/* SPDX-License-Identifier: MIT
 *
 * qgemm_avx512_int.h: coded weights times quantized rows, 16 weight rows a register, up to 8 rows at once.
 *
 * The including file defines how four unsigned codes meet four signed ones (dot) and what a sum starts from (start);
 * everything else is the same with and without VNNI.  One weight vector serves all rows: it is loaded and unpacked once,
 * the rows' four bytes are broadcast from memory.  The body is compiled for each kind, half-block scales, mins and row
 * count; all of them add blocks in the same order, so a row does not notice its neighbours.
 */
#ifndef SM_QGEMM_AVX512_INT_H
#define SM_QGEMM_AVX512_INT_H

#ifdef __AVX512BW__ /* else empty: headers compile alone, without these flags */
#include <immintrin.h>
#include <string.h>

#include "backend/cpu/kernels.h"

#define ALWAYS static inline __attribute__((always_inline))

/* acc += codes * bytes, exact */
ALWAYS __m512i dot(__m512i acc, __m512i codes, __m512i bytes, sm_qw_kind kind);
/* What makes the sum of `dot`s equal the sum over (code - off); is_signed is all ones or zero. */
ALWAYS __m512i start(int32_t nsum, __m512i is_signed, sm_qw_kind kind);

ALWAYS __m512i bytes_at(const uint8_t *p) {
    int32_t v;
    memcpy(&v, p, 4);
    return _mm512_set1_epi32(v);
}

/* Codes of column group g. */
ALWAYS __m512i codes_at(const uint8_t *block, int g, sm_qw_kind kind) {
    if (kind == SM_QW8)
        return _mm512_loadu_si512(block + 64 * g);
    __m512i v = _mm512_loadu_si512(block + 64 * (g & 3)), low = _mm512_set1_epi8(15);
    v = _mm512_and_si512(g < 4 ? v : _mm512_srli_epi16(v, 4), low);
    uint64_t bits;
    if (kind >= SM_QW5) {
        memcpy(&bits, block + 256 + 8 * g, 8);
        v = _mm512_mask_add_epi8(v, bits, v, _mm512_set1_epi8(16));
    }
    if (kind >= SM_QW6) {
        memcpy(&bits, block + 320 + 8 * g, 8);
        v = _mm512_mask_add_epi8(v, bits, v, _mm512_set1_epi8(32));
    }
    return v;
}

ALWAYS __m512 f16_at(const uint8_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p));
}

/* What the stream of weights will ask for: a block of n bytes, AHEAD of where it is.  The machine's own guesses come too
 * late where a block is a hundred instructions. */
enum { AHEAD = 4096 };
ALWAYS void fetch(const uint8_t *p, int n) {
    for (int i = 0; i < n; i += 64)
        _mm_prefetch((const char *)p + AHEAD + i, _MM_HINT_T0);
}

ALWAYS void tile_rows(const sm_qw *w, const uint8_t *tile, const uint8_t *x, size_t ldx, float *out, size_t ldo,
                      __mmask16 lanes, sm_qw_kind kind, bool sub16, bool has_min, int rows) {
    const int subs = sub16 ? 2 : 1, groups = 8 / subs, code_bytes = kind == SM_QW8 ? 512 : 256 + 64 * (int)kind;
    const int nb = w->nb;
    const __m512i is_signed = _mm512_set1_epi32(w->is_signed ? -1 : 0);
    const uint8_t *block = tile, *meta = tile + (size_t)nb * (size_t)code_bytes;
    __m512 sum[8];
    for (int r = 0; r < rows; r++)
        sum[r] = _mm512_setzero_ps();
    for (int b = 0; b < nb; b++, block += code_bytes) {
        fetch(block, code_bytes);
        for (int s = 0; s < subs; s++) {
            __m512i acc[8];
            int32_t nsum[8];
            for (int r = 0; r < rows; r++) {
                const uint8_t *row = x + (size_t)r * ldx;
                nsum[r] = sub16 ? sm_qrow_nsum16(row, nb)[2 * b + s] : sm_qrow_nsum(row, nb)[b];
                acc[r] = start(nsum[r], is_signed, kind);
            }
            for (int g = s * groups; g < (s + 1) * groups; g++) {
                __m512i codes = codes_at(block, g, kind);
                for (int r = 0; r < rows; r++)
                    acc[r] = dot(acc[r], codes, bytes_at(x + (size_t)r * ldx + 32 * b + 4 * g), kind);
            }
            __m512 scale = f16_at(meta);
            _mm_prefetch((const char *)meta + w->tile_bytes,
                         _MM_HINT_T0); /* of the next tile: this one's stand behind its codes */
            meta += 32;
            for (int r = 0; r < rows; r++) {
                __m512 d = _mm512_set1_ps(sm_qrow_scale(x + (size_t)r * ldx, nb)[b]);
                sum[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[r]), _mm512_mul_ps(scale, d), sum[r]);
            }
            if (!has_min)
                continue;
            __m512 min = f16_at(meta);
            meta += 32;
            for (int r = 0; r < rows; r++) {
                __m512 d = _mm512_set1_ps(sm_qrow_scale(x + (size_t)r * ldx, nb)[b]);
                __m512 ns = _mm512_cvtepi32_ps(_mm512_set1_epi32(nsum[r]));
                sum[r] = _mm512_fnmadd_ps(_mm512_mul_ps(min, d), ns, sum[r]);
            }
        }
    }
    __m512 mul = _mm512_loadu_ps(meta);
    for (int r = 0; r < rows; r++)
        _mm512_mask_storeu_ps(out + (size_t)r * ldo, lanes, _mm512_mul_ps(sum[r], mul));
}

/* ---- tables ---- */

/* Entries of a tile in registers: 4 bits use two, 6 bits eight (high, low bytes), 8 bits eight (pairs of bytes). */
typedef struct entries {
    __m512i v[8];
} entries;

ALWAYS entries entries_at(const uint8_t *p, sm_qw_kind kind) {
    entries e;
    for (int i = 0; i < (kind == SM_QW4 ? 2 : 8); i++)
        e.v[i] = _mm512_loadu_si512(p + 64 * i);
    return e;
}

/* Bytes of 64 entries per four rows, by the low four bits in each sixteen of them, then by the next two. */
ALWAYS __m512i byte_of_64(const __m512i *e, __m512i low, __mmask64 bit4, __mmask64 bit5) {
    __m512i a = _mm512_mask_shuffle_epi8(_mm512_shuffle_epi8(e[0], low), bit4, e[1], low);
    __m512i b = _mm512_mask_shuffle_epi8(_mm512_shuffle_epi8(e[2], low), bit4, e[3], low);
    return _mm512_mask_mov_epi8(a, bit5, b);
}

/* Pairs of bytes of 256 entries for 32 codes in words. */
ALWAYS __m512i pair_of_256(const entries *e, __m512i code) {
    __mmask32 bit6 = _mm512_test_epi16_mask(code, _mm512_set1_epi16(64));
    __mmask32 bit7 = _mm512_test_epi16_mask(code, _mm512_set1_epi16(128));
    __m512i q0 = _mm512_permutex2var_epi16(e->v[0], code, e->v[1]);
    __m512i q1 = _mm512_permutex2var_epi16(e->v[2], code, e->v[3]);
    __m512i q2 = _mm512_permutex2var_epi16(e->v[4], code, e->v[5]);
    __m512i q3 = _mm512_permutex2var_epi16(e->v[6], code, e->v[7]);
    return _mm512_mask_mov_epi16(_mm512_mask_mov_epi16(q0, bit6, q1), bit7, _mm512_mask_mov_epi16(q2, bit6, q3));
}

/* High and low bytes of the entries of 64 codes. */
ALWAYS void look_up(const entries *e, __m512i codes, sm_qw_kind kind, __m512i *high, __m512i *low) {
    if (kind == SM_QW4) {
        *high = _mm512_shuffle_epi8(e->v[0], codes);
        *low = _mm512_shuffle_epi8(e->v[1], codes);
    } else if (kind == SM_QW6) {
        __mmask64 bit4 = _mm512_test_epi8_mask(codes, _mm512_set1_epi8(16));
        __mmask64 bit5 = _mm512_test_epi8_mask(codes, _mm512_set1_epi8(32));
        __m512i four = _mm512_and_si512(codes, _mm512_set1_epi8(15));
        *high = byte_of_64(e->v, four, bit4, bit5);
        *low = byte_of_64(e->v + 4, four, bit4, bit5);
    } else {
        __m512i even = pair_of_256(e, _mm512_and_si512(codes, _mm512_set1_epi16(255)));
        __m512i odd = pair_of_256(e, _mm512_srli_epi16(codes, 8));
        const __mmask64 odds = 0xAAAAAAAAAAAAAAAA;
        *high = _mm512_mask_mov_epi8(_mm512_srli_epi16(even, 8), odds, odd);
        *low = _mm512_mask_mov_epi8(even, odds, _mm512_slli_epi16(odd, 8));
    }
}

ALWAYS void tile_rows_lut(const sm_qw *w, const uint8_t *tile, const uint8_t *x, size_t ldx, float *out, size_t ldo,
                          __mmask16 lanes, sm_qw_kind kind, int rows) {
    const int code_bytes = kind == SM_QW8 ? 512 : 256 + 64 * (int)kind, nb = w->nb;
    const __m512i is_signed = _mm512_set1_epi32(-1);
    const uint8_t *block = tile;
    const entries e = entries_at(tile + (size_t)nb * (size_t)code_bytes, kind);
    __m512 sum[4];
    for (int r = 0; r < rows; r++)
        sum[r] = _mm512_setzero_ps();
    for (int b = 0; b < nb; b++, block += code_bytes) {
        fetch(block, code_bytes);
        __m512i high[4], low[4];
        for (int r = 0; r < rows; r++)
            high[r] = low[r] = start(sm_qrow_nsum(x + (size_t)r * ldx, nb)[b], is_signed, SM_QW8);
        for (int g = 0; g < 8; g++) {
            __m512i h, l;
            look_up(&e, codes_at(block, g, kind), kind, &h, &l);
            for (int r = 0; r < rows; r++) {
                __m512i bytes = bytes_at(x + (size_t)r * ldx + 32 * b + 4 * g);
                high[r] = dot(high[r], h, bytes, SM_QW8);
                low[r] = dot(low[r], l, bytes, SM_QW8);
            }
        }
        for (int r = 0; r < rows; r++) {
            __m512 d = _mm512_set1_ps(sm_qrow_scale(x + (size_t)r * ldx, nb)[b]);
            __m512i all = _mm512_add_epi32(_mm512_slli_epi32(high[r], 8), low[r]);
            sum[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(all), d, sum[r]);
        }
    }
    __m512 mul = _mm512_loadu_ps(tile + sm_qw_mul_at(w));
    for (int r = 0; r < rows; r++)
        _mm512_mask_storeu_ps(out + (size_t)r * ldo, lanes, _mm512_mul_ps(sum[r], mul));
}

ALWAYS void gemm_lut(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                     size_t ldo, sm_qw_kind kind) {
    for (int t = tile0; t < tile1; t++, out += SM_TILE) {
        const uint8_t *tile = w->data + (size_t)t * w->tile_bytes, *xr = x;
        int left = w->n - t * SM_TILE;
        __mmask16 lanes = left >= SM_TILE ? 0xffff : (__mmask16)((1u << left) - 1);
        float *o = out;
        int r = 0;
        for (; r + 4 <= rows; r += 4, xr += 4 * ldx, o += 4 * ldo)
            tile_rows_lut(w, tile, xr, ldx, o, ldo, lanes, kind, 4);
        if (r + 2 <= rows) {
            tile_rows_lut(w, tile, xr, ldx, o, ldo, lanes, kind, 2);
            r += 2, xr += 2 * ldx, o += 2 * ldo;
        }
        if (r < rows)
            tile_rows_lut(w, tile, xr, ldx, o, ldo, lanes, kind, 1);
    }
}

ALWAYS void gemm(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out, size_t ldo,
                 sm_qw_kind kind, bool sub16, bool has_min) {
    for (int t = tile0; t < tile1; t++, out += SM_TILE) {
        const uint8_t *tile = w->data + (size_t)t * w->tile_bytes, *xr = x;
        int left = w->n - t * SM_TILE;
        __mmask16 lanes = left >= SM_TILE ? 0xffff : (__mmask16)((1u << left) - 1);
        float *o = out;
        int r = 0;
        for (; r + 8 <= rows; r += 8, xr += 8 * ldx, o += 8 * ldo)
            tile_rows(w, tile, xr, ldx, o, ldo, lanes, kind, sub16, has_min, 8);
        for (; r + 4 <= rows; r += 4, xr += 4 * ldx, o += 4 * ldo)
            tile_rows(w, tile, xr, ldx, o, ldo, lanes, kind, sub16, has_min, 4);
        if (r + 2 <= rows) {
            tile_rows(w, tile, xr, ldx, o, ldo, lanes, kind, sub16, has_min, 2);
            r += 2, xr += 2 * ldx, o += 2 * ldo;
        }
        if (r < rows)
            tile_rows(w, tile, xr, ldx, o, ldo, lanes, kind, sub16, has_min, 1);
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

#endif
#endif
