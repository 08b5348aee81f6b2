/* SPDX-License-Identifier: MIT
 *
 * qgemm_avx2.c: coded weights times quantized rows, half a tile (8 weight rows) a register, up to 4 rows at once;
 * quantizing a row.
 *
 * VPMADDUBSW adds two products in 16 bits with saturation.  Codes of up to 6 bits cannot reach it, and several such sums
 * fit before they must be widened: 8 of 4 bits (8 * 2 * 15 * 127), 4 of 5, 2 of 6.  8-bit codes are made signed and
 * their sign moved to the other operand (2 * 128 * 127 still fits).  A plane of bits becomes bytes by spreading each
 * byte over 8 lanes and testing one bit a lane.
 */
#include <immintrin.h>
#include <string.h>

#include "backend/cpu/kernels.h"

#define ALWAYS static inline __attribute__((always_inline))

ALWAYS __m256i bytes_at(const uint8_t *p) {
    int32_t v;
    memcpy(&v, p, 4);
    return _mm256_set1_epi32(v);
}

/* Bytes worth `value` where bits of the 32 at p are set. */
ALWAYS __m256i plane_at(const uint8_t *p, int value) {
    const __m256i spread =
        _mm256_setr_epi64x(0x0000000000000000, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    __m256i v = _mm256_and_si256(_mm256_shuffle_epi8(bytes_at(p), spread), bit);
    return _mm256_and_si256(_mm256_cmpeq_epi8(v, bit), _mm256_set1_epi8((char)value));
}

/* Codes of column group g, lanes 8 half .. 8 half + 7. */
ALWAYS __m256i codes_at(const uint8_t *block, int g, int half, sm_qw_kind kind) {
    if (kind == SM_QW8)
        return _mm256_xor_si256(_mm256_loadu_si256((const void *)(block + 64 * g + 32 * half)), _mm256_set1_epi8(-128));
    __m256i v = _mm256_loadu_si256((const void *)(block + 64 * (g & 3) + 32 * half));
    v = _mm256_and_si256(g < 4 ? v : _mm256_srli_epi16(v, 4), _mm256_set1_epi8(15));
    if (kind >= SM_QW5)
        v = _mm256_or_si256(v, plane_at(block + 256 + 8 * g + 4 * half, 16));
    if (kind >= SM_QW6)
        v = _mm256_or_si256(v, plane_at(block + 320 + 8 * g + 4 * half, 32));
    return v;
}

/* Eight 16-bit pair sums of codes and bytes. */
ALWAYS __m256i pairs(__m256i codes, __m256i bytes, sm_qw_kind kind) {
    if (kind == SM_QW8)
        return _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(bytes, codes));
    return _mm256_maddubs_epi16(codes, bytes);
}

/* What makes sums of codes sums of (code - off); 8-bit codes have lost 128 already. */
ALWAYS int32_t start(int32_t nsum, bool is_signed, sm_qw_kind kind) {
    if (kind == SM_QW8)
        return is_signed ? 0 : -nsum * 128;
    return is_signed ? nsum * (8 << (int)kind) : 0;
}

ALWAYS __m256 f16_at(const uint8_t *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const void *)p));
}

/* Integer sums of block b, columns [g0, g1) * 4, of `rows` rows. */
ALWAYS void block_sums(const uint8_t *block, const uint8_t *x, size_t ldx, int b, int g0, int g1, int half,
                       sm_qw_kind kind, int rows, __m256i *acc) {
    const int fit = kind == SM_QW4 ? 8 : kind == SM_QW5 ? 4 : kind == SM_QW6 ? 2 : 1;
    const __m256i ones = _mm256_set1_epi16(1);
    for (int g = g0; g < g1; g += fit) {
        __m256i sum16[4];
        for (int r = 0; r < rows; r++)
            sum16[r] = _mm256_setzero_si256();
        for (int i = g; i < g + fit && i < g1; i++) {
            __m256i codes = codes_at(block, i, half, kind);
            for (int r = 0; r < rows; r++) {
                __m256i p = pairs(codes, bytes_at(x + (size_t)r * ldx + 32 * b + 4 * i), kind);
                sum16[r] = _mm256_add_epi16(sum16[r], p);
            }
        }
        for (int r = 0; r < rows; r++)
            acc[r] = _mm256_add_epi32(acc[r], _mm256_madd_epi16(sum16[r], ones));
    }
}

ALWAYS void half_rows(const sm_qw *w, const uint8_t *tile, int half, const uint8_t *x, size_t ldx, float *out,
                      size_t ldo, int lanes, sm_qw_kind kind, bool sub16, bool has_min, int rows) {
    const int subs = sub16 ? 2 : 1, groups = 8 / subs, code_bytes = kind == SM_QW8 ? 512 : 256 + 64 * (int)kind;
    const int nb = w->nb;
    const uint8_t *block = tile, *meta = tile + (size_t)nb * (size_t)code_bytes + 16 * half;
    __m256 sum[4];
    for (int r = 0; r < rows; r++)
        sum[r] = _mm256_setzero_ps();
    for (int b = 0; b < nb; b++, block += code_bytes)
        for (int s = 0; s < subs; s++) {
            __m256i acc[4];
            int32_t nsum[4];
            for (int r = 0; r < rows; r++) {
                const uint8_t *row = x + (size_t)r * ldx;
                nsum[r] = sub16 ? sm_qrow_nsum16(row, nb)[2 * b + s] : sm_qrow_nsum(row, nb)[b];
                acc[r] = _mm256_set1_epi32(start(nsum[r], w->is_signed, kind));
            }
            block_sums(block, x, ldx, b, s * groups, (s + 1) * groups, half, kind, rows, acc);
            __m256 scale = f16_at(meta);
            meta += 32;
            for (int r = 0; r < rows; r++) {
                __m256 d = _mm256_set1_ps(sm_qrow_scale(x + (size_t)r * ldx, nb)[b]);
                sum[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(acc[r]), _mm256_mul_ps(scale, d), sum[r]);
            }
            if (!has_min)
                continue;
            __m256 min = f16_at(meta);
            meta += 32;
            for (int r = 0; r < rows; r++) {
                __m256 d = _mm256_set1_ps(sm_qrow_scale(x + (size_t)r * ldx, nb)[b]);
                sum[r] = _mm256_fnmadd_ps(_mm256_mul_ps(min, d), _mm256_set1_ps((float)nsum[r]), sum[r]);
            }
        }
    __m256 mul = _mm256_loadu_ps((const void *)(meta + 16 * half));
    for (int r = 0; r < rows; r++) {
        float v[8];
        _mm256_storeu_ps(v, _mm256_mul_ps(sum[r], mul));
        memcpy(out + (size_t)r * ldo, v, (size_t)lanes * sizeof *v);
    }
}

ALWAYS void gemm(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out, size_t ldo,
                 sm_qw_kind kind, bool sub16, bool has_min) {
    for (int h = 2 * tile0; h < 2 * tile1 && h * 8 < w->n; h++, out += 8) {
        const uint8_t *tile = w->data + (size_t)(h / 2) * w->tile_bytes, *xr = x;
        int lanes = w->n - h * 8 < 8 ? w->n - h * 8 : 8, r = 0;
        float *o = out;
        for (; r + 4 <= rows; r += 4, xr += 4 * ldx, o += 4 * ldo)
            half_rows(w, tile, h % 2, xr, ldx, o, ldo, lanes, kind, sub16, has_min, 4);
        for (; r < rows; r++, xr += ldx, o += ldo)
            half_rows(w, tile, h % 2, xr, ldx, o, ldo, lanes, kind, sub16, has_min, 1);
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

/* Entries of half a tile: 4 bits use two registers, 6 bits eight (high, low bytes); 8 bits are looked up one by one. */
typedef struct entries {
    __m256i v[8];
    const uint8_t *pairs;
} entries;

ALWAYS entries entries_at(const uint8_t *p, int half, sm_qw_kind kind) {
    entries e = {.pairs = p};
    for (int i = 0; i < (kind == SM_QW4 ? 2 : kind == SM_QW6 ? 8 : 0); i++)
        e.v[i] = _mm256_loadu_si256((const void *)(p + 64 * i + 32 * half));
    return e;
}

/* Bytes of 64 entries per four rows; bits 4 and 5 of the codes are where blendv looks. */
ALWAYS __m256i byte_of_64(const __m256i *e, __m256i low, __m256i bit4, __m256i bit5) {
    __m256i a = _mm256_blendv_epi8(_mm256_shuffle_epi8(e[0], low), _mm256_shuffle_epi8(e[1], low), bit4);
    __m256i b = _mm256_blendv_epi8(_mm256_shuffle_epi8(e[2], low), _mm256_shuffle_epi8(e[3], low), bit4);
    return _mm256_blendv_epi8(a, b, bit5);
}

/* High and low bytes of entries, made signed, of column group g, lanes 8 half .. 8 half + 7. */
ALWAYS void look_up(const entries *e, const uint8_t *block, int g, int half, sm_qw_kind kind, __m256i *high,
                    __m256i *low) {
    const __m256i flip = _mm256_set1_epi8(-128);
    if (kind == SM_QW8) {
        const uint8_t *code = block + 64 * g + 32 * half;
        uint16_t pair[32];
        for (int i = 0; i < 32; i++)
            memcpy(&pair[i], e->pairs + 2 * code[i], 2);
        const __m256i byte = _mm256_set1_epi16(255);
        __m256i a = _mm256_loadu_si256((const void *)pair), b = _mm256_loadu_si256((const void *)(pair + 16));
        *high = _mm256_packus_epi16(_mm256_srli_epi16(a, 8), _mm256_srli_epi16(b, 8));
        *low = _mm256_packus_epi16(_mm256_and_si256(a, byte), _mm256_and_si256(b, byte));
        *high = _mm256_permute4x64_epi64(*high, 0xD8);
        *low = _mm256_permute4x64_epi64(*low, 0xD8);
    } else {
        __m256i v = codes_at(block, g, half, kind);
        if (kind == SM_QW4) {
            *high = _mm256_shuffle_epi8(e->v[0], v);
            *low = _mm256_shuffle_epi8(e->v[1], v);
        } else {
            __m256i bit4 = _mm256_slli_epi16(v, 3), bit5 = _mm256_slli_epi16(v, 2);
            __m256i four = _mm256_and_si256(v, _mm256_set1_epi8(15));
            *high = byte_of_64(e->v, four, bit4, bit5);
            *low = byte_of_64(e->v + 4, four, bit4, bit5);
        }
    }
    *high = _mm256_xor_si256(*high, flip);
    *low = _mm256_xor_si256(*low, flip);
}

ALWAYS void half_rows_lut(const sm_qw *w, const uint8_t *tile, int half, const uint8_t *x, size_t ldx, float *out,
                          size_t ldo, int lanes, sm_qw_kind kind, int rows) {
    const int code_bytes = kind == SM_QW8 ? 512 : 256 + 64 * (int)kind, nb = w->nb;
    const __m256i ones = _mm256_set1_epi16(1);
    const entries e = entries_at(tile + (size_t)nb * (size_t)code_bytes, half, kind);
    const uint8_t *block = tile;
    __m256 sum[4];
    for (int r = 0; r < rows; r++)
        sum[r] = _mm256_setzero_ps();
    for (int b = 0; b < nb; b++, block += code_bytes) {
        __m256i high[4], low[4];
        for (int r = 0; r < rows; r++)
            high[r] = low[r] = _mm256_setzero_si256();
        for (int g = 0; g < 8; g++) {
            __m256i h, l;
            look_up(&e, block, g, half, kind, &h, &l);
            for (int r = 0; r < rows; r++) {
                __m256i bytes = bytes_at(x + (size_t)r * ldx + 32 * b + 4 * g);
                high[r] = _mm256_add_epi32(high[r], _mm256_madd_epi16(pairs(h, bytes, SM_QW8), ones));
                low[r] = _mm256_add_epi32(low[r], _mm256_madd_epi16(pairs(l, bytes, SM_QW8), ones));
            }
        }
        for (int r = 0; r < rows; r++) {
            __m256 d = _mm256_set1_ps(sm_qrow_scale(x + (size_t)r * ldx, nb)[b]);
            __m256i all = _mm256_add_epi32(_mm256_slli_epi32(high[r], 8), low[r]);
            sum[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(all), d, sum[r]);
        }
    }
    __m256 mul = _mm256_loadu_ps((const void *)(tile + sm_qw_mul_at(w) + 32 * half));
    for (int r = 0; r < rows; r++) {
        float v[8];
        _mm256_storeu_ps(v, _mm256_mul_ps(sum[r], mul));
        memcpy(out + (size_t)r * ldo, v, (size_t)lanes * sizeof *v);
    }
}

ALWAYS void gemm_lut(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                     size_t ldo, sm_qw_kind kind) {
    for (int h = 2 * tile0; h < 2 * tile1 && h * 8 < w->n; h++, out += 8) {
        const uint8_t *tile = w->data + (size_t)(h / 2) * w->tile_bytes, *xr = x;
        int lanes = w->n - h * 8 < 8 ? w->n - h * 8 : 8, r = 0;
        float *o = out;
        for (; r + 4 <= rows; r += 4, xr += 4 * ldx, o += 4 * ldo)
            half_rows_lut(w, tile, h % 2, xr, ldx, o, ldo, lanes, kind, 4);
        if (r + 2 <= rows) {
            half_rows_lut(w, tile, h % 2, xr, ldx, o, ldo, lanes, kind, 2);
            r += 2, xr += 2 * ldx, o += 2 * ldo;
        }
        if (r < rows)
            half_rows_lut(w, tile, h % 2, xr, ldx, o, ldo, lanes, kind, 1);
    }
}

static void qgemm_w4_avx2(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                          size_t ldo) {
    gemm_kind(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW4);
}

static void qgemm_w5_avx2(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                          size_t ldo) {
    gemm_kind(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW5);
}

static void qgemm_w6_avx2(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                          size_t ldo) {
    gemm_kind(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW6);
}

static void qgemm_w8_avx2(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                          size_t ldo) {
    gemm_kind(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW8);
}

static void qgemm_lut4_avx2(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                            size_t ldo) {
    gemm_lut(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW4);
}

static void qgemm_lut6_avx2(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                            size_t ldo) {
    gemm_lut(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW6);
}

static void qgemm_lut8_avx2(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                            size_t ldo) {
    gemm_lut(w, tile0, tile1, x, ldx, rows, out, ldo, SM_QW8);
}

/* Largest magnitude of a block of 32. */
static inline float block_most(const __m256 v[4]) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 m = _mm256_andnot_ps(sign, v[0]);
    for (int i = 1; i < 4; i++)
        m = _mm256_max_ps(m, _mm256_andnot_ps(sign, v[i]));
    __m128 h = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
    h = _mm_max_ps(h, _mm_movehl_ps(h, h));
    return _mm_cvtss_f32(_mm_max_ss(h, _mm_movehdup_ps(h)));
}

static inline int32_t sum_8(__m256i v) {
    __m128i h = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    h = _mm_add_epi32(h, _mm_shuffle_epi32(h, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(h, _mm_shuffle_epi32(h, 0xb1)));
}

static void quantize_avx2(const float *x, int k, uint8_t *row) {
    int nb = sm_qrow_blocks(k);
    float *d = (float *)(void *)(row + (size_t)nb * 32);
    int32_t *nsum = (int32_t *)(void *)(d + nb), *nsum16 = nsum + nb;
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7); /* undoes the packs' work within halves */
    for (int b = 0; b < nb; b++, x += SM_QBLOCK) {
        float tail[SM_QBLOCK] = {0};
        const float *p = x;
        if (k - b * SM_QBLOCK < SM_QBLOCK)
            p = memcpy(tail, x, (size_t)(k - b * SM_QBLOCK) * sizeof *x);
        __m256 v[4];
        for (int i = 0; i < 4; i++)
            v[i] = _mm256_loadu_ps(p + 8 * i);
        float most = block_most(v);
        __m256 inv = _mm256_set1_ps(most > 0.0f ? 127.0f / most : 0.0f);
        __m256i q[4];
        for (int i = 0; i < 4; i++)
            q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inv));
        int32_t s0 = sum_8(_mm256_add_epi32(q[0], q[1])), s1 = sum_8(_mm256_add_epi32(q[2], q[3]));
        __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
        _mm256_storeu_si256((void *)(row + 32 * b), _mm256_permutevar8x32_epi32(bytes, order));
        d[b] = most / 127.0f;
        nsum16[2 * b] = -s0;
        nsum16[2 * b + 1] = -s1;
        nsum[b] = -s0 - s1;
    }
}

void sm_qgemm_init_avx2(sm_kernels *k) {
    k->quantize = quantize_avx2;
    k->qgemm[SM_QW4] = qgemm_w4_avx2;
    k->qgemm[SM_QW5] = qgemm_w5_avx2;
    k->qgemm[SM_QW6] = qgemm_w6_avx2;
    k->qgemm[SM_QW8] = qgemm_w8_avx2;
    k->qgemm_lut[SM_QW4] = qgemm_lut4_avx2;
    k->qgemm_lut[SM_QW6] = qgemm_lut6_avx2;
    k->qgemm_lut[SM_QW8] = qgemm_lut8_avx2;
}
