/* SPDX-License-Identifier: MIT
 *
 * bench.h: how fast a model runs, and how near that comes to what the machine can do.
 *
 *     pp P @ D   a prompt of P tokens behind D cached ones
 *     tg N @ D   N tokens one after the other behind D cached ones
 *
 * each for one or several sequences at once.  The caches are filled once to a depth and cut back to it between
 * repetitions, outside the time that is measured.  Token ids are random, but the same each time.  A generated token's
 * successor is random too: what is measured is the model, not the sampler.
 *
 * The limits (memory read, integer and f32 arithmetic) are measured by the same run, before and after the tests; the best
 * of both counts.  Results are kept in an SQLite file so that runs can be compared.
 */
#ifndef SM_BENCH_H
#define SM_BENCH_H

#include "base/err.h"
#include "base/str.h"

typedef struct sm_bench_opts {
    const char *path;
    const char *prompts, *gens, *depths, *seqs; /* "512", "128,512"; NULL: 512, 128, 0, 1.  "0": no such test */
    int reps;                                   /* < 1: 5 */
    const char *backend;
    int n_threads;
    int32_t ctx; /* 0: as many positions as the tests need */
    bool json, progress;
    const char *csv, *svg, *trace; /* files to write, or NULL */
    const char *db;                /* file of past results; NULL: the usual one */
    bool no_save;
    /* A failure to keep the results, which is no failure to measure them.  May be NULL. */
    void (*on_unsaved)(void *user, const sm_err *why);
    void *user;
} sm_bench_opts;

/* Appends a table in Markdown, or JSON.  SM_RESOURCE naming both numbers when a test does not fit in the context;
 * SM_CANCELLED when asked to stop. */
sm_status sm_bench(const sm_bench_opts *o, sm_str *out, sm_err *err);

/* Past runs, oldest first.  model: a name or file to pick by; NULL: all.  db as above. */
sm_status sm_bench_history(const char *db, const char *model, bool json, sm_str *out, sm_err *err);

#endif
