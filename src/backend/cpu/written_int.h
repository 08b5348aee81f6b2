/* SPDX-License-Identifier: MIT
 *
 * written_int.h: what the kernels of programs as written share (written.h).
 *
 * A kernel is a ref_kernel: it checks its operands, makes its results, and runs its loops on the executable's pool.
 */
#ifndef SM_WRITTEN_INT_H
#define SM_WRITTEN_INT_H

#include <stdatomic.h>

#include "backend/cpu/kernels.h"
#include "backend/cpu/loops.h"
#include "backend/cpu/written.h"
#include "backend/ref/ref_int.h"

enum {
    WR_SERIAL = 1 << 14,  /* elements of work below which one thread does it all */
    WR_PIECE = 1 << 13,   /* elements that a thread takes at once */
    WR_SCRATCH_ROWS = 128 /* rows of patches at once, at most */
};

/* A constant's rows in tiles.  The rows of each group of a convolution start a tile. */
typedef struct wr_pack {
    sm_dw w; /* of one group; data of group g lies g * group_bytes behind */
    int groups;
    size_t group_bytes;
    void *block;
} wr_pack;

struct sm_written {
    sm_exe *e; /* ref's, with ext = this */
    sm_kernels k;
    sm_loops l;
    wr_pack *pack; /* by value id */
    uint64_t pack_bytes, pack_limit;
    uint8_t *scratch;     /* of all threads, grown as kernels ask */
    size_t scratch_bytes; /* of one */
};

static inline sm_written *wr_of(const ref_call *c) {
    return c->e->ext;
}

/* Scratch of at least `bytes` for each thread; NULL when out of memory.  Thread i's starts i * scratch_bytes behind. */
sm_status wr_scratch(ref_call *c, size_t bytes);
static inline float *wr_scratch_of(const sm_written *w, int ith) {
    return (float *)(void *)(w->scratch + (size_t)ith * w->scratch_bytes);
}

/* fn(ctx, from, to) over 0 .. n in pieces of `piece`, shared among the threads when n * cost is worth it. */
typedef void (*wr_range_fn)(void *ctx, int ith, int64_t from, int64_t to);
void wr_share(sm_written *w, int64_t n, int64_t piece, int64_t cost, wr_range_fn fn, void *ctx);

/* The packing of constant v as groups * rows x cols; *out NULL: there is none (the limit, or no float constant). */
sm_status wr_packed(ref_call *c, const sm_value *v, int64_t rows, int64_t cols, int groups, const wr_pack **out);
void wr_free_packs(sm_written *w);
/* Tile t of a dense matrix [rows][row_stride], columns col_stride apart: dst [cols][16], missing rows zero. */
void wr_tile(const float *src, int64_t rows, int64_t cols, int64_t row_stride, int64_t col_stride, int64_t t,
             float *dst);
/* A tile made by wr_tile as a weight of n <= 16 rows. */
static inline sm_dw wr_tile_as_weight(float *tile, int n, int64_t cols) {
    return (sm_dw){.n = n,
                   .k = (int32_t)cols,
                   .kind = SM_DW_F32,
                   .tile_bytes = (size_t)cols * SM_TILE * 4,
                   .data = (uint8_t *)tile};
}
static inline sm_dw wr_group(const wr_pack *p, int64_t g) {
    sm_dw w = p->w;
    w.data += (size_t)g * p->group_bytes;
    return w;
}

/* ---- kernels ---- */
sm_status wr_linear(ref_call *c);
sm_status wr_matmul(ref_call *c);
sm_status wr_conv(ref_call *c);
sm_status wr_sdpa(ref_call *c);
sm_status wr_softmax(ref_call *c);
sm_status wr_unary(ref_call *c);
sm_status wr_gelu(ref_call *c);
sm_status wr_binary(ref_call *c);
sm_status wr_cast(ref_call *c);
sm_status wr_layer_norm(ref_call *c);
sm_status wr_batch_norm(ref_call *c);
sm_status wr_instance_norm(ref_call *c);
sm_status wr_reduce(ref_call *c);
sm_status wr_pool(ref_call *c);
sm_status wr_resize(ref_call *c);

#endif
