/* SPDX-License-Identifier: MIT
 *
 * mlpackage_int.h: what the files that read and write packages share.
 *
 *     mlpackage_read.c         manifest, files; the whole
 *     mlpackage_read_model.c   the model file: which kind, metadata, pipelines
 *     mlmodelc.c               the same for a compiled model, whose program is text
 *     folder.c                  a folder of packages that are parts of one model
 *     mlpackage_read_func.c    functions, blocks, ops -> nodes
 *     mlpackage_read_value.c   types and values -> constants
 *     mlpackage_read_cx.c      constexpr ops -> encoded constants
 *     mlpackage_write.c        files, manifest, metadata; the whole
 *     mlpackage_write_func.c   functions, blocks, nodes -> ops, interfaces
 *     mlpackage_write_value.c  types, immediate values, message memory
 *     mlpackage_write_blob.c   constants -> blobs, slab by slab
 */
#ifndef SM_MLPACKAGE_INT_H
#define SM_MLPACKAGE_INT_H

#include "base/log.h"
#include "base/threads.h"
#include "format/blobfile.h"
#include "format/coreml.pb-c.h"
#include "format/mlpackage.h"

#define SM_PKG_MODEL "com.apple.CoreML/model.mlmodel"
#define SM_PKG_WEIGHTS "com.apple.CoreML/weights"
#define SM_PKG_AUTHOR "com.apple.CoreML"
#define SM_PKG_BLOB_REF "@model_path/weights/weight.bin"

/* Element types of an interface's arrays, as the format numbers them. */
#define SM_PKG_ARRAY_FP16 65552
#define SM_PKG_ARRAY_FP32 65568
#define SM_PKG_ARRAY_FP64 65600
#define SM_PKG_ARRAY_INT8 131080
#define SM_PKG_ARRAY_INT32 131104

/* Colour spaces of an interface's images. */
enum { SM_PKG_SPACE_GRAY = 10, SM_PKG_SPACE_RGB = 20, SM_PKG_SPACE_BGR = 30, SM_PKG_SPACE_GRAY_FP16 = 40 };

enum { SM_PKG_SPEC_MIN = 6, SM_PKG_SPEC_MAX = 10 };

/* Relative, not empty, no "", "." or ".." between slashes: stays inside the folder that it is joined to. */
bool sm_pkg_path_inside(const char *path);

/* ------------------------------------------------------------------ reading */
typedef struct sm_pkg_blob {
    char *ref; /* as the program spells it; heap */
    sm_mapfile map;
    sm_blobfile file;
} sm_pkg_blob;

/* Files that constants and items borrow from; the graph keeps it. */
typedef struct sm_pkg_owner {
    struct {
        sm_pkg_blob **v;
        size_t n, cap;
    } blobs;
    struct {
        sm_mapfile *v;
        size_t n, cap;
    } maps;
} sm_pkg_owner;

/* The inputs that a description has, by name. */
typedef struct sm_pkg_features {
    SmPb__Feature **v;
    size_t n;
    sm_map *names; /* NULL: not looked at yet */
} sm_pkg_features;

typedef struct sm_pkg_reader {
    sm_package *pkg;
    sm_graph *g;
    sm_pkg_owner *own;
    const char *prefix;       /* before the functions' names in the graph; "": none */
    const char *model_dir;    /* folder of model.mlmodel; NULL: blobs only from memory */
    sm_bytes memory_blob;     /* with model_dir NULL */
    sm_arena *tmp;            /* the unpacked messages; lives while reading */
    sm_pkg_features features; /* of the function that is read, or was read last */
    sm_map *const_of;         /* name -> index into consts: functions share equal constants */
    struct {
        sm_value **v;
        size_t n, cap;
    } consts;
} sm_pkg_reader;

/* What sm_mlpackage_read does, into a graph: functions are called <prefix><name>.  Nothing is undone after a failure. */
sm_status sm_pkg_read_into(const char *path, sm_graph *g, const char *prefix, sm_package **out, sm_err *err);
sm_status sm_mlmodelc_read_into(const char *path, sm_graph *g, const char *prefix, sm_package **out, sm_err *err);
/* A model in parts, in a folder (folder.c). */
bool sm_folder_sniff(const char *path);
sm_status sm_folder_read_into(const char *path, sm_graph *g, sm_package **out, sm_err *err);
/* A package without content, in g; the graph keeps *own, where its files go. */
sm_status sm_pkg_new_package(const char *path, sm_graph *g, sm_package **out, sm_pkg_owner **own, sm_err *err);
/* Everything that the bytes of a model file say, into r->pkg and its graph. */
sm_status sm_pkg_read_model(sm_pkg_reader *r, const char *file, sm_bytes model, sm_err *err);
/* The whole, from bytes: for tests and fuzzing. */
sm_status sm_mlpackage_read_mem(const char *name, sm_bytes model, sm_bytes weights, sm_package **out, sm_err *err);

int sm_pkg_image_order(const void *a, const void *b); /* by function, then input */

/* A type; unknown extents are SM_DIM_UNKNOWN.  Types that are no tensor or state of tensor are refused. */
sm_status sm_pkg_read_type(const SmPb__ValueType *t, sm_type *out, sm_err *err);

/* A constant of the file: a dense tensor whose bytes are a view of a mapped blob or lie in the graph's arena, or text. */
typedef struct sm_pkg_value {
    sm_tensor t;       /* dtype SM_STRING: text */
    const sm_sv *strs; /* in the graph's arena */
    size_t n_str;
} sm_pkg_value;
sm_status sm_pkg_read_value(sm_pkg_reader *r, const SmPb__Value *v, sm_pkg_value *out, sm_err *err);
/* The file that a program calls `ref`, mapped at first use. */
sm_status sm_pkg_find_blob(sm_pkg_reader *r, const char *ref, const sm_blobfile **out, sm_err *err);
/* The graph's constant of this content: one that another function already has under this name, or a new one. */
sm_status sm_pkg_const(sm_pkg_reader *r, sm_builder *b, const char *name, const sm_pkg_value *v, sm_value **out,
                       sm_err *err);

/* Operand of an op: given in place, or by name. */
typedef struct sm_pkg_operand {
    const char *key;
    const SmPb__Value *inlined; /* NULL: by name */
    sm_value *named;
} sm_pkg_operand;
/* Tries to say what a constexpr op yields as one encoded constant; *out stays NULL when there is no such encoding, and
 * the op becomes a node. */
sm_status sm_pkg_read_constexpr(sm_pkg_reader *r, sm_builder *b, sm_op op, const char *name, const sm_pkg_operand *args,
                                int n_args, sm_value **out, sm_err *err);

/* Function `name` of model m; the graph's is called `as`. */
sm_status sm_pkg_read_function(sm_pkg_reader *r, const SmPb__Model *m, const char *name, const char *as,
                               const SmPb__Function *f, sm_err *err);

/* ------------------------------------------------------------------ writing */
typedef struct sm_pkg_list { /* of message pointers, in the writer's arena */
    void **v;
    size_t n, cap;
} sm_pkg_list;

/* One part of a constant in the file: what the program says of it. */
typedef struct sm_pkg_part {
    sm_dtype dtype; /* SM_NONE: absent */
    int rank;
    int64_t dims[SM_MAX_RANK + 2];
    bool blob;
    uint64_t record; /* of the blob */
    uint8_t *bytes;  /* of an immediate value; in the writer's arena */
} sm_pkg_part;

typedef struct sm_pkg_placed {
    sm_pkg_part part[SM_PART_COUNT];
} sm_pkg_placed;

typedef struct sm_pkg_writer {
    const sm_package *p;
    const sm_pkg_write_opts *o;
    sm_arena *a; /* messages, names */
    bool oom;    /* sticky: messages are built without a check per line */
    uint64_t scratch[64];
    sm_blobout blobs;
    sm_map *placed_of; /* source and wanted form -> index into placed */
    sm_map *bytes_of;  /* type and content of small dense blobs -> record */
    struct {
        sm_pkg_placed *v;
        size_t n, cap;
    } placed;
    struct {
        uint64_t *v;
        size_t n, cap;
    } records;
    sm_progress *progress; /* NULL: none */
    sm_pool *pool;         /* made for the first large constant that is not copied */
} sm_pkg_writer;

/* A zeroed message or text in the arena; after out of memory a scratch area (nothing of it is ever read). */
void *sm_pkg_new(sm_pkg_writer *w, size_t n);
void sm_pkg_push(sm_pkg_writer *w, sm_pkg_list *l, void *item);
char *sm_pkg_text(sm_pkg_writer *w, const char *s);
#define SM_PKG_MSG(w, Type, lower) ((SmPb__##Type *)sm_pkg_message((w), &sm_pb__##lower##__descriptor))
ProtobufCMessage *sm_pkg_message(sm_pkg_writer *w, const ProtobufCMessageDescriptor *d);

/* dims below 0 or symbolic are unknown. */
SmPb__ValueType *sm_pkg_tensor_type(sm_pkg_writer *w, sm_dtype t, int rank, const int64_t *dims);
SmPb__ValueType *sm_pkg_value_type(sm_pkg_writer *w, const sm_type *t);
SmPb__NamedType *sm_pkg_named_type(sm_pkg_writer *w, const char *name, SmPb__ValueType *t);
SmPb__Value *sm_pkg_string(sm_pkg_writer *w, const char *s);
SmPb__Value *sm_pkg_strings(sm_pkg_writer *w, const sm_sv *s, size_t n, bool scalar);
/* Immediate value of packed elements (dtype.h). */
SmPb__Value *sm_pkg_immediate(sm_pkg_writer *w, sm_dtype t, int rank, const int64_t *dims, const void *data);
SmPb__Value *sm_pkg_part_value(sm_pkg_writer *w, const sm_pkg_part *p);

/* Makes a constant's bytes and puts them where they belong, once per content; *out says where.  flat: the one-dimensional
 * parts of the iOS16 constexpr forms.  name NULL: nobody's constant, not reported. */
sm_status sm_pkg_place(sm_pkg_writer *w, const sm_const *c, const char *name, int opset, bool flat, sm_pkg_placed *out,
                       sm_err *err);

sm_status sm_pkg_write_function(sm_pkg_writer *w, const sm_func *f, const char *name, SmPb__Function **out,
                                SmPb__FunctionDescription **desc, sm_err *err);

#endif
