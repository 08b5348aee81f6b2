/* SPDX-License-Identifier: MIT
 *
 * tmpl_tool.c: renders chat templates from the command line, for comparison with Python's jinja2.
 *
 *     tmpl_tool    stdin: JSON lines {"template": .., "context": {..}, "now": seconds, may be left out}; stdout: a line
 *                  each, {"text": ..} or {"error": .., "code": status}
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/template.h"

static json_t *answer(const json_t *job) {
    const json_t *source = json_object_get(job, "template"), *now = json_object_get(job, "now");
    sm_template *t = NULL;
    sm_str text = SM_STR_INIT;
    sm_err err = {0};
    json_t *out;
    sm_status st = sm_template_parse((sm_sv){json_string_value(source), json_string_length(source)}, &t, &err);
    if (st == SM_OK)
        st = now != NULL ? sm_template_render_at(t, json_object_get(job, "context"),
                                                 (int64_t)json_integer_value(now) * 1000000, &text, &err)
                         : sm_template_render(t, json_object_get(job, "context"), &text, &err);
    if (st == SM_OK)
        out = json_pack("{s:o}", "text", json_stringn(sm_str_z(&text), text.n));
    else
        out = json_pack("{s:s, s:i}", "error", err.msg, "code", (int)st);
    sm_template_free(&t);
    sm_str_free(&text);
    return out;
}

int main(void) {
    char *line = NULL;
    size_t cap = 0;
    for (ssize_t n; (n = getline(&line, &cap, stdin)) >= 0;) {
        json_error_t where;
        json_t *job = json_loadb(line, (size_t)n, JSON_ALLOW_NUL, &where);
        json_t *out = job != NULL ? answer(job) : json_pack("{s:s}", "error", where.text);
        char *z = json_dumps(out, JSON_COMPACT);
        puts(z != NULL ? z : "{\"error\": \"text that is not UTF-8\"}");
        free(z);
        json_decref(out);
        json_decref(job);
    }
    free(line);
    return 0;
}
