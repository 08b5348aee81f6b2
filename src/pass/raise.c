/* SPDX-License-Identifier: MIT
 *
 * raise.c: MIL as written -> row form: inputs, the walk, results.
 *
 * The idea is in raise_int.h.  Symbolic shape arithmetic needs no meaning: inference has evaluated it (value->sym).
 */
#include "pass/raise_int.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/number.h"

static const sm_meaning no_meaning = {.kind = M_NONE};

const sm_meaning *sm_raise_arg(sm_raise *z, const sm_node *n, const char *slot) {
    const sm_value *v = sm_arg(n, slot);
    return v == NULL || v->cst != NULL ? &no_meaning : &z->m[v->id];
}

/* ------------------------------------------------------------------ types that meanings have */
bool sm_is_plane(const sm_type *t, sm_dim a, sm_dim b) {
    int r = t->rank;
    if (r < 2 || t->dims[r - 2] != a || t->dims[r - 1] != b)
        return false;
    for (int i = 0; i < r - 2; i++)
        if (t->dims[i] != 1)
            return false;
    return true;
}

bool sm_is_mask(const sm_raise *z, const sm_type *t, sm_dim keys) {
    if (t->rank < 2)
        return false;
    sm_dim n = t->dims[t->rank - 2];
    bool rows = n == z->n || (!sm_dim_known(n) && !sm_dim_known(z->n));
    return rows && sm_is_plane(t, n, keys);
}

/* Only one extent is not 1: n. */
static bool is_line(const sm_type *t, sm_dim n) {
    int found = 0;
    for (int i = 0; i < t->rank; i++) {
        if (t->dims[i] != 1 && t->dims[i] != n)
            return false;
        found += t->dims[i] == n;
    }
    return found > 0 && (n == 1 || found == 1);
}

/* Product of the axes before the last two; 0 when it is not a number. */
static int64_t leading(const sm_type *t) {
    int64_t n = 1;
    for (int i = 0; i < t->rank - 2; i++)
        if (!sm_dim_known(t->dims[i]) || t->dims[i] < 1 || __builtin_mul_overflow(n, t->dims[i], &n))
            return 0;
    return n;
}

static bool is_heads(const sm_raise *z, const sm_type *t, const sm_value *row, sm_dim last) {
    return row->type.rank == 3 && t->rank == 4 && t->dims[2] == z->n && t->dims[3] == last && leading(t) > 0 &&
           leading(t) == row->type.dims[1];
}

/* row [t, a.., d] as [1, n, a.., last], or heads first. */
static bool is_layout(const sm_raise *z, const sm_type *t, const sm_value *row, bool heads, sm_dim last) {
    const sm_type *r = &row->type;
    if (heads)
        return is_heads(z, t, row, last);
    if (r->rank < 2 || t->rank != r->rank + 1 || t->dims[0] != 1 || t->dims[1] != z->n)
        return false;
    for (int i = 1; i < r->rank - 1; i++)
        if (t->dims[i + 1] != r->dims[i])
            return false;
    return t->dims[t->rank - 1] == last;
}

static bool angle_fits(const sm_raise *z, const sm_type *t, const sm_meaning *m) {
    if (m->freq == NULL)
        return false;
    int64_t half = m->freq->type.dims[0];
    return m->turned ? sm_is_plane(t, half, z->n) : sm_is_plane(t, z->n, m->full ? 2 * half : half);
}

static bool cache_fits(const sm_raise *z, const sm_type *t, const sm_meaning *m) {
    const sm_type *c = &z->cache[m->cache]->in->type;
    switch (m->kind) {
    case M_KV:
        return t->rank >= 4 && leading(t) > 0 && m->row->type.rank == 3 && sm_dim_known(m->row->type.dims[1]) &&
               m->row->type.dims[1] > 0 && leading(t) % m->row->type.dims[1] == 0 &&
               t->dims[t->rank - 1] == m->row->type.dims[2];
    case M_SLOT:
        return t->rank == 4 && t->dims[2] == c->dims[c->rank - 2];
    default:
        if (t->rank != c->rank)
            return false;
        for (int i = 0; i < c->rank; i++)
            if (t->dims[i] != c->dims[i])
                return false;
        return true;
    }
}

static bool fits(const sm_raise *z, const sm_type *t, const sm_meaning *m) {
    sm_dim d = m->row != NULL && m->row->type.rank > 0 ? m->row->type.dims[m->row->type.rank - 1] : 0;
    switch (m->kind) {
    case M_NONE:
        return true;
    case M_ROWS:
    case M_HEADS:
        return is_layout(z, t, m->row, m->kind == M_HEADS, d);
    case M_NEG:
        return is_layout(z, t, m->row, m->heads, m->hi < 0 ? d : m->hi - m->lo);
    case M_PART:
        return m->lo >= 0 && m->hi > m->lo && is_heads(z, t, m->row, m->hi - m->lo);
    case M_SQUARE:
        return is_layout(z, t, m->row, m->heads, d);
    case M_MEAN:
    case M_MEAN_EPS:
    case M_INV_RMS:
        return is_layout(z, t, m->row, m->heads, 1);
    case M_PLUS_MINUS:
    case M_PM_NORM:
        return sm_dim_known(d) && is_layout(z, t, m->row, m->heads, 2 * d);
    case M_INT:
        return t->rank == 2 && t->dims[0] == 1 && t->dims[1] == z->n;
    case M_POS:
        return is_line(t, z->n);
    case M_KEY_POS:
        return t->rank == 1 || sm_is_plane(t, 1, t->dims[t->rank - 1]);
    case M_ANGLE:
    case M_COS:
    case M_SIN:
        return angle_fits(z, t, m);
    case M_ROTATED:
    case M_TIMES_COS:
    case M_TIMES_SIN:
    case M_TURNED:
        return is_heads(z, t, m->row, m->hi);
    case M_BACK:
    case M_FAR:
        return t->rank >= 2 && sm_is_plane(t, z->n, t->dims[t->rank - 1]);
    case M_MASK:
        return t->rank >= 2 && sm_is_mask(z, t, t->dims[t->rank - 1]);
    case M_CACHE:
    case M_UPDATED:
    case M_SLOT:
    case M_KV:
        return cache_fits(z, t, m);
    case M_FRESH:
        return true;
    case M_SCORES:
    case M_PROBS:
        return t->rank == 4 && is_heads(z, t, m->row, t->dims[3]);
    }
    return false;
}

void sm_raise_set(sm_raise *z, const sm_node *n, sm_meaning m) {
    const sm_value *v = n->out[0];
    if (z->b->st == SM_OK && fits(z, &v->type, &m))
        z->m[v->id] = m;
}

sm_value *sm_raise_row(sm_raise *z, const sm_meaning *m) {
    if (m->f == 1)
        return m->row;
    return sm_build(z->b, SM_OP_MUL, NULL, "x", m->row, "y", sm_const_f(z->b, SM_FP32, m->f), NULL);
}

float *sm_raise_floats(sm_raise *z, const sm_value *c, size_t *n) {
    if (c->cst->src.part[SM_PART_DATA].p == NULL) /* a program read without its weights */
        return NULL;
    float *x = sm_const_decode(c->cst, n);
    if (x == NULL && z->b->st == SM_OK)
        z->b->st = SM_NOMEM(&z->b->err);
    return x;
}

bool sm_concat_two(const sm_node *n, int64_t *axis) {
    bool interleave = false;
    if (n->n_list != 2 || n->list[0]->cst != NULL || n->list[1]->cst != NULL || !sm_arg_int(n, "axis", axis) ||
        !sm_arg_bool(n, "interleave", &interleave) || interleave)
        return false;
    if (*axis < 0)
        *axis += SM_MAX(n->list[0]->type.rank, 1);
    return true;
}

bool sm_is_last_axis(const sm_value *v, int64_t axis) {
    return axis == -1 || axis == v->type.rank - 1;
}

static bool bool_vector(const sm_node *n, const char *slot, bool *out, int rank) {
    int64_t v[SM_MAX_RANK];
    int got = 0;
    for (int i = 0; i < rank; i++)
        out[i] = false;
    if (sm_arg(n, slot) == NULL)
        return true;
    if (!sm_arg_ints(n, slot, v, SM_MAX_RANK, &got) || got != rank)
        return false;
    for (int i = 0; i < rank; i++)
        out[i] = v[i] != 0;
    return true;
}

bool sm_slice_bounds(sm_raise *z, const sm_node *n, const sm_type *x, sm_dim *begin, sm_dim *end, bool *squeeze) {
    bool open_lo[SM_MAX_RANK], open_hi[SM_MAX_RANK];
    int64_t stride[SM_MAX_RANK];
    int got = 0;
    if (!sm_arg_dims(n, "begin", begin, SM_MAX_RANK, &got) || got != x->rank)
        return false;
    if (!sm_arg_dims(n, "end", end, SM_MAX_RANK, &got) || got != x->rank)
        return false;
    if (!bool_vector(n, "begin_mask", open_lo, x->rank) || !bool_vector(n, "end_mask", open_hi, x->rank) ||
        !bool_vector(n, "squeeze_mask", squeeze, x->rank))
        return false;
    if (sm_arg(n, "stride") != NULL) {
        if (!sm_arg_ints(n, "stride", stride, SM_MAX_RANK, &got) || got != x->rank)
            return false;
        for (int i = 0; i < x->rank; i++)
            if (stride[i] != 1)
                return false;
    }
    for (int i = 0; i < x->rank; i++) {
        if (open_lo[i])
            begin[i] = 0;
        else if (sm_dim_known(begin[i]) && begin[i] < 0)
            begin[i] = sm_dim_add(z->b->g, x->dims[i], begin[i]);
        if (squeeze[i])
            end[i] = sm_dim_add(z->b->g, begin[i], 1);
        else if (open_hi[i])
            end[i] = x->dims[i];
        else if (sm_dim_known(end[i]) && end[i] < 0)
            end[i] = sm_dim_add(z->b->g, x->dims[i], end[i]);
    }
    return true;
}

/* ------------------------------------------------------------------ inputs */
static sm_status add_cache(sm_raise *z, sm_value *v) {
    const sm_type *t = &v->type;
    bool stacked = t->rank == 5;
    int64_t ctx = t->dims[t->rank - 2], slots = stacked ? t->dims[0] : 1;
    if (z->n_caches == SM_RAISE_CACHES || !sm_dim_known(ctx) || ctx < 1 || slots < 1 || slots > SM_RAISE_SLOTS)
        return SM_OK;
    sm_raise_cache *c = sm_arena_alloc(z->b->g->arena, sizeof *c);
    sm_raise_slot *s = sm_arena_alloc_n(z->b->g->arena, (size_t)slots, sizeof *s);
    if (c == NULL || s == NULL)
        return SM_NOMEM(z->err);
    *c = (sm_raise_cache){.in = v, .state = t->kind == SM_V_STATE, .stacked = stacked, .ctx = ctx};
    c->n_slots = (int)slots;
    c->slot = s;
    z->m[v->id] = (sm_meaning){.kind = M_CACHE, .cache = z->n_caches};
    z->cache[z->n_caches++] = c;
    return SM_OK;
}

/* The first integer input [1, n] says what n is. */
static void read_ints(sm_raise *z, const sm_block *body) {
    z->n = SM_DIM_UNKNOWN;
    for (int i = 0; i < body->n_in; i++) {
        sm_value *v = body->in[i];
        const sm_type *t = &v->type;
        if (t->kind != SM_V_TENSOR || sm_dtype_kind(t->dtype) != 'i' || t->rank != 2 || t->dims[0] != 1)
            continue;
        if (z->n == SM_DIM_UNKNOWN && t->dims[1] != 0)
            z->n = t->dims[1];
        if (t->dims[1] == z->n)
            z->m[v->id] = (sm_meaning){.kind = M_INT, .row = v};
    }
}

static sm_status read_inputs(sm_raise *z) {
    const sm_block *body = z->r.old->body;
    bool have_mask = false;
    read_ints(z, body);
    if (z->n == SM_DIM_UNKNOWN)
        return SM_OK;
    for (int i = 0; i < body->n_in; i++) {
        sm_value *v = body->in[i];
        const sm_type *t = &v->type;
        if (t->kind == SM_V_BATCH || sm_dtype_kind(t->dtype) != 'f')
            continue;
        if (!have_mask && t->kind == SM_V_TENSOR && t->rank == 4 && sm_is_mask(z, t, t->dims[3])) {
            have_mask = true;
            z->m[v->id] = (sm_meaning){.kind = M_MASK};
        } else if (t->rank == 5 || t->rank == 4) {
            SM_TRY(add_cache(z, v));
        }
    }
    return SM_OK;
}

static void build_inputs(sm_raise *z) {
    sm_graph *g = z->b->g;
    sm_dim t = sm_dim_symbol(g, "t", 1, -1), r = sm_dim_symbol(g, "r", 0, -1);
    sm_type rows = {.kind = SM_V_TENSOR, .dtype = SM_INT32, .rank = 1, .dims = {t}};
    sm_type outs = {.kind = SM_V_TENSOR, .dtype = SM_INT32, .rank = 1, .dims = {r}};
    sm_type batch = {.kind = SM_V_BATCH};
    z->ids = sm_build_input(z->b, "ids", rows);
    z->pos = sm_build_input(z->b, "pos", rows);
    z->out = sm_build_input(z->b, "out", outs);
    z->batch = sm_build_input(z->b, "batch", batch);
}

/* ------------------------------------------------------------------ results */
void sm_raise_fail(sm_raise *z, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    if (z->info->ok)
        sm_vsnprintf(z->info->why, sizeof z->info->why, fmt, ap);
    va_end(ap);
    z->info->ok = false;
}

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

/* The last linear over all rows becomes lm_head over the selected ones: with a soft cap when tanh follows. */
static sm_value *head(sm_raise *z, sm_value *y) {
    const sm_node *d = y->def;
    double cap = d != NULL ? soft_cap(&d) : -1;
    if (cap < 0 || d->op != SM_OP_LINEAR)
        return NULL;
    sm_value *x = select_rows(z, sm_arg(d, "x"));
    return sm_build(z->b, SM_OP_LM_HEAD, "logits", "x", x, "weight", sm_arg(d, "weight"), "bias", sm_arg(d, "bias"),
                    "softcap", cap > 0 ? sm_const_f(z->b, SM_FP32, cap) : NULL, NULL);
}

/* Is m what an input cache's host stores: the new columns of all its slots, in order, or of its only one? */
static bool returns_columns(sm_raise *z, const sm_meaning *m) {
    sm_value *const *list = m->kind == M_FRESH ? m->stack->list : NULL;
    int n = m->kind == M_FRESH ? m->stack->n_list : 1;
    for (int i = 0; i < z->n_caches; i++) {
        sm_raise_cache *c = z->cache[i];
        bool all = !c->state && c->n_slots == n;
        for (int s = 0; s < n && all; s++) {
            const sm_meaning *col = list != NULL ? &z->m[list[s]->id] : m;
            all = col->kind == M_HEADS && col->f == 1 && col->row == c->slot[s].row;
        }
        if (all) {
            c->returned = true;
            return true;
        }
    }
    return false;
}

static void build_outputs(sm_raise *z) {
    const sm_block *body = z->r.old->body;
    int n_logits = 0;
    for (int i = 0; i < body->n_out && z->info->ok && z->b->st == SM_OK; i++) {
        const sm_value *v = body->out[i];
        const sm_meaning *m = &z->m[v->id];
        if ((m->kind == M_FRESH || m->kind == M_HEADS) && returns_columns(z, m))
            continue;
        if (m->kind != M_ROWS || m->f != 1 || m->row->type.rank != 2) {
            sm_raise_fail(z, "output '%s' is not made of parts of a decoder that are known here", v->name);
            return;
        }
        sm_value *y = head(z, m->row);
        if (y == NULL && z->b->st == SM_OK)
            sm_raise_fail(z, "output '%s' does not end in a projection to the vocabulary", v->name);
        else
            sm_build_output(z->b, y, NULL);
        n_logits++;
    }
    if (z->info->ok && n_logits != 1)
        sm_raise_fail(z, "the program has not exactly one output of logits");
    if (z->info->ok && z->old_ids == NULL)
        sm_raise_fail(z, "no input is used as token ids");
}

/* A cache that is not written, or written with other rows than attention reads, would silently be another program. */
static void check_caches(sm_raise *z) {
    for (int i = 0; i < z->n_caches && z->info->ok; i++) {
        const sm_raise_cache *c = z->cache[i];
        for (int s = 0; s < c->n_slots && z->info->ok; s++)
            if (c->slot[s].row == NULL)
                sm_raise_fail(z, "cache '%s' is not written in a way that is known here", c->in->name);
            else if (c->slot[s].row != c->slot[s].used)
                sm_raise_fail(z, "cache '%s' holds other rows than attention reads", c->in->name);
        if (!c->state && !c->returned)
            sm_raise_fail(z, "new columns of cache '%s' are not a result", c->in->name);
        z->info->ctx = z->info->ctx == 0 ? c->ctx : SM_MIN(z->info->ctx, c->ctx);
    }
    int64_t lo, hi;
    if (sm_dim_known(z->n))
        z->info->seq_max = z->n;
    else if (sm_dim_bounds(z->b->g, z->n, &lo, &hi))
        z->info->seq_max = hi;
}

/* Every attention must be needed for the logits: its slot number would be a hole. */
static sm_status check_slots(sm_raise *z) {
    sm_kv_slot slots[SM_RAISE_SLOTS];
    SM_TRY(sm_func_remove_dead(z->r.f, z->err));
    if (z->n_attention == 0)
        sm_raise_fail(z, "the program has no attention with caches that is known here");
    else if (sm_func_kv_slots(z->r.f, slots, SM_RAISE_SLOTS) != z->n_attention)
        sm_raise_fail(z, "an attention does not lead to the logits");
    return SM_OK;
}

static void walk(sm_raise *z) {
    for (const sm_node *n = z->r.old->body->first; n != NULL && z->b->st == SM_OK && z->info->ok; n = n->next) {
        if (n->n_blocks > 0) {
            sm_raise_fail(z, "op %s: control flow", sm_op_row_of(n->op)->name);
            return;
        }
        sm_raise_cache_op(z, n);
        if (n->n_out > 0 && z->m[n->out[0]->id].kind == M_NONE)
            sm_raise_turn_op(z, n);
        if (n->n_out > 0 && z->m[n->out[0]->id].kind == M_NONE)
            sm_raise_rows_op(z, n);
    }
}

/* Builds the row function; info->ok says whether that came out. */
static sm_status raise_body(sm_raise *z) {
    SM_TRY(read_inputs(z));
    if (z->n == SM_DIM_UNKNOWN) {
        sm_raise_fail(z, "no integer input [1, n] that could be token ids");
        return SM_OK;
    }
    build_inputs(z);
    walk(z);
    if (z->info->ok && z->b->st == SM_OK)
        build_outputs(z);
    check_caches(z);
    if (z->info->ok && z->b->st == SM_OK)
        SM_TRY(check_slots(z));
    if (z->b->st == SM_RESOURCE)
        return sm_build_end(z->b, z->err);
    if (z->b->st != SM_OK) /* the meanings did not fit together: not a decoder as we know it */
        sm_raise_fail(z, "%.200s", z->b->err.msg);
    return SM_OK;
}

sm_status sm_pass_raise(sm_func *f, sm_func **out, sm_raised *info, sm_err *err) {
    memset(info, 0, sizeof *info);
    *out = NULL;
    info->ok = true;
    sm_raise *z = sm_alloc(sizeof *z);
    if (z == NULL)
        return SM_NOMEM(err);
    z->info = info;
    z->err = err;
    z->m = sm_alloc_n(SM_MAX(f->graph->n_values, 1), sizeof *z->m);
    z->cache = sm_alloc_n(SM_RAISE_CACHES, sizeof(sm_raise_cache *));
    sm_status st = z->m == NULL || z->cache == NULL ? SM_NOMEM(err) : sm_rebuild_start_bare(&z->r, f, 0, err);
    if (st == SM_OK) {
        z->b = &z->r.b;
        st = raise_body(z);
        bool raised = st == SM_OK && info->ok;
        sm_status end = sm_rebuild_end_bare(&z->r, raised ? SM_OK : SM_FAILED, out, err); /* or abandons it */
        if (raised)
            st = end;
    }
    sm_free(z->m);
    sm_free(z->cache);
    sm_free(z);
    return st;
}
