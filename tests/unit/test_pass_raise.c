/* SPDX-License-Identifier: MIT
 *
 * test_pass_raise.c: raise after lower is the identity up to names, for every package profile, on models of every shape.
 */
#include "tiny_model.h"

#include "pass/pass.h"
#include "sweep.h"

static const tiny_spec small_spec = {.layers = 1, .d = 32, .heads = 2, .kv_heads = 1, .head_dim = 16, .rot = 8, .ff = 32, .vocab = 33, .window = 3,
                                     .head_cap = 5, .attn_scale = 0.5, .embed_scale = 2, .enc = SM_ENC_Q4_0, .seed = 9};

static sm_profile sized(const char *name) {
    sm_profile p = *sm_profile_find(name);
    p.ctx = 32;
    p.seq_min = 1;
    p.seq_max = p.flexible ? 32 : 4;
    return p;
}

static void print(const sm_func *f, sm_str *out) {
    sm_err err = {0};
    sm_print_opts o = {.anonymous = true, .no_data = true};
    if (sm_func_print(f, &o, out, &err) != SM_OK)
        fail_msg("print: %s", err.msg);
}

static void identity(const tiny_spec *z, const char *profile) {
    sm_err err = {0};
    sm_graph *g = NULL;
    sm_func *f, *back = NULL;
    sm_raised info;
    sm_str before = SM_STR_INIT, after = SM_STR_INIT;
    sm_profile p = sized(profile);
    if (tiny_model(z, &g, &err) != SM_OK)
        fail_msg("model %d: %s", (int)z->seed, err.msg);
    f = sm_graph_func(g, NULL);
    if (sm_pass_encode(f, &p, &f, &err) != SM_OK)
        fail_msg("encode %d: %s", (int)z->seed, err.msg);
    print(f, &before);
    if (sm_pass_lower(f, &p, &f, &err) != SM_OK || sm_verify_func(f, &err) != SM_OK)
        fail_msg("lower %d as %s: %s", (int)z->seed, profile, err.msg);
    if (sm_pipeline_raise(f, &back, &info, &err) != SM_OK)
        fail_msg("raise %d from %s: %s", (int)z->seed, profile, err.msg);
    if (!info.ok)
        fail_msg("model %d as %s not raised: %s", (int)z->seed, profile, info.why);
    assert_int_equal(info.ctx, 32);
    assert_int_equal(info.seq_max, p.seq_max);
    print(back, &after);
    if (strcmp(sm_str_z(&before), sm_str_z(&after)) != 0)
        fail_msg("model %d as %s: before:\n%s\nafter:\n%s", (int)z->seed, profile, sm_str_z(&before), sm_str_z(&after));
    sm_str_free(&before);
    sm_str_free(&after);
    sm_graph_free(&g);
}

static void identity_gpu(void **state) {
    (void)state;
    for (size_t i = 0; i < SM_ARRAY_LEN(tiny_specs); i++)
        identity(&tiny_specs[i], "gpu");
}

static void identity_kv_io(void **state) {
    (void)state;
    for (size_t i = 0; i < SM_ARRAY_LEN(tiny_specs); i++)
        identity(&tiny_specs[i], "kv-io");
}

/* What is not a decoder says why. */
static void not_raised(void **state) {
    (void)state;
    sm_err err = {0};
    sm_graph *g = NULL;
    sm_func *f, *back = NULL;
    sm_builder b;
    sm_raised info;
    assert_int_equal(sm_graph_new(&g, &err), SM_OK);
    assert_int_equal(sm_func_new(g, "main", 9, &f, &err), SM_OK);
    sm_build_start(&b, f);
    sm_value *x = sm_build_input(&b, "x", (sm_type){.kind = SM_V_TENSOR, .dtype = SM_FP16, .rank = 2, .dims = {3, 4}});
    sm_build_output(&b, sm_build(&b, SM_OP_RELU, "y", "x", x, NULL), NULL);
    assert_int_equal(sm_build_end(&b, &err), SM_OK);
    assert_int_equal(sm_pipeline_raise(f, &back, &info, &err), SM_OK);
    assert_false(info.ok);
    assert_null(back);
    assert_true(strlen(info.why) > 0);
    sm_graph_free(&g);
}

/* Every allocation of lowering and raising may fail: it is reported, and nothing is leaked. */
static bool out_and_back(void *ctx) {
    sm_err err = {0};
    sm_graph *g = NULL;
    sm_func *back = NULL;
    sm_raised info = {0};
    sm_profile p = sized(ctx);
    bool ok = tiny_model(&small_spec, &g, &err) == SM_OK;
    if (ok) {
        sm_func *f = sm_graph_func(g, NULL);
        sm_status st = sm_pipeline_package(f, &p, &f, &err);
        if (st == SM_OK)
            st = sm_pipeline_raise(f, &back, &info, &err);
        ok = st == SM_OK;
        assert_true(ok || (st == SM_RESOURCE && err.msg[0] != 0));
        assert_true(!ok || info.ok);
    }
    sm_graph_free(&g);
    return ok;
}

static void out_of_memory(void **state) {
    (void)state;
    sweep(out_and_back, "gpu");
    sweep(out_and_back, "kv-io");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identity_gpu),
        cmocka_unit_test(identity_kv_io),
        cmocka_unit_test(not_raised),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
