/* SPDX-License-Identifier: MIT
 *
 * special.c: which tokens are special, which of them end generation, and cutting text at them.
 *
 * Vocabularies say little about the roles of their special tokens, so llama.cpp goes by well-known spellings; users of
 * its files count on that, and the tables below are those spellings.
 *
 * Text is cut as if for each special token, longest first, every place where it still stands in uncut text were cut
 * out from left to right.  Doing it like that would read the text once per token (Gemma has 6,400), so a trie finds in
 * one pass how often each token occurs anywhere, and only the tokens that do take their turn: those that are rare from
 * a list of their places, those that are frequent (runs of one character) by searching the text.
 *
 *     taken:  ....########..####......      bytes of tokens cut out, and white space that such a token swallows
 *
 * Threads: the set is read-only once loaded; each cut has its own buffers.
 */
#include "text/tokenizer_int.h"

#include <stdlib.h>
#include <string.h>

/* ---- roles --------------------------------------------------------------------------------------------------- */

/* The first spelling that exists takes the role, unless the file names a token for it. */
static const char *const eot_names[] = {"<|eot_id|>",
                                        "<|im_end|>",
                                        "<|end|>",
                                        "<end_of_turn>",
                                        "<|endoftext|>",
                                        "<|end_of_text|>",
                                        "<EOT>",
                                        "_<EOT>",
                                        "[EOT]",
                                        "<\xef\xbd\x9c"
                                        "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
                                        "<end_of_utterance>",
                                        NULL};
static const char *const eom_names[] = {"<|eom_id|>", NULL};
static const char *const fim_pre_names[] = {"<|fim_prefix|>",
                                            "<fim-prefix>",
                                            "<fim_prefix>",
                                            "<\xef\xbd\x9c"
                                            "fim\xe2\x96\x81"
                                            "begin\xef\xbd\x9c>",
                                            "<PRE>",
                                            "\xe2\x96\x81<PRE>",
                                            "<|code_prefix|>",
                                            "<|plamo:fim_prefix|>",
                                            "<|prefix|>",
                                            NULL};
static const char *const fim_suf_names[] = {"<|fim_suffix|>",
                                            "<fim-suffix>",
                                            "<fim_suffix>",
                                            "<\xef\xbd\x9c"
                                            "fim\xe2\x96\x81hole\xef\xbd\x9c>",
                                            "<SUF>",
                                            "\xe2\x96\x81<SUF>",
                                            "<|code_suffix|>",
                                            "<|plamo:fim_suffix|>",
                                            "<|suffix|>",
                                            NULL};
static const char *const fim_mid_names[] = {"<|fim_middle|>",
                                            "<fim-middle>",
                                            "<fim_middle>",
                                            "<\xef\xbd\x9c"
                                            "fim\xe2\x96\x81"
                                            "end\xef\xbd\x9c>",
                                            "<MID>",
                                            "\xe2\x96\x81<MID>",
                                            "<|code_middle|>",
                                            "<|plamo:fim_middle|>",
                                            "<|middle|>",
                                            NULL};
static const char *const fim_pad_names[] = {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]", NULL};
static const char *const fim_rep_names[] = {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>",
                                            "<REPO>",       "<reponame>",    NULL};
static const char *const fim_sep_names[] = {"<|file_sep|>", "<|plamo:file_separator|>", NULL};

/* All of these end generation. */
static const char *const end_names[] = {"<|eot_id|>",
                                        "<|im_end|>",
                                        "<|end|>",
                                        "<|return|>",
                                        "<|call|>",
                                        "<|flush|>",
                                        "<|calls|>",
                                        "<end_of_turn>",
                                        "<|endoftext|>",
                                        "</s>",
                                        "<|eom_id|>",
                                        "<EOT>",
                                        "_<EOT>",
                                        "[EOT]",
                                        "[EOS]",
                                        "<|end_of_text|>",
                                        "<end_of_utterance>",
                                        "<eos>",
                                        "<turn|>",
                                        "<|tool_response>",
                                        "<\xef\xbd\x9c"
                                        "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
                                        "[e~[",
                                        "<|ifm|im_end|>",
                                        NULL};
/* Parts of the harmony format: printed though control. */
static const char *const shown_names[] = {"<|channel|>", "<|message|>", "<|start|>", "<|constrain|>", NULL};

static int32_t find_z(const sm_tokenizer *t, const char *z) {
    return vocab_find(t, z, strlen(z));
}

static bool is_end(const sm_tokenizer *t, int32_t id) {
    for (size_t i = 0; i < t->ends.n; i++)
        if (t->ends.v[i] == id)
            return true;
    return false;
}

static bool add_end(sm_tokenizer *t, int32_t id) {
    if (id == SM_NO_TOKEN || is_end(t, id))
        return true;
    if (!SM_GROW(&t->ends))
        return false;
    size_t i = t->ends.n++;
    for (; i > 0 && t->ends.v[i - 1] > id; i--)
        t->ends.v[i] = t->ends.v[i - 1];
    t->ends.v[i] = id;
    return true;
}

static void drop_end(sm_tokenizer *t, int32_t id) {
    size_t k = 0;
    for (size_t i = 0; i < t->ends.n; i++)
        if (t->ends.v[i] != id)
            t->ends.v[k++] = t->ends.v[i];
    t->ends.n = k;
}

static sm_status read_role(const sm_tokenizer *t, const char *key, int32_t *id, sm_err *err) {
    int64_t v;
    if (*id >= t->n)
        *id = SM_NO_TOKEN;
    SM_TRY(sm_meta_int(t->c, key, -1, &v, err));
    if (v >= 0 && v < t->n) /* out of range, as some files have it, means none */
        *id = (int32_t)v;
    return SM_OK;
}

static void find_role(sm_tokenizer *t, const char *const *names, int32_t *id) {
    for (; *id == SM_NO_TOKEN && *names != NULL; names++) {
        *id = find_z(t, *names);
        if (*id != SM_NO_TOKEN)
            t->attr[*id] |= ATTR_CONTROL;
    }
}

static sm_status load_roles(sm_tokenizer *t, sm_err *err) {
    const struct {
        const char *key;
        int32_t *id;
        const char *const *names;
    } rows[] = {
        {"tokenizer.ggml.bos_token_id", &t->bos, NULL},
        {"tokenizer.ggml.eos_token_id", &t->eos, NULL},
        {"tokenizer.ggml.eot_token_id", &t->eot, eot_names},
        {"tokenizer.ggml.eom_token_id", &t->eom, eom_names},
        {"tokenizer.ggml.unknown_token_id", &t->unk, NULL},
        {"tokenizer.ggml.padding_token_id", &t->pad, NULL},
        {"tokenizer.ggml.seperator_token_id", &t->sep, NULL}, /* spelled so */
        {"tokenizer.ggml.cls_token_id", &t->cls, NULL},
        {"tokenizer.ggml.fim_pre_token_id", &t->fim_pre, NULL},
        {"tokenizer.ggml.fim_suf_token_id", &t->fim_suf, NULL},
        {"tokenizer.ggml.fim_mid_token_id", &t->fim_mid, NULL},
        {"tokenizer.ggml.fim_pad_token_id", &t->fim_pad, fim_pad_names},
        {"tokenizer.ggml.fim_rep_token_id", &t->fim_rep, fim_rep_names},
        {"tokenizer.ggml.fim_sep_token_id", &t->fim_sep, fim_sep_names},
        {"tokenizer.ggml.prefix_token_id", &t->fim_pre, fim_pre_names}, /* older spellings */
        {"tokenizer.ggml.suffix_token_id", &t->fim_suf, fim_suf_names},
        {"tokenizer.ggml.middle_token_id", &t->fim_mid, fim_mid_names},
    };
    for (size_t i = 0; i < SM_ARRAY_LEN(rows); i++) {
        SM_TRY(read_role(t, rows[i].key, rows[i].id, err));
        if (rows[i].names != NULL)
            find_role(t, rows[i].names, rows[i].id);
    }
    return SM_OK;
}

/* Spellings that end generation in one model and not in another. */
static void mend_ends(sm_tokenizer *t) {
    int32_t ret = find_z(t, "<|return|>"), end = find_z(t, "<|end|>"), call = find_z(t, "<|call|>");
    int32_t calls = find_z(t, "<|calls|>"), flush = find_z(t, "<|flush|>");
    bool called = call != SM_NO_TOKEN || calls != SM_NO_TOKEN;
    if (end != SM_NO_TOKEN && called && (ret != SM_NO_TOKEN || flush != SM_NO_TOKEN)) {
        drop_end(t, end); /* it closes one message of several */
        t->attr[end] = ATTR_USER;
    }
    int32_t s = find_z(t, "</s>");
    if (s != SM_NO_TOKEN && is_end(t, s) &&
        (find_z(t, "<|tool_response>") != SM_NO_TOKEN || is_end(t, find_z(t, "<|plamo:eos|>")))) {
        drop_end(t, s); /* strike-through markup */
        t->attr[s] = ATTR_NORMAL;
    }
}

static sm_status load_ends(sm_tokenizer *t, sm_err *err) {
    bool ok = add_end(t, t->fim_pad) && add_end(t, t->fim_rep) && add_end(t, t->fim_sep);
    for (const char *const *z = end_names; *z != NULL; z++) {
        int32_t id = find_z(t, *z);
        if (id == SM_NO_TOKEN)
            continue;
        ok = ok && add_end(t, id);
        t->attr[id] |= ATTR_CONTROL;
    }
    for (const char *const *z = shown_names; *z != NULL; z++) {
        int32_t id = find_z(t, *z);
        if (id != SM_NO_TOKEN)
            t->attr[id] = ATTR_USER;
    }
    ok = ok && add_end(t, t->eos) && add_end(t, t->eot) && add_end(t, t->eom);
    if (!ok)
        return SM_NOMEM(err);
    mend_ends(t);
    return SM_OK;
}

/* ---- the set ------------------------------------------------------------------------------------------------- */

static bool contains(sm_sv s, const char *z, bool any_case) {
    size_t n = strlen(z);
    for (size_t i = 0; i + n <= s.n; i++) {
        size_t k = 0;
        while (k < n && ((any_case && s.p[i + k] >= 'A' && s.p[i + k] <= 'Z' ? s.p[i + k] + 32 : s.p[i + k]) == z[k]))
            k++;
        if (k == n)
            return true;
    }
    return false;
}

static void set_attr(sm_tokenizer *t, const char *z, uint8_t attr, bool on) {
    int32_t id = find_z(t, z);
    if (id != SM_NO_TOKEN)
        t->attr[id] = on ? t->attr[id] | attr : t->attr[id] & ~attr;
}

/* White space that tokens swallow is not in the file; it goes by the names of pre-tokenizer, family and model. */
static sm_status load_strips(sm_tokenizer *t, sm_err *err) {
    sm_sv pre, arch, name;
    SM_TRY(sm_meta_str(t->c, "tokenizer.ggml.pre", SM_SV(""), &pre, err));
    SM_TRY(sm_meta_str(t->c, "general.architecture", SM_SV(""), &arch, err));
    SM_TRY(sm_meta_str(t->c, "general.name", SM_SV(""), &name, err));
    if (contains(pre, "jina-v2-de", false) || contains(pre, "jina-v2-es", false) ||
        contains(pre, "jina-v2-code", false) || contains(arch, "nomic-bert-moe", false) ||
        contains(arch, "jina-bert-v3", false)) {
        set_attr(t, "<mask>", ATTR_LSTRIP, true);
    } else if (contains(name, "phi-3", true) || contains(name, "phi3", true)) {
        for (size_t i = 0; i < t->special.n; i++)
            t->attr[t->special.ids[i]] |= ATTR_RSTRIP;
        set_attr(t, "</s>", ATTR_RSTRIP, true);
        set_attr(t, "<unk>", ATTR_RSTRIP, false);
        set_attr(t, "<s>", ATTR_RSTRIP, false);
        set_attr(t, "<|endoftext|>", ATTR_RSTRIP, false);
    } else if (contains(name, "modern-bert", true)) {
        set_attr(t, "[MASK]", ATTR_LSTRIP, true);
    }
    return SM_OK;
}

/* Longest first, then by id.  Heap sort over ids, for qsort has no place for the vocabulary. */
static bool goes_before(const sm_tokenizer *t, int32_t a, int32_t b) {
    return t->text[a].n != t->text[b].n ? t->text[a].n > t->text[b].n : a < b;
}

static void sift(const sm_tokenizer *t, int32_t *v, size_t i, size_t n) {
    for (;;) {
        size_t k = 2 * i + 1;
        if (k >= n)
            return;
        if (k + 1 < n && goes_before(t, v[k], v[k + 1]))
            k++;
        if (!goes_before(t, v[i], v[k]))
            return;
        int32_t x = v[i];
        v[i] = v[k];
        v[k] = x;
        i = k;
    }
}

static void sort_specials(const sm_tokenizer *t, int32_t *v, size_t n) {
    for (size_t i = n / 2; i-- > 0;)
        sift(t, v, i, n);
    while (n > 1) {
        int32_t x = v[--n];
        v[n] = v[0];
        v[0] = x;
        sift(t, v, 0, n);
    }
}

static bool trie_add(special_set *s, sm_sv word, int32_t order) {
    uint32_t at = 0;
    for (size_t i = 0; i < word.n; i++) {
        uint8_t b = (uint8_t)word.p[i];
        uint32_t kid = at == 0 ? s->first[b] : s->trie.v[at].child;
        while (kid != 0 && s->trie.v[kid].byte != b)
            kid = s->trie.v[kid].sibling;
        if (kid == 0) {
            if (!SM_GROW(&s->trie))
                return false;
            kid = (uint32_t)s->trie.n++;
            s->trie.v[kid] = (trie_node){0, at == 0 ? 0 : s->trie.v[at].child, -1, b};
            if (at == 0)
                s->first[b] = kid;
            else
                s->trie.v[at].child = kid;
        }
        at = kid;
    }
    if (s->trie.v[at].order < 0)
        s->trie.v[at].order = order;
    return true;
}

static sm_status load_set(sm_tokenizer *t, sm_err *err) {
    special_set *s = &t->special;
    const uint8_t any = ATTR_CONTROL | ATTR_USER | ATTR_UNKNOWN;
    size_t n = 0;
    for (int32_t id = 0; id < t->n; id++)
        n += (t->attr[id] & any) != 0 && t->text[id].n > 0;
    s->ids = sm_alloc_n(n, sizeof *s->ids);
    if (s->ids == NULL || !SM_GROW(&s->trie))
        return SM_NOMEM(err);
    for (int32_t id = 0; id < t->n; id++)
        if ((t->attr[id] & any) != 0 && t->text[id].n > 0)
            s->ids[s->n++] = id;
    sort_specials(t, s->ids, s->n);
    s->trie.v[s->trie.n++] = (trie_node){0, 0, -1, 0};
    for (size_t i = 0; i < s->n; i++)
        if (!trie_add(s, t->text[s->ids[i]], (int32_t)i))
            return SM_NOMEM(err);
    return SM_OK;
}

sm_status special_load(sm_tokenizer *t, sm_err *err) {
    SM_TRY(load_roles(t, err));
    SM_TRY(load_ends(t, err));
    SM_TRY(load_set(t, err));
    return load_strips(t, err);
}

void special_free(special_set *s) {
    sm_free(s->ids);
    sm_free(s->trie.v);
    *s = (special_set){0};
}

/* ---- cutting ------------------------------------------------------------------------------------------------- */

enum { FREQUENT = 64 }; /* a token at more than one place in so many is searched for, not listed */

typedef struct cut {
    uint32_t at, order;
} cut;

typedef struct cutting {
    const sm_tokenizer *t;
    sm_sv text;
    bool control;
    uint32_t *count; /* per order: places, while finding; then the end of its list */
    uint32_t *places;
    uint8_t *taken; /* per byte */
    struct {
        cut *v;
        size_t n, cap;
    } cuts;
} cutting;

static bool wanted(const cutting *c, int32_t order) {
    return c->control || !(c->t->attr[c->t->special.ids[order]] & (ATTR_CONTROL | ATTR_UNKNOWN));
}

/* Calls for every place of every wanted token; lists places when there is a list to fill. */
static size_t find_places(cutting *c, const uint32_t *end) {
    const special_set *s = &c->t->special;
    size_t found = 0;
    for (size_t i = 0; i < c->text.n; i++) {
        uint32_t node = s->first[(uint8_t)c->text.p[i]];
        for (size_t k = i; node != 0;) {
            const trie_node *x = &s->trie.v[node];
            if (x->order >= 0 && wanted(c, x->order)) {
                found++;
                if (end == NULL)
                    c->count[x->order]++;
                else if (c->count[x->order] < end[x->order])
                    c->places[c->count[x->order]++] = (uint32_t)i;
            }
            if (++k >= c->text.n)
                break;
            uint8_t b = (uint8_t)c->text.p[k];
            node = x->child;
            while (node != 0 && s->trie.v[node].byte != b)
                node = s->trie.v[node].sibling;
        }
    }
    return found;
}

static bool is_white(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool take(cutting *c, size_t at, uint32_t order) {
    int32_t id = c->t->special.ids[order];
    size_t n = c->t->text[id].n, end = at + n;
    for (size_t i = at; i < end; i++)
        if (c->taken[i])
            return true;
    if (!SM_GROW(&c->cuts))
        return false;
    c->cuts.v[c->cuts.n++] = (cut){(uint32_t)at, order};
    memset(c->taken + at, 1, n);
    if (c->t->attr[id] & ATTR_LSTRIP)
        while (at > 0 && !c->taken[at - 1] && is_white(c->text.p[at - 1]))
            c->taken[--at] = 1;
    if (c->t->attr[id] & ATTR_RSTRIP)
        while (end < c->text.n && !c->taken[end] && is_white(c->text.p[end]))
            c->taken[end++] = 1;
    return true;
}

static bool take_searching(cutting *c, uint32_t order) {
    sm_sv word = c->t->text[c->t->special.ids[order]];
    for (size_t at = 0; at + word.n <= c->text.n;) {
        const char *p = memmem(c->text.p + at, c->text.n - at, word.p, word.n);
        if (p == NULL)
            break;
        at = (size_t)(p - c->text.p);
        bool clear = !c->taken[at];
        if (!take(c, at, order))
            return false;
        at += clear && c->taken[at] ? word.n : 1;
    }
    return true;
}

/* All tokens that occur take their turn, in order of precedence. */
static bool take_all(cutting *c) {
    size_t n = c->t->special.n, listed = 0;
    uint32_t *end = sm_alloc_n(n, sizeof *end);
    if (end == NULL)
        return false;
    for (size_t i = 0; i < n; i++) {
        bool frequent = (uint64_t)c->count[i] * FREQUENT > c->text.n + 4096;
        uint32_t places = frequent ? 0 : c->count[i];
        end[i] = (uint32_t)listed + places;
        c->count[i] = frequent ? UINT32_MAX : (uint32_t)listed;
        listed += places;
    }
    c->places = sm_alloc_n(listed, sizeof *c->places);
    bool ok = c->places != NULL;
    if (ok)
        find_places(c, end);
    for (size_t i = 0, at = 0; i < n && ok; i++) {
        if (c->count[i] == UINT32_MAX)
            ok = take_searching(c, (uint32_t)i);
        for (; at < end[i] && ok; at++)
            ok = take(c, c->places[at], (uint32_t)i);
    }
    sm_free(end);
    return ok;
}

static int by_place(const void *a, const void *b) {
    uint32_t x = ((const cut *)a)->at, y = ((const cut *)b)->at;
    return (x > y) - (x < y);
}

static sm_status hand_text(const cutting *c, size_t from, size_t to, const special_sink *sink) {
    while (from < to && c->taken[from])
        from++;
    while (to > from && c->taken[to - 1])
        to--;
    return from < to ? sink->text(sink->ctx, (sm_sv){c->text.p + from, to - from}) : SM_OK;
}

static sm_status hand_out(cutting *c, const special_sink *sink) {
    size_t from = 0;
    if (c->cuts.n > 1)
        qsort(c->cuts.v, c->cuts.n, sizeof *c->cuts.v, by_place);
    for (size_t i = 0; i < c->cuts.n; i++) {
        int32_t id = c->t->special.ids[c->cuts.v[i].order];
        SM_TRY(hand_text(c, from, c->cuts.v[i].at, sink));
        SM_TRY(sink->token(sink->ctx, id));
        from = c->cuts.v[i].at + c->t->text[id].n;
    }
    return hand_text(c, from, c->text.n, sink);
}

sm_status special_split(const sm_tokenizer *t, sm_sv text, bool control, const special_sink *sink, sm_err *err) {
    cutting c = {.t = t, .text = text, .control = control};
    sm_status st = SM_OK;
    if (text.n == 0)
        return SM_OK;
    c.count = sm_alloc_n(t->special.n, sizeof *c.count);
    if (c.count == NULL)
        return SM_NOMEM(err);
    if (find_places(&c, NULL) == 0) {
        st = sink->text(sink->ctx, text);
        goto done;
    }
    c.taken = sm_alloc(text.n);
    if (c.taken == NULL || !take_all(&c)) {
        st = SM_NOMEM(err);
        goto done;
    }
    st = hand_out(&c, sink);
done:
    sm_free(c.count);
    sm_free(c.places);
    sm_free(c.taken);
    sm_free(c.cuts.v);
    return st;
}
