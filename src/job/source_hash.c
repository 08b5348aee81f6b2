/* SPDX-License-Identifier: MIT
 *
 * source_hash.c: a file's hash beside its conversion (source_hash.h).
 *
 * It reads by itself instead of hashing what the conversion hands over: tensors are converted in the order of the
 * program, which is not the file's, and a hash wants every byte, padding too, in order.
 *
 * Owns a descriptor, a buffer and a thread, which blocks all signals.
 */
#include "job/source_hash.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/files.h"
#include "base/log.h"
#include "job/sha256.h"

enum { READ_BYTES = 1 << 18 };    /* stays in a core's cache */
#define LEAD ((uint64_t)32 << 20) /* bytes hashed ahead of the conversion */
#define ALL UINT64_MAX

struct sm_source_hash {
    const char *path;
    int fd, os_error; /* errno of a failed read */
    sm_sha256 *sha;
    uint8_t *buf;
    uint64_t at;
    bool threaded, at_end;
    pthread_t thread;
    pthread_mutex_t lock; /* of the two below */
    pthread_cond_t more;
    uint64_t limit;
    bool stop;
};

/* One piece; false at the end of the file, or when it cannot be read. */
static bool hash_piece(sm_source_hash *h) {
    ssize_t k;
    do
        k = pread(h->fd, h->buf, READ_BYTES, (off_t)h->at);
    while (k < 0 && errno == EINTR);
    if (k < 0)
        h->os_error = errno;
    if (k <= 0)
        return false;
    sm_sha256_add(h->sha, h->buf, (size_t)k);
    h->at += (uint64_t)k;
    return true;
}

static void *follow(void *arg) {
    sm_source_hash *h = arg;
    bool stop, more = true;
    while (more) {
        pthread_mutex_lock(&h->lock);
        while (!h->stop && h->at >= h->limit)
            pthread_cond_wait(&h->more, &h->lock);
        stop = h->stop;
        pthread_mutex_unlock(&h->lock);
        if (stop || sm_cancelled())
            break;
        more = hash_piece(h);
    }
    h->at_end = !more;
    return NULL;
}

static sm_status start_thread(sm_source_hash *h, sm_err *err) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&h->thread, NULL, follow, h);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc)
        return SM_FAIL(err, SM_RESOURCE, "cannot start a thread: %s", strerror(rc));
    h->threaded = true;
    return SM_OK;
}

sm_status sm_source_hash_start(const char *path, bool threaded, sm_source_hash **out, sm_err *err) {
    sm_status st = SM_OK;
    *out = NULL;
    sm_source_hash *h = sm_alloc(sizeof *h);
    if (!h)
        return SM_NOMEM(err);
    h->path = path;
    h->limit = LEAD;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->more, NULL);
    h->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (h->fd < 0) {
        st = SM_FAIL(err, SM_BADINPUT, "cannot open '%s': %s", path, strerror(errno));
        goto done;
    }
    h->buf = sm_alloc(READ_BYTES);
    if (!h->buf) {
        st = SM_NOMEM(err);
        goto done;
    }
    SM_TRY_DONE(sm_sha256_new(&h->sha, err));
    if (threaded)
        SM_TRY_DONE(start_thread(h, err));
done:
    if (st != SM_OK)
        sm_source_hash_free(&h);
    *out = h;
    return st;
}

static void raise_limit(sm_source_hash *h, uint64_t limit, bool stop) {
    pthread_mutex_lock(&h->lock);
    h->limit = SM_MAX(h->limit, limit);
    h->stop |= stop;
    pthread_cond_signal(&h->more);
    pthread_mutex_unlock(&h->lock);
}

void sm_source_hash_reached(sm_source_hash *h, const void *p) {
    const char *path;
    uint64_t at;
    if (!sm_mapfile_at(p, &path, &at) || strcmp(path, h->path) != 0)
        return;
    if (h->threaded) {
        raise_limit(h, at + LEAD, false);
        return;
    }
    h->limit = SM_MAX(h->limit, at);
    while (h->at < h->limit && !h->at_end && !sm_cancelled())
        h->at_end = !hash_piece(h);
}

static void join(sm_source_hash *h) {
    if (h->threaded)
        pthread_join(h->thread, NULL);
    h->threaded = false;
}

sm_status sm_source_hash_end(sm_source_hash *h, char hex[65], sm_err *err) {
    raise_limit(h, ALL, false);
    join(h);
    while (!h->at_end && !sm_cancelled())
        h->at_end = !hash_piece(h);
    if (!h->at_end)
        return SM_FAIL(err, SM_CANCELLED, "stopped");
    if (h->os_error)
        return SM_FAIL(err, SM_BADINPUT, "cannot read '%s': %s", h->path, strerror(h->os_error));
    sm_sha256_end(h->sha, hex);
    return SM_OK;
}

void sm_source_hash_free(sm_source_hash **ph) {
    sm_source_hash *h = *ph;
    if (!h)
        return;
    raise_limit(h, 0, true);
    join(h);
    pthread_cond_destroy(&h->more);
    pthread_mutex_destroy(&h->lock);
    if (h->fd >= 0)
        close(h->fd);
    sm_sha256_free(&h->sha);
    sm_free(h->buf);
    sm_free(h);
    *ph = NULL;
}
