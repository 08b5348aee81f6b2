/* SPDX-License-Identifier: MIT
 *
 * part_list.c: manifests of models in parts.
 */
#include "job/part_list.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/files.h"
#include "base/json.h"

#define OURS "smelt.json"
#define THEIRS "meta.yaml"
enum { MANIFEST_MOST = 1 << 20 };

static bool has(const char *dir, const char *name) {
    char *path = sm_path_join(dir, name);
    bool there = path != NULL && sm_path_exists(path);
    sm_free(path);
    return there;
}

bool sm_part_list_sniff(const char *path) {
    return sm_path_is_dir(path) && (has(path, OURS) || has(path, THEIRS));
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
static sm_status read_ours(const char *dir, const sm_str *text, sm_arena *a, sm_listed_part *parts, int *n,
                           sm_err *err) {
    json_error_t where;
    json_t *j = json_loadb(text->p, text->n, JSON_REJECT_DUPLICATES, &where);
    const json_t *list = json_object_get(j, "parts");
    sm_status st = SM_OK;
    if (!json_is_array(list) || json_array_size(list) == 0)
        st = SM_FAIL(err, SM_BADINPUT, "%s/" OURS ": wanted {\"parts\": [{\"package\": ...}, ...]}", dir);
    for (size_t i = 0; st == SM_OK && i < json_array_size(list); i++) {
        const json_t *p = json_array_get(list, i), *f = json_object_get(p, "function");
        const char *name = json_string_value(json_object_get(p, "package"));
        if (name == NULL || (f != NULL && !json_is_string(f)))
            st = SM_FAIL(err, SM_BADINPUT, "%s/" OURS ": part %d: wanted a \"package\", and a \"function\" or none",
                         dir, (int)i + 1);
        else
            st = add(a, dir, OURS, (sm_sv){name, strlen(name)}, json_string_value(f), parts, n, err);
    }
    json_decref(j);
    return st;
}

/* ------------------------------------------------------------------ meta.yaml */
/* The scalar of the one line "key: value"; quotes around it are taken off.  p NULL: there is no such line; two of them, or
 * a value that is no plain scalar, fail. */
static sm_status scalar(const char *dir, const sm_str *text, const char *key, sm_sv *out, sm_err *err) {
    size_t len = strlen(key);
    *out = (sm_sv){NULL, 0};
    for (size_t at = 0, end; at < text->n; at = end + 1) {
        const char *nl = memchr(text->p + at, '\n', text->n - at);
        end = nl != NULL ? (size_t)(nl - text->p) : text->n;
        const char *p = text->p + at, *stop = text->p + end;
        while (p < stop && *p == ' ')
            p++;
        if ((size_t)(stop - p) <= len || memcmp(p, key, len) != 0 || p[len] != ':')
            continue;
        p += len + 1;
        while (p < stop && isspace((unsigned char)*p))
            p++;
        while (stop > p && isspace((unsigned char)stop[-1]))
            stop--;
        if (stop - p >= 2 && (*p == '"' || *p == '\'') && stop[-1] == *p)
            p++, stop--;
        if (out->p != NULL || p == stop || strchr("|>[{&*!\"'#", *p) != NULL)
            return SM_FAIL(err, SM_BADINPUT, "%s/" THEIRS ": '%s' is not one plain value", dir, key);
        *out = (sm_sv){p, (size_t)(stop - p)};
    }
    return SM_OK;
}

static sm_status wanted(const char *dir, const sm_str *text, const char *key, sm_sv *out, sm_err *err) {
    SM_TRY(scalar(dir, text, key, out, err));
    return out->p != NULL ? SM_OK : SM_FAIL(err, SM_BADINPUT, "%s/" THEIRS ": '%s' is missing", dir, key);
}

/* Chunk k of `count`, out of the name of the first. */
static sm_status add_chunk(sm_arena *a, const char *dir, sm_sv first, int k, int count, sm_listed_part *parts, int *n,
                           sm_err *err) {
    char text[512], mark[32];
    snprintf(text, sizeof text, "%.*s", (int)SM_MIN(first.n, sizeof text - 1), first.p);
    snprintf(mark, sizeof mark, "01of%02d", count);
    char *at = strstr(text, mark);
    if (at == NULL && count > 1)
        return SM_FAIL(err, SM_BADINPUT, "%s/" THEIRS ": 'ffn' of %d chunks does not say %s", dir, count, mark);
    if (at != NULL) {
        at[0] = (char)('0' + k / 10);
        at[1] = (char)('0' + k % 10);
    }
    return add(a, dir, THEIRS, sm_sv_of(text), NULL, parts, n, err);
}

static sm_status read_theirs(const char *dir, const sm_str *text, sm_arena *a, sm_listed_part *parts, int *n,
                             sm_err *err) {
    sm_sv embeddings, ffn, head, chunks;
    SM_TRY(wanted(dir, text, "embeddings", &embeddings, err));
    SM_TRY(wanted(dir, text, "ffn", &ffn, err));
    SM_TRY(wanted(dir, text, "lm_head", &head, err));
    SM_TRY(wanted(dir, text, "num_chunks", &chunks, err));
    int count = 0;
    for (size_t i = 0; i < chunks.n && i < 3; i++)
        count = chunks.p[i] >= '0' && chunks.p[i] <= '9' ? count * 10 + (chunks.p[i] - '0') : 1000;
    if (count < 1 || count > 99 || chunks.n > 2)
        return SM_FAIL(err, SM_BADINPUT, "%s/" THEIRS ": 'num_chunks' is no number from 1 to 99", dir);
    SM_TRY(add(a, dir, THEIRS, embeddings, NULL, parts, n, err));
    for (int k = 1; k <= count; k++)
        SM_TRY(add_chunk(a, dir, ffn, k, count, parts, n, err));
    return add(a, dir, THEIRS, head, NULL, parts, n, err);
}

sm_status sm_part_list_read(const char *path, sm_arena *a, sm_listed_part *parts, int *n, sm_err *err) {
    sm_str text = SM_STR_INIT;
    bool ours = has(path, OURS);
    *n = 0;
    sm_status st = read_text(path, ours ? OURS : THEIRS, &text, err);
    if (st == SM_OK)
        st = ours ? read_ours(path, &text, a, parts, n, err) : read_theirs(path, &text, a, parts, n, err);
    sm_str_free(&text);
    return st;
}
