/* SPDX-License-Identifier: MIT
 *
 * lower_attn.c: rotary embedding and attention in MIL.
 *
 * Rotary (halves form): y = x * cos + rotate(x) * sin, rotate([a, b]) = [-b, a].  Angles are position * inv_freq in fp32
 * (fp16 cannot hold positions above 2048); one cos/sin pair per distinct table serves all layers.
 *
 * Attention, fused: keys and values repeated per query head by expand_dims, tile, reshape (the form that public
 * exporters use), then scaled_dot_product_attention, whose scale is fixed at 1 / sqrt(d).  Decomposed: query heads
 * grouped by their key head, [kv heads, group, n, d] x [kv heads, 1, keys, d], so nothing is repeated.
 */
#include "pass/lower_int.h"

#include <math.h>
#include <stdio.h>

/* ------------------------------------------------------------------ rotary embedding */
static sm_value *turn_table(sm_lower *l, sm_op op, sm_value *angles, double scale) {
    static const int32_t lead[2] = {0, 1};
    sm_value *x = sm_build(l->b, op, NULL, "x", angles, NULL);
    if (scale != 1)
        x = sm_build(l->b, SM_OP_MUL, NULL, "x", x, "y", sm_const_f(l->b, SM_FP32, scale), NULL);
    x = sm_lower_cast(l, x, l->p->act);
    return sm_build(l->b, SM_OP_EXPAND_DIMS, NULL, "x", x, "axes", sm_const_i32s(l->b, lead, 2), NULL);
}

static sm_status rope_table(sm_lower *l, const sm_value *inv_freq, double scale, const sm_rope_table **out,
                            sm_err *err) {
    static const int32_t last = 1;
    for (int i = 0; i < l->n_rope; i++)
        if (l->rope[i].inv_freq == inv_freq && l->rope[i].scale == scale) {
            *out = &l->rope[i];
            return SM_OK;
        }
    if (l->n_rope == SM_MAX_TABLES)
        return SM_FAIL(err, SM_UNSUPPORTED, "more than %d different rotary tables in one model", SM_MAX_TABLES);
    sm_value *pos = sm_lower_cast(l, l->pos, SM_FP32);
    pos = sm_build(l->b, SM_OP_EXPAND_DIMS, NULL, "x", pos, "axes", sm_const_i32s(l->b, &last, 1), NULL);
    sm_value *half = sm_build(l->b, SM_OP_MUL, NULL, "x", pos, "y", sm_map_value(l->r.map, (sm_value *)inv_freq), NULL);
    sm_value *both =
        sm_build_list(l->b, SM_OP_CONCAT, NULL, (sm_value *[]){half, half}, 2, "axis", sm_const_i32(l->b, 1), NULL);
    sm_rope_table *t = &l->rope[l->n_rope++];
    t->inv_freq = inv_freq;
    t->scale = scale;
    t->cos = turn_table(l, SM_OP_COS, both, scale);
    t->sin = turn_table(l, SM_OP_SIN, both, scale);
    *out = t;
    return SM_OK;
}

sm_status sm_lower_rope(sm_lower *l, const sm_node *n, sm_value *x, sm_value **out, sm_err *err) {
    const sm_value *inv_freq = sm_arg(n, "inv_freq");
    const sm_rope_table *t = NULL;
    double scale = 1;
    sm_arg_float(n, "scale", &scale);
    SM_TRY(rope_table(l, inv_freq, scale, &t, err));
    if (x == NULL)
        return SM_OK; /* the builder keeps the error */
    int64_t d = x->type.dims[3], half = inv_freq->type.dims[0], rot = 2 * half;
    sm_value *rest = rot < d ? sm_lower_slice_last(l, x, rot, d) : NULL;
    sm_value *turn = rot < d ? sm_lower_slice_last(l, x, 0, rot) : x;
    sm_value *a = sm_lower_slice_last(l, turn, 0, half), *b = sm_lower_slice_last(l, turn, half, rot);
    sm_value *neg = sm_build(l->b, SM_OP_MUL, NULL, "x", b, "y", sm_lower_scalar(l, -1), NULL);
    sm_value *axis = sm_const_i32(l->b, -1);
    sm_value *swapped = sm_build_list(l->b, SM_OP_CONCAT, NULL, (sm_value *[]){neg, a}, 2, "axis", axis, NULL);
    sm_value *xc = sm_build(l->b, SM_OP_MUL, NULL, "x", turn, "y", t->cos, NULL);
    sm_value *xs = sm_build(l->b, SM_OP_MUL, NULL, "x", swapped, "y", t->sin, NULL);
    const char *name = n->out[0]->name;
    sm_value *y = sm_build(l->b, SM_OP_ADD, rest == NULL ? name : NULL, "x", xc, "y", xs, NULL);
    if (rest != NULL)
        y = sm_build_list(l->b, SM_OP_CONCAT, name, (sm_value *[]){y, rest}, 2, "axis", axis, NULL);
    *out = y;
    return SM_OK;
}

/* ------------------------------------------------------------------ attention */
/* [1, kv heads, keys, d] -> [1, heads, keys, d] */
static sm_value *repeat_heads(sm_lower *l, sm_value *x, int64_t group) {
    static const int32_t axis = 2;
    if (group == 1 || x == NULL)
        return x;
    int32_t reps[5] = {1, 1, (int32_t)group, 1, 1};
    int32_t shape[4] = {1, (int32_t)(x->type.dims[1] * group), -1, (int32_t)x->type.dims[3]};
    x = sm_build(l->b, SM_OP_EXPAND_DIMS, NULL, "x", x, "axes", sm_const_i32s(l->b, &axis, 1), NULL);
    x = sm_build(l->b, SM_OP_TILE, NULL, "x", x, "reps", sm_const_i32s(l->b, reps, 5), NULL);
    return sm_lower_reshape(l, x, 4, shape);
}

static sm_value *attention_fused(sm_lower *l, sm_value *q, sm_value *k, sm_value *v, sm_value *mask, double scale,
                                 const char *name) {
    double fixed = 1 / sqrt((double)q->type.dims[3]);
    int64_t group = q->type.dims[1] / k->type.dims[1];
    if (fabs(scale - fixed) > 1e-7 * fixed)
        q = sm_build(l->b, SM_OP_MUL, NULL, "x", q, "y", sm_lower_scalar(l, scale / fixed), NULL);
    return sm_build(l->b, SM_OP_SDPA, name, "query", q, "key", repeat_heads(l, k, group), "value",
                    repeat_heads(l, v, group), "attn_mask", mask, NULL);
}

/* Queries are scaled before the product, which could leave fp16's range. */
static sm_value *attention_plain(sm_lower *l, sm_value *q, sm_value *k, sm_value *v, sm_value *mask, double scale,
                                 double cap) {
    int32_t heads = (int32_t)q->type.dims[1], kv_heads = (int32_t)k->type.dims[1], d = (int32_t)q->type.dims[3];
    int32_t dv = (int32_t)v->type.dims[3], group = heads / kv_heads;
    q = sm_build(l->b, SM_OP_MUL, NULL, "x", q, "y", sm_lower_scalar(l, scale), NULL);
    q = sm_lower_reshape(l, q, 4, (int32_t[]){kv_heads, group, -1, d});
    k = sm_lower_reshape(l, k, 4, (int32_t[]){kv_heads, 1, -1, d});
    v = sm_lower_reshape(l, v, 4, (int32_t[]){kv_heads, 1, -1, dv});
    sm_value *s = sm_build(l->b, SM_OP_MATMUL, NULL, "x", q, "y", k, "transpose_y", sm_const_bool(l->b, true), NULL);
    if (cap > 0)
        s = sm_lower_soft_cap(l, s, cap);
    s = sm_build(l->b, SM_OP_ADD, NULL, "x", s, "y", mask, NULL);
    s = sm_build(l->b, SM_OP_SOFTMAX, NULL, "x", s, "axis", sm_const_i32(l->b, -1), NULL);
    sm_value *o = sm_build(l->b, SM_OP_MATMUL, NULL, "x", s, "y", v, NULL);
    return sm_lower_reshape(l, o, 4, (int32_t[]){1, heads, -1, dv});
}

sm_value *sm_lower_attention(sm_lower *l, const sm_node *n, sm_value *q, sm_value *k, sm_value *v) {
    int64_t slot = 0, window = 0;
    double scale = 1, cap = 0;
    sm_arg_int(n, "slot", &slot);
    sm_arg_int(n, "window", &window);
    sm_arg_float(n, "scale", &scale);
    sm_arg_float(n, "softcap", &cap);
    sm_value *keys = sm_lower_store(l, 0, (int)slot, k);
    sm_value *values = sm_lower_store(l, 1, (int)slot, v);
    sm_value *mask = sm_lower_mask(l, window);
    if (l->b->st != SM_OK)
        return NULL;
    if (l->p->fused_attention && cap == 0)
        return attention_fused(l, q, keys, values, mask, scale, n->out[0]->name);
    return attention_plain(l, q, keys, values, mask, scale, cap);
}
