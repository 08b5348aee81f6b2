/* SPDX-License-Identifier: MIT
 *
 * knobs.c: settings for developers, from the environment.
 *
 * The table is knobs.def; nothing else reads the environment but env.c, for what all programs share.  A variable that is
 * set but empty counts as not set.  Values are borrowed from the environment, which smelt never changes.  Threads: any.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"

extern char **environ;

static const sm_knob_row rows[SM_KNOB_COUNT_] = {
#define KNOB(id, name, def, help) [SM_KNOB_##id] = {name, def, help},
#include "base/knobs.def"
#undef KNOB
};

const char *sm_knob(sm_knob_id k) {
    const char *v = getenv(rows[k].name);
    return v && *v ? v : rows[k].def;
}

int sm_knob_int(sm_knob_id k) {
    const char *v = sm_knob(k);
    char *end;
    errno = 0;
    long n = strtol(v, &end, 10);
    return end == v || *end || errno || n < INT_MIN || n > INT_MAX ? 0 : (int)n;
}

const sm_knob_row *sm_knob_rows(int *count) {
    if (count)
        *count = SM_KNOB_COUNT_;
    return rows;
}

/* ---- names that nobody reads ---- */

/* Read by the project's own scripts and tests, which pass their environment on. */
static bool is_of_scripts(const char *name) {
    return strcmp(name, "SMELT_MODELS") == 0 || strcmp(name, "SMELT_VOCABS") == 0 ||
           strncmp(name, "SMELT_TEST_", 11) == 0;
}

static bool is_known(const char *name) {
    for (int k = 0; k < SM_KNOB_COUNT_; k++)
        if (strcmp(rows[k].name, name) == 0)
            return true;
    return is_of_scripts(name);
}

static const char *nearest_name(const char *name) {
    const char *ends[SM_KNOB_COUNT_];
    for (int k = 0; k < SM_KNOB_COUNT_; k++)
        ends[k] = rows[k].name + 6; /* they all begin alike */
    const char *best = sm_nearest(name + 6, ends, SM_KNOB_COUNT_);
    return best ? best - 6 : NULL;
}

bool sm_knob_stranger(int i, char *name, size_t cap, const char **nearest) {
    for (char **e = environ; e && *e; e++) {
        size_t n = strcspn(*e, "=");
        if (strncmp(*e, "SMELT_", 6) != 0 || n >= cap)
            continue;
        snprintf(name, cap, "%.*s", (int)n, *e);
        if (is_known(name) || i-- > 0)
            continue;
        *nearest = nearest_name(name);
        return true;
    }
    return false;
}
