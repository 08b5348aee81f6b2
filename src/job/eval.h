/* SPDX-License-Identifier: MIT
 *
 * eval.h: log-probabilities of given tokens and perplexity, as llama.cpp's perplexity tool counts it.
 *
 * A text is cut into windows of ctx tokens; what does not fill the last one is dropped.  In each window the first token
 * is replaced by the model's beginning-of-text token where it adds one, and the second half is scored:
 *
 *     |<---------------- ctx ---------------->|
 *     BOS  x x x x x x x x x | s s s s s s s s |   scored: positions ctx/2 + 1 .. ctx - 1 given all before them
 *
 * A text shorter than one window makes one window of its own length.  Perplexity is exp of the mean negative
 * log-likelihood; its standard error that of the mean, times the perplexity.
 */
#ifndef SM_EVAL_H
#define SM_EVAL_H

#include "engine/sampler.h"
#include "job/load.h"

typedef struct sm_eval_opts {
    const char *backend;
    int n_threads;
    int32_t ctx;            /* of a window; 0: 512, or the package's if less.  ids: positions allowed, 0: the model's */
    int top;                /* most likely tokens for on_token */
    const char *logits_npz; /* ids only: writes f32 [n, vocab] "logits" */
    /* Each scored token; with ids a last call with id -1: what would follow. */
    void (*on_token)(void *ctx, int32_t id, double logprob, const sm_logprob *top, int n_top);
    void *user;
    bool progress;
} sm_eval_opts;

typedef struct sm_eval_report {
    double ppl, ppl_error, nll;
    uint64_t scored, tokens;
    int windows;
} sm_eval_report;

sm_status sm_eval_ids(const sm_loaded *l, const char *path, const int32_t *ids, size_t n, const sm_eval_opts *o,
                      sm_eval_report *out, sm_err *err);
sm_status sm_eval_text(const sm_loaded *l, const char *path, sm_sv text, const sm_eval_opts *o, sm_eval_report *out,
                       sm_err *err);

#endif
