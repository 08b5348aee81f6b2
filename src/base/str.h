/* SPDX-License-Identifier: MIT
 *
 * str.h: growing byte strings, string-keyed maps, UTF-8.
 *
 * An sm_str never fails at the call: running out of memory sets a sticky flag and later appends do nothing, so that
 * text is built without a check per line; the owner asks sm_str_ok once at the end.
 */
#ifndef SM_STR_H
#define SM_STR_H

#include "base/mem.h"

typedef struct sm_str {
    char *p; /* always terminated once something was appended; NULL before */
    size_t n, cap;
    bool failed;
} sm_str;
#define SM_STR_INIT                                                                                                    \
    { NULL, 0, 0, false }

void sm_str_free(sm_str *s);
void sm_str_clear(sm_str *s); /* length 0, memory kept */
void sm_str_add(sm_str *s, const char *p, size_t n);
void sm_str_adds(sm_str *s, const char *z);
void sm_str_addc(sm_str *s, char c);
void sm_str_addf(sm_str *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool sm_str_ok(const sm_str *s);
const char *sm_str_z(const sm_str *s); /* terminated text; "" when empty */

/* Hash map from bytes to int64 (an index, mostly).  Keys are borrowed: they must outlive the map.  Insert-only.  Readers may share a finished map between threads. */
typedef struct sm_map sm_map;
sm_map *sm_map_new(size_t expected); /* NULL when out of memory */
void sm_map_free(sm_map **m);
/* false when out of memory; an existing key keeps its old value and *old (may be NULL) receives it. */
bool sm_map_put(sm_map *m, sm_sv key, int64_t value, bool *existed, int64_t *old);
bool sm_map_get(const sm_map *m, sm_sv key, int64_t *value);
size_t sm_map_count(const sm_map *m);

/* Decodes one code point at p (n bytes left, n > 0): returns its length 1..4, or 0 when p does not start a valid
 * sequence (overlong, surrogate, above U+10FFFF, cut off). */
int sm_utf8_decode(const char *p, size_t n, uint32_t *cp);
int sm_utf8_encode(uint32_t cp, char out[4]); /* length; cp must be a scalar value */
/* Offset of the first byte that is not valid UTF-8, or n. */
size_t sm_utf8_valid(const char *p, size_t n);
/* Length of the longest prefix that ends on a character border: holds back an incomplete last character, but lets
 * bytes through that can never become valid.  For streaming. */
size_t sm_utf8_complete(const char *p, size_t n);

/* 0..15, or -1. */
static inline int sm_hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Appends text as a terminal may be shown it: control characters but \n and \t are spelled out (^[), bytes that are not
 * UTF-8 become U+FFFD. */
void sm_str_add_shown(sm_str *s, const char *p, size_t n);

/* Of n names the one most like `word` (letters to insert, leave out or replace); NULL when at least half of them would
 * have to change. */
const char *sm_nearest(const char *word, const char *const *names, size_t n);

/* Printable, quoted, escaped form of untrusted bytes for error messages; at most 80 characters, static per thread
 * ring of 4 buffers. */
const char *sm_quote(const char *p, size_t n);

#endif
