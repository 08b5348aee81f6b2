/* SPDX-License-Identifier: MIT
 *
 * tmpl_eval.c: rendering: statements write text, expressions give values, scopes hold names.
 *
 * A loop's body runs in a scope of its own, made anew for each item, so that what it sets is gone after it (Jinja's
 * rule; namespace() is the way around).  if blocks have none.  Names are looked up from the innermost scope outwards,
 * then among the functions.
 *
 * Every node that is evaluated is one step; steps, output and memory are limited (template.h), so that a template from
 * a stranger's file ends.
 *
 * Owns the rendering's arena.  Threads: one per rendering.
 */
#include "text/template_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct scope {
    scope *outer;
    val_dict vars;
};

typedef enum flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE } flow;

static sm_status render_body(run *r, const node_list *body, flow *how);

sm_status tmpl_fail(run *r, sm_status code, const char *fmt, ...) {
    char what[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return SM_FAIL(r->err, code, "chat template, line %d: %s", r->line, what);
}

sm_status tmpl_nomem(run *r) {
    return SM_NOMEM(r->err);
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

static sm_status step(run *r, const node *n) {
    r->line = n->line;
    if (++r->steps > SM_TEMPLATE_STEPS)
        return tmpl_fail(r, SM_RESOURCE, "more than %d steps", (int)SM_TEMPLATE_STEPS);
    return SM_OK;
}

static sm_status check_output(run *r) {
    if (!sm_str_ok(r->out))
        return tmpl_nomem(r);
    if (r->out->n - r->out_start > SM_TEMPLATE_OUTPUT_BYTES)
        return tmpl_fail(r, SM_RESOURCE, "more than %d MiB of text", SM_TEMPLATE_OUTPUT_BYTES >> 20);
    return SM_OK;
}

/* ---- names --------------------------------------------------------------------------------------------------- */

static void lookup(const run *r, sm_sv name, val *out) {
    for (const scope *s = r->top; s != NULL; s = s->outer) {
        const val *v = val_get_z(&s->vars, name);
        if (v != NULL) {
            *out = *v;
            return;
        }
    }
    *out = tmpl_has_function(name) ? (val){.kind = VAL_FUNCTION, .u.s = name} : val_undefined(name);
}

static sm_status assign(run *r, const node *target, val v) {
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
        SM_TRY(assign(r, target->list.v[i], items->v[i]));
    return SM_OK;
}

/* ---- expressions --------------------------------------------------------------------------------------------- */

static sm_status eval_list(run *r, const node *e, val_kind kind, val *out) {
    SM_TRY(val_list_new(r, kind, out));
    for (size_t i = 0; i < e->list.n; i++) {
        val v;
        SM_TRY(tmpl_eval(r, e->list.v[i], &v));
        SM_TRY(val_push(r, out->u.list, v));
    }
    return SM_OK;
}

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

/* Values of e->list: positional, then named. */
static sm_status eval_args(run *r, const node *e, call_args *args) {
    val list;
    SM_TRY(eval_list(r, e, VAL_LIST, &list));
    *args = (call_args){list.u.list->v, list.u.list->n, e->names.v, e->names.n};
    r->line = e->line;
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

static sm_status eval_calls(run *r, const node *e, val *out) {
    val a;
    call_args args;
    bool yes;
    SM_TRY(tmpl_eval(r, e->a, &a));
    SM_TRY(eval_args(r, e, &args));
    switch (e->kind) {
    case NODE_CALL:
        return tmpl_call(r, a, &args, out);
    case NODE_FILTER:
        return tmpl_filter(r, e->text, a, &args, out);
    default:
        SM_TRY(tmpl_test(r, e->text, a, &args, &yes));
        *out = val_bool(yes);
        return SM_OK;
    }
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

sm_status tmpl_eval(run *r, const node *e, val *out) {
    val a, b;
    SM_TRY(step(r, e));
    switch (e->kind) {
    case NODE_CONST:
        *out = e->value;
        return SM_OK;
    case NODE_NAME:
        lookup(r, e->text, out);
        return SM_OK;
    case NODE_LIST:
    case NODE_TUPLE:
        return eval_list(r, e, e->kind == NODE_LIST ? VAL_LIST : VAL_TUPLE, out);
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
        return eval_calls(r, e, out);
    case NODE_NOT:
        SM_TRY(tmpl_eval(r, e->a, &a));
        *out = val_bool(!val_true(a));
        return SM_OK;
    case NODE_NEG:
        SM_TRY(tmpl_eval(r, e->a, &a));
        return tmpl_negate(r, a, out);
    case NODE_POS:
        return tmpl_eval(r, e->a, out);
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

/* ---- statements ---------------------------------------------------------------------------------------------- */

/* The items that pass the loop's own filter, for loop.length and loop.last count only those. */
static sm_status filter_items(run *r, const node *n, val_list **items) {
    val kept;
    SM_TRY(val_list_new(r, VAL_LIST, &kept));
    scope inner = {.outer = r->top}, *outer = r->top;
    r->top = &inner;
    sm_status st = SM_OK;
    for (size_t i = 0; i < (*items)->n && st == SM_OK; i++) {
        val yes;
        inner.vars = (val_dict){0};
        st = assign(r, n->a, (*items)->v[i]);
        if (st == SM_OK)
            st = tmpl_eval(r, n->c, &yes);
        if (st == SM_OK && val_true(yes))
            st = val_push(r, kept.u.list, (*items)->v[i]);
    }
    r->top = outer;
    *items = kept.u.list;
    return st;
}

static sm_status render_loop(run *r, const node *n, val_list *items) {
    val_loop *loop = tmpl_alloc(r, sizeof *loop);
    scope *inner = tmpl_alloc(r, sizeof *inner), *outer = r->top;
    flow how = FLOW_ON;
    sm_status st = SM_OK;
    if (loop == NULL || inner == NULL)
        return SM_RESOURCE;
    *loop = (val_loop){items, 0, val_undefined(SM_SV("changed"))};
    inner->outer = outer;
    r->top = inner;
    for (; loop->at < items->n && st == SM_OK && how != FLOW_BREAK; loop->at++) {
        inner->vars.n = 0;
        how = FLOW_ON;
        SM_TRY_DONE(step(r, n));
        SM_TRY_DONE(assign(r, n->a, items->v[loop->at]));
        SM_TRY_DONE(val_put(r, &inner->vars, val_view(SM_SV("loop")), (val){.kind = VAL_LOOP, .u.loop = loop}));
        st = render_body(r, &n->body, &how);
    }
done:
    r->top = outer;
    return st;
}

static sm_status render_for(run *r, const node *n, flow *how) {
    val v;
    val_list *items;
    SM_TRY(tmpl_eval(r, n->b, &v));
    r->line = n->line;
    SM_TRY(tmpl_iterate(r, v, &items));
    if (n->c != NULL)
        SM_TRY(filter_items(r, n, &items));
    return items->n > 0 ? render_loop(r, n, items) : render_body(r, &n->other, how);
}

/* {% set x %}text{% endset %}: the body's text, through the filters that stand after the name. */
static sm_status apply_filters(run *r, const node *chain, val text, val *out) {
    call_args args;
    val in;
    if (chain->kind != NODE_FILTER) {
        *out = text;
        return SM_OK;
    }
    SM_TRY(apply_filters(r, chain->a, text, &in));
    SM_TRY(step(r, chain));
    SM_TRY(eval_args(r, chain, &args));
    return tmpl_filter(r, chain->text, in, &args, out);
}

static sm_status render_set_block(run *r, const node *n, flow *how) {
    sm_str text = SM_STR_INIT, *out = r->out;
    size_t start = r->out_start;
    scope inner = {.outer = r->top}, *outer = r->top;
    val v;
    r->out = &text;
    r->out_start = 0;
    r->top = &inner;
    sm_status st = render_body(r, &n->body, how);
    r->out = out;
    r->out_start = start;
    r->top = outer;
    if (st == SM_OK)
        st = val_take_str(r, &text, &v);
    sm_str_free(&text);
    SM_TRY(st);
    SM_TRY(apply_filters(r, n->b, v, &v));
    return assign(r, n->a, v);
}

static sm_status render(run *r, const node *n, flow *how) {
    val v;
    SM_TRY(step(r, n));
    switch (n->kind) {
    case NODE_DATA:
        sm_str_add(r->out, n->text.p, n->text.n);
        return check_output(r);
    case NODE_PRINT:
        SM_TRY(tmpl_eval(r, n->a, &v));
        val_print(v, r->out);
        return check_output(r);
    case NODE_IF:
        SM_TRY(tmpl_eval(r, n->a, &v));
        return render_body(r, val_true(v) ? &n->body : &n->other, how);
    case NODE_FOR:
        return render_for(r, n, how);
    case NODE_SET:
        SM_TRY(tmpl_eval(r, n->b, &v));
        r->line = n->line;
        return assign(r, n->a, v);
    case NODE_SET_BLOCK:
        return render_set_block(r, n, how);
    case NODE_BODY:
        return render_body(r, &n->body, how);
    case NODE_BREAK:
    case NODE_CONTINUE:
        *how = n->kind == NODE_BREAK ? FLOW_BREAK : FLOW_CONTINUE;
        return SM_OK;
    default:
        return tmpl_eval(r, n, &v);
    }
}

static sm_status render_body(run *r, const node_list *body, flow *how) {
    for (size_t i = 0; i < body->n && *how == FLOW_ON; i++)
        SM_TRY(render(r, body->v[i], how));
    return SM_OK;
}

/* ---- doors --------------------------------------------------------------------------------------------------- */

sm_status sm_template_parse(sm_sv text, sm_template **out, sm_err *err) {
    tok_list toks = {0};
    sm_status st = SM_OK;
    *out = NULL;
    if (text.n > SM_TEMPLATE_SOURCE_BYTES)
        return SM_FAIL(err, SM_RESOURCE, "chat template of %zu bytes: at most %d", text.n,
                       (int)SM_TEMPLATE_SOURCE_BYTES);
    sm_template *t = sm_alloc(sizeof *t);
    if (t == NULL)
        return SM_NOMEM(err);
    t->arena = sm_arena_new();
    if (t->arena == NULL) {
        st = SM_NOMEM(err);
        goto done;
    }
    SM_TRY_DONE(tmpl_lex(t->arena, text, &toks, err));
    SM_TRY_DONE(tmpl_parse(t->arena, &toks, &t->root, err));
    *out = t;
    t = NULL;
done:
    sm_free(toks.v);
    sm_template_free(&t);
    return st;
}

void sm_template_free(sm_template **t) {
    if (*t == NULL)
        return;
    sm_arena_free(&(*t)->arena);
    sm_free(*t);
    *t = NULL;
}

sm_status sm_template_render(const sm_template *t, const json_t *context, sm_str *out, sm_err *err) {
    run r = {.out = out, .out_start = out->n, .line = 1, .err = err};
    scope globals = {0};
    flow how = FLOW_ON;
    val v;
    if (!json_is_object(context))
        return SM_FAIL(err, SM_USAGE, "chat template: the context is not an object");
    r.arena = sm_arena_new();
    if (r.arena == NULL)
        return SM_NOMEM(err);
    sm_status st = val_from_json(&r, context, 0, &v);
    if (st == SM_OK) {
        globals.vars = *v.u.dict;
        r.top = &globals;
        st = render_body(&r, &t->root->body, &how);
    }
    sm_arena_free(&r.arena);
    return st;
}
