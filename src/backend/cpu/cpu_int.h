/* SPDX-License-Identifier: MIT
 *
 * cpu_int.h: an executable of the cpu backend: packed weights, buffers, steps, caches.
 *
 *     compile   cpu.c     limits, pool, caches, and in order:
 *               rowplan.c graph -> steps over values ("buffers"), weights noted
 *               arena.c   barriers, lifetimes, one arena
 *               weights.c packing, in parallel; source pages released
 *     run       cpu.c     binds a batch; every thread walks the steps
 *               rowsteps.c, product.c, attend.c   what a step does
 *               timed.c   the same walk with a clock, when a run is to say where its time goes
 *
 * STEPS.  A row-wise step makes row i of its result from row i of its operands.  Its rows are cut among the threads the
 * same way every time, so a chain of such steps needs no barrier: each thread goes on with the rows it made.  Other
 * steps hand out work by a counter of their own, reset before each run.  A phase is what lies between two barriers.
 *
 * BUFFERS.  A buffer is one value's rows, `stride` bytes apart, for the most rows a step may have.  It lives from the
 * phase that makes it to the last phase that reads it; buffers whose lives do not meet share memory.
 *
 * QUANTIZED ROWS have two terms: the row in 8 bits, then what that left over, in 8 bits with scales of its own, one behind
 * the other.  Products with both are added, so activations count with about 16 bits.  One term alone costs a small model
 * one most likely token in twenty; the second shares each unpacked weight with the first.
 *
 * ROWS.  t (new tokens) or r (rows whose logits are wanted): `sm_rows`.
 *
 * Ownership: constants of the plan hang on `mem`; tables, packed weights, arena, scratch and caches are blocks of their own.
 * Threads: compile is one thread plus the pool; run is the pool, one run at a time.
 */
#ifndef SM_CPU_INT_H
#define SM_CPU_INT_H

#include <stdatomic.h>

#include "backend/cpu/cpu.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/qpack.h"
#include "backend/cpu/written.h"
#include "base/threads.h"

typedef enum sm_rows { SM_ROWS_T, SM_ROWS_R } sm_rows;

enum {
    ROW_BLOCK = 128, /* rows that a product takes at once: their quantized form stays in L2 */
    PAIR_ROWS = 8,   /* rows whose two terms a kernel call takes */
    PAIR_TILES = 2,  /* tiles of such a call: its results stay in L1 */
    QUERY_ROWS = 16, /* rows of a sequence that one piece of attention takes */
    QUERY_HEADS = 8, /* heads of a group that one piece takes, at most */
};

typedef struct sm_buf {
    size_t stride; /* bytes a row */
    sm_rows rows;
    int32_t first, last; /* phases */
    size_t off;          /* in the arena */
    uint8_t *p;
} sm_buf;

/* A matrix of the graph and its packing. */
typedef struct sm_cpu_weight {
    const sm_value *v;
    bool packed; /* some step needs the packing; else rows are decoded from the source */
    sm_packed p;
    void *block; /* heap behind p */
} sm_cpu_weight;

typedef struct sm_job {
    int32_t weight, out; /* buffers */
    const float *bias;   /* NULL: none */
    float softcap;
} sm_job;

typedef enum sm_elem_op {
    SM_EL_ADD,
    SM_EL_SUB,
    SM_EL_MUL,
    SM_EL_SILU,
    SM_EL_GELU,
    SM_EL_GELU_TANH,
    SM_EL_TANH,
    SM_EL_SIGMOID
} sm_elem_op;

typedef struct sm_step sm_step;
typedef void (*sm_step_fn)(sm_exe *e, const sm_step *s, int ith, int nth);

struct sm_step {
    sm_step_fn run;
    const char *name; /* of the value it makes */
    bool row_wise;
    bool gathers; /* row-wise in its result, but reads any row */
    bool barrier; /* before it: set by arena.c */
    sm_rows rows;
    int32_t phase;
    int32_t in[3], out; /* buffers; -1: none */
    int32_t n;          /* elements of a row of the result, or of one head */
    union {
        struct {
            int32_t weight;
            float scale;
        } embed;
        struct {
            const float *gamma;
            int32_t groups; /* norms of n elements in a row */
            float eps;
        } norm;
        struct {
            const float *inv_freq;      /* NULL: of tables */
            const float *cosine, *sine; /* [n_pos, half] */
            int32_t half, n_pos;
            float scale;
        } turn; /* rope table: cos[half], sin[half] a row */
        struct {
            int32_t heads, half;
        } rope;
        struct {
            sm_elem_op op;
            const float *y; /* constant operand, a row long; NULL: in[1] */
            bool swapped;   /* y op x */
        } elem;
        struct {
            const sm_job *jobs;
            int32_t n_jobs;
        } product;
        struct {
            int32_t gate, up; /* weights */
            sm_act act;
        } mlp;
        struct {
            int32_t slot, window;
            float scale, softcap;
        } attn;
    } u;
};

/* Cache of one attention slot: fp16, a page after the other:
 *
 *     k [page][head][dim][page_tokens]      positions innermost (kernels.h)
 *     v [page][head][page_tokens][v_dim] */
typedef struct sm_kv_cache {
    sm_kv_slot geo;
    size_t k_page, v_page; /* elements */
    uint16_t *k, *v;
    void *block;
} sm_kv_cache;

/* A piece of attention: rows of one sequence. */
typedef struct sm_piece {
    int32_t seq, row0, n;
} sm_piece;

struct sm_exe {
    sm_written *written; /* a program as written: all that there is (written.h) */
    const sm_func *f;
    sm_limits lim;
    sm_kernels k;
    sm_pool *pool;
    sm_arena *mem;
    struct {
        sm_cpu_weight *v;
        size_t n, cap;
    } weights;
    struct {
        sm_buf *v;
        size_t n, cap;
    } bufs;
    struct {
        sm_step *v;
        size_t n, cap;
    } steps;
    int32_t logits_buf, vocab, n_phases;
    struct sm_tap {
        int32_t buf, elems; /* elems: of a row */
    } * taps;               /* values that run_taps gives; in mem */
    int32_t n_taps;
    atomic_int *counters; /* one a step */
    uint8_t *arena;
    size_t arena_bytes;
    uint8_t *scratch;     /* per thread */
    size_t scratch_bytes; /* of one */
    sm_kv_cache *kv;
    int32_t n_kv;
    uint64_t kv_bytes, weight_bytes;
    bool sizes_only; /* a plan: nothing is allocated that grows with the model or the context */
    /* a run */
    sm_step_times *times; /* NULL: nobody asked */
    const sm_batch *batch;
    int32_t *row_seq; /* [max_rows] */
    sm_piece *pieces; /* [max_rows / QUERY_ROWS + max_seqs] */
    int32_t n_pieces;
};

static inline uint8_t *cpu_row(const sm_exe *e, int32_t buf, int row) {
    return e->bufs.v[buf].p + (size_t)row * e->bufs.v[buf].stride;
}
static inline float *cpu_row_f32(const sm_exe *e, int32_t buf, int row) {
    return (float *)(void *)cpu_row(e, buf, row);
}
/* From a quantized row's first term to its second. */
static inline size_t cpu_term_bytes(const sm_exe *e, int32_t buf) {
    return e->bufs.v[buf].stride / 2;
}
static inline int cpu_n_rows(const sm_exe *e, sm_rows rows) {
    return rows == SM_ROWS_T ? e->batch->n_rows : e->batch->n_out;
}
static inline uint8_t *cpu_scratch(const sm_exe *e, int ith) {
    return e->scratch + (size_t)ith * e->scratch_bytes;
}
/* The next `chunk` of `total` items of a step that hands out work; false when there are none left. */
bool cpu_take(sm_exe *e, const sm_step *s, int chunk, int total, int *from, int *to);

/* ---- compile ---- */
sm_status cpu_plan_steps(sm_exe *e, sm_err *err);
sm_status cpu_plan_arena(sm_exe *e, sm_err *err);
sm_status cpu_pack_weights(sm_exe *e, sm_err *err);
void cpu_free_weights(sm_exe *e);
/* Number of matrix v among the weights, noted when it is new.  `packed`: a step needs the packing. */
sm_status cpu_weight(sm_exe *e, const sm_value *v, bool packed, int32_t *out, sm_err *err);
/* A constant's elements as f32 in e->mem, n of them. */
sm_status cpu_const_f32(sm_exe *e, const sm_value *v, const float **out, sm_err *err);

/* ---- what steps read, and when they run (timed.c) ---- */
void cpu_count_step_bytes(const sm_exe *e, sm_exe_info *out);
sm_status cpu_times_new(const sm_exe *e, sm_step_times *t, sm_err *err); /* the arrays of t, once */
void cpu_walk_timed(void *ctx, int ith, int nth);                        /* every step, its times to e->times */
void cpu_times_bytes(const sm_exe *e);                                   /* of the batch that was bound */

/* ---- steps ---- */
void cpu_run_embed(sm_exe *e, const sm_step *s, int ith, int nth);
void cpu_run_norm(sm_exe *e, const sm_step *s, int ith, int nth);
void cpu_run_turn(sm_exe *e, const sm_step *s, int ith, int nth); /* cos and sin of the step's positions */
void cpu_run_rope(sm_exe *e, const sm_step *s, int ith, int nth);
void cpu_run_quantize(sm_exe *e, const sm_step *s, int ith, int nth);
void cpu_run_elem(sm_exe *e, const sm_step *s, int ith, int nth);
void cpu_run_gather(sm_exe *e, const sm_step *s, int ith, int nth);
void cpu_run_store(sm_exe *e, const sm_step *s, int ith, int nth); /* k and v into the cache */
void cpu_run_attend(sm_exe *e, const sm_step *s, int ith, int nth);
void cpu_run_product(sm_exe *e, const sm_step *s, int ith, int nth);
void cpu_run_gated(sm_exe *e, const sm_step *s, int ith, int nth); /* act(gate x) * up x */
/* Scratch that a thread needs for these. */
size_t cpu_attend_scratch(const sm_kv_slot *g);
size_t cpu_gated_scratch(void);
size_t cpu_quantize_scratch(int32_t n);

#endif
