/* SPDX-License-Identifier: MIT
 *
 * convert_plan.h: what a conversion was asked for, in words, and the profiles that come of it.
 */
#ifndef SM_CONVERT_PLAN_H
#define SM_CONVERT_PLAN_H

#include "pass/pass.h"

/* As on the command line; NULL: not given. */
typedef struct sm_convert_words {
    const char *units;     /* all, cpuAndGPU, cpuOnly, cpuAndNeuralEngine, or as coremltools spells them */
    const char *target;    /* iOS15..iOS18, iOS26, macOS12..macOS15, macOS26 */
    const char *precision; /* fp16, fp32 */
    const char *fp32;      /* patterns of names, between commas: what is computed in fp32 although the rest is fp16 */
    const char *kv;        /* state, io, none */
    const char *mask;      /* given, made */
    const char *attention; /* fused, decomposed */
    const char *logits;    /* all, last, argmax, topk:K */
    const char *seq;       /* N, A..B, or N,M,.. */
    const char *functions; /* NAME:N,.. or NAME:N@CTX,..; not beside seq */
} sm_convert_words;

enum { SM_CONVERT_FUNCTIONS = 32 };

typedef struct sm_convert_plan {
    int n;
    const char *name[SM_CONVERT_FUNCTIONS]; /* the first is the package's default function */
    sm_profile p[SM_CONVERT_FUNCTIONS];     /* quantization is not filled in */
} sm_convert_plan;

/* ctx: positions that the caches hold, where a function does not say.  Names and patterns live in the arena. */
sm_status sm_convert_plan_of(const sm_convert_words *w, int64_t ctx, sm_arena *a, sm_convert_plan *plan, sm_err *err);

#endif
