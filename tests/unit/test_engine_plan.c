/* SPDX-License-Identifier: MIT
 *
 * test_engine_plan.c: what an engine is said to hold is what it holds, and saying it makes nothing of that size.
 */
#include "sweep.h"
#include "tiny_model.h"

#include "engine/engine.h"

static const tiny_spec specs[] = {
    {.layers = 2, .d = 64, .heads = 4, .kv_heads = 2, .head_dim = 16, .ff = 96, .vocab = 160, .seed = 1},
    {.layers = 3,
     .d = 64,
     .heads = 4,
     .kv_heads = 1,
     .head_dim = 32,
     .ff = 128,
     .vocab = 320,
     .window = 16,
     .qk_norm = true,
     .post_norm = true,
     .separate_head = true,
     .enc = SM_ENC_Q4_1,
     .seed = 2},
};

static void says_what_is_held(void **state) {
    (void)state;
    for (size_t k = 0; k < SM_ARRAY_LEN(specs); k++)
        for (int32_t ctx = 64; ctx <= 1024; ctx *= 4) {
            sm_graph *g;
            sm_err err;
            sm_exe_info said, held;
            sm_engine *e;
            const char *backend;
            assert_int_equal(tiny_model(&specs[k], &g, &err), SM_OK);
            const sm_func *f = sm_graph_func(g, NULL);
            const sm_engine_opts o = {.backend = "cpu", .ctx = ctx, .max_seqs = 1 + (int32_t)k, .n_threads = 2};
            assert_int_equal(sm_engine_plan(f, &o, &said, &backend, &err), SM_OK);
            assert_int_equal(sm_engine_new(f, &o, &e, &err), SM_OK);
            sm_engine_info(e, &held);
            assert_string_equal(backend, "cpu");
            assert_int_equal(said.weight_bytes, held.weight_bytes);
            assert_int_equal(said.mapped_bytes, held.mapped_bytes);
            assert_int_equal(said.kv_bytes, held.kv_bytes);
            /* the logits of each sequence are the engine's own */
            assert_int_equal(said.arena_bytes, held.arena_bytes + 4u * (uint64_t)specs[k].vocab * (1 + k));
            assert_true(said.weight_bytes > 0 && said.kv_bytes > 0);
            sm_engine_free(&e);
            sm_graph_free(&g);
        }
}

/* A cache of terabytes is planned as fast as one of kilobytes. */
static void makes_nothing_large(void **state) {
    (void)state;
    sm_graph *g;
    sm_err err;
    sm_exe_info said;
    const char *backend;
    assert_int_equal(tiny_model(&specs[0], &g, &err), SM_OK);
    const sm_engine_opts o = {.backend = "cpu", .ctx = 1 << 30, .max_seqs = 16, .n_threads = 1};
    assert_int_equal(sm_engine_plan(sm_graph_func(g, NULL), &o, &said, &backend, &err), SM_OK);
    assert_true(said.kv_bytes >= (uint64_t)1 << 40);
    const sm_engine_opts ref = {.backend = "ref", .ctx = 64};
    assert_int_equal(sm_engine_plan(sm_graph_func(g, NULL), &ref, &said, &backend, &err), SM_UNSUPPORTED);
    sm_graph_free(&g);
}

static bool plan(void *ctx) {
    sm_exe_info said;
    sm_err err;
    const char *backend;
    const sm_engine_opts o = {.backend = "cpu", .ctx = 64, .n_threads = 1};
    sm_status st = sm_engine_plan(sm_graph_func(ctx, NULL), &o, &said, &backend, &err);
    assert_true(st == SM_OK || st == SM_RESOURCE);
    return st == SM_OK;
}

static void out_of_memory(void **state) {
    (void)state;
    sm_graph *g;
    sm_err err;
    assert_int_equal(tiny_model(&specs[1], &g, &err), SM_OK);
    assert_true(sweep(plan, g) > 5);
    sm_graph_free(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_is_held),
        cmocka_unit_test(makes_nothing_large),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
