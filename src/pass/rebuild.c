/* SPDX-License-Identifier: MIT
 *
 * rebuild.c: the frame every pass stands in: a new function is built while the old one is walked.
 *
 * Nothing is edited in place, so a pass that fails half-way leaves the graph as it was.  When it ends well the new function
 * takes the old one's place on the graph's list; the old one stays valid as long as the graph.
 */
#include "base/files.h"
#include "base/log.h"
#include "pass/pass_int.h"

#include <stdio.h>
#include <string.h>

sm_status sm_rebuild_start_bare(sm_rebuild *r, sm_func *f, int opset, sm_err *err) {
    memset(r, 0, sizeof *r);
    r->old = f;
    r->map = sm_value_map_new(f->graph);
    if (r->map == NULL)
        return SM_NOMEM(err);
    sm_status st = sm_func_new(f->graph, f->name, opset, &r->f, err);
    if (st != SM_OK) {
        sm_free(r->map);
        r->map = NULL;
        return st;
    }
    sm_build_start(&r->b, r->f);
    return SM_OK;
}

sm_status sm_rebuild_start(sm_rebuild *r, sm_func *f, int opset, sm_err *err) {
    SM_TRY(sm_rebuild_start_bare(r, f, opset, err));
    for (int i = 0; i < f->body->n_in; i++) {
        const sm_value *v = f->body->in[i];
        r->map[v->id] = sm_build_input(&r->b, v->name, v->type);
    }
    sm_status st = sm_func_take_shapes(r->f, f, err); /* its inputs are the same */
    if (st != SM_OK) {
        sm_graph_drop_func(f->graph, r->f);
        sm_free(r->map);
        r->map = NULL;
    }
    return st;
}

/* f, the last on the list, takes the place of `old`: the first function of a graph is the one that runs. */
static void replace(sm_graph *g, const sm_func *old, sm_func *f) {
    for (int i = 0; i < g->n_funcs; i++)
        if (g->funcs[i] == old) {
            sm_graph_drop_func(g, f);
            g->funcs[i] = f;
            return;
        }
}

sm_status sm_rebuild_end_bare(sm_rebuild *r, sm_status st, sm_func **out, sm_err *err) {
    sm_free(r->map);
    r->map = NULL;
    sm_status built = sm_build_end(&r->b, st == SM_OK ? err : NULL);
    if (st == SM_OK)
        st = built;
    if (st == SM_OK)
        st = sm_func_remove_dead(r->f, err);
    if (st != SM_OK) {
        sm_graph_drop_func(r->f->graph, r->f);
        return st;
    }
    replace(r->f->graph, r->old, r->f);
    *out = r->f;
    return SM_OK;
}

sm_status sm_rebuild_end_aside(sm_rebuild *r, sm_func **out, sm_err *err) {
    sm_free(r->map);
    r->map = NULL;
    sm_err own = {0};
    sm_status st = sm_build_end(&r->b, &own);
    sm_graph_drop_func(r->f->graph, r->f);
    if (st == SM_OK)
        *out = r->f;
    else if (st == SM_RESOURCE && err != NULL)
        *err = own;
    return st == SM_RESOURCE ? st : SM_OK;
}

sm_status sm_rebuild_end(sm_rebuild *r, sm_status st, sm_func **out, sm_err *err) {
    if (st == SM_OK && r->b.st == SM_OK) {
        for (int i = 0; i < r->old->body->n_out; i++) {
            sm_value *v = r->old->body->out[i];
            sm_build_output(&r->b, sm_map_value(r->map, v), v->name);
        }
    }
    return sm_rebuild_end_bare(r, st, out, err);
}

sm_value *sm_input_named(const sm_func *f, const char *name) {
    for (int i = 0; i < f->body->n_in; i++)
        if (strcmp(f->body->in[i]->name, name) == 0)
            return f->body->in[i];
    return NULL;
}

float *sm_const_decode(const sm_const *c, size_t *n) {
    *n = (size_t)sm_tensor_numel(&c->src);
    float *x = sm_alloc_n(*n > 0 ? *n : 1, sizeof *x);
    if (x != NULL && *n > 0)
        sm_decode_rows(&c->src, 0, sm_tensor_rows(&c->src), x);
    return x;
}

static sm_status dump(const char *name, const sm_func *f, sm_err *err) {
    static int step;
    sm_str text = SM_STR_INIT;
    sm_outfile *o = NULL;
    char path[96];
    sm_print_opts opts = {.no_data = true};
    sm_status st = sm_func_print(f, &opts, &text, err);
    snprintf(path, sizeof path, "%02d-%s.sg", ++step, name);
    if (st == SM_OK)
        st = sm_outfile_new(path, &o, err);
    if (st == SM_OK)
        st = sm_outfile_append(o, sm_str_z(&text), text.n, err);
    if (st == SM_OK)
        st = sm_outfile_commit(&o, err);
    sm_outfile_abandon(&o);
    sm_str_free(&text);
    return st;
}

sm_status sm_pass_check(const char *name, const sm_func *f, sm_err *err) {
    sm_trace(SM_T_PASS, 2, "%s: function '%s', %d nodes", name, f->name, sm_func_n_nodes(f));
    if (strcmp(sm_knob(SM_KNOB_DUMP), "graph") == 0)
        SM_TRY(dump(name, f, err));
    bool verify = sm_knob_int(SM_KNOB_VERIFY) != 0;
#ifndef NDEBUG
    verify = true;
#endif
    if (verify) {
        sm_status st = sm_verify_func(f, err);
        if (st != SM_OK)
            sm_err_prefix(err, "after pass %s", name);
        return st;
    }
    return SM_OK;
}
