/* SPDX-License-Identifier: MIT
 *
 * tokenizer.c: a tokenizer from a checkpoint's metadata; encoding and decoding.
 *
 *     text --special.c--> fragments and special tokens --pretok.c--> words --merge.c--> ids
 *                         fragments of other kinds --wordpiece.c, unigram.c, rwkv.c, plamo.c--> ids
 *
 * Metadata is read under GGUF's keys ("tokenizer.ggml.*").  Arrays are checked here once (types, lengths), after that
 * their views are used as they lie in the mapping.
 *
 * Threads: see tokenizer.h; an encode call's buffers are its own.
 */
#include "text/tokenizer_int.h"

#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

enum { MAX_TEXT = INT32_MAX / 4 }; /* bytes of one text: offsets of its escaped form are 32 bits wide */

bool sm_ids_add(sm_ids *ids, int32_t id) {
    if (!SM_GROW(ids))
        return false;
    ids->v[ids->n++] = id;
    return true;
}

void sm_ids_free(sm_ids *ids) {
    sm_free(ids->v);
    *ids = (sm_ids){0};
}

/* ---- loading ------------------------------------------------------------------------------------------------- */

/* An array of strings, or with `number` of numbers; NULL when the file has none. */
static sm_status read_array(const sm_checkpoint *c, const char *key, bool number, uint64_t least, const sm_meta **out,
                            sm_err *err) {
    const sm_meta *m = sm_checkpoint_meta(c, key);
    *out = m;
    if (m == NULL)
        return SM_OK;
    bool fits = m->type == SM_META_ARRAY &&
                (number ? m->elem == SM_META_INT || m->elem == SM_META_FLOAT : m->elem == SM_META_STR);
    if (!fits)
        return SM_FAIL(err, SM_BADINPUT, "%s: '%s': wanted an array of %s", c->path, key,
                       number ? "numbers" : "strings");
    if (m->u.a.n < least)
        return SM_FAIL(err, SM_BADINPUT, "%s: '%s': wanted %llu elements, one a token, found %llu", c->path, key,
                       (unsigned long long)least, (unsigned long long)m->u.a.n);
    return SM_OK;
}

static uint8_t attr_of_type(int64_t type) {
    static const uint8_t attrs[] = {0, ATTR_NORMAL, ATTR_UNKNOWN, ATTR_CONTROL, ATTR_USER, ATTR_UNUSED, ATTR_BYTE};
    return type >= 0 && type < (int64_t)SM_ARRAY_LEN(attrs) ? attrs[type] : 0;
}

static sm_status load_tokens(sm_tokenizer *t, sm_err *err) {
    const sm_meta *tokens, *types;
    SM_TRY(read_array(t->c, "tokenizer.ggml.tokens", false, 1, &tokens, err));
    if (tokens == NULL)
        return SM_FAIL(err, SM_BADINPUT, "%s: no 'tokenizer.ggml.tokens'", t->c->path);
    if (tokens->u.a.n > INT32_MAX / 2)
        return SM_FAIL(err, SM_BADINPUT, "%s: 'tokenizer.ggml.tokens': %llu tokens are too many", t->c->path,
                       (unsigned long long)tokens->u.a.n);
    t->text = tokens->u.a.strs;
    t->n = (int32_t)tokens->u.a.n;
    SM_TRY(read_array(t->c, "tokenizer.ggml.scores", true, tokens->u.a.n, &t->scores, err));
    SM_TRY(read_array(t->c, "tokenizer.ggml.token_type", true, tokens->u.a.n, &types, err));
    t->attr = sm_alloc((size_t)t->n);
    if (t->attr == NULL)
        return SM_NOMEM(err);
    for (int32_t id = 0; id < t->n; id++)
        t->attr[id] = types != NULL ? attr_of_type(sm_meta_elem_int(types, (uint64_t)id)) : ATTR_NORMAL;
    return vocab_index_tokens(t, err);
}

static sm_status load_merges(sm_tokenizer *t, sm_sv pre, sm_err *err) {
    const sm_meta *merges;
    SM_TRY(read_array(t->c, "tokenizer.ggml.merges", false, 0, &merges, err));
    if (merges == NULL && !sm_sv_is(pre, "kimi-k2"))
        return SM_FAIL(err, SM_BADINPUT, "%s: no 'tokenizer.ggml.merges'", t->c->path);
    t->n_merges = merges != NULL ? (size_t)merges->u.a.n : 0;
    if (t->n_merges > 1 << 24) /* ranks are compared as floats */
        return SM_FAIL(err, SM_BADINPUT, "%s: 'tokenizer.ggml.merges': %zu merges are too many", t->c->path,
                       t->n_merges);
    t->merges = merges != NULL ? merges->u.a.strs : NULL;
    return vocab_index_merges(t, err);
}

static void load_bytes(sm_tokenizer *t) {
    for (int b = 0; b < 256; b++) {
        char hex[8], one = (char)b;
        snprintf(hex, sizeof hex, "<0x%02X>", (unsigned)b);
        bool spelled = t->kind == KIND_SPM || t->kind == KIND_PLAMO || (t->traits & PRE_RAW);
        t->byte_id[b] = spelled ? vocab_find(t, hex, 6) : SM_NO_TOKEN;
        if (t->byte_id[b] == SM_NO_TOKEN && !(t->traits & PRE_RAW) && t->kind != KIND_PLAMO)
            t->byte_id[b] = vocab_find(t, &one, 1);
    }
}

/* Kinds without merges. */
static sm_status load_other_kind(sm_tokenizer *t, sm_sv model, sm_err *err) {
    const char *name = NULL;
    if (sm_sv_is(model, "bert")) {
        t->kind = KIND_WORDPIECE;
        t->bos = 101;
        t->unk = 100;
        t->sep = 102;
        t->pad = 0;
        t->lower_case = true;
        name = "wordpiece";
    } else if (sm_sv_is(model, "t5")) {
        t->kind = KIND_UNIGRAM;
        t->eos = 1;
        t->unk = 2;
        t->pad = 0;
        t->add_eos = true;
        name = "unigram";
    } else if (sm_sv_is(model, "rwkv")) {
        t->kind = KIND_RWKV;
        name = "rwkv";
    } else if (sm_sv_is(model, "plamo2")) {
        t->kind = KIND_PLAMO;
        t->bos = 1;
        t->eos = 2;
        t->unk = 0;
        t->pad = 3;
        name = "plamo2";
    } else {
        return SM_FAIL(err, SM_UNSUPPORTED,
                       "%s: tokenizer model %s is not supported: wanted gpt2, llama, gemma4, bert, t5, rwkv, plamo2, "
                       "whitespace or hybriddna",
                       t->c->path, sm_quote(model.p, model.n));
    }
    snprintf(t->kind_text, sizeof t->kind_text, "%s", name);
    return SM_OK;
}

/* What the kind takes from types and spellings as the file has them, before special tokens change types. */
static sm_status load_trie(sm_tokenizer *t, sm_err *err) {
    if (t->kind == KIND_UNIGRAM)
        return unigram_load(t, err);
    if (t->kind == KIND_RWKV)
        return rwkv_load(t, err);
    if (t->kind == KIND_PLAMO)
        return plamo_load(t, err);
    if (t->kind != KIND_WORDPIECE)
        return SM_OK;
    size_t n = 0;
    int32_t *ids = sm_alloc_n((size_t)t->n, sizeof *ids);
    if (ids == NULL)
        return SM_NOMEM(err);
    for (int32_t id = 0; id < t->n; id++)
        if (t->text[id].n > 0)
            ids[n++] = id;
    sm_status st = token_trie_make(&t->trie, t->text, ids, n, err);
    sm_free(ids);
    return st;
}

/* Which kind it is, with that kind's defaults. */
static sm_status load_kind(sm_tokenizer *t, sm_err *err) {
    sm_sv model, pre;
    SM_TRY(sm_meta_str(t->c, "tokenizer.ggml.model", SM_SV(""), &model, err));
    SM_TRY(sm_meta_str(t->c, "tokenizer.ggml.pre", SM_SV("default"), &pre, err));
    if (pre.n == 0)
        pre = SM_SV("default");
    t->bos = t->eos = t->eot = t->eom = t->unk = t->pad = t->sep = t->cls = SM_NO_TOKEN;
    t->fim_pre = t->fim_suf = t->fim_mid = t->fim_pad = t->fim_rep = t->fim_sep = SM_NO_TOKEN;
    if (sm_sv_is(model, "llama")) {
        t->kind = KIND_SPM;
        t->bos = 1;
        t->eos = 2;
        t->unk = 0;
        t->space_prefix = t->add_bos = true;
        snprintf(t->kind_text, sizeof t->kind_text, "spm");
    } else if (sm_sv_is(model, "gpt2") || sm_sv_is(model, "gemma4") || sm_sv_is(model, "whitespace") ||
               sm_sv_is(model, "hybriddna")) {
        t->kind = KIND_BPE;
        t->bos = t->eos = sm_sv_is(model, "gemma4") ? SM_NO_TOKEN : 11;
        pre = sm_sv_is(model, "gemma4") ? SM_SV("gemma4") : pre;
        t->by_white = sm_sv_is(model, "whitespace");
        t->lower_case = !sm_sv_is(pre, "whitespace");
        t->dna = sm_sv_is(model, "hybriddna");
        SM_TRY(pretok_new(pre, &t->pre, err));
        t->traits = pretok_traits(t->pre);
        t->add_bos = (t->traits & PRE_BOS) != 0;
        if (t->traits & PRE_NO_BOS)
            t->bos = SM_NO_TOKEN;
        snprintf(t->kind_text, sizeof t->kind_text, "bpe (%.*s)", (int)SM_MIN(pre.n, (size_t)40), pre.p);
        SM_TRY(load_merges(t, pre, err));
    } else if (model.n == 0 || sm_sv_is(model, "none") || sm_sv_is(model, "no_vocab")) {
        SM_FAIL(err, SM_BADINPUT, "%s: no tokenizer in it ('tokenizer.ggml.model')", t->c->path);
        return sm_err_hint(err, "name one with --tokenizer");
    } else {
        return load_other_kind(t, model, err);
    }
    return SM_OK;
}

/* What is put round a text.  WordPiece always has [CLS] and [SEP], whatever the file says; RWKV nothing. */
static void load_frame(sm_tokenizer *t) {
    t->last = t->eos;
    if (t->kind == KIND_WORDPIECE) {
        if (t->cls != SM_NO_TOKEN && sm_checkpoint_meta(t->c, "tokenizer.ggml.bos_token_id") == NULL)
            t->bos = t->cls;
        t->last = t->sep;
        t->add_bos = t->add_eos = true;
    }
    if (t->kind == KIND_RWKV)
        t->add_bos = t->add_eos = false;
    t->add_bos = (t->add_bos || (t->traits & PRE_ALWAYS_BOS)) && t->bos != SM_NO_TOKEN;
    t->add_eos = t->add_eos && t->last != SM_NO_TOKEN;
}

bool sm_tokenizer_present(const sm_checkpoint *c) {
    const sm_meta *m = sm_checkpoint_meta(c, "tokenizer.ggml.model");
    return m != NULL && !(m->type == SM_META_STR && (sm_sv_is(m->u.s, "none") || sm_sv_is(m->u.s, "no_vocab")));
}

static sm_status load(sm_tokenizer *t, sm_err *err) {
    SM_TRY(load_kind(t, err));
    SM_TRY(load_tokens(t, err));
    load_bytes(t);
    t->dna = t->dna && dna_load(t);
    merge_load(t);
    SM_TRY(load_trie(t, err));
    SM_TRY(special_load(t, err));
    SM_TRY(sm_meta_bool(t->c, "tokenizer.ggml.add_space_prefix", t->space_prefix, &t->space_prefix, err));
    SM_TRY(sm_meta_bool(t->c, "tokenizer.ggml.add_bos_token", t->add_bos, &t->add_bos, err));
    SM_TRY(sm_meta_bool(t->c, "tokenizer.ggml.add_eos_token", t->add_eos, &t->add_eos, err));
    SM_TRY(sm_meta_bool(t->c, "tokenizer.ggml.remove_extra_whitespaces", false, &t->merge_spaces, err));
    SM_TRY(sm_meta_bool(t->c, "tokenizer.ggml.normalizer.lowercase", t->lower_case, &t->lower_case, err));
    SM_TRY(sm_meta_bool(t->c, "tokenizer.ggml.normalizer.strip_accents", t->lower_case, &t->strip_accents, err));
    load_frame(t);
    return SM_OK;
}

sm_status sm_tokenizer_new(const sm_checkpoint *c, sm_tokenizer **out, sm_err *err) {
    *out = NULL;
    sm_tokenizer *t = sm_alloc(sizeof *t);
    if (t == NULL)
        return SM_NOMEM(err);
    t->c = c;
    sm_status st = load(t, err);
    if (st != SM_OK)
        sm_tokenizer_free(&t);
    *out = t;
    return st;
}

void sm_tokenizer_free(sm_tokenizer **t) {
    if (*t == NULL)
        return;
    sm_free((*t)->attr);
    sm_free((*t)->index.slots);
    sm_free((*t)->merge_index.slots);
    sm_free((*t)->ends.v);
    special_free(&(*t)->special);
    token_trie_free(&(*t)->trie);
    token_trie_free(&(*t)->user);
    pretok_free(&(*t)->pre);
    sm_free(*t);
    *t = NULL;
}

/* ---- encoding ------------------------------------------------------------------------------------------------ */

typedef struct encoding {
    const sm_tokenizer *t;
    pretok_run *pre;
    merge_run merge;
    lattice_run lattice;
    sm_str buf; /* a fragment with its spaces escaped */
    bool after_special;
    sm_ids *out;
    sm_err *err;
} encoding;

static sm_status push(encoding *e, int32_t id) {
    if (!SM_GROW(e->out))
        return SM_NOMEM(e->err);
    e->out->v[e->out->n++] = id;
    return SM_OK;
}

static sm_status on_token(void *ctx, int32_t id) {
    encoding *e = ctx;
    e->after_special = true;
    return push(e, id);
}

static sm_status on_word(void *ctx, sm_sv word) {
    encoding *e = ctx;
    return merge_text(e->t, &e->merge, word, e->out, e->err);
}

static sm_status on_words(void *ctx, sm_sv text) {
    encoding *e = ctx;
    return pretok_split(e->t->pre, e->pre, text, on_word, e, e->err);
}

/* Words between white space, in lower case if the vocabulary has only that. */
static sm_status split_white(encoding *e, sm_sv text) {
    sm_str_clear(&e->buf);
    for (size_t i = 0; i <= text.n;) {
        uint32_t c = ' ';
        char utf8[4];
        int len = i < text.n ? sm_utf8_decode(text.p + i, text.n - i, &c) : 1;
        if (len == 0) /* a special token that is part of a character was cut out */
            c = 0xfffd;
        i += (size_t)SM_MAX(len, 1);
        if (!text_is_white(c)) {
            c = e->t->lower_case ? (uint32_t)utf8proc_tolower((utf8proc_int32_t)c) : c;
            sm_str_add(&e->buf, utf8, (size_t)sm_utf8_encode(c, utf8));
        } else if (e->buf.n > 0) {
            if (!sm_str_ok(&e->buf))
                return SM_NOMEM(e->err);
            SM_TRY(on_words(e, (sm_sv){e->buf.p, e->buf.n}));
            sm_str_clear(&e->buf);
        }
    }
    return sm_str_ok(&e->buf) ? SM_OK : SM_NOMEM(e->err);
}

static sm_status on_text(void *ctx, sm_sv text) {
    encoding *e = ctx;
    const sm_tokenizer *t = e->t;
    switch (t->kind) {
    case KIND_WORDPIECE:
        return wordpiece_encode(t, &e->merge, text, e->out, e->err);
    case KIND_UNIGRAM:
        return unigram_encode(t, &e->lattice, text, e->out, e->err);
    case KIND_RWKV:
        return rwkv_encode(t, text, e->out, e->err);
    case KIND_PLAMO:
        return plamo_encode(t, text, e->out, e->err);
    case KIND_BPE:
    case KIND_SPM:
        break;
    }
    if (t->kind == KIND_SPM || (t->traits & PRE_ESCAPE)) {
        sm_str_clear(&e->buf);
        if (t->kind == KIND_SPM && t->space_prefix && e->after_special)
            merge_escape_spaces(SM_SV(" "), &e->buf);
        merge_escape_spaces(text, &e->buf);
        if (!sm_str_ok(&e->buf))
            return SM_NOMEM(e->err);
        text = (sm_sv){e->buf.p, e->buf.n};
    }
    e->after_special = false;
    if (t->kind == KIND_SPM)
        return merge_text(t, &e->merge, text, e->out, e->err);
    if (t->by_white)
        return split_white(e, text);
    return t->dna ? dna_split(t, text, on_words, e, e->out, e->err) : on_words(e, text);
}

sm_status sm_tokenizer_encode(const sm_tokenizer *t, sm_sv text, unsigned flags, sm_ids *out, sm_err *err) {
    encoding e = {.t = t, .after_special = true, .out = out, .err = err};
    special_sink sink = {on_text, on_token, &e};
    sm_status st = SM_OK;
    size_t valid = sm_utf8_valid(text.p, text.n);
    if (valid < text.n)
        return SM_FAIL(err, SM_BADINPUT, "text is not UTF-8: offset %zu: found byte 0x%02x", valid,
                       (unsigned char)text.p[valid]);
    if (text.n > MAX_TEXT)
        return SM_FAIL(err, SM_RESOURCE, "text of %zu bytes is too long: at most %d at a time", text.n, (int)MAX_TEXT);
    if (t->pre != NULL && (e.pre = pretok_run_new(t->pre)) == NULL) {
        st = SM_NOMEM(err);
        goto done;
    }
    merge_run_expect(&e.merge, text.n);
    if ((flags & SM_ENC_BOS) && t->add_bos)
        SM_TRY_DONE(push(&e, t->bos));
    SM_TRY_DONE(special_split(t, text, (flags & SM_ENC_SPECIAL) != 0, &sink, err));
    if ((flags & SM_ENC_BOS) && t->add_eos)
        SM_TRY_DONE(push(&e, t->last));
done:
    pretok_run_free(&e.pre);
    merge_run_free(&e.merge);
    sm_free(e.lattice.v);
    sm_str_free(&e.lattice.buf);
    sm_str_free(&e.buf);
    return st;
}

/* ---- decoding ------------------------------------------------------------------------------------------------ */

static void unescape_spaces(sm_sv s, sm_str *out) {
    for (size_t i = 0; i < s.n;) {
        const char *bar = memmem(s.p + i, s.n - i, "\xe2\x96\x81", 3);
        size_t end = bar != NULL ? (size_t)(bar - s.p) : s.n;
        sm_str_add(out, s.p + i, end - i);
        if (bar != NULL)
            sm_str_addc(out, ' ');
        i = end + (bar != NULL ? 3 : 0);
    }
}

/* Characters that stand for no byte are printed as they are. */
static void decode_bytes(sm_sv s, sm_str *out) {
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        int n = sm_utf8_decode(s.p + i, s.n - i, &cp);
        int b = n > 0 ? vocab_bytes_decode(cp) : -1;
        n = n > 0 ? n : 1;
        if (b >= 0)
            sm_str_addc(out, (char)b);
        else
            sm_str_add(out, s.p + i, (size_t)n);
        i += (size_t)n;
    }
}

static void decode_hex(sm_sv s, sm_str *out) {
    int hi = s.n == 6 ? sm_hex_digit(s.p[3]) : -1, lo = s.n == 6 ? sm_hex_digit(s.p[4]) : -1;
    if (hi >= 0 && lo >= 0)
        sm_str_addc(out, (char)(hi * 16 + lo));
}

bool token_puts_space_first(const sm_tokenizer *t) {
    return t->kind == KIND_WORDPIECE || (t->space_prefix && t->kind != KIND_RWKV && t->kind != KIND_PLAMO);
}

void token_piece(const sm_tokenizer *t, int32_t id, unsigned flags, sm_str *out) {
    uint8_t attr = t->attr[id];
    sm_sv s = dna_text(t, id);
    if ((attr & (ATTR_CONTROL | ATTR_UNKNOWN)) && !(flags & SM_DEC_SPECIAL))
        return;
    if (t->kind == KIND_RWKV)
        rwkv_unescape(s, out);
    else if (t->kind == KIND_PLAMO && !(attr & ATTR_BYTE))
        sm_str_add(out, s.p, s.n);
    else if (attr & (ATTR_CONTROL | ATTR_UNKNOWN | ATTR_USER))
        sm_str_add(out, s.p, s.n);
    else if ((attr & ATTR_NORMAL) && (t->kind != KIND_BPE || (t->traits & PRE_ESCAPE)))
        unescape_spaces(s, out);
    else if ((attr & ATTR_NORMAL) && (t->traits & PRE_RAW))
        sm_str_add(out, s.p, s.n);
    else if (attr & ATTR_NORMAL)
        decode_bytes(s, out);
    else if (attr & ATTR_BYTE)
        decode_hex(s, out);
}

/* Joins pieces; the first space goes where encoding had put one there. */
static sm_status decode_pieces(const sm_tokenizer *t, const int32_t *ids, size_t n, unsigned flags, sm_str *out,
                               sm_err *err) {
    size_t from = out->n;
    bool strip = token_puts_space_first(t) && !(flags & SM_DEC_PIECE);
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= t->n)
            return SM_FAIL(err, SM_BADINPUT, "token %zu: id %d is not in the vocabulary of %d tokens", i, (int)ids[i],
                           (int)t->n);
        token_piece(t, ids[i], flags, out);
        if (strip && out->n > from) {
            strip = false;
            detok_drop_space(out, from);
        }
    }
    return sm_str_ok(out) ? SM_OK : SM_NOMEM(err);
}

sm_status sm_tokenizer_decode(const sm_tokenizer *t, const int32_t *ids, size_t n, unsigned flags, sm_str *out,
                              sm_err *err) {
    if (t->kind != KIND_WORDPIECE || (flags & SM_DEC_PIECE))
        return decode_pieces(t, ids, n, flags, out, err);
    sm_str s = SM_STR_INIT;
    size_t from = out->n;
    sm_status st = decode_pieces(t, ids, n, flags | SM_DEC_PIECE, &s, err);
    if (st == SM_OK) {
        detok_clean(sm_str_z(&s), s.n, out);
        detok_drop_space(out, from);
    }
    sm_str_free(&s);
    return st == SM_OK && !sm_str_ok(out) ? SM_NOMEM(err) : st;
}

/* ---- questions ----------------------------------------------------------------------------------------------- */

static bool in_range(const sm_tokenizer *t, int32_t id) {
    return id >= 0 && id < t->n;
}

int32_t sm_tokenizer_count(const sm_tokenizer *t) {
    return t->n;
}

sm_sv sm_tokenizer_text(const sm_tokenizer *t, int32_t id) {
    return in_range(t, id) ? t->text[id] : (sm_sv){"", 0};
}

sm_token_type sm_tokenizer_type(const sm_tokenizer *t, int32_t id) {
    uint8_t a = in_range(t, id) ? t->attr[id] : 0;
    return a & ATTR_CONTROL   ? SM_TOKEN_CONTROL
           : a & ATTR_UNKNOWN ? SM_TOKEN_UNKNOWN
           : a & ATTR_USER    ? SM_TOKEN_USER
           : a & ATTR_UNUSED  ? SM_TOKEN_UNUSED
           : a & ATTR_BYTE    ? SM_TOKEN_BYTE
           : a & ATTR_NORMAL  ? SM_TOKEN_NORMAL
                              : SM_TOKEN_UNDEFINED;
}

int32_t sm_tokenizer_find(const sm_tokenizer *t, sm_sv text) {
    return vocab_find(t, text.p, text.n);
}

const char *sm_tokenizer_kind(const sm_tokenizer *t) {
    return t->kind_text;
}

int32_t sm_tokenizer_bos(const sm_tokenizer *t) {
    return t->bos;
}

int32_t sm_tokenizer_eos(const sm_tokenizer *t) {
    return t->eos;
}

int32_t sm_tokenizer_eot(const sm_tokenizer *t) {
    return t->eot;
}

int32_t sm_tokenizer_unk(const sm_tokenizer *t) {
    return t->unk;
}

int32_t sm_tokenizer_pad(const sm_tokenizer *t) {
    return t->pad;
}

bool sm_tokenizer_adds_bos(const sm_tokenizer *t) {
    return t->add_bos;
}

bool sm_tokenizer_adds_eos(const sm_tokenizer *t) {
    return t->add_eos;
}

bool sm_tokenizer_is_end(const sm_tokenizer *t, int32_t id) {
    for (size_t i = 0; i < t->ends.n; i++)
        if (t->ends.v[i] == id)
            return true;
    return false;
}

const int32_t *sm_tokenizer_ends(const sm_tokenizer *t, size_t *n) {
    *n = t->ends.n;
    return t->ends.v;
}

sm_sv sm_tokenizer_chat_template(const sm_tokenizer *t, const char *name) {
    char key[128];
    snprintf(key, sizeof key, "tokenizer.chat_template%s%.90s", name != NULL ? "." : "", name != NULL ? name : "");
    const sm_meta *m = sm_checkpoint_meta(t->c, key);
    return m != NULL && m->type == SM_META_STR ? m->u.s : (sm_sv){"", 0};
}
