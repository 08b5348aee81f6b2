/* SPDX-License-Identifier: MIT
 *
 * Transcoding: which rule each pair of encodings gets, that exact rules are exact, what the reported errors are, blocks
 * that fp16 scales and offsets cannot say, affine encoding.
 */
#include <float.h>
#include <math.h>

#include "sweep.h"
#include "tensor/enc_int.h"
#include "tensor/transcode.h"

/* ---- help: blocks of random codes with given scales ---- */

static uint32_t seed_now;
static uint32_t rnd(void) {
    seed_now = seed_now * 1664525u + 1013904223u;
    return seed_now >> 8;
}

static void put_half(uint8_t *p, float f) {
    uint16_t h = sm_f32_to_f16(f);
    memcpy(p, &h, 2);
}

/* rows x cols of GGUF blocks: random bytes, then d (and m or dmin) set to plausible values. */
static sm_tensor blocks(sm_enc_id id, int64_t rows, int64_t cols) {
    static const struct {
        sm_enc_id id;
        int d, m;
    } at[] = {{SM_ENC_Q4_0, 0, -1}, {SM_ENC_Q4_1, 0, 2},   {SM_ENC_Q5_0, 0, -1},   {SM_ENC_Q5_1, 0, 2},
              {SM_ENC_Q8_0, 0, -1}, {SM_ENC_Q2_K, 80, 82}, {SM_ENC_Q3_K, 108, -1}, {SM_ENC_Q4_K, 0, 2},
              {SM_ENC_Q5_K, 0, 2},  {SM_ENC_Q6_K, 208, -1}};
    const sm_enc_row *e = sm_enc_row_of(id);
    sm_tensor t = {.name = SM_SV("w"), .dtype = SM_FP32, .rank = 2, .dims = {rows, cols}, .enc = sm_enc_block(id)};
    size_t bytes[SM_PART_COUNT], n_blocks;
    assert_int_equal(sm_enc_sizes(&t.enc, 2, t.dims, bytes, NULL), SM_OK);
    uint8_t *p = malloc(bytes[SM_PART_DATA]);
    for (size_t i = 0; i < bytes[SM_PART_DATA]; i++)
        p[i] = (uint8_t)rnd();
    n_blocks = bytes[SM_PART_DATA] / (size_t)e->block_bytes;
    for (size_t k = 0; k < SM_ARRAY_LEN(at); k++)
        for (size_t b = 0; at[k].id == id && b < n_blocks; b++) {
            float d = 0.001f + (float)(rnd() % 1000) * 1e-5f;
            put_half(p + b * (size_t)e->block_bytes + at[k].d, d);
            if (at[k].m >= 0) /* K-quants subtract dmin */
                put_half(p + b * (size_t)e->block_bytes + at[k].m, e->block == 256 ? d * 3 : -d * 7.3f);
        }
    t.part[SM_PART_DATA] = (sm_bytes){p, bytes[SM_PART_DATA]};
    return t;
}

typedef struct result {
    sm_tensor t; /* owns its parts */
    sm_xerr xe;
    sm_carry how;
} result;

static void free_parts(sm_tensor *t) {
    for (int p = 0; p < SM_PART_COUNT; p++)
        free((void *)t->part[p].p);
}

/* src carried to want in slabs of 2 rows; parts get guard bytes. */
static result carry(const sm_tensor *src, const sm_encoding *want, sm_dtype dtype) {
    sm_err err = {0};
    result r = {.t = *src};
    size_t bytes[SM_PART_COUNT], slab[SM_PART_COUNT];
    uint8_t *all[SM_PART_COUNT] = {0};
    r.t.enc = *want;
    r.t.dtype = dtype;
    r.t.deinterleave = 0;
    if (sm_transcode_how(src, want, &r.how, &err) != SM_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(sm_enc_sizes(want, src->rank, src->dims, bytes, &err), SM_OK);
    uint64_t rows = sm_tensor_rows(src), step = rows % 2 == 0 ? 2 : rows;
    for (int p = 0; p < SM_PART_COUNT; p++) {
        r.t.part[p] = (sm_bytes){NULL, bytes[p]};
        if (bytes[p] == 0)
            continue;
        all[p] = malloc(bytes[p] + 8);
        memset(all[p], 0xA5, bytes[p] + 8);
        r.t.part[p].p = all[p];
        slab[p] = bytes[p] * (size_t)step / (size_t)rows;
    }
    for (uint64_t row = 0; row < rows; row += step) {
        uint8_t *out[SM_PART_COUNT] = {0};
        for (int p = 0; p < SM_PART_COUNT; p++)
            out[p] = all[p] == NULL ? NULL : all[p] + slab[p] * (size_t)(row / step);
        if (sm_transcode_rows(src, want, dtype, row, step, out, &r.xe, &err) != SM_OK)
            fail_msg("%s", err.msg);
    }
    for (int p = 0; p < SM_PART_COUNT; p++)
        for (int i = 0; all[p] != NULL && i < 8; i++)
            assert_int_equal(all[p][bytes[p] + (size_t)i], 0xA5);
    assert_int_equal(sm_tensor_check(&r.t, &err), SM_OK);
    return r;
}

static float *decoded(const sm_tensor *t) {
    float *x = malloc((size_t)sm_tensor_numel(t) * sizeof *x);
    sm_decode_rows(t, 0, sm_tensor_rows(t), x);
    return x;
}

/* The error report says what decoding both sides says. */
static void expect_honest(const sm_tensor *src, const result *r) {
    size_t n = (size_t)sm_tensor_numel(src);
    sm_tensor a = *src, b = r->t;
    double sum = 0, max = 0, sum16 = 0, max16 = 0, ref = 0;
    float *x16 = decoded(&a), *y16 = decoded(&b);
    a.dtype = b.dtype = SM_FP32;
    float *x = decoded(&a), *y = decoded(&b);
    for (size_t i = 0; i < n; i++) {
        double e = fabs((double)y[i] - x[i]), e16 = fabs((double)y16[i] - x16[i]);
        sum += e * e;
        sum16 += e16 * e16;
        ref += (double)x[i] * x[i];
        max = e > max ? e : max;
        max16 = e16 > max16 ? e16 : max16;
    }
    assert_true(r->xe.n == n);
    assert_true(fabs(sum - r->xe.sum_sq_err) <= 1e-5 * sum && fabs(sum16 - r->xe.sum_sq_err16) <= 1e-5 * sum16);
    assert_true(fabs(ref - r->xe.sum_sq_ref) <= 1e-5 * ref);
    assert_true(fabs(max - r->xe.max_abs_err) <= 1e-6 * max && fabs(max16 - r->xe.max_abs_err16) <= 1e-6 * max16);
    free(x);
    free(y);
    free(x16);
    free(y16);
}

static void expect_same_codes(const sm_tensor *a, const sm_tensor *b) {
    size_t cols = (size_t)sm_tensor_cols(a);
    int16_t *p = malloc(cols * sizeof *p), *q = malloc(cols * sizeof *q);
    float *s = malloc(2 * cols * sizeof *s);
    for (uint64_t r = 0; r < sm_tensor_rows(a); r++) {
        sm_open_row(a, r, p, s, s + cols);
        sm_open_row(b, r, q, s, s + cols);
        assert_memory_equal(p, q, cols * sizeof *p);
    }
    free(p);
    free(q);
    free(s);
}

/* ---- the rule ---- */

static void ggml_to_affine(void **state) {
    (void)state;
    static const struct {
        sm_enc_id id;
        const char *want;
        sm_carry how;
        double nmse;
    } rows[] = {
        {SM_ENC_Q4_0, "affine(int4, fp16, [1, 32])", SM_CARRY_TRANSCODED, 0},
        {SM_ENC_Q5_0, "affine(int8, fp16, [1, 32])", SM_CARRY_TRANSCODED, 0},
        {SM_ENC_Q8_0, "affine(int8, fp16, [1, 32])", SM_CARRY_TRANSCODED, 0},
        {SM_ENC_Q4_1, "affine(uint4, fp16, offset fp16, [1, 32])", SM_CARRY_KEPT, 1e-6},
        {SM_ENC_Q5_1, "affine(uint8, fp16, offset fp16, [1, 32])", SM_CARRY_KEPT, 1e-6},
        {SM_ENC_Q2_K, "affine(uint4, fp16, offset fp16, [1, 16])", SM_CARRY_KEPT, 1e-4},
        {SM_ENC_Q3_K, "affine(int4, fp16, [1, 16])", SM_CARRY_KEPT, 1e-6},
        {SM_ENC_Q4_K, "affine(uint4, fp16, offset fp16, [1, 32])", SM_CARRY_KEPT, 1e-5},
        {SM_ENC_Q5_K, "affine(uint8, fp16, offset fp16, [1, 32])", SM_CARRY_KEPT, 1e-5},
        {SM_ENC_Q6_K, "affine(int8, fp16, [1, 16])", SM_CARRY_KEPT, 1e-6},
    };
    for (size_t i = 0; i < SM_ARRAY_LEN(rows); i++) {
        sm_tensor t = blocks(rows[i].id, 6, 512);
        sm_encoding want;
        char text[128];
        assert_true(sm_affine_for(&t, &want));
        assert_string_equal(sm_enc_print(&want, 2, text, sizeof text), rows[i].want);
        t.deinterleave = i % 2 ? 6 : 0;
        result r = carry(&t, &want, SM_FP16);
        assert_int_equal(r.how, rows[i].how);
        if (!(sm_xerr_nmse(&r.xe) <= rows[i].nmse))
            fail_msg("%s: nmse %g", rows[i].want, sm_xerr_nmse(&r.xe));
        assert_true(r.xe.sum_sq_err16 > 0 && r.xe.sum_sq_err16 < 1e-4 * r.xe.sum_sq_ref);
        expect_honest(&t, &r);
        if (rows[i].id != SM_ENC_Q2_K && rows[i].id != SM_ENC_Q4_K && rows[i].id != SM_ENC_Q5_K)
            expect_same_codes(&t, &r.t); /* the others may hold sub-blocks with scale 0, tested below */
        free_parts(&r.t);
        free_parts(&t);
    }
}

static void rule_of(sm_enc_id id, const char *want, sm_carry how) {
    sm_tensor t = blocks(id, 4, 256);
    sm_encoding e;
    sm_carry got;
    sm_err err = {0};
    assert_int_equal(sm_enc_parse(sm_sv_of(want), 2, &e, &err), SM_OK);
    if (sm_transcode_how(&t, &e, &got, &err) != SM_OK)
        fail_msg("%s", err.msg);
    if (got != how)
        fail_msg("%s to %s: wanted %s, found %s", sm_enc_row_of(id)->name, want, sm_carry_name(how),
                 sm_carry_name(got));
    result r = carry(&t, &e, SM_FP32);
    expect_honest(&t, &r);
    if (how == SM_CARRY_TRANSCODED || how == SM_CARRY_SAME)
        assert_true(r.xe.sum_sq_err == 0 && r.xe.max_abs_err == 0);
    free_parts(&r.t);
    free_parts(&t);
}

static void other_pairs(void **state) {
    (void)state;
    rule_of(SM_ENC_Q4_0, "q4_0", SM_CARRY_SAME);
    rule_of(SM_ENC_Q4_0, "affine(int4, fp16, [1, 16])", SM_CARRY_TRANSCODED); /* blocks divided */
    rule_of(SM_ENC_Q4_0, "affine(int4, fp16, [1, 64])", SM_CARRY_REQUANTIZED);
    rule_of(SM_ENC_Q4_0, "affine(int8, fp32, [1, 32])", SM_CARRY_TRANSCODED);
    rule_of(SM_ENC_Q4_0, "affine(int8, bf16, [1, 32])", SM_CARRY_KEPT);
    rule_of(SM_ENC_Q4_0, "affine(uint4, fp16, offset uint4, [1, 32])", SM_CARRY_TRANSCODED); /* codes + 8, offset 8 */
    rule_of(SM_ENC_Q4_0, "affine(uint4, fp16, offset fp16, [1, 32])", SM_CARRY_TRANSCODED);
    rule_of(SM_ENC_Q8_0, "affine(uint8, fp16, offset fp16, [1, 32])", SM_CARRY_TRANSCODED);
    rule_of(SM_ENC_Q8_0, "affine(int4, fp16, [1, 32])", SM_CARRY_REQUANTIZED);
    rule_of(SM_ENC_Q8_0, "affine(int8, fp16, [1, 256])", SM_CARRY_REQUANTIZED); /* per channel */
    rule_of(SM_ENC_Q4_1, "affine(uint4, fp16, offset uint4, [1, 32])", SM_CARRY_REQUANTIZED);
    rule_of(SM_ENC_Q4_1, "affine(int8, fp16, [1, 32])", SM_CARRY_REQUANTIZED);
    rule_of(SM_ENC_Q4_1, "affine(uint4, fp32, offset fp32, [1, 32])", SM_CARRY_KEPT);
    rule_of(SM_ENC_Q6_K, "affine(int8, fp32, [1, 16])", SM_CARRY_TRANSCODED);
    rule_of(SM_ENC_Q2_K, "affine(uint2, fp16, offset fp16, [1, 16])", SM_CARRY_KEPT);
    rule_of(SM_ENC_Q3_K, "fp32", SM_CARRY_WIDENED);
    rule_of(SM_ENC_Q3_K, "fp16", SM_CARRY_WIDENED);
    rule_of(SM_ENC_Q3_K, "bf16", SM_CARRY_WIDENED);
}

static void no_way(void **state) {
    (void)state;
    static const char *const bad[] = {"q4_k", "int8", "affine(int4, fp16, [2, 32])", "affine(uint4, fp16, [1, 64])"};
    sm_tensor t = blocks(SM_ENC_Q4_0, 4, 256);
    for (size_t i = 0; i < SM_ARRAY_LEN(bad); i++) {
        sm_encoding e;
        sm_carry how;
        sm_err err = {0};
        assert_int_equal(sm_enc_parse(sm_sv_of(bad[i]), 2, &e, NULL), SM_OK);
        assert_int_equal(sm_transcode_how(&t, &e, &how, &err), SM_UNSUPPORTED);
        assert_non_null(strstr(err.msg, "no way from q4_0"));
    }
    sm_encoding e = sm_enc_affine(SM_INT4, SM_FP16, SM_NONE, 2, 100);
    assert_int_equal(sm_transcode_how(&t, &e, &(sm_carry){0}, NULL), SM_BADINPUT);
    free_parts(&t);
}

/* Affine forms among themselves: codes, integer and float offsets survive. */
static void affine_to_affine(void **state) {
    (void)state;
    static const struct {
        const char *from, *to;
        sm_carry how;
    } rows[] = {
        {"affine(uint4, fp16, offset uint4, [1, 32])", "affine(uint4, fp16, offset fp16, [1, 32])",
         SM_CARRY_TRANSCODED},
        {"affine(uint4, fp16, offset uint4, [1, 32])", "affine(uint8, fp16, offset uint8, [1, 8])",
         SM_CARRY_TRANSCODED},
        {"affine(int8, fp16, offset int8, [1, 64])", "affine(uint8, fp16, offset uint8, [1, 32])", SM_CARRY_TRANSCODED},
        {"affine(uint4, fp16, offset fp16, [2, 32])", "affine(uint4, fp16, offset fp16, [1, 32])", SM_CARRY_TRANSCODED},
        {"affine(uint4, fp16, offset fp16, [1, 32])", "affine(uint4, fp16, offset fp16, [1, 32])", SM_CARRY_SAME},
        {"affine(uint4, fp32, offset fp32, [1, 32])", "affine(uint4, fp16, offset fp16, [1, 32])", SM_CARRY_KEPT},
        {"affine(int4, fp16, [1, 64])", "affine(int8, fp16, [1, 64])", SM_CARRY_TRANSCODED},
        {"affine(int4, fp16, [64, 1])", "affine(int8, fp16, [1, 64])",
         SM_CARRY_REQUANTIZED}, /* blocks along the rows */
        {"affine(int4, fp16, [2, 32])", "affine(int4, fp16, [2, 32])", SM_CARRY_SAME},
    };
    for (size_t i = 0; i < SM_ARRAY_LEN(rows); i++) {
        sm_encoding from, to;
        size_t bytes[SM_PART_COUNT];
        sm_tensor t = {.name = SM_SV("w"), .dtype = SM_FP16, .rank = 2, .dims = {64, 64}};
        assert_int_equal(sm_enc_parse(sm_sv_of(rows[i].from), 2, &from, NULL), SM_OK);
        assert_int_equal(sm_enc_parse(sm_sv_of(rows[i].to), 2, &to, NULL), SM_OK);
        t.enc = from;
        assert_int_equal(sm_enc_sizes(&from, 2, t.dims, bytes, NULL), SM_OK);
        for (int p = 0; p < SM_PART_COUNT; p++) {
            uint8_t *b = malloc(bytes[p] + 1);
            for (size_t k = 0; k < bytes[p]; k++)
                b[k] = (uint8_t)rnd();
            sm_dtype pt = sm_enc_part_dtype(&from, p);
            for (size_t k = 0; bytes[p] > 0 && sm_dtype_kind(pt) == 'f' && k < bytes[p] * 8 / (size_t)sm_dtype_bits(pt);
                 k++) {
                float v =
                    p == SM_PART_SCALE ? 0.01f + 1e-4f * (float)(rnd() % 100) : 7.0f + 0.01f * (float)(rnd() % 100);
                if (pt == SM_FP16)
                    put_half(b + 2 * k, v);
                else
                    memcpy(b + 4 * k, &v, 4);
            }
            t.part[p] = (sm_bytes){b, bytes[p]};
        }
        sm_carry how;
        assert_int_equal(sm_transcode_how(&t, &to, &how, NULL), SM_OK);
        if (how != rows[i].how)
            fail_msg("%s to %s: %s", rows[i].from, rows[i].to, sm_carry_name(how));
        if (how == SM_CARRY_SAME && to.block[0] != 1) { /* copied whole or not at all */
            uint8_t *out[SM_PART_COUNT] = {malloc(bytes[0]), malloc(bytes[1]), NULL, NULL};
            sm_xerr xe = {0};
            assert_int_equal(sm_transcode_rows(&t, &to, SM_FP16, 0, 2, out, NULL, NULL), SM_UNSUPPORTED);
            assert_int_equal(sm_transcode_rows(&t, &to, SM_FP16, 0, 64, out, &xe, NULL), SM_OK);
            assert_true(xe.sum_sq_err == 0 && xe.n == 64 * 64);
            assert_memory_equal(out[0], t.part[0].p, bytes[0]);
            free(out[0]);
            free(out[1]);
        } else {
            result r = carry(&t, &to, SM_FP16);
            expect_honest(&t, &r);
            if (how == SM_CARRY_TRANSCODED || how == SM_CARRY_SAME)
                assert_true(r.xe.max_abs_err == 0 && r.xe.max_abs_err16 == 0);
            free_parts(&r.t);
        }
        free_parts(&t);
    }
}

/* ---- blocks that need care ---- */

static void q4_1_block(uint8_t *p, uint16_t d, uint16_t m, uint8_t codes) {
    memcpy(p, &d, 2);
    memcpy(p + 2, &m, 2);
    memset(p + 4, codes, 16);
}

static void scale_and_min_at_the_edge(void **state) {
    (void)state;
    uint8_t raw[6 * 20];
    q4_1_block(raw, 0, sm_f32_to_f16(0.37f), 0x00);                         /* one value, scale 0 */
    q4_1_block(raw + 20, 0, sm_f32_to_f16(-0.37f), 0x5A);                   /* the same, codes that mean nothing */
    q4_1_block(raw + 40, 0, 0, 0xFF);                                       /* all zero */
    q4_1_block(raw + 60, 1, sm_f32_to_f16(1.0f), 0xF0);                     /* scale 2^-24: the offset would be -2^24 */
    q4_1_block(raw + 80, sm_f32_to_f16(4000), sm_f32_to_f16(-60000), 0xF1); /* large */
    q4_1_block(raw + 100, 3, 2, 0x21);                                      /* both subnormal */
    sm_tensor t = {.name = SM_SV("w"), .dtype = SM_FP32, .rank = 2, .dims = {6, 32}, .enc = sm_enc_block(SM_ENC_Q4_1)};
    t.part[SM_PART_DATA] = (sm_bytes){raw, sizeof raw};
    sm_encoding want;
    assert_true(sm_affine_for(&t, &want));
    result r = carry(&t, &want, SM_FP16);
    float *x = decoded(&t), *y = decoded(&r.t);
    for (int i = 0; i < 6 * 32; i++) {
        double tol = 1e-3 * fabs((double)x[i]) + 1e-7;
        if (!(fabs((double)y[i] - x[i]) <= tol))
            fail_msg("block %d, weight %d: wanted %g, found %g", i / 32, i % 32, (double)x[i], (double)y[i]);
    }
    for (int i = 0; i < 64; i++)
        assert_true(y[i] == x[i]); /* scale 0 keeps its value exactly */
    expect_honest(&t, &r);
    free(x);
    free(y);
    free_parts(&r.t);
}

/* A product d * sc beyond fp16 is held at fp16's largest, and the report shows it. */
static void scale_beyond_half(void **state) {
    (void)state;
    uint8_t raw[210];
    memset(raw, 0, sizeof raw);
    memset(raw + 128, 0xAA, 64); /* all codes 0: 32 - 32 */
    raw[0] = 1;                  /* the first is 1 */
    memset(raw + 192, 100, 16);
    put_half(raw + 208, 1000.0f);
    sm_tensor t = {.name = SM_SV("w"), .dtype = SM_FP32, .rank = 1, .dims = {256}, .enc = sm_enc_block(SM_ENC_Q6_K)};
    t.part[SM_PART_DATA] = (sm_bytes){raw, sizeof raw};
    sm_encoding want;
    assert_true(sm_affine_for(&t, &want));
    result r = carry(&t, &want, SM_FP16);
    assert_int_equal(r.how, SM_CARRY_KEPT);
    assert_true(r.xe.max_abs_err == 100000.0 - 65504.0 && r.xe.max_abs_ref == 100000.0);
    assert_true(isfinite(sm_xerr_nmse(&r.xe)));
    free_parts(&r.t);
}

static void report_of_nan(void **state) {
    (void)state;
    uint8_t raw[34] = {0, 0x7E}; /* scale NaN */
    raw[5] = 1;
    sm_tensor t = {.name = SM_SV("w"), .dtype = SM_FP32, .rank = 2, .dims = {1, 32}, .enc = sm_enc_block(SM_ENC_Q8_0)};
    t.part[SM_PART_DATA] = (sm_bytes){raw, sizeof raw};
    sm_encoding want;
    assert_true(sm_affine_for(&t, &want));
    result r = carry(&t, &want, SM_FP16);
    assert_true(isnan(sm_xerr_nmse(&r.xe)) || isinf(sm_xerr_nmse(&r.xe)));
    assert_true(isinf(r.xe.max_abs_err));
    free_parts(&r.t);
    want = sm_enc_affine(SM_INT4, SM_FP16, SM_NONE, 2, 32); /* new codes for a NaN: refused */
    uint8_t codes[16], scale[2], *out[SM_PART_COUNT] = {codes, scale, NULL, NULL};
    sm_err err = {0};
    assert_int_equal(sm_transcode_rows(&t, &want, SM_FP16, 0, 1, out, NULL, &err), SM_BADINPUT);
    assert_non_null(strstr(err.msg, "finite"));
}

/* ---- encoding ---- */

static void encode(const char *text, const float *x, uint64_t rows, int64_t cols, double max_step) {
    sm_encoding e;
    sm_err err = {0};
    size_t bytes[SM_PART_COUNT];
    uint8_t *out[SM_PART_COUNT];
    sm_tensor t = {.name = SM_SV("x"), .dtype = SM_FP32, .rank = 2, .dims = {(int64_t)rows, cols}};
    assert_int_equal(sm_enc_parse(sm_sv_of(text), 2, &e, &err), SM_OK);
    assert_int_equal(sm_enc_sizes(&e, 2, t.dims, bytes, &err), SM_OK);
    t.enc = e;
    for (int p = 0; p < SM_PART_COUNT; p++) {
        out[p] = malloc(bytes[p] + 1);
        t.part[p] = (sm_bytes){out[p], bytes[p]};
    }
    if (sm_affine_encode(&e, cols, rows, x, out, &err) != SM_OK)
        fail_msg("%s", err.msg);
    float *y = decoded(&t);
    for (size_t b = 0; b < (size_t)cols * rows; b += (size_t)e.block[1]) {
        double lo = 0, hi = 0, sum = 0; /* the step of a block that reaches zero */
        for (size_t i = b; i < b + (size_t)e.block[1]; i++) {
            lo = x[i] < lo ? x[i] : lo;
            hi = x[i] > hi ? x[i] : hi;
            sum += ((double)y[i] - x[i]) * ((double)y[i] - x[i]);
        }
        double step = e.off == SM_NONE ? 2 * fmax(hi, -lo) : hi - lo, error = sqrt(sum / (double)e.block[1]);
        if (!(error <= max_step * step + 1e-7))
            fail_msg("%s, block at %zu: root mean square error %g, step %g", text, b, error, step);
    }
    free(y);
    free_parts(&t);
}

static void affine_encoding(void **state) {
    (void)state;
    enum { N = 4 * 96 };
    float x[N];
    for (int i = 0; i < N; i++)
        x[i] = ((float)(rnd() % 2001) - 1000.0f) * 1e-3f * (i < 96 ? 1e-3f : 1.0f);
    for (int i = 200; i < 264; i++)
        x[i] = 0.0f; /* whole blocks of zeros */
    encode("affine(int4, fp16, [1, 32])", x, 4, 96, 0.52 / 14);
    encode("affine(int8, fp16, [1, 16])", x, 4, 96, 0.6 / 254);
    encode("affine(int8, fp32, [1, 96])", x, 4, 96, 0.51 / 254);
    encode("affine(uint4, fp16, offset fp16, [1, 32])", x, 4, 96, 0.53 / 15);
    encode("affine(uint4, fp16, offset uint4, [1, 32])", x, 4, 96, 1.03 / 15);
    encode("affine(int8, fp16, offset int8, [1, 32])", x, 4, 96, 1.1 / 255);
    encode("affine(uint8, fp16, offset fp16, [1, 24])", x, 4, 96, 0.7 / 255);
    for (int i = 0; i < N; i++)
        x[i] = 3.25f; /* one value */
    encode("affine(uint4, fp16, offset fp16, [1, 32])", x, 4, 96, 0);
    for (int i = 0; i < N; i++)
        x[i] = 1000.0f + 1e-4f * (float)(i % 3); /* far from zero */
    encode("affine(uint4, fp16, offset fp16, [1, 32])", x, 4, 96, 0.53 / 15);
    encode("affine(int4, fp16, [1, 32])", x, 4, 96, 0.52 / 14);
    x[7] = INFINITY;
    sm_encoding e = sm_enc_affine(SM_INT4, SM_FP16, SM_NONE, 2, 32);
    uint8_t codes[N], scale[N], *out[SM_PART_COUNT] = {codes, scale, NULL, NULL};
    assert_int_equal(sm_affine_encode(&e, 96, 4, x, out, NULL), SM_BADINPUT);
    e.code = SM_UINT4;
    assert_int_equal(sm_affine_encode(&e, 96, 4, x, out, NULL), SM_UNSUPPORTED);
    e = sm_enc_affine(SM_INT4, SM_FP16, SM_NONE, 2, 32);
    for (int i = 0; i < N; i++)
        x[i] = i % 2 ? FLT_MAX : -FLT_MAX; /* beyond fp16's largest scale: finite still */
    assert_int_equal(sm_affine_encode(&e, 96, 4, x, out, NULL), SM_OK);
    assert_true(sm_elem_get(SM_FP16, scale, 0) * (double)sm_code_get(SM_INT4, codes, 1) == 65504.0);
}

/* All sixteen codes of int4 are used; an odd number of codes ends on a clean byte. */
static void symmetric_codes(void **state) {
    (void)state;
    float x[5] = {-8, 7, 3, 0, 1};
    uint8_t codes[3] = {0xFF, 0xFF, 0xFF}, scale[2], *out[SM_PART_COUNT] = {codes, scale, NULL, NULL};
    sm_encoding e = sm_enc_affine(SM_INT4, SM_FP16, SM_NONE, 1, 5);
    assert_int_equal(sm_affine_encode(&e, 5, 1, x, out, NULL), SM_OK);
    static const int want[5] = {-8, 7, 3, 0, 1};
    for (uint64_t i = 0; i < 5; i++)
        assert_int_equal(sm_code_get(SM_INT4, codes, i), want[i]);
    assert_int_equal(codes[2] >> 4, 0);
}

static void names_and_sums(void **state) {
    (void)state;
    assert_string_equal(sm_carry_name(SM_CARRY_REQUANTIZED), "re-quantized");
    sm_xerr a = {.n = 1, .sum_sq_err = 1, .sum_sq_ref = 4, .max_abs_err = 1},
            b = {.n = 2, .sum_sq_err = 1, .max_abs_err = 3};
    sm_xerr_add(&a, &b);
    assert_true(a.n == 3 && sm_xerr_nmse(&a) == 0.5 && a.max_abs_err == 3);
    assert_true(sm_xerr_nmse(&(sm_xerr){0}) == 0 && isinf(sm_xerr_nmse(&b)));
}

static bool work(void *ctx) {
    uint8_t codes[256], scale[64], *out[SM_PART_COUNT] = {codes, scale, NULL, NULL};
    sm_encoding e = sm_enc_affine(SM_INT4, SM_FP16, SM_NONE, 2, 32);
    return sm_transcode_rows(ctx, &e, SM_FP16, 0, 2, out, NULL, NULL) == SM_OK;
}

static void memory_runs_out(void **state) {
    (void)state;
    sm_tensor t = blocks(SM_ENC_Q4_0, 2, 64);
    assert_true(sweep(work, &t) > 0);
    free_parts(&t);
}

/* The errors of a row: every instruction set has the bits of plain C, and those are what they say. */
static void row_errors(void **state) {
    (void)state;
    static const sm_dtype types[] = {SM_FP32, SM_FP16, SM_BF16};
    enum { N = 1500 };
    static float x[N], y[N];
    for (size_t n = 1; n <= N; n += n < 40 ? 1 : 97)
        for (size_t tx = 0; tx < 3; tx++)
            for (size_t ty = 0; ty < 3; ty++) {
                sm_xerr c = {0};
                double err = 0, err16 = 0, ref = 0;
                for (size_t i = 0; i < n; i++) {
                    x[i] = (float)((int)(i * 7919 % 4001) - 2000) * (i % 50 == 3 ? 1e-7f : 1.7e-3f);
                    y[i] = x[i] * (1.0f + 0.01f * (float)((int)(i * 31 % 21) - 10));
                    double e = (double)y[i] - x[i];
                    float a = tx == 1 ? sm_round_f16(x[i]) : tx == 2 ? sm_bf16_to_f32(sm_f32_to_bf16(x[i])) : x[i];
                    float b = ty == 1 ? sm_round_f16(y[i]) : ty == 2 ? sm_bf16_to_f32(sm_f32_to_bf16(y[i])) : y[i];
                    err += e * e;
                    err16 += ((double)b - a) * ((double)b - a);
                    ref += (double)x[i] * x[i];
                }
                sm_row_errors(SM_ISA_C, x, y, n, types[tx], types[ty], &c);
                assert_true(fabs(c.sum_sq_err - err) <= 1e-5 * err && fabs(c.sum_sq_ref - ref) <= 1e-5 * ref);
                assert_true(fabs(c.sum_sq_err16 - err16) <= 1e-5 * err16);
                for (sm_isa isa = SM_ISA_C; isa <= sm_isa_detect(); isa++) {
                    sm_xerr v = {0};
                    sm_row_errors(isa, x, y, n, types[tx], types[ty], &v);
                    assert_memory_equal(&c, &v, sizeof v);
                }
            }
    static const float odd[] = {0.0f,    -0.0f,   65519.9f,   65520.0f, -1e30f,  6e-8f,
                                2.9e-8f, 6.1e-5f, 1.0009765f, 3e-39f,   INFINITY};
    for (size_t i = 0; i < 64; i++) {
        x[i] = odd[i % SM_ARRAY_LEN(odd)];
        y[i] = odd[(i + i / 8) % (SM_ARRAY_LEN(odd) - 1)];
        if (i % 11 == 10 && i < 32)
            x[i] = 1.0f;
    }
    for (sm_isa isa = SM_ISA_C; isa <= sm_isa_detect(); isa++)
        for (size_t n = 7; n <= 64; n += 19) {
            sm_xerr c = {0}, v = {0};
            sm_row_errors(SM_ISA_C, x, y, n, SM_BF16, SM_FP16, &c);
            sm_row_errors(isa, x, y, n, SM_BF16, SM_FP16, &v);
            assert_true(c.max_abs_err16 == v.max_abs_err16 && c.max_abs_err == v.max_abs_err);
            assert_true(c.sum_sq_err == v.sum_sq_err || isinf(c.max_abs_err));
        }
    x[9] = NAN;
    sm_xerr v = {0};
    sm_row_errors(sm_isa_detect(), x, y, 24, SM_FP32, SM_FP16, &v);
    assert_true(isinf(v.max_abs_err) && isinf(v.max_abs_err16) && isinf(v.max_abs_ref));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ggml_to_affine),
        cmocka_unit_test(other_pairs),
        cmocka_unit_test(no_way),
        cmocka_unit_test(affine_to_affine),
        cmocka_unit_test(scale_and_min_at_the_edge),
        cmocka_unit_test(scale_beyond_half),
        cmocka_unit_test(report_of_nan),
        cmocka_unit_test(affine_encoding),
        cmocka_unit_test(symmetric_codes),
        cmocka_unit_test(names_and_sums),
        cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(row_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
