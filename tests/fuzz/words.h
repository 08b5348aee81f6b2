/* SPDX-License-Identifier: MIT
 *
 * words.h: changes of texts by words: one number or name takes the place of another.  Bytes changed at random rarely give
 * a program.
 */
#ifndef SM_FUZZ_WORDS_H
#define SM_FUZZ_WORDS_H

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static inline bool is_word(uint8_t c) {
    return isalnum(c) || c == '_' || c == '.' || c == '-';
}

/* The first word at or behind `at`, its length in *len; n when there is none. */
static inline size_t word_at(const uint8_t *p, size_t n, size_t at, size_t *len) {
    while (at < n && !is_word(p[at]))
        at++;
    *len = 0;
    while (at + *len < n && is_word(p[at + *len]))
        ++*len;
    return at;
}

/* Up to three times a word between lo and hi becomes another of all n; returns the new n, which is at most max. */
static inline size_t change_words(uint8_t *p, size_t n, size_t lo, size_t hi, size_t max) {
    uint8_t with[64];
    size_t a_len, b_len;
    for (int times = 1 + rand() % 3; times > 0 && hi > lo; times--) {
        size_t a = word_at(p, hi, lo + (size_t)rand() % (hi - lo), &a_len);
        size_t b = word_at(p, n, (size_t)rand() % n, &b_len);
        if (a_len == 0 || b_len == 0 || b_len > sizeof with || n - a_len + b_len > max ||
            (isdigit(p[a]) != 0) != (isdigit(p[b]) != 0))
            continue;
        memcpy(with, p + b, b_len);
        memmove(p + a + b_len, p + a + a_len, n - a - a_len);
        memcpy(p + a, with, b_len);
        n = n - a_len + b_len;
        hi = hi - a_len + b_len;
    }
    return n;
}

#endif
