/* SPDX-License-Identifier: MIT
 *
 * sampler.h: from one row of logits to the next token, and log-probabilities.
 *
 * Order, as llama.cpp has it: repeat penalty, then top-k, top-p, min-p on the probabilities at temperature 1, then the
 * temperature, then the draw.  Temperature 0 takes the most likely token (the lowest id among equals).  The draw is a
 * function of the seed and the draws before it, the same on every machine.
 *
 * Nothing sorts the vocabulary: top-k keeps a heap of k, top-p finds its threshold in a histogram and sorts only what is
 * above it.
 *
 * Ownership: the sampler owns its scratch.  Threads: one at a time per sampler.
 */
#ifndef SM_SAMPLER_H
#define SM_SAMPLER_H

#include "base/err.h"
#include "base/mem.h"

typedef struct sm_sampling {
    double temp;           /* 0: greedy */
    int top_k;             /* 0: off */
    double top_p;          /* 1: off */
    double min_p;          /* 0: off */
    double repeat_penalty; /* 1: off */
    int repeat_last;       /* tokens looked back at */
    uint64_t seed;
} sm_sampling;
#define SM_SAMPLING_DEFAULT                                                                                            \
    { 0.8, 40, 0.95, 0.0, 1.0, 64, 0 }
/* Ranges; the message names the option. */
sm_status sm_sampling_check(const sm_sampling *s, sm_err *err);

typedef struct sm_sampler sm_sampler;
sm_status sm_sampler_new(const sm_sampling *s, int32_t vocab, sm_sampler **out, sm_err *err);
void sm_sampler_free(sm_sampler **s);
/* logits [vocab] are not changed; history: tokens so far, for the repeat penalty. */
int32_t sm_sampler_pick(sm_sampler *s, const float *logits, const int32_t *history, size_t n_history);

typedef struct sm_logprob {
    int32_t id;
    float logprob;
} sm_logprob;
/* ln of the sum of e^logits. */
double sm_log_sum_exp(const float *logits, int32_t vocab);
/* The k most likely tokens, most likely first (the lower id first among equals); returns how many. */
int sm_top_logprobs(const float *logits, int32_t vocab, double log_sum, int k, sm_logprob *out);
int32_t sm_argmax(const float *logits, int32_t vocab);

#endif
