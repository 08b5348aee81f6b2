/* SPDX-License-Identifier: MIT
 *
 * mlpackage_write_value.c: messages in the writer's arena: memory, types, immediate values.
 *
 * Building a message has no failure path of its own: out of memory sets w->oom, everything made after it lies in one
 * scratch area that is written but never read (so: no pointer is followed out of a message), lists stay empty, and
 * sm_mlpackage_write fails before it packs.
 *
 * Which field holds an immediate value of which type is the format's rule (docs/formats): fp32 floats, int32, int16 and
 * uint16 ints, bool bools, int64 and uint64 longInts, fp64 doubles, everything else packed bytes.
 */
#include <assert.h>
#include <string.h>

#include "format/mlpackage_int.h"

void *sm_pkg_new(sm_pkg_writer *w, size_t n) {
    void *p = w->oom ? NULL : sm_arena_alloc(w->a, SM_MAX(n, (size_t)1));
    if (p != NULL)
        return p;
    w->oom = true;
    assert(n <= sizeof w->scratch);
    return w->scratch;
}

ProtobufCMessage *sm_pkg_message(sm_pkg_writer *w, const ProtobufCMessageDescriptor *d) {
    ProtobufCMessage *m = sm_pkg_new(w, d->sizeof_message);
    protobuf_c_message_init(d, m);
    return m;
}

void sm_pkg_push(sm_pkg_writer *w, sm_pkg_list *l, void *item) {
    if (l->n == l->cap && !w->oom) {
        size_t cap = l->cap == 0 ? 4 : 2 * l->cap;
        void **v = sm_arena_alloc_n(w->a, cap, sizeof *v);
        if (v != NULL && l->n > 0)
            memcpy(v, l->v, l->n * sizeof *v);
        w->oom = v == NULL;
        if (v != NULL)
            l->v = v, l->cap = cap;
    }
    if (!w->oom)
        l->v[l->n++] = item;
}

char *sm_pkg_text(sm_pkg_writer *w, const char *s) {
    char *p = w->oom ? NULL : sm_arena_strdup(w->a, s);
    w->oom = p == NULL;
    return p != NULL ? p : (char *)(uintptr_t) "";
}

/* Array of n elements in the arena; NULL (and w->oom) when there is no memory: the caller leaves its count at 0. */
static void *array(sm_pkg_writer *w, size_t n, size_t size) {
    void *p = w->oom ? NULL : sm_arena_alloc_n(w->a, SM_MAX(n, (size_t)1), size);
    w->oom = p == NULL;
    return p;
}

/* ------------------------------------------------------------------ types */

/* Below 0 or symbolic: unknown. */
static SmPb__Dimension *dimension(sm_pkg_writer *w, int64_t extent) {
    SmPb__Dimension *d = SM_PKG_MSG(w, Dimension, dimension);
    if (extent >= 0) {
        SmPb__ConstantDimension *c = SM_PKG_MSG(w, ConstantDimension, constant_dimension);
        c->size = (uint64_t)extent;
        d->kind_case = SM_PB__DIMENSION__KIND_CONSTANT;
        d->constant = c;
    } else {
        d->kind_case = SM_PB__DIMENSION__KIND_UNKNOWN; /* the member must be there, empty */
        d->unknown = SM_PKG_MSG(w, UnknownDimension, unknown_dimension);
    }
    return d;
}

SmPb__ValueType *sm_pkg_tensor_type(sm_pkg_writer *w, sm_dtype t, int rank, const int64_t *dims) {
    SmPb__ValueType *v = SM_PKG_MSG(w, ValueType, value_type);
    SmPb__TensorType *tt = SM_PKG_MSG(w, TensorType, tensor_type);
    sm_pkg_list l = {0};
    tt->data_type = sm_dtype_mil(t);
    tt->rank = rank;
    for (int a = 0; a < rank; a++) {
        sm_pkg_push(w, &l, dimension(w, dims[a]));
    }
    tt->dimensions = (SmPb__Dimension **)l.v;
    tt->n_dimensions = l.n;
    v->kind_case = SM_PB__VALUE_TYPE__KIND_TENSOR;
    v->tensor = tt;
    return v;
}

SmPb__ValueType *sm_pkg_value_type(sm_pkg_writer *w, const sm_type *t) {
    SmPb__ValueType *v = sm_pkg_tensor_type(w, t->dtype, t->rank, t->dims);
    if (t->kind == SM_V_TENSOR)
        return v;
    SmPb__ValueType *outer = SM_PKG_MSG(w, ValueType, value_type);
    if (t->kind == SM_V_LIST) {
        SmPb__ListType *l = SM_PKG_MSG(w, ListType, list_type);
        l->element = v;
        l->length = dimension(w, t->len);
        outer->kind_case = SM_PB__VALUE_TYPE__KIND_LIST;
        outer->list = l;
        return outer;
    }
    SmPb__StateType *s = SM_PKG_MSG(w, StateType, state_type);
    s->wrapped = v;
    outer->kind_case = SM_PB__VALUE_TYPE__KIND_STATE;
    outer->state = s;
    return outer;
}

SmPb__NamedType *sm_pkg_named_type(sm_pkg_writer *w, const char *name, SmPb__ValueType *t) {
    SmPb__NamedType *n = SM_PKG_MSG(w, NamedType, named_type);
    n->name = sm_pkg_text(w, name);
    n->type = t;
    return n;
}

/* ------------------------------------------------------------------ values */

static SmPb__Value *tensor_value(sm_pkg_writer *w, SmPb__ValueType *type, SmPb__TensorValue *tv) {
    SmPb__Value *v = SM_PKG_MSG(w, Value, value);
    SmPb__ImmediateValue *im = SM_PKG_MSG(w, ImmediateValue, immediate_value);
    im->kind_case = SM_PB__IMMEDIATE_VALUE__KIND_TENSOR;
    im->tensor = tv;
    v->type = type;
    v->kind_case = SM_PB__VALUE__KIND_IMMEDIATE;
    v->immediate = im;
    return v;
}

SmPb__Value *sm_pkg_strings(sm_pkg_writer *w, const sm_sv *s, size_t n, bool scalar) {
    SmPb__TensorValue *tv = SM_PKG_MSG(w, TensorValue, tensor_value);
    int64_t dims[1] = {(int64_t)n};
    sm_pkg_list l = {0};
    for (size_t i = 0; i < n; i++) {
        char *copy = w->oom ? NULL : sm_arena_strndup(w->a, s[i].p, s[i].n);
        w->oom = copy == NULL;
        sm_pkg_push(w, &l, copy);
    }
    SmPb__Strings *m = SM_PKG_MSG(w, Strings, strings);
    m->values = (char **)l.v;
    m->n_values = l.n;
    tv->kind_case = SM_PB__TENSOR_VALUE__KIND_STRINGS;
    tv->strings = m;
    return tensor_value(w, sm_pkg_tensor_type(w, SM_STRING, scalar ? 0 : 1, dims), tv);
}

SmPb__Value *sm_pkg_string(sm_pkg_writer *w, const char *s) {
    sm_sv one = sm_sv_of(s);
    return sm_pkg_strings(w, &one, 1, true);
}

/* p, n numbers, as the repeated field of a message. */
#define NUMBERS(case_, field, Type, lower)                                                                             \
    do {                                                                                                               \
        SmPb__##Type *m = SM_PKG_MSG(w, Type, lower);                                                                  \
        m->values = p;                                                                                                 \
        m->n_values = p == NULL ? 0 : n;                                                                               \
        tv->kind_case = SM_PB__TENSOR_VALUE__KIND_##case_;                                                             \
        tv->field = m;                                                                                                 \
    } while (0)

SmPb__Value *sm_pkg_immediate(sm_pkg_writer *w, sm_dtype t, int rank, const int64_t *dims, const void *data) {
    SmPb__TensorValue *tv = SM_PKG_MSG(w, TensorValue, tensor_value);
    size_t n = 1;
    for (int a = 0; a < rank; a++)
        n *= (size_t)dims[a];
    size_t bytes = (size_t)sm_dtype_size(t, n);
    bool as_int = t == SM_BOOL || t == SM_INT32 || t == SM_INT16 || t == SM_UINT16;
    void *p = array(w, as_int ? n : bytes, as_int ? sizeof(int32_t) : 1);
    if (as_int)
        for (size_t i = 0; p != NULL && i < n; i++)
            ((int32_t *)p)[i] = t == SM_BOOL ? ((const uint8_t *)data)[i] != 0 : (int32_t)sm_code_get(t, data, i);
    else if (p != NULL && bytes > 0)
        memcpy(p, data, bytes);
    switch (t) {
    case SM_FP32:
        NUMBERS(FLOATS, floats, Floats, floats);
        break;
    case SM_FP64:
        NUMBERS(DOUBLES, doubles, Doubles, doubles);
        break;
    case SM_BOOL:
        NUMBERS(BOOLS, bools, Bools, bools);
        break;
    case SM_INT32:
    case SM_INT16:
    case SM_UINT16:
        NUMBERS(INTS, ints, Ints, ints);
        break;
    case SM_INT64:
    case SM_UINT64:
        NUMBERS(LONG_INTS, long_ints, LongInts, long_ints);
        break;
    default: {
        SmPb__Bytes *m = SM_PKG_MSG(w, Bytes, bytes);
        m->values = (ProtobufCBinaryData){p == NULL ? 0 : bytes, p};
        tv->kind_case = SM_PB__TENSOR_VALUE__KIND_BYTES;
        tv->bytes = m;
    }
    }
    return tensor_value(w, sm_pkg_tensor_type(w, t, rank, dims), tv);
}

SmPb__Value *sm_pkg_part_value(sm_pkg_writer *w, const sm_pkg_part *p) {
    if (!p->blob)
        return sm_pkg_immediate(w, p->dtype, p->rank, p->dims, p->bytes);
    SmPb__Value *v = SM_PKG_MSG(w, Value, value);
    v->type = sm_pkg_tensor_type(w, p->dtype, p->rank, p->dims);
    SmPb__BlobFileValue *b = SM_PKG_MSG(w, BlobFileValue, blob_file_value);
    b->file = sm_pkg_text(w, SM_PKG_BLOB_REF);
    b->offset = p->record;
    v->kind_case = SM_PB__VALUE__KIND_BLOB;
    v->blob = b;
    return v;
}
