/* SPDX-License-Identifier: MIT
 *
 * tmpl_print.c: values as text: as Python's str and repr have it, as JSON, escaped for HTML.
 *
 * Texts grow in heap strings, of which a value that holds another many times can ask for more than there is: writers
 * stop once the rendering's limits are passed (tmpl_room, tmpl_spent), and whoever takes the text then fails.
 */
#include "text/template_int.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool goes_on(run *r, const sm_str *out) {
    tmpl_charge(r, 32);
    return !tmpl_spent(r) && tmpl_room(r, out);
}

/* ---- repr ---------------------------------------------------------------------------------------------------- */

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
        else if (!val_char_prints(cp))
            sm_str_addf(out, cp < 0x100 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)cp);
        else
            sm_str_add(out, s.p + at, i - at);
    }
    sm_str_addc(out, quote);
}

static void put_items(run *r, const val_list *l, const char *open, const char *close, sm_str *out) {
    sm_str_adds(out, open);
    for (size_t i = 0; i < l->n && goes_on(r, out); i++) {
        if (i > 0)
            sm_str_adds(out, ", ");
        val_repr(r, l->v[i], out);
    }
    sm_str_adds(out, close);
}

static void put_dict(run *r, const val_dict *d, sm_str *out) {
    sm_str_addc(out, '{');
    for (size_t i = 0; i < d->n && goes_on(r, out); i++) {
        sm_str_adds(out, i > 0 ? ", " : "");
        val_repr(r, d->keys[i], out);
        sm_str_adds(out, ": ");
        val_repr(r, d->values[i], out);
    }
    sm_str_addc(out, '}');
}

static void put_range(const int64_t b[3], sm_str *out) {
    sm_str_addf(out, "range(%lld, %lld", (long long)b[0], (long long)b[1]);
    if (b[2] != 1)
        sm_str_addf(out, ", %lld", (long long)b[2]);
    sm_str_addc(out, ')');
}

static void put_nested(run *r, val v, sm_str *out) {
    switch (v.kind) {
    case VAL_LIST:
        put_items(r, v.u.list, "[", "]", out);
        break;
    case VAL_TUPLE:
        put_items(r, v.u.list, "(", v.u.list->n == 1 ? ",)" : ")", out);
        break;
    case VAL_VIEW:
        sm_str_adds(out, v.u.list->type);
        put_items(r, v.u.list, "([", "])", out);
        break;
    case VAL_NAMESPACE:
        sm_str_adds(out, "<Namespace ");
        put_dict(r, v.u.dict, out);
        sm_str_addc(out, '>');
        break;
    default:
        put_dict(r, v.u.dict, out);
        break;
    }
}

void val_repr(run *r, val v, sm_str *out) {
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
        tmpl_put_float(v.u.f, out);
        break;
    case VAL_STR:
        tmpl_charge(r, v.u.s.n);
        if (v.safe)
            sm_str_adds(out, "Markup(");
        repr_string(v.u.s, out);
        if (v.safe)
            sm_str_addc(out, ')');
        break;
    case VAL_RANGE:
        put_range(v.u.list->bounds, out);
        break;
    case VAL_LIST:
    case VAL_TUPLE:
    case VAL_VIEW:
    case VAL_DICT:
    case VAL_NAMESPACE:
        if (r->depth >= SM_TEMPLATE_EVAL_DEPTH) {
            r->flooded = true;
            break;
        }
        r->depth++;
        put_nested(r, v, out);
        r->depth--;
        break;
    case VAL_LOOP:
        sm_str_addf(out, "<LoopContext %zu/%zu>", v.u.loop->at + 1, v.u.loop->items->n);
        break;
    case VAL_MACRO:
        sm_str_adds(out, "<Macro ");
        repr_string(v.u.macro->def->text, out);
        sm_str_addc(out, '>');
        break;
    default:
        sm_str_addf(out, "<%s>", val_type(v));
        break;
    }
}

void val_print(run *r, val v, sm_str *out) {
    if (v.kind == VAL_STR) {
        tmpl_charge(r, v.u.s.n);
        sm_str_add(out, v.u.s.p, v.u.s.n);
    } else if (v.kind != VAL_UNDEFINED) {
        val_repr(r, v, out);
    }
}

void val_escape(sm_sv s, sm_str *out) {
    static const char from[] = "&<>'\"";
    static const char *const to[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    for (size_t i = 0; i < s.n; i++) {
        const char *k = s.p[i] != '\0' ? strchr(from, s.p[i]) : NULL;
        if (k != NULL)
            sm_str_adds(out, to[k - from]);
        else
            sm_str_addc(out, s.p[i]);
    }
}

/* Text of anything, as most string filters take it. */
sm_status val_text(run *r, val v, sm_sv *out) {
    if (v.kind != VAL_STR) {
        sm_str s = SM_STR_INIT;
        val_print(r, v, &s);
        SM_TRY(val_take_str(r, &s, &v));
    }
    *out = v.u.s;
    return SM_OK;
}

/* ---- JSON ---------------------------------------------------------------------------------------------------- */

static void put_json_string(sm_sv s, bool ascii, sm_str *out) {
    static const char from[] = "\"\\\b\f\n\r\t";
    sm_str_addc(out, '"');
    for (size_t i = 0; i < s.n;) {
        size_t at = i;
        uint32_t cp = val_char(s, &i);
        const char *k = cp != 0 && cp < 0x80 ? strchr(from, (int)cp) : NULL;
        if (k != NULL)
            sm_str_addf(out, "\\%c", "\"\\bfnrt"[k - from]);
        else if (cp < 0x20 || (ascii && cp >= 0x7f && cp < 0x10000))
            sm_str_addf(out, "\\u%04x", (unsigned)cp);
        else if (ascii && cp >= 0x10000)
            sm_str_addf(out, "\\u%04x\\u%04x", 0xd800u + ((unsigned)(cp - 0x10000) >> 10),
                        0xdc00u + ((cp - 0x10000) & 0x3ff));
        else
            sm_str_add(out, s.p + at, i - at);
    }
    sm_str_addc(out, '"');
}

typedef struct writer {
    run *r;
    const json_style *style;
    sm_str *out;
} writer;

static void line_break(const writer *w, int depth) {
    if (w->style->indent == NULL)
        return;
    sm_str_addc(w->out, '\n');
    for (int i = 0; i < depth; i++)
        sm_str_adds(w->out, w->style->indent);
}

static sm_status write_json(const writer *w, val v, int depth);

static sm_status write_key(const writer *w, val k) {
    if (k.kind == VAL_STR) {
        put_json_string(k.u.s, w->style->ascii, w->out);
        return SM_OK;
    }
    if (k.kind != VAL_NONE && !val_is_number(k))
        return tmpl_fail(w->r, SM_BADINPUT, "tojson: %s cannot be a key", val_type(k));
    sm_str_addc(w->out, '"');
    SM_TRY(write_json(w, k, 0));
    sm_str_addc(w->out, '"');
    return SM_OK;
}

static sm_status write_dict(const writer *w, val d, int depth) {
    val entries;
    if (w->style->sort) {
        val call;
        SM_TRY(tmpl_attr(w->r, d, SM_SV("items"), &call));
        SM_TRY(tmpl_call(w->r, call, &(call_args){0}, &entries));
        SM_TRY(tmpl_filter(w->r, SM_SV("sort"), entries,
                           &(call_args){(val[]){val_bool(true), val_int(0)}, 2,
                                        (sm_sv[]){SM_SV("case_sensitive"), SM_SV("attribute")}, 2},
                           &entries));
    }
    sm_str_addc(w->out, '{');
    for (size_t i = 0; i < d.u.dict->n; i++) {
        val k = d.u.dict->keys[i], v = d.u.dict->values[i];
        if (w->style->sort) {
            k = entries.u.list->v[i].u.list->v[0];
            v = entries.u.list->v[i].u.list->v[1];
        }
        if (i > 0)
            sm_str_adds(w->out, w->style->item_sep);
        line_break(w, depth + 1);
        SM_TRY(write_key(w, k));
        sm_str_adds(w->out, w->style->key_sep);
        SM_TRY(write_json(w, v, depth + 1));
    }
    if (d.u.dict->n > 0)
        line_break(w, depth);
    sm_str_addc(w->out, '}');
    return SM_OK;
}

static sm_status write_list(const writer *w, const val_list *l, int depth) {
    sm_str_addc(w->out, '[');
    for (size_t i = 0; i < l->n; i++) {
        if (i > 0)
            sm_str_adds(w->out, w->style->item_sep);
        line_break(w, depth + 1);
        SM_TRY(write_json(w, l->v[i], depth + 1));
    }
    if (l->n > 0)
        line_break(w, depth);
    sm_str_addc(w->out, ']');
    return SM_OK;
}

static sm_status write_json(const writer *w, val v, int depth) {
    if (!goes_on(w->r, w->out))
        return tmpl_check(w->r);
    if (depth > 2 * SM_TEMPLATE_DEPTH)
        return tmpl_fail(w->r, SM_RESOURCE, "value nested deeper than %d", 2 * SM_TEMPLATE_DEPTH);
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
            tmpl_put_float(v.u.f, w->out);
        return SM_OK;
    case VAL_STR:
        tmpl_charge(w->r, v.u.s.n);
        put_json_string(v.u.s, w->style->ascii, w->out);
        return SM_OK;
    case VAL_LIST:
    case VAL_TUPLE:
        return write_list(w, v.u.list, depth);
    case VAL_DICT:
        return write_dict(w, v, depth);
    default:
        return tmpl_fail(w->r, SM_BADINPUT, "tojson: %s has no JSON form", val_type(v));
    }
}

sm_status val_tojson(run *r, val v, const json_style *style, sm_str *out) {
    writer w = {r, style, out};
    return write_json(&w, v, 0);
}
