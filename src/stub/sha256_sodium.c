/* SPDX-License-Identifier: MIT
 *
 * sha256_sodium.c: the answer where libcrypto is absent: SHA-256 by libsodium, in plain C.
 */
#include <sodium.h>

#include "base/mem.h"
#include "job/sha256.h"

struct sm_sha256 {
    crypto_hash_sha256_state s;
};

sm_status sm_sha256_new(sm_sha256 **out, sm_err *err) {
    *out = sm_alloc(sizeof **out);
    if (!*out)
        return SM_NOMEM(err);
    crypto_hash_sha256_init(&(*out)->s);
    return SM_OK;
}

void sm_sha256_add(sm_sha256 *h, const void *p, size_t n) {
    crypto_hash_sha256_update(&h->s, p, n);
}

void sm_sha256_end(sm_sha256 *h, char hex[65]) {
    unsigned char digest[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_final(&h->s, digest);
    sodium_bin2hex(hex, 65, digest, sizeof digest);
}

void sm_sha256_free(sm_sha256 **h) {
    sm_free(*h);
    *h = NULL;
}

const char *sm_sha256_libcrypto(void) {
    return NULL;
}
