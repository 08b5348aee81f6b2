/* SPDX-License-Identifier: MIT
 *
 * enc_blocks.c: the GGML block formats, opened to codes, scales and mins.
 *
 * Each open_* turns one block into integer codes (one byte each, in the order of the weights) and, per sub-block, a
 * scale and a min such that value = scale * code + min in f32 gives the very bits of GGML's own decoding: products are
 * formed in the same order and nothing may be contracted into a fused multiply-add (the build says
 * -ffp-contract=off).  Formats without a min get none written: the reader of the table knows.
 *
 * The layouts are facts of the GGUF ecosystem; each is told above its function.  d, m, dmin are fp16.
 * The table of encodings is here too, beside the functions that it names.
 */
#include "tensor/enc_int.h"

#include "tensor/dtype_int.h"

/* d | 16 bytes: byte j holds weight j (low half) and weight 16 + j (high half), each + 8 */
static void open_q4_0(const void *blk, int8_t *codes, float *scale, float *min) {
    const uint8_t *b = blk, *q = b + 2;
    (void)min;
    scale[0] = f16_at(b);
    for (int j = 0; j < 16; j++) {
        codes[j] = (int8_t)((q[j] & 15) - 8);
        codes[j + 16] = (int8_t)((q[j] >> 4) - 8);
    }
}

/* d m | 16 bytes as above, without the 8 */
static void open_q4_1(const void *blk, int8_t *codes, float *scale, float *min) {
    const uint8_t *b = blk, *q = b + 4;
    scale[0] = f16_at(b);
    min[0] = f16_at(b + 2);
    for (int j = 0; j < 16; j++) {
        codes[j] = (int8_t)(q[j] & 15);
        codes[j + 16] = (int8_t)(q[j] >> 4);
    }
}

/* Fifth bits: bit j of qh belongs to weight j. */
static void open_5bit(const uint8_t *qh, const uint8_t *q, int bias, int8_t *codes) {
    uint32_t h;
    memcpy(&h, qh, 4);
    for (int j = 0; j < 16; j++) {
        codes[j] = (int8_t)((int)((q[j] & 15u) | (h >> j & 1) << 4) - bias);
        codes[j + 16] = (int8_t)((int)((unsigned)q[j] >> 4 | (h >> (j + 16) & 1) << 4) - bias);
    }
}

/* d | qh 4 bytes | 16 bytes, weights + 16 */
static void open_q5_0(const void *blk, int8_t *codes, float *scale, float *min) {
    const uint8_t *b = blk;
    (void)min;
    scale[0] = f16_at(b);
    open_5bit(b + 2, b + 6, 16, codes);
}

/* d m | qh 4 bytes | 16 bytes */
static void open_q5_1(const void *blk, int8_t *codes, float *scale, float *min) {
    const uint8_t *b = blk;
    scale[0] = f16_at(b);
    min[0] = f16_at(b + 2);
    open_5bit(b + 4, b + 8, 0, codes);
}

/* d | 32 signed bytes */
static void open_q8_0(const void *blk, int8_t *codes, float *scale, float *min) {
    const uint8_t *b = blk;
    (void)min;
    scale[0] = f16_at(b);
    memcpy(codes, b + 2, 32);
}

/* The two-bit parts of Q2_K and Q3_K: 64 bytes; byte 32 h + l holds weights 128 h + 32 s + l for s = 0..3, lowest
 * bits first. */

/* 16 bytes: scale (low half) and min (high half) of 16 sub-blocks | 64 bytes | d dmin */
static void open_q2_k(const void *blk, int8_t *codes, float *scale, float *min) {
    const uint8_t *b = blk, *q = b + 16;
    float d = f16_at(b + 80), dmin = f16_at(b + 82);
    for (int i = 0; i < 16; i++) {
        scale[i] = d * (float)(b[i] & 15);
        min[i] = -(dmin * (float)(b[i] >> 4));
    }
    for (int h = 0; h < 2; h++)
        for (int s = 0; s < 4; s++)
            for (int l = 0; l < 32; l++)
                codes[128 * h + 32 * s + l] = (int8_t)(q[32 * h + l] >> (2 * s) & 3);
}

/* 32 bytes: bit 4 h + s of byte l is the third bit of weight 128 h + 32 s + l | 64 bytes | 12 bytes of scales | d
 * Scale i (6 bits, + 32): low four bits in half i / 8 of byte i % 8, high two bits at 2 (i / 4) of byte 8 + i % 4. */
static void open_q3_k(const void *blk, int8_t *codes, float *scale, float *min) {
    const uint8_t *b = blk, *q = b + 32, *sc = b + 96;
    float d = f16_at(b + 108);
    (void)min;
    for (int i = 0; i < 16; i++) {
        int lo = sc[i % 8] >> (4 * (i / 8)) & 15, hi = sc[8 + i % 4] >> (2 * (i / 4)) & 3;
        scale[i] = d * (float)((lo | hi << 4) - 32);
    }
    for (int h = 0; h < 2; h++)
        for (int s = 0; s < 4; s++)
            for (int l = 0; l < 32; l++)
                codes[128 * h + 32 * s + l] =
                    (int8_t)((q[32 * h + l] >> (2 * s) & 3) + (b[l] >> (4 * h + s) & 1) * 4 - 4);
}

/* Scales and mins of Q4_K and Q5_K, six bits each, in 12 bytes: 0..3 low six bits of bytes 0..3 (scales) and 4..7
 * (mins); 4..7 four low bits in bytes 8..11 (scale low half, min high half), top two bits above the first four. */
static void open_k_scales(const uint8_t *b, float *scale, float *min) {
    float d = f16_at(b), dmin = f16_at(b + 2);
    const uint8_t *s = b + 4;
    for (int j = 0; j < 4; j++) {
        scale[j] = d * (float)(s[j] & 63);
        min[j] = -(dmin * (float)(s[j + 4] & 63));
        scale[j + 4] = d * (float)((s[j + 8] & 15) | (s[j] >> 6) << 4);
        min[j + 4] = -(dmin * (float)((s[j + 8] >> 4) | (s[j + 4] >> 6) << 4));
    }
}

/* d dmin | 12 bytes of scales | 128 bytes: byte 32 c + l holds weights 64 c + l and 64 c + 32 + l */
static void open_q4_k(const void *blk, int8_t *codes, float *scale, float *min) {
    const uint8_t *b = blk, *q = b + 16;
    open_k_scales(b, scale, min);
    for (int c = 0; c < 4; c++)
        for (int l = 0; l < 32; l++) {
            codes[64 * c + l] = (int8_t)(q[32 * c + l] & 15);
            codes[64 * c + 32 + l] = (int8_t)(q[32 * c + l] >> 4);
        }
}

/* d dmin | 12 bytes of scales | 32 bytes: bit s of byte l is the fifth bit of weight 32 s + l | 128 bytes as Q4_K */
static void open_q5_k(const void *blk, int8_t *codes, float *scale, float *min) {
    const uint8_t *b = blk, *h = b + 16, *q = b + 48;
    open_k_scales(b, scale, min);
    for (int c = 0; c < 4; c++)
        for (int l = 0; l < 32; l++) {
            codes[64 * c + l] = (int8_t)((q[32 * c + l] & 15) | (h[l] >> (2 * c) & 1) << 4);
            codes[64 * c + 32 + l] = (int8_t)(q[32 * c + l] >> 4 | (h[l] >> (2 * c + 1) & 1) << 4);
        }
}

/* 128 bytes of low halves | 64 bytes of top two bits | 16 signed scales | d.   Of weight 128 h + 32 s + l (+ 32):
 * the low half s / 2 of byte 64 h + 32 (s % 2) + l, and bits 2 s of byte 32 h + l of the second part. */
static void open_q6_k(const void *blk, int8_t *codes, float *scale, float *min) {
    const uint8_t *b = blk;
    float d = f16_at(b + 208);
    (void)min;
    for (int i = 0; i < 16; i++)
        scale[i] = d * (float)(int8_t)b[192 + i];
    for (int h = 0; h < 2; h++)
        for (int s = 0; s < 4; s++) {
            const uint8_t *lo = b + 64 * h + 32 * (s % 2), *hi = b + 128 + 32 * h;
            int8_t *out = codes + 128 * h + 32 * s;
            for (int l = 0; l < 32; l++)
                out[l] = (int8_t)(((lo[l] >> (4 * (s / 2)) & 15) | (hi[l] >> (2 * s) & 3) << 4) - 32);
        }
}

/* ---- the table ---- */

static const sm_enc_row table[SM_ENC_COUNT_] = {
#define ENC(id, name, kind, ggml, block, bytes, sub, code, has_min, open, pack)                                        \
    [SM_ENC_##id] = {name, SM_KIND_##kind, ggml, block, bytes, sub, SM_##code, has_min, open, pack},
#include "tensor/encodings.def"
#undef ENC
};

const sm_enc_row *sm_enc_row_of(sm_enc_id id) {
    return &table[id];
}
