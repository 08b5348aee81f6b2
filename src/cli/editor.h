/* SPDX-License-Identifier: MIT
 *
 * editor.h: editing of one input on a terminal: keys, history, completion, pasted texts.
 *
 * Implemented over libedit (editor_libedit.c), or by stub/editor_none.c where that is absent: then editor_new gives
 * NULL and lines come as the terminal gives them.  Texts are UTF-8; an input may hold line ends (pasted, or Alt-Enter).
 *
 * The terminal is in its editing mode only within editor_read.  One per process.  Threads: one.
 */
#ifndef SM_EDITOR_H
#define SM_EDITOR_H

#include "base/str.h"

typedef enum line_end {
    LINE_READ,
    LINE_EOF,
    LINE_INTERRUPT, /* Ctrl-C; the text is what stood there */
} line_end;

/* What could stand in place of the last word of `line` (the text up to the cursor): each followed by a NUL.  *start:
 * where in line that word begins.  Nothing: a Tab is a tab. */
typedef void (*complete_fn)(void *ctx, const char *line, sm_str *words, size_t *start);

typedef struct editor editor;
editor *editor_new(complete_fn complete, void *ctx); /* NULL: not here */
void editor_free(editor **e);                        /* NULL-safe, nulls */
/* Appends to *out.  The prompt ends with a space; colour: escape sequence that it is shown in, or NULL. */
line_end editor_read(editor *e, const char *prompt, const char *colour, sm_str *out);
const char *editor_version(void);                  /* of the library; NULL: not here */
void editor_remember(editor *e, const char *text); /* can be brought back with the arrow keys */

#endif
