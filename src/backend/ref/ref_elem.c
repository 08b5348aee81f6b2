/* SPDX-License-Identifier: MIT
 *
 * ref_elem.c: elementwise ops.
 *
 * Transcendental functions are computed in f64 and rounded once, so that the answer does not depend on a libm's float
 * versions.  Integers wrap to their dtype; division of integers by zero gives 0.
 */
#include <math.h>
#include <string.h>

#include "backend/ref/ref_int.h"

/* ---- one operand ---- */

typedef struct params {
    float a, b; /* alpha or epsilon, beta */
} params;
typedef struct unary_fn {
    float (*f)(float x, const params *p);
    int64_t (*i)(int64_t x, const params *p); /* NULL: not for integers */
} unary_fn;

static float sigmoid_hard(float x) {
    return x < 0 ? 0 : x > 1 ? 1 : x;
}

#define UNARY(name, expr)                                                                                              \
    static float name(float x, const params *p) {                                                                      \
        (void)p;                                                                                                       \
        return (float)(expr);                                                                                          \
    }
#define D ((double)x)
UNARY(abs_f, fabsf(x))
UNARY(acos_f, acos(D))
UNARY(asin_f, asin(D))
UNARY(atan_f, atan(D))
UNARY(atanh_f, atanh(D))
UNARY(ceil_f, ceilf(x))
UNARY(clamped_relu_f, fminf(x >= 0 ? x : x * p->a, p->b))
UNARY(clip_f, x<p->a ? p->a : x> p->b ? p->b : x)
UNARY(cos_f, cos(D))
UNARY(cosh_f, cosh(D))
UNARY(elu_f, x >= 0 ? D : (double)p->a * expm1(D))
UNARY(erf_f, erf(D))
UNARY(exp_f, exp(D))
UNARY(exp2_f, exp2(D))
UNARY(floor_f, floorf(x))
UNARY(inverse_f, 1.0f / (x + p->a))
UNARY(leaky_relu_f, x >= 0 ? x : x * p->a)
UNARY(linear_f, x * p->a + p->b)
UNARY(log_f, log((double)(x + p->a)))
UNARY(logical_not_f, x == 0)
UNARY(relu_f, x < 0 ? 0 : x)
UNARY(relu6_f, x<0 ? 0 : x> 6 ? 6 : x)
UNARY(round_f, rintf(x))
UNARY(rsqrt_f, 1.0 / sqrt((double)(x + p->a)))
UNARY(scaled_tanh_f, (double)p->a *tanh((double)p->b *D))
UNARY(sigmoid_f, 1.0 / (1.0 + exp(-D)))
UNARY(sigmoid_hard_f, sigmoid_hard(x * p->a + p->b))
UNARY(sign_f, (x > 0) - (x < 0))
UNARY(silu_f, ref_silu(x))
UNARY(sin_f, sin(D))
UNARY(sinh_f, sinh(D))
UNARY(softplus_f, x > 0 ? D + log1p(exp(-D)) : log1p(exp(D)))
UNARY(softsign_f, D / (1 + fabs(D)))
UNARY(sqrt_f, sqrtf(x))
UNARY(square_f, x *x)
UNARY(tan_f, tan(D))
UNARY(tanh_f, tanh(D))
UNARY(threshold_f, x < p->a ? p->a : x)
UNARY(thresholded_relu_f, x < p->a ? 0 : x)
#undef D

float ref_silu(float x) {
    return (float)((double)x / (1.0 + exp(-(double)x)));
}

float ref_gelu(float x) {
    return (float)(0.5 * (double)x * (1.0 + erf((double)x / sqrt(2.0))));
}

float ref_gelu_tanh(float x) {
    double d = (double)x;
    return (float)(0.5 * d * (1.0 + tanh(sqrt(2.0 / 3.14159265358979323846) * (d + 0.044715 * d * d * d))));
}

/* Truncated, within what an int64 holds. */
static int64_t whole(float x) {
    return isnan(x) ? 0 : x >= 9e18f ? INT64_MAX : x <= -9e18f ? INT64_MIN : (int64_t)x;
}

static float gelu_sigmoid(float x) {
    return (float)((double)x / (1.0 + exp(-1.702 * (double)x)));
}

/* 2^x, 0 below 1; what is too large wraps. */
static int64_t exp2_whole(int64_t x) {
    return x < 0 || x > 63 ? 0 : (int64_t)(UINT64_C(1) << x);
}

#define UNARY_INT(name, expr)                                                                                          \
    static int64_t name(int64_t x, const params *p) {                                                                  \
        (void)p;                                                                                                       \
        return (expr);                                                                                                 \
    }
UNARY_INT(abs_i, x < 0 ? (int64_t)(0 - (uint64_t)x) : x)
UNARY_INT(clip_i, (double)x<(double)p->a ? whole(p->a) : (double)x>(double) p->b ? whole(p->b) : x)
UNARY_INT(exp2_i, exp2_whole(x))
UNARY_INT(not_i, x == 0)
UNARY_INT(relu_i, x < 0 ? 0 : x)
UNARY_INT(relu6_i, x<0 ? 0 : x> 6 ? 6 : x)
UNARY_INT(same_i, x)
UNARY_INT(sign_i, (x > 0) - (x < 0))
UNARY_INT(square_i, (int64_t)((uint64_t)x *(uint64_t)x))
UNARY_INT(threshold_i, (double)x < (double)p->a ? whole(p->a) : x)

static const unary_fn unary[SM_OP_COUNT_] = {
    [SM_OP_ABS] = {abs_f, abs_i},
    [SM_OP_ACOS] = {acos_f, NULL},
    [SM_OP_ASIN] = {asin_f, NULL},
    [SM_OP_ATAN] = {atan_f, NULL},
    [SM_OP_ATANH] = {atanh_f, NULL},
    [SM_OP_CEIL] = {ceil_f, same_i},
    [SM_OP_CLAMPED_RELU] = {clamped_relu_f, NULL},
    [SM_OP_CLIP] = {clip_f, clip_i},
    [SM_OP_COS] = {cos_f, NULL},
    [SM_OP_COSH] = {cosh_f, NULL},
    [SM_OP_ELU] = {elu_f, NULL},
    [SM_OP_ERF] = {erf_f, NULL},
    [SM_OP_EXP] = {exp_f, NULL},
    [SM_OP_EXP2] = {exp2_f, exp2_i},
    [SM_OP_FLOOR] = {floor_f, same_i},
    [SM_OP_INVERSE] = {inverse_f, NULL},
    [SM_OP_LEAKY_RELU] = {leaky_relu_f, NULL},
    [SM_OP_LINEAR_ACTIVATION] = {linear_f, NULL},
    [SM_OP_LOG] = {log_f, NULL},
    [SM_OP_LOGICAL_NOT] = {logical_not_f, not_i},
    [SM_OP_RELU] = {relu_f, relu_i},
    [SM_OP_RELU6] = {relu6_f, relu6_i},
    [SM_OP_ROUND] = {round_f, same_i},
    [SM_OP_RSQRT] = {rsqrt_f, NULL},
    [SM_OP_SCALED_TANH] = {scaled_tanh_f, NULL},
    [SM_OP_SIGMOID] = {sigmoid_f, NULL},
    [SM_OP_SIGMOID_HARD] = {sigmoid_hard_f, NULL},
    [SM_OP_SIGN] = {sign_f, sign_i},
    [SM_OP_SILU] = {silu_f, NULL},
    [SM_OP_SIN] = {sin_f, NULL},
    [SM_OP_SINH] = {sinh_f, NULL},
    [SM_OP_SOFTPLUS] = {softplus_f, NULL},
    [SM_OP_SOFTSIGN] = {softsign_f, NULL},
    [SM_OP_SQRT] = {sqrt_f, NULL},
    [SM_OP_SQUARE] = {square_f, square_i},
    [SM_OP_TAN] = {tan_f, NULL},
    [SM_OP_TANH] = {tanh_f, NULL},
    [SM_OP_THRESHOLD] = {threshold_f, threshold_i},
    [SM_OP_THRESHOLDED_RELU] = {thresholded_relu_f, NULL},
};

sm_status ref_unary(ref_call *c) {
    sm_op op = c->node->op;
    const ref_val *x = ref_in(c, "x");
    params p = {0};
    if (sm_op_slot(op, "alpha") >= 0)
        p.a = (float)ref_num(c, "alpha");
    if (sm_op_slot(op, "epsilon") >= 0)
        p.a = (float)ref_num(c, "epsilon");
    if (sm_op_slot(op, "beta") >= 0)
        p.b = (float)ref_num(c, "beta");
    if (!ref_is_float(x) && unary[op].i == NULL)
        return SM_FAIL(c->err, SM_UNSUPPORTED, "not for %s", sm_dtype_name(x->dtype));
    SM_TRY(ref_result_like(c, 0, x));
    ref_val *y = ref_out(c, 0);
    if (ref_is_float(x))
        for (int64_t i = 0; i < x->n; i++)
            y->f[i] = unary[op].f(x->f[i], &p);
    else
        for (int64_t i = 0; i < x->n; i++)
            y->i[i] = ref_wrap(y->dtype, unary[op].i(x->i[i], &p));
    return SM_OK;
}

sm_status ref_identity(ref_call *c) {
    ref_share(ref_out(c, 0), ref_in(c, "x"));
    return SM_OK;
}

sm_status ref_gelu_op(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    float (*f)(float) = ref_str_is(c, "mode", "EXACT")                   ? ref_gelu
                        : ref_str_is(c, "mode", "TANH_APPROXIMATION")    ? ref_gelu_tanh
                        : ref_str_is(c, "mode", "SIGMOID_APPROXIMATION") ? gelu_sigmoid
                                                                         : NULL;
    if (f == NULL || !ref_is_float(x))
        return SM_FAIL(c->err, SM_UNSUPPORTED,
                       "mode must be EXACT, TANH_APPROXIMATION or SIGMOID_APPROXIMATION, of floats");
    SM_TRY(ref_result_like(c, 0, x));
    for (int64_t i = 0; i < x->n; i++)
        ref_out(c, 0)->f[i] = f(x->f[i]);
    return SM_OK;
}

/* prelu, softplus_parametric: parameters by index of axis 1. */
sm_status ref_channels(ref_call *c) {
    const ref_val *x = ref_in(c, "x"), *alpha = ref_in(c, "alpha");
    const ref_val *beta = c->node->op == SM_OP_PRELU ? alpha : ref_in(c, "beta");
    if (x->rank < 2 || !ref_is_float(x) || !ref_is_float(alpha) || !ref_is_float(beta) || alpha->n != x->dims[1] ||
        beta->n != x->dims[1])
        return SM_FAIL(c->err, SM_BADINPUT, "wanted floats [n, channels, ...] and a parameter for each channel");
    SM_TRY(ref_result_like(c, 0, x));
    float *y = ref_out(c, 0)->f;
    int64_t inner = ref_extent(x, 2, x->rank);
    for (int64_t i = 0; i < x->n; i++) {
        int64_t k = i / inner % x->dims[1];
        float v = x->f[i];
        if (c->node->op == SM_OP_PRELU)
            y[i] = v >= 0 ? v : v * alpha->f[k];
        else
            y[i] = alpha->f[k] * softplus_f(v * beta->f[k], NULL);
    }
    return SM_OK;
}

/* Truncated and saturated; NaN gives 0. */
static int64_t to_int(sm_dtype t, float x) {
    if (t == SM_BOOL || isnan(x))
        return t == SM_BOOL && x != 0;
    if ((double)x >= (double)sm_dtype_max(t))
        return sm_dtype_max(t);
    return (double)x <= (double)sm_dtype_min(t) ? sm_dtype_min(t) : (int64_t)x;
}

/* An integer that becomes fp16 rounds to it, as any consumer would see it; floats are never rounded on the way. */
sm_status ref_cast(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    sm_sv name;
    sm_dtype t = sm_arg_str(c->node, "dtype", &name) ? sm_dtype_of_name(name) : SM_NONE;
    if (t == SM_NONE || t == SM_STRING)
        return SM_FAIL(c->err, SM_UNSUPPORTED, "unknown dtype %s", sm_quote(name.p, name.n));
    SM_TRY(ref_result_raw(c, 0, t, x->rank, x->dims));
    ref_val *y = ref_out(c, 0);
    for (int64_t i = 0; i < x->n; i++) {
        if (ref_is_float(y))
            y->f[i] = ref_is_float(x) ? x->f[i] : t == SM_FP16 ? sm_round_f16((float)x->i[i]) : (float)x->i[i];
        else
            y->i[i] = ref_is_float(x) ? to_int(t, x->f[i]) : ref_wrap(t, x->i[i]);
    }
    return SM_OK;
}

/* ---- two operands ---- */

static int64_t floor_div_i(int64_t x, int64_t y) {
    if (y == 0 || y == -1)
        return (int64_t)(y == 0 ? 0 : 0 - (uint64_t)x);
    return x / y - (x % y != 0 && (x < 0) != (y < 0));
}

static int64_t pow_i(int64_t x, int64_t y) {
    if (y < 0)
        return x == 1 ? 1 : x == -1 ? (y % 2 != 0 ? -1 : 1) : 0;
    uint64_t r = 1, b = (uint64_t)x;
    for (; y > 0; y >>= 1, b *= b)
        if (y & 1)
            r *= b;
    return (int64_t)r;
}

static int64_t binary_i(sm_op op, int64_t x, int64_t y) {
    uint64_t a = (uint64_t)x, b = (uint64_t)y;
    switch (op) {
    case SM_OP_ADD:
        return (int64_t)(a + b);
    case SM_OP_SUB:
        return (int64_t)(a - b);
    case SM_OP_MUL:
        return (int64_t)(a * b);
    case SM_OP_REAL_DIV:
        return y == 0 ? 0 : y == -1 ? (int64_t)(0 - a) : x / y;
    case SM_OP_FLOOR_DIV:
        return floor_div_i(x, y);
    case SM_OP_MOD:
        return y == 0 ? 0 : (int64_t)(a - b * (uint64_t)floor_div_i(x, y));
    case SM_OP_MAXIMUM:
        return x > y ? x : y;
    case SM_OP_MINIMUM:
        return x < y ? x : y;
    default:
        return pow_i(x, y);
    }
}

static float mod_f(float x, float y) {
    float r = fmodf(x, y);
    return r != 0 && (r < 0) != (y < 0) ? r + y : r;
}

static float binary_f(sm_op op, float x, float y) {
    switch (op) {
    case SM_OP_ADD:
        return x + y;
    case SM_OP_SUB:
        return x - y;
    case SM_OP_MUL:
        return x * y;
    case SM_OP_REAL_DIV:
        return x / y;
    case SM_OP_FLOOR_DIV:
        return (float)floor((double)x / (double)y);
    case SM_OP_MOD:
        return mod_f(x, y);
    case SM_OP_MAXIMUM: /* a NaN on either side stays */
        return x > y || isnan(x) ? x : y;
    case SM_OP_MINIMUM:
        return x < y || isnan(x) ? x : y;
    default:
        return (float)pow((double)x, (double)y);
    }
}

static bool compare_i(sm_op op, int64_t x, int64_t y) {
    switch (op) {
    case SM_OP_EQUAL:
        return x == y;
    case SM_OP_NOT_EQUAL:
        return x != y;
    case SM_OP_LESS:
        return x < y;
    case SM_OP_LESS_EQUAL:
        return x <= y;
    case SM_OP_GREATER:
        return x > y;
    case SM_OP_GREATER_EQUAL:
        return x >= y;
    case SM_OP_LOGICAL_AND:
        return x != 0 && y != 0;
    case SM_OP_LOGICAL_OR:
        return x != 0 || y != 0;
    default:
        return (x != 0) != (y != 0);
    }
}

static bool compare_f(sm_op op, float x, float y) {
    switch (op) {
    case SM_OP_EQUAL:
        return x == y;
    case SM_OP_NOT_EQUAL:
        return x != y;
    case SM_OP_LESS:
        return x < y;
    case SM_OP_LESS_EQUAL:
        return x <= y;
    case SM_OP_GREATER:
        return x > y;
    case SM_OP_GREATER_EQUAL:
        return x >= y;
    default:
        return compare_i(op, x != 0, y != 0);
    }
}

/* Makes the result of x and y broadcast against each other, of dtype t, and a walk over result, x, y. */
static sm_status binary_start(ref_call *c, sm_dtype t, ref_walk *w) {
    const ref_val *x = ref_in(c, "x"), *y = ref_in(c, "y");
    int64_t dims[SM_MAX_RANK];
    int rank = x->rank;
    if (ref_is_float(x) != ref_is_float(y))
        return SM_FAIL(c->err, SM_BADINPUT, "operands are %s and %s", sm_dtype_name(x->dtype), sm_dtype_name(y->dtype));
    memcpy(dims, x->dims, sizeof dims);
    SM_TRY(ref_broadcast(&rank, dims, y, c->err));
    SM_TRY(ref_result_raw(c, 0, t, rank, dims));
    ref_walk_init(w, rank, dims);
    ref_walk_broadcast(w, ref_out(c, 0));
    ref_walk_broadcast(w, x);
    ref_walk_broadcast(w, y);
    return SM_OK;
}

sm_status ref_binary(ref_call *c) {
    sm_op op = c->node->op;
    const ref_val *x = ref_in(c, "x"), *y = ref_in(c, "y");
    ref_walk w;
    SM_TRY(binary_start(c, x->dtype, &w));
    ref_val *r = ref_out(c, 0);
    for (bool more = ref_walk_start(&w); more; more = ref_walk_next(&w)) {
        for (int64_t i = 0; i < w.inner; i++) {
            int64_t o = w.off[0] + i * w.step[0], a = w.off[1] + i * w.step[1], b = w.off[2] + i * w.step[2];
            if (ref_is_float(x))
                r->f[o] = binary_f(op, x->f[a], y->f[b]);
            else
                r->i[o] = ref_wrap(r->dtype, binary_i(op, x->i[a], y->i[b]));
        }
    }
    return SM_OK;
}

sm_status ref_compare(ref_call *c) {
    sm_op op = c->node->op;
    const ref_val *x = ref_in(c, "x"), *y = ref_in(c, "y");
    ref_walk w;
    SM_TRY(binary_start(c, SM_BOOL, &w));
    for (bool more = ref_walk_start(&w); more; more = ref_walk_next(&w)) {
        int64_t *r = ref_out(c, 0)->i + w.off[0];
        for (int64_t i = 0; i < w.inner; i++) {
            int64_t a = w.off[1] + i * w.step[1], b = w.off[2] + i * w.step[2];
            r[i] = ref_is_float(x) ? compare_f(op, x->f[a], y->f[b]) : compare_i(op, x->i[a], y->i[b]);
        }
    }
    return SM_OK;
}

sm_status ref_select(ref_call *c) {
    const ref_val *cond = ref_in(c, "cond"), *a = ref_in(c, "a"), *b = ref_in(c, "b");
    int64_t dims[SM_MAX_RANK];
    int rank = a->rank;
    if (ref_is_float(a) != ref_is_float(b))
        return SM_FAIL(c->err, SM_BADINPUT, "operands are %s and %s", sm_dtype_name(a->dtype), sm_dtype_name(b->dtype));
    memcpy(dims, a->dims, sizeof dims);
    SM_TRY(ref_broadcast(&rank, dims, b, c->err));
    SM_TRY(ref_broadcast(&rank, dims, cond, c->err));
    SM_TRY(ref_result_raw(c, 0, a->dtype, rank, dims));
    ref_walk w;
    ref_walk_init(&w, rank, dims);
    ref_walk_broadcast(&w, cond);
    ref_walk_broadcast(&w, a);
    ref_walk_broadcast(&w, b);
    size_t size = ref_elem_size(a);
    char *r = ref_out(c, 0)->p;
    for (bool more = ref_walk_start(&w); more; more = ref_walk_next(&w)) {
        for (int64_t i = 0; i < w.inner; i++, r += size) {
            bool yes = ref_elem(cond, w.off[0] + i * w.step[0]) != 0;
            memcpy(r,
                   yes ? (const char *)a->p + (w.off[1] + i * w.step[1]) * (int64_t)size
                       : (const char *)b->p + (w.off[2] + i * w.step[2]) * (int64_t)size,
                   size);
        }
    }
    return SM_OK;
}
