/* SPDX-License-Identifier: MIT
 *
 * detok.c: the text of a stream of tokens, a whole character at a time.
 *
 * A token may end inside a character.  Its bytes wait in `held` (at most three of them stay there) until the character
 * is whole; what can never become one is U+FFFD, one for each byte, so that whatever a model emits is UTF-8 when it
 * leaves here.
 *
 * Owns the held bytes, borrows the tokenizer.  Threads: one.
 */
#include "text/tokenizer_int.h"

#include <string.h>

struct sm_detok {
    const sm_tokenizer *t;
    unsigned flags;
    bool begun; /* the first bytes have been seen: the space before them is stripped or not */
    sm_str held;
};

sm_status sm_detok_new(const sm_tokenizer *t, unsigned flags, sm_detok **out, sm_err *err) {
    sm_detok *d = sm_alloc(sizeof *d);
    *out = d;
    if (d == NULL)
        return SM_NOMEM(err);
    d->t = t;
    d->flags = flags;
    return SM_OK;
}

void sm_detok_free(sm_detok **d) {
    if (*d == NULL)
        return;
    sm_str_free(&(*d)->held);
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
    if (n > 0) {
        memmove(d->held.p, d->held.p + n, d->held.n - n + 1);
        d->held.n -= n;
    }
}

sm_status sm_detok_push(sm_detok *d, int32_t id, sm_str *out, sm_err *err) {
    if (id < 0 || id >= d->t->n)
        return SM_FAIL(err, SM_BADINPUT, "id %d is not in the vocabulary of %d tokens", (int)id, (int)d->t->n);
    bool strip = !d->begun && d->t->space_prefix && !(d->flags & SM_DEC_PIECE);
    size_t before = d->held.n;
    token_piece(d->t, id, d->flags, &d->held);
    if (d->held.n > before) {
        d->begun = true;
        if (strip && d->held.p[0] == ' ') {
            memmove(d->held.p, d->held.p + 1, d->held.n);
            d->held.n--;
        }
    }
    if (d->held.n > 0)
        let_out(d, sm_utf8_complete(d->held.p, d->held.n), out);
    return sm_str_ok(&d->held) && sm_str_ok(out) ? SM_OK : SM_NOMEM(err);
}

sm_status sm_detok_finish(sm_detok *d, sm_str *out, sm_err *err) {
    if (d->held.n > 0)
        let_out(d, d->held.n, out);
    d->begun = false;
    return sm_str_ok(out) ? SM_OK : SM_NOMEM(err);
}
