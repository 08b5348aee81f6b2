/* SPDX-License-Identifier: MIT
 *
 * sampler_draw.c: random numbers without state, the draw, Mirostat.
 *
 * Random numbers: Philox4x32-10 of J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3"
 * (SC 2011).  The seed is the key, position and token id are the counter.
 *
 * The draw: with G_i independent Gumbel variables, argmax_i (logit_i + G_i) has the softmax distribution (E. J. Gumbel,
 * "Statistical theory of extreme values", 1954; C. Maddison, D. Tarlow, T. Minka, "A* sampling", NIPS 2014).  As G_i
 * belongs to (seed, position, id), two runs whose probabilities differ by a total variation of d choose differently at a
 * position with a probability of at most 2d / (1 + d) (M. Daliri, C. Musco, A. Suresh, "Coupling without communication and
 * drafter-invariant speculative decoding", 2024); one random number walked along cumulated probabilities has no such
 * bound.
 *
 * Mirostat: S. Basu, G. Ramachandran, N. Keskar, L. Varshney, "Mirostat: a neural text decoding algorithm that directly
 * controls perplexity" (ICLR 2021), and its second version, which cuts at the surprise itself.  As in llama.cpp, the
 * surprise observed is that among the tokens kept.
 */
#include "engine/sampler_int.h"

#include <math.h>
#include <stdlib.h>

void sm_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)c0 * 0xD2511F53u, b = (uint64_t)c2 * 0xCD9E8D57u;
        uint32_t next0 = (uint32_t)(b >> 32) ^ c1 ^ k0, next2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c0 = next0;
        c1 = (uint32_t)b;
        c2 = next2;
        c3 = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

double sm_s_uniform(uint64_t seed, uint64_t position, uint32_t stream, uint32_t id) {
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t counter[4] = {(uint32_t)position, (uint32_t)(position >> 32), id, stream};
    uint32_t r[4];
    sm_philox(counter, key, r);
    uint64_t bits = ((uint64_t)r[1] << 32 | r[0]) >> 12;
    return ((double)bits + 0.5) * 0x1p-52; /* exact: never 0, never 1 */
}

/* One logarithm of a logarithm a candidate would be most of the work over a whole vocabulary.  But -ln u >= 1 - u, so a
 * candidate can only win when 1 - u < e^(logit - best), which nearly none passes. */
int32_t sm_s_draw(const sm_sampler *s) {
    int32_t at = -1;
    double best = 0.0, max = sm_s_max(s);
    for (int32_t i = 0; i < s->n; i++) {
        double logit = s->c[i].logprob - max;
        double u = sm_s_uniform(s->p.seed, s->n_history, SM_STREAM_DRAW, (uint32_t)s->c[i].id);
        if (at >= 0 && 1.0 - u >= exp(logit - best))
            continue;
        double score = logit - log(-log(u));
        if (at < 0 || score > best || (score == best && s->c[i].id < s->c[at].id)) {
            at = i;
            best = score;
        }
    }
    return at;
}

/* ------------------------------------------------------------------ Mirostat */
/* Sum of e^(logit - max). */
static double mass(const sm_sampler *s, float max) {
    double sum = 0.0;
    for (int32_t i = 0; i < s->n; i++)
        sum += exp((double)s->c[i].logprob - max);
    return sum;
}

/* How many tokens Zipf's law, fitted to the most likely ones, puts below a surprise of mu. */
static double zipf_k(sm_sampler *s) {
    enum { FITTED = 100 };
    sm_cand top[FITTED];
    int32_t m = SM_MIN(s->n, (int32_t)FITTED);
    double tb = 0.0, tt = 0.0;
    for (int32_t i = 0; i < m; i++)
        top[i] = s->c[i];
    sm_s_heap(top, m);
    for (int32_t i = m; i < s->n; i++)
        sm_s_heap_offer(top, m, s->c[i]);
    qsort(top, (size_t)m, sizeof *top, sm_s_by_rank);
    for (int32_t i = 0; i + 1 < m; i++) {
        double t = log((i + 2.0) / (i + 1.0)), b = (double)top[i].logprob - top[i + 1].logprob;
        tb += t * b;
        tt += t * t;
    }
    double slope = tt > 0.0 ? tb / tt : 1.0, e = slope - 1.0;
    double power = fabs(e) > 1e-9 ? e * exp2(s->mu) / (1.0 - pow(s->vocab, -e)) : exp2(s->mu) / log(s->vocab);
    return pow(power, 1.0 / slope);
}

static void keep_surprise(sm_sampler *s) {
    float max = sm_s_max(s);
    double least = max + log(mass(s, max)) - s->mu * log(2.0);
    int32_t k = 0;
    for (int32_t i = 0; i < s->n; i++)
        if (s->c[i].logprob >= least)
            s->c[k++] = s->c[i];
    if (k > 0)
        s->n = k;
    else
        sm_s_top_k(s, 1);
}

int32_t sm_s_mirostat(sm_sampler *s) {
    sm_s_list(s);
    if (s->n == 0)
        return -1;
    if (s->p.mirostat == 1) {
        double k = zipf_k(s);
        sm_s_top_k(s, k >= s->n ? s->n : k >= 1.0 ? (int)k : 1); /* no number: 1 */
    } else {
        keep_surprise(s);
    }
    int32_t at = sm_s_draw(s);
    float max = sm_s_max(s);
    double surprise = (log(mass(s, max)) - ((double)s->c[at].logprob - max)) / log(2.0);
    s->mu -= s->p.mirostat_eta * (surprise - s->p.mirostat_tau);
    return at;
}
