/* SPDX-License-Identifier: MIT
 *
 * kernels.h: the table of inner loops, and the memory layouts they agree on.
 *
 * sm_kernels_init lays plain C into the table, then each instruction set that the machine has and the cap allows, in
 * rising order: avx2 (with FMA and F16C), avx512 (F, BW, VL, DQ), avx512vnni; on ARM neon (all of 64-bit ARM), dotprod,
 * i8mm.  The plain C (*_c.c) is the specification: tests/kcheck holds every other pointer against it.  Nothing inside a
 * loop asks what CPU it is on.
 *
 * The rule all kernels keep: the arithmetic of one row (one token) is the same whatever rows stand beside it, so that
 * results do not depend on batching.  Kernels may differ from each other in rounding.
 *
 * Weights lie in tiles of 16 output rows, one row a lane, so that a tile is one stream through memory and no sum ever
 * crosses lanes.
 *
 * CODED WEIGHTS (sm_qw) times QUANTIZED ROWS (32 activations share a scale), in integers:
 *
 *     tile    | codes of block 0 | codes of block 1 | ... | scales, mins of block 0 | of block 1 | ... | 16 f32 mul |
 *     block   32 columns of 16 rows.  Columns come in 8 groups of 4; group g of all rows is one vector of 64 bytes:
 *             byte 4 * row + k is column 4 g + k of the row
 *     8 bits  vectors of groups 0 .. 7 (512 bytes)
 *     4 bits  vectors of groups 0 .. 3 in the low halves of 256 bytes, of groups 4 .. 7 in the high halves
 *     5, 6    as 4 bits, then the fifth bits: 8 words of 64 bits, one a group, bit i belonging to byte i of its vector;
 *             then the sixth bits likewise (a plane of bits is one masked addition on AVX-512, and 5.5-bit files stay
 *             5.5 bits in memory)
 *     scales  fp16[16], then with has_min mins fp16[16]; twice, for each half of 16 columns, with sub16
 *
 *     weight = mul * (scale * (code - off) + min);  off = 2^(bits-1) for signed codes, else 0
 *
 * `mul` is a power of two per row that brings the row's largest scale or min just below 2^15, so that fp16 keeps 11
 * bits of scales 2^29 smaller: scales that were fp16 in the file stay exact, products of K-quants round once.
 *
 * TABLE WEIGHTS (sm_qw with lut): codes of 4, 6 or 8 bits as above; entries come in place of scales and mins, once a tile:
 *
 *     tile    | codes of block 0 | codes of block 1 | ... | entries | 16 f32 mul |
 *     weight = mul * (256 (high - 128) + (low - 128)), high and low bytes of the code's entry
 *     4 bits  64 bytes of high: 16 entries for rows 0-3, 16 for rows 4-7, 8-11, 12-15; then 64 of low
 *     6 bits  entries 0-15 like that (64 bytes of high), then 16-31, 32-47, 48-63; then low
 *     8 bits  256 entries of all rows: low and high byte of each side by side
 *
 * So a table serves 4, 8, 12.. rows (8 bits: 16, 32..).  An entry is a whole number of at most 32639 times a power of
 * two: fp16 entries of more than 1/16 of a row's largest are exact, smaller ones are off by at most 2^-15 of that.
 *
 * A QUANTIZED ROW of k columns, nb = ceil(k / 32) blocks (sm_qrow_*):
 *
 *     | int8[32 nb] codes | f32[nb] scale | int32[nb] minus the sum of a block's codes | int32[2 nb] of each half's |
 *
 * scale = largest magnitude / 127, codes round to nearest even; columns past k are zero.
 *
 * DENSE WEIGHTS (sm_dw): tile = [k][16] elements of fp32, fp16 or bf16; rows are f32.
 */
#ifndef SM_KERNELS_H
#define SM_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/isa.h"

enum { SM_TILE = 16, SM_QBLOCK = 32, SM_KV_BLOCK = 64 };

typedef enum sm_qw_kind { SM_QW4, SM_QW5, SM_QW6, SM_QW8, SM_QW_COUNT } sm_qw_kind;
typedef enum sm_dw_kind { SM_DW_F32, SM_DW_F16, SM_DW_BF16, SM_DW_COUNT } sm_dw_kind;
typedef enum sm_act { SM_ACT_SILU, SM_ACT_GELU_TANH, SM_ACT_GELU, SM_ACT_COUNT } sm_act;

typedef struct sm_qw {
    int32_t n, k, nb; /* rows, columns, blocks of a row */
    sm_qw_kind kind;
    bool is_signed, sub16, has_min;
    bool lut;                       /* codes are indices of entries */
    int32_t code_bytes, meta_bytes; /* of one block: codes; scales and mins */
    int32_t entry_bytes;            /* of a tile */
    size_t tile_bytes;              /* a multiple of 64 */
    uint8_t *data;                  /* 64-aligned */
} sm_qw;

typedef struct sm_dw {
    int32_t n, k;
    sm_dw_kind kind;
    size_t tile_bytes;
    uint8_t *data; /* 64-aligned */
} sm_dw;

static inline int sm_tiles(int32_t n) {
    return (n + SM_TILE - 1) / SM_TILE;
}
static inline int sm_qw_bits(sm_qw_kind k) {
    return k == SM_QW8 ? 8 : 4 + (int)k;
}
/* Where the mul of a tile stand. */
static inline size_t sm_qw_mul_at(const sm_qw *w) {
    return (size_t)w->nb * (size_t)(w->code_bytes + w->meta_bytes) + (size_t)w->entry_bytes;
}
static inline size_t sm_dw_elem(sm_dw_kind k) {
    return k == SM_DW_F32 ? 4 : 2;
}

/* ---- quantized rows ---- */
static inline int sm_qrow_blocks(int k) {
    return (k + SM_QBLOCK - 1) / SM_QBLOCK;
}
static inline size_t sm_qrow_bytes(int k) {
    return ((size_t)sm_qrow_blocks(k) * 48 + 63) / 64 * 64;
}
static inline const float *sm_qrow_scale(const uint8_t *row, int nb) {
    return (const float *)(const void *)(row + (size_t)nb * 32);
}
static inline const int32_t *sm_qrow_nsum(const uint8_t *row, int nb) {
    return (const int32_t *)(const void *)(row + (size_t)nb * 36);
}
static inline const int32_t *sm_qrow_nsum16(const uint8_t *row, int nb) {
    return (const int32_t *)(const void *)(row + (size_t)nb * 40);
}

/* Products of `rows` rows with tiles [tile0, tile1): out[r * ldo + i] is row r times weight row 16 tile0 + i; weight
 * rows past n are not written.  x rows are ldx bytes (quantized) or floats (dense) apart, 4-aligned. */
typedef void (*sm_qgemm_fn)(const sm_qw *w, int tile0, int tile1, const uint8_t *x, size_t ldx, int rows, float *out,
                            size_t ldo);
typedef void (*sm_dgemm_fn)(const sm_dw *w, int tile0, int tile1, const float *x, size_t ldx, int rows, float *out,
                            size_t ldo);

typedef struct sm_kernels {
    const char *isa; /* of the highest set laid in: "c", "avx2", "i8mm", ... */

    /* x[k] -> one quantized row. */
    void (*quantize)(const float *x, int k, uint8_t *row);
    sm_qgemm_fn qgemm[SM_QW_COUNT];
    sm_qgemm_fn qgemm_lut[SM_QW_COUNT]; /* not of 5 bits */
    sm_dgemm_fn dgemm[SM_DW_COUNT];

    /* y = x / sqrt(mean(x^2) + eps) * gamma; gamma may be NULL; y may be x. */
    void (*rms_norm)(const float *x, const float *gamma, int n, float eps, float *y);
    /* One head: pairs (i, i + half) turn by cos[i], sin[i]; y may be x. */
    void (*rope)(const float *x, const float *cos, const float *sin, int half, float *y);
    /* out = act(gate) * up; up NULL: act(gate); out may be either. */
    void (*act[SM_ACT_COUNT])(const float *gate, const float *up, int n, float *out);
    /* x = cap * tanh(x / cap) */
    void (*softcap)(float *x, int n, float cap);
    void (*add)(const float *x, const float *y, int n, float *out);
    void (*mul)(const float *x, const float *y, int n, float *out);
    /* To fp16; what is beyond its range becomes +-65504, so that the cache never holds an infinity. */
    void (*to_f16)(const float *x, int n, uint16_t *out);

    /* Attention in blocks of at most SM_KV_BLOCK positions, n_q queries (rows times heads that share a key head) at
     * once.  s[i * SM_KV_BLOCK + j] = q[i * dim ..] . key j for j < n; key j's element d is kt[d * ldk + j]. */
    void (*attn_scores)(const float *q, int n_q, int dim, const uint16_t *kt, int ldk, int n, float *s);
    /* One query's block: s[j] for lo <= j < hi becomes e^(s[j] - max), other j < n become 0; *max and *sum are the
     * running values, returns the factor for what was gathered before.  cap > 0 caps scores first.  lo < hi. */
    float (*attn_softmax)(float *s, int n, int lo, int hi, float cap, float *max, float *sum);
    /* o[i * dim + d] = o * corr[i] + sum over j < n of s[i * SM_KV_BLOCK + j] * v[j * dim + d] */
    void (*attn_values)(const float *s, const float *corr, int n_q, const uint16_t *v, int dim, int n, float *o);
} sm_kernels;

static inline sm_qgemm_fn sm_qgemm_for(const sm_kernels *k, const sm_qw *w) {
    return w->lut ? k->qgemm_lut[w->kind] : k->qgemm[w->kind];
}

/* The table up to `cap`; what the machine lacks is left out. */
void sm_kernels_init(sm_kernels *k, sm_isa cap);

/* One per file; each overwrites its own entries. */
void sm_qgemm_init_c(sm_kernels *k);
void sm_dense_init_c(sm_kernels *k);
void sm_rowops_init_c(sm_kernels *k);
void sm_attn_init_c(sm_kernels *k);
void sm_qgemm_init_avx2(sm_kernels *k);
void sm_dense_init_avx2(sm_kernels *k);
void sm_rowops_init_avx2(sm_kernels *k);
void sm_attn_init_avx2(sm_kernels *k);
void sm_qgemm_init_avx512(sm_kernels *k);
void sm_dense_init_avx512(sm_kernels *k);
void sm_rowops_init_avx512(sm_kernels *k);
void sm_attn_init_avx512(sm_kernels *k);
void sm_qgemm_init_avx512vnni(sm_kernels *k);
void sm_qgemm_init_neon(sm_kernels *k);
void sm_dense_init_neon(sm_kernels *k);
void sm_rowops_init_neon(sm_kernels *k);
void sm_attn_init_neon(sm_kernels *k);
void sm_qgemm_init_dotprod(sm_kernels *k);
void sm_qgemm_init_i8mm(sm_kernels *k);

#endif
