/* SPDX-License-Identifier: MIT
 *
 * kcheck_rowops.c: norms, rotation, activations, capping, sums, fp16.
 *
 * Budgets: 4 ulp per 1 + |z| for activations made of e^z, whose argument is rounded; 2 ulp for norms; a few ulp of the
 * cap for capping; exact for sums, products and fp16.
 */
#include "kcheck.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const int lens[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 64, 100, 576, 1536, 2049};
#define LEN(a) ((int)(sizeof(a) / sizeof *(a)))

static void check_norm(kc *k) {
    bool ok = true;
    double worst = 0.0;
    for (int i = 0; i < LEN(lens); i++)
        for (int g = 0; g < 2; g++) {
            int n = lens[i];
            float *x = kc_floats(k, (size_t)n, 3.0f), *gamma = g ? kc_floats(k, (size_t)n, 1.0f) : NULL;
            float *want = kc_buf(k, (size_t)n * 4, 0), *got = kc_buf(k, (size_t)n * 4, 4);
            k->c.rms_norm(x, gamma, n, 1e-5f, want);
            k->now.rms_norm(x, gamma, n, 1e-5f, got);
            double e = kc_max_ulp(want, got, (size_t)n);
            worst = e > worst ? e : worst;
            k->now.rms_norm(x, gamma, n, 1e-5f, x); /* in place */
            ok = memcmp(x, got, (size_t)n * 4) == 0 && ok;
            ok = kc_reset(k) && ok;
        }
    kc_result(k, ok && worst <= 2.0, "rms_norm %s: n 1..2049, in place, %.1f ulp", k->isa, worst);
}

static void check_rope(kc *k) {
    bool ok = true;
    kc_err err = {0};
    for (int i = 0; i < LEN(lens); i++) {
        int n = lens[i];
        float *x = kc_floats(k, 2 * (size_t)n, 1.0f), *c = kc_floats(k, (size_t)n, 1.0f),
              *s = kc_floats(k, (size_t)n, 1.0f);
        float *want = kc_buf(k, 8 * (size_t)n, 0), *got = kc_buf(k, 8 * (size_t)n, 4);
        k->c.rope(x, c, s, n, want);
        k->now.rope(x, c, s, n, got);
        kc_err_add(&err, want, got, 2 * (size_t)n);
        k->now.rope(x, c, s, n, x);
        ok = memcmp(x, got, 8 * (size_t)n) == 0 && ok;
        ok = kc_reset(k) && ok;
    }
    kc_result(k, ok && kc_nmse(&err) < 1e-13, "rope %s: half 1..2049, in place, nmse %.1e", k->isa, kc_nmse(&err));
}

static const char *const act_names[SM_ACT_COUNT] = {"silu", "gelu_tanh", "gelu"};

static void check_act(kc *k, sm_act a) {
    bool ok = true;
    double worst = 0.0;
    for (int i = 0; i < LEN(lens); i++)
        for (int u = 0; u < 2; u++) {
            int n = lens[i];
            float *x = kc_floats(k, (size_t)n, u ? 4.0f : 40.0f), *up = u ? kc_floats(k, (size_t)n, 1.0f) : NULL;
            float *want = kc_buf(k, (size_t)n * 4, 0), *got = kc_buf(k, (size_t)n * 4, 4);
            k->c.act[a](x, up, n, want);
            k->now.act[a](x, up, n, got);
            for (int j = 0; j < n; j++) { /* below 1e-30 both are zero to anyone who adds them to something */
                double e = fabs((double)want[j]) < 1e-30 ? 0.0 : kc_max_ulp(want + j, got + j, 1);
                /* e^z of a rounded z: its error grows with |z|, which is |x|, and |x|^3 for gelu_tanh */
                double z = fabs((double)x[j]);
                e /= 1.0 + (a == SM_ACT_GELU_TANH ? z * z * z : z);
                worst = e > worst ? e : worst;
                ok = fabs((double)want[j] - (double)got[j]) < 1e-4 && ok;
            }
            k->now.act[a](x, up, n, x);
            ok = memcmp(x, got, (size_t)n * 4) == 0 && ok;
            ok = kc_reset(k) && ok;
        }
    kc_result(k, ok && worst <= 4.0, "%s %s: n 1..2049, with and without up, %.1f ulp per 1 + |z|", act_names[a],
              k->isa, worst);
}

static void check_softcap(kc *k) {
    bool ok = true;
    double worst = 0.0;
    for (int i = 0; i < LEN(lens); i++) {
        int n = lens[i];
        float *want = kc_floats(k, (size_t)n, 60.0f), *got = kc_buf(k, (size_t)n * 4, 4);
        memcpy(got, want, (size_t)n * 4);
        k->c.softcap(want, n, 30.0f);
        k->now.softcap(got, n, 30.0f);
        double e = kc_max_abs(want, got, (size_t)n);
        worst = e > worst ? e : worst;
        ok = kc_reset(k) && ok;
    }
    kc_result(k, ok && worst < 8e-6, "softcap %s: n 1..2049, cap 30, off by %.1e", k->isa, worst);
}

static void check_binary(kc *k, bool mul) {
    bool ok = true;
    for (int i = 0; i < LEN(lens); i++) {
        size_t n = (size_t)lens[i];
        float *x = kc_floats(k, n, 1.0f), *y = kc_floats(k, n, 1.0f), *want = kc_buf(k, n * 4, 0),
              *got = kc_buf(k, n * 4, 4);
        (mul ? k->c.mul : k->c.add)(x, y, lens[i], want);
        (mul ? k->now.mul : k->now.add)(x, y, lens[i], got);
        ok = memcmp(want, got, n * 4) == 0 && ok;
        ok = kc_reset(k) && ok;
    }
    kc_result(k, ok, "%s %s: n 1..2049, exact", mul ? "mul" : "add", k->isa);
}

static void check_f16(kc *k) {
    bool ok = true;
    for (int i = 0; i < LEN(lens); i++)
        for (int big = 0; big < 3; big++) {
            size_t n = (size_t)lens[i];
            float *x = kc_floats(k, n, big == 2 ? 1e5f : big ? 1.0f : 1e-6f);
            uint16_t *want = kc_buf(k, n * 2, 0), *got = kc_buf(k, n * 2, 2);
            k->c.to_f16(x, lens[i], want);
            k->now.to_f16(x, lens[i], got);
            ok = memcmp(want, got, n * 2) == 0 && ok;
            ok = kc_reset(k) && ok;
        }
    kc_result(k, ok, "to_f16 %s: n 1..2049, exact, saturating", k->isa);
}

/* ---- bench ---- */

typedef struct row_call {
    const sm_kernels *t;
    int which, n;
    float *x, *y, *out;
} row_call;

enum { NORM, ROPE, SILU, GELU_TANH, GELU, SOFTCAP, ADD, F16, CALLS };

static void call_row(void *ctx) {
    row_call *c = ctx;
    switch (c->which) {
    case NORM:
        c->t->rms_norm(c->x, c->y, c->n, 1e-5f, c->out);
        break;
    case ROPE:
        c->t->rope(c->x, c->y, c->y, c->n / 2, c->out);
        break;
    case SOFTCAP:
        c->t->softcap(c->out, c->n, 30.0f);
        break;
    case ADD:
        c->t->add(c->x, c->y, c->n, c->out);
        break;
    case F16:
        c->t->to_f16(c->x, c->n, (uint16_t *)(void *)c->out);
        break;
    default:
        c->t->act[c->which - SILU](c->x, c->y, c->n, c->out);
        break;
    }
}

static void bench_rows(kc *k) {
    static const char *const names[CALLS] = {"rms_norm", "rope",    "silu", "gelu_tanh",
                                             "gelu",     "softcap", "add",  "to_f16"};
    enum { N = 1536 };
    for (int i = 0; i < CALLS; i++) {
        if (!kc_wanted(k, names[i]))
            continue;
        row_call c = {&k->now, i, N, kc_floats(k, N, 1.0f), kc_floats(k, N, 1.0f), kc_floats(k, N, 1.0f)};
        double t = kc_time(call_row, &c);
        c.t = &k->c;
        kc_bench_line(k, names[i], k->isa, t, 12.0 * N, N, kc_time(call_row, &c));
        kc_reset(k);
    }
}

void kc_rowops(kc *k) {
    const sm_kernels *a = &k->before, *b = &k->now;
    if (k->bench) {
        if (a->rms_norm != b->rms_norm)
            bench_rows(k);
        return;
    }
    if (a->rms_norm != b->rms_norm && kc_wanted(k, "rms_norm"))
        check_norm(k);
    if (a->rope != b->rope && kc_wanted(k, "rope"))
        check_rope(k);
    for (int i = 0; i < SM_ACT_COUNT; i++)
        if (a->act[i] != b->act[i] && kc_wanted(k, act_names[i]))
            check_act(k, (sm_act)i);
    if (a->softcap != b->softcap && kc_wanted(k, "softcap"))
        check_softcap(k);
    if (a->add != b->add && kc_wanted(k, "add"))
        check_binary(k, false);
    if (a->mul != b->mul && kc_wanted(k, "mul"))
        check_binary(k, true);
    if (a->to_f16 != b->to_f16 && kc_wanted(k, "to_f16"))
        check_f16(k);
}
