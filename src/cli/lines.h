/* SPDX-License-Identifier: MIT
 *
 * lines.h: what a person says: inputs of one or several lines, and the memory of earlier ones.
 *
 * A line that ends in a backslash goes on in the next one; """ begins a text that ends with """.  On a terminal there is
 * editing (editor.h) and a history file, one input a line, readable by its owner only.  Otherwise lines are read plainly,
 * without prompts.
 *
 * One per process.  Threads: one.
 */
#ifndef SM_LINES_H
#define SM_LINES_H

#include "base/err.h"
#include "cli/editor.h"

typedef struct lines lines;
/* terminal: a person is there.  complete as in editor.h. */
sm_status lines_new(bool terminal, complete_fn complete, void *ctx, lines **out, sm_err *err);
void lines_free(lines **l); /* NULL-safe, nulls */
/* The next input.  LINE_INTERRUPT: *out is what stood there.  Input that is not UTF-8 and a block without end are
 * SM_BADINPUT. */
sm_status lines_read(lines *l, sm_str *out, line_end *how, sm_err *err);
void lines_remember(lines *l, const char *text);

#endif
