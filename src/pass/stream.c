/* SPDX-License-Identifier: MIT
 *
 * stream.c: the residual stream, how large it can get, and the same model with a smaller one.
 *
 *     x = embed(ids);  x = x + norm(attention(norm(x)));  x = x + norm(mlp(norm(x)));  ...  logits = head(norm(x))
 *
 * Everything reads the stream through an RMS norm, which does not see its scale: norm(s x) with eps s^2 is norm(x) with eps.
 * So where each branch ends in a norm of its own (Gemma, OLMo 2), s can be put into the embedding's scale and into those
 * norms' weights, and nothing else changes.  A power of two changes no bit of any weight as long as fp16 holds it.
 *
 * In such a model the weights alone bound the stream: row i of a normed vector of width d is at most sqrt(d), so
 *
 *     |x_i|  <=  scale * max |table|  +  sqrt(d) * sum over branches of |gamma_i|
 *
 * Branches without such a norm have no bound that is of use.
 */
#include "base/log.h"
#include "pass/pass_int.h"

#include <math.h>
#include <string.h>

enum { SLAB = 1 << 16 }; /* elements of a table decoded at a time */

typedef struct stream {
    const sm_func *f;
    bool *in;    /* by value id: belongs to the stream */
    bool *added; /* by value id: a norm's, and added to the stream */
    int *uses;   /* by value id */
    bool closed; /* nothing but norms reads it, and all that is added is normed */
    double *sum; /* [d]: of |gamma| */
    int64_t d;
    double embed;
} stream;

static void stream_end(stream *s) {
    sm_free(s->in);
    sm_free(s->added);
    sm_free(s->uses);
    sm_free(s->sum);
}

static bool member(const stream *s, const sm_value *v) {
    return v != NULL && v->def != NULL && s->in[v->id];
}

static bool passes_on(const sm_node *n) {
    return n->op == SM_OP_GATHER || n->op == SM_OP_IDENTITY || n->op == SM_OP_CAST;
}

/* The norm that a branch ends in: its value is v, which only the sum reads. */
static const sm_node *last_norm(const stream *s, const sm_value *v) {
    const sm_node *n = v != NULL ? v->def : NULL;
    bool fits = n != NULL && n->op == SM_OP_RMS_NORM && v->type.rank == 2 && s->uses[v->id] == 1 && !member(s, v);
    const sm_value *gamma = fits ? sm_arg(n, "gamma") : NULL;
    const sm_const *c = gamma != NULL ? gamma->cst : NULL;
    return c != NULL && c->n_str == 0 && c->src.rank == 1 && c->src.dims[0] == v->type.dims[1] ? n : NULL;
}

/* The branch of a sum of the stream; NULL when n is no such sum. */
static const sm_value *branch_of(const stream *s, const sm_node *n) {
    if (n->op != SM_OP_ADD || member(s, sm_arg(n, "x")) == member(s, sm_arg(n, "y")))
        return NULL;
    return member(s, sm_arg(n, "x")) ? sm_arg(n, "y") : sm_arg(n, "x");
}

static void follow(stream *s, const sm_node *n) {
    const sm_value *branch = branch_of(s, n);
    bool reads = false;
    for (int i = 0; i < sm_op_row_of(n->op)->n_slots; i++)
        reads |= member(s, n->in[i]);
    for (int i = 0; i < n->n_list; i++)
        reads |= member(s, n->list[i]);
    if (n->op == SM_OP_EMBED)
        s->in[n->out[0]->id] = true;
    else if (branch != NULL) {
        s->in[n->out[0]->id] = true;
        s->added[branch->id] = last_norm(s, branch) != NULL;
        s->closed &= s->added[branch->id];
    } else if (reads && passes_on(n))
        s->in[n->out[0]->id] = true;
    else if (reads)
        s->closed &= n->op == SM_OP_RMS_NORM && n->n_blocks == 0;
}

static sm_status stream_start(stream *s, const sm_func *f, sm_err *err) {
    *s = (stream){.f = f, .closed = true};
    s->in = sm_alloc_n(f->graph->n_values, sizeof *s->in);
    s->added = sm_alloc_n(f->graph->n_values, sizeof *s->added);
    s->uses = sm_func_uses(f);
    if (s->in == NULL || s->added == NULL || s->uses == NULL) {
        stream_end(s);
        return SM_NOMEM(err);
    }
    int embeds = 0;
    for (const sm_node *n = f->body->first; n != NULL; n = n->next) {
        embeds += n->op == SM_OP_EMBED;
        follow(s, n);
    }
    for (int i = 0; i < f->body->n_out; i++)
        s->closed &= !member(s, f->body->out[i]);
    s->closed &= embeds == 1;
    return SM_OK;
}

/* ------------------------------------------------------------------ its bound */
static sm_status largest(const sm_tensor *t, double *most, sm_err *err) {
    uint64_t rows = sm_tensor_rows(t), cols = (uint64_t)sm_tensor_cols(t), step = SM_MAX(SLAB / SM_MAX(cols, 1), 1);
    float *x = sm_alloc_n((size_t)(step * cols), sizeof *x);
    if (x == NULL)
        return SM_NOMEM(err);
    float top = 0;
    for (uint64_t r = 0; r < rows && !sm_cancelled(); r += step) {
        uint64_t n = SM_MIN(step, rows - r);
        sm_decode_rows(t, r, n, x);
        for (uint64_t i = 0; i < n * cols; i++)
            top = fmaxf(top, fabsf(x[i]));
    }
    sm_free(x);
    *most = top;
    return sm_cancelled() ? SM_FAIL(err, SM_CANCELLED, "stopped") : SM_OK;
}

static sm_status add_gamma(stream *s, const sm_const *gamma, sm_err *err) {
    size_t n;
    float *w = sm_const_decode(gamma, &n);
    if (w != NULL && s->sum == NULL) {
        s->d = (int64_t)n;
        s->sum = sm_alloc_n(n, sizeof *s->sum);
    }
    if (w == NULL || s->sum == NULL) {
        sm_free(w);
        return SM_NOMEM(err);
    }
    for (size_t i = 0; i < n && i < (size_t)s->d; i++)
        s->sum[i] += fabs(w[i]);
    sm_free(w);
    return SM_OK;
}

static sm_status measure(stream *s, const sm_node *n, sm_err *err) {
    const sm_value *branch = branch_of(s, n);
    if (branch != NULL)
        return add_gamma(s, sm_arg(last_norm(s, branch), "gamma")->cst, err);
    if (n->op != SM_OP_EMBED)
        return SM_OK;
    double scale = 1;
    const sm_value *table = sm_arg(n, "table");
    sm_arg_float(n, "scale", &scale);
    if (table->cst == NULL) {
        s->embed = INFINITY;
        return SM_OK;
    }
    SM_TRY(largest(&table->cst->src, &s->embed, err));
    s->embed *= fabs(scale);
    return SM_OK;
}

sm_status sm_pass_stream_bound(const sm_func *f, double *most, sm_err *err) {
    stream s;
    SM_TRY(stream_start(&s, f, err));
    sm_status st = SM_OK;
    *most = INFINITY;
    for (const sm_node *n = f->body->first; n != NULL && s.closed && st == SM_OK; n = n->next)
        st = measure(&s, n, err);
    if (st == SM_OK && s.closed) {
        *most = s.embed;
        for (int64_t i = 0; i < s.d; i++)
            *most = fmax(*most, s.embed + sqrt((double)s.d) * s.sum[i]);
    }
    stream_end(&s);
    return st;
}

/* ------------------------------------------------------------------ the same model, scaled */
static sm_value *scaled_const(sm_builder *b, const sm_value *v, double by) {
    size_t n;
    float *x = sm_const_decode(v->cst, &n);
    const char *name = sm_arena_printf(b->g->arena, "%s_scaled", v->name);
    if (x == NULL || name == NULL) {
        sm_free(x);
        b->st = SM_NOMEM(&b->err);
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        x[i] *= (float)by;
    sm_value *w = sm_const_data(b, name, SM_FP32, v->cst->src.rank, v->cst->src.dims, x);
    sm_free(x);
    if (w != NULL)
        w->cst->src.name = v->cst->src.name; /* reports go on naming the tensor */
    return w;
}

static void scale_node(const stream *s, sm_rebuild *r, const sm_node *n, double by) {
    sm_value *in[SM_MAX_SLOTS];
    double x = 1;
    for (int i = 0; i < sm_op_row_of(n->op)->n_slots; i++)
        in[i] = n->in[i] != NULL ? sm_map_value(r->map, n->in[i]) : NULL;
    if (n->op == SM_OP_EMBED) {
        sm_arg_float(n, "scale", &x);
        in[sm_op_slot(n->op, "scale")] = sm_const_f(&r->b, SM_FP32, x * by);
    } else if (member(s, sm_arg(n, "x"))) { /* reads the stream */
        sm_arg_float(n, "eps", &x);
        in[sm_op_slot(n->op, "eps")] = sm_const_f(&r->b, SM_FP32, x * by * by);
    } else { /* is added to it */
        in[sm_op_slot(n->op, "gamma")] = scaled_const(&r->b, sm_arg(n, "gamma"), by);
    }
    sm_node *m = sm_build_node(&r->b, n->op, n->out[0]->name, in, NULL, 0);
    r->map[n->out[0]->id] = m != NULL ? m->out[0] : NULL;
}

sm_status sm_pass_scale_stream(sm_func *f, double by, sm_func **out, sm_err *err) {
    stream s;
    sm_rebuild r;
    SM_TRY(stream_start(&s, f, err));
    if (!s.closed) {
        stream_end(&s);
        return SM_FAIL(err, SM_UNSUPPORTED, "the residual stream of '%s' is read, or added to, by more than norms",
                       f->name);
    }
    sm_status st = sm_rebuild_start(&r, f, f->opset, err);
    if (st == SM_OK) {
        for (const sm_node *n = f->body->first; n != NULL; n = n->next)
            if (n->op == SM_OP_EMBED ||
                (n->op == SM_OP_RMS_NORM && (member(&s, sm_arg(n, "x")) || s.added[n->out[0]->id])))
                scale_node(&s, &r, n, by);
            else
                sm_build_copy(&r.b, n, r.map);
        st = sm_rebuild_end(&r, SM_OK, out, err);
    }
    stream_end(&s);
    return st;
}
