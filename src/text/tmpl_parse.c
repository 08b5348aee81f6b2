/* SPDX-License-Identifier: MIT
 *
 * tmpl_parse.c: tokens of a chat template to nodes, by recursive descent: expressions.
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

#include "base/number.h"

sm_status parse_fail(const parser *p, const char *wanted) {
    const tok *t = p->at;
    if (t->kind == TOK_END)
        return SM_FAIL(p->err, SM_BADINPUT, "chat template, line %d: wanted %s, found the end", t->line, wanted);
    if (t->kind == TOK_PRINT_END || t->kind == TOK_BLOCK_END)
        return SM_FAIL(p->err, SM_BADINPUT, "chat template, line %d: wanted %s, found the end of the tag", t->line,
                       wanted);
    return SM_FAIL(p->err, SM_BADINPUT, "chat template, line %d: wanted %s, found %s", t->line, wanted,
                   sm_quote(t->text.p, t->text.n));
}

sm_status parse_unsupported(const parser *p, int line, const char *what, sm_sv name) {
    return SM_FAIL(p->err, SM_UNSUPPORTED, "chat template, line %d: %s %s is not supported", line, what,
                   sm_quote(name.p, name.n));
}

sm_status parse_enter(parser *p) {
    if (++p->depth > SM_TEMPLATE_DEPTH)
        return SM_FAIL(p->err, SM_RESOURCE, "chat template, line %d: nested deeper than %d", p->at->line,
                       (int)SM_TEMPLATE_DEPTH);
    return SM_OK;
}

bool parse_is_op(const parser *p, const char *op) {
    return p->at->kind == TOK_OP && sm_sv_is(p->at->text, op);
}

bool parse_is_name(const parser *p, const char *name) {
    return p->at->kind == TOK_NAME && sm_sv_is(p->at->text, name);
}

bool parse_take_op(parser *p, const char *op) {
    bool yes = parse_is_op(p, op);
    p->at += yes;
    return yes;
}

bool parse_take_name(parser *p, const char *name) {
    bool yes = parse_is_name(p, name);
    p->at += yes;
    return yes;
}

static sm_status want_op(parser *p, const char *op, const char *wanted) {
    return parse_take_op(p, op) ? SM_OK : parse_fail(p, wanted);
}

sm_status parse_make(parser *p, node_kind kind, int line, node **out) {
    node *n = sm_arena_alloc(p->arena, sizeof *n);
    *out = n;
    if (n == NULL)
        return SM_NOMEM(p->err);
    n->kind = kind;
    n->line = line;
    return SM_OK;
}

/* Arrays of nodes grow by doubling in the arena: old halves are waste of at most the same size. */
sm_status parse_append(parser *p, node_list *l, node *n) {
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

sm_status parse_append_name(parser *p, node *n, sm_sv name) {
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
sm_status parse_seal(parser *p, node *n) {
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
    SM_TRY(parse_make(p, kind, line, &n));
    n->text = op;
    n->a = a;
    n->b = b;
    *out = n;
    return parse_seal(p, n);
}

/* ---- primaries ----------------------------------------------------------------------------------------------- */

sm_status parse_const(parser *p, val v, node **out) {
    SM_TRY(parse_make(p, NODE_CONST, p->at->line, out));
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
            return parse_fail(p, "a shorter number");
        z[n++] = p->at->text.p[i];
    }
    z[n] = '\0';
    errno = 0;
    int base = z[0] != '0' || n < 2         ? 10
               : z[1] == 'x' || z[1] == 'X' ? 16
               : z[1] == 'o' || z[1] == 'O' ? 8
               : z[1] == 'b' || z[1] == 'B' ? 2
                                            : 10;
    val v = p->at->kind == TOK_INT ? val_int(strtoll(base == 10 || base == 16 ? z : z + 2, NULL, base))
                                   : val_float(sm_strtod(z, NULL));
    if (errno == ERANGE && p->at->kind == TOK_FLOAT)
        errno = 0; /* infinite, or rounded to nothing */
    if (errno != 0)
        return parse_unsupported(p, p->at->line, "integer of more than 64 bits", p->at->text);
    SM_TRY(parse_const(p, v, out));
    p->at++;
    return SM_OK;
}

static sm_status string(parser *p, node **out) {
    sm_str s = SM_STR_INIT;
    sm_sv one = p->at->text;
    SM_TRY(parse_const(p, val_view(one), out));
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
    while (!parse_is_op(p, close)) {
        node *e;
        SM_TRY(parse_expression(p, true, &e));
        SM_TRY(parse_append(p, &n->list, e));
        if (pairs) {
            SM_TRY(want_op(p, ":", "':'"));
            SM_TRY(parse_expression(p, true, &e));
            SM_TRY(parse_append(p, &n->list, e));
        }
        if (!parse_take_op(p, ","))
            break;
    }
    if (!parse_take_op(p, close))
        return parse_fail(p, close);
    return parse_seal(p, n);
}

static sm_status parenthesis(parser *p, node **out) {
    node *e, *n;
    int line = p->at->line;
    p->at++;
    if (!parse_is_op(p, ")")) {
        SM_TRY(parse_expression(p, true, &e));
        if (!parse_is_op(p, ",")) {
            *out = e;
            return want_op(p, ")", "')'");
        }
    }
    SM_TRY(parse_make(p, NODE_TUPLE, line, &n));
    *out = n;
    if (parse_take_op(p, ","))
        SM_TRY(parse_append(p, &n->list, e));
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
                SM_TRY(parse_const(p, words[i].value < 0 ? val_none() : val_bool(words[i].value), out));
                p->at++;
                return SM_OK;
            }
        SM_TRY(parse_make(p, NODE_NAME, t->line, out));
        (*out)->text = t->text;
        p->uses |= sm_sv_is(t->text, "caller")    ? USES_CALLER
                   : sm_sv_is(t->text, "varargs") ? USES_VARARGS
                   : sm_sv_is(t->text, "kwargs")  ? USES_KWARGS
                                                  : 0u;
        (*out)->depth = 1;
        p->at++;
        return SM_OK;
    }
    if (t->kind == TOK_STR)
        return string(p, out);
    if (t->kind == TOK_INT || t->kind == TOK_FLOAT)
        return number(p, out);
    if (parse_is_op(p, "("))
        return parenthesis(p, out);
    if (parse_is_op(p, "[") || parse_is_op(p, "{")) {
        bool dict = parse_is_op(p, "{");
        SM_TRY(parse_make(p, dict ? NODE_DICT : NODE_LIST, t->line, out));
        p->at++;
        return items(p, dict ? "}" : "]", dict, *out);
    }
    return parse_fail(p, "an expression");
}

/* ---- postfixes ----------------------------------------------------------------------------------------------- */

/* (a, b, *list, name=c, **dict) into n->list, n->names, n->c and n->d. */
static sm_status arguments(parser *p, node *n) {
    p->at++;
    while (!parse_is_op(p, ")")) {
        node *e;
        if (n->d != NULL)
            return parse_fail(p, "')'");
        if (parse_is_op(p, "*") || parse_is_op(p, "**")) {
            node **to = parse_is_op(p, "*") ? &n->c : &n->d;
            if (*to != NULL)
                return parse_fail(p, "an argument");
            p->at++;
            SM_TRY(parse_expression(p, true, to));
        } else {
            if (p->at->kind == TOK_NAME && p->at[1].kind == TOK_OP && sm_sv_is(p->at[1].text, "=")) {
                SM_TRY(parse_append_name(p, n, p->at->text));
                p->at += 2;
            } else if (n->names.n > 0 || n->c != NULL) {
                return parse_fail(p, "a named argument");
            }
            SM_TRY(parse_expression(p, true, &e));
            SM_TRY(parse_append(p, &n->list, e));
        }
        if (!parse_take_op(p, ","))
            break;
    }
    return want_op(p, ")", "')'");
}

static sm_status slice_part(parser *p, node **out) {
    if (parse_is_op(p, ":") || parse_is_op(p, "]"))
        return SM_OK;
    return parse_expression(p, true, out);
}

static sm_status subscript(parser *p, node *a, node **out) {
    node *n;
    SM_TRY(parse_make(p, NODE_ITEM, p->at->line, &n));
    n->a = a;
    *out = n;
    p->at++;
    if (parse_is_op(p, "]"))
        return parse_fail(p, "an index");
    SM_TRY(slice_part(p, &n->b));
    if (parse_take_op(p, ":")) {
        n->kind = NODE_SLICE;
        SM_TRY(slice_part(p, &n->c));
        if (parse_take_op(p, ":"))
            SM_TRY(slice_part(p, &n->d));
    } else if (parse_is_op(p, ",")) { /* a[b, c] is a[(b, c)] */
        node *all;
        SM_TRY(parse_make(p, NODE_TUPLE, n->line, &all));
        SM_TRY(parse_append(p, &all->list, n->b));
        while (parse_take_op(p, ",")) {
            node *e;
            SM_TRY(parse_expression(p, true, &e));
            SM_TRY(parse_append(p, &all->list, e));
        }
        SM_TRY(parse_seal(p, all));
        n->b = all;
    }
    SM_TRY(want_op(p, "]", "']'"));
    return parse_seal(p, n);
}

static sm_status postfix(parser *p, node *a, node **out) {
    for (;;) {
        node *n = a;
        int line = p->at->line;
        if (parse_is_op(p, "[")) {
            SM_TRY(subscript(p, a, &n));
        } else if (parse_is_op(p, "(")) {
            SM_TRY(parse_make(p, NODE_CALL, line, &n));
            n->a = a;
            SM_TRY(arguments(p, n));
            if (a->kind == NODE_NAME)
                n->text = a->text;
            SM_TRY(parse_seal(p, n));
        } else if (parse_take_op(p, ".")) {
            SM_TRY(parse_make(p, p->at->kind == TOK_INT ? NODE_ITEM : NODE_ATTR, line, &n));
            n->a = a;
            if (p->at->kind == TOK_INT) {
                SM_TRY(number(p, &n->b));
            } else if (p->at->kind == TOK_NAME) {
                n->text = p->at->text;
                p->at++;
            } else {
                return parse_fail(p, "a name");
            }
            SM_TRY(parse_seal(p, n));
        } else {
            *out = a;
            return SM_OK;
        }
        a = n;
    }
}

sm_status parse_filter(parser *p, node *a, node **out) {
    node *n;
    if (p->at->kind != TOK_NAME)
        return parse_fail(p, "a filter");
    SM_TRY(parse_make(p, NODE_FILTER, p->at->line, &n));
    n->text = p->at->text;
    n->a = a;
    *out = n;
    if (!tmpl_has_filter(n->text) && !p->soft && p->unknown == NULL)
        p->unknown = n;
    p->at++;
    if (parse_is_op(p, "("))
        SM_TRY(arguments(p, n));
    return parse_seal(p, n);
}

/* The argument of a test may stand without parentheses: `is divisibleby 3`. */
static bool starts_argument(const parser *p) {
    const tok *t = p->at;
    if (t->kind == TOK_OP)
        return parse_is_op(p, "[") || parse_is_op(p, "{");
    if (t->kind == TOK_NAME)
        return !parse_is_name(p, "else") && !parse_is_name(p, "or") && !parse_is_name(p, "and");
    return t->kind == TOK_STR || t->kind == TOK_INT || t->kind == TOK_FLOAT;
}

static sm_status test(parser *p, node *a, node **out) {
    node *n, *e;
    int line = p->at->line;
    bool negate = parse_take_name(p, "not");
    if (p->at->kind != TOK_NAME)
        return parse_fail(p, "a test");
    SM_TRY(parse_make(p, NODE_TEST, line, &n));
    n->text = p->at->text;
    n->a = a;
    if (!tmpl_has_test(n->text) && !p->soft && p->unknown == NULL)
        p->unknown = n;
    p->at++;
    if (parse_is_op(p, "(")) {
        SM_TRY(arguments(p, n));
    } else if (parse_is_name(p, "is")) {
        return parse_fail(p, "one test");
    } else if (starts_argument(p)) {
        SM_TRY(primary(p, &e));
        SM_TRY(postfix(p, e, &e));
        SM_TRY(parse_append(p, &n->list, e));
    }
    SM_TRY(parse_seal(p, n));
    *out = n;
    return negate ? binary(p, NODE_NOT, SM_SV(""), line, n, NULL, out) : SM_OK;
}

static sm_status filters_and_tests(parser *p, node *a, node **out) {
    for (;;) {
        if (parse_take_op(p, "|")) {
            SM_TRY(parse_filter(p, a, &a));
        } else if (parse_take_name(p, "is")) {
            SM_TRY(test(p, a, &a));
        } else if (parse_is_op(p, "(")) {
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
    SM_TRY(parse_enter(p));
    if (parse_is_op(p, "-") || parse_is_op(p, "+")) {
        bool neg = parse_is_op(p, "-");
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
        if (parse_is_op(p, ops[level][i]))
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
        if (parse_take_op(p, ops[i]))
            return true;
    if (parse_take_name(p, "in"))
        return true;
    if (parse_is_name(p, "not") && p->at[1].kind == TOK_NAME && sm_sv_is(p->at[1].text, "in")) {
        *op = SM_SV("not in");
        p->at += 2;
        return true;
    }
    return false;
}

/* a < b < c: every operand is evaluated once at most. */
static sm_status comparison(parser *p, node **out) {
    node *n, *e;
    sm_sv op;
    int line = p->at->line;
    SM_TRY(arithmetic(p, LEVEL_SUM, out));
    if (!take_comparison(p, &op))
        return SM_OK;
    SM_TRY(parse_make(p, NODE_COMPARE, line, &n));
    SM_TRY(parse_append(p, &n->list, *out));
    do {
        SM_TRY(parse_append_name(p, n, op));
        SM_TRY(arithmetic(p, LEVEL_SUM, &e));
        SM_TRY(parse_append(p, &n->list, e));
    } while (take_comparison(p, &op));
    *out = n;
    return parse_seal(p, n);
}

static sm_status negation(parser *p, node **out) {
    int line = p->at->line;
    node *a;
    if (!parse_is_name(p, "not"))
        return comparison(p, out);
    p->at++;
    SM_TRY(parse_enter(p));
    SM_TRY(negation(p, &a));
    p->depth--;
    return binary(p, NODE_NOT, SM_SV(""), line, a, NULL, out);
}

static sm_status logic(parser *p, bool either, node **out) {
    node *a, *b;
    SM_TRY(either ? logic(p, false, &a) : negation(p, &a));
    for (int line = p->at->line; parse_take_name(p, either ? "or" : "and"); line = p->at->line) {
        SM_TRY(either ? logic(p, false, &b) : negation(p, &b));
        SM_TRY(binary(p, either ? NODE_OR : NODE_AND, SM_SV(""), line, a, b, &a));
    }
    *out = a;
    return SM_OK;
}

sm_status parse_expression(parser *p, bool with_cond, node **out) {
    node *a, *n;
    const node *unknown = p->unknown;
    SM_TRY(parse_enter(p));
    SM_TRY(logic(p, true, &a));
    for (int line = p->at->line; with_cond && parse_take_name(p, "if"); line = p->at->line) {
        SM_TRY(parse_make(p, NODE_COND, line, &n));
        n->a = a;
        SM_TRY(logic(p, true, &n->b));
        if (parse_take_name(p, "else"))
            SM_TRY(parse_expression(p, true, &n->c));
        SM_TRY(parse_seal(p, n));
        p->unknown = unknown; /* a branch, as it turns out */
        a = n;
    }
    *out = a;
    p->depth--;
    return SM_OK;
}

/* One expression, or several with commas: a tuple. */
sm_status parse_tuple(parser *p, bool with_cond, node **out) {
    node *e, *n;
    int line = p->at->line;
    SM_TRY(parse_expression(p, with_cond, &e));
    *out = e;
    if (!parse_is_op(p, ","))
        return SM_OK;
    SM_TRY(parse_make(p, NODE_TUPLE, line, &n));
    SM_TRY(parse_append(p, &n->list, e));
    while (parse_take_op(p, ",")) {
        if (p->at->kind == TOK_BLOCK_END || p->at->kind == TOK_PRINT_END || parse_is_name(p, "recursive"))
            break;
        SM_TRY(parse_expression(p, with_cond, &e));
        SM_TRY(parse_append(p, &n->list, e));
    }
    *out = n;
    return parse_seal(p, n);
}
