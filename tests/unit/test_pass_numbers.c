/* SPDX-License-Identifier: MIT
 *
 * test_pass_numbers.c: lowered programs, run as written by `ref`, give the numbers of the row form, run by `ref`: the
 * definition of every composite, and every KV form fed the way a host feeds it (prefill, then steps).
 */
#include "tiny_model.h"

#include "backend/backend.h"
#include "pass/pass.h"
#include "sweep.h"

enum { CTX = 32, PROMPT = 11, STEPS = 4, TOTAL = PROMPT + STEPS, MAX_VOCAB = 128 };

static const int32_t tokens[TOTAL] = {5, 17, 3, 3, 29, 8, 0, 31, 12, 7, 22, 9, 1, 30, 4};

static sm_func *build(const tiny_spec *z, sm_graph **g) {
    sm_err err = {0};
    if (tiny_model(z, g, &err) != SM_OK)
        fail_msg("model %d: %s", (int)z->seed, err.msg);
    return sm_graph_func(*g, NULL);
}

/* Logits of every row of the whole text in one step of row form. */
static void run_rows(const sm_func *f, float *logits) {
    sm_err err = {0};
    const sm_backend *be = NULL;
    sm_exe *e = NULL;
    sm_limits lim = {.max_rows = TOTAL, .max_out = TOTAL, .max_ctx = CTX, .max_seqs = 1, .page_tokens = 16, .n_pages = 2, .n_threads = 1};
    int32_t pos[TOTAL], pages[2] = {1, 0};
    for (int i = 0; i < TOTAL; i++)
        pos[i] = i;
    sm_batch_seq seq = {.row0 = 0, .n_rows = TOTAL, .past = 0, .pages = pages};
    sm_batch b = {.n_rows = TOTAL, .ids = tokens, .pos = pos, .n_seqs = 1, .seqs = &seq, .n_out = TOTAL, .out = pos};
    if (sm_backend_pick("ref", f, &be, &err) != SM_OK || be->compile(f, &lim, &e, &err) != SM_OK || be->run_rows(e, &b, logits, &err) != SM_OK)
        fail_msg("row form: %s", err.msg);
    be->free(&e);
}

static void put(sm_arrays *in, const char *name, sm_dtype t, int rank, const int64_t *dims) {
    sm_err err = {0};
    sm_array *a = sm_arrays_add(in);
    if (a == NULL || sm_array_new(a, name, t, rank, dims, &err) != SM_OK)
        fail_msg("input %s: %s", name, err.msg);
}

/* ids (and positions) of tokens [past, past + n), mask [n, keys] by a rule. */
static void feed(sm_arrays *in, const sm_profile *p, int past, int n) {
    put(in, "inputIds", SM_INT32, 2, (int64_t[]){1, n});
    memcpy(in->v[in->n - 1].data, tokens + past, (size_t)n * 4);
    if (p->kv == SM_KV_NONE)
        return;
    int keys = p->kv == SM_KV_STATE ? past + n : CTX + n;
    put(in, "causalMask", SM_FP32, 4, (int64_t[]){1, 1, n, keys});
    float *m = in->v[in->n - 1].data;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < keys; k++) {
            bool seen = p->kv == SM_KV_STATE ? k <= past + i : k < past || (k >= CTX && k - CTX <= i);
            m[i * keys + k] = seen ? 0 : -INFINITY;
        }
    if (p->kv != SM_KV_IO)
        return;
    put(in, "positionIds", SM_INT32, 2, (int64_t[]){1, n});
    for (int i = 0; i < n; i++)
        ((int32_t *)in->v[in->n - 1].data)[i] = past + i;
}

/* New columns [slots, 1, heads, n, d] into the cache [slots, 1, heads, CTX, d]. */
static void write_columns(sm_array *cache, const sm_array *fresh, int past, int n) {
    const float *x = fresh->data;
    float *y = cache->data;
    int64_t outer = cache->dims[0] * cache->dims[2], d = cache->dims[4];
    for (int64_t o = 0; o < outer; o++)
        memcpy(y + (o * CTX + past) * d, x + o * n * d, (size_t)(n * d) * sizeof *x);
}

typedef struct host {
    const sm_backend *be;
    sm_exe *e;
    sm_states st;
    sm_arrays cache; /* io form */
} host;

static void call(host *h, const sm_func *f, const sm_profile *p, int past, int n, float *logits, int vocab) {
    sm_err err = {0};
    sm_arrays in = {0}, out = {0};
    feed(&in, p, past, n);
    for (size_t i = 0; i < h->cache.n; i++) {
        sm_array *a = sm_arrays_add(&in);
        if (sm_array_copy(a, &h->cache.v[i], &err) != SM_OK)
            fail_msg("%s", err.msg);
    }
    (void)f;
    if (h->be->run(h->e, &in, &h->st, &out, &err) != SM_OK)
        fail_msg("%s as written: %s", p->name, err.msg);
    sm_array *y = sm_arrays_find(&out, "logits");
    assert_non_null(y);
    assert_int_equal(sm_array_numel(y), (uint64_t)n * (uint64_t)vocab);
    assert_int_equal(sm_array_cast(y, SM_FP32, &err), SM_OK);
    memcpy(logits + (size_t)past * (size_t)vocab, y->data, (size_t)n * (size_t)vocab * sizeof(float));
    if (p->kv == SM_KV_IO) {
        write_columns(sm_arrays_find(&h->cache, "keyCache"), sm_arrays_find(&out, "newKeys"), past, n);
        write_columns(sm_arrays_find(&h->cache, "valueCache"), sm_arrays_find(&out, "newValues"), past, n);
    }
    sm_arrays_free(&in);
    sm_arrays_free(&out);
}

static void open_host(host *h, const sm_func *f, const sm_profile *p) {
    sm_err err = {0};
    sm_limits lim = {.max_rows = TOTAL, .max_ctx = CTX, .n_threads = 1};
    memset(h, 0, sizeof *h);
    if (sm_backend_pick("ref", f, &h->be, &err) != SM_OK || h->be->compile(f, &lim, &h->e, &err) != SM_OK)
        fail_msg("compile %s: %s", p->name, err.msg);
    for (int i = 0; i < f->body->n_in && p->kv == SM_KV_IO; i++)
        if (f->body->in[i]->type.rank == 5)
            put(&h->cache, f->body->in[i]->name, SM_FP32, 5, f->body->in[i]->type.dims);
}

static void close_host(host *h) {
    h->be->free(&h->e);
    sm_arrays_free(&h->st.a);
    sm_arrays_free(&h->cache);
}

static void compare(const tiny_spec *z, const char *what, const float *want, const float *got, double tol) {
    double worst = 0, top = 0;
    for (int i = 0; i < TOTAL * z->vocab; i++) {
        worst = fmax(worst, fabs((double)want[i] - (double)got[i]));
        top = fmax(top, fabs((double)want[i]));
        if (!isfinite(got[i]))
            fail_msg("model %d, %s: logit %d is not finite", (int)z->seed, what, i);
    }
    if (worst > tol * top)
        fail_msg("model %d, %s: max |difference| %g of max |logit| %g: over %g", (int)z->seed, what, worst, top, tol);
}

static void lowered(const tiny_spec *z, const char *profile, int prefill, int step, double tol) {
    static float want[TOTAL * MAX_VOCAB], got[TOTAL * MAX_VOCAB];
    sm_err err = {0};
    sm_graph *g = NULL;
    sm_func *f = build(z, &g);
    host h;
    run_rows(f, want);
    sm_profile p = *sm_profile_find(profile);
    p.ctx = p.kv == SM_KV_NONE ? 0 : CTX;
    p.seq_min = 1;
    p.seq_max = p.flexible ? p.ctx : step;
    sm_status st = p.kv == SM_KV_NONE ? sm_pass_decompose(f, &f, &err) : sm_pipeline_package(f, &p, &f, &err);
    if (st != SM_OK || sm_verify_func(f, &err) != SM_OK)
        fail_msg("model %d as %s: %s", (int)z->seed, profile, err.msg);
    open_host(&h, f, &p);
    call(&h, f, &p, 0, prefill, got, z->vocab);
    for (int past = prefill; past < TOTAL; past += step)
        call(&h, f, &p, past, step, got, z->vocab);
    compare(z, profile, want, got, tol);
    close_host(&h);
    sm_graph_free(&g);
}

static void decomposed(void **state) {
    (void)state;
    for (size_t i = 0; i < SM_ARRAY_LEN(tiny_specs); i++)
        lowered(&tiny_specs[i], "plain", TOTAL, 1, 2e-5);
}

/* fp16 states, fp16 weights and norms: the rest is f32 in `ref`. */
static void states(void **state) {
    (void)state;
    for (size_t i = 0; i < SM_ARRAY_LEN(tiny_specs); i++) {
        lowered(&tiny_specs[i], "gpu", PROMPT, 1, 4e-3);
        lowered(&tiny_specs[i], "gpu", 1, 1, 4e-3);
    }
}

static void caches_as_inputs(void **state) {
    (void)state;
    for (size_t i = 0; i < SM_ARRAY_LEN(tiny_specs); i++) {
        lowered(&tiny_specs[i], "kv-io", 1, 1, 4e-3);
        lowered(&tiny_specs[i], "kv-io", 5, 5, 4e-3);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decomposed),
        cmocka_unit_test(states),
        cmocka_unit_test(caches_as_inputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
