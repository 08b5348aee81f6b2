/* SPDX-License-Identifier: MIT
 *
 * threads.h: a worker pool that spins within a step and sleeps between steps.
 *
 * sm_pool_run wakes all workers, runs fn(ctx, ith, nth) on nth threads (the caller is thread 0) and returns when all
 * are done.  Inside fn, sm_pool_barrier lets all nth threads meet: it spins, so a step's kernels follow each other
 * without the kernel scheduler.  One owner thread per pool; a pool of 1 starts no thread.
 */
#ifndef SM_THREADS_H
#define SM_THREADS_H

#include "base/err.h"

typedef struct sm_pool sm_pool;
sm_status sm_pool_new(int n_threads, sm_pool **out, sm_err *err); /* n_threads < 1: one per online core, at most 64 */
void sm_pool_free(sm_pool **p);
int sm_pool_size(const sm_pool *p);
void sm_pool_run(sm_pool *p, void (*fn)(void *ctx, int ith, int nth), void *ctx);
void sm_pool_barrier(sm_pool *p, int ith);
int sm_cpu_count(void);

#endif
