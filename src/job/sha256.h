/* SPDX-License-Identifier: MIT
 *
 * sha256.h: SHA-256 of bytes that come piece by piece.
 *
 * By OpenSSL's libcrypto where the library was there at the build: it uses the processor's own instructions for it, which
 * is five times as fast.  Otherwise by libsodium (stub/sha256_sodium.c).  Threads: one at a time per hash.
 */
#ifndef SM_SHA256_H
#define SM_SHA256_H

#include <stddef.h>

#include "base/err.h"

typedef struct sm_sha256 sm_sha256;
sm_status sm_sha256_new(sm_sha256 **out, sm_err *err);
void sm_sha256_add(sm_sha256 *h, const void *p, size_t n);
void sm_sha256_end(sm_sha256 *h, char hex[65]); /* 64 digits and the end; nothing is added after */
void sm_sha256_free(sm_sha256 **h);             /* NULL-safe */
/* Version of libcrypto; NULL where it was not there. */
const char *sm_sha256_libcrypto(void);

#endif
