/* SPDX-License-Identifier: MIT
 *
 * kcheck_attn.c: the pieces of attention.  Budgets: NMSE 1e-12; 1e-10 for capped scores, whose tanh is good to
 * an ulp of 1.  A query must come out bit for bit the same alone and among others.
 */
#include "kcheck.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tensor/dtype.h"

static const int dims[] = {1, 8, 20, 64, 80, 96, 128, 256};
static const int counts[] = {1, 2, 7, 8, 9, 16, 17, 31, 33, 48, 63, 64};
static const int queries[] = {1, 2, 3, 4, 5, 8, 11, 12};
#define LEN(a) ((int)(sizeof(a) / sizeof *(a)))

static uint16_t *random_f16(kc *k, size_t n, size_t shift) {
    uint16_t *p = kc_buf(k, n * sizeof *p, shift);
    for (size_t i = 0; i < n; i++)
        p[i] = sm_f32_to_f16(kc_normal(k));
    return p;
}

static void check_scores(kc *k) {
    bool ok = true;
    kc_err err = {0};
    for (int i = 0; i < LEN(dims); i++)
        for (int j = 0; j < LEN(counts); j++)
            for (int q = 0; q < LEN(queries); q++) {
                int n_q = queries[q], dim = dims[i], n = counts[j], ldk = j % 2 ? 64 : n;
                size_t size = (size_t)n_q * SM_KV_BLOCK - SM_KV_BLOCK + (size_t)n;
                float *x = kc_floats(k, (size_t)(n_q * dim), 1.0f);
                uint16_t *kt = random_f16(k, (size_t)(dim - 1) * (size_t)ldk + (size_t)n, 2);
                float *want = kc_buf(k, size * 4, 0), *got = kc_buf(k, size * 4, 4), *one = kc_buf(k, (size_t)n * 4, 8);
                k->c.attn_scores(x, n_q, dim, kt, ldk, n, want);
                k->now.attn_scores(x, n_q, dim, kt, ldk, n, got);
                for (int r = 0; r < n_q; r++) {
                    kc_err_add(&err, want + r * SM_KV_BLOCK, got + r * SM_KV_BLOCK, (size_t)n);
                    k->now.attn_scores(x + r * dim, 1, dim, kt, ldk, n, one);
                    ok = memcmp(one, got + r * SM_KV_BLOCK, (size_t)n * 4) == 0 && ok;
                }
                ok = kc_reset(k) && ok;
            }
    kc_result(k, ok && kc_nmse(&err) < 1e-12, "attn_scores %s: dim 1..256, positions 1..64, queries 1..12, nmse %.1e",
              k->isa, kc_nmse(&err));
}

static void check_softmax(kc *k) {
    bool ok = true;
    kc_err err[2] = {{0}}; /* without and with a cap */
    for (int j = 0; j < LEN(counts); j++)
        for (int rep = 0; rep < 32; rep++) {
            int n = counts[j], lo = kc_below(k, n), hi = lo + 1 + kc_below(k, n - lo);
            float cap = rep % 2 ? 50.0f : 0.0f, before = rep % 4 < 2 ? -INFINITY : kc_normal(k) * 10.0f;
            float *want = kc_floats(k, (size_t)n, 10.0f), *got = kc_buf(k, (size_t)n * 4, 4);
            memcpy(got, want, (size_t)n * 4);
            float state[2][3] = {{before, isinf(before) ? 0.0f : 2.5f}};
            memcpy(state[1], state[0], sizeof *state);
            state[0][2] = k->c.attn_softmax(want, n, lo, hi, cap, &state[0][0], &state[0][1]);
            state[1][2] = k->now.attn_softmax(got, n, lo, hi, cap, &state[1][0], &state[1][1]);
            kc_err_add(&err[rep % 2], want, got, (size_t)n);
            kc_err_add(&err[rep % 2], state[0], state[1], 3);
            for (int i = 0; i < n; i++)
                ok = ((i >= lo && i < hi) || got[i] == 0.0f) && ok;
            ok = kc_reset(k) && ok;
        }
    double plain = kc_nmse(&err[0]), capped = kc_nmse(&err[1]);
    kc_result(k, ok && plain < 1e-12 && capped < 1e-10, "attn_softmax %s: positions 1..64, nmse %.1e, capped %.1e",
              k->isa, plain, capped);
}

static void check_values(kc *k) {
    bool ok = true;
    kc_err err = {0};
    for (int i = 0; i < LEN(dims); i++)
        for (int j = 0; j < LEN(counts); j++)
            for (int q = 0; q < LEN(queries); q++) {
                int n_q = queries[q], dim = dims[i], n = counts[j];
                size_t size = (size_t)(n_q * dim);
                float *s = kc_floats(k, (size_t)n_q * SM_KV_BLOCK, 1.0f), *corr = kc_floats(k, (size_t)n_q, 1.0f);
                uint16_t *v = random_f16(k, (size_t)n * (size_t)dim, 2);
                float *o = kc_floats(k, size, 1.0f), *want = kc_buf(k, size * 4, 0), *got = kc_buf(k, size * 4, 4);
                float *one = kc_buf(k, (size_t)dim * 4, 8);
                memcpy(want, o, size * 4);
                memcpy(got, o, size * 4);
                k->c.attn_values(s, corr, n_q, v, dim, n, want);
                k->now.attn_values(s, corr, n_q, v, dim, n, got);
                kc_err_add(&err, want, got, size);
                for (int r = 0; r < n_q; r++) {
                    memcpy(one, o + r * dim, (size_t)dim * 4);
                    k->now.attn_values(s + r * SM_KV_BLOCK, corr + r, 1, v, dim, n, one);
                    ok = memcmp(one, got + r * dim, (size_t)dim * 4) == 0 && ok;
                }
                ok = kc_reset(k) && ok;
            }
    kc_result(k, ok && kc_nmse(&err) < 1e-12, "attn_values %s: dim 1..256, positions 1..64, queries 1..12, nmse %.1e",
              k->isa, kc_nmse(&err));
}

/* ---- bench: one block of 64 positions ---- */

typedef struct attn_call {
    const sm_kernels *t;
    int which, n_q, dim;
    float *q, *s, *corr, *o;
    uint16_t *kv;
} attn_call;

static void call_attn(void *ctx) {
    attn_call *c = ctx;
    float max = -INFINITY, sum = 0.0f;
    if (c->which == 0)
        c->t->attn_scores(c->q, c->n_q, c->dim, c->kv, SM_KV_BLOCK, SM_KV_BLOCK, c->s);
    else if (c->which == 1)
        c->t->attn_softmax(c->s, SM_KV_BLOCK, 0, SM_KV_BLOCK, 0.0f, &max, &sum);
    else
        c->t->attn_values(c->s, c->corr, c->n_q, c->kv, c->dim, SM_KV_BLOCK, c->o);
}

static void bench_attn(kc *k) {
    static const struct { int n_q, dim; } shapes[] = {{3, 64}, {48, 64}, {4, 256}, {32, 256}};
    static const char *const names[] = {"attn_scores", "attn_softmax", "attn_values"};
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < LEN(shapes); j++) {
            int n_q = shapes[j].n_q, dim = shapes[j].dim;
            char name[64];
            snprintf(name, sizeof name, "%s q%d d%d", names[i], n_q, dim);
            if (!kc_wanted(k, name) || (i == 1 && j > 0))
                continue;
            attn_call c = {&k->now,
                           i,
                           n_q,
                           dim,
                           kc_floats(k, (size_t)(n_q * dim), 1.0f),
                           kc_floats(k, (size_t)n_q * SM_KV_BLOCK, 0.01f),
                           kc_floats(k, (size_t)n_q, 0.1f),
                           kc_floats(k, (size_t)(n_q * dim), 1.0f),
                           random_f16(k, (size_t)dim * SM_KV_BLOCK, 0)};
            double t = kc_time(call_attn, &c), flops = i == 1 ? SM_KV_BLOCK : 2.0 * n_q * dim * SM_KV_BLOCK;
            c.t = &k->c;
            kc_bench_line(k, name, k->isa, t, i == 1 ? 4.0 * SM_KV_BLOCK : 2.0 * dim * SM_KV_BLOCK, flops,
                          kc_time(call_attn, &c));
            kc_reset(k);
        }
}

void kc_attn(kc *k) {
    const sm_kernels *a = &k->before, *b = &k->now;
    if (k->bench) {
        if (a->attn_scores != b->attn_scores)
            bench_attn(k);
        return;
    }
    if (a->attn_scores != b->attn_scores && kc_wanted(k, "attn_scores"))
        check_scores(k);
    if (a->attn_softmax != b->attn_softmax && kc_wanted(k, "attn_softmax"))
        check_softmax(k);
    if (a->attn_values != b->attn_values && kc_wanted(k, "attn_values"))
        check_values(k);
}
