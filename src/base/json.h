/* SPDX-License-Identifier: MIT
 *
 * json.h: what is said of JSON values in errors, and objects built field by field (over jansson).
 *
 * A field whose value cannot be made (memory, a number that is none) is left out; `v` is taken in any case.
 *
 * Threads: a value belongs to one.
 */
#ifndef SM_JSON_H
#define SM_JSON_H

#include <jansson.h>

#include "base/err.h"
#include "base/str.h"

const char *sm_json_kind(const json_t *v); /* "an object", .. "null"; "nothing" of NULL */

json_t *sm_json_text(sm_sv s); /* "(not UTF-8)" of what is not */
void sm_json_put(json_t *o, const char *key, json_t *v);
void sm_json_put_int(json_t *o, const char *key, int64_t v);
void sm_json_put_known(json_t *o, const char *key, int64_t v);    /* left out at 0 and below: nothing says it */
void sm_json_put_text(json_t *o, const char *key, const char *v); /* left out when NULL or empty */

/* Appends j on several lines, reals with so many digits, and a line end; j is taken. */
sm_status sm_json_write(json_t *j, int digits, sm_str *out, sm_err *err);

#endif
