/* SPDX-License-Identifier: MIT
 *
 * test_engine_steps.c: what a sequence computes does not depend on what it shares a step with, on how its prompt is cut
 * into steps, or on whose pages hold its beginning: bit for bit, on `ref`.
 */
#include "tiny_model.h"

#include "engine/engine.h"
#include "sweep.h"

enum { CTX = 200, VOCAB = 40, SEQS = 3, LEN = 150 };

static sm_graph *graph;
static int32_t text[SEQS][LEN];

static sm_func *model(void) {
    return sm_graph_func(graph, NULL);
}

static int set_up(void **state) {
    static const tiny_spec z = {.layers = 2,
                                .d = 32,
                                .heads = 4,
                                .kv_heads = 2,
                                .head_dim = 8,
                                .ff = 48,
                                .vocab = VOCAB,
                                .window = 70,
                                .qk_norm = true,
                                .seed = 5};
    sm_err err = {0};
    uint64_t s = 99;
    (void)state;
    if (tiny_model(&z, &graph, &err) != SM_OK)
        fail_msg("%s", err.msg);
    for (int q = 0; q < SEQS; q++)
        for (int i = 0; i < LEN; i++)
            text[q][i] = (int32_t)((tiny_rand(&s) + 1) * 0.499f * VOCAB);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    sm_graph_free(&graph);
    return 0;
}

static sm_engine *engine(int max_rows, int max_out) {
    sm_engine_opts o = {
        .backend = "ref", .ctx = CTX, .max_seqs = SEQS, .max_rows = max_rows, .max_out = max_out, .n_threads = 2};
    sm_engine *e = NULL;
    sm_err err = {0};
    if (sm_engine_new(model(), &o, &e, &err) != SM_OK)
        fail_msg("%s", err.msg);
    return e;
}

static sm_seq *sequence(sm_engine *e) {
    sm_seq *s = NULL;
    assert_int_equal(sm_seq_new(e, &s, NULL), SM_OK);
    return s;
}

static void step(sm_engine *e, sm_item *items, int n) {
    sm_err err = {0};
    if (sm_engine_step(e, items, n, &err) != SM_OK)
        fail_msg("%s", err.msg);
}

static sm_status keep_row(void *ctx, int32_t pos, const float *logits, sm_err *err) {
    (void)err;
    memcpy((float *)ctx + (size_t)pos * VOCAB, logits, VOCAB * sizeof *logits);
    return SM_OK;
}

/* Logits [n][VOCAB] of a sequence alone, in steps of at most max_rows. */
static void alone(const int32_t *ids, int n, int max_rows, float *out) {
    sm_engine *e = engine(max_rows, max_rows);
    sm_seq *s = sequence(e);
    assert_int_equal(sm_engine_feed(e, s, ids, n, SM_WANT_ALL, keep_row, out, NULL), SM_OK);
    assert_int_equal(sm_seq_len(s), n);
    sm_seq_free(&s);
    sm_engine_free(&e);
}

static void assert_rows(const float *want, const float *got, int n) {
    for (int i = 0; i < n * VOCAB; i++)
        if (memcmp(&want[i], &got[i], sizeof *want) != 0)
            fail_msg("row %d, token %d: wanted %a, found %a", i / VOCAB, i % VOCAB, (double)want[i], (double)got[i]);
}

static float want[SEQS][LEN * VOCAB], got[SEQS][LEN * VOCAB];

static void test_mixed_equals_alone(void **state) {
    (void)state;
    for (int q = 0; q < SEQS; q++)
        alone(text[q], LEN, LEN, want[q]);
    sm_engine *e = engine(64, 64);
    sm_seq *s[SEQS];
    int at[SEQS] = {0};
    uint64_t rng = 7;
    for (int q = 0; q < SEQS; q++)
        s[q] = sequence(e);
    /* Ragged steps: prompts of any length beside single tokens, sequences joining and leaving. */
    for (int left = SEQS; left > 0;) {
        sm_item items[SEQS];
        int who[SEQS], n = 0, room = 64;
        for (int k = 0; k < SEQS; k++) {
            int q = (k + (int)((tiny_rand(&rng) + 1) * 1.4f)) % SEQS, dup = 0;
            int len = tiny_rand(&rng) > 0.2f ? 1 : 1 + (int)((tiny_rand(&rng) + 1) * 20);
            len = SM_MIN(SM_MIN(len, LEN - at[q]), room);
            for (int j = 0; j < n; j++)
                dup |= who[j] == q;
            if (len == 0 || dup)
                continue;
            who[n] = q;
            items[n++] = (sm_item){s[q], text[q] + at[q], len, SM_WANT_ALL, -1};
            room -= len;
        }
        if (n == 0)
            continue;
        step(e, items, n);
        for (int k = 0; k < n; k++) {
            for (int i = 0; i < items[k].n; i++)
                memcpy(got[who[k]] + (size_t)(at[who[k]] + i) * VOCAB, sm_engine_logits(e, items[k].out + i),
                       VOCAB * sizeof(float));
            at[who[k]] += items[k].n;
            left -= at[who[k]] == LEN;
        }
    }
    for (int q = 0; q < SEQS; q++) {
        assert_rows(want[q], got[q], LEN);
        sm_seq_free(&s[q]);
    }
    sm_engine_free(&e);
}

static void test_chunks_do_not_matter(void **state) {
    (void)state;
    alone(text[0], LEN, LEN, want[0]);
    for (int rows = 3; rows < 70; rows = rows * 2 + 1) {
        alone(text[0], LEN, rows, got[0]);
        assert_rows(want[0], got[0], LEN);
    }
}

static void test_only_wanted_rows(void **state) {
    (void)state;
    alone(text[0], LEN, LEN, want[0]);
    sm_engine *e = engine(64, 0);
    sm_seq *s = sequence(e);
    assert_int_equal(sm_engine_feed(e, s, text[0], LEN - 1, SM_WANT_NONE, NULL, NULL, NULL), SM_OK);
    assert_int_equal(sm_engine_feed(e, s, text[0] + LEN - 1, 1, SM_WANT_LAST, keep_row, got[0], NULL), SM_OK);
    assert_rows(want[0] + (LEN - 1) * VOCAB, got[0] + (LEN - 1) * VOCAB, 1);
    sm_seq_free(&s);
    sm_engine_free(&e);
}

static void test_shared_beginning(void **state) {
    (void)state;
    int32_t shared = 0, other[LEN];
    memcpy(other, text[0], sizeof other);
    memcpy(other + 130, text[1], 20 * sizeof *other);
    alone(other, LEN, LEN, want[0]);
    sm_engine *e = engine(256, 256);
    sm_seq *a = sequence(e), *b = sequence(e);
    int pages = sm_engine_free_pages(e);
    assert_int_equal(sm_engine_feed(e, a, text[0], LEN, SM_WANT_NONE, NULL, NULL, NULL), SM_OK);
    int used = pages - sm_engine_free_pages(e);
    assert_int_equal(sm_seq_share(b, a, 130, &shared, NULL), SM_OK);
    assert_int_equal(shared, 128);
    assert_int_equal(pages - sm_engine_free_pages(e), used);
    memcpy(got[0], want[0], (size_t)shared * VOCAB * sizeof(float));
    assert_int_equal(sm_engine_feed(e, b, other + shared, LEN - shared, SM_WANT_ALL, keep_row, got[0], NULL), SM_OK);
    assert_rows(want[0], got[0], LEN);
    /* Cutting a into a shared page gives that page up; b still stands. */
    assert_int_equal(sm_seq_truncate(a, 100), 64);
    assert_int_equal(sm_engine_feed(e, a, text[2] + 64, 60, SM_WANT_NONE, NULL, NULL, NULL), SM_OK);
    assert_int_equal(sm_seq_truncate(b, 149), 149);
    assert_int_equal(sm_engine_feed(e, b, other + 149, 1, SM_WANT_ALL, keep_row, got[0], NULL), SM_OK);
    assert_rows(want[0], got[0], LEN);
    sm_seq_free(&a);
    sm_seq_free(&b);
    assert_int_equal(sm_engine_free_pages(e), pages);
    sm_engine_free(&e);
}

static void test_limits_are_named(void **state) {
    (void)state;
    sm_err err = {0};
    sm_engine *e = engine(16, 1);
    sm_seq *s = sequence(e);
    int32_t long_text[CTX + 1] = {0}, bad = VOCAB;
    assert_int_equal(sm_engine_feed(e, s, long_text, CTX + 1, SM_WANT_NONE, NULL, NULL, &err), SM_RESOURCE);
    assert_non_null(strstr(err.msg, "201"));
    assert_non_null(strstr(err.msg, "200"));
    assert_int_equal(sm_seq_len(s), 0);
    assert_int_equal(sm_engine_feed(e, s, long_text, CTX, SM_WANT_NONE, NULL, NULL, &err), SM_OK);
    assert_int_equal(sm_engine_feed(e, s, long_text, 1, SM_WANT_NONE, NULL, NULL, &err), SM_RESOURCE);
    assert_int_equal(sm_seq_truncate(s, 10), 10);
    assert_int_equal(sm_engine_feed(e, s, &bad, 1, SM_WANT_NONE, NULL, NULL, &err), SM_BADINPUT);
    assert_non_null(strstr(err.msg, "0..39"));
    sm_item twice[2] = {{s, long_text, 1, SM_WANT_LAST, 0}, {s, long_text, 1, SM_WANT_NONE, 0}};
    assert_int_equal(sm_engine_step(e, twice, 2, &err), SM_USAGE);
    sm_item wide = {s, long_text, 17, SM_WANT_NONE, 0};
    assert_int_equal(sm_engine_step(e, &wide, 1, &err), SM_USAGE);
    assert_int_equal(sm_seq_len(s), 10);
    sm_seq_free(&s);
    sm_engine_free(&e);
}

static void test_full_cache(void **state) {
    (void)state;
    sm_err err = {0};
    sm_engine_opts o = {.backend = "ref", .ctx = CTX, .max_seqs = 2, .kv_tokens = 128, .n_threads = 1};
    sm_engine *e = NULL;
    assert_int_equal(sm_engine_new(model(), &o, &e, &err), SM_OK);
    sm_seq *a = sequence(e), *b = sequence(e);
    assert_int_equal(sm_engine_feed(e, a, text[0], 100, SM_WANT_NONE, NULL, NULL, &err), SM_OK);
    assert_int_equal(sm_engine_feed(e, b, text[1], 1, SM_WANT_NONE, NULL, NULL, &err), SM_RESOURCE);
    assert_int_equal(sm_seq_truncate(a, 64), 64);
    assert_int_equal(sm_engine_feed(e, b, text[1], 1, SM_WANT_NONE, NULL, NULL, &err), SM_OK);
    sm_seq_free(&a);
    sm_seq_free(&b);
    sm_engine_free(&e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mixed_equals_alone), cmocka_unit_test(test_chunks_do_not_matter),
        cmocka_unit_test(test_only_wanted_rows),   cmocka_unit_test(test_shared_beginning),
        cmocka_unit_test(test_limits_are_named),   cmocka_unit_test(test_full_cache),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
