/* SPDX-License-Identifier: MIT
 *
 * peak.c: times the loops of peak.h.
 *
 * A loop's length is found by doubling until a run takes a few milliseconds; then runs are repeated within a share of
 * the time allowed and the fastest counts.  Memory is filled by the threads that will read it, so that on machines with
 * several memory nodes each thread's part lies near it.
 */
#include "backend/cpu/peak.h"

#include <stdatomic.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/threads.h"

enum {
    RUN_US = 1000, /* one run of a register loop, at least */
    RUNS_MIN = 3,  /* of each kind */
    SEGMENTS = 8,  /* of the memory */
    CHUNK = 1024,  /* bytes that parts of the memory are multiples of */
};
static const uint64_t SET_MIN = 64u << 20, SET_USUAL = 256u << 20, SET_MAX = (uint64_t)4 << 30;

void sm_peak_loops_init(sm_peak_loops *l, sm_isa cap) {
    sm_isa has = sm_isa_detect(), isa = cap < has ? cap : has;
    sm_peak_init_c(l);
#if defined(__x86_64__)
    if (isa >= SM_ISA_AVX2)
        sm_peak_init_avx2(l);
    if (isa >= SM_ISA_AVX512)
        sm_peak_init_avx512(l);
    if (isa >= SM_ISA_AVX512VNNI)
        sm_peak_init_avx512vnni(l);
#elif defined(__aarch64__)
    if (isa >= SM_ISA_NEON)
        sm_peak_init_neon(l);
    if (isa >= SM_ISA_DOTPROD)
        sm_peak_init_dotprod(l);
    if (isa >= SM_ISA_I8MM)
        sm_peak_init_i8mm(l);
#else
    (void)isa;
#endif
}

/* One measurement: what every thread does, and what it comes to. */
typedef struct run {
    const sm_peak_loops *l;
    uint8_t *p;
    size_t n;
    bool all; /* every thread has a part; else the first has everything */
    long rounds;
    int turn; /* runs so far */
    double ops[64];
    atomic_uint_fast64_t sink; /* so that nothing can be left out */
} run;

static void part_of(const run *r, int ith, int nth, size_t *from, size_t *to) {
    size_t chunks = r->n / CHUNK;
    *from = chunks * (size_t)ith / (size_t)nth * CHUNK;
    *to = chunks * (size_t)(ith + 1) / (size_t)nth * CHUNK;
}

static void fill_part(void *ctx, int ith, int nth) {
    run *r = ctx;
    size_t from, to;
    part_of(r, ith, nth, &from, &to);
    memset(r->p + from, ith + 1, to - from);
}

/* One segment of the thread's part.  Runs go round the segments, so that one that is read again has left the caches
 * long since; and an interruption spoils the figure of one segment, not of all memory. */
static void read_part(void *ctx, int ith, int nth) {
    run *r = ctx;
    size_t from, to;
    part_of(r, ith, nth, &from, &to);
    size_t each = (to - from) / CHUNK / SEGMENTS * CHUNK;
    from += each * (size_t)(r->turn % SEGMENTS);
    to = from + each;
    atomic_fetch_xor(&r->sink, r->l->read(r->p + from, to - from));
    r->ops[ith] = (double)(to - from);
}

static void int8_part(void *ctx, int ith, int nth) {
    run *r = ctx;
    int32_t sink = 0;
    (void)nth;
    r->ops[ith] = r->l->int8(r->rounds, &sink);
    atomic_fetch_xor(&r->sink, (uint64_t)(uint32_t)sink);
}

static void f32_part(void *ctx, int ith, int nth) {
    run *r = ctx;
    float sink = 0.0f;
    uint32_t bits;
    (void)nth;
    r->ops[ith] = r->l->f32(r->rounds, &sink);
    memcpy(&bits, &sink, 4);
    atomic_fetch_xor(&r->sink, bits);
}

/* Operations (or bytes) a second of one run, by all threads or by this one alone. */
static double once(sm_pool *pool, run *r, void (*part)(void *, int, int), int64_t *took) {
    double sum = 0.0;
    memset(r->ops, 0, sizeof r->ops);
    int64_t t0 = sm_now_us();
    if (r->all)
        sm_pool_run(pool, part, r);
    else
        part(r, 0, 1); /* without waiting for threads that have nothing to do */
    *took = SM_MAX(sm_now_us() - t0, 1);
    for (int i = 0; i < sm_pool_size(pool); i++)
        sum += r->ops[i];
    return sum / (double)*took * 1e6;
}

/* The best of runs within `budget_us`, RUNS_MIN of them at least. */
static double best_of(sm_pool *pool, run *r, void (*part)(void *, int, int), bool all, double budget_us) {
    double best = 0.0;
    int64_t took, spent = 0;
    r->all = all;
    for (int i = 0; (i < RUNS_MIN || (double)spent < budget_us) && !sm_cancelled(); i++) {
        double v = once(pool, r, part, &took);
        r->turn++;
        best = SM_MAX(best, v);
        spent += took;
        if (i > 0 && (double)spent > 3.0 * budget_us)
            break; /* a machine that is slower or busier than expected */
    }
    return best;
}

/* Rounds that take RUN_US on one thread: the shortest of some runs, for a run that was interrupted takes long whatever
 * its rounds. */
static void set_rounds(sm_pool *pool, run *r, void (*part)(void *, int, int)) {
    int64_t took, least = 0;
    r->all = false;
    for (r->rounds = 1000; r->rounds < 1l << 40; r->rounds *= 2) {
        once(pool, r, part, &least);
        for (int i = 1; i < RUNS_MIN; i++) {
            once(pool, r, part, &took);
            least = SM_MIN(least, took);
        }
        if (least >= RUN_US)
            return;
    }
}

static uint64_t working_set(const sm_peak_opts *o) {
    uint64_t n = SM_MIN(SM_MAX(4 * o->last_cache_bytes, SET_USUAL), SET_MAX);
    if (o->memory_bytes > 0)
        n = SM_MIN(n, SM_MAX(o->memory_bytes / 4, SET_MIN));
    return n / CHUNK * CHUNK;
}

static void measure_memory(sm_pool *pool, run *r, double share_us, sm_peak *out) {
    sm_pool_run(pool, fill_part, r);
    out->read_gbps_1 = best_of(pool, r, read_part, false, share_us) / 1e9;
    out->read_gbps = best_of(pool, r, read_part, true, share_us) / 1e9;
}

sm_status sm_peak_measure(const sm_peak_opts *o, sm_isa cap, sm_peak *out, sm_err *err) {
    sm_peak_loops l;
    sm_pool *pool = NULL;
    run *r = NULL;
    uint8_t *memory = NULL;
    sm_status st;
    int64_t t0 = sm_now_us();
    double share_us = (o->seconds > 0.0 ? o->seconds : 1.5) * 1e6 / 8.0;
    memset(out, 0, sizeof *out);
    sm_peak_loops_init(&l, cap);
    SM_TRY_DONE(sm_pool_new(o->n_threads, &pool, err));
    out->n_threads = sm_pool_size(pool);
    out->int8_isa = l.int8_isa;
    out->f32_isa = l.f32_isa;
    out->working_set = working_set(o);
    r = sm_alloc(sizeof *r);
    memory = r ? sm_alloc_aligned((size_t)out->working_set, 128) : NULL;
    if (!memory) {
        st =
            SM_FAIL(err, SM_RESOURCE, "no %.0f MB of memory to measure its speed with", (double)out->working_set / 1e6);
        goto done;
    }
    r->l = &l;
    r->p = memory;
    r->n = (size_t)out->working_set;
    measure_memory(pool, r, share_us, out);
    set_rounds(pool, r, int8_part);
    out->int8_tops_1 = best_of(pool, r, int8_part, false, share_us / 4) / 1e12;
    out->int8_tops = best_of(pool, r, int8_part, true, share_us / 2) / 1e12;
    set_rounds(pool, r, f32_part);
    out->f32_gflops_1 = best_of(pool, r, f32_part, false, share_us / 4) / 1e9;
    out->f32_gflops = best_of(pool, r, f32_part, true, share_us / 2) / 1e9;
    if (sm_cancelled())
        st = SM_FAIL(err, SM_CANCELLED, "stopped");
    /* What one thread does, all can do: a machine that is busy shows otherwise. */
    out->read_gbps = SM_MAX(out->read_gbps, out->read_gbps_1);
    out->int8_tops = SM_MAX(out->int8_tops, out->int8_tops_1);
    out->f32_gflops = SM_MAX(out->f32_gflops, out->f32_gflops_1);
    out->seconds = (double)(sm_now_us() - t0) / 1e6;
done:
    sm_free_aligned(memory);
    sm_free(r);
    sm_pool_free(&pool);
    return st;
}
