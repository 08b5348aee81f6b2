/* SPDX-License-Identifier: MIT
 *
 * lower.c: row form -> MIL, as a profile says.
 *
 * One forward walk.  A row value [t, ...] becomes a MIL value [1, n, ...]; values on their way into attention are kept
 * heads-first, [1, heads, n, d].  Elementwise ops and ops on the last axis carry over by themselves (the table's lift
 * column); composites and the row selection have a rule here.  Encodings are not touched: `encode` chose them, and the
 * writer shows them as constexpr ops.
 *
 * What is not representable in the activation dtype stays in fp32 between two casts: rotary angles, the embedding's
 * scale, the norm's square (profile NORM_F32).
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
    return sm_const_f(l->b, l->p->act, v);
}

sm_value *sm_lower_slice_last(sm_lower *l, sm_value *x, int64_t begin, int64_t end) {
    if (x == NULL)
        return NULL;
    int rank = x->type.rank;
    int32_t lo[SM_MAX_RANK] = {0}, hi[SM_MAX_RANK] = {0};
    bool open[SM_MAX_RANK];
    for (int i = 0; i < rank; i++)
        open[i] = i < rank - 1;
    lo[rank - 1] = (int32_t)begin;
    hi[rank - 1] = (int32_t)end;
    return sm_build(l->b, SM_OP_SLICE_BY_INDEX, NULL, "x", x, "begin", sm_const_i32s(l->b, lo, rank), "end",
                    sm_const_i32s(l->b, hi, rank), "begin_mask", sm_const_bools(l->b, open, rank), "end_mask",
                    sm_const_bools(l->b, open, rank), NULL);
}

sm_value *sm_lower_in(sm_lower *l, const sm_value *v, sm_layout want) {
    static const int32_t swap[4] = {0, 2, 1, 3};
    if (v == NULL)
        return NULL;
    sm_value *x = sm_map_value(l->r.map, (sm_value *)v);
    if (v->cst != NULL || x == NULL || l->layout[v->id] == want)
        return x;
    return sm_lower_transpose(l, x, 4, swap);
}

static void set(sm_lower *l, const sm_value *v, sm_value *x, sm_layout lay) {
    l->r.map[v->id] = x;
    l->layout[v->id] = lay;
}

static const char *name_of(const sm_node *n) {
    return n->out[0]->name;
}

/* coremltools spells out a zero bias, and so do we: it is the form every reader has seen. */
static sm_value *zero_bias(sm_lower *l, int64_t n) {
    for (int i = 0; i < l->n_zero; i++)
        if (l->zero[i]->type.dims[0] == n)
            return l->zero[i];
    void *zeros = sm_alloc_n((size_t)n, 4);
    if (zeros == NULL) {
        l->b->st = SM_NOMEM(&l->b->err);
        return NULL;
    }
    sm_value *v = sm_const_data(l->b, "zero_bias", l->p->act, 1, &n, zeros);
    sm_free(zeros);
    if (v != NULL && l->n_zero < SM_MAX_TABLES)
        l->zero[l->n_zero++] = v;
    return v;
}

static sm_value *linear(sm_lower *l, const char *name, sm_value *x, sm_value *w, sm_value *bias) {
    if (bias == NULL && w != NULL && w->type.rank == 2 && sm_dim_known(w->type.dims[0]))
        bias = zero_bias(l, w->type.dims[0]);
    return sm_build(l->b, SM_OP_LINEAR, name, "x", x, "weight", w, "bias", bias, NULL);
}

/* ------------------------------------------------------------------ composites */
static bool is_input(const sm_value *v, const char *name) {
    return v->def == NULL && v->cst == NULL && strcmp(v->name, name) == 0;
}

static sm_status lower_embed(sm_lower *l, const sm_node *n, sm_err *err) {
    double scale = 1;
    sm_arg_float(n, "scale", &scale);
    if (!is_input(sm_arg(n, "ids"), "ids") || sm_arg(n, "table")->cst == NULL)
        return SM_FAIL(err, SM_UNSUPPORTED, "op embed -> '%s': only constant rows of input 'ids' can be lowered",
                       name_of(n));
    sm_value *table = sm_map_value(l->r.map, sm_arg(n, "table"));
    sm_value *x = sm_build(l->b, SM_OP_GATHER, scale == 1 ? name_of(n) : NULL, "x", table, "indices", l->ids, "axis",
                           sm_const_i32(l->b, 0), NULL);
    if (scale != 1) {
        x = sm_lower_cast(l, x, SM_FP32);
        x = sm_build(l->b, SM_OP_MUL, NULL, "x", x, "y", sm_const_f(l->b, SM_FP32, scale), NULL);
    }
    set(l, n->out[0], sm_lower_cast(l, x, l->p->act), SM_LAY_TOKENS);
    return SM_OK;
}

/* x * rsqrt(mean(x^2) + eps): x^2 leaves fp16's range with real weights, so either it is computed in fp32, or not at all:
 * over [x, -x] the mean is 0 and the variance is mean(x^2), which layer_norm computes inside. */
static sm_value *norm_layer(sm_lower *l, sm_value *x, double eps) {
    int rank = x->type.rank;
    int64_t d = x->type.dims[rank - 1];
    int32_t axis = rank - 1;
    sm_value *neg = sm_build(l->b, SM_OP_MUL, NULL, "x", x, "y", sm_lower_scalar(l, -1), NULL);
    sm_value *both =
        sm_build_list(l->b, SM_OP_CONCAT, NULL, (sm_value *[]){x, neg}, 2, "axis", sm_const_i32(l->b, axis), NULL);
    sm_value *y = sm_build(l->b, SM_OP_LAYER_NORM, NULL, "x", both, "axes", sm_const_i32s(l->b, &axis, 1), "epsilon",
                           sm_const_f(l->b, SM_FP32, eps), NULL);
    return sm_lower_slice_last(l, y, 0, d);
}

static sm_value *norm_f32(sm_lower *l, sm_value *x, double eps) {
    int32_t axis = -1;
    sm_value *w = sm_lower_cast(l, x, SM_FP32);
    sm_value *sq = sm_build(l->b, SM_OP_MUL, NULL, "x", w, "y", w, NULL);
    sm_value *mean = sm_build(l->b, SM_OP_REDUCE_MEAN, NULL, "x", sq, "axes", sm_const_i32s(l->b, &axis, 1),
                              "keep_dims", sm_const_bool(l->b, true), NULL);
    sm_value *sum = sm_build(l->b, SM_OP_ADD, NULL, "x", mean, "y", sm_const_f(l->b, SM_FP32, eps), NULL);
    sm_value *inv = sm_build(l->b, SM_OP_RSQRT, NULL, "x", sum, "epsilon", sm_const_f(l->b, SM_FP32, 1e-12), NULL);
    return sm_lower_cast(l, sm_build(l->b, SM_OP_MUL, NULL, "x", w, "y", inv, NULL), l->p->act);
}

static sm_value *lower_rms_norm(sm_lower *l, const sm_node *n) {
    double eps = 0;
    sm_arg_float(n, "eps", &eps);
    sm_value *x = sm_map_value(l->r.map, sm_arg(n, "x"));
    sm_value *gamma = sm_arg(n, "gamma");
    if (x == NULL)
        return NULL;
    sm_value *y = l->p->norm == SM_NORM_F32 ? norm_f32(l, x, eps) : norm_layer(l, x, eps);
    if (gamma == NULL)
        return y;
    return sm_build(l->b, SM_OP_MUL, name_of(n), "x", y, "y", sm_map_value(l->r.map, gamma), NULL);
}

static sm_value *activation(sm_lower *l, sm_value *x, sm_sv act) {
    if (sm_sv_is(act, "silu"))
        return sm_build(l->b, SM_OP_SILU, NULL, "x", x, NULL);
    const char *mode = sm_sv_is(act, "gelu_tanh") ? "TANH_APPROXIMATION" : "EXACT";
    return sm_build(l->b, SM_OP_GELU, NULL, "x", x, "mode", sm_const_str(l->b, mode), NULL);
}

static sm_value *lower_gated_mlp(sm_lower *l, const sm_node *n) {
    sm_sv act = {0};
    sm_arg_str(n, "act", &act);
    sm_value *x = sm_lower_in(l, sm_arg(n, "x"), SM_LAY_TOKENS);
    sm_value *gate = linear(l, NULL, x, sm_map_value(l->r.map, sm_arg(n, "gate")), NULL);
    sm_value *up = linear(l, NULL, x, sm_map_value(l->r.map, sm_arg(n, "up")), NULL);
    sm_value *h = sm_build(l->b, SM_OP_MUL, NULL, "x", activation(l, gate, act), "y", up, NULL);
    return linear(l, name_of(n), h, sm_map_value(l->r.map, sm_arg(n, "down")), NULL);
}

sm_value *sm_lower_soft_cap(sm_lower *l, sm_value *x, double cap) {
    x = sm_build(l->b, SM_OP_REAL_DIV, NULL, "x", x, "y", sm_lower_scalar(l, cap), NULL);
    x = sm_build(l->b, SM_OP_TANH, NULL, "x", x, NULL);
    return sm_build(l->b, SM_OP_MUL, NULL, "x", x, "y", sm_lower_scalar(l, cap), NULL);
}

static sm_value *lower_lm_head(sm_lower *l, const sm_node *n) {
    double cap = 0;
    sm_arg_float(n, "softcap", &cap);
    sm_value *x = sm_lower_in(l, sm_arg(n, "x"), SM_LAY_TOKENS);
    sm_value *bias = sm_arg(n, "bias");
    sm_value *y = linear(l, cap > 0 ? NULL : name_of(n), x, sm_map_value(l->r.map, sm_arg(n, "weight")),
                         bias != NULL ? sm_map_value(l->r.map, bias) : NULL);
    return cap > 0 ? sm_lower_soft_cap(l, y, cap) : y;
}

/* ------------------------------------------------------------------ ops that carry over */
/* [t, a, b...] -> [t, c...] becomes [1, n, a, b...] -> [1, n, c...]. */
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
    sm_value *x = sm_lower_in(l, n->in[0], SM_LAY_TOKENS);
    set(l, n->out[0], sm_lower_reshape(l, x, t->rank + 1, shape), SM_LAY_TOKENS);
    return SM_OK;
}

/* The selection of rows before lm_head: a package gives logits for every position. */
static sm_status lower_gather(sm_lower *l, const sm_node *n, sm_err *err) {
    int64_t axis = 0;
    sm_arg_int(n, "axis", &axis);
    const sm_value *idx = sm_arg(n, "indices");
    if (axis != 0 || !is_input(idx, "out") || sm_arg(n, "x")->cst != NULL)
        return SM_FAIL(err, SM_UNSUPPORTED, "op gather -> '%s': only the selection of output rows can be lowered",
                       name_of(n));
    set(l, n->out[0], sm_lower_in(l, sm_arg(n, "x"), SM_LAY_TOKENS), SM_LAY_TOKENS);
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
    return v->cst != NULL && v->type.rank == 0 && v->type.dtype == SM_FP32 && l->p->act == SM_FP16 &&
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
    *c = (carry){.lay = SM_LAY_TOKENS};
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

static sm_status lower_carry(sm_lower *l, const sm_node *n, sm_err *err) {
    const sm_op_row *row = sm_op_row_of(n->op);
    sm_value *in[SM_MAX_SLOTS] = {0};
    carry c;
    SM_TRY(plan_carry(l, n, &c, err));
    for (int i = 0; i < row->n_slots; i++) {
        double f;
        in[i] = sm_lower_in(l, n->in[i], c.lay);
        if (in[i] == NULL || row->slot[i].kind != 't' || row->lift != SM_LIFT_ELEM)
            continue;
        sm_dtype t = c.wide ? SM_FP32 : l->p->act;
        if (n->in[i]->cst == NULL)
            in[i] = sm_lower_cast(l, in[i], t);
        else if (in[i]->type.rank == 0 && in[i]->type.dtype == SM_FP32 && sm_value_float(in[i], &f))
            in[i] = sm_const_f(l->b, t, f);
    }
    if (n->op == SM_OP_LINEAR) {
        set(l, n->out[0], linear(l, name_of(n), in[0], in[1], in[2]), c.lay);
        return SM_OK;
    }
    sm_node *m = sm_build_node(l->b, n->op, name_of(n), in, NULL, 0);
    if (m == NULL)
        return SM_OK; /* the builder keeps the error */
    if (m->out[0]->type.rank != n->out[0]->type.rank + 1)
        return SM_FAIL(err, SM_UNSUPPORTED, "op %s -> '%s': does not carry over to one sequence", row->name,
                       name_of(n));
    set(l, n->out[0], c.wide ? sm_lower_cast(l, m->out[0], l->p->act) : m->out[0], c.lay);
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

static sm_status lower_attention(sm_lower *l, const sm_node *n, sm_err *err) {
    static const char *const names[3] = {"q", "k", "v"};
    sm_value *x[3];
    for (int i = 0; i < 3; i++) {
        SM_TRY(want_heads(n, names[i], err));
        SM_TRY(want_rows(l, n, sm_arg(n, names[i]), err));
        x[i] = sm_lower_in(l, sm_arg(n, names[i]), SM_LAY_HEADS);
    }
    set(l, n->out[0], sm_lower_attention(l, n, x[0], x[1], x[2]), SM_LAY_HEADS);
    return SM_OK;
}

static sm_status lower_rope(sm_lower *l, const sm_node *n, sm_err *err) {
    SM_TRY(want_heads(n, "x", err));
    if (!is_input(sm_arg(n, "pos"), "pos") || sm_arg(n, "inv_freq")->cst == NULL)
        return SM_FAIL(err, SM_UNSUPPORTED,
                       "op rope -> '%s': only input 'pos' times constant frequencies can be lowered", name_of(n));
    sm_value *y = NULL;
    SM_TRY(sm_lower_rope(l, n, sm_lower_in(l, sm_arg(n, "x"), SM_LAY_HEADS), &y, err));
    set(l, n->out[0], y, SM_LAY_HEADS);
    return SM_OK;
}

static sm_status lower_node(sm_lower *l, const sm_node *n, sm_err *err) {
    const sm_op_row *row = sm_op_row_of(n->op);
    if (row->lift == SM_LIFT_ELEM)
        return lower_carry(l, n, err);
    if (row->n_slots > 0 && n->op != SM_OP_EMBED)
        SM_TRY(want_rows(l, n, n->in[0], err));
    switch (n->op) {
    case SM_OP_EMBED:
        return lower_embed(l, n, err);
    case SM_OP_RMS_NORM:
        set(l, n->out[0], lower_rms_norm(l, n), l->layout[sm_arg(n, "x")->id]);
        return SM_OK;
    case SM_OP_ROPE:
        return lower_rope(l, n, err);
    case SM_OP_ATTENTION:
        return lower_attention(l, n, err);
    case SM_OP_GATED_MLP:
        set(l, n->out[0], lower_gated_mlp(l, n), SM_LAY_TOKENS);
        return SM_OK;
    case SM_OP_LM_HEAD:
        set(l, n->out[0], lower_lm_head(l, n), SM_LAY_TOKENS);
        return SM_OK;
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

sm_status sm_pass_lower(sm_func *f, const sm_profile *p, sm_func **out, sm_err *err) {
    if (!sm_func_is_rows(f))
        return SM_FAIL(err, SM_UNSUPPORTED, "function '%s' is not in row form: only models can be lowered", f->name);
    sm_lower *l = sm_alloc(sizeof *l);
    if (l == NULL)
        return SM_NOMEM(err);
    l->p = p;
    l->n_slots = sm_func_kv_slots(f, l->slot, SM_MAX_SLOTS_KV);
    l->layout = sm_alloc_n(f->graph->n_values, sizeof *l->layout);
    sm_status st = l->layout == NULL ? SM_NOMEM(err) : sm_rebuild_start_bare(&l->r, f, p->opset, err);
    if (st == SM_OK) {
        l->b = &l->r.b;
        st = sm_lower_interface(l, err);
        for (const sm_node *n = f->body->first; n != NULL && st == SM_OK && l->b->st == SM_OK; n = n->next)
            st = lower_node(l, n, err);
        if (st == SM_OK && l->b->st == SM_OK)
            sm_lower_results(l);
        st = sm_rebuild_end_bare(&l->r, st, out, err);
    }
    sm_free(l->layout);
    sm_free(l);
    return st;
}
