/* SPDX-License-Identifier: MIT
 *
 * bench.c: the order of things.
 *
 *     read the lists, open output files    what can fail at once fails before anything is measured
 *     open the model, first token          timed
 *     limits of the machine
 *     each number of sequences, each depth: prompts, then generation
 *     limits again
 *     trace, files, past results, text
 *
 * Past results that cannot be kept are told through on_unsaved; the text comes all the same.
 */
#include "job/bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/files.h"
#include "job/bench_int.h"

/* ------------------------------------------------------------------ small parts */
sm_status bench_list_parse(const char *text, const char *what, int32_t lo, int32_t hi, bench_list *out, sm_err *err) {
    out->n = 0;
    for (const char *p = text;; p++) {
        char *end = NULL;
        long v = *p >= '0' && *p <= '9' ? strtol(p, &end, 10) : -1;
        if (v < lo || v > hi || (*end != ',' && *end != '\0'))
            return SM_FAIL(err, SM_USAGE, "--%s: wanted numbers of %d..%d with commas between, found %s", what, lo, hi,
                           sm_quote(text, strlen(text)));
        if (out->n == BENCH_MOST)
            return SM_FAIL(err, SM_USAGE, "--%s: wanted at most %d numbers", what, BENCH_MOST);
        out->v[out->n++] = (int32_t)v;
        p = end;
        if (*p == '\0')
            return SM_OK;
    }
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void bench_stats_of(const double *v, int n, bench_stats *out) {
    double sum = 0.0, squares = 0.0, sorted[1024];
    *out = (bench_stats){0};
    if (n < 1)
        return;
    for (int i = 0; i < n; i++)
        sum += v[i];
    out->mean = sum / n;
    for (int i = 0; i < n; i++)
        squares += (v[i] - out->mean) * (v[i] - out->mean);
    out->stddev = n > 1 ? sqrt(squares / (n - 1)) : 0.0;
    n = SM_MIN(n, (int)SM_ARRAY_LEN(sorted));
    memcpy(sorted, v, (size_t)n * sizeof *v);
    qsort(sorted, (size_t)n, sizeof *sorted, by_size);
    out->median = n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
    out->best = sorted[n - 1];
}

void bench_test_name(const bench_row *r, char out[BENCH_NAME]) {
    int n = snprintf(out, BENCH_NAME, "%s%d", r->kind == BENCH_PROMPT ? "pp" : "tg", r->tokens);
    if (r->depth > 0)
        n += snprintf(out + n, BENCH_NAME - (size_t)n, "@d%d", r->depth);
    if (r->seqs > 1)
        snprintf(out + n, BENCH_NAME - (size_t)n, "@b%d", r->seqs);
}

/* ------------------------------------------------------------------ what is asked for */
static bool is_none(const char *text) {
    return text && strcmp(text, "0") == 0;
}

static sm_status read_lists(sm_bench_run *b, sm_err *err) {
    enum { TOKENS_MAX = 1 << 24, SEQS_MAX = 1024 };
    const sm_bench_opts *o = b->o;
    if (!is_none(o->prompts))
        SM_TRY(bench_list_parse(o->prompts ? o->prompts : "512", "n-prompt", 1, TOKENS_MAX, &b->prompts, err));
    if (!is_none(o->gens))
        SM_TRY(bench_list_parse(o->gens ? o->gens : "128", "n-gen", 1, TOKENS_MAX, &b->gens, err));
    SM_TRY(bench_list_parse(o->depths ? o->depths : "0", "n-depth", 0, TOKENS_MAX, &b->depths, err));
    SM_TRY(bench_list_parse(o->seqs ? o->seqs : "1", "sequences", 1, SEQS_MAX, &b->seqs, err));
    b->reps = o->reps > 0 ? o->reps : 5;
    if (b->reps > 1000)
        return SM_FAIL(err, SM_USAGE, "--repetitions: wanted at most 1000, found %d", b->reps);
    if (b->prompts.n + b->gens.n == 0)
        return SM_FAIL(err, SM_USAGE,
                       "bench: neither prompts (-p) nor generated tokens (-n) are wanted: nothing to measure");
    return SM_OK;
}

static sm_status add_rows(sm_bench_run *b, sm_err *err) {
    size_t most = (size_t)(b->prompts.n + b->gens.n) * (size_t)b->depths.n * (size_t)b->seqs.n;
    b->rows = sm_arena_alloc_n(b->mem, most, sizeof *b->rows);
    if (!b->rows)
        return SM_NOMEM(err);
    for (int s = 0; s < b->seqs.n; s++)
        for (int d = 0; d < b->depths.n; d++)
            for (int i = 0; i < b->prompts.n + b->gens.n; i++) {
                bench_row *r = &b->rows[b->n_rows++];
                bool gen = i >= b->prompts.n;
                r->kind = gen ? BENCH_GEN : BENCH_PROMPT;
                r->tokens = gen ? b->gens.v[i - b->prompts.n] : b->prompts.v[i];
                r->depth = b->depths.v[d];
                r->seqs = b->seqs.v[s];
                bench_test_name(r, r->test);
            }
    return SM_OK;
}

/* The row that takes the most positions must fit; the error names it. */
static sm_status choose_ctx(sm_bench_run *b, sm_err *err) {
    int64_t need = 1;
    const bench_row *most = NULL;
    for (int i = 0; i < b->n_rows; i++) {
        int64_t n = (int64_t)b->rows[i].depth + b->rows[i].tokens;
        most = n >= need ? &b->rows[i] : most;
        need = SM_MAX(need, n);
    }
    sm_status st = sm_loaded_ctx(b->l, b->o->ctx, need, need, &b->ctx, err);
    if (st == SM_RESOURCE && most && err) {
        sm_err_prefix(err, "%s", most->test);
        sm_err_hint(err, "ask for less with -p, -n or -d, or for a larger context with -c");
    }
    return st;
}

/* ------------------------------------------------------------------ the model */
typedef struct share {
    char name[48];
    uint64_t bytes;
} share;

static int by_bytes(const void *a, const void *b) {
    const share *x = a, *y = b;
    return (x->bytes < y->bytes) - (x->bytes > y->bytes);
}

/* Encodings that hold a twentieth of the matrices' bytes or more. */
static void name_quant(sm_bench_run *b) {
    share list[16] = {{{0}, 0}};
    int n = 0;
    uint64_t all = 0;
    for (const sm_node *x = b->l->func->body->first; x; x = x->next)
        for (int i = 0; i < sm_op_row_of(x->op)->n_slots; i++) {
            const sm_value *v = x->in[i];
            char name[160], *cut;
            int k = 0;
            if (!v || !v->cst || v->type.rank != 2)
                continue;
            if (v->cst->src.enc.id == SM_ENC_DENSE)
                snprintf(name, sizeof name, "%s", sm_dtype_name(v->cst->src.dtype));
            else
                sm_enc_print(&v->cst->src.enc, v->cst->src.rank, name, sizeof name);
            if ((cut = strpbrk(name, "([{ ")) != NULL)
                *cut = '\0';
            while (k < n && strncmp(list[k].name, name, sizeof list[k].name - 1) != 0)
                k++;
            if (k == (int)SM_ARRAY_LEN(list))
                continue;
            if (k == n)
                snprintf(list[n++].name, sizeof list[0].name, "%.47s", name);
            list[k].bytes += sm_tensor_bytes(&v->cst->src);
            all += sm_tensor_bytes(&v->cst->src);
        }
    qsort(list, (size_t)n, sizeof *list, by_bytes);
    for (int k = 0; k < n && list[k].bytes * 20 >= all; k++) {
        size_t at = strlen(b->quant);
        snprintf(b->quant + at, sizeof b->quant - at, "%s%s", k ? "+" : "", list[k].name);
    }
}

static sm_status new_engine(sm_bench_run *b, sm_err *err) {
    int32_t most = 1;
    for (int i = 0; i < b->seqs.n; i++)
        most = SM_MAX(most, b->seqs.v[i]);
    sm_engine_opts eo = {.backend = b->o->backend, .ctx = b->ctx, .max_seqs = most, .n_threads = b->o->n_threads};
    SM_TRY(sm_engine_new(b->l->func, &eo, &b->eng, err));
    sm_engine_info(b->eng, &b->info);
    b->backend = sm_engine_backend(b->eng)->name;
    b->vocab = sm_engine_vocab(b->eng);
    b->rows_per_step = sm_engine_rows(b->eng);
    int64_t positions = (int64_t)sm_engine_free_pages(b->eng) * sm_knob_int(SM_KNOB_PAGE);
    b->kv_position_bytes = positions > 0 ? b->info.kv_bytes / (uint64_t)positions : 0;
    b->seq = sm_arena_alloc_n(b->mem, (size_t)most, sizeof *b->seq);
    b->items = sm_arena_alloc_n(b->mem, (size_t)most, sizeof *b->items);
    b->ids = sm_arena_alloc_n(b->mem, (size_t)SM_MAX(b->rows_per_step, most), sizeof *b->ids);
    if (!b->seq || !b->items || !b->ids)
        return SM_NOMEM(err);
    for (; b->n_seqs < most; b->n_seqs++)
        SM_TRY(sm_seq_new(b->eng, &b->seq[b->n_seqs], err));
    return SM_OK;
}

/* Opens the model and computes a first token, both timed. */
static sm_status open_model(sm_bench_run *b, sm_err *err) {
    int64_t t0 = sm_now_ns();
    SM_TRY(sm_load(b->o->path, NULL, &b->l, err));
    SM_TRY(sm_loaded_runnable(b->l, b->o->path, err));
    SM_TRY(choose_ctx(b, err));
    SM_TRY(new_engine(b, err));
    if (b->o->trace && !sm_engine_backend(b->eng)->run_timed)
        return SM_FAIL(err, SM_UNSUPPORTED, "--trace: backend %s does not time its ops", b->backend);
    b->load_s = (double)(sm_now_ns() - t0) / 1e9;
    SM_TRY(bench_feed(b, BENCH_PROMPT, 1, 1, NULL, NULL, err));
    bench_first_token(b, 1);
    b->first_token_s = (double)(sm_now_ns() - t0) / 1e9;
    b->file = sm_path_base(b->o->path);
    b->name = b->l->name && *b->l->name ? b->l->name : b->file;
    name_quant(b);
    return SM_OK;
}

/* ------------------------------------------------------------------ measuring */
static sm_status measure_limits(sm_bench_run *b, sm_err *err) {
    sm_peak p;
    sm_peak_opts po = {
        .n_threads = b->info.n_threads > 0 ? b->info.n_threads : b->o->n_threads,
        .last_cache_bytes = sm_machine_last_cache(&b->m),
        .memory_bytes = b->m.memory_available > 0 ? b->m.memory_available : sm_machine_memory(&b->m),
        .seconds = SM_MAX(sm_knob_int(SM_KNOB_LIMITS_MS), 1) / 1e3,
    };
    SM_TRY(sm_peak_measure(&po, b->isa, &p, err));
    if (b->peak.n_threads == 0) {
        b->peak = p;
        return SM_OK;
    }
    b->peak.read_gbps = SM_MAX(b->peak.read_gbps, p.read_gbps);
    b->peak.int8_tops = SM_MAX(b->peak.int8_tops, p.int8_tops);
    b->peak.f32_gflops = SM_MAX(b->peak.f32_gflops, p.f32_gflops);
    return SM_OK;
}

static sm_status run_tests(sm_bench_run *b, sm_err *err) {
    double work = 0.0, one;
    sm_status st = SM_OK;
    for (int i = 0; i < b->n_rows; i++) {
        SM_TRY(bench_cost_row(b, &b->rows[i], err));
        SM_TRY(bench_work(b, i, &one, err));
        work += one;
    }
    sm_progress_start(&b->progress, "bench", "ms", (uint64_t)work + 1);
    for (int i = 0; st == SM_OK && i < b->n_rows; i++) {
        st = bench_run_row(b, &b->rows[i], err);
        sm_mem_sample();
    }
    sm_progress_end(&b->progress);
    b->progress.what = NULL;
    return st;
}

static sm_status measure(sm_bench_run *b, sm_err *err) {
    SM_TRY(open_model(b, err));
    sm_mem_sample();
    SM_TRY(measure_limits(b, err));
    SM_TRY(run_tests(b, err));
    SM_TRY(measure_limits(b, err));
    for (int i = 0; i < b->n_rows; i++)
        bench_rate_row(b, &b->rows[i]);
    b->memory_bytes = sm_peak_anon_bytes() > 0 ? sm_peak_anon_bytes() : sm_peak_rss_bytes();
    return SM_OK;
}

/* ------------------------------------------------------------------ results */
typedef struct outputs {
    sm_outfile *csv, *svg, *trace;
} outputs;

static void close_outputs(outputs *o) {
    sm_outfile_abandon(&o->csv);
    sm_outfile_abandon(&o->svg);
    sm_outfile_abandon(&o->trace);
}

/* Only now, so that a run that fails leaves nothing.  That this smelt has no SQLite is news only to who named a file. */
static void save(const sm_bench_run *b) {
    const sm_bench_opts *o = b->o;
    bench_db *db = NULL;
    sm_err why = {0};
    if (o->no_save)
        return;
    sm_status st = bench_db_open(o->db, true, &db, &why);
    if (st == SM_OK)
        st = bench_db_add(db, b, &why);
    bench_db_close(&db);
    if (st != SM_OK && o->on_unsaved && (o->db || bench_db_version()))
        o->on_unsaved(o->user, &why);
}

static sm_status open_outputs(const sm_bench_opts *o, outputs *out, sm_err *err) {
    if (o->csv)
        SM_TRY(sm_outfile_new(o->csv, &out->csv, err));
    if (o->svg)
        SM_TRY(sm_outfile_new(o->svg, &out->svg, err));
    if (o->trace)
        SM_TRY(sm_outfile_new(o->trace, &out->trace, err));
    return SM_OK;
}

static sm_status write_file(sm_outfile **f, sm_str *s, sm_err *err) {
    sm_status st = sm_str_ok(s) ? SM_OK : SM_NOMEM(err);
    if (st == SM_OK)
        st = sm_outfile_append(*f, sm_str_z(s), s->n, err);
    if (st == SM_OK)
        st = sm_outfile_commit(f, err);
    sm_str_free(s);
    return st;
}

static sm_status write_outputs(sm_bench_run *b, outputs *o, sm_str *table, sm_err *err) {
    sm_str s = SM_STR_INIT;
    if (o->trace) {
        sm_status st = bench_trace(b, &s, table, err);
        if (st != SM_OK)
            sm_str_free(&s);
        SM_TRY(st);
        SM_TRY(write_file(&o->trace, &s, err));
    }
    if (o->csv) {
        bench_print_csv(b, &s);
        SM_TRY(write_file(&o->csv, &s, err));
    }
    if (o->svg) {
        bench_print_svg(b, &s);
        SM_TRY(write_file(&o->svg, &s, err));
    }
    save(b);
    return SM_OK;
}

static void free_run(sm_bench_run **pb) {
    sm_bench_run *b = *pb;
    if (!b)
        return;
    for (int32_t i = 0; i < b->n_seqs; i++)
        sm_seq_free(&b->seq[i]);
    sm_engine_free(&b->eng);
    sm_loaded_free(&b->l);
    sm_arena_free(&b->mem);
    sm_free(b);
    *pb = NULL;
}

static void set_date(sm_bench_run *b) {
    time_t now = time(NULL);
    struct tm tm;
    if (gmtime_r(&now, &tm))
        strftime(b->date, sizeof b->date, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

sm_status sm_bench(const sm_bench_opts *o, sm_str *out, sm_err *err) {
    sm_bench_run *b = sm_alloc(sizeof *b);
    outputs files = {0};
    sm_str table = SM_STR_INIT;
    sm_status st = b ? SM_OK : SM_NOMEM(err);
    SM_TRY_DONE(st);
    b->o = o;
    b->mem = sm_arena_new();
    if (!b->mem) {
        st = SM_NOMEM(err);
        goto done;
    }
    set_date(b);
    SM_TRY_DONE(read_lists(b, err));
    SM_TRY_DONE(add_rows(b, err));
    sm_machine_read("", &b->m);
    SM_TRY_DONE(sm_isa_choose(&b->isa, err));
    SM_TRY_DONE(open_outputs(o, &files, err));
    SM_TRY_DONE(measure(b, err));
    SM_TRY_DONE(write_outputs(b, &files, &table, err));
    if (o->json) {
        SM_TRY_DONE(bench_print_json(b, out, err));
    } else {
        bench_print_text(b, out);
        sm_str_add(out, sm_str_z(&table), table.n);
    }
    st = sm_str_ok(out) && sm_str_ok(&table) ? SM_OK : SM_NOMEM(err);
done:
    sm_str_free(&table);
    close_outputs(&files);
    free_run(&b);
    return st;
}

/* ------------------------------------------------------------------ past results */
typedef struct past {
    sm_str *out;
    json_t *list; /* NULL: text */
    int n;
} past;

static sm_status add_past(void *ctx, const bench_past *p, sm_err *err) {
    past *h = ctx;
    (void)err;
    if (h->list)
        json_array_append_new(h->list, bench_past_json(p));
    else
        bench_print_past(p, h->out);
    h->n++;
    return SM_OK;
}

sm_status sm_bench_history(const char *db, const char *model, bool json, sm_str *out, sm_err *err) {
    bench_db *d = NULL;
    past h = {out, json ? json_array() : NULL, 0};
    sm_status st;
    SM_TRY_DONE(bench_db_open(db, false, &d, err));
    if (!json)
        bench_print_past_head(out);
    SM_TRY_DONE(bench_db_each(d, model, add_past, &h, err));
    if (json) {
        st = sm_json_write(h.list, 9, out, err);
        h.list = NULL;
    } else if (h.n == 0) {
        sm_str_clear(out);
        sm_str_adds(out, "no past runs\n");
    }
    if (st == SM_OK && !sm_str_ok(out))
        st = SM_NOMEM(err);
done:
    if (h.list)
        json_decref(h.list);
    bench_db_close(&d);
    return st;
}
