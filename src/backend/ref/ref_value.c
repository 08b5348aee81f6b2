/* SPDX-License-Identifier: MIT
 *
 * ref_value.c: run-time values of `ref`, and walks over several of them (ref_int.h).
 */
#include <inttypes.h>
#include <string.h>

#include "backend/ref/ref_int.h"

/* Counted owner of elements; they follow it. */
struct ref_mem {
    _Alignas(16) int refs;
    bool used; /* in this run: home's */
    size_t bytes;
    ref_spare *home;      /* where it goes when it is dead; NULL: freed */
    struct ref_mem *next; /* among the idle */
};

struct ref_spare {
    struct ref_mem *idle;
    uint64_t bytes; /* of all blocks, idle or not */
};

sm_status ref_spare_new(ref_spare **out, sm_err *err) {
    *out = sm_alloc(sizeof **out);
    return *out == NULL ? SM_NOMEM(err) : SM_OK;
}

void ref_spare_free(ref_spare **s) {
    while (*s != NULL && (*s)->idle != NULL) {
        struct ref_mem *m = (*s)->idle;
        (*s)->idle = m->next;
        sm_free(m);
    }
    sm_free(*s);
    *s = NULL;
}

void ref_spare_turn(ref_spare *s) {
    for (struct ref_mem **at = &s->idle; *at != NULL;) {
        struct ref_mem *m = *at;
        if (m->used) {
            m->used = false;
            at = &m->next;
            continue;
        }
        *at = m->next;
        s->bytes -= m->bytes;
        sm_free(m);
    }
}

uint64_t ref_spare_bytes(const ref_spare *s) {
    return s->bytes;
}

/* The smallest idle block that holds `bytes` without wasting half of itself; NULL when there is none. */
static struct ref_mem *take_idle(ref_spare *s, size_t bytes) {
    struct ref_mem **best = NULL;
    for (struct ref_mem **at = &s->idle; *at != NULL; at = &(*at)->next)
        if ((*at)->bytes >= bytes && (*at)->bytes / 2 <= bytes && (best == NULL || (*at)->bytes < (*best)->bytes))
            best = at;
    if (best == NULL)
        return NULL;
    struct ref_mem *m = *best;
    *best = m->next;
    return m;
}

static struct ref_mem *new_block(ref_spare *s, bool raw, size_t bytes) {
    struct ref_mem *m = s != NULL ? take_idle(s, bytes) : NULL;
    if (m != NULL && !raw)
        memset(m + 1, 0, bytes);
    if (m == NULL) {
        m = sm_alloc(sizeof *m + bytes);
        if (m == NULL)
            return NULL;
        m->bytes = bytes;
        m->home = s;
        if (s != NULL)
            s->bytes += bytes;
    }
    m->refs = 1;
    m->used = true;
    return m;
}

sm_status ref_alloc(ref_val *v, sm_dtype t, int rank, const int64_t *dims, sm_err *err) {
    return ref_alloc_in(NULL, false, v, t, rank, dims, err);
}

sm_status ref_alloc_in(ref_spare *s, bool raw, ref_val *v, sm_dtype t, int rank, const int64_t *dims, sm_err *err) {
    *v = (ref_val){.dtype = t, .rank = rank, .n = 1};
    if (rank < 0 || rank > SM_MAX_RANK)
        return SM_FAIL(err, SM_UNSUPPORTED, "rank %d is over %d", rank, SM_MAX_RANK);
    size_t n = 1, bytes;
    for (int i = 0; i < rank; i++) {
        if (dims[i] < 0)
            return SM_FAIL(err, SM_BADINPUT, "axis %d of the result has extent %" PRId64, i, dims[i]);
        v->dims[i] = dims[i];
        if (!sm_mul_ok(n, (size_t)dims[i], &n))
            return SM_FAIL(err, SM_RESOURCE, "the result is too large");
    }
    if (!sm_mul_ok(n, ref_elem_size(v), &bytes) || bytes > SIZE_MAX / 2)
        return SM_FAIL(err, SM_RESOURCE, "the result is too large");
    v->n = (int64_t)n;
    v->mem = new_block(s, raw, bytes);
    if (v->mem == NULL)
        return SM_NOMEM(err);
    v->p = v->mem + 1;
    return SM_OK;
}

void ref_share(ref_val *dst, const ref_val *src) {
    *dst = *src;
    dst->mem->refs++;
}

static void retire(struct ref_mem *m) {
    if (m->home == NULL) {
        sm_free(m);
        return;
    }
    m->next = m->home->idle;
    m->home->idle = m;
}

void ref_drop(ref_val *v) {
    if (v->mem != NULL && --v->mem->refs == 0)
        retire(v->mem);
    *v = (ref_val){0};
}

int ref_refs(const ref_val *v) {
    return v->mem == NULL ? 0 : v->mem->refs;
}

int64_t ref_wrap(sm_dtype t, int64_t x) {
    int bits = sm_dtype_bits(t);
    if (t == SM_BOOL)
        return x != 0;
    if (bits >= 64)
        return x;
    uint64_t mask = (UINT64_C(1) << bits) - 1, u = (uint64_t)x & mask;
    if (sm_dtype_kind(t) == 'i' && (u >> (bits - 1)) != 0)
        u |= ~mask;
    return (int64_t)u;
}

double ref_elem(const ref_val *v, int64_t i) {
    return ref_is_float(v) ? (double)v->f[i] : (double)v->i[i];
}

int64_t ref_extent(const ref_val *v, int from, int to) {
    uint64_t n = 1;
    for (int i = from; i < to; i++)
        n *= (uint64_t)v->dims[i];
    return (int64_t)n;
}

/* ---- arrays of callers ---- */

sm_status ref_from_array(ref_val *v, const sm_array *a, sm_dtype t, sm_err *err) {
    SM_TRY(ref_alloc(v, t, a->rank, a->dims, err));
    if (a->dtype == SM_FP32)
        memcpy(v->f, a->data, (size_t)v->n * sizeof *v->f);
    else if (a->dtype == SM_FP16)
        sm_f16_to_f32_n(a->data, v->f, (size_t)v->n);
    else if (ref_is_float(v))
        for (int64_t i = 0; i < v->n; i++)
            v->f[i] = (float)sm_elem_get(a->dtype, a->data, (uint64_t)i);
    else if (a->dtype == SM_BOOL)
        for (int64_t i = 0; i < v->n; i++)
            v->i[i] = ((const uint8_t *)a->data)[i] != 0;
    else
        for (int64_t i = 0; i < v->n; i++)
            v->i[i] = ref_wrap(t, sm_code_get(a->dtype, a->data, (uint64_t)i));
    return SM_OK;
}

sm_status ref_to_array(sm_array *a, const char *name, const ref_val *v, sm_err *err) {
    SM_TRY(sm_array_new(a, name, sm_call_dtype(v->dtype), v->rank, v->dims, err));
    if (ref_is_float(v))
        memcpy(a->data, v->f, (size_t)v->n * sizeof *v->f);
    else if (v->dtype == SM_BOOL)
        for (int64_t i = 0; i < v->n; i++)
            ((uint8_t *)a->data)[i] = v->i[i] != 0;
    else
        for (int64_t i = 0; i < v->n; i++)
            sm_code_put(a->dtype, a->data, (uint64_t)i, v->i[i]);
    return SM_OK;
}

/* ---- walks ---- */

/* Unsigned: beside an extent of 0 the others may be anything. */
void ref_strides(int rank, const int64_t *dims, int64_t *out) {
    uint64_t s = 1;
    for (int i = rank - 1; i >= 0; i--) {
        out[i] = (int64_t)s;
        s *= (uint64_t)dims[i];
    }
}

/* A scalar is walked as one axis of extent 1, so that there always is a row. */
void ref_walk_init(ref_walk *w, int rank, const int64_t *dims) {
    *w = (ref_walk){.rank = SM_MAX(rank, 1)};
    w->dims[0] = 1;
    for (int i = 0; i < rank; i++)
        w->dims[i] = dims[i];
    w->inner = w->dims[w->rank - 1];
}

void ref_walk_add(ref_walk *w, const int64_t *stride, int64_t off) {
    for (int i = 0; i < w->rank; i++)
        w->stride[w->n][i] = w->dims[i] == 1 ? 0 : stride[i];
    w->step[w->n] = w->stride[w->n][w->rank - 1];
    w->off[w->n] = off;
    w->n++;
}

void ref_walk_broadcast(ref_walk *w, const ref_val *v) {
    int64_t dense[SM_MAX_RANK], stride[SM_MAX_RANK] = {0};
    ref_strides(v->rank, v->dims, dense);
    for (int i = 0; i < v->rank; i++)
        stride[w->rank - v->rank + i] = v->dims[i] == 1 ? 0 : dense[i];
    ref_walk_add(w, stride, 0);
}

bool ref_walk_start(ref_walk *w) {
    for (int i = 0; i < w->rank; i++) {
        w->at[i] = 0;
        if (w->dims[i] == 0)
            return false;
    }
    return true;
}

bool ref_walk_next(ref_walk *w) {
    for (int i = w->rank - 2; i >= 0; i--) {
        for (int k = 0; k < w->n; k++)
            w->off[k] += w->stride[k][i];
        if (++w->at[i] < w->dims[i])
            return true;
        for (int k = 0; k < w->n; k++)
            w->off[k] -= w->stride[k][i] * w->dims[i];
        w->at[i] = 0;
    }
    return false;
}

void ref_move(int rank, const int64_t *dims, size_t size, void *dst, int64_t doff, const int64_t *dstride,
              const void *src, int64_t soff, const int64_t *sstride) {
    ref_walk w;
    ref_walk_init(&w, rank, dims);
    ref_walk_add(&w, dstride, doff);
    ref_walk_add(&w, sstride, soff);
    char *d = dst;
    const char *s = src;
    for (bool more = ref_walk_start(&w); more; more = ref_walk_next(&w)) {
        if (w.inner == 1 || (w.step[0] == 1 && w.step[1] == 1)) {
            memcpy(d + w.off[0] * (int64_t)size, s + w.off[1] * (int64_t)size, (size_t)w.inner * size);
            continue;
        }
        if (size == sizeof(uint32_t))
            for (int64_t i = 0; i < w.inner; i++)
                ((uint32_t *)dst)[w.off[0] + i * w.step[0]] = ((const uint32_t *)src)[w.off[1] + i * w.step[1]];
        else
            for (int64_t i = 0; i < w.inner; i++)
                memcpy(d + (w.off[0] + i * w.step[0]) * (int64_t)size, s + (w.off[1] + i * w.step[1]) * (int64_t)size,
                       size);
    }
}

sm_status ref_broadcast(int *rank, int64_t *dims, const ref_val *b, sm_err *err) {
    int r = SM_MAX(*rank, b->rank);
    int64_t out[SM_MAX_RANK];
    for (int i = 0; i < r; i++) {
        int ia = i - (r - *rank), ib = i - (r - b->rank);
        int64_t da = ia < 0 ? 1 : dims[ia], db = ib < 0 ? 1 : b->dims[ib];
        if (da != db && da != 1 && db != 1)
            return SM_FAIL(err, SM_BADINPUT, "extents %" PRId64 " and %" PRId64 " do not broadcast (axis %d)", da, db,
                           i);
        out[i] = da == 1 ? db : da;
    }
    memcpy(dims, out, (size_t)r * sizeof *dims);
    *rank = r;
    return SM_OK;
}
