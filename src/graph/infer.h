/* SPDX-License-Identifier: MIT
 *
 * infer.h: result types and symbolic values, one rule per row of ops.def (its `infer` column).
 *
 * The driver (infer.c) checks every slot by its kind, runs the rule, and fills what the rule left open: unknown extents
 * become fresh symbols, small integer results without a symbolic value get one symbol per element.  A rule may fail only
 * for what is wrong for every value of the symbols; what is merely unknown stays a symbol.
 *
 * A rule reads the node's inputs, calls sm_inf_out for each result, and may fill sm_inf_sym of integer results.
 */
#ifndef SM_INFER_H
#define SM_INFER_H

#include "graph/graph_int.h"

typedef struct sm_inf {
    sm_graph *g;
    sm_node *n;
    sm_err *err;
} sm_inf;

#define OP(id, name, since, inputs, n_out, infer, cost, lift, doc) sm_status sm_##infer(sm_inf *c);
#include "graph/ops.def"
#undef OP

/* Fails naming slot and value: "x 'hidden' tensor<fp16, [1, n, 64]>: wanted ..." */
sm_status sm_inf_bad(sm_inf *c, const char *slot, const sm_value *v, const char *fmt, ...) SM_PRINTF(4, 5);

/* Makes n results (rows with n_out -1); those of fixed rows exist. */
sm_status sm_inf_results(sm_inf *c, int n);
/* Type of result k; SM_DIM_UNKNOWN extents become fresh symbols. */
sm_status sm_inf_out(sm_inf *c, int k, sm_dtype t, int rank, const sm_dim *dims);
sm_status sm_inf_like(sm_inf *c, int k, const sm_value *v); /* the type of v, tensor or list */
/* Elements of result k, to be filled with sm_dims (SM_DIM_UNKNOWN allowed): NULL when it is not a small integer or bool
 * value, or out of memory (flagged).  The type is set before. */
sm_dim *sm_inf_sym(sm_inf *c, int k, int64_t *n);

/* Parameters.  Absent optional ones leave *out alone and return SM_OK. */
sm_status sm_inf_int(sm_inf *c, const char *slot, int64_t *out);
sm_status sm_inf_bool(sm_inf *c, const char *slot, bool *out);
/* An axis of a value of `rank` axes: 0..rank-1. */
sm_status sm_inf_axis(sm_inf *c, const char *slot, int rank, int *out);
/* Axes as flags; absent: all (or none when absent_none).  Repeated ones fail. */
sm_status sm_inf_axes(sm_inf *c, const char *slot, int rank, bool *flag);
/* A vector that may be computed at run time: elements that are not known are SM_DIM_UNKNOWN; its length must be. */
sm_status sm_inf_dims(sm_inf *c, const char *slot, sm_dim *out, int cap, int *n);
/* A vector that must be numbers. */
sm_status sm_inf_ints(sm_inf *c, const char *slot, int64_t *out, int cap, int *n);
/* Bool vector of n elements; absent: all false. */
sm_status sm_inf_mask(sm_inf *c, const char *slot, int n, bool *out);

/* Extent of a broadcast of a and b; fails when they can never agree. */
sm_status sm_inf_join(sm_inf *c, sm_dim a, sm_dim b, sm_dim *out);
/* Broadcast of two shapes from the right. */
sm_status sm_inf_broadcast(sm_inf *c, int ra, const sm_dim *a, int rb, const sm_dim *b, int *rank, sm_dim *out);
/* Extent that must be equal in both; returns the more precise one.  Fails when it never is. */
sm_status sm_inf_same_dim(sm_inf *c, const char *what, sm_dim a, sm_dim b, sm_dim *out);
/* An operand of x's dtype, or absent.  loose: weights may be stored in another float type; a backend computes in x's. */
sm_status sm_inf_operand(sm_inf *c, const char *slot, sm_dtype x, bool loose);
/* Slots of blocks (scales, offsets, tables) over `of`: as many axes, and `extra` more; each axis divides the one of `of`,
 * which messages call `whose`.  An absent slot is right. */
sm_status sm_inf_blocks(sm_inf *c, const char *slot, const sm_value *of, int extra, const char *whose);
/* Number of a string parameter among words[], which ends with NULL, whatever its case; fails naming them. */
sm_status sm_inf_word(sm_inf *c, const char *slot, const char *const *words, int *out);

#endif
