/* SPDX-License-Identifier: MIT
 *
 * progress.c: a bar with rate and time left.
 *
 *     convert  [##########..............]  41%  1.2/2.9 GB  310 MB/s  0:05 left
 *
 * Drawn on a terminal only, after the first second, at most ten times a second; gone when the work is done.  Work
 * that has no known total shows what is done and the rate.
 *
 * Owns nothing.  Threads: one bar at a time, driven by one thread.
 */
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/env.h"
#include "base/log.h"
#include "base/log_int.h"
#include "base/mem.h"
#include "base/number.h"

enum { FIRST_US = 1000000, EVERY_US = 100000, MAX_WIDTH = 256 };

static int terminal_width(void) {
    struct winsize w;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) != 0 || w.ws_col < 20)
        return 80;
    return SM_MIN((int)w.ws_col, (int)MAX_WIDTH);
}

/* Bytes get a decimal prefix, other units stay plain counts.  `out_unit` receives the unit with its prefix. */
static double scaled(double v, double by, const char *unit, char out_unit[16]) {
    static const char *const prefix[] = {"", "k", "M", "G", "T"};
    size_t k = 0;
    if (strcmp(unit, "B") == 0)
        for (; by >= 1000 && k + 1 < SM_ARRAY_LEN(prefix); k++) {
            by /= 1000;
            v /= 1000;
        }
    snprintf(out_unit, 16, "%s%s", prefix[k], unit);
    return v;
}

static void draw(const sm_progress *p, int64_t now) {
    char line[2 * MAX_WIDTH], right[128], unit[16], rate_unit[16];
    double done = (double)p->done, total = (double)p->total, s = (double)(now - p->t0_us) / 1e6;
    double rate = s > 0 ? done / s : 0;
    int width = terminal_width() - 1;
    double d = scaled(done, p->total ? total : done, p->unit, unit), all = scaled(total, total, p->unit, unit);
    if (!p->total)
        scaled(done, done, p->unit, unit);
    double r = scaled(rate, rate, p->unit, rate_unit);
    int digits = strcmp(p->unit, "B") == 0 ? 1 : 0, n;
    if (p->total) {
        double fraction = SM_MIN(done / total, 1.0);
        long left = rate > 0 && total > done ? (long)((total - done) / rate + 0.5) : 0;
        sm_snprintf(right, sizeof right, " %3d%%  %.*f/%.*f %s  %.*f %s/s  %ld:%02ld left", (int)(fraction * 100),
                    digits, d, digits, all, unit, rate < 10 ? 1 : digits, r, rate_unit, left / 60, left % 60);
        n = snprintf(line, sizeof line, "\r\033[K%.60s  ", p->what);
        int room = width - (n - 4) - (int)strlen(right) - 2;
        if (room >= 8) {
            int bar = SM_MIN(room, 40), full = (int)(fraction * bar);
            line[n++] = '[';
            for (int i = 0; i < bar; i++)
                line[n++] = i < full ? '#' : '.';
            line[n++] = ']';
        }
    } else {
        sm_snprintf(right, sizeof right, "%.*f %s  %.*f %s/s", digits, d, unit, rate < 10 ? 1 : digits, r, rate_unit);
        n = snprintf(line, sizeof line, "\r\033[K%.60s  ", p->what);
    }
    n += snprintf(line + n, sizeof line - (size_t)n, "%s", right);
    n = SM_MIN(n, width + 4); /* the wipe sequence takes 4 bytes and no column */
    sm_stderr_put(line, (size_t)n, true);
}

void sm_progress_start(sm_progress *p, const char *what, const char *unit, uint64_t total) {
    *p = (sm_progress){.what = what, .unit = unit, .total = total, .t0_us = sm_now_us()};
    /* last_us < 0: never drawn */
    p->last_us =
        sm_log_level() >= 1 && isatty(STDERR_FILENO) && !sm_env_plain_terminal() ? p->t0_us + FIRST_US - EVERY_US : -1;
}

void sm_progress_add(sm_progress *p, uint64_t n) {
    p->done += n;
    if (p->last_us < 0)
        return;
    int64_t now = sm_now_us();
    if (now - p->last_us < EVERY_US)
        return;
    p->last_us = now;
    p->shown = true;
    draw(p, now);
}

void sm_progress_end(sm_progress *p) {
    if (p->shown)
        sm_stderr_put("", 0, false);
    p->shown = false;
    p->last_us = -1;
}
