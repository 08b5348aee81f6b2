/* SPDX-License-Identifier: MIT
 *
 * ref_int.h: values, calls and helpers that the files of `ref` share.
 *
 * A value at run time is a dense array: floats of any declared width as float (never rounded on the way), integers and
 * bools as int64 wrapped to their dtype.  Elements belong to a counted block, so that reshape and identity share it.
 *
 * A kernel computes one node: it reads c->in (one per slot, NULL when absent) and c->list and makes c->out.  Constants
 * arrive decoded, except in the slots that the op's row in ref_ops.c calls lazy: those are read by rows (ref_weight).
 *
 * A list is an array of its elements along a first axis; while extents of its elements are not known yet (nothing was
 * written) they are 0.
 *
 * Shapes are computed from the values at hand; declared shapes are not trusted.  Kernels check what a wrong program
 * could break: axes, indices, extents.
 */
#ifndef SM_REF_INT_H
#define SM_REF_INT_H

#include "backend/call.h"
#include "base/threads.h"

/* ---- values (ref_value.c) ---- */

typedef struct ref_val {
    sm_dtype dtype;
    int rank;
    int64_t dims[SM_MAX_RANK];
    int64_t n; /* elements */
    union {
        float *f;   /* float dtypes */
        int64_t *i; /* the others */
        void *p;    /* NULL: no value */
    };
    struct ref_mem *mem;
} ref_val;

static inline bool ref_is_float(const ref_val *v) {
    return sm_dtype_kind(v->dtype) == 'f';
}
static inline size_t ref_elem_size(const ref_val *v) {
    return ref_is_float(v) ? sizeof(float) : sizeof(int64_t);
}
sm_status ref_alloc(ref_val *v, sm_dtype t, int rank, const int64_t *dims, sm_err *err); /* zeroed elements */
/* Blocks of dead values, kept for the next ones: memory that is warm.  What a whole run did not need is given back. */
typedef struct ref_spare ref_spare;
sm_status ref_spare_new(ref_spare **out, sm_err *err);
void ref_spare_free(ref_spare **s);
void ref_spare_turn(ref_spare *s); /* between runs */
uint64_t ref_spare_bytes(const ref_spare *s);
/* ref_alloc from spare blocks (NULL: none); raw: elements are not zeroed. */
sm_status ref_alloc_in(ref_spare *s, bool raw, ref_val *v, sm_dtype t, int rank, const int64_t *dims, sm_err *err);
void ref_share(ref_val *dst, const ref_val *src); /* dst was empty */
void ref_drop(ref_val *v);                        /* safe on an empty one */
int ref_refs(const ref_val *v);                   /* values that share its elements */
int64_t ref_wrap(sm_dtype t, int64_t x);          /* x as integer type t holds it */
double ref_elem(const ref_val *v, int64_t i);
/* Product of dims[from .. to - 1]. */
int64_t ref_extent(const ref_val *v, int from, int to);

sm_status ref_from_array(ref_val *v, const sm_array *a, sm_dtype t, sm_err *err);
sm_status ref_to_array(sm_array *a, const char *name, const ref_val *v, sm_err *err);

/* ---- walking several arrays over one shape, row by row of the last axis ---- */

enum { REF_WALK_MAX = 3 };
typedef struct ref_walk {
    int rank, n; /* n arrays */
    int64_t dims[SM_MAX_RANK], at[SM_MAX_RANK];
    int64_t stride[REF_WALK_MAX][SM_MAX_RANK];
    int64_t off[REF_WALK_MAX];  /* first element of the current row */
    int64_t step[REF_WALK_MAX]; /* stride along the row */
    int64_t inner;              /* elements of a row */
} ref_walk;
void ref_walk_init(ref_walk *w, int rank, const int64_t *dims);
void ref_walk_add(ref_walk *w, const int64_t *stride, int64_t off); /* stride per axis of the walk */
/* Adds v broadcast to the walk's shape (axes aligned at the right). */
void ref_walk_broadcast(ref_walk *w, const ref_val *v);
bool ref_walk_start(ref_walk *w); /* false when there is nothing to visit */
bool ref_walk_next(ref_walk *w);
void ref_strides(int rank, const int64_t *dims, int64_t *out); /* of a dense array */
/* Copies elements of `size` bytes: dst[doff + sum at*dstride] = src[soff + sum at*sstride] over dims. */
void ref_move(int rank, const int64_t *dims, size_t size, void *dst, int64_t doff, const int64_t *dstride,
              const void *src, int64_t soff, const int64_t *sstride);
/* Shape that a and b broadcast to. */
sm_status ref_broadcast(int *rank, int64_t *dims, const ref_val *b, sm_err *err);

/* ---- plan and executable (ref.c, ref_plan.c) ---- */

typedef struct ref_call ref_call;
typedef sm_status (*ref_kernel)(ref_call *c);

typedef struct ref_op {
    ref_kernel fn;
    const char *lazy[3]; /* slots whose constants stay encoded */
} ref_op;
extern const ref_op ref_ops[SM_OP_COUNT_];

typedef struct ref_block ref_block;
typedef struct ref_step {
    const sm_node *node;
    const ref_op *op;
    uint32_t *dead; /* values nobody reads after this step */
    int n_dead;
    ref_block *blocks; /* one per block of the node */
} ref_step;
struct ref_block {
    const sm_block *b;
    ref_step *steps;
    int n_steps;
};

/* KV pages of one attention slot: k [page][token][head][head_dim], v the same with v_dim. */
typedef struct ref_kv {
    sm_kv_slot geo;
    float *k, *v;
} ref_kv;

struct sm_exe {
    const sm_func *f;
    sm_limits lim;
    sm_pool *pool;
    sm_arena *arena; /* the plan */
    ref_block body;
    uint32_t n_values;
    ref_val *val;        /* by value id: what is alive now */
    ref_val *cst;        /* by value id: constants kept decoded */
    sm_tensor **recoded; /* by value id: constants whose wanted encoding is not the stored one; made on first use */
    uint64_t cst_bytes, kv_bytes;
    uint64_t n_draws; /* of random ops without a seed */
    ref_kv *kv;
    int n_kv;
    /* of the run going on: */
    ref_val *held; /* by function input: what a state holds now */
    const sm_batch *batch;
    /* taps: value ids (arena), where their rows go */
    uint32_t *tap_id;
    int n_taps;
    float *const *tap_out; /* NULL: not wanted in this run */
    /* of a backend that runs programs as `ref` does, with kernels of its own (backend/cpu/written.c): */
    const ref_op *ops; /* rows without fn: those of ref_ops; NULL: all of them */
    ref_spare *spare;  /* NULL: every value is allocated */
    void *ext;         /* that backend's */
};
/* ops as above, borrowed.  with_spare: dead values' memory is used again. */
sm_status ref_exe_new(const sm_func *f, const sm_limits *lim, const ref_op *ops, bool with_spare, sm_exe **out,
                      sm_err *err);
void ref_exe_free(sm_exe **e);
sm_status ref_exe_run(sm_exe *e, const sm_arrays *in, sm_states *states, sm_arrays *out, sm_err *err);
sm_status ref_plan(sm_exe *e, sm_err *err); /* fills e->body (ref_plan.c) */
sm_status ref_run_block(sm_exe *e, const ref_block *b, sm_err *err);
/* Results of a block that has run, taken into out[n_out]; what else the block defined is dropped. */
sm_status ref_take_results(sm_exe *e, const ref_block *b, ref_val *out, sm_err *err);

/* ---- constants (ref_const.c) ---- */

/* The constant's encoded tensor as it is wanted (graph.h, sm_const). */
sm_status ref_const_tensor(sm_exe *e, const sm_value *v, const sm_tensor **out, sm_err *err);
/* The constant decoded: kept while small constants fit the bound, else into *tmp (the caller's to drop). */
sm_status ref_const_get(sm_exe *e, const sm_value *v, ref_val *tmp, const ref_val **out, sm_err *err);
void ref_const_free(sm_exe *e);

/* ---- calls (ref_call.c) ---- */

struct ref_call {
    sm_exe *e;
    const sm_node *node;
    const ref_step *step;
    const ref_val *in[SM_MAX_SLOTS];
    const ref_val **list;
    int n_list;
    sm_err *err;
};
const ref_val *ref_in(const ref_call *c, const char *slot); /* NULL when absent */
ref_val *ref_out(ref_call *c, int k);
/* Parameters: the slot's value, else the row's default (0 when it has none). */
int64_t ref_int(const ref_call *c, const char *slot);
double ref_num(const ref_call *c, const char *slot);
bool ref_bool(const ref_call *c, const char *slot);
bool ref_str_is(const ref_call *c, const char *slot, const char *what);
/* Vector parameter of at most cap elements; *n = -1 when absent. */
sm_status ref_ints(const ref_call *c, const char *slot, int64_t *out, int cap, int *n);
/* Axis parameter within a rank. */
sm_status ref_axis(const ref_call *c, const char *slot, int rank, int *out);
sm_status ref_norm_axis(const ref_call *c, int64_t axis, int rank, int *out);
/* Marks of the axes in a vector parameter; all when it is absent. */
sm_status ref_axes(const ref_call *c, const char *slot, int rank, bool *marked);
/* Makes result k. */
sm_status ref_result(ref_call *c, int k, sm_dtype t, int rank, const int64_t *dims);
sm_status ref_result_like(ref_call *c, int k, const ref_val *v);
/* Without zeroing: for kernels that write every element. */
sm_status ref_result_raw(ref_call *c, int k, sm_dtype t, int rank, const int64_t *dims);

/* ---- products (ref_matmul.c) ---- */

/* A matrix [rows, cols] read by rows: an encoded constant or a value. */
typedef struct ref_weight {
    const float *dense; /* not NULL: a value's elements */
    sm_tensor t;        /* else decoded a slab of rows at a time; trailing extents of 1 are folded away */
    int64_t rows, cols;
} ref_weight;
/* First axis against all others. */
sm_status ref_weight_of(ref_call *c, const char *slot, ref_weight *w);
void ref_weight_rows(const ref_weight *w, int64_t row, int64_t n, float *out);
float ref_dot(const float *a, const float *b, int64_t n);
/* y[i * y_row + o * y_col] = x[i] . w[row0 + o] + bias[o], for i < n and o < rows; x rows are dense. */
sm_status ref_linear(sm_exe *e, const float *x, int64_t n, const ref_weight *w, int64_t row0, int64_t rows,
                     const float *bias, float *y, int64_t y_row, int64_t y_col, sm_err *err);
/* s[n] to probabilities, in place; a row of nothing but -inf becomes zeros. */
void ref_softmax_row(float *s, int64_t n);
float ref_silu(float x);
float ref_gelu(float x);
float ref_gelu_tanh(float x);

/* Operands of matmul as [.., m, k] and [.., n, k] views: strides of the last two axes, leading shape. */
typedef struct ref_mm {
    int64_t m, n, k;
    int64_t xm, xk, yn, yk; /* strides */
    int rank;               /* leading axes of the result */
    int64_t dims[SM_MAX_RANK];
    int64_t xs[SM_MAX_RANK], ys[SM_MAX_RANK]; /* strides of the leading axes */
    int out_rank;                             /* shape of the result: vectors have no m, no n */
    int64_t out[SM_MAX_RANK + 2];
} ref_mm;
sm_status ref_matmul_plan(ref_call *c, const ref_val *x, const ref_val *y, ref_mm *p);

/* query [.., m, d], key [.., n, d], value [.., n, dv], mask broadcast to [.., m, n]; leading axes broadcast. */
typedef struct ref_sdpa_args {
    const ref_val *q, *k, *v, *mask;
    int64_t m, n, d, dv;
    int64_t mask_row, mask_col; /* strides */
} ref_sdpa_args;
/* Extents from q, k, v, mask; dims[*rank]: the leading axes of the result. */
sm_status ref_sdpa_plan(ref_call *c, ref_sdpa_args *s, int *rank, int64_t *dims);
/* Strides of v's axes before the last two over a walk of `rank` leading axes. */
void ref_lead_strides(const ref_val *v, int rank, int64_t *out);

/* ---- windows of convolutions and pools (ref_window.c) ---- */

enum { REF_AXES = 3 };
enum { REF_PAD_VALID, REF_PAD_CUSTOM, REF_PAD_SAME, REF_PAD_SAME_LOWER };
/* Always three axes, the last nd of them those of x; the others have extent 1. */
typedef struct ref_window {
    int nd, pad_type;
    bool ceil;
    int64_t in[REF_AXES], out[REF_AXES], k[REF_AXES], stride[REF_AXES], dilation[REF_AXES];
    int64_t pad[REF_AXES], behind[REF_AXES]; /* padding before and behind */
    int64_t plane, positions, taps;          /* products of in, out, k */
} ref_window;
/* Window parameters of the node for a kernel over nd axes of extents in[]; slots that the op lacks are 1. */
sm_status ref_window_of(ref_call *c, int nd, const int64_t *in, const int64_t *kernel, ref_window *w);
/* Of a transposed convolution: out is what x spreads to, or given[nd]. */
sm_status ref_window_transposed(ref_call *c, int nd, const int64_t *in, const int64_t *kernel, const int64_t *given,
                                ref_window *w);
/* The window of a convolution by a weight of rows x cols, checked; makes result 0. */
sm_status ref_conv_plan(ref_call *c, int64_t rows, int64_t cols, ref_window *w, int64_t *groups);
/* The same for a pool. */
sm_status ref_pool_plan(ref_call *c, ref_window *w);

/* ---- points on an axis (ref_resize.c) ---- */

typedef enum ref_sampling {
    REF_STRICT_ALIGN_CORNERS,
    REF_ALIGN_CORNERS,
    REF_DEFAULT,
    REF_OFFSET_CORNERS,
    REF_UNALIGN_CORNERS
} ref_sampling;
bool ref_sampling_of(const ref_call *c, ref_sampling *out); /* slot sampling_mode; false: unknown */
/* Where element i of `out` lies on an axis of `in` elements, 0 .. in - 1. */
double ref_grid_point(ref_sampling mode, int64_t i, double in, int64_t out);
typedef struct ref_tap {
    int64_t lo, hi;
    float part; /* lo * (1 - part) + hi * part */
} ref_tap;
/* Extents of a resizing op's result; the taps of an axis of it. */
sm_status ref_resize_dims(ref_call *c, int64_t *dims);
sm_status ref_resize_taps(ref_call *c, int64_t in, int64_t out, ref_tap *taps);

/* ---- kernels, by file ---- */

/* ref_elem.c */
sm_status ref_unary(ref_call *c);
sm_status ref_identity(ref_call *c);
sm_status ref_gelu_op(ref_call *c);
sm_status ref_channels(ref_call *c);
sm_status ref_cast(ref_call *c);
sm_status ref_binary(ref_call *c);
sm_status ref_compare(ref_call *c);
sm_status ref_select(ref_call *c);
/* ref_reduce.c */
sm_status ref_reduce(ref_call *c);
sm_status ref_argreduce(ref_call *c);
sm_status ref_softmax(ref_call *c);
sm_status ref_layer_norm(ref_call *c);
sm_status ref_l2_norm(ref_call *c);
sm_status ref_cumsum(ref_call *c);
/* ref_matmul.c */
sm_status ref_linear_op(ref_call *c);
sm_status ref_matmul(ref_call *c);
/* ref_einsum.c */
sm_status ref_einsum(ref_call *c);
/* ref_norm.c */
sm_status ref_batch_norm(ref_call *c);
sm_status ref_instance_norm(ref_call *c);
sm_status ref_local_response_norm(ref_call *c);
/* ref_conv.c */
sm_status ref_conv(ref_call *c);
sm_status ref_conv_quantized(ref_call *c);
sm_status ref_conv_transpose(ref_call *c);
/* ref_pool.c, ref_resize.c, ref_sample.c, ref_blocks.c, ref_nms.c */
sm_status ref_pool(ref_call *c);
sm_status ref_resize(ref_call *c);
sm_status ref_resample(ref_call *c);
sm_status ref_affine(ref_call *c);
sm_status ref_crop_resize(ref_call *c);
sm_status ref_depth_space(ref_call *c);
sm_status ref_space_to_batch(ref_call *c);
sm_status ref_batch_to_space(ref_call *c);
sm_status ref_crop(ref_call *c);
sm_status ref_sliding_windows(ref_call *c);
sm_status ref_nms(ref_call *c);
/* ref_shape.c */
sm_status ref_reshape(ref_call *c);
sm_status ref_transpose(ref_call *c);
sm_status ref_expand_dims(ref_call *c);
sm_status ref_squeeze(ref_call *c);
sm_status ref_flatten2d(ref_call *c);
sm_status ref_reshape_like(ref_call *c);
sm_status ref_concat(ref_call *c);
sm_status ref_stack(ref_call *c);
sm_status ref_split(ref_call *c);
sm_status ref_tile(ref_call *c);
sm_status ref_shape(ref_call *c);
sm_status ref_reverse(ref_call *c);
sm_status ref_reverse_sequence(ref_call *c);
sm_status ref_pad(ref_call *c);
/* ref_slice.c */
sm_status ref_slice_by_index(ref_call *c);
sm_status ref_slice_by_size(ref_call *c);
sm_status ref_slice_update(ref_call *c);
/* ref_gather.c */
sm_status ref_gather(ref_call *c);
sm_status ref_gather_along_axis(ref_call *c);
sm_status ref_gather_nd(ref_call *c);
sm_status ref_scatter(ref_call *c);
sm_status ref_scatter_nd(ref_call *c);
sm_status ref_scatter_along_axis(ref_call *c);
/* ref_make.c */
sm_status ref_fill(ref_call *c);
sm_status ref_fill_like(ref_call *c);
sm_status ref_range_1d(ref_call *c);
sm_status ref_band_part(ref_call *c);
sm_status ref_one_hot(ref_call *c);
sm_status ref_topk(ref_call *c);
sm_status ref_argsort(ref_call *c);
sm_status ref_non_zero(ref_call *c);
/* ref_random.c */
sm_status ref_random(ref_call *c);
sm_status ref_random_categorical(ref_call *c);
/* ref_rnn.c */
sm_status ref_recurrent(ref_call *c);
/* ref_list.c */
sm_status ref_make_list(ref_call *c);
sm_status ref_list_length(ref_call *c);
sm_status ref_list_read(ref_call *c);
sm_status ref_list_write(ref_call *c);
sm_status ref_list_gather(ref_call *c);
sm_status ref_list_scatter(ref_call *c);
/* ref_flow.c */
sm_status ref_read_state(ref_call *c);
sm_status ref_write_state(ref_call *c);
sm_status ref_cond(ref_call *c);
sm_status ref_while_loop(ref_call *c);
/* ref_constexpr.c */
sm_status ref_cx_blockwise(ref_call *c);
sm_status ref_cx_lut(ref_call *c);
sm_status ref_cx_affine(ref_call *c);
sm_status ref_cx_cast(ref_call *c);
sm_status ref_cx_sparse(ref_call *c);
sm_status ref_cx_lut_sparse(ref_call *c);
sm_status ref_cx_blockwise_sparse(ref_call *c);
/* ref_quant.c */
sm_status ref_quantize(ref_call *c);
sm_status ref_dequantize(ref_call *c);
/* ref_rows.c */
sm_status ref_embed(ref_call *c);
sm_status ref_rms_norm(ref_call *c);
sm_status ref_rope(ref_call *c);
sm_status ref_rope_table(ref_call *c);
sm_status ref_gated_mlp(ref_call *c);
sm_status ref_lm_head(ref_call *c);
/* ref_attention.c */
sm_status ref_attention(ref_call *c);
sm_status ref_sdpa(ref_call *c);

#endif
