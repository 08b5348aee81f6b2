/* SPDX-License-Identifier: MIT
 *
 * cost.c: operations and bytes of a node, from its types alone.
 *
 * FLOPs by the row's class: ELEM 1 an element of the result, EXP 8 (a transcendental or a norm's several passes), REDUCE 1
 * an element of the input, MATMUL 2 per multiply-add, ATTN 2 per multiply-add of scores and sums plus 8 per score.
 * Bytes: constants as they shall be stored (`want`), activations as their dtype says, each once; views move nothing;
 * row lookup reads the rows it names.  A cache holds fp16: kv_bytes = 2 * heads * (dim + v dim) per position, read for
 * every position that a row of the step sees (of a window: more with more rows) and written for every new row.
 */
#include <string.h>

#include "graph/graph_int.h"

typedef struct costing {
    const sm_graph *g;
    const int64_t *sym;
} costing;

static double extent(const costing *c, sm_dim d) {
    int64_t v = sm_dim_eval(c->g, d, c->sym);
    return v > 0 ? (double)v : 0;
}

static double numel(const costing *c, const sm_value *v) {
    double n = 1;
    for (int i = 0; i < v->type.rank; i++)
        n *= extent(c, v->type.dims[i]);
    return n;
}

/* Extent of axis a, from the end when negative; 1 when there is none. */
static double axis(const costing *c, const sm_value *v, int a) {
    a = a < 0 ? a + v->type.rank : a;
    return a < 0 || a >= v->type.rank ? 1 : extent(c, v->type.dims[a]);
}

static double const_bytes(const sm_value *v) {
    size_t bytes[SM_PART_COUNT];
    double sum = 0;
    const sm_const *k = v->cst;
    if (v->type.dtype == SM_STRING || sm_enc_sizes(&k->want, k->src.rank, k->src.dims, bytes, NULL) != SM_OK)
        return 0;
    for (int p = 0; p < SM_PART_COUNT; p++)
        sum += (double)bytes[p];
    return sum;
}

static double act_bytes(const costing *c, const sm_value *v) {
    return v->type.kind == SM_V_BATCH ? 0 : numel(c, v) * sm_dtype_bits(v->type.dtype) / 8;
}

/* Every letter's extent multiplied: the multiply-adds of an Einstein sum. */
static double einsum_macs(const costing *c, const sm_node *n) {
    sm_sv eq = {0};
    bool seen[256] = {false};
    double macs = 1;
    size_t at = 0;
    sm_arg_str(n, "equation", &eq);
    for (int i = 0; i < n->n_list; i++, at++)
        for (int a = 0; a < n->list[i]->type.rank && at < eq.n; a++, at++) {
            if (!seen[(uint8_t)eq.p[at]])
                macs *= extent(c, n->list[i]->type.dims[a]);
            seen[(uint8_t)eq.p[at]] = true;
        }
    return macs;
}

static double matmul_flops(const costing *c, const sm_node *n) {
    double out = n->n_out > 0 ? numel(c, n->out[0]) : 0;
    bool t = false;
    const sm_value *w;
    switch (n->op) {
    case SM_OP_LINEAR:
    case SM_OP_LM_HEAD:
        return 2 * out * axis(c, sm_arg(n, "weight"), 1);
    case SM_OP_MATMUL:
        sm_arg_bool(n, "transpose_x", &t);
        return 2 * out * axis(c, sm_arg(n, "x"), t && sm_arg(n, "x")->type.rank > 1 ? -2 : -1);
    case SM_OP_CONV:
    case SM_OP_CONV_QUANTIZED:
        w = sm_arg(n, "weight");
        return 2 * out * (numel(c, w) / SM_MAX(axis(c, w, 0), 1));
    case SM_OP_CONV_TRANSPOSE:
        w = sm_arg(n, "weight");
        return 2 * numel(c, sm_arg(n, "x")) * (numel(c, w) / SM_MAX(axis(c, w, 0), 1));
    case SM_OP_GATED_MLP:
        w = sm_arg(n, "gate");
        return numel(c, sm_arg(n, "x")) * axis(c, w, 0) * 6 +
               out / SM_MAX(axis(c, sm_arg(n, "down"), 0), 1) * axis(c, w, 0) * 9;
    case SM_OP_EINSUM:
        return 2 * einsum_macs(c, n);
    default:
        return 0;
    }
}

static void attention_cost(const costing *c, const sm_node *n, int64_t kv_len, sm_cost *o) {
    bool sdpa = n->op == SM_OP_SDPA;
    const sm_value *q = sm_arg(n, sdpa ? "query" : "q"), *k = sm_arg(n, sdpa ? "key" : "k");
    const sm_value *v = sm_arg(n, sdpa ? "value" : "v");
    double d = axis(c, q, -1), dv = axis(c, v, -1), rows = numel(c, q) / SM_MAX(d, 1), seen;
    int64_t window = 0;
    if (sdpa) {
        seen = axis(c, k, -2);
    } else {
        seen = (double)kv_len;
        sm_arg_int(n, "window", &window);
        if (window > 0 && (double)window < seen)
            seen = (double)window;
        double position = 2 * axis(c, k, 1) * (d + dv), new_rows = axis(c, k, 0), any = seen;
        if (window > 0 && new_rows > 1)
            any = SM_MIN((double)kv_len, seen + new_rows - 1);
        o->kv_bytes += position * (any + new_rows);
    }
    o->flops += rows * seen * (2 * d + 2 * dv + 8);
}

/* Bytes of the result's elements when a node reads only the rows that it names. */
static const sm_value *looked_up(const sm_node *n) {
    if (n->op == SM_OP_EMBED)
        return sm_arg(n, "table");
    bool gather = n->op == SM_OP_GATHER || n->op == SM_OP_GATHER_ALONG_AXIS || n->op == SM_OP_GATHER_ND;
    return gather ? sm_arg(n, "x") : NULL;
}

static void add_bytes(const costing *c, const sm_node *n, const sm_value *v, bool count_const, sm_cost *o) {
    if (v == NULL || v->type.kind == SM_V_BATCH)
        return;
    double part = 1;
    if (v == looked_up(n) && n->n_out > 0)
        part = numel(c, n->out[0]) / SM_MAX(numel(c, v), 1);
    if (part > 1)
        part = 1;
    if (v->cst == NULL)
        o->act_bytes += part * act_bytes(c, v);
    else if (count_const)
        o->weight_bytes += part * const_bytes(v);
}

/* counted: consts seen before, by value id (NULL: none). */
static void node_cost(const costing *c, const sm_node *n, int64_t kv_len, bool *counted, sm_cost *o) {
    const sm_op_row *row = sm_op_row_of(n->op);
    double out = 0;
    for (int i = 0; i < n->n_out; i++)
        out += numel(c, n->out[i]);
    switch (row->cost) {
    case SM_COST_NONE:
        return;
    case SM_COST_MOVE:
        break;
    case SM_COST_ELEM:
        o->flops += out;
        break;
    case SM_COST_EXP:
        o->flops += 8 * out;
        break;
    case SM_COST_REDUCE:
        o->flops += numel(c, n->in[0]); /* x; the boxes of non_maximum_suppression */
        break;
    case SM_COST_MATMUL:
        o->flops += matmul_flops(c, n);
        break;
    case SM_COST_ATTN:
        attention_cost(c, n, kv_len, o);
        break;
    }
    for (int i = 0; i < row->n_slots + n->n_list; i++) {
        const sm_value *v = i < row->n_slots ? n->in[i] : n->list[i - row->n_slots];
        bool fresh = v != NULL && v->cst != NULL && (counted == NULL || !counted[v->id]);
        add_bytes(c, n, v, fresh, o);
        if (fresh && counted != NULL && v != looked_up(n))
            counted[v->id] = true;
    }
    for (int i = 0; i < n->n_out; i++)
        o->act_bytes += act_bytes(c, n->out[i]);
}

void sm_node_cost(const sm_graph *g, const sm_node *n, const int64_t *sym_value, int64_t kv_len, sm_cost *out) {
    costing c = {g, sym_value};
    memset(out, 0, sizeof *out);
    node_cost(&c, n, kv_len, NULL, out);
}

/* Blocks once: both sides of a cond, one turn of a loop. */
static void block_cost(const costing *c, const sm_block *b, int64_t kv_len, bool *counted, sm_cost *o) {
    for (const sm_node *n = b->first; n != NULL; n = n->next) {
        node_cost(c, n, kv_len, counted, o);
        for (int i = 0; i < n->n_blocks; i++)
            block_cost(c, n->blocks[i], kv_len, counted, o);
    }
}

void sm_func_cost(const sm_func *f, const int64_t *sym_value, int64_t kv_len, sm_cost *out) {
    costing c = {f->graph, sym_value};
    bool *counted = sm_alloc_n((size_t)f->graph->n_values + 1, sizeof *counted);
    memset(out, 0, sizeof *out);
    block_cost(&c, f->body, kv_len, counted, out); /* without memory a shared constant counts per use */
    sm_free(counted);
}
