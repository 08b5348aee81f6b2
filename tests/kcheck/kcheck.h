/* SPDX-License-Identifier: MIT
 *
 * kcheck.h: the harness of the kernel check.
 *
 * For every instruction set this machine has, each pointer of the kernel table that the set replaced is compared with
 * the plain C on one seed, over shapes with odd tails and unaligned data: exact for integers and packing, a budget for
 * floats.  Outputs stand between guard bytes.  One line of TAP a kernel and set; --bench times the same calls.
 */
#ifndef SM_KCHECK_H
#define SM_KCHECK_H

#include "backend/cpu/kernels.h"

enum { KC_BUFS = 64 };

typedef struct kc {
    uint64_t seed, rng;
    bool bench, json;
    const char *filter; /* only names that contain it; NULL: all */
    int part, n_parts;  /* of the checks asked for, every n_parts-th */
    int asked;
    int passed, failed, benched;
    sm_kernels c, before, now; /* plain C, the set below, the set under test */
    const char *isa;
    struct {
        uint8_t *base;
        size_t n, at, size;
    } buf[KC_BUFS];
    int n_bufs;
} kc;

uint32_t kc_bits(kc *k);
float kc_uniform(kc *k, float lo, float hi);
float kc_normal(kc *k); /* about N(0, 1), bounded */
int kc_below(kc *k, int n);

/* n bytes at an address that is 64-aligned plus `shift`, filled with 0xA5, guarded on both sides; lives until kc_reset. */
void *kc_buf(kc *k, size_t n, size_t shift);
float *kc_floats(kc *k, size_t n, float spread); /* random normal, 4-aligned only */
bool kc_reset(kc *k);                            /* frees all; false when a guard was written */

/* Error of got against want over all shapes of a line: energy of the difference over energy of want.  One pool, for a
 * single product may cancel to almost nothing; a wrong one still stands out by many orders.  NaN never passes. */
typedef struct kc_err {
    double diff, want;
} kc_err;
void kc_err_add(kc_err *e, const float *want, const float *got, size_t n);
double kc_nmse(const kc_err *e);
double kc_worse(double worst, double d); /* the larger; NaN stays */
double kc_max_abs(const float *want, const float *got, size_t n);
double kc_max_ulp(const float *want, const float *got, size_t n);

bool kc_wanted(kc *k, const char *name); /* once a check: counts */
/* One line: "ok 7 - qgemm w4 avx2: nmse 1e-14 (seed 1)". */
void kc_result(kc *k, bool ok, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Best time of one call in ns. */
double kc_time(void (*fn)(void *ctx), void *ctx);
/* bytes and flops of one call; c_ns: the same call in plain C, 0 when it was not timed. */
void kc_bench_line(kc *k, const char *name, const char *isa, double ns, double bytes, double flops, double c_ns);

/* Families; check what `now` replaced, then bench. */
void kc_gemm(kc *k);
void kc_rowops(kc *k);
void kc_attn(kc *k);
/* Loops of programs as written, whose table is another. */
void kc_loops(kc *k, sm_isa isa);
/* Packing against the decoders, plain C only. */
void kc_pack(kc *k);

#endif
