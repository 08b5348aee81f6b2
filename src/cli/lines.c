/* SPDX-License-Identifier: MIT
 *
 * lines.c: inputs of several lines; the history file.
 *
 * The history file is appended to at each input, so that chats in several windows all keep what was said, and cut to its
 * newest half when it has grown long.  In it \n and \\ stand for line end and backslash.
 */
#include "cli/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/env.h"
#include "base/files.h"
#include "base/log.h"
#include "cli/keyboard.h"

enum { KEEP = 1000, ENTRY_MAX = 1 << 16, FILE_MAX = 1 << 28 };

struct lines {
    bool terminal, colours;
    editor *ed; /* NULL: plain */
    char *file; /* NULL: nothing is kept */
    sm_str last;
};

/* ------------------------------------------------------------------ history file */
static void add_escaped(sm_str *out, const char *text) {
    for (; *text; text++)
        if (*text == '\n' || *text == '\\')
            sm_str_adds(out, *text == '\n' ? "\\n" : "\\\\");
        else
            sm_str_addc(out, *text);
    sm_str_addc(out, '\n');
}

static void add_unescaped(sm_str *out, const char *p, const char *end) {
    for (; p < end; p++) {
        bool pair = *p == '\\' && p + 1 < end;
        p += pair;
        sm_str_addc(out, pair && *p == 'n' ? '\n' : *p);
    }
}

static void no_history(lines *l, const char *why) {
    sm_log(1, "the history is not kept: %s: %s", l->file, why);
    sm_free(l->file);
    l->file = NULL;
}

/* Replaces the file by its last KEEP entries, which begin at `from`. */
static void cut_history(lines *l, const char *from, size_t n) {
    sm_outfile *f = NULL;
    sm_err err = {0};
    sm_status st = sm_outfile_new(l->file, &f, &err);
    if (st == SM_OK)
        st = sm_outfile_append(f, from, n, &err);
    if (st == SM_OK)
        st = sm_outfile_commit(&f, &err);
    sm_outfile_abandon(&f);
    if (st != SM_OK)
        no_history(l, err.msg);
}

static void load_history(lines *l) {
    sm_str text = SM_STR_INIT, entry = SM_STR_INIT;
    sm_err err = {0};
    if (!l->file || !sm_path_exists(l->file))
        return;
    if (sm_file_read(l->file, FILE_MAX, &text, &err) != SM_OK) {
        no_history(l, err.msg);
    } else {
        const char *p = sm_str_z(&text), *end = p + text.n, *from = end;
        size_t n = 0, all = 0;
        for (const char *q = end; q > p; q--)
            if (q[-1] == '\n' && q < end && ++n <= KEEP)
                from = q;
        all = n + (end > p);
        if (all <= KEEP)
            from = p;
        for (const char *q = from; q < end;) {
            const char *stop = memchr(q, '\n', (size_t)(end - q));
            stop = stop ? stop : end;
            sm_str_clear(&entry);
            add_unescaped(&entry, q, stop);
            if (entry.n > 0 && sm_utf8_valid(entry.p, entry.n) == entry.n) {
                editor_remember(l->ed, sm_str_z(&entry));
                sm_str_clear(&l->last);
                sm_str_add(&l->last, entry.p, entry.n);
            }
            q = stop + 1;
        }
        if (all > 2 * KEEP)
            cut_history(l, from, (size_t)(end - from));
    }
    sm_str_free(&text);
    sm_str_free(&entry);
}

void lines_remember(lines *l, const char *text) {
    if (!l->ed || !*text || strcmp(sm_str_z(&l->last), text) == 0)
        return;
    sm_str_clear(&l->last);
    sm_str_adds(&l->last, text);
    editor_remember(l->ed, text);
    if (!l->file || strlen(text) > ENTRY_MAX)
        return;
    sm_str line = SM_STR_INIT;
    add_escaped(&line, text);
    int fd = open(l->file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || write(fd, sm_str_z(&line), line.n) != (ssize_t)line.n)
        no_history(l, strerror(errno));
    if (fd >= 0)
        close(fd);
    sm_str_free(&line);
}

/* ------------------------------------------------------------------ */
sm_status lines_new(bool terminal, complete_fn complete, void *ctx, lines **out, sm_err *err) {
    *out = NULL;
    lines *l = sm_alloc(sizeof *l);
    if (!l)
        return SM_NOMEM(err);
    l->terminal = terminal;
    l->colours = terminal && sm_env_colours(STDOUT_FILENO);
    keyboard_catch();
    if (terminal)
        l->ed = editor_new(complete, ctx);
    if (l->ed) {
        l->file = sm_env_state_file("chat_history");
        load_history(l);
    }
    *out = l;
    return SM_OK;
}

void lines_free(lines **pl) {
    lines *l = *pl;
    if (!l)
        return;
    keyboard_release();
    editor_free(&l->ed);
    sm_str_free(&l->last);
    sm_free(l->file);
    sm_free(l);
    *pl = NULL;
}

/* A line without an editor. */
static line_end read_plain(const lines *l, const char *prompt, sm_str *out) {
    size_t before = out->n;
    line_end how = LINE_READ;
    if (l->terminal) {
        fputs(prompt, stdout);
        fflush(stdout);
    }
    keyboard_open();
    for (bool on = true; on;) {
        unsigned char b;
        switch (keyboard_byte(&b)) {
        case KEY_BYTE:
            on = b != '\n';
            if (on)
                sm_str_addc(out, (char)b);
            break;
        case KEY_RESIZE:
            break;
        case KEY_SUSPEND:
            keyboard_suspend();
            break;
        case KEY_INTERRUPT:
            how = LINE_INTERRUPT;
            on = false;
            break;
        case KEY_EOF:
        case KEY_QUIT:
            how = out->n > before ? LINE_READ : LINE_EOF;
            on = false;
            break;
        }
    }
    keyboard_close();
    if (how == LINE_READ && out->n > before && out->p[out->n - 1] == '\r')
        out->p[--out->n] = '\0';
    if (how != LINE_READ && l->terminal)
        fputc('\n', stdout);
    return how;
}

static const char quotes[] = "\"\"\"";
enum { QUOTES = 3 };

static void cut_end(sm_str *s, size_t n) {
    s->n -= n;
    s->p[s->n] = '\0';
}

/* Whether what was read so far is a whole input; its marks are taken off when it is. */
static bool whole(sm_str *s, bool *block) {
    *block = s->n >= QUOTES && memcmp(s->p, quotes, QUOTES) == 0;
    if (*block) {
        size_t end = s->n; /* spaces may stand behind the closing mark */
        while (end > QUOTES && (s->p[end - 1] == ' ' || s->p[end - 1] == '\t'))
            end--;
        if (end < 2 * QUOTES || memcmp(s->p + end - QUOTES, quotes, QUOTES) != 0)
            return false;
        cut_end(s, s->n - end + QUOTES);
        size_t skip = QUOTES + (s->p[QUOTES] == '\n');
        memmove(s->p, s->p + skip, s->n - skip);
        cut_end(s, skip);
        if (s->n > 0 && s->p[s->n - 1] == '\n')
            cut_end(s, 1);
        return true;
    }
    if (s->n > 0 && s->p[s->n - 1] == '\\') {
        cut_end(s, 1);
        return false;
    }
    return true;
}

sm_status lines_read(lines *l, sm_str *out, line_end *how, sm_err *err) {
    bool block = false;
    for (bool first = true;; first = false) {
        const char *prompt = first ? "> " : "... ";
        size_t before = out->n;
        *how = l->ed ? editor_read(l->ed, prompt, l->colours ? "\033[1;32m" : NULL, out) : read_plain(l, prompt, out);
        if (!sm_str_ok(out))
            return SM_NOMEM(err);
        size_t bad = sm_utf8_valid(sm_str_z(out), out->n);
        if (*how == LINE_READ && bad < out->n)
            return SM_FAIL(err, SM_BADINPUT,
                           "standard input: offset %zu of the line: wanted UTF-8 text, found byte 0x%02X", bad - before,
                           (unsigned char)out->p[bad]);
        if (*how == LINE_EOF && !first) {
            if (block) {
                SM_FAIL(err, SM_BADINPUT, "the text that %s began has no end: found the end of the input", quotes);
                sm_err_hint(err, "end it with %s", quotes);
                return SM_BADINPUT;
            }
            *how = LINE_READ; /* the end of the input ends a continued line too */
            return SM_OK;
        }
        if (*how != LINE_READ || whole(out, &block))
            return sm_str_ok(out) ? SM_OK : SM_NOMEM(err);
        sm_str_addc(out, '\n');
    }
}
