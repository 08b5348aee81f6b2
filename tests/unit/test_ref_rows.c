/* SPDX-License-Identifier: MIT
 *
 * test_ref_rows.c: row-form functions on `ref`: a sequence gives the same bits alone, in chunks, token by token and among
 * others, whatever the threads and wherever its pages lie; what a step asks too much of is refused.
 */
#include "tiny_model.h"

#include "backend/null/null.h"
#include "backend/ref/ref.h"
#include "sweep.h"

enum { CTX = 24, PAGE = 4, N_PAGES = 24, N_SEQS = 3, MAX_VOCAB = 128 };

typedef float logits[CTX][MAX_VOCAB];

typedef struct seq {
    int n; /* tokens in all */
    int32_t ids[CTX];
    int32_t pages[CTX / PAGE];
    int done; /* positions in the cache */
    logits y;
} seq;

typedef struct model {
    sm_graph *g;
    sm_func *f;
    sm_exe *e;
    int vocab;
} model;

static const sm_limits limits = {.max_rows = 64,
                                 .max_out = 64,
                                 .max_ctx = CTX,
                                 .max_seqs = N_SEQS,
                                 .page_tokens = PAGE,
                                 .n_pages = N_PAGES,
                                 .n_threads = 1};

static void open_model(model *m, const tiny_spec *z, int threads) {
    sm_err err = {0};
    sm_limits lim = limits;
    lim.n_threads = threads;
    *m = (model){.vocab = z->vocab};
    if (tiny_model(z, &m->g, &err) != SM_OK)
        fail_msg("%s", err.msg);
    m->f = sm_graph_func(m->g, NULL);
    if (sm_backend_ref.compile(m->f, &lim, &m->e, &err) != SM_OK)
        fail_msg("%s", err.msg);
}

static void close_model(model *m) {
    sm_backend_ref.free(&m->e);
    sm_graph_free(&m->g);
}

/* Sequence k of a vocabulary: its length and tokens depend on k alone; its pages on where it is put. */
static void make_seq(seq *s, int k, int vocab, int first_page, int page_step) {
    memset(s, 0, sizeof *s);
    s->n = 7 + 5 * k;
    for (int i = 0; i < s->n; i++)
        s->ids[i] = (i * 37 + k * 11 + i * i) % vocab;
    for (int i = 0; i < CTX / PAGE; i++)
        s->pages[i] = (first_page + i * page_step) % N_PAGES;
}

/* One step of n[k] tokens of each sequence; all logits are wanted. */
static void step(model *m, seq *const *seqs, const int *n, int n_seqs) {
    int32_t ids[64], pos[64], out[64], row = 0;
    sm_batch_seq bs[N_SEQS];
    float y[64 * MAX_VOCAB];
    sm_err err = {0};
    int used = 0;
    for (int k = 0; k < n_seqs; k++) {
        if (n[k] == 0)
            continue;
        bs[used++] = (sm_batch_seq){.row0 = row, .n_rows = n[k], .past = seqs[k]->done, .pages = seqs[k]->pages};
        for (int i = 0; i < n[k]; i++, row++) {
            ids[row] = seqs[k]->ids[seqs[k]->done + i];
            pos[row] = seqs[k]->done + i;
            out[row] = row;
        }
    }
    sm_batch b = {.n_rows = row, .ids = ids, .pos = pos, .n_seqs = used, .seqs = bs, .n_out = row, .out = out};
    if (sm_backend_ref.run_rows(m->e, &b, y, &err) != SM_OK)
        fail_msg("%s", err.msg);
    row = 0;
    for (int k = 0; k < n_seqs; k++)
        for (int i = 0; i < n[k]; i++, row++)
            memcpy(seqs[k]->y[seqs[k]->done++], y + row * m->vocab, (size_t)m->vocab * sizeof(float));
}

static void whole(model *m, seq *s) {
    step(m, &s, &s->n, 1);
}

static void assert_same(const seq *a, const seq *b, int vocab) {
    assert_int_equal(a->done, b->done);
    for (int i = 0; i < a->n; i++)
        assert_memory_equal(a->y[i], b->y[i], (size_t)vocab * sizeof(float));
}

static void test_mixed_batches(void **state) {
    const tiny_spec *z = *state;
    static seq alone[N_SEQS], mixed[N_SEQS];
    model one, many;
    open_model(&one, z, 1);
    open_model(&many, z, 3);
    for (int k = 0; k < N_SEQS; k++) {
        make_seq(&alone[k], k, z->vocab, 0, 1); /* the same pages again: what is in them does not matter */
        whole(&one, &alone[k]);
        make_seq(&mixed[k], k, z->vocab, k, N_SEQS);
    }
    seq *all[N_SEQS] = {&mixed[0], &mixed[1], &mixed[2]};
    step(&many, all, (int[]){3, 1, 6}, N_SEQS);
    step(&many, all, (int[]){1, 4, 0}, N_SEQS);
    step(&many, all, (int[]){0, 2, 5}, N_SEQS);
    while (mixed[0].done < mixed[0].n || mixed[1].done < mixed[1].n || mixed[2].done < mixed[2].n)
        step(&many, all, (int[]){mixed[0].done < mixed[0].n, mixed[1].done < mixed[1].n, mixed[2].done < mixed[2].n},
             N_SEQS);
    for (int k = 0; k < N_SEQS; k++)
        assert_same(&alone[k], &mixed[k], z->vocab);
    close_model(&one);
    close_model(&many);
}

/* Logits of chosen rows only, and of none. */
static void test_wanted_rows(void **state) {
    const tiny_spec *z = *state;
    static seq all, some;
    static float y[2 * MAX_VOCAB];
    int32_t pos[CTX];
    model m;
    sm_err err = {0};
    open_model(&m, z, 2);
    make_seq(&all, 0, z->vocab, 0, 1);
    make_seq(&some, 0, z->vocab, 8, 1);
    whole(&m, &all);
    for (int i = 0; i < some.n; i++)
        pos[i] = i;
    sm_batch_seq bs = {.n_rows = 3, .pages = some.pages};
    sm_batch b = {.n_rows = 3, .ids = some.ids, .pos = pos, .n_seqs = 1, .seqs = &bs, .n_out = 0, .out = pos};
    assert_int_equal(sm_backend_ref.run_rows(m.e, &b, y, &err), SM_OK);
    bs = (sm_batch_seq){.n_rows = some.n - 3, .past = 3, .pages = some.pages};
    const int32_t out[2] = {1, some.n - 4};
    b = (sm_batch){
        .n_rows = some.n - 3, .ids = some.ids + 3, .pos = pos + 3, .n_seqs = 1, .seqs = &bs, .n_out = 2, .out = out};
    assert_int_equal(sm_backend_ref.run_rows(m.e, &b, y, &err), SM_OK);
    assert_memory_equal(y, all.y[4], (size_t)m.vocab * sizeof(float));
    assert_memory_equal(y + m.vocab, all.y[all.n - 1], (size_t)m.vocab * sizeof(float));
    sm_exe_info info;
    sm_backend_ref.info(m.e, &info);
    assert_int_equal(info.kv_bytes,
                     (uint64_t)z->layers * N_PAGES * PAGE * (uint64_t)(z->kv_heads * z->head_dim) * 2 * 4);
    assert_int_equal(info.n_threads, 2);
    close_model(&m);
}

static void expect_refusal(model *m, sm_batch b, sm_status want, const char *word) {
    static float y[64 * MAX_VOCAB];
    sm_err err = {0};
    assert_int_equal(sm_backend_ref.run_rows(m->e, &b, y, &err), want);
    if (strstr(err.msg, word) == NULL)
        fail_msg("'%s' is not in '%s'", word, err.msg);
}

static void test_refusals(void **state) {
    (void)state;
    model m;
    open_model(&m, &tiny_specs[0], 1);
    const int32_t ids[4] = {1, 2, 3, 9999}, pos[4] = {0, 1, 2, 3}, pages[6] = {0, 1, 2, 3, 4, 5},
                  bad_pages[6] = {0, N_PAGES};
    sm_batch_seq s = {.n_rows = 3, .pages = pages};
    const sm_batch ok = {.n_rows = 3, .ids = ids, .pos = pos, .n_seqs = 1, .seqs = &s, .n_out = 1, .out = pos};
    sm_batch b = ok;
    b.ids = ids + 1;
    expect_refusal(&m, b, SM_BADINPUT, "9999");
    b = ok;
    b.n_rows = 4;
    expect_refusal(&m, b, SM_USAGE, "3 rows of 4");
    b = ok;
    b.out = &ids[2];
    expect_refusal(&m, b, SM_USAGE, "wanted row 3");
    sm_batch_seq full = {.n_rows = 3, .past = CTX - 2, .pages = pages},
                 off = {.n_rows = 3, .past = 2, .pages = bad_pages};
    b = ok;
    b.seqs = &full;
    expect_refusal(&m, b, SM_RESOURCE, "context is full");
    b.seqs = &off;
    expect_refusal(&m, b, SM_USAGE, "page");
    b = ok;
    b.n_rows = 65;
    expect_refusal(&m, b, SM_USAGE, "limits");
    sm_err err = {0};
    float y[MAX_VOCAB];
    assert_int_equal(sm_backend_ref.run_rows(m.e, &ok, y, &err), SM_OK); /* a refusal leaves no trace */
    close_model(&m);
    sm_exe *e = NULL;
    open_model(&m, &tiny_specs[0], 1);
    assert_int_equal(sm_backend_ref.compile(m.f, NULL, &e, &err), SM_USAGE);
    assert_null(e);
    close_model(&m);
}

static bool compile_and_run(void *ctx) {
    sm_func *f = ctx;
    sm_exe *e = NULL;
    sm_limits lim = limits;
    const int32_t ids[5] = {1, 2, 3, 4, 5}, pos[5] = {0, 1, 2, 3, 4}, pages[2] = {3, 1};
    sm_batch_seq s = {.n_rows = 5, .pages = pages};
    sm_batch b = {.n_rows = 5, .ids = ids, .pos = pos, .n_seqs = 1, .seqs = &s, .n_out = 1, .out = pos + 4};
    float y[MAX_VOCAB];
    bool ok = sm_backend_ref.compile(f, &lim, &e, NULL) == SM_OK && sm_backend_ref.run_rows(e, &b, y, NULL) == SM_OK;
    sm_backend_ref.free(&e);
    return ok;
}

static void test_out_of_memory(void **state) {
    sm_graph *g = NULL;
    sm_err err = {0};
    (void)state;
    assert_int_equal(tiny_model(&tiny_specs[1], &g, &err), SM_OK);
    assert_true(sweep(compile_and_run, sm_graph_func(g, NULL)) > 20);
    sm_graph_free(&g);
}

static void test_null_gives_zeros(void **state) {
    sm_graph *g = NULL;
    sm_exe *e = NULL;
    sm_err err = {0};
    (void)state;
    assert_int_equal(tiny_model(&tiny_specs[1], &g, &err), SM_OK);
    assert_int_equal(sm_backend_null.compile(sm_graph_func(g, NULL), &limits, &e, &err), SM_OK);
    const int32_t ids[2] = {1, 2}, pos[2] = {0, 1}, pages[1] = {0};
    sm_batch_seq s = {.n_rows = 2, .pages = pages};
    sm_batch b = {.n_rows = 2, .ids = ids, .pos = pos, .n_seqs = 1, .seqs = &s, .n_out = 2, .out = pos};
    float y[2 * 97 + 1];
    memset(y, 1, sizeof y);
    assert_int_equal(sm_backend_null.run_rows(e, &b, y, &err), SM_OK);
    for (int i = 0; i < 2 * 97; i++)
        assert_true(y[i] == 0);
    assert_true(y[2 * 97] != 0);
    sm_backend_null.free(&e);
    sm_graph_free(&g);
}

int main(void) {
    enum { SPECS = SM_ARRAY_LEN(tiny_specs) };
    struct CMUnitTest tests[2 * SPECS + 3];
    static char names[2 * SPECS][40];
    int n = 0;
    for (size_t i = 0; i < SPECS; i++) {
        snprintf(names[n], sizeof names[n], "mixed batches, model %zu", i);
        tests[n] = (struct CMUnitTest){
            .name = names[n], .test_func = test_mixed_batches, .initial_state = (void *)(uintptr_t)&tiny_specs[i]};
        n++;
        snprintf(names[n], sizeof names[n], "wanted rows, model %zu", i);
        tests[n] = (struct CMUnitTest){
            .name = names[n], .test_func = test_wanted_rows, .initial_state = (void *)(uintptr_t)&tiny_specs[i]};
        n++;
    }
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_refusals);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_out_of_memory);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_null_gives_zeros);
    return _cmocka_run_group_tests("ref_rows", tests, (size_t)n, NULL, NULL);
}
