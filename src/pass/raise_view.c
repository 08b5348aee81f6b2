/* SPDX-License-Identifier: MIT
 *
 * raise_view.c: roles of axes: moves that only change them, parts of row values, and row values in other shapes.
 *
 * A reshape is read as row-major order demands: its axes fall into the smallest groups of equal products, from the left.
 * Tokens and keys must be groups of their own; a group of pieces may become other pieces.
 *
 * A part of a row value is elements lo..hi of its last axis: of every head (halves of the rotary embedding), or, with all
 * features in one axis, a run of heads.  What works within pieces, such as rms_norm over each head, is built once for the
 * whole row when its first part asks, and each part is then a part of the result.
 */
#include "pass/raise_int.h"

#include <string.h>

/* ------------------------------------------------------------------ roles */
int sm_raise_axis(const sm_meaning *m, int rank, int role) {
    for (int i = 0; i < rank; i++)
        if (m->ax[i] == role)
            return i;
    return -1;
}

bool sm_raise_join(const sm_value *a, const int8_t *ra, const sm_value *b, const int8_t *rb, int8_t *out) {
    int r = SM_MAX(a->type.rank, b->type.rank), da = r - a->type.rank, db = r - b->type.rank;
    for (int i = 0; i < r; i++) {
        bool one_a = i < da || a->type.dims[i - da] == 1, one_b = i < db || b->type.dims[i - db] == 1;
        int8_t x = i < da ? AX_ONE : ra[i - da], y = i < db ? AX_ONE : rb[i - db];
        if (one_a && one_b)
            out[i] = x != AX_ONE ? x : y;
        else if (one_a || one_b)
            out[i] = one_a ? y : x;
        else if (x == y)
            out[i] = x;
        else
            return false;
    }
    return true;
}

bool sm_raise_one_axis(const sm_type *t, const sm_dim *lo, const sm_dim *hi, int *axis) {
    *axis = -1;
    for (int i = 0; i < t->rank; i++) {
        if (lo[i] == 0 && hi[i] == t->dims[i])
            continue;
        if (*axis >= 0)
            return false;
        *axis = i;
    }
    return true;
}

void sm_raise_all_ones(sm_meaning *m, int rank) {
    for (int i = 0; i < rank; i++)
        m->ax[i] = AX_ONE;
}

int sm_raise_last(const sm_meaning *m) {
    for (int k = m->n_piece - 1; k >= 0; k--)
        if (m->piece[k] != 1)
            return k;
    return m->n_piece - 1;
}

bool sm_raise_is_last(const sm_meaning *m, int rank, int64_t axis) {
    if (axis < 0)
        axis += rank;
    return axis >= 0 && axis < rank && m->ax[axis] >= 0 && m->ax[axis] == sm_raise_last(m);
}

/* ------------------------------------------------------------------ row values in other shapes */
int64_t sm_raise_features(const sm_value *row) {
    int64_t n = 1;
    for (int i = 1; i < row->type.rank; i++)
        if (!sm_dim_known(row->type.dims[i]) || row->type.dims[i] < 1 ||
            __builtin_mul_overflow(n, row->type.dims[i], &n) || n > INT32_MAX)
            return 0;
    return n;
}

sm_value *sm_raise_again(sm_raise *z, sm_op op, sm_value *const *in) {
    enum { FAR = 2000 };
    int n = sm_op_row_of(op)->n_slots, seen = 0;
    for (const sm_node *d = z->b->b->last; d != NULL && seen < FAR; d = d->prev, seen++)
        if (d->op == op && memcmp(d->in, in, (size_t)n * sizeof *in) == 0)
            return d->out[0];
    sm_node *made = sm_build_node(z->b, op, NULL, in, NULL, 0);
    return made != NULL ? made->out[0] : NULL;
}

static bool has_shape(const sm_value *row, int n, const int64_t *piece) {
    if (row->type.rank != n + 1)
        return false;
    for (int i = 0; i < n; i++)
        if (row->type.dims[i + 1] != piece[i])
            return false;
    return true;
}

sm_value *sm_raise_shape(sm_raise *z, sm_value *row, int n, const int64_t *piece) {
    int32_t shape[SM_MAX_RANK] = {-1};
    if (row == NULL || n < 1 || n + 1 > SM_MAX_RANK)
        return NULL;
    if (has_shape(row, n, piece))
        return row;
    while (row->def != NULL && row->def->op == SM_OP_RESHAPE)
        row = sm_arg(row->def, "x");
    if (has_shape(row, n, piece))
        return row;
    const sm_node *d = row->def;
    if (d != NULL && d->op == SM_OP_RMS_NORM && row->type.dims[row->type.rank - 1] == piece[n - 1]) {
        /* heads are heads before their norm: one of them is a reshape that programs do not write */
        sm_value *norm[SM_MAX_SLOTS] = {sm_raise_shape(z, sm_arg(d, "x"), n, piece), sm_arg(d, "gamma"),
                                        sm_arg(d, "eps")};
        return norm[0] != NULL ? sm_raise_again(z, SM_OP_RMS_NORM, norm) : NULL;
    }
    for (int i = 0; i < n; i++)
        shape[i + 1] = (int32_t)piece[i];
    sm_value *in[SM_MAX_SLOTS] = {row, sm_const_i32s(z->b, shape, n + 1)};
    return in[1] != NULL ? sm_raise_again(z, SM_OP_RESHAPE, in) : NULL;
}

sm_value *sm_raise_flat(sm_raise *z, sm_value *row) {
    int64_t all = row != NULL ? sm_raise_features(row) : 0;
    return all > 0 ? sm_raise_shape(z, row, 1, &all) : NULL;
}

sm_meaning sm_raise_whole(const sm_meaning *like, sm_value *row) {
    sm_meaning m = {.kind = M_ROWS, .row = row, .f = 1};
    memcpy(m.ax, like->ax, sizeof m.ax);
    if (row == NULL)
        return m;
    m.n_piece = SM_MIN(row->type.rank - 1, SM_RAISE_PIECES);
    for (int i = 0; i < m.n_piece; i++)
        m.piece[i] = row->type.dims[i + 1];
    m.hi = row->type.dims[row->type.rank - 1];
    return m;
}

sm_value *sm_raise_piecewise(sm_raise *z, const sm_meaning *m, int64_t width) {
    int r = m->row->type.rank;
    int64_t all = sm_raise_features(m->row);
    if (width < 1 || all < 1 || all % width != 0)
        return NULL;
    if (sm_is_whole(m)) {
        int last = sm_raise_last(m);
        if (last < 0 || m->piece[last] != width)
            return NULL;
        return last == m->n_piece - 1 ? m->row : sm_raise_shape(z, m->row, 2, (int64_t[]){all / width, width});
    }
    if (r != 2 || m->hi - m->lo != width || m->lo % width != 0)
        return NULL;
    return sm_raise_shape(z, m->row, 2, (int64_t[]){all / width, width});
}

sm_meaning sm_raise_part_of(sm_raise *z, const sm_meaning *m, sm_value *result) {
    sm_meaning y = *m;
    y.kind = M_ROWS;
    y.f = 1;
    y.row = NULL;
    if (result == NULL)
        return y;
    if (sm_is_whole(m)) {
        y.row = sm_raise_shape(z, result, m->n_piece, m->piece);
        return y;
    }
    y.row = sm_raise_flat(z, result);
    return y;
}

sm_value *sm_raise_row(sm_raise *z, const sm_meaning *m) {
    if (m->kind != M_ROWS || m->row == NULL || !sm_is_whole(m))
        return NULL;
    if (m->f == 1)
        return m->row;
    sm_value *in[SM_MAX_SLOTS] = {m->row, sm_const_f(z->b, SM_FP32, m->f)};
    return in[1] != NULL ? sm_raise_again(z, SM_OP_MUL, in) : NULL;
}

bool sm_raise_settle(sm_raise *z, sm_meaning *m) {
    sm_value *row = sm_raise_row(z, m);
    if (row == NULL)
        return false;
    m->row = row;
    m->f = 1;
    return true;
}

/* ------------------------------------------------------------------ reshape */
typedef struct group {
    int from, n_from, to, n_to; /* axes */
    int first;                  /* its first old piece */
} group;

typedef struct regroup {
    group g[SM_MAX_RANK];
    int n;
    bool moved_only; /* every group is one axis to one axis */
} regroup;

static bool counts(const sm_meaning *m, int axis) { /* tokens, keys: never part of a product */
    return m->ax[axis] == AX_TOKENS || m->ax[axis] == AX_KEYS;
}

/* The axes that are more than 1, in groups. */
static bool find_groups(const sm_meaning *m, const sm_type *a, const sm_type *b, regroup *r) {
    int i = 0, j = 0;
    r->n = 0;
    r->moved_only = true;
    for (;;) {
        while (i < a->rank && a->dims[i] == 1)
            i++;
        while (j < b->rank && b->dims[j] == 1)
            j++;
        if (i == a->rank || j == b->rank)
            return i == a->rank && j == b->rank;
        group *g = &r->g[r->n++];
        *g = (group){i, 1, j, 1, m->ax[i]};
        if (counts(m, i) || !sm_dim_known(a->dims[i]) || a->dims[i] < 1) {
            if (a->dims[i++] != b->dims[j++])
                return false;
            continue;
        }
        int64_t x = a->dims[i++], y = b->dims[j++];
        while (x != y) {
            bool left = x < y;
            const sm_type *t = left ? a : b;
            int *at = left ? &i : &j, *len = left ? &g->n_from : &g->n_to;
            int64_t *p = left ? &x : &y;
            if (y < 1 || *at == t->rank || (left && counts(m, i)) || !sm_dim_known(t->dims[*at]) ||
                __builtin_mul_overflow(*p, t->dims[*at], p))
                return false;
            ++*at;
            ++*len;
            r->moved_only = false;
        }
    }
}

static void only_move(const regroup *r, const sm_meaning *m, int rank, sm_meaning *y) {
    sm_raise_all_ones(y, rank);
    for (int k = 0; k < r->n; k++)
        y->ax[r->g[k].to] = m->ax[r->g[k].from];
}

/* Pieces from..to are 1. */
static bool all_ones(const sm_meaning *m, int from, int to) {
    for (int k = from; k < to && k < SM_RAISE_PIECES; k++)
        if (m->piece[k] != 1)
            return false;
    return true;
}

/* The pieces of a group of axes follow each other in the row.  *repeat: the last axis repeats each element of the others. */
static bool in_order(const group *g, const sm_meaning *m, const sm_type *a, int *n_pieces, int64_t *repeat) {
    int prev = -1;
    *n_pieces = 0;
    *repeat = 1;
    for (int i = g->from; i < g->from + g->n_from; i++) {
        if (a->dims[i] == 1)
            continue;
        if (m->ax[i] == AX_GROUP && prev >= 0 && *repeat == 1) {
            *repeat = a->dims[i];
            continue;
        }
        if (m->ax[i] < 0 || *repeat != 1)
            return false;
        if (prev >= 0 && !all_ones(m, prev + 1, m->ax[i]))
            return false;
        if (prev >= m->ax[i])
            return false;
        prev = m->ax[i];
        ++*n_pieces;
    }
    return true;
}

static void sort_groups(const regroup *r, int *order) {
    for (int i = 0; i < r->n; i++) {
        int k = i;
        for (; k > 0 && r->g[order[k - 1]].first > r->g[i].first; k--)
            order[k] = order[k - 1];
        order[k] = i;
    }
}

/* New pieces of y, group by group in row order. */
static bool new_pieces(const regroup *r, const sm_meaning *m, const sm_type *a, const sm_type *b, sm_meaning *y) {
    int order[SM_MAX_RANK], pieces;
    sort_groups(r, order);
    sm_raise_all_ones(y, b->rank);
    y->n_piece = 0;
    for (int k = 0; k < r->n; k++) {
        const group *g = &r->g[order[k]];
        int64_t repeat = 1;
        if (g->first < 0 && g->n_from == 1) {
            if (g->n_to != 1)
                return false;
            y->ax[g->to] = m->ax[g->from];
            continue;
        }
        if (!in_order(g, m, a, &pieces, &repeat))
            return false;
        if (repeat > 1 && (m->kind != M_KV || m->group != 1 || pieces != 1 || g->n_to != 1 || y->n_piece > 0))
            return false;
        if (m->kind == M_KV && m->group > 1 && y->n_piece == 0 && (g->n_from > 1 || g->n_to > 1))
            return false;
        if (repeat > 1)
            y->group = repeat;
        for (int j = g->to; j < g->to + g->n_to; j++) {
            if (b->dims[j] == 1)
                continue;
            if (y->n_piece == SM_RAISE_PIECES)
                return false;
            y->ax[j] = (int8_t)y->n_piece;
            y->piece[y->n_piece++] = b->dims[j];
        }
    }
    return true;
}

/* An axis of 1 before a piece stays a piece: one head is a head.  Not the first axis, which is a batch of 1. */
static void keep_ones(sm_meaning *y, const sm_type *b) {
    for (int j = b->rank - 2; j > 0; j--) {
        int k = y->ax[j + 1];
        if (b->dims[j] != 1 || y->ax[j] != AX_ONE || k < 0 || y->n_piece == SM_RAISE_PIECES)
            continue;
        for (int i = 0; i < b->rank; i++)
            y->ax[i] += y->ax[i] >= k;
        memmove(y->piece + k + 1, y->piece + k, (size_t)(y->n_piece - k) * sizeof *y->piece);
        y->piece[k] = 1;
        y->n_piece++;
        y->ax[j] = (int8_t)k;
    }
}

static bool reshape(sm_raise *z, const sm_node *n) {
    const sm_type *a = &sm_arg(n, "x")->type, *b = &n->out[0]->type;
    sm_meaning given = sm_raise_content(z, sm_arg(n, "x")), y = sm_raise_unpaired(&given), before = y;
    const sm_meaning *x = &before;
    bool paired = y.kind != given.kind;
    regroup r;
    if (x->kind == M_NONE || x->kind == M_FRESH || !find_groups(x, a, b, &r))
        return false;
    bool rows = x->kind == M_ROWS && sm_is_whole(x);
    if (r.moved_only && !rows) {
        only_move(&r, x, b->rank, &y);
        return sm_raise_set(z, n, y);
    }
    bool part = x->kind == M_ROWS && !rows && x->row->type.rank == 2;
    if (!rows && !part && x->kind != M_KV && x->kind != M_SCORES && x->kind != M_PROBS)
        return false;
    if (!new_pieces(&r, x, a, b, &y))
        return false;
    if (rows) {
        keep_ones(&y, b);
        if (y.n_piece == 0)
            return false;
        y.row = sm_raise_shape(z, x->row, y.n_piece, y.piece);
        y.hi = y.piece[y.n_piece - 1];
    }
    if (paired && y.hi != x->hi) /* heads stay what they are */
        return false;
    y.kind = given.kind;
    return (y.row != NULL || !rows) && sm_raise_set(z, n, y);
}

/* ------------------------------------------------------------------ axes put elsewhere */
static bool transpose(sm_raise *z, const sm_node *n) {
    int64_t perm[SM_MAX_RANK];
    int k = 0, rank = n->out[0]->type.rank;
    bool updated = sm_raise_arg(z, n, "x")->kind == M_UPDATED; /* may go back to its cache as well as be read */
    sm_meaning y = updated ? *sm_raise_arg(z, n, "x") : sm_raise_content(z, sm_arg(n, "x")), before = y;
    const sm_meaning *x = &before;
    if (x->kind == M_NONE || x->kind == M_FRESH || !sm_arg_ints(n, "perm", perm, SM_MAX_RANK, &k) || k != rank)
        return false;
    for (int i = 0; i < k; i++) {
        int64_t p = perm[i] < 0 ? perm[i] + k : perm[i];
        if (p < 0 || p >= k)
            return false;
        y.ax[i] = x->ax[p];
    }
    return sm_raise_set(z, n, y);
}

static bool expand_dims(sm_raise *z, const sm_node *n) {
    int64_t axes[SM_MAX_RANK];
    int k = 0, rank = n->out[0]->type.rank;
    bool fresh[SM_MAX_RANK] = {false};
    sm_meaning y = sm_raise_content(z, sm_arg(n, "x")), before = y;
    const sm_meaning *x = &before;
    if (x->kind == M_NONE || x->kind == M_FRESH || !sm_arg_ints(n, "axes", axes, SM_MAX_RANK, &k))
        return false;
    for (int i = 0; i < k; i++) {
        int64_t a = axes[i] < 0 ? axes[i] + rank : axes[i];
        if (a < 0 || a >= rank)
            return false;
        fresh[a] = true;
    }
    for (int i = 0, from = 0; i < rank; i++)
        y.ax[i] = fresh[i] ? AX_ONE : x->ax[from++];
    return sm_raise_set(z, n, y);
}

static bool squeeze(sm_raise *z, const sm_node *n) {
    const sm_type *a = &sm_arg(n, "x")->type;
    int64_t axes[SM_MAX_RANK];
    int k = 0;
    bool gone[SM_MAX_RANK] = {false};
    sm_meaning y = sm_raise_content(z, sm_arg(n, "x")), before = y;
    const sm_meaning *x = &before;
    if (x->kind == M_NONE || x->kind == M_FRESH)
        return false;
    if (sm_arg(n, "axes") == NULL) {
        for (int i = 0; i < a->rank; i++)
            gone[i] = a->dims[i] == 1;
    } else if (!sm_arg_ints(n, "axes", axes, SM_MAX_RANK, &k)) {
        return false;
    }
    for (int i = 0; i < k; i++)
        gone[axes[i] < 0 ? axes[i] + a->rank : axes[i]] = true;
    int to = 0;
    for (int i = 0; i < a->rank; i++)
        if (!gone[i])
            y.ax[to++] = x->ax[i];
    return sm_raise_set(z, n, y);
}

/* Casts keep a meaning where they keep values: activations have one dtype in row form, and so have positions. */
static bool cast(sm_raise *z, const sm_node *n) {
    const sm_meaning before = sm_raise_content(z, sm_arg(n, "x")), *x = &before;
    sm_dtype a = sm_arg(n, "x")->type.dtype, b = n->out[0]->type.dtype;
    bool floats = sm_dtype_kind(a) == 'f' && sm_dtype_kind(b) == 'f';
    bool ids = x->kind == M_INT;
    bool wide = sm_dtype_bits(b) >= 16 && (sm_dtype_kind(b) == 'i' || (sm_dtype_kind(b) == 'u' && ids));
    bool ints = sm_dtype_kind(a) != 'f' && a != SM_BOOL && wide;
    ints |= x->kind == M_WHERE && sm_dtype_kind(a) == 'i' && wide;
    bool place = ids || x->kind == M_POS || x->kind == M_PAST || x->kind == M_KEY_POS || x->kind == M_BACK;
    bool flag = (x->kind == M_WHERE || x->kind == M_ONE_HOT || x->kind == M_OWN || x->kind == M_KEEP) && b != SM_BOOL;
    if (x->kind == M_NONE || (x->kind == M_FRESH && !floats))
        return false;
    if (a == b || floats || ((place || x->kind == M_WHERE) && ints) || (place && sm_dtype_kind(b) == 'f') || flag)
        return sm_raise_set(z, n, *x);
    return false;
}

/* ------------------------------------------------------------------ cuts */
/* Elements a..b of piece k. */
static bool cut_piece(sm_raise *z, sm_meaning *m, int k, int64_t a, int64_t b) {
    int64_t inner = 1;
    bool first = true;
    for (int i = k + 1; i < m->n_piece; i++)
        inner *= m->piece[i];
    for (int i = 0; i < k; i++)
        first &= m->piece[i] == 1;
    if (a < 0 || b <= a || b > m->piece[k])
        return false;
    bool whole = m->kind == M_KV || sm_is_whole(m), flat = m->kind == M_KV || m->row->type.rank == 2;
    if (first && (whole || flat)) {
        if (m->kind == M_KV && m->group > 1) {
            if (a / m->group != (b - 1) / m->group || b - a > 1)
                return false;
            a /= m->group;
            b = a + 1;
            m->group = 1;
        }
        if (m->kind != M_KV && whole && k < m->n_piece - 1)
            m->row = sm_raise_flat(z, m->row);
        if (m->row == NULL)
            return false;
        m->hi = m->lo + b * inner;
        m->lo += a * inner;
        m->piece[k] = b - a;
        return true;
    }
    if (k != m->n_piece - 1 || m->kind == M_KV || flat) /* of every head: only where the row's last axis is the head */
        return false;
    m->hi = m->lo + b;
    m->lo += a;
    m->piece[k] = b - a;
    return true;
}

static bool last_token(sm_raise *z, sm_dim lo, sm_dim hi) {
    return hi == z->n && lo == sm_dim_sub(z->b->g, z->n, 1);
}

/* Half of a table that holds both. */
static bool cut_table(sm_meaning *m, int64_t a, int64_t b) {
    int64_t half = m->piece[0] / 2;
    if (!m->full || b - a != half || (a != 0 && a != half))
        return false;
    m->full = false;
    m->piece[0] = half;
    return true;
}

/* in[lo, hi) along one axis at most, squeezed axes gone: the meaning of `out`. */
static bool cut(sm_raise *z, const sm_value *out, const sm_value *in, const sm_dim *lo, const sm_dim *hi,
                const bool *gone) {
    sm_meaning y = sm_raise_content(z, in), before = y;
    const sm_meaning *x = &before;
    int axis, to = 0;
    if (x->kind == M_NONE || x->kind == M_FRESH)
        return false;
    if (x->kind == M_CACHE || x->kind == M_UPDATED)
        return sm_cut_cache(z, out, in, x, lo, hi, gone);
    if (!sm_raise_one_axis(&in->type, lo, hi, &axis))
        return false;
    if (axis >= 0) {
        int role = x->ax[axis];
        bool known = sm_dim_known(lo[axis]) && sm_dim_known(hi[axis]);
        if (role >= 0 && known && (x->kind == M_ROWS || x->kind == M_KV)) {
            if (!cut_piece(z, &y, role, lo[axis], hi[axis]))
                return false;
        } else if (role >= 0 && known && (x->kind == M_COS || x->kind == M_SIN || x->kind == M_ANGLE)) {
            if (!cut_table(&y, lo[axis], hi[axis]))
                return false;
        } else if (role == AX_TOKENS && x->kind == M_ROWS && last_token(z, lo[axis], hi[axis])) {
            y.last = true;
            y.ax[axis] = AX_ONE;
        } else if (role == AX_TOKENS && (x->kind == M_POS || x->kind == M_INT) && lo[axis] == 0 && hi[axis] == 1) {
            if (!sm_is_pos(z, x))
                return false;
            y.kind = M_PAST;
            y.ax[axis] = AX_ONE;
        } else if (role == AX_KEYS && lo[axis] == 0 && !x->joined &&
                   (x->kind == M_KV || x->kind == M_WHERE || x->kind == M_KEY_POS)) {
            bool own = z->own && hi[axis] == z->n;
            if (!own && !sm_whole_or_seen(z, hi[axis], in->type.dims[axis]))
                return false;
        } else {
            return false;
        }
    }
    for (int i = 0; i < in->type.rank; i++)
        if (!gone[i])
            y.ax[to++] = y.ax[i];
    return sm_raise_give(z, out, y);
}

static bool slice(sm_raise *z, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x");
    sm_dim lo[SM_MAX_RANK], hi[SM_MAX_RANK];
    bool gone[SM_MAX_RANK];
    return sm_slice_bounds(z, n, &x->type, lo, hi, gone) && cut(z, n->out[0], x, lo, hi, gone);
}

static void whole_bounds(const sm_type *t, sm_dim *lo, sm_dim *hi, bool *gone) {
    for (int i = 0; i < t->rank; i++) {
        lo[i] = 0;
        hi[i] = t->dims[i];
        gone[i] = false;
    }
}

static bool slice_by_size(sm_raise *z, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x");
    sm_dim lo[SM_MAX_RANK], hi[SM_MAX_RANK], size[SM_MAX_RANK];
    bool gone[SM_MAX_RANK] = {false};
    int a = 0, b = 0;
    if (!sm_arg_dims(n, "begin", lo, SM_MAX_RANK, &a) || !sm_arg_dims(n, "size", size, SM_MAX_RANK, &b) ||
        a != x->type.rank || b != a)
        return false;
    for (int i = 0; i < a; i++) {
        if (sm_dim_known(lo[i]) && lo[i] < 0)
            return false;
        hi[i] = size[i] == -1 ? x->type.dims[i] : sm_dim_add(z->b->g, lo[i], size[i]);
    }
    return cut(z, n->out[0], x, lo, hi, gone);
}

static bool split(sm_raise *z, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x");
    sm_dim lo[SM_MAX_RANK], hi[SM_MAX_RANK];
    bool gone[SM_MAX_RANK], any = false;
    int64_t axis = 0, at = 0;
    if (sm_raise_of(z, x)->kind == M_NONE || !sm_arg_int(n, "axis", &axis))
        return false;
    if (axis < 0)
        axis += x->type.rank;
    whole_bounds(&x->type, lo, hi, gone);
    for (int i = 0; i < n->n_out; i++) {
        sm_dim size = n->out[i]->type.dims[axis];
        if (!sm_dim_known(size))
            return any;
        lo[axis] = at;
        hi[axis] = at += size;
        any |= cut(z, n->out[i], x, lo, hi, gone);
    }
    return any;
}

/* One element of an axis, by a constant index; or a run of them, 0 1 2 ... */
static bool gather(sm_raise *z, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x"), *at = sm_arg(n, "indices");
    sm_dim lo[SM_MAX_RANK], hi[SM_MAX_RANK];
    bool gone[SM_MAX_RANK];
    int64_t axis = 0, batch = 0, index[64];
    int k = 0;
    if (sm_raise_of(z, x)->kind == M_NONE || x->type.rank == 0 || !sm_arg_int(n, "axis", &axis) ||
        !sm_arg_int(n, "batch_dims", &batch) || batch != 0 || at->type.rank > 1 ||
        !sm_arg_ints(n, "indices", index, 64, &k) || k < 1)
        return false;
    if (axis < 0)
        axis += x->type.rank;
    whole_bounds(&x->type, lo, hi, gone);
    if (!sm_dim_known(x->type.dims[axis]))
        return false;
    if (index[0] < 0)
        index[0] += x->type.dims[axis];
    for (int i = 1; i < k; i++)
        if (index[i] != index[0] + i)
            return false;
    lo[axis] = index[0];
    hi[axis] = index[0] + k;
    gone[axis] = at->type.rank == 0;
    return lo[axis] >= 0 && hi[axis] <= x->type.dims[axis] && cut(z, n->out[0], x, lo, hi, gone);
}

/* ------------------------------------------------------------------ parts joined in order */
static bool same_roles(const sm_meaning *a, const sm_meaning *b, int rank, int except) {
    for (int i = 0; i < rank; i++)
        if (i != except && a->ax[i] != b->ax[i] && (a->ax[i] >= 0 || b->ax[i] >= 0 || a->ax[i] != b->ax[i]))
            return false;
    return true;
}

/* Runs of heads, one after the other: [.., 1, .., d] heads become a piece of their own, channels one longer run. */
static bool join_parts(sm_raise *z, const sm_node *n) {
    int64_t axis = 0;
    bool interleave = false;
    const sm_meaning *a = sm_raise_of(z, n->list[0]);
    int rank = n->list[0]->type.rank;
    if (n->n_list < 2 || a->kind != M_ROWS || sm_is_whole(a) || a->row->type.rank != 2 ||
        !sm_arg_int(n, "axis", &axis) || !sm_arg_bool(n, "interleave", &interleave) || interleave)
        return false;
    if (axis < 0)
        axis += rank;
    int64_t at = a->lo;
    for (int i = 0; i < n->n_list; i++) {
        const sm_meaning *p = sm_raise_of(z, n->list[i]);
        if (p->kind != M_ROWS || p->row != a->row || p->f != a->f || p->lo != at || n->list[i]->type.rank != rank ||
            p->n_piece != a->n_piece || !same_roles(p, a, rank, (int)axis))
            return false;
        at = p->hi;
    }
    sm_meaning y = *a;
    int role = a->ax[axis], first = 0;
    while (first < a->n_piece - 1 && a->piece[first] == 1)
        first++;
    const sm_dim out = n->out[0]->type.dims[axis];
    if (role >= 0 && (role == first || a->piece[role] == 1) && sm_dim_known(out)) {
        y.piece[role] = out; /* the outermost piece grows */
    } else if (role == AX_ONE && n->list[0]->type.dims[axis] == 1 && a->n_piece < SM_RAISE_PIECES) {
        memmove(y.piece + 1, y.piece, (size_t)y.n_piece * sizeof *y.piece);
        y.piece[0] = n->n_list;
        y.n_piece++;
        for (int i = 0; i < rank; i++)
            y.ax[i] = (int8_t)(i == axis ? 0 : y.ax[i] >= 0 ? y.ax[i] + 1 : y.ax[i]);
    } else {
        return false;
    }
    for (int k = 0; role >= 0 && k < role; k++)
        if (y.piece[k] != 1)
            return false;
    y.hi = at;
    int64_t all = 1;
    for (int k = 0; k < y.n_piece; k++)
        all *= y.piece[k];
    if (all != y.hi - y.lo)
        return false;
    if (sm_is_whole(&y)) {
        y.row = sm_raise_shape(z, y.row, y.n_piece, y.piece);
        y.hi = y.piece[y.n_piece - 1];
    }
    return y.row != NULL && sm_raise_set(z, n, y);
}

/* So is a tile that repeats nothing. */
static bool only_once(sm_raise *z, const sm_node *n) {
    sm_meaning m = sm_raise_content(z, sm_arg(n, "x"));
    return m.kind != M_NONE && m.kind != M_FRESH && sm_type_eq(&sm_arg(n, "x")->type, &n->out[0]->type) &&
           sm_raise_set(z, n, m);
}

/* A concat of one value is it. */
static bool only_one(sm_raise *z, const sm_node *n) {
    sm_meaning m = sm_raise_content(z, n->list[0]);
    return m.kind != M_NONE && m.kind != M_FRESH && sm_raise_set(z, n, m);
}

bool sm_raise_view_op(sm_raise *z, const sm_node *n) {
    switch (n->op) {
    case SM_OP_IDENTITY:
    case SM_OP_CAST:
        return cast(z, n);
    case SM_OP_RESHAPE:
        return reshape(z, n);
    case SM_OP_TRANSPOSE:
        return transpose(z, n);
    case SM_OP_EXPAND_DIMS:
        return expand_dims(z, n);
    case SM_OP_SQUEEZE:
        return squeeze(z, n);
    case SM_OP_SLICE_BY_INDEX:
        return slice(z, n);
    case SM_OP_SLICE_BY_SIZE:
        return slice_by_size(z, n);
    case SM_OP_SPLIT:
        return split(z, n);
    case SM_OP_GATHER:
        return gather(z, n);
    case SM_OP_TILE:
        return only_once(z, n);
    case SM_OP_CONCAT:
        return n->n_list == 1 ? only_one(z, n) : join_parts(z, n);
    default:
        return false;
    }
}
