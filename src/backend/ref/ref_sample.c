/* SPDX-License-Identifier: MIT
 *
 * ref_sample.c: images sampled at points: resample, affine, crop_resize.
 *
 * Points are (x, y) in pixels of the image.  resample and affine first bring them there from their coordinates, then fold
 * those outside back as the padding mode says; with `constant`, pixels outside have the padding value and mix with those
 * inside.  crop_resize has another rule: a point outside the image is the padding value, whole.
 */
#include <inttypes.h>
#include <math.h>

#include "backend/ref/ref_int.h"

typedef enum fold_mode { FOLD_CONSTANT, FOLD_BORDER, FOLD_REFLECT, FOLD_SYMMETRIC } fold_mode;
typedef enum coords_mode { COORDS_PIXELS, COORDS_MINUS_ONE_TO_ONE, COORDS_ZERO_TO_ONE } coords_mode;

typedef struct sampler {
    fold_mode fold;
    coords_mode coords;
    bool nearest, align;
    float fill;
    int64_t h, w; /* of the image */
} sampler;

static sm_status sampler_of(ref_call *c, const ref_val *x, sampler *s) {
    static const char *const kinds[] = {"bilinear", "nearest", NULL};
    static const char *const pads[] = {"constant", "border", "reflection", "symmetric", NULL};
    static const char *const coords[] = {"unnormalized", "normalized_minus_one_to_one", "normalized_zero_to_one", NULL};
    int kind = sm_arg_word(c->node, "sampling_mode", kinds), pad = sm_arg_word(c->node, "padding_mode", pads);
    int at = sm_arg_word(c->node, "coordinates_mode", coords);
    if (kind < 0 || pad < 0 || at < 0)
        return SM_FAIL(c->err, SM_UNSUPPORTED, "unknown sampling, padding or coordinates mode");
    if (!ref_is_float(x) || x->rank != 4 || (x->n == 0 && x->dims[0] * x->dims[1] > 0))
        return SM_FAIL(c->err, SM_BADINPUT, "wanted images [n, c, h, w] of floats");
    *s = (sampler){
        (fold_mode)pad, (coords_mode)at, kind == 1, ref_bool(c, "align_corners"), (float)ref_num(c, "padding_value"),
        x->dims[2],     x->dims[3]};
    return SM_OK;
}

/* p folded into lo .. lo + span by reflection at both ends. */
static double reflect(double p, double lo, double span) {
    if (span <= 0)
        return lo;
    double r = fmod(fabs(p - lo), 2 * span);
    return lo + (r > span ? 2 * span - r : r);
}

/* A coordinate as a position on an axis of n pixels. */
static double pixel_of(const sampler *s, double v, int64_t n) {
    double m = (double)n, p = v;
    if (s->coords == COORDS_MINUS_ONE_TO_ONE)
        p = s->align ? (v + 1) / 2 * (m - 1) : ((v + 1) * m - 1) / 2;
    else if (s->coords == COORDS_ZERO_TO_ONE)
        p = s->align ? v * (m - 1) : v * m - 0.5;
    if (s->fold == FOLD_REFLECT)
        p = reflect(p, 0, m - 1);
    else if (s->fold == FOLD_SYMMETRIC)
        p = reflect(p, -0.5, m);
    p = fmin(fmax(p, -2e9), 2e9); /* NaN: far outside */
    return s->fold == FOLD_CONSTANT ? p : fmin(fmax(p, 0), m - 1);
}

static double pixel(const sampler *s, const float *x, int64_t i, int64_t j) {
    return i >= 0 && i < s->h && j >= 0 && j < s->w ? (double)x[i * s->w + j] : (double)s->fill;
}

static float sample(const sampler *s, const float *x, double py, double px) {
    if (s->nearest)
        return (float)pixel(s, x, (int64_t)rint(py), (int64_t)rint(px));
    int64_t i = (int64_t)floor(py), j = (int64_t)floor(px);
    double a = py - (double)i, b = px - (double)j;
    double top = pixel(s, x, i, j), bottom = pixel(s, x, i + 1, j);
    if (b != 0) {
        top = top * (1 - b) + pixel(s, x, i, j + 1) * b;
        bottom = bottom * (1 - b) + pixel(s, x, i + 1, j + 1) * b;
    }
    return (float)(a != 0 ? top * (1 - a) + bottom * a : top);
}

/* Point p of all channels of image n of x into the result, whose planes have `size` pixels. */
static void sample_channels(const sampler *s, const ref_val *x, int64_t n, double py, double px, int64_t size,
                            float *y) {
    for (int64_t ch = 0; ch < x->dims[1]; ch++)
        y[ch * size] = sample(s, x->f + (n * x->dims[1] + ch) * s->h * s->w, py, px);
}

sm_status ref_resample(ref_call *c) {
    const ref_val *x = ref_in(c, "x"), *at = ref_in(c, "coordinates");
    sampler s;
    SM_TRY(sampler_of(c, x, &s));
    if (at->rank != 4 || at->dims[3] != 2 || at->dims[0] != x->dims[0])
        return SM_FAIL(c->err, SM_BADINPUT, "coordinates are not [%" PRId64 ", h, w, 2]", x->dims[0]);
    SM_TRY(ref_result(c, 0, x->dtype, 4, (int64_t[]){x->dims[0], x->dims[1], at->dims[1], at->dims[2]}));
    int64_t size = at->dims[1] * at->dims[2];
    for (int64_t e = 0; e < x->dims[0] * size; e++) {
        int64_t n = e / size;
        sample_channels(&s, x, n, pixel_of(&s, ref_elem(at, 2 * e + 1), s.h), pixel_of(&s, ref_elem(at, 2 * e), s.w),
                        size, ref_out(c, 0)->f + n * x->dims[1] * size + e % size);
    }
    return SM_OK;
}

/* Coordinate of output pixel i of n, as the input's are meant. */
static double output_coord(const sampler *s, int64_t i, int64_t n) {
    double at = s->align ? (n > 1 ? (double)i / (double)(n - 1) : 0.5) : ((double)i + 0.5) / (double)n;
    return s->coords == COORDS_PIXELS ? (double)i : s->coords == COORDS_ZERO_TO_ONE ? at : 2 * at - 1;
}

sm_status ref_affine(ref_call *c) {
    const ref_val *x = ref_in(c, "x"), *m = ref_in(c, "transform_matrix");
    int64_t h = ref_int(c, "output_height"), w = ref_int(c, "output_width");
    sampler s;
    SM_TRY(sampler_of(c, x, &s));
    if (m->rank != 2 || m->dims[1] != 6 || !ref_is_float(m) || (m->dims[0] != 1 && m->dims[0] != x->dims[0]))
        return SM_FAIL(c->err, SM_BADINPUT, "transform_matrix is not [1 or %" PRId64 ", 6]", x->dims[0]);
    SM_TRY(ref_result(c, 0, x->dtype, 4, (int64_t[]){x->dims[0], x->dims[1], h, w}));
    for (int64_t e = 0; e < x->dims[0] * h * w; e++) {
        int64_t n = e / (h * w);
        const float *a = m->f + (m->dims[0] == 1 ? 0 : n * 6);
        double px = output_coord(&s, e % w, w), py = output_coord(&s, e / w % h, h);
        double qx = (double)a[0] * px + (double)a[1] * py + (double)a[2];
        double qy = (double)a[3] * px + (double)a[4] * py + (double)a[5];
        sample_channels(&s, x, n, pixel_of(&s, qy, s.h), pixel_of(&s, qx, s.w), h * w,
                        ref_out(c, 0)->f + n * x->dims[1] * h * w + e % (h * w));
    }
    return SM_OK;
}

/* ---- crop_resize ---- */

typedef struct crop {
    sampler s;
    ref_sampling mode;
    int convention;
    bool normal;
    double scale;
    int64_t h, w; /* of a result */
} crop;

/* Point i of `out` on the part of an axis from pixel a to pixel b; a part may run backwards. */
static double part_point(const crop *p, double a, double b, int64_t i, int64_t out) {
    if (p->mode == REF_OFFSET_CORNERS)
        return a + ((double)i + 0.5) * fmax(1, b - a) / (double)out;
    double at = ref_grid_point(p->mode, i, fabs(b - a) + 1, out);
    return b < a ? a - at : a + at;
}

/* First and last pixel of a box along one axis of n pixels. */
static void part_of(const crop *p, double v0, double v1, int64_t n, double *a, double *b) {
    double f = p->scale * (p->normal ? (double)(n - 1) : 1);
    bool centred = p->convention >= 2;
    *a = (centred ? v0 - v1 / 2 : v0) * f;
    *b = (centred ? v0 + v1 / 2 : v1) * f;
}

static bool outside(double p, int64_t n) {
    return !(p >= -1e-5 && p <= (double)(n - 1) + 1e-5);
}

static void crop_box(const crop *p, const ref_val *x, int64_t image, const double *box, float *y) {
    bool width_first = p->convention == 1 || p->convention == 3;
    double h0, h1, w0, w1;
    part_of(p, box[width_first], box[2 + width_first], p->s.h, &h0, &h1);
    part_of(p, box[!width_first], box[2 + !width_first], p->s.w, &w0, &w1);
    for (int64_t e = 0; e < p->h * p->w; e++) {
        double py = part_point(p, h0, h1, e / p->w, p->h), px = part_point(p, w0, w1, e % p->w, p->w);
        if (outside(py, p->s.h) || outside(px, p->s.w)) {
            for (int64_t ch = 0; ch < x->dims[1]; ch++)
                y[ch * p->h * p->w + e] = p->s.fill;
            continue;
        }
        sample_channels(&p->s, x, image, fmin(fmax(py, 0), (double)(p->s.h - 1)),
                        fmin(fmax(px, 0), (double)(p->s.w - 1)), p->h * p->w, y + e);
    }
}

static sm_status crop_of(ref_call *c, const ref_val *x, crop *p) {
    static const char *const words[] = {"CORNERS_HEIGHT_FIRST", "CORNERS_WIDTH_FIRST", "CENTER_SIZE_HEIGHT_FIRST",
                                        "CENTER_SIZE_WIDTH_FIRST", NULL};
    *p = (crop){.normal = ref_bool(c, "normalized_coordinates"),
                .scale = ref_num(c, "spatial_scale"),
                .h = ref_int(c, "target_height"),
                .w = ref_int(c, "target_width"),
                .convention = sm_arg_word(c->node, "box_coordinate_mode", words)};
    if (p->convention < 0 || !ref_sampling_of(c, &p->mode))
        return SM_FAIL(c->err, SM_UNSUPPORTED, "unknown box_coordinate_mode or sampling_mode");
    if (!ref_is_float(x) || x->rank != 4 || x->dims[2] < 1 || x->dims[3] < 1)
        return SM_FAIL(c->err, SM_BADINPUT, "wanted images [n, c, h, w] of floats");
    p->s = (sampler){.fill = (float)ref_num(c, "pad_value"), .h = x->dims[2], .w = x->dims[3]};
    return SM_OK;
}

sm_status ref_crop_resize(ref_call *c) {
    const ref_val *x = ref_in(c, "x"), *roi = ref_in(c, "roi"), *at = ref_in(c, "box_indices");
    const ref_val *boxes = roi != NULL ? roi : ref_in(c, "boxes");
    crop p;
    SM_TRY(crop_of(c, x, &p));
    if (boxes == NULL || boxes->rank != (roi != NULL ? 5 : 2) || boxes->n == 0)
        return SM_FAIL(c->err, SM_BADINPUT, "wanted boxes [n, 4] or roi [n, 1, 4 or 5, 1, 1]");
    int64_t n = boxes->dims[0], wide = boxes->n / n, images = roi != NULL && wide == 4 ? x->dims[0] : 1;
    if (wide != 4 && !(roi != NULL && wide == 5))
        return SM_FAIL(c->err, SM_BADINPUT, "boxes of %" PRId64 " numbers", wide);
    if (at != NULL && (at->n != n || ref_is_float(at)))
        return SM_FAIL(c->err, SM_BADINPUT, "box_indices has %" PRId64 " elements, wanted %" PRId64, at->n, n);
    if (roi != NULL)
        SM_TRY(ref_result(c, 0, x->dtype, 5, (int64_t[]){n, images, x->dims[1], p.h, p.w}));
    else
        SM_TRY(ref_result(c, 0, x->dtype, 4, (int64_t[]){n, x->dims[1], p.h, p.w}));
    for (int64_t k = 0; k < n * images; k++) {
        double box[5], which = wide == 5 ? ref_elem(boxes, k * 5) : 0;
        int64_t b = k / images, image = roi != NULL ? k % images : at != NULL ? at->i[b] : b;
        for (int64_t i = 0; i < 4; i++)
            box[i] = ref_elem(boxes, b * wide + wide - 4 + i);
        if (wide == 5)
            image = which >= 0 && which < 1e9 ? (int64_t)which : -1;
        if (image < 0 || image >= x->dims[0])
            return SM_FAIL(c->err, SM_BADINPUT, "box %" PRId64 " is of image %" PRId64 " of %" PRId64, b, image,
                           x->dims[0]);
        crop_box(&p, x, image, box, ref_out(c, 0)->f + k * x->dims[1] * p.h * p.w);
    }
    return SM_OK;
}
