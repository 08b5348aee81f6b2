/* SPDX-License-Identifier: MIT
 *
 * number.c: the C library's functions under the C locale, which uselocale sets for the calling thread alone.
 */
#include "base/number.h"

#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__APPLE__)
#include <xlocale.h>
#endif

static locale_t points; /* (locale_t)0 when it cannot be had: uselocale changes nothing then */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_points(void) {
    points = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
}

static locale_t enter(void) {
    pthread_once(&once, make_points);
    return uselocale(points);
}

int sm_vsnprintf(char *out, size_t cap, const char *fmt, va_list ap) {
    locale_t before = enter();
    int n = vsnprintf(out, cap, fmt, ap);
    uselocale(before);
    return n;
}

int sm_snprintf(char *out, size_t cap, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = sm_vsnprintf(out, cap, fmt, ap);
    va_end(ap);
    return n;
}

double sm_strtod(const char *text, char **end) {
    locale_t before = enter();
    double v = strtod(text, end);
    uselocale(before);
    return v;
}

float sm_strtof(const char *text, char **end) {
    locale_t before = enter();
    float v = strtof(text, end);
    uselocale(before);
    return v;
}

int64_t sm_number_behind(const char *name, size_t *stem) {
    size_t n = strlen(name), at = n;
    int64_t v = 0;
    while (at > 0 && name[at - 1] >= '0' && name[at - 1] <= '9' && n - at < 9)
        at--;
    for (size_t i = at; i < n; i++)
        v = 10 * v + (name[i] - '0');
    if (stem != NULL)
        *stem = at;
    return at < n ? v : -1;
}
