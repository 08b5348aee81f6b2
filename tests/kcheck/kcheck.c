/* SPDX-License-Identifier: MIT
 *
 * kcheck.c: harness and command line of the kernel check (kcheck.h).
 *
 *     kcheck [--seed N] [--bench] [--json] [--only TEXT] [--part I/N]
 */
#include "kcheck.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { GUARD = 256 };

/* ---- random, buffers ---- */

/* xorshift64* */
uint32_t kc_bits(kc *k) {
    k->rng ^= k->rng >> 12;
    k->rng ^= k->rng << 25;
    k->rng ^= k->rng >> 27;
    return (uint32_t)((k->rng * UINT64_C(0x2545F4914F6CDD1D)) >> 32);
}

int kc_below(kc *k, int n) {
    return (int)(kc_bits(k) % (uint32_t)n);
}

float kc_uniform(kc *k, float lo, float hi) {
    return lo + (hi - lo) * ((float)(kc_bits(k) >> 8) / 16777216.0f);
}

float kc_normal(kc *k) {
    float s = 0.0f;
    for (int i = 0; i < 12; i++)
        s += kc_uniform(k, -0.5f, 0.5f);
    return s;
}

void *kc_buf(kc *k, size_t n, size_t shift) {
    if (k->n_bufs == KC_BUFS) {
        fprintf(stderr, "kcheck: more than %d buffers\n", KC_BUFS);
        abort();
    }
    size_t size = n + shift + 2 * GUARD;
    uint8_t *base = aligned_alloc(64, (size + 63) / 64 * 64);
    if (!base)
        abort();
    memset(base, 0xA5, size);
    int i = k->n_bufs++;
    k->buf[i].base = base;
    k->buf[i].n = n;
    k->buf[i].at = GUARD + shift;
    k->buf[i].size = size;
    return base + GUARD + shift;
}

float *kc_floats(kc *k, size_t n, float spread) {
    float *p = kc_buf(k, n * sizeof *p, 4 * (size_t)kc_below(k, 16));
    for (size_t i = 0; i < n; i++)
        p[i] = spread * kc_normal(k);
    return p;
}

bool kc_reset(kc *k) {
    bool ok = true;
    for (int i = 0; i < k->n_bufs; i++) {
        for (size_t j = 0; j < k->buf[i].size; j++)
            if ((j < k->buf[i].at || j >= k->buf[i].at + k->buf[i].n) && k->buf[i].base[j] != 0xA5)
                ok = false;
        free(k->buf[i].base);
    }
    k->n_bufs = 0;
    return ok;
}

/* ---- errors ---- */

void kc_err_add(kc_err *e, const float *want, const float *got, size_t n) {
    for (size_t i = 0; i < n; i++) {
        double d = (double)got[i] - (double)want[i];
        e->diff += isnan(d) ? INFINITY : d * d;
        e->want += (double)want[i] * (double)want[i];
    }
}

double kc_nmse(const kc_err *e) {
    return e->diff == 0.0 ? 0.0 : e->diff / e->want;
}

double kc_worse(double worst, double d) {
    return worst >= d || isnan(worst) ? worst : d;
}

double kc_max_abs(const float *want, const float *got, size_t n) {
    double most = 0.0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - (double)want[i]);
        if (isnan(d))
            return INFINITY;
        most = d > most ? d : most;
    }
    return most;
}

double kc_max_ulp(const float *want, const float *got, size_t n) {
    double most = 0.0;
    for (size_t i = 0; i < n; i++) {
        float ulp = nextafterf(fabsf(want[i]), INFINITY) - fabsf(want[i]);
        double d = fabs((double)got[i] - (double)want[i]) / (double)ulp;
        if (isnan(d))
            return INFINITY;
        most = d > most ? d : most;
    }
    return most;
}

/* ---- reporting ---- */

bool kc_wanted(kc *k, const char *name) {
    if (k->filter && !strstr(name, k->filter))
        return false;
    return k->asked++ % k->n_parts == k->part - 1;
}

void kc_result(kc *k, bool ok, const char *fmt, ...) {
    if (ok)
        k->passed++;
    else
        k->failed++;
    printf("%sok %d - ", ok ? "" : "not ", k->passed + k->failed);
    va_list ap;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf(" (seed %llu)\n", (unsigned long long)k->seed);
    fflush(stdout);
}

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Calls until a run lasts 5 ms, then the best of seven runs. */
double kc_time(void (*fn)(void *ctx), void *ctx) {
    double best = INFINITY;
    long calls = 1;
    for (int run = 0; run < 7;) {
        double t = now_ns();
        for (long i = 0; i < calls; i++)
            fn(ctx);
        t = now_ns() - t;
        if (t < 5e6 && run == 0) {
            calls = t < 1e5 ? calls * 16 : (long)((double)calls * 6e6 / t) + 1;
            continue;
        }
        best = t / (double)calls < best ? t / (double)calls : best;
        run++;
    }
    return best;
}

void kc_bench_line(kc *k, const char *name, const char *isa, double ns, double bytes, double flops, double c_ns) {
    char ratio[32] = "";
    if (c_ns > 0.0)
        snprintf(ratio, sizeof ratio, k->json ? ", \"times_c\": %.2f" : "%8.2f x C", c_ns / ns);
    if (k->json)
        printf("%s  {\"kernel\": \"%s\", \"isa\": \"%s\", \"ns\": %.1f, \"gb_s\": %.2f, \"gflop_s\": %.2f%s}",
               k->benched ? ",\n" : "", name, isa, ns, bytes / ns, flops / ns, ratio);
    else
        printf("%-40s %-11s %12.1f ns %8.2f GB/s %9.2f GFLOP/s %s\n", name, isa, ns, bytes / ns, flops / ns, ratio);
    k->benched++;
    fflush(stdout);
}

/* ---- main ---- */

static int usage(const char *bad) {
    fprintf(stderr, "kcheck: unexpected '%s'\nusage: kcheck [--seed N] [--bench] [--json] [--only TEXT] [--part I/N]\n",
            bad);
    return 2;
}

int main(int argc, char **argv) {
    kc k = {.seed = 1, .part = 1, .n_parts = 1};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bench") == 0)
            k.bench = true;
        else if (strcmp(argv[i], "--json") == 0)
            k.json = true;
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            k.seed = strtoull(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            k.filter = argv[++i];
        else if (strcmp(argv[i], "--part") == 0 && i + 1 < argc) {
            if (sscanf(argv[++i], "%d/%d", &k.part, &k.n_parts) != 2 || k.part < 1 || k.part > k.n_parts)
                return usage(argv[i]);
        } else
            return usage(argv[i]);
    }
    k.rng = k.seed * UINT64_C(0x9E3779B97F4A7C15) | 1;
    sm_kernels_init(&k.c, SM_ISA_C);
    k.now = k.c;
    k.isa = "c";
    if (k.bench && k.json)
        printf("[\n");
    if (!k.bench) {
        printf("# this machine has %s\n", sm_isa_name(sm_isa_detect()));
        kc_pack(&k);
    }
    for (sm_isa isa = SM_ISA_C; isa <= sm_isa_detect(); isa++) {
        if (!sm_isa_built(isa))
            continue;
        k.before = k.now;
        sm_kernels_init(&k.now, isa);
        k.isa = sm_isa_name(isa);
        kc_gemm(&k);
        kc_rowops(&k);
        kc_attn(&k);
        kc_loops(&k, isa);
    }
    if (k.bench) {
        printf(k.json ? "\n]\n" : "");
        return 0;
    }
    printf("1..%d\n%d passed, %d failed\n", k.passed + k.failed, k.passed, k.failed);
    return k.failed ? 1 : 0;
}
