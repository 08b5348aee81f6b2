/* SPDX-License-Identifier: MIT
 *
 * bench_trace.c: one prompt and one generated token, op by op.
 *
 * Two forms.  A table by kind of op: its time is the mean over threads, so that all kinds and the waiting add up to the
 * time that passed.  And every op on every thread as events in the trace-event format of Chrome, which Perfetto reads too:
 *
 *     thread 0   [ pp512 .......................................................... ]
 *     thread 0    [rms_norm][quantize rows][linear        ][rope][attention    ] ..
 *     thread 1    [rms_norm][quantize rows][linear          ]   [attention   ] ..
 */
#include <stdlib.h>
#include <string.h>

#include "job/bench_int.h"

typedef struct op_sum {
    const char *kind;
    int count;
    double ns, bytes; /* ns: mean over threads */
} op_sum;

typedef struct tracing {
    sm_bench_run *b;
    sm_step_times t;
    sm_str *events;
    int64_t origin; /* of the clock; 0: not yet */
    const char *phase;
    op_sum sums[64];
    int n_sums, steps;
    double total_ns;
} tracing;

static op_sum *sum_of(tracing *c, const char *kind) {
    int i = 0;
    while (i < c->n_sums && strcmp(c->sums[i].kind, kind) != 0)
        i++;
    if (i == c->n_sums) {
        c->n_sums = SM_MIN(c->n_sums + 1, (int)SM_ARRAY_LEN(c->sums));
        i = c->n_sums - 1;
        c->sums[i] = (op_sum){.kind = kind};
    }
    return &c->sums[i];
}

static double us(const tracing *c, int64_t ns) {
    return (double)(ns - c->origin) / 1e3;
}

static void add_text(sm_str *out, const char *text) {
    json_t *j = sm_json_text(sm_sv_of(text));
    char *quoted = j ? json_dumps(j, JSON_ENCODE_ANY) : NULL;
    sm_str_adds(out, quoted ? quoted : "\"\"");
    free(quoted);
    json_decref(j);
}

static void event(tracing *c, const char *name, const char *kind, int thread, int64_t from, int64_t to, double bytes) {
    sm_str_adds(c->events, ",\n{\"ph\":\"X\",\"pid\":1,\"name\":");
    add_text(c->events, name);
    sm_str_adds(c->events, ",\"cat\":");
    add_text(c->events, kind);
    sm_str_addf(c->events, ",\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f,\"args\":{\"bytes\":%.0f}}", thread, us(c, from),
                (double)(to - from) / 1e3, bytes);
}

/* After each step. */
static sm_status take_step(void *ctx, sm_err *err) {
    tracing *c = ctx;
    const sm_step_times *t = &c->t;
    if (c->origin == 0)
        c->origin = t->begun;
    c->steps++;
    c->total_ns += (double)(t->done - t->begun);
    event(c, c->phase, "step", 0, t->begun, t->done, 0.0);
    for (int i = 0; i < t->n_ops; i++) {
        op_sum *s = sum_of(c, t->ops[i].kind);
        s->count++;
        s->bytes += t->bytes[i];
        for (int k = 0; k < t->n_threads; k++) {
            int64_t from = t->start[i * t->n_threads + k], to = t->end[i * t->n_threads + k];
            s->ns += (double)(to - from) / t->n_threads;
            event(c, t->ops[i].name, t->ops[i].kind, k, from, to, t->bytes[i]);
        }
    }
    return sm_str_ok(c->events) ? SM_OK : SM_NOMEM(err);
}

static int by_time(const void *a, const void *b) {
    const op_sum *x = a, *y = b;
    return (x->ns < y->ns) - (x->ns > y->ns);
}

static void print_table(tracing *c, sm_str *out) {
    double rest = c->total_ns;
    qsort(c->sums, (size_t)c->n_sums, sizeof *c->sums, by_time);
    sm_str_addf(out, "\n%s: %.3f ms in %d step%s\n\n| op | count | ms | share | GB/s |\n|---|--:|--:|--:|--:|\n",
                c->phase, c->total_ns / 1e6, c->steps, c->steps == 1 ? "" : "s");
    for (int i = 0; i < c->n_sums; i++) {
        const op_sum *s = &c->sums[i];
        sm_str_addf(out, "| %s | %d | %.3f | %.1f %% | %.2f |\n", s->kind, s->count, s->ns / 1e6,
                    100.0 * s->ns / c->total_ns, s->ns > 0.0 ? s->bytes / s->ns : 0.0);
        rest -= s->ns;
    }
    rest = SM_MAX(rest, 0.0);
    sm_str_addf(out, "| (waiting for other threads) | | %.3f | %.1f %% | |\n", rest / 1e6, 100.0 * rest / c->total_ns);
}

static sm_status phase(tracing *c, const bench_row *r, int32_t tokens, sm_str *table, sm_err *err) {
    char name[BENCH_NAME];
    bench_row named = *r;
    named.tokens = tokens;
    bench_test_name(&named, name);
    c->phase = name;
    c->n_sums = c->steps = 0;
    c->total_ns = 0.0;
    SM_TRY(bench_set_depth(c->b, r->seqs, r->depth, err));
    SM_TRY(sm_engine_time(c->b->eng, &c->t, err));
    sm_status st = bench_feed(c->b, r->kind, r->seqs, tokens, take_step, c, err);
    sm_engine_time(c->b->eng, NULL, NULL);
    SM_TRY(st);
    print_table(c, table);
    c->phase = NULL;
    return SM_OK;
}

sm_status bench_trace(sm_bench_run *b, sm_str *events, sm_str *table, sm_err *err) {
    tracing c = {.b = b, .events = events};
    sm_status st = SM_OK;
    bool had[2] = {false, false};
    sm_str_adds(events, "{\"displayTimeUnit\":\"ms\",\"otherData\":{\"model\":");
    add_text(events, b->name);
    sm_str_adds(events, ",\"machine\":");
    add_text(events, b->m.cpu);
    sm_str_addf(events, ",\"date\":\"%s\"},\"traceEvents\":[\n", b->date);
    sm_str_adds(events,
                "{\"ph\":\"M\",\"pid\":1,\"tid\":0,\"name\":\"process_name\",\"args\":{\"name\":\"smelt bench\"}}");
    for (int k = 0; k < b->info.n_threads; k++)
        sm_str_addf(events,
                    ",\n{\"ph\":\"M\",\"pid\":1,\"tid\":%d,\"name\":\"thread_name\",\"args\":{\"name\":\"thread %d\"}}",
                    k, k);
    for (int i = 0; i < b->n_rows; i++) {
        const bench_row *r = &b->rows[i];
        if (had[r->kind])
            continue;
        had[r->kind] = true;
        SM_TRY_DONE(phase(&c, r, r->kind == BENCH_GEN ? 1 : r->tokens, table, err));
    }
    sm_str_adds(events, "\n]}\n");
done:
    sm_step_times_free(&c.t);
    return st;
}
