/* SPDX-License-Identifier: MIT
 *
 * kmeans_walk.c: one walk over the numbers at one price (kmeans.h), one body compiled for C, AVX2 and AVX-512.
 *
 * Starts come into the queue in order, each with the first end from which on it is better than the one before it.  That
 * end is most often one of the next few, so eight ends are looked at together, without a branch between them; only when
 * none of them will do is it searched for.
 */
#include "tensor/kmeans_walk.h"

#include <stdbool.h>
#include <stddef.h>

#include "base/isa.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

enum { LANES = 8 };

/* Of a later start b and an earlier one a; b is better for an end e where
 * best_b + saving(b, e) > best_a + saving(a, e), written without divisions. */
typedef struct rivals {
    const double *mass, *sum;
    double mass_a, sum_a, mass_b, sum_b, ahead; /* ahead: best_b - best_a */
} rivals;

INLINE rivals rivals_of(const sm_kmeans_walk *w, uint32_t a, uint32_t b) {
    return (rivals){w->mass, w->sum, w->mass[a], w->sum[a], w->mass[b], w->sum[b], w->best[b] - w->best[a]};
}

INLINE bool better(const rivals *r, uint32_t e) {
    double na = r->mass[e] - r->mass_a, sa = r->sum[e] - r->sum_a;
    double nb = r->mass[e] - r->mass_b, sb = r->sum[e] - r->sum_b;
    return r->ahead * na * nb + sb * sb * na > sa * sa * nb;
}

/* Which of ends e .. e + 7 is the first where b is better; 8 for none. */
typedef uint32_t first_fn(const rivals *r, uint32_t e);

INLINE uint32_t first_c(const rivals *r, uint32_t e) {
    uint32_t i = 0;
    while (i < LANES && !better(r, e + i))
        i++;
    return i;
}

/* The first end in [lo, n] where b is better than a, n + 1 for none: once better, a later start stays better. */
INLINE uint32_t far_takeover(const rivals *r, uint32_t lo, uint32_t n) {
    uint32_t step = LANES, hi = lo;
    while (hi <= n && !better(r, hi)) {
        lo = hi + 1;
        hi += step;
        step *= 2;
    }
    if (hi > n) {
        hi = n;
        if (lo > hi || !better(r, hi))
            return n + 1;
    }
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (better(r, mid))
            hi = mid;
        else
            lo = mid + 1;
    }
    return hi;
}

INLINE uint32_t takeover(const rivals *r, uint32_t e, uint32_t n, first_fn *first) {
    if (n < LANES || e > n - (LANES - 1))
        return far_takeover(r, e, n);
    uint32_t i = first(r, e);
    return i < LANES ? e + i : far_takeover(r, e + LANES, n);
}

/* Start j into the queue [head, *tail), after those that it is better than from their first ends on have left. */
INLINE void enter(const sm_kmeans_walk *w, uint32_t j, size_t head, size_t *tail, first_fn *first) {
    sm_kmeans_start *q = w->queue;
    uint32_t n = w->n;
    for (;;) {
        size_t t = *tail;
        uint32_t owned = q[t - 1].from, lo = owned > j ? owned : j + 1, from;
        rivals r = rivals_of(w, q[t - 1].at, j);
        if (t - head > 1 && q[t - 2].from > j && n >= LANES && owned <= n - (LANES - 1)) {
            /* Every other time the last one leaves, in no order that a processor could guess: so the one before it is
             * looked at as well, and one of both taken without a branch. */
            rivals before = rivals_of(w, q[t - 2].at, j);
            uint32_t i = first(&r, owned), i_before = first(&before, q[t - 2].from);
            bool leaves = i == 0;
            i = leaves ? i_before : i;
            lo = leaves ? q[t - 2].from : owned;
            t -= leaves;
            if (i == 0) {
                *tail = t - 1;
                continue;
            }
            r = leaves ? before : r;
            from = i < LANES ? lo + i : far_takeover(&r, lo + LANES, n);
        } else {
            if (lo > n)
                return;
            from = takeover(&r, lo, n, first);
            if (from == owned && t - head > 1) { /* better from the other's first end on */
                *tail = t - 1;
                continue;
            }
        }
        if (from <= n)
            q[t++] = (sm_kmeans_start){j, from};
        *tail = t;
        return;
    }
}

INLINE void walk_with(const sm_kmeans_walk *w, first_fn *first) {
    sm_kmeans_start *q = w->queue;
    size_t head = 0, tail = 1; /* [head, tail) */
    double *best = w->best;
    best[0] = 0.0;
    q[0] = (sm_kmeans_start){0, 1};
    for (uint32_t j = 1; j <= w->n; j++) {
        while (tail - head > 1 && q[head + 1].from <= j)
            head++;
        uint32_t i = q[head].at;
        double s = w->sum[j] - w->sum[i];
        best[j] = best[i] + s * s / (w->mass[j] - w->mass[i]) - w->price;
        w->prev[j] = i;
        enter(w, j, head, &tail, first);
    }
}

/* Every end is tried, each lane those of its own; the first of equals wins. */
INLINE uint32_t halves_with(const double *mass, const double *sum, uint32_t n) {
    double most[LANES], at[LANES], all_m = mass[n], all_s = sum[n];
    uint32_t i = 1;
    for (int l = 0; l < LANES; l++)
        most[l] = at[l] = -1.0;
    for (; i + LANES <= n; i += LANES) {
        double here = (double)i;
        for (int l = 0; l < LANES; l++) {
            double m = mass[i + (uint32_t)l], s = sum[i + (uint32_t)l], r = all_s - s;
            double saved = s * s / m + r * r / (all_m - m);
            at[l] = saved > most[l] ? here : at[l];
            most[l] = saved > most[l] ? saved : most[l];
        }
    }
    double top = -1.0, end = (double)n;
    for (int l = 0; l < LANES; l++) {
        double e = at[l] + (double)l;
        if (most[l] > top || (most[l] == top && e < end)) {
            top = most[l];
            end = e;
        }
    }
    for (; i < n; i++) {
        double m = mass[i], s = sum[i], r = all_s - s;
        double saved = s * s / m + r * r / (all_m - m);
        end = saved > top ? (double)i : end;
        top = saved > top ? saved : top;
    }
    return (uint32_t)end;
}

/* ------------------------------------------------------------------ plain C */

static void walk_c(const sm_kmeans_walk *w) {
    walk_with(w, first_c);
}

static uint32_t halves_c(const double *mass, const double *sum, uint32_t n) {
    return halves_with(mass, sum, n);
}

const sm_kmeans_loops *sm_kmeans_loops_c(void) {
    static const sm_kmeans_loops loops = {walk_c, halves_c};
    return &loops;
}

/* ------------------------------------------------------------------ AVX2, AVX-512 */
#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2")))
#define AVX512 __attribute__((target("avx2,avx512f,avx512bw,avx512vl,avx512dq")))

AVX2 INLINE uint32_t four_avx2(const rivals *r, uint32_t e) {
    __m256d m = _mm256_loadu_pd(r->mass + e), s = _mm256_loadu_pd(r->sum + e);
    __m256d na = _mm256_sub_pd(m, _mm256_set1_pd(r->mass_a)), sa = _mm256_sub_pd(s, _mm256_set1_pd(r->sum_a));
    __m256d nb = _mm256_sub_pd(m, _mm256_set1_pd(r->mass_b)), sb = _mm256_sub_pd(s, _mm256_set1_pd(r->sum_b));
    __m256d late = _mm256_add_pd(_mm256_mul_pd(_mm256_mul_pd(_mm256_set1_pd(r->ahead), na), nb),
                                 _mm256_mul_pd(_mm256_mul_pd(sb, sb), na));
    __m256d early = _mm256_mul_pd(_mm256_mul_pd(sa, sa), nb);
    return (uint32_t)_mm256_movemask_pd(_mm256_cmp_pd(late, early, _CMP_GT_OQ));
}

AVX2 INLINE uint32_t first_avx2(const rivals *r, uint32_t e) {
    return (uint32_t)__builtin_ctz(four_avx2(r, e) | four_avx2(r, e + 4) << 4 | 1u << LANES);
}

AVX2 static void walk_avx2(const sm_kmeans_walk *w) {
    walk_with(w, first_avx2);
}

AVX2 static uint32_t halves_avx2(const double *mass, const double *sum, uint32_t n) {
    return halves_with(mass, sum, n);
}

AVX512 INLINE uint32_t first_avx512(const rivals *r, uint32_t e) {
    __m512d m = _mm512_loadu_pd(r->mass + e), s = _mm512_loadu_pd(r->sum + e);
    __m512d na = _mm512_sub_pd(m, _mm512_set1_pd(r->mass_a)), sa = _mm512_sub_pd(s, _mm512_set1_pd(r->sum_a));
    __m512d nb = _mm512_sub_pd(m, _mm512_set1_pd(r->mass_b)), sb = _mm512_sub_pd(s, _mm512_set1_pd(r->sum_b));
    __m512d late = _mm512_add_pd(_mm512_mul_pd(_mm512_mul_pd(_mm512_set1_pd(r->ahead), na), nb),
                                 _mm512_mul_pd(_mm512_mul_pd(sb, sb), na));
    __m512d early = _mm512_mul_pd(_mm512_mul_pd(sa, sa), nb);
    return (uint32_t)__builtin_ctz((uint32_t)_mm512_cmp_pd_mask(late, early, _CMP_GT_OQ) | 1u << LANES);
}

AVX512 static void walk_avx512(const sm_kmeans_walk *w) {
    walk_with(w, first_avx512);
}

const sm_kmeans_loops *sm_kmeans_loops_best(void) {
    static const sm_kmeans_loops avx2 = {walk_avx2, halves_avx2}, avx512 = {walk_avx512, halves_avx2};
    sm_isa isa;
    if (sm_isa_choose(&isa, NULL) != SM_OK || isa < SM_ISA_AVX2)
        return sm_kmeans_loops_c();
    return isa >= SM_ISA_AVX512 ? &avx512 : &avx2;
}
#else
const sm_kmeans_loops *sm_kmeans_loops_best(void) {
    return sm_kmeans_loops_c();
}
#endif
