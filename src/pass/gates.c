/* SPDX-License-Identifier: MIT
 *
 * gates.c: does the Neural Engine take this program?  Rules are in gates.def; each finding names the first value it holds of.
 *
 * Only values that the engine itself would compute count: parameters of ops (epsilon, axes) and what leads to an interface
 * that knows no fp16 (casts) do not.
 */
#include "pass/pass_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const sm_gate gates[] = {
#define GATE(id, limit, refuse, source, what, hint) {#id, limit, refuse, source, what, hint},
#include "pass/gates.def"
};
enum {
#define GATE(id, ...) G_##id,
#include "pass/gates.def"
};

typedef struct finder {
    bool listed; /* extents that are not fixed are of a list of shapes */
    sm_gate_found *out;
    int cap, n;
} finder;

static void found(finder *z, int gate, const sm_node *n, const sm_value *v) {
    for (int i = 0; i < z->n; i++)
        if (z->out[i].gate == &gates[gate]) {
            z->out[i].count++;
            return;
        }
    if (z->n == z->cap)
        return;
    sm_gate_found *f = &z->out[z->n++];
    *f = (sm_gate_found){.gate = &gates[gate], .count = 1};
    snprintf(f->where, sizeof f->where, "%s%s%s", n != NULL ? sm_op_row_of(n->op)->name : "input", " ",
             v != NULL && v->name != NULL ? v->name : "");
}

static void look_at_type(finder *z, const sm_node *n, const sm_value *v) {
    const sm_type *t = &v->type;
    if (t->rank > gates[G_RANK].limit)
        found(z, G_RANK, n, v);
    for (int a = 0; a < t->rank; a++) {
        if (!sm_dim_known(t->dims[a]) && !z->listed)
            found(z, G_DYNAMIC, n, v);
        else if (!sm_dim_known(t->dims[a]))
            continue;
        else if (t->dims[a] == 0)
            found(z, G_EMPTY, n, v);
        else if (t->dims[a] > gates[G_EXTENT].limit && sm_dtype_kind(t->dtype) == 'f')
            found(z, G_EXTENT, n, v);
    }
}

static bool is_infinite(const sm_value *v) {
    size_t n;
    const sm_const *c = v->cst;
    if (sm_dtype_kind(v->type.dtype) != 'f' || c->src.enc.id != SM_ENC_DENSE || sm_tensor_numel(&c->src) > 4096 ||
        c->src.part[SM_PART_DATA].p == NULL)
        return false;
    float *x = sm_const_decode(c, &n);
    bool inf = false;
    for (size_t i = 0; x != NULL && i < n; i++)
        inf |= !isfinite(v->type.dtype == SM_FP16 ? sm_round_f16(x[i]) : x[i]);
    sm_free(x);
    return inf;
}

static void look_at_const(finder *z, const sm_node *n, const sm_slot *s, const sm_value *v) {
    const sm_const *c = v->cst;
    bool rows = n->op == SM_OP_GATHER && strcmp(s->name, "x") == 0;
    if (s->kind != 't' && s->kind != 'f')
        return;
    if (c->want.id == SM_ENC_AFFINE && c->want.block[c->src.rank - 1] != sm_tensor_cols(&c->src) && !rows)
        found(z, G_BLOCKS, n, v);
    if (s->kind == 't' && v->type.dtype == SM_FP32 && n->op != SM_OP_CAST && strcmp(s->name, "epsilon") != 0)
        found(z, G_FLOAT32, n, v);
    if (s->kind == 't' && !rows)
        look_at_type(z, n, v);
    if (is_infinite(v))
        found(z, G_INFINITE, n, v);
    if (rows && v->type.rank == 2)
        found(z, v->type.dims[0] > gates[G_BIG_LOOKUP].limit ? G_BIG_LOOKUP : G_LOOKUP, n, v);
}

static void look_at_state(finder *z, const sm_value *v) {
    const sm_type *t = &v->type;
    found(z, G_STATE, NULL, v);
    for (int a = SM_MAX(t->rank - 2, 0); a < t->rank; a++)
        if (t->dims[a] % gates[G_STATE_EXTENT].limit != 0)
            found(z, G_STATE_EXTENT, NULL, v);
}

static void look_at_node(finder *z, const sm_node *n) {
    const sm_op_row *row = sm_op_row_of(n->op);
    for (int i = 0; i < row->n_slots; i++)
        if (n->in[i] != NULL && n->in[i]->cst != NULL)
            look_at_const(z, n, &row->slot[i], n->in[i]);
    for (int i = 0; i < n->n_out; i++) {
        look_at_type(z, n, n->out[i]);
        if (n->out[i]->type.dtype == SM_FP32 && n->op != SM_OP_CAST)
            found(z, G_FLOAT32, n, n->out[i]);
    }
    if (n->op == SM_OP_TOPK || n->op == SM_OP_REDUCE_ARGMAX)
        found(z, G_BEST, n, n->out[0]);
    const sm_value *u = n->op == SM_OP_SLICE_UPDATE ? sm_arg(n, "update") : NULL;
    if (u != NULL && u->type.rank >= 2 && u->type.dims[u->type.rank - 2] > gates[G_LONG_UPDATE].limit)
        found(z, G_LONG_UPDATE, n, u);
}

int sm_pass_gates(const sm_func *f, sm_gate_found *out, int cap) {
    finder z = {.out = out, .cap = cap, .listed = f->n_shapes > 0};
    for (int i = 0; i < f->body->n_in; i++)
        if (f->body->in[i]->type.kind == SM_V_STATE)
            look_at_state(&z, f->body->in[i]);
        else
            look_at_type(&z, NULL, f->body->in[i]);
    for (const sm_node *n = f->body->first; n != NULL; n = n->next)
        look_at_node(&z, n);
    return z.n;
}
