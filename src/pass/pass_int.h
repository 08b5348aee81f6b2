/* SPDX-License-Identifier: MIT
 *
 * pass_int.h: what the files of pass/ share: rebuilding a function, small questions about values.
 */
#ifndef SM_PASS_INT_H
#define SM_PASS_INT_H

#include "pass/pass.h"

/* One pass over one function: a new function of the same name (not yet on the graph's list until it ends well) and the
 * map from old values to new ones. */
typedef struct sm_rebuild {
    sm_builder b;
    sm_func *old, *f;
    sm_value **map; /* by old value's id */
} sm_rebuild;
/* Same inputs as f (copied), empty body. */
sm_status sm_rebuild_start(sm_rebuild *r, sm_func *f, int opset, sm_err *err);
/* The same without inputs: lower and raise make their own. */
sm_status sm_rebuild_start_bare(sm_rebuild *r, sm_func *f, int opset, sm_err *err);
/* Outputs f's mapped outputs under their names, removes dead nodes, frees the map; st is the pass's own status so far. */
sm_status sm_rebuild_end(sm_rebuild *r, sm_status st, sm_func **out, sm_err *err);
/* The same when outputs were built already. */
sm_status sm_rebuild_end_bare(sm_rebuild *r, sm_status st, sm_func **out, sm_err *err);

/* For a function that only a pass sees: it is off the graph's list.  A program that cannot be rebuilt is no failure: *out
 * stays what it is. */
sm_status sm_rebuild_end_aside(sm_rebuild *r, sm_func **out, sm_err *err);

sm_value *sm_input_named(const sm_func *f, const char *name); /* NULL when absent */
/* The const's decoded elements as f32 in heap memory (sm_free); NULL when out of memory. */
float *sm_const_decode(const sm_const *c, size_t *n);

/* Verifies (debug builds, SMELT_VERIFY) and dumps (SMELT_DUMP=graph) what a pass made. */
sm_status sm_pass_check(const char *name, const sm_func *f, sm_err *err);

#endif
