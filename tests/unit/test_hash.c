/* SPDX-License-Identifier: MIT
 *
 * test_hash.c: SHA-256 of either library against NIST's vectors and one another; a file's hash beside its conversion.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/files.h"
#include "job/hash.h"
#include "job/sha256.h"
#include "job/source_hash.h"

/* The answer where libcrypto is absent, under names of its own: both are here. */
#define sm_sha256 other_sha256
#define sm_sha256_new other_new
#define sm_sha256_add other_add
#define sm_sha256_end other_end
#define sm_sha256_free other_free
#define sm_sha256_libcrypto other_libcrypto
typedef struct other_sha256 other_sha256;
sm_status other_new(other_sha256 **out, sm_err *err);
void other_add(other_sha256 *h, const void *p, size_t n);
void other_end(other_sha256 *h, char hex[65]);
void other_free(other_sha256 **h);
const char *other_libcrypto(void);
#include "../../src/stub/sha256_sodium.c"
#undef sm_sha256
#undef sm_sha256_new
#undef sm_sha256_add
#undef sm_sha256_end
#undef sm_sha256_free
#undef sm_sha256_libcrypto

/* In pieces of `step`. */
static void both(const uint8_t *p, size_t n, size_t step, char a[65], char b[65]) {
    sm_sha256 *x;
    other_sha256 *y;
    assert_int_equal(sm_sha256_new(&x, NULL), SM_OK);
    assert_int_equal(other_new(&y, NULL), SM_OK);
    for (size_t at = 0; at < n; at += step) {
        sm_sha256_add(x, p + at, SM_MIN(step, n - at));
        other_add(y, p + at, SM_MIN(step, n - at));
    }
    sm_sha256_end(x, a);
    other_end(y, b);
    sm_sha256_free(&x);
    other_free(&y);
    assert_null(x);
}

static void test_vectors(void **state) {
    (void)state;
    static const struct {
        const char *text, *hex;
    } v[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    char a[65], b[65];
    for (size_t i = 0; i < SM_ARRAY_LEN(v); i++) {
        both((const uint8_t *)v[i].text, strlen(v[i].text), 7, a, b);
        assert_string_equal(a, v[i].hex);
        assert_string_equal(b, v[i].hex);
    }
}

static uint8_t *bytes(size_t n) {
    uint8_t *p = malloc(n + 1);
    uint32_t s = 12345;
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)((s = s * 1664525u + 1013904223u) >> 24);
    return p;
}

static void test_pieces(void **state) {
    (void)state;
    static const size_t lengths[] = {1, 55, 56, 63, 64, 65, 127, 128, 1000, 100003}, steps[] = {1, 3, 64, 4096};
    char a[65], b[65], whole[65];
    for (size_t i = 0; i < SM_ARRAY_LEN(lengths); i++) {
        uint8_t *p = bytes(lengths[i]);
        both(p, lengths[i], lengths[i], whole, b);
        for (size_t k = 0; k < SM_ARRAY_LEN(steps); k++) {
            both(p, lengths[i], steps[k], a, b);
            assert_string_equal(a, whole);
            assert_string_equal(b, whole);
        }
        free(p);
    }
}

/* Whatever is told of places, in whatever order, the hash is the file's. */
static void test_source(void **state) {
    (void)state;
    static const double told[] = {0.1, 0.9, 0.2, 1.0, 0.5};
    const size_t lengths[] = {0, 10, ((size_t)1 << 18), ((size_t)40 << 20) + 77};
    char path[] = "/tmp/smelt-hash-XXXXXX", want[65], got[65];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    uint8_t *p = bytes(lengths[3]);
    for (size_t i = 0; i < SM_ARRAY_LEN(lengths); i++)
        for (int way = 0; way < 4; way++) {
            sm_source_hash *h;
            sm_mapfile m;
            sm_err err;
            assert_int_equal(ftruncate(fd, 0), 0);
            assert_int_equal(pwrite(fd, p, lengths[i], 0), lengths[i]);
            assert_int_equal(sm_hash_file(path, NULL, want, &err), SM_OK);
            assert_int_equal(sm_mapfile_open(path, &m, &err), SM_OK);
            assert_int_equal(sm_source_hash_start(path, way & 1, &h, &err), SM_OK);
            sm_source_hash_reached(h, &way); /* not of the file */
            for (size_t k = 0; k < SM_ARRAY_LEN(told) && (way & 2) && m.n > 0; k++)
                sm_source_hash_reached(h, m.p + (size_t)(told[k] * (double)(m.n - 1)));
            assert_int_equal(sm_source_hash_end(h, got, &err), SM_OK);
            assert_string_equal(got, want);
            sm_source_hash_free(&h);
            /* given up half way */
            assert_int_equal(sm_source_hash_start(path, way & 1, &h, &err), SM_OK);
            if (m.n > 0)
                sm_source_hash_reached(h, m.p + m.n / 2);
            sm_source_hash_free(&h);
            assert_null(h);
            sm_mapfile_close(&m);
        }
    free(p);
    close(fd);
    unlink(path);
}

static void test_missing(void **state) {
    (void)state;
    sm_source_hash *h;
    sm_err err;
    assert_int_equal(sm_source_hash_start("/nowhere/at/all", true, &h, &err), SM_BADINPUT);
    assert_null(h);
    assert_non_null(strstr(err.msg, "/nowhere/at/all"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_source),
        cmocka_unit_test(test_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
