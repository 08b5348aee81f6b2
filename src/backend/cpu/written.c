/* SPDX-License-Identifier: MIT
 *
 * written.c: the executable of programs as written, and which kernels it has (written.h).
 */
#include "backend/cpu/written.h"

#include <stdio.h>
#include <unistd.h>

#include "backend/cpu/written_int.h"

static const ref_op kernels[SM_OP_COUNT_] = {
    [SM_OP_LINEAR] = {.fn = wr_linear, .lazy = {"weight"}},
    [SM_OP_CONV] = {.fn = wr_conv, .lazy = {"weight"}},
    [SM_OP_MATMUL] = {.fn = wr_matmul},
    [SM_OP_SDPA] = {.fn = wr_sdpa},
    [SM_OP_SOFTMAX] = {.fn = wr_softmax},
    [SM_OP_LAYER_NORM] = {.fn = wr_layer_norm},
    [SM_OP_BATCH_NORM] = {.fn = wr_batch_norm},
    [SM_OP_INSTANCE_NORM] = {.fn = wr_instance_norm},
    [SM_OP_REDUCE_SUM] = {.fn = wr_reduce},
    [SM_OP_REDUCE_MEAN] = {.fn = wr_reduce},
    [SM_OP_REDUCE_SUM_SQUARE] = {.fn = wr_reduce},
    [SM_OP_REDUCE_MAX] = {.fn = wr_reduce},
    [SM_OP_ABS] = {.fn = wr_unary},
    [SM_OP_CLIP] = {.fn = wr_unary},
    [SM_OP_ERF] = {.fn = wr_unary},
    [SM_OP_EXP] = {.fn = wr_unary},
    [SM_OP_INVERSE] = {.fn = wr_unary},
    [SM_OP_LEAKY_RELU] = {.fn = wr_unary},
    [SM_OP_RELU] = {.fn = wr_unary},
    [SM_OP_RELU6] = {.fn = wr_unary},
    [SM_OP_RSQRT] = {.fn = wr_unary},
    [SM_OP_SIGMOID] = {.fn = wr_unary},
    [SM_OP_SILU] = {.fn = wr_unary},
    [SM_OP_SQRT] = {.fn = wr_unary},
    [SM_OP_SQUARE] = {.fn = wr_unary},
    [SM_OP_TANH] = {.fn = wr_unary},
    [SM_OP_GELU] = {.fn = wr_gelu},
    [SM_OP_ADD] = {.fn = wr_binary},
    [SM_OP_SUB] = {.fn = wr_binary},
    [SM_OP_MUL] = {.fn = wr_binary},
    [SM_OP_REAL_DIV] = {.fn = wr_binary},
    [SM_OP_MAXIMUM] = {.fn = wr_binary},
    [SM_OP_MINIMUM] = {.fn = wr_binary},
    [SM_OP_CAST] = {.fn = wr_cast},
    [SM_OP_AVG_POOL] = {.fn = wr_pool},
    [SM_OP_MAX_POOL] = {.fn = wr_pool},
    [SM_OP_UPSAMPLE_NEAREST] = {.fn = wr_resize},
    [SM_OP_UPSAMPLE_BILINEAR] = {.fn = wr_resize},
    [SM_OP_RESIZE_NEAREST] = {.fn = wr_resize},
    [SM_OP_RESIZE_BILINEAR] = {.fn = wr_resize},
    [SM_OP_RESIZE] = {.fn = wr_resize},
};

/* ---- work on several threads ---- */

typedef struct shared {
    wr_range_fn fn;
    void *ctx;
    int64_t n, piece;
    atomic_llong next;
} shared;

static void take_pieces(void *ctx, int ith, int nth) {
    shared *s = ctx;
    (void)nth;
    for (;;) {
        int64_t from = atomic_fetch_add_explicit(&s->next, s->piece, memory_order_relaxed);
        if (from >= s->n)
            return;
        s->fn(s->ctx, ith, from, SM_MIN(from + s->piece, s->n));
    }
}

void wr_share(sm_written *w, int64_t n, int64_t piece, int64_t cost, wr_range_fn fn, void *ctx) {
    shared s = {.fn = fn, .ctx = ctx, .n = n, .piece = SM_MAX(piece, 1)};
    if (n <= 0)
        return;
    if (sm_pool_size(w->e->pool) == 1 || n <= s.piece || n < WR_SERIAL / SM_MAX(cost, 1)) {
        take_pieces(&s, 0, 1);
        return;
    }
    sm_pool_run(w->e->pool, take_pieces, &s);
}

sm_status wr_scratch(ref_call *c, size_t bytes) {
    sm_written *w = wr_of(c);
    size_t n = (bytes + 127) / 128 * 128, all;
    if (n <= w->scratch_bytes)
        return SM_OK;
    if (!sm_mul_ok(n, (size_t)sm_pool_size(w->e->pool), &all))
        return SM_NOMEM(c->err);
    sm_free_aligned(w->scratch);
    w->scratch = sm_alloc_aligned(all, 128);
    w->scratch_bytes = w->scratch == NULL ? 0 : n;
    return w->scratch == NULL ? SM_NOMEM(c->err) : SM_OK;
}

/* ---- the executable ---- */

sm_status sm_written_new(const sm_func *f, const sm_limits *lim, sm_written **out, sm_err *err) {
    sm_isa isa;
    *out = NULL;
    SM_TRY(sm_isa_choose(&isa, err));
    sm_written *w = sm_alloc(sizeof *w);
    if (w == NULL)
        return SM_NOMEM(err);
    sm_kernels_init(&w->k, isa);
    sm_loops_init(&w->l, isa);
    w->pack_limit = (uint64_t)SM_MAX(sysconf(_SC_PHYS_PAGES), 0) * (uint64_t)SM_MAX(sysconf(_SC_PAGESIZE), 0) / 2;
    sm_status st = ref_exe_new(f, lim, kernels, true, &w->e, err);
    if (st == SM_OK) {
        w->e->ext = w;
        w->pack = sm_alloc_n((size_t)w->e->n_values + 1, sizeof *w->pack);
        st = w->pack == NULL ? SM_NOMEM(err) : SM_OK;
    }
    if (st != SM_OK)
        sm_written_free(&w);
    *out = w;
    return st;
}

void sm_written_free(sm_written **wp) {
    sm_written *w = *wp;
    if (w == NULL)
        return;
    wr_free_packs(w);
    ref_exe_free(&w->e);
    sm_free_aligned(w->scratch);
    sm_free(w);
    *wp = NULL;
}

sm_status sm_written_run(sm_written *w, const sm_arrays *in, sm_states *states, sm_arrays *out, sm_err *err) {
    return ref_exe_run(w->e, in, states, out, err);
}

void sm_written_info(const sm_written *w, sm_exe_info *out) {
    *out = (sm_exe_info){.weight_bytes = w->pack_bytes + w->e->cst_bytes, .n_threads = sm_pool_size(w->e->pool)};
    out->arena_bytes = ref_spare_bytes(w->e->spare) + w->scratch_bytes * (size_t)out->n_threads;
    snprintf(out->isa, sizeof out->isa, "%s", w->k.isa);
}
