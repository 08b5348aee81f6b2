/* SPDX-License-Identifier: MIT
 *
 * affine_encode.c: f32 weights to block-affine codes.
 *
 * Scales and offsets are rounded to their stored type first and the codes chosen against the rounded ones, so that the
 * only error is the codes' own.  Without an offset, and with a whole one, the scale of least squared error is searched
 * (affine_fit.h).  With a float offset the block's range is spread over all codes; a block far from zero in units of
 * its range (an fp16 offset would be coarser than a code) is widened to reach zero, and a block of one value is held
 * exactly by scale = value, offset = -1, code 0.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "tensor/affine_blocks.h"
#include "tensor/affine_fit.h"
#include "tensor/dtype_int.h"
#include "tensor/enc_int.h"
#include "tensor/transcode.h"

enum {
    GROUP = 64,   /* blocks that are fitted at a time, at most */
    ODD_RUN = 128 /* codes that go through a buffer of bytes */
};

float sm_enc_fit(sm_dtype t, float f) {
    return enc_fit(t, f);
}

void sm_enc_put(sm_dtype t, uint8_t *p, uint64_t i, float v) {
    uint16_t h;
    switch (t) {
    case SM_FP32:
        memcpy(p + 4 * i, &v, 4);
        return;
    case SM_FP16:
    case SM_BF16:
        h = t == SM_FP16 ? f32_to_f16(v) : f32_to_bf16(v);
        memcpy(p + 2 * i, &h, 2);
        return;
    default:
        sm_code_put(t, p, i, (int64_t)v);
    }
}

static inline float clampf(float v, float lo, float hi) {
    v = v > lo ? v : lo;
    return v < hi ? v : hi;
}

/* One value for the whole block. */
static void encode_constant(const sm_encoding *want, float value, size_t n, float *scale, float *offset, int32_t *q) {
    *scale = sm_enc_fit(want->aux, value);
    *offset = *scale == 0.0f ? 0.0f : -1.0f;
    memset(q, 0, n * sizeof *q);
}

/* With a float offset: the block's range over all codes. */
static void encode_minmax(const sm_encoding *want, const float *x, size_t n, float lo, float hi, float *scale,
                          float *offset, int32_t *q) {
    float qlo = (float)sm_dtype_min(want->code), qhi = (float)sm_dtype_max(want->code);
    if (lo == hi) {
        encode_constant(want, lo, n, scale, offset, q);
        return;
    }
    for (int widened = 0;; widened = 1) {
        if (widened) {
            lo = lo < 0.0f ? lo : 0.0f;
            hi = hi > 0.0f ? hi : 0.0f;
        }
        *scale = sm_enc_fit(want->aux, hi / (qhi - qlo) - lo / (qhi - qlo));
        if (*scale == 0.0f) {
            encode_constant(want, lo / 2 + hi / 2, n, scale, offset, q);
            return;
        }
        *offset = qlo - lo / *scale;
        if (widened || fabsf(*offset) < 1024.0f)
            break;
    }
    *offset = sm_enc_fit(want->off, *offset);
    for (size_t i = 0; i < n; i++)
        q[i] = (int32_t)rintf(clampf(x[i] / *scale + *offset, qlo, qhi));
}

static sm_status not_finite(const float *x, uint64_t row, uint64_t col, sm_err *err) {
    while (isfinite(*x))
        x++, col++;
    return SM_FAIL(err, SM_BADINPUT, "row %" PRIu64 ", column %" PRIu64 ": wanted a finite weight, found %s", row, col,
                   isnan(*x) ? "nan" : "inf");
}

/* What an encoder of rows needs beside the weights. */
typedef struct encoder {
    const sm_encoding *want;
    const sm_fit_loops *search;
    const sm_block_loops *quick; /* NULL: the form has no ordinary blocks */
    sm_block_rule rule;
    size_t n;          /* weights of a block */
    uint64_t n_blocks; /* of a row */
    sm_affine_scratch s;
} encoder;

static sm_status encoder_of(const sm_encoding *want, int64_t block, int64_t cols, const sm_affine_scratch *s,
                            encoder *e, sm_err *err) {
    sm_isa isa;
    *e = (encoder){.want = want, .search = sm_fit_loops_best(), .n = (size_t)block};
    if (want->off == SM_NONE && sm_dtype_kind(want->code) == 'u')
        return SM_FAIL(err, SM_UNSUPPORTED, "%s codes without an offset cannot hold negative weights",
                       sm_dtype_name(want->code));
    SM_TRY(sm_isa_choose(&isa, err));
    if (isa == SM_ISA_C)
        e->search = sm_fit_loops_c();
    e->n_blocks = (uint64_t)(cols / block);
    e->s = *s;
    if (sm_block_rule_of(want->code, want->off, want->aux, &e->rule))
        e->quick = sm_block_loops_of(isa);
    return SM_OK;
}

/* One block by the search, codes in s.q. */
static sm_status encode_block(const encoder *e, const float *x, uint64_t row, uint64_t col, bool fit_only,
                              sm_block_fit *f, float *offset, sm_err *err) {
    const sm_encoding *want = e->want;
    float lo, hi;
    if (!e->search->range(x, e->n, &lo, &hi))
        return not_finite(x, row, col, err);
    if (want->off != SM_NONE && sm_dtype_kind(want->off) == 'f') {
        encode_minmax(want, x, e->n, lo, hi, &f->scale, offset, e->s.q);
        return SM_OK;
    }
    if (want->off == SM_NONE)
        *f = sm_fit_symmetric(e->search, want->code, want->aux, x, e->n, lo, hi, e->s.x);
    else
        *f = sm_fit_shifted(e->search, want->code, want->off, want->aux, x, e->n, lo, hi, e->s.x);
    *offset = (float)f->shift;
    if (fit_only)
        return SM_OK;
    if (f->scale == 0.0f)
        for (size_t i = 0; i < e->n; i++)
            e->s.q[i] = f->shift;
    else
        e->search->codes(x, e->n, f->scale, f->lo, f->hi, f->shift, e->s.q);
    return SM_OK;
}

/* Codes of `count` blocks that start at element `at` of the part. */
static void put_codes(const encoder *e, const float *x, size_t count, const sm_block_fit *fit, uint64_t at,
                      uint8_t *part) {
    uint8_t bytes[ODD_RUN];
    if (sm_dtype_bits(e->want->code) == 8) {
        e->quick->codes8(x, e->n, count, fit, part + at);
        return;
    }
    if (e->n % 2 == 0 && at % 2 == 0) {
        e->quick->codes4(x, e->n, count, fit, part + at / 2);
        return;
    }
    for (size_t b = 0; b < count; b++) /* half bytes that start anywhere */
        for (size_t i = 0, run; i < e->n; i += run) {
            run = SM_MIN(e->n - i, (size_t)ODD_RUN);
            e->quick->codes8(x + b * e->n + i, run, 1, fit + b, bytes);
            for (size_t k = 0; k < run; k++)
                e->s.q[k] = bytes[k];
            sm_codes_pack(e->want->code, part, at + b * e->n + i, run, e->s.q);
        }
}

/* `count` blocks from the start of row `row` on; `at` is their first block's place in the parts. */
static sm_status encode_blocks(const encoder *e, const float *x, uint64_t count, uint64_t row, uint64_t at,
                               uint8_t *out[SM_PART_COUNT], sm_err *err) {
    const sm_encoding *want = e->want;
    sm_block_fit fit[GROUP];
    float offset = 0.0f;
    for (uint64_t from = 0, run; from < count; from += run) {
        run = e->quick != NULL ? SM_MIN(count - from, (uint64_t)GROUP) : 1;
        const float *y = x + from * e->n;
        if (e->quick != NULL)
            e->quick->fit(&e->rule, y, e->n, run, e->s.v, fit);
        for (uint64_t b = 0; b < run; b++) {
            uint64_t i = from + b;
            if (e->quick == NULL || fit[b].scale < 0.0f)
                SM_TRY(encode_block(e, y + b * e->n, row + i / e->n_blocks, i % e->n_blocks * e->n, e->quick != NULL,
                                    fit + b, &offset, err));
            else
                offset = (float)fit[b].shift;
            sm_enc_put(want->aux, out[SM_PART_SCALE], at + i, fit[b].scale);
            if (want->off != SM_NONE)
                sm_enc_put(want->off, out[SM_PART_OFFSET], at + i, offset);
        }
        if (e->quick != NULL)
            put_codes(e, y, run, fit, (at + from) * e->n, out[SM_PART_DATA]);
        else
            sm_codes_pack(want->code, out[SM_PART_DATA], (at + from) * e->n, e->n, e->s.q);
    }
    return SM_OK;
}

sm_status sm_affine_encode_row(const sm_encoding *want, int64_t block, int64_t cols, uint64_t row, uint64_t at,
                               const float *x, sm_affine_scratch *s, uint8_t *out[SM_PART_COUNT], sm_err *err) {
    encoder e;
    SM_TRY(encoder_of(want, block, cols, s, &e, err));
    return encode_blocks(&e, x, e.n_blocks, row, at * e.n_blocks, out, err);
}

sm_status sm_affine_encode(const sm_encoding *want, int64_t cols, uint64_t rows, const float *x,
                           uint8_t *out[SM_PART_COUNT], sm_err *err) {
    sm_status st = SM_OK;
    int last = SM_MAX_RANK - 1;
    while (last > 0 && want->block[last] == 0)
        last--;
    int64_t block = want->block[last], dims[2] = {(int64_t)rows, cols};
    sm_encoding e = sm_enc_affine(want->code, want->aux, want->off, 2, block);
    size_t bytes[SM_PART_COUNT];
    SM_TRY(sm_enc_sizes(&e, 2, dims, bytes, err));
    if (sm_dtype_kind(want->code) == 'f')
        return SM_FAIL(err, SM_UNSUPPORTED, "affine codes of type %s cannot be made", sm_dtype_name(want->code));
    if (bytes[SM_PART_DATA] == 0)
        return SM_OK;
    encoder en;
    sm_affine_scratch s = {sm_alloc_n((size_t)block, sizeof *s.q), sm_alloc_n((size_t)block, sizeof *s.x),
                           sm_alloc_n(sm_block_room((size_t)block), sizeof *s.v)};
    if (s.q == NULL || s.x == NULL || s.v == NULL)
        SM_TRY_DONE(SM_NOMEM(err));
    for (int k = SM_PART_DATA; k <= SM_PART_OFFSET; k++)
        if (bytes[k] > 0)
            out[k][bytes[k] - 1] = 0; /* padding bits */
    SM_TRY_DONE(encoder_of(&e, block, cols, &s, &en, err));
    SM_TRY_DONE(encode_blocks(&en, x, rows * en.n_blocks, 0, 0, out, err));
done:
    sm_free(s.q);
    sm_free(s.x);
    sm_free(s.v);
    return st;
}
