/* SPDX-License-Identifier: MIT
 *
 * ref_norm.c: norms of [n, channels, ...] with parameters per channel; layer_norm and l2_norm are in ref_reduce.c.
 */
#include <math.h>

#include "backend/ref/ref_int.h"

/* Floats with a channel axis, parameters of one element per channel; *plane: elements behind the channel. */
static sm_status check_channels(ref_call *c, const ref_val *x, const ref_val *const *params, int n, int64_t *plane) {
    if (!ref_is_float(x) || x->rank < 2)
        return SM_FAIL(c->err, SM_BADINPUT, "wanted floats of rank 2 or more");
    for (int i = 0; i < n; i++)
        if (params[i] != NULL && (params[i]->n != x->dims[1] || !ref_is_float(params[i])))
            return SM_FAIL(c->err, SM_BADINPUT, "a parameter does not have one element per channel");
    *plane = ref_extent(x, 2, x->rank);
    return ref_result_like(c, 0, x);
}

/* y = (x - mean) * r * gamma + beta over one channel's plane */
static void scale_plane(const float *x, int64_t n, double mean, double r, const ref_val *gamma, const ref_val *beta,
                        int64_t ch, float *y) {
    double g = gamma != NULL ? (double)gamma->f[ch] : 1, b = beta != NULL ? (double)beta->f[ch] : 0;
    for (int64_t i = 0; i < n; i++)
        y[i] = (float)(((double)x[i] - mean) * r * g + b);
}

sm_status ref_batch_norm(ref_call *c) {
    const ref_val *x = ref_in(c, "x"),
                  *p[4] = {ref_in(c, "mean"), ref_in(c, "variance"), ref_in(c, "gamma"), ref_in(c, "beta")};
    double eps = ref_num(c, "epsilon");
    int64_t plane = 0;
    SM_TRY(check_channels(c, x, p, 4, &plane));
    for (int64_t k = 0; plane > 0 && k < x->n / plane; k++) {
        int64_t ch = k % x->dims[1];
        scale_plane(x->f + k * plane, plane, (double)p[0]->f[ch], 1 / sqrt((double)p[1]->f[ch] + eps), p[2], p[3], ch,
                    ref_out(c, 0)->f + k * plane);
    }
    return SM_OK;
}

sm_status ref_instance_norm(ref_call *c) {
    const ref_val *x = ref_in(c, "x"), *p[2] = {ref_in(c, "gamma"), ref_in(c, "beta")};
    double eps = ref_num(c, "epsilon");
    int64_t plane = 0;
    SM_TRY(check_channels(c, x, p, 2, &plane));
    for (int64_t k = 0; plane > 0 && k < x->n / plane; k++) {
        const float *v = x->f + k * plane;
        double mean = 0, var = 0;
        for (int64_t i = 0; i < plane; i++)
            mean += (double)v[i];
        mean /= (double)plane;
        for (int64_t i = 0; i < plane; i++)
            var += ((double)v[i] - mean) * ((double)v[i] - mean);
        scale_plane(v, plane, mean, 1 / sqrt(var / (double)plane + eps), p[0], p[1], k % x->dims[1],
                    ref_out(c, 0)->f + k * plane);
    }
    return SM_OK;
}

/* The window of `size` channels around c: size / 2 before it, (size - 1) / 2 behind, fewer at the ends. */
sm_status ref_local_response_norm(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    double alpha = ref_num(c, "alpha"), beta = ref_num(c, "beta"), k = ref_num(c, "k");
    int64_t size = ref_int(c, "size"), plane = 0;
    SM_TRY(check_channels(c, x, NULL, 0, &plane));
    if (size < 1)
        return SM_FAIL(c->err, SM_BADINPUT, "size is below 1");
    int64_t channels = x->dims[1];
    for (int64_t e = 0; e < x->n; e++) {
        int64_t ch = e / plane % channels;
        int64_t from = size / 2 > ch ? 0 : ch - size / 2, to = SM_MIN(channels - 1 - ch, (size - 1) / 2) + ch;
        double sum = 0;
        for (int64_t j = from; j <= to; j++) {
            double v = (double)x->f[e + (j - ch) * plane];
            sum += v * v;
        }
        ref_out(c, 0)->f[e] = (float)((double)x->f[e] / pow(k + alpha / (double)size * sum, beta));
    }
    return SM_OK;
}
