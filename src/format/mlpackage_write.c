/* SPDX-License-Identifier: MIT
 *
 * mlpackage_write.c: a package as a folder: weights while the functions are built, then model, items, manifest.
 *
 * Blobs stream into weight.bin as the functions meet their constants; the program, a few MiB, is held as messages until
 * it is packed.  Nothing in the output depends on time, place or chance: item identifiers are UUIDs made of the SHA-256
 * of what the item is, user metadata is sorted.  The folder appears under its name when everything is in it.
 */
#include <dirent.h>
#include <inttypes.h>
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "format/mlpackage_int.h"

#define MAX_FOLDERS 16 /* nested in an item */

/* ------------------------------------------------------------------ description */

static int by_key(const void *a, const void *b) {
    return strcmp((*(const sm_pkg_kv *const *)a)->key, (*(const sm_pkg_kv *const *)b)->key);
}

static char *text_or_empty(sm_pkg_writer *w, const char *s) {
    return sm_pkg_text(w, s == NULL ? "" : s);
}

static SmPb__Metadata *metadata(sm_pkg_writer *w) {
    const sm_package *p = w->p;
    SmPb__Metadata *m = SM_PKG_MSG(w, Metadata, metadata);
    sm_pkg_list sorted = {0}, entries = {0};
    m->short_description = text_or_empty(w, p->short_description);
    m->version = text_or_empty(w, p->version);
    m->author = text_or_empty(w, p->author);
    m->license = text_or_empty(w, p->license);
    for (size_t i = 0; i < p->n_meta; i++)
        sm_pkg_push(w, &sorted, &p->meta[i]);
    if (sorted.n > 1)
        qsort(sorted.v, sorted.n, sizeof *sorted.v, by_key);
    for (size_t i = 0; i < sorted.n; i++) {
        const sm_pkg_kv *kv = sorted.v[i];
        SmPb__TextEntry *e = SM_PKG_MSG(w, TextEntry, text_entry);
        e->key = sm_pkg_text(w, kv->key);
        e->value = text_or_empty(w, kv->value);
        sm_pkg_push(w, &entries, e);
    }
    m->user_defined = (SmPb__TextEntry **)entries.v;
    m->n_user_defined = entries.n;
    return m;
}

/* One function is called main and described at the top, as every version has it; several have descriptions of their
 * own. */
static SmPb__ModelDescription *description(sm_pkg_writer *w, const sm_pkg_list *functions, bool multi) {
    SmPb__ModelDescription *d = SM_PKG_MSG(w, ModelDescription, model_description);
    SmPb__Metadata *m = metadata(w);
    d->metadata = m;
    if (multi) {
        d->functions = (SmPb__FunctionDescription **)functions->v;
        d->n_functions = functions->n;
        d->default_function = text_or_empty(w, w->p->default_function);
    } else if (functions->n == 1) {
        const SmPb__FunctionDescription *f = functions->v[0];
        d->input = f->input;
        d->n_input = f->n_input;
        d->output = f->output;
        d->n_output = f->n_output;
        d->state = f->state;
        d->n_state = f->n_state;
    }
    return d;
}

/* ------------------------------------------------------------------ model */

static sm_status check_functions(const sm_package *p, bool *multi, sm_err *err) {
    const sm_graph *g = p->graph;
    if (p->spec_version < SM_PKG_SPEC_MIN || p->spec_version > SM_PKG_SPEC_MAX)
        return SM_FAIL(err, SM_UNSUPPORTED, "specification version: supported are %d to %d, found %d", SM_PKG_SPEC_MIN,
                       SM_PKG_SPEC_MAX, p->spec_version);
    if (g->n_funcs == 0)
        return SM_FAIL(err, SM_BADINPUT, "the graph has no function");
    for (int i = 0; i < g->n_funcs; i++)
        if (sm_graph_func(g, g->funcs[i]->name) != g->funcs[i])
            return SM_FAIL(err, SM_BADINPUT, "two functions are called '%s'", g->funcs[i]->name);
    *multi = p->spec_version >= 9 && (g->n_funcs > 1 || strcmp(g->funcs[0]->name, "main") != 0);
    if (g->n_funcs > 1 && !*multi)
        return SM_FAIL(err, SM_UNSUPPORTED, "several functions came with specification version 9, the target is %d",
                       p->spec_version);
    if (*multi && (p->default_function == NULL || sm_graph_func(g, p->default_function) == NULL))
        return SM_FAIL(err, SM_BADINPUT, "the default function '%s' does not exist",
                       p->default_function == NULL ? "" : p->default_function);
    return SM_OK;
}

static sm_status build_model(sm_pkg_writer *w, SmPb__Model **out, sm_err *err) {
    const sm_graph *g = w->p->graph;
    sm_pkg_list entries = {0}, descs = {0};
    bool multi = false;
    SM_TRY(check_functions(w->p, &multi, err));
    for (int i = 0; i < g->n_funcs; i++) {
        const char *name = multi ? g->funcs[i]->name : "main";
        SmPb__FunctionEntry *e = SM_PKG_MSG(w, FunctionEntry, function_entry);
        SmPb__FunctionDescription *d;
        SmPb__Function *f;
        SM_TRY(sm_pkg_write_function(w, g->funcs[i], name, &f, &d, err));
        e->key = sm_pkg_text(w, name);
        e->value = f;
        sm_pkg_push(w, &entries, e);
        sm_pkg_push(w, &descs, d);
    }
    if (w->o != NULL && w->o->on_written != NULL)
        SM_TRY(w->o->on_written(w->o->ctx, err));
    SmPb__Program *p = SM_PKG_MSG(w, Program, program);
    p->version = 1;
    p->functions = (SmPb__FunctionEntry **)entries.v;
    p->n_functions = entries.n;
    SmPb__Model *m = SM_PKG_MSG(w, Model, model);
    SmPb__ModelDescription *d = description(w, &descs, multi);
    m->specification_version = w->p->spec_version;
    m->description = d;
    m->ml_program = p;
    *out = m;
    return w->oom ? SM_NOMEM(err) : SM_OK;
}

/* ------------------------------------------------------------------ manifest */

/* 128 bits of a hash in the shape of a UUID, version 8 (the application's own). */
static void uuid_of(const void *salt, size_t n_salt, const void *p, size_t n, char out[37]) {
    crypto_hash_sha256_state h;
    uint8_t d[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_init(&h);
    crypto_hash_sha256_update(&h, salt, n_salt);
    crypto_hash_sha256_update(&h, p, n);
    crypto_hash_sha256_final(&h, d);
    d[6] = (uint8_t)((d[6] & 0x0f) | 0x80);
    d[8] = (uint8_t)((d[8] & 0x3f) | 0x80);
    snprintf(out, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", d[0], d[1], d[2], d[3],
             d[4], d[5], d[6], d[7], d[8], d[9], d[10], d[11], d[12], d[13], d[14], d[15]);
}

/* Adds an item; its identifier hashes path and bytes. */
static bool add_item(json_t *items, const sm_pkg_item *it, sm_bytes content, char id[37]) {
    const uint8_t none = 0;
    uuid_of(it->path, strlen(it->path) + 1, content.n == 0 ? &none : content.p, content.n, id);
    json_t *o = json_pack("{s:s, s:s, s:s, s:s}", "author", it->author == NULL ? "" : it->author, "description",
                          it->description == NULL ? "" : it->description, "name",
                          it->name == NULL ? sm_path_base(it->path) : it->name, "path", it->path);
    return o != NULL && json_object_set_new(items, id, o) == 0;
}

static sm_status write_all(sm_outdir *dir, const char *rel, const void *p, size_t n, sm_err *err) {
    sm_outfile *f = NULL;
    SM_TRY(sm_outdir_file(dir, rel, &f, err));
    sm_status st = n == 0 ? SM_OK : sm_outfile_append(f, p, n, err);
    if (st == SM_OK)
        return sm_outfile_commit(&f, err);
    sm_outfile_abandon(&f);
    return st;
}

/* The manifest over the model's bytes; weights are told apart by the program that reads them. */
static sm_status write_manifest(sm_outdir *dir, const sm_package *p, sm_bytes model, sm_err *err) {
    static const sm_pkg_item m = {.path = SM_PKG_MODEL,
                                  .author = SM_PKG_AUTHOR,
                                  .description = "CoreML Model Specification",
                                  .name = "model.mlmodel"},
                             w = {.path = SM_PKG_WEIGHTS,
                                  .author = SM_PKG_AUTHOR,
                                  .description = "CoreML Model Weights",
                                  .name = "weights"};
    json_t *root = json_object(), *items = json_object();
    char root_id[37], id[37], *json = NULL;
    sm_str text = SM_STR_INIT;
    bool ok = root != NULL && items != NULL && add_item(items, &m, model, root_id) && add_item(items, &w, model, id);
    for (size_t i = 0; i < p->n_items && ok; i++)
        ok = add_item(items, &p->items[i], p->items[i].bytes, id);
    ok = ok && json_object_set_new(root, "fileFormatVersion", json_string("1.0.0")) == 0 &&
         json_object_set_new(root, "rootModelIdentifier", json_string(root_id)) == 0 &&
         json_object_set(root, "itemInfoEntries", items) == 0;
    if (ok)
        json = json_dumps(root, JSON_INDENT(4) | JSON_SORT_KEYS);
    if (json != NULL)
        sm_str_addf(&text, "%s\n", json);
    sm_status st = json == NULL || !sm_str_ok(&text)
                       ? SM_FAIL(err, SM_RESOURCE,
                                 "the manifest could not be made: out of memory, or text that is not "
                                 "UTF-8 in an item")
                       : write_all(dir, "Manifest.json", text.p, text.n, err);
    free(json);
    sm_str_free(&text);
    json_decref(items);
    json_decref(root);
    return st;
}

/* ------------------------------------------------------------------ items */

static sm_status check_items(const sm_package *p, sm_err *err) {
    for (size_t i = 0; i < p->n_items; i++) {
        const sm_pkg_item *it = &p->items[i];
        if (it->path == NULL || !sm_pkg_path_inside(it->path) || strcmp(it->path, SM_PKG_MODEL) == 0 ||
            strncmp(it->path, SM_PKG_WEIGHTS, sizeof SM_PKG_WEIGHTS - 1) == 0)
            return SM_FAIL(err, SM_BADINPUT, "item '%s': wanted a path of its own inside the package",
                           it->path == NULL ? "" : it->path);
        for (size_t k = 0; k < i; k++)
            if (strcmp(p->items[k].path, it->path) == 0)
                return SM_FAIL(err, SM_BADINPUT, "item '%s' is given twice", it->path);
    }
    return SM_OK;
}

/* A folder that an item of a read package names: file by file. */
static sm_status copy_folder(sm_outdir *dir, const char *from, const char *rel, int depth, sm_err *err) {
    DIR *d = depth > MAX_FOLDERS ? NULL : opendir(from);
    sm_status st = sm_outdir_mkdir(dir, rel, err);
    if (d == NULL)
        return st != SM_OK ? st : SM_FAIL(err, SM_BADINPUT, "cannot read folder '%s'", from);
    for (struct dirent *e; st == SM_OK && (e = readdir(d)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        char *src = sm_path_join(from, e->d_name), *to = sm_path_join(rel, e->d_name);
        sm_mapfile m;
        if (src == NULL || to == NULL)
            st = SM_NOMEM(err);
        else if (sm_path_is_dir(src))
            st = copy_folder(dir, src, to, depth + 1, err);
        else if ((st = sm_mapfile_open(src, &m, err)) == SM_OK) {
            st = write_all(dir, to, m.p, m.n, err);
            sm_mapfile_close(&m);
        }
        sm_free(src);
        sm_free(to);
    }
    closedir(d);
    return st;
}

static sm_status write_items(sm_outdir *dir, const sm_package *p, sm_err *err) {
    sm_status st = SM_OK;
    for (size_t i = 0; i < p->n_items && st == SM_OK; i++) {
        const sm_pkg_item *it = &p->items[i];
        char *rel = sm_path_join("Data", it->path), *from = NULL;
        if (rel == NULL)
            st = SM_NOMEM(err);
        if (st == SM_OK && it->bytes.p == NULL && p->path != NULL)
            st = sm_package_item_path(p, it->path, &from, err);
        if (st == SM_OK)
            st = from != NULL && sm_path_is_dir(from) ? copy_folder(dir, from, rel, 0, err)
                                                      : write_all(dir, rel, it->bytes.p, it->bytes.n, err);
        sm_free(rel);
        sm_free(from);
    }
    return st;
}

/* ------------------------------------------------------------------ the whole */

static void count_const(const sm_value *v, bool *seen, uint64_t *sum) {
    size_t bytes[SM_PART_COUNT];
    if (v == NULL || v->cst == NULL || seen[v->id] || v->type.dtype == SM_STRING)
        return;
    seen[v->id] = true;
    if (sm_enc_sizes(&v->cst->want, v->cst->src.rank, v->cst->src.dims, bytes, NULL) == SM_OK)
        for (int k = 0; k < SM_PART_COUNT; k++)
            *sum += bytes[k];
}

/* Bytes of all constants that the functions use: the length of the progress bar. */
static uint64_t constant_bytes(const sm_graph *g) {
    bool *seen = sm_alloc_n((size_t)g->n_values + 1, sizeof *seen);
    uint64_t sum = 0;
    for (int i = 0; i < g->n_funcs && seen != NULL; i++)
        for (const sm_node *n = g->funcs[i]->body->first; n != NULL; n = n->next) {
            for (int k = 0; k < sm_op_row_of(n->op)->n_slots; k++)
                count_const(n->in[k], seen, &sum);
            for (int k = 0; k < n->n_list; k++)
                count_const(n->list[k], seen, &sum);
        }
    sm_free(seen);
    return sum;
}

/* Blobs and messages; *out is the packed model, heap. */
static sm_status write_program(sm_pkg_writer *w, sm_outdir *dir, uint8_t **out, size_t *n, sm_err *err) {
    sm_outfile *weights = NULL;
    SmPb__Model *m = NULL;
    sm_status st;
    SM_TRY_DONE(sm_outdir_file(dir, "Data/" SM_PKG_WEIGHTS "/weight.bin", &weights, err));
    SM_TRY_DONE(sm_blobout_start(&w->blobs, weights, err));
    SM_TRY_DONE(build_model(w, &m, err));
    SM_TRY_DONE(sm_blobout_finish(&w->blobs, err));
    SM_TRY_DONE(sm_outfile_commit(&weights, err));
    *n = protobuf_c_message_get_packed_size(&m->base);
    *out = sm_alloc(*n);
    if (*out == NULL)
        st = SM_NOMEM(err);
    else
        protobuf_c_message_pack(&m->base, *out);
done:
    sm_outfile_abandon(&weights);
    return st;
}

static sm_status write_package(sm_pkg_writer *w, const char *path, sm_err *err) {
    sm_outdir *dir = NULL;
    uint8_t *model = NULL;
    size_t n = 0;
    sm_status st;
    SM_TRY_DONE(check_items(w->p, err));
    SM_TRY_DONE(sm_outdir_new(path, "Manifest.json", &dir, err));
    SM_TRY_DONE(write_program(w, dir, &model, &n, err));
    SM_TRY_DONE(write_all(dir, "Data/" SM_PKG_MODEL, model, n, err));
    SM_TRY_DONE(write_items(dir, w->p, err));
    SM_TRY_DONE(write_manifest(dir, w->p, (sm_bytes){model, n}, err));
    sm_mem_sample();
    st = sm_outdir_commit(&dir, err);
done:
    sm_outdir_abandon(&dir);
    sm_free(model);
    return st;
}

sm_status sm_mlpackage_write(const sm_package *p, const char *path, const sm_pkg_write_opts *o, sm_err *err) {
    sm_pkg_writer w = {.p = p, .o = o};
    sm_progress bar;
    sm_status st;
    w.a = sm_arena_new();
    w.placed_of = sm_map_new(256);
    w.bytes_of = sm_map_new(256);
    if (o != NULL && o->progress) {
        sm_progress_start(&bar, "writing", "B", constant_bytes(p->graph));
        w.progress = &bar;
    }
    if (w.a == NULL || w.placed_of == NULL || w.bytes_of == NULL)
        st = SM_NOMEM(err);
    else
        st = write_package(&w, path, err);
    if (w.progress != NULL)
        sm_progress_end(w.progress);
    if (st != SM_OK)
        sm_err_prefix(err, "%s", path);
    sm_map_free(&w.placed_of);
    sm_map_free(&w.bytes_of);
    sm_free(w.placed.v);
    sm_free(w.records.v);
    sm_pool_free(&w.pool);
    sm_arena_free(&w.a);
    return st;
}
