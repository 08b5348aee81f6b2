/* SPDX-License-Identifier: MIT
 *
 * chat_int.h: what chat.c (turns) and chat_cmd.c (/commands) share.
 */
#ifndef SM_CHAT_INT_H
#define SM_CHAT_INT_H

#include "base/str.h"
#include "cli/chat.h"
#include "cli/lines.h"
#include "cli/talk.h"
#include "cli/turn.h"

typedef struct chat {
    const chat_setup *set;
    smelt_session_options o; /* as they are now, and so is */
    smelt_sampling sampling;
    talk t;
    lines *in;
    bool terminal; /* a person is there */
    bool leave;
    turn last; /* of the last reply */
    int replies;
    size_t computed, reused, made; /* tokens of all turns */
    int64_t prompt_us, gen_us;
} chat;

/* Makes the reply to the conversation as it stands and adds it.  SM_CANCELLED: stopped before it began; nothing added. */
sm_status chat_reply(chat *c, sm_err *err);
/* "/name argument". */
sm_status chat_command(chat *c, const char *line, sm_err *err);
/* Words that may follow (complete_fn); ctx is the chat. */
void chat_complete(void *ctx, const char *line, sm_str *words, size_t *start);
/* A line for the person, on standard error; not with -q. */
void chat_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
