/* SPDX-License-Identifier: MIT
 *
 * verify.c: is this a graph?  Run after every pass in debug builds and by the graph tests.
 *
 * Structure (links, owners), definitions before uses with block scopes, unique names, slots, and types as inference gives
 * them today.  Inference of a node is run again on a shadow of it, which takes arena memory and anonymous symbols: like a
 * builder, verifying needs the graph for itself.  Anonymous symbols are fresh each time, so extents that contain them
 * agree with each other.
 */
#include <string.h>

#include "base/str.h"
#include "graph/graph_int.h"

typedef struct check {
    const sm_func *f;
    bool *defined; /* by value id: in scope */
    sm_map *names;
    sm_err *err;
} check;

static sm_status bad(check *c, const sm_node *n, const char *what, const char *name) {
    const char *own = n != NULL && n->n_out > 0 && n->out[0]->name != NULL ? n->out[0]->name : "";
    return SM_FAIL(c->err, SM_BADINPUT, "function '%s': %s '%s': %s%s%s", c->f->name,
                   n != NULL ? sm_op_row_of(n->op)->name : "body", own, what, name != NULL ? " " : "",
                   name != NULL ? name : "");
}

static sm_status define(check *c, const sm_node *n, const sm_value *v) {
    bool existed;
    if (v == NULL || v->id >= c->f->graph->n_values || v->name == NULL)
        return bad(c, n, "a value has no name or number", NULL);
    if (v->cst != NULL || v->type.rank < 0 || v->type.rank > SM_MAX_RANK)
        return bad(c, n, "cannot define", v->name);
    if (c->defined[v->id])
        return bad(c, n, "defined twice:", v->name);
    if (!sm_map_put(c->names, sm_sv_of(v->name), 0, &existed, NULL))
        return SM_NOMEM(c->err);
    if (existed)
        return bad(c, n, "name used twice:", v->name);
    c->defined[v->id] = true;
    return SM_OK;
}

static sm_status use(check *c, const sm_node *n, const sm_value *v) {
    if (v->cst != NULL)
        return v->def == NULL ? SM_OK : bad(c, n, "a constant has a node:", v->name);
    if (v->id >= c->f->graph->n_values || !c->defined[v->id])
        return bad(c, n, "used before it is defined, or out of its scope:", v->name);
    return SM_OK;
}

static bool has_anon(const sm_graph *g, sm_dim d) {
    sm_lin l;
    if (sm_dim_known(d) || !sm_lin_of(g, d, &l))
        return false;
    for (int t = 0; t < l.n; t++)
        if (g->priv->syms.v[l.sym[t]].anon)
            return true;
    return false;
}

static bool types_agree(sm_graph *g, const sm_type *a, const sm_type *b) {
    if (a->kind != b->kind || a->dtype != b->dtype || a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dims[i] != b->dims[i] && sm_dim_equal(g, a->dims[i], b->dims[i]) != 1 &&
            !(has_anon(g, a->dims[i]) && has_anon(g, b->dims[i])))
            return false;
    return true;
}

static sm_status check_types(check *c, const sm_node *n) {
    sm_node shadow = *n;
    char have[256], want[256];
    shadow.out = NULL;
    shadow.n_out = 0;
    sm_graph *g = c->f->graph;
    sm_status st = sm_infer_node(g, &shadow, c->err);
    if (st != SM_OK) {
        sm_err_prefix(c->err, "function '%s': %s '%s'", c->f->name, sm_op_row_of(n->op)->name,
                      n->n_out > 0 ? n->out[0]->name : "");
        return st;
    }
    if (shadow.n_out != n->n_out)
        return bad(c, n, "wrong number of results", NULL);
    for (int i = 0; i < n->n_out; i++) {
        const sm_value *v = n->out[i];
        if (v->def != n || v->index != i)
            return bad(c, n, "a result does not know its node:", v->name);
        if (!types_agree(g, &v->type, &shadow.out[i]->type))
            return SM_FAIL(c->err, SM_BADINPUT, "function '%s': %s '%s' has type %s, inference gives %s", c->f->name,
                           sm_op_row_of(n->op)->name, v->name,
                           sm_type_print(g, &v->type, NULL, false, have, sizeof have),
                           sm_type_print(g, &shadow.out[i]->type, NULL, false, want, sizeof want));
    }
    return SM_OK;
}

static sm_status check_block(check *c, const sm_block *b, const sm_node *owner);

static sm_status check_node(check *c, const sm_block *b, const sm_node *n) {
    const sm_op_row *row = sm_op_row_of(n->op);
    if (n->block != b || (n->prev != NULL ? n->prev->next : b->first) != n ||
        (n->next != NULL ? n->next->prev : b->last) != n)
        return bad(c, n, "not linked into its block", NULL);
    for (int i = 0; i < row->n_slots; i++)
        if (n->in[i] != NULL)
            SM_TRY(use(c, n, n->in[i]));
    for (int i = 0; i < n->n_list; i++) {
        if (n->list[i] == NULL)
            return bad(c, n, "a value of the list is missing", NULL);
        SM_TRY(use(c, n, n->list[i]));
    }
    for (int i = 0; i < n->n_blocks; i++)
        SM_TRY(check_block(c, n->blocks[i], n));
    SM_TRY(check_types(c, n));
    for (int i = 0; i < n->n_out; i++)
        SM_TRY(define(c, n, n->out[i]));
    return SM_OK;
}

static sm_status check_block(check *c, const sm_block *b, const sm_node *owner) {
    if (b->func != c->f || b->owner != owner)
        return bad(c, owner, "a block belongs elsewhere", NULL);
    for (int i = 0; i < b->n_in; i++)
        SM_TRY(define(c, owner, b->in[i]));
    for (const sm_node *n = b->first; n != NULL; n = n->next)
        SM_TRY(check_node(c, b, n));
    for (int i = 0; i < b->n_out; i++) {
        if (b->out[i] == NULL)
            return bad(c, owner, "a result of a block is missing", NULL);
        SM_TRY(use(c, owner, b->out[i]));
    }
    if (owner == NULL)
        return SM_OK;
    for (int i = 0; i < b->n_in; i++) /* out of scope again */
        c->defined[b->in[i]->id] = false;
    for (const sm_node *n = b->first; n != NULL; n = n->next)
        for (int i = 0; i < n->n_out; i++)
            c->defined[n->out[i]->id] = false;
    return SM_OK;
}

sm_status sm_verify_func(const sm_func *f, sm_err *err) {
    check c = {.f = f, .err = err};
    c.defined = sm_alloc_n((size_t)f->graph->n_values + 1, sizeof *c.defined);
    c.names = sm_map_new(256);
    sm_status st = c.defined == NULL || c.names == NULL ? SM_NOMEM(err) : check_block(&c, f->body, NULL);
    sm_free(c.defined);
    sm_map_free(&c.names);
    return st;
}

sm_status sm_verify(const sm_graph *g, sm_err *err) {
    for (int i = 0; i < g->n_funcs; i++) {
        for (int j = 0; j < i; j++)
            if (strcmp(g->funcs[i]->name, g->funcs[j]->name) == 0)
                return SM_FAIL(err, SM_BADINPUT, "two functions are named '%s'", g->funcs[i]->name);
        SM_TRY(sm_verify_func(g->funcs[i], err));
    }
    return SM_OK;
}
