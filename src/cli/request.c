/* SPDX-License-Identifier: MIT
 *
 * request.c: the JSON that smelt_chat_prompt_json takes, put together from files and options.
 *
 * Options are written behind the file's members, where they count instead of those of the same name.
 */
#include <string.h>

#include "base/files.h"
#include "cli/cli.h"
#include "cli/request.h"

enum { REQUEST_MAX = 256 << 20, TEMPLATE_MAX = 16 << 20 };

bool request_given(const request_args *q) {
    return q->chat || q->tmpl || q->variables;
}

static void add_messages(sm_str *json, const smelt_message *v, size_t n) {
    sm_str_adds(json, "\"messages\":[");
    for (size_t i = 0; i < n; i++) {
        sm_str_adds(json, i ? ",{\"role\":" : "{\"role\":");
        json_text(json, v[i].role, strlen(v[i].role));
        sm_str_adds(json, ",\"content\":");
        json_text(json, v[i].content, strlen(v[i].content));
        sm_str_addc(json, '}');
    }
    sm_str_addc(json, ']');
}

/* Cuts off the closing brace of an object and what is behind it; false when there is none. */
static bool open_again(sm_str *json) {
    size_t n = json->n;
    while (n > 0 && strchr(" \t\r\n", json->p[n - 1]) != NULL)
        n--;
    if (n == 0 || json->p[n - 1] != '}')
        return false;
    n--;
    while (n > 0 && strchr(" \t\r\n", json->p[n - 1]) != NULL)
        n--;
    json->n = n;
    json->p[n] = '\0';
    return true;
}

static sm_status build(const request_args *q, const smelt_message *v, size_t n, sm_str *json, sm_err *err) {
    sm_str source = SM_STR_INIT;
    sm_status st = SM_OK;
    if (q->chat) {
        SM_TRY(sm_file_read(q->chat, REQUEST_MAX, json, err));
        if ((q->tmpl || q->variables) && !open_again(json))
            return SM_FAIL(err, SM_BADINPUT, "%s: wanted a JSON object", q->chat);
    } else {
        sm_str_addc(json, '{');
        add_messages(json, v, n);
    }
    if (q->tmpl) {
        SM_TRY_DONE(sm_file_read(q->tmpl, TEMPLATE_MAX, &source, err));
        sm_str_adds(json, ",\"chat_template\":");
        json_text(json, sm_str_z(&source), source.n);
    }
    if (q->variables)
        sm_str_addf(json, ",\"chat_template_kwargs\":%s", q->variables);
    if (!q->chat || q->tmpl || q->variables)
        sm_str_addc(json, '}');
    if (!sm_str_ok(json))
        st = SM_NOMEM(err);
done:
    sm_str_free(&source);
    return st;
}

sm_status request_text(const request_args *q, const smelt_model *m, const smelt_message *v, size_t n, sm_str *out,
                       sm_err *err) {
    sm_str json = SM_STR_INIT;
    smelt_error e;
    char *text = NULL;
    size_t len;
    sm_status st = build(q, v, n, &json, err);
    if (st == SM_OK && smelt_chat_prompt_json(m, sm_str_z(&json), json.n, &text, &len, &e) != SMELT_OK) {
        st = cli_fail(&e, err);
        if (q->chat)
            sm_err_prefix(err, "%s", q->chat);
    }
    if (st == SM_OK)
        sm_str_add(out, text, len);
    smelt_free(text);
    sm_str_free(&json);
    return st;
}
