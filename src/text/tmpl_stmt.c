/* SPDX-License-Identifier: MIT
 *
 * tmpl_stmt.c: tokens of a chat template to nodes: statements, and the door of the parser.
 *
 * Statements of Jinja that need other files (include, import, extends, block) or extensions are refused by name; words
 * that are no statement at all are an error in the template.
 *
 * Nodes are the arena's.  Threads: none of it is shared.
 */
#include "text/template_int.h"

static sm_status want_end(parser *p) {
    if (p->at->kind != TOK_BLOCK_END)
        return parse_fail(p, "%}");
    p->at++;
    return SM_OK;
}

static sm_status tuple_target(parser *p, bool member, node **out);

/* name, name.member (of a namespace, where `member` allows it), or targets in parentheses. */
static sm_status one_target(parser *p, bool member, node **out) {
    static const char *const constants[] = {"true", "True", "false", "False", "none", "None"};
    node *n;
    if (parse_take_op(p, "(")) {
        SM_TRY(parse_enter(p));
        SM_TRY(tuple_target(p, member, out));
        p->depth--;
        return parse_take_op(p, ")") ? SM_OK : parse_fail(p, "')'");
    }
    bool constant = p->at->kind != TOK_NAME;
    for (size_t i = 0; i < SM_ARRAY_LEN(constants); i++)
        constant = constant || parse_is_name(p, constants[i]);
    if (constant)
        return parse_fail(p, "a name to set");
    SM_TRY(parse_make(p, NODE_NAME, p->at->line, &n));
    n->text = p->at->text;
    p->at++;
    if (member && parse_take_op(p, ".")) {
        node *m;
        if (p->at->kind != TOK_NAME)
            return parse_fail(p, "a member's name");
        SM_TRY(parse_make(p, NODE_ATTR, p->at->line, &m));
        m->a = n;
        m->text = p->at->text;
        p->at++;
        SM_TRY(parse_seal(p, n));
        n = m;
    }
    *out = n;
    return parse_seal(p, n);
}

static sm_status tuple_target(parser *p, bool member, node **out) {
    node *t, *n;
    SM_TRY(one_target(p, member, out));
    if (!parse_is_op(p, ","))
        return SM_OK;
    SM_TRY(parse_make(p, NODE_TUPLE, p->at->line, &t));
    SM_TRY(parse_append(p, &t->list, *out));
    while (parse_take_op(p, ",") && (p->at->kind == TOK_NAME || parse_is_op(p, "(")) && !parse_is_name(p, "in")) {
        SM_TRY(one_target(p, member, &n));
        SM_TRY(parse_append(p, &t->list, n));
    }
    *out = t;
    return parse_seal(p, t);
}

/* At {% word ..? */
static bool at_block(const parser *p, const char *word) {
    return p->at->kind == TOK_BLOCK && p->at[1].kind == TOK_NAME && sm_sv_is(p->at[1].text, word);
}

static bool take_block(parser *p, const char *word) {
    bool yes = at_block(p, word);
    p->at += yes ? 2 : 0;
    return yes;
}

static sm_status want_block(parser *p, const char *word, int line) {
    if (!take_block(p, word)) {
        SM_TRY(p->at->kind == TOK_END ? SM_OK : parse_fail(p, word));
        return SM_FAIL(p->err, SM_BADINPUT,
                       "chat template, line %d: wanted {%% %s %%} for the block of line %d, found the end", p->at->line,
                       word, line);
    }
    return want_end(p);
}

/* The rest of a block: its text up to {% end %}. */
static sm_status body_of(parser *p, node *n, const char *end) {
    SM_TRY(want_end(p));
    SM_TRY(parse_statements(p, &n->body));
    SM_TRY(want_block(p, end, n->line));
    return parse_seal(p, n);
}

static sm_status if_block(parser *p, node *n) {
    SM_TRY(parse_tuple(p, false, &n->a));
    SM_TRY(want_end(p));
    SM_TRY(parse_statements(p, &n->body));
    if (at_block(p, "elif")) {
        node *e;
        p->at++;
        SM_TRY(parse_make(p, NODE_IF, p->at->line, &e));
        p->at++;
        SM_TRY(parse_enter(p));
        SM_TRY(if_block(p, e)); /* it takes the endif */
        p->depth--;
        SM_TRY(parse_append(p, &n->other, e));
        return parse_seal(p, n);
    }
    if (take_block(p, "else")) {
        SM_TRY(want_end(p));
        SM_TRY(parse_statements(p, &n->other));
    }
    SM_TRY(want_block(p, "endif", n->line));
    return parse_seal(p, n);
}

static sm_status for_block(parser *p, node *n) {
    if (parse_is_name(p, "loop"))
        return parse_fail(p, "another name than loop");
    SM_TRY(tuple_target(p, false, &n->a));
    if (!parse_take_name(p, "in"))
        return parse_fail(p, "'in'");
    SM_TRY(parse_tuple(p, false, &n->b));
    if (parse_take_name(p, "if"))
        SM_TRY(parse_expression(p, true, &n->c));
    n->flag = parse_take_name(p, "recursive");
    SM_TRY(want_end(p));
    p->in_loops++;
    SM_TRY(parse_statements(p, &n->body));
    p->in_loops--;
    if (take_block(p, "else")) {
        SM_TRY(want_end(p));
        SM_TRY(parse_statements(p, &n->other));
    }
    SM_TRY(want_block(p, "endfor", n->line));
    return parse_seal(p, n);
}

/* | filter | filter after a name, on a constant that stands for the block's text. */
static sm_status filter_chain(parser *p, node *n) {
    SM_TRY(parse_const(p, val_none(), &n->b));
    while (parse_take_op(p, "|"))
        SM_TRY(parse_filter(p, n->b, &n->b));
    return SM_OK;
}

static sm_status set_block(parser *p, node *n) {
    SM_TRY(tuple_target(p, true, &n->a));
    if (parse_take_op(p, "=")) {
        SM_TRY(parse_tuple(p, true, &n->b));
        SM_TRY(want_end(p));
        return parse_seal(p, n);
    }
    if (n->a->kind == NODE_TUPLE)
        return parse_fail(p, "'='");
    n->kind = NODE_SET_BLOCK;
    SM_TRY(filter_chain(p, n));
    return body_of(p, n, "endset");
}

static sm_status filter_block(parser *p, node *n) {
    n->kind = NODE_FILTER_BLOCK;
    SM_TRY(parse_const(p, val_none(), &n->b));
    SM_TRY(parse_filter(p, n->b, &n->b));
    while (parse_take_op(p, "|"))
        SM_TRY(parse_filter(p, n->b, &n->b));
    return body_of(p, n, "endfilter");
}

static sm_status with_block(parser *p, node *n) {
    n->kind = NODE_WITH;
    while (p->at->kind != TOK_BLOCK_END) {
        node *e;
        if (n->list.n > 0 && !parse_take_op(p, ","))
            return parse_fail(p, "','");
        SM_TRY(one_target(p, false, &e));
        SM_TRY(parse_append(p, &n->list, e));
        if (!parse_take_op(p, "="))
            return parse_fail(p, "'='");
        SM_TRY(parse_expression(p, true, &e));
        SM_TRY(parse_append(p, &n->list, e));
    }
    return body_of(p, n, "endwith");
}

/* (a, b=1) into names and list. */
static sm_status signature(parser *p, node *n) {
    if (!parse_take_op(p, "("))
        return parse_fail(p, "'('");
    while (!parse_is_op(p, ")")) {
        node *e;
        if (n->names.n > 0 && !parse_take_op(p, ","))
            return parse_fail(p, "','");
        if (p->at->kind != TOK_NAME)
            return parse_fail(p, "a parameter");
        SM_TRY(parse_append_name(p, n, p->at->text));
        p->at++;
        if (parse_take_op(p, "=")) {
            SM_TRY(parse_expression(p, true, &e));
            SM_TRY(parse_append(p, &n->list, e));
        } else if (n->list.n > 0) {
            return parse_fail(p, "a default, as the parameter before has one");
        }
    }
    p->at++;
    return SM_OK;
}

/* A body that is run later and elsewhere: loops around it are not its own. */
static sm_status macro_body(parser *p, node *n, const char *end) {
    unsigned uses = p->uses;
    int in_loops = p->in_loops;
    p->uses = 0;
    p->in_loops = 0;
    SM_TRY(body_of(p, n, end));
    n->uses = p->uses;
    for (size_t i = 0; i < n->names.n; i++) {
        bool caller = sm_sv_is(n->names.v[i], "caller"), optional = i + n->list.n >= n->names.n;
        if (caller && (n->uses & USES_CALLER) && !optional)
            return SM_FAIL(p->err, SM_BADINPUT, "chat template, line %d: the parameter caller wants a default",
                           n->line);
        n->uses &= caller                               ? ~(unsigned)USES_CALLER
                   : sm_sv_is(n->names.v[i], "varargs") ? ~(unsigned)USES_VARARGS
                   : sm_sv_is(n->names.v[i], "kwargs")  ? ~(unsigned)USES_KWARGS
                                                        : ~0u;
    }
    p->uses |= uses;
    p->in_loops = in_loops;
    return SM_OK;
}

static sm_status macro_block(parser *p, node *n) {
    n->kind = NODE_MACRO;
    if (p->at->kind != TOK_NAME)
        return parse_fail(p, "a macro's name");
    n->text = p->at->text;
    p->at++;
    SM_TRY(signature(p, n));
    return macro_body(p, n, "endmacro");
}

static sm_status call_block(parser *p, node *n) {
    n->kind = NODE_CALL_BLOCK;
    n->text = SM_SV("caller");
    if (parse_is_op(p, "("))
        SM_TRY(signature(p, n));
    SM_TRY(parse_expression(p, true, &n->a));
    if (n->a->kind != NODE_CALL)
        return parse_fail(p, "a call");
    return macro_body(p, n, "endcall");
}

static sm_status jump(parser *p, node *n) {
    n->kind = sm_sv_is(p->at[-1].text, "break") ? NODE_BREAK : NODE_CONTINUE;
    if (p->in_loops == 0) {
        p->at--;
        return parse_fail(p, "a loop around it");
    }
    SM_TRY(want_end(p));
    return parse_seal(p, n);
}

/* {% generation %} marks what a model is trained on; renders its body.  In transformers that is a call block, so that a
 * caller() in it is not the one of a macro around it, nor are varargs and kwargs. */
static sm_status generation_block(parser *p, node *n) {
    int in_loops = p->in_loops;
    unsigned uses = p->uses;
    node *name, *none;
    n->kind = NODE_WITH;
    p->in_loops = 0;
    p->uses = 0;
    SM_TRY(body_of(p, n, "endgeneration"));
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"caller", "varargs", "kwargs"};
        if (!(p->uses & 1u << i))
            continue;
        SM_TRY(parse_make(p, NODE_NAME, n->line, &name));
        name->text = sm_sv_of(names[i]);
        SM_TRY(parse_append(p, &n->list, name));
        SM_TRY(parse_make(p, i == 0 ? NODE_CONST : i == 1 ? NODE_TUPLE : NODE_DICT, n->line, &none));
        none->value = val_undefined(name->text);
        SM_TRY(parse_append(p, &n->list, none));
    }
    p->in_loops = in_loops;
    p->uses |= uses;
    return SM_OK;
}

static sm_status print_block(parser *p, node *n) {
    n->kind = NODE_WITH;
    while (p->at->kind != TOK_BLOCK_END) {
        node *e;
        if (n->body.n > 0 && !parse_take_op(p, ","))
            return parse_fail(p, "','");
        SM_TRY(parse_make(p, NODE_PRINT, n->line, &e));
        SM_TRY(parse_expression(p, true, &e->a));
        SM_TRY(parse_seal(p, e));
        SM_TRY(parse_append(p, &n->body, e));
    }
    SM_TRY(want_end(p));
    return parse_seal(p, n);
}

static sm_status block(parser *p, node_list *body) {
    static const struct {
        const char *word;
        node_kind kind;
        sm_status (*parse)(parser *p, node *n);
    } words[] = {{"if", NODE_IF, if_block},
                 {"for", NODE_FOR, for_block},
                 {"set", NODE_SET, set_block},
                 {"macro", NODE_MACRO, macro_block},
                 {"call", NODE_CALL_BLOCK, call_block},
                 {"filter", NODE_FILTER_BLOCK, filter_block},
                 {"with", NODE_WITH, with_block},
                 {"print", NODE_WITH, print_block},
                 {"break", NODE_BREAK, jump},
                 {"continue", NODE_CONTINUE, jump},
                 {"generation", NODE_WITH, generation_block}};
    static const char *const others[] = {"block", "extends",    "include", "import", "from",
                                         "do",    "autoescape", "trans",   "debug"};
    node *n;
    sm_sv word = p->at[1].text;
    if (p->at[1].kind != TOK_NAME) {
        p->at++;
        return parse_fail(p, "a statement");
    }
    SM_TRY(parse_make(p, NODE_BODY, p->at->line, &n));
    SM_TRY(parse_append(p, body, n));
    p->at += 2;
    for (size_t i = 0; i < SM_ARRAY_LEN(words); i++)
        if (sm_sv_is(word, words[i].word)) {
            bool soft = p->soft;
            n->kind = words[i].kind;
            p->soft = n->kind == NODE_IF || (n->kind == NODE_SET && soft);
            SM_TRY(words[i].parse(p, n));
            p->soft = soft;
            return SM_OK;
        }
    for (size_t i = 0; i < SM_ARRAY_LEN(others); i++)
        if (sm_sv_is(word, others[i]))
            return parse_unsupported(p, n->line, "statement", word);
    p->at--;
    return parse_fail(p, "a statement");
}

sm_status parse_statements(parser *p, node_list *body) {
    static const char *const ends[] = {"elif",     "else",    "endif",     "endfor",  "endset",
                                       "endmacro", "endcall", "endfilter", "endwith", "endgeneration"};
    node *n;
    SM_TRY(parse_enter(p));
    while (p->at->kind != TOK_END) {
        for (size_t i = 0; i < SM_ARRAY_LEN(ends); i++)
            if (at_block(p, ends[i])) {
                p->depth--;
                return SM_OK;
            }
        if (p->at->kind == TOK_BLOCK) {
            SM_TRY(block(p, body));
            continue;
        }
        SM_TRY(parse_make(p, p->at->kind == TOK_DATA ? NODE_DATA : NODE_PRINT, p->at->line, &n));
        SM_TRY(parse_append(p, body, n));
        if (p->at->kind == TOK_DATA) {
            n->text = p->at->text;
        } else {
            p->at++;
            SM_TRY(parse_tuple(p, true, &n->a));
            if (p->at->kind != TOK_PRINT_END)
                return parse_fail(p, "}}");
        }
        p->at++;
        SM_TRY(parse_seal(p, n));
    }
    p->depth--;
    return SM_OK;
}

sm_status tmpl_parse(sm_arena *a, const tok_list *toks, node **root, sm_err *err) {
    parser p = {.arena = a, .at = toks->v, .err = err};
    SM_TRY(parse_make(&p, NODE_BODY, 1, root));
    SM_TRY(parse_statements(&p, &(*root)->body));
    if (p.at->kind != TOK_END) {
        p.at++;
        return parse_fail(&p, "no end of a block that was not opened");
    }
    if (p.unknown != NULL)
        return parse_unsupported(&p, p.unknown->line, p.unknown->kind == NODE_TEST ? "test" : "filter",
                                 p.unknown->text);
    return parse_seal(&p, *root);
}
