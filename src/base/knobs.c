/* SPDX-License-Identifier: MIT
 *
 * knobs.c: settings for developers, from the environment.
 *
 * The table is knobs.def and this is the only getenv of the program.  A variable that is set but empty counts as not
 * set.  Values are borrowed from the environment, which smelt never changes.  Threads: any.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

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

/* Letters to insert, leave out or replace (Levenshtein); names longer than 63 count as far. */
static int distance(const char *a, const char *b) {
    int row[64], n = (int)strlen(b);
    if (n > 63)
        return INT_MAX;
    for (int j = 0; j <= n; j++)
        row[j] = j;
    for (int i = 0; a[i]; i++) {
        int diagonal = row[0];
        row[0] = i + 1;
        for (int j = 0; j < n; j++) {
            int replace = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = SM_MIN(replace, SM_MIN(row[j], diagonal) + 1);
        }
    }
    return row[n];
}

static const char *nearest_name(const char *name) {
    const char *best = NULL;
    int least = SM_MAX((int)strlen(name + 6) / 2, 1); /* more letters off is another word */
    for (int k = 0; k < SM_KNOB_COUNT_; k++) {
        int d = distance(name, rows[k].name);
        if (d <= least) {
            least = d - 1;
            best = rows[k].name;
        }
    }
    return best;
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
