/* SPDX-License-Identifier: MIT
 *
 * merge.c: byte-pair encoding: a word's characters, merged pair by pair into tokens.
 *
 * Both kinds start from one symbol a character and always do the best merge that is left: the one of lowest rank in
 * the list of merges (BPE), or the one whose result has the highest score (SentencePiece); of equals, the leftmost.
 * Symbols are a linked list in an array, candidates a binary heap, and a candidate whose symbols have changed since
 * is dropped when it comes up: its length does not fit any more.  So a word of n characters takes n log n steps, which
 * matters where a "word" is a megabyte without spaces.  Words that come again are remembered for the length of a call.
 *
 *     symbols   [ h ][ e ][ l ][ l ][ o ]        n == 0: gone
 *                 '----'    '----'               after two merges: he, ll, o
 *
 * Owns nothing: buffers are the call's merge_run, kept from word to word.
 */
#include "text/tokenizer_int.h"

#include <string.h>

/* ---- words seen before --------------------------------------------------------------------------------------- */

/* A text says the same words again and again: the ids of short ones are kept, each in the one place that its hash
 * names, until another word needs that place. */
enum { MEMO_BYTES = 30, MEMO_IDS = 6, MEMO_MOST = 8192, MEMO_TEXT = 4096 };
struct merge_memo {
    uint64_t hash; /* 0: empty */
    uint8_t n, n_ids;
    char word[MEMO_BYTES];
    int32_t ids[MEMO_IDS];
};

void merge_run_expect(merge_run *r, size_t n_text) {
    size_t n = 256;
    if (n_text < MEMO_TEXT || r->memo != NULL)
        return;
    while (n < MEMO_MOST && n * 64 < n_text)
        n *= 2;
    r->memo = sm_alloc_n(n, sizeof *r->memo); /* without it all goes on, slower */
    r->memo_mask = n - 1;
}

static uint64_t memo_hash(sm_sv word) {
    uint64_t h = word.n * 0x9e3779b97f4a7c15u, part;
    for (size_t i = 0; i < word.n; i += 8) {
        part = 0;
        memcpy(&part, word.p + i, SM_MIN(word.n - i, (size_t)8));
        h = (h ^ part) * 0x9fb21c651e98df25u;
        h ^= h >> 32;
    }
    return h | 1;
}

static struct merge_memo *memo_of(const merge_run *r, sm_sv word, uint64_t hash) {
    return r->memo != NULL && word.n <= MEMO_BYTES ? &r->memo[hash >> 1 & r->memo_mask] : NULL;
}

static bool memo_is(const struct merge_memo *m, sm_sv word, uint64_t hash) {
    return m != NULL && m->hash == hash && m->n == word.n && memcmp(m->word, word.p, word.n) == 0;
}

static void memo_keep(struct merge_memo *m, sm_sv word, uint64_t hash, const sm_ids *out, size_t from) {
    size_t n = out->n - from;
    if (m == NULL || n > MEMO_IDS)
        return;
    m->hash = hash;
    m->n = (uint8_t)word.n;
    m->n_ids = (uint8_t)n;
    memcpy(m->word, word.p, word.n);
    for (size_t i = 0; i < n; i++)
        m->ids[i] = out->v[from + i];
}

void merge_run_free(merge_run *r) {
    sm_free(r->memo);
    sm_free(r->sym.v);
    sm_free(r->heap.v);
    sm_str_free(&r->buf);
    *r = (merge_run){0};
}

void merge_escape_spaces(sm_sv text, sm_str *out) {
    for (size_t i = 0; i < text.n;) {
        const char *space = memchr(text.p + i, ' ', text.n - i);
        size_t end = space != NULL ? (size_t)(space - text.p) : text.n;
        sm_str_add(out, text.p + i, end - i);
        if (space != NULL)
            sm_str_add(out, "\xe2\x96\x81", 3);
        i = end + (space != NULL);
    }
}

/* ---- the queue ----------------------------------------------------------------------------------------------- */

static bool pair_less(const merge_pair *a, const merge_pair *b) {
    return a->key != b->key ? a->key < b->key : a->left < b->left;
}

static bool heap_push(merge_run *r, merge_pair x) {
    if (!SM_GROW(&r->heap))
        return false;
    merge_pair *v = r->heap.v;
    size_t i = r->heap.n++;
    for (; i > 0 && pair_less(&x, &v[(i - 1) / 2]); i = (i - 1) / 2)
        v[i] = v[(i - 1) / 2];
    v[i] = x;
    return true;
}

static merge_pair heap_pop(merge_run *r) {
    merge_pair *v = r->heap.v, top = v[0], x = v[--r->heap.n];
    size_t n = r->heap.n, i = 0;
    for (size_t k; (k = 2 * i + 1) < n; i = k) {
        if (k + 1 < n && pair_less(&v[k + 1], &v[k]))
            k++;
        if (!pair_less(&v[k], &x))
            break;
        v[i] = v[k];
    }
    v[i] = x;
    return top;
}

/* ---- merging ------------------------------------------------------------------------------------------------- */

/* Queues two neighbours if they can be merged at all; false when out of memory. */
static bool try_pair(const sm_tokenizer *t, merge_run *r, const char *text, int32_t left, int32_t right) {
    if (left < 0 || right < 0)
        return true;
    const merge_symbol *a = &r->sym.v[left], *b = &r->sym.v[right];
    const char *p = text + a->start;
    uint32_t n = a->n + b->n;
    merge_pair x = {0, (uint32_t)left, (uint32_t)right, n};
    if (t->kind == KIND_SPM) {
        int32_t id = vocab_find(t, p, n);
        if (id == SM_NO_TOKEN)
            return true;
        x.key = -vocab_score(t, id);
    } else {
        int32_t rank = vocab_merge_rank(t, p, a->n, n);
        if (rank < 0)
            return true;
        x.key = (float)rank;
    }
    return heap_push(r, x);
}

/* One symbol a character; the lead byte says how long it is. */
static bool make_symbols(merge_run *r, sm_sv text) {
    r->sym.n = 0;
    r->heap.n = 0;
    for (size_t i = 0; i < text.n;) {
        uint8_t b = (uint8_t)text.p[i];
        size_t n = b < 0xc0 ? 1 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
        n = SM_MIN(n, text.n - i);
        if (!SM_GROW(&r->sym))
            return false;
        int32_t k = (int32_t)r->sym.n++;
        r->sym.v[k] = (merge_symbol){(uint32_t)i, (uint32_t)n, k - 1, i + n < text.n ? k + 1 : -1};
        i += n;
    }
    return true;
}

static bool merge_all(const sm_tokenizer *t, merge_run *r, sm_sv text) {
    if (!make_symbols(r, text))
        return false;
    for (size_t i = 1; i < r->sym.n; i++)
        if (!try_pair(t, r, text.p, (int32_t)i - 1, (int32_t)i))
            return false;
    while (r->heap.n > 0) {
        merge_pair x = heap_pop(r);
        merge_symbol *a = &r->sym.v[x.left], *b = &r->sym.v[x.right];
        if (a->n == 0 || b->n == 0 || a->n + b->n != x.n)
            continue;
        a->n = x.n;
        b->n = 0;
        a->next = b->next;
        if (b->next >= 0)
            r->sym.v[b->next].prev = (int32_t)x.left;
        if (!try_pair(t, r, text.p, a->prev, (int32_t)x.left) || !try_pair(t, r, text.p, (int32_t)x.left, a->next))
            return false;
    }
    return true;
}

/* The token, or tokens of its bytes; bytes that have none become the unknown token (scores) or vanish (merges). */
static bool push_symbol(const sm_tokenizer *t, const char *p, size_t n, sm_ids *out) {
    int32_t id = vocab_find(t, p, n);
    if (id != SM_NO_TOKEN)
        return sm_ids_add(out, id);
    for (size_t i = 0; i < n; i++) {
        id = t->byte_id[(uint8_t)p[i]];
        if (id == SM_NO_TOKEN && t->kind == KIND_SPM)
            id = t->unk;
        if (id != SM_NO_TOKEN && !sm_ids_add(out, id))
            return false;
    }
    return true;
}

static bool push_all(const sm_tokenizer *t, const merge_run *r, const char *text, sm_ids *out) {
    for (int32_t i = r->sym.n > 0 ? 0 : -1; i >= 0; i = r->sym.v[i].next)
        if (!push_symbol(t, text + r->sym.v[i].start, r->sym.v[i].n, out))
            return false;
    return true;
}

static bool all_newlines(sm_sv s) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '\n')
            return false;
    return true;
}

static sm_status word_bpe(const sm_tokenizer *t, merge_run *r, sm_sv word, sm_ids *out, sm_err *err) {
    sm_sv s = word;
    if (!(t->traits & PRE_RAW)) {
        sm_str_clear(&r->buf);
        vocab_bytes_encode(word.p, word.n, &r->buf);
        if (!sm_str_ok(&r->buf))
            return SM_NOMEM(err);
        s = (sm_sv){r->buf.p, r->buf.n};
    }
    bool whole = (t->traits & PRE_WHOLE_WORDS) || ((t->traits & PRE_NEWLINE_RUNS) && all_newlines(s));
    int32_t id = whole ? vocab_find(t, s.p, s.n) : SM_NO_TOKEN;
    if (id != SM_NO_TOKEN)
        return sm_ids_add(out, id) ? SM_OK : SM_NOMEM(err);
    return merge_all(t, r, s) && push_all(t, r, s.p, out) ? SM_OK : SM_NOMEM(err);
}

static sm_status word_spm(const sm_tokenizer *t, merge_run *r, sm_sv word, sm_ids *out, sm_err *err) {
    return merge_all(t, r, word) && push_all(t, r, word.p, out) ? SM_OK : SM_NOMEM(err);
}

/* A word by merges or by scores, or as it was the last time. */
static sm_status merge_word(const sm_tokenizer *t, merge_run *r, sm_sv word, sm_ids *out, sm_err *err) {
    uint64_t hash = r->memo != NULL && word.n <= MEMO_BYTES ? memo_hash(word) : 0;
    struct merge_memo *m = memo_of(r, word, hash);
    size_t from = out->n;
    if (memo_is(m, word, hash)) {
        for (size_t i = 0; i < m->n_ids; i++)
            if (!sm_ids_add(out, m->ids[i]))
                return SM_NOMEM(err);
        return SM_OK;
    }
    SM_TRY((t->kind == KIND_SPM ? word_spm : word_bpe)(t, r, word, out, err));
    memo_keep(m, word, hash, out, from);
    return SM_OK;
}

/* Text whose spaces are U+2581: nothing merges across a place where a space comes after a byte that no token has before a
 * space, so that the stretches between such places are words. */
sm_status merge_text(const sm_tokenizer *t, merge_run *r, sm_sv text, sm_ids *out, sm_err *err) {
    size_t from = 0;
    for (size_t i = 1; t->words_end && i + 2 < text.n; i++) {
        const char *p = memchr(text.p + i, '\xe2', text.n - 2 - i);
        if (p == NULL)
            break;
        i = (size_t)(p - text.p);
        if (p[1] == '\x96' && p[2] == '\x81' && !t->before_space[(uint8_t)p[-1]]) {
            SM_TRY(merge_word(t, r, (sm_sv){text.p + from, i - from}, out, err));
            from = i;
        }
    }
    return from < text.n ? merge_word(t, r, (sm_sv){text.p + from, text.n - from}, out, err) : SM_OK;
}

/* Notes the byte before each U+2581 within a token. */
static void note_spaces(sm_tokenizer *t, sm_sv s) {
    for (size_t i = 1; i + 2 < s.n; i++)
        if (s.p[i] == '\xe2' && s.p[i + 1] == '\x96' && s.p[i + 2] == '\x81')
            t->before_space[(uint8_t)s.p[i - 1]] = true;
}

void merge_load(sm_tokenizer *t) {
    t->words_end = t->kind == KIND_SPM || (t->traits & PRE_ESCAPE);
    if (t->kind == KIND_SPM)
        for (int32_t id = 0; id < t->n; id++)
            note_spaces(t, t->text[id]);
    else if (t->words_end)
        for (size_t i = 0; i < t->n_merges; i++) {
            const char *space = t->merges[i].n > 1 ? memchr(t->merges[i].p + 1, ' ', t->merges[i].n - 1) : NULL;
            sm_sv right = space != NULL ? (sm_sv){space + 1, (size_t)(t->merges[i].p + t->merges[i].n - space - 1)}
                                        : (sm_sv){"", 0};
            if (right.n >= 3 && memcmp(right.p, "\xe2\x96\x81", 3) == 0)
                t->before_space[(uint8_t)space[-1]] = true;
        }
}
