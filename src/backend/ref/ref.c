/* SPDX-License-Identifier: MIT
 *
 * ref.c: the executable of `ref` and its runs.
 *
 * One interpreter for both kinds of function: values live in a table by value id, kernels (ref_ops.c) make them, the
 * plan (ref_plan.c) says when they die.  A row-form step is the same with ids, pos and out made from the batch, which
 * attention also sees, and KV pages that belong to the executable.
 *
 * Numbers are f32 between nodes whatever the declared float width; fp16 is met only where a value was stored in it
 * (constants, inputs).  What leaves (outputs, states) is FP32.
 *
 * Owns plan, pool, pages, decoded constants; borrows the function.  Threads: one run at a time; kernels share work over
 * the pool where each result element belongs to one thread, so that the thread count never shows in the numbers.
 */
#include "backend/ref/ref.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backend/ref/ref_int.h"
#include "base/log.h"

/* ---- one node ---- */

static bool is_lazy(const ref_op *op, const char *slot) {
    for (size_t i = 0; i < SM_ARRAY_LEN(op->lazy) && op->lazy[i] != NULL; i++)
        if (strcmp(op->lazy[i], slot) == 0)
            return true;
    return false;
}

static sm_status operand(sm_exe *e, const sm_value *v, ref_val *tmp, const ref_val **out, sm_err *err) {
    *out = NULL;
    if (v == NULL || (v->type.kind != SM_V_TENSOR && v->type.kind != SM_V_LIST) || v->type.dtype == SM_STRING)
        return SM_OK;
    if (v->cst != NULL)
        return ref_const_get(e, v, tmp, out, err);
    *out = &e->val[v->id];
    return (*out)->p == NULL ? SM_FAIL(err, SM_BADINPUT, "value '%s' is read before it is made", v->name) : SM_OK;
}

static void trace_result(const sm_value *v, const ref_val *x) {
    double most = 0;
    for (int64_t i = 0; i < x->n; i++)
        most = fmax(most, fabs(ref_elem(x, i)));
    char shape[128] = "";
    for (int i = 0, at = 0; i < x->rank && at < (int)sizeof shape - 24; i++)
        at += snprintf(shape + at, sizeof shape - (size_t)at, "%s%" PRId64, i > 0 ? ", " : "", x->dims[i]);
    sm_trace(SM_T_RUN, 4, "%s = %s: %s [%s], max |x| %g", v->name, sm_op_row_of(v->def->op)->name,
             sm_dtype_name(x->dtype), shape, most);
}

/* Operands into c, kernel, temporaries dropped. */
static sm_status run_node(ref_call *c, ref_val *tmp) {
    const sm_node *n = c->node;
    const sm_op_row *row = sm_op_row_of(n->op);
    for (int i = 0; i < row->n_slots; i++)
        if (n->in[i] == NULL || n->in[i]->cst == NULL || !is_lazy(c->step->op, row->slot[i].name))
            SM_TRY(operand(c->e, n->in[i], &tmp[i], &c->in[i], c->err));
    for (int i = 0; i < n->n_list; i++)
        SM_TRY(operand(c->e, n->list[i], &tmp[row->n_slots + i], &c->list[i], c->err));
    for (int i = 0; i < n->n_out; i++)
        ref_drop(&c->e->val[n->out[i]->id]);
    return c->step->op->fn(c);
}

static sm_status run_step(sm_exe *e, const ref_step *s, sm_err *err) {
    const sm_node *n = s->node;
    ref_val small[SM_MAX_SLOTS] = {{0}}, *tmp = small;
    const ref_val *no_list[1] = {NULL};
    ref_call c = {.e = e, .node = n, .step = s, .list = no_list, .n_list = n->n_list, .err = err};
    int n_slots = sm_op_row_of(n->op)->n_slots;
    if (sm_cancelled())
        return SM_FAIL(err, SM_CANCELLED, "cancelled");
    if (n->n_list > 0) {
        tmp = sm_alloc_n((size_t)(n_slots + n->n_list), sizeof *tmp);
        c.list = sm_alloc_n((size_t)n->n_list, sizeof *c.list);
    }
    sm_status st = tmp == NULL || c.list == NULL ? SM_NOMEM(err) : run_node(&c, tmp);
    for (int i = 0; tmp != NULL && i < n_slots + n->n_list; i++)
        ref_drop(&tmp[i]);
    if (n->n_list > 0) {
        sm_free(tmp);
        sm_free(c.list);
    }
    if (st != SM_OK)
        sm_err_prefix(err, "op '%s' (value '%s')", sm_op_row_of(n->op)->name, n->n_out > 0 ? n->out[0]->name : "");
    for (int i = 0; st == SM_OK && i < n->n_out && sm_trace_on(SM_T_RUN, 4); i++)
        trace_result(n->out[i], &e->val[n->out[i]->id]);
    return st;
}

/* ---- blocks ---- */

static sm_status give_tap(sm_exe *e, const sm_node *n, sm_err *err) {
    for (int k = 0; k < e->n_taps; k++)
        for (int i = 0; i < n->n_out; i++) {
            const ref_val *v = &e->val[n->out[i]->id];
            if (n->out[i]->id != e->tap_id[k])
                continue;
            if (!ref_is_float(v))
                return SM_FAIL(err, SM_USAGE, "tapped value '%s' is not of floats", n->out[i]->name);
            memcpy(e->tap_out[k], v->f, (size_t)v->n * sizeof *v->f);
        }
    return SM_OK;
}

sm_status ref_run_block(sm_exe *e, const ref_block *b, sm_err *err) {
    for (int i = 0; i < b->n_steps; i++) {
        const ref_step *s = &b->steps[i];
        SM_TRY(run_step(e, s, err));
        if (e->tap_out != NULL && b == &e->body)
            SM_TRY(give_tap(e, s->node, err));
        for (int k = 0; k < s->n_dead; k++)
            ref_drop(&e->val[s->dead[k]]);
    }
    return SM_OK;
}

static void drop_block(sm_exe *e, const ref_block *b) {
    for (int i = 0; i < b->b->n_in; i++)
        ref_drop(&e->val[b->b->in[i]->id]);
    for (int i = 0; i < b->b->n_out; i++)
        if (b->b->out[i]->def != NULL && b->b->out[i]->def->block == b->b)
            ref_drop(&e->val[b->b->out[i]->id]);
}

sm_status ref_take_results(sm_exe *e, const ref_block *b, ref_val *out, sm_err *err) {
    sm_status st = SM_OK;
    int n = 0;
    for (; st == SM_OK && n < b->b->n_out; n++) {
        ref_val tmp = {0};
        const ref_val *v;
        st = operand(e, b->b->out[n], &tmp, &v, err);
        if (st == SM_OK && v == NULL)
            st = SM_FAIL(err, SM_UNSUPPORTED, "result '%s' is no tensor", b->b->out[n]->name);
        if (st == SM_OK)
            ref_share(&out[n], v);
        ref_drop(&tmp);
    }
    for (int i = 0; st != SM_OK && i + 1 < n; i++)
        ref_drop(&out[i]);
    drop_block(e, b);
    return st;
}

/* After a failure anything may be alive. */
static void drop_all(sm_exe *e) {
    for (uint32_t i = 0; i < e->n_values; i++)
        ref_drop(&e->val[i]);
    for (int i = 0; i < e->f->body->n_in; i++)
        ref_drop(&e->held[i]);
}

/* Runs the body over inputs that are in the table; out[] has one entry per function output. */
static sm_status run_body(sm_exe *e, ref_val *out, sm_err *err) {
    sm_status st = ref_run_block(e, &e->body, err);
    if (st == SM_OK)
        st = ref_take_results(e, &e->body, out, err);
    if (st != SM_OK) {
        drop_all(e);
        sm_err_prefix(err, "function '%s'", e->f->name);
    }
    e->batch = NULL;
    return st;
}

/* ---- as written ---- */

static sm_status give_outputs(const sm_func *f, const ref_val *v, sm_arrays *out, sm_err *err) {
    for (int i = 0; i < f->body->n_out; i++) {
        sm_array *a = sm_arrays_add(out);
        if (a == NULL)
            return SM_NOMEM(err);
        SM_TRY(ref_to_array(a, f->body->out[i]->name, &v[i], err));
    }
    return SM_OK;
}

/* Inputs and states into the table. */
static sm_status take_inputs(sm_exe *e, const sm_arrays *in, const sm_states *states, sm_err *err) {
    const sm_block *body = e->f->body;
    for (int i = 0; i < body->n_in; i++) {
        const sm_value *v = body->in[i];
        if (v->type.kind == SM_V_TENSOR)
            SM_TRY(ref_from_array(&e->val[v->id], sm_arrays_find(in, v->name), v->type.dtype, err));
        else if (v->type.kind == SM_V_STATE && states != NULL)
            SM_TRY(ref_from_array(&e->held[i], sm_arrays_find(&states->a, v->name), v->type.dtype, err));
    }
    return SM_OK;
}

/* Every state is made before any changes, so that a call happens whole or not at all. */
static sm_status give_states(const sm_exe *e, sm_states *states, sm_err *err) {
    const sm_block *body = e->f->body;
    sm_arrays next = {0};
    sm_status st = SM_OK;
    for (int i = 0; i < body->n_in && st == SM_OK; i++) {
        if (e->held[i].p == NULL)
            continue;
        sm_array *a = sm_arrays_add(&next);
        st = a == NULL ? SM_NOMEM(err) : ref_to_array(a, body->in[i]->name, &e->held[i], err);
    }
    for (size_t i = 0; i < next.n && st == SM_OK; i++) {
        sm_array *a = sm_arrays_find(&states->a, next.v[i].name), old = *a;
        *a = next.v[i];
        next.v[i] = old;
    }
    sm_arrays_free(&next);
    return st;
}

sm_status ref_exe_run(sm_exe *e, const sm_arrays *in, sm_states *states, sm_arrays *out, sm_err *err) {
    const sm_block *body = e->f->body;
    sm_binding b = {0};
    ref_val *r = sm_alloc_n((size_t)body->n_out, sizeof *r);
    sm_status st;
    SM_TRY_DONE(r == NULL ? SM_NOMEM(err) : SM_OK);
    SM_TRY_DONE(sm_call_bind(e->f, in, &b, err));
    SM_TRY_DONE(states == NULL ? SM_OK : sm_call_states(e->f, states, err));
    SM_TRY_DONE(take_inputs(e, in, states, err));
    SM_TRY_DONE(run_body(e, r, err));
    SM_TRY_DONE(give_outputs(e->f, r, out, err));
    SM_TRY_DONE(give_states(e, states, err));
done:
    drop_all(e);
    for (int i = 0; r != NULL && i < body->n_out; i++)
        ref_drop(&r[i]);
    if (e->spare != NULL)
        ref_spare_turn(e->spare);
    sm_free(r);
    sm_binding_free(&b);
    return st;
}

/* ---- row form ---- */

static sm_status put_ints(sm_exe *e, const char *name, const int32_t *x, int32_t n, sm_err *err) {
    for (int i = 0; i < e->f->body->n_in; i++) {
        const sm_value *v = e->f->body->in[i];
        if (strcmp(v->name, name) != 0)
            continue;
        ref_val *r = &e->val[v->id];
        SM_TRY(ref_alloc(r, SM_INT32, 1, (int64_t[]){n}, err));
        for (int32_t k = 0; k < n; k++)
            r->i[k] = x[k];
    }
    return SM_OK;
}

static sm_status run_rows(sm_exe *e, const sm_batch *b, float *logits, sm_err *err) {
    ref_val out = {0};
    SM_TRY(sm_batch_check(b, &e->lim, err));
    sm_status st = put_ints(e, "ids", b->ids, b->n_rows, err);
    if (st == SM_OK)
        st = put_ints(e, "pos", b->pos, b->n_rows, err);
    if (st == SM_OK)
        st = put_ints(e, "out", b->out, b->n_out, err);
    if (st != SM_OK) {
        drop_all(e);
        return st;
    }
    e->batch = b;
    SM_TRY(run_body(e, &out, err));
    if (out.rank != 2 || out.dims[0] != b->n_out || !ref_is_float(&out))
        st = SM_FAIL(err, SM_BADINPUT, "function '%s' does not give logits [r, vocab]", e->f->name);
    else
        memcpy(logits, out.f, (size_t)out.n * sizeof *logits);
    ref_drop(&out);
    return st;
}

static sm_status run_taps(sm_exe *e, const sm_batch *b, float *logits, float *const *taps, sm_err *err) {
    e->tap_out = taps;
    sm_status st = run_rows(e, b, logits, err);
    e->tap_out = NULL;
    return st;
}

/* ---- compile ---- */

static sm_status keep_taps(sm_exe *e, sm_err *err) {
    e->tap_id = sm_arena_alloc_n(e->arena, (size_t)e->lim.n_taps + 1, sizeof *e->tap_id);
    if (e->tap_id == NULL)
        return SM_NOMEM(err);
    for (; e->n_taps < e->lim.n_taps; e->n_taps++)
        e->tap_id[e->n_taps] = e->lim.taps[e->n_taps]->id;
    return SM_OK;
}

void ref_exe_free(sm_exe **exe) {
    sm_exe *e = *exe;
    if (e == NULL)
        return;
    if (e->val != NULL && e->held != NULL)
        drop_all(e);
    ref_const_free(e);
    for (int i = 0; i < e->n_kv; i++) {
        sm_free(e->kv[i].k);
        sm_free(e->kv[i].v);
    }
    sm_free(e->kv);
    sm_free(e->val);
    sm_free(e->held);
    ref_spare_free(&e->spare);
    sm_pool_free(&e->pool);
    sm_arena_free(&e->arena);
    sm_free(e);
    *exe = NULL;
}

static sm_status new_pages(sm_exe *e, size_t per_token, float **out, sm_err *err) {
    size_t n;
    if (!sm_mul_ok((size_t)e->lim.n_pages * (size_t)e->lim.page_tokens, per_token, &n))
        return SM_NOMEM(err);
    *out = sm_alloc_n(n, sizeof **out);
    if (*out == NULL)
        return SM_FAIL(err, SM_RESOURCE, "no memory for a KV cache of %d pages", e->lim.n_pages);
    e->kv_bytes += n * sizeof **out;
    return SM_OK;
}

static sm_status make_kv(sm_exe *e, sm_err *err) {
    int n_attention = 0;
    for (const sm_node *n = e->f->body->first; n != NULL; n = n->next)
        n_attention += n->op == SM_OP_ATTENTION;
    if (n_attention == 0)
        return SM_OK;
    sm_kv_slot *geo = sm_alloc_n((size_t)n_attention, sizeof *geo);
    e->kv = sm_alloc_n((size_t)n_attention, sizeof *e->kv);
    if (geo == NULL || e->kv == NULL) {
        sm_free(geo);
        return SM_NOMEM(err);
    }
    sm_status st = SM_OK;
    e->n_kv = SM_MAX(sm_func_kv_slots(e->f, geo, n_attention), 0);
    for (int i = 0; i < e->n_kv; i++) {
        const sm_kv_slot *g = &geo[i];
        e->kv[i].geo = *g;
        if (g->heads < 1 || g->head_dim < 1 || g->v_dim < 1 || g->q_heads % g->heads != 0)
            st = SM_FAIL(err, SM_UNSUPPORTED, "function '%s': attention slot %d has heads of unknown shape", e->f->name,
                         i);
    }
    sm_free(geo);
    if (e->n_kv != n_attention)
        st = SM_FAIL(err, SM_UNSUPPORTED, "function '%s': cache slots of attention are not 0, 1, 2 ..", e->f->name);
    for (int i = 0; st == SM_OK && i < e->n_kv; i++) {
        st = new_pages(e, (size_t)e->kv[i].geo.heads * (size_t)e->kv[i].geo.head_dim, &e->kv[i].k, err);
        if (st == SM_OK)
            st = new_pages(e, (size_t)e->kv[i].geo.heads * (size_t)e->kv[i].geo.v_dim, &e->kv[i].v, err);
    }
    return st;
}

sm_status ref_exe_new(const sm_func *f, const sm_limits *lim, const ref_op *ops, bool with_spare, sm_exe **out,
                      sm_err *err) {
    *out = NULL;
    SM_TRY(sm_call_check_func(f, lim, err));
    sm_exe *e = sm_alloc(sizeof *e);
    if (e == NULL)
        return SM_NOMEM(err);
    e->f = f;
    e->ops = ops;
    e->n_values = f->graph->n_values;
    if (lim != NULL)
        e->lim = *lim;
    sm_status st;
    e->arena = sm_arena_new();
    e->val = sm_alloc_n(e->n_values, sizeof *e->val);
    e->held = sm_alloc_n((size_t)f->body->n_in, sizeof *e->held);
    e->cst = sm_alloc_n(e->n_values, sizeof *e->cst);
    e->recoded = sm_alloc_n(e->n_values, sizeof *e->recoded);
    SM_TRY_DONE(e->arena == NULL || e->val == NULL || e->held == NULL || e->cst == NULL || e->recoded == NULL
                    ? SM_NOMEM(err)
                    : SM_OK);
    SM_TRY_DONE(with_spare ? ref_spare_new(&e->spare, err) : SM_OK);
    SM_TRY_DONE(keep_taps(e, err));
    SM_TRY_DONE(sm_pool_new(e->lim.n_threads, &e->pool, err));
    SM_TRY_DONE(ref_plan(e, err));
    SM_TRY_DONE(sm_func_is_rows(f) ? make_kv(e, err) : SM_OK);
done:
    if (st != SM_OK)
        ref_exe_free(&e);
    *out = e;
    return st;
}

static sm_status ref_compile(const sm_func *f, const sm_limits *lim, sm_exe **out, sm_err *err) {
    return ref_exe_new(f, lim, NULL, false, out, err);
}

static bool ref_available(char *why, size_t cap) {
    (void)why;
    (void)cap;
    return true;
}

static void ref_info(const sm_exe *e, sm_exe_info *out) {
    *out = (sm_exe_info){.weight_bytes = e->cst_bytes, .kv_bytes = e->kv_bytes, .n_threads = sm_pool_size(e->pool)};
    snprintf(out->isa, sizeof out->isa, "c");
}

const sm_backend sm_backend_ref = {
    .name = "ref",
    .doc = "plain C in f32: slow, complete, the definition of every op",
    .rows = true,
    .as_written = true,
    .available = ref_available,
    .compile = ref_compile,
    .free = ref_exe_free,
    .run_rows = run_rows,
    .run_taps = run_taps,
    .run = ref_exe_run,
    .info = ref_info,
};
