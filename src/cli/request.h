/* SPDX-License-Identifier: MIT
 *
 * request.h: prompts by a chat template: of messages or of a whole request, with a template or variables from the command
 * line.
 */
#ifndef SM_REQUEST_H
#define SM_REQUEST_H

#include "base/err.h"
#include "base/str.h"
#include "smelt.h"

typedef struct request_args {
    const char *chat;      /* --chat FILE */
    const char *tmpl;      /* --chat-template FILE */
    const char *variables; /* --chat-template-kwargs JSON */
} request_args;

bool request_given(const request_args *q);
/* Appends the prompt to *out: of the file's request, or, without one, of these messages. */
sm_status request_text(const request_args *q, const smelt_model *m, const smelt_message *v, size_t n, sm_str *out,
                       sm_err *err);

#endif
