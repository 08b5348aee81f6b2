/* SPDX-License-Identifier: MIT
 *
 * infer_smelt.c: composites, states, control flow.
 *
 * Row form: activations are fp32, weights any float type, axis 0 is the rows of the step.
 */
#include <string.h>

#include "graph/infer.h"

static sm_status want_weight(sm_inf *c, const char *slot) {
    const sm_value *w = sm_arg(c->n, slot);
    if (w->type.rank != 2 || !sm_is_float(w->type.dtype))
        return sm_inf_bad(c, slot, w, "wanted floats [out, in]");
    return SM_OK;
}

sm_status sm_infer_embed(sm_inf *c) {
    const sm_value *ids = sm_arg(c->n, "ids"), *table = sm_arg(c->n, "table");
    if (ids->type.rank != 1 || !sm_is_int(ids->type.dtype))
        return sm_inf_bad(c, "ids", ids, "wanted integers [t]");
    SM_TRY(want_weight(c, "table"));
    sm_dim dims[2] = {ids->type.dims[0], table->type.dims[1]};
    return sm_inf_out(c, 0, SM_FP32, 2, dims);
}

sm_status sm_infer_attention(sm_inf *c) {
    const sm_value *q = sm_arg(c->n, "q"), *k = sm_arg(c->n, "k"), *v = sm_arg(c->n, "v");
    const sm_value *all[3] = {q, k, v};
    static const char *const names[3] = {"q", "k", "v"};
    int64_t slot = 0, window = 0;
    for (int i = 0; i < 3; i++) {
        if (all[i]->type.rank != 3 || !sm_is_float(all[i]->type.dtype))
            return sm_inf_bad(c, names[i], all[i], "wanted floats [t, heads, head dim]");
        SM_TRY(sm_inf_same_dim(c, "rows of q, k and v", q->type.dims[0], all[i]->type.dims[0], NULL));
    }
    SM_TRY(sm_inf_same_dim(c, "heads of k and v", k->type.dims[1], v->type.dims[1], NULL));
    SM_TRY(sm_inf_same_dim(c, "head dims of q and k", q->type.dims[2], k->type.dims[2], NULL));
    sm_dim h = q->type.dims[1], hk = k->type.dims[1];
    if (sm_dim_known(h) && sm_dim_known(hk) && (hk < 1 || h % hk != 0))
        return sm_inf_bad(c, "q", q, "wanted a multiple of k's %d heads", (int)hk);
    SM_TRY(sm_inf_int(c, "slot", &slot));
    SM_TRY(sm_inf_int(c, "window", &window));
    if (slot < 0 || window < 0)
        return SM_FAIL(c->err, SM_BADINPUT, "slot and window: wanted numbers of 0 or more");
    sm_dim dims[3] = {q->type.dims[0], h, v->type.dims[2]};
    return sm_inf_out(c, 0, q->type.dtype, 3, dims);
}

sm_status sm_infer_gated_mlp(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x"), *gate = sm_arg(c->n, "gate"), *up = sm_arg(c->n, "up");
    const sm_value *down = sm_arg(c->n, "down");
    sm_sv act = {0};
    sm_dim dims[SM_MAX_RANK];
    int r = x->type.rank;
    SM_TRY(want_weight(c, "gate"));
    SM_TRY(want_weight(c, "up"));
    SM_TRY(want_weight(c, "down"));
    if (r == 0)
        return sm_inf_bad(c, "x", x, "wanted at least one axis");
    SM_TRY(sm_inf_same_dim(c, "x and gate", x->type.dims[r - 1], gate->type.dims[1], NULL));
    SM_TRY(sm_inf_same_dim(c, "x and up", x->type.dims[r - 1], up->type.dims[1], NULL));
    SM_TRY(sm_inf_same_dim(c, "gate and up", gate->type.dims[0], up->type.dims[0], NULL));
    SM_TRY(sm_inf_same_dim(c, "up and down", up->type.dims[0], down->type.dims[1], NULL));
    sm_arg_str(c->n, "act", &act);
    if (!sm_sv_is(act, "silu") && !sm_sv_is(act, "gelu_tanh") && !sm_sv_is(act, "gelu"))
        return SM_FAIL(c->err, SM_BADINPUT, "act: wanted silu, gelu_tanh or gelu, found %s", sm_quote(act.p, act.n));
    memcpy(dims, x->type.dims, sizeof dims);
    dims[r - 1] = down->type.dims[0];
    return sm_inf_out(c, 0, x->type.dtype, r, dims);
}

sm_status sm_infer_lm_head(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x"), *w = sm_arg(c->n, "weight"), *b = sm_arg(c->n, "bias");
    SM_TRY(want_weight(c, "weight"));
    if (x->type.rank != 2)
        return sm_inf_bad(c, "x", x, "wanted [r, d]");
    SM_TRY(sm_inf_same_dim(c, "x and weight", x->type.dims[1], w->type.dims[1], NULL));
    if (b != NULL && (b->type.rank != 1 || sm_dim_equal(c->g, b->type.dims[0], w->type.dims[0]) == 0))
        return sm_inf_bad(c, "bias", b, "wanted one element per row of weight");
    sm_dim dims[2] = {x->type.dims[0], w->type.dims[0]};
    return sm_inf_out(c, 0, SM_FP32, 2, dims);
}

/* ---- states ---- */

sm_status sm_infer_read_state(sm_inf *c) {
    return sm_inf_like(c, 0, sm_arg(c->n, "input"));
}

sm_status sm_infer_none(sm_inf *c) {
    const sm_value *s = sm_arg(c->n, "input"), *data = sm_arg(c->n, "data");
    if (data->type.dtype != s->type.dtype || data->type.rank != s->type.rank)
        return sm_inf_bad(c, "data", data, "wanted the type of state '%s'", s->name != NULL ? s->name : "");
    for (int a = 0; a < s->type.rank; a++)
        SM_TRY(sm_inf_same_dim(c, "data and state", data->type.dims[a], s->type.dims[a], NULL));
    return SM_OK;
}

/* ---- control flow ---- */

/* Result k is a or b: extents that differ are not known. */
static sm_status either(sm_inf *c, int k, const sm_value *a, const sm_value *b) {
    sm_dim dims[SM_MAX_RANK];
    if (a->type.kind != b->type.kind || a->type.dtype != b->type.dtype || a->type.rank != b->type.rank)
        return sm_inf_bad(c, "blocks", a, "result %d has another type in the other block", k);
    for (int i = 0; i < a->type.rank; i++)
        dims[i] = a->type.dims[i] == b->type.dims[i] ? a->type.dims[i] : SM_DIM_UNKNOWN;
    SM_TRY(sm_inf_out(c, k, a->type.dtype, a->type.rank, dims));
    c->n->out[k]->type.kind = a->type.kind;
    c->n->out[k]->type.len = a->type.len == b->type.len ? a->type.len : SM_DIM_UNKNOWN;
    return SM_OK;
}

sm_status sm_infer_cond(sm_inf *c) {
    const sm_value *pred = sm_arg(c->n, "pred");
    const sm_block *yes = c->n->blocks[0], *no = c->n->blocks[1];
    if (pred->type.dtype != SM_BOOL || sm_type_numel(&pred->type, 1) != 1)
        return sm_inf_bad(c, "pred", pred, "wanted one bool");
    if (yes->n_out != no->n_out || yes->n_in != 0 || no->n_in != 0)
        return SM_FAIL(c->err, SM_BADINPUT, "blocks: wanted no inputs and equally many results, found %d and %d",
                       yes->n_out, no->n_out);
    SM_TRY(sm_inf_results(c, yes->n_out));
    for (int i = 0; i < yes->n_out; i++)
        SM_TRY(either(c, i, yes->out[i], no->out[i]));
    return SM_OK;
}

sm_status sm_infer_while(sm_inf *c) {
    const sm_block *test = c->n->blocks[0], *body = c->n->blocks[1];
    int n = c->n->n_list;
    if (test->n_in != n || body->n_in != n || body->n_out != n || test->n_out != 1)
        return SM_FAIL(c->err, SM_BADINPUT, "blocks: wanted %d variables and a condition, found %d, %d and %d", n,
                       test->n_in, body->n_in, body->n_out);
    if (test->out[0]->type.dtype != SM_BOOL || sm_type_numel(&test->out[0]->type, 1) != 1)
        return sm_inf_bad(c, "blocks", test->out[0], "wanted one bool");
    SM_TRY(sm_inf_results(c, n));
    for (int i = 0; i < n; i++) {
        SM_TRY(either(c, i, test->in[i], body->in[i]));
        SM_TRY(either(c, i, body->in[i], c->n->list[i]));
        SM_TRY(either(c, i, c->n->list[i], body->out[i])); /* no turn at all, or the last one's */
    }
    return SM_OK;
}
