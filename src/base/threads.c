/* SPDX-License-Identifier: MIT
 *
 * threads.c: the worker pool.
 *
 * A run bumps `epoch`; workers that still spin see it at once, workers that sleep are woken by the condition.  Spinning
 * is bounded everywhere: a machine's cores are shared, and a thread that waits for one that has no core must give up
 * its own.  So a waiter spins, then yields between looks; between runs a worker spins a little longer than sampling a
 * token takes, then sleeps.
 *
 *     run:      epoch++ -> workers: fn(..) -> busy-- .. 0 -> run returns
 *     barrier:  the last of n to arrive turns `phase`, the others wait for the turn (sense reversal, the sense being
 *               the phase number that a thread saw when it came)
 *
 * No wake-up is lost: a sleeper counts itself before it looks at `epoch` again, a run bumps `epoch` before it looks at
 * the count, both sequentially consistent, so one of them sees the other.
 *
 * Owns its threads.  Threads: one owner calls new, run and free; workers block all signals, which stay the owner's.
 */
#include "base/threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

#if defined(__x86_64__) || defined(__i386__)
#define PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define PAUSE() __asm__ volatile("yield" ::: "memory")
#else
#define PAUSE() ((void)0)
#endif

enum {
    MAX_THREADS = 64,
    SPIN = 2000,       /* looks with a pause, before yielding: about 50 us */
    SPIN_CROWDED = 50, /* the same when there are more threads than cores */
    YIELDS_IDLE = 100, /* yielding looks between runs, before sleeping */
    LINE = 128,        /* cache line, of the largest machine */
};

typedef struct worker {
    sm_pool *pool;
    pthread_t thread;
    int ith;
} worker;

struct sm_pool {
    int n, spin;
    void (*fn)(void *ctx, int ith, int nth);
    void *ctx;
    worker *workers; /* n; the first is the caller and has no thread */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop; /* set before the last epoch */
    /* Each on a cache line of its own: they are written by different threads while others spin on them. */
    char pad0[LINE];
    atomic_uint epoch;
    char pad1[LINE];
    atomic_int sleepers;
    char pad2[LINE];
    atomic_int busy;
    char pad3[LINE];
    atomic_int arrived;
    char pad4[LINE];
    atomic_uint phase;
};

int sm_cpu_count(void) {
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        int n = CPU_COUNT(&set);
        if (n > 0)
            return n;
    }
#endif
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : (int)n;
}

/* Waits until *v differs from `old`. */
static void wait_change(const sm_pool *p, atomic_uint *v, unsigned old) {
    for (int i = 0; atomic_load_explicit(v, memory_order_acquire) == old; i++) {
        if (i < p->spin)
            PAUSE();
        else
            sched_yield();
    }
}

/* Waits for the run after `seen`. */
static void wait_run(sm_pool *p, unsigned seen) {
    for (int i = 0; i < p->spin + YIELDS_IDLE; i++) {
        if (atomic_load_explicit(&p->epoch, memory_order_acquire) != seen)
            return;
        if (i < p->spin)
            PAUSE();
        else
            sched_yield();
    }
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    while (atomic_load(&p->epoch) == seen)
        pthread_cond_wait(&p->wake, &p->lock);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->lock);
}

static void next_epoch(sm_pool *p) {
    atomic_fetch_add(&p->epoch, 1);
    if (atomic_load(&p->sleepers) > 0) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
    }
}

static void *worker_main(void *arg) {
    worker *w = arg;
    sm_pool *p = w->pool;
    for (unsigned seen = 0;; seen++) {
        wait_run(p, seen);
        if (p->stop)
            return NULL;
        p->fn(p->ctx, w->ith, p->n);
        atomic_fetch_sub_explicit(&p->busy, 1, memory_order_release);
    }
}

static void stop_workers(sm_pool *p, int started) {
    p->stop = true;
    next_epoch(p);
    for (int i = 1; i < started; i++)
        pthread_join(p->workers[i].thread, NULL);
}

sm_status sm_pool_new(int n_threads, sm_pool **out, sm_err *err) {
    *out = NULL;
    int n = n_threads < 1 ? sm_cpu_count() : n_threads;
    n = SM_MIN(n, (int)MAX_THREADS);
    sm_pool *p = sm_alloc(sizeof *p);
    worker *workers = sm_alloc_n((size_t)n, sizeof *workers);
    if (!p || !workers) {
        sm_free(p);
        sm_free(workers);
        return SM_NOMEM(err);
    }
    p->n = n;
    p->spin = n > sm_cpu_count() ? SPIN_CROWDED : SPIN;
    p->workers = workers;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);

    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = 0, started = 1;
    for (; started < n; started++) {
        workers[started] = (worker){.pool = p, .ith = started};
        rc = pthread_create(&workers[started].thread, NULL, worker_main, &workers[started]);
        if (rc)
            break;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc) {
        stop_workers(p, started);
        p->n = 1;
        sm_pool_free(&p);
        return SM_FAIL(err, SM_RESOURCE, "cannot start thread %d of %d: %s", started + 1, n, strerror(rc));
    }
    *out = p;
    return SM_OK;
}

void sm_pool_free(sm_pool **pool) {
    if (!pool || !*pool)
        return;
    sm_pool *p = *pool;
    if (p->n > 1)
        stop_workers(p, p->n);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    sm_free(p->workers);
    sm_free(p);
    *pool = NULL;
}

int sm_pool_size(const sm_pool *p) {
    return p->n;
}

void sm_pool_run(sm_pool *p, void (*fn)(void *ctx, int ith, int nth), void *ctx) {
    if (p->n == 1) {
        fn(ctx, 0, 1);
        return;
    }
    p->fn = fn;
    p->ctx = ctx;
    atomic_store_explicit(&p->busy, p->n - 1, memory_order_relaxed);
    next_epoch(p);
    fn(ctx, 0, p->n);
    for (int i = 0; atomic_load_explicit(&p->busy, memory_order_acquire) > 0; i++) {
        if (i < p->spin)
            PAUSE();
        else
            sched_yield();
    }
}

void sm_pool_barrier(sm_pool *p, int ith) {
    (void)ith;
    if (p->n == 1)
        return;
    unsigned phase = atomic_load_explicit(&p->phase, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&p->arrived, 1, memory_order_acq_rel) == p->n - 1) {
        atomic_store_explicit(&p->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&p->phase, phase + 1, memory_order_release);
    } else {
        wait_change(p, &p->phase, phase);
    }
}
