/* SPDX-License-Identifier: MIT
 *
 * ref_pool.c: average, largest and Euclidean norm of windows (ref_window.c says where they lie).
 *
 * Padding counts as zeros in an average, but only as far as it was asked for: what a last window of ceil mode reaches
 * beyond it counts for nothing, as in PyTorch.  For the largest, padding is below everything.
 */
#include <math.h>
#include <string.h>

#include "backend/ref/ref_int.h"

/* First and last element (one past) of x under a window, and its length with the padding. */
typedef struct span {
    int64_t from, to, all;
} span;

static span span_of(const ref_window *w, int i, int64_t at) {
    int64_t first = at * w->stride[i] - w->pad[i], last = SM_MIN(first + w->k[i], w->in[i] + w->behind[i]);
    return (span){SM_MAX(first, 0), SM_MIN(last, w->in[i]), last - first};
}

static float pool_window(sm_op op, bool inside_only, const ref_window *w, const float *x, int64_t p) {
    span s[REF_AXES];
    double sum = 0, most = -INFINITY, n = 1, all = 1;
    for (int i = REF_AXES - 1; i >= 0; i--) {
        s[i] = span_of(w, i, p % w->out[i]);
        p /= w->out[i];
        n *= (double)SM_MAX(s[i].to - s[i].from, 0);
        all *= (double)SM_MAX(s[i].all, 0);
    }
    for (int64_t a = s[0].from; a < s[0].to; a++)
        for (int64_t b = s[1].from; b < s[1].to; b++)
            for (int64_t k = s[2].from; k < s[2].to; k++) {
                double v = (double)x[(a * w->in[1] + b) * w->in[2] + k];
                sum += op == SM_OP_L2_POOL ? v * v : v;
                most = v > most || isnan(v) ? v : most;
            }
    if (op == SM_OP_MAX_POOL)
        return (float)most;
    if (op == SM_OP_L2_POOL)
        return (float)sqrt(sum);
    double by = inside_only ? n : all;
    return by > 0 ? (float)(sum / by) : 0.0f;
}

sm_status ref_pool_plan(ref_call *c, ref_window *w) {
    const ref_val *x = ref_in(c, "x");
    int64_t k[REF_AXES], dims[SM_MAX_RANK];
    int n;
    SM_TRY(ref_ints(c, "kernel_sizes", k, REF_AXES, &n));
    if (!ref_is_float(x) || x->rank < 3 || n != x->rank - 2)
        return SM_FAIL(c->err, SM_BADINPUT, "x of rank %d with a kernel of %d axes", x->rank, n);
    SM_TRY(ref_window_of(c, n, x->dims + 2, k, w));
    memcpy(dims, x->dims, sizeof dims);
    memcpy(dims + 2, w->out + REF_AXES - n, (size_t)n * sizeof *dims);
    return ref_result(c, 0, x->dtype, x->rank, dims);
}

sm_status ref_pool(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    sm_op op = c->node->op;
    bool inside_only = op == SM_OP_AVG_POOL && ref_bool(c, "exclude_padding_from_average");
    ref_window w;
    SM_TRY(ref_pool_plan(c, &w));
    float *y = ref_out(c, 0)->f;
    for (int64_t e = 0; e < ref_out(c, 0)->n; e++)
        y[e] = pool_window(op, inside_only, &w, x->f + e / w.positions * w.plane, e % w.positions);
    return SM_OK;
}
