/* SPDX-License-Identifier: MIT
 *
 * tmpl_call.c: calls: global functions, methods of lists, dicts and loops.
 */
#include "text/template_int.h"

#include <time.h>

/* ---- functions ----------------------------------------------------------------------------------------------- */

static sm_status call_raise(run *r, const val **slot, const call_args *a, val *out) {
    sm_str s = SM_STR_INIT;
    (void)a;
    (void)out;
    val_print(r, *slot[0], &s);
    sm_status st = sm_str_ok(&s) ? tmpl_fail(r, SM_BADINPUT, "%s", sm_str_z(&s)) : tmpl_nomem(r);
    sm_str_free(&s);
    return st;
}

/* The entries of a dict or pairs, then the named arguments. */
static sm_status make_dict(run *r, val_kind kind, const call_args *a, val *out) {
    size_t n = tmpl_positional(a);
    SM_TRY(val_dict_new(r, kind, out));
    if (n > 1)
        return tmpl_fail(r, SM_BADINPUT, "dict: wanted one argument at most");
    if (n == 1 && a->v[0].kind == VAL_DICT) {
        const val_dict *d = a->v[0].u.dict;
        for (size_t k = 0; k < d->n; k++)
            SM_TRY(val_put(r, out->u.dict, d->keys[k], d->values[k]));
    } else if (n == 1) {
        val_list *items, *pair;
        SM_TRY(tmpl_iterate(r, a->v[0], &items));
        for (size_t k = 0; k < items->n; k++) {
            SM_TRY(tmpl_iterate(r, items->v[k], &pair));
            if (pair->n != 2)
                return tmpl_wants(r, SM_SV("dict"), "pairs", items->v[k]);
            SM_TRY(val_put(r, out->u.dict, pair->v[0], pair->v[1]));
        }
    }
    for (size_t i = 0; i < a->n_names; i++)
        SM_TRY(val_put(r, out->u.dict, val_view(a->names[i]), a->v[n + i]));
    return SM_OK;
}

static sm_status call_namespace(run *r, const val **slot, const call_args *a, val *out) {
    (void)slot;
    return make_dict(r, VAL_NAMESPACE, a, out);
}

static sm_status call_dict(run *r, const val **slot, const call_args *a, val *out) {
    (void)slot;
    return make_dict(r, VAL_DICT, a, out);
}

static sm_status call_range(run *r, const val **slot, const call_args *a, val *out) {
    int64_t b[3] = {0, 0, 1};
    for (size_t i = 0; i < 3; i++)
        SM_TRY(tmpl_int_arg(r, SM_SV("range"), slot[i], b[i], &b[i]));
    if (a->n == 1) {
        b[1] = b[0];
        b[0] = 0;
    }
    if (b[2] == 0)
        return tmpl_fail(r, SM_BADINPUT, "range: wanted a step that is not 0");
    SM_TRY(val_list_new(r, VAL_RANGE, out));
    for (int64_t at = b[0]; b[2] > 0 ? at < b[1] : at > b[1];) {
        if (out->u.list->n >= 100000) /* as in Jinja's sandbox */
            return tmpl_fail(r, SM_RESOURCE, "range of more than 100000");
        SM_TRY(val_push(r, out->u.list, val_int(at)));
        if (__builtin_add_overflow(at, b[2], &at))
            break;
    }
    for (size_t i = 0; i < 3; i++)
        out->u.list->bounds[i] = b[i];
    return SM_OK;
}

static sm_status call_cycler(run *r, const val **slot, const call_args *a, val *out) {
    (void)slot;
    if (a->n == 0 || a->n_names > 0)
        return tmpl_fail(r, SM_BADINPUT, "cycler: wanted items");
    SM_TRY(val_list_new(r, VAL_CYCLER, out));
    for (size_t i = 0; i < a->n; i++)
        SM_TRY(val_push(r, out->u.list, a->v[i]));
    return SM_OK;
}

static sm_status call_joiner(run *r, const val **slot, const call_args *a, val *out) {
    (void)a;
    SM_TRY(val_list_new(r, VAL_JOINER, out));
    return val_push(r, out->u.list, slot[0] != NULL ? *slot[0] : val_view(SM_SV(", ")));
}

/* The local time, as C's strftime writes it; %f are microseconds, and a time without zone has no %z and %Z. */
static sm_status call_strftime(run *r, const val **slot, const call_args *a, val *out) {
    time_t now = (time_t)(r->now_us / 1000000);
    struct tm tm;
    sm_str text = SM_STR_INIT;
    (void)a;
    if (slot[0]->kind != VAL_STR)
        return tmpl_wants(r, SM_SV("strftime_now"), "a string", *slot[0]);
    localtime_r(&now, &tm);
    sm_sv f = slot[0]->u.s;
    for (size_t i = 0; i < f.n; i++) {
        char one[4] = {f.p[i]}, z[128];
        if (f.p[i] != '%' || i + 1 >= f.n) {
            sm_str_addc(&text, f.p[i]);
            continue;
        }
        one[1] = f.p[++i];
        if (one[1] == '-' && i + 1 < f.n) /* without zeros before it */
            one[2] = f.p[++i];
        if (one[1] == 'f')
            sm_str_addf(&text, "%06d", (int)(r->now_us % 1000000));
        else if (one[1] != 'z' && one[1] != 'Z')
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            sm_str_add(&text, z, strftime(z, sizeof z, one, &tm));
#pragma GCC diagnostic pop
    }
    return val_take_str(r, &text, out);
}

static const struct {
    const char *name, *params; /* NULL: the function looks at the arguments itself */
    sm_status (*call)(run *r, const val **slot, const call_args *a, val *out);
} functions[] = {
    {"raise_exception", "message", call_raise},   {"namespace", NULL, call_namespace}, {"dict", NULL, call_dict},
    {"range", "start stop? step? /", call_range}, {"cycler", NULL, call_cycler},       {"joiner", "sep?", call_joiner},
    {"strftime_now", "format", call_strftime}};

bool tmpl_has_function(sm_sv name) {
    for (size_t i = 0; i < SM_ARRAY_LEN(functions); i++)
        if (sm_sv_is(name, functions[i].name))
            return true;
    return false;
}

/* ---- methods of dicts, lists, loops -------------------------------------------------------------------------- */

static sm_status dict_method(run *r, const val_dict *d, sm_sv name, const call_args *a, val *out) {
    const val *slot[2];
    if (sm_sv_is(name, "get")) {
        SM_TRY(tmpl_bind(r, name, "key default? /", a, slot));
        SM_TRY(val_hashable(r, *slot[0]));
        const val *v = val_get(r, d, *slot[0]);
        *out = v != NULL ? *v : slot[1] != NULL ? *slot[1] : val_none();
        return SM_OK;
    }
    if (sm_sv_is(name, "fromkeys"))
        return tmpl_fail(r, SM_UNSUPPORTED, "dict method 'fromkeys' is not supported");
    SM_TRY(tmpl_bind(r, name, "", a, slot));
    if (sm_sv_is(name, "copy"))
        return make_dict(r, VAL_DICT, &(call_args){(val[]){{.kind = VAL_DICT, .u.dict = (val_dict *)d}}, 1, NULL, 0},
                         out);
    bool keys = sm_sv_is(name, "keys"), values = sm_sv_is(name, "values");
    SM_TRY(val_list_new(r, VAL_VIEW, out));
    out->u.list->type = keys ? "dict_keys" : values ? "dict_values" : "dict_items";
    for (size_t i = 0; i < d->n; i++)
        SM_TRY(keys || values ? val_push(r, out->u.list, keys ? d->keys[i] : d->values[i])
                              : val_push_pair(r, out->u.list, d->keys[i], d->values[i]));
    return SM_OK;
}

static sm_status list_method(run *r, val self, sm_sv name, const call_args *a, val *out) {
    const val_list *l = self.u.list;
    const val *slot[3];
    int64_t n = 0, first = -1, from, to, len = (int64_t)l->n;
    if (sm_sv_is(name, "copy")) {
        SM_TRY(tmpl_bind(r, name, "", a, slot));
        SM_TRY(val_list_new(r, VAL_LIST, out));
        for (size_t i = 0; i < l->n; i++)
            SM_TRY(val_push(r, out->u.list, l->v[i]));
        return SM_OK;
    }
    bool count = sm_sv_is(name, "count");
    slot[1] = slot[2] = NULL;
    SM_TRY(tmpl_bind(r, name, count ? "value /" : "value start? stop? /", a, slot));
    SM_TRY(tmpl_int_arg(r, name, slot[1], 0, &from));
    SM_TRY(tmpl_int_arg(r, name, slot[2], len, &to));
    from = from < 0 ? SM_MAX(from + len, 0) : from;
    to = to < 0 ? to + len : SM_MIN(to, len);
    for (int64_t i = from; i < to; i++)
        if (val_equal(r, l->v[i], *slot[0])) {
            first = first < 0 ? i : first;
            n++;
        }
    SM_TRY(tmpl_check(r));
    *out = val_int(count ? n : first);
    return count || n > 0 ? SM_OK : tmpl_fail(r, SM_BADINPUT, "index: not in the list");
}

static sm_status loop_method(run *r, val_loop *l, sm_sv name, const call_args *a, val *out) {
    if (a->n_names > 0)
        return tmpl_fail(r, SM_BADINPUT, "loop.%.*s: arguments have no names", (int)name.n, name.p);
    if (sm_sv_is(name, "cycle")) {
        if (a->n == 0)
            return tmpl_fail(r, SM_BADINPUT, "cycle: wanted values");
        *out = a->v[l->at % a->n];
        return SM_OK;
    }
    val now;
    SM_TRY(val_list_new(r, VAL_TUPLE, &now));
    for (size_t i = 0; i < a->n; i++)
        SM_TRY(val_push(r, now.u.list, a->v[i]));
    *out = val_bool(!l->has_changed || !val_equal(r, l->changed, now));
    l->changed = now;
    l->has_changed = true;
    return SM_OK;
}

static sm_status cycler_method(run *r, val_list *l, sm_sv name, const call_args *a, val *out) {
    SM_TRY(tmpl_bind(r, name, "", a, NULL));
    if (name.p[0] == 'r') {
        l->at = 0;
        *out = val_none();
        return SM_OK;
    }
    *out = l->v[l->at];
    l->at = (l->at + 1) % l->n;
    return SM_OK;
}

/* Nothing the first time, the separator after that. */
static sm_status call_join(run *r, val_list *l, const call_args *a, val *out) {
    SM_TRY(tmpl_bind(r, SM_SV("joiner"), "", a, NULL));
    *out = l->at > 0 ? l->v[0] : val_view(SM_SV(""));
    l->at = 1;
    return SM_OK;
}

static sm_status call_method(run *r, val self, sm_sv name, const call_args *a, val *out) {
    switch (self.kind) {
    case VAL_DICT:
        return dict_method(r, self.u.dict, name, a, out);
    case VAL_LIST:
    case VAL_TUPLE:
    case VAL_RANGE:
        return list_method(r, self, name, a, out);
    case VAL_LOOP:
        return loop_method(r, self.u.loop, name, a, out);
    case VAL_CYCLER:
        return cycler_method(r, self.u.list, name, a, out);
    default:
        return tmpl_call_str(r, self, name, a, out);
    }
}

/* ---- calls --------------------------------------------------------------------------------------------------- */

static sm_status call_function(run *r, sm_sv name, const call_args *a, val *out) {
    const val *slot[TMPL_MAX_PARAMS];
    for (size_t i = 0; i < SM_ARRAY_LEN(functions); i++)
        if (sm_sv_is(name, functions[i].name)) {
            if (functions[i].params != NULL)
                SM_TRY(tmpl_bind(r, name, functions[i].params, a, slot));
            return functions[i].call(r, slot, a, out);
        }
    return tmpl_fail(r, SM_UNSUPPORTED, "there is no function %s", sm_quote(name.p, name.n));
}

static sm_status call_value(run *r, val callee, const call_args *a, val *out) {
    switch (callee.kind) {
    case VAL_METHOD:
        return call_method(r, callee.u.method->self, callee.u.method->name, a, out);
    case VAL_FUNCTION:
        return call_function(r, callee.u.s, a, out);
    case VAL_MACRO:
        return tmpl_call_macro(r, callee.u.macro, a, out);
    case VAL_LOOP:
        if (a->n != 1)
            return tmpl_fail(r, SM_BADINPUT, "loop: wanted one argument");
        return tmpl_call_loop(r, callee.u.loop, a->v[0], out);
    case VAL_JOINER:
        return call_join(r, callee.u.list, a, out);
    case VAL_UNDEFINED:
        return tmpl_fail(r, SM_BADINPUT, "%s is undefined: it cannot be called", sm_quote(callee.u.s.p, callee.u.s.n));
    default:
        return tmpl_fail(r, SM_BADINPUT, "%s cannot be called", val_type(callee));
    }
}

sm_status tmpl_call(run *r, val callee, const call_args *args, val *out) {
    SM_TRY(tmpl_enter(r));
    SM_TRY(call_value(r, callee, args, out));
    r->depth--;
    return tmpl_spent(r) ? tmpl_check(r) : SM_OK;
}
