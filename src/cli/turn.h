/* SPDX-License-Identifier: MIT
 *
 * turn.h: one prompt and its reply: what a single run and each turn of a chat do.
 *
 * Texts go to standard output as they become certain: exactly as they are, or, on a terminal, with control characters
 * spelled out.  Threads: one.
 */
#ifndef SM_TURN_H
#define SM_TURN_H

#include "base/err.h"
#include "base/str.h"
#include "cli/request.h"

typedef struct turn {
    /* how */
    bool json;    /* an object a token instead of text */
    bool top;     /* with the most likely tokens */
    bool silent;  /* make no token at all */
    sm_str *keep; /* the reply's text as it is; NULL: not kept */
    /* what came of it */
    size_t n_prompt, reused; /* tokens of the prompt; those that were computed already */
    int made;                /* tokens of the reply */
    smelt_finish finish;     /* SMELT_GOING: it was stopped */
    int64_t start_us, first_us, end_us;
} turn;

/* Tokens of a conversation by the template, as q has it; or, with q NULL, of its texts one after the other. */
sm_status turn_ids(const smelt_model *m, const request_args *q, const smelt_message *v, size_t n, int32_t **ids,
                   size_t *n_ids, sm_err *err);
/* The text that turn_ids tokenizes, with the flags for smelt_tokenize. */
sm_status turn_text(const smelt_model *m, const request_args *q, const smelt_message *v, size_t n, sm_str *out,
                    int *flags, sm_err *err);
/* Makes the session hold ids and streams the reply, a line end behind its text.  SM_CANCELLED when it was stopped. */
sm_status turn_run(turn *t, smelt_session *s, const int32_t *ids, size_t n, sm_err *err);

double turn_prompt_tps(const turn *t); /* of the tokens that were computed */
double turn_gen_tps(const turn *t);
const char *turn_finish(const turn *t); /* "stop", "length", "stopped" */

#endif
