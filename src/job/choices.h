/* SPDX-License-Identifier: MIT
 *
 * choices.h: multiple-choice tests: which of some given continuations a model finds most likely.
 *
 * A file is a list of tasks; a task is some choices, one of which is right.  Each choice is a text that is not scored
 * (`before`) and one that is (`text`).  Kinds of files are told apart by their content:
 *
 *     hellaswag       JSON lines with endings and ctx or ctx_a, ctx_b, activity_label, label
 *     hellaswag-text  llama.cpp's six lines a task: context, number of the right ending, four endings
 *     mmlu            CSV without header: question, choices (four of them in MMLU), letter of the answer
 *     json            JSON lines with a question, choices and an answer: ARC, Winogrande and others like them
 *
 * Scores of a choice, from the log-probabilities of its tokens:
 *
 *     acc        their sum
 *     acc_norm   the sum over the bytes of the choice (what lm-evaluation-harness calls acc_norm)
 *     acc_token  the mean over the tokens from the first on in which the choices differ (llama.cpp's HellaSwag score)
 *
 * In style "text" the choices are continuations of the context; in style "letters", MMLU's, they are listed in the
 * question and the letter is scored.
 *
 * Ownership: everything of a file hangs on its arena.  Threads: one.
 */
#ifndef SM_CHOICES_H
#define SM_CHOICES_H

#include "job/load.h"

typedef enum sm_choice_style { SM_CHOICE_AUTO, SM_CHOICE_TEXT, SM_CHOICE_LETTERS } sm_choice_style;

typedef struct sm_choice {
    const char *before, *text; /* text begins with the space between them */
    size_t bytes;              /* of text without that space */
} sm_choice;

typedef struct sm_choice_task {
    int line; /* where it stands in the file */
    int n, gold;
    sm_choice *v;
} sm_choice_task;

typedef struct sm_choice_file {
    const char *format;
    bool letters; /* the style that its tasks are spelled in */
    sm_arena *mem;
    sm_choice_task *v;
    size_t n, cap;
} sm_choice_file;

/* text: the file's content; path: for messages and, for MMLU, the subject (SUBJECT_test.csv). */
sm_status sm_choices_parse(const char *path, sm_sv text, sm_choice_style style, sm_choice_file *out, sm_err *err);
void sm_choice_file_free(sm_choice_file *f); /* safe on a zeroed struct */

typedef struct sm_choice_score {
    double sum; /* of log-probabilities: acc */
    double by_byte, by_token;
    int32_t n_tok, n_bytes; /* tokens in sum, bytes of the choice */
} sm_choice_score;

typedef struct sm_choice_result {
    const sm_choice_task *task;
    size_t index;
    const sm_choice_score *score;    /* [task->n] */
    int pick, pick_norm, pick_token; /* most likely choice by each score; the first among equals */
} sm_choice_result;

typedef struct sm_choices_opts {
    const char *backend;
    int n_threads;
    int32_t ctx; /* positions of one choice; 0: as many as the longest needs */
    sm_choice_style style;
    const char *shots_file; /* solved examples put before each task; NULL: none */
    int shots;              /* how many of its tasks; 0: five */
    size_t limit;           /* first tasks only; 0: all */
    void (*on_task)(void *ctx, const sm_choice_result *r);
    void *user;
    bool progress;
} sm_choices_opts;

/* A share of n with the standard error of a binomial and Wilson's 95 % interval. */
typedef struct sm_rate {
    uint64_t count;
    double rate, error, low, high;
} sm_rate;
sm_rate sm_rate_of(uint64_t count, uint64_t n);

typedef struct sm_choices_report {
    const char *format;   /* static text */
    uint64_t tasks, rows; /* rows: tokens computed */
    sm_rate acc, acc_norm, acc_token;
} sm_choices_report;

/* file "-" is standard input. */
sm_status sm_eval_choices(const sm_loaded *l, const char *path, const char *file, const sm_choices_opts *o,
                          sm_choices_report *out, sm_err *err);

#endif
