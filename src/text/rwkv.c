/* SPDX-License-Identifier: MIT
 *
 * rwkv.c: RWKV's "World" tokenizer: at each place the longest token, whatever comes after it.
 *
 * Tokens are byte strings, which GGUF keeps as text in the manner of Python: backslashes before t, n, r, xHH, and before
 * anything else that stands for itself.  A byte that begins no token is the unknown token, or nothing where there is none.
 */
#include "text/tokenizer_int.h"

void rwkv_unescape(sm_sv s, sm_str *out) {
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c != '\\') {
            sm_str_addc(out, c);
        } else if (++i < s.n) {
            c = s.p[i];
            if (c == 'x' && i + 2 < s.n) {
                int hi = SM_MAX(sm_hex_digit(s.p[i + 1]), 0), lo = SM_MAX(sm_hex_digit(s.p[i + 2]), 0);
                sm_str_addc(out, (char)(hi * 16 + lo));
                i += 2;
            } else if (c == 'x') {
                break; /* cut off */
            } else {
                sm_str_addc(out, c == 't' ? '\t' : c == 'n' ? '\n' : c == 'r' ? '\r' : c);
            }
        }
    }
}

sm_status rwkv_load(sm_tokenizer *t, sm_err *err) {
    size_t n = (size_t)t->n, n_ids = 0;
    sm_str bytes = SM_STR_INIT;
    sm_sv *text = sm_alloc_n(n, sizeof *text);
    size_t *end = sm_alloc_n(n, sizeof *end);
    int32_t *ids = sm_alloc_n(n, sizeof *ids);
    sm_status st = SM_OK;
    for (size_t i = 0; i < n && end != NULL; i++) {
        rwkv_unescape(t->text[i], &bytes);
        end[i] = bytes.n;
    }
    if (text == NULL || end == NULL || ids == NULL || !sm_str_ok(&bytes)) {
        st = SM_NOMEM(err);
        goto done;
    }
    for (size_t i = 0, at = 0; i < n; at = end[i++]) {
        text[i] = (sm_sv){sm_str_z(&bytes) + at, end[i] - at};
        if (text[i].n > 0)
            ids[n_ids++] = (int32_t)i;
    }
    st = token_trie_make(&t->trie, text, ids, n_ids, err);
done:
    sm_str_free(&bytes);
    sm_free(text);
    sm_free(end);
    sm_free(ids);
    return st;
}

sm_status rwkv_encode(const sm_tokenizer *t, sm_sv text, sm_ids *out, sm_err *err) {
    for (size_t at = 0, n; at < text.n; at += n) {
        int32_t id = token_trie_longest(&t->trie, text.p + at, text.n - at, &n);
        if (id == SM_NO_TOKEN) {
            id = t->unk;
            n = 1;
        }
        if (id == SM_NO_TOKEN)
            continue;
        if (!sm_ids_add(out, id))
            return SM_NOMEM(err);
    }
    return SM_OK;
}
