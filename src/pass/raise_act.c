/* SPDX-License-Identifier: MIT
 *
 * raise_act.c: activations that a program writes out, found in the row function behind their last product or quotient.
 *
 *     silu    x * sigmoid(x), x / (1 + e^-x)
 *     gelu    c x (1 + erf(x / sqrt 2)),  c x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))),  1 / 2 for c: factors may
 *             stand anywhere, and what they are besides 1 / 2 remains a factor
 *
 * Numbers are those within what fp16 rounds them to.
 */
#include "pass/raise_int.h"

#include <math.h>

#define CLOSE 1e-3

static bool close_to(double a, double b) {
    return fabs(a - b) <= CLOSE * fabs(b);
}

static const sm_node *def_of(const sm_value *v, sm_op op) {
    return v->def != NULL && v->def->op == op ? v->def : NULL;
}

/* v = *f * the result. */
static const sm_value *without_factors(const sm_value *v, double *f) {
    double c;
    *f = 1;
    for (const sm_node *d = v->def; d != NULL && (d->op == SM_OP_MUL || d->op == SM_OP_REAL_DIV); d = v->def) {
        const sm_value *x = sm_arg(d, "x"), *y = sm_arg(d, "y");
        if (sm_raise_scalar(y, &c) && y->type.rank == 0 && c != 0) {
            *f *= d->op == SM_OP_MUL ? c : 1 / c;
            v = x;
        } else if (d->op == SM_OP_MUL && sm_raise_scalar(x, &c) && x->type.rank == 0) {
            *f *= c;
            v = y;
        } else {
            break;
        }
    }
    return v;
}

/* v = 1 + the result; NULL: it is no such sum. */
static const sm_value *above_one(const sm_value *v) {
    const sm_node *d = def_of(v, SM_OP_ADD);
    double one;
    if (d == NULL)
        return NULL;
    const sm_value *x = sm_arg(d, "x"), *y = sm_arg(d, "y");
    if (sm_raise_scalar(y, &one) && one == 1)
        return x;
    return sm_raise_scalar(x, &one) && one == 1 ? y : NULL;
}

/* ------------------------------------------------------------------ powers of x */
static bool is_square(const sm_value *v, const sm_value *x) {
    const sm_node *d = v->def;
    double two;
    if (d == NULL)
        return false;
    return (d->op == SM_OP_MUL && sm_arg(d, "x") == x && sm_arg(d, "y") == x) ||
           (d->op == SM_OP_SQUARE && sm_arg(d, "x") == x) ||
           (d->op == SM_OP_POW && sm_arg(d, "x") == x && sm_raise_scalar(sm_arg(d, "y"), &two) && two == 2);
}

static bool is_cube(const sm_value *v, const sm_value *x) {
    const sm_node *d = v->def;
    double three;
    if (d == NULL)
        return false;
    if (d->op == SM_OP_POW)
        return sm_arg(d, "x") == x && sm_raise_scalar(sm_arg(d, "y"), &three) && three == 3;
    return d->op == SM_OP_MUL && ((sm_arg(d, "x") == x && is_square(sm_arg(d, "y"), x)) ||
                                  (sm_arg(d, "y") == x && is_square(sm_arg(d, "x"), x)));
}

/* x + 0.044715 x^3, or x (1 + 0.044715 x^2) */
static bool is_bent(const sm_value *v, const sm_value *x) {
    const sm_node *sum = def_of(v, SM_OP_ADD), *mul = def_of(v, SM_OP_MUL);
    const double bend = 0.044715;
    double a;
    if (sum != NULL) {
        const sm_value *other = sm_arg(sum, "x") == x ? sm_arg(sum, "y") : sm_arg(sum, "x");
        return (sm_arg(sum, "x") == x || sm_arg(sum, "y") == x) && is_cube(without_factors(other, &a), x) &&
               close_to(a, bend);
    }
    if (mul == NULL || (sm_arg(mul, "x") != x && sm_arg(mul, "y") != x))
        return false;
    const sm_value *rest = above_one(sm_arg(mul, "x") == x ? sm_arg(mul, "y") : sm_arg(mul, "x"));
    return rest != NULL && is_square(without_factors(rest, &a), x) && close_to(a, bend);
}

/* ------------------------------------------------------------------ activations */
/* 1 + erf or tanh of what makes a gelu of x: its mode. */
static const char *gelu_mode(const sm_value *v, const sm_value *x) {
    const sm_value *in = above_one(v);
    double f;
    if (in == NULL || in->def == NULL || (in->def->op != SM_OP_ERF && in->def->op != SM_OP_TANH))
        return NULL;
    const sm_value *u = without_factors(sm_arg(in->def, "x"), &f);
    if (in->def->op == SM_OP_ERF)
        return u == x && close_to(f, sqrt(0.5)) ? "EXACT" : NULL;
    return is_bent(u, x) && close_to(f, 0.7978845608) ? "TANH_APPROXIMATION" : NULL;
}

/* 1 + e^-x: x */
static sm_value *of_sigmoid(const sm_value *v) {
    const sm_value *in = above_one(v);
    const sm_node *e = in != NULL ? def_of(in, SM_OP_EXP) : NULL;
    double f;
    const sm_value *x = e != NULL ? without_factors(sm_arg(e, "x"), &f) : NULL;
    return x != NULL && f == -1 ? (sm_value *)x : NULL;
}

sm_value *sm_raise_product(sm_raise *z, sm_value *x, sm_value *y, double *f) {
    const sm_node *d = def_of(y, SM_OP_SIGMOID);
    *f = 1;
    if (d != NULL && sm_arg(d, "x") == x)
        return sm_build(z->b, SM_OP_SILU, NULL, "x", x, NULL);
    double a, b;
    const sm_value *base = without_factors(x, &a), *rest = without_factors(y, &b);
    const char *mode = gelu_mode(rest, base);
    if (mode == NULL)
        return NULL;
    *f = close_to(2 * a * b, 1) ? 1 : 2 * a * b;
    return sm_build(z->b, SM_OP_GELU, NULL, "x", (sm_value *)base, "mode", sm_const_str(z->b, mode), NULL);
}

sm_value *sm_raise_quotient(sm_raise *z, sm_value *x, sm_value *y) {
    sm_value *of = of_sigmoid(y);
    double one;
    if (of == NULL)
        return NULL;
    if (x == of)
        return sm_build(z->b, SM_OP_SILU, NULL, "x", of, NULL);
    return x == NULL || (sm_raise_scalar(x, &one) && one == 1) ? sm_build(z->b, SM_OP_SIGMOID, NULL, "x", of, NULL)
                                                               : NULL;
}
