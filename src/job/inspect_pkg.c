/* SPDX-License-Identifier: MIT
 *
 * inspect_pkg.c: a package as it is written: functions with their interfaces and ops, constants once each.
 *
 * Constants of fewer than 16 elements are parameters of ops (axes, shapes), not weights.
 */
#include <string.h>

#include "job/inspect_int.h"

enum { WEIGHT_LEAST = 16 };

/* The shapes that an input takes when they are enumerated. */
static sm_status add_shapes(sm_report *r, const sm_func *f, const sm_value *v, struct ins_value *x, sm_err *err) {
    for (int i = 0; i < f->n_shapes && v->type.rank > 0; i++) {
        const sm_shape_set *s = &f->shapes[i];
        bool here = false;
        int64_t *rows = sm_arena_alloc_n(r->arena, (size_t)s->n_rows * (size_t)v->type.rank, sizeof *rows);
        if (!rows)
            return SM_NOMEM(err);
        for (int k = 0; k < s->n_rows * v->type.rank; k++) {
            sm_dim d = v->type.dims[k % v->type.rank];
            rows[k] = sm_dim_known(d) ? d : -1;
            for (int c = 0; c < s->n_sym; c++)
                if (sm_dim_as_symbol(f->graph, d) == s->sym[c]) {
                    rows[k] = s->value[(int64_t)(k / v->type.rank) * s->n_sym + c];
                    here = true;
                }
        }
        if (here) {
            x->shapes = rows;
            x->n_shapes = s->n_rows;
            return SM_OK;
        }
    }
    return SM_OK;
}

static sm_status add_value(sm_report *r, ins_func *o, const sm_value *v, char role, sm_err *err) {
    sm_graph *g = r->l->graph;
    char text[128];
    if (!sm_grow_((void **)&o->values, o->n_values, &o->cap_values, sizeof *o->values))
        return SM_NOMEM(err);
    struct ins_value *x = &o->values[o->n_values++];
    *x = (struct ins_value){.name = v->name, .dtype = sm_dtype_name(v->type.dtype), .rank = v->type.rank, .role = role};
    for (int a = 0; a < v->type.rank; a++) {
        struct ins_dim *d = &x->dim[a];
        d->n = sm_dim_known(v->type.dims[a]) ? v->type.dims[a] : -1;
        d->text = sm_arena_strdup(r->arena, sm_dim_print(g, v->type.dims[a], text, sizeof text));
        if (!d->text)
            return SM_NOMEM(err);
        if (d->n < 0) {
            int k = sm_dim_as_symbol(g, v->type.dims[a]);
            d->bounded = k >= 0;
            if (k >= 0)
                sm_graph_symbol(g, k, &d->lo, &d->hi);
        }
    }
    return role == 'i' ? add_shapes(r, o->f, v, x, err) : SM_OK;
}

static sm_status add_constants(sm_report *r, const sm_block *b, bool *seen, sm_err *err) {
    for (const sm_node *n = b->first; n; n = n->next) {
        int slots = sm_op_row_of(n->op)->n_slots;
        for (int i = 0; i < slots + n->n_list; i++) {
            const sm_value *v = i < slots ? n->in[i] : n->list[i - slots];
            if (!v || !v->cst || seen[v->id] || v->cst->strs || sm_tensor_numel(&v->cst->src) < WEIGHT_LEAST)
                continue;
            seen[v->id] = true;
            SM_TRY(ins_add_tensor(r, sm_sv_of(v->name), &v->cst->src, err));
        }
        for (int i = 0; i < n->n_blocks; i++)
            SM_TRY(add_constants(r, n->blocks[i], seen, err));
    }
    return SM_OK;
}

static sm_status fill_function(sm_report *r, ins_func *o, bool *seen, sm_err *err) {
    const sm_block *b = o->f->body;
    for (int i = 0; i < b->n_in; i++)
        SM_TRY(add_value(r, o, b->in[i], b->in[i]->type.kind == SM_V_STATE ? 's' : 'i', err));
    for (int i = 0; i < b->n_out; i++)
        SM_TRY(add_value(r, o, b->out[i], 'o', err));
    SM_TRY(ins_count_op(&o->ops, b, err));
    return add_constants(r, b, seen, err);
}

sm_status ins_fill_package(sm_report *r, sm_err *err) {
    const sm_graph *g = r->l->graph;
    bool *seen = sm_alloc_n(g->n_values, sizeof *seen);
    r->funcs = sm_arena_alloc_n(r->arena, (size_t)g->n_funcs, sizeof *r->funcs);
    sm_status st = seen && r->funcs ? SM_OK : SM_NOMEM(err);
    for (int i = 0; st == SM_OK && i < g->n_funcs; i++) {
        r->n_funcs++;
        r->funcs[i].f = g->funcs[i];
        st = fill_function(r, &r->funcs[i], seen, err);
    }
    sm_free(seen);
    /* What the file says of its parameters; else its float weights, tables of positions and masks included. */
    r->parameters = r->l->info.n_params;
    for (size_t i = 0; st == SM_OK && r->l->info.n_params == 0 && i < r->n_tensors; i++)
        if (sm_dtype_kind(r->tensors[i].t->dtype) == 'f')
            r->parameters += r->tensors[i].numel;
    return st;
}
