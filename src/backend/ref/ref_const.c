/* SPDX-License-Identifier: MIT
 *
 * ref_const.c: constants as values.
 *
 * A constant is read as its wanted encoding says (graph.h, sm_const).  Decoded ones are kept as long as they fit a
 * bound, so that norms, tables and shape parameters are decoded once; large weights are decoded where they are used and
 * forgotten.
 */
#include "backend/ref/ref_int.h"
#include "tensor/transcode.h"

enum { KEEP_ELEMS = 1 << 20, KEEP_BYTES = 64 << 20 };

/* The source converted to the wanted encoding; one block of memory behind the tensor. */
static sm_status recode(const sm_const *k, sm_tensor **out, sm_err *err) {
    size_t bytes[SM_PART_COUNT], total = sizeof(sm_tensor);
    const sm_tensor *src = &k->src;
    SM_TRY(sm_enc_sizes(&k->want, src->rank, src->dims, bytes, err));
    for (int p = 0; p < SM_PART_COUNT; p++)
        if (!sm_add_ok(total, (bytes[p] + 63) / 64 * 64, &total))
            return SM_NOMEM(err);
    sm_tensor *t = sm_alloc(total);
    if (t == NULL)
        return SM_NOMEM(err);
    *t = *src;
    t->enc = k->want;
    t->dtype = k->want_dtype;
    t->deinterleave = 0;
    uint8_t *at = (uint8_t *)(t + 1), *part[SM_PART_COUNT];
    for (int p = 0; p < SM_PART_COUNT; p++) {
        part[p] = at;
        t->part[p] = (sm_bytes){bytes[p] > 0 ? at : NULL, bytes[p]};
        at += (bytes[p] + 63) / 64 * 64;
    }
    sm_status st = sm_transcode_whole(src, &k->want, k->want_dtype, NULL, part, NULL, err);
    if (st != SM_OK)
        sm_free(t);
    else
        *out = t;
    return st;
}

sm_status ref_const_tensor(sm_exe *e, const sm_value *v, const sm_tensor **out, sm_err *err) {
    const sm_const *k = v->cst;
    if (sm_enc_eq(&k->want, &k->src.enc, k->src.rank) && k->want_dtype == k->src.dtype) {
        *out = &k->src;
        return SM_OK;
    }
    if (e->recoded[v->id] == NULL) {
        sm_status st = recode(k, &e->recoded[v->id], err);
        if (st != SM_OK) {
            sm_err_prefix(err, "constant '%s'", v->name);
            return st;
        }
    }
    *out = e->recoded[v->id];
    return SM_OK;
}

static sm_status decode(const sm_tensor *t, ref_val *v, sm_err *err) {
    sm_tensor whole = *t;
    sm_tensor_unfold(&whole, NULL);
    SM_TRY(ref_alloc(v, t->dtype, whole.rank, whole.dims, err));
    bool dense = sm_enc_row_of(t->enc.id)->kind == SM_KIND_DENSE && t->deinterleave == 0;
    const uint8_t *p = t->part[SM_PART_DATA].p;
    if (v->n == 0)
        return SM_OK;
    if (ref_is_float(v)) {
        sm_decode_rows(t, 0, sm_tensor_rows(t), v->f);
    } else if (dense) {
        for (int64_t i = 0; i < v->n; i++)
            v->i[i] = t->enc.code == SM_BOOL ? p[i] != 0 : ref_wrap(v->dtype, sm_code_get(t->enc.code, p, (uint64_t)i));
    } else {
        float *f = sm_alloc_n((size_t)v->n, sizeof *f);
        if (f == NULL) {
            ref_drop(v);
            return SM_NOMEM(err);
        }
        sm_decode_rows(t, 0, sm_tensor_rows(t), f);
        for (int64_t i = 0; i < v->n; i++)
            v->i[i] = ref_wrap(v->dtype, (int64_t)f[i]);
        sm_free(f);
    }
    return SM_OK;
}

sm_status ref_const_get(sm_exe *e, const sm_value *v, ref_val *tmp, const ref_val **out, sm_err *err) {
    ref_val *kept = &e->cst[v->id];
    if (kept->p == NULL) {
        const sm_tensor *t;
        SM_TRY(ref_const_tensor(e, v, &t, err));
        uint64_t bytes = sm_tensor_numel(t) * (sm_dtype_kind(t->dtype) == 'f' ? sizeof(float) : sizeof(int64_t));
        bool keep = sm_tensor_numel(t) <= KEEP_ELEMS && e->cst_bytes + bytes <= KEEP_BYTES;
        SM_TRY(decode(t, keep ? kept : tmp, err));
        if (!keep) {
            *out = tmp;
            return SM_OK;
        }
        e->cst_bytes += bytes;
    }
    *out = kept;
    return SM_OK;
}

void ref_const_free(sm_exe *e) {
    for (uint32_t i = 0; i < e->n_values; i++) {
        if (e->cst != NULL)
            ref_drop(&e->cst[i]);
        if (e->recoded != NULL)
            sm_free(e->recoded[i]);
    }
    sm_free(e->cst);
    sm_free(e->recoded);
}
