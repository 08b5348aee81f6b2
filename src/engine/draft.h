/* SPDX-License-Identifier: MIT
 *
 * draft.h: guesses of the tokens that come next, for a model that then computes all of them in one step.
 *
 * A step over a few rows costs little more than one over a single row, since weights are read once.  So guesses that
 * mostly hold make a reply faster; the model's own choice at each row decides, and a wrong guess costs its row.
 *
 *     lookup   what followed the last time that the text ended in the same few tokens (prompt lookup decoding,
 *              A. Saxena 2023): good where a reply repeats its prompt, as in edits, summaries, code
 *     model    a smaller model of the same vocabulary (speculative decoding, Leviathan et al. 2022).  It draws with the
 *              same random numbers as the large one: sampler.h's draws are a function of seed, position and token, so
 *              that near distributions mostly draw the same token
 *
 * How many are guessed follows how many held: all of them, twice as many the next time; less, one more than held.
 *
 * Ownership: borrows the function of the draft model and what the sampling names; both must outlive it.
 * Threads: one at a time.
 */
#ifndef SM_DRAFT_H
#define SM_DRAFT_H

#include "engine/engine.h"
#include "engine/sampler.h"

enum { SM_DRAFT_MOST = 64 };

typedef struct sm_draft_opts {
    int32_t most;     /* guesses of one step, 1 to SM_DRAFT_MOST */
    const sm_func *f; /* draft model; NULL: by lookup */
    sm_engine_opts engine;
    const sm_sampling *sampling; /* of the large model */
    const sm_tokenizer *tok;
} sm_draft_opts;

typedef struct sm_draft sm_draft;
/* SM_UNSUPPORTED when the draft model's vocabulary has another size than `vocab`. */
sm_status sm_draft_new(const sm_draft_opts *o, int32_t vocab, sm_draft **out, sm_err *err);
void sm_draft_free(sm_draft **d); /* NULL-safe, nulls */
/* Other sampling from now on. */
sm_status sm_draft_sampling(sm_draft *d, const sm_sampling *s, sm_err *err);
/* Guesses what follows text[n], at most `room` tokens: *ids [*n_ids], until the next call. */
sm_status sm_draft_guess(sm_draft *d, const int32_t *text, size_t n, int32_t room, const int32_t **ids, int32_t *n_ids,
                         sm_err *err);
/* How many of the last guesses held. */
void sm_draft_held(sm_draft *d, int32_t held);

/* What followed where text[n] last ended as it ends now, in at least two tokens (the longest such end wins, of equals
 * the latest): up to `most` tokens into out; returns how many. */
int32_t sm_draft_lookup(const int32_t *text, size_t n, int32_t most, int32_t *out);

#endif
