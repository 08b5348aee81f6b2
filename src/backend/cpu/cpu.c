/* SPDX-License-Identifier: MIT
 *
 * cpu.c: the backend's table: compile, run, free.
 */
#include "backend/cpu/cpu.h"

#include <stdio.h>
#include <string.h>

#include "backend/call.h"
#include "backend/cpu/cpu_int.h"
#include "base/log.h"

enum { SLOTS_MAX = 4096 };

static bool available(char *why, size_t cap) {
    (void)why;
    (void)cap;
    return true;
}

static sm_status choose_kernels(sm_exe *e, sm_err *err) {
    sm_isa isa;
    SM_TRY(sm_isa_choose(&isa, err));
    sm_kernels_init(&e->k, isa);
    return SM_OK;
}

/* ---- caches ---- */

/* Zero pages of the system: what is never written costs nothing. */
static sm_status new_cache(sm_exe *e, sm_kv_cache *c, sm_err *err) {
    const sm_kv_slot *g = &c->geo;
    size_t pages = (size_t)e->lim.n_pages, pt = (size_t)e->lim.page_tokens, elems, bytes;
    if (g->heads < 1 || g->head_dim < 1 || g->v_dim < 1 || g->q_heads % g->heads != 0)
        return SM_FAIL(err, SM_UNSUPPORTED, "backend cpu: attention of %d query heads over %d heads of %d and %d",
                       g->q_heads, g->heads, g->head_dim, g->v_dim);
    c->k_page = (size_t)g->heads * (size_t)g->head_dim * pt;
    c->v_page = (size_t)g->heads * (size_t)g->v_dim * pt;
    if (!sm_mul_ok(pages, c->k_page + c->v_page, &elems) || !sm_mul_ok(elems, sizeof(uint16_t), &bytes))
        return SM_NOMEM(err);
    e->kv_bytes += bytes;
    if (e->sizes_only)
        return SM_OK;
    c->block = sm_alloc(bytes + 64);
    if (!c->block)
        return SM_FAIL(err, SM_RESOURCE, "cpu: no %zu bytes of memory for the KV cache of %d pages", bytes,
                       e->lim.n_pages);
    c->k = (uint16_t *)(void *)(((uintptr_t)c->block + 63) & ~(uintptr_t)63);
    c->v = c->k + pages * c->k_page;
    return SM_OK;
}

static sm_status new_caches(sm_exe *e, sm_err *err) {
    sm_kv_slot *slots = sm_alloc_n(SLOTS_MAX, sizeof *slots);
    if (!slots)
        return SM_NOMEM(err);
    int n = sm_func_kv_slots(e->f, slots, SLOTS_MAX);
    sm_status st = SM_OK;
    if (n < 0)
        st =
            SM_FAIL(err, SM_UNSUPPORTED, "backend cpu: cache slots of function '%s' repeat or leave holes", e->f->name);
    if (st == SM_OK) {
        e->kv = sm_alloc_n((size_t)n, sizeof *e->kv);
        st = e->kv ? SM_OK : SM_NOMEM(err);
    }
    for (int i = 0; st == SM_OK && i < n; i++) {
        e->kv[e->n_kv++].geo = slots[i];
        st = new_cache(e, &e->kv[i], err);
    }
    sm_free(slots);
    return st;
}

/* ---- compile, free ---- */

static sm_status new_scratch(sm_exe *e, sm_err *err) {
    e->scratch_bytes = cpu_gated_scratch();
    for (int i = 0; i < e->n_kv; i++)
        e->scratch_bytes = SM_MAX(e->scratch_bytes, cpu_attend_scratch(&e->kv[i].geo));
    for (size_t i = 0; i < e->steps.n; i++)
        if (e->steps.v[i].run == cpu_run_quantize)
            e->scratch_bytes = SM_MAX(e->scratch_bytes, cpu_quantize_scratch(e->steps.v[i].n));
    e->scratch_bytes = (e->scratch_bytes + 127) / 128 * 128;
    e->scratch = sm_alloc_aligned(e->scratch_bytes * (size_t)sm_pool_size(e->pool), 128);
    e->counters = sm_alloc_n(e->steps.n, sizeof *e->counters);
    e->row_seq = sm_alloc_n((size_t)e->lim.max_rows, sizeof *e->row_seq);
    e->pieces = sm_alloc_n((size_t)(e->lim.max_rows / QUERY_ROWS + e->lim.max_seqs), sizeof *e->pieces);
    return e->scratch && e->counters && e->row_seq && e->pieces ? SM_OK : SM_NOMEM(err);
}

static void cpu_free(sm_exe **exe) {
    sm_exe *e = exe ? *exe : NULL;
    if (!e)
        return;
    sm_written_free(&e->written);
    sm_pool_free(&e->pool);
    cpu_free_weights(e);
    for (int i = 0; i < e->n_kv; i++)
        sm_free(e->kv[i].block);
    sm_free(e->kv);
    sm_free(e->bufs.v);
    sm_free(e->steps.v);
    sm_free((void *)e->counters);
    sm_free(e->row_seq);
    sm_free(e->pieces);
    sm_free_aligned(e->arena);
    sm_free_aligned(e->scratch);
    sm_arena_free(&e->mem);
    sm_free(e);
    *exe = NULL;
}

static sm_status compile_steps(sm_exe *e, sm_err *err) {
    e->mem = sm_arena_new();
    if (!e->mem)
        return SM_NOMEM(err);
    SM_TRY(choose_kernels(e, err));
    SM_TRY(sm_pool_new(e->lim.n_threads, &e->pool, err));
    SM_TRY(cpu_plan_steps(e, err));
    SM_TRY(new_caches(e, err));
    SM_TRY(cpu_plan_arena(e, err));
    SM_TRY(new_scratch(e, err));
    return e->sizes_only ? SM_OK : cpu_pack_weights(e, err);
}

/* Weights that are packed; and of those that are not, what is read in the file. */
static void count_weights(const sm_exe *e, sm_exe_info *out) {
    out->weight_bytes = out->mapped_bytes = 0;
    for (size_t i = 0; i < e->weights.n; i++) {
        if (e->weights.v[i].packed)
            out->weight_bytes += e->weights.v[i].p.bytes;
        else
            out->mapped_bytes += sm_tensor_bytes(&e->weights.v[i].v->cst->src);
    }
}

static sm_status cpu_compile(const sm_func *f, const sm_limits *lim, sm_exe **out, sm_err *err) {
    *out = NULL;
    SM_TRY(sm_call_check_func(f, lim, err));
    sm_exe *e = sm_alloc(sizeof *e);
    if (!e)
        return SM_NOMEM(err);
    e->f = f;
    if (lim)
        e->lim = *lim;
    sm_status st = sm_func_is_rows(f) ? compile_steps(e, err) : sm_written_new(f, lim, &e->written, err);
    if (st != SM_OK)
        cpu_free(&e);
    *out = e;
    return st;
}

/* ---- run ---- */

static void walk(void *ctx, int ith, int nth) {
    sm_exe *e = ctx;
    for (size_t i = 0; i < e->steps.n; i++) {
        const sm_step *s = &e->steps.v[i];
        if (s->barrier)
            sm_pool_barrier(e->pool, ith);
        s->run(e, s, ith, nth);
    }
}

static sm_status bind(sm_exe *e, const sm_batch *b, sm_err *err) {
    SM_TRY(sm_batch_check(b, &e->lim, err));
    for (int i = 0; e->vocab > 0 && i < b->n_rows; i++)
        if (b->ids[i] < 0 || b->ids[i] >= e->vocab)
            return SM_FAIL(err, SM_BADINPUT, "id %d outside the vocabulary of %d", b->ids[i], e->vocab);
    e->batch = b;
    e->n_pieces = 0;
    for (int i = 0; i < b->n_seqs; i++) {
        const sm_batch_seq *s = &b->seqs[i];
        for (int r = 0; r < s->n_rows; r++)
            e->row_seq[s->row0 + r] = i;
        for (int r = 0; r < s->n_rows; r += QUERY_ROWS)
            e->pieces[e->n_pieces++] = (sm_piece){i, s->row0 + r, SM_MIN((int)QUERY_ROWS, s->n_rows - r)};
    }
    return SM_OK;
}

static sm_status cpu_run_rows(sm_exe *e, const sm_batch *b, float *logits, sm_err *err) {
    SM_TRY(bind(e, b, err));
    e->bufs.v[e->logits_buf].p = (uint8_t *)logits;
    for (size_t i = 0; i < e->steps.n; i++)
        atomic_store_explicit(&e->counters[i], 0, memory_order_relaxed);
    sm_pool_run(e->pool, e->times ? cpu_walk_timed : walk, e);
    if (e->times)
        cpu_times_bytes(e);
    e->batch = NULL;
    return SM_OK;
}

static sm_status cpu_run_timed(sm_exe *e, const sm_batch *b, float *logits, sm_step_times *t, sm_err *err) {
    SM_TRY(cpu_times_new(e, t, err));
    e->times = t;
    t->begun = sm_now_ns();
    sm_status st = cpu_run_rows(e, b, logits, err);
    t->done = sm_now_ns();
    e->times = NULL;
    return st;
}

static sm_status cpu_run_taps(sm_exe *e, const sm_batch *b, float *logits, float *const *taps, sm_err *err) {
    SM_TRY(cpu_run_rows(e, b, logits, err));
    for (int32_t k = 0; k < e->n_taps; k++) {
        const struct sm_tap *t = &e->taps[k];
        size_t n = (size_t)t->elems;
        int rows = e->bufs.v[t->buf].rows == SM_ROWS_T ? b->n_rows : b->n_out;
        for (int r = 0; r < rows; r++)
            memcpy(taps[k] + (size_t)r * n, cpu_row_f32(e, t->buf, r), n * sizeof(float));
    }
    return SM_OK;
}

static sm_status cpu_run(sm_exe *e, const sm_arrays *in, sm_states *st, sm_arrays *out, sm_err *err) {
    if (!e->written)
        return SM_FAIL(err, SM_USAGE, "function '%s' is a model: its rows are run", e->f->name);
    return sm_written_run(e->written, in, st, out, err);
}

static void cpu_info(const sm_exe *e, sm_exe_info *out) {
    if (e->written) {
        sm_written_info(e->written, out);
        return;
    }
    *out = (sm_exe_info){.weight_bytes = e->weight_bytes, .kv_bytes = e->kv_bytes, .n_threads = sm_pool_size(e->pool)};
    out->arena_bytes = e->arena_bytes + e->scratch_bytes * (size_t)out->n_threads;
    count_weights(e, out);
    cpu_count_step_bytes(e, out);
    snprintf(out->isa, sizeof out->isa, "%s", e->k.isa);
}

static sm_status cpu_plan(const sm_func *f, const sm_limits *lim, sm_exe_info *out, sm_err *err) {
    memset(out, 0, sizeof *out);
    if (!sm_func_is_rows(f))
        return SM_FAIL(err, SM_UNSUPPORTED, "what '%s' takes as it is written is known once it ran", f->name);
    SM_TRY(sm_call_check_func(f, lim, err));
    sm_exe *e = sm_alloc(sizeof *e);
    if (!e)
        return SM_NOMEM(err);
    e->f = f;
    e->lim = *lim;
    e->sizes_only = true;
    sm_status st = compile_steps(e, err);
    if (st == SM_OK)
        cpu_info(e, out);
    cpu_free(&e);
    return st;
}

const sm_backend sm_backend_cpu = {
    .name = "cpu",
    .doc = "fast kernels for x86-64 (AVX2, AVX-512, VNNI) and ARM (NEON, dotprod, i8mm), plain C elsewhere",
    .rows = true,
    .as_written = true,
    .available = available,
    .compile = cpu_compile,
    .free = cpu_free,
    .run_rows = cpu_run_rows,
    .run_taps = cpu_run_taps,
    .run_timed = cpu_run_timed,
    .run = cpu_run,
    .info = cpu_info,
    .plan = cpu_plan,
};
