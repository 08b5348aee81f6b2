/* SPDX-License-Identifier: MIT
 *
 * unigram.c: SentencePiece's Unigram: text is normalised, then cut into the tokens whose scores add up to the most.
 *
 * Normalising replaces characters by the vocabulary's own map, collapses spaces, puts one in front and writes them as
 * U+2581, each as the file says.  The map (precompiled_charsmap) is a double array whose units are 32 bits,
 *
 *     bit  31     30 ... 10     9         8          7 ... 0
 *          value  BASE          << 8      has value  byte that leads here
 *
 * where a child stands at (its parent's place ^ BASE ^ byte), and the value of a node, at BASE with byte 0, is the offset
 * of its replacement in the texts that follow the array.  Units: int32 size of the array in bytes first.
 *
 * The best cut is found going once over the text: for each character the best way to get there, from which all tokens
 * that begin there lead on.  Where no token reaches beyond the place at hand, all ways meet: what lies before is certain,
 * is given out, and its memory is used again.  So a text needs memory for its longest stretch without such a place, a
 * word as a rule.  Sums run on over the whole text, in double, as llama.cpp's do: ties fall the same way.
 *
 * Threads: the maps are read-only once loaded.
 */
#include "text/tokenizer_int.h"

#include <float.h>
#include <string.h>

#define UNKNOWN_PENALTY 10.0f /* below the worst token */

/* ---- loading ------------------------------------------------------------------------------------------------- */

static sm_status load_charsmap(sm_tokenizer *t, sm_err *err) {
    const char *key = "tokenizer.ggml.precompiled_charsmap";
    const sm_meta *m = sm_checkpoint_meta(t->c, key);
    uint32_t bytes;
    if (m == NULL)
        return SM_OK;
    if (m->type != SM_META_ARRAY || (m->raw != SM_UINT8 && m->raw != SM_INT8))
        return SM_FAIL(err, SM_BADINPUT, "%s: '%s': wanted an array of bytes", t->c->path, key);
    if (m->u.a.n < sizeof bytes)
        return SM_FAIL(err, SM_BADINPUT, "%s: '%s': wanted at least 4 bytes, found %llu", t->c->path, key,
                       (unsigned long long)m->u.a.n);
    const char *p = m->u.a.data;
    memcpy(&bytes, p, sizeof bytes);
    if (bytes >= m->u.a.n - sizeof bytes)
        return SM_FAIL(err, SM_BADINPUT, "%s: '%s': its array has %u bytes, the whole %llu", t->c->path, key, bytes,
                       (unsigned long long)m->u.a.n);
    t->map.units = p + sizeof bytes;
    t->map.n_units = bytes / sizeof(uint32_t);
    t->map.texts = t->map.units + bytes;
    t->map.n_texts = (size_t)m->u.a.n - sizeof bytes - bytes;
    if (t->map.texts[t->map.n_texts - 1] != '\0')
        return SM_FAIL(err, SM_BADINPUT, "%s: '%s': its last text has no end", t->c->path, key);
    return SM_OK;
}

sm_status unigram_load(sm_tokenizer *t, sm_err *err) {
    const uint8_t wanted = ATTR_NORMAL | ATTR_USER | ATTR_UNUSED;
    float least = FLT_MAX;
    size_t n = 0, n_user = 0;
    SM_TRY(load_charsmap(t, err));
    int32_t *ids = sm_alloc_n((size_t)t->n, sizeof *ids);
    if (ids == NULL)
        return SM_NOMEM(err);
    for (int32_t id = 0; id < t->n; id++) {
        if (t->attr[id] & ATTR_NORMAL)
            least = SM_MIN(least, vocab_score(t, id));
        if (t->text[id].n > 0 && (t->attr[id] & wanted))
            ids[n++] = id;
    }
    t->unknown_score = least - UNKNOWN_PENALTY;
    sm_status st = token_trie_make(&t->trie, t->text, ids, n, err);
    for (int32_t id = 0; id < t->n; id++)
        if (t->text[id].n > 0 && (t->attr[id] & ATTR_USER))
            ids[n_user++] = id;
    if (st == SM_OK && n_user > 0)
        st = token_trie_make(&t->user, t->text, ids, n_user, err);
    sm_free(ids);
    return st;
}

/* ---- normalising --------------------------------------------------------------------------------------------- */

static bool map_unit(const char_map *m, uint32_t at, uint32_t *unit) {
    if (at >= m->n_units)
        return false;
    memcpy(unit, m->units + (size_t)at * sizeof *unit, sizeof *unit);
    return true;
}

static uint32_t unit_base(uint32_t unit) {
    return unit >> 10 << ((unit & 1u << 9) >> 6);
}

/* Length of the longest text at p that the map replaces, 0 for none; *text: offset of the replacement. */
static size_t map_longest(const char_map *m, const char *p, size_t n, uint32_t *text) {
    uint32_t at, unit, value;
    size_t longest = 0;
    if (!map_unit(m, 0, &unit))
        return 0;
    at = unit_base(unit);
    for (size_t i = 0; i < n && p[i] != '\0'; i++) {
        at ^= (uint8_t)p[i];
        if (!map_unit(m, at, &unit) || (unit & (1u << 31 | 0xff)) != (uint8_t)p[i])
            break;
        at ^= unit_base(unit);
        if (unit & 1u << 8 && map_unit(m, at, &value)) {
            longest = i + 1;
            *text = value & ~(1u << 31);
        }
    }
    return longest;
}

/* How much of the text begins a user-defined token, in whole characters: it stays as it is. */
static size_t user_prefix(const token_trie *x, sm_sv text, size_t at) {
    uint32_t node = 0;
    size_t i = at;
    if (x->nodes == NULL)
        return 0;
    while (i < text.n && (node = token_trie_step(x, node, (uint8_t)text.p[i])) != 0)
        i++;
    while (i > at && i < text.n && ((uint8_t)text.p[i] & 0xc0) == 0x80)
        i--;
    return i - at;
}

typedef struct normalising {
    const sm_tokenizer *t;
    sm_str *out;
    bool begun;   /* a space was put in front */
    bool in_word; /* the last character was none */
} normalising;

static void add_space(const normalising *z) {
    sm_str_adds(z->out, "\xe2\x96\x81");
}

static void add_normal(normalising *z, const char *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (p[i] == ' ') {
            z->in_word = false;
            if (!z->t->merge_spaces)
                add_space(z);
            continue;
        }
        if (!z->in_word && ((z->t->space_prefix && !z->begun) || z->t->merge_spaces)) {
            add_space(z);
            z->begun = true;
        }
        z->in_word = true;
        size_t end = i + 1;
        while (end < n && p[end] != ' ')
            end++;
        sm_str_add(z->out, p + i, end - i);
        i = end - 1;
    }
}

static sm_status normalise(const sm_tokenizer *t, sm_sv text, sm_str *out, sm_err *err) {
    normalising z = {t, out, false, false};
    sm_str_clear(out);
    for (size_t i = 0; i < text.n;) {
        size_t n = user_prefix(&t->user, text, i);
        uint32_t replacement = 0;
        if (n == 0 && t->map.n_units > 0 && (n = map_longest(&t->map, text.p + i, text.n - i, &replacement)) > 0) {
            if (replacement >= t->map.n_texts)
                return SM_FAIL(err, SM_BADINPUT,
                               "%s: 'tokenizer.ggml.precompiled_charsmap': text %u is beyond its end at %zu",
                               t->c->path, replacement, t->map.n_texts);
            add_normal(&z, t->map.texts + replacement, strlen(t->map.texts + replacement));
        } else {
            if (n == 0) {
                n = 1;
                while (i + n < text.n && ((uint8_t)text.p[i + n] & 0xc0) == 0x80)
                    n++;
            }
            add_normal(&z, text.p + i, n);
        }
        i += n;
    }
    return sm_str_ok(out) ? SM_OK : SM_NOMEM(err);
}

/* ---- cutting ------------------------------------------------------------------------------------------------- */

typedef struct cutting {
    const sm_tokenizer *t;
    lattice_run *l;
    sm_ids *out;
    size_t first; /* ids of this text begin here in out */
    size_t base;  /* l->v[0] is this place of the text */
    size_t reach; /* the furthest place that some token leads to */
} cutting;

static void offer(cutting *c, size_t from, size_t to, int32_t id, double score) {
    lattice_step *v = c->l->v;
    for (; c->reach < to; c->reach++)
        v[c->reach + 1 - c->base] = (lattice_step){-DBL_MAX, SM_NO_TOKEN, 0};
    lattice_step *x = &v[to - c->base];
    if (score > x->score)
        *x = (lattice_step){score, id, (uint32_t)(from - c->base)};
}

/* All tokens that begin at `at`, and the unknown token if none of them is the one character there. */
static void offer_all(cutting *c, sm_sv text, size_t at, size_t n_char) {
    const sm_tokenizer *t = c->t;
    double score = c->l->v[at - c->base].score;
    uint32_t node = 0;
    bool single = false;
    for (size_t i = at; i < text.n && (node = token_trie_step(&t->trie, node, (uint8_t)text.p[i])) != 0; i++) {
        int32_t id = t->trie.nodes[node].id;
        if (id == SM_NO_TOKEN)
            continue;
        single = single || i + 1 - at == n_char;
        offer(c, at, i + 1, id, score + (t->attr[id] & ATTR_USER ? 0.0 : (double)vocab_score(t, id)));
    }
    if (!single)
        offer(c, at, at + n_char, t->unk, score + (double)t->unknown_score);
}

/* Gives out the best way to `at`, where all ways meet; neighbouring unknown tokens become one. */
static bool give_out(cutting *c, size_t at) {
    const lattice_step *v = c->l->v;
    size_t from = c->out->n;
    for (size_t k = at - c->base; k > 0; k = v[k].from) {
        if (v[k].id == SM_NO_TOKEN)
            continue;
        if (v[k].id == c->t->unk && c->out->n > from && c->out->v[c->out->n - 1] == c->t->unk)
            continue;
        if (!sm_ids_add(c->out, v[k].id))
            return false;
    }
    int32_t *ids = c->out->v;
    for (size_t i = from, k = c->out->n; i + 1 < k; i++) {
        int32_t x = ids[i];
        ids[i] = ids[--k];
        ids[k] = x;
    }
    if (from > c->first && c->out->n > from && ids[from] == c->t->unk && ids[from - 1] == c->t->unk) {
        c->out->n--;
        memmove(ids + from, ids + from + 1, (c->out->n - from) * sizeof *ids);
    }
    return true;
}

/* Room for steps up to `to`. */
static bool have_room(const cutting *c, size_t to) {
    lattice_run *l = c->l;
    size_t want = to - c->base + 1;
    if (want <= l->cap)
        return true;
    size_t cap = SM_MAX(want + want / 2, (size_t)1024);
    lattice_step *v = sm_realloc(l->v, cap * sizeof *v);
    if (v == NULL)
        return false;
    l->v = v;
    l->cap = cap;
    return true;
}

sm_status unigram_encode(const sm_tokenizer *t, lattice_run *l, sm_sv raw, sm_ids *out, sm_err *err) {
    cutting c = {.t = t, .l = l, .out = out, .first = out->n};
    SM_TRY(normalise(t, raw, &l->buf, err));
    sm_sv text = {l->buf.p, l->buf.n};
    if (text.n == 0)
        return SM_OK;
    if (!have_room(&c, 0))
        return SM_NOMEM(err);
    l->v[0] = (lattice_step){0, SM_NO_TOKEN, 0};
    for (size_t at = 0; at < text.n;) {
        if (at == c.reach && at > c.base) {
            if (!give_out(&c, at))
                return SM_NOMEM(err);
            l->v[0] = l->v[at - c.base];
            c.base = at;
        }
        size_t n = 1;
        while (at + n < text.n && ((uint8_t)text.p[at + n] & 0xc0) == 0x80)
            n++;
        if (!have_room(&c, SM_MIN(at + SM_MAX(t->trie.longest, n), text.n)))
            return SM_NOMEM(err);
        offer_all(&c, text, at, n);
        at += n;
    }
    return give_out(&c, text.n) ? SM_OK : SM_NOMEM(err);
}
