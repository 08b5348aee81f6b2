/* SPDX-License-Identifier: MIT
 *
 * editor_libedit.c: the editor over libedit.
 *
 * libedit works on wide characters in the locale's encoding; texts here are UTF-8, so a UTF-8 locale is asked for
 * (character types only: numbers keep their points).  libedit's own signal handling re-sends signals to the whole process
 * group; instead it reads through keyboard.h, which makes events of them.
 *
 * Pasted text: terminals that know bracketed paste put ESC [200~ and ESC [201~ round it.  What is between goes into the
 * line at once, line ends included, and does nothing else.
 */
#include "cli/editor.h"

#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#include "base/env.h"
#include "cli/keyboard.h"

enum { HISTORY = 1000, PROMPT_MAX = 64 };

struct editor {
    EditLine *el;
    HistoryW *history;
    wchar_t prompt[PROMPT_MAX];
    line_end how;
    sm_str *out; /* while a line is read */
    bool fancy;  /* the terminal knows escape sequences */
    complete_fn complete;
    void *ctx;
};

/* ------------------------------------------------------------------ characters */
typedef struct wide {
    wchar_t *v;
    size_t n, cap;
} wide;

static bool wide_add(wide *w, wchar_t c) {
    if (!SM_GROW(w))
        return false;
    w->v[w->n++] = c;
    return true;
}

/* Terminated; NULL when out of memory.  sm_free. */
static wchar_t *to_wide(const char *p) {
    wide w = {0};
    size_t n = strlen(p);
    bool ok = true;
    for (size_t i = 0; ok && i < n;) {
        uint32_t c;
        int len = sm_utf8_decode(p + i, n - i, &c);
        ok = wide_add(&w, len ? (wchar_t)c : L'\xFFFD');
        i += (size_t)SM_MAX(len, 1);
    }
    if (ok && wide_add(&w, L'\0'))
        return w.v;
    sm_free(w.v);
    return NULL;
}

static void add_utf8(sm_str *out, const wchar_t *p, const wchar_t *end) {
    for (; p < end; p++) {
        uint32_t c = (uint32_t)*p;
        char b[4];
        if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
            c = 0xFFFD;
        sm_str_add(out, b, (size_t)sm_utf8_encode(c, b));
    }
}

/* ------------------------------------------------------------------ terminal */
static void say(const char *sequence) {
    fputs(sequence, stdout);
    fflush(stdout);
}

static void prepare(const editor *e, bool on) {
    el_set(e->el, EL_PREP_TERM, on);
    if (e->fancy)
        say(on ? "\033[?2004h" : "\033[?2004l");
}

static void redraw(const editor *e) {
    if (e->fancy)
        say("\r\033[J");
    el_set(e->el, EL_REFRESH);
}

static editor *owner(EditLine *el) {
    void *p = NULL;
    el_wget(el, EL_CLIENTDATA, &p);
    return p;
}

/* The next byte, events dealt with; false: the line is over, e->how says why. */
static bool next_byte(editor *e, unsigned char *b) {
    for (;;) {
        switch (keyboard_byte(b)) {
        case KEY_BYTE:
            return true;
        case KEY_RESIZE:
            el_resize(e->el);
            redraw(e);
            break;
        case KEY_SUSPEND:
            prepare(e, false);
            keyboard_suspend();
            prepare(e, true);
            el_resize(e->el);
            redraw(e);
            break;
        case KEY_INTERRUPT: {
            const LineInfoW *li = el_wline(e->el); /* libedit empties it on the way out */
            add_utf8(e->out, li->buffer, li->lastchar);
            e->how = LINE_INTERRUPT;
            return false;
        }
        case KEY_EOF:
        case KEY_QUIT:
            e->how = LINE_EOF;
            return false;
        }
    }
}

/* One character; what is not UTF-8 becomes U+FFFD. */
static bool next_char(editor *e, wchar_t *out) {
    unsigned char b;
    char seq[4];
    size_t n = 0;
    uint32_t c = 0xFFFD;
    do {
        if (!next_byte(e, &b))
            return false;
        seq[n++] = (char)b;
    } while (n < sizeof seq && sm_utf8_complete(seq, n) == 0);
    if (sm_utf8_decode(seq, n, &c) != (int)n)
        c = 0xFFFD;
    *out = (wchar_t)c;
    return true;
}

static int get_char(EditLine *el, wchar_t *out) {
    if (next_char(owner(el), out))
        return 1;
    *out = L'\0';
    return -1;
}

/* ------------------------------------------------------------------ keys */
static unsigned char on_newline(EditLine *el, int key) {
    (void)key;
    return el_winsertstr(el, L"\n") == 0 ? CC_REFRESH : CC_REFRESH_BEEP;
}

/* Reads up to the end mark and inserts it as one text. */
static unsigned char on_paste(EditLine *el, int key) {
    static const wchar_t mark[] = L"\033[201~";
    enum { MARK = SM_ARRAY_LEN(mark) - 1 };
    wide w = {0};
    wchar_t c;
    bool ok = true;
    (void)key;
    while (ok && next_char(owner(el), &c)) {
        ok = wide_add(&w, c);
        if (ok && w.n >= MARK && wmemcmp(w.v + w.n - MARK, mark, MARK) == 0)
            break;
    }
    size_t n = 0;
    w.n -= SM_MIN(w.n, (size_t)MARK);
    for (size_t i = 0; i < w.n; i++) { /* terminals send line ends as carriage returns */
        c = w.v[i] == L'\r' ? L'\n' : w.v[i];
        if (w.v[i] == L'\n' && i > 0 && w.v[i - 1] == L'\r')
            continue;
        if (c >= 0x20 ? c != 0x7f && (c < 0x80 || c >= 0xa0) : c == L'\n' || c == L'\t')
            w.v[n++] = c;
    }
    while (n > 0 && w.v[n - 1] == L'\n')
        n--;
    w.n = n;
    ok = ok && wide_add(&w, L'\0') && (n == 0 || el_winsertstr(el, w.v) == 0);
    sm_free(w.v);
    return ok ? CC_REFRESH : CC_REFRESH_BEEP;
}

/* Length of what all words begin with; *n: how many there are. */
static size_t common_start(const sm_str *words, int *n) {
    const char *first = sm_str_z(words), *end = first + words->n;
    size_t same = strlen(first);
    *n = 0;
    for (const char *w = first; w < end; w += strlen(w) + 1, ++*n)
        for (size_t i = 0; i < same; i++)
            if (w[i] != first[i])
                same = i;
    while (same > 0 && sm_utf8_complete(first, same) < same)
        same--;
    return same;
}

static void list_words(const sm_str *words) {
    fputc('\n', stdout);
    for (const char *w = words->p, *end = w + words->n; w < end; w += strlen(w) + 1)
        fprintf(stdout, "%s  ", w);
    fputc('\n', stdout);
}

static unsigned char on_tab(EditLine *el, int key) {
    editor *e = owner(el);
    const LineInfoW *li = el_wline(el);
    sm_str line = SM_STR_INIT, words = SM_STR_INIT, rest = SM_STR_INIT;
    size_t start = 0;
    int n = 0;
    unsigned char answer = CC_REFRESH_BEEP;
    (void)key;
    add_utf8(&line, li->buffer, li->cursor);
    e->complete(e->ctx, sm_str_z(&line), &words, &start);
    if (sm_str_ok(&line) && sm_str_ok(&words) && words.n > 0) {
        size_t same = common_start(&words, &n), typed = SM_MIN(line.n - SM_MIN(start, line.n), same);
        sm_str_add(&rest, words.p + typed, same - typed);
        if (n == 1 && same > 0 && words.p[same - 1] != '/')
            sm_str_addc(&rest, ' ');
        wchar_t *w = to_wide(sm_str_z(&rest));
        if (rest.n > 0 && w && el_winsertstr(el, w) == 0) {
            answer = CC_REFRESH;
        } else if (n > 1) {
            list_words(&words);
            answer = CC_REDISPLAY;
        }
        sm_free(w);
    } else if (line.n == 0 || line.p[0] != '/') {
        answer = el_winsertstr(el, L"\t") == 0 ? CC_REFRESH : CC_REFRESH_BEEP;
    }
    sm_str_free(&line);
    sm_str_free(&words);
    sm_str_free(&rest);
    return answer;
}

/* ------------------------------------------------------------------ the editor */
static wchar_t *get_prompt(EditLine *el) {
    return owner(el)->prompt;
}

/* Characters beyond ASCII need a locale that has them. */
static void want_utf8(void) {
    static const char *const names[] = {"", "C.UTF-8", "UTF-8", "en_US.UTF-8"};
    for (size_t i = 0; i < SM_ARRAY_LEN(names); i++)
        if (setlocale(LC_CTYPE, names[i]) && strcmp(nl_langinfo(CODESET), "UTF-8") == 0)
            return;
}

static void bind_keys(EditLine *el) {
    static const struct {
        const wchar_t *key, *command;
    } keys[] = {
        {L"\t", L"smelt-tab"},           {L"\033[200~", L"smelt-paste"},       {L"\033\r", L"smelt-newline"},
        {L"\033\n", L"smelt-newline"},   {L"\033[3~", L"ed-delete-next-char"}, {L"\033[H", L"ed-move-to-beg"},
        {L"\033[F", L"ed-move-to-end"},  {L"\033[1~", L"ed-move-to-beg"},      {L"\033[4~", L"ed-move-to-end"},
        {L"\033[1;5D", L"ed-prev-word"}, {L"\033[1;5C", L"em-next-word"},      {L"^R", L"em-inc-search-prev"},
        {L"^W", L"ed-delete-prev-word"},
    };
    el_wset(el, EL_ADDFN, L"smelt-tab", L"complete a command", on_tab);
    el_wset(el, EL_ADDFN, L"smelt-paste", L"insert a pasted text", on_paste);
    el_wset(el, EL_ADDFN, L"smelt-newline", L"insert a line end", on_newline);
    for (size_t i = 0; i < SM_ARRAY_LEN(keys); i++)
        el_wset(el, EL_BIND, keys[i].key, keys[i].command, NULL);
}

editor *editor_new(complete_fn complete, void *ctx) {
    want_utf8();
    editor *e = sm_alloc(sizeof *e);
    HistEventW ev;
    if (!e)
        return NULL;
    *e = (editor){.complete = complete, .ctx = ctx, .fancy = !sm_env_plain_terminal()};
    e->el = el_init("smelt", stdin, stdout, stderr);
    e->history = history_winit();
    if (!e->el || !e->history) {
        editor_free(&e);
        return NULL;
    }
    history_w(e->history, &ev, H_SETSIZE, (int)HISTORY);
    history_w(e->history, &ev, H_SETUNIQUE, 1);
    el_wset(e->el, EL_CLIENTDATA, e);
    el_wset(e->el, EL_PROMPT_ESC, get_prompt, L'\1');
    el_wset(e->el, EL_EDITOR, L"emacs");
    el_wset(e->el, EL_SIGNAL, 0);
    el_wset(e->el, EL_HIST, history_w, e->history);
    el_wset(e->el, EL_GETCFN, get_char);
    el_source(e->el, NULL);
    bind_keys(e->el);
    return e;
}

void editor_free(editor **pe) {
    editor *e = *pe;
    if (!e)
        return;
    if (e->el)
        el_end(e->el);
    if (e->history)
        history_wend(e->history);
    sm_free(e);
    *pe = NULL;
}

void editor_remember(editor *e, const char *text) {
    HistEventW ev;
    wchar_t *w = to_wide(text);
    if (w)
        history_w(e->history, &ev, H_ENTER, w);
    sm_free(w);
}

static void set_prompt(editor *e, const char *prompt, const char *colour) {
    if (colour && e->fancy) /* before the space: what is behind the last character waits for the next one */
        swprintf(e->prompt, PROMPT_MAX, L"\1%s\1%.*s\1\033[0m\1 ", colour, (int)strlen(prompt) - 1, prompt);
    else
        swprintf(e->prompt, PROMPT_MAX, L"%s", prompt);
}

line_end editor_read(editor *e, const char *prompt, const char *colour, sm_str *out) {
    int n = 0;
    set_prompt(e, prompt, colour);
    e->how = LINE_READ;
    e->out = out;
    keyboard_open();
    el_resize(e->el); /* it may have changed while nobody looked */
    prepare(e, true); /* before the prompt: what is typed at it is the editor's, not the terminal's */
    const wchar_t *line = el_wgets(e->el, &n);
    if (line && n > 0) {
        add_utf8(out, line, line + n - (line[n - 1] == L'\n'));
    } else {
        e->how = e->how == LINE_INTERRUPT ? LINE_INTERRUPT : LINE_EOF;
        say(e->how == LINE_INTERRUPT ? "^C\n" : "\n");
    }
    if (e->fancy)
        say("\033[?2004l");
    keyboard_close();
    return e->how;
}

const char *editor_version(void) {
#if defined(LIBEDIT_MAJOR)
    static char text[24];
    snprintf(text, sizeof text, "%d.%d", LIBEDIT_MAJOR, LIBEDIT_MINOR);
    return text;
#else
    return "of the system";
#endif
}
