/* SPDX-License-Identifier: MIT
 *
 * tmpl_op.c: operators, attributes, items and slices of template values, as Python has them.
 *
 * An operation on types that do not go together fails with both named; so does one that Python would do with integers
 * of more than 64 bits.  An attribute or item that is not there is undefined, which prints as nothing.
 */
#include "text/template_int.h"

#include <math.h>
#include <string.h>

static sm_status mismatch(run *r, sm_sv op, val a, val b) {
    for (int i = 0; i < 2; i++) {
        val v = i ? b : a;
        if (v.kind == VAL_UNDEFINED)
            return tmpl_fail(r, SM_BADINPUT, "%s is undefined", sm_quote(v.u.s.p, v.u.s.n));
    }
    return tmpl_fail(r, SM_BADINPUT, "'%.*s' does not go with %s and %s", (int)op.n, op.p, val_type(a), val_type(b));
}

/* ---- arithmetic ---------------------------------------------------------------------------------------------- */

static int64_t as_int(val v) {
    return v.kind == VAL_INT ? v.u.i : v.u.b;
}

static sm_status int_power(run *r, int64_t a, int64_t b, val *out) {
    int64_t x = 1;
    if (b < 0) {
        *out = val_float(pow((double)a, (double)b));
        return SM_OK;
    }
    while (b > 0) {
        if ((b & 1) && __builtin_mul_overflow(x, a, &x))
            return tmpl_fail(r, SM_UNSUPPORTED, "integer of more than 64 bits");
        b >>= 1;
        if (b > 0 && __builtin_mul_overflow(a, a, &a))
            return tmpl_fail(r, SM_UNSUPPORTED, "integer of more than 64 bits");
    }
    *out = val_int(x);
    return SM_OK;
}

static sm_status int_binary(run *r, sm_sv op, int64_t a, int64_t b, val *out) {
    int64_t x = 0;
    bool over = false;
    if (sm_sv_is(op, "+")) {
        over = __builtin_add_overflow(a, b, &x);
    } else if (sm_sv_is(op, "-")) {
        over = __builtin_sub_overflow(a, b, &x);
    } else if (sm_sv_is(op, "*")) {
        over = __builtin_mul_overflow(a, b, &x);
    } else if (sm_sv_is(op, "**")) {
        return int_power(r, a, b, out);
    } else if (b == 0) {
        return tmpl_fail(r, SM_BADINPUT, "division by zero");
    } else if (sm_sv_is(op, "/")) {
        *out = val_float((double)a / (double)b);
        return SM_OK;
    } else if (a == INT64_MIN && b == -1) {
        over = sm_sv_is(op, "//");
    } else { /* rounds down, and the remainder has the divisor's sign */
        int64_t rest = a % b, down = rest != 0 && (rest < 0) != (b < 0);
        x = sm_sv_is(op, "//") ? a / b - down : rest + (down ? b : 0);
    }
    if (over)
        return tmpl_fail(r, SM_UNSUPPORTED, "integer of more than 64 bits");
    *out = val_int(x);
    return SM_OK;
}

static sm_status float_binary(run *r, sm_sv op, double a, double b, val *out) {
    double x;
    if (sm_sv_is(op, "+")) {
        x = a + b;
    } else if (sm_sv_is(op, "-")) {
        x = a - b;
    } else if (sm_sv_is(op, "*")) {
        x = a * b;
    } else if (sm_sv_is(op, "**")) {
        x = pow(a, b);
    } else if (b == 0) {
        return tmpl_fail(r, SM_BADINPUT, "division by zero");
    } else if (sm_sv_is(op, "/")) {
        x = a / b;
    } else {
        double rest = fmod(a, b);
        if (rest != 0 && (rest < 0) != (b < 0))
            rest += b;
        x = sm_sv_is(op, "//") ? floor((a - rest) / b + 0.5) : rest;
    }
    *out = val_float(x);
    return SM_OK;
}

static sm_status repeat(run *r, val a, int64_t times, val *out) {
    if (a.kind == VAL_STR) {
        size_t n;
        if (times <= 0 || a.u.s.n == 0) {
            *out = val_view(SM_SV(""));
            return SM_OK;
        }
        if (!sm_mul_ok(a.u.s.n, (size_t)times, &n) || n > SM_TEMPLATE_WORK_BYTES)
            return tmpl_fail(r, SM_RESOURCE, "string repeated %lld times is too long", (long long)times);
        char *p = tmpl_alloc(r, n + 1);
        if (p == NULL)
            return SM_RESOURCE;
        for (size_t i = 0; i < n; i += a.u.s.n)
            memcpy(p + i, a.u.s.p, a.u.s.n);
        *out = val_view((sm_sv){p, n});
        return SM_OK;
    }
    SM_TRY(val_list_new(r, a.kind, out));
    for (int64_t k = 0; k < times && a.u.list->n > 0; k++)
        for (size_t i = 0; i < a.u.list->n; i++)
            SM_TRY(val_push(r, out->u.list, a.u.list->v[i]));
    return SM_OK;
}

static sm_status join_lists(run *r, val a, val b, val *out) {
    SM_TRY(val_list_new(r, a.kind, out));
    for (size_t i = 0; i < a.u.list->n; i++)
        SM_TRY(val_push(r, out->u.list, a.u.list->v[i]));
    for (size_t i = 0; i < b.u.list->n; i++)
        SM_TRY(val_push(r, out->u.list, b.u.list->v[i]));
    return SM_OK;
}

static sm_status concat(run *r, val a, val b, val *out) {
    sm_str s = SM_STR_INIT;
    val_print(a, &s);
    val_print(b, &s);
    return val_take_str(r, &s, out);
}

static sm_status arithmetic(run *r, sm_sv op, val a, val b, val *out) {
    bool plus = sm_sv_is(op, "+"), times = sm_sv_is(op, "*");
    if (val_is_number(a) && val_is_number(b)) {
        if (a.kind != VAL_FLOAT && b.kind != VAL_FLOAT)
            return int_binary(r, op, as_int(a), as_int(b), out);
        return float_binary(r, op, val_number(a), val_number(b), out);
    }
    if (plus && a.kind == VAL_STR && b.kind == VAL_STR)
        return concat(r, a, b, out);
    if (plus && val_is_seq(a) && a.kind == b.kind)
        return join_lists(r, a, b, out);
    if (times && (a.kind == VAL_STR || val_is_seq(a)) && (b.kind == VAL_INT || b.kind == VAL_BOOL))
        return repeat(r, a, as_int(b), out);
    if (times && (b.kind == VAL_STR || val_is_seq(b)) && (a.kind == VAL_INT || a.kind == VAL_BOOL))
        return repeat(r, b, as_int(a), out);
    if (a.kind == VAL_STR && sm_sv_is(op, "%"))
        return tmpl_fail(r, SM_UNSUPPORTED, "formatting with '%%' is not supported");
    return mismatch(r, op, a, b);
}

sm_status tmpl_negate(run *r, val a, val *out) {
    if (a.kind == VAL_FLOAT)
        *out = val_float(-a.u.f);
    else if (!val_is_number(a))
        return tmpl_fail(r, SM_BADINPUT, "'-' does not go with %s", val_type(a));
    else if (as_int(a) == INT64_MIN)
        return tmpl_fail(r, SM_UNSUPPORTED, "integer of more than 64 bits");
    else
        *out = val_int(-as_int(a));
    return SM_OK;
}

/* ---- comparing ----------------------------------------------------------------------------------------------- */

sm_status tmpl_compare(run *r, val a, val b, int *out) {
    if (val_is_number(a) && val_is_number(b)) {
        double x = val_number(a), y = val_number(b);
        bool ints = a.kind != VAL_FLOAT && b.kind != VAL_FLOAT;
        *out = ints ? (as_int(a) > as_int(b)) - (as_int(a) < as_int(b)) : (x > y) - (x < y);
        return SM_OK;
    }
    if (a.kind == VAL_STR && b.kind == VAL_STR) {
        size_t n = SM_MIN(a.u.s.n, b.u.s.n);
        int k = n > 0 ? memcmp(a.u.s.p, b.u.s.p, n) : 0;
        *out = k != 0 ? k : (a.u.s.n > b.u.s.n) - (a.u.s.n < b.u.s.n);
        return SM_OK;
    }
    if (val_is_seq(a) && a.kind == b.kind) {
        for (size_t i = 0; i < a.u.list->n && i < b.u.list->n; i++)
            if (!val_equal(a.u.list->v[i], b.u.list->v[i]))
                return tmpl_compare(r, a.u.list->v[i], b.u.list->v[i], out);
        *out = (a.u.list->n > b.u.list->n) - (a.u.list->n < b.u.list->n);
        return SM_OK;
    }
    return mismatch(r, SM_SV("<"), a, b);
}

sm_status tmpl_contains(run *r, val item, val in, bool *out) {
    *out = false;
    if (in.kind == VAL_STR && item.kind == VAL_STR) {
        *out = item.u.s.n == 0 || memmem(in.u.s.p, in.u.s.n, item.u.s.p, item.u.s.n) != NULL;
    } else if (val_is_seq(in)) {
        for (size_t i = 0; i < in.u.list->n && !*out; i++)
            *out = val_equal(in.u.list->v[i], item);
    } else if (in.kind == VAL_DICT) {
        *out = val_get(in.u.dict, item) != NULL;
    } else if (in.kind != VAL_UNDEFINED) { /* Jinja's undefined is empty */
        return mismatch(r, SM_SV("in"), item, in);
    }
    return SM_OK;
}

sm_status tmpl_binary(run *r, sm_sv op, val a, val b, val *out) {
    bool yes;
    int order;
    if (sm_sv_is(op, "==") || sm_sv_is(op, "!=")) {
        *out = val_bool(val_equal(a, b) == sm_sv_is(op, "=="));
        return SM_OK;
    }
    if (sm_sv_is(op, "in") || sm_sv_is(op, "not in")) {
        SM_TRY(tmpl_contains(r, a, b, &yes));
        *out = val_bool(yes == sm_sv_is(op, "in"));
        return SM_OK;
    }
    if (sm_sv_is(op, "~"))
        return concat(r, a, b, out);
    if (op.p[0] != '<' && op.p[0] != '>')
        return arithmetic(r, op, a, b, out);
    SM_TRY(tmpl_compare(r, a, b, &order));
    bool strict = op.n == 1;
    *out = val_bool(op.p[0] == '<' ? (strict ? order < 0 : order <= 0) : (strict ? order > 0 : order >= 0));
    if (val_is_number(a) && val_is_number(b) && (isnan(val_number(a)) || isnan(val_number(b))))
        *out = val_bool(false);
    return SM_OK;
}

/* ---- parts --------------------------------------------------------------------------------------------------- */

static sm_status loop_attr(run *r, const val_loop *l, sm_sv name, val *out) {
    int64_t at = (int64_t)l->at, n = (int64_t)l->items->n;
    const struct {
        const char *name;
        int64_t value;
    } ints[] = {{"index", at + 1}, {"index0", at}, {"revindex", n - at}, {"revindex0", n - at - 1},
                {"length", n},     {"depth", 1},   {"depth0", 0}};
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
    else
        return tmpl_fail(r, SM_UNSUPPORTED, "loop.%.*s is not supported", (int)SM_MIN(name.n, (size_t)40), name.p);
    return SM_OK;
}

/* Names that Python's types have: they come before a dict's keys in a.name. */
static bool is_method(val a, sm_sv name) {
    static const char *const of_str = " strip lstrip rstrip split rsplit splitlines startswith endswith upper lower "
                                      "title capitalize replace find rfind count join isdigit isalpha isspace "
                                      "isupper islower removeprefix removesuffix format index encode center ljust "
                                      "rjust zfill partition rpartition casefold swapcase translate isalnum ";
    static const char *const of_dict = " items keys values get copy pop update setdefault clear popitem ";
    static const char *const of_list = " index count append extend insert pop remove clear copy sort reverse ";
    const char *names = a.kind == VAL_STR ? of_str : a.kind == VAL_DICT ? of_dict : val_is_seq(a) ? of_list : "";
    for (const char *p = names; *p; p++) {
        size_t n = strcspn(p, " ");
        if (n == name.n && memcmp(p, name.p, n) == 0)
            return true;
        p += n;
        if (*p == '\0')
            break;
    }
    return false;
}

static sm_status bind(run *r, val a, sm_sv name, val *out) {
    val_method *m = tmpl_alloc(r, sizeof *m);
    if (m == NULL)
        return SM_RESOURCE;
    *m = (val_method){a, name};
    *out = (val){.kind = VAL_METHOD, .u.method = m};
    return SM_OK;
}

sm_status tmpl_attr(run *r, val a, sm_sv name, val *out) {
    *out = val_undefined(name);
    if (a.kind == VAL_UNDEFINED)
        return tmpl_fail(r, SM_BADINPUT, "%s is undefined", sm_quote(a.u.s.p, a.u.s.n));
    if (a.kind == VAL_LOOP && (sm_sv_is(name, "cycle") || sm_sv_is(name, "changed")))
        return bind(r, a, name, out);
    if (a.kind == VAL_LOOP)
        return loop_attr(r, a.u.loop, name, out);
    if (is_method(a, name))
        return bind(r, a, name, out);
    if (a.kind == VAL_DICT || a.kind == VAL_NAMESPACE) {
        const val *v = val_get_z(a.u.dict, name);
        *out = v != NULL ? *v : *out;
    }
    return SM_OK;
}

/* Byte offset of character i of a string; s.n when it is past the end. */
static size_t offset_of(sm_sv s, size_t i) {
    size_t at = 0;
    for (; i > 0 && at < s.n; i--)
        val_char(s, &at);
    return at;
}

sm_status tmpl_item(run *r, val a, val key, val *out) {
    *out = val_undefined(key.kind == VAL_STR ? key.u.s : SM_SV("item"));
    if (a.kind == VAL_UNDEFINED)
        return tmpl_fail(r, SM_BADINPUT, "%s is undefined", sm_quote(a.u.s.p, a.u.s.n));
    if (a.kind == VAL_DICT || a.kind == VAL_NAMESPACE) {
        const val *v = val_get(a.u.dict, key);
        if (v != NULL)
            *out = *v;
        else if (key.kind == VAL_STR)
            return tmpl_attr(r, a, key.u.s, out);
        return SM_OK;
    }
    if (key.kind == VAL_STR)
        return tmpl_attr(r, a, key.u.s, out);
    if (key.kind != VAL_INT && key.kind != VAL_BOOL)
        return SM_OK;
    int64_t i = as_int(key);
    if (val_is_seq(a)) {
        i += i < 0 ? (int64_t)a.u.list->n : 0;
        if (i >= 0 && (size_t)i < a.u.list->n)
            *out = a.u.list->v[i];
    } else if (a.kind == VAL_STR) {
        i += i < 0 ? (int64_t)val_str_len(a.u.s) : 0;
        size_t at = i >= 0 ? offset_of(a.u.s, (size_t)i) : a.u.s.n, end = at;
        if (at < a.u.s.n) {
            val_char(a.u.s, &end);
            *out = val_view((sm_sv){a.u.s.p + at, end - at});
        }
    }
    return SM_OK;
}

/* Python's slice bounds: negative ones count from the end, all are clamped. */
static int64_t clamp_bound(const val *v, int64_t n, int64_t low, int64_t high, int64_t absent) {
    if (v == NULL || v->kind == VAL_NONE)
        return absent;
    int64_t i = as_int(*v);
    if (i < 0)
        i = i < -n ? low : i + n;
    return i < low ? low : i > high ? high : i;
}

sm_status tmpl_slice(run *r, val a, const val *from, const val *to, const val *step, val *out) {
    const val *bounds[] = {from, to, step};
    for (int i = 0; i < 3; i++)
        if (bounds[i] != NULL && bounds[i]->kind != VAL_INT && bounds[i]->kind != VAL_BOOL &&
            bounds[i]->kind != VAL_NONE)
            return tmpl_fail(r, SM_BADINPUT, "slice with %s", val_type(*bounds[i]));
    int64_t by = step != NULL && step->kind != VAL_NONE ? as_int(*step) : 1;
    if (by == 0)
        return tmpl_fail(r, SM_BADINPUT, "slice with step 0");
    if (a.kind != VAL_STR && !val_is_seq(a)) {
        if (a.kind != VAL_UNDEFINED)
            *out = val_undefined(SM_SV("slice"));
        else
            return tmpl_fail(r, SM_BADINPUT, "%s is undefined", sm_quote(a.u.s.p, a.u.s.n));
        return SM_OK;
    }
    int64_t n = a.kind == VAL_STR ? (int64_t)val_str_len(a.u.s) : (int64_t)a.u.list->n;
    int64_t low = by > 0 ? 0 : -1, high = by > 0 ? n : n - 1;
    int64_t i = clamp_bound(from, n, low, high, by > 0 ? 0 : n - 1);
    int64_t end = clamp_bound(to, n, low, high, by > 0 ? n : -1);
    if (a.kind == VAL_STR && by == 1) {
        size_t p = offset_of(a.u.s, (size_t)i), q = end > i ? offset_of(a.u.s, (size_t)end) : p;
        *out = val_view((sm_sv){a.u.s.p + p, q - p});
        return SM_OK;
    }
    val list;
    val_list *items;
    SM_TRY(tmpl_iterate(r, a, &items));
    SM_TRY(val_list_new(r, a.kind == VAL_TUPLE ? VAL_TUPLE : VAL_LIST, &list));
    for (; by > 0 ? i < end : i > end; i += by) {
        SM_TRY(val_push(r, list.u.list, items->v[i]));
        if (by > n || by < -n)
            break;
    }
    *out = list;
    if (a.kind == VAL_STR) {
        sm_str s = SM_STR_INIT;
        for (size_t k = 0; k < list.u.list->n; k++)
            val_print(list.u.list->v[k], &s);
        return val_take_str(r, &s, out);
    }
    return SM_OK;
}

sm_status tmpl_iterate(run *r, val a, val_list **out) {
    val list;
    if (val_is_seq(a)) {
        *out = a.u.list;
        return SM_OK;
    }
    SM_TRY(val_list_new(r, VAL_LIST, &list));
    *out = list.u.list;
    if (a.kind == VAL_DICT) {
        for (size_t i = 0; i < a.u.dict->n; i++)
            SM_TRY(val_push(r, *out, a.u.dict->keys[i]));
    } else if (a.kind == VAL_STR) {
        for (size_t i = 0; i < a.u.s.n;) {
            size_t at = i;
            val_char(a.u.s, &i);
            SM_TRY(val_push(r, *out, val_view((sm_sv){a.u.s.p + at, i - at})));
        }
    } else if (a.kind != VAL_UNDEFINED) {
        return tmpl_fail(r, SM_BADINPUT, "%s cannot be gone through", val_type(a));
    }
    return SM_OK;
}
