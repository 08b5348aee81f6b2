/* SPDX-License-Identifier: MIT
 *
 * tmpl_lex.c: chat template source to tokens; every rule about white space is here.
 *
 * Line ends become "\n" and one at the very end is dropped, as Jinja does with a template it loads.  Then, around tags:
 *
 *     text {%- tag        white space before the tag goes             {{- and {#- too
 *     line{%  tag         spaces between the line's start and a tag go, if nothing else is there; {%+ keeps them
 *     tag -%} text        white space after the tag goes
 *     tag %}\n            the line end after a tag goes; +%} keeps it.  Not after }}
 *
 * The token list is the caller's, everything in it the arena's.  Threads: none of it is shared.
 */
#include "text/template_int.h"

#include <stdio.h>
#include <string.h>

typedef struct lexer {
    sm_arena *arena;
    sm_sv s;
    size_t at;
    int line;
    tok_list *out;
    sm_err *err;
} lexer;

static sm_status fail(const lexer *x, const char *what) {
    return SM_FAIL(x->err, SM_BADINPUT, "chat template, line %d: %s", x->line, what);
}

static sm_status add(lexer *x, tok_kind kind, sm_sv text) {
    if (!SM_GROW(x->out))
        return SM_NOMEM(x->err);
    x->out->v[x->out->n++] = (tok){kind, x->line, text};
    return SM_OK;
}

static bool looking_at(const lexer *x, size_t at, const char *z) {
    size_t n = strlen(z);
    return x->s.n - at >= n && memcmp(x->s.p + at, z, n) == 0;
}

static void move(lexer *x, size_t to) {
    for (; x->at < to; x->at++)
        x->line += x->s.p[x->at] == '\n';
}

static void skip_space(lexer *x) {
    size_t at = x->at;
    while (at < x->s.n) {
        size_t next = at;
        if (!val_is_space(val_char(x->s, &next)))
            break;
        at = next;
    }
    move(x, at);
}

/* Past the end of a tag of length n that starts at `at`; which line end it takes along is said by its sign. */
static void end_tag(lexer *x, size_t at, size_t n, bool trims) {
    char sign = x->s.p[at];
    move(x, at + n);
    if (sign == '-')
        skip_space(x);
    else if (sign != '+' && trims && x->at < x->s.n && x->s.p[x->at] == '\n')
        move(x, x->at + 1);
}

/* ---- inside tags --------------------------------------------------------------------------------------------- */

static bool name_start(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (uint8_t)c >= 0xc2;
}

static bool digit(char c) {
    return c >= '0' && c <= '9';
}

/* \xHH, \uHHHH, \UHHHHHHHH: digits at `at`, count of them. */
static bool hex_escape(sm_sv s, size_t *at, int count, uint32_t *cp) {
    *cp = 0;
    for (int i = 0; i < count; i++, ++*at) {
        int h = *at < s.n ? sm_hex_digit(s.p[*at]) : -1;
        if (h < 0)
            return false;
        *cp = *cp << 4 | (uint32_t)h;
    }
    return *cp < 0x110000 && (*cp < 0xd800 || *cp > 0xdfff);
}

static sm_status escape(lexer *x, sm_sv raw, size_t *at, sm_str *out) {
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    char c = raw.p[(*at)++], utf8[4];
    const char *k = c != '\0' ? strchr(from, c) : NULL;
    uint32_t cp = 0;
    if (k != NULL) {
        sm_str_addc(out, to[k - from]);
        return SM_OK;
    }
    if (c == '\n')
        return SM_OK;
    if (c >= '0' && c <= '7') {
        cp = (uint32_t)(c - '0');
        for (int i = 0; i < 2 && *at < raw.n && raw.p[*at] >= '0' && raw.p[*at] <= '7'; i++)
            cp = cp * 8 + (uint32_t)(raw.p[(*at)++] - '0');
    } else if (c == 'x' || c == 'u' || c == 'U') {
        if (!hex_escape(raw, at, c == 'x' ? 2 : c == 'u' ? 4 : 8, &cp))
            return fail(x, "malformed escape in a string");
    } else {
        sm_str_addc(out, '\\');
        sm_str_addc(out, c);
        return SM_OK;
    }
    sm_str_add(out, utf8, (size_t)sm_utf8_encode(cp, utf8));
    return SM_OK;
}

static sm_status string(lexer *x) {
    char quote = x->s.p[x->at];
    size_t end = x->at + 1;
    sm_str text = SM_STR_INIT;
    sm_status st = SM_OK;
    while (end < x->s.n && x->s.p[end] != quote)
        end += x->s.p[end] == '\\' ? 2 : 1;
    if (end >= x->s.n)
        return fail(x, "string without end");
    sm_sv raw = {x->s.p + x->at + 1, end - x->at - 1};
    if (memchr(raw.p, '\\', raw.n) == NULL) {
        SM_TRY(add(x, TOK_STR, raw));
    } else {
        for (size_t i = 0; i < raw.n && st == SM_OK;) {
            if (raw.p[i] == '\\') {
                i++;
                st = escape(x, raw, &i, &text);
            } else {
                sm_str_addc(&text, raw.p[i++]);
            }
        }
        char *copy = st == SM_OK && sm_str_ok(&text) ? sm_arena_strndup(x->arena, sm_str_z(&text), text.n) : NULL;
        if (st == SM_OK)
            st = copy != NULL ? add(x, TOK_STR, (sm_sv){copy, text.n}) : SM_NOMEM(x->err);
        sm_str_free(&text);
    }
    move(x, end + 1);
    return st;
}

static bool base_digit(char c, int base) {
    int h = sm_hex_digit(c);
    return h >= 0 && h < base;
}

/* 0x1f, 0o17, 0b11: the end of it, or `at` when it is none of these. */
static size_t based_number(const lexer *x, size_t at) {
    char kind = at + 1 < x->s.n && x->s.p[at] == '0' ? (char)(x->s.p[at + 1] | 0x20) : '\0';
    int base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 0;
    size_t end = at + 2;
    if (base == 0)
        return at;
    while (end < x->s.n && (base_digit(x->s.p[end], base) ||
                            (x->s.p[end] == '_' && end + 1 < x->s.n && base_digit(x->s.p[end + 1], base))))
        end++;
    return end > at + 2 ? end : at;
}

/* 12, 1_000, 1.5, 2e-3, 0x1f; after a dot only whole ones. */
static sm_status number(lexer *x) {
    size_t end = based_number(x, x->at);
    if (end > x->at) {
        SM_TRY(add(x, TOK_INT, (sm_sv){x->s.p + x->at, end - x->at}));
        move(x, end);
        return SM_OK;
    }
    bool after_dot = x->at > 0 && x->s.p[x->at - 1] == '.';
    bool real = false;
    while (end < x->s.n && (digit(x->s.p[end]) || (x->s.p[end] == '_' && end + 1 < x->s.n && digit(x->s.p[end + 1]))))
        end++;
    if (!after_dot && end + 1 < x->s.n && x->s.p[end] == '.' && digit(x->s.p[end + 1])) {
        real = true;
        for (end++; end < x->s.n && digit(x->s.p[end]);)
            end++;
    }
    size_t e = end;
    if (!after_dot && e < x->s.n && (x->s.p[e] == 'e' || x->s.p[e] == 'E')) {
        e++;
        e += e < x->s.n && (x->s.p[e] == '+' || x->s.p[e] == '-');
        if (e < x->s.n && digit(x->s.p[e])) {
            real = true;
            for (end = e; end < x->s.n && digit(x->s.p[end]);)
                end++;
        }
    }
    SM_TRY(add(x, real ? TOK_FLOAT : TOK_INT, (sm_sv){x->s.p + x->at, end - x->at}));
    move(x, end);
    return SM_OK;
}

static sm_status operator_or_fail(lexer *x, int *nesting) {
    static const char *const ops[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                      "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    char what[64];
    for (size_t i = 0; i < SM_ARRAY_LEN(ops); i++) {
        if (!looking_at(x, x->at, ops[i]))
            continue;
        if (strchr("[({", ops[i][0]) != NULL)
            ++*nesting;
        else if (strchr("])}", ops[i][0]) != NULL && --*nesting < 0)
            return fail(x, "closing bracket without an opening one");
        SM_TRY(add(x, TOK_OP, sm_sv_of(ops[i])));
        move(x, x->at + strlen(ops[i]));
        return SM_OK;
    }
    snprintf(what, sizeof what, "unexpected %.30s", sm_quote(x->s.p + x->at, 1));
    return fail(x, what);
}

/* From after the opening sign to after the end of the tag. */
static sm_status inside(lexer *x, bool print) {
    int nesting = 0;
    const char *close = print ? "}}" : "%}";
    for (;;) {
        skip_space(x);
        if (x->at >= x->s.n)
            return fail(x, print ? "{{ without }}" : "{% without %}");
        char c = x->s.p[x->at];
        size_t sign = c == '-' || (c == '+' && !print);
        if (nesting == 0 && looking_at(x, x->at + sign, close)) {
            SM_TRY(add(x, print ? TOK_PRINT_END : TOK_BLOCK_END, (sm_sv){x->s.p + x->at, 0}));
            end_tag(x, x->at, sign + 2, !print);
            return SM_OK;
        }
        if (name_start(c)) {
            size_t end = x->at;
            while (end < x->s.n && (name_start(x->s.p[end]) || digit(x->s.p[end]) || (uint8_t)x->s.p[end] >= 0x80))
                end++; /* bytes of letters outside ASCII count as letters */
            SM_TRY(add(x, TOK_NAME, (sm_sv){x->s.p + x->at, end - x->at}));
            move(x, end);
        } else if (digit(c)) {
            SM_TRY(number(x));
        } else if (c == '"' || c == '\'') {
            SM_TRY(string(x));
        } else {
            SM_TRY(operator_or_fail(x, &nesting));
        }
    }
}

/* ---- between tags -------------------------------------------------------------------------------------------- */

/* Where text before a tag at `tag` ends.  sign: the character after the opening one. */
static size_t text_end(const lexer *x, size_t from, size_t tag, char sign, bool print) {
    size_t end = tag;
    if (sign == '-') {
        sm_sv text = val_strip((sm_sv){x->s.p + from, tag - from}, NULL, false, true);
        return from + text.n;
    }
    if (sign == '+' || print)
        return tag;
    while (end > from && x->s.p[end - 1] != '\n' && val_is_space((uint8_t)x->s.p[end - 1]))
        end--;
    bool line_start = end == 0 || x->s.p[end - 1] == '\n';
    return line_start ? end : tag;
}

static sm_status comment(lexer *x) {
    const char *end = memmem(x->s.p + x->at, x->s.n - x->at, "#}", 2);
    if (end == NULL)
        return fail(x, "{# without #}");
    size_t at = (size_t)(end - x->s.p);
    bool sign = at > x->at && (end[-1] == '-' || end[-1] == '+');
    end_tag(x, at - sign, 2 + sign, true);
    return SM_OK;
}

/* Of {% name %} with any signs, at `at`: its length, or 0.  *body: what is inside ends here. */
static size_t bare_tag(const lexer *x, size_t at, const char *name, size_t *close) {
    size_t i = at + 2, n = strlen(name);
    if (!looking_at(x, at, "{%"))
        return 0;
    i += i < x->s.n && (x->s.p[i] == '-' || x->s.p[i] == '+');
    while (i < x->s.n && val_is_space((uint8_t)x->s.p[i]))
        i++;
    if (!looking_at(x, i, name))
        return 0;
    for (i += n; i < x->s.n && val_is_space((uint8_t)x->s.p[i]);)
        i++;
    *close = i; /* {% raw +%} is none, says Jinja */
    i += i < x->s.n && (x->s.p[i] == '-' || (x->s.p[i] == '+' && name[0] == 'e'));
    return looking_at(x, i, "%}") ? i + 2 - at : 0;
}

/* {% raw %} text {% endraw %}; x is at the first tag. */
static sm_status raw(lexer *x, size_t n, size_t close) {
    end_tag(x, close, x->at + n - close, false);
    size_t from = x->at;
    for (size_t i = from; i < x->s.n; i++) {
        size_t last = bare_tag(x, i, "endraw", &close);
        if (last == 0)
            continue;
        size_t end = text_end(x, from, i, x->s.p[i + 2], false);
        SM_TRY(add(x, TOK_DATA, (sm_sv){x->s.p + from, end - from}));
        end_tag(x, close, i + last - close, true);
        return SM_OK;
    }
    return fail(x, "{% raw %} without {% endraw %}");
}

static sm_status lex(lexer *x) {
    while (x->at < x->s.n) {
        size_t from = x->at, tag = from, close;
        while (tag < x->s.n && !(x->s.p[tag] == '{' && tag + 1 < x->s.n && strchr("{%#", x->s.p[tag + 1]) != NULL &&
                                 x->s.p[tag + 1] != '\0'))
            tag++;
        bool found = tag < x->s.n, print = found && x->s.p[tag + 1] == '{';
        char sign = found && tag + 2 < x->s.n ? x->s.p[tag + 2] : '\0';
        size_t end = found ? text_end(x, from, tag, sign, print) : x->s.n;
        if (end > from)
            SM_TRY(add(x, TOK_DATA, (sm_sv){x->s.p + from, end - from}));
        move(x, tag);
        if (!found)
            break;
        size_t n = bare_tag(x, tag, "raw", &close);
        if (n > 0) {
            SM_TRY(raw(x, n, close));
            continue;
        }
        char kind = x->s.p[tag + 1];
        move(x, tag + 2);
        if (kind != '#')
            SM_TRY(add(x, print ? TOK_PRINT : TOK_BLOCK, (sm_sv){x->s.p + tag, 2}));
        if (sign == '-' || (sign == '+' && !print))
            move(x, x->at + 1);
        SM_TRY(kind == '#' ? comment(x) : inside(x, print));
    }
    return add(x, TOK_END, (sm_sv){"", 0});
}

sm_status tmpl_lex(sm_arena *a, sm_sv source, tok_list *out, sm_err *err) {
    char *copy = sm_arena_alloc(a, source.n + 1);
    size_t n = 0;
    if (copy == NULL)
        return SM_NOMEM(err);
    for (size_t i = 0; i < source.n; i++) {
        copy[n++] = source.p[i] == '\r' ? '\n' : source.p[i];
        i += source.p[i] == '\r' && i + 1 < source.n && source.p[i + 1] == '\n';
    }
    n -= n > 0 && copy[n - 1] == '\n';
    lexer x = {a, {copy, n}, 0, 1, out, err};
    return lex(&x);
}
