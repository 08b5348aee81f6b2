/* SPDX-License-Identifier: MIT
 *
 * make_pkgs.c: packages built node by node, for other readers to judge what our writer makes of forms that no fixture has.
 *
 *     make_pkgs DIR    writes DIR/NAME.mlpackage and, where numbers are checked, DIR/NAME.npz: outputs for scale = 1
 *
 *     encodings18   GGUF blocks as affine codes, rows put back in order, palettes scaled in both ways, dense forms
 *     encodings16   what iOS16 holds: int8 per channel, palettes
 *     fitted18, fitted17, fitted16   f32 weights as every palette and per-channel form of these systems, rows that end inside bytes
 *     multi18       two functions over one state and shared weights, an item beside the model
 *     defaults15.. defaults18   ops with everything left out that may be
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/mlpackage.h"
#include "format/npz.h"

#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        if ((call) != SM_OK)                                                                                           \
            die(&err);                                                                                                 \
    } while (0)

static const char *folder;
static uint32_t seed = 1;
static sm_err err;

static void die(const sm_err *e) {
    fprintf(stderr, "make_pkgs: %s\n", e->msg);
    exit(1);
}

static uint32_t draw(void) {
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

static void put_half(uint8_t *p, float v) {
    uint16_t h = sm_f32_to_f16(v);
    memcpy(p, &h, 2);
}

static void *random_bytes(sm_graph *g, size_t n) {
    uint8_t *p = sm_arena_alloc(g->arena, n);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)draw();
    return p;
}

static sm_bytes random_halves(sm_graph *g, size_t n) {
    uint8_t *p = sm_arena_alloc(g->arena, 2 * n);
    for (size_t i = 0; i < n; i++)
        put_half(p + 2 * i, (float)((int)(draw() % 2001) - 1000) / 512.0f);
    return (sm_bytes){p, 2 * n};
}

/* Blocks of a GGUF type with sane scales: every 2-byte field at the given offsets is a small fp16 number. */
static sm_tensor gguf_blocks(sm_graph *g, sm_enc_id id, int64_t rows, int64_t cols, int n_halves) {
    const sm_enc_row *e = sm_enc_row_of(id);
    sm_tensor t = {.dtype = SM_FP32, .rank = 2, .dims = {rows, cols}, .enc = sm_enc_block(id)};
    size_t n = (size_t)(rows * cols / e->block);
    uint8_t *p = random_bytes(g, n * (size_t)e->block_bytes);
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < n_halves; k++)
            put_half(p + i * (size_t)e->block_bytes + 2 * k, (float)((int)(draw() % 200) - 100) / 1024.0f);
    t.part[SM_PART_DATA] = (sm_bytes){p, n * (size_t)e->block_bytes};
    return t;
}

static sm_tensor coded(sm_graph *g, sm_encoding e, int64_t rows, int64_t cols) {
    sm_tensor t = {.dtype = SM_FP16, .rank = 2, .dims = {rows, cols}, .enc = e};
    size_t bytes[SM_PART_COUNT];
    TRY(sm_enc_sizes(&e, 2, t.dims, bytes, &err));
    for (int k = 0; k < SM_PART_COUNT; k++) {
        sm_dtype d = sm_enc_part_dtype(&e, k);
        if (d == SM_FP16)
            t.part[k] = random_halves(g, bytes[k] / 2);
        else if (d != SM_NONE)
            t.part[k] = (sm_bytes){random_bytes(g, bytes[k]), bytes[k]};
    }
    return t;
}

static sm_package *package(int version) {
    sm_graph *g;
    TRY(sm_graph_new(&g, &err));
    sm_package *p = sm_arena_alloc(g->arena, sizeof *p);
    p->graph = g;
    p->spec_version = version;
    p->default_function = "main";
    p->short_description = "made by make_pkgs";
    p->author = "smelt";
    return p;
}

static void finish(sm_package *p, const char *name) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s.mlpackage", folder, name);
    TRY(sm_verify(p->graph, &err));
    TRY(sm_mlpackage_write(p, path, NULL, &err));
    sm_graph_free(&p->graph);
}

static sm_type tensor(sm_dtype t, int rank, int64_t a, int64_t b, int64_t c) {
    return (sm_type){.kind = SM_V_TENSOR, .dtype = t, .rank = rank, .dims = {a, b, c}};
}

/* ------------------------------------------------------------------ encodings */

typedef struct enc_case {
    sm_builder b;
    sm_value *scale; /* input, fp16 [1] */
    sm_arrays want;
} enc_case;

/* One output: scale * weight; what it must be for scale 1. */
static void add_weight(enc_case *c, const char *name, const sm_tensor *src, const sm_encoding *want) {
    char label[64];
    snprintf(label, sizeof label, "%s_weight", name);
    sm_value *w = sm_const_tensor(&c->b, label, src), *as = want == NULL ? w : sm_const_as(&c->b, w, want, SM_FP16);
    sm_build_output(&c->b, sm_build(&c->b, SM_OP_MUL, name, "x", as, "y", c->scale, NULL), NULL);
    if (c->b.st != SM_OK)
        die(&c->b.err);
    sm_array *a = sm_arrays_add(&c->want);
    sm_tensor t = *src;
    t.dtype = SM_FP16;
    TRY(sm_array_new(a, name, SM_FP32, t.rank, t.dims, &err));
    sm_decode_rows(&t, 0, sm_tensor_rows(&t), a->data);
}

/* f32 weights as `enc`; the output is what the codes decode to. */
static void add_fitted(enc_case *c, const char *name, int64_t rows, int64_t cols, const char *enc) {
    sm_graph *g = c->b.g;
    float *x = sm_arena_alloc_n(g->arena, (size_t)(rows * cols), sizeof *x);
    for (int64_t i = 0; i < rows * cols; i++)
        x[i] = ((float)(draw() % 4001) - 2000.0f) / 8000.0f * (float)(1 + i / cols % 3);
    int64_t dims[2] = {rows, cols};
    sm_tensor src = sm_tensor_dense(SM_FP32, 2, dims, x), got = src;
    size_t bytes[SM_PART_COUNT];
    uint8_t *out[SM_PART_COUNT] = {0};
    TRY(sm_enc_parse(sm_sv_of(enc), 2, &got.enc, &err));
    TRY(sm_enc_sizes(&got.enc, 2, dims, bytes, &err));
    for (int k = 0; k < SM_PART_COUNT; k++) {
        out[k] = sm_arena_alloc(g->arena, bytes[k] + 1);
        got.part[k] = (sm_bytes){bytes[k] > 0 ? out[k] : NULL, bytes[k]};
    }
    TRY(sm_transcode_whole(&src, &got.enc, SM_FP16, NULL, out, NULL, &err));
    got.dtype = SM_FP16;
    char label[64];
    snprintf(label, sizeof label, "%s_weight", name);
    sm_value *w = sm_const_as(&c->b, sm_const_tensor(&c->b, label, &src), &got.enc, SM_FP16);
    sm_build_output(&c->b, sm_build(&c->b, SM_OP_MUL, name, "x", w, "y", c->scale, NULL), NULL);
    sm_array *a = sm_arrays_add(&c->want);
    TRY(sm_array_new(a, name, SM_FP32, 2, dims, &err));
    sm_decode_rows(&got, 0, (uint64_t)rows, a->data);
}

static void start(enc_case *c, sm_package *p, const char *name) {
    sm_func *f;
    *c = (enc_case){0};
    TRY(sm_func_new(p->graph, name, p->spec_version, &f, &err));
    sm_build_start(&c->b, f);
    c->scale = sm_build_input(&c->b, "scale", tensor(SM_FP16, 1, 1, 0, 0));
}

static void finish_enc(enc_case *c, sm_package *p, const char *name) {
    char path[1024];
    TRY(sm_build_end(&c->b, &err));
    snprintf(path, sizeof path, "%s/%s.npz", folder, name);
    TRY(sm_npz_write(path, &c->want, &err));
    sm_arrays_free(&c->want);
    finish(p, name);
}

static sm_encoding palette(sm_dtype code, int64_t rows, int64_t cols, sm_dtype sc, int64_t sc_rows, int64_t sc_cols) {
    return (sm_encoding){.id = SM_ENC_LUT,
                         .code = code,
                         .aux = SM_FP16,
                         .sc = sc,
                         .vec = 1,
                         .block = {rows, cols},
                         .sc_block = {sc_rows, sc_cols}};
}

static void encodings18(void) {
    sm_package *p = package(9);
    sm_graph *g = p->graph;
    enc_case c;
    sm_tensor t;
    sm_encoding e;
    start(&c, p, "main");
    t = gguf_blocks(g, SM_ENC_Q4_0, 32, 64, 1);
    sm_affine_for(&t, &e);
    add_weight(&c, "q4_0", &t, &e);
    t.deinterleave = 16;
    add_weight(&c, "q4_0_turned", &t, &e);
    t = gguf_blocks(g, SM_ENC_Q8_0, 2000, 1024, 1); /* several slabs */
    sm_affine_for(&t, &e);
    add_weight(&c, "q8_0", &t, &e);
    t = gguf_blocks(g, SM_ENC_Q5_0, 8, 32, 1);
    sm_affine_for(&t, &e);
    add_weight(&c, "q5_0", &t, &e);
    t = gguf_blocks(g, SM_ENC_Q6_K, 8, 256, 0);
    e = sm_enc_dense(SM_FP16);
    for (size_t i = 0; i < 8; i++) /* its one fp16 field stands at the end */
        put_half((uint8_t *)(uintptr_t)t.part[0].p + i * 210 + 208, 0.001f);
    add_weight(&c, "q6_k_dense", &t, &e);
    t = coded(g, sm_enc_affine(SM_INT8, SM_FP16, SM_NONE, 2, 32), 8, 32);
    t.enc.block[0] = 4; /* blocks over rows too */
    t.part[SM_PART_SCALE].n /= 4;
    add_weight(&c, "block2d", &t, NULL);
    t = coded(g, sm_enc_affine(SM_UINT4, SM_FP16, SM_FP16, 2, 16), 6, 48);
    add_weight(&c, "float_offset", &t, NULL);
    t = coded(g, sm_enc_affine(SM_INT4, SM_FP16, SM_INT4, 2, 16), 3, 48);
    t.deinterleave = 0;
    add_weight(&c, "int4_offset", &t, NULL);
    t = coded(g, palette(SM_UINT3, 4, 5, SM_NONE, 0, 0), 8, 5);
    add_weight(&c, "lut3", &t, NULL);
    t = coded(g, palette(SM_UINT6, 2, 30, SM_FP16, 2, 30), 4, 30);
    add_weight(&c, "lut6_table_scale", &t, NULL);
    t = coded(g, palette(SM_UINT4, 8, 32, SM_FP16, 1, 32), 8, 32);
    add_weight(&c, "lut4_row_scale", &t, NULL);
    t = coded(
        g, (sm_encoding){.id = SM_ENC_LUT, .code = SM_UINT2, .aux = SM_FP16, .vec = 2, .vec_axis = 1, .block = {2, 8}},
        4, 8);
    add_weight(&c, "lut2_vector", &t, NULL);
    t = coded(g, sm_enc_dense(SM_FP16), 3, 3); /* immediate */
    add_weight(&c, "small", &t, NULL);
    t = coded(g, sm_enc_dense(SM_FP16), 16, 24);
    add_weight(&c, "dense", &t, NULL);
    add_weight(&c, "dense_again", &t, NULL);
    finish_enc(&c, p, "encodings18");
}

/* Odd rows and columns: codes of 3 and 6 bits straddle bytes, rows end inside them. */
static void fitted(int version, const char *name) {
    static const struct {
        int version;
        const char *name, *enc;
    } forms[] = {
        {7, "lut1", "lut(uint1, fp16, [15, 37])"},
        {7, "lut2", "lut(uint2, fp16, [15, 37])"},
        {9, "lut3", "lut(uint3, fp16, [15, 37])"},
        {7, "lut4", "lut(uint4, fp16, [15, 37])"},
        {7, "lut6", "lut(uint6, fp16, [15, 37])"},
        {7, "lut8", "lut(uint8, fp16, [15, 37])"},
        {9, "lut1_rows", "lut(uint1, fp16, [3, 37])"},
        {9, "lut2_rows", "lut(uint2, fp16, [5, 37])"},
        {9, "lut3_rows", "lut(uint3, fp16, [3, 37])"},
        {9, "lut4_rows", "lut(uint4, fp16, [1, 37])"},
        {9, "lut6_rows", "lut(uint6, fp16, [5, 37])"},
        {9, "lut8_rows", "lut(uint8, fp16, [3, 37])"},
        {9, "lut4_columns", "lut(uint4, fp16, [15, 1])"},
        {9, "lut3_both", "lut(uint3, fp16, [5, 1])"},
        {7, "int8_row", "affine(int8, fp16, [1, 37])"},
        {7, "uint8_row", "affine(uint8, fp16, offset uint8, [1, 37])"},
    };
    sm_package *p = package(version);
    enc_case c;
    start(&c, p, "main");
    for (size_t i = 0; i < SM_ARRAY_LEN(forms); i++)
        if (version >= forms[i].version)
            add_fitted(&c, forms[i].name, 15, 37, forms[i].enc);
    finish_enc(&c, p, name);
}

static void encodings16(void) {
    sm_package *p = package(7);
    sm_graph *g = p->graph;
    enc_case c;
    sm_tensor t;
    start(&c, p, "main");
    t = coded(g, sm_enc_affine(SM_INT8, SM_FP16, SM_NONE, 2, 40), 12, 40);
    add_weight(&c, "per_row", &t, NULL);
    t = coded(g, sm_enc_affine(SM_UINT8, SM_FP16, SM_UINT8, 2, 1), 12, 40);
    t.enc.block[0] = 12;
    t.part[SM_PART_SCALE].n = 80;
    t.part[SM_PART_OFFSET].n = 40;
    add_weight(&c, "per_column", &t, NULL);
    t = coded(g, sm_enc_affine(SM_INT8, SM_FP16, SM_NONE, 2, 40), 12, 40);
    t.enc.block[0] = 12;
    t.part[SM_PART_SCALE].n = 2;
    add_weight(&c, "whole", &t, NULL);
    t = coded(g, palette(SM_UINT4, 12, 40, SM_NONE, 0, 0), 12, 40);
    add_weight(&c, "lut4", &t, NULL);
    t = coded(g, palette(SM_UINT6, 9, 5, SM_NONE, 0, 0), 9, 5);
    add_weight(&c, "lut6", &t, NULL);
    finish_enc(&c, p, "encodings16");
}

/* ------------------------------------------------------------------ several functions */

static void multi_function(sm_package *p, const char *name, int64_t n, const sm_tensor *w) {
    sm_graph *g = p->graph;
    sm_func *f;
    sm_builder b;
    TRY(sm_func_new(g, name, 9, &f, &err));
    sm_build_start(&b, f);
    sm_dim rows = n > 0 ? n : sm_dim_symbol(g, "n", 1, 64);
    sm_value *x = sm_build_input(&b, "x", tensor(SM_FP16, 2, rows, 32, 0));
    sm_type st = tensor(SM_FP16, 2, 1, 16, 0);
    st.kind = SM_V_STATE;
    sm_value *s = sm_build_input(&b, "memory", st);
    sm_value *weight = g->n_funcs == 1 ? sm_const_tensor(&b, "shared_weight", w) : NULL;
    for (const sm_node *m = g->funcs[0]->body->first; m != NULL && weight == NULL; m = m->next)
        if (m->op == SM_OP_LINEAR)
            weight = sm_arg(m, "weight");
    sm_value *y = sm_build(&b, SM_OP_LINEAR, NULL, "x", x, "weight", weight, NULL);
    sm_value *sum = sm_build(&b, SM_OP_REDUCE_SUM, NULL, "x", y, "axes", sm_const_i32s(&b, (int32_t[]){0}, 1),
                             "keep_dims", sm_const_bool(&b, true), NULL);
    sm_value *old = sm_build(&b, SM_OP_READ_STATE, NULL, "input", s, NULL);
    sm_value *now = sm_build(&b, SM_OP_ADD, NULL, "x", old, "y", sum, NULL);
    sm_build(&b, SM_OP_WRITE_STATE, NULL, "input", s, "data", now, NULL);
    sm_build_output(&b, y, "out 1"); /* no identifier */
    sm_build_output(&b, x, NULL);    /* an input: through an identity */
    TRY(sm_build_end(&b, &err));
}

static void multi18(void) {
    sm_package *p = package(9);
    static sm_pkg_kv meta[] = {{"z", "last"}, {"a", "first"}};
    static sm_pkg_item items[] = {{.path = "smelt/notes.txt",
                                   .author = "smelt",
                                   .description = "notes",
                                   .name = "notes",
                                   .bytes = {(const uint8_t *)"hello\n", 6}}};
    sm_tensor w = coded(p->graph, sm_enc_affine(SM_INT4, SM_FP16, SM_NONE, 2, 32), 16, 32);
    p->default_function = "decode";
    p->meta = meta;
    p->n_meta = 2;
    p->items = items;
    p->n_items = 1;
    multi_function(p, "prefill", 0, &w);
    multi_function(p, "decode", 1, &w);
    finish(p, "multi18");
}

/* ------------------------------------------------------------------ defaults */

static void defaults(int version, const char *name) {
    sm_package *p = package(version);
    sm_func *f;
    sm_builder b;
    TRY(sm_func_new(p->graph, "main", version, &f, &err));
    sm_build_start(&b, f);
    sm_dtype t = version > 6 ? SM_FP16 : SM_FP32;
    sm_value *x = sm_build_input(&b, "x", tensor(t, 3, 2, 4, 6));
    int64_t wide[] = {5, 6}, kernel[] = {3, 4, 2};
    float zeros[48] = {0};
    sm_value *w = sm_const_data(&b, "w", t, 2, wide, zeros), *k = sm_const_data(&b, "k", t, 3, kernel, zeros);
    sm_value *ids = sm_const_i32s(&b, (int32_t[]){1, 0}, 2);
    sm_value *v = sm_build(&b, SM_OP_SOFTMAX, NULL, "x", x, NULL);
    v = sm_build(&b, SM_OP_GELU, NULL, "x", v, NULL);
    v = sm_build(&b, SM_OP_RSQRT, NULL, "x", v, NULL);
    v = sm_build(&b, SM_OP_LOG, NULL, "x", v, NULL);
    v = sm_build(&b, SM_OP_INVERSE, NULL, "x", v, NULL);
    v = sm_build(&b, SM_OP_LAYER_NORM, NULL, "x", v, NULL);
    v = sm_build(&b, SM_OP_L2_NORM, NULL, "x", v, NULL);
    v = sm_build(&b, SM_OP_CUMSUM, NULL, "x", v, NULL);
    v = sm_build(&b, SM_OP_BAND_PART, NULL, "x", v, NULL);
    v = sm_build(&b, SM_OP_MATMUL, NULL, "x", v, "y",
                 sm_build(&b, SM_OP_TRANSPOSE, NULL, "x", x, "perm", sm_const_i32s(&b, (int32_t[]){0, 2, 1}, 3), NULL),
                 NULL);
    sm_build_output(&b, v, "y0");
    sm_build_output(&b, sm_build(&b, SM_OP_LINEAR, NULL, "x", x, "weight", w, NULL), "y1");
    sm_build_output(&b, sm_build(&b, SM_OP_CONV, NULL, "x", x, "weight", k, NULL), "y2");
    sm_build_output(&b, sm_build(&b, SM_OP_GATHER, NULL, "x", x, "indices", ids, NULL), "y3");
    sm_build_output(&b, sm_build(&b, SM_OP_REDUCE_ARGMAX, NULL, "x", x, NULL), "y4");
    sm_build_output(&b, sm_build(&b, SM_OP_ARGSORT, NULL, "x", x, NULL), "y5");
    sm_build_output(&b, sm_build(&b, SM_OP_TOPK, NULL, "x", x, NULL), "y6");
    sm_build_output(&b, sm_build(&b, SM_OP_REDUCE_MEAN, NULL, "x", x, NULL), "y7");
    sm_build_output(&b, sm_build(&b, SM_OP_PAD, NULL, "x", x, "pad", sm_const_i32s(&b, (int32_t[]){0, 1}, 2), NULL),
                    "y8");
    sm_value *two[] = {x, x};
    sm_build_output(&b, sm_build_list(&b, SM_OP_CONCAT, NULL, two, 2, "axis", sm_const_i32(&b, 1), NULL), "y9");
    TRY(sm_build_end(&b, &err));
    finish(p, name);
}

int main(int argc, char **argv) {
    if (argc != 2)
        return 2;
    folder = argv[1];
    encodings18();
    encodings16();
    fitted(9, "fitted18");
    fitted(7, "fitted16");
    fitted(8, "fitted17");
    multi18();
    defaults(6, "defaults15");
    defaults(7, "defaults16");
    defaults(8, "defaults17");
    defaults(9, "defaults18");
    return 0;
}
