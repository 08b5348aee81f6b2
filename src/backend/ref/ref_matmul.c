/* SPDX-License-Identifier: MIT
 *
 * ref_matmul.c: dot products and what is made of them.
 *
 * The definition of a dot product (ref_dot): f32 products, summed in 16 lanes over chunks of 512 elements, lanes added
 * pairwise, chunks added in f64.  Its order depends on the length alone, never on how many rows are computed together,
 * so that a row's result is the same bit for bit in any batch; the lanes are what compilers turn into vectors.
 *
 * Encoded weights are decoded a slab of rows at a time, once per call, by whichever thread owns the slab.
 */
#include <inttypes.h>
#include <string.h>

#include "backend/ref/ref_int.h"

enum {
    LANES = 16,
    CHUNK = 512,
    GROUP = 4, /* rows of x that share one pass over a weight row */
    SLAB = 16, /* weight rows decoded together */
};

/* ---- dot products ---- */

static float add_lanes(float *a) {
    for (int n = LANES / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++)
            a[i] += a[i + n];
    return a[0];
}

float ref_dot(const float *a, const float *b, int64_t n) {
    double sum = 0;
    for (int64_t k = 0; k < n; k += CHUNK) {
        int64_t end = SM_MIN(k + CHUNK, n), i = k;
        float lane[LANES] = {0};
        for (; i + LANES <= end; i += LANES)
            for (int l = 0; l < LANES; l++)
                lane[l] += a[i + l] * b[i + l];
        for (int l = 0; i < end; i++, l++)
            lane[l] += a[i] * b[i];
        sum += (double)add_lanes(lane);
    }
    return (float)sum;
}

/* GROUP dot products with one b, each as ref_dot computes it.  a has rows n apart. */
static void dot_group(const float *a, const float *b, int64_t n, float *out) {
    double sum[GROUP] = {0};
    for (int64_t k = 0; k < n; k += CHUNK) {
        int64_t end = SM_MIN(k + CHUNK, n), full = k + (end - k) / LANES * LANES;
        for (int g = 0; g < GROUP; g++) {
            const float *x = a + g * n;
            float lane[LANES] = {0};
            for (int64_t i = k; i < full; i += LANES)
                for (int l = 0; l < LANES; l++)
                    lane[l] += x[i + l] * b[i + l];
            for (int64_t i = full; i < end; i++)
                lane[i - full] += x[i] * b[i];
            sum[g] += (double)add_lanes(lane);
        }
    }
    for (int g = 0; g < GROUP; g++)
        out[g] = (float)sum[g];
}

/* ---- weights ---- */

/* [rows, cols, 1, 1] reads as [rows, cols]: the same elements in the same order. */
static void fold_ones(sm_tensor *t) {
    bool vectors = sm_enc_row_of(t->enc.id)->kind == SM_KIND_LUT && t->enc.vec > 1;
    while (t->rank > 2 && t->dims[t->rank - 1] == 1 && t->deinterleave == 0 &&
           !(vectors && t->enc.vec_axis >= t->rank - 1))
        t->rank--;
}

sm_status ref_weight_of(ref_call *c, const char *slot, ref_weight *w) {
    const sm_value *v = sm_arg(c->node, slot);
    const ref_val *x = ref_in(c, slot);
    *w = (ref_weight){0};
    if (x != NULL) {
        if (x->rank < 2 || !ref_is_float(x))
            return SM_FAIL(c->err, SM_BADINPUT, "'%s' is not a matrix of floats", v->name);
        w->dense = x->f;
        w->rows = x->dims[0];
        w->cols = ref_extent(x, 1, x->rank);
        return SM_OK;
    }
    const sm_tensor *t;
    SM_TRY(ref_const_tensor(c->e, v, &t, c->err));
    if (t->rank < 2 || sm_dtype_kind(t->dtype) != 'f')
        return SM_FAIL(c->err, SM_BADINPUT, "'%s' is not a matrix of floats", v->name);
    w->t = *t;
    fold_ones(&w->t);
    w->rows = t->dims[0];
    w->cols = 1;
    for (int i = 1; i < t->rank; i++)
        w->cols *= t->dims[i];
    return SM_OK;
}

/* A row of the matrix is a whole number of rows of the tensor. */
void ref_weight_rows(const ref_weight *w, int64_t row, int64_t n, float *out) {
    if (w->dense != NULL) {
        memcpy(out, w->dense + row * w->cols, (size_t)(n * w->cols) * sizeof *out);
        return;
    }
    uint64_t per_row = w->cols == 0 ? 0 : (uint64_t)(w->cols / w->t.dims[w->t.rank - 1]);
    sm_decode_rows(&w->t, (uint64_t)row * per_row, (uint64_t)n * per_row, out);
}

/* ---- y = x w^T ---- */

typedef struct linear_job {
    const float *x, *bias;
    const ref_weight *w;
    int64_t n, row0, rows, y_row, y_col;
    float *y, *slabs;
} linear_job;

static void linear_rows(const linear_job *j, int64_t first, int64_t n_rows, const float *w) {
    int64_t cols = j->w->cols;
    float d[GROUP];
    for (int64_t i = 0; i < j->n; i += GROUP) {
        int64_t group = SM_MIN((int64_t)GROUP, j->n - i);
        for (int64_t o = 0; o < n_rows; o++) {
            if (group == GROUP)
                dot_group(j->x + i * cols, w + o * cols, cols, d);
            for (int64_t g = 0; group < GROUP && g < group; g++)
                d[g] = ref_dot(j->x + (i + g) * cols, w + o * cols, cols);
            for (int64_t g = 0; g < group; g++)
                j->y[(i + g) * j->y_row + (first + o) * j->y_col] = j->bias == NULL ? d[g] : d[g] + j->bias[first + o];
        }
    }
}

static void linear_worker(void *ctx, int ith, int nth) {
    const linear_job *j = ctx;
    float *slab = j->slabs + ith * SLAB * j->w->cols;
    for (int64_t o = (int64_t)ith * SLAB; o < j->rows; o += (int64_t)nth * SLAB) {
        int64_t n = SM_MIN((int64_t)SLAB, j->rows - o);
        const float *w = slab;
        if (j->w->dense != NULL)
            w = j->w->dense + (j->row0 + o) * j->w->cols;
        else
            ref_weight_rows(j->w, j->row0 + o, n, slab);
        linear_rows(j, o, n, w);
    }
}

sm_status ref_linear(sm_exe *e, const float *x, int64_t n, const ref_weight *w, int64_t row0, int64_t rows,
                     const float *bias, float *y, int64_t y_row, int64_t y_col, sm_err *err) {
    linear_job j = {x, bias, w, n, row0, rows, y_row, y_col, y, NULL};
    if (n == 0 || rows == 0)
        return SM_OK;
    if (w->dense == NULL) {
        j.slabs = sm_alloc_n((size_t)sm_pool_size(e->pool) * SLAB, (size_t)w->cols * sizeof *j.slabs);
        if (j.slabs == NULL)
            return SM_NOMEM(err);
    }
    if (n * rows * w->cols < 4096)
        linear_worker(&j, 0, 1);
    else
        sm_pool_run(e->pool, linear_worker, &j);
    sm_free(j.slabs);
    return SM_OK;
}

sm_status ref_linear_op(ref_call *c) {
    const ref_val *x = ref_in(c, "x"), *bias = ref_in(c, "bias");
    ref_weight w;
    int64_t dims[SM_MAX_RANK];
    SM_TRY(ref_weight_of(c, "weight", &w));
    if (!ref_is_float(x) || x->rank < 1 || x->dims[x->rank - 1] != w.cols || (bias != NULL && bias->n != w.rows))
        return SM_FAIL(c->err, SM_BADINPUT, "x, weight [%" PRId64 ", %" PRId64 "] and bias do not fit", w.rows, w.cols);
    memcpy(dims, x->dims, sizeof dims);
    dims[x->rank - 1] = w.rows;
    SM_TRY(ref_result(c, 0, x->dtype, x->rank, dims));
    return ref_linear(c->e, x->f, ref_extent(x, 0, x->rank - 1), &w, 0, w.rows, bias == NULL ? NULL : bias->f,
                      ref_out(c, 0)->f, w.rows, 1, c->err);
}

/* ---- batched products ---- */

/* Leading axes of v, strides in elements with 0 where it broadcasts. */
static void leading_strides(const ref_mm *p, const ref_val *v, int lead, int64_t *out) {
    int64_t s[SM_MAX_RANK];
    ref_strides(v->rank, v->dims, s);
    for (int i = 0; i < p->rank; i++) {
        int a = i - (p->rank - lead);
        out[i] = a < 0 || v->dims[a] == 1 ? 0 : s[a];
    }
}

sm_status ref_matmul_plan(ref_call *c, const ref_val *x, const ref_val *y, ref_mm *p) {
    bool tx = ref_bool(c, "transpose_x") && x->rank > 1, ty = ref_bool(c, "transpose_y") && y->rank > 1;
    int lx = SM_MAX(x->rank - 2, 0), ly = SM_MAX(y->rank - 2, 0);
    if (x->rank < 1 || y->rank < 1 || ref_is_float(x) != ref_is_float(y))
        return SM_FAIL(c->err, SM_BADINPUT, "operands are %s of rank %d and %s of rank %d", sm_dtype_name(x->dtype),
                       x->rank, sm_dtype_name(y->dtype), y->rank);
    int64_t x0 = x->rank > 1 ? x->dims[lx] : 1, x1 = x->dims[x->rank - 1];
    int64_t y0 = y->dims[ly], y1 = y->rank > 1 ? y->dims[ly + 1] : 1;
    *p = (ref_mm){.m = tx ? x1 : x0, .k = tx ? x0 : x1, .n = ty ? y0 : y1};
    p->xm = tx ? 1 : x1;
    p->xk = tx ? x1 : 1;
    p->yn = ty ? y1 : 1;
    p->yk = ty ? 1 : y1;
    if (p->k != (ty ? y1 : y0))
        return SM_FAIL(c->err, SM_BADINPUT, "inner extents %" PRId64 " and %" PRId64 " differ", p->k, ty ? y1 : y0);
    ref_val lead = {.rank = ly};
    memcpy(lead.dims, y->dims, sizeof lead.dims);
    memcpy(p->dims, x->dims, sizeof p->dims);
    p->rank = lx;
    SM_TRY(ref_broadcast(&p->rank, p->dims, &lead, c->err));
    leading_strides(p, x, lx, p->xs);
    leading_strides(p, y, ly, p->ys);
    p->out_rank = p->rank;
    memcpy(p->out, p->dims, sizeof p->dims);
    if (x->rank > 1)
        p->out[p->out_rank++] = p->m;
    if (y->rank > 1)
        p->out[p->out_rank++] = p->n;
    return SM_OK;
}

/* dst[i][k] dense from a strided matrix. */
static const float *packed(const float *src, int64_t rows, int64_t cols, int64_t row_stride, int64_t col_stride,
                           float *dst) {
    if (col_stride == 1 && row_stride == cols)
        return src;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < cols; k++)
            dst[i * cols + k] = src[i * row_stride + k * col_stride];
    return dst;
}

static void matmul_ints(const ref_mm *p, const int64_t *x, const int64_t *y, ref_val *r, int64_t at) {
    for (int64_t i = 0; i < p->m; i++) {
        for (int64_t j = 0; j < p->n; j++) {
            uint64_t sum = 0;
            for (int64_t k = 0; k < p->k; k++)
                sum += (uint64_t)x[i * p->xm + k * p->xk] * (uint64_t)y[j * p->yn + k * p->yk];
            r->i[at + i * p->n + j] = ref_wrap(r->dtype, (int64_t)sum);
        }
    }
}

sm_status ref_matmul(ref_call *c) {
    const ref_val *x = ref_in(c, "x"), *y = ref_in(c, "y");
    ref_mm p;
    SM_TRY(ref_matmul_plan(c, x, y, &p));
    SM_TRY(ref_result(c, 0, x->dtype, p.out_rank, p.out));
    ref_val *r = ref_out(c, 0);
    if (r->n == 0)
        return SM_OK;
    float *px = sm_alloc_n((size_t)(p.m * p.k), sizeof *px), *py = sm_alloc_n((size_t)(p.n * p.k), sizeof *py);
    sm_status st = px == NULL || py == NULL ? SM_NOMEM(c->err) : SM_OK;
    int64_t at = 0;
    ref_walk w;
    ref_walk_init(&w, p.rank, p.dims);
    ref_walk_add(&w, p.xs, 0);
    ref_walk_add(&w, p.ys, 0);
    for (bool more = ref_walk_start(&w); st == SM_OK && more; more = ref_walk_next(&w)) {
        for (int64_t b = 0; st == SM_OK && b < w.inner; b++, at += p.m * p.n) {
            int64_t xo = w.off[0] + b * w.step[0], yo = w.off[1] + b * w.step[1];
            if (!ref_is_float(x)) {
                matmul_ints(&p, x->i + xo, y->i + yo, r, at);
                continue;
            }
            ref_weight m = {.dense = packed(y->f + yo, p.n, p.k, p.yn, p.yk, py), .rows = p.n, .cols = p.k};
            st = ref_linear(c->e, packed(x->f + xo, p.m, p.k, p.xm, p.xk, px), p.m, &m, 0, p.n, NULL, r->f + at, p.n, 1,
                            c->err);
        }
    }
    sm_free(px);
    sm_free(py);
    return st;
}
