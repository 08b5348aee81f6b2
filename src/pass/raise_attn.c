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

/* The rows' positions begin where begin says: the same place for all caches. */
static bool at_past(sm_raise *z, sm_dim begin, sm_dim end) {
    if (sm_dim_sub(z->b->g, end, begin) != z->n)
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
    if (x->kind != M_CACHE || u->kind != M_HEADS || !sm_slice_bounds(z, n, t, lo, hi, squeeze))
        return;
    const sm_raise_cache *c = cache_of(z, x);
    int at = t->rank - 2;
    if (!at_past(z, lo[at], hi[at]))
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
    sm_raise_set(
        z, n, (sm_meaning){.kind = M_UPDATED, .cache = x->cache, .slot = (int)slot, .row = sm_raise_row(z, u), .f = 1});
}

/* A write that is not understood would be lost: stop. */
static void write_state(sm_raise *z, const sm_node *n) {
    const sm_meaning *s = sm_raise_arg(z, n, "input"), *d = sm_raise_arg(z, n, "data");
    if (s->kind == M_CACHE && d->kind == M_UPDATED && d->cache == s->cache && cache_of(z, s)->state &&
        cache_of(z, s)->row[d->slot] == NULL) {
        cache_of(z, s)->row[d->slot] = d->row;
        return;
    }
    if (z->info->ok)
        snprintf(z->info->why, sizeof z->info->why, "state '%s' is written in a way that is not known here",
                 sm_arg(n, "input")->name);
    z->info->ok = false;
}

/* Slot of a cache, all positions or those up to the last one; an input cache's old content. */
static void slice_cache(sm_raise *z, const sm_node *n) {
    const sm_meaning *x = sm_raise_arg(z, n, "x");
    const sm_type *t = &sm_arg(n, "x")->type;
    sm_dim lo[SM_MAX_RANK], hi[SM_MAX_RANK];
    bool squeeze[SM_MAX_RANK];
    if ((x->kind != M_CACHE && x->kind != M_UPDATED && x->kind != M_KV) || !sm_slice_bounds(z, n, t, lo, hi, squeeze))
        return;
    for (int i = 0; i < t->rank; i++) {
        bool slot_axis = i == 0 && x->kind != M_KV && cache_of(z, x)->stacked;
        if (!slot_axis && (lo[i] != 0 || squeeze[i]))
            return;
        if (!slot_axis && i != t->rank - 2 && hi[i] != t->dims[i])
            return;
    }
    if (x->kind == M_KV) {
        sm_raise_set(z, n, *x);
        return;
    }
    sm_raise_cache *c = cache_of(z, x);
    int64_t slot = 0;
    if (c->stacked) {
        if (!squeeze[0] || !sm_dim_known(lo[0]) || lo[0] < 0 || lo[0] >= t->dims[0])
            return;
        slot = lo[0];
    }
    sm_value *row = x->kind == M_UPDATED && x->slot == slot ? x->row : c->row[slot];
    if (c->state && row != NULL)
        sm_raise_set(z, n, (sm_meaning){.kind = M_KV, .cache = x->cache, .slot = (int)slot, .row = row, .f = 1});
    else if (!c->state)
        sm_raise_set(z, n, (sm_meaning){.kind = M_SLOT, .cache = x->cache, .slot = (int)slot, .f = 1});
}

/* [old columns, new columns] along the positions. */
static bool join_columns(sm_raise *z, const sm_node *n) {
    int64_t axis;
    if (n->n_list != 2 || !sm_arg_int(n, "axis", &axis) || n->list[0]->type.rank != 4 || (axis != 2 && axis != -2))
        return false;
    const sm_meaning *a = &z->m[n->list[0]->id], *b = &z->m[n->list[1]->id];
    if (a->kind != M_SLOT || b->kind != M_HEADS)
        return false;
    sm_value *row = sm_raise_row(z, b);
    cache_of(z, a)->row[a->slot] = row;
    sm_raise_set(z, n, (sm_meaning){.kind = M_KV, .cache = a->cache, .slot = a->slot, .row = row, .f = 1});
    return true;
}

/* All new columns of a cache, stacked or alone: a result that the engine makes itself. */
static bool fresh(sm_raise *z, const sm_node *n) {
    for (int i = 0; i < n->n_list; i++)
        if (z->m[n->list[i]->id].kind != M_HEADS)
            return false;
    if (n->n_list == 0)
        return false;
    sm_raise_set(z, n, (sm_meaning){.kind = M_FRESH});
    return true;
}

/* expand_dims and tile on the way to one key head per query head. */
static void repeat(sm_raise *z, const sm_node *n) {
    const sm_meaning *x = sm_raise_arg(z, n, "x");
    int64_t v[SM_MAX_RANK];
    int k = 0;
    if (x->kind != M_KV)
        return;
    if (n->op == SM_OP_EXPAND_DIMS) {
        if (sm_arg_ints(n, "axes", v, SM_MAX_RANK, &k) && k == 1 && v[0] == 2)
            sm_raise_set(z, n, *x);
        return;
    }
    if (!sm_arg_ints(n, "reps", v, SM_MAX_RANK, &k) || k != 5 || sm_arg(n, "x")->type.dims[2] != 1)
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

/* Slot number: of a stacked cache its index; else in order of first use, keys and values apart. */
static int slot_number(sm_raise *z, const sm_meaning *kv, int which) {
    sm_raise_cache *c = cache_of(z, kv);
    if (c->stacked)
        return kv->slot;
    if (c->number < 0)
        c->number = z->n_plain[which]++;
    return c->number;
}

static void attention(sm_raise *z, const sm_node *n, const sm_meaning *q, const sm_meaning *k, const sm_meaning *v,
                      double scale, double cap, int64_t window) {
    int64_t heads = q->row->type.dims[1], kv_heads = k->row->type.dims[1];
    int slot = slot_number(z, k, 0);
    if (k->cache == v->cache || slot != slot_number(z, v, 1) || kv_heads != v->row->type.dims[1] ||
        heads % kv_heads != 0)
        return;
    sm_builder *b = z->b;
    sm_value *y = sm_build(b, SM_OP_ATTENTION, NULL, "q", q->row, "k", k->row, "v", v->row, "batch", z->batch, "slot",
                           sm_const_i32(b, slot), "scale", sm_const_f(b, SM_FP32, (float)scale), "window",
                           window > 0 ? sm_const_i32(b, (int32_t)window) : NULL, "softcap",
                           cap > 0 ? sm_const_f(b, SM_FP32, cap) : NULL, NULL);
    sm_raise_set(z, n, (sm_meaning){.kind = M_HEADS, .row = y, .f = 1, .heads = true});
}

static void fused(sm_raise *z, const sm_node *n) {
    const sm_meaning *q = sm_raise_arg(z, n, "query"), *k = sm_raise_arg(z, n, "key"), *v = sm_raise_arg(z, n, "value");
    const sm_meaning *m = sm_raise_arg(z, n, "attn_mask");
    if (q->kind != M_HEADS || k->kind != M_KV || v->kind != M_KV || m->kind != M_MASK || q->row->type.rank != 3)
        return;
    int64_t d = q->row->type.dims[2];
    /* every query head has a key head, and the keys are those up to the last position */
    const sm_type *kt = &sm_arg(n, "key")->type, *mt = &sm_arg(n, "attn_mask")->type;
    if (kt->rank != 4 || kt->dims[1] != q->row->type.dims[1] || kt->dims[2] != mt->dims[3])
        return;
    attention(z, n, q, k, v, snap_scale(q->f / sqrt((double)d), d, 0x1p-10), 0, m->window);
}

static bool scores(sm_raise *z, const sm_node *n) {
    const sm_meaning *a = sm_raise_arg(z, n, "x"), *b = sm_raise_arg(z, n, "y");
    bool tx = false, ty = false;
    sm_arg_bool(n, "transpose_x", &tx);
    sm_arg_bool(n, "transpose_y", &ty);
    if (a->kind == M_HEADS && b->kind == M_KV && !tx && ty && a->row->type.rank == 3) {
        sm_raise_set(z, n,
                     (sm_meaning){.kind = M_SCORES,
                                  .row = a->row,
                                  .row_k = b->row,
                                  .cache = b->cache,
                                  .slot = b->slot,
                                  .f = a->f,
                                  .window = -1});
        return true;
    }
    if (a->kind == M_PROBS && b->kind == M_KV && !tx && !ty) {
        int64_t d = a->row->type.dims[2];
        sm_meaning q = {.kind = M_HEADS, .row = a->row, .f = 1};
        sm_meaning k = {.kind = M_KV, .row = a->row_k, .cache = a->cache, .slot = a->slot};
        attention(z, n, &q, &k, b, snap_scale(a->f, d, a->cap > 0 ? 0x1p-8 : 0x1p-10), a->cap, a->window);
        return true;
    }
    return false;
}

static bool scores_math(sm_raise *z, const sm_node *n) {
    sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    const sm_meaning *a = &z->m[x->id], *b = &z->m[y->id];
    double f;
    if (n->op == SM_OP_ADD &&
        ((a->kind == M_SCORES && b->kind == M_MASK) || (b->kind == M_SCORES && a->kind == M_MASK))) {
        sm_meaning m = a->kind == M_SCORES ? *a : *b;
        if (m.window >= 0 || (m.capped && m.cap == 0))
            return false;
        m.window = (a->kind == M_MASK ? a : b)->window;
        sm_raise_set(z, n, m);
        return true;
    }
    sm_value *c = x->cst != NULL ? x : y;
    const sm_meaning *s = c == x ? b : a;
    if (s->kind != M_SCORES || s->window >= 0 || c->cst == NULL || !sm_value_float(c, &f) || f == 0)
        return false;
    if (n->op == SM_OP_REAL_DIV && c == x)
        return false;
    if (n->op == SM_OP_REAL_DIV)
        f = 1 / f;
    else if (n->op != SM_OP_MUL)
        return false;
    sm_meaning m = *s;
    if (m.capped && m.cap == 0)
        m.cap = f, m.f *= f; /* scale * (1 / cap) was gathered before tanh */
    else
        m.f *= f;
    sm_raise_set(z, n, m);
    return true;
}

void sm_raise_cache_op(sm_raise *z, const sm_node *n) {
    switch (n->op) {
    case SM_OP_READ_STATE: {
        const sm_meaning *s = sm_raise_arg(z, n, "input");
        if (s->kind == M_CACHE)
            sm_raise_set(z, n, *s);
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
        (void)fresh(z, n);
        return;
    case SM_OP_CAST: {
        const sm_meaning *x = sm_raise_arg(z, n, "x");
        if (x->kind == M_KV || x->kind == M_SLOT || x->kind == M_SCORES || x->kind == M_PROBS)
            sm_raise_set(z, n, *x);
        return;
    }
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
    case SM_OP_MUL:
    case SM_OP_REAL_DIV:
        (void)scores_math(z, n);
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
