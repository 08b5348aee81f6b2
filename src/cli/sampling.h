/* SPDX-License-Identifier: MIT
 *
 * sampling.h: the options of sampling, for every command that makes text and for settings of a chat.
 *
 * A sampling_args holds what was given and nothing else; laid over a model's defaults it is a smelt_sampling.  Names and
 * meaning are llama.cpp's.
 *
 *     command line:  opts_parse fills a sampling_args through sampling_group
 *     chat:          sampling_change(&args, m, s, "temp", "0.5", &now, &err)
 */
#ifndef SM_SAMPLING_H
#define SM_SAMPLING_H

#include "cli/opts.h"
#include "smelt.h"

typedef struct sampling_args {
#define REAL(field, name, arg, help) double field;              /* NAN: not given */
#define WHOLE(field, name, arg, low, high, help) int64_t field; /* INT64_MIN: not given */
#include "cli/sampling.def"
#undef REAL
#undef WHOLE
    int64_t seed; /* INT64_MIN: not given; -1: a random one */
    const char *samplers;
    opt_list breakers, biases;
    struct {
        char **v;
        size_t n, cap;
    } texts; /* what sampling_set copied and sampling_fill made */
    const char **breaker_texts;
    smelt_logit_bias *bias_list;
} sampling_args;

extern const opt_group sampling_group;

/* One option by name (without dashes), as /set has it.  SM_USAGE: no such name, or not a value for it. */
sm_status sampling_set(sampling_args *a, const char *name, const char *value, sm_err *err);
/* The model's defaults with what was given over them.  Lists in *out belong to *a, until the next call with it. */
sm_status sampling_fill(sampling_args *a, const smelt_model *m, smelt_sampling *out, sm_err *err);
/* sampling_set on a running session: *now is what it samples with then.  On failure nothing changes.  name NULL: only what
 * sampling_fill gives (a new random seed, when none was asked for). */
sm_status sampling_change(sampling_args *a, const smelt_model *m, smelt_session *s, const char *name, const char *value,
                          smelt_sampling *now, sm_err *err);
/* Appends "name value" lines, one a parameter, as they are in p. */
void sampling_show(const smelt_sampling *p, sm_str *out);

#endif
