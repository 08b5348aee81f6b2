/* SPDX-License-Identifier: MIT
 *
 * test_cpu_rows.c: the cpu backend as a whole: against `ref`, and against itself in other batches, with other numbers
 * of threads, pages and kernels.
 *
 * Against `ref` nothing can be equal: rows going into coded weights are quantized to 8 bits and caches are fp16.  Against
 * itself everything that is meant to be equal is equal bit for bit.
 */
#include "sweep.h"

#include <math.h>

#include "backend/cpu/cpu.h"
#include "backend/cpu/kernels.h"
#include "backend/ref/ref.h"
#include "tiny_model.h"

enum { ROWS = 32, CTX = 64, SEQS = 3, VOCAB_MAX = 128, PROMPT = 21 };

/* A compiled model and page lists for SEQS sequences. */
typedef struct rig {
    const sm_backend *b;
    sm_exe *e;
    int vocab, page_tokens;
    int32_t pages[SEQS][CTX];
    int32_t len[SEQS];
} rig;

static void rig_new(rig *r, const sm_backend *b, const sm_func *f, int threads, int page_tokens) {
    sm_err err = {0};
    sm_limits lim = {.max_rows = ROWS, .max_out = ROWS, .max_ctx = CTX, .max_seqs = SEQS, .page_tokens = page_tokens};
    memset(r, 0, sizeof *r);
    int per_seq = (CTX + page_tokens - 1) / page_tokens;
    lim.n_pages = SEQS * per_seq + 1;
    lim.n_threads = threads;
    r->b = b;
    r->page_tokens = page_tokens;
    r->vocab = (int)f->body->out[0]->type.dims[1];
    for (int s = 0; s < SEQS; s++) /* scattered, the last page unused */
        for (int i = 0; i < per_seq; i++)
            r->pages[s][i] = (i * SEQS + s) * 5 % (SEQS * per_seq);
    if (SEQS * per_seq % 5 == 0)
        for (int s = 0; s < SEQS; s++)
            for (int i = 0; i < per_seq; i++)
                r->pages[s][i] = i * SEQS + s;
    if (b->compile(f, &lim, &r->e, &err) != SM_OK)
        fail_msg("%s", err.msg);
}

static void rig_free(rig *r) {
    r->b->free(&r->e);
    assert_null(r->e);
}

static int32_t token(const rig *r, int seq, int pos) {
    return (seq * 31 + pos * 7 + pos * pos % 5) % r->vocab;
}

/* One step: n[s] new tokens of each sequence (0: not in it); logits of all rows, in order. */
static void rig_step(rig *r, const int n[SEQS], float *logits) {
    int32_t ids[ROWS], pos[ROWS], out[ROWS], t = 0;
    sm_batch_seq seqs[SEQS];
    sm_batch b = {.ids = ids, .pos = pos, .out = out, .seqs = seqs};
    sm_err err = {0};
    for (int s = 0; s < SEQS; s++) {
        if (n[s] == 0)
            continue;
        seqs[b.n_seqs++] = (sm_batch_seq){t, n[s], r->len[s], r->pages[s]};
        for (int i = 0; i < n[s]; i++, t++) {
            pos[t] = r->len[s] + i;
            ids[t] = token(r, s, pos[t]);
            out[t] = t;
        }
        r->len[s] += n[s];
    }
    b.n_rows = b.n_out = t;
    if (r->b->run_rows(r->e, &b, logits, &err) != SM_OK)
        fail_msg("%s", err.msg);
}

/* Logits [PROMPT][vocab] of sequence s, in steps of `chunk`. */
static void rig_prompt(rig *r, int s, int chunk, float *logits) {
    for (int at = 0; at < PROMPT; at += chunk) {
        int n[SEQS] = {0};
        n[s] = SM_MIN(chunk, PROMPT - at);
        rig_step(r, n, logits + (size_t)at * (size_t)r->vocab);
    }
}

static sm_graph *model(const tiny_spec *z) {
    sm_graph *g = NULL;
    sm_err err = {0};
    if (tiny_model(z, &g, &err) != SM_OK)
        fail_msg("%s", err.msg);
    return g;
}

/* Largest difference by the largest logit. */
static double off_by(const float *want, const float *got, size_t n) {
    double most = 0.0, diff = 0.0;
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, fabs((double)want[i]));
        double d = fabs((double)want[i] - (double)got[i]);
        diff = isnan(d) ? INFINITY : fmax(diff, d);
    }
    return diff / most;
}

static void against_ref(const tiny_spec *z, double budget) {
    static float want[PROMPT * VOCAB_MAX], got[PROMPT * VOCAB_MAX];
    sm_graph *g = model(z);
    rig r, c;
    rig_new(&r, &sm_backend_ref, sm_graph_func(g, NULL), 1, 16);
    rig_prompt(&r, 0, PROMPT, want);
    rig_free(&r);
    rig_new(&c, &sm_backend_cpu, sm_graph_func(g, NULL), 2, 16);
    rig_prompt(&c, 0, PROMPT, got);
    rig_free(&c);
    double off = off_by(want, got, (size_t)PROMPT * (size_t)r.vocab);
    if (!(off < budget))
        fail_msg("seed %d: off by %g of the largest logit, budget %g", (int)z->seed, off, budget);
    sm_graph_free(&g);
}

static void logits_are_those_of_ref(void **state) {
    (void)state;
    for (size_t i = 0; i < SM_ARRAY_LEN(tiny_specs); i++) {
        tiny_spec z = tiny_specs[i];
        against_ref(&z, 2e-3);
        z.enc = SM_ENC_DENSE;
        against_ref(&z, 2e-3);
    }
}

static void kernel_sets_agree(void **state) {
    (void)state;
    static float want[PROMPT * VOCAB_MAX], got[PROMPT * VOCAB_MAX];
    for (size_t i = 0; i < SM_ARRAY_LEN(tiny_specs); i++) {
        sm_graph *g = model(&tiny_specs[i]);
        for (sm_isa k = SM_ISA_C; k < SM_ISA_COUNT; k++) {
            rig r;
            if (!sm_isa_built(k))
                continue;
            setenv("SMELT_CPU", sm_isa_name(k), 1);
            rig_new(&r, &sm_backend_cpu, sm_graph_func(g, NULL), 2, 8);
            rig_prompt(&r, 1, PROMPT, k == SM_ISA_C ? want : got);
            rig_free(&r);
            /* A rounding may turn one 8-bit code of a row by one. */
            assert_true(k == SM_ISA_C || off_by(want, got, (size_t)PROMPT * (size_t)r.vocab) < 1e-2);
        }
        unsetenv("SMELT_CPU");
        sm_graph_free(&g);
    }
}

static void batching_changes_no_bit(void **state) {
    (void)state;
    static float alone[SEQS][PROMPT * VOCAB_MAX], mixed[ROWS * VOCAB_MAX];
    for (size_t i = 0; i < SM_ARRAY_LEN(tiny_specs); i++) {
        sm_graph *g = model(&tiny_specs[i]);
        rig r;
        rig_new(&r, &sm_backend_cpu, sm_graph_func(g, NULL), 2, 8);
        size_t v = (size_t)r.vocab, row = v * sizeof(float);
        for (int s = 0; s < SEQS; s++)
            rig_prompt(&r, s, PROMPT, alone[s]);
        memset(r.len, 0, sizeof r.len);
        /* prompts and single tokens in one step */
        static const int steps[][SEQS] = {{9, 0, 0}, {1, 13, 0}, {1, 1, 20}, {8, 6, 1}, {1, 1, 0}, {1, 0, 0}};
        for (size_t k = 0; k < SM_ARRAY_LEN(steps); k++) {
            int before[SEQS];
            memcpy(before, r.len, sizeof before);
            rig_step(&r, steps[k], mixed);
            const float *got = mixed;
            for (int s = 0; s < SEQS; s++)
                for (int n = 0; n < steps[k][s]; n++, got += v)
                    assert_memory_equal(got, alone[s] + (size_t)(before[s] + n) * v, row);
        }
        rig_free(&r);
        sm_graph_free(&g);
    }
}

static void threads_and_chunks_change_no_bit(void **state) {
    (void)state;
    static float want[PROMPT * VOCAB_MAX], got[PROMPT * VOCAB_MAX];
    for (size_t i = 0; i < SM_ARRAY_LEN(tiny_specs); i++) {
        sm_graph *g = model(&tiny_specs[i]);
        static const int shapes[][2] = {{1, PROMPT}, {2, PROMPT}, {3, 5}, {5, 1}, {1, 2}};
        for (size_t k = 0; k < SM_ARRAY_LEN(shapes); k++) {
            rig r;
            rig_new(&r, &sm_backend_cpu, sm_graph_func(g, NULL), shapes[k][0], 4);
            rig_prompt(&r, 2, shapes[k][1], k == 0 ? want : got);
            rig_free(&r);
            if (k > 0)
                assert_memory_equal(want, got, (size_t)PROMPT * (size_t)r.vocab * sizeof(float));
        }
        sm_graph_free(&g);
    }
}

static void pages_of_any_size(void **state) {
    (void)state;
    static float want[PROMPT * VOCAB_MAX], got[PROMPT * VOCAB_MAX];
    static const int sizes[] = {64, 1, 2, 16, 32, 128};
    sm_graph *g = model(&tiny_specs[1]);
    for (size_t k = 0; k < SM_ARRAY_LEN(sizes); k++) {
        rig r;
        rig_new(&r, &sm_backend_cpu, sm_graph_func(g, NULL), 2, sizes[k]);
        rig_prompt(&r, 0, PROMPT, k == 0 ? want : got);
        rig_free(&r);
        assert_true(k == 0 || off_by(want, got, (size_t)PROMPT * (size_t)r.vocab) < 1e-2);
    }
    sm_graph_free(&g);
}

/* Logits of some rows, none, in a step that has more. */
static void wanted_rows_only(void **state) {
    (void)state;
    static float all[PROMPT * VOCAB_MAX], some[4 * VOCAB_MAX];
    sm_graph *g = model(&tiny_specs[0]);
    rig r;
    rig_new(&r, &sm_backend_cpu, sm_graph_func(g, NULL), 2, 16);
    rig_prompt(&r, 0, PROMPT, all);
    int32_t ids[PROMPT], pos[PROMPT], out[] = {0, 7, PROMPT - 1};
    for (int i = 0; i < PROMPT; i++) {
        pos[i] = i;
        ids[i] = token(&r, 0, i);
    }
    sm_batch_seq seq = {0, PROMPT, 0, r.pages[1]};
    sm_batch b = {.n_rows = PROMPT, .ids = ids, .pos = pos, .n_seqs = 1, .seqs = &seq, .n_out = 3, .out = out};
    size_t v = (size_t)r.vocab;
    some[3 * v] = 123.0f;
    assert_int_equal(r.b->run_rows(r.e, &b, some, NULL), SM_OK);
    for (int i = 0; i < 3; i++)
        assert_memory_equal(some + (size_t)i * v, all + (size_t)out[i] * v, v * sizeof(float));
    assert_true(some[3 * v] == 123.0f);
    b.n_out = 0;
    assert_int_equal(r.b->run_rows(r.e, &b, NULL, NULL), SM_OK);

    sm_err err = {0};
    ids[3] = r.vocab;
    assert_int_equal(r.b->run_rows(r.e, &b, some, &err), SM_BADINPUT);
    assert_non_null(strstr(err.msg, "vocabulary"));
    sm_exe_info info;
    r.b->info(r.e, &info);
    assert_true(info.weight_bytes > 0 && info.kv_bytes > 0 && info.arena_bytes > 0);
    assert_int_equal(info.n_threads, 2);
    rig_free(&r);
    sm_graph_free(&g);
}

/* ---- ops that the tiny models do not have ---- */

/* ids -> embed -> `body` -> gather -> head */
static sm_graph *model_of(sm_value *(*body)(sm_builder *b, sm_value *x, sm_value *pos)) {
    tiny_spec z = {.d = 64, .vocab = 40, .enc = SM_ENC_DENSE, .seed = 9};
    uint64_t s = 99;
    sm_graph *g;
    sm_func *f;
    sm_builder b;
    sm_err err = {0};
    assert_int_equal(sm_graph_new(&g, NULL), SM_OK);
    assert_int_equal(sm_func_new(g, "main", 0, &f, NULL), SM_OK);
    sm_build_start(&b, f);
    sm_type rows = {.kind = SM_V_TENSOR, .dtype = SM_INT32, .rank = 1, .dims = {sm_dim_symbol(g, "t", 1, -1)}};
    sm_type outs = {.kind = SM_V_TENSOR, .dtype = SM_INT32, .rank = 1, .dims = {sm_dim_symbol(g, "r", 0, -1)}};
    sm_value *ids = sm_build_input(&b, "ids", rows), *pos = sm_build_input(&b, "pos", rows);
    sm_value *out = sm_build_input(&b, "out", outs);
    sm_build_input(&b, "batch", (sm_type){.kind = SM_V_BATCH});
    sm_value *x = sm_build(&b, SM_OP_EMBED, NULL, "ids", ids, "table", tiny_matrix(&b, &z, "embed", 40, 64, &s),
                           "scale", sm_const_f(&b, SM_FP32, 10), NULL);
    x = body(&b, x, pos);
    x = sm_build(&b, SM_OP_GATHER, NULL, "x", x, "indices", out, "axis", sm_const_i32(&b, 0), NULL);
    x = sm_build(&b, SM_OP_LINEAR, NULL, "x", x, "weight", tiny_matrix(&b, &z, "head", 40, 64, &s), "bias",
                 tiny_vector(&b, "head_bias", 40, &s), NULL);
    sm_build_output(&b, x, "logits");
    if (sm_build_end(&b, &err) != SM_OK)
        fail_msg("%s", err.msg);
    return g;
}

static sm_value *elementwise(sm_builder *b, sm_value *x, sm_value *pos) {
    uint64_t s = 5;
    (void)pos;
    sm_value *half = sm_const_f(b, SM_FP32, 0.5), *v = tiny_vector(b, "v", 64, &s);
    sm_value *a = sm_build(b, SM_OP_SILU, NULL, "x", x, NULL);
    sm_value *c = sm_build(b, SM_OP_GELU, NULL, "x", x, "mode", sm_const_str(b, "EXACT"), NULL);
    sm_value *d = sm_build(b, SM_OP_GELU, NULL, "x", x, "mode", sm_const_str(b, "TANH_APPROXIMATION"), NULL);
    sm_value *e = sm_build(b, SM_OP_TANH, NULL, "x", x, NULL), *g = sm_build(b, SM_OP_SIGMOID, NULL, "x", x, NULL);
    a = sm_build(b, SM_OP_MUL, NULL, "x", a, "y", v, NULL);
    c = sm_build(b, SM_OP_SUB, NULL, "x", half, "y", c, NULL);
    d = sm_build(b, SM_OP_SUB, NULL, "x", d, "y", e, NULL);
    g = sm_build(b, SM_OP_ADD, NULL, "x", g, "y", half, NULL);
    a = sm_build(b, SM_OP_ADD, NULL, "x", a, "y", c, NULL);
    d = sm_build(b, SM_OP_MUL, NULL, "x", d, "y", g, NULL);
    x = sm_build(b, SM_OP_ADD, NULL, "x", a, "y", d, NULL);
    /* a constant over [t, 4, 16]: one value a head, one an element */
    float heads[4] = {1, -2, 3, 0.5f}, elems[16];
    for (int i = 0; i < 16; i++)
        elems[i] = (float)i / 8;
    int32_t split[3] = {-1, 4, 16}, join[2] = {-1, 64};
    x = sm_build(b, SM_OP_RESHAPE, NULL, "x", x, "shape", sm_const_i32s(b, split, 3), NULL);
    sm_value *per_head = sm_const_data(b, "per_head", SM_FP32, 2, (int64_t[]){4, 1}, heads);
    x = sm_build(b, SM_OP_MUL, NULL, "x", x, "y", per_head, NULL);
    sm_value *per_elem = sm_const_data(b, "per_elem", SM_FP32, 3, (int64_t[]){1, 1, 16}, elems);
    x = sm_build(b, SM_OP_ADD, NULL, "x", per_elem, "y", x, NULL);
    x = sm_build(b, SM_OP_IDENTITY, NULL, "x", x, NULL);
    return sm_build(b, SM_OP_RESHAPE, NULL, "x", x, "shape", sm_const_i32s(b, join, 2), NULL);
}

static void elementwise_ops(void **state) {
    (void)state;
    static float want[PROMPT * VOCAB_MAX], got[PROMPT * VOCAB_MAX];
    sm_graph *g = model_of(elementwise);
    rig r;
    rig_new(&r, &sm_backend_ref, sm_graph_func(g, NULL), 1, 16);
    rig_prompt(&r, 0, PROMPT, want);
    rig_free(&r);
    rig_new(&r, &sm_backend_cpu, sm_graph_func(g, NULL), 3, 16);
    rig_prompt(&r, 0, PROMPT, got);
    rig_free(&r);
    assert_true(off_by(want, got, (size_t)PROMPT * 40) < 1e-5);
    sm_graph_free(&g);
}

static sm_value *with_softplus(sm_builder *b, sm_value *x, sm_value *pos) {
    (void)pos;
    return sm_build(b, SM_OP_SOFTPLUS, "smooth", "x", x, NULL);
}

static void refuses_by_name(void **state) {
    (void)state;
    sm_graph *g = model_of(with_softplus);
    sm_limits lim = {.max_rows = 4, .max_out = 4, .max_ctx = 8, .max_seqs = 1, .page_tokens = 8, .n_pages = 1};
    sm_err err = {0};
    sm_exe *e = NULL;
    assert_int_equal(sm_backend_cpu.compile(sm_graph_func(g, NULL), &lim, &e, &err), SM_UNSUPPORTED);
    assert_null(e);
    assert_non_null(strstr(err.msg, "softplus"));
    assert_non_null(strstr(err.msg, "smooth"));
    setenv("SMELT_CPU", "mmx", 1);
    assert_int_equal(sm_backend_cpu.compile(sm_graph_func(g, NULL), &lim, &e, &err), SM_USAGE);
    unsetenv("SMELT_CPU");
    sm_graph_free(&g);
}

/* A weight that shall be something else than its source: packed as what it shall be. */
static void wanted_encodings(void **state) {
    (void)state;
    tiny_spec z = tiny_specs[0];
    static float want[PROMPT * VOCAB_MAX], got[PROMPT * VOCAB_MAX];
    sm_graph *g = model(&z);
    for (const sm_node *n = sm_graph_func(g, NULL)->body->first; n; n = n->next)
        for (int i = 0; i < sm_op_row_of(n->op)->n_slots; i++)
            if (n->in[i] && n->in[i]->cst && n->in[i]->type.rank == 2) {
                n->in[i]->cst->want = sm_enc_affine(SM_INT4, SM_FP16, SM_NONE, 2, 32);
                n->in[i]->cst->want_dtype = SM_FP16;
            }
    rig r;
    rig_new(&r, &sm_backend_ref, sm_graph_func(g, NULL), 1, 16);
    rig_prompt(&r, 0, PROMPT, want);
    rig_free(&r);
    rig_new(&r, &sm_backend_cpu, sm_graph_func(g, NULL), 2, 16);
    rig_prompt(&r, 0, PROMPT, got);
    rig_free(&r);
    assert_true(off_by(want, got, (size_t)PROMPT * (size_t)r.vocab) < 6e-2);
    sm_graph_free(&g);
}

static bool compile_once(void *ctx) {
    const sm_func *f = ctx;
    sm_limits lim = {
        .max_rows = 4, .max_out = 4, .max_ctx = 8, .max_seqs = 1, .page_tokens = 8, .n_pages = 1, .n_threads = 1};
    sm_exe *e = NULL;
    sm_status st = sm_backend_cpu.compile(f, &lim, &e, NULL);
    assert_true(st == SM_OK || st == SM_RESOURCE);
    assert_true((st == SM_OK) == (e != NULL));
    sm_backend_cpu.free(&e);
    return st == SM_OK;
}

static void survives_failing_allocations(void **state) {
    (void)state;
    tiny_spec z = tiny_specs[0];
    z.layers = 1;
    sm_graph *g = model(&z);
    assert_true(sweep(compile_once, sm_graph_func(g, NULL)) > 10);
    sm_graph_free(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_those_of_ref), cmocka_unit_test(kernel_sets_agree),
        cmocka_unit_test(batching_changes_no_bit), cmocka_unit_test(threads_and_chunks_change_no_bit),
        cmocka_unit_test(pages_of_any_size),       cmocka_unit_test(wanted_rows_only),
        cmocka_unit_test(elementwise_ops),         cmocka_unit_test(refuses_by_name),
        cmocka_unit_test(wanted_encodings),        cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
