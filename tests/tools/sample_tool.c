/* SPDX-License-Identifier: MIT
 *
 * sample_tool.c: the engine's sampler on given logits: what is left to draw from.
 *
 *     sample_tool LOGITS MODEL.gguf [NAME=VALUE]...
 *
 * LOGITS: a row of f32.  Names are fields of sm_sampling, and ids=1,2,3 (history), breaker=TEXT, bias=ID:BIAS, each as
 * often as wanted.  Prints "ID PROBABILITY" lines of the candidates, then "picked ID".
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sampler.h"
#include "format/gguf.h"

enum { LISTS_MAX = 64 };

static sm_ids history;
static const char *breakers[LISTS_MAX];
static sm_logit_bias biases[LISTS_MAX];

static bool set_number(sm_sampling *p, const char *name, const char *value) {
#define REAL(field)                                                                                                    \
    if (strcmp(name, #field) == 0)                                                                                     \
        return p->field = strtod(value, NULL), true;
#define WHOLE(field)                                                                                                   \
    if (strcmp(name, #field) == 0)                                                                                     \
        return p->field = (int)strtol(value, NULL, 10), true;
    REAL(temp)
    REAL(dynatemp_range)
    REAL(dynatemp_exp)
    WHOLE(top_k)
    REAL(top_p)
    REAL(min_p)
    REAL(typical_p)
    REAL(top_n_sigma)
    REAL(xtc_probability)
    REAL(xtc_threshold)
    REAL(repeat_penalty)
    REAL(presence_penalty)
    REAL(frequency_penalty)
    WHOLE(repeat_last_n)
    REAL(dry_multiplier)
    REAL(dry_base)
    WHOLE(dry_allowed_length)
    WHOLE(dry_penalty_last_n)
    WHOLE(mirostat)
    REAL(mirostat_tau)
    REAL(mirostat_eta)
#undef REAL
#undef WHOLE
    return false;
}

static void set(sm_sampling *p, char *arg) {
    char *value = strchr(arg, '=');
    if (!value)
        exit(2);
    *value++ = '\0';
    if (strcmp(arg, "ids") == 0) {
        for (char *s = value; *s; s += *s == ',') {
            if (!SM_GROW(&history))
                exit(5);
            history.v[history.n++] = (int32_t)strtol(s, &s, 10);
        }
    } else if (strcmp(arg, "breaker") == 0 && p->n_dry_breakers < LISTS_MAX) {
        breakers[p->n_dry_breakers++] = value;
    } else if (strcmp(arg, "bias") == 0 && p->n_logit_bias < LISTS_MAX) {
        int32_t id = (int32_t)strtol(value, &value, 10);
        biases[p->n_logit_bias++] = (sm_logit_bias){id, strtof(value + 1, NULL)};
    } else if (strcmp(arg, "samplers") == 0) {
        p->samplers = value;
    } else if (strcmp(arg, "seed") == 0) {
        p->seed = strtoull(value, NULL, 10);
    } else if (!set_number(p, arg, value)) {
        fprintf(stderr, "sample_tool: no field %s\n", arg);
        exit(2);
    }
}

int main(int argc, char **argv) {
    sm_sampling p = sm_sampling_usual;
    sm_checkpoint *c = NULL;
    sm_tokenizer *tok = NULL;
    sm_sampler *s = NULL;
    sm_err err = {0};
    p.dry_breakers = breakers;
    p.logit_bias = biases;
    if (argc < 3)
        return 2;
    for (int i = 3; i < argc; i++)
        set(&p, argv[i]);
    int32_t id, n;
    if (sm_gguf_open(argv[2], &c, &err) != SM_OK || sm_tokenizer_new(c, &tok, &err) != SM_OK) {
        fprintf(stderr, "sample_tool: %s\n", err.msg);
        return 3;
    }
    int32_t vocab = sm_tokenizer_count(tok);
    float *x = sm_alloc_n((size_t)vocab, sizeof *x);
    FILE *f = fopen(argv[1], "rb");
    if (!x || !f || fread(x, sizeof *x, (size_t)vocab, f) != (size_t)vocab)
        return 3;
    fclose(f);
    if (sm_sampler_new(&p, vocab, tok, &s, &err) != SM_OK ||
        sm_sampler_pick(s, x, history.v, history.n, &id, &err) != SM_OK) {
        fprintf(stderr, "sample_tool: %s\n", err.msg);
        return sm_exit_code(err.code);
    }
    const sm_logprob *left = sm_sampler_candidates(s, &n);
    double max = -INFINITY, sum = 0.0;
    for (int32_t i = 0; i < n; i++)
        max = fmax(max, left[i].logprob);
    for (int32_t i = 0; i < n; i++)
        sum += exp(left[i].logprob - max);
    for (int32_t i = 0; i < n; i++)
        printf("%d %.9g\n", left[i].id, exp(left[i].logprob - max) / sum);
    printf("picked %d\n", id);
    sm_sampler_free(&s);
    sm_free(x);
    sm_ids_free(&history);
    sm_tokenizer_free(&tok);
    sm_checkpoint_free(&c);
    return 0;
}
