/* SPDX-License-Identifier: MIT
 *
 * inspect.h: what a checkpoint or package holds, as text for people or JSON (docs/inspect.md has its keys).
 */
#ifndef SM_INSPECT_H
#define SM_INSPECT_H

#include "base/err.h"
#include "base/str.h"

typedef struct sm_inspect_opts {
    bool graph;    /* the program as text: a checkpoint's in row form, a package's as written */
    bool weights;  /* every tensor */
    bool ops;      /* how often each op stands in the program (packages: always) */
    bool metadata; /* long values whole, in the text */
    bool template; /* the chat template whole; as text: nothing else */
    bool hash;     /* the content hash, however large the file; small ones always have it */
    bool sha256;   /* of every file */
    bool json;
    int ctx;       /* positions for the memory estimate; 0: the usual */
    int n_threads; /* < 1: one per core */
    bool progress;
} sm_inspect_opts;

sm_status sm_inspect(const char *path, const sm_inspect_opts *o, sm_str *out, sm_err *err);

#endif
