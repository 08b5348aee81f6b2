/* SPDX-License-Identifier: MIT
 *
 * talk.c: messages in order, read and written as JSON.
 */
#include "cli/talk.h"

#include <stdlib.h>
#include <string.h>

#include "base/files.h"
#include "base/json.h"
#include "base/str.h"

enum { FILE_MAX = 1 << 28 };

static const char *const roles[] = {"system", "user", "assistant"};

/* A copy; a NUL, which no message can hold, becomes U+FFFD. */
static char *copy_text(const char *p, size_t n) {
    sm_str s = SM_STR_INIT;
    for (size_t i = 0; i < n; i++)
        if (p[i])
            sm_str_addc(&s, p[i]);
        else
            sm_str_adds(&s, "\xEF\xBF\xBD");
    if (s.n == 0)
        sm_str_addc(&s, '\0');
    if (sm_str_ok(&s))
        return s.p;
    sm_str_free(&s);
    return NULL;
}

sm_status talk_add(talk *t, const char *role, const char *p, size_t n, sm_err *err) {
    char *text = copy_text(p, n);
    for (size_t i = 0; i < SM_ARRAY_LEN(roles); i++)
        if (strcmp(role, roles[i]) == 0)
            role = roles[i]; /* lives as long as the program */
    if (!text || !SM_GROW(t)) {
        sm_free(text);
        return SM_NOMEM(err);
    }
    t->v[t->n++] = (smelt_message){role, text};
    return SM_OK;
}

void talk_cut(talk *t, size_t n) {
    while (t->n > n)
        sm_free((void *)t->v[--t->n].content);
}

void talk_free(talk *t) {
    talk_cut(t, 0);
    sm_free(t->v);
    *t = (talk){0};
}

bool talk_is(const talk *t, size_t i, const char *role) {
    return i < t->n && strcmp(t->v[i].role, role) == 0;
}

const char *talk_system(const talk *t) {
    return talk_is(t, 0, "system") ? t->v[0].content : NULL;
}

sm_status talk_set_system(talk *t, const char *text, sm_err *err) {
    bool there = talk_system(t) != NULL;
    if (!text) {
        if (there) {
            sm_free((void *)t->v[0].content);
            memmove(t->v, t->v + 1, --t->n * sizeof *t->v);
        }
        return SM_OK;
    }
    if (!there) {
        SM_TRY(talk_add(t, "system", text, strlen(text), err));
        smelt_message last = t->v[t->n - 1];
        memmove(t->v + 1, t->v, (t->n - 1) * sizeof *t->v);
        t->v[0] = last;
        return SM_OK;
    }
    char *copy = copy_text(text, strlen(text));
    if (!copy)
        return SM_NOMEM(err);
    sm_free((void *)t->v[0].content);
    t->v[0].content = copy;
    return SM_OK;
}

/* ------------------------------------------------------------------ files */
/* Content is a text, or an array of parts {"type": "text", "text": ".."}. */
static sm_status read_content(const json_t *c, const char *path, size_t i, sm_str *out, sm_err *err) {
    if (json_is_string(c)) {
        sm_str_add(out, json_string_value(c), json_string_length(c));
        return SM_OK;
    }
    if (!json_is_array(c))
        return SM_FAIL(err, SM_BADINPUT, "%s: messages[%zu].content: wanted a text, found %s", path, i,
                       sm_json_kind(c));
    size_t k;
    json_t *part;
    json_array_foreach(c, k, part) {
        const char *type = json_string_value(json_object_get(part, "type"));
        const json_t *text = json_object_get(part, "text");
        if (type && strcmp(type, "text") != 0)
            return SM_FAIL(err, SM_UNSUPPORTED, "%s: messages[%zu].content[%zu].type: wanted \"text\", found %s", path,
                           i, k, sm_quote(type, strlen(type)));
        if (!type || !json_is_string(text))
            return SM_FAIL(err, SM_BADINPUT, "%s: messages[%zu].content[%zu].%s: wanted a text, found %s", path, i, k,
                           type ? "text" : "type", sm_json_kind(type ? text : json_object_get(part, "type")));
        sm_str_add(out, json_string_value(text), json_string_length(text));
    }
    return SM_OK;
}

static sm_status read_message(talk *t, const json_t *m, const char *path, size_t i, sm_err *err) {
    sm_str content = SM_STR_INIT;
    const json_t *role = json_object_get(m, "role");
    const char *name = json_string_value(role);
    bool known = false;
    if (!json_is_object(m))
        return SM_FAIL(err, SM_BADINPUT, "%s: messages[%zu]: wanted an object, found %s", path, i, sm_json_kind(m));
    for (size_t k = 0; name && k < SM_ARRAY_LEN(roles); k++)
        known |= strcmp(name, roles[k]) == 0;
    if (!known)
        return SM_FAIL(err, SM_BADINPUT,
                       "%s: messages[%zu].role: wanted \"system\", \"user\" or \"assistant\", found %s", path, i,
                       name ? sm_quote(name, strlen(name)) : sm_json_kind(role));
    sm_status st = read_content(json_object_get(m, "content"), path, i, &content, err);
    if (st == SM_OK)
        st = sm_str_ok(&content) ? talk_add(t, name, sm_str_z(&content), content.n, err) : SM_NOMEM(err);
    sm_str_free(&content);
    return st;
}

sm_status talk_load(talk *t, const char *path, sm_err *err) {
    sm_str text = SM_STR_INIT;
    json_error_t where;
    json_t *root = NULL;
    sm_status st;
    SM_TRY_DONE(sm_file_read(path, FILE_MAX, &text, err));
    root = json_loadb(sm_str_z(&text), text.n, JSON_REJECT_DUPLICATES, &where);
    if (!root) {
        st = SM_FAIL(err, SM_BADINPUT, "%s: line %d, column %d: wanted JSON: %s", path, where.line, where.column,
                     where.text);
        goto done;
    }
    const json_t *list = json_is_array(root) ? root : json_object_get(root, "messages"), *m;
    if (!json_is_array(list)) {
        st = SM_FAIL(err, SM_BADINPUT, "%s: messages: wanted an array, found %s", path,
                     sm_json_kind(json_is_object(root) ? list : root));
        goto done;
    }
    for (size_t i = 0; i < json_array_size(list) && st == SM_OK; i++) {
        m = json_array_get(list, i);
        st = read_message(t, m, path, i, err);
    }
done:
    if (st != SM_OK)
        talk_free(t);
    json_decref(root);
    sm_str_free(&text);
    return st;
}

static sm_status may_replace(const char *path, sm_err *err) {
    talk there = {0};
    if (!sm_path_exists(path) || sm_path_is_dir(path)) /* a folder is refused where it is opened */
        return SM_OK;
    sm_status st = talk_load(&there, path, NULL);
    talk_free(&there);
    if (st == SM_OK)
        return SM_OK;
    SM_FAIL(err, SM_BADINPUT, "%s: there is a file already that is no saved conversation", path);
    sm_err_hint(err, "give another name");
    return SM_BADINPUT;
}

sm_status talk_save(const talk *t, const char *path, sm_err *err) {
    SM_TRY(may_replace(path, err));
    json_t *list = json_array(), *root = json_object();
    sm_outfile *f = NULL;
    char *text = NULL;
    sm_status st = SM_OK;
    int bad = json_object_set_new(root, "messages", list);
    for (size_t i = 0; i < t->n; i++)
        bad |= json_array_append_new(list, json_pack("{s:s, s:s}", "role", t->v[i].role, "content", t->v[i].content));
    text = bad ? NULL : json_dumps(root, JSON_INDENT(2));
    if (!text) {
        st = SM_NOMEM(err);
        goto done;
    }
    SM_TRY_DONE(sm_outfile_new(path, &f, err));
    SM_TRY_DONE(sm_outfile_append(f, text, strlen(text), err));
    SM_TRY_DONE(sm_outfile_append(f, "\n", 1, err));
    st = sm_outfile_commit(&f, err);
done:
    sm_outfile_abandon(&f);
    free(text);
    json_decref(root);
    return st;
}
