/* SPDX-License-Identifier: MIT
 *
 * engine.h: sequences over one compiled model.
 *
 * A step takes new tokens of any number of sequences, prompts and single tokens mixed, and makes one backend run of
 * them.  Cached positions of a sequence live in pages of the executable's storage; the engine hands pages out, counts
 * who holds them (sequences may share the pages of a common beginning) and gives each step its page lists.
 *
 *     sequence   len 130, page 64:   pages[0] pages[1] pages[2]
 *                                    0..63    64..127  128..129, room for 62 more
 *
 * Nothing is ever cut silently: more positions than the context holds is SM_RESOURCE naming both numbers.
 *
 * Ownership: the engine owns the executable, pages and logits; it borrows the function (and its graph), which must
 * outlive it; sequences must be freed before it.  Threads: one at a time per engine.
 */
#ifndef SM_ENGINE_H
#define SM_ENGINE_H

#include "backend/backend.h"

typedef struct sm_engine_opts {
    const char *backend; /* NULL or "auto": the fastest that can */
    int32_t ctx;         /* positions of one sequence */
    int32_t max_seqs;    /* sequences of one step; 0: 1 */
    int32_t max_rows;    /* new tokens of one step; 0: 256 */
    int32_t max_out;     /* rows whose logits one step gives; 0: max_seqs */
    int64_t kv_tokens;   /* cached positions of all sequences together; 0: max_seqs * ctx */
    int n_threads;       /* < 1: one per core */
} sm_engine_opts;

typedef struct sm_engine sm_engine;
typedef struct sm_seq sm_seq;

sm_status sm_engine_new(const sm_func *f, const sm_engine_opts *o, sm_engine **out, sm_err *err);
/* What sm_engine_new would hold, without making it (backend.h); SM_UNSUPPORTED when the backend does not say.  *backend
 * receives the backend's name. */
sm_status sm_engine_plan(const sm_func *f, const sm_engine_opts *o, sm_exe_info *out, const char **backend,
                         sm_err *err);
void sm_engine_free(sm_engine **e); /* NULL-safe, nulls */
int32_t sm_engine_vocab(const sm_engine *e);
int32_t sm_engine_ctx(const sm_engine *e);
int32_t sm_engine_rows(const sm_engine *e); /* new tokens that one step takes at most */
int32_t sm_engine_free_pages(const sm_engine *e);
const sm_backend *sm_engine_backend(const sm_engine *e);
void sm_engine_info(const sm_engine *e, sm_exe_info *out);

/* ---- sequences ---- */
sm_status sm_seq_new(sm_engine *e, sm_seq **out, sm_err *err);
void sm_seq_free(sm_seq **s);        /* gives its pages back; NULL-safe, nulls */
int32_t sm_seq_len(const sm_seq *s); /* positions cached */
/* Forgets what is cached from position n on and returns the new length, which is less than n when n lies inside a page
 * that another sequence holds too: that page is left to the other. */
int32_t sm_seq_truncate(sm_seq *s, int32_t n);
/* Makes an empty sequence begin with the first n positions of another, without computing or copying them: whole pages
 * only.  Returns the positions shared. */
sm_status sm_seq_share(sm_seq *s, const sm_seq *from, int32_t n, int32_t *shared, sm_err *err);

/* ---- steps ---- */
typedef enum sm_want { SM_WANT_NONE, SM_WANT_LAST, SM_WANT_ALL } sm_want;
typedef struct sm_item {
    sm_seq *seq;
    const int32_t *ids; /* [n] tokens that follow what is cached */
    int32_t n;
    sm_want want;
    int32_t out; /* set by the step: number of the item's first row of logits; -1 when none were wanted */
} sm_item;
/* One backend run.  All items together have at most max_rows tokens and max_out wanted rows; a sequence appears once.
 * On failure no sequence is longer than before. */
sm_status sm_engine_step(sm_engine *e, sm_item *items, int n_items, sm_err *err);
/* Until it is called with NULL, every step notes there where its time went (backend.h).  SM_UNSUPPORTED when the backend
 * does not time its ops. */
sm_status sm_engine_time(sm_engine *e, sm_step_times *t, sm_err *err);
const float *sm_engine_logits(const sm_engine *e, int32_t out); /* [vocab], until the next step */

/* Any number of tokens of one sequence, in as many steps as it takes.  fn (may be NULL) sees the logits of every row
 * (SM_WANT_ALL) or of the last one; pos is the row's position. */
typedef sm_status (*sm_logits_fn)(void *ctx, int32_t pos, const float *logits, sm_err *err);
sm_status sm_engine_feed(sm_engine *e, sm_seq *s, const int32_t *ids, int32_t n, sm_want want, sm_logits_fn fn,
                         void *ctx, sm_err *err);

#endif
