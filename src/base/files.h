/* SPDX-License-Identifier: MIT
 *
 * files.h: mapped input files, outputs that appear whole or not at all.
 *
 * A mapping is read-only and refcounted by its owner alone (one free).  Outputs are written beside their place under
 * a hidden temporary name and renamed when finished; sm_out_abandon (or a killed run) leaves the old state, and a
 * temporary left behind by a killed run is removed by the next run that writes the same name.
 */
#ifndef SM_FILES_H
#define SM_FILES_H

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"

typedef struct sm_mapfile {
    const uint8_t *p; /* NULL for an empty file */
    size_t n;
    char *path; /* owned copy, for messages */
} sm_mapfile;
sm_status sm_mapfile_open(const char *path, sm_mapfile *out, sm_err *err); /* regular files only */
void sm_mapfile_close(sm_mapfile *f);                                      /* safe on a zeroed struct */
/* The file that a byte of an open mapping comes from, and its place there; false for other memory.  The path lives as
 * long as the mapping. */
bool sm_mapfile_at(const void *p, const char **path, uint64_t *offset);
/* Tells the OS that these bytes will not be read again soon: resident pages go back.  Any range, rounded inwards;
 * what does not lie in an open mapping (heap memory, which would be lost) is left alone. */
void sm_mapfile_release(const void *p, size_t n);

/* Whole small file into memory (terminated by a NUL not counted in n); path "-" reads stdin.  Limit in bytes. */
sm_status sm_file_read(const char *path, size_t limit, sm_str *out, sm_err *err);
bool sm_path_is_dir(const char *path);
bool sm_path_exists(const char *path);
/* dir/name in a heap string; free with sm_free. */
char *sm_path_join(const char *dir, const char *name);
const char *sm_path_base(const char *path); /* part after the last '/' (trailing slashes are the caller's) */
const char *sm_path_ext(const char *path);  /* ".gguf", or "" */

/* One output file.  Writes go anywhere (pwrite), from any thread; size grows as needed; the disk works behind them.  A
 * device or pipe (/dev/stdout) is written straight, in order; a symbolic link means the file behind it. */
typedef struct sm_outfile sm_outfile;
sm_status sm_outfile_new(const char *path, sm_outfile **out, sm_err *err);
sm_status sm_outfile_write(sm_outfile *f, uint64_t offset, const void *p, size_t n, sm_err *err);
sm_status sm_outfile_append(sm_outfile *f, const void *p, size_t n, sm_err *err); /* at the highest offset so far */
uint64_t sm_outfile_size(const sm_outfile *f);
sm_status sm_outfile_commit(sm_outfile **f, sm_err *err); /* fsync, rename into place, free */
void sm_outfile_abandon(sm_outfile **f);                  /* unlink, free; NULL-safe */

/* One output directory, filled under a temporary name.  An existing directory at the place is replaced only if it
 * is empty or `replace_marker` names a file inside it (e.g. "Manifest.json"), so that a typo never deletes somebody's
 * folder.  `rel` names with ".." or a leading "/" are refused. */
typedef struct sm_outdir sm_outdir;
sm_status sm_outdir_new(const char *path, const char *replace_marker, sm_outdir **out, sm_err *err);
const char *sm_outdir_path(const sm_outdir *d);                        /* where to write now */
sm_status sm_outdir_mkdir(sm_outdir *d, const char *rel, sm_err *err); /* with parents */
sm_status sm_outdir_file(sm_outdir *d, const char *rel, sm_outfile **out,
                         sm_err *err); /* file in it, not renamed alone */
sm_status sm_outdir_commit(sm_outdir **d, sm_err *err);
void sm_outdir_abandon(sm_outdir **d); /* removes the tree; NULL-safe */

#endif
