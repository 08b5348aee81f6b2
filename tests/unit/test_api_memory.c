/* SPDX-License-Identifier: MIT
 *
 * test_api_memory.c: every call of smelt.h that reads something, with each of its allocations failing in turn.
 *
 * A call must either succeed with a right result or answer SMELT_RESOURCE; it must never crash, leak (under ASan) or
 * leave a half-written file.
 */
#include "sweep.h"

#include "format/npz.h"
#include "smelt.h"

#define TINY SMELT_GOLDEN "/tiny.gguf"

typedef struct scene {
    char *dir;
    char package[600], written[600], out[600], npz[600];
    smelt_model *m;
    const char *path, *backend;
    int32_t *ids;
    size_t n_ids;
    int form; /* of inspect: the graph, text, JSON */
} scene;

/* What a piece of work says: done and right, or out of memory. */
typedef bool (*work_fn)(scene *s);

static bool done(smelt_status st, const smelt_error *e) {
    if (st == SMELT_OK)
        return true;
    if (st != SMELT_RESOURCE)
        fail_msg("status %d: %s", st, e->message);
    return false;
}

/* Unlike sweep(), success is allowed while an allocation fails: optional work may be left out, if the result is right. */
static void sweep_some(const char *what, work_fn work, scene *s, long step) {
    for (long n = 0, total = 1; n < total; n += step) {
        long before = sm_alloc_count();
        sm_alloc_fail_after(n);
        bool ok = work(s);
        sm_alloc_fail_after(-1);
        total = sm_alloc_count() - before;
        if (total <= n) {
            assert_true(ok); /* none failed this time */
            print_message("# %s: each of %ld allocations made to fail, in steps of %ld\n", what, total, step);
        } else {
            total = n + step + 1; /* what failed may have stopped early: there may be more */
        }
    }
    assert_true(work(s)); /* nothing is left behind that spoils the next call */
}

static void sweep_work(const char *what, work_fn work, scene *s) {
    sweep_some(what, work, s, 1);
}

/* ------------------------------------------------------------------ pieces of work */

static bool open_model(scene *s) {
    smelt_model *m;
    smelt_error e;
    bool ok = done(smelt_model_open(s->path, NULL, &m, &e), &e);
    if (ok) {
        smelt_model_info info;
        smelt_model_get_info(m, &info);
        assert_int_equal(info.vocab, 300);
        assert_true(info.has_tokenizer);
    } else {
        assert_null(m);
    }
    smelt_model_free(&m);
    return ok;
}

static bool tokens_and_text(scene *s) {
    static const char text[] = "a tin of \xC3\xA4pfel <s> here";
    int32_t *ids = NULL;
    size_t n = 0, n_back = 0;
    char *back = NULL;
    smelt_error e;
    bool ok = done(smelt_tokenize(s->m, text, sizeof text - 1, SMELT_BOS, &ids, &n, &e), &e) &&
              done(smelt_detokenize(s->m, ids + 1, n - 1, &back, &n_back, &e), &e);
    if (ok)
        assert_non_null(strstr(back, "\xC3\xA4pfel"));
    smelt_free(back);
    smelt_free(ids);
    return ok;
}

static bool chat(scene *s) {
    const smelt_message msg[] = {{"system", "be brief"}, {"user", "hello"}};
    char *text = NULL;
    size_t n;
    smelt_error e;
    bool ok = done(smelt_chat_prompt(s->m, msg, 2, &text, &n, &e), &e);
    if (ok)
        assert_string_equal(text, "<s>system: be brief</s><s>user: hello</s>assistant:");
    smelt_free(text);
    return ok;
}

static bool session(scene *s) {
    const char *stop[] = {"zzz"};
    smelt_session_options o = {.size = sizeof o,
                               .backend = s->backend,
                               .threads = 1,
                               .context = 64,
                               .max_tokens = 4,
                               .stop = stop,
                               .n_stop = 1,
                               .logprobs = 2};
    smelt_session *v = NULL;
    smelt_token t = {.finish = SMELT_GOING};
    smelt_error e;
    bool ok = done(smelt_session_new(s->m, &o, &v, &e), &e) && done(smelt_session_prompt(v, s->ids, s->n_ids, &e), &e);
    while (ok && t.finish == SMELT_GOING)
        ok = done(smelt_session_next(v, &t, &e), &e);
    smelt_session_free(&v);
    return ok;
}

static bool inspect(scene *s) {
    smelt_inspect_options o = {
        .size = sizeof o, .graph = s->form == 0, .weights = true, .ops = true, .metadata = true, .json = s->form == 2};
    o.hash = o.sha256 = true;
    o.threads = 1;
    char *text = NULL;
    size_t n;
    smelt_error e;
    bool ok = done(smelt_inspect(s->path, &o, &text, &n, &e), &e);
    smelt_free(text);
    return ok;
}

static bool eval(scene *s) {
    smelt_eval_options o = {.size = sizeof o, .backend = s->backend, .threads = 1, .context = 64, .top = 2};
    smelt_eval_report r;
    smelt_error e;
    static const char text[] = "the rain in the tin is a train on the line and the moon is a stone in the sand";
    return done(smelt_eval_ids(s->m, s->ids, s->n_ids, &o, &r, &e), &e) &&
           done(smelt_eval_text(s->m, text, sizeof text - 1, &o, &r, &e), &e);
}

static void count_task(void *ctx, const smelt_choice_task *t) {
    assert_in_range(t->pick, 0, t->n - 1);
    ++*(int *)ctx;
}

static bool choices(scene *s) {
    static const char lines[] =
        "{\"question\": \"a tin\", \"choices\": [\"the rain\", \"sand\"], \"answer\": 1}\n"
        "{\"ctx\": \"a stone\", \"endings\": [\"in\", \"the moon\"], \"label\": \"0\"}\n"
        "{\"sentence\": \"a _ is\", \"option1\": \"line\", \"option2\": \"tin\", \"answer\": \"2\"}\n";
    static const char csv[] = "which,\"a, tin\",line,A\n";
    const char *const text[] = {lines, csv};
    bool ok = true;
    for (int i = 0; i < 2 && ok; i++) {
        char path[700];
        int seen = 0;
        smelt_choices_options o = {
            .size = sizeof o, .backend = s->backend, .threads = 1, .on_task = count_task, .ctx = &seen};
        smelt_choices_report r;
        smelt_error e;
        snprintf(path, sizeof path, "%s/choices%d", s->dir, i);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        assert_int_equal(fputs(text[i], f) < 0, 0);
        fclose(f);
        ok = done(smelt_eval_choices(s->m, path, &o, &r, &e), &e);
        if (ok) {
            assert_int_equal(r.tasks, i == 0 ? 3 : 1);
            assert_int_equal(seen, r.tasks);
        }
    }
    return ok;
}

static void count_op(void *ctx, const smelt_check_op *op) {
    assert_true(op->nmse == 0 && !op->named);
    ++*(int *)ctx;
}

static bool check(scene *s) {
    int seen = 0;
    smelt_check_options o = {.size = sizeof o,
                             .backend = s->backend,
                             .threads = 1,
                             .tokens = 20,
                             .context = 16,
                             .locate = true,
                             .on_op = count_op,
                             .ctx = &seen};
    smelt_check_report r;
    smelt_error e;
    bool ok = done(smelt_check(s->m, s->m, NULL, 0, &o, &r, &e), &e);
    if (ok) {
        assert_true(r.pass && r.kl == 0 && r.top1 == 1 && r.max_error == 0 && !r.found);
        assert_int_equal(r.rows, 20);
        assert_int_equal(r.windows, 2);
        assert_int_equal(seen, r.matched);
        assert_int_equal(r.ops_a, r.matched);
    }
    return ok;
}

static bool exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

static bool convert_as(scene *s, const smelt_convert_options *o) {
    smelt_convert_report r;
    smelt_model *m = NULL;
    smelt_error e;
    char command[700];
    bool ok = done(smelt_convert(TINY, s->written, o, &r, &e), &e);
    if (ok != exists(s->written))
        fail_msg("convert said %d and the package is %sthere", ok, exists(s->written) ? "" : "not ");
    if (ok) {
        sm_alloc_fail_after(-1);
        if (smelt_model_open(s->written, NULL, &m, &e) != SMELT_OK)
            fail_msg("what was written cannot be read: %s", e.message);
        smelt_model_free(&m);
        snprintf(command, sizeof command, "rm -rf '%s'", s->written);
        assert_int_equal(system(command), 0);
    }
    return ok;
}

static bool convert(scene *s) {
    smelt_convert_options o = {.size = sizeof o, .context = 32};
    return convert_as(s, &o);
}

static bool convert_for_engine(scene *s) {
    smelt_convert_options o = {.size = sizeof o, .context = 32, .units = "cpuAndNeuralEngine", .logits = "topk:3"};
    return convert_as(s, &o);
}

/* Several packages in a folder. */
static bool convert_parts(scene *s) {
    smelt_convert_options o = {
        .size = sizeof o, .context = 32, .kv = "io", .seq = "1,4", .split = "units:2", .quant = "int8"};
    char place[600], package[600];
    snprintf(place, sizeof place, "%s", s->written);
    snprintf(package, sizeof package, "%.500s/parts", s->dir);
    snprintf(s->written, sizeof s->written, "%s", package);
    bool ok = convert_as(s, &o);
    snprintf(s->written, sizeof s->written, "%s", place);
    return ok;
}

/* With all that it writes; what was there before stays when it fails. */
static bool bench(scene *s) {
    char csv[600], svg[600], trace[600], db[600], *text = NULL;
    size_t n;
    smelt_error e;
    snprintf(csv, sizeof csv, "%.500s/b.csv", s->dir), snprintf(svg, sizeof svg, "%.500s/b.svg", s->dir);
    snprintf(trace, sizeof trace, "%.500s/b.json", s->dir), snprintf(db, sizeof db, "%.500s/b.db", s->dir);
    smelt_bench_options o = {.size = sizeof o,
                             .prompts = "3",
                             .generations = "2",
                             .repetitions = 1,
                             .threads = 1,
                             .csv = csv,
                             .svg = svg,
                             .trace = trace,
                             .db = db};
    bool ok = done(smelt_bench(TINY, &o, &text, &n, &e), &e);
    assert_int_equal(ok, text != NULL && strstr(text, "| tg2 |") != NULL);
    smelt_free(text);
    if (ok) {
        ok = done(smelt_bench_history(db, NULL, false, &text, &n, &e), &e) || !exists(db);
        smelt_free(text);
    }
    assert_true(remove(csv) == 0 || !ok);
    assert_true(remove(svg) == 0 || !ok);
    assert_true(remove(trace) == 0 || !ok);
    remove(db);
    return ok;
}

static bool predict(scene *s) {
    smelt_predict_call call = {NULL, s->npz};
    smelt_error e;
    char command[700];
    bool ok = done(smelt_predict(s->package, &call, 1, s->out, "ref", 1, &e), &e);
    snprintf(command, sizeof command, "%s/0.npz", s->out);
    assert_int_equal(ok, exists(command));
    snprintf(command, sizeof command, "rm -rf '%s'", s->out);
    assert_int_equal(system(command), 0);
    return ok;
}

/* ------------------------------------------------------------------ tests */

static scene *setup(void) {
    scene *s = calloc(1, sizeof *s);
    smelt_convert_options o = {.size = sizeof o, .context = 64};
    smelt_convert_report r;
    smelt_error e;
    s->dir = scratch_new();
    snprintf(s->package, sizeof s->package, "%s/tiny.mlpackage", s->dir);
    snprintf(s->written, sizeof s->written, "%s/written.mlpackage", s->dir);
    snprintf(s->out, sizeof s->out, "%s/out", s->dir);
    if (smelt_convert(TINY, s->package, &o, &r, &e) != SMELT_OK)
        fail_msg("%s", e.message);
    s->path = TINY;
    return s;
}

static void open_scene(scene *s, const char *path) {
    static const char text[] = "the moon is in the tin";
    smelt_error e;
    smelt_model_free(&s->m);
    smelt_free(s->ids);
    s->path = path;
    assert_int_equal(smelt_model_open(path, NULL, &s->m, &e), SMELT_OK);
    assert_int_equal(smelt_tokenize(s->m, text, sizeof text - 1, SMELT_BOS, &s->ids, &s->n_ids, &e), SMELT_OK);
}

static void teardown(scene *s) {
    smelt_model_free(&s->m);
    smelt_free(s->ids);
    scratch_remove(s->dir);
    free(s);
}

static void test_models(void **state) {
    scene *s = setup();
    (void)state;
    sweep_work("open a GGUF", open_model, s);
    for (s->form = 0; s->form < 3; s->form++)
        sweep_work("inspect a GGUF", inspect, s);
    s->path = s->package;
    sweep_work("open a package", open_model, s);
    for (s->form = 0; s->form < 3; s->form++)
        sweep_work("inspect a package", inspect, s);
    teardown(s);
}

static void test_text(void **state) {
    scene *s = setup();
    (void)state;
    open_scene(s, TINY);
    sweep_work("tokens and text", tokens_and_text, s);
    sweep_work("chat template", chat, s);
    teardown(s);
}

static void test_sessions(void **state) {
    scene *s = setup();
    (void)state;
    open_scene(s, TINY);
    s->backend = "cpu";
    sweep_work("session on cpu", session, s);
    sweep_work("eval on cpu", eval, s);
    sweep_work("multiple choice on cpu", choices, s);
    sweep_work("check on cpu", check, s);
    s->backend = "ref";
    sweep_work("session on ref", session, s);
    sweep_work("check on ref", check, s);
    open_scene(s, s->package);
    sweep_work("session of a package on ref", session, s);
    s->backend = "cpu";
    sweep_work("session of a package on cpu", session, s);
    teardown(s);
}

/* Each run measures the machine, which takes its time. */
static void test_bench(void **state) {
    scene *s = setup();
    (void)state;
    setenv("SMELT_LIMITS_MS", "1", 1);
    sweep_some("bench", bench, s, 7);
    teardown(s);
}

static void test_convert(void **state) {
    scene *s = setup();
    (void)state;
    sweep_work("convert", convert, s);
    /* every one of them takes a minute and a half, and passed */
    sweep_some("convert for the Neural Engine", convert_for_engine, s, 23);
    sweep_some("convert to several packages", convert_parts, s, 7);
    teardown(s);
}

/* Inputs of the fixture: three tokens and a mask that hides nothing. */
static void write_inputs(const char *path) {
    sm_arrays in = {0};
    sm_err err;
    static const int64_t ids[] = {1, 3}, mask[] = {1, 1, 3, 3};
    assert_int_equal(sm_array_new(sm_arrays_add(&in), "inputIds", SM_INT32, 2, ids, &err), SM_OK);
    assert_int_equal(sm_array_new(sm_arrays_add(&in), "causalMask", SM_FP16, 4, mask, &err), SM_OK);
    assert_int_equal(sm_npz_write(path, &in, &err), SM_OK);
    sm_arrays_free(&in);
}

static void test_predict(void **state) {
    scene *s = setup();
    (void)state;
    snprintf(s->npz, sizeof s->npz, "%s/in.npz", s->dir);
    write_inputs(s->npz);
    snprintf(s->package, sizeof s->package, "%s",
             SMELT_FIXTURES "/variants/int4_sym_block2d/int4_sym_block2d.mlpackage");
    sweep_work("predict", predict, s);
    teardown(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_models),  cmocka_unit_test(test_text),    cmocka_unit_test(test_sessions),
        cmocka_unit_test(test_convert), cmocka_unit_test(test_predict), cmocka_unit_test(test_bench),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
