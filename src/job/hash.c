/* SPDX-License-Identifier: MIT
 *
 * hash.c: hashes of files and of tensors (hash.h).
 */
#include "job/hash.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/files.h"
#include "base/threads.h"
#include "job/sha256.h"

enum { CHUNK = 1 << 20, BYTES = 32, READ_BYTES = 1 << 18 /* stays in a core's cache */ };

/* A piece of a tensor, and where its hash goes. */
typedef struct piece {
    const uint8_t *p;
    size_t n;
    uint8_t hash[BYTES];
} piece;

typedef struct chunks {
    piece *v;
    size_t n, cap;
    atomic_size_t next;
    atomic_uint_fast64_t done; /* bytes */
    sm_progress *bar;          /* moved by the first thread */
    uint64_t shown;
} chunks;

static void hash_pieces(void *ctx, int ith, int nth) {
    chunks *c = ctx;
    (void)nth;
    for (;;) {
        size_t i = atomic_fetch_add_explicit(&c->next, 1, memory_order_relaxed);
        if (i >= c->n || sm_cancelled())
            return;
        piece *x = &c->v[i];
        crypto_generichash(x->hash, BYTES, x->p, x->n, NULL, 0);
        sm_mapfile_release(x->p, x->n);
        uint64_t done = atomic_fetch_add_explicit(&c->done, x->n, memory_order_relaxed) + x->n;
        if (ith == 0) {
            sm_progress_add(c->bar, done - c->shown);
            c->shown = done;
        }
    }
}

static int by_name(const void *a, const void *b) {
    const sm_named_tensor *x = a, *y = b;
    int c = memcmp(x->name.p, y->name.p, SM_MIN(x->name.n, y->name.n));
    return c != 0 ? c : x->name.n < y->name.n ? -1 : x->name.n > y->name.n;
}

static sm_status cut(const sm_tensor *t, chunks *c, sm_err *err) {
    for (int p = 0; p < SM_PART_COUNT; p++)
        for (size_t at = 0; at < t->part[p].n; at += CHUNK) {
            if (!SM_GROW(c))
                return SM_NOMEM(err);
            c->v[c->n++] = (piece){.p = t->part[p].p + at, .n = SM_MIN((size_t)CHUNK, t->part[p].n - at)};
        }
    return SM_OK;
}

static void add_text(crypto_generichash_state *h, const char *p, size_t n) {
    crypto_generichash_update(h, (const unsigned char *)p, n);
    crypto_generichash_update(h, (const unsigned char *)"", 1);
}

/* The tensor's hash; *next moves over its pieces. */
static void close_tensor(const sm_named_tensor *x, const piece **next, uint8_t out[BYTES]) {
    crypto_generichash_state h;
    char text[320];
    const sm_tensor *t = x->t;
    int n = 0;
    crypto_generichash_init(&h, NULL, 0, BYTES);
    add_text(&h, x->name.p, x->name.n);
    sm_enc_print(&t->enc, t->rank, text, sizeof text);
    add_text(&h, text, strlen(text));
    add_text(&h, sm_dtype_name(t->dtype), strlen(sm_dtype_name(t->dtype)));
    for (int a = 0; a < t->rank; a++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%s%" PRId64, a ? "x" : "", t->dims[a]);
    add_text(&h, text, (size_t)n);
    for (int p = 0; p < SM_PART_COUNT; p++) {
        if (t->part[p].n == 0)
            continue;
        n = snprintf(text, sizeof text, "%zu", t->part[p].n);
        add_text(&h, text, (size_t)n);
        for (size_t at = 0; at < t->part[p].n; at += CHUNK)
            crypto_generichash_update(&h, (*next)++->hash, BYTES);
    }
    crypto_generichash_final(&h, out, BYTES);
}

sm_status sm_hash_content(sm_named_tensor *list, size_t n, sm_sv more, int n_threads, bool progress, char hex[65],
                          sm_err *err) {
    chunks c = {0};
    sm_progress bar = {.last_us = -1}; /* shows nothing */
    sm_pool *pool = NULL;
    crypto_generichash_state all;
    uint8_t digest[BYTES];
    uint64_t total = 0;
    sm_status st = SM_OK;
    hex[0] = '\0';
    if (n > 0)
        qsort(list, n, sizeof *list, by_name);
    for (size_t i = 0; i < n; i++) {
        SM_TRY_DONE(cut(list[i].t, &c, err));
        total += sm_tensor_bytes(list[i].t);
    }
    SM_TRY_DONE(sm_pool_new(n_threads, &pool, err));
    if (progress)
        sm_progress_start(&bar, "hash", "B", total);
    c.bar = &bar;
    sm_pool_run(pool, hash_pieces, &c);
    sm_progress_end(&bar);
    if (sm_cancelled()) {
        st = SM_FAIL(err, SM_CANCELLED, "stopped");
        goto done;
    }
    const piece *next = c.v;
    crypto_generichash_init(&all, NULL, 0, BYTES);
    for (size_t i = 0; i < n; i++) {
        close_tensor(&list[i], &next, digest);
        crypto_generichash_update(&all, digest, BYTES);
    }
    crypto_generichash_update(&all, (const unsigned char *)(more.n ? more.p : ""), more.n);
    crypto_generichash_final(&all, digest, BYTES);
    sodium_bin2hex(hex, 65, digest, BYTES);
done:
    sm_pool_free(&pool);
    sm_free(c.v);
    return st;
}

/* ------------------------------------------------------------------ files */
sm_status sm_hash_file(const char *path, sm_progress *bar, char hex[65], sm_err *err) {
    sm_sha256 *h = NULL;
    unsigned char *buf = NULL;
    size_t n;
    sm_status st = SM_OK;
    FILE *f = fopen(path, "rb");
    if (!f)
        return SM_FAIL(err, SM_BADINPUT, "%s: cannot be read", path);
    setvbuf(f, NULL, _IONBF, 0);
    SM_TRY_DONE(sm_sha256_new(&h, err));
    buf = sm_alloc(READ_BYTES);
    if (!buf) {
        st = SM_NOMEM(err);
        goto done;
    }
    while ((n = fread(buf, 1, READ_BYTES, f)) > 0 && !sm_cancelled()) {
        sm_sha256_add(h, buf, n);
        if (bar)
            sm_progress_add(bar, n);
    }
    if (sm_cancelled())
        st = SM_FAIL(err, SM_CANCELLED, "stopped");
    else if (ferror(f))
        st = SM_FAIL(err, SM_BADINPUT, "%s: cannot be read to its end", path);
    else
        sm_sha256_end(h, hex);
done:
    sm_sha256_free(&h);
    sm_free(buf);
    fclose(f);
    return st;
}
