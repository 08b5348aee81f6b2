/* SPDX-License-Identifier: MIT
 *
 * plamo.c: PLaMo 2's tokenizer: the cut of least cost, found from the end of the text.
 *
 * Scores are integers (ten thousandths); a token that scores less than -2000 is not used, and a character that is no
 * token costs 1000 and is written in bytes.  Of cuts that cost the same the one with the longer first token wins, which
 * is why the search runs backwards.  The model's own program walks a table of all ends of all tokens to find those that
 * begin at a place; a trie finds the same ones.
 *
 * Costs are kept for as many places as the longest token is long, and one number for every byte of the text: the token
 * that begins there.
 */
#include "text/tokenizer_int.h"

#include <math.h>

enum { WORST_SCORE = -20000000, UNKNOWN_SCORE = -10000000 };

static int32_t score_of(const sm_tokenizer *t, int32_t id) {
    double s = round((double)vocab_score(t, id) * 1e4);
    return !isfinite(s) || s <= WORST_SCORE ? WORST_SCORE : (int32_t)SM_MIN(s, (double)INT32_MAX);
}

sm_status plamo_load(sm_tokenizer *t, sm_err *err) {
    size_t n = 0;
    for (int b = 0; b < 256; b++)
        if (t->byte_id[b] == SM_NO_TOKEN || !(t->attr[t->byte_id[b]] & ATTR_BYTE))
            return SM_FAIL(err, SM_BADINPUT, "%s: 'tokenizer.ggml.tokens': no token for the byte <0x%02X>", t->c->path,
                           (unsigned)b);
    int32_t *ids = sm_alloc_n((size_t)t->n, sizeof *ids);
    if (ids == NULL)
        return SM_NOMEM(err);
    for (int32_t id = 0; id < t->n; id++)
        if (t->text[id].n > 0 && !(t->attr[id] & ATTR_BYTE) && score_of(t, id) > WORST_SCORE &&
            sm_utf8_valid(t->text[id].p, t->text[id].n) == t->text[id].n)
            ids[n++] = id;
    sm_status st = token_trie_make(&t->trie, t->text, ids, n, err);
    sm_free(ids);
    return st;
}

/* For each place where a character begins the token to take there, or none. */
static void find_best(const sm_tokenizer *t, sm_sv text, int64_t *cost, size_t mask, int32_t *best) {
    cost[text.n & mask] = 0;
    for (size_t at = text.n, end = text.n; at-- > 0;) {
        if (((uint8_t)text.p[at] & 0xc0) == 0x80)
            continue;
        int64_t least = cost[end & mask] - UNKNOWN_SCORE;
        uint32_t node = 0;
        best[at] = SM_NO_TOKEN;
        for (size_t i = at; i < text.n && (node = token_trie_step(&t->trie, node, (uint8_t)text.p[i])) != 0; i++) {
            int32_t id = t->trie.nodes[node].id;
            int64_t c = id != SM_NO_TOKEN ? cost[(i + 1) & mask] - score_of(t, id) : INT64_MAX;
            if (c <= least && id != SM_NO_TOKEN) {
                least = c;
                best[at] = id;
            }
        }
        cost[at & mask] = least;
        end = at;
    }
}

sm_status plamo_encode(const sm_tokenizer *t, sm_sv text, sm_ids *out, sm_err *err) {
    size_t room = 8;
    sm_status st = SM_OK;
    if (text.n >= 3 && text.p[0] == '\xef' && text.p[1] == '\xbb' && text.p[2] == '\xbf')
        text = (sm_sv){text.p + 3, text.n - 3};
    while (room < t->trie.longest + 1)
        room *= 2;
    int64_t *cost = sm_alloc_n(room, sizeof *cost);
    int32_t *best = sm_alloc_n(text.n, sizeof *best);
    if (cost == NULL || best == NULL) {
        st = SM_NOMEM(err);
        goto done;
    }
    find_best(t, text, cost, room - 1, best);
    for (size_t at = 0; at < text.n;) {
        int32_t id = best[at];
        size_t n = id != SM_NO_TOKEN ? t->text[id].n : 1;
        /* of a character without a token each byte is one; `best` says nothing about its middle */
        if (id == SM_NO_TOKEN || ((uint8_t)text.p[at] & 0xc0) == 0x80) {
            id = t->byte_id[(uint8_t)text.p[at]];
            n = 1;
        }
        if (!sm_ids_add(out, id)) {
            st = SM_NOMEM(err);
            goto done;
        }
        at += n;
    }
done:
    sm_free(cost);
    sm_free(best);
    return st;
}
