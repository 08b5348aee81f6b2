/* SPDX-License-Identifier: MIT
 *
 * json.c: objects of jansson, field by field (json.h).
 */
#include "base/json.h"

#include <stdlib.h>

const char *sm_json_kind(const json_t *v) {
    static const char *const names[] = {
        [JSON_OBJECT] = "an object",   [JSON_ARRAY] = "an array", [JSON_STRING] = "a string",
        [JSON_INTEGER] = "an integer", [JSON_REAL] = "a number",  [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",        [JSON_NULL] = "null"};
    return v ? names[json_typeof(v)] : "nothing";
}

json_t *sm_json_text(sm_sv s) {
    json_t *j = json_stringn(s.p ? s.p : "", s.n);
    return j ? j : json_string("(not UTF-8)");
}

void sm_json_put(json_t *o, const char *key, json_t *v) {
    json_object_set_new(o, key, v);
}

void sm_json_put_int(json_t *o, const char *key, int64_t v) {
    sm_json_put(o, key, json_integer(v));
}

void sm_json_put_known(json_t *o, const char *key, int64_t v) {
    if (v > 0)
        sm_json_put_int(o, key, v);
}

void sm_json_put_text(json_t *o, const char *key, const char *v) {
    if (v && *v)
        sm_json_put(o, key, sm_json_text(sm_sv_of(v)));
}

sm_status sm_json_write(json_t *j, int digits, sm_str *out, sm_err *err) {
    char *text = json_dumps(j, JSON_INDENT(1) | JSON_REAL_PRECISION(digits));
    json_decref(j);
    if (!text)
        return SM_NOMEM(err);
    sm_str_adds(out, text);
    sm_str_addc(out, '\n');
    free(text);
    return SM_OK;
}
