/* SPDX-License-Identifier: MIT
 *
 * tmpl_value.c: values of a rendering, with Python's ideas of truth, equality and printing.
 *
 * Values are small and copied; what they point to (strings, lists, dicts) lives in the rendering's arena or, strings of
 * the context, in its JSON.  Only lists and dicts still being built change; a loop or a filter always makes new ones.
 * Integers are 64 bits wide; arithmetic that would need more is an error, not a wrong number.
 *
 * Threads: none of it is shared.
 */
#include "text/template_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

val val_bool(bool b) {
    return (val){.kind = VAL_BOOL, .u.b = b};
}

val val_int(int64_t i) {
    return (val){.kind = VAL_INT, .u.i = i};
}

val val_float(double f) {
    return (val){.kind = VAL_FLOAT, .u.f = f};
}

val val_none(void) {
    return (val){.kind = VAL_NONE};
}

val val_undefined(sm_sv name) {
    return (val){.kind = VAL_UNDEFINED, .u.s = name};
}

val val_view(sm_sv s) {
    return (val){.kind = VAL_STR, .u.s = s};
}

sm_status val_str(run *r, const char *p, size_t n, val *out) {
    char *copy = tmpl_alloc(r, n + 1);
    if (copy == NULL)
        return SM_RESOURCE;
    if (n > 0)
        memcpy(copy, p, n);
    *out = val_view((sm_sv){copy, n});
    return SM_OK;
}

sm_status val_take_str(run *r, sm_str *s, val *out) {
    sm_status st = sm_str_ok(s) ? val_str(r, sm_str_z(s), s->n, out) : tmpl_nomem(r);
    sm_str_free(s);
    return st;
}

sm_status val_list_new(run *r, val_kind kind, val *out) {
    *out = (val){.kind = kind, .u.list = tmpl_alloc(r, sizeof(val_list))};
    return out->u.list != NULL ? SM_OK : SM_RESOURCE;
}

sm_status val_dict_new(run *r, val_kind kind, val *out) {
    *out = (val){.kind = kind, .u.dict = tmpl_alloc(r, sizeof(val_dict))};
    return out->u.dict != NULL ? SM_OK : SM_RESOURCE;
}

static val *grown(run *r, const val *v, size_t n, size_t cap) {
    val *more = tmpl_alloc(r, cap * sizeof *more);
    if (more != NULL && n > 0)
        memcpy(more, v, n * sizeof *v);
    return more;
}

sm_status val_push(run *r, val_list *l, val v) {
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 4;
        val *more = grown(r, l->v, l->n, cap);
        if (more == NULL)
            return SM_RESOURCE;
        l->v = more;
        l->cap = cap;
    }
    l->v[l->n++] = v;
    return SM_OK;
}

sm_status val_put(run *r, val_dict *d, val key, val v) {
    for (size_t i = 0; i < d->n; i++)
        if (val_equal(d->keys[i], key)) {
            d->values[i] = v;
            return SM_OK;
        }
    if (d->n == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 4;
        val *keys = grown(r, d->keys, d->n, cap), *values = keys != NULL ? grown(r, d->values, d->n, cap) : NULL;
        if (values == NULL)
            return SM_RESOURCE;
        d->keys = keys;
        d->values = values;
        d->cap = cap;
    }
    d->keys[d->n] = key;
    d->values[d->n++] = v;
    return SM_OK;
}

const val *val_get(const val_dict *d, val key) {
    for (size_t i = 0; i < d->n; i++)
        if (val_equal(d->keys[i], key))
            return &d->values[i];
    return NULL;
}

const val *val_get_z(const val_dict *d, sm_sv key) {
    return val_get(d, val_view(key));
}

/* ---- questions ----------------------------------------------------------------------------------------------- */

bool val_is_number(val v) {
    return v.kind == VAL_BOOL || v.kind == VAL_INT || v.kind == VAL_FLOAT;
}

double val_number(val v) {
    return v.kind == VAL_FLOAT ? v.u.f : v.kind == VAL_INT ? (double)v.u.i : (double)v.u.b;
}

bool val_is_seq(val v) {
    return v.kind == VAL_LIST || v.kind == VAL_TUPLE;
}

bool val_true(val v) {
    switch (v.kind) {
    case VAL_UNDEFINED:
    case VAL_NONE:
        return false;
    case VAL_BOOL:
        return v.u.b;
    case VAL_INT:
        return v.u.i != 0;
    case VAL_FLOAT:
        return v.u.f != 0;
    case VAL_STR:
        return v.u.s.n > 0;
    case VAL_LIST:
    case VAL_TUPLE:
        return v.u.list->n > 0;
    case VAL_DICT:
        return v.u.dict->n > 0;
    default:
        return true;
    }
}

static bool dict_equal(const val_dict *a, const val_dict *b) {
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        const val *other = val_get(b, a->keys[i]);
        if (other == NULL || !val_equal(a->values[i], *other))
            return false;
    }
    return true;
}

bool val_equal(val a, val b) {
    if (val_is_number(a) && val_is_number(b)) {
        if (a.kind != VAL_FLOAT && b.kind != VAL_FLOAT)
            return (a.kind == VAL_INT ? a.u.i : a.u.b) == (b.kind == VAL_INT ? b.u.i : b.u.b);
        return val_number(a) == val_number(b);
    }
    if (a.kind != b.kind)
        return false;
    switch (a.kind) {
    case VAL_UNDEFINED:
    case VAL_NONE:
        return true;
    case VAL_STR:
    case VAL_FUNCTION:
        return sm_sv_eq(a.u.s, b.u.s);
    case VAL_LIST:
    case VAL_TUPLE:
        if (a.u.list->n != b.u.list->n)
            return false;
        for (size_t i = 0; i < a.u.list->n; i++)
            if (!val_equal(a.u.list->v[i], b.u.list->v[i]))
                return false;
        return true;
    case VAL_DICT:
        return dict_equal(a.u.dict, b.u.dict);
    case VAL_NAMESPACE:
        return a.u.dict == b.u.dict;
    default:
        return a.u.loop == b.u.loop;
    }
}

const char *val_type(val v) {
    static const char *const names[] = {
        [VAL_UNDEFINED] = "undefined", [VAL_NONE] = "None",
        [VAL_BOOL] = "bool",           [VAL_INT] = "int",
        [VAL_FLOAT] = "float",         [VAL_STR] = "str",
        [VAL_LIST] = "list",           [VAL_TUPLE] = "tuple",
        [VAL_DICT] = "dict",           [VAL_NAMESPACE] = "namespace",
        [VAL_LOOP] = "loop",           [VAL_FUNCTION] = "function",
        [VAL_METHOD] = "method",
    };
    return names[v.kind];
}

/* ---- strings ------------------------------------------------------------------------------------------------- */

uint32_t val_char(sm_sv s, size_t *at) {
    uint32_t cp;
    int n = sm_utf8_decode(s.p + *at, s.n - *at, &cp);
    if (n == 0) { /* source and context may hold anything */
        cp = 0xfffd;
        n = 1;
    }
    *at += (size_t)n;
    return cp;
}

bool val_is_space(uint32_t cp) {
    return cp == ' ' || (cp >= 9 && cp <= 13) || (cp >= 0x1c && cp <= 0x1f) || cp == 0x85 || cp == 0xa0 ||
           cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 || cp == 0x202f ||
           cp == 0x205f || cp == 0x3000;
}

static bool strips(uint32_t cp, const sm_sv *chars) {
    if (chars == NULL)
        return val_is_space(cp);
    for (size_t i = 0; i < chars->n;)
        if (val_char(*chars, &i) == cp)
            return true;
    return false;
}

sm_sv val_strip(sm_sv s, const sm_sv *chars, bool left, bool right) {
    size_t from = 0;
    while (left && from < s.n) {
        size_t next = from;
        if (!strips(val_char(s, &next), chars))
            break;
        from = next;
    }
    s = (sm_sv){s.p + from, s.n - from};
    while (right && s.n > 0) {
        size_t at = s.n - 1;
        while (at > 0 && s.n - at < 4 && ((uint8_t)s.p[at] & 0xc0) == 0x80)
            at--;
        size_t next = at;
        uint32_t cp = val_char(s, &next);
        if (next != s.n) { /* not a character: its last byte alone */
            at = s.n - 1;
            cp = 0xfffd;
        }
        if (!strips(cp, chars))
            break;
        s.n = at;
    }
    return s;
}

size_t val_str_len(sm_sv s) {
    size_t n = 0;
    for (size_t i = 0; i < s.n; n++)
        val_char(s, &i);
    return n;
}

/* ---- JSON ---------------------------------------------------------------------------------------------------- */

sm_status val_from_json(run *r, const json_t *j, int depth, val *out) {
    if (depth > SM_TEMPLATE_DEPTH)
        return tmpl_fail(r, SM_RESOURCE, "value nested deeper than %d", (int)SM_TEMPLATE_DEPTH);
    switch (json_typeof(j)) {
    case JSON_STRING:
        *out = val_view((sm_sv){json_string_value(j), json_string_length(j)});
        return SM_OK;
    case JSON_INTEGER:
        *out = val_int(json_integer_value(j));
        return SM_OK;
    case JSON_REAL:
        *out = val_float(json_real_value(j));
        return SM_OK;
    case JSON_TRUE:
    case JSON_FALSE:
        *out = val_bool(json_is_true(j));
        return SM_OK;
    case JSON_NULL:
        *out = val_none();
        return SM_OK;
    case JSON_ARRAY:
        SM_TRY(val_list_new(r, VAL_LIST, out));
        for (size_t i = 0; i < json_array_size(j); i++) {
            val v;
            SM_TRY(val_from_json(r, json_array_get(j, i), depth + 1, &v));
            SM_TRY(val_push(r, out->u.list, v));
        }
        return SM_OK;
    case JSON_OBJECT:
        break;
    }
    SM_TRY(val_dict_new(r, VAL_DICT, out));
    for (void *it = json_object_iter((json_t *)j); it != NULL; it = json_object_iter_next((json_t *)j, it)) {
        val v;
        SM_TRY(val_from_json(r, json_object_iter_value(it), depth + 1, &v));
        SM_TRY(val_put(r, out->u.dict, val_view(sm_sv_of(json_object_iter_key(it))), v));
    }
    return SM_OK;
}

static void put_json_string(sm_sv s, bool ascii, sm_str *out) {
    sm_str_addc(out, '"');
    for (size_t i = 0; i < s.n;) {
        size_t at = i;
        uint32_t cp = val_char(s, &i);
        const char *k = cp != 0 && cp < 0x80 ? strchr("\"\\\b\f\n\r\t", (int)cp) : NULL;
        if (k != NULL)
            sm_str_addf(out, "\\%c", "\"\\bfnrt"[k - strchr("\"\\\b\f\n\r\t", '"')]);
        else if (cp < 0x20 || (ascii && cp >= 0x7f && cp < 0x10000 && cp != 0x7f))
            sm_str_addf(out, "\\u%04x", (unsigned)cp);
        else if (ascii && cp >= 0x10000)
            sm_str_addf(out, "\\u%04x\\u%04x", 0xd800u + ((unsigned)(cp - 0x10000) >> 10),
                        0xdc00u + ((cp - 0x10000) & 0x3ff));
        else
            sm_str_add(out, s.p + at, i - at);
    }
    sm_str_addc(out, '"');
}

/* The shortest digits that read back as f, in Python's form. */
static void put_float(double f, sm_str *out) {
    char z[40], mantissa[40];
    if (isnan(f) || isinf(f)) {
        sm_str_adds(out, isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    int digits = 1;
    for (; digits < 17; digits++) {
        snprintf(z, sizeof z, "%.*e", digits - 1, f);
        if (strtod(z, NULL) == f)
            break;
    }
    snprintf(z, sizeof z, "%.*e", digits - 1, f);
    int exponent = atoi(strchr(z, 'e') + 1);
    if (exponent < -4 || exponent >= 16) {
        snprintf(mantissa, sizeof mantissa, "%.*s", (int)(strchr(z, 'e') - z), z);
        sm_str_addf(out, "%se%c%02d", mantissa, exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    sm_str_addf(out, "%.*f", SM_MAX(digits - 1 - exponent, 1), f);
}

typedef struct writer {
    run *r;
    int indent; /* negative: all on one line */
    const char *item_sep, *key_sep;
    bool ascii, sort;
    sm_str *out;
} writer;

static void line_break(const writer *w, int depth) {
    if (w->indent < 0)
        return;
    sm_str_addc(w->out, '\n');
    for (int i = 0; i < depth * w->indent; i++)
        sm_str_addc(w->out, ' ');
}

static sm_status write_json(const writer *w, val v, int depth);

/* The next key in order, after `last` (NULL: the first). */
static size_t next_key(const writer *w, const val_dict *d, size_t done, const sm_sv *last) {
    size_t best = d->n;
    if (!w->sort)
        return done;
    for (size_t i = 0; i < d->n; i++) {
        sm_sv k = d->keys[i].u.s, b = best < d->n ? d->keys[best].u.s : k;
        int below = memcmp(k.p, b.p, SM_MIN(k.n, b.n)), above = last ? memcmp(k.p, last->p, SM_MIN(k.n, last->n)) : 1;
        bool after = last == NULL || above > 0 || (above == 0 && k.n > last->n);
        if (after && (best == d->n || below < 0 || (below == 0 && k.n < b.n)))
            best = i;
    }
    return best;
}

static sm_status write_dict(const writer *w, const val_dict *d, int depth) {
    sm_sv last;
    sm_str_addc(w->out, '{');
    for (size_t n = 0; n < d->n; n++) {
        size_t i = next_key(w, d, n, n > 0 ? &last : NULL);
        if (i >= d->n || d->keys[i].kind != VAL_STR)
            return tmpl_fail(w->r, SM_UNSUPPORTED, "tojson: keys that are not strings are not supported");
        if (n > 0)
            sm_str_adds(w->out, w->item_sep);
        line_break(w, depth + 1);
        last = d->keys[i].u.s;
        put_json_string(last, w->ascii, w->out);
        sm_str_adds(w->out, w->key_sep);
        SM_TRY(write_json(w, d->values[i], depth + 1));
    }
    if (d->n > 0)
        line_break(w, depth);
    sm_str_addc(w->out, '}');
    return SM_OK;
}

static sm_status write_json(const writer *w, val v, int depth) {
    if (depth > SM_TEMPLATE_DEPTH)
        return tmpl_fail(w->r, SM_RESOURCE, "value nested deeper than %d", (int)SM_TEMPLATE_DEPTH);
    switch (v.kind) {
    case VAL_NONE:
        sm_str_adds(w->out, "null");
        return SM_OK;
    case VAL_BOOL:
        sm_str_adds(w->out, v.u.b ? "true" : "false");
        return SM_OK;
    case VAL_INT:
        sm_str_addf(w->out, "%lld", (long long)v.u.i);
        return SM_OK;
    case VAL_FLOAT:
        if (isnan(v.u.f) || isinf(v.u.f))
            sm_str_adds(w->out, isnan(v.u.f) ? "NaN" : v.u.f < 0 ? "-Infinity" : "Infinity");
        else
            put_float(v.u.f, w->out);
        return SM_OK;
    case VAL_STR:
        put_json_string(v.u.s, w->ascii, w->out);
        return SM_OK;
    case VAL_LIST:
    case VAL_TUPLE:
        sm_str_addc(w->out, '[');
        for (size_t i = 0; i < v.u.list->n; i++) {
            if (i > 0)
                sm_str_adds(w->out, w->item_sep);
            line_break(w, depth + 1);
            SM_TRY(write_json(w, v.u.list->v[i], depth + 1));
        }
        if (v.u.list->n > 0)
            line_break(w, depth);
        sm_str_addc(w->out, ']');
        return SM_OK;
    case VAL_DICT:
        return write_dict(w, v.u.dict, depth);
    default:
        return tmpl_fail(w->r, SM_BADINPUT, "tojson: %s has no JSON form", val_type(v));
    }
}

sm_status val_tojson(run *r, val v, int indent, const char *item_sep, const char *key_sep, bool ascii, bool sort,
                     sm_str *out) {
    writer w = {r, indent, item_sep, key_sep, ascii, sort, out};
    return write_json(&w, v, 0);
}

/* ---- printing ------------------------------------------------------------------------------------------------ */

/* What Python shows as it is: not controls, marks of format, private and unassigned ones, nor spaces but the one. */
static bool prints(uint32_t cp) {
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return cp == ' ' || !(c == UTF8PROC_CATEGORY_CN || c >= UTF8PROC_CATEGORY_ZS);
}

static void repr_string(sm_sv s, sm_str *out) {
    bool single = memchr(s.p, '\'', s.n) != NULL, twice = s.n > 0 && memchr(s.p, '"', s.n) != NULL;
    char quote = s.n > 0 && single && !twice ? '"' : '\'';
    sm_str_addc(out, quote);
    for (size_t i = 0; i < s.n;) {
        size_t at = i;
        uint32_t cp = val_char(s, &i);
        if (cp == (uint32_t)quote || cp == '\\')
            sm_str_addf(out, "\\%c", (char)cp);
        else if (cp == '\n' || cp == '\r' || cp == '\t')
            sm_str_addf(out, "\\%c", cp == '\n' ? 'n' : cp == '\r' ? 'r' : 't');
        else if (!prints(cp))
            sm_str_addf(out, cp < 0x100 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)cp);
        else
            sm_str_add(out, s.p + at, i - at);
    }
    sm_str_addc(out, quote);
}

static void repr_items(const val_list *l, const char *open, const char *close, int depth, sm_str *out) {
    sm_str_adds(out, open);
    for (size_t i = 0; i < l->n; i++) {
        if (i > 0)
            sm_str_adds(out, ", ");
        val_repr(l->v[i], depth + 1, out);
    }
    sm_str_adds(out, close);
}

void val_repr(val v, int depth, sm_str *out) {
    if (depth > SM_TEMPLATE_DEPTH) {
        sm_str_adds(out, "...");
        return;
    }
    switch (v.kind) {
    case VAL_UNDEFINED:
        sm_str_adds(out, "Undefined");
        break;
    case VAL_NONE:
        sm_str_adds(out, "None");
        break;
    case VAL_BOOL:
        sm_str_adds(out, v.u.b ? "True" : "False");
        break;
    case VAL_INT:
        sm_str_addf(out, "%lld", (long long)v.u.i);
        break;
    case VAL_FLOAT:
        put_float(v.u.f, out);
        break;
    case VAL_STR:
        repr_string(v.u.s, out);
        break;
    case VAL_LIST:
        repr_items(v.u.list, "[", "]", depth, out);
        break;
    case VAL_TUPLE:
        repr_items(v.u.list, "(", v.u.list->n == 1 ? ",)" : ")", depth, out);
        break;
    case VAL_DICT:
        sm_str_addc(out, '{');
        for (size_t i = 0; i < v.u.dict->n; i++) {
            sm_str_adds(out, i > 0 ? ", " : "");
            val_repr(v.u.dict->keys[i], depth + 1, out);
            sm_str_adds(out, ": ");
            val_repr(v.u.dict->values[i], depth + 1, out);
        }
        sm_str_addc(out, '}');
        break;
    default:
        sm_str_addf(out, "<%s>", val_type(v));
        break;
    }
}

void val_print(val v, sm_str *out) {
    if (v.kind == VAL_STR)
        sm_str_add(out, v.u.s.p, v.u.s.n);
    else if (v.kind != VAL_UNDEFINED)
        val_repr(v, 0, out);
}
