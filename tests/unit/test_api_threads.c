/* SPDX-License-Identifier: MIT
 *
 * test_api_threads.c: sessions in several threads at once, on one model and on two, on both backends: each gives, bit for
 * bit, what it gives alone.  Under the thread sanitizer (make tsan) this also says that nothing is shared unguarded.
 */
#include "sweep.h"

#include <pthread.h>

#include "api/api_int.h"
#include "tiny_model.h"

enum { CTX = 64, LEN = 24, MADE = 12, THREADS = 3, ROUNDS = 3, VOCAB_MAX = 128 };

static smelt_model *model_of(const tiny_spec *z) {
    sm_err err = {0};
    smelt_model *m = sm_alloc(sizeof *m);
    m->l = sm_alloc(sizeof *m->l);
    m->path = sm_alloc(8);
    memcpy(m->path, "tiny", 5);
    if (tiny_model(z, &m->l->graph, &err) != SM_OK)
        fail_msg("%s", err.msg);
    m->l->func = sm_graph_func(m->l->graph, NULL);
    return m;
}

typedef struct job {
    smelt_model *m;
    const char *backend;
    int which, vocab;
    bool ok;
    smelt_error err;
    int32_t made[ROUNDS][MADE];
    float logits[ROUNDS][VOCAB_MAX];
} job;

/* New sessions one after another: prompt, tokens by chance from a seed, the last logits. */
static void *run(void *arg) {
    job *j = arg;
    j->ok = false;
    for (int r = 0; r < ROUNDS; r++) {
        smelt_sampling p = {.size = sizeof p};
        smelt_sampling_default(j->m, &p);
        p.temp = 1.3;
        p.top_k = 0;
        p.top_p = 1.0;
        p.seed = (uint64_t)(100 + j->which);
        smelt_session_options o = {
            .size = sizeof o, .backend = j->backend, .threads = 1 + j->which % 2, .context = CTX, .sampling = &p};
        smelt_session *s = NULL;
        smelt_token t;
        int32_t ids[LEN], vocab;
        const float *logits;
        for (int i = 0; i < LEN; i++)
            ids[i] = (j->which * 31 + r * 5 + i * 7 + i * i % 5) % j->vocab;
        if (smelt_session_new(j->m, &o, &s, &j->err) != SMELT_OK)
            return NULL;
        smelt_status st = smelt_session_prompt(s, ids, LEN, &j->err);
        for (int i = 0; i < MADE && st == SMELT_OK; i++) {
            st = smelt_session_next(s, &t, &j->err);
            j->made[r][i] = t.id;
        }
        if (st == SMELT_OK)
            st = smelt_session_logits(s, &logits, &vocab, &j->err);
        if (st == SMELT_OK)
            memcpy(j->logits[r], logits, (size_t)vocab * sizeof *logits);
        smelt_session_free(&s);
        if (st != SMELT_OK)
            return NULL;
    }
    j->ok = true;
    return NULL;
}

static void together(const char *backend, const tiny_spec *a, const tiny_spec *b) {
    smelt_model *ma = model_of(a), *mb = b ? model_of(b) : NULL;
    static job alone[THREADS], many[THREADS];
    pthread_t thread[THREADS];
    memset(alone, 0, sizeof alone);
    memset(many, 0, sizeof many);
    for (int i = 0; i < THREADS; i++) {
        alone[i] = (job){.m = mb && i % 2 ? mb : ma, .backend = backend, .which = i};
        alone[i].vocab = mb && i % 2 ? b->vocab : a->vocab;
        many[i] = alone[i];
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, run, &many[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < THREADS; i++) {
        run(&alone[i]);
        if (!alone[i].ok || !many[i].ok)
            fail_msg("%s", alone[i].ok ? many[i].err.message : alone[i].err.message);
        assert_memory_equal(alone[i].made, many[i].made, sizeof many[i].made);
        assert_memory_equal(alone[i].logits, many[i].logits, sizeof many[i].logits);
    }
    assert_memory_not_equal(many[0].made, many[1].made, sizeof many[0].made);
    smelt_model_free(&ma);
    smelt_model_free(&mb);
}

static const tiny_spec dense = {
    .layers = 2, .d = 64, .heads = 4, .kv_heads = 2, .head_dim = 16, .ff = 96, .vocab = 96, .seed = 5};
static const tiny_spec coded = {.layers = 3,
                                .d = 64,
                                .heads = 2,
                                .kv_heads = 1,
                                .head_dim = 32,
                                .ff = 128,
                                .vocab = 64,
                                .window = 16,
                                .qk_norm = true,
                                .post_norm = true,
                                .enc = SM_ENC_Q4_0,
                                .seed = 9};

static void one_model_ref(void **state) {
    (void)state;
    together("ref", &dense, NULL);
}

static void one_model_cpu(void **state) {
    (void)state;
    together("cpu", &coded, NULL);
}

static void two_models_ref(void **state) {
    (void)state;
    together("ref", &coded, &dense);
}

static void two_models_cpu(void **state) {
    (void)state;
    together("cpu", &dense, &coded);
}

/* Errors belong to the call, not to the process. */
static void *fail_often(void *arg) {
    const char *name = arg;
    for (int i = 0; i < 50; i++) {
        smelt_model *m = NULL;
        smelt_error e;
        if (smelt_model_open(name, NULL, &m, &e) != SMELT_BADINPUT || strstr(e.message, name) == NULL)
            return arg;
    }
    return NULL;
}

static void errors_apart(void **state) {
    (void)state;
    pthread_t a, b;
    void *bad_a, *bad_b;
    assert_int_equal(pthread_create(&a, NULL, fail_often, "no-such-file-a.gguf"), 0);
    assert_int_equal(pthread_create(&b, NULL, fail_often, "no-such-file-b.gguf"), 0);
    pthread_join(a, &bad_a);
    pthread_join(b, &bad_b);
    assert_null(bad_a);
    assert_null(bad_b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_model_ref),  cmocka_unit_test(one_model_cpu), cmocka_unit_test(two_models_ref),
        cmocka_unit_test(two_models_cpu), cmocka_unit_test(errors_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
