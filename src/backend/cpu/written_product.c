/* SPDX-License-Identifier: MIT
 *
 * written_product.c: linear and matmul.
 *
 * Work is cut into items of some rows times some tiles; a thread that takes items one after the other stays with its
 * tiles while they are in cache.  matmul makes a tile of y's columns where it needs it; few rows take dot products or
 * sums of rows instead, whichever way y lies.
 */
#include <string.h>

#include "backend/cpu/written_int.h"

enum { ROWS = 64, TILE_BYTES = 192 << 10, FEW = 4 };

/* ---- linear ---- */

typedef struct linear_job {
    sm_written *w;
    const wr_pack *p;
    const float *x, *bias;
    float *y;
    int64_t n, blocks; /* rows, blocks of rows */
    int tiles;         /* of an item */
} linear_job;

static void linear_items(void *ctx, int ith, int64_t from, int64_t to) {
    const linear_job *j = ctx;
    const sm_dw *w = &j->p->w;
    (void)ith;
    for (int64_t at = from; at < to; at++) {
        int64_t row = at % j->blocks * ROWS, rows = SM_MIN((int64_t)ROWS, j->n - row);
        int t0 = (int)(at / j->blocks) * j->tiles, t1 = SM_MIN(t0 + j->tiles, sm_tiles(w->n));
        int64_t first = (int64_t)t0 * SM_TILE, n = SM_MIN((int64_t)t1 * SM_TILE, (int64_t)w->n) - first;
        float *y = j->y + row * w->n + first;
        j->w->k.dgemm[w->kind](w, t0, t1, j->x + row * w->k, (size_t)w->k, (int)rows, y, (size_t)w->n);
        for (int64_t r = 0; j->bias != NULL && r < rows; r++)
            j->w->l.binary[SM_LB_ADD](y + r * w->n, 1, j->bias + first, 1, n, y + r * w->n);
    }
}

sm_status wr_linear(ref_call *c) {
    const ref_val *x = ref_in(c, "x"), *bias = ref_in(c, "bias");
    const sm_value *v = sm_arg(c->node, "weight");
    const wr_pack *p = NULL;
    int64_t dims[SM_MAX_RANK];
    if (ref_is_float(x) && x->rank >= 1 && v->cst != NULL && v->type.rank == 2)
        SM_TRY(wr_packed(c, v, v->type.dims[0], v->type.dims[1], 1, &p));
    if (p == NULL || x->dims[x->rank - 1] != p->w.k || (bias != NULL && (bias->n != p->w.n || !ref_is_float(bias))))
        return ref_linear_op(c);
    memcpy(dims, x->dims, sizeof dims);
    dims[x->rank - 1] = p->w.n;
    SM_TRY(ref_result_raw(c, 0, x->dtype, x->rank, dims));
    linear_job j = {.w = wr_of(c), .p = p, .x = x->f, .bias = bias != NULL ? bias->f : NULL, .y = ref_out(c, 0)->f};
    j.n = ref_extent(x, 0, x->rank - 1);
    j.blocks = (j.n + ROWS - 1) / ROWS;
    j.tiles = (int)SM_MAX(TILE_BYTES / (int64_t)p->w.tile_bytes, 1);
    if (j.blocks == 1) /* all tiles once: enough items for every thread */
        j.tiles = SM_MIN(j.tiles, SM_MAX(sm_tiles(p->w.n) / (4 * sm_pool_size(c->e->pool)), 1));
    int64_t items = j.blocks * ((sm_tiles(p->w.n) + j.tiles - 1) / j.tiles);
    wr_share(j.w, items, 1, SM_MIN(j.n, (int64_t)ROWS) * SM_TILE * j.tiles * p->w.k, linear_items, &j);
    return SM_OK;
}

/* ---- matmul ---- */

typedef struct mm_job {
    sm_written *w;
    const ref_mm *p;
    const float *x, *y;
    const int64_t *at; /* per product: offsets in x and y */
    float *r;
    int64_t cut; /* items of one product */
} mm_job;

/* Item: a tile of 16 columns of one product, all rows. */
static void mm_tiles(void *ctx, int ith, int64_t from, int64_t to) {
    const mm_job *j = ctx;
    const ref_mm *p = j->p;
    float *tile = wr_scratch_of(j->w, ith);
    for (int64_t item = from; item < to; item++) {
        int64_t b = item / j->cut, t = item % j->cut;
        const float *x = j->x + j->at[2 * b];
        wr_tile(j->y + j->at[2 * b + 1], p->n, p->k, p->yn, p->yk, t, tile);
        sm_dw w = wr_tile_as_weight(tile, (int)SM_MIN((int64_t)SM_TILE, p->n - t * SM_TILE), p->k);
        for (int64_t row = 0; row < p->m; row += 1 << 20)
            j->w->k.dgemm[SM_DW_F32](&w, 0, 1, x + row * p->xm, (size_t)p->xm, (int)SM_MIN(p->m - row, 1 << 20),
                                     j->r + (b * p->m + row) * p->n + t * SM_TILE, (size_t)p->n);
    }
}

/* Item: a row of one product, columns in pieces of WR_PIECE. */
static void mm_rows(void *ctx, int ith, int64_t from, int64_t to) {
    const mm_job *j = ctx;
    const ref_mm *p = j->p;
    (void)ith;
    for (int64_t item = from; item < to; item++) {
        int64_t piece = item % j->cut, row = item / j->cut % p->m, b = item / j->cut / p->m;
        int64_t c0 = piece * 256, n = SM_MIN((int64_t)256, p->n - c0);
        const float *x = j->x + j->at[2 * b] + row * p->xm, *y = j->y + j->at[2 * b + 1] + c0 * p->yn;
        float *r = j->r + (b * p->m + row) * p->n + c0;
        if (p->yk == 1) {
            for (int64_t i = 0; i < n; i++)
                r[i] = j->w->l.dot(x, y + i * p->yn, p->k);
            continue;
        }
        memset(r, 0, (size_t)n * sizeof *r);
        for (int64_t k = 0; k < p->k; k++)
            j->w->l.axpy(x[k], y + k * p->yk, n, r);
    }
}

/* x with its last two axes swapped, dense; heap. */
static float *swapped(const ref_val *x) {
    int64_t dims[SM_MAX_RANK], to[SM_MAX_RANK], from[SM_MAX_RANK], s;
    float *out = sm_alloc_n((size_t)x->n, sizeof *out);
    memcpy(dims, x->dims, sizeof dims);
    ref_strides(x->rank, x->dims, from);
    s = dims[x->rank - 1], dims[x->rank - 1] = dims[x->rank - 2], dims[x->rank - 2] = s;
    s = from[x->rank - 1], from[x->rank - 1] = from[x->rank - 2], from[x->rank - 2] = s;
    ref_strides(x->rank, dims, to);
    if (out != NULL)
        ref_move(x->rank, dims, sizeof *out, out, 0, to, x->f, 0, from);
    return out;
}

/* Offsets of every product's operands. */
static int64_t *product_offsets(const ref_mm *p, int64_t *n) {
    ref_walk w;
    int64_t k = 0;
    *n = 1;
    for (int i = 0; i < p->rank; i++)
        *n *= p->dims[i];
    int64_t *at = sm_alloc_n((size_t)*n, 2 * sizeof *at);
    ref_walk_init(&w, p->rank, p->dims);
    ref_walk_add(&w, p->xs, 0);
    ref_walk_add(&w, p->ys, 0);
    for (bool more = at != NULL && ref_walk_start(&w); more; more = ref_walk_next(&w))
        for (int64_t b = 0; b < w.inner; b++, k++) {
            at[2 * k] = w.off[0] + b * w.step[0];
            at[2 * k + 1] = w.off[1] + b * w.step[1];
        }
    return at;
}

sm_status wr_matmul(ref_call *c) {
    const ref_val *x = ref_in(c, "x"), *y = ref_in(c, "y");
    int64_t n;
    ref_mm p;
    if (!ref_is_float(x) || !ref_is_float(y))
        return ref_matmul(c);
    SM_TRY(ref_matmul_plan(c, x, y, &p));
    SM_TRY(ref_result_raw(c, 0, x->dtype, p.out_rank, p.out));
    if (ref_out(c, 0)->n == 0)
        return SM_OK;
    float *dense = NULL;
    int64_t *at = product_offsets(&p, &n);
    mm_job j = {.w = wr_of(c), .p = &p, .x = x->f, .y = y->f, .at = at, .r = ref_out(c, 0)->f};
    sm_status st = at == NULL ? SM_NOMEM(c->err) : SM_OK;
    if (st == SM_OK && p.xk != 1 && x->rank > 1) {
        dense = swapped(x);
        st = dense == NULL ? SM_NOMEM(c->err) : SM_OK;
        j.x = dense;
        p.xm = p.k;
        p.xk = 1;
    }
    bool rows = p.m < FEW;
    if (st == SM_OK && !rows)
        st = wr_scratch(c, (size_t)p.k * SM_TILE * sizeof(float));
    j.cut = rows ? (p.n + 255) / 256 : (p.n + SM_TILE - 1) / SM_TILE;
    if (st == SM_OK && rows)
        wr_share(j.w, n * p.m * j.cut, 1, p.k * SM_MIN(p.n, (int64_t)256), mm_rows, &j);
    else if (st == SM_OK)
        wr_share(j.w, n * j.cut, 1, p.k * p.m * SM_TILE, mm_tiles, &j);
    sm_free(dense);
    sm_free(at);
    return st;
}
