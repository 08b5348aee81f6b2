/* SPDX-License-Identifier: MIT
 *
 * check.h: how far two models are from each other on one text, and where they part.
 *
 * Both models compute the same tokens, a few rows at a time; each row of logits is compared over the whole vocabulary
 * and forgotten, so that memory does not grow with the text.  A is the one that is right, B the one in question:
 *
 *     error    logits of B minus those of A: largest, mean of absolutes, root mean square
 *     PSNR     10 log10(max A^2 / mean error^2), SNR the same with mean A^2 (as coremltools' tests count them)
 *     cosine   between rows of logits
 *     KL       sum p_A (ln p_A - ln p_B) a row, in nats
 *     top-1    share of rows with the same most likely token
 *     ppl      of both, over every token that has one before it in its window
 *
 * LOCATE.  Both models compute a short text with the results of all their ops kept (backend.h, taps).  Ops are matched by
 * kind and width of their rows in order, so that names do not matter, and the constants that they read are compared
 * decoded.  Named is the first op whose result has an NMSE above 1e-4 and
 *     whose constants differ ten times more than is usual for the pair (the median of its matrices) and more than fp16
 *     explains, and whose NMSE is twice what it was given; or,
 *     where A and B run on different backends, whose NMSE is ten times what it was given and what is usual.
 *
 * Ownership: callbacks get views.  Threads: one.
 */
#ifndef SM_CHECK_H
#define SM_CHECK_H

#include "job/load.h"

#define SM_CHECK_TOP1 0.97
#define SM_CHECK_KL 0.02

/* A constant that an op reads. */
typedef struct sm_check_const {
    const char *slot, *name_a, *name_b;
    char enc_a[96], enc_b[96]; /* encodings */
    double nmse, max_error;    /* of the decoded values; NAN when their shapes differ */
} sm_check_const;

/* The results of one op in both models. */
typedef struct sm_check_op {
    const char *op, *name_a, *name_b; /* op's name, names of the values */
    int layer;                        /* by attention; -1: before the first, n_layers: after the last */
    bool residual;                    /* what the layers add to: the sum that a norm reads */
    double nmse, cosine, max_error;
    double given;      /* largest NMSE among what it was given */
    double const_nmse; /* largest among its constants */
    bool named;        /* the first op where error jumps */
} sm_check_op;

typedef struct sm_check_opts {
    const char *backend, *backend_b; /* backend_b NULL: as backend */
    int n_threads;
    int32_t ctx;    /* of a window; 0: 512, or what both hold */
    int64_t tokens; /* first tokens of the text only; 0: all */
    double min_top1, max_kl;
    bool locate;
    void (*on_op)(void *ctx, const sm_check_op *op);                             /* in A's order */
    void (*on_const)(void *ctx, const sm_check_op *op, const sm_check_const *c); /* of the named op, after all ops */
    void *user;
    bool progress;
} sm_check_opts;

typedef struct sm_check_report {
    uint64_t rows, scored; /* rows of logits compared; tokens in the perplexities */
    int windows;
    int32_t vocab;
    double max_error, mean_error, rmse, psnr, snr, cosine, min_cosine;
    double kl, kl_error, kl_max, kl_p50, kl_p90, kl_p99; /* mean, its standard error, percentiles */
    double top1, ppl_a, ppl_b;
    bool pass;
    /* locate */
    int ops_a, ops_b, matched, layers;
    double usual; /* median NMSE of the matrices */
    bool found;   /* an op was named */
} sm_check_report;

/* text.p NULL: a short text of our own.  SM_FAILED when a threshold is not met; the report is filled then too. */
sm_status sm_check(const sm_loaded *a, const char *path_a, const sm_loaded *b, const char *path_b, sm_sv text,
                   const sm_check_opts *o, sm_check_report *out, sm_err *err);

/* ---- for check.c ---- */
sm_status sm_check_locate(const sm_func *a, const sm_func *b, const int32_t *ids, int32_t n, const sm_check_opts *o,
                          sm_check_report *out, sm_err *err);

#endif
