/* SPDX-License-Identifier: MIT
 *
 * product.c: steps that multiply rows with weights.
 *
 * Work is handed out in chunks of tiles, so that a slow core takes fewer of them.  Within a chunk a tile stays in L1
 * while a block of rows goes past it.
 */
#include <math.h>

#include "backend/cpu/cpu_int.h"

enum {
    CHUNK_MAX = 32,  /* tiles */
    CHUNK_PARTS = 8, /* chunks a thread should get, at least, for even loads */
    GATED_ROWS = 32,
    GATED_TILES = 4,
};

bool cpu_take(sm_exe *e, const sm_step *s, int chunk, int total, int *from, int *to) {
    int at = atomic_fetch_add_explicit(&e->counters[s - e->steps.v], chunk, memory_order_relaxed);
    *from = at;
    *to = SM_MIN(at + chunk, total);
    return at < total;
}

/* Both terms of rows [row, row + n) times tiles, added. */
static void multiply_coded(const sm_exe *e, const sm_qw *w, int t0, int t1, const sm_step *s, int row, int n,
                           float *out, size_t ldo) {
    float pair[2 * PAIR_ROWS * PAIR_TILES * SM_TILE];
    const size_t ld = PAIR_TILES * SM_TILE, ldx = cpu_term_bytes(e, s->in[1]);
    for (int t = t0; t < t1; t += PAIR_TILES) {
        int end = SM_MIN(t + (int)PAIR_TILES, t1), cols = SM_MIN(end * SM_TILE, w->n) - t * SM_TILE;
        for (int r = 0; r < n; r += PAIR_ROWS) {
            int count = SM_MIN(n - r, (int)PAIR_ROWS);
            float *o = out + (size_t)r * ldo + (t - t0) * SM_TILE;
            sm_qgemm_for(&e->k, w)(w, t, end, cpu_row(e, s->in[1], row + r), ldx, 2 * count, pair, ld);
            for (int i = 0; i < count; i++, o += ldo)
                e->k.add(pair + 2 * (size_t)i * ld, pair + (2 * (size_t)i + 1) * ld, cols, o);
        }
    }
}

/* Rows [row, row + n) of buffers x (f32) and xq (quantized) times tiles of a weight. */
static void multiply(const sm_exe *e, const sm_cpu_weight *w, int t0, int t1, const sm_step *s, int row, int n,
                     float *out, size_t ldo) {
    if (w->p.coded)
        multiply_coded(e, &w->p.u.q, t0, t1, s, row, n, out, ldo);
    else
        e->k.dgemm[w->p.u.d.kind](&w->p.u.d, t0, t1, cpu_row_f32(e, s->in[0], row),
                                  e->bufs.v[s->in[0]].stride / sizeof(float), n, out, ldo);
}

static int chunk_of(int tiles, int nth) {
    int chunk = tiles / (nth * CHUNK_PARTS);
    return chunk < 1 ? 1 : chunk > CHUNK_MAX ? CHUNK_MAX : chunk;
}

/* Bias and cap, while the results are still in cache. */
static void finish(const sm_exe *e, const sm_job *j, float *out, size_t ldo, int col, int n, int rows) {
    for (int r = 0; r < rows; r++, out += ldo) {
        if (j->bias)
            e->k.add(out, j->bias + col, n, out);
        if (j->softcap > 0.0f)
            e->k.softcap(out, n, j->softcap);
    }
}

static void job_tiles(sm_exe *e, const sm_step *s, const sm_job *j, int t0, int t1) {
    const sm_cpu_weight *w = &e->weights.v[j->weight];
    int rows = cpu_n_rows(e, s->rows), col = t0 * SM_TILE, n = SM_MIN(t1 * SM_TILE, w->p.n) - col;
    size_t ldo = e->bufs.v[j->out].stride / sizeof(float);
    for (int r = 0; r < rows; r += ROW_BLOCK) {
        int count = SM_MIN((int)ROW_BLOCK, rows - r);
        float *out = cpu_row_f32(e, j->out, r) + col;
        multiply(e, w, t0, t1, s, r, count, out, ldo);
        if (j->bias || j->softcap > 0.0f)
            finish(e, j, out, ldo, col, n, count);
    }
}

/* The tiles of all jobs are one list; a chunk may span two jobs. */
void cpu_run_product(sm_exe *e, const sm_step *s, int ith, int nth) {
    (void)ith;
    int total = 0, from, to;
    if (cpu_n_rows(e, s->rows) == 0)
        return;
    for (int i = 0; i < s->u.product.n_jobs; i++)
        total += sm_tiles(e->weights.v[s->u.product.jobs[i].weight].p.n);
    while (cpu_take(e, s, chunk_of(total, nth), total, &from, &to)) {
        int base = 0;
        for (int i = 0; i < s->u.product.n_jobs; i++) {
            const sm_job *j = &s->u.product.jobs[i];
            int tiles = sm_tiles(e->weights.v[j->weight].p.n);
            int t0 = SM_MAX(from - base, 0), t1 = SM_MIN(to - base, tiles);
            if (t0 < t1)
                job_tiles(e, s, j, t0, t1);
            base += tiles;
        }
    }
}

size_t cpu_gated_scratch(void) {
    return (size_t)2 * GATED_ROWS * GATED_TILES * SM_TILE * sizeof(float);
}

void cpu_run_gated(sm_exe *e, const sm_step *s, int ith, int nth) {
    const sm_cpu_weight *gate = &e->weights.v[s->u.mlp.gate], *up = &e->weights.v[s->u.mlp.up];
    int rows = cpu_n_rows(e, s->rows), total = sm_tiles(gate->p.n), from, to;
    int chunk = SM_MIN(chunk_of(total, nth), (int)GATED_TILES);
    float *g = (float *)(void *)cpu_scratch(e, ith), *u = g + GATED_ROWS * GATED_TILES * SM_TILE;
    while (rows > 0 && cpu_take(e, s, chunk, total, &from, &to)) {
        int col = from * SM_TILE, n = SM_MIN(to * SM_TILE, gate->p.n) - col;
        for (int r = 0; r < rows; r += GATED_ROWS) {
            int count = SM_MIN((int)GATED_ROWS, rows - r);
            multiply(e, gate, from, to, s, r, count, g, (size_t)n);
            multiply(e, up, from, to, s, r, count, u, (size_t)n);
            for (int i = 0; i < count; i++)
                e->k.act[s->u.mlp.act](g + (size_t)i * (size_t)n, u + (size_t)i * (size_t)n, n,
                                       cpu_row_f32(e, s->out, r + i) + col);
        }
    }
}
