/* SPDX-License-Identifier: MIT
 *
 * check_locate.c: which op two models part at.
 *
 * An op of A answers to the op of B that is the same in number among those of its kind and width.  So a package answers to
 * the GGUF it was made from, and one quantization to another, whatever their values are called.  Kinds of which the two
 * have different numbers are left out.
 *
 *     embed | norm q k v rope rope attention o add | norm mlp add | ... | norm head
 *       -1  |               layer 0                               | 1.. |   n
 *
 * Layers are found by structure too: a layer ends with the last sum that a norm reads before the next layer's attention.
 *
 * Layers pass error on, and some of them make it look larger: where a few elements of a row are huge, what a norm makes of
 * it shows an error that the row did not.  So an op's own share is told from its decoded constants: one whose constants
 * agree cannot be where two runs on one backend part.
 */
#include "job/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "base/log.h"

enum { SLAB = 1 << 16, PAGE = 64 };
#define JUMP 10.0
#define GROWTH 2.0
#define NOISE 1e-5      /* NMSE that fp16 scales, norms and sums of another order leave behind */
#define SAME_CONST 1e-6 /* NMSE of constants that are equal up to fp16 */

typedef struct station {
    const sm_node *a, *b;
    int layer;
    bool residual;
    double nmse, cosine, max_error, given, const_nmse;
} station;

typedef struct locator {
    const sm_func *f[2];
    const sm_check_opts *o;
    sm_check_report *r;
    struct {
        station *v;
        size_t n, cap;
    } s;
    float **tap[2];     /* [stations], each [n][elements] */
    int *of[2];         /* by value id: station that made it; -1 */
    double *const_nmse; /* of matrices, for their median */
    size_t n_consts;
} locator;

/* ------------------------------------------------------------------ which ops */
static int64_t row_elems(const sm_type *t) {
    int64_t n = 1;
    for (int i = 1; i < t->rank; i++) {
        if (!sm_dim_known(t->dims[i]))
            return 0;
        n *= t->dims[i];
    }
    return n;
}

/* Moves and views show nothing that what they move does not. */
static bool is_station(const sm_node *n) {
    if (n->n_out != 1 || n->n_blocks > 0 || n->op == SM_OP_RESHAPE || n->op == SM_OP_IDENTITY || n->op == SM_OP_CAST ||
        n->op == SM_OP_GATHER)
        return false;
    const sm_type *t = &n->out[0]->type;
    return t->kind == SM_V_TENSOR && t->rank >= 2 && sm_dtype_kind(t->dtype) == 'f' && row_elems(t) > 0;
}

static bool same_kind(const sm_node *x, const sm_node *y) {
    return x->op == y->op && row_elems(&x->out[0]->type) == row_elems(&y->out[0]->type);
}

static int count_kind(const sm_func *f, const sm_node *like) {
    int k = 0;
    for (const sm_node *n = f->body->first; n; n = n->next)
        k += is_station(n) && same_kind(n, like);
    return k;
}

/* The node of f that answers to a, which is the number-th of its kind. */
static const sm_node *number_of_kind(const sm_func *f, const sm_node *a, int number) {
    for (const sm_node *n = f->body->first; n; n = n->next)
        if (is_station(n) && same_kind(n, a) && number-- == 0)
            return n;
    return NULL;
}

/* The value that v is a view or a selection of. */
static const sm_value *behind(const sm_value *v) {
    while (v && v->def &&
           (v->def->op == SM_OP_RESHAPE || v->def->op == SM_OP_IDENTITY || v->def->op == SM_OP_CAST ||
            v->def->op == SM_OP_GATHER))
        v = sm_arg(v->def, "x");
    return v;
}

static bool is_residual(const sm_node *n) {
    if (n->op != SM_OP_ADD && n->op != SM_OP_EMBED)
        return false;
    for (const sm_node *m = n->next; m; m = m->next)
        if (m->op == SM_OP_RMS_NORM && behind(sm_arg(m, "x")) == n->out[0])
            return true;
    return false;
}

/* Numbers layers over A's stations. */
static void set_layers(locator *l) {
    size_t after = 0; /* first station of the layer */
    int layer = 0;
    for (size_t i = 0; i < l->s.n; i++)
        l->s.v[i].layer = -1;
    for (size_t i = 0; i < l->s.n; i++) {
        if (l->s.v[i].a->op != SM_OP_ATTENTION)
            continue;
        for (size_t k = i; k-- > 0;)
            if (l->s.v[k].residual) {
                after = k + 1;
                break;
            }
        for (size_t k = after; k < l->s.n; k++)
            l->s.v[k].layer = layer;
        layer++;
    }
    for (size_t k = l->s.n; k-- > 0 && !l->s.v[k].residual;)
        l->s.v[k].layer = layer; /* the last norm and the head */
    l->r->layers = layer;
}

static sm_status match(locator *l, sm_err *err) {
    for (const sm_node *n = l->f[1]->body->first; n; n = n->next)
        l->r->ops_b += is_station(n);
    for (const sm_node *n = l->f[0]->body->first; n; n = n->next) {
        int number = 0;
        if (!is_station(n))
            continue;
        l->r->ops_a++;
        if (count_kind(l->f[0], n) != count_kind(l->f[1], n))
            continue;
        for (const sm_node *m = l->f[0]->body->first; m != n; m = m->next)
            number += is_station(m) && same_kind(m, n);
        if (!SM_GROW(&l->s))
            return SM_NOMEM(err);
        l->s.v[l->s.n++] = (station){.a = n, .b = number_of_kind(l->f[1], n, number), .residual = is_residual(n)};
    }
    l->r->matched = (int)l->s.n;
    if (l->s.n == 0)
        return SM_FAIL(err, SM_UNSUPPORTED,
                       "check --locate: the models have no ops in common: %d and %d of other kinds", l->r->ops_a,
                       l->r->ops_b);
    set_layers(l);
    for (int k = 0; k < 2; k++) {
        uint32_t n = l->f[k]->graph->n_values;
        l->of[k] = sm_alloc_n(n, sizeof *l->of[k]);
        if (!l->of[k])
            return SM_NOMEM(err);
        for (uint32_t i = 0; i < n; i++)
            l->of[k][i] = -1;
        for (size_t i = 0; i < l->s.n; i++)
            l->of[k][(k ? l->s.v[i].b : l->s.v[i].a)->out[0]->id] = (int)i;
    }
    return SM_OK;
}

/* ------------------------------------------------------------------ runs */
static sm_status bind_and_run(const locator *l, int k, const sm_backend *be, sm_exe *e, const int32_t *ids, int32_t n,
                              sm_err *err) {
    int64_t vocab = l->f[k]->body->out[0]->type.dims[1];
    size_t cells;
    int32_t *pos = sm_alloc_n((size_t)n, sizeof *pos), *pages = sm_alloc_n((size_t)n, sizeof *pages);
    float *logits = sm_mul_ok((size_t)n, (size_t)vocab, &cells) ? sm_alloc_n(cells, sizeof *logits) : NULL;
    sm_status st = SM_NOMEM(err);
    if (pos && pages && logits) {
        for (int32_t i = 0; i < n; i++) {
            pos[i] = i;
            pages[i] = i;
        }
        sm_batch_seq seq = {0, n, 0, pages};
        sm_batch b = {.n_rows = n, .ids = ids, .pos = pos, .n_seqs = 1, .seqs = &seq, .n_out = n, .out = pos};
        st = be->run_taps(e, &b, logits, l->tap[k], err);
    }
    sm_free(pos);
    sm_free(pages);
    sm_free(logits);
    return st;
}

/* Fills l->tap[k] with what model k computes. */
static sm_status run(locator *l, int k, const int32_t *ids, int32_t n, sm_err *err) {
    const char *name = k == 1 && l->o->backend_b ? l->o->backend_b : l->o->backend;
    const sm_value **taps = sm_alloc_n(l->s.n, sizeof *taps);
    const sm_backend *be;
    sm_exe *e = NULL;
    sm_status st;
    l->tap[k] = sm_alloc_n(l->s.n, sizeof *l->tap[k]);
    SM_TRY_DONE(taps && l->tap[k] ? SM_OK : SM_NOMEM(err));
    for (size_t i = 0; i < l->s.n; i++) {
        taps[i] = (k ? l->s.v[i].b : l->s.v[i].a)->out[0];
        l->tap[k][i] = sm_alloc_n((size_t)n * (size_t)row_elems(&taps[i]->type), sizeof **l->tap[k]);
        SM_TRY_DONE(l->tap[k][i] ? SM_OK : SM_NOMEM(err));
    }
    SM_TRY_DONE(sm_backend_pick(name, l->f[k], &be, err));
    if (!be->run_taps) {
        st = SM_FAIL(err, SM_UNSUPPORTED, "check --locate: backend '%s' does not show inner values", be->name);
        goto done;
    }
    sm_limits lim = {.max_rows = n,
                     .max_out = n,
                     .max_ctx = n,
                     .max_seqs = 1,
                     .page_tokens = PAGE,
                     .n_pages = (n + PAGE - 1) / PAGE,
                     .n_threads = l->o->n_threads,
                     .taps = taps,
                     .n_taps = (int)l->s.n};
    SM_TRY_DONE(be->compile(l->f[k], &lim, &e, err));
    st = bind_and_run(l, k, be, e, ids, n, err);
done:
    if (e)
        be->free(&e);
    sm_free(taps);
    return st;
}

/* ------------------------------------------------------------------ differences */
typedef struct diff {
    double dot, aa, bb, ee, worst;
} diff;

static void add_diff(diff *d, const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        double x = a[i], y = b[i], e = y - x;
        d->dot += x * y;
        d->aa += x * x;
        d->bb += y * y;
        d->ee += e * e;
        d->worst = fmax(d->worst, fabs(e));
    }
}

static double nmse_of(const diff *d) {
    return d->ee == 0 ? 0 : d->aa > 0 ? d->ee / d->aa : INFINITY;
}

static void compare_values(locator *l, int32_t n) {
    for (size_t i = 0; i < l->s.n; i++) {
        station *s = &l->s.v[i];
        diff d = {0};
        add_diff(&d, l->tap[0][i], l->tap[1][i], (size_t)n * (size_t)row_elems(&s->a->out[0]->type));
        s->nmse = nmse_of(&d);
        s->max_error = d.worst;
        s->cosine = d.aa > 0 && d.bb > 0 ? d.dot / (sqrt(d.aa) * sqrt(d.bb)) : d.aa == d.bb ? 1 : 0;
        int slots = sm_op_row_of(s->a->op)->n_slots;
        for (int k = 0; k < slots; k++) {
            const sm_value *v = behind(s->a->in[k]);
            if (v && !v->cst && l->of[0][v->id] >= 0)
                s->given = fmax(s->given, l->s.v[l->of[0][v->id]].nmse);
        }
    }
}

/* Decoded constants: [rows][cols] of both, a slab at a time. */
static sm_status compare_tensors(const sm_tensor *a, const sm_tensor *b, double *nmse, double *worst, sm_err *err) {
    diff d = {0};
    *nmse = *worst = NAN;
    if (a->rank != b->rank || memcmp(a->dims, b->dims, sizeof a->dims[0] * (size_t)a->rank) != 0)
        return SM_OK;
    size_t cols = (size_t)sm_tensor_cols(a);
    uint64_t rows = sm_tensor_rows(a), slab = SM_MAX(SLAB / SM_MAX(cols, 1), 1);
    float *x = sm_alloc_n((size_t)slab * cols, 2 * sizeof *x), *y = x ? x + (size_t)slab * cols : NULL;
    if (!x)
        return SM_NOMEM(err);
    for (uint64_t r = 0; r < rows && !sm_cancelled(); r += slab) {
        uint64_t n = SM_MIN(slab, rows - r);
        sm_decode_rows(a, r, n, x);
        sm_decode_rows(b, r, n, y);
        add_diff(&d, x, y, (size_t)n * cols);
    }
    sm_free(x);
    *nmse = nmse_of(&d);
    *worst = d.worst;
    return sm_cancelled() ? SM_FAIL(err, SM_CANCELLED, "stopped") : SM_OK;
}

static sm_status compare_const(const sm_const *a, const sm_const *b, double *nmse, double *worst, sm_err *err) {
    if (a->n_str > 0 || b->n_str > 0) {
        bool same = a->n_str == b->n_str;
        for (size_t i = 0; same && i < a->n_str; i++)
            same = sm_sv_eq(a->strs[i], b->strs[i]);
        *nmse = *worst = same ? 0 : INFINITY;
        return SM_OK;
    }
    return compare_tensors(&a->src, &b->src, nmse, worst, err);
}

/* One number of a slot: the constant's, else the row's default; NAN when neither. */
static double slot_number(const sm_node *n, const sm_slot *slot) {
    double f = NAN;
    int64_t i;
    if (slot->kind == 'i')
        return sm_arg_int(n, slot->name, &i) ? (double)i : NAN;
    sm_arg_float(n, slot->name, &f);
    return f;
}

/* Difference of slot k's constants; false when there are none. */
static bool slot_differs(const station *s, int k, double *nmse, double *worst, sm_status *st, sm_err *err) {
    const sm_slot *slot = &sm_op_row_of(s->a->op)->slot[k];
    const sm_value *a = s->a->in[k], *b = s->b->in[k];
    if (a && b && a->cst && b->cst && slot->kind != 'i' && slot->kind != 'f') {
        *st = compare_const(a->cst, b->cst, nmse, worst, err);
        return true;
    }
    if ((slot->kind != 'i' && slot->kind != 'f') || (!a && !b))
        return false;
    double x = slot_number(s->a, slot), y = slot_number(s->b, slot), e = y - x;
    *worst = fabs(e);
    *nmse = e == 0 ? 0 : x != 0 ? e * e / (x * x) : INFINITY;
    return true;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* What is usual for the pair: the median over matrices. */
static sm_status compare_consts(locator *l, sm_err *err) {
    l->const_nmse = sm_alloc_n(l->s.n * SM_MAX_SLOTS, sizeof *l->const_nmse);
    if (!l->const_nmse)
        return SM_NOMEM(err);
    sm_progress p;
    sm_progress_start(&p, "weights", "ops", l->s.n);
    sm_status st = SM_OK;
    for (size_t i = 0; i < l->s.n && st == SM_OK; i++) {
        station *s = &l->s.v[i];
        for (int k = 0; k < sm_op_row_of(s->a->op)->n_slots && st == SM_OK; k++) {
            double nmse, worst;
            if (!slot_differs(s, k, &nmse, &worst, &st, err))
                continue;
            nmse = isnan(nmse) ? INFINITY : nmse;
            s->const_nmse = fmax(s->const_nmse, nmse);
            if (s->a->in[k] && s->a->in[k]->cst && s->a->in[k]->type.rank == 2)
                l->const_nmse[l->n_consts++] = nmse;
        }
        if (l->o->progress)
            sm_progress_add(&p, 1);
    }
    sm_progress_end(&p);
    qsort(l->const_nmse, l->n_consts, sizeof *l->const_nmse, ascending);
    l->r->usual = l->n_consts > 0 ? l->const_nmse[l->n_consts / 2] : 0;
    return st;
}

/* ------------------------------------------------------------------ the verdict */
static bool other_backend(const locator *l) {
    const sm_backend *be[2];
    for (int k = 0; k < 2; k++)
        if (sm_backend_pick(k == 1 && l->o->backend_b ? l->o->backend_b : l->o->backend, l->f[k], &be[k], NULL) !=
            SM_OK)
            return false;
    return be[0] != be[1];
}

/* Error that grows at an op whose constants differ more than is usual is its own; where two backends compute, any op may
 * be at fault, and it takes more to tell. */
static bool jumps(const locator *l, const station *s, bool any_op) {
    bool odd = s->const_nmse > fmax(SAME_CONST, JUMP * l->r->usual);
    if (!(s->nmse > JUMP * NOISE))
        return false;
    return (odd && s->nmse > GROWTH * s->given) || (any_op && s->nmse > JUMP * fmax(s->given, l->r->usual));
}

static void give(const station *s, bool named, sm_check_op *out) {
    *out = (sm_check_op){.op = sm_op_row_of(s->a->op)->name,
                         .name_a = s->a->out[0]->name,
                         .name_b = s->b->out[0]->name,
                         .layer = s->layer,
                         .residual = s->residual,
                         .nmse = s->nmse,
                         .cosine = s->cosine,
                         .max_error = s->max_error,
                         .given = s->given,
                         .const_nmse = s->const_nmse,
                         .named = named};
}

static void print_encoding(const sm_value *v, char *out, size_t cap) {
    if (!v || !v->cst)
        snprintf(out, cap, "default");
    else if (v->cst->n_str > 0)
        snprintf(out, cap, "%.*s", (int)v->cst->strs[0].n, v->cst->strs[0].p);
    else
        sm_enc_print(&v->cst->src.enc, v->cst->src.rank, out, cap);
}

static sm_status tell_consts(const locator *l, const station *s, sm_err *err) {
    sm_check_op op;
    sm_status st = SM_OK;
    give(s, true, &op);
    for (int k = 0; k < sm_op_row_of(s->a->op)->n_slots && st == SM_OK; k++) {
        sm_check_const c = {.slot = sm_op_row_of(s->a->op)->slot[k].name};
        if (!slot_differs(s, k, &c.nmse, &c.max_error, &st, err) || st != SM_OK)
            continue;
        c.name_a = s->a->in[k] && s->a->in[k]->name ? s->a->in[k]->name : "";
        c.name_b = s->b->in[k] && s->b->in[k]->name ? s->b->in[k]->name : "";
        print_encoding(s->a->in[k], c.enc_a, sizeof c.enc_a);
        print_encoding(s->b->in[k], c.enc_b, sizeof c.enc_b);
        if (l->o->on_const)
            l->o->on_const(l->o->user, &op, &c);
    }
    return st;
}

static sm_status tell(const locator *l, sm_err *err) {
    bool any_op = other_backend(l);
    const station *named = NULL;
    for (size_t i = 0; i < l->s.n; i++) {
        const station *s = &l->s.v[i];
        bool first = !named && jumps(l, s, any_op);
        sm_check_op op;
        if (first)
            named = s;
        give(s, first, &op);
        if (l->o->on_op)
            l->o->on_op(l->o->user, &op);
    }
    l->r->found = named != NULL;
    return named ? tell_consts(l, named, err) : SM_OK;
}

sm_status sm_check_locate(const sm_func *a, const sm_func *b, const int32_t *ids, int32_t n, const sm_check_opts *o,
                          sm_check_report *out, sm_err *err) {
    locator l = {.f = {a, b}, .o = o, .r = out};
    sm_status st;
    SM_TRY_DONE(match(&l, err));
    SM_TRY_DONE(run(&l, 0, ids, n, err));
    SM_TRY_DONE(run(&l, 1, ids, n, err));
    compare_values(&l, n);
    SM_TRY_DONE(compare_consts(&l, err));
    st = tell(&l, err);
done:
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; l.tap[k] && i < l.s.n; i++)
            sm_free(l.tap[k][i]);
        sm_free(l.tap[k]);
        sm_free(l.of[k]);
    }
    sm_free(l.s.v);
    sm_free(l.const_nmse);
    return st;
}
