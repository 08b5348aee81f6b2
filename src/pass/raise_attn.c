/* SPDX-License-Identifier: MIT
 *
 * raise_attn.c: meanings of caches and attention.
 *
 * Caches as states: slice_update at the rows' positions, write_state, a slice up to the last position.  Caches as inputs:
 * old columns joined with the new ones, the new ones stacked as a result.  Stacked over slots, or one per slot.
 * Attention fused (keys repeated per query head) or decomposed (query heads grouped).
 */
#include "pass/raise_int.h"

#include <math.h>
#include <stdio.h>

/* ------------------------------------------------------------------ caches */
static sm_raise_cache *cache_of(sm_raise *z, const sm_meaning *m) {
    return z->cache[m->cache];
}

/* The rows' positions begin where begin says: the same place for all caches, and not always the same one. */
static bool at_past(sm_raise *z, sm_dim begin, sm_dim end) {
    if (sm_dim_known(begin) || begin == SM_DIM_UNKNOWN || sm_dim_sub(z->b->g, end, begin) != z->n)
        return false;
    if (!z->past_known) {
        z->past = begin;
        z->past_known = true;
    }
    return z->past == begin;
}

static void slice_update(sm_raise *z, const sm_node *n) {
    const sm_meaning *x = sm_raise_arg(z, n, "x"), *u = sm_raise_arg(z, n, "update");
    const sm_type *t = &sm_arg(n, "x")->type;
    sm_dim lo[SM_MAX_RANK], hi[SM_MAX_RANK];
    bool squeeze[SM_MAX_RANK];
    if (x->kind != M_CACHE || !cache_of(z, x)->state || u->kind != M_HEADS ||
        !sm_slice_bounds(z, n, t, lo, hi, squeeze))
        return;
    const sm_raise_cache *c = cache_of(z, x);
    int at = t->rank - 2;
    if (squeeze[at] || !at_past(z, lo[at], hi[at]))
        return;
    for (int i = c->stacked ? 1 : 0; i < t->rank; i++)
        if (i != at && (lo[i] != 0 || hi[i] != t->dims[i]))
            return;
    int64_t slot = 0;
    if (c->stacked) {
        if (!sm_dim_known(lo[0]) || lo[0] < 0 || lo[0] >= t->dims[0] || hi[0] != lo[0] + 1)
            return;
        slot = lo[0];
    }
    sm_meaning m = *x;
    m.kind = M_UPDATED;
    m.slot = (int)slot;
    m.row = sm_raise_row(z, u);
    sm_raise_set(z, n, m);
}

/* A write that is not understood would be lost: stop.  So would an older write, if data was made from what the state held
 * before that. */
static void write_state(sm_raise *z, const sm_node *n) {
    const sm_meaning *s = sm_raise_arg(z, n, "input"), *d = sm_raise_arg(z, n, "data");
    if (s->kind == M_CACHE && d->kind == M_UPDATED && d->cache == s->cache) {
        sm_raise_cache *c = cache_of(z, s);
        if (d->version == c->writes && c->slot[d->slot].row == NULL) {
            c->slot[d->slot].row = d->row;
            c->slot[d->slot].since = ++c->writes;
            return;
        }
    }
    sm_raise_fail(z, "state '%s' is written in a way that is not known here", sm_arg(n, "input")->name);
}

/* All positions, or those up to the last one. */
static bool whole_or_seen(sm_raise *z, sm_dim hi, sm_dim extent) {
    return hi == extent || (z->past_known && hi == sm_dim_add(z->b->g, z->past, z->n));
}

/* Slot of a cache; keys or values cut to the positions that are filled; an input cache's old content. */
static void slice_cache(sm_raise *z, const sm_node *n) {
    const sm_meaning *x = sm_raise_arg(z, n, "x");
    const sm_type *t = &sm_arg(n, "x")->type;
    sm_dim lo[SM_MAX_RANK], hi[SM_MAX_RANK];
    bool squeeze[SM_MAX_RANK];
    if ((x->kind != M_CACHE && x->kind != M_UPDATED && x->kind != M_KV) || !sm_slice_bounds(z, n, t, lo, hi, squeeze))
        return;
    sm_raise_cache *c = cache_of(z, x);
    bool stacked = x->kind != M_KV && c->stacked;
    for (int i = stacked ? 1 : 0; i < t->rank; i++)
        if (lo[i] != 0 || squeeze[i] || (i != t->rank - 2 && hi[i] != t->dims[i]))
            return;
    if (hi[t->rank - 2] != t->dims[t->rank - 2] &&
        (!c->state || x->joined || !whole_or_seen(z, hi[t->rank - 2], t->dims[t->rank - 2])))
        return;
    if (x->kind == M_KV) {
        sm_raise_set(z, n, *x);
        return;
    }
    int64_t slot = 0;
    if (stacked) {
        if (!squeeze[0] || !sm_dim_known(lo[0]) || lo[0] < 0 || lo[0] >= t->dims[0])
            return;
        slot = lo[0];
    }
    sm_meaning m = {.kind = M_KV, .cache = x->cache, .slot = (int)slot, .f = 1};
    const sm_raise_slot *s = &c->slot[slot];
    if (!c->state)
        m.kind = M_SLOT;
    else if (x->kind == M_UPDATED && x->slot == slot)
        m.row = x->row;
    else if (s->row != NULL && s->since <= x->version)
        m.row = s->row;
    else
        return; /* without the rows */
    sm_raise_set(z, n, m);
}

/* [old columns, new columns] along the positions. */
static bool join_columns(sm_raise *z, const sm_node *n) {
    int64_t axis;
    if (!sm_concat_two(n, &axis) || n->list[0]->type.rank != 4 || axis != 2)
        return false;
    const sm_meaning *a = &z->m[n->list[0]->id];
    sm_meaning *b = &z->m[n->list[1]->id];
    if (a->kind != M_SLOT || b->kind != M_HEADS || cache_of(z, a)->slot[a->slot].row != NULL ||
        n->list[1]->type.dims[0] != 1)
        return false;
    b->row = sm_raise_row(z, b); /* the columns that are a result are these */
    b->f = 1;
    if (b->row == NULL)
        return false;
    cache_of(z, a)->slot[a->slot].row = b->row;
    sm_meaning m = {.kind = M_KV, .cache = a->cache, .slot = a->slot, .row = b->row, .f = 1, .joined = true};
    sm_raise_set(z, n, m);
    return true;
}

/* Several slots' new columns: whether they are a cache's is seen at the end. */
static void stack(sm_raise *z, const sm_node *n) {
    int64_t axis = 0;
    if (!sm_arg_int(n, "axis", &axis) || axis != 0)
        return;
    for (int i = 0; i < n->n_list; i++)
        if (n->list[i]->cst != NULL || z->m[n->list[i]->id].kind != M_HEADS)
            return;
    sm_raise_set(z, n, (sm_meaning){.kind = M_FRESH, .stack = n});
}

/* expand_dims and tile on the way to one key head per query head. */
static void repeat(sm_raise *z, const sm_node *n) {
    const sm_meaning *x = sm_raise_arg(z, n, "x");
    const sm_type *t = &sm_arg(n, "x")->type;
    int64_t v[SM_MAX_RANK];
    int k = 0;
    if (x->kind != M_KV)
        return;
    if (n->op == SM_OP_EXPAND_DIMS) {
        if (t->rank == 4 && sm_arg_ints(n, "axes", v, SM_MAX_RANK, &k) && k == 1 && (v[0] == 2 || v[0] == -3))
            sm_raise_set(z, n, *x);
        return;
    }
    if (t->rank != 5 || t->dims[2] != 1 || !sm_arg_ints(n, "reps", v, SM_MAX_RANK, &k) || k != 5)
        return;
    if (v[0] == 1 && v[1] == 1 && v[3] == 1 && v[4] == 1)
        sm_raise_set(z, n, *x);
}

/* ------------------------------------------------------------------ attention */
/* Decompositions round the scale to fp16: what is within that of 1 / sqrt(d) is it. */
static double snap_scale(double scale, int64_t d, double tol) {
    double fixed = 1 / sqrt((double)d);
    return fabs(scale / fixed - 1) <= tol ? fixed : scale;
}

/* Query heads [a, b, n, d] over key or value heads [c, e, keys, d] as they broadcast: does head i meet i / group? */
static bool heads_meet(const sm_type *q, const sm_type *kv) {
    if (q->rank != 4 || kv->rank != 4)
        return false;
    sm_dim c = kv->dims[0], e = kv->dims[1];
    return (c == q->dims[0] && (e == q->dims[1] || e == 1)) || (c == 1 && e == 1);
}

/* q: SCORES or PROBS with everything that attention wants to know.  Slots are numbered as attentions come. */
static void attention(sm_raise *z, const sm_node *n, const sm_meaning *q, const sm_meaning *v, double scale) {
    sm_raise_slot *ks = &cache_of(z, q)->slot[q->slot], *vs = &cache_of(z, v)->slot[v->slot];
    int64_t heads = q->row->type.dims[1], kv_heads = q->row_k->type.dims[1];
    if (ks == vs || ks->used != NULL || vs->used != NULL || q->joined != v->joined ||
        kv_heads != v->row->type.dims[1] || heads % kv_heads != 0 || !isfinite(scale) ||
        z->n_attention == SM_RAISE_SLOTS)
        return;
    sm_builder *b = z->b;
    sm_value *y = sm_build(b, SM_OP_ATTENTION, NULL, "q", q->row, "k", q->row_k, "v", v->row, "batch", z->batch, "slot",
                           sm_const_i32(b, z->n_attention), "scale", sm_const_f(b, SM_FP32, (float)scale), "window",
                           q->window > 0 ? sm_const_i32(b, (int32_t)q->window) : NULL, "softcap",
                           q->cap > 0 ? sm_const_f(b, SM_FP32, q->cap) : NULL, NULL);
    if (y == NULL)
        return;
    z->n_attention++;
    ks->used = q->row_k;
    vs->used = v->row;
    sm_raise_set(z, n, (sm_meaning){.kind = M_HEADS, .row = y, .f = 1, .heads = true});
}

/* A mask for scores over these keys.  A window made of key positions must have meant keys in this order. */
static bool mask_fits(const sm_raise *z, const sm_type *t, const sm_meaning *mask, sm_dim keys, bool joined) {
    return mask->kind == M_MASK && sm_is_mask(z, t, keys) && (mask->window == 0 || mask->joined == joined);
}

static void fused(sm_raise *z, const sm_node *n) {
    const sm_value *qv = sm_arg(n, "query"), *kv = sm_arg(n, "key"), *vv = sm_arg(n, "value");
    const sm_value *mv = sm_arg(n, "attn_mask");
    const sm_meaning *q = sm_raise_arg(z, n, "query"), *k = sm_raise_arg(z, n, "key"), *v = sm_raise_arg(z, n, "value");
    const sm_meaning *m = sm_raise_arg(z, n, "attn_mask");
    if (q->kind != M_HEADS || k->kind != M_KV || v->kind != M_KV || m->kind != M_MASK)
        return;
    sm_dim keys = kv->type.dims[kv->type.rank - 2];
    if (!heads_meet(&qv->type, &kv->type) || !heads_meet(&qv->type, &vv->type) || vv->type.dims[2] != keys ||
        !mask_fits(z, &mv->type, m, keys, k->joined))
        return;
    int64_t d = q->row->type.dims[2];
    sm_meaning s = {.row = q->row, .row_k = k->row, .cache = k->cache, .slot = k->slot, .joined = k->joined};
    s.window = m->window;
    attention(z, n, &s, v, snap_scale(q->f / sqrt((double)d), d, 0x1p-10));
}

static bool scores(sm_raise *z, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    const sm_meaning *a = sm_raise_arg(z, n, "x"), *b = sm_raise_arg(z, n, "y");
    bool tx = false, ty = false;
    if (!sm_arg_bool(n, "transpose_x", &tx) || !sm_arg_bool(n, "transpose_y", &ty) || b->kind != M_KV ||
        !heads_meet(&x->type, &y->type))
        return false;
    if (a->kind == M_HEADS && !tx && ty) {
        sm_meaning m = {.kind = M_SCORES, .row = a->row, .row_k = b->row, .cache = b->cache, .slot = b->slot};
        m.joined = b->joined;
        m.f = a->f;
        m.window = -1;
        sm_raise_set(z, n, m);
        return true;
    }
    if (a->kind == M_PROBS && !tx && !ty && x->type.dims[3] == y->type.dims[2]) {
        attention(z, n, a, b, snap_scale(a->f, a->row->type.dims[2], a->cap > 0 ? 0x1p-8 : 0x1p-10));
        return true;
    }
    return false;
}

static bool add_mask(sm_raise *z, const sm_node *n) {
    bool behind = sm_raise_arg(z, n, "y")->kind == M_SCORES;
    const char *of_scores = behind ? "y" : "x", *of_mask = behind ? "x" : "y";
    const sm_meaning *s = sm_raise_arg(z, n, of_scores), *mask = sm_raise_arg(z, n, of_mask);
    if (s->kind != M_SCORES || s->window >= 0 || (s->capped && s->cap == 0) ||
        !mask_fits(z, &sm_arg(n, of_mask)->type, mask, sm_arg(n, of_scores)->type.dims[3], s->joined))
        return false;
    sm_meaning m = *s;
    m.window = mask->window;
    sm_raise_set(z, n, m);
    return true;
}

/* scores * f, before or behind the tanh of a soft cap: cap * tanh(g * s) has the scale g * cap. */
static bool scale_scores(sm_raise *z, const sm_node *n) {
    sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    sm_value *c = x->cst != NULL ? x : y, *v = c == x ? y : x;
    double f;
    if (v->cst != NULL || z->m[v->id].kind != M_SCORES || !sm_value_float(c, &f) || (n->op == SM_OP_REAL_DIV && c == x))
        return false;
    sm_meaning m = z->m[v->id];
    if (n->op == SM_OP_REAL_DIV)
        f = 1 / f;
    if (m.window >= 0 || !isfinite(f) || f == 0 || (m.capped && f < 0))
        return false;
    m.f *= f;
    if (m.capped)
        m.cap = m.cap == 0 ? f : m.cap * f;
    sm_raise_set(z, n, m);
    return true;
}

void sm_raise_cache_op(sm_raise *z, const sm_node *n) {
    switch (n->op) {
    case SM_OP_READ_STATE: {
        sm_meaning m = *sm_raise_arg(z, n, "input");
        if (m.kind == M_CACHE) {
            m.version = cache_of(z, &m)->writes;
            sm_raise_set(z, n, m);
        }
        return;
    }
    case SM_OP_SLICE_UPDATE:
        slice_update(z, n);
        return;
    case SM_OP_WRITE_STATE:
        write_state(z, n);
        return;
    case SM_OP_SLICE_BY_INDEX:
        slice_cache(z, n);
        return;
    case SM_OP_CONCAT:
        (void)join_columns(z, n);
        return;
    case SM_OP_STACK:
        stack(z, n);
        return;
    case SM_OP_EXPAND_DIMS:
    case SM_OP_TILE:
        repeat(z, n);
        return;
    case SM_OP_SDPA:
        fused(z, n);
        return;
    case SM_OP_MATMUL:
        (void)scores(z, n);
        return;
    case SM_OP_ADD:
        (void)add_mask(z, n);
        return;
    case SM_OP_MUL:
    case SM_OP_REAL_DIV:
        (void)scale_scores(z, n);
        return;
    case SM_OP_TANH: {
        sm_meaning m = *sm_raise_arg(z, n, "x");
        if (m.kind == M_SCORES && m.window < 0 && !m.capped) {
            m.capped = true;
            sm_raise_set(z, n, m);
        }
        return;
    }
    case SM_OP_SOFTMAX: {
        sm_meaning m = *sm_raise_arg(z, n, "x");
        int64_t axis = -1;
        if (m.kind == M_SCORES && m.window >= 0 && sm_arg_int(n, "axis", &axis) &&
            sm_is_last_axis(sm_arg(n, "x"), axis)) {
            m.kind = M_PROBS;
            sm_raise_set(z, n, m);
        }
        return;
    }
    default:
        return;
    }
}
