/* SPDX-License-Identifier: MIT
 *
 * ref_resize.c: upsample_*, resize_*, resize: axes get other extents, one axis after the other.
 *
 * Where element i of an axis of `out` lies on an axis of `in`, clamped to 0 .. in - 1 (coremltools' documentation of
 * resize_bilinear):
 *
 *   STRICT_ALIGN_CORNERS  i (in - 1) / (out - 1); 0 when out is 1
 *   ALIGN_CORNERS         the same; (in - 1) / 2 when out is 1
 *   DEFAULT               i in / out
 *   OFFSET_CORNERS        (i + 0.5) max(1, in - 1) / out
 *   UNALIGN_CORNERS       (i + 0.5) in / out - 0.5
 *
 * Nearest neighbour: upsample_nearest_neighbor takes floor(i in / out), as PyTorch; resize_nearest_neighbor, and resize in
 * its default mode, floor((i + 0.5) in / out), as TensorFlow with half pixel centres, for which coremltools uses them;
 * resize in other modes the pixel nearest to the point above, the later one of two.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "backend/ref/ref_int.h"

double ref_grid_point(ref_sampling mode, int64_t i, double in, int64_t out) {
    double at = (double)i, n = (double)out, p = 0;
    switch (mode) {
    case REF_STRICT_ALIGN_CORNERS:
    case REF_ALIGN_CORNERS:
        p = out > 1 ? at * (in - 1) / (n - 1) : mode == REF_ALIGN_CORNERS ? (in - 1) / 2 : 0;
        break;
    case REF_DEFAULT:
        p = at * in / n;
        break;
    case REF_OFFSET_CORNERS:
        p = (at + 0.5) * fmax(1, in - 1) / n;
        break;
    case REF_UNALIGN_CORNERS:
        p = (at + 0.5) * in / n - 0.5;
        break;
    }
    return fmin(fmax(p, 0), in - 1);
}

bool ref_sampling_of(const ref_call *c, ref_sampling *out) {
    static const char *const words[] = {"STRICT_ALIGN_CORNERS", "ALIGN_CORNERS",   "DEFAULT",
                                        "OFFSET_CORNERS",       "UNALIGN_CORNERS", NULL};
    int w = sm_arg_word(c->node, "sampling_mode", words);
    *out = (ref_sampling)SM_MAX(w, 0);
    return w >= 0;
}

/* Elements lo and lo + 1 (or lo again) of the axis, and the share of the second. */
static ref_tap linear_tap(ref_sampling mode, int64_t i, int64_t in, int64_t out) {
    double p = ref_grid_point(mode, i, (double)in, out);
    int64_t lo = SM_MIN((int64_t)p, in - 1);
    return (ref_tap){lo, SM_MIN(lo + 1, in - 1), (float)(p - (double)lo)};
}

/* What the op says of an axis: its rule in numbers, or the pixel. */
static ref_tap tap_of(const ref_call *c, ref_sampling mode, bool nearest, int64_t i, int64_t in, int64_t out) {
    int64_t at = 0;
    if (!nearest)
        return linear_tap(mode, i, in, out);
    if (c->node->op == SM_OP_UPSAMPLE_NEAREST)
        at = (int64_t)((__int128)i * in / out);
    else if (c->node->op == SM_OP_RESIZE_NEAREST || mode == REF_DEFAULT)
        at = (int64_t)((__int128)(2 * i + 1) * in / (2 * (__int128)out));
    else
        at = (int64_t)floor(ref_grid_point(mode, i, (double)in, out) + 0.5);
    return (ref_tap){SM_MIN(at, in - 1), SM_MIN(at, in - 1), 0};
}

static bool is_nearest(const ref_call *c) {
    return c->node->op == SM_OP_UPSAMPLE_NEAREST || c->node->op == SM_OP_RESIZE_NEAREST ||
           (c->node->op == SM_OP_RESIZE && ref_str_is(c, "interpolation_mode", "NEAREST_NEIGHBOR"));
}

sm_status ref_resize_taps(ref_call *c, int64_t in, int64_t out, ref_tap *taps) {
    ref_sampling mode = REF_DEFAULT;
    if (c->node->op == SM_OP_UPSAMPLE_BILINEAR) {
        bool align = ref_bool(c, "align_corners");
        bool half = ref_in(c, "half_pixel_centers") != NULL ? ref_bool(c, "half_pixel_centers") : !align;
        if (align && half)
            return SM_FAIL(c->err, SM_BADINPUT, "half_pixel_centers together with align_corners");
        mode = align ? REF_STRICT_ALIGN_CORNERS : half ? REF_UNALIGN_CORNERS : REF_DEFAULT;
    } else if (sm_op_slot(c->node->op, "sampling_mode") >= 0 && !ref_sampling_of(c, &mode)) {
        return SM_FAIL(c->err, SM_UNSUPPORTED, "unknown sampling_mode");
    }
    if (in < 1 && out > 0)
        return SM_FAIL(c->err, SM_BADINPUT, "%" PRId64 " elements out of none", out);
    for (int64_t i = 0; i < out; i++)
        taps[i] = tap_of(c, mode, is_nearest(c), i, in, out);
    return SM_OK;
}

/* Extents of the result. */
sm_status ref_resize_dims(ref_call *c, int64_t *dims) {
    const ref_val *x = ref_in(c, "x");
    int64_t shape[SM_MAX_RANK], resized;
    int n;
    memcpy(dims, x->dims, sizeof x->dims);
    if (c->node->op == SM_OP_RESIZE) {
        resized = ref_int(c, "resized_dims");
        SM_TRY(ref_ints(c, "shape", shape, SM_MAX_RANK, &n));
        if (resized < 0 || resized > n || n > x->rank)
            return SM_FAIL(c->err, SM_BADINPUT, "%" PRId64 " of %d extents for rank %d", resized, n, x->rank);
        for (int64_t i = n - resized; i < n; i++)
            if (shape[i] != 0)
                dims[x->rank - n + i] = shape[i];
        return SM_OK;
    }
    if (x->rank < 3)
        return SM_FAIL(c->err, SM_BADINPUT, "wanted rank 3 or more");
    bool factors = c->node->op == SM_OP_UPSAMPLE_NEAREST || c->node->op == SM_OP_UPSAMPLE_BILINEAR;
    for (int i = 0; i < 2; i++) {
        int64_t *d = &dims[x->rank - 2 + i];
        double f = factors ? ref_num(c, i == 0 ? "scale_factor_height" : "scale_factor_width") : 1;
        if (!(f > 0 && f < 1e6))
            return SM_FAIL(c->err, SM_BADINPUT, "a factor of %g", f);
        *d = factors ? (int64_t)floorf((float)f * (float)*d)
                     : ref_int(c, i == 0 ? "target_size_height" : "target_size_width");
    }
    return SM_OK;
}

/* One axis: from [outer][in][inner] to [outer][out][inner]. */
static void resize_axis(const double *x, int64_t outer, int64_t in, int64_t inner, int64_t out, const ref_tap *taps,
                        double *y) {
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < out; i++)
            for (int64_t k = 0; k < inner; k++) {
                double a = x[(o * in + taps[i].lo) * inner + k], b = x[(o * in + taps[i].hi) * inner + k];
                *y++ = taps[i].part == 0 ? a : a + (b - a) * (double)taps[i].part;
            }
}

/* *v, of shape s, with axis a of extent n. */
static sm_status next_axis(ref_call *c, double **v, int64_t *s, int rank, int a, int64_t n) {
    int64_t outer = 1, inner = 1;
    size_t total;
    for (int i = 0; i < rank; i++) {
        outer *= i < a ? s[i] : 1;
        inner *= i > a ? s[i] : 1;
    }
    if (n < 0 || !sm_mul_ok((size_t)(outer * inner), (size_t)n, &total))
        return SM_FAIL(c->err, SM_BADINPUT, "axis %d: the result has extent %" PRId64, a, n);
    ref_tap *taps = sm_alloc_n((size_t)n, sizeof *taps);
    double *y = sm_alloc_n(total, sizeof *y);
    sm_status st = taps == NULL || y == NULL ? SM_NOMEM(c->err) : ref_resize_taps(c, s[a], n, taps);
    if (st == SM_OK) {
        resize_axis(*v, outer, s[a], inner, n, taps, y);
        sm_free(*v);
        *v = y;
        s[a] = n;
    } else {
        sm_free(y);
    }
    sm_free(taps);
    return st;
}

sm_status ref_resize(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    int64_t dims[SM_MAX_RANK], s[SM_MAX_RANK];
    memcpy(s, x->dims, sizeof s);
    SM_TRY(ref_resize_dims(c, dims));
    SM_TRY(ref_result(c, 0, x->dtype, x->rank, dims));
    ref_val *y = ref_out(c, 0);
    double *v = sm_alloc_n((size_t)x->n, sizeof *v);
    if (v == NULL)
        return SM_NOMEM(c->err);
    for (int64_t i = 0; i < x->n; i++)
        v[i] = ref_elem(x, i);
    sm_status st = SM_OK;
    for (int a = 0; st == SM_OK && a < x->rank; a++)
        if (dims[a] != s[a] || (c->node->op == SM_OP_RESIZE_BILINEAR && a >= x->rank - 2) ||
            (c->node->op == SM_OP_RESIZE && a >= x->rank - ref_int(c, "resized_dims")))
            st = next_axis(c, &v, s, x->rank, a, dims[a]);
    for (int64_t i = 0; st == SM_OK && i < y->n; i++) {
        if (ref_is_float(y))
            y->f[i] = (float)v[i];
        else
            y->i[i] = ref_wrap(y->dtype, (int64_t)v[i]);
    }
    sm_free(v);
    return st;
}
