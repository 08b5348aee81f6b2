/* SPDX-License-Identifier: MIT
 *
 * chat.h: a conversation in turns with a model.
 *
 * Each turn the whole conversation is rendered and the session made to hold it, so that only what is new is computed
 * (smelt_session_sync).  On a terminal there is editing, a history and hints; Ctrl-C stops a reply, and what was made of
 * it stays.  Otherwise turns are read line by line, and the first thing that fails ends the chat.
 *
 * Replies and what commands print go to standard output, all else to standard error.  Threads: one.
 */
#ifndef SM_CHAT_H
#define SM_CHAT_H

#include "base/err.h"
#include "cli/request.h"
#include "cli/sampling.h"
#include "smelt.h"

typedef struct chat_setup {
    smelt_model *m;
    smelt_session *s;
    const smelt_session_options *o; /* that s was made with; stop texts are borrowed */
    sampling_args *sampling;        /* as given; /set changes it */
    const char *system, *first;     /* system message, first turn; NULL: none */
    const request_args *request;    /* how the template is used; NULL: none is, texts are continued as they stand */
} chat_setup;

/* Until /exit or the end of the input.  SM_CANCELLED: left with Ctrl-C. */
sm_status chat_run(const chat_setup *setup, sm_err *err);

#endif
