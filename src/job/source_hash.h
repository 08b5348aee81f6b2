/* SPDX-License-Identifier: MIT
 *
 * source_hash.h: SHA-256 of a file that is being converted, while it is read.
 *
 * The hash goes through the file in order and keeps near the place that the conversion has reached, so that a file larger
 * than memory comes from the disk once: what one of the two has read, the other finds in the system's cache.
 *
 *     file   [ hashed ............ ]<- lead ->
 *            [ touched by the conversion ]
 *
 * Threads: start, reached and end are called by one thread at a time; the hash has a thread of its own when it is allowed.
 */
#ifndef SM_SOURCE_HASH_H
#define SM_SOURCE_HASH_H

#include <stdbool.h>

#include "base/err.h"

typedef struct sm_source_hash sm_source_hash;
/* The path is borrowed until the end.  threaded: else the work is done inside reached and end. */
sm_status sm_source_hash_start(const char *path, bool threaded, sm_source_hash **out, sm_err *err);
/* A byte that was read, in the file's mapping; other memory says nothing. */
void sm_source_hash_reached(sm_source_hash *h, const void *p);
/* The rest of the file; hex: 64 digits and the end. */
sm_status sm_source_hash_end(sm_source_hash *h, char hex[65], sm_err *err);
void sm_source_hash_free(sm_source_hash **h); /* NULL-safe; gives up what is not finished */

#endif
