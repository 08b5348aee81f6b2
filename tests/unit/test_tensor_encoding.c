/* SPDX-License-Identifier: MIT
 *
 * Encodings: golden tensors (golden/make_tensors.py) decode to the very bits of other readers; sizes, text form, row
 * order, opened rows; shapes that do not fit are refused.
 */
#include <inttypes.h>
#include <math.h>

#include "base/files.h"
#include "base/str.h"
#include "sweep.h"
#include "tensor/encoding.h"

/* ---- golden file ---- */

typedef struct golden {
    sm_str file;
    size_t at;
    uint32_t n;
} golden;

static const char *take(golden *g, size_t n) {
    assert_true(n <= g->file.n - g->at);
    g->at += n;
    return g->file.p + g->at - n;
}

static uint64_t take_u64(golden *g) {
    uint64_t v;
    memcpy(&v, take(g, 8), 8);
    return v;
}

static sm_sv take_text(golden *g) {
    size_t n = (size_t)take_u64(g);
    return (sm_sv){take(g, n), n};
}

static void golden_open(golden *g) {
    sm_err err;
    *g = (golden){.file = SM_STR_INIT};
    if (sm_file_read(SMELT_GOLDEN "/tensors.bin", 1 << 24, &g->file, &err) != SM_OK)
        fail_msg("%s", err.msg);
    assert_memory_equal(take(g, 4), "SMT1", 4);
    take_text(g);
    memcpy(&g->n, take(g, 4), 4);
    assert_true(g->n > 30);
}

/* The next tensor, its parts in buffers of exactly their size, and the values wanted. */
static void golden_next(golden *g, sm_tensor *t, sm_sv *enc_text, float **want) {
    sm_err err;
    uint32_t rank;
    *t = (sm_tensor){.name = take_text(g)};
    *enc_text = take_text(g);
    t->dtype = sm_dtype_of_name(take_text(g));
    memcpy(&rank, take(g, 4), 4);
    t->rank = (int)rank;
    for (uint32_t a = 0; a < rank; a++)
        t->dims[a] = (int64_t)take_u64(g);
    if (sm_enc_parse(*enc_text, t->rank, &t->enc, &err) != SM_OK)
        fail_msg("%s", err.msg);
    for (int p = 0; p < SM_PART_COUNT + 1; p++) {
        sm_sv b = take_text(g);
        void *copy = malloc(b.n + !b.n);
        memcpy(copy, b.p, b.n);
        if (p < SM_PART_COUNT)
            t->part[p] = (sm_bytes){copy, b.n};
        else
            *want = copy;
    }
    if (sm_tensor_check(t, &err) != SM_OK)
        fail_msg("%s", err.msg);
}

static void tensor_free(sm_tensor *t) {
    for (int p = 0; p < SM_PART_COUNT; p++)
        free((void *)t->part[p].p);
}

static void expect_bits(const sm_tensor *t, const float *got, const float *want, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (memcmp(&got[i], &want[i], 4) != 0 && !(isnan(got[i]) && isnan(want[i])))
            fail_msg("%.*s, element %zu: wanted %.9g, found %.9g", (int)t->name.n, t->name.p, i, (double)want[i],
                     (double)got[i]);
}

/* scale * code + min of opened rows; exact for blocks, one rounding away for affine. */
static void expect_opened(const sm_tensor *t, const float *want) {
    int sub;
    sm_dtype code;
    bool has_min;
    size_t cols = (size_t)sm_tensor_cols(t);
    if (!sm_is_coded(t, &sub, &code, &has_min))
        return;
    assert_int_equal(cols % (size_t)sub, 0);
    int16_t *q = malloc(cols * sizeof *q);
    float *scale = malloc(cols * sizeof *scale), *min = malloc(cols * sizeof *min);
    for (uint64_t r = 0; r < sm_tensor_rows(t); r++) {
        sm_open_row(t, r, q, scale, min);
        for (size_t i = 0; i < cols; i++) {
            size_t k = i / (size_t)sub;
            float x = scale[k] * (float)q[i], w = want[r * cols + i];
            assert_true(q[i] >= sm_dtype_min(code) && q[i] <= sm_dtype_max(code));
            assert_true(has_min || min[k] == 0.0f);
            if (has_min)
                x += min[k];
            if (t->dtype == SM_FP16)
                x = sm_round_f16(x);
            if (t->enc.id == SM_ENC_AFFINE)
                assert_true(fabsf(x - w) <= 2e-3f * (fabsf(w) + fabsf(min[k])));
            else
                assert_memory_equal(&x, &w, 4);
        }
    }
    free(q);
    free(scale);
    free(min);
}

static void golden_tensors(void **state) {
    (void)state;
    golden g;
    golden_open(&g);
    for (uint32_t i = 0; i < g.n; i++) {
        sm_tensor t;
        sm_sv text;
        float *want;
        char printed[160];
        sm_encoding again;
        golden_next(&g, &t, &text, &want);
        assert_true(sm_sv_is(text, sm_enc_print(&t.enc, t.rank, printed, sizeof printed)));
        assert_int_equal(sm_enc_parse(sm_sv_of(printed), t.rank, &again, NULL), SM_OK);
        assert_true(sm_enc_eq(&t.enc, &again, t.rank));

        size_t n = (size_t)sm_tensor_numel(&t), cols = (size_t)sm_tensor_cols(&t);
        uint64_t rows = sm_tensor_rows(&t), seen = 0;
        float *got = malloc(n * sizeof *got);
        sm_decode_rows(&t, 0, rows, got);
        expect_bits(&t, got, want, n);
        for (uint64_t r = 0; r < rows; r++) { /* each row alone is the same */
            sm_decode_rows(&t, r, 1, got);
            expect_bits(&t, got, want + r * cols, cols);
        }
        for (int p = 0; p < SM_PART_COUNT; p++)
            seen += t.part[p].n;
        assert_true(sm_tensor_bytes(&t) == seen);
        assert_true(fabs(sm_enc_bits(&t.enc, t.rank, t.dims) - 8.0 * (double)seen / (double)n) < 1e-9);
        expect_opened(&t, want);
        free(got);
        free(want);
        tensor_free(&t);
    }
    assert_int_equal(g.at, g.file.n);
    sm_str_free(&g.file);
}

/* Logical rows 0..H/2-1 are stored at even places of their group, the others at odd ones. */
static void deinterleaved_rows(void **state) {
    (void)state;
    golden g;
    golden_open(&g);
    int tried = 0;
    for (uint32_t i = 0; i < g.n; i++) {
        sm_tensor t;
        sm_sv text;
        float *want, got[2048];
        golden_next(&g, &t, &text, &want);
        size_t cols = (size_t)sm_tensor_cols(&t);
        if (sm_tensor_rows(&t) % 4 == 0) {
            t.deinterleave = 4;
            assert_int_equal(sm_tensor_check(&t, NULL), SM_OK);
            for (uint64_t r = 0; r < sm_tensor_rows(&t); r++) {
                static const uint64_t stored[4] = {0, 2, 1, 3};
                sm_decode_rows(&t, r, 1, got);
                expect_bits(&t, got, want + (r / 4 * 4 + stored[r % 4]) * cols, cols);
            }
            tried++;
        } else {
            t.deinterleave = 4;
            assert_int_equal(sm_tensor_check(&t, NULL), SM_BADINPUT);
        }
        free(want);
        tensor_free(&t);
    }
    assert_true(tried >= 3);
    sm_str_free(&g.file);
}

static void dense_types(void **state) {
    (void)state;
    const int64_t dims[2] = {2, 2};
    float out[4];
    double d[4] = {0.1, -2, 3, 1e-3};
    sm_tensor t = sm_tensor_dense(SM_FP64, 2, dims, d);
    assert_int_equal(sm_tensor_check(&t, NULL), SM_OK);
    sm_decode_rows(&t, 0, 2, out);
    assert_true(out[0] == 0.1f && out[3] == 1e-3f);
    t.dtype = SM_FP16;
    sm_decode_rows(&t, 0, 1, out);
    assert_true(out[0] == sm_round_f16(0.1f));
    int16_t s[4] = {-7, 1, 2, 300};
    t = sm_tensor_dense(SM_INT16, 2, dims, s);
    sm_decode_rows(&t, 1, 1, out);
    assert_true(out[0] == 2 && out[1] == 300);
    uint16_t b[4] = {0x3F80, 0xC000, 0, 0x4049};
    t = sm_tensor_dense(SM_BF16, 2, dims, b);
    sm_decode_rows(&t, 0, 2, out);
    assert_true(out[0] == 1 && out[1] == -2 && out[3] == 3.140625f);
    float scalar = 4.5f;
    t = sm_tensor_dense(SM_FP32, 0, NULL, &scalar);
    assert_int_equal(sm_tensor_check(&t, NULL), SM_OK);
    assert_true(sm_tensor_rows(&t) == 1 && sm_tensor_cols(&t) == 1 && sm_tensor_numel(&t) == 1);
    sm_decode_rows(&t, 0, 1, out);
    assert_true(out[0] == 4.5f);
}

static void ggml_numbers(void **state) {
    (void)state;
    sm_encoding e;
    assert_true(sm_enc_of_ggml(0, &e) && e.id == SM_ENC_DENSE && e.code == SM_FP32);
    assert_true(sm_enc_of_ggml(30, &e) && e.code == SM_BF16);
    assert_true(sm_enc_of_ggml(14, &e) && e.id == SM_ENC_Q6_K);
    assert_false(sm_enc_of_ggml(20, &e));
    assert_false(sm_enc_of_ggml(-1, &e));
    assert_string_equal(sm_ggml_type_name(20), "IQ4_NL");
    assert_null(sm_ggml_type_name(4));
    assert_null(sm_ggml_type_name(-1));
    assert_null(sm_ggml_type_name(1000));
}

static void shapes_of_parts(void **state) {
    (void)state;
    sm_encoding e;
    int64_t shape[SM_MAX_RANK + 2];
    const int64_t dims[2] = {128, 64};
    assert_int_equal(sm_enc_parse(SM_SV("lut(uint4, fp16, [64, 64], vec 2 axis 0, scale fp16 [1, 64])"), 2, &e, NULL),
                     SM_OK);
    assert_int_equal(sm_enc_part_shape(&e, SM_PART_DATA, 2, dims, shape), 2);
    assert_true(shape[0] == 64 && shape[1] == 64);
    assert_int_equal(sm_enc_part_shape(&e, SM_PART_LUT, 2, dims, shape), 4);
    assert_true(shape[0] == 2 && shape[1] == 1 && shape[2] == 16 && shape[3] == 2);
    assert_int_equal(sm_enc_part_shape(&e, SM_PART_SCALE, 2, dims, shape), 2);
    assert_true(shape[0] == 128 && shape[1] == 1);
    assert_int_equal(sm_enc_part_shape(&e, SM_PART_OFFSET, 2, dims, shape), -1);
    assert_int_equal(sm_enc_part_dtype(&e, SM_PART_LUT), SM_FP16);
    e = sm_enc_block(SM_ENC_Q4_0);
    assert_int_equal(sm_enc_part_shape(&e, SM_PART_DATA, 2, dims, shape), 2);
    assert_true(shape[0] == 128 && shape[1] == 36);
    assert_true(sm_enc_bits(&e, 2, dims) == 4.5);
    e = sm_enc_affine(SM_INT4, SM_FP16, SM_NONE, 2, 32);
    assert_true(sm_enc_bits(&e, 2, dims) == 4.5);
}

static void expect_no_sizes(const char *text, int rank, const int64_t *dims) {
    sm_encoding e;
    sm_err err = {0};
    size_t bytes[SM_PART_COUNT];
    assert_int_equal(sm_enc_parse(sm_sv_of(text), rank, &e, &err), SM_OK);
    assert_int_equal(sm_enc_sizes(&e, rank, dims, bytes, &err), SM_BADINPUT);
    assert_true(strlen(err.msg) > 10);
}

static void shapes_that_do_not_fit(void **state) {
    (void)state;
    const int64_t d[2] = {4, 48}, big[3] = {INT64_MAX, INT64_MAX, 32}, edge[2] = {INT64_MAX / 32 * 32, 32},
                  neg[2] = {-1, 32};
    const int64_t long_row[1] = {INT64_MAX / 32 * 32}, zero_big[3] = {0, INT64_MAX, INT64_MAX};
    expect_no_sizes("q4_k", 2, d);
    expect_no_sizes("q4_0", 2, d);
    expect_no_sizes("affine(int4, fp16, [1, 32])", 2, d);
    expect_no_sizes("affine(int4, fp16, [3, 16])", 2, d);
    expect_no_sizes("affine(int16, fp16, [1, 16])", 2, d);
    expect_no_sizes("affine(int4, int8, [1, 16])", 2, d);
    expect_no_sizes("affine(int4, fp16, offset int32, [1, 16])", 2, d);
    expect_no_sizes("lut(int4, fp16, [4, 16])", 2, d);
    expect_no_sizes("lut(uint4, fp64, [4, 16])", 2, d);
    expect_no_sizes("lut(uint4, fp16, [1, 16], vec 2 axis 0)", 2, d);
    expect_no_sizes("lut(uint4, fp16, [4, 16], scale int8 [1, 1])", 2, d);
    expect_no_sizes("fp32", 3, big);
    expect_no_sizes("q8_0", 2, edge);
    expect_no_sizes("q8_0", 1, long_row);
    expect_no_sizes("fp16", 2, neg);
    expect_no_sizes("fp16", 3, zero_big);
}

static void text_that_is_wrong(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "q4_9",
        "string",
        "affine",
        "affine(",
        "affine(int4)",
        "affine(int4, fp16)",
        "affine(int4, fp16, [1])",
        "affine(int4, fp16, [1, 32, 1])",
        "affine(int4, fp16, [1, 0])",
        "affine(int4, fp16, [1, -3])",
        "affine(int4, fp16, [1, 99999999999999999999])",
        "affine(int4, fp16, ofset fp16, [1, 32])",
        "affine(int4, fp16, [1, 32]",
        "affine(int4, fp16, [1, 32]))",
        "lut(uint4, fp16, [1, 2], vec 2)",
        "lut(uint4, fp16, [1, 2], vec 2 axis 2)",
        "lut(uint4, fp16, [1, 2], scale [1, 1])",
        "fp16 fp16",
        "lut",
        "lut(uint4, fp16, [1, 2], vec 2 axis 1, vec 2 axis 1)",
    };
    for (size_t i = 0; i < SM_ARRAY_LEN(bad); i++) {
        sm_encoding e;
        sm_err err = {0};
        if (sm_enc_parse(sm_sv_of(bad[i]), 2, &e, &err) != SM_BADINPUT)
            fail_msg("'%s' was read", bad[i]);
        assert_non_null(strstr(err.msg, "wanted"));
    }
    sm_encoding e;
    char small[8];
    assert_int_equal(sm_enc_parse(SM_SV("  affine( int4,fp16 ,[ 1,32 ] ) "), 2, &e, NULL), SM_OK);
    assert_int_equal(strlen(sm_enc_print(&e, 2, small, sizeof small)), 7); /* cut, terminated */
}

static void equality(void **state) {
    (void)state;
    sm_encoding a = sm_enc_affine(SM_INT4, SM_FP16, SM_NONE, 2, 32), b = a;
    b.block[5] = 7; /* beyond the rank */
    assert_true(sm_enc_eq(&a, &b, 2));
    b.off = SM_FP16;
    assert_false(sm_enc_eq(&a, &b, 2));
    b = sm_enc_dense(SM_FP16);
    assert_false(sm_enc_eq(&a, &b, 2));
    a = sm_enc_dense(SM_BF16);
    assert_false(sm_enc_eq(&a, &b, 2));
    a = sm_enc_block(SM_ENC_Q4_0);
    b = sm_enc_block(SM_ENC_Q4_1);
    assert_false(sm_enc_eq(&a, &b, 2));
}

static void parts_of_wrong_size(void **state) {
    (void)state;
    uint8_t buf[64] = {0};
    sm_err err = {0};
    const int64_t dims[2] = {1, 32};
    sm_tensor t = {.name = SM_SV("w"), .dtype = SM_FP32, .rank = 2, .dims = {1, 32}, .enc = sm_enc_block(SM_ENC_Q4_0)};
    t.part[SM_PART_DATA] = (sm_bytes){buf, 17};
    assert_int_equal(sm_tensor_check(&t, &err), SM_BADINPUT);
    assert_non_null(strstr(err.msg, "wanted 18 bytes, found 17"));
    t = sm_tensor_dense(SM_FP16, 2, dims, buf);
    assert_int_equal(sm_tensor_check(&t, &err), SM_OK);
    t.part[SM_PART_SCALE] = (sm_bytes){buf, 2};
    assert_int_equal(sm_tensor_check(&t, &err), SM_BADINPUT);
    t = sm_tensor_dense(SM_FP16, 2, dims, buf);
    t.deinterleave = 3;
    assert_int_equal(sm_tensor_check(&t, &err), SM_BADINPUT);
    t.rank = 9;
    assert_int_equal(sm_tensor_check(&t, &err), SM_BADINPUT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_tensors),      cmocka_unit_test(deinterleaved_rows),
        cmocka_unit_test(dense_types),         cmocka_unit_test(ggml_numbers),
        cmocka_unit_test(shapes_of_parts),     cmocka_unit_test(shapes_that_do_not_fit),
        cmocka_unit_test(text_that_is_wrong),  cmocka_unit_test(equality),
        cmocka_unit_test(parts_of_wrong_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
