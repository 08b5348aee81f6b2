/* SPDX-License-Identifier: MIT
 *
 * detok.c: the text of a stream of tokens, a whole character at a time; spaces round WordPiece's punctuation.
 *
 * A token may end inside a character.  Its bytes wait in `held` (at most three of them stay there) until the character
 * is whole; what can never become one is U+FFFD, one for each byte, so that whatever a model emits is UTF-8 when it
 * leaves here.
 *
 * WordPiece's tokens put a space before every word and every punctuation mark.  Some of these spaces go again, and
 * whether one does depends on up to three characters that follow it; so its streams wait for those too.
 *
 * Owns the held bytes, borrows the tokenizer.  Threads: one.
 */
#include "text/tokenizer_int.h"

#include <string.h>

struct sm_detok {
    const sm_tokenizer *t;
    unsigned flags;
    bool begun; /* the first bytes have been seen: the space before them is stripped or not */
    bool clean;
    sm_str held;
    sm_str spaced; /* whole characters that wait to be cleaned */
    size_t known;  /* so many of them cannot be cleaned yet */
};

/* ---- cleaning ------------------------------------------------------------------------------------------------ */

/* Where text is written over the text that is read: never further on. */
typedef struct pass {
    char *p;
    size_t n, out;
} pass;

static bool at(const pass *x, size_t i, char c) {
    return i < x->n && x->p[i] == c;
}

/* " ." to ".", and so on; the space is the one before p[i] as it was, whatever has become of those before it. */
static void clean_marks(pass *x) {
    char before = '\0';
    x->out = 0;
    for (size_t i = 0; i < x->n; i++) {
        char c = x->p[i];
        if (i > 0 && before == ' ' && (c == '?' || c == '!' || c == '.' || c == ','))
            x->out--;
        x->p[x->out++] = c;
        before = c;
    }
    x->n = x->out;
}

/* " ' " to "'". */
static void clean_apostrophes(pass *x) {
    char before = '\0';
    x->out = 0;
    for (size_t i = 0; i < x->n; i++) {
        char c = x->p[i];
        bool lone = i > 0 && c == '\'' && before == ' ' && at(x, i + 1, ' ');
        if (lone) {
            x->out--;
            i++;
        }
        x->p[x->out++] = c;
        before = lone ? '\0' : c;
    }
    x->n = x->out;
}

/* " 's", " 'm", " 're", " 've" without their space. */
static void clean_contractions(pass *x) {
    char before = '\0';
    x->out = 0;
    for (size_t i = 0; i < x->n; i++) {
        char c = x->p[i];
        bool two = (at(x, i + 1, 'r') || at(x, i + 1, 'v')) && at(x, i + 2, 'e');
        if (i > 0 && before == ' ' && c == '\'' && (at(x, i + 1, 's') || at(x, i + 1, 'm') || two))
            x->out--;
        x->p[x->out++] = c;
        before = c;
    }
    x->n = x->out;
}

void detok_clean(const char *p, size_t n, sm_str *out) {
    size_t from = out->n;
    sm_str_add(out, p, n);
    if (!sm_str_ok(out) || n == 0)
        return;
    pass x = {out->p + from, n, 0};
    clean_marks(&x);
    clean_apostrophes(&x);
    clean_contractions(&x);
    out->n = from + x.n;
    out->p[out->n] = '\0';
}

void detok_drop_space(sm_str *s, size_t from) {
    if (s->n > from && s->p[from] == ' ') {
        memmove(s->p + from, s->p + from + 1, s->n - from);
        s->n--;
    }
}

/* How much of the text can be cleaned without what follows: up to a byte that is no space, with no apostrophe among it
 * and the two before it.  The first `known` bytes were looked at before. */
static size_t settled(const sm_str *s, size_t known) {
    for (size_t n = s->n; n > known; n--) {
        bool apostrophe = false;
        for (size_t i = n > 3 ? n - 3 : 0; i < n; i++)
            apostrophe = apostrophe || s->p[i] == '\'';
        if (s->p[n - 1] != ' ' && !apostrophe)
            return n;
    }
    return 0;
}

static void drop_front(sm_str *s, size_t n) {
    memmove(s->p, s->p + n, s->n - n + 1);
    s->n -= n;
}

static void clean_settled(sm_detok *d, bool all, sm_str *out) {
    size_t n = all ? d->spaced.n : settled(&d->spaced, d->known);
    if (n > 0) {
        size_t from = out->n;
        detok_clean(d->spaced.p, n, out);
        drop_front(&d->spaced, n);
        if (!d->begun && sm_str_ok(out))
            detok_drop_space(out, from);
        d->begun = true;
    }
    d->known = d->spaced.n;
}

/* ---- streams ------------------------------------------------------------------------------------------------- */

sm_status sm_detok_new(const sm_tokenizer *t, unsigned flags, sm_detok **out, sm_err *err) {
    sm_detok *d = sm_alloc(sizeof *d);
    *out = d;
    if (d == NULL)
        return SM_NOMEM(err);
    d->t = t;
    d->flags = flags;
    d->clean = t->kind == KIND_WORDPIECE && !(flags & SM_DEC_PIECE);
    return SM_OK;
}

void sm_detok_free(sm_detok **d) {
    if (*d == NULL)
        return;
    sm_str_free(&(*d)->held);
    sm_str_free(&(*d)->spaced);
    sm_free(*d);
    *d = NULL;
}

/* Hands out the first n held bytes, mended. */
static void let_out(sm_detok *d, size_t n, sm_str *out) {
    for (size_t i = 0; i < n;) {
        size_t good = sm_utf8_valid(d->held.p + i, n - i);
        sm_str_add(out, d->held.p + i, good);
        i += good;
        if (i < n) {
            sm_str_adds(out, "\xef\xbf\xbd");
            i++;
        }
    }
    if (n > 0)
        drop_front(&d->held, n);
}

sm_status sm_detok_push(sm_detok *d, int32_t id, sm_str *out, sm_err *err) {
    if (id < 0 || id >= d->t->n)
        return SM_FAIL(err, SM_BADINPUT, "id %d is not in the vocabulary of %d tokens", (int)id, (int)d->t->n);
    bool strip = !d->clean && !d->begun && token_puts_space_first(d->t) && !(d->flags & SM_DEC_PIECE);
    size_t before = d->held.n;
    token_piece(d->t, id, d->flags, &d->held);
    if (d->held.n > before && !d->clean) {
        d->begun = true;
        if (strip)
            detok_drop_space(&d->held, 0);
    }
    if (d->held.n > 0)
        let_out(d, sm_utf8_complete(d->held.p, d->held.n), d->clean ? &d->spaced : out);
    if (d->clean)
        clean_settled(d, false, out);
    return sm_str_ok(&d->held) && sm_str_ok(&d->spaced) && sm_str_ok(out) ? SM_OK : SM_NOMEM(err);
}

sm_status sm_detok_finish(sm_detok *d, sm_str *out, sm_err *err) {
    if (d->held.n > 0)
        let_out(d, d->held.n, d->clean ? &d->spaced : out);
    if (d->clean)
        clean_settled(d, true, out);
    d->begun = false;
    return sm_str_ok(&d->spaced) && sm_str_ok(out) ? SM_OK : SM_NOMEM(err);
}
