/* SPDX-License-Identifier: MIT
 *
 * arena.c: where steps must wait, how long buffers live, where they lie.
 *
 * Two steps stand in one phase when both are row-wise over the same rows: thread i made what thread i reads.  Buffers
 * are placed largest first, each at the lowest offset where it overlaps no buffer alive in one of its phases.
 */
#include <stdlib.h>

#include "backend/cpu/cpu_int.h"
#include "base/log.h"

static void set_phases(sm_exe *e) {
    int32_t phase = 0;
    for (size_t i = 0; i < e->steps.n; i++) {
        sm_step *s = &e->steps.v[i], *before = i > 0 ? s - 1 : NULL;
        s->barrier = before && (!before->row_wise || !s->row_wise || before->rows != s->rows || s->gathers);
        phase += s->barrier;
        s->phase = phase;
    }
    e->n_phases = phase + 1;
}

static void live(sm_exe *e, int32_t buf, int32_t phase) {
    if (buf < 0)
        return;
    sm_buf *b = &e->bufs.v[buf];
    b->first = b->first < 0 ? phase : SM_MIN(b->first, phase);
    b->last = SM_MAX(b->last, phase);
}

static void set_lives(sm_exe *e) {
    for (size_t i = 0; i < e->steps.n; i++) {
        const sm_step *s = &e->steps.v[i];
        for (int k = 0; k < 3; k++)
            live(e, s->in[k], s->phase);
        live(e, s->out, s->phase);
        for (int k = 0; s->run == cpu_run_product && k < s->u.product.n_jobs; k++)
            live(e, s->u.product.jobs[k].out, s->phase);
    }
    for (int32_t k = 0; k < e->n_taps; k++) /* read when the run is over */
        live(e, e->taps[k].buf, e->n_phases - 1);
}

static size_t buf_bytes(const sm_exe *e, const sm_buf *b) {
    return b->stride * (size_t)(b->rows == SM_ROWS_T ? e->lim.max_rows : e->lim.max_out);
}

typedef struct order {
    size_t bytes;
    int32_t buf;
} order;

static int larger_first(const void *a, const void *b) {
    const order *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return x->buf - y->buf;
}

/* Lowest offset for o[k] among o[0..k): tried at 0 and behind each that is alive with it. */
static size_t lowest(const sm_exe *e, const order *o, size_t k) {
    const sm_buf *b = &e->bufs.v[o[k].buf];
    size_t at = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (size_t i = 0; i < k; i++) {
            const sm_buf *c = &e->bufs.v[o[i].buf];
            bool together = c->first <= b->last && b->first <= c->last;
            if (together && at < c->off + o[i].bytes && c->off < at + o[k].bytes) {
                at = c->off + o[i].bytes;
                moved = true;
            }
        }
    }
    return at;
}

sm_status cpu_plan_arena(sm_exe *e, sm_err *err) {
    size_t n = 0, unshared = 0;
    set_phases(e);
    set_lives(e);
    order *o = sm_alloc_n(e->bufs.n, sizeof *o);
    if (!o)
        return SM_NOMEM(err);
    for (size_t i = 0; i < e->bufs.n; i++)
        if ((int32_t)i != e->logits_buf)
            o[n++] = (order){buf_bytes(e, &e->bufs.v[i]), (int32_t)i};
    qsort(o, n, sizeof *o, larger_first);
    for (size_t k = 0; k < n; k++) {
        sm_buf *b = &e->bufs.v[o[k].buf];
        b->off = lowest(e, o, k);
        e->arena_bytes = SM_MAX(e->arena_bytes, b->off + o[k].bytes);
        unshared += o[k].bytes;
    }
    sm_free(o);
    sm_trace(SM_T_RUN, 1, "cpu: %zu steps, %d phases, %zu buffers: %zu bytes in place of %zu", e->steps.n, e->n_phases,
             e->bufs.n, e->arena_bytes, unshared);
    if (e->sizes_only)
        return SM_OK;
    e->arena = sm_alloc_aligned(e->arena_bytes, 64);
    if (!e->arena)
        return SM_FAIL(err, SM_RESOURCE, "cpu: no %zu bytes of memory for activations of %d rows", e->arena_bytes,
                       e->lim.max_rows);
    for (size_t i = 0; i < e->bufs.n; i++)
        e->bufs.v[i].p = e->arena + e->bufs.v[i].off;
    return SM_OK;
}
