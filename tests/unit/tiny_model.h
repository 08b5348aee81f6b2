/* SPDX-License-Identifier: MIT
 *
 * tiny_model.h: small random row-form models for tests, of every shape that families have: grouped heads, norms of q and
 * k, windows, sandwich norms, partial rotary, soft caps, a tied or separate head, dense or coded weights.
 *
 * Weights come from a fixed generator, so a seed is a model.
 */
#ifndef TINY_MODEL_H
#define TINY_MODEL_H

#include "graph/graph.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct tiny_spec {
    int layers, d, heads, kv_heads, head_dim, ff, vocab;
    int rot;    /* elements of a head that turn; 0: all */
    int window; /* on even layers; 0: none */
    bool qk_norm, post_norm, separate_head, two_bases;
    double embed_scale, head_cap, attn_cap, attn_scale; /* 0: plain */
    const char *act;                                    /* NULL: silu */
    sm_enc_id enc;                                      /* SM_ENC_DENSE: fp32; Q4_0, Q4_1, Q8_0 */
    uint64_t seed;
} tiny_spec;

static inline float tiny_rand(uint64_t *s) {
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(*s >> 33) / (double)(1u << 30) - 1.0);
}

/* Random blocks of a 32-element encoding: the scales are made sane, the codes are whatever comes. */
static inline void tiny_blocks(sm_enc_id id, uint8_t *p, size_t n_blocks, uint64_t *s) {
    size_t bytes = (size_t)sm_enc_row_of(id)->block_bytes;
    for (size_t i = 0; i < n_blocks; i++, p += bytes) {
        for (size_t k = 0; k < bytes; k++)
            p[k] = (uint8_t)(tiny_rand(s) * 127 + 128);
        uint16_t d = sm_f32_to_f16((id == SM_ENC_Q8_0 ? 0.0012f : 0.02f) * (1.5f + tiny_rand(s)));
        memcpy(p, &d, 2);
        if (id == SM_ENC_Q4_1) {
            uint16_t m = sm_f32_to_f16(-0.15f * (1.5f + tiny_rand(s)));
            memcpy(p + 2, &m, 2);
        }
    }
}

static inline sm_value *tiny_matrix(sm_builder *b, const tiny_spec *z, const char *name, int64_t rows, int64_t cols,
                                    uint64_t *s) {
    int64_t dims[2] = {rows, cols};
    size_t n = (size_t)(rows * cols);
    if (z->enc == SM_ENC_DENSE) {
        float *x = sm_alloc_n(n, sizeof *x);
        for (size_t i = 0; i < n && x != NULL; i++)
            x[i] = 0.15f * tiny_rand(s);
        if (x == NULL)
            b->st = SM_NOMEM(&b->err);
        sm_value *v = x != NULL ? sm_const_data(b, name, SM_FP32, 2, dims, x) : NULL;
        sm_free(x);
        return v;
    }
    size_t bytes = n / 32 * (size_t)sm_enc_row_of(z->enc)->block_bytes;
    uint8_t *p = sm_arena_alloc(b->g->arena, bytes);
    if (p == NULL) {
        b->st = SM_NOMEM(&b->err);
        return NULL;
    }
    tiny_blocks(z->enc, p, n / 32, s);
    sm_tensor t = {
        .name = sm_sv_of(sm_arena_strdup(b->g->arena, name)), .dtype = SM_FP32, .rank = 2, .enc = sm_enc_block(z->enc)};
    memcpy(t.dims, dims, sizeof dims);
    t.part[SM_PART_DATA] = (sm_bytes){p, bytes};
    return sm_const_tensor(b, name, &t);
}

static inline sm_value *tiny_vector(sm_builder *b, const char *name, int64_t n, uint64_t *s) {
    float x[4096];
    for (int64_t i = 0; i < n; i++)
        x[i] = sm_round_f16(1 + 0.3f * tiny_rand(s));
    return sm_const_data(b, name, SM_FP32, 1, &n, x);
}

static inline sm_value *tiny_norm(sm_builder *b, sm_value *x, int64_t d, uint64_t *s) {
    return sm_build(b, SM_OP_RMS_NORM, NULL, "x", x, "gamma", tiny_vector(b, "gamma", d, s), "eps",
                    sm_const_f(b, SM_FP32, 1e-6), NULL);
}

static inline sm_value *tiny_freqs(sm_builder *b, int rot, double base) {
    float f[512];
    int64_t n = rot / 2;
    for (int64_t i = 0; i < n; i++)
        f[i] = (float)pow(base, -2.0 * (double)i / rot);
    return sm_const_data(b, "inv_freq", SM_FP32, 1, &n, f);
}

static inline sm_value *tiny_heads(sm_builder *b, const tiny_spec *z, sm_value *x, int heads, bool norm, uint64_t *s) {
    int32_t shape[3] = {-1, heads, z->head_dim};
    x = sm_build(b, SM_OP_RESHAPE, NULL, "x", x, "shape", sm_const_i32s(b, shape, 3), NULL);
    return norm ? tiny_norm(b, x, z->head_dim, s) : x;
}

static inline sm_value *tiny_layer(sm_builder *b, const tiny_spec *z, int l, sm_value *x, sm_value *pos,
                                   sm_value *batch, sm_value *const freqs[2], uint64_t *s) {
    sm_value *h = tiny_norm(b, x, z->d, s), *freq = freqs[z->two_bases && l % 2 == 0];
    sm_value *one = sm_const_f(b, SM_FP32, 1);
    sm_value *q = sm_build(b, SM_OP_LINEAR, NULL, "x", h, "weight",
                           tiny_matrix(b, z, "wq", z->heads * z->head_dim, z->d, s), NULL);
    sm_value *k = sm_build(b, SM_OP_LINEAR, NULL, "x", h, "weight",
                           tiny_matrix(b, z, "wk", z->kv_heads * z->head_dim, z->d, s), NULL);
    sm_value *v = sm_build(b, SM_OP_LINEAR, NULL, "x", h, "weight",
                           tiny_matrix(b, z, "wv", z->kv_heads * z->head_dim, z->d, s), NULL);
    q = sm_build(b, SM_OP_ROPE, NULL, "x", tiny_heads(b, z, q, z->heads, z->qk_norm, s), "pos", pos, "inv_freq", freq,
                 "scale", one, NULL);
    k = sm_build(b, SM_OP_ROPE, NULL, "x", tiny_heads(b, z, k, z->kv_heads, z->qk_norm, s), "pos", pos, "inv_freq",
                 freq, "scale", one, NULL);
    v = tiny_heads(b, z, v, z->kv_heads, false, s);
    double scale = z->attn_scale > 0 ? z->attn_scale : 1 / sqrt((double)z->head_dim);
    sm_value *y = sm_build(b, SM_OP_ATTENTION, NULL, "q", q, "k", k, "v", v, "batch", batch, "slot", sm_const_i32(b, l),
                           "scale", sm_const_f(b, SM_FP32, scale), "window",
                           z->window > 0 && l % 2 == 0 ? sm_const_i32(b, z->window) : NULL, "softcap",
                           z->attn_cap > 0 ? sm_const_f(b, SM_FP32, z->attn_cap) : NULL, NULL);
    int32_t flat[2] = {-1, z->heads * z->head_dim};
    y = sm_build(b, SM_OP_RESHAPE, NULL, "x", y, "shape", sm_const_i32s(b, flat, 2), NULL);
    y = sm_build(b, SM_OP_LINEAR, NULL, "x", y, "weight", tiny_matrix(b, z, "wo", z->d, z->heads * z->head_dim, s),
                 NULL);
    if (z->post_norm)
        y = tiny_norm(b, y, z->d, s);
    x = sm_build(b, SM_OP_ADD, NULL, "x", x, "y", y, NULL);
    h = tiny_norm(b, x, z->d, s);
    sm_value *g = tiny_matrix(b, z, "gate", z->ff, z->d, s), *u = tiny_matrix(b, z, "up", z->ff, z->d, s);
    y = sm_build(b, SM_OP_GATED_MLP, NULL, "x", h, "gate", g, "up", u, "down",
                 tiny_matrix(b, z, "down", z->d, z->ff, s), "act", sm_const_str(b, z->act != NULL ? z->act : "silu"),
                 NULL);
    if (z->post_norm)
        y = tiny_norm(b, y, z->d, s);
    return sm_build(b, SM_OP_ADD, NULL, "x", x, "y", y, NULL);
}

/* The model as function "main" of a new graph. */
static inline sm_status tiny_model(const tiny_spec *z, sm_graph **out, sm_err *err) {
    sm_builder b;
    sm_func *f;
    uint64_t s = z->seed * 2654435761u + 12345;
    SM_TRY(sm_graph_new(out, err));
    SM_TRY(sm_func_new(*out, "main", 0, &f, err));
    sm_build_start(&b, f);
    sm_type rows = {.kind = SM_V_TENSOR, .dtype = SM_INT32, .rank = 1, .dims = {sm_dim_symbol(*out, "t", 1, -1)}};
    sm_type outs = {.kind = SM_V_TENSOR, .dtype = SM_INT32, .rank = 1, .dims = {sm_dim_symbol(*out, "r", 0, -1)}};
    sm_value *ids = sm_build_input(&b, "ids", rows), *pos = sm_build_input(&b, "pos", rows);
    sm_value *wanted = sm_build_input(&b, "out", outs),
             *batch = sm_build_input(&b, "batch", (sm_type){.kind = SM_V_BATCH});
    int rot = z->rot > 0 ? z->rot : z->head_dim;
    sm_value *freqs[2] = {tiny_freqs(&b, rot, 1e6), z->two_bases ? tiny_freqs(&b, rot, 1e4) : NULL};
    sm_value *table = tiny_matrix(&b, z, "embed", z->vocab, z->d, &s);
    sm_value *x = sm_build(&b, SM_OP_EMBED, NULL, "ids", ids, "table", table, "scale",
                           z->embed_scale > 0 ? sm_const_f(&b, SM_FP32, z->embed_scale) : NULL, NULL);
    for (int l = 0; l < z->layers; l++)
        x = tiny_layer(&b, z, l, x, pos, batch, freqs, &s);
    x = sm_build(&b, SM_OP_GATHER, NULL, "x", x, "indices", wanted, "axis", sm_const_i32(&b, 0), NULL);
    x = tiny_norm(&b, x, z->d, &s);
    x = sm_build(&b, SM_OP_LM_HEAD, NULL, "x", x, "weight",
                 z->separate_head ? tiny_matrix(&b, z, "head", z->vocab, z->d, &s) : table, "softcap",
                 z->head_cap > 0 ? sm_const_f(&b, SM_FP32, z->head_cap) : NULL, NULL);
    sm_build_output(&b, x, "logits");
    return sm_build_end(&b, err);
}

/* Shapes that between them use everything. */
static const tiny_spec tiny_specs[] = {
    {.layers = 2,
     .d = 64,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 16,
     .ff = 96,
     .vocab = 80,
     .enc = SM_ENC_Q4_0,
     .seed = 1},
    {.layers = 3,
     .d = 64,
     .heads = 4,
     .kv_heads = 1,
     .head_dim = 32,
     .ff = 96,
     .vocab = 97,
     .window = 3,
     .qk_norm = true,
     .post_norm = true,
     .two_bases = true,
     .embed_scale = 8,
     .act = "gelu_tanh",
     .enc = SM_ENC_Q8_0,
     .seed = 2},
    {.layers = 2,
     .d = 96,
     .heads = 3,
     .kv_heads = 3,
     .head_dim = 24,
     .ff = 64,
     .vocab = 64,
     .separate_head = true,
     .rot = 16,
     .act = "gelu",
     .enc = SM_ENC_DENSE,
     .seed = 3},
    {.layers = 2,
     .d = 64,
     .heads = 6,
     .kv_heads = 2,
     .head_dim = 16,
     .ff = 128,
     .vocab = 70,
     .qk_norm = true,
     .head_cap = 30,
     .attn_cap = 50,
     .attn_scale = 0.125,
     .enc = SM_ENC_Q4_1,
     .seed = 4},
    {.layers = 1,
     .d = 32,
     .heads = 1,
     .kv_heads = 1,
     .head_dim = 32,
     .ff = 32,
     .vocab = 33,
     .embed_scale = 5.6568542494923806,
     .enc = SM_ENC_Q4_1,
     .seed = 5},
    /* rows whose quantized form is a multiple of 1024 bytes: buffers keep those apart */
    {.layers = 1,
     .d = 64,
     .heads = 2,
     .kv_heads = 1,
     .head_dim = 32,
     .ff = 1024,
     .vocab = 40,
     .enc = SM_ENC_Q8_0,
     .seed = 6},
};

#endif
