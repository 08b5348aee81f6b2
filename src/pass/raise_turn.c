/* SPDX-License-Identifier: MIT
 *
 * raise_turn.c: meanings of positions and of the rotary embedding in halves form, in two spellings:
 *
 *     x * cos + [-second half, first half] * sin
 *     [first * cos - second * sin, second * cos + first * sin]
 *
 * of whole heads or of their first elements.  cos and sin are computed from position * inv_freq, each half once or twice,
 * in any order of axes, or are rows of two constant tables.
 */
#include "pass/raise_int.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------ positions */
bool sm_is_pos(sm_raise *z, const sm_meaning *m) {
    if (m->kind == M_POS)
        return true;
    if (m->kind != M_INT || z->old_ids == m->row || (z->old_pos != NULL && z->old_pos != m->row))
        return false;
    z->old_pos = m->row;
    return true;
}

/* range_1d in steps of 1: from a computed start over n values the rows' positions, from 0 the keys'. */
static bool range(sm_raise *z, const sm_node *n) {
    const sm_value *start = sm_arg(n, "start");
    int64_t from, step;
    sm_meaning m = {.kind = M_KEY_POS, .ax = {AX_KEYS}};
    if (!sm_value_int(sm_arg(n, "step"), &step) || step != 1)
        return false;
    if (sm_value_int(start, &from))
        return from == 0 && sm_raise_set(z, n, m);
    if (start->sym == NULL || n->out[0]->type.dims[0] != z->n || (z->past_known && z->past != start->sym[0]))
        return false;
    z->past = start->sym[0];
    z->past_known = true;
    m.kind = M_POS;
    m.ax[0] = sm_raise_single(z) ? AX_ONE : AX_TOKENS;
    return sm_raise_set(z, n, m);
}

/* 0, 1 .. n-1, plus the positions before the call */
static bool counted(sm_raise *z, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    if (sm_raise_of(z, x)->kind != M_KEY_POS) {
        const sm_value *t = x;
        x = y;
        y = t;
    }
    sm_meaning m = *sm_raise_of(z, x);
    int axis = sm_raise_axis(&m, x->type.rank, AX_KEYS);
    if (m.kind != M_KEY_POS || m.joined || m.guarded || axis < 0 || x->type.dims[axis] != z->n || y->sym == NULL ||
        y->cst != NULL || y->type.rank > 1 || (y->type.rank == 1 && y->type.dims[0] != 1) ||
        !sm_at_past(z, y->sym[0], sm_dim_add(z->b->g, y->sym[0], z->n)))
        return false;
    m.kind = M_POS;
    m.ax[axis] = sm_raise_single(z) ? AX_ONE : AX_TOKENS;
    return sm_raise_set(z, n, m);
}

/* [old key positions, the rows' own]: keys of the form with caches as inputs. */
static bool join_positions(sm_raise *z, const sm_node *n) {
    int64_t axis;
    if (n->n_list != 2 || !sm_arg_int(n, "axis", &axis))
        return false;
    const sm_value *v = n->list[0], *w = n->list[1];
    sm_meaning k, p = *sm_raise_of(z, w);
    if (sm_raise_of(z, v)->kind == M_KEY_POS)
        k = *sm_raise_of(z, v);
    else if (!sm_is_iota(z, v, &k))
        return false;
    if (axis < 0)
        axis += v->type.rank;
    if (k.joined || k.ax[axis] != AX_KEYS || w->type.rank != v->type.rank ||
        (p.ax[axis] != AX_TOKENS && !sm_raise_single(z)) || !sm_is_pos(z, &p))
        return false;
    k.joined = true;
    return sm_raise_set(z, n, k);
}

bool sm_is_iota(sm_raise *z, const sm_value *c, sm_meaning *out) {
    int axis = -1;
    size_t n = 0;
    if (c->cst == NULL || c->cst->strs != NULL || c->type.dtype == SM_BOOL || c->type.rank < 1)
        return false;
    *out = (sm_meaning){.kind = M_KEY_POS};
    sm_raise_all_ones(out, c->type.rank);
    for (int i = 0; i < c->type.rank; i++)
        if (c->type.dims[i] != 1) {
            if (axis >= 0)
                return false;
            axis = i;
        }
    if (axis < 0)
        return false;
    out->ax[axis] = AX_KEYS;
    float *x = sm_raise_floats(z, c, &n);
    bool ok = x != NULL;
    for (size_t i = 0; ok && i < n; i++)
        ok = x[i] == (float)i && i < 1 << 24;
    sm_free(x);
    return ok;
}

/* ------------------------------------------------------------------ angles */
/* One constant per content: exporters may write the frequencies once a layer. */
static sm_value *known_freq(sm_raise *z, const float *x, size_t n) {
    for (int i = 0; i < z->n_freqs; i++) {
        const sm_tensor *t = &z->freq[i]->cst->src;
        if (sm_tensor_numel(t) == n && memcmp(t->part[SM_PART_DATA].p, x, n * sizeof *x) == 0)
            return z->freq[i];
    }
    return NULL;
}

static sm_value *keep_freq(sm_raise *z, sm_value *v) {
    if (v != NULL && z->n_freqs < SM_RAISE_FREQS)
        z->freq[z->n_freqs++] = v;
    return v;
}

sm_value *sm_raise_freq(sm_raise *z, const float *x, int64_t n) {
    sm_value *v = known_freq(z, x, (size_t)n);
    return v != NULL ? v : keep_freq(z, sm_const_data(z->b, "inv_freq", SM_FP32, 1, &n, x));
}

/* The constant as fp32 vector; once when it holds both halves. */
static sm_value *freq_const(sm_raise *z, sm_value *c, bool *full) {
    size_t got;
    *full = false;
    float *x = sm_raise_floats(z, c, &got);
    if (x == NULL)
        return c->type.rank == 1 && c->type.dtype == SM_FP32 ? c : NULL;
    *full = got >= 4 && got % 2 == 0 && memcmp(x, x + got / 2, got / 2 * sizeof *x) == 0;
    if (*full)
        got /= 2;
    const sm_encoding *e = &c->cst->src.enc;
    bool as_is = c->type.rank == 1 && c->type.dtype == SM_FP32 && e->id == SM_ENC_DENSE && e->code == SM_FP32;
    sm_value *v = known_freq(z, x, got);
    if (v == NULL)
        v = as_is && !*full ? keep_freq(z, c) : sm_raise_freq(z, x, (int64_t)got);
    sm_free(x);
    return v;
}

static int only_long_axis(const sm_type *t) { /* -1: none or several */
    int axis = -1;
    for (int i = 0; i < t->rank; i++)
        if (t->dims[i] != 1) {
            if (axis >= 0)
                return -1;
            axis = i;
        }
    return axis;
}

/* As broadcasting product, or as matmul over an axis of 1: the rows of x by the columns of y. */
static bool product_roles(const sm_node *n, const sm_value *x, const int8_t *rx, const sm_value *y, const int8_t *ry,
                          int8_t *out) {
    int a = x->type.rank, b = y->type.rank, r = n->out[0]->type.rank;
    bool tx = false, ty = false;
    int8_t left[SM_MAX_RANK], right[SM_MAX_RANK];
    if (n->op == SM_OP_MUL)
        return sm_raise_join(x, rx, y, ry, out);
    if (!sm_arg_bool(n, "transpose_x", &tx) || !sm_arg_bool(n, "transpose_y", &ty) || tx || ty || a < 2 || b < 2 ||
        x->type.dims[a - 1] != 1 || y->type.dims[b - 2] != 1 || r < 2)
        return false;
    /* with its contracted axis out, each is a value that broadcasts: [.., rows, 1] and [.., 1, columns] */
    memcpy(left, rx, sizeof left);
    memcpy(right, ry, sizeof right);
    return sm_raise_join(x, left, y, right, out);
}

/* pos * freq, angles along an axis of their own */
static bool angle(sm_raise *z, const sm_node *n) {
    sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    sm_value *c = x->cst != NULL ? x : y, *p = c == x ? y : x;
    sm_meaning m = {.kind = M_ANGLE, .f = 1, .n_piece = 1};
    int8_t rc[SM_MAX_RANK];
    if (c->cst == NULL || p->cst != NULL || sm_dtype_kind(c->type.dtype) != 'f')
        return false;
    const sm_meaning place = sm_raise_place(z, p), *pm = &place;
    int axis = only_long_axis(&c->type);
    if (axis < 0 || (pm->kind != M_POS && pm->kind != M_INT))
        return false;
    memset(rc, AX_ONE, sizeof rc);
    rc[axis] = 0;
    if (!product_roles(n, x, c == x ? rc : pm->ax, y, c == y ? rc : pm->ax, m.ax) || !sm_is_pos(z, pm))
        return false;
    m.freq = freq_const(z, c, &m.full);
    if (m.freq == NULL)
        return false;
    m.piece[0] = c->type.dims[axis];
    return sm_raise_set(z, n, m);
}

/* ------------------------------------------------------------------ tables */
static bool same_table(const sm_meaning *a, const sm_meaning *b) {
    return a->table == b->table && a->full == b->full && (a->table || (a->freq == b->freq && a->f == b->f));
}

static bool both_halves(sm_raise *z, const sm_node *n) {
    int64_t axis;
    bool interleave = false;
    if (n->n_list != 2 || !sm_arg_int(n, "axis", &axis) || !sm_arg_bool(n, "interleave", &interleave) || interleave)
        return false;
    const sm_meaning *a = sm_raise_of(z, n->list[0]), *b = sm_raise_of(z, n->list[1]);
    int rank = n->list[0]->type.rank;
    if (axis < 0)
        axis += rank;
    if (a->kind != b->kind || (a->kind != M_ANGLE && a->kind != M_COS && a->kind != M_SIN) || a->full || b->full ||
        a->freq != b->freq || a->f != b->f || a->ax[axis] != 0 || memcmp(a->ax, b->ax, (size_t)rank) != 0)
        return false;
    sm_meaning m = *a;
    m.full = true;
    m.piece[0] *= 2;
    return sm_raise_set(z, n, m);
}

/* The same by tile. */
static bool twice(sm_raise *z, const sm_node *n) {
    sm_meaning m = *sm_raise_arg(z, n, "x");
    int64_t reps[SM_MAX_RANK];
    int k = 0, rank = n->out[0]->type.rank, axis = sm_raise_axis(&m, rank, 0);
    if ((m.kind != M_ANGLE && m.kind != M_COS && m.kind != M_SIN) || m.full || axis < 0 ||
        !sm_arg_ints(n, "reps", reps, SM_MAX_RANK, &k) || k != rank)
        return false;
    for (int i = 0; i < k; i++)
        if (reps[i] != (i == axis ? 2 : 1))
            return false;
    m.full = true;
    m.piece[0] *= 2;
    return sm_raise_set(z, n, m);
}

/* A table [positions, angles] of both halves as one of the first; NULL when its halves differ. */
static sm_value *half_table(sm_raise *z, sm_value *c, int64_t rows, int64_t d, const float *x) {
    int64_t half = d / 2, dims[2] = {rows, half};
    for (int64_t i = 0; i < rows; i++)
        if (d % 2 != 0 || memcmp(x + i * d, x + i * d + half, (size_t)half * sizeof *x) != 0)
            return NULL;
    float *y = sm_alloc_n((size_t)(rows * half), sizeof *y);
    for (int64_t i = 0; y != NULL && i < rows; i++)
        memcpy(y + i * half, x + i * d, (size_t)half * sizeof *y);
    sm_value *v = y != NULL ? sm_const_data(z->b, c->name, SM_FP32, 2, dims, y) : NULL;
    if (y == NULL && z->b->st == SM_OK)
        z->b->st = SM_NOMEM(&z->b->err);
    sm_free(y);
    return v;
}

bool sm_raise_table(sm_raise *z, sm_value *c, int64_t rows, int64_t cols, sm_meaning *m) {
    sm_value **made = &z->m[c->id].row;
    size_t count;
    if (*made == NULL) {
        float *x = sm_raise_floats(z, c, &count);
        if (x == NULL)
            return false;
        *made = half_table(z, c, rows, cols, x);
        if (*made == NULL)
            *made = c->type.rank == 2 ? c : sm_const_data(z->b, c->name, SM_FP32, 2, (int64_t[]){rows, cols}, x);
        sm_free(x);
    }
    m->freq = *made;
    m->full = *made != NULL && (*made)->type.dims[1] != cols;
    return *made != NULL;
}

/* Does nothing become of a value but products with other values?  So it is with cosines and sines, and with no embedding. */
static bool only_multiplies(sm_raise *z, const sm_value *v) {
    bool *seen = sm_alloc_n(z->n_values, sizeof *seen), only = seen != NULL, any = false;
    if (only)
        seen[v->id] = true;
    else if (z->b->st == SM_OK)
        z->b->st = SM_NOMEM(&z->b->err);
    for (const sm_node *n = z->r.old->body->first; n != NULL && only; n = n->next) {
        bool first = n->in[0] != NULL && sm_op_row_of(n->op)->n_slots > 0 && seen[n->in[0]->id], hit = first;
        for (int i = 1; i < sm_op_row_of(n->op)->n_slots; i++)
            hit |= n->in[i] != NULL && seen[n->in[i]->id];
        for (int i = 0; i < n->n_list; i++)
            hit |= seen[n->list[i]->id];
        if (!hit)
            continue;
        const sm_value *x = n->in[0], *y = n->op == SM_OP_MUL ? n->in[1] : NULL;
        double f;
        bool move = n->op == SM_OP_CAST || n->op == SM_OP_IDENTITY || n->op == SM_OP_RESHAPE ||
                    n->op == SM_OP_TRANSPOSE || n->op == SM_OP_EXPAND_DIMS || n->op == SM_OP_SQUEEZE ||
                    n->op == SM_OP_SLICE_BY_INDEX || n->op == SM_OP_SLICE_BY_SIZE || n->op == SM_OP_SPLIT ||
                    n->op == SM_OP_TILE || n->op == SM_OP_GATHER || n->op == SM_OP_CONCAT ||
                    (y != NULL && (sm_raise_scalar(x, &f) || sm_raise_scalar(y, &f)));
        if (move)
            for (int i = 0; i < n->n_out; i++)
                seen[n->out[i]->id] = true;
        bool product = y != NULL && x->cst == NULL && y->cst == NULL && x != y;
        only = move || n->op == SM_OP_SHAPE || product;
        any |= product && !move;
    }
    only &= any;
    sm_free(seen);
    return only;
}

/* Rows of a constant table by position. */
static bool look_up(sm_raise *z, const sm_node *n) {
    sm_value *c = sm_arg(n, "x");
    const sm_value *at = sm_arg(n, "indices");
    const sm_meaning place = sm_raise_place(z, at), *p = &place;
    int64_t axis = -1, batch = 0;
    sm_meaning m = {.n_piece = 1, .f = 1, .table = true};
    if ((p->kind != M_INT && p->kind != M_POS) || c->cst == NULL || c->type.rank != 2 || z->old_ids == p->row ||
        sm_dtype_kind(c->type.dtype) != 'f' || !sm_arg_int(n, "axis", &axis) || axis != 0 ||
        !sm_arg_int(n, "batch_dims", &batch) || batch != 0)
        return false;
    if (c->cst->src.part[SM_PART_DATA].p == NULL || c->type.dims[1] < 1 ||
        (z->old_pos != p->row && p->kind == M_INT && !only_multiplies(z, n->out[0])) || !sm_is_pos(z, p))
        return false;
    if (!sm_raise_table(z, c, c->type.dims[0], c->type.dims[1], &m))
        return false;
    m.kind = M_COS; /* or sines: what they multiply says */
    m.piece[0] = c->type.dims[1];
    memcpy(m.ax, p->ax, sizeof m.ax);
    m.ax[at->type.rank] = 0;
    return sm_raise_set(z, n, m);
}

/* ------------------------------------------------------------------ turns */
/* [-second half, first half] of the last piece */
static bool rotated(sm_raise *z, const sm_node *n) {
    int64_t axis;
    bool interleave = false;
    if (n->n_list != 2 || !sm_arg_int(n, "axis", &axis) || !sm_arg_bool(n, "interleave", &interleave) || interleave)
        return false;
    const sm_meaning *a = sm_raise_of(z, n->list[0]), *b = sm_raise_of(z, n->list[1]);
    int rank = n->list[0]->type.rank;
    if (a->kind != M_ROWS || b->kind != M_ROWS || a->row != b->row || a->f != -1 || b->f != 1 || a->lo != b->hi ||
        a->hi - a->lo != b->hi - b->lo || a->last != b->last || a->n_piece != b->n_piece ||
        !sm_raise_is_last(a, rank, axis) || memcmp(a->ax, b->ax, (size_t)rank) != 0)
        return false;
    sm_meaning m = *b;
    m.kind = M_ROTATED;
    m.hi = a->hi;
    m.piece[sm_raise_last(b)] = m.hi - m.lo;
    return m.piece[sm_raise_last(b)] == 2 * b->piece[sm_raise_last(b)] && sm_raise_set(z, n, m);
}

static bool times_table(sm_raise *z, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    const sm_meaning *a = sm_raise_of(z, x), *t = sm_raise_of(z, y);
    int8_t rt[SM_MAX_RANK], ax[SM_MAX_RANK];
    sm_meaning own;
    bool front = x->cst != NULL, first = true;
    if ((front ? x : y)->cst != NULL && sm_raise_own_table(z, (sm_value *)(front ? x : y), &own))
        *(front ? &a : &t) = &own;
    if (a->kind == M_COS || a->kind == M_SIN) {
        const sm_meaning *swap = a;
        a = t;
        t = swap;
        first = false;
    }
    if ((t->kind != M_COS && t->kind != M_SIN) || (a->kind != M_ROWS && a->kind != M_ROTATED) || t->freq == NULL)
        return false;
    int last = sm_raise_last(a);
    if (last < 0 || a->piece[last] != t->piece[0] ||
        (a->kind == M_ROTATED && (!t->full || (t->kind == M_COS && !t->table))) || a->f * a->f != 1)
        return false;
    for (int i = 0; i < SM_MAX_RANK; i++)
        rt[i] = (int8_t)(t->ax[i] == 0 ? last : t->ax[i]);
    if (!sm_raise_join(x, first ? a->ax : rt, y, first ? rt : a->ax, ax))
        return false;
    sm_meaning m = *a;
    m.kind = M_TURN;
    memcpy(m.ax, ax, sizeof m.ax);
    m.freq = t->freq;
    m.table = t->table;
    m.full = t->full;
    m.sine = t->table ? a->kind == M_ROTATED : t->kind == M_SIN;
    m.rotated = a->kind == M_ROTATED;
    m.f = a->f * t->f;
    return sm_raise_set(z, n, m);
}

/* The rotary embedding of elements m.klo..khi of m.row_k, heads of `width` elements: a row value in m's roles and pieces,
 * whose elements are m.klo..klo + width. */
bool sm_raise_turn_heads(sm_raise *z, sm_meaning *m, int64_t width) {
    sm_value *x = m->row_k, *y;
    int r = x->type.rank;
    int64_t all = sm_raise_features(x), rot = m->khi - m->klo;
    if (rot != 2 * m->freq->type.dims[m->table ? 1 : 0] || rot > width || all < 1 || all % width != 0)
        return false;
    bool every = r > 2 || all == width; /* of every head */
    if (every ? m->klo != 0 || x->type.dims[r - 1] != width : m->klo % width != 0)
        return false;
    sm_value *heads = r == 3 ? x : sm_raise_shape(z, x, 2, (int64_t[]){all / width, width});
    if (heads == NULL)
        return false;
    if (!every)
        heads = sm_raise_shape(z, x, 2, (int64_t[]){all / width, width});
    if (m->table) {
        sm_value *in[SM_MAX_SLOTS] = {heads, z->pos, m->freq, m->sines, sm_const_f(z->b, SM_FP32, m->f)};
        y = heads != NULL && in[4] != NULL ? sm_raise_again(z, SM_OP_ROPE_TABLE, in) : NULL;
    } else {
        sm_value *in[SM_MAX_SLOTS] = {heads, z->pos, m->freq, sm_const_f(z->b, SM_FP32, m->f)};
        y = heads != NULL && in[3] != NULL ? sm_raise_again(z, SM_OP_ROPE, in) : NULL;
    }
    if (y == NULL)
        return false;
    int last = sm_raise_last(m);
    m->kind = M_ROWS;
    m->piece[last] = width;
    m->f = 1;
    m->lo = m->klo;
    m->hi = m->klo + width;
    m->row = every ? sm_raise_shape(z, y, m->n_piece, m->piece) : sm_raise_flat(z, y);
    return m->row != NULL;
}

/* Of elements a.lo..a.hi of a.row, whose pieces and roles it has: heads as wide as that if it can be so; heads that go on
 * are made when the rest joins. */
static bool turned(sm_raise *z, const sm_node *n, const sm_meaning *a) {
    sm_meaning m = *a;
    m.row_k = a->row;
    m.klo = a->lo;
    m.khi = a->hi;
    int r = a->row->type.rank;
    bool may_be_whole = r > 2 ? sm_is_whole(a) : true;
    sm_meaning y = m;
    if (may_be_whole && sm_raise_turn_heads(z, &y, a->hi - a->lo)) {
        y.freq = m.freq;
        return !sm_raise_is_paired(z, y.row) && sm_raise_set(z, n, y);
    }
    m.kind = M_TURNED;
    m.row = a->row;
    return sm_raise_set(z, n, m);
}

/* The rest of the heads behind what turned. */
static bool with_rest(sm_raise *z, const sm_node *n) {
    int64_t axis;
    bool interleave = false;
    if (n->n_list != 2 || !sm_arg_int(n, "axis", &axis) || !sm_arg_bool(n, "interleave", &interleave) || interleave)
        return false;
    const sm_meaning *a = sm_raise_of(z, n->list[0]), *b = sm_raise_of(z, n->list[1]);
    int rank = n->list[0]->type.rank;
    if ((a->kind != M_TURNED && a->kind != M_ROWS) || a->row_k == NULL || b->kind != M_ROWS || b->row != a->row_k ||
        b->f != 1 || b->lo != a->khi || a->last != b->last || a->n_piece != b->n_piece ||
        !sm_raise_is_last(a, rank, axis) || memcmp(a->ax, b->ax, (size_t)rank) != 0)
        return false;
    sm_meaning m = *a;
    if (a->kind == M_ROWS) { /* it was taken to be a head */
        const sm_node *d = a->row->def;
        while (d != NULL && d->op == SM_OP_RESHAPE)
            d = sm_arg(d, "x")->def;
        double f = 1;
        if (a->f != 1 || d == NULL || (d->op != SM_OP_ROPE && d->op != SM_OP_ROPE_TABLE) ||
            !sm_arg_float(d, "scale", &f))
            return false;
        m.f = f;
    }
    return sm_raise_turn_heads(z, &m, b->hi - a->klo) && sm_raise_set(z, n, m);
}

static bool pair_tables(sm_meaning *m, const sm_meaning *cosine, const sm_meaning *sine) {
    if (!same_table(cosine, sine))
        return false;
    m->freq = cosine->freq;
    m->sines = cosine->table ? sine->freq : NULL;
    return !cosine->table || (cosine->freq->type.dims[0] == sine->freq->type.dims[0] &&
                              cosine->freq->type.dims[1] == sine->freq->type.dims[1]);
}

/* Sums and differences of x cos and x' sin. */
static bool add_turns(sm_raise *z, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    const sm_meaning *a = sm_raise_of(z, x), *b = sm_raise_of(z, y);
    sm_meaning m;
    int8_t ax[SM_MAX_RANK];
    bool minus = n->op == SM_OP_SUB;
    if (a->kind != M_TURN || b->kind != M_TURN || a->row != b->row || a->last != b->last ||
        !sm_raise_join(x, a->ax, y, b->ax, ax))
        return false;
    /* by tables, x1 T1 - x2 T2 and x2 T1 + x1 T2 say which are sines */
    bool by_place = a->table && b->table && !a->full && !b->full;
    if (by_place ? a->lo == b->lo || (minus && a->lo > b->lo) : a->sine == b->sine)
        return false;
    if (!minus && (by_place ? a->lo < b->lo : a->sine)) {
        const sm_meaning *t = a;
        a = b;
        b = t;
    }
    m = *a;
    memcpy(m.ax, ax, sizeof m.ax);
    if ((!by_place && a->sine) || a->rotated || !pair_tables(&m, a, b))
        return false;
    double fs = minus ? -b->f : b->f;
    if (a->full)
        return b->rotated && a->lo == b->lo && a->hi == b->hi && fs == a->f && turned(z, n, &m);
    if (b->rotated || a->n_piece != b->n_piece || a->piece[sm_raise_last(a)] != b->piece[sm_raise_last(b)])
        return false;
    m.kind = M_HALF_TURN;
    m.second = fs == a->f;
    m.lo = SM_MIN(a->lo, b->lo);
    m.hi = SM_MAX(a->hi, b->hi);
    bool beside = m.second ? b->hi == a->lo : a->hi == b->lo;
    return beside && (m.second || fs == -a->f) && sm_raise_set(z, n, m);
}

static bool join_halves(sm_raise *z, const sm_node *n) {
    int64_t axis;
    bool interleave = false;
    if (n->n_list != 2 || !sm_arg_int(n, "axis", &axis) || !sm_arg_bool(n, "interleave", &interleave) || interleave)
        return false;
    const sm_meaning *a = sm_raise_of(z, n->list[0]), *b = sm_raise_of(z, n->list[1]);
    int rank = n->list[0]->type.rank, last = sm_raise_last(a);
    if (a->kind != M_HALF_TURN || b->kind != M_HALF_TURN || a->second || !b->second || a->row != b->row ||
        a->lo != b->lo || a->hi != b->hi || a->freq != b->freq || a->sines != b->sines || a->f != b->f ||
        a->last != b->last || !sm_raise_is_last(a, rank, axis) || memcmp(a->ax, b->ax, (size_t)rank) != 0)
        return false;
    sm_meaning m = *a;
    m.piece[last] *= 2;
    return m.piece[last] == m.hi - m.lo && turned(z, n, &m);
}

/* cos and sin times a number */
static bool scaled(sm_raise *z, const sm_node *n) {
    sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    sm_value *c = x->cst != NULL ? x : y, *v = c == x ? y : x;
    double f;
    sm_meaning m = *sm_raise_of(z, v);
    if ((m.kind != M_COS && m.kind != M_SIN) || !sm_raise_scalar(c, &f) || c->type.rank > v->type.rank)
        return false;
    m.f *= f;
    return sm_raise_set(z, n, m);
}

/* Ids and positions below 0 count from the end, exporters take care: select(x >= 0, x, x + extent) is x. */
static bool wrapped(sm_raise *z, const sm_node *n) {
    const sm_node *c = sm_arg(n, "cond")->def, *sum = sm_arg(n, "b")->def;
    const sm_value *a = sm_arg(n, "a");
    const sm_meaning *m = sm_raise_of(z, a);
    int64_t zero, extent;
    return (m->kind == M_INT || m->kind == M_POS) && c != NULL && c->op == SM_OP_GREATER_EQUAL && sum != NULL &&
           sum->op == SM_OP_ADD && sm_value_int(sm_arg(c, "y"), &zero) && zero == 0 &&
           sm_value_int(sm_arg(sum, "y"), &extent) && extent > 0 && sm_raise_arg(z, c, "x")->kind == m->kind &&
           sm_raise_arg(z, sum, "x")->kind == m->kind && sm_raise_arg(z, c, "x")->row == m->row &&
           sm_raise_arg(z, sum, "x")->row == m->row && sm_raise_set(z, n, *m);
}

bool sm_raise_turn_op(sm_raise *z, const sm_node *n) {
    switch (n->op) {
    case SM_OP_RANGE_1D:
        return range(z, n);
    case SM_OP_GATHER:
        return look_up(z, n);
    case SM_OP_SELECT:
        return wrapped(z, n);
    case SM_OP_TILE:
        return twice(z, n);
    case SM_OP_MATMUL:
        return angle(z, n);
    case SM_OP_MUL:
        return times_table(z, n) || scaled(z, n) || angle(z, n);
    case SM_OP_COS:
    case SM_OP_SIN: {
        sm_meaning m = *sm_raise_arg(z, n, "x");
        if (m.kind != M_ANGLE)
            return false;
        m.kind = n->op == SM_OP_COS ? M_COS : M_SIN;
        return sm_raise_set(z, n, m);
    }
    case SM_OP_ADD:
        return counted(z, n) || add_turns(z, n);
    case SM_OP_SUB:
        return add_turns(z, n);
    case SM_OP_CONCAT:
        return both_halves(z, n) || rotated(z, n) || join_halves(z, n) || with_rest(z, n) || join_positions(z, n);
    default:
        return false;
    }
}
