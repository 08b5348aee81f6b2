/* SPDX-License-Identifier: MIT
 *
 * raise_cache.c: meanings of caches.
 *
 * A cache is a state or an input.  Which of its axes holds positions, which heads and elements, and which choose a slot,
 * is what the first store says: rows meet the cache axis by axis.  After that every slot must be laid out alike.
 *
 *   in place   slice_update at the rows' positions; write_state for states
 *   joined     concat of an input's old columns and the new ones: the new ones are a result, or the whole is
 *   scattered  at an index that is the rows' positions, once or for every element
 *   placed     cache * (1 - own) + one_hot x rows, where one_hot marks each row's position
 *
 * Slots are stacked along axes of the cache ([layers, ..], [2 * layers, ..], [layers, 2, ..]) or are caches of their own.
 */
#include "pass/raise_int.h"

#include <stdio.h>
#include <string.h>

static sm_raise_cache *cache_of(const sm_raise *z, const sm_meaning *m) {
    return z->cache[m->cache];
}

/* ------------------------------------------------------------------ where rows are stored */
bool sm_at_past(sm_raise *z, sm_dim begin, sm_dim end) {
    if (sm_dim_known(begin) || begin == SM_DIM_UNKNOWN || sm_dim_sub(z->b->g, end, begin) != z->n)
        return false;
    if (!z->past_known) {
        z->past = begin;
        z->past_known = true;
    }
    return z->past == begin;
}

bool sm_whole_or_seen(sm_raise *z, sm_dim hi, sm_dim extent) {
    return hi == extent || (z->past_known && hi == sm_dim_add(z->b->g, z->past, z->n));
}

static int slot_number(const sm_raise_cache *c, const sm_meaning *m) {
    int64_t slot = 0;
    for (int k = 0; k < c->in->type.rank; k++)
        if (c->cut & (1u << k))
            slot = slot * c->in->type.dims[k] + m->at[k];
    return (int)slot;
}

/* Slots of a cache that are chosen along the axes `cut`. */
static bool make_slots(sm_raise *z, sm_raise_cache *c, unsigned cut) {
    int64_t n = 1;
    for (int k = 0; k < c->in->type.rank; k++)
        if ((cut & (1u << k)) && (!sm_dim_known(c->in->type.dims[k]) ||
                                  __builtin_mul_overflow(n, c->in->type.dims[k], &n) || n > 2 * SM_RAISE_SLOTS))
            return false;
    c->slot = sm_arena_alloc_n(z->b->g->arena, (size_t)n, sizeof *c->slot);
    if (c->slot == NULL) {
        z->b->st = SM_NOMEM(&z->b->err);
        return false;
    }
    c->n_slots = (int)n;
    c->cut = cut;
    return true;
}

/* The slot that x's axes, in these roles with u's pieces, are; every store lays a cache out alike. */
static sm_raise_slot *lay(sm_raise *z, const sm_meaning *x, int rank, const int8_t *roles, const sm_meaning *u,
                          int *slot) {
    sm_raise_cache *c = cache_of(z, x);
    int8_t role[SM_MAX_RANK];
    unsigned covered = x->cut;
    memset(role, AX_ONE, sizeof role);
    for (int i = 0; i < rank; i++)
        if (x->ax[i] >= 0) {
            role[x->ax[i]] = roles[i];
            covered |= 1u << x->ax[i];
        }
    int at_keys = -1;
    for (int k = 0; k < c->in->type.rank; k++) {
        if (c->in->type.dims[k] != 1 && !(covered & (1u << k)))
            return NULL;
        if (role[k] == AX_KEYS)
            at_keys = k;
    }
    if (at_keys < 0)
        return NULL;
    if (!c->laid) {
        if (!make_slots(z, c, x->cut))
            return NULL;
        memcpy(c->role, role, sizeof role);
        memcpy(c->piece, u->piece, sizeof c->piece);
        c->n_piece = u->n_piece;
        c->ctx = sm_dim_known(c->in->type.dims[at_keys]) ? c->in->type.dims[at_keys] : 0;
        c->laid = true;
    }
    if (c->cut != x->cut || memcmp(c->role, role, (size_t)c->in->type.rank) != 0 || c->n_piece != u->n_piece ||
        memcmp(c->piece, u->piece, (size_t)u->n_piece * sizeof *u->piece) != 0)
        return NULL;
    *slot = slot_number(c, x);
    return &c->slot[*slot];
}

/* Rows to be stored: whole, their factor applied. */
static bool storable(sm_raise *z, const sm_meaning *u, sm_meaning *out) {
    *out = sm_raise_unpaired(u);
    u = out;
    return u->kind == M_ROWS && !u->last && sm_is_whole(u) && sm_raise_settle(z, out);
}

/* ------------------------------------------------------------------ what a cache holds */
sm_meaning sm_raise_content(sm_raise *z, const sm_value *v) {
    const sm_meaning *x = sm_raise_of(z, v);
    if (x->kind != M_CACHE && x->kind != M_UPDATED)
        return *x;
    const sm_raise_cache *c = cache_of(z, x);
    if (!c->laid || x->cut != c->cut || x->rolled)
        return *x;
    int slot = slot_number(c, x);
    const sm_raise_slot *s = &c->slot[slot];
    sm_value *row = NULL;
    if (x->kind == M_UPDATED && x->slot == slot && x->row != NULL)
        row = x->row;
    else if (s->row != NULL && s->since > 0 && s->since <= x->version)
        row = s->row;
    if (row == NULL)
        return *x; /* without the rows */
    sm_meaning y = {.kind = M_KV, .row = row, .f = 1, .group = 1, .cache = x->cache, .slot = slot, .whole = true};
    y.hi = sm_raise_features(row);
    y.n_piece = c->n_piece;
    memcpy(y.piece, c->piece, sizeof y.piece);
    for (int i = 0; i < v->type.rank; i++)
        y.ax[i] = (int8_t)(x->ax[i] >= 0 ? c->role[x->ax[i]] : AX_ONE);
    return y;
}

/* A slot; keys or values cut to the positions that are filled; an input's columns without the oldest. */
bool sm_cut_cache(sm_raise *z, const sm_value *out, const sm_value *in, const sm_meaning *x, const sm_dim *lo,
                  const sm_dim *hi, const bool *gone) {
    sm_meaning y = *x;
    const sm_raise_cache *c = cache_of(z, x);
    int to = 0, keys = -1;
    for (int i = 0; i < in->type.rank; i++) {
        int k = x->ax[i];
        bool whole = lo[i] == 0 && hi[i] == in->type.dims[i];
        if (whole)
            continue;
        if (k < 0)
            return false;
        if (sm_dim_known(lo[i]) && hi[i] == lo[i] + 1 && lo[i] >= 0 && lo[i] < in->type.dims[i] && lo[i] < INT16_MAX) {
            y.cut |= 1u << k;
            y.at[k] = (int16_t)lo[i];
            y.ax[i] = AX_ONE;
        } else if (keys < 0) {
            keys = i;
        } else {
            return false;
        }
    }
    if (keys >= 0 && lo[keys] == z->n && hi[keys] == in->type.dims[keys] && x->kind == M_CACHE && !x->rolled &&
        !c->state) {
        y.rolled = true;
        y.keys = x->ax[keys];
    } else if (keys >= 0) {
        if (lo[keys] != 0 || !c->laid || c->role[x->ax[keys]] != AX_KEYS ||
            !sm_whole_or_seen(z, hi[keys], in->type.dims[keys]) || y.cut != c->cut)
            return false;
        sm_meaning *slot = &z->m[in->id], before = *slot; /* as content: the value itself, with the slot chosen */
        *slot = y;
        y = sm_raise_content(z, in);
        *slot = before;
        if (y.kind != M_KV)
            return false;
    }
    for (int i = 0; i < in->type.rank; i++)
        if (!gone[i])
            y.ax[to++] = y.ax[i];
    return sm_raise_give(z, out, y);
}

/* ------------------------------------------------------------------ stored in place */
/* A slot that was changed by itself goes back to where it was. */
static bool put_back(sm_raise *z, const sm_node *n, const sm_meaning *x, const sm_meaning *u, const sm_dim *lo,
                     const sm_dim *hi) {
    const sm_value *xv = sm_arg(n, "x");
    unsigned cut = x->cut;
    if (u->kind != M_UPDATED || u->cache != x->cache || x->kind != M_CACHE || u->version != x->version)
        return false;
    for (int i = 0; i < xv->type.rank; i++) {
        int k = x->ax[i];
        if (lo[i] == 0 && hi[i] == xv->type.dims[i])
            continue;
        if (k < 0 || !(u->cut & (1u << k)) || lo[i] != u->at[k] || hi[i] != lo[i] + 1)
            return false;
        cut |= 1u << k;
    }
    sm_meaning y = *u;
    y.cut = x->cut;
    memcpy(y.ax, x->ax, sizeof y.ax);
    return cut == u->cut && sm_raise_set(z, n, y);
}

/* Every write to an input is seen by what comes after: there is no write_state. */
static void commit(sm_raise_cache *c, sm_meaning *y, sm_raise_slot *s) {
    s->row = y->row;
    s->since = ++c->writes;
    y->version = c->writes;
}

/* u's rows in y, x with the slot chosen: its axes have these roles. */
static bool store(sm_raise *z, const sm_node *n, const sm_meaning *x, sm_meaning y, const sm_meaning *u,
                  const int8_t *roles) {
    sm_raise_cache *c = cache_of(z, x);
    int rank = n->out[0]->type.rank;
    sm_meaning place = y;
    for (int i = 0; i < rank; i++)
        if (x->ax[i] >= 0 && (y.cut & (1u << x->ax[i])))
            place.ax[i] = AX_ONE;
    sm_raise_slot *s = lay(z, &place, rank, roles, u, &y.slot);
    if (s == NULL || (!c->state && s->row != NULL))
        return false;
    y.kind = M_UPDATED;
    y.row = u->row;
    if (!c->state)
        commit(c, &y, s);
    if (x->cut != y.cut) { /* the whole cache, of which a slot is updated */
        y.cut = x->cut;
        memcpy(y.at, x->at, sizeof y.at);
    }
    return sm_raise_set(z, n, y);
}

static bool slice_update(sm_raise *z, const sm_node *n) {
    const sm_value *xv = sm_arg(n, "x"), *uv = sm_arg(n, "update");
    const sm_meaning *x = sm_raise_of(z, xv);
    sm_meaning u;
    const sm_type *t = &xv->type;
    sm_dim lo[SM_MAX_RANK], hi[SM_MAX_RANK];
    bool gone[SM_MAX_RANK];
    int8_t roles[SM_MAX_RANK];
    if ((x->kind != M_CACHE && x->kind != M_UPDATED) || x->rolled || !sm_slice_bounds(z, n, t, lo, hi, gone))
        return false;
    if (put_back(z, n, x, sm_raise_of(z, uv), lo, hi))
        return true;
    const sm_raise_cache *c = cache_of(z, x);
    if (!storable(z, sm_raise_of(z, uv), &u) || (x->kind == M_UPDATED && c->state) ||
        (!c->state && x->version != c->writes))
        return false;
    sm_meaning y = *x;
    int keys = -1, j = 0;
    for (int i = 0; i < t->rank; i++) {
        int k = x->ax[i], role = gone[i] || j >= uv->type.rank ? AX_ONE : u.ax[j];
        sm_dim extent = gone[i] || j >= uv->type.rank ? 1 : uv->type.dims[j];
        j += !gone[i];
        roles[i] = (int8_t)role;
        if (lo[i] == 0 && hi[i] == t->dims[i]) {
            if (role == AX_TOKENS || (t->dims[i] != 1 && role < 0) || extent != t->dims[i])
                return false;
        } else if (k >= 0 && sm_dim_known(lo[i]) && lo[i] >= 0 && hi[i] == lo[i] + 1 && lo[i] < t->dims[i] &&
                   lo[i] < INT16_MAX) {
            if (extent != 1)
                return false;
            y.cut |= 1u << k;
            y.at[k] = (int16_t)lo[i];
            roles[i] = AX_ONE;
        } else if (k >= 0 && keys < 0 && sm_at_past(z, lo[i], hi[i])) {
            if (role != AX_TOKENS && !(sm_raise_single(z) && extent == 1))
                return false;
            keys = i;
            roles[i] = AX_KEYS;
        } else {
            return false;
        }
    }
    return keys >= 0 && j == uv->type.rank && store(z, n, x, y, &u, roles);
}

/* data at the rows' positions along one axis.  The index is a vector; or has the shape of the update, the same all along the
 * other axes; or is one column, for the first axis. */
static bool scatter(sm_raise *z, const sm_node *n) {
    const sm_value *xv = sm_arg(n, "data"), *uv = sm_arg(n, "updates"), *at = sm_arg(n, "indices");
    const sm_meaning *x = sm_raise_of(z, xv), *p = sm_raise_of(z, at);
    const sm_type *t = &xv->type;
    sm_meaning u;
    sm_sv mode = {0};
    int64_t axis = 0;
    int8_t roles[SM_MAX_RANK];
    bool along = n->op == SM_OP_SCATTER_ALONG_AXIS, nd = n->op == SM_OP_SCATTER_ND;
    if ((x->kind != M_CACHE && x->kind != M_UPDATED) || x->rolled || (p->kind != M_INT && p->kind != M_POS) ||
        !sm_arg_str(n, "mode", &mode) || !sm_sv_is(mode, "update") || (!nd && !sm_arg_int(n, "axis", &axis)) ||
        uv->type.rank != t->rank || !storable(z, sm_raise_of(z, uv), &u))
        return false;
    axis += axis < 0 ? t->rank : 0;
    const sm_raise_cache *c = cache_of(z, x);
    if (axis < 0 || axis >= t->rank || (x->kind == M_UPDATED && c->state) || (!c->state && x->version != c->writes))
        return false;
    int rank = at->type.rank, tokens = along ? (int)axis : 0;
    if (rank != (along ? t->rank
                 : nd  ? 2
                       : 1) ||
        (nd && at->type.dims[1] != 1) ||
        (p->ax[tokens] != AX_TOKENS && !(sm_raise_single(z) && at->type.dims[tokens] == 1)))
        return false;
    for (int i = 0; i < t->rank; i++) {
        roles[i] = (int8_t)(i == axis ? AX_KEYS : u.ax[i]);
        if (i == axis ? u.ax[i] != AX_TOKENS && !(sm_raise_single(z) && uv->type.dims[i] == 1)
                      : u.ax[i] == AX_TOKENS || uv->type.dims[i] != t->dims[i] || (t->dims[i] != 1 && u.ax[i] < 0) ||
                            (along && at->type.dims[i] != t->dims[i]))
            return false;
    }
    return x->ax[axis] >= 0 && sm_is_pos(z, p) && store(z, n, x, *x, &u, roles);
}

/* A write that is not understood would be lost: stop.  So would an older write, if data was made from what the state held
 * before that. */
static void write_state(sm_raise *z, const sm_node *n) {
    const sm_meaning *s = sm_raise_arg(z, n, "input"), *d = sm_raise_arg(z, n, "data");
    if (s->kind == M_CACHE && d->kind == M_UPDATED && d->cache == s->cache && d->cut == 0) {
        sm_raise_cache *c = cache_of(z, s);
        sm_raise_slot *slot = &c->slot[d->slot];
        bool as_is = true;
        for (int i = 0; i < c->in->type.rank; i++)
            as_is &= d->ax[i] == i;
        if (as_is && d->version == c->writes && slot->row == NULL) {
            slot->row = d->row;
            slot->since = ++c->writes;
            return;
        }
    }
    sm_raise_fail(z, "state '%s' is written in a way that is not known here", sm_arg(n, "input")->name);
}

/* ------------------------------------------------------------------ joined, placed */
/* Keys or values of a slot, the rows of u among them, in v's roles. */
static bool give_kv(sm_raise *z, const sm_node *n, const sm_meaning *x, sm_raise_slot *s, int slot, const sm_meaning *u,
                    const int8_t *roles, bool joined, bool whole) {
    sm_meaning y = {.kind = M_KV, .cache = x->cache, .slot = slot, .row = u->row, .f = 1, .group = 1};
    y.joined = joined;
    y.whole = whole;
    y.hi = sm_raise_features(u->row);
    y.n_piece = u->n_piece;
    memcpy(y.piece, u->piece, sizeof y.piece);
    memcpy(y.ax, roles, sizeof y.ax);
    if (!sm_raise_set(z, n, y))
        return false;
    s->row = u->row;
    return true;
}

/* [old columns, new columns] along the positions. */
static bool join_columns(sm_raise *z, const sm_node *n) {
    int64_t axis;
    bool interleave = false;
    int8_t roles[SM_MAX_RANK];
    int slot;
    sm_meaning u;
    if (n->n_list != 2 || !sm_arg_int(n, "axis", &axis) || !sm_arg_bool(n, "interleave", &interleave) || interleave)
        return false;
    const sm_value *xv = n->list[0], *uv = n->list[1];
    const sm_meaning *x = sm_raise_of(z, xv);
    int rank = xv->type.rank;
    if (axis < 0)
        axis += rank;
    if (x->kind != M_CACHE || cache_of(z, x)->state || x->ax[axis] < 0 || !storable(z, sm_raise_of(z, uv), &u))
        return false;
    memcpy(roles, u.ax, sizeof roles);
    if (roles[axis] != AX_TOKENS && !(sm_raise_single(z) && uv->type.dims[axis] == 1))
        return false;
    for (int i = 0; i < rank; i++)
        if (i != axis && (roles[i] == AX_TOKENS || (uv->type.dims[i] != 1 && (roles[i] < 0 || x->ax[i] < 0))))
            return false;
    roles[axis] = AX_KEYS;
    sm_dim old = xv->type.dims[axis];
    bool grows = !sm_dim_known(old);
    if ((x->rolled && x->keys != x->ax[axis]) || (grows && z->past_known && z->past != old))
        return false;
    sm_raise_slot *s = lay(z, x, rank, roles, &u, &slot);
    if (s == NULL || s->row != NULL)
        return false;
    if (grows) {
        z->past = old;
        z->past_known = true;
    }
    z->m[uv->id].row = u.row; /* the columns that are a result are these */
    z->m[uv->id].f = 1;
    return give_kv(z, n, x, s, slot, &u, roles, !grows, grows || x->rolled);
}

/* 1 where a key is a row's own position. */
static bool one_hot(sm_raise *z, const sm_node *n) {
    sm_meaning m = {.kind = M_ONE_HOT, .f = 1};
    double on = 1, off = 0;
    int64_t axis = -1;
    if (n->op == SM_OP_EQUAL) {
        const sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
        sm_meaning k = *sm_raise_of(z, x);
        bool first = x->cst != NULL ? sm_is_iota(z, x, &k) : k.kind == M_KEY_POS;
        const sm_value *kv = first ? x : y, *pv = first ? y : x;
        const sm_meaning *p = sm_raise_of(z, pv);
        if (!first && !(y->cst != NULL ? sm_is_iota(z, y, &k) : (k = *sm_raise_of(z, y)).kind == M_KEY_POS))
            return false;
        return (p->kind == M_INT || p->kind == M_POS) && !k.joined && sm_raise_join(kv, k.ax, pv, p->ax, m.ax) &&
               sm_is_pos(z, p) && sm_raise_set(z, n, m);
    }
    const sm_value *pv = sm_arg(n, "indices"), *on_v = sm_arg(n, "on_value"), *off_v = sm_arg(n, "off_value");
    const sm_meaning *p = sm_raise_of(z, pv);
    if ((p->kind != M_INT && p->kind != M_POS) || !sm_arg_int(n, "axis", &axis) ||
        (on_v != NULL && !sm_value_float(on_v, &on)) || (off_v != NULL && !sm_value_float(off_v, &off)) || on != 1 ||
        off != 0)
        return false;
    int rank = n->out[0]->type.rank;
    if (axis < 0)
        axis += rank;
    for (int i = 0, j = 0; i < rank; i++)
        m.ax[i] = i == axis ? AX_KEYS : p->ax[j++];
    return sm_is_pos(z, p) && sm_raise_set(z, n, m);
}

/* One-hot columns of all rows, summed. */
static bool own(sm_raise *z, const sm_node *n) {
    const sm_value *v = sm_arg(n, "x");
    sm_meaning y = *sm_raise_of(z, v);
    int64_t axes[SM_MAX_RANK];
    int k = 0, to = 0, rank = v->type.rank;
    bool keep = false, out[SM_MAX_RANK] = {false};
    if (y.kind != M_ONE_HOT || !sm_arg_ints(n, "axes", axes, SM_MAX_RANK, &k) || !sm_arg_bool(n, "keep_dims", &keep))
        return false;
    for (int i = 0; i < k; i++)
        out[axes[i] < 0 ? axes[i] + rank : axes[i]] = true;
    for (int i = 0; i < rank; i++) {
        if (out[i] && y.ax[i] == AX_KEYS)
            return false;
        if (!out[i] && y.ax[i] == AX_TOKENS)
            return false;
        if (!out[i] || keep)
            y.ax[to++] = (int8_t)(out[i] ? AX_ONE : y.ax[i]);
    }
    y.kind = M_OWN;
    return sm_raise_set(z, n, y);
}

static bool is_own(const sm_raise *z, const sm_meaning *m) {
    return m->kind == M_OWN || (m->kind == M_ONE_HOT && sm_raise_single(z));
}

static bool keep(sm_raise *z, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x"), *y = n->op == SM_OP_SUB ? sm_arg(n, "y") : x;
    double one = 0;
    sm_meaning m = *sm_raise_of(z, y);
    if (!is_own(z, &m) || (n->op == SM_OP_SUB && (!sm_raise_scalar(x, &one) || one != 1)))
        return false;
    m.kind = M_KEEP;
    return sm_raise_set(z, n, m);
}

/* cache * keep */
static bool kept(sm_raise *z, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    if (sm_raise_of(z, x)->kind == M_KEEP) {
        const sm_value *t = x;
        x = y;
        y = t;
    }
    sm_meaning c = *sm_raise_of(z, x);
    const sm_meaning *k = sm_raise_of(z, y);
    int shift = x->type.rank - y->type.rank, at = sm_raise_axis(k, y->type.rank, AX_KEYS);
    if (c.kind != M_CACHE || k->kind != M_KEEP || c.rolled || shift < 0 || at < 0 || c.ax[at + shift] < 0 ||
        x->type.dims[at + shift] != y->type.dims[at])
        return false;
    c.kind = M_KEPT;
    c.keys = c.ax[at + shift];
    return sm_raise_set(z, n, c);
}

/* one_hot [.., keys, n] x rows [.., n, d], or rows turned x one_hot turned; of one row: one_hot * row */
static bool placed(sm_raise *z, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    bool first = sm_raise_of(z, x)->kind == M_ONE_HOT || sm_raise_of(z, x)->kind == M_OWN, tx = false, ty = false;
    const sm_value *hot = first ? x : y, *rows = first ? y : x;
    const sm_meaning *h = sm_raise_of(z, hot);
    sm_meaning m;
    if ((h->kind != M_ONE_HOT && !is_own(z, h)) || !storable(z, sm_raise_of(z, rows), &m))
        return false;
    m.kind = M_PLACED;
    if (n->op == SM_OP_MUL) {
        int8_t ax[SM_MAX_RANK];
        if (!sm_raise_single(z) || !sm_raise_join(x, sm_raise_of(z, x)->ax, y, sm_raise_of(z, y)->ax, ax))
            return false;
        memcpy(m.ax, ax, sizeof m.ax);
        return sm_raise_set(z, n, m);
    }
    if (h->kind != M_ONE_HOT || !sm_arg_bool(n, "transpose_x", &tx) || !sm_arg_bool(n, "transpose_y", &ty))
        return false;
    int a = x->type.rank, b = y->type.rank, r = n->out[0]->type.rank;
    const sm_meaning *xm = sm_raise_of(z, x), *ym = sm_raise_of(z, y);
    int8_t rx = xm->ax[tx ? a - 2 : a - 1], ry = ym->ax[ty ? b - 1 : b - 2]; /* contracted */
    if ((rx != AX_TOKENS || ry != AX_TOKENS) && !sm_raise_single(z))
        return false;
    const sm_meaning *rm = first ? ym : xm;
    int shift = r - (first ? b : a);
    for (int i = 0; i < r - 2; i++)
        m.ax[i] = (int8_t)(i < shift ? AX_ONE : rm->ax[i - shift]);
    m.ax[r - 2] = xm->ax[tx ? a - 1 : a - 2];
    m.ax[r - 1] = ym->ax[ty ? b - 2 : b - 1];
    for (int i = 0; i < hot->type.rank - 2; i++)
        if (hot->type.dims[i] != 1)
            return false;
    return sm_raise_set(z, n, m);
}

/* kept + placed */
static bool put(sm_raise *z, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    if (sm_raise_of(z, x)->kind == M_PLACED) {
        const sm_value *t = x;
        x = y;
        y = t;
    }
    const sm_meaning *k = sm_raise_of(z, x), *p = sm_raise_of(z, y);
    int rank = x->type.rank, shift = rank - y->type.rank, slot;
    int8_t roles[SM_MAX_RANK];
    if (k->kind != M_KEPT || p->kind != M_PLACED || shift < 0)
        return false;
    for (int i = 0; i < rank; i++) {
        roles[i] = (int8_t)(i < shift ? AX_ONE : p->ax[i - shift]);
        if (x->type.dims[i] != (i < shift ? 1 : y->type.dims[i - shift]))
            return false;
        if ((roles[i] == AX_KEYS) != (k->ax[i] >= 0 && k->ax[i] == k->keys))
            return false;
    }
    sm_raise_slot *s = lay(z, k, rank, roles, p, &slot);
    if (s != NULL && cache_of(z, k)->state) { /* it is written later */
        sm_meaning now = *k;
        now.kind = M_UPDATED;
        now.row = p->row;
        now.slot = slot;
        return sm_raise_set(z, n, now);
    }
    return s != NULL && s->row == NULL && give_kv(z, n, k, s, slot, p, roles, false, true);
}

/* ------------------------------------------------------------------ repeated heads; results */
/* An axis of 1, repeated: each key head by itself, once per query head of its group. */
static bool repeat(sm_raise *z, const sm_node *n) {
    const sm_value *v = sm_arg(n, "x");
    sm_meaning y = sm_raise_keys(z, v);
    int64_t reps[SM_MAX_RANK];
    int k = 0, at = -1;
    if (y.kind != M_KV || y.group != 1 || !sm_arg_ints(n, "reps", reps, SM_MAX_RANK, &k) || k != v->type.rank)
        return false;
    for (int i = 0; i < k; i++) {
        if (reps[i] == 1)
            continue;
        if (at >= 0 || v->type.dims[i] != 1)
            return false;
        at = i;
    }
    if (at >= 0)
        y.ax[at] = AX_GROUP;
    return sm_raise_set(z, n, y);
}

/* A row's position for every element of what is stored. */
static bool repeat_place(sm_raise *z, const sm_node *n) {
    const sm_value *v = sm_arg(n, "x");
    const sm_type *t = &n->out[0]->type;
    sm_meaning y = *sm_raise_of(z, v);
    if ((y.kind != M_INT && y.kind != M_POS) || t->rank != v->type.rank)
        return false;
    for (int i = 0; i < t->rank; i++)
        if (t->dims[i] != v->type.dims[i]) {
            if (v->type.dims[i] != 1)
                return false;
            y.ax[i] = AX_ANY;
        }
    return sm_raise_set(z, n, y);
}

/* Several slots' new columns or contents, all in one layout; stacks may stand in stacks, the outer axis first.  Whether
 * they are a cache's is seen at the end. */
static bool stack(sm_raise *z, const sm_node *n) {
    int64_t axis = 0;
    bool interleave = false;
    if (n->n_list < 1 || !sm_arg_int(n, "axis", &axis) ||
        (n->op == SM_OP_CONCAT && (!sm_arg_bool(n, "interleave", &interleave) || interleave)))
        return false;
    int rank = n->out[0]->type.rank, from = n->list[0]->type.rank;
    sm_meaning first = sm_raise_content(z, n->list[0]), y = {.kind = M_FRESH, .stack = n};
    if (axis < 0)
        axis += rank;
    for (int i = 0; i < n->n_list; i++) {
        sm_meaning m = sm_raise_content(z, n->list[i]);
        if (n->list[i]->cst != NULL || (m.kind != M_KV && m.kind != M_ROWS && m.kind != M_FRESH) ||
            (m.kind == M_ROWS && !sm_is_whole(&m)) || n->list[i]->type.rank != from ||
            memcmp(m.ax, first.ax, (size_t)from) != 0)
            return false;
    }
    if (n->op == SM_OP_CONCAT && n->list[0]->type.dims[axis] != 1)
        return false;
    memcpy(y.ax, first.ax, sizeof y.ax);
    for (int i = rank - 1; i > axis && n->op == SM_OP_STACK; i--)
        y.ax[i] = first.ax[i - 1];
    for (int i = 0; i < axis; i++)
        if (y.ax[i] == AX_SLOTS)
            return false;
    y.ax[axis] = AX_SLOTS;
    return sm_raise_set(z, n, y);
}

static const sm_value *base(const sm_value *row) {
    while (row != NULL && row->def != NULL && row->def->op == SM_OP_RESHAPE)
        row = sm_arg(row->def, "x");
    return row;
}

/* The axes of a result that are more than 1 are those of the cache, in order: positions for positions, slots for slots,
 * and the pieces as they were stored. */
static bool laid_alike(const sm_raise *z, const sm_raise_cache *c, const sm_type *t, const int8_t *ax) {
    int i = 0, pieces[2] = {-1, -1};
    for (int k = 0; k < c->in->type.rank; k++) {
        bool slots = c->cut & (1u << k), keys = c->role[k] == AX_KEYS;
        if (c->in->type.dims[k] == 1 || (keys && sm_raise_single(z) && (i == t->rank || ax[i] != AX_KEYS)))
            continue;
        while (i < t->rank && t->dims[i] == 1 && ax[i] != AX_KEYS)
            i++;
        if (i == t->rank)
            return false;
        if (slots  ? ax[i] != AX_SLOTS || t->dims[i] != c->in->type.dims[k]
            : keys ? ax[i] != AX_KEYS && ax[i] != AX_TOKENS
                   : ax[i] < 0 || t->dims[i] != c->in->type.dims[k])
            return false;
        if (!slots && !keys) {
            if ((ax[i] > pieces[0]) != (c->role[k] > pieces[1]))
                return false;
            pieces[0] = ax[i];
            pieces[1] = c->role[k];
        }
        i++;
    }
    for (; i < t->rank; i++)
        if (t->dims[i] != 1)
            return false;
    return true;
}

/* Results in the order of a cache's slots. */
static bool lists_slots(sm_raise *z, int cache, sm_value *const *list, int n, int *slot) {
    const sm_raise_cache *c = z->cache[cache];
    for (int i = 0; i < n; i++) {
        sm_meaning m = sm_raise_content(z, list[i]);
        if (m.kind == M_FRESH) {
            if (!lists_slots(z, cache, m.stack->list, m.stack->n_list, slot))
                return false;
            continue;
        }
        if (*slot >= c->n_slots || c->slot[*slot].row == NULL)
            return false;
        bool columns = (m.kind == M_ROWS || m.kind == M_PAIRED) && m.f == 1 && sm_is_whole(&m) && !m.last &&
                       base(m.row) == base(c->slot[*slot].row);
        bool content = m.kind == M_KV && m.whole && m.cache == cache && m.slot == *slot && m.group == 1;
        if (!columns && !content)
            return false;
        ++*slot;
    }
    return true;
}

bool sm_returns_cache(sm_raise *z, const sm_value *v) {
    sm_meaning m = sm_raise_content(z, v);
    const sm_meaning *as_is = sm_raise_of(z, v);
    sm_value *const list[1] = {(sm_value *)v};
    for (int i = 0; i < z->n_caches; i++) {
        sm_raise_cache *c = z->cache[i];
        int slot = 0;
        if (c->state || !c->laid || c->returned)
            continue;
        if (as_is->kind == M_UPDATED && as_is->cache == i && as_is->cut == 0 && as_is->version == c->writes) {
            c->returned = true;
            for (int k = 0; k < v->type.rank; k++)
                c->returned &= as_is->ax[k] == k;
        } else if (lists_slots(z, i, list, 1, &slot) && slot == c->n_slots) {
            c->returned = laid_alike(z, c, &v->type, m.ax);
        }
        if (c->returned)
            return true;
    }
    return false;
}

void sm_raise_check_caches(sm_raise *z) {
    for (int i = 0; i < z->n_caches && z->info->ok; i++) {
        const sm_raise_cache *c = z->cache[i];
        bool stored = c->laid;
        for (int s = 0; s < c->n_slots && stored; s++)
            stored = c->slot[s].row != NULL;
        if (!stored)
            sm_raise_fail(z, "cache '%s' is not written in a way that is known here", c->in->name);
        for (int s = 0; s < c->n_slots && z->info->ok; s++)
            if (c->slot[s].row != c->slot[s].used)
                sm_raise_fail(z, "cache '%s' holds other rows than attention reads", c->in->name);
        if (!c->state && !c->returned)
            sm_raise_fail(z, "new columns of cache '%s' are not a result", c->in->name);
        if (c->ctx > 0)
            z->info->ctx = z->info->ctx == 0 ? c->ctx : SM_MIN(z->info->ctx, c->ctx);
    }
}

bool sm_raise_cache_op(sm_raise *z, const sm_node *n) {
    switch (n->op) {
    case SM_OP_READ_STATE: {
        sm_meaning m = *sm_raise_arg(z, n, "input");
        if (m.kind != M_CACHE)
            return false;
        m.version = cache_of(z, &m)->writes;
        return sm_raise_set(z, n, m);
    }
    case SM_OP_SLICE_UPDATE:
        return slice_update(z, n);
    case SM_OP_SCATTER:
    case SM_OP_SCATTER_ND:
    case SM_OP_SCATTER_ALONG_AXIS:
        return scatter(z, n);
    case SM_OP_WRITE_STATE:
        write_state(z, n);
        return true;
    case SM_OP_CONCAT:
        return join_columns(z, n) || stack(z, n);
    case SM_OP_STACK:
        return stack(z, n);
    case SM_OP_EQUAL:
    case SM_OP_ONE_HOT:
        return one_hot(z, n);
    case SM_OP_REDUCE_SUM:
    case SM_OP_REDUCE_MAX:
        return own(z, n);
    case SM_OP_SUB:
    case SM_OP_LOGICAL_NOT:
        return keep(z, n);
    case SM_OP_MUL:
        return kept(z, n) || placed(z, n);
    case SM_OP_MATMUL:
        return placed(z, n);
    case SM_OP_ADD:
        return put(z, n);
    case SM_OP_TILE:
        return repeat(z, n) || repeat_place(z, n);
    default:
        return false;
    }
}
