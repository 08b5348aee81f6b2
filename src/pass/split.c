/* SPDX-License-Identifier: MIT
 *
 * split.c: a row-form function cut into several, each taking the rows that the one before it gives.
 *
 * A function can be cut where one row value is all that later nodes need of earlier ones (beside inputs and constants): in
 * a decoder that is the residual stream, after the embedding, after each attention and after each MLP.  A cut between
 * layers is the last such place before the next attention.  The parts keep their share of the cache slots, numbered anew
 * from 0, and have the inputs of the whole; rows come in as `hiddenStates` and go out as `outputHiddenStates`.
 */
#include "pass/pass_int.h"

#include <string.h>

typedef struct cutter {
    const sm_func *f;
    sm_node **node; /* in order */
    int n_nodes;
    int *last_use;  /* by value id: number of the last node that reads it; n_nodes for results */
    sm_value **cut; /* by node number: the only value that crosses behind that node, or NULL */
    int *slots;     /* by node number: attentions up to and with it */
    sm_err *err;
} cutter;

static void use(cutter *c, const sm_value *v, int at) {
    if (v != NULL && v->cst == NULL && v->def != NULL)
        c->last_use[v->id] = SM_MAX(c->last_use[v->id], at);
}

static void note_uses(cutter *c) {
    int at = 0;
    for (sm_node *n = c->f->body->first; n != NULL; n = n->next, at++) {
        c->node[at] = n;
        c->slots[at] = (at > 0 ? c->slots[at - 1] : 0) + (n->op == SM_OP_ATTENTION);
        for (int i = 0; i < sm_op_row_of(n->op)->n_slots; i++)
            use(c, n->in[i], at);
        for (int i = 0; i < n->n_list; i++)
            use(c, n->list[i], at);
    }
    for (int i = 0; i < c->f->body->n_out; i++)
        use(c, c->f->body->out[i], c->n_nodes);
}

/* Rows of all tokens, [t, d]. */
static bool is_stream(const cutter *c, const sm_value *v) {
    const sm_value *pos = sm_input_named(c->f, "pos");
    return v->type.rank == 2 && sm_dtype_kind(v->type.dtype) == 'f' && sm_dim_known(v->type.dims[1]) && pos != NULL &&
           v->type.dims[0] == pos->type.dims[0];
}

static void find_cuts(cutter *c) {
    int live = 0; /* values that are defined and still to be read */
    for (int at = 0; at < c->n_nodes; at++) {
        const sm_node *n = c->node[at];
        for (int i = 0; i < n->n_out; i++)
            live += c->last_use[n->out[i]->id] > at;
        for (int k = 0; k < sm_op_row_of(n->op)->n_slots + n->n_list; k++) {
            int slots = sm_op_row_of(n->op)->n_slots;
            sm_value *v = k < slots ? n->in[k] : n->list[k - slots];
            bool ends = v != NULL && v->def != NULL && c->last_use[v->id] == at;
            for (int j = 0; j < k && ends; j++) /* read twice by this node: counted once */
                ends = (j < slots ? n->in[j] : n->list[j - slots]) != v;
            live -= ends;
        }
        c->cut[at] = NULL;
        if (live == 1)
            for (int back = at; back >= 0 && c->cut[at] == NULL; back--)
                for (int i = 0; i < c->node[back]->n_out; i++)
                    if (c->last_use[c->node[back]->out[i]->id] > at)
                        c->cut[at] = c->node[back]->out[i];
        if (c->cut[at] != NULL && !is_stream(c, c->cut[at]))
            c->cut[at] = NULL;
    }
}

static void drop(cutter *c) {
    sm_free(c->node);
    sm_free(c->last_use);
    sm_free(c->cut);
    sm_free(c->slots);
}

static sm_status prepare(cutter *c) {
    for (const sm_node *n = c->f->body->first; n != NULL; n = n->next)
        c->n_nodes++;
    size_t n = (size_t)c->n_nodes + 1;
    c->node = sm_alloc_n(n, sizeof *c->node);
    c->cut = sm_alloc_n(n, sizeof *c->cut);
    c->slots = sm_alloc_n(n, sizeof *c->slots);
    c->last_use = sm_alloc_n(c->f->graph->n_values, sizeof *c->last_use);
    if (c->node == NULL || c->cut == NULL || c->slots == NULL || c->last_use == NULL)
        return SM_NOMEM(c->err);
    for (uint32_t i = 0; i < c->f->graph->n_values; i++)
        c->last_use[i] = -1;
    note_uses(c);
    find_cuts(c);
    return SM_OK;
}

/* Number of the node behind which the attentions `after` lie on one side and the others on the other, as far down as can
 * be; -1: nowhere.  after = -1: in front of the first attention, as far up as can be: behind the embedding. */
static int place(const cutter *c, int after) {
    int at = -1;
    for (int i = 0; i < c->n_nodes; i++) {
        if (c->cut[i] == NULL)
            continue;
        if (after < 0 && c->slots[i] == 0)
            return i;
        if (after >= 0 && c->slots[i] == after)
            at = i;
    }
    return at;
}

sm_status sm_pass_cut_places(const sm_func *f, int n, int *at, sm_err *err) {
    cutter c = {.f = f, .err = err};
    sm_status st = prepare(&c);
    for (int k = 0; k <= n && st == SM_OK; k++)
        at[k] = place(&c, k == 0 ? SM_CUT_EMBED : k);
    drop(&c);
    return st;
}

/* ------------------------------------------------------------------ building a part */
static sm_status renumber(sm_builder *b, const sm_node *n, sm_value **map, int first) {
    int64_t slot = 0;
    sm_value *in[SM_MAX_SLOTS];
    int at = sm_op_slot(n->op, "slot");
    sm_arg_int(n, "slot", &slot);
    for (int i = 0; i < sm_op_row_of(n->op)->n_slots; i++)
        in[i] = n->in[i] != NULL ? sm_map_value(map, n->in[i]) : NULL;
    in[at] = sm_const_i32(b, (int32_t)(slot - first));
    sm_node *m = sm_build_node(b, n->op, n->out[0]->name, in, NULL, 0);
    map[n->out[0]->id] = m != NULL ? m->out[0] : NULL;
    return SM_OK;
}

/* Nodes (from, to]; -1 and n_nodes - 1 are the ends. */
static sm_status build_part(cutter *c, int from, int to, sm_func **out) {
    sm_rebuild r;
    int first = from >= 0 ? c->slots[from] : 0;
    SM_TRY(sm_rebuild_start(&r, (sm_func *)c->f, c->f->opset, c->err));
    if (from >= 0)
        r.map[c->cut[from]->id] = sm_build_input(&r.b, "hiddenStates", c->cut[from]->type);
    for (int i = from + 1; i <= to; i++)
        if (c->node[i]->op == SM_OP_ATTENTION && first > 0)
            renumber(&r.b, c->node[i], r.map, first);
        else
            sm_build_copy(&r.b, c->node[i], r.map);
    if (to == c->n_nodes - 1)
        return sm_rebuild_end(&r, SM_OK, out, c->err);
    sm_build_output(&r.b, sm_map_value(r.map, c->cut[to]), "outputHiddenStates");
    return sm_rebuild_end_bare(&r, SM_OK, out, c->err);
}

sm_status sm_pass_split(sm_func *f, const sm_cut *cut, int n, sm_func **out, sm_err *err) {
    cutter c = {.f = f, .err = err};
    sm_status st = prepare(&c);
    int from = -1;
    for (int i = 0; i <= n && st == SM_OK; i++) {
        int to = i < n ? place(&c, cut[i].after) : c.n_nodes - 1;
        if (to <= from)
            st = SM_FAIL(err, SM_UNSUPPORTED,
                         "the model cannot be cut %s: no place where only the residual stream goes on", cut[i].what);
        else
            st = build_part(&c, from, to, &out[i]);
        from = to;
    }
    drop(&c);
    return st;
}
