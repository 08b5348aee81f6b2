/* SPDX-License-Identifier: MIT
 *
 * kcheck_gemm.c: coded and dense products, quantized rows.
 *
 * Budget: NMSE 1e-12 against plain C (both sum blocks in f32 in one order; they differ by fused additions).  A row must
 * come out bit for bit the same alone and among others.
 */
#include "kcheck.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/dtype.h"

static const int ks[] = {32, 64, 96, 576, 1536, 2048, 40, 7};
static const int ns[] = {1, 3, 17, 33, 100, 64};
static const int row_counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 33};
#define LEN(a) ((int)(sizeof(a) / sizeof *(a)))

static const char *const qnames[SM_QW_COUNT] = {"w4", "w5", "w6", "w8"};
static const char *const dnames[SM_DW_COUNT] = {"f32", "f16", "bf16"};

/* ---- quantized rows ---- */

typedef struct quantize_call {
    const sm_kernels *t;
    const float *x;
    int k;
    uint8_t *row;
} quantize_call;

static void call_quantize(void *ctx) {
    quantize_call *c = ctx;
    c->t->quantize(c->x, c->k, c->row);
}

static void check_quantize(kc *k) {
    bool ok = true;
    for (int i = 0; i < LEN(ks); i++)
        for (int zero = 0; zero < 2; zero++) {
            size_t bytes = (size_t)sm_qrow_blocks(ks[i]) * 48;
            float *x = kc_floats(k, (size_t)ks[i], zero ? 0.0f : expf(kc_uniform(k, -12.0f, 12.0f)));
            uint8_t *want = kc_buf(k, bytes, 0), *got = kc_buf(k, bytes, 4);
            k->c.quantize(x, ks[i], want);
            k->now.quantize(x, ks[i], got);
            ok = memcmp(want, got, bytes) == 0 && ok;
            ok = kc_reset(k) && ok;
        }
    kc_result(k, ok, "quantize %s: exact, k 7..2048", k->isa);
}

static void bench_quantize(kc *k) {
    quantize_call c = {&k->now, kc_floats(k, 1536, 1.0f), 1536, kc_buf(k, sm_qrow_bytes(1536), 0)};
    double ns_now = kc_time(call_quantize, &c);
    c.t = &k->c;
    kc_bench_line(k, "quantize k1536", k->isa, ns_now, 1536 * 5, 1536 * 3, kc_time(call_quantize, &c));
    kc_reset(k);
}

/* ---- coded ---- */

static sm_qw random_qw(kc *k, sm_qw_kind kind, bool is_signed, bool sub16, bool has_min, int n, int cols) {
    sm_qw w = {.n = n, .k = cols, .nb = sm_qrow_blocks(cols), .kind = kind, .is_signed = is_signed, .sub16 = sub16};
    w.has_min = has_min;
    w.code_bytes = kind == SM_QW8 ? 512 : 256 + 64 * (int)kind;
    w.meta_bytes = 32 * (sub16 ? 2 : 1) * (has_min ? 2 : 1);
    w.tile_bytes = ((size_t)w.nb * (size_t)(w.code_bytes + w.meta_bytes) + 127) / 64 * 64;
    w.data = kc_buf(k, w.tile_bytes * (size_t)sm_tiles(n), 0);
    for (int t = 0; t < sm_tiles(n); t++) {
        uint8_t *p = w.data + (size_t)t * w.tile_bytes;
        for (size_t i = 0; i < (size_t)w.nb * (size_t)w.code_bytes; i++)
            *p++ = (uint8_t)kc_bits(k);
        for (int i = 0; i < w.nb * w.meta_bytes / 2; i++, p += 2) {
            uint16_t h = sm_f32_to_f16(kc_normal(k));
            memcpy(p, &h, 2);
        }
        for (int i = 0; i < SM_TILE; i++, p += 4) {
            float mul = ldexpf(1.0f, kc_below(k, 8) - 4);
            memcpy(p, &mul, 4);
        }
    }
    return w;
}

/* Weights with tables: random entries, some at their ends. */
static sm_qw random_lut(kc *k, sm_qw_kind kind, int n, int cols) {
    sm_qw w = {.n = n, .k = cols, .nb = sm_qrow_blocks(cols), .kind = kind, .lut = true};
    w.code_bytes = kind == SM_QW8 ? 512 : 256 + 64 * (int)kind;
    w.entry_bytes = kind == SM_QW4 ? 128 : 512;
    w.tile_bytes = (sm_qw_mul_at(&w) + 127) / 64 * 64;
    w.data = kc_buf(k, w.tile_bytes * (size_t)sm_tiles(n), 0);
    for (int t = 0; t < sm_tiles(n); t++) {
        uint8_t *p = w.data + (size_t)t * w.tile_bytes;
        for (size_t i = 0; i < sm_qw_mul_at(&w); i++)
            p[i] = (uint8_t)kc_bits(k);
        for (int i = 0; t % 3 == 2 && i < w.entry_bytes; i++)
            p[w.nb * w.code_bytes + i] = t % 2 ? 0 : 255;
        for (int i = 0; i < SM_TILE; i++) {
            float mul = ldexpf(1.0f, kc_below(k, 8) - 4);
            memcpy(p + sm_qw_mul_at(&w) + 4 * i, &mul, 4);
        }
    }
    return w;
}

static uint8_t *random_qrows(kc *k, int cols, int rows, size_t ld) {
    uint8_t *x = kc_buf(k, ld * (size_t)rows, 0);
    for (int r = 0; r < rows; r++) {
        float *v = kc_floats(k, (size_t)cols, 1.0f);
        for (int i = 0; r % 4 == 3 && i < cols; i++)
            v[i] = r % 8 == 3 || v[i] > 0.0f ? 1.0f : -1.0f; /* codes at their ends: nothing may saturate */
        k->c.quantize(v, cols, x + (size_t)r * ld);
        free(k->buf[--k->n_bufs].base);
    }
    return x;
}

/* One shape: whole range against C, a middle range, each row alone. */
static bool check_qgemm_shape(kc *k, const sm_qw *w, int rows, kc_err *err) {
    size_t ldx = sm_qrow_bytes(w->k), ldo = (size_t)w->n + 3, size = ldo * (size_t)rows;
    uint8_t *x = random_qrows(k, w->k, rows, ldx);
    float *want = kc_buf(k, size * 4, 0), *got = kc_buf(k, size * 4, 4), *one = kc_buf(k, (size_t)w->n * 4, 8);
    int tiles = sm_tiles(w->n);
    sm_qgemm_for(&k->c, w)(w, 0, tiles, x, ldx, rows, want, ldo);
    sm_qgemm_for(&k->now, w)(w, 0, tiles / 2, x, ldx, rows, got, ldo);
    sm_qgemm_for(&k->now, w)(w, tiles / 2, tiles, x, ldx, rows, got + tiles / 2 * SM_TILE, ldo);
    bool ok = true;
    for (int r = 0; r < rows; r++) {
        kc_err_add(err, want + (size_t)r * ldo, got + (size_t)r * ldo, (size_t)w->n);
        for (int i = w->n; i < (int)ldo; i++) /* between rows nothing is written */
            ok = memcmp(&got[(size_t)r * ldo + (size_t)i], "\xA5\xA5\xA5\xA5", 4) == 0 && ok;
        sm_qgemm_for(&k->now, w)(w, 0, tiles, x + (size_t)r * ldx, ldx, 1, one, ldo);
        ok = memcmp(one, got + (size_t)r * ldo, (size_t)w->n * 4) == 0 && ok;
    }
    return ok;
}

enum { FORM_MIN = 1, FORM_SUB16 = 2, FORM_LUT = 4 };

static sm_qw random_form(kc *k, sm_qw_kind kind, bool is_signed, int form, int n, int cols) {
    return form == FORM_LUT ? random_lut(k, kind, n, cols)
                            : random_qw(k, kind, is_signed, form & FORM_SUB16, form & FORM_MIN, n, cols);
}

static const char *const form_names[] = {"", " min", " sub16", " sub16 min", " table"};

static void check_qgemm(kc *k, sm_qw_kind kind, int form) {
    bool ok = true;
    kc_err err = {0};
    for (int i = 0; i < LEN(ks); i++)
        for (int j = 0; j < LEN(ns); j++) {
            bool heavy = ks[i] * ns[j] > 576 * 33; /* plain C is slow: fewer row counts */
            for (int r = 0; r < LEN(row_counts); r++) {
                if (heavy && r != (i + j) % LEN(row_counts))
                    continue;
                sm_qw w = random_form(k, kind, (i + j) % 2, form, ns[j], ks[i]);
                ok = check_qgemm_shape(k, &w, row_counts[r], &err) && ok;
                ok = kc_reset(k) && ok;
            }
        }
    kc_result(k, ok && kc_nmse(&err) < 1e-12, "qgemm %s%s %s: k 7..2048, n 1..100, rows 1..33, nmse %.1e", qnames[kind],
              form_names[form], k->isa, kc_nmse(&err));
}

typedef struct gemm_call {
    const sm_kernels *t;
    const sm_qw *q;
    const sm_dw *d;
    const void *x;
    size_t ldx;
    int rows;
    float *out;
} gemm_call;

static void call_qgemm(void *ctx) {
    gemm_call *c = ctx;
    sm_qgemm_for(c->t, c->q)(c->q, 0, sm_tiles(c->q->n), c->x, c->ldx, c->rows, c->out, (size_t)c->q->n);
}

static void call_dgemm(void *ctx) {
    gemm_call *c = ctx;
    c->t->dgemm[c->d->kind](c->d, 0, sm_tiles(c->d->n), c->x, c->ldx, c->rows, c->out, (size_t)c->d->n);
}

static void bench_qgemm(kc *k, sm_qw_kind kind, int form, int n, int cols, int rows) {
    char name[64];
    snprintf(name, sizeof name, "qgemm %s%s n%d k%d rows%d", qnames[kind], form_names[form], n, cols, rows);
    if (!kc_wanted(k, name))
        return;
    sm_qw w = random_form(k, kind, !(form & FORM_MIN), form, n, cols);
    size_t ldx = sm_qrow_bytes(cols);
    gemm_call c = {
        &k->now, &w, NULL, random_qrows(k, cols, rows, ldx), ldx, rows, kc_buf(k, (size_t)n * (size_t)rows * 4, 0)};
    double t = kc_time(call_qgemm, &c), c_ns = 0.0;
    if (rows == 1 && n < 10000) {
        c.t = &k->c;
        c_ns = kc_time(call_qgemm, &c);
    }
    kc_bench_line(k, name, k->isa, t, (double)w.tile_bytes * sm_tiles(n), 2.0 * n * cols * rows, c_ns);
    kc_reset(k);
}

/* ---- dense ---- */

static sm_dw random_dw(kc *k, sm_dw_kind kind, int n, int cols) {
    sm_dw w = {.n = n, .k = cols, .kind = kind};
    w.tile_bytes = ((size_t)cols * SM_TILE * sm_dw_elem(kind) + 63) / 64 * 64;
    w.data = kc_buf(k, w.tile_bytes * (size_t)sm_tiles(n), 0);
    size_t count = (size_t)cols * SM_TILE;
    for (int t = 0; t < sm_tiles(n); t++)
        for (size_t i = 0; i < count; i++) {
            uint8_t *p = w.data + (size_t)t * w.tile_bytes + i * sm_dw_elem(kind);
            float v = kc_normal(k);
            uint16_t h = kind == SM_DW_F16 ? sm_f32_to_f16(v) : sm_f32_to_bf16(v);
            if (kind == SM_DW_F32)
                memcpy(p, &v, 4);
            else
                memcpy(p, &h, 2);
        }
    return w;
}

static bool check_dgemm_shape(kc *k, const sm_dw *w, int rows, kc_err *err) {
    size_t ldx = (size_t)w->k + 1, ldo = (size_t)w->n + 3, size = ldo * (size_t)rows;
    float *x = kc_floats(k, ldx * (size_t)rows, 1.0f);
    float *want = kc_buf(k, size * 4, 0), *got = kc_buf(k, size * 4, 4), *one = kc_buf(k, (size_t)w->n * 4, 8);
    int tiles = sm_tiles(w->n);
    k->c.dgemm[w->kind](w, 0, tiles, x, ldx, rows, want, ldo);
    k->now.dgemm[w->kind](w, 0, tiles / 2, x, ldx, rows, got, ldo);
    k->now.dgemm[w->kind](w, tiles / 2, tiles, x, ldx, rows, got + tiles / 2 * SM_TILE, ldo);
    bool ok = true;
    for (int r = 0; r < rows; r++) {
        kc_err_add(err, want + (size_t)r * ldo, got + (size_t)r * ldo, (size_t)w->n);
        for (int i = w->n; i < (int)ldo; i++)
            ok = memcmp(&got[(size_t)r * ldo + (size_t)i], "\xA5\xA5\xA5\xA5", 4) == 0 && ok;
        k->now.dgemm[w->kind](w, 0, tiles, x + (size_t)r * ldx, ldx, 1, one, ldo);
        ok = memcmp(one, got + (size_t)r * ldo, (size_t)w->n * 4) == 0 && ok;
    }
    return ok;
}

static void check_dgemm(kc *k, sm_dw_kind kind) {
    bool ok = true;
    kc_err err = {0};
    for (int i = 0; i < LEN(ks); i++)
        for (int j = 0; j < LEN(ns); j++)
            for (int r = 0; r < LEN(row_counts); r++) {
                if (ks[i] * ns[j] > 576 * 33 && r != (i + j) % LEN(row_counts))
                    continue;
                sm_dw w = random_dw(k, kind, ns[j], ks[i]);
                ok = check_dgemm_shape(k, &w, row_counts[r], &err) && ok;
                ok = kc_reset(k) && ok;
            }
    kc_result(k, ok && kc_nmse(&err) < 1e-12, "dgemm %s %s: k 7..2048, n 1..100, rows 1..33, nmse %.1e", dnames[kind],
              k->isa, kc_nmse(&err));
}

static void bench_dgemm(kc *k, sm_dw_kind kind, int n, int cols, int rows) {
    char name[64];
    snprintf(name, sizeof name, "dgemm %s n%d k%d rows%d", dnames[kind], n, cols, rows);
    if (!kc_wanted(k, name))
        return;
    sm_dw w = random_dw(k, kind, n, cols);
    gemm_call c = {&k->now,
                   NULL,
                   &w,
                   kc_floats(k, (size_t)cols * (size_t)rows, 1.0f),
                   (size_t)cols,
                   rows,
                   kc_buf(k, (size_t)n * (size_t)rows * 4, 0)};
    double t = kc_time(call_dgemm, &c), c_ns = 0.0;
    if (rows == 1) {
        c.t = &k->c;
        c_ns = kc_time(call_dgemm, &c);
    }
    kc_bench_line(k, name, k->isa, t, (double)w.tile_bytes * sm_tiles(n), 2.0 * n * cols * rows, c_ns);
    kc_reset(k);
}

/* ---- all ---- */

static void bench_all(kc *k) {
    if (k->now.quantize != k->before.quantize && kc_wanted(k, "quantize"))
        bench_quantize(k);
    for (int i = 0; i < SM_QW_COUNT; i++) {
        if (k->now.qgemm[i] == k->before.qgemm[i])
            continue;
        for (int form = 0; form < 4; form++)
            bench_qgemm(k, (sm_qw_kind)i, form, 1536, 576, 1);
        bench_qgemm(k, (sm_qw_kind)i, 0, 1536, 576, 64);
        bench_qgemm(k, (sm_qw_kind)i, FORM_MIN, 576, 1536, 64);
        bench_qgemm(k, (sm_qw_kind)i, 0, 49152, 576, 1); /* from memory, not from a cache */
        if (k->now.qgemm_lut[i] == k->before.qgemm_lut[i])
            continue;
        bench_qgemm(k, (sm_qw_kind)i, FORM_LUT, 1536, 576, 1);
        bench_qgemm(k, (sm_qw_kind)i, FORM_LUT, 1536, 576, 2);
        bench_qgemm(k, (sm_qw_kind)i, FORM_LUT, 1536, 576, 64);
        bench_qgemm(k, (sm_qw_kind)i, FORM_LUT, 49152, 576, 1);
        bench_qgemm(k, (sm_qw_kind)i, FORM_LUT, 49152, 576, 2);
        bench_qgemm(k, (sm_qw_kind)i, 0, 49152, 576, 2);
    }
    for (int i = 0; i < SM_DW_COUNT; i++) {
        if (k->now.dgemm[i] == k->before.dgemm[i])
            continue;
        bench_dgemm(k, (sm_dw_kind)i, 1536, 576, 1);
        bench_dgemm(k, (sm_dw_kind)i, 1536, 576, 64);
    }
}

void kc_gemm(kc *k) {
    if (k->bench) {
        if (k->isa != sm_isa_name(SM_ISA_C))
            bench_all(k);
        return;
    }
    if (k->now.quantize != k->before.quantize && kc_wanted(k, "quantize"))
        check_quantize(k);
    for (int i = 0; i < SM_QW_COUNT; i++)
        for (int form = 0; form < 4; form++)
            if (k->now.qgemm[i] != k->before.qgemm[i] && kc_wanted(k, "qgemm"))
                check_qgemm(k, (sm_qw_kind)i, form);
    for (int i = 0; i < SM_QW_COUNT; i++)
        if (k->now.qgemm_lut[i] != k->before.qgemm_lut[i] && kc_wanted(k, "qgemm"))
            check_qgemm(k, (sm_qw_kind)i, FORM_LUT);
    for (int i = 0; i < SM_DW_COUNT; i++)
        if (k->now.dgemm[i] != k->before.dgemm[i] && kc_wanted(k, "dgemm"))
            check_dgemm(k, (sm_dw_kind)i);
}
