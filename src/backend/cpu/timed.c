/* SPDX-License-Identifier: MIT
 *
 * timed.c: what steps read, and how long each takes on each thread.
 *
 * A run without a clock does not pass through here.  With one, every thread notes when it began and ended a step; the gap
 * between two steps of a thread is its wait at the barrier.  Bytes are what a step has to move: packed weights from end to
 * end, rows in and out once each, the cached positions that its rows see once for each sequence.
 */
#include "backend/cpu/cpu_int.h"
#include "base/log.h"

static const struct {
    sm_step_fn run;
    const char *kind;
} kinds[] = {
    {cpu_run_embed, "embed"},        {cpu_run_norm, "rms_norm"},    {cpu_run_turn, "rope table"},
    {cpu_run_rope, "rope"},          {cpu_run_elem, "elementwise"}, {cpu_run_quantize, "quantize rows"},
    {cpu_run_gather, "select rows"}, {cpu_run_store, "store kv"},   {cpu_run_attend, "attention"},
    {cpu_run_gated, "gated_mlp"},
};

static bool is_head(const sm_exe *e, const sm_step *s) {
    return s->run == cpu_run_product && s->u.product.jobs[0].out == e->logits_buf;
}

static const char *kind_of(const sm_exe *e, const sm_step *s) {
    for (size_t i = 0; i < SM_ARRAY_LEN(kinds); i++)
        if (kinds[i].run == s->run)
            return kinds[i].kind;
    return is_head(e, s) ? "lm_head" : "linear";
}

/* Matrices that a step reads whole: their packed bytes, and what of that is codes. */
static uint64_t weight_bytes(const sm_exe *e, const sm_step *s, uint64_t *coded) {
    uint64_t sum = 0;
    int32_t list[2] = {s->u.mlp.gate, s->u.mlp.up};
    int n = s->run == cpu_run_gated ? 2 : s->run == cpu_run_product ? s->u.product.n_jobs : 0;
    for (int i = 0; i < n; i++) {
        const sm_packed *p = &e->weights.v[s->run == cpu_run_gated ? list[i] : s->u.product.jobs[i].weight].p;
        sum += p->bytes;
        *coded += p->coded ? p->bytes : 0;
    }
    return sum;
}

void cpu_count_step_bytes(const sm_exe *e, sm_exe_info *out) {
    out->step_bytes = out->head_bytes = out->coded_bytes = 0;
    for (size_t i = 0; i < e->steps.n; i++) {
        const sm_step *s = &e->steps.v[i];
        uint64_t n = weight_bytes(e, s, &out->coded_bytes);
        out->step_bytes += n;
        out->head_bytes += s->rows == SM_ROWS_R ? n : 0;
    }
}

sm_status cpu_times_new(const sm_exe *e, sm_step_times *t, sm_err *err) {
    size_t n = e->steps.n, threads = (size_t)sm_pool_size(e->pool);
    if (t->ops)
        return SM_OK;
    t->n_ops = (int)n;
    t->n_threads = (int)threads;
    t->ops = sm_alloc_n(n, sizeof *t->ops);
    t->bytes = sm_alloc_n(n, sizeof *t->bytes);
    t->start = sm_alloc_n(n * threads, sizeof *t->start);
    t->end = sm_alloc_n(n * threads, sizeof *t->end);
    if (!t->ops || !t->bytes || !t->start || !t->end) {
        sm_step_times_free(t);
        return SM_NOMEM(err);
    }
    for (size_t i = 0; i < n; i++) {
        const sm_step *s = &e->steps.v[i];
        t->ops[i] = (sm_exe_op){kind_of(e, s), s->name ? s->name : ""};
    }
    return SM_OK;
}

void cpu_walk_timed(void *ctx, int ith, int nth) {
    sm_exe *e = ctx;
    int64_t *start = e->times->start + ith, *end = e->times->end + ith;
    for (size_t i = 0; i < e->steps.n; i++) {
        const sm_step *s = &e->steps.v[i];
        if (s->barrier)
            sm_pool_barrier(e->pool, ith);
        start[i * (size_t)nth] = sm_now_ns();
        s->run(e, s, ith, nth);
        end[i * (size_t)nth] = sm_now_ns();
    }
}

static double row_bytes(const sm_exe *e, int32_t buf) {
    return buf < 0 ? 0.0 : (double)e->bufs.v[buf].stride * cpu_n_rows(e, e->bufs.v[buf].rows);
}

/* Positions that the batch's rows see, each sequence's counted once. */
static double seen(const sm_exe *e, int32_t window) {
    double sum = 0.0;
    for (int i = 0; i < e->batch->n_seqs; i++) {
        const sm_batch_seq *q = &e->batch->seqs[i];
        int64_t all = (int64_t)q->past + q->n_rows;
        sum += (double)(window > 0 ? SM_MIN(all, (int64_t)window + q->n_rows - 1) : all);
    }
    return sum;
}

static double moved(const sm_exe *e, const sm_step *s) {
    uint64_t coded = 0;
    double sum = row_bytes(e, s->out);
    for (int i = 0; i < 3; i++)
        sum += row_bytes(e, s->in[i]);
    if (s->run == cpu_run_product)
        for (int i = 0; i < s->u.product.n_jobs; i++)
            sum += row_bytes(e, s->u.product.jobs[i].out);
    if (s->run == cpu_run_store || s->run == cpu_run_attend) {
        const sm_kv_slot *g = &e->kv[s->u.attn.slot].geo;
        double position = (double)g->heads * (g->head_dim + g->v_dim) * (double)sizeof(uint16_t);
        sum += position * (s->run == cpu_run_store ? e->batch->n_rows : seen(e, s->u.attn.window));
    }
    if (cpu_n_rows(e, s->rows) > 0)
        sum += (double)weight_bytes(e, s, &coded);
    return sum;
}

void cpu_times_bytes(const sm_exe *e) {
    for (size_t i = 0; i < e->steps.n; i++)
        e->times->bytes[i] = moved(e, &e->steps.v[i]);
}
