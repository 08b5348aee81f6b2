/* SPDX-License-Identifier: MIT
 *
 * folder.c: a folder of packages that are parts of one language model.
 *
 *     DIR/meta.yaml                                    may say which packages (embeddings, lm_head); not needed
 *     DIR/x_embeddings.mlpackage                       ids -> hidden states
 *     DIR/x_FFN_chunk_01of02.mlpackage, 02of02 ..      hidden states -> hidden states, a cache each
 *     DIR/x_lm_head.mlpackage                          hidden states -> logits, or slices of them
 *
 * Packages may be compiled (.mlmodelc); of two of one name the package is taken.  What a part is for is told by its
 * interface, not by its name: who takes whole numbers and gives one float array begins, who gives what it takes stands in
 * the middle (in the order of their names), who does neither ends.  Of a part's functions the one with the fewest tokens
 * a call is taken: as a model they all say the same.  The parts become one function, main (chain.h).
 */
#include <dirent.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/chain.h"
#include "format/mlpackage_int.h"

enum { PARTS_MAX = 256 };
#define META_LIMIT ((size_t)1 << 20)

/* ------------------------------------------------------------------ the folder */

typedef struct listing {
    struct {
        char **v;
        size_t n, cap;
    } names;
} listing;

static void listing_free(listing *l) {
    for (size_t i = 0; i < l->names.n; i++)
        sm_free(l->names.v[i]);
    sm_free(l->names.v);
}

static bool is_part(const char *dir, const char *name) {
    char path[PATH_MAX];
    const char *ext = sm_path_ext(name);
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    return n < PATH_MAX && (strcmp(ext, ".mlpackage") == 0 || strcmp(ext, ".mlmodelc") == 0) && sm_path_is_dir(path);
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* a and b are one part, as package and compiled. */
static bool same_stem(const char *a, const char *b) {
    size_t n = strlen(a) - strlen(sm_path_ext(a));
    return n == strlen(b) - strlen(sm_path_ext(b)) && strncmp(a, b, n) == 0;
}

/* Sorted; a compiled part whose package is there is left out. */
static sm_status list_parts(const char *dir, listing *out, sm_err *err) {
    DIR *d = opendir(dir);
    if (d == NULL)
        return SM_FAIL(err, SM_BADINPUT, "%s: cannot be read", dir);
    sm_status st = SM_OK;
    for (struct dirent *e; st == SM_OK && (e = readdir(d)) != NULL;) {
        if (!is_part(dir, e->d_name))
            continue;
        char *copy = sm_path_join("", e->d_name);
        if (copy == NULL || !SM_GROW(&out->names)) {
            sm_free(copy);
            st = SM_NOMEM(err);
        } else {
            out->names.v[out->names.n++] = copy;
        }
    }
    closedir(d);
    if (out->names.n > 1)
        qsort(out->names.v, out->names.n, sizeof *out->names.v, by_name);
    size_t n = 0;
    for (size_t i = 0; i < out->names.n; i++) { /* .mlmodelc sorts before .mlpackage */
        if (i + 1 < out->names.n && same_stem(out->names.v[i], out->names.v[i + 1]))
            sm_free(out->names.v[i]);
        else
            out->names.v[n++] = out->names.v[i];
    }
    out->names.n = n;
    return st;
}

/* Without the heap, as all sniffing: two parts, or one and a manifest.  A folder with a list of its parts (smelt.json) is
 * its list's reader's. */
bool sm_folder_sniff(const char *path) {
    char meta[PATH_MAX];
    int n = snprintf(meta, sizeof meta, "%s/smelt.json", path), found = 0;
    if (n >= PATH_MAX || sm_path_exists(meta))
        return false;
    n = snprintf(meta, sizeof meta, "%s/meta.yaml", path);
    DIR *d = n < PATH_MAX && sm_path_is_dir(path) ? opendir(path) : NULL;
    if (d == NULL)
        return false;
    for (struct dirent *e; found < 2 && (e = readdir(d)) != NULL;)
        found += is_part(path, e->d_name);
    closedir(d);
    return found >= (sm_path_exists(meta) ? 1 : 2);
}

/* ------------------------------------------------------------------ meta.yaml */

/* The word behind "key:" in a line of its own, as file name without ending; "" when there is none. */
static void meta_word(const sm_str *text, const char *key, bool whole, char *out, size_t cap) {
    size_t n = strlen(key);
    out[0] = 0;
    for (const char *line = sm_str_z(text); line != NULL && *line != 0;) {
        const char *p = line + strspn(line, " \t"), *end = strchr(line, '\n');
        if (strncmp(p, key, n) == 0 && p[n] == ':') {
            p += n + 1;
            p += strspn(p, " \t\"'");
            size_t len = strcspn(p, " \t\r\n\"'");
            snprintf(out, cap, "%.*s", (int)SM_MIN(len, cap - 1), p);
            char *dot = strrchr(out, '.');
            if (!whole && dot != NULL)
                *dot = 0;
            return;
        }
        line = end == NULL ? NULL : end + 1;
    }
}

typedef struct manifest {
    char head[256], name[256]; /* "": it does not say */
} manifest;

static sm_status read_meta(const char *dir, manifest *out, sm_err *err) {
    sm_str text = SM_STR_INIT;
    char *path = sm_path_join(dir, "meta.yaml");
    *out = (manifest){0};
    if (path == NULL)
        return SM_NOMEM(err);
    sm_status st = sm_path_exists(path) ? sm_file_read(path, META_LIMIT, &text, err) : SM_OK;
    if (st == SM_OK) {
        meta_word(&text, "lm_head", false, out->head, sizeof out->head);
        meta_word(&text, "name", true, out->name, sizeof out->name);
    }
    sm_str_free(&text);
    sm_free(path);
    return st;
}

/* ------------------------------------------------------------------ what a part is for */

typedef enum place { PLACE_FIRST, PLACE_MIDDLE, PLACE_LAST } place;

static bool is_hidden(const sm_type *t) {
    return t->kind == SM_V_TENSOR && sm_dtype_kind(t->dtype) == 'f' && t->rank >= 3;
}

/* What two arrays of hidden states have in common: rank and width.  Tokens may be fewer: a prefill may give its last row.
 * Equal extents are one handle. */
typedef struct hidden {
    int64_t rank, width;
} hidden;

static sm_sv hidden_key(const sm_type *t, hidden *out) {
    *out = (hidden){t->rank, t->dims[t->rank - 1]};
    return (sm_sv){(const char *)out, sizeof *out};
}

/* Does the part give an array of hidden states that it takes? */
static sm_status gives_what_it_takes(const sm_func *f, bool *gives, sm_err *err) {
    const sm_block *b = f->body;
    hidden *keys = sm_alloc_n((size_t)b->n_in + 1, sizeof *keys), one;
    sm_map *taken = sm_map_new((size_t)b->n_in);
    sm_status st = keys == NULL || taken == NULL ? SM_NOMEM(err) : SM_OK;
    int64_t at;
    *gives = false;
    for (int i = 0; st == SM_OK && i < b->n_in; i++)
        if (is_hidden(&b->in[i]->type) && b->in[i]->type.dims[b->in[i]->type.rank - 1] != SM_DIM_UNKNOWN &&
            !sm_map_put(taken, hidden_key(&b->in[i]->type, &keys[i]), i, NULL, NULL))
            st = SM_NOMEM(err);
    for (int k = 0; st == SM_OK && k < b->n_out && !*gives; k++)
        *gives = is_hidden(&b->out[k]->type) && sm_map_get(taken, hidden_key(&b->out[k]->type, &one), &at);
    sm_map_free(&taken);
    sm_free(keys);
    return st;
}

static sm_status place_of(const sm_func *f, place *out, sm_err *err) {
    bool takes_hidden = false, gives;
    for (int i = 0; i < f->body->n_in; i++)
        takes_hidden = takes_hidden || is_hidden(&f->body->in[i]->type);
    SM_TRY(gives_what_it_takes(f, &gives, err));
    *out = !takes_hidden ? PLACE_FIRST : gives ? PLACE_MIDDLE : PLACE_LAST;
    return SM_OK;
}

/* Elements of a call's inputs, flexible extents as 1: fewer tokens, fewer elements. */
static double call_size(const sm_func *f) {
    double sum = 0;
    for (int i = 0; i < f->body->n_in; i++) {
        double n = f->body->in[i]->type.kind == SM_V_TENSOR;
        for (int a = 0; a < f->body->in[i]->type.rank; a++)
            n *= sm_dim_known(f->body->in[i]->type.dims[a]) ? (double)f->body->in[i]->type.dims[a] : 1.0;
        sum += n;
    }
    return sum;
}

/* Of the functions from number `first` on the one of the smallest call; the others are dropped. */
static sm_func *smallest(sm_graph *g, int first) {
    sm_func *best = NULL;
    for (int i = first; i < g->n_funcs; i++)
        if (best == NULL || call_size(g->funcs[i]) < call_size(best))
            best = g->funcs[i];
    for (int i = g->n_funcs; i-- > first;)
        if (g->funcs[i] != best)
            sm_graph_drop_func(g, g->funcs[i]);
    return best;
}

/* Does the part give floats that can be logits, not choices among them? */
static bool gives_floats_alone(const sm_func *f) {
    for (int i = 0; i < f->body->n_out; i++)
        if (sm_dtype_kind(f->body->out[i]->type.dtype) != 'f')
            return false;
    return f->body->n_out > 0;
}

/* ------------------------------------------------------------------ the whole */

typedef struct reading {
    sm_package *pkg;
    manifest m;
    sm_func *chain[PARTS_MAX]; /* in order of running */
    int n, n_first;            /* of those that begin */
    sm_func *last;
    bool last_named; /* by the manifest */
} reading;

static void take_last(reading *z, sm_func *f, const char *name) {
    size_t stem = strlen(name) - strlen(sm_path_ext(name));
    bool named = z->m.head[0] != 0 && strlen(z->m.head) == stem && strncmp(z->m.head, name, stem) == 0;
    bool better = z->last == NULL || (named && !z->last_named) ||
                  (named == z->last_named && gives_floats_alone(f) && !gives_floats_alone(z->last));
    if (!better) {
        sm_graph_drop_func(z->pkg->graph, f);
        return;
    }
    if (z->last != NULL)
        sm_graph_drop_func(z->pkg->graph, z->last);
    z->last = f;
    z->last_named = named;
}

static sm_status read_part(reading *z, const char *name, int number, sm_err *err) {
    sm_package *part;
    char prefix[24];
    sm_graph *g = z->pkg->graph;
    int first = g->n_funcs;
    char *path = sm_path_join(z->pkg->path, name);
    if (path == NULL)
        return SM_NOMEM(err);
    snprintf(prefix, sizeof prefix, "p%d.", number);
    sm_status st = sm_pkg_read_into(path, g, prefix, &part, err);
    sm_free(path);
    SM_TRY(st);
    z->pkg->spec_version = SM_MAX(z->pkg->spec_version, part->spec_version);
    z->pkg->weight_bytes += part->weight_bytes;
    z->pkg->model_bytes += part->model_bytes;
    z->pkg->compiled = part->compiled;
    sm_func *f = smallest(g, first);
    place where;
    SM_TRY(place_of(f, &where, err));
    if (where == PLACE_LAST) {
        take_last(z, f, name);
        return SM_OK;
    }
    if (z->n + 2 > PARTS_MAX)
        return SM_FAIL(err, SM_BADINPUT, "%s: more than %d parts", z->pkg->path, PARTS_MAX);
    int at = where == PLACE_FIRST ? z->n_first++ : z->n;
    memmove(z->chain + at + 1, z->chain + at, (size_t)(z->n - at) * sizeof *z->chain);
    z->chain[at] = f;
    z->n++;
    return SM_OK;
}

static sm_status finish(reading *z, sm_err *err) {
    sm_package *pkg = z->pkg;
    sm_func *f;
    if (z->n_first != 1)
        return SM_FAIL(err, SM_UNSUPPORTED,
                       "%s: wanted parts of one model, found %d packages that take no hidden states", pkg->path,
                       z->n_first);
    if (z->last != NULL)
        z->chain[z->n++] = z->last;
    const sm_chain c = {.name = "main", .parts = z->chain, .n_parts = z->n, .loose = true};
    SM_TRY(sm_func_chain(pkg->graph, &c, &f, err));
    pkg->default_function = f->name;
    pkg->n_parts = z->n;
    pkg->short_description = pkg->version = pkg->author = pkg->license = "";
    if (z->m.name[0] == 0)
        return SM_OK;
    pkg->meta = sm_arena_alloc(pkg->graph->arena, sizeof *pkg->meta);
    const char *name = sm_arena_strdup(pkg->graph->arena, z->m.name);
    if (pkg->meta == NULL || name == NULL)
        return SM_NOMEM(err);
    pkg->meta[0] = (sm_pkg_kv){"smelt.name", name};
    pkg->n_meta = 1;
    return SM_OK;
}

sm_status sm_folder_read_into(const char *path, sm_graph *g, sm_package **out, sm_err *err) {
    reading *z = sm_alloc(sizeof *z);
    listing l = {0};
    sm_pkg_owner *own;
    sm_status st;
    *out = NULL;
    if (z == NULL)
        return SM_NOMEM(err);
    SM_TRY_DONE(sm_pkg_new_package(path, g, &z->pkg, &own, err));
    SM_TRY_DONE(read_meta(path, &z->m, err));
    SM_TRY_DONE(list_parts(path, &l, err));
    for (size_t i = 0; i < l.names.n; i++)
        SM_TRY_DONE(read_part(z, l.names.v[i], (int)i, err));
    SM_TRY_DONE(finish(z, err));
    *out = z->pkg;
done:
    listing_free(&l);
    sm_free(z);
    return st;
}
