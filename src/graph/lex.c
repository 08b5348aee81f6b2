/* SPDX-License-Identifier: MIT
 *
 * lex.c: tokens of MIL text.
 *
 * Text is any bytes; a failure names file, line and column.  Comments run from // to the end of the line.
 */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "graph/text_int.h"

static void place_of(const sm_lex *l, const char *at, int *line, int *column) {
    *line = *column = 1;
    for (const char *p = l->all.p; p < at; p++) {
        ++*column;
        if (*p == '\n') {
            ++*line;
            *column = 1;
        }
    }
}

void sm_lex_place(const sm_lex *l, const char *at) {
    int line, column;
    place_of(l, at, &line, &column);
    sm_err_prefix(l->err, "%s:%d:%d", l->file, line, column);
}

static sm_status fail_at(sm_lex *l, const char *at, const char *what) {
    sm_status st = SM_FAIL(l->err, SM_BADINPUT, "%s", what);
    sm_lex_place(l, at);
    return st;
}

sm_status sm_lex_wanted(sm_lex *l, const char *what) {
    int line, column;
    place_of(l, l->tok.at, &line, &column);
    const char *found =
        l->tok.kind == SM_TOK_END ? "the end" : sm_quote(l->tok.at, SM_MIN((size_t)(l->p - l->tok.at), 40));
    return SM_FAIL(l->err, SM_BADINPUT, "%s:%d:%d: wanted %s, found %s", l->file, line, column, what, found);
}

/* A string or a name: text up to the closing quote, escapes decoded into the arena. */
static sm_status read_quoted(sm_lex *l, char quote, sm_tok_kind kind) {
    const char *end = l->all.p + l->all.n, *q = l->p + 1;
    while (q < end && *q != quote)
        q += *q == '\\' && q + 1 < end ? 2 : 1;
    if (q >= end)
        return fail_at(l, l->p, "a quote is not closed");
    char *out = sm_arena_alloc(l->arena, (size_t)(q - l->p)), *o = out;
    if (out == NULL)
        return SM_NOMEM(l->err);
    for (const char *s = l->p + 1; s < q; s++) {
        if (*s != '\\') {
            *o++ = *s;
            continue;
        }
        s++;
        if (*s == 'x' && q - s > 2 && sm_hex_digit(s[1]) >= 0 && sm_hex_digit(s[2]) >= 0) {
            *o++ = (char)(sm_hex_digit(s[1]) * 16 + sm_hex_digit(s[2]));
            s += 2;
        } else {
            *o++ = *s == 'n' ? '\n' : *s == 't' ? '\t' : *s;
        }
    }
    l->tok.kind = kind;
    l->tok.text = (sm_sv){out, (size_t)(o - out)};
    l->p = q + 1;
    return SM_OK;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* "-1", "0x1.8p-3", "1e-5", "-inf"; the value is checked by whoever knows its type. */
static void read_number(sm_lex *l) {
    const char *end = l->all.p + l->all.n, *q = l->p + 1;
    bool hex = q < end && *l->p == '0' && (*q == 'x' || *q == 'X');
    if (*l->p == '-' && q + 1 < end && *q == '0' && (q[1] == 'x' || q[1] == 'X'))
        hex = true;
    for (; q < end; q++) {
        bool sign = (*q == '-' || *q == '+') &&
                    ((!hex && (q[-1] == 'e' || q[-1] == 'E')) || (hex && (q[-1] == 'p' || q[-1] == 'P')));
        bool letter = (*q >= 'a' && *q <= 'z') || (*q >= 'A' && *q <= 'Z');
        if (!is_digit(*q) && !letter && *q != '.' && !sign)
            break;
    }
    l->tok.kind = SM_TOK_NUM;
    l->tok.text = (sm_sv){l->p, (size_t)(q - l->p)};
    l->p = q;
}

static void skip_blanks(sm_lex *l) {
    const char *end = l->all.p + l->all.n;
    while (l->p < end) {
        if (*l->p == ' ' || *l->p == '\t' || *l->p == '\n' || *l->p == '\r') {
            l->p++;
        } else if (*l->p == '/' && l->p + 1 < end && l->p[1] == '/') {
            while (l->p < end && *l->p != '\n')
                l->p++;
        } else {
            return;
        }
    }
}

sm_status sm_lex_next(sm_lex *l) {
    const char *end = l->all.p + l->all.n;
    skip_blanks(l);
    l->tok = (sm_tok){.kind = SM_TOK_END, .at = l->p};
    if (l->p >= end)
        return SM_OK;
    char c = *l->p, then = l->p + 1 < end ? l->p[1] : 0;
    if (c == '"' || c == '`')
        return read_quoted(l, c, c == '"' ? SM_TOK_STR : SM_TOK_NAME);
    if (c == '-' && then == '>') {
        l->tok.kind = SM_TOK_ARROW;
        l->p += 2;
        return SM_OK;
    }
    if (is_digit(c) || (c == '-' && (is_digit(then) || then == '.' || then == 'i' || then == 'n'))) {
        read_number(l);
        return SM_OK;
    }
    if (sm_text_word_char(c)) {
        const char *q = l->p;
        while (q < end && sm_text_word_char(*q))
            q++;
        l->tok.kind = SM_TOK_WORD;
        l->tok.text = (sm_sv){l->p, (size_t)(q - l->p)};
        l->p = q;
        return SM_OK;
    }
    if (c == 0 || strchr("()[]{}<>,;=?+*/-", c) == NULL)
        return fail_at(l, l->p, "a character that means nothing here");
    l->tok.kind = SM_TOK_CHAR;
    l->tok.c = c;
    l->tok.text = (sm_sv){l->p++, 1};
    return SM_OK;
}

sm_status sm_lex_start(sm_lex *l, sm_sv text, const char *file, sm_arena *arena, sm_err *err) {
    *l = (sm_lex){.all = text, .p = text.p, .file = file != NULL ? file : "text", .arena = arena, .err = err};
    return sm_lex_next(l);
}

bool sm_lex_is(const sm_lex *l, char c) {
    return l->tok.kind == SM_TOK_CHAR && l->tok.c == c;
}

bool sm_lex_word(const sm_lex *l, const char *word) {
    return l->tok.kind == SM_TOK_WORD && sm_sv_is(l->tok.text, word);
}

sm_status sm_lex_need(sm_lex *l, char c) {
    const char what[] = {'\'', c, '\'', 0};
    return sm_lex_is(l, c) ? sm_lex_next(l) : sm_lex_wanted(l, what);
}

bool sm_lex_take(sm_lex *l, char c, sm_status *st) {
    *st = SM_OK;
    if (!sm_lex_is(l, c))
        return false;
    *st = sm_lex_next(l);
    return true;
}

sm_status sm_lex_need_word(sm_lex *l, const char *word) {
    return sm_lex_word(l, word) ? sm_lex_next(l) : sm_lex_wanted(l, word);
}
