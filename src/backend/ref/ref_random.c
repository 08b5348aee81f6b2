/* SPDX-License-Identifier: MIT
 *
 * ref_random.c: random ops.
 *
 * Core ML does not say which numbers its generators give, so these are ours, and the same on every machine: element i of
 * a draw is a function of the draw's key and of i alone.
 *
 *     mix(z)       z ^= z >> 30;  z *= 0xbf58476d1ce4e5b9;  z ^= z >> 27;  z *= 0x94d049bb133111eb;  z ^= z >> 31
 *                  (SplitMix64's output function; arithmetic modulo 2^64)
 *     word(k, i)   mix(k + (i + 1) * 0x9e3779b97f4a7c15)
 *     unit(k, i)   the upper 53 bits of word(k, i), times 2^-53: in [0, 1)
 *     key          mix(seed) of a seed given; for the seed -1, mix(mix(~0) + draws since the program was compiled)
 *
 *     uniform      low + (high - low) * unit(k, i)
 *     bernoulli    1 where unit(k, i) < prob
 *     normal       mean + stddev * sqrt(-2 ln(1 - unit(k, 2 i))) * cos(2 pi unit(k, 2 i + 1))
 *     categorical  the first index whose running sum of weights exceeds unit(k, i) times their total; weights are e^x, or x
 *
 * So a seed gives the same numbers at every call; without one, calls differ, and a run as a whole can be repeated.
 */
#include <math.h>

#include "backend/ref/ref_int.h"

static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static double unit(uint64_t key, uint64_t i) {
    return (double)(mix(key + (i + 1) * UINT64_C(0x9e3779b97f4a7c15)) >> 11) * 0x1p-53;
}

static uint64_t key_of(ref_call *c) {
    int64_t seed = ref_int(c, "seed");
    return seed == -1 ? mix(mix(~UINT64_C(0)) + c->e->n_draws++) : mix((uint64_t)seed);
}

/* Rounded to f32 but below `high`. */
static float uniform(double u, double low, double high) {
    float y = (float)(low + (high - low) * u);
    return high > low && (double)y >= high ? nextafterf((float)high, (float)low) : y;
}

sm_status ref_random(ref_call *c) {
    sm_op op = c->node->op;
    int64_t dims[SM_MAX_RANK];
    int rank;
    SM_TRY(ref_ints(c, "shape", dims, SM_MAX_RANK, &rank));
    SM_TRY(ref_result(c, 0, c->node->out[0]->type.dtype, SM_MAX(rank, 0), dims));
    ref_val *y = ref_out(c, 0);
    uint64_t key = key_of(c);
    bool normal = op == SM_OP_RANDOM_NORMAL, bernoulli = op == SM_OP_RANDOM_BERNOULLI;
    double a = ref_num(c, normal ? "mean" : bernoulli ? "prob" : "low");
    double b = bernoulli ? 0 : ref_num(c, normal ? "stddev" : "high");
    if (!ref_is_float(y))
        return SM_FAIL(c->err, SM_BADINPUT, "a result of %s", sm_dtype_name(y->dtype));
    for (int64_t i = 0; i < y->n; i++) {
        uint64_t k = (uint64_t)i;
        if (normal)
            y->f[i] = (float)(a + b * sqrt(-2 * log(1 - unit(key, 2 * k))) *
                                      cos(2 * 3.14159265358979323846 * unit(key, 2 * k + 1)));
        else
            y->f[i] = bernoulli ? unit(key, k) < a : uniform(unit(key, k), a, b);
    }
    return SM_OK;
}

/* Running sums of the weights of one distribution; false when they have no sum above 0. */
static bool running_sums(const float *x, int64_t n, bool logits, double *sum) {
    double most = -INFINITY, total = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, (double)x[i]);
    for (int64_t i = 0; i < n; i++)
        sum[i] = total += logits ? exp((double)x[i] - most) : fmax((double)x[i], 0);
    return n > 0 && total > 0 && isfinite(total);
}

sm_status ref_random_categorical(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    int64_t size = ref_int(c, "size"), dims[SM_MAX_RANK];
    bool logits = ref_str_is(c, "mode", "logits");
    if (x->rank < 1 || !ref_is_float(x) || (!logits && !ref_str_is(c, "mode", "probs")))
        return SM_FAIL(c->err, SM_BADINPUT, "wanted floats with at least one axis; mode logits or probs");
    for (int i = 0; i < x->rank; i++)
        dims[i] = x->dims[i];
    int64_t n = dims[x->rank - 1];
    dims[x->rank - 1] = size;
    SM_TRY(ref_result(c, 0, x->dtype, x->rank, dims));
    double *sum = sm_alloc_n((size_t)n + 1, sizeof *sum);
    if (sum == NULL)
        return SM_NOMEM(c->err);
    ref_val *y = ref_out(c, 0);
    uint64_t key = key_of(c);
    sm_status st = SM_OK;
    for (int64_t i = 0; i < y->n && st == SM_OK; i++) {
        if (i % size == 0 && !running_sums(x->f + i / size * n, n, logits, sum))
            st = SM_FAIL(c->err, SM_BADINPUT, "a distribution without any probability");
        int64_t k = 0;
        for (double at = unit(key, (uint64_t)i) * sum[n > 0 ? n - 1 : 0]; k < n - 1 && sum[k] <= at;)
            k++;
        y->f[i] = (float)k;
    }
    sm_free(sum);
    return st;
}
