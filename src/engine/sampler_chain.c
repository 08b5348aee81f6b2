/* SPDX-License-Identifier: MIT
 *
 * sampler_chain.c: the set of candidates, what narrows it, and the temperature.
 *
 * Sources: top-k, A. Fan, M. Lewis, Y. Dauphin, "Hierarchical neural story generation" (2018); top-p, A. Holtzman et al.,
 * "The curious case of neural text degeneration" (2020); typical, C. Meister et al., "Locally typical sampling" (2022);
 * min-p, N. Nguyen et al., "Turning up the heat: min-p sampling" (2024); top-n-sigma, C. Tang et al., "Top-n-sigma: not all
 * logits are you need" (2024); XTC, P. E. Weidmann (text-generation-webui, 2024); dynamic temperature, L. Kaiokendev and
 * kalomaze (koboldcpp, 2023).
 *
 * Sums are in double and taken in the order of the list.
 */
#include "engine/sampler_int.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void sm_s_own(sm_sampler *s) {
    if (s->x != s->edited)
        s->x = memcpy(s->edited, s->x, (size_t)s->vocab * sizeof *s->x);
}

/* Tokens from `least` on.  What is no number is in no set. */
static void list_from(sm_sampler *s, double least) {
    int32_t n = 0;
    for (int32_t i = 0; i < s->vocab; i++)
        if (s->x[i] >= least && s->x[i] > -INFINITY)
            s->c[n++] = (sm_cand){i, s->x[i]};
    s->n = n;
    s->listed = true;
}

void sm_s_list(sm_sampler *s) {
    if (!s->listed)
        list_from(s, -INFINITY);
}

/* Keeps what is at `least` or above. */
static void keep_from(sm_sampler *s, double least) {
    int32_t n = 0;
    if (!s->listed) {
        list_from(s, least);
        return;
    }
    for (int32_t i = 0; i < s->n; i++)
        if (s->c[i].logprob >= least)
            s->c[n++] = s->c[i];
    s->n = n;
}

float sm_s_max(const sm_sampler *s) {
    float max = -INFINITY;
    if (s->listed)
        for (int32_t i = 0; i < s->n; i++)
            max = SM_MAX(max, s->c[i].logprob);
    else
        for (int32_t i = 0; i < s->vocab; i++)
            max = s->x[i] > max ? s->x[i] : max;
    return max;
}

/* ------------------------------------------------------------------ the best k */
static bool better(sm_cand a, sm_cand b) {
    return a.logprob > b.logprob || (a.logprob == b.logprob && a.id < b.id);
}

int sm_s_by_rank(const void *a, const void *b) {
    sm_cand x = *(const sm_cand *)a, y = *(const sm_cand *)b;
    return better(x, y) ? -1 : better(y, x);
}

static void sift_down(sm_cand *h, int32_t n, int32_t i) {
    for (int32_t c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n && better(h[c], h[c + 1]))
            c++;
        if (!better(h[i], h[c]))
            return;
        sm_cand t = h[i];
        h[i] = h[c];
        h[c] = t;
    }
}

void sm_s_heap(sm_cand *h, int32_t k) {
    for (int32_t i = k / 2 - 1; i >= 0; i--)
        sift_down(h, k, i);
}

void sm_s_heap_offer(sm_cand *h, int32_t k, sm_cand c) {
    if (!better(c, h[0]))
        return;
    h[0] = c;
    sift_down(h, k, 0);
}

void sm_s_top_k(sm_sampler *s, int k) {
    if (k <= 0 || k >= (s->listed ? s->n : s->vocab))
        return;
    if (!s->listed) {
        int32_t i = 0;
        for (s->n = 0; i < s->vocab && s->n < k; i++)
            if (s->x[i] > -INFINITY)
                s->c[s->n++] = (sm_cand){i, s->x[i]};
        s->listed = true;
        sm_s_heap(s->c, s->n);
        for (; i < s->vocab; i++)
            if (s->x[i] > s->c[0].logprob) /* a later id is no better among equals */
                sm_s_heap_offer(s->c, k, (sm_cand){i, s->x[i]});
        return;
    }
    sm_s_heap(s->c, k);
    for (int32_t i = k; i < s->n; i++)
        sm_s_heap_offer(s->c, k, s->c[i]);
    s->n = k;
}

/* ------------------------------------------------------------------ sets that hold a share of the probability */
/* Sum of e^(logit - max), and the sum of that times (logit - max). */
static double mass(const sm_sampler *s, float max, double *weighted) {
    double sum = 0.0, w = 0.0;
    for (int32_t i = 0; i < s->n; i++) {
        double d = (double)s->c[i].logprob - max, e = exp(d);
        sum += e;
        w += e > 0.0 ? e * d : 0.0;
    }
    *weighted = w;
    return sum;
}

static double distance(sm_cand c, double centre) {
    return fabs(centre - c.logprob);
}

static bool nearer(sm_cand a, sm_cand b, double centre) {
    double x = distance(a, centre), y = distance(b, centre);
    return x < y || (x <= y && a.id < b.id);
}

static void swap(sm_cand *a, sm_cand *b) {
    sm_cand t = *a;
    *a = *b;
    *b = t;
}

/* A heap whose root is the nearest. */
static void sift_near(sm_cand *h, int32_t n, int32_t i, double centre) {
    for (int32_t c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n && nearer(h[c + 1], h[c], centre))
            c++;
        if (!nearer(h[c], h[i], centre))
            return;
        swap(&h[i], &h[c]);
    }
}

/* The fewest candidates nearest to `centre` that hold the share p of the total.  A histogram over the distance finds the
 * bin where the border lies; only the candidates of that bin are put in order, and only as far as they are taken. */
static void keep_share(sm_sampler *s, double centre, double p, float max, double total) {
    enum { BINS = 1024, PER_UNIT = 32 }; /* the last bin has all that is further than 32 */
    double share[BINS] = {0}, sum = 0.0;
    sm_cand *c = s->c;
    int border = 0;
    int32_t inside = 0, on = 0, taken = 0;
#define BIN(c) ((int)SM_MIN(distance((c), centre) * PER_UNIT, (double)(BINS - 1)))
#define MASS(c) exp((double)(c).logprob - max)
    for (int32_t i = 0; i < s->n; i++)
        share[BIN(c[i])] += MASS(c[i]);
    while (border < BINS - 1 && sum + share[border] < p * total)
        sum += share[border++];
    for (int32_t i = 0; i < s->n; i++) { /* becomes: inside | on the border | others */
        int bin = BIN(c[i]);
        if (bin > border)
            continue;
        swap(&c[i], &c[inside + on]);
        if (bin == border)
            on++;
        else
            swap(&c[inside + on], &c[inside]), inside++;
    }
    sm_cand *h = c + inside;
    for (int32_t i = on / 2 - 1; i >= 0; i--)
        sift_near(h, on, i, centre);
    for (; taken < on && (taken == 0 || sum < p * total); taken++) {
        sum += MASS(h[0]);
        swap(&h[0], &h[on - taken - 1]);
        sift_near(h, on - taken - 1, 0, centre);
    }
#undef BIN
#undef MASS
    memmove(h, h + on - taken, (size_t)taken * sizeof *h);
    s->n = inside + taken;
}

void sm_s_top_p(sm_sampler *s, double p) {
    double weighted;
    if (p >= 1.0)
        return;
    sm_s_list(s);
    float max = sm_s_max(s);
    if (s->n > 1)
        keep_share(s, max, p, max, mass(s, max, &weighted));
}

/* Surprise -ln p nearest to its mean, the entropy H: with ln of the sum Z, |ln Z - logit - H| is the distance. */
void sm_s_typical(sm_sampler *s, double p) {
    double weighted;
    if (p >= 1.0)
        return;
    sm_s_list(s);
    if (s->n <= 1)
        return;
    float max = sm_s_max(s);
    double total = mass(s, max, &weighted), log_sum = max + log(total);
    double entropy = log(total) - weighted / total;
    keep_share(s, log_sum - entropy, p, max, total);
}

/* ------------------------------------------------------------------ thresholds */
void sm_s_min_p(sm_sampler *s, double p) {
    if (p > 0.0)
        keep_from(s, sm_s_max(s) + log(p));
}

void sm_s_top_n_sigma(sm_sampler *s, double n) {
    double sum = 0.0, squares = 0.0;
    if (!(n > 0.0))
        return;
    sm_s_list(s);
    if (s->n <= 1)
        return;
    for (int32_t i = 0; i < s->n; i++)
        sum += s->c[i].logprob;
    double mean = sum / s->n;
    for (int32_t i = 0; i < s->n; i++)
        squares += (s->c[i].logprob - mean) * (s->c[i].logprob - mean);
    keep_from(s, sm_s_max(s) - n * sqrt(squares / s->n));
}

void sm_s_xtc(sm_sampler *s, double probability, double threshold) {
    double weighted;
    if (!(probability > 0.0) || threshold > 0.5)
        return;
    if (sm_s_uniform(s->p.seed, s->n_history, SM_STREAM_XTC, 0) > probability)
        return;
    sm_s_list(s);
    float max = sm_s_max(s);
    double least = threshold > 0.0 ? max + log(mass(s, max, &weighted) * threshold) : -INFINITY;
    int32_t above = 0, n = 0, last = -1;
    for (int32_t i = 0; i < s->n; i++)
        if (s->c[i].logprob >= least) {
            above++;
            last = last < 0 || better(s->c[last], s->c[i]) ? i : last;
        }
    if (above < 2)
        return;
    for (int32_t i = 0; i < s->n; i++)
        if (i == last || !(s->c[i].logprob >= least))
            s->c[n++] = s->c[i];
    s->n = n;
}

/* ------------------------------------------------------------------ temperature */
void sm_s_temperature(sm_sampler *s, double temp, double range, double exponent) {
    double weighted;
    sm_s_list(s);
    if (range > 0.0) {
        if (s->n <= 1)
            return;
        float max = sm_s_max(s);
        double total = mass(s, max, &weighted), entropy = log(total) - weighted / total;
        double low = SM_MAX(0.0, temp - range), high = temp + range;
        temp = low + (high - low) * pow(SM_MAX(0.0, entropy / log(s->n)), exponent);
    }
    if (!(temp > 0.0)) {
        sm_s_top_k(s, 1);
        return;
    }
    for (int32_t i = 0; i < s->n; i++)
        s->c[i].logprob = (float)(s->c[i].logprob / temp);
}
