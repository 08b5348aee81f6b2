/* SPDX-License-Identifier: MIT
 *
 * load.h: a path becomes something that can run: graph in row form, tokenizer, what the file says about itself.
 *
 *     GGUF         format -> checkpoint -> model -> row form
 *     Core ML      format -> graph as written -> raise -> row form, or a reason why not
 *
 * A package's tokenizer is the GGUF without tensors that `convert` put beside the model (sm_pkg_tokenizer).
 *
 * Ownership: an sm_loaded owns everything in it, files included.  Threads: immutable once loaded.
 */
#ifndef SM_LOAD_H
#define SM_LOAD_H

#include "format/mlpackage.h"
#include "model/model.h"
#include "text/tokenizer.h"

/* Names inside packages that convert writes. */
#define SM_PKG_TOKENIZER "smelt/tokenizer.gguf"
#define SM_PKG_META_NAME "smelt.name"
#define SM_PKG_META_ARCH "smelt.architecture"
#define SM_PKG_META_CTX "smelt.context"
#define SM_PKG_META_TRAINED "smelt.trained_context"
#define SM_PKG_META_PARAMS "smelt.parameters"
#define SM_PKG_META_KV "smelt.kv_cache_bytes"
#define SM_PKG_META_SOURCE "smelt.source.file"
#define SM_PKG_META_SHA "smelt.source.sha256"
#define SM_PKG_META_TEMPLATE "smelt.chat_template"
#define SM_PKG_META_GENERATION "smelt.generation_config"

#define SM_PKG_META_PART "smelt.part"
#define SM_PKG_META_TURNS "smelt.turns"
#define SM_PKG_META_MASKS "smelt.masks"
#define SM_PKG_META_STREAM "smelt.stream_scale" /* what the residual stream was multiplied with; absent: 1 */

/* What a model asks to be sampled with; negative: it does not say. */
typedef struct sm_gen_config {
    double temp, top_p, min_p;
    int32_t top_k;
    double repeat_penalty; /* above 0 when it says */
} sm_gen_config;

typedef struct sm_loaded {
    sm_checkpoint *ckpt; /* GGUF; NULL for packages */
    sm_package *pkg;     /* lives in graph; NULL for checkpoints */
    sm_graph *graph;     /* of func, and of the package; NULL when only text was asked for */
    sm_func *func;       /* row form; NULL when it could not be made: then why says what stood in the way */
    char why[768];
    sm_checkpoint *vocab; /* tokenizer's file when it is not ckpt */
    sm_tokenizer *tok;    /* NULL when there is no vocabulary, or none of a kind that is known here: tok_err */
    sm_err tok_err;
    sm_model_info info;
    sm_gen_config gen;
    int32_t pkg_ctx, pkg_seq; /* positions a package's caches hold, tokens per call; 0: no package or unknown */
    const char *format, *name;
    uint64_t file_bytes;
} sm_loaded;

typedef struct sm_load_opts {
    const char *tokenizer; /* another file to take the vocabulary from */
    bool text_only;        /* tokenizer only */
    bool as_written;       /* a package's functions stay as written; sm_loaded_raise makes func */
    bool graph_optional;   /* an architecture without family is no failure: func NULL and why */
} sm_load_opts;

sm_status sm_load(const char *path, const sm_load_opts *o, sm_loaded **out, sm_err *err);
void sm_loaded_free(sm_loaded **l); /* NULL-safe, nulls */
/* Finds the row form of a package loaded as written: func, or why not.  Its functions as written are gone then. */
sm_status sm_loaded_raise(sm_loaded *l, const char *path, sm_err *err);
/* SM_UNSUPPORTED with the reason when there is nothing that the engine can run. */
sm_status sm_loaded_runnable(const sm_loaded *l, const char *path, sm_err *err);
sm_status sm_loaded_tokenizer(const sm_loaded *l, const char *path, sm_err *err); /* fails as there is none */
enum { SM_CTX_USUAL = 4096 }; /* positions of a session that asks for no number, if the model holds so many */
/* The context to run with: what was asked for (0: the model's, at most `usual`, at least `need`), within what the model
 * or package holds.  SM_RESOURCE naming both numbers when it does not fit. */
sm_status sm_loaded_ctx(const sm_loaded *l, int64_t asked, int64_t usual, int64_t need, int32_t *ctx, sm_err *err);

#endif
