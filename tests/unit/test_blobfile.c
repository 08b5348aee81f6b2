/* SPDX-License-Identifier: MIT
 *
 * test_blobfile.c: weight files written and read, and every field of header and record that may lie.
 */
#include "sweep.h"

#include "format/blobfile.h"

/* A file with three blobs: 5 int4 (20 bits), 3 fp32, 0 uint8. */
static sm_str make(uint64_t record[3]) {
    char *dir = scratch_new();
    char path[600];
    sm_outfile *f;
    sm_blobout o;
    sm_str s = SM_STR_INIT;
    uint64_t data;
    sm_err err;
    const float x[3] = {1, -2, 0.5f};
    snprintf(path, sizeof path, "%s/weight.bin", dir);
    assert_int_equal(sm_outfile_new(path, &f, &err), SM_OK);
    assert_int_equal(sm_blobout_start(&o, f, &err), SM_OK);
    assert_int_equal(sm_blobout_add(&o, SM_INT4, 5, &record[0], &data, &err), SM_OK);
    assert_int_equal(sm_outfile_write(f, data, "\x21\x43\x05", 3, &err), SM_OK);
    assert_int_equal(sm_blobout_add(&o, SM_FP32, 3, &record[1], &data, &err), SM_OK);
    assert_int_equal(sm_outfile_write(f, data, x, sizeof x, &err), SM_OK);
    assert_int_equal(sm_blobout_add(&o, SM_UINT8, 0, &record[2], &data, &err), SM_OK);
    assert_int_equal(sm_blobout_finish(&o, &err), SM_OK);
    assert_int_equal(sm_outfile_commit(&f, &err), SM_OK);
    assert_int_equal(sm_file_read(path, 1 << 20, &s, &err), SM_OK);
    scratch_remove(dir);
    return s;
}

static void test_round_trip(void **state) {
    uint64_t rec[3];
    sm_str s = make(rec);
    sm_blobfile f;
    sm_bytes b;
    (void)state;
    assert_int_equal(rec[0], 64);
    assert_int_equal(rec[1], 192);
    assert_int_equal(rec[2], 320);
    assert_int_equal(s.n, 384);
    assert_int_equal(s.p[0], 3);
    assert_int_equal(sm_blobfile_open("w", (const uint8_t *)s.p, s.n, &f, NULL), SM_OK);
    assert_int_equal(sm_blobfile_get(&f, rec[0], SM_INT4, 5, &b, NULL), SM_OK);
    assert_int_equal(b.n, 3);
    assert_int_equal(sm_code_get(SM_INT4, b.p, 3), 4);
    assert_int_equal(sm_blobfile_get(&f, rec[1], SM_FP32, 3, &b, NULL), SM_OK);
    assert_true(sm_elem_get(SM_FP32, b.p, 1) == -2.0);
    assert_int_equal(sm_blobfile_get(&f, rec[2], SM_UINT8, 0, &b, NULL), SM_OK);
    assert_int_equal(b.n, 0);
    sm_str_free(&s);
}

static void refused(const sm_str *s, uint64_t offset, sm_dtype t, uint64_t n, const char *part) {
    sm_blobfile f;
    sm_bytes b;
    sm_err err = {0};
    sm_status st = sm_blobfile_open("w.bin", (const uint8_t *)s->p, s->n, &f, &err);
    if (st == SM_OK)
        st = sm_blobfile_get(&f, offset, t, n, &b, &err);
    assert_int_equal(st, SM_BADINPUT);
    if (strstr(err.msg, part) == NULL || strstr(err.msg, "w.bin") == NULL)
        fail_msg("'%s' does not say '%s'", err.msg, part);
}

static void test_asked_for_something_else(void **state) {
    uint64_t rec[3];
    sm_str s = make(rec);
    (void)state;
    refused(&s, 0, SM_FP32, 3, "offset 0");
    refused(&s, 65, SM_FP32, 3, "multiple of 64");
    refused(&s, 384, SM_FP32, 3, "offset 384");
    refused(&s, UINT64_MAX - 63, SM_FP32, 3, "offset");
    refused(&s, 128, SM_FP32, 3, "sentinel");
    refused(&s, rec[1], SM_FP16, 6, "wanted fp16, found fp32");
    refused(&s, rec[1], SM_FP32, 4, "want 16 bytes, found 12");
    refused(&s, rec[1], SM_FP32, UINT64_MAX, "elements");
    sm_str_free(&s);
}

static void test_fields_that_lie(void **state) {
    static const struct {
        size_t at;
        char byte;
        const char *part;
    } lies[] = {
        {4, 1, "version 2, found 1"}, {64, 0, "sentinel"}, {68, 99, "unknown type"}, {68, 0, "unknown type"},
        {72, 4, "want 3 bytes"},      {80, 65, "aligned"}, {80, 0, "aligned"},       {81, 5, "inside"},
        {87, 127, "inside"},          {88, 3, "padding"},  {95, 1, "padding"},
    };
    (void)state;
    for (size_t i = 0; i < SM_ARRAY_LEN(lies); i++) {
        uint64_t rec[3];
        sm_str s = make(rec);
        s.p[lies[i].at] = lies[i].byte;
        refused(&s, rec[0], SM_INT4, 5, lies[i].part);
        sm_str_free(&s);
    }
}

static void test_cut_off(void **state) {
    uint64_t rec[3];
    sm_str s = make(rec);
    (void)state;
    for (size_t n = 0; n < 192 + 64 + 12; n++) {
        sm_blobfile f;
        sm_bytes b;
        uint8_t *copy = malloc(n + 1); /* so that a sanitizer sees a byte too far */
        memcpy(copy, s.p, n);
        sm_status st = sm_blobfile_open("w", copy, n, &f, NULL);
        if (n < 64)
            assert_int_equal(st, SM_BADINPUT);
        else
            assert_int_equal(sm_blobfile_get(&f, rec[1], SM_FP32, 3, &b, NULL), SM_BADINPUT);
        free(copy);
    }
    sm_str_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_asked_for_something_else),
        cmocka_unit_test(test_fields_that_lie),
        cmocka_unit_test(test_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
