/* SPDX-License-Identifier: MIT
 *
 * sampler.h: from one row of logits to the next token, and log-probabilities.
 *
 * A chain of samplers edits logits or narrows the set of candidates; then one candidate is drawn by its probability.
 * Kinds, parameters and usual order are llama.cpp's; docs/sampling.md has definitions and sources.
 *
 *     logit_bias -> penalties, dry -> top_n_sigma, top_k, typ_p, top_p, min_p, xtc -> temperature -> draw
 *                   edit logits       narrow the set of candidates                    edits logits
 *
 * With mirostat the chain is logit_bias, penalties, dry, temperature, mirostat.  Probabilities always are those of the candidates left,
 * at the logits as they stand then.  Temperature 0 leaves the most likely candidate (the lowest id among equals).
 *
 * The draw is a function of seed, position and token id: each candidate has a random number of its own (a counter-based
 * generator), and the largest sum of logit and Gumbel noise wins, which is the softmax distribution exactly.  So the same
 * seed gives the same text wherever logits agree but for rounding: a candidate more or less, or an order that changes
 * between near equals, does not move the others' numbers.
 *
 * Nothing sorts the vocabulary: candidates are a set, and each sampler that needs an order finds its border first.
 *
 * Ownership: the sampler copies its parameters and owns its scratch; it borrows the tokenizer.  Threads: one at a time.
 */
#ifndef SM_SAMPLER_H
#define SM_SAMPLER_H

#include "text/tokenizer.h"

typedef struct sm_logit_bias {
    int32_t id;
    float bias;
} sm_logit_bias;

/* Fields as in smelt_sampling (smelt.h); a model's defaults are the caller's business. */
typedef struct sm_sampling {
    double temp, dynatemp_range, dynatemp_exp;
    int top_k;
    double top_p, min_p, typical_p, top_n_sigma;
    double xtc_probability, xtc_threshold;
    double repeat_penalty, presence_penalty, frequency_penalty;
    int repeat_last_n;
    double dry_multiplier, dry_base;
    int dry_allowed_length, dry_penalty_last_n;
    const char *const *dry_breakers;
    size_t n_dry_breakers;
    int mirostat;
    double mirostat_tau, mirostat_eta;
    const sm_logit_bias *logit_bias;
    size_t n_logit_bias;
    bool never_end; /* tokens that end a reply are never chosen */
    const char *samplers;
    uint64_t seed;
} sm_sampling;
extern const sm_sampling sm_sampling_usual;
/* Ranges and names; SM_USAGE, the message names the parameter as the program's option does. */
sm_status sm_sampling_check(const sm_sampling *s, sm_err *err);

typedef struct sm_sampler sm_sampler;
/* tok: for the texts of dry_breakers; NULL: none of them is ever found. */
sm_status sm_sampler_new(const sm_sampling *s, int32_t vocab, const sm_tokenizer *tok, sm_sampler **out, sm_err *err);
void sm_sampler_free(sm_sampler **s); /* NULL-safe, nulls */
/* Forgets what was drawn (mirostat's running surprise): a new reply begins. */
void sm_sampler_reset(sm_sampler *s);
/* Takes over what `from` has learnt, where both aim at the same. */
void sm_sampler_carry(sm_sampler *s, const sm_sampler *from);
/* logits [vocab] are not changed; history: all tokens so far; its length is the draw's position. */
sm_status sm_sampler_pick(sm_sampler *s, const float *logits, const int32_t *history, size_t n_history, int32_t *id,
                          sm_err *err);

typedef struct sm_logprob {
    int32_t id;
    float logprob;
} sm_logprob;
/* ln of the sum of e^logits. */
double sm_log_sum_exp(const float *logits, int32_t vocab);
/* The k most likely tokens, most likely first (the lower id first among equals); returns how many. */
int sm_top_logprobs(const float *logits, int32_t vocab, double log_sum, int k, sm_logprob *out);
int32_t sm_argmax(const float *logits, int32_t vocab);

/* What the last pick drew from: ids and logits (in logprob) as they stood then.  In no order, valid until the next pick.
 * Empty when it took the most likely token without narrowing. */
const sm_logprob *sm_sampler_candidates(const sm_sampler *s, int32_t *n);

#endif
