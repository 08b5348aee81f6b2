/* SPDX-License-Identifier: MIT
 *
 * kmeans.c: optimal one-dimensional k-means (kmeans.h).
 *
 * A cluster (i, j] saves (S_j - S_i)^2 / (N_j - N_i) of the sum of squares; the best partition saves most.  With a price
 * per cluster, best[j] = max over i < j of best[i] + saving(i, j) - price.  Starts come into the queue in order; a later
 * start, once it is better, stays better, so each start of the queue owns a range of ends.
 *
 * The first guess of the price comes from the numbers' density, the second from the same problem with neighbours merged,
 * which costs a fraction; between guesses, price over count is a power law, so the next guess is interpolated between
 * logarithms.  Most often the first walk over all numbers finds k clusters, and with them the proof that they are best.
 */
#include "tensor/kmeans.h"

#include <math.h>
#include <string.h>

#include "tensor/kmeans_walk.h"

enum {
    COARSE = 256,        /* numbers of the merged problem, at least */
    COARSE_CLUSTERS = 8, /* and per cluster */
    FINER = 2,           /* times as many numbers make it worth its while */
    CELLS = 256,         /* of the density that the first guess is of */
    TRIES_MAX = 200,     /* prices; some ten are usual */
    GUESSES = 8,         /* of them before a price is taken that is certainly too low, or too high */
};

struct sm_kmeans {
    double *best;           /* n + 1 */
    double *mass, *sum;     /* of a problem with fewer numbers */
    uint32_t *map;          /* its numbers' ends among all */
    uint32_t *prev;         /* n + 1: where the last cluster starts */
    sm_kmeans_start *queue; /* n + 1 */
    const sm_kmeans_loops *loops;
    uint32_t *path;       /* ends of the path found last */
    uint32_t *few, *many; /* ends of the nearest paths on both sides */
};

/* Not zeroed: only what is used becomes resident. */
static void *room(size_t n, size_t each, bool *ok) {
    void *p = sm_realloc(NULL, n * each);
    *ok = *ok && p != NULL;
    return p;
}

sm_status sm_kmeans_new(uint32_t n_max, sm_kmeans **out, sm_err *err) {
    sm_kmeans *w = *out = sm_alloc(sizeof *w);
    size_t n = (size_t)n_max + 1;
    bool ok = true;
    if (w == NULL)
        return SM_NOMEM(err);
    w->loops = sm_kmeans_loops_best();
    w->best = room(n, sizeof *w->best, &ok);
    w->mass = room(n, sizeof *w->mass, &ok);
    w->sum = room(n, sizeof *w->sum, &ok);
    w->map = room(n, sizeof *w->map, &ok);
    w->prev = room(n, sizeof *w->prev, &ok);
    w->queue = room(n, sizeof *w->queue, &ok);
    w->path = room(n, sizeof *w->path, &ok);
    w->few = room(n, sizeof *w->few, &ok);
    w->many = room(n, sizeof *w->many, &ok);
    if (ok)
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
    sm_free((*w)->map);
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

/* Ends of the clusters that save most at this price; returns how many there are, *saved what they save. */
static uint32_t solve(sm_kmeans *w, const problem *p, double price, uint32_t *ends, double *saved) {
    sm_kmeans_walk walk = {p->mass, p->sum, p->n, price, w->best, w->prev, w->queue};
    w->loops->walk(&walk);
    uint32_t k = 0, at = p->n;
    for (uint32_t j = p->n; j > 0; j = w->prev[j])
        k++;
    for (uint32_t c = k; c > 0; c--) {
        ends[c - 1] = at;
        at = w->prev[at];
    }
    *saved = w->best[p->n] + (double)k * price;
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

/* The price of k clusters on the power law through two sides, or of one side and the usual exponent. */
static double power_law(const side *few, const side *many, uint32_t k) {
    if (few->k == 0 || many->k == 0) {
        const side *at = few->k == 0 ? many : few;
        return at->price * pow((double)at->k / (double)k, 3.0);
    }
    double part = log((double)many->k / (double)k) / log((double)many->k / (double)few->k);
    return many->price * pow(few->price / many->price, part);
}

/* The next price to try between (or beyond) what is known. */
static double next_price(const side *few, const side *many, uint32_t k, double guess, int tries) {
    static const double beyond[GUESSES] = {1.0, 1.0, 1.03, 1.2, 1.5, 3.0, 10.0, 100.0};
    if (few->k == 0 && many->k == 0)
        return guess;
    if (many->k == 0)
        return tries < GUESSES ? power_law(few, many, k) / beyond[tries] : 0.0;
    if (few->k == 0)
        return tries < GUESSES && many->price > 0.0 ? power_law(few, many, k) * beyond[tries] : 2.0 * many->saved;
    double chord = (many->saved - few->saved) / (double)(many->k - few->k);
    if (tries % 2 == 1 || !(many->price > 0.0) || many->k - few->k == 2) /* then it is the middle of those for k */
        return chord;
    double price = power_law(few, many, k);
    return price > many->price && price < few->price ? price : chord;
}

/* A price for k that is not next to those for more or fewer clusters, from what the others save. */
static double inner_price(const side *few, const side *many, const side *now) {
    double usual = 1.0 + 1.5 / (double)now->k, lo = 0.0, hi = INFINITY;
    if (many->k > 0)
        lo = (many->saved - now->saved) / (double)(many->k - now->k);
    if (few->k > 0)
        hi = (now->saved - few->saved) / (double)(now->k - few->k);
    if (lo > 0.0 && hi < INFINITY)
        return sqrt(lo * hi);
    if (now->price < lo * usual)
        return lo * usual;
    return now->price > hi / usual ? hi / usual : now->price;
}

/* Both sides lie on one line, on which `now` lies as well: no price gives what is between them. */
static bool on_one_line(const side *few, const side *many, const side *now, double total) {
    double at = few->saved - (double)few->k * now->price, found = now->saved - (double)now->k * now->price;
    return now->k == few->k || now->k == many->k || found - at <= 1e-13 * total;
}

/* Where the i-th end of the best k clusters may be, given those of fewer and of more: the best paths of k and k + 1
 * clusters interlace. */
static void window(const sm_kmeans *w, const side *few, const side *many, uint32_t k, uint32_t n, uint32_t i,
                   uint32_t *lo, uint32_t *hi) {
    uint32_t less = k - few->k, more = many->k - k;
    uint32_t a = w->many[i], b = i < few->k ? w->few[i] : n;
    if (i >= less && w->few[i - less] > a)
        a = w->few[i - less];
    if (i + more < many->k && w->many[i + more] < b)
        b = w->many[i + more];
    *lo = a < b ? a : b; /* where costs are equal, rounding may turn them round */
    *hi = a < b ? b : a;
}

/* Numbers between which no end of the best k clusters can be become one; the rest is all in *p, w->map says where its
 * ends are.  False when that would not spare much, and nothing has changed. */
static bool narrow(sm_kmeans *w, problem *p, const side *few, const side *many, uint32_t k) {
    uint32_t lo, hi, n = 0, last = 0, at = 0;
    bool first = p->sum != w->sum;
    for (uint32_t i = 0; i < k; i++) {
        window(w, few, many, k, p->n, i, &lo, &hi);
        lo = lo > last ? lo : last + 1;
        n += hi >= lo ? hi - lo + 1 : 0;
        last = hi > last ? hi : last;
    }
    if (n > p->n - p->n / 4)
        return false;
    w->mass[0] = w->sum[0] = 0.0;
    last = 0;
    for (uint32_t i = 0; i < k; i++) {
        window(w, few, many, k, p->n, i, &lo, &hi);
        for (uint32_t e = lo > last ? lo : last + 1; e <= hi; e++) { /* never behind what is read */
            w->mass[++at] = p->mass[e];
            w->sum[at] = p->sum[e];
            w->map[at] = first ? e : w->map[e];
        }
        last = hi > last ? hi : last;
    }
    *p = (problem){w->mass, w->sum, at};
    return true;
}

static void every_number(uint32_t n, uint32_t *ends) {
    for (uint32_t i = 0; i < n; i++)
        ends[i] = i + 1;
}

/* w->path: the ends of the best k clusters, 2 < k < n.  *price: a guess, then one that is right for k. */
static void search(sm_kmeans *w, problem *p, uint32_t k, double *price) {
    side few = {0}, many = {0};
    for (int tries = 0, all = 0;; tries++, all++) {
        bool both = few.k > 0 && many.k > 0, chord = tries % 2 == 1 || (both && many.k - few.k == 2);
        if (both && all < TRIES_MAX && narrow(w, p, &few, &many, k)) {
            *price = next_price(&few, &many, k, 0.0, 0);
            few = many = (side){0};
            tries = 0;
            both = chord = false;
        }
        if (p->n == k) {
            every_number(k, w->path);
            return;
        }
        side now = {.price = next_price(&few, &many, k, *price, tries)};
        now.k = solve(w, p, now.price, w->path, &now.saved);
        if (now.k == k) {
            *price = inner_price(&few, &many, &now);
            return;
        }
        if (both && ((chord && on_one_line(&few, &many, &now, fabs(now.saved))) || all >= TRIES_MAX)) {
            cross(w->few, few.k, w->many, many.k, k, w->path);
            *price = now.price;
            return;
        }
        memcpy(now.k < k ? w->few : w->many, w->path, now.k * sizeof *w->path);
        if (now.k < k && !(now.price > 0.0)) { /* beside larger numbers, rounding hides what k clusters save */
            every_number(p->n, w->many);
            cross(w->few, now.k, w->many, p->n, k, w->path);
            *price = now.price;
            return;
        }
        *(now.k < k ? &few : &many) = now;
    }
}

/* Where cells of equal counts of numbers end, and the integral of density^(1/3) up to there. */
typedef struct cells {
    uint32_t n, end[CELLS + 1];
    double reach[CELLS + 1];
} cells;

static void measure(const problem *p, cells *c) {
    double mass = 0.0, mean = 0.0;
    c->n = p->n < CELLS ? p->n : CELLS;
    c->end[0] = 0;
    c->reach[0] = 0.0;
    for (uint32_t i = 1; i <= c->n; i++) {
        uint32_t from = c->end[i - 1], to = (uint32_t)((uint64_t)p->n * i / c->n);
        double m = p->mass[to] - p->mass[from], x = (p->sum[to] - p->sum[from]) / m;
        /* from one mean to the next, half of both masses: (mass / width)^(1/3) * width */
        double part = i == 1 ? 0.0 : 0.5 * cbrt(0.5 * (mass + m) * (x - mean) * (x - mean));
        c->reach[i - 1] += part;
        c->reach[i] = c->reach[i - 1] + part;
        c->end[i] = to;
        mass = m;
        mean = x;
    }
}

/* A price from what many clusters of numbers with density f cost, (integral of f^(1/3))^3 / (12 k^2) (Panter and Dite
 * 1951): minus its derivative by k. */
static double first_price(const cells *c, uint32_t k) {
    double all = c->reach[c->n];
    return all * all * all / (6.0 * (double)k * (double)k * (double)k);
}

/* The same numbers, neighbours merged to about n, as many in every cluster: best clusters are of equal integrals, too. */
static problem merged(sm_kmeans *w, const problem *p, const cells *c, uint32_t n) {
    uint32_t at = 0;
    double step = c->reach[c->n] / (double)n, next = step;
    w->mass[0] = w->sum[0] = 0.0;
    for (uint32_t i = 1; i <= c->n; i++) {
        uint32_t from = c->end[i - 1], to = c->end[i];
        double slope = (c->reach[i] - c->reach[i - 1]) / (double)(to - from);
        for (uint32_t e = from + 1; e <= to; e++) {
            double reach = c->reach[i - 1] + slope * (double)(e - from);
            if (reach < next && e < p->n)
                continue;
            w->mass[++at] = p->mass[e];
            w->sum[at] = p->sum[e];
            while (next <= reach)
                next += step;
        }
    }
    return (problem){w->mass, w->sum, at};
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
        ends[0] = w->loops->halves(mass, sum, n);
        ends[1] = n;
        return 2;
    }
    cells c;
    measure(&p, &c);
    double price = first_price(&c, want);
    if (n >= FINER * coarse) {
        problem few = merged(w, &p, &c, coarse);
        if (few.n > want)
            search(w, &few, want, &price);
    }
    search(w, &p, want, &price);
    for (uint32_t i = 0; i < want; i++)
        ends[i] = p.sum == w->sum ? w->map[w->path[i]] : w->path[i];
    return k;
}
