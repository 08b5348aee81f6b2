/* SPDX-License-Identifier: MIT
 *
 * raise_io.c: what a program's inputs may be, and what its results must be.
 *
 * Inputs are told apart by type: integers over tokens, a mask [1, 1, n, keys], caches.  A role that types do not settle is
 * settled by the first use.
 */
#include "pass/raise_int.h"

#include <math.h>
#include <string.h>

#include "base/number.h"

/* ------------------------------------------------------------------ what an input is used for */
enum {
    USE_SUM = 1,     /* add, select, minimum ..., the mask of attention */
    USE_PRODUCT = 2, /* mul, sub: flags */
    USE_STORE = 4,   /* joined, updated, multiplied as keys */
    USE_OTHER = 8,
};

static bool is_move(sm_op op) {
    switch (op) {
    case SM_OP_CAST:
    case SM_OP_IDENTITY:
    case SM_OP_RESHAPE:
    case SM_OP_TRANSPOSE:
    case SM_OP_EXPAND_DIMS:
    case SM_OP_SQUEEZE:
    case SM_OP_SLICE_BY_INDEX:
    case SM_OP_SLICE_BY_SIZE:
    case SM_OP_SPLIT:
    case SM_OP_GATHER:
    case SM_OP_TILE:
        return true;
    default:
        return false;
    }
}

static unsigned use_of(const sm_node *n, const sm_value *v) {
    switch (n->op) {
    case SM_OP_ADD:
    case SM_OP_SELECT:
    case SM_OP_MINIMUM:
    case SM_OP_MAXIMUM:
        return USE_SUM;
    case SM_OP_SDPA:
        return sm_arg(n, "attn_mask") == v ? USE_SUM : USE_STORE;
    case SM_OP_MUL:
    case SM_OP_SUB:
        return n->in[0] == n->in[1] ? USE_OTHER : USE_PRODUCT; /* squares are of rows */
    case SM_OP_CONCAT:
    case SM_OP_MATMUL:
    case SM_OP_EINSUM:
    case SM_OP_SLICE_UPDATE:
    case SM_OP_SCATTER:
    case SM_OP_SCATTER_ND:
    case SM_OP_SCATTER_ALONG_AXIS:
        return USE_STORE;
    case SM_OP_SHAPE: /* extents */
        return 0;
    default:
        return USE_OTHER;
    }
}

/* What becomes of v, moves passed. */
static unsigned uses_of(const sm_raise *z, const sm_value *v, bool *seen) {
    unsigned use = 0;
    memset(seen, 0, z->n_values * sizeof *seen);
    seen[v->id] = true;
    for (const sm_node *n = z->r.old->body->first; n != NULL; n = n->next) {
        const sm_value *hit = NULL;
        for (int i = 0; i < sm_op_row_of(n->op)->n_slots; i++)
            if (n->in[i] != NULL && seen[n->in[i]->id])
                hit = n->in[i];
        for (int i = 0; i < n->n_list; i++)
            if (seen[n->list[i]->id])
                hit = n->list[i];
        if (hit != NULL && is_move(n->op) && hit == n->in[0])
            for (int i = 0; i < n->n_out; i++)
                seen[n->out[i]->id] = true;
        else if (hit != NULL)
            use |= use_of(n, hit);
    }
    return use;
}

/* ------------------------------------------------------------------ inputs */
static sm_status add_cache(sm_raise *z, sm_value *v) {
    if (z->n_caches == SM_RAISE_CACHES)
        return SM_OK;
    sm_raise_cache *c = sm_arena_alloc(z->b->g->arena, sizeof *c);
    if (c == NULL)
        return SM_NOMEM(z->err);
    *c = (sm_raise_cache){.in = v, .state = v->type.kind == SM_V_STATE};
    sm_meaning m = {.kind = M_CACHE, .cache = z->n_caches};
    for (int i = 0; i < v->type.rank; i++)
        m.ax[i] = (int8_t)i;
    z->m[v->id] = m;
    z->cache[z->n_caches++] = c;
    return SM_OK;
}

static bool is_ints(const sm_type *t) {
    return t->kind == SM_V_TENSOR && (sm_dtype_kind(t->dtype) == 'i' || sm_dtype_kind(t->dtype) == 'u');
}

/* The axis of tokens of rows [1, n, d] or [1, d, 1, n]; -1: they are none. */
static int rows_axis(const sm_type *t) {
    if (t->kind != SM_V_TENSOR || sm_dtype_kind(t->dtype) != 'f' || t->rank < 3 || t->rank > 4 || t->dims[0] != 1)
        return -1;
    if (t->rank == 3)
        return sm_dim_known(t->dims[2]) && t->dims[2] > 1 ? 1 : -1;
    return t->dims[2] == 1 && sm_dim_known(t->dims[1]) && t->dims[1] > 1 ? 3 : -1;
}

/* The first integer input [1, n] says what n is; else the first rows, else the longest [n]. */
static void read_ints(sm_raise *z, const sm_block *body) {
    z->n = SM_DIM_UNKNOWN;
    for (int i = 0; i < body->n_in && z->n == SM_DIM_UNKNOWN; i++) {
        const sm_type *t = &body->in[i]->type;
        if (is_ints(t) && t->rank == 2 && t->dims[0] == 1 && t->dims[1] != 0 &&
            !sm_raise_is_flags(z->r.old, body->in[i]))
            z->n = t->dims[1];
    }
    for (int i = 0; i < body->n_in && z->n == SM_DIM_UNKNOWN; i++) {
        int axis = rows_axis(&body->in[i]->type);
        if (axis >= 0)
            z->n = body->in[i]->type.dims[axis];
    }
    for (int i = 0; i < body->n_in; i++) {
        sm_value *v = body->in[i];
        const sm_type *t = &v->type;
        bool rows = t->rank == 2 && t->dims[0] == 1 && t->dims[1] == z->n;
        bool line = t->rank == 1 && t->dims[0] == z->n;
        if (is_ints(t) && t->rank == 2 && t->dims[0] == 1 && sm_raise_is_flags(z->r.old, v)) {
            sm_meaning there = {.kind = M_WHERE, .seen = 1};
            there.ax[0] = AX_ONE;
            there.ax[1] = AX_KEYS;
            z->m[v->id] = there;
            continue;
        }
        if (!is_ints(t) || (!rows && !line))
            continue;
        sm_meaning m = {.kind = M_INT, .row = v};
        sm_raise_all_ones(&m, t->rank);
        if (!sm_raise_single(z))
            m.ax[t->rank - 1] = AX_TOKENS;
        z->m[v->id] = m;
    }
}

/* A mask: rows and keys in two axes, in the order [.., n, keys], else [.., keys, .., n].  The rows of one token are no
 * axis, and then keys are the only one. */
static bool mask_roles(const sm_raise *z, const sm_type *t, sm_meaning *m) {
    int rows = -1, keys = -1;
    sm_raise_all_ones(m, t->rank);
    for (int i = 0; i < t->rank; i++) {
        if (t->dims[i] == 1)
            continue;
        if (rows < 0 && t->dims[i] == z->n && !sm_raise_single(z))
            rows = i;
        else if (keys < 0)
            keys = i;
        else
            return false;
    }
    if (keys < 0 || (rows < 0 && !sm_raise_single(z)))
        return false;
    m->ax[keys] = AX_KEYS;
    if (rows >= 0)
        m->ax[rows] = AX_TOKENS;
    return t->rank >= 2;
}

/* Cosines or sines that the host makes: of which frequencies, the hints say. */
static bool given_table(sm_raise *z, sm_value *v) {
    const sm_raise_hints *h = z->hints;
    for (int i = 0; h != NULL && i < h->n_turns; i++) {
        const sm_raise_turn *t = &h->turn[i];
        bool sine = strcmp(t->sin, v->name) == 0;
        if (!sine && strcmp(t->cos, v->name) != 0)
            continue;
        sm_meaning m = {.kind = sine ? M_SIN : M_COS, .f = t->scale, .full = true, .n_piece = 1};
        m.piece[0] = 2 * t->half;
        sm_raise_all_ones(&m, v->type.rank);
        for (int k = 0, angle = 0, rows = 0; k < v->type.rank; k++) {
            bool both = z->n == m.piece[0] && v->type.rank == 4; /* [1, rot, 1, n] or [1, 1, n, rot] */
            if (v->type.dims[k] == 1)
                continue;
            if (!angle && v->type.dims[k] == m.piece[0] && (!both || v->type.dims[2] == 1 || k == 3)) {
                m.ax[k] = 0;
                angle = 1;
            } else if (!rows && v->type.dims[k] == z->n && !sm_raise_single(z)) {
                m.ax[k] = AX_TOKENS;
                rows = 1;
            }
        }
        m.freq = sm_raise_freq(z, t->inv_freq, t->half);
        return m.freq != NULL && sm_raise_give(z, v, m);
    }
    return false;
}

static sm_status read_float(sm_raise *z, sm_value *v, bool *seen) {
    const sm_type *t = &v->type;
    sm_meaning m = {.kind = M_WHERE, .given = true, .causal = true};
    if (t->kind == SM_V_STATE)
        return add_cache(z, v);
    if (given_table(z, v))
        return SM_OK;
    for (int i = 0; z->hints != NULL && i < z->hints->n_masks; i++)
        if (strcmp(z->hints->mask[i].name, v->name) == 0)
            m.window = z->hints->mask[i].window;
    unsigned use = uses_of(z, v, seen);
    bool mask = mask_roles(z, t, &m);
    if (mask && (use & USE_SUM) && !(use & (USE_STORE | USE_OTHER))) {
        z->m[v->id] = m;
        return SM_OK;
    }
    if (mask && sm_raise_single(z) && use == USE_PRODUCT) { /* where the one row stands */
        m.kind = M_ONE_HOT;
        m.causal = false;
        z->m[v->id] = m;
        return SM_OK;
    }
    int axis = rows_axis(t);
    if (axis >= 0 && t->dims[axis] == z->n && z->rows_in == NULL && z->ids != NULL &&
        (use & (USE_OTHER | USE_PRODUCT))) {
        sm_dim d = t->dims[axis == 1 ? 2 : 1];
        sm_type rows = {.kind = SM_V_TENSOR, .dtype = SM_FP32, .rank = 2, .dims = {z->ids->type.dims[0], d}};
        z->rows_in = sm_build_input(z->b, "rows", rows);
        sm_meaning like = {.kind = M_ROWS};
        sm_raise_all_ones(&like, t->rank);
        if (!sm_raise_single(z))
            like.ax[axis] = AX_TOKENS;
        like.ax[axis == 1 ? 2 : 1] = 0;
        if (z->rows_in != NULL)
            sm_raise_give(z, v, sm_raise_whole(&like, z->rows_in));
        return SM_OK;
    }
    return t->rank >= 3 ? add_cache(z, v) : SM_OK;
}

sm_status sm_raise_inputs(sm_raise *z) {
    const sm_block *body = z->r.old->body;
    sm_status st = SM_OK;
    read_ints(z, body);
    if (z->n == SM_DIM_UNKNOWN)
        return SM_OK;
    sm_graph *g = z->b->g;
    sm_dim t = sm_dim_symbol(g, "t", 1, -1), r = sm_dim_symbol(g, "r", 0, -1);
    sm_type rows = {.kind = SM_V_TENSOR, .dtype = SM_INT32, .rank = 1, .dims = {t}};
    sm_type outs = {.kind = SM_V_TENSOR, .dtype = SM_INT32, .rank = 1, .dims = {r}};
    sm_type batch = {.kind = SM_V_BATCH};
    z->ids = sm_build_input(z->b, "ids", rows);
    z->pos = sm_build_input(z->b, "pos", rows);
    z->out = sm_build_input(z->b, "out", outs);
    z->batch = sm_build_input(z->b, "batch", batch);
    bool *seen = sm_alloc_n(z->n_values, sizeof *seen);
    if (seen == NULL)
        return SM_NOMEM(z->err);
    for (int i = 0; i < body->n_in && st == SM_OK; i++)
        if (body->in[i]->type.kind != SM_V_BATCH && sm_dtype_kind(body->in[i]->type.dtype) == 'f')
            st = read_float(z, body->in[i], seen);
    sm_free(seen);
    z->own = st == SM_OK && z->n_caches == 0 && !sm_raise_single(z);
    return st;
}

/* ------------------------------------------------------------------ results */
/* Rows whose logits are wanted, chosen before the last norm: nothing after the last layer is computed for the others. */
static sm_value *select_rows(sm_raise *z, sm_value *x) {
    const sm_node *d = x->def;
    bool norm = d != NULL && d->op == SM_OP_RMS_NORM;
    sm_value *y = sm_build(z->b, SM_OP_GATHER, NULL, "x", norm ? sm_arg(d, "x") : x, "indices", z->out, "axis",
                           sm_const_i32(z->b, 0), NULL);
    return norm ? sm_build(z->b, SM_OP_RMS_NORM, NULL, "x", y, "gamma", sm_arg(d, "gamma"), "eps", sm_arg(d, "eps"),
                           NULL)
                : y;
}

/* cap * tanh(x / cap) of a linear: the cap, and the linear in *d.  0: not capped; -1: something else. */
static double soft_cap(const sm_node **d) {
    const sm_node *mul = *d, *tanh = mul->op == SM_OP_MUL && mul->in[0]->def != NULL ? mul->in[0]->def : NULL;
    double cap = 0, c = 0;
    if (tanh == NULL || tanh->op != SM_OP_TANH || !sm_value_float(mul->in[1], &cap))
        return 0;
    const sm_node *in = tanh->in[0]->def;
    if (in == NULL || (in->op != SM_OP_REAL_DIV && in->op != SM_OP_MUL) || !sm_value_float(in->in[1], &c))
        return -1;
    /* 1 / cap may have been rounded to fp16, and so may cap */
    bool by_cap = in->op == SM_OP_REAL_DIV ? c == cap : fabs(cap * c - 1) < 1e-3;
    if (!(cap > 0) || !by_cap || in->in[0]->def == NULL)
        return -1;
    *d = in->in[0]->def;
    return cap;
}

/* The last linear over all rows becomes lm_head over the selected ones, of all pieces of the vocabulary: with a soft cap
 * when tanh follows. */
static sm_value *head(sm_raise *z, const sm_raise_piece *p, int n) {
    sm_value *w[SM_RAISE_HEADS], *bias = NULL, *rows = NULL;
    double cap = 0;
    for (int i = 0; i < n; i++) {
        sm_value *row = sm_raise_flat(z, p[i].row);
        const sm_node *d = row != NULL ? row->def : NULL;
        double c = d != NULL ? soft_cap(&d) : -1;
        if (c < 0 || d->op != SM_OP_LINEAR || (i > 0 && (sm_arg(d, "x") != rows || c != cap)))
            return NULL;
        rows = sm_arg(d, "x");
        cap = c;
        w[i] = sm_arg(d, "weight");
        bias = sm_arg(d, "bias");
        if (bias != NULL && n > 1)
            return NULL;
    }
    sm_value *weight = sm_raise_weight_join(z, w, n);
    if (weight == NULL)
        return NULL;
    return sm_build(z->b, SM_OP_LM_HEAD, "logits", "x", select_rows(z, rows), "weight", weight, "bias", bias, "softcap",
                    cap > 0 ? sm_const_f(z->b, SM_FP32, cap) : NULL, NULL);
}

/* ------------------------------------------------------------------ what is picked of logits */
static bool remember(sm_raise *z, const sm_meaning *x, int64_t *at) {
    for (int i = 0; i < z->n_logits; i++)
        if (z->logits[i].row == x->row) {
            *at = i;
            return true;
        }
    if (z->n_logits == SM_RAISE_HEADS)
        return false;
    *at = z->n_logits;
    z->logits[z->n_logits++] = (sm_raise_piece){x->row, -1};
    return true;
}

bool sm_raise_head_op(sm_raise *z, const sm_node *n) {
    sm_meaning m = {.kind = M_PICKED, .lo = -1};
    const sm_meaning *x = sm_raise_of(z, n->n_list > 0                      ? n->list[0]
                                         : sm_op_row_of(n->op)->n_slots > 0 ? n->in[0]
                                                                            : NULL);
    bool picks = n->op == SM_OP_REDUCE_ARGMAX || n->op == SM_OP_REDUCE_MAX || n->op == SM_OP_TOPK;
    if (x->kind == M_ROWS && picks && sm_is_whole(x) && x->f == 1) {
        if (!remember(z, x, &m.lo))
            return false;
    } else if (x->kind == M_PICKED) {
        int64_t first;
        m.lo = n->n_list > 0 || picks || n->op == SM_OP_GATHER_ALONG_AXIS ? -1 : x->lo;
        bool ordered = n->op == SM_OP_CONCAT && n->n_list == z->n_logits && n->n_list > 1;
        for (int i = 0; i < n->n_list; i++)
            ordered &= sm_raise_of(z, n->list[i])->kind == M_PICKED && sm_raise_of(z, n->list[i])->lo == i;
        z->in_order |= ordered;
        if (n->op == SM_OP_ADD && m.lo >= 0 && sm_value_int(sm_arg(n, "y"), &first))
            z->logits[m.lo].first = first;
    } else {
        return false;
    }
    for (int i = 0; i < n->n_out; i++)
        z->m[n->out[i]->id] = m;
    return true;
}

/* ------------------------------------------------------------------ */
/* Several outputs of logits are pieces of the vocabulary, in the order of the numbers behind their names: nothing else
 * tells them from other results. */
static bool sort_pieces(sm_raise_piece *p, const char *const *name, int n) {
    size_t stem, first;
    int64_t order[SM_RAISE_HEADS];
    sm_number_behind(name[0], &first);
    for (int i = 0; i < n; i++) {
        order[i] = sm_number_behind(name[i], &stem);
        if (order[i] < 0 || stem != first || strncmp(name[i], name[0], stem) != 0)
            return false;
    }
    for (int i = 1; i < n; i++)
        for (int k = i; k > 0 && order[k - 1] > order[k]; k--) {
            sm_raise_piece t = p[k];
            int64_t o = order[k];
            p[k] = p[k - 1];
            order[k] = order[k - 1];
            p[k - 1] = t;
            order[k - 1] = o;
        }
    return true;
}

/* What is picked must say where each piece begins, or be listed piece by piece. */
static bool pieces_in_order(const sm_raise *z) {
    int64_t at = 0;
    bool told = false;
    for (int i = 0; i < z->n_logits; i++)
        told |= z->logits[i].first >= 0;
    if (!told && z->in_order)
        return true;
    for (int i = 0; i < z->n_logits; i++) {
        if (z->logits[i].first != at && (i > 0 || z->logits[i].first != -1))
            return false;
        at += sm_raise_features(z->logits[i].row);
    }
    return true;
}

/* Logits; or rows, of a part of a model: those as wide as the ones that come in, or that no projection made. */
static void build_result(sm_raise *z, const sm_raise_piece *piece, int n, const char *name) {
    int64_t width = sm_raise_features(piece[0].row);
    bool through = z->rows_in != NULL && n == 1 && width == z->rows_in->type.dims[1];
    sm_value *y = through ? NULL : head(z, piece, n);
    z->info->rows_in = z->old_ids == NULL && z->rows_in != NULL ? z->rows_in->type.dims[1] : 0;
    if (y == NULL && n == 1 && z->b->st == SM_OK) { /* residual stream: somebody else's rows */
        y = sm_raise_flat(z, piece[0].row);
        z->info->rows_out = width;
    }
    z->info->part = z->info->rows_in > 0 || z->info->rows_out > 0;
    if (z->rows_in != NULL && z->old_ids != NULL)
        sm_raise_fail(z, "the program takes both token ids and rows");
    else if (y == NULL && z->b->st == SM_OK)
        sm_raise_fail(z, "output '%s' does not end in a projection to the vocabulary", name);
    else
        sm_build_output(z->b, y, NULL);
}

void sm_raise_outputs(sm_raise *z) {
    const sm_block *body = z->r.old->body;
    sm_raise_piece piece[SM_RAISE_HEADS];
    const char *name[SM_RAISE_HEADS], *picked = NULL;
    int64_t lo, hi;
    int n = 0;
    for (int i = 0; i < body->n_out && z->info->ok && z->b->st == SM_OK; i++) {
        const sm_value *v = body->out[i];
        const sm_meaning *m = sm_raise_of(z, v);
        if (m->kind != M_NONE && sm_returns_cache(z, v))
            continue;
        if (m->kind == M_PICKED) {
            picked = v->name;
            continue;
        }
        if (m->kind != M_ROWS || m->f != 1 || !sm_is_whole(m) || n == SM_RAISE_HEADS) {
            sm_raise_fail(z, "output '%.80s' is not made of parts of a decoder that are known here%s%s", v->name,
                          z->near[0] != 0 ? ": " : "", z->near);
            return;
        }
        name[n] = v->name;
        piece[n++] = (sm_raise_piece){m->row, -1};
    }
    if (n == 0 && picked != NULL && z->info->ok) {
        if (!pieces_in_order(z))
            sm_raise_fail(z, "output '%s' picks of pieces of a vocabulary whose order is not known here", picked);
        n = z->n_logits;
        memcpy(piece, z->logits, sizeof piece);
    } else if (n > 1 && !sort_pieces(piece, name, n)) {
        sm_raise_fail(z, "outputs '%s' and '%s' are no numbered pieces of one vocabulary", name[0], name[1]);
    }
    if (z->info->ok && n == 0)
        sm_raise_fail(z, "the program has no output of logits");
    if (z->info->ok && z->b->st == SM_OK)
        build_result(z, piece, n, picked != NULL ? picked : name[0]);
    if (z->info->ok && z->old_ids == NULL && z->rows_in == NULL)
        sm_raise_fail(z, "no input is used as token ids");
    if (sm_dim_known(z->n))
        z->info->seq_max = z->n;
    else if (sm_dim_bounds(z->b->g, z->n, &lo, &hi))
        z->info->seq_max = hi;
    if (z->own && z->n_attention > 0) /* a call is a whole text */
        z->info->ctx = SM_MAX(z->info->seq_max, 0);
}
