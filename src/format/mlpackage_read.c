/* SPDX-License-Identifier: MIT
 *
 * mlpackage_read.c: opens a package: manifest, model file, metadata, other items; then function by function.
 *
 *     PKG/Manifest.json                            which item is the model, which others there are
 *     PKG/Data/com.apple.CoreML/model.mlmodel      protobuf: interface, metadata, program
 *     PKG/Data/com.apple.CoreML/weights/weight.bin blobs
 *
 * The kind of model is told from field numbers before anything is unpacked, so that a gigabyte of neural network is
 * refused at once and by name.  The unpacked message lives in an arena that is freed at the end; what the graph keeps is
 * copied or mapped.  Nothing is followed out of the package.
 */
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "format/mlpackage_int.h"
#include "format/pbwire.h"

#define MANIFEST_LIMIT ((size_t)4 << 20)
#define MODEL_LIMIT ((uint64_t)1 << 30)
#define FIELD_VERSION 1
#define FIELD_PROGRAM 502

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

/* ------------------------------------------------------------------ model file */

static const char *kind_of(uint32_t field) {
    static const struct {
        uint32_t field;
        const char *name;
    } kinds[] = {
        {200, "pipeline classifier"}, {201, "pipeline regressor"},     {202, "pipeline"},
        {303, "neural network"},      {403, "neural network"},         {500, "neural network"},
        {302, "tree ensemble"},       {402, "tree ensemble"},          {300, "linear model"},
        {400, "linear model"},        {301, "support vector machine"}, {401, "support vector machine"},
        {404, "nearest neighbours"},  {555, "custom model"},           {556, "linked model"},
        {2000, "text classifier"},    {2001, "word tagger"},           {2005, "word embedding"},
        {3000, "serialized model"},
    };
    for (size_t i = 0; i < SM_ARRAY_LEN(kinds); i++)
        if (kinds[i].field == field)
            return kinds[i].name;
    return NULL;
}

/* Version and kind from the outermost fields alone. */
static sm_status check_kind(const char *file, sm_bytes m, sm_err *err) {
    size_t at = 0;
    sm_pb_field f;
    int more;
    bool program = false;
    uint64_t version = 0;
    uint32_t other = 0;
    while ((more = sm_pb_next(m.p, m.n, &at, &f)) > 0) {
        if (f.number == FIELD_VERSION && f.wire == 0)
            version = f.value;
        else if (f.number == FIELD_PROGRAM)
            program = true;
        else if (f.number >= 200)
            other = f.number;
    }
    if (more < 0)
        return SM_FAIL(err, SM_BADINPUT, "%s: offset %zu: malformed field: not a Core ML model", file, at);
    if (!program && other != 0) {
        const char *kind = kind_of(other);
        SM_FAIL(err, SM_UNSUPPORTED, "%s: wanted an ML Program, found a model of kind %s (field %" PRIu32 ")", file,
                kind == NULL ? "unknown" : kind, other);
        return err == NULL ? SM_UNSUPPORTED
                           : sm_err_hint(err, "convert the source model again with convert_to=\"mlprogram\" and a "
                                              "deployment target of iOS15 or later");
    }
    if (!program)
        return SM_FAIL(err, SM_BADINPUT, "%s: holds no model", file);
    if (version < SM_PKG_SPEC_MIN || version > SM_PKG_SPEC_MAX)
        return SM_FAIL(err, SM_UNSUPPORTED, "%s: specification version: supported are %d to %d, found %" PRIu64, file,
                       SM_PKG_SPEC_MIN, SM_PKG_SPEC_MAX, version);
    return SM_OK;
}

static sm_status copy_text(sm_package *pkg, const char *s, const char **out, sm_err *err) {
    *out = sm_arena_strdup(pkg->graph->arena, s == NULL ? "" : s);
    return *out == NULL ? SM_NOMEM(err) : SM_OK;
}

static sm_status read_description(sm_package *pkg, const SmPb__ModelDescription *d, sm_err *err) {
    static const SmPb__Metadata none = SM_PB__METADATA__INIT;
    const SmPb__Metadata *m = d == NULL || d->metadata == NULL ? &none : d->metadata;
    if (d != NULL && d->default_function[0] != 0)
        SM_TRY(copy_text(pkg, d->default_function, &pkg->default_function, err));
    SM_TRY(copy_text(pkg, m->short_description, &pkg->short_description, err));
    SM_TRY(copy_text(pkg, m->version, &pkg->version, err));
    SM_TRY(copy_text(pkg, m->author, &pkg->author, err));
    SM_TRY(copy_text(pkg, m->license, &pkg->license, err));
    pkg->meta = sm_arena_alloc_n(pkg->graph->arena, m->n_user_defined, sizeof *pkg->meta);
    if (pkg->meta == NULL)
        return SM_NOMEM(err);
    pkg->n_meta = m->n_user_defined;
    for (size_t i = 0; i < pkg->n_meta; i++) {
        SM_TRY(copy_text(pkg, m->user_defined[i]->key, &pkg->meta[i].key, err));
        SM_TRY(copy_text(pkg, m->user_defined[i]->value, &pkg->meta[i].value, err));
    }
    return SM_OK;
}

static sm_status read_functions(sm_pkg_reader *r, sm_err *err) {
    const SmPb__Program *p = r->model->ml_program;
    if (p == NULL || p->n_functions == 0)
        return SM_FAIL(err, SM_BADINPUT, "the program has no function");
    if (p->version != 1)
        return SM_FAIL(err, SM_UNSUPPORTED, "program version: wanted 1, found %" PRId64, p->version);
    for (size_t i = 0; i < p->n_functions; i++) {
        const char *name = p->functions[i]->key;
        if (sm_graph_func(r->g, name) != NULL)
            return SM_FAIL(err, SM_BADINPUT, "function %s is defined twice", sm_quote(name, strlen(name)));
        if (p->functions[i]->value == NULL)
            return SM_FAIL(err, SM_BADINPUT, "function %s is empty", sm_quote(name, strlen(name)));
        SM_TRY(sm_pkg_read_function(r, name, p->functions[i]->value, err));
    }
    const char *def = r->pkg->default_function;
    if (def != NULL && sm_graph_func(r->g, def) == NULL)
        return SM_FAIL(err, SM_BADINPUT, "the default function %s does not exist", sm_quote(def, strlen(def)));
    if (def == NULL)
        r->pkg->default_function = sm_graph_func(r->g, "main") != NULL ? "main" : r->g->funcs[0]->name;
    return SM_OK;
}

/* Everything that model.mlmodel says. */
static sm_status read_model(sm_pkg_reader *r, const char *file, sm_bytes m, sm_err *err) {
    ProtobufCMessage *msg = NULL;
    sm_status st = SM_OK;
    if (m.n > MODEL_LIMIT)
        return SM_FAIL(err, SM_UNSUPPORTED, "%s: more than %" PRIu64 " MiB of program", file, MODEL_LIMIT >> 20);
    SM_TRY(check_kind(file, m, err));
    r->pkg->model_bytes = m.n;
    r->tmp = sm_arena_new();
    r->const_of = sm_map_new(1024);
    if (r->tmp == NULL || r->const_of == NULL) {
        st = SM_NOMEM(err);
        goto done;
    }
    SM_TRY_DONE(sm_pb_unpack(file, &sm_pb__model__descriptor, m.p, m.n, r->tmp, &msg, err));
    r->model = (const SmPb__Model *)msg;
    r->pkg->spec_version = r->model->specification_version;
    SM_TRY_DONE(read_description(r->pkg, r->model->description, err));
    st = read_functions(r, err);
    if (st != SM_OK)
        sm_err_prefix(err, "%s", file);
done:
    sm_arena_free(&r->tmp);
    sm_map_free(&r->const_of);
    sm_free(r->consts.v);
    return st;
}

/* ------------------------------------------------------------------ the whole */

/* A package without content, and the owner of its files, which the graph keeps. */
static sm_status package_new(const char *path, sm_package **out, sm_pkg_owner **own, sm_err *err) {
    sm_graph *g;
    SM_TRY(sm_graph_new(&g, err));
    sm_package *pkg = sm_arena_alloc(g->arena, sizeof *pkg);
    sm_status st = SM_OK;
    *own = sm_alloc(sizeof **own);
    if (pkg == NULL || *own == NULL)
        st = SM_NOMEM(err);
    else
        st = sm_graph_keep(g, *own, owner_free, err);
    if (st != SM_OK) {
        sm_free(*own);
        sm_graph_free(&g);
        return st;
    }
    pkg->graph = g;
    pkg->path = sm_arena_strdup(g->arena, path);
    if (pkg->path == NULL) {
        sm_graph_free(&g);
        return SM_NOMEM(err);
    }
    *out = pkg;
    return SM_OK;
}

sm_status sm_mlpackage_read(const char *path, sm_package **out, sm_err *err) {
    sm_package *pkg = NULL;
    sm_pkg_owner *own = NULL;
    char *model = NULL, *data = NULL, *file = NULL, *dir = NULL;
    sm_mapfile map = {0};
    sm_status st;
    *out = NULL;
    if (!sm_path_is_dir(path))
        return SM_FAIL(err, SM_BADINPUT, "'%s' is not a folder, wanted a Core ML package", path);
    SM_TRY(package_new(path, &pkg, &own, err));
    SM_TRY_DONE(read_manifest(pkg, &model, err));
    data = sm_path_join(path, "Data");
    file = data == NULL ? NULL : sm_path_join(data, model);
    dir = file == NULL ? NULL : sm_path_join("", file);
    if (dir == NULL) {
        st = SM_NOMEM(err);
        goto done;
    }
    dir[sm_path_base(file) - file] = 0;
    SM_TRY_DONE(map_items(pkg, data, model, own, err));
    SM_TRY_DONE(sm_mapfile_open(file, &map, err));
    sm_pkg_reader r = {.pkg = pkg, .g = pkg->graph, .own = own, .model_dir = dir};
    SM_TRY_DONE(read_model(&r, file, (sm_bytes){map.p, map.n}, err));
    *out = pkg;
    pkg = NULL;
done:
    if (pkg != NULL)
        sm_graph_free(&pkg->graph);
    sm_mapfile_close(&map);
    sm_free(data);
    sm_free(file);
    sm_free(dir);
    return st;
}

sm_status sm_mlpackage_read_mem(const char *name, sm_bytes model, sm_bytes weights, sm_package **out, sm_err *err) {
    sm_package *pkg = NULL;
    sm_pkg_owner *own = NULL;
    *out = NULL;
    SM_TRY(package_new(name, &pkg, &own, err));
    sm_pkg_reader r = {.pkg = pkg, .g = pkg->graph, .own = own, .memory_blob = weights};
    pkg->weight_bytes = weights.n;
    sm_status st = read_model(&r, name, model, err);
    if (st != SM_OK)
        sm_graph_free(&pkg->graph);
    else
        *out = pkg;
    return st;
}

const sm_pkg_image *sm_package_image(const sm_package *p, const char *function, const char *input) {
    for (size_t i = 0; i < p->n_images; i++)
        if (strcmp(p->images[i].function, function) == 0 && strcmp(p->images[i].input, input) == 0)
            return &p->images[i];
    return NULL;
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

/* Without the heap: a package must not look like something else when memory is short. */
bool sm_mlpackage_sniff(const char *path) {
    char data[PATH_MAX], manifest[PATH_MAX];
    int n = snprintf(data, sizeof data, "%s/Data", path),
        m = snprintf(manifest, sizeof manifest, "%s/Manifest.json", path);
    return n < PATH_MAX && m < PATH_MAX && sm_path_is_dir(data) && sm_path_exists(manifest);
}
