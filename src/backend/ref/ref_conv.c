/* SPDX-License-Identifier: MIT
 *
 * ref_conv.c: convolutions of 1 to 3 axes: the input under each output position becomes a row (patches), rows times
 * weights the result.  A 1 x 1 convolution, which is a linear layer in channel-first layout, falls out of it.  The
 * transposed one goes the other way: each input position times the weights is a patch that is added into the result.
 */
#include <inttypes.h>
#include <string.h>

#include "backend/ref/ref_int.h"

/* Row of taps (channel, kernel) under output position p. */
static void gather_patch(const ref_window *v, int64_t channels, const float *x, int64_t p, float *row) {
    int64_t at[REF_AXES];
    for (int i = REF_AXES - 1; i >= 0; i--) {
        at[i] = p % v->out[i] * v->stride[i] - v->pad[i];
        p /= v->out[i];
    }
    for (int64_t t = 0; t < v->taps; t++) {
        int64_t rest = t, off = 0, step = 1;
        bool inside = true;
        for (int i = REF_AXES - 1; i >= 0; i--) {
            int64_t q = at[i] + rest % v->k[i] * v->dilation[i];
            inside = inside && q >= 0 && q < v->in[i];
            rest /= v->k[i];
            off += q * step;
            step *= v->in[i];
        }
        for (int64_t ch = 0; ch < channels; ch++)
            row[ch * v->taps + t] = inside ? x[ch * v->plane + off] : 0.0f;
    }
}

/* Kernel extents: of the value at hand, or of a constant that is still encoded. */
static sm_status kernel_of(ref_call *c, const ref_val *x, int64_t *k) {
    const sm_type *t = &sm_arg(c->node, "weight")->type;
    const ref_val *v = ref_in(c, "weight");
    if (!ref_is_float(x) || x->rank < 3 || x->rank > 2 + REF_AXES || t->rank != x->rank)
        return SM_FAIL(c->err, SM_UNSUPPORTED, "x of rank %d with weight of rank %d", x->rank, t->rank);
    for (int i = 2; i < t->rank; i++)
        k[i - 2] = v != NULL ? v->dims[i] : t->dims[i];
    return SM_OK;
}

sm_status ref_conv_plan(ref_call *c, int64_t rows, int64_t cols, ref_window *v, int64_t *groups) {
    const ref_val *x = ref_in(c, "x"), *bias = ref_in(c, "bias");
    int64_t k[REF_AXES], dims[SM_MAX_RANK];
    *groups = ref_int(c, "groups");
    SM_TRY(kernel_of(c, x, k));
    SM_TRY(ref_window_of(c, x->rank - 2, x->dims + 2, k, v));
    if (*groups < 1 || cols % v->taps != 0 || x->dims[1] % *groups != 0 || x->dims[1] / *groups != cols / v->taps ||
        rows % *groups != 0)
        return SM_FAIL(c->err, SM_BADINPUT, "%" PRId64 " channels in %" PRId64 " groups do not fit the weight",
                       x->dims[1], *groups);
    if (bias != NULL && bias->n != rows)
        return SM_FAIL(c->err, SM_BADINPUT, "bias has %" PRId64 " elements, wanted %" PRId64, bias->n, rows);
    dims[0] = x->dims[0];
    dims[1] = rows;
    memcpy(dims + 2, v->out + REF_AXES - v->nd, (size_t)v->nd * sizeof *dims);
    return ref_result(c, 0, x->dtype, x->rank, dims);
}

/* w [out channels, channels of a group * taps] */
static sm_status convolve(ref_call *c, const ref_weight *w, const float *bias) {
    const ref_val *x = ref_in(c, "x");
    int64_t groups;
    ref_window v;
    SM_TRY(ref_conv_plan(c, w->rows, w->cols, &v, &groups));
    ref_val *y = ref_out(c, 0);
    if (y->n == 0)
        return SM_OK;
    float *patches = sm_alloc_n((size_t)v.positions, (size_t)w->cols * sizeof *patches);
    sm_status st = patches == NULL ? SM_NOMEM(c->err) : SM_OK;
    int64_t per_group = w->rows / groups, channels = w->cols / v.taps;
    for (int64_t i = 0; st == SM_OK && i < x->dims[0] * groups; i++) {
        int64_t g = i % groups;
        for (int64_t p = 0; p < v.positions; p++)
            gather_patch(&v, channels, x->f + i * channels * v.plane, p, patches + p * w->cols);
        st = ref_linear(c->e, patches, v.positions, w, g * per_group, per_group,
                        bias == NULL ? NULL : bias + g * per_group, y->f + i * per_group * v.positions, 1, v.positions,
                        c->err);
    }
    sm_free(patches);
    return st;
}

sm_status ref_conv(ref_call *c) {
    const ref_val *bias = ref_in(c, "bias");
    ref_weight w;
    SM_TRY(ref_weight_of(c, "weight", &w));
    return convolve(c, &w, bias == NULL ? NULL : bias->f);
}

/* scale * code + bias, both scalars or per output channel */
sm_status ref_conv_quantized(ref_call *c) {
    const ref_val *q = ref_in(c, "weight"), *scale = ref_in(c, "quant_scale"), *shift = ref_in(c, "quant_bias");
    const ref_val *bias = ref_in(c, "bias");
    if (q->rank < 3 || ref_is_float(q) || !ref_is_float(scale) || !ref_is_float(shift) ||
        (scale->n != 1 && scale->n != q->dims[0]) || (shift->n != 1 && shift->n != q->dims[0]))
        return SM_FAIL(c->err, SM_BADINPUT, "quant_scale and quant_bias do not fit the weight");
    ref_weight w = {.rows = q->dims[0], .cols = ref_extent(q, 1, q->rank)};
    float *dense = sm_alloc_n((size_t)q->n, sizeof *dense), *b = NULL;
    sm_status st = dense == NULL ? SM_NOMEM(c->err) : SM_OK;
    for (int64_t i = 0; st == SM_OK && i < q->n; i++) {
        int64_t row = i / w.cols;
        dense[i] = scale->f[scale->n == 1 ? 0 : row] * (float)q->i[i] + shift->f[shift->n == 1 ? 0 : row];
    }
    if (st == SM_OK && bias != NULL) {
        b = sm_alloc_n((size_t)bias->n, sizeof *b);
        st = b == NULL ? SM_NOMEM(c->err) : SM_OK;
        for (int64_t i = 0; st == SM_OK && i < bias->n; i++)
            b[i] = (float)ref_elem(bias, i);
    }
    w.dense = dense;
    if (st == SM_OK)
        st = convolve(c, &w, b);
    sm_free(b);
    sm_free(dense);
    return st;
}

/* ---- transposed ---- */

typedef struct deconv {
    ref_window v;
    int64_t groups, in_c, out_c; /* channels of one group */
    float *w;                    /* [out_c * taps][in_c] of one group */
    float *x;                    /* [positions of x][in_c] */
    float *patch;                /* [positions of x][out_c * taps] */
} deconv;

static sm_status deconv_plan(ref_call *c, deconv *d) {
    const ref_val *x = ref_in(c, "x"), *w = ref_in(c, "weight"), *bias = ref_in(c, "bias");
    int64_t k[REF_AXES], given[SM_MAX_RANK], dims[SM_MAX_RANK];
    int n;
    SM_TRY(kernel_of(c, x, k));
    SM_TRY(ref_ints(c, "output_shape", given, SM_MAX_RANK, &n));
    if (n >= 0 && n != x->rank)
        return SM_FAIL(c->err, SM_BADINPUT, "output_shape has %d elements, wanted %d", n, x->rank);
    SM_TRY(ref_window_transposed(c, x->rank - 2, x->dims + 2, k, n < 0 ? NULL : given + 2, &d->v));
    d->groups = ref_int(c, "groups");
    if (d->groups < 1 || !ref_is_float(w) || x->dims[1] != w->dims[0] || w->dims[0] % d->groups != 0)
        return SM_FAIL(c->err, SM_BADINPUT, "%" PRId64 " channels in %" PRId64 " groups do not fit the weight",
                       x->dims[1], d->groups);
    d->in_c = w->dims[0] / d->groups;
    d->out_c = w->dims[1];
    dims[0] = x->dims[0];
    if (__builtin_mul_overflow(d->out_c, d->groups, &dims[1]))
        return SM_FAIL(c->err, SM_RESOURCE, "the result is too large");
    memcpy(dims + 2, d->v.out + REF_AXES - d->v.nd, (size_t)d->v.nd * sizeof *dims);
    if ((bias != NULL && bias->n != dims[1]) || (n >= 0 && (given[0] != dims[0] || given[1] != dims[1])))
        return SM_FAIL(c->err, SM_BADINPUT, "bias or output_shape do not fit %" PRId64 " channels", dims[1]);
    return ref_result(c, 0, x->dtype, x->rank, dims);
}

/* Adds the patch of input position p to the planes of y. */
static void add_patch(const deconv *d, int64_t p, float *y) {
    const ref_window *v = &d->v;
    const float *row = d->patch + p * d->out_c * v->taps;
    int64_t at[REF_AXES];
    for (int i = REF_AXES - 1; i >= 0; i--) {
        at[i] = p % v->in[i] * v->stride[i] - v->pad[i];
        p /= v->in[i];
    }
    for (int64_t t = 0; t < v->taps; t++) {
        int64_t rest = t, off = 0, step = 1;
        bool inside = true;
        for (int i = REF_AXES - 1; i >= 0; i--) {
            int64_t q = at[i] + rest % v->k[i] * v->dilation[i];
            inside = inside && q >= 0 && q < v->out[i];
            rest /= v->k[i];
            off += q * step;
            step *= v->out[i];
        }
        for (int64_t ch = 0; inside && ch < d->out_c; ch++)
            y[ch * v->positions + off] += row[ch * v->taps + t];
    }
}

static sm_status deconv_group(ref_call *c, const deconv *d, int64_t g, const float *x, float *y) {
    const float *w = ref_in(c, "weight")->f + g * d->in_c * d->out_c * d->v.taps;
    const ref_val *bias = ref_in(c, "bias");
    int64_t rows = d->out_c * d->v.taps;
    for (int64_t ch = 0; ch < d->in_c; ch++) {
        for (int64_t r = 0; r < rows; r++)
            d->w[r * d->in_c + ch] = w[ch * rows + r];
        for (int64_t p = 0; p < d->v.plane; p++)
            d->x[p * d->in_c + ch] = x[ch * d->v.plane + p];
    }
    ref_weight m = {.dense = d->w, .rows = rows, .cols = d->in_c};
    SM_TRY(ref_linear(c->e, d->x, d->v.plane, &m, 0, rows, NULL, d->patch, rows, 1, c->err));
    for (int64_t p = 0; p < d->v.plane; p++)
        add_patch(d, p, y);
    for (int64_t i = 0; bias != NULL && i < d->out_c * d->v.positions; i++)
        y[i] += bias->f[g * d->out_c + i / d->v.positions];
    return SM_OK;
}

sm_status ref_conv_transpose(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    deconv d = {0};
    SM_TRY(deconv_plan(c, &d));
    ref_val *y = ref_out(c, 0);
    if (y->n == 0)
        return SM_OK;
    size_t rows = (size_t)d.out_c * (size_t)d.v.taps;
    d.w = sm_alloc_n(rows, (size_t)d.in_c * sizeof *d.w);
    d.x = sm_alloc_n((size_t)d.v.plane, (size_t)d.in_c * sizeof *d.x);
    d.patch = sm_alloc_n((size_t)d.v.plane, rows * sizeof *d.patch);
    sm_status st = d.w == NULL || d.x == NULL || d.patch == NULL ? SM_NOMEM(c->err) : SM_OK;
    for (int64_t i = 0; st == SM_OK && i < x->dims[0] * d.groups; i++)
        st = deconv_group(c, &d, i % d.groups, x->f + i * d.in_c * d.v.plane, y->f + i * d.out_c * d.v.positions);
    sm_free(d.w);
    sm_free(d.x);
    sm_free(d.patch);
    return st;
}
