/* SPDX-License-Identifier: MIT
 *
 * mlpackage_write_func.c: a function of the graph -> a function of the program.
 *
 * Operations come in the order of the nodes; what a node needs that has no operation yet (constants, parameters that the
 * graph leaves to their default) is put just before it, in the function's own block, so that nested blocks see it too.
 * Apple's reader wants nearly every parameter spelled out: a default of ops.def becomes a constant, one per value; `?`
 * slots stay away, but for the bias of `linear`, the geometry of `conv` and the axes of `layer_norm`.
 *
 * Encoded constants become the constexpr op that their encoding names:
 *
 *     AFFINE               iOS18 blockwise_shift_scale; before: affine_dequantize, int8 per channel or whole
 *     LUT                  lut_to_dense, typed or (before iOS18) flat
 *     LUT with a scale     the table is scaled when a scale covers whole tables, else the result
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "format/mlpackage_int.h"
#include "graph/target.h"

typedef struct func_writer {
    sm_pkg_writer *w;
    const sm_func *f;
    const char *name;
    int opset;
    const char **name_of; /* by value id */
    bool *emitted;        /* constants, by value id */
    sm_map *taken;        /* names in use */
    sm_map *default_of;   /* text of a default -> index into defaults */
    struct {
        const char **v;
        size_t n, cap;
    } defaults;
    sm_pkg_list ops; /* of the body */
    int n_writes;
    sm_err *err;
} func_writer;

/* ------------------------------------------------------------------ names */

/* An identifier close to `want` that the function does not use yet; NULL when out of memory. */
static const char *new_name(func_writer *fw, const char *want) {
    sm_str s = SM_STR_INIT;
    const char *name = NULL;
    bool used = true;
    if (want[0] == 0 || (want[0] >= '0' && want[0] <= '9'))
        sm_str_addc(&s, '_');
    for (const char *p = want; *p != 0; p++) {
        bool ok =
            (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || *p == '_' || *p == '@';
        sm_str_addc(&s, ok && !(p == want && *p == '@') ? *p : '_');
    }
    size_t base = s.n;
    for (int k = 1; used; k++) {
        name = sm_str_ok(&s) ? sm_arena_strndup(fw->w->a, s.p, s.n) : NULL;
        if (name == NULL || !sm_map_put(fw->taken, sm_sv_of(name), 0, &used, NULL)) {
            name = NULL;
            break;
        }
        s.n = base;
        sm_str_addf(&s, "_%d", k);
    }
    sm_str_free(&s);
    fw->w->oom = fw->w->oom || name == NULL;
    return name != NULL ? name : "";
}

/* Texts are interned in the graph and have a number for a name there: what they say names them here. */
static const char *name_of(func_writer *fw, const sm_value *v) {
    char text[80];
    if (fw->name_of[v->id] == NULL && v->cst != NULL && v->cst->n_str == 1) {
        snprintf(text, sizeof text, "text_%.*s", (int)SM_MIN(v->cst->strs[0].n, (size_t)64), v->cst->strs[0].p);
        fw->name_of[v->id] = new_name(fw, text);
    } else if (fw->name_of[v->id] == NULL) {
        fw->name_of[v->id] = new_name(fw, v->name == NULL ? "" : v->name);
    }
    return fw->name_of[v->id];
}

/* ------------------------------------------------------------------ operations */

typedef struct op_msg {
    SmPb__Operation *m;
    sm_pkg_list in, out, attr, blocks;
} op_msg;

static op_msg op_start(func_writer *fw, const char *type) {
    op_msg x = {.m = SM_PKG_MSG(fw->w, Operation, operation)};
    x.m->type = sm_pkg_text(fw->w, type);
    return x;
}

static void add_bindings(func_writer *fw, op_msg *x, const char *key, const sm_pkg_list *bindings) {
    SmPb__ArgumentEntry *e = SM_PKG_MSG(fw->w, ArgumentEntry, argument_entry);
    SmPb__Argument *a = SM_PKG_MSG(fw->w, Argument, argument);
    a->bindings = (SmPb__Binding **)bindings->v;
    a->n_bindings = bindings->n;
    e->key = sm_pkg_text(fw->w, key);
    e->value = a;
    sm_pkg_push(fw->w, &x->in, e);
}

static void push_name(func_writer *fw, sm_pkg_list *l, const char *name) {
    SmPb__Binding *b = SM_PKG_MSG(fw->w, Binding, binding);
    b->kind_case = SM_PB__BINDING__KIND_NAME;
    b->name = sm_pkg_text(fw->w, name);
    sm_pkg_push(fw->w, l, b);
}

static void op_in_name(func_writer *fw, op_msg *x, const char *key, const char *name) {
    sm_pkg_list l = {0};
    push_name(fw, &l, name);
    add_bindings(fw, x, key, &l);
}

static void op_attr(func_writer *fw, op_msg *x, const char *key, SmPb__Value *v) {
    SmPb__ValueEntry *e = SM_PKG_MSG(fw->w, ValueEntry, value_entry);
    e->key = sm_pkg_text(fw->w, key);
    e->value = v;
    sm_pkg_push(fw->w, &x->attr, e);
}

/* An operand of a constexpr op: bound to its value, or an attribute before iOS18. */
static void op_operand(func_writer *fw, op_msg *x, const char *key, SmPb__Value *v) {
    sm_pkg_list l = {0};
    if (fw->opset < 9) {
        op_attr(fw, x, key, v);
        return;
    }
    SmPb__Binding *b = SM_PKG_MSG(fw->w, Binding, binding);
    b->kind_case = SM_PB__BINDING__KIND_VALUE;
    b->value = v;
    sm_pkg_push(fw->w, &l, b);
    add_bindings(fw, x, key, &l);
}

static void op_out(func_writer *fw, op_msg *x, const char *name, SmPb__ValueType *t) {
    sm_pkg_push(fw->w, &x->out, sm_pkg_named_type(fw->w, name, t));
}

static void op_end(func_writer *fw, op_msg *x, const char *label, sm_pkg_list *ops) {
    op_attr(fw, x, "name", sm_pkg_string(fw->w, label));
    x->m->inputs = (SmPb__ArgumentEntry **)x->in.v;
    x->m->n_inputs = x->in.n;
    x->m->outputs = (SmPb__NamedType **)x->out.v;
    x->m->n_outputs = x->out.n;
    x->m->attributes = (SmPb__ValueEntry **)x->attr.v;
    x->m->n_attributes = x->attr.n;
    x->m->blocks = (SmPb__Block **)x->blocks.v;
    x->m->n_blocks = x->blocks.n;
    sm_pkg_push(fw->w, ops, x->m);
}

static void emit_const_op(func_writer *fw, const char *name, SmPb__Value *v, SmPb__ValueType *t) {
    op_msg x = op_start(fw, "const");
    op_out(fw, &x, name, t);
    op_attr(fw, &x, "val", v);
    op_end(fw, &x, name, &fw->ops);
}

/* ------------------------------------------------------------------ encoded constants */

/* What no specification version holds. */
static sm_status cannot_hold(func_writer *fw, const sm_value *v, const char *why, const char *hint) {
    char enc[256];
    SM_FAIL(fw->err, SM_UNSUPPORTED, "constant '%s': %s cannot be written: %s", v->name,
            sm_enc_print(&v->cst->want, v->cst->src.rank, enc, sizeof enc), why);
    return fw->err == NULL ? SM_UNSUPPORTED : sm_err_hint(fw->err, "%s", hint);
}

/* SM_OK when the version holds the feature, which the constant's encoding needs. */
static sm_status needs(func_writer *fw, const sm_value *v, sm_feature f) {
    char enc[256], what[512];
    snprintf(what, sizeof what, "constant '%.200s', %s", v->name,
             sm_enc_print(&v->cst->want, v->cst->src.rank, enc, sizeof enc));
    return sm_target_want(fw->opset, f, what, fw->err);
}

/* Axis along which scales change, -1 for one scale in all; false when there are several axes or blocks. */
static bool channel_axis(const sm_const *c, int *axis) {
    *axis = -1;
    for (int a = 0; a < c->src.rank; a++) {
        if (c->want.block[a] == c->src.dims[a])
            continue;
        if (c->want.block[a] != 1 || *axis >= 0)
            return false;
        *axis = a;
    }
    return true;
}

static sm_status emit_affine_flat(func_writer *fw, const sm_value *v, const char *name) {
    const sm_const *c = v->cst;
    sm_pkg_placed p;
    int axis;
    SM_TRY(needs(fw, v, SM_FEATURE_CHANNEL_CODES));
    if (c->want.code != SM_INT8 && c->want.code != SM_UINT8)
        SM_TRY(needs(fw, v, SM_FEATURE_CODES_4));
    if (c->want.off != SM_NONE && c->want.off != c->want.code)
        SM_TRY(needs(fw, v, SM_FEATURE_FLOAT_OFFSETS));
    if (!channel_axis(c, &axis))
        SM_TRY(needs(fw, v, SM_FEATURE_BLOCK_CODES));
    SM_TRY(sm_pkg_place(fw->w, c, v->name, fw->opset, true, &p, fw->err));
    int32_t at = axis < 0 ? 0 : axis;
    uint8_t zero = 0;
    op_msg x = op_start(fw, "constexpr_affine_dequantize");
    op_operand(fw, &x, "quantized_data", sm_pkg_part_value(fw->w, &p.part[SM_PART_DATA]));
    op_operand(fw, &x, "zero_point",
               c->want.off == SM_NONE ? sm_pkg_immediate(fw->w, c->want.code, 0, NULL, &zero)
                                      : sm_pkg_part_value(fw->w, &p.part[SM_PART_OFFSET]));
    op_operand(fw, &x, "scale", sm_pkg_part_value(fw->w, &p.part[SM_PART_SCALE]));
    op_operand(fw, &x, "axis", sm_pkg_immediate(fw->w, SM_INT32, 0, NULL, &at));
    op_out(fw, &x, name, sm_pkg_value_type(fw->w, &v->type));
    op_end(fw, &x, name, &fw->ops);
    return SM_OK;
}

static sm_status emit_affine(func_writer *fw, const sm_value *v, const char *name) {
    const sm_const *c = v->cst;
    sm_pkg_placed p;
    if (c->want.aux != c->want_dtype)
        return cannot_hold(fw, v, "it decodes to the type of its scale", "pick scales of the wanted type");
    if (!sm_target_has(fw->opset, SM_FEATURE_BLOCK_CODES))
        return emit_affine_flat(fw, v, name);
    SM_TRY(sm_pkg_place(fw->w, c, v->name, fw->opset, false, &p, fw->err));
    op_msg x = op_start(fw, "constexpr_blockwise_shift_scale");
    op_operand(fw, &x, "data", sm_pkg_part_value(fw->w, &p.part[SM_PART_DATA]));
    if (c->want.off != SM_NONE)
        op_operand(fw, &x, "offset", sm_pkg_part_value(fw->w, &p.part[SM_PART_OFFSET]));
    op_operand(fw, &x, "scale", sm_pkg_part_value(fw->w, &p.part[SM_PART_SCALE]));
    op_out(fw, &x, name, sm_pkg_value_type(fw->w, &v->type));
    op_end(fw, &x, name, &fw->ops);
    return SM_OK;
}

static sm_status emit_lut_flat(func_writer *fw, const sm_value *v, const char *name) {
    const sm_const *c = v->cst;
    const sm_encoding *e = &c->want;
    sm_pkg_placed p;
    uint32_t shape[SM_MAX_RANK];
    int64_t rank = v->type.rank;
    bool whole = true;
    SM_TRY(needs(fw, v, SM_FEATURE_PALETTES));
    for (int a = 0; a < c->src.rank; a++) {
        whole = whole && e->block[a] == c->src.dims[a] && c->src.dims[a] <= INT32_MAX;
    }
    for (int a = 0; a < v->type.rank; a++)
        shape[a] = (uint32_t)v->type.dims[a];
    if (!whole || e->code == SM_UINT3)
        SM_TRY(needs(fw, v, SM_FEATURE_GROUP_PALETTES));
    if (e->vec > 1 || e->sc != SM_NONE)
        SM_TRY(needs(fw, v, SM_FEATURE_VECTOR_PALETTES));
    SM_TRY(sm_pkg_place(fw->w, c, v->name, fw->opset, true, &p, fw->err));
    op_msg x = op_start(fw, "constexpr_lut_to_dense");
    op_operand(fw, &x, "indices", sm_pkg_part_value(fw->w, &p.part[SM_PART_DATA]));
    op_operand(fw, &x, "lut", sm_pkg_part_value(fw->w, &p.part[SM_PART_LUT]));
    op_operand(fw, &x, "shape", sm_pkg_immediate(fw->w, SM_UINT32, 1, &rank, shape));
    op_out(fw, &x, name, sm_pkg_value_type(fw->w, &v->type));
    op_end(fw, &x, name, &fw->ops);
    return SM_OK;
}

static void lut_operands(func_writer *fw, op_msg *x, const sm_encoding *e, const sm_pkg_placed *p, const char *table) {
    int32_t axis = e->vec_axis;
    op_operand(fw, x, "indices", sm_pkg_part_value(fw->w, &p->part[SM_PART_DATA]));
    if (table != NULL)
        op_in_name(fw, x, "lut", table);
    else
        op_operand(fw, x, "lut", sm_pkg_part_value(fw->w, &p->part[SM_PART_LUT]));
    if (e->vec > 1)
        op_operand(fw, x, "vector_axis", sm_pkg_immediate(fw->w, SM_INT32, 0, NULL, &axis));
}

/* A palette whose tables, or whose result, a scale multiplies: two ops, the first one's result with a name of its own. */
static void emit_lut_scaled(func_writer *fw, const sm_value *v, const char *name, const sm_pkg_placed *p) {
    const sm_encoding *e = &v->cst->want;
    const sm_pkg_part *lut = &p->part[SM_PART_LUT];
    sm_pkg_part scale = p->part[SM_PART_SCALE];
    bool per_table = true;
    char inner[512];
    for (int a = 0; a < v->cst->src.rank; a++) /* axes behind these have blocks of 1 on both sides */
        per_table = per_table && e->sc_block[a] % e->block[a] == 0;
    snprintf(inner, sizeof inner, "%.480s_%s", name, per_table ? "table" : "unscaled");
    const char *first = new_name(fw, inner);
    op_msg x = op_start(fw, per_table ? "constexpr_blockwise_shift_scale" : "constexpr_lut_to_dense");
    op_msg y = op_start(fw, per_table ? "constexpr_lut_to_dense" : "constexpr_blockwise_shift_scale");
    if (per_table) {
        scale.dims[scale.rank++] = 1;
        scale.dims[scale.rank++] = 1;
        op_operand(fw, &x, "data", sm_pkg_part_value(fw->w, lut));
        op_operand(fw, &x, "scale", sm_pkg_part_value(fw->w, &scale));
        op_out(fw, &x, first, sm_pkg_tensor_type(fw->w, e->sc, lut->rank, lut->dims));
        lut_operands(fw, &y, e, p, first);
    } else {
        lut_operands(fw, &x, e, p, NULL);
        op_out(fw, &x, first, sm_pkg_tensor_type(fw->w, e->aux, v->type.rank, v->type.dims));
        op_in_name(fw, &y, "data", first);
        op_operand(fw, &y, "scale", sm_pkg_part_value(fw->w, &scale));
    }
    op_end(fw, &x, first, &fw->ops);
    op_out(fw, &y, name, sm_pkg_value_type(fw->w, &v->type));
    op_end(fw, &y, name, &fw->ops);
}

static sm_status emit_lut(func_writer *fw, const sm_value *v, const char *name) {
    const sm_const *c = v->cst;
    sm_pkg_placed p;
    if ((c->want.sc == SM_NONE ? c->want.aux : c->want.sc) != c->want_dtype)
        return cannot_hold(fw, v, "it decodes to the type of its table or scale", "pick a table of the wanted type");
    if (!sm_target_has(fw->opset, SM_FEATURE_GROUP_PALETTES))
        return emit_lut_flat(fw, v, name);
    SM_TRY(sm_pkg_place(fw->w, c, v->name, fw->opset, false, &p, fw->err));
    if (c->want.sc != SM_NONE) {
        emit_lut_scaled(fw, v, name, &p);
        return SM_OK;
    }
    op_msg x = op_start(fw, "constexpr_lut_to_dense");
    lut_operands(fw, &x, &c->want, &p, NULL);
    op_out(fw, &x, name, sm_pkg_value_type(fw->w, &v->type));
    op_end(fw, &x, name, &fw->ops);
    return SM_OK;
}

/* ------------------------------------------------------------------ constants */

/* The value of a dense or text constant. */
static sm_status const_value(func_writer *fw, const sm_value *v, SmPb__Value **out) {
    const sm_const *c = v->cst;
    sm_pkg_placed p;
    if (v->type.dtype == SM_STRING) {
        *out = sm_pkg_strings(fw->w, c->strs, c->n_str, v->type.rank == 0);
        return SM_OK;
    }
    if (c->want.code != c->want_dtype)
        return cannot_hold(fw, v, "its elements are of another type than its values", "use one type for both");
    SM_TRY(sm_pkg_place(fw->w, c, v->name, fw->opset, false, &p, fw->err));
    *out = sm_pkg_part_value(fw->w, &p.part[SM_PART_DATA]);
    return SM_OK;
}

/* Puts a constant into the body, once. */
static sm_status need_const(func_writer *fw, const sm_value *v) {
    SmPb__Value *val;
    if (fw->emitted[v->id])
        return SM_OK;
    fw->emitted[v->id] = true;
    const char *name = name_of(fw, v);
    switch (v->type.dtype == SM_STRING ? SM_KIND_DENSE : sm_enc_row_of(v->cst->want.id)->kind) {
    case SM_KIND_AFFINE:
        return emit_affine(fw, v, name);
    case SM_KIND_LUT:
        return emit_lut(fw, v, name);
    case SM_KIND_BLOCK:
        return cannot_hold(fw, v, "a package has no such form", "convert with --quant auto");
    case SM_KIND_DENSE:
        break;
    }
    SM_TRY(const_value(fw, v, &val));
    emit_const_op(fw, name, val, sm_pkg_value_type(fw->w, &v->type));
    return SM_OK;
}

/* ------------------------------------------------------------------ defaults */

/* The constant that `key` stands for: its name when there is one already, else a new one made of *v. */
static const char *default_const(func_writer *fw, const char *key, const char *label, sm_dtype t, int rank,
                                 const int64_t *dims, const void *data) {
    int64_t at;
    if (sm_map_get(fw->default_of, sm_sv_of(key), &at))
        return fw->defaults.v[at];
    const char *name = new_name(fw, label), *kept = sm_pkg_text(fw->w, key);
    SmPb__Value *v = t == SM_STRING ? sm_pkg_string(fw->w, data) : sm_pkg_immediate(fw->w, t, rank, dims, data);
    emit_const_op(fw, name, v, sm_pkg_tensor_type(fw->w, t, rank, dims));
    if (fw->w->oom || !SM_GROW(&fw->defaults) ||
        !sm_map_put(fw->default_of, sm_sv_of(kept), (int64_t)fw->defaults.n, NULL, NULL)) {
        fw->w->oom = true;
        return "";
    }
    fw->defaults.v[fw->defaults.n++] = name;
    return name;
}

/* Floats take the type of x, or fp32 where the op lets them: 1e-12 is nothing in fp16. */
static const char *default_float(func_writer *fw, const sm_node *n, const sm_slot *s, const char *key,
                                 const char *label) {
    float f = sm_strtof(s->def, NULL);
    sm_dtype t = n->in[0] != NULL ? n->in[0]->type.dtype : SM_FP32;
    uint16_t h = sm_f32_to_f16(f);
    int32_t i = (int32_t)f;
    if (sm_dtype_kind(t) != 'f') /* pad of integers */
        return default_const(fw, key, label, SM_INT32, 0, NULL, &i);
    if (t == SM_FP32 || (fw->opset >= 8 && strcmp(s->name, "epsilon") == 0))
        return default_const(fw, key, label, SM_FP32, 0, NULL, &f);
    if (f > 0 && h == 0)
        h = 1;
    return default_const(fw, key, label, SM_FP16, 0, NULL, &h);
}

/* The bias that `linear` must have: zeros of the weight's type. */
static sm_status zero_bias(func_writer *fw, const sm_node *n, const char **out) {
    const sm_value *weight = sm_arg(n, "weight");
    int64_t dims[1] = {weight == NULL || weight->type.rank < 1 ? SM_DIM_UNKNOWN : weight->type.dims[0]}, at;
    char key[64];
    if (!sm_dim_known(dims[0]) || (weight->type.dtype != SM_FP16 && weight->type.dtype != SM_FP32))
        return SM_OK;
    snprintf(key, sizeof key, "zeros_%s_%" PRId64, sm_dtype_name(weight->type.dtype), dims[0]);
    if (sm_map_get(fw->default_of, sm_sv_of(key), &at)) {
        *out = fw->defaults.v[at];
        return SM_OK;
    }
    sm_const *c = sm_arena_alloc(fw->w->a, sizeof *c);
    void *zeros = sm_arena_alloc_n(fw->w->a, (size_t)dims[0] + 1, 4);
    sm_pkg_placed p;
    if (c == NULL || zeros == NULL || !SM_GROW(&fw->defaults))
        return SM_NOMEM(fw->err);
    c->src = sm_tensor_dense(weight->type.dtype, 1, dims, zeros);
    c->want = c->src.enc;
    c->want_dtype = c->src.dtype;
    SM_TRY(sm_pkg_place(fw->w, c, NULL, fw->opset, false, &p, fw->err));
    *out = new_name(fw, key);
    emit_const_op(fw, *out, sm_pkg_part_value(fw->w, &p.part[SM_PART_DATA]),
                  sm_pkg_tensor_type(fw->w, c->src.dtype, 1, dims));
    const char *kept = sm_pkg_text(fw->w, key);
    fw->defaults.v[fw->defaults.n++] = *out;
    if (fw->w->oom || !sm_map_put(fw->default_of, sm_sv_of(kept), (int64_t)fw->defaults.n - 1, NULL, NULL))
        return SM_NOMEM(fw->err);
    return SM_OK;
}

/* Geometry of `conv`: ones for strides and dilations, zeros for pad. */
static const char *conv_ints(func_writer *fw, const sm_node *n, const sm_slot *s) {
    int32_t v[2 * SM_MAX_RANK];
    bool pad = strcmp(s->name, "pad") == 0;
    int64_t spatial = n->in[0]->type.rank - 2, dims[1] = {pad ? 2 * spatial : spatial};
    char key[64];
    if (spatial < 1 || (strcmp(s->name, "strides") != 0 && strcmp(s->name, "dilations") != 0 && !pad))
        return NULL;
    for (int64_t i = 0; i < dims[0]; i++)
        v[i] = !pad;
    snprintf(key, sizeof key, "%s_%" PRId64, pad ? "zeros" : "ones", dims[0]);
    return default_const(fw, key, key, SM_INT32, 1, dims, v);
}

/* All axes, which `layer_norm` must be told. */
static const char *all_axes(func_writer *fw, const sm_node *n) {
    int32_t v[SM_MAX_RANK];
    int64_t rank = n->in[0]->type.rank;
    char key[64];
    for (int32_t i = 0; i < rank; i++)
        v[i] = i;
    snprintf(key, sizeof key, "axes_%" PRId64, rank);
    return default_const(fw, key, key, SM_INT32, 1, &rank, v);
}

/* Name of the constant that stands for an absent slot; *out stays NULL when nothing does.  Made at first use. */
static sm_status default_of(func_writer *fw, const sm_node *n, const sm_slot *s, const char **out) {
    char key[128], label[64];
    *out = NULL;
    if (s->since > fw->opset)
        return SM_OK;
    if (n->op == SM_OP_LINEAR && strcmp(s->name, "bias") == 0)
        return zero_bias(fw, n, out);
    if (n->op == SM_OP_CONV && s->def[0] == 0) {
        *out = conv_ints(fw, n, s);
        return SM_OK;
    }
    if (n->op == SM_OP_LAYER_NORM && strcmp(s->name, "axes") == 0) {
        *out = all_axes(fw, n);
        return SM_OK;
    }
    if (s->def[0] == 0)
        return SM_OK;
    sm_dtype t = n->in[0] == NULL ? SM_NONE : n->in[0]->type.dtype;
    snprintf(key, sizeof key, "%c:%s:%s:%s", s->kind, s->kind == 'f' ? s->name : "", s->def,
             s->kind == 'f' ? sm_dtype_name(t) : "");
    snprintf(label, sizeof label, "%s_%s",
             s->kind == 'f'   ? s->name
             : s->kind == 's' ? "text"
             : s->kind == 'b' ? "bool"
                              : "int",
             s->def);
    if (s->kind == 'f') {
        *out = default_float(fw, n, s, key, label);
    } else if (s->kind == 'b') {
        uint8_t b = strcmp(s->def, "true") == 0;
        *out = default_const(fw, key, label, SM_BOOL, 0, NULL, &b);
    } else if (s->kind == 's') {
        *out = default_const(fw, key, label, SM_STRING, 0, NULL, s->def);
    } else {
        int32_t i = (int32_t)strtol(s->def, NULL, 10);
        *out = default_const(fw, key, label, SM_INT32, 0, NULL, &i);
    }
    return SM_OK;
}

/* Whether a value says what the slot's absence means: then an older target may leave it out. */
static bool is_default(const sm_node *n, const sm_slot *s) {
    int64_t i;
    bool b;
    sm_sv t;
    double f;
    if (s->def[0] == 0)
        return false;
    if (s->kind == 'i')
        return sm_arg_int(n, s->name, &i) && i == strtol(s->def, NULL, 10);
    if (s->kind == 'b')
        return sm_arg_bool(n, s->name, &b) && b == (strcmp(s->def, "true") == 0);
    if (s->kind == 's')
        return sm_arg_str(n, s->name, &t) && sm_sv_is(t, s->def);
    return s->kind == 'f' && sm_arg_float(n, s->name, &f) && f == sm_strtod(s->def, NULL);
}

/* ------------------------------------------------------------------ nodes */

static bool is_constexpr(sm_op op) {
    return strncmp(sm_op_row_of(op)->name, "constexpr_", 10) == 0;
}

/* An operand of a constexpr op that is bound to its value instead of a name. */
static bool is_inline(const sm_node *n, const sm_value *v) {
    return is_constexpr(n->op) && v->cst != NULL &&
           (v->type.dtype == SM_STRING || sm_enc_row_of(v->cst->want.id)->kind == SM_KIND_DENSE);
}

/* Everything that n and the blocks in it need from outside comes before it. */
static sm_status prepare(func_writer *fw, const sm_node *n) {
    const sm_op_row *row = sm_op_row_of(n->op);
    const char *unused;
    for (int i = 0; i < row->n_slots; i++) {
        const sm_value *v = n->in[i];
        if (v == NULL)
            SM_TRY(default_of(fw, n, &row->slot[i], &unused));
        else if (v->cst != NULL && !is_inline(n, v) && row->slot[i].since <= fw->opset)
            SM_TRY(need_const(fw, v));
    }
    for (int i = 0; i < n->n_list; i++)
        if (n->list[i]->cst != NULL)
            SM_TRY(need_const(fw, n->list[i]));
    for (int i = 0; i < n->n_blocks; i++) {
        const sm_block *b = n->blocks[i];
        for (const sm_node *m = b->first; m != NULL; m = m->next)
            SM_TRY(prepare(fw, m));
        for (int k = 0; k < b->n_out; k++)
            if (b->out[k]->cst != NULL)
                SM_TRY(need_const(fw, b->out[k]));
    }
    return SM_OK;
}

static sm_status emit_slot(func_writer *fw, op_msg *x, const sm_node *n, int i) {
    const sm_slot *s = &sm_op_row_of(n->op)->slot[i];
    const sm_value *v = n->in[i];
    const char *name = NULL;
    SmPb__Value *val;
    if (v == NULL) {
        SM_TRY(default_of(fw, n, s, &name));
    } else if (s->since > fw->opset) {
        if (!is_default(n, s))
            return SM_FAIL(fw->err, SM_UNSUPPORTED,
                           "parameter '%s' came with specification version %d, the target is %d", s->name, s->since,
                           fw->opset);
    } else if (is_inline(n, v)) {
        SM_TRY(const_value(fw, v, &val));
        op_operand(fw, x, s->name, val);
    } else if (is_constexpr(n->op) && fw->opset < 9) {
        return SM_FAIL(fw->err, SM_UNSUPPORTED, "parameter '%s' is computed: that came with specification version 9",
                       s->name);
    } else {
        name = name_of(fw, v);
    }
    if (name != NULL)
        op_in_name(fw, x, s->name, name);
    return SM_OK;
}

static sm_status emit_block(func_writer *fw, const sm_block *b, SmPb__Block **out);

static sm_status emit_node(func_writer *fw, const sm_node *n, sm_pkg_list *ops) {
    const sm_op_row *row = sm_op_row_of(n->op);
    op_msg x = op_start(fw, row->name);
    char label[512];
    if (row->since == 0)
        return SM_FAIL(fw->err, SM_UNSUPPORTED, "a composite: the function is not lowered");
    if (row->since > fw->opset)
        return SM_FAIL(fw->err, SM_UNSUPPORTED, "the op came with specification version %d, the target is %d",
                       row->since, fw->opset);
    for (int i = 0; i < row->n_slots; i++)
        SM_TRY(emit_slot(fw, &x, n, i));
    for (int k = 0; k < row->n_lists && (n->n_list > 0 || row->list[k].optional); k++) {
        sm_pkg_list l = {0};
        int len;
        sm_value *const *v = sm_arg_list(n, row->list[k].name, &len);
        for (int i = 0; i < len; i++)
            push_name(fw, &l, name_of(fw, v[i]));
        add_bindings(fw, &x, row->list[k].name, &l);
    }
    for (int i = 0; i < n->n_blocks; i++) {
        SmPb__Block *b;
        SM_TRY(emit_block(fw, n->blocks[i], &b));
        sm_pkg_push(fw->w, &x.blocks, b);
    }
    for (int i = 0; i < n->n_out; i++)
        op_out(fw, &x, name_of(fw, n->out[i]), sm_pkg_value_type(fw->w, &n->out[i]->type));
    if (n->n_out > 0)
        snprintf(label, sizeof label, "%.500s", name_of(fw, n->out[0]));
    else
        snprintf(label, sizeof label, "%.400s_%.64s_%d", n->in[0] == NULL ? "" : name_of(fw, n->in[0]), row->name,
                 fw->n_writes++);
    op_end(fw, &x, label, ops);
    return SM_OK;
}

static sm_status emit_nodes(func_writer *fw, const sm_block *b, sm_pkg_list *ops) {
    for (const sm_node *n = b->first; n != NULL; n = n->next) {
        sm_status st = b->owner == NULL ? prepare(fw, n) : SM_OK;
        if (st == SM_OK)
            st = emit_node(fw, n, ops);
        if (st != SM_OK) {
            sm_err_prefix(fw->err, "op %s -> '%s'", sm_op_row_of(n->op)->name, n->n_out > 0 ? n->out[0]->name : "");
            return st;
        }
    }
    return SM_OK;
}

static void finish_block(SmPb__Block *m, const sm_pkg_list *in, const sm_pkg_list *ops, const sm_pkg_list *out) {
    m->inputs = (SmPb__NamedType **)in->v;
    m->n_inputs = in->n;
    m->operations = (SmPb__Operation **)ops->v;
    m->n_operations = ops->n;
    m->outputs = (char **)out->v;
    m->n_outputs = out->n;
}

static sm_status emit_block(func_writer *fw, const sm_block *b, SmPb__Block **out) {
    sm_pkg_list in = {0}, ops = {0}, outs = {0};
    for (int i = 0; i < b->n_in; i++)
        sm_pkg_push(fw->w, &in,
                    sm_pkg_named_type(fw->w, name_of(fw, b->in[i]), sm_pkg_value_type(fw->w, &b->in[i]->type)));
    SM_TRY(emit_nodes(fw, b, &ops));
    for (int i = 0; i < b->n_out; i++)
        sm_pkg_push(fw->w, &outs, sm_pkg_text(fw->w, name_of(fw, b->out[i])));
    *out = SM_PKG_MSG(fw->w, Block, block);
    finish_block(*out, &in, &ops, &outs);
    return SM_OK;
}

/* ------------------------------------------------------------------ interface */

static int array_type(sm_dtype t) {
    switch (t) {
    case SM_FP16:
        return SM_PKG_ARRAY_FP16;
    case SM_FP32:
        return SM_PKG_ARRAY_FP32;
    case SM_FP64:
        return SM_PKG_ARRAY_FP64;
    case SM_INT8:
        return SM_PKG_ARRAY_INT8;
    case SM_INT32:
        return SM_PKG_ARRAY_INT32;
    default:
        return 0;
    }
}

/* Bounds of an extent of an input; hi -1: none. */
static void extent_bounds(sm_graph *g, sm_dim d, int64_t *lo, int64_t *hi) {
    *lo = *hi = d;
    if (sm_dim_known(d))
        return;
    sm_dim_bounds(g, d, lo, hi);
    *lo = SM_MAX(*lo, 0);
    *hi = *hi > INT32_MAX || *hi < *lo ? -1 : *hi;
}

/* Values of all symbols, 1 each, for sm_dim_eval; NULL when out of memory. */
static int64_t *symbol_values(func_writer *fw) {
    int n = sm_graph_n_symbols(fw->f->graph);
    int64_t *v = sm_pkg_new(fw->w, (size_t)(n + 1) * sizeof *v);
    for (int i = 0; i < n && !fw->w->oom; i++)
        v[i] = 1;
    return fw->w->oom ? NULL : v;
}

/* The set of shapes that an input is enumerated by; NULL: none. */
static const sm_shape_set *set_of(const sm_func *f, const sm_type *t, int64_t *value) {
    for (int i = 0; i < f->n_shapes && value != NULL; i++)
        for (int a = 0; a < t->rank; a++)
            for (int c = 0; c < f->shapes[i].n_sym; c++) {
                int64_t *s = &value[f->shapes[i].sym[c]], one = sm_dim_eval(f->graph, t->dims[a], value);
                *s = 2;
                int64_t two = sm_dim_eval(f->graph, t->dims[a], value);
                *s = 1;
                if (one != two)
                    return &f->shapes[i];
            }
    return NULL;
}

/* Row by row of the set; the first is the default. */
static void enumerate_shapes(func_writer *fw, const sm_type *t, const sm_shape_set *s, int64_t *value,
                             SmPb__ArrayFeature *f) {
    sm_pkg_list shapes = {0};
    SmPb__EnumeratedShapes *e = SM_PKG_MSG(fw->w, EnumeratedShapes, enumerated_shapes);
    for (int r = 0; r < s->n_rows && !fw->w->oom; r++) {
        SmPb__ArrayShape *one = SM_PKG_MSG(fw->w, ArrayShape, array_shape);
        int64_t *shape = sm_pkg_new(fw->w, SM_MAX_RANK * sizeof *shape);
        for (int c = 0; c < s->n_sym; c++)
            value[s->sym[c]] = s->value[(int64_t)r * s->n_sym + c];
        for (int a = 0; a < t->rank && !fw->w->oom; a++)
            shape[a] = sm_dim_eval(fw->f->graph, t->dims[a], value);
        one->shape = shape;
        one->n_shape = (size_t)t->rank;
        sm_pkg_push(fw->w, &shapes, one);
        if (r == 0)
            f->shape = shape;
    }
    e->shapes = (SmPb__ArrayShape **)shapes.v;
    e->n_shapes = shapes.n;
    f->enumerated = e;
}

static SmPb__ArrayFeature *array_feature(func_writer *fw, const sm_type *t, bool input) {
    SmPb__ArrayFeature *f = SM_PKG_MSG(fw->w, ArrayFeature, array_feature);
    sm_pkg_list sizes = {0};
    int64_t *shape = sm_pkg_new(fw->w, SM_MAX_RANK * sizeof *shape);
    bool flexible = false;
    for (int a = 0; a < t->rank; a++) {
        SmPb__SizeRange *s = SM_PKG_MSG(fw->w, SizeRange, size_range);
        int64_t lo, hi;
        extent_bounds(fw->f->graph, t->dims[a], &lo, &hi);
        flexible = flexible || !sm_dim_known(t->dims[a]);
        s->lower = (uint64_t)lo;
        s->upper = hi;
        sm_pkg_push(fw->w, &sizes, s);
        if (!fw->w->oom)
            shape[a] = !sm_dim_known(t->dims[a]) && lo == 0 && hi != 0 ? 1 : lo;
    }
    f->data_type = array_type(t->dtype);
    if (fw->w->oom || (flexible && !input))
        return f;
    f->shape = shape;
    f->n_shape = (size_t)t->rank;
    int64_t *value = flexible && fw->f->n_shapes > 0 ? symbol_values(fw) : NULL;
    const sm_shape_set *set = flexible ? set_of(fw->f, t, value) : NULL;
    if (set != NULL) {
        enumerate_shapes(fw, t, set, value, f);
    } else if (flexible) {
        SmPb__ShapeRange *r = SM_PKG_MSG(fw->w, ShapeRange, shape_range);
        r->sizes = (SmPb__SizeRange **)sizes.v;
        r->n_sizes = sizes.n;
        f->range = r;
    }
    return f;
}

static sm_status feature(func_writer *fw, const char *name, const sm_type *t, bool input, sm_pkg_list *l) {
    char what[256];
    snprintf(what, sizeof what, "%s '%.200s'", input ? "input" : "output", name);
    if (t->dtype == SM_FP16)
        SM_TRY(sm_target_want(fw->opset, SM_FEATURE_FP16_IO, what, fw->err));
    if (t->dtype == SM_INT8)
        SM_TRY(sm_target_want(fw->opset, SM_FEATURE_INT8_IO, what, fw->err));
    if (array_type(t->dtype) == 0) {
        SM_FAIL(fw->err, SM_UNSUPPORTED, "%s is %s, which no interface holds", what, sm_dtype_name(t->dtype));
        return fw->err == NULL ? SM_UNSUPPORTED : sm_err_hint(fw->err, "interfaces hold fp32, fp16, int32 and int8");
    }
    SmPb__Feature *f = SM_PKG_MSG(fw->w, Feature, feature);
    SmPb__FeatureType *ft = SM_PKG_MSG(fw->w, FeatureType, feature_type);
    SmPb__ArrayFeature *a = array_feature(fw, t, input);
    if (t->kind == SM_V_STATE) {
        SmPb__StateFeature *s = SM_PKG_MSG(fw->w, StateFeature, state_feature);
        s->array = a;
        ft->state = s;
    } else {
        ft->multi_array = a;
    }
    f->name = sm_pkg_text(fw->w, name);
    f->type = ft;
    sm_pkg_push(fw->w, l, f);
    return SM_OK;
}

static sm_status emit_inputs(func_writer *fw, SmPb__Function *m, SmPb__FunctionDescription *d) {
    sm_pkg_list in = {0}, features = {0}, states = {0};
    const sm_block *b = fw->f->body;
    for (int i = 0; i < b->n_in; i++) {
        const sm_value *v = b->in[i];
        if (v->type.kind == SM_V_BATCH)
            return SM_FAIL(fw->err, SM_UNSUPPORTED, "input '%s': the function is in row form: lower it first", v->name);
        if (v->type.kind == SM_V_STATE)
            SM_TRY(sm_target_want(fw->opset, SM_FEATURE_STATES, v->name, fw->err));
        sm_pkg_push(fw->w, &in, sm_pkg_named_type(fw->w, name_of(fw, v), sm_pkg_value_type(fw->w, &v->type)));
        SM_TRY(feature(fw, name_of(fw, v), &v->type, true, v->type.kind == SM_V_STATE ? &states : &features));
    }
    m->inputs = (SmPb__NamedType **)in.v;
    m->n_inputs = in.n;
    d->input = (SmPb__Feature **)features.v;
    d->n_input = features.n;
    d->state = (SmPb__Feature **)states.v;
    d->n_state = states.n;
    return SM_OK;
}

/* Outputs are results of ops, each once: an input or a value named twice goes through an identity. */
static sm_status emit_outputs(func_writer *fw, sm_pkg_list *outs, SmPb__FunctionDescription *d) {
    sm_pkg_list features = {0};
    const sm_block *b = fw->f->body;
    for (int i = 0; i < b->n_out; i++) {
        const sm_value *v = b->out[i];
        const char *name = name_of(fw, v);
        bool again = v->def == NULL && v->cst == NULL;
        for (int k = 0; k < i; k++)
            again = again || b->out[k] == v;
        if (v->cst != NULL)
            SM_TRY(need_const(fw, v));
        if (again) {
            char label[512];
            op_msg x = op_start(fw, "identity");
            snprintf(label, sizeof label, "%.500s_out", name);
            op_in_name(fw, &x, "x", name);
            name = new_name(fw, label);
            op_out(fw, &x, name, sm_pkg_value_type(fw->w, &v->type));
            op_end(fw, &x, name, &fw->ops);
        }
        sm_pkg_push(fw->w, outs, sm_pkg_text(fw->w, name));
        SM_TRY(feature(fw, name, &v->type, false, &features));
    }
    d->output = (SmPb__Feature **)features.v;
    d->n_output = features.n;
    return SM_OK;
}

static sm_status write_function(func_writer *fw, SmPb__Function *m, SmPb__FunctionDescription *d) {
    sm_pkg_writer *w = fw->w;
    const sm_block *b = fw->f->body;
    sm_pkg_list blocks = {0}, outs = {0}, none = {0};
    char opset[24];
    for (int i = 0; i < b->n_in; i++)
        name_of(fw, b->in[i]);
    for (int i = 0; i < b->n_out; i++)
        name_of(fw, b->out[i]);
    d->name = sm_pkg_text(w, fw->name);
    SM_TRY(emit_inputs(fw, m, d));
    SM_TRY(emit_nodes(fw, b, &fw->ops));
    SM_TRY(emit_outputs(fw, &outs, d));
    SmPb__BlockEntry *e = SM_PKG_MSG(w, BlockEntry, block_entry);
    SmPb__Block *blk = SM_PKG_MSG(w, Block, block);
    finish_block(blk, &none, &fw->ops, &outs);
    snprintf(opset, sizeof opset, "CoreML%d", fw->opset - 1);
    e->key = sm_pkg_text(w, opset);
    e->value = blk;
    sm_pkg_push(w, &blocks, e);
    m->opset = sm_pkg_text(w, opset);
    m->blocks = (SmPb__BlockEntry **)blocks.v;
    m->n_blocks = blocks.n;
    return SM_OK;
}

sm_status sm_pkg_write_function(sm_pkg_writer *w, const sm_func *f, const char *name, SmPb__Function **out,
                                SmPb__FunctionDescription **desc, sm_err *err) {
    func_writer fw = {.w = w, .f = f, .name = name, .opset = f->opset, .err = err};
    sm_status st;
    if (f->opset < SM_PKG_SPEC_MIN || f->opset > w->p->spec_version)
        return SM_FAIL(err, SM_UNSUPPORTED, "function '%s' is of opset version %d: wanted %d to %d, the package's",
                       f->name, f->opset, SM_PKG_SPEC_MIN, w->p->spec_version);
    fw.name_of = sm_alloc_n(f->graph->n_values, sizeof *fw.name_of);
    fw.emitted = sm_alloc_n(f->graph->n_values, sizeof *fw.emitted);
    fw.taken = sm_map_new(1024);
    fw.default_of = sm_map_new(16);
    if (fw.name_of == NULL || fw.emitted == NULL || fw.taken == NULL || fw.default_of == NULL) {
        st = SM_NOMEM(err);
        goto done;
    }
    *out = SM_PKG_MSG(w, Function, function);
    *desc = SM_PKG_MSG(w, FunctionDescription, function_description);
    st = write_function(&fw, *out, *desc);
    if (st != SM_OK)
        sm_err_prefix(err, "function '%s'", f->name);
done:
    sm_free((void *)fw.name_of);
    sm_free(fw.emitted);
    sm_free((void *)fw.defaults.v);
    sm_map_free(&fw.taken);
    sm_map_free(&fw.default_of);
    return st;
}
