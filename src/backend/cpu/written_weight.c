/* SPDX-License-Identifier: MIT
 *
 * written_weight.c: constants in tiles of 16 rows, and tiles of values.
 *
 * A constant is decoded as it means (ref_const_tensor, so rounding to its declared type is in the numbers) and kept in the
 * narrowest type that holds those numbers exactly: fp16 or bf16 when that is what it is declared as, else fp32.  The
 * packing replaces its source in memory: pages of a file are given back.
 */
#include <string.h>

#include "backend/cpu/written_int.h"
#include "base/files.h"

typedef struct packing {
    const ref_weight *src;
    wr_pack *p;
    int64_t rows; /* of a group */
    int tiles;    /* of a group */
    float *scratch;
    size_t per_thread; /* floats */
} packing;

void wr_tile(const float *src, int64_t rows, int64_t cols, int64_t row_stride, int64_t col_stride, int64_t t,
             float *dst) {
    int64_t r0 = t * SM_TILE, n = SM_MIN((int64_t)SM_TILE, rows - r0);
    const float *s = src + r0 * row_stride;
    if (row_stride == 1 && n == SM_TILE) {
        for (int64_t k = 0; k < cols; k++)
            memcpy(dst + k * SM_TILE, s + k * col_stride, SM_TILE * sizeof *dst);
        return;
    }
    if (n < SM_TILE)
        memset(dst, 0, (size_t)cols * SM_TILE * sizeof *dst);
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < cols; k++)
            dst[k * SM_TILE + i] = s[i * row_stride + k * col_stride];
}

static void put_tile(const packing *k, int64_t at, const float *rows, int64_t n) {
    const sm_dw *w = &k->p->w;
    uint8_t *to = w->data + (size_t)(at / k->tiles) * k->p->group_bytes + (size_t)(at % k->tiles) * w->tile_bytes;
    if (w->kind == SM_DW_F32) {
        wr_tile(rows, n, w->k, w->k, 1, 0, (float *)(void *)to);
        return;
    }
    uint16_t *h = (uint16_t *)(void *)to, part[256];
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < w->k; c += 256) {
            int64_t m = SM_MIN(w->k - c, (int64_t)256);
            if (w->kind == SM_DW_F16)
                sm_f32_to_f16_n(rows + i * w->k + c, part, (size_t)m);
            for (int64_t e = 0; e < m; e++)
                h[(c + e) * SM_TILE + i] = w->kind == SM_DW_F16 ? part[e] : sm_f32_to_bf16(rows[i * w->k + c + e]);
        }
}

static void pack_tiles(void *ctx, int ith, int64_t from, int64_t to) {
    const packing *k = ctx;
    float *rows = k->scratch + (size_t)ith * k->per_thread;
    for (int64_t at = from; at < to; at++) {
        int64_t row = at % k->tiles * SM_TILE, n = SM_MIN((int64_t)SM_TILE, k->rows - row);
        ref_weight_rows(k->src, at / k->tiles * k->rows + row, n, rows);
        put_tile(k, at, rows, n);
    }
}

static sm_dw_kind kind_of(sm_dtype t) {
    return t == SM_FP16 ? SM_DW_F16 : t == SM_BF16 ? SM_DW_BF16 : SM_DW_F32;
}

static sm_status pack(ref_call *c, const ref_weight *src, int64_t rows, int groups, wr_pack *p) {
    sm_written *w = wr_of(c);
    /* Decoded without rounding to the declared type: what is kept in it rounds once, to the same. */
    ref_weight plain = *src;
    packing k = {.src = &plain, .p = p, .rows = rows, .tiles = sm_tiles((int32_t)rows)};
    p->w = (sm_dw){.n = (int32_t)rows, .k = (int32_t)src->cols, .kind = kind_of(src->t.dtype)};
    p->w.tile_bytes = (size_t)src->cols * SM_TILE * sm_dw_elem(p->w.kind);
    p->groups = groups;
    p->group_bytes = (size_t)k.tiles * p->w.tile_bytes;
    k.per_thread = (size_t)src->cols * SM_TILE;
    if (p->w.kind != SM_DW_F32)
        plain.t.dtype = SM_FP32;
    p->block = sm_alloc_aligned(p->group_bytes * (size_t)groups, 64);
    k.scratch = sm_alloc_n((size_t)sm_pool_size(w->e->pool) * k.per_thread, sizeof *k.scratch);
    p->w.data = p->block;
    if (p->block != NULL && k.scratch != NULL) {
        memset(p->block, 0, p->group_bytes * (size_t)groups);
        wr_share(w, (int64_t)k.tiles * groups, 4, src->cols * SM_TILE, pack_tiles, &k);
        w->pack_bytes += p->group_bytes * (size_t)groups;
        for (int i = 0; i < SM_PART_COUNT; i++) /* a file's pages: what still reads rows of it brings those back */
            sm_mapfile_release(src->t.part[i].p, src->t.part[i].n);
    }
    sm_free(k.scratch);
    if (p->block != NULL && k.scratch != NULL)
        return SM_OK;
    sm_free_aligned(p->block);
    *p = (wr_pack){0};
    return SM_NOMEM(c->err);
}

sm_status wr_packed(ref_call *c, const sm_value *v, int64_t rows, int64_t cols, int groups, const wr_pack **out) {
    sm_written *w = wr_of(c);
    ref_weight src;
    *out = NULL;
    if (v->cst == NULL || rows < 1 || cols < 1 || rows > INT32_MAX / 2 || cols > INT32_MAX / 64)
        return SM_OK;
    wr_pack *p = &w->pack[v->id];
    if (p->block == NULL) {
        SM_TRY(ref_weight_of(c, "weight", &src));
        uint64_t bytes = (uint64_t)sm_tiles((int32_t)rows) * SM_TILE * (uint64_t)cols * (uint64_t)groups *
                         sm_dw_elem(kind_of(src.t.dtype));
        if (src.dense != NULL || src.rows != rows * groups || src.cols != cols || w->pack_bytes + bytes > w->pack_limit)
            return SM_OK;
        SM_TRY(pack(c, &src, rows, groups, p));
    }
    if (p->w.n == rows && p->w.k == cols && p->groups == groups) /* another use may see it in other groups */
        *out = p;
    return SM_OK;
}

void wr_free_packs(sm_written *w) {
    for (uint32_t i = 0; w->pack != NULL && i < w->e->n_values; i++)
        sm_free_aligned(w->pack[i].block);
    sm_free(w->pack);
}
