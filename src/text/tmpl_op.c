/* SPDX-License-Identifier: MIT
 *
 * tmpl_op.c: operators of template values, as Python has them.
 *
 * An operation on types that do not go together fails with both named; so does one that Python would do with integers
 * of more than 64 bits.
 */
#include "text/template_int.h"

#include <math.h>
#include <string.h>

static sm_status mismatch(run *r, sm_sv op, val a, val b) {
    for (int i = 0; i < 2; i++) {
        val v = i ? b : a;
        if (v.kind == VAL_UNDEFINED)
            return tmpl_undefined(r, v);
    }
    return tmpl_fail(r, SM_BADINPUT, "'%.*s' does not go with %s and %s", (int)op.n, op.p, val_type(a), val_type(b));
}

/* ---- arithmetic ---------------------------------------------------------------------------------------------- */

static sm_status int_power(run *r, int64_t a, int64_t b, val *out) {
    int64_t x = 1;
    if (b < 0 && a == 0)
        return tmpl_fail(r, SM_BADINPUT, "0 to a negative power");
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
        if (a == 0 && b < 0)
            return tmpl_fail(r, SM_BADINPUT, "0 to a negative power");
        if (isinf(x) && !isinf(a) && !isinf(b))
            return tmpl_fail(r, SM_BADINPUT, "the power is too large");
        if (isnan(x) && !isnan(a) && !isnan(b))
            return tmpl_fail(r, SM_UNSUPPORTED, "complex numbers are not supported");
    } else if (b == 0) {
        return tmpl_fail(r, SM_BADINPUT, "division by zero");
    } else if (sm_sv_is(op, "/")) {
        x = a / b;
    } else { /* rounds down, and the remainder has the divisor's sign */
        double rest = fmod(a, b), whole = (a - rest) / b;
        if (rest != 0 && (rest < 0) != (b < 0)) {
            rest += b;
            whole -= 1;
        } else if (rest == 0) {
            rest = copysign(0, b);
        }
        x = !sm_sv_is(op, "//")          ? rest
            : whole == 0                 ? copysign(0, a / b)
            : whole - floor(whole) > 0.5 ? floor(whole) + 1
                                         : floor(whole);
    }
    *out = val_float(x);
    return SM_OK;
}

static sm_status repeat(run *r, val a, int64_t times, val *out) {
    if (a.kind == VAL_STR) {
        size_t n;
        if (times <= 0 || a.u.s.n == 0) {
            *out = val_view(SM_SV(""));
            out->safe = a.safe;
            return SM_OK;
        }
        if (!sm_mul_ok(a.u.s.n, (size_t)times, &n) || n > SM_TEMPLATE_WORK_BYTES)
            return tmpl_fail(r, SM_RESOURCE, "string repeated %lld times is too long", (long long)times);
        char *p = tmpl_alloc(r, n + 1);
        if (p == NULL)
            return SM_RESOURCE;
        for (size_t i = 0; i < n; i += a.u.s.n)
            memcpy(p + i, a.u.s.p, a.u.s.n);
        tmpl_charge(r, n);
        *out = val_view((sm_sv){p, n});
        out->safe = a.safe;
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
    sm_sv x, y;
    SM_TRY(val_text(r, a, &x));
    SM_TRY(val_text(r, b, &y));
    return val_join(r, x, y, out);
}

static sm_status escaped(run *r, val v, sm_sv *out) {
    sm_str s = SM_STR_INIT;
    *out = v.u.s;
    if (v.safe)
        return SM_OK;
    val_escape(v.u.s, &s);
    SM_TRY(val_take_str(r, &s, &v));
    *out = v.u.s;
    return SM_OK;
}

/* Of two strings; one that is safe makes the other so. */
static sm_status add_strings(run *r, val a, val b, val *out) {
    sm_sv x = a.u.s, y = b.u.s;
    bool safe = a.safe || b.safe;
    if (safe) {
        SM_TRY(escaped(r, a, &x));
        SM_TRY(escaped(r, b, &y));
    }
    SM_TRY(val_join(r, x, y, out));
    out->safe = safe;
    return SM_OK;
}

static sm_status arithmetic(run *r, sm_sv op, val a, val b, val *out) {
    bool plus = sm_sv_is(op, "+"), times = sm_sv_is(op, "*");
    if (val_is_number(a) && val_is_number(b)) {
        if (a.kind != VAL_FLOAT && b.kind != VAL_FLOAT)
            return int_binary(r, op, val_as_int(a), val_as_int(b), out);
        return float_binary(r, op, val_number(a), val_number(b), out);
    }
    if (plus && a.kind == VAL_STR && b.kind == VAL_STR)
        return add_strings(r, a, b, out);
    if (plus && val_is_seq(a) && a.kind == b.kind)
        return join_lists(r, a, b, out);
    if (times && (a.kind == VAL_STR || val_is_seq(a)) && (b.kind == VAL_INT || b.kind == VAL_BOOL))
        return repeat(r, a, val_as_int(b), out);
    if (times && (b.kind == VAL_STR || val_is_seq(b)) && (a.kind == VAL_INT || a.kind == VAL_BOOL))
        return repeat(r, b, val_as_int(a), out);
    if (a.kind == VAL_STR && sm_sv_is(op, "%"))
        return tmpl_percent(r, a, b, out);
    return mismatch(r, op, a, b);
}

sm_status tmpl_negate(run *r, val a, val *out) {
    if (a.kind == VAL_FLOAT)
        *out = val_float(-a.u.f);
    else if (a.kind == VAL_UNDEFINED)
        return tmpl_undefined(r, a);
    else if (!val_is_number(a))
        return tmpl_fail(r, SM_BADINPUT, "'-' does not go with %s", val_type(a));
    else if (val_as_int(a) == INT64_MIN)
        return tmpl_fail(r, SM_UNSUPPORTED, "integer of more than 64 bits");
    else
        *out = val_int(-val_as_int(a));
    return SM_OK;
}

/* ---- comparing ----------------------------------------------------------------------------------------------- */

sm_status tmpl_compare(run *r, val a, val b, int *out) {
    if (val_is_number(a) && val_is_number(b)) {
        double x = val_number(a), y = val_number(b);
        bool ints = a.kind != VAL_FLOAT && b.kind != VAL_FLOAT;
        *out = ints ? (val_as_int(a) > val_as_int(b)) - (val_as_int(a) < val_as_int(b)) : (x > y) - (x < y);
        return SM_OK;
    }
    if (a.kind == VAL_STR && b.kind == VAL_STR) {
        tmpl_charge(r, SM_MIN(a.u.s.n, b.u.s.n));
        *out = val_str_compare(a.u.s, b.u.s);
        return SM_OK;
    }
    if (val_is_seq(a) && a.kind == b.kind) {
        for (size_t i = 0; i < a.u.list->n && i < b.u.list->n; i++)
            if (!val_equal(r, a.u.list->v[i], b.u.list->v[i])) {
                SM_TRY(tmpl_enter(r));
                SM_TRY(tmpl_compare(r, a.u.list->v[i], b.u.list->v[i], out));
                r->depth--;
                return SM_OK;
            }
        *out = (a.u.list->n > b.u.list->n) - (a.u.list->n < b.u.list->n);
        return SM_OK;
    }
    return mismatch(r, SM_SV("<"), a, b);
}

static sm_status in_list(run *r, val item, val in, bool *out) {
    val_list *l = in.u.list;
    size_t i = in.kind == VAL_GEN ? l->at : 0;
    for (; i < l->n && !*out; i++)
        *out = val_same(r, l->v[i], item) || val_equal(r, l->v[i], item);
    if (in.kind == VAL_GEN) /* looking uses it up */
        l->at = i;
    return tmpl_check(r);
}

sm_status tmpl_contains(run *r, val item, val in, bool *out) {
    *out = false;
    if (in.kind == VAL_STR && item.kind == VAL_STR) {
        tmpl_charge(r, in.u.s.n);
        *out = item.u.s.n == 0 || memmem(in.u.s.p, in.u.s.n, item.u.s.p, item.u.s.n) != NULL;
        return SM_OK;
    }
    if (val_is_listed(in))
        return in_list(r, item, in, out);
    if (in.kind == VAL_DICT) {
        SM_TRY(val_hashable(r, item));
        *out = val_get(r, in.u.dict, item) != NULL;
        return tmpl_check(r);
    }
    if (in.kind != VAL_UNDEFINED) /* Jinja's undefined is empty */
        return mismatch(r, SM_SV("in"), item, in);
    return SM_OK;
}

sm_status tmpl_binary(run *r, sm_sv op, val a, val b, val *out) {
    bool yes;
    int order;
    if (sm_sv_is(op, "==") || sm_sv_is(op, "!=")) {
        *out = val_bool(val_equal(r, a, b) == sm_sv_is(op, "=="));
        return tmpl_check(r);
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
    SM_TRY(tmpl_check(r));
    bool strict = op.n == 1;
    *out = val_bool(op.p[0] == '<' ? (strict ? order < 0 : order <= 0) : (strict ? order > 0 : order >= 0));
    if (val_is_number(a) && val_is_number(b) && (isnan(val_number(a)) || isnan(val_number(b))))
        *out = val_bool(false);
    return SM_OK;
}
