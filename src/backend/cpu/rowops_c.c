/* SPDX-License-Identifier: MIT
 *
 * rowops_c.c: work on single rows between products, plain C: the specification.
 */
#include "backend/cpu/kernels.h"

#include <math.h>

#include "tensor/dtype.h"

static void rms_norm_c(const float *x, const float *gamma, int n, float eps, float *y) {
    double sum = 0.0;
    for (int i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    float r = (float)(1.0 / sqrt(sum / n + (double)eps));
    for (int i = 0; i < n; i++)
        y[i] = gamma ? x[i] * r * gamma[i] : x[i] * r;
}

static void rope_c(const float *x, const float *cos, const float *sin, int half, float *y) {
    for (int i = 0; i < half; i++) {
        float a = x[i], b = x[i + half];
        y[i] = a * cos[i] - b * sin[i];
        y[i + half] = b * cos[i] + a * sin[i];
    }
}

static void silu_c(const float *gate, const float *up, int n, float *out) {
    for (int i = 0; i < n; i++) {
        float v = gate[i] / (1.0f + expf(-gate[i]));
        out[i] = up ? v * up[i] : v;
    }
}

/* x/2 (1 + tanh(u)) = x / (1 + e^-2u), u = sqrt(2/pi) (x + 0.044715 x^3) */
static void gelu_tanh_c(const float *gate, const float *up, int n, float *out) {
    for (int i = 0; i < n; i++) {
        float x = gate[i], v = x / (1.0f + expf(-1.5957691216f * (x + 0.044715f * x * x * x)));
        out[i] = up ? v * up[i] : v;
    }
}

static void gelu_c(const float *gate, const float *up, int n, float *out) {
    for (int i = 0; i < n; i++) {
        float x = gate[i], v = 0.5f * x * erfcf(-0.70710678119f * x);
        out[i] = up ? v * up[i] : v;
    }
}

static void softcap_c(float *x, int n, float cap) {
    for (int i = 0; i < n; i++)
        x[i] = cap * tanhf(x[i] / cap);
}

static void add_c(const float *x, const float *y, int n, float *out) {
    for (int i = 0; i < n; i++)
        out[i] = x[i] + y[i];
}

static void mul_c(const float *x, const float *y, int n, float *out) {
    for (int i = 0; i < n; i++)
        out[i] = x[i] * y[i];
}

static void to_f16_c(const float *x, int n, uint16_t *out) {
    for (int i = 0; i < n; i++)
        out[i] = sm_f32_to_f16(x[i] > 65504.0f ? 65504.0f : x[i] < -65504.0f ? -65504.0f : x[i]);
}

void sm_rowops_init_c(sm_kernels *k) {
    k->rms_norm = rms_norm_c;
    k->rope = rope_c;
    k->act[SM_ACT_SILU] = silu_c;
    k->act[SM_ACT_GELU_TANH] = gelu_tanh_c;
    k->act[SM_ACT_GELU] = gelu_c;
    k->softcap = softcap_c;
    k->add = add_c;
    k->mul = mul_c;
    k->to_f16 = to_f16_c;
}
