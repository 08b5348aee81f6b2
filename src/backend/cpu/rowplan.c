/* SPDX-License-Identifier: MIT
 *
 * rowplan.c: a row graph becomes steps.
 *
 * Nodes are taken in order.  What is fused here is what the graph shows:
 *
 *     linears of one value (q, k, v)      one step with one list of tiles
 *     gated_mlp                           gate, up and activation in one step, then down
 *     rows going into coded weights       quantized once per value, used by all
 *     rope                                cos and sin once per table and run, used by all layers
 *     reshape, casts between floats       other names of the same buffer
 *
 * Everything else is one step a node.  An op that is not here is SM_UNSUPPORTED, naming op and value.
 */
#include <string.h>

#include "backend/cpu/cpu_int.h"

enum { LOOK_AHEAD = 64, JOBS_MAX = 16 };

typedef struct quantized {
    int32_t from, to; /* buffers */
} quantized;

typedef struct turned {
    const sm_value *inv_freq, *sine; /* of tables: cosines and sines */
    float scale;
    int32_t buf;
} turned;

typedef struct lower {
    sm_exe *e;
    sm_err *err;
    const sm_value *ids, *pos, *out, *batch;
    int32_t *buf_of; /* by value id; -1: none yet */
    struct {
        quantized *v;
        size_t n, cap;
    } quants;
    struct {
        turned *v;
        size_t n, cap;
    } turns;
} lower;

static sm_status refuse(const lower *l, const sm_node *n, const char *why) {
    return SM_FAIL(l->err, SM_UNSUPPORTED, "backend cpu cannot run op '%s' (value '%s'): %s", sm_op_row_of(n->op)->name,
                   n->n_out > 0 && n->out[0]->name ? n->out[0]->name : "", why);
}

/* ---- values and buffers ---- */

static bool rows_of(const lower *l, const sm_type *t, sm_rows *rows) {
    if (t->rank < 1)
        return false;
    *rows = l->ids && t->dims[0] == l->ids->type.dims[0] ? SM_ROWS_T : SM_ROWS_R;
    return *rows == SM_ROWS_T || (l->out && t->dims[0] == l->out->type.dims[0]);
}

/* Elements of a row; 0 when not known or absurd. */
static int32_t row_elems(const sm_type *t) {
    int64_t n = 1;
    for (int a = 1; a < t->rank; a++) {
        if (!sm_dim_known(t->dims[a]) || t->dims[a] < 1 || t->dims[a] > (1 << 28) / n)
            return 0;
        n *= t->dims[a];
    }
    return (int32_t)n;
}

static sm_status new_buf(lower *l, size_t row_bytes, sm_rows rows, int32_t *out) {
    sm_exe *e = l->e;
    if (!SM_GROW(&e->bufs))
        return SM_NOMEM(l->err);
    size_t stride = (row_bytes + 63) / 64 * 64;
    if (stride % 1024 == 0)
        stride += 64; /* neighbouring rows would fall on the same cache sets */
    *out = (int32_t)e->bufs.n;
    e->bufs.v[e->bufs.n++] = (sm_buf){.stride = stride, .rows = rows, .first = -1, .last = -1};
    return SM_OK;
}

static sm_status new_step(lower *l, sm_step_fn run, const sm_value *v, sm_rows rows, int32_t n, sm_step **out) {
    sm_exe *e = l->e;
    if (!SM_GROW(&e->steps))
        return SM_NOMEM(l->err);
    sm_step *s = &e->steps.v[e->steps.n++];
    memset(s, 0, sizeof *s);
    s->run = run;
    s->name = v->name;
    s->rows = rows;
    s->n = n;
    s->row_wise = true;
    s->in[0] = s->in[1] = s->in[2] = s->out = -1;
    *out = s;
    return SM_OK;
}

/* A buffer for value v, and a row-wise step that makes it. */
static sm_status make(lower *l, const sm_node *node, sm_step_fn run, sm_step **out) {
    const sm_value *v = node->out[0];
    sm_rows rows;
    int32_t n = row_elems(&v->type), buf;
    if (!rows_of(l, &v->type, &rows) || n == 0 || sm_dtype_kind(v->type.dtype) != 'f')
        return refuse(l, node, "its result is not rows of floats");
    SM_TRY(new_buf(l, (size_t)n * sizeof(float), rows, &buf));
    SM_TRY(new_step(l, run, v, rows, n, out));
    (*out)->out = buf;
    l->buf_of[v->id] = buf;
    return SM_OK;
}

/* The buffer of an operand that was computed. */
static sm_status operand(const lower *l, const sm_node *n, const char *slot, int32_t *buf) {
    const sm_value *v = sm_arg(n, slot);
    *buf = v && !v->cst ? l->buf_of[v->id] : -1;
    return *buf >= 0 ? SM_OK : refuse(l, n, "an operand is not rows of floats");
}

static sm_status weight(const lower *l, const sm_node *n, const char *slot, bool packed, int32_t *out) {
    const sm_value *v = sm_arg(n, slot);
    if (!v || !v->cst || v->type.rank != 2)
        return refuse(l, n, "a weight is not a constant matrix");
    return cpu_weight(l->e, v, packed, out, l->err);
}

static sm_status vector(const lower *l, const sm_node *n, const char *slot, int32_t len, const float **out) {
    const sm_value *v = sm_arg(n, slot);
    *out = NULL;
    if (!v)
        return SM_OK;
    if (!v->cst || v->type.rank != 1 || v->type.dims[0] != len)
        return refuse(l, n, "a parameter is not a constant vector of the right length");
    return cpu_const_f32(l->e, v, out, l->err);
}

/* ---- products ---- */

/* The quantized form of a buffer's rows of n elements. */
static sm_status quantized_of(lower *l, const sm_value *v, int32_t buf, int32_t n, int32_t *out) {
    for (size_t i = 0; i < l->quants.n; i++)
        if (l->quants.v[i].from == buf) {
            *out = l->quants.v[i].to;
            return SM_OK;
        }
    sm_rows rows = l->e->bufs.v[buf].rows;
    sm_step *s;
    if (!SM_GROW(&l->quants))
        return SM_NOMEM(l->err);
    SM_TRY(new_buf(l, 2 * sm_qrow_bytes(n), rows, out));
    SM_TRY(new_step(l, cpu_run_quantize, v, rows, n, &s));
    s->in[0] = buf;
    s->out = *out;
    l->quants.v[l->quants.n++] = (quantized){buf, *out};
    return SM_OK;
}

/* Operands of a product of buffer x with weights: its floats where one is dense, its codes where one is coded. */
static sm_status product_inputs(lower *l, const sm_value *v, int32_t x, const int32_t *weights, int n, int32_t in[2]) {
    const sm_cpu_weight *w = l->e->weights.v;
    in[0] = in[1] = -1;
    for (int i = 0; i < n; i++) {
        if (!w[weights[i]].p.coded)
            in[0] = x;
        else
            SM_TRY(quantized_of(l, v, x, w[weights[i]].p.k, &in[1]));
    }
    return SM_OK;
}

static sm_status product(lower *l, const sm_value *v, const sm_value *x, int32_t xbuf, const sm_job *jobs, int n) {
    int32_t weights[JOBS_MAX], in[2];
    sm_step *s;
    for (int i = 0; i < n; i++)
        weights[i] = jobs[i].weight;
    SM_TRY(product_inputs(l, x, xbuf, weights, n, in));
    sm_job *kept = sm_arena_alloc_n(l->e->mem, (size_t)n, sizeof *kept);
    if (!kept)
        return SM_NOMEM(l->err);
    memcpy(kept, jobs, (size_t)n * sizeof *kept);
    SM_TRY(new_step(l, cpu_run_product, v, l->e->bufs.v[xbuf].rows, 0, &s));
    s->row_wise = false;
    s->in[0] = in[0];
    s->in[1] = in[1];
    s->u.product.jobs = kept;
    s->u.product.n_jobs = n;
    return SM_OK;
}

/* One product of node n (linear or lm_head) as a job with a buffer of its own. */
static sm_status job_of(lower *l, const sm_node *n, int32_t x, sm_job *j) {
    const sm_value *v = n->out[0], *in = sm_arg(n, "x");
    sm_rows rows;
    double cap = 0.0;
    SM_TRY(weight(l, n, "weight", true, &j->weight));
    const sm_packed *p = &l->e->weights.v[j->weight].p;
    if (!rows_of(l, &v->type, &rows) || rows != l->e->bufs.v[x].rows || row_elems(&in->type) != p->k ||
        row_elems(&v->type) != p->n)
        return refuse(l, n, "its rows are not those of the weight");
    SM_TRY(vector(l, n, "bias", p->n, &j->bias));
    if (n->op == SM_OP_LM_HEAD && !sm_arg_float(n, "softcap", &cap))
        return refuse(l, n, "softcap is computed");
    j->softcap = (float)cap;
    SM_TRY(new_buf(l, (size_t)p->n * sizeof(float), rows, &j->out));
    l->buf_of[v->id] = j->out;
    return SM_OK;
}

/* This linear and those that follow soon with the same x. */
static sm_status lower_linear(lower *l, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x");
    sm_job jobs[JOBS_MAX];
    int n_jobs = 0, seen = 0;
    int32_t buf;
    SM_TRY(operand(l, n, "x", &buf));
    for (const sm_node *m = n; m && seen < LOOK_AHEAD && n_jobs < JOBS_MAX; m = m->next, seen++)
        if (m->op == n->op && sm_arg(m, "x") == x)
            SM_TRY(job_of(l, m, buf, &jobs[n_jobs++]));
    return product(l, n->out[0], x, buf, jobs, n_jobs);
}

static sm_status lower_mlp(lower *l, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x"), *v = n->out[0];
    sm_sv act;
    int32_t xbuf, w[3], in[2], h;
    SM_TRY(operand(l, n, "x", &xbuf));
    SM_TRY(weight(l, n, "gate", true, &w[0]));
    SM_TRY(weight(l, n, "up", true, &w[1]));
    SM_TRY(weight(l, n, "down", true, &w[2]));
    const sm_packed *gate = &l->e->weights.v[w[0]].p, *down = &l->e->weights.v[w[2]].p;
    if (!sm_arg_str(n, "act", &act) || row_elems(&x->type) != gate->k || row_elems(&v->type) != down->n)
        return refuse(l, n, "its rows are not those of the weights");
    int32_t ff = gate->n, d = down->n;
    sm_rows rows = l->e->bufs.v[xbuf].rows;
    sm_step *s;
    SM_TRY(product_inputs(l, x, xbuf, w, 2, in));
    SM_TRY(new_buf(l, (size_t)ff * sizeof(float), rows, &h));
    SM_TRY(new_step(l, cpu_run_gated, v, rows, ff, &s));
    s->row_wise = false;
    s->in[0] = in[0];
    s->in[1] = in[1];
    s->out = h;
    s->u.mlp.gate = w[0];
    s->u.mlp.up = w[1];
    s->u.mlp.act = sm_sv_is(act, "silu") ? SM_ACT_SILU : sm_sv_is(act, "gelu") ? SM_ACT_GELU : SM_ACT_GELU_TANH;
    sm_job j = {.weight = w[2]};
    SM_TRY(new_buf(l, (size_t)d * sizeof(float), rows, &j.out));
    l->buf_of[v->id] = j.out;
    return product(l, v, v, h, &j, 1);
}

/* ---- row-wise ---- */

static sm_status lower_embed(lower *l, const sm_node *n) {
    double scale;
    int32_t w;
    sm_step *s;
    if (sm_arg(n, "ids") != l->ids || !sm_arg_float(n, "scale", &scale))
        return refuse(l, n, "ids are not the function's input 'ids'");
    SM_TRY(weight(l, n, "table", false, &w));
    SM_TRY(make(l, n, cpu_run_embed, &s));
    l->e->vocab = l->e->weights.v[w].p.n;
    s->u.embed.weight = w;
    s->u.embed.scale = (float)scale;
    return SM_OK;
}

static sm_status lower_norm(lower *l, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x");
    double eps;
    int32_t buf;
    const float *gamma;
    sm_step *s;
    SM_TRY(operand(l, n, "x", &buf));
    if (x->type.rank < 2 || row_elems(&x->type) == 0 || !sm_arg_float(n, "eps", &eps))
        return refuse(l, n, "it norms nothing inside a row");
    int32_t d = (int32_t)x->type.dims[x->type.rank - 1];
    SM_TRY(vector(l, n, "gamma", d, &gamma));
    SM_TRY(make(l, n, cpu_run_norm, &s));
    s->in[0] = buf;
    s->u.norm.groups = s->n / d;
    s->u.norm.gamma = gamma;
    s->u.norm.eps = (float)eps;
    s->n = d;
    return SM_OK;
}

/* A constant table [positions, half] that holds every position of the context. */
static sm_status table_of(const lower *l, const sm_node *n, const char *slot, int32_t half, const float **out) {
    const sm_value *v = sm_arg(n, slot);
    if (!v->cst || v->type.rank != 2 || v->type.dims[1] != half || v->type.dims[0] < l->e->lim.max_ctx)
        return refuse(l, n, "its tables are not constants that hold every position of the context");
    return cpu_const_f32(l->e, v, out, l->err);
}

/* Cosines and sines of a step's rows: one for all layers that turn alike. */
static sm_status turn_of(lower *l, const sm_node *n, float scale, int32_t half, int32_t *buf) {
    bool table = n->op == SM_OP_ROPE_TABLE;
    const sm_value *f = sm_arg(n, table ? "cos" : "inv_freq"), *sine = table ? sm_arg(n, "sin") : NULL;
    for (size_t i = 0; i < l->turns.n; i++)
        if (l->turns.v[i].inv_freq == f && l->turns.v[i].sine == sine && l->turns.v[i].scale == scale) {
            *buf = l->turns.v[i].buf;
            return SM_OK;
        }
    const float *inv_freq = NULL, *tables[2] = {NULL, NULL};
    sm_step *s;
    if (table) {
        SM_TRY(table_of(l, n, "cos", half, &tables[0]));
        SM_TRY(table_of(l, n, "sin", half, &tables[1]));
    } else {
        SM_TRY(vector(l, n, "inv_freq", half, &inv_freq));
    }
    if (!SM_GROW(&l->turns))
        return SM_NOMEM(l->err);
    SM_TRY(new_buf(l, (size_t)half * 2 * sizeof(float), SM_ROWS_T, buf));
    SM_TRY(new_step(l, cpu_run_turn, f, SM_ROWS_T, half, &s));
    s->out = *buf;
    s->u.turn.inv_freq = inv_freq;
    s->u.turn.cosine = tables[0];
    s->u.turn.sine = tables[1];
    s->u.turn.n_pos = table ? (int32_t)SM_MIN(f->type.dims[0], INT32_MAX) : 0;
    s->u.turn.half = half;
    s->u.turn.scale = scale;
    l->turns.v[l->turns.n++] = (turned){f, sine, scale, *buf};
    return SM_OK;
}

static sm_status lower_rope(lower *l, const sm_node *n) {
    const sm_type *x = &sm_arg(n, "x")->type;
    bool by_table = n->op == SM_OP_ROPE_TABLE;
    const sm_value *f = sm_arg(n, by_table ? "cos" : "inv_freq");
    double scale;
    int32_t buf, table;
    sm_step *s;
    SM_TRY(operand(l, n, "x", &buf));
    if (sm_arg(n, "pos") != l->pos || !sm_arg_float(n, "scale", &scale) || !f->cst || f->type.rank != 1 + by_table ||
        x->rank != 3 || x->dims[0] != l->pos->type.dims[0] || 2 * f->type.dims[by_table] > x->dims[2])
        return refuse(l, n, "wanted [t, heads, d] at the function's input 'pos'");
    int32_t half = (int32_t)f->type.dims[by_table];
    SM_TRY(turn_of(l, n, (float)scale, half, &table));
    SM_TRY(make(l, n, cpu_run_rope, &s));
    s->in[0] = buf;
    s->in[1] = table;
    s->n = (int32_t)x->dims[2];
    s->u.rope.heads = (int32_t)x->dims[1];
    s->u.rope.half = half;
    return SM_OK;
}

static sm_status lower_attention(lower *l, const sm_node *n) {
    int32_t q, k, v;
    int64_t slot, window;
    double scale, cap;
    sm_step *store, *s;
    SM_TRY(operand(l, n, "q", &q));
    SM_TRY(operand(l, n, "k", &k));
    SM_TRY(operand(l, n, "v", &v));
    if (sm_arg(n, "batch") != l->batch || !sm_arg_int(n, "slot", &slot) || !sm_arg_int(n, "window", &window) ||
        !sm_arg_float(n, "scale", &scale) || !sm_arg_float(n, "softcap", &cap))
        return refuse(l, n, "its parameters are not constants");
    for (int i = 0; i < 3; i++)
        if (l->e->bufs.v[(int32_t[]){q, k, v}[i]].rows != SM_ROWS_T)
            return refuse(l, n, "its rows are not the step's");
    SM_TRY(new_step(l, cpu_run_store, n->out[0], SM_ROWS_T, 0, &store));
    store->in[1] = k;
    store->in[2] = v;
    store->u.attn.slot = (int32_t)slot;
    SM_TRY(make(l, n, cpu_run_attend, &s));
    s->row_wise = false;
    s->in[0] = q;
    s->u.attn.slot = (int32_t)slot;
    s->u.attn.window = (int32_t)SM_MIN(window, INT32_MAX / 4);
    s->u.attn.scale = (float)scale;
    s->u.attn.softcap = (float)cap;
    return SM_OK;
}

static sm_status lower_gather(lower *l, const sm_node *n) {
    int64_t axis;
    int32_t buf;
    sm_step *s;
    SM_TRY(operand(l, n, "x", &buf));
    if (sm_arg(n, "indices") != l->out || !sm_arg_int(n, "axis", &axis) || axis != 0 ||
        l->e->bufs.v[buf].rows != SM_ROWS_T)
        return refuse(l, n, "it does not select rows by the function's input 'out'");
    SM_TRY(make(l, n, cpu_run_gather, &s));
    s->gathers = true;
    s->in[0] = buf;
    return SM_OK;
}

static sm_status lower_view(lower *l, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x"), *v = n->out[0];
    int32_t buf;
    SM_TRY(operand(l, n, "x", &buf));
    if (v->type.rank < 1 || v->type.dims[0] != x->type.dims[0] || row_elems(&v->type) != row_elems(&x->type) ||
        sm_dtype_kind(v->type.dtype) != 'f')
        return refuse(l, n, "it moves elements between rows");
    l->buf_of[v->id] = buf;
    return SM_OK;
}

/* ---- elementwise ---- */

/* A constant broadcast over a row of `like`, in e->mem. */
static sm_status row_constant(const lower *l, const sm_node *n, const sm_value *c, const sm_type *like,
                              const float **out) {
    const float *v;
    const sm_type *t = &c->type;
    int32_t elems = row_elems(like);
    if (sm_dtype_kind(t->dtype) != 'f' || t->rank > like->rank || (t->rank == like->rank && t->dims[0] != 1))
        return refuse(l, n, "a constant operand does not lie within a row");
    SM_TRY(cpu_const_f32(l->e, c, &v, l->err));
    float *row = sm_arena_alloc_n(l->e->mem, (size_t)elems, sizeof *row);
    if (!row)
        return SM_NOMEM(l->err);
    for (int32_t i = 0; i < elems; i++) {
        int64_t at = 0, stride = 1, rest = i;
        for (int a = like->rank - 1, b = t->rank - 1; a >= 1 && b >= 0; a--, b--) {
            int64_t k = rest % like->dims[a];
            rest /= like->dims[a];
            at += t->dims[b] == 1 ? 0 : k * stride;
            stride *= t->dims[b];
        }
        row[i] = v[at];
    }
    *out = row;
    return SM_OK;
}

static sm_status lower_binary(lower *l, const sm_node *n, sm_elem_op op) {
    const sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    const sm_type *t = &n->out[0]->type;
    bool swapped = x->cst != NULL;
    const sm_value *a = swapped ? y : x, *b = swapped ? x : y;
    const float *row = NULL;
    int32_t bufs[2] = {-1, -1};
    sm_step *s;
    SM_TRY(operand(l, n, swapped ? "y" : "x", &bufs[0]));
    if (row_elems(&a->type) != row_elems(t) || a->type.dims[0] != t->dims[0])
        return refuse(l, n, "it broadcasts computed operands");
    if (b->cst)
        SM_TRY(row_constant(l, n, b, t, &row));
    else
        SM_TRY(operand(l, n, "y", &bufs[1]));
    if (!row && (row_elems(&b->type) != row_elems(t) || b->type.dims[0] != t->dims[0]))
        return refuse(l, n, "it broadcasts computed operands");
    SM_TRY(make(l, n, cpu_run_elem, &s));
    s->in[0] = bufs[0];
    s->in[1] = bufs[1];
    s->u.elem.op = op;
    s->u.elem.y = row;
    s->u.elem.swapped = swapped;
    return SM_OK;
}

static sm_status lower_unary(lower *l, const sm_node *n, sm_elem_op op) {
    int32_t buf;
    sm_step *s;
    SM_TRY(operand(l, n, "x", &buf));
    SM_TRY(make(l, n, cpu_run_elem, &s));
    s->in[0] = buf;
    s->u.elem.op = op;
    return SM_OK;
}

static sm_status lower_gelu(lower *l, const sm_node *n) {
    sm_sv mode;
    if (!sm_arg_str(n, "mode", &mode) || (!sm_sv_is(mode, "EXACT") && !sm_sv_is(mode, "TANH_APPROXIMATION")))
        return refuse(l, n, "only modes EXACT and TANH_APPROXIMATION");
    return lower_unary(l, n, sm_sv_is(mode, "EXACT") ? SM_EL_GELU : SM_EL_GELU_TANH);
}

/* ---- all ---- */

static sm_status lower_node(lower *l, const sm_node *n) {
    switch (n->op) {
    case SM_OP_EMBED:
        return lower_embed(l, n);
    case SM_OP_RMS_NORM:
        return lower_norm(l, n);
    case SM_OP_ROPE:
    case SM_OP_ROPE_TABLE:
        return lower_rope(l, n);
    case SM_OP_ATTENTION:
        return lower_attention(l, n);
    case SM_OP_GATED_MLP:
        return lower_mlp(l, n);
    case SM_OP_LINEAR:
    case SM_OP_LM_HEAD:
        return lower_linear(l, n);
    case SM_OP_GATHER:
        return lower_gather(l, n);
    case SM_OP_RESHAPE:
    case SM_OP_IDENTITY:
    case SM_OP_CAST:
        return lower_view(l, n);
    case SM_OP_ADD:
        return lower_binary(l, n, SM_EL_ADD);
    case SM_OP_SUB:
        return lower_binary(l, n, SM_EL_SUB);
    case SM_OP_MUL:
        return lower_binary(l, n, SM_EL_MUL);
    case SM_OP_SILU:
        return lower_unary(l, n, SM_EL_SILU);
    case SM_OP_GELU:
        return lower_gelu(l, n);
    case SM_OP_TANH:
        return lower_unary(l, n, SM_EL_TANH);
    case SM_OP_SIGMOID:
        return lower_unary(l, n, SM_EL_SIGMOID);
    default:
        return refuse(l, n, "no kernel");
    }
}

static void find_inputs(lower *l, const sm_func *f) {
    for (int i = 0; i < f->body->n_in; i++) {
        const sm_value *v = f->body->in[i];
        if (v->type.kind == SM_V_BATCH)
            l->batch = v;
        else if (strcmp(v->name, "ids") == 0)
            l->ids = v;
        else if (strcmp(v->name, "pos") == 0)
            l->pos = v;
        else if (strcmp(v->name, "out") == 0)
            l->out = v;
    }
}

static sm_status lower_result(lower *l, const sm_func *f) {
    const sm_value *v = f->body->n_out == 1 ? f->body->out[0] : NULL;
    int32_t buf = v ? l->buf_of[v->id] : -1;
    if (buf < 0 || l->e->bufs.v[buf].rows != SM_ROWS_R)
        return SM_FAIL(l->err, SM_UNSUPPORTED,
                       "backend cpu: function '%s' does not end in the logits of the rows in 'out'", f->name);
    l->e->logits_buf = buf;
    l->e->bufs.v[buf].stride = (size_t)row_elems(&v->type) * sizeof(float); /* the caller's array */
    return SM_OK;
}

static sm_status note_taps(const lower *l) {
    sm_exe *e = l->e;
    e->taps = sm_arena_alloc_n(e->mem, (size_t)e->lim.n_taps + 1, sizeof *e->taps);
    if (!e->taps)
        return SM_NOMEM(l->err);
    for (; e->n_taps < e->lim.n_taps; e->n_taps++) {
        const sm_value *v = e->lim.taps[e->n_taps];
        if (l->buf_of[v->id] < 0)
            return SM_FAIL(l->err, SM_UNSUPPORTED, "backend cpu does not keep value '%s'", v->name);
        e->taps[e->n_taps] = (struct sm_tap){l->buf_of[v->id], row_elems(&v->type)};
    }
    return SM_OK;
}

sm_status cpu_plan_steps(sm_exe *e, sm_err *err) {
    lower l = {.e = e, .err = err};
    const sm_func *f = e->f;
    sm_status st = SM_OK;
    uint32_t n_values = f->graph->n_values;
    find_inputs(&l, f);
    if (!l.ids || !l.pos || !l.out || !l.batch)
        return SM_FAIL(err, SM_UNSUPPORTED, "backend cpu: function '%s' lacks one of the inputs ids, pos, out, batch",
                       f->name);
    l.buf_of = sm_alloc_n(n_values, sizeof *l.buf_of);
    if (!l.buf_of)
        return SM_NOMEM(err);
    for (uint32_t i = 0; i < n_values; i++)
        l.buf_of[i] = -1;
    for (const sm_node *n = f->body->first; n; n = n->next)
        if (n->n_out != 1 || l.buf_of[n->out[0]->id] < 0)
            SM_TRY_DONE(n->n_out == 1 ? lower_node(&l, n) : refuse(&l, n, "no kernel"));
    SM_TRY_DONE(lower_result(&l, f));
    st = note_taps(&l);
done:
    sm_free(l.buf_of);
    sm_free(l.quants.v);
    sm_free(l.turns.v);
    return st;
}
