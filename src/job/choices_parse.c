/* SPDX-License-Identifier: MIT
 *
 * choices_parse.c: files of multiple-choice tasks.
 *
 * Every reader ends in one raw item (question, choices, number of the right one), which `add_task` spells as the prompt
 * of its style.  The spelling is that of the tests' own harnesses: HellaSwag's cleaning of its bracketed remarks, MMLU's
 * "Answer:" with a letter, "Question: .. Answer:" for questions with answers in words.
 *
 * A line that is not as it should be is SM_BADINPUT with its number, the field, what was wanted and what was found.
 */
#include "job/choices.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/files.h"
#include "base/json.h"

enum { CHOICES_MAX = 26 };

typedef enum asked {
    ASKED_PLAIN,    /* the context goes on */
    ASKED_QUESTION, /* Question: .. Answer: */
    ASKED_GAP,      /* the choices fill a gap in the context */
} asked;

typedef struct raw_item {
    asked kind;
    const char *question, *after; /* after: what follows the gap */
    const char *choice[CHOICES_MAX];
    int n, gold;
} raw_item;

typedef struct reader {
    const char *path;
    sm_choice_file *f;
    sm_choice_style style;
    int line;
    sm_err *err;
} reader;

#define BAD(r, ...) bad((r), SM_FAIL((r)->err, SM_BADINPUT, __VA_ARGS__))

static sm_status bad(const reader *r, sm_status st) {
    sm_err_prefix(r->err, "%s: line %d", r->path, r->line);
    return st;
}

void sm_choice_file_free(sm_choice_file *f) {
    sm_arena_free(&f->mem);
    sm_free(f->v);
    *f = (sm_choice_file){0};
}

/* ------------------------------------------------------------------ prompts */
static const char *keep(const reader *r, const sm_str *s) {
    return sm_str_ok(s) ? sm_arena_strndup(r->f->mem, sm_str_z(s), s->n) : NULL;
}

static void spell_context(const raw_item *q, bool letters, sm_str *out) {
    if (letters) {
        sm_str_adds(out, q->question);
        for (int i = 0; i < q->n; i++)
            sm_str_addf(out, "\n%c. %s", 'A' + i, q->choice[i]);
        sm_str_adds(out, "\nAnswer:");
    } else if (q->kind == ASKED_QUESTION) {
        sm_str_addf(out, "Question: %s\nAnswer:", q->question);
    } else {
        sm_str_adds(out, q->question);
    }
}

static sm_status spell_choice(const reader *r, const raw_item *q, int i, bool letters, const char *context,
                              sm_choice *c) {
    sm_str s = SM_STR_INIT;
    c->before = context;
    if (letters) {
        sm_str_addf(&s, " %c", 'A' + i);
    } else if (q->kind == ASKED_GAP) {
        sm_str_addf(&s, "%s%s", context, q->choice[i]);
        c->before = keep(r, &s);
        sm_str_clear(&s);
        sm_str_adds(&s, q->after);
    } else {
        sm_str_addf(&s, " %s", q->choice[i]);
    }
    c->text = keep(r, &s);
    c->bytes = s.n - (s.n > 0 && s.p[0] == ' ');
    bool empty = c->bytes == 0;
    sm_str_free(&s);
    if (!c->before || !c->text)
        return SM_NOMEM(r->err);
    return empty ? BAD(r, "choice %d: wanted a text, found none", i + 1) : SM_OK;
}

static sm_status add_task(reader *r, const raw_item *q, sm_choice_style usual) {
    sm_choice_file *f = r->f;
    bool letters = (r->style == SM_CHOICE_AUTO ? usual : r->style) == SM_CHOICE_LETTERS;
    f->letters = letters;
    sm_str s = SM_STR_INIT;
    if (letters && q->kind == ASKED_GAP)
        return SM_FAIL(r->err, SM_USAGE, "%s: line %d: choices that fill a gap have no letters: wanted style text",
                       r->path, r->line);
    if (!SM_GROW(f))
        return SM_NOMEM(r->err);
    sm_choice_task *t = &f->v[f->n];
    *t = (sm_choice_task){.line = r->line, .n = q->n, .gold = q->gold};
    spell_context(q, letters, &s);
    const char *context = keep(r, &s);
    sm_str_free(&s);
    t->v = sm_arena_alloc_n(f->mem, (size_t)q->n, sizeof *t->v);
    if (!context || !t->v)
        return SM_NOMEM(r->err);
    for (int i = 0; i < q->n; i++)
        SM_TRY(spell_choice(r, q, i, letters, context, &t->v[i]));
    f->n++;
    return SM_OK;
}

/* ------------------------------------------------------------------ HellaSwag's texts */
/* The first letter upper, the others lower: what Python's capitalize does. */
static void add_capitalized(sm_str *out, const char *p) {
    size_t n = strlen(p);
    uint32_t cp;
    for (size_t i = 0; i < n;) {
        int len = sm_utf8_decode(p + i, n - i, &cp);
        char c[4];
        if (len == 0)
            return;
        cp = (uint32_t)(i == 0 ? utf8proc_toupper((utf8proc_int32_t)cp) : utf8proc_tolower((utf8proc_int32_t)cp));
        sm_str_add(out, c, (size_t)sm_utf8_encode(cp, c));
        i += (size_t)len;
    }
}

/* Trimmed; " [title]" becomes ". ", other remarks in brackets go, two spaces become one. */
static void add_cleaned(sm_str *out, const char *p) {
    static const char title[] = " [title]";
    sm_str mid = SM_STR_INIT;
    size_t n = strlen(p), at = strspn(p, " \t\r\n\f\v");
    while (n > at && strchr(" \t\r\n\f\v", p[n - 1]))
        n--;
    while (at < n) {
        const char *close = p[at] == '[' ? memchr(p + at, ']', n - at) : NULL;
        if (n - at >= sizeof title - 1 && memcmp(p + at, title, sizeof title - 1) == 0) {
            sm_str_adds(&mid, ". ");
            at += sizeof title - 1;
        } else if (close && !memchr(p + at, '\n', (size_t)(close - p) - at)) {
            at = (size_t)(close - p) + 1;
        } else {
            sm_str_addc(&mid, p[at++]);
        }
    }
    for (size_t i = 0; i < mid.n; i++) {
        sm_str_addc(out, mid.p[i]);
        if (mid.p[i] == ' ' && i + 1 < mid.n && mid.p[i + 1] == ' ')
            i++;
    }
    out->failed |= mid.failed;
    sm_str_free(&mid);
}

/* ------------------------------------------------------------------ JSON lines */
static const json_t *first_field(const json_t *o, const char *const *keys, const char **key) {
    for (int i = 0; keys[i]; i++) {
        const json_t *v = json_object_get(o, keys[i]);
        if (v) {
            *key = keys[i];
            return v;
        }
    }
    *key = keys[0];
    return NULL;
}

static sm_status want_string(const reader *r, const char *key, const json_t *v, const char **out) {
    if (!json_is_string(v))
        return BAD(r, "field '%s': wanted a string, found %s", key, sm_json_kind(v));
    *out = json_string_value(v);
    return SM_OK;
}

typedef struct labels {
    const char *v[CHOICES_MAX]; /* NULL: none */
    int first;                  /* number of the first choice where the answer is a number: 0, or 1 */
} labels;

/* A choice as a string, or {"text": .., "label": ..}. */
static sm_status read_choice(const reader *r, const char *key, const json_t *v, raw_item *q, labels *l) {
    if (json_is_object(v)) {
        l->v[q->n] = json_string_value(json_object_get(v, "label"));
        v = json_object_get(v, "text");
    }
    if (q->n >= CHOICES_MAX)
        return BAD(r, "field '%s': wanted at most %d choices, found more", key, CHOICES_MAX);
    return want_string(r, key, v, &q->choice[q->n++]);
}

static sm_status read_choices(const reader *r, const json_t *o, raw_item *q, labels *l) {
    static const char *const keys[] = {"choices", "endings", "options", NULL};
    const char *key;
    const json_t *v = first_field(o, keys, &key), *names = NULL;
    char name[16];
    if (json_is_object(v)) { /* {"text": [..], "label": [..]} */
        names = json_object_get(v, "label");
        v = json_object_get(v, "text");
    }
    if (!v) { /* option1, option2, .. */
        l->first = 1;
        for (int i = 1; i <= CHOICES_MAX; i++) {
            snprintf(name, sizeof name, "option%d", i);
            const json_t *c = json_object_get(o, name);
            if (!c)
                break;
            SM_TRY(read_choice(r, name, c, q, l));
        }
    } else if (!json_is_array(v)) {
        return BAD(r, "field '%s': wanted an array of strings, found %s", key, sm_json_kind(v));
    }
    for (size_t i = 0; i < json_array_size(v); i++) {
        SM_TRY(read_choice(r, key, json_array_get(v, i), q, l));
        if (names)
            l->v[i] = json_string_value(json_array_get(names, i));
    }
    return q->n >= 2 ? SM_OK : BAD(r, "field '%s': wanted at least 2 choices, found %d", key, q->n);
}

static sm_status answer_number(const reader *r, const char *key, int64_t v, int first, raw_item *q) {
    if (v < first || v >= first + q->n)
        return BAD(r, "field '%s': wanted a number of %d..%d, found %lld", key, first, first + q->n - 1, (long long)v);
    q->gold = (int)(v - first);
    return SM_OK;
}

/* A label, a choice's text, a letter or a number. */
static sm_status answer_text(const reader *r, const char *key, const char *s, const labels *l, raw_item *q) {
    char *end;
    for (int i = 0; i < q->n; i++)
        if (l->v[i] && strcmp(l->v[i], s) == 0) {
            q->gold = i;
            return SM_OK;
        }
    for (int i = 0; i < q->n; i++)
        if (strcmp(q->choice[i], s) == 0) {
            q->gold = i;
            return SM_OK;
        }
    if (s[0] >= 'A' && s[0] < 'A' + q->n && !s[1]) {
        q->gold = s[0] - 'A';
        return SM_OK;
    }
    long v = strtol(s, &end, 10);
    if (*s >= '0' && *s <= '9' && !*end)
        return answer_number(r, key, v, l->first, q);
    return BAD(r, "field '%s': wanted a choice's number, letter or text, found %s", key, sm_quote(s, strlen(s)));
}

static sm_status read_answer(const reader *r, const json_t *o, const labels *l, raw_item *q) {
    static const char *const keys[] = {"answer", "label", "gold", "answerKey", "answer_index", "gold_index", NULL};
    const char *key;
    const json_t *v = first_field(o, keys, &key);
    if (json_is_integer(v))
        return answer_number(r, key, json_integer_value(v), l->first, q);
    if (json_is_string(v))
        return answer_text(r, key, json_string_value(v), l, q);
    return BAD(r, "field '%s': wanted a choice's number, letter or text, found %s", key, sm_json_kind(v));
}

/* Cuts a sentence at its gap; *before and *after are in the arena. */
static sm_status cut_gap(const reader *r, const char *key, const char *s, raw_item *q) {
    const char *gap = strchr(s, '_');
    if (!gap || strchr(gap + 1, '_'))
        return BAD(r, "field '%s': wanted one gap, written _, found %s", key, gap ? "more" : "none");
    q->kind = ASKED_GAP;
    q->question = sm_arena_strndup(r->f->mem, s, (size_t)(gap - s));
    q->after = gap + 1;
    return q->question ? SM_OK : SM_NOMEM(r->err);
}

static sm_status read_question(const reader *r, const json_t *o, raw_item *q) {
    static const char *const keys[] = {"question", "query", "context", "ctx", "prompt", "sentence", NULL};
    const char *key, *text = NULL;
    const json_t *v = first_field(o, keys, &key);
    if (json_is_object(v))
        v = json_object_get(v, "stem");
    SM_TRY(want_string(r, key, v, &text));
    if (strcmp(key, "sentence") == 0)
        return cut_gap(r, key, text, q);
    q->kind = strcmp(key, "question") == 0 ? ASKED_QUESTION : ASKED_PLAIN;
    q->question = text;
    return SM_OK;
}

static sm_status read_generic(reader *r, const json_t *o) {
    raw_item q = {0};
    labels l = {0};
    const json_t *nested = json_object_get(o, "question");
    SM_TRY(read_question(r, o, &q));
    SM_TRY(read_choices(r, json_is_object(nested) ? nested : o, &q, &l));
    SM_TRY(read_answer(r, o, &l, &q));
    return add_task(r, &q, SM_CHOICE_TEXT);
}

static const char *cleaned(const reader *r, const char *before, const char *p) {
    sm_str s = SM_STR_INIT;
    sm_str_adds(&s, before);
    add_cleaned(&s, p);
    const char *out = keep(r, &s);
    sm_str_free(&s);
    return out;
}

/* activity_label: ctx_a Ctx_b */
static sm_status hellaswag_context(const reader *r, const json_t *o, const char **out) {
    const json_t *label = json_object_get(o, "activity_label"), *b = json_object_get(o, "ctx_b");
    const char *a = NULL, *key = json_object_get(o, "ctx_a") ? "ctx_a" : "ctx";
    sm_str s = SM_STR_INIT;
    SM_TRY(want_string(r, key, json_object_get(o, key), &a));
    if (label && !json_is_string(label))
        return BAD(r, "field 'activity_label': wanted a string, found %s", sm_json_kind(label));
    if (label)
        sm_str_addf(&s, "%s: ", json_string_value(label));
    sm_str_adds(&s, a);
    if (strcmp(key, "ctx_a") == 0) {
        sm_str_addc(&s, ' ');
        if (json_is_string(b))
            add_capitalized(&s, json_string_value(b));
    }
    *out = sm_str_ok(&s) ? cleaned(r, "", sm_str_z(&s)) : NULL;
    sm_str_free(&s);
    return *out ? SM_OK : SM_NOMEM(r->err);
}

static sm_status read_hellaswag(reader *r, const json_t *o) {
    raw_item q = {.kind = ASKED_PLAIN};
    labels l = {0};
    SM_TRY(hellaswag_context(r, o, &q.question));
    SM_TRY(read_choices(r, o, &q, &l));
    SM_TRY(read_answer(r, o, &l, &q));
    for (int i = 0; i < q.n; i++)
        if (!(q.choice[i] = cleaned(r, "", q.choice[i])))
            return SM_NOMEM(r->err);
    return add_task(r, &q, SM_CHOICE_TEXT);
}

static sm_status read_json_line(reader *r, sm_sv line) {
    json_error_t je;
    json_t *o = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES, &je);
    if (!o)
        return BAD(r, "column %d: wanted JSON: %s", je.column, je.text);
    sm_status st;
    bool hs = json_object_get(o, "endings") && (json_object_get(o, "ctx") || json_object_get(o, "ctx_a"));
    if (!json_is_object(o))
        st = BAD(r, "wanted an object, found %s", sm_json_kind(o));
    else
        st = hs ? read_hellaswag(r, o) : read_generic(r, o);
    if (r->f->n == 1)
        r->f->format = hs ? "hellaswag" : "json";
    json_decref(o);
    return st;
}

/* ------------------------------------------------------------------ lines */
/* The next line without its end; false at the end of the text. */
static bool next_line(sm_sv *rest, sm_sv *line) {
    if (rest->n == 0)
        return false;
    const char *end = memchr(rest->p, '\n', rest->n);
    size_t n = end ? (size_t)(end - rest->p) : rest->n;
    *line = (sm_sv){rest->p, n > 0 && rest->p[n - 1] == '\r' ? n - 1 : n};
    n += end != NULL;
    *rest = (sm_sv){rest->p + n, rest->n - n};
    return true;
}

static bool blank(sm_sv s) {
    for (size_t i = 0; i < s.n; i++)
        if (!strchr(" \t\r\n", s.p[i]))
            return false;
    return true;
}

static sm_status read_json(reader *r, sm_sv text) {
    sm_sv line;
    while (next_line(&text, &line)) {
        r->line++;
        if (!blank(line))
            SM_TRY(read_json_line(r, line));
    }
    return SM_OK;
}

static bool one_digit(sm_sv s) {
    return s.n == 1 && s.p[0] >= '0' && s.p[0] <= '3';
}

/* Six lines a task: context, number, four endings. */
static sm_status read_six_lines(reader *r, sm_sv text) {
    sm_sv line;
    r->f->format = "hellaswag-text";
    for (int first = 1; !blank(text); first += 6) {
        raw_item q = {.kind = ASKED_PLAIN, .n = 4};
        for (int i = 0; i < 6; i++) {
            r->line = first + i;
            if (!next_line(&text, &line))
                return BAD(r, "wanted six lines a task (context, number, four endings), found the end after %d", i);
            const char *s = sm_arena_strndup(r->f->mem, line.p, line.n);
            if (!s)
                return SM_NOMEM(r->err);
            if (i == 1 && !one_digit(line))
                return BAD(r, "wanted the number of the right ending, 0..3, found %s", sm_quote(line.p, line.n));
            if (i == 0)
                q.question = s;
            else if (i == 1)
                q.gold = line.p[0] - '0';
            else
                q.choice[i - 2] = s;
        }
        r->line = first;
        SM_TRY(add_task(r, &q, SM_CHOICE_TEXT));
    }
    return SM_OK;
}

/* ------------------------------------------------------------------ CSV */
enum { COLUMNS_MAX = CHOICES_MAX + 2 };

/* A field at rest's start, in quotes or bare, into *s; quotes inside are doubled, and may hold commas and line ends. */
static sm_status read_field(const reader *r, sm_sv *rest, int number, int *lines, sm_str *s) {
    size_t i = 0, n = rest->n;
    const char *p = rest->p;
    sm_str_clear(s);
    if (n > 0 && p[0] == '"') {
        for (i = 1; i < n && (p[i] != '"' || (i + 1 < n && p[i + 1] == '"')); i++) {
            i += p[i] == '"';
            *lines += p[i] == '\n';
            sm_str_addc(s, p[i]);
        }
        if (i >= n)
            return BAD(r, "field %d: wanted a closing quote, found the end of the file", number);
        i++;
    }
    for (; i < n && p[i] != ',' && p[i] != '\n' && p[i] != '\r'; i++)
        sm_str_addc(s, p[i]);
    *rest = (sm_sv){p + i, n - i};
    return SM_OK;
}

/* One record; *n fields in the arena, *lines line ends read. */
static sm_status read_record(const reader *r, sm_sv *rest, const char **field, int *n, int *lines) {
    sm_str s = SM_STR_INIT;
    sm_status st = SM_OK;
    *n = *lines = 0;
    for (bool more = true; more && st == SM_OK;) {
        st = *n < COLUMNS_MAX ? read_field(r, rest, *n + 1, lines, &s)
                              : BAD(r, "wanted at most %d columns, found more", (int)COLUMNS_MAX);
        if (st == SM_OK && !(field[(*n)++] = keep(r, &s)))
            st = SM_NOMEM(r->err);
        more = rest->n > 0 && rest->p[0] == ',';
        if (more)
            *rest = (sm_sv){rest->p + 1, rest->n - 1};
    }
    sm_str_free(&s);
    sm_sv line;
    if (st == SM_OK && next_line(rest, &line)) /* what is left of it: its end */
        ++*lines;
    return st;
}

static sm_status read_csv_row(reader *r, const char **field, int n, int columns) {
    raw_item q = {.kind = ASKED_QUESTION, .question = field[0], .n = n - 2};
    const char *a = field[n - 1];
    if (n < 4 || n != columns)
        return BAD(r, "wanted %d columns (question, choices, letter of the answer), found %d",
                   columns >= 4 ? columns : 6, n);
    for (int i = 0; i < q.n; i++)
        q.choice[i] = field[i + 1];
    if (a[0] < 'A' || a[0] >= 'A' + q.n || a[1])
        return BAD(r, "field %d: wanted a letter of A..%c, found %s", n, 'A' + q.n - 1, sm_quote(a, strlen(a)));
    q.gold = a[0] - 'A';
    return add_task(r, &q, SM_CHOICE_LETTERS);
}

static sm_status read_csv(reader *r, sm_sv text) {
    const char *field[COLUMNS_MAX];
    int n, lines, columns = 0;
    r->f->format = "mmlu";
    r->line = 1;
    while (text.n > 0) {
        SM_TRY(read_record(r, &text, field, &n, &lines));
        bool header = columns == 0 && strcmp(field[n - 1], "answer") == 0;
        if ((n > 1 || !blank(sm_sv_of(field[0]))) && !header) {
            columns = columns ? columns : n;
            SM_TRY(read_csv_row(r, field, n, columns));
        }
        r->line += lines;
    }
    return SM_OK;
}

/* ------------------------------------------------------------------ */
static sm_sv after_spaces(sm_sv s) {
    while (s.n > 0 && strchr(" \t\r\n", s.p[0]))
        s = (sm_sv){s.p + 1, s.n - 1};
    return s;
}

sm_status sm_choices_parse(const char *path, sm_sv text, sm_choice_style style, sm_choice_file *out, sm_err *err) {
    reader r = {.path = path, .f = out, .style = style, .err = err};
    sm_sv rest, first, second = {"", 0};
    *out = (sm_choice_file){.format = "json", .mem = sm_arena_new()};
    if (!out->mem)
        return SM_NOMEM(err);
    if (text.n >= 3 && memcmp(text.p, "\xEF\xBB\xBF", 3) == 0)
        text = (sm_sv){text.p + 3, text.n - 3};
    size_t wrong = sm_utf8_valid(text.p ? text.p : "", text.n);
    if (wrong < text.n)
        return SM_FAIL(err, SM_BADINPUT, "%s: offset %zu: wanted UTF-8 text, found byte 0x%02X", path, wrong,
                       (unsigned char)text.p[wrong]);
    rest = text;
    if (next_line(&rest, &first))
        next_line(&rest, &second);
    sm_sv start = after_spaces(text);
    sm_status st = start.n > 0 && start.p[0] == '{' ? read_json(&r, text)
                   : one_digit(second)              ? read_six_lines(&r, text)
                                                    : read_csv(&r, text);
    if (st == SM_OK && out->n == 0)
        st = SM_FAIL(err, SM_BADINPUT, "%s: no tasks in it: wanted JSON lines, six lines a task, or CSV", path);
    return st;
}
