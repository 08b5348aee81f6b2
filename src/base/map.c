/* SPDX-License-Identifier: MIT
 *
 * map.c: hash map from bytes to int64.
 *
 * Two arrays: entries in the order they came, and a table of slots, twice as many at least, that holds an entry's
 * number and 32 bits of its hash.  A miss is decided in the 8-byte slots alone, and a vocabulary of 262,144 tokens
 * takes 4 MiB of slots and 8 MiB of entries.
 *
 *     slots   [ tag|0 ][ tag|7 ][ empty ][ tag|3 ] ..      linear probing, power of two
 *     entries [ hash, key, length, value ] ..
 *
 * Owns both arrays, borrows the keys.  Threads: readers may share a map that nobody writes.
 */
#include "base/str.h"

#include <string.h>

typedef struct slot {
    uint32_t tag;
    uint32_t entry; /* number + 1; 0: empty */
} slot;

typedef struct entry {
    uint64_t hash;
    sm_sv key;
    int64_t value;
} entry;

struct sm_map {
    slot *slots;
    size_t mask; /* slot count - 1 */
    struct {
        entry *v;
        size_t n, cap;
    } e;
};

/* FNV-1a over 8-byte words (folded, so that high bits reach low ones), murmur's finish. */
static uint64_t hash_bytes(const char *p, size_t n) {
    uint64_t h = 0xcbf29ce484222325u ^ n, w;
    for (; n >= 8; n -= 8, p += 8) {
        memcpy(&w, p, 8);
        h = (h ^ w) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
    }
    if (n) {
        w = 0;
        memcpy(&w, p, n);
        h = (h ^ w) * 0x9e3779b97f4a7c15u;
    }
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdu;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 33;
}

/* The slot that holds the key, or the empty one where it belongs. */
static slot *find(const sm_map *m, sm_sv key, uint64_t hash) {
    uint32_t tag = (uint32_t)(hash >> 32);
    for (size_t i = hash & m->mask;; i = (i + 1) & m->mask) {
        slot *s = &m->slots[i];
        if (s->entry == 0 || (s->tag == tag && sm_sv_eq(m->e.v[s->entry - 1].key, key)))
            return s;
    }
}

/* A table of at least `want` slots with all entries in it. */
static bool rehash(sm_map *m, size_t want) {
    size_t count = 16;
    while (count < want) {
        if (count > SIZE_MAX / 2)
            return false;
        count *= 2;
    }
    slot *slots = sm_alloc_n(count, sizeof *slots);
    if (!slots)
        return false;
    sm_free(m->slots);
    m->slots = slots;
    m->mask = count - 1;
    for (size_t k = 0; k < m->e.n; k++) {
        size_t i = m->e.v[k].hash & m->mask;
        while (slots[i].entry)
            i = (i + 1) & m->mask;
        slots[i] = (slot){(uint32_t)(m->e.v[k].hash >> 32), (uint32_t)k + 1};
    }
    return true;
}

sm_map *sm_map_new(size_t expected) {
    sm_map *m = sm_alloc(sizeof *m);
    size_t want;
    if (!m)
        return NULL;
    if (!sm_mul_ok(expected, 2, &want) || !rehash(m, want))
        goto fail;
    if (expected) {
        m->e.v = sm_alloc_n(expected, sizeof *m->e.v);
        if (!m->e.v)
            goto fail;
        m->e.cap = expected;
    }
    return m;
fail:
    sm_map_free(&m);
    return NULL;
}

void sm_map_free(sm_map **m) {
    if (!m || !*m)
        return;
    sm_free((*m)->slots);
    sm_free((*m)->e.v);
    sm_free(*m);
    *m = NULL;
}

bool sm_map_put(sm_map *m, sm_sv key, int64_t value, bool *existed, int64_t *old) {
    uint64_t hash = hash_bytes(key.p, key.n);
    slot *s = find(m, key, hash);
    if (existed)
        *existed = s->entry != 0;
    if (s->entry) {
        if (old)
            *old = m->e.v[s->entry - 1].value;
        return true;
    }
    if (m->e.n >= UINT32_MAX || !SM_GROW(&m->e))
        return false;
    if ((m->e.n + 1) * 2 > m->mask + 1) {
        if (!rehash(m, (m->mask + 1) * 2))
            return false;
        s = find(m, key, hash);
    }
    m->e.v[m->e.n++] = (entry){hash, key, value};
    *s = (slot){(uint32_t)(hash >> 32), (uint32_t)m->e.n};
    return true;
}

bool sm_map_get(const sm_map *m, sm_sv key, int64_t *value) {
    const slot *s = find(m, key, hash_bytes(key.p, key.n));
    if (s->entry && value)
        *value = m->e.v[s->entry - 1].value;
    return s->entry != 0;
}

size_t sm_map_count(const sm_map *m) {
    return m->e.n;
}
