/* SPDX-License-Identifier: MIT
 *
 * sha256_libcrypto.c: SHA-256 by OpenSSL's libcrypto (sha256.h).
 *
 * Its configuration file is not read: a hash needs none of it.
 */
#include "job/sha256.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sodium.h>

#include "base/mem.h"

struct sm_sha256 {
    EVP_MD_CTX *md;
};

sm_status sm_sha256_new(sm_sha256 **out, sm_err *err) {
    *out = NULL;
    sm_sha256 *h = sm_alloc(sizeof *h);
    if (!h)
        return SM_NOMEM(err);
    OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
    h->md = EVP_MD_CTX_new();
    if (!h->md || EVP_DigestInit_ex(h->md, EVP_sha256(), NULL) != 1) {
        sm_sha256_free(&h);
        return SM_FAIL(err, SM_RESOURCE, "libcrypto gives no SHA-256");
    }
    *out = h;
    return SM_OK;
}

void sm_sha256_add(sm_sha256 *h, const void *p, size_t n) {
    EVP_DigestUpdate(h->md, p, n);
}

void sm_sha256_end(sm_sha256 *h, char hex[65]) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    EVP_DigestFinal_ex(h->md, digest, NULL);
    sodium_bin2hex(hex, 65, digest, 32);
}

void sm_sha256_free(sm_sha256 **h) {
    if (!*h)
        return;
    EVP_MD_CTX_free((*h)->md);
    sm_free(*h);
    *h = NULL;
}

const char *sm_sha256_libcrypto(void) {
    return OpenSSL_version(OPENSSL_VERSION_STRING);
}
