/* SPDX-License-Identifier: MIT
 *
 * transcode.c: tensors from one encoding to another, row by row, and the error of it.
 *
 * The rule (make_plan) asks the table, never a pair of names: what are the codes, how long is a sub-block, is there a
 * min, is a scale an fp16 number of its own or a product.  Scales of formats with one scale a block are fp16 fields and
 * carry over as they are; sub-blocks' scales are f32 products and get rounded.
 *
 * Errors are measured on what was written: every finished slab is decoded again (decode.c) and compared with the
 * source, so the numbers in a report cannot be kinder than the file.
 */
#include "tensor/transcode.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/str.h"
#include "tensor/affine_blocks.h"
#include "tensor/dtype_int.h"
#include "tensor/enc_int.h"
#include "tensor/palette.h"

const char *sm_carry_name(sm_carry c) {
    static const char *const names[] = {"same", "transcoded", "kept", "re-quantized", "widened"};
    return names[c];
}

void sm_xerr_add(sm_xerr *a, const sm_xerr *b) {
    a->n += b->n;
    a->sum_sq_err += b->sum_sq_err;
    a->sum_sq_ref += b->sum_sq_ref;
    a->max_abs_err = fmax(a->max_abs_err, b->max_abs_err);
    a->max_abs_ref = fmax(a->max_abs_ref, b->max_abs_ref);
    a->sum_sq_err16 += b->sum_sq_err16;
    a->max_abs_err16 = fmax(a->max_abs_err16, b->max_abs_err16);
}

double sm_xerr_nmse(const sm_xerr *e) {
    if (e->sum_sq_ref > 0)
        return e->sum_sq_err / e->sum_sq_ref;
    return e->sum_sq_err > 0 ? INFINITY : e->sum_sq_err;
}

/* ---- the rule ---- */

typedef struct plan {
    sm_carry how;
    int sub;       /* sub-block of the source */
    int block;     /* of the result, divides sub */
    int32_t shift; /* added to codes and offset: signed codes in an unsigned type */
    bool has_min;
    bool rounds; /* the source's declared type is narrower than its values */
} plan;

static int64_t last_block(const sm_tensor *t, const sm_encoding *e) {
    return e->block[t->rank - 1];
}

/* Blocks along the last axis only, so that the parts of a range of rows are contiguous. */
static bool along_last(const sm_encoding *e, int rank) {
    sm_enc_kind kind = sm_enc_row_of(e->id)->kind;
    for (int a = 0; a < rank - 1; a++)
        if ((kind == SM_KIND_AFFINE || kind == SM_KIND_LUT) && e->block[a] != 1)
            return false;
    return kind != SM_KIND_LUT;
}

/* Every value of type `from` is one of type `to`. */
static bool float_in(sm_dtype from, sm_dtype to) {
    return from == to || to == SM_FP32;
}

/* Type of the source's scales: fp16 when a block has one, fp32 for products. */
static sm_dtype scale_type(const sm_tensor *src) {
    const sm_enc_row *row = sm_enc_row_of(src->enc.id);
    if (row->kind == SM_KIND_AFFINE)
        return src->enc.aux;
    return row->sub == row->block ? SM_FP16 : SM_FP32;
}

/* -min / scale gives back the source's own offset: both are so short that product and quotient are exact in f32. */
static bool offset_known(const sm_tensor *src) {
    return src->enc.id == SM_ENC_AFFINE && src->enc.aux == SM_FP16 &&
           (src->enc.off == SM_FP16 || sm_dtype_kind(src->enc.off) != 'f');
}

/* Codes kept: TRANSCODED or KEPT into *p, or false when the target cannot hold them. */
static bool plan_kept(const sm_tensor *src, const sm_encoding *want, plan *p) {
    sm_dtype code;
    bool whole = want->off != SM_NONE && sm_dtype_kind(want->off) != 'f';
    if (!sm_is_coded(src, &p->sub, &code, &p->has_min) || sm_dtype_kind(want->code) == 'f')
        return false;
    if (sm_dtype_min(code) < 0 && sm_dtype_min(want->code) == 0 && want->off != SM_NONE)
        p->shift = (int32_t)-sm_dtype_min(code);
    if (sm_dtype_min(code) + p->shift < sm_dtype_min(want->code) ||
        sm_dtype_max(code) + p->shift > sm_dtype_max(want->code))
        return false;
    if (last_block(src, want) > p->sub || p->sub % last_block(src, want) != 0)
        return false;
    p->block = (int)last_block(src, want);
    bool scale_exact = float_in(scale_type(src), want->aux), offset_exact = true;
    if (p->has_min) {
        bool src_whole = src->enc.id == SM_ENC_AFFINE && sm_dtype_kind(src->enc.off) != 'f';
        if (want->off == SM_NONE)
            return false;
        if (whole && !(src_whole && offset_known(src) && scale_exact &&
                       sm_dtype_min(src->enc.off) + p->shift >= sm_dtype_min(want->off) &&
                       sm_dtype_max(src->enc.off) + p->shift <= sm_dtype_max(want->off)))
            return false;
        offset_exact = offset_known(src) && (src_whole || (p->shift == 0 && float_in(src->enc.off, want->off)));
    } else if (whole && p->shift > sm_dtype_max(want->off)) {
        return false;
    }
    p->how = scale_exact && offset_exact ? SM_CARRY_TRANSCODED : SM_CARRY_KEPT;
    return true;
}

static sm_status no_way(const sm_tensor *src, const sm_encoding *want, const char *why, sm_err *err) {
    char a[160], b[160];
    return SM_FAIL(err, SM_UNSUPPORTED, "tensor %s: no way from %s to %s: %s", sm_quote(src->name.p, src->name.n),
                   sm_enc_print(&src->enc, src->rank, a, sizeof a), sm_enc_print(want, src->rank, b, sizeof b), why);
}

static sm_status make_plan(const sm_tensor *src, const sm_encoding *want, plan *p, sm_err *err) {
    const sm_enc_row *row = sm_enc_row_of(want->id);
    size_t bytes[SM_PART_COUNT];
    *p = (plan){0};
    sm_status st = sm_enc_sizes(want, src->rank, src->dims, bytes, err);
    if (st != SM_OK) {
        sm_err_prefix(err, "tensor %s", sm_quote(src->name.p, src->name.n));
        return st;
    }
    p->rounds = (src->dtype == SM_FP16 || src->dtype == SM_BF16) &&
                (src->enc.id != SM_ENC_DENSE || src->enc.code != src->dtype);
    if (sm_enc_eq(&src->enc, want, src->rank)) {
        p->how = SM_CARRY_SAME;
        if (!along_last(want, src->rank) && src->deinterleave != 0)
            return no_way(src, want, "its blocks span rows, which are stored in another order", err);
        return SM_OK;
    }
    switch (row->kind) {
    case SM_KIND_DENSE:
        if (want->code != SM_FP16 && want->code != SM_FP32 && want->code != SM_BF16)
            return no_way(src, want, "weights become fp16, fp32 or bf16", err);
        p->how = SM_CARRY_WIDENED;
        return SM_OK;
    case SM_KIND_BLOCK:
        p->how = SM_CARRY_REQUANTIZED;
        return row->pack != NULL ? SM_OK : no_way(src, want, "this form is read, not written", err);
    case SM_KIND_LUT:
        p->how = SM_CARRY_REQUANTIZED;
        if ((st = sm_palette_check(src, want, err)) != SM_OK)
            sm_err_prefix(err, "tensor %s", sm_quote(src->name.p, src->name.n));
        return st;
    case SM_KIND_AFFINE:
        break;
    }
    if (src->rank == 0 || !along_last(want, src->rank))
        return no_way(src, want, "blocks lie along the last axis", err);
    if (plan_kept(src, want, p))
        return SM_OK;
    if (sm_dtype_kind(want->code) == 'f' || (sm_dtype_kind(want->code) == 'u' && want->off == SM_NONE))
        return no_way(src, want, "weights are quantized to signed codes, or to codes with an offset", err);
    p->how = SM_CARRY_REQUANTIZED;
    return SM_OK;
}

sm_status sm_transcode_how(const sm_tensor *src, const sm_encoding *want, sm_carry *how, sm_err *err) {
    plan p;
    SM_TRY(make_plan(src, want, &p, err));
    *how = p.how;
    return SM_OK;
}

bool sm_affine_for(const sm_tensor *src, sm_encoding *out) {
    int sub;
    sm_dtype code;
    bool has_min;
    if (!sm_is_coded(src, &sub, &code, &has_min))
        return false;
    sm_dtype t = sm_dtype_kind(code) == 'u' ? (sm_dtype_bits(code) <= 4 ? SM_UINT4 : SM_UINT8)
                                            : (sm_dtype_bits(code) <= 4 ? SM_INT4 : SM_INT8);
    *out = sm_enc_affine(t, SM_FP16, has_min ? SM_FP16 : SM_NONE, src->rank, sub);
    return true;
}

/* ---- rows ---- */

typedef struct scratch {
    int16_t *codes;     /* sm_block_room(cols) */
    int32_t *q;         /* cols */
    float *scale, *min; /* cols / sub */
    float *x, *y;       /* cols */
    float *rounded;     /* cols */
} scratch;

static void scratch_free(scratch *s) {
    sm_free(s->codes);
    sm_free(s->q);
    sm_free(s->scale);
    sm_free(s->x);
}

static bool scratch_new(scratch *s, size_t cols) {
    *s = (scratch){0};
    s->codes = sm_alloc_n(sm_block_room(cols), sizeof *s->codes);
    s->q = sm_alloc_n(cols, sizeof *s->q);
    s->scale = sm_alloc_n(cols, 2 * sizeof *s->scale);
    s->x = sm_alloc_n(cols, 3 * sizeof *s->x);
    if (s->codes == NULL || s->q == NULL || s->scale == NULL || s->x == NULL) {
        scratch_free(s);
        return false;
    }
    s->min = s->scale + cols;
    s->y = s->x + cols;
    s->rounded = s->y + cols;
    return true;
}

/* A row before it is rounded to its declared type. */
static void decode_unrounded(const sm_tensor *src, uint64_t row, float *x) {
    sm_tensor t = *src;
    if (sm_dtype_kind(src->dtype) == 'f')
        t.dtype = SM_FP32;
    sm_decode_rows(&t, row, 1, x);
}

/* What a sub-block (scale, min) becomes in the target's types; codes q[n] change only where an offset cannot say it:
 * the sub-block then becomes one value, its middle, as scale = value, offset = -1, codes 0. */
static void fit_sub(const plan *p, const sm_encoding *want, float *scale, float *min, int32_t *q, int n) {
    float s = enc_fit(want->aux, *scale), o = (float)p->shift;
    if (p->has_min && *min != 0.0f) {
        bool finite = isfinite(*scale) && isfinite(*min);
        float exact = -*min / *scale;
        o = sm_dtype_kind(want->off) != 'f' ? exact + o : enc_fit(want->off, exact + o);
        bool too_far = !isfinite(exact) || fabsf(exact) > 65504.0f;
        if (finite && (*scale == 0.0f || s == 0.0f || (too_far && want->off != SM_FP32))) {
            int32_t lo = q[0], hi = q[0];
            for (int i = 1; i < n; i++) {
                lo = SM_MIN(lo, q[i]);
                hi = SM_MAX(hi, q[i]);
            }
            float middle = *min + *scale * (0.5f * (float)(lo - p->shift) + 0.5f * (float)(hi - p->shift));
            s = enc_fit(want->aux, middle);
            o = -1.0f;
            memset(q, 0, (size_t)n * sizeof *q);
        }
    }
    *scale = s;
    *min = o;
}

/* Scales of sub-blocks without a min: rounded to fp16, as sm_enc_fit and sm_enc_put would. */
static void put_scales16(const float *scale, size_t n, uint8_t *out) {
    for (size_t k = 0; k < n; k++) {
        uint16_t h = f32_to_f16(scale[k]);
        if ((h & 0x7FFF) == 0x7C00 && isfinite(scale[k]))
            h--; /* the largest */
        memcpy(out + 2 * k, &h, 2);
    }
}

/* The weights that a row's codes stand for, as sm_decode_rows computes them for a block format. */
static void opened_values(const plan *p, const scratch *s, size_t n_sub, float *x) {
    const int16_t *q = s->codes;
    for (size_t k = 0; k < n_sub; k++, q += p->sub, x += p->sub) {
        float d = s->scale[k], m = s->min[k];
        if (p->has_min)
            for (int i = 0; i < p->sub; i++)
                x[i] = d * (float)q[i] + m;
        else
            for (int i = 0; i < p->sub; i++)
                x[i] = d * (float)q[i];
    }
}

/* measured: the source's values are left in s->x. */
static void kept_row(const sm_tensor *src, const sm_encoding *want, const plan *p, uint64_t row, uint64_t at,
                     scratch *s, bool measured, uint8_t *out[SM_PART_COUNT]) {
    size_t cols = (size_t)sm_tensor_cols(src), n_sub = cols / (size_t)p->sub, reps = (size_t)(p->sub / p->block);
    sm_open_row(src, row, s->codes, s->scale, s->min);
    if (measured && sm_enc_row_of(src->enc.id)->kind == SM_KIND_BLOCK)
        opened_values(p, s, n_sub, s->x);
    else if (measured)
        decode_unrounded(src, row, s->x);
    for (size_t i = 0; i < cols; i++)
        s->q[i] = s->codes[i] + p->shift;
    if (!p->has_min && reps == 1 && want->aux == SM_FP16 && want->off == SM_NONE) {
        put_scales16(s->scale, n_sub, out[SM_PART_SCALE] + 2 * at * n_sub);
        n_sub = 0;
    }
    for (size_t k = 0; k < n_sub; k++) {
        fit_sub(p, want, &s->scale[k], &s->min[k], s->q + k * (size_t)p->sub, p->sub);
        for (size_t r = 0; r < reps; r++) {
            uint64_t i = (at * n_sub + k) * reps + r;
            sm_enc_put(want->aux, out[SM_PART_SCALE], i, s->scale[k]);
            if (want->off != SM_NONE)
                sm_enc_put(want->off, out[SM_PART_OFFSET], i, s->min[k]);
        }
    }
    sm_codes_pack(want->code, out[SM_PART_DATA], at * cols, cols, s->q);
}

static void widened_row(const sm_encoding *want, uint64_t at, size_t cols, const float *x, uint8_t *out) {
    if (want->code == SM_FP32) {
        memcpy(out + at * cols * 4, x, cols * 4);
        return;
    }
    out += at * cols * 2;
    for (size_t i = 0; i < cols; i++) {
        uint16_t h = want->code == SM_FP16 ? f32_to_f16(x[i]) : f32_to_bf16(x[i]);
        memcpy(out + 2 * i, &h, 2);
    }
}

static void packed_row(const sm_encoding *want, uint64_t at, size_t cols, const float *x, uint8_t *out) {
    const sm_enc_row *e = sm_enc_row_of(want->id);
    size_t n = cols / (size_t)e->block;
    for (size_t b = 0; b < n; b++)
        e->pack(x + b * (size_t)e->block, NULL, out + (at * n + b) * (size_t)e->block_bytes);
}

/* The tensor that n written rows are, before rounding to its declared type. */
static sm_tensor written(const sm_tensor *src, const sm_encoding *want, uint64_t n, uint8_t *const out[SM_PART_COUNT]) {
    sm_tensor t = {.dtype = SM_FP32, .rank = 2, .dims = {(int64_t)n, sm_tensor_cols(src)}, .enc = *want};
    if (!along_last(want, src->rank)) { /* a whole tensor */
        t = *src;
        t.dtype = SM_FP32;
    } else if (src->rank > 0) {
        t.enc.block[1] = last_block(src, want);
        t.enc.block[0] = 1;
    }
    for (int p = 0; p < SM_PART_COUNT; p++)
        t.part[p].p = out[p];
    return t;
}

/* ---- error ---- */

enum { PALETTE_ELEMS = 1 << 13 }; /* weights that get codes at a time */

/* How errors of written rows are measured: NULL sums, nothing is. */
typedef struct meter {
    sm_isa isa;
    sm_tensor got; /* what the written rows are */
    sm_dtype want_dtype;
    sm_xerr *sums;
} meter;

/* A row of src, written as row `at`, against its unrounded values, which are in s->x. */
static void measure(const meter *m, const sm_tensor *src, uint64_t at, scratch *s) {
    size_t cols = (size_t)sm_tensor_cols(src);
    if (m->sums == NULL)
        return;
    sm_decode_rows(&m->got, at, 1, s->y);
    sm_row_errors(m->isa, s->x, s->y, cols, src->dtype, m->want_dtype, m->sums);
}

/* The same for rows that are all written. */
static void measure_rows(const meter *m, const sm_tensor *src, uint64_t row, uint64_t n, scratch *s) {
    for (uint64_t r = 0; r < n && m->sums != NULL; r++) {
        decode_unrounded(src, row + r, s->x);
        measure(m, src, r, s);
    }
}

/* ---- the way through ---- */

static size_t row_bytes(const sm_encoding *e, int part, const sm_tensor *src, uint64_t rows) {
    int64_t dims[SM_MAX_RANK], shape[SM_MAX_RANK + 2];
    uint64_t n = 1;
    for (int a = 0; a < src->rank; a++)
        dims[a] = a == src->rank - 1 ? src->dims[a] : 1;
    int rank = sm_enc_part_shape(e, part, src->rank, dims, shape);
    for (int a = 0; a < rank; a++)
        n *= (uint64_t)shape[a];
    return rank < 0 ? 0 : (size_t)sm_dtype_size(sm_enc_part_dtype(e, part), n * rows);
}

/* The stored bytes themselves.  Rows that do not end on a byte are copied by element. */
static sm_status same_rows(const sm_tensor *src, uint64_t row, uint64_t n, scratch *s, uint8_t *out[SM_PART_COUNT],
                           sm_err *err) {
    size_t cols = (size_t)sm_tensor_cols(src);
    if (!along_last(&src->enc, src->rank)) {
        if (row != 0 || n != sm_tensor_rows(src))
            return no_way(src, &src->enc, "its blocks span rows: it is copied whole", err);
        for (int p = 0; p < SM_PART_COUNT; p++)
            if (src->part[p].n > 0)
                memcpy(out[p], src->part[p].p, src->part[p].n);
        return SM_OK;
    }
    for (int p = 0; p < SM_PART_COUNT; p++) {
        size_t bytes = row_bytes(&src->enc, p, src, 1);
        sm_dtype t = sm_enc_part_dtype(&src->enc, p);
        size_t elems = bytes == 0 ? 0 : p == SM_PART_DATA ? cols : cols / (size_t)last_block(src, &src->enc);
        bool odd = sm_dtype_bits(t) < 8 && elems * (size_t)sm_dtype_bits(t) % 8 != 0;
        for (uint64_t r = 0; r < n && bytes > 0; r++) {
            uint64_t stored = sm_stored_row(src, row + r);
            if (!odd) {
                memcpy(out[p] + r * bytes, src->part[p].p + stored * bytes, bytes);
                continue;
            }
            sm_codes_unpack(t, src->part[p].p, stored * elems, elems, s->q);
            sm_codes_pack(t, out[p], r * elems, elems, s->q);
        }
    }
    return SM_OK;
}

/* Writes row `row` as row `at`; when it is measured, s->x holds its unrounded values after. */
static sm_status one_row(const sm_tensor *src, const sm_encoding *want, const plan *p, uint64_t row, uint64_t at,
                         scratch *s, bool measured, uint8_t *out[SM_PART_COUNT], sm_err *err) {
    size_t cols = (size_t)sm_tensor_cols(src);
    const float *x = s->x;
    if (p->how == SM_CARRY_TRANSCODED || p->how == SM_CARRY_KEPT) {
        kept_row(src, want, p, row, at, s, measured, out);
        return SM_OK;
    }
    decode_unrounded(src, row, s->x);
    if (p->rounds) {
        x = s->rounded;
        memcpy(s->rounded, s->x, cols * sizeof *s->x);
        sm_enc_round(src->dtype, s->rounded, cols);
    }
    if (p->how == SM_CARRY_WIDENED) {
        widened_row(want, at, cols, x, out[SM_PART_DATA]);
        return SM_OK;
    }
    if (sm_enc_row_of(want->id)->kind == SM_KIND_BLOCK) {
        packed_row(want, at, cols, x, out[SM_PART_DATA]);
        return SM_OK;
    }
    sm_affine_scratch room = {s->q, s->y, s->codes};
    sm_status st = sm_affine_encode_row(want, last_block(src, want), (int64_t)cols, row, at, x, &room, out, err);
    if (st != SM_OK)
        sm_err_prefix(err, "tensor %s", sm_quote(src->name.p, src->name.n));
    return st;
}

/* Errors of rows whose values x and y are known, or of x decoded again where it was rounded. */
static void measure_values(const meter *m, const sm_tensor *src, const plan *p, uint64_t row, uint64_t n, float *x,
                           const float *y) {
    size_t cols = (size_t)sm_tensor_cols(src);
    for (uint64_t r = 0; r < n; r++) {
        if (p->rounds)
            decode_unrounded(src, row + r, x + r * cols);
        sm_row_errors(m->isa, x + r * cols, y + r * cols, cols, src->dtype, m->want_dtype, m->sums);
    }
}

/* Codes of tables that are fitted already, some rows at a time. */
static sm_status palette_rows(const sm_tensor *src, const sm_encoding *want, const plan *p, const meter *m,
                              uint64_t row, uint64_t n, uint8_t *out[SM_PART_COUNT], sm_err *err) {
    size_t cols = (size_t)sm_tensor_cols(src), step = SM_MIN(SM_MAX(PALETTE_ELEMS / cols, (size_t)1), (size_t)n);
    sm_palette_room *room = NULL;
    float *x = sm_alloc_n(step * cols, 2 * sizeof *x), *y = x + step * cols;
    uint8_t *q = sm_alloc_n(step * cols, sizeof *q);
    sm_status st = x == NULL || q == NULL ? SM_NOMEM(err) : sm_palette_room_new(&room, err);
    for (uint64_t r = 0; r < n && st == SM_OK; r += step) {
        uint64_t k = SM_MIN((uint64_t)step, n - r);
        sm_decode_rows(src, row + r, k, x);
        sm_palette_codes(src, want, out[SM_PART_LUT], row + r, k, x, q, room);
        sm_codes_pack_bytes(want->code, out[SM_PART_DATA], r * cols, (size_t)k * cols, q);
        if (m->sums != NULL) {
            sm_palette_values(src, want, out[SM_PART_LUT], row + r, k, q, y);
            measure_values(m, src, p, row + r, k, x, y);
        }
    }
    sm_palette_room_free(&room);
    sm_free(x);
    sm_free(q);
    return st;
}

bool sm_transcode_has_tables(const sm_tensor *src, const sm_encoding *want) {
    return want->id == SM_ENC_LUT && !sm_enc_eq(&src->enc, want, src->rank);
}

sm_status sm_transcode_tables(const sm_tensor *src, const sm_encoding *want, sm_pool *pool, uint8_t *out[SM_PART_COUNT],
                              sm_err *err) {
    return sm_transcode_has_tables(src, want) ? sm_palette_fit(src, want, pool, out[SM_PART_LUT], err) : SM_OK;
}

sm_status sm_transcode_whole(const sm_tensor *src, const sm_encoding *want, sm_dtype want_dtype, sm_pool *pool,
                             uint8_t *out[SM_PART_COUNT], sm_xerr *xe, sm_err *err) {
    SM_TRY(sm_transcode_tables(src, want, pool, out, err));
    return sm_transcode_rows(src, want, want_dtype, 0, sm_tensor_rows(src), out, xe, err);
}

sm_status sm_transcode_rows(const sm_tensor *src, const sm_encoding *want, sm_dtype want_dtype, uint64_t row,
                            uint64_t n, uint8_t *out[SM_PART_COUNT], sm_xerr *xe, sm_err *err) {
    size_t cols = (size_t)sm_tensor_cols(src);
    scratch s;
    plan p;
    sm_xerr sums = {.n = n * cols};
    sm_status st = make_plan(src, want, &p, err);
    if (st != SM_OK || n == 0 || cols == 0)
        return st;
    if (!scratch_new(&s, cols))
        return SM_NOMEM(err);
    for (int k = SM_PART_DATA; k <= SM_PART_OFFSET; k++) {
        size_t bytes = row_bytes(want, k, src, n);
        if (bytes > 0)
            out[k][bytes - 1] = 0; /* padding bits */
    }
    meter m = {SM_ISA_C, written(src, want, n, out), want_dtype, xe == NULL ? NULL : &sums};
    if (xe != NULL && sm_isa_choose(&m.isa, NULL) != SM_OK)
        m.isa = SM_ISA_C;
    if (p.how == SM_CARRY_SAME) {
        SM_TRY_DONE(same_rows(src, row, n, &s, out, err));
        measure_rows(&m, src, row, n, &s);
    } else if (want->id == SM_ENC_LUT) {
        SM_TRY_DONE(palette_rows(src, want, &p, &m, row, n, out, err));
    } else {
        for (uint64_t r = 0; r < n; r++) {
            SM_TRY_DONE(one_row(src, want, &p, row + r, r, &s, xe != NULL, out, err));
            measure(&m, src, r, &s);
        }
    }
    if (xe != NULL)
        sm_xerr_add(xe, &sums);
done:
    scratch_free(&s);
    return st;
}
