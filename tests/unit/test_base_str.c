/* SPDX-License-Identifier: MIT
 *
 * test_base_str.c: strings, UTF-8, quoting, maps.
 */
#include "sweep.h"

#include "base/str.h"

/* ---- strings --------------------------------------------------------------------------------------------------- */

static void building(void **state) {
    (void)state;
    sm_str s = SM_STR_INIT;
    assert_string_equal(sm_str_z(&s), "");
    sm_str_adds(&s, "a");
    sm_str_addc(&s, 'b');
    sm_str_addf(&s, "%03d", 7);
    sm_str_add(&s, "x\0y", 3);
    assert_int_equal(s.n, 8);
    assert_memory_equal(s.p, "ab007x\0y", 9);
    sm_str_clear(&s);
    assert_string_equal(sm_str_z(&s), "");
    for (int i = 0; i < 10000; i++)
        sm_str_addf(&s, "%d,", i);
    assert_true(sm_str_ok(&s));
    assert_int_equal(s.n, 48890);
    assert_int_equal(strlen(s.p), s.n);
    sm_str_free(&s);
    sm_str_free(&s);
}

static void failure_sticks(void **state) {
    (void)state;
    sm_str s = SM_STR_INIT;
    sm_str_adds(&s, "head");
    sm_alloc_fail_after(0);
    sm_str_addf(&s, "%0100d", 1);
    assert_false(sm_str_ok(&s));
    sm_str_adds(&s, "x");
    assert_string_equal(sm_str_z(&s), "head");
    sm_str_clear(&s);
    sm_str_adds(&s, "x");
    assert_false(sm_str_ok(&s));
    assert_string_equal(sm_str_z(&s), "");
    sm_str_free(&s);
    assert_true(sm_str_ok(&s));
}

/* ---- UTF-8 ----------------------------------------------------------------------------------------------------- */

static void every_scalar_value_round_trips(void **state) {
    (void)state;
    for (uint32_t cp = 0; cp <= 0x10ffff; cp++) {
        if (cp == 0xd800)
            cp = 0xe000;
        char b[4];
        uint32_t back = ~0u;
        int n = sm_utf8_encode(cp, b);
        if (sm_utf8_decode(b, (size_t)n, &back) != n || back != cp || sm_utf8_valid(b, (size_t)n) != (size_t)n)
            fail_msg("U+%04X", cp);
        for (int k = 1; k < n; k++)
            if (sm_utf8_decode(b, (size_t)k, &back) != 0 || sm_utf8_complete(b, (size_t)k) != 0)
                fail_msg("U+%04X cut to %d", cp, k);
    }
}

static void ill_formed(void **state) {
    (void)state;
    static const char *const bad[] = {
        "\x80",
        "\xbf",
        "\xc0\x80",
        "\xc1\xbf",
        "\xe0\x80\x80",
        "\xe0\x9f\xbf",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xf0\x80\x80\x80",
        "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xff",
        "\xfe",
        "\xc3(",
        "\xe2\x82(",
        "\xf0\x9f\x98(",
        "\xe2(\xac",
    };
    for (size_t i = 0; i < SM_ARRAY_LEN(bad); i++) {
        uint32_t cp;
        size_t n = strlen(bad[i]);
        assert_int_equal(sm_utf8_decode(bad[i], n, &cp), 0);
        assert_int_equal(sm_utf8_valid(bad[i], n), 0);
        assert_int_equal(sm_utf8_complete(bad[i], n), n); /* can never become valid: passed on */
    }
    assert_int_equal(sm_utf8_valid("ab\xffz", 4), 2);
    assert_int_equal(sm_utf8_valid("", 0), 0);
}

static void complete_prefix(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t want;
    } rows[] = {
        {"", 0},
        {"abc", 3},
        {"ab\xc3", 2},
        {"ab\xc3\xa9", 4},
        {"a\xe2\x82", 1},
        {"a\xe2\x82\xac", 4},
        {"a\xf0\x9f\x98", 1},
        {"a\xf0\x9f", 1},
        {"a\xf0", 1},
        {"\xf0\x9f\x98\x80", 4},
        {"a\xed\xa0", 3},     /* a surrogate: never valid */
        {"a\xf0\x80", 3},     /* overlong: never valid */
        {"a\x80\x80\x80", 4}, /* no lead byte */
        {"\xc3\xa9\xa9", 3},
        {"\x80\xe2", 1},
        {"\xe2\x82\xe2\x82", 2},
    };
    for (size_t i = 0; i < SM_ARRAY_LEN(rows); i++)
        assert_int_equal(sm_utf8_complete(rows[i].text, strlen(rows[i].text)), rows[i].want);
}

static void quoting(void **state) {
    (void)state;
    assert_string_equal(sm_quote("a\"b\\", 4), "\"a\\\"b\\\\\"");
    assert_string_equal(sm_quote("\n\t\r\x01\x7f\xff", 6), "\"\\n\\t\\r\\x01\\x7f\\xff\"");
    assert_string_equal(sm_quote("\xc3\xa9\xe2\x82\xac", 5), "\"\xc3\xa9\xe2\x82\xac\"");
    assert_string_equal(sm_quote("\xe2\x80\xae", 3), "\"\\u{202e}\"");
    assert_string_equal(sm_quote("a\0b", 3), "\"a\\x00b\"");
    assert_string_equal(sm_quote(NULL, 0), "\"\"");
    char text[1000];
    memset(text, 'a', sizeof text);
    assert_int_equal(strlen(sm_quote(text, 78)), 80);
    assert_null(strstr(sm_quote(text, 78), "..."));
    const char *q = sm_quote(text, 79);
    assert_int_equal(strlen(q), 80);
    assert_string_equal(q + 76, "...\"");
    memset(text, 1, sizeof text);
    assert_true(strlen(sm_quote(text, sizeof text)) <= 80);
    for (int i = 0; i < 996; i += 4)
        memcpy(text + i, "\xf0\x9f\x98\x80", 4);
    q = sm_quote(text, 996);
    assert_int_equal(strlen(q), 76 * 4 - 4 + 5);
    assert_int_equal(sm_utf8_valid(q, strlen(q)), strlen(q));
    const char *a = sm_quote("1", 1), *b = sm_quote("2", 1), *c = sm_quote("3", 1), *d = sm_quote("4", 1);
    assert_string_equal(a, "\"1\"");
    assert_string_equal(b, "\"2\"");
    assert_string_equal(c, "\"3\"");
    assert_string_equal(d, "\"4\"");
}

/* ---- map ------------------------------------------------------------------------------------------------------- */

static void map_of_100k(void **state) {
    (void)state;
    enum { N = 100000 };
    char(*keys)[24] = calloc(N, sizeof *keys);
    sm_map *m = sm_map_new(0);
    for (int i = 0; i < N; i++) {
        bool existed = true;
        /* many keys that differ in one byte, and some that hold NULs */
        int n = snprintf(keys[i], sizeof keys[i], "%s%d", i & 1 ? "aaaaaaaaaaaa" : "", i);
        if (i % 3 == 0)
            keys[i][0] = '\0';
        (void)n;
        sm_sv key = {keys[i], 23};
        assert_true(sm_map_put(m, key, i, &existed, NULL));
        if (existed)
            assert_true(i % 3 == 0);
    }
    size_t distinct = 0;
    for (int i = 0; i < N; i++) {
        int64_t v = -1;
        assert_true(sm_map_get(m, (sm_sv){keys[i], 23}, &v));
        distinct += v == i;
        assert_memory_equal(keys[v], keys[i], 23);
    }
    assert_int_equal(sm_map_count(m), distinct);
    assert_false(sm_map_get(m, SM_SV("nowhere"), NULL));
    assert_false(sm_map_get(m, (sm_sv){NULL, 0}, NULL));
    sm_map_free(&m);
    assert_null(m);
    sm_map_free(&m);
    free(keys);
}

static void map_keeps_the_first_value(void **state) {
    (void)state;
    sm_map *m = sm_map_new(10);
    bool existed;
    int64_t old = 0;
    assert_true(sm_map_put(m, SM_SV(""), 5, &existed, &old));
    assert_false(existed);
    assert_true(sm_map_put(m, (sm_sv){NULL, 0}, 6, &existed, &old));
    assert_true(existed);
    assert_int_equal(old, 5);
    assert_int_equal(sm_map_count(m), 1);
    sm_map_free(&m);
    assert_null(sm_map_new(SIZE_MAX / 2));
}

static bool use_map(void *ctx) {
    static char keys[300][16];
    (void)ctx;
    sm_map *m = sm_map_new(3);
    bool ok = m != NULL;
    for (int i = 0; ok && i < 300; i++) {
        snprintf(keys[i], sizeof keys[i], "k%d", i);
        ok = sm_map_put(m, sm_sv_of(keys[i]), i, NULL, NULL);
        for (int k = 0; k < i + ok; k++) { /* a failed put leaves the others */
            int64_t v;
            assert_true(sm_map_get(m, sm_sv_of(keys[k]), &v) && v == k);
        }
    }
    sm_map_free(&m);
    return ok;
}

static void map_survives_failures(void **state) {
    (void)state;
    assert_true(sweep(use_map, NULL) > 8);
}

/* Every byte pair, and every character: nothing that a terminal acts on comes through. */
static void shown_text_is_harmless(void **state) {
    (void)state;
    sm_str s = SM_STR_INIT;
    for (int a = 0; a < 256; a++)
        for (int b = 0; b < 256; b++) {
            char pair[2] = {(char)a, (char)b};
            sm_str_add_shown(&s, pair, 2);
        }
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        char one[4];
        if (c < 0xd800 || c > 0xdfff)
            sm_str_add_shown(&s, one, (size_t)sm_utf8_encode(c, one));
    }
    assert_true(sm_str_ok(&s));
    assert_int_equal(sm_utf8_valid(s.p, s.n), s.n);
    for (size_t i = 0; i < s.n;) {
        uint32_t c;
        i += (size_t)sm_utf8_decode(s.p + i, s.n - i, &c);
        if ((c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7f && c < 0xa0))
            fail_msg("U+%04X came through", c);
    }
    sm_str_clear(&s);
    static const char text[] = "a\x1b[31m\xc2\x9b\x31m\x9b\r\n\t\x7f\0 \xe6\x97\xa5~";
    sm_str_add_shown(&s, text, sizeof text - 1);
    assert_string_equal(s.p, "a^[[31m<9B>1m\xef\xbf\xbd^M\n\t^?^@ \xe6\x97\xa5~");
    sm_str_free(&s);
}

static void nearest_name(void **state) {
    static const char *const names[] = {"system", "save", "stats", "show"};
    (void)state;
    assert_string_equal(sm_nearest("sytem", names, 4), "system");
    assert_string_equal(sm_nearest("stat", names, 4), "stats");
    assert_string_equal(sm_nearest("sho", names, 4), "show");
    assert_null(sm_nearest("quantize", names, 4));
    assert_null(sm_nearest("x", names, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(building),
        cmocka_unit_test(failure_sticks),
        cmocka_unit_test(every_scalar_value_round_trips),
        cmocka_unit_test(ill_formed),
        cmocka_unit_test(complete_prefix),
        cmocka_unit_test(quoting),
        cmocka_unit_test(shown_text_is_harmless),
        cmocka_unit_test(nearest_name),
        cmocka_unit_test(map_of_100k),
        cmocka_unit_test(map_keeps_the_first_value),
        cmocka_unit_test(map_survives_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
