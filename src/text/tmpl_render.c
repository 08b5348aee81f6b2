/* SPDX-License-Identifier: MIT
 *
 * tmpl_render.c: rendering: statements write text; the doors of the engine.
 *
 * A loop's body runs in a scope of its own, emptied for each item, so that what it sets is gone after it (Jinja's rule;
 * namespace() is the way around); macros, with, filter and set blocks have scopes too, if blocks have none.  What runs
 * inside a macro or block writes into a buffer that becomes a value.
 *
 * Owns the rendering's arena.  Threads: one per rendering.
 */
#include "text/template_int.h"

#include <sys/time.h>

typedef enum flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE } flow;

static sm_status render_body(run *r, const node_list *body, flow *how);

static sm_status check_output(run *r) {
    if (!sm_str_ok(r->out))
        return tmpl_nomem(r);
    if (r->out->n - r->out_start + r->buffered > SM_TEMPLATE_OUTPUT_BYTES)
        return tmpl_fail(r, SM_RESOURCE, "more than %d MiB of text", SM_TEMPLATE_OUTPUT_BYTES >> 20);
    return tmpl_spent(r) ? tmpl_check(r) : SM_OK;
}

/* ---- buffers ------------------------------------------------------------------------------------------------- */

typedef struct buffer {
    sm_str text, *out;
    size_t out_start, buffered;
    scope *top;
} buffer;

/* From here on text goes into b and names into `inner`, until buffer_end. */
static void buffer_begin(run *r, buffer *b, scope *inner) {
    *b = (buffer){.out = r->out, .out_start = r->out_start, .buffered = r->buffered, .top = r->top};
    r->buffered += r->out->n - r->out_start;
    r->out = &b->text;
    r->out_start = 0;
    r->top = inner;
}

/* st: how it went; the text is made a value only if it went well. */
static sm_status buffer_end(run *r, buffer *b, sm_status st, val *out) {
    r->out = b->out;
    r->out_start = b->out_start;
    r->buffered = b->buffered;
    r->top = b->top;
    if (st == SM_OK)
        st = val_take_str(r, &b->text, out);
    sm_str_free(&b->text);
    return st;
}

/* The body of a set or filter block, as text. */
static sm_status capture(run *r, const node_list *body, flow *how, val *out) {
    scope *inner;
    buffer b;
    SM_TRY(tmpl_scope_new(r, r->top, &inner));
    buffer_begin(r, &b, inner);
    return buffer_end(r, &b, render_body(r, body, how), out);
}

/* ---- loops --------------------------------------------------------------------------------------------------- */

/* The items that pass the loop's own filter, for loop.length and loop.last count only those. */
static sm_status filter_items(run *r, const node *n, val_list **items) {
    val kept;
    scope *inner, *outer = r->top;
    sm_status st = SM_OK;
    SM_TRY(val_list_new(r, VAL_LIST, &kept));
    SM_TRY(tmpl_scope_new(r, outer, &inner));
    r->top = inner;
    for (size_t i = 0; i < (*items)->n && st == SM_OK; i++) {
        val yes;
        inner->vars.n = 0;
        st = tmpl_assign(r, n->a, (*items)->v[i]);
        if (st == SM_OK)
            st = tmpl_eval(r, n->c, &yes);
        if (st == SM_OK && val_true(yes))
            st = val_push(r, kept.u.list, (*items)->v[i]);
    }
    r->top = outer;
    *items = kept.u.list;
    return st;
}

/* *whole: the body of some item was run to its end; else Jinja renders the {% else %} part, also after a break. */
static sm_status render_items(run *r, const node *n, val_loop *loop, bool *whole) {
    scope *inner, *outer = r->top;
    val v = {.kind = VAL_LOOP, .u.loop = loop};
    flow how = FLOW_ON;
    sm_status st = SM_OK;
    SM_TRY(tmpl_scope_new(r, outer, &inner));
    r->top = inner;
    for (; loop->at < loop->items->n && st == SM_OK && how != FLOW_BREAK; loop->at++) {
        inner->vars.n = 0;
        how = FLOW_ON;
        SM_TRY_DONE(tmpl_step(r, n));
        SM_TRY_DONE(tmpl_assign(r, n->a, loop->items->v[loop->at]));
        SM_TRY_DONE(val_put(r, &inner->vars, val_view(SM_SV("loop")), v));
        st = render_body(r, &n->body, &how);
        *whole = *whole || how == FLOW_ON;
    }
done:
    r->top = outer;
    return st;
}

static sm_status render_loop(run *r, const node *n, val over, int depth0, flow *how) {
    val_loop *loop = tmpl_alloc(r, sizeof *loop);
    val_list *items;
    bool whole = false;
    if (loop == NULL)
        return SM_RESOURCE;
    r->line = n->line;
    SM_TRY(tmpl_iterate(r, over, &items));
    if (n->c != NULL)
        SM_TRY(filter_items(r, n, &items));
    *loop = (val_loop){.items = items, .depth0 = depth0, .def = n->flag ? n : NULL, .outer = r->top};
    SM_TRY(render_items(r, n, loop, &whole));
    if (whole || n->other.n == 0)
        return SM_OK;
    scope *inner, *outer = r->top;
    SM_TRY(tmpl_scope_new(r, outer, &inner));
    r->top = inner;
    sm_status st = render_body(r, &n->other, how);
    r->top = outer;
    return st;
}

sm_status tmpl_call_loop(run *r, const val_loop *l, val items, val *out) {
    buffer b;
    flow how = FLOW_ON;
    int line = r->line;
    if (l->def == NULL)
        return tmpl_fail(r, SM_BADINPUT, "the loop is called, but not marked recursive");
    if (l->depth0 >= SM_TEMPLATE_DEPTH)
        return tmpl_fail(r, SM_RESOURCE, "loop called deeper than %d", (int)SM_TEMPLATE_DEPTH);
    SM_TRY(tmpl_enter(r));
    buffer_begin(r, &b, l->outer);
    SM_TRY(buffer_end(r, &b, render_loop(r, l->def, items, l->depth0 + 1, &how), out));
    r->depth--;
    r->line = line;
    return SM_OK;
}

/* ---- macros -------------------------------------------------------------------------------------------------- */

static size_t named(const call_args *a, sm_sv name) {
    size_t i = 0;
    while (i < a->n_names && !sm_sv_eq(a->names[i], name))
        i++;
    return i;
}

/* Parameters by place, then by name, then by their defaults, which may use those before them. */
static sm_status bind_params(run *r, const node *def, const call_args *a, scope *s) {
    size_t n_plain = tmpl_positional(a), n = def->names.n, first_default = n - def->list.n;
    for (size_t i = 0; i < n; i++) {
        val v;
        size_t k = i < n_plain ? a->n_names : named(a, def->names.v[i]);
        if (i < n_plain) {
            v = a->v[i];
        } else if (k < a->n_names) {
            v = a->v[n_plain + k];
        } else if (i >= first_default) {
            SM_TRY(tmpl_eval(r, def->list.v[i - first_default], &v));
        } else {
            v = val_undefined(def->names.v[i]);
        }
        SM_TRY(val_put(r, &s->vars, val_view(def->names.v[i]), v));
    }
    return SM_OK;
}

/* caller, kwargs, varargs: what the parameters have not taken; without them in the body that is an error. */
static sm_status bind_rest(run *r, const node *def, const call_args *a, scope *s) {
    size_t n_plain = tmpl_positional(a);
    val kwargs, varargs, caller = val_undefined(SM_SV("caller"));
    SM_TRY(val_dict_new(r, VAL_DICT, &kwargs));
    for (size_t i = 0; i < a->n_names; i++) {
        bool taken = false;
        for (size_t k = n_plain; k < def->names.n; k++)
            taken = taken || sm_sv_eq(def->names.v[k], a->names[i]);
        if (taken)
            continue;
        if ((def->uses & USES_CALLER) && sm_sv_is(a->names[i], "caller"))
            caller = a->v[n_plain + i];
        else if (def->uses & USES_KWARGS)
            SM_TRY(val_put(r, kwargs.u.dict, val_view(a->names[i]), a->v[n_plain + i]));
        else
            return tmpl_fail(r, SM_BADINPUT, "macro '%.*s' takes no keyword argument %s",
                             (int)SM_MIN(def->text.n, (size_t)60), def->text.p, sm_quote(a->names[i].p, a->names[i].n));
    }
    SM_TRY(val_list_new(r, VAL_TUPLE, &varargs));
    for (size_t i = def->names.n; i < n_plain; i++)
        SM_TRY(val_push(r, varargs.u.list, a->v[i]));
    if (n_plain > def->names.n && !(def->uses & USES_VARARGS))
        return tmpl_fail(r, SM_BADINPUT, "macro '%.*s' takes not more than %zu arguments",
                         (int)SM_MIN(def->text.n, (size_t)60), def->text.p, def->names.n);
    if (def->uses & USES_CALLER)
        SM_TRY(val_put(r, &s->vars, val_view(SM_SV("caller")), caller));
    if (def->uses & USES_KWARGS)
        SM_TRY(val_put(r, &s->vars, val_view(SM_SV("kwargs")), kwargs));
    if (def->uses & USES_VARARGS)
        SM_TRY(val_put(r, &s->vars, val_view(SM_SV("varargs")), varargs));
    return SM_OK;
}

sm_status tmpl_call_macro(run *r, const val_macro *m, const call_args *a, val *out) {
    scope *inner;
    buffer b;
    flow how = FLOW_ON;
    int line = r->line;
    if (r->calls >= SM_TEMPLATE_DEPTH)
        return tmpl_fail(r, SM_RESOURCE, "macros called deeper than %d", (int)SM_TEMPLATE_DEPTH);
    SM_TRY(tmpl_scope_new(r, m->outer, &inner));
    SM_TRY(bind_rest(r, m->def, a, inner));
    r->calls++;
    buffer_begin(r, &b, inner);
    sm_status st = bind_params(r, m->def, a, inner);
    if (st == SM_OK)
        st = render_body(r, &m->def->body, &how);
    SM_TRY(buffer_end(r, &b, st, out));
    r->calls--;
    r->line = line;
    return SM_OK;
}

static sm_status new_macro(run *r, const node *n, val *out) {
    val_macro *m = tmpl_alloc(r, sizeof *m);
    if (m == NULL)
        return SM_RESOURCE;
    *m = (val_macro){n, r->top};
    *out = (val){.kind = VAL_MACRO, .u.macro = m};
    return SM_OK;
}

/* {% call f(x) %}: f(x, caller=the block as a macro). */
static sm_status render_call_block(run *r, const node *n) {
    val callee, v;
    call_args a;
    SM_TRY(tmpl_eval(r, n->a->a, &callee));
    SM_TRY(tmpl_eval_args(r, n->a, &a));
    val *args = tmpl_alloc(r, (a.n + 1) * sizeof *args);
    sm_sv *names = tmpl_alloc(r, (a.n_names + 1) * sizeof *names);
    if (args == NULL || names == NULL)
        return SM_RESOURCE;
    for (size_t i = 0; i < a.n; i++)
        args[i] = a.v[i];
    for (size_t i = 0; i < a.n_names; i++)
        names[i] = a.names[i];
    names[a.n_names] = SM_SV("caller");
    SM_TRY(new_macro(r, n, &args[a.n]));
    SM_TRY(tmpl_call(r, callee, &(call_args){args, a.n + 1, names, a.n_names + 1}, &v));
    val_print(r, v, r->out);
    return check_output(r);
}

/* ---- statements ---------------------------------------------------------------------------------------------- */

static sm_status render_captured(run *r, const node *n, flow *how) {
    val v;
    SM_TRY(capture(r, &n->body, how, &v));
    if (*how != FLOW_ON) /* left by break or continue: nothing comes of it */
        return SM_OK;
    SM_TRY(tmpl_apply_filters(r, n->b, v, &v));
    if (n->kind == NODE_SET_BLOCK)
        return tmpl_assign(r, n->a, v);
    if (v.kind != VAL_STR) /* Jinja does not turn it into text */
        return tmpl_fail(r, SM_BADINPUT, "a filter block wants a text, found %s", val_type(v));
    val_print(r, v, r->out);
    return check_output(r);
}

static sm_status render_with(run *r, const node *n, flow *how) {
    scope *inner, *outer = r->top;
    sm_status st = SM_OK;
    SM_TRY(tmpl_scope_new(r, outer, &inner));
    for (size_t i = 0; i < n->list.n && st == SM_OK; i += 2) {
        val v;
        st = tmpl_eval(r, n->list.v[i + 1], &v);
        r->top = inner;
        if (st == SM_OK)
            st = tmpl_assign(r, n->list.v[i], v);
        r->top = outer;
    }
    r->top = inner;
    if (st == SM_OK)
        st = render_body(r, &n->body, how);
    r->top = outer;
    return st;
}

static sm_status render_node(run *r, const node *n, flow *how) {
    val v;
    switch (n->kind) {
    case NODE_DATA:
        sm_str_add(r->out, n->text.p, n->text.n);
        return check_output(r);
    case NODE_PRINT:
        SM_TRY(tmpl_eval(r, n->a, &v));
        val_print(r, v, r->out);
        return check_output(r);
    case NODE_IF:
        SM_TRY(tmpl_eval(r, n->a, &v));
        return render_body(r, val_true(v) ? &n->body : &n->other, how);
    case NODE_FOR:
        SM_TRY(tmpl_eval(r, n->b, &v));
        return render_loop(r, n, v, 0, how);
    case NODE_SET:
        SM_TRY(tmpl_eval(r, n->b, &v));
        r->line = n->line;
        return tmpl_assign(r, n->a, v);
    case NODE_SET_BLOCK:
    case NODE_FILTER_BLOCK:
        return render_captured(r, n, how);
    case NODE_BODY:
        return render_body(r, &n->body, how);
    case NODE_WITH:
        return render_with(r, n, how);
    case NODE_MACRO:
        SM_TRY(new_macro(r, n, &v));
        return val_put(r, &r->top->vars, val_view(n->text), v);
    case NODE_CALL_BLOCK:
        return render_call_block(r, n);
    case NODE_BREAK:
    case NODE_CONTINUE:
        *how = n->kind == NODE_BREAK ? FLOW_BREAK : FLOW_CONTINUE;
        return SM_OK;
    default:
        return tmpl_eval(r, n, &v);
    }
}

static sm_status render_body(run *r, const node_list *body, flow *how) {
    SM_TRY(tmpl_enter(r));
    for (size_t i = 0; i < body->n && *how == FLOW_ON; i++) {
        SM_TRY(tmpl_step(r, body->v[i]));
        SM_TRY(render_node(r, body->v[i], how));
    }
    r->depth--;
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

sm_status sm_template_render_at(const sm_template *t, const json_t *context, int64_t now_us, sm_str *out, sm_err *err) {
    run r = {.out = out, .out_start = out->n, .line = 1, .now_us = now_us, .err = err};
    scope globals = {0}, locals = {.outer = &globals};
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
        r.top = &locals;
        st = render_body(&r, &t->root->body, &how);
    }
    sm_arena_free(&r.arena);
    return st;
}

sm_status sm_template_render(const sm_template *t, const json_t *context, sm_str *out, sm_err *err) {
    struct timeval now;
    gettimeofday(&now, NULL);
    return sm_template_render_at(t, context, (int64_t)now.tv_sec * 1000000 + now.tv_usec, out, err);
}
