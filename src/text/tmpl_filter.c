/* SPDX-License-Identifier: MIT
 *
 * tmpl_filter.c: filters (x | name) of strings and numbers, and the table of all filters.
 *
 * They are known when a template is parsed: one that is not here is refused then, not in the middle of a chat.  Those of
 * the name of a string's method are that method on the value's text.
 */
#include "text/template_int.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/number.h"

static bool given(const val *v) {
    return v != NULL && v->kind != VAL_NONE;
}

/* ---- strings ------------------------------------------------------------------------------------------------- */

/* Text as a string that is still safe if it was. */
static sm_status soft(filter_call *c, val *out) {
    sm_sv s;
    SM_TRY(val_text(c->r, c->in, &s));
    *out = val_view(s);
    out->safe = c->in.kind == VAL_STR && c->in.safe;
    return SM_OK;
}

/* trim, upper, lower, capitalize, center: methods. */
static sm_status filter_method(filter_call *c, val *out) {
    val self, args[1];
    size_t n = 0;
    SM_TRY(soft(c, &self));
    if (sm_sv_is(c->name, "center"))
        args[n++] = c->slot[0] != NULL ? *c->slot[0] : val_int(80);
    else if (c->slot[0] != NULL)
        args[n++] = *c->slot[0];
    return tmpl_call_str(c->r, self, sm_sv_is(c->name, "trim") ? SM_SV("strip") : c->name,
                         &(call_args){args, n, NULL, 0}, out);
}

static sm_status filter_string(filter_call *c, val *out) {
    return soft(c, out);
}

/* A capital after white space and opening brackets; the method of this name has other ideas of where a word begins. */
static sm_status filter_title(filter_call *c, val *out) {
    sm_str text = SM_STR_INIT;
    bool starts = true;
    sm_sv s;
    SM_TRY(val_text(c->r, c->in, &s));
    tmpl_charge(c->r, s.n * 4);
    for (size_t i = 0; i < s.n;) {
        size_t at = i;
        uint32_t cp = val_char(s, &i);
        val v;
        sm_status st = tmpl_call_str(c->r, val_view((sm_sv){s.p + at, i - at}),
                                     starts ? SM_SV("upper") : SM_SV("lower"), &(call_args){0}, &v);
        if (st != SM_OK) {
            sm_str_free(&text);
            return st;
        }
        sm_str_add(&text, v.u.s.p, v.u.s.n);
        starts = val_is_space(cp) || (cp < 0x80 && cp != 0 && strchr("-({[<", (int)cp) != NULL);
    }
    return val_take_str(c->r, &text, out);
}

/* old, new, count? */
static sm_status filter_replace(filter_call *c, val *out) {
    val args[3];
    sm_sv s;
    for (int i = 0; i < 2; i++) {
        SM_TRY(val_text(c->r, *c->slot[i], &s));
        args[i] = val_view(s);
    }
    args[2] = given(c->slot[2]) ? *c->slot[2] : val_int(-1);
    SM_TRY(val_text(c->r, c->in, &s));
    return tmpl_call_str(c->r, val_view(s), SM_SV("replace"), &(call_args){args, 3, NULL, 0}, out);
}

/* width?, first?, blank? */
static sm_status filter_indent(filter_call *c, val *out) {
    const val *width = c->slot[0];
    sm_str text = SM_STR_INIT, pad = SM_STR_INIT;
    val lines;
    if (c->in.kind != VAL_STR)
        return tmpl_wants(c->r, c->name, "a string", c->in);
    if (width != NULL && !val_is_int(*width) && width->kind != VAL_STR)
        return tmpl_wants(c->r, c->name, "a width", *width);
    if (width != NULL && width->kind == VAL_INT && width->u.i > 100000)
        return tmpl_fail(c->r, SM_RESOURCE, "indent of more than 100000");
    SM_TRY(tmpl_call_str(c->r, c->in, SM_SV("splitlines"), &(call_args){0}, &lines));
    val_list *l = lines.u.list;
    size_t n = c->in.u.s.n;
    char end = n > 0 ? c->in.u.s.p[n - 1] : '\0';
    if (n == 0 || end == '\n' || end == '\r' || end == '\v' || end == '\f') /* Jinja adds a line end before it splits */
        SM_TRY(end == '\r' ? SM_OK : val_push(c->r, l, val_view(SM_SV(""))));
    if (width != NULL && width->kind == VAL_STR)
        sm_str_add(&pad, width->u.s.p, width->u.s.n);
    else
        for (int64_t i = width != NULL ? val_as_int(*width) : 4; i > 0; i--)
            sm_str_addc(&pad, ' ');
    for (size_t i = 0; i < l->n && tmpl_room(c->r, &text); i++) {
        sm_sv line = l->v[i].u.s;
        if (i > 0)
            sm_str_addc(&text, '\n');
        if (i == 0 ? val_given_true(c->slot[1]) : line.n > 0 || val_given_true(c->slot[2]))
            sm_str_add(&text, sm_str_z(&pad), pad.n);
        sm_str_add(&text, line.p, line.n);
    }
    text.failed = text.failed || !sm_str_ok(&pad);
    sm_str_free(&pad);
    SM_TRY(val_take_str(c->r, &text, out));
    out->safe = c->in.safe;
    return SM_OK;
}

/* length?, killwords?, end?, leeway? */
static sm_status filter_truncate(filter_call *c, val *out) {
    int64_t length, leeway;
    sm_sv end = SM_SV("...");
    SM_TRY(tmpl_int_arg(c->r, c->name, c->slot[0], 255, &length));
    SM_TRY(tmpl_int_arg(c->r, c->name, given(c->slot[3]) ? c->slot[3] : NULL, 5, &leeway));
    if (c->slot[2] != NULL && c->slot[2]->kind != VAL_STR)
        return tmpl_wants(c->r, c->name, "a string", *c->slot[2]);
    if (c->in.kind != VAL_STR && c->in.kind != VAL_UNDEFINED)
        return tmpl_wants(c->r, c->name, "a string", c->in);
    if (c->slot[2] != NULL)
        end = c->slot[2]->u.s;
    int64_t n_end = (int64_t)val_str_len(end), over;
    if (length < n_end || leeway < 0)
        return tmpl_fail(c->r, SM_BADINPUT, "truncate: wanted a length of %lld at least", (long long)n_end);
    *out = c->in;
    if (c->in.kind == VAL_UNDEFINED || __builtin_add_overflow(length, leeway, &over) ||
        (int64_t)val_str_len(c->in.u.s) <= over)
        return SM_OK;
    sm_sv s = {c->in.u.s.p, val_str_offset(c->in.u.s, (size_t)(length - n_end))};
    if (!val_given_true(c->slot[1])) {
        size_t space = s.n; /* the last one, if any: macOS has no memrchr */
        while (space > 0 && s.p[space - 1] != ' ')
            space--;
        s.n = space > 0 ? space - 1 : s.n;
    }
    val cut = val_view(s);
    cut.safe = c->in.safe;
    return tmpl_binary(c->r, SM_SV("+"), cut, val_view(end), out);
}

static sm_status filter_wordcount(filter_call *c, val *out) {
    int64_t n = 0;
    bool inside = false;
    sm_sv s;
    SM_TRY(val_text(c->r, c->in, &s));
    tmpl_charge(c->r, s.n);
    for (size_t i = 0; i < s.n;) {
        uint32_t cp = val_char(s, &i);
        utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
        bool word = cp == '_' || val_is_letter(cp) || (k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO);
        n += word && !inside;
        inside = word;
    }
    *out = val_int(n);
    return SM_OK;
}

static sm_status filter_format(filter_call *c, val *out) {
    const call_args *a = c->raw;
    size_t n = tmpl_positional(a);
    val self, args;
    SM_TRY(soft(c, &self));
    if (n > 0 && a->n_names > 0)
        return tmpl_fail(c->r, SM_BADINPUT, "format: arguments by place and by name");
    if (a->n_names > 0) {
        SM_TRY(val_dict_new(c->r, VAL_DICT, &args));
        for (size_t i = 0; i < a->n_names; i++)
            SM_TRY(val_put(c->r, args.u.dict, val_view(a->names[i]), a->v[i]));
    } else {
        SM_TRY(val_list_new(c->r, VAL_TUPLE, &args));
        for (size_t i = 0; i < n; i++)
            SM_TRY(val_push(c->r, args.u.list, a->v[i]));
    }
    return tmpl_binary(c->r, SM_SV("%"), self, args, out);
}

/* escape leaves alone what is safe, forceescape does not. */
static sm_status filter_escape(filter_call *c, val *out) {
    sm_str text = SM_STR_INIT;
    sm_sv s;
    *out = c->in;
    if (c->in.kind == VAL_STR && c->in.safe && c->name.p[0] != 'f')
        return SM_OK;
    SM_TRY(val_text(c->r, c->in, &s));
    val_escape(s, &text);
    SM_TRY(val_take_str(c->r, &text, out));
    out->safe = true;
    return SM_OK;
}

static sm_status filter_safe(filter_call *c, val *out) {
    SM_TRY(soft(c, out));
    out->safe = true;
    return SM_OK;
}

static void put_quoted(sm_sv s, bool query, sm_str *out) {
    for (size_t i = 0; i < s.n; i++) {
        char ch = s.p[i];
        bool plain = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
                     (ch != '\0' && strchr("_.-~", ch) != NULL) || (ch == '/' && !query);
        if (plain)
            sm_str_addc(out, ch);
        else if (ch == ' ' && query)
            sm_str_addc(out, '+');
        else
            sm_str_addf(out, "%%%02X", (unsigned)(uint8_t)ch);
    }
}

/* Of a string, or of a dict or pairs: a=b&c=d */
static sm_status filter_urlencode(filter_call *c, val *out) {
    sm_str text = SM_STR_INIT;
    val_list *items;
    val pairs = c->in;
    sm_sv s;
    if (!val_is_listed(c->in) && c->in.kind != VAL_DICT && c->in.kind != VAL_UNDEFINED) {
        SM_TRY(val_text(c->r, c->in, &s));
        put_quoted(s, false, &text);
        return val_take_str(c->r, &text, out);
    }
    if (c->in.kind == VAL_DICT)
        SM_TRY(seq_items(c, &pairs));
    SM_TRY(tmpl_iterate(c->r, pairs, &items));
    for (size_t i = 0; i < items->n; i++) {
        val_list *pair;
        sm_status st = tmpl_iterate(c->r, items->v[i], &pair);
        if (st == SM_OK && pair->n != 2)
            st = tmpl_wants(c->r, c->name, "pairs", items->v[i]);
        for (size_t k = 0; k < 2 && st == SM_OK; k++) {
            sm_str_adds(&text, k == 1 ? "=" : i > 0 ? "&" : "");
            st = val_text(c->r, pair->v[k], &s);
            if (st == SM_OK)
                put_quoted(s, true, &text);
        }
        if (st != SM_OK) {
            sm_str_free(&text);
            return st;
        }
    }
    return val_take_str(c->r, &text, out);
}

/* ---- JSON ---------------------------------------------------------------------------------------------------- */

static sm_status separators(filter_call *c, const val *v, json_style *style) {
    char *z[2];
    val_list *items;
    SM_TRY(tmpl_iterate(c->r, *v, &items));
    if (items->n != 2)
        return tmpl_wants(c->r, c->name, "two separators", *v);
    for (size_t i = 0; i < 2; i++) {
        if (items->v[i].kind != VAL_STR)
            return tmpl_wants(c->r, c->name, "separators that are strings", items->v[i]);
        sm_sv s = items->v[i].u.s;
        z[i] = tmpl_alloc(c->r, s.n + 1);
        if (z[i] == NULL)
            return SM_RESOURCE;
        if (s.n > 0)
            memcpy(z[i], s.p, s.n);
    }
    style->item_sep = z[0];
    style->key_sep = z[1];
    return SM_OK;
}

/* ensure_ascii?, indent?, separators?, sort_keys? */
static sm_status filter_tojson(filter_call *c, val *out) {
    json_style style = {NULL, ", ", ": ", val_given_true(c->slot[0]), val_given_true(c->slot[3])};
    const val *indent = c->slot[1];
    sm_str text = SM_STR_INIT;
    if (given(indent)) {
        int64_t n = 0;
        if (indent->kind != VAL_STR)
            SM_TRY(tmpl_int_arg(c->r, c->name, indent, 0, &n));
        n = SM_MIN(SM_MAX(n, 0), 1000);
        size_t len = indent->kind == VAL_STR ? indent->u.s.n : (size_t)n;
        char *z = tmpl_alloc(c->r, len + 1);
        if (z == NULL)
            return SM_RESOURCE;
        if (indent->kind == VAL_STR)
            memcpy(z, indent->u.s.p, len);
        else
            memset(z, ' ', len);
        style.indent = z;
        style.item_sep = ",";
    }
    if (given(c->slot[2]))
        SM_TRY(separators(c, c->slot[2], &style));
    sm_status st = val_tojson(c->r, c->in, &style, &text);
    if (st == SM_OK)
        st = val_take_str(c->r, &text, out);
    sm_str_free(&text);
    return st;
}

/* ---- numbers ------------------------------------------------------------------------------------------------- */

/* Digits with single underscores between them, as Python reads numbers; terminated. */
static bool number_text(sm_sv s, char *z, size_t cap) {
    size_t n = 0;
    s = val_strip(s, NULL, true, true);
    for (size_t i = 0; i < s.n; i++) {
        bool between = i > 0 && i + 1 < s.n && s.p[i - 1] != '_' && s.p[i + 1] != '_';
        if (s.p[i] == '_' && between)
            continue;
        if (n + 1 >= cap || s.p[i] == '\0' || val_is_space((uint8_t)s.p[i]))
            return false;
        z[n++] = s.p[i];
    }
    z[n] = '\0';
    return n > 0;
}

static bool read_float(sm_sv s, double *out) {
    char z[400], *end;
    if (!number_text(s, z, sizeof z) || strpbrk(z, "xXpP(") != NULL)
        return false;
    *out = sm_strtod(z, &end);
    return *end == '\0';
}

static bool read_int(sm_sv s, int64_t base, int64_t *out) {
    char z[400], *p = z, *end;
    if (!number_text(s, z, sizeof z))
        return false;
    bool negative = *p == '-';
    p += *p == '-' || *p == '+';
    char prefix = p[0] == '0' && p[1] != '\0' ? (char)(p[1] | 0x20) : '\0';
    int64_t of_prefix = prefix == 'x' ? 16 : prefix == 'o' ? 8 : prefix == 'b' ? 2 : 0;
    if (of_prefix && (base == of_prefix || base == 0)) {
        p += 2;
        base = of_prefix;
    } else if (base == 0) {
        base = 10;
    }
    if (*p == '-' || *p == '+' || *p == '\0')
        return false;
    errno = 0;
    long long v = strtoll(p, &end, (int)base);
    if (*end != '\0' || errno != 0)
        return false;
    *out = negative ? -v : v;
    return true;
}

/* default?, base? */
static sm_status filter_int(filter_call *c, val *out) {
    int64_t base, i;
    double f = NAN;
    *out = c->slot[0] != NULL ? *c->slot[0] : val_int(0);
    SM_TRY(tmpl_int_arg(c->r, c->name, c->slot[1], 10, &base));
    if (c->in.kind == VAL_UNDEFINED)
        return tmpl_undefined(c->r, c->in);
    if (c->in.kind == VAL_STR) {
        if (base != 0 && (base < 2 || base > 36))
            return SM_OK;
        if (read_int(c->in.u.s, base, &i))
            *out = val_int(i);
        else if (!read_float(c->in.u.s, &f))
            return SM_OK;
    } else if (val_is_int(c->in)) {
        *out = val_int(val_as_int(c->in));
    } else if (c->in.kind == VAL_FLOAT) {
        f = c->in.u.f;
        if (isinf(f))
            return tmpl_fail(c->r, SM_BADINPUT, "int: infinite");
    }
    if (isnan(f) || isinf(f))
        return SM_OK;
    if (fabs(f) >= 9.2e18)
        return tmpl_fail(c->r, SM_UNSUPPORTED, "integer of more than 64 bits");
    *out = val_int((int64_t)f);
    return SM_OK;
}

/* default? */
static sm_status filter_float(filter_call *c, val *out) {
    double f;
    *out = c->slot[0] != NULL ? *c->slot[0] : val_float(0);
    if (c->in.kind == VAL_UNDEFINED)
        return tmpl_undefined(c->r, c->in);
    if (val_is_number(c->in))
        *out = val_float(val_number(c->in));
    else if (c->in.kind == VAL_STR && read_float(c->in.u.s, &f))
        *out = val_float(f);
    return SM_OK;
}

static sm_status filter_abs(filter_call *c, val *out) {
    if (!val_is_number(c->in))
        return tmpl_wants(c->r, c->name, "a number", c->in);
    *out = c->in.kind == VAL_BOOL ? val_int(c->in.u.b) : c->in;
    if (c->in.kind == VAL_FLOAT)
        *out = val_float(fabs(c->in.u.f));
    else if (val_number(c->in) < 0)
        return tmpl_negate(c->r, c->in, out);
    return SM_OK;
}

/* To a power of ten, halves to even. */
static double round_near(double f, int64_t digits) {
    char z[400];
    if (!isfinite(f) || digits > 300)
        return f;
    if (digits >= 0) {
        sm_snprintf(z, sizeof z, "%.*f", (int)SM_MIN(digits, 60), f);
        return strlen(z) < sizeof z - 1 ? sm_strtod(z, NULL) : f;
    }
    double unit = pow(10, (double)-SM_MAX(digits, -400));
    return isinf(unit) ? 0 : nearbyint(f / unit) * unit;
}

/* Exact, which the way over a double is not. */
static sm_status round_int(run *r, int64_t v, int64_t digits, val *out) {
    int64_t unit = 1, rounded = 0;
    for (; digits < 0 && unit <= INT64_MAX / 10; digits++)
        unit *= 10;
    int64_t rest = v % unit, down = v / unit - (rest < 0), half = unit / 2;
    rest += rest < 0 ? unit : 0;
    bool up = rest > half || (rest == half && unit > 1 && down % 2 != 0);
    bool over = digits == 0 ? __builtin_mul_overflow(down + up, unit, &rounded)
                            : digits == -1 && (v > 5 * unit || v < -5 * unit); /* else less than half of 10 * unit */
    if (over)
        return tmpl_fail(r, SM_UNSUPPORTED, "integer of more than 64 bits");
    *out = val_int(rounded);
    return SM_OK;
}

/* precision?, method? */
static sm_status filter_round(filter_call *c, val *out) {
    sm_sv method = SM_SV("common");
    int64_t digits;
    if (c->slot[1] != NULL)
        SM_TRY(val_text(c->r, *c->slot[1], &method));
    SM_TRY(tmpl_int_arg(c->r, c->name, c->slot[0], 0, &digits));
    if (!val_is_number(c->in))
        return tmpl_wants(c->r, c->name, "a number", c->in);
    bool up = sm_sv_is(method, "ceil"), down = sm_sv_is(method, "floor");
    if (!up && !down && !sm_sv_is(method, "common"))
        return tmpl_fail(c->r, SM_BADINPUT, "round: wanted common, ceil or floor");
    if (!up && !down) {
        if (c->in.kind == VAL_FLOAT)
            *out = val_float(round_near(c->in.u.f, digits));
        else
            return round_int(c->r, val_as_int(c->in), SM_MIN(digits, 0), out);
        return SM_OK;
    }
    double unit = pow(10, (double)digits), f = val_number(c->in) * unit;
    if (!isfinite(f))
        return tmpl_fail(c->r, SM_BADINPUT, "round: the number is not finite");
    *out = val_float(((up ? ceil(f) : floor(f)) + 0.0) / unit); /* an integer in Python: no negative zero */
    return SM_OK;
}

/* binary? */
static sm_status filter_filesize(filter_call *c, val *out) {
    static const char prefixes[] = "kMGTPEZY";
    bool binary = val_given_true(c->slot[0]);
    double bytes, base = binary ? 1024 : 1000, unit = base * base;
    sm_str text = SM_STR_INIT;
    if (val_is_number(c->in))
        bytes = val_number(c->in);
    else if (c->in.kind != VAL_STR || !read_float(c->in.u.s, &bytes))
        return tmpl_wants(c->r, c->name, "a number", c->in);
    if (bytes == 1)
        sm_str_adds(&text, "1 Byte");
    else if (bytes < base)
        sm_str_addf(&text, "%.0f Bytes", trunc(bytes));
    for (int i = 0; i < 8 && text.n == 0; i++, unit *= base)
        if (bytes < unit || i == 7)
            sm_str_addf(&text, "%.1f %c%s", base * bytes / unit, binary && i == 0 ? 'K' : prefixes[i],
                        binary ? "iB" : "B");
    return val_take_str(c->r, &text, out);
}

/* ---- others -------------------------------------------------------------------------------------------------- */

/* default_value?, boolean? */
static sm_status filter_default(filter_call *c, val *out) {
    *out = c->in;
    if (c->in.kind == VAL_UNDEFINED || (val_given_true(c->slot[1]) && !val_true(c->in)))
        *out = c->slot[0] != NULL ? *c->slot[0] : val_view(SM_SV(""));
    return SM_OK;
}

/* name: of an attribute, never of a dict's key. */
static sm_status filter_attr(filter_call *c, val *out) {
    val self = c->in;
    sm_sv name;
    SM_TRY(val_text(c->r, *c->slot[0], &name));
    if (self.kind == VAL_DICT) /* an empty one has the same methods and no keys */
        SM_TRY(val_dict_new(c->r, VAL_DICT, &self));
    SM_TRY(tmpl_attr(c->r, self, name, out));
    if (c->in.kind == VAL_DICT && out->kind == VAL_METHOD)
        out->u.method->self = c->in;
    return SM_OK;
}

/* ---- table --------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name, *params; /* NULL: the filter looks at the arguments itself */
    sm_status (*apply)(filter_call *c, val *out);
} filters[] = {
    {"abs", "", filter_abs},
    {"attr", "name", filter_attr},
    {"batch", "linecount fill_with?", seq_batch},
    {"capitalize", "", filter_method},
    {"center", "width?", filter_method},
    {"count", "", seq_length},
    {"d", "default_value? boolean?", filter_default},
    {"default", "default_value? boolean?", filter_default},
    {"dictsort", "case_sensitive? by? reverse?", seq_dictsort},
    {"e", "", filter_escape},
    {"escape", "", filter_escape},
    {"filesizeformat", "binary?", filter_filesize},
    {"first", "", seq_first},
    {"float", "default?", filter_float},
    {"forceescape", "", filter_escape},
    {"format", NULL, filter_format},
    {"groupby", "attribute default? case_sensitive?", seq_groupby},
    {"indent", "width? first? blank?", filter_indent},
    {"int", "default? base?", filter_int},
    {"items", "", seq_items},
    {"join", "d? attribute?", seq_join},
    {"last", "", seq_last},
    {"length", "", seq_length},
    {"list", "", seq_list},
    {"lower", "", filter_method},
    {"map", NULL, seq_map},
    {"max", "case_sensitive? attribute?", seq_extreme},
    {"min", "case_sensitive? attribute?", seq_extreme},
    {"reject", NULL, seq_select},
    {"rejectattr", NULL, seq_select},
    {"replace", "old new count?", filter_replace},
    {"reverse", "", seq_reverse},
    {"round", "precision? method?", filter_round},
    {"safe", "", filter_safe},
    {"select", NULL, seq_select},
    {"selectattr", NULL, seq_select},
    {"slice", "slices fill_with?", seq_slice},
    {"sort", "reverse? case_sensitive? attribute?", seq_sort},
    {"string", "", filter_string},
    {"sum", "attribute? start?", seq_sum},
    {"title", "", filter_title},
    {"tojson", "ensure_ascii? indent? separators? sort_keys?", filter_tojson},
    {"trim", "chars?", filter_method},
    {"truncate", "length? killwords? end? leeway?", filter_truncate},
    {"unique", "case_sensitive? attribute?", seq_unique},
    {"upper", "", filter_method},
    {"urlencode", "", filter_urlencode},
    {"wordcount", "", filter_wordcount},
};

bool tmpl_has_filter(sm_sv name) {
    for (size_t i = 0; i < SM_ARRAY_LEN(filters); i++)
        if (sm_sv_is(name, filters[i].name))
            return true;
    return false;
}

sm_status tmpl_filter(run *r, sm_sv name, val in, const call_args *args, val *out) {
    filter_call c = {.r = r, .name = name, .in = in, .raw = args};
    for (size_t i = 0; i < SM_ARRAY_LEN(filters); i++)
        if (sm_sv_is(name, filters[i].name)) {
            if (filters[i].params != NULL)
                SM_TRY(tmpl_bind(r, name, filters[i].params, args, c.slot));
            SM_TRY(tmpl_enter(r));
            SM_TRY(filters[i].apply(&c, out));
            r->depth--;
            return tmpl_spent(r) ? tmpl_check(r) : SM_OK;
        }
    return tmpl_fail(r, SM_UNSUPPORTED, "filter %s is not supported", sm_quote(name.p, name.n));
}
