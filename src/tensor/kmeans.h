/* SPDX-License-Identifier: MIT
 *
 * kmeans.h: the best k clusters of sorted numbers with masses: least sum of squared distances to the clusters' means.
 *
 * On a line the best clusters are intervals, and the cost of an interval is concave Monge: then the least cost as a
 * function of k is convex, and a price per cluster ("lambda") finds it.  For one price, the best partition comes from one
 * walk over the numbers with a queue of starts, each of which is best for a range of ends (Hirschberg and Larmore 1987,
 * Galil and Park 1990).  The price is searched; where no price gives k exactly (equal savings), a path with too few and
 * one with too many clusters of equal price are crossed into one of k (Aggarwal, Schieber and Tokuyama 1994).  So the
 * result is a true optimum, in O(n) memory, at some walks of about n log(n / k) steps.
 *
 * Numbers are given by prefix sums; where mass is 1 each this is plain k-means, counts make it one of a histogram, and
 * importances a weighted one.
 *
 * Threads: one a workspace.
 */
#ifndef SM_KMEANS_H
#define SM_KMEANS_H

#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

typedef struct sm_kmeans sm_kmeans;
/* Room for n_max numbers (about 40 bytes each). */
sm_status sm_kmeans_new(uint32_t n_max, sm_kmeans **out, sm_err *err);
void sm_kmeans_free(sm_kmeans **w); /* NULL-safe, nulls */

/* mass[n + 1], sum[n + 1]: masses and mass times value of the first i numbers, mass growing strictly, sum / mass of
 * single numbers growing.  ends[0..k'): one past the last number of each cluster, the last is n; returns
 * k' = min(k, n).  k is at least 1.  Values near zero mean keep most digits: centre them first. */
int sm_kmeans_split(sm_kmeans *w, const double *mass, const double *sum, uint32_t n, int k, uint32_t *ends);

#endif
