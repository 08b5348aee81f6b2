/* SPDX-License-Identifier: MIT
 *
 * request.h: prompts from a whole chat request, or with a template or variables from the command line.
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
/* Appends the prompt to *out: of the file's request, or of `system` (may be NULL) and the one user turn. */
sm_status request_text(const request_args *q, const smelt_model *m, const char *system, const sm_str *user, sm_str *out,
                       sm_err *err);

#endif
