/* SPDX-License-Identifier: MIT
 *
 * vocab.c: index of token spellings and of merges; the printable form of bytes.
 *
 * A vocabulary has up to half a million strings, all of them in the checkpoint's mapping already, so the index is one
 * array of 8-byte slots (open addressing, linear probing, at most three quarters full) that holds a number and half of
 * a 64-bit hash; the string is read only when that half agrees.  A merge "left right" is found under the bytes of both
 * parts and the length of the left one: the words being merged hold them side by side, so nothing is copied to ask.
 *
 * Threads: built once, then read by any number.
 */
#include "text/tokenizer_int.h"

#include <string.h>

/* FNV-1a by bytes in two rounds, for the parts of a merge, with a finish that spreads low bits. */
enum { HASH_SEED = 0x811c9dc5 };

static uint64_t hash_more(uint64_t h, const char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint8_t)p[i]) * 0x100000001b3u;
    return h;
}

static uint64_t hash_end(uint64_t h, size_t left) {
    h ^= (uint64_t)left << 56;
    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static bool index_new(vocab_index *x, size_t n) {
    size_t cap = 64;
    while (cap / 4 * 3 < n)
        cap *= 2;
    x->slots = sm_alloc_n(cap, sizeof *x->slots);
    x->mask = cap - 1;
    return x->slots != NULL;
}

static uint64_t slot_of(uint64_t hash, size_t number) {
    return (hash & ~UINT64_C(0xffffffff)) | (number + 1);
}

sm_status vocab_index_tokens(sm_tokenizer *t, sm_err *err) {
    if (!index_new(&t->index, (size_t)t->n))
        return SM_NOMEM(err);
    for (int32_t id = 0; id < t->n; id++) {
        sm_sv s = t->text[id];
        if (s.n == 0)
            continue;
        uint64_t h = hash_end(hash_more(HASH_SEED, s.p, s.n), 0);
        size_t i = h & t->index.mask;
        for (; t->index.slots[i] != 0; i = (i + 1) & t->index.mask) {
            uint64_t slot = t->index.slots[i];
            if (slot >> 32 == h >> 32 && sm_sv_eq(t->text[(uint32_t)slot - 1], s))
                break; /* spelled twice: the later one counts */
        }
        t->index.slots[i] = slot_of(h, (size_t)id);
    }
    return SM_OK;
}

int32_t vocab_find(const sm_tokenizer *t, const char *p, size_t n) {
    uint64_t h = hash_end(hash_more(HASH_SEED, p, n), 0), slot;
    for (size_t i = h & t->index.mask; (slot = t->index.slots[i]) != 0; i = (i + 1) & t->index.mask) {
        if (slot >> 32 != h >> 32)
            continue;
        sm_sv s = t->text[(uint32_t)slot - 1];
        if (s.n == n && memcmp(s.p, p, n) == 0)
            return (int32_t)((uint32_t)slot - 1);
    }
    return SM_NO_TOKEN;
}

/* Where the parts of a merge meet; a part may itself begin with a space.  0: it has no two parts. */
static size_t merge_cut(sm_sv m) {
    const char *space = m.n > 1 ? memchr(m.p + 1, ' ', m.n - 1) : NULL;
    return space != NULL ? (size_t)(space - m.p) : 0;
}

static bool merge_is(sm_sv m, const char *p, size_t left, size_t n) {
    return m.n == n + 1 && m.p[left] == ' ' && merge_cut(m) == left && memcmp(m.p, p, left) == 0 &&
           memcmp(m.p + left + 1, p + left, n - left) == 0;
}

sm_status vocab_index_merges(sm_tokenizer *t, sm_err *err) {
    if (!index_new(&t->merge_index, t->n_merges))
        return SM_NOMEM(err);
    vocab_index *x = &t->merge_index;
    for (size_t r = 0; r < t->n_merges; r++) {
        sm_sv m = t->merges[r];
        size_t left = merge_cut(m);
        if (left == 0 || left + 1 == m.n)
            continue;
        uint64_t h = hash_end(hash_more(hash_more(HASH_SEED, m.p, left), m.p + left + 1, m.n - left - 1), left);
        size_t i = h & x->mask;
        bool known = false;
        for (; x->slots[i] != 0 && !known; i = (i + 1) & x->mask)
            known = x->slots[i] >> 32 == h >> 32 && sm_sv_eq(t->merges[(uint32_t)x->slots[i] - 1], m);
        if (!known) /* the first rank of a merge counts */
            x->slots[i] = slot_of(h, r);
    }
    return SM_OK;
}

int32_t vocab_merge_rank(const sm_tokenizer *t, const char *p, size_t left, size_t n) {
    const vocab_index *x = &t->merge_index;
    uint64_t h = hash_end(hash_more(HASH_SEED, p, n), left), slot;
    for (size_t i = h & x->mask; (slot = x->slots[i]) != 0; i = (i + 1) & x->mask)
        if (slot >> 32 == h >> 32 && merge_is(t->merges[(uint32_t)slot - 1], p, left, n))
            return (int32_t)((uint32_t)slot - 1);
    return -1;
}

float vocab_score(const sm_tokenizer *t, int32_t id) {
    if (t->scores == NULL)
        return 0;
    if (t->scores->raw == SM_FP32) {
        float f;
        memcpy(&f, (const char *)t->scores->u.a.data + (size_t)id * sizeof f, sizeof f);
        return f;
    }
    return (float)sm_meta_elem_float(t->scores, (uint64_t)id);
}

/* Bytes that print stand for themselves; the other 68 are numbered from U+0100 on, in order of byte. */
static bool byte_prints(int b) {
    return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
}

static int hidden_before(int b) {
    /* 0x00-0x20 come first, then 0x7f-0xa0, then 0xad */
    return b <= 0x20 ? b : b <= 0xa0 ? b - 0x7f + 0x21 : 0x43;
}

void vocab_bytes_encode(const char *p, size_t n, sm_str *out) {
    for (size_t i = 0; i < n; i++) {
        int b = (uint8_t)p[i];
        char two[4];
        if (b >= 0x21 && b <= 0x7e)
            sm_str_addc(out, p[i]);
        else
            sm_str_add(out, two, (size_t)sm_utf8_encode(byte_prints(b) ? (uint32_t)b : 0x100u + hidden_before(b), two));
    }
}

int vocab_bytes_decode(uint32_t cp) {
    if (cp < 0x100)
        return byte_prints((int)cp) ? (int)cp : -1;
    int k = (int)(cp - 0x100);
    if (cp >= 0x144)
        return -1;
    return k <= 0x20 ? k : k < 0x43 ? k - 0x21 + 0x7f : 0xad;
}
