/* SPDX-License-Identifier: MIT
 *
 * io.c: texts in, JSON out.
 */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/files.h"
#include "cli/cli.h"

enum { TEXT_MAX = 1 << 30 };

sm_status cli_fail(const smelt_error *e, sm_err *err) {
    SM_FAIL(err, (sm_status)e->code, "%s", e->message);
    if (e->hint[0])
        sm_err_hint(err, "%s", e->hint);
    return (sm_status)e->code;
}

sm_status cli_one_text(const char *text, const char *file, sm_err *err) {
    return text && file ? SM_FAIL(err, SM_USAGE, "-p and -f both give the text: wanted one of them") : SM_OK;
}

sm_status cli_text(const char *text, const char *file, sm_str *out, bool *given, sm_err *err) {
    const char *name = "-p";
    *given = true;
    SM_TRY(cli_one_text(text, file, err));
    if (text) {
        sm_str_adds(out, text);
    } else if (file || !isatty(STDIN_FILENO)) {
        name = file && strcmp(file, "-") != 0 ? file : "standard input";
        sm_status st = sm_file_read(file ? file : "-", TEXT_MAX, out, err);
        if (st != SM_OK) {
            sm_err_hint(err, "give the name of a text file, or - for standard input");
            return st;
        }
    } else {
        *given = false;
        return SM_OK;
    }
    if (!sm_str_ok(out))
        return SM_NOMEM(err);
    size_t bad = sm_utf8_valid(sm_str_z(out), out->n);
    if (bad < out->n) {
        SM_FAIL(err, SM_BADINPUT, "%s: offset %zu: wanted UTF-8 text, found byte 0x%02X", name, bad,
                (unsigned char)out->p[bad]);
        sm_err_hint(err, "convert it first; iconv -f LATIN1 -t UTF-8 does for Western European text");
        return SM_BADINPUT;
    }
    return SM_OK;
}

/* ------------------------------------------------------------------ JSON */
void json_text(sm_str *out, const char *p, size_t n) {
    sm_str_addc(out, '"');
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        int len = sm_utf8_decode(p + i, n - i, &cp);
        if (len == 0) {
            sm_str_adds(out, "\xEF\xBF\xBD");
            i++;
            continue;
        }
        if (cp == '"' || cp == '\\') {
            sm_str_addc(out, '\\');
            sm_str_addc(out, (char)cp);
        } else if (cp == '\n') {
            sm_str_adds(out, "\\n");
        } else if (cp == '\t') {
            sm_str_adds(out, "\\t");
        } else if (cp < 0x20 || cp == 0x7F) {
            sm_str_addf(out, "\\u%04x", (unsigned)cp);
        } else {
            sm_str_add(out, p + i, (size_t)len);
        }
        i += (size_t)len;
    }
    sm_str_addc(out, '"');
}

void json_num(sm_str *out, double v, int digits) {
    if (isfinite(v))
        sm_str_addf(out, "%.*g", digits, v);
    else
        sm_str_adds(out, "null");
}

void json_top(sm_str *out, const smelt_logprob *top, int n) {
    sm_str_addc(out, '[');
    for (int i = 0; i < n; i++) {
        sm_str_addf(out, "%s{\"id\":%d,\"logprob\":", i ? "," : "", top[i].id);
        json_num(out, top[i].logprob, 9);
        sm_str_addc(out, '}');
    }
    sm_str_addc(out, ']');
}

sm_status cli_show(sm_str *s, sm_err *err) {
    sm_str shown = SM_STR_INIT;
    if (!isatty(STDOUT_FILENO))
        return cli_print(s, err);
    sm_str_add_shown(&shown, sm_str_z(s), s->n);
    sm_status st = sm_str_ok(s) ? cli_print(&shown, err) : SM_NOMEM(err);
    sm_str_free(&shown);
    sm_str_clear(s);
    return st;
}

sm_status cli_show_text(char *text, size_t n, sm_err *err) {
    sm_str out = SM_STR_INIT;
    sm_str_add(&out, text, n);
    smelt_free(text);
    sm_status st = cli_show(&out, err);
    sm_str_free(&out);
    return st;
}

sm_status cli_print(sm_str *s, sm_err *err) {
    if (!sm_str_ok(s))
        return SM_NOMEM(err);
    size_t n = s->n, done = n ? fwrite(s->p, 1, n, stdout) : 0;
    sm_str_clear(s);
    if (done == n && fflush(stdout) == 0 && !ferror(stdout))
        return SM_OK;
    SM_FAIL(err, SM_RESOURCE, "standard output cannot be written: %s", strerror(errno));
    sm_err_hint(err, errno == EPIPE ? "the program that reads it has ended" : "see that there is room where it goes");
    return SM_RESOURCE;
}
