/* SPDX-License-Identifier: MIT
 *
 * eval.c: feeds windows through the engine and scores each row of logits against the token that came.
 */
#include "job/eval.h"

#include <math.h>
#include <string.h>

#include "base/log.h"
#include "engine/engine.h"
#include "format/npz.h"

enum { ROWS_OUT = 32, USUAL_WINDOW = 512 };

typedef struct scorer {
    const sm_eval_opts *o;
    int32_t vocab;
    const int32_t *ids; /* of the window */
    int32_t n, first;   /* scored: rows first .. n - 2 */
    bool beyond;        /* the last row's prediction is wanted too */
    sm_logprob *top;
    float *keep; /* [n, vocab] for the npz file, or NULL */
    double sum, sum_sq;
    uint64_t count;
    sm_progress progress;
} scorer;

static sm_status score_row(void *ctx, int32_t pos, const float *logits, sm_err *err) {
    scorer *s = ctx;
    (void)err;
    if (s->keep)
        memcpy(s->keep + (size_t)pos * (size_t)s->vocab, logits, (size_t)s->vocab * sizeof *logits);
    if (pos >= s->first && (pos + 1 < s->n || s->beyond)) {
        double lse = sm_log_sum_exp(logits, s->vocab);
        int n_top = s->o->top > 0 && s->o->on_token ? sm_top_logprobs(logits, s->vocab, lse, s->o->top, s->top) : 0;
        int32_t id = -1;
        double lp = 0.0;
        if (pos + 1 < s->n) {
            id = s->ids[pos + 1];
            lp = logits[id] - lse;
            s->sum -= lp;
            s->sum_sq += lp * lp;
            s->count++;
        }
        if (s->o->on_token)
            s->o->on_token(s->o->user, id, lp, s->top, n_top);
    }
    if (s->o->progress)
        sm_progress_add(&s->progress, 1);
    return SM_OK;
}

static void report(const scorer *s, sm_eval_report *out) {
    memset(out, 0, sizeof *out);
    out->scored = s->count;
    if (s->count == 0)
        return;
    double n = (double)s->count;
    out->nll = s->sum / n;
    out->ppl = exp(out->nll);
    double var = s->sum_sq / n - out->nll * out->nll;
    out->ppl_error = s->count > 1 && var > 0.0 ? sqrt(var / (n - 1.0)) * out->ppl : 0.0;
}

static sm_status start(const sm_loaded *l, const char *path, int32_t ctx, const sm_eval_opts *o, scorer *s,
                       sm_engine **eng, sm_seq **seq, sm_err *err) {
    sm_engine_opts eo = {.backend = o->backend, .ctx = ctx, .max_out = ROWS_OUT, .n_threads = o->n_threads};
    SM_TRY(sm_loaded_runnable(l, path, err));
    SM_TRY(sm_engine_new(l->func, &eo, eng, err));
    SM_TRY(sm_seq_new(*eng, seq, err));
    s->o = o;
    s->vocab = sm_engine_vocab(*eng);
    s->top = sm_alloc_n((size_t)SM_MAX(SM_MIN(o->top, s->vocab), 0) + 1, sizeof *s->top);
    return s->top ? SM_OK : SM_NOMEM(err);
}

static sm_status write_logits(const scorer *s, sm_err *err) {
    int64_t dims[2] = {s->n, s->vocab};
    sm_array a = {.name = "logits", .dtype = SM_FP32, .rank = 2, .dims = {dims[0], dims[1]}, .data = s->keep};
    sm_arrays all = {&a, 1, 1};
    return sm_npz_write(s->o->logits_npz, &all, err);
}

sm_status sm_eval_ids(const sm_loaded *l, const char *path, const int32_t *ids, size_t n, const sm_eval_opts *o,
                      sm_eval_report *out, sm_err *err) {
    scorer s = {0};
    sm_engine *eng = NULL;
    sm_seq *seq = NULL;
    int32_t ctx;
    sm_status st;
    if (n == 0 || n > INT32_MAX)
        return SM_FAIL(err, SM_USAGE, "eval: wanted at least one token id");
    SM_TRY(sm_loaded_runnable(l, path, err));
    SM_TRY(sm_loaded_ctx(l, o->ctx, 1, (int64_t)n, &ctx, err));
    SM_TRY_DONE(start(l, path, ctx, o, &s, &eng, &seq, err));
    s.ids = ids;
    s.n = (int32_t)n;
    s.beyond = true;
    if (o->logits_npz) {
        s.keep = sm_alloc_n(n * (size_t)s.vocab, sizeof *s.keep);
        if (!s.keep) {
            st = SM_NOMEM(err);
            goto done;
        }
    }
    sm_progress_start(&s.progress, "eval", "tok", n);
    st = sm_engine_feed(eng, seq, ids, s.n, SM_WANT_ALL, score_row, &s, err);
    sm_progress_end(&s.progress);
    if (st == SM_OK && o->logits_npz)
        st = write_logits(&s, err);
    report(&s, out);
    out->tokens = n;
    out->windows = 1;
done:
    sm_free(s.keep);
    sm_free(s.top);
    sm_seq_free(&seq);
    sm_engine_free(&eng);
    return st;
}

/* One window: BOS in the place of its first token, the first half fed without logits. */
static sm_status eval_window(sm_engine *eng, sm_seq *seq, int32_t *ids, int32_t n, int32_t bos, scorer *s,
                             sm_err *err) {
    int32_t saved = ids[0], half = n / 2;
    if (bos >= 0)
        ids[0] = bos;
    s->ids = ids;
    s->n = n;
    s->first = half;
    sm_seq_truncate(seq, 0);
    sm_status st = sm_engine_feed(eng, seq, ids, half, SM_WANT_NONE, NULL, NULL, err);
    if (s->o->progress && st == SM_OK)
        sm_progress_add(&s->progress, (uint64_t)half);
    if (st == SM_OK)
        st = sm_engine_feed(eng, seq, ids + half, n - half, SM_WANT_ALL, score_row, s, err);
    ids[0] = saved;
    return st;
}

sm_status sm_eval_text(const sm_loaded *l, const char *path, sm_sv text, const sm_eval_opts *o, sm_eval_report *out,
                       sm_err *err) {
    scorer s = {0};
    sm_engine *eng = NULL;
    sm_seq *seq = NULL;
    sm_ids ids = {0};
    int32_t ctx;
    sm_status st;
    SM_TRY(sm_loaded_runnable(l, path, err));
    SM_TRY(sm_loaded_tokenizer(l, path, err));
    SM_TRY(sm_loaded_ctx(l, o->ctx, USUAL_WINDOW, 1, &ctx, err));
    SM_TRY_DONE(sm_tokenizer_encode(l->tok, text, SM_ENC_BOS, &ids, err));
    if (ids.n > 0 && sm_tokenizer_adds_eos(l->tok))
        ids.n--; /* the text goes on: an end would not be scored as text */
    if (ids.n < 4) {
        st = SM_FAIL(err, SM_BADINPUT, "eval: wanted a text of at least 4 tokens, found %zu", ids.n);
        goto done;
    }
    if (ids.n < (size_t)ctx)
        ctx = (int32_t)ids.n;
    SM_TRY_DONE(start(l, path, ctx, o, &s, &eng, &seq, err));
    int32_t bos = sm_tokenizer_adds_bos(l->tok) ? sm_tokenizer_bos(l->tok) : -1;
    int windows = (int)(ids.n / (size_t)ctx);
    sm_progress_start(&s.progress, "eval", "tok", (uint64_t)windows * (uint64_t)ctx);
    for (int w = 0; w < windows && st == SM_OK; w++) {
        st = eval_window(eng, seq, ids.v + (size_t)w * (size_t)ctx, ctx, bos, &s, err);
        sm_trace(SM_T_RUN, 2, "window %d: nll %.6f over %llu", w, s.sum / (double)SM_MAX(s.count, 1),
                 (unsigned long long)s.count);
    }
    sm_progress_end(&s.progress);
    report(&s, out);
    out->tokens = ids.n;
    out->windows = windows;
done:
    sm_ids_free(&ids);
    sm_free(s.top);
    sm_seq_free(&seq);
    sm_engine_free(&eng);
    return st;
}
