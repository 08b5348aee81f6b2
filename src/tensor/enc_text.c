/* SPDX-License-Identifier: MIT
 *
 * enc_text.c: the spelling of encodings, written and read.
 *
 *     q4_1
 *     fp16
 *     affine(int4, fp16, [1, 32])
 *     affine(uint4, fp16, offset fp16, [1, 32])
 *     lut(uint4, fp16, [64, 64])
 *     lut(uint2, fp16, [64, 64], vec 2 axis 0, scale fp16 [1, 64])
 *
 * Brackets hold one extent per axis.  Blanks are free between words when reading.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/number.h"
#include "base/str.h"
#include "tensor/enc_int.h"

/* ---- print ---- */

typedef struct text_out {
    char *p;
    size_t n, cap;
} text_out;

static void put(text_out *o, const char *fmt, ...) SM_PRINTF(2, 3);
static void put(text_out *o, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = sm_vsnprintf(o->n < o->cap ? o->p + o->n : NULL, o->n < o->cap ? o->cap - o->n : 0, fmt, ap);
    va_end(ap);
    o->n += n > 0 ? (size_t)n : 0;
}

static void put_extents(text_out *o, const int64_t *v, int rank) {
    put(o, "[");
    for (int a = 0; a < rank; a++)
        put(o, "%s%" PRId64, a == 0 ? "" : ", ", v[a]);
    put(o, "]");
}

const char *sm_enc_print(const sm_encoding *e, int rank, char *out, size_t cap) {
    const sm_enc_row *row = sm_enc_row_of(e->id);
    text_out o = {out, 0, cap};
    if (cap == 0)
        return "";
    switch (row->kind) {
    case SM_KIND_DENSE:
        put(&o, "%s", sm_dtype_name(e->code));
        break;
    case SM_KIND_BLOCK:
        put(&o, "%s", row->name);
        break;
    case SM_KIND_AFFINE:
        put(&o, "affine(%s, %s, ", sm_dtype_name(e->code), sm_dtype_name(e->aux));
        if (e->off != SM_NONE)
            put(&o, "offset %s, ", sm_dtype_name(e->off));
        put_extents(&o, e->block, rank);
        put(&o, ")");
        break;
    case SM_KIND_LUT:
        put(&o, "lut(%s, %s, ", sm_dtype_name(e->code), sm_dtype_name(e->aux));
        put_extents(&o, e->block, rank);
        if (e->vec > 1)
            put(&o, ", vec %d axis %d", (int)e->vec, (int)e->vec_axis);
        if (e->sc != SM_NONE) {
            put(&o, ", scale %s ", sm_dtype_name(e->sc));
            put_extents(&o, e->sc_block, rank);
        }
        put(&o, ")");
        break;
    }
    return out;
}

/* ---- parse ---- */

typedef struct text_in {
    sm_sv all;
    size_t at;
    sm_err *err;
} text_in;

static void skip_blanks(text_in *in) {
    while (in->at < in->all.n && (in->all.p[in->at] == ' ' || in->all.p[in->at] == '\t'))
        in->at++;
}

static sm_status wanted(text_in *in, size_t at, const char *what) {
    return SM_FAIL(in->err, SM_BADINPUT, "encoding %s, offset %zu: wanted %s, found %s", sm_quote(in->all.p, in->all.n),
                   at, what, at < in->all.n ? sm_quote(in->all.p + at, in->all.n - at) : "the end");
}

static bool word_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static sm_sv next_word(text_in *in) {
    skip_blanks(in);
    size_t from = in->at;
    while (in->at < in->all.n && word_char(in->all.p[in->at]))
        in->at++;
    return (sm_sv){in->all.p + from, in->at - from};
}

static bool take(text_in *in, char c) {
    skip_blanks(in);
    if (in->at >= in->all.n || in->all.p[in->at] != c)
        return false;
    in->at++;
    return true;
}

static sm_status need(text_in *in, char c) {
    const char what[] = {'\'', c, '\'', 0};
    return take(in, c) ? SM_OK : wanted(in, in->at, what);
}

static sm_status need_word(text_in *in, const char *word) {
    skip_blanks(in);
    size_t at = in->at;
    return sm_sv_is(next_word(in), word) ? SM_OK : wanted(in, at, word);
}

static sm_status need_dtype(text_in *in, sm_dtype *out) {
    skip_blanks(in);
    size_t at = in->at;
    *out = sm_dtype_of_name(next_word(in));
    return *out == SM_NONE ? wanted(in, at, "a type") : SM_OK;
}

static sm_status need_int(text_in *in, int64_t min, int64_t max, int64_t *out) {
    int64_t v = 0;
    skip_blanks(in);
    size_t at = in->at;
    while (in->at < in->all.n && in->all.p[in->at] >= '0' && in->all.p[in->at] <= '9') {
        if (v > (INT64_MAX - 9) / 10)
            return wanted(in, at, "a smaller number");
        v = v * 10 + (in->all.p[in->at++] - '0');
    }
    if (in->at == at || v < min || v > max)
        return wanted(in, at, "a number in range");
    *out = v;
    return SM_OK;
}

static sm_status need_extents(text_in *in, int rank, int64_t *out) {
    SM_TRY(need(in, '['));
    for (int a = 0; a < rank; a++) {
        if (a > 0)
            SM_TRY(need(in, ','));
        SM_TRY(need_int(in, 1, INT64_MAX, &out[a]));
    }
    skip_blanks(in);
    return take(in, ']') ? SM_OK : wanted(in, in->at, "']' after one extent per axis");
}

static sm_status parse_affine(text_in *in, int rank, sm_encoding *e) {
    e->id = SM_ENC_AFFINE;
    SM_TRY(need(in, '('));
    SM_TRY(need_dtype(in, &e->code));
    SM_TRY(need(in, ','));
    SM_TRY(need_dtype(in, &e->aux));
    SM_TRY(need(in, ','));
    skip_blanks(in);
    if (in->at < in->all.n && in->all.p[in->at] != '[') {
        SM_TRY(need_word(in, "offset"));
        SM_TRY(need_dtype(in, &e->off));
        SM_TRY(need(in, ','));
    }
    SM_TRY(need_extents(in, rank, e->block));
    return need(in, ')');
}

static sm_status parse_lut(text_in *in, int rank, sm_encoding *e) {
    int64_t v;
    e->id = SM_ENC_LUT;
    e->vec = 1;
    SM_TRY(need(in, '('));
    SM_TRY(need_dtype(in, &e->code));
    SM_TRY(need(in, ','));
    SM_TRY(need_dtype(in, &e->aux));
    SM_TRY(need(in, ','));
    SM_TRY(need_extents(in, rank, e->block));
    while (take(in, ',')) {
        skip_blanks(in);
        size_t at = in->at;
        sm_sv w = next_word(in);
        if (sm_sv_is(w, "vec") && e->vec == 1) {
            SM_TRY(need_int(in, 2, 4096, &v));
            e->vec = (int32_t)v;
            SM_TRY(need_word(in, "axis"));
            SM_TRY(need_int(in, 0, rank - 1, &v));
            e->vec_axis = (int32_t)v;
        } else if (sm_sv_is(w, "scale") && e->sc == SM_NONE) {
            SM_TRY(need_dtype(in, &e->sc));
            SM_TRY(need_extents(in, rank, e->sc_block));
        } else {
            return wanted(in, at, "vec or scale");
        }
    }
    return need(in, ')');
}

sm_status sm_enc_parse(sm_sv text, int rank, sm_encoding *out, sm_err *err) {
    text_in in = {text, 0, err};
    sm_encoding e = {0};
    skip_blanks(&in);
    size_t at = in.at;
    sm_sv w = next_word(&in);
    if (sm_sv_is(w, "affine")) {
        SM_TRY(parse_affine(&in, rank, &e));
    } else if (sm_sv_is(w, "lut")) {
        SM_TRY(parse_lut(&in, rank, &e));
    } else if (sm_dtype_of_name(w) != SM_NONE && sm_dtype_of_name(w) != SM_STRING) {
        e = sm_enc_dense(sm_dtype_of_name(w));
    } else {
        int id = 0;
        while (id < SM_ENC_COUNT_ && !(sm_enc_row_of((sm_enc_id)id)->kind == SM_KIND_BLOCK &&
                                       sm_sv_is(w, sm_enc_row_of((sm_enc_id)id)->name)))
            id++;
        if (id == SM_ENC_COUNT_)
            return wanted(&in, at, "an encoding (fp16, q4_0, affine(...), lut(...))");
        e = sm_enc_block((sm_enc_id)id);
    }
    skip_blanks(&in);
    if (in.at != text.n)
        return wanted(&in, in.at, "the end");
    *out = e;
    return SM_OK;
}
