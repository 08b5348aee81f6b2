/* SPDX-License-Identifier: MIT
 *
 * bench_int.h: what a bench measures, and who does what with it.
 *
 *     bench.c            the order of things: open, limits, tests, limits, results
 *     bench_measure.c    one test, repeated; what it should have cost
 *     bench_trace.c      one prompt and one token, op by op
 *     bench_print.c      Markdown, JSON, CSV
 *     bench_svg.c        the chart
 *     bench_db.c         past runs, in SQLite; stub/bench_db_none.c where that is absent
 *
 * Threads: one.
 */
#ifndef SM_BENCH_INT_H
#define SM_BENCH_INT_H

#include "backend/cpu/peak.h"
#include "base/json.h"
#include "base/log.h"
#include "base/machine.h"
#include "engine/engine.h"
#include "job/bench.h"
#include "job/load.h"

enum { BENCH_MOST = 32, BENCH_NAME = 64 };

typedef struct bench_list {
    int32_t v[BENCH_MOST];
    int n;
} bench_list;

typedef enum bench_kind { BENCH_PROMPT, BENCH_GEN } bench_kind;

/* Of repeated measurements. */
typedef struct bench_stats {
    double mean, stddev, median, best; /* stddev: of the sample; 0 for one.  best: the largest */
} bench_stats;

typedef struct bench_row {
    bench_kind kind;
    int32_t tokens, depth, seqs; /* tokens: of each sequence */
    char test[BENCH_NAME];       /* "pp512", "tg128@d8192@b4" */
    int reps;
    double *seconds; /* [reps] */
    double *first;   /* [reps] of a prompt: until the first token was chosen too */
    bench_stats tps; /* tokens a second of all sequences together */
    double ttft_s;   /* mean of `first`; 0: not a prompt */
    double bytes_per_token, flops_per_token;
    double gbps, gflops; /* at the mean speed */
    double roofline;     /* the larger of the two shares below */
    double share_read, share_ops;
    const char *bound;    /* which of both it is: "memory", "integer", "f32" */
    uint64_t cache_bytes; /* cached positions at the end of the test */
} bench_row;

typedef struct sm_bench_run {
    const sm_bench_opts *o;
    sm_arena *mem;
    bench_list prompts, gens, depths, seqs;
    int reps;
    char date[24]; /* "2026-01-31T12:00:00Z" */
    sm_machine m;
    sm_isa isa;
    sm_peak peak; /* the best of both times */
    sm_loaded *l;
    const char *name, *file; /* of the model: as it calls itself, of its file */
    char quant[96];          /* encodings of its matrices, the largest share first */
    sm_engine *eng;
    const char *backend;
    sm_exe_info info;
    int32_t ctx, rows_per_step, vocab;
    uint64_t kv_position_bytes; /* of one cached position */
    sm_seq **seq;
    int32_t n_seqs;               /* made */
    sm_item *items;               /* [most sequences] */
    int32_t *ids;                 /* [most tokens that one step takes] */
    double load_s, first_token_s; /* from opening until it is ready; until the token behind a prompt of one is known */
    uint64_t memory_bytes;        /* the most that was resident, file pages apart */
    bench_row *rows;
    int n_rows;
    sm_progress progress;
    /* Of the bar, whose unit is a millisecond at the limits: done so far, and what a token adds now. */
    double work_done, work_per_token;
} sm_bench_run;

/* ---- bench.c ---- */
/* "128,512" with numbers lo..hi; a single "0" is the empty list.  what: option to name in the message. */
sm_status bench_list_parse(const char *text, const char *what, int32_t lo, int32_t hi, bench_list *out, sm_err *err);
void bench_stats_of(const double *v, int n, bench_stats *out);
void bench_test_name(const bench_row *r, char out[BENCH_NAME]);

/* ---- bench_measure.c ---- */
/* Brings the first n sequences to `depth` cached positions and all others to none. */
sm_status bench_set_depth(sm_bench_run *b, int32_t n, int32_t depth, sm_err *err);
/* `tokens` more for each of the first n sequences: a prompt in as large steps as there are, or one by one.  each (may be
 * NULL) is called after every step. */
sm_status bench_feed(sm_bench_run *b, bench_kind kind, int32_t n, int32_t tokens,
                     sm_status (*each)(void *ctx, sm_err *err), void *ctx, sm_err *err);
int32_t bench_first_token(const sm_bench_run *b,
                          int32_t n); /* the most likely one of the last step's n rows of logits */
/* Warm-up and repetitions of one row whose test is set. */
sm_status bench_run_row(sm_bench_run *b, bench_row *r, sm_err *err);
sm_status bench_cost_row(const sm_bench_run *b, bench_row *r, sm_err *err); /* bytes and operations a token */
void bench_rate_row(const sm_bench_run *b, bench_row *r);                   /* what follows of cost, times and limits */
/* Milliseconds that row i takes at the limits with all that belongs to it: filling the caches, warm-up, repetitions. */
sm_status bench_work(const sm_bench_run *b, int i, double *out, sm_err *err);

/* ---- bench_trace.c ---- */
/* Runs a prompt and one token at the first depth; events to `events` (trace-event JSON), a table to `table`. */
sm_status bench_trace(sm_bench_run *b, sm_str *events, sm_str *table, sm_err *err);

/* ---- bench_print.c ---- */
void bench_print_text(const sm_bench_run *b, sm_str *out);
sm_status bench_print_json(const sm_bench_run *b, sm_str *out, sm_err *err);
void bench_print_csv(const sm_bench_run *b, sm_str *out);

/* One past result. */
typedef struct bench_past {
    const char *date, *cpu, *isa, *model, *file, *quant, *version, *backend, *test;
    int cores, threads;
    double tps, stddev, roofline, ratio; /* ratio: to the one before of the same test, model, machine; 0: the first */
} bench_past;
void bench_print_past_head(sm_str *out);
void bench_print_past(const bench_past *p, sm_str *out);
json_t *bench_past_json(const bench_past *p);

/* ---- bench_svg.c ---- */
void bench_print_svg(const sm_bench_run *b, sm_str *out);

/* ---- bench_db.c ---- */
typedef struct bench_db bench_db;
/* path NULL: the usual place.  write: made when it is not there; else it must be.  SM_UNSUPPORTED where SQLite is absent. */
sm_status bench_db_open(const char *path, bool write, bench_db **out, sm_err *err);
void bench_db_close(bench_db **db);                                       /* NULL-safe, nulls */
sm_status bench_db_add(bench_db *db, const sm_bench_run *b, sm_err *err); /* all rows, or none */
/* Each past result in order; model NULL: all. */
sm_status bench_db_each(bench_db *db, const char *model, sm_status (*fn)(void *ctx, const bench_past *p, sm_err *err),
                        void *ctx, sm_err *err);
const char *bench_db_version(void); /* of the library; NULL: absent */

#endif
