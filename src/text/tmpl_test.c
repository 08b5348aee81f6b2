/* SPDX-License-Identifier: MIT
 *
 * tmpl_test.c: tests (x is name) of chat templates.
 *
 * They are known when a template is parsed: one that is not here is refused then, not in the middle of a chat.
 */
#include "text/template_int.h"

#include <math.h>

typedef sm_status test_fn(run *r, sm_sv name, val in, const val *arg, bool *out);

static sm_status test_kind(run *r, sm_sv name, val in, const val *arg, bool *out) {
    (void)r;
    (void)arg;
    bool none = in.kind == VAL_NONE, bools = in.kind == VAL_BOOL;
    const struct {
        const char *name;
        bool yes;
    } kinds[] = {
        {"defined", in.kind != VAL_UNDEFINED},
        {"undefined", in.kind == VAL_UNDEFINED},
        {"none", none},
        {"boolean", bools},
        {"true", bools && in.u.b},
        {"false", bools && !in.u.b},
        {"integer", in.kind == VAL_INT},
        {"float", in.kind == VAL_FLOAT},
        {"number", val_is_number(in)},
        {"string", in.kind == VAL_STR},
        {"mapping", in.kind == VAL_DICT},
        {"escaped", in.kind == VAL_STR && in.safe},
        {"sequence", in.kind == VAL_STR || val_is_seq(in) || in.kind == VAL_RANGE || in.kind == VAL_DICT ||
                         in.kind == VAL_UNDEFINED},
        {"iterable", in.kind == VAL_STR || val_is_listed(in) || in.kind == VAL_DICT || in.kind == VAL_UNDEFINED ||
                         in.kind == VAL_LOOP},
        {"callable", in.kind == VAL_FUNCTION || in.kind == VAL_METHOD || in.kind == VAL_MACRO || in.kind == VAL_LOOP ||
                         in.kind == VAL_JOINER || in.kind == VAL_UNDEFINED},
    };
    *out = false;
    for (size_t i = 0; i < SM_ARRAY_LEN(kinds); i++)
        if (sm_sv_is(name, kinds[i].name))
            *out = kinds[i].yes;
    return SM_OK;
}

static sm_status test_operator(run *r, sm_sv name, val in, const val *arg, bool *out) {
    static const struct {
        const char *name, *op;
    } ops[] = {{"==", "=="}, {"eq", "=="},      {"equalto", "=="},    {"!=", "!="}, {"ne", "!="}, {"<", "<"},
               {"lt", "<"},  {"lessthan", "<"}, {"<=", "<="},         {"le", "<="}, {">", ">"},   {"gt", ">"},
               {">=", ">="}, {"ge", ">="},      {"greaterthan", ">"}, {"in", "in"}};
    val v = val_bool(false);
    for (size_t i = 0; i < SM_ARRAY_LEN(ops); i++)
        if (sm_sv_is(name, ops[i].name))
            SM_TRY(tmpl_binary(r, sm_sv_of(ops[i].op), in, *arg, &v));
    *out = val_true(v);
    return SM_OK;
}

static sm_status test_same(run *r, sm_sv name, val in, const val *arg, bool *out) {
    (void)name;
    *out = val_same(r, in, *arg);
    return tmpl_check(r);
}

static sm_status test_number(run *r, sm_sv name, val in, const val *arg, bool *out) {
    val rest;
    SM_TRY(tmpl_binary(r, SM_SV("%"), in, arg != NULL ? *arg : val_int(2), &rest));
    *out = val_equal(r, rest, val_int(name.p[0] == 'o'));
    return SM_OK;
}

static sm_status test_case(run *r, sm_sv name, val in, const val *arg, bool *out) {
    val v;
    sm_sv text;
    (void)arg;
    SM_TRY(val_text(r, in, &text));
    SM_TRY(
        tmpl_call_str(r, val_view(text), name.p[0] == 'u' ? SM_SV("isupper") : SM_SV("islower"), &(call_args){0}, &v));
    *out = v.u.b;
    return SM_OK;
}

static sm_status test_known(run *r, sm_sv name, val in, const val *arg, bool *out) {
    (void)arg;
    SM_TRY(val_hashable(r, in));
    *out = in.kind == VAL_STR && (name.p[0] == 'f' ? tmpl_has_filter(in.u.s) : tmpl_has_test(in.u.s));
    return SM_OK;
}

static const struct {
    const char *name, *params;
    test_fn *test;
} tests[] = {
    {"defined", "", test_kind},
    {"undefined", "", test_kind},
    {"none", "", test_kind},
    {"boolean", "", test_kind},
    {"true", "", test_kind},
    {"false", "", test_kind},
    {"integer", "", test_kind},
    {"float", "", test_kind},
    {"number", "", test_kind},
    {"string", "", test_kind},
    {"mapping", "", test_kind},
    {"escaped", "", test_kind},
    {"sequence", "", test_kind},
    {"iterable", "", test_kind},
    {"callable", "", test_kind},
    {"==", "b /", test_operator},
    {"eq", "b /", test_operator},
    {"equalto", "b /", test_operator},
    {"!=", "b /", test_operator},
    {"ne", "b /", test_operator},
    {"<", "b /", test_operator},
    {"lt", "b /", test_operator},
    {"lessthan", "b /", test_operator},
    {"<=", "b /", test_operator},
    {"le", "b /", test_operator},
    {">", "b /", test_operator},
    {"gt", "b /", test_operator},
    {"greaterthan", "b /", test_operator},
    {">=", "b /", test_operator},
    {"ge", "b /", test_operator},
    {"in", "seq", test_operator},
    {"sameas", "other", test_same},
    {"odd", "", test_number},
    {"even", "", test_number},
    {"divisibleby", "num", test_number},
    {"upper", "", test_case},
    {"lower", "", test_case},
    {"filter", "", test_known},
    {"test", "", test_known},
};

bool tmpl_has_test(sm_sv name) {
    for (size_t i = 0; i < SM_ARRAY_LEN(tests); i++)
        if (sm_sv_is(name, tests[i].name))
            return true;
    return false;
}

sm_status tmpl_test(run *r, sm_sv name, val in, const call_args *a, bool *out) {
    const val *slots[TMPL_MAX_PARAMS] = {NULL};
    for (size_t i = 0; i < SM_ARRAY_LEN(tests); i++)
        if (sm_sv_is(name, tests[i].name)) {
            SM_TRY(tmpl_bind(r, name, tests[i].params, a, slots));
            return tests[i].test(r, name, in, slots[0], out);
        }
    return tmpl_fail(r, SM_UNSUPPORTED, "test %s is not supported", sm_quote(name.p, name.n));
}
