/* SPDX-License-Identifier: MIT
 *
 * api_chat.c: chat templates of smelt.h: a request, as JSON or as messages, becomes the variables that templates expect.
 *
 * They are what transformers gives: messages as they are, tools and documents (none unless given), add_generation_prompt,
 * the spelling of the special tokens, and whatever else the request has.
 */
#include "api/api_int.h"

#include "base/json.h"
#include "text/template.h"

/* ---- the request --------------------------------------------------------------------------------------------- */

static sm_status wrong(sm_err *e, const char *field, const char *wanted, const json_t *found) {
    return SM_FAIL(e, SM_BADINPUT, "chat request: %s: wanted %s, found %s", field, wanted, sm_json_kind(found));
}

static sm_status check_messages(const json_t *messages, sm_err *e) {
    char field[64];
    size_t i;
    const json_t *m;
    if (!json_is_array(messages))
        return wrong(e, "messages", "an array", messages);
    json_array_foreach(messages, i, m) {
        snprintf(field, sizeof field, "messages[%zu]", i);
        if (!json_is_object(m))
            return wrong(e, field, "an object", m);
        snprintf(field, sizeof field, "messages[%zu].role", i);
        if (!json_is_string(json_object_get(m, "role")))
            return wrong(e, field, "a string", json_object_get(m, "role"));
    }
    return SM_OK;
}

static sm_status check_request(const json_t *request, sm_err *e) {
    static const char *const strings[] = {"template", "chat_template"};
    const json_t *tools = json_object_get(request, "tools"), *more = json_object_get(request, "chat_template_kwargs");
    SM_TRY(check_messages(json_object_get(request, "messages"), e));
    if (tools && !json_is_null(tools) && !json_is_array(tools))
        return wrong(e, "tools", "an array", tools);
    if (more && !json_is_null(more) && !json_is_object(more))
        return wrong(e, "chat_template_kwargs", "an object", more);
    for (size_t i = 0; i < SM_ARRAY_LEN(strings); i++) {
        const json_t *v = json_object_get(request, strings[i]);
        if (v && !json_is_null(v) && !json_is_string(v))
            return wrong(e, strings[i], "a string", v);
    }
    return SM_OK;
}

/* The template's text: the request's own, the one it names, tool_use if there are tools, the model's only one. */
static sm_status choose_template(const smelt_model *m, const json_t *request, sm_sv *source, sm_err *e) {
    const json_t *own = json_object_get(request, "chat_template");
    const char *name = json_string_value(json_object_get(request, "template"));
    if (json_is_string(own)) {
        *source = (sm_sv){json_string_value(own), json_string_length(own)};
        return SM_OK;
    }
    *source = (sm_sv){NULL, 0};
    if (name)
        *source = sm_tokenizer_chat_template(m->l->tok, name);
    else if (json_array_size(json_object_get(request, "tools")) > 0)
        *source = sm_tokenizer_chat_template(m->l->tok, "tool_use");
    if (source->n > 0)
        return SM_OK;
    if (name && strcmp(name, "default") != 0)
        return SM_FAIL(e, SM_BADINPUT, "%s: the model has no chat template called %s", m->path,
                       sm_quote(name, strlen(name)));
    *source = sm_tokenizer_chat_template(m->l->tok, NULL);
    return source->n > 0 ? SM_OK : SM_FAIL(e, SM_UNSUPPORTED, "%s: the model has no chat template", m->path);
}

static json_t *spelling(const sm_tokenizer *t, int32_t id) {
    sm_sv s = sm_tokenizer_text(t, id);
    return json_stringn(s.n ? s.p : "", s.n);
}

/* The template's variables, or NULL when memory ran out. */
static json_t *variables(const sm_tokenizer *t, json_t *request) {
    static const char *const not_theirs[] = {"template", "chat_template", "chat_template_kwargs"};
    json_t *c = json_object(), *more = json_object_get(request, "chat_template_kwargs");
    int bad = json_object_set_new(c, "tools", json_null()) | json_object_set_new(c, "documents", json_null());
    bad |= json_object_set_new(c, "add_generation_prompt", json_true());
    bad |= json_object_set_new(c, "bos_token", spelling(t, sm_tokenizer_bos(t)));
    bad |= json_object_set_new(c, "eos_token", spelling(t, sm_tokenizer_eos(t)));
    bad |= json_object_update(c, request);
    for (size_t i = 0; i < SM_ARRAY_LEN(not_theirs); i++)
        json_object_del(c, not_theirs[i]);
    if (json_is_object(more))
        bad |= json_object_update(c, more);
    if (!bad)
        return c;
    json_decref(c);
    return NULL;
}

/* ---- the prompt ---------------------------------------------------------------------------------------------- */

static sm_status render(const smelt_model *m, json_t *request, char **text, size_t *n_text, sm_err *e) {
    sm_str out = SM_STR_INIT;
    sm_template *t = NULL;
    json_t *context = NULL;
    sm_sv source;
    sm_status st;
    SM_TRY_DONE(sm_loaded_tokenizer(m->l, m->path, e));
    SM_TRY_DONE(check_request(request, e));
    SM_TRY_DONE(choose_template(m, request, &source, e));
    SM_TRY_DONE(sm_template_parse(source, &t, e));
    context = variables(m->l->tok, request);
    if (!context) {
        st = SM_NOMEM(e);
        goto done;
    }
    SM_TRY_DONE(sm_template_render(t, context, &out, e));
    st = api_hand_over(&out, text, n_text, e);
done:
    json_decref(context);
    sm_template_free(&t);
    sm_str_free(&out);
    return st;
}

smelt_status smelt_chat_prompt_json(const smelt_model *m, const char *json, size_t n_json, char **text, size_t *n_text,
                                    smelt_error *err) {
    sm_err e = {0};
    json_error_t where;
    sm_status st;
    *text = NULL;
    json_t *request = json_loadb(json, n_json, JSON_ALLOW_NUL, &where);
    if (json_is_object(request))
        st = render(m, request, text, n_text, &e);
    else if (request)
        st = wrong(&e, "the whole", "an object", request);
    else
        st = SM_FAIL(&e, SM_BADINPUT, "chat request: line %d, column %d: %s", where.line, where.column, where.text);
    json_decref(request);
    return GIVE(st, &e, err);
}

smelt_status smelt_chat_prompt(const smelt_model *m, const smelt_message *messages, size_t n, char **text,
                               size_t *n_text, smelt_error *err) {
    sm_err e = {0};
    json_t *list = json_array(), *request = json_pack("{s:o}", "messages", list);
    sm_status st;
    *text = NULL;
    for (size_t i = 0; request && i < n; i++) /* the list is the request's */
        json_array_append_new(list, json_pack("{s:s, s:s}", "role", messages[i].role, "content", messages[i].content));
    if (!request || json_array_size(list) != n)
        st = SM_FAIL(&e, SM_BADINPUT, "the messages are not UTF-8, or memory ran out");
    else
        st = render(m, request, text, n_text, &e);
    json_decref(request);
    return GIVE(st, &e, err);
}
