/* SPDX-License-Identifier: MIT
 *
 * affine_loops.c: the loops over a block's elements that fitting a scale takes.
 *
 * Written once and compiled twice: for the build's own instruction set and, on x86-64, for AVX2.  Each step is a plain
 * loop over a batch that compilers turn into vector code (codes into a buffer), then sums over explicit vectors of
 * LANES, whose order is fixed.  Nothing is contracted or reordered, so both give the same bits.  f32 sums stay short:
 * after BATCH elements they go to f64.
 */
#include "tensor/affine_fit.h"

#include <string.h>

enum { LANES = 8, BATCH = 512 };

#define INLINE static inline __attribute__((always_inline))

/* LANES floats at any address. */
typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef float half_lanes __attribute__((vector_size(2 * LANES)));
#define LOAD(p) (*(const lanes *)(p))

INLINE double sum_of(const lanes *v) {
    half_lanes h[2];
    float f[4];
    memcpy(h, v, sizeof h);
    h[0] += h[1];
    memcpy(f, h, sizeof f);
    return (double)((f[0] + f[2]) + (f[1] + f[3]));
}

/* Nearest integer, ties to even, of |v| < 2^22: without a call, so that loops over it are vector code. */
INLINE float nearest(float v) {
    return (v + 12582912.0f) - 12582912.0f;
}

INLINE float clamp(float v, float lo, float hi) {
    v = v > lo ? v : lo;
    return v < hi ? v : hi;
}

/* The batch at x, whole lanes: where fewer than LANES are left, zeros fill up a copy of them. */
INLINE const float *batch_of(const float *x, size_t n, float tail[LANES], size_t *len) {
    *len = SM_MIN(n, (size_t)BATCH) / LANES * LANES;
    if (*len > 0)
        return x;
    memset(tail, 0, LANES * sizeof *tail);
    for (size_t i = 0; i < n; i++)
        tail[i] = x[i];
    *len = LANES;
    return tail;
}

/* Floats in the order of their values as whole numbers; not finite are those beyond INF either way. */
enum { INF = 0x7F800000 };

INLINE int32_t ordered(int32_t bits) {
    return bits ^ (bits >> 31 & INT32_MAX);
}

INLINE bool range_of(const float *x, size_t n, float *lo, float *hi) {
    int32_t least = INT32_MAX, most = INT32_MIN, bits;
    for (size_t i = 0; i < n; i++) {
        memcpy(&bits, x + i, 4);
        bits = ordered(bits);
        least = SM_MIN(least, bits);
        most = SM_MAX(most, bits);
    }
    bits = ordered(least);
    memcpy(lo, &bits, 4);
    bits = ordered(most);
    memcpy(hi, &bits, 4);
    return least > ~INF && most < INF;
}

INLINE void products_of(const float *x, size_t n, float inv, float lo, float hi, double *xd, double *dd) {
    float tail[LANES], d[BATCH];
    double sum_xd = 0.0, sum_dd = 0.0;
    for (size_t from = 0, len; from < n; from += len) {
        const float *a = batch_of(x + from, n - from, tail, &len);
        lanes xs = {0}, ds = {0};
        for (size_t i = 0; i < len; i++)
            d[i] = nearest(clamp(a[i] * inv, lo, hi));
        for (size_t i = 0; i < len; i += LANES) {
            lanes v = LOAD(d + i);
            xs += LOAD(a + i) * v;
            ds += v * v;
        }
        sum_xd += sum_of(&xs);
        sum_dd += sum_of(&ds);
    }
    *xd = sum_xd;
    *dd = sum_dd;
}

INLINE double error_of(const float *x, size_t n, float scale, float lo, float hi, double *xd, double *dd) {
    float tail[LANES], d[BATCH];
    double sum = 0.0, sum_xd = 0.0, sum_dd = 0.0;
    for (size_t from = 0, len; from < n; from += len) {
        const float *a = batch_of(x + from, n - from, tail, &len);
        lanes es = {0}, xs = {0}, ds = {0};
        for (size_t i = 0; i < len; i++)
            d[i] = nearest(clamp(a[i] / scale, lo, hi));
        for (size_t i = 0; i < len; i += LANES) {
            lanes v = LOAD(d + i), e = LOAD(a + i) - v * scale;
            es += e * e;
            xs += LOAD(a + i) * v;
            ds += v * v;
        }
        sum += sum_of(&es);
        sum_xd += sum_of(&xs);
        sum_dd += sum_of(&ds);
    }
    *xd = sum_xd;
    *dd = sum_dd;
    return sum;
}

INLINE void codes_of(const float *x, size_t n, float scale, float lo, float hi, int32_t add, int32_t *q) {
    for (size_t i = 0; i < n; i++)
        q[i] = (int32_t)nearest(clamp(x[i] / scale, lo, hi)) + add;
}

/* ------------------------------------------------------------------ plain C */

static bool range_c(const float *x, size_t n, float *lo, float *hi) {
    return range_of(x, n, lo, hi);
}

static void products_c(const float *x, size_t n, float inv, float lo, float hi, double *xd, double *dd) {
    products_of(x, n, inv, lo, hi, xd, dd);
}

static double error_c(const float *x, size_t n, float scale, float lo, float hi, double *xd, double *dd) {
    return error_of(x, n, scale, lo, hi, xd, dd);
}

static void codes_c(const float *x, size_t n, float scale, float lo, float hi, int32_t add, int32_t *q) {
    codes_of(x, n, scale, lo, hi, add, q);
}

const sm_fit_loops *sm_fit_loops_c(void) {
    static const sm_fit_loops loops = {"c", range_c, products_c, error_c, codes_c};
    return &loops;
}

/* ------------------------------------------------------------------ AVX2 */
#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2")))

AVX2 static bool range_avx2(const float *x, size_t n, float *lo, float *hi) {
    return range_of(x, n, lo, hi);
}

AVX2 static void products_avx2(const float *x, size_t n, float inv, float lo, float hi, double *xd, double *dd) {
    products_of(x, n, inv, lo, hi, xd, dd);
}

AVX2 static double error_avx2(const float *x, size_t n, float scale, float lo, float hi, double *xd, double *dd) {
    return error_of(x, n, scale, lo, hi, xd, dd);
}

AVX2 static void codes_avx2(const float *x, size_t n, float scale, float lo, float hi, int32_t add, int32_t *q) {
    codes_of(x, n, scale, lo, hi, add, q);
}

const sm_fit_loops *sm_fit_loops_best(void) {
    static const sm_fit_loops loops = {"avx2", range_avx2, products_avx2, error_avx2, codes_avx2};
    return __builtin_cpu_supports("avx2") ? &loops : sm_fit_loops_c();
}
#else
const sm_fit_loops *sm_fit_loops_best(void) {
    return sm_fit_loops_c();
}
#endif
