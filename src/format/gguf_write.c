/* SPDX-License-Identifier: MIT
 *
 * gguf_write.c: metadata as a GGUF file without tensors.
 *
 * Used to carry a tokenizer inside a Core ML package: what llama.cpp reads as a vocabulary file.  Values keep the width
 * that they had in the source, so a key copied from a GGUF file has the same bytes here.
 */
#include <string.h>

#include "format/gguf.h"
#include "format/gguf_int.h"

static void put_u32(sm_str *o, uint32_t v) {
    sm_str_add(o, (const char *)&v, 4);
}

static void put_u64(sm_str *o, uint64_t v) {
    sm_str_add(o, (const char *)&v, 8);
}

static void put_str(sm_str *o, sm_sv s) {
    put_u64(o, s.n);
    sm_str_add(o, s.p, s.n);
}

/* GGUF's number of a stored width, or -1. */
static int type_of_raw(sm_dtype raw) {
    for (int t = 0; t < GGUF_TYPE_COUNT; t++)
        if (gguf_types[t].raw == raw && raw != SM_NONE)
            return t;
    return -1;
}

static void put_scalar(sm_str *o, const sm_meta *m) {
    if (m->type == SM_META_STR) {
        put_str(o, m->u.s);
    } else if (m->type == SM_META_FLOAT && m->raw == SM_FP32) {
        float f = (float)m->u.f;
        sm_str_add(o, (const char *)&f, 4);
    } else {
        sm_str_add(o, (const char *)&m->u, (size_t)sm_dtype_bits(m->raw) / 8); /* fp64, or the low bytes of an int64 */
    }
}

static sm_status put_key(sm_str *o, const sm_checkpoint *c, const sm_meta *m, sm_err *err) {
    sm_dtype raw = m->raw;
    if (m->type == SM_META_STR || (m->type == SM_META_ARRAY && m->elem == SM_META_STR))
        raw = SM_STRING;
    int type = type_of_raw(raw);
    if (type < 0)
        return SM_FAIL(err, SM_UNSUPPORTED, "%s: key %s: GGUF metadata has no type %s", c->path,
                       sm_quote(m->key.p, m->key.n), sm_dtype_name(raw));
    put_str(o, m->key);
    if (m->type != SM_META_ARRAY) {
        put_u32(o, (uint32_t)type);
        put_scalar(o, m);
        return SM_OK;
    }
    put_u32(o, GGUF_ARRAY);
    put_u32(o, (uint32_t)type);
    put_u64(o, m->u.a.n);
    if (raw == SM_STRING)
        for (uint64_t i = 0; i < m->u.a.n; i++)
            put_str(o, m->u.a.strs[i]);
    else
        sm_str_add(o, m->u.a.data, (size_t)(m->u.a.n * (uint64_t)sm_dtype_bits(raw) / 8));
    return SM_OK;
}

static bool wanted(sm_sv key, const char *const *prefixes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(prefixes[i]);
        if (key.n >= len && memcmp(key.p, prefixes[i], len) == 0)
            return true;
    }
    return false;
}

sm_status sm_gguf_write_meta(const sm_checkpoint *c, const char *const *prefixes, size_t n_prefixes, sm_str *out,
                             sm_err *err) {
    size_t start = out->n, alignment = GGUF_ALIGNMENT;
    uint64_t n_keys = 0;
    for (size_t i = 0; i < c->n_meta; i++)
        n_keys += wanted(c->meta[i].key, prefixes, n_prefixes);
    sm_str_adds(out, "GGUF");
    put_u32(out, GGUF_VERSION);
    put_u64(out, 0);
    put_u64(out, n_keys);
    for (size_t i = 0; i < c->n_meta; i++) {
        const sm_meta *m = &c->meta[i];
        if (!wanted(m->key, prefixes, n_prefixes))
            continue;
        SM_TRY(put_key(out, c, m, err));
        if (sm_sv_is(m->key, "general.alignment") && m->type == SM_META_INT && m->u.i > 0)
            alignment = (size_t)m->u.i;
    }
    while (sm_str_ok(out) && (out->n - start) % alignment != 0)
        sm_str_addc(out, 0);
    return sm_str_ok(out) ? SM_OK : SM_NOMEM(err);
}
