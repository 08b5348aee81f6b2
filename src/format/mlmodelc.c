/* SPDX-License-Identifier: MIT
 *
 * mlmodelc.c: compiled models, whose program is MIL text.
 *
 *     X.mlmodelc/model.mil            the program (graph/parse.c reads both dialects)
 *     X.mlmodelc/weights/weight.bin   blobs
 *     X.mlmodelc/metadata.json        interface, version, the author's words; may be absent
 *     X.mlmodelc/model0, model1 ..    a pipeline's parts, each as above
 *     X.mlmodelc/coremldata.bin       not read: what it says is in the two others
 *
 * What metadata.json says of flexible shapes is used where the text does not say it.  No compiler's real output could be
 * had where this was written: the layout is that of published packages' listings, and the tests make such folders
 * themselves from programs of packages.
 */
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/chain.h"
#include "format/mlpackage_int.h"
#include "graph/flex.h"

#define TEXT_LIMIT ((size_t)1 << 30)
#define META_LIMIT ((size_t)64 << 20)
enum { PARTS_MAX = 256 };

/* One compiled program on its way into the package. */
typedef struct compiled {
    sm_pkg_reader r;
    struct {
        sm_flex_input *v;
        size_t n, cap;
    } flex;
    json_t *meta; /* NULL: there is none */
    sm_err *err;
} compiled;

static bool inside(const char *dir, const char *name) {
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    return n < PATH_MAX && sm_path_exists(path);
}

bool sm_mlmodelc_sniff(const char *path) {
    return sm_path_is_dir(path) && !inside(path, "Manifest.json") &&
           (inside(path, "model.mil") || inside(path, "coremldata.bin") || inside(path, "model0"));
}

/* ------------------------------------------------------------------ metadata.json */

/* metadata.json's object, or NULL; a file that is no JSON is an error. */
static sm_status load_meta(const char *dir, json_t **out, sm_err *err) {
    sm_str text = SM_STR_INIT;
    json_error_t where;
    char *path = sm_path_join(dir, "metadata.json");
    sm_status st = SM_OK;
    *out = NULL;
    if (path == NULL)
        return SM_NOMEM(err);
    if (!sm_path_exists(path))
        goto done;
    SM_TRY_DONE(sm_file_read(path, META_LIMIT, &text, err));
    json_t *root = json_loadb(sm_str_z(&text), text.n, JSON_REJECT_DUPLICATES, &where);
    json_t *first = json_is_array(root) ? json_array_get(root, 0) : root;
    if (root == NULL)
        st = SM_FAIL(err, SM_BADINPUT, "%s: line %d, column %d: %s", path, where.line, where.column, where.text);
    else if (!json_is_object(first))
        st = SM_FAIL(err, SM_BADINPUT, "%s: wanted an object, or a list of one", path);
    else
        *out = json_incref(first);
    json_decref(root);
done:
    sm_str_free(&text);
    sm_free(path);
    return st;
}

static const char *text_of(const json_t *o, const char *key) {
    return json_string_value(json_object_get(o, key));
}

/* A list of lists of whole numbers, which the compiler writes as text: "[[1, 1], [1, 64]]". */
static json_t *parse_lists(const json_t *o, const char *key) {
    json_t *v = json_object_get(o, key);
    json_t *lists = json_is_string(v) ? json_loads(json_string_value(v), 0, NULL) : json_incref(v);
    if (json_is_array(lists) && json_array_size(lists) > 0)
        return lists;
    json_decref(lists);
    return NULL;
}

static int64_t number_at(const json_t *lists, size_t i, size_t k) {
    return json_integer_value(json_array_get(json_array_get(lists, i), k));
}

static size_t length_at(const json_t *lists, size_t i) {
    return json_array_size(json_array_get(lists, i));
}

/* Bounds or rows of one input, when its schema has them. */
static sm_status read_flex(compiled *c, const json_t *in, const char *func) {
    sm_arena *a = c->r.g->arena;
    json_t *range = parse_lists(in, "shapeRange"), *shapes = parse_lists(in, "enumeratedShapes");
    const char *name = sm_arena_strdup(a, text_of(in, "name") == NULL ? "" : text_of(in, "name"));
    const char *of = sm_arena_strdup(a, func);
    sm_status st = name == NULL || of == NULL ? SM_NOMEM(c->err) : SM_OK;
    size_t rank = shapes != NULL ? length_at(shapes, 0) : json_array_size(range), n = json_array_size(shapes);
    if (st != SM_OK || (range == NULL && shapes == NULL))
        goto done;
    bool good = rank <= SM_MAX_RANK && n <= 65536;
    for (size_t i = 0; i < n && good; i++)
        good = length_at(shapes, i) == rank;
    for (size_t i = 0; shapes == NULL && i < rank && good; i++)
        good = length_at(range, i) == 2;
    if (!good) {
        st = SM_FAIL(c->err, SM_BADINPUT, "metadata.json: input '%s': its flexible shapes make no sense", name);
        goto done;
    }
    sm_flex_input f = {.func = sm_sv_of(of), .name = sm_sv_of(name), .rank = (int)rank, .n_rows = (int)n};
    f.rows = sm_arena_alloc_n(a, n * rank, sizeof *f.rows);
    if (f.rows == NULL || !SM_GROW(&c->flex)) {
        st = SM_NOMEM(c->err);
        goto done;
    }
    for (size_t i = 0; i < n * rank; i++)
        f.rows[i] = number_at(shapes, i / rank, i % rank);
    for (size_t i = 0; shapes == NULL && i < rank; i++) {
        f.lo[i] = number_at(range, i, 0);
        f.hi[i] = number_at(range, i, 1);
        f.hi[i] = f.hi[i] < 0 || f.hi[i] >= INT32_MAX ? -1 : f.hi[i];
    }
    c->flex.v[c->flex.n++] = f;
done:
    json_decref(range);
    json_decref(shapes);
    return st;
}

static sm_status read_schemas(compiled *c) {
    const json_t *in, *f;
    size_t i, k;
    json_array_foreach(json_object_get(c->meta, "inputSchema"), i, in) SM_TRY(read_flex(c, in, ""));
    json_array_foreach(json_object_get(c->meta, "functions"), k, f) {
        json_array_foreach(json_object_get(f, "inputSchema"), i, in)
            SM_TRY(read_flex(c, in, text_of(f, "name") == NULL ? "" : text_of(f, "name")));
    }
    return SM_OK;
}

static sm_status copy_text(sm_package *pkg, const char *s, const char **out, sm_err *err) {
    *out = sm_arena_strdup(pkg->graph->arena, s == NULL ? "" : s);
    return *out == NULL ? SM_NOMEM(err) : SM_OK;
}

/* What metadata.json says of the model as a whole. */
static sm_status read_facts(sm_package *pkg, const json_t *meta, sm_err *err) {
    const json_t *user = json_object_get(meta, "userDefinedMetadata"), *v;
    const char *key;
    SM_TRY(copy_text(pkg, text_of(meta, "shortDescription"), &pkg->short_description, err));
    SM_TRY(copy_text(pkg, text_of(meta, "version"), &pkg->version, err));
    SM_TRY(copy_text(pkg, text_of(meta, "author"), &pkg->author, err));
    SM_TRY(copy_text(pkg, text_of(meta, "license"), &pkg->license, err));
    if (text_of(meta, "defaultFunctionName") != NULL)
        SM_TRY(copy_text(pkg, text_of(meta, "defaultFunctionName"), &pkg->default_function, err));
    pkg->spec_version = (int)json_integer_value(json_object_get(meta, "specificationVersion"));
    pkg->meta = sm_arena_alloc_n(pkg->graph->arena, json_object_size(user), sizeof *pkg->meta);
    if (pkg->meta == NULL)
        return SM_NOMEM(err);
    json_object_foreach((json_t *)(uintptr_t)user, key, v) {
        sm_pkg_kv *kv = &pkg->meta[pkg->n_meta];
        if (!json_is_string(v))
            continue;
        SM_TRY(copy_text(pkg, key, &kv->key, err));
        SM_TRY(copy_text(pkg, json_string_value(v), &kv->value, err));
        pkg->n_meta++;
    }
    return SM_OK;
}

/* ------------------------------------------------------------------ the program */

static sm_status resolve_blob(void *ctx, sm_sv path, uint64_t offset, sm_dtype t, int rank, const int64_t *dims,
                              sm_tensor *out, sm_err *err) {
    compiled *c = ctx;
    const sm_blobfile *f = NULL;
    uint64_t n = 1;
    char ref[512];
    if (path.n >= sizeof ref || memchr(path.p, 0, path.n) != NULL)
        return SM_FAIL(err, SM_BADINPUT, "weight file %s", sm_quote(path.p, path.n));
    memcpy(ref, path.p, path.n);
    ref[path.n] = 0;
    for (int a = 0; a < rank; a++) {
        if (dims[a] < 0 || (dims[a] != 0 && n > (UINT64_C(1) << 40) / (uint64_t)dims[a]))
            return SM_FAIL(err, SM_BADINPUT, "a value of too many elements");
        n *= (uint64_t)dims[a];
    }
    SM_TRY(sm_pkg_find_blob(&c->r, ref, &f, err));
    return sm_blobfile_get(f, offset, t, n, &out->part[SM_PART_DATA], err);
}

/* Weights of constexpr ops become encoded constants, as in packages. */
static sm_status fold(void *ctx, sm_builder *b, sm_op op, const char *name, sm_value *const *in, sm_value **out,
                      sm_err *err) {
    compiled *c = ctx;
    const sm_op_row *row = sm_op_row_of(op);
    sm_pkg_operand args[SM_MAX_SLOTS];
    int n = 0;
    for (int i = 0; i < row->n_slots; i++)
        if (in[i] != NULL)
            args[n++] = (sm_pkg_operand){row->slot[i].name, NULL, in[i]};
    return sm_pkg_read_constexpr(&c->r, b, op, name, args, n, out, err);
}

static sm_status keep_labels(void *ctx, const sm_sv *label, size_t n, sm_err *err) {
    sm_package *pkg = ((compiled *)ctx)->r.pkg;
    sm_sv *kept = sm_arena_alloc_n(pkg->graph->arena, n, sizeof *kept);
    if (kept == NULL)
        return SM_NOMEM(err);
    for (size_t i = 0; i < n; i++)
        kept[i] = label[i];
    pkg->classes = kept;
    pkg->n_classes = n;
    return SM_OK;
}

/* dir's program into the package's graph, its functions' names after `prefix`. */
static sm_status read_program(sm_package *pkg, sm_pkg_owner *own, const char *dir, const char *prefix, sm_err *err) {
    compiled c = {.r = {.pkg = pkg, .g = pkg->graph, .own = own, .model_dir = dir}, .err = err};
    sm_parse_opts o = {.into = pkg->graph,
                       .prefix = prefix,
                       .foreign = true,
                       .blob = resolve_blob,
                       .fold = fold,
                       .labels = keep_labels,
                       .ctx = &c};
    sm_mapfile map = {0};
    sm_graph *g;
    size_t before = own->blobs.n;
    sm_status st;
    char *path = sm_path_join(dir, "model.mil");
    SM_TRY_DONE(path == NULL ? SM_NOMEM(err) : SM_OK);
    c.r.const_of = sm_map_new(1024);
    SM_TRY_DONE(c.r.const_of == NULL ? SM_NOMEM(err) : SM_OK);
    SM_TRY_DONE(load_meta(dir, &c.meta, err));
    SM_TRY_DONE(read_schemas(&c));
    SM_TRY_DONE(sm_mapfile_open(path, &map, err));
    SM_TRY_DONE(map.n > TEXT_LIMIT
                    ? SM_FAIL(err, SM_UNSUPPORTED, "%s: more than %zu MiB of program", path, TEXT_LIMIT >> 20)
                    : SM_OK);
    pkg->model_bytes += map.n;
    o.flex = c.flex.v;
    o.n_flex = (int)c.flex.n;
    st = sm_graph_parse_with((sm_sv){(const char *)map.p, map.n}, path, &o, &g, err);
    for (size_t i = before; i < own->blobs.n; i++) /* another part's weights have the same name in its own folder */
        own->blobs.v[i]->ref[0] = 0;
done:
    json_decref(c.meta);
    sm_map_free(&c.r.const_of);
    sm_free(c.r.consts.v);
    sm_free(c.flex.v);
    sm_mapfile_close(&map);
    sm_free(path);
    return st;
}

/* ------------------------------------------------------------------ the whole */

/* Function <prefix>main, or the only one of that prefix. */
static sm_func *part_function(const sm_graph *g, const char *prefix) {
    char name[64];
    size_t n = strlen(prefix);
    snprintf(name, sizeof name, "%smain", prefix);
    sm_func *f = sm_graph_func(g, name);
    for (int i = 0, found = 0; f == NULL && i < g->n_funcs; i++)
        if (strncmp(g->funcs[i]->name, prefix, n) == 0 && ++found == 1 && i + 1 == g->n_funcs)
            return g->funcs[i];
    return f;
}

/* Reads dir/model0, model1 .., nested pipelines in their place. */
static sm_status read_parts(sm_package *pkg, sm_pkg_owner *own, const char *dir, const char *before, sm_func **parts,
                            int *n, int depth, sm_err *err) {
    for (int i = 0; i < PARTS_MAX; i++) {
        char name[24], prefix[64];
        snprintf(name, sizeof name, "model%d", i);
        if (!inside(dir, name))
            return SM_OK;
        char *part = sm_path_join(dir, name);
        if (part == NULL)
            return SM_NOMEM(err);
        snprintf(prefix, sizeof prefix, "%.32spart%d.", before, *n);
        sm_status st = SM_OK;
        if (inside(part, "model0") && depth < 4)
            st = read_parts(pkg, own, part, before, parts, n, depth + 1, err);
        else if (!inside(part, "model.mil"))
            st =
                SM_FAIL(err, SM_UNSUPPORTED, "%s: wanted an ML Program (model.mil), found another kind of model", part);
        else if (*n >= PARTS_MAX)
            st = SM_FAIL(err, SM_BADINPUT, "a pipeline of more than %d parts", PARTS_MAX);
        else if ((st = read_program(pkg, own, part, prefix, err)) == SM_OK) {
            parts[*n] = part_function(pkg->graph, prefix);
            if (parts[(*n)++] == NULL)
                st = SM_FAIL(err, SM_BADINPUT, "%s: which of its functions is called is not said", part);
        }
        sm_free(part);
        SM_TRY(st);
    }
    return SM_OK;
}

static sm_status read_pipeline(sm_package *pkg, sm_pkg_owner *own, const json_t *meta, const char *prefix,
                               sm_err *err) {
    const json_t *outs = json_object_get(meta, "outputSchema"), *o;
    sm_func *parts[PARTS_MAX], *f;
    const char **names = sm_alloc_n(json_array_size(outs) + 1, sizeof *names);
    int n = 0, n_names = 0;
    size_t i;
    sm_status st = names == NULL ? SM_NOMEM(err) : read_parts(pkg, own, pkg->path, prefix, parts, &n, 0, err);
    if (st == SM_OK && n == 0)
        st = SM_FAIL(err, SM_BADINPUT, "a pipeline without parts");
    json_array_foreach(outs, i, o) {
        const char *name = text_of(o, "name");
        if (name != NULL && names != NULL)
            names[n_names++] = name;
    }
    if (st == SM_OK) {
        sm_chain c = {.parts = parts, .n_parts = n, .outputs = names, .n_outputs = n_names};
        c.name = sm_arena_printf(pkg->graph->arena, "%smain", prefix);
        st = c.name == NULL ? SM_NOMEM(err) : sm_func_chain(pkg->graph, &c, &f, err);
    }
    if (st == SM_OK) {
        pkg->n_parts = n;
        pkg->default_function = f->name;
    }
    sm_free((void *)names);
    return st;
}

/* What is not said anywhere: the version that the functions need, the function that is called.  first: the number of its
 * functions in the graph that was before. */
static sm_status fill_in(sm_package *pkg, const char *prefix, int first, sm_err *err) {
    const sm_graph *g = pkg->graph;
    const char *def = pkg->default_function, *name;
    if (g->n_funcs <= first)
        return SM_FAIL(err, SM_BADINPUT, "the program has no function");
    for (int i = first; i < g->n_funcs; i++) {
        if (g->funcs[i]->opset == 0)
            return SM_FAIL(err, SM_BADINPUT, "function '%s' is no Core ML program", g->funcs[i]->name);
        pkg->spec_version = SM_MAX(pkg->spec_version, g->funcs[i]->opset);
    }
    if (pkg->spec_version > SM_PKG_SPEC_MAX)
        return SM_FAIL(err, SM_UNSUPPORTED, "specification version: supported are %d to %d, found %d", SM_PKG_SPEC_MIN,
                       SM_PKG_SPEC_MAX, pkg->spec_version);
    name = pkg->n_parts > 0 ? def : sm_arena_printf(g->arena, "%s%s", prefix, def != NULL ? def : "main");
    if (name == NULL)
        return SM_NOMEM(err);
    if (sm_graph_func(g, name) == NULL && def != NULL)
        return SM_FAIL(err, SM_BADINPUT, "the default function '%s' does not exist", def);
    pkg->default_function = sm_graph_func(g, name) != NULL ? name : g->funcs[first]->name;
    return SM_OK;
}

static sm_status refuse(const char *path, sm_err *err) {
    SM_FAIL(err, SM_UNSUPPORTED, "%s: wanted a compiled ML Program (model.mil), found another kind of compiled model",
            path);
    return err == NULL ? SM_UNSUPPORTED
                       : sm_err_hint(err, "convert the source model again with convert_to=\"mlprogram\" and a "
                                          "deployment target of iOS15 or later");
}

sm_status sm_mlmodelc_read_into(const char *path, sm_graph *g, const char *prefix, sm_package **out, sm_err *err) {
    sm_package *pkg;
    sm_pkg_owner *own;
    json_t *meta = NULL;
    bool parts = inside(path, "model0");
    int first = g->n_funcs;
    sm_status st;
    *out = NULL;
    if (!parts && !inside(path, "model.mil"))
        return refuse(path, err);
    SM_TRY(sm_pkg_new_package(path, g, &pkg, &own, err));
    pkg->compiled = true;
    SM_TRY_DONE(load_meta(path, &meta, err));
    SM_TRY_DONE(read_facts(pkg, meta, err));
    SM_TRY_DONE(parts ? read_pipeline(pkg, own, meta, prefix, err) : read_program(pkg, own, path, prefix, err));
    SM_TRY_DONE(fill_in(pkg, prefix, first, err));
    *out = pkg;
done:
    json_decref(meta);
    return st;
}
