/* SPDX-License-Identifier: MIT
 *
 * written_attend.c: scaled_dot_product_attention and softmax.
 *
 * An item of attention is 32 query rows of one head: scores over all keys, a tile of 16 keys at a time, mask, softmax,
 * then a tile of 16 value columns at a time.  A single row takes dot products and sums of rows.
 */
#include <math.h>
#include <string.h>

#include "backend/cpu/written_int.h"

enum { ROWS = 32, FEW = 4 };

typedef struct sdpa_job {
    sm_written *w;
    const ref_sdpa_args *s;
    const int64_t *at; /* per head: offsets in q, k, v, mask */
    float *y, scale;
    int64_t blocks; /* of rows */
} sdpa_job;

static void add_mask(const sdpa_job *j, int64_t off, int64_t row, float *score) {
    const ref_sdpa_args *s = j->s;
    int64_t at = off + row * s->mask_row;
    if (ref_is_float(s->mask)) {
        j->w->l.binary[SM_LB_ADD](score, 1, s->mask->f + at, (int)s->mask_col, s->n, score);
        return;
    }
    for (int64_t i = 0; i < s->n; i++)
        score[i] = s->mask->i[at + i * s->mask_col] != 0 ? score[i] : -INFINITY;
}

/* scores [rows][n] of rows at q, into t. */
static void scores_of(const sdpa_job *j, const float *q, int64_t rows, const float *k, float *t, float *tile) {
    const ref_sdpa_args *s = j->s;
    if (rows < FEW) {
        for (int64_t r = 0; r < rows; r++)
            for (int64_t i = 0; i < s->n; i++)
                t[r * s->n + i] = j->w->l.dot(q + r * s->d, k + i * s->d, s->d);
        return;
    }
    for (int64_t c = 0; c * SM_TILE < s->n; c++) {
        wr_tile(k, s->n, s->d, s->d, 1, c, tile);
        sm_dw w = wr_tile_as_weight(tile, (int)SM_MIN((int64_t)SM_TILE, s->n - c * SM_TILE), s->d);
        j->w->k.dgemm[SM_DW_F32](&w, 0, 1, q, (size_t)s->d, (int)rows, t + c * SM_TILE, (size_t)s->n);
    }
}

static void mix_of(const sdpa_job *j, const float *t, int64_t rows, const float *v, float *y, float *tile) {
    const ref_sdpa_args *s = j->s;
    if (rows < FEW) {
        memset(y, 0, (size_t)(rows * s->dv) * sizeof *y);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t i = 0; i < s->n; i++)
                j->w->l.axpy(t[r * s->n + i], v + i * s->dv, s->dv, y + r * s->dv);
        return;
    }
    for (int64_t c = 0; c * SM_TILE < s->dv; c++) {
        wr_tile(v, s->dv, s->n, 1, s->dv, c, tile);
        sm_dw w = wr_tile_as_weight(tile, (int)SM_MIN((int64_t)SM_TILE, s->dv - c * SM_TILE), s->n);
        j->w->k.dgemm[SM_DW_F32](&w, 0, 1, t, (size_t)s->n, (int)rows, y + c * SM_TILE, (size_t)s->dv);
    }
}

static void sdpa_items(void *ctx, int ith, int64_t from, int64_t to) {
    const sdpa_job *j = ctx;
    const ref_sdpa_args *s = j->s;
    float *t = wr_scratch_of(j->w, ith), *tile = t + ROWS * s->n;
    for (int64_t item = from; item < to; item++) {
        int64_t b = item / j->blocks, row = item % j->blocks * ROWS, rows = SM_MIN((int64_t)ROWS, s->m - row);
        const int64_t *at = j->at + 4 * b;
        scores_of(j, s->q->f + at[0] + row * s->d, rows, s->k->f + at[1], t, tile);
        for (int64_t r = 0; r < rows; r++) {
            float *score = t + r * s->n;
            j->w->l.unary[SM_LU_SCALE](score, s->n, j->scale, 0, score);
            if (s->mask != NULL)
                add_mask(j, at[3], row + r, score);
            j->w->l.softmax(score, s->n);
        }
        mix_of(j, t, rows, s->v->f + at[2], j->y + (b * s->m + row) * s->dv, tile);
    }
}

/* Offsets of every head's operands. */
static int64_t *head_offsets(const ref_sdpa_args *s, int rank, const int64_t *dims, int64_t *n) {
    const ref_val *v[4] = {s->q, s->k, s->v, s->mask};
    *n = 1;
    for (int i = 0; i < rank; i++)
        *n *= dims[i];
    int64_t *at = sm_alloc_n((size_t)*n, 4 * sizeof *at);
    for (int i = 0; i < 4 && at != NULL; i++) {
        int64_t stride[SM_MAX_RANK] = {0}, k = 0;
        ref_walk w;
        if (v[i] != NULL)
            ref_lead_strides(v[i], rank, stride);
        ref_walk_init(&w, rank, dims);
        ref_walk_add(&w, stride, 0);
        for (bool more = ref_walk_start(&w); more; more = ref_walk_next(&w))
            for (int64_t b = 0; b < w.inner; b++, k++)
                at[4 * k + i] = w.off[0] + b * w.step[0];
    }
    return at;
}

sm_status wr_sdpa(ref_call *c) {
    ref_sdpa_args s = {
        ref_in(c, "query"), ref_in(c, "key"), ref_in(c, "value"), ref_in(c, "attn_mask"), 0, 0, 0, 0, 0, 0};
    int64_t dims[SM_MAX_RANK + 2], heads;
    int rank;
    SM_TRY(ref_sdpa_plan(c, &s, &rank, dims));
    int64_t *at = head_offsets(&s, rank, dims, &heads);
    if (at == NULL)
        return SM_NOMEM(c->err);
    dims[rank] = s.m;
    dims[rank + 1] = s.dv;
    sm_status st = ref_result(c, 0, s.q->dtype, rank + 2, dims);
    size_t tile = (size_t)SM_MAX(s.d, s.n) * SM_TILE;
    if (st == SM_OK)
        st = wr_scratch(c, ((size_t)ROWS * (size_t)s.n + tile) * sizeof(float));
    if (st == SM_OK && ref_out(c, 0)->n > 0 && s.n > 0) {
        sdpa_job j = {wr_of(c), &s, at, ref_out(c, 0)->f, (float)(1 / sqrt((double)s.d)), (s.m + ROWS - 1) / ROWS};
        wr_share(j.w, heads * j.blocks, 1, SM_MIN(s.m, (int64_t)ROWS) * s.n * (s.d + s.dv), sdpa_items, &j);
    }
    sm_free(at);
    return st;
}

/* ---- softmax ---- */

typedef struct softmax_job {
    const sm_loops *l;
    const float *x;
    float *y;
    int64_t n, inner; /* of the axis; elements behind it */
} softmax_job;

static void softmax_rows(void *ctx, int ith, int64_t from, int64_t to) {
    const softmax_job *j = ctx;
    (void)ith;
    memcpy(j->y + from * j->n, j->x + from * j->n, (size_t)((to - from) * j->n) * sizeof *j->y);
    for (int64_t r = from; r < to; r++)
        j->l->softmax(j->y + r * j->n, j->n);
}

enum { COLUMNS = 64 };

/* Item: 64 neighbouring lines of an axis that is not the last. */
static void softmax_columns(void *ctx, int ith, int64_t from, int64_t to) {
    const softmax_job *j = ctx;
    int64_t per = (j->inner + COLUMNS - 1) / COLUMNS;
    float most[COLUMNS], sum[COLUMNS];
    (void)ith;
    for (int64_t item = from; item < to; item++) {
        int64_t c0 = item % per * COLUMNS, n = SM_MIN((int64_t)COLUMNS, j->inner - c0);
        const float *x = j->x + item / per * j->n * j->inner + c0;
        float *y = j->y + (x - j->x);
        memcpy(most, x, (size_t)n * sizeof *most);
        for (int64_t i = 1; i < j->n; i++)
            j->l->binary[SM_LB_MAX](x + i * j->inner, 1, most, 1, n, most);
        for (int64_t k = 0; k < n; k++) /* nothing but -inf: zeros, as e^-inf */
            most[k] = most[k] == -INFINITY ? 0 : most[k];
        memset(sum, 0, sizeof sum);
        for (int64_t i = 0; i < j->n; i++) {
            float *row = y + i * j->inner;
            j->l->binary[SM_LB_SUB](x + i * j->inner, 1, most, 1, n, row);
            j->l->unary[SM_LU_EXP](row, n, 0, 0, row);
            j->l->binary[SM_LB_ADD](sum, 1, row, 1, n, sum);
        }
        for (int64_t k = 0; k < n; k++)
            sum[k] = sum[k] == 0 ? 1 : sum[k];
        for (int64_t i = 0; i < j->n; i++)
            j->l->binary[SM_LB_DIV](y + i * j->inner, 1, sum, 1, n, y + i * j->inner);
    }
}

sm_status wr_softmax(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    int axis;
    if (!ref_is_float(x) || x->rank < 1 || x->n == 0)
        return ref_softmax(c);
    SM_TRY(ref_axis(c, "axis", x->rank, &axis));
    SM_TRY(ref_result_raw(c, 0, x->dtype, x->rank, x->dims));
    softmax_job j = {&wr_of(c)->l, x->f, ref_out(c, 0)->f, x->dims[axis], ref_extent(x, axis + 1, x->rank)};
    int64_t outer = x->n / j.n / j.inner;
    if (j.inner == 1)
        wr_share(wr_of(c), outer, SM_MAX(WR_PIECE / j.n, 1), j.n, softmax_rows, &j);
    else
        wr_share(wr_of(c), outer * ((j.inner + COLUMNS - 1) / COLUMNS), 1, j.n * COLUMNS, softmax_columns, &j);
    return SM_OK;
}
