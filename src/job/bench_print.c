/* SPDX-License-Identifier: MIT
 *
 * bench_print.c: what was measured, as Markdown, JSON and CSV; past runs as Markdown and JSON.
 *
 * JSON is one array with an object a test; what holds for all tests stands in each of them, so that a line of a log or a
 * row of a table is whole by itself.
 */
#include <inttypes.h>
#include <string.h>

#include "job/bench_int.h"

/* ------------------------------------------------------------------ Markdown */
/* A cell: what would end it is spelled out. */
static void add_cell(sm_str *out, const char *text) {
    for (; *text; text++) {
        if (*text == '|')
            sm_str_addc(out, '\\');
        sm_str_addc(out, *text == '\n' || *text == '\r' ? ' ' : *text);
    }
}

static double mib(uint64_t bytes) {
    return (double)bytes / 1048576.0;
}

static uint64_t held(const sm_bench_run *b) {
    return b->info.weight_bytes + b->info.mapped_bytes;
}

static void print_head(const sm_bench_run *b, sm_str *out) {
    const sm_peak *p = &b->peak;
    sm_str_addf(out, "smelt " SMELT_VERSION ", %s\n\n- machine: ", b->date);
    add_cell(out, b->m.cpu[0] ? b->m.cpu : b->m.arch);
    sm_str_addf(out, ", %d cores, %d threads, %s; kernels %s\n", b->m.cores, b->m.threads, b->m.os,
                b->info.isa[0] ? b->info.isa : "none of their own");
    sm_str_addf(
        out, "- limits (the best of before and after): memory read %.1f GB/s, int8 %.3f Top/s (%s), f32 %.1f Gflop/s\n",
        p->read_gbps, p->int8_tops, p->int8_isa, p->f32_gflops);
    sm_str_adds(out, "- model: ");
    add_cell(out, b->name);
    sm_str_adds(out, " (");
    add_cell(out, b->file);
    sm_str_addf(out, "), %s, %.1f M parameters, %.1f MiB\n", b->quant, (double)b->l->info.n_params / 1e6,
                mib(b->l->file_bytes));
    sm_str_addf(out, "- run: backend %s, %d threads, context %d, %d repetition%s after a warm-up\n", b->backend,
                b->info.n_threads, b->ctx, b->reps, b->reps == 1 ? "" : "s");
    sm_str_addf(out, "- load: ready after %.3f s, first token (a prompt of one) after %.3f s\n", b->load_s,
                b->first_token_s);
    sm_str_addf(out, "- memory: %.1f MiB at most; weights %.1f MiB, of which a step reads %.1f MiB\n\n",
                mib(b->memory_bytes), mib(held(b)), mib(b->info.step_bytes));
}

void bench_print_text(const sm_bench_run *b, sm_str *out) {
    bool several = false;
    for (int i = 0; i < b->n_rows; i++)
        several |= b->rows[i].seqs > 1;
    print_head(b, out);
    sm_str_addf(
        out,
        "| test | tok/s | ± | median | best |%s first token ms | cache MiB | MB/tok | GB/s | GFLOP/s | roofline |\n",
        several ? " each |" : "");
    sm_str_addf(out, "|---|--:|--:|--:|--:|%s--:|--:|--:|--:|--:|--:|\n", several ? "--:|" : "");
    for (int i = 0; i < b->n_rows; i++) {
        const bench_row *r = &b->rows[i];
        sm_str_addf(out, "| %s | %.2f | %.2f | %.2f | %.2f |", r->test, r->tps.mean, r->tps.stddev, r->tps.median,
                    r->tps.best);
        if (several)
            sm_str_addf(out, " %.2f |", r->tps.mean / r->seqs);
        if (r->kind == BENCH_PROMPT)
            sm_str_addf(out, " %.1f |", r->ttft_s * 1e3);
        else
            sm_str_adds(out, " |");
        sm_str_addf(out, " %.1f | %.3f | %.2f | %.1f | %.1f %% %s |\n", mib(r->cache_bytes), r->bytes_per_token / 1e6,
                    r->gbps, r->gflops, 100.0 * r->roofline, r->bound);
    }
}

/* ------------------------------------------------------------------ JSON */
static void put(json_t *o, const char *key, double v) {
    sm_json_put(o, key, json_real(v));
}

static json_t *times(const double *v, int n) {
    json_t *a = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(a, json_real(v[i]));
    return a;
}

static void put_run(const sm_bench_run *b, json_t *o) {
    const sm_peak *p = &b->peak;
    sm_json_put_text(o, "date", b->date);
    sm_json_put_text(o, "version", SMELT_VERSION);
    sm_json_put_text(o, "cpu", b->m.cpu);
    sm_json_put_text(o, "os", b->m.os);
    sm_json_put_int(o, "cores", b->m.cores);
    sm_json_put_text(o, "model", b->name);
    sm_json_put_text(o, "file", b->file);
    sm_json_put_int(o, "file_bytes", (int64_t)b->l->file_bytes);
    sm_json_put_text(o, "quantization", b->quant);
    sm_json_put_int(o, "parameters", (int64_t)b->l->info.n_params);
    sm_json_put_text(o, "backend", b->backend);
    sm_json_put_text(o, "kernels", b->info.isa);
    sm_json_put_int(o, "threads", b->info.n_threads);
    sm_json_put_int(o, "context", b->ctx);
    put(o, "load_s", b->load_s);
    put(o, "load_to_first_token_s", b->first_token_s);
    sm_json_put_int(o, "peak_memory_bytes", (int64_t)b->memory_bytes);
    sm_json_put_int(o, "weight_bytes", (int64_t)held(b));
    sm_json_put_int(o, "step_weight_bytes", (int64_t)b->info.step_bytes);
    put(o, "limit_read_gbps", p->read_gbps);
    put(o, "limit_int8_tops", p->int8_tops);
    put(o, "limit_f32_gflops", p->f32_gflops);
}

static json_t *row_json(const sm_bench_run *b, const bench_row *r) {
    json_t *o = json_object();
    sm_json_put_text(o, "test", r->test);
    sm_json_put_text(o, "kind", r->kind == BENCH_PROMPT ? "prompt" : "generation");
    sm_json_put_int(o, "tokens", r->tokens);
    sm_json_put_int(o, "depth", r->depth);
    sm_json_put_int(o, "sequences", r->seqs);
    put(o, "tps", r->tps.mean);
    put(o, "stddev", r->tps.stddev);
    put(o, "median", r->tps.median);
    put(o, "best", r->tps.best);
    put(o, "tps_per_sequence", r->tps.mean / r->seqs);
    sm_json_put_int(o, "repetitions", r->reps);
    sm_json_put(o, "seconds", times(r->seconds, r->reps));
    if (r->kind == BENCH_PROMPT) {
        put(o, "ttft_ms", r->ttft_s * 1e3);
        sm_json_put(o, "first_token_seconds", times(r->first, r->reps));
    }
    put(o, "bytes_per_token", r->bytes_per_token);
    put(o, "flops_per_token", r->flops_per_token);
    put(o, "gbps", r->gbps);
    put(o, "gflops", r->gflops);
    put(o, "roofline", r->roofline);
    put(o, "roofline_read", r->share_read);
    put(o, "roofline_ops", r->share_ops);
    sm_json_put_text(o, "bound", r->bound);
    sm_json_put_int(o, "cache_bytes", (int64_t)r->cache_bytes);
    put_run(b, o);
    return o;
}

sm_status bench_print_json(const sm_bench_run *b, sm_str *out, sm_err *err) {
    json_t *all = json_array();
    for (int i = 0; i < b->n_rows; i++)
        json_array_append_new(all, row_json(b, &b->rows[i]));
    return sm_json_write(all, 9, out, err);
}

/* ------------------------------------------------------------------ CSV */
static void add_field(sm_str *out, const char *text) {
    sm_str_addc(out, '"');
    for (; *text; text++) {
        if (*text == '"')
            sm_str_addc(out, '"');
        sm_str_addc(out, *text);
    }
    sm_str_addc(out, '"');
}

/* The columns are JSON's keys, in its order, without the lists: so that no second list of them stands here. */
void bench_print_csv(const sm_bench_run *b, sm_str *out) {
    json_t *head = NULL, *v;
    const char *key;
    /* A generation test lacks ttft_ms; the columns are those of a prompt. */
    bench_row first = b->rows[0];
    first.kind = BENCH_PROMPT;
    first.reps = 0;
    head = row_json(b, &first);
    int n = 0;
    json_object_foreach(head, key, v) {
        if (!json_is_array(v))
            sm_str_addf(out, "%s%s", n++ ? "," : "", key);
    }
    sm_str_adds(out, "\r\n");
    for (int i = 0; i < b->n_rows; i++) {
        json_t *o = row_json(b, &b->rows[i]);
        n = 0;
        json_object_foreach(head, key, v) {
            const json_t *x = json_object_get(o, key);
            if (json_is_array(v))
                continue;
            sm_str_adds(out, n++ ? "," : "");
            if (json_is_string(x))
                add_field(out, json_string_value(x));
            else if (json_is_integer(x))
                sm_str_addf(out, "%" PRId64, (int64_t)json_integer_value(x));
            else if (json_is_real(x))
                sm_str_addf(out, "%.9g", json_real_value(x));
        }
        sm_str_adds(out, "\r\n");
        json_decref(o);
    }
    json_decref(head);
}

/* ------------------------------------------------------------------ past runs */
void bench_print_past_head(sm_str *out) {
    sm_str_adds(out, "| date | machine | model | run | test | tok/s | ± | roofline | to the one before |\n"
                     "|---|---|---|---|---|--:|--:|--:|--:|\n");
}

void bench_print_past(const bench_past *p, sm_str *out) {
    sm_str_addf(out, "| %s | ", p->date);
    add_cell(out, p->cpu);
    sm_str_addf(out, ", %d cores | ", p->cores);
    add_cell(out, p->model);
    sm_str_addf(out, ", %s | smelt %s, %s %s, %d threads | %s | %.2f | %.2f | %.1f %% | ", p->quant, p->version,
                p->backend, p->isa, p->threads, p->test, p->tps, p->stddev, 100.0 * p->roofline);
    if (p->ratio > 0.0)
        sm_str_addf(out, "%.3f |\n", p->ratio);
    else
        sm_str_adds(out, "|\n");
}

json_t *bench_past_json(const bench_past *p) {
    json_t *o = json_object();
    sm_json_put_text(o, "date", p->date);
    sm_json_put_text(o, "cpu", p->cpu);
    sm_json_put_int(o, "cores", p->cores);
    sm_json_put_text(o, "kernels", p->isa);
    sm_json_put_text(o, "model", p->model);
    sm_json_put_text(o, "file", p->file);
    sm_json_put_text(o, "quantization", p->quant);
    sm_json_put_text(o, "version", p->version);
    sm_json_put_text(o, "backend", p->backend);
    sm_json_put_int(o, "threads", p->threads);
    sm_json_put_text(o, "test", p->test);
    put(o, "tps", p->tps);
    put(o, "stddev", p->stddev);
    put(o, "roofline", p->roofline);
    if (p->ratio > 0.0)
        put(o, "ratio", p->ratio);
    return o;
}
