/* SPDX-License-Identifier: MIT
 *
 * template_int.h: what the files of the template engine share.
 *
 *     tmpl_lex.c      source -> tokens, all whitespace rules
 *     tmpl_parse.c    tokens -> nodes: expressions
 *     tmpl_stmt.c     tokens -> nodes: statements
 *     tmpl_eval.c     nodes + context -> values: expressions, names, scopes
 *     tmpl_render.c   nodes + context -> text: statements, loops, macros
 *     tmpl_value.c    values: making, from JSON, truth, equality
 *     tmpl_print.c    values: printing, JSON
 *     tmpl_op.c       operators
 *     tmpl_attr.c     attributes, items, slices, going through things
 *     tmpl_args.c     arguments: by position or name, checked against a list of parameters
 *     tmpl_filter.c   filters of strings and numbers; the table of all filters
 *     tmpl_seq.c      filters of sequences
 *     tmpl_test.c     tests
 *     tmpl_call.c     functions, methods of lists, dicts, loops
 *     tmpl_str.c      methods of strings
 *     tmpl_format.c   numbers as text, '%' and str.format
 *
 * Tokens and nodes live in the template's arena, values in the arena of one rendering.
 */
#ifndef SM_TEMPLATE_INT_H
#define SM_TEMPLATE_INT_H

#include "text/template.h"

/* ---- tokens -------------------------------------------------------------------------------------------------- */

typedef enum tok_kind {
    TOK_DATA,
    TOK_PRINT, /* {{ */
    TOK_PRINT_END,
    TOK_BLOCK, /* {% */
    TOK_BLOCK_END,
    TOK_NAME,
    TOK_INT,
    TOK_FLOAT,
    TOK_STR, /* text is what is between the quotes, escapes resolved */
    TOK_OP,
    TOK_END,
} tok_kind;

typedef struct tok {
    tok_kind kind;
    int line;
    sm_sv text;
} tok;

typedef struct tok_list {
    tok *v;
    size_t n, cap;
} tok_list;

/* Text and token texts are in the arena; the list is the caller's to free. */
sm_status tmpl_lex(sm_arena *a, sm_sv source, tok_list *out, sm_err *err);

/* ---- values -------------------------------------------------------------------------------------------------- */

typedef enum val_kind {
    VAL_UNDEFINED, /* s: the name, for messages */
    VAL_NONE,
    VAL_BOOL,
    VAL_INT,
    VAL_FLOAT,
    VAL_STR,
    VAL_LIST,
    VAL_TUPLE, /* a list that prints with parentheses */
    VAL_RANGE, /* a list with the bounds that it was made from */
    VAL_VIEW,  /* dict.keys(), values(), items(): a list without indexes */
    VAL_GEN,   /* what most filters of sequences give: a list that can be gone through once, always true */
    VAL_DICT,
    VAL_NAMESPACE, /* a dict whose members can be set */
    VAL_LOOP,
    VAL_FUNCTION, /* s: the name of a global function */
    VAL_METHOD,   /* bound */
    VAL_MACRO,
    VAL_CYCLER, /* list; `at` says where it stands */
    VAL_JOINER, /* list of the separator; `at`: was used */
} val_kind;

typedef struct val val;
typedef struct val_list val_list;
typedef struct val_dict val_dict;
typedef struct val_loop val_loop;
typedef struct val_method val_method;
typedef struct val_macro val_macro;
typedef struct node node;
typedef struct scope scope;

struct val {
    val_kind kind;
    bool safe; /* of a string: came out of `safe` or `escape`; what is added to it gets escaped */
    union {
        bool b;
        int64_t i;
        double f;
        sm_sv s;
        val_list *list;
        val_dict *dict;
        val_loop *loop;
        val_method *method;
        val_macro *macro;
    } u;
};

struct val_list {
    val *v;
    size_t n, cap;
    size_t at;         /* VAL_GEN: the next item */
    int64_t bounds[3]; /* VAL_RANGE */
    const char *type;  /* VAL_VIEW, VAL_GEN: as Python calls it; VAL_TUPLE: "group" for what groupby gives */
};

struct val_dict {
    val *keys, *values; /* in order of insertion */
    size_t n, cap;
};

struct val_loop {
    val_list *items;
    size_t at;
    int depth0;
    bool has_changed;
    val changed;     /* last arguments of loop.changed() */
    const node *def; /* of a recursive loop, else NULL */
    scope *outer;
};

struct val_method {
    val self;
    sm_sv name;
};

struct val_macro {
    const node *def;
    scope *outer; /* where it was defined: its names are looked up there */
};

struct scope {
    scope *outer;
    val_dict vars;
};

/* ---- nodes --------------------------------------------------------------------------------------------------- */

typedef enum node_kind {
    /* expressions; a, b, c: operands */
    NODE_CONST,
    NODE_NAME,
    NODE_LIST,    /* list */
    NODE_TUPLE,   /* list */
    NODE_DICT,    /* list: key, value, key, value.. */
    NODE_ATTR,    /* a.text */
    NODE_ITEM,    /* a[b] */
    NODE_SLICE,   /* a[b:c:d], any of b, c, d NULL */
    NODE_CALL,    /* a(list, named, *c, **d), c and d NULL when not there */
    NODE_FILTER,  /* a | text(as in a call) */
    NODE_TEST,    /* a is text(as in a call) */
    NODE_COMPARE, /* list: a, b, c..; names: the operators between them */
    NODE_NOT,
    NODE_NEG,
    NODE_POS,
    NODE_BINARY, /* text: the operator */
    NODE_AND,
    NODE_OR,
    NODE_COND, /* a if b else c (c may be NULL) */
    /* statements */
    NODE_DATA,
    NODE_PRINT,        /* a */
    NODE_IF,           /* a; body; other */
    NODE_FOR,          /* a: target (name or tuple), b: iterated, c: filter or NULL; body; other; flag: recursive */
    NODE_SET,          /* a: target; b */
    NODE_SET_BLOCK,    /* a: target; body; filters: b is a chain on a const that is replaced by the body's text */
    NODE_BODY,         /* body, in the scope around it */
    NODE_WITH,         /* list: target, value, target, value..; body, in a scope of its own */
    NODE_MACRO,        /* text: name; names: parameters; list: defaults of the last of them; body; uses */
    NODE_CALL_BLOCK,   /* a: the call; otherwise as NODE_MACRO, without name */
    NODE_FILTER_BLOCK, /* b: as in NODE_SET_BLOCK; body */
    NODE_BREAK,
    NODE_CONTINUE,
} node_kind;

typedef struct node_list {
    node **v;
    size_t n, cap;
} node_list;

enum { USES_CALLER = 1, USES_VARARGS = 2, USES_KWARGS = 4 };

struct node {
    node_kind kind;
    int line;
    int depth; /* of the tree below */
    bool flag;
    unsigned uses; /* USES_*: of the names that macros get by themselves, those that the body reads */
    sm_sv text;
    node *a, *b, *c, *d;
    node_list list, body, other;
    struct {
        sm_sv *v;
        size_t n, cap;
    } names; /* calls: of the last names.n of list, named arguments */
    val value;
};

struct sm_template {
    sm_arena *arena;
    node *root; /* NODE_BODY */
};

sm_status tmpl_parse(sm_arena *a, const tok_list *toks, node **root, sm_err *err);

/* ---- parsing (tmpl_parse.c for tmpl_stmt.c) ------------------------------------------------------------------ */

typedef struct parser {
    sm_arena *arena;
    const tok *at;
    int depth;    /* of the descent */
    int in_loops; /* open {% for %} around this place */
    unsigned uses;
    bool soft;           /* in a branch: filters and tests that are not there fail only when they are reached */
    const node *unknown; /* else the template fails: the first of them */
    sm_err *err;
} parser;

sm_status parse_fail(const parser *p, const char *wanted);
sm_status parse_unsupported(const parser *p, int line, const char *what, sm_sv name);
sm_status parse_enter(parser *p);
bool parse_is_op(const parser *p, const char *op);
bool parse_is_name(const parser *p, const char *name);
bool parse_take_op(parser *p, const char *op);
bool parse_take_name(parser *p, const char *name);
sm_status parse_make(parser *p, node_kind kind, int line, node **out);
sm_status parse_append(parser *p, node_list *l, node *n);
sm_status parse_append_name(parser *p, node *n, sm_sv name);
sm_status parse_const(parser *p, val v, node **out);
sm_status parse_seal(parser *p, node *n);
sm_status parse_expression(parser *p, bool with_cond, node **out);
sm_status parse_tuple(parser *p, bool with_cond, node **out);
sm_status parse_filter(parser *p, node *a, node **out);
sm_status parse_statements(parser *p, node_list *body); /* up to a block that ends or divides the one around */

/* ---- rendering ----------------------------------------------------------------------------------------------- */

typedef struct run {
    sm_arena *arena;
    sm_str *out;
    size_t out_start;
    size_t buffered; /* bytes in outputs that wait for a macro or block to end */
    scope *top;
    long steps;
    uint64_t work; /* bytes gone through, see tmpl_charge */
    int depth;     /* of evaluation */
    int calls;     /* of macros, one inside the other */
    bool flooded;  /* a text grew over the limit */
    int line;      /* of what is being evaluated, for messages */
    int64_t now_us;
    char *tail; /* end of the string that was joined last, with tail_room bytes free after it */
    size_t tail_room;
    sm_err *err;
} run;

typedef struct call_args {
    val *v; /* positional first, then named */
    size_t n;
    const sm_sv *names; /* of the last n_names of v */
    size_t n_names;
} call_args;

/* Failures name the line.  what: printf-like. */
sm_status tmpl_fail(run *r, sm_status code, const char *fmt, ...) SM_PRINTF(3, 4);
sm_status tmpl_nomem(run *r);
sm_status tmpl_undefined(run *r, val v); /* the failure of an operation on something undefined */
void *tmpl_alloc(run *r, size_t n);      /* NULL and filled error when out of memory or over the limit */
/* Work that no node stands for: n bytes or items looked at.  Never fails; tmpl_check does once it was too much. */
void tmpl_charge(run *r, size_t n);
bool tmpl_spent(const run *r);           /* stop what is going on: the next tmpl_check fails */
bool tmpl_room(run *r, const sm_str *s); /* false once s is over the limit of values */
sm_status tmpl_check(run *r);
sm_status tmpl_enter(run *r); /* one level down; r->depth-- on the way back */

sm_status tmpl_eval(run *r, const node *e, val *out);
sm_status tmpl_eval_args(run *r, const node *e, call_args *args);
sm_status tmpl_apply_filters(run *r, const node *chain, val text, val *out);
sm_status tmpl_assign(run *r, const node *target, val v);
sm_status tmpl_step(run *r, const node *n);
sm_status tmpl_scope_new(run *r, scope *outer, scope **out);
sm_status tmpl_call_macro(run *r, const val_macro *m, const call_args *args, val *out); /* tmpl_render.c */
sm_status tmpl_call_loop(run *r, const val_loop *l, val items, val *out);
sm_status tmpl_call(run *r, val callee, const call_args *args, val *out); /* tmpl_call.c */
sm_status tmpl_call_str(run *r, val self, sm_sv name, const call_args *a, val *out);
sm_status tmpl_filter(run *r, sm_sv name, val in, const call_args *args, val *out);
sm_status tmpl_test(run *r, sm_sv name, val in, const call_args *args, bool *out);
bool tmpl_has_filter(sm_sv name);
bool tmpl_has_test(sm_sv name);
bool tmpl_has_function(sm_sv name);
bool tmpl_has_str_method(sm_sv name);

/* Arguments.  params: "a b? /? c?" - names in order, '?' after those that may be left out, "/" ends those that have no
 * name, "*" begins those that have no place.  slots[i] is NULL for what was not given. */
enum { TMPL_MAX_PARAMS = 6 };
sm_status tmpl_bind(run *r, sm_sv who, const char *params, const call_args *a, const val **slots);
size_t tmpl_positional(const call_args *a);
sm_status tmpl_wants(run *r, sm_sv who, const char *what, val found);
sm_status tmpl_int_arg(run *r, sm_sv who, const val *v, int64_t absent, int64_t *out);

/* Filters of sequences (tmpl_seq.c); slots by the parameters in the table of tmpl_filter.c. */
typedef struct filter_call {
    run *r;
    sm_sv name;
    val in;
    const val *slot[TMPL_MAX_PARAMS];
    const call_args *raw; /* of filters that take what other filters and tests want */
} filter_call;
sm_status seq_first(filter_call *c, val *out);
sm_status seq_last(filter_call *c, val *out);
sm_status seq_list(filter_call *c, val *out);
sm_status seq_reverse(filter_call *c, val *out);
sm_status seq_join(filter_call *c, val *out);
sm_status seq_map(filter_call *c, val *out);
sm_status seq_select(filter_call *c, val *out);
sm_status seq_items(filter_call *c, val *out);
sm_status seq_unique(filter_call *c, val *out);
sm_status seq_sort(filter_call *c, val *out);
sm_status seq_dictsort(filter_call *c, val *out);
sm_status seq_groupby(filter_call *c, val *out);
sm_status seq_batch(filter_call *c, val *out);
sm_status seq_slice(filter_call *c, val *out);
sm_status seq_extreme(filter_call *c, val *out);
sm_status seq_sum(filter_call *c, val *out);
sm_status seq_length(filter_call *c, val *out);

/* tmpl_op.c */
sm_status tmpl_binary(run *r, sm_sv op, val a, val b, val *out);
sm_status tmpl_negate(run *r, val a, val *out);
sm_status tmpl_contains(run *r, val item, val in, bool *out);
sm_status tmpl_compare(run *r, val a, val b, int *out); /* <, ==, > 0 */

/* tmpl_attr.c */
sm_status tmpl_attr(run *r, val a, sm_sv name, val *out);
sm_status tmpl_item(run *r, val a, val key, val *out);
sm_status tmpl_slice(run *r, val a, const val *from, const val *to, const val *step, val *out); /* NULL: left out */
/* What is left of a list, keys of a dict, characters of a string.  A generator is used up by it. */
sm_status tmpl_iterate(run *r, val a, val_list **out);

/* tmpl_format.c */
sm_status tmpl_percent(run *r, val format, val args, val *out);              /* format % args */
sm_status tmpl_str_format(run *r, val format, const call_args *a, val *out); /* format.format(..) */
void tmpl_put_float(double f, sm_str *out);                                  /* as Python's repr */

/* tmpl_value.c */
val val_bool(bool b);
val val_int(int64_t i);
val val_float(double f);
val val_none(void);
val val_undefined(sm_sv name);
sm_status val_str(run *r, const char *p, size_t n, val *out); /* copies */
val val_view(sm_sv s);                                        /* does not */
sm_status val_take_str(run *r, sm_str *s, val *out);          /* copies and frees s, also when it fails */
sm_status val_join(run *r, sm_sv a, sm_sv b, val *out);
sm_status val_list_new(run *r, val_kind kind, val *out);
sm_status val_gen_new(run *r, const char *type, val *out);
sm_status val_dict_new(run *r, val_kind kind, val *out);
sm_status val_push(run *r, val_list *l, val v);
sm_status val_push_pair(run *r, val_list *l, val a, val b); /* a tuple */
sm_status val_put(run *r, val_dict *d, val key, val v);     /* fails for keys that Python cannot hash */
const val *val_get(run *r, const val_dict *d, val key);     /* NULL when absent */
sm_status val_hashable(run *r, val v);
bool val_true(val v);
bool val_given_true(const val *v); /* of an argument: NULL is not */
bool val_equal(run *r, val a, val b);
bool val_same(run *r, val a, val b); /* Python's `is` */
bool val_is_number(val v);           /* bool, int, float */
bool val_is_int(val v);              /* bool, int */
int64_t val_as_int(val v);           /* of those */
double val_number(val v);
bool val_is_seq(val v);      /* list or tuple */
bool val_is_listed(val v);   /* anything that is kept as a list */
const char *val_type(val v); /* as Python calls it */
sm_status val_from_json(run *r, const json_t *j, int depth, val *out);
/* Next character of a valid UTF-8 string; Python's idea of white space. */
uint32_t val_char(sm_sv s, size_t *at);
bool val_is_space(uint32_t cp);
bool val_is_letter(uint32_t cp);
/* Python shows it as it is: no control, mark of format, private or unassigned one, no space but the one. */
bool val_char_prints(uint32_t cp);
sm_sv val_strip(sm_sv s, const sm_sv *chars, bool left, bool right); /* chars NULL: white space */
size_t val_str_len(sm_sv s);                                         /* characters */
size_t val_str_offset(sm_sv s, size_t i); /* byte offset of character i; s.n when it is past the end */
int val_str_compare(sm_sv a, sm_sv b);

/* tmpl_print.c */
void val_print(run *r, val v, sm_str *out); /* as {{ }} prints it */
void val_repr(run *r, val v, sm_str *out);  /* as it prints inside a list */
void val_escape(sm_sv s, sm_str *out);      /* &, <, >, quotes for HTML */
sm_status val_text(run *r, val v, sm_sv *out);
typedef struct json_style {
    const char *indent; /* of one level; NULL: all on one line */
    const char *item_sep, *key_sep;
    bool ascii, sort;
} json_style;
sm_status val_tojson(run *r, val v, const json_style *style, sm_str *out);

#endif
