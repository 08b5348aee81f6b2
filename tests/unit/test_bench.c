/* SPDX-License-Identifier: MIT
 *
 * test_bench.c: the parts of a bench that need no clock: lists, statistics, names; runs with times give the same logits and
 * times in order; what a chunk of a prompt reads under a window; past runs, out of memory, in a file of their own.
 */
#include "sweep.h"
#include "tiny_model.h"

#include <math.h>

#include "backend/cpu/cpu.h"
#include "engine/engine.h"
#include "job/bench_int.h"

static void lists(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int n; /* -1: refused */
        int32_t v[4];
    } cases[] = {
        {"7", 1, {7}},
        {"1,2,300", 3, {1, 2, 300}},
        {"5,5", 2, {5, 5}},
        {"1000", 1, {1000}},
        {"", -1, {0}},
        {",", -1, {0}},
        {"1,", -1, {0}},
        {"1,,2", -1, {0}},
        {" 1", -1, {0}},
        {"1 ", -1, {0}},
        {"+1", -1, {0}},
        {"-1", -1, {0}},
        {"0", -1, {0}},
        {"1001", -1, {0}},
        {"1x", -1, {0}},
        {"0x4", -1, {0}},
        {"99999999999999999999", -1, {0}},
    };
    for (size_t i = 0; i < SM_ARRAY_LEN(cases); i++) {
        bench_list l;
        sm_err err = {0};
        sm_status st = bench_list_parse(cases[i].text, "n-gen", 1, 1000, &l, &err);
        if (cases[i].n < 0) {
            assert_int_equal(st, SM_USAGE);
            assert_non_null(strstr(err.msg, "--n-gen"));
            continue;
        }
        assert_int_equal(st, SM_OK);
        assert_int_equal(l.n, cases[i].n);
        assert_memory_equal(l.v, cases[i].v, (size_t)l.n * sizeof *l.v);
    }
}

static void statistics(void **state) {
    (void)state;
    bench_stats s;
    bench_stats_of((double[]){2, 4, 4, 4, 5, 5, 7, 9}, 8, &s);
    assert_true(s.mean == 5 && s.median == 4.5 && s.best == 9 && fabs(s.stddev - sqrt(32.0 / 7)) < 1e-12);
    bench_stats_of((double[]){9, 1, 2}, 3, &s);
    assert_true(s.mean == 4 && s.median == 2 && s.best == 9 && fabs(s.stddev - sqrt(19.0)) < 1e-12);
    bench_stats_of((double[]){3}, 1, &s);
    assert_true(s.mean == 3 && s.median == 3 && s.best == 3 && s.stddev == 0);
    bench_stats_of(NULL, 0, &s);
    assert_true(s.mean == 0 && s.best == 0);
}

static void names(void **state) {
    (void)state;
    char name[BENCH_NAME];
    bench_test_name(&(bench_row){.kind = BENCH_PROMPT, .tokens = 512, .seqs = 1}, name);
    assert_string_equal(name, "pp512");
    bench_test_name(&(bench_row){.kind = BENCH_GEN, .tokens = 64, .depth = 8192, .seqs = 1}, name);
    assert_string_equal(name, "tg64@d8192");
    bench_test_name(&(bench_row){.kind = BENCH_GEN, .tokens = 1 << 24, .depth = 1 << 24, .seqs = 1024}, name);
    assert_string_equal(name, "tg16777216@d16777216@b1024");
}

/* ------------------------------------------------------------------ times */
static sm_func *new_model(const tiny_spec *z, sm_graph **g) {
    sm_err err = {0};
    if (tiny_model(z, g, &err) != SM_OK)
        fail_msg("%s", err.msg);
    return (*g)->funcs[0];
}

static sm_engine *new_engine(sm_func *f, const char *backend, int threads) {
    sm_engine_opts eo = {.backend = backend, .ctx = 64, .n_threads = threads};
    sm_engine *e;
    sm_err err = {0};
    if (sm_engine_new(f, &eo, &e, &err) != SM_OK)
        fail_msg("%s", err.msg);
    return e;
}

static void feed(sm_engine *e, sm_seq *s, int32_t n, sm_want want) {
    static const int32_t ids[] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3};
    sm_item it = {s, ids, n, want, -1};
    sm_err err = {0};
    if (sm_engine_step(e, &it, 1, &err) != SM_OK)
        fail_msg("%s", err.msg);
}

static void timed_run_is_the_same_run(void **state) {
    (void)state;
    tiny_spec z = {.layers = 3,
                   .d = 64,
                   .heads = 4,
                   .kv_heads = 2,
                   .head_dim = 32,
                   .ff = 96,
                   .vocab = 80,
                   .window = 4,
                   .enc = SM_ENC_Q8_0,
                   .seed = 5};
    sm_graph *g;
    sm_func *f = new_model(&z, &g);
    sm_engine *plain = new_engine(f, "cpu", 2), *timed = new_engine(f, "cpu", 2);
    sm_seq *a, *b;
    sm_step_times t = {0};
    sm_exe_info info;
    sm_err err = {0};
    sm_engine_info(timed, &info);
    assert_true(info.step_bytes == info.weight_bytes && info.coded_bytes == info.step_bytes);
    assert_true(info.head_bytes > 0 && info.head_bytes < info.step_bytes);
    assert_int_equal(sm_seq_new(plain, &a, &err), SM_OK);
    assert_int_equal(sm_seq_new(timed, &b, &err), SM_OK);
    assert_int_equal(sm_engine_time(timed, &t, &err), SM_OK);
    double read[2];
    for (int turn = 0; turn < 2; turn++) { /* without logits, then with */
        feed(plain, a, 10, turn ? SM_WANT_LAST : SM_WANT_NONE);
        feed(timed, b, 10, turn ? SM_WANT_LAST : SM_WANT_NONE);
        assert_true(t.n_ops > 20 && t.n_threads == 2 && t.begun <= t.done);
        int attention = 0;
        read[turn] = 0;
        for (int i = 0; i < t.n_ops; i++) {
            assert_non_null(t.ops[i].kind);
            read[turn] += t.bytes[i];
            if (strcmp(t.ops[i].kind, "attention") == 0) {
                /* q, the result, and the positions that the ten rows see: all, or of a window of 4 thirteen at most */
                double seen = attention % 2 == 0 ? SM_MIN(10.0 + 10 * turn, 13.0) : 10.0 + 10 * turn;
                double least = seen * 2 * 64 * 2 + 2 * 10 * 4 * 32 * 4;
                assert_true(t.bytes[i] >= least && t.bytes[i] < least + 2 * 10 * 128);
                attention++;
            }
            for (int k = 0; k < 2; k++) {
                int64_t from = t.start[2 * i + k], to = t.end[2 * i + k];
                assert_true(from <= to && from >= t.begun && to <= t.done);
                assert_true(i == 0 || from >= t.end[2 * (i - 1) + k]);
            }
        }
        assert_int_equal(attention, 3);
    }
    assert_true(read[1] - read[0] > (double)info.head_bytes && read[0] > (double)(info.step_bytes - info.head_bytes));
    assert_memory_equal(sm_engine_logits(plain, 0), sm_engine_logits(timed, 0), 80 * sizeof(float));
    assert_int_equal(sm_engine_time(timed, NULL, &err), SM_OK);
    int64_t done = t.done;
    feed(timed, b, 1, SM_WANT_LAST);
    assert_true(t.done == done); /* nobody asked */
    sm_step_times_free(&t);
    sm_seq_free(&a);
    sm_seq_free(&b);
    sm_engine_free(&plain);
    sm_engine_free(&timed);
    sm_engine *ref = new_engine(f, "ref", 1);
    assert_int_equal(sm_engine_time(ref, &t, &err), SM_UNSUPPORTED);
    sm_engine_free(&ref);
    sm_graph_free(&g);
}

/* ------------------------------------------------------------------ cost */
static void window_of_a_chunk(void **state) {
    (void)state;
    tiny_spec z = {.layers = 1,
                   .d = 64,
                   .heads = 4,
                   .kv_heads = 2,
                   .head_dim = 32,
                   .ff = 96,
                   .vocab = 80,
                   .window = 16,
                   .enc = SM_ENC_Q8_0,
                   .seed = 5};
    sm_graph *g;
    sm_func *f = new_model(&z, &g);
    int64_t sym[16];
    int n = sm_graph_n_symbols(g);
    assert_true(n <= 16);
    static const struct {
        int64_t rows, len;
        double seen;
    } cases[] = {{1, 8, 8}, {1, 16, 16}, {1, 100, 16}, {10, 10, 10}, {10, 100, 25}, {40, 50, 50}, {40, 100, 55}};
    for (size_t i = 0; i < SM_ARRAY_LEN(cases); i++) {
        sm_cost c;
        for (int k = 0; k < n; k++)
            sym[k] = cases[i].rows;
        sm_func_cost(f, sym, cases[i].len, &c);
        assert_true(c.kv_bytes == (cases[i].seen + (double)cases[i].rows) * 2 * 64 * 2);
    }
    sm_graph_free(&g);
}

/* ------------------------------------------------------------------ past runs */
typedef struct place {
    char path[600];
    sm_bench_run run;
    int found;
} place;

static sm_status count(void *ctx, const bench_past *p, sm_err *err) {
    place *c = ctx;
    (void)err;
    assert_string_equal(p->test, "tg5");
    assert_string_equal(p->model, "a model");
    assert_true(p->tps == 2.5 && (c->found == 0 ? p->ratio == 0 : p->ratio == 1));
    c->found++;
    return SM_OK;
}

static bool keep_and_find(void *ctx) {
    place *c = ctx;
    bench_db *db = NULL;
    sm_err err = {0};
    c->found = 0;
    remove(c->path);
    sm_status st = bench_db_open(c->path, true, &db, &err);
    for (int i = 0; i < 2 && st == SM_OK; i++)
        st = bench_db_add(db, &c->run, &err);
    bench_db_close(&db);
    if (st == SM_OK)
        st = bench_db_open(c->path, false, &db, &err);
    if (st == SM_OK)
        st = bench_db_each(db, "folder/m.gguf", count, c, &err);
    bench_db_close(&db);
    if (st != SM_OK && st != SM_RESOURCE)
        fail_msg("%s", err.msg);
    assert_true(st != SM_OK || c->found == 2);
    return st == SM_OK;
}

static void past_runs(void **state) {
    (void)state;
    if (!bench_db_version())
        skip();
    char *dir = scratch_new();
    double seconds[] = {2.0, 2.0};
    sm_loaded l = {.file_bytes = 1000};
    bench_row r = {.kind = BENCH_GEN,
                   .tokens = 5,
                   .seqs = 1,
                   .test = "tg5",
                   .reps = 2,
                   .seconds = seconds,
                   .tps = {2.5, 0, 2.5, 2.5},
                   .bound = "memory"};
    place c = {.run = {.l = &l,
                       .name = "a model",
                       .file = "m.gguf",
                       .quant = "q8_0",
                       .backend = "cpu",
                       .rows = &r,
                       .n_rows = 1,
                       .date = "2026-01-31T12:00:00Z"}};
    snprintf(c.path, sizeof c.path, "%s/x.db", dir);
    print_message("# past runs: each of %ld allocations made to fail\n", sweep(keep_and_find, &c));
    scratch_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists),
        cmocka_unit_test(statistics),
        cmocka_unit_test(names),
        cmocka_unit_test(timed_run_is_the_same_run),
        cmocka_unit_test(window_of_a_chunk),
        cmocka_unit_test(past_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
