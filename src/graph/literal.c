/* SPDX-License-Identifier: MIT
 *
 * literal.c: data of constants in the text form: lists, BLOBFILE, HEX, EXTERN, RANDOM.
 *
 * Nothing is allocated for elements that the text does not hold, but by RANDOM, which has a budget per program.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "base/str.h"
#include "graph/text_int.h"
#include "tensor/transcode.h"

/* ---- elements ---- */

static sm_status number_text(sm_lex *l, char *buf, size_t cap) {
    bool word = l->tok.kind == SM_TOK_WORD && (sm_sv_is(l->tok.text, "inf") || sm_sv_is(l->tok.text, "nan"));
    if ((l->tok.kind != SM_TOK_NUM && !word) || l->tok.text.n >= cap)
        return sm_lex_wanted(l, "a number");
    memcpy(buf, l->tok.text.p, l->tok.text.n);
    buf[l->tok.text.n] = 0;
    return SM_OK;
}

static void put_float(sm_dtype t, void *out, uint64_t i, double v) {
    float f = (float)v;
    if (t == SM_FP32)
        ((float *)out)[i] = f;
    else if (t == SM_FP64)
        ((double *)out)[i] = v;
    else
        ((uint16_t *)out)[i] = t == SM_FP16 ? sm_f32_to_f16(f) : sm_f32_to_bf16(f);
}

static sm_status read_int(sm_lex *l, sm_dtype t, int64_t *out) {
    char buf[64], *end;
    SM_TRY(number_text(l, buf, sizeof buf));
    errno = 0;
    *out = t == SM_UINT64 ? (int64_t)strtoull(buf, &end, 0) : strtoll(buf, &end, 0);
    if (*end != 0 || end == buf || errno != 0 || (t == SM_UINT64 && buf[0] == '-'))
        return sm_lex_wanted(l, "an integer");
    if (t != SM_UINT64 && (*out < sm_dtype_min(t) || *out > sm_dtype_max(t)))
        return sm_lex_wanted(l, "an integer that its type holds");
    return SM_OK;
}

sm_status sm_text_elem(sm_lex *l, sm_dtype t, void *out, uint64_t i) {
    char buf[64], *end;
    int64_t v;
    if (t == SM_BOOL) {
        if (!sm_lex_word(l, "true") && !sm_lex_word(l, "false"))
            return sm_lex_wanted(l, "true or false");
        ((uint8_t *)out)[i] = sm_lex_word(l, "true");
    } else if (sm_is_float(t)) {
        SM_TRY(number_text(l, buf, sizeof buf));
        double d = sm_strtod(buf, &end);
        if (*end != 0 || end == buf)
            return sm_lex_wanted(l, "a number");
        put_float(t, out, i, d);
    } else {
        SM_TRY(read_int(l, t, &v));
        sm_code_put(t, out, i, v);
    }
    return sm_lex_next(l);
}

sm_status sm_text_list(sm_lex *l, sm_dtype t, int cap, void *out, int *n) {
    sm_status st;
    *n = 0;
    SM_TRY(sm_lex_need(l, '['));
    while (!sm_lex_is(l, ']')) {
        if (*n > 0)
            SM_TRY(sm_lex_need(l, ','));
        if (*n == cap)
            return sm_lex_wanted(l, "']': the list is too long");
        SM_TRY(sm_text_elem(l, t, out, (uint64_t)(*n)++));
    }
    sm_lex_take(l, ']', &st);
    return st;
}

/* Nested or flat lists of exactly total elements. */
static sm_status read_elems(sm_lex *l, sm_dtype t, void *out, uint64_t total, uint64_t *at, int depth) {
    if (!sm_lex_is(l, '[')) {
        if (*at >= total)
            return sm_lex_wanted(l, "fewer elements");
        return sm_text_elem(l, t, out, (*at)++);
    }
    if (depth > SM_MAX_RANK)
        return sm_lex_wanted(l, "less nesting");
    SM_TRY(sm_lex_next(l));
    for (bool first = true; !sm_lex_is(l, ']'); first = false) {
        if (!first)
            SM_TRY(sm_lex_need(l, ','));
        SM_TRY(read_elems(l, t, out, total, at, depth + 1));
    }
    return sm_lex_next(l);
}

sm_status sm_text_strings(sm_lex *l, sm_arena *arena, sm_sv **out, size_t *n) {
    size_t cap = 0;
    bool list = sm_lex_is(l, '[');
    *out = NULL;
    *n = 0;
    if (list)
        SM_TRY(sm_lex_next(l));
    while (!(list && sm_lex_is(l, ']'))) {
        if (*n > 0)
            SM_TRY(sm_lex_need(l, ','));
        if (l->tok.kind != SM_TOK_STR)
            return sm_lex_wanted(l, "a string");
        if (*n == cap) {
            cap = cap == 0 ? 4 : 2 * cap;
            sm_sv *grown = sm_arena_alloc_n(arena, cap, sizeof *grown);
            if (grown == NULL)
                return SM_NOMEM(l->err);
            if (*n > 0)
                memcpy(grown, *out, *n * sizeof *grown);
            *out = grown;
        }
        (*out)[(*n)++] = l->tok.text;
        SM_TRY(sm_lex_next(l));
        if (!list)
            return SM_OK;
    }
    return sm_lex_next(l);
}

/* ---- references and raw bytes ---- */

/* "string("x")", "tensor<string, []>("x")" or a bare literal: the one token in the innermost parentheses. */
static sm_status wrapped(sm_lex *l, sm_tok_kind kind, sm_tok *out) {
    int open = 0;
    while (l->tok.kind == SM_TOK_WORD || sm_lex_is(l, '<') || sm_lex_is(l, '>') || sm_lex_is(l, ',') ||
           sm_lex_is(l, '[') || sm_lex_is(l, ']') || sm_lex_is(l, '(')) {
        open += sm_lex_is(l, '(');
        SM_TRY(sm_lex_next(l));
    }
    if (l->tok.kind != kind)
        return sm_lex_wanted(l, kind == SM_TOK_STR ? "a string" : "a number");
    *out = l->tok;
    SM_TRY(sm_lex_next(l));
    for (; open > 0; open--)
        SM_TRY(sm_lex_need(l, ')'));
    return SM_OK;
}

static sm_status read_blobfile(sm_lex *l, sm_text_env *env, sm_tensor *out) {
    const char *at = l->tok.at;
    sm_tok path, offset;
    char buf[32], *end;
    SM_TRY(sm_lex_need_word(l, "BLOBFILE"));
    SM_TRY(sm_lex_need(l, '('));
    SM_TRY(sm_lex_need_word(l, "path"));
    SM_TRY(sm_lex_need(l, '='));
    SM_TRY(wrapped(l, SM_TOK_STR, &path));
    SM_TRY(sm_lex_need(l, ','));
    SM_TRY(sm_lex_need_word(l, "offset"));
    SM_TRY(sm_lex_need(l, '='));
    SM_TRY(wrapped(l, SM_TOK_NUM, &offset));
    size_t n = SM_MIN(offset.text.n, sizeof buf - 1);
    memcpy(buf, offset.text.p, n);
    buf[n] = 0;
    errno = 0;
    uint64_t pos = strtoull(buf, &end, 10);
    if (*end != 0 || errno != 0 || buf[0] == '-')
        return sm_lex_wanted(l, "an offset before this");
    SM_TRY(sm_lex_need(l, ')'));
    sm_status st;
    if (env->blob == NULL)
        st = SM_FAIL(l->err, SM_BADINPUT, "weights of %s: there is no file to read them from",
                     sm_quote(path.text.p, path.text.n));
    else
        st = env->blob(env->ctx, path.text, pos, out->dtype, out->rank, out->dims, out, l->err);
    if (st != SM_OK)
        sm_lex_place(l, at);
    return st;
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static sm_status read_hex(sm_lex *l, sm_text_env *env, size_t bytes, sm_bytes *out) {
    SM_TRY(sm_lex_need_word(l, "HEX"));
    SM_TRY(sm_lex_need(l, '('));
    if (l->tok.kind != SM_TOK_STR || l->tok.text.n % 2 != 0 || l->tok.text.n / 2 != bytes)
        return sm_lex_wanted(l, "two hexadecimal digits for every byte of this encoding");
    uint8_t *p = sm_arena_alloc(env->arena, SM_MAX(bytes, 1));
    if (p == NULL)
        return SM_NOMEM(l->err);
    for (size_t i = 0; i < bytes; i++) {
        int hi = hex_digit(l->tok.text.p[2 * i]), lo = hex_digit(l->tok.text.p[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return sm_lex_wanted(l, "hexadecimal digits");
        p[i] = (uint8_t)(hi * 16 + lo);
    }
    *out = (sm_bytes){p, bytes};
    SM_TRY(sm_lex_next(l));
    return sm_lex_need(l, ')');
}

/* ---- RANDOM ---- */

static uint64_t next_random(uint64_t *s) {
    uint64_t z = *s += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Sum of twelve uniforms less six: normal enough, and the same on every machine. */
static float next_normal(uint64_t *s) {
    float sum = -6;
    for (int i = 0; i < 12; i++)
        sum += (float)(next_random(s) >> 40) / 16777216.0f;
    return sum * 0.05f;
}

static void random_dense(sm_tensor *t, uint8_t *p, uint64_t *s) {
    uint64_t n = sm_tensor_numel(t);
    sm_dtype e = t->enc.code;
    for (uint64_t i = 0; i < n; i++) {
        if (e == SM_BOOL)
            p[i] = next_random(s) & 1;
        else if (sm_is_float(e))
            put_float(e, p, i, next_normal(s));
        else
            sm_code_put(e, p, i,
                        sm_dtype_min(e) +
                            (int64_t)(next_random(s) & ((UINT64_C(1) << SM_MIN(sm_dtype_bits(e), 16)) - 1)));
    }
}

/* Normal values * 0.05, then into t's encoding; parts have their sizes. */
static sm_status random_encoded(sm_tensor *t, uint8_t *part[SM_PART_COUNT], uint64_t *s, sm_err *err) {
    const sm_enc_row *row = sm_enc_row_of(t->enc.id);
    uint64_t n = sm_tensor_numel(t);
    if (row->kind == SM_KIND_DENSE) {
        random_dense(t, part[0], s);
        return SM_OK;
    }
    if (row->kind == SM_KIND_LUT || (row->kind == SM_KIND_BLOCK && row->pack == NULL))
        return SM_FAIL(err, SM_UNSUPPORTED, "RANDOM: encoding %s cannot be made from numbers here", row->name);
    float *x = sm_alloc_n(n + 1, sizeof *x);
    if (x == NULL)
        return SM_NOMEM(err);
    for (uint64_t i = 0; i < n; i++)
        x[i] = next_normal(s);
    sm_status st = SM_OK;
    if (row->kind == SM_KIND_AFFINE)
        st = sm_affine_encode(&t->enc, sm_tensor_cols(t), sm_tensor_rows(t), x, part, err);
    else
        for (uint64_t i = 0; i < n / (uint64_t)row->block; i++)
            row->pack(x + i * (uint64_t)row->block, NULL, part[0] + i * (uint64_t)row->block_bytes);
    sm_free(x);
    return st;
}

static sm_status read_random(sm_lex *l, sm_text_env *env, const size_t bytes[SM_PART_COUNT], sm_tensor *out) {
    const char *at = l->tok.at;
    uint8_t *part[SM_PART_COUNT] = {NULL};
    int64_t seed;
    SM_TRY(sm_lex_need_word(l, "RANDOM"));
    SM_TRY(sm_lex_need(l, '('));
    SM_TRY(read_int(l, SM_INT64, &seed));
    uint64_t n = sm_tensor_numel(out), s = (uint64_t)seed;
    if (n > env->random_left)
        return sm_lex_wanted(l, "fewer random elements in one program");
    env->random_left -= n;
    SM_TRY(sm_lex_next(l));
    SM_TRY(sm_lex_need(l, ')'));
    for (int i = 0; i < SM_PART_COUNT; i++) {
        if (sm_enc_part_dtype(&out->enc, i) == SM_NONE)
            continue;
        part[i] = sm_arena_alloc(env->arena, SM_MAX(bytes[i], 1));
        if (part[i] == NULL)
            return SM_NOMEM(l->err);
        out->part[i] = (sm_bytes){part[i], bytes[i]};
    }
    sm_status st = random_encoded(out, part, &s, l->err);
    if (st != SM_OK)
        sm_lex_place(l, at);
    return st;
}

/* ---- data ---- */

static sm_status read_literal(sm_lex *l, sm_text_env *env, size_t bytes, sm_tensor *out) {
    uint64_t n = sm_tensor_numel(out), at = 0;
    if (out->enc.id != SM_ENC_DENSE)
        return sm_lex_wanted(l, "HEX, EXTERN, RANDOM or BLOBFILE for an encoded constant");
    if (n > (uint64_t)(l->all.p + l->all.n - l->tok.at))
        return sm_lex_wanted(l, "as many elements as the type says");
    uint8_t *p = sm_arena_alloc(env->arena, SM_MAX(bytes, 1));
    if (p == NULL)
        return SM_NOMEM(l->err);
    SM_TRY(read_elems(l, out->enc.code, p, n, &at, out->rank == 0 ? SM_MAX_RANK + 1 : 0));
    if (at != n)
        return sm_lex_wanted(l, "as many elements as the type says before this");
    out->part[SM_PART_DATA] = (sm_bytes){p, bytes};
    return SM_OK;
}

sm_status sm_text_data(sm_lex *l, sm_text_env *env, sm_tensor *out) {
    size_t bytes[SM_PART_COUNT];
    sm_status st = sm_enc_sizes(&out->enc, out->rank, out->dims, bytes, l->err);
    if (st != SM_OK) {
        sm_lex_place(l, l->tok.at);
        return st;
    }
    if (sm_lex_word(l, "BLOBFILE"))
        return read_blobfile(l, env, out);
    if (sm_lex_word(l, "RANDOM"))
        return read_random(l, env, bytes, out);
    if (sm_lex_word(l, "EXTERN")) {
        SM_TRY(sm_lex_next(l));
        SM_TRY(sm_lex_need(l, '('));
        if (l->tok.kind != SM_TOK_STR)
            return sm_lex_wanted(l, "a name");
        out->name = l->tok.text;
        SM_TRY(sm_lex_next(l));
        return sm_lex_need(l, ')');
    }
    if (!sm_lex_word(l, "HEX"))
        return read_literal(l, env, bytes[SM_PART_DATA], out);
    for (int i = 0; i < SM_PART_COUNT; i++) {
        if (sm_enc_part_dtype(&out->enc, i) == SM_NONE)
            continue;
        if (i > 0)
            SM_TRY(sm_lex_need(l, ','));
        SM_TRY(read_hex(l, env, bytes[i], &out->part[i]));
    }
    return SM_OK;
}
