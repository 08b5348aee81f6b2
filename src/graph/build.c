/* SPDX-License-Identifier: MIT
 *
 * build.c: the builder: appends nodes to a block, with types inferred as they come.
 *
 * The first error sticks; every call after it returns NULL, so callers check once, at sm_build_end.  A slot name that the
 * op does not have is a bug of the caller and an assert; a missing or wrong value is an error, because readers pass on
 * what files say.
 */
#include <assert.h>
#include <stdarg.h>
#include <string.h>

#include "base/str.h"
#include "graph/graph_int.h"

void sm_build_start(sm_builder *b, sm_func *f) {
    memset(b, 0, sizeof *b);
    b->g = f->graph;
    b->f = f;
    b->b = f->body;
}

sm_status sm_build_end(sm_builder *b, sm_err *err) {
    if (b->st != SM_OK && err != NULL)
        *err = b->err;
    return b->st;
}

static void *no_memory(sm_builder *b) {
    if (b->st == SM_OK)
        b->st = SM_NOMEM(&b->err);
    return NULL;
}

/* One more pointer at the end of an arena array whose length is a power of two when it is full. */
static bool push(sm_graph *g, sm_value ***v, int *n, sm_value *x) {
    if ((*n & (*n - 1)) == 0) {
        sm_value **grown = sm_arena_alloc_n(g->arena, *n == 0 ? 1 : 2 * (size_t)*n, sizeof *grown);
        if (grown == NULL)
            return false;
        if (*n > 0)
            memcpy(grown, *v, (size_t)*n * sizeof *grown);
        *v = grown;
    }
    (*v)[(*n)++] = x;
    return true;
}

sm_value *sm_build_input(sm_builder *b, const char *name, sm_type type) {
    if (b->st != SM_OK)
        return NULL;
    assert(type.rank >= 0 && type.rank <= SM_MAX_RANK);
    bool body = b->b == b->f->body;
    if (body && sm_func_holder(b->f, name) != NULL) {
        b->st = SM_FAIL(&b->err, SM_BADINPUT, "function '%s': two values are named %s", b->f->name,
                        sm_quote(name, strlen(name)));
        return NULL;
    }
    for (int i = 0; i < type.rank; i++)
        if (type.dims[i] == SM_DIM_UNKNOWN)
            type.dims[i] = sm_dim_fresh(b->g);
    sm_value *v = sm_value_new(b->g);
    if (v == NULL || !sm_value_name(b->f, v, name))
        return no_memory(b);
    v->type = type;
    int64_t n = type.kind == SM_V_TENSOR ? sm_type_numel(&type, SM_SYM_FRESH) : -1;
    if (n > 0 && (sm_is_int(type.dtype) || type.dtype == SM_BOOL)) {
        v->sym = sm_arena_alloc_n(b->g->arena, (size_t)n, sizeof *v->sym);
        if (v->sym == NULL)
            return no_memory(b);
        bool is_bool = type.dtype == SM_BOOL;
        for (int64_t i = 0; i < n; i++)
            v->sym[i] = sm_dim_anon(b->g, is_bool ? 0 : INT64_MIN, is_bool ? 1 : INT64_MAX);
    }
    if (b->g->priv->oom || !push(b->g, &b->b->in, &b->b->n_in, v)) {
        b->g->priv->oom = false;
        return no_memory(b);
    }
    v->in_of = b->b;
    return v;
}

void sm_build_rename(sm_builder *b, sm_value *v, const char *name) {
    if (b->st != SM_OK || v == NULL)
        return;
    const sm_value *other = sm_func_holder(b->f, name);
    if (other != NULL && other != v && other->in_of == b->f->body)
        b->st = SM_FAIL(&b->err, SM_BADINPUT, "function '%s': a result has the name of input %s", b->f->name,
                        sm_quote(name, strlen(name)));
    if (b->st == SM_OK && !(v->cst != NULL ? sm_const_name(b->g, v, name) : sm_value_take_name(b->f, v, name)))
        no_memory(b);
}

void sm_build_output(sm_builder *b, sm_value *v, const char *name) {
    if (b->st != SM_OK)
        return;
    if (v == NULL) {
        b->st = SM_FAIL(&b->err, SM_BADINPUT, "function '%s': output %s has no value", b->f->name,
                        name != NULL ? name : "(unnamed)");
        return;
    }
    if (name != NULL && strcmp(v->name, name) != 0) {
        /* What already has a name of its own keeps it: inputs, constants, other outputs. */
        if (v->def == NULL || v->out_of == b->b)
            v = sm_build(b, SM_OP_IDENTITY, name, "x", v, NULL);
        const sm_value *other = sm_func_holder(b->f, name);
        if (v != NULL && other != NULL && other != v && other->out_of == b->b)
            b->st = SM_FAIL(&b->err, SM_BADINPUT, "function '%s': two outputs are named %s", b->f->name,
                            sm_quote(name, strlen(name)));
        sm_build_rename(b, v, name);
    }
    if (b->st != SM_OK)
        return;
    if (!push(b->g, &b->b->out, &b->b->n_out, v))
        no_memory(b);
    v->out_of = b->b;
}

/* ---- nodes ---- */

static sm_node *new_node(sm_builder *b, sm_op op, sm_value *const *in, sm_value *const *list, int n_list,
                         sm_block *const *blocks, int n_blocks) {
    sm_arena *a = b->g->arena;
    size_t n_slots = (size_t)sm_op_row_of(op)->n_slots;
    sm_node *n = sm_arena_alloc(a, sizeof *n);
    if (n == NULL)
        return no_memory(b);
    n->op = op;
    n->in = sm_arena_alloc_n(a, n_slots + 1, sizeof *n->in);
    n->list = sm_arena_alloc_n(a, (size_t)n_list + 1, sizeof *n->list);
    n->blocks = sm_arena_alloc_n(a, (size_t)n_blocks + 1, sizeof *n->blocks);
    if (n->in == NULL || n->list == NULL || n->blocks == NULL)
        return no_memory(b);
    if (n_slots > 0)
        memcpy(n->in, in, n_slots * sizeof *in);
    if (n_list > 0)
        memcpy(n->list, list, (size_t)n_list * sizeof *list);
    if (n_blocks > 0)
        memcpy(n->blocks, blocks, (size_t)n_blocks * sizeof(sm_block *));
    n->n_list = n_list;
    n->n_blocks = n_blocks;
    n->block = b->b;
    return n;
}

/* Names and ids for the results that inference made. */
static bool name_results(sm_builder *b, sm_node *n, const char *name) {
    const char *row = sm_op_row_of(n->op)->name, *dot = strrchr(row, '.');
    const char *base = name != NULL && name[0] != 0 ? name : dot != NULL ? dot + 1 : row;
    for (int i = 0; i < n->n_out; i++) {
        sm_value *v = n->out[i];
        const char *own = n->n_out == 1 ? base : sm_arena_printf(b->g->arena, "%s_%d", base, i);
        v->def = n;
        v->index = i;
        v->id = b->g->n_values++;
        if (own == NULL || !sm_value_name(b->f, v, own))
            return false;
    }
    return true;
}

sm_node *sm_build_node_blocks(sm_builder *b, sm_op op, const char *name, sm_value *const *in, sm_value *const *list,
                              int n_list, sm_block *const *blocks, int n_blocks) {
    if (b->st != SM_OK)
        return NULL;
    sm_node *n = new_node(b, op, in, list, n_list, blocks, n_blocks);
    if (n == NULL)
        return NULL;
    b->st = sm_infer_node(b->g, n, &b->err);
    if (b->st != SM_OK) {
        sm_err_prefix(&b->err, "%s%s%s%s", sm_op_row_of(op)->name, name != NULL ? " '" : "", name != NULL ? name : "",
                      name != NULL ? "'" : "");
        return NULL;
    }
    if (!name_results(b, n, name))
        return no_memory(b);
    for (int i = 0; i < n_blocks; i++)
        blocks[i]->owner = n;
    n->prev = b->b->last;
    *(n->prev != NULL ? &n->prev->next : &b->b->first) = n;
    b->b->last = n;
    return n;
}

sm_node *sm_build_node(sm_builder *b, sm_op op, const char *name, sm_value *const *in, sm_value *const *list,
                       int n_list) {
    return sm_build_node_blocks(b, op, name, in, list, n_list, NULL, 0);
}

static sm_value *build_va(sm_builder *b, sm_op op, const char *name, sm_value *const *list, int n, va_list ap) {
    sm_value *in[SM_MAX_SLOTS] = {NULL};
    if (b->st != SM_OK)
        return NULL;
    for (const char *slot; (slot = va_arg(ap, const char *)) != NULL;) {
        int i = sm_op_slot(op, slot);
        assert(i >= 0);
        in[i] = va_arg(ap, sm_value *);
    }
    sm_node *node = sm_build_node(b, op, name, in, list, n);
    return node != NULL && node->n_out > 0 ? node->out[0] : NULL;
}

sm_value *sm_build(sm_builder *b, sm_op op, const char *name, ...) {
    va_list ap;
    va_start(ap, name);
    sm_value *v = build_va(b, op, name, NULL, 0, ap);
    va_end(ap);
    return v;
}

sm_value *sm_build_list(sm_builder *b, sm_op op, const char *name, sm_value *const *list, int n, ...) {
    va_list ap;
    va_start(ap, n);
    sm_value *v = build_va(b, op, name, list, n, ap);
    va_end(ap);
    return v;
}

sm_block *sm_build_block(sm_builder *b) {
    if (b->st != SM_OK)
        return NULL;
    sm_block *k = sm_arena_alloc(b->g->arena, sizeof *k);
    if (k == NULL)
        return no_memory(b);
    k->func = b->f;
    return k;
}

/* ---- copy ---- */

static sm_value *mapped(sm_builder *b, const sm_node *n, sm_value **map, sm_value *v) {
    if (v == NULL || b->st != SM_OK)
        return NULL;
    sm_value *to = sm_map_value(map, v);
    if (to == NULL)
        b->st = SM_FAIL(&b->err, SM_BADINPUT, "%s: value '%s' is used before it is defined", sm_op_row_of(n->op)->name,
                        v->name);
    return to;
}

static sm_block *copy_block(sm_builder *b, const sm_node *n, const sm_block *from, sm_value **map) {
    sm_block *to = sm_build_block(b);
    if (to == NULL)
        return NULL;
    sm_builder inner = *b;
    inner.b = to;
    for (int i = 0; i < from->n_in; i++)
        map[from->in[i]->id] = sm_build_input(&inner, from->in[i]->name, from->in[i]->type);
    for (const sm_node *d = from->first; d != NULL && inner.st == SM_OK; d = d->next)
        sm_build_copy(&inner, d, map);
    for (int i = 0; i < from->n_out && inner.st == SM_OK; i++)
        sm_build_output(&inner, mapped(&inner, n, map, from->out[i]), NULL);
    b->st = inner.st;
    b->err = inner.err;
    return to;
}

sm_node *sm_build_copy(sm_builder *b, const sm_node *n, sm_value **map) {
    sm_value *in[SM_MAX_SLOTS] = {NULL}, **list;
    sm_block *blocks[4] = {NULL};
    if (b->st != SM_OK)
        return NULL;
    for (int i = 0; i < sm_op_row_of(n->op)->n_slots; i++)
        in[i] = mapped(b, n, map, n->in[i]);
    list = sm_alloc_n((size_t)n->n_list + 1, sizeof *list);
    if (list == NULL)
        return no_memory(b);
    for (int i = 0; i < n->n_list; i++)
        list[i] = mapped(b, n, map, n->list[i]);
    assert(n->n_blocks <= (int)SM_ARRAY_LEN(blocks));
    for (int i = 0; i < n->n_blocks && b->st == SM_OK; i++)
        blocks[i] = copy_block(b, n, n->blocks[i], map);
    sm_node *to = sm_build_node_blocks(b, n->op, n->n_out == 1 ? n->out[0]->name : NULL, in, list, n->n_list, blocks,
                                       n->n_blocks);
    sm_free(list);
    if (to == NULL)
        return NULL;
    for (int i = 0; i < to->n_out && i < n->n_out; i++) {
        if (n->n_out > 1 && sm_func_holder(b->f, n->out[i]->name) == NULL)
            sm_build_rename(b, to->out[i], n->out[i]->name);
        map[n->out[i]->id] = to->out[i];
    }
    return b->st == SM_OK ? to : NULL;
}
