/* SPDX-License-Identifier: MIT
 *
 * predict.h: a Core ML program run as written: arrays from .npz files in, arrays out.
 */
#ifndef SM_PREDICT_H
#define SM_PREDICT_H

#include <stddef.h>

#include "base/err.h"

/* One call: a function of the package (NULL: its default) and the file of its inputs by name. */
typedef struct sm_predict_call {
    const char *function, *npz;
} sm_predict_call;

/* Runs the calls in order; functions that name the same states share them, and all start as zeros.  Makes out_dir and
 * writes out_dir/0.npz, 1.npz .., each whole or not at all, as soon as its call is done.  backend NULL: picked;
 * n_threads < 1: one per core. */
sm_status sm_job_predict(const char *package, const sm_predict_call *calls, size_t n, const char *out_dir,
                         const char *backend, int n_threads, sm_err *err);

#endif
