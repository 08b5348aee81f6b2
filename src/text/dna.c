/* SPDX-License-Identifier: MIT
 *
 * dna.c: "hybriddna": BPE whose text may hold stretches of DNA, cut into sixes.
 *
 *     ATG<dna>acgtacgta</dna>   ->   BPE of "ATG", <dna>, ACGTAC, GTAAAA, </dna>
 *
 * Letters become upper case and the last six is filled up with A.  In the vocabulary a six has U+E000 after it, so that it
 * is not taken for a word of the same letters; a six that is not there is <oov>.  A stretch may lack its end.
 */
#include "text/tokenizer_int.h"

#include <string.h>

enum { SIX = 6 };
static const char open_tag[] = "<dna>", close_tag[] = "</dna>", mark[] = "\xee\x80\x80";

bool dna_load(sm_tokenizer *t) {
    t->dna_open = vocab_find(t, open_tag, sizeof open_tag - 1);
    t->dna_close = vocab_find(t, close_tag, sizeof close_tag - 1);
    t->dna_unknown = vocab_find(t, "<oov>", 5);
    return t->dna_open != SM_NO_TOKEN && t->dna_close != SM_NO_TOKEN && t->dna_unknown != SM_NO_TOKEN;
}

sm_sv dna_text(const sm_tokenizer *t, int32_t id) {
    sm_sv s = t->text[id];
    if (t->dna && id > t->dna_unknown && s.n > 3 && memcmp(s.p + s.n - 3, mark, 3) == 0)
        s.n -= 3;
    return s;
}

static bool push_sixes(const sm_tokenizer *t, sm_sv bases, sm_ids *out) {
    for (size_t i = 0; i < bases.n; i += SIX) {
        char six[SIX + 3];
        for (size_t k = 0; k < SIX; k++) {
            char c = i + k < bases.n ? bases.p[i + k] : 'A';
            six[k] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
        }
        memcpy(six + SIX, mark, 3);
        int32_t id = vocab_find(t, six, sizeof six);
        if (!sm_ids_add(out, id != SM_NO_TOKEN ? id : t->dna_unknown))
            return false;
    }
    return true;
}

sm_status dna_split(const sm_tokenizer *t, sm_sv text, sm_status (*words)(void *ctx, sm_sv text), void *ctx,
                    sm_ids *out, sm_err *err) {
    for (size_t at = 0; at < text.n;) {
        const char *open = memmem(text.p + at, text.n - at, open_tag, sizeof open_tag - 1);
        size_t start = open != NULL ? (size_t)(open - text.p) : text.n;
        if (start > at)
            SM_TRY(words(ctx, (sm_sv){text.p + at, start - at}));
        if (open == NULL)
            break;
        start += sizeof open_tag - 1;
        const char *close = memmem(text.p + start, text.n - start, close_tag, sizeof close_tag - 1);
        size_t end = close != NULL ? (size_t)(close - text.p) : text.n;
        if (!sm_ids_add(out, t->dna_open) || !push_sixes(t, (sm_sv){text.p + start, end - start}, out) ||
            (close != NULL && !sm_ids_add(out, t->dna_close)))
            return SM_NOMEM(err);
        at = close != NULL ? end + sizeof close_tag - 1 : text.n;
    }
    return SM_OK;
}
