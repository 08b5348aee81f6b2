/* SPDX-License-Identifier: MIT
 *
 * log.c: messages, trace, cancel flag.
 *
 * A message is formatted whole and written with one call, so that lines of several threads do not mix, and wipes a
 * progress bar first, so that it does not stick to it.  The trace setting is read from its knob once, at the first
 * question, and asked by one load after that.
 *
 * Threads: any.  sm_cancel_set may be called from a signal handler.
 */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log_int.h"
#include "base/number.h"
#include "base/str.h"

static atomic_int log_level = 1;
static atomic_bool cancelled;

/* ---- stderr ---------------------------------------------------------------------------------------------------- */

static pthread_mutex_t stderr_lock = PTHREAD_MUTEX_INITIALIZER;
static bool bar_stands;

static void write_all(const char *p, size_t n) {
    while (n) {
        ssize_t k = write(STDERR_FILENO, p, n);
        if (k < 0 && errno != EINTR)
            return; /* nobody listens */
        if (k > 0) {
            p += k;
            n -= (size_t)k;
        }
    }
}

void sm_stderr_put(const char *text, size_t n, bool bar) {
    static const char wipe[] = "\r\033[K";
    pthread_mutex_lock(&stderr_lock);
    if (bar_stands && !bar)
        write_all(wipe, sizeof wipe - 1);
    bar_stands = bar;
    write_all(text, n);
    pthread_mutex_unlock(&stderr_lock);
}

static void put_line(const char *head, const char *fmt, va_list ap) {
    char small[512];
    va_list again;
    va_copy(again, ap);
    size_t h = strlen(head);
    memcpy(small, head, h);
    int n = sm_vsnprintf(small + h, sizeof small - h, fmt, ap);
    if (n < 0) {
        va_end(again);
        return;
    }
    char *text = small;
    size_t len = h + (size_t)n;
    if (len + 1 >= sizeof small) {
        text = sm_alloc(len + 2);
        if (text) {
            memcpy(text, head, h);
            sm_vsnprintf(text + h, (size_t)n + 1, fmt, again);
        } else {
            text = small;
            len = sizeof small - 2;
        }
    }
    va_end(again);
    if (len == 0 || text[len - 1] != '\n')
        text[len++] = '\n';
    sm_stderr_put(text, len, false);
    if (text != small)
        sm_free(text);
}

void sm_log_set_level(int level) {
    atomic_store(&log_level, level);
}

int sm_log_level(void) {
    return atomic_load_explicit(&log_level, memory_order_relaxed);
}

void sm_log(int level, const char *fmt, ...) {
    if (level > sm_log_level())
        return;
    va_list ap;
    va_start(ap, fmt);
    put_line("", fmt, ap);
    va_end(ap);
}

/* ---- trace ----------------------------------------------------------------------------------------------------- */

static const char *const topic_names[SM_T_COUNT_] = {"file", "graph", "pass", "plan", "kv", "text", "run"};
static int topic_level[SM_T_COUNT_]; /* written once, under trace_once */
static pthread_once_t trace_once = PTHREAD_ONCE_INIT;

/* "pass:2,kv" -> levels; a topic alone means level 1, "all" means every topic. */
static void read_trace_knob(void) {
    for (const char *p = sm_knob(SM_KNOB_DEBUG); *p;) {
        size_t n = strcspn(p, ","), name = strcspn(p, ":,");
        int level = name < n ? atoi(p + name + 1) : 1;
        bool known = false;
        for (int t = 0; t < SM_T_COUNT_; t++)
            if (sm_sv_is((sm_sv){p, name}, topic_names[t]) || sm_sv_is((sm_sv){p, name}, "all")) {
                topic_level[t] = level;
                known = true;
            }
        if (!known && n)
            sm_log(1, "%s: unknown topic %s; topics: all file graph pass plan kv text run",
                   sm_knob_rows(NULL)[SM_KNOB_DEBUG].name, sm_quote(p, name));
        p += n + (p[n] == ',');
    }
}

bool sm_trace_on(sm_topic t, int level) {
    pthread_once(&trace_once, read_trace_knob);
    return level <= topic_level[t];
}

void sm_trace(sm_topic t, int level, const char *fmt, ...) {
    if (!sm_trace_on(t, level))
        return;
    char head[24];
    snprintf(head, sizeof head, "[%s] ", topic_names[t]);
    va_list ap;
    va_start(ap, fmt);
    put_line(head, fmt, ap);
    va_end(ap);
}

/* ---- cancel ---------------------------------------------------------------------------------------------------- */

void sm_cancel_set(bool on) {
    atomic_store(&cancelled, on);
}

bool sm_cancelled(void) {
    return atomic_load_explicit(&cancelled, memory_order_relaxed);
}
