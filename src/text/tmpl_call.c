/* SPDX-License-Identifier: MIT
 *
 * tmpl_call.c: global functions, methods of values, and how arguments are found.
 *
 * One row each in the tables below.  Methods that would change a list or dict in place are refused, as in the sandbox
 * that Hugging Face renders with.
 */
#include "text/template_int.h"

#include <string.h>
#include <utf8proc.h>

size_t args_positional(const call_args *a) {
    return a->n - a->n_names;
}

const val *args_get(const call_args *a, size_t at, const char *name) {
    if (at < args_positional(a))
        return &a->v[at];
    for (size_t i = 0; i < a->n_names; i++)
        if (sm_sv_is(a->names[i], name))
            return &a->v[args_positional(a) + i];
    return NULL;
}

static sm_status wants(run *r, sm_sv name, const char *what) {
    return tmpl_fail(r, SM_BADINPUT, "%.*s: wanted %s", (int)SM_MIN(name.n, (size_t)40), name.p, what);
}

/* ---- functions ----------------------------------------------------------------------------------------------- */

static sm_status call_raise(run *r, const call_args *a, val *out) {
    sm_str s = SM_STR_INIT;
    (void)out;
    if (a->n > 0)
        val_print(a->v[0], &s);
    sm_status st = sm_str_ok(&s) ? tmpl_fail(r, SM_BADINPUT, "%s", sm_str_z(&s)) : tmpl_nomem(r);
    sm_str_free(&s);
    return st;
}

/* Named arguments, after the entries of a dict given first. */
static sm_status make_dict(run *r, val_kind kind, const call_args *a, val *out) {
    SM_TRY(val_dict_new(r, kind, out));
    for (size_t i = 0; i < args_positional(a); i++) {
        if (a->v[i].kind != VAL_DICT)
            return tmpl_fail(r, SM_BADINPUT, "wanted a dict, found %s", val_type(a->v[i]));
        const val_dict *d = a->v[i].u.dict;
        for (size_t k = 0; k < d->n; k++)
            SM_TRY(val_put(r, out->u.dict, d->keys[k], d->values[k]));
    }
    for (size_t i = 0; i < a->n_names; i++)
        SM_TRY(val_put(r, out->u.dict, val_view(a->names[i]), a->v[args_positional(a) + i]));
    return SM_OK;
}

static sm_status call_namespace(run *r, const call_args *a, val *out) {
    return make_dict(r, VAL_NAMESPACE, a, out);
}

static sm_status call_dict(run *r, const call_args *a, val *out) {
    return make_dict(r, VAL_DICT, a, out);
}

static sm_status call_range(run *r, const call_args *a, val *out) {
    int64_t bounds[3] = {0, 0, 1};
    if (a->n < 1 || a->n > 3 || a->n_names > 0)
        return wants(r, SM_SV("range"), "one to three integers");
    for (size_t i = 0; i < a->n; i++) {
        if (a->v[i].kind != VAL_INT)
            return wants(r, SM_SV("range"), "integers");
        bounds[a->n == 1 ? 1 : i] = a->v[i].u.i;
    }
    int64_t at = bounds[0], end = bounds[1], by = bounds[2];
    if (by == 0)
        return wants(r, SM_SV("range"), "a step that is not 0");
    SM_TRY(val_list_new(r, VAL_LIST, out));
    while (by > 0 ? at < end : at > end) {
        if (out->u.list->n >= 100000) /* as in Jinja's sandbox */
            return tmpl_fail(r, SM_RESOURCE, "range of more than 100000");
        SM_TRY(val_push(r, out->u.list, val_int(at)));
        if (__builtin_add_overflow(at, by, &at))
            break;
    }
    return SM_OK;
}

static const struct {
    const char *name;
    sm_status (*call)(run *r, const call_args *a, val *out);
} functions[] = {
    {"raise_exception", call_raise}, {"namespace", call_namespace}, {"dict", call_dict}, {"range", call_range}};

bool tmpl_has_function(sm_sv name) {
    for (size_t i = 0; i < SM_ARRAY_LEN(functions); i++)
        if (sm_sv_is(name, functions[i].name))
            return true;
    return false;
}

/* ---- methods of strings -------------------------------------------------------------------------------------- */

static sm_status str_strip(run *r, sm_sv s, sm_sv name, const call_args *a, val *out) {
    const val *chars = args_get(a, 0, "chars");
    if (chars != NULL && chars->kind != VAL_STR && chars->kind != VAL_NONE)
        return wants(r, name, "a string");
    *out = val_view(
        val_strip(s, chars != NULL && chars->kind == VAL_STR ? &chars->u.s : NULL, name.p[0] != 'r', name.p[0] != 'l'));
    return SM_OK;
}

/* Pieces between white space. */
static sm_status split_space(run *r, sm_sv s, int64_t most, val *out) {
    for (s = val_strip(s, NULL, true, false); s.n > 0; s = val_strip(s, NULL, true, false)) {
        size_t end = 0, next = 0;
        while (next < s.n && !val_is_space(val_char(s, &next)))
            end = next;
        if (most == 0)
            end = val_strip(s, NULL, false, true).n;
        SM_TRY(val_push(r, out->u.list, val_view((sm_sv){s.p, end})));
        most -= most > 0;
        s = (sm_sv){s.p + end, s.n - end};
        if (val_strip(s, NULL, true, false).n == 0)
            break;
    }
    return SM_OK;
}

static size_t last_of(sm_sv s, sm_sv what) {
    for (size_t i = s.n + 1 - SM_MIN(what.n, s.n); i-- > 0;)
        if (s.n - i >= what.n && memcmp(s.p + i, what.p, what.n) == 0)
            return i;
    return SIZE_MAX;
}

static sm_status split_from_right(run *r, sm_sv s, sm_sv by, int64_t most, val *out) {
    size_t at;
    while (most-- != 0 && (at = last_of(s, by)) != SIZE_MAX) {
        SM_TRY(val_push(r, out->u.list, val_view((sm_sv){s.p + at + by.n, s.n - at - by.n})));
        s.n = at;
    }
    SM_TRY(val_push(r, out->u.list, val_view(s)));
    val_list *l = out->u.list;
    for (size_t i = 0; i < l->n / 2; i++) {
        val v = l->v[i];
        l->v[i] = l->v[l->n - 1 - i];
        l->v[l->n - 1 - i] = v;
    }
    return SM_OK;
}

static sm_status str_split(run *r, sm_sv s, sm_sv name, const call_args *a, val *out) {
    const val *by = args_get(a, 0, "sep"), *most = args_get(a, 1, "maxsplit");
    int64_t left = most != NULL && most->kind == VAL_INT ? most->u.i : -1;
    SM_TRY(val_list_new(r, VAL_LIST, out));
    if (by == NULL || by->kind == VAL_NONE) {
        if (name.p[0] == 'r' && left >= 0)
            return tmpl_fail(r, SM_UNSUPPORTED, "rsplit at white space with maxsplit is not supported");
        return split_space(r, s, left, out);
    }
    if (by->kind != VAL_STR || by->u.s.n == 0)
        return wants(r, name, "a separator that is not empty");
    if (name.p[0] == 'r')
        return split_from_right(r, s, by->u.s, left, out);
    for (const char *p; left-- != 0 && (p = memmem(s.p, s.n, by->u.s.p, by->u.s.n)) != NULL;) {
        size_t n = (size_t)(p - s.p);
        SM_TRY(val_push(r, out->u.list, val_view((sm_sv){s.p, n})));
        s = (sm_sv){p + by->u.s.n, s.n - n - by->u.s.n};
    }
    return val_push(r, out->u.list, val_view(s));
}

static sm_status str_splitlines(run *r, sm_sv s, sm_sv name, const call_args *a, val *out) {
    const val *keep = args_get(a, 0, "keepends");
    (void)name;
    SM_TRY(val_list_new(r, VAL_LIST, out));
    while (s.n > 0) {
        size_t n = 0;
        while (n < s.n && s.p[n] != '\n' && s.p[n] != '\r')
            n++;
        size_t end = n + (n < s.n) + (n + 1 < s.n && s.p[n] == '\r' && s.p[n + 1] == '\n');
        SM_TRY(val_push(r, out->u.list, val_view((sm_sv){s.p, keep != NULL && val_true(*keep) ? end : n})));
        s = (sm_sv){s.p + end, s.n - end};
    }
    return SM_OK;
}

static bool has_affix(sm_sv s, sm_sv affix, bool end) {
    return s.n >= affix.n && memcmp(end ? s.p + s.n - affix.n : s.p, affix.p, affix.n) == 0;
}

static sm_status str_affix(run *r, sm_sv s, sm_sv name, const call_args *a, val *out) {
    bool end = name.p[0] == 'e';
    *out = val_bool(false);
    if (a->n == 1 && a->v[0].kind == VAL_STR) {
        *out = val_bool(has_affix(s, a->v[0].u.s, end));
        return SM_OK;
    }
    if (a->n != 1 || a->v[0].kind != VAL_TUPLE)
        return wants(r, name, "a string");
    for (size_t i = 0; i < a->v[0].u.list->n; i++) {
        val v = a->v[0].u.list->v[i];
        if (v.kind != VAL_STR)
            return wants(r, name, "strings");
        out->u.b = out->u.b || has_affix(s, v.u.s, end);
    }
    return SM_OK;
}

static sm_status str_remove_affix(run *r, sm_sv s, sm_sv name, const call_args *a, val *out) {
    bool end = sm_sv_is(name, "removesuffix");
    if (a->n != 1 || a->v[0].kind != VAL_STR)
        return wants(r, name, "a string");
    size_t n = has_affix(s, a->v[0].u.s, end) ? a->v[0].u.s.n : 0;
    *out = val_view((sm_sv){end ? s.p : s.p + n, s.n - n});
    return SM_OK;
}

/* The filters of the same name do the work. */
static sm_status str_by_filter(run *r, sm_sv s, sm_sv name, const call_args *a, val *out) {
    return tmpl_filter(r, name, val_view(s), a, out);
}

/* A capital after anything that is not a letter; the filter of this name has other ideas of where a word begins. */
static sm_status str_title(run *r, sm_sv s, sm_sv name, const call_args *a, val *out) {
    sm_str text = SM_STR_INIT;
    bool inside = false;
    (void)name;
    (void)a;
    for (size_t i = 0; i < s.n;) {
        char z[4];
        utf8proc_int32_t cp = (utf8proc_int32_t)val_char(s, &i);
        utf8proc_category_t c = utf8proc_category(cp);
        sm_str_add(&text, z,
                   (size_t)sm_utf8_encode((uint32_t)(inside ? utf8proc_tolower(cp) : utf8proc_totitle(cp)), z));
        inside = c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LT;
    }
    return val_take_str(r, &text, out);
}

static sm_status str_find(run *r, sm_sv s, sm_sv name, const call_args *a, val *out) {
    if (a->n != 1 || a->v[0].kind != VAL_STR)
        return wants(r, name, "a string");
    sm_sv what = a->v[0].u.s;
    size_t at = SIZE_MAX;
    if (name.p[0] == 'r')
        at = last_of(s, what);
    else if (what.n == 0)
        at = 0;
    else if (memmem(s.p, s.n, what.p, what.n) != NULL)
        at = (size_t)((const char *)memmem(s.p, s.n, what.p, what.n) - s.p);
    *out = val_int(at == SIZE_MAX ? -1 : (int64_t)val_str_len((sm_sv){s.p, at}));
    return SM_OK;
}

static sm_status str_count(run *r, sm_sv s, sm_sv name, const call_args *a, val *out) {
    int64_t n = 0;
    if (a->n != 1 || a->v[0].kind != VAL_STR)
        return wants(r, name, "a string");
    sm_sv what = a->v[0].u.s;
    if (what.n == 0)
        n = (int64_t)val_str_len(s) + 1;
    for (const char *p; what.n > 0 && (p = memmem(s.p, s.n, what.p, what.n)) != NULL; n++)
        s = (sm_sv){p + what.n, s.n - (size_t)(p - s.p) - what.n};
    *out = val_int(n);
    return SM_OK;
}

static sm_status str_join(run *r, sm_sv s, sm_sv name, const call_args *a, val *out) {
    sm_str text = SM_STR_INIT;
    val_list *items;
    if (a->n != 1)
        return wants(r, name, "a list");
    SM_TRY(tmpl_iterate(r, a->v[0], &items));
    for (size_t i = 0; i < items->n; i++)
        if (items->v[i].kind != VAL_STR)
            return wants(r, name, "strings");
    for (size_t i = 0; i < items->n; i++) {
        if (i > 0)
            sm_str_add(&text, s.p, s.n);
        val_print(items->v[i], &text);
    }
    return val_take_str(r, &text, out);
}

/* isdigit, isalpha, isspace, isupper, islower: all characters, and at least one. */
static sm_status str_is(run *r, sm_sv s, sm_sv name, const call_args *a, val *out) {
    bool all = s.n > 0, cased = false;
    (void)r;
    (void)a;
    for (size_t i = 0; i < s.n && all;) {
        uint32_t cp = val_char(s, &i);
        utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
        bool upper = c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LT, lower = c == UTF8PROC_CATEGORY_LL;
        if (sm_sv_is(name, "isdigit"))
            all = c == UTF8PROC_CATEGORY_ND;
        else if (sm_sv_is(name, "isalpha"))
            all = c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
        else if (sm_sv_is(name, "isspace"))
            all = val_is_space(cp);
        else
            all = sm_sv_is(name, "isupper") ? !lower : !upper;
        cased = cased || upper || lower;
    }
    if (sm_sv_is(name, "isupper") || sm_sv_is(name, "islower"))
        all = all && cased;
    *out = val_bool(all);
    return SM_OK;
}

/* ---- methods of dicts, lists, loops -------------------------------------------------------------------------- */

static sm_status dict_method(run *r, const val_dict *d, sm_sv name, const call_args *a, val *out) {
    if (sm_sv_is(name, "get")) {
        const val *v = a->n > 0 ? val_get(d, a->v[0]) : NULL, *other = args_get(a, 1, "default");
        *out = v != NULL ? *v : other != NULL ? *other : val_none();
        return a->n > 0 ? SM_OK : wants(r, name, "a key");
    }
    bool keys = sm_sv_is(name, "keys"), values = sm_sv_is(name, "values"), both = sm_sv_is(name, "items");
    if (!keys && !values && !both)
        return tmpl_fail(r, SM_UNSUPPORTED, "dict method '%.*s' is not supported", (int)name.n, name.p);
    SM_TRY(val_list_new(r, VAL_LIST, out));
    for (size_t i = 0; i < d->n; i++) {
        val v = keys ? d->keys[i] : d->values[i];
        if (both) {
            SM_TRY(val_list_new(r, VAL_TUPLE, &v));
            SM_TRY(val_push(r, v.u.list, d->keys[i]));
            SM_TRY(val_push(r, v.u.list, d->values[i]));
        }
        SM_TRY(val_push(r, out->u.list, v));
    }
    return SM_OK;
}

static sm_status list_method(run *r, const val_list *l, sm_sv name, const call_args *a, val *out) {
    int64_t n = 0, first = -1;
    if ((!sm_sv_is(name, "index") && !sm_sv_is(name, "count")) || a->n != 1)
        return tmpl_fail(r, SM_UNSUPPORTED, "list method '%.*s' is not supported", (int)name.n, name.p);
    for (size_t i = 0; i < l->n; i++)
        if (val_equal(l->v[i], a->v[0])) {
            first = first < 0 ? (int64_t)i : first;
            n++;
        }
    *out = val_int(name.p[0] == 'c' ? n : first);
    return name.p[0] == 'c' || n > 0 ? SM_OK : tmpl_fail(r, SM_BADINPUT, "index: not in the list");
}

static sm_status loop_method(run *r, val_loop *l, sm_sv name, const call_args *a, val *out) {
    if (sm_sv_is(name, "cycle")) {
        if (a->n == 0)
            return wants(r, name, "values");
        *out = a->v[l->at % a->n];
        return SM_OK;
    }
    val now;
    SM_TRY(val_list_new(r, VAL_TUPLE, &now));
    for (size_t i = 0; i < a->n; i++)
        SM_TRY(val_push(r, now.u.list, a->v[i]));
    *out = val_bool(!val_equal(l->changed, now));
    l->changed = now;
    return SM_OK;
}

static const struct {
    const char *name;
    sm_status (*call)(run *r, sm_sv s, sm_sv name, const call_args *a, val *out);
} str_methods[] = {
    {"strip", str_strip},
    {"lstrip", str_strip},
    {"rstrip", str_strip},
    {"split", str_split},
    {"rsplit", str_split},
    {"splitlines", str_splitlines},
    {"startswith", str_affix},
    {"endswith", str_affix},
    {"removeprefix", str_remove_affix},
    {"removesuffix", str_remove_affix},
    {"upper", str_by_filter},
    {"lower", str_by_filter},
    {"capitalize", str_by_filter},
    {"title", str_title},
    {"replace", str_by_filter},
    {"find", str_find},
    {"rfind", str_find},
    {"count", str_count},
    {"join", str_join},
    {"isdigit", str_is},
    {"isalpha", str_is},
    {"isspace", str_is},
    {"isupper", str_is},
    {"islower", str_is},
};

static sm_status call_method(run *r, val self, sm_sv name, const call_args *a, val *out) {
    if (self.kind == VAL_DICT)
        return dict_method(r, self.u.dict, name, a, out);
    if (val_is_seq(self))
        return list_method(r, self.u.list, name, a, out);
    if (self.kind == VAL_LOOP)
        return loop_method(r, self.u.loop, name, a, out);
    for (size_t i = 0; i < SM_ARRAY_LEN(str_methods); i++)
        if (sm_sv_is(name, str_methods[i].name))
            return str_methods[i].call(r, self.u.s, name, a, out);
    return tmpl_fail(r, SM_UNSUPPORTED, "string method '%.*s' is not supported", (int)name.n, name.p);
}

sm_status tmpl_call(run *r, val callee, const call_args *args, val *out) {
    if (callee.kind == VAL_METHOD)
        return call_method(r, callee.u.method->self, callee.u.method->name, args, out);
    if (callee.kind == VAL_FUNCTION)
        for (size_t i = 0; i < SM_ARRAY_LEN(functions); i++)
            if (sm_sv_is(callee.u.s, functions[i].name))
                return functions[i].call(r, args, out);
    if (callee.kind == VAL_UNDEFINED)
        return tmpl_fail(r, SM_UNSUPPORTED, "there is no function %s", sm_quote(callee.u.s.p, callee.u.s.n));
    return tmpl_fail(r, SM_BADINPUT, "%s cannot be called", val_type(callee));
}
