/* SPDX-License-Identifier: MIT
 *
 * pbwire.c: walking protobuf bytes, and unpacking them once they are known to be sound (pbwire.h).
 *
 * The walk is guided by protobuf-c's own descriptors, so that a new field in a .proto file is checked without a line
 * here.  It recurses at most SM_PB_DEPTH deep and visits each byte once per level.  What is checked and why:
 *
 *     lengths, varints      protobuf-c would reject these too, but without saying where
 *     wire type per field   the same
 *     text                  UTF-8 without zero bytes: it becomes a C string
 *     a single message or member of a oneof given twice: legal, never written, quadratic to merge
 *     memory                an empty message takes 2 bytes here and 50 there
 */
#include "format/pbwire.h"

#include <assert.h>
#include <inttypes.h>

#include "base/str.h"

typedef struct walk {
    const char *file;
    const uint8_t *base; /* offsets in messages count from here */
    uint64_t memory;
    sm_err *err;
} walk;

/* Varint at p[*at]; false when it is cut off or longer than 10 bytes. */
static bool varint(const uint8_t *p, size_t n, size_t *at, uint64_t *out) {
    uint64_t v = 0;
    for (int shift = 0; shift < 70; shift += 7) {
        if (*at >= n)
            return false;
        uint8_t b = p[(*at)++];
        v |= shift < 64 ? (uint64_t)(b & 127) << shift : 0;
        if (b < 128) {
            *out = v;
            return true;
        }
    }
    return false;
}

int sm_pb_next(const uint8_t *p, size_t n, size_t *at, sm_pb_field *out) {
    size_t i = *at, len;
    uint64_t tag, v = 0;
    if (i >= n)
        return 0;
    *out = (sm_pb_field){0};
    if (!varint(p, n, &i, &tag) || tag > UINT32_MAX || tag >> 3 == 0)
        return -1;
    out->number = (uint32_t)(tag >> 3);
    out->wire = (int)(tag & 7);
    switch (out->wire) {
    case 0:
        if (!varint(p, n, &i, &out->value))
            return -1;
        *at = i;
        return 1;
    case 1:
        len = 8;
        break;
    case 2:
        if (!varint(p, n, &i, &v) || v > n - i)
            return -1;
        len = (size_t)v;
        break;
    case 5:
        len = 4;
        break;
    default: /* groups, which the format does not have */
        return -1;
    }
    if (len > n - i)
        return -1;
    out->bytes = (sm_bytes){p + i, len};
    *at = i + len;
    return 1;
}

static int wire_of(ProtobufCType t) {
    switch (t) {
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 1;
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return 5;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return 2;
    default:
        return 0;
    }
}

static sm_status fail(walk *w, const uint8_t *at, const ProtobufCMessageDescriptor *d, const char *field,
                      const char *what) {
    return SM_FAIL(w->err, SM_BADINPUT, "%s: offset %zu: %s%s%s: %s", w->file, (size_t)(at - w->base), d->short_name,
                   field == NULL ? "" : ".", field == NULL ? "" : field, what);
}

static sm_status spend(walk *w, uint64_t bytes) {
    w->memory += bytes;
    if (w->memory > SM_PB_MEMORY)
        return SM_FAIL(w->err, SM_BADINPUT, "%s: takes more than %" PRIu64 " MiB when unpacked", w->file,
                       SM_PB_MEMORY >> 20);
    return SM_OK;
}

/* Packed numbers: whole elements only. */
static sm_status check_packed(walk *w, const ProtobufCMessageDescriptor *d, const ProtobufCFieldDescriptor *f,
                              sm_bytes b) {
    int wire = wire_of(f->type);
    size_t size = wire == 1 ? 8 : 4, at = 0;
    uint64_t v;
    if (wire != 0 && b.n % size != 0)
        return fail(w, b.p, d, f->name, "packed elements are cut off");
    for (; wire == 0 && at < b.n;)
        if (!varint(b.p, b.n, &at, &v))
            return fail(w, b.p + at, d, f->name, "malformed packed number");
    return spend(w, wire == 0 ? b.n * 8 : b.n);
}

static sm_status check_message(walk *w, const ProtobufCMessageDescriptor *d, sm_bytes m, int depth);

static sm_status check_field(walk *w, const ProtobufCMessageDescriptor *d, const ProtobufCFieldDescriptor *f,
                             const sm_pb_field *got, const uint8_t *at, int depth) {
    int wire = wire_of(f->type);
    bool repeated = f->label == PROTOBUF_C_LABEL_REPEATED;
    if (repeated && wire != 2 && got->wire == 2)
        return check_packed(w, d, f, got->bytes);
    if (got->wire != wire)
        return fail(w, at, d, f->name, "wrong wire type");
    SM_TRY(spend(w, (repeated ? 16 : 0) + got->bytes.n));
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING: {
        size_t ok = sm_utf8_valid((const char *)got->bytes.p, got->bytes.n);
        if (ok < got->bytes.n)
            return fail(w, got->bytes.p + ok, d, f->name, "text is not valid UTF-8");
        for (size_t i = 0; i < got->bytes.n; i++)
            if (got->bytes.p[i] == 0)
                return fail(w, got->bytes.p + i, d, f->name, "zero byte in text");
        return SM_OK;
    }
    case PROTOBUF_C_TYPE_MESSAGE:
        return check_message(w, f->descriptor, got->bytes, depth + 1);
    default:
        return SM_OK;
    }
}

static sm_status check_message(walk *w, const ProtobufCMessageDescriptor *d, sm_bytes m, int depth) {
    uint64_t seen = 0; /* by field index; a oneof counts as its first member */
    size_t at = 0;
    sm_pb_field got;
    int more;
    assert(d->n_fields <= 64);
    if (depth > SM_PB_DEPTH)
        return fail(w, m.p, d, NULL, "nested too deep");
    SM_TRY(spend(w, d->sizeof_message + 32));
    for (;;) {
        const uint8_t *start = m.p + at;
        more = sm_pb_next(m.p, m.n, &at, &got);
        if (more < 0)
            return fail(w, start, d, NULL, "malformed field");
        if (more == 0)
            return SM_OK;
        const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field(d, got.number);
        if (f == NULL) {
            SM_TRY(spend(w, 64 + got.bytes.n)); /* kept by protobuf-c as an unknown field */
            continue;
        }
        bool oneof = (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
        if (oneof || (f->type == PROTOBUF_C_TYPE_MESSAGE && f->label != PROTOBUF_C_LABEL_REPEATED)) {
            const ProtobufCFieldDescriptor *first = f;
            while (oneof && first > d->fields && first[-1].quantifier_offset == f->quantifier_offset)
                first--;
            uint64_t bit = UINT64_C(1) << (first - d->fields);
            if (seen & bit)
                return fail(w, start, d, f->name, "given twice");
            seen |= bit;
        }
        SM_TRY(check_field(w, d, f, &got, start, depth));
    }
}

sm_status sm_pb_check(const char *file, const ProtobufCMessageDescriptor *d, const uint8_t *p, size_t n, sm_err *err) {
    walk w = {.file = file, .base = p, .err = err};
    return check_message(&w, d, (sm_bytes){p, n}, 1);
}

/* ---- unpacking */

typedef struct pool {
    sm_arena *arena;
    bool failed;
} pool;

static void *pool_alloc(void *ctx, size_t n) {
    pool *p = ctx;
    void *r = sm_arena_alloc(p->arena, n);
    p->failed = p->failed || r == NULL;
    return r;
}

static void pool_free(void *ctx, void *p) {
    (void)ctx;
    (void)p;
}

sm_status sm_pb_unpack(const char *file, const ProtobufCMessageDescriptor *d, const uint8_t *p, size_t n, sm_arena *a,
                       ProtobufCMessage **out, sm_err *err) {
    pool memory = {.arena = a};
    ProtobufCAllocator alloc = {.alloc = pool_alloc, .free = pool_free, .allocator_data = &memory};
    SM_TRY(sm_pb_check(file, d, p, n, err));
    *out = protobuf_c_message_unpack(d, &alloc, n, p);
    if (memory.failed)
        return SM_NOMEM(err);
    if (*out == NULL)
        return SM_FAIL(err, SM_BADINPUT, "%s: not a %s message", file, d->short_name);
    return SM_OK;
}
