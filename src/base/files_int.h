/* SPDX-License-Identifier: MIT
 *
 * files_int.h: what files.c, outfile.c and outdir.c share: OS errors, and temporary names.
 *
 * A temporary stands beside its place as `.NAME.smelt-tmp-PID`, locked (flock) while its run lives.  It is stale when
 * its process is gone, or is this one's number from an earlier life, and nobody holds the lock; the lock is what
 * protects a run in another PID namespace that shares the folder.
 */
#ifndef SM_FILES_INT_H
#define SM_FILES_INT_H

#include "base/files.h"

/* Fails with errno's text: "cannot OP 'PATH': ..".  SM_RESOURCE for what is full, else SM_BADINPUT. */
sm_status sm_os_fail(sm_err *err, const char *op, const char *path);
#define SM_OS_FAIL(err, op, path) sm_os_fail((err), (op), (path))

/* The place that an output path means: symbolic links followed, no trailing slash.  Free with sm_free. */
sm_status sm_out_place(const char *path, char **place, sm_err *err);
/* Folder part of a path ("." when it has none).  Free with sm_free; NULL when out of memory. */
char *sm_path_dir(const char *path);
/* The temporary name for a place, in this process.  Free with sm_free; NULL when out of memory. */
char *sm_tmp_name(const char *place);
/* Removes stale temporaries (files or trees) of a place; failures are not errors. */
void sm_tmp_sweep(const char *place);
/* Locks a fresh temporary; a file system without locks is not an error.  False when somebody else holds it. */
bool sm_tmp_lock(int fd);
/* Makes a rename last: fsync of a folder; failures are not errors. */
void sm_dir_sync(const char *dir);
/* Removes a file, or a folder with all that is in it, without following links. */
void sm_tree_remove(const char *path);

/* An output file that is not renamed: inside an sm_outdir, which is renamed whole. */
sm_status sm_outfile_plain(const char *path, sm_outfile **out, sm_err *err);

#endif
