/* SPDX-License-Identifier: MIT
 *
 * mlpackage_read_func.c: functions of a program -> functions of the graph.
 *
 * One pass over the operations in their order.  Names are looked up in scopes (a nested block sees what is defined
 * around it); slots, counts and blocks are checked against the op's row before the builder sees the node, so that every
 * message names function, op and result.  Types are our own inference's: declared ones may be wrong in real files.
 *
 * An unknown extent of an input becomes a symbol with the bounds that the model's description gives (graph/flex.h).
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "format/mlpackage_int.h"
#include "graph/flex.h"

#define MAX_NESTED 16

typedef struct scope {
    sm_map *names; /* -> index into values */
    struct scope *up;
} scope;

typedef struct func_reader {
    sm_pkg_reader *r;
    const SmPb__Model *model;
    const char *name; /* in the file */
    sm_func *f;
    struct {
        sm_value **v;
        size_t n, cap;
    } values;
    struct {
        sm_flex_input *v;
        size_t n, cap;
    } flex;
    sm_err *err;
} func_reader;

/* ------------------------------------------------------------------ names */

static sm_value *lookup(const func_reader *fr, const scope *s, const char *name) {
    int64_t at;
    for (; s != NULL; s = s->up)
        if (sm_map_get(s->names, sm_sv_of(name), &at))
            return fr->values.v[at];
    return NULL;
}

static sm_status define(func_reader *fr, scope *s, const char *name, sm_value *v) {
    if (name[0] == 0)
        return SM_FAIL(fr->err, SM_BADINPUT, "a value without a name");
    if (lookup(fr, s, name) != NULL)
        return SM_FAIL(fr->err, SM_BADINPUT, "value %s is defined twice", sm_quote(name, strlen(name)));
    if (!SM_GROW(&fr->values))
        return SM_NOMEM(fr->err);
    fr->values.v[fr->values.n++] = v;
    if (!sm_map_put(s->names, sm_sv_of(name), (int64_t)fr->values.n - 1, NULL, NULL))
        return SM_NOMEM(fr->err);
    return SM_OK;
}

static sm_status use(func_reader *fr, const scope *s, const char *name, sm_value **out) {
    *out = lookup(fr, s, name);
    if (*out == NULL)
        return SM_FAIL(fr->err, SM_BADINPUT, "value %s is used before it is defined", sm_quote(name, strlen(name)));
    return SM_OK;
}

/* Hands on a builder's failure. */
static sm_status built(func_reader *fr, sm_builder *b) {
    return b->st == SM_OK ? SM_OK : sm_build_end(b, fr->err);
}

/* ------------------------------------------------------------------ ops */

typedef struct op_reader {
    func_reader *fr;
    sm_builder *b;
    scope *s;
    const SmPb__Operation *o;
    const char *label; /* first result's name, or the op's type */
    sm_op op;
    const sm_op_row *row;
    sm_pkg_operand arg[SM_MAX_SLOTS]; /* in the file's order */
    int n_args;
    const SmPb__Argument *list[SM_MAX_LISTS];
} op_reader;

/* An operand as a value; one given in place becomes a constant of its own. */
static sm_status operand_value(op_reader *x, const sm_pkg_operand *a, sm_value **out) {
    sm_pkg_value v;
    char name[512];
    if (a->inlined == NULL) {
        *out = a->named;
        return SM_OK;
    }
    SM_TRY(sm_pkg_read_value(x->fr->r, a->inlined, &v, x->fr->err));
    snprintf(name, sizeof name, "%.400s_%.100s", x->label, a->key);
    return sm_pkg_const(x->fr->r, x->b, name, &v, out, x->fr->err);
}

static sm_status add_arg(op_reader *x, const char *key, const SmPb__Value *inlined, sm_value *named) {
    for (int i = 0; i < x->n_args; i++)
        if (strcmp(x->arg[i].key, key) == 0)
            return SM_FAIL(x->fr->err, SM_BADINPUT, "parameter '%s' is given twice", key);
    if (sm_op_slot(x->op, key) < 0 || x->n_args == SM_MAX_SLOTS)
        return SM_FAIL(x->fr->err, SM_UNSUPPORTED, "parameter %s is not known", sm_quote(key, strlen(key)));
    x->arg[x->n_args++] = (sm_pkg_operand){x->row->slot[sm_op_slot(x->op, key)].name, inlined, named};
    return SM_OK;
}

/* Inputs and attributes of the operation into x->arg and x->list. */
static sm_status collect_args(op_reader *x) {
    const SmPb__Operation *o = x->o;
    for (size_t i = 0; i < o->n_inputs; i++) {
        const char *key = o->inputs[i]->key;
        const SmPb__Argument *a = o->inputs[i]->value;
        int list = sm_op_list(x->op, key);
        if (list >= 0) {
            if (x->list[list] != NULL)
                return SM_FAIL(x->fr->err, SM_BADINPUT, "parameter '%s' is given twice", key);
            x->list[list] = a;
            if (a == NULL)
                return SM_FAIL(x->fr->err, SM_BADINPUT, "parameter '%s' is empty", key);
            continue;
        }
        if (a == NULL || a->n_bindings != 1 || a->bindings[0]->kind_case == SM_PB__BINDING__KIND__NOT_SET)
            return SM_FAIL(x->fr->err, SM_BADINPUT, "parameter %s: wanted one value, found %zu",
                           sm_quote(key, strlen(key)), a == NULL ? (size_t)0 : a->n_bindings);
        const SmPb__Binding *v = a->bindings[0];
        sm_value *named = NULL;
        if (v->kind_case == SM_PB__BINDING__KIND_NAME)
            SM_TRY(use(x->fr, x->s, v->name, &named));
        SM_TRY(add_arg(x, key, named == NULL ? v->value : NULL, named));
    }
    for (size_t i = 0; i < o->n_attributes; i++) {
        if (strcmp(o->attributes[i]->key, "name") == 0)
            continue;
        if (o->attributes[i]->value == NULL)
            return SM_FAIL(x->fr->err, SM_BADINPUT, "attribute '%s' is empty", o->attributes[i]->key);
        SM_TRY(add_arg(x, o->attributes[i]->key, o->attributes[i]->value, NULL));
    }
    return SM_OK;
}

static sm_status check_required(const op_reader *x) {
    for (int i = 0; i < x->row->n_slots; i++) {
        const sm_slot *s = &x->row->slot[i];
        bool given = s->optional || s->def[0] != 0;
        for (int k = 0; k < x->n_args && !given; k++)
            given = strcmp(x->arg[k].key, s->name) == 0;
        if (!given)
            return SM_FAIL(x->fr->err, SM_BADINPUT, "parameter '%s' is missing", s->name);
    }
    for (int i = 0; i < x->row->n_lists; i++)
        if (!x->row->list[i].optional && (x->list[i] == NULL || x->list[i]->n_bindings == 0))
            return SM_FAIL(x->fr->err, SM_BADINPUT, "parameter '%s' is missing", x->row->list[i].name);
    return SM_OK;
}

static sm_status read_list(op_reader *x, sm_value ***out, int *n) {
    int n_lists = x->row->n_lists;
    size_t count = n_lists == 0 || x->list[0] == NULL ? 0 : x->list[0]->n_bindings;
    *n = 0;
    *out = NULL;
    for (int k = 0; k < n_lists; k++)
        if ((x->list[k] == NULL ? 0 : x->list[k]->n_bindings) != count || count > 65536)
            return SM_FAIL(x->fr->err, SM_BADINPUT, "parameter '%s' has %zu values%s", x->row->list[k].name,
                           x->list[k] == NULL ? 0 : x->list[k]->n_bindings, count > 65536 ? "" : ", others have not");
    if (count == 0)
        return SM_OK;
    sm_value **v = sm_arena_alloc_n(x->fr->r->tmp, count * (size_t)n_lists, sizeof *v);
    if (v == NULL)
        return SM_NOMEM(x->fr->err);
    for (size_t i = 0; i < count * (size_t)n_lists; i++) {
        const char *list = x->row->list[i / count].name;
        const SmPb__Binding *q = x->list[i / count]->bindings[i % count];
        char key[64];
        snprintf(key, sizeof key, "%s_%zu", list, i % count);
        sm_pkg_operand a = {key, NULL, NULL};
        if (q->kind_case == SM_PB__BINDING__KIND_NAME)
            SM_TRY(use(x->fr, x->s, q->name, &a.named));
        else if (q->kind_case == SM_PB__BINDING__KIND_VALUE)
            a.inlined = q->value;
        else
            return SM_FAIL(x->fr->err, SM_BADINPUT, "parameter '%s': value %zu is empty", list, i % count);
        SM_TRY(operand_value(x, &a, &v[i]));
    }
    *out = v;
    *n = (int)count * n_lists;
    return SM_OK;
}

static sm_status read_ops(func_reader *fr, sm_builder *b, scope *s, const SmPb__Block *blk, int depth);

/* A nested block: its inputs, operations and outputs through a builder of its own. */
static sm_status read_block(op_reader *x, const SmPb__Block *pb, sm_block **out, int depth) {
    func_reader *fr = x->fr;
    scope s = {.up = x->s};
    sm_status st = SM_OK;
    sm_block *blk = sm_build_block(x->b);
    sm_builder nb = {.g = x->b->g, .f = x->b->f, .b = blk};
    *out = blk;
    if (blk == NULL)
        return sm_build_end(x->b, fr->err);
    if (depth > MAX_NESTED)
        return SM_FAIL(fr->err, SM_BADINPUT, "blocks are nested more than %d deep", MAX_NESTED);
    s.names = sm_map_new(16);
    if (s.names == NULL)
        return SM_NOMEM(fr->err);
    for (size_t i = 0; i < pb->n_inputs; i++) {
        sm_type type;
        SM_TRY_DONE(sm_pkg_read_type(pb->inputs[i]->type, &type, fr->err));
        for (int a = 0; a < type.rank; a++)
            if (type.dims[a] == SM_DIM_UNKNOWN)
                type.dims[a] = sm_dim_fresh(fr->r->g);
        sm_value *v = sm_build_input(&nb, pb->inputs[i]->name, type);
        SM_TRY_DONE(built(fr, &nb));
        SM_TRY_DONE(define(fr, &s, pb->inputs[i]->name, v));
    }
    SM_TRY_DONE(read_ops(fr, &nb, &s, pb, depth));
    for (size_t i = 0; i < pb->n_outputs; i++) {
        sm_value *v;
        SM_TRY_DONE(use(fr, &s, pb->outputs[i], &v));
        sm_build_output(&nb, v, NULL);
        SM_TRY_DONE(built(fr, &nb));
    }
done:
    sm_map_free(&s.names);
    return st;
}

/* Gives each of several results its own name: as outputs of a block that nobody keeps. */
static void rename_results(op_reader *x, sm_node *n) {
    sm_builder nb = *x->b;
    nb.b = sm_build_block(x->b);
    for (int i = 0; i < n->n_out && x->b->st == SM_OK; i++) {
        sm_build_output(&nb, n->out[i], x->o->outputs[i]->name);
        x->b->st = nb.st;
        x->b->err = nb.err;
    }
}

static sm_status define_results(op_reader *x, sm_node *n) {
    const SmPb__Operation *o = x->o;
    if ((size_t)n->n_out != o->n_outputs)
        return SM_FAIL(x->fr->err, SM_BADINPUT, "wanted %d results, found %zu", n->n_out, o->n_outputs);
    for (int i = 0; i < n->n_out; i++)
        SM_TRY(define(x->fr, x->s, o->outputs[i]->name, n->out[i]));
    if (n->n_out > 1)
        rename_results(x, n);
    return built(x->fr, x->b);
}

static sm_status read_node(op_reader *x, int depth) {
    func_reader *fr = x->fr;
    sm_value *in[SM_MAX_SLOTS] = {0}, **list, *cst;
    sm_block *blocks[2] = {0};
    int n_list, n_blocks = x->op == SM_OP_COND || x->op == SM_OP_WHILE_LOOP ? 2 : 0;
    SM_TRY(collect_args(x));
    SM_TRY(check_required(x));
    if (x->o->n_blocks != (size_t)n_blocks)
        return SM_FAIL(fr->err, SM_BADINPUT, "wanted %d blocks, found %zu", n_blocks, x->o->n_blocks);
    SM_TRY(sm_pkg_read_constexpr(fr->r, x->b, x->op, x->label, x->arg, x->n_args, &cst, fr->err));
    if (cst != NULL) {
        if (x->o->n_outputs != 1)
            return SM_FAIL(fr->err, SM_BADINPUT, "wanted 1 result, found %zu", x->o->n_outputs);
        return define(fr, x->s, x->o->outputs[0]->name, cst);
    }
    for (int i = 0; i < x->n_args; i++)
        SM_TRY(operand_value(x, &x->arg[i], &in[sm_op_slot(x->op, x->arg[i].key)]));
    SM_TRY(read_list(x, &list, &n_list));
    for (int i = 0; i < n_blocks; i++)
        SM_TRY(read_block(x, x->o->blocks[i], &blocks[i], depth + 1));
    const char *name = x->o->n_outputs > 0 ? x->o->outputs[0]->name : NULL;
    sm_node *n = n_blocks == 0 ? sm_build_node(x->b, x->op, name, in, list, n_list)
                               : sm_build_node_blocks(x->b, x->op, name, in, list, n_list, blocks, n_blocks);
    SM_TRY(built(fr, x->b));
    return define_results(x, n);
}

static sm_status read_const(op_reader *x) {
    const SmPb__Operation *o = x->o;
    const SmPb__Value *val = NULL;
    sm_pkg_value v;
    sm_value *cst;
    if (o->n_outputs != 1)
        return SM_FAIL(x->fr->err, SM_BADINPUT, "wanted 1 result, found %zu", o->n_outputs);
    for (size_t i = 0; i < o->n_attributes; i++)
        if (strcmp(o->attributes[i]->key, "val") == 0)
            val = o->attributes[i]->value;
    if (val == NULL && o->n_inputs == 1 && strcmp(o->inputs[0]->key, "val") == 0 && o->inputs[0]->value != NULL &&
        o->inputs[0]->value->n_bindings == 1 &&
        o->inputs[0]->value->bindings[0]->kind_case == SM_PB__BINDING__KIND_VALUE)
        val = o->inputs[0]->value->bindings[0]->value;
    if (val == NULL)
        return SM_FAIL(x->fr->err, SM_BADINPUT, "attribute 'val' is missing");
    SM_TRY(sm_pkg_read_value(x->fr->r, val, &v, x->fr->err));
    SM_TRY(sm_pkg_const(x->fr->r, x->b, o->outputs[0]->name, &v, &cst, x->fr->err));
    return define(x->fr, x->s, o->outputs[0]->name, cst);
}

/* The labels of a classifier, whole numbers as text. */
static sm_status read_classes(op_reader *x, const SmPb__Value *v) {
    sm_package *pkg = x->fr->r->pkg;
    sm_arena *a = pkg->graph->arena;
    if (v == NULL || v->kind_case != SM_PB__VALUE__KIND_IMMEDIATE ||
        v->immediate->kind_case != SM_PB__IMMEDIATE_VALUE__KIND_LIST)
        return SM_FAIL(x->fr->err, SM_BADINPUT, "parameter 'classes': wanted a list");
    const SmPb__ListValue *l = v->immediate->list;
    sm_sv *out = sm_arena_alloc_n(a, l->n_values, sizeof *out);
    if (out == NULL)
        return SM_NOMEM(x->fr->err);
    for (size_t i = 0; i < l->n_values; i++) {
        const SmPb__Value *e = l->values[i];
        const SmPb__TensorValue *t = e->kind_case == SM_PB__VALUE__KIND_IMMEDIATE &&
                                             e->immediate->kind_case == SM_PB__IMMEDIATE_VALUE__KIND_TENSOR
                                         ? e->immediate->tensor
                                         : NULL;
        const char *text = NULL;
        if (t != NULL && t->kind_case == SM_PB__TENSOR_VALUE__KIND_STRINGS && t->strings->n_values == 1)
            text = sm_arena_strdup(a, t->strings->values[0]);
        else if (t != NULL && t->kind_case == SM_PB__TENSOR_VALUE__KIND_LONG_INTS && t->long_ints->n_values == 1)
            text = sm_arena_printf(a, "%" PRId64, t->long_ints->values[0]);
        else
            return SM_FAIL(x->fr->err, SM_BADINPUT, "parameter 'classes': element %zu is neither text nor a number", i);
        if (text == NULL)
            return SM_NOMEM(x->fr->err);
        out[i] = sm_sv_of(text);
    }
    pkg->classes = out;
    pkg->n_classes = l->n_values;
    return SM_OK;
}

/* classify: a label and a dictionary of probabilities, which the graph has no types for.  They become the place of the
 * largest probability and the probabilities in the order of pkg->classes. */
static sm_status read_classify(op_reader *x) {
    const SmPb__Operation *o = x->o;
    const SmPb__Value *classes = NULL;
    sm_value *p = NULL;
    for (size_t i = 0; i < o->n_inputs; i++) {
        const SmPb__Argument *a = o->inputs[i]->value;
        if (a == NULL || a->n_bindings != 1)
            continue;
        if (strcmp(o->inputs[i]->key, "classes") == 0 && a->bindings[0]->kind_case == SM_PB__BINDING__KIND_VALUE)
            classes = a->bindings[0]->value;
        else if (strcmp(o->inputs[i]->key, "probabilities") == 0 &&
                 a->bindings[0]->kind_case == SM_PB__BINDING__KIND_NAME)
            SM_TRY(use(x->fr, x->s, a->bindings[0]->name, &p));
    }
    if (p == NULL || p->type.kind != SM_V_TENSOR)
        return SM_FAIL(x->fr->err, SM_BADINPUT, "parameter 'probabilities' is missing");
    if (o->n_outputs != 2)
        return SM_FAIL(x->fr->err, SM_BADINPUT, "wanted 2 results, found %zu", o->n_outputs);
    SM_TRY(read_classes(x, classes));
    const int32_t flat = -1;
    sm_value *all =
        sm_build(x->b, SM_OP_RESHAPE, o->outputs[1]->name, "x", p, "shape", sm_const_i32s(x->b, &flat, 1), NULL);
    sm_value *best =
        sm_build(x->b, SM_OP_REDUCE_ARGMAX, o->outputs[0]->name, "x", all, "axis", sm_const_i32(x->b, 0), NULL);
    SM_TRY(built(x->fr, x->b));
    SM_TRY(define(x->fr, x->s, o->outputs[0]->name, best));
    return define(x->fr, x->s, o->outputs[1]->name, all);
}

static sm_status unknown_op(op_reader *x) {
    SM_FAIL(x->fr->err, SM_UNSUPPORTED, "the op is not supported");
    return x->fr->err == NULL ? SM_UNSUPPORTED
                              : sm_err_hint(x->fr->err, "`smelt inspect` lists the ops of a package that can be run");
}

static sm_status read_ops(func_reader *fr, sm_builder *b, scope *s, const SmPb__Block *blk, int depth) {
    for (size_t i = 0; i < blk->n_operations; i++) {
        const SmPb__Operation *o = blk->operations[i];
        op_reader x = {.fr = fr, .b = b, .s = s, .o = o};
        sm_status st;
        x.label = o->n_outputs > 0 ? o->outputs[0]->name : o->type;
        if (strcmp(o->type, "const") == 0) {
            st = read_const(&x);
        } else if (strcmp(o->type, "classify") == 0) {
            st = read_classify(&x);
        } else if (!sm_op_of_name(sm_sv_of(o->type), &x.op) || sm_op_is_composite(x.op)) {
            st = unknown_op(&x);
        } else {
            x.row = sm_op_row_of(x.op);
            st = read_node(&x, depth);
        }
        if (st != SM_OK) {
            sm_err_prefix(fr->err, "op %s -> %s", sm_quote(o->type, strlen(o->type)),
                          sm_quote(x.label, strlen(x.label)));
            return st;
        }
    }
    return SM_OK;
}

/* ------------------------------------------------------------------ interfaces */

/* Finds the function's inputs in the description; functions that share one find it ready. */
static sm_status find_features(func_reader *fr) {
    const SmPb__ModelDescription *d = fr->model->description;
    sm_pkg_features *known = &fr->r->features;
    SmPb__Feature **v = d == NULL ? NULL : d->input;
    size_t n = d == NULL ? 0 : d->n_input;
    for (size_t i = 0; d != NULL && i < d->n_functions; i++)
        if (strcmp(d->functions[i]->name, fr->name) == 0)
            v = d->functions[i]->input, n = d->functions[i]->n_input;
    if (known->names != NULL && known->v == v && known->n == n)
        return SM_OK;
    sm_map_free(&known->names);
    *known = (sm_pkg_features){.v = v, .n = n, .names = sm_map_new(n)};
    for (size_t i = 0; i < n && known->names != NULL; i++)
        if (!sm_map_put(known->names, sm_sv_of(v[i]->name), (int64_t)i, NULL, NULL))
            sm_map_free(&known->names);
    return known->names == NULL ? SM_NOMEM(fr->err) : SM_OK;
}

/* The description of an input; NULL when there is none. */
static const SmPb__FeatureType *describe(const func_reader *fr, const char *input) {
    int64_t i;
    return sm_map_get(fr->r->features.names, sm_sv_of(input), &i) ? fr->r->features.v[i]->type : NULL;
}

static void flex_range(const SmPb__SizeRange *s, int a, sm_flex_input *out) {
    out->lo[a] = s == NULL || s->lower > INT64_MAX ? -1 : (int64_t)s->lower;
    out->hi[a] = s == NULL || s->upper < 0 ? -1 : s->upper;
}

/* The default shape of several goes first. */
static void default_first(int64_t *rows, int n, int rank, const int64_t *shape, size_t n_shape) {
    size_t bytes = (size_t)rank * sizeof *rows;
    int64_t keep[SM_MAX_RANK];
    if (n_shape != (size_t)rank)
        return;
    for (int i = 1; i < n; i++)
        if (memcmp(rows + (int64_t)i * rank, shape, bytes) == 0) {
            memcpy(keep, shape, bytes);
            memmove(rows + rank, rows, (size_t)i * bytes);
            memcpy(rows, keep, bytes);
            return;
        }
}

static sm_status flex_array(const func_reader *fr, const SmPb__ArrayFeature *f, sm_flex_input *out) {
    int rank = out->rank;
    if (f->range != NULL) {
        if (f->range->n_sizes != (size_t)rank)
            return SM_FAIL(fr->err, SM_BADINPUT, "wanted a range for each of %d dimensions, found %zu", rank,
                           f->range->n_sizes);
        for (int a = 0; a < rank; a++)
            flex_range(f->range->sizes[a], a, out);
    } else if (f->enumerated != NULL && f->enumerated->n_shapes > 0) {
        size_t n = f->enumerated->n_shapes;
        out->rows = n > 65536 ? NULL : sm_arena_alloc_n(fr->r->g->arena, n * (size_t)rank, sizeof *out->rows);
        if (out->rows == NULL)
            return n > 65536 ? SM_FAIL(fr->err, SM_BADINPUT, "%zu enumerated shapes", n) : SM_NOMEM(fr->err);
        for (size_t i = 0; i < n; i++) {
            const SmPb__ArrayShape *s = f->enumerated->shapes[i];
            if (s->n_shape != (size_t)rank)
                return SM_FAIL(fr->err, SM_BADINPUT, "enumerated shape %zu does not fit %d dimensions", i, rank);
            memcpy(out->rows + i * (size_t)rank, s->shape, (size_t)rank * sizeof *s->shape);
        }
        out->n_rows = (int)n;
        default_first(out->rows, out->n_rows, rank, f->shape, f->n_shape);
    } else if (f->n_shape == (size_t)rank) {
        for (int a = 0; a < rank; a++)
            if (f->shape[a] >= 0 && f->shape[a] <= INT32_MAX)
                out->lo[a] = out->hi[a] = f->shape[a];
    }
    return SM_OK;
}

/* Notes that the input is an image. */
static sm_status keep_image(const func_reader *fr, const char *input, const SmPb__ImageFeature *f,
                            const sm_type *type) {
    sm_package *p = fr->r->pkg;
    sm_arena *mem = fr->r->g->arena;
    bool full = (p->n_images & (p->n_images - 1)) == 0; /* grows by doubling */
    sm_pkg_image *all = full ? sm_arena_alloc_n(mem, 2 * p->n_images + 1, sizeof *all) : p->images;
    const char *function = sm_arena_strdup(mem, fr->name), *name = sm_arena_strdup(mem, input);
    if (all == NULL || function == NULL || name == NULL)
        return SM_NOMEM(fr->err);
    if (type->rank != 4 || sm_dtype_kind(type->dtype) != 'f')
        return SM_FAIL(fr->err, SM_BADINPUT, "an image: wanted floats of 4 dimensions");
    sm_pkg_colours c;
    switch (f->color_space) {
    case SM_PKG_SPACE_GRAY:
    case SM_PKG_SPACE_GRAY_FP16:
        c = SM_PKG_GRAY;
        break;
    case SM_PKG_SPACE_RGB:
        c = SM_PKG_RGB;
        break;
    case SM_PKG_SPACE_BGR:
        c = SM_PKG_BGR;
        break;
    default:
        return SM_FAIL(fr->err, SM_UNSUPPORTED,
                       "an image of colour space %d: there are 10, 20, 30 and 40 (gray, RGB, BGR, "
                       "gray fp16)",
                       f->color_space);
    }
    if (full && p->n_images > 0)
        memcpy(all, p->images, p->n_images * sizeof *all);
    all[p->n_images++] = (sm_pkg_image){function, name, c};
    p->images = all;
    return SM_OK;
}

/* An image is an array [.., height, width]. */
static sm_status flex_image(const func_reader *fr, const SmPb__ImageFeature *f, sm_flex_input *out) {
    int h = out->rank - 2, w = out->rank - 1;
    if (h < 0)
        return SM_FAIL(fr->err, SM_BADINPUT, "an image of %d dimensions", out->rank);
    if (f->range != NULL) {
        flex_range(f->range->height, h, out);
        flex_range(f->range->width, w, out);
    } else if (f->enumerated == NULL || f->enumerated->n_sizes == 0) {
        out->lo[h] = out->hi[h] = f->height;
        out->lo[w] = out->hi[w] = f->width;
    }
    size_t n = f->enumerated == NULL || f->range != NULL ? 0 : f->enumerated->n_sizes;
    if (n > 65536)
        return SM_FAIL(fr->err, SM_BADINPUT, "%zu enumerated sizes", n);
    out->rows = sm_arena_alloc_n(fr->r->g->arena, n * (size_t)out->rank, sizeof *out->rows);
    if (out->rows == NULL)
        return SM_NOMEM(fr->err);
    for (size_t i = 0; i < n; i++) {
        int64_t *row = out->rows + i * (size_t)out->rank;
        for (int a = 0; a < h; a++)
            row[a] = 1;
        row[h] = (int64_t)SM_MIN(f->enumerated->sizes[i]->height, (uint64_t)INT64_MAX);
        row[w] = (int64_t)SM_MIN(f->enumerated->sizes[i]->width, (uint64_t)INT64_MAX);
    }
    out->n_rows = (int)n;
    return SM_OK;
}

/* What the description says of an input's shape, kept for the function's shape sets. */
static sm_status flex_of(func_reader *fr, const char *input, int rank, const sm_flex_input **out) {
    const SmPb__FeatureType *t = describe(fr, input);
    *out = NULL;
    if (t == NULL || (t->multi_array == NULL && t->image == NULL))
        return SM_OK;
    if (!SM_GROW(&fr->flex))
        return SM_NOMEM(fr->err);
    sm_flex_input *f = &fr->flex.v[fr->flex.n++];
    *f = (sm_flex_input){.name = sm_sv_of(input), .rank = rank};
    for (int a = 0; a < rank; a++)
        f->lo[a] = 1, f->hi[a] = -1;
    SM_TRY(t->multi_array != NULL ? flex_array(fr, t->multi_array, f) : flex_image(fr, t->image, f));
    *out = f;
    return SM_OK;
}

static sm_status read_input(func_reader *fr, sm_builder *b, scope *s, const SmPb__NamedType *in) {
    sm_type type;
    SM_TRY(sm_pkg_read_type(in->type, &type, fr->err));
    const SmPb__FeatureType *d = describe(fr, in->name);
    if (d != NULL && d->image != NULL)
        SM_TRY(keep_image(fr, in->name, d->image, &type));
    const sm_flex_input *f;
    SM_TRY(flex_of(fr, in->name, type.rank, &f));
    SM_TRY(sm_flex_dims(fr->r->g, fr->name, in->name, f, &type, fr->err));
    sm_value *v = sm_build_input(b, in->name, type);
    SM_TRY(built(fr, b));
    return define(fr, s, in->name, v);
}

static sm_status read_body(func_reader *fr, sm_builder *b, scope *s, const SmPb__Function *f, const SmPb__Block *blk) {
    if (blk->n_inputs > 0)
        return SM_FAIL(fr->err, SM_BADINPUT, "its block has inputs of its own");
    for (size_t i = 0; i < f->n_inputs; i++) {
        sm_status st = read_input(fr, b, s, f->inputs[i]);
        if (st != SM_OK) {
            sm_err_prefix(fr->err, "input %s", sm_quote(f->inputs[i]->name, strlen(f->inputs[i]->name)));
            return st;
        }
    }
    SM_TRY(sm_flex_sets(fr->f, sm_sv_of(fr->name), fr->flex.v, (int)fr->flex.n, fr->err));
    SM_TRY(read_ops(fr, b, s, blk, 0));
    for (size_t i = 0; i < blk->n_outputs; i++) {
        sm_value *v;
        SM_TRY(use(fr, s, blk->outputs[i], &v));
        sm_build_output(b, v, NULL);
        SM_TRY(built(fr, b));
    }
    return SM_OK;
}

/* "CoreML8" -> 9. */
static sm_status read_opset(const char *s, int *out, sm_err *err) {
    int n = 0;
    if (strncmp(s, "CoreML", 6) == 0 && s[6] >= '1' && s[6] <= '9' && s[7] == 0)
        n = s[6] - '0' + 1;
    if (n < SM_PKG_SPEC_MIN || n > SM_PKG_SPEC_MAX)
        return SM_FAIL(err, SM_UNSUPPORTED, "opset %s: supported are CoreML5 to CoreML9", sm_quote(s, strlen(s)));
    *out = n;
    return SM_OK;
}

sm_status sm_pkg_read_function(sm_pkg_reader *r, const SmPb__Model *m, const char *name, const char *as,
                               const SmPb__Function *f, sm_err *err) {
    func_reader fr = {.r = r, .model = m, .name = name, .err = err};
    scope s = {0};
    sm_builder b;
    sm_status st;
    int opset = 0;
    const SmPb__Block *blk = NULL;
    SM_TRY_DONE(read_opset(f->opset, &opset, err));
    for (size_t i = 0; i < f->n_blocks; i++)
        if (strcmp(f->blocks[i]->key, f->opset) == 0)
            blk = f->blocks[i]->value;
    if (blk == NULL) {
        st = SM_FAIL(err, SM_BADINPUT, "no block for its opset %s", f->opset);
        goto done;
    }
    s.names = sm_map_new(blk->n_operations);
    if (s.names == NULL) {
        st = SM_NOMEM(err);
        goto done;
    }
    SM_TRY_DONE(find_features(&fr));
    SM_TRY_DONE(sm_func_new(r->g, as, opset, &fr.f, err));
    sm_build_start(&b, fr.f);
    SM_TRY_DONE(read_body(&fr, &b, &s, f, blk));
    st = sm_build_end(&b, err);
done:
    if (st != SM_OK)
        sm_err_prefix(err, "function %s", sm_quote(name, strlen(name)));
    sm_map_free(&s.names);
    sm_free(fr.values.v);
    sm_free(fr.flex.v);
    return st;
}
