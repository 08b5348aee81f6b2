/* SPDX-License-Identifier: MIT
 *
 * raise.c: MIL as written -> row form: inputs, the walk, results.
 *
 * The idea is in raise_int.h.  Symbolic shape arithmetic needs no meaning: inference has evaluated it (value->sym).
 */
#include "pass/raise_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const sm_meaning no_meaning = {.kind = M_NONE};

const sm_meaning *sm_raise_arg(sm_raise *z, const sm_node *n, const char *slot) {
    const sm_value *v = sm_arg(n, slot);
    return v == NULL || v->cst != NULL ? &no_meaning : &z->m[v->id];
}

void sm_raise_set(sm_raise *z, const sm_node *n, sm_meaning m) {
    z->m[n->out[0]->id] = m;
}

sm_value *sm_raise_row(sm_raise *z, const sm_meaning *m) {
    if (m->f == 1)
        return m->row;
    return sm_build(z->b, SM_OP_MUL, NULL, "x", m->row, "y", sm_const_f(z->b, SM_FP32, m->f), NULL);
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
    int64_t ctx = t->dims[t->rank - 2];
    if (z->n_caches == SM_RAISE_CACHES || !sm_dim_known(ctx) || (stacked && t->dims[0] > SM_RAISE_SLOTS))
        return SM_OK;
    sm_raise_cache *c = sm_arena_alloc(z->b->g->arena, sizeof *c);
    if (c == NULL)
        return SM_NOMEM(z->err);
    *c = (sm_raise_cache){.in = v, .state = t->kind == SM_V_STATE, .stacked = stacked, .ctx = ctx, .number = -1};
    z->m[v->id] = (sm_meaning){.kind = M_CACHE, .cache = z->n_caches};
    z->cache[z->n_caches++] = c;
    return SM_OK;
}

static sm_status read_inputs(sm_raise *z) {
    const sm_block *body = z->r.old->body;
    z->n = SM_DIM_UNKNOWN;
    for (int i = 0; i < body->n_in; i++) {
        sm_value *v = body->in[i];
        const sm_type *t = &v->type;
        if (t->kind == SM_V_TENSOR && sm_dtype_kind(t->dtype) == 'i' && t->rank == 2 && t->dims[0] == 1) {
            if (z->n == SM_DIM_UNKNOWN)
                z->n = t->dims[1];
            if (t->dims[1] == z->n)
                z->m[v->id] = (sm_meaning){.kind = M_INT};
        }
    }
    if (z->n == SM_DIM_UNKNOWN)
        return SM_OK;
    for (int i = 0; i < body->n_in; i++) {
        sm_value *v = body->in[i];
        const sm_type *t = &v->type;
        if (sm_dtype_kind(t->dtype) != 'f')
            continue;
        if (t->kind == SM_V_TENSOR && t->rank == 4 && t->dims[0] == 1 && t->dims[1] == 1 && z->old_mask == NULL) {
            z->old_mask = v;
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
static void fail(sm_raise *z, const char *fmt, const char *name) {
    if (z->info->ok)
        snprintf(z->info->why, sizeof z->info->why, fmt, name);
    z->info->ok = false;
}

/* Rows whose logits are wanted, chosen before the last norm: nothing after the last layer is computed for the others. */
static sm_value *select_rows(sm_raise *z, sm_value *x) {
    const sm_node *d = x->def;
    if (d == NULL || d->op != SM_OP_RMS_NORM)
        return sm_build(z->b, SM_OP_GATHER, NULL, "x", x, "indices", z->out, "axis", sm_const_i32(z->b, 0), NULL);
    return sm_build(z->b, SM_OP_RMS_NORM, NULL, "x", select_rows(z, sm_arg(d, "x")), "gamma", sm_arg(d, "gamma"), "eps",
                    sm_arg(d, "eps"), NULL);
}

/* The last linear over all rows becomes lm_head over the selected ones: with a soft cap when tanh follows. */
static sm_value *head(sm_raise *z, sm_value *y, const char *name) {
    double cap = 0, c = 0;
    sm_node *d = y->def;
    if (d != NULL && d->op == SM_OP_MUL && sm_value_float(d->in[1], &cap) && d->in[0]->def != NULL &&
        d->in[0]->def->op == SM_OP_TANH) {
        d = d->in[0]->def->in[0]->def;
        if (d == NULL || !sm_value_float(d->in[1], &c))
            return NULL;
        bool by_cap = (d->op == SM_OP_REAL_DIV && c == cap) || (d->op == SM_OP_MUL && fabs(cap * c - 1) < 2e-3);
        if (!by_cap)
            return NULL;
        d = d->in[0]->def;
    }
    if (d == NULL || d->op != SM_OP_LINEAR)
        return NULL;
    sm_value *x = select_rows(z, sm_arg(d, "x"));
    return sm_build(z->b, SM_OP_LM_HEAD, name, "x", x, "weight", sm_arg(d, "weight"), "bias", sm_arg(d, "bias"),
                    "softcap", cap > 0 ? sm_const_f(z->b, SM_FP32, cap) : NULL, NULL);
}

static void build_outputs(sm_raise *z) {
    const sm_block *body = z->r.old->body;
    int n_logits = 0;
    for (int i = 0; i < body->n_out && z->info->ok && z->b->st == SM_OK; i++) {
        const sm_value *v = body->out[i];
        const sm_meaning *m = &z->m[v->id];
        if (m->kind == M_FRESH)
            continue;
        if (m->kind != M_ROWS || m->f != 1 || m->row->type.rank != 2) {
            fail(z, "output '%s' is not made of parts of a decoder that are known here", v->name);
            return;
        }
        sm_value *y = head(z, m->row, "logits");
        if (y == NULL && z->b->st == SM_OK)
            fail(z, "output '%s' does not end in a projection to the vocabulary", v->name);
        else
            sm_build_output(z->b, y, NULL);
        n_logits++;
    }
    if (z->info->ok && n_logits != 1)
        fail(z, "%sthe program has not exactly one output of logits", "");
    if (z->info->ok && z->old_ids == NULL)
        fail(z, "%sno input is used as token ids", "");
}

/* Input caches must come back as new columns, states must all be written: otherwise a cache would silently stay old. */
static void check_caches(sm_raise *z) {
    for (int i = 0; i < z->n_caches && z->info->ok; i++) {
        const sm_raise_cache *c = z->cache[i];
        int64_t slots = c->stacked ? c->in->type.dims[0] : 1;
        for (int64_t s = 0; s < slots && z->info->ok; s++)
            if (c->row[s] == NULL)
                fail(z, "cache '%s' is not written in a way that is known here", c->in->name);
        z->info->ctx = z->info->ctx == 0 ? c->ctx : SM_MIN(z->info->ctx, c->ctx);
    }
    int64_t lo, hi;
    if (sm_dim_known(z->n))
        z->info->seq_max = z->n;
    else if (sm_dim_bounds(z->b->g, z->n, &lo, &hi))
        z->info->seq_max = hi;
}

static void walk(sm_raise *z) {
    for (const sm_node *n = z->r.old->body->first; n != NULL && z->b->st == SM_OK && z->info->ok; n = n->next) {
        if (n->n_blocks > 0) {
            fail(z, "op %s: control flow", sm_op_row_of(n->op)->name);
            return;
        }
        sm_raise_cache_op(z, n);
        if (n->n_out > 0 && z->m[n->out[0]->id].kind == M_NONE)
            sm_raise_turn_op(z, n);
        if (n->n_out > 0 && z->m[n->out[0]->id].kind == M_NONE)
            sm_raise_rows_op(z, n);
    }
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
    z->m = sm_alloc_n(f->graph->n_values, sizeof *z->m);
    z->cache = sm_alloc_n(SM_RAISE_CACHES, sizeof(sm_raise_cache *));
    sm_status st = z->m == NULL || z->cache == NULL ? SM_NOMEM(err) : sm_rebuild_start_bare(&z->r, f, 0, err);
    if (st == SM_OK) {
        z->b = &z->r.b;
        st = read_inputs(z);
        if (st == SM_OK && z->n == SM_DIM_UNKNOWN)
            fail(z, "%sno int32 input [1, n] that could be token ids", "");
        build_inputs(z);
        if (st == SM_OK)
            walk(z);
        if (info->ok && z->b->st == SM_OK)
            build_outputs(z);
        check_caches(z);
        bool raised = info->ok;
        if (!raised && st == SM_OK)
            st = SM_FAILED; /* abandons the half-built function */
        st = sm_rebuild_end_bare(&z->r, st, out, err);
        if (st == SM_FAILED && !raised)
            st = SM_OK;
        if (st == SM_BADINPUT && raised) { /* the meanings did not fit together: not a decoder as we know it */
            snprintf(info->why, sizeof info->why, "%s", err != NULL ? err->msg : "inconsistent");
            info->ok = false;
            st = SM_OK;
        }
        if (st == SM_OK && !info->ok)
            *out = NULL;
    }
    sm_free(z->m);
    sm_free(z->cache);
    sm_free(z);
    return st;
}
