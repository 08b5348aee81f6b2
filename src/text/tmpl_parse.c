/* SPDX-License-Identifier: MIT
 *
 * tmpl_parse.c: tokens of a chat template to nodes, by recursive descent.
 *
 * Loosest first:  a if b else c  |  or  |  and  |  not  |  == != < <= > >= in, not in  |  + -  |  ~  |  * / // %  |
 * **  |  unary - +  |  .name [item] (call) |filter is test.  Binary operators are read by climbing one table; `not`,
 * comparisons and postfixes have functions of their own.
 *
 * Depth is bounded twice: of the descent here (brackets, blocks) and of the trees that come out (a + b + c + ..), for
 * evaluation recurses over those.
 *
 * Nodes are the arena's.  Threads: none of it is shared.
 */
#include "text/template_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct parser {
    sm_arena *arena;
    const tok *at;
    int depth;    /* of the descent */
    int in_loops; /* open {% for %} around this place */
    sm_err *err;
} parser;

static sm_status expression(parser *p, bool with_cond, node **out);
static sm_status statements(parser *p, node_list *body);

static sm_status fail(const parser *p, const char *wanted) {
    const tok *t = p->at;
    if (t->kind == TOK_END)
        return SM_FAIL(p->err, SM_BADINPUT, "chat template, line %d: wanted %s, found the end", t->line, wanted);
    if (t->kind == TOK_PRINT_END || t->kind == TOK_BLOCK_END)
        return SM_FAIL(p->err, SM_BADINPUT, "chat template, line %d: wanted %s, found the end of the tag", t->line,
                       wanted);
    return SM_FAIL(p->err, SM_BADINPUT, "chat template, line %d: wanted %s, found %s", t->line, wanted,
                   sm_quote(t->text.p, t->text.n));
}

static sm_status unsupported(const parser *p, int line, const char *what, sm_sv name) {
    return SM_FAIL(p->err, SM_UNSUPPORTED, "chat template, line %d: %s %s is not supported", line, what,
                   sm_quote(name.p, name.n));
}

static sm_status enter(parser *p) {
    if (++p->depth > SM_TEMPLATE_DEPTH)
        return SM_FAIL(p->err, SM_RESOURCE, "chat template, line %d: nested deeper than %d", p->at->line,
                       (int)SM_TEMPLATE_DEPTH);
    return SM_OK;
}

static bool is_op(const parser *p, const char *op) {
    return p->at->kind == TOK_OP && sm_sv_is(p->at->text, op);
}

static bool is_name(const parser *p, const char *name) {
    return p->at->kind == TOK_NAME && sm_sv_is(p->at->text, name);
}

static bool take_op(parser *p, const char *op) {
    bool yes = is_op(p, op);
    p->at += yes;
    return yes;
}

static bool take_name(parser *p, const char *name) {
    bool yes = is_name(p, name);
    p->at += yes;
    return yes;
}

static sm_status want_op(parser *p, const char *op, const char *wanted) {
    return take_op(p, op) ? SM_OK : fail(p, wanted);
}

static sm_status want_end(parser *p) {
    if (p->at->kind != TOK_BLOCK_END)
        return fail(p, "%}");
    p->at++;
    return SM_OK;
}

static sm_status make(parser *p, node_kind kind, int line, node **out) {
    node *n = sm_arena_alloc(p->arena, sizeof *n);
    *out = n;
    if (n == NULL)
        return SM_NOMEM(p->err);
    n->kind = kind;
    n->line = line;
    return SM_OK;
}

/* Arrays of nodes grow by doubling in the arena: old halves are waste of at most the same size. */
static sm_status append(parser *p, node_list *l, node *n) {
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 4;
        node **v = sm_arena_alloc_n(p->arena, cap, sizeof *v);
        if (v == NULL)
            return SM_NOMEM(p->err);
        if (l->n > 0)
            memcpy(v, l->v, l->n * sizeof *v);
        l->v = v;
        l->cap = cap;
    }
    l->v[l->n++] = n;
    return SM_OK;
}

static sm_status append_name(parser *p, node *n, sm_sv name) {
    if (n->names.n == n->names.cap) {
        size_t cap = n->names.cap ? n->names.cap * 2 : 4;
        sm_sv *v = sm_arena_alloc_n(p->arena, cap, sizeof *v);
        if (v == NULL)
            return SM_NOMEM(p->err);
        if (n->names.n > 0)
            memcpy(v, n->names.v, n->names.n * sizeof *v);
        n->names.v = v;
        n->names.cap = cap;
    }
    n->names.v[n->names.n++] = name;
    return SM_OK;
}

static int deepest(const node *n, int depth) {
    return n != NULL ? SM_MAX(depth, n->depth) : depth;
}

/* Called once a node has all its children. */
static sm_status seal(parser *p, node *n) {
    int d = deepest(n->a, deepest(n->b, deepest(n->c, deepest(n->d, 0))));
    const node_list *lists[] = {&n->list, &n->body, &n->other};
    for (int k = 0; k < 3; k++)
        for (size_t i = 0; i < lists[k]->n; i++)
            d = deepest(lists[k]->v[i], d);
    n->depth = d + 1;
    if (n->depth > 2 * SM_TEMPLATE_DEPTH)
        return SM_FAIL(p->err, SM_RESOURCE, "chat template, line %d: expression deeper than %d", n->line,
                       2 * SM_TEMPLATE_DEPTH);
    return SM_OK;
}

static sm_status binary(parser *p, node_kind kind, sm_sv op, int line, node *a, node *b, node **out) {
    node *n;
    SM_TRY(make(p, kind, line, &n));
    n->text = op;
    n->a = a;
    n->b = b;
    *out = n;
    return seal(p, n);
}

/* ---- primaries ----------------------------------------------------------------------------------------------- */

static sm_status constant(parser *p, val v, node **out) {
    SM_TRY(make(p, NODE_CONST, p->at->line, out));
    (*out)->value = v;
    (*out)->depth = 1;
    return SM_OK;
}

static sm_status number(parser *p, node **out) {
    char z[64];
    size_t n = 0;
    for (size_t i = 0; i < p->at->text.n; i++) {
        if (p->at->text.p[i] == '_')
            continue;
        if (n == sizeof z - 1)
            return fail(p, "a shorter number");
        z[n++] = p->at->text.p[i];
    }
    z[n] = '\0';
    errno = 0;
    val v = p->at->kind == TOK_INT ? val_int(strtoll(z, NULL, 10)) : val_float(strtod(z, NULL));
    if (errno != 0)
        return fail(p, "a smaller number");
    SM_TRY(constant(p, v, out));
    p->at++;
    return SM_OK;
}

static sm_status string(parser *p, node **out) {
    sm_str s = SM_STR_INIT;
    sm_sv one = p->at->text;
    SM_TRY(constant(p, val_view(one), out));
    if ((++p->at)->kind != TOK_STR)
        return SM_OK;
    sm_str_add(&s, one.p, one.n); /* strings side by side are one */
    for (; p->at->kind == TOK_STR; p->at++)
        sm_str_add(&s, p->at->text.p, p->at->text.n);
    char *copy = sm_str_ok(&s) ? sm_arena_strndup(p->arena, sm_str_z(&s), s.n) : NULL;
    (*out)->value = val_view((sm_sv){copy, s.n});
    sm_str_free(&s);
    return copy != NULL ? SM_OK : SM_NOMEM(p->err);
}

/* Items up to the closing sign, which is taken; a comma may stand before it. */
static sm_status items(parser *p, const char *close, bool pairs, node *n) {
    while (!is_op(p, close)) {
        node *e;
        SM_TRY(expression(p, true, &e));
        SM_TRY(append(p, &n->list, e));
        if (pairs) {
            SM_TRY(want_op(p, ":", "':'"));
            SM_TRY(expression(p, true, &e));
            SM_TRY(append(p, &n->list, e));
        }
        if (!take_op(p, ","))
            break;
    }
    if (!take_op(p, close))
        return fail(p, close);
    return seal(p, n);
}

static sm_status parenthesis(parser *p, node **out) {
    node *e, *n;
    int line = p->at->line;
    p->at++;
    if (!is_op(p, ")")) {
        SM_TRY(expression(p, true, &e));
        if (!is_op(p, ",")) {
            *out = e;
            return want_op(p, ")", "')'");
        }
    }
    SM_TRY(make(p, NODE_TUPLE, line, &n));
    *out = n;
    if (take_op(p, ","))
        SM_TRY(append(p, &n->list, e));
    return items(p, ")", false, n);
}

static sm_status primary(parser *p, node **out) {
    static const struct {
        const char *name;
        int value;
    } words[] = {{"true", 1}, {"True", 1}, {"false", 0}, {"False", 0}, {"none", -1}, {"None", -1}};
    const tok *t = p->at;
    if (t->kind == TOK_NAME) {
        for (size_t i = 0; i < SM_ARRAY_LEN(words); i++)
            if (sm_sv_is(t->text, words[i].name)) {
                SM_TRY(constant(p, words[i].value < 0 ? val_none() : val_bool(words[i].value), out));
                p->at++;
                return SM_OK;
            }
        SM_TRY(make(p, NODE_NAME, t->line, out));
        (*out)->text = t->text;
        (*out)->depth = 1;
        p->at++;
        return SM_OK;
    }
    if (t->kind == TOK_STR)
        return string(p, out);
    if (t->kind == TOK_INT || t->kind == TOK_FLOAT)
        return number(p, out);
    if (is_op(p, "("))
        return parenthesis(p, out);
    if (is_op(p, "[") || is_op(p, "{")) {
        bool dict = is_op(p, "{");
        SM_TRY(make(p, dict ? NODE_DICT : NODE_LIST, t->line, out));
        p->at++;
        return items(p, dict ? "}" : "]", dict, *out);
    }
    return fail(p, "an expression");
}

/* ---- postfixes ----------------------------------------------------------------------------------------------- */

/* (a, b, name=c) into n->list and n->names. */
static sm_status arguments(parser *p, node *n) {
    p->at++;
    while (!is_op(p, ")")) {
        node *e;
        if (is_op(p, "*") || is_op(p, "**"))
            return unsupported(p, p->at->line, "unpacked argument", p->at->text);
        if (p->at->kind == TOK_NAME && p->at[1].kind == TOK_OP && sm_sv_is(p->at[1].text, "=")) {
            SM_TRY(append_name(p, n, p->at->text));
            p->at += 2;
        } else if (n->names.n > 0) {
            return fail(p, "a named argument");
        }
        SM_TRY(expression(p, true, &e));
        SM_TRY(append(p, &n->list, e));
        if (!take_op(p, ","))
            break;
    }
    return want_op(p, ")", "')'");
}

static sm_status slice_part(parser *p, node **out) {
    if (is_op(p, ":") || is_op(p, "]"))
        return SM_OK;
    return expression(p, true, out);
}

static sm_status subscript(parser *p, node *a, node **out) {
    node *n;
    SM_TRY(make(p, NODE_ITEM, p->at->line, &n));
    n->a = a;
    *out = n;
    p->at++;
    if (is_op(p, "]"))
        return fail(p, "an index");
    SM_TRY(slice_part(p, &n->b));
    if (take_op(p, ":")) {
        n->kind = NODE_SLICE;
        SM_TRY(slice_part(p, &n->c));
        if (take_op(p, ":"))
            SM_TRY(slice_part(p, &n->d));
    } else if (is_op(p, ",")) {
        return unsupported(p, n->line, "index of several", p->at->text);
    }
    SM_TRY(want_op(p, "]", "']'"));
    return seal(p, n);
}

static sm_status postfix(parser *p, node *a, node **out) {
    for (;;) {
        node *n = a;
        int line = p->at->line;
        if (is_op(p, "[")) {
            SM_TRY(subscript(p, a, &n));
        } else if (is_op(p, "(")) {
            SM_TRY(make(p, NODE_CALL, line, &n));
            n->a = a;
            SM_TRY(arguments(p, n));
            if (a->kind == NODE_NAME)
                n->text = a->text;
            SM_TRY(seal(p, n));
        } else if (take_op(p, ".")) {
            SM_TRY(make(p, p->at->kind == TOK_INT ? NODE_ITEM : NODE_ATTR, line, &n));
            n->a = a;
            if (p->at->kind == TOK_INT) {
                SM_TRY(number(p, &n->b));
            } else if (p->at->kind == TOK_NAME) {
                n->text = p->at->text;
                p->at++;
            } else {
                return fail(p, "a name");
            }
            SM_TRY(seal(p, n));
        } else {
            *out = a;
            return SM_OK;
        }
        a = n;
    }
}

static sm_status filter(parser *p, node *a, node **out) {
    node *n;
    if (p->at->kind != TOK_NAME)
        return fail(p, "a filter");
    SM_TRY(make(p, NODE_FILTER, p->at->line, &n));
    n->text = p->at->text;
    n->a = a;
    *out = n;
    if (!tmpl_has_filter(n->text))
        return unsupported(p, n->line, "filter", n->text);
    p->at++;
    if (is_op(p, "("))
        SM_TRY(arguments(p, n));
    return seal(p, n);
}

/* The argument of a test may stand without parentheses: `is divisibleby 3`. */
static bool starts_argument(const parser *p) {
    const tok *t = p->at;
    if (t->kind == TOK_OP)
        return is_op(p, "[") || is_op(p, "{");
    if (t->kind == TOK_NAME)
        return !is_name(p, "else") && !is_name(p, "or") && !is_name(p, "and") && !is_name(p, "is") &&
               !is_name(p, "if") && !is_name(p, "in") && !is_name(p, "not");
    return t->kind == TOK_STR || t->kind == TOK_INT || t->kind == TOK_FLOAT;
}

static sm_status test(parser *p, node *a, node **out) {
    node *n, *e;
    int line = p->at->line;
    bool negate = take_name(p, "not");
    if (p->at->kind != TOK_NAME)
        return fail(p, "a test");
    SM_TRY(make(p, NODE_TEST, line, &n));
    n->text = p->at->text;
    n->a = a;
    if (!tmpl_has_test(n->text))
        return unsupported(p, n->line, "test", n->text);
    p->at++;
    if (is_op(p, "(")) {
        SM_TRY(arguments(p, n));
    } else if (starts_argument(p)) {
        SM_TRY(primary(p, &e));
        SM_TRY(postfix(p, e, &e));
        SM_TRY(append(p, &n->list, e));
    }
    SM_TRY(seal(p, n));
    *out = n;
    return negate ? binary(p, NODE_NOT, SM_SV(""), line, n, NULL, out) : SM_OK;
}

static sm_status filters_and_tests(parser *p, node *a, node **out) {
    for (;;) {
        if (take_op(p, "|")) {
            SM_TRY(filter(p, a, &a));
        } else if (take_name(p, "is")) {
            SM_TRY(test(p, a, &a));
        } else if (is_op(p, "(")) {
            SM_TRY(postfix(p, a, &a));
        } else {
            *out = a;
            return SM_OK;
        }
    }
}

/* ---- operators ----------------------------------------------------------------------------------------------- */

static sm_status unary(parser *p, bool with_filter, node **out) {
    int line = p->at->line;
    node *a;
    SM_TRY(enter(p));
    if (is_op(p, "-") || is_op(p, "+")) {
        bool neg = is_op(p, "-");
        p->at++;
        SM_TRY(unary(p, false, &a));
        SM_TRY(binary(p, neg ? NODE_NEG : NODE_POS, SM_SV(""), line, a, NULL, &a));
    } else {
        SM_TRY(primary(p, &a));
    }
    SM_TRY(postfix(p, a, &a));
    if (with_filter)
        SM_TRY(filters_and_tests(p, a, &a));
    *out = a;
    p->depth--;
    return SM_OK;
}

enum { LEVEL_SUM, LEVEL_CONCAT, LEVEL_PRODUCT, LEVEL_POWER, LEVEL_UNARY };

static bool at_level(const parser *p, int level) {
    static const char *const ops[][4] = {[LEVEL_SUM] = {"+", "-"},
                                         [LEVEL_CONCAT] = {"~"},
                                         [LEVEL_PRODUCT] = {"*", "/", "//", "%"},
                                         [LEVEL_POWER] = {"**"}};
    for (int i = 0; i < 4 && ops[level][i] != NULL; i++)
        if (is_op(p, ops[level][i]))
            return true;
    return false;
}

static sm_status arithmetic(parser *p, int level, node **out) {
    node *a, *b;
    if (level == LEVEL_UNARY)
        return unary(p, true, out);
    SM_TRY(arithmetic(p, level + 1, &a));
    while (at_level(p, level)) {
        sm_sv op = p->at->text;
        int line = p->at->line;
        p->at++;
        SM_TRY(arithmetic(p, level + 1, &b));
        SM_TRY(binary(p, NODE_BINARY, op, line, a, b, &a));
    }
    *out = a;
    return SM_OK;
}

static bool take_comparison(parser *p, sm_sv *op) {
    static const char *const ops[] = {"==", "!=", "<", "<=", ">", ">="};
    *op = p->at->text;
    for (size_t i = 0; i < SM_ARRAY_LEN(ops); i++)
        if (take_op(p, ops[i]))
            return true;
    if (take_name(p, "in"))
        return true;
    if (is_name(p, "not") && p->at[1].kind == TOK_NAME && sm_sv_is(p->at[1].text, "in")) {
        *op = SM_SV("not in");
        p->at += 2;
        return true;
    }
    return false;
}

/* a < b < c is a < b and b < c; the middle one is evaluated twice, which nobody can see: nothing has side effects. */
static sm_status comparison(parser *p, node **out) {
    node *a, *b, *all = NULL, *one;
    sm_sv op;
    SM_TRY(arithmetic(p, LEVEL_SUM, &a));
    for (int line = p->at->line; take_comparison(p, &op); line = p->at->line) {
        SM_TRY(arithmetic(p, LEVEL_SUM, &b));
        SM_TRY(binary(p, NODE_BINARY, op, line, a, b, &one));
        if (all != NULL)
            SM_TRY(binary(p, NODE_AND, SM_SV(""), line, all, one, &all));
        else
            all = one;
        a = b;
    }
    *out = all != NULL ? all : a;
    return SM_OK;
}

static sm_status negation(parser *p, node **out) {
    int line = p->at->line;
    node *a;
    if (!is_name(p, "not"))
        return comparison(p, out);
    p->at++;
    SM_TRY(enter(p));
    SM_TRY(negation(p, &a));
    p->depth--;
    return binary(p, NODE_NOT, SM_SV(""), line, a, NULL, out);
}

static sm_status logic(parser *p, bool either, node **out) {
    node *a, *b;
    SM_TRY(either ? logic(p, false, &a) : negation(p, &a));
    for (int line = p->at->line; take_name(p, either ? "or" : "and"); line = p->at->line) {
        SM_TRY(either ? logic(p, false, &b) : negation(p, &b));
        SM_TRY(binary(p, either ? NODE_OR : NODE_AND, SM_SV(""), line, a, b, &a));
    }
    *out = a;
    return SM_OK;
}

static sm_status expression(parser *p, bool with_cond, node **out) {
    node *a, *n;
    SM_TRY(enter(p));
    SM_TRY(logic(p, true, &a));
    for (int line = p->at->line; with_cond && take_name(p, "if"); line = p->at->line) {
        SM_TRY(make(p, NODE_COND, line, &n));
        n->a = a;
        SM_TRY(logic(p, true, &n->b));
        if (take_name(p, "else"))
            SM_TRY(expression(p, true, &n->c));
        SM_TRY(seal(p, n));
        a = n;
    }
    *out = a;
    p->depth--;
    return SM_OK;
}

/* One expression, or several with commas: a tuple. */
static sm_status tuple(parser *p, bool with_cond, node **out) {
    node *e, *n;
    int line = p->at->line;
    SM_TRY(expression(p, with_cond, &e));
    *out = e;
    if (!is_op(p, ","))
        return SM_OK;
    SM_TRY(make(p, NODE_TUPLE, line, &n));
    SM_TRY(append(p, &n->list, e));
    while (take_op(p, ",")) {
        if (p->at->kind == TOK_BLOCK_END || p->at->kind == TOK_PRINT_END || is_op(p, "="))
            break;
        SM_TRY(expression(p, with_cond, &e));
        SM_TRY(append(p, &n->list, e));
    }
    *out = n;
    return seal(p, n);
}

/* ---- statements ---------------------------------------------------------------------------------------------- */

/* What can be set: name, name.member, or (in a loop, or several) names with commas. */
static sm_status target(parser *p, bool member, node **out) {
    node *n, *t;
    SM_TRY(make(p, NODE_TUPLE, p->at->line, &t));
    bool open = take_op(p, "(");
    do {
        if (p->at->kind != TOK_NAME)
            return fail(p, "a name to set");
        SM_TRY(make(p, NODE_NAME, p->at->line, &n));
        n->text = p->at->text;
        p->at++;
        if (member && is_op(p, ".")) {
            node *m;
            p->at++;
            if (p->at->kind != TOK_NAME)
                return fail(p, "a member's name");
            SM_TRY(make(p, NODE_ATTR, p->at->line, &m));
            m->a = n;
            m->text = p->at->text;
            p->at++;
            n = m;
        }
        SM_TRY(append(p, &t->list, n));
    } while (take_op(p, ",") && p->at->kind == TOK_NAME && !is_name(p, "in"));
    if (open)
        SM_TRY(want_op(p, ")", "')'"));
    *out = t->list.n == 1 ? t->list.v[0] : t;
    return seal(p, t);
}

/* At `name` of {% name ..: is it one of the words that end or divide the block around it? */
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
        SM_TRY(p->at->kind == TOK_END ? SM_OK : fail(p, word));
        return SM_FAIL(p->err, SM_BADINPUT,
                       "chat template, line %d: wanted {%% %s %%} for the block of line %d, found the end", p->at->line,
                       word, line);
    }
    return want_end(p);
}

static sm_status if_block(parser *p, node *n) {
    SM_TRY(expression(p, true, &n->a));
    SM_TRY(want_end(p));
    SM_TRY(statements(p, &n->body));
    if (at_block(p, "elif")) {
        node *e;
        p->at++;
        SM_TRY(make(p, NODE_IF, p->at->line, &e));
        p->at++;
        SM_TRY(enter(p));
        SM_TRY(if_block(p, e)); /* it takes the endif */
        p->depth--;
        SM_TRY(append(p, &n->other, e));
        return seal(p, n);
    }
    if (take_block(p, "else")) {
        SM_TRY(want_end(p));
        SM_TRY(statements(p, &n->other));
    }
    SM_TRY(want_block(p, "endif", n->line));
    return seal(p, n);
}

static sm_status for_block(parser *p, node *n) {
    SM_TRY(target(p, false, &n->a));
    if (!take_name(p, "in"))
        return fail(p, "'in'");
    SM_TRY(tuple(p, false, &n->b));
    if (take_name(p, "if"))
        SM_TRY(expression(p, true, &n->c));
    if (is_name(p, "recursive"))
        return unsupported(p, p->at->line, "loop", p->at->text);
    SM_TRY(want_end(p));
    p->in_loops++;
    SM_TRY(statements(p, &n->body));
    p->in_loops--;
    if (take_block(p, "else")) {
        SM_TRY(want_end(p));
        SM_TRY(statements(p, &n->other));
    }
    SM_TRY(want_block(p, "endfor", n->line));
    return seal(p, n);
}

static sm_status set_block(parser *p, node *n) {
    SM_TRY(target(p, true, &n->a));
    if (take_op(p, "=")) {
        SM_TRY(tuple(p, true, &n->b));
        SM_TRY(want_end(p));
        return seal(p, n);
    }
    if (n->a->kind == NODE_TUPLE)
        return fail(p, "'='");
    n->kind = NODE_SET_BLOCK;
    SM_TRY(constant(p, val_none(), &n->c)); /* stands for the body's text in the filters */
    n->b = n->c;
    while (take_op(p, "|"))
        SM_TRY(filter(p, n->b, &n->b));
    SM_TRY(want_end(p));
    SM_TRY(statements(p, &n->body));
    SM_TRY(want_block(p, "endset", n->line));
    return seal(p, n);
}

static sm_status block(parser *p, node_list *body) {
    node *n;
    sm_sv word = p->at[1].text;
    int line = p->at->line;
    if (p->at[1].kind != TOK_NAME) {
        p->at++;
        return fail(p, "a statement");
    }
    p->at += 2;
    SM_TRY(make(p, NODE_BODY, line, &n));
    SM_TRY(append(p, body, n));
    if (sm_sv_is(word, "if")) {
        n->kind = NODE_IF;
        return if_block(p, n);
    }
    if (sm_sv_is(word, "for")) {
        n->kind = NODE_FOR;
        return for_block(p, n);
    }
    if (sm_sv_is(word, "set")) {
        n->kind = NODE_SET;
        return set_block(p, n);
    }
    if (sm_sv_is(word, "break") || sm_sv_is(word, "continue")) {
        n->kind = sm_sv_is(word, "break") ? NODE_BREAK : NODE_CONTINUE;
        if (p->in_loops == 0) {
            p->at--;
            return fail(p, "a loop around it");
        }
        SM_TRY(want_end(p));
        return seal(p, n);
    }
    if (sm_sv_is(word, "generation")) { /* marks what a model is trained on; renders its body */
        SM_TRY(want_end(p));
        SM_TRY(statements(p, &n->body));
        SM_TRY(want_block(p, "endgeneration", line));
        return seal(p, n);
    }
    static const char *const others[] = {"macro",  "call", "filter", "with",       "block", "extends", "include",
                                         "import", "from", "do",     "autoescape", "trans", "debug"};
    for (size_t i = 0; i < SM_ARRAY_LEN(others); i++)
        if (sm_sv_is(word, others[i]))
            return unsupported(p, line, "statement", word);
    p->at--;
    return fail(p, "a statement");
}

/* Up to a block that ends or divides the one around, which stays. */
static sm_status statements(parser *p, node_list *body) {
    static const char *const ends[] = {"elif", "else", "endif", "endfor", "endset", "endgeneration"};
    node *n;
    SM_TRY(enter(p));
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
        SM_TRY(make(p, p->at->kind == TOK_DATA ? NODE_DATA : NODE_PRINT, p->at->line, &n));
        SM_TRY(append(p, body, n));
        if (p->at->kind == TOK_DATA) {
            n->text = p->at->text;
        } else {
            p->at++;
            SM_TRY(tuple(p, true, &n->a));
            if (p->at->kind != TOK_PRINT_END)
                return fail(p, "}}");
        }
        p->at++;
        SM_TRY(seal(p, n));
    }
    p->depth--;
    return SM_OK;
}

sm_status tmpl_parse(sm_arena *a, const tok_list *toks, node **root, sm_err *err) {
    parser p = {.arena = a, .at = toks->v, .err = err};
    SM_TRY(make(&p, NODE_BODY, 1, root));
    SM_TRY(statements(&p, &(*root)->body));
    if (p.at->kind != TOK_END) {
        p.at++;
        return fail(&p, "no end of a block that was not opened");
    }
    return seal(&p, *root);
}
