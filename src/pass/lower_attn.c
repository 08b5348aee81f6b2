/* SPDX-License-Identifier: MIT
 *
 * lower_attn.c: rotary embedding and attention in MIL.
 *
 * Rotary (halves form): y = x * cos + rotate(x) * sin, rotate([a, b]) = [-b, a].  Angles are position * inv_freq in fp32
 * (fp16 cannot hold positions above 2048); one cos/sin pair per distinct table serves all layers.  Or cos and sin are
 * inputs, and `sm_lowered` says what the caller puts there.
 *
 * Attention, fused: keys and values repeated per query head by expand_dims, tile, reshape (the form that public
 * exporters use), then scaled_dot_product_attention, whose scale is fixed at 1 / sqrt(d).  Grouped: query heads
 * grouped by their key head, [kv heads, group, n, d] x [kv heads, 1, keys, d], so nothing is repeated.  Per head: the form
 * of Apple's ml-ane-transformers, q [1, d, 1, n] x k [1, keys, 1, d] by einsum, softmax over the key axis.
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
    x = sm_lower_cast(l, x, l->act);
    if (l->rows == SM_LAY_CHANNELS) { /* [n, rot] -> [1, rot, 1, n] */
        x = sm_lower_transpose(l, x, 2, (int32_t[]){1, 0});
        return sm_build(l->b, SM_OP_EXPAND_DIMS, NULL, "x", x, "axes", sm_const_i32s(l->b, (int32_t[]){0, 2}, 2), NULL);
    }
    return sm_build(l->b, SM_OP_EXPAND_DIMS, NULL, "x", x, "axes", sm_const_i32s(l->b, lead, 2), NULL);
}

static void made_table(sm_lower *l, sm_rope_table *t) {
    static const int32_t last = 1;
    sm_value *pos = sm_lower_cast(l, l->pos, SM_FP32);
    pos = sm_build(l->b, SM_OP_EXPAND_DIMS, NULL, "x", pos, "axes", sm_const_i32s(l->b, &last, 1), NULL);
    sm_value *freq = sm_map_value(l->r.map, (sm_value *)t->inv_freq);
    sm_value *half = sm_build(l->b, SM_OP_MUL, NULL, "x", pos, "y", freq, NULL);
    sm_value *both = sm_lower_join(l, NULL, (sm_value *[]){half, half}, 2, 1);
    t->cos = turn_table(l, SM_OP_COS, both, t->scale);
    t->sin = turn_table(l, SM_OP_SIN, both, t->scale);
}

static void given_table(sm_lower *l, sm_rope_table *t) {
    sm_dim rot = 2 * t->inv_freq->type.dims[0];
    sm_type type = {.kind = SM_V_TENSOR, .dtype = l->io, .rank = 4, .dims = {1, 1, l->n, rot}};
    char name[2][16] = {"cos", "sin"};
    if (l->rows == SM_LAY_CHANNELS)
        type.dims[1] = rot, type.dims[2] = 1, type.dims[3] = l->n;
    if (l->n_rope > 1) {
        snprintf(name[0], sizeof name[0], "cos%d", l->n_rope);
        snprintf(name[1], sizeof name[1], "sin%d", l->n_rope);
    }
    t->cos = sm_build_input(l->b, name[0], type);
    t->sin = sm_build_input(l->b, name[1], type);
    if (l->notes != NULL && t->sin != NULL)
        l->notes->turn[l->notes->n_turns++] = (sm_lowered_turn){t->cos->name, t->sin->name, t->scale, t->inv_freq};
    t->cos = sm_lower_cast(l, t->cos, l->act);
    t->sin = sm_lower_cast(l, t->sin, l->act);
}

static sm_status rope_table(sm_lower *l, const sm_value *inv_freq, double scale, const sm_rope_table **out,
                            sm_err *err) {
    for (int i = 0; i < l->n_rope; i++)
        if (l->rope[i].inv_freq == inv_freq && l->rope[i].scale == scale && l->rope[i].dtype == l->act) {
            *out = &l->rope[i];
            return SM_OK;
        }
    if (l->n_rope == SM_MAX_TABLES)
        return SM_FAIL(err, SM_UNSUPPORTED, "more than %d different rotary tables in one model", SM_MAX_TABLES);
    sm_rope_table *t = &l->rope[l->n_rope++];
    *t = (sm_rope_table){.inv_freq = inv_freq, .scale = scale, .dtype = l->act};
    if (l->p->turns == SM_PLACE_GIVEN)
        given_table(l, t);
    else
        made_table(l, t);
    *out = t;
    return SM_OK;
}

sm_status sm_lower_rope(sm_lower *l, const sm_node *n, sm_value *x, sm_value **out, sm_err *err) {
    const sm_value *inv_freq = sm_arg(n, "inv_freq");
    const sm_rope_table *t = NULL;
    double scale = 1;
    sm_arg_float(n, "scale", &scale);
    SM_TRY(rope_table(l, inv_freq, scale, &t, err));
    if (x == NULL || l->b->st != SM_OK)
        return SM_OK; /* the builder keeps the error */
    bool channels = l->rows == SM_LAY_CHANNELS;
    int axis = channels ? 1 : 3, join = channels ? 1 : -1;
    int64_t d = x->type.dims[axis], half = inv_freq->type.dims[0], rot = 2 * half;
    sm_value *rest = rot < d ? sm_lower_slice(l, x, axis, rot, d) : NULL;
    sm_value *turn = rot < d ? sm_lower_slice(l, x, axis, 0, rot) : x;
    sm_value *a = sm_lower_slice(l, turn, axis, 0, half), *b = sm_lower_slice(l, turn, axis, half, rot);
    sm_value *neg = sm_build(l->b, SM_OP_MUL, NULL, "x", b, "y", sm_lower_scalar(l, -1), NULL);
    sm_value *swapped = sm_lower_join(l, NULL, (sm_value *[]){neg, a}, 2, join);
    sm_value *xc = sm_build(l->b, SM_OP_MUL, NULL, "x", turn, "y", t->cos, NULL);
    sm_value *xs = sm_build(l->b, SM_OP_MUL, NULL, "x", swapped, "y", t->sin, NULL);
    const char *name = n->out[0]->name;
    sm_value *y = sm_build(l->b, SM_OP_ADD, rest == NULL ? name : NULL, "x", xc, "y", xs, NULL);
    if (rest != NULL)
        y = sm_lower_join(l, name, (sm_value *[]){y, rest}, 2, join);
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

/* x cut along the channels into n equal parts. */
static sm_value *const *cut(sm_lower *l, sm_value *x, int64_t n) {
    sm_value *y = sm_build(l->b, SM_OP_SPLIT, NULL, "x", x, "num_splits", sm_const_i32(l->b, (int32_t)n), "axis",
                           sm_const_i32(l->b, 1), NULL);
    return y != NULL ? y->def->out : NULL;
}

/* k [1, keys, 1, d], v [1, d, 1, keys], q [1, d, 1, n] -> [1, d, 1, n].  MIL has einsum as nchw,nwhu->nchu only: hence the
 * order of the operands. */
static sm_value *one_head(sm_lower *l, sm_value *q, sm_value *k, sm_value *v, sm_value *mask, double cap) {
    sm_value *s = sm_build_list(l->b, SM_OP_EINSUM, NULL, (sm_value *[]){k, q}, 2, "equation",
                                sm_const_str(l->b, "bkhc,bchq->bkhq"), NULL);
    if (cap > 0)
        s = sm_lower_soft_cap(l, s, cap);
    s = sm_build(l->b, SM_OP_ADD, NULL, "x", s, "y", mask, NULL);
    s = sm_build(l->b, SM_OP_SOFTMAX, NULL, "x", s, "axis", sm_const_i32(l->b, 1), NULL);
    return sm_build_list(l->b, SM_OP_EINSUM, NULL, (sm_value *[]){v, s}, 2, "equation",
                         sm_const_str(l->b, "bchk,bkhq->bchq"), NULL);
}

/* q [heads, d, 1, n]; k, v [1, kv heads * d, 1, keys]. */
static sm_value *attention_heads(sm_lower *l, sm_value *q, sm_value *k, sm_value *v, int64_t kv_heads, sm_value *mask,
                                 double scale, double cap) {
    int32_t heads = (int32_t)q->type.dims[0], d = (int32_t)q->type.dims[1];
    int32_t dv = (int32_t)(v->type.dims[1] / kv_heads);
    sm_value *out[SM_MAX_HEADS], *kt[SM_MAX_HEADS];
    if (heads > SM_MAX_HEADS) {
        l->b->st =
            SM_FAIL(&l->b->err, SM_UNSUPPORTED, "%d heads: one by one at most %d are written", heads, SM_MAX_HEADS);
        return NULL;
    }
    q = sm_build(l->b, SM_OP_MUL, NULL, "x", q, "y", sm_lower_scalar(l, scale), NULL);
    q = sm_lower_reshape(l, q, 4, (int32_t[]){1, heads * d, 1, -1});
    sm_value *const *qs = cut(l, q, heads), *const *ks = cut(l, k, kv_heads), *const *vs = cut(l, v, kv_heads);
    if (qs == NULL || ks == NULL || vs == NULL)
        return NULL;
    for (int64_t i = 0; i < kv_heads; i++)
        kt[i] = sm_lower_transpose(l, ks[i], 4, (int32_t[]){0, 3, 2, 1});
    for (int64_t i = 0; i < heads; i++) {
        int64_t at = i / (heads / kv_heads);
        out[i] = one_head(l, qs[i], kt[at], vs[at], mask, cap);
    }
    sm_value *y = sm_lower_join(l, NULL, out, heads, 1);
    return sm_lower_reshape(l, y, 4, (int32_t[]){heads, dv, 1, -1});
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
    if (l->p->attn == SM_ATTN_PER_HEAD)
        return attention_heads(l, q, keys, values, sm_arg(n, "k")->type.dims[1], mask, scale, cap);
    if (l->p->attn == SM_ATTN_FUSED && cap == 0)
        return attention_fused(l, q, keys, values, mask, scale, n->out[0]->name);
    return attention_plain(l, q, keys, values, mask, scale, cap);
}
