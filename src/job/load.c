/* SPDX-License-Identifier: MIT
 *
 * load.c: opens what a path names and strings the rooms below together until it can run.
 */
#include "job/load.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "base/files.h"
#include "base/number.h"
#include "format/foreign.h"
#include "format/gguf.h"
#include "job/part_list.h"
#include "job/pkg_hints.h"
#include "pass/pass.h"

static void free_checkpoint(void *c) {
    sm_checkpoint *p = c;
    sm_checkpoint_free(&p);
}

/* ------------------------------------------------------------------ what it is */
enum kind { KIND_GGUF, KIND_PACKAGE, KIND_PARTS };

static sm_status tell_kind(const char *path, enum kind *out, sm_err *err) {
    if (strncmp(path, "hf:", 3) == 0) {
        SM_FAIL(err, SM_UNSUPPORTED, "%s: models are not fetched here yet", path);
        sm_err_hint(err, "fetch it with another program and give the path of the .gguf file");
        return SM_UNSUPPORTED;
    }
    if (!sm_path_exists(path)) {
        SM_FAIL(err, SM_BADINPUT, "%s: no such file", path);
        sm_err_hint(err, "give the path of a .gguf file or an .mlpackage");
        return SM_BADINPUT;
    }
    if (sm_part_list_sniff(path)) {
        *out = KIND_PARTS;
        return SM_OK;
    }
    if (sm_mlpackage_sniff(path)) {
        *out = KIND_PACKAGE;
        return SM_OK;
    }
    if (sm_gguf_sniff(path)) {
        *out = KIND_GGUF;
        return SM_OK;
    }
    SM_TRY(sm_foreign_refuse(path, err));
    if (sm_path_is_dir(path)) {
        SM_FAIL(err, SM_UNSUPPORTED, "%s: a folder that is not a Core ML package: other folders are not read here yet",
                path);
        sm_err_hint(err, "give a .gguf file or an .mlpackage");
        return SM_UNSUPPORTED;
    }
    SM_FAIL(err, SM_BADINPUT, "%s: neither GGUF nor a Core ML package", path);
    sm_err_hint(err, "give a .gguf file or an .mlpackage");
    return SM_BADINPUT;
}

/* ------------------------------------------------------------------ tokenizer */
/* The vocabulary inside a package; *out NULL when it has none. */
static sm_status open_package_vocab(const sm_package *pkg, sm_checkpoint **out, sm_err *err) {
    char *item;
    *out = NULL;
    SM_TRY(sm_package_item_path(pkg, SM_PKG_TOKENIZER, &item, err));
    if (!item)
        return SM_OK;
    sm_status st = sm_gguf_open(item, out, err);
    sm_free(item);
    return st;
}

static sm_status open_vocab_file(const char *path, sm_checkpoint **out, sm_err *err) {
    enum kind kind;
    sm_package *pkg = NULL;
    SM_TRY(tell_kind(path, &kind, err));
    if (kind == KIND_GGUF)
        return sm_gguf_open(path, out, err);
    if (kind == KIND_PARTS)
        return SM_FAIL(err, SM_BADINPUT, "%s: a folder of parts is no file with a vocabulary", path);
    SM_TRY(sm_mlpackage_read(path, &pkg, err));
    sm_status st = open_package_vocab(pkg, out, err);
    sm_graph_free(&pkg->graph);
    if (st == SM_OK && !*out)
        st = SM_FAIL(err, SM_BADINPUT, "%s: the package holds no tokenizer", path);
    return st;
}

static sm_status load_tokenizer(sm_loaded *l, const sm_load_opts *o, sm_err *err) {
    if (o->tokenizer)
        SM_TRY(open_vocab_file(o->tokenizer, &l->vocab, err));
    else if (l->pkg)
        SM_TRY(open_package_vocab(l->pkg, &l->vocab, err));
    const sm_checkpoint *c = l->vocab ? l->vocab : l->ckpt;
    if (!c || !sm_tokenizer_present(c)) {
        if (o->tokenizer)
            return SM_FAIL(err, SM_BADINPUT, "%s: no vocabulary in it", o->tokenizer);
        return SM_OK;
    }
    sm_status st = sm_tokenizer_new(c, &l->tok, &l->tok_err);
    if (st != SM_OK && (st != SM_UNSUPPORTED || o->tokenizer)) {
        if (err)
            *err = l->tok_err;
        return st;
    }
    return SM_OK; /* numbers can be computed without text */
}

/* ------------------------------------------------------------------ GGUF */
static sm_status read_gen_config(const sm_checkpoint *c, sm_gen_config *g, sm_err *err) {
    int64_t k;
    SM_TRY(sm_meta_float(c, "general.sampling.temp", -1.0, &g->temp, err));
    SM_TRY(sm_meta_float(c, "general.sampling.top_p", -1.0, &g->top_p, err));
    SM_TRY(sm_meta_float(c, "general.sampling.min_p", -1.0, &g->min_p, err));
    SM_TRY(sm_meta_float(c, "general.sampling.penalty_repeat", -1.0, &g->repeat_penalty, err));
    SM_TRY(sm_meta_int(c, "general.sampling.top_k", -1, &k, err));
    g->top_k = k < 0 || k > INT32_MAX ? -1 : (int32_t)k;
    return SM_OK;
}

static sm_status load_gguf(sm_loaded *l, const char *path, const sm_load_opts *o, sm_err *err) {
    sm_sv name;
    SM_TRY(sm_gguf_open(path, &l->ckpt, err));
    l->format = l->ckpt->format;
    l->file_bytes = l->ckpt->file_bytes;
    SM_TRY(sm_meta_str(l->ckpt, "general.name", (sm_sv){"", 0}, &name, err));
    l->name = sm_arena_strndup(l->ckpt->arena, name.p, name.n);
    SM_TRY(read_gen_config(l->ckpt, &l->gen, err));
    if (o->text_only)
        return SM_OK;
    sm_status st = sm_model_build(l->ckpt, &l->graph, &l->info, err);
    if (st == SM_UNSUPPORTED && o->graph_optional && err) {
        snprintf(l->why, sizeof l->why, "%s", err->msg);
        sm_err_clear(err);
        return SM_OK;
    }
    SM_TRY(st);
    l->func = sm_graph_func(l->graph, "main");
    return SM_OK;
}

/* ------------------------------------------------------------------ packages */
static int64_t meta_number(const sm_package *p, const char *key) {
    const char *v = sm_package_meta(p, key);
    return v ? strtoll(v, NULL, 10) : 0;
}

/* One number of the generation config, which is a small flat JSON object of our own writing. */
static double config_number(const char *json, const char *key) {
    char quoted[32];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *p = json ? strstr(json, quoted) : NULL;
    return p ? sm_strtod(p + strlen(quoted), NULL) : -1.0;
}

static void package_facts(sm_loaded *l) {
    const sm_package *p = l->pkg;
    const char *name = sm_package_meta(p, SM_PKG_META_NAME), *arch = sm_package_meta(p, SM_PKG_META_ARCH);
    const char *gen = sm_package_meta(p, SM_PKG_META_GENERATION);
    l->name = name ? name : "";
    snprintf(l->info.architecture, sizeof l->info.architecture, "%s", arch ? arch : "");
    l->info.trained_ctx = (int32_t)meta_number(p, SM_PKG_META_TRAINED);
    l->info.n_params = (uint64_t)meta_number(p, SM_PKG_META_PARAMS);
    l->gen.temp = config_number(gen, "temperature");
    l->gen.top_p = config_number(gen, "top_p");
    l->gen.min_p = config_number(gen, "min_p");
    l->gen.top_k = (int32_t)config_number(gen, "top_k");
    l->gen.repeat_penalty = config_number(gen, "repetition_penalty");
    l->file_bytes = p->weight_bytes + p->model_bytes;
}

/* The stream as it was before it was made to fit fp16: models compare by their inner values, too. */
static sm_status unscale(sm_loaded *l, sm_err *err) {
    const char *text = sm_package_meta(l->pkg, SM_PKG_META_STREAM);
    double by = text ? sm_strtod(text, NULL) : 1;
    if (!(by > 0 && by < 1 && frexp(by, &(int){0}) == 0.5))
        return SM_OK;
    sm_status st = sm_pass_scale_stream(l->func, 1 / by, &l->func, err);
    if (st == SM_UNSUPPORTED) { /* it was rewritten since */
        sm_err_clear(err);
        return SM_OK;
    }
    return st;
}

static void raised_facts(sm_loaded *l, const sm_raised *r) {
    sm_kv_slot slots[1024];
    int n = sm_func_kv_slots(l->func, slots, 1024);
    l->info.n_layers = SM_MAX(n, 0);
    l->pkg_ctx = (int32_t)SM_MIN(r->ctx, INT32_MAX);
    l->pkg_seq = (int32_t)SM_MIN(r->seq_max, INT32_MAX);
    const sm_type *t = &l->func->body->out[0]->type;
    if (t->rank == 2 && sm_dim_known(t->dims[1]))
        l->info.vocab = (int32_t)t->dims[1];
}

/* A function of a package in row form: the one named, else the default, else the first other that can be had.  Those of a
 * package share weights and differ in tokens per call, context, or which rows' logits they give.  *out NULL: r says why the
 * first could not. */
static sm_status raise_any(const sm_package *pkg, const char *name, const char *path, sm_func **out, sm_raised *r,
                           sm_err *err) {
    sm_raise_hints hints;
    sm_raised other = {0};
    const char *first = name ? name : pkg->default_function;
    sm_func *f = sm_graph_func(pkg->graph, first);
    *out = NULL;
    if (!f)
        return SM_FAIL(err, SM_BADINPUT, "%s: its %sfunction '%s' is missing", path, name ? "" : "default ", first);
    SM_TRY(sm_pkg_hints(pkg, &hints, err));
    SM_TRY(sm_pipeline_raise(f, &hints, out, r, err));
    for (int i = 0; i < pkg->graph->n_funcs && !*out && !name; i++) {
        f = pkg->graph->funcs[i];
        if (strcmp(f->name, first) == 0)
            continue;
        SM_TRY(sm_pipeline_raise(f, &hints, out, &other, err));
        if (*out)
            *r = other;
    }
    return SM_OK;
}

sm_status sm_loaded_raise(sm_loaded *l, const char *path, sm_err *err) {
    sm_raised raised = {0};
    SM_TRY(raise_any(l->pkg, NULL, path, &l->func, &raised, err));
    if (l->func && !raised.part) {
        raised_facts(l, &raised);
        return unscale(l, err);
    }
    if (l->func)
        snprintf(l->why, sizeof l->why, "it is a part of a model: it takes %s and gives %s",
                 raised.rows_in > 0 ? "rows" : "token ids", raised.rows_out > 0 ? "rows" : "logits");
    else
        snprintf(l->why, sizeof l->why, "%s", raised.why);
    l->func = NULL;
    return SM_OK;
}

/* ------------------------------------------------------------------ parts */
static void free_graph(void *g) {
    sm_graph *p = g;
    sm_graph_free(&p);
}

/* One part's row form; its graph lives as long as l's. */
static sm_status load_part(sm_loaded *l, const sm_listed_part *p, sm_func **out, sm_raised *all, sm_err *err) {
    sm_package *pkg = NULL;
    sm_raised r = {0};
    SM_TRY(sm_mlpackage_read(p->path, &pkg, err));
    sm_status st = sm_graph_keep(l->graph, pkg->graph, free_graph, err);
    if (st != SM_OK) {
        sm_graph_free(&pkg->graph);
        return st;
    }
    l->file_bytes += pkg->weight_bytes + pkg->model_bytes;
    if (!l->pkg)
        l->pkg = pkg;
    SM_TRY(raise_any(pkg, p->function, p->path, out, &r, err));
    if (!*out && !l->why[0])
        snprintf(l->why, sizeof l->why, "%s: %s", sm_path_base(p->path), r.why);
    if (r.ctx > 0)
        all->ctx = all->ctx > 0 ? SM_MIN(all->ctx, r.ctx) : r.ctx;
    if (r.seq_max > 0)
        all->seq_max = all->seq_max > 0 ? SM_MIN(all->seq_max, r.seq_max) : r.seq_max;
    return SM_OK;
}

static sm_status load_parts(sm_loaded *l, const char *path, const sm_load_opts *o, sm_err *err) {
    sm_listed_part part[SM_PART_LIST_MOST];
    sm_func *func[SM_PART_LIST_MOST];
    sm_raised all = {0};
    int n;
    if (o->as_written) {
        SM_FAIL(err, SM_UNSUPPORTED, "%s: a folder of parts, each a package of its own", path);
        sm_err_hint(err, "give one of the packages in it");
        return SM_UNSUPPORTED;
    }
    SM_TRY(sm_graph_new(&l->graph, err));
    l->format = "mlpackage";
    SM_TRY(sm_part_list_read(path, l->graph->arena, part, &n, err));
    for (int i = 0; i < n; i++)
        SM_TRY(load_part(l, &part[i], &func[i], &all, err));
    uint64_t bytes = l->file_bytes;
    package_facts(l);
    l->file_bytes = bytes;
    if (o->text_only || l->why[0])
        return SM_OK;
    sm_status st = sm_pass_link(func, n, l->graph, &l->func, err);
    if (st == SM_UNSUPPORTED && err) {
        snprintf(l->why, sizeof l->why, "%s", err->msg);
        sm_err_clear(err);
        return SM_OK;
    }
    SM_TRY(st);
    raised_facts(l, &all);
    return unscale(l, err);
}

static sm_status load_package(sm_loaded *l, const char *path, const sm_load_opts *o, sm_err *err) {
    SM_TRY(sm_mlpackage_read(path, &l->pkg, err));
    l->graph = l->pkg->graph;
    l->format = l->pkg->compiled ? "mlmodelc" : "mlpackage";
    package_facts(l);
    return o->text_only || o->as_written ? SM_OK : sm_loaded_raise(l, path, err);
}

/* ------------------------------------------------------------------ */
sm_status sm_load(const char *path, const sm_load_opts *opts, sm_loaded **out, sm_err *err) {
    sm_load_opts o = opts ? *opts : (sm_load_opts){0};
    enum kind kind;
    sm_err own; /* graph_optional reads the message */
    sm_status st;
    err = err ? err : &own;
    *out = NULL;
    SM_TRY(tell_kind(path, &kind, err));
    sm_loaded *l = sm_alloc(sizeof *l);
    if (!l)
        return SM_NOMEM(err);
    l->name = "";
    l->gen = (sm_gen_config){-1.0, -1.0, -1.0, -1, -1.0};
    st = kind == KIND_GGUF    ? load_gguf(l, path, &o, err)
         : kind == KIND_PARTS ? load_parts(l, path, &o, err)
                              : load_package(l, path, &o, err);
    if (st == SM_BADINPUT && !err->hint[0])
        sm_err_hint(err, "compare its size and checksum with the original's, or fetch it again");
    SM_TRY_DONE(st);
    SM_TRY_DONE(load_tokenizer(l, &o, err));
    if (!l->name) {
        st = SM_NOMEM(err);
        goto done;
    }
    *out = l;
    l = NULL;
done:
    sm_loaded_free(&l);
    return st;
}

void sm_loaded_free(sm_loaded **pl) {
    sm_loaded *l = *pl;
    if (!l)
        return;
    sm_tokenizer_free(&l->tok);
    if (l->vocab)
        free_checkpoint(l->vocab);
    sm_graph_free(&l->graph);
    if (l->ckpt)
        free_checkpoint(l->ckpt);
    sm_free(l);
    *pl = NULL;
}

sm_status sm_loaded_runnable(const sm_loaded *l, const char *path, sm_err *err) {
    if (l->func)
        return SM_OK;
    SM_FAIL(err, SM_UNSUPPORTED, "%s: not recognised as a language model: %s", path,
            l->why[0] ? l->why : "only its text part was loaded");
    sm_err_hint(err, "`smelt predict` runs any program as it is written");
    return SM_UNSUPPORTED;
}

sm_status sm_loaded_tokenizer(const sm_loaded *l, const char *path, sm_err *err) {
    if (l->tok)
        return SM_OK;
    if (l->tok_err.code != SM_OK) {
        if (err)
            *err = l->tok_err;
        return l->tok_err.code;
    }
    SM_FAIL(err, SM_BADINPUT, "%s: it holds no vocabulary", path);
    sm_err_hint(err, "name a GGUF of the same model with --tokenizer");
    return SM_BADINPUT;
}

sm_status sm_loaded_ctx(const sm_loaded *l, int64_t asked, int64_t usual, int64_t need, int32_t *ctx, sm_err *err) {
    int64_t most = l->pkg_ctx > 0 ? l->pkg_ctx : l->info.trained_ctx > 0 ? l->info.trained_ctx : INT32_MAX / 2;
    int64_t n = asked > 0 ? asked : SM_MIN(SM_MAX(usual, need), most);
    if (l->pkg_ctx > 0 && n > l->pkg_ctx) {
        SM_FAIL(err, SM_RESOURCE, "context of %" PRId64 " wanted, the package holds %d", n, l->pkg_ctx);
        sm_err_hint(err, "convert the model again with -c %" PRId64, n);
        return SM_RESOURCE;
    }
    if (need > n) {
        SM_FAIL(err, SM_RESOURCE, "context length exceeded: wanted %" PRId64 " positions, there are %" PRId64, need, n);
        sm_err_hint(err, l->pkg_ctx > 0 ? "convert the model again with a larger -c, or give a shorter text"
                                        : "give a larger context with -c, or a shorter text");
        return SM_RESOURCE;
    }
    *ctx = (int32_t)n;
    return SM_OK;
}
