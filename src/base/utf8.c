/* SPDX-License-Identifier: MIT
 *
 * utf8.c: UTF-8, strictly: no overlong forms, no surrogates, nothing above U+10FFFF.
 *
 * Whether a sequence is well-formed is decided by its first two bytes (Unicode, table 3-7); `lead` is that table.
 * Pure functions; any thread.
 */
#include "base/str.h"

#include <assert.h>

/* Length of the sequence that b starts (0: none), and the range of its second byte. */
static int lead(uint8_t b, uint8_t *lo, uint8_t *hi) {
    *lo = 0x80;
    *hi = 0xbf;
    if (b < 0x80)
        return 1;
    if (b < 0xc2)
        return 0;
    if (b < 0xe0)
        return 2;
    if (b < 0xf0) {
        if (b == 0xe0)
            *lo = 0xa0;
        if (b == 0xed)
            *hi = 0x9f;
        return 3;
    }
    if (b > 0xf4)
        return 0;
    if (b == 0xf0)
        *lo = 0x90;
    if (b == 0xf4)
        *hi = 0x8f;
    return 4;
}

int sm_utf8_decode(const char *p, size_t n, uint32_t *cp) {
    const uint8_t *s = (const uint8_t *)p;
    uint8_t lo, hi;
    int len = lead(s[0], &lo, &hi);
    if (len == 1) {
        *cp = s[0];
        return 1;
    }
    if (len == 0 || (size_t)len > n || s[1] < lo || s[1] > hi)
        return 0;
    uint32_t c = s[0] & (0x7fu >> len);
    for (int i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    *cp = c;
    return len;
}

int sm_utf8_encode(uint32_t cp, char out[4]) {
    assert(cp < 0xd800 || (cp > 0xdfff && cp <= 0x10ffff));
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}

size_t sm_utf8_valid(const char *p, size_t n) {
    size_t i = 0;
    while (i < n) {
        uint32_t cp;
        int len = (uint8_t)p[i] < 0x80 ? 1 : sm_utf8_decode(p + i, n - i, &cp);
        if (len == 0)
            break;
        i += (size_t)len;
    }
    return i;
}

size_t sm_utf8_complete(const char *p, size_t n) {
    /* Only a lead byte among the last three can start a character that is cut off by the end. */
    for (size_t k = 1; k <= 3 && k <= n; k++) {
        uint8_t b = (uint8_t)p[n - k];
        if ((b & 0xc0) == 0x80)
            continue;
        uint8_t lo, hi;
        int len = lead(b, &lo, &hi);
        if ((size_t)len <= k)
            return n;
        if (k >= 2) {
            uint8_t second = (uint8_t)p[n - k + 1];
            if (second < lo || second > hi)
                return n;
        }
        return n - k;
    }
    return n;
}
