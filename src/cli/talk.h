/* SPDX-License-Identifier: MIT
 *
 * talk.h: a conversation: its messages, and files of them.
 *
 * Files are {"messages": [{"role": "user", "content": ".."}, ..]}, as the OpenAI interface has them; a bare array of
 * messages is read as well.  The strings belong to the conversation.  Threads: one.
 */
#ifndef SM_TALK_H
#define SM_TALK_H

#include "base/err.h"
#include "base/mem.h"
#include "smelt.h"

typedef struct talk {
    smelt_message *v;
    size_t n, cap;
} talk;

sm_status talk_add(talk *t, const char *role, const char *p, size_t n, sm_err *err);
void talk_cut(talk *t, size_t n); /* keeps the first n messages */
void talk_free(talk *t);          /* safe on a zeroed struct */
bool talk_is(const talk *t, size_t i, const char *role);
const char *talk_system(const talk *t); /* content of a first message that is the system's; else NULL */
/* Sets, replaces or (NULL) removes the system message. */
sm_status talk_set_system(talk *t, const char *text, sm_err *err);

/* An existing file is replaced only if it holds a conversation. */
sm_status talk_save(const talk *t, const char *path, sm_err *err);
/* Fills an empty conversation; errors name file and field. */
sm_status talk_load(talk *t, const char *path, sm_err *err);

#endif
