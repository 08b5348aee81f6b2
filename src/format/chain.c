/* SPDX-License-Identifier: MIT
 *
 * chain.c: parts into one function (chain.h).
 *
 * Nodes are copied in order, so types are inferred anew from what the earlier parts really give: a flexible input of a
 * later part becomes as flexible as the value that it takes.
 */
#include "format/chain.h"

#include <inttypes.h>
#include <string.h>

/* Features by name: the chain's inputs and what parts gave out so far. */
typedef struct chain {
    sm_builder b;
    sm_func *f;
    sm_map *features; /* name -> index into v */
    struct {
        sm_value **v;
        size_t n, cap;
    } values;
    sm_err *err;
} chain;

static sm_value *feature(const chain *c, const char *name) {
    int64_t at;
    return sm_map_get(c->features, sm_sv_of(name), &at) ? c->values.v[at] : NULL;
}

/* A later feature of a name takes the place of an earlier one. */
static sm_status set_feature(chain *c, const char *name, sm_value *v) {
    int64_t at;
    if (sm_map_get(c->features, sm_sv_of(name), &at)) {
        c->values.v[at] = v;
        return SM_OK;
    }
    if (!SM_GROW(&c->values))
        return SM_NOMEM(c->err);
    c->values.v[c->values.n++] = v;
    return sm_map_put(c->features, sm_sv_of(name), (int64_t)c->values.n - 1, NULL, NULL) ? SM_OK : SM_NOMEM(c->err);
}

/* Inputs come first, so that no inner value takes their names: those that no earlier part gives. */
static sm_status add_inputs(chain *c, sm_func *const *parts, int n, sm_map *given) {
    for (int i = 0; i < n; i++) {
        const sm_block *b = parts[i]->body;
        for (int k = 0; k < b->n_in; k++) {
            if (sm_map_get(given, sm_sv_of(b->in[k]->name), NULL))
                continue;
            sm_value *v = sm_build_input(&c->b, b->in[k]->name, b->in[k]->type);
            SM_TRY(sm_build_end(&c->b, c->err));
            SM_TRY(set_feature(c, v->name, v));
            if (!sm_map_put(given, sm_sv_of(v->name), 0, NULL, NULL))
                return SM_NOMEM(c->err);
        }
        for (int k = 0; k < b->n_out; k++)
            if (!sm_map_put(given, sm_sv_of(b->out[k]->name), 0, NULL, NULL))
                return SM_NOMEM(c->err);
    }
    return SM_OK;
}

/* What a part's input is in the chain. */
static sm_status link_input(chain *c, const sm_value *in, sm_value **out) {
    sm_value *v = feature(c, in->name);
    const sm_type *want = &in->type;
    if (v == NULL)
        return SM_FAIL(c->err, SM_BADINPUT, "input '%s' is given by a later part", in->name);
    if (v->type.kind != want->kind || v->type.rank != want->rank)
        return SM_FAIL(c->err, SM_BADINPUT, "input '%s': an earlier part gives rank %d, wanted %d", in->name,
                       v->type.rank, want->rank);
    for (int a = 0; a < want->rank; a++)
        if (sm_dim_known(want->dims[a]) && sm_dim_equal(c->f->graph, v->type.dims[a], want->dims[a]) == 0) {
            char have[128];
            return SM_FAIL(c->err, SM_BADINPUT, "input '%s': axis %d: an earlier part gives %s, wanted %" PRId64,
                           in->name, a, sm_dim_print(c->f->graph, v->type.dims[a], have, sizeof have), want->dims[a]);
        }
    if (v->type.dtype != want->dtype) {
        if (want->kind != SM_V_TENSOR)
            return SM_FAIL(c->err, SM_BADINPUT, "state '%s' has another type than in an earlier part", in->name);
        sm_value *dtype = sm_const_str(&c->b, sm_dtype_name(want->dtype));
        v = sm_build(&c->b, SM_OP_CAST, NULL, "x", v, "dtype", dtype, NULL);
        SM_TRY(sm_build_end(&c->b, c->err));
    }
    *out = v;
    return SM_OK;
}

static sm_status add_part(chain *c, const sm_func *part) {
    sm_value **map = sm_value_map_new(c->f->graph);
    sm_status st = map == NULL ? SM_NOMEM(c->err) : SM_OK;
    for (int i = 0; st == SM_OK && i < part->body->n_in; i++)
        st = link_input(c, part->body->in[i], &map[part->body->in[i]->id]);
    for (const sm_node *n = part->body->first; st == SM_OK && n != NULL; n = n->next) {
        sm_build_copy(&c->b, n, map);
        st = sm_build_end(&c->b, c->err);
    }
    for (int i = 0; st == SM_OK && i < part->body->n_out; i++)
        st = set_feature(c, part->body->out[i]->name, sm_map_value(map, part->body->out[i]));
    if (st == SM_OK)
        st = sm_func_take_shapes(c->f, part, c->err);
    sm_free(map);
    return st;
}

/* An output keeps its name; an input that is given back as it came is the output. */
static sm_status add_output(chain *c, const char *name) {
    sm_value *v = feature(c, name);
    if (v == NULL)
        return SM_FAIL(c->err, SM_BADINPUT, "output '%s' is given by no part", name);
    sm_build_output(&c->b, v, v->def != NULL ? name : NULL);
    return sm_build_end(&c->b, c->err);
}

static sm_status build(chain *c, sm_func *const *parts, int n, const char *const *outputs, int n_out) {
    sm_map *given = sm_map_new(64);
    sm_status st = given == NULL ? SM_NOMEM(c->err) : add_inputs(c, parts, n, given);
    sm_map_free(&given);
    SM_TRY(st);
    for (int i = 0; i < n; i++) {
        st = add_part(c, parts[i]);
        if (st != SM_OK) {
            sm_err_prefix(c->err, "part %d of the pipeline", i);
            return st;
        }
    }
    for (int i = 0; i < n_out; i++)
        SM_TRY(add_output(c, outputs[i]));
    for (int i = 0; n_out == 0 && i < parts[n - 1]->body->n_out; i++)
        SM_TRY(add_output(c, parts[n - 1]->body->out[i]->name));
    return SM_OK;
}

sm_status sm_func_chain(sm_graph *g, const char *name, sm_func *const *parts, int n, const char *const *outputs,
                        int n_out, sm_func **out, sm_err *err) {
    chain c = {.err = err};
    int opset = 0;
    sm_status st;
    for (int i = 0; i < n; i++)
        opset = SM_MAX(opset, parts[i]->opset);
    c.features = sm_map_new(64);
    if (c.features == NULL)
        return SM_NOMEM(err);
    SM_TRY_DONE(sm_func_new(g, name, opset, &c.f, err));
    sm_build_start(&c.b, c.f);
    SM_TRY_DONE(build(&c, parts, n, outputs, n_out));
    for (int i = 0; i < n; i++)
        sm_graph_drop_func(g, parts[i]);
    *out = c.f;
done:
    if (st != SM_OK && c.f != NULL)
        sm_graph_drop_func(g, c.f);
    sm_map_free(&c.features);
    sm_free(c.values.v);
    return st;
}
