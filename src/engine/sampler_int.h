/* SPDX-License-Identifier: MIT
 *
 * sampler_int.h: what the files of the sampler share.
 *
 *     sampler.c         parameters, their checks, one pick from beginning to end
 *     sampler_chain.c   the set of candidates and what narrows it: top-k, top-p, typical, min-p, top-n-sigma, XTC; temperature
 *     sampler_repeat.c  what looks back at the text: penalties, DRY
 *     sampler_draw.c    random numbers, the draw, Mirostat
 *
 * A pick begins with the whole vocabulary, as a row of logits (x; copied to `edited` before the first change).  The first
 * sampler that narrows makes a list of it: c[0..n), in no order.
 */
#ifndef SM_SAMPLER_INT_H
#define SM_SAMPLER_INT_H

#include "engine/sampler.h"

typedef enum sm_sampler_kind {
    SM_S_PENALTIES,
    SM_S_DRY,
    SM_S_TOP_N_SIGMA,
    SM_S_TOP_K,
    SM_S_TYPICAL,
    SM_S_TOP_P,
    SM_S_MIN_P,
    SM_S_XTC,
    SM_S_TEMPERATURE,
    SM_S_COUNT,
} sm_sampler_kind;

enum { SM_SAMPLERS_MAX = 32 };

/* In a list of candidates, logprob is the logit as it stands. */
typedef sm_logprob sm_cand;

struct sm_sampler {
    sm_sampling p; /* lists and texts in it are copies in the arena */
    sm_arena *arena;
    const sm_tokenizer *tok;
    int32_t vocab;
    uint8_t chain[SM_SAMPLERS_MAX];
    int n_chain;
    bool best_only; /* the most likely token, whatever narrows */
    float *edited;  /* [vocab] */
    sm_cand *c;     /* [vocab] */
    uint32_t *mark; /* [vocab], all 0 between uses: how often, how long a repetition */
    double mu;      /* mirostat: surprise allowed now, in bits */
    int32_t *z;     /* [n_z] of DRY */
    size_t n_z;
    sm_str text; /* of DRY's breakers */
    /* of one pick */
    const float *x; /* [vocab] */
    bool listed;
    int32_t n;
    const int32_t *history;
    size_t n_history;
};

/* ---- sampler_chain.c */
/* x may be written to from now on. */
void sm_s_own(sm_sampler *s);
/* Makes the list, of all tokens with a finite logit. */
void sm_s_list(sm_sampler *s);
float sm_s_max(const sm_sampler *s);
void sm_s_top_k(sm_sampler *s, int k);
void sm_s_top_p(sm_sampler *s, double p);
void sm_s_typical(sm_sampler *s, double p);
void sm_s_min_p(sm_sampler *s, double p);
void sm_s_top_n_sigma(sm_sampler *s, double n);
void sm_s_xtc(sm_sampler *s, double probability, double threshold);
void sm_s_temperature(sm_sampler *s, double temp, double range, double exponent);
/* The best k of a stream: a heap whose root is the worst kept. */
void sm_s_heap(sm_cand *h, int32_t k);                  /* makes one of h[0..k) */
void sm_s_heap_offer(sm_cand *h, int32_t k, sm_cand c); /* takes c in when it is better than the worst */
int sm_s_by_rank(const void *a, const void *b);         /* for qsort: best first, the lower id among equals */

/* ---- sampler_repeat.c */
void sm_s_penalties(sm_sampler *s);
void sm_s_dry(sm_sampler *s); /* z and text must be large enough: sm_s_dry_reserve */
bool sm_s_dry_reserve(sm_sampler *s);

/* ---- sampler_draw.c */
/* Philox4x32-10: four words of key (two) and counter (four). */
void sm_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);
/* Uniform in (0, 1), with 52 bits: number `id` of `stream` at a position. */
double sm_s_uniform(uint64_t seed, uint64_t position, uint32_t stream, uint32_t id);
enum { SM_STREAM_DRAW, SM_STREAM_XTC };
/* Index into the list; -1 when it is empty. */
int32_t sm_s_draw(const sm_sampler *s);
/* Narrows as mirostat does, draws, learns; index or -1. */
int32_t sm_s_mirostat(sm_sampler *s);

#endif
