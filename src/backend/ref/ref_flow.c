/* SPDX-License-Identifier: MIT
 *
 * ref_flow.c: states and nested blocks.
 *
 * During a run a state is a value like any other (e->held), so that reading and writing it shares elements; the caller's
 * arrays are read before and written after a run that succeeds (ref.c).
 */
#include <string.h>

#include "backend/ref/ref_int.h"

static sm_status state_of(ref_call *c, ref_val **out) {
    const sm_value *v = sm_arg(c->node, "input");
    const sm_block *body = c->e->f->body;
    *out = NULL;
    for (int i = 0; i < body->n_in; i++)
        if (body->in[i] == v && c->e->held[i].p != NULL)
            *out = &c->e->held[i];
    return *out != NULL ? SM_OK : SM_FAIL(c->err, SM_BADINPUT, "there is no such state");
}

sm_status ref_read_state(ref_call *c) {
    ref_val *state = NULL;
    SM_TRY(state_of(c, &state));
    ref_share(ref_out(c, 0), state);
    return SM_OK;
}

sm_status ref_write_state(ref_call *c) {
    const ref_val *x = ref_in(c, "data");
    ref_val *state = NULL, before;
    SM_TRY(state_of(c, &state));
    if (x->rank != state->rank || memcmp(x->dims, state->dims, sizeof x->dims[0] * (size_t)x->rank) != 0 ||
        sm_call_dtype(x->dtype) != sm_call_dtype(state->dtype))
        return SM_FAIL(c->err, SM_BADINPUT, "the data does not have the type of state '%s'",
                       sm_arg(c->node, "input")->name);
    before = *state;
    ref_share(state, x);
    state->dtype = before.dtype;
    ref_drop(&before);
    return SM_OK;
}

/* ---- cond, while_loop ---- */

static bool truth(const ref_val *v) {
    return v->n > 0 && ref_elem(v, 0) != 0;
}

sm_status ref_cond(ref_call *c) {
    const ref_block *b = &c->step->blocks[truth(ref_in(c, "pred")) ? 0 : 1];
    int n = c->node->n_out;
    if (b->b->n_out != n)
        return SM_FAIL(c->err, SM_BADINPUT, "a block with %d results for %d", b->b->n_out, n);
    ref_val *r = sm_alloc_n((size_t)n, sizeof *r);
    if (r == NULL)
        return SM_NOMEM(c->err);
    sm_status st = ref_run_block(c->e, b, c->err);
    if (st == SM_OK)
        st = ref_take_results(c->e, b, r, c->err);
    for (int i = 0; st == SM_OK && i < n; i++)
        *ref_out(c, i) = r[i];
    sm_free(r);
    return st;
}

/* Runs a block over loop variables, which stay the caller's. */
static sm_status run_over(sm_exe *e, const ref_block *b, const ref_val *vars, ref_val *out, sm_err *err) {
    for (int i = 0; i < b->b->n_in; i++) {
        ref_val *v = &e->val[b->b->in[i]->id];
        ref_drop(v);
        ref_share(v, &vars[i]);
    }
    SM_TRY(ref_run_block(e, b, err));
    return ref_take_results(e, b, out, err);
}

static sm_status loop(ref_call *c, ref_val *vars, ref_val *next, int n) {
    const ref_block *test = &c->step->blocks[0], *body = &c->step->blocks[1];
    for (;;) {
        ref_val go = {0};
        SM_TRY(run_over(c->e, test, vars, &go, c->err));
        bool more = truth(&go);
        ref_drop(&go);
        if (!more)
            return SM_OK;
        SM_TRY(run_over(c->e, body, vars, next, c->err));
        for (int i = 0; i < n; i++) {
            ref_drop(&vars[i]);
            vars[i] = next[i];
            next[i] = (ref_val){0};
        }
    }
}

sm_status ref_while_loop(ref_call *c) {
    const sm_block *test = c->step->blocks[0].b, *body = c->step->blocks[1].b;
    int n = c->n_list;
    if (test->n_in != n || test->n_out != 1 || body->n_in != n || body->n_out != n || c->node->n_out != n)
        return SM_FAIL(c->err, SM_BADINPUT, "blocks do not fit %d loop variables", n);
    ref_val *vars = sm_alloc_n((size_t)n, 2 * sizeof *vars);
    if (vars == NULL)
        return SM_NOMEM(c->err);
    for (int i = 0; i < n; i++)
        ref_share(&vars[i], c->list[i]);
    sm_status st = loop(c, vars, vars + n, n);
    for (int i = 0; i < n; i++) {
        if (st == SM_OK)
            ref_share(ref_out(c, i), &vars[i]);
        ref_drop(&vars[i]);
        ref_drop(&vars[n + i]);
    }
    sm_free(vars);
    return st;
}
