/* SPDX-License-Identifier: MIT
 *
 * test_engine_chain.c: each sampler, and chains of them, against definitions written down plainly: sorted lists in double.
 *
 * Sets: the candidates that are left and their logits, over random rows, parameters and orders.  Draws: counts of 40000
 * against the probabilities, by chi-square at 1e-4; seeds are fixed, so that it passes always or never.
 */
#include <float.h>
#include <math.h>

#include "engine/sampler_int.h"
#include "small_vocab.h"
#include "sweep.h"

enum { MOST = 3000 };

static uint32_t state_now = 1;
static double uniform(void) { /* of the tests, not of the sampler */
    state_now = state_now * 1664525u + 1013904223u;
    return (state_now >> 8) * 0x1p-24;
}

/* ------------------------------------------------------------------ definitions */
typedef struct cand {
    int32_t id;
    double x, key;
} cand;

typedef struct def {
    const sm_sampling *p;
    int32_t vocab, n, n_history;
    const int32_t *history;
    double mu;
    bool near_border; /* rounding may decide */
    cand c[MOST];
} def;

static int by_logit(const void *a, const void *b) {
    const cand *x = a, *y = b;
    return x->x != y->x ? (x->x < y->x ? 1 : -1) : x->id - y->id;
}

static int by_key(const void *a, const void *b) {
    const cand *x = a, *y = b;
    return x->key != y->key ? (x->key > y->key ? 1 : -1) : x->id - y->id;
}

static double max_of(const def *d) {
    double m = -INFINITY;
    for (int i = 0; i < d->n; i++)
        m = fmax(m, d->c[i].x);
    return m;
}

static void softmax(const def *d, double *p) {
    double sum = 0.0, m = max_of(d);
    for (int i = 0; i < d->n; i++)
        sum += p[i] = exp(d->c[i].x - m);
    for (int i = 0; i < d->n; i++)
        p[i] /= sum;
}

static double entropy_of(const def *d) {
    static double p[MOST];
    double h = 0.0;
    softmax(d, p);
    for (int i = 0; i < d->n; i++)
        h -= p[i] > 0.0 ? p[i] * log(p[i]) : 0.0;
    return h;
}

static void cut_share(def *d, double share) { /* in the order that c is in */
    static double p[MOST];
    double sum = 0.0;
    softmax(d, p);
    for (int i = 0; i < d->n; i++) {
        sum += p[i];
        d->near_border |= fabs(sum - share) < 1e-9;
        if (sum >= share) {
            d->n = i + 1;
            return;
        }
    }
}

static void cut_logit(def *d, double least) {
    int k = 0;
    for (int i = 0; i < d->n; i++) {
        d->near_border |= fabs(d->c[i].x - least) < 1e-6;
        if (d->c[i].x >= least)
            d->c[k++] = d->c[i];
    }
    d->n = k;
}

static void def_top_k(def *d, double k) {
    qsort(d->c, (size_t)d->n, sizeof *d->c, by_logit);
    if (k >= 1.0 && k < d->n)
        d->n = (int32_t)k;
}

static void def_typical(def *d, double share) {
    static double p[MOST];
    double h = entropy_of(d);
    if (share >= 1.0)
        return;
    softmax(d, p);
    for (int i = 0; i < d->n; i++)
        d->c[i].key = fabs(-log(p[i]) - h);
    qsort(d->c, (size_t)d->n, sizeof *d->c, by_key);
    for (int i = 1; i < d->n; i++)
        d->near_border |= d->c[i].key - d->c[i - 1].key < 1e-12 && d->c[i].x != d->c[i - 1].x;
    cut_share(d, share);
}

static void def_n_sigma(def *d, double n) {
    double mean = 0.0, var = 0.0;
    if (n <= 0.0)
        return;
    for (int i = 0; i < d->n; i++)
        mean += d->c[i].x / d->n;
    for (int i = 0; i < d->n; i++)
        var += (d->c[i].x - mean) * (d->c[i].x - mean) / d->n;
    cut_logit(d, max_of(d) - n * sqrt(var));
}

static void def_xtc(def *d, double probability, double threshold) { /* probability 0 or 1 */
    static double p[MOST];
    int above = 0;
    if (probability < 1.0 || threshold > 0.5)
        return;
    qsort(d->c, (size_t)d->n, sizeof *d->c, by_logit);
    softmax(d, p);
    while (above < d->n && p[above] >= threshold)
        above++;
    for (int i = 0; i < d->n; i++)
        d->near_border |= fabs(p[i] - threshold) < 1e-9;
    if (above < 2)
        return;
    memmove(d->c, d->c + above - 1, (size_t)(d->n - above + 1) * sizeof *d->c);
    d->n -= above - 1;
}

static void def_temperature(def *d, double temp, double range, double exponent) {
    if (range > 0.0 && d->n <= 1)
        return;
    if (range > 0.0) {
        double low = fmax(0.0, temp - range);
        temp = low + (temp + range - low) * pow(entropy_of(d) / log(d->n), exponent);
    }
    if (temp <= 0.0)
        def_top_k(d, 1);
    else
        for (int i = 0; i < d->n; i++)
            d->c[i].x = (float)(d->c[i].x / temp);
}

static int window_from(const def *d, int last) {
    return last < 0 || last > d->n_history ? 0 : d->n_history - last;
}

static void def_penalties(def *d) {
    for (int i = 0; i < d->n; i++) {
        int count = 0;
        for (int h = window_from(d, d->p->repeat_last_n); h < d->n_history; h++)
            count += d->history[h] == d->c[i].id;
        double x = d->c[i].x;
        if (count)
            x = (x > 0.0 ? x / d->p->repeat_penalty : x * d->p->repeat_penalty) - count * d->p->frequency_penalty -
                d->p->presence_penalty;
        d->c[i].x = (float)x;
    }
}

/* The longest common end of the window up to before `at` and of the whole window. */
static int common_end(const int32_t *w, int n, int at) {
    int len = 0;
    while (len < at && w[at - 1 - len] == w[n - 1 - len])
        len++;
    return len;
}

static void def_dry(def *d, int limit, const bool *breaks) {
    int from = window_from(d, d->p->dry_penalty_last_n), n = d->n_history - from;
    const int32_t *w = d->history + from;
    if (d->p->dry_multiplier <= 0.0 || n <= d->p->dry_allowed_length || n < 2)
        return;
    for (int i = 0; i < d->n; i++) {
        int best = -1;
        for (int at = 1; at < n; at++)
            if (w[at] == d->c[i].id) {
                int len = common_end(w, n, at);
                best = len < limit ? (len > best ? len : best) : (limit > best ? limit : best);
            }
        if (best >= d->p->dry_allowed_length && !(breaks && breaks[d->c[i].id]))
            d->c[i].x = (float)(d->c[i].x - fmin(1e30, d->p->dry_multiplier *
                                                           pow(d->p->dry_base, best - d->p->dry_allowed_length)));
    }
}

static void def_mirostat_1(def *d) {
    double tb = 0.0, tt = 0.0;
    int m = d->n < 100 ? d->n : 100;
    qsort(d->c, (size_t)d->n, sizeof *d->c, by_logit);
    for (int i = 0; i + 1 < m; i++) {
        double t = log((i + 2.0) / (i + 1.0));
        tb += t * (d->c[i].x - d->c[i + 1].x);
        tt += t * t;
    }
    double s = tb / tt, e = s - 1.0;
    double k = pow(e * pow(2.0, d->mu) / (1.0 - pow(d->vocab, -e)), 1.0 / s);
    d->near_border |= fabs(k - round(k)) < 1e-6;
    def_top_k(d, k < 1.0 ? 1.0 : k);
}

static void def_mirostat_2(def *d) {
    static double p[MOST];
    int n = 0;
    qsort(d->c, (size_t)d->n, sizeof *d->c, by_logit);
    softmax(d, p);
    while (n < d->n && -log2(p[n]) <= d->mu)
        n++;
    for (int i = 0; i < d->n; i++)
        d->near_border |= fabs(-log2(p[i]) - d->mu) < 1e-6;
    d->n = n ? n : 1;
}

static void def_start(def *d, const sm_sampling *p, const float *x, int32_t vocab, const int32_t *history, int n) {
    d->p = p;
    d->vocab = d->n = vocab;
    d->history = history;
    d->n_history = n;
    d->near_border = false;
    for (int i = 0; i < vocab; i++)
        d->c[i] = (cand){i, x[i], 0.0};
    for (size_t i = 0; i < p->n_logit_bias; i++)
        d->c[p->logit_bias[i].id].x = x[p->logit_bias[i].id] + p->logit_bias[i].bias;
    d->n = 0;
    for (int i = 0; i < vocab; i++) /* what is shut out is no candidate */
        if (d->c[i].x > -INFINITY)
            d->c[d->n++] = d->c[i];
}

static void def_step(def *d, const char *name, size_t len) {
    const sm_sampling *p = d->p;
#define IS(word) (len == strlen(word) && memcmp(name, word, len) == 0)
    if (IS("penalties"))
        def_penalties(d);
    else if (IS("dry"))
        def_dry(d, INT32_MAX, NULL);
    else if (IS("top_n_sigma"))
        def_n_sigma(d, p->top_n_sigma);
    else if (IS("top_k"))
        def_top_k(d, p->top_k);
    else if (IS("typ_p"))
        def_typical(d, p->typical_p);
    else if (IS("top_p") && p->top_p < 1.0)
        qsort(d->c, (size_t)d->n, sizeof *d->c, by_logit), cut_share(d, p->top_p);
    else if (IS("min_p") && p->min_p > 0.0)
        cut_logit(d, max_of(d) + log(p->min_p));
    else if (IS("xtc"))
        def_xtc(d, p->xtc_probability, p->xtc_threshold);
    else if (IS("temperature"))
        def_temperature(d, p->temp, p->dynatemp_range, p->dynatemp_exp);
#undef IS
}

static void def_chain(def *d, const sm_sampling *p, const float *x, int32_t vocab, const int32_t *history, int n) {
    def_start(d, p, x, vocab, history, n);
    for (const char *s = p->samplers; *s;) {
        size_t len = strcspn(s, ";");
        if (!p->mirostat || strncmp(s, "dry", len) == 0 || strncmp(s, "penalties", len) == 0)
            def_step(d, s, len);
        s += len + (s[len] == ';');
    }
    if (p->mirostat) {
        def_temperature(d, p->temp, 0.0, 1.0);
        if (p->mirostat == 1)
            def_mirostat_1(d);
        else
            def_mirostat_2(d);
    }
}

/* ------------------------------------------------------------------ the sampler beside them */
static sm_sampler *sampler(const sm_sampling *p, int32_t vocab, const sm_tokenizer *tok) {
    sm_sampler *s = NULL;
    sm_err err = {0};
    if (sm_sampler_new(p, vocab, tok, &s, &err) != SM_OK)
        fail_msg("%s", err.msg);
    return s;
}

static int32_t pick(sm_sampler *s, const float *x, const int32_t *history, size_t n) {
    int32_t id = -1;
    sm_err err = {0};
    if (sm_sampler_pick(s, x, history, n, &id, &err) != SM_OK)
        fail_msg("%s", err.msg);
    return id;
}

static bool same_set(const sm_sampler *s, def *d, const char *what) {
    static float at[MOST];
    static bool in[MOST];
    int32_t n;
    const sm_logprob *c = sm_sampler_candidates(s, &n);
    if (d->near_border)
        return false;
    memset(in, 0, sizeof in);
    for (int32_t i = 0; i < n; i++) {
        assert_false(in[c[i].id]);
        in[c[i].id] = true;
        at[c[i].id] = c[i].logprob;
    }
    if (n != d->n)
        fail_msg("%s: %d candidates, by definition %d", what, n, d->n);
    for (int i = 0; i < d->n; i++) {
        if (!in[d->c[i].id])
            fail_msg("%s: token %d is missing", what, d->c[i].id);
        if (fabs(at[d->c[i].id] - d->c[i].x) > 1e-5 * (1.0 + fabs(d->c[i].x)))
            fail_msg("%s: token %d at %g, by definition %g", what, d->c[i].id, at[d->c[i].id], d->c[i].x);
    }
    return true;
}

static void random_row(float *x, int32_t vocab) {
    double scale = 1.0 + 7.0 * uniform();
    for (int32_t i = 0; i < vocab; i++)
        x[i] = (float)(scale * (uniform() + uniform() + uniform() - 1.5));
    if (uniform() < 0.3) /* equals */
        for (int32_t i = 0; i < vocab; i++)
            x[i] = roundf(x[i] * 4.0f) / 4.0f;
}

static const char *random_order(char *out) {
    static const char *const names[] = {"penalties", "dry",   "top_n_sigma", "top_k",      "typ_p",
                                        "top_p",     "min_p", "xtc",         "temperature"};
    int order[9], n = 9;
    out[0] = '\0';
    for (int i = 0; i < 9; i++)
        order[i] = i;
    for (; n > 0; n--) {
        int k = (int)(uniform() * n);
        if (uniform() < 0.8)
            strcat(strcat(out, *out ? ";" : ""), names[order[k]]);
        order[k] = order[n - 1];
    }
    return out;
}

static void random_parameters(sm_sampling *p, char *order) {
#define MAYBE(share, field, value)                                                                                     \
    if (uniform() < (share))                                                                                           \
    p->field = (value)
    *p = sm_sampling_usual;
    p->temp = 0.2 + 2.0 * uniform();
    p->top_k = uniform() < 0.5 ? 0 : (int)(1 + 100 * uniform() * uniform());
    p->top_p = uniform() < 0.5 ? 1.0 : 0.05 + 0.94 * uniform();
    MAYBE(0.1, temp, 0.0);
    MAYBE(0.3, typical_p, 0.1 + 0.89 * uniform());
    MAYBE(0.3, min_p, 0.2 * uniform());
    MAYBE(0.3, top_n_sigma, 0.5 + 2.0 * uniform());
    MAYBE(0.3, xtc_probability, 1.0);
    MAYBE(0.5, xtc_threshold, 0.1 * uniform());
    MAYBE(0.3, repeat_penalty, 0.8 + uniform());
    MAYBE(0.3, presence_penalty, uniform() - 0.3);
    MAYBE(0.3, frequency_penalty, uniform() - 0.3);
    MAYBE(0.5, repeat_last_n, (int)(80 * uniform()) - 1);
    MAYBE(0.4, dry_multiplier, 2.0 * uniform());
    MAYBE(0.5, dry_base, 1.0 + uniform());
    MAYBE(0.5, dry_allowed_length, (int)(5 * uniform()));
    MAYBE(0.5, dry_penalty_last_n, (int)(150 * uniform()) - 1);
    MAYBE(0.2, dynatemp_range, uniform());
    MAYBE(0.5, dynatemp_exp, 0.5 + uniform());
    MAYBE(0.2, mirostat, uniform() < 0.5 ? 1 : 2);
    MAYBE(0.5, mirostat_tau, 1.0 + 5.0 * uniform());
    MAYBE(0.6, samplers, random_order(order));
#undef MAYBE
}

static void test_sets(void **state) {
    (void)state;
    static def d;
    static float x[MOST], kept[MOST];
    int32_t history[200];
    char order[200], what[400];
    int compared = 0, border = 0, most = 0;
    for (int round = 0; round < 1500; round++) {
        sm_sampling p;
        sm_logit_bias bias[3];
        int32_t vocab = (int32_t)(2 + uniform() * (round % 10 ? 200 : MOST - 2));
        int n_history = (int)(200 * uniform());
        random_parameters(&p, order);
        random_row(x, vocab);
        for (int i = 0; i < n_history; i++) /* few words, so that they repeat */
            history[i] = (int32_t)(uniform() * uniform() * (vocab < 12 ? vocab : 12));
        for (int i = 0; i < 3; i++)
            bias[i] = (sm_logit_bias){(int32_t)(i * vocab / 3), i == 2 ? -INFINITY : (float)(4.0 * uniform() - 2.0)};
        p.logit_bias = bias;
        p.n_logit_bias = uniform() < 0.3 && vocab >= 6 ? 3 : 0;
        snprintf(what, sizeof what, "round %d: %s", round, p.samplers);
        memcpy(kept, x, sizeof x);
        sm_sampler *s = sampler(&p, vocab, NULL);
        int32_t id = pick(s, x, history, (size_t)n_history);
        assert_memory_equal(kept, x, sizeof x);
        d.mu = 2.0 * p.mirostat_tau;
        def_chain(&d, &p, x, vocab, history, n_history);
        if (s->best_only) {
            assert_int_equal(d.n, 1);
            assert_int_equal(id, d.c[0].id);
            compared++;
        } else if (same_set(s, &d, what)) {
            bool in = false;
            for (int i = 0; i < d.n; i++)
                in |= d.c[i].id == id;
            assert_true(in);
            compared++;
            most = d.n > most ? d.n : most;
        } else {
            border++;
        }
        sm_sampler_free(&s);
    }
    print_message("# %d sets of up to %d candidates as defined; %d undecided: a border within rounding\n", compared,
                  most, border);
    assert_true(compared > 1300);
}

/* ------------------------------------------------------------------ counts */
static double chi_square_limit(int df) { /* at 1e-4, after Wilson and Hilferty */
    double t = 2.0 / (9.0 * df), z = 1.0 - t + 3.719 * sqrt(t);
    return df * z * z * z;
}

enum { WORDS = 12, DRAWS = 40000 };
static const float words[WORDS] = {0.0f, 1.0f, 2.0f, -1.0f, 0.5f, -3.0f, 1.75f, -0.25f, 0.9f, -2.0f, 2.2f, -6.0f};
static const int32_t told[10] = {2, 10, 4, 2, 6, 2, 10, 4, 2, 10}; /* "2 10 4" may follow again */

static void count(const char *name, const sm_sampling *p, const double *want) {
    double seen[WORDS] = {0}, chi = 0.0, rest = 0.0, rest_seen = 0.0;
    int bins = 0;
    sm_sampler *s = sampler(p, WORDS, NULL);
    for (int i = 0; i < DRAWS; i++) {
        seen[pick(s, words, told, 10)] += 1.0;
        s->p.seed++; /* the position, the length of the history, must stay */
    }
    for (int i = 0; i < WORDS; i++) {
        double e = want[i] * DRAWS;
        if (e < 1e-9) {
            if (seen[i] > 0.0)
                fail_msg("%s: token %d drawn %g times, its probability is 0", name, i, seen[i]);
        } else if (e < 5.0) {
            rest += e;
            rest_seen += seen[i];
        } else {
            chi += (seen[i] - e) * (seen[i] - e) / e;
            bins++;
        }
    }
    if (rest >= 5.0) {
        chi += (rest_seen - rest) * (rest_seen - rest) / rest;
        bins++;
    }
    double limit = chi_square_limit(bins > 1 ? bins - 1 : 1);
    print_message("# %-22s %2d bins, chi-square %6.2f, limit %6.2f\n", name, bins, chi, limit);
    assert_true(chi < limit);
    sm_sampler_free(&s);
}

static void probabilities(const sm_sampling *p, double *out) {
    static def d;
    static double q[MOST];
    d.mu = 2.0 * p->mirostat_tau;
    def_chain(&d, p, words, WORDS, told, 10);
    softmax(&d, q);
    for (int i = 0; i < WORDS; i++)
        out[i] = 0.0;
    for (int i = 0; i < d.n; i++)
        out[d.c[i].id] = q[i];
    assert_false(d.near_border);
}

static void test_counts(void **state) {
    (void)state;
    static const sm_logit_bias bias[] = {{5, 4.5f}, {2, -INFINITY}, {1, -0.5f}};
    sm_sampling off = sm_sampling_usual;
    double want[WORDS], other[WORDS];
    off.temp = 1.0;
    off.top_k = 0;
    off.top_p = 1.0;
    off.seed = 1000003;
#define COUNT(name, ...)                                                                                               \
    do {                                                                                                               \
        sm_sampling p = off;                                                                                           \
        __VA_ARGS__;                                                                                                   \
        probabilities(&p, want);                                                                                       \
        count(name, &p, want);                                                                                         \
    } while (0)
    COUNT("plain", (void)p);
    COUNT("temp 0.5", p.temp = 0.5);
    COUNT("temp 3", p.temp = 3.0);
    COUNT("dynatemp", p.dynatemp_range = 0.7; p.dynatemp_exp = 1.3);
    COUNT("top-k 5", p.top_k = 5);
    COUNT("top-p 0.7", p.top_p = 0.7);
    COUNT("min-p 0.2", p.min_p = 0.2);
    COUNT("typical 0.5", p.typical_p = 0.5);
    COUNT("top-nsigma 1", p.top_n_sigma = 1.0);
    COUNT("repeat 1.4", p.repeat_penalty = 1.4);
    COUNT("presence 0.8", p.presence_penalty = 0.8);
    COUNT("frequency 0.4", p.frequency_penalty = 0.4);
    COUNT("repeat, last 3", p.repeat_penalty = 2.0; p.repeat_last_n = 3);
    COUNT("dry 0.8", p.dry_multiplier = 0.8);
    COUNT("logit-bias", p.logit_bias = bias; p.n_logit_bias = 3);
    COUNT("xtc always", p.xtc_probability = 1.0; p.xtc_threshold = 0.08);
    COUNT("mirostat 1", p.mirostat = 1; p.mirostat_eta = 0.0; p.mirostat_tau = 1.2);
    COUNT("mirostat 2", p.mirostat = 2; p.mirostat_eta = 0.0; p.mirostat_tau = 1.4);
    COUNT("usual", p = sm_sampling_usual);
    COUNT("top-p when it is warm", p.temp = 2.0; p.top_p = 0.8; p.samplers = "temperature;top_p");
    COUNT("all", p.temp = 1.3; p.top_k = 9; p.top_p = 0.95; p.min_p = 0.02; p.typical_p = 0.97; p.repeat_penalty = 1.1;
          p.dry_multiplier = 0.5; p.dynatemp_range = 0.2);
#undef COUNT
    /* XTC now and then: a mixture. */
    sm_sampling p = off;
    p.xtc_threshold = 0.08;
    p.xtc_probability = 1.0;
    probabilities(&p, want);
    p.xtc_probability = 0.0;
    probabilities(&p, other);
    p.xtc_probability = 0.3;
    for (int i = 0; i < WORDS; i++)
        want[i] = 0.3 * want[i] + 0.7 * other[i];
    count("xtc 0.3", &p, want);
}

/* Neighbouring positions and seeds have nothing to do with each other: pairs are as probable as their product. */
static void test_independence(void **state) {
    (void)state;
    enum { SIDE = 4, PAIRS = 40000 };
    const float x[SIDE] = {0.0f, 0.5f, 1.0f, -0.5f};
    sm_sampling p = sm_sampling_usual;
    double q[SIDE], sum = 0.0;
    p.temp = 1.0;
    p.top_p = 1.0;
    for (int i = 0; i < SIDE; i++)
        sum += q[i] = exp(x[i]);
    for (int by_seed = 0; by_seed < 2; by_seed++) {
        double seen[SIDE][SIDE] = {0}, chi = 0.0;
        p.seed = 77;
        sm_sampler *s = sampler(&p, SIDE, NULL);
        for (int i = 0; i < PAIRS; i++) {
            int32_t a = pick(s, x, NULL, by_seed ? 5 : (size_t)(2 * i));
            s->p.seed += (uint64_t)by_seed;
            int32_t b = pick(s, x, NULL, by_seed ? 5 : (size_t)(2 * i) + 1);
            s->p.seed += (uint64_t)by_seed;
            seen[a][b]++;
        }
        for (int a = 0; a < SIDE; a++)
            for (int b = 0; b < SIDE; b++) {
                double e = PAIRS * q[a] * q[b] / (sum * sum);
                chi += (seen[a][b] - e) * (seen[a][b] - e) / e;
            }
        print_message("# pairs along %s: chi-square %.2f, limit %.2f\n", by_seed ? "seeds" : "positions", chi,
                      chi_square_limit(SIDE * SIDE - 1));
        assert_true(chi < chi_square_limit(SIDE * SIDE - 1));
        sm_sampler_free(&s);
    }
}

/* ------------------------------------------------------------------ Mirostat over time */
static void test_mirostat(void **state) {
    (void)state;
    enum { VOCAB = 800, STEPS = 1500 };
    static def d;
    static double q[MOST];
    static float x[VOCAB];
    for (int version = 1; version <= 2; version++)
        for (double tau = 2.0; tau <= 4.0; tau += 2.0) {
            sm_sampling p = sm_sampling_usual;
            double mean = 0.0;
            int compared = 0;
            p.mirostat = version;
            p.mirostat_tau = tau;
            p.temp = 1.0;
            sm_sampler *s = sampler(&p, VOCAB, NULL);
            double mu = 2.0 * tau;
            for (int step = 0; step < STEPS; step++) {
                for (int i = 0; i < VOCAB; i++) /* Zipf, and noise */
                    x[i] = (float)(-1.1 * log(i + 1.0) + uniform());
                int32_t id = pick(s, x, NULL, (size_t)step);
                d.mu = mu;
                def_chain(&d, &p, x, VOCAB, NULL, 0);
                compared += same_set(s, &d, "mirostat");
                softmax(&d, q);
                int at = 0;
                while (d.c[at].id != id)
                    at++;
                double surprise = -log2(q[at]);
                mu -= p.mirostat_eta * (surprise - tau);
                assert_true(fabs(mu - s->mu) < 1e-3);
                mu = s->mu; /* roundings do not add up */
                mean += step >= 100 ? surprise / (STEPS - 100) : 0.0;
            }
            print_message("# mirostat %d: aims at %.1f bits, mean surprise %.3f; %d of %d sets compared\n", version,
                          tau, mean, compared, STEPS);
            assert_true(fabs(mean - tau) < 0.1);
            sm_sampler_free(&s);
        }
}

/* ------------------------------------------------------------------ DRY with breakers */
/* The definition, in text: how many whole tokens stand after the one in which the last breaker ends. */
static int after_breaker(const char (*piece)[8], const int32_t *w, int n, const char *const *breakers, int n_breakers) {
    char text[2000];
    int end = -1, limit = INT32_MAX, len = 0;
    for (int i = 0; i < n; i++)
        len += snprintf(text + len, sizeof text - (size_t)len, "%s", piece[w[i]]);
    for (int b = 0; b < n_breakers; b++)
        for (const char *p = text; (p = strstr(p, breakers[b])) != NULL; p++)
            end = (int)(p - text + (long)strlen(breakers[b])) > end ? (int)(p - text + (long)strlen(breakers[b])) : end;
    for (int i = 0, sum = 0; i < n && end >= 0; i++) {
        sum += (int)strlen(piece[w[i]]);
        if (sum >= end) {
            limit = n - 1 - i;
            break;
        }
    }
    return limit;
}

static void test_dry_breakers(void **state) {
    (void)state;
    static const char *const sets[][3] = {
        {":", NULL, NULL}, {"a:", "bc", NULL}, {"cab", ":", "bb"}, {"abcabc", NULL, NULL}};
    static const int32_t alphabet[] = {SMALL_BYTE('a'), SMALL_BYTE('b'), SMALL_BYTE('c'),
                                       SMALL_BYTE(':'), SMALL_BPE_AB,    SMALL_BPE_ABC};
    static const char *const spelled[] = {"a", "b", "c", ":", "ab", "abc"};
    static char piece[SMALL_BPE_COUNT][8];
    static def d;
    static float x[SMALL_BPE_COUNT];
    small_vocab v;
    sm_tokenizer *tok;
    sm_err err = {0};
    int cut = 0, free_words = 0;
    sm_checkpoint *c = small_checkpoint(&v, "gpt-2");
    assert_int_equal(sm_checkpoint_index(c, &err), SM_OK);
    assert_int_equal(sm_tokenizer_new(c, &tok, &err), SM_OK);
    for (size_t i = 0; i < SM_ARRAY_LEN(alphabet); i++)
        strcpy(piece[alphabet[i]], spelled[i]);
    for (int round = 0; round < 2000; round++) {
        const char *const *breakers = sets[round % SM_ARRAY_LEN(sets)];
        int n_breakers = breakers[1] ? breakers[2] ? 3 : 2 : 1, n = (int)(120 * uniform());
        int32_t history[120];
        bool breaks[SMALL_BPE_COUNT] = {false};
        sm_sampling p = sm_sampling_usual;
        p.dry_multiplier = 0.5 + uniform();
        p.dry_allowed_length = (int)(4 * uniform());
        p.dry_penalty_last_n = uniform() < 0.5 ? -1 : 60;
        p.dry_breakers = breakers;
        p.n_dry_breakers = (size_t)n_breakers;
        p.top_k = 0;
        p.top_p = p.temp = 1.0;
        int period = 2 + (int)(9 * uniform());
        for (int i = 0; i < n; i++)
            history[i] =
                i >= period && uniform() < 0.9 ? history[i - period] : alphabet[(int)(6 * uniform() * uniform())];
        for (size_t i = 0; i < SM_ARRAY_LEN(alphabet); i++)
            for (int b = 0; b < n_breakers; b++)
                breaks[alphabet[i]] |= strstr(spelled[i], breakers[b]) != NULL;
        def_start(&d, &p, x, SMALL_BPE_COUNT, history, n);
        int from = window_from(&d, p.dry_penalty_last_n);
        int limit = after_breaker(piece, history + from, n - from, breakers, n_breakers);
        if (limit >= p.dry_allowed_length)
            def_dry(&d, limit, breaks);
        for (int i = 0; i < d.n; i++)
            free_words += d.c[i].x >= 0.0;
        cut += limit < 20;
        sm_sampler *s = sampler(&p, SMALL_BPE_COUNT, tok);
        (void)pick(s, x, history, (size_t)n);
        assert_true(same_set(s, &d, "dry with breakers"));
        sm_sampler_free(&s);
    }
    print_message("# 2000 texts, %d with a breaker near their end\n", cut);
    assert_true(cut > 500 && free_words > 0);
    sm_tokenizer_free(&tok);
    sm_checkpoint_free(&c);
}

/* All of a long window repeats: still one pass. */
static void test_dry_long(void **state) {
    (void)state;
    enum { LONG = 400000 };
    int32_t *history = sm_alloc_n(LONG, sizeof *history);
    const float x[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    sm_sampling p = sm_sampling_usual;
    p.dry_multiplier = 1.0;
    p.dry_penalty_last_n = -1;
    p.temp = 0.0;
    for (int i = 0; i < LONG; i++)
        history[i] = 1;
    sm_sampler *s = sampler(&p, 4, NULL);
    assert_int_equal(pick(s, x, history, LONG), 0);
    for (int i = 0; i < LONG; i++)
        history[i] = i % 3;
    assert_int_equal(pick(s, x, history, LONG), 0); /* 400000 % 3 is 1: a 1 would go on */
    assert_true(s->edited[1] < -1e20 && s->edited[0] > -1.0 && s->edited[3] > -1.0);
    sm_sampler_free(&s);
    sm_free(history);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sets),     cmocka_unit_test(test_counts),       cmocka_unit_test(test_independence),
        cmocka_unit_test(test_mirostat), cmocka_unit_test(test_dry_breakers), cmocka_unit_test(test_dry_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
