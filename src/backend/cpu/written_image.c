/* SPDX-License-Identifier: MIT
 *
 * written_image.c: pools and resizing, a plane at a time.
 *
 * A pool goes over rows: each tap of the window that lies on x is added to (or compared with) a whole row of the result; an
 * average then divides by counts that are the same for every plane.  Resizing blends two rows of x, then the columns.
 */
#include <math.h>
#include <string.h>

#include "backend/cpu/written_int.h"

/* ---- pools ---- */

typedef struct pool_job {
    sm_written *w;
    const ref_window *v;
    const float *x, *count; /* count: 1 / elements under each window, NULL for the largest */
    float *y;
} pool_job;

/* Result elements of a row whose tap at `off` lies on x. */
static void span_of(const ref_window *v, int64_t off, int64_t *from, int64_t *to) {
    int64_t s = v->stride[2];
    *from = off >= 0 ? 0 : (-off + s - 1) / s;
    *to = v->in[2] - off <= 0 ? 0 : SM_MIN((v->in[2] - off + s - 1) / s, v->out[2]);
}

static void pool_row(const pool_job *j, const float *x, int64_t off, float *y) {
    int64_t from, to, s = j->v->stride[2];
    span_of(j->v, off, &from, &to);
    if (from >= to)
        return;
    if (s == 1) {
        j->w->l.binary[j->count != NULL ? SM_LB_ADD : SM_LB_MAX](y + from, 1, x + off + from, 1, to - from, y + from);
        return;
    }
    if (j->count != NULL)
        for (int64_t i = from; i < to; i++)
            y[i] += x[off + i * s];
    else
        for (int64_t i = from; i < to; i++)
            y[i] = y[i] > x[off + i * s] || y[i] != y[i] ? y[i] : x[off + i * s];
}

static void pool_planes(void *ctx, int ith, int64_t from, int64_t to) {
    const pool_job *j = ctx;
    const ref_window *v = j->v;
    (void)ith;
    for (int64_t item = from; item < to; item++) {
        const float *x = j->x + item * v->plane;
        float *y = j->y + item * v->positions;
        for (int64_t i = 0; i < v->positions; i++)
            y[i] = j->count != NULL ? 0 : -INFINITY;
        for (int64_t r = 0; r < v->positions / v->out[2]; r++)
            for (int64_t a = 0; a < v->k[0]; a++)
                for (int64_t b = 0; b < v->k[1]; b++) {
                    int64_t q0 = r / v->out[1] * v->stride[0] - v->pad[0] + a;
                    int64_t q1 = r % v->out[1] * v->stride[1] - v->pad[1] + b;
                    if (q0 < 0 || q0 >= v->in[0] || q1 < 0 || q1 >= v->in[1])
                        continue;
                    for (int64_t k = 0; k < v->k[2]; k++)
                        pool_row(j, x + (q0 * v->in[1] + q1) * v->in[2], k - v->pad[2], y + r * v->out[2]);
                }
        if (j->count != NULL)
            j->w->l.binary[SM_LB_MUL](y, 1, j->count, 1, v->positions, y);
    }
}

/* 1 / elements that count under each window. */
static void window_counts(const ref_window *v, bool inside_only, float *out) {
    for (int64_t p = 0; p < v->positions; p++) {
        int64_t rest = p;
        double n = 1;
        for (int i = REF_AXES - 1; i >= 0; i--) {
            int64_t first = rest % v->out[i] * v->stride[i] - v->pad[i];
            int64_t last = SM_MIN(first + v->k[i], v->in[i] + v->behind[i]);
            if (inside_only)
                first = SM_MAX(first, 0), last = SM_MIN(last, v->in[i]);
            n *= (double)SM_MAX(last - first, 0);
            rest /= v->out[i];
        }
        out[p] = n > 0 ? (float)(1 / n) : 0;
    }
}

sm_status wr_pool(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    bool mean = c->node->op == SM_OP_AVG_POOL;
    float *count = NULL;
    ref_window v;
    SM_TRY(ref_pool_plan(c, &v));
    if (ref_out(c, 0)->n == 0)
        return SM_OK;
    if (mean) {
        count = sm_alloc_n((size_t)v.positions, sizeof *count);
        if (count == NULL)
            return SM_NOMEM(c->err);
        window_counts(&v, ref_bool(c, "exclude_padding_from_average"), count);
    }
    pool_job j = {wr_of(c), &v, x->f, count, ref_out(c, 0)->f};
    wr_share(j.w, x->n / v.plane, SM_MAX(WR_PIECE / v.positions, 1), v.positions * v.taps, pool_planes, &j);
    sm_free(count);
    return SM_OK;
}

/* ---- resizing ---- */

typedef struct resize_job {
    sm_written *w;
    const float *x;
    float *y;
    int64_t in_h, in_w, h, width;
    const ref_tap *rows, *cols;
    bool same_cols; /* every column is x's own */
} resize_job;

/* Item: a row of the result. */
static void resize_rows(void *ctx, int ith, int64_t from, int64_t to) {
    const resize_job *j = ctx;
    float *blend = wr_scratch_of(j->w, ith);
    for (int64_t item = from; item < to; item++) {
        ref_tap r = j->rows[item % j->h];
        const float *plane = j->x + item / j->h * j->in_h * j->in_w, *row = plane + r.lo * j->in_w;
        float *y = j->y + item * j->width;
        if (r.part != 0) {
            j->w->l.lerp(row, plane + r.hi * j->in_w, r.part, j->in_w, blend);
            row = blend;
        }
        if (j->same_cols)
            memcpy(y, row, (size_t)j->width * sizeof *y);
        for (int64_t i = 0; i < j->width && !j->same_cols; i++) {
            const ref_tap *t = &j->cols[i];
            y[i] = t->part == 0 ? row[t->lo] : row[t->lo] + (row[t->hi] - row[t->lo]) * t->part;
        }
    }
}

sm_status wr_resize(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    int64_t dims[SM_MAX_RANK];
    int r = x->rank;
    if (!ref_is_float(x) || r < 2 || x->n == 0)
        return ref_resize(c);
    SM_TRY(ref_resize_dims(c, dims));
    for (int i = 0; i < r - 2; i++)
        if (dims[i] != x->dims[i] || (c->node->op == SM_OP_RESIZE && ref_int(c, "resized_dims") > 2))
            return ref_resize(c);
    SM_TRY(ref_result_raw(c, 0, x->dtype, r, dims));
    if (ref_out(c, 0)->n == 0)
        return SM_OK;
    resize_job j = {.w = wr_of(c), .x = x->f, .y = ref_out(c, 0)->f, .in_h = x->dims[r - 2], .in_w = x->dims[r - 1]};
    j.h = dims[r - 2];
    j.width = dims[r - 1];
    ref_tap *taps = sm_alloc_n((size_t)(j.h + j.width), sizeof *taps);
    sm_status st = taps == NULL ? SM_NOMEM(c->err) : ref_resize_taps(c, j.in_h, j.h, taps);
    if (st == SM_OK)
        st = ref_resize_taps(c, j.in_w, j.width, taps + j.h);
    if (st == SM_OK)
        st = wr_scratch(c, (size_t)j.in_w * sizeof(float));
    if (st == SM_OK) {
        j.rows = taps;
        j.cols = taps + j.h;
        j.same_cols = j.width == j.in_w;
        for (int64_t i = 0; i < j.width; i++)
            j.same_cols = j.same_cols && j.cols[i].lo == i && j.cols[i].part == 0;
        wr_share(j.w, x->n / (j.in_h * j.in_w) * j.h, SM_MAX(WR_PIECE / j.width, 1), j.width, resize_rows, &j);
    }
    sm_free(taps);
    return st;
}
