/* SPDX-License-Identifier: MIT
 *
 * log.h: messages to people (stderr), leveled debug trace, knobs, progress.
 *
 * Log levels: 0 quiet (-q), 1 normal, 2 verbose (-v).  Trace: SMELT_DEBUG=pass:2,kv:1 switches topics to levels with
 * fixed meanings: 1 once per model, 2 per pass or request, 3 per layer or step, 4 per tensor.
 *
 * Knobs are the only readers of the environment: one row each in knobs.def; `smelt knobs` lists them.
 * Threads: all functions may be called from any thread; sm_cancel_set also from a signal handler.
 */
#ifndef SM_LOG_H
#define SM_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void sm_log_set_level(int level);
int sm_log_level(void);
void sm_log(int level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

typedef enum sm_topic {
    SM_T_FILE,
    SM_T_GRAPH,
    SM_T_PASS,
    SM_T_PLAN,
    SM_T_KV,
    SM_T_TEXT,
    SM_T_RUN,
    SM_T_COUNT_
} sm_topic;
bool sm_trace_on(sm_topic t, int level);
void sm_trace(sm_topic t, int level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

typedef enum sm_knob_id {
#define KNOB(id, name, def, help) SM_KNOB_##id,
#include "base/knobs.def"
#undef KNOB
    SM_KNOB_COUNT_
} sm_knob_id;
typedef struct sm_knob_row {
    const char *name, *def, *help;
} sm_knob_row;
const char *sm_knob(sm_knob_id k); /* value from the environment, else the row's default; never NULL */
int sm_knob_int(sm_knob_id k);     /* 0 when it is not a number */
const sm_knob_row *sm_knob_rows(int *count);
/* The i-th variable of the environment that is named SMELT_... and is none of these: false past the last.  nearest: the
 * knob whose name is most like it, or NULL. */
bool sm_knob_stranger(int i, char *name, size_t cap, const char **nearest);

/* Progress on stderr: a bar with rate and ETA, on a terminal, for work that takes over a second; otherwise nothing.
 * One at a time. */
typedef struct sm_progress {
    const char *what, *unit;
    uint64_t total, done;
    int64_t t0_us, last_us;
    bool shown;
} sm_progress;
void sm_progress_start(sm_progress *p, const char *what, const char *unit, uint64_t total);
void sm_progress_add(sm_progress *p, uint64_t n);
void sm_progress_end(sm_progress *p);

int64_t sm_now_us(void);           /* monotonic clock */
int64_t sm_now_ns(void);           /* the same clock */
uint64_t sm_peak_rss_bytes(void);  /* of this process, as the OS counts it (includes mapped file pages) */
uint64_t sm_anon_rss_bytes(void);  /* resident now, without file-backed pages; 0 where the OS does not say */
uint64_t sm_peak_anon_bytes(void); /* highest sm_anon_rss_bytes seen by sm_mem_sample() */
void sm_mem_sample(void);          /* call at points where memory may peak */

/* Cooperative cancel: the CLI's SIGINT handler sets it, long loops ask. */
void sm_cancel_set(bool on);
bool sm_cancelled(void);

#endif
