/* SPDX-License-Identifier: MIT
 *
 * lower_rows.c: composites that work on rows one by one: embedding, RMS norm, products, gated MLP.
 *
 * RMS norm, x * rsqrt(mean(x^2) + eps): x^2 leaves fp16's range with real weights, so either it is computed in fp32, or
 * not at all: over [x, -x] the mean is 0 and the variance is mean(x^2), which layer_norm computes inside (the form that
 * Apple's and other public recipes for the Neural Engine use).
 */
#include "pass/lower_int.h"

#include <math.h>
#include <string.h>

static const char *name_of(const sm_node *n) {
    return n->out[0]->name;
}

/* ------------------------------------------------------------------ products */
/* coremltools spells out a zero bias, and so do we: it is the form every reader has seen. */
static sm_value *zero_bias(sm_lower *l, int64_t n) {
    for (int i = 0; i < l->n_zero; i++)
        if (l->zero[i]->type.dims[0] == n && l->zero[i]->type.dtype == l->act)
            return l->zero[i];
    void *zeros = sm_alloc_n((size_t)n, 4);
    if (zeros == NULL) {
        l->b->st = SM_NOMEM(&l->b->err);
        return NULL;
    }
    sm_value *v = sm_const_data(l->b, "zero_bias", l->act, 1, &n, zeros);
    sm_free(zeros);
    if (v != NULL && l->n_zero < SM_MAX_TABLES)
        l->zero[l->n_zero++] = v;
    return v;
}

sm_value *sm_lower_product(sm_lower *l, const char *name, sm_value *x, sm_value *w, sm_value *bias) {
    if (l->rows == SM_LAY_CHANNELS) {
        w = sm_const_behind(l->b, w, 2);
        return sm_build(l->b, SM_OP_CONV, name, "x", x, "weight", w, "bias", bias, NULL);
    }
    if (bias == NULL && w != NULL && w->type.rank == 2 && sm_dim_known(w->type.dims[0]))
        bias = zero_bias(l, w->type.dims[0]);
    return sm_build(l->b, SM_OP_LINEAR, name, "x", x, "weight", w, "bias", bias, NULL);
}

/* ------------------------------------------------------------------ embedding */
sm_status sm_lower_embed(sm_lower *l, const sm_node *n, sm_err *err) {
    static const int32_t turn[3] = {0, 2, 1}, third[1] = {2};
    double scale = 1;
    const sm_value *ids = sm_arg(n, "ids");
    sm_arg_float(n, "scale", &scale);
    if (l->ids == NULL || ids->def != NULL || strcmp(ids->name, "ids") != 0 || sm_arg(n, "table")->cst == NULL)
        return SM_FAIL(err, SM_UNSUPPORTED, "op embed -> '%s': only constant rows of input 'ids' can be lowered",
                       name_of(n));
    sm_value *table = sm_map_value(l->r.map, sm_arg(n, "table"));
    bool last = scale == 1 && l->rows == SM_LAY_TOKENS;
    sm_value *x = sm_build(l->b, SM_OP_GATHER, last ? name_of(n) : NULL, "x", table, "indices", l->ids, "axis",
                           sm_const_i32(l->b, 0), NULL);
    if (scale != 1) {
        sm_dtype t = l->p->narrow ? l->act : SM_FP32;
        x = sm_lower_cast(l, x, t);
        x = sm_build(l->b, SM_OP_MUL, NULL, "x", x, "y", sm_const_f(l->b, t, scale), NULL);
    }
    x = sm_lower_cast(l, x, l->act);
    if (l->rows == SM_LAY_CHANNELS) {
        x = sm_lower_transpose(l, x, 3, turn);
        x = sm_build(l->b, SM_OP_EXPAND_DIMS, name_of(n), "x", x, "axes", sm_const_i32s(l->b, third, 1), NULL);
    }
    sm_lower_set(l, n->out[0], x, l->rows);
    return SM_OK;
}

/* ------------------------------------------------------------------ rms_norm */
static sm_value *norm_layer(sm_lower *l, sm_value *x, double eps) {
    int32_t axis = sm_lower_axis(l, x);
    int64_t d = x->type.dims[axis];
    sm_value *neg = sm_build(l->b, SM_OP_MUL, NULL, "x", x, "y", sm_lower_scalar(l, -1), NULL);
    sm_value *both = sm_lower_join(l, NULL, (sm_value *[]){x, neg}, 2, axis);
    /* until iOS17 epsilon has the type of x; what fp16 would round to 0 is its smallest number */
    sm_dtype t = l->p->opset < 8 ? l->act : SM_FP32;
    if (t == SM_FP16)
        eps = fmax(eps, 0x1p-24);
    sm_value *y = sm_build(l->b, SM_OP_LAYER_NORM, NULL, "x", both, "axes", sm_const_i32s(l->b, &axis, 1), "epsilon",
                           sm_const_f(l->b, t, eps), NULL);
    return sm_lower_slice(l, y, axis, 0, d);
}

static sm_value *norm_f32(sm_lower *l, sm_value *x, double eps) {
    int32_t axis = -1;
    sm_value *w = sm_lower_cast(l, x, SM_FP32);
    sm_value *sq = sm_build(l->b, SM_OP_MUL, NULL, "x", w, "y", w, NULL);
    sm_value *mean = sm_build(l->b, SM_OP_REDUCE_MEAN, NULL, "x", sq, "axes", sm_const_i32s(l->b, &axis, 1),
                              "keep_dims", sm_const_bool(l->b, true), NULL);
    sm_value *sum = sm_build(l->b, SM_OP_ADD, NULL, "x", mean, "y", sm_const_f(l->b, SM_FP32, eps), NULL);
    sm_value *inv = sm_build(l->b, SM_OP_RSQRT, NULL, "x", sum, "epsilon", sm_const_f(l->b, SM_FP32, 1e-12), NULL);
    return sm_lower_cast(l, sm_build(l->b, SM_OP_MUL, NULL, "x", w, "y", inv, NULL), l->act);
}

sm_value *sm_lower_rms_norm(sm_lower *l, const sm_node *n) {
    double eps = 0;
    sm_arg_float(n, "eps", &eps);
    sm_value *x = sm_lower_in(l, sm_arg(n, "x"), l->layout[sm_arg(n, "x")->id]);
    sm_value *gamma = sm_arg(n, "gamma");
    if (x == NULL)
        return NULL;
    sm_value *y = l->p->norm == SM_NORM_F32 ? norm_f32(l, x, eps) : norm_layer(l, x, eps);
    if (gamma == NULL)
        return y;
    gamma = sm_map_value(l->r.map, gamma);
    if (l->rows == SM_LAY_CHANNELS)
        gamma = sm_const_behind(l->b, gamma, 2);
    return sm_build(l->b, SM_OP_MUL, name_of(n), "x", y, "y", gamma, NULL);
}

/* ------------------------------------------------------------------ gated_mlp */
/* silu is x * sigmoid(x) where its own op was seen to leave the Neural Engine. */
static sm_value *activation(sm_lower *l, sm_value *x, sm_sv act) {
    if (sm_sv_is(act, "silu") && l->p->narrow)
        return sm_build(l->b, SM_OP_MUL, NULL, "x", x, "y", sm_build(l->b, SM_OP_SIGMOID, NULL, "x", x, NULL), NULL);
    if (sm_sv_is(act, "silu"))
        return sm_build(l->b, SM_OP_SILU, NULL, "x", x, NULL);
    const char *mode = sm_sv_is(act, "gelu_tanh") ? "TANH_APPROXIMATION" : "EXACT";
    return sm_build(l->b, SM_OP_GELU, NULL, "x", x, "mode", sm_const_str(l->b, mode), NULL);
}

sm_value *sm_lower_gated_mlp(sm_lower *l, const sm_node *n) {
    sm_sv act = {0};
    sm_arg_str(n, "act", &act);
    sm_value *x = sm_lower_in(l, sm_arg(n, "x"), l->rows);
    sm_value *gate = sm_lower_product(l, NULL, x, sm_map_value(l->r.map, sm_arg(n, "gate")), NULL);
    sm_value *up = sm_lower_product(l, NULL, x, sm_map_value(l->r.map, sm_arg(n, "up")), NULL);
    sm_value *h = sm_build(l->b, SM_OP_MUL, NULL, "x", activation(l, gate, act), "y", up, NULL);
    return sm_lower_product(l, name_of(n), h, sm_map_value(l->r.map, sm_arg(n, "down")), NULL);
}
