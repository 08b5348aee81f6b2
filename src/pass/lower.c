/* SPDX-License-Identifier: MIT
 *
 * lower.c: row form -> MIL, as a profile says.
 *
 * One forward walk.  A row value [t, ...] becomes a MIL value [1, n, ...]; values on their way into attention are kept
 * heads-first, [1, heads, n, d].  With channels first [t, d] becomes [1, d, 1, n], and [t, heads, d] becomes
 * [heads, d, 1, n]: the same bytes in the same order.  Elementwise ops and ops on the last axis carry over by themselves
 * (the table's lift column); composites and the row selection have a rule in one of the files that lower_int.h lists.
 * Encodings are not touched: `encode` chose them, and the writer shows them as constexpr ops.
 *
 * What is not representable in the activation dtype stays in fp32 between two casts: rotary angles, the embedding's
 * scale, the norm's square (profile NORM_F32), and nodes that the profile names.  A narrow profile has none of that.
 */
#include "pass/lower_int.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------ small builders */
sm_value *sm_lower_reshape(sm_lower *l, sm_value *x, int rank, const int32_t *shape) {
    return sm_build(l->b, SM_OP_RESHAPE, NULL, "x", x, "shape", sm_const_i32s(l->b, shape, rank), NULL);
}

sm_value *sm_lower_transpose(sm_lower *l, sm_value *x, int rank, const int32_t *perm) {
    return sm_build(l->b, SM_OP_TRANSPOSE, NULL, "x", x, "perm", sm_const_i32s(l->b, perm, rank), NULL);
}

sm_value *sm_lower_cast(sm_lower *l, sm_value *x, sm_dtype t) {
    if (x == NULL || x->type.dtype == t)
        return x;
    return sm_build(l->b, SM_OP_CAST, NULL, "x", x, "dtype", sm_const_str(l->b, sm_dtype_name(t)), NULL);
}

sm_value *sm_lower_scalar(sm_lower *l, double v) {
    return sm_const_f(l->b, l->act, v);
}

sm_value *sm_lower_join(sm_lower *l, const char *name, sm_value *const *x, int n, int axis) {
    return sm_build_list(l->b, SM_OP_CONCAT, name, x, n, "axis", sm_const_i32(l->b, axis), NULL);
}

sm_value *sm_lower_slice(sm_lower *l, sm_value *x, int axis, int64_t begin, int64_t end) {
    if (x == NULL)
        return NULL;
    int rank = x->type.rank;
    int32_t lo[SM_MAX_RANK] = {0}, hi[SM_MAX_RANK] = {0};
    bool open[SM_MAX_RANK], to_end[SM_MAX_RANK];
    for (int i = 0; i < rank; i++)
        open[i] = to_end[i] = i != axis;
    lo[axis] = (int32_t)begin;
    hi[axis] = (int32_t)end;
    to_end[axis] = begin < 0 && end == 0; /* the last -begin elements */
    return sm_build(l->b, SM_OP_SLICE_BY_INDEX, NULL, "x", x, "begin", sm_const_i32s(l->b, lo, rank), "end",
                    sm_const_i32s(l->b, hi, rank), "begin_mask", sm_const_bools(l->b, open, rank), "end_mask",
                    sm_const_bools(l->b, to_end, rank), NULL);
}

sm_value *sm_lower_soft_cap(sm_lower *l, sm_value *x, double cap) {
    x = sm_build(l->b, SM_OP_REAL_DIV, NULL, "x", x, "y", sm_lower_scalar(l, cap), NULL);
    x = sm_build(l->b, SM_OP_TANH, NULL, "x", x, NULL);
    return sm_build(l->b, SM_OP_MUL, NULL, "x", x, "y", sm_lower_scalar(l, cap), NULL);
}

int sm_lower_axis(const sm_lower *l, const sm_value *x) {
    return l->rows == SM_LAY_CHANNELS ? 1 : x->type.rank - 1;
}

sm_value *sm_lower_in(sm_lower *l, const sm_value *v, sm_layout want) {
    static const int32_t swap[4] = {0, 2, 1, 3};
    if (v == NULL)
        return NULL;
    sm_value *x = sm_map_value(l->r.map, (sm_value *)v);
    if (v->cst != NULL || x == NULL)
        return x;
    if (sm_dtype_kind(x->type.dtype) == 'f')
        x = sm_lower_cast(l, x, l->act);
    return l->layout[v->id] == want || x == NULL ? x : sm_lower_transpose(l, x, 4, swap);
}

void sm_lower_set(sm_lower *l, const sm_value *v, sm_value *x, sm_layout lay) {
    l->r.map[v->id] = x;
    l->layout[v->id] = lay;
}

static const char *name_of(const sm_node *n) {
    return n->out[0]->name;
}

/* ------------------------------------------------------------------ ops that carry over */
/* [t, a, b...] -> [t, c...] becomes [1, n, a, b...] -> [1, n, c...]; with channels first [1, d, 1, n] -> [heads, d, 1, n]
 * and back. */
static sm_status lower_reshape(sm_lower *l, const sm_node *n, sm_err *err) {
    const sm_type *t = &n->out[0]->type;
    int32_t shape[SM_MAX_RANK] = {1, -1};
    if (t->rank + 1 > SM_MAX_RANK)
        return SM_FAIL(err, SM_UNSUPPORTED, "op reshape -> '%s': rank %d is too high to lower", name_of(n), t->rank);
    if (t->dims[0] != n->in[0]->type.dims[0])
        return SM_FAIL(err, SM_UNSUPPORTED, "op reshape -> '%s': a row-form reshape keeps axis 0", name_of(n));
    for (int i = 1; i < t->rank; i++) {
        if (!sm_dim_known(t->dims[i]))
            return SM_FAIL(err, SM_UNSUPPORTED, "op reshape -> '%s': extent %d is not a number", name_of(n), i);
        shape[i + 1] = (int32_t)t->dims[i];
    }
    sm_value *x = sm_lower_in(l, n->in[0], l->rows);
    if (l->rows == SM_LAY_CHANNELS) {
        if (t->rank > 3)
            return SM_FAIL(err, SM_UNSUPPORTED, "op reshape -> '%s': rank %d has no form with channels first",
                           name_of(n), t->rank);
        int32_t heads = t->rank == 3 ? shape[2] : 1;
        sm_value *y = sm_lower_reshape(l, x, 4, (int32_t[]){heads, shape[t->rank], 1, -1});
        sm_lower_set(l, n->out[0], y, SM_LAY_CHANNELS);
        return SM_OK;
    }
    sm_lower_set(l, n->out[0], sm_lower_reshape(l, x, t->rank + 1, shape), SM_LAY_TOKENS);
    return SM_OK;
}

/* The selection of rows before lm_head. */
static sm_status lower_gather(sm_lower *l, const sm_node *n, sm_err *err) {
    int64_t axis = 0;
    sm_arg_int(n, "axis", &axis);
    const sm_value *idx = sm_arg(n, "indices");
    if (axis != 0 || idx->def != NULL || idx->cst != NULL || strcmp(idx->name, "out") != 0 ||
        sm_arg(n, "x")->cst != NULL)
        return SM_FAIL(err, SM_UNSUPPORTED, "op gather -> '%s': only the selection of output rows can be lowered",
                       name_of(n));
    sm_lower_set(l, n->out[0], sm_lower_select(l, sm_arg(n, "x")), l->rows);
    return SM_OK;
}

/* Not a constant and not an input of the step itself. */
static sm_status want_rows(sm_lower *l, const sm_node *n, const sm_value *x, sm_err *err) {
    if (x != NULL && x->cst == NULL && (l->r.map[x->id] != NULL || l->b->st != SM_OK))
        return SM_OK;
    return SM_FAIL(err, SM_UNSUPPORTED,
                   "op %s -> '%s': has no lowering from row form: '%s' is not computed from tokens",
                   sm_op_row_of(n->op)->name, name_of(n), x != NULL ? x->name : "");
}

/* A scalar that the activation dtype does not hold exactly: its op is computed in fp32. */
static bool is_wide_scalar(const sm_lower *l, const sm_value *v) {
    double f;
    return v->cst != NULL && v->type.rank == 0 && v->type.dtype == SM_FP32 && l->act == SM_FP16 && !l->p->narrow &&
           sm_value_float(v, &f) && (double)sm_round_f16((float)f) != f;
}

/* How an op that carries over is lowered. */
typedef struct carry {
    sm_layout lay; /* of its operands and result */
    bool wide;     /* computed in fp32 */
} carry;

static sm_status plan_carry(sm_lower *l, const sm_node *n, carry *c, sm_err *err) {
    const sm_value *first = NULL;
    bool flat = false;
    *c = (carry){.lay = l->rows};
    for (int i = 0; i < sm_op_row_of(n->op)->n_slots; i++) {
        const sm_value *v = n->in[i];
        if (v == NULL)
            continue;
        if (v->cst == NULL)
            SM_TRY(want_rows(l, n, v, err));
        if (v->cst == NULL && first == NULL)
            first = v;
        /* beside heads first only what runs along the last axis stays where it is */
        flat |= v->cst != NULL && v->type.rank > 1 && sm_op_row_of(n->op)->lift == SM_LIFT_ELEM;
        c->wide |= is_wide_scalar(l, v);
    }
    if (first == NULL)
        return SM_FAIL(err, SM_UNSUPPORTED, "op %s -> '%s': computes with constants only", sm_op_row_of(n->op)->name,
                       name_of(n));
    if (!flat && n->op != SM_OP_LINEAR)
        c->lay = l->layout[first->id];
    return SM_OK;
}

/* With channels first a vector of the last axis is [d, 1, 1]. */
static sm_value *carry_const(sm_lower *l, const sm_node *n, int slot, sm_value *c, sm_dtype t) {
    double f;
    bool elem = sm_op_row_of(n->op)->lift == SM_LIFT_ELEM, scalar = c->type.rank == 0;
    if (elem && scalar && c->type.dtype == SM_FP32 && sm_value_float(c, &f))
        return sm_const_f(l->b, t, f);
    bool vector = elem && !scalar && sm_op_row_of(n->op)->slot[slot].kind == 't';
    return vector && l->rows == SM_LAY_CHANNELS ? sm_const_behind(l->b, c, 2) : c;
}

static sm_status lower_carry(sm_lower *l, const sm_node *n, sm_err *err) {
    const sm_op_row *row = sm_op_row_of(n->op);
    sm_value *in[SM_MAX_SLOTS] = {0};
    carry c;
    SM_TRY(plan_carry(l, n, &c, err));
    sm_dtype t = c.wide ? SM_FP32 : l->act;
    for (int i = 0; i < row->n_slots; i++) {
        in[i] = sm_lower_in(l, n->in[i], c.lay);
        if (in[i] == NULL)
            continue;
        if (n->in[i]->cst != NULL)
            in[i] = carry_const(l, n, i, in[i], t);
        else if (row->slot[i].kind == 't' && row->lift == SM_LIFT_ELEM)
            in[i] = sm_lower_cast(l, in[i], t);
    }
    if (n->op == SM_OP_LINEAR) {
        sm_lower_set(l, n->out[0], sm_lower_product(l, name_of(n), in[0], in[1], in[2]), c.lay);
        return SM_OK;
    }
    if (row->lift != SM_LIFT_ELEM && l->rows == SM_LAY_CHANNELS)
        return SM_FAIL(err, SM_UNSUPPORTED, "op %s -> '%s': has no form with channels first", row->name, name_of(n));
    sm_node *m = sm_build_node(l->b, n->op, name_of(n), in, NULL, 0);
    if (m == NULL)
        return SM_OK; /* the builder keeps the error */
    int rank = l->rows == SM_LAY_CHANNELS ? 4 : n->out[0]->type.rank + 1;
    if (m->out[0]->type.rank != rank)
        return SM_FAIL(err, SM_UNSUPPORTED, "op %s -> '%s': does not carry over to one sequence", row->name,
                       name_of(n));
    sm_lower_set(l, n->out[0], c.wide ? sm_lower_cast(l, m->out[0], l->act) : m->out[0], c.lay);
    return SM_OK;
}

/* Heads and their dimensions are numbers that extents of the program are made of. */
static sm_status want_heads(const sm_node *n, const char *slot, sm_err *err) {
    const sm_type *t = &sm_arg(n, slot)->type;
    for (int i = 1; i < 3; i++)
        if (!sm_dim_known(t->dims[i]) || t->dims[i] < 1 || t->dims[i] > 1 << 20)
            return SM_FAIL(err, SM_UNSUPPORTED, "op %s -> '%s': %s has no known number of heads and elements",
                           sm_op_row_of(n->op)->name, name_of(n), slot);
    return SM_OK;
}

static sm_layout heads_layout(const sm_lower *l) {
    return l->rows == SM_LAY_CHANNELS ? SM_LAY_CHANNELS : SM_LAY_HEADS;
}

static sm_status lower_attention(sm_lower *l, const sm_node *n, sm_err *err) {
    static const char *const names[3] = {"q", "k", "v"};
    sm_value *x[3];
    for (int i = 0; i < 3; i++) {
        SM_TRY(want_heads(n, names[i], err));
        SM_TRY(want_rows(l, n, sm_arg(n, names[i]), err));
        x[i] = sm_lower_in(l, sm_arg(n, names[i]), heads_layout(l));
    }
    sm_lower_set(l, n->out[0], sm_lower_attention(l, n, x[0], x[1], x[2]), heads_layout(l));
    return SM_OK;
}

static sm_status lower_rope(sm_lower *l, const sm_node *n, sm_err *err) {
    const sm_value *pos = sm_arg(n, "pos");
    SM_TRY(want_heads(n, "x", err));
    if (pos->def != NULL || pos->cst != NULL || strcmp(pos->name, "pos") != 0 || sm_arg(n, "inv_freq")->cst == NULL)
        return SM_FAIL(err, SM_UNSUPPORTED,
                       "op rope -> '%s': only input 'pos' times constant frequencies can be lowered", name_of(n));
    sm_value *y = NULL;
    SM_TRY(sm_lower_rope(l, n, sm_lower_in(l, sm_arg(n, "x"), heads_layout(l)), &y, err));
    sm_lower_set(l, n->out[0], y, heads_layout(l));
    return SM_OK;
}

static sm_status lower_node(sm_lower *l, const sm_node *n, sm_err *err) {
    const sm_op_row *row = sm_op_row_of(n->op);
    l->act = sm_profile_is_wide(l->p, n) ? SM_FP32 : l->p->act;
    if (row->lift == SM_LIFT_ELEM)
        return lower_carry(l, n, err);
    if (row->n_slots > 0 && n->op != SM_OP_EMBED)
        SM_TRY(want_rows(l, n, n->in[0], err));
    switch (n->op) {
    case SM_OP_EMBED:
        return sm_lower_embed(l, n, err);
    case SM_OP_RMS_NORM:
        sm_lower_set(l, n->out[0], sm_lower_rms_norm(l, n), l->layout[sm_arg(n, "x")->id]);
        return SM_OK;
    case SM_OP_ROPE:
        return lower_rope(l, n, err);
    case SM_OP_ATTENTION:
        return lower_attention(l, n, err);
    case SM_OP_GATED_MLP:
        sm_lower_set(l, n->out[0], sm_lower_gated_mlp(l, n), l->rows);
        return SM_OK;
    case SM_OP_LM_HEAD:
        return sm_lower_head(l, n, err);
    case SM_OP_GATHER:
        return lower_gather(l, n, err);
    case SM_OP_RESHAPE:
        return lower_reshape(l, n, err);
    default:
        break;
    }
    if (row->lift != SM_LIFT_LAST)
        return SM_FAIL(err, SM_UNSUPPORTED, "op %s -> '%s': has no lowering from row form", row->name, name_of(n));
    return lower_carry(l, n, err);
}

static sm_status walk(sm_lower *l, const sm_func *f, sm_err *err) {
    SM_TRY(sm_lower_interface(l, err));
    for (const sm_node *n = f->body->first; n != NULL && l->b->st == SM_OK; n = n->next)
        SM_TRY(lower_node(l, n, err));
    l->act = l->p->act;
    return l->b->st == SM_OK ? sm_lower_results(l, err) : SM_OK;
}

sm_status sm_pass_lower(sm_func *f, const sm_profile *p, sm_func **out, sm_lowered *notes, sm_err *err) {
    if (!sm_func_is_rows(f))
        return SM_FAIL(err, SM_UNSUPPORTED, "function '%s' is not in row form: only models can be lowered", f->name);
    SM_TRY(sm_profile_check(p, err));
    sm_lower *l = sm_alloc(sizeof *l);
    if (l == NULL)
        return SM_NOMEM(err);
    l->p = p;
    l->rows = p->axes == SM_AXES_CHANNELS ? SM_LAY_CHANNELS : SM_LAY_TOKENS;
    l->act = p->act;
    l->io = p->act == SM_FP32 || !sm_target_has(p->opset, SM_FEATURE_FP16_IO) ? SM_FP32 : SM_FP16;
    l->notes = notes;
    l->n_slots = sm_func_kv_slots(f, l->slot, SM_MAX_SLOTS_KV);
    l->layout = sm_alloc_n(f->graph->n_values, sizeof *l->layout);
    sm_status st = l->layout == NULL ? SM_NOMEM(err) : sm_rebuild_start_bare(&l->r, f, p->opset, err);
    if (st == SM_OK) {
        l->b = &l->r.b;
        st = walk(l, f, err);
        st = sm_rebuild_end_bare(&l->r, st, out, err);
    }
    sm_free(l->layout);
    sm_free(l);
    return st;
}
