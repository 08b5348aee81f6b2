/* SPDX-License-Identifier: MIT
 *
 * mlpackage_read.c: opens a package: manifest, other items, files.  What the model file says: mlpackage_read_model.c.
 *
 *     PKG/Manifest.json                            which item is the model, which others there are
 *     PKG/Data/com.apple.CoreML/model.mlmodel      protobuf: interface, metadata, program
 *     PKG/Data/com.apple.CoreML/weights/weight.bin blobs
 *
 * The model file may also stand alone (NAME.mlmodel); weights are then looked for beside it.  Nothing is followed out of
 * the package.
 */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/foreign.h"
#include "format/mlpackage_int.h"

#define MANIFEST_LIMIT ((size_t)4 << 20)

static void owner_free(void *p) {
    sm_pkg_owner *o = p;
    if (o == NULL)
        return;
    for (size_t i = 0; i < o->blobs.n; i++) {
        sm_mapfile_close(&o->blobs.v[i]->map);
        sm_free(o->blobs.v[i]->ref);
        sm_free(o->blobs.v[i]);
    }
    for (size_t i = 0; i < o->maps.n; i++)
        sm_mapfile_close(&o->maps.v[i]);
    sm_free(o->blobs.v);
    sm_free(o->maps.v);
    sm_free(o);
}

bool sm_pkg_path_inside(const char *path) {
    if (path[0] == 0)
        return false;
    for (const char *p = path;; p++) {
        size_t n = strcspn(p, "/");
        if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
            return false;
        p += n;
        if (*p == 0)
            return true;
    }
}

/* ------------------------------------------------------------------ manifest */

/* A text member of an item; NULL when it is missing or of another type. */
static const char *text_of(const json_t *o, const char *key) {
    return json_string_value(json_object_get(o, key));
}

/* Finds the model's path and lists the other items in pkg (all borrowed from the JSON until copied). */
static sm_status read_items(sm_package *pkg, const json_t *root, char **model, sm_err *err) {
    sm_arena *a = pkg->graph->arena;
    const json_t *items = json_object_get(root, "itemInfoEntries"), *item;
    const char *id = text_of(root, "rootModelIdentifier"), *version = text_of(root, "fileFormatVersion"), *key;
    if (version == NULL || strncmp(version, "1.", 2) != 0)
        return SM_FAIL(err, SM_UNSUPPORTED, "fileFormatVersion: wanted 1.x, found %s",
                       version == NULL ? "none" : sm_quote(version, strlen(version)));
    if (!json_is_object(items) || id == NULL || json_object_get(items, id) == NULL)
        return SM_FAIL(err, SM_BADINPUT, "rootModelIdentifier names none of itemInfoEntries");
    pkg->items = sm_arena_alloc_n(a, json_object_size(items), sizeof *pkg->items);
    if (pkg->items == NULL)
        return SM_NOMEM(err);
    json_object_foreach((json_t *)(uintptr_t)items, key, item) {
        const char *path = text_of(item, "path"), *opt[3];
        if (path == NULL || !sm_pkg_path_inside(path))
            return SM_FAIL(err, SM_BADINPUT, "item %s: path %s: wanted one inside the package",
                           sm_quote(key, strlen(key)), path == NULL ? "(none)" : sm_quote(path, strlen(path)));
        char *copy = sm_arena_strdup(a, path);
        if (copy == NULL)
            return SM_NOMEM(err);
        if (strcmp(key, id) == 0) {
            *model = copy;
            continue;
        }
        static const char *const names[] = {"author", "description", "name"};
        for (int i = 0; i < 3; i++) {
            const char *v = text_of(item, names[i]);
            opt[i] = sm_arena_strdup(a, v == NULL ? "" : v);
            if (opt[i] == NULL)
                return SM_NOMEM(err);
        }
        pkg->items[pkg->n_items++] =
            (sm_pkg_item){.path = copy, .author = opt[0], .description = opt[1], .name = opt[2]};
    }
    return SM_OK;
}

static sm_status read_manifest(sm_package *pkg, char **model, sm_err *err) {
    sm_str text = SM_STR_INIT;
    json_error_t where;
    json_t *root = NULL;
    sm_status st = SM_OK;
    char *path = sm_path_join(pkg->path, "Manifest.json");
    if (path == NULL)
        return SM_NOMEM(err);
    SM_TRY_DONE(sm_file_read(path, MANIFEST_LIMIT, &text, err));
    root = json_loadb(sm_str_z(&text), text.n, JSON_REJECT_DUPLICATES, &where);
    if (root == NULL)
        st = SM_FAIL(err, SM_BADINPUT, "%s: line %d, column %d: %s", path, where.line, where.column, where.text);
    else if ((st = read_items(pkg, root, model, err)) != SM_OK)
        sm_err_prefix(err, "%s", path);
done:
    json_decref(root);
    sm_str_free(&text);
    sm_free(path);
    return st;
}

/* Drops the weights from the items and maps the files of the others. */
static sm_status map_items(sm_package *pkg, const char *data, const char *model, sm_pkg_owner *own, sm_err *err) {
    size_t n = 0, dir = (size_t)(sm_path_base(model) - model);
    for (size_t i = 0; i < pkg->n_items; i++) {
        sm_pkg_item *it = &pkg->items[i];
        if (strncmp(it->path, model, dir) == 0 && strcmp(it->path + dir, "weights") == 0)
            continue;
        char *path = sm_path_join(data, it->path);
        if (path == NULL || !SM_GROW(&own->maps)) {
            sm_free(path);
            return SM_NOMEM(err);
        }
        sm_status st = SM_OK;
        if (!sm_path_is_dir(path)) {
            st = sm_mapfile_open(path, &own->maps.v[own->maps.n], err);
            if (st == SM_OK) {
                it->bytes = (sm_bytes){own->maps.v[own->maps.n].p, own->maps.v[own->maps.n].n};
                own->maps.n++;
            }
        }
        sm_free(path);
        SM_TRY(st);
        pkg->items[n++] = *it;
    }
    pkg->n_items = n;
    return SM_OK;
}

/* ------------------------------------------------------------------ the whole */

sm_status sm_pkg_new_package(const char *path, sm_graph *g, sm_package **out, sm_pkg_owner **own, sm_err *err) {
    sm_package *pkg = sm_arena_alloc(g->arena, sizeof *pkg);
    sm_status st = SM_OK;
    *own = sm_alloc(sizeof **own);
    if (pkg == NULL || *own == NULL)
        st = SM_NOMEM(err);
    else
        st = sm_graph_keep(g, *own, owner_free, err);
    if (st != SM_OK) {
        sm_free(*own);
        return st;
    }
    pkg->graph = g;
    pkg->path = sm_arena_strdup(g->arena, path);
    *out = pkg;
    return pkg->path == NULL ? SM_NOMEM(err) : SM_OK;
}

/* Everything behind the model file's path. */
static sm_status read_file(sm_package *pkg, sm_pkg_owner *own, const char *file, const char *prefix, sm_err *err) {
    sm_mapfile map = {0};
    char *dir = sm_path_join("", file);
    if (dir == NULL)
        return SM_NOMEM(err);
    dir[sm_path_base(file) - file] = 0;
    sm_status st = sm_mapfile_open(file, &map, err);
    if (st == SM_OK) {
        sm_pkg_reader r = {
            .pkg = pkg, .g = pkg->graph, .own = own, .prefix = prefix, .model_dir = dir[0] == 0 ? "." : dir};
        st = sm_pkg_read_model(&r, file, (sm_bytes){map.p, map.n}, err);
    }
    sm_mapfile_close(&map);
    sm_free(dir);
    return st;
}

static sm_status read_folder(sm_package *pkg, sm_pkg_owner *own, const char *prefix, sm_err *err) {
    char *model = NULL, *data = NULL, *file = NULL;
    sm_status st;
    SM_TRY_DONE(read_manifest(pkg, &model, err));
    data = sm_path_join(pkg->path, "Data");
    file = data == NULL ? NULL : sm_path_join(data, model);
    SM_TRY_DONE(file == NULL ? SM_NOMEM(err) : SM_OK);
    SM_TRY_DONE(map_items(pkg, data, model, own, err));
    st = read_file(pkg, own, file, prefix, err);
done:
    sm_free(data);
    sm_free(file);
    return st;
}

sm_status sm_pkg_read_into(const char *path, sm_graph *g, const char *prefix, sm_package **out, sm_err *err) {
    sm_package *pkg = NULL;
    sm_pkg_owner *own = NULL;
    *out = NULL;
    if (sm_mlmodelc_sniff(path))
        return sm_mlmodelc_read_into(path, g, prefix, out, err);
    bool folder = sm_path_is_dir(path);
    SM_TRY(sm_foreign_refuse(path, err));
    if (!folder && !sm_mlpackage_sniff(path))
        return SM_FAIL(err, SM_BADINPUT, "'%s' is not a folder, wanted a Core ML package", path);
    SM_TRY(sm_pkg_new_package(path, g, &pkg, &own, err));
    SM_TRY(folder ? read_folder(pkg, own, prefix, err) : read_file(pkg, own, path, prefix, err));
    *out = pkg;
    return SM_OK;
}

sm_status sm_mlpackage_read(const char *path, sm_package **out, sm_err *err) {
    sm_graph *g;
    *out = NULL;
    SM_TRY(sm_graph_new(&g, err));
    sm_status st =
        sm_folder_sniff(path) ? sm_folder_read_into(path, g, out, err) : sm_pkg_read_into(path, g, "", out, err);
    if (st != SM_OK) {
        *out = NULL;
        sm_graph_free(&g);
    }
    return st;
}

sm_status sm_mlpackage_read_mem(const char *name, sm_bytes model, sm_bytes weights, sm_package **out, sm_err *err) {
    sm_package *pkg = NULL;
    sm_pkg_owner *own = NULL;
    sm_graph *g;
    *out = NULL;
    SM_TRY(sm_graph_new(&g, err));
    sm_status st = sm_pkg_new_package(name, g, &pkg, &own, err);
    if (st == SM_OK) {
        sm_pkg_reader r = {.pkg = pkg, .g = g, .own = own, .prefix = "", .memory_blob = weights};
        pkg->weight_bytes = weights.n;
        st = sm_pkg_read_model(&r, name, model, err);
    }
    if (st != SM_OK)
        sm_graph_free(&g);
    else
        *out = pkg;
    return st;
}

int sm_pkg_image_order(const void *a, const void *b) {
    const sm_pkg_image *x = a, *y = b;
    int by_function = strcmp(x->function, y->function);
    return by_function != 0 ? by_function : strcmp(x->input, y->input);
}

const sm_pkg_image *sm_package_image(const sm_package *p, const char *function, const char *input) {
    const sm_pkg_image wanted = {.function = function, .input = input};
    return p->n_images == 0 ? NULL : bsearch(&wanted, p->images, p->n_images, sizeof *p->images, sm_pkg_image_order);
}

const char *sm_package_meta(const sm_package *p, const char *key) {
    for (size_t i = 0; i < p->n_meta; i++)
        if (strcmp(p->meta[i].key, key) == 0)
            return p->meta[i].value;
    return NULL;
}

sm_status sm_package_item_path(const sm_package *p, const char *path, char **out, sm_err *err) {
    *out = NULL;
    for (size_t i = 0; i < p->n_items; i++) {
        if (strcmp(p->items[i].path, path) != 0)
            continue;
        char *data = sm_path_join(p->path, "Data");
        *out = data == NULL ? NULL : sm_path_join(data, path);
        sm_free(data);
        return *out == NULL ? SM_NOMEM(err) : SM_OK;
    }
    return SM_OK;
}

/* A model file: its version in one byte, then the description. */
static bool is_model_file(const char *path) {
    uint8_t head[3];
    size_t n = strlen(path);
    FILE *f = n > 8 && strcmp(path + n - 8, ".mlmodel") == 0 ? fopen(path, "rb") : NULL;
    if (f == NULL)
        return false;
    bool is = fread(head, 1, sizeof head, f) == sizeof head && head[0] == 0x08 && head[1] < 0x80 && head[2] == 0x12;
    fclose(f);
    return is;
}

/* Without the heap: a package must not look like something else when memory is short. */
bool sm_mlpackage_sniff(const char *path) {
    char data[PATH_MAX], manifest[PATH_MAX];
    int n = snprintf(data, sizeof data, "%s/Data", path),
        m = snprintf(manifest, sizeof manifest, "%s/Manifest.json", path);
    if (n < PATH_MAX && m < PATH_MAX && sm_path_is_dir(data) && sm_path_exists(manifest))
        return true;
    return !sm_path_is_dir(path) ? is_model_file(path) : sm_mlmodelc_sniff(path) || sm_folder_sniff(path);
}
