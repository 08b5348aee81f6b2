/* SPDX-License-Identifier: MIT
 *
 * bench_measure.c: one test, repeated; what it has to read and compute.
 *
 * BYTES A TOKEN.  A step reads its matrices once, as the backend packed them (sm_exe_info; as they are stored where a
 * backend does not say), and the cached positions of each sequence; writing new positions counts too.  Divided by the
 * tokens of the step.
 *
 * OPERATIONS A TOKEN come from the graph (sm_func_cost), at the token's own position, so that windows and causal masks
 * count as what they are: a multiplication and its addition are two.  Where a test has many positions, SAMPLES of them
 * stand for all.
 */
#include <math.h>
#include <string.h>

#include "job/bench_int.h"

enum { SAMPLES = 128, WARM_TOKENS = 16 };

/* ------------------------------------------------------------------ tokens */
/* The same id for a position and a sequence each time. */
static int32_t id_at(const sm_bench_run *b, int32_t seq, int32_t pos) {
    uint64_t x = ((uint64_t)(uint32_t)seq << 32 | (uint32_t)pos) + 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (int32_t)((x ^ x >> 31) % (uint64_t)b->vocab);
}

static void move_bar(sm_bench_run *b, double tokens) {
    uint64_t before = (uint64_t)b->work_done;
    b->work_done += b->work_per_token * tokens;
    if (b->progress.what)
        sm_progress_add(&b->progress, (uint64_t)b->work_done - before);
}

sm_status bench_feed(sm_bench_run *b, bench_kind kind, int32_t n, int32_t tokens,
                     sm_status (*each)(void *ctx, sm_err *err), void *ctx, sm_err *err) {
    int32_t most = kind == BENCH_GEN ? 1 : SM_MAX(b->rows_per_step / n, 1);
    for (int32_t at = 0; at < tokens;) {
        int32_t len = SM_MIN(most, tokens - at), *ids = b->ids;
        bool wanted = kind == BENCH_GEN || at + len == tokens;
        if (sm_cancelled())
            return SM_FAIL(err, SM_CANCELLED, "stopped");
        for (int32_t i = 0; i < n; i++, ids += len) {
            for (int32_t k = 0; k < len; k++)
                ids[k] = id_at(b, i, sm_seq_len(b->seq[i]) + k);
            b->items[i] = (sm_item){b->seq[i], ids, len, wanted ? SM_WANT_LAST : SM_WANT_NONE, -1};
        }
        SM_TRY(sm_engine_step(b->eng, b->items, n, err));
        if (each)
            SM_TRY(each(ctx, err));
        if (b->o->progress)
            move_bar(b, (double)len * n);
        at += len;
    }
    return SM_OK;
}

sm_status bench_set_depth(sm_bench_run *b, int32_t n, int32_t depth, sm_err *err) {
    int32_t least = depth;
    for (int32_t i = 0; i < b->n_seqs; i++) {
        int32_t len = sm_seq_len(b->seq[i]), want = i < n ? depth : 0;
        if (len > want)
            sm_seq_truncate(b->seq[i], want);
        if (i < n)
            least = SM_MIN(least, sm_seq_len(b->seq[i]));
    }
    if (least == depth)
        return SM_OK;
    for (int32_t i = 0; i < n; i++) /* those that are ahead wait for the others: they go on in common steps */
        sm_seq_truncate(b->seq[i], least);
    return bench_feed(b, BENCH_PROMPT, n, depth - least, NULL, NULL, err);
}

int32_t bench_first_token(const sm_bench_run *b, int32_t n) {
    int32_t best = 0;
    for (int32_t i = 0; i < n; i++) {
        const float *x = sm_engine_logits(b->eng, b->items[i].out);
        best = 0;
        for (int32_t k = 1; k < b->vocab; k++)
            best = x[k] > x[best] ? k : best;
    }
    return best;
}

/* ------------------------------------------------------------------ cost */
typedef struct costing {
    const sm_bench_run *b;
    int64_t *sym;
    int t, r; /* symbols: rows, rows with logits */
} costing;

static void cost_at(const costing *c, int64_t rows, int64_t outs, int64_t kv_len, sm_cost *out) {
    if (c->t >= 0)
        c->sym[c->t] = rows;
    if (c->r >= 0)
        c->sym[c->r] = outs;
    sm_func_cost(c->b->l->func, c->sym, kv_len, out);
}

/* Matrices that a step reads. */
static double step_bytes(const costing *c, bool outs) {
    const sm_exe_info *info = &c->b->info;
    sm_cost as_stored;
    if (info->step_bytes > 0)
        return (double)(info->step_bytes - (outs ? 0 : info->head_bytes));
    cost_at(c, 1, outs, 1, &as_stored);
    return as_stored.weight_bytes;
}

static void count_bytes(const costing *c, bench_row *r) {
    bool gen = r->kind == BENCH_GEN;
    int32_t len = gen ? 1 : SM_MAX(c->b->rows_per_step / r->seqs, 1), steps = (r->tokens + len - 1) / len;
    int32_t stride = (steps + SAMPLES - 1) / SAMPLES;
    double sum = step_bytes(c, gen) * (steps - 1) + step_bytes(c, true), kv = 0.0;
    sm_cost cost;
    for (int32_t i = 0; i < steps; i += stride) {
        int32_t many = SM_MIN(stride, steps - i), at = (i + many / 2) * len, rows = SM_MIN(len, r->tokens - at);
        cost_at(c, rows, 1, (int64_t)r->depth + at + rows, &cost);
        kv += cost.kv_bytes * many;
    }
    r->bytes_per_token = (sum + kv * r->seqs) / ((double)r->tokens * r->seqs);
}

static void count_flops(const costing *c, bench_row *r) {
    int32_t stride = (r->tokens + SAMPLES - 1) / SAMPLES;
    double sum = 0.0;
    sm_cost cost, last;
    for (int32_t i = 0; i < r->tokens; i += stride) {
        int32_t many = SM_MIN(stride, r->tokens - i);
        cost_at(c, 1, r->kind == BENCH_GEN, (int64_t)r->depth + i + many / 2 + 1, &cost);
        sum += cost.flops * many;
    }
    if (r->kind == BENCH_PROMPT) { /* the head of the last row */
        int64_t end = (int64_t)r->depth + r->tokens;
        cost_at(c, 1, 1, end, &last);
        cost_at(c, 1, 0, end, &cost);
        sum += last.flops - cost.flops;
    }
    r->flops_per_token = sum / r->tokens;
}

static int symbol_of(const sm_func *f, const char *input) {
    for (int i = 0; i < f->body->n_in; i++)
        if (f->body->in[i]->type.kind == SM_V_TENSOR && strcmp(f->body->in[i]->name, input) == 0)
            return sm_dim_as_symbol(f->graph, f->body->in[i]->type.dims[0]);
    return -1;
}

sm_status bench_cost_row(const sm_bench_run *b, bench_row *r, sm_err *err) {
    const sm_func *f = b->l->func;
    int n = sm_graph_n_symbols(f->graph);
    costing c = {.b = b, .sym = sm_alloc_n((size_t)n + 1, sizeof *c.sym)};
    if (!c.sym)
        return SM_NOMEM(err);
    for (int i = 0; i < n; i++)
        c.sym[i] = 1;
    c.t = symbol_of(f, "ids");
    c.r = symbol_of(f, "out");
    count_bytes(&c, r);
    count_flops(&c, r);
    r->cache_bytes = b->kv_position_bytes * (uint64_t)(r->depth + r->tokens) * (uint64_t)r->seqs;
    sm_free(c.sym);
    return SM_OK;
}

/* Weights that are codes are multiplied as integers; a model without any in f32. */
static bool integers(const sm_bench_run *b) {
    return b->info.coded_bytes > 0;
}

static double ops_per_second(const sm_bench_run *b) {
    return integers(b) ? b->peak.int8_tops * 1e12 : b->peak.f32_gflops * 1e9;
}

void bench_rate_row(const sm_bench_run *b, bench_row *r) {
    r->gbps = r->bytes_per_token * r->tps.mean / 1e9;
    r->gflops = r->flops_per_token * r->tps.mean / 1e9;
    r->share_read = b->peak.read_gbps > 0.0 ? r->gbps / b->peak.read_gbps : 0.0;
    r->share_ops = ops_per_second(b) > 0.0 ? r->gflops * 1e9 / ops_per_second(b) : 0.0;
    r->roofline = SM_MAX(r->share_read, r->share_ops);
    r->bound = r->share_read >= r->share_ops ? "memory" : integers(b) ? "integer" : "f32";
}

/* Milliseconds a token at the limits. */
static double token_work(const sm_bench_run *b, const bench_row *r) {
    double read = b->peak.read_gbps > 0.0 ? r->bytes_per_token / b->peak.read_gbps / 1e6 : 0.0;
    double ops = ops_per_second(b) > 0.0 ? r->flops_per_token / ops_per_second(b) * 1e3 : 0.0;
    return SM_MAX(read, ops);
}

static int32_t warm_tokens(const bench_row *r) {
    return r->kind == BENCH_GEN ? SM_MIN(r->tokens, (int32_t)WARM_TOKENS) : r->tokens;
}

/* The prompt that fills the caches. */
static sm_status fill_row(const sm_bench_run *b, const bench_row *r, bench_row *fill, sm_err *err) {
    *fill = (bench_row){.kind = BENCH_PROMPT, .tokens = SM_MAX(r->depth, 1), .seqs = r->seqs};
    return bench_cost_row(b, fill, err);
}

sm_status bench_work(const sm_bench_run *b, int i, double *out, sm_err *err) {
    const bench_row *r = &b->rows[i];
    double tokens = (double)r->tokens * b->reps + warm_tokens(r);
    bench_row fill;
    SM_TRY(fill_row(b, r, &fill, err));
    *out = token_work(b, r) * tokens * r->seqs;
    /* Longer caches go on where shorter ones end. */
    bool follows = i > 0 && b->rows[i - 1].seqs == r->seqs;
    int32_t from = follows ? b->rows[i - 1].depth : 0;
    if (r->depth > from)
        *out += token_work(b, &fill) * (r->depth - from) * r->seqs;
    return SM_OK;
}

/* ------------------------------------------------------------------ a test */
static sm_status once(sm_bench_run *b, const bench_row *r, int32_t tokens, double *seconds, double *first,
                      sm_err *err) {
    SM_TRY(bench_set_depth(b, r->seqs, r->depth, err));
    int64_t t0 = sm_now_ns();
    SM_TRY(bench_feed(b, r->kind, r->seqs, tokens, NULL, NULL, err));
    int64_t t1 = sm_now_ns();
    if (r->kind == BENCH_PROMPT)
        bench_first_token(b, r->seqs);
    *seconds = (double)SM_MAX(t1 - t0, 1) / 1e9;
    *first = (double)SM_MAX(sm_now_ns() - t0, 1) / 1e9;
    return SM_OK;
}

sm_status bench_run_row(sm_bench_run *b, bench_row *r, sm_err *err) {
    double warm, warm_first, *tps;
    bench_row fill;
    r->seconds = sm_arena_alloc_n(b->mem, (size_t)b->reps, sizeof *r->seconds);
    r->first = sm_arena_alloc_n(b->mem, (size_t)b->reps, sizeof *r->first);
    tps = sm_arena_alloc_n(b->mem, (size_t)b->reps, sizeof *tps);
    if (!r->seconds || !r->first || !tps)
        return SM_NOMEM(err);
    b->progress.what = r->test;
    SM_TRY(fill_row(b, r, &fill, err));
    b->work_per_token = token_work(b, &fill);
    SM_TRY(bench_set_depth(b, r->seqs, r->depth, err));
    b->work_per_token = token_work(b, r);
    SM_TRY(once(b, r, warm_tokens(r), &warm, &warm_first, err));
    for (; r->reps < b->reps; r->reps++) {
        int i = r->reps;
        SM_TRY(once(b, r, r->tokens, &r->seconds[i], &r->first[i], err));
        tps[i] = (double)r->tokens * r->seqs / r->seconds[i];
        r->ttft_s += r->kind == BENCH_PROMPT ? r->first[i] / b->reps : 0.0;
    }
    bench_stats_of(tps, r->reps, &r->tps);
    return SM_OK;
}
