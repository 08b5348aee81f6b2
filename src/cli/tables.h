/* SPDX-License-Identifier: MIT
 *
 * tables.h: forms of the commands' tables beyond plain help: manual pages and shell completions.
 *
 * All of it is made from the tables (opts.h) when asked for, so that a new option needs no other place.
 */
#ifndef SM_TABLES_H
#define SM_TABLES_H

#include "cli/cli.h"

const command *find_command(const char *name); /* NULL: none of that name */
void cli_overview(sm_str *out);
sm_status cli_unknown_command(const char *name, sm_err *err);

/* The manual page of a command (smelt-run.1), or of the program (NULL; smelt.1), as mdoc source. */
sm_status cli_man_page(const command *c, sm_str *out, sm_err *err);

/* The completion script for bash, zsh or fish; false for another shell. */
bool cli_completions(const char *shell, sm_str *out);

#endif
