/* SPDX-License-Identifier: MIT
 *
 * test_api_session.c: sessions of smelt.h that go back: whatever was computed and forgotten before, what follows is what
 * would have followed in a new session, bit for bit, on every shape that families have and on both backends.
 */
#include "sweep.h"

#include "tiny_open.h"

enum { CTX = 64, LEN = 40, VOCAB_MAX = 128 };

static const char *const backends[] = {"ref", "cpu"};

static smelt_sampling sampling(const smelt_model *m, double temp) {
    smelt_sampling p = {.size = sizeof p};
    smelt_sampling_default(m, &p);
    p.temp = temp;
    p.top_k = 0;
    p.top_p = 1.0;
    p.seed = 7;
    return p;
}

static smelt_session *session(smelt_model *m, const char *backend) {
    smelt_sampling p = sampling(m, 0.0);
    smelt_session_options o = {.size = sizeof o, .backend = backend, .threads = 2, .context = CTX, .sampling = &p};
    smelt_session *s = NULL;
    smelt_error e;
    if (smelt_session_new(m, &o, &s, &e) != SMELT_OK)
        fail_msg("%s", e.message);
    return s;
}

static size_t length(const smelt_session *s) {
    smelt_session_info info;
    smelt_session_get_info(s, &info);
    return (size_t)info.length;
}

static void text(const tiny_spec *z, int which, int32_t ids[LEN]) {
    for (int i = 0; i < LEN; i++)
        ids[i] = (which * 31 + i * 7 + i * i % 5) % z->vocab;
}

static size_t hold(smelt_session *s, const int32_t *ids, size_t n) {
    smelt_error e;
    size_t reused = 999;
    if (smelt_session_sync(s, ids, n, &reused, &e) != SMELT_OK)
        fail_msg("%s", e.message);
    assert_int_equal(length(s), n);
    return reused;
}

static int32_t logits(smelt_session *s, float *out) {
    const float *p;
    int32_t vocab;
    smelt_error e;
    if (smelt_session_logits(s, &p, &vocab, &e) != SMELT_OK)
        fail_msg("%s", e.message);
    memcpy(out, p, (size_t)vocab * sizeof *p);
    return vocab;
}

static void go_on(smelt_session *s, int n, int32_t *ids) {
    smelt_token t;
    smelt_error e;
    for (int i = 0; i < n; i++) {
        if (smelt_session_next(s, &t, &e) != SMELT_OK)
            fail_msg("%s", e.message);
        ids[i] = t.id;
    }
}

/* What a new session gives after ids. */
typedef struct outcome {
    float logits[VOCAB_MAX];
    int32_t next[8];
} outcome;

static outcome fresh(smelt_model *m, const char *backend, const int32_t *ids, size_t n) {
    outcome r = {0};
    smelt_session *s = session(m, backend);
    assert_int_equal(hold(s, ids, n), 0);
    logits(s, r.logits);
    go_on(s, 8, r.next);
    smelt_session_free(&s);
    return r;
}

static void assert_same(smelt_session *s, const outcome *want, const char *what) {
    outcome got = {0};
    int32_t vocab = logits(s, got.logits);
    go_on(s, 8, got.next);
    for (int32_t i = 0; i < vocab; i++)
        if (memcmp(&want->logits[i], &got.logits[i], sizeof(float)) != 0)
            fail_msg("%s: logit %d: wanted %a, found %a", what, i, (double)want->logits[i], (double)got.logits[i]);
    assert_memory_equal(want->next, got.next, sizeof got.next);
}

static void another_continuation(const tiny_spec *z, const char *backend) {
    smelt_model *m = tiny_open(z);
    int32_t a[LEN], b[LEN], made[16];
    text(z, 0, a);
    text(z, 1, b);
    memcpy(b, a, 17 * sizeof *a); /* a common beginning, past every window */
    assert_true(a[17] != b[17]);
    outcome of_a = fresh(m, backend, a, LEN), of_b = fresh(m, backend, b, LEN), of_some = fresh(m, backend, a, 9);
    smelt_session *s = session(m, backend);

    hold(s, a, LEN);
    go_on(s, 16, made); /* the session is longer than what it goes back from */
    assert_int_equal(hold(s, b, LEN), 17);
    assert_same(s, &of_b, "another end");
    assert_int_equal(hold(s, a, LEN), 17);
    assert_same(s, &of_a, "and back");
    assert_int_equal(hold(s, a, 9), 8); /* its logits are gone: the last one is computed again */
    assert_same(s, &of_some, "a beginning");

    assert_int_equal(smelt_session_rewind(s, 5, NULL), SMELT_OK);
    assert_int_equal(length(s), 5);
    assert_int_equal(smelt_session_prompt(s, b + 5, LEN - 5, NULL), SMELT_OK);
    assert_same(s, &of_b, "rewound");
    assert_int_equal(smelt_session_rewind(s, LEN, NULL), SMELT_OK); /* nothing new: its logits all the same */
    assert_same(s, &of_b, "rewound to its prompt");
    assert_int_equal(smelt_session_rewind(s, 0, NULL), SMELT_OK);
    assert_int_equal(hold(s, a, LEN), 0);
    assert_int_equal(hold(s, a, LEN), LEN); /* nothing to do */
    assert_same(s, &of_a, "from the start");
    smelt_session_free(&s);
    smelt_model_free(&m);
}

static void test_another_continuation(void **state) {
    (void)state;
    int n = 0;
    for (size_t i = 0; i < SM_ARRAY_LEN(tiny_specs); i++)
        for (size_t k = 0; k < SM_ARRAY_LEN(backends); k++, n++)
            another_continuation(&tiny_specs[i], backends[k]);
    print_message("# %d pairs of shape and backend: rewound sessions equal new ones bit for bit\n", n);
}

static void test_limits(void **state) {
    (void)state;
    smelt_model *m = tiny_open(&tiny_specs[1]);
    smelt_session *s = session(m, "cpu");
    int32_t a[LEN], many[CTX + 1] = {0};
    smelt_error e;
    size_t reused;
    text(&tiny_specs[1], 0, a);
    outcome want = fresh(m, "cpu", a, LEN);
    hold(s, a, LEN);
    assert_int_equal(smelt_session_sync(s, many, CTX + 1, &reused, &e), SMELT_RESOURCE);
    assert_non_null(strstr(e.message, "65"));
    assert_non_null(strstr(e.message, "64"));
    assert_int_equal(length(s), LEN); /* nothing was lost by asking */
    assert_int_equal(smelt_session_sync(s, many, 0, NULL, &e), SMELT_BADINPUT);
    assert_int_equal(smelt_session_rewind(s, LEN + 1, &e), SMELT_USAGE);
    assert_non_null(strstr(e.message, "40"));
    many[3] = tiny_specs[1].vocab;
    assert_int_equal(smelt_session_sync(s, many, 8, &reused, &e), SMELT_BADINPUT);
    hold(s, a, LEN);
    assert_same(s, &want, "after errors");
    hold(s, many, 2);
    go_on(s, CTX - 2, many); /* to the very end */
    smelt_token t;
    assert_int_equal(smelt_session_next(s, &t, &e), SMELT_OK);
    assert_int_equal(smelt_session_next(s, &t, &e), SMELT_RESOURCE);
    hold(s, a, LEN);
    assert_same(s, &want, "after a full context");
    smelt_session_free(&s);
    smelt_model_free(&m);
}

static void test_cancelled(void **state) {
    (void)state;
    smelt_model *m = tiny_open(&tiny_specs[0]);
    smelt_session *s = session(m, "cpu");
    int32_t a[LEN];
    smelt_token t;
    text(&tiny_specs[0], 0, a);
    outcome want = fresh(m, "cpu", a, LEN);
    hold(s, a, 10);
    smelt_cancel(true);
    assert_int_equal(smelt_session_sync(s, a, LEN, NULL, NULL), SMELT_CANCELLED);
    assert_int_equal(smelt_session_next(s, &t, NULL), SMELT_CANCELLED);
    smelt_cancel(false);
    assert_int_equal(length(s), 10);      /* what was computed */
    assert_int_equal(hold(s, a, LEN), 9); /* the tenth was about to be computed again, for its logits */
    assert_same(s, &want, "after a stop");
    smelt_session_free(&s);
    smelt_model_free(&m);
}

static void test_configure(void **state) {
    (void)state;
    smelt_model *m = tiny_open(&tiny_specs[2]);
    smelt_session *s = session(m, "cpu");
    int32_t a[LEN], greedy[8], first[8], again[8];
    smelt_sampling p = sampling(m, 3.0);
    smelt_session_options o = {.size = sizeof o, .sampling = &p, .max_tokens = 8};
    smelt_session_info info;
    smelt_token t;
    smelt_error e;
    text(&tiny_specs[2], 0, a);
    hold(s, a, LEN);
    go_on(s, 8, greedy);
    assert_int_equal(smelt_session_configure(s, &o, &e), SMELT_OK);
    smelt_session_get_info(s, &info);
    assert_int_equal(info.seed, 7);
    hold(s, a, LEN);
    go_on(s, 8, first);
    assert_memory_not_equal(greedy, first, sizeof first);
    p.temp = -1;
    assert_int_equal(smelt_session_configure(s, &o, &e), SMELT_USAGE);
    smelt_session_get_info(s, &info);
    assert_int_equal(info.seed, 7);
    p.temp = 3;
    assert_int_equal(smelt_session_configure(s, &o, &e), SMELT_OK); /* draws begin anew */
    hold(s, a, LEN);
    go_on(s, 7, again);
    assert_int_equal(smelt_session_next(s, &t, &e), SMELT_OK);
    again[7] = t.id;
    assert_memory_equal(first, again, sizeof first);
    assert_int_equal(t.finish, SMELT_LENGTH); /* max_tokens counts from sync on */
    smelt_session_free(&s);
    smelt_model_free(&m);
}

typedef struct swept {
    smelt_session *s;
    const int32_t *a, *b;
    const smelt_sampling *p;
} swept;

static bool goes_back(void *ctx) {
    swept *w = ctx;
    smelt_session_options o = {.size = sizeof o, .sampling = w->p};
    smelt_error e;
    smelt_status st = smelt_session_sync(w->s, w->a, LEN, NULL, &e);
    if (st == SMELT_OK)
        st = smelt_session_sync(w->s, w->b, LEN, NULL, &e);
    if (st == SMELT_OK)
        st = smelt_session_configure(w->s, &o, &e);
    if (st != SMELT_OK)
        assert_int_equal(st, SMELT_RESOURCE);
    return st == SMELT_OK;
}

static void test_no_memory(void **state) {
    (void)state;
    smelt_model *m = tiny_open(&tiny_specs[0]);
    int32_t a[LEN], b[LEN];
    text(&tiny_specs[0], 0, a);
    text(&tiny_specs[0], 1, b);
    outcome want = fresh(m, "cpu", a, LEN);
    smelt_sampling warm = sampling(m, 1.0), greedy = sampling(m, 0.0);
    swept w = {session(m, "cpu"), a, b, &warm};
    assert_true(sweep(goes_back, &w) > 2);
    smelt_session_options o = {.size = sizeof o, .sampling = &greedy};
    assert_int_equal(smelt_session_configure(w.s, &o, NULL), SMELT_OK);
    hold(w.s, a, LEN);
    assert_same(w.s, &want, "after failures");
    smelt_session_free(&w.s);
    smelt_model_free(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_another_continuation),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_configure),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
