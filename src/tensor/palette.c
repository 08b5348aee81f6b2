/* SPDX-License-Identifier: MIT
 *
 * palette.c: tables from histograms of weights, codes from tables (palette.h).
 *
 *     weights of one table, a chunk of rows at a time -> bins     (threads share a large table by chunks)
 *     bins -> numbers with masses -> clusters -> entries          (threads share many tables by tables)
 */
#include "tensor/palette.h"

#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/files.h"
#include "base/log.h"
#include "base/str.h"
#include "tensor/dtype_int.h"
#include "tensor/enc_int.h"
#include "tensor/kmeans.h"
#include "tensor/palette_hist.h"
#include "tensor/palette_loops.h"

enum {
    KEYS = SM_HIST_KEYS,
    READ = 1 << 13,   /* weights decoded at a time */
    CHUNK = 1 << 17,  /* weights of a shared table that a thread takes at a time */
    SHARED = 1 << 20, /* weights from which on a table is filled by all threads, however many tables there are */
    RELEASE = 256,    /* tables whose source is given back together */
    ROUNDS = 16,      /* of moving rounded entries */
    ENTRIES_MAX = 256,
    BATCH = 256,  /* weights in vector code at a time */
    COMPARED = 4, /* entries of a table up to which weights are compared with edges, whatever they are */
};

/* ------------------------------------------------------------------ entries */

typedef struct fitter {
    sm_hist *h;
    sm_kmeans *km;
    double *mass, *sum; /* KEYS + 1: prefix sums, sums about `middle` */
    uint32_t n;
    double middle;
} fitter;

typedef struct square_sums {
    double off, all;
} square_sums;

static void fitter_free(fitter *f) {
    sm_hist_free(&f->h);
    sm_kmeans_free(&f->km);
    sm_free(f->mass);
    sm_free(f->sum);
}

static sm_status fitter_new(fitter *f, sm_err *err) {
    memset(f, 0, sizeof *f);
    f->mass = sm_realloc(NULL, (KEYS + 1) * sizeof *f->mass); /* not zeroed: what is used becomes resident */
    f->sum = sm_realloc(NULL, (KEYS + 1) * sizeof *f->sum);
    if (f->mass == NULL || f->sum == NULL)
        return SM_NOMEM(err);
    SM_TRY(sm_hist_new(&f->h, err));
    return sm_kmeans_new(KEYS, &f->km, err);
}

/* Mean of the numbers (from, to]. */
static double mean_of(const fitter *f, uint32_t from, uint32_t to) {
    return f->middle + (f->sum[to] - f->sum[from]) / (f->mass[to] - f->mass[from]);
}

/* Number i lies above v, which is about the middle. */
static inline bool is_above(const fitter *f, uint32_t i, double v) {
    return f->sum[i + 1] - f->sum[i] > v * (f->mass[i + 1] - f->mass[i]);
}

/* What entries cost, up to what every table costs: sum over numbers of mass * (e^2 - 2 e v).  ends[c]: about where the
 * numbers end that are nearest to entry c, then one past the last. */
static double cost_of(const fitter *f, const float *entry, int k, uint32_t *ends) {
    double cost = 0.0;
    uint32_t from = 0;
    for (int c = 0; c < k; c++) {
        uint32_t at = SM_MAX(ends[c], from); /* numbers ascend */
        double e = (double)entry[c] - f->middle;
        double edge = c + 1 < k ? 0.5 * (e + ((double)entry[c + 1] - f->middle)) : INFINITY;
        if (c + 1 == k)
            at = f->n;
        while (at < f->n && !is_above(f, at, edge))
            at++;
        while (c + 1 < k && at > from && is_above(f, at - 1, edge))
            at--;
        cost += e * (e * (f->mass[at] - f->mass[from]) - 2.0 * (f->sum[at] - f->sum[from]));
        ends[c] = from = at;
    }
    return cost;
}

/* Entries to the means of what is nearest to them, rounded, while that gains; returns what they cost. */
static double move_entries(fitter *f, int k, sm_dtype aux, int fixed, uint32_t *ends, float *entry) {
    float next[ENTRIES_MAX];
    double cost = cost_of(f, entry, k, ends);
    for (int round = 0; round < ROUNDS; round++) {
        uint32_t next_ends[ENTRIES_MAX];
        memcpy(next_ends, ends, (size_t)k * sizeof *ends);
        for (int c = 0; c < k; c++) {
            uint32_t from = c == 0 ? 0 : ends[c - 1];
            next[c] = ends[c] == from || c == fixed ? entry[c] : sm_enc_fit(aux, (float)mean_of(f, from, ends[c]));
        }
        double now = cost_of(f, next, k, next_ends);
        if (!(now < cost))
            break;
        cost = now;
        memcpy(entry, next, (size_t)k * sizeof *entry);
        memcpy(ends, next_ends, (size_t)k * sizeof *ends);
    }
    return cost;
}

/* Sums of squares of the numbers, and of what they are off entries that cost so much. */
static square_sums squares(const fitter *f, double cost) {
    double about = 0.0;
    for (uint32_t i = 0; i < f->n; i++) {
        double s = f->sum[i + 1] - f->sum[i];
        about += s * s / (f->mass[i + 1] - f->mass[i]);
    }
    return (square_sums){fmax(about + cost, 0.0), about + f->middle * f->middle * f->mass[f->n]};
}

/* The table of the histogram's weights, which leave it.  q: NULL, or what it is off. */
static void fit_entries(fitter *f, int n_entries, sm_dtype aux, bool with_zero, float scale, float *entry,
                        square_sums *q) {
    uint32_t ends[ENTRIES_MAX];
    int k = 0, fixed = -1;
    f->n = sm_hist_take(f->h, f->mass, f->sum, &f->middle);
    if (f->n > 0)
        k = sm_kmeans_split(f->km, f->mass, f->sum, f->n, n_entries, ends);
    for (int c = 0; c < k; c++)
        entry[c] = sm_enc_fit(aux, (float)mean_of(f, c == 0 ? 0 : ends[c - 1], ends[c]));
    if (with_zero && k > 0) {
        fixed = 0;
        for (int c = 1; c < k; c++)
            fixed = fabsf(entry[c]) < fabsf(entry[fixed]) ? c : fixed;
        entry[fixed] = 0.0f;
    }
    double cost = k > 0 ? move_entries(f, k, aux, fixed, ends, entry) : 0.0;
    if (q != NULL)
        *q = squares(f, cost);
    for (int c = 0; c < k; c++)
        entry[c] /= scale;
    for (int c = k; c < n_entries; c++)
        entry[c] = k > 0 ? entry[k - 1] : 0.0f;
}

sm_status sm_palette_fit_values(const float *x, size_t n, int entries, sm_dtype aux, bool with_zero, float *table,
                                sm_err *err) {
    fitter f;
    sm_status st = fitter_new(&f, err);
    float most = 0.0f, scale = 1.0f;
    for (size_t i = 0; aux == SM_FP32 && i < n; i++)
        most = isfinite(x[i]) && fabsf(x[i]) > most ? fabsf(x[i]) : most;
    if (most > 0.0f)
        scale = ldexpf(1.0f, SM_MIN(14 - ilogbf(most), 126));
    if (st == SM_OK) {
        sm_hist_add(f.h, x, n, scale);
        st = sm_hist_state(f.h);
        if (st == SM_RESOURCE)
            SM_NOMEM(err);
        else if (st != SM_OK)
            st = SM_FAIL(err, SM_BADINPUT, "among %zu weights are some that no table can hold", n);
        else
            fit_entries(&f, entries, aux, with_zero, scale, table, NULL);
    }
    fitter_free(&f);
    return st;
}

/* ------------------------------------------------------------------ tables of a tensor */

/* A tensor as rows, its tables as a grid. */
typedef struct grid {
    sm_tensor t;
    int64_t cols, rows;
    int64_t down, across; /* rows and columns of one table */
    int64_t n_down, n_across;
    int entries;
} grid;

static grid grid_of(const sm_tensor *src, const sm_encoding *want) {
    grid g = {.t = *src, .entries = 1 << sm_dtype_bits(want->code)};
    int r = g.t.rank;
    int64_t below = 1; /* rows of one step of axis 0 */
    g.cols = sm_tensor_cols(&g.t);
    g.rows = (int64_t)sm_tensor_rows(&g.t);
    for (int a = 1; a < r - 1; a++)
        below *= g.t.dims[a];
    g.across = r == 0 ? 1 : want->block[r - 1];
    g.down = r < 2 ? 1 : want->block[0] * below;
    g.n_across = g.across > 0 ? g.cols / g.across : 0;
    g.n_down = g.down > 0 ? g.rows / g.down : 0;
    return g;
}

sm_status sm_palette_check(const sm_tensor *src, const sm_encoding *want, sm_err *err) {
    grid g = grid_of(src, want);
    if (want->vec > 1 || want->sc != SM_NONE)
        return SM_FAIL(err, SM_UNSUPPORTED, "tables of vectors, or with a scale, are read, not made");
    if (want->aux != SM_FP16 && want->aux != SM_FP32)
        return SM_FAIL(err, SM_UNSUPPORTED, "tables are fitted in fp16 or fp32, not in %s", sm_dtype_name(want->aux));
    for (int a = 1; a < g.t.rank - 1; a++)
        if (want->block[a] != src->dims[a])
            return SM_FAIL(err, SM_UNSUPPORTED, "axis %d: tables are fitted to groups of axis 0 or of the last axis",
                           a);
    return SM_OK;
}

typedef struct job {
    const grid *g;
    const sm_encoding *want;
    uint8_t *lut;         /* NULL: tables are only measured */
    square_sums *squares; /* of each of n, or NULL */
    int64_t n, stride;    /* tables to make: 0, stride, 2 * stride.. */
    fitter *fit;          /* per thread */
    float *rows;          /* per thread: rows of g->t */
    size_t step;          /* rows decoded at a time */
    size_t chunk;         /* rows of a shared table that a thread takes at a time */
    float scale;
    atomic_llong next;
    atomic_uint most;                 /* bits of the largest finite magnitude */
    atomic_int state;                 /* SM_OK, or the worst that a histogram said */
    int64_t table_down, table_across; /* the one that all threads fill */
} job;

/* Rows [from, to) of the tables' column `across` into a histogram. */
static void read_rows(job *j, int64_t from, int64_t to, int64_t across, float *rows, sm_hist *h) {
    const grid *g = j->g;
    for (int64_t r = from; r < to; r += (int64_t)j->step) {
        int64_t n = SM_MIN((int64_t)j->step, to - r);
        sm_decode_rows(&g->t, (uint64_t)r, (uint64_t)n, rows);
        if (g->n_across == 1) {
            sm_hist_add(h, rows, (size_t)(n * g->cols), j->scale);
            continue;
        }
        for (int64_t i = 0; i < n; i++)
            sm_hist_add(h, rows + i * g->cols + across * g->across, (size_t)g->across, j->scale);
    }
}

static void put_table(const job *j, fitter *f, int64_t table) {
    float entry[ENTRIES_MAX];
    int n = j->g->entries;
    fit_entries(f, n, j->want->aux, false, j->scale, entry, j->squares == NULL ? NULL : &j->squares[table / j->stride]);
    for (int c = 0; c < n && j->lut != NULL; c++)
        sm_enc_put(j->want->aux, j->lut, (uint64_t)table * (uint64_t)n + (uint64_t)c, entry[c]);
}

/* Source pages of tables [from, to) go back to the file: by and large they were read. */
static void release_tables(const grid *g, int64_t from, int64_t to) {
    sm_bytes data = g->t.part[SM_PART_DATA];
    size_t per_row = data.n / (size_t)g->rows;
    int64_t a = from / g->n_across * g->down, b = to / g->n_across * g->down;
    sm_mapfile_release(data.p + (size_t)a * per_row, (size_t)(b - a) * per_row);
}

static void note(job *j, sm_status st) {
    int was = atomic_load(&j->state);
    while (st < was && !atomic_compare_exchange_weak(&j->state, &was, st))
        ;
}

/* Many tables: each by one thread. */
static void fit_tables(void *ctx, int ith, int nth) {
    job *j = ctx;
    const grid *g = j->g;
    fitter *f = &j->fit[ith];
    (void)nth;
    for (;;) {
        int64_t at = atomic_fetch_add_explicit(&j->next, 1, memory_order_relaxed) * j->stride;
        if (at >= j->n * j->stride || sm_cancelled())
            return;
        int64_t row = at / g->n_across * g->down;
        read_rows(j, row, row + g->down, at % g->n_across, j->rows + (size_t)ith * j->step * (size_t)g->cols, f->h);
        note(j, sm_hist_state(f->h));
        put_table(j, f, at);
        if (j->stride == 1 && at % RELEASE == 0 && at >= 2 * RELEASE)
            release_tables(g, at - 2 * RELEASE, at - RELEASE);
    }
}

/* One table: chunks of its rows by all threads. */
static void fill_table(void *ctx, int ith, int nth) {
    job *j = ctx;
    const grid *g = j->g;
    int64_t row0 = j->table_down * g->down;
    sm_bytes data = g->t.part[SM_PART_DATA];
    size_t row_bytes = data.n / (size_t)g->rows;
    (void)nth;
    for (;;) {
        int64_t from = atomic_fetch_add_explicit(&j->next, 1, memory_order_relaxed) * (int64_t)j->chunk;
        if (from >= g->down || sm_cancelled())
            return;
        int64_t to = SM_MIN(from + (int64_t)j->chunk, g->down);
        read_rows(j, row0 + from, row0 + to, j->table_across, j->rows + (size_t)ith * j->step * (size_t)g->cols,
                  j->fit[ith].h);
        if (g->t.deinterleave == 0)
            sm_mapfile_release(data.p + (size_t)(row0 + from) * row_bytes, (size_t)(to - from) * row_bytes);
    }
}

static void run(sm_pool *pool, void (*fn)(void *, int, int), job *j) {
    atomic_store(&j->next, 0);
    if (pool == NULL)
        fn(j, 0, 1);
    else
        sm_pool_run(pool, fn, j);
}

static void fit_shared(job *j, sm_pool *pool, int n_threads) {
    const grid *g = j->g;
    for (int64_t at = 0; at < j->n * j->stride && !sm_cancelled(); at += j->stride) {
        j->table_down = at / g->n_across;
        j->table_across = at % g->n_across;
        run(pool, fill_table, j);
        for (int i = 1; i < n_threads; i++)
            sm_hist_merge(j->fit[0].h, j->fit[i].h);
        note(j, sm_hist_state(j->fit[0].h));
        put_table(j, &j->fit[0], at);
    }
}

/* The first weight that no table holds. */
static sm_status bad_weight(const job *j, sm_err *err) {
    const grid *g = j->g;
    for (int64_t r = 0; r < g->rows; r++) {
        sm_decode_rows(&g->t, (uint64_t)r, 1, j->rows);
        for (int64_t c = 0; c < g->cols; c++) {
            float v = j->rows[c];
            if (isfinite(f16_to_f32(f32_to_f16(v * j->scale))))
                continue;
            if (isfinite(v))
                return SM_FAIL(err, SM_BADINPUT, "row %" PRId64 ", column %" PRId64 ": %g is beyond what %s holds", r,
                               c, (double)v, sm_dtype_name(j->want->aux));
            return SM_FAIL(err, SM_BADINPUT, "row %" PRId64 ", column %" PRId64 ": wanted a finite weight, found %s", r,
                           c, isnan(v) ? "nan" : "inf");
        }
    }
    return SM_OK;
}

/* The largest finite magnitude of chunks of rows; as bits, magnitudes ascend. */
static void find_most(void *ctx, int ith, int nth) {
    job *j = ctx;
    const grid *g = j->g;
    float *rows = j->rows + (size_t)ith * j->step * (size_t)g->cols;
    (void)nth;
    for (;;) {
        int64_t from = atomic_fetch_add_explicit(&j->next, 1, memory_order_relaxed) * (int64_t)j->step;
        uint32_t most = 0, seen = atomic_load(&j->most);
        if (from >= g->rows || sm_cancelled())
            return;
        int64_t n = SM_MIN((int64_t)j->step, g->rows - from);
        sm_decode_rows(&g->t, (uint64_t)from, (uint64_t)n, rows);
        for (int64_t i = 0; i < n * g->cols; i++) {
            uint32_t mag = f32_bits(rows[i]) & 0x7FFFFFFF;
            most = mag < 0x7F800000u && mag > most ? mag : most;
        }
        while (most > seen && !atomic_compare_exchange_weak(&j->most, &seen, most))
            ;
    }
}

/* The power of two that brings the largest weight below 2^15, for tables that are finer than fp16. */
static float scale_for(job *j, sm_pool *pool) {
    if (j->want->aux == SM_FP16)
        return 1.0f;
    run(pool, find_most, j);
    float most = f32_of_bits(atomic_load(&j->most));
    return most > 0.0f ? ldexpf(1.0f, SM_MIN(14 - ilogbf(most), 126)) : 1.0f;
}

/* Fits at most `most` tables, evenly apart; 0: all. */
static sm_status fit(const sm_tensor *src, const sm_encoding *want, int64_t most, sm_pool *pool, uint8_t *lut,
                     square_sums *sums, sm_err *err) {
    sm_tensor longer = *src; /* without trailing axes of extent 1: rows as long as can be */
    while (longer.rank > 2 && longer.dims[longer.rank - 1] == 1 && sm_enc_row_of(src->enc.id)->kind != SM_KIND_BLOCK)
        longer.rank--;
    grid g = grid_of(&longer, want);
    job j = {.g = &g, .want = want, .lut = lut, .n = g.n_down * g.n_across, .stride = 1};
    int n_threads = pool == NULL ? 1 : sm_pool_size(pool);
    sm_status st = sm_palette_check(src, want, err);
    if (st != SM_OK || sm_tensor_numel(src) == 0)
        return st;
    if (most > 0 && j.n > most) {
        j.stride = (j.n + most - 1) / most;
        j.n = (j.n + j.stride - 1) / j.stride;
    }
    j.step = (size_t)SM_MAX((int64_t)READ / g.cols, (int64_t)1);
    j.chunk = (size_t)SM_MAX((int64_t)CHUNK / g.cols, (int64_t)1);
    j.rows = sm_alloc_n(j.step * (size_t)g.cols, sizeof(float) * (size_t)n_threads);
    j.fit = sm_alloc_n((size_t)n_threads, sizeof *j.fit);
    if (sums != NULL)
        j.squares = sm_alloc_n((size_t)j.n, sizeof *j.squares);
    if (j.rows == NULL || j.fit == NULL || (sums != NULL && j.squares == NULL))
        SM_TRY_DONE(SM_NOMEM(err));
    for (int i = 0; i < n_threads; i++)
        SM_TRY_DONE(fitter_new(&j.fit[i], err));
    j.scale = scale_for(&j, pool);
    int64_t each = g.down * g.across, few = each >= 2 * CHUNK ? n_threads : 0;
    if (each >= SHARED || j.n < few)
        fit_shared(&j, pool, n_threads);
    else
        run(pool, fit_tables, &j);
    if (sm_cancelled())
        st = SM_FAIL(err, SM_CANCELLED, "cancelled");
    else if (atomic_load(&j.state) == SM_RESOURCE)
        st = SM_NOMEM(err);
    else if (atomic_load(&j.state) != SM_OK)
        st = bad_weight(&j, err);
    for (int64_t i = 0; i < j.n && sums != NULL; i++) {
        sums->off += j.squares[i].off;
        sums->all += j.squares[i].all;
    }
done:
    for (int i = 0; i < n_threads && j.fit != NULL; i++)
        fitter_free(&j.fit[i]);
    sm_free(j.fit);
    sm_free(j.squares);
    sm_free(j.rows);
    if (st != SM_OK)
        sm_err_prefix(err, "tensor %s", sm_quote(src->name.p, src->name.n));
    return st;
}

sm_status sm_palette_fit(const sm_tensor *src, const sm_encoding *want, sm_pool *pool, uint8_t *lut, sm_err *err) {
    return fit(src, want, 0, pool, lut, NULL, err);
}

sm_status sm_palette_error(const sm_tensor *src, const sm_encoding *want, int64_t most, sm_pool *pool, double *nmse,
                           sm_err *err) {
    square_sums sums = {0};
    sm_status st = fit(src, want, most, pool, NULL, &sums, err);
    *nmse = sums.all > 0.0 ? sums.off / sums.all : 0.0;
    return st;
}

/* ------------------------------------------------------------------ codes */

struct sm_palette_room {
    float entry[ENTRIES_MAX], edge[ENTRIES_MAX]; /* weights above edge[c] are nearer to c + 1 */
    uint8_t code[KEYS];                          /* of the fp16 number of a key */
    uint8_t least[KEYS];                         /* of the least f32 that rounds to a key */
    int n;
    const uint8_t *lut; /* whose `table` is open */
    int64_t table;
};

sm_status sm_palette_room_new(sm_palette_room **out, sm_err *err) {
    *out = sm_alloc(sizeof **out);
    return *out == NULL ? SM_NOMEM(err) : SM_OK;
}

void sm_palette_room_free(sm_palette_room **r) {
    sm_free(*r);
    *r = NULL;
}

static void load_table(const sm_encoding *want, const uint8_t *lut, int64_t table, int n, float *entry) {
    for (int c = 0; c < n; c++)
        entry[c] = (float)sm_elem_get(want->aux, lut, (uint64_t)table * (uint64_t)n + (uint64_t)c);
}

/* Codes up to a key, from where the last one ended. */
static uint32_t codes_up_to(uint8_t *codes, uint32_t from, uint32_t end, int c) {
    if (end <= from)
        return from;
    memset(codes + from, c, end - from);
    return end;
}

/* Numbers at the key of an edge are on either side of it: the fp16 number itself is looked at here, others one by one. */
static void open_table(sm_palette_room *r, const sm_encoding *want, const uint8_t *lut, int64_t table, int n) {
    uint32_t from = 0, least_from = 0, key;
    int32_t off;
    if (r->lut == lut && r->table == table)
        return;
    load_table(want, lut, table, n, r->entry);
    r->n = n;
    r->lut = lut;
    r->table = table;
    for (int c = 0; c + 1 < n; c++)
        r->edge[c] = (float)(0.5 * ((double)r->entry[c] + (double)r->entry[c + 1]));
    r->edge[n - 1] = INFINITY;
    if (n <= COMPARED)
        return;
    for (int c = 0; c + 1 < n; c++) {
        sm_palette_loops_c()->bins(&r->edge[c], 1, 1.0f, &key, &off);
        uint16_t half = (uint16_t)(key >= 0x8000 ? key - 0x8000 : 0x8000 | (0x8000 - key));
        from = codes_up_to(r->code, from, key + (f16_to_f32(half) <= r->edge[c]), c);
        if (n > SM_PALETTE_FEW)
            least_from = codes_up_to(r->least, least_from, key + 1u, c);
    }
    memset(r->code + from, n - 1, KEYS - from);
    if (n > SM_PALETTE_FEW)
        memset(r->least + least_from, n - 1, KEYS - least_from);
}

static void codes_of(sm_palette_room *r, const float *x, size_t n, uint8_t *codes) {
    const sm_palette_loops *l = sm_palette_loops_best();
    uint16_t whole[BATCH];
    uint32_t key[BATCH];
    int32_t off[BATCH];
    if (r->n <= COMPARED) {
        l->count(x, n, r->edge, r->n - 1, codes);
        return;
    }
    for (size_t from = 0, len; from < n; from += len) {
        len = SM_MIN(n - from, (size_t)BATCH);
        if (l->keys(x + from, len, 1.0f, whole)) {
            for (size_t i = 0; i < len; i++)
                codes[from + i] = r->code[whole[i]];
            continue;
        }
        if (r->n <= SM_PALETTE_FEW) {
            l->count(x + from, len, r->edge, r->n - 1, codes + from);
            continue;
        }
        l->bins(x + from, len, 1.0f, key, off);
        for (size_t i = 0; i < len; i++) {
            uint8_t c = r->least[key[i]];
            while (x[from + i] > r->edge[c])
                c++;
            codes[from + i] = c;
        }
    }
}

/* Of rows [row, row + n), those and their columns that share a table: tables across, then down. */
typedef struct piece {
    int64_t table, row, n; /* rows, counted from the first one */
    int64_t col, cols;
} piece;

static bool next_piece(const grid *g, uint64_t row, uint64_t n, piece *p) {
    int64_t end = (int64_t)(row + n), at = (int64_t)row + p->row;
    if (p->n > 0 && p->col + p->cols < g->cols) {
        p->col += p->cols;
        p->table++;
        return true;
    }
    at += p->n;
    if (at >= end)
        return false;
    int64_t down = at / g->down;
    *p = (piece){down * g->n_across, at - (int64_t)row, SM_MIN((down + 1) * g->down, end) - at, 0, g->across};
    return true;
}

void sm_palette_codes(const sm_tensor *src, const sm_encoding *want, const uint8_t *lut, uint64_t row, uint64_t n,
                      const float *x, uint8_t *codes, sm_palette_room *r) {
    grid g = grid_of(src, want);
    piece p = {0};
    while (next_piece(&g, row, n, &p)) {
        int64_t at = p.row * g.cols + p.col, runs = g.n_across == 1 ? 1 : p.n;
        open_table(r, want, lut, p.table, g.entries);
        for (int64_t i = 0; i < runs; i++, at += g.cols)
            codes_of(r, x + at, (size_t)(p.n * p.cols / runs), codes + at);
    }
}

void sm_palette_values(const sm_tensor *src, const sm_encoding *want, const uint8_t *lut, uint64_t row, uint64_t n,
                       const uint8_t *codes, float *out) {
    grid g = grid_of(src, want);
    float entry[ENTRIES_MAX];
    piece p = {0};
    while (next_piece(&g, row, n, &p)) {
        load_table(want, lut, p.table, g.entries, entry);
        for (int64_t i = 0; i < p.n; i++) {
            int64_t at = (p.row + i) * g.cols + p.col;
            for (int64_t k = at; k < at + p.cols; k++)
                out[k] = entry[codes[k]];
        }
    }
}
