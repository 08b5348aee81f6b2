/* SPDX-License-Identifier: MIT
 *
 * written.h: programs as written on the cpu backend: dense arrays, one sequence, states.
 *
 * Values, control flow, states and every op's meaning are those of `ref` (backend/ref/ref_int.h): the same interpreter
 * walks the same steps, so any program that `ref` runs runs here.  What is here instead is
 *
 *   kernels   for the ops that language and vision models spend their time in: linear, matmul, conv, scaled dot product
 *             attention, softmax, norms, elementwise, pools, resizing.  A kernel that does not know a form (integers, an
 *             unusual axis) hands the call to ref's.
 *   weights   constants of linear and conv, packed at their first use in tiles of 16 rows (kernels.h, DENSE WEIGHTS) as
 *             fp16 or bf16 where that is the declared type, else fp32: exactly the values that the program means.  Past a
 *             share of the machine's memory they stay encoded and are decoded tile by tile in each call.
 *   memory    of dead values is used again, from call to call (ref_spare).
 *   threads   share each kernel's work; the numbers do not depend on how many there are.
 *
 * Sums are in f32 in an order of their own, so results agree with ref's to f32 rounding, not bit for bit.
 */
#ifndef SM_WRITTEN_H
#define SM_WRITTEN_H

#include "backend/backend.h"

typedef struct sm_written sm_written;
sm_status sm_written_new(const sm_func *f, const sm_limits *lim, sm_written **out, sm_err *err);
void sm_written_free(sm_written **w);
sm_status sm_written_run(sm_written *w, const sm_arrays *in, sm_states *states, sm_arrays *out, sm_err *err);
void sm_written_info(const sm_written *w, sm_exe_info *out);

#endif
