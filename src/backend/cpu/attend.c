/* SPDX-License-Identifier: MIT
 *
 * attend.c: attention over the paged cache.
 *
 * A piece of work is up to 16 rows of one sequence times the query heads of one key head (or a part of them).  It walks
 * the blocks of positions that its rows can see, at most 64 at once and never across a page, keeping for each query the
 * running maximum, sum and weighted values (online softmax):
 *
 *     positions  0 ...  |  B ... B+63  |  ...  up to the last row's own
 *     row i sees              [p-w+1 ....... p]           cost: visible positions only
 *
 * Blocks start at multiples of the block size whatever the batch, and a query's arithmetic over a block does not depend
 * on the other queries: results are the same for a prompt in one step, in several, or token by token.
 */
#include <math.h>
#include <string.h>

#include "backend/cpu/cpu_int.h"

/* A piece's state, per query (row major, then head): scratch of one thread. */
typedef struct state {
    float *q; /* [queries][dim], scaled */
    float *o; /* [queries][v_dim] */
    float *s; /* [queries][SM_KV_BLOCK] */
    float *max, *sum, *corr;
} state;

enum { QUERIES = QUERY_ROWS * QUERY_HEADS };

size_t cpu_attend_scratch(const sm_kv_slot *g) {
    return (size_t)QUERIES * ((size_t)g->head_dim + (size_t)g->v_dim + SM_KV_BLOCK + 3) * sizeof(float) + 64;
}

static state state_of(uint8_t *scratch, const sm_kv_slot *g) {
    state t;
    t.s = (float *)(void *)scratch;
    t.max = t.s + QUERIES * SM_KV_BLOCK;
    t.sum = t.max + QUERIES;
    t.corr = t.sum + QUERIES;
    t.q = t.corr + QUERIES;
    t.o = t.q + (size_t)QUERIES * (size_t)g->head_dim;
    return t;
}

typedef struct piece {
    const sm_step *s;
    const sm_kv_cache *c;
    const sm_batch_seq *seq;
    int row0, n;        /* rows of the batch */
    int kv_head, head0; /* first query head */
    int heads;          /* query heads */
    state t;
} piece;

static void load_queries(const sm_exe *e, piece *p) {
    size_t dim = (size_t)p->c->geo.head_dim, n = (size_t)p->n * (size_t)p->heads;
    float *q = p->t.q;
    for (int i = 0; i < p->n; i++) {
        const float *x = cpu_row_f32(e, p->s->in[0], p->row0 + i) + (size_t)p->head0 * dim;
        for (size_t d = 0; d < dim * (size_t)p->heads; d++)
            *q++ = x[d] * p->s->u.attn.scale;
    }
    memset(p->t.o, 0, n * (size_t)p->c->geo.v_dim * sizeof(float));
    for (size_t i = 0; i < n; i++) {
        p->t.max[i] = -INFINITY;
        p->t.sum[i] = 0.0f;
    }
}

/* Positions [base, base + n) of the sequence. */
static void block(const sm_exe *e, const piece *p, int base, int n) {
    const sm_kv_slot *g = &p->c->geo;
    size_t pt = (size_t)e->lim.page_tokens, page = (size_t)p->seq->pages[(size_t)base / pt], at = (size_t)base % pt;
    size_t dim = (size_t)g->head_dim, v_dim = (size_t)g->v_dim, head = (size_t)p->kv_head;
    const uint16_t *k = p->c->k + page * p->c->k_page + head * dim * pt + at;
    const uint16_t *v = p->c->v + page * p->c->v_page + (head * pt + at) * v_dim;
    int first_pos = p->seq->past + p->row0 - p->seq->row0, window = p->s->u.attn.window;
    /* Rows that see something of the block: from the one at `base` on, to the last whose window still reaches it. */
    int a = SM_MAX(base - first_pos, 0), b = p->n;
    if (window > 0)
        b = SM_MIN(b, base + n - 1 + window - first_pos);
    if (a >= b)
        return;
    int q0 = a * p->heads, n_q = (b - a) * p->heads;
    float *s = p->t.s + q0 * SM_KV_BLOCK;
    e->k.attn_scores(p->t.q + (size_t)q0 * dim, n_q, g->head_dim, k, (int)pt, n, s);
    for (int i = a; i < b; i++) {
        int pos = first_pos + i, hi = SM_MIN(pos + 1 - base, n),
            lo = window > 0 ? SM_MAX(pos + 1 - window - base, 0) : 0;
        for (int h = 0; h < p->heads; h++) {
            int q = i * p->heads + h;
            p->t.corr[q] = e->k.attn_softmax(p->t.s + q * SM_KV_BLOCK, n, lo, hi, p->s->u.attn.softcap, &p->t.max[q],
                                             &p->t.sum[q]);
        }
    }
    e->k.attn_values(s, p->t.corr + q0, n_q, v, g->v_dim, n, p->t.o + (size_t)q0 * v_dim);
}

static void attend(const sm_exe *e, piece *p) {
    int step = SM_MIN((int)SM_KV_BLOCK, e->lim.page_tokens), window = p->s->u.attn.window;
    int first = p->seq->past + p->row0 - p->seq->row0, end = first + p->n, v_dim = p->c->geo.v_dim;
    int from = window > 0 ? SM_MAX(first + 1 - window, 0) : 0;
    load_queries(e, p);
    for (int base = from / step * step; base < end; base += step)
        block(e, p, base, SM_MIN(step, end - base));
    const float *o = p->t.o;
    for (int i = 0; i < p->n; i++) {
        float *y = cpu_row_f32(e, p->s->out, p->row0 + i) + (size_t)p->head0 * (size_t)v_dim;
        for (int h = 0; h < p->heads; h++) {
            float r = 1.0f / p->t.sum[i * p->heads + h];
            for (int d = 0; d < v_dim; d++)
                *y++ = *o++ * r;
        }
    }
}

/* Pieces are handed out from the last: later rows of a prompt see more and should not be left to the end. */
void cpu_run_attend(sm_exe *e, const sm_step *s, int ith, int nth) {
    const sm_kv_cache *c = &e->kv[s->u.attn.slot];
    int group = c->geo.q_heads / c->geo.heads, parts = (group + QUERY_HEADS - 1) / QUERY_HEADS;
    /* Few pieces, as when one sequence decodes: cut groups of heads further, so that every thread has some. */
    while (parts < group && e->n_pieces * c->geo.heads * parts < nth)
        parts++;
    int each = (group + parts - 1) / parts, total = e->n_pieces * c->geo.heads * parts, from, to;
    while (cpu_take(e, s, 1, total, &from, &to)) {
        int i = total - 1 - from, part = i % parts, head = i / parts % c->geo.heads;
        const sm_piece *w = &e->pieces[i / parts / c->geo.heads];
        piece p = {.s = s, .c = c, .seq = &e->batch->seqs[w->seq], .row0 = w->row0, .n = w->n, .kv_head = head};
        p.head0 = head * group + part * each;
        p.heads = SM_MIN(each, group - part * each);
        p.t = state_of(cpu_scratch(e, ith), &c->geo);
        if (p.heads > 0)
            attend(e, &p);
    }
}
