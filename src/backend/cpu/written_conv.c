/* SPDX-License-Identifier: MIT
 *
 * written_conv.c: conv.
 *
 * As in `ref`, the input under an output position is a row (a patch) and rows times weights the result, but for a block of
 * positions at a time, in a thread's own memory:
 *
 *     x [channels][plane]  --gather-->  rows [positions of the block][channels * taps]
 *     rows x packed weights           -> out [positions][16 output channels] --transpose--> y [16 channels][positions]
 *
 * A 1 x 1 convolution gathers a plain transpose.  Groups of few channels (depthwise above all) are summed row by row
 * without patches: y row += weight * x row.
 */
#include <string.h>

#include "backend/cpu/written_int.h"

enum { FEW_CHANNELS = 4, PATCH_ELEMS = 128 << 10 };

typedef struct conv_job {
    sm_written *w;
    const wr_pack *p;
    const ref_window *v;
    const float *x, *weight, *bias; /* weight: dense, when there is no pack */
    float *y;
    int64_t groups, in_c, out_c; /* channels of one group */
    int64_t rows, blocks;        /* positions of a block; blocks */
    int64_t parts;               /* of the output channels: where positions are too few for all threads */
} conv_job;

/* ---- by patches ---- */

/* Every position has the element of x at its own place. */
static bool is_transpose(const ref_window *v) {
    bool same = v->taps == 1;
    for (int a = 0; a < REF_AXES; a++)
        same = same && v->out[a] == v->in[a] && v->pad[a] == 0 && (v->stride[a] == 1 || v->in[a] == 1);
    return same;
}

/* Taps of channels [0, in_c) under positions p0 .. p0 + n of a plane, [n][in_c * taps]. */
static void gather_block(const conv_job *j, const float *x, int64_t p0, int64_t n, float *out) {
    const ref_window *v = j->v;
    int64_t cols = j->in_c * v->taps;
    bool dense = is_transpose(v);
    for (int64_t i = 0; i < SM_TILE * ((n + SM_TILE - 1) / SM_TILE) && dense; i += SM_TILE) {
        int64_t m = SM_MIN((int64_t)SM_TILE, n - i); /* 16 positions: a cache line of x, 16 rows of out */
        for (int64_t ch = 0; ch < j->in_c; ch++)
            for (int64_t k = 0; k < m; k++)
                out[(i + k) * cols + ch] = x[ch * v->plane + p0 + i + k];
    }
    for (int64_t i = 0; i < n && !dense; i++) {
        float *row = out + i * cols;
        int64_t p = p0 + i, at[REF_AXES];
        for (int a = REF_AXES - 1; a >= 0; a--) {
            at[a] = p % v->out[a] * v->stride[a] - v->pad[a];
            p /= v->out[a];
        }
        int64_t t = 0;
        for (int64_t a = 0; a < v->k[0]; a++)
            for (int64_t b = 0; b < v->k[1]; b++) {
                int64_t q0 = at[0] + a * v->dilation[0], q1 = at[1] + b * v->dilation[1];
                bool inside = q0 >= 0 && q0 < v->in[0] && q1 >= 0 && q1 < v->in[1];
                int64_t line = (q0 * v->in[1] + q1) * v->in[2];
                for (int64_t k = 0; k < v->k[2]; k++, t++) {
                    int64_t q2 = at[2] + k * v->dilation[2];
                    bool in = inside && q2 >= 0 && q2 < v->in[2];
                    const float *from = x + line + q2;
                    for (int64_t ch = 0; ch < j->in_c; ch++)
                        row[ch * v->taps + t] = in ? from[ch * v->plane] : 0.0f;
                }
            }
    }
}

/* Item: a block of positions of one image and group, a part of its output channels. */
static void patch_items(void *ctx, int ith, int64_t from, int64_t to) {
    const conv_job *j = ctx;
    const ref_window *v = j->v;
    int64_t cols = j->in_c * v->taps;
    float *rows = wr_scratch_of(j->w, ith), out[WR_SCRATCH_ROWS * SM_TILE];
    for (int64_t item = from; item < to; item++) {
        int64_t block = item / j->parts % j->blocks, ig = item / j->parts / j->blocks, part = item % j->parts;
        int64_t p0 = block * j->rows, n = SM_MIN(j->rows, v->positions - p0);
        sm_dw w = wr_group(j->p, ig % j->groups);
        int tiles = sm_tiles(w.n), t0 = (int)(part * tiles / j->parts), t1 = (int)((part + 1) * tiles / j->parts);
        float *y = j->y + ig * j->out_c * v->positions + p0;
        gather_block(j, j->x + ig * j->in_c * v->plane, p0, n, rows);
        /* few rows: many tiles at once, whose sums do not wait for each other */
        for (int t = t0, step; t < t1; t += step) {
            step = SM_MIN(t1 - t, (int)SM_MAX(WR_SCRATCH_ROWS / n, 1));
            int64_t ld = (int64_t)step * SM_TILE, c0 = (int64_t)t * SM_TILE, m = SM_MIN(ld, w.n - c0);
            j->w->k.dgemm[w.kind](&w, t, t + step, rows, (size_t)cols, (int)n, out, (size_t)ld);
            for (int64_t i = 0; i < m; i++) {
                float b = j->bias != NULL ? j->bias[ig % j->groups * j->out_c + c0 + i] : 0.0f;
                for (int64_t k = 0; k < n; k++)
                    y[(c0 + i) * v->positions + k] = out[k * ld + i] + b;
            }
        }
    }
}

/* ---- row by row ---- */

/* First and last (one past) output element of a row whose tap lies on x. */
static void row_span(const ref_window *v, int64_t off, int64_t *from, int64_t *to) {
    int64_t s = v->stride[2];
    *from = off >= 0 ? 0 : (-off + s - 1) / s;
    *to = v->in[2] - off <= 0 ? 0 : SM_MIN((v->in[2] - off + s - 1) / s, v->out[2]);
}

static void add_row(const conv_job *j, float w, const float *x, int64_t off, float *y) {
    const ref_window *v = j->v;
    int64_t from, to, s = v->stride[2];
    row_span(v, off, &from, &to);
    if (from >= to)
        return;
    if (s == 1) {
        j->w->l.axpy(w, x + off + from, to - from, y + from);
        return;
    }
    for (int64_t i = from; i < to; i++)
        y[i] += w * x[off + i * s];
}

/* Item: one plane of the result. */
static void plane_items(void *ctx, int ith, int64_t from, int64_t to) {
    const conv_job *j = ctx;
    const ref_window *v = j->v;
    (void)ith;
    for (int64_t item = from; item < to; item++) {
        int64_t ch = item % (j->out_c * j->groups), g = ch / j->out_c, n = item / (j->out_c * j->groups);
        const float *x = j->x + (n * j->groups + g) * j->in_c * v->plane, *w = j->weight + ch * j->in_c * v->taps;
        float *y = j->y + item * v->positions, b = j->bias != NULL ? j->bias[ch] : 0.0f;
        for (int64_t i = 0; i < v->positions; i++)
            y[i] = b;
        for (int64_t r = 0; v->out[2] > 0 && r < v->positions / v->out[2]; r++)
            for (int64_t c = 0; c < j->in_c; c++)
                for (int64_t t = 0; t < v->taps; t++) {
                    int64_t q1 = r % v->out[1] * v->stride[1] - v->pad[1] + t / v->k[2] % v->k[1] * v->dilation[1];
                    int64_t q0 = r / v->out[1] * v->stride[0] - v->pad[0] + t / v->k[2] / v->k[1] * v->dilation[0];
                    if (q0 < 0 || q0 >= v->in[0] || q1 < 0 || q1 >= v->in[1])
                        continue;
                    add_row(j, w[c * v->taps + t], x + c * v->plane + (q0 * v->in[1] + q1) * v->in[2],
                            t % v->k[2] * v->dilation[2] - v->pad[2], y + r * v->out[2]);
                }
    }
}

/* ---- the op ---- */

/* The weight as dense floats: a value's, or decoded into *heap. */
static sm_status dense_weight(ref_call *c, const ref_weight *w, const float **out, float **heap) {
    *heap = NULL;
    *out = w->dense;
    if (w->dense != NULL)
        return SM_OK;
    *heap = sm_alloc_n((size_t)w->rows, (size_t)w->cols * sizeof **heap);
    if (*heap == NULL)
        return SM_NOMEM(c->err);
    ref_weight_rows(w, 0, w->rows, *heap);
    *out = *heap;
    return SM_OK;
}

sm_status wr_conv(ref_call *c) {
    const ref_val *x = ref_in(c, "x"), *bias = ref_in(c, "bias");
    const sm_value *v = sm_arg(c->node, "weight");
    int64_t groups = ref_int(c, "groups");
    ref_weight w;
    ref_window win;
    SM_TRY(ref_weight_of(c, "weight", &w));
    conv_job j = {.w = wr_of(c), .v = &win, .groups = groups, .x = x->f, .bias = bias != NULL ? bias->f : NULL};
    bool few = groups > 1 && w.rows / groups < FEW_CHANNELS;
    if (!ref_is_float(x) || groups < 1 || w.rows % groups != 0 || w.cols < 1 || (bias != NULL && !ref_is_float(bias)))
        return ref_conv(c); /* which says what is wrong */
    if (!few)
        SM_TRY(wr_packed(c, v, w.rows / groups, w.cols, (int)groups, &j.p));
    if (!few && j.p == NULL)
        return ref_conv(c); /* weights made at run time, or too large */
    SM_TRY(ref_conv_plan(c, w.rows, w.cols, &win, &groups));
    j.y = ref_out(c, 0)->f;
    j.out_c = w.rows / groups;
    j.in_c = w.cols / win.taps;
    if (ref_out(c, 0)->n == 0)
        return SM_OK;
    if (few) {
        float *heap;
        SM_TRY(dense_weight(c, &w, &j.weight, &heap));
        wr_share(j.w, x->dims[0] * w.rows, 1, win.positions * w.cols, plane_items, &j);
        sm_free(heap);
        return SM_OK;
    }
    j.rows = SM_MIN(SM_MAX(PATCH_ELEMS / w.cols, 16), (int64_t)WR_SCRATCH_ROWS);
    j.rows = SM_MIN(j.rows, (win.positions + sm_pool_size(c->e->pool) - 1) / sm_pool_size(c->e->pool) + 7) / 8 * 8;
    j.rows = SM_MAX(j.rows, 1);
    j.blocks = (win.positions + j.rows - 1) / j.rows;
    SM_TRY(wr_scratch(c, (size_t)j.rows * (size_t)w.cols * sizeof(float)));
    int64_t items = x->dims[0] * groups * j.blocks, wanted = 4 * (int64_t)sm_pool_size(c->e->pool);
    j.parts = items >= wanted ? 1 : SM_MIN((wanted + items - 1) / items, (int64_t)sm_tiles((int32_t)j.out_c));
    wr_share(j.w, items * j.parts, 1, j.rows * w.cols * j.out_c / j.parts, patch_items, &j);
    return SM_OK;
}
