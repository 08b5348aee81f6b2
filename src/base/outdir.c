/* SPDX-License-Identifier: MIT
 *
 * outdir.c: an output directory that appears whole or not at all.
 *
 * It is filled as .NAME.smelt-tmp-PID beside its place.  Replacing a directory swaps the two names in one step where
 * the OS can (Linux RENAME_EXCHANGE, macOS RENAME_SWAP); elsewhere the old one moves aside to .NAME.smelt-old, the new
 * one in, and a run killed between the two is mended by the next run that writes the same name.
 *
 *     place: old   tmp: new   --swap-->   place: new   tmp: old   --remove-->   place: new
 *
 * Owns the temporary tree.  Threads: one at a time per output.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"
#include "base/files_int.h"

struct sm_outdir {
    char *place, *tmp;
    char *marker; /* NULL: nothing may be replaced */
    int lock;     /* descriptor of tmp, holds its lock */
};

static void outdir_free(sm_outdir *d) {
    if (!d)
        return;
    if (d->lock >= 0)
        close(d->lock);
    sm_free(d->place);
    sm_free(d->tmp);
    sm_free(d->marker);
    sm_free(d);
}

static bool is_empty_dir(const char *path) {
    DIR *d = opendir(path);
    if (!d)
        return false;
    bool empty = true;
    for (struct dirent *e; empty && (e = readdir(d));)
        empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
    closedir(d);
    return empty;
}

/* Fails unless the place is free, empty, or holds what the marker says it does. */
static sm_status check_place(const sm_outdir *d, bool *exists, sm_err *err) {
    struct stat s;
    *exists = lstat(d->place, &s) == 0;
    if (!*exists)
        return SM_OK;
    if (!S_ISDIR(s.st_mode)) {
        SM_FAIL(err, SM_BADINPUT, "output '%s' exists and is not a directory", d->place);
        sm_err_hint(err, "name another output, or remove the file");
        return SM_BADINPUT;
    }
    if (is_empty_dir(d->place))
        return SM_OK;
    if (!d->marker)
        return SM_FAIL(err, SM_BADINPUT, "output directory '%s' exists and is not empty", d->place);
    char *marker = sm_path_join(d->place, d->marker);
    if (!marker)
        return SM_NOMEM(err);
    bool ours = sm_path_exists(marker);
    sm_free(marker);
    if (ours)
        return SM_OK;
    (void)SM_FAIL(err, SM_BADINPUT, "output directory '%s' exists and holds no %s, so it is not replaced", d->place,
                  d->marker);
    return err ? sm_err_hint(err, "name another output, or remove the directory") : SM_BADINPUT;
}

/* Where an old directory waits while it is replaced on systems without a swap; NULL when out of memory. */
static char *aside_name(const char *place) {
    sm_str name = SM_STR_INIT;
    char *dir = sm_path_dir(place), *path = NULL;
    sm_str_addf(&name, ".%.220s.smelt-old", sm_path_base(place));
    if (dir && sm_str_ok(&name))
        path = sm_path_join(dir, name.p);
    sm_free(dir);
    sm_str_free(&name);
    return path;
}

/* Mends what a run killed while replacing left: the old directory goes back, or away when the new one is there. */
static void mend_aside(const char *place) {
    char *aside = aside_name(place);
    struct stat s;
    if (aside && lstat(aside, &s) == 0) {
        if (lstat(place, &s) != 0)
            (void)!rename(aside, place);
        else
            sm_tree_remove(aside);
    }
    sm_free(aside);
}

sm_status sm_outdir_new(const char *path, const char *replace_marker, sm_outdir **out, sm_err *err) {
    *out = NULL;
    sm_status st = SM_OK;
    bool exists;
    sm_outdir *d = sm_alloc(sizeof *d);
    if (!d)
        return SM_NOMEM(err);
    d->lock = -1;
    if (replace_marker) {
        d->marker = sm_path_join("", replace_marker);
        if (!d->marker) {
            st = SM_NOMEM(err);
            goto done;
        }
    }
    SM_TRY_DONE(sm_out_place(path, &d->place, err));
    mend_aside(d->place);
    sm_tmp_sweep(d->place);
    SM_TRY_DONE(check_place(d, &exists, err));
    char *tmp = sm_tmp_name(d->place);
    if (!tmp) {
        st = SM_NOMEM(err);
        goto done;
    }
    if (mkdir(tmp, 0777) != 0) {
        st = errno == EEXIST ? SM_FAIL(err, SM_BADINPUT, "output '%s' is already being written", path)
                             : SM_OS_FAIL(err, "create", path);
        sm_free(tmp);
        goto done;
    }
    d->tmp = tmp;
    d->lock = open(tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->lock >= 0)
        sm_tmp_lock(d->lock);
done:
    if (st != SM_OK)
        outdir_free(d);
    else
        *out = d;
    return st;
}

const char *sm_outdir_path(const sm_outdir *d) {
    return d->tmp;
}

/* A name inside the directory: relative, no "..": names may come from an input file. */
static bool is_inside(const char *rel) {
    if (*rel == '\0' || *rel == '/')
        return false;
    for (const char *p = rel; *p;) {
        size_t n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.')
            return false;
        p += n + (p[n] == '/');
    }
    return true;
}

/* Makes the folders on the way to tmp/rel, and the last part too when `last`. */
static sm_status make_dirs(const sm_outdir *d, const char *rel, bool last, sm_err *err) {
    if (!is_inside(rel))
        return SM_FAIL(err, SM_BADINPUT, "output name %s would leave the directory '%s'", sm_quote(rel, strlen(rel)),
                       d->place);
    char *path = sm_path_join(d->tmp, rel);
    if (!path)
        return SM_NOMEM(err);
    sm_status st = SM_OK;
    for (char *p = path + strlen(d->tmp) + 1; st == SM_OK; p++) {
        bool end = *p == '\0';
        if (*p != '/' && !end)
            continue;
        if (end && !last)
            break;
        *p = '\0';
        if (mkdir(path, 0777) != 0 && errno != EEXIST)
            st = SM_OS_FAIL(err, "create", path);
        if (end)
            break;
        *p = '/';
    }
    sm_free(path);
    return st;
}

sm_status sm_outdir_mkdir(sm_outdir *d, const char *rel, sm_err *err) {
    return make_dirs(d, rel, true, err);
}

sm_status sm_outdir_file(sm_outdir *d, const char *rel, sm_outfile **out, sm_err *err) {
    *out = NULL;
    SM_TRY(make_dirs(d, rel, false, err));
    char *path = sm_path_join(d->tmp, rel);
    if (!path)
        return SM_NOMEM(err);
    sm_status st = sm_outfile_plain(path, out, err);
    sm_free(path);
    return st;
}

/* ---- commit ---------------------------------------------------------------------------------------------------- */

static int sync_one(const char *path, const struct stat *s, int kind, struct FTW *where) {
    (void)s;
    (void)where;
    if (kind == FTW_DP)
        sm_dir_sync(path);
    return 0;
}

/* Swaps two names in one step; false when this system or file system cannot. */
static bool swap_names(const char *a, const char *b) {
#if defined(__linux__) && defined(RENAME_EXCHANGE)
    return renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) == 0;
#elif defined(__APPLE__) && defined(RENAME_SWAP)
    return renamex_np(a, b, RENAME_SWAP) == 0;
#else
    (void)a;
    (void)b;
    return false;
#endif
}

/* tmp takes the place of an existing directory. */
static sm_status replace(const sm_outdir *d, sm_err *err) {
    if (swap_names(d->tmp, d->place)) {
        sm_tree_remove(d->tmp);
        return SM_OK;
    }
    char *aside = aside_name(d->place);
    if (!aside)
        return SM_NOMEM(err);
    sm_status st = SM_OK;
    sm_tree_remove(aside);
    if (rename(d->place, aside) != 0) {
        st = SM_OS_FAIL(err, "move aside", d->place);
    } else if (rename(d->tmp, d->place) != 0) {
        st = SM_OS_FAIL(err, "put into place", d->place);
        (void)!rename(aside, d->place);
    } else {
        sm_tree_remove(aside);
    }
    sm_free(aside);
    return st;
}

sm_status sm_outdir_commit(sm_outdir **out, sm_err *err) {
    sm_outdir *d = *out;
    sm_status st;
    bool exists;
    nftw(d->tmp, sync_one, 16, FTW_DEPTH | FTW_PHYS);
    SM_TRY_DONE(check_place(d, &exists, err));
    if (exists)
        SM_TRY_DONE(replace(d, err));
    else if (rename(d->tmp, d->place) != 0)
        st = SM_OS_FAIL(err, "put into place", d->place);
done:
    if (st != SM_OK) {
        sm_outdir_abandon(out);
        return st;
    }
    char *dir = sm_path_dir(d->place);
    if (dir)
        sm_dir_sync(dir);
    sm_free(dir);
    outdir_free(d);
    *out = NULL;
    return SM_OK;
}

void sm_outdir_abandon(sm_outdir **out) {
    if (!out || !*out)
        return;
    sm_tree_remove((*out)->tmp);
    outdir_free(*out);
    *out = NULL;
}
