/* SPDX-License-Identifier: MIT
 *
 * part_list.h: a folder that holds a model in parts, and the file in it that says which, in order.
 *
 *   smelt.json   {"parts": [{"package": "embed.mlpackage"}, {"package": "layers.mlpackage", "function": "decode"}, ...]}
 *   meta.yaml    as the public ANEMLL converter writes it: of its scalars `embeddings`, `ffn` (the first chunk's name, with
 *                01ofNN in it), `num_chunks` and `lm_head` are read, one a line
 *
 * Names are of files in the folder, without a path.
 */
#ifndef SM_PART_LIST_H
#define SM_PART_LIST_H

#include "base/err.h"
#include "base/mem.h"

enum { SM_PART_LIST_MOST = 128 };

typedef struct sm_listed_part {
    char *path;     /* of the package */
    char *function; /* NULL: any that can be used */
} sm_listed_part;

bool sm_part_list_sniff(const char *path);
/* parts[SM_PART_LIST_MOST], in the arena. */
sm_status sm_part_list_read(const char *path, sm_arena *a, sm_listed_part *parts, int *n, sm_err *err);

#endif
