/* SPDX-License-Identifier: MIT
 *
 * inspect_hash.c: the report's hashes.
 *
 * A package's program is part of what it holds: the text form of its functions, sorted by name, is hashed after the
 * constants.
 */
#include <string.h>

#include "base/files.h"
#include "job/hash.h"
#include "job/inspect_int.h"

sm_status ins_hash_content(sm_report *r, sm_err *err) {
    sm_named_tensor *list = sm_alloc_n(r->n_tensors + 1, sizeof *list);
    sm_sv more = {"", 0};
    if (!list)
        return SM_NOMEM(err);
    for (size_t i = 0; i < r->n_tensors; i++)
        list[i] = (sm_named_tensor){r->tensors[i].name, r->tensors[i].t};
    if (r->l->pkg)
        more = (sm_sv){sm_str_z(&r->graph), r->graph.n};
    sm_status st = sm_hash_content(list, r->n_tensors, more, r->o->n_threads, r->o->progress, r->content_hash, err);
    sm_free(list);
    return st;
}

sm_status ins_hash_files(sm_report *r, sm_err *err) {
    sm_progress bar = {.last_us = -1}; /* shows nothing */
    uint64_t total = 0;
    sm_status st = SM_OK;
    for (size_t i = 0; i < r->files.n; i++)
        total += r->files.v[i].bytes;
    if (r->o->progress)
        sm_progress_start(&bar, "sha256", "B", total);
    for (size_t i = 0; i < r->files.n && st == SM_OK; i++) {
        ins_file *f = &r->files.v[i];
        bool inside = sm_path_is_dir(r->path);
        char *full = inside ? sm_path_join(r->path, f->path) : NULL;
        st = inside && !full ? SM_NOMEM(err) : sm_hash_file(inside ? full : f->path, &bar, f->sha256, err);
        sm_free(full);
    }
    sm_progress_end(&bar);
    return st;
}
