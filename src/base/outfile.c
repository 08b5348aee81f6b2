/* SPDX-License-Identifier: MIT
 *
 * outfile.c: an output file that appears whole or not at all, and what temporaries have in common.
 *
 *     new       sweep stale temporaries, create .NAME.smelt-tmp-PID beside the place, lock it
 *     write     pwrite anywhere
 *     commit    fsync, rename over the place, fsync the folder
 *     abandon   unlink
 *
 * A place that is a device or pipe (/dev/stdout) cannot be renamed over: it is written straight, in order.  A place
 * that is a symbolic link means the file behind it, which keeps its permissions.
 *
 * Owns the descriptor and the temporary.  Threads: any may write at offsets; everything else one at a time per output.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"
#include "base/files_int.h"

#define FLUSH_BYTES ((uint64_t)32 << 20)

struct sm_outfile {
    int fd;
    bool direct; /* a device or pipe: no seeking */
    char *place; /* where it goes; for messages when tmp is NULL */
    char *tmp;   /* NULL: written at its place */
    atomic_uint_fast64_t size, unflushed;
};

/* ---- temporaries ----------------------------------------------------------------------------------------------- */

#define TMP_MARK ".smelt-tmp-"

static char *copy_string(const char *s) {
    size_t n = strlen(s) + 1;
    char *p = sm_alloc(n);
    if (p)
        memcpy(p, s, n);
    return p;
}

sm_status sm_out_place(const char *path, char **place, sm_err *err) {
    *place = NULL;
    char *p = copy_string(path);
    if (!p)
        return SM_NOMEM(err);
    for (size_t n = strlen(p); n > 1 && p[n - 1] == '/';)
        p[--n] = '\0';
    struct stat s;
    if (lstat(p, &s) == 0 && S_ISLNK(s.st_mode)) {
        char *real = realpath(p, NULL);
        if (!real) {
            sm_status st = SM_OS_FAIL(err, "follow the link", p);
            sm_free(p);
            return st;
        }
        sm_free(p);
        p = copy_string(real);
        free(real);
        if (!p)
            return SM_NOMEM(err);
    }
    const char *base = sm_path_base(p);
    if (*base == '\0' || strcmp(base, ".") == 0 || strcmp(base, "..") == 0) {
        sm_status st = SM_FAIL(err, SM_BADINPUT, "output '%s' has no name of its own", path);
        sm_free(p);
        return st;
    }
    *place = p;
    return SM_OK;
}

/* ".NAME.smelt-tmp-", with a long name cut so that the whole stays a legal file name. */
static bool tmp_prefix(const char *place, sm_str *out) {
    const char *base = sm_path_base(place);
    sm_str_addc(out, '.');
    sm_str_add(out, base, SM_MIN(strlen(base), (size_t)220));
    sm_str_adds(out, TMP_MARK);
    return sm_str_ok(out);
}

char *sm_tmp_name(const char *place) {
    sm_str name = SM_STR_INIT;
    char *dir = sm_path_dir(place), *path = NULL;
    if (dir && tmp_prefix(place, &name)) {
        sm_str_addf(&name, "%ld", (long)getpid());
        if (sm_str_ok(&name))
            path = sm_path_join(dir, name.p);
    }
    sm_free(dir);
    sm_str_free(&name);
    return path;
}

bool sm_tmp_lock(int fd) {
    return flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

/* Whether nobody is writing the temporary that process `pid` made. */
static bool is_stale(const char *path, long pid) {
    if (pid != (long)getpid() && (kill((pid_t)pid, 0) == 0 || errno != ESRCH))
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    if (fd < 0)
        return errno != ENOENT;
    bool unused = sm_tmp_lock(fd);
    close(fd);
    return unused;
}

void sm_tmp_sweep(const char *place) {
    sm_str prefix = SM_STR_INIT;
    char *dir = sm_path_dir(place);
    DIR *d = dir && tmp_prefix(place, &prefix) ? opendir(dir) : NULL;
    struct dirent *e;
    while (d && (e = readdir(d))) {
        if (strncmp(e->d_name, prefix.p, prefix.n) != 0)
            continue;
        char *end;
        long pid = strtol(e->d_name + prefix.n, &end, 10);
        if (*end || pid <= 0)
            continue;
        char *path = sm_path_join(dir, e->d_name);
        if (path && is_stale(path, pid))
            sm_tree_remove(path);
        sm_free(path);
    }
    if (d)
        closedir(d);
    sm_free(dir);
    sm_str_free(&prefix);
}

void sm_dir_sync(const char *dir) {
    int fd = open(dir, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

static int remove_one(const char *path, const struct stat *s, int kind, struct FTW *where) {
    (void)s;
    (void)kind;
    (void)where;
    remove(path);
    return 0;
}

void sm_tree_remove(const char *path) {
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- output file ----------------------------------------------------------------------------------------------- */

static void outfile_free(sm_outfile *f) {
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    sm_free(f->place);
    sm_free(f->tmp);
    sm_free(f);
}

static sm_outfile *outfile_alloc(void) {
    sm_outfile *f = sm_alloc(sizeof *f);
    if (f)
        f->fd = -1;
    return f;
}

sm_status sm_outfile_plain(const char *path, sm_outfile **out, sm_err *err) {
    *out = NULL;
    sm_outfile *f = outfile_alloc();
    if (!f || !(f->place = copy_string(path))) {
        outfile_free(f);
        return SM_NOMEM(err);
    }
    f->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (f->fd < 0) {
        sm_status st = SM_OS_FAIL(err, "create", path);
        outfile_free(f);
        return st;
    }
    *out = f;
    return SM_OK;
}

sm_status sm_outfile_new(const char *path, sm_outfile **out, sm_err *err) {
    *out = NULL;
    sm_status st = SM_OK;
    sm_outfile *f = outfile_alloc();
    if (!f)
        return SM_NOMEM(err);
    struct stat s;
    bool exists = stat(path, &s) == 0;
    if (exists && S_ISDIR(s.st_mode)) {
        st = SM_FAIL(err, SM_BADINPUT, "output '%s' is a directory, wanted a file name", path);
        goto done;
    }
    if (exists && !S_ISREG(s.st_mode)) {
        f->direct = true;
        f->place = copy_string(path);
        if (!f->place)
            st = SM_NOMEM(err);
        else if ((f->fd = open(path, O_WRONLY | O_CLOEXEC)) < 0)
            st = SM_OS_FAIL(err, "open", path);
        goto done;
    }
    SM_TRY_DONE(sm_out_place(path, &f->place, err));
    sm_tmp_sweep(f->place);
    char *tmp = sm_tmp_name(f->place);
    if (!tmp) {
        st = SM_NOMEM(err);
        goto done;
    }
    f->fd = open(tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (f->fd < 0) {
        st = errno == EEXIST ? SM_FAIL(err, SM_BADINPUT, "output '%s' is already being written", path)
                             : SM_OS_FAIL(err, "create", path);
        sm_free(tmp);
        goto done;
    }
    f->tmp = tmp;
    sm_tmp_lock(f->fd);
    if (exists)
        (void)!fchmod(f->fd, s.st_mode & 07777);
done:
    if (st != SM_OK)
        outfile_free(f);
    else
        *out = f;
    return st;
}

static void raise_size(sm_outfile *f, uint64_t to) {
    uint_fast64_t size = atomic_load(&f->size);
    while (size < to && !atomic_compare_exchange_weak(&f->size, &size, to))
        ;
}

/* Lets the disk work while more is made, instead of at the end: what was written goes out, and whoever is far ahead of
 * the disk waits for what went out before.  So no more than twice this much is dirty, which a limit of memory bears. */
static void flush_behind(sm_outfile *f, size_t n) {
#if defined(__linux__)
    uint_fast64_t before = atomic_fetch_add(&f->unflushed, n);
    if (!f->direct && before / FLUSH_BYTES != (before + n) / FLUSH_BYTES)
        sync_file_range(f->fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE);
#else
    (void)f, (void)n;
#endif
}

sm_status sm_outfile_write(sm_outfile *f, uint64_t offset, const void *p, size_t n, sm_err *err) {
    const char *c = p;
    if (f->direct && offset != f->size)
        return SM_FAIL(err, SM_BADINPUT, "cannot write '%s' out of order: it is a pipe or device", f->place);
    while (n) {
        size_t step = SM_MIN(n, (size_t)1 << 30);
        ssize_t k = f->direct ? write(f->fd, c, step) : pwrite(f->fd, c, step, (off_t)offset);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return SM_OS_FAIL(err, "write", f->place);
        c += k;
        n -= (size_t)k;
        offset += (size_t)k;
        raise_size(f, offset);
        flush_behind(f, (size_t)k);
    }
    return SM_OK;
}

sm_status sm_outfile_append(sm_outfile *f, const void *p, size_t n, sm_err *err) {
    return sm_outfile_write(f, f->size, p, n, err);
}

uint64_t sm_outfile_size(const sm_outfile *f) {
    return f->size;
}

sm_status sm_outfile_commit(sm_outfile **out, sm_err *err) {
    sm_outfile *f = *out;
    if (!f->direct && fsync(f->fd) != 0 && errno != EINVAL && errno != ENOTSUP) {
        sm_status st = SM_OS_FAIL(err, "write", f->place);
        sm_outfile_abandon(out);
        return st;
    }
    if (f->tmp) {
        if (rename(f->tmp, f->place) != 0) {
            sm_status st = SM_OS_FAIL(err, "put into place", f->place);
            sm_outfile_abandon(out);
            return st;
        }
        char *dir = sm_path_dir(f->place);
        if (dir)
            sm_dir_sync(dir);
        sm_free(dir);
    }
    int rc = close(f->fd);
    f->fd = -1;
    sm_status st = rc != 0 && errno != EINTR ? SM_OS_FAIL(err, "write", f->place) : SM_OK;
    outfile_free(f);
    *out = NULL;
    return st;
}

void sm_outfile_abandon(sm_outfile **out) {
    if (!out || !*out)
        return;
    sm_outfile *f = *out;
    if (!f->direct)
        unlink(f->tmp ? f->tmp : f->place);
    outfile_free(f);
    *out = NULL;
}
