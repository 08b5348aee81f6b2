/* SPDX-License-Identifier: MIT
 *
 * test_engine_draft.c: tokens guessed ahead.  A session that guesses makes the tokens, the log-probabilities and the logits of
 * one that does not, bit for bit: by lookup, by a model like itself and by one that is nothing like it, greedy and drawn,
 * with samplers that look back and that learn, on both backends; also where it is stopped, rewound and gone on with
 * between guesses.
 */
#include "sweep.h"

#include "engine/draft.h"
#include "tiny_open.h"

enum { CTX = 96, PROMPT = 24, MADE = 60, VOCAB_MAX = 128 };

/* ------------------------------------------------------------------ lookup, against its definition */
static int32_t by_definition(const int32_t *text, int n, int32_t most, int32_t *out) {
    int best = 1, at = 0;
    for (int end = 1; end < n; end++) {
        int same = 0;
        while (same < end && same < 32 && text[end - 1 - same] == text[n - 1 - same])
            same++;
        if (same >= 2 && same >= best) { /* the latest of equals */
            best = same;
            at = end;
        }
    }
    int32_t k = at > 0 ? (int32_t)SM_MIN(most, n - at) : 0;
    memcpy(out, text + at, (size_t)k * sizeof *out);
    return k;
}

static void test_lookup(void **state) {
    (void)state;
    uint32_t seed = 1;
    int found = 0;
    for (int round = 0; round < 20000; round++) {
        int32_t text[48], a[8], b[8];
        seed = seed * 1664525u + 1013904223u;
        int n = (int)(seed >> 26), words = 2 + round % 5;
        n = SM_MIN(n, 48);
        for (int i = 0; i < n; i++) {
            seed = seed * 1664525u + 1013904223u;
            text[i] = (int32_t)((seed >> 16) % (uint32_t)words);
        }
        int32_t x = sm_draft_lookup(text, (size_t)n, 8, a), y = by_definition(text, n, 8, b);
        assert_int_equal(x, y);
        assert_memory_equal(a, b, (size_t)x * sizeof *a);
        found += x > 0;
    }
    assert_true(found > 5000 && found < 20000);
}

/* ------------------------------------------------------------------ sessions */
typedef struct made {
    int32_t id[MADE];
    float logprob[MADE], logits[MADE][VOCAB_MAX];
    int n;
    uint64_t drafted, accepted;
} made;

static smelt_session *session(smelt_model *m, const char *backend, smelt_sampling *p, smelt_model *draft, int tokens) {
    smelt_session_options o = {.size = sizeof o,
                               .backend = backend,
                               .threads = 1,
                               .context = CTX,
                               .sampling = p,
                               .logprobs = 0,
                               .draft_tokens = tokens,
                               .draft = draft};
    smelt_session *s = NULL;
    smelt_error e;
    if (smelt_session_new(m, &o, &s, &e) != SMELT_OK)
        fail_msg("%s", e.message);
    return s;
}

/* Repeats itself, so that there is something to look up. */
static void prompt_of(const tiny_spec *z, int32_t ids[PROMPT]) {
    for (int i = 0; i < PROMPT; i++)
        ids[i] = (i % 7 * 11 + 3) % z->vocab;
}

static void next(smelt_session *s, made *out, bool look) {
    smelt_token t;
    smelt_error e;
    const float *x;
    int32_t vocab;
    if (look) {
        assert_int_equal(smelt_session_logits(s, &x, &vocab, &e), SMELT_OK);
        memcpy(out->logits[out->n], x, (size_t)vocab * sizeof *x);
    }
    if (smelt_session_next(s, &t, &e) != SMELT_OK)
        fail_msg("%s", e.message);
    out->id[out->n] = t.id;
    out->logprob[out->n++] = t.logprob;
}

/* A reply; at its middle the session goes back some tokens and makes them again. */
static void reply(smelt_session *s, const tiny_spec *z, made *out) {
    int32_t ids[PROMPT];
    smelt_error e;
    smelt_session_info info;
    size_t reused;
    memset(out, 0, sizeof *out);
    prompt_of(z, ids);
    assert_int_equal(smelt_session_sync(s, ids, PROMPT, &reused, &e), SMELT_OK);
    for (int i = 0; i < MADE / 2; i++)
        next(s, out, i % 3 != 1);
    int32_t more[PROMPT + MADE / 2 - 5];
    memcpy(more, ids, sizeof ids);
    memcpy(more + PROMPT, out->id, sizeof more - sizeof ids);
    assert_int_equal(smelt_session_sync(s, more, SM_ARRAY_LEN(more), &reused, &e), SMELT_OK);
    for (int i = MADE / 2; i < MADE - 4; i++)
        next(s, out, i % 3 != 1);
    int32_t two[2] = {1, 2};
    assert_int_equal(smelt_session_prompt(s, two, 2, &e), SMELT_OK);
    while (out->n < MADE)
        next(s, out, true);
    smelt_session_get_info(s, &info);
    out->drafted = info.drafted;
    out->accepted = info.accepted;
}

static void compare(const made *a, const made *b, const char *what) {
    for (int i = 0; i < MADE; i++)
        if (a->id[i] != b->id[i] || a->logprob[i] != b->logprob[i] ||
            memcmp(a->logits[i], b->logits[i], sizeof a->logits[i]) != 0)
            fail_msg("%s: token %d differs: %d and %d, log-probabilities %.9g and %.9g", what, i, a->id[i], b->id[i],
                     (double)a->logprob[i], (double)b->logprob[i]);
}

static const struct {
    const char *name;
    double temp, repeat;
    int mirostat;
} samplings[] = {{"greedy", 0, 1, 0}, {"drawn", 0.8, 1, 0}, {"penalties", 0.7, 1.3, 0}, {"mirostat", 0.9, 1, 2}};

static smelt_sampling sampling_of(const smelt_model *m, size_t k) {
    smelt_sampling p = {.size = sizeof p};
    smelt_sampling_default(m, &p);
    p.temp = samplings[k].temp;
    p.top_p = 1;
    p.top_k = 0;
    p.min_p = 0;
    p.repeat_penalty = samplings[k].repeat;
    p.mirostat = samplings[k].mirostat;
    p.seed = 11;
    return p;
}

static void test_same_reply(void **state) {
    (void)state;
    static const char *const backends[] = {"ref", "cpu"};
    made *plain = sm_alloc(sizeof *plain), *got = sm_alloc(sizeof *got);
    uint64_t accepted = 0, drafted = 0, own = 0, own_held = 0;
    for (int shape = 0; shape < (int)SM_ARRAY_LEN(tiny_specs); shape++) {
        const tiny_spec *z = &tiny_specs[shape];
        tiny_spec other = *z;
        other.seed += 1;
        if (z->vocab > VOCAB_MAX)
            continue;
        smelt_model *m = tiny_open(z), *twin = tiny_open(z), *stranger = tiny_open(&other);
        smelt_model *drafts[] = {NULL, twin, stranger};
        for (size_t b = 0; b < SM_ARRAY_LEN(backends); b++)
            for (size_t k = 0; k < SM_ARRAY_LEN(samplings); k++) {
                smelt_sampling p = sampling_of(m, k);
                smelt_session *s = session(m, backends[b], &p, NULL, 0);
                reply(s, z, plain);
                assert_int_equal(plain->drafted, 0);
                smelt_session_free(&s);
                for (size_t d = 0; d < SM_ARRAY_LEN(drafts); d++)
                    for (int most = 1; most <= 9; most += 4) {
                        char what[128];
                        snprintf(what, sizeof what, "shape %d, %s, %s, %d guesses by %s", shape, backends[b],
                                 samplings[k].name, most,
                                 d == 0   ? "lookup"
                                 : d == 1 ? "a twin"
                                          : "a stranger");
                        s = session(m, backends[b], &p, drafts[d], most);
                        reply(s, z, got);
                        smelt_session_free(&s);
                        compare(plain, got, what);
                        assert_true(got->accepted <= got->drafted);
                        drafted += got->drafted;
                        accepted += got->accepted;
                        if (d == 1 && !samplings[k].mirostat) { /* guesses what it will choose */
                            own += got->drafted;
                            own_held += got->accepted;
                        }
                    }
            }
        smelt_model_free(&m);
        smelt_model_free(&twin);
        smelt_model_free(&stranger);
    }
    print_message("# %d of %d guesses held, of a twin's %d of %d\n", (int)accepted, (int)drafted, (int)own_held,
                  (int)own);
    assert_true(own_held > own * 8 / 10 && accepted < drafted && accepted > drafted / 10);
    sm_free(plain);
    sm_free(got);
}

static void test_other_vocabulary(void **state) {
    (void)state;
    tiny_spec small = tiny_specs[0];
    small.vocab -= 8;
    smelt_model *m = tiny_open(&tiny_specs[0]), *d = tiny_open(&small);
    smelt_sampling p = sampling_of(m, 0);
    smelt_session_options o = {.size = sizeof o, .context = CTX, .sampling = &p, .draft_tokens = 4, .draft = d};
    smelt_session *s;
    smelt_error e;
    assert_int_equal(smelt_session_new(m, &o, &s, &e), SMELT_UNSUPPORTED);
    assert_null(s);
    assert_non_null(strstr(e.message, "vocabulary"));
    smelt_model_free(&m);
    smelt_model_free(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lookup),
        cmocka_unit_test(test_same_reply),
        cmocka_unit_test(test_other_vocabulary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
