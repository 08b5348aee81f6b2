/* SPDX-License-Identifier: MIT
 *
 * call.h: what every backend checks before it runs: a call's arrays against a function's types, a step's batch against
 * the limits it was compiled for.
 *
 * Nothing here keeps anything; all functions are pure but for the states and symbol values that they fill.
 */
#ifndef SM_CALL_H
#define SM_CALL_H

#include "backend/backend.h"

/* Symbol values of a call: sym[k] for symbol k of the graph, -1 while unbound. */
typedef struct sm_binding {
    int64_t *sym;
    int n_sym;
} sm_binding;
/* Checks the arrays against f's inputs (names, ranks, extents, symbol bounds, kinds of dtype) and binds the symbols.
 * SM_BADINPUT names input, wanted, found.  A float input takes any float dtype, an integer or bool input any integer
 * dtype whose values fit.  Free with sm_binding_free, also after a failure. */
sm_status sm_call_bind(const sm_func *f, const sm_arrays *in, sm_binding *b, sm_err *err);
void sm_binding_free(sm_binding *b);
/* The extents of a type under a binding; SM_UNSUPPORTED when one is not known. */
sm_status sm_call_dims(const sm_func *f, const sm_value *v, const sm_binding *b, int64_t *dims, sm_err *err);

/* Makes f's missing states as zeros and checks those that are there.  Float states are FP32 arrays (backend.h). */
sm_status sm_call_states(const sm_func *f, sm_states *st, sm_err *err);
/* The dtype in which a value of declared dtype t leaves a backend: floats as FP32. */
sm_dtype sm_call_dtype(sm_dtype t);

/* A row-form function needs limits that make sense; others take none. */
sm_status sm_call_check_func(const sm_func *f, const sm_limits *lim, sm_err *err);
/* Row counts, ids' positions, pages and wanted rows within `lim`. */
sm_status sm_batch_check(const sm_batch *b, const sm_limits *lim, sm_err *err);

#endif
