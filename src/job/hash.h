/* SPDX-License-Identifier: MIT
 *
 * hash.h: hashes of files and of tensors.
 *
 * The CONTENT HASH of tensors says whether two files hold the same weights: it does not depend on file names, the order
 * of tensors in the file, padding, or how a model is split.
 *
 *     chunk     H(1 MiB of a part's bytes), the last one shorter                H: BLAKE2b with 32 bytes of result
 *     tensor    H(name 0 encoding 0 dtype 0 dims 0  and for each part that is there:  bytes 0 its chunks' hashes)
 *     content   H(the tensors' hashes, in order of their names' bytes, then `more`)
 *
 * Texts are as encoding.h spells them, numbers decimal, dims with "x" between; 0 is a byte of value zero.  Chunks are
 * hashed by all threads.
 */
#ifndef SM_HASH_H
#define SM_HASH_H

#include "base/err.h"
#include "base/log.h"
#include "tensor/encoding.h"

/* Names are separate from the tensors: a constant's is its value's. */
typedef struct sm_named_tensor {
    sm_sv name;
    const sm_tensor *t;
} sm_named_tensor;

/* hex: 64 digits and the end.  list is sorted in place.  more: hashed after the tensors (a program's text); may be empty.
 * progress: a bar on a terminal.  SM_CANCELLED when asked to stop. */
sm_status sm_hash_content(sm_named_tensor *list, size_t n, sm_sv more, int n_threads, bool progress, char hex[65],
                          sm_err *err);

/* SHA-256 of a file, read through a small buffer, so that it does not become resident.  p: a bar to move, or NULL. */
sm_status sm_hash_file(const char *path, sm_progress *p, char hex[65], sm_err *err);

#endif
