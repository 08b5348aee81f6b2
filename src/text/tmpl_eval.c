/* SPDX-License-Identifier: MIT
 *
 * tmpl_eval.c: rendering: expressions give values, scopes hold names.
 *
 * Names are looked up from the innermost scope outwards, then among the functions.  Scopes are nested as the template's
 * blocks are, not as calls are: a macro sees what is around it, not around its caller.
 *
 * Every node that is evaluated is one step, and so are some bytes and items that one of them goes through; steps,
 * output, memory and depth are limited (template.h), so that a template from a stranger's file ends.
 *
 * Threads: one per rendering.
 */
#include "text/template_int.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/number.h"

/* ---- limits -------------------------------------------------------------------------------------------------- */

enum { BYTES_PER_STEP = 64 };

sm_status tmpl_fail(run *r, sm_status code, const char *fmt, ...) {
    char what[640];
    va_list ap;
    va_start(ap, fmt);
    sm_vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    SM_FAIL(r->err, code, "chat template, line %d: %s", r->line, what);
    if (code == SM_RESOURCE)
        sm_err_hint(r->err, "no model reads that much: give another template (--chat-template FILE), or none (--raw)");
    return code;
}

sm_status tmpl_nomem(run *r) {
    return SM_NOMEM(r->err);
}

sm_status tmpl_undefined(run *r, val v) {
    return tmpl_fail(r, SM_BADINPUT, "%s is undefined", sm_quote(v.u.s.p, v.u.s.n));
}

void *tmpl_alloc(run *r, size_t n) {
    if (n > SM_TEMPLATE_WORK_BYTES || sm_arena_bytes(r->arena) > SM_TEMPLATE_WORK_BYTES - n) {
        tmpl_fail(r, SM_RESOURCE, "values of more than %d MiB", SM_TEMPLATE_WORK_BYTES >> 20);
        return NULL;
    }
    void *p = sm_arena_alloc(r->arena, n);
    if (p == NULL)
        tmpl_nomem(r);
    return p;
}

void tmpl_charge(run *r, size_t n) {
    r->work += n;
}

bool tmpl_spent(const run *r) {
    return r->flooded || (uint64_t)r->steps + r->work / BYTES_PER_STEP > SM_TEMPLATE_STEPS;
}

bool tmpl_room(run *r, const sm_str *s) {
    r->flooded = r->flooded || s->n > SM_TEMPLATE_WORK_BYTES;
    return !r->flooded;
}

sm_status tmpl_check(run *r) {
    if (r->flooded)
        return tmpl_fail(r, SM_RESOURCE, "values of more than %d MiB, or nested too deep",
                         SM_TEMPLATE_WORK_BYTES >> 20);
    if (tmpl_spent(r))
        return tmpl_fail(r, SM_RESOURCE, "more than %d steps", (int)SM_TEMPLATE_STEPS);
    return SM_OK;
}

sm_status tmpl_enter(run *r) {
    if (++r->depth > SM_TEMPLATE_EVAL_DEPTH)
        return tmpl_fail(r, SM_RESOURCE, "nested deeper than %d", (int)SM_TEMPLATE_EVAL_DEPTH);
    return SM_OK;
}

sm_status tmpl_step(run *r, const node *n) {
    r->line = n->line;
    r->steps++;
    return tmpl_spent(r) ? tmpl_check(r) : SM_OK;
}

/* ---- names --------------------------------------------------------------------------------------------------- */

sm_status tmpl_scope_new(run *r, scope *outer, scope **out) {
    *out = tmpl_alloc(r, sizeof **out);
    if (*out == NULL)
        return SM_RESOURCE;
    (*out)->outer = outer;
    return SM_OK;
}

static void lookup(run *r, sm_sv name, val *out) {
    for (const scope *s = r->top; s != NULL; s = s->outer) {
        const val *v = val_get(r, &s->vars, val_view(name));
        if (v != NULL) {
            *out = *v;
            return;
        }
    }
    *out = tmpl_has_function(name) ? (val){.kind = VAL_FUNCTION, .u.s = name} : val_undefined(name);
}

sm_status tmpl_assign(run *r, const node *target, val v) {
    if (target->kind == NODE_NAME)
        return val_put(r, &r->top->vars, val_view(target->text), v);
    if (target->kind == NODE_ATTR) {
        val ns;
        lookup(r, target->a->text, &ns);
        if (ns.kind != VAL_NAMESPACE)
            return tmpl_fail(r, SM_BADINPUT, "cannot set a member of %s: wanted a namespace", val_type(ns));
        return val_put(r, ns.u.dict, val_view(target->text), v);
    }
    val_list *items;
    SM_TRY(tmpl_iterate(r, v, &items));
    if (items->n != target->list.n)
        return tmpl_fail(r, SM_BADINPUT, "%zu names to set, %zu values", target->list.n, items->n);
    for (size_t i = 0; i < items->n; i++)
        SM_TRY(tmpl_assign(r, target->list.v[i], items->v[i]));
    return SM_OK;
}

/* ---- calls --------------------------------------------------------------------------------------------------- */

static sm_status eval_list(run *r, const node *e, size_t n, val_kind kind, val *out) {
    SM_TRY(val_list_new(r, kind, out));
    for (size_t i = 0; i < n; i++) {
        val v;
        SM_TRY(tmpl_eval(r, e->list.v[i], &v));
        SM_TRY(val_push(r, out->u.list, v));
    }
    return SM_OK;
}

static sm_status unpack_list(run *r, const node *e, val_list *to) {
    val v;
    val_list *items;
    SM_TRY(tmpl_eval(r, e, &v));
    SM_TRY(tmpl_iterate(r, v, &items));
    for (size_t i = 0; i < items->n; i++)
        SM_TRY(val_push(r, to, items->v[i]));
    return SM_OK;
}

/* names: those of the call so far, copied; grows by the dict's keys. */
static sm_status unpack_dict(run *r, const node *e, val_list *to, call_args *args, size_t n_names) {
    val v;
    SM_TRY(tmpl_eval(r, e, &v));
    if (v.kind != VAL_DICT)
        return tmpl_fail(r, SM_BADINPUT, "argument after ** is not a dict but %s", val_type(v));
    sm_sv *names = tmpl_alloc(r, (n_names + v.u.dict->n) * sizeof *names);
    if (names == NULL)
        return SM_RESOURCE;
    for (size_t i = 0; i < n_names; i++)
        names[i] = args->names[i];
    for (size_t i = 0; i < v.u.dict->n; i++) {
        if (v.u.dict->keys[i].kind != VAL_STR)
            return tmpl_fail(r, SM_BADINPUT, "names of arguments must be strings");
        names[n_names + i] = v.u.dict->keys[i].u.s;
        SM_TRY(val_push(r, to, v.u.dict->values[i]));
    }
    args->names = names;
    args->n_names = n_names + v.u.dict->n;
    return SM_OK;
}

sm_status tmpl_eval_args(run *r, const node *e, call_args *args) {
    val list, v;
    size_t n_named = e->names.n, n_plain = e->list.n - n_named;
    *args = (call_args){.names = e->names.v, .n_names = n_named};
    SM_TRY(eval_list(r, e, n_plain, VAL_LIST, &list));
    if (e->c != NULL)
        SM_TRY(unpack_list(r, e->c, list.u.list));
    for (size_t i = n_plain; i < e->list.n; i++) {
        SM_TRY(tmpl_eval(r, e->list.v[i], &v));
        SM_TRY(val_push(r, list.u.list, v));
    }
    if (e->d != NULL)
        SM_TRY(unpack_dict(r, e->d, list.u.list, args, n_named));
    for (size_t i = 0; i < args->n_names; i++)
        for (size_t k = 0; k < i; k++)
            if (sm_sv_eq(args->names[i], args->names[k]))
                return tmpl_fail(r, SM_BADINPUT, "argument %s given twice",
                                 sm_quote(args->names[i].p, args->names[i].n));
    args->v = list.u.list->v;
    args->n = list.u.list->n;
    r->line = e->line;
    return SM_OK;
}

static sm_status eval_call(run *r, const node *e, val *out) {
    val a;
    call_args args;
    bool yes;
    SM_TRY(tmpl_eval(r, e->a, &a));
    SM_TRY(tmpl_eval_args(r, e, &args));
    if (e->kind == NODE_CALL)
        return tmpl_call(r, a, &args, out);
    if (e->kind == NODE_FILTER)
        return tmpl_filter(r, e->text, a, &args, out);
    SM_TRY(tmpl_test(r, e->text, a, &args, &yes));
    *out = val_bool(yes);
    return SM_OK;
}

/* Filters on a text that is not in the template: `chain` ends in a constant that stands for it. */
sm_status tmpl_apply_filters(run *r, const node *chain, val text, val *out) {
    call_args args;
    val in;
    if (chain->kind != NODE_FILTER) {
        *out = text;
        return SM_OK;
    }
    SM_TRY(tmpl_apply_filters(r, chain->a, text, &in));
    SM_TRY(tmpl_step(r, chain));
    SM_TRY(tmpl_eval_args(r, chain, &args));
    return tmpl_filter(r, chain->text, in, &args, out);
}

/* ---- expressions --------------------------------------------------------------------------------------------- */

static sm_status eval_dict(run *r, const node *e, val *out) {
    SM_TRY(val_dict_new(r, VAL_DICT, out));
    for (size_t i = 0; i < e->list.n; i += 2) {
        val k, v;
        SM_TRY(tmpl_eval(r, e->list.v[i], &k));
        SM_TRY(tmpl_eval(r, e->list.v[i + 1], &v));
        SM_TRY(val_put(r, out->u.dict, k, v));
    }
    return SM_OK;
}

static sm_status eval_slice(run *r, const node *e, val *out) {
    val a, v[3];
    const node *bounds[] = {e->b, e->c, e->d};
    SM_TRY(tmpl_eval(r, e->a, &a));
    for (int i = 0; i < 3; i++)
        if (bounds[i] != NULL)
            SM_TRY(tmpl_eval(r, bounds[i], &v[i]));
    r->line = e->line;
    return tmpl_slice(r, a, e->b ? &v[0] : NULL, e->c ? &v[1] : NULL, e->d ? &v[2] : NULL, out);
}

static sm_status eval_two(run *r, const node *e, val *a, val *b) {
    SM_TRY(tmpl_eval(r, e->a, a));
    SM_TRY(tmpl_eval(r, e->b, b));
    r->line = e->line;
    return SM_OK;
}

/* a < b < c: up to the first that does not hold. */
static sm_status eval_compare(run *r, const node *e, val *out) {
    val a, b;
    SM_TRY(tmpl_eval(r, e->list.v[0], &a));
    for (size_t i = 0; i < e->names.n; i++) {
        SM_TRY(tmpl_eval(r, e->list.v[i + 1], &b));
        r->line = e->line;
        SM_TRY(tmpl_binary(r, e->names.v[i], a, b, out));
        if (!val_true(*out))
            break;
        a = b;
    }
    return SM_OK;
}

/* and, or, a if b else c: what is not needed is not evaluated. */
static sm_status eval_choice(run *r, const node *e, val *out) {
    val v;
    if (e->kind == NODE_COND) {
        SM_TRY(tmpl_eval(r, e->b, &v));
        *out = val_undefined(SM_SV("value"));
        if (val_true(v))
            return tmpl_eval(r, e->a, out);
        return e->c != NULL ? tmpl_eval(r, e->c, out) : SM_OK;
    }
    SM_TRY(tmpl_eval(r, e->a, out));
    if (val_true(*out) == (e->kind == NODE_AND))
        return tmpl_eval(r, e->b, out);
    return SM_OK;
}

static sm_status eval_unary(run *r, const node *e, val *out) {
    val a;
    SM_TRY(tmpl_eval(r, e->a, &a));
    r->line = e->line;
    if (e->kind == NODE_NOT) {
        *out = val_bool(!val_true(a));
        return SM_OK;
    }
    if (e->kind == NODE_NEG)
        return tmpl_negate(r, a, out);
    if (!val_is_number(a))
        return a.kind == VAL_UNDEFINED ? tmpl_undefined(r, a)
                                       : tmpl_fail(r, SM_BADINPUT, "'+' does not go with %s", val_type(a));
    *out = a.kind == VAL_BOOL ? val_int(a.u.b) : a;
    return SM_OK;
}

static sm_status eval_node(run *r, const node *e, val *out) {
    val a, b;
    switch (e->kind) {
    case NODE_CONST:
        *out = e->value;
        return SM_OK;
    case NODE_NAME:
        lookup(r, e->text, out);
        return SM_OK;
    case NODE_LIST:
    case NODE_TUPLE:
        return eval_list(r, e, e->list.n, e->kind == NODE_LIST ? VAL_LIST : VAL_TUPLE, out);
    case NODE_DICT:
        return eval_dict(r, e, out);
    case NODE_ATTR:
        SM_TRY(tmpl_eval(r, e->a, &a));
        r->line = e->line;
        return tmpl_attr(r, a, e->text, out);
    case NODE_ITEM:
        SM_TRY(eval_two(r, e, &a, &b));
        return tmpl_item(r, a, b, out);
    case NODE_SLICE:
        return eval_slice(r, e, out);
    case NODE_CALL:
    case NODE_FILTER:
    case NODE_TEST:
        return eval_call(r, e, out);
    case NODE_COMPARE:
        return eval_compare(r, e, out);
    case NODE_NOT:
    case NODE_NEG:
    case NODE_POS:
        return eval_unary(r, e, out);
    case NODE_BINARY:
        SM_TRY(eval_two(r, e, &a, &b));
        return tmpl_binary(r, e->text, a, b, out);
    case NODE_AND:
    case NODE_OR:
    case NODE_COND:
        return eval_choice(r, e, out);
    default:
        return tmpl_fail(r, SM_BADINPUT, "a statement where a value is wanted");
    }
}

sm_status tmpl_eval(run *r, const node *e, val *out) {
    SM_TRY(tmpl_step(r, e));
    SM_TRY(tmpl_enter(r));
    SM_TRY(eval_node(r, e, out));
    r->depth--;
    return SM_OK;
}
