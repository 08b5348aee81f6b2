/* SPDX-License-Identifier: MIT
 *
 * load.c: opens what a path names and strings the rooms below together until it can run.
 */
#include "job/load.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "base/files.h"
#include "base/number.h"
#include "format/foreign.h"
#include "format/gguf.h"
#include "job/pkg_hints.h"
#include "pass/pass.h"

static void free_checkpoint(void *c) {
    sm_checkpoint *p = c;
    sm_checkpoint_free(&p);
}

/* ------------------------------------------------------------------ what it is */
enum kind { KIND_GGUF, KIND_PACKAGE };

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

/* The default function, else the first other one that is a model: those of a package share weights and differ in tokens per
 * call, context, or which rows' logits they give. */
sm_status sm_loaded_raise(sm_loaded *l, const char *path, sm_err *err) {
    sm_raised raised = {0}, first = {0};
    sm_raise_hints hints;
    sm_func *f = sm_graph_func(l->graph, l->pkg->default_function);
    if (!f)
        return SM_FAIL(err, SM_BADINPUT, "%s: its default function '%s' is missing", path, l->pkg->default_function);
    SM_TRY(sm_pkg_hints(l->pkg, &hints, err));
    SM_TRY(sm_pipeline_raise(f, &hints, &l->func, &raised, err));
    first = raised;
    for (int i = 0; i < l->graph->n_funcs && !l->func; i++) {
        sm_func *other = l->graph->funcs[i];
        if (strcmp(other->name, l->pkg->default_function) != 0)
            SM_TRY(sm_pipeline_raise(other, &hints, &l->func, &raised, err));
    }
    if (l->func)
        raised_facts(l, &raised);
    else
        snprintf(l->why, sizeof l->why, "%s", first.why);
    return SM_OK;
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
    st = kind == KIND_GGUF ? load_gguf(l, path, &o, err) : load_package(l, path, &o, err);
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
