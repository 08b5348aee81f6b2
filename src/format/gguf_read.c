/* SPDX-License-Identifier: MIT
 *
 * gguf_read.c: GGUF bytes to a checkpoint.
 *
 * A cursor walks header, keys and tensor infos once; every read is checked against the end of the file, and every count
 * against the bytes that its elements need at least, so that memory asked for stays within a few times the file.
 * Tensor data is only looked at as ranges: inside the file, aligned, not overlapping.
 *
 * The owner (struct gguf) holds the mappings and the two tables; the checkpoint's arena holds string lists and the keys
 * of flattened nested arrays.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/files.h"
#include "base/number.h"
#include "format/gguf.h"
#include "format/gguf_int.h"

enum {
    KEY_MAX = 65535,       /* bytes of a key: the format's own limit */
    NAME_MAX_BYTES = 1024, /* of a tensor name; writers stay below 64 */
    DIMS_MAX = 4,
    ALIGNMENT_MAX = 65536,
    NEST_MAX = 4,       /* arrays within arrays */
    NEST_KEY_MAX = 256, /* bytes of a key whose arrays are nested */
    NEST_TOTAL = 65536, /* nested arrays in a file */
};

typedef struct metas {
    sm_meta *v;
    size_t n, cap;
} metas;

typedef struct tensors {
    sm_tensor *v;
    size_t n, cap;
} tensors;

typedef struct gguf {
    sm_mapfile *files;
    size_t n_files;
    metas meta;
    tensors tensor;
} gguf;

static void close_gguf(void *owner) {
    gguf *g = owner;
    for (size_t i = 0; i < g->n_files; i++)
        sm_mapfile_close(&g->files[i]);
    sm_free(g->files);
    sm_free(g->meta.v);
    sm_free(g->tensor.v);
    sm_free(g);
}

/* ---- cursor ---- */

typedef struct reader {
    const char *path;
    const uint8_t *p;
    size_t n, at;
    const char *what; /* field being read: "key", "tensor", "header" */
    sm_sv name;       /* its name, empty in the header */
    sm_arena *arena;
    metas *meta;
    tensors *tensor;
    size_t tensor0; /* index of this file's first tensor */
    size_t nested;  /* nested arrays met so far */
    uint32_t version;
    uint64_t n_tensors, n_keys;
    sm_err *err;
} reader;

/* The one shape of messages here: file, field, offset, then "wanted ..., found ...". */
static sm_status bad(reader *r, sm_status code, size_t at, const char *fmt, ...) SM_PRINTF(4, 5);
static sm_status bad(reader *r, sm_status code, size_t at, const char *fmt, ...) {
    char msg[384];
    va_list ap;
    va_start(ap, fmt);
    sm_vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    if (r->name.p == NULL)
        return SM_FAIL(r->err, code, "%s: %s at offset %zu: %s", r->path, r->what, at, msg);
    return SM_FAIL(r->err, code, "%s: %s %s at offset %zu: %s", r->path, r->what, sm_quote(r->name.p, r->name.n), at,
                   msg);
}

/* n bytes at the cursor, which moves past them. */
static sm_status take(reader *r, uint64_t n, const uint8_t **p) {
    if (n > r->n - r->at) {
        bad(r, SM_BADINPUT, r->at, "wanted %" PRIu64 " bytes, found %zu before the end of the file", n, r->n - r->at);
        return SM_BADINPUT;
    }
    *p = r->p + r->at;
    r->at += (size_t)n;
    return SM_OK;
}

static sm_status take_u32(reader *r, uint32_t *v) {
    const uint8_t *p;
    SM_TRY(take(r, 4, &p));
    memcpy(v, p, 4);
    return SM_OK;
}

static sm_status take_u64(reader *r, uint64_t *v) {
    const uint8_t *p;
    SM_TRY(take(r, 8, &p));
    memcpy(v, p, 8);
    return SM_OK;
}

static sm_status take_str(reader *r, sm_sv *out) {
    uint64_t n;
    const uint8_t *p;
    SM_TRY(take_u64(r, &n));
    SM_TRY(take(r, n, &p));
    *out = (sm_sv){(const char *)p, (size_t)n};
    return SM_OK;
}

/* Names of keys and tensors. */
static sm_status take_name(reader *r, const char *what, size_t max) {
    size_t at = r->at;
    sm_sv s;
    r->what = what;
    r->name = (sm_sv){NULL, 0};
    SM_TRY(take_str(r, &s));
    if (s.n == 0 || s.n > max)
        return bad(r, SM_BADINPUT, at, "wanted a name of 1 to %zu bytes, found %zu", max, s.n);
    r->name = s;
    return SM_OK;
}

/* ---- metadata ---- */

static sm_status add_meta(reader *r, const sm_meta *m) {
    if (!SM_GROW(r->meta))
        return SM_NOMEM(r->err);
    r->meta->v[r->meta->n++] = *m;
    return SM_OK;
}

/* What the checkpoint's types cannot hold: booleans other than 0 and 1, integers past int64. */
static sm_status check_numbers(reader *r, gguf_type type, size_t at, const uint8_t *p, uint64_t n) {
    for (uint64_t i = 0; type == GGUF_BOOL && i < n; i++)
        if (p[i] > 1)
            return bad(r, SM_BADINPUT, at + i, "wanted a boolean, 0 or 1, found %d", p[i]);
    for (uint64_t i = 0; type == GGUF_U64 && i < n; i++)
        if (p[8 * i + 7] > 127)
            return bad(r, SM_BADINPUT, at + 8 * i, "wanted an integer below 2^63, found %" PRIu64,
                       (uint64_t)sm_code_get(SM_UINT64, p, i));
    return SM_OK;
}

static sm_status take_scalar(reader *r, gguf_type type, sm_meta *m) {
    const gguf_type_row *row = &gguf_types[type];
    const uint8_t *p;
    size_t at = r->at;
    m->type = row->meta;
    m->raw = row->raw;
    if (type == GGUF_STRING)
        return take_str(r, &m->u.s);
    SM_TRY(take(r, (uint64_t)sm_dtype_bits(row->raw) / 8, &p));
    SM_TRY(check_numbers(r, type, at, p, 1));
    if (row->meta == SM_META_FLOAT)
        m->u.f = sm_elem_get(row->raw, p, 0);
    else
        m->u.i = sm_code_get(row->raw, p, 0);
    return SM_OK;
}

static sm_status take_strings(reader *r, uint64_t n, sm_meta *m) {
    sm_sv *v;
    if (n > (r->n - r->at) / 8)
        return bad(r, SM_BADINPUT, r->at, "wanted %" PRIu64 " strings, found %zu bytes before the end of the file", n,
                   r->n - r->at);
    v = sm_arena_alloc_n(r->arena, (size_t)n, sizeof *v);
    if (v == NULL)
        return SM_NOMEM(r->err);
    for (uint64_t i = 0; i < n; i++)
        SM_TRY(take_str(r, &v[i]));
    m->u.a.n = n;
    m->u.a.strs = v;
    return SM_OK;
}

static sm_status take_array(reader *r, sm_sv key, int depth);

/* The arrays of an array, as keys "k.0", "k.1"... */
static sm_status take_nested(reader *r, sm_sv key, uint64_t n, int depth) {
    size_t at = r->at;
    if (depth >= NEST_MAX || key.n > NEST_KEY_MAX || n > NEST_TOTAL - r->nested)
        return bad(r, SM_UNSUPPORTED, at,
                   "wanted at most %d arrays, nested at most %d deep under a key of at most %d bytes, found more",
                   NEST_TOTAL, NEST_MAX, NEST_KEY_MAX);
    r->nested += (size_t)n;
    for (uint64_t i = 0; i < n; i++) {
        char *name = sm_arena_printf(r->arena, "%.*s.%" PRIu64, (int)key.n, key.p, i);
        if (name == NULL)
            return SM_NOMEM(r->err);
        SM_TRY(take_array(r, sm_sv_of(name), depth + 1));
    }
    return SM_OK;
}

static sm_status take_array(reader *r, sm_sv key, int depth) {
    sm_meta m = {.key = key, .type = SM_META_ARRAY};
    uint32_t type;
    uint64_t n;
    size_t at = r->at;
    SM_TRY(take_u32(r, &type));
    if (type >= GGUF_TYPE_COUNT)
        return bad(r, SM_BADINPUT, at, "wanted an element type below %d, found %" PRIu32, GGUF_TYPE_COUNT, type);
    SM_TRY(take_u64(r, &n));
    if (type == GGUF_ARRAY && n > 0)
        return take_nested(r, key, n, depth);
    m.elem = gguf_types[type].meta;
    m.raw = gguf_types[type].raw;
    if (type == GGUF_ARRAY) { /* none of anything */
        m.elem = SM_META_INT;
        m.raw = SM_INT32;
    } else if (type == GGUF_STRING) {
        SM_TRY(take_strings(r, n, &m));
    } else {
        uint64_t size = (uint64_t)sm_dtype_bits(m.raw) / 8;
        const uint8_t *p;
        at = r->at;
        SM_TRY(take(r, n > UINT64_MAX / size ? UINT64_MAX : n * size, &p));
        SM_TRY(check_numbers(r, (gguf_type)type, at, p, n));
        m.u.a.n = n;
        m.u.a.data = p;
    }
    return add_meta(r, &m);
}

static sm_status take_key(reader *r) {
    sm_meta m = {0};
    uint32_t type;
    SM_TRY(take_name(r, "key", KEY_MAX));
    m.key = r->name;
    size_t at = r->at;
    SM_TRY(take_u32(r, &type));
    if (type >= GGUF_TYPE_COUNT)
        return bad(r, SM_BADINPUT, at, "wanted a value type below %d, found %" PRIu32, GGUF_TYPE_COUNT, type);
    if (type == GGUF_ARRAY)
        return take_array(r, m.key, 1);
    SM_TRY(take_scalar(r, (gguf_type)type, &m));
    return add_meta(r, &m);
}

static const sm_meta *find_meta(const metas *list, const char *key) {
    for (size_t i = 0; i < list->n; i++)
        if (sm_sv_is(list->v[i].key, key))
            return &list->v[i];
    return NULL;
}

/* An integer key that must lie in min..max; def when absent. */
static sm_status read_int(reader *r, const char *key, int64_t min, int64_t max, int64_t def, int64_t *out) {
    const sm_meta *m = find_meta(r->meta, key);
    *out = def;
    if (m == NULL)
        return SM_OK;
    if (m->type != SM_META_INT)
        return SM_FAIL(r->err, SM_BADINPUT, "%s: key '%s': wanted an integer, found another type", r->path, key);
    if (m->u.i < min || m->u.i > max)
        return SM_FAIL(r->err, SM_BADINPUT, "%s: key '%s': wanted %" PRId64 " to %" PRId64 ", found %" PRId64, r->path,
                       key, min, max, m->u.i);
    *out = m->u.i;
    return SM_OK;
}

/* ---- tensors ---- */

static sm_status unknown_type(reader *r, size_t at, uint32_t type) {
    const char *name = type <= INT32_MAX ? sm_ggml_type_name((int)type) : NULL;
    sm_status st;
    if (name != NULL)
        st = bad(r, SM_UNSUPPORTED, at, "wanted a type that smelt decodes, found %s (ggml type %" PRIu32 ")", name,
                 type);
    else
        st = bad(r, SM_UNSUPPORTED, at, "wanted a type that smelt decodes, found unknown ggml type %" PRIu32, type);
    sm_err_hint(
        r->err,
        "take this model in F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 or Q2_K to Q6_K (Q4_K_M and the like), "
        "or make one from its F16 file with llama-quantize");
    return st;
}

/* One tensor info.  The data offset waits in part[0].n until all infos are read and the start of the data is known. */
static sm_status take_tensor(reader *r) {
    sm_tensor t = {0};
    uint32_t n_dims, type;
    uint64_t offset;
    SM_TRY(take_name(r, "tensor", NAME_MAX_BYTES));
    t.name = r->name;
    size_t at = r->at;
    SM_TRY(take_u32(r, &n_dims));
    if (n_dims > DIMS_MAX)
        return bad(r, SM_BADINPUT, at, "wanted at most %d dimensions, found %" PRIu32, DIMS_MAX, n_dims);
    t.rank = (int)n_dims;
    for (uint32_t i = 0; i < n_dims; i++) {
        uint64_t d;
        at = r->at;
        SM_TRY(take_u64(r, &d));
        if (d == 0 || d > INT64_MAX)
            return bad(r, SM_BADINPUT, at, "wanted a dimension of 1 to 2^63 - 1, found %" PRIu64, d);
        t.dims[n_dims - 1 - i] = (int64_t)d;
    }
    at = r->at;
    SM_TRY(take_u32(r, &type));
    if (type > INT32_MAX || !sm_enc_of_ggml((int)type, &t.enc))
        return unknown_type(r, at, type);
    t.dtype = sm_enc_row_of(t.enc.id)->kind == SM_KIND_BLOCK ? SM_FP32 : t.enc.code;
    at = r->at;
    SM_TRY(take_u64(r, &offset));
    if (offset > r->n)
        return bad(r, SM_BADINPUT, at, "wanted a data offset inside the file of %zu bytes, found %" PRIu64, r->n,
                   offset);
    t.part[SM_PART_DATA].n = (size_t)offset;
    if (!SM_GROW(r->tensor))
        return SM_NOMEM(r->err);
    r->tensor->v[r->tensor->n++] = t;
    return SM_OK;
}

static int by_address(const void *a, const void *b) {
    const sm_tensor *x = *(const sm_tensor *const *)a, *y = *(const sm_tensor *const *)b;
    const uint8_t *p = x->part[SM_PART_DATA].p, *q = y->part[SM_PART_DATA].p;
    return p < q ? -1 : p > q;
}

static sm_status check_overlap(reader *r) {
    size_t n = r->tensor->n - r->tensor0;
    const sm_tensor **order = sm_alloc_n(n, sizeof *order);
    sm_status st = SM_OK;
    if (order == NULL)
        return SM_NOMEM(r->err);
    for (size_t i = 0; i < n; i++)
        order[i] = &r->tensor->v[r->tensor0 + i];
    if (n > 1)
        qsort(order, n, sizeof *order, by_address);
    for (size_t i = 1; i < n && st == SM_OK; i++) {
        sm_bytes a = order[i - 1]->part[SM_PART_DATA], b = order[i]->part[SM_PART_DATA];
        if (a.n > (size_t)(b.p - a.p))
            st = SM_FAIL(r->err, SM_BADINPUT,
                         "%s: tensor %s at offset %zu: wanted its %zu bytes to itself, found tensor %s at offset %zu",
                         r->path, sm_quote(order[i - 1]->name.p, order[i - 1]->name.n), (size_t)(a.p - r->p), a.n,
                         sm_quote(order[i]->name.p, order[i]->name.n), (size_t)(b.p - r->p));
    }
    sm_free(order);
    return st;
}

/* Offsets become views, now that the data's start is known. */
static sm_status place_tensors(reader *r) {
    int64_t alignment;
    SM_TRY(read_int(r, "general.alignment", 1, ALIGNMENT_MAX, GGUF_ALIGNMENT, &alignment));
    if ((alignment & (alignment - 1)) != 0)
        return SM_FAIL(r->err, SM_BADINPUT, "%s: key 'general.alignment': wanted a power of two, found %" PRId64,
                       r->path, alignment);
    size_t mask = (size_t)alignment - 1, start = (r->at + mask) & ~mask;
    for (size_t i = r->tensor0; i < r->tensor->n; i++) {
        sm_tensor *t = &r->tensor->v[i];
        size_t bytes[SM_PART_COUNT], offset = t->part[SM_PART_DATA].n;
        sm_status st = sm_enc_sizes(&t->enc, t->rank, t->dims, bytes, r->err);
        r->what = "tensor";
        r->name = t->name;
        if (st != SM_OK) {
            sm_err_prefix(r->err, "%s: tensor %s", r->path, sm_quote(t->name.p, t->name.n));
            return st;
        }
        if ((offset & mask) != 0)
            return bad(r, SM_BADINPUT, start, "wanted a data offset that is a multiple of %" PRId64 ", found %zu",
                       alignment, offset);
        if (start > r->n || offset > r->n - start || bytes[SM_PART_DATA] > r->n - start - offset)
            return bad(r, SM_BADINPUT, start + offset, "wanted %zu bytes of data, found %zu before the end of the file",
                       bytes[SM_PART_DATA], start + offset < r->n ? r->n - start - offset : 0);
        t->part[SM_PART_DATA] = (sm_bytes){r->p + start + offset, bytes[SM_PART_DATA]};
    }
    return check_overlap(r);
}

/* ---- one file ---- */

static sm_status take_header(reader *r) {
    const uint8_t *p;
    r->what = "header";
    SM_TRY(take(r, 4, &p));
    if (memcmp(p, "GGUF", 4) != 0)
        return bad(r, SM_BADINPUT, 0, "wanted the letters GGUF, found %s", sm_quote((const char *)p, 4));
    SM_TRY(take_u32(r, &r->version));
    if (r->version != 0 && (r->version & 0xFFFF) == 0) {
        bad(r, SM_UNSUPPORTED, 4, "wanted a little-endian file, found a big-endian one");
        return sm_err_hint(r->err, "take the little-endian file of this model"), SM_UNSUPPORTED;
    }
    if (r->version != 2 && r->version != GGUF_VERSION) {
        bad(r, SM_UNSUPPORTED, 4, "wanted GGUF version 2 or 3, found %" PRIu32, r->version);
        return sm_err_hint(r->err, "make the file again with a current converter"), SM_UNSUPPORTED;
    }
    SM_TRY(take_u64(r, &r->n_tensors));
    SM_TRY(take_u64(r, &r->n_keys));
    /* At least: name length, type, one byte of value; name length, rank, type, offset. */
    if (r->n_keys > (r->n - r->at) / 13)
        return bad(r, SM_BADINPUT, 16, "wanted %" PRIu64 " keys, found %zu bytes after the header", r->n_keys,
                   r->n - r->at);
    if (r->n_tensors > (r->n - r->at) / 24)
        return bad(r, SM_BADINPUT, 8, "wanted %" PRIu64 " tensors, found %zu bytes after the header", r->n_tensors,
                   r->n - r->at);
    return SM_OK;
}

static sm_status read_file(reader *r) {
    SM_TRY(take_header(r));
    for (uint64_t i = 0; i < r->n_keys; i++)
        SM_TRY(take_key(r));
    for (uint64_t i = 0; i < r->n_tensors; i++)
        SM_TRY(take_tensor(r));
    return place_tensors(r);
}

/* ---- split models ---- */

/* "dir/name-00001-of-00003.gguf": numbers of a part's file name; false for other names. */
static bool part_name(const char *path, size_t *prefix, int *no, int *of) {
    static const char shape[] = "-00000-of-00000.gguf";
    size_t n = strlen(path), len = sizeof shape - 1;
    if (n < len)
        return false;
    const char *s = path + n - len;
    for (size_t i = 0; i < len; i++)
        if (shape[i] == '0' ? s[i] < '0' || s[i] > '9' : s[i] != shape[i])
            return false;
    *prefix = n - len;
    *no = atoi(s + 1);
    *of = atoi(s + 10);
    return true;
}

static sm_status read_part(gguf *g, const reader *first, const char *path, int64_t no, int64_t of) {
    metas meta = {0};
    reader r = {.path = path,
                .arena = first->arena,
                .meta = &meta,
                .tensor = &g->tensor,
                .tensor0 = g->tensor.n,
                .err = first->err};
    int64_t v;
    sm_status st = sm_mapfile_open(path, &g->files[g->n_files], r.err);
    if (st != SM_OK) {
        sm_err_prefix(r.err, "part %" PRId64 " of %" PRId64 " of %s", no + 1, of, first->path);
        return st;
    }
    r.p = g->files[g->n_files].p;
    r.n = g->files[g->n_files++].n;
    SM_TRY_DONE(read_file(&r));
    SM_TRY_DONE(read_int(&r, "split.no", no, no, -1, &v));
    if (v == no)
        SM_TRY_DONE(read_int(&r, "split.count", of, of, -1, &v));
    if (v < 0)
        st = SM_FAIL(r.err, SM_BADINPUT, "%s: wanted part %" PRId64 " of %" PRId64 ", found a file that is not a part",
                     path, no + 1, of);
done:
    sm_free(meta.v);
    return st;
}

static sm_status read_other_parts(gguf *g, const reader *first, int64_t count) {
    int64_t no, total;
    size_t prefix;
    int name_no, name_of;
    reader r = *first;
    SM_TRY(read_int(&r, "split.no", 0, 65535, 0, &no));
    SM_TRY(read_int(&r, "split.tensors.count", 0, INT32_MAX, -1, &total));
    if (g->files == NULL)
        return SM_FAIL(r.err, SM_UNSUPPORTED, "%s: a model split into %" PRId64 " files cannot be read from memory",
                       r.path, count);
    bool named = part_name(r.path, &prefix, &name_no, &name_of);
    if (no != 0) {
        SM_FAIL(r.err, SM_BADINPUT, "%s: wanted the first of %" PRId64 " parts, found part %" PRId64, r.path, count,
                no + 1);
        if (named)
            sm_err_hint(r.err, "open %.*s-00001-of-%05d.gguf", (int)SM_MIN(prefix, (size_t)200), r.path, name_of);
        return SM_BADINPUT;
    }
    if (!named || name_no != 1 || name_of != count)
        return SM_FAIL(r.err, SM_BADINPUT,
                       "%s: wanted a file name that ends in -00001-of-%05" PRId64
                       ".gguf, by which the other parts are found",
                       r.path, count);
    sm_mapfile *files = sm_realloc(g->files, (size_t)count * sizeof *files);
    if (files == NULL)
        return SM_NOMEM(r.err);
    g->files = files;
    for (int64_t i = 1; i < count; i++) {
        char *path =
            sm_arena_printf(r.arena, "%.*s-%05" PRId64 "-of-%05" PRId64 ".gguf", (int)prefix, r.path, i + 1, count);
        if (path == NULL)
            return SM_NOMEM(r.err);
        SM_TRY(read_part(g, first, path, i, count));
    }
    if (total >= 0 && (uint64_t)total != g->tensor.n)
        return SM_FAIL(r.err, SM_BADINPUT,
                       "%s: key 'split.tensors.count': wanted %" PRId64 " tensors, found %zu in %" PRId64 " parts",
                       r.path, total, g->tensor.n, count);
    return SM_OK;
}

/* ---- open ---- */

/* Takes over g->files.  p is mem's bytes or the first file's. */
static sm_status open_bytes(gguf *g, const char *path, const uint8_t *p, size_t n, sm_checkpoint **out, sm_err *err) {
    sm_checkpoint *c;
    int64_t parts;
    sm_status st = sm_checkpoint_new(SM_DIALECT_GGUF, path, &c, err);
    if (st != SM_OK) {
        close_gguf(g);
        return st;
    }
    c->owner = g;
    c->close = close_gguf;
    reader r = {.path = c->path, .p = p, .n = n, .arena = c->arena, .meta = &g->meta, .tensor = &g->tensor, .err = err};
    SM_TRY_DONE(read_file(&r));
    SM_TRY_DONE(read_int(&r, "split.count", 0, 65535, 1, &parts));
    if (parts > 1)
        SM_TRY_DONE(read_other_parts(g, &r, parts));
    c->format = parts > 1 ? sm_arena_printf(c->arena, "gguf v%" PRIu32 ", %" PRId64 " files", r.version, parts)
                          : sm_arena_printf(c->arena, "gguf v%" PRIu32, r.version);
    if (c->format == NULL) {
        st = SM_NOMEM(err);
        goto done;
    }
    c->tensors = g->tensor.v;
    c->n_tensors = g->tensor.n;
    c->meta = g->meta.v;
    c->n_meta = g->meta.n;
    c->file_bytes = g->n_files == 0 ? n : 0;
    for (size_t i = 0; i < g->n_files; i++)
        c->file_bytes += g->files[i].n;
    SM_TRY_DONE(sm_checkpoint_index(c, err));
    *out = c;
    return SM_OK;
done:
    sm_checkpoint_free(&c);
    return st;
}

sm_status sm_gguf_open(const char *path, sm_checkpoint **out, sm_err *err) {
    gguf *g = sm_alloc(sizeof *g);
    *out = NULL;
    if (g == NULL)
        return SM_NOMEM(err);
    g->files = sm_alloc(sizeof *g->files);
    if (g->files == NULL) {
        close_gguf(g);
        return SM_NOMEM(err);
    }
    sm_status st = sm_mapfile_open(path, &g->files[0], err);
    if (st != SM_OK) {
        close_gguf(g);
        return st;
    }
    g->n_files = 1;
    return open_bytes(g, path, g->files[0].p, g->files[0].n, out, err);
}

sm_status sm_gguf_open_mem(const void *p, size_t n, const char *name, sm_checkpoint **out, sm_err *err) {
    gguf *g = sm_alloc(sizeof *g);
    *out = NULL;
    if (g == NULL)
        return SM_NOMEM(err);
    return open_bytes(g, name, p, n, out, err);
}

bool sm_gguf_sniff(const char *path) {
    char magic[4];
    FILE *f = sm_path_is_dir(path) ? NULL : fopen(path, "rb");
    if (f == NULL)
        return false;
    bool is = fread(magic, 1, 4, f) == 4 && memcmp(magic, "GGUF", 4) == 0;
    fclose(f);
    return is;
}
