/* SPDX-License-Identifier: MIT
 *
 * bench_db.c: past runs in an SQLite file.
 *
 *     runs      one row a run: machine, model, settings, limits, load
 *     results   one row a test of it; `seconds` are the repetitions, a JSON array
 *
 * application_id and user_version of the file say that it is ours and how it is laid out; a file of somebody else, a
 * damaged one or one of a later smelt is refused by name and left as it is.  A run is written in one transaction.
 */
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "base/env.h"
#include "base/files.h"
#include "job/bench_int.h"

enum { APP_ID = 0x534d4c42 /* "SMLB" */, LAYOUT = 1, WAIT_MS = 5000 };

struct bench_db {
    sqlite3 *h;
    char *path;
};

static const char SCHEMA[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE runs(id INTEGER PRIMARY KEY, date TEXT NOT NULL, version TEXT NOT NULL, cpu TEXT NOT NULL, os TEXT,"
    " cores INTEGER NOT NULL, model TEXT NOT NULL, file TEXT NOT NULL, file_bytes INTEGER NOT NULL, quantization TEXT,"
    " parameters INTEGER, backend TEXT NOT NULL, kernels TEXT, threads INTEGER NOT NULL, context INTEGER, load_s REAL,"
    " load_to_first_token_s REAL, peak_memory_bytes INTEGER, weight_bytes INTEGER, step_weight_bytes INTEGER,"
    " limit_read_gbps REAL, limit_int8_tops REAL, limit_f32_gflops REAL);"
    "CREATE TABLE results(run INTEGER NOT NULL REFERENCES runs(id), test TEXT NOT NULL, kind TEXT NOT NULL,"
    " tokens INTEGER NOT NULL, depth INTEGER NOT NULL, sequences INTEGER NOT NULL, tps REAL NOT NULL, stddev REAL,"
    " median REAL, best REAL, ttft_ms REAL, bytes_per_token REAL, flops_per_token REAL, gbps REAL, gflops REAL,"
    " roofline REAL, bound TEXT, cache_bytes INTEGER, seconds TEXT);"
    "CREATE INDEX results_run ON results(run);"
    "PRAGMA application_id=1397574722; PRAGMA user_version=1;"
    "COMMIT;";

static sm_status fail(const bench_db *d, const char *what, sm_err *err) {
    /* no error of the library's: memory of ours ended */
    int code = d->h && sqlite3_errcode(d->h) != SQLITE_OK ? sqlite3_errcode(d->h) & 0xff : SQLITE_NOMEM;
    sm_status st = code == SQLITE_NOMEM || code == SQLITE_FULL || code == SQLITE_IOERR || code == SQLITE_BUSY
                       ? SM_RESOURCE
                       : SM_BADINPUT;
    SM_FAIL(err, st, "%s: %s: %s", d->path, what, code == SQLITE_NOMEM ? "out of memory" : sqlite3_errmsg(d->h));
    return sm_err_hint(err, "--db FILE keeps results elsewhere, --no-save nowhere; move the file away to begin anew");
}

/* One number of a statement without parameters. */
static sm_status number(const bench_db *d, const char *sql, int64_t *out, sm_err *err) {
    sqlite3_stmt *s = NULL;
    sm_status st = SM_OK;
    if (sqlite3_prepare_v2(d->h, sql, -1, &s, NULL) != SQLITE_OK || sqlite3_step(s) != SQLITE_ROW)
        st = fail(d, "wanted a database of bench results", err);
    else
        *out = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return st;
}

/* Ours, or empty and then made ours. */
static sm_status check_layout(bench_db *d, bool write, sm_err *err) {
    int64_t app = 0, layout = 0, tables = 0;
    SM_TRY(number(d, "PRAGMA application_id", &app, err));
    SM_TRY(number(d, "PRAGMA user_version", &layout, err));
    SM_TRY(number(d, "SELECT count(*) FROM sqlite_master", &tables, err));
    if (app == 0 && tables == 0 && write) {
        if (sqlite3_exec(d->h, SCHEMA, NULL, NULL, NULL) == SQLITE_OK)
            return SM_OK;
        return fail(d, "no table of results could be made", err);
    }
    if (app != APP_ID) {
        SM_FAIL(err, SM_BADINPUT, "%s: wanted a database of bench results, found one of something else", d->path);
        return sm_err_hint(err, "--db FILE names another file");
    }
    if (layout != LAYOUT) {
        SM_FAIL(err, SM_UNSUPPORTED, "%s: wanted layout %d of the results, found %lld", d->path, LAYOUT,
                (long long)layout);
        return sm_err_hint(err, "another version of smelt wrote it; --db FILE names another file");
    }
    return SM_OK;
}

static char *copy_text(const char *text) {
    size_t n = strlen(text) + 1;
    char *p = sm_alloc(n);
    return p ? memcpy(p, text, n) : NULL;
}

sm_status bench_db_open(const char *path, bool write, bench_db **out, sm_err *err) {
    sm_status st = SM_OK;
    bench_db *d = sm_alloc(sizeof *d);
    *out = NULL;
    if (!d)
        return SM_NOMEM(err);
    d->path = path ? copy_text(path) : sm_env_state_file("bench.db");
    if (!d->path) {
        st = SM_FAIL(err, path ? SM_RESOURCE : SM_BADINPUT, "there is no folder to keep results in");
        sm_err_hint(err, "set HOME or XDG_STATE_HOME, or name a file with --db FILE");
        goto done;
    }
    bool none = !write && !sm_path_exists(d->path);
    if (none && path) {
        st = SM_FAIL(err, SM_BADINPUT, "%s: no such file", d->path);
        sm_err_hint(err, "smelt bench MODEL --db FILE measures and keeps results there");
        goto done;
    }
    write |= none; /* nothing was kept yet in the usual place: an empty history, in memory */
    if (sqlite3_open_v2(none ? ":memory:" : d->path, &d->h,
                        write ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY, NULL) != SQLITE_OK) {
        st = fail(d, "cannot be opened", err);
        goto done;
    }
    sqlite3_busy_timeout(d->h, WAIT_MS);
    SM_TRY_DONE(check_layout(d, write, err));
    *out = d;
    d = NULL;
done:
    bench_db_close(&d);
    return st;
}

void bench_db_close(bench_db **pd) {
    bench_db *d = *pd;
    if (!d)
        return;
    sqlite3_close(d->h);
    sm_free(d->path);
    sm_free(d);
    *pd = NULL;
}

/* ------------------------------------------------------------------ writing */
/* A statement and the number of the value that is bound next. */
typedef struct binder {
    sqlite3_stmt *s;
    int at;
} binder;

static void text(binder *b, const char *v) {
    sqlite3_bind_text(b->s, ++b->at, v, -1, SQLITE_TRANSIENT);
}

static void integer(binder *b, int64_t v) {
    sqlite3_bind_int64(b->s, ++b->at, v);
}

static void real(binder *b, double v) {
    sqlite3_bind_double(b->s, ++b->at, v);
}

static bool add_run(const bench_db *d, const sm_bench_run *r) {
    binder b = {NULL, 0};
    if (sqlite3_prepare_v2(d->h, "INSERT INTO runs VALUES(NULL,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", -1, &b.s,
                           NULL) != SQLITE_OK)
        return false;
    text(&b, r->date), text(&b, SMELT_VERSION), text(&b, r->m.cpu), text(&b, r->m.os);
    integer(&b, r->m.cores), text(&b, r->name), text(&b, r->file), integer(&b, (int64_t)r->l->file_bytes);
    text(&b, r->quant), integer(&b, (int64_t)r->l->info.n_params), text(&b, r->backend), text(&b, r->info.isa);
    integer(&b, r->info.n_threads), integer(&b, r->ctx), real(&b, r->load_s), real(&b, r->first_token_s);
    integer(&b, (int64_t)r->memory_bytes), integer(&b, (int64_t)(r->info.weight_bytes + r->info.mapped_bytes));
    integer(&b, (int64_t)r->info.step_bytes), real(&b, r->peak.read_gbps), real(&b, r->peak.int8_tops);
    real(&b, r->peak.f32_gflops);
    bool ok = sqlite3_step(b.s) == SQLITE_DONE;
    sqlite3_finalize(b.s);
    return ok;
}

static bool add_result(const bench_db *d, int64_t run, const bench_row *r) {
    binder b = {NULL, 0};
    sm_str list = SM_STR_INIT;
    if (sqlite3_prepare_v2(d->h, "INSERT INTO results VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", -1, &b.s, NULL) !=
        SQLITE_OK)
        return false;
    for (int i = 0; i < r->reps; i++)
        sm_str_addf(&list, "%s%.9g", i ? "," : "[", r->seconds[i]);
    sm_str_addc(&list, ']');
    integer(&b, run), text(&b, r->test), text(&b, r->kind == BENCH_PROMPT ? "prompt" : "generation");
    integer(&b, r->tokens), integer(&b, r->depth), integer(&b, r->seqs), real(&b, r->tps.mean), real(&b, r->tps.stddev);
    real(&b, r->tps.median), real(&b, r->tps.best), r->kind == BENCH_PROMPT ? real(&b, r->ttft_s * 1e3) : (void)++b.at;
    real(&b, r->bytes_per_token), real(&b, r->flops_per_token), real(&b, r->gbps), real(&b, r->gflops);
    real(&b, r->roofline), text(&b, r->bound), integer(&b, (int64_t)r->cache_bytes), text(&b, sm_str_z(&list));
    bool ok = sm_str_ok(&list) && sqlite3_step(b.s) == SQLITE_DONE;
    sqlite3_finalize(b.s);
    sm_str_free(&list);
    return ok;
}

sm_status bench_db_add(bench_db *d, const sm_bench_run *b, sm_err *err) {
    bool ok = sqlite3_exec(d->h, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK && add_run(d, b);
    int64_t run = sqlite3_last_insert_rowid(d->h);
    for (int i = 0; ok && i < b->n_rows; i++)
        ok = add_result(d, run, &b->rows[i]);
    if (ok && sqlite3_exec(d->h, "COMMIT", NULL, NULL, NULL) == SQLITE_OK)
        return SM_OK;
    sm_status st = fail(d, "the results could not be kept", err);
    sqlite3_exec(d->h, "ROLLBACK", NULL, NULL, NULL);
    return st;
}

/* ------------------------------------------------------------------ reading */
static const char PAST[] =
    "SELECT * FROM (SELECT r.date, r.cpu, r.kernels, r.model, r.file, r.quantization, r.version, r.backend, s.test,"
    " r.cores, r.threads, s.tps, s.stddev, s.roofline, s.tps / lag(s.tps) OVER (PARTITION BY s.test, r.model,"
    " r.file_bytes, r.quantization, r.cpu, r.cores, r.threads, r.backend ORDER BY r.id)"
    " FROM runs r JOIN results s ON s.run = r.id ORDER BY r.id, s.rowid)"
    " WHERE ?1 IS NULL OR model = ?1 OR file = ?2";

static const char *column(sqlite3_stmt *s, int i) {
    const char *v = (const char *)sqlite3_column_text(s, i);
    return v ? v : "";
}

sm_status bench_db_each(bench_db *d, const char *model, sm_status (*fn)(void *ctx, const bench_past *p, sm_err *err),
                        void *ctx, sm_err *err) {
    binder b = {NULL, 0};
    sm_status st = SM_OK;
    int code = SQLITE_DONE;
    if (sqlite3_prepare_v2(d->h, PAST, -1, &b.s, NULL) != SQLITE_OK)
        return fail(d, "results cannot be read", err);
    if (model)
        text(&b, model), text(&b, sm_path_base(model));
    while (st == SM_OK && (code = sqlite3_step(b.s)) == SQLITE_ROW) {
        bench_past p = {.date = column(b.s, 0),
                        .cpu = column(b.s, 1),
                        .isa = column(b.s, 2),
                        .model = column(b.s, 3),
                        .file = column(b.s, 4),
                        .quant = column(b.s, 5),
                        .version = column(b.s, 6),
                        .backend = column(b.s, 7),
                        .test = column(b.s, 8),
                        .cores = sqlite3_column_int(b.s, 9),
                        .threads = sqlite3_column_int(b.s, 10),
                        .tps = sqlite3_column_double(b.s, 11),
                        .stddev = sqlite3_column_double(b.s, 12),
                        .roofline = sqlite3_column_double(b.s, 13),
                        .ratio = sqlite3_column_double(b.s, 14)};
        st = fn(ctx, &p, err);
    }
    if (st == SM_OK && code != SQLITE_DONE)
        st = fail(d, "results cannot be read", err);
    sqlite3_finalize(b.s);
    return st;
}

const char *bench_db_version(void) {
    return sqlite3_libversion();
}
