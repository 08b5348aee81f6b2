/* SPDX-License-Identifier: MIT
 *
 * rope_table.c: rotary frequencies, plain and scaled for longer contexts.
 *
 * Computed in double and rounded once, so that position 8191 turns by the right angle.  Every kind of scaling ends as a
 * table of frequencies, the only thing that smelt.rope knows.
 */
#include <math.h>

#include "model/blocks.h"

void sm_rope_base(double base, int rot, float *inv_freq) {
    for (int i = 0; i < rot / 2; i++)
        inv_freq[i] = (float)pow(base, -2.0 * i / rot);
}

/* Llama 3.1: wavelengths beyond ctx / low are stretched by factor, those under ctx / high stay, smooth between. */
void sm_rope_llama3(double factor, double low, double high, double ctx, int n, float *inv_freq) {
    for (int i = 0; i < n; i++) {
        double f = inv_freq[i], wavelen = 2.0 * M_PI / f;
        if (wavelen > ctx / low) {
            f /= factor;
        } else if (wavelen >= ctx / high) {
            double smooth = (ctx / wavelen - low) / (high - low);
            f = (1.0 - smooth) * f / factor + smooth * f;
        }
        inv_freq[i] = (float)f;
    }
}

static sm_rope rope_const(sm_mb *m, const char *name, const float *inv_freq, int n) {
    int64_t dims[1] = {n};
    sm_rope r = {NULL, 1.0};
    if (m->b.st == SM_OK)
        r.inv_freq = sm_const_data(&m->b, name, SM_FP32, 1, dims, inv_freq);
    return r;
}

enum { ROT_MAX = 4096 };

/* Room for the table of a head: where q and k come interleaved, pairs lie half a head apart however few of them turn, so
 * the table covers the whole head and its tail turns by nothing. */
static int table_len(const sm_mb *m, int rot) {
    return m->interleaved_qk ? m->info->head_dim / 2 : rot / 2;
}

static bool rot_ok(sm_mb *m, int rot) {
    if (m->b.st == SM_OK && (rot < 2 || rot % 2 != 0 || rot > m->info->head_dim || m->info->head_dim > ROT_MAX))
        SM_MB_FAIL(m, SM_BADINPUT, "%s: rotary width: wanted an even number of 2..%d, found %d", m->c->path,
                   SM_MIN(m->info->head_dim, ROT_MAX), rot);
    return m->b.st == SM_OK;
}

sm_rope sm_mb_rope_plain(sm_mb *m, const char *name, double base, int rot) {
    float inv_freq[ROT_MAX / 2] = {0};
    if (!rot_ok(m, rot))
        return (sm_rope){NULL, 1.0};
    sm_rope_base(base, rot, inv_freq);
    return rope_const(m, name, inv_freq, table_len(m, rot));
}

sm_rope sm_mb_rope(sm_mb *m, double base, int rot) {
    float inv_freq[ROT_MAX / 2] = {0};
    if (!rot_ok(m, rot))
        return (sm_rope){NULL, 1.0};
    sm_rope_base(base, rot, inv_freq);
    sm_sv kind = sm_mb_text(m, SM_H_ROPE_SCALING);
    double factor = sm_mb_float(m, SM_H_ROPE_FACTOR, 1.0, 1e-6, 1e6);
    if (sm_sv_is(kind, "linear") || (kind.n == 0 && (factor != 1.0 || sm_mb_has(m, SM_H_ROPE_SCALE_LINEAR)))) {
        if (!sm_mb_has(m, SM_H_ROPE_FACTOR))
            factor = sm_mb_float(m, SM_H_ROPE_SCALE_LINEAR, 1.0, 1e-6, 1e6);
        for (int i = 0; i < rot / 2; i++)
            inv_freq[i] = (float)(inv_freq[i] / factor);
    } else if (sm_sv_is(kind, "llama3")) {
        sm_rope_llama3(factor, sm_mb_float(m, SM_H_ROPE_LOW, 1.0, 1e-6, 1e6),
                       sm_mb_float(m, SM_H_ROPE_HIGH, 4.0, 1e-6, 1e6), sm_mb_float(m, SM_H_ROPE_CTX, 8192, 1, 1e9),
                       rot / 2, inv_freq);
    } else if (kind.n != 0 && !sm_sv_is(kind, "none") && !sm_sv_is(kind, "default")) {
        SM_MB_FAIL(m, SM_UNSUPPORTED, "%s: RoPE scaling '%.*s' is not supported: wanted none, linear or llama3",
                   m->c->path, (int)kind.n, kind.p);
        return (sm_rope){NULL, 1.0};
    }
    /* GGUF ships llama3's scaling as divisors, one a frequency. */
    sm_value *div = sm_mb_weight_opt(m, SM_W_ROPE_FACTORS, 0, 0, rot / 2);
    if (div) {
        float d[ROT_MAX / 2];
        sm_decode_rows(&div->cst->src, 0, 1, d);
        for (int i = 0; i < rot / 2; i++) {
            if (!(d[i] > 0.0f)) {
                SM_MB_FAIL(m, SM_BADINPUT, "%s: tensor rope_freqs.weight, element %d: wanted above 0, found %g",
                           m->c->path, i, (double)d[i]);
                return (sm_rope){NULL, 1.0};
            }
            inv_freq[i] = (float)((double)inv_freq[i] / d[i]);
        }
    }
    return rope_const(m, "rope_inv_freq", inv_freq, table_len(m, rot));
}
