/* SPDX-License-Identifier: MIT
 *
 * knobs.c: settings for developers, from the environment.
 *
 * The table is knobs.def and this is the only getenv of the program.  A variable that is set but empty counts as not
 * set.  Values are borrowed from the environment, which smelt never changes.  Threads: any.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "base/log.h"

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
