/* SPDX-License-Identifier: MIT
 *
 * editor_none.c: the answer where libedit is absent: there is no editor, lines come as the terminal gives them.
 */
#include "cli/editor.h"

editor *editor_new(complete_fn complete, void *ctx) {
    (void)complete, (void)ctx;
    return NULL;
}

void editor_free(editor **e) {
    (void)e;
}

line_end editor_read(editor *e, const char *prompt, const char *colour, sm_str *out) {
    (void)e, (void)prompt, (void)colour, (void)out;
    return LINE_EOF;
}

void editor_remember(editor *e, const char *text) {
    (void)e, (void)text;
}

const char *editor_version(void) {
    return NULL;
}
