/* SPDX-License-Identifier: MIT
 *
 * kcheck_loops.c: the loops of programs as written (loops.h): every set gives the bits of plain C, and plain C what libm
 * gives in f64, within a budget.
 *
 * Budgets, in ulp: e^x and what divides by it 4 (below 2^-126, where numbers thin out, the difference is measured against
 * 2^-126); tanh 6, erf 9; gelu 14, and as much again for what x^2 rounds to in the tail.
 */
#include "kcheck.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backend/cpu/loops.h"

static const int lens[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 64, 100, 1023, 1024, 1025, 2049};
enum { N_LENS = sizeof lens / sizeof *lens };

static const char *const unary_names[SM_LU_COUNT] = {
    [SM_LU_ABS] = "abs",
    [SM_LU_CLIP] = "clip",
    [SM_LU_EXP] = "exp",
    [SM_LU_INVERSE] = "inverse",
    [SM_LU_LEAKY] = "leaky",
    [SM_LU_RELU] = "relu",
    [SM_LU_RSQRT] = "rsqrt",
    [SM_LU_SCALE] = "scale",
    [SM_LU_SIGMOID] = "sigmoid",
    [SM_LU_SILU] = "silu",
    [SM_LU_SQRT] = "sqrt",
    [SM_LU_SQUARE] = "square",
    [SM_LU_TANH] = "tanh",
    [SM_LU_ERF] = "erf",
    [SM_LU_GELU] = "gelu",
    [SM_LU_GELU_TANH] = "gelu_tanh",
    [SM_LU_GELU_SIGMOID] = "gelu_sigmoid",
};
static const char *const binary_names[SM_LB_COUNT] = {"add", "sub", "mul", "div", "max", "min"};

/* Infinities, NaN and numbers at the ends among the others. */
static float *mixed(kc *k, int n) {
    static const float odd[] = {INFINITY, -INFINITY, NAN, 0.0f, -0.0f, 89.5f, -87.5f, -104.5f, 1e30f, -1e30f, 1e-30f};
    float *x = kc_floats(k, (size_t)n, 20.0f);
    for (int i = 0; i < n / 8; i++)
        x[kc_below(k, n)] = odd[kc_below(k, (int)(sizeof odd / sizeof *odd))];
    return x;
}

/* Bits; any NaN is a NaN. */
static bool same(const float *a, const float *b, int n) {
    for (int i = 0; i < n; i++)
        if (memcmp(a + i, b + i, sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i])))
            return false;
    return true;
}

static void check_unary(kc *k, const sm_loops *c, const sm_loops *now, int f) {
    bool ok = true;
    for (int i = 0; i < N_LENS; i++) {
        int n = lens[i];
        float *x = mixed(k, n), *want = kc_buf(k, (size_t)n * 4, 0), *got = kc_buf(k, (size_t)n * 4, 4);
        c->unary[f](x, n, 0.25f, 1.5f, want);
        now->unary[f](x, n, 0.25f, 1.5f, got);
        ok = same(want, got, n) && ok;
        now->unary[f](x, n, 0.25f, 1.5f, x);
        ok = same(want, x, n) && ok;
        ok = kc_reset(k) && ok;
    }
    kc_result(k, ok, "loop %s %s: n 1..2049, in place, equal bits", unary_names[f], now->isa);
}

static void check_binary(kc *k, const sm_loops *c, const sm_loops *now, int f) {
    bool ok = true;
    for (int i = 0; i < N_LENS; i++)
        for (int steps = 0; steps < 4; steps++) {
            int n = lens[i], xs = steps & 1, ys = steps >> 1;
            float *x = mixed(k, n), *y = mixed(k, n), *want = kc_buf(k, (size_t)n * 4, 0);
            float *got = kc_buf(k, (size_t)n * 4, 4);
            c->binary[f](x, xs, y, ys, n, want);
            now->binary[f](x, xs, y, ys, n, got);
            ok = same(want, got, n) && ok;
            ok = kc_reset(k) && ok;
        }
    kc_result(k, ok, "loop %s %s: n 1..2049, steps 0 and 1, equal bits", binary_names[f], now->isa);
}

static void check_rows(kc *k, const sm_loops *c, const sm_loops *now) {
    bool ok = true;
    for (int i = 0; i < N_LENS; i++) {
        int n = lens[i];
        float *x = kc_floats(k, (size_t)n, 3.0f), *y = kc_floats(k, (size_t)n, 3.0f);
        float *want = kc_buf(k, (size_t)n * 4, 0), *got = kc_buf(k, (size_t)n * 4, 4);
        memcpy(want, y, (size_t)n * 4);
        memcpy(got, y, (size_t)n * 4);
        c->axpy(0.75f, x, n, want);
        now->axpy(0.75f, x, n, got);
        ok = same(want, got, n) && ok;
        c->lerp(x, y, 0.3f, n, want);
        now->lerp(x, y, 0.3f, n, got);
        ok = same(want, got, n) && ok;
        ok = c->dot(x, y, n) == now->dot(x, y, n) && c->sum(x, n) == now->sum(x, n) && ok;
        ok = c->sum_square(x, n, 0.5f) == now->sum_square(x, n, 0.5f) && c->largest(x, n) == now->largest(x, n) && ok;
        memcpy(want, x, (size_t)n * 4);
        memcpy(got, x, (size_t)n * 4);
        want[n / 2] = got[n / 2] = -INFINITY;
        c->softmax(want, n);
        now->softmax(got, n);
        ok = same(want, got, n) && (n == 1 || want[n / 2] == 0) && ok;
        ok = kc_reset(k) && ok;
    }
    kc_result(k, ok, "loops axpy lerp dot sum sum_square largest softmax %s: n 1..2049, equal bits", now->isa);
}

/* ---- plain C against libm ---- */

static double exact(int f, double x) {
    switch (f) {
    case SM_LU_EXP:
        return exp(x);
    case SM_LU_SIGMOID:
        return 1 / (1 + exp(-x));
    case SM_LU_SILU:
        return x / (1 + exp(-x));
    case SM_LU_TANH:
        return tanh(x);
    case SM_LU_ERF:
        return erf(x);
    case SM_LU_GELU:
        return 0.5 * x * erfc(-x / sqrt(2.0));
    default:
        return x / (1 + exp(-1.702 * x));
    }
}

static void check_exact(kc *k, const sm_loops *c) {
    static const struct {
        int f;
        float reach;
        double budget, slope; /* ulp; ulp per x^2 */
    } all[] = {{SM_LU_EXP, 87.0f, 4, 0},
               {SM_LU_SIGMOID, 87.0f, 5, 0},
               {SM_LU_SILU, 80.0f, 6, 0},
               {SM_LU_TANH, 12.0f, 6, 0},
               {SM_LU_ERF, 6.0f, 9, 0},
               {SM_LU_GELU, 12.0f, 14, 1},
               {SM_LU_GELU_SIGMOID, 40.0f, 9, 0.02}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        double worst = 0;
        for (int n = 0; n < 200000; n++) {
            float x = kc_uniform(k, -all[i].reach, all[i].reach), y;
            if (n % 4 == 0)
                x *= 0.01f;
            c->unary[all[i].f](&x, 1, 0, 0, &y);
            double want = exact(all[i].f, (double)x);
            double ulp = ldexp(1, ilogb(fmax(fabs(want), 0x1p-126)) - 23);
            worst = kc_worse(worst, fabs((double)y - want) / ulp / (1 + all[i].slope * (double)(x * x)));
        }
        kc_result(k, worst <= all[i].budget, "loop %s c: against libm, %.1f ulp", unary_names[all[i].f], worst);
    }
}

void kc_loops(kc *k, sm_isa isa) {
    sm_loops c, now;
    sm_loops_init_c(&c);
    sm_loops_init(&now, isa);
    if (k->bench || !kc_wanted(k, "loops"))
        return;
    if (isa == SM_ISA_C) {
        check_exact(k, &c);
        return;
    }
    if (strcmp(now.isa, sm_isa_name(isa)) != 0)
        return; /* no loops of its own */
    for (int f = 0; f < SM_LU_COUNT; f++)
        check_unary(k, &c, &now, f);
    for (int f = 0; f < SM_LB_COUNT; f++)
        check_binary(k, &c, &now, f);
    check_rows(k, &c, &now);
}
