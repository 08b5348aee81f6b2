/* SPDX-License-Identifier: MIT
 *
 * Palettes: clusters against the dynamic program that defines them, tables and codes against the values, groups of every
 * shape, the same bytes for any number of threads, what cannot be held.
 */
#include <math.h>
#include <stdio.h>

#include "sweep.h"
#include "tensor/kmeans.h"
#include "tensor/kmeans_walk.h"
#include "tensor/palette.h"
#include "tensor/palette_loops.h"
#include "tensor/transcode.h"

static uint32_t seed_now;
static uint32_t rnd(void) {
    seed_now = seed_now * 1664525u + 1013904223u;
    return seed_now >> 8;
}

/* About normal, sd 1. */
static float normal(void) {
    float s = 0.0f;
    for (int i = 0; i < 12; i++)
        s += (float)(rnd() & 0xffff) / 65536.0f;
    return s - 6.0f;
}

/* ---- clusters ---- */

enum { N_MAX = 90 };

/* Least cost of k clusters by the definition, O(k n^2). */
static double least_cost(const double *v, const double *m, int n, int k) {
    double cost[N_MAX + 1], next[N_MAX + 1];
    for (int j = 0; j <= n; j++)
        cost[j] = j == 0 ? 0.0 : INFINITY;
    for (int c = 0; c < k; c++) {
        for (int j = 0; j <= n; j++) {
            double s = 0, w = 0, q = 0;
            next[j] = cost[j];
            for (int i = j - 1; i >= 0; i--) {
                w += m[i];
                s += m[i] * v[i];
                q += m[i] * v[i] * v[i];
                next[j] = fmin(next[j], cost[i] + fmax(q - s * s / w, 0.0));
            }
        }
        memcpy(cost, next, sizeof cost);
    }
    return cost[n];
}

static double cost_of(const double *v, const double *m, const uint32_t *ends, int k) {
    double all = 0;
    for (int c = 0; c < k; c++) {
        double s = 0, w = 0, e = 0;
        for (uint32_t i = c == 0 ? 0 : ends[c - 1]; i < ends[c]; i++) {
            w += m[i];
            s += m[i] * v[i];
        }
        for (uint32_t i = c == 0 ? 0 : ends[c - 1]; i < ends[c]; i++)
            e += m[i] * (v[i] - s / w) * (v[i] - s / w);
        all += e;
    }
    return all;
}

/* Numbers of a kind: evenly spaced with equal masses (every saving has equals), lumps, random with random masses. */
static int numbers(int kind, double *v, double *m) {
    int n = 2 + (int)(rnd() % (N_MAX - 1));
    double at = -(double)(rnd() % 50);
    for (int i = 0; i < n; i++) {
        at += kind == 0 ? 1.0 : kind == 1 ? (rnd() % 5 == 0 ? 20.0 : 1.0) : 0.01 + (double)(rnd() % 1000) / 100.0;
        v[i] = at;
        m[i] = kind < 2 ? 1.0 : kind == 2 ? 1.0 + (double)(rnd() % 100) : 0.001 * (double)(1 + rnd() % 100000);
    }
    return n;
}

static void clusters_are_best(void **state) {
    (void)state;
    sm_kmeans *w;
    assert_int_equal(sm_kmeans_new(N_MAX, &w, NULL), SM_OK);
    seed_now = 1;
    for (int run = 0; run < 600; run++) {
        double v[N_MAX], m[N_MAX], mass[N_MAX + 1] = {0}, sum[N_MAX + 1] = {0};
        uint32_t ends[N_MAX];
        int n = numbers(run % 4, v, m), k = 1 + (int)(rnd() % 20);
        for (int i = 0; i < n; i++) {
            mass[i + 1] = mass[i] + m[i];
            sum[i + 1] = sum[i] + m[i] * v[i];
        }
        int got = sm_kmeans_split(w, mass, sum, (uint32_t)n, k, ends);
        assert_int_equal(got, k < n ? k : n);
        assert_int_equal(ends[got - 1], n);
        for (int c = 1; c < got; c++)
            assert_true(ends[c] > ends[c - 1]);
        double want = least_cost(v, m, n, k), found = cost_of(v, m, ends, got);
        if (found > want * (1 + 1e-9) + 1e-9)
            fail_msg("run %d: %d numbers, %d clusters: cost %.12g, least is %.12g", run, n, k, found, want);
    }
    sm_kmeans_free(&w);
}

/* The same through the merged problem's guess: a large one against prices that are searched without it. */
static void large_is_optimal(void **state) {
    (void)state;
    enum { N = 20000 };
    static double v[N], m[N], mass[N + 1], sum[N + 1];
    static uint32_t ends[256];
    sm_kmeans *w;
    assert_int_equal(sm_kmeans_new(N, &w, NULL), SM_OK);
    seed_now = 7;
    for (int i = 0; i < N; i++) {
        v[i] = (i == 0 ? -3.0 : v[i - 1]) + 1e-4 * (double)(1 + rnd() % 100) * (i % 5000 == 0 ? 1000 : 1);
        m[i] = (double)(1 + rnd() % 30);
        mass[i + 1] = mass[i] + m[i];
        sum[i + 1] = sum[i] + m[i] * v[i];
    }
    static const int ks[] = {2, 4, 8, 16, 64, 256};
    double last = INFINITY, gain = INFINITY;
    for (size_t t = 0; t < SM_ARRAY_LEN(ks); t++) {
        assert_int_equal(sm_kmeans_split(w, mass, sum, N, ks[t], ends), ks[t]);
        double cost = cost_of(v, m, ends, ks[t]);
        /* Optimal means: no end can move one number either way and gain. */
        for (int c = 0; c + 1 < ks[t]; c++) {
            uint32_t old = ends[c];
            for (int d = -1; d <= 1; d += 2) {
                ends[c] = old + (uint32_t)d;
                assert_true(cost_of(v, m, ends, ks[t]) >= cost * (1 - 1e-9));
            }
            ends[c] = old;
            if (ks[t] == 256 && c > 20)
                break;
        }
        double per = t == 0 ? INFINITY : (last - cost) / (ks[t] - ks[t - 1]);
        assert_true(cost < last && per <= gain * (1 + 1e-9)); /* savings fall: the cost is convex in k */
        last = cost;
        gain = per;
    }
    sm_kmeans_free(&w);
}

/* Beside numbers whose squares are 10^20 times theirs, doubles hold nothing of what small numbers' clusters save. */
static void unlike_numbers(void **state) {
    (void)state;
    enum { SMALL = 2000, N = SMALL + 8 };
    static double mass[N + 1], sum[N + 1];
    static uint32_t ends[256];
    sm_kmeans *w;
    assert_int_equal(sm_kmeans_new(N, &w, NULL), SM_OK);
    for (int i = 0; i < N; i++) {
        double v = i < SMALL ? -3e4 + ldexp(i, -24) : 3e4 + 32.0 * (i - SMALL);
        mass[i + 1] = mass[i] + 1000;
        sum[i + 1] = sum[i] + 1000 * v;
    }
    for (int k = 3; k <= 256; k++) {
        assert_int_equal(sm_kmeans_split(w, mass, sum, N, k, ends), k);
        assert_int_equal(ends[k - 1], N);
        for (int c = 1; c < k; c++)
            assert_true(ends[c] > ends[c - 1]);
        int end = 0; /* the few large ones are not mixed with the others */
        for (int c = 0; c < k; c++)
            end += ends[c] == SMALL;
        assert_int_equal(end, 1);
    }
    sm_kmeans_free(&w);
}

/* ---- loops ---- */

/* Numbers of every kind that histograms give: few and many, far apart and near, equal masses and not. */
static void walks_agree(void **state) {
    (void)state;
    enum { N = 3000 };
    static double mass[N + 1], sum[N + 1], best[2][N + 1];
    static uint32_t prev[2][N + 1];
    static sm_kmeans_start queue[N + 1];
    seed_now = 17;
    for (int run = 0; run < 60; run++) {
        uint32_t n = run < 20 ? 2 + rnd() % 30 : 2 + rnd() % (N - 2);
        double at = run % 3 == 0 ? 0.0 : -5.0;
        for (uint32_t i = 0; i < n; i++) {
            double m = run % 2 == 0 ? 1.0 : (double)(1 + rnd() % 9);
            at += run % 4 == 0 ? 1.0 : (double)(1 + rnd() % 1000) * (rnd() % 50 == 0 ? 1.0 : 1e-3);
            mass[i + 1] = mass[i] + m;
            sum[i + 1] = sum[i] + m * at;
        }
        assert_int_equal(sm_kmeans_loops_c()->halves(mass, sum, n), sm_kmeans_loops_best()->halves(mass, sum, n));
        for (double price = 1e-6; price < 1e9; price *= 10) {
            for (int i = 0; i < 2; i++) {
                sm_kmeans_walk w = {mass, sum, n, price, best[i], prev[i], queue};
                (i == 0 ? sm_kmeans_loops_c() : sm_kmeans_loops_best())->walk(&w);
            }
            assert_memory_equal(best[0], best[1], (n + 1) * sizeof best[0][0]);
            assert_memory_equal(prev[0] + 1, prev[1] + 1, n * sizeof prev[0][0]);
            /* And the best there is: by the definition, over all starts. */
            for (uint32_t j = n < 200 ? 1 : n; j <= n; j++) {
                double most = -INFINITY;
                for (uint32_t i = 0; i < j; i++) {
                    double s = sum[j] - sum[i];
                    most = fmax(most, best[0][i] + s * s / (mass[j] - mass[i]) - price);
                }
                assert_true(fabs(best[0][j] - most) <= 1e-9 * (fabs(most) + price));
            }
        }
    }
}

static void palette_loops_agree(void **state) {
    (void)state;
    enum { N = 999 };
    static float x[N], edge[SM_PALETTE_FEW];
    static uint16_t half[2][N];
    static uint32_t key[2][N];
    static int32_t off[2][N];
    static uint8_t code[2][N];
    const sm_palette_loops *l[2] = {sm_palette_loops_c(), sm_palette_loops_best()};
    seed_now = 19;
    for (int run = 0; run < 40; run++) {
        bool whole = run % 2 == 0, ok[2];
        for (int i = 0; i < N; i++) {
            uint16_t h = (uint16_t)(rnd() % 3 == 0 ? rnd() % 0x800 : rnd());
            x[i] = whole ? sm_f16_to_f32(h & 0xFBFF) : ldexpf(normal(), (int)(rnd() % 40) - 28);
        }
        if (run % 8 == 6)
            x[run * 20] = run % 16 == 6 ? INFINITY : 65520.0f;
        for (int k = 0; k < 2; k++)
            ok[k] = l[k]->keys(x, N, 1.0f, half[k]);
        assert_true(ok[0] == ok[1] && ok[0] == (whole && run % 8 != 6));
        if (ok[0])
            assert_memory_equal(half[0], half[1], sizeof half[0]);
        for (int k = 0; k < 2; k++)
            ok[k] = l[k]->bins(x, N, 1.0f, key[k], off[k]);
        assert_true(ok[0] == ok[1] && ok[0] == (run % 8 != 6));
        for (int i = 0; i < N; i++) {
            assert_true(key[0][i] == key[1][i] && off[0][i] == off[1][i]);
            assert_true(!whole || run % 8 == 6 || (key[0][i] == half[0][i] && off[0][i] == 0));
        }
        for (int i = 0; i < SM_PALETTE_FEW; i++)
            edge[i] = x[rnd() % N];
        for (int k = 0; k < 2; k++)
            l[k]->count(x, N, edge, run % (SM_PALETTE_FEW + 1), code[k]);
        assert_memory_equal(code[0], code[1], sizeof code[0]);
    }
}

static void bytes_pack_as_codes(void **state) {
    (void)state;
    static const sm_dtype types[] = {SM_UINT1, SM_UINT2, SM_UINT3, SM_UINT4, SM_UINT6, SM_UINT8};
    seed_now = 23;
    for (int run = 0; run < 600; run++) {
        sm_dtype t = types[run % 6];
        uint8_t q[120], a[256], b[256];
        int32_t wide[120];
        size_t n = rnd() % 120, at = rnd() % 60;
        for (size_t i = 0; i < n; i++)
            wide[i] = q[i] = (uint8_t)(rnd() % (1u << sm_dtype_bits(t)));
        for (size_t i = 0; i < sizeof a; i++)
            a[i] = b[i] = (uint8_t)rnd();
        sm_codes_pack(t, a, at, n, wide);
        sm_codes_pack_bytes(t, b, at, n, q);
        assert_memory_equal(a, b, sizeof a);
    }
}

/* ---- tables ---- */

static double sse(const float *x, size_t n, const float *table, int k) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double best = INFINITY;
        for (int c = 0; c < k; c++)
            best = fmin(best, fabs((double)x[i] - table[c]));
        sum += best * best;
    }
    return sum;
}

static void tables_of_values(void **state) {
    (void)state;
    float x[4000], table[256];
    seed_now = 3;
    for (int i = 0; i < 4000; i++)
        x[i] = normal();
    for (int bits = 1; bits <= 8; bits++) {
        int k = 1 << bits;
        assert_int_equal(sm_palette_fit_values(x, 4000, k, SM_FP16, false, table, NULL), SM_OK);
        for (int c = 0; c < k; c++) {
            assert_true(sm_round_f16(table[c]) == table[c]);
            assert_true(c == 0 || table[c] >= table[c - 1]);
        }
        /* Moving an entry by one step of its type does not gain. */
        double cost = sse(x, 4000, table, k);
        for (int c = 0; c < k && k <= 64; c++) {
            float old = table[c];
            for (int d = -1; d <= 1; d += 2) {
                table[c] = sm_f16_to_f32((uint16_t)(sm_f32_to_f16(old) + d));
                assert_true(sse(x, 4000, table, k) >= cost * (1 - 1e-5));
            }
            table[c] = old;
        }
        print_message("# %d bits: NMSE of a normal distribution %.3e\n", bits, cost / sse(x, 4000, &(float){0}, 1));
    }
}

static void special_tables(void **state) {
    (void)state;
    float table[16], few[] = {0.5f, -0.25f, 0.5f, 3.0f, -0.25f}, same[] = {7.25f, 7.25f, 7.25f}, zero[] = {0.0f, -0.0f};
    assert_int_equal(sm_palette_fit_values(few, 5, 16, SM_FP16, false, table, NULL), SM_OK);
    assert_true(table[0] == -0.25f && table[1] == 0.5f && table[2] == 3.0f && table[15] == 3.0f);
    assert_int_equal(sm_palette_fit_values(same, 3, 2, SM_FP16, false, table, NULL), SM_OK);
    assert_true(table[0] == 7.25f && table[1] == 7.25f);
    assert_int_equal(sm_palette_fit_values(zero, 2, 2, SM_FP16, false, table, NULL), SM_OK);
    assert_true(table[0] == 0.0f && table[1] == 0.0f);
    /* Far beyond fp16 either way, for tables of fp32. */
    float tiny[] = {1e-30f, 2e-30f, 3e-30f, 3e-30f}, huge[] = {-1e30f, 2e30f, 2e30f};
    assert_int_equal(sm_palette_fit_values(tiny, 4, 4, SM_FP32, false, table, NULL), SM_OK);
    assert_true(sse(tiny, 4, table, 4) < 1e-8 * 1e-60);
    assert_int_equal(sm_palette_fit_values(huge, 3, 2, SM_FP32, false, table, NULL), SM_OK);
    assert_true(table[0] == -1e30f && table[1] == 2e30f);
    /* Zero kept, and the others around it. */
    float x[1000];
    seed_now = 5;
    for (int i = 0; i < 1000; i++)
        x[i] = normal() + 0.3f;
    assert_int_equal(sm_palette_fit_values(x, 1000, 8, SM_FP16, true, table, NULL), SM_OK);
    int zeros = 0;
    for (int c = 0; c < 8; c++)
        zeros += table[c] == 0.0f;
    assert_int_equal(zeros, 1);
    float plain[8];
    assert_int_equal(sm_palette_fit_values(x, 1000, 8, SM_FP16, false, plain, NULL), SM_OK);
    assert_true(sse(x, 1000, table, 8) < 1.5 * sse(x, 1000, plain, 8));
    sm_err err = {0};
    float bad[] = {1.0f, NAN, INFINITY};
    assert_int_equal(sm_palette_fit_values(bad, 3, 2, SM_FP16, false, table, &err), SM_BADINPUT);
    assert_non_null(strstr(err.msg, "among 3 weights"));
}

/* ---- tensors ---- */

/* Weights of rows that differ: row r is about r + 1 times as wide. */
static sm_tensor weights(float *x, int rank, const int64_t *dims) {
    sm_tensor t = sm_tensor_dense(SM_FP32, rank, dims, x);
    size_t n = (size_t)sm_tensor_numel(&t), per = n / (size_t)dims[0];
    t.name = SM_SV("w");
    for (size_t i = 0; i < n; i++)
        x[i] = normal() * (float)(1 + i / per % 5) * 0.01f;
    return t;
}

typedef struct palette {
    sm_tensor t;
    uint8_t *part[SM_PART_COUNT];
    sm_xerr xe;
} palette;

static palette carry(const sm_tensor *src, const char *enc, sm_dtype dtype, int threads, uint64_t step) {
    palette p = {.t = *src};
    size_t bytes[SM_PART_COUNT];
    sm_pool *pool = NULL;
    sm_carry how;
    sm_err err = {0};
    assert_int_equal(sm_enc_parse(sm_sv_of(enc), src->rank, &p.t.enc, &err), SM_OK);
    p.t.dtype = dtype;
    if (sm_enc_sizes(&p.t.enc, src->rank, src->dims, bytes, &err) != SM_OK ||
        sm_transcode_how(src, &p.t.enc, &how, &err) != SM_OK)
        fail_msg("%s: %s", enc, err.msg);
    assert_int_equal(how, SM_CARRY_REQUANTIZED);
    for (int k = 0; k < SM_PART_COUNT; k++)
        if (bytes[k] > 0) {
            p.part[k] = malloc(bytes[k] + 8);
            memset(p.part[k], 0xA5, bytes[k] + 8);
            p.t.part[k] = (sm_bytes){p.part[k], bytes[k]};
        }
    if (threads > 1)
        assert_int_equal(sm_pool_new(threads, &pool, NULL), SM_OK);
    assert_int_equal(sm_transcode_tables(src, &p.t.enc, pool, p.part, &err), SM_OK);
    uint64_t rows = sm_tensor_rows(src), cols = (uint64_t)sm_tensor_cols(src);
    step = step == 0 ? rows : step;
    for (uint64_t r = 0; r < rows; r += step) {
        uint64_t bits = r * cols * (uint64_t)sm_dtype_bits(p.t.enc.code);
        uint8_t *out[SM_PART_COUNT] = {
            [SM_PART_DATA] = p.part[SM_PART_DATA] + bits / 8, [SM_PART_LUT] = p.part[SM_PART_LUT]};
        assert_int_equal(bits % 8, 0);
        uint64_t n = step < rows - r ? step : rows - r;
        assert_int_equal(sm_transcode_rows(src, &p.t.enc, dtype, r, n, out, &p.xe, &err), SM_OK);
    }
    for (int k = 0; k < SM_PART_COUNT; k++)
        for (int i = 0; p.part[k] != NULL && i < 8; i++)
            assert_int_equal(p.part[k][bytes[k] + (size_t)i], 0xA5);
    assert_int_equal(sm_tensor_check(&p.t, &err), SM_OK);
    sm_pool_free(&pool);
    return p;
}

static void drop(palette *p) {
    for (int k = 0; k < SM_PART_COUNT; k++)
        free(p->part[k]);
}

/* The report is what decoding says; every weight has the nearest entry of its table. */
static void expect_honest(const sm_tensor *src, const palette *p) {
    size_t n = (size_t)sm_tensor_numel(src);
    float *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y);
    double sum = 0, max = 0;
    sm_decode_rows(src, 0, sm_tensor_rows(src), x);
    sm_decode_rows(&p->t, 0, sm_tensor_rows(src), y);
    for (size_t i = 0; i < n; i++) {
        sum += ((double)y[i] - x[i]) * ((double)y[i] - x[i]);
        max = fmax(max, fabs((double)y[i] - x[i]));
    }
    assert_true(p->xe.n == n && fabs(p->xe.sum_sq_err - sum) <= 1e-4 * sum && fabs(p->xe.max_abs_err - max) <= 1e-6);
    free(x);
    free(y);
}

static void groups(void **state) {
    (void)state;
    static const struct {
        const char *enc;
        int rank;
        int64_t dims[4];
        bool finer; /* than one table */
    } cases[] = {
        {"lut(uint4, fp16, [48, 40])", 2, {48, 40}, false},
        {"lut(uint4, fp16, [4, 40])", 2, {48, 40}, true},
        {"lut(uint4, fp16, [1, 40])", 2, {48, 40}, true},
        {"lut(uint3, fp16, [16, 40])", 2, {48, 40}, true},
        {"lut(uint6, fp16, [24, 40])", 2, {48, 40}, true},
        {"lut(uint8, fp16, [48, 40])", 2, {48, 40}, false},
        {"lut(uint1, fp16, [8, 40])", 2, {48, 40}, true},
        {"lut(uint2, fp32, [48, 40])", 2, {48, 40}, false},
        {"lut(uint4, fp16, [48, 8])", 2, {48, 40}, true},
        {"lut(uint4, fp16, [12, 20])", 2, {48, 40}, true},
        {"lut(uint4, fp16, [8, 40, 1, 1])", 4, {48, 40, 1, 1}, true},
        {"lut(uint6, fp16, [8, 5, 3])", 3, {48, 5, 3}, true},
        {"lut(uint4, fp16, [80])", 1, {80}, false},
    };
    for (size_t i = 0; i < SM_ARRAY_LEN(cases); i++) {
        float x[48 * 40];
        seed_now = 11;
        sm_tensor t = weights(x, cases[i].rank, cases[i].dims);
        sm_dtype dtype = strstr(cases[i].enc, "fp32") != NULL ? SM_FP32 : SM_FP16;
        palette p = carry(&t, cases[i].enc, dtype, 1, 0);
        expect_honest(&t, &p);
        double foretold, told = sm_xerr_nmse(&p.xe);
        assert_int_equal(sm_palette_error(&t, &p.t.enc, 0, NULL, &foretold, NULL), SM_OK);
        if (fabs(foretold - told) > 1e-3 * told + 1e-9)
            fail_msg("%s: NMSE %g was foretold, %g came", cases[i].enc, foretold, told);
        assert_int_equal(sm_palette_error(&t, &p.t.enc, 3, NULL, &foretold, NULL), SM_OK);
        assert_true(foretold > 0.3 * told && foretold < 3.0 * told); /* groups are alike */
        /* Threads and slabs change nothing. */
        palette q = carry(&t, cases[i].enc, dtype, 3, sm_tensor_rows(&t) % 8 == 0 ? 8 : 0);
        for (int k = 0; k < SM_PART_COUNT; k++)
            assert_memory_equal(p.part[k] == NULL ? "" : (char *)p.part[k], q.part[k] == NULL ? "" : (char *)q.part[k],
                                p.t.part[k].n);
        drop(&q);
        if (cases[i].finer) { /* groups cannot be worse than one table */
            sm_encoding e = p.t.enc;
            char text[96];
            for (int a = 0; a < t.rank; a++)
                e.block[a] = t.dims[a];
            palette one = carry(&t, sm_enc_print(&e, t.rank, text, sizeof text), dtype, 1, 0);
            assert_true(p.xe.sum_sq_err <= one.xe.sum_sq_err);
            drop(&one);
        }
        drop(&p);
    }
}

/* A tensor large enough that all threads share its one table. */
static void shared_table(void **state) {
    (void)state;
    int64_t dims[2] = {1030, 1024};
    float *x = malloc((size_t)(dims[0] * dims[1]) * sizeof *x);
    seed_now = 13;
    sm_tensor t = weights(x, 2, dims);
    palette p = carry(&t, "lut(uint4, fp16, [1030, 1024])", SM_FP16, 1, 0);
    palette q = carry(&t, "lut(uint4, fp16, [1030, 1024])", SM_FP16, 4, 512);
    expect_honest(&t, &p);
    assert_memory_equal(p.part[SM_PART_DATA], q.part[SM_PART_DATA], p.t.part[SM_PART_DATA].n);
    assert_memory_equal(p.part[SM_PART_LUT], q.part[SM_PART_LUT], 32);
    drop(&p);
    drop(&q);
    free(x);
}

/* Few values are kept exactly, whatever the source: from blocks, from another palette. */
static void few_values_are_exact(void **state) {
    (void)state;
    float x[32 * 32];
    int64_t dims[2] = {32, 32};
    sm_tensor t = weights(x, 2, dims);
    for (int i = 0; i < 32 * 32; i++)
        x[i] = 0.25f * (float)((int)(rnd() % 16) - 7);
    palette p = carry(&t, "lut(uint4, fp16, [32, 32])", SM_FP16, 1, 0);
    assert_true(p.xe.sum_sq_err == 0.0);
    palette q = carry(&p.t, "lut(uint6, fp16, [8, 32])", SM_FP16, 1, 0);
    assert_true(q.xe.sum_sq_err == 0.0);
    drop(&p);
    drop(&q);
}

static void refused(void **state) {
    (void)state;
    float x[48 * 40];
    int64_t dims[2] = {48, 40};
    static const char *const none[] = {"lut(uint4, fp16, [48, 40], vec 2 axis 0)",
                                       "lut(uint4, fp16, [48, 40], scale fp16 [1, 40])", "lut(uint4, int8, [48, 40])"};
    sm_encoding e;
    sm_carry how;
    uint8_t lut[4096];
    sm_tensor t = weights(x, 2, dims);
    for (size_t i = 0; i < SM_ARRAY_LEN(none); i++) {
        sm_err err = {0};
        assert_int_equal(sm_enc_parse(sm_sv_of(none[i]), 2, &e, NULL), SM_OK);
        assert_int_equal(sm_transcode_how(&t, &e, &how, &err), SM_UNSUPPORTED);
    }
    static const struct {
        float v;
        const char *want;
    } bad[] = {{NAN, "row 7, column 3: wanted a finite weight, found nan"},
               {-INFINITY, "found inf"},
               {70000.0f, "row 7, column 3: 70000 is beyond what fp16 holds"}};
    for (size_t i = 0; i < SM_ARRAY_LEN(bad); i++) {
        static const char *const encs[] = {"lut(uint4, fp16, [48, 40])", "lut(uint4, fp16, [4, 40])"};
        x[7 * 40 + 3] = bad[i].v;
        for (int k = 0; k < 2; k++) {
            sm_err err = {0};
            assert_int_equal(sm_enc_parse(sm_sv_of(encs[k]), 2, &e, NULL), SM_OK);
            assert_int_equal(sm_palette_fit(&t, &e, NULL, lut, &err), SM_BADINPUT);
            assert_non_null(strstr(err.msg, bad[i].want));
            if (strstr(err.msg, "tensor \"w\"") == NULL)
                fail_msg("%s", err.msg);
        }
    }
}

static bool fit_once(void *ctx) {
    float x[48 * 40];
    int64_t dims[2] = {48, 40};
    sm_encoding e;
    uint8_t part[2][4096], *out[SM_PART_COUNT] = {[SM_PART_DATA] = part[0], [SM_PART_LUT] = part[1]};
    sm_tensor t = weights(x, 2, dims);
    (void)ctx;
    assert_int_equal(sm_enc_parse(SM_SV("lut(uint4, fp16, [4, 40])"), 2, &e, NULL), SM_OK);
    return sm_transcode_whole(&t, &e, SM_FP16, NULL, out, NULL, NULL) == SM_OK;
}

static void out_of_memory(void **state) {
    (void)state;
    assert_true(sweep(fit_once, NULL) > 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(walks_agree),
        cmocka_unit_test(palette_loops_agree),
        cmocka_unit_test(bytes_pack_as_codes),
        cmocka_unit_test(clusters_are_best),
        cmocka_unit_test(large_is_optimal),
        cmocka_unit_test(unlike_numbers),
        cmocka_unit_test(tables_of_values),
        cmocka_unit_test(special_tables),
        cmocka_unit_test(groups),
        cmocka_unit_test(shared_table),
        cmocka_unit_test(few_values_are_exact),
        cmocka_unit_test(refused),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
