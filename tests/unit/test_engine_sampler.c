/* SPDX-License-Identifier: MIT
 *
 * test_engine_sampler.c: choices, log-probabilities, draws that repeat, random numbers against published ones, what is
 * refused.  Distributions are in test_engine_chain.c.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sampler_int.h"
#include "small_vocab.h"
#include "sweep.h"

enum { VOCAB = 5000 };

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

static int32_t pick(sm_sampler *s, const float *x, const int32_t *history, size_t n) {
    int32_t id = -1;
    sm_err err = {0};
    if (sm_sampler_pick(s, x, history, n, &id, &err) != SM_OK)
        fail_msg("%s", err.msg);
    return id;
}

static int32_t pick_once(sm_sampling p, const int32_t *history, size_t n) {
    sm_sampler *s = sampler(p, VOCAB);
    int32_t id = pick(s, logits, history, n);
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
            a[i] = pick(s, logits, NULL, (size_t)i);
            assert_int_equal(a[i], pick(t, logits, NULL, (size_t)i));
        }
        differ += seed > 0 && memcmp(a, b, sizeof a) != 0;
        sm_sampler_free(&s);
        sm_sampler_free(&t);
    }
    assert_int_equal(differ, 2);
}

/* Kernel known-answer values of the Random123 library, 1.09. */
static void test_philox(void **state) {
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    uint32_t got[4];
    for (size_t i = 0; i < SM_ARRAY_LEN(known); i++) {
        sm_philox(known[i].counter, known[i].key, got);
        assert_memory_equal(got, known[i].want, sizeof got);
    }
}

/* What the draw does does not depend on candidates that lose: with noise on the logits, and with borders that let one
 * candidate more or less through, the same position gives the same token but for near ties. */
static void test_steady(void **state) {
    (void)state;
    enum { N = 4000, WIDTH = 200 };
    float x[WIDTH], y[WIDTH];
    sm_sampling p = sm_sampling_usual, q;
    p.seed = 5;
    q = p;
    q.top_p = 0.94;
    int moved[3] = {0};
    double bound = 0.0;
    sm_sampler *a = sampler(p, WIDTH), *b = sampler(p, WIDTH), *c = sampler(q, WIDTH);
    for (int i = 0; i < N; i++) {
        double px[WIDTH], py[WIDTH], sx = 0.0, sy = 0.0, tv = 0.0;
        for (int k = 0; k < WIDTH; k++) {
            x[k] = 8.0f * (float)rand() / (float)RAND_MAX;
            y[k] = x[k] + 2e-2f * ((float)rand() / (float)RAND_MAX - 0.5f);
        }
        int32_t id = pick(a, x, NULL, (size_t)i);
        moved[0] += pick(b, y, NULL, (size_t)i) != id;
        moved[1] += pick(c, x, NULL, (size_t)i) != id;
        memset(px, 0, sizeof px);
        memset(py, 0, sizeof py);
        for (int side = 0; side < 2; side++) {
            int32_t n;
            const sm_logprob *left = sm_sampler_candidates(side ? b : a, &n);
            for (int32_t k = 0; k < n; k++)
                *(side ? &sy : &sx) += (side ? py : px)[left[k].id] = exp(left[k].logprob);
        }
        for (int k = 0; k < WIDTH; k++)
            tv += 0.5 * fabs(px[k] / sx - py[k] / sy);
        bound += 2.0 * tv / (1.0 + tv);
    }
    print_message("# of %d draws, noise of 1e-2 on the logits moves %d (bound %.1f), top-p 0.94 for 0.95 moves %d\n", N,
                  moved[0], bound, moved[1]);
    assert_true(moved[0] < bound + 4.0 * sqrt(bound));
    assert_true(moved[1] < N / 20); /* the probability that goes is 1 % of it, and more where a token straddles */
    sm_sampler_free(&a);
    sm_sampler_free(&b);
    sm_sampler_free(&c);
}

static sm_status try_new(sm_sampling p) {
    sm_sampler *s = NULL;
    sm_err err = {0};
    sm_status st = sm_sampler_new(&p, 10, NULL, &s, &err);
    assert_true((st == SM_OK) == (s != NULL));
    assert_true((st == SM_OK) == (err.msg[0] == '\0'));
    sm_sampler_free(&s);
    return st;
}

static void test_refused(void **state) {
    (void)state;
    static const char *const empty[] = {""};
    static const sm_logit_bias outside[] = {{10, 1.0f}}, inside[] = {{9, -INFINITY}}, no_number[] = {{1, NAN}};
#define REFUSED(field, value)                                                                                          \
    do {                                                                                                               \
        sm_sampling p = sm_sampling_usual;                                                                             \
        p.field = (value);                                                                                             \
        assert_int_equal(try_new(p), SM_USAGE);                                                                        \
    } while (0)
    REFUSED(temp, -1.0);
    REFUSED(temp, NAN);
    REFUSED(temp, INFINITY);
    REFUSED(top_k, -1);
    REFUSED(top_p, 0.0);
    REFUSED(top_p, 1.5);
    REFUSED(min_p, 2.0);
    REFUSED(typical_p, 0.0);
    REFUSED(top_n_sigma, NAN);
    REFUSED(repeat_penalty, 0.0);
    REFUSED(presence_penalty, NAN);
    REFUSED(frequency_penalty, INFINITY);
    REFUSED(repeat_last_n, -2);
    REFUSED(dry_multiplier, -1.0);
    REFUSED(dry_base, 0.5);
    REFUSED(dry_allowed_length, -1);
    REFUSED(dry_penalty_last_n, -2);
    REFUSED(xtc_probability, 1.1);
    REFUSED(xtc_threshold, -0.1);
    REFUSED(mirostat, 3);
    REFUSED(mirostat_tau, -1.0);
    REFUSED(mirostat_eta, NAN);
    REFUSED(dynatemp_range, -1.0);
    REFUSED(dynatemp_exp, NAN);
    REFUSED(samplers, "top_k;nonsense");
    REFUSED(samplers, "top_k;;temperature");
    REFUSED(samplers, "top_k top_p");
    REFUSED(samplers, NULL);
    REFUSED(n_dry_breakers, 1);
    REFUSED(n_logit_bias, 1);
#undef REFUSED
    sm_sampling p = sm_sampling_usual;
    p.n_dry_breakers = p.n_logit_bias = 1;
    p.dry_breakers = empty;
    p.logit_bias = inside;
    assert_int_equal(try_new(p), SM_USAGE);
    p.n_dry_breakers = 0;
    assert_int_equal(try_new(p), SM_OK);
    p.logit_bias = outside;
    assert_int_equal(try_new(p), SM_USAGE);
    p.logit_bias = no_number;
    assert_int_equal(try_new(p), SM_USAGE);
    p = sm_sampling_usual;
    p.samplers = "";
    assert_int_equal(try_new(p), SM_OK);
    p.samplers = "top-k;temp;typical-p;";
    assert_int_equal(try_new(p), SM_OK);
}

/* Logits that are no numbers, all shut out, or infinite give some token, not a crash. */
static void test_strange_logits(void **state) {
    (void)state;
    float rows[4][8];
    for (int i = 0; i < 8; i++) {
        rows[0][i] = NAN;
        rows[1][i] = -INFINITY;
        rows[2][i] = INFINITY;
        rows[3][i] = i % 3 == 0 ? NAN : i % 3 == 1 ? -INFINITY : INFINITY;
    }
    const int32_t history[6] = {1, 2, 3, 1, 2, 3};
    int done = 0;
    for (int row = 0; row < 4; row++)
        for (int mode = 0; mode < 256; mode++) {
            sm_sampling p = sm_sampling_usual;
            p.temp = mode & 1 ? 1.0 : 0.0;
            p.top_k = mode & 2 ? 3 : 0;
            p.top_p = mode & 4 ? 0.9 : 1.0;
            p.typical_p = mode & 8 ? 0.9 : 1.0;
            p.min_p = mode & 16 ? 0.1 : 0.0;
            p.top_n_sigma = mode & 32 ? 1.0 : -1.0;
            p.xtc_probability = p.dynatemp_range = p.dry_multiplier = mode & 64 ? 1.0 : 0.0;
            p.mirostat = mode & 128 ? 1 + (mode & 1) : 0;
            sm_sampler *s = sampler(p, 8);
            int32_t id = pick(s, rows[row], history, 6);
            assert_true(id >= 0 && id < 8);
            done++;
            sm_sampler_free(&s);
        }
    print_message("# %d combinations\n", done);
}

static void test_never_end(void **state) {
    (void)state;
    small_vocab v;
    sm_tokenizer *tok;
    sm_err err = {0};
    float x[SMALL_BPE_COUNT] = {0};
    size_t n;
    sm_checkpoint *c = small_checkpoint(&v, "gpt-2");
    assert_int_equal(sm_checkpoint_index(c, &err), SM_OK);
    assert_int_equal(sm_tokenizer_new(c, &tok, &err), SM_OK);
    const int32_t *ends = sm_tokenizer_ends(tok, &n);
    assert_true(n > 0);
    for (size_t i = 0; i < n; i++)
        x[ends[i]] = 9.0f;
    x[77] = 1.0f;
    for (int never = 0; never < 2; never++) {
        sm_sampling p = sm_sampling_usual;
        sm_sampler *s;
        p.temp = 0.0;
        p.never_end = never;
        assert_int_equal(sm_sampler_new(&p, SMALL_BPE_COUNT, tok, &s, &err), SM_OK);
        assert_int_equal(pick(s, x, NULL, 0), never ? 77 : ends[0]);
        sm_sampler_free(&s);
    }
    sm_tokenizer_free(&tok);
    sm_checkpoint_free(&c);
}

static bool pick_all(void *ctx) {
    static const char *const breakers[] = {":", "*"};
    static const sm_logit_bias bias[] = {{3, 1.0f}};
    const sm_tokenizer *tok = ctx;
    const int32_t history[10] = {70, 71, 72, 70, 71, 72, 70, 71, 72, 70};
    sm_sampling p = sm_sampling_usual;
    p.dry_multiplier = 1.0;
    p.dry_breakers = breakers;
    p.n_dry_breakers = 2;
    p.logit_bias = bias;
    p.n_logit_bias = 1;
    sm_sampler *s;
    sm_err err = {0};
    int32_t id;
    sm_status st = sm_sampler_new(&p, SMALL_BPE_COUNT, tok, &s, &err);
    if (st == SM_OK)
        st = sm_sampler_pick(s, logits, history, 10, &id, &err);
    assert_true(st == SM_OK || st == SM_RESOURCE);
    sm_sampler_free(&s);
    return st == SM_OK;
}

static void test_no_memory(void **state) {
    (void)state;
    small_vocab v;
    sm_tokenizer *tok;
    sm_err err = {0};
    sm_checkpoint *c = small_checkpoint(&v, "gpt-2");
    assert_int_equal(sm_checkpoint_index(c, &err), SM_OK);
    assert_int_equal(sm_tokenizer_new(c, &tok, &err), SM_OK);
    assert_true(sweep(pick_all, tok) >= 8);
    sm_tokenizer_free(&tok);
    sm_checkpoint_free(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy),    cmocka_unit_test(test_logprobs),  cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_philox),    cmocka_unit_test(test_steady),    cmocka_unit_test(test_refused),
        cmocka_unit_test(test_never_end), cmocka_unit_test(test_no_memory), cmocka_unit_test(test_strange_logits),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
