/* SPDX-License-Identifier: MIT
 *
 * inspect.h: what a checkpoint or package holds, as text for people or JSON.
 */
#ifndef SM_INSPECT_H
#define SM_INSPECT_H

#include "base/err.h"
#include "base/str.h"

typedef struct sm_inspect_opts {
    bool graph;   /* the program as text: a checkpoint's in row form, a package's as written */
    bool weights; /* every tensor */
    bool json;
} sm_inspect_opts;

sm_status sm_inspect(const char *path, const sm_inspect_opts *o, sm_str *out, sm_err *err);

#endif
