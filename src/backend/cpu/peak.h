/* SPDX-License-Identifier: MIT
 *
 * peak.h: what this machine can do at most: memory read, integer dot products, f32 multiply-adds.
 *
 * Rooflines are drawn with these: a decode step reads every weight once, so it cannot be faster than memory is read; a
 * prompt multiplies, so it cannot be faster than the dot product that the kernels use.
 *
 * The loops keep to registers (or to one pass over memory far larger than the caches) and are compiled per instruction
 * set like the kernels (kernels.h).  Each figure is the best of several short runs, for whatever else runs on the machine
 * only makes it lower.  Operations count as is usual: a multiplication and its addition are two.
 *
 * Threads: a measurement starts a pool of its own and takes it down.
 */
#ifndef SM_PEAK_H
#define SM_PEAK_H

#include "backend/cpu/kernels.h"
#include "base/err.h"

typedef struct sm_peak_opts {
    int n_threads;             /* of the figures for all threads; < 1: one per core */
    uint64_t last_cache_bytes; /* of the last cache level, 0: unknown; four times as much is read */
    uint64_t memory_bytes;     /* that may be used; 0: unknown.  At most a quarter is */
    double seconds;            /* about how long all of it may take; 0: 1.5 */
} sm_peak_opts;

typedef struct sm_peak {
    int n_threads;
    const char *int8_isa, *f32_isa; /* instruction sets of the loops */
    double read_gbps_1, read_gbps;  /* 1e9 bytes a second: one thread, all */
    double int8_tops_1, int8_tops;  /* 1e12 operations a second */
    double f32_gflops_1, f32_gflops;
    uint64_t working_set; /* bytes read for the first */
    double seconds;       /* that it took */
} sm_peak;

/* SM_RESOURCE when there is no memory to read, SM_CANCELLED when asked to stop. */
sm_status sm_peak_measure(const sm_peak_opts *o, sm_isa cap, sm_peak *out, sm_err *err);

/* ---- the loops ---- */
typedef struct sm_peak_loops {
    const char *int8_isa, *f32_isa;
    /* Reads n bytes (a multiple of 1024) of p, 64-aligned, once; the value depends on all of them. */
    uint64_t (*read)(const uint8_t *p, size_t n);
    /* `rounds` rounds of independent dot products and sums; returns the operations done.  The sink receives what they
     * came to, so that they are not left out. */
    double (*int8)(long rounds, int32_t *sink);
    double (*f32)(long rounds, float *sink);
} sm_peak_loops;
/* Plain C first, then each set up to `cap` that the machine has. */
void sm_peak_loops_init(sm_peak_loops *l, sm_isa cap);
void sm_peak_init_c(sm_peak_loops *l);
void sm_peak_init_avx2(sm_peak_loops *l);
void sm_peak_init_avx512(sm_peak_loops *l);
void sm_peak_init_avx512vnni(sm_peak_loops *l);
void sm_peak_init_neon(sm_peak_loops *l);
void sm_peak_init_dotprod(sm_peak_loops *l);
void sm_peak_init_i8mm(sm_peak_loops *l);

#endif
