/* SPDX-License-Identifier: MIT
 *
 * mlpackage_read_value.c: types and values of a program, and the graph's constants made of them.
 *
 * Large values stay in the mapped weight file.  An immediate value is copied into the graph's arena in the layout of
 * tensor/dtype.h; which field of the message holds which type is the format's rule and is checked, because a wrong
 * field would silently give zeros.  Functions of one package share weights by naming the same blob: a constant with the
 * name and content of an earlier one is that one.
 */
#include <inttypes.h>
#include <string.h>

#include "format/mlpackage_int.h"

#define MAX_EXTENT ((uint64_t)1 << 40)

/* ------------------------------------------------------------------ types */

static sm_status read_tensor_type(const SmPb__TensorType *t, sm_type *out, sm_err *err) {
    sm_dtype d = sm_dtype_of_mil(t->data_type);
    if (d == SM_NONE)
        return SM_FAIL(err, SM_UNSUPPORTED, "element type number %" PRId32 " is not supported", t->data_type);
    if (t->n_dimensions > SM_MAX_RANK || t->rank != (int64_t)t->n_dimensions)
        return SM_FAIL(err, t->rank < 0 ? SM_UNSUPPORTED : SM_BADINPUT,
                       "tensor type: wanted rank 0..%d with as many dimensions, found rank %" PRId64 " with %zu",
                       SM_MAX_RANK, t->rank, t->n_dimensions);
    *out = (sm_type){.kind = SM_V_TENSOR, .dtype = d, .rank = (int)t->rank};
    for (int a = 0; a < out->rank; a++) {
        const SmPb__Dimension *dim = t->dimensions[a];
        out->dims[a] = SM_DIM_UNKNOWN;
        if (dim->kind_case == SM_PB__DIMENSION__KIND_CONSTANT) {
            if (dim->constant->size > MAX_EXTENT)
                return SM_FAIL(err, SM_BADINPUT, "dimension %d: %" PRIu64 " is too large", a, dim->constant->size);
            out->dims[a] = (int64_t)dim->constant->size;
        } else if (dim->kind_case != SM_PB__DIMENSION__KIND_UNKNOWN) {
            return SM_FAIL(err, SM_BADINPUT, "dimension %d is neither constant nor unknown", a);
        } else if (dim->unknown->variadic) {
            return SM_FAIL(err, SM_UNSUPPORTED, "dimension %d is variadic", a);
        }
    }
    return SM_OK;
}

/* The length that a file states is that at the start, also of a list that grows: not taken over. */
static sm_status read_list_type(const SmPb__ListType *t, sm_type *out, sm_err *err) {
    if (t->element == NULL || t->element->kind_case != SM_PB__VALUE_TYPE__KIND_TENSOR)
        return SM_FAIL(err, SM_UNSUPPORTED, "a list of something else than tensors");
    SM_TRY(read_tensor_type(t->element->tensor, out, err));
    out->kind = SM_V_LIST;
    out->len = SM_DIM_UNKNOWN;
    return SM_OK;
}

sm_status sm_pkg_read_type(const SmPb__ValueType *t, sm_type *out, sm_err *err) {
    if (t == NULL || t->kind_case == SM_PB__VALUE_TYPE__KIND__NOT_SET)
        return SM_FAIL(err, SM_BADINPUT, "no type given");
    if (t->kind_case == SM_PB__VALUE_TYPE__KIND_TENSOR)
        return read_tensor_type(t->tensor, out, err);
    if (t->kind_case == SM_PB__VALUE_TYPE__KIND_LIST)
        return read_list_type(t->list, out, err);
    if (t->kind_case != SM_PB__VALUE_TYPE__KIND_STATE)
        return SM_FAIL(err, SM_UNSUPPORTED, "tuples and dictionaries are not supported");
    const SmPb__ValueType *in = t->state->wrapped;
    if (in == NULL || in->kind_case != SM_PB__VALUE_TYPE__KIND_TENSOR)
        return SM_FAIL(err, SM_BADINPUT, "a state of something else than a tensor");
    SM_TRY(read_tensor_type(in->tensor, out, err));
    for (int a = 0; a < out->rank; a++)
        if (out->dims[a] == SM_DIM_UNKNOWN)
            return SM_FAIL(err, SM_BADINPUT, "dimension %d of a state is unknown", a);
    out->kind = SM_V_STATE;
    return SM_OK;
}

/* ------------------------------------------------------------------ immediate values */

static sm_status wrong_count(sm_err *err, const char *field, size_t found, uint64_t wanted) {
    return SM_FAIL(err, SM_BADINPUT, "immediate value: wanted %" PRIu64 " elements, field '%s' has %zu", wanted, field,
                   found);
}

static sm_status wrong_field(sm_err *err, const char *field, sm_dtype t) {
    return SM_FAIL(err, SM_BADINPUT, "immediate value of type %s in field '%s'", sm_dtype_name(t), field);
}

/* Numbers into n elements of an integer type at p, all in range. */
static sm_status put_ints(sm_dtype t, const int32_t *v32, const int64_t *v64, size_t n, void *p, sm_err *err) {
    for (size_t i = 0; i < n; i++) {
        int64_t v = v32 != NULL ? v32[i] : v64[i];
        if (t != SM_UINT64 && (v < sm_dtype_min(t) || v > sm_dtype_max(t)))
            return SM_FAIL(err, SM_BADINPUT, "immediate value: element %zu, %" PRId64 ", does not fit %s", i, v,
                           sm_dtype_name(t));
        sm_code_put(t, p, i, v);
    }
    return SM_OK;
}

static bool in_ints(sm_dtype t) {
    return t == SM_INT32 || t == SM_INT16 || t == SM_UINT16 || t == SM_INT8 || t == SM_UINT8;
}

/* The elements of a numeric tensor into `bytes` at p. */
static sm_status put_immediate(const SmPb__TensorValue *v, sm_dtype t, uint64_t n, uint8_t *p, size_t bytes,
                               sm_err *err) {
    switch (v->kind_case) {
    case SM_PB__TENSOR_VALUE__KIND_FLOATS:
        if (t != SM_FP32)
            return wrong_field(err, "floats", t);
        if (v->floats->n_values != n)
            return wrong_count(err, "floats", v->floats->n_values, n);
        if (n > 0)
            memcpy(p, v->floats->values, bytes);
        return SM_OK;
    case SM_PB__TENSOR_VALUE__KIND_DOUBLES:
        if (t != SM_FP64)
            return wrong_field(err, "doubles", t);
        if (v->doubles->n_values != n)
            return wrong_count(err, "doubles", v->doubles->n_values, n);
        if (n > 0)
            memcpy(p, v->doubles->values, bytes);
        return SM_OK;
    case SM_PB__TENSOR_VALUE__KIND_INTS:
        if (!in_ints(t))
            return wrong_field(err, "ints", t);
        if (v->ints->n_values != n)
            return wrong_count(err, "ints", v->ints->n_values, n);
        return put_ints(t, v->ints->values, NULL, (size_t)n, p, err);
    case SM_PB__TENSOR_VALUE__KIND_LONG_INTS:
        if (t != SM_INT64 && t != SM_UINT64)
            return wrong_field(err, "longInts", t);
        if (v->long_ints->n_values != n)
            return wrong_count(err, "longInts", v->long_ints->n_values, n);
        return put_ints(t, NULL, v->long_ints->values, (size_t)n, p, err);
    case SM_PB__TENSOR_VALUE__KIND_BOOLS:
        if (t != SM_BOOL)
            return wrong_field(err, "bools", t);
        if (v->bools->n_values != n)
            return wrong_count(err, "bools", v->bools->n_values, n);
        for (size_t i = 0; i < n; i++)
            p[i] = v->bools->values[i] != 0;
        return SM_OK;
    case SM_PB__TENSOR_VALUE__KIND_BYTES:
        if (sm_dtype_kind(t) == 'b')
            return wrong_field(err, "bytes", t);
        if (v->bytes->values.len != bytes)
            return SM_FAIL(err, SM_BADINPUT, "immediate value: wanted %zu bytes, found %zu", bytes,
                           v->bytes->values.len);
        if (bytes > 0)
            memcpy(p, v->bytes->values.data, bytes);
        return SM_OK;
    case SM_PB__TENSOR_VALUE__KIND_STRINGS:
        return wrong_field(err, "strings", t);
    default:
        return SM_FAIL(err, SM_BADINPUT, "immediate value without content");
    }
}

static sm_status read_strings(sm_pkg_reader *r, const SmPb__TensorValue *v, uint64_t n, sm_pkg_value *out,
                              sm_err *err) {
    if (v->kind_case != SM_PB__TENSOR_VALUE__KIND_STRINGS)
        return SM_FAIL(err, SM_BADINPUT, "immediate value of type string without strings");
    if (out->t.rank > 1)
        return SM_FAIL(err, SM_UNSUPPORTED, "strings of rank %d: wanted one, or a list", out->t.rank);
    if (v->strings->n_values != n)
        return wrong_count(err, "strings", v->strings->n_values, n);
    sm_sv *s = sm_arena_alloc_n(r->g->arena, (size_t)n, sizeof *s);
    if (s == NULL)
        return SM_NOMEM(err);
    for (size_t i = 0; i < n; i++) {
        s[i] = sm_sv_of(sm_arena_strdup(r->g->arena, v->strings->values[i]));
        if (s[i].p == NULL)
            return SM_NOMEM(err);
    }
    out->strs = s;
    out->n_str = (size_t)n;
    return SM_OK;
}

/* ------------------------------------------------------------------ blobs */

sm_status sm_pkg_find_blob(sm_pkg_reader *r, const char *ref, const sm_blobfile **out, sm_err *err) {
    static const char root[] = "@model_path/";
    sm_pkg_owner *own = r->own;
    for (size_t i = 0; i < own->blobs.n; i++)
        if (strcmp(own->blobs.v[i]->ref, ref) == 0) {
            *out = &own->blobs.v[i]->file;
            return SM_OK;
        }
    if (strncmp(ref, root, sizeof root - 1) != 0 || !sm_pkg_path_inside(ref + sizeof root - 1))
        return SM_FAIL(err, SM_BADINPUT, "weight file %s: wanted a path inside the package that begins with %s",
                       sm_quote(ref, strlen(ref)), root);
    if (!SM_GROW(&own->blobs))
        return SM_NOMEM(err);
    sm_pkg_blob *b = sm_alloc(sizeof *b);
    if (b == NULL)
        return SM_NOMEM(err);
    own->blobs.v[own->blobs.n++] = b;
    b->ref = sm_path_join("", ref);
    if (b->ref == NULL)
        return SM_NOMEM(err);
    *out = &b->file;
    if (r->model_dir == NULL)
        return sm_blobfile_open(b->ref, r->memory_blob.p, r->memory_blob.n, &b->file, err);
    char *path = sm_path_join(r->model_dir, ref + sizeof root - 1);
    if (path == NULL)
        return SM_NOMEM(err);
    sm_status st = sm_mapfile_open(path, &b->map, err);
    sm_free(path);
    SM_TRY(st);
    r->pkg->weight_bytes += b->map.n;
    return sm_blobfile_open(b->map.path, b->map.p, b->map.n, &b->file, err);
}

sm_status sm_pkg_read_value(sm_pkg_reader *r, const SmPb__Value *v, sm_pkg_value *out, sm_err *err) {
    sm_type type;
    size_t bytes[SM_PART_COUNT] = {0};
    *out = (sm_pkg_value){0};
    SM_TRY(sm_pkg_read_type(v->type, &type, err));
    if (type.kind != SM_V_TENSOR)
        return SM_FAIL(err, SM_BADINPUT, "a value of state type");
    uint64_t n = 1;
    for (int a = 0; a < type.rank; a++) {
        if (type.dims[a] == SM_DIM_UNKNOWN)
            return SM_FAIL(err, SM_BADINPUT, "dimension %d of a value is unknown", a);
        if (type.dims[a] != 0 && n > MAX_EXTENT / (uint64_t)type.dims[a])
            return SM_FAIL(err, SM_BADINPUT, "a value of more than %" PRIu64 " elements", MAX_EXTENT);
        n *= (uint64_t)type.dims[a];
    }
    bool text = type.dtype == SM_STRING;
    sm_encoding dense = sm_enc_dense(type.dtype);
    out->t = (sm_tensor){.dtype = type.dtype, .rank = type.rank, .enc = dense};
    memcpy(out->t.dims, type.dims, sizeof out->t.dims);
    if (!text)
        SM_TRY(sm_enc_sizes(&dense, type.rank, type.dims, bytes, err));
    if (v->kind_case == SM_PB__VALUE__KIND_BLOB) {
        const sm_blobfile *f = NULL;
        if (text)
            return SM_FAIL(err, SM_BADINPUT, "text in a weight file");
        SM_TRY(sm_pkg_find_blob(r, v->blob->file, &f, err));
        return sm_blobfile_get(f, v->blob->offset, type.dtype, n, &out->t.part[SM_PART_DATA], err);
    }
    if (v->kind_case != SM_PB__VALUE__KIND_IMMEDIATE ||
        v->immediate->kind_case == SM_PB__IMMEDIATE_VALUE__KIND__NOT_SET)
        return SM_FAIL(err, SM_BADINPUT, "a value without content");
    if (v->immediate->kind_case != SM_PB__IMMEDIATE_VALUE__KIND_TENSOR)
        return SM_FAIL(err, SM_UNSUPPORTED, "lists, tuples and dictionaries are not supported");
    const SmPb__TensorValue *tv = v->immediate->tensor;
    if (text)
        return read_strings(r, tv, n, out, err);
    if (tv->kind_case == SM_PB__TENSOR_VALUE__KIND__NOT_SET && n > 0) /* before memory is taken for it */
        return SM_FAIL(err, SM_BADINPUT, "immediate value without content");
    if (bytes[0] / 8 > r->pkg->model_bytes) /* at least a byte of the file for 8 of ours */
        return SM_FAIL(err, SM_BADINPUT, "immediate value: wanted %" PRIu64 " elements, the file is too short for them",
                       n);
    uint8_t *p = sm_arena_alloc(r->g->arena, SM_MAX(bytes[0], (size_t)1));
    if (p == NULL)
        return SM_NOMEM(err);
    out->t.part[SM_PART_DATA] = (sm_bytes){p, bytes[0]};
    if (n == 0)
        return SM_OK;
    return put_immediate(tv, type.dtype, n, p, bytes[0], err);
}

/* ------------------------------------------------------------------ constants */

static bool same_bytes(sm_bytes a, sm_bytes b) {
    if (a.n != b.n)
        return false;
    return a.p == b.p || a.n == 0 || (a.n <= 65536 && memcmp(a.p, b.p, a.n) == 0);
}

static bool same_content(const sm_const *c, const sm_pkg_value *v) {
    sm_tensor whole = c->src;
    const sm_tensor *a = &whole, *b = &v->t;
    sm_tensor_unfold(&whole, NULL);
    if (v->t.dtype == SM_STRING || c->strs != NULL || a->dtype != b->dtype || a->rank != b->rank ||
        !sm_enc_eq(&a->enc, &b->enc, a->rank))
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dims[i] != b->dims[i])
            return false;
    for (int p = 0; p < SM_PART_COUNT; p++)
        if (!same_bytes(a->part[p], b->part[p]))
            return false;
    return true;
}

sm_status sm_pkg_const(sm_pkg_reader *r, sm_builder *b, const char *name, const sm_pkg_value *v, sm_value **out,
                       sm_err *err) {
    int64_t at;
    if (v->t.dtype == SM_STRING) {
        bool bare = v->n_str == 1 && v->t.rank == 0;
        *out = bare ? sm_const_str(b, v->strs[0].p) : sm_const_strs(b, name, v->strs, v->n_str, v->t.rank == 0);
        return sm_build_end(b, err);
    }
    if (sm_map_get(r->const_of, sm_sv_of(name), &at) && same_content(r->consts.v[at]->cst, v)) {
        *out = r->consts.v[at];
        return SM_OK;
    }
    sm_tensor t = v->t;
    char *key = sm_arena_strdup(r->g->arena, name);
    if (key == NULL || !SM_GROW(&r->consts))
        return SM_NOMEM(err);
    t.name = sm_sv_of(key);
    SM_TRY(sm_tensor_check(&t, err));
    *out = sm_const_tensor(b, name, &t);
    if (b->st != SM_OK)
        return sm_build_end(b, err);
    r->consts.v[r->consts.n++] = *out;
    if (!sm_map_put(r->const_of, t.name, (int64_t)r->consts.n - 1, NULL, NULL))
        return SM_NOMEM(err);
    return SM_OK;
}
