/* SPDX-License-Identifier: MIT
 *
 * chain.c: parts into one function (chain.h).
 *
 * Nodes are copied in order, so types are inferred anew from what the earlier parts really give: a flexible input of a
 * later part becomes as flexible as the value that it takes.
 */
#include "format/chain.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/number.h"

/* What a part gives: outputs by name, and the one that is of floats, when there is just one. */
typedef struct giving {
    sm_map *names;
    sm_value *one;
} giving;

/* Features by name: the chain's inputs and what parts gave out so far. */
typedef struct chain {
    const sm_chain *o;
    sm_builder b;
    sm_func *f;
    sm_map *features; /* name -> index into v */
    struct {
        sm_value **v;
        size_t n, cap;
    } values;
    giving *gives; /* [n_parts] */
    sm_map *stems; /* names of states -> index into again */
    struct {
        int *v; /* number to try next behind the name */
        size_t n, cap;
    } again;
    int64_t *number; /* by symbol: what a later part makes of it; -1: nothing */
    int n_sym;
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

/* ------------------------------------------------------------------ which output is which input */

static bool is_float(const sm_type *t) {
    return t->kind == SM_V_TENSOR && sm_dtype_kind(t->dtype) == 'f';
}

static bool shapes_agree(sm_graph *g, const sm_type *a, const sm_type *b) {
    bool agree = a->rank == b->rank;
    for (int i = 0; agree && i < a->rank; i++)
        agree = sm_dim_equal(g, a->dims[i], b->dims[i]) != 0;
    return agree;
}

static sm_status note_outputs(chain *c) {
    c->gives = sm_alloc_n((size_t)c->o->n_parts, sizeof *c->gives);
    if (c->gives == NULL)
        return SM_NOMEM(c->err);
    for (int k = 0; k < c->o->n_parts; k++) {
        const sm_block *b = c->o->parts[k]->body;
        giving *g = &c->gives[k];
        int floats = 0;
        g->names = sm_map_new((size_t)b->n_out);
        if (g->names == NULL)
            return SM_NOMEM(c->err);
        for (int i = 0; i < b->n_out; i++) {
            if (!sm_map_put(g->names, sm_sv_of(b->out[i]->name), i, NULL, NULL))
                return SM_NOMEM(c->err);
            if (is_float(&b->out[i]->type) && ++floats == 1)
                g->one = b->out[i];
        }
        g->one = floats == 1 ? g->one : NULL;
    }
    return SM_OK;
}

/* The output of part k that input `in` of a later part takes; NULL: none.  loose: also under another name. */
static sm_value *source_in(const chain *c, int k, const sm_value *in, bool loose) {
    const giving *g = &c->gives[k];
    int64_t at;
    if (in->type.kind != SM_V_TENSOR)
        return NULL;
    if (sm_map_get(g->names, sm_sv_of(in->name), &at))
        return c->o->parts[k]->body->out[at];
    bool fits = loose && is_float(&in->type) && in->type.rank >= 3 && g->one != NULL;
    return fits && shapes_agree(c->f->graph, &g->one->type, &in->type) ? g->one : NULL;
}

/* The last earlier part that gives input `in` of part k; *out its output. */
static int source_of(const chain *c, int k, const sm_value *in, sm_value **out) {
    for (int i = k - 1; i >= 0; i--) {
        *out = source_in(c, i, in, c->o->loose && i == k - 1);
        if (*out != NULL)
            return i;
    }
    return -1;
}

/* Numbers that later parts want of flexible extents. */
static sm_status bind_numbers(chain *c) {
    sm_graph *g = c->f->graph;
    c->n_sym = sm_graph_n_symbols(g);
    c->number = sm_alloc_n((size_t)c->n_sym + 1, sizeof *c->number);
    if (c->number == NULL)
        return SM_NOMEM(c->err);
    for (int k = 0; k < c->n_sym; k++)
        c->number[k] = -1;
    for (int k = 1; k < c->o->n_parts; k++) {
        const sm_block *b = c->o->parts[k]->body;
        for (int i = 0; i < b->n_in; i++) {
            sm_value *from;
            if (source_of(c, k, b->in[i], &from) < 0 || from->type.rank != b->in[i]->type.rank)
                continue;
            for (int a = 0; a < from->type.rank; a++) {
                int sym = sm_dim_known(from->type.dims[a]) ? -1 : sm_dim_as_symbol(g, from->type.dims[a]);
                if (sym >= 0 && sm_dim_known(b->in[i]->type.dims[a]) && c->number[sym] < 0)
                    c->number[sym] = b->in[i]->type.dims[a];
            }
        }
    }
    return SM_OK;
}

/* ------------------------------------------------------------------ inputs */

static sm_status add_input(chain *c, const sm_value *in, const char *name, sm_value **out) {
    sm_type t = in->type;
    for (int a = 0; a < t.rank; a++) {
        int sym = sm_dim_known(t.dims[a]) ? -1 : sm_dim_as_symbol(c->f->graph, t.dims[a]);
        if (sym >= 0 && sym < c->n_sym && c->number[sym] >= 0)
            t.dims[a] = c->number[sym];
    }
    *out = sm_build_input(&c->b, name, t);
    return sm_build_end(&c->b, c->err);
}

/* A part's state, under a name that no other input has. */
static sm_status add_state(chain *c, const sm_value *in, sm_value **out) {
    char name[256];
    sm_sv stem = {in->name, SM_MIN(strlen(in->name), 200)};
    int64_t at = (int64_t)c->again.n;
    bool known = false;
    snprintf(name, sizeof name, "%s", in->name);
    if (feature(c, name) != NULL) {
        if (!SM_GROW(&c->again) || !sm_map_put(c->stems, stem, at, &known, &at))
            return SM_NOMEM(c->err);
        if (!known)
            c->again.v[c->again.n++] = 2;
    }
    while (feature(c, name) != NULL)
        snprintf(name, sizeof name, "%.*s_%d", (int)stem.n, stem.p, c->again.v[at]++);
    SM_TRY(add_input(c, in, name, out));
    return set_feature(c, (*out)->name, *out);
}

/* Inputs come first, so that no inner value takes their names: those that no earlier part gives.  map[i]: what inputs are
 * in the chain, by value id. */
static sm_status add_inputs(chain *c, sm_value **map) {
    for (int i = 0; i < c->o->n_parts; i++) {
        const sm_block *b = c->o->parts[i]->body;
        for (int k = 0; k < b->n_in; k++) {
            sm_value *from, *in = b->in[k];
            if (in->type.kind == SM_V_STATE) {
                SM_TRY(add_state(c, in, &map[in->id]));
                continue;
            }
            if (source_of(c, i, in, &from) >= 0)
                continue;
            sm_value *v = feature(c, in->name);
            if (v == NULL) {
                SM_TRY(add_input(c, in, in->name, &v));
                SM_TRY(set_feature(c, v->name, v));
            }
            map[in->id] = v;
        }
    }
    return SM_OK;
}

/* What part k's input is: v, of the type that the part wants. */
static sm_status fit(chain *c, const sm_value *in, sm_value *v, sm_value **out) {
    const sm_type *want = &in->type;
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
        sm_value *dtype = sm_const_str(&c->b, sm_dtype_name(want->dtype));
        v = sm_build(&c->b, SM_OP_CAST, NULL, "x", v, "dtype", dtype, NULL);
        SM_TRY(sm_build_end(&c->b, c->err));
    }
    *out = v;
    return SM_OK;
}

/* ------------------------------------------------------------------ parts */

static sm_status add_part(chain *c, int k, sm_value **map) {
    const sm_func *part = c->o->parts[k];
    for (int i = 0; i < part->body->n_in; i++) {
        sm_value *in = part->body->in[i], *from;
        sm_value *v = source_of(c, k, in, &from) >= 0 ? sm_map_value(map, from) : map[in->id];
        SM_TRY(fit(c, in, v, &map[in->id]));
    }
    for (const sm_node *n = part->body->first; n != NULL; n = n->next) {
        sm_build_copy(&c->b, n, map);
        SM_TRY(sm_build_end(&c->b, c->err));
    }
    for (int i = 0; i < part->body->n_out; i++)
        SM_TRY(set_feature(c, part->body->out[i]->name, sm_map_value(map, part->body->out[i])));
    for (int i = 0; i < part->n_shapes; i++) { /* of inputs that are still flexible */
        const sm_shape_set *s = &part->shapes[i];
        bool open = true;
        for (int a = 0; a < s->n_sym; a++)
            open = open && (s->sym[a] >= c->n_sym || c->number[s->sym[a]] < 0);
        if (open)
            SM_TRY(sm_func_take_set(c->f, s, c->err));
    }
    return SM_OK;
}

/* ------------------------------------------------------------------ outputs */

/* An output keeps its name; an input that is given back as it came is the output. */
static sm_status add_output(chain *c, const char *name) {
    sm_value *v = feature(c, name);
    if (v == NULL)
        return SM_FAIL(c->err, SM_BADINPUT, "output '%s' is given by no part", name);
    sm_build_output(&c->b, v, v->def != NULL ? name : NULL);
    return sm_build_end(&c->b, c->err);
}

/* The last part's outputs when they are slices of one: floats of equal shape; in the order of the numbers that their names
 * end in. */
static sm_status join_slices(chain *c, bool *joined) {
    const sm_block *b = c->o->parts[c->o->n_parts - 1]->body;
    enum { MOST = 256 };
    sm_value *v[MOST];
    *joined = c->o->loose && b->n_out > 1 && b->n_out <= MOST;
    for (int i = 0; *joined && i < b->n_out; i++)
        *joined = is_float(&b->out[i]->type) && b->out[i]->type.rank > 0 &&
                  sm_number_behind(b->out[i]->name, NULL) >= 0 && b->out[i]->type.dtype == b->out[0]->type.dtype &&
                  shapes_agree(c->f->graph, &b->out[i]->type, &b->out[0]->type);
    if (!*joined)
        return SM_OK;
    for (int i = 0; i < b->n_out; i++) {
        int at = i;
        for (; at > 0 && sm_number_behind(v[at - 1]->name, NULL) > sm_number_behind(b->out[i]->name, NULL); at--)
            v[at] = v[at - 1];
        v[at] = b->out[i];
    }
    for (int i = 0; i < b->n_out; i++)
        v[i] = feature(c, v[i]->name);
    sm_value *all = sm_build_list(&c->b, SM_OP_CONCAT, "logits", v, b->n_out, "axis", sm_const_i32(&c->b, -1),
                                  "interleave", sm_const_bool(&c->b, false), NULL);
    sm_build_output(&c->b, all, "logits");
    return sm_build_end(&c->b, c->err);
}

static sm_status add_outputs(chain *c) {
    const sm_block *last = c->o->parts[c->o->n_parts - 1]->body;
    bool joined;
    for (int i = 0; i < c->o->n_outputs; i++)
        SM_TRY(add_output(c, c->o->outputs[i]));
    if (c->o->n_outputs > 0)
        return SM_OK;
    SM_TRY(join_slices(c, &joined));
    for (int i = 0; !joined && i < last->n_out; i++)
        SM_TRY(add_output(c, last->out[i]->name));
    return SM_OK;
}

/* ------------------------------------------------------------------ the whole */

static sm_status build(chain *c) {
    sm_value **map = sm_value_map_new(c->f->graph);
    sm_status st = map == NULL ? SM_NOMEM(c->err) : bind_numbers(c);
    if (st == SM_OK)
        st = add_inputs(c, map);
    for (int i = 0; st == SM_OK && i < c->o->n_parts; i++) {
        st = add_part(c, i, map);
        if (st != SM_OK)
            sm_err_prefix(c->err, "part %d of the pipeline", i);
    }
    sm_free(map);
    return st == SM_OK ? add_outputs(c) : st;
}

sm_status sm_func_chain(sm_graph *g, const sm_chain *o, sm_func **out, sm_err *err) {
    chain c = {.o = o, .err = err};
    int opset = 0;
    sm_status st;
    for (int i = 0; i < o->n_parts; i++)
        opset = SM_MAX(opset, o->parts[i]->opset);
    c.features = sm_map_new(64);
    c.stems = sm_map_new(8);
    SM_TRY_DONE(c.features == NULL || c.stems == NULL ? SM_NOMEM(err) : SM_OK);
    SM_TRY_DONE(note_outputs(&c));
    SM_TRY_DONE(sm_func_new(g, o->name, opset, &c.f, err));
    sm_build_start(&c.b, c.f);
    SM_TRY_DONE(build(&c));
    for (int i = 0; i < o->n_parts; i++)
        sm_graph_drop_func(g, o->parts[i]);
    *out = c.f;
done:
    if (st != SM_OK && c.f != NULL)
        sm_graph_drop_func(g, c.f);
    for (int i = 0; c.gives != NULL && i < o->n_parts; i++)
        sm_map_free(&c.gives[i].names);
    sm_free(c.gives);
    sm_map_free(&c.features);
    sm_map_free(&c.stems);
    sm_free(c.again.v);
    sm_free(c.values.v);
    sm_free(c.number);
    return st;
}
