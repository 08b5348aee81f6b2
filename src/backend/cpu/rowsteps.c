/* SPDX-License-Identifier: MIT
 *
 * rowsteps.c: row-wise steps: a thread takes the same share of rows in each of them.
 */
#include <math.h>
#include <string.h>

#include "backend/cpu/cpu_int.h"

typedef struct span {
    int from, to;
} span;

static span share(const sm_exe *e, const sm_step *s, int ith, int nth) {
    int n = cpu_n_rows(e, s->rows);
    return (span){(int)((int64_t)n * ith / nth), (int)((int64_t)n * (ith + 1) / nth)};
}

void cpu_run_embed(sm_exe *e, const sm_step *s, int ith, int nth) {
    span r = share(e, s, ith, nth);
    const sm_cpu_weight *w = &e->weights.v[s->u.embed.weight];
    float scale = s->u.embed.scale;
    for (int i = r.from; i < r.to; i++) {
        float *out = cpu_row_f32(e, s->out, i);
        if (w->packed) {
            sm_packed_row(&w->p, e->batch->ids[i], scale, out);
            continue;
        }
        sm_decode_rows(&w->v->cst->src, (uint64_t)e->batch->ids[i], 1, out);
        for (int k = 0; scale != 1.0f && k < s->n; k++)
            out[k] *= scale;
    }
}

void cpu_run_norm(sm_exe *e, const sm_step *s, int ith, int nth) {
    span r = share(e, s, ith, nth);
    for (int i = r.from; i < r.to; i++) {
        const float *x = cpu_row_f32(e, s->in[0], i);
        float *y = cpu_row_f32(e, s->out, i);
        for (int g = 0; g < s->u.norm.groups; g++)
            e->k.rms_norm(x + (size_t)g * (size_t)s->n, s->u.norm.gamma, s->n, s->u.norm.eps,
                          y + (size_t)g * (size_t)s->n);
    }
}

/* The angle is rounded to f32 as in `ref`, its functions are not. */
void cpu_run_turn(sm_exe *e, const sm_step *s, int ith, int nth) {
    span r = share(e, s, ith, nth);
    int half = s->u.turn.half;
    for (int i = r.from; i < r.to; i++) {
        float *c = cpu_row_f32(e, s->out, i), pos = (float)e->batch->pos[i];
        if (s->u.turn.inv_freq == NULL) { /* positions were checked against the context, which tables hold */
            size_t at = (size_t)SM_MIN(SM_MAX(e->batch->pos[i], 0), s->u.turn.n_pos - 1) * (size_t)half;
            for (int k = 0; k < half; k++) {
                c[k] = s->u.turn.cosine[at + (size_t)k] * s->u.turn.scale;
                c[half + k] = s->u.turn.sine[at + (size_t)k] * s->u.turn.scale;
            }
            continue;
        }
        for (int k = 0; k < half; k++) {
            double angle = (double)(pos * s->u.turn.inv_freq[k]);
            c[k] = (float)cos(angle) * s->u.turn.scale;
            c[half + k] = (float)sin(angle) * s->u.turn.scale;
        }
    }
}

void cpu_run_rope(sm_exe *e, const sm_step *s, int ith, int nth) {
    span r = share(e, s, ith, nth);
    int half = s->u.rope.half, rest = s->n - 2 * half;
    for (int i = r.from; i < r.to; i++) {
        const float *x = cpu_row_f32(e, s->in[0], i), *c = cpu_row_f32(e, s->in[1], i);
        float *y = cpu_row_f32(e, s->out, i);
        for (int h = 0; h < s->u.rope.heads; h++, x += s->n, y += s->n) {
            e->k.rope(x, c, c + half, half, y);
            memcpy(y + 2 * half, x + 2 * half, (size_t)rest * sizeof *y);
        }
    }
}

size_t cpu_quantize_scratch(int32_t n) {
    return (size_t)n * sizeof(float);
}

/* x minus what its quantized row stands for. */
static void left_over(const float *x, int n, const uint8_t *row, float *rest) {
    int nb = sm_qrow_blocks(n);
    const int8_t *code = (const int8_t *)row;
    const float *scale = sm_qrow_scale(row, nb);
    for (int b = 0; b < nb; b++, code += SM_QBLOCK) {
        int from = b * SM_QBLOCK, count = SM_MIN(n - from, (int)SM_QBLOCK);
        for (int i = 0; i < count; i++)
            rest[from + i] = x[from + i] - scale[b] * (float)code[i];
    }
}

void cpu_run_quantize(sm_exe *e, const sm_step *s, int ith, int nth) {
    span r = share(e, s, ith, nth);
    float *rest = (float *)(void *)cpu_scratch(e, ith);
    for (int i = r.from; i < r.to; i++) {
        const float *x = cpu_row_f32(e, s->in[0], i);
        uint8_t *row = cpu_row(e, s->out, i);
        e->k.quantize(x, s->n, row);
        left_over(x, s->n, row, rest);
        e->k.quantize(rest, s->n, row + cpu_term_bytes(e, s->out));
    }
}

void cpu_run_gather(sm_exe *e, const sm_step *s, int ith, int nth) {
    span r = share(e, s, ith, nth);
    for (int i = r.from; i < r.to; i++)
        memcpy(cpu_row(e, s->out, i), cpu_row(e, s->in[0], e->batch->out[i]), (size_t)s->n * sizeof(float));
}

void cpu_run_elem(sm_exe *e, const sm_step *s, int ith, int nth) {
    span r = share(e, s, ith, nth);
    int n = s->n;
    for (int i = r.from; i < r.to; i++) {
        const float *x = cpu_row_f32(e, s->in[0], i);
        const float *y = s->u.elem.y ? s->u.elem.y : s->in[1] >= 0 ? cpu_row_f32(e, s->in[1], i) : NULL;
        float *out = cpu_row_f32(e, s->out, i);
        switch (s->u.elem.op) {
        case SM_EL_ADD:
            e->k.add(x, y, n, out);
            break;
        case SM_EL_MUL:
            e->k.mul(x, y, n, out);
            break;
        case SM_EL_SUB:
            for (int k = 0; k < n; k++)
                out[k] = s->u.elem.swapped ? y[k] - x[k] : x[k] - y[k];
            break;
        case SM_EL_SILU:
            e->k.act[SM_ACT_SILU](x, NULL, n, out);
            break;
        case SM_EL_GELU:
            e->k.act[SM_ACT_GELU](x, NULL, n, out);
            break;
        case SM_EL_GELU_TANH:
            e->k.act[SM_ACT_GELU_TANH](x, NULL, n, out);
            break;
        case SM_EL_TANH:
            for (int k = 0; k < n; k++)
                out[k] = tanhf(x[k]);
            break;
        case SM_EL_SIGMOID:
            for (int k = 0; k < n; k++)
                out[k] = 1.0f / (1.0f + expf(-x[k]));
            break;
        }
    }
}

void cpu_run_store(sm_exe *e, const sm_step *s, int ith, int nth) {
    enum { PART = 64 };
    span r = share(e, s, ith, nth);
    sm_kv_cache *c = &e->kv[s->u.attn.slot];
    size_t pt = (size_t)e->lim.page_tokens, dim = (size_t)c->geo.head_dim, v_dim = (size_t)c->geo.v_dim;
    for (int i = r.from; i < r.to; i++) {
        const sm_batch_seq *q = &e->batch->seqs[e->row_seq[i]];
        size_t pos = (size_t)(q->past + i - q->row0), page = (size_t)q->pages[pos / pt], at = pos % pt;
        const float *k = cpu_row_f32(e, s->in[1], i), *v = cpu_row_f32(e, s->in[2], i);
        uint16_t *kp = c->k + page * c->k_page + at, *vp = c->v + page * c->v_page + at * v_dim;
        for (int h = 0; h < c->geo.heads; h++, k += dim, v += v_dim, vp += v_dim * pt) {
            e->k.to_f16(v, c->geo.v_dim, vp);
            for (size_t d = 0; d < dim; d += PART) {
                uint16_t part[PART];
                size_t n = SM_MIN((size_t)PART, dim - d);
                e->k.to_f16(k + d, (int)n, part);
                for (size_t j = 0; j < n; j++, kp += pt)
                    *kp = part[j];
            }
        }
    }
}
