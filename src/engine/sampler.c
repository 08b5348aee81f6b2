/* SPDX-License-Identifier: MIT
 *
 * sampler.c: choosing tokens.
 *
 * Probabilities are summed in double in order of id, so that a draw does not depend on how candidates were found.
 */
#include "engine/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct sm_sampler {
    sm_sampling p;
    int32_t vocab;
    uint64_t rng[4];
    float *penalized; /* [vocab], made when a penalty is on */
    sm_logprob *cand; /* [vocab] candidates: id and logit */
};

/* ------------------------------------------------------------------ random numbers: xoshiro256**, seeded by splitmix64 */
static uint64_t rotl(uint64_t x, int k) {
    return x << k | x >> (64 - k);
}

static void rng_seed(uint64_t rng[4], uint64_t seed) {
    for (int i = 0; i < 4; i++) {
        uint64_t z = seed += 0x9E3779B97F4A7C15u;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
        z = (z ^ z >> 27) * 0x94D049BB133111EBu;
        rng[i] = z ^ z >> 31;
    }
}

/* Uniform in [0, 1). */
static double rng_next(uint64_t s[4]) {
    uint64_t r = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return (double)(r >> 11) * 0x1p-53;
}

/* ------------------------------------------------------------------ */
const sm_sampling sm_sampling_usual = {
    .temp = 0.8,
    .dynatemp_exp = 1.0,
    .top_k = 40,
    .top_p = 0.95,
    .typical_p = 1.0,
    .top_n_sigma = -1.0,
    .xtc_threshold = 0.1,
    .repeat_penalty = 1.0,
    .repeat_last_n = 64,
    .dry_base = 1.75,
    .dry_allowed_length = 2,
    .dry_penalty_last_n = 64,
    .mirostat_tau = 5.0,
    .mirostat_eta = 0.1,
    .samplers = "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature",
};

sm_status sm_sampling_check(const sm_sampling *s, sm_err *err) {
    if (!(s->temp >= 0.0 && s->temp <= 100.0))
        return SM_FAIL(err, SM_USAGE, "temp: wanted 0..100, found %g", s->temp);
    if (s->top_k < 0)
        return SM_FAIL(err, SM_USAGE, "top-k: wanted 0 or more, found %d", s->top_k);
    if (!(s->top_p > 0.0 && s->top_p <= 1.0))
        return SM_FAIL(err, SM_USAGE, "top-p: wanted above 0, at most 1, found %g", s->top_p);
    if (!(s->min_p >= 0.0 && s->min_p <= 1.0))
        return SM_FAIL(err, SM_USAGE, "min-p: wanted 0..1, found %g", s->min_p);
    if (!(s->repeat_penalty > 0.0 && s->repeat_penalty <= 100.0))
        return SM_FAIL(err, SM_USAGE, "repeat-penalty: wanted above 0, at most 100, found %g", s->repeat_penalty);
    if (s->typical_p < 1.0 || s->top_n_sigma > 0.0 || s->xtc_probability > 0.0 || s->presence_penalty != 0.0 ||
        s->frequency_penalty != 0.0 || s->dry_multiplier != 0.0 || s->mirostat || s->dynatemp_range > 0.0 ||
        s->n_logit_bias || strcmp(s->samplers, sm_sampling_usual.samplers) != 0)
        return SM_FAIL(err, SM_UNSUPPORTED, "this sampler is not supported here yet");
    return SM_OK;
}

sm_status sm_sampler_new(const sm_sampling *p, int32_t vocab, const sm_tokenizer *tok, sm_sampler **out, sm_err *err) {
    (void)tok;
    *out = NULL;
    SM_TRY(sm_sampling_check(p, err));
    sm_sampler *s = sm_alloc(sizeof *s);
    if (!s)
        return SM_NOMEM(err);
    s->p = *p;
    s->vocab = vocab;
    s->cand = sm_alloc_n((size_t)vocab, sizeof *s->cand);
    s->penalized = sm_alloc_n(p->repeat_penalty != 1.0 ? (size_t)vocab : 0, sizeof *s->penalized);
    if (!s->cand || !s->penalized) {
        sm_sampler_free(&s);
        return SM_NOMEM(err);
    }
    rng_seed(s->rng, p->seed);
    *out = s;
    return SM_OK;
}

void sm_sampler_free(sm_sampler **ps) {
    sm_sampler *s = *ps;
    if (!s)
        return;
    sm_free(s->cand);
    sm_free(s->penalized);
    sm_free(s);
    *ps = NULL;
}

void sm_sampler_carry(sm_sampler *s, const sm_sampler *from) {
    memcpy(s->rng, from->rng, sizeof s->rng);
}

int32_t sm_argmax(const float *logits, int32_t vocab) {
    int32_t best = 0;
    for (int32_t i = 1; i < vocab; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

double sm_log_sum_exp(const float *logits, int32_t vocab) {
    float max = logits[sm_argmax(logits, vocab)];
    double sum = 0.0;
    for (int32_t i = 0; i < vocab; i++)
        sum += expf(logits[i] - max);
    return max + log(sum);
}

/* ------------------------------------------------------------------ the best k: a heap whose root is the worst kept */
static bool better(sm_logprob a, sm_logprob b) {
    return a.logprob > b.logprob || (a.logprob == b.logprob && a.id < b.id);
}

static int by_rank(const void *a, const void *b) {
    sm_logprob x = *(const sm_logprob *)a, y = *(const sm_logprob *)b;
    return better(x, y) ? -1 : better(y, x);
}

static void sift_down(sm_logprob *h, int n, int i) {
    for (int c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n && better(h[c], h[c + 1]))
            c++;
        if (!better(h[i], h[c]))
            return;
        sm_logprob t = h[i];
        h[i] = h[c];
        h[c] = t;
    }
}

/* The k best of x (ids and values), best first, into h[k]; returns min(k, n). */
static int best_k(const float *x, int32_t n, int k, sm_logprob *h) {
    k = SM_MIN(k, n);
    for (int32_t i = 0; i < k; i++)
        h[i] = (sm_logprob){i, x[i]};
    for (int i = k / 2 - 1; i >= 0; i--)
        sift_down(h, k, i);
    for (int32_t i = k; i < n && k > 0; i++)
        if (x[i] > h[0].logprob) {
            h[0] = (sm_logprob){i, x[i]};
            sift_down(h, k, 0);
        }
    qsort(h, (size_t)k, sizeof *h, by_rank);
    return k;
}

int sm_top_logprobs(const float *logits, int32_t vocab, double log_sum, int k, sm_logprob *out) {
    k = best_k(logits, vocab, k, out);
    for (int i = 0; i < k; i++)
        out[i].logprob = (float)(out[i].logprob - log_sum);
    return k;
}

/* ------------------------------------------------------------------ candidates */
/* Tokens that hold the first p of the probability, best first.  A histogram over the distance from the best logit
 * tells how deep that reaches; only what is that deep is sorted.  Beyond the last bin lies less than e^-32 each. */
static int nucleus(const float *x, int32_t n, double p, sm_logprob *c) {
    enum { BINS = 1024, PER_UNIT = 32 };
    double mass[BINS] = {0}, sum = 0.0, total = 0.0;
    float max = x[sm_argmax(x, n)];
    for (int32_t i = 0; i < n; i++) {
        float d = (max - x[i]) * PER_UNIT;
        if (d < BINS)
            mass[(int)d] += expf(x[i] - max);
    }
    for (int b = 0; b < BINS; b++)
        total += mass[b];
    int deep = 0;
    for (; deep < BINS - 1; deep++) {
        sum += mass[deep];
        if (sum >= p * total)
            break;
    }
    int k = 0;
    for (int32_t i = 0; i < n; i++)
        if ((max - x[i]) * PER_UNIT < deep + 1)
            c[k++] = (sm_logprob){i, x[i]};
    qsort(c, (size_t)k, sizeof *c, by_rank);
    sum = 0.0;
    for (int i = 0; i < k; i++) {
        sum += expf(c[i].logprob - max);
        if (sum >= p * total)
            return i + 1;
    }
    return k;
}

/* The same among candidates already ranked. */
static int cut_top_p(const sm_logprob *c, int n, double p) {
    double total = 0.0, sum = 0.0;
    for (int i = 0; i < n; i++)
        total += expf(c[i].logprob - c[0].logprob);
    for (int i = 0; i < n; i++) {
        sum += expf(c[i].logprob - c[0].logprob);
        if (sum >= p * total)
            return i + 1;
    }
    return n;
}

static int draw(sm_sampler *s, int n) {
    const sm_logprob *c = s->cand;
    float max = c[0].logprob;
    for (int i = 1; i < n; i++)
        max = SM_MAX(max, c[i].logprob);
    double inv_t = 1.0 / s->p.temp, total = 0.0, sum = 0.0;
    for (int i = 0; i < n; i++)
        total += exp((c[i].logprob - max) * inv_t);
    double u = rng_next(s->rng) * total;
    for (int i = 0; i < n; i++) {
        sum += exp((c[i].logprob - max) * inv_t);
        if (u < sum)
            return i;
    }
    return n - 1;
}

/* As llama.cpp: a logit of a token seen is divided by the penalty, a negative one multiplied. */
static const float *penalize(sm_sampler *s, const float *logits, const int32_t *history, size_t n) {
    size_t last = (size_t)SM_MAX(s->p.repeat_last_n, 0), from = n > last ? n - last : 0;
    if (s->p.repeat_penalty == 1.0 || from == n)
        return logits;
    memcpy(s->penalized, logits, (size_t)s->vocab * sizeof *logits);
    for (size_t i = from; i < n; i++) {
        int32_t id = history[i];
        if (id < 0 || id >= s->vocab)
            continue;
        double v = logits[id];
        s->penalized[id] = (float)(v <= 0.0 ? v * s->p.repeat_penalty : v / s->p.repeat_penalty);
    }
    return s->penalized;
}

int32_t sm_sampler_pick(sm_sampler *s, const float *logits, const int32_t *history, size_t n_history) {
    const float *x = penalize(s, logits, history, n_history);
    const sm_sampling *p = &s->p;
    if (p->temp == 0.0)
        return sm_argmax(x, s->vocab);
    int n;
    if (p->top_k > 0 && p->top_k < s->vocab) {
        n = best_k(x, s->vocab, p->top_k, s->cand);
        if (p->top_p < 1.0)
            n = cut_top_p(s->cand, n, p->top_p);
    } else if (p->top_p < 1.0) {
        n = nucleus(x, s->vocab, p->top_p, s->cand);
    } else {
        for (n = 0; n < s->vocab; n++)
            s->cand[n] = (sm_logprob){n, x[n]};
    }
    if (p->min_p > 0.0) {
        float max = x[sm_argmax(x, s->vocab)];
        double least = max + log(p->min_p);
        int k = 0;
        for (int i = 0; i < n; i++)
            if (s->cand[i].logprob >= least)
                s->cand[k++] = s->cand[i];
        n = k;
    }
    return n > 0 ? s->cand[draw(s, n)].id : sm_argmax(x, s->vocab); /* none: logits that are not numbers */
}
