/* SPDX-License-Identifier: MIT
 *
 * ref_conv.c: convolutions of 1 to 3 axes: the input under each output position becomes a row (patches), rows times
 * weights the result.  A 1 x 1 convolution, which is a linear layer in channel-first layout, falls out of it.
 */
#include <inttypes.h>
#include <string.h>

#include "backend/ref/ref_int.h"

enum { AXES = 3 };

typedef struct conv {
    int nd;
    int64_t in[AXES], out[AXES], k[AXES], stride[AXES], dilation[AXES], pad[AXES]; /* pad before */
    int64_t positions, taps, channels;                                             /* channels of one group */
} conv;

static sm_status axis_params(ref_call *c, const char *slot, int nd, int64_t def, int64_t *out) {
    int n;
    SM_TRY(ref_ints(c, slot, out, AXES, &n));
    for (int i = n < 0 ? 0 : n; i < AXES; i++)
        out[i] = def;
    for (int i = 0; i < nd; i++)
        if (out[i] < 1)
            return SM_FAIL(c->err, SM_BADINPUT, "%s of axis %d is %" PRId64, slot, i, out[i]);
    return n >= 0 && n != nd ? SM_FAIL(c->err, SM_BADINPUT, "'%s' has %d elements, wanted %d", slot, n, nd) : SM_OK;
}

/* Output extents and the padding before each axis. */
static sm_status conv_extents(ref_call *c, conv *v) {
    int64_t pad[2 * AXES] = {0};
    int n = -1;
    bool same = ref_str_is(c, "pad_type", "same"), lower = ref_str_is(c, "pad_type", "same_lower");
    if (ref_str_is(c, "pad_type", "custom"))
        SM_TRY(ref_ints(c, "pad", pad, 2 * AXES, &n));
    else if (!same && !lower && !ref_str_is(c, "pad_type", "valid"))
        return SM_FAIL(c->err, SM_UNSUPPORTED, "unknown pad_type");
    v->positions = 1;
    for (int i = 0; i < v->nd; i++) {
        int64_t span = (v->k[i] - 1) * v->dilation[i] + 1, all = pad[2 * i] + pad[2 * i + 1];
        v->pad[i] = pad[2 * i];
        v->out[i] = (v->in[i] + all - span) / v->stride[i] + 1;
        if (same || lower) {
            v->out[i] = (v->in[i] + v->stride[i] - 1) / v->stride[i];
            all = SM_MAX((v->out[i] - 1) * v->stride[i] + span - v->in[i], 0);
            v->pad[i] = same ? all / 2 : all - all / 2;
        }
        if (pad[2 * i] < 0 || pad[2 * i + 1] < 0 || v->in[i] + all < span)
            return SM_FAIL(c->err, SM_BADINPUT, "axis %d: extent %" PRId64 " is below the kernel's %" PRId64, i,
                           v->in[i], span);
        v->positions *= v->out[i];
    }
    return SM_OK;
}

/* Row of taps (channel, kernel) under output position p. */
static void gather_patch(const conv *v, const float *x, int64_t p, float *row) {
    int64_t at[AXES], plane = 1;
    for (int i = v->nd - 1; i >= 0; i--) {
        at[i] = p % v->out[i] * v->stride[i] - v->pad[i];
        p /= v->out[i];
        plane *= v->in[i];
    }
    for (int64_t t = 0; t < v->taps; t++) {
        int64_t rest = t, off = 0, step = 1;
        bool inside = true;
        for (int i = v->nd - 1; i >= 0; i--) {
            int64_t q = at[i] + rest % v->k[i] * v->dilation[i];
            inside = inside && q >= 0 && q < v->in[i];
            rest /= v->k[i];
            off += q * step;
            step *= v->in[i];
        }
        for (int64_t ch = 0; ch < v->channels; ch++)
            row[ch * v->taps + t] = inside ? x[ch * plane + off] : 0.0f;
    }
}

static sm_status conv_shapes(ref_call *c, const ref_val *x, const ref_weight *w, int64_t groups, conv *v) {
    const sm_type *wt = &sm_arg(c->node, "weight")->type;
    const ref_val *wv = ref_in(c, "weight");
    *v = (conv){.nd = x->rank - 2, .taps = 1};
    if (!ref_is_float(x) || v->nd < 1 || v->nd > AXES || wt->rank != x->rank)
        return SM_FAIL(c->err, SM_UNSUPPORTED, "x of rank %d with weight of rank %d", x->rank, wt->rank);
    SM_TRY(axis_params(c, "strides", v->nd, 1, v->stride));
    SM_TRY(axis_params(c, "dilations", v->nd, 1, v->dilation));
    for (int i = 0; i < v->nd; i++) {
        v->in[i] = x->dims[2 + i];
        v->k[i] = wv != NULL ? wv->dims[2 + i] : wt->dims[2 + i];
        v->taps *= v->k[i];
    }
    v->channels = v->taps > 0 ? w->cols / v->taps : 0;
    if (v->taps < 1 || groups < 1 || x->dims[1] != v->channels * groups || w->rows % groups != 0)
        return SM_FAIL(c->err, SM_BADINPUT, "%" PRId64 " channels in %" PRId64 " groups do not fit the weight",
                       x->dims[1], groups);
    return conv_extents(c, v);
}

sm_status ref_conv(ref_call *c) {
    const ref_val *x = ref_in(c, "x"), *bias = ref_in(c, "bias");
    int64_t groups = ref_int(c, "groups"), dims[SM_MAX_RANK];
    ref_weight w;
    conv v;
    SM_TRY(ref_weight_of(c, "weight", &w));
    SM_TRY(conv_shapes(c, x, &w, groups, &v));
    if (bias != NULL && bias->n != w.rows)
        return SM_FAIL(c->err, SM_BADINPUT, "bias has %" PRId64 " elements, wanted %" PRId64, bias->n, w.rows);
    dims[0] = x->dims[0];
    dims[1] = w.rows;
    memcpy(dims + 2, v.out, sizeof v.out);
    SM_TRY(ref_result(c, 0, x->dtype, x->rank, dims));
    float *y = ref_out(c, 0)->f, *patches = sm_alloc_n((size_t)v.positions, (size_t)w.cols * sizeof *patches);
    sm_status st = patches == NULL ? SM_NOMEM(c->err) : SM_OK;
    int64_t per_group = w.rows / groups, group_size = x->dims[0] == 0 ? 0 : x->n / x->dims[0] / groups;
    for (int64_t i = 0; st == SM_OK && i < x->dims[0] * groups; i++) {
        int64_t g = i % groups;
        for (int64_t p = 0; p < v.positions; p++)
            gather_patch(&v, x->f + i * group_size, p, patches + p * w.cols);
        st = ref_linear(c->e, patches, v.positions, &w, g * per_group, per_group,
                        bias == NULL ? NULL : bias->f + g * per_group, y + i * per_group * v.positions, 1, v.positions,
                        c->err);
    }
    sm_free(patches);
    return st;
}
