/* SPDX-License-Identifier: MIT
 *
 * ref_rows.c: the composites of row-form functions, attention apart (ref_attention.c).  These loops are their numbers;
 * ops.def says the same in words.  Every result row is computed from its own input row, in an order that does not
 * depend on the other rows of the step.
 */
#include <inttypes.h>
#include <math.h>

#include "backend/ref/ref_int.h"

/* ids [t], table [vocab, d] -> scale * table[ids] [t, d] */
sm_status ref_embed(ref_call *c) {
    const ref_val *ids = ref_in(c, "ids");
    float scale = (float)ref_num(c, "scale");
    ref_weight w;
    SM_TRY(ref_weight_of(c, "table", &w));
    SM_TRY(ref_result(c, 0, c->node->out[0]->type.dtype, 2, (int64_t[]){ids->n, w.cols}));
    float *y = ref_out(c, 0)->f;
    for (int64_t i = 0; i < ids->n; i++, y += w.cols) {
        if (ref_is_float(ids) || ids->i[i] < 0 || ids->i[i] >= w.rows)
            return SM_FAIL(c->err, SM_BADINPUT, "id %" PRId64 " outside the vocabulary of %" PRId64, ids->i[i], w.rows);
        ref_weight_rows(&w, ids->i[i], 1, y);
        for (int64_t k = 0; scale != 1.0f && k < w.cols; k++)
            y[k] *= scale;
    }
    return SM_OK;
}

/* x [.., d]: x / sqrt(mean(x^2) + eps) * gamma [d] */
sm_status ref_rms_norm(ref_call *c) {
    const ref_val *x = ref_in(c, "x"), *gamma = ref_in(c, "gamma");
    double eps = ref_num(c, "eps");
    if (!ref_is_float(x) || x->rank < 1 || (gamma != NULL && gamma->n != x->dims[x->rank - 1]))
        return SM_FAIL(c->err, SM_BADINPUT, "x and gamma do not fit");
    SM_TRY(ref_result_like(c, 0, x));
    int64_t d = x->dims[x->rank - 1];
    float *y = ref_out(c, 0)->f;
    for (int64_t at = 0; at < x->n; at += d) {
        double sum = 0;
        for (int64_t i = 0; i < d; i++)
            sum += (double)x->f[at + i] * (double)x->f[at + i];
        float r = (float)(1.0 / sqrt(sum / (double)d + eps));
        for (int64_t i = 0; i < d; i++)
            y[at + i] = gamma == NULL ? x->f[at + i] * r : x->f[at + i] * r * gamma->f[i];
    }
    return SM_OK;
}

/* Within each head of row t of x [t, heads, d], for i < half:
 *     y[i]        = x[i] cs[i] - x[i + half] sn[i]
 *     y[i + half] = x[i + half] cs[i] + x[i] sn[i];   y[i] = x[i] from 2 half on */
static void turn_row(ref_call *c, const ref_val *x, int64_t t, int64_t half, const float *cs, const float *sn) {
    int64_t heads = x->dims[1], d = x->dims[2];
    for (int64_t h = 0; h < heads; h++) {
        const float *a = x->f + (t * heads + h) * d;
        float *b = ref_out(c, 0)->f + (t * heads + h) * d;
        for (int64_t i = 0; i < half; i++) {
            b[i] = a[i] * cs[i] - a[i + half] * sn[i];
            b[i + half] = a[i + half] * cs[i] + a[i] * sn[i];
        }
        for (int64_t i = 2 * half; i < d; i++)
            b[i] = a[i];
    }
}

/* x [t, heads, d], pos [t], inv_freq [rot / 2]: turns by the angle pos * inv_freq[i] in f32. */
sm_status ref_rope(ref_call *c) {
    const ref_val *x = ref_in(c, "x"), *pos = ref_in(c, "pos"), *freq = ref_in(c, "inv_freq");
    float scale = (float)ref_num(c, "scale");
    if (!ref_is_float(x) || x->rank != 3 || pos->n != x->dims[0] || ref_is_float(pos) || 2 * freq->n > x->dims[2])
        return SM_FAIL(c->err, SM_BADINPUT, "x, pos and inv_freq do not fit");
    SM_TRY(ref_result_like(c, 0, x));
    int64_t half = freq->n;
    float *cs = sm_alloc_n((size_t)(2 * half + 1), sizeof *cs);
    if (cs == NULL)
        return SM_NOMEM(c->err);
    for (int64_t t = 0; t < x->dims[0]; t++) {
        for (int64_t i = 0; i < half; i++) {
            double angle = (double)((float)pos->i[t] * freq->f[i]);
            cs[i] = (float)cos(angle) * scale;
            cs[half + i] = (float)sin(angle) * scale;
        }
        turn_row(c, x, t, half, cs, cs + half);
    }
    sm_free(cs);
    return SM_OK;
}

/* x [t, heads, d], pos [t], cos and sin [positions, rot / 2] */
sm_status ref_rope_table(ref_call *c) {
    const ref_val *x = ref_in(c, "x"), *pos = ref_in(c, "pos"), *cosine = ref_in(c, "cos"), *sine = ref_in(c, "sin");
    float scale = (float)ref_num(c, "scale");
    if (!ref_is_float(x) || x->rank != 3 || pos->n != x->dims[0] || ref_is_float(pos) || cosine->rank != 2 ||
        sine->rank != 2 || cosine->n != sine->n || cosine->dims[1] != sine->dims[1] || 2 * cosine->dims[1] > x->dims[2])
        return SM_FAIL(c->err, SM_BADINPUT, "x, pos, cos and sin do not fit");
    SM_TRY(ref_result_like(c, 0, x));
    int64_t half = cosine->dims[1];
    float *cs = sm_alloc_n((size_t)(2 * half + 1), sizeof *cs);
    sm_status st = cs == NULL ? SM_NOMEM(c->err) : SM_OK;
    for (int64_t t = 0; t < x->dims[0] && st == SM_OK; t++) {
        int64_t p = pos->i[t];
        if (p < 0 || p >= cosine->dims[0]) {
            st = SM_FAIL(c->err, SM_BADINPUT, "position %" PRId64 " outside the table of %" PRId64, p, cosine->dims[0]);
            break;
        }
        for (int64_t i = 0; i < half; i++) {
            cs[i] = cosine->f[p * half + i] * scale;
            cs[half + i] = sine->f[p * half + i] * scale;
        }
        turn_row(c, x, t, half, cs, cs + half);
    }
    sm_free(cs);
    return st;
}

/* down(act(gate x) * up x); x [.., d], gate and up [ff, d], down [d, ff] */
sm_status ref_gated_mlp(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    float (*act)(float) = ref_str_is(c, "act", "silu")        ? ref_silu
                          : ref_str_is(c, "act", "gelu")      ? ref_gelu
                          : ref_str_is(c, "act", "gelu_tanh") ? ref_gelu_tanh
                                                              : NULL;
    if (act == NULL)
        return SM_FAIL(c->err, SM_UNSUPPORTED, "unknown activation");
    ref_weight gate, up, down;
    SM_TRY(ref_weight_of(c, "gate", &gate));
    SM_TRY(ref_weight_of(c, "up", &up));
    SM_TRY(ref_weight_of(c, "down", &down));
    if (!ref_is_float(x) || x->rank < 1 || x->dims[x->rank - 1] != gate.cols || up.cols != gate.cols ||
        up.rows != gate.rows || down.cols != gate.rows || down.rows != gate.cols)
        return SM_FAIL(c->err, SM_BADINPUT, "x, gate, up and down do not fit");
    SM_TRY(ref_result_like(c, 0, x));
    int64_t n = ref_extent(x, 0, x->rank - 1), ff = gate.rows;
    float *g = sm_alloc_n((size_t)n, (size_t)ff * sizeof *g), *u = sm_alloc_n((size_t)n, (size_t)ff * sizeof *u);
    sm_status st = g == NULL || u == NULL ? SM_NOMEM(c->err) : SM_OK;
    if (st == SM_OK)
        st = ref_linear(c->e, x->f, n, &gate, 0, ff, NULL, g, ff, 1, c->err);
    if (st == SM_OK)
        st = ref_linear(c->e, x->f, n, &up, 0, ff, NULL, u, ff, 1, c->err);
    for (int64_t i = 0; st == SM_OK && i < n * ff; i++)
        g[i] = act(g[i]) * u[i];
    if (st == SM_OK)
        st = ref_linear(c->e, g, n, &down, 0, down.rows, NULL, ref_out(c, 0)->f, down.rows, 1, c->err);
    sm_free(g);
    sm_free(u);
    return st;
}

/* x [r, d], weight [vocab, d] -> logits [r, vocab] */
sm_status ref_lm_head(ref_call *c) {
    float cap = (float)ref_num(c, "softcap");
    SM_TRY(ref_linear_op(c));
    ref_val *y = ref_out(c, 0);
    for (int64_t i = 0; cap > 0 && i < y->n; i++)
        y->f[i] = cap * (float)tanh((double)(y->f[i] / cap));
    return SM_OK;
}
