/* SPDX-License-Identifier: MIT
 *
 * log_int.h: what log.c and progress.c share: one stderr, on which a bar may stand.
 */
#ifndef SM_LOG_INT_H
#define SM_LOG_INT_H

#include <stdbool.h>
#include <stddef.h>

/* Writes text to stderr in one piece.  bar: the text draws a progress bar and stays without a line end; any other
 * text first wipes the bar that stands there. */
void sm_stderr_put(const char *text, size_t n, bool bar);

#endif
