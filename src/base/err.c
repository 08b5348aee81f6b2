/* SPDX-License-Identifier: MIT
 *
 * err.c: fills sm_err.
 *
 * Messages are formatted into a local buffer first, because an argument may be the message that is being replaced
 * (a prefix, a retry).  A message is one line whatever was put into it: line breaks become spaces, and a cut at the
 * end of the buffer never leaves half a character.
 *
 * Owns nothing; an sm_err holds its text inline, so that reporting "out of memory" needs none.
 * Threads: any, each with its own sm_err.
 */
#include "base/err.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/number.h"
#include "base/str.h"

/* Puts text into dst[cap] as one whole line. */
static void put_line(char *dst, size_t cap, const char *text) {
    size_t n = strlen(text);
    if (n > cap - 1)
        n = cap - 1;
    n = sm_utf8_complete(text, n);
    memmove(dst, text, n);
    dst[n] = '\0';
    for (size_t i = 0; i < n; i++)
        if (dst[i] == '\n' || dst[i] == '\r')
            dst[i] = ' ';
}

sm_status sm_err_set(sm_err *err, sm_status code, const char *file, int line, const char *fmt, ...) {
    assert(code != SM_OK);
    if (!err)
        return code;
    char text[sizeof err->msg];
    va_list ap;
    va_start(ap, fmt);
    int len = sm_vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (len < 0)
        text[0] = '\0';
    put_line(err->msg, sizeof err->msg, text);
    err->hint[0] = '\0';
    err->code = code;
    err->file = file;
    err->line = line;
    return code;
}

sm_status sm_err_hint(sm_err *err, const char *fmt, ...) {
    if (!err)
        return SM_OK;
    char text[sizeof err->hint];
    va_list ap;
    va_start(ap, fmt);
    int len = sm_vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (len < 0)
        text[0] = '\0';
    put_line(err->hint, sizeof err->hint, text);
    return err->code;
}

void sm_err_prefix(sm_err *err, const char *fmt, ...) {
    if (!err || err->code == SM_OK)
        return;
    char text[2 * sizeof err->msg];
    va_list ap;
    va_start(ap, fmt);
    int len = sm_vsnprintf(text, sizeof err->msg, fmt, ap);
    va_end(ap);
    if (len < 0)
        return;
    size_t n = strlen(text);
    snprintf(text + n, sizeof text - n, ": %s", err->msg);
    put_line(err->msg, sizeof err->msg, text);
}

void sm_err_clear(sm_err *err) {
    if (err)
        memset(err, 0, sizeof *err);
}

int sm_exit_code(sm_status st) {
    return st == SM_CANCELLED ? 130 : -(int)st;
}
