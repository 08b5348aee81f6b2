/* SPDX-License-Identifier: MIT
 *
 * kmeans.c: optimal one-dimensional k-means (kmeans.h).
 *
 * A cluster (i, j] saves (S_j - S_i)^2 / (N_j - N_i) of the sum of squares; the best partition saves most.  With a price
 * per cluster, best[j] = max over i < j of best[i] + saving(i, j) - price.  Starts come into the queue in order; a later
 * start, once it is better, stays better, so each start of the queue owns a range of ends.
 *
 * The first guess of the price comes from the same problem with neighbours merged, which costs a fraction; between
 * guesses, price over count is a power law, so the next guess is interpolated between logarithms.
 */
#include "tensor/kmeans.h"

#include <math.h>
#include <string.h>

enum {
    COARSE = 1024,       /* numbers of the merged problem, at least */
    COARSE_CLUSTERS = 8, /* and per cluster */
    TRIES_MAX = 200,     /* prices; some ten are usual */
    GUESSES = 8,         /* of them before a price is taken that is certainly too low, or too high */
};

typedef struct start {
    uint32_t at, from; /* cluster starts after `at`; best for ends from `from` on */
} start;

struct sm_kmeans {
    uint32_t n_max;
    double *best;         /* n + 1 */
    double *mass, *sum;   /* of the merged problem */
    uint32_t *prev;       /* n + 1: where the last cluster starts */
    start *queue;         /* n + 1 */
    uint32_t *path;       /* ends of the path found last */
    uint32_t *few, *many; /* ends of the nearest paths on both sides */
};

sm_status sm_kmeans_new(uint32_t n_max, sm_kmeans **out, sm_err *err) {
    sm_kmeans *w = *out = sm_alloc(sizeof *w);
    size_t n = (size_t)n_max + 1;
    if (w == NULL)
        return SM_NOMEM(err);
    w->n_max = n_max;
    w->best = sm_alloc_n(n, sizeof *w->best);
    w->mass = sm_alloc_n(n, sizeof *w->mass);
    w->sum = sm_alloc_n(n, sizeof *w->sum);
    w->prev = sm_alloc_n(n, sizeof *w->prev);
    w->queue = sm_alloc_n(n, sizeof *w->queue);
    w->path = sm_alloc_n(n, sizeof *w->path);
    w->few = sm_alloc_n(n, sizeof *w->few);
    w->many = sm_alloc_n(n, sizeof *w->many);
    if (w->best != NULL && w->mass != NULL && w->sum != NULL && w->prev != NULL && w->queue != NULL &&
        w->path != NULL && w->few != NULL && w->many != NULL)
        return SM_OK;
    sm_kmeans_free(out);
    return SM_NOMEM(err);
}

void sm_kmeans_free(sm_kmeans **w) {
    if (*w == NULL)
        return;
    sm_free((*w)->best);
    sm_free((*w)->mass);
    sm_free((*w)->sum);
    sm_free((*w)->prev);
    sm_free((*w)->queue);
    sm_free((*w)->path);
    sm_free((*w)->few);
    sm_free((*w)->many);
    sm_free(*w);
    *w = NULL;
}

typedef struct problem {
    const double *mass, *sum;
    uint32_t n;
} problem;

/* Ends e where a later start b is better than a: best_b + saving(b, e) > best_a + saving(a, e), without divisions. */
static inline bool better(const problem *p, const double *best, uint32_t a, uint32_t b, uint32_t e) {
    double na = p->mass[e] - p->mass[a], sa = p->sum[e] - p->sum[a];
    double nb = p->mass[e] - p->mass[b], sb = p->sum[e] - p->sum[b];
    return (best[b] - best[a]) * na * nb + sb * sb * na > sa * sa * nb;
}

/* The first end in [lo, n] where b is better than a; n + 1 when there is none.  Near lo, mostly. */
static uint32_t takeover(const problem *p, const double *best, uint32_t a, uint32_t b, uint32_t lo) {
    uint32_t step = 1, hi = lo;
    while (hi <= p->n && !better(p, best, a, b, hi)) {
        lo = hi + 1;
        hi += step;
        step *= 2;
    }
    if (hi > p->n) {
        hi = p->n;
        if (lo > hi || !better(p, best, a, b, hi))
            return p->n + 1;
    }
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (better(p, best, a, b, mid))
            hi = mid;
        else
            lo = mid + 1;
    }
    return hi;
}

/* Ends of the clusters that save most at this price; returns how many there are, *saved what they save. */
static uint32_t solve(sm_kmeans *w, const problem *p, double price, uint32_t *ends, double *saved) {
    start *q = w->queue;
    size_t head = 0, tail = 1; /* [head, tail) */
    double *best = w->best;
    best[0] = 0.0;
    q[0] = (start){0, 1};
    for (uint32_t j = 1; j <= p->n; j++) {
        while (tail - head > 1 && q[head + 1].from <= j)
            head++;
        uint32_t i = q[head].at;
        double s = p->sum[j] - p->sum[i];
        best[j] = best[i] + s * s / (p->mass[j] - p->mass[i]) - price;
        w->prev[j] = i;
        if (j == p->n)
            break;
        while (tail - head > 1 && q[tail - 1].from > j && better(p, best, q[tail - 1].at, j, q[tail - 1].from))
            tail--;
        uint32_t last = q[tail - 1].from > j ? q[tail - 1].from : j;
        uint32_t from = takeover(p, best, q[tail - 1].at, j, last + 1);
        if (from <= p->n)
            q[tail++] = (start){j, from};
    }
    uint32_t k = 0, at = p->n;
    for (uint32_t j = p->n; j > 0; j = w->prev[j])
        k++;
    for (uint32_t c = k; c > 0; c--) {
        ends[c - 1] = at;
        at = w->prev[at];
    }
    *saved = best[p->n] + (double)k * price;
    return k;
}

/* A path of k clusters out of one of fewer and one of more, where both are best at one price: the first i clusters of
 * the one, then a cluster that ends where the other's does, then the rest of the other. */
static void cross(const uint32_t *few, uint32_t n_few, const uint32_t *many, uint32_t n_many, uint32_t k,
                  uint32_t *ends) {
    uint32_t skip = n_many - k;
    for (uint32_t i = 0; i < n_few; i++) {
        uint32_t a = i == 0 ? 0 : few[i - 1], b = many[i + skip - 1];
        if (a > b || many[i + skip] > few[i])
            continue;
        for (uint32_t c = 0; c < i; c++)
            ends[c] = few[c];
        for (uint32_t c = i; c < k; c++)
            ends[c] = many[c + skip];
        return;
    }
}

typedef struct side {
    double price, saved;
    uint32_t k; /* 0: not known yet */
} side;

/* The next price to try between (or beyond) what is known. */
static double next_price(const side *few, const side *many, uint32_t k, double guess, int tries) {
    if (few->k == 0 && many->k == 0)
        return guess;
    if (many->k == 0)
        return tries < GUESSES ? few->price * pow((double)few->k / (double)k, 3.0) * (tries < 4 ? 0.9 : 0.1) : 0.0;
    if (few->k == 0)
        return tries < GUESSES && many->price > 0.0
                   ? many->price * pow((double)many->k / (double)k, 3.0) * (tries < 4 ? 1.1 : 10.0)
                   : 2.0 * many->saved;
    double chord = (many->saved - few->saved) / (double)(many->k - few->k);
    if (tries % 2 == 1 || !(many->price > 0.0))
        return chord;
    double part = log((double)many->k / (double)k) / log((double)many->k / (double)few->k);
    double price = many->price * pow(few->price / many->price, part);
    return price > many->price && price < few->price ? price : chord;
}

/* Both sides lie on one line, on which `now` lies as well: no price gives what is between them. */
static bool on_one_line(const side *few, const side *many, const side *now, double total) {
    double at = few->saved - (double)few->k * now->price, found = now->saved - (double)now->k * now->price;
    return now->k == few->k || now->k == many->k || found - at <= 1e-13 * total;
}

/* w->path: the ends of the best k clusters, 2 < k < n.  *price: a guess, then one that is right for k. */
static void search(sm_kmeans *w, const problem *p, uint32_t k, double *price) {
    side few = {0}, many = {0};
    for (int tries = 0;; tries++) {
        bool both = few.k > 0 && many.k > 0, chord = tries % 2 == 1;
        side now = {.price = next_price(&few, &many, k, *price, tries)};
        now.k = solve(w, p, now.price, w->path, &now.saved);
        if (now.k == k) {
            *price = both ? next_price(&few, &many, k, 0.0, 0) : now.price;
            return;
        }
        if (both && ((chord && on_one_line(&few, &many, &now, fabs(now.saved))) || tries >= TRIES_MAX)) {
            cross(w->few, few.k, w->many, many.k, k, w->path);
            *price = now.price;
            return;
        }
        memcpy(now.k < k ? w->few : w->many, w->path, now.k * sizeof *w->path);
        if (now.k < k && !(now.price > 0.0)) { /* beside larger numbers, rounding hides what k clusters save */
            for (uint32_t i = 0; i < p->n; i++)
                w->many[i] = i + 1;
            cross(w->few, now.k, w->many, p->n, k, w->path);
            *price = now.price;
            return;
        }
        *(now.k < k ? &few : &many) = now;
    }
}

/* The same numbers, neighbours merged. */
static problem merged(sm_kmeans *w, const problem *p, uint32_t n) {
    for (uint32_t i = 0; i <= n; i++) {
        size_t at = (size_t)((uint64_t)p->n * i / n);
        w->mass[i] = p->mass[at];
        w->sum[i] = p->sum[at];
    }
    return (problem){w->mass, w->sum, n};
}

/* The end of the first of two clusters: every one is tried. */
static uint32_t best_end(const problem *p) {
    double most = -1.0, all_m = p->mass[p->n], all_s = p->sum[p->n];
    uint32_t end = 1;
    for (uint32_t i = 1; i < p->n; i++) {
        double m = p->mass[i], s = p->sum[i], r = all_s - s;
        double saved = s * s / m + r * r / (all_m - m);
        end = saved > most ? i : end;
        most = saved > most ? saved : most;
    }
    return end;
}

int sm_kmeans_split(sm_kmeans *w, const double *mass, const double *sum, uint32_t n, int k, uint32_t *ends) {
    problem p = {mass, sum, n};
    uint32_t want = (uint32_t)k, coarse = want * COARSE_CLUSTERS > COARSE ? want * COARSE_CLUSTERS : COARSE;
    if (n <= want) {
        for (uint32_t i = 0; i < n; i++)
            ends[i] = i + 1;
        return (int)n;
    }
    if (want == 1) {
        ends[0] = n;
        return 1;
    }
    if (want == 2) {
        ends[0] = best_end(&p);
        ends[1] = n;
        return 2;
    }
    /* A start: all savings there are, spread as for even numbers. */
    double saved = 0.0, price;
    for (uint32_t i = 0; i < n; i++)
        saved += (sum[i + 1] - sum[i]) * (sum[i + 1] - sum[i]) / (mass[i + 1] - mass[i]);
    price = 2.0 * saved / ((double)want * want * want);
    if (n >= 4 * coarse) {
        problem c = merged(w, &p, coarse);
        search(w, &c, want, &price);
    }
    search(w, &p, want, &price);
    memcpy(ends, w->path, want * sizeof *ends);
    return k;
}
