/* SPDX-License-Identifier: MIT
 *
 * reply.h: the text of a reply as its tokens come: whole characters only, nothing of a stop text.
 *
 * The reply ends where the first stop text ends; of several that end there, the longest counts.  It is the text before
 * that one, however tokens cut it up.  Text that may be the beginning of a stop text is held back until it is known not
 * to be one, and no other.
 *
 * Ownership: stop texts are copied, the tokenizer is borrowed.  Threads: one at a time.
 */
#ifndef SM_REPLY_H
#define SM_REPLY_H

#include "text/tokenizer.h"

typedef struct sm_reply sm_reply;
/* SM_USAGE: an empty stop text; SM_BADINPUT: one that is not UTF-8. */
sm_status sm_reply_new(const sm_tokenizer *t, const char *const *stop, size_t n_stop, sm_reply **out, sm_err *err);
void sm_reply_free(sm_reply **r); /* NULL-safe, nulls */
/* Appends to *out what became certain with this token.  *stopped: a stop text is complete; what follows it is dropped. */
sm_status sm_reply_push(sm_reply *r, int32_t id, sm_str *out, bool *stopped, sm_err *err);
/* The reply is over: appends what was held back. */
sm_status sm_reply_finish(sm_reply *r, sm_str *out, sm_err *err);

#endif
