/* SPDX-License-Identifier: MIT
 *
 * weights.c: the matrices of a plan: noted once each, packed by all threads, their source pages given back.
 *
 * A packing replaces its source in memory: as a range of rows is done, the file pages under it are released, so that
 * source and packing are never resident together.  Only read-only mappings of files are released; constants that live
 * in a graph's own memory are left alone.  A constant whose wanted encoding differs from its source is converted whole,
 * packed, and forgotten, one at a time.
 */
#include <inttypes.h>
#include <string.h>

#include "backend/cpu/cpu_int.h"
#include "base/files.h"
#include "base/log.h"
#include "tensor/transcode.h"

enum { CHUNK_TILES = 16 };

static bool as_stored(const sm_const *c) {
    return sm_enc_eq(&c->want, &c->src.enc, c->src.rank) && c->want_dtype == c->src.dtype;
}

/* The tensor a constant shall be, its bytes perhaps not made yet. */
static sm_tensor wanted(const sm_const *c) {
    sm_tensor t = c->src;
    if (!as_stored(c)) {
        t.enc = c->want;
        t.dtype = c->want_dtype;
        t.deinterleave = 0;
        memset(t.part, 0, sizeof t.part);
    }
    return t;
}

/* Its bytes too; *block receives memory to free. */
static sm_status convert(const sm_const *c, sm_tensor *t, void **block, sm_err *err) {
    size_t bytes[SM_PART_COUNT], total = 64;
    uint8_t *part[SM_PART_COUNT];
    *t = wanted(c);
    *block = NULL;
    if (as_stored(c))
        return SM_OK;
    SM_TRY(sm_enc_sizes(&t->enc, t->rank, t->dims, bytes, err));
    for (int p = 0; p < SM_PART_COUNT; p++)
        total += (bytes[p] + 63) / 64 * 64;
    uint8_t *at = *block = sm_alloc(total);
    if (!at)
        return SM_NOMEM(err);
    for (int p = 0; p < SM_PART_COUNT; p++) {
        part[p] = at;
        t->part[p] = (sm_bytes){bytes[p] > 0 ? at : NULL, bytes[p]};
        at += (bytes[p] + 63) / 64 * 64;
    }
    return sm_transcode_whole(&c->src, &c->want, c->want_dtype, NULL, part, NULL, err);
}

sm_status cpu_weight(sm_exe *e, const sm_value *v, bool packed, int32_t *out, sm_err *err) {
    /* A table that is read in another form than it is stored in is packed as well: rows are read from the packing. */
    packed = packed || !as_stored(v->cst);
    for (size_t i = 0; i < e->weights.n; i++)
        if (e->weights.v[i].v == v) {
            e->weights.v[i].packed |= packed;
            *out = (int32_t)i;
            return SM_OK;
        }
    sm_cpu_weight w = {.v = v, .packed = packed};
    sm_tensor t = wanted(v->cst);
    SM_TRY(sm_packed_plan(&t, &w.p, err));
    if (!SM_GROW(&e->weights))
        return SM_NOMEM(err);
    *out = (int32_t)e->weights.n;
    e->weights.v[e->weights.n++] = w;
    return SM_OK;
}

sm_status cpu_const_f32(sm_exe *e, const sm_value *v, const float **out, sm_err *err) {
    sm_tensor t;
    void *block;
    sm_status st = convert(v->cst, &t, &block, err);
    if (st == SM_OK) {
        float *f = sm_arena_alloc_n(e->mem, (size_t)sm_tensor_numel(&t), sizeof *f);
        if (f)
            sm_decode_rows(&t, 0, sm_tensor_rows(&t), f);
        else
            st = SM_NOMEM(err);
        *out = f;
    }
    sm_free(block);
    return st;
}

/* ---- packing ---- */

/* A range of tiles of one weight. */
typedef struct chunk {
    int32_t weight, tile0, tile1;
} chunk;

typedef struct packer {
    sm_exe *e;
    const sm_tensor *src; /* per weight */
    atomic_int *left;     /* per weight: chunks */
    struct {
        chunk *v;
        size_t n, cap;
    } chunks;
    atomic_size_t next;
    uint8_t *scratch;
    size_t scratch_bytes;
} packer;

/* The stored rows of a chunk, as far as rows are stored in order; all of a weight after its last chunk. */
static void release_chunk(packer *k, const chunk *c) {
    const sm_tensor *t = &k->src[c->weight];
    int64_t rows = t->dims[0], from = (int64_t)c->tile0 * SM_TILE, to = SM_MIN((int64_t)c->tile1 * SM_TILE, rows);
    sm_bytes d = t->part[SM_PART_DATA];
    if (t->deinterleave == 0)
        sm_mapfile_release(d.p + d.n / (size_t)rows * (size_t)from, d.n / (size_t)rows * (size_t)(to - from));
    if (atomic_fetch_sub_explicit(&k->left[c->weight], 1, memory_order_relaxed) == 1)
        for (int p = 0; p < SM_PART_COUNT; p++)
            sm_mapfile_release(t->part[p].p, t->part[p].n);
}

static void pack_worker(void *ctx, int ith, int nth) {
    packer *k = ctx;
    (void)nth;
    for (;;) {
        size_t i = atomic_fetch_add_explicit(&k->next, 1, memory_order_relaxed);
        if (i >= k->chunks.n)
            return;
        const chunk *c = &k->chunks.v[i];
        sm_packed_fill(&k->e->weights.v[c->weight].p, &k->src[c->weight], 0, c->tile0, c->tile1,
                       k->scratch + (size_t)ith * k->scratch_bytes);
        release_chunk(k, c);
    }
}

static sm_status add_chunks(packer *k, int32_t weight, sm_err *err) {
    int tiles = sm_tiles(k->e->weights.v[weight].p.n);
    for (int t = 0; t < tiles; t += CHUNK_TILES) {
        if (!SM_GROW(&k->chunks))
            return SM_NOMEM(err);
        k->chunks.v[k->chunks.n++] = (chunk){weight, t, SM_MIN(t + (int)CHUNK_TILES, tiles)};
        atomic_fetch_add_explicit(&k->left[weight], 1, memory_order_relaxed);
    }
    return SM_OK;
}

static void run_chunks(packer *k) {
    atomic_store(&k->next, 0);
    sm_pool_run(k->e->pool, pack_worker, k);
    k->chunks.n = 0;
}

/* Memory of a packing: zero pages of the system, touched first by the thread that fills them. */
static sm_status place(sm_exe *e, sm_cpu_weight *w, sm_err *err) {
    w->block = sm_alloc(w->p.bytes + 64);
    if (!w->block)
        return SM_FAIL(err, SM_RESOURCE, "cpu: no %zu bytes of memory for weight '%s'", w->p.bytes, w->v->name);
    sm_packed_place(&w->p, (void *)(((uintptr_t)w->block + 63) & ~(uintptr_t)63));
    e->weight_bytes += w->p.bytes;
    return SM_OK;
}

/* All weights that are packed as they are stored, then the others one by one. */
static sm_status pack_all(packer *k, sm_tensor *src, sm_err *err) {
    sm_exe *e = k->e;
    for (size_t i = 0; i < e->weights.n; i++) {
        sm_cpu_weight *w = &e->weights.v[i];
        src[i] = w->v->cst->src;
        if (w->packed)
            SM_TRY(place(e, w, err));
        if (w->packed && as_stored(w->v->cst))
            SM_TRY(add_chunks(k, (int32_t)i, err));
    }
    run_chunks(k);
    for (size_t i = 0; i < e->weights.n; i++) {
        void *block = NULL;
        if (!e->weights.v[i].packed || as_stored(e->weights.v[i].v->cst))
            continue;
        sm_status st = convert(e->weights.v[i].v->cst, &src[i], &block, err);
        if (st == SM_OK)
            st = add_chunks(k, (int32_t)i, err);
        if (st == SM_OK)
            run_chunks(k);
        sm_free(block);
        SM_TRY(st);
    }
    return SM_OK;
}

sm_status cpu_pack_weights(sm_exe *e, sm_err *err) {
    packer k = {.e = e};
    sm_status st = SM_OK;
    int64_t t0 = sm_now_us();
    sm_tensor *src = sm_alloc_n(e->weights.n, sizeof *src);
    k.left = sm_alloc_n(e->weights.n, sizeof *k.left);
    for (size_t i = 0; i < e->weights.n; i++)
        k.scratch_bytes = SM_MAX(k.scratch_bytes, (sm_packed_scratch(&e->weights.v[i].p) + 63) / 64 * 64);
    k.scratch = sm_alloc_aligned(k.scratch_bytes * (size_t)sm_pool_size(e->pool), 64);
    k.src = src;
    if (!src || !k.left || !k.scratch)
        st = SM_NOMEM(err);
    if (st == SM_OK)
        st = pack_all(&k, src, err);
    sm_trace(SM_T_RUN, 1, "cpu: %zu weights packed into %" PRIu64 " bytes in %" PRId64 " us", e->weights.n,
             e->weight_bytes, sm_now_us() - t0);
    sm_mem_sample();
    sm_free(src);
    sm_free((void *)k.left);
    sm_free(k.chunks.v);
    sm_free_aligned(k.scratch);
    return st;
}

void cpu_free_weights(sm_exe *e) {
    for (size_t i = 0; i < e->weights.n; i++)
        sm_free(e->weights.v[i].block);
    sm_free(e->weights.v);
}
