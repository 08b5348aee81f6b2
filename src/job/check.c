/* SPDX-License-Identifier: MIT
 *
 * check.c: two engines side by side, one row of logits of each at a time.
 */
#include "job/check.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "engine/engine.h"
#include "engine/sampler.h"

enum { USUAL_WINDOW = 512, OUT_BYTES = 32 << 20, OUT_MIN = 8, OUT_MAX = 128, LOCATE_TOKENS = 48 };

/* Plain prose on several matters, with numbers and code: what a language model has seen a lot of. */
static const char own_text[] =
    "The harbour was quiet in the early morning. A fisherman untied his boat, looked at the sky and decided that the "
    "weather would hold until noon. His daughter, who was eleven years old, carried the nets and asked him why the sea "
    "was salty. He said that rivers wash salt out of the rocks and bring it to the sea, where the water goes up as "
    "vapour and the salt stays behind.\n\n"
    "A prime number is a whole number greater than one that can be divided only by one and by itself. The first few "
    "are 2, 3, 5, 7, 11 and 13. There is no largest prime: if there were, the product of all primes plus one would "
    "have a factor that is not among them.\n\n"
    "def mean(values):\n    total = 0.0\n    for v in values:\n        total += v\n    return total / len(values)\n\n"
    "In 1969 two astronauts walked on the Moon while a third stayed in orbit. They collected about twenty kilograms of "
    "rocks and left a mirror, from which laser light sent from the Earth still returns. The journey home took three "
    "days.\n\n"
    "To cook rice, wash it until the water is clear, then bring one cup of rice and two cups of water to the boil. "
    "Cover the pot, turn the heat down and wait for fifteen minutes. Do not lift the lid. When the time is over, let "
    "it rest for a while before you serve it.\n";

typedef struct side {
    const sm_loaded *l;
    const char *path;
    sm_engine *eng;
    sm_seq *seq;
    double nll;
} side;

typedef struct checker {
    const sm_check_opts *o;
    side s[2];
    int32_t vocab, rows, ctx;
    double sum_abs, sum_sq, sum_sq_a, max_a, max_error, sum_cos, min_cos;
    double *kl; /* [rows of the text] */
    uint64_t n, same, scored;
    sm_progress progress;
} checker;

/* ------------------------------------------------------------------ rows */
static void compare_logits(checker *c, const float *a, const float *b) {
    double dot = 0, aa = 0, bb = 0, ee = 0, abs_sum = 0, worst = 0, most = 0;
    for (int32_t i = 0; i < c->vocab; i++) {
        double x = a[i], y = b[i], e = fabs(y - x);
        dot += x * y;
        aa += x * x;
        bb += y * y;
        ee += e * e;
        abs_sum += e;
        worst = e > worst || isnan(e) ? e : worst;
        most = fmax(most, fabs(x));
    }
    double cosine = aa > 0 && bb > 0 ? dot / (sqrt(aa) * sqrt(bb)) : aa == bb ? 1.0 : 0.0;
    c->sum_abs += abs_sum;
    c->sum_sq += ee;
    c->sum_sq_a += aa;
    c->max_a = fmax(c->max_a, most);
    c->max_error = worst > c->max_error || isnan(worst) ? worst : c->max_error;
    c->sum_cos += cosine;
    c->min_cos = c->n == 0 ? cosine : fmin(c->min_cos, cosine);
}

static double divergence(const float *a, double lse_a, const float *b, double lse_b, int32_t n) {
    double kl = 0;
    for (int32_t i = 0; i < n; i++) {
        double la = a[i] - lse_a;
        kl += exp(la) * (la - (b[i] - lse_b));
    }
    return kl < 0 ? 0 : kl; /* never below 0 but for rounding */
}

/* next: the token that follows in the window; -1: none. */
static void compare_row(checker *c, const float *a, const float *b, int32_t next) {
    double lse[2] = {sm_log_sum_exp(a, c->vocab), sm_log_sum_exp(b, c->vocab)};
    compare_logits(c, a, b);
    c->kl[c->n] = divergence(a, lse[0], b, lse[1], c->vocab);
    c->same += sm_argmax(a, c->vocab) == sm_argmax(b, c->vocab);
    c->n++;
    if (next >= 0) {
        c->s[0].nll -= a[next] - lse[0];
        c->s[1].nll -= b[next] - lse[1];
        c->scored++;
    }
}

static sm_status check_window(checker *c, const int32_t *ids, int32_t n, sm_err *err) {
    for (int k = 0; k < 2; k++)
        sm_seq_truncate(c->s[k].seq, 0);
    for (int32_t at = 0; at < n; at += c->rows) {
        int32_t len = SM_MIN(c->rows, n - at), out[2];
        if (sm_cancelled())
            return SM_FAIL(err, SM_CANCELLED, "stopped");
        for (int k = 0; k < 2; k++) {
            sm_item it = {c->s[k].seq, ids + at, len, SM_WANT_ALL, -1};
            sm_status st = sm_engine_step(c->s[k].eng, &it, 1, err);
            if (st != SM_OK)
                sm_err_prefix(err, "%s", c->s[k].path);
            SM_TRY(st);
            out[k] = it.out;
        }
        for (int32_t r = 0; r < len; r++)
            compare_row(c, sm_engine_logits(c->s[0].eng, out[0] + r), sm_engine_logits(c->s[1].eng, out[1] + r),
                        at + r + 1 < n ? ids[at + r + 1] : -1);
        if (c->o->progress)
            sm_progress_add(&c->progress, (uint64_t)len);
    }
    return SM_OK;
}

/* ------------------------------------------------------------------ tokens */
static const sm_loaded *with_text(const checker *c) {
    return c->s[0].l->tok ? c->s[0].l : c->s[1].l;
}

/* Both tokenizers, where there are two, must cut the text alike. */
static sm_status same_ids(const checker *c, sm_sv text, const sm_ids *ids, sm_err *err) {
    const sm_tokenizer *b = c->s[1].l->tok;
    sm_ids other = {0};
    if (!b || with_text(c)->tok == b)
        return SM_OK;
    sm_status st = sm_tokenizer_encode(b, text, SM_ENC_BOS, &other, err);
    size_t i = 0;
    while (st == SM_OK && i < ids->n && i < other.n && ids->v[i] == other.v[i])
        i++;
    if (st == SM_OK && (i < ids->n || i < other.n))
        st = SM_FAIL(err, SM_BADINPUT,
                     "%s and %s have different vocabularies: token %zu of the text is %d in one and %d in the other",
                     c->s[0].path, c->s[1].path, i, i < ids->n ? ids->v[i] : -1, i < other.n ? other.v[i] : -1);
    sm_ids_free(&other);
    return st;
}

static sm_status encode_text(const checker *c, sm_sv text, sm_ids *ids, sm_err *err) {
    const sm_loaded *l = with_text(c);
    SM_TRY(sm_loaded_tokenizer(l, c->s[0].path, err));
    if (!text.p)
        text = SM_SV(own_text);
    SM_TRY(sm_tokenizer_encode(l->tok, text, SM_ENC_BOS, ids, err));
    SM_TRY(same_ids(c, text, ids, err));
    if (ids->n > 0 && sm_tokenizer_adds_eos(l->tok))
        ids->n--;
    if (c->o->tokens > 0 && ids->n > (size_t)c->o->tokens)
        ids->n = (size_t)c->o->tokens;
    if (ids->n < 2)
        return SM_FAIL(err, SM_BADINPUT, "check: wanted a text of at least 2 tokens, found %zu", ids->n);
    return SM_OK;
}

static sm_status check_windows(checker *c, sm_ids *ids, int *windows, sm_err *err) {
    const sm_tokenizer *t = with_text(c)->tok;
    int32_t bos = sm_tokenizer_adds_bos(t) ? sm_tokenizer_bos(t) : -1;
    sm_status st = SM_OK;
    sm_progress_start(&c->progress, "check", "tok", ids->n);
    for (size_t at = 0; at + 1 < ids->n && st == SM_OK; at += (size_t)c->ctx, ++*windows) {
        if (bos >= 0)
            ids->v[at] = bos;
        st = check_window(c, ids->v + at, (int32_t)SM_MIN(ids->n - at, (size_t)c->ctx), err);
    }
    sm_progress_end(&c->progress);
    return st;
}

/* ------------------------------------------------------------------ report */
static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void report(checker *c, sm_check_report *r) {
    double n = (double)c->n, cells = n * c->vocab, mse = c->sum_sq / cells, sum = 0, sq = 0;
    for (uint64_t i = 0; i < c->n; i++) {
        sum += c->kl[i];
        sq += c->kl[i] * c->kl[i];
    }
    qsort(c->kl, c->n, sizeof *c->kl, ascending);
    r->rows = c->n;
    r->scored = c->scored;
    r->vocab = c->vocab;
    r->max_error = c->max_error;
    r->mean_error = c->sum_abs / cells;
    r->rmse = sqrt(mse);
    r->psnr = 10 * log10(c->max_a * c->max_a / mse);
    r->snr = 10 * log10(c->sum_sq_a / c->sum_sq);
    r->cosine = c->sum_cos / n;
    r->min_cosine = c->min_cos;
    r->kl = sum / n;
    r->kl_error = c->n > 1 ? sqrt(fmax(sq / n - r->kl * r->kl, 0) / (n - 1)) : 0;
    r->kl_max = c->kl[c->n - 1];
    r->kl_p50 = c->kl[(c->n - 1) * 50 / 100];
    r->kl_p90 = c->kl[(c->n - 1) * 90 / 100];
    r->kl_p99 = c->kl[(c->n - 1) * 99 / 100];
    r->top1 = (double)c->same / n;
    r->ppl_a = exp(c->s[0].nll / (double)c->scored);
    r->ppl_b = exp(c->s[1].nll / (double)c->scored);
    r->pass = r->top1 >= c->o->min_top1 && r->kl <= c->o->max_kl && isfinite(r->max_error);
}

static sm_status verdict(const checker *c, const sm_check_report *r, sm_err *err) {
    if (r->pass)
        return SM_OK;
    if (!isfinite(r->max_error))
        return SM_FAIL(err, SM_FAILED, "check: logits that are no numbers");
    if (r->top1 < c->o->min_top1)
        return SM_FAIL(err, SM_FAILED, "check: top-1 agreement %.4f is below %g", r->top1, c->o->min_top1);
    return SM_FAIL(err, SM_FAILED, "check: mean KL divergence %.6f is above %g", r->kl, c->o->max_kl);
}

/* ------------------------------------------------------------------ */
static sm_status start(checker *c, sm_err *err) {
    int32_t ctx[2];
    int64_t usual = c->o->ctx > 0 ? c->o->ctx : USUAL_WINDOW;
    for (int k = 0; k < 2; k++) {
        SM_TRY(sm_loaded_runnable(c->s[k].l, c->s[k].path, err));
        SM_TRY(sm_loaded_ctx(c->s[k].l, c->o->ctx, usual, 2, &ctx[k], err));
    }
    if (c->s[0].l->info.vocab != c->s[1].l->info.vocab)
        return SM_FAIL(err, SM_BADINPUT, "%s and %s have different vocabularies: %d tokens in one, %d in the other",
                       c->s[0].path, c->s[1].path, c->s[0].l->info.vocab, c->s[1].l->info.vocab);
    c->vocab = c->s[0].l->info.vocab;
    c->ctx = SM_MIN(ctx[0], ctx[1]);
    int64_t outs = OUT_BYTES / (4 * (int64_t)SM_MAX(c->vocab, 1));
    c->rows = (int32_t)SM_MIN(SM_MIN(SM_MAX(outs, OUT_MIN), OUT_MAX), c->ctx);
    for (int k = 0; k < 2; k++) {
        sm_engine_opts eo = {.backend = k == 1 && c->o->backend_b ? c->o->backend_b : c->o->backend,
                             .ctx = c->ctx,
                             .max_rows = c->rows,
                             .max_out = c->rows,
                             .n_threads = c->o->n_threads};
        SM_TRY(sm_engine_new(c->s[k].l->func, &eo, &c->s[k].eng, err));
        SM_TRY(sm_seq_new(c->s[k].eng, &c->s[k].seq, err));
    }
    return SM_OK;
}

static void stop(checker *c) {
    for (int k = 0; k < 2; k++) {
        if (c->s[k].seq)
            sm_seq_free(&c->s[k].seq);
        sm_engine_free(&c->s[k].eng);
    }
}

sm_status sm_check(const sm_loaded *a, const char *path_a, const sm_loaded *b, const char *path_b, sm_sv text,
                   const sm_check_opts *o, sm_check_report *out, sm_err *err) {
    checker c = {.o = o, .s = {{.l = a, .path = path_a}, {.l = b, .path = path_b}}};
    sm_ids ids = {0};
    sm_status st;
    memset(out, 0, sizeof *out);
    SM_TRY_DONE(start(&c, err));
    SM_TRY_DONE(encode_text(&c, text, &ids, err));
    c.kl = sm_alloc_n(ids.n, sizeof *c.kl);
    if (!c.kl) {
        st = SM_NOMEM(err);
        goto done;
    }
    SM_TRY_DONE(check_windows(&c, &ids, &out->windows, err));
    report(&c, out);
    stop(&c); /* two more executables of each model come now */
    if (o->locate)
        SM_TRY_DONE(sm_check_locate(a->func, b->func, ids.v,
                                    (int32_t)SM_MIN(ids.n, (size_t)SM_MIN(c.ctx, (int32_t)LOCATE_TOKENS)), o, out,
                                    err));
    st = verdict(&c, out, err);
done:
    stop(&c);
    sm_ids_free(&ids);
    sm_free(c.kl);
    return st;
}
