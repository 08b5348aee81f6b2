/* SPDX-License-Identifier: MIT
 *
 * raise_own.c: programs without caches, whose keys are the tokens of the call itself.
 *
 * Such a call is a whole text: its rows stand at positions 0, 1 .. n-1, and so do its keys.  So 0, 1 .. n-1 counts rows or
 * keys, whichever its use says; a row value that is contracted with queries, or repeated over groups of heads, is keys or
 * values; and a mask is [n, n], made of a comparison of the two, cut from a constant, or kept by band_part.  Which of its
 * two axes are rows is said by its content: the one whose position is not before the other's.  Should the scores have them
 * the other way round, they do not meet.
 *
 * Attention here must be causal, and shown to be so: a row then depends on none behind it, which is what a cache relies on.
 * That the host's flags say 1 of every token there is, is taken for granted; a mask that comes in with rows and keys is
 * taken to be the causal one.
 */
#include "pass/raise_int.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "base/number.h"

void sm_raise_near(sm_raise *z, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    if (z->near[0] == 0)
        sm_vsnprintf(z->near, sizeof z->near, fmt, ap);
    va_end(ap);
}

/* ------------------------------------------------------------------ positions */
sm_meaning sm_raise_place(const sm_raise *z, const sm_value *v) {
    sm_meaning m = *sm_raise_of(z, v);
    int axis = m.kind == M_KEY_POS ? sm_raise_axis(&m, v->type.rank, AX_KEYS) : -1;
    if (!z->own || axis < 0 || m.joined || m.guarded || v->type.dims[axis] != z->n)
        return m;
    m.kind = M_POS;
    m.ax[axis] = AX_TOKENS;
    return m;
}

/* 0, 1 .. n-1 plus a number. */
static bool ahead(sm_raise *z, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    bool first = sm_raise_of(z, x)->kind != M_KEY_POS;
    sm_meaning m = *sm_raise_of(z, first ? y : x);
    int64_t c;
    if (m.kind != M_KEY_POS || m.joined || m.guarded || !sm_value_int(first ? x : y, &c) ||
        (n->op == SM_OP_SUB && first) || c > INT32_MAX || c < -INT32_MAX)
        return false;
    m.kind = M_AHEAD;
    m.f = (double)(n->op == SM_OP_SUB ? -c : c);
    return sm_raise_set(z, n, m);
}

/* ------------------------------------------------------------------ keys and values */
sm_meaning sm_raise_keys(sm_raise *z, const sm_value *v) {
    sm_meaning m = sm_raise_content(z, v), none = {.kind = M_NONE};
    if (!z->own || (m.kind != M_ROWS && m.kind != M_PAIRED))
        return m;
    m = sm_raise_unpaired(&m);
    if (m.kind != M_ROWS)
        return none;
    bool whole = sm_is_whole(&m);
    int axis = sm_raise_axis(&m, v->type.rank, AX_TOKENS);
    if (m.last || axis < 0 || (!whole && (m.f != 1 || m.row->type.rank != 2)) || (whole && !sm_raise_settle(z, &m)))
        return none;
    m.kind = M_KV;
    m.ax[axis] = AX_KEYS;
    m.group = 1;
    m.cache = -1;
    m.row_k = NULL;
    if (whole) {
        m.lo = 0;
        m.hi = sm_raise_features(m.row);
    }
    return m;
}

/* ------------------------------------------------------------------ masks over all keys and rows */
/* x[i][k] is `seen` where 0 <= i - k, < w unless w is 0; and hides elsewhere.  *hidden: the largest value there. */
static bool is_band(const float *x, int64_t n, int64_t row, int64_t key, int64_t w, double *hidden) {
    double seen = x[0], most = -INFINITY;
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < n; k++) {
            double v = x[i * row + k * key];
            bool in = i >= k && (w == 0 || i - k < w);
            if (isnan(v) || (v == seen) != in)
                return false;
            if (!in)
                most = SM_MAX(most, v);
        }
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < n; k++) { /* one value, or all of them far below */
            double v = x[i * row + k * key];
            bool in = i >= k && (w == 0 || i - k < w);
            if (!in && v != most && !(seen == 0 && most <= -1e4))
                return false;
        }
    *hidden = most;
    return true;
}

/* The set that an [n, n] of a constant is; rows are its axis `a` or `b`. */
static bool band_of(const float *x, int64_t n, int64_t a, int64_t b, int8_t *ra, int8_t *rb, sm_meaning *m) {
    for (int turn = 0; turn < 2; turn++) {
        int64_t row = turn ? b : a, key = turn ? a : b, w = 0;
        for (int64_t i = 1; i < n && w == 0; i++)
            w = x[i * row] != x[0] ? i : 0;
        if (!is_band(x, n, row, key, w, &m->hidden))
            continue;
        *ra = turn ? AX_KEYS : AX_TOKENS;
        *rb = turn ? AX_TOKENS : AX_KEYS;
        m->kind = M_WHERE;
        m->seen = x[0];
        m->causal = m->made = true;
        m->window = w;
        return true;
    }
    return false;
}

/* The two axes of c that are more than 1, `n` elements of each. */
static bool two_axes(const sm_type *t, int64_t n, int *a, int *b) {
    *a = *b = -1;
    for (int i = 0; i < t->rank; i++) {
        if (t->dims[i] == 1)
            continue;
        if (t->dims[i] < n || *b >= 0)
            return false;
        *(*a < 0 ? a : b) = i;
    }
    return *b >= 0;
}

/* Compression takes masks and tables for weights: any encoding will do, but for flags. */
static bool is_read(const sm_value *c) {
    const sm_tensor *t = &c->cst->src;
    return c->cst->strs == NULL && t->part[SM_PART_DATA].p != NULL && t->deinterleave == 0 &&
           (t->enc.id == SM_ENC_DENSE || sm_dtype_kind(c->type.dtype) == 'f');
}

/* A constant [.., m, .., m ..] as a mask: its first n rows and keys are taken. */
static bool const_mask(sm_raise *z, const sm_value *c, int64_t n, sm_meaning *m) {
    size_t count = 0;
    int a, b;
    if (!is_read(c) || !two_axes(&c->type, n, &a, &b) || c->type.dims[a] != c->type.dims[b])
        return false;
    float *x = NULL;
    if (c->type.dtype == SM_BOOL) {
        const uint8_t *p = c->cst->src.part[SM_PART_DATA].p;
        count = (size_t)(c->type.dims[a] * c->type.dims[b]);
        x = c->cst->src.part[SM_PART_DATA].n >= count ? sm_alloc_n(count, sizeof *x) : NULL;
        for (size_t i = 0; x != NULL && i < count; i++)
            x[i] = p[i] != 0;
    } else {
        x = sm_raise_floats(z, c, &count);
    }
    *m = (sm_meaning){0};
    sm_raise_all_ones(m, c->type.rank);
    bool ok = x != NULL && band_of(x, n, c->type.dims[b], 1, &m->ax[a], &m->ax[b], m);
    sm_free(x);
    return ok;
}

/* What a constant is made for: weights are no masks. */
static bool looks(sm_op op) {
    switch (op) {
    case SM_OP_LINEAR:
    case SM_OP_CONV:
    case SM_OP_MATMUL:
    case SM_OP_EINSUM:
    case SM_OP_GATHER:
        return false;
    default:
        return true;
    }
}

static void look_at(sm_raise *z, const sm_node *n, const sm_value *c) {
    if (c == NULL || c->cst == NULL || c->id >= z->n_values || z->m[c->id].kind != M_NONE || c->type.rank < 1 ||
        c->cst->strs != NULL)
        return;
    sm_meaning m;
    sm_value *memo = z->m[c->id].row;
    int a, b;
    if (two_axes(&c->type, z->n, &a, &b)) {
        if (!looks(n->op) || c->type.dims[a] != z->n || c->type.dims[b] != z->n || !const_mask(z, c, z->n, &m))
            return;
    } else if (sm_tensor_numel(&c->cst->src) != (uint64_t)z->n || !sm_is_iota(z, c, &m)) {
        return;
    }
    m.row = memo;
    z->m[c->id] = m;
}

void sm_raise_own_consts(sm_raise *z, const sm_node *n) {
    if (!z->own || !sm_dim_known(z->n))
        return;
    for (int i = 0; i < sm_op_row_of(n->op)->n_slots; i++)
        look_at(z, n, n->in[i]);
    for (int i = 0; i < n->n_list; i++)
        look_at(z, n, n->list[i]);
}

/* Rows and keys of a call cut from a constant for more of them. */
static bool cut_mask(sm_raise *z, const sm_node *n) {
    const sm_value *c = sm_arg(n, "x");
    sm_dim lo[SM_MAX_RANK], hi[SM_MAX_RANK];
    bool gone[SM_MAX_RANK];
    sm_meaning m;
    int a, b, to = 0;
    if (c->cst == NULL || !two_axes(&c->type, 2, &a, &b) || c->type.dims[a] != c->type.dims[b] ||
        !sm_slice_bounds(z, n, &c->type, lo, hi, gone))
        return false;
    for (int i = 0; i < c->type.rank; i++)
        if (lo[i] != 0 || (hi[i] != c->type.dims[i] && !(hi[i] == z->n && (i == a || i == b))) ||
            ((i == a || i == b) && gone[i]))
            return false;
    int64_t least, most = z->n;
    if ((!sm_dim_known(z->n) && !sm_dim_bounds(z->b->g, z->n, &least, &most)) || most > c->type.dims[a] ||
        !const_mask(z, c, c->type.dims[a], &m))
        return false;
    for (int i = 0; i < c->type.rank; i++)
        if (!gone[i])
            m.ax[to++] = m.ax[i];
    return sm_raise_set(z, n, m);
}

/* ------------------------------------------------------------------ one value everywhere, and bands of it */
static bool fill(sm_raise *z, const sm_node *n) {
    sm_meaning m = {.kind = M_FILL};
    const sm_type *t = &n->out[0]->type;
    if (!sm_arg_float(n, "value", &m.f))
        return false;
    for (int i = 0; i < t->rank; i++)
        m.ax[i] = t->dims[i] == 1 ? AX_ONE : AX_ANY;
    return sm_raise_set(z, n, m);
}

static bool fill_cast(sm_raise *z, const sm_node *n) {
    sm_meaning m = *sm_raise_arg(z, n, "x");
    if (m.kind != M_FILL || (n->out[0]->type.dtype != SM_BOOL && m.f != floor(m.f)))
        return false;
    if (n->out[0]->type.dtype == SM_BOOL)
        m.f = m.f != 0;
    return sm_raise_set(z, n, m);
}

/* What holds of keys, for every row. */
static bool spread(sm_raise *z, const sm_node *n) {
    sm_meaning m = *sm_raise_arg(z, n, "x");
    const sm_type *a = &sm_arg(n, "x")->type, *b = &n->out[0]->type;
    if (m.kind != M_WHERE || a->rank != b->rank || sm_raise_axis(&m, a->rank, AX_TOKENS) >= 0)
        return false;
    for (int i = 0; i < a->rank; i++) {
        if (a->dims[i] == b->dims[i])
            continue;
        if (a->dims[i] != 1 || b->dims[i] != z->n || sm_raise_axis(&m, a->rank, AX_TOKENS) >= 0)
            return false;
        m.ax[i] = AX_TOKENS;
    }
    return sm_raise_set(z, n, m);
}

/* Keeps x where -upper <= i - k <= lower of its last two axes, 0 elsewhere; a negative one is no bound. */
static bool band(sm_raise *z, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x");
    const sm_type *t = &x->type;
    int64_t lower = 0, upper = 0;
    double f;
    if (t->rank < 2 || t->dims[t->rank - 1] != z->n || t->dims[t->rank - 2] != z->n || !sm_raise_number(z, x, &f) ||
        !sm_arg_int(n, "lower", &lower) || !sm_arg_int(n, "upper", &upper))
        return false;
    sm_meaning m = {.kind = M_WHERE, .made = true, .seen = f, .causal = upper == 0};
    bool across = lower == 0 && upper != 0; /* the axis behind is the one that is not before: rows */
    if (across) {
        m.causal = true;
        m.window = upper < 0 ? 0 : upper + 1;
    } else if (upper == 0 || upper < 0) {
        m.window = lower < 0 ? 0 : lower + 1;
    } else {
        return false;
    }
    if (!m.causal && m.window == 0)
        return false;
    sm_raise_all_ones(&m, t->rank);
    for (int i = 0; i < t->rank - 2; i++)
        if (t->dims[i] != 1)
            return false;
    m.ax[t->rank - 2] = across ? AX_KEYS : AX_TOKENS;
    m.ax[t->rank - 1] = across ? AX_TOKENS : AX_KEYS;
    return sm_raise_set(z, n, m);
}

bool sm_raise_number(const sm_raise *z, const sm_value *v, double *f) {
    const sm_meaning *m = sm_raise_of(z, v);
    if (m->kind != M_FILL)
        return sm_value_float(v, f);
    *f = m->f;
    return true;
}

/* ------------------------------------------------------------------ tables over the rows of a call */
/* Cosines or sines of every position from 0 on, [n, angles], elsewhere 1. */
bool sm_raise_own_table(sm_raise *z, sm_value *c, sm_meaning *out) {
    const sm_type *t = &c->type;
    int rows = -1, angles = -1;
    if (!z->own || c->cst == NULL || !is_read(c) || sm_dtype_kind(t->dtype) != 'f')
        return false;
    for (int i = 0; i < t->rank; i++) {
        if (t->dims[i] == 1)
            continue;
        if (angles >= 0)
            return false;
        *(rows < 0 ? &rows : &angles) = i;
    }
    if (angles < 0 || t->dims[rows] != z->n) /* rows first, in every exporter's order but channels first */
        return false;
    *out = (sm_meaning){.kind = M_COS, .n_piece = 1, .f = 1, .table = true};
    sm_raise_all_ones(out, t->rank);
    out->ax[rows] = AX_TOKENS;
    out->ax[angles] = 0;
    out->piece[0] = t->dims[angles];
    return sm_raise_table(z, c, t->dims[rows], t->dims[angles], out);
}

/* The first n rows of a constant table. */
static bool cut_table(sm_raise *z, const sm_node *n) {
    sm_value *c = sm_arg(n, "x");
    sm_dim lo[SM_MAX_RANK], hi[SM_MAX_RANK];
    bool gone[SM_MAX_RANK];
    int64_t least, most = z->n;
    int rows = -1, angles = -1, to = 0;
    if (c->cst == NULL || !is_read(c) || sm_dtype_kind(c->type.dtype) != 'f' ||
        !sm_slice_bounds(z, n, &c->type, lo, hi, gone))
        return false;
    for (int i = 0; i < c->type.rank; i++) {
        if (c->type.dims[i] == 1)
            continue;
        if (angles >= 0 || gone[i])
            return false;
        *(rows < 0 ? &rows : &angles) = i;
    }
    if (angles < 0 || lo[rows] != 0 || hi[rows] != z->n || lo[angles] != 0 || hi[angles] != c->type.dims[angles] ||
        (!sm_dim_known(z->n) && !sm_dim_bounds(z->b->g, z->n, &least, &most)) || most > c->type.dims[rows])
        return false;
    sm_meaning m = {.kind = M_COS, .n_piece = 1, .f = 1, .table = true};
    sm_raise_all_ones(&m, SM_MAX_RANK);
    m.piece[0] = c->type.dims[angles];
    for (int i = 0; i < c->type.rank; i++)
        if (!gone[i])
            m.ax[to++] = (int8_t)(i == rows ? AX_TOKENS : i == angles ? 0 : AX_ONE);
    return sm_raise_table(z, c, c->type.dims[rows], c->type.dims[angles], &m) && sm_raise_set(z, n, m);
}

/* ------------------------------------------------------------------ */
bool sm_raise_own_op(sm_raise *z, const sm_node *n) {
    if (!z->own)
        return false;
    switch (n->op) {
    case SM_OP_FILL:
    case SM_OP_FILL_LIKE:
        return fill(z, n);
    case SM_OP_ADD:
    case SM_OP_SUB:
        return ahead(z, n);
    case SM_OP_CAST:
        return fill_cast(z, n);
    case SM_OP_TILE:
        return spread(z, n);
    case SM_OP_BAND_PART:
        return band(z, n);
    case SM_OP_SLICE_BY_INDEX:
        return cut_mask(z, n) || cut_table(z, n);
    default:
        return false;
    }
}
