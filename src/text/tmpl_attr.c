/* SPDX-License-Identifier: MIT
 *
 * tmpl_attr.c: attributes, items and slices of template values, and going through them.
 *
 * An attribute or item that is not there is undefined, which prints as nothing.  Names that Python's types have (methods)
 * come before a dict's keys in a.name, after them in a['name'].  Methods that change a list or dict are not there, as in
 * the sandbox that Hugging Face renders with.
 */
#include "text/template_int.h"

#include <string.h>

static sm_status loop_attr(const val_loop *l, sm_sv name, val *out) {
    int64_t at = (int64_t)l->at, n = (int64_t)l->items->n;
    const struct {
        const char *name;
        int64_t value;
    } ints[] = {{"index", at + 1}, {"index0", at},           {"revindex", n - at}, {"revindex0", n - at - 1},
                {"length", n},     {"depth", l->depth0 + 1}, {"depth0", l->depth0}};
    for (size_t i = 0; i < SM_ARRAY_LEN(ints); i++)
        if (sm_sv_is(name, ints[i].name)) {
            *out = val_int(ints[i].value);
            return SM_OK;
        }
    if (sm_sv_is(name, "first") || sm_sv_is(name, "last"))
        *out = val_bool(sm_sv_is(name, "first") ? at == 0 : at == n - 1);
    else if (sm_sv_is(name, "previtem"))
        *out = at > 0 ? l->items->v[at - 1] : val_undefined(name);
    else if (sm_sv_is(name, "nextitem"))
        *out = at + 1 < n ? l->items->v[at + 1] : val_undefined(name);
    return SM_OK;
}

static bool among(const char *names, sm_sv name) {
    for (const char *p = names + 1; *p; p += strcspn(p, " ") + 1)
        if (strcspn(p, " ") == name.n && memcmp(p, name.p, name.n) == 0)
            return true;
    return false;
}

static bool is_method(val a, sm_sv name) {
    static const char not_supported[] = " encode maketrans translate "; /* strings have them all the same */
    static const char of_dict[] = " copy fromkeys get items keys values ";
    static const char of_list[] = " copy count index ";
    static const char of_tuple[] = " count index ";
    static const char of_loop[] = " changed cycle ";
    static const char of_cycler[] = " next reset ";
    if (a.kind == VAL_STR)
        return tmpl_has_str_method(name) || among(not_supported, name);
    const char *names = a.kind == VAL_DICT                           ? of_dict
                        : a.kind == VAL_LIST                         ? of_list
                        : a.kind == VAL_TUPLE || a.kind == VAL_RANGE ? of_tuple
                        : a.kind == VAL_LOOP                         ? of_loop
                        : a.kind == VAL_CYCLER                       ? of_cycler
                                                                     : " ";
    return among(names, name);
}

/* Those that the sandbox hides: undefined, even if the dict has such a key. */
static bool is_hidden(val a, sm_sv name) {
    static const char of_list[] = " append clear extend insert pop remove reverse sort ";
    static const char of_dict[] = " clear pop popitem setdefault update ";
    return among(a.kind == VAL_LIST ? of_list : a.kind == VAL_DICT ? of_dict : " ", name);
}

static sm_status bind(run *r, val a, sm_sv name, val *out) {
    val_method *m = tmpl_alloc(r, sizeof *m);
    if (m == NULL)
        return SM_RESOURCE;
    *m = (val_method){a, name};
    *out = (val){.kind = VAL_METHOD, .u.method = m};
    return SM_OK;
}

static sm_status macro_attr(run *r, const val_macro *m, sm_sv name, val *out) {
    if (sm_sv_is(name, "name")) {
        *out = m->def->kind == NODE_MACRO ? val_view(m->def->text) : val_none();
    } else if (sm_sv_is(name, "arguments")) {
        SM_TRY(val_list_new(r, VAL_TUPLE, out));
        for (size_t i = 0; i < m->def->names.n; i++)
            SM_TRY(val_push(r, out->u.list, val_view(m->def->names.v[i])));
    } else if (sm_sv_is(name, "caller") || sm_sv_is(name, "catch_kwargs") || sm_sv_is(name, "catch_varargs")) {
        unsigned use = name.n == 6 ? USES_CALLER : name.p[6] == 'k' ? USES_KWARGS : USES_VARARGS;
        *out = val_bool((m->def->uses & use) != 0);
    }
    return SM_OK;
}

/* What is an attribute in Python, not an item.  *out stays undefined when there is none. */
static sm_status own_attr(run *r, val a, sm_sv name, val *out) {
    if (is_method(a, name))
        return bind(r, a, name, out);
    switch (a.kind) {
    case VAL_LOOP:
        return loop_attr(a.u.loop, name, out);
    case VAL_MACRO:
        return macro_attr(r, a.u.macro, name, out);
    case VAL_NAMESPACE: {
        const val *v = val_get(r, a.u.dict, val_view(name));
        *out = v != NULL ? *v : *out;
        return SM_OK;
    }
    case VAL_TUPLE:
        if (a.u.list->type != NULL && (sm_sv_is(name, "grouper") || sm_sv_is(name, "list")))
            *out = a.u.list->v[name.p[0] == 'l'];
        return SM_OK;
    case VAL_RANGE:
        for (size_t i = 0; i < 3; i++)
            if (sm_sv_is(name, (const char *[]){"start", "stop", "step"}[i]))
                *out = val_int(a.u.list->bounds[i]);
        return SM_OK;
    case VAL_CYCLER:
        if (sm_sv_is(name, "current"))
            *out = a.u.list->v[a.u.list->at];
        return SM_OK;
    case VAL_BOOL:
    case VAL_INT:
        if (sm_sv_is(name, "real") || sm_sv_is(name, "numerator"))
            *out = val_int(val_as_int(a));
        else if (sm_sv_is(name, "imag"))
            *out = val_int(0);
        else if (sm_sv_is(name, "denominator"))
            *out = val_int(1);
        return SM_OK;
    case VAL_FLOAT:
        if (sm_sv_is(name, "real"))
            *out = a;
        else if (sm_sv_is(name, "imag"))
            *out = val_float(0);
        return SM_OK;
    default:
        return SM_OK;
    }
}

sm_status tmpl_attr(run *r, val a, sm_sv name, val *out) {
    *out = val_undefined(name);
    if (a.kind == VAL_UNDEFINED)
        return tmpl_undefined(r, a);
    SM_TRY(own_attr(r, a, name, out));
    if (out->kind == VAL_UNDEFINED && a.kind == VAL_DICT && !is_hidden(a, name)) {
        const val *v = val_get(r, a.u.dict, val_view(name));
        *out = v != NULL ? *v : *out;
    }
    return SM_OK;
}

static sm_status str_item(run *r, val a, int64_t i, val *out) {
    tmpl_charge(r, a.u.s.n / 4);
    i += i < 0 ? (int64_t)val_str_len(a.u.s) : 0;
    size_t at = i >= 0 ? val_str_offset(a.u.s, (size_t)i) : a.u.s.n, end = at;
    if (at >= a.u.s.n)
        return SM_OK;
    val_char(a.u.s, &end);
    *out = val_view((sm_sv){a.u.s.p + at, end - at});
    out->safe = a.safe;
    return SM_OK;
}

sm_status tmpl_item(run *r, val a, val key, val *out) {
    *out = val_undefined(key.kind == VAL_STR ? key.u.s : SM_SV("item"));
    if (a.kind == VAL_UNDEFINED)
        return tmpl_undefined(r, a);
    if (a.kind == VAL_DICT) {
        const val *v = val_get(r, a.u.dict, key);
        if (v != NULL) {
            *out = *v;
            return SM_OK;
        }
    }
    if (key.kind == VAL_STR)
        return own_attr(r, a, key.u.s, out);
    if (!val_is_int(key))
        return SM_OK;
    int64_t i = val_as_int(key);
    if (a.kind == VAL_STR)
        return str_item(r, a, i, out);
    if (val_is_seq(a) || a.kind == VAL_RANGE) {
        i += i < 0 ? (int64_t)a.u.list->n : 0;
        if (i >= 0 && (size_t)i < a.u.list->n)
            *out = a.u.list->v[i];
    }
    return SM_OK;
}

/* Python's slice bounds: negative ones count from the end, all are clamped. */
static int64_t clamp_bound(const val *v, int64_t n, int64_t low, int64_t high, int64_t absent) {
    if (v == NULL || v->kind == VAL_NONE)
        return absent;
    int64_t i = val_as_int(*v);
    if (i < 0)
        i = i < -n ? low : i + n;
    return i < low ? low : i > high ? high : i;
}

sm_status tmpl_slice(run *r, val a, const val *from, const val *to, const val *step, val *out) {
    const val *bounds[] = {from, to, step};
    for (int i = 0; i < 3; i++)
        if (bounds[i] != NULL && !val_is_int(*bounds[i]) && bounds[i]->kind != VAL_NONE)
            return tmpl_fail(r, SM_BADINPUT, "slice with %s", val_type(*bounds[i]));
    int64_t by = step != NULL && step->kind != VAL_NONE ? val_as_int(*step) : 1;
    if (by == 0)
        return tmpl_fail(r, SM_BADINPUT, "slice with step 0");
    if (a.kind != VAL_STR && !val_is_seq(a) && a.kind != VAL_RANGE)
        return tmpl_wants(r, SM_SV("slice"), "a string or a list", a);
    int64_t n = a.kind == VAL_STR ? (int64_t)val_str_len(a.u.s) : (int64_t)a.u.list->n;
    int64_t low = by > 0 ? 0 : -1, high = by > 0 ? n : n - 1;
    int64_t i = clamp_bound(from, n, low, high, by > 0 ? 0 : n - 1);
    int64_t end = clamp_bound(to, n, low, high, by > 0 ? n : -1);
    tmpl_charge(r, (size_t)n);
    if (a.kind == VAL_STR && by == 1) {
        size_t p = val_str_offset(a.u.s, (size_t)i), q = end > i ? val_str_offset(a.u.s, (size_t)end) : p;
        *out = val_view((sm_sv){a.u.s.p + p, q - p});
        out->safe = a.safe;
        return SM_OK;
    }
    val list;
    val_list *items;
    SM_TRY(tmpl_iterate(r, a, &items));
    SM_TRY(val_list_new(r, a.kind == VAL_STR ? VAL_LIST : a.kind, &list));
    if (a.kind == VAL_RANGE) {
        const int64_t *was = a.u.list->bounds;
        const int64_t factors[3][2] = {{i, was[2]}, {end, was[2]}, {by, was[2]}};
        for (int k = 0; k < 3; k++)
            if (__builtin_mul_overflow(factors[k][0], factors[k][1], &list.u.list->bounds[k]) ||
                (k < 2 && __builtin_add_overflow(list.u.list->bounds[k], was[0], &list.u.list->bounds[k])))
                return tmpl_fail(r, SM_UNSUPPORTED, "integer of more than 64 bits");
    }
    for (; by > 0 ? i < end : i > end; i += by) {
        SM_TRY(val_push(r, list.u.list, items->v[i]));
        if (by > n || by < -n)
            break;
    }
    *out = list;
    if (a.kind == VAL_STR) {
        sm_str s = SM_STR_INIT;
        for (size_t k = 0; k < list.u.list->n; k++)
            val_print(r, list.u.list->v[k], &s);
        SM_TRY(val_take_str(r, &s, out));
        out->safe = a.safe;
    }
    return SM_OK;
}

static sm_status characters(run *r, val a, val_list *l) {
    for (size_t i = 0; i < a.u.s.n;) {
        size_t at = i;
        val_char(a.u.s, &i);
        SM_TRY(val_push(r, l, val_view((sm_sv){a.u.s.p + at, i - at})));
    }
    return SM_OK;
}

sm_status tmpl_iterate(run *r, val a, val_list **out) {
    val list;
    if (a.kind == VAL_GEN && a.u.list->at == 0) {
        SM_TRY(val_list_new(r, VAL_LIST, &list)); /* the generator is empty from now on */
        *list.u.list = *a.u.list;
        list.u.list->at = 0;
        a.u.list->at = a.u.list->n;
        *out = list.u.list;
        return SM_OK;
    }
    if (val_is_listed(a) && a.kind != VAL_GEN) {
        *out = a.u.list;
        return SM_OK;
    }
    SM_TRY(val_list_new(r, VAL_LIST, &list));
    *out = list.u.list;
    if (a.kind == VAL_GEN) {
        while (a.u.list->at < a.u.list->n)
            SM_TRY(val_push(r, *out, a.u.list->v[a.u.list->at++]));
    } else if (a.kind == VAL_DICT) {
        for (size_t i = 0; i < a.u.dict->n; i++)
            SM_TRY(val_push(r, *out, a.u.dict->keys[i]));
    } else if (a.kind == VAL_STR) {
        return characters(r, a, *out);
    } else if (a.kind != VAL_UNDEFINED) {
        return tmpl_fail(r, SM_BADINPUT, "%s cannot be gone through", val_type(a));
    }
    return SM_OK;
}
