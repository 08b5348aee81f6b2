/* SPDX-License-Identifier: MIT
 *
 * test_base_mem.c: heap, failure switch, arenas, views.
 */
#include "sweep.h"

#include "base/mem.h"

static void heap_is_zeroed_and_checked(void **state) {
    (void)state;
    uint8_t *p = sm_alloc(100);
    for (int i = 0; i < 100; i++)
        assert_int_equal(p[i], 0);
    p = sm_realloc(p, 10000);
    assert_non_null(p);
    sm_free(p);
    sm_free(NULL);
    void *empty = sm_alloc(0);
    assert_non_null(empty);
    sm_free(empty);
    assert_null(sm_alloc_n(SIZE_MAX / 2, 3));
    for (size_t align = 64; align <= 4096; align *= 2) {
        void *a = sm_alloc_aligned(align + 1, align);
        assert_int_equal((uintptr_t)a % align, 0);
        sm_free_aligned(a);
    }
}

static void failure_switch(void **state) {
    (void)state;
    sm_alloc_fail_after(2);
    void *a = sm_alloc(1), *b = sm_alloc_n(2, 2), *c = sm_alloc(1), *d = sm_alloc(1);
    assert_non_null(a);
    assert_non_null(b);
    assert_null(c);
    assert_non_null(d);
    sm_alloc_fail_after(0);
    assert_null(sm_realloc(a, 100)); /* the old block stays */
    sm_alloc_fail_after(0);
    assert_null(sm_alloc_aligned(64, 64));
    sm_free(a);
    sm_free(b);
    sm_free(d);
}

static void grow(void **state) {
    (void)state;
    struct {
        int *v;
        size_t n, cap;
    } a = {0};
    for (int i = 0; i < 1000; i++) {
        assert_true(SM_GROW(&a));
        a.v[a.n++] = i;
    }
    for (int i = 0; i < 1000; i++)
        assert_int_equal(a.v[i], i);
    a.n = a.cap;
    sm_alloc_fail_after(0);
    assert_false(SM_GROW(&a));
    assert_int_equal(a.v[999], 999);
    sm_free(a.v);
}

static void arena_gives_distinct_aligned_zeroed(void **state) {
    (void)state;
    sm_arena *a = sm_arena_new();
    uint8_t *p[500];
    size_t total = 0;
    for (size_t i = 0; i < 500; i++) {
        size_t n = i % 7 == 0 ? 0 : i * i % 3001; /* small ones, and some larger than the first chunk's half */
        p[i] = sm_arena_alloc(a, n);
        assert_int_equal((uintptr_t)p[i] % 16, 0);
        for (size_t k = 0; k < n; k++)
            assert_int_equal(p[i][k], 0);
        memset(p[i], (int)i & 0xff, n);
        total += n;
    }
    for (size_t i = 0; i < 500; i++)
        for (size_t k = 0, n = i % 7 == 0 ? 0 : i * i % 3001; k < n; k++)
            assert_int_equal(p[i][k], i & 0xff);
    for (size_t i = 1; i < 500; i++)
        assert_ptr_not_equal(p[i], p[i - 1]);
    assert_int_equal(sm_arena_bytes(a), total);
    uint8_t *huge = sm_arena_alloc(a, 5 << 20);
    assert_non_null(huge);
    huge[(5 << 20) - 1] = 1;
    assert_null(sm_arena_alloc(a, SIZE_MAX - 8));
    assert_null(sm_arena_alloc_n(a, SIZE_MAX / 4, 8));
    sm_arena_free(&a);
    assert_null(a);
    sm_arena_free(&a);
    sm_arena_free(NULL);
}

static void arena_strings(void **state) {
    (void)state;
    sm_arena *a = sm_arena_new();
    assert_string_equal(sm_arena_strdup(a, "abc"), "abc");
    assert_string_equal(sm_arena_strdup(a, ""), "");
    assert_string_equal(sm_arena_strndup(a, "abcdef", 2), "ab");
    assert_string_equal(sm_arena_strndup(a, NULL, 0), "");
    assert_string_equal(sm_arena_printf(a, "%d-%s", 7, "x"), "7-x");
    sm_arena_free(&a);
}

static bool use_arena(void *ctx) {
    (void)ctx;
    sm_arena *a = sm_arena_new();
    bool ok = a != NULL;
    for (int i = 0; ok && i < 40; i++)
        ok = sm_arena_alloc(a, 1000) && sm_arena_printf(a, "%d", i);
    ok = ok && sm_arena_alloc(a, 1 << 20);
    sm_arena_free(&a);
    return ok;
}

static void arena_survives_failures(void **state) {
    (void)state;
    assert_true(sweep(use_arena, NULL) > 4);
}

static void views_and_sizes(void **state) {
    (void)state;
    assert_true(sm_sv_is(SM_SV("ab"), "ab"));
    assert_false(sm_sv_is(SM_SV("ab"), "abc"));
    assert_true(sm_sv_eq(sm_sv_of(NULL), SM_SV("")));
    size_t n;
    assert_true(sm_mul_ok(3, 4, &n) && n == 12);
    assert_false(sm_mul_ok(SIZE_MAX, 2, &n));
    assert_true(sm_add_ok(3, 4, &n) && n == 7);
    assert_false(sm_add_ok(SIZE_MAX, 1, &n));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heap_is_zeroed_and_checked),
        cmocka_unit_test(failure_switch),
        cmocka_unit_test(grow),
        cmocka_unit_test(arena_gives_distinct_aligned_zeroed),
        cmocka_unit_test(arena_strings),
        cmocka_unit_test(arena_survives_failures),
        cmocka_unit_test(views_and_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
