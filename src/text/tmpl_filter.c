/* SPDX-License-Identifier: MIT
 *
 * tmpl_filter.c: filters (x | name) and tests (x is name) of chat templates: one row each in the tables at the end.
 *
 * They are known when a template is parsed: one that is not here is refused then, not in the middle of a chat.
 */
#include "text/template_int.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static sm_status wants(run *r, sm_sv name, const char *what, val found) {
    return tmpl_fail(r, SM_BADINPUT, "%.*s: wanted %s, found %s", (int)name.n, name.p, what, val_type(found));
}

/* Text of anything, as most string filters take it. */
static sm_status to_text(run *r, val in, sm_sv *out) {
    if (in.kind != VAL_STR) {
        sm_str s = SM_STR_INIT;
        val_print(in, &s);
        SM_TRY(val_take_str(r, &s, &in));
    }
    *out = in.u.s;
    return SM_OK;
}

/* ---- strings ------------------------------------------------------------------------------------------------- */

static sm_status filter_trim(run *r, sm_sv name, val in, const call_args *a, val *out) {
    const val *chars = args_get(a, 0, "chars");
    sm_sv s;
    (void)name;
    SM_TRY(to_text(r, in, &s));
    *out = val_view(val_strip(s, chars != NULL && chars->kind == VAL_STR ? &chars->u.s : NULL, true, true));
    return SM_OK;
}

static void put_cased(uint32_t cp, bool upper, sm_str *out) {
    char z[4];
    if (upper && cp == 0xdf) { /* the one letter whose capital form is two that anybody writes */
        sm_str_adds(out, "SS");
        return;
    }
    utf8proc_int32_t c = (utf8proc_int32_t)cp;
    sm_str_add(out, z, (size_t)sm_utf8_encode((uint32_t)(upper ? utf8proc_toupper(c) : utf8proc_tolower(c)), z));
}

/* upper, lower, capitalize, title (after anything that is not a letter, as Jinja's filter has it: space and brackets). */
static sm_status filter_case(run *r, sm_sv name, val in, const call_args *a, val *out) {
    bool upper = sm_sv_is(name, "upper"), first = sm_sv_is(name, "capitalize"), title = sm_sv_is(name, "title");
    sm_str text = SM_STR_INIT;
    bool starts = first || title;
    sm_sv s;
    (void)a;
    SM_TRY(to_text(r, in, &s));
    for (size_t i = 0; i < s.n;) {
        uint32_t cp = val_char(s, &i);
        put_cased(cp, upper || starts, &text);
        starts = title && (val_is_space(cp) || (cp < 0x80 && cp != 0 && strchr("-({[<", (int)cp) != NULL));
    }
    return val_take_str(r, &text, out);
}

static sm_status filter_replace(run *r, sm_sv name, val in, const call_args *a, val *out) {
    const val *from = args_get(a, 0, "old"), *to = args_get(a, 1, "new"), *most = args_get(a, 2, "count");
    sm_str text = SM_STR_INIT;
    sm_sv s, x, y;
    if (from == NULL || to == NULL)
        return wants(r, name, "two strings", in);
    SM_TRY(to_text(r, in, &s));
    SM_TRY(to_text(r, *from, &x));
    SM_TRY(to_text(r, *to, &y));
    int64_t left = most != NULL && most->kind == VAL_INT ? most->u.i : -1;
    size_t i = 0;
    while (i <= s.n && left != 0) {
        const char *p = x.n > 0 ? memmem(s.p + i, s.n - i, x.p, x.n) : s.p + i;
        if (p == NULL)
            break;
        sm_str_add(&text, s.p + i, (size_t)(p - s.p) - i);
        sm_str_add(&text, y.p, y.n);
        i = (size_t)(p - s.p) + x.n;
        left -= left > 0;
        if (x.n == 0 && i < s.n) { /* between all characters, and at both ends */
            size_t at = i;
            val_char(s, &i);
            sm_str_add(&text, s.p + at, i - at);
        } else if (x.n == 0) {
            i = s.n + 1;
        }
        if (text.n > SM_TEMPLATE_WORK_BYTES)
            text.failed = true;
    }
    if (i < s.n)
        sm_str_add(&text, s.p + i, s.n - i);
    return val_take_str(r, &text, out);
}

static sm_status filter_string(run *r, sm_sv name, val in, const call_args *a, val *out) {
    sm_sv s;
    (void)name;
    (void)a;
    SM_TRY(to_text(r, in, &s));
    *out = val_view(s);
    return SM_OK;
}

static sm_status filter_indent(run *r, sm_sv name, val in, const call_args *a, val *out) {
    const val *width = args_get(a, 0, "width"), *first = args_get(a, 1, "first"), *blank = args_get(a, 2, "blank");
    sm_str text = SM_STR_INIT;
    sm_sv s;
    int64_t n = width != NULL && width->kind == VAL_INT ? width->u.i : 4;
    SM_TRY(to_text(r, in, &s));
    if (n < 0 || n > 1000 || (width != NULL && width->kind != VAL_INT))
        return wants(r, name, "a width", *width);
    bool due = first != NULL && val_true(*first), blanks = blank != NULL && val_true(*blank);
    for (size_t i = 0; i < s.n; i++) {
        bool put = due && (blanks || s.p[i] != '\n');
        for (int64_t k = 0; put && k < n; k++)
            sm_str_addc(&text, ' ');
        sm_str_addc(&text, s.p[i]);
        due = s.p[i] == '\n';
    }
    return val_take_str(r, &text, out);
}

static sm_status filter_tojson(run *r, sm_sv name, val in, const call_args *a, val *out) {
    static const char *const known[] = {"indent", "ensure_ascii", "separators", "sort_keys"};
    const val *indent = args_get(a, 1, "indent"), *ascii = args_get(a, 0, "ensure_ascii");
    const val *seps = args_get(a, 2, "separators"), *sort = args_get(a, 3, "sort_keys");
    char items[32] = ", ", keys[32] = ": ";
    sm_str text = SM_STR_INIT;
    for (size_t i = 0; i < a->n_names; i++) {
        bool ok = false;
        for (size_t k = 0; k < SM_ARRAY_LEN(known); k++)
            ok = ok || sm_sv_is(a->names[i], known[k]);
        if (!ok)
            return tmpl_fail(r, SM_UNSUPPORTED, "tojson: argument %s is not supported",
                             sm_quote(a->names[i].p, a->names[i].n));
    }
    int width = indent != NULL && indent->kind == VAL_INT ? (int)SM_MIN(indent->u.i, 64) : -1;
    if (width >= 0)
        strcpy(items, ",");
    if (seps != NULL && val_is_seq(*seps)) {
        for (size_t i = 0; i < 2; i++) {
            val v = i < seps->u.list->n ? seps->u.list->v[i] : val_none();
            if (v.kind != VAL_STR || v.u.s.n >= sizeof items)
                return wants(r, name, "two short separators", v);
            char *to = i ? keys : items;
            memcpy(to, v.u.s.p, v.u.s.n);
            to[v.u.s.n] = '\0';
        }
    }
    sm_status st = val_tojson(r, in, width, items, keys, ascii != NULL && val_true(*ascii),
                              sort != NULL && val_true(*sort), &text);
    if (st == SM_OK)
        st = val_take_str(r, &text, out);
    sm_str_free(&text);
    return st;
}

/* ---- numbers ------------------------------------------------------------------------------------------------- */

static sm_status filter_int(run *r, sm_sv name, val in, const call_args *a, val *out) {
    const val *other = args_get(a, 0, "default");
    (void)name;
    *out = other != NULL ? *other : val_int(0);
    if (in.kind == VAL_STR) {
        sm_str z = SM_STR_INIT;
        char *end;
        sm_sv s = val_strip(in.u.s, NULL, true, true);
        sm_str_add(&z, s.p, s.n);
        if (!sm_str_ok(&z))
            return tmpl_nomem(r);
        errno = 0;
        long long i = strtoll(sm_str_z(&z), &end, 10);
        if (z.n > 0 && *end == '\0' && errno == 0)
            *out = val_int(i);
        else if (z.n > 0)
            in = val_float(strtod(sm_str_z(&z), &end));
        bool real = in.kind == VAL_FLOAT && *end == '\0';
        sm_str_free(&z);
        if (!real)
            return SM_OK;
    }
    if (in.kind == VAL_FLOAT && in.u.f > -9e18 && in.u.f < 9e18)
        *out = val_int((int64_t)in.u.f);
    else if (in.kind == VAL_INT || in.kind == VAL_BOOL)
        *out = val_int(in.kind == VAL_INT ? in.u.i : in.u.b);
    return SM_OK;
}

static sm_status filter_float(run *r, sm_sv name, val in, const call_args *a, val *out) {
    const val *other = args_get(a, 0, "default");
    (void)name;
    *out = other != NULL ? *other : val_float(0);
    if (val_is_number(in))
        *out = val_float(val_number(in));
    if (in.kind == VAL_STR) {
        sm_str z = SM_STR_INIT;
        char *end;
        sm_sv s = val_strip(in.u.s, NULL, true, true);
        sm_str_add(&z, s.p, s.n);
        if (!sm_str_ok(&z))
            return tmpl_nomem(r);
        double f = strtod(sm_str_z(&z), &end);
        if (z.n > 0 && *end == '\0')
            *out = val_float(f);
        sm_str_free(&z);
    }
    return SM_OK;
}

static sm_status filter_abs(run *r, sm_sv name, val in, const call_args *a, val *out) {
    (void)a;
    if (!val_is_number(in))
        return wants(r, name, "a number", in);
    if (val_number(in) < 0)
        return tmpl_negate(r, in, out);
    *out = in;
    return SM_OK;
}

/* ---- sequences ----------------------------------------------------------------------------------------------- */

static sm_status filter_length(run *r, sm_sv name, val in, const call_args *a, val *out) {
    (void)a;
    if (in.kind == VAL_STR)
        *out = val_int((int64_t)val_str_len(in.u.s));
    else if (val_is_seq(in))
        *out = val_int((int64_t)in.u.list->n);
    else if (in.kind == VAL_DICT)
        *out = val_int((int64_t)in.u.dict->n);
    else if (in.kind == VAL_UNDEFINED)
        *out = val_int(0);
    else
        return wants(r, name, "something with a length", in);
    return SM_OK;
}

static sm_status filter_default(run *r, sm_sv name, val in, const call_args *a, val *out) {
    const val *other = args_get(a, 0, "default_value"), *falsy = args_get(a, 1, "boolean");
    (void)r;
    (void)name;
    *out = in;
    if (in.kind == VAL_UNDEFINED || (falsy != NULL && val_true(*falsy) && !val_true(in)))
        *out = other != NULL ? *other : val_view(SM_SV(""));
    return SM_OK;
}

static sm_status filter_ends(run *r, sm_sv name, val in, const call_args *a, val *out) {
    val_list *items;
    (void)a;
    SM_TRY(tmpl_iterate(r, in, &items));
    *out = val_undefined(name);
    if (items->n > 0)
        *out = items->v[name.p[0] == 'f' ? 0 : items->n - 1];
    return SM_OK;
}

/* list, reverse (of a string: its characters backwards). */
static sm_status filter_list(run *r, sm_sv name, val in, const call_args *a, val *out) {
    val_list *items;
    bool back = sm_sv_is(name, "reverse");
    (void)a;
    SM_TRY(tmpl_iterate(r, in, &items));
    SM_TRY(val_list_new(r, VAL_LIST, out));
    for (size_t i = 0; i < items->n; i++)
        SM_TRY(val_push(r, out->u.list, items->v[back ? items->n - 1 - i : i]));
    if (back && in.kind == VAL_STR) {
        sm_str s = SM_STR_INIT;
        for (size_t i = 0; i < out->u.list->n; i++)
            val_print(out->u.list->v[i], &s);
        return val_take_str(r, &s, out);
    }
    return SM_OK;
}

/* Of an item: a.b.c, digits being indexes. */
static sm_status attribute(run *r, val item, val path, val *out) {
    if (path.kind != VAL_STR)
        return tmpl_item(r, item, path, out);
    sm_sv s = path.u.s;
    *out = item;
    for (;;) {
        const char *dot = s.n > 0 ? memchr(s.p, '.', s.n) : NULL;
        sm_sv part = {s.p, dot != NULL ? (size_t)(dot - s.p) : s.n};
        val key = val_view(part);
        bool number = part.n > 0 && part.n < 10;
        for (size_t i = 0; i < part.n; i++)
            number = number && part.p[i] >= '0' && part.p[i] <= '9';
        if (number) {
            key = val_int(0);
            for (size_t i = 0; i < part.n; i++)
                key.u.i = key.u.i * 10 + (part.p[i] - '0');
        }
        SM_TRY(tmpl_item(r, *out, key, out));
        if (dot == NULL)
            return SM_OK;
        s = (sm_sv){dot + 1, s.n - part.n - 1};
    }
}

static sm_status filter_join(run *r, sm_sv name, val in, const call_args *a, val *out) {
    const val *by = args_get(a, 0, "d"), *path = args_get(a, 1, "attribute");
    sm_str text = SM_STR_INIT;
    val_list *items;
    (void)name;
    SM_TRY(tmpl_iterate(r, in, &items));
    for (size_t i = 0; i < items->n; i++) {
        val v = items->v[i];
        if (path != NULL) {
            sm_status st = attribute(r, v, *path, &v);
            if (st != SM_OK) {
                sm_str_free(&text);
                return st;
            }
        }
        if (i > 0 && by != NULL)
            val_print(*by, &text);
        val_print(v, &text);
        if (text.n > SM_TEMPLATE_WORK_BYTES)
            text.failed = true;
    }
    return val_take_str(r, &text, out);
}

/* What map and select go through: anything false, none too, is empty to them. */
static sm_status iterate_true(run *r, val in, val_list **out) {
    return tmpl_iterate(r, val_true(in) ? in : val_undefined(SM_SV("")), out);
}

static sm_status filter_map(run *r, sm_sv name, val in, const call_args *a, val *out) {
    const val *path = args_get(a, SIZE_MAX, "attribute"), *other = args_get(a, SIZE_MAX, "default");
    val_list *items;
    SM_TRY(iterate_true(r, in, &items));
    SM_TRY(val_list_new(r, VAL_LIST, out));
    if (path == NULL && (args_positional(a) == 0 || a->v[0].kind != VAL_STR || !tmpl_has_filter(a->v[0].u.s)))
        return tmpl_fail(r, SM_UNSUPPORTED, "%.*s: wanted attribute= or a filter that is supported", (int)name.n,
                         name.p);
    for (size_t i = 0; i < items->n; i++) {
        call_args rest = {a->v + 1, a->n - 1, a->names, a->n_names};
        val v;
        if (path != NULL)
            SM_TRY(attribute(r, items->v[i], *path, &v));
        else
            SM_TRY(tmpl_filter(r, a->v[0].u.s, items->v[i], &rest, &v));
        if (path != NULL && v.kind == VAL_UNDEFINED && other != NULL)
            v = *other;
        SM_TRY(val_push(r, out->u.list, v));
    }
    return SM_OK;
}

/* select, reject (test..), selectattr, rejectattr (attribute, test..); without a test: truth. */
static sm_status filter_select(run *r, sm_sv name, val in, const call_args *a, val *out) {
    bool by_attr = name.n > 6, keep = name.p[0] == 's';
    size_t used = by_attr, n = args_positional(a);
    val_list *items;
    SM_TRY(iterate_true(r, in, &items));
    SM_TRY(val_list_new(r, VAL_LIST, out));
    if (n < used)
        return tmpl_fail(r, SM_BADINPUT, "%.*s: wanted an attribute", (int)name.n, name.p);
    bool tested = n > used;
    if (tested && (a->v[used].kind != VAL_STR || !tmpl_has_test(a->v[used].u.s)))
        return tmpl_fail(r, SM_UNSUPPORTED, "%.*s: this test is not supported", (int)name.n, name.p);
    for (size_t i = 0; i < items->n; i++) {
        val v = items->v[i];
        if (by_attr)
            SM_TRY(attribute(r, v, a->v[0], &v));
        bool yes = val_true(v);
        if (tested) {
            call_args rest = {a->v + used + 1, a->n - used - 1, a->names, a->n_names};
            SM_TRY(tmpl_test(r, a->v[used].u.s, v, &rest, &yes));
        }
        if (yes == keep)
            SM_TRY(val_push(r, out->u.list, items->v[i]));
    }
    return SM_OK;
}

static sm_status filter_items(run *r, sm_sv name, val in, const call_args *a, val *out) {
    if (in.kind == VAL_UNDEFINED)
        return val_list_new(r, VAL_LIST, out);
    if (in.kind != VAL_DICT)
        return wants(r, name, "a dict", in);
    val method;
    SM_TRY(tmpl_attr(r, in, SM_SV("items"), &method));
    return tmpl_call(r, method, a, out);
}

static sm_status filter_unique(run *r, sm_sv name, val in, const call_args *a, val *out) {
    val_list *items;
    if (a->n > 0)
        return tmpl_fail(r, SM_UNSUPPORTED, "%.*s: arguments are not supported", (int)name.n, name.p);
    SM_TRY(tmpl_iterate(r, in, &items));
    SM_TRY(val_list_new(r, VAL_LIST, out));
    for (size_t i = 0; i < items->n; i++) {
        bool seen;
        SM_TRY(tmpl_contains(r, items->v[i], *out, &seen));
        if (!seen)
            SM_TRY(val_push(r, out->u.list, items->v[i]));
    }
    return SM_OK;
}

static sm_status filter_safe(run *r, sm_sv name, val in, const call_args *a, val *out) {
    (void)r;
    (void)name;
    (void)a;
    *out = in;
    return SM_OK;
}

/* ---- tests --------------------------------------------------------------------------------------------------- */

/* Tests that look at the kind alone. */
static bool is_kind(const char *test, val v) {
    switch (test[0]) {
    case 'd':
        return v.kind != VAL_UNDEFINED;
    case 'u':
        return v.kind == VAL_UNDEFINED;
    case 's':
        return test[1] == 't' ? v.kind == VAL_STR
                              : v.kind == VAL_STR || val_is_seq(v) || v.kind == VAL_DICT; /* string, sequence */
    case 'n':
        return test[1] == 'o' ? v.kind == VAL_NONE : val_is_number(v); /* none, number */
    case 'i':
        return test[1] == 'n' ? v.kind == VAL_INT
                              : v.kind == VAL_STR || val_is_seq(v) || v.kind == VAL_DICT || v.kind == VAL_UNDEFINED;
    case 'f':
        return test[1] == 'l' ? v.kind == VAL_FLOAT : v.kind == VAL_BOOL && !v.u.b; /* float, false */
    case 't':
        return v.kind == VAL_BOOL && v.u.b;
    case 'b':
        return v.kind == VAL_BOOL;
    case 'm':
        return v.kind == VAL_DICT;
    default:
        return v.kind == VAL_FUNCTION || v.kind == VAL_METHOD; /* callable */
    }
}

static const char *const kind_tests[] = {"defined",  "undefined", "none",  "string", "sequence", "number",  "integer",
                                         "iterable", "float",     "false", "true",   "boolean",  "mapping", "callable"};
/* With one argument: the operator they are. */
static const struct {
    const char *name, *op;
} op_tests[] = {{"eq", "=="}, {"equalto", "=="}, {"sameas", "=="},     {"ne", "!="}, {"lt", "<"}, {"lessthan", "<"},
                {"le", "<="}, {"gt", ">"},       {"greaterthan", ">"}, {"ge", ">="}, {"in", "in"}};
static const char *const other_tests[] = {"odd", "even", "divisibleby", "upper", "lower", "filter", "test"};

bool tmpl_has_test(sm_sv name) {
    for (size_t i = 0; i < SM_ARRAY_LEN(kind_tests); i++)
        if (sm_sv_is(name, kind_tests[i]))
            return true;
    for (size_t i = 0; i < SM_ARRAY_LEN(op_tests); i++)
        if (sm_sv_is(name, op_tests[i].name))
            return true;
    for (size_t i = 0; i < SM_ARRAY_LEN(other_tests); i++)
        if (sm_sv_is(name, other_tests[i]))
            return true;
    return false;
}

static sm_status test_number(run *r, sm_sv name, val in, const call_args *a, bool *out) {
    int64_t by = 2;
    if (name.p[0] == 'd') {
        if (a->n != 1 || a->v[0].kind != VAL_INT)
            return wants(r, name, "an integer", a->n > 0 ? a->v[0] : val_none());
        by = a->v[0].u.i;
    }
    if (in.kind != VAL_INT || by == 0)
        return wants(r, name, "an integer", in);
    bool even = by == -1 || in.u.i % by == 0;
    *out = name.p[0] == 'o' ? !even : even;
    return SM_OK;
}

sm_status tmpl_test(run *r, sm_sv name, val in, const call_args *a, bool *out) {
    for (size_t i = 0; i < SM_ARRAY_LEN(kind_tests); i++)
        if (sm_sv_is(name, kind_tests[i])) {
            *out = is_kind(kind_tests[i], in);
            return SM_OK;
        }
    for (size_t i = 0; i < SM_ARRAY_LEN(op_tests); i++)
        if (sm_sv_is(name, op_tests[i].name)) {
            val v;
            if (a->n != 1)
                return wants(r, name, "one argument", in);
            SM_TRY(tmpl_binary(r, sm_sv_of(op_tests[i].op), in, a->v[0], &v));
            *out = v.u.b && (name.p[0] != 's' || in.kind == a->v[0].kind);
            return SM_OK;
        }
    if (sm_sv_is(name, "filter") || sm_sv_is(name, "test")) {
        *out = in.kind == VAL_STR && (name.p[0] == 'f' ? tmpl_has_filter(in.u.s) : tmpl_has_test(in.u.s));
        return SM_OK;
    }
    if (sm_sv_is(name, "upper") || sm_sv_is(name, "lower")) {
        val method, v;
        SM_TRY(filter_string(r, name, in, a, &in));
        SM_TRY(tmpl_attr(r, in, name.p[0] == 'u' ? SM_SV("isupper") : SM_SV("islower"), &method));
        SM_TRY(tmpl_call(r, method, &(call_args){0}, &v));
        *out = v.u.b;
        return SM_OK;
    }
    return test_number(r, name, in, a, out);
}

/* ---- table --------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    sm_status (*apply)(run *r, sm_sv name, val in, const call_args *a, val *out);
} filters[] = {
    {"trim", filter_trim},         {"upper", filter_case},        {"lower", filter_case},
    {"capitalize", filter_case},   {"title", filter_case},        {"replace", filter_replace},
    {"string", filter_string},     {"indent", filter_indent},     {"tojson", filter_tojson},
    {"int", filter_int},           {"float", filter_float},       {"abs", filter_abs},
    {"length", filter_length},     {"count", filter_length},      {"default", filter_default},
    {"d", filter_default},         {"first", filter_ends},        {"last", filter_ends},
    {"list", filter_list},         {"reverse", filter_list},      {"join", filter_join},
    {"map", filter_map},           {"select", filter_select},     {"reject", filter_select},
    {"selectattr", filter_select}, {"rejectattr", filter_select}, {"items", filter_items},
    {"unique", filter_unique},     {"safe", filter_safe},
};

bool tmpl_has_filter(sm_sv name) {
    for (size_t i = 0; i < SM_ARRAY_LEN(filters); i++)
        if (sm_sv_is(name, filters[i].name))
            return true;
    return false;
}

sm_status tmpl_filter(run *r, sm_sv name, val in, const call_args *args, val *out) {
    for (size_t i = 0; i < SM_ARRAY_LEN(filters); i++)
        if (sm_sv_is(name, filters[i].name))
            return filters[i].apply(r, sm_sv_of(filters[i].name), in, args, out);
    return tmpl_fail(r, SM_UNSUPPORTED, "filter %s is not supported", sm_quote(name.p, name.n));
}
