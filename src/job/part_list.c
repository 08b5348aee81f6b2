/* SPDX-License-Identifier: MIT
 *
 * part_list.c: the list of a model's parts.
 */
#include "job/part_list.h"

#include <stdio.h>
#include <string.h>

#include "base/files.h"
#include "base/json.h"

#define LIST SM_PART_LIST_NAME
enum { MANIFEST_MOST = 1 << 20 };

static bool has(const char *dir, const char *name) {
    char *path = sm_path_join(dir, name);
    bool there = path != NULL && sm_path_exists(path);
    sm_free(path);
    return there;
}

bool sm_part_list_sniff(const char *path) {
    return sm_path_is_dir(path) && has(path, LIST);
}

static sm_status read_text(const char *dir, const char *name, sm_str *out, sm_err *err) {
    char *path = sm_path_join(dir, name);
    sm_status st = path != NULL ? sm_file_read(path, MANIFEST_MOST, out, err) : SM_NOMEM(err);
    sm_free(path);
    return st;
}

/* A package beside the manifest. */
static sm_status add(sm_arena *a, const char *dir, const char *manifest, sm_sv name, const char *function,
                     sm_listed_part *parts, int *n, sm_err *err) {
    char text[512];
    if (name.n == 0 || name.n >= sizeof text || memchr(name.p, '/', name.n) != NULL || name.p[0] == '.')
        return SM_FAIL(err, SM_BADINPUT, "%s/%s: '%.*s' is no name of a package beside it", dir, manifest,
                       (int)SM_MIN(name.n, 80), name.p);
    if (*n == SM_PART_LIST_MOST)
        return SM_FAIL(err, SM_BADINPUT, "%s/%s: more than %d parts", dir, manifest, SM_PART_LIST_MOST);
    snprintf(text, sizeof text, "%.*s", (int)name.n, name.p);
    char *path = sm_path_join(dir, text);
    sm_listed_part *p = &parts[(*n)++];
    *p = (sm_listed_part){path != NULL ? sm_arena_strdup(a, path) : NULL,
                          function ? sm_arena_strdup(a, function) : NULL};
    sm_free(path);
    return p->path == NULL || (function && p->function == NULL) ? SM_NOMEM(err) : SM_OK;
}

/* ------------------------------------------------------------------ smelt.json */
static sm_status read_list(const char *dir, const sm_str *text, sm_arena *a, sm_listed_part *parts, int *n,
                           sm_err *err) {
    json_error_t where;
    json_t *j = json_loadb(text->p, text->n, JSON_REJECT_DUPLICATES, &where);
    const json_t *list = json_object_get(j, "parts");
    sm_status st = SM_OK;
    if (!json_is_array(list) || json_array_size(list) == 0)
        st = SM_FAIL(err, SM_BADINPUT, "%s/" LIST ": wanted {\"parts\": [{\"package\": ...}, ...]}", dir);
    for (size_t i = 0; st == SM_OK && i < json_array_size(list); i++) {
        const json_t *p = json_array_get(list, i), *f = json_object_get(p, "function");
        const char *name = json_string_value(json_object_get(p, "package"));
        if (name == NULL || (f != NULL && !json_is_string(f)))
            st = SM_FAIL(err, SM_BADINPUT, "%s/" LIST ": part %d: wanted a \"package\", and a \"function\" or none",
                         dir, (int)i + 1);
        else
            st = add(a, dir, LIST, (sm_sv){name, strlen(name)}, json_string_value(f), parts, n, err);
    }
    json_decref(j);
    return st;
}

sm_status sm_part_list_read(const char *path, sm_arena *a, sm_listed_part *parts, int *n, sm_err *err) {
    sm_str text = SM_STR_INIT;
    *n = 0;
    sm_status st = read_text(path, LIST, &text, err);
    if (st == SM_OK)
        st = read_list(path, &text, a, parts, n, err);
    sm_str_free(&text);
    return st;
}
