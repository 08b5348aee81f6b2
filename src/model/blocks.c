/* SPDX-License-Identifier: MIT
 *
 * blocks.c: hyper-parameters, weights and the blocks that decoders are made of.
 *
 * The only place that knows how a role is spelled in a dialect (names.def) and how a dialect lays rows out.
 */
#include "model/blocks.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------ names */
static const char *const tensor_names[][2] = {
#define TENSOR(role, gguf, hf) {gguf, hf},
#include "model/names.def"
};
static const char *const hparam_names[][2] = {
#define HPARAM(role, gguf, hf) {gguf, hf},
#include "model/names.def"
};

enum { NAME_CAP = 160 };

/* Puts `with` in the place of the one %d or %s of a pattern; false when the dialect has no such name. */
static bool spell(const char *pattern, const char *with, char out[NAME_CAP]) {
    if (!pattern)
        return false;
    const char *p = strchr(pattern, '%');
    if (p)
        snprintf(out, NAME_CAP, "%.*s%s%s", (int)(p - pattern), pattern, with, p + 2);
    else
        snprintf(out, NAME_CAP, "%s", pattern);
    return true;
}

static bool tensor_name(const sm_mb *m, sm_tensor_role role, int layer, char out[NAME_CAP]) {
    char n[16];
    snprintf(n, sizeof n, "%d", layer);
    return spell(tensor_names[role][m->c->dialect], n, out);
}

static bool hparam_name(const sm_mb *m, sm_hparam_role role, char out[NAME_CAP]) {
    return spell(hparam_names[role][m->c->dialect], m->info->architecture, out);
}

/* ------------------------------------------------------------------ hyper-parameters */
bool sm_mb_has(const sm_mb *m, sm_hparam_role role) {
    char key[NAME_CAP];
    return hparam_name(m, role, key) && sm_checkpoint_meta(m->c, key) != NULL;
}

bool sm_mb_has_tensor(const sm_mb *m, sm_tensor_role role, int layer) {
    char name[NAME_CAP];
    return tensor_name(m, role, layer, name) && sm_checkpoint_tensor(m->c, name) != NULL;
}

/* The key when the file has it, else NULL; a value that must be there and is not is an error. */
static const char *find_key(sm_mb *m, sm_hparam_role role, bool required, char key[NAME_CAP]) {
    if (m->b.st != SM_OK)
        return NULL;
    bool named = hparam_name(m, role, key);
    if (named && sm_checkpoint_meta(m->c, key))
        return key;
    if (required)
        SM_MB_FAIL(m, SM_BADINPUT, "%s: key '%s' is missing", m->c->path, named ? key : "?");
    return NULL;
}

int64_t sm_mb_int(sm_mb *m, sm_hparam_role role, int64_t def, int64_t lo, int64_t hi) {
    char key[NAME_CAP];
    int64_t v = def;
    if (!find_key(m, role, def < lo, key))
        return SM_MAX(def, lo);
    m->b.st = sm_meta_int(m->c, key, def, &v, &m->b.err);
    if (m->b.st == SM_OK && (v < lo || v > hi))
        SM_MB_FAIL(m, SM_BADINPUT, "%s: key '%s': wanted %" PRId64 "..%" PRId64 ", found %" PRId64, m->c->path, key, lo,
                   hi, v);
    return m->b.st == SM_OK ? v : SM_MAX(def, lo);
}

double sm_mb_float(sm_mb *m, sm_hparam_role role, double def, double lo, double hi) {
    char key[NAME_CAP];
    double v = def;
    if (!find_key(m, role, def < lo, key))
        return SM_MAX(def, lo);
    m->b.st = sm_meta_float(m->c, key, def, &v, &m->b.err);
    if (m->b.st == SM_OK && !(v >= lo && v <= hi))
        SM_MB_FAIL(m, SM_BADINPUT, "%s: key '%s': wanted %g..%g, found %g", m->c->path, key, lo, hi, v);
    return m->b.st == SM_OK ? v : SM_MAX(def, lo);
}

sm_sv sm_mb_text(sm_mb *m, sm_hparam_role role) {
    char key[NAME_CAP];
    sm_sv v = {"", 0};
    if (find_key(m, role, false, key))
        m->b.st = sm_meta_str(m->c, key, v, &v, &m->b.err);
    return v;
}

void sm_mb_shape(sm_mb *m) {
    sm_model_info *i = m->info;
    i->n_layers = (int32_t)sm_mb_int(m, SM_H_LAYERS, 0, 1, 1024);
    i->d_model = (int32_t)sm_mb_int(m, SM_H_D_MODEL, 0, 1, 1 << 20);
    i->d_ff = (int32_t)sm_mb_int(m, SM_H_D_FF, 0, 1, 1 << 22);
    i->n_heads = (int32_t)sm_mb_int(m, SM_H_HEADS, 0, 1, 1 << 16);
    i->n_kv_heads = (int32_t)sm_mb_int(m, SM_H_KV_HEADS, i->n_heads, 1, 1 << 16);
    i->trained_ctx = (int32_t)sm_mb_int(m, SM_H_CTX, 0, 0, INT32_MAX);
    m->eps = sm_mb_float(m, SM_H_NORM_EPS, -1.0, 0.0, 1.0);
    if (m->b.st != SM_OK)
        return;
    int64_t width = i->d_model / i->n_heads;
    i->head_dim = (int32_t)sm_mb_int(m, SM_H_HEAD_DIM, width, 1, 1 << 14);
    if (i->n_heads % i->n_kv_heads != 0)
        SM_MB_FAIL(m, SM_BADINPUT, "%s: %d query heads over %d key heads: wanted a whole multiple", m->c->path,
                   i->n_heads, i->n_kv_heads);
    if (!sm_mb_has(m, SM_H_HEAD_DIM) && width * i->n_heads != i->d_model)
        SM_MB_FAIL(m, SM_BADINPUT, "%s: width %d over %d heads: wanted a whole multiple", m->c->path, i->d_model,
                   i->n_heads);
    if (sm_mb_int(m, SM_H_V_DIM, i->head_dim, 1, 1 << 14) != i->head_dim)
        SM_MB_FAIL(m, SM_UNSUPPORTED, "%s: heads of k and v have different widths, which '%s' models here have not",
                   m->c->path, i->family);
    if (sm_mb_int(m, SM_H_EXPERTS, 0, 0, INT32_MAX) > 0)
        SM_MB_FAIL(m, SM_UNSUPPORTED, "%s: mixture-of-experts models are not supported here yet", m->c->path);
}

/* ------------------------------------------------------------------ weights */
static void print_shape(int rank, const int64_t *dims, char *out, size_t cap) {
    size_t n = (size_t)snprintf(out, cap, "[");
    for (int i = 0; i < rank && n < cap; i++)
        n += (size_t)snprintf(out + n, cap - n, "%s%" PRId64, i ? ", " : "", dims[i]);
    if (n < cap)
        snprintf(out + n, cap - n, "]");
}

/* rows 0: a vector; rows -1: any number of rows. */
static bool shape_fits(const sm_tensor *t, int64_t rows, int64_t cols) {
    if (rows == 0)
        return t->rank == 1 && t->dims[0] == cols;
    return t->rank == 2 && t->dims[1] == cols && (rows < 0 ? t->dims[0] > 0 : t->dims[0] == rows);
}

/* "blk.0.attn_q.weight" -> "blk_0_attn_q_weight": a name that MIL allows. */
static void identifier(const char *name, char out[NAME_CAP]) {
    size_t n = 0;
    for (; name[n] && n < NAME_CAP - 1; n++) {
        char c = name[n];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
        out[n] = ok ? c : '_';
    }
    out[n] = '\0';
}

/* A vector whose elements follow interleaved rows (a bias of q or k) is small: copied into order. */
static sm_value *vector_in_order(sm_mb *m, const char *name, const sm_tensor *t) {
    int64_t n = t->dims[0], h = m->info->head_dim;
    float *x = sm_alloc_n((size_t)n, 2 * sizeof *x), *y = x + n;
    if (!x) {
        m->b.st = SM_NOMEM(&m->b.err);
        return NULL;
    }
    sm_decode_rows(t, 0, 1, x);
    for (int64_t i = 0; i < n; i++) {
        int64_t head = i / h, k = i % h;
        y[i] = x[head * h + (k < h / 2 ? 2 * k : 2 * (k - h / 2) + 1)];
    }
    sm_value *v = sm_const_data(&m->b, name, SM_FP32, 1, t->dims, y);
    sm_free(x);
    return v;
}

static sm_value *fetch(sm_mb *m, sm_tensor_role role, int layer, int64_t rows, int64_t cols, bool required) {
    char name[NAME_CAP], id[NAME_CAP], want[64], found[160];
    if (m->b.st != SM_OK)
        return NULL;
    bool named = tensor_name(m, role, layer, name);
    const sm_tensor *t = named ? sm_checkpoint_tensor(m->c, name) : NULL;
    if (!t && !required)
        return NULL;
    print_shape(rows == 0 ? 1 : 2, rows == 0 ? &cols : (int64_t[]){rows, cols}, want, sizeof want);
    if (rows < 0)
        snprintf(want, sizeof want, "[any, %" PRId64 "]", cols);
    if (!t) {
        SM_MB_FAIL(m, SM_BADINPUT, "%s: tensor '%s' is missing: wanted %s", m->c->path, named ? name : "?", want);
        return NULL;
    }
    if (!shape_fits(t, rows, cols)) {
        print_shape(t->rank, t->dims, found, sizeof found);
        SM_MB_FAIL(m, SM_BADINPUT, "%s: tensor '%s': wanted shape %s, found %s", m->c->path, name, want, found);
        return NULL;
    }
    size_t at = (size_t)(t - m->c->tensors);
    m->used[at] = true;
    if (m->weight[at])
        return m->weight[at];
    identifier(name, id);
    bool interleaved =
        m->interleaved_qk && (role == SM_W_Q || role == SM_W_K || role == SM_W_Q_BIAS || role == SM_W_K_BIAS);
    if (interleaved && t->rank == 1)
        return m->weight[at] = vector_in_order(m, id, t);
    sm_tensor view = *t;
    view.dtype = SM_FP32;
    if (interleaved)
        view.deinterleave = m->info->head_dim;
    return m->weight[at] = sm_const_tensor(&m->b, id, &view);
}

sm_value *sm_mb_weight(sm_mb *m, sm_tensor_role role, int layer, int64_t rows, int64_t cols) {
    return fetch(m, role, layer, rows, cols, true);
}

sm_value *sm_mb_weight_opt(sm_mb *m, sm_tensor_role role, int layer, int64_t rows, int64_t cols) {
    return fetch(m, role, layer, rows, cols, false);
}

/* ------------------------------------------------------------------ blocks */
static const char *layer_name(int layer, const char *what, char out[NAME_CAP]) {
    snprintf(out, NAME_CAP, "layer_%d_%s", layer, what);
    return out;
}

sm_value *sm_mb_norm(sm_mb *m, sm_value *x, sm_tensor_role role, int layer, const char *name) {
    char id[NAME_CAP];
    sm_value *gamma = fetch(m, role, layer, 0, m->info->d_model, true);
    return sm_build(&m->b, SM_OP_RMS_NORM, layer_name(layer, name, id), "x", x, "gamma", gamma, "eps",
                    sm_const_f(&m->b, SM_FP32, m->eps), NULL);
}

sm_value *sm_mb_add(sm_mb *m, sm_value *x, sm_value *y, const char *name, int layer) {
    char id[NAME_CAP];
    return sm_build(&m->b, SM_OP_ADD, layer_name(layer, name, id), "x", x, "y", y, NULL);
}

static sm_value *linear(sm_mb *m, sm_value *x, int layer, const char *name, sm_tensor_role w, sm_tensor_role bias,
                        int64_t n_out, int64_t n_in) {
    char id[NAME_CAP];
    sm_value *weight = fetch(m, w, layer, n_out, n_in, true);
    return sm_build(&m->b, SM_OP_LINEAR, layer_name(layer, name, id), "x", x, "weight", weight, "bias",
                    fetch(m, bias, layer, 0, n_out, false), NULL);
}

/* [t, heads * dim] -> [t, heads, dim] */
static sm_value *split_heads(sm_mb *m, sm_value *x, int layer, const char *name, int heads) {
    char id[NAME_CAP];
    int32_t shape[3] = {-1, heads, m->info->head_dim};
    return sm_build(&m->b, SM_OP_RESHAPE, layer_name(layer, name, id), "x", x, "shape", sm_const_i32s(&m->b, shape, 3),
                    NULL);
}

/* Norm of each head where the family has one, then rope. */
static sm_value *turn(sm_mb *m, sm_value *x, int layer, bool is_q, const sm_attn_spec *a) {
    char id[NAME_CAP];
    if (a->qk_norm) {
        sm_value *gamma = fetch(m, is_q ? SM_W_Q_NORM : SM_W_K_NORM, layer, 0, m->info->head_dim, true);
        x = sm_build(&m->b, SM_OP_RMS_NORM, layer_name(layer, is_q ? "q_norm" : "k_norm", id), "x", x, "gamma", gamma,
                     "eps", sm_const_f(&m->b, SM_FP32, m->eps), NULL);
    }
    return sm_build(&m->b, SM_OP_ROPE, layer_name(layer, is_q ? "q_rope" : "k_rope", id), "x", x, "pos", m->pos,
                    "inv_freq", a->rope.inv_freq, "scale", sm_const_f(&m->b, SM_FP32, a->rope.scale), NULL);
}

sm_value *sm_mb_attention(sm_mb *m, sm_value *x, int layer, const sm_attn_spec *a) {
    char id[NAME_CAP];
    const sm_model_info *i = m->info;
    int64_t d = i->d_model, dq = (int64_t)i->n_heads * i->head_dim, dkv = (int64_t)i->n_kv_heads * i->head_dim;
    sm_value *q = linear(m, x, layer, "q", SM_W_Q, SM_W_Q_BIAS, dq, d);
    sm_value *k = linear(m, x, layer, "k", SM_W_K, SM_W_K_BIAS, dkv, d);
    sm_value *v = linear(m, x, layer, "v", SM_W_V, SM_W_V_BIAS, dkv, d);
    q = turn(m, split_heads(m, q, layer, "q_heads", i->n_heads), layer, true, a);
    k = turn(m, split_heads(m, k, layer, "k_heads", i->n_kv_heads), layer, false, a);
    v = split_heads(m, v, layer, "v_heads", i->n_kv_heads);
    double scale = a->scale > 0.0 ? a->scale : 1.0 / sqrt(i->head_dim);
    sm_value *y = sm_build(&m->b, SM_OP_ATTENTION, layer_name(layer, "attention", id), "q", q, "k", k, "v", v, "batch",
                           m->batch, "slot", sm_const_i32(&m->b, layer), "scale", sm_const_f(&m->b, SM_FP32, scale),
                           "window", a->window > 0 ? sm_const_i32(&m->b, a->window) : NULL, NULL);
    y = sm_build(&m->b, SM_OP_RESHAPE, layer_name(layer, "attention_rows", id), "x", y, "shape",
                 sm_const_i32s(&m->b, (int32_t[]){-1, (int32_t)dq}, 2), NULL);
    return linear(m, y, layer, "o", SM_W_O, SM_W_O_BIAS, d, dq);
}

/* The composite has no biases: with them the MLP is spelled out. */
static sm_value *mlp_with_biases(sm_mb *m, sm_value *x, int layer, const char *act) {
    char id[NAME_CAP];
    const sm_model_info *i = m->info;
    sm_value *g = linear(m, x, layer, "gate", SM_W_GATE, SM_W_GATE_BIAS, i->d_ff, i->d_model);
    sm_value *u = linear(m, x, layer, "up", SM_W_UP, SM_W_UP_BIAS, i->d_ff, i->d_model);
    if (strcmp(act, "silu") == 0)
        g = sm_build(&m->b, SM_OP_SILU, layer_name(layer, "act", id), "x", g, NULL);
    else
        g = sm_build(&m->b, SM_OP_GELU, layer_name(layer, "act", id), "x", g, "mode",
                     sm_const_str(&m->b, strcmp(act, "gelu") == 0 ? "EXACT" : "TANH_APPROXIMATION"), NULL);
    g = sm_build(&m->b, SM_OP_MUL, layer_name(layer, "gated", id), "x", g, "y", u, NULL);
    return linear(m, g, layer, "down", SM_W_DOWN, SM_W_DOWN_BIAS, i->d_model, i->d_ff);
}

sm_value *sm_mb_mlp(sm_mb *m, sm_value *x, int layer, const char *act) {
    char id[NAME_CAP];
    const sm_model_info *i = m->info;
    if (sm_mb_has_tensor(m, SM_W_GATE_BIAS, layer) || sm_mb_has_tensor(m, SM_W_UP_BIAS, layer) ||
        sm_mb_has_tensor(m, SM_W_DOWN_BIAS, layer))
        return mlp_with_biases(m, x, layer, act);
    sm_value *gate = fetch(m, SM_W_GATE, layer, i->d_ff, i->d_model, true);
    sm_value *up = fetch(m, SM_W_UP, layer, i->d_ff, i->d_model, true);
    sm_value *down = fetch(m, SM_W_DOWN, layer, i->d_model, i->d_ff, true);
    return sm_build(&m->b, SM_OP_GATED_MLP, layer_name(layer, "mlp", id), "x", x, "gate", gate, "up", up, "down", down,
                    "act", sm_const_str(&m->b, act), NULL);
}

sm_value *sm_mb_embed(sm_mb *m, double scale) {
    sm_value *table = fetch(m, SM_W_EMBED, 0, -1, m->info->d_model, true);
    if (!table)
        return NULL;
    m->info->vocab = (int32_t)table->cst->src.dims[0];
    return sm_build(&m->b, SM_OP_EMBED, "embed", "ids", m->ids, "table", table, "scale",
                    scale != 1.0 ? sm_const_f(&m->b, SM_FP32, scale) : NULL, NULL);
}

void sm_mb_head(sm_mb *m, sm_value *x, double softcap) {
    const sm_model_info *i = m->info;
    x = sm_build(&m->b, SM_OP_GATHER, "wanted_rows", "x", x, "indices", m->out, "axis", sm_const_i32(&m->b, 0), NULL);
    x = sm_build(&m->b, SM_OP_RMS_NORM, "out_norm", "x", x, "gamma", fetch(m, SM_W_OUT_NORM, 0, 0, i->d_model, true),
                 "eps", sm_const_f(&m->b, SM_FP32, m->eps), NULL);
    sm_tensor_role role = sm_mb_has_tensor(m, SM_W_HEAD, 0) ? SM_W_HEAD : SM_W_EMBED;
    x = sm_build(&m->b, SM_OP_LM_HEAD, NULL, "x", x, "weight", fetch(m, role, 0, i->vocab, i->d_model, true), "softcap",
                 softcap > 0.0 ? sm_const_f(&m->b, SM_FP32, softcap) : NULL, NULL);
    sm_build_output(&m->b, x, "logits");
}
