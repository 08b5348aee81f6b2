/* SPDX-License-Identifier: MIT
 *
 * raise_attn.c: meanings of attention: fused, or scores, mask, softmax and weighted sum; over all heads, over groups of
 * them, or head by head.
 *
 * matmul, einsum and the fused op are one thing here: a contraction, which says for each axis of the result where it comes
 * from.  Scores contract the width of heads of queries and keys, the weighted sum contracts the keys.  Which query heads
 * stand at which key heads is computed and must be: query head i at key head i / (heads / key heads).
 *
 * The composite is built for all heads when its first head is summed; every head is a part of its result, and a
 * concatenation of all of them is the whole.
 */
#include "pass/raise_int.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------ contractions */
typedef struct contraction {
    const sm_value *a, *b;
    int n_out;
    int fa[SM_MAX_RANK], fb[SM_MAX_RANK]; /* axis of a, of b behind each axis of the result; -1: none */
    int ka, kb;                           /* the contracted axis */
} contraction;

static bool of_matmul(const sm_value *x, const sm_value *y, bool tx, bool ty, contraction *c) {
    int a = x->type.rank, b = y->type.rank, r = SM_MAX(a, b);
    if (a < 2 || b < 2)
        return false;
    c->a = x;
    c->b = y;
    c->n_out = r;
    for (int i = 0; i < r - 2; i++) {
        c->fa[i] = i - (r - a);
        c->fb[i] = i - (r - b);
        c->fa[i] = c->fa[i] < 0 ? -1 : c->fa[i];
        c->fb[i] = c->fb[i] < 0 ? -1 : c->fb[i];
    }
    c->fa[r - 2] = tx ? a - 1 : a - 2;
    c->fb[r - 2] = -1;
    c->fa[r - 1] = -1;
    c->fb[r - 1] = ty ? b - 2 : b - 1;
    c->ka = tx ? a - 2 : a - 1;
    c->kb = ty ? b - 1 : b - 2;
    return true;
}

/* Labels of "abc,bd->ad": three runs of letters. */
static bool labels(sm_sv eq, sm_sv out[3]) {
    size_t comma = 0, arrow = 0;
    while (comma < eq.n && eq.p[comma] != ',')
        comma++;
    arrow = comma;
    while (arrow + 1 < eq.n && !(eq.p[arrow] == '-' && eq.p[arrow + 1] == '>'))
        arrow++;
    if (comma >= eq.n || arrow + 1 >= eq.n)
        return false;
    out[0] = (sm_sv){eq.p, comma};
    out[1] = (sm_sv){eq.p + comma + 1, arrow - comma - 1};
    out[2] = (sm_sv){eq.p + arrow + 2, eq.n - arrow - 2};
    return true;
}

static int label_at(sm_sv s, char c, int *times) {
    int at = -1;
    *times = 0;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == c) {
            at = (int)i;
            ++*times;
        }
    return at;
}

static bool of_einsum(const sm_node *n, contraction *c) {
    sm_sv eq = {0}, s[3];
    int times;
    if (n->n_list != 2 || !sm_arg_str(n, "equation", &eq) || !labels(eq, s))
        return false;
    c->a = n->list[0];
    c->b = n->list[1];
    c->n_out = (int)s[2].n;
    c->ka = c->kb = -1;
    if (c->a->type.rank != (int)s[0].n || c->b->type.rank != (int)s[1].n || c->n_out > SM_MAX_RANK)
        return false;
    for (int i = 0; i < c->n_out; i++) {
        c->fa[i] = label_at(s[0], s[2].p[i], &times);
        c->fb[i] = label_at(s[1], s[2].p[i], &times);
    }
    for (size_t i = 0; i < s[0].n; i++) {
        label_at(s[0], s[0].p[i], &times);
        if (times != 1)
            return false;
        label_at(s[2], s[0].p[i], &times);
        int b = times == 0 ? label_at(s[1], s[0].p[i], &times) : -1;
        if (times > 1)
            return false;
        if (b < 0)
            continue;
        if (c->ka >= 0)
            return false;
        c->ka = (int)i;
        c->kb = b;
    }
    return c->ka >= 0;
}

/* b's axes in a's place. */
static void turn_over(contraction *c) {
    contraction t = *c;
    c->a = t.b;
    c->b = t.a;
    c->ka = t.kb;
    c->kb = t.ka;
    memcpy(c->fa, t.fb, sizeof c->fa);
    memcpy(c->fb, t.fa, sizeof c->fb);
}

/* ------------------------------------------------------------------ heads */
/* Query heads first..first + count of n_heads, standing in the pieces before `width` of q. */
typedef struct heads {
    int64_t first, count, all;
} heads;

static int64_t product(const sm_meaning *m, int from, int to) {
    int64_t n = 1;
    for (int k = from; k < to; k++)
        n *= m->piece[k];
    return n;
}

/* Heads of `width` elements that a row value, or keys, hold.  False where they are not whole heads. */
static bool heads_of(const sm_meaning *m, int64_t width, heads *h) {
    int64_t all = sm_raise_features(m->row), lo = m->lo, hi = m->hi;
    if (m->kind == M_ROWS && sm_is_whole(m)) {
        lo = 0;
        hi = all;
    } else if (m->kind == M_ROWS && m->row->type.rank != 2) {
        return false;
    }
    if (all < 1 || width < 1 || all % width != 0 || lo % width != 0 || (hi - lo) % width != 0)
        return false;
    *h = (heads){lo / width, (hi - lo) / width, all / width};
    return true;
}

/* Does each of q's heads (pieces 0..n of q, axes of the result in roles) meet its key head?  kv: keys or values, whose
 * heads are in `k`; their axes behind each axis of the result are in fb. */
static bool heads_meet(const contraction *c, const sm_meaning *q, const int8_t *roles, int n, const heads *qh,
                       const sm_meaning *kv, const heads *k) {
    int64_t group = qh->all / k->all, before = 1;
    if (qh->all % k->all != 0)
        return false;
    int piece = 0, at = -1;
    while (piece < kv->n_piece - 1 && kv->piece[piece] == 1)
        piece++;
    bool many = piece < sm_raise_last(kv) && kv->piece[piece] > 1;
    for (int i = 0; i < c->n_out; i++)
        if (many && c->fb[i] >= 0 && kv->ax[c->fb[i]] == piece)
            at = roles[i];
    if (!many)
        return k->count == 1 && qh->first / group == k->first && (qh->first + qh->count - 1) / group == k->first;
    if (at < 0 || at >= n || q->piece[at] != kv->piece[piece])
        return false;
    before = product(q, 0, at);
    int64_t inner = product(q, at + 1, n);
    return before == 1 && qh->first == k->first * group && qh->count == k->count * group && kv->group * inner == group;
}

/* Decompositions round the scale to fp16: what is within that of 1 / sqrt(d) is it. */
static double snap_scale(double scale, int64_t d, double tol) {
    double fixed = 1 / sqrt((double)d);
    return fabs(scale / fixed - 1) <= tol ? fixed : scale;
}

/* ------------------------------------------------------------------ scores */
/* Roles of a result: those of a but for tokens, which must not meet anything; b brings `wanted`. */
static bool result_roles(const contraction *c, const sm_meaning *a, const sm_meaning *b, int wanted, int8_t *roles) {
    bool found = false;
    for (int i = 0; i < c->n_out; i++) {
        int x = c->fa[i] >= 0 ? a->ax[c->fa[i]] : AX_ONE, y = c->fb[i] >= 0 ? b->ax[c->fb[i]] : AX_ONE;
        sm_dim dx = c->fa[i] >= 0 ? c->a->type.dims[c->fa[i]] : 1, dy = c->fb[i] >= 0 ? c->b->type.dims[c->fb[i]] : 1;
        if (y == wanted) {
            if (dx != 1)
                return false;
            roles[i] = (int8_t)wanted;
            found = true;
            continue;
        }
        if ((x == AX_TOKENS || x == AX_KEYS) && dy != 1)
            return false;
        if (dx == 1 && dy != 1 && (x < 0 || y >= 0)) /* a head's worth more in the result than in the queries */
            return false;
        roles[i] = (int8_t)x;
    }
    return found;
}

/* A factor of all queries is one of the scores. */
static void take_factor(sm_meaning *s) {
    const sm_value *row = s->row;
    double f;
    while (row->def != NULL && row->def->op == SM_OP_RESHAPE)
        row = sm_arg(row->def, "x");
    const sm_node *d = row->def;
    if (d == NULL || d->op != SM_OP_MUL || sm_arg(d, "y")->type.rank != 0 || !sm_raise_scalar(sm_arg(d, "y"), &f))
        return;
    s->row = sm_arg(d, "x");
    s->f *= f;
}

static bool scores(sm_raise *z, const contraction *c, sm_meaning *out) {
    const sm_meaning *as_is = sm_raise_of(z, c->a), unpaired = sm_raise_unpaired(as_is), *q = &unpaired;
    sm_meaning k = sm_raise_keys(z, c->b);
    heads qh, kh;
    if (q->kind != M_ROWS || q->last || k.kind != M_KV || (as_is->kind == M_PAIRED) != sm_raise_is_paired(z, k.row))
        return false;
    int last = sm_raise_last(q), k_last = sm_raise_last(&k);
    if (last < 0 || k_last < 0 || q->ax[c->ka] != last || k.ax[c->kb] != k_last || q->piece[last] != k.piece[k_last])
        return false;
    int64_t d = q->piece[last];
    *out = (sm_meaning){.kind = M_SCORES, .row = q->row, .row_k = k.row, .cache = k.cache, .slot = k.slot};
    out->n_piece = last;
    memcpy(out->piece, q->piece, sizeof out->piece);
    if (!heads_of(q, d, &qh) || !heads_of(&k, d, &kh) || !result_roles(c, q, &k, AX_KEYS, out->ax) ||
        !heads_meet(c, q, out->ax, last, &qh, &k, &kh))
        return false;
    for (int i = 0; i < c->n_out; i++)
        if (out->ax[i] >= last)
            return false;
    out->lo = qh.first;
    out->hi = qh.first + qh.count;
    out->klo = kh.first;
    out->khi = d;
    out->joined = k.joined;
    out->f = q->f;
    take_factor(out);
    return true;
}

/* A mask for scores over these keys.  One made of key positions must have meant keys in this order. */
static bool mask(sm_raise *z, const sm_value *sv, sm_meaning *s, const sm_value *mv, const sm_meaning *m) {
    int8_t ax[SM_MAX_RANK];
    bool flags = mv->type.dtype == SM_BOOL && m->seen == 1 && m->hidden == 0; /* the fused op's other kind */
    if (m->kind != M_WHERE || s->masked || (s->capped && s->cap == 0) || !m->causal ||
        !(m->given || flags || (m->seen == 0 && m->hidden <= -1e4)) || (m->made && m->joined != s->joined))
        return false;
    if (mv->type.rank > sv->type.rank || !sm_raise_join(sv, s->ax, mv, m->ax, ax) ||
        memcmp(ax, s->ax, (size_t)sv->type.rank) != 0)
        return false;
    int keys = sm_raise_axis(m, mv->type.rank, AX_KEYS), rows = sm_raise_axis(m, mv->type.rank, AX_TOKENS);
    int s_keys = sm_raise_axis(s, sv->type.rank, AX_KEYS);
    if (keys < 0 || (rows < 0 && !sm_raise_single(z)) || mv->type.dims[keys] != sv->type.dims[s_keys])
        return false;
    s->masked = true;
    s->window = m->window;
    return true;
}

/* Constants are masks of programs without caches only. */
static bool may_mask(const sm_raise *z, const sm_value *v) {
    return v != NULL && (v->cst == NULL || sm_raise_of(z, v)->kind == M_WHERE);
}

static bool add_mask(sm_raise *z, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    bool behind = sm_raise_of(z, y)->kind == M_SCORES;
    const sm_value *sv = behind ? y : x, *mv = behind ? x : y;
    sm_meaning s = *sm_raise_of(z, sv);
    return s.kind == M_SCORES && may_mask(z, mv) && mask(z, sv, &s, mv, sm_raise_of(z, mv)) && sm_raise_set(z, n, s);
}

/* select(seen, scores, hidden) */
static bool choose(sm_raise *z, const sm_node *n) {
    const sm_value *cv = sm_arg(n, "cond"), *a = sm_arg(n, "a"), *b = sm_arg(n, "b");
    sm_meaning c = *sm_raise_of(z, cv);
    if (c.kind != M_WHERE || c.given)
        return false;
    bool seen = c.seen == 1 && c.hidden == 0;
    const sm_value *sv = seen ? a : b, *low = seen ? b : a;
    sm_meaning s = *sm_raise_of(z, sv);
    double hidden;
    if (s.kind != M_SCORES || (!seen && (c.seen != 0 || c.hidden != 1)) || !sm_raise_number(z, low, &hidden) ||
        !(hidden <= -1e4))
        return false;
    c.seen = 0;
    c.hidden = hidden;
    return mask(z, sv, &s, cv, &c) && sm_raise_set(z, n, s);
}

/* scores * f, before or behind the tanh of a soft cap: cap * tanh(g * s) has the scale g * cap. */
static bool scale_scores(sm_raise *z, const sm_node *n) {
    sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    sm_value *c = x->cst != NULL ? x : y, *v = c == x ? y : x;
    double f;
    sm_meaning m = *sm_raise_of(z, v);
    if (m.kind != M_SCORES || !sm_value_float(c, &f) || c->type.rank > v->type.rank ||
        (n->op == SM_OP_REAL_DIV && c == x))
        return false;
    if (n->op == SM_OP_REAL_DIV)
        f = 1 / f;
    if (m.masked || !isfinite(f) || f == 0 || (m.capped && f < 0))
        return false;
    m.f *= f;
    if (m.capped)
        m.cap = m.cap == 0 ? f : m.cap * f;
    return sm_raise_set(z, n, m);
}

/* ------------------------------------------------------------------ the composite */
/* Heads as [t, heads, d], whatever shape the row value is in. */
static sm_value *as_heads(sm_raise *z, sm_value *row, int64_t n, int64_t d) {
    return sm_raise_shape(z, row, 2, (int64_t[]){n, d});
}

static bool same_number(const sm_node *n, const char *slot, double want) {
    double v = 0;
    return sm_arg_float(n, slot, &v) && fabs(v - want) <= 1e-6 * fabs(want);
}

/* The attention of these, if there is one. */
static sm_value *built(const sm_raise *z, const sm_value *q, const sm_value *k, const sm_value *v) {
    for (const sm_node *d = z->b->b->last; d != NULL; d = d->prev)
        if (d->op == SM_OP_ATTENTION && sm_arg(d, "q") == q && sm_arg(d, "k") == k && sm_arg(d, "v") == v)
            return d->out[0];
    return NULL;
}

/* Attention over all heads of s's queries, keys and values: built once.  Slots are numbered as attentions come. */
static sm_value *attention(sm_raise *z, const sm_meaning *s, const sm_meaning *v, int64_t n_heads, int64_t kv_heads,
                           int64_t dv, double scale) {
    bool own = s->cache < 0;
    if (own != (v->cache < 0))
        return NULL;
    sm_raise_slot none[2] = {{.attn = NULL}}, *ks = own ? &none[0] : &z->cache[s->cache]->slot[s->slot],
                  *vs = own ? &none[1] : &z->cache[v->cache]->slot[v->slot];
    sm_value *q = as_heads(z, s->row, n_heads, s->khi), *k = as_heads(z, s->row_k, kv_heads, s->khi);
    sm_value *val = as_heads(z, v->row, kv_heads, dv);
    if (q == NULL || k == NULL || val == NULL)
        return NULL;
    if (own) {
        ks->attn = built(z, q, k, val);
        ks->used = s->row_k;
        vs->used = v->row;
        if (ks->attn == NULL)
            ks->used = vs->used = NULL;
    }
    if (ks->attn != NULL) { /* of another head */
        const sm_node *d = ks->attn->def;
        int64_t window = 0;
        bool same = sm_arg(d, "q") == q && sm_arg(d, "k") == k && sm_arg(d, "v") == val && ks->used == s->row_k &&
                    vs->used == v->row && same_number(d, "scale", scale) && same_number(d, "softcap", s->cap) &&
                    sm_arg_int(d, "window", &window) && window == s->window;
        return same ? ks->attn : NULL;
    }
    if (ks == vs || ks->used != NULL || vs->used != NULL || z->n_attention == SM_RAISE_SLOTS)
        return NULL;
    sm_builder *b = z->b;
    sm_value *y = sm_build(b, SM_OP_ATTENTION, NULL, "q", q, "k", k, "v", val, "batch", z->batch, "slot",
                           sm_const_i32(b, z->n_attention), "scale", sm_const_f(b, SM_FP32, (float)scale), "window",
                           s->window > 0 ? sm_const_i32(b, (int32_t)s->window) : NULL, "softcap",
                           s->cap > 0 ? sm_const_f(b, SM_FP32, s->cap) : NULL, NULL);
    if (y == NULL)
        return NULL;
    z->n_attention++;
    ks->attn = y;
    ks->used = s->row_k;
    vs->used = v->row;
    return y;
}

/* probabilities x values: heads s.lo..s.hi of the result. */
static bool weighted_sum(sm_raise *z, const sm_node *n, const contraction *c, const sm_meaning *s, double scale) {
    sm_meaning v = sm_raise_keys(z, c->b), y;
    heads vh, qh = {s->lo, s->hi - s->lo, sm_raise_features(s->row) / s->khi};
    int last = sm_raise_last(&v);
    if (v.kind != M_KV || last < 0 || v.joined != s->joined || v.ax[c->kb] != AX_KEYS || !isfinite(scale) ||
        c->a->type.dims[c->ka] != c->b->type.dims[c->kb] || sm_raise_is_paired(z, v.row))
        return false;
    int64_t dv = v.piece[last], kv_heads = sm_raise_features(s->row_k) / s->khi;
    y = sm_raise_whole(s, NULL);
    memset(y.ax, AX_ONE, sizeof y.ax);
    if (!heads_of(&v, dv, &vh) || vh.all != kv_heads || !result_roles(c, s, &v, last, y.ax))
        return false;
    int64_t group = qh.all / vh.all;
    if (vh.first != s->lo / group && vh.count == 1)
        return false;
    /* the roles of v's width stand apart from those of heads */
    int8_t roles[SM_MAX_RANK];
    for (int i = 0; i < c->n_out; i++) {
        bool width = c->fb[i] >= 0 && v.ax[c->fb[i]] == last;
        roles[i] = (int8_t)(width ? AX_ONE : c->fa[i] >= 0 ? s->ax[c->fa[i]] : AX_ONE);
        y.ax[i] = (int8_t)(width ? s->n_piece : roles[i]);
    }
    if (!heads_meet(c, s, roles, s->n_piece, &qh, &v, &vh) || s->n_piece == SM_RAISE_PIECES)
        return false;
    sm_value *a = attention(z, s, &v, qh.all, kv_heads, dv, scale);
    y.n_piece = s->n_piece + 1;
    memcpy(y.piece, s->piece, sizeof y.piece);
    y.piece[s->n_piece] = dv;
    y.lo = 0;
    y.hi = dv;
    if (a != NULL && qh.count == qh.all) {
        y.row = sm_raise_shape(z, a, y.n_piece, y.piece);
    } else if (a != NULL) {
        y.row = sm_raise_flat(z, a);
        y.lo = qh.first * dv;
        y.hi = y.lo + qh.count * dv;
    }
    return y.row != NULL && sm_raise_set(z, n, y);
}

/* Both operands being rows of the call: are a's the keys?  They are what a softmax behind runs over. */
static bool keys_first(const sm_node *n, const contraction *c) {
    enum { FAR = 64 };
    const sm_value *v = n->out[0];
    int seen = 0;
    for (const sm_node *d = n->next; d != NULL && seen < FAR; d = d->next, seen++) {
        const sm_op_row *row = sm_op_row_of(d->op);
        bool hit = false;
        for (int i = 0; i < row->n_slots; i++)
            hit |= d->in[i] == v;
        if (!hit || d->n_out != 1 || d->out[0]->type.rank != v->type.rank)
            continue;
        int64_t axis = -1;
        if (d->op == SM_OP_SOFTMAX && sm_arg_int(d, "axis", &axis)) {
            axis += axis < 0 ? v->type.rank : 0;
            return axis < c->n_out && c->fa[axis] >= 0 && c->fb[axis] < 0;
        }
        if (d->op != SM_OP_CAST && d->op != SM_OP_ADD && d->op != SM_OP_MUL && d->op != SM_OP_REAL_DIV &&
            d->op != SM_OP_SELECT && d->op != SM_OP_TANH && d->op != SM_OP_MAXIMUM)
            return false;
        v = d->out[0];
    }
    return false;
}

static bool contract(sm_raise *z, const sm_node *n, contraction *c) {
    for (int turn = 0; turn < 2; turn++, turn_over(c)) {
        sm_meaning m;
        const sm_meaning *a = sm_raise_of(z, c->a);
        bool rows = a->kind == M_ROWS || a->kind == M_PAIRED;
        bool both = sm_raise_of(z, c->b)->kind == M_ROWS || sm_raise_of(z, c->b)->kind == M_PAIRED;
        if (rows && !(z->own && turn == 0 && both && keys_first(n, c)) && scores(z, c, &m))
            return sm_raise_set(z, n, m);
        if (a->kind == M_PROBS && a->ax[c->ka] == AX_KEYS)
            return weighted_sum(z, n, c, a, snap_scale(a->f, a->khi, a->cap > 0 ? 0x1p-8 : 0x1p-10));
    }
    return false;
}

static bool fused(sm_raise *z, const sm_node *n) {
    const sm_value *qv = sm_arg(n, "query"), *kv = sm_arg(n, "key"), *vv = sm_arg(n, "value");
    const sm_value *mv = sm_arg(n, "attn_mask");
    contraction c;
    sm_meaning s;
    if (!may_mask(z, mv) || !of_matmul(qv, kv, false, true, &c) || !scores(z, &c, &s))
        return false;
    sm_value like = *qv; /* the scores are no value of the program */
    like.type.dims[like.type.rank - 1] = kv->type.dims[kv->type.rank - 2];
    if (kv->type.rank != qv->type.rank || vv->type.rank != qv->type.rank || !mask(z, &like, &s, mv, sm_raise_of(z, mv)))
        return false;
    double d = (double)s.khi;
    like.cst = NULL;
    return of_matmul(&like, vv, false, false, &c) &&
           weighted_sum(z, n, &c, &s, snap_scale(s.f / sqrt(d), s.khi, 0x1p-10));
}

bool sm_raise_attn_op(sm_raise *z, const sm_node *n) {
    bool tx = false, ty = false;
    contraction c;
    sm_meaning m;
    int64_t axis = -1;
    switch (n->op) {
    case SM_OP_SDPA:
        return fused(z, n);
    case SM_OP_MATMUL:
        return sm_arg_bool(n, "transpose_x", &tx) && sm_arg_bool(n, "transpose_y", &ty) &&
               of_matmul(sm_arg(n, "x"), sm_arg(n, "y"), tx, ty, &c) && contract(z, n, &c);
    case SM_OP_EINSUM:
        return of_einsum(n, &c) && contract(z, n, &c);
    case SM_OP_ADD:
        return add_mask(z, n);
    case SM_OP_SELECT:
        return choose(z, n);
    case SM_OP_MUL:
    case SM_OP_REAL_DIV:
        return scale_scores(z, n);
    case SM_OP_TANH:
        m = *sm_raise_arg(z, n, "x");
        if (m.kind != M_SCORES || m.masked || m.capped)
            return false;
        m.capped = true;
        return sm_raise_set(z, n, m);
    case SM_OP_SOFTMAX:
        m = *sm_raise_arg(z, n, "x");
        if (m.kind != M_SCORES || !m.masked || !sm_arg_int(n, "axis", &axis))
            return false;
        if (axis < 0)
            axis += n->out[0]->type.rank;
        m.kind = M_PROBS;
        return m.ax[axis] == AX_KEYS && sm_raise_set(z, n, m);
    default:
        return false;
    }
}
