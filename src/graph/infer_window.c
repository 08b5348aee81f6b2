/* SPDX-License-Identifier: MIT
 *
 * infer_window.c: ops that move a window over 1 to 3 spatial axes of [n, channels, ...]: convolutions and pools.
 *
 * Extents follow coremltools' own inference, for that is what packages were made with:
 *
 *   forward      (d + pads - reach) / stride + 1, reach = (kernel - 1) * dilation + 1; rounded down, or up in ceil mode,
 *                where a last window that would begin in the padding behind is left out
 *   same         ceil(d / stride)
 *   transposed   (d - 1) * stride + reach - pads; same: d * stride
 */
#include <inttypes.h>
#include <string.h>

#include "graph/infer.h"

enum { AXES = 3 };
enum { PAD_VALID, PAD_CUSTOM, PAD_SAME, PAD_SAME_LOWER };
static const char *const pad_words[] = {"valid", "custom", "same", "same_lower", NULL};

typedef struct window {
    int64_t stride[AXES], dilation[AXES], pad[2 * AXES];
    int k; /* spatial axes */
    int pad_type;
    bool ceil;
} window;

static bool has_slot(const sm_inf *c, const char *slot) {
    return sm_op_slot(c->n->op, slot) >= 0;
}

/* One number per spatial axis, 1 to 2^31 - 1; 1 when absent. */
static sm_status read_steps(sm_inf *c, const char *slot, int k, int64_t *out) {
    int n = 0;
    for (int i = 0; i < AXES; i++)
        out[i] = 1;
    if (!has_slot(c, slot) || sm_arg(c->n, slot) == NULL)
        return SM_OK;
    SM_TRY(sm_inf_ints(c, slot, out, AXES, &n));
    if (n != k)
        return sm_inf_bad(c, slot, sm_arg(c->n, slot), "wanted %d elements", k);
    for (int i = 0; i < k; i++)
        if (out[i] < 1 || out[i] > INT32_MAX)
            return sm_inf_bad(c, slot, sm_arg(c->n, slot), "element %d is %" PRId64 ", wanted 1 or more", i, out[i]);
    return SM_OK;
}

static sm_status read_window(sm_inf *c, int k, window *w) {
    int n = 0;
    memset(w, 0, sizeof *w);
    w->k = k;
    SM_TRY(read_steps(c, "strides", k, w->stride));
    SM_TRY(read_steps(c, "dilations", k, w->dilation));
    SM_TRY(sm_inf_word(c, "pad_type", pad_words, &w->pad_type));
    if (has_slot(c, "ceil_mode"))
        SM_TRY(sm_inf_bool(c, "ceil_mode", &w->ceil));
    if (w->ceil && w->pad_type >= PAD_SAME)
        return SM_FAIL(c->err, SM_BADINPUT, "ceil_mode: not together with pad_type %s", pad_words[w->pad_type]);
    if (w->pad_type != PAD_CUSTOM)
        return SM_OK;
    SM_TRY(sm_inf_ints(c, "pad", w->pad, 2 * AXES, &n));
    if (n != 2 * k && n != 0)
        return sm_inf_bad(c, "pad", sm_arg(c->n, "pad"), "wanted %d elements", 2 * k);
    for (int i = 0; i < n; i++)
        if (w->pad[i] < 0 || w->pad[i] > INT32_MAX)
            return sm_inf_bad(c, "pad", sm_arg(c->n, "pad"), "element %d is %" PRId64, i, w->pad[i]);
    return SM_OK;
}

/* [n, channels, 1 to 3 spatial axes] of floats. */
static sm_status check_image(sm_inf *c, const sm_value *x, int *k) {
    *k = x->type.rank - 2;
    if (*k < 1 || *k > AXES)
        return sm_inf_bad(c, "x", x, "wanted [n, channels, 1 to 3 spatial axes]");
    if (!sm_is_float(x->type.dtype))
        return sm_inf_bad(c, "x", x, "wanted floats");
    return SM_OK;
}

/* Any of a and b unknown: unknown. */
static sm_dim add(sm_graph *g, sm_dim a, sm_dim b) {
    return a == SM_DIM_UNKNOWN || b == SM_DIM_UNKNOWN ? SM_DIM_UNKNOWN : sm_dim_add(g, a, b);
}

/* Elements from the first tap to the last, less 1. */
static sm_dim reach_of(sm_inf *c, const window *w, int i, sm_dim kernel) {
    return sm_dim_mul(c->g, sm_dim_sub(c->g, kernel, 1), w->dilation[i]);
}

static sm_dim ceil_extent(const window *w, int i, int64_t d, int64_t kernel) {
    int64_t pads = w->pad[2 * i] + w->pad[2 * i + 1], s = w->stride[i];
    int64_t out = (d + pads - kernel + s - 1) / s + 1;
    return pads > 0 && 2 * (out - 1) * s >= 2 * d + pads ? out - 1 : out;
}

/* Result extent of spatial axis i: extent d under a kernel. */
static sm_dim window_extent(sm_inf *c, const window *w, int i, sm_dim d, sm_dim kernel) {
    sm_graph *g = c->g;
    sm_dim span = d;
    if (w->pad_type < PAD_SAME) {
        sm_dim reach = reach_of(c, w, i, kernel);
        span = reach == SM_DIM_UNKNOWN ? reach : sm_dim_sub(g, d, reach);
        span = add(g, add(g, span, w->pad[2 * i]), w->pad[2 * i + 1]);
        if (w->ceil && (w->stride[i] > 1 || w->pad[2 * i] > 0))
            return sm_dim_known(d) && d < INT64_C(1) << 50 && sm_dim_known(span) && span > 0
                       ? ceil_extent(w, i, d, kernel)
                   : sm_dim_known(span) ? span
                                        : SM_DIM_UNKNOWN;
    }
    if (span == SM_DIM_UNKNOWN || w->stride[i] == 1)
        return span;
    sm_dim up = sm_dim_add(g, span, w->stride[i] - 1); /* both rules: ceil(span / stride) */
    return up == SM_DIM_UNKNOWN ? up : sm_dim_call(g, SM_FN_FLOOR_DIV, up, w->stride[i]);
}

static sm_status check_bias(sm_inf *c, sm_dim channels) {
    const sm_value *b = sm_arg(c->n, "bias");
    if (b != NULL && (b->type.rank != 1 || sm_dim_equal(c->g, b->type.dims[0], channels) == 0))
        return sm_inf_bad(c, "bias", b, "wanted one element per output channel");
    return SM_OK;
}

/* A per-channel or scalar parameter of conv_quantized. */
static sm_status check_quant(sm_inf *c, const char *slot, const sm_value *w) {
    const sm_value *v = sm_arg(c->n, slot);
    int64_t n = sm_type_numel(&v->type, INT64_MAX);
    if (!sm_is_float(v->type.dtype))
        return sm_inf_bad(c, slot, v, "wanted floats");
    if (n != 1 && (v->type.rank == 0 || sm_dim_equal(c->g, v->type.dims[0], w->type.dims[0]) == 0))
        return sm_inf_bad(c, slot, v, "wanted one element, or one per output channel");
    return SM_OK;
}

static sm_status check_weight(sm_inf *c, const sm_value *x, const sm_value *w) {
    sm_sv type = {0};
    int64_t nbits = 8;
    if (w->type.rank != x->type.rank)
        return sm_inf_bad(c, "weight", w, "wanted %d axes, like x", x->type.rank);
    if (c->n->op != SM_OP_CONV_QUANTIZED) {
        SM_TRY(sm_inf_operand(c, "weight", x->type.dtype, true));
        return sm_inf_operand(c, "bias", x->type.dtype, true);
    }
    sm_arg_str(c->n, "quantization_type", &type);
    if (!sm_sv_is(type, "linear"))
        return SM_FAIL(c->err, SM_UNSUPPORTED, "quantization_type: wanted linear, found %s: its table has no operand",
                       sm_quote(type.p, type.n));
    SM_TRY(sm_inf_int(c, "nbits", &nbits));
    if (nbits < 1 || nbits > 8)
        return SM_FAIL(c->err, SM_BADINPUT, "nbits: wanted 1..8, found %" PRId64, nbits);
    if (!sm_is_int(w->type.dtype))
        return sm_inf_bad(c, "weight", w, "wanted integers");
    SM_TRY(check_quant(c, "quant_scale", w));
    return check_quant(c, "quant_bias", w);
}

sm_status sm_infer_conv(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x"), *w = sm_arg(c->n, "weight");
    sm_dim dims[SM_MAX_RANK];
    int64_t groups = 1;
    window win;
    int k;
    SM_TRY(check_image(c, x, &k));
    SM_TRY(check_weight(c, x, w));
    SM_TRY(sm_inf_int(c, "groups", &groups));
    SM_TRY(read_window(c, k, &win));
    if (groups < 1 || sm_dim_div(c->g, w->type.dims[0], groups) == SM_DIM_UNKNOWN)
        return sm_inf_bad(c, "weight", w, "output channels do not divide into %" PRId64 " groups", groups);
    SM_TRY(sm_inf_same_dim(c, "channels of x and weight", x->type.dims[1], sm_dim_mul(c->g, w->type.dims[1], groups),
                           NULL));
    SM_TRY(check_bias(c, w->type.dims[0]));
    dims[0] = x->type.dims[0];
    dims[1] = w->type.dims[0];
    for (int i = 0; i < k; i++) {
        dims[2 + i] = window_extent(c, &win, i, x->type.dims[2 + i], w->type.dims[2 + i]);
        if (sm_dim_known(dims[2 + i]) && dims[2 + i] < 0)
            return sm_inf_bad(c, "x", x, "axis %d is shorter than the kernel", 2 + i);
    }
    return sm_inf_out(c, 0, x->type.dtype, x->type.rank, dims);
}

static sm_dim transposed_extent(sm_inf *c, const window *w, int i, sm_dim d, sm_dim kernel) {
    sm_graph *g = c->g;
    if (w->pad_type >= PAD_SAME)
        return sm_dim_mul(g, d, w->stride[i]);
    sm_dim steps = sm_dim_mul(g, sm_dim_sub(g, d, 1), w->stride[i]), reach = reach_of(c, w, i, kernel);
    return add(g, add(g, add(g, steps, reach), 1), -w->pad[2 * i] - w->pad[2 * i + 1]);
}

sm_status sm_infer_conv_transpose(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x"), *w = sm_arg(c->n, "weight"), *given = sm_arg(c->n, "output_shape");
    sm_dim dims[SM_MAX_RANK];
    int64_t groups = 1, shape[SM_MAX_RANK];
    window win;
    int k, n;
    SM_TRY(check_image(c, x, &k));
    SM_TRY(check_weight(c, x, w));
    SM_TRY(sm_inf_int(c, "groups", &groups));
    SM_TRY(read_window(c, k, &win));
    if (groups < 1 || sm_dim_div(c->g, w->type.dims[0], groups) == SM_DIM_UNKNOWN)
        return sm_inf_bad(c, "weight", w, "input channels do not divide into %" PRId64 " groups", groups);
    SM_TRY(sm_inf_same_dim(c, "channels of x and weight", x->type.dims[1], w->type.dims[0], NULL));
    dims[0] = x->type.dims[0];
    dims[1] = sm_dim_mul(c->g, w->type.dims[1], groups);
    SM_TRY(check_bias(c, dims[1]));
    for (int i = 0; i < k; i++)
        dims[2 + i] = transposed_extent(c, &win, i, x->type.dims[2 + i], w->type.dims[2 + i]);
    if (given != NULL) {
        SM_TRY(sm_inf_ints(c, "output_shape", shape, SM_MAX_RANK, &n));
        if (n != k + 2)
            return sm_inf_bad(c, "output_shape", given, "wanted %d elements", k + 2);
        SM_TRY(sm_inf_same_dim(c, "output_shape's batch", shape[0], dims[0], &dims[0]));
        SM_TRY(sm_inf_same_dim(c, "output_shape's channels", shape[1], dims[1], &dims[1]));
        for (int i = 0; i < k; i++)
            dims[2 + i] = shape[2 + i];
    }
    for (int i = 0; i < k; i++)
        if (sm_dim_known(dims[2 + i]) && dims[2 + i] < 0)
            return sm_inf_bad(c, "x", x, "leaves nothing of axis %d", 2 + i);
    return sm_inf_out(c, 0, x->type.dtype, x->type.rank, dims);
}

sm_status sm_infer_pool(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x"), *kernel = sm_arg(c->n, "kernel_sizes");
    sm_dim dims[SM_MAX_RANK];
    int64_t size[AXES];
    window win;
    int k, n;
    SM_TRY(check_image(c, x, &k));
    SM_TRY(read_window(c, k, &win));
    SM_TRY(sm_inf_ints(c, "kernel_sizes", size, AXES, &n));
    if (n != k)
        return sm_inf_bad(c, "kernel_sizes", kernel, "wanted %d elements", k);
    memcpy(dims, x->type.dims, sizeof dims);
    for (int i = 0; i < k; i++) {
        if (size[i] < 1 || size[i] > INT32_MAX)
            return sm_inf_bad(c, "kernel_sizes", kernel, "element %d is %" PRId64, i, size[i]);
        if (win.ceil && win.pad[2 * i] != win.pad[2 * i + 1])
            return sm_inf_bad(c, "pad", sm_arg(c->n, "pad"), "ceil_mode wants the same before and behind");
        dims[2 + i] = window_extent(c, &win, i, x->type.dims[2 + i], size[i]);
        if (sm_dim_known(dims[2 + i]) && dims[2 + i] < 1)
            return sm_inf_bad(c, "x", x, "axis %d is shorter than the kernel", 2 + i);
    }
    return sm_inf_out(c, 0, x->type.dtype, x->type.rank, dims);
}

/* ---- norms with one parameter per channel ---- */

static sm_status check_channels(sm_inf *c, const char *slot, const sm_value *x) {
    const sm_value *v = sm_arg(c->n, slot);
    if (v == NULL)
        return SM_OK;
    if (v->type.rank != 1 || !sm_is_float(v->type.dtype))
        return sm_inf_bad(c, slot, v, "wanted a vector of floats");
    return sm_inf_same_dim(c, slot, v->type.dims[0], x->type.dims[1], NULL);
}

sm_status sm_infer_channel_norm(sm_inf *c) {
    static const char *const slots[] = {"mean", "variance", "gamma", "beta"};
    const sm_value *x = sm_arg(c->n, "x");
    int64_t size = 1;
    if (x->type.rank < 2 || !sm_is_float(x->type.dtype))
        return sm_inf_bad(c, "x", x, "wanted floats, [n, channels, ...]");
    if (c->n->op == SM_OP_LOCAL_RESPONSE_NORM) {
        SM_TRY(sm_inf_int(c, "size", &size));
        if (size < 1 || size > INT32_MAX)
            return SM_FAIL(c->err, SM_BADINPUT, "size: wanted 1 or more, found %" PRId64, size);
        return sm_inf_like(c, 0, x);
    }
    for (size_t i = 0; i < SM_ARRAY_LEN(slots); i++)
        if (has_slot(c, slots[i]))
            SM_TRY(check_channels(c, slots[i], x));
    return sm_inf_like(c, 0, x);
}

/* gamma and beta have the shape of the axes that are normalised. */
sm_status sm_infer_layer_norm(sm_inf *c) {
    static const char *const slots[] = {"gamma", "beta"};
    const sm_value *x = sm_arg(c->n, "x");
    bool flag[SM_MAX_RANK];
    sm_dim want[SM_MAX_RANK];
    int rank = 0;
    if (!sm_is_float(x->type.dtype))
        return sm_inf_bad(c, "x", x, "wanted floats");
    SM_TRY(sm_inf_axes(c, "axes", x->type.rank, flag));
    for (int a = 0; a < x->type.rank; a++)
        if (flag[a])
            want[rank++] = x->type.dims[a];
    for (size_t i = 0; i < SM_ARRAY_LEN(slots); i++) {
        const sm_value *v = sm_arg(c->n, slots[i]);
        if (v == NULL)
            continue;
        if (v->type.rank != rank || !sm_is_float(v->type.dtype))
            return sm_inf_bad(c, slots[i], v, "wanted floats of %d axes, those that are normalised", rank);
        for (int a = 0; a < rank; a++)
            SM_TRY(sm_inf_same_dim(c, slots[i], v->type.dims[a], want[a], NULL));
    }
    return sm_inf_like(c, 0, x);
}
