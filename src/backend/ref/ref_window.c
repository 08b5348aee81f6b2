/* SPDX-License-Identifier: MIT
 *
 * ref_window.c: where the windows of convolutions and pools lie (ref_int.h, ref_window).
 *
 * Padding of `same` is what makes the result ceil(in / stride) long, the odd element behind, or before with same_lower.
 * Ceil mode keeps a last window that only partly lies on x, but not one that begins in the padding behind it.
 */
#include <inttypes.h>

#include "backend/ref/ref_int.h"

static sm_status steps_of(ref_call *c, const char *slot, int nd, int64_t *out) {
    int n = -1;
    int64_t v[REF_AXES];
    for (int i = 0; i < REF_AXES; i++)
        out[i] = 1;
    if (sm_op_slot(c->node->op, slot) >= 0)
        SM_TRY(ref_ints(c, slot, v, REF_AXES, &n));
    if (n >= 0 && n != nd)
        return SM_FAIL(c->err, SM_BADINPUT, "'%s' has %d elements, wanted %d", slot, n, nd);
    for (int i = 0; i < n; i++) {
        if (v[i] < 1 || v[i] > INT32_MAX)
            return SM_FAIL(c->err, SM_BADINPUT, "%s of axis %d is %" PRId64, slot, i, v[i]);
        out[REF_AXES - nd + i] = v[i];
    }
    return SM_OK;
}

/* Strides, dilations, custom padding; kernel and extents of x. */
static sm_status read_window(ref_call *c, int nd, const int64_t *in, const int64_t *kernel, ref_window *w) {
    static const char *const words[] = {"valid", "custom", "same", "same_lower", NULL};
    int64_t pad[2 * REF_AXES] = {0};
    int n = -1, lead = REF_AXES - nd;
    *w = (ref_window){.nd = nd, .taps = 1, .positions = 1, .plane = 1};
    if (nd < 1 || nd > REF_AXES)
        return SM_FAIL(c->err, SM_BADINPUT, "%d spatial axes", nd);
    SM_TRY(steps_of(c, "strides", nd, w->stride));
    SM_TRY(steps_of(c, "dilations", nd, w->dilation));
    w->pad_type = sm_arg_word(c->node, "pad_type", words);
    w->ceil = sm_op_slot(c->node->op, "ceil_mode") >= 0 && ref_bool(c, "ceil_mode");
    if (w->pad_type < 0)
        return SM_FAIL(c->err, SM_UNSUPPORTED, "unknown pad_type");
    if (w->pad_type == REF_PAD_CUSTOM)
        SM_TRY(ref_ints(c, "pad", pad, 2 * REF_AXES, &n));
    if (n > 0 && n != 2 * nd)
        return SM_FAIL(c->err, SM_BADINPUT, "'pad' has %d elements, wanted %d", n, 2 * nd);
    for (int i = 0; i < REF_AXES; i++) {
        int k = i - lead;
        w->in[i] = k < 0 ? 1 : in[k];
        w->k[i] = k < 0 ? 1 : kernel[k];
        w->pad[i] = k < 0 ? 0 : pad[2 * k];
        w->behind[i] = k < 0 ? 0 : pad[2 * k + 1];
        if (w->k[i] < 1 || w->k[i] > INT32_MAX || w->pad[i] < 0 || w->behind[i] < 0 || w->pad[i] > INT32_MAX ||
            w->behind[i] > INT32_MAX || w->in[i] > INT32_MAX)
            return SM_FAIL(c->err, SM_BADINPUT, "axis %d: a kernel of %" PRId64 " with padding %" PRId64 ", %" PRId64,
                           k, w->k[i], w->pad[i], w->behind[i]);
        if (__builtin_mul_overflow(w->taps, w->k[i], &w->taps))
            return SM_FAIL(c->err, SM_RESOURCE, "the kernel is too large");
        if (w->in[i] < 0 || __builtin_mul_overflow(w->plane, w->in[i], &w->plane))
            return SM_FAIL(c->err, SM_RESOURCE, "x is too large");
    }
    return SM_OK;
}

static sm_status count_positions(ref_call *c, ref_window *w) {
    for (int i = 0; i < REF_AXES; i++)
        if (w->out[i] < 0 || __builtin_mul_overflow(w->positions, w->out[i], &w->positions))
            return SM_FAIL(c->err, SM_BADINPUT, "axis %d: the result has extent %" PRId64, i, w->out[i]);
    return SM_OK;
}

sm_status ref_window_of(ref_call *c, int nd, const int64_t *in, const int64_t *kernel, ref_window *w) {
    SM_TRY(read_window(c, nd, in, kernel, w));
    for (int i = 0; i < REF_AXES; i++) {
        int64_t span = (w->k[i] - 1) * w->dilation[i] + 1, all = w->pad[i] + w->behind[i], s = w->stride[i];
        if (w->pad_type >= REF_PAD_SAME) {
            w->out[i] = (w->in[i] + s - 1) / s;
            all = SM_MAX((w->out[i] - 1) * s + span - w->in[i], 0);
            w->pad[i] = w->pad_type == REF_PAD_SAME ? all / 2 : all - all / 2;
            w->behind[i] = all - w->pad[i];
            continue;
        }
        if (w->in[i] + all < span)
            return SM_FAIL(c->err, SM_BADINPUT, "axis %d: extent %" PRId64 " is below the kernel's %" PRId64,
                           i - (REF_AXES - nd), w->in[i], span);
        w->out[i] = (w->in[i] + all - span + (w->ceil ? s - 1 : 0)) / s + 1;
        if (w->ceil && all > 0 && 2 * (w->out[i] - 1) * s >= 2 * w->in[i] + all)
            w->out[i]--;
    }
    return count_positions(c, w);
}

sm_status ref_window_transposed(ref_call *c, int nd, const int64_t *in, const int64_t *kernel, const int64_t *given,
                                ref_window *w) {
    SM_TRY(read_window(c, nd, in, kernel, w));
    for (int i = 0; i < REF_AXES; i++) {
        int k = i - (REF_AXES - nd);
        int64_t s = w->stride[i], full = (w->in[i] - 1) * s + (w->k[i] - 1) * w->dilation[i] + 1;
        bool same = w->pad_type >= REF_PAD_SAME && k >= 0;
        w->out[i] = given != NULL && k >= 0 ? given[k] : same ? w->in[i] * s : full - w->pad[i] - w->behind[i];
        if (same) { /* the forward convolution's padding */
            int64_t all = SM_MAX(full - w->out[i], 0);
            w->pad[i] = w->pad_type == REF_PAD_SAME ? all / 2 : all - all / 2;
        }
    }
    return count_positions(c, w);
}
