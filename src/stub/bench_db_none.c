/* SPDX-License-Identifier: MIT
 *
 * bench_db_none.c: the answer where SQLite is absent: results are not kept, and there are no past ones.
 */
#include "job/bench_int.h"

sm_status bench_db_open(const char *path, bool write, bench_db **out, sm_err *err) {
    (void)path, (void)write;
    *out = NULL;
    SM_FAIL(err, SM_UNSUPPORTED, "past results: this smelt was built without SQLite");
    return sm_err_hint(err, "smelt doctor names the package that brings it");
}

void bench_db_close(bench_db **db) {
    *db = NULL;
}

sm_status bench_db_add(bench_db *db, const sm_bench_run *b, sm_err *err) {
    (void)b;
    return bench_db_open(NULL, true, &db, err);
}

sm_status bench_db_each(bench_db *db, const char *model, sm_status (*fn)(void *ctx, const bench_past *p, sm_err *err),
                        void *ctx, sm_err *err) {
    (void)model, (void)fn, (void)ctx;
    return bench_db_open(NULL, false, &db, err);
}

const char *bench_db_version(void) {
    return NULL;
}
