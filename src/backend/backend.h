/* SPDX-License-Identifier: MIT
 *
 * backend.h: what runs a function.
 *
 * A backend is one table of functions.  compile() takes a function and upper bounds and plans everything once; run()
 * binds one step's batch or one call's arrays.  Backends know ops and composites, never architectures or file formats.
 *
 *   rows        runs a row-form function: one step of all sequences
 *   as written  runs any other function: arrays in, arrays out, states between calls
 *
 * A backend may do one kind only, or refuse ops (SM_UNSUPPORTED naming op and value).
 *
 * KV cache: storage belongs to the executable, pages of `page_tokens` positions of every attention slot; the engine
 * owns page numbers and hands page lists with each batch.  Page contents survive until overwritten.
 *
 * Threads: one run at a time per executable; an executable may use its own worker pool.  Executables borrow the
 * function (and so graph and weights), which must outlive them.
 */
#ifndef SM_BACKEND_H
#define SM_BACKEND_H

#include "graph/graph.h"
#include "graph/rows.h"
#include "tensor/array.h"

typedef struct sm_limits {
    int32_t max_rows;    /* t of one step */
    int32_t max_out;     /* r of one step */
    int32_t max_ctx;     /* positions of one sequence */
    int32_t max_seqs;    /* sequences in one step */
    int32_t page_tokens; /* positions per KV page (power of two) */
    int32_t n_pages;     /* KV pages in all */
    int n_threads;       /* < 1: one per core */
    /* Values of a row-form function's own block that run_taps gives besides the logits.  Read by compile only. */
    const sm_value *const *taps;
    int n_taps;
} sm_limits;

/* One sequence of a step. */
typedef struct sm_batch_seq {
    int32_t row0, n_rows; /* its rows are row0 .. row0 + n_rows - 1, in order of position */
    int32_t past;         /* positions already in the cache; row i is at position past + i - row0 */
    const int32_t *pages; /* page numbers covering positions 0 .. past + n_rows - 1 */
} sm_batch_seq;

/* One step. */
typedef struct sm_batch {
    int32_t n_rows;     /* t */
    const int32_t *ids; /* [t] */
    const int32_t *pos; /* [t] */
    int32_t n_seqs;
    const sm_batch_seq *seqs;
    int32_t n_out;      /* r */
    const int32_t *out; /* [r] rows whose logits are wanted, ascending */
} sm_batch;

typedef struct sm_exe sm_exe;

/* Dense states of an as-written function, shared between calls (and functions that name the same states). */
typedef struct sm_states {
    sm_arrays a; /* by state name; dtypes as those of outputs */
} sm_states;

typedef struct sm_exe_info {
    uint64_t weight_bytes; /* memory the backend holds for weights, beyond mapped files */
    uint64_t mapped_bytes; /* weights that it reads where they lie in mapped files */
    uint64_t kv_bytes, arena_bytes;
    /* Of a row-form function: matrices that a step reads from end to end, as they are held, those read only when rows of
     * logits are wanted being head_bytes; and what of both is codes, multiplied as integers.  0: not known. */
    uint64_t step_bytes, head_bytes, coded_bytes;
    char isa[32]; /* kernels chosen, e.g. "avx512vnni" */
    int n_threads;
} sm_exe_info;

/* One op of a plan. */
typedef struct sm_exe_op {
    const char *kind, *name; /* what it does ("attention"), the value it makes; both live as long as the executable */
} sm_exe_op;

/* Where the time of one step went.  Zeroed before first use, filled by run_timed, which makes the arrays once; the next
 * step overwrites them.  What lies between two ops of a thread is waiting for the others. */
typedef struct sm_step_times {
    int n_ops, n_threads;
    sm_exe_op *ops;       /* [n_ops], in order */
    double *bytes;        /* [n_ops] weights, rows and cached positions that the op read and wrote */
    int64_t *start, *end; /* [n_ops][n_threads] nanoseconds on sm_now_ns's clock */
    int64_t begun, done;  /* of the whole step */
} sm_step_times;
void sm_step_times_free(sm_step_times *t); /* frees the arrays and zeroes */

typedef struct sm_backend {
    const char *name, *doc;
    bool rows, as_written;
    /* false for modules whose library or device is not there; why receives the reason. */
    bool (*available)(char *why, size_t cap);
    sm_status (*compile)(const sm_func *f, const sm_limits *lim, sm_exe **out, sm_err *err);
    void (*free)(sm_exe **e);
    /* Row form: logits [r][vocab] f32 into `logits`. */
    sm_status (*run_rows)(sm_exe *e, const sm_batch *b, float *logits, sm_err *err);
    /* The same, and the limits' taps: rows of tap k as f32 into taps[k], [rows of the step, or wanted rows][elements]. */
    sm_status (*run_taps)(sm_exe *e, const sm_batch *b, float *logits, float *const *taps, sm_err *err);
    /* run_rows with the ops timed, at a cost of some hundred nanoseconds an op.  NULL: the backend does not time them. */
    sm_status (*run_timed)(sm_exe *e, const sm_batch *b, float *logits, sm_step_times *t, sm_err *err);
    /* As written: inputs by name; outputs appended to `out`; states made on first use, as zeros.  What leaves has its
     * declared dtype, but for floats: they are FP32 whatever was declared, and backends that compute wider than fp16 do
     * not round them, so that results can be compared closer than fp16 reaches. */
    sm_status (*run)(sm_exe *e, const sm_arrays *in, sm_states *st, sm_arrays *out, sm_err *err);
    void (*info)(const sm_exe *e, sm_exe_info *out);
    /* What an executable of these limits would hold, without making it: weights are not touched.  NULL: not known. */
    sm_status (*plan)(const sm_func *f, const sm_limits *lim, sm_exe_info *out, sm_err *err);
} sm_backend;

/* NULL name or "auto": the fastest that can run f. */
sm_status sm_backend_pick(const char *name, const sm_func *f, const sm_backend **out, sm_err *err);
const sm_backend *const *sm_backends(int *n);

#endif
