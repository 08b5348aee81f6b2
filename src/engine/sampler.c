/* SPDX-License-Identifier: MIT
 *
 * sampler.c: parameters of sampling, one pick from beginning to end, log-probabilities.
 */
#include "engine/sampler_int.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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

/* ------------------------------------------------------------------ what may be asked for */
static const char *const kind_names[SM_S_COUNT] = {
    [SM_S_PENALTIES] = "penalties", [SM_S_DRY] = "dry",       [SM_S_TOP_N_SIGMA] = "top_n_sigma",
    [SM_S_TOP_K] = "top_k",         [SM_S_TYPICAL] = "typ_p", [SM_S_TOP_P] = "top_p",
    [SM_S_MIN_P] = "min_p",         [SM_S_XTC] = "xtc",       [SM_S_TEMPERATURE] = "temperature",
};

/* "top-k" is "top_k". */
static bool same_name(const char *p, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (name[i] != (p[i] == '-' ? '_' : p[i]))
            return false;
    return name[n] == '\0';
}

static int find_kind(const char *p, size_t n) {
    for (int k = 0; k < SM_S_COUNT; k++)
        if (same_name(p, n, kind_names[k]))
            return k;
    return same_name(p, n, "temp") ? SM_S_TEMPERATURE : same_name(p, n, "typical_p") ? SM_S_TYPICAL : -1;
}

static sm_status read_chain(const char *text, uint8_t chain[SM_SAMPLERS_MAX], int *n, sm_err *err) {
    *n = 0;
    for (const char *p = text; *p;) {
        size_t len = strcspn(p, ";");
        int kind = find_kind(p, len);
        if (kind < 0) {
            SM_FAIL(err, SM_USAGE, "samplers: there is no sampler %s", sm_quote(p, len));
            sm_err_hint(err, "known: %s", sm_sampling_usual.samplers);
            return SM_USAGE;
        }
        if (*n == SM_SAMPLERS_MAX)
            return SM_FAIL(err, SM_USAGE, "samplers: wanted at most %d", (int)SM_SAMPLERS_MAX);
        chain[(*n)++] = (uint8_t)kind;
        p += len + (p[len] == ';');
    }
    return SM_OK;
}

static sm_status check_ranges(const sm_sampling *s, sm_err *err) {
    const double any = 1e6;
    const struct {
        const char *name;
        double value, low, high;
        bool above; /* low itself is not allowed */
    } ranges[] = {
        {"temp", s->temp, 0.0, 100.0, false},
        {"dynatemp-range", s->dynatemp_range, 0.0, 100.0, false},
        {"dynatemp-exp", s->dynatemp_exp, 0.0, 100.0, false},
        {"top-k", s->top_k, 0.0, INT32_MAX, false},
        {"top-p", s->top_p, 0.0, 1.0, true},
        {"min-p", s->min_p, 0.0, 1.0, false},
        {"typical", s->typical_p, 0.0, 1.0, true},
        {"top-nsigma", s->top_n_sigma, -any, any, false},
        {"xtc-probability", s->xtc_probability, 0.0, 1.0, false},
        {"xtc-threshold", s->xtc_threshold, 0.0, 1.0, false},
        {"repeat-penalty", s->repeat_penalty, 0.0, 100.0, true},
        {"presence-penalty", s->presence_penalty, -any, any, false},
        {"frequency-penalty", s->frequency_penalty, -any, any, false},
        {"repeat-last-n", s->repeat_last_n, -1.0, INT32_MAX, false},
        {"dry-multiplier", s->dry_multiplier, 0.0, any, false},
        {"dry-base", s->dry_base, 1.0, any, false},
        {"dry-allowed-length", s->dry_allowed_length, 0.0, INT32_MAX, false},
        {"dry-penalty-last-n", s->dry_penalty_last_n, -1.0, INT32_MAX, false},
        {"mirostat", s->mirostat, 0.0, 2.0, false},
        {"mirostat-ent", s->mirostat_tau, 0.0, 1000.0, false},
        {"mirostat-lr", s->mirostat_eta, 0.0, 1000.0, false},
    };
    for (size_t i = 0; i < SM_ARRAY_LEN(ranges); i++) {
        double v = ranges[i].value, low = ranges[i].low;
        if (!(v <= ranges[i].high && (ranges[i].above ? v > low : v >= low)))
            return SM_FAIL(err, SM_USAGE, "%s: wanted %s%g%s%g, found %g", ranges[i].name,
                           ranges[i].above ? "above " : "", low, ranges[i].above ? ", at most " : "..", ranges[i].high,
                           v);
    }
    return SM_OK;
}

sm_status sm_sampling_check(const sm_sampling *s, sm_err *err) {
    uint8_t chain[SM_SAMPLERS_MAX];
    int n;
    SM_TRY(check_ranges(s, err));
    if (!s->samplers || (!s->dry_breakers && s->n_dry_breakers > 0) || (!s->logit_bias && s->n_logit_bias > 0))
        return SM_FAIL(err, SM_USAGE, "%s: wanted a %s, found NULL",
                       !s->samplers                            ? "samplers"
                       : !s->logit_bias && s->n_logit_bias > 0 ? "logit-bias"
                                                               : "dry-sequence-breaker",
                       !s->samplers ? "text" : "list");
    for (size_t i = 0; i < s->n_logit_bias; i++)
        if (s->logit_bias[i].bias != s->logit_bias[i].bias)
            return SM_FAIL(err, SM_USAGE, "logit-bias: the bias of token %d is not a number", s->logit_bias[i].id);
    for (size_t i = 0; i < s->n_dry_breakers; i++)
        if (s->dry_breakers[i][0] == '\0')
            return SM_FAIL(err, SM_USAGE, "dry-sequence-breaker: wanted a text, found an empty one");
    return read_chain(s->samplers, chain, &n, err);
}

/* ------------------------------------------------------------------ making one */
static sm_status copy_lists(sm_sampler *s, const sm_sampling *p, sm_err *err) {
    sm_logit_bias *bias = sm_arena_alloc_n(s->arena, p->n_logit_bias, sizeof *bias);
    const char **breakers = sm_arena_alloc_n(s->arena, p->n_dry_breakers, sizeof *breakers);
    if (!bias || !breakers)
        return SM_NOMEM(err);
    for (size_t i = 0; i < p->n_logit_bias; i++) {
        bias[i] = p->logit_bias[i];
        if (bias[i].id < 0 || bias[i].id >= s->vocab)
            return SM_FAIL(err, SM_USAGE, "logit-bias: wanted a token id below %d, found %d", s->vocab, bias[i].id);
    }
    for (size_t i = 0; i < p->n_dry_breakers; i++)
        if (!(breakers[i] = sm_arena_strdup(s->arena, p->dry_breakers[i])))
            return SM_NOMEM(err);
    s->p.logit_bias = bias;
    s->p.dry_breakers = breakers;
    s->p.samplers = NULL; /* read */
    return SM_OK;
}

/* Whether it changes logits by what was there, and narrows nothing. */
static bool edits(sm_sampler_kind kind) {
    return kind == SM_S_PENALTIES || kind == SM_S_DRY;
}

static bool applies(const sm_sampler *s, sm_sampler_kind kind) {
    for (int i = 0; i < s->n_chain; i++)
        if (s->chain[i] == kind)
            return true;
    return false;
}

/* Whether narrowing cannot change which token is the most likely, and nothing else is asked for: only typical sampling and
 * XTC ever drop it, and edits of logits must come before what narrows. */
static bool takes_best(const sm_sampler *s) {
    const sm_sampling *p = &s->p;
    bool narrowed = false;
    if (p->temp > 0.0 || p->dynatemp_range > 0.0 || p->mirostat || !applies(s, SM_S_TEMPERATURE))
        return false;
    for (int i = 0; i < s->n_chain; i++) {
        if (edits(s->chain[i]) && narrowed)
            return false;
        narrowed |= !edits(s->chain[i]);
    }
    return !(p->typical_p < 1.0 && applies(s, SM_S_TYPICAL)) && !(p->xtc_probability > 0.0 && applies(s, SM_S_XTC));
}

static sm_status set_up(sm_sampler *s, const sm_sampling *p, sm_err *err) {
    s->arena = sm_arena_new();
    if (!s->arena)
        return SM_NOMEM(err);
    SM_TRY(read_chain(p->samplers, s->chain, &s->n_chain, err));
    SM_TRY(copy_lists(s, p, err));
    s->best_only = takes_best(s);
    size_t vocab = (size_t)s->vocab;
    s->c = sm_alloc_n(s->best_only ? 0 : vocab, sizeof *s->c);
    s->edited = sm_alloc_n(vocab, sizeof *s->edited);
    s->mark = sm_alloc_n(vocab, sizeof *s->mark);
    if (!s->c || !s->edited || !s->mark)
        return SM_NOMEM(err);
    sm_sampler_reset(s);
    return SM_OK;
}

sm_status sm_sampler_new(const sm_sampling *p, int32_t vocab, const sm_tokenizer *tok, sm_sampler **out, sm_err *err) {
    *out = NULL;
    SM_TRY(sm_sampling_check(p, err));
    sm_sampler *s = sm_alloc(sizeof *s);
    if (!s)
        return SM_NOMEM(err);
    s->p = *p;
    s->vocab = vocab;
    s->tok = tok;
    sm_status st = set_up(s, p, err);
    if (st != SM_OK)
        sm_sampler_free(&s);
    *out = s;
    return st;
}

void sm_sampler_free(sm_sampler **ps) {
    sm_sampler *s = *ps;
    if (!s)
        return;
    sm_free(s->c);
    sm_free(s->edited);
    sm_free(s->mark);
    sm_free(s->z);
    sm_str_free(&s->text);
    sm_arena_free(&s->arena);
    sm_free(s);
    *ps = NULL;
}

void sm_sampler_reset(sm_sampler *s) {
    s->mu = 2.0 * s->p.mirostat_tau;
}

void sm_sampler_carry(sm_sampler *s, const sm_sampler *from) {
    if (s->p.mirostat == from->p.mirostat && memcmp(&s->p.mirostat_tau, &from->p.mirostat_tau, sizeof(double)) == 0)
        s->mu = from->mu;
}

/* ------------------------------------------------------------------ a pick */
static void set_logit(sm_sampler *s, int32_t id, float v) {
    sm_s_own(s);
    s->edited[id] = v > 1e30f ? 1e30f : v; /* finite: differences of logits stay numbers */
}

static void apply(sm_sampler *s, sm_sampler_kind kind) {
    const sm_sampling *p = &s->p;
    switch (kind) {
    case SM_S_PENALTIES:
        sm_s_penalties(s);
        return;
    case SM_S_DRY:
        sm_s_dry(s);
        return;
    case SM_S_TOP_N_SIGMA:
        sm_s_top_n_sigma(s, p->top_n_sigma);
        return;
    case SM_S_TOP_K:
        sm_s_top_k(s, p->top_k);
        return;
    case SM_S_TYPICAL:
        sm_s_typical(s, p->typical_p);
        return;
    case SM_S_TOP_P:
        sm_s_top_p(s, p->top_p);
        return;
    case SM_S_MIN_P:
        sm_s_min_p(s, p->min_p);
        return;
    case SM_S_XTC:
        sm_s_xtc(s, p->xtc_probability, p->xtc_threshold);
        return;
    case SM_S_TEMPERATURE:
        sm_s_temperature(s, p->temp, p->dynatemp_range, p->dynatemp_exp);
        return;
    case SM_S_COUNT:
        return;
    }
}

static void bias(sm_sampler *s) {
    size_t n = 0;
    const int32_t *ends = s->p.never_end && s->tok ? sm_tokenizer_ends(s->tok, &n) : NULL;
    for (size_t i = 0; i < s->p.n_logit_bias; i++)
        set_logit(s, s->p.logit_bias[i].id, s->x[s->p.logit_bias[i].id] + s->p.logit_bias[i].bias);
    for (size_t i = 0; i < n; i++)
        if (ends[i] < s->vocab)
            set_logit(s, ends[i], -INFINITY);
}

/* Index of the choice in the list, -1 when no token is left. */
static int32_t choose(sm_sampler *s) {
    if (s->p.mirostat) { /* in place of all that narrows */
        for (int i = 0; i < s->n_chain; i++)
            if (edits(s->chain[i]))
                apply(s, s->chain[i]);
        sm_s_temperature(s, s->p.temp, 0.0, 1.0);
        return sm_s_mirostat(s);
    }
    for (int i = 0; i < s->n_chain; i++)
        apply(s, s->chain[i]);
    sm_s_list(s);
    return sm_s_draw(s);
}

sm_status sm_sampler_pick(sm_sampler *s, const float *logits, const int32_t *history, size_t n_history, int32_t *id,
                          sm_err *err) {
    s->x = logits;
    s->listed = false;
    s->n = 0;
    s->history = history;
    s->n_history = n_history;
    if (!sm_s_dry_reserve(s))
        return SM_NOMEM(err);
    bias(s);
    if (s->best_only) {
        for (int i = 0; i < s->n_chain; i++)
            if (edits(s->chain[i]))
                apply(s, s->chain[i]);
        *id = sm_argmax(s->x, s->vocab);
    } else {
        int32_t at = choose(s);
        *id = at >= 0 ? s->c[at].id : sm_argmax(logits, s->vocab); /* none: logits that are not numbers */
    }
    if (!sm_str_ok(&s->text)) {
        sm_str_free(&s->text);
        return SM_NOMEM(err);
    }
    return SM_OK;
}

const sm_logprob *sm_sampler_candidates(const sm_sampler *s, int32_t *n) {
    *n = s->n;
    return s->c;
}

/* ------------------------------------------------------------------ log-probabilities */
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

int sm_top_logprobs(const float *logits, int32_t vocab, double log_sum, int k, sm_logprob *out) {
    k = SM_MIN(k, vocab);
    for (int32_t i = 0; i < k; i++)
        out[i] = (sm_logprob){i, logits[i]};
    sm_s_heap(out, k);
    for (int32_t i = k; i < vocab && k > 0; i++)
        if (logits[i] > out[0].logprob)
            sm_s_heap_offer(out, k, (sm_logprob){i, logits[i]});
    qsort(out, (size_t)k, sizeof *out, sm_s_by_rank);
    for (int i = 0; i < k; i++)
        out[i].logprob = (float)(out[i].logprob - log_sum);
    return k;
}
