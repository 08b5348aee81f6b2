/* SPDX-License-Identifier: MIT
 *
 * lower_io.c: what a lowered program's inputs, positions, masks, caches and outputs look like in each KV form.
 *
 *   state  inputIds [1, n], causalMask [1, 1, n, kv]; states keyCache, valueCache [slots, 1, kv heads, ctx, d].
 *          past = kv - n is read off the mask's extents.  A slot's new columns go in by slice_update and write_state, the
 *          keys come back by read_state and a slice up to kv.
 *   io     inputIds, positionIds [1, n], causalMask [1, 1, n, ctx + n]; keyCache, valueCache are read-only inputs, column
 *          j holds position j; newKeys, newValues [slots, 1, kv heads, n, d] are the new columns, which the host writes.
 *          Scores are over the cache, then the new columns; the mask hides what is not filled yet.
 *   none   inputIds; positions 0..n-1, causal mask made inside.
 *
 * A windowed layer replaces the mask's entries at keys that are `window` or more positions back.
 */
#include "pass/lower_int.h"

#include <inttypes.h>
#include <string.h>

/* Hides a key; far below any score, far above fp16's lowest, so that adding it never gives NaN. */
#define SM_MASKED (-40000.0)

/* ------------------------------------------------------------------ inputs */
static sm_type tensor_type(sm_dtype t, int rank, const sm_dim *dims) {
    sm_type y = {.kind = SM_V_TENSOR, .dtype = t, .rank = rank};
    memcpy(y.dims, dims, (size_t)rank * sizeof *dims);
    return y;
}

/* Element `axis` of x's shape as an int32 scalar. */
static sm_value *extent(sm_lower *l, sm_value *x, int32_t axis) {
    sm_value *shape = sm_build(l->b, SM_OP_SHAPE, NULL, "x", x, NULL);
    return sm_build(l->b, SM_OP_GATHER, NULL, "x", shape, "indices", sm_const_i32(l->b, axis), "axis",
                    sm_const_i32(l->b, 0), NULL);
}

static sm_value *range(sm_lower *l, sm_value *start, sm_value *end) {
    return sm_build(l->b, SM_OP_RANGE_1D, NULL, "start", start, "end", end, "step", sm_const_i32(l->b, 1), NULL);
}

/* Caches stack all slots, so slots must be alike. */
static sm_status cache_inputs(sm_lower *l, sm_err *err) {
    static const char *const name[2] = {"keyCache", "valueCache"};
    const sm_kv_slot *s = l->slot;
    if (l->n_slots <= 0)
        return SM_FAIL(err, SM_UNSUPPORTED, "the model has no attention caches, or more than %d", SM_MAX_SLOTS_KV);
    for (int i = 1; i < l->n_slots; i++)
        if (s[i].heads != s[0].heads || s[i].head_dim != s[0].head_dim || s[i].v_dim != s[0].v_dim)
            return SM_FAIL(err, SM_UNSUPPORTED,
                           "layer %d has %d key heads of %d, layer 0 has %d of %d: the '%s' design stacks equal caches",
                           i, s[i].heads, s[i].head_dim, s[0].heads, s[0].head_dim, l->p->name);
    for (int w = 0; w < 2; w++) {
        sm_dim dims[5] = {l->n_slots, 1, s[0].heads, l->p->ctx, w == 0 ? s[0].head_dim : s[0].v_dim};
        sm_type t = tensor_type(SM_FP16, 5, dims);
        t.kind = l->p->kv == SM_KV_STATE ? SM_V_STATE : SM_V_TENSOR;
        l->cache_in[w] = sm_build_input(l->b, name[w], t);
    }
    return SM_OK;
}

static void state_interface(sm_lower *l) {
    l->kv = extent(l, l->mask, 3);
    sm_value *n = extent(l, l->ids, 1);
    l->past = sm_build(l->b, SM_OP_SUB, "past", "x", l->kv, "y", n, NULL);
    l->pos = range(l, l->past, l->kv);
    sm_value *axis = sm_const_i32s(l->b, (int32_t[]){0}, 1);
    l->past1 = sm_build(l->b, SM_OP_EXPAND_DIMS, NULL, "x", l->past, "axes", axis, NULL);
    l->kv1 = sm_build(l->b, SM_OP_EXPAND_DIMS, NULL, "x", l->kv, "axes", axis, NULL);
    for (int w = 0; w < 2; w++)
        l->cache[w] = sm_build(l->b, SM_OP_READ_STATE, NULL, "input", l->cache_in[w], NULL);
}

/* The mask of the form without cache: 0 where key <= position. */
static void own_mask(sm_lower *l) {
    sm_value *n = extent(l, l->ids, 1);
    l->pos = range(l, sm_const_i32(l->b, 0), n);
    sm_value *key = sm_lower_reshape(l, l->pos, 4, (int32_t[]){1, 1, 1, -1});
    sm_value *row = sm_lower_reshape(l, l->pos, 4, (int32_t[]){1, 1, -1, 1});
    sm_value *seen = sm_build(l->b, SM_OP_LESS_EQUAL, NULL, "x", key, "y", row, NULL);
    sm_value *open = sm_lower_cast(l, seen, l->p->act);
    /* (seen - 1) * 40000: 0 or masked, with the extents of `seen` */
    sm_value *hid = sm_build(l->b, SM_OP_SUB, NULL, "x", open, "y", sm_lower_scalar(l, 1), NULL);
    l->mask = sm_build(l->b, SM_OP_MUL, NULL, "x", hid, "y", sm_lower_scalar(l, -SM_MASKED), NULL);
    l->key_pos = l->pos;
}

sm_status sm_lower_interface(sm_lower *l, sm_err *err) {
    const sm_profile *p = l->p;
    sm_graph *g = l->b->g;
    int64_t ctx = p->ctx, hi = p->seq_max > 0 ? p->seq_max : ctx;
    if (p->kv != SM_KV_NONE && (ctx < 1 || hi > ctx))
        return SM_FAIL(err, SM_USAGE, "%" PRId64 " tokens per call do not fit a context of %" PRId64, hi, ctx);
    l->n = p->flexible ? sm_dim_symbol(g, "n", SM_MAX(p->seq_min, 1), hi > 0 ? hi : -1) : hi;
    l->ids = sm_build_input(l->b, "inputIds", tensor_type(SM_INT32, 2, (sm_dim[]){1, l->n}));
    if (p->kv == SM_KV_NONE) {
        own_mask(l);
        return SM_OK;
    }
    if (p->kv == SM_KV_IO) {
        static const int32_t zero = 0;
        sm_value *pos = sm_build_input(l->b, "positionIds", tensor_type(SM_INT32, 2, (sm_dim[]){1, l->n}));
        sm_dim keys = sm_dim_add(g, l->n, ctx);
        l->mask = sm_build_input(l->b, "causalMask", tensor_type(SM_FP16, 4, (sm_dim[]){1, 1, l->n, keys}));
        l->pos = sm_build(l->b, SM_OP_SQUEEZE, NULL, "x", pos, "axes", sm_const_i32s(l->b, &zero, 1), NULL);
        return cache_inputs(l, err);
    }
    sm_dim kv = sm_dim_symbol(g, "kv", SM_MAX(p->seq_min, 1), ctx);
    l->mask = sm_build_input(l->b, "causalMask", tensor_type(SM_FP16, 4, (sm_dim[]){1, 1, l->n, kv}));
    SM_TRY(cache_inputs(l, err));
    state_interface(l);
    return SM_OK;
}

/* ------------------------------------------------------------------ masks */
static sm_value *key_positions(sm_lower *l) {
    if (l->key_pos != NULL)
        return l->key_pos;
    if (l->p->kv == SM_KV_STATE) {
        l->key_pos = range(l, sm_const_i32(l->b, 0), l->kv);
    } else {
        sm_value *old = range(l, sm_const_i32(l->b, 0), sm_const_i32(l->b, (int32_t)l->p->ctx));
        l->key_pos = sm_build_list(l->b, SM_OP_CONCAT, NULL, (sm_value *[]){old, l->pos}, 2, "axis",
                                   sm_const_i32(l->b, 0), NULL);
    }
    return l->key_pos;
}

sm_value *sm_lower_mask(sm_lower *l, int64_t window) {
    if (window <= 0)
        return l->mask;
    for (int i = 0; i < l->n_window; i++)
        if (l->window[i].window == window)
            return l->window[i].mask;
    sm_value *row = sm_lower_reshape(l, l->pos, 4, (int32_t[]){1, 1, -1, 1});
    sm_value *key = sm_lower_reshape(l, key_positions(l), 4, (int32_t[]){1, 1, 1, -1});
    sm_value *back = sm_build(l->b, SM_OP_SUB, NULL, "x", row, "y", key, NULL);
    sm_value *far =
        sm_build(l->b, SM_OP_GREATER_EQUAL, NULL, "x", back, "y", sm_const_i32(l->b, (int32_t)window), NULL);
    sm_value *m =
        sm_build(l->b, SM_OP_SELECT, NULL, "cond", far, "a", sm_lower_scalar(l, SM_MASKED), "b", l->mask, NULL);
    if (l->n_window < SM_MAX_TABLES)
        l->window[l->n_window++] = (sm_window_mask){window, m};
    return m;
}

/* ------------------------------------------------------------------ caches */
/* [slot, :, :, 0..end) of a [slots, 1, heads, ctx, d] cache as [1, heads, end, d]; end NULL: all positions. */
static sm_value *cache_slot(sm_lower *l, sm_value *cache, int slot, sm_value *end) {
    static const bool squeeze[5] = {true, false, false, false, false};
    bool open[5] = {false, true, true, end == NULL, true};
    int32_t begin[5] = {slot, 0, 0, 0, 0}, stop[5] = {slot + 1, 0, 0, 0, 0};
    return sm_build(l->b, SM_OP_SLICE_BY_INDEX, NULL, "x", cache, "begin", sm_const_i32s(l->b, begin, 5), "end",
                    end != NULL ? end : sm_const_i32s(l->b, stop, 5), "end_mask", sm_const_bools(l->b, open, 5),
                    "squeeze_mask", sm_const_bools(l->b, squeeze, 5), NULL);
}

/* Bounds of a slot's new columns, shared by keys and values: [slot, 0, 0, past, 0], [slot + 1, 0, 0, kv, 0]. */
static void slot_bounds(sm_lower *l, int slot) {
    if (l->begin != NULL && l->at_slot == slot)
        return;
    sm_value *axis = sm_const_i32(l->b, 0), *zero = sm_const_i32s(l->b, (int32_t[]){0}, 1);
    sm_value *from[3] = {sm_const_i32s(l->b, (int32_t[]){slot, 0, 0}, 3), l->past1, zero};
    sm_value *to[3] = {sm_const_i32s(l->b, (int32_t[]){slot + 1, 0, 0}, 3), l->kv1, zero};
    l->begin = sm_build_list(l->b, SM_OP_CONCAT, NULL, from, 3, "axis", axis, NULL);
    l->end = sm_build_list(l->b, SM_OP_CONCAT, NULL, to, 3, "axis", axis, NULL);
    l->at_slot = slot;
}

static sm_value *store_state(sm_lower *l, int which, int slot, sm_value *x) {
    static const bool squeeze[5] = {true, false, false, false, false}, open[5] = {false, true, true, false, true};
    slot_bounds(l, slot);
    sm_value *y = sm_build(l->b, SM_OP_SLICE_UPDATE, NULL, "x", l->cache[which], "update", sm_lower_cast(l, x, SM_FP16),
                           "begin", l->begin, "end", l->end, "end_mask", sm_const_bools(l->b, open, 5), "squeeze_mask",
                           sm_const_bools(l->b, squeeze, 5), NULL);
    sm_build(l->b, SM_OP_WRITE_STATE, NULL, "input", l->cache_in[which], "data", y, NULL);
    l->cache[which] = sm_build(l->b, SM_OP_READ_STATE, NULL, "input", l->cache_in[which], NULL);
    return sm_lower_cast(l, cache_slot(l, l->cache[which], slot, l->end), l->p->act);
}

sm_value *sm_lower_store(sm_lower *l, int which, int slot, sm_value *x) {
    if (l->b->st != SM_OK || l->p->kv == SM_KV_NONE)
        return x;
    if (l->p->kv == SM_KV_STATE)
        return store_state(l, which, slot, x);
    l->fresh[which][slot] = x;
    sm_value *old = cache_slot(l, l->cache_in[which], slot, NULL);
    return sm_build_list(l->b, SM_OP_CONCAT, NULL, (sm_value *[]){sm_lower_cast(l, old, l->p->act), x}, 2, "axis",
                         sm_const_i32(l->b, 2), NULL);
}

/* ------------------------------------------------------------------ outputs */
void sm_lower_results(sm_lower *l) {
    static const char *const name[2] = {"newKeys", "newValues"};
    const sm_block *old = l->r.old->body;
    for (int i = 0; i < old->n_out; i++)
        sm_build_output(l->b, sm_lower_in(l, old->out[i], SM_LAY_TOKENS), old->out[i]->name);
    if (l->p->kv != SM_KV_IO)
        return;
    for (int w = 0; w < 2; w++)
        sm_build_output(
            l->b, sm_build_list(l->b, SM_OP_STACK, NULL, l->fresh[w], l->n_slots, "axis", sm_const_i32(l->b, 0), NULL),
            name[w]);
}
