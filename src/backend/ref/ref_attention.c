/* SPDX-License-Identifier: MIT
 *
 * ref_attention.c: attention: the composite over paged KV, and Core ML's op over dense tensors.
 *
 * KV pages hold f32: what went in comes out.  A row's result depends on its own sequence alone: scores run over the
 * keys in order of position, weights over the values in the same order, sums in f64.  Threads take whole (row, head)
 * pairs.
 *
 *     page p of a slot:  k [token][kv head][head dim], v [token][kv head][v dim]
 *     position s of a sequence is token s % page_tokens of page pages[s / page_tokens]
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "backend/ref/ref_int.h"

/* ---- one row of one head ---- */

/* out[dv] = sum over j < n of p[j] * v[j]; acc[dv] is scratch. */
static void mix(const float *p, int64_t n, const float *const *v, int64_t dv, double *acc, float *out) {
    memset(acc, 0, (size_t)dv * sizeof *acc);
    for (int64_t j = 0; j < n; j++)
        for (int64_t d = 0; d < dv; d++)
            acc[d] += (double)p[j] * (double)v[j][d];
    for (int64_t d = 0; d < dv; d++)
        out[d] = (float)acc[d];
}

/* Scratch of one thread, cut from one block. */
typedef struct scratch {
    float *score;    /* [keys] */
    const float **v; /* [keys] */
    double *acc;     /* [dv] */
} scratch;

static size_t scratch_bytes(int64_t keys, int64_t dv) {
    return (size_t)keys * (sizeof(float) + sizeof(float *)) + (size_t)dv * sizeof(double) + 64;
}

static scratch scratch_of(char *base, size_t bytes, int ith, int64_t keys, int64_t dv) {
    scratch s;
    s.acc = (double *)(void *)(base + bytes * (size_t)ith);
    s.v = (const float **)(void *)(s.acc + dv);
    s.score = (float *)(void *)(s.v + keys);
    return s;
}

/* ---- the composite ---- */

typedef struct attend_job {
    const sm_exe *e;
    const ref_kv *kv;
    const ref_val *q;
    float *y, scale, softcap;
    int64_t window, max_keys;
    const sm_batch_seq **seq_of; /* per row */
    char *mem;
    size_t mem_bytes; /* of one thread */
} attend_job;

static void attend_row(const attend_job *j, int64_t row, int64_t head, scratch *s) {
    const sm_kv_slot *g = &j->kv->geo;
    const sm_batch_seq *seq = j->seq_of[row];
    int64_t page_tokens = j->e->lim.page_tokens, kv_head = head / (g->q_heads / g->heads);
    int64_t at = seq->past + row - seq->row0, from = j->window > 0 ? SM_MAX(at + 1 - j->window, 0) : 0,
            n = at + 1 - from;
    const float *q = j->q->f + (row * g->q_heads + head) * g->head_dim;
    for (int64_t i = 0; i < n; i++) {
        int64_t token = seq->pages[(from + i) / page_tokens] * page_tokens + (from + i) % page_tokens;
        float x = j->scale * ref_dot(q, j->kv->k + (token * g->heads + kv_head) * g->head_dim, g->head_dim);
        s->score[i] = j->softcap > 0 ? j->softcap * (float)tanh((double)(x / j->softcap)) : x;
        s->v[i] = j->kv->v + (token * g->heads + kv_head) * g->v_dim;
    }
    ref_softmax_row(s->score, n);
    mix(s->score, n, s->v, g->v_dim, s->acc, j->y + (row * g->q_heads + head) * g->v_dim);
}

static void attend_worker(void *ctx, int ith, int nth) {
    const attend_job *j = ctx;
    scratch s = scratch_of(j->mem, j->mem_bytes, ith, j->max_keys, j->kv->geo.v_dim);
    int64_t heads = j->kv->geo.q_heads;
    for (int64_t i = ith; i < j->q->dims[0] * heads; i += nth)
        attend_row(j, i / heads, i % heads, &s);
}

static void store_rows(const sm_exe *e, ref_kv *kv, const ref_val *k, const ref_val *v) {
    int64_t kn = (int64_t)kv->geo.heads * kv->geo.head_dim, vn = (int64_t)kv->geo.heads * kv->geo.v_dim;
    for (int32_t i = 0; i < e->batch->n_seqs; i++) {
        const sm_batch_seq *s = &e->batch->seqs[i];
        for (int32_t r = 0; r < s->n_rows; r++) {
            int64_t at = s->past + r, page = s->pages[at / e->lim.page_tokens];
            int64_t token = page * e->lim.page_tokens + at % e->lim.page_tokens;
            memcpy(kv->k + token * kn, k->f + (s->row0 + r) * kn, (size_t)kn * sizeof *kv->k);
            memcpy(kv->v + token * vn, v->f + (s->row0 + r) * vn, (size_t)vn * sizeof *kv->v);
        }
    }
}

static sm_status check_heads(ref_call *c, const sm_kv_slot *g, const ref_val *q, const ref_val *k, const ref_val *v) {
    int64_t t = c->e->batch->n_rows;
    if (q->rank != 3 || k->rank != 3 || v->rank != 3 || q->dims[0] != t || k->dims[0] != t || v->dims[0] != t ||
        q->dims[1] != g->q_heads || q->dims[2] != g->head_dim || k->dims[1] != g->heads || k->dims[2] != g->head_dim ||
        v->dims[1] != g->heads || v->dims[2] != g->v_dim || !ref_is_float(q) || !ref_is_float(k) || !ref_is_float(v))
        return SM_FAIL(c->err, SM_BADINPUT, "q, k, v do not have the slot's shapes");
    return SM_OK;
}

sm_status ref_attention(ref_call *c) {
    const ref_val *q = ref_in(c, "q"), *k = ref_in(c, "k"), *v = ref_in(c, "v");
    const sm_batch *b = c->e->batch;
    int64_t slot = ref_int(c, "slot");
    if (b == NULL || slot < 0 || slot >= c->e->n_kv)
        return SM_FAIL(c->err, SM_UNSUPPORTED, "attention runs in row-form functions only");
    ref_kv *kv = &c->e->kv[slot];
    SM_TRY(check_heads(c, &kv->geo, q, k, v));
    SM_TRY(ref_result(c, 0, q->dtype, 3, (int64_t[]){q->dims[0], q->dims[1], kv->geo.v_dim}));
    store_rows(c->e, kv, k, v);
    attend_job j = {c->e,
                    kv,
                    q,
                    ref_out(c, 0)->f,
                    (float)ref_num(c, "scale"),
                    (float)ref_num(c, "softcap"),
                    ref_int(c, "window"),
                    0,
                    NULL,
                    NULL,
                    0};
    for (int32_t i = 0; i < b->n_seqs; i++)
        j.max_keys = SM_MAX(j.max_keys, (int64_t)b->seqs[i].past + b->seqs[i].n_rows);
    j.mem_bytes = (scratch_bytes(j.max_keys, kv->geo.v_dim) + 63) / 64 * 64;
    j.mem = sm_alloc_n((size_t)sm_pool_size(c->e->pool), j.mem_bytes);
    j.seq_of = sm_alloc_n((size_t)b->n_rows, sizeof *j.seq_of);
    sm_status st = j.mem == NULL || j.seq_of == NULL ? SM_NOMEM(c->err) : SM_OK;
    if (st == SM_OK) {
        for (int32_t i = 0; i < b->n_seqs; i++)
            for (int32_t r = 0; r < b->seqs[i].n_rows; r++)
                j.seq_of[b->seqs[i].row0 + r] = &b->seqs[i];
        sm_pool_run(c->e->pool, attend_worker, &j);
    }
    sm_free(j.mem);
    sm_free(j.seq_of);
    return st;
}

/* ---- scaled_dot_product_attention ---- */

static float mask_at(const ref_sdpa_args *s, float score, int64_t at) {
    if (ref_is_float(s->mask))
        return score + s->mask->f[at];
    return s->mask->i[at] != 0 ? score : -INFINITY;
}

static void sdpa_rows(const ref_sdpa_args *s, int64_t q_off, int64_t k_off, int64_t v_off, int64_t mask_off, scratch *t,
                      float *y) {
    float scale = (float)(1.0 / sqrt((double)s->d));
    for (int64_t j = 0; j < s->n; j++)
        t->v[j] = s->v->f + v_off + j * s->dv;
    for (int64_t i = 0; i < s->m; i++) {
        for (int64_t j = 0; j < s->n; j++) {
            float x = scale * ref_dot(s->q->f + q_off + i * s->d, s->k->f + k_off + j * s->d, s->d);
            t->score[j] = s->mask == NULL ? x : mask_at(s, x, mask_off + i * s->mask_row + j * s->mask_col);
        }
        ref_softmax_row(t->score, s->n);
        mix(t->score, s->n, t->v, s->dv, t->acc, y + i * s->dv);
    }
}

/* Strides of v's axes before the last two over a walk of `rank` leading axes. */
void ref_lead_strides(const ref_val *v, int rank, int64_t *out) {
    int64_t s[SM_MAX_RANK];
    ref_strides(v->rank, v->dims, s);
    for (int i = 0; i < rank; i++) {
        int a = i - (rank - (v->rank - 2));
        out[i] = a < 0 || v->dims[a] == 1 ? 0 : s[a];
    }
}

sm_status ref_sdpa_plan(ref_call *c, ref_sdpa_args *s, int *rank, int64_t *dims) {
    const ref_val *all[] = {s->q, s->k, s->v, s->mask};
    *rank = 0;
    for (int i = 0; i < 4; i++) {
        ref_val lead;
        if (all[i] == NULL)
            continue;
        if (all[i]->rank < 2 || (i < 3 && !ref_is_float(all[i])))
            return SM_FAIL(c->err, SM_BADINPUT, "operand %d is %s of rank %d", i, sm_dtype_name(all[i]->dtype),
                           all[i]->rank);
        lead = *all[i];
        lead.rank -= 2;
        SM_TRY(ref_broadcast(rank, dims, &lead, c->err));
    }
    int qr = s->q->rank, kr = s->k->rank, vr = s->v->rank;
    s->m = s->q->dims[qr - 2];
    s->d = s->q->dims[qr - 1];
    s->n = s->k->dims[kr - 2];
    s->dv = s->v->dims[vr - 1];
    if (s->k->dims[kr - 1] != s->d || s->v->dims[vr - 2] != s->n)
        return SM_FAIL(c->err, SM_BADINPUT, "query, key and value do not fit");
    if (s->mask == NULL)
        return SM_OK;
    int64_t mm = s->mask->dims[s->mask->rank - 2], mn = s->mask->dims[s->mask->rank - 1];
    if ((mm != 1 && mm != s->m) || (mn != 1 && mn != s->n))
        return SM_FAIL(c->err, SM_BADINPUT,
                       "mask [.., %" PRId64 ", %" PRId64 "] over scores [.., %" PRId64 ", %" PRId64 "]", mm, mn, s->m,
                       s->n);
    s->mask_row = mm == 1 ? 0 : mn;
    s->mask_col = mn == 1 ? 0 : 1;
    return SM_OK;
}

/* Threads are not used: packages that spell attention out do not use them here either. */
sm_status ref_sdpa(ref_call *c) {
    ref_sdpa_args s = {
        ref_in(c, "query"), ref_in(c, "key"), ref_in(c, "value"), ref_in(c, "attn_mask"), 0, 0, 0, 0, 0, 0};
    int64_t dims[SM_MAX_RANK + 2], stride[4][SM_MAX_RANK] = {{0}};
    int rank;
    SM_TRY(ref_sdpa_plan(c, &s, &rank, dims));
    ref_walk w, u; /* q, k, v and the mask */
    ref_walk_init(&w, rank, dims);
    ref_lead_strides(s.q, rank, stride[0]);
    ref_lead_strides(s.k, rank, stride[1]);
    ref_lead_strides(s.v, rank, stride[2]);
    for (int i = 0; i < 3; i++)
        ref_walk_add(&w, stride[i], 0);
    ref_walk_init(&u, rank, dims);
    if (s.mask != NULL)
        ref_lead_strides(s.mask, rank, stride[3]);
    ref_walk_add(&u, stride[3], 0);
    dims[rank] = s.m;
    dims[rank + 1] = s.dv;
    SM_TRY(ref_result(c, 0, s.q->dtype, rank + 2, dims));
    float *y = ref_out(c, 0)->f;
    char *mem = sm_alloc(scratch_bytes(s.n, s.dv));
    if (mem == NULL)
        return SM_NOMEM(c->err);
    scratch t = scratch_of(mem, 0, 0, s.n, s.dv);
    for (bool more = ref_walk_start(&w) && ref_walk_start(&u); more; more = ref_walk_next(&w) && ref_walk_next(&u))
        for (int64_t i = 0; i < w.inner; i++, y += s.m * s.dv)
            sdpa_rows(&s, w.off[0] + i * w.step[0], w.off[1] + i * w.step[1], w.off[2] + i * w.step[2],
                      u.off[0] + i * u.step[0], &t, y);
    sm_free(mem);
    return SM_OK;
}
