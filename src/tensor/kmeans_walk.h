/* SPDX-License-Identifier: MIT
 *
 * kmeans_walk.h: the two loops of kmeans.c, for the best instruction set of the machine.  All versions give the same
 * numbers: they round the same sums and products in the same order.
 */
#ifndef SM_KMEANS_WALK_H
#define SM_KMEANS_WALK_H

#include <stdint.h>

typedef struct sm_kmeans_start {
    uint32_t at, from; /* a cluster starts after `at`; best for ends from `from` on */
} sm_kmeans_start;

typedef struct sm_kmeans_walk {
    const double *mass, *sum; /* n + 1 */
    uint32_t n;
    double price;
    double *best;           /* n + 1: the most that a partition of the first j saves, less its price */
    uint32_t *prev;         /* n + 1: where its last cluster starts */
    sm_kmeans_start *queue; /* n + 1 */
} sm_kmeans_walk;

typedef struct sm_kmeans_loops {
    void (*walk)(const sm_kmeans_walk *w); /* fills best and prev */
    /* The first end of the two clusters that save most; n is at least 2. */
    uint32_t (*halves)(const double *mass, const double *sum, uint32_t n);
} sm_kmeans_loops;

const sm_kmeans_loops *sm_kmeans_loops_c(void);
const sm_kmeans_loops *sm_kmeans_loops_best(void); /* of the sets that SMELT_CPU allows */

#endif
