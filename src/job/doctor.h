/* SPDX-License-Identifier: MIT
 *
 * doctor.h: what this machine is, what it can do, what stands in the way, as text for people or JSON.
 *
 * Measures for about two seconds.  With a model it says whether the model fits and how fast it can be at most: a new
 * token reads every weight once, so memory's speed divided by what a token reads is a bound that no kernel beats.
 */
#ifndef SM_DOCTOR_H
#define SM_DOCTOR_H

#include "base/err.h"
#include "base/str.h"

typedef struct sm_doctor_opts {
    const char *model;  /* NULL: none */
    int ctx, n_threads; /* 0: as a session would */
    bool quick;         /* nothing is measured */
    bool json;
    const char *editor; /* library that edits the program's lines; NULL: none */
} sm_doctor_opts;

sm_status sm_doctor(const sm_doctor_opts *o, sm_str *out, sm_err *err);

#endif
