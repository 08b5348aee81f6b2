/* SPDX-License-Identifier: MIT
 *
 * token_trie.c: which tokens begin at a place of a text: a trie over the bytes of their spellings.
 *
 * The children of a node lie side by side, in order of byte: a node says where they begin and how many there are, their
 * bytes stand in an array of their own, and a step is a search of a few bytes (of the root: a look into a table).  To make
 * it, tokens are sorted by one more byte at each level, within the range of their parent; so it takes time in proportion
 * to the bytes of the vocabulary.
 *
 *     node     root | a  b | ab  ac | abc
 *     first    1    | 3  - | 5   -  | -
 *     kids     2    | 2  0 | 1   0  | 0
 *
 * Owns its arrays; copies nothing of the spellings.
 */
#include "text/tokenizer_int.h"

#include <string.h>

enum { FEW = 24 }; /* so few are sorted by insertion */

/* A node whose children are to be made: its tokens are a range of the sorted list. */
typedef struct open_node {
    uint32_t node, from, to, depth;
} open_node;

typedef struct building {
    const sm_sv *text;
    int32_t *ids, *spare;
    struct {
        open_node *v;
        size_t n, cap;
    } open; /* a stack: what belongs together is looked at together */
    struct {
        token_node *v;
        size_t n, cap;
    } nodes;
    struct {
        uint8_t *v;
        size_t n, cap;
    } bytes;
} building;

static uint8_t byte_at(const building *b, int32_t id, size_t depth) {
    return (uint8_t)b->text[id].p[depth];
}

/* Sorts ids[from..to) by their byte at depth; equal ones keep their order. */
static void sort_by_byte(building *b, uint32_t from, uint32_t to, size_t depth) {
    if (to - from <= FEW) {
        for (uint32_t i = from + 1; i < to; i++) {
            int32_t id = b->ids[i];
            uint8_t key = byte_at(b, id, depth);
            uint32_t k = i;
            for (; k > from && byte_at(b, b->ids[k - 1], depth) > key; k--)
                b->ids[k] = b->ids[k - 1];
            b->ids[k] = id;
        }
        return;
    }
    uint32_t start[257] = {0};
    for (uint32_t i = from; i < to; i++)
        start[byte_at(b, b->ids[i], depth) + 1]++;
    for (int k = 0; k < 256; k++)
        start[k + 1] += start[k];
    for (uint32_t i = from; i < to; i++)
        b->spare[start[byte_at(b, b->ids[i], depth)]++] = b->ids[i];
    memcpy(b->ids + from, b->spare, (to - from) * sizeof *b->ids);
}

static bool add_node(building *b, uint8_t byte) {
    if (!SM_GROW(&b->nodes) || !SM_GROW(&b->bytes))
        return false;
    b->nodes.v[b->nodes.n++] = (token_node){0, SM_NO_TOKEN, 0};
    b->bytes.v[b->bytes.n++] = byte;
    return true;
}

/* The rest of the only token below a node: a node a byte. */
static bool add_chain(building *b, uint32_t node, int32_t id, size_t depth) {
    for (; depth < b->text[id].n; depth++) {
        b->nodes.v[node].first = (uint32_t)b->nodes.n;
        b->nodes.v[node].kids = 1;
        node = (uint32_t)b->nodes.n;
        if (!add_node(b, byte_at(b, id, depth)))
            return false;
    }
    b->nodes.v[node].id = id;
    return true;
}

/* Tokens that end here leave the range; the rest is cut by the next byte. */
static bool add_children(building *b, open_node x) {
    uint32_t rest = x.from;
    int32_t end = SM_NO_TOKEN;
    if (x.to - x.from == 1)
        return add_chain(b, x.node, b->ids[x.from], x.depth);
    for (uint32_t i = x.from; i < x.to; i++) {
        int32_t id = b->ids[i];
        if (b->text[id].n == x.depth)
            end = SM_MAX(end, id); /* spelled twice: the later one counts */
        else
            b->ids[rest++] = id;
    }
    b->nodes.v[x.node].id = end;
    b->nodes.v[x.node].first = (uint32_t)b->nodes.n;
    sort_by_byte(b, x.from, rest, x.depth);
    for (uint32_t i = x.from; i < rest;) {
        uint8_t byte = byte_at(b, b->ids[i], x.depth);
        open_node kid = {(uint32_t)b->nodes.n, i, i, x.depth + 1};
        while (kid.to < rest && byte_at(b, b->ids[kid.to], x.depth) == byte)
            kid.to++;
        if (!SM_GROW(&b->open) || !add_node(b, byte))
            return false;
        b->open.v[b->open.n++] = kid;
        b->nodes.v[x.node].kids++;
        i = kid.to;
    }
    return true;
}

sm_status token_trie_make(token_trie *x, const sm_sv *text, const int32_t *ids, size_t n, sm_err *err) {
    building b = {.text = text};
    sm_status st = SM_OK;
    size_t bytes = 0;
    b.ids = sm_alloc_n(n, sizeof *b.ids);
    b.spare = sm_alloc_n(n + 1, sizeof *b.spare);
    if (b.ids == NULL || b.spare == NULL || !SM_GROW(&b.open) || !add_node(&b, 0)) {
        st = SM_NOMEM(err);
        goto done;
    }
    memcpy(b.ids, ids, n * sizeof *ids);
    for (size_t i = 0; i < n; i++) {
        bytes += text[ids[i]].n;
        x->longest = SM_MAX(x->longest, text[ids[i]].n);
    }
    if (bytes > UINT32_MAX / 2) {
        st = SM_FAIL(err, SM_BADINPUT, "the vocabulary's spellings have %zu bytes: too many", bytes);
        goto done;
    }
    b.open.v[b.open.n++] = (open_node){0, 0, (uint32_t)n, 0};
    while (b.open.n > 0)
        if (!add_children(&b, b.open.v[--b.open.n])) {
            st = SM_NOMEM(err);
            goto done;
        }
    for (uint32_t k = 0; k < b.nodes.v[0].kids; k++)
        x->root[b.bytes.v[b.nodes.v[0].first + k]] = b.nodes.v[0].first + k;
    x->nodes = b.nodes.v;
    x->bytes = b.bytes.v;
    b.nodes.v = NULL;
    b.bytes.v = NULL;
done:
    sm_free(b.ids);
    sm_free(b.spare);
    sm_free(b.open.v);
    sm_free(b.nodes.v);
    sm_free(b.bytes.v);
    return st;
}

void token_trie_free(token_trie *x) {
    sm_free(x->nodes);
    sm_free(x->bytes);
    *x = (token_trie){0};
}

int32_t token_trie_longest(const token_trie *x, const char *p, size_t n, size_t *len) {
    uint32_t node = 0;
    int32_t id = SM_NO_TOKEN;
    *len = 0;
    for (size_t i = 0; i < n && (node = token_trie_step(x, node, (uint8_t)p[i])) != 0; i++)
        if (x->nodes[node].id != SM_NO_TOKEN) {
            id = x->nodes[node].id;
            *len = i + 1;
        }
    return id;
}
