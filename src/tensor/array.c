/* SPDX-License-Identifier: MIT
 *
 * array.c: dense arrays with their own memory (array.h).
 */
#include "tensor/array.h"

#include <string.h>

static char *copy_name(const char *name) {
    size_t n = strlen(name) + 1;
    char *p = sm_alloc(n);
    if (p != NULL)
        memcpy(p, name, n);
    return p;
}

uint64_t sm_array_numel(const sm_array *a) {
    uint64_t n = 1;
    for (int i = 0; i < a->rank; i++)
        n *= (uint64_t)a->dims[i];
    return n;
}

sm_status sm_array_new(sm_array *a, const char *name, sm_dtype t, int rank, const int64_t *dims, sm_err *err) {
    size_t bytes[SM_PART_COUNT];
    sm_encoding e = sm_enc_dense(t);
    *a = (sm_array){.dtype = t, .rank = rank};
    sm_status st = sm_enc_sizes(&e, rank, dims, bytes, err);
    if (st != SM_OK) {
        sm_err_prefix(err, "array '%s'", name == NULL ? "" : name);
        return st;
    }
    for (int i = 0; i < rank; i++)
        a->dims[i] = dims[i];
    a->data = sm_alloc(bytes[SM_PART_DATA]);
    if (name != NULL)
        a->name = copy_name(name);
    if (a->data == NULL || (name != NULL && a->name == NULL)) {
        sm_array_free(a);
        return SM_NOMEM(err);
    }
    return SM_OK;
}

sm_status sm_array_copy(sm_array *dst, const sm_array *src, sm_err *err) {
    SM_TRY(sm_array_new(dst, src->name, src->dtype, src->rank, src->dims, err));
    size_t n = (size_t)sm_dtype_size(src->dtype, sm_array_numel(src));
    if (n > 0)
        memcpy(dst->data, src->data, n);
    return SM_OK;
}

/* v truncated and saturated to integer type t, as the bits of it; a NaN gives 0. */
static int64_t float_to_int(sm_dtype t, double v) {
    if (v != v)
        return 0;
    if (t == SM_UINT64 && v >= 9223372036854775808.0)
        return v >= 18446744073709551616.0 ? -1 : (int64_t)(uint64_t)v;
    if (v >= (double)sm_dtype_max(t))
        return sm_dtype_max(t);
    return v <= (double)sm_dtype_min(t) ? sm_dtype_min(t) : (int64_t)v;
}

static void put_float(sm_dtype t, void *p, uint64_t i, double v) {
    uint8_t *b = p;
    float f = (float)v;
    uint16_t h;
    switch (t) {
    case SM_FP16:
        h = sm_f32_to_f16(f);
        memcpy(b + 2 * i, &h, 2);
        return;
    case SM_BF16:
        h = sm_f32_to_bf16(f);
        memcpy(b + 2 * i, &h, 2);
        return;
    case SM_FP32:
        memcpy(b + 4 * i, &f, 4);
        return;
    default:
        memcpy(b + 8 * i, &v, 8);
    }
}

sm_status sm_array_cast(sm_array *a, sm_dtype t, sm_err *err) {
    sm_array r;
    if (t == a->dtype)
        return SM_OK;
    SM_TRY(sm_array_new(&r, NULL, t, a->rank, a->dims, err));
    char from = sm_dtype_kind(a->dtype), to = sm_dtype_kind(t);
    uint64_t n = sm_array_numel(a);
    for (uint64_t i = 0; i < n; i++) {
        if (to == 'f') {
            put_float(t, r.data, i, sm_elem_get(a->dtype, a->data, i));
        } else if (to == 'b') {
            sm_code_put(t, r.data, i, sm_elem_get(a->dtype, a->data, i) != 0);
        } else {
            sm_code_put(t, r.data, i,
                        from == 'f' ? float_to_int(t, sm_elem_get(a->dtype, a->data, i))
                                    : sm_code_get(a->dtype, a->data, i));
        }
    }
    sm_free(a->data);
    a->data = r.data;
    a->dtype = t;
    return SM_OK;
}

void sm_array_free(sm_array *a) {
    sm_free(a->name);
    sm_free(a->data);
    *a = (sm_array){0};
}

sm_array *sm_arrays_find(const sm_arrays *s, const char *name) {
    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].name != NULL && strcmp(s->v[i].name, name) == 0)
            return &s->v[i];
    return NULL;
}

sm_array *sm_arrays_add(sm_arrays *s) {
    if (!SM_GROW(s))
        return NULL;
    s->v[s->n] = (sm_array){0};
    return &s->v[s->n++];
}

void sm_arrays_free(sm_arrays *s) {
    for (size_t i = 0; i < s->n; i++)
        sm_array_free(&s->v[i]);
    sm_free(s->v);
    *s = (sm_arrays){0};
}
