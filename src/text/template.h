/* SPDX-License-Identifier: MIT
 *
 * template.h: chat templates: the part of the Jinja language that they are written in.
 *
 * Set up as transformers sets up Python's jinja2: trim_blocks and lstrip_blocks on, one trailing newline of the template
 * dropped, loop controls, the immutable sandbox; `tojson` as json.dumps(x, ensure_ascii=False).  Output is byte for byte
 * that of jinja2.  docs/templates.md says what is there and what differs.
 *
 * What needs other templates (include, import, extends, block) is refused with SM_UNSUPPORTED, naming line and
 * construct.  SM_BADINPUT: a template that is not Jinja, an operation on the wrong type, raise_exception.  SM_RESOURCE:
 * one of the limits below.  All failures name the line.
 *
 *     json_t *context = json_pack("{s:o, s:b, s:s}", "messages", messages, "add_generation_prompt", 1, "bos_token", b);
 *     SM_TRY(sm_template_render(t, context, &text, err));
 *
 * Threads: a parsed template is immutable; any number of threads render it.
 */
#ifndef SM_TEMPLATE_H
#define SM_TEMPLATE_H

#include <jansson.h>

#include "base/err.h"
#include "base/str.h"

enum {
    SM_TEMPLATE_SOURCE_BYTES = 1 << 20, /* of a template */
    SM_TEMPLATE_DEPTH = 200,            /* of nested expressions and blocks, of nested values, of macro calls */
    SM_TEMPLATE_EVAL_DEPTH = 800,       /* of all of these together while rendering: 300 KB of stack */
    SM_TEMPLATE_STEPS = 10 << 20,       /* evaluated nodes; 64 bytes or 4 items that one goes through count as one */
    SM_TEMPLATE_WORK_BYTES = 128 << 20, /* values made while rendering */
    SM_TEMPLATE_OUTPUT_BYTES = 64 << 20,
};

typedef struct sm_template sm_template;

sm_status sm_template_parse(sm_sv text, sm_template **out, sm_err *err); /* text is copied */
void sm_template_free(sm_template **t);                                  /* NULL-safe, nulls */

/* Appends to *out.  `context` is a JSON object: the variables by name; borrowed for the call. */
sm_status sm_template_render(const sm_template *t, const json_t *context, sm_str *out, sm_err *err);
/* The same with another clock for strftime_now: microseconds since 1970. */
sm_status sm_template_render_at(const sm_template *t, const json_t *context, int64_t now_us, sm_str *out, sm_err *err);

#endif
