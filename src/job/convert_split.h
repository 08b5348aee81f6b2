/* SPDX-License-Identifier: MIT
 *
 * convert_split.h: how a model is divided over several packages.
 */
#ifndef SM_CONVERT_SPLIT_H
#define SM_CONVERT_SPLIT_H

#include "pass/pass.h"

enum { SM_CONVERT_PARTS = 64 };

typedef struct sm_convert_parts {
    int n; /* parts; cut[n - 1] between them */
    sm_cut cut[SM_CONVERT_PARTS];
    const char *name[SM_CONVERT_PARTS]; /* of the packages, without ending */
} sm_convert_parts;

/* `words`, as on the command line, NULL or "none" for one part:
 *     N             N packages of about as many layers each
 *     layers:A-B,.. these layers (from 0) to each; the embedding goes with the first, the head with the last
 *     units[:N]     embedding, N packages of layers (1), head: what runs on the CPU apart from what runs elsewhere
 *     size:BYTES    as few packages of layers as hold no more weights than that (also 500M, 1G), embedding and head apart
 *                   where they would not fit
 * f is encoded.  Names live in the arena. */
sm_status sm_convert_parts_of(const char *words, const sm_func *f, sm_convert_parts *out, sm_err *err);

/* The manifest of a directory of parts: smelt.json. */
sm_status sm_convert_manifest(const sm_convert_parts *p, sm_str *out, sm_err *err);

#endif
