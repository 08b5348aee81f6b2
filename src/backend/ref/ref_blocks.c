/* SPDX-License-Identifier: MIT
 *
 * ref_blocks.c: blocks of pixels to and from channels and images, windows of an axis, crops.  All are one copy between two
 * views: the result in order, and where in x each axis of that view steps.
 */
#include <inttypes.h>
#include <string.h>

#include "backend/ref/ref_int.h"

/* a * b of extents: beside an axis of none the others may be any number. */
static sm_status times(const ref_call *c, int64_t a, int64_t b, int64_t *out) {
    return __builtin_mul_overflow(a, b, out) ? SM_FAIL(c->err, SM_RESOURCE, "the result is too large") : SM_OK;
}

static sm_status plus(const ref_call *c, int64_t a, int64_t b, int64_t *out) {
    return __builtin_add_overflow(a, b, out) ? SM_FAIL(c->err, SM_RESOURCE, "the result is too large") : SM_OK;
}

/* Channel axis of the deep side is (i, j, k) with depth_to_space, (k, i, j) with pixel_shuffle; block f x f at (i, j). */
sm_status ref_depth_space(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    sm_op op = c->node->op;
    bool to_space = op == SM_OP_DEPTH_TO_SPACE || op == SM_OP_PIXEL_SHUFFLE;
    bool inner_block = op == SM_OP_PIXEL_SHUFFLE || op == SM_OP_PIXEL_UNSHUFFLE;
    int64_t f = ref_int(c, op == SM_OP_PIXEL_SHUFFLE     ? "upscale_factor"
                           : op == SM_OP_PIXEL_UNSHUFFLE ? "downscale_factor"
                                                         : "block_size");
    if (x->rank != 4 || f < 1 || f > 1 << 15 || (to_space && x->dims[1] % (f * f) != 0) ||
        (!to_space && (x->dims[2] % f != 0 || x->dims[3] % f != 0)))
        return SM_FAIL(c->err, SM_BADINPUT, "x does not divide into blocks of %" PRId64, f);
    /* view of six axes: n, k, h, i, w, j of the wide side; deep is n, (k, i, j in their order), h, w */
    int64_t n = x->dims[0], k = to_space ? x->dims[1] / (f * f) : x->dims[1];
    int64_t h = to_space ? x->dims[2] : x->dims[2] / f, w = to_space ? x->dims[3] : x->dims[3] / f;
    int64_t out[4] = {n, k, h, w};
    if (!to_space)
        SM_TRY(times(c, k, f * f, &out[1]));
    for (int i = 2; to_space && i < 4; i++)
        SM_TRY(times(c, out[i], f, &out[i]));
    SM_TRY(ref_result(c, 0, x->dtype, 4, out));
    if (x->n == 0)
        return SM_OK;
    int64_t dims[6] = {n, k, h, f, w, f}, wide[6], plane = h * w;
    int64_t deep[6] = {k * f * f * plane,
                       inner_block ? f * f * plane : plane,
                       w,
                       inner_block ? f * plane : f * k * plane,
                       1,
                       inner_block ? plane : k * plane};
    ref_strides(6, dims, wide);
    ref_move(6, dims, ref_elem_size(x), ref_out(c, 0)->p, 0, to_space ? wide : deep, x->p, 0, to_space ? deep : wide);
    return SM_OK;
}

static sm_status block_params(ref_call *c, const char *slot, int64_t *block, int64_t *around) {
    const ref_val *x = ref_in(c, "x");
    int n, m;
    SM_TRY(ref_ints(c, "block_shape", block, 2, &n));
    SM_TRY(ref_ints(c, slot, around, 4, &m));
    bool fits = x->rank == 4 && n == 2 && m == 4;
    for (int i = 0; fits && i < 4; i++)
        fits = block[i / 2] >= 1 && block[i / 2] <= 1 << 15 && around[i] >= 0 && around[i] <= INT32_MAX;
    return fits ? SM_OK : SM_FAIL(c->err, SM_BADINPUT, "block_shape and %s do not fit x", slot);
}

/* Image (i * bw + j) * n + its own of the result has pixel (i, j) of each block of the padded x. */
sm_status ref_space_to_batch(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    int64_t b[2], pad[4], dims[4], to[4], from[4];
    SM_TRY(block_params(c, "paddings", b, pad));
    int64_t h, w, n = x->dims[0], images;
    SM_TRY(plus(c, x->dims[2], pad[0] + pad[1], &h));
    SM_TRY(plus(c, x->dims[3], pad[2] + pad[3], &w));
    SM_TRY(times(c, n, b[0] * b[1], &images));
    if (h % b[0] != 0 || w % b[1] != 0)
        return SM_FAIL(c->err, SM_BADINPUT, "%" PRId64 " x %" PRId64 " padded pixels do not divide into blocks", h, w);
    memcpy(dims, (int64_t[]){images, x->dims[1], h / b[0], w / b[1]}, sizeof dims);
    SM_TRY(ref_result(c, 0, x->dtype, 4, dims)); /* zeros */
    if (x->n == 0)
        return SM_OK;
    ref_strides(4, dims, to);
    ref_strides(4, x->dims, from);
    for (int64_t i = 0; i < b[0]; i++)
        for (int64_t j = 0; j < b[1]; j++) {
            /* rows y of the result with pad[0] <= y * b[0] + i < pad[0] + h of x */
            int64_t y0 = SM_MAX(pad[0] - i + b[0] - 1, 0) / b[0], x0 = SM_MAX(pad[2] - j + b[1] - 1, 0) / b[1];
            int64_t y1 = SM_MAX(pad[0] + x->dims[2] - i + b[0] - 1, 0) / b[0];
            int64_t x1 = SM_MAX(pad[2] + x->dims[3] - j + b[1] - 1, 0) / b[1];
            int64_t part[4] = {n, x->dims[1], SM_MAX(y1 - y0, 0), SM_MAX(x1 - x0, 0)};
            int64_t step[4] = {from[0], from[1], from[2] * b[0], b[1]};
            if (part[2] == 0 || part[3] == 0)
                continue;
            ref_move(4, part, ref_elem_size(x), ref_out(c, 0)->p, (i * b[1] + j) * n * to[0] + y0 * to[2] + x0, to,
                     x->p, (y0 * b[0] + i - pad[0]) * from[2] + x0 * b[1] + j - pad[2], step);
        }
    return SM_OK;
}

sm_status ref_batch_to_space(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    int64_t b[2], crop[4], dims[4], to[4], from[4];
    SM_TRY(block_params(c, "crops", b, crop));
    if (x->dims[0] % (b[0] * b[1]) != 0)
        return SM_FAIL(c->err, SM_BADINPUT, "%" PRId64 " images do not divide into blocks", x->dims[0]);
    int64_t n = x->dims[0] / (b[0] * b[1]), h, w;
    SM_TRY(times(c, x->dims[2], b[0], &h));
    SM_TRY(times(c, x->dims[3], b[1], &w));
    memcpy(dims, (int64_t[]){n, x->dims[1], h - crop[0] - crop[1], w - crop[2] - crop[3]}, sizeof dims);
    SM_TRY(ref_result(c, 0, x->dtype, 4, dims));
    if (x->n == 0)
        return SM_OK;
    ref_strides(4, dims, to);
    ref_strides(4, x->dims, from);
    for (int64_t i = 0; i < b[0]; i++)
        for (int64_t j = 0; j < b[1]; j++) {
            /* rows y of x with 0 <= y * b[0] + i - crop[0] < rows of the result */
            int64_t y0 = SM_MAX(crop[0] - i + b[0] - 1, 0) / b[0], x0 = SM_MAX(crop[2] - j + b[1] - 1, 0) / b[1];
            int64_t y1 = SM_MIN(SM_MAX(crop[0] + dims[2] - i + b[0] - 1, 0) / b[0], x->dims[2]);
            int64_t x1 = SM_MIN(SM_MAX(crop[2] + dims[3] - j + b[1] - 1, 0) / b[1], x->dims[3]);
            int64_t part[4] = {n, x->dims[1], SM_MAX(y1 - y0, 0), SM_MAX(x1 - x0, 0)};
            int64_t step[4] = {to[0], to[1], to[2] * b[0], b[1]};
            if (part[2] == 0 || part[3] == 0)
                continue;
            ref_move(4, part, ref_elem_size(x), ref_out(c, 0)->p,
                     (y0 * b[0] + i - crop[0]) * to[2] + x0 * b[1] + j - crop[2], step, x->p,
                     (i * b[1] + j) * n * from[0] + y0 * from[2] + x0, from);
        }
    return SM_OK;
}

sm_status ref_crop(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    int64_t h[2], w[2], dims[SM_MAX_RANK], to[SM_MAX_RANK], from[SM_MAX_RANK];
    int nh, nw, r = x->rank;
    SM_TRY(ref_ints(c, "crop_height", h, 2, &nh));
    SM_TRY(ref_ints(c, "crop_width", w, 2, &nw));
    if (r < 3 || nh != 2 || nw != 2 || h[0] < 0 || h[1] < 0 || w[0] < 0 || w[1] < 0)
        return SM_FAIL(c->err, SM_BADINPUT, "crop_height and crop_width are not pairs of 0 or more, or x is no image");
    int64_t rows, columns;
    SM_TRY(plus(c, h[0], h[1], &rows));
    SM_TRY(plus(c, w[0], w[1], &columns));
    memcpy(dims, x->dims, sizeof dims);
    dims[r - 2] -= rows;
    dims[r - 1] -= columns;
    SM_TRY(ref_result(c, 0, x->dtype, r, dims));
    if (ref_out(c, 0)->n == 0)
        return SM_OK;
    ref_strides(r, dims, to);
    ref_strides(r, x->dims, from);
    ref_move(r, dims, ref_elem_size(x), ref_out(c, 0)->p, 0, to, x->p, h[0] * from[r - 2] + w[0], from);
    return SM_OK;
}

sm_status ref_sliding_windows(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    int64_t size = ref_int(c, "size"), stride = ref_int(c, "stride");
    int64_t dims[SM_MAX_RANK + 1], to[SM_MAX_RANK + 1], from[SM_MAX_RANK + 1], own[SM_MAX_RANK];
    int axis, r = x->rank;
    SM_TRY(ref_axis(c, "axis", r, &axis));
    if (size < 1 || stride < 1 || x->dims[axis] < size || r == SM_MAX_RANK)
        return SM_FAIL(c->err, SM_BADINPUT, "windows of %" PRId64 ", %" PRId64 " apart, over %" PRId64, size, stride,
                       x->dims[axis]);
    ref_strides(r, x->dims, own);
    for (int i = 0; i <= r; i++) {
        dims[i] = i <= axis ? x->dims[i] : x->dims[i - 1];
        from[i] = i <= axis ? own[i] : own[i - 1];
    }
    dims[axis] = (x->dims[axis] - size) / stride + 1;
    dims[axis + 1] = size;
    SM_TRY(ref_result(c, 0, x->dtype, r + 1, dims));
    if (x->n == 0)
        return SM_OK;
    from[axis] = dims[axis] > 1 ? from[axis] * stride : 0;
    ref_strides(r + 1, dims, to);
    ref_move(r + 1, dims, ref_elem_size(x), ref_out(c, 0)->p, 0, to, x->p, 0, from);
    return SM_OK;
}
