/* SPDX-License-Identifier: MIT
 *
 * loops.h: flat loops over floats, for programs as written: elementwise ops, softmax, norms, pools.
 *
 * One source (loops.inc), compiled once for each instruction set (loops_c.c, loops_avx2.c ...): compilers turn such loops
 * into vectors well.  Contraction is off and sums go by fixed lanes, so every set gives the same bits.
 *
 * e^x is good to about 2 ulp, 0 below -87.3; tanh and what is made of e^x follow.  erfc(z) is e^-z^2 times t e^P(t),
 * t = 1 / (1 + z / 2), with P fitted to 6e-9 by Chebyshev's nodes over 0 <= z <= 9.5: good to 1e-6 of its value, in the tail
 * too.
 */
#ifndef SM_LOOPS_H
#define SM_LOOPS_H

#include "backend/cpu/kernels.h"

typedef enum sm_unary_loop {
    SM_LU_ABS,
    SM_LU_CLIP, /* to a..b */
    SM_LU_EXP,
    SM_LU_INVERSE, /* 1 / (x + a) */
    SM_LU_LEAKY,   /* a * x below 0 */
    SM_LU_RELU,
    SM_LU_RSQRT, /* 1 / sqrt(x + a) */
    SM_LU_SCALE, /* x * a + b */
    SM_LU_SIGMOID,
    SM_LU_SILU,
    SM_LU_SQRT,
    SM_LU_SQUARE,
    SM_LU_TANH,
    SM_LU_ERF,
    SM_LU_GELU, /* x * (1 + erf(x / sqrt 2)) / 2 */
    SM_LU_GELU_TANH,
    SM_LU_GELU_SIGMOID, /* x * sigmoid(1.702 x) */
    SM_LU_COUNT
} sm_unary_loop;

typedef enum sm_binary_loop {
    SM_LB_ADD,
    SM_LB_SUB,
    SM_LB_MUL,
    SM_LB_DIV,
    SM_LB_MAX,
    SM_LB_MIN,
    SM_LB_COUNT
} sm_binary_loop;

typedef struct sm_loops {
    const char *isa;
    /* y[i] = f(x[i]); y may be x. */
    void (*unary[SM_LU_COUNT])(const float *x, int64_t n, float a, float b, float *y);
    /* z[i] = x[i * xs] op y[i * ys]; steps 0 or 1; z may be either. */
    void (*binary[SM_LB_COUNT])(const float *x, int xs, const float *y, int ys, int64_t n, float *z);
    void (*axpy)(float a, const float *x, int64_t n, float *y);                 /* y += a * x */
    void (*lerp)(const float *a, const float *b, float t, int64_t n, float *y); /* a + (b - a) * t */
    float (*dot)(const float *x, const float *y, int64_t n);
    double (*sum)(const float *x, int64_t n);
    double (*sum_square)(const float *x, int64_t n, float mean); /* of x - mean */
    float (*largest)(const float *x, int64_t n);                 /* n > 0 */
    /* In place; a row of nothing but -inf becomes zeros. */
    void (*softmax)(float *x, int64_t n);
} sm_loops;

/* The table for instruction set `cap`, or what the machine has below it. */
void sm_loops_init(sm_loops *l, sm_isa cap);

/* One per file. */
void sm_loops_init_c(sm_loops *l);
void sm_loops_init_avx2(sm_loops *l);
void sm_loops_init_avx512(sm_loops *l);

#endif
