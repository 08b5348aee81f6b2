/* SPDX-License-Identifier: MIT
 *
 * part_list.h: a folder that holds a model in parts, and the file in it, smelt.json, that says which, in order.
 *
 *   {"parts": [{"package": "embed.mlpackage"}, {"package": "layers.mlpackage", "function": "decode"}, ...]}
 *
 * Names are of packages in the folder, without a path.  Folders of parts without such a list are read by format/, which
 * finds their order by their interfaces.
 */
#ifndef SM_PART_LIST_H
#define SM_PART_LIST_H

#include "base/err.h"
#include "base/mem.h"

#define SM_PART_LIST_NAME "smelt.json"
enum { SM_PART_LIST_MOST = 128 };

typedef struct sm_listed_part {
    char *path;     /* of the package */
    char *function; /* NULL: any that can be used */
} sm_listed_part;

bool sm_part_list_sniff(const char *path);
/* parts[SM_PART_LIST_MOST], in the arena. */
sm_status sm_part_list_read(const char *path, sm_arena *a, sm_listed_part *parts, int *n, sm_err *err);

#endif
