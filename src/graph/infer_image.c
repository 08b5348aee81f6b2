/* SPDX-License-Identifier: MIT
 *
 * infer_image.c: ops on images [.., h, w]: resizing, sampling, cropping, blocks moved between axes, choosing boxes.
 *
 * Several ops changed their operands with iOS17; one row of ops.def holds both forms, and the operands that are there
 * say which one it is: crop_resize has `roi` (one axis more in the result) or `boxes`, non_maximum_suppression has
 * `score_threshold` (boxes in rows, a fourth result) or not.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "graph/infer.h"

static const char *const sampling_words[] = {"STRICT_ALIGN_CORNERS", "ALIGN_CORNERS",   "DEFAULT",
                                             "OFFSET_CORNERS",       "UNALIGN_CORNERS", NULL};

static sm_status check_floats(sm_inf *c, const sm_value *x, int least, int most) {
    if (!sm_is_float(x->type.dtype))
        return sm_inf_bad(c, "x", x, "wanted floats");
    if (x->type.rank < least || x->type.rank > most)
        return sm_inf_bad(c, "x", x, least == most ? "wanted %d axes" : "wanted at least %d axes", least);
    return SM_OK;
}

/* A number of 1 to 2^31 - 1. */
static sm_status count_of(sm_inf *c, const char *slot, int64_t *out) {
    SM_TRY(sm_inf_int(c, slot, out));
    if (*out < 1 || *out > INT32_MAX)
        return sm_inf_bad(c, slot, sm_arg(c->n, slot), "is %" PRId64 ", wanted 1 or more", *out);
    return SM_OK;
}

/* ---- resizing ---- */

/* floor(d * scale), scale being an f32 that the runtime multiplies with; symbolic extents take whole factors. */
static sm_status scaled(sm_inf *c, const char *slot, sm_dim d, sm_dim *out) {
    double s = 1;
    sm_arg_float(c->n, slot, &s);
    if (!(s > 0 && s < 1e6))
        return sm_inf_bad(c, slot, sm_arg(c->n, slot), "is %g, wanted a factor above 0", s);
    if (!sm_dim_known(d))
        *out = s == floor(s) ? sm_dim_mul(c->g, d, (int64_t)s) : SM_DIM_UNKNOWN;
    else
        *out = (sm_dim)floorf((float)s * (float)SM_MIN(d, INT64_C(1) << 40));
    return SM_OK;
}

sm_status sm_infer_upsample(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x");
    sm_dim dims[SM_MAX_RANK];
    bool align = true, half = false;
    int r = x->type.rank;
    SM_TRY(check_floats(c, x, 3, SM_MAX_RANK));
    memcpy(dims, x->type.dims, sizeof dims);
    SM_TRY(scaled(c, "scale_factor_height", dims[r - 2], &dims[r - 2]));
    SM_TRY(scaled(c, "scale_factor_width", dims[r - 1], &dims[r - 1]));
    if (c->n->op == SM_OP_UPSAMPLE_BILINEAR) {
        SM_TRY(sm_inf_bool(c, "align_corners", &align));
        SM_TRY(sm_inf_bool(c, "half_pixel_centers", &half));
        if (align && half)
            return SM_FAIL(c->err, SM_BADINPUT, "half_pixel_centers: not together with align_corners");
    }
    return sm_inf_out(c, 0, x->type.dtype, r, dims);
}

sm_status sm_infer_resize_to(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x");
    sm_dim dims[SM_MAX_RANK];
    int64_t h = 1, w = 1;
    int r = x->type.rank, word;
    SM_TRY(check_floats(c, x, 3, SM_MAX_RANK));
    SM_TRY(count_of(c, "target_size_height", &h));
    SM_TRY(count_of(c, "target_size_width", &w));
    if (c->n->op == SM_OP_RESIZE_BILINEAR)
        SM_TRY(sm_inf_word(c, "sampling_mode", sampling_words, &word));
    memcpy(dims, x->type.dims, sizeof dims);
    dims[r - 2] = h;
    dims[r - 1] = w;
    return sm_inf_out(c, 0, x->type.dtype, r, dims);
}

/* The last resized_dims elements of shape are new extents; 0 keeps one. */
sm_status sm_infer_resize(sm_inf *c) {
    static const char *const kinds[] = {"LINEAR", "NEAREST_NEIGHBOR", NULL};
    const sm_value *x = sm_arg(c->n, "x"), *shape = sm_arg(c->n, "shape");
    sm_dim dims[SM_MAX_RANK], want[SM_MAX_RANK];
    int64_t resized = 0;
    int r = x->type.rank, n, word;
    SM_TRY(sm_inf_word(c, "interpolation_mode", kinds, &word));
    SM_TRY(sm_inf_word(c, "sampling_mode", sampling_words, &word));
    SM_TRY(sm_inf_int(c, "resized_dims", &resized));
    SM_TRY(sm_inf_dims(c, "shape", want, SM_MAX_RANK, &n));
    if (n > r)
        return sm_inf_bad(c, "shape", shape, "wanted at most %d elements, the axes of x", r);
    if (resized < 0 || resized > n)
        return sm_inf_bad(c, "resized_dims", sm_arg(c->n, "resized_dims"), "wanted 0..%d, the elements of shape", n);
    if (x->type.dtype == SM_BOOL)
        return sm_inf_bad(c, "x", x, "wanted numbers");
    memcpy(dims, x->type.dims, sizeof dims);
    for (int i = 0; i < (int)resized; i++) {
        sm_dim d = want[n - (int)resized + i];
        if (sm_dim_known(d) && d < 0)
            return sm_inf_bad(c, "shape", shape, "element %d is negative", n - (int)resized + i);
        if (d != 0) /* what a run gives may be 0 as well: then it is x's */
            dims[r - (int)resized + i] = sm_dim_known(d) || sm_dim_at_least(c->g, d, 1) ? d : SM_DIM_UNKNOWN;
    }
    return sm_inf_out(c, 0, x->type.dtype, r, dims);
}

/* ---- cropping, sampling ---- */

sm_status sm_infer_crop(sm_inf *c) {
    static const char *const slots[2] = {"crop_height", "crop_width"};
    const sm_value *x = sm_arg(c->n, "x");
    sm_dim dims[SM_MAX_RANK];
    int64_t off[2];
    int n;
    if (x->type.rank < 3)
        return sm_inf_bad(c, "x", x, "wanted at least 3 axes");
    memcpy(dims, x->type.dims, sizeof dims);
    for (int i = 0; i < 2; i++) {
        sm_dim *d = &dims[x->type.rank - 2 + i];
        SM_TRY(sm_inf_ints(c, slots[i], off, 2, &n));
        if (n != 2 || off[0] < 0 || off[1] < 0 || off[0] > INT32_MAX || off[1] > INT32_MAX)
            return sm_inf_bad(c, slots[i], sm_arg(c->n, slots[i]), "wanted two numbers of 0 or more");
        *d = sm_dim_sub(c->g, *d, off[0] + off[1]);
        if (sm_dim_known(*d) && *d < 0)
            return sm_inf_bad(c, slots[i], sm_arg(c->n, slots[i]), "takes more than x has");
    }
    return sm_inf_out(c, 0, x->type.dtype, x->type.rank, dims);
}

static sm_status check_sampling(sm_inf *c) {
    static const char *const kinds[] = {"bilinear", "nearest", NULL};
    static const char *const pads[] = {"constant", "border", "reflection", "symmetric", NULL};
    static const char *const coords[] = {"unnormalized", "normalized_minus_one_to_one", "normalized_zero_to_one", NULL};
    int word;
    SM_TRY(sm_inf_word(c, "sampling_mode", kinds, &word));
    SM_TRY(sm_inf_word(c, "padding_mode", pads, &word));
    return sm_inf_word(c, "coordinates_mode", coords, &word);
}

sm_status sm_infer_resample(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x"), *at = sm_arg(c->n, "coordinates");
    SM_TRY(check_floats(c, x, 4, 4));
    SM_TRY(check_sampling(c));
    if (at->type.rank != 4 || at->type.dtype == SM_BOOL || sm_dim_equal(c->g, at->type.dims[3], 2) == 0)
        return sm_inf_bad(c, "coordinates", at, "wanted numbers [n, h, w, 2]");
    sm_dim dims[4] = {SM_DIM_UNKNOWN, x->type.dims[1], at->type.dims[1], at->type.dims[2]};
    SM_TRY(sm_inf_same_dim(c, "images of x and coordinates", x->type.dims[0], at->type.dims[0], &dims[0]));
    return sm_inf_out(c, 0, x->type.dtype, 4, dims);
}

sm_status sm_infer_affine(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x"), *m = sm_arg(c->n, "transform_matrix");
    int64_t h = 0, w = 0;
    SM_TRY(check_floats(c, x, 4, 4));
    SM_TRY(check_sampling(c));
    SM_TRY(count_of(c, "output_height", &h));
    SM_TRY(count_of(c, "output_width", &w));
    if (m->type.rank != 2 || !sm_is_float(m->type.dtype) || sm_dim_equal(c->g, m->type.dims[1], 6) == 0)
        return sm_inf_bad(c, "transform_matrix", m, "wanted floats [1 or n, 6]");
    if (m->type.dims[0] != 1)
        SM_TRY(sm_inf_same_dim(c, "images of x and transform_matrix", x->type.dims[0], m->type.dims[0], NULL));
    sm_dim dims[4] = {x->type.dims[0], x->type.dims[1], h, w};
    return sm_inf_out(c, 0, x->type.dtype, 4, dims);
}

static sm_status crop_boxes(sm_inf *c, const sm_value *x, int64_t h, int64_t w) {
    const sm_value *boxes = sm_arg(c->n, "boxes"), *at = sm_arg(c->n, "box_indices");
    bool normal = false;
    if (boxes->type.rank != 2 || boxes->type.dtype == SM_BOOL || sm_dim_equal(c->g, boxes->type.dims[1], 4) == 0)
        return sm_inf_bad(c, "boxes", boxes, "wanted numbers [n, 4]");
    SM_TRY(sm_inf_bool(c, "normalized_coordinates", &normal));
    if (normal && !sm_is_float(boxes->type.dtype))
        return sm_inf_bad(c, "boxes", boxes, "normalized_coordinates wants floats");
    if (at != NULL && (at->type.rank != 1 || !sm_is_int(at->type.dtype)))
        return sm_inf_bad(c, "box_indices", at, "wanted integers [n]");
    if (at != NULL)
        SM_TRY(sm_inf_same_dim(c, "boxes and box_indices", boxes->type.dims[0], at->type.dims[0], NULL));
    else if (sm_dim_known(boxes->type.dims[0]) && sm_dim_known(x->type.dims[0]) &&
             boxes->type.dims[0] > x->type.dims[0])
        return sm_inf_bad(c, "boxes", boxes, "without box_indices wanted at most one for each image of x");
    sm_dim dims[4] = {boxes->type.dims[0], x->type.dims[1], h, w};
    return sm_inf_out(c, 0, x->type.dtype, 4, dims);
}

sm_status sm_infer_crop_resize(sm_inf *c) {
    static const char *const conventions[] = {"CORNERS_HEIGHT_FIRST", "CORNERS_WIDTH_FIRST", "CENTER_SIZE_HEIGHT_FIRST",
                                              "CENTER_SIZE_WIDTH_FIRST", NULL};
    const sm_value *x = sm_arg(c->n, "x"), *roi = sm_arg(c->n, "roi");
    int64_t h = 1, w = 1;
    int word;
    SM_TRY(check_floats(c, x, 4, 4));
    SM_TRY(count_of(c, "target_height", &h));
    SM_TRY(count_of(c, "target_width", &w));
    SM_TRY(sm_inf_word(c, "box_coordinate_mode", conventions, &word));
    SM_TRY(sm_inf_word(c, "sampling_mode", sampling_words, &word));
    if ((roi == NULL) == (sm_arg(c->n, "boxes") == NULL))
        return SM_FAIL(c->err, SM_BADINPUT, "wanted either roi (before iOS17) or boxes");
    if (roi == NULL)
        return crop_boxes(c, x, h, w);
    bool indexed = roi->type.rank == 5 && sm_dim_equal(c->g, roi->type.dims[2], 5) == 1;
    if (roi->type.rank != 5 || !sm_is_float(roi->type.dtype) ||
        (!indexed && sm_dim_equal(c->g, roi->type.dims[2], 4) != 1))
        return sm_inf_bad(c, "roi", roi, "wanted floats [n, 1, 4 or 5, 1, 1]");
    for (int i = 1; i < 5; i++)
        if (i != 2 && sm_dim_equal(c->g, roi->type.dims[i], 1) == 0)
            return sm_inf_bad(c, "roi", roi, "wanted floats [n, 1, 4 or 5, 1, 1]");
    sm_dim dims[5] = {roi->type.dims[0], indexed ? 1 : x->type.dims[0], x->type.dims[1], h, w};
    return sm_inf_out(c, 0, x->type.dtype, 5, dims);
}

/* ---- blocks ---- */

/* d / by, which must be whole when d is a number. */
static sm_status divided(sm_inf *c, const sm_value *x, int axis, sm_dim d, int64_t by, sm_dim *out) {
    *out = sm_dim_div(c->g, d, by);
    if (*out == SM_DIM_UNKNOWN && sm_dim_known(d))
        return sm_inf_bad(c, "x", x, "axis %d: %" PRId64 " does not divide by %" PRId64, axis, (int64_t)d, by);
    if (*out == SM_DIM_UNKNOWN)
        *out = sm_dim_call(c->g, SM_FN_FLOOR_DIV, d, by);
    return SM_OK;
}

/* depth_to_space, pixel_shuffle and their inverses: channels and spatial axes trade a block of f x f. */
sm_status sm_infer_depth_space(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x");
    bool to_space = c->n->op == SM_OP_DEPTH_TO_SPACE || c->n->op == SM_OP_PIXEL_SHUFFLE;
    const char *slot = c->n->op == SM_OP_PIXEL_SHUFFLE     ? "upscale_factor"
                       : c->n->op == SM_OP_PIXEL_UNSHUFFLE ? "downscale_factor"
                                                           : "block_size";
    sm_dim dims[4];
    int64_t f = 1;
    SM_TRY(check_floats(c, x, 4, 4));
    SM_TRY(count_of(c, slot, &f));
    if (f > 1 << 15)
        return sm_inf_bad(c, slot, sm_arg(c->n, slot), "is %" PRId64, f);
    const sm_dim *in = x->type.dims;
    dims[0] = in[0];
    if (to_space) {
        SM_TRY(divided(c, x, 1, in[1], f * f, &dims[1]));
        dims[2] = sm_dim_mul(c->g, in[2], f);
        dims[3] = sm_dim_mul(c->g, in[3], f);
    } else {
        dims[1] = sm_dim_mul(c->g, in[1], f * f);
        SM_TRY(divided(c, x, 2, in[2], f, &dims[2]));
        SM_TRY(divided(c, x, 3, in[3], f, &dims[3]));
    }
    return sm_inf_out(c, 0, x->type.dtype, 4, dims);
}

static sm_status block_params(sm_inf *c, const char *slot, int64_t *block, int64_t *around) {
    int n;
    SM_TRY(sm_inf_ints(c, "block_shape", block, 2, &n));
    for (int i = 0; i < n; i++)
        if (block[i] < 1 || block[i] > 1 << 15)
            n = -1;
    if (n != 2)
        return sm_inf_bad(c, "block_shape", sm_arg(c->n, "block_shape"), "wanted two numbers of 1 or more");
    SM_TRY(sm_inf_ints(c, slot, around, 4, &n));
    for (int i = 0; i < n; i++)
        if (around[i] < 0 || around[i] > INT32_MAX)
            n = -1;
    if (n != 4)
        return sm_inf_bad(c, slot, sm_arg(c->n, slot), "wanted [2, 2] numbers of 0 or more");
    return SM_OK;
}

sm_status sm_infer_batch_space(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x");
    bool to_batch = c->n->op == SM_OP_SPACE_TO_BATCH;
    int64_t block[2], around[4];
    sm_dim dims[4];
    if (x->type.rank != 4)
        return sm_inf_bad(c, "x", x, "wanted 4 axes");
    SM_TRY(block_params(c, to_batch ? "paddings" : "crops", block, around));
    dims[1] = x->type.dims[1];
    if (to_batch)
        dims[0] = sm_dim_mul(c->g, x->type.dims[0], block[0] * block[1]);
    else
        SM_TRY(divided(c, x, 0, x->type.dims[0], block[0] * block[1], &dims[0]));
    for (int i = 0; i < 2; i++) {
        int64_t both = around[2 * i] + around[2 * i + 1];
        sm_dim d = x->type.dims[2 + i];
        if (to_batch) {
            d = sm_dim_add(c->g, d, both);
            if (d != SM_DIM_UNKNOWN)
                SM_TRY(divided(c, x, 2 + i, d, block[i], &d));
        } else {
            d = sm_dim_mul(c->g, d, block[i]);
            d = d == SM_DIM_UNKNOWN ? d : sm_dim_sub(c->g, d, both);
        }
        if (sm_dim_known(d) && d < 0)
            return sm_inf_bad(c, "crops", sm_arg(c->n, "crops"), "takes more than axis %d has", 2 + i);
        dims[2 + i] = d;
    }
    return sm_inf_out(c, 0, x->type.dtype, 4, dims);
}

sm_status sm_infer_sliding_windows(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x");
    sm_dim dims[SM_MAX_RANK + 1];
    int64_t size = 1, stride = 1;
    int axis, r = x->type.rank;
    if (r == 0 || r + 1 > SM_MAX_RANK)
        return sm_inf_bad(c, "x", x, "wanted 1 to %d axes", SM_MAX_RANK - 1);
    SM_TRY(sm_inf_axis(c, "axis", r, &axis));
    SM_TRY(count_of(c, "size", &size));
    SM_TRY(count_of(c, "stride", &stride));
    memcpy(dims, x->type.dims, sizeof(sm_dim) * (size_t)(axis + 1));
    memcpy(dims + axis + 2, x->type.dims + axis + 1, sizeof(sm_dim) * (size_t)(r - axis - 1));
    sm_dim span = sm_dim_add(c->g, dims[axis], stride - size);
    if (sm_dim_known(dims[axis]) && dims[axis] < size)
        return sm_inf_bad(c, "x", x, "axis %d is shorter than a window of %" PRId64, axis, size);
    dims[axis] = span == SM_DIM_UNKNOWN || stride == 1 ? span : sm_dim_call(c->g, SM_FN_FLOOR_DIV, span, stride);
    dims[axis + 1] = size;
    return sm_inf_out(c, 0, x->type.dtype, r + 1, dims);
}

/* ---- boxes ---- */

sm_status sm_infer_nms(sm_inf *c) {
    const sm_value *boxes = sm_arg(c->n, "boxes"), *scores = sm_arg(c->n, "scores");
    bool rows = sm_arg(c->n, "score_threshold") != NULL, flag;
    int box = rows ? 1 : 2, part = rows ? 2 : 1; /* axes */
    int64_t most = 1;
    sm_dim n = SM_DIM_UNKNOWN;
    const char *want = rows ? "wanted floats [n, boxes, %d]" : "wanted floats [n, %d, boxes]";
    if (boxes->type.rank != 3 || !sm_is_float(boxes->type.dtype) || sm_dim_equal(c->g, boxes->type.dims[part], 4) == 0)
        return sm_inf_bad(c, "boxes", boxes, want, 4);
    if (scores->type.rank != 3 || !sm_is_float(scores->type.dtype) || scores->type.dims[part] == 0)
        return sm_inf_bad(c, "scores", scores, want, 1);
    SM_TRY(sm_inf_same_dim(c, "images of boxes and scores", boxes->type.dims[0], scores->type.dims[0], &n));
    SM_TRY(sm_inf_same_dim(c, "boxes and scores", boxes->type.dims[box], scores->type.dims[box], NULL));
    SM_TRY(count_of(c, "max_boxes", &most));
    SM_TRY(sm_inf_bool(c, "per_class_suppression", &flag));
    SM_TRY(sm_inf_results(c, rows ? 4 : 3));
    sm_dim dims[3] = {n, most, most};
    dims[part] = 4;
    SM_TRY(sm_inf_out(c, 0, boxes->type.dtype, 3, dims));
    dims[part] = scores->type.dims[part];
    SM_TRY(sm_inf_out(c, 1, scores->type.dtype, 3, dims));
    dims[1] = most;
    SM_TRY(sm_inf_out(c, 2, SM_INT32, 2, dims));
    return rows ? sm_inf_out(c, 3, SM_INT32, 1, dims) : SM_OK;
}
