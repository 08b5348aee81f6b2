/* SPDX-License-Identifier: MIT
 *
 * written_norm.c: norms, and sums and means over the last axes.
 *
 * All walk rows that lie whole in memory; other axes go to ref.
 */
#include <math.h>

#include "backend/cpu/written_int.h"

typedef struct norm_job {
    const sm_loops *l;
    const float *x, *gamma, *beta, *mean, *variance;
    float *y;
    int64_t n, channels; /* elements of a row; rows that take parameters in turn */
    double eps;
} norm_job;

/* The last axes of x, and nothing else: how many; 0 when it is otherwise. */
static int trailing(const ref_val *x, const bool *marked) {
    int n = 0;
    while (n < x->rank && marked[x->rank - 1 - n])
        n++;
    for (int i = 0; i < x->rank - n; i++)
        if (marked[i] && x->dims[i] != 1)
            return 0;
    return n;
}

static void layer_rows(void *ctx, int ith, int64_t from, int64_t to) {
    const norm_job *j = ctx;
    (void)ith;
    for (int64_t r = from; r < to; r++) {
        const float *x = j->x + r * j->n;
        float *y = j->y + r * j->n;
        double mean = j->l->sum(x, j->n) / (double)j->n;
        double var = j->l->sum_square(x, j->n, (float)mean) / (double)j->n, off = mean - (double)(float)mean;
        double s = 1 / sqrt(var - off * off + j->eps);
        float m = (float)mean;
        j->l->binary[SM_LB_SUB](x, 1, &m, 0, j->n, y); /* first: x and its mean may be large, their difference small */
        j->l->unary[SM_LU_SCALE](y, j->n, (float)s, 0, y);
        if (j->gamma != NULL)
            j->l->binary[SM_LB_MUL](y, 1, j->gamma, 1, j->n, y);
        if (j->beta != NULL)
            j->l->binary[SM_LB_ADD](y, 1, j->beta, 1, j->n, y);
    }
}

sm_status wr_layer_norm(ref_call *c) {
    const ref_val *x = ref_in(c, "x"), *gamma = ref_in(c, "gamma"), *beta = ref_in(c, "beta");
    bool marked[SM_MAX_RANK];
    if (!ref_is_float(x))
        return ref_layer_norm(c);
    SM_TRY(ref_axes(c, "axes", x->rank, marked));
    int last = trailing(x, marked);
    int64_t n = last > 0 ? ref_extent(x, x->rank - last, x->rank) : 0;
    if (n == 0 || (gamma != NULL && (gamma->n != n || !ref_is_float(gamma))) ||
        (beta != NULL && (beta->n != n || !ref_is_float(beta))))
        return ref_layer_norm(c);
    SM_TRY(ref_result_raw(c, 0, x->dtype, x->rank, x->dims));
    norm_job j = {.l = &wr_of(c)->l, .x = x->f, .y = ref_out(c, 0)->f, .n = n, .eps = ref_num(c, "epsilon")};
    j.gamma = gamma != NULL ? gamma->f : NULL;
    j.beta = beta != NULL ? beta->f : NULL;
    wr_share(wr_of(c), x->n / n, SM_MAX(WR_PIECE / n, 1), n, layer_rows, &j);
    return SM_OK;
}

/* ---- one parameter a channel ---- */

static void batch_planes(void *ctx, int ith, int64_t from, int64_t to) {
    const norm_job *j = ctx;
    (void)ith;
    for (int64_t r = from; r < to; r++) {
        int64_t ch = r % j->channels;
        double s = 1 / sqrt((double)j->variance[ch] + j->eps) * (j->gamma != NULL ? (double)j->gamma[ch] : 1);
        double b = (j->beta != NULL ? (double)j->beta[ch] : 0) - (double)j->mean[ch] * s;
        j->l->unary[SM_LU_SCALE](j->x + r * j->n, j->n, (float)s, (float)b, j->y + r * j->n);
    }
}

static void instance_planes(void *ctx, int ith, int64_t from, int64_t to) {
    const norm_job *j = ctx;
    norm_job row = *j;
    row.gamma = row.beta = NULL;
    for (int64_t r = from; r < to; r++) {
        int64_t ch = r % j->channels;
        layer_rows(&row, ith, r, r + 1);
        j->l->unary[SM_LU_SCALE](j->y + r * j->n, j->n, j->gamma != NULL ? j->gamma[ch] : 1,
                                 j->beta != NULL ? j->beta[ch] : 0, j->y + r * j->n);
    }
}

/* A vector of floats, one for each channel, or absent. */
static bool per_channel(const ref_val *v, const ref_val *x) {
    return v == NULL || (ref_is_float(v) && v->n == x->dims[1]);
}

static sm_status channel_norm(ref_call *c, const ref_val *mean, const ref_val *variance, ref_kernel otherwise,
                              wr_range_fn fn) {
    const ref_val *x = ref_in(c, "x"), *gamma = ref_in(c, "gamma"), *beta = ref_in(c, "beta");
    if (!ref_is_float(x) || x->rank < 2 || x->n == 0 || !per_channel(mean, x) || !per_channel(variance, x) ||
        !per_channel(gamma, x) || !per_channel(beta, x))
        return otherwise(c);
    SM_TRY(ref_result_raw(c, 0, x->dtype, x->rank, x->dims));
    norm_job j = {.l = &wr_of(c)->l, .x = x->f, .y = ref_out(c, 0)->f, .channels = x->dims[1]};
    j.n = ref_extent(x, 2, x->rank);
    j.eps = ref_num(c, "epsilon");
    j.gamma = gamma != NULL ? gamma->f : NULL;
    j.beta = beta != NULL ? beta->f : NULL;
    j.mean = mean != NULL ? mean->f : NULL;
    j.variance = variance != NULL ? variance->f : NULL;
    wr_share(wr_of(c), x->n / j.n, SM_MAX(WR_PIECE / j.n, 1), j.n, fn, &j);
    return SM_OK;
}

sm_status wr_batch_norm(ref_call *c) {
    return channel_norm(c, ref_in(c, "mean"), ref_in(c, "variance"), ref_batch_norm, batch_planes);
}

sm_status wr_instance_norm(ref_call *c) {
    return channel_norm(c, NULL, NULL, ref_instance_norm, instance_planes);
}

/* ---- reductions ---- */

typedef struct reduce_job {
    const sm_loops *l;
    sm_op op;
    const float *x;
    float *y;
    int64_t n;
} reduce_job;

static void reduce_rows(void *ctx, int ith, int64_t from, int64_t to) {
    const reduce_job *j = ctx;
    (void)ith;
    for (int64_t r = from; r < to; r++) {
        const float *x = j->x + r * j->n;
        j->y[r] = j->op == SM_OP_REDUCE_MAX          ? j->l->largest(x, j->n)
                  : j->op == SM_OP_REDUCE_SUM        ? (float)j->l->sum(x, j->n)
                  : j->op == SM_OP_REDUCE_SUM_SQUARE ? (float)j->l->sum_square(x, j->n, 0)
                                                     : (float)(j->l->sum(x, j->n) / (double)j->n);
    }
}

sm_status wr_reduce(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    bool marked[SM_MAX_RANK], keep = ref_bool(c, "keep_dims");
    int64_t dims[SM_MAX_RANK];
    int rank = 0;
    if (!ref_is_float(x) || x->n == 0)
        return ref_reduce(c);
    SM_TRY(ref_axes(c, "axes", x->rank, marked));
    int last = trailing(x, marked);
    if (last == 0)
        return ref_reduce(c);
    for (int i = 0; i < x->rank; i++)
        if (!marked[i] || keep)
            dims[rank++] = marked[i] ? 1 : x->dims[i];
    SM_TRY(ref_result_raw(c, 0, x->dtype, rank, dims));
    reduce_job j = {&wr_of(c)->l, c->node->op, x->f, ref_out(c, 0)->f, ref_extent(x, x->rank - last, x->rank)};
    wr_share(wr_of(c), x->n / j.n, SM_MAX(WR_PIECE / j.n, 1), j.n, reduce_rows, &j);
    return SM_OK;
}
