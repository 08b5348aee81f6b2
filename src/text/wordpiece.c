/* SPDX-License-Identifier: MIT
 *
 * wordpiece.c: WordPiece, as BERT has it: text is simplified, cut into words, and each word into the longest tokens.
 *
 * Simplified means: control characters and U+FFFD go; where the vocabulary wants it accents go (a character becomes the
 * first of its canonical decomposition, and marks vanish) and letters become lower case.  White space ends a word;
 * punctuation, ASCII symbols and Chinese characters are words of their own.  A vocabulary in a GGUF file marks the
 * beginning of a word with U+2581 where BERT's own file marks its continuation with "##"; so a word is looked up with
 * that mark in front.  A word of which some part is no token is the unknown token as a whole.
 *
 * This is llama.cpp's rule, to the character.  It differs from Hugging Face's in what is rare: Hangul syllables keep only
 * their first letter (theirs fall apart into all of them), spacing marks vanish with the others, and a word may be longer
 * than 100 characters.
 */
#include "text/tokenizer_int.h"

#include <string.h>
#include <utf8proc.h>

static bool is_chinese(uint32_t c) {
    /* U+2B820 to U+2B91F are missing in BERT's list as Hugging Face has it */
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
           (c >= 0x2a700 && c <= 0x2b73f) || (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

bool text_is_white(uint32_t c) {
    return (c >= '\t' && c <= '\r') || c == ' ' || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static uint32_t first_of_decomposition(uint32_t c) {
    utf8proc_int32_t parts[32];
    int last = 0;
    if (c < 0xc0)
        return c;
    utf8proc_ssize_t n =
        utf8proc_decompose_char((utf8proc_int32_t)c, parts, SM_ARRAY_LEN(parts), UTF8PROC_DECOMPOSE, &last);
    return n > 0 && n <= (utf8proc_ssize_t)SM_ARRAY_LEN(parts) ? (uint32_t)parts[0] : c;
}

typedef enum char_role { PART_OF_WORD, OWN_WORD, WHITE, DROPPED } char_role;

static char_role role_of(const sm_tokenizer *t, uint32_t c) {
    if (text_is_white(c))
        return WHITE;
    if (c == 0 || c == 0xfffd)
        return DROPPED;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CS:
        return DROPPED;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
        return t->strip_accents ? DROPPED : PART_OF_WORD;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
        return OWN_WORD;
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO:
        return c < 0x7f ? OWN_WORD : PART_OF_WORD;
    default:
        return is_chinese(c) ? OWN_WORD : PART_OF_WORD;
    }
}

/* The word in r->buf, which begins with its mark. */
static bool push_word(const sm_tokenizer *t, const merge_run *r, sm_ids *out) {
    size_t from = out->n;
    for (size_t i = 0, len; i < r->buf.n; i += len) {
        int32_t id = token_trie_longest(&t->trie, r->buf.p + i, r->buf.n - i, &len);
        if (id == SM_NO_TOKEN) {
            out->n = from;
            return t->unk == SM_NO_TOKEN || sm_ids_add(out, t->unk);
        }
        if (!sm_ids_add(out, id))
            return false;
    }
    return true;
}

static bool end_word(const sm_tokenizer *t, merge_run *r, sm_ids *out) {
    bool ok = r->buf.n <= 3 || push_word(t, r, out);
    sm_str_clear(&r->buf);
    sm_str_adds(&r->buf, "\xe2\x96\x81");
    return ok;
}

sm_status wordpiece_encode(const sm_tokenizer *t, merge_run *r, sm_sv text, sm_ids *out, sm_err *err) {
    bool ok = true;
    sm_str_clear(&r->buf);
    sm_str_adds(&r->buf, "\xe2\x96\x81");
    for (size_t i = 0; i < text.n && ok;) {
        uint32_t c;
        char utf8[4];
        int n = sm_utf8_decode(text.p + i, text.n - i, &c);
        i += n > 0 ? (size_t)n : 1;
        c = n > 0 ? c : 0xfffd;
        if (t->strip_accents)
            c = first_of_decomposition(c);
        char_role role = role_of(t, c);
        if (role == DROPPED)
            continue;
        if (role != PART_OF_WORD)
            ok = end_word(t, r, out);
        if (role == WHITE)
            continue;
        uint32_t low = t->lower_case ? (uint32_t)utf8proc_tolower((utf8proc_int32_t)c) : c;
        sm_str_add(&r->buf, utf8, (size_t)sm_utf8_encode(low, utf8));
        if (role == OWN_WORD)
            ok = ok && end_word(t, r, out);
    }
    ok = ok && end_word(t, r, out);
    return ok && sm_str_ok(&r->buf) ? SM_OK : SM_NOMEM(err);
}
