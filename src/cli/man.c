/* SPDX-License-Identifier: MIT
 *
 * man.c: manual pages in mdoc, which mandoc and groff both set.
 *
 * Text of the tables is one paragraph a field; a sentence begins a line, as mdoc wants it.  The date is fixed here, not
 * taken from a clock: building twice gives the same page.
 */
#include <string.h>

#include "cli/tables.h"

#define MAN_DATE "November 21, 2026"

enum { LINE_MAX_ = 78 };

/* Bytes since the last line break. */
static size_t column(const sm_str *out) {
    size_t n = 0;
    while (n < out->n && out->p[out->n - 1 - n] != '\n')
        n++;
    return n;
}

/* One word as text: no escape, no macro. */
static void add_word(sm_str *out, const char *p, size_t n) {
    if (column(out) == 0 && (*p == '.' || *p == '\''))
        sm_str_adds(out, "\\&");
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\\')
            sm_str_adds(out, "\\e");
        else
            sm_str_addc(out, p[i]);
    }
}

/* Words in lines that are not too long; a sentence begins a line, a blank line a paragraph. */
static void add_text(sm_str *out, const char *p, size_t n) {
    bool sentence = false;
    for (size_t i = 0; i < n;) {
        size_t gap = 0, word = 0, lines = 0;
        for (; i + gap < n && (p[i + gap] == ' ' || p[i + gap] == '\n'); gap++)
            lines += p[i + gap] == '\n';
        i += gap;
        while (i + word < n && p[i + word] != ' ' && p[i + word] != '\n')
            word++;
        if (word == 0)
            break;
        size_t at = column(out);
        bool starts = sentence && p[i] >= 'A' && p[i] <= 'Z';
        if (lines > 1 && at > 0)
            sm_str_adds(out, "\n.Pp\n");
        else if (at > 0 && gap > 0)
            sm_str_addc(out, lines > 0 || starts || at + word >= LINE_MAX_ ? '\n' : ' ');
        add_word(out, p + i, word);
        sentence = p[i + word - 1] == '.';
        i += word;
    }
}

static void add_line(sm_str *out, const char *text) {
    add_text(out, text, strlen(text));
    sm_str_addc(out, '\n');
}

/* A macro's argument: quoted when a blank or quote is in it. */
static void add_arg(sm_str *out, const char *text) {
    sm_str_adds(out, " \"");
    for (const char *p = text; *p; p++)
        sm_str_adds(out, *p == '"' ? "\\(dq" : *p == '\\' ? "\\e" : (char[2]){*p, '\0'});
    sm_str_addc(out, '"');
}

static void add_option(sm_str *out, const opt *o) {
    char words[512];
    sm_str_adds(out, ".It");
    if (o->letter)
        sm_str_addf(out, " Fl %c ,", o->letter);
    sm_str_addf(out, " Fl -%s", o->name);
    if (o->arg) {
        sm_str_adds(out, " Ar");
        add_arg(out, o->arg);
    }
    sm_str_addc(out, '\n');
    add_line(out, o->help);
    if (o->choices && opts_value(o, words, sizeof words) == VALUE_WORDS) {
        sm_str_adds(out, "(One of: ");
        add_text(out, words, strlen(words));
        sm_str_adds(out, ".)\n");
    }
    if (o->later)
        sm_str_adds(out, "(Not supported here yet.)\n");
}

static void add_exit_status(sm_str *out) {
    static const char *const rows[][2] = {{"0", "done"},
                                          {"1", "a check failed"},
                                          {"2", "wrong usage"},
                                          {"3", "bad input: a file that is missing or malformed"},
                                          {"4", "not supported here"},
                                          {"5", "out of memory, disk or context length"},
                                          {"130", "stopped by Ctrl-C"}};
    sm_str_adds(out, ".Sh EXIT STATUS\n.Bl -tag -width Ds -compact\n");
    for (size_t i = 0; i < SM_ARRAY_LEN(rows); i++)
        sm_str_addf(out, ".It %s\n%s\n", rows[i][0], rows[i][1]);
    sm_str_adds(out, ".El\n");
}

static void command_page(const command *c, sm_str *out) {
    sm_str_addf(out, ".Sh NAME\n.Nm smelt-%s\n.Nd ", c->name);
    add_line(out, c->summary);
    sm_str_addf(out, ".Sh SYNOPSIS\n.Nm smelt %s\n", c->name);
    if (*c->usage)
        add_line(out, c->usage);
    sm_str_adds(out, ".Op Ar options\n.Sh DESCRIPTION\n");
    if (c->notes)
        add_line(out, c->notes);
    sm_str_adds(out, c->notes ? ".Pp\nThe options are:\n" : "The options are:\n");
    sm_str_adds(out, ".Bl -tag -width Ds\n");
    for (size_t i = 0; opts_at(c, i); i++)
        add_option(out, opts_at(c, i));
    sm_str_adds(out, ".El\n");
    add_exit_status(out);
    sm_str_adds(out, ".Sh SEE ALSO\n.Xr smelt 1\n");
}

/* The variables of `smelt knobs`. */
static sm_status add_environment(sm_str *out, sm_err *err) {
    smelt_error e;
    smelt_knob *knobs;
    int n;
    CLI_TRY(smelt_knobs(&knobs, &n, &e), &e, err);
    sm_str_adds(out, ".Sh ENVIRONMENT\n.Bl -tag -width Ds\n");
    for (int i = 0; i < n; i++) {
        sm_str_addf(out, ".It Ev %s\n", knobs[i].name);
        add_line(out, knobs[i].help);
    }
    sm_str_adds(out, ".El\n");
    smelt_free(knobs);
    return SM_OK;
}

static sm_status program_page(sm_str *out, sm_err *err) {
    sm_str_adds(out, ".Sh NAME\n.Nm smelt\n.Nd language models as Core ML packages, and on this CPU\n"
                     ".Sh SYNOPSIS\n.Nm\n.Ar command\n.Op Ar arguments\n.Nm\n.Fl -version\n"
                     ".Sh DESCRIPTION\nResults go to standard output, progress and messages to standard error.\n"
                     "With\n.Fl -json\nresults are machine-readable.\nThe commands are:\n.Bl -tag -width Ds\n");
    for (int i = 0; i < n_commands; i++) {
        sm_str_addf(out, ".It Xr smelt-%s 1\n", commands[i]->name);
        add_line(out, commands[i]->summary);
    }
    sm_str_adds(out, ".El\n");
    SM_TRY(add_environment(out, err));
    add_exit_status(out);
    return SM_OK;
}

sm_status cli_man_page(const command *c, sm_str *out, sm_err *err) {
    char title[64];
    snprintf(title, sizeof title, "smelt%s%s", c ? "-" : "", c ? c->name : "");
    for (char *p = title; *p; p++)
        *p = *p >= 'a' && *p <= 'z' ? (char)(*p - 32) : *p;
    sm_str_addf(out, ".\\\" Made by smelt help --man.\n.Dd " MAN_DATE "\n.Dt %s 1\n.Os\n", title);
    if (!c)
        return program_page(out, err);
    command_page(c, out);
    return SM_OK;
}
