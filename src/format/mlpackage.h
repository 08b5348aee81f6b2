/* SPDX-License-Identifier: MIT
 *
 * mlpackage.h: Core ML packages (ML Programs) to and from graphs.
 *
 * Reading gives the functions as written, types by our own inference (declared shapes may be wrong in real files; each
 * '?' of an input becomes a symbol with the description's bounds).  constexpr_* ops over constants become encoded
 * constants (AFFINE, LUT): what they decode to is what the program says, nothing is decoded while reading.  Weights stay
 * mapped.  Names are kept.
 *
 * Writing takes functions in MIL form (lowered: no composites) and streams constants one slab of rows at a time through
 * tensor/transcode.h into the blob file; encoded constants are written as the constexpr op their encoding names.  The
 * output is a function of the input alone: no dates, and identifiers are derived from content, so that converting twice
 * gives identical bytes.  It appears whole or not at all.
 *
 * Specification versions: 6 iOS15 ... 9 iOS18, 10 iOS26.  Formats: docs/formats.
 */
#ifndef SM_MLPACKAGE_H
#define SM_MLPACKAGE_H

#include "base/files.h"
#include "graph/graph.h"
#include "tensor/transcode.h"

typedef struct sm_pkg_kv {
    const char *key, *value;
} sm_pkg_kv;

/* A file or directory beside the model inside the package (Data/<path>), listed in the manifest. */
typedef struct sm_pkg_item {
    const char *path; /* relative to Data/, e.g. "smelt/tokenizer.gguf" */
    const char *author, *description, *name;
    sm_bytes bytes; /* the file's content; a folder of a package that was read has none, and is copied when written */
} sm_pkg_item;

/* Layout of an image input's pixels in its tensor [1, channels, height, width], whose elements are 0 to 255: what scales
 * and shifts them is part of the program. */
typedef enum sm_pkg_colours { SM_PKG_GRAY, SM_PKG_RGB, SM_PKG_BGR } sm_pkg_colours;
typedef struct sm_pkg_image {
    const char *function, *input;
    sm_pkg_colours colours;
} sm_pkg_image;

typedef struct sm_package {
    const char *path;
    int spec_version;
    const char *default_function;
    const char *short_description, *version, *author, *license;
    sm_pkg_kv *meta; /* userDefined, in file order when read, sorted by key when written */
    size_t n_meta;
    sm_pkg_item *items; /* besides the model and its weights */
    size_t n_items;
    sm_pkg_image *images; /* inputs that are described as images, by function and name; not written */
    size_t n_images;
    sm_graph *graph; /* owns all of the above and the mapped files (sm_graph_keep) */
    uint64_t weight_bytes, model_bytes;
    int n_parts;          /* of a pipeline, whose programs were chained to one function; else 0 */
    bool compiled;        /* read from a .mlmodelc */
    const sm_sv *classes; /* labels of a classifier, in the order of its probabilities */
    size_t n_classes;
} sm_package;

/* Opens a package, a bare .mlmodel, a compiled .mlmodelc or a folder of such that are parts of one model.  *out lives in the graph's arena: free with
 * sm_graph_free(&pkg->graph). */
sm_status sm_mlpackage_read(const char *path, sm_package **out, sm_err *err);
/* The image that a function's input is described as; NULL when it is none. */
const sm_pkg_image *sm_package_image(const sm_package *p, const char *function, const char *input);
const char *sm_package_meta(const sm_package *p, const char *key); /* NULL when absent */
/* Full path of an extra item's file; heap, sm_free.  *out is NULL when there is none of that path. */
sm_status sm_package_item_path(const sm_package *p, const char *path, char **out, sm_err *err);
bool sm_mlpackage_sniff(const char *path); /* any of these */
/* Compiled models alone: model.mil, the program as text, with weights and metadata.json beside it. */
bool sm_mlmodelc_sniff(const char *path);

/* What happened to each tensor, as it is written (once per blob, shared ones once). */
typedef struct sm_pkg_tensor_report {
    const char *name;
    const sm_const *c;
    sm_carry how;
    sm_xerr err;
    uint64_t src_bytes, out_bytes;
} sm_pkg_tensor_report;
typedef struct sm_pkg_write_opts {
    void (*on_tensor)(void *ctx, const sm_pkg_tensor_report *r);
    /* A byte of a constant's source, when it and what lies before it were read; any thread, one at a time. */
    void (*on_source)(void *ctx, const void *p);
    /* After all constants, before the metadata's values are read: what they say may be known as late as this. */
    sm_status (*on_written)(void *ctx, sm_err *err);
    void *ctx;
    bool progress;
    int threads; /* that convert weights; 0: one per core.  The bytes are the same for any number. */
} sm_pkg_write_opts;
sm_status sm_mlpackage_write(const sm_package *p, const char *path, const sm_pkg_write_opts *o, sm_err *err);

#endif
