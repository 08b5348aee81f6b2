/* SPDX-License-Identifier: MIT
 *
 * test_engine_sampler.c: choices against plain definitions, distributions by counting, draws that repeat.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sampler.h"
#include "sweep.h"

enum { VOCAB = 5000 };
#define OFF .typical_p = 1.0, .samplers = sm_sampling_usual.samplers

static float logits[VOCAB];

static int set_up(void **state) {
    (void)state;
    srand(3);
    for (int i = 0; i < VOCAB; i++)
        logits[i] = 6.0f * (float)rand() / (float)RAND_MAX - 3.0f;
    logits[17] = 6.0f;
    logits[4000] = 5.5f;
    logits[123] = 5.5f;
    logits[999] = 4.0f;
    return 0;
}

static sm_sampler *sampler(sm_sampling p, int vocab) {
    sm_sampler *s = NULL;
    sm_err err = {0};
    if (sm_sampler_new(&p, vocab, NULL, &s, &err) != SM_OK)
        fail_msg("%s", err.msg);
    return s;
}

static int32_t pick_once(sm_sampling p, const int32_t *history, size_t n) {
    sm_sampler *s = sampler(p, VOCAB);
    int32_t id = sm_sampler_pick(s, logits, history, n);
    sm_sampler_free(&s);
    return id;
}

static void test_greedy(void **state) {
    (void)state;
    sm_sampling p = sm_sampling_usual;
    p.temp = 0.0;
    assert_int_equal(pick_once(p, NULL, 0), 17);
    p.repeat_penalty = 1.5;
    int32_t seen[] = {17};
    assert_int_equal(pick_once(p, seen, 1), 123); /* the lower id of two equals */
    int32_t far[100] = {17};
    assert_int_equal(pick_once(p, far, 100), 17); /* further back than 64 tokens */
    assert_int_equal(logits[17] == 6.0f, 1);
}

static void test_logprobs(void **state) {
    (void)state;
    double sum = 0.0;
    for (int i = 0; i < VOCAB; i++)
        sum += exp((double)logits[i]);
    double lse = sm_log_sum_exp(logits, VOCAB);
    assert_true(fabs(lse - log(sum)) < 1e-6);
    sm_logprob top[VOCAB];
    assert_int_equal(sm_top_logprobs(logits, VOCAB, lse, 4, top), 4);
    int32_t want[] = {17, 123, 4000, 999};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(top[i].id, want[i]);
        assert_true(fabs(top[i].logprob - (logits[want[i]] - log(sum))) < 1e-5);
    }
    /* All of them: a ranking of the whole vocabulary. */
    assert_int_equal(sm_top_logprobs(logits, VOCAB, lse, VOCAB + 5, top), VOCAB);
    double all = 0.0;
    for (int i = 0; i < VOCAB; i++) {
        assert_true(i == 0 || top[i - 1].logprob >= top[i].logprob);
        all += exp((double)top[i].logprob);
    }
    assert_true(fabs(all - 1.0) < 1e-5);
}

/* Shares of 20000 draws. */
static void count(sm_sampling p, const float *x, int vocab, double *share) {
    enum { DRAWS = 20000 };
    sm_sampler *s = sampler(p, vocab);
    for (int i = 0; i < vocab; i++)
        share[i] = 0.0;
    for (int i = 0; i < DRAWS; i++)
        share[sm_sampler_pick(s, x, NULL, 0)] += 1.0 / DRAWS;
    sm_sampler_free(&s);
}

static void test_distribution(void **state) {
    (void)state;
    const float x[6] = {0.0f, 1.0f, 2.0f, -1.0f, 0.5f, -30.0f};
    double share[6], p[6], total;
    for (int mode = 0; mode < 4; mode++) {
        sm_sampling s = {.temp = mode == 1 ? 2.0 : 1.0, .top_p = 1.0, .repeat_penalty = 1.0, OFF, .seed = 11};
        bool in[6] = {true, true, true, true, true, true};
        if (mode == 2) { /* top-k 3 */
            s.top_k = 3;
            in[0] = in[3] = in[5] = false;
        } else if (mode == 3) { /* min-p 0.3: e^-1 stays, e^-1.5 goes */
            s.min_p = 0.3;
            in[0] = in[3] = in[4] = in[5] = false;
        }
        count(s, x, 6, share);
        total = 0.0;
        for (int i = 0; i < 6; i++)
            total += p[i] = in[i] ? exp(x[i] / s.temp) : 0.0;
        for (int i = 0; i < 6; i++)
            assert_true(fabs(share[i] - p[i] / total) < 0.012);
    }
}

/* top-p over the whole vocabulary (histogram) and behind top-k (ranked list) keep the same set. */
static void test_top_p(void **state) {
    (void)state;
    double lse = sm_log_sum_exp(logits, VOCAB);
    static sm_logprob rank[VOCAB];
    static double share[VOCAB];
    sm_top_logprobs(logits, VOCAB, lse, VOCAB, rank);
    for (double p = 0.05; p < 0.3; p += 0.04) {
        int keep = 0;
        for (double sum = 0.0; sum < p; keep++)
            sum += exp((double)rank[keep].logprob);
        for (int top_k = 0; top_k <= VOCAB - 1; top_k += VOCAB - 1) {
            sm_sampling s = {.temp = 5.0, .top_p = p, .top_k = top_k, .repeat_penalty = 1.0, OFF, .seed = 2};
            count(s, logits, VOCAB, share);
            int drawn = 0;
            for (int i = 0; i < VOCAB; i++)
                drawn += share[i] > 0.0;
            assert_true(drawn <= keep && drawn >= keep - keep / 3 - 1);
            for (int i = keep; i < VOCAB; i++)
                assert_true(share[rank[i].id] == 0.0);
        }
    }
}

static void test_seeds(void **state) {
    (void)state;
    sm_sampling p = sm_sampling_usual;
    int32_t a[50], b[50];
    int differ = 0;
    p.temp = 3.0;
    for (uint64_t seed = 0; seed < 3; seed++) {
        p.seed = seed;
        sm_sampler *s = sampler(p, VOCAB), *t = sampler(p, VOCAB);
        for (int i = 0; i < 50; i++) {
            b[i] = a[i];
            a[i] = sm_sampler_pick(s, logits, NULL, 0);
            assert_int_equal(a[i], sm_sampler_pick(t, logits, NULL, 0));
        }
        differ += seed > 0 && memcmp(a, b, sizeof a) != 0;
        sm_sampler_free(&s);
        sm_sampler_free(&t);
    }
    assert_int_equal(differ, 2);
}

static void test_bad_numbers(void **state) {
    (void)state;
    sm_err err = {0};
    sm_sampler *s = NULL;
    sm_sampling bad[] = {
        {.temp = -1.0, .top_p = 1.0, .repeat_penalty = 1.0, OFF},
        {.temp = 1.0, .top_p = 0.0, .repeat_penalty = 1.0, OFF},
        {.temp = 1.0, .top_p = 1.0, .repeat_penalty = 1.0, OFF, .min_p = 2.0},
        {.temp = 1.0, .top_p = 1.0, .repeat_penalty = 0.0, OFF},
        {.temp = NAN, .top_p = 1.0, .repeat_penalty = 1.0, OFF},
    };
    for (size_t i = 0; i < SM_ARRAY_LEN(bad); i++)
        assert_int_equal(sm_sampler_new(&bad[i], 10, NULL, &s, &err), SM_USAGE);
    /* Logits that are not numbers give some token, not a crash. */
    float nan_row[8];
    for (int i = 0; i < 8; i++)
        nan_row[i] = NAN;
    for (int k = 0; k < 3; k++) {
        sm_sampling p = {
            .temp = 1.0, .top_p = k ? 0.9 : 1.0, .top_k = k == 2 ? 3 : 0, .repeat_penalty = 1.0, OFF, .min_p = 0.1};
        s = sampler(p, 8);
        int32_t id = sm_sampler_pick(s, nan_row, NULL, 0);
        assert_true(id >= 0 && id < 8);
        sm_sampler_free(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy), cmocka_unit_test(test_logprobs), cmocka_unit_test(test_distribution),
        cmocka_unit_test(test_top_p),  cmocka_unit_test(test_seeds),    cmocka_unit_test(test_bad_numbers),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
