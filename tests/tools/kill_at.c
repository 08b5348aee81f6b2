/* SPDX-License-Identifier: MIT
 *
 * kill_at.c: loaded before the C library (LD_PRELOAD), kills the program at its Nth change of the file system.
 *
 * $KILL_AT is N, from 1.  Changes are the calls below; a write that is the Nth is done by half first, as power cuts and
 * kills leave them.  The program is ended by SIGKILL, so that nothing of it runs after.
 */
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long calls;

static int is_last(void) {
    const char *at = getenv("KILL_AT");
    return at && atomic_fetch_add(&calls, 1) + 1 == strtol(at, NULL, 10);
}

static void count(void) {
    if (is_last())
        kill(getpid(), SIGKILL);
}

#define NEXT(name) __typeof__(&name) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t pwrite(int fd, const void *p, size_t n, off_t at) {
    NEXT(pwrite);
    if (is_last()) {
        (void)!next(fd, p, n / 2, at);
        kill(getpid(), SIGKILL);
    }
    return next(fd, p, n, at);
}

int fsync(int fd) {
    NEXT(fsync);
    count();
    return next(fd);
}

int mkdir(const char *path, mode_t mode) {
    NEXT(mkdir);
    count();
    return next(path, mode);
}

int rename(const char *from, const char *to) {
    NEXT(rename);
    count();
    return next(from, to);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    NEXT(renameat2);
    count();
    return next(from_dir, from, to_dir, to, flags);
}

int unlink(const char *path) {
    NEXT(unlink);
    count();
    return next(path);
}

int remove(const char *path) {
    NEXT(remove);
    count();
    return next(path);
}
