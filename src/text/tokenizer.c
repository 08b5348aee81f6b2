/* SPDX-License-Identifier: MIT
 *
 * tokenizer.c: a tokenizer from a checkpoint's metadata; encoding and decoding.
 *
 *     text --special.c--> fragments and special tokens --pretok.c--> words --merge.c--> ids
 *
 * Metadata is read under GGUF's keys ("tokenizer.ggml.*").  Arrays are checked here once (types, lengths), after that
 * their views are used as they lie in the mapping.
 *
 * Threads: see tokenizer.h; an encode call's buffers are its own.
 */
#include "text/tokenizer_int.h"

#include <stdio.h>
#include <string.h>

enum { MAX_TEXT = INT32_MAX / 4 }; /* bytes of one text: offsets of its escaped form are 32 bits wide */

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
        bool spelled = t->kind == KIND_SPM || (t->traits & PRE_RAW);
        t->byte_id[b] = spelled ? vocab_find(t, hex, 6) : SM_NO_TOKEN;
        if (t->byte_id[b] == SM_NO_TOKEN && !(t->traits & PRE_RAW))
            t->byte_id[b] = vocab_find(t, &one, 1);
    }
}

/* Which kind it is, with that kind's defaults. */
static sm_status load_kind(sm_tokenizer *t, sm_err *err) {
    sm_sv model, pre;
    SM_TRY(sm_meta_str(t->c, "tokenizer.ggml.model", SM_SV(""), &model, err));
    SM_TRY(sm_meta_str(t->c, "tokenizer.ggml.pre", SM_SV("default"), &pre, err));
    if (pre.n == 0)
        pre = SM_SV("default");
    t->bos = t->eos = t->eot = t->eom = t->unk = t->pad = SM_NO_TOKEN;
    t->fim_pre = t->fim_suf = t->fim_mid = t->fim_pad = t->fim_rep = t->fim_sep = SM_NO_TOKEN;
    if (sm_sv_is(model, "llama")) {
        t->kind = KIND_SPM;
        t->bos = 1;
        t->eos = 2;
        t->unk = 0;
        t->space_prefix = t->add_bos = true;
        snprintf(t->kind_text, sizeof t->kind_text, "spm");
    } else if (sm_sv_is(model, "gpt2") || sm_sv_is(model, "gemma4")) {
        t->kind = KIND_BPE;
        t->bos = t->eos = sm_sv_is(model, "gpt2") ? 11 : SM_NO_TOKEN;
        pre = sm_sv_is(model, "gpt2") ? pre : SM_SV("gemma4");
        SM_TRY(pretok_new(pre, &t->pre, err));
        t->traits = pretok_traits(t->pre);
        t->add_bos = (t->traits & PRE_BOS) != 0;
        if (t->traits & PRE_NO_BOS)
            t->bos = SM_NO_TOKEN;
        snprintf(t->kind_text, sizeof t->kind_text, "bpe (%.*s)", (int)SM_MIN(pre.n, (size_t)40), pre.p);
        SM_TRY(load_merges(t, pre, err));
    } else if (model.n == 0) {
        SM_FAIL(err, SM_BADINPUT, "%s: no tokenizer in it ('tokenizer.ggml.model')", t->c->path);
        return sm_err_hint(err, "name one with --tokenizer");
    } else {
        static const struct {
            const char *model, *what;
        } known[] = {{"t5", "Unigram"}, {"bert", "WordPiece"}, {"rwkv", "RWKV"}, {"plamo2", "PLaMo 2"}};
        const char *what = "unknown";
        for (size_t i = 0; i < SM_ARRAY_LEN(known); i++)
            what = sm_sv_is(model, known[i].model) ? known[i].what : what;
        return SM_FAIL(err, SM_UNSUPPORTED,
                       "%s: tokenizer model %s (%s) is not supported: wanted gpt2, llama or gemma4", t->c->path,
                       sm_quote(model.p, model.n), what);
    }
    return SM_OK;
}

bool sm_tokenizer_present(const sm_checkpoint *c) {
    return sm_checkpoint_meta(c, "tokenizer.ggml.model") != NULL;
}

static sm_status load(sm_tokenizer *t, sm_err *err) {
    SM_TRY(load_kind(t, err));
    SM_TRY(load_tokens(t, err));
    load_bytes(t);
    SM_TRY(special_load(t, err));
    SM_TRY(sm_meta_bool(t->c, "tokenizer.ggml.add_space_prefix", t->space_prefix, &t->space_prefix, err));
    SM_TRY(sm_meta_bool(t->c, "tokenizer.ggml.add_bos_token", t->add_bos, &t->add_bos, err));
    SM_TRY(sm_meta_bool(t->c, "tokenizer.ggml.add_eos_token", t->add_eos, &t->add_eos, err));
    t->add_bos = (t->add_bos || (t->traits & PRE_ALWAYS_BOS)) && t->bos != SM_NO_TOKEN;
    t->add_eos = t->add_eos && t->eos != SM_NO_TOKEN;
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
    pretok_free(&(*t)->pre);
    sm_free(*t);
    *t = NULL;
}

/* ---- encoding ------------------------------------------------------------------------------------------------ */

typedef struct encoding {
    const sm_tokenizer *t;
    pretok_run *pre;
    merge_run merge;
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
    return merge_word_bpe(e->t, &e->merge, word, e->out, e->err);
}

static sm_status on_text(void *ctx, sm_sv text) {
    encoding *e = ctx;
    const sm_tokenizer *t = e->t;
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
        return merge_text_spm(t, &e->merge, text, e->out, e->err);
    return pretok_split(t->pre, e->pre, text, on_word, e, e->err);
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
    if ((flags & SM_ENC_BOS) && t->add_bos)
        SM_TRY_DONE(push(&e, t->bos));
    SM_TRY_DONE(special_split(t, text, (flags & SM_ENC_SPECIAL) != 0, &sink, err));
    if ((flags & SM_ENC_BOS) && t->add_eos)
        SM_TRY_DONE(push(&e, t->eos));
done:
    pretok_run_free(&e.pre);
    merge_run_free(&e.merge);
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

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

static void decode_hex(sm_sv s, sm_str *out) {
    int hi = s.n == 6 ? hex_digit(s.p[3]) : -1, lo = s.n == 6 ? hex_digit(s.p[4]) : -1;
    if (hi >= 0 && lo >= 0)
        sm_str_addc(out, (char)(hi * 16 + lo));
}

void token_piece(const sm_tokenizer *t, int32_t id, unsigned flags, sm_str *out) {
    uint8_t attr = t->attr[id];
    sm_sv s = t->text[id];
    if ((attr & (ATTR_CONTROL | ATTR_UNKNOWN)) && !(flags & SM_DEC_SPECIAL))
        return;
    if (attr & (ATTR_CONTROL | ATTR_UNKNOWN | ATTR_USER))
        sm_str_add(out, s.p, s.n);
    else if ((attr & ATTR_NORMAL) && (t->kind == KIND_SPM || (t->traits & PRE_ESCAPE)))
        unescape_spaces(s, out);
    else if (attr & ATTR_NORMAL)
        decode_bytes(s, out);
    else if (attr & ATTR_BYTE)
        decode_hex(s, out);
}

sm_status sm_tokenizer_decode(const sm_tokenizer *t, const int32_t *ids, size_t n, unsigned flags, sm_str *out,
                              sm_err *err) {
    size_t from = out->n;
    bool strip = t->space_prefix && !(flags & SM_DEC_PIECE);
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= t->n)
            return SM_FAIL(err, SM_BADINPUT, "token %zu: id %d is not in the vocabulary of %d tokens", i, (int)ids[i],
                           (int)t->n);
        token_piece(t, ids[i], flags, out);
        if (strip && out->n > from) {
            strip = false;
            if (out->p[from] == ' ') {
                memmove(out->p + from, out->p + from + 1, out->n - from);
                out->n--;
            }
        }
    }
    return sm_str_ok(out) ? SM_OK : SM_NOMEM(err);
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
