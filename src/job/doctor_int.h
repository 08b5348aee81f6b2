/* SPDX-License-Identifier: MIT
 *
 * doctor_int.h: what the doctor finds, and its printers.
 *
 *     doctor.c           asks the machine, the libraries and the backends; the model
 *     doctor_checks.c    judges
 *     doctor_print.c     prints, both forms
 */
#ifndef SM_DOCTOR_INT_H
#define SM_DOCTOR_INT_H

#include "backend/cpu/peak.h"
#include "base/machine.h"
#include "job/doctor.h"
#include "job/inspect_int.h"

enum { DOC_MOST = 32 };

typedef struct doc_check {
    const char *name;
    bool warn;
    char says[256], advice[256]; /* advice may be empty */
} doc_check;

typedef struct doc_lib {
    const char *name, *used_for;
    char version[64];
} doc_lib;

/* What is not here, what it would give, and the command that brings it (empty: none does). */
typedef struct doc_gap {
    char name[48], gives[160], install[96];
} doc_gap;

typedef struct sm_doctor_report {
    const sm_doctor_opts *o;
    sm_machine m;
    sm_isa isa; /* chosen */
    sm_peak peak;
    bool measured;
    uint64_t disk_free; /* of the current folder; 0: unknown */
    doc_lib libs[DOC_MOST];
    int n_libs;
    doc_gap gaps[DOC_MOST];
    int n_gaps;
    doc_check checks[DOC_MOST];
    int n_checks;
    bool has_model; /* then mem says what it needs */
    ins_memory mem;
    const char *model_name;
    uint64_t model_bytes;
    double decode_bound; /* tokens a second; 0: unknown */
} sm_doctor_report;

/* Features of processors that no kernel here uses yet, and what they are for. */
typedef struct doc_feature {
    const char *name, *gives;
} doc_feature;
extern const doc_feature doc_unused[];
extern const int doc_n_unused;

void doc_judge(sm_doctor_report *d);
void doc_print_text(const sm_doctor_report *d, sm_str *out);
sm_status doc_print_json(const sm_doctor_report *d, sm_str *out, sm_err *err);

#endif
