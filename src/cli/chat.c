/* SPDX-License-Identifier: MIT
 *
 * chat.c: turns: what is said, the reply to it, and what becomes of both when something fails or is stopped.
 *
 * A turn that gets no reply (an error, a stop before the first token) is taken back whole, so that the conversation
 * always is what the model saw.  A reply that is stopped later stays as far as it went.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/env.h"
#include "base/log.h"
#include "cli/chat_int.h"
#include "cli/cli.h"
#include "cli/keyboard.h"

void chat_note(const char *fmt, ...) {
    bool dim = sm_env_colours(STDERR_FILENO);
    sm_str s = SM_STR_INIT;
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    sm_str_add_shown(&s, text, sm_utf8_complete(text, strlen(text)));
    sm_log(1, "%s%s%s", dim ? "\033[2m" : "", sm_str_z(&s), dim ? "\033[0m" : "");
    sm_str_free(&s);
}

/* ------------------------------------------------------------------ a reply */
static sm_status check_room(const chat *c, size_t n, sm_err *err) {
    smelt_session_info info;
    smelt_model_info model;
    smelt_session_get_info(c->set->s, &info);
    smelt_model_get_info(c->set->m, &model);
    if (n < (size_t)info.context)
        return SM_OK;
    int32_t most = model.package_context > 0 ? model.package_context : model.trained_context;
    SM_FAIL(err, SM_RESOURCE,
            "the conversation is too long: its %zu tokens and a reply do not fit into the context of %d", n,
            info.context);
    if (most > info.context)
        sm_err_hint(
            err, "the turn was taken back; /undo takes back one more, /clear all; smelt run -c %d has more room", most);
    else
        sm_err_hint(err, "the turn was taken back; /undo takes back one more, /clear all");
    return SM_RESOURCE;
}

static void add_up(chat *c, const turn *t) {
    int64_t first = t->made ? t->first_us : t->end_us;
    c->last = *t;
    c->last.keep = NULL;
    c->replies++;
    c->computed += t->n_prompt - t->reused;
    c->reused += t->reused;
    c->made += (size_t)t->made;
    c->prompt_us += first - t->start_us;
    c->gen_us += t->end_us - first;
}

static void note_end(const chat *c, const turn *t, bool stopped) {
    smelt_session_info info;
    smelt_session_get_info(c->set->s, &info);
    if (stopped)
        chat_note("(stopped; /retry makes another reply)");
    else if (t->finish == SMELT_LENGTH && info.length >= info.context)
        chat_note("(the reply ends here: the context of %d is full; /undo, /clear, or a larger -c)", info.context);
    else if (t->finish == SMELT_LENGTH)
        chat_note("(the reply ends here: it has the %d tokens that -n allows)", t->made);
    sm_log(2, "prompt %zu tokens, %zu of them new, %.1f/s; made %d, %.1f/s (%s)", t->n_prompt, t->n_prompt - t->reused,
           turn_prompt_tps(t), t->made, turn_gen_tps(t), turn_finish(t));
}

sm_status chat_reply(chat *c, sm_err *err) {
    const chat_setup *set = c->set;
    sm_str reply = SM_STR_INIT;
    turn t = {.keep = &reply};
    int32_t *ids;
    size_t n;
    SM_TRY(turn_ids(set->m, set->request, c->t.v, c->t.n, &ids, &n, err));
    sm_status st = check_room(c, n, err);
    if (st == SM_OK)
        st = turn_run(&t, set->s, ids, n, err);
    bool stopped = st == SM_CANCELLED && reply.n > 0;
    if (st == SM_OK || stopped) {
        add_up(c, &t);
        st = talk_add(&c->t, "assistant", sm_str_z(&reply), reply.n, err);
        note_end(c, &t, stopped);
    }
    if (stopped && !c->terminal)
        st = SM_FAIL(err, SM_CANCELLED, "stopped");
    sm_str_free(&reply);
    smelt_free(ids);
    return st;
}

static sm_status say(chat *c, const char *text, sm_err *err) {
    size_t before = c->t.n;
    SM_TRY(talk_add(&c->t, "user", text, strlen(text), err));
    sm_status st = chat_reply(c, err);
    if (st != SM_OK && c->t.n == before + 1)
        talk_cut(&c->t, before);
    return st;
}

/* ------------------------------------------------------------------ the chat */
static void complain(const sm_err *err) {
    sm_log(0, "smelt: %s", err->msg);
    if (err->hint[0])
        sm_log(0, "smelt: %s", err->hint);
}

/* On a terminal a failure is told and the chat goes on. */
static sm_status settle(const chat *c, sm_status st, const sm_err *err) {
    if (st == SM_CANCELLED && c->terminal) {
        chat_note("(stopped before the reply began: the turn was taken back)");
        st = SM_OK;
    } else if (st != SM_OK && st != SM_CANCELLED && c->terminal) {
        complain(err);
        st = SM_OK;
    }
    keyboard_forget();
    return st;
}

/* One input: a command or a turn. */
static sm_status take(chat *c, const sm_str *text, sm_err *err) {
    const char *p = sm_str_z(text);
    if (strspn(p, " \t\n") == text->n)
        return SM_OK;
    lines_remember(c->in, p);
    bool is_command = p[0] == '/' && !strchr(p, '\n');
    return settle(c, is_command ? chat_command(c, p, err) : say(c, p, err), err);
}

static void greet(const chat *c) {
    smelt_model_info m;
    smelt_session_info s;
    char trained[48] = "";
    smelt_model_get_info(c->set->m, &m);
    smelt_session_get_info(c->set->s, &s);
    if (m.trained_context > s.context)
        snprintf(trained, sizeof trained, " of %d (-c)", m.trained_context);
    chat_note("%s%s%s, context %d%s. /help tells more, Ctrl-D leaves.", m.name && *m.name ? m.name : "A model",
              m.architecture && *m.architecture ? ", " : "", m.architecture ? m.architecture : "", s.context, trained);
    if (!c->set->request)
        chat_note("%s: what you write is continued as it stands.",
                  m.has_chat_template ? "Without the chat template" : "The model has no chat template");
}

static sm_status read_turns(chat *c, sm_err *err) {
    sm_str text = SM_STR_INIT;
    bool warned = false; /* the last thing was a Ctrl-C at an empty prompt */
    sm_status st = SM_OK;
    while (st == SM_OK && !c->leave) {
        line_end how;
        sm_str_clear(&text);
        st = lines_read(c->in, &text, &how, err);
        if (st != SM_OK && c->terminal) {
            complain(err);
            st = SM_OK;
        } else if (st == SM_OK && how == LINE_EOF) {
            break;
        } else if (st == SM_OK && how == LINE_INTERRUPT) {
            if (!c->terminal || (warned && text.n == 0))
                st = SM_FAIL(err, SM_CANCELLED, "stopped");
            else if (text.n == 0)
                chat_note("(Ctrl-C once more leaves, and so does Ctrl-D)");
            warned = text.n == 0;
        } else if (st == SM_OK) {
            warned = false;
            st = take(c, &text, err);
        }
    }
    sm_str_free(&text);
    return st;
}

sm_status chat_run(const chat_setup *setup, sm_err *err) {
    chat c = {.set = setup, .o = *setup->o, .sampling = *setup->o->sampling};
    sm_status st = SM_OK;
    c.terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    SM_TRY(lines_new(c.terminal, chat_complete, &c, &c.in, err));
    if (setup->system && !setup->request)
        chat_note("the model has no chat template: --system is left out");
    else if (setup->system)
        SM_TRY_DONE(talk_set_system(&c.t, setup->system, err));
    if (c.terminal)
        greet(&c);
    if (setup->first) {
        if (c.terminal)
            chat_note("> %s", setup->first);
        st = settle(&c, say(&c, setup->first, err), err);
    }
    if (st == SM_OK)
        st = read_turns(&c, err);
done:
    talk_free(&c.t);
    lines_free(&c.in);
    return st;
}
