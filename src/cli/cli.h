/* SPDX-License-Identifier: MIT
 *
 * cli.h: what commands share: their list, inputs, outputs.
 *
 * A command is a table (opts.h) and a function that calls smelt.h.  Results go to stdout; everything else to stderr.
 */
#ifndef SM_CLI_H
#define SM_CLI_H

#include <stdio.h>

#include "cli/opts.h"
#include "smelt.h"

extern const command cmd_run, cmd_tokenize, cmd_detokenize, cmd_predict, cmd_convert, cmd_inspect, cmd_eval, cmd_check,
    cmd_knobs, cmd_help, cmd_completions, cmd_doctor, cmd_bench;
extern const command *const commands[];
extern const int n_commands;

/* Hands a library's error on to the command's caller. */
sm_status cli_fail(const smelt_error *e, sm_err *err);
#define CLI_TRY(call, e, err)                                                                                          \
    do {                                                                                                               \
        if ((call) != SMELT_OK)                                                                                        \
            return cli_fail((e), (err));                                                                               \
    } while (0)

sm_status cli_one_text(const char *text, const char *file, sm_err *err); /* refuses both */
/* A text given as -p TEXT or -f FILE ("-": stdin) or piped; checked to be UTF-8.  *given is false when there is none:
 * stdin is a terminal.  sm_str_free the result. */
sm_status cli_text(const char *text, const char *file, sm_str *out, bool *given, sm_err *err);

/* ---- JSON, for lines too many or too large to build a tree for ---- */
void json_text(sm_str *out, const char *p, size_t n); /* quoted; bytes that are not UTF-8 become U+FFFD */
void json_num(sm_str *out, double v, int digits);     /* null when it is no number */
void json_top(sm_str *out, const smelt_logprob *top, int n);
/* Writes and forgets what was built. */
sm_status cli_print(sm_str *s, sm_err *err);
/* The same for what holds names and texts out of files: on a terminal control characters are spelled out. */
sm_status cli_show(sm_str *s, sm_err *err);
sm_status cli_show_text(char *text, size_t n, sm_err *err); /* of the library's, freed here */

#endif
