/* SPDX-License-Identifier: MIT
 *
 * graph.c: the graph as a container: functions, values and their names, side tables, removal of dead nodes.
 *
 * Names: a function's values are unique inside it, a constant inside the graph, and no constant has the name of any
 * function's value, so that the text form of any set of functions reads back unchanged.  Where the two meet the constant
 * yields, because values carry a model's interface.  Tables of names are insert-only: the old name of a renamed or
 * removed value is not given out again.
 */
#include <assert.h>
#include <string.h>

#include "graph/graph_int.h"

/* ---- graph ---- */

sm_status sm_graph_new(sm_graph **out, sm_err *err) {
    *out = NULL;
    sm_arena *arena = sm_arena_new();
    sm_graph *g = arena != NULL ? sm_arena_alloc(arena, sizeof *g) : NULL;
    struct sm_graph_priv *p = g != NULL ? sm_arena_alloc(arena, sizeof *p) : NULL;
    if (p == NULL) {
        sm_arena_free(&arena);
        return SM_NOMEM(err);
    }
    g->arena = arena;
    g->priv = p;
    p->expr_of = sm_map_new(64);
    p->sym_of = sm_map_new(8);
    p->fn_of = sm_map_new(8);
    p->name_of = sm_map_new(256);
    p->const_of = sm_map_new(64);
    p->shown_of = sm_map_new(8);
    if (p->expr_of == NULL || p->sym_of == NULL || p->fn_of == NULL || p->name_of == NULL || p->const_of == NULL ||
        p->shown_of == NULL) {
        sm_graph_free(&g);
        return SM_NOMEM(err);
    }
    *out = g;
    return SM_OK;
}

void sm_graph_free(sm_graph **gp) {
    sm_graph *g = *gp;
    if (g == NULL)
        return;
    *gp = NULL;
    struct sm_graph_priv *p = g->priv;
    for (size_t i = p->owners.n; i-- > 0;)
        p->owners.v[i].free_fn(p->owners.v[i].p);
    for (sm_func_full *f = p->all_funcs; f != NULL; f = f->next) {
        sm_map_free(&f->names);
        sm_free(f->holders.v);
    }
    sm_map_free(&p->expr_of);
    sm_map_free(&p->sym_of);
    sm_map_free(&p->fn_of);
    sm_map_free(&p->name_of);
    sm_map_free(&p->const_of);
    sm_map_free(&p->shown_of);
    sm_free(p->shown.v);
    sm_free(p->syms.v);
    sm_free(p->exprs.v);
    sm_free(p->names.v);
    sm_free(p->interned.v);
    sm_free(p->owners.v);
    sm_free(g->funcs);
    sm_arena *arena = g->arena;
    sm_arena_free(&arena);
}

sm_status sm_graph_keep(sm_graph *g, void *owner, void (*free_fn)(void *), sm_err *err) {
    if (!SM_GROW(&g->priv->owners))
        return SM_NOMEM(err);
    g->priv->owners.v[g->priv->owners.n++] = (sm_owner){owner, free_fn};
    return SM_OK;
}

/* ---- functions ---- */

sm_status sm_func_new(sm_graph *g, const char *name, int opset, sm_func **out, sm_err *err) {
    struct sm_graph_priv *p = g->priv;
    *out = NULL;
    if (g->n_funcs >= SM_FUNCS_MAX)
        return SM_FAIL(err, SM_UNSUPPORTED, "more than %d functions", SM_FUNCS_MAX);
    sm_func_full *f = sm_arena_alloc(g->arena, sizeof *f);
    if (f == NULL)
        return SM_NOMEM(err);
    f->f.graph = g;
    f->f.name = sm_arena_strdup(g->arena, name);
    f->f.opset = opset;
    f->f.body = sm_arena_alloc(g->arena, sizeof *f->f.body);
    if (f->f.name == NULL || f->f.body == NULL ||
        !sm_grow_((void **)&g->funcs, (size_t)g->n_funcs, &p->funcs_cap, sizeof *g->funcs))
        return SM_NOMEM(err);
    f->names = sm_map_new(256);
    if (f->names == NULL)
        return SM_NOMEM(err);
    f->f.body->func = &f->f;
    f->next = p->all_funcs;
    p->all_funcs = f;
    g->funcs[g->n_funcs++] = &f->f;
    *out = &f->f;
    return SM_OK;
}

sm_status sm_func_add_shapes(sm_func *f, int n_sym, int n_rows, sm_shape_set **out, sm_err *err) {
    sm_arena *a = f->graph->arena;
    bool full = (f->n_shapes & (f->n_shapes - 1)) == 0; /* grows by doubling */
    sm_shape_set *all = full ? sm_arena_alloc_n(a, 2 * (size_t)f->n_shapes + 1, sizeof *all) : f->shapes;
    if (all == NULL)
        return SM_NOMEM(err);
    if (full && f->n_shapes > 0)
        memcpy(all, f->shapes, (size_t)f->n_shapes * sizeof *all);
    sm_shape_set *s = &all[f->n_shapes];
    s->n_sym = n_sym;
    s->n_rows = n_rows;
    s->sym = sm_arena_alloc_n(a, (size_t)n_sym, sizeof *s->sym);
    s->value = sm_arena_alloc_n(a, (size_t)n_sym * (size_t)n_rows, sizeof *s->value);
    if (s->sym == NULL || s->value == NULL)
        return SM_NOMEM(err);
    f->shapes = all;
    f->n_shapes++;
    *out = s;
    return SM_OK;
}

sm_status sm_func_take_set(sm_func *f, const sm_shape_set *s, sm_err *err) {
    sm_shape_set *to = NULL;
    SM_TRY(sm_func_add_shapes(f, s->n_sym, s->n_rows, &to, err));
    memcpy(to->sym, s->sym, (size_t)s->n_sym * sizeof *s->sym);
    memcpy(to->value, s->value, (size_t)s->n_sym * (size_t)s->n_rows * sizeof *s->value);
    return SM_OK;
}

sm_status sm_func_take_shapes(sm_func *f, const sm_func *from, sm_err *err) {
    for (int i = 0; i < from->n_shapes; i++)
        SM_TRY(sm_func_take_set(f, &from->shapes[i], err));
    return SM_OK;
}

sm_func *sm_graph_func(const sm_graph *g, const char *name) {
    for (int i = 0; i < g->n_funcs; i++)
        if (name == NULL || strcmp(g->funcs[i]->name, name) == 0)
            return g->funcs[i];
    return NULL;
}

sm_status sm_graph_list(sm_graph *g, sm_func *const *f, int n, sm_err *err) {
    g->n_funcs = 0;
    for (int i = 0; i < n; i++) {
        if (!sm_grow_((void **)&g->funcs, (size_t)g->n_funcs, &g->priv->funcs_cap, sizeof *g->funcs))
            return SM_NOMEM(err);
        g->funcs[g->n_funcs++] = f[i];
    }
    return SM_OK;
}

void sm_graph_drop_func(sm_graph *g, sm_func *f) {
    int n = 0;
    for (int i = 0; i < g->n_funcs; i++)
        if (g->funcs[i] != f)
            g->funcs[n++] = g->funcs[i];
    g->n_funcs = n;
}

static int block_n_nodes(const sm_block *b) {
    int n = 0;
    for (const sm_node *d = b->first; d != NULL; d = d->next) {
        n++;
        for (int i = 0; i < d->n_blocks; i++)
            n += block_n_nodes(d->blocks[i]);
    }
    return n;
}

int sm_func_n_nodes(const sm_func *f) {
    return block_n_nodes(f->body);
}

/* ---- values and names ---- */

sm_value *sm_value_new(sm_graph *g) {
    sm_value *v = sm_arena_alloc(g->arena, sizeof *v);
    if (v != NULL)
        v->id = g->n_values++;
    return v;
}

/* The graph-wide entry of a name, made when absent; -1 when out of memory.  The name is in the arena when it is new. */
static int64_t name_entry(sm_graph *g, const char *name) {
    struct sm_graph_priv *p = g->priv;
    int64_t i;
    if (sm_map_get(p->name_of, sm_sv_of(name), &i))
        return i;
    const char *kept = sm_arena_strdup(g->arena, name);
    if (kept == NULL || !SM_GROW(&p->names))
        return -1;
    i = (int64_t)p->names.n;
    if (!sm_map_put(p->name_of, sm_sv_of(kept), i, NULL, NULL))
        return -1;
    p->names.v[p->names.n++] = (sm_name_entry){0};
    return i;
}

static int64_t holder_index(const sm_func *f, const char *name) {
    int64_t i;
    return sm_map_get(((const sm_func_full *)f)->names, sm_sv_of(name), &i) ? i : -1;
}

sm_value *sm_func_holder(const sm_func *f, const char *name) {
    int64_t i = holder_index(f, name);
    return i < 0 ? NULL : ((const sm_func_full *)f)->holders.v[i];
}

/* Writes down that v has this name, which is in the arena, and lets its old one go. */
static bool hold(sm_func *f, sm_value *v, const char *name) {
    sm_func_full *full = (sm_func_full *)f;
    int64_t i = holder_index(f, name), old = v->name != NULL ? holder_index(f, v->name) : -1;
    if (i < 0) {
        i = (int64_t)full->holders.n;
        if (!SM_GROW(&full->holders) || !sm_map_put(full->names, sm_sv_of(name), i, NULL, NULL))
            return false;
        full->holders.n++;
    }
    if (old >= 0 && full->holders.v[old] == v)
        full->holders.v[old] = NULL;
    full->holders.v[i] = v;
    v->name = name;
    return true;
}

bool sm_const_name(sm_graph *g, sm_value *v, const char *want) {
    struct sm_graph_priv *p = g->priv;
    const char *name = want;
    int64_t base = name_entry(g, want), i = base;
    while (i >= 0 && (p->names.v[i].cst != NULL || p->names.v[i].in_func)) {
        name = sm_arena_printf(g->arena, "%s_%d", want, p->names.v[base].next++);
        i = name != NULL ? name_entry(g, name) : -1;
    }
    if (i < 0)
        return false;
    if (name == want)
        name = sm_arena_strdup(g->arena, want);
    if (name == NULL)
        return false;
    p->names.v[i].cst = v;
    v->name = name;
    return true;
}

bool sm_value_name(sm_func *f, sm_value *v, const char *want) {
    sm_graph *g = f->graph;
    struct sm_graph_priv *p = g->priv;
    const char *name = want;
    int64_t base = name_entry(g, want), i = base;
    while (i >= 0 && sm_func_holder(f, name) != NULL) {
        name = sm_arena_printf(g->arena, "%s_%d", want, p->names.v[base].next++);
        i = name != NULL ? name_entry(g, name) : -1;
    }
    if (i >= 0 && name == want)
        name = sm_arena_strdup(g->arena, want);
    if (i < 0 || name == NULL || !hold(f, v, name))
        return false;
    sm_value *yields = p->names.v[i].cst;
    p->names.v[i].cst = NULL;
    p->names.v[i].in_func = true;
    return yields == NULL || strcmp(yields->name, name) != 0 || sm_const_name(g, yields, name);
}

bool sm_value_take_name(sm_func *f, sm_value *v, const char *name) {
    sm_value *other = sm_func_holder(f, name);
    if (other == v)
        return true;
    int64_t i = holder_index(f, name);
    if (i >= 0)
        ((sm_func_full *)f)->holders.v[i] = NULL;
    return sm_value_name(f, v, name) && (other == NULL || sm_value_name(f, other, name));
}

/* ---- types ---- */

bool sm_is_int(sm_dtype t) {
    char k = sm_dtype_kind(t);
    return k == 'i' || k == 'u';
}

bool sm_is_float(sm_dtype t) {
    return sm_dtype_kind(t) == 'f';
}

bool sm_type_eq(const sm_type *a, const sm_type *b) {
    if (a->kind != b->kind || a->dtype != b->dtype || a->rank != b->rank || (a->kind == SM_V_LIST && a->len != b->len))
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dims[i] != b->dims[i])
            return false;
    return true;
}

int64_t sm_type_numel(const sm_type *t, int64_t cap) {
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) {
        if (!sm_dim_known(t->dims[i]) || t->dims[i] < 0)
            return -1;
        if (t->dims[i] == 0)
            return 0;
        if (n > cap / t->dims[i])
            return -1;
        n *= t->dims[i];
    }
    return n <= cap ? n : -1;
}

/* Appends to a bounded text, without heap memory: printing a type cannot fail. */
static size_t append(char *out, size_t cap, size_t at, const char *s) {
    size_t n = SM_MIN(strlen(s), cap - 1 - at);
    memcpy(out + at, s, n);
    out[at + n] = 0;
    return at + n;
}

const char *sm_type_print(const sm_graph *g, const sm_type *t, const int *anon, bool mil, char *out, size_t cap) {
    char dim[SM_DIM_TEXT];
    static const char *const before[] = {"", "state<", "batch", "list<"};
    size_t n = append(out, cap, 0, before[t->kind]);
    if (t->kind == SM_V_BATCH)
        return out;
    n = append(out, cap, n, t->rank == 0 ? "" : "tensor<");
    n = append(out, cap, n, sm_dtype_name(t->dtype));
    for (int i = 0; i < t->rank; i++) {
        bool plain = !mil || sm_dim_known(t->dims[i]);
        n = append(out, cap, n, i == 0 ? ", [" : ", ");
        n = append(out, cap, n, plain ? sm_dim_print_as(g, t->dims[i], anon, dim, sizeof dim) : "?");
    }
    n = append(out, cap, n, t->rank == 0 ? "" : "]>");
    if (t->kind == SM_V_LIST) {
        n = append(out, cap, n, ", ");
        n = append(out, cap, n,
                   t->len == SM_DIM_UNKNOWN || mil ? "?" : sm_dim_print_as(g, t->len, anon, dim, sizeof dim));
    }
    append(out, cap, n, t->kind == SM_V_STATE || t->kind == SM_V_LIST ? ">" : "");
    return out;
}

/* ---- side tables ---- */

sm_value **sm_value_map_new(const sm_graph *g) {
    return sm_alloc_n(SM_MAX(g->n_values, 1), sizeof(sm_value *));
}

sm_value *sm_map_value(sm_value **map, sm_value *v) {
    if (v == NULL)
        return NULL;
    if (map[v->id] != NULL)
        return map[v->id];
    return v->cst != NULL ? v : NULL;
}

static void count_block(const sm_block *b, int *uses) {
    for (const sm_node *d = b->first; d != NULL; d = d->next) {
        int n_slots = sm_op_row_of(d->op)->n_slots;
        for (int i = 0; i < n_slots; i++)
            if (d->in[i] != NULL)
                uses[d->in[i]->id]++;
        for (int i = 0; i < d->n_list; i++)
            uses[d->list[i]->id]++;
        for (int i = 0; i < d->n_blocks; i++)
            count_block(d->blocks[i], uses);
    }
    for (int i = 0; i < b->n_out; i++)
        uses[b->out[i]->id]++;
}

int *sm_func_uses(const sm_func *f) {
    int *uses = sm_alloc_n(SM_MAX(f->graph->n_values, 1), sizeof *uses);
    if (uses != NULL)
        count_block(f->body, uses);
    return uses;
}

/* ---- dead nodes ---- */

bool sm_node_writes_state(const sm_node *n) {
    if (n->op == SM_OP_WRITE_STATE)
        return true;
    for (int i = 0; i < n->n_blocks; i++)
        for (const sm_node *d = n->blocks[i]->first; d != NULL; d = d->next)
            if (sm_node_writes_state(d))
                return true;
    return false;
}

static void unlink_node(sm_block *b, sm_node *d) {
    *(d->prev != NULL ? &d->prev->next : &b->first) = d->next;
    *(d->next != NULL ? &d->next->prev : &b->last) = d->prev;
    d->prev = d->next = NULL;
    d->block = NULL;
}

/* Walks backwards, so that all users of a node were seen before it. */
static void sweep_block(sm_block *b, bool *live) {
    for (int i = 0; i < b->n_out; i++)
        live[b->out[i]->id] = true;
    for (sm_node *d = b->last, *prev; d != NULL; d = prev) {
        prev = d->prev;
        bool keep = sm_node_writes_state(d);
        for (int i = 0; i < d->n_out; i++)
            keep |= live[d->out[i]->id];
        if (!keep) {
            unlink_node(b, d);
            continue;
        }
        for (int i = 0; i < sm_op_row_of(d->op)->n_slots; i++)
            if (d->in[i] != NULL)
                live[d->in[i]->id] = true;
        for (int i = 0; i < d->n_list; i++)
            live[d->list[i]->id] = true;
        for (int i = 0; i < d->n_blocks; i++)
            sweep_block(d->blocks[i], live);
    }
}

sm_status sm_func_remove_dead(sm_func *f, sm_err *err) {
    bool *live = sm_alloc_n(SM_MAX(f->graph->n_values, 1), sizeof *live);
    if (live == NULL)
        return SM_NOMEM(err);
    sweep_block(f->body, live);
    sm_free(live);
    return SM_OK;
}
