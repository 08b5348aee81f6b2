/* SPDX-License-Identifier: MIT
 *
 * str.c: growing byte strings, and quoting for messages.
 *
 * A string doubles, and keeps one byte for the terminator.  When memory runs out it stays as it was and refuses
 * everything after, also after sm_str_clear: a text with a hole in it never looks whole.
 *
 * Owns the buffer.  Threads: a string belongs to one; sm_quote's ring is per thread.
 */
#include "base/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/number.h"

/* Room for n more bytes and the terminator. */
static bool reserve(sm_str *s, size_t n) {
    size_t want;
    if (s->failed)
        return false;
    if (!sm_add_ok(s->n, n, &want) || !sm_add_ok(want, 1, &want)) {
        s->failed = true;
        return false;
    }
    if (want <= s->cap)
        return true;
    size_t cap = SM_MAX(want, (size_t)32);
    if (s->cap <= SIZE_MAX / 2)
        cap = SM_MAX(cap, s->cap * 2);
    char *p = sm_realloc(s->p, cap);
    if (!p) {
        s->failed = true;
        return false;
    }
    s->p = p;
    s->cap = cap;
    return true;
}

void sm_str_free(sm_str *s) {
    sm_free(s->p);
    *s = (sm_str)SM_STR_INIT;
}

void sm_str_clear(sm_str *s) {
    s->n = 0;
    if (s->p)
        s->p[0] = '\0';
}

void sm_str_add(sm_str *s, const char *p, size_t n) {
    if (!reserve(s, n))
        return;
    if (n)
        memcpy(s->p + s->n, p, n);
    s->n += n;
    s->p[s->n] = '\0';
}

void sm_str_adds(sm_str *s, const char *z) {
    sm_str_add(s, z, strlen(z));
}

void sm_str_addc(sm_str *s, char c) {
    sm_str_add(s, &c, 1);
}

void sm_str_addf(sm_str *s, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = sm_vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        s->failed = true;
    if (n < 0 || !reserve(s, (size_t)n))
        return;
    va_start(ap, fmt);
    sm_vsnprintf(s->p + s->n, (size_t)n + 1, fmt, ap);
    va_end(ap);
    s->n += (size_t)n;
}

bool sm_str_ok(const sm_str *s) {
    return !s->failed;
}

const char *sm_str_z(const sm_str *s) {
    return s->p ? s->p : "";
}

/* ---- quoting --------------------------------------------------------------------------------------------------- */

/* Characters that are valid but must not reach a terminal as they are: controls, and marks that hide or reorder. */
static bool is_shown(uint32_t cp) {
    return (cp >= 0x20 && cp < 0x7f) || (cp >= 0xa0 && cp != 0xad && cp != 0x61c && !(cp >= 0x200b && cp <= 0x200f) &&
                                         !(cp >= 0x2028 && cp <= 0x202e) && !(cp >= 0x2060 && cp <= 0x206f) &&
                                         cp != 0xfeff && !(cp >= 0xfff9 && cp <= 0xfffb) && cp < 0xe0000);
}

const char *sm_quote(const char *p, size_t n) {
    enum { MAX_CHARS = 80, RING = 4 };
    static _Thread_local char ring[RING][MAX_CHARS * 4 + 1];
    static _Thread_local unsigned turn;
    char *buf = ring[turn++ % RING];
    size_t out = 0, chars = 0;
    size_t cut = 0, cut_chars = 0; /* the last place where `..."` still fits */
    buf[out++] = '"';
    chars++;
    for (size_t i = 0; i < n;) {
        char piece[12];
        uint32_t cp;
        int len = sm_utf8_decode(p + i, n - i, &cp), width;
        if (len == 0) {
            width = snprintf(piece, sizeof piece, "\\x%02x", (unsigned char)p[i]);
            len = 1;
        } else if (cp == '\n' || cp == '\r' || cp == '\t') {
            width = snprintf(piece, sizeof piece, "\\%c", cp == '\n' ? 'n' : cp == '\r' ? 'r' : 't');
        } else if (cp == '"' || cp == '\\') {
            width = snprintf(piece, sizeof piece, "\\%c", (char)cp);
        } else if (is_shown(cp)) {
            memcpy(piece, p + i, (size_t)len);
            width = 1; /* one character of len bytes */
        } else if (cp < 0x80) {
            width = snprintf(piece, sizeof piece, "\\x%02x", (unsigned)cp);
        } else {
            width = snprintf(piece, sizeof piece, "\\u{%x}", (unsigned)cp);
        }
        size_t bytes = width == 1 ? (size_t)len : (size_t)width;
        if (chars + 4 <= MAX_CHARS) { /* ..." */
            cut = out;
            cut_chars = chars;
        }
        if (chars + (size_t)width + 1 > MAX_CHARS) {
            memcpy(buf + cut, "...", 3);
            out = cut + 3;
            chars = cut_chars + 3;
            break;
        }
        memcpy(buf + out, piece, bytes);
        out += bytes;
        chars += (size_t)width;
        i += (size_t)len;
    }
    buf[out++] = '"';
    buf[out] = '\0';
    return buf;
}
