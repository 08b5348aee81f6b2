/* SPDX-License-Identifier: MIT
 *
 * test_engine_reply.c: the text of a reply under random stop texts and random cuts into tokens, against its definition.
 */
#include "engine/reply.h"
#include "small_vocab.h"
#include "sweep.h"

static small_vocab vocab;
static sm_checkpoint *ckpt;
static sm_tokenizer *tok;

static int set_up(void **state) {
    (void)state;
    sm_err err = {0};
    ckpt = small_checkpoint(&vocab, "gpt-2");
    assert_int_equal(sm_checkpoint_index(ckpt, &err), SM_OK);
    assert_int_equal(sm_tokenizer_new(ckpt, &tok, &err), SM_OK);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    sm_tokenizer_free(&tok);
    sm_checkpoint_free(&ckpt);
    return 0;
}

static uint32_t state_now = 7;
static uint32_t below(uint32_t n) {
    state_now = state_now * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)(state_now >> 8) * n) >> 24);
}

/* Characters of one to four bytes that share bytes with each other. */
static const char *const letters[] = {
    "a", "b", "c", "\xc3\xa9", "\xc3\xa8", "\xe2\x82\xac", "\xe2\x82\xa9", "\xf0\x9f\x98\x80"};

static void random_text(char *out, int n) {
    *out = '\0';
    for (int i = 0; i < n; i++)
        strcat(out, letters[below(3 + below(6))]);
}

/* Text -> tokens: bytes, or "ab", "abc", "aa" where they stand and chance says so. */
static size_t random_tokens(const char *text, int32_t *ids) {
    size_t n = 0;
    for (const char *p = text; *p;) {
        if (strncmp(p, "abc", 3) == 0 && below(2))
            ids[n++] = SMALL_BPE_ABC, p += 3;
        else if (strncmp(p, "ab", 2) == 0 && below(2))
            ids[n++] = SMALL_BPE_AB, p += 2;
        else if (strncmp(p, "aa", 2) == 0 && below(2))
            ids[n++] = SMALL_BPE_AA, p += 2;
        else
            ids[n++] = SMALL_BYTE((unsigned char)*p++);
    }
    return n;
}

/* Length of the reply: up to the stop text that ends first, the longest of those; *end: where it ends, or -1. */
static size_t definition(const char *text, const char *const *stop, size_t n_stop, long *end) {
    size_t n = strlen(text);
    for (size_t e = 1; e <= n; e++) {
        size_t longest = 0;
        for (size_t i = 0; i < n_stop; i++) {
            size_t len = strlen(stop[i]);
            if (len <= e && memcmp(text + e - len, stop[i], len) == 0 && len > longest)
                longest = len;
        }
        if (longest) {
            *end = (long)e;
            return e - longest;
        }
    }
    *end = -1;
    return n;
}

/* The longest end of text[0..n) that begins a stop text and is not all of it. */
static size_t open_end(const char *text, size_t n, const char *const *stop, size_t n_stop) {
    for (size_t len = n; len > 0; len--)
        for (size_t i = 0; i < n_stop; i++)
            if (strlen(stop[i]) > len && memcmp(text + n - len, stop[i], len) == 0)
                return len;
    return 0;
}

static void test_any_cut(void **state) {
    (void)state;
    enum { ROUNDS = 20000 };
    int stops = 0, across = 0, held = 0;
    for (int round = 0; round < ROUNDS; round++) {
        char text[200], words[4][60];
        const char *stop[4];
        int32_t ids[200];
        size_t n_stop = below(5), bytes = 0;
        long end;
        random_text(text, (int)below(25));
        for (size_t i = 0; i < n_stop; i++) {
            random_text(words[i], 1 + (int)below(4));
            stop[i] = words[i];
        }
        size_t n = random_tokens(text, ids), want = definition(text, stop, n_stop, &end);
        sm_reply *r;
        sm_err err = {0};
        sm_str out = SM_STR_INIT;
        bool stopped = false;
        assert_int_equal(sm_reply_new(tok, stop, n_stop, &r, &err), SM_OK);
        for (size_t i = 0; i < n && !stopped; i++) {
            size_t before = bytes;
            bytes += ids[i] == SMALL_BPE_ABC ? 3 : ids[i] >= SMALL_BPE_AB ? 2 : 1;
            assert_int_equal(sm_reply_push(r, ids[i], &out, &stopped, &err), SM_OK);
            assert_true(out.n <= want && memcmp(sm_str_z(&out), text, out.n) == 0);
            assert_int_equal(sm_utf8_valid(sm_str_z(&out), out.n), out.n);
            assert_int_equal(stopped, end >= 0 && (size_t)end <= bytes);
            across += stopped && before > want;
            if (!stopped) { /* nothing is held back without need */
                size_t whole = sm_utf8_complete(text, bytes), back = open_end(text, whole, stop, n_stop);
                held += back > 0;
                assert_int_equal(out.n, whole - back);
            }
        }
        if (!stopped)
            assert_int_equal(sm_reply_finish(r, &out, &err), SM_OK);
        assert_int_equal(stopped, end >= 0);
        assert_int_equal(out.n, want);
        assert_memory_equal(sm_str_z(&out), text, want);
        stops += stopped;
        sm_str_free(&out);
        sm_reply_free(&r);
    }
    print_message("# %d texts: %d stopped, %d of them across tokens; text was held back %d times\n", (int)ROUNDS, stops,
                  across, held);
    assert_true(stops > ROUNDS / 4 && across > ROUNDS / 8 && held > ROUNDS);
}

/* Bytes that are no text become U+FFFD, never part of a character; a character cut off at the end too. */
static void test_broken_bytes(void **state) {
    (void)state;
    const char *const stop[] = {"\xef\xbf\xbd!"};
    for (int with_stop = 0; with_stop < 2; with_stop++) {
        const int32_t ids[] = {SMALL_BYTE('a'), SMALL_BYTE(0xff), SMALL_BYTE('b'), SMALL_BYTE(0xe2), SMALL_BYTE(0x82)};
        sm_reply *r;
        sm_err err = {0};
        sm_str out = SM_STR_INIT;
        bool stopped;
        assert_int_equal(sm_reply_new(tok, stop, (size_t)with_stop, &r, &err), SM_OK);
        for (size_t i = 0; i < SM_ARRAY_LEN(ids); i++) {
            assert_int_equal(sm_reply_push(r, ids[i], &out, &stopped, &err), SM_OK);
            assert_false(stopped);
        }
        assert_int_equal(sm_reply_finish(r, &out, &err), SM_OK);
        assert_string_equal(sm_str_z(&out), "a\xef\xbf\xbd"
                                            "b\xef\xbf\xbd\xef\xbf\xbd");
        sm_str_free(&out);
        sm_reply_free(&r);
    }
}

static void test_refused(void **state) {
    (void)state;
    const char *const empty[] = {"x", ""}, *const broken[] = {"ab\xc3"};
    sm_reply *r;
    sm_err err = {0};
    assert_int_equal(sm_reply_new(tok, empty, 2, &r, &err), SM_USAGE);
    assert_null(r);
    assert_non_null(strstr(err.msg, "empty"));
    assert_int_equal(sm_reply_new(tok, broken, 1, &r, &err), SM_BADINPUT);
    assert_non_null(strstr(err.msg, "offset 2"));
}

static bool make_reply(void *ctx) {
    (void)ctx;
    const char *const stop[] = {"bc", "x"};
    sm_reply *r;
    sm_err err = {0};
    sm_str out = SM_STR_INIT;
    bool stopped = false;
    sm_status st = sm_reply_new(tok, stop, 2, &r, &err);
    for (int i = 0; i < 3 && st == SM_OK; i++)
        st = sm_reply_push(r, SMALL_BYTE('a') + i, &out, &stopped, &err);
    assert_true(st == SM_OK ? stopped && out.n == 1 : st == SM_RESOURCE);
    sm_str_free(&out);
    sm_reply_free(&r);
    return st == SM_OK;
}

static void test_no_memory(void **state) {
    (void)state;
    assert_true(sweep(make_reply, NULL) >= 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_cut),
        cmocka_unit_test(test_broken_bytes),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
