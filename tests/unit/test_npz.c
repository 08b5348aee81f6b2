/* SPDX-License-Identifier: MIT
 *
 * test_npz.c: archives written and read back, headers in other people's spelling, and archives that lie.
 *
 * Foreign archives are made here as stored zip files, byte by byte, so that every field can be wrong.
 */
#include "sweep.h"

#include <zip.h>

#include "base/files.h"
#include "format/npz.h"

/* ---- a stored zip of one entry */

static void put(sm_str *s, uint64_t v, int n) {
    for (int i = 0; i < n; i++)
        sm_str_addc(s, (char)(i < 8 ? v >> 8 * i : 0));
}

static uint32_t crc(const char *p, size_t n) {
    uint32_t c = ~0u;
    for (size_t i = 0; i < n; i++) {
        c ^= (uint8_t)p[i];
        for (int k = 0; k < 8; k++)
            c = c >> 1 ^ (c & 1 ? 0xEDB88320u : 0);
    }
    return ~c;
}

static sm_str zip_of(const char *name, const char *p, size_t n, uint32_t claimed, int method) {
    sm_str s = SM_STR_INIT;
    uint32_t sum = crc(p, n);
    for (int central = 0; central < 2; central++) {
        size_t at = s.n;
        put(&s, central ? 0x02014b50 : 0x04034b50, 4);
        put(&s, 20, central ? 2 : 0);
        put(&s, 20, 2);
        put(&s, 0, 2);
        put(&s, (uint64_t)method, 2);
        put(&s, 0, 2);
        put(&s, 0x21, 2);
        put(&s, sum, 4);
        put(&s, n, 4);
        put(&s, claimed, 4);
        put(&s, strlen(name), 2);
        put(&s, 0, 2);
        put(&s, 0, central ? 14 : 0);
        sm_str_adds(&s, name);
        if (!central) {
            sm_str_add(&s, p, n);
            continue;
        }
        size_t size = s.n - at;
        put(&s, 0x06054b50, 4);
        put(&s, 0, 4);
        put(&s, 1, 2);
        put(&s, 1, 2);
        put(&s, size, 4);
        put(&s, at, 4);
        put(&s, 0, 2);
    }
    return s;
}

/* An .npy of a header and some elements. */
static sm_str npy_of(int version, const char *header, const void *data, size_t n) {
    sm_str s = SM_STR_INIT;
    sm_str_add(&s, "\x93NUMPY", 6);
    sm_str_addc(&s, (char)version);
    sm_str_addc(&s, 0);
    put(&s, strlen(header), version == 1 ? 2 : 4);
    sm_str_adds(&s, header);
    if (n > 0)
        sm_str_add(&s, data, n);
    return s;
}

static sm_status read_npy(int version, const char *header, const void *data, size_t n, sm_arrays *out, sm_err *err) {
    sm_str a = npy_of(version, header, data, n), z = zip_of("x.npy", a.p, a.n, (uint32_t)a.n, 0);
    sm_status st = sm_npz_read_mem("file", z.p, z.n, out, err);
    sm_str_free(&a);
    sm_str_free(&z);
    return st;
}

/* ---- tests */

static void test_other_spellings(void **state) {
    const float x[6] = {1, 2, 3, 4, 5, 6};
    sm_arrays s;
    sm_err err;
    (void)state;
    assert_int_equal(read_npy(3, "{\"shape\":(2,3),'fortran_order':True,\n 'descr' : '<f4'}", x, sizeof x, &s, &err),
                     SM_OK);
    sm_array *a = sm_arrays_find(&s, "x");
    assert_non_null(a);
    assert_int_equal(a->rank, 2);
    const float want[6] = {1, 3, 5, 2, 4, 6};
    assert_memory_equal(a->data, want, sizeof want);
    sm_arrays_free(&s);
    assert_int_equal(read_npy(2, "{'descr': '|b1', 'fortran_order': False, 'shape': (), }", "\x07", 1, &s, &err),
                     SM_OK);
    assert_int_equal(s.v[0].rank, 0);
    assert_int_equal(*(uint8_t *)s.v[0].data, 1);
    sm_arrays_free(&s);
    assert_int_equal(read_npy(1, "{'descr': '<i8', 'fortran_order': True, 'shape': (0, 7)}", "", 0, &s, &err), SM_OK);
    assert_int_equal(sm_array_numel(&s.v[0]), 0);
    sm_arrays_free(&s);
}

static void test_refused_headers(void **state) {
    static const struct {
        const char *header, *part;
        sm_status st;
    } bad[] = {
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (2,)}", "little-endian", SM_UNSUPPORTED},
        {"{'descr': '<U4', 'fortran_order': False, 'shape': (2,)}", "\"<U4\"", SM_UNSUPPORTED},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (2,)}", "element type", SM_UNSUPPORTED},
        {"{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}", "element type", SM_UNSUPPORTED},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}", "structured", SM_UNSUPPORTED},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}", "wants 12 bytes", SM_BADINPUT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296,4294967296,4294967296)}", "dimensions",
         SM_BADINPUT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,2)}", "malformed", SM_BADINPUT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}", "malformed", SM_BADINPUT},
        {"{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2,)}", "malformed", SM_BADINPUT},
        {"{'descr': '<f4', 'descr': '<f4', 'shape': (2,)}", "malformed", SM_BADINPUT},
        {"{'descr': '<f4', 'shape': (2,)}", "fortran_order", SM_BADINPUT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'more': 1}", "malformed", SM_BADINPUT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,", "malformed", SM_BADINPUT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2", "malformed", SM_BADINPUT},
        {"{'descr': '<f4", "malformed", SM_BADINPUT},
        {"{", "malformed", SM_BADINPUT},
        {"", "dictionary", SM_BADINPUT},
    };
    (void)state;
    for (size_t i = 0; i < SM_ARRAY_LEN(bad); i++) {
        sm_arrays s;
        sm_err err = {0};
        const float x[2] = {0};
        assert_int_equal(read_npy(1, bad[i].header, x, sizeof x, &s, &err), bad[i].st);
        if (strstr(err.msg, bad[i].part) == NULL || strstr(err.msg, "\"x.npy\"") == NULL)
            fail_msg("'%s' does not say '%s'", err.msg, bad[i].part);
        assert_int_equal(s.n, 0);
    }
}

static void test_refused_archives(void **state) {
    sm_arrays s;
    sm_err err = {0};
    sm_str a = npy_of(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", "12345678", 8);
    (void)state;
    sm_str z = zip_of("x.npy", a.p, a.n, 0xfffffff0u, 8); /* far more than deflate can give */
    assert_int_equal(sm_npz_read_mem("f", z.p, z.n, &s, &err), SM_BADINPUT);
    sm_str_free(&z);
    z = zip_of("x.npy", a.p, a.n, (uint32_t)a.n, 12); /* bzip2 */
    assert_int_equal(sm_npz_read_mem("f", z.p, z.n, &s, &err), SM_UNSUPPORTED);
    sm_str_free(&z);
    z = zip_of("x.npy", a.p, a.n, (uint32_t)a.n, 0);
    z.p[30 + 5 + a.n - 1] ^= 1; /* checksum */
    assert_int_equal(sm_npz_read_mem("f", z.p, z.n, &s, &err), SM_BADINPUT);
    z.p[30 + 5 + a.n - 1] ^= 1;
    for (size_t n = 0; n < z.n; n++) {
        char *copy = malloc(n + 1);
        memcpy(copy, z.p, n);
        assert_int_equal(sm_npz_read_mem("f", copy, n, &s, &err), SM_BADINPUT);
        free(copy);
    }
    for (size_t i = 0; i < z.n * 8; i++) { /* any single bit: an array or an error, never a crash */
        z.p[i / 8] ^= (char)(1 << i % 8);
        if (sm_npz_read_mem("f", z.p, z.n, &s, &err) == SM_OK)
            sm_arrays_free(&s);
        z.p[i / 8] ^= (char)(1 << i % 8);
    }
    sm_str_free(&z);
    sm_str_free(&a);
    assert_int_equal(sm_npz_read("/nowhere/x.npz", &s, &err), SM_BADINPUT);
}

static sm_arrays sample(void) {
    static const sm_dtype types[] = {SM_BOOL,   SM_INT8,   SM_INT16,  SM_INT32, SM_INT64, SM_UINT8,
                                     SM_UINT16, SM_UINT32, SM_UINT64, SM_FP16,  SM_FP32,  SM_FP64};
    sm_arrays s = {0};
    for (size_t i = 0; i < SM_ARRAY_LEN(types); i++) {
        char name[16];
        int64_t dims[3] = {2, 3, (int64_t)i % 4};
        sm_array *a = sm_arrays_add(&s);
        snprintf(name, sizeof name, "a%zu", SM_ARRAY_LEN(types) - i);
        assert_int_equal(sm_array_new(a, name, types[i], (int)i % 4, dims, NULL), SM_OK);
        memset(a->data, 1, (size_t)sm_dtype_size(types[i], sm_array_numel(a)));
    }
    return s;
}

static void test_round_trip(void **state) {
    char *dir = scratch_new(), one[600], two[600];
    sm_arrays in = sample(), out;
    sm_str a = SM_STR_INIT, b = SM_STR_INIT;
    sm_err err;
    (void)state;
    snprintf(one, sizeof one, "%s/1.npz", dir);
    snprintf(two, sizeof two, "%s/2.npz", dir);
    assert_int_equal(sm_npz_write(one, &in, &err), SM_OK);
    assert_int_equal(sm_npz_read(one, &out, &err), SM_OK);
    assert_int_equal(out.n, in.n);
    for (size_t i = 0; i < in.n; i++) {
        const sm_array *x = &in.v[i], *y = sm_arrays_find(&out, x->name);
        assert_non_null(y);
        assert_int_equal(y->dtype, x->dtype);
        assert_int_equal(y->rank, x->rank);
        assert_memory_equal(y->dims, x->dims, (size_t)x->rank * sizeof *x->dims);
        assert_memory_equal(y->data, x->data, (size_t)sm_dtype_size(x->dtype, sm_array_numel(x)));
    }
    assert_int_equal(sm_npz_write(two, &out, &err), SM_OK); /* read in sorted order: the same file */
    assert_int_equal(sm_file_read(one, 1 << 20, &a, &err), SM_OK);
    assert_int_equal(sm_file_read(two, 1 << 20, &b, &err), SM_OK);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.p, b.p, a.n);
    sm_str_free(&a);
    sm_str_free(&b);
    sm_arrays_free(&out);
    /* Names twice, types that NumPy lacks, no arrays at all. */
    strcpy(in.v[1].name, "a9");
    strcpy(in.v[2].name, "a9");
    assert_int_equal(sm_npz_write(one, &in, &err), SM_BADINPUT);
    sm_arrays_free(&in);
    sm_array *q = sm_arrays_add(&in);
    assert_int_equal(sm_array_new(q, "q", SM_INT4, 0, NULL, &err), SM_OK);
    assert_int_equal(sm_npz_write(one, &in, &err), SM_UNSUPPORTED);
    sm_arrays_free(&in);
    assert_int_equal(sm_npz_write(one, &in, &err), SM_OK);
    assert_int_equal(sm_npz_read(one, &out, &err), SM_OK);
    assert_int_equal(out.n, 0);
    sm_arrays_free(&out);
    scratch_remove(dir);
}

static void test_deflated(void **state) {
    char *dir = scratch_new(), path[600];
    sm_str a = npy_of(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1000,)}", NULL, 0);
    sm_arrays out;
    sm_err err;
    (void)state;
    for (int i = 0; i < 4000; i++)
        sm_str_addc(&a, 0);
    snprintf(path, sizeof path, "%s/d.npz", dir);
    zip_t *z = zip_open(path, ZIP_CREATE, NULL);
    zip_source_t *src = zip_source_buffer(z, a.p, a.n, 0);
    zip_int64_t i = zip_file_add(z, "x.npy", src, 0);
    assert_int_equal(zip_set_file_compression(z, (zip_uint64_t)i, ZIP_CM_DEFLATE, 9), 0);
    assert_int_equal(zip_close(z), 0);
    assert_int_equal(sm_npz_read(path, &out, &err), SM_OK);
    assert_int_equal(sm_array_numel(&out.v[0]), 1000);
    sm_arrays_free(&out);
    sm_str_free(&a);
    scratch_remove(dir);
}

static char *sweep_path;

static bool write_it(void *ctx) {
    return sm_npz_write(sweep_path, ctx, NULL) == SM_OK;
}

static bool read_it(void *ctx) {
    sm_arrays out;
    (void)ctx;
    if (sm_npz_read(sweep_path, &out, NULL) != SM_OK)
        return false;
    sm_arrays_free(&out);
    return true;
}

/* As sweep, where clean-up that gives up silently (old temporaries) may swallow a failure: then the result must be whole. */
static void sweep_writes(bool (*work)(void *ctx), bool (*whole)(void *ctx), void *ctx) {
    for (long n = 0;; n++) {
        long before = sm_alloc_count();
        sm_alloc_fail_after(n);
        bool done = work(ctx);
        sm_alloc_fail_after(-1);
        if (sm_alloc_count() - before <= n) {
            assert_true(done);
            return;
        }
        if (done)
            assert_true(whole(ctx));
    }
}

static void test_out_of_memory(void **state) {
    char *dir = scratch_new(), path[600];
    sm_arrays in = sample();
    (void)state;
    snprintf(path, sizeof path, "%s/m.npz", dir);
    sweep_path = path;
    sweep_writes(write_it, read_it, &in);
    sweep(read_it, NULL);
    sm_arrays_free(&in);
    scratch_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),      cmocka_unit_test(test_other_spellings),
        cmocka_unit_test(test_refused_headers), cmocka_unit_test(test_refused_archives),
        cmocka_unit_test(test_deflated),        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
