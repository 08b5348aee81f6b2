/* SPDX-License-Identifier: MIT
 *
 * env.h: what the environment says about the person: home, folders, how the terminal is to look.
 *
 * Settings of smelt itself are knobs (log.h); these are the variables that all programs share.  Threads: any.
 */
#ifndef SM_ENV_H
#define SM_ENV_H

#include <stdbool.h>

const char *sm_env_home(void); /* NULL when there is none */
/* A file that smelt remembers things in between runs: $XDG_STATE_HOME/smelt/NAME, else ~/.local/state/smelt/NAME.
 * The folders are made, for their owner alone.  NULL when there is no home or it cannot be written; free with sm_free. */
char *sm_env_state_file(const char *name);
bool sm_env_plain_terminal(void); /* $TERM says that the terminal knows no escape sequences */
bool sm_env_colours(int fd);      /* fd is a terminal that knows them, and $NO_COLOR is not set */

#endif
