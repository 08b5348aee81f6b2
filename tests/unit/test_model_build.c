/* SPDX-License-Identifier: MIT
 *
 * test_model_build.c: checkpoints made in memory become graphs: order of rows, RoPE tables, windows, scales, and what is
 * said about checkpoints that are wrong.  Numbers of whole models are tests/e2e/test_logits.py's.
 */
#include <math.h>
#include <string.h>

#include "model/blocks.h"
#include "sweep.h"

enum { D = 16, HEADS = 2, HEAD = 8, FF = 24, VOCAB = 10 };

/* ---- a checkpoint ---- */
typedef struct maker {
    sm_checkpoint *c;
    sm_tensor t[128];
    sm_meta m[64];
} maker;

static void put_tensor(maker *k, const char *name, int64_t rows, int64_t cols) {
    sm_arena *a = k->c->arena;
    int64_t dims[2] = {rows ? rows : cols, cols};
    size_t n = (size_t)(rows ? rows * cols : cols);
    float *x = sm_arena_alloc_n(a, n, sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = rows ? (float)(i / (size_t)cols) : (float)i; /* its row, or its place */
    sm_tensor *t = &k->t[k->c->n_tensors++];
    *t = sm_tensor_dense(SM_FP32, rows ? 2 : 1, dims, x);
    t->part[SM_PART_DATA] = (sm_bytes){(const uint8_t *)x, n * sizeof *x};
    t->name = sm_sv_of(sm_arena_strdup(a, name));
}

static sm_meta *put_meta(maker *k, const char *arch, const char *key, sm_meta_type type) {
    sm_meta *m = &k->m[k->c->n_meta++];
    memset(m, 0, sizeof *m);
    m->key = sm_sv_of(sm_arena_printf(k->c->arena, "%s.%s", arch, key));
    m->type = type;
    return m;
}

static void put_int(maker *k, const char *arch, const char *key, int64_t v) {
    put_meta(k, arch, key, SM_META_INT)->u.i = v;
}

static void put_layer(maker *k, int l, bool gemma) {
    static const struct {
        const char *name;
        int64_t rows, cols;
        bool gemma_only;
    } list[] = {
        {"attn_norm.weight", 0, D, false},
        {"attn_q.weight", HEADS * HEAD, D, false},
        {"attn_k.weight", HEAD, D, false},
        {"attn_v.weight", HEAD, D, false},
        {"attn_output.weight", D, HEADS * HEAD, false},
        {"ffn_norm.weight", 0, D, false},
        {"ffn_gate.weight", FF, D, false},
        {"ffn_up.weight", FF, D, false},
        {"ffn_down.weight", D, FF, false},
        {"attn_q_norm.weight", 0, HEAD, true},
        {"attn_k_norm.weight", 0, HEAD, true},
        {"post_attention_norm.weight", 0, D, true},
        {"post_ffw_norm.weight", 0, D, true},
    };
    for (size_t i = 0; i < SM_ARRAY_LEN(list); i++)
        if (gemma || !list[i].gemma_only) {
            char name[64];
            snprintf(name, sizeof name, "blk.%d.%s", l, list[i].name);
            put_tensor(k, name, list[i].rows, list[i].cols);
        }
}

static void make(maker *k, const char *arch, int layers) {
    bool gemma = strcmp(arch, "gemma3") == 0;
    memset(k, 0, sizeof *k);
    assert_int_equal(sm_checkpoint_new(SM_DIALECT_GGUF, "m.gguf", &k->c, NULL), SM_OK);
    k->c->tensors = k->t;
    k->c->meta = k->m;
    put_meta(k, "general", "architecture", SM_META_STR)->u.s = sm_sv_of(arch);
    put_int(k, arch, "block_count", layers);
    put_int(k, arch, "context_length", 100);
    put_int(k, arch, "embedding_length", D);
    put_int(k, arch, "feed_forward_length", FF);
    put_int(k, arch, "attention.head_count", HEADS);
    put_int(k, arch, "attention.head_count_kv", 1);
    put_meta(k, arch, "attention.layer_norm_rms_epsilon", SM_META_FLOAT)->u.f = 1e-5;
    put_tensor(k, "token_embd.weight", VOCAB, D);
    put_tensor(k, "output_norm.weight", 0, D);
    for (int l = 0; l < layers; l++)
        put_layer(k, l, gemma);
}

static sm_graph *build(maker *k, sm_model_info *info) {
    sm_graph *g = NULL;
    sm_err err = {0};
    if (sm_checkpoint_index(k->c, &err) != SM_OK || sm_model_build(k->c, &g, info, &err) != SM_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(sm_verify(g, &err), SM_OK);
    return g;
}

/* The build must fail with this status and say all of these. */
static void refuse(maker *k, sm_status want, const char *a, const char *b, const char *c) {
    sm_graph *g = NULL;
    sm_model_info info;
    sm_err err = {0};
    assert_int_equal(sm_checkpoint_index(k->c, &err), SM_OK);
    assert_int_equal(sm_model_build(k->c, &g, &info, &err), want);
    assert_null(g);
    if (!strstr(err.msg, a) || !strstr(err.msg, b) || !strstr(err.msg, c))
        fail_msg("wanted %s, %s, %s in: %s", a, b, c, err.msg);
    sm_checkpoint_free(&k->c);
}

static const sm_node *node(const sm_graph *g, sm_op op, int k) {
    for (const sm_node *n = sm_graph_func(g, "main")->body->first; n; n = n->next)
        if (n->op == op && k-- == 0)
            return n;
    fail_msg("there is no such node");
    return NULL;
}

/* ---- tests ---- */
static void test_llama(void **state) {
    (void)state;
    maker k;
    sm_model_info info;
    make(&k, "llama", 2);
    put_tensor(&k, "blk.1.attn_q.bias", 0, HEADS * HEAD);
    sm_graph *g = build(&k, &info);
    assert_string_equal(info.family, "llama");
    assert_int_equal(info.head_dim, HEAD);
    assert_int_equal(info.vocab, VOCAB);
    assert_int_equal(info.trained_ctx, 100);
    /* Rows of q come in pairs (0, H/2, 1, H/2 + 1 ..): logical row i is stored row 2i or 2(i - H/2) + 1. */
    const sm_node *q = node(g, SM_OP_LINEAR, 0), *q1 = node(g, SM_OP_LINEAR, 4);
    const float order[HEAD] = {0, 2, 4, 6, 1, 3, 5, 7};
    float rows[HEADS * HEAD * D], bias[HEADS * HEAD];
    sm_decode_rows(&sm_arg(q, "weight")->cst->src, 0, HEADS * HEAD, rows);
    assert_null(sm_arg(q, "bias"));
    sm_decode_rows(&sm_arg(q1, "bias")->cst->src, 0, 1, bias);
    for (int i = 0; i < HEADS * HEAD; i++) {
        float want = (float)(i / HEAD * HEAD) + order[i % HEAD];
        assert_true(rows[i * D] == want && bias[i] == want);
    }
    /* v is as stored. */
    sm_decode_rows(&sm_arg(node(g, SM_OP_LINEAR, 2), "weight")->cst->src, 0, HEAD, rows);
    for (int i = 0; i < HEAD; i++)
        assert_true(rows[i * D] == (float)i);
    /* One table for the embedding and the head. */
    assert_ptr_equal(sm_arg(node(g, SM_OP_EMBED, 0), "table"), sm_arg(node(g, SM_OP_LM_HEAD, 0), "weight"));
    double scale;
    assert_true(sm_arg_float(node(g, SM_OP_ATTENTION, 0), "scale", &scale));
    assert_true(fabs(scale - 1.0 / sqrt(HEAD)) < 1e-7);
    sm_graph_free(&g);
    sm_checkpoint_free(&k.c);
}

static void test_partial_rotary(void **state) {
    (void)state;
    maker k;
    sm_model_info info;
    make(&k, "llama", 1);
    put_int(&k, "llama", "rope.dimension_count", 4);
    sm_graph *g = build(&k, &info);
    float f[HEAD / 2];
    const sm_tensor *t = &sm_arg(node(g, SM_OP_ROPE, 0), "inv_freq")->cst->src;
    assert_int_equal(t->dims[0], HEAD / 2); /* pairs lie half a head apart; the last two do not turn */
    sm_decode_rows(t, 0, 1, f);
    assert_true(f[0] == 1.0f && fabsf(f[1] - 0.01f) < 1e-8f && f[2] == 0.0f && f[3] == 0.0f);
    sm_graph_free(&g);
    sm_checkpoint_free(&k.c);
}

static void test_gemma3(void **state) {
    (void)state;
    maker k;
    sm_model_info info;
    make(&k, "gemma3", 7);
    put_int(&k, "gemma3", "attention.sliding_window", 50);
    put_int(&k, "gemma3", "attention.key_length", HEAD);
    put_meta(&k, "gemma3", "rope.freq_base", SM_META_FLOAT)->u.f = 1e6;
    put_meta(&k, "gemma3", "rope.scaling.factor", SM_META_FLOAT)->u.f = 8.0;
    put_meta(&k, "gemma3", "rope.scaling.type", SM_META_STR)->u.s = sm_sv_of("linear");
    sm_graph *g = build(&k, &info);
    for (int l = 0; l < 7; l++) {
        int64_t window;
        float f[HEAD / 2], base = l == 5 ? 1e6f : 1e4f, div = l == 5 ? 8.0f : 1.0f;
        assert_true(sm_arg_int(node(g, SM_OP_ATTENTION, l), "window", &window));
        assert_int_equal(window, l == 5 ? 0 : 50);
        sm_decode_rows(&sm_arg(node(g, SM_OP_ROPE, 2 * l), "inv_freq")->cst->src, 0, 1, f);
        for (int i = 0; i < HEAD / 2; i++)
            assert_true(fabsf(f[i] * div * powf(base, 2.0f * (float)i / HEAD) - 1.0f) < 1e-4f);
    }
    double scale;
    assert_true(sm_arg_float(node(g, SM_OP_EMBED, 0), "scale", &scale));
    assert_true(scale == 4.0);
    sm_graph_free(&g);
    sm_checkpoint_free(&k.c);
}

static void test_rope_llama3(void **state) {
    (void)state;
    float f[64], plain[64];
    sm_rope_base(500000.0, 128, plain);
    memcpy(f, plain, sizeof f);
    sm_rope_llama3(8.0, 1.0, 4.0, 8192.0, 64, f);
    for (int i = 0; i < 64; i++) {
        double wavelen = 2.0 * M_PI / plain[i], ratio = f[i] / plain[i];
        if (wavelen < 8192.0 / 4.0)
            assert_true(ratio == 1.0);
        else if (wavelen > 8192.0)
            assert_true(fabs(ratio - 0.125) < 1e-6);
        else
            assert_true(ratio > 0.125 && ratio < 1.0);
    }
    assert_true(f[63] < f[62] && plain[0] == 1.0f);
}

static void test_refusals(void **state) {
    (void)state;
    maker k;
    make(&k, "llama", 1);
    put_tensor(&k, "blk.0.attn_q_scale.weight", 0, 3);
    refuse(&k, SM_UNSUPPORTED, "blk.0.attn_q_scale.weight", "llama", "m.gguf");
    make(&k, "llama", 2);
    k.c->n_tensors--; /* blk.1.ffn_down.weight */
    refuse(&k, SM_BADINPUT, "blk.1.ffn_down.weight", "missing", "[16, 24]");
    make(&k, "llama", 1);
    k.t[2].dims[0] = D - 1; /* blk.0.attn_norm.weight */
    refuse(&k, SM_BADINPUT, "blk.0.attn_norm.weight", "wanted shape [16]", "found [15]");
    make(&k, "mamba", 1);
    refuse(&k, SM_UNSUPPORTED, "mamba", "llama", "gemma3");
    make(&k, "llama", 1);
    put_int(&k, "llama", "expert_count", 8);
    refuse(&k, SM_UNSUPPORTED, "experts", "", "");
    make(&k, "llama", 1);
    k.m[3].u.i = 0; /* embedding_length */
    refuse(&k, SM_BADINPUT, "llama.embedding_length", "wanted 1..", "found 0");
    make(&k, "llama", 1);
    put_meta(&k, "llama", "rope.scaling.type", SM_META_STR)->u.s = sm_sv_of("longrope");
    refuse(&k, SM_UNSUPPORTED, "longrope", "llama3", "");
    make(&k, "llama", 1);
    k.c->n_meta--; /* the norm's epsilon */
    refuse(&k, SM_BADINPUT, "llama.attention.layer_norm_rms_epsilon", "missing", "");
}

static bool build_once(void *ctx) {
    maker *k = ctx;
    sm_graph *g = NULL;
    sm_model_info info;
    bool ok = sm_model_build(k->c, &g, &info, NULL) == SM_OK;
    sm_graph_free(&g);
    return ok;
}

static void test_out_of_memory(void **state) {
    (void)state;
    maker k;
    make(&k, "gemma3", 1);
    assert_int_equal(sm_checkpoint_index(k.c, NULL), SM_OK);
    assert_true(sweep(build_once, &k) > 3);
    sm_checkpoint_free(&k.c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama),       cmocka_unit_test(test_partial_rotary), cmocka_unit_test(test_gemma3),
        cmocka_unit_test(test_rope_llama3), cmocka_unit_test(test_refusals),       cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
