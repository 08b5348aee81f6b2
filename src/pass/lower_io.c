/* SPDX-License-Identifier: MIT
 *
 * lower_io.c: what a lowered program's inputs, positions, masks and caches look like in each KV form.
 *
 *   state  states keyCache, valueCache [slots, 1, kv heads, ctx, d], with channels first [slots, kv heads, ctx, d].  A
 *          slot's new columns go in by slice_update and write_state.  Measured (flexible, with a mask): the mask's extents
 *          [1, 1, n, kv] say past = kv - n, and keys come back by read_state and a slice up to kv.  Else input positionIds
 *          says it, and scores are over the whole cache.
 *   io     keyCache, valueCache [slots, 1, kv heads, ctx, d] are read-only inputs, with channels first [slots, 1, kv heads
 *          * d, 1, ctx]; column j holds position j; newKeys, newValues, with n for ctx, are the new columns, which the host
 *          writes.  Scores are over the cache, then the new columns; the mask hides what is not filled yet.
 *   none   inputIds; positions 0..n-1, causal mask made inside.
 *
 * A mask is added to scores, [1, 1, n, keys], with channels first [1, keys, 1, n].  Given as input causalMask, or made from
 * positions.  A windowed layer replaces its entries at keys that are `window` or more positions back; where nothing is made
 * inside (turns given) its mask is an input of its own, windowMask.
 */
#include "pass/lower_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------ small builders */
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

static bool channels(const sm_lower *l) {
    return l->rows == SM_LAY_CHANNELS;
}

/* Scores are over the cache, then the call's own columns. */
static bool joined(const sm_lower *l) {
    return l->p->kv == SM_KV_IO;
}

/* ------------------------------------------------------------------ inputs */
static sm_type cache_type(const sm_lower *l, int which, sm_dim columns) {
    const sm_kv_slot *s = l->slot;
    sm_dim d = which == 0 ? s->head_dim : s->v_dim;
    if (!channels(l))
        return tensor_type(l->io, 5, (sm_dim[]){l->n_slots, 1, s->heads, columns, d});
    if (l->p->kv == SM_KV_STATE)
        return tensor_type(l->io, 4, (sm_dim[]){l->n_slots, s->heads, columns, d});
    return tensor_type(l->io, 5, (sm_dim[]){l->n_slots, 1, s->heads * d, 1, columns});
}

/* Caches stack all slots, so slots must be alike. */
static sm_status cache_inputs(sm_lower *l, sm_err *err) {
    static const char *const name[2] = {"keyCache", "valueCache"};
    const sm_kv_slot *s = l->slot;
    if (l->n_slots < 0)
        return SM_FAIL(err, SM_UNSUPPORTED, "the model has more than %d attention caches", SM_MAX_SLOTS_KV);
    for (int i = 1; i < l->n_slots; i++)
        if (s[i].heads != s[0].heads || s[i].head_dim != s[0].head_dim || s[i].v_dim != s[0].v_dim)
            return SM_FAIL(err, SM_UNSUPPORTED,
                           "layer %d has %d key heads of %d, layer 0 has %d of %d: the '%s' design stacks equal caches",
                           i, s[i].heads, s[i].head_dim, s[0].heads, s[0].head_dim, l->p->name);
    for (int w = 0; w < 2; w++) {
        sm_type t = cache_type(l, w, l->p->ctx);
        if (l->p->kv == SM_KV_STATE) {
            t.kind = SM_V_STATE;
            t.dtype = SM_FP16; /* of which alone states are */
        }
        l->cache_in[w] = sm_build_input(l->b, name[w], t);
        if (l->p->kv == SM_KV_IO)
            l->cache[w] = sm_lower_cast(l, l->cache_in[w], l->act);
    }
    return SM_OK;
}

static sm_value *known_mask(const sm_lower *l, int64_t window, sm_dtype t) {
    for (int i = 0; i < l->n_window; i++)
        if (l->window[i].window == window && l->window[i].dtype == t)
            return l->window[i].mask;
    return NULL;
}

static sm_value *keep_mask(sm_lower *l, int64_t window, sm_value *m) {
    if (m != NULL && l->n_window < SM_MAX_TABLES)
        l->window[l->n_window++] = (sm_window_mask){window, m->type.dtype, m};
    return m;
}

static sm_value *mask_input(sm_lower *l, const char *name, sm_dim keys, int64_t window) {
    sm_dim rows[4] = {1, 1, l->n, keys}, across[4] = {1, keys, 1, l->n};
    sm_value *m = sm_build_input(l->b, name, tensor_type(l->io, 4, channels(l) ? across : rows));
    if (m != NULL && l->notes != NULL)
        l->notes->mask[l->notes->n_masks++] = (sm_lowered_mask){m->name, window};
    return m;
}

/* int32 [n] out of input positionIds [1, n]. */
static void given_positions(sm_lower *l) {
    static const int32_t zero = 0;
    l->given_pos = sm_build_input(l->b, "positionIds", tensor_type(SM_INT32, 2, (sm_dim[]){1, l->n}));
    l->pos = sm_build(l->b, SM_OP_SQUEEZE, NULL, "x", l->given_pos, "axes", sm_const_i32s(l->b, &zero, 1), NULL);
}

/* Tokens of the call, an int32 scalar, off the ids or the rows that come in. */
static sm_value *tokens(sm_lower *l) {
    if (l->ids != NULL)
        return extent(l, l->ids, 1);
    return extent(l, l->hidden, channels(l) ? 3 : 1);
}

/* Positions read off the extents of the mask and of the ids. */
static void measured_positions(sm_lower *l, sm_value *mask) {
    l->kv = extent(l, mask, channels(l) ? 1 : 3);
    sm_value *n = tokens(l);
    l->past = sm_build(l->b, SM_OP_SUB, "past", "x", l->kv, "y", n, NULL);
    l->pos = range(l, l->past, l->kv);
    sm_value *axis = sm_const_i32s(l->b, (int32_t[]){0}, 1);
    l->past1 = sm_build(l->b, SM_OP_EXPAND_DIMS, NULL, "x", l->past, "axes", axis, NULL);
    l->kv1 = sm_build(l->b, SM_OP_EXPAND_DIMS, NULL, "x", l->kv, "axes", axis, NULL);
}

/* Where the call's columns go in a state when positions are given: behind the first one. */
static void stated_positions(sm_lower *l) {
    l->past1 = sm_lower_slice(l, l->pos, 0, 0, 1);
    sm_value *n = sm_dim_known(l->n) ? sm_const_i32(l->b, (int32_t)l->n) : extent(l, l->pos, 0);
    l->kv1 = sm_build(l->b, SM_OP_ADD, NULL, "x", l->past1, "y", n, NULL);
}

static bool uses(const sm_func *f, const char *input) {
    const sm_value *v = sm_input_named(f, input);
    if (v == NULL)
        return false;
    for (const sm_node *n = f->body->first; n != NULL; n = n->next)
        for (int i = 0; i < sm_op_row_of(n->op)->n_slots; i++)
            if (n->in[i] == v)
                return true;
    return false;
}

/* Rows that come from elsewhere: [t, d] as [1, n, d] or [1, d, 1, n], under their name. */
static sm_status row_inputs(sm_lower *l, sm_err *err) {
    const sm_block *old = l->r.old->body;
    for (int i = 0; i < old->n_in; i++) {
        const sm_value *v = old->in[i];
        if (v->type.kind != SM_V_TENSOR || sm_dtype_kind(v->type.dtype) != 'f')
            continue;
        if (v->type.rank != 2 || !sm_dim_known(v->type.dims[1]))
            return SM_FAIL(err, SM_UNSUPPORTED, "input '%s': wanted rows [t, d]", v->name);
        sm_dim d = v->type.dims[1], rows[3] = {1, l->n, d}, across[4] = {1, d, 1, l->n};
        sm_type t = channels(l) ? tensor_type(l->io, 4, across) : tensor_type(l->io, 3, rows);
        l->hidden = sm_build_input(l->b, v->name, t);
        sm_lower_set(l, v, l->hidden, l->rows);
    }
    return SM_OK;
}

/* Where windows have masks of their own, a model may have no layer that sees everything. */
static bool wants_causal(const sm_lower *l) {
    if (l->p->turns == SM_PLACE_MADE)
        return true;
    for (int i = 0; i < l->n_slots; i++)
        if (l->slot[i].window == 0)
            return true;
    return false;
}

/* Tokens per call are one of a list; all inputs take theirs from the same row of it. */
static sm_status list_shapes(sm_lower *l, sm_err *err) {
    sm_shape_set *s;
    SM_TRY(sm_func_add_shapes(l->r.f, 1, l->p->n_seq, &s, err));
    s->sym[0] = sm_dim_as_symbol(l->b->g, l->n);
    for (int i = 0; i < l->p->n_seq; i++)
        s->value[i] = l->p->seq[i];
    return SM_OK;
}

sm_status sm_lower_interface(sm_lower *l, sm_err *err) {
    const sm_profile *p = l->p;
    sm_graph *g = l->b->g;
    const sm_func *old = l->r.old;
    int64_t hi = p->n_seq > 0 ? p->seq[p->n_seq - 1] : p->ctx, lo = p->n_seq > 0 ? p->seq[0] : 1;
    l->n = p->shape == SM_SHAPE_FIXED ? hi : sm_dim_symbol(g, "n", lo, hi > 0 ? hi : -1);
    if (p->shape == SM_SHAPE_LIST)
        SM_TRY(list_shapes(l, err));
    bool caches = p->kv != SM_KV_NONE && l->n_slots != 0;
    if (uses(old, "ids"))
        l->ids = sm_build_input(l->b, "inputIds", tensor_type(SM_INT32, 2, (sm_dim[]){1, l->n}));
    SM_TRY(row_inputs(l, err));
    if (p->kv == SM_KV_NONE) {
        if (uses(old, "pos") || l->n_slots != 0)
            l->pos = range(l, sm_const_i32(l->b, 0), tokens(l));
        return SM_OK;
    }
    bool measures = sm_profile_measures(p);
    if (!measures && (uses(old, "pos") || caches) &&
        (p->turns == SM_PLACE_MADE || p->mask == SM_PLACE_MADE || p->kv == SM_KV_STATE))
        given_positions(l);
    if (!caches)
        return SM_OK;
    sm_dim keys = measures ? sm_dim_symbol(g, "kv", lo, p->ctx) : joined(l) ? sm_dim_add(g, l->n, p->ctx) : p->ctx;
    l->keys = keys;
    sm_value *mask = p->mask == SM_PLACE_GIVEN && wants_causal(l) ? mask_input(l, "causalMask", keys, 0) : NULL;
    SM_TRY(cache_inputs(l, err));
    if (p->kv == SM_KV_STATE) {
        if (measures)
            measured_positions(l, mask);
        else
            stated_positions(l);
        for (int w = 0; w < 2; w++)
            l->cache[w] = sm_build(l->b, SM_OP_READ_STATE, NULL, "input", l->cache_in[w], NULL);
    }
    keep_mask(l, 0, mask);
    return SM_OK;
}

/* ------------------------------------------------------------------ masks */
/* Positions of the keys, int32 [keys]; an empty column of a cache that is an input is far ahead when the mask is made. */
static sm_value *key_positions(sm_lower *l) {
    if (l->key_pos != NULL)
        return l->key_pos;
    if (l->p->kv == SM_KV_NONE) {
        l->key_pos = l->pos;
    } else if (sm_profile_measures(l->p)) {
        l->key_pos = range(l, sm_const_i32(l->b, 0), l->kv);
    } else {
        l->key_pos = range(l, sm_const_i32(l->b, 0), sm_const_i32(l->b, (int32_t)l->p->ctx));
        if (joined(l) && l->p->mask == SM_PLACE_MADE) {
            sm_value *past = sm_lower_slice(l, l->pos, 0, 0, 1);
            sm_value *filled = sm_build(l->b, SM_OP_LESS, NULL, "x", l->key_pos, "y", past, NULL);
            l->key_pos = sm_build(l->b, SM_OP_SELECT, NULL, "cond", filled, "a", l->key_pos, "b",
                                  sm_const_i32(l->b, INT32_C(1) << 30), NULL);
        }
        if (joined(l))
            l->key_pos = sm_lower_join(l, NULL, (sm_value *[]){l->key_pos, l->pos}, 2, 0);
    }
    return l->key_pos;
}

static sm_value *along_rows(sm_lower *l) {
    static const int32_t rows[4] = {1, 1, -1, 1}, across[4] = {1, 1, 1, -1};
    return sm_lower_reshape(l, l->pos, 4, channels(l) ? across : rows);
}

static sm_value *along_keys(sm_lower *l) {
    static const int32_t rows[4] = {1, 1, 1, -1}, across[4] = {1, -1, 1, 1};
    return sm_lower_reshape(l, key_positions(l), 4, channels(l) ? across : rows);
}

/* 0 where key <= position, else masked. */
static sm_value *made_mask(sm_lower *l) {
    sm_value *key = along_keys(l), *row = along_rows(l);
    sm_value *seen = sm_build(l->b, SM_OP_LESS_EQUAL, NULL, "x", key, "y", row, NULL);
    sm_value *open = sm_lower_cast(l, seen, l->act);
    /* (seen - 1) * 40000: 0 or masked, with the extents of `seen` */
    sm_value *hid = sm_build(l->b, SM_OP_SUB, NULL, "x", open, "y", sm_lower_scalar(l, 1), NULL);
    return sm_build(l->b, SM_OP_MUL, NULL, "x", hid, "y", sm_lower_scalar(l, -SM_MASKED), NULL);
}

static sm_value *window_input(sm_lower *l, int64_t window) {
    char name[32] = "windowMask";
    int before = 0;
    if (l->n_window == SM_MAX_TABLES) {
        l->b->st =
            SM_FAIL(&l->b->err, SM_UNSUPPORTED, "more than %d masks of different windows in one model", SM_MAX_TABLES);
        return NULL;
    }
    for (int i = 0; i < l->n_window; i++)
        before += l->window[i].window > 0;
    if (before > 0)
        snprintf(name, sizeof name, "windowMask%d", before + 1);
    return keep_mask(l, window, mask_input(l, name, l->keys, window));
}

sm_value *sm_lower_mask(sm_lower *l, int64_t window) {
    sm_value *m = known_mask(l, window, l->act);
    if (m != NULL || l->b->st != SM_OK)
        return m;
    m = known_mask(l, window, l->io);
    if (m != NULL) /* given in another type */
        return keep_mask(l, window, sm_lower_cast(l, m, l->act));
    if (window <= 0)
        return keep_mask(l, 0, made_mask(l));
    if (l->p->mask == SM_PLACE_GIVEN && l->p->turns == SM_PLACE_GIVEN)
        return sm_lower_cast(l, window_input(l, window), l->act);
    sm_value *causal = sm_lower_mask(l, 0);
    sm_value *row = along_rows(l), *key = along_keys(l);
    sm_value *back = sm_build(l->b, SM_OP_SUB, NULL, "x", row, "y", key, NULL);
    sm_value *far =
        sm_build(l->b, SM_OP_GREATER_EQUAL, NULL, "x", back, "y", sm_const_i32(l->b, (int32_t)window), NULL);
    return keep_mask(
        l, window,
        sm_build(l->b, SM_OP_SELECT, NULL, "cond", far, "a", sm_lower_scalar(l, SM_MASKED), "b", causal, NULL));
}

/* ------------------------------------------------------------------ caches */
/* [slot, ...] of a stacked cache without the first axis, of 4 axes; cut at `end` along the positions when not NULL. */
static sm_value *cache_slot(sm_lower *l, sm_value *cache, int slot, sm_value *end) {
    if (cache == NULL)
        return NULL; /* the builder keeps the error */
    int rank = cache->type.rank;
    bool squeeze[5] = {rank == 5}, open[5] = {false, true, true, end == NULL, true};
    int32_t begin[5] = {slot, 0, 0, 0, 0}, stop[5] = {slot + 1, 0, 0, 0, 0};
    return sm_build(l->b, SM_OP_SLICE_BY_INDEX, NULL, "x", cache, "begin", sm_const_i32s(l->b, begin, rank), "end",
                    end != NULL ? end : sm_const_i32s(l->b, stop, rank), "end_mask", sm_const_bools(l->b, open, rank),
                    "squeeze_mask", sm_const_bools(l->b, squeeze, rank), NULL);
}

/* Bounds of a slot's new columns, shared by keys and values: [slot, 0, (0,) past, 0], [slot + 1, 0, (0,) kv, 0]. */
static void slot_bounds(sm_lower *l, int slot, int rank) {
    if (l->begin != NULL && l->at_slot == slot)
        return;
    sm_value *zero = sm_const_i32s(l->b, (int32_t[]){0}, 1);
    sm_value *from[3] = {sm_const_i32s(l->b, (int32_t[]){slot, 0, 0}, rank - 2), l->past1, zero};
    sm_value *to[3] = {sm_const_i32s(l->b, (int32_t[]){slot + 1, 0, 0}, rank - 2), l->kv1, zero};
    l->begin = sm_lower_join(l, NULL, from, 3, 0);
    l->end = sm_lower_join(l, NULL, to, 3, 0);
    l->at_slot = slot;
}

/* x [1, heads, n, d] into the state, and what the slot then holds. */
static sm_value *store_state(sm_lower *l, int which, int slot, sm_value *x) {
    sm_value *cache = l->cache[which];
    if (cache == NULL)
        return NULL;
    int rank = cache->type.rank;
    bool squeeze[5] = {rank == 5}, open[5] = {false, true, true, false, true};
    if (rank == 4)
        open[2] = false, open[3] = true;
    slot_bounds(l, slot, rank);
    sm_value *y = sm_build(l->b, SM_OP_SLICE_UPDATE, NULL, "x", cache, "update", sm_lower_cast(l, x, SM_FP16), "begin",
                           l->begin, "end", l->end, "end_mask", sm_const_bools(l->b, open, rank), "squeeze_mask",
                           sm_const_bools(l->b, squeeze, rank), NULL);
    sm_build(l->b, SM_OP_WRITE_STATE, NULL, "input", l->cache_in[which], "data", y, NULL);
    l->cache[which] = sm_build(l->b, SM_OP_READ_STATE, NULL, "input", l->cache_in[which], NULL);
    sm_value *end = sm_profile_measures(l->p) ? l->end : NULL;
    return sm_lower_cast(l, cache_slot(l, l->cache[which], slot, end), l->act);
}

/* [heads, d, 1, n] <-> [1, heads, n, d]. */
static sm_value *store_channels(sm_lower *l, int which, int slot, sm_value *x) {
    int32_t heads = (int32_t)x->type.dims[0], d = (int32_t)x->type.dims[1];
    x = sm_lower_reshape(l, x, 4, (int32_t[]){1, heads, d, -1});
    x = store_state(l, which, slot, sm_lower_transpose(l, x, 4, (int32_t[]){0, 1, 3, 2}));
    x = sm_lower_transpose(l, x, 4, (int32_t[]){0, 1, 3, 2});
    return sm_lower_reshape(l, x, 4, (int32_t[]){1, heads * d, 1, -1});
}

sm_value *sm_lower_store(sm_lower *l, int which, int slot, sm_value *x) {
    if (l->b->st != SM_OK)
        return x;
    if (l->p->kv == SM_KV_STATE)
        return channels(l) ? store_channels(l, which, slot, x) : store_state(l, which, slot, x);
    if (channels(l))
        x = sm_lower_reshape(l, x, 4, (int32_t[]){1, (int32_t)(x->type.dims[0] * x->type.dims[1]), 1, -1});
    if (l->p->kv == SM_KV_NONE)
        return x;
    l->fresh[which][slot] = sm_lower_cast(l, x, l->p->act);
    sm_value *old = cache_slot(l, l->cache[which], slot, NULL);
    return sm_lower_join(l, NULL, (sm_value *[]){sm_lower_cast(l, old, l->act), x}, 2, channels(l) ? 3 : 2);
}

void sm_lower_columns(sm_lower *l) {
    static const char *const name[2] = {"newKeys", "newValues"};
    if (l->p->kv != SM_KV_IO || l->n_slots == 0)
        return;
    for (int w = 0; w < 2; w++) {
        sm_value *all =
            sm_build_list(l->b, SM_OP_STACK, NULL, l->fresh[w], l->n_slots, "axis", sm_const_i32(l->b, 0), NULL);
        sm_build_output(l->b, sm_lower_cast(l, all, l->io), name[w]);
    }
}
