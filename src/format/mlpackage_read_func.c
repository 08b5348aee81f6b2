/* SPDX-License-Identifier: MIT
 *
 * mlpackage_read_func.c: functions of a program -> functions of the graph.
 *
 * One pass over the operations in their order.  Names are looked up in scopes (a nested block sees what is defined
 * around it); slots, counts and blocks are checked against the op's row before the builder sees the node, so that every
 * message names function, op and result.  Types are our own inference's: declared ones may be wrong in real files.
 *
 * An unknown extent of an input becomes a symbol with the bounds that the model's description gives; equal ranges of two
 * inputs are two symbols, for nothing in the file says that they go together.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "format/mlpackage_int.h"

#define MAX_NESTED 16

typedef struct scope {
    sm_map *names; /* -> index into values */
    struct scope *up;
} scope;

typedef struct func_reader {
    sm_pkg_reader *r;
    const char *name;
    sm_func *f;
    struct {
        sm_value **v;
        size_t n, cap;
    } values;
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

/* A parameter outside our vocabulary that only spells out what its absence means: as if it were not there. */
static bool says_nothing(const op_reader *x, const char *key, const sm_value *named) {
    static const struct {
        sm_op op;
        const char *key, *text;
    } known[] = {{SM_OP_REDUCE_ARGMAX, "output_dtype", "int32"}, {SM_OP_REDUCE_ARGMIN, "output_dtype", "int32"}};
    for (size_t i = 0; i < SM_ARRAY_LEN(known); i++)
        if (known[i].op == x->op && strcmp(known[i].key, key) == 0 && named != NULL && named->cst != NULL &&
            named->cst->n_str == 1)
            return sm_sv_is(named->cst->strs[0], known[i].text);
    return false;
}

static sm_status add_arg(op_reader *x, const char *key, const SmPb__Value *inlined, sm_value *named) {
    for (int i = 0; i < x->n_args; i++)
        if (strcmp(x->arg[i].key, key) == 0)
            return SM_FAIL(x->fr->err, SM_BADINPUT, "parameter '%s' is given twice", key);
    if (sm_op_slot(x->op, key) < 0 && says_nothing(x, key, named))
        return SM_OK;
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

/* The description of an input; NULL when there is none. */
static const SmPb__FeatureType *describe(const func_reader *fr, const char *input) {
    const SmPb__ModelDescription *d = fr->r->model->description;
    SmPb__Feature **v = NULL;
    size_t n = 0;
    if (d == NULL)
        return NULL;
    v = d->input, n = d->n_input;
    for (size_t i = 0; i < d->n_functions; i++)
        if (strcmp(d->functions[i]->name, fr->name) == 0)
            v = d->functions[i]->input, n = d->functions[i]->n_input;
    for (size_t i = 0; i < n; i++)
        if (strcmp(v[i]->name, input) == 0)
            return v[i]->type;
    return NULL;
}

/* Bounds of axis a; hi -1: none. */
static sm_status axis_bounds(const func_reader *fr, const SmPb__ArrayFeature *f, int rank, int a, int64_t *lo,
                             int64_t *hi) {
    *lo = 1;
    *hi = -1;
    if (f == NULL)
        return SM_OK;
    if (f->range != NULL) {
        if (f->range->n_sizes != (size_t)rank)
            return SM_FAIL(fr->err, SM_BADINPUT, "wanted a range for each of %d dimensions, found %zu", rank,
                           f->range->n_sizes);
        const SmPb__SizeRange *s = f->range->sizes[a];
        if (s->lower > (uint64_t)INT32_MAX || (s->upper >= 0 && s->upper < (int64_t)s->lower))
            return SM_FAIL(fr->err, SM_BADINPUT, "dimension %d: bounds %" PRIu64 "..%" PRId64, a, s->lower, s->upper);
        *lo = (int64_t)s->lower;
        *hi = s->upper < 0 || s->upper > INT32_MAX ? -1 : s->upper;
    } else if (f->enumerated != NULL && f->enumerated->n_shapes > 0) {
        *lo = INT64_MAX;
        for (size_t i = 0; i < f->enumerated->n_shapes; i++) {
            const SmPb__ArrayShape *s = f->enumerated->shapes[i];
            if (s->n_shape != (size_t)rank || s->shape[a] < 0 || s->shape[a] > INT32_MAX)
                return SM_FAIL(fr->err, SM_BADINPUT, "enumerated shape %zu does not fit %d dimensions", i, rank);
            *lo = SM_MIN(*lo, s->shape[a]);
            *hi = SM_MAX(*hi, s->shape[a]);
        }
    } else if (f->n_shape == (size_t)rank && f->shape[a] >= 0 && f->shape[a] <= INT32_MAX) {
        *lo = *hi = f->shape[a];
    }
    return SM_OK;
}

/* Bounds of an image's height (axis 2) or width (axis 3); its other extents stand in the program. */
static sm_status image_bounds(const func_reader *fr, const SmPb__ImageFeature *f, int rank, int a, int64_t *lo,
                              int64_t *hi) {
    *lo = 1;
    *hi = -1;
    if (rank != 4)
        return SM_FAIL(fr->err, SM_BADINPUT, "an image: wanted 4 dimensions, found %d", rank);
    if (a < 2)
        return SM_OK;
    if (f->range != NULL) {
        const SmPb__SizeRange *s = a == 2 ? f->range->height : f->range->width;
        if (s != NULL && (s->lower > (uint64_t)INT32_MAX || (s->upper >= 0 && s->upper < (int64_t)s->lower)))
            return SM_FAIL(fr->err, SM_BADINPUT, "dimension %d: bounds %" PRIu64 "..%" PRId64, a, s->lower, s->upper);
        *lo = s == NULL ? 1 : (int64_t)s->lower;
        *hi = s == NULL || s->upper < 0 || s->upper > INT32_MAX ? -1 : s->upper;
    } else if (f->enumerated != NULL && f->enumerated->n_sizes > 0) {
        *lo = INT64_MAX;
        for (size_t i = 0; i < f->enumerated->n_sizes; i++) {
            const SmPb__ImageSize *s = f->enumerated->sizes[i];
            uint64_t n = a == 2 ? s->height : s->width;
            if (n > (uint64_t)INT32_MAX)
                return SM_FAIL(fr->err, SM_BADINPUT, "image size %zu: %" PRIu64, i, n);
            *lo = SM_MIN(*lo, (int64_t)n);
            *hi = SM_MAX(*hi, (int64_t)n);
        }
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

/* The symbol of an unknown extent; the function's name tells apart what another function calls the same with other
 * bounds. */
static sm_dim axis_symbol(const func_reader *fr, const char *input, int a, int64_t lo, int64_t hi) {
    sm_graph *g = fr->r->g;
    char name[256];
    if (lo == hi)
        return lo;
    snprintf(name, sizeof name, "%.200s_%d", input, a);
    for (int k = 0; k < sm_graph_n_symbols(g); k++) {
        int64_t lo2 = 0, hi2 = -1;
        if (strcmp(sm_graph_symbol(g, k, &lo2, &hi2), name) == 0 && (lo2 != lo || hi2 != hi))
            snprintf(name, sizeof name, "%.100s_%.100s_%d", fr->name, input, a);
    }
    return sm_dim_symbol(g, name, lo, hi);
}

static sm_status read_input(func_reader *fr, sm_builder *b, scope *s, const SmPb__NamedType *in) {
    sm_type type;
    SM_TRY(sm_pkg_read_type(in->type, &type, fr->err));
    const SmPb__FeatureType *d = describe(fr, in->name);
    const SmPb__ImageFeature *image = d != NULL ? d->image : NULL;
    if (image != NULL)
        SM_TRY(keep_image(fr, in->name, image, &type));
    for (int a = 0; a < type.rank; a++) {
        int64_t lo, hi;
        if (type.dims[a] != SM_DIM_UNKNOWN)
            continue;
        if (image != NULL)
            SM_TRY(image_bounds(fr, image, type.rank, a, &lo, &hi));
        else
            SM_TRY(axis_bounds(fr, d != NULL ? d->multi_array : NULL, type.rank, a, &lo, &hi));
        type.dims[a] = axis_symbol(fr, in->name, a, lo, hi);
    }
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

sm_status sm_pkg_read_function(sm_pkg_reader *r, const char *name, const SmPb__Function *f, sm_err *err) {
    func_reader fr = {.r = r, .name = name, .err = err};
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
    SM_TRY_DONE(sm_func_new(r->g, name, opset, &fr.f, err));
    sm_build_start(&b, fr.f);
    SM_TRY_DONE(read_body(&fr, &b, &s, f, blk));
    st = sm_build_end(&b, err);
done:
    if (st != SM_OK)
        sm_err_prefix(err, "function %s", sm_quote(name, strlen(name)));
    sm_map_free(&s.names);
    sm_free(fr.values.v);
    return st;
}
