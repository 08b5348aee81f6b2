/* SPDX-License-Identifier: MIT
 *
 * checkpoint.h: named encoded tensors and a tree of metadata; what format readers give to model families.
 *
 * Metadata keys keep the file's own spelling ("llama.block_count"; a JSON config arrives flattened with dots).
 * The dialect says whose names they are; model/names.def maps roles to names per dialect, so families see neither.
 *
 * Ownership: the checkpoint owns its tables and keeps the files mapped; tensors and metadata are views into it and live
 * as long as it does.  Threads: immutable once opened.
 */
#ifndef SM_CHECKPOINT_H
#define SM_CHECKPOINT_H

#include "base/str.h"
#include "tensor/encoding.h"

typedef enum sm_dialect { SM_DIALECT_GGUF, SM_DIALECT_HF } sm_dialect;

typedef enum sm_meta_type { SM_META_BOOL, SM_META_INT, SM_META_FLOAT, SM_META_STR, SM_META_ARRAY } sm_meta_type;

typedef struct sm_meta {
    sm_sv key;
    sm_meta_type type;
    sm_meta_type elem; /* of an ARRAY (never ARRAY: nested arrays are flattened into keys "k.0", "k.1") */
    sm_dtype raw;      /* stored width of numbers, for writers and inspect: int8..uint64, fp32, fp64, bool */
    union {
        int64_t i; /* BOOL, INT (uint64 above INT64_MAX is refused by readers) */
        double f;
        sm_sv s;
        struct {
            uint64_t n;
            const void *data;  /* numbers: n packed little-endian elements of `raw` */
            const sm_sv *strs; /* strings: n views */
        } a;
    } u;
} sm_meta;

typedef struct sm_checkpoint sm_checkpoint;
struct sm_checkpoint {
    sm_dialect dialect;
    const char *path;   /* as opened */
    const char *format; /* "gguf v3", ... for people */
    sm_tensor *tensors;
    size_t n_tensors;
    sm_meta *meta;
    size_t n_meta;
    uint64_t file_bytes;
    /* for readers: */
    sm_arena *arena;
    sm_map *tensor_by_name, *meta_by_key;
    void (*close)(void *owner);
    void *owner;
};
/* For readers: an empty checkpoint with its arena and a copy of `path`; the reader fills the rest, then indexes it. */
sm_status sm_checkpoint_new(sm_dialect dialect, const char *path, sm_checkpoint **out, sm_err *err);
void sm_checkpoint_free(sm_checkpoint **c); /* calls close(owner); NULL-safe, nulls */
/* Builds the maps once tensors and meta are filled; duplicate names are SM_BADINPUT. */
sm_status sm_checkpoint_index(sm_checkpoint *c, sm_err *err);

const sm_tensor *sm_checkpoint_tensor(const sm_checkpoint *c, const char *name); /* NULL when absent */
const sm_meta *sm_checkpoint_meta(const sm_checkpoint *c, const char *key);      /* NULL when absent */

/* Typed reads: absent gives the default and SM_OK; a wrong type is SM_BADINPUT naming file, key, wanted, found. */
sm_status sm_meta_int(const sm_checkpoint *c, const char *key, int64_t def, int64_t *out, sm_err *err);
sm_status sm_meta_float(const sm_checkpoint *c, const char *key, double def, double *out, sm_err *err);
sm_status sm_meta_bool(const sm_checkpoint *c, const char *key, bool def, bool *out, sm_err *err);
sm_status sm_meta_str(const sm_checkpoint *c, const char *key, sm_sv def, sm_sv *out, sm_err *err);
/* Element i of a numeric array. */
int64_t sm_meta_elem_int(const sm_meta *m, uint64_t i);
double sm_meta_elem_float(const sm_meta *m, uint64_t i);

#endif
