/* SPDX-License-Identifier: MIT
 *
 * files.c: mapped inputs, small files, paths.
 *
 * Inputs are mapped privately and read-only, and the descriptor is closed at once: a mapping needs none.  Only regular
 * files are mapped; a pipe or device is refused with what it is, and never waited for.
 *
 * Owns mappings until close, and knows them all, so that what is not a mapping is never given back to the system.
 * Threads: any may read a mapping, open, close and release.  Not here: outputs (outfile.c, outdir.c).
 */
#include "base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files_int.h"

sm_status sm_os_fail(sm_err *err, const char *op, const char *path) {
    int e = errno;
    bool full = e == ENOSPC || e == EDQUOT || e == EFBIG || e == ENOMEM || e == EMFILE || e == ENFILE;
    SM_FAIL(err, full ? SM_RESOURCE : SM_BADINPUT, "cannot %s '%s': %s", op, path, strerror(e));
    if (e == ENOSPC || e == EDQUOT)
        sm_err_hint(err, "make room there, or write to a folder on another disk");
    else if (e == EFBIG)
        sm_err_hint(err, "ulimit -f tells how large a file may become here");
    else if (e == EMFILE || e == ENFILE)
        sm_err_hint(err, "ulimit -n tells how many files may be open here");
    else if (strcmp(op, "create") == 0 && e == ENOENT)
        sm_err_hint(err, "make the folder that it goes to first: mkdir -p does");
    else if (strcmp(op, "create") == 0 && (e == EACCES || e == EPERM || e == EROFS))
        sm_err_hint(err, "name a place in a folder that you may write to");
    return full ? SM_RESOURCE : SM_BADINPUT;
}

static const char *kind_of(mode_t mode) {
    return S_ISDIR(mode)    ? "a directory"
           : S_ISFIFO(mode) ? "a pipe"
           : S_ISSOCK(mode) ? "a socket"
           : S_ISCHR(mode)  ? "a character device"
           : S_ISBLK(mode)  ? "a block device"
                            : "of an unknown kind";
}

/* Every mapping there is now: few, and asked for slabs of megabytes. */
typedef struct mapping {
    uintptr_t from, to;
    const char *path; /* its sm_mapfile's */
    struct mapping *next;
} mapping;
static mapping *mappings;
static pthread_mutex_t mappings_lock = PTHREAD_MUTEX_INITIALIZER;

static void remember(mapping *m, const void *p, size_t n, const char *path) {
    pthread_mutex_lock(&mappings_lock);
    *m = (mapping){(uintptr_t)p, (uintptr_t)p + n, path, mappings};
    mappings = m;
    pthread_mutex_unlock(&mappings_lock);
}

static void forget(const void *p) {
    pthread_mutex_lock(&mappings_lock);
    mapping **at = &mappings, *m;
    while (*at && (*at)->from != (uintptr_t)p)
        at = &(*at)->next;
    m = *at;
    if (m)
        *at = m->next;
    pthread_mutex_unlock(&mappings_lock);
    sm_free(m);
}

sm_status sm_mapfile_open(const char *path, sm_mapfile *out, sm_err *err) {
    *out = (sm_mapfile){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return SM_OS_FAIL(err, "open", path);
    sm_status st = SM_OK;
    void *p = NULL;
    struct stat s;
    char *copy = NULL;
    mapping *m = NULL;
    if (fstat(fd, &s) != 0) {
        st = SM_OS_FAIL(err, "read", path);
        goto done;
    }
    if (!S_ISREG(s.st_mode)) {
        st = SM_FAIL(err, SM_BADINPUT, "'%s' is %s, wanted a regular file", path, kind_of(s.st_mode));
        goto done;
    }
    if ((uintmax_t)s.st_size > SIZE_MAX) {
        st = SM_FAIL(err, SM_RESOURCE, "'%s' is too large for this machine's address space", path);
        goto done;
    }
    size_t n = strlen(path) + 1;
    copy = sm_alloc(n);
    m = sm_alloc(sizeof *m);
    if (!copy || !m) {
        st = SM_NOMEM(err);
        goto done;
    }
    memcpy(copy, path, n);
    if (s.st_size > 0) {
        p = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            st = SM_OS_FAIL(err, "map", path);
            goto done;
        }
        remember(m, p, (size_t)s.st_size, copy);
        m = NULL;
    }
    *out = (sm_mapfile){p, (size_t)s.st_size, copy};
    copy = NULL;
done:
    sm_free(m);
    sm_free(copy);
    close(fd);
    return st;
}

void sm_mapfile_close(sm_mapfile *f) {
    if (f->p) {
        forget(f->p);
        munmap((void *)(uintptr_t)f->p, f->n);
    }
    sm_free(f->path);
    *f = (sm_mapfile){0};
}

bool sm_mapfile_at(const void *p, const char **path, uint64_t *offset) {
    uintptr_t at = (uintptr_t)p;
    pthread_mutex_lock(&mappings_lock);
    const mapping *m = mappings;
    while (m && !(m->from <= at && at < m->to))
        m = m->next;
    if (m) {
        *path = m->path;
        *offset = at - m->from;
    }
    pthread_mutex_unlock(&mappings_lock);
    return m != NULL;
}

void sm_mapfile_release(const void *p, size_t n) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)p, to = from + n;
    uintptr_t a = (from + page - 1) & ~(page - 1), b = to & ~(page - 1);
    if (!p || a >= b)
        return;
    pthread_mutex_lock(&mappings_lock); /* not unmapped in between */
    const mapping *m = mappings;
    while (m && !(m->from <= from && to <= m->to))
        m = m->next;
    if (m)
        madvise((void *)a, b - a, MADV_DONTNEED);
    pthread_mutex_unlock(&mappings_lock);
}

sm_status sm_file_read(const char *path, size_t limit, sm_str *out, sm_err *err) {
    sm_str_clear(out);
    bool from_stdin = strcmp(path, "-") == 0;
    const char *name = from_stdin ? "standard input" : path;
    int fd = from_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return SM_OS_FAIL(err, "open", path);
    sm_status st = SM_OK;
    char buf[16384];
    sm_str_add(out, "", 0); /* terminated, also when the file is empty */
    for (;;) {
        ssize_t k = read(fd, buf, sizeof buf);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0) {
            st = SM_OS_FAIL(err, "read", name);
            break;
        }
        if (k == 0)
            break;
        if ((size_t)k > limit - out->n) {
            st = SM_FAIL(err, SM_BADINPUT, "'%s' is too large: wanted at most %zu bytes", name, limit);
            break;
        }
        sm_str_add(out, buf, (size_t)k);
        if (!sm_str_ok(out))
            break;
    }
    if (st == SM_OK && !sm_str_ok(out))
        st = SM_NOMEM(err);
    if (!from_stdin)
        close(fd);
    if (st != SM_OK)
        sm_str_clear(out);
    return st;
}

/* ---- paths ----------------------------------------------------------------------------------------------------- */

bool sm_path_is_dir(const char *path) {
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

bool sm_path_exists(const char *path) {
    struct stat s;
    return stat(path, &s) == 0;
}

char *sm_path_join(const char *dir, const char *name) {
    size_t d = strlen(dir), n = strlen(name);
    bool slash = d > 0 && dir[d - 1] != '/';
    char *p = sm_alloc(d + n + 2);
    if (!p)
        return NULL;
    memcpy(p, dir, d);
    if (slash)
        p[d++] = '/';
    memcpy(p + d, name, n + 1);
    return p;
}

const char *sm_path_base(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

const char *sm_path_ext(const char *path) {
    const char *base = sm_path_base(path), *dot = strrchr(base, '.');
    return dot && dot != base ? dot : "";
}

char *sm_path_dir(const char *path) {
    const char *base = sm_path_base(path);
    size_t n = (size_t)(base - path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    char *dir = sm_alloc(n ? n + 1 : 2);
    if (!dir)
        return NULL;
    memcpy(dir, n ? path : ".", n ? n : 1);
    return dir;
}
