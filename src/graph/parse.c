/* SPDX-License-Identifier: MIT
 *
 * parse.c: MIL text to a graph (docs/text-form is the grammar).
 *
 * Recursive descent over both dialects of MIL, program(1.0) and program(1.3), and ours.  Operations are built as they are
 * read, so types come from inference; declared types must agree in dtype and rank, their extents may be wrong in real
 * files and are only used to tie anonymous symbols ("?3") to what inference made.  Depth of blocks, lists and the work
 * that one text can ask for are bounded.
 *
 * Owns nothing after return: everything is in the new graph.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "graph/parse_int.h"

enum { BLOCK_DEPTH = 16, RESULTS_MAX = 1024 };
static const uint64_t random_budget = UINT64_C(1) << 22;

/* ---- scopes ---- */

/* Names that can be seen: of this block, then of those around it. */
typedef struct scope {
    const struct scope *up;
    sm_map *names;
} scope;

static bool scope_start(scope *s, const scope *up) {
    s->up = up;
    s->names = sm_map_new(32);
    return s->names != NULL;
}

static sm_value *look_up(const scope *s, sm_sv name) {
    int64_t v;
    for (; s != NULL; s = s->up)
        if (sm_map_get(s->names, name, &v))
            return (sm_value *)(intptr_t)v;
    return NULL;
}

static sm_status declare(sm_parser *p, scope *s, sm_sv name, sm_value *v, const char *at) {
    bool existed;
    if (!sm_map_put(s->names, name, (int64_t)(intptr_t)v, &existed, NULL))
        return SM_NOMEM(p->err);
    if (!existed)
        return SM_OK;
    sm_status st = SM_FAIL(p->err, SM_BADINPUT, "%s is defined twice", sm_quote(name.p, name.n));
    sm_lex_place(&p->l, at);
    return st;
}

/* A name, kept in the arena with a terminator. */
static sm_status need_name(sm_parser *p, sm_sv *out) {
    if (p->l.tok.kind != SM_TOK_WORD && p->l.tok.kind != SM_TOK_NAME)
        return sm_lex_wanted(&p->l, "a name");
    const char *kept = sm_arena_strndup(p->g->arena, p->l.tok.text.p, p->l.tok.text.n);
    if (kept == NULL)
        return SM_NOMEM(p->err);
    if (p->l.tok.text.n == 0 || memchr(kept, 0, p->l.tok.text.n) != NULL)
        return sm_lex_wanted(&p->l, "a name of at least one character");
    *out = (sm_sv){kept, p->l.tok.text.n};
    return sm_lex_next(&p->l);
}

/* ---- extents ---- */

bool sm_parse_symbol_char(char c) {
    return sm_parse_letter(c) || sm_parse_digit(c) || c == '.' || c == '@';
}

static void blanks(sm_sv *s) {
    while (s->n > 0 && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t' || *s->p == '\r')) {
        s->p++;
        s->n--;
    }
}

/* Digits at the front of s; false when there are none or too many. */
bool sm_parse_number(sm_sv *s, int64_t *out) {
    int64_t v = 0;
    size_t i = 0;
    for (; i < s->n && sm_parse_digit(s->p[i]); i++)
        if (v > (INT64_C(1) << 36)) /* a tenth of what is a number and not a handle, with either sign */
            return false;
        else
            v = v * 10 + (s->p[i] - '0');
    s->p += i;
    s->n -= i;
    *out = v;
    return i > 0;
}

/* "?", "?3": the extent of that number in this function, made when it is new. */
static bool take_anon(sm_parser *p, sm_sv *s, sm_dim *out) {
    const char *from = s->p++;
    int64_t no, known;
    s->n--;
    if (!sm_parse_number(s, &no)) {
        *out = sm_dim_fresh(p->g);
        return *out != SM_DIM_UNKNOWN;
    }
    sm_sv key = {from, (size_t)(s->p - from)};
    if (sm_map_get(p->anon, key, &known)) {
        *out = known;
        return true;
    }
    *out = sm_dim_fresh(p->g);
    return *out != SM_DIM_UNKNOWN && sm_map_put(p->anon, key, *out, NULL, NULL);
}

static bool take_symbol(sm_parser *p, sm_sv *s, sm_dim *out) {
    char name[128];
    size_t n = 0;
    while (n < s->n && sm_parse_symbol_char(s->p[n]))
        n++;
    if (n == 0 || n >= sizeof name)
        return false;
    memcpy(name, s->p, n);
    name[n] = 0;
    s->p += n;
    s->n -= n;
    *out = sm_dim_symbol(p->g, name, 0, -1);
    return *out != SM_DIM_UNKNOWN;
}

/* One extent: "64", "n", "2n + kv - 1", "?", "?3".  False: malformed, or out of memory (flagged in the graph). */
static bool read_dim(sm_parser *p, sm_sv s, sm_dim *out) {
    sm_dim sum = 0, sym;
    bool minus = false;
    for (bool first = true;; first = false) {
        int64_t k = 1;
        blanks(&s);
        if (s.n == 0)
            break;
        if (*s.p == '-' || *s.p == '+') {
            minus = *s.p == '-';
            s.p++;
            s.n--;
            blanks(&s);
        } else if (!first) {
            return false;
        }
        bool number = sm_parse_number(&s, &k);
        if (!number)
            k = 1;
        if (s.n > 0 && *s.p == '*') {
            s.p++;
            s.n--;
        }
        sym = 1;
        if (s.n > 0 && *s.p == '?'             ? !take_anon(p, &s, &sym)
            : s.n > 0 && sm_parse_letter(*s.p) ? !take_symbol(p, &s, &sym)
                                               : !number)
            return false;
        sum = sm_dim_add(p->g, sum, sm_dim_mul(p->g, sym, minus ? -k : k));
        if (sum == SM_DIM_UNKNOWN)
            return false;
        minus = false;
    }
    *out = sum;
    return !sm_dim_known(sum) || sum >= 0;
}

/* Extents of w become what they say. */
static sm_status resolve_dims(sm_parser *p, sm_written *w) {
    for (int i = 0; i < w->type.rank; i++)
        if (w->dim[i].n == 0 || !read_dim(p, w->dim[i], &w->type.dims[i])) {
            if (p->g->priv->oom) {
                p->g->priv->oom = false;
                return SM_NOMEM(p->err);
            }
            sm_status st = SM_FAIL(p->err, SM_BADINPUT, "%s is not an extent", sm_quote(w->dim[i].p, w->dim[i].n));
            sm_lex_place(&p->l, w->at);
            return st;
        }
    return SM_OK;
}

/* ---- types ---- */

static sm_status need_dtype(sm_parser *p, sm_dtype *out) {
    *out = p->l.tok.kind == SM_TOK_WORD ? sm_dtype_of_name(p->l.tok.text) : SM_NONE;
    return *out == SM_NONE ? sm_lex_wanted(&p->l, "an element type") : sm_lex_next(&p->l);
}

/* The texts between '[' (the current token) and ']'. */
static sm_status read_dim_texts(sm_parser *p, sm_written *w) {
    sm_lex *l = &p->l;
    const char *end = l->all.p + l->all.n, *q = l->p, *from = q;
    if (!sm_lex_is(l, '['))
        return sm_lex_wanted(l, "'['");
    for (;; q++) {
        if (q >= end || *q == '[' || *q == '>' || *q == ';')
            return sm_lex_wanted(l, "']' after this");
        if (*q != ',' && *q != ']')
            continue;
        sm_sv text = {from, (size_t)(q - from)};
        blanks(&text);
        if (*q == ']' && text.n == 0 && w->type.rank == 0)
            break;
        if (w->type.rank == SM_MAX_RANK)
            return sm_lex_wanted(l, "fewer axes");
        w->dim[w->type.rank++] = text;
        from = q + 1;
        if (*q == ']')
            break;
    }
    l->p = q + 1;
    return sm_lex_next(l);
}

/* The length of a list, behind its comma: a number, or "?". */
static sm_status read_len(sm_parser *p, sm_written *w) {
    sm_lex *l = &p->l;
    int64_t n = 0;
    SM_TRY(sm_lex_next(l));
    if (!sm_lex_is(l, '?')) {
        SM_TRY(sm_text_elem(l, SM_INT64, &n, 0));
        if (n < 0 || n > INT32_MAX)
            return sm_lex_wanted(l, "a length of 0 or more before this");
        w->type.len = n;
        return SM_OK;
    }
    return sm_lex_next(l);
}

sm_status sm_parse_type(sm_parser *p, sm_written *w, int depth) {
    sm_lex *l = &p->l;
    *w = (sm_written){.type.kind = SM_V_TENSOR, .at = l->tok.at};
    if (sm_lex_word(l, "batch")) {
        w->type.kind = SM_V_BATCH;
        return sm_lex_next(l);
    }
    if (sm_lex_word(l, "list") && depth == 0) {
        SM_TRY(sm_lex_next(l));
        SM_TRY(sm_lex_need(l, '<'));
        SM_TRY(sm_parse_type(p, w, 1));
        w->type.kind = SM_V_LIST;
        w->type.len = SM_DIM_UNKNOWN;
        if (!sm_lex_is(l, ','))
            return sm_lex_wanted(l, "','");
        SM_TRY(read_len(p, w));
        return sm_lex_need(l, '>');
    }
    if (sm_lex_word(l, "state") && depth == 0) {
        SM_TRY(sm_lex_next(l));
        SM_TRY(sm_lex_need(l, '<'));
        SM_TRY(sm_parse_type(p, w, 1));
        w->type.kind = SM_V_STATE;
        return sm_lex_need(l, '>');
    }
    if (!sm_lex_word(l, "tensor"))
        return need_dtype(p, &w->type.dtype);
    SM_TRY(sm_lex_next(l));
    SM_TRY(sm_lex_need(l, '<'));
    SM_TRY(need_dtype(p, &w->type.dtype));
    if (!sm_lex_is(l, ','))
        return sm_lex_wanted(l, "','");
    SM_TRY(sm_lex_next(l));
    SM_TRY(read_dim_texts(p, w));
    return sm_lex_need(l, '>');
}

bool sm_parse_starts_type(const sm_lex *l) {
    return l->tok.kind == SM_TOK_WORD &&
           (sm_lex_word(l, "tensor") || sm_lex_word(l, "state") || sm_lex_word(l, "batch") || sm_lex_word(l, "list") ||
            sm_dtype_of_name(l->tok.text) != SM_NONE);
}

/* ---- constants ---- */

/* What stands beside `val` in a const's attributes. */
typedef struct const_attrs {
    sm_sv enc, want, dtype;
    int32_t deinterleave;
} const_attrs;

static bool same_bytes(const sm_const *a, const sm_const *b) {
    if (a->n_str != b->n_str)
        return false;
    for (size_t i = 0; i < a->n_str; i++)
        if (!sm_sv_eq(a->strs[i], b->strs[i]))
            return false;
    for (int i = 0; i < SM_PART_COUNT; i++) {
        sm_bytes x = a->src.part[i], y = b->src.part[i];
        if (x.n != y.n || (x.p == NULL) != (y.p == NULL) || (x.p != y.p && x.n > 0 && memcmp(x.p, y.p, x.n) != 0))
            return false;
    }
    return true;
}

static bool same_const(const sm_value *a, const sm_value *b) {
    const sm_const *x = a->cst, *y = b->cst;
    return sm_type_eq(&a->type, &b->type) && x->src.dtype == y->src.dtype &&
           x->src.deinterleave == y->src.deinterleave &&
           (a->type.dtype == SM_STRING ||
            (sm_enc_eq(&x->src.enc, &y->src.enc, x->src.rank) && sm_enc_eq(&x->want, &y->want, x->src.rank))) &&
           sm_sv_eq(x->src.name, y->src.name) && same_bytes(x, y);
}

/* Attributes of the constant's tensor, over its type. */
static sm_status apply_attrs(sm_parser *p, const const_attrs *a, sm_tensor *t, sm_encoding *want) {
    sm_status st = SM_OK;
    const char *at = p->l.tok.at;
    t->enc = sm_enc_dense(t->dtype);
    if (a->enc.n > 0)
        st = sm_enc_parse(a->enc, t->rank, &t->enc, p->err);
    *want = t->enc;
    if (st == SM_OK && a->want.n > 0)
        st = sm_enc_parse(a->want, t->rank, want, p->err);
    if (st == SM_OK && a->dtype.n > 0) {
        t->dtype = sm_dtype_of_name(a->dtype);
        if (t->dtype == SM_NONE || t->dtype == SM_STRING)
            st = SM_FAIL(p->err, SM_BADINPUT, "dtype: %s is not a type of numbers", sm_quote(a->dtype.p, a->dtype.n));
    }
    size_t bytes[SM_PART_COUNT];
    if (st == SM_OK)
        st = sm_enc_sizes(want, t->rank, t->dims, bytes, p->err);
    if (st == SM_OK && a->deinterleave != 0) {
        uint64_t rows = t->rank > 1 ? sm_tensor_rows(t) : 0;
        if (a->deinterleave < 0 || a->deinterleave % 2 != 0 || rows % (uint64_t)a->deinterleave != 0)
            st = SM_FAIL(p->err, SM_BADINPUT, "deinterleave: wanted an even divisor of the rows, found %d",
                         (int)a->deinterleave);
        t->deinterleave = a->deinterleave;
    }
    if (st != SM_OK && st != SM_RESOURCE)
        sm_lex_place(&p->l, at);
    return st;
}

static sm_status finish_const(sm_parser *p, sm_builder *b, sm_value *v, const char *at, sm_value **out) {
    if (b->st != SM_OK) {
        *p->err = b->err;
        sm_lex_place(&p->l, at);
        return b->st;
    }
    *out = v;
    return SM_OK;
}

/* "type(data)" from the type on, as a constant.  name NULL: one written in place, interned when small and plain. */
static sm_status read_const_value(sm_parser *p, const char *name, const const_attrs *a, sm_value **out) {
    sm_lex *l = &p->l;
    sm_builder b;
    sm_written w;
    sm_tensor t = {0};
    sm_encoding want;
    const char *at = l->tok.at;
    sm_build_start(&b, p->f);
    SM_TRY(sm_parse_type(p, &w, 0));
    if (w.type.kind != SM_V_TENSOR)
        return sm_lex_wanted(l, "a tensor before this");
    SM_TRY(resolve_dims(p, &w));
    SM_TRY(sm_lex_need(l, '('));
    if (w.type.dtype == SM_STRING) {
        sm_sv *strs;
        size_t n;
        SM_TRY(sm_text_strings(l, p->g->arena, &strs, &n));
        bool fits = w.type.rank == 0 ? n == 1 : w.type.rank == 1 && w.type.dims[0] == (int64_t)n;
        if (!fits || n == 0)
            return sm_lex_wanted(l, "as many strings as the type says");
        SM_TRY(sm_lex_need(l, ')'));
        bool bare = name == NULL && w.type.rank == 0 && memchr(strs[0].p, 0, strs[0].n) == NULL;
        char *z = bare ? sm_arena_strndup(p->g->arena, strs[0].p, strs[0].n) : NULL;
        if (bare && z == NULL)
            return SM_NOMEM(p->err);
        sm_value *s =
            bare ? sm_const_str(&b, z) : sm_const_strs(&b, name != NULL ? name : "c", strs, n, w.type.rank == 0);
        return finish_const(p, &b, s, at, out);
    }
    t.dtype = w.type.dtype;
    t.rank = w.type.rank;
    for (int i = 0; i < t.rank; i++) {
        if (!sm_dim_known(w.type.dims[i]))
            return sm_lex_wanted(l, "numbers as extents of a constant");
        t.dims[i] = w.type.dims[i];
    }
    SM_TRY(apply_attrs(p, a, &t, &want));
    SM_TRY(sm_text_data(l, &p->env, &t));
    SM_TRY(sm_lex_need(l, ')'));
    sm_value *v;
    const void *data = t.part[SM_PART_DATA].p;
    bool in_place = name == NULL && data != NULL && t.enc.id == SM_ENC_DENSE && t.enc.code == t.dtype &&
                    sm_tensor_numel(&t) <= SM_SYM_ELEMS;
    if (in_place)
        v = sm_const_intern(&b, t.dtype, t.rank, t.dims, data);
    else
        v = sm_const_make(&b, name != NULL ? name : "c", &t, &want, w.type.dtype);
    return finish_const(p, &b, v, at, out);
}

/* ---- operands ---- */

/* A literal without type takes that of the slot: i and d int32, I int32 [n], f fp32, b bool, B bool [n], s string. */
static sm_status bare_literal(sm_parser *p, char kind, sm_value **out) {
    sm_lex *l = &p->l;
    sm_builder b;
    union {
        int32_t i[SM_SYM_ELEMS];
        uint8_t b[SM_SYM_ELEMS];
        float f;
    } data;
    sm_sv s;
    int n;
    int64_t dims[1];
    sm_value *v = NULL;
    const char *at = l->tok.at;
    sm_build_start(&b, p->f);
    switch (kind) {
    case 'i':
    case 'd':
        SM_TRY(sm_text_elem(l, SM_INT32, data.i, 0));
        v = sm_const_i32(&b, data.i[0]);
        break;
    case 'f':
        SM_TRY(sm_text_elem(l, SM_FP32, &data.f, 0));
        v = sm_const_intern(&b, SM_FP32, 0, NULL, &data.f);
        break;
    case 'b':
        SM_TRY(sm_text_elem(l, SM_BOOL, data.b, 0));
        v = sm_const_bool(&b, data.b[0]);
        break;
    case 'I':
    case 'B':
        SM_TRY(sm_text_list(l, kind == 'I' ? SM_INT32 : SM_BOOL, SM_SYM_ELEMS, &data, &n));
        dims[0] = n;
        v = sm_const_intern(&b, kind == 'I' ? SM_INT32 : SM_BOOL, 1, dims, &data);
        break;
    case 's':
        SM_TRY(sm_parse_attr_string(p, &s));
        v = sm_const_strs(&b, "c", &s, 1, true);
        break;
    default:
        return sm_lex_wanted(l, "a value, or a literal with its type");
    }
    return finish_const(p, &b, v, at, out);
}

static sm_status read_operand(sm_parser *p, const scope *s, char kind, sm_value **out) {
    sm_lex *l = &p->l;
    const_attrs none = {0};
    if (sm_parse_starts_type(l) && !sm_lex_word(l, "batch") && !sm_lex_word(l, "state") &&
        !sm_lex_word(l, "list")) /* may be names */
        return read_const_value(p, NULL, &none, out);
    bool literal = sm_lex_word(l, "true") || sm_lex_word(l, "false") || sm_lex_word(l, "inf") || sm_lex_word(l, "nan");
    if (l->tok.kind != SM_TOK_NAME && (l->tok.kind != SM_TOK_WORD || literal)) {
        if ((kind == 's' || kind == 'd') && l->tok.kind == SM_TOK_STR &&
            memchr(l->tok.text.p, 0, l->tok.text.n) == NULL) {
            sm_builder b;
            const char *at = l->tok.at, *z = sm_arena_strndup(p->g->arena, l->tok.text.p, l->tok.text.n);
            if (z == NULL)
                return SM_NOMEM(p->err);
            sm_build_start(&b, p->f);
            SM_TRY(finish_const(p, &b, sm_const_str(&b, z), at, out));
            return sm_lex_next(l);
        }
        return bare_literal(p, kind, out);
    }
    *out = look_up(s, l->tok.text);
    if (*out == NULL)
        return sm_lex_wanted(l, "a value defined before");
    return sm_lex_next(l);
}

typedef struct operands {
    sm_value *in[SM_MAX_SLOTS];
    struct operand_list {
        sm_value **v;
        size_t n, cap;
    } list[SM_MAX_LISTS], all; /* all: one after the other, made last */
} operands;

/* The lists of an op as a node holds them: those of one op are equally long. */
static sm_status join_lists(sm_parser *p, sm_op op, operands *o) {
    for (int k = 0; k < sm_op_row_of(op)->n_lists; k++) {
        if (o->list[k].n != o->list[0].n)
            return sm_lex_wanted(&p->l, "lists of one length before this");
        for (size_t i = 0; i < o->list[k].n; i++) {
            if (!SM_GROW(&o->all))
                return SM_NOMEM(p->err);
            o->all.v[o->all.n++] = o->list[k].v[i];
        }
    }
    return SM_OK;
}

static void free_lists(operands *o) {
    for (int k = 0; k < SM_MAX_LISTS; k++)
        sm_free(o->list[k].v);
    sm_free(o->all.v);
}

static sm_status read_list(sm_parser *p, const scope *s, char kind, struct operand_list *o) {
    sm_lex *l = &p->l;
    bool parens = sm_lex_is(l, '(');
    if (parens)
        SM_TRY(sm_lex_next(l));
    for (bool first = true; !(parens && sm_lex_is(l, ')')); first = false) {
        if (!first)
            SM_TRY(sm_lex_need(l, ','));
        if (!SM_GROW(o))
            return SM_NOMEM(p->err);
        SM_TRY(read_operand(p, s, kind, &o->v[o->n]));
        o->n++;
        if (!parens)
            return SM_OK;
    }
    return sm_lex_next(l);
}

/* The operand of the slot named by the current token; *known false: the op has no such slot. */
static sm_status read_slot(sm_parser *p, const scope *s, sm_op op, operands *o, bool *known) {
    sm_lex *l = &p->l;
    const sm_op_row *row = sm_op_row_of(op);
    char name[sizeof row->slot[0].name];
    *known = false;
    if (l->tok.kind != SM_TOK_WORD)
        return sm_lex_wanted(l, "the name of an input");
    if (l->tok.text.n >= sizeof name)
        return SM_OK;
    memcpy(name, l->tok.text.p, l->tok.text.n);
    name[l->tok.text.n] = 0;
    int i = sm_op_slot(op, name);
    int list = sm_op_list(op, name);
    *known = i >= 0 || list >= 0;
    if (!*known)
        return SM_OK;
    if (i >= 0 ? o->in[i] != NULL : o->list[list].n > 0)
        return sm_lex_wanted(l, "each input once");
    SM_TRY(sm_lex_next(l));
    SM_TRY(sm_lex_need(l, '='));
    return list < 0 ? read_operand(p, s, row->slot[i].kind, &o->in[i])
                    : read_list(p, s, row->list[list].kind, &o->list[list]);
}

static sm_status read_operands(sm_parser *p, const scope *s, sm_op op, operands *o) {
    sm_lex *l = &p->l;
    bool known;
    SM_TRY(sm_lex_need(l, '('));
    for (bool first = true; !sm_lex_is(l, ')'); first = false) {
        if (!first)
            SM_TRY(sm_lex_need(l, ','));
        SM_TRY(read_slot(p, s, op, o, &known));
        if (!known)
            return sm_lex_wanted(l, "an input that the op has");
    }
    return sm_lex_next(l);
}

/* Attributes of an operation: operands of the iOS16 constexpr forms, else names and the like, which say nothing new. */
static sm_status read_op_attributes(sm_parser *p, const scope *s, sm_op op, operands *o) {
    sm_lex *l = &p->l;
    bool known;
    if (!sm_lex_is(l, '['))
        return SM_OK;
    SM_TRY(sm_lex_next(l));
    for (bool first = true; !sm_lex_is(l, ']'); first = false) {
        if (!first)
            SM_TRY(sm_lex_need(l, ','));
        SM_TRY(read_slot(p, s, op, o, &known));
        if (known)
            continue;
        SM_TRY(sm_lex_next(l));
        SM_TRY(sm_lex_need(l, '='));
        SM_TRY(sm_parse_skip_value(p));
    }
    return sm_lex_next(l);
}

/* ---- statements ---- */

typedef struct results {
    struct {
        sm_written *v;
        size_t n, cap;
    } type;
    struct {
        sm_sv *v;
        size_t n, cap;
    } name;
} results;

/* "dict<.., ..>", the type of a classifier's probabilities by label: they are an array here. */
static sm_status skip_dict(sm_parser *p, sm_written *w) {
    int open = 0;
    *w = (sm_written){.type = {.kind = SM_V_TENSOR, .dtype = SM_FP32}, .at = p->l.tok.at};
    do {
        SM_TRY(sm_lex_next(&p->l));
        if (p->l.tok.kind == SM_TOK_END || (open == 0 && !sm_lex_is(&p->l, '<')))
            return sm_lex_wanted(&p->l, "'<' .. '>' of a dict");
        open += sm_lex_is(&p->l, '<') - sm_lex_is(&p->l, '>');
    } while (open > 0);
    return sm_lex_next(&p->l);
}

/* "type name, type name" */
static sm_status read_typed_names(sm_parser *p, results *r) {
    do {
        if (r->type.n >= RESULTS_MAX)
            return sm_lex_wanted(&p->l, "fewer results");
        if (r->type.n > 0)
            SM_TRY(sm_lex_next(&p->l));
        if (!SM_GROW(&r->type) || !SM_GROW(&r->name))
            return SM_NOMEM(p->err);
        sm_written *w = &r->type.v[r->type.n];
        SM_TRY(sm_lex_word(&p->l, "dict") ? skip_dict(p, w) : sm_parse_type(p, w, 0));
        SM_TRY(need_name(p, &r->name.v[r->name.n]));
        r->type.n++;
        r->name.n++;
    } while (sm_lex_is(&p->l, ','));
    return SM_OK;
}

/* "const()[.., val = ..];" after its type, name and '='. */
static sm_status read_const(sm_parser *p, scope *s, sm_sv name, const char *at) {
    sm_lex *l = &p->l, val, end;
    const_attrs a = {0};
    bool has_val = false;
    sm_value *v, *old;
    int64_t known;
    SM_TRY(sm_lex_next(l));
    SM_TRY(sm_lex_need(l, '('));
    SM_TRY(sm_lex_need(l, ')'));
    SM_TRY(sm_lex_need(l, '['));
    for (bool first = true; !sm_lex_is(l, ']'); first = false) {
        if (!first)
            SM_TRY(sm_lex_need(l, ','));
        sm_tok key = l->tok;
        if (key.kind != SM_TOK_WORD)
            return sm_lex_wanted(l, "an attribute");
        SM_TRY(sm_lex_next(l));
        SM_TRY(sm_lex_need(l, '='));
        if (sm_sv_is(key.text, "val")) {
            val = *l;
            has_val = true;
        }
        sm_sv *text = sm_sv_is(key.text, "enc")     ? &a.enc
                      : sm_sv_is(key.text, "want")  ? &a.want
                      : sm_sv_is(key.text, "dtype") ? &a.dtype
                                                    : NULL;
        if (text != NULL)
            SM_TRY(sm_parse_attr_string(p, text));
        else if (sm_sv_is(key.text, "deinterleave"))
            SM_TRY(sm_parse_attr_int(p, &a.deinterleave));
        else
            SM_TRY(sm_parse_skip_value(p));
    }
    SM_TRY(sm_lex_next(l));
    SM_TRY(sm_lex_need(l, ';'));
    end = *l;
    if (!has_val)
        return sm_lex_wanted(l, "a const with a val before this");
    *l = val;
    SM_TRY(read_const_value(p, name.p, &a, &v));
    *l = end;
    if (sm_map_get(p->consts, name, &known)) {
        old = (sm_value *)(intptr_t)known;
        v = same_const(old, v) ? old : v;
    } else if (!sm_map_put(p->consts, name, (int64_t)(intptr_t)v, NULL, NULL)) {
        return SM_NOMEM(p->err);
    }
    return declare(p, s, name, v, at);
}

/* Result types as written against what inference found: kind, dtype and rank agree; "?3" gets its meaning. */
static sm_status check_results(sm_parser *p, const sm_node *n, const results *r) {
    char have[256];
    int64_t known;
    if ((size_t)n->n_out != r->type.n)
        return SM_FAIL(p->err, SM_BADINPUT, "%s has %d results, found %zu", sm_op_row_of(n->op)->name, n->n_out,
                       r->type.n);
    for (int i = 0; i < n->n_out; i++) {
        const sm_type *is = &n->out[i]->type, *says = &r->type.v[i].type;
        if (is->kind != says->kind || is->dtype != says->dtype || (is->rank != says->rank && !p->o->foreign))
            return SM_FAIL(p->err, SM_BADINPUT, "%s is declared as %s with %d axes, but is %s", r->name.v[i].p,
                           sm_dtype_name(says->dtype), says->rank,
                           sm_type_print(p->g, is, NULL, false, have, sizeof have));
        for (int a = 0; a < is->rank && a < says->rank; a++) {
            sm_sv text = r->type.v[i].dim[a], rest;
            int k = sm_dim_as_symbol(p->g, is->dims[a]);
            while (text.n > 0 && text.p[text.n - 1] == ' ')
                text.n--;
            bool anon = text.n > 1 && text.p[0] == '?' && k >= 0 && p->g->priv->syms.v[k].anon;
            rest = (sm_sv){text.p + 1, text.n - 1};
            if (anon && sm_parse_number(&rest, &known) && rest.n == 0 &&
                !sm_map_put(p->anon, text, is->dims[a], NULL, NULL))
                return SM_NOMEM(p->err);
        }
    }
    return SM_OK;
}

static sm_status read_block_body(sm_parser *p, sm_builder *b, scope *s, int depth);

/* "block(types and names) { .. } -> (names)" */
static sm_status read_block(sm_parser *p, sm_builder *b, const scope *up, int depth, sm_block **out) {
    sm_lex *l = &p->l;
    results r = {0};
    scope s = {0};
    sm_builder inner = *b;
    sm_status st = SM_OK;
    if (depth > BLOCK_DEPTH)
        return sm_lex_wanted(l, "less nesting of blocks");
    *out = inner.b = sm_build_block(b);
    if (*out == NULL || !scope_start(&s, up))
        return SM_NOMEM(p->err);
    SM_TRY_DONE(sm_lex_next(l));
    SM_TRY_DONE(sm_lex_need(l, '('));
    if (!sm_lex_is(l, ')'))
        SM_TRY_DONE(read_typed_names(p, &r));
    SM_TRY_DONE(sm_lex_need(l, ')'));
    for (size_t i = 0; i < r.type.n; i++) {
        SM_TRY_DONE(resolve_dims(p, &r.type.v[i]));
        sm_value *v = sm_build_input(&inner, r.name.v[i].p, r.type.v[i].type);
        SM_TRY_DONE(sm_build_end(&inner, p->err));
        SM_TRY_DONE(declare(p, &s, r.name.v[i], v, l->tok.at));
    }
    SM_TRY_DONE(read_block_body(p, &inner, &s, depth));
done:
    sm_free(r.type.v);
    sm_free(r.name.v);
    sm_map_free(&s.names);
    return st;
}

static sm_status build_op(sm_parser *p, sm_builder *b, scope *s, sm_op op, const results *r, const operands *o,
                          sm_block *const *blocks, int n_blocks, const char *at) {
    sm_node *n = sm_build_node_blocks(b, op, r->name.n > 0 ? r->name.v[0].p : NULL, o->in, o->all.v, (int)o->all.n,
                                      blocks, n_blocks);
    sm_status st = sm_build_end(b, p->err);
    if (st == SM_OK)
        st = check_results(p, n, r);
    for (size_t i = 0; i < r->name.n && st == SM_OK; i++) {
        if (n->n_out > 1)
            sm_build_rename(b, n->out[i], r->name.v[i].p);
        st = sm_build_end(b, p->err);
    }
    if (st != SM_OK) {
        sm_lex_place(&p->l, at);
        return st;
    }
    for (size_t i = 0; i < r->name.n; i++)
        SM_TRY(declare(p, s, r->name.v[i], n->out[i], at));
    return SM_OK;
}

/* An op over constants that the caller can say as one constant (weights of constexpr ops). */
static sm_status fold_op(sm_parser *p, sm_builder *b, scope *s, sm_op op, const results *r, const operands *o,
                         const char *at, bool *folded) {
    sm_value *v = NULL;
    if (p->o->fold == NULL || r->name.n != 1 || strncmp(sm_op_row_of(op)->name, "constexpr_", 10) != 0)
        return SM_OK;
    sm_status st = p->o->fold(p->o->ctx, b, op, r->name.v[0].p, o->in, &v, p->err);
    if (st != SM_OK) {
        sm_err_prefix(p->err, "%s", sm_op_row_of(op)->name);
        sm_lex_place(&p->l, at);
    }
    *folded = v != NULL;
    return st == SM_OK && v != NULL ? declare(p, s, r->name.v[0], v, at) : st;
}

/* An operation from its name to its ';'. */
static sm_status read_op(sm_parser *p, sm_builder *b, scope *s, const results *r, int depth, const char *at) {
    sm_lex *l = &p->l;
    sm_op op;
    operands o = {0};
    sm_block *blocks[2] = {NULL};
    int n_blocks = 0;
    sm_status st = SM_OK;
    if (l->tok.kind != SM_TOK_WORD || !sm_op_of_name(l->tok.text, &op)) {
        st = sm_lex_wanted(l, "an op that smelt knows");
        return st;
    }
    SM_TRY(sm_lex_next(l));
    SM_TRY_DONE(read_operands(p, s, op, &o));
    SM_TRY_DONE(read_op_attributes(p, s, op, &o));
    while (sm_lex_word(l, "block")) {
        if (n_blocks == 2) {
            st = sm_lex_wanted(l, "at most two blocks");
            goto done;
        }
        SM_TRY_DONE(read_block(p, b, s, depth + 1, &blocks[n_blocks]));
        n_blocks++;
    }
    if (!sm_lex_is(l, ';')) {
        st = sm_lex_wanted(l, "';'");
        goto done;
    }
    SM_TRY_DONE(join_lists(p, op, &o));
    bool folded = false;
    SM_TRY_DONE(fold_op(p, b, s, op, r, &o, at, &folded));
    if (!folded)
        SM_TRY_DONE(build_op(p, b, s, op, r, &o, blocks, n_blocks, at));
    SM_TRY_DONE(sm_lex_next(l));
done:
    free_lists(&o);
    return st;
}

/* "classify(probabilities = p, classes = list<string, 2>(["a", "b"]))[..];": a label and a dictionary of probabilities, for
 * which there are no types.  They become the place of the largest probability and the probabilities in order. */
static sm_status read_classify(sm_parser *p, sm_builder *b, scope *s, const results *r, const char *at) {
    sm_lex *l = &p->l;
    sm_value *v = NULL;
    bool labels = false;
    const int32_t flat = -1;
    SM_TRY(sm_lex_next(l));
    SM_TRY(sm_lex_need(l, '('));
    for (bool first = true; !sm_lex_is(l, ')'); first = false) {
        if (!first)
            SM_TRY(sm_lex_need(l, ','));
        bool classes = sm_lex_word(l, "classes");
        if (!classes && !sm_lex_word(l, "probabilities"))
            return sm_lex_wanted(l, "classes or probabilities");
        SM_TRY(sm_lex_next(l));
        SM_TRY(sm_lex_need(l, '='));
        if (classes) {
            SM_TRY(sm_parse_labels(p));
            labels = true;
            continue;
        }
        v = l->tok.kind == SM_TOK_WORD || l->tok.kind == SM_TOK_NAME ? look_up(s, l->tok.text) : NULL;
        if (v == NULL || v->type.kind != SM_V_TENSOR)
            return sm_lex_wanted(l, "an array defined before");
        SM_TRY(sm_lex_next(l));
    }
    if (v == NULL || !labels)
        return sm_lex_wanted(l, "classes and probabilities before this");
    SM_TRY(sm_lex_next(l));
    if (sm_lex_is(l, '[')) {
        SM_TRY(sm_lex_next(l));
        while (!sm_lex_is(l, ']')) {
            SM_TRY(sm_parse_skip_value(p));
            if (sm_lex_is(l, ','))
                SM_TRY(sm_lex_next(l));
            else if (!sm_lex_is(l, ']'))
                return sm_lex_wanted(l, "']'");
        }
        SM_TRY(sm_lex_next(l));
    }
    SM_TRY(sm_lex_need(l, ';'));
    sm_value *all = sm_build(b, SM_OP_RESHAPE, r->name.v[1].p, "x", v, "shape", sm_const_i32s(b, &flat, 1), NULL);
    sm_value *best = sm_build(b, SM_OP_REDUCE_ARGMAX, r->name.v[0].p, "x", all, "axis", sm_const_i32(b, 0), NULL);
    sm_status st = sm_build_end(b, p->err);
    if (st != SM_OK) {
        sm_lex_place(l, at);
        return st;
    }
    SM_TRY(declare(p, s, r->name.v[0], best, at));
    return declare(p, s, r->name.v[1], all, at);
}

static sm_status read_statement(sm_parser *p, sm_builder *b, scope *s, int depth) {
    sm_lex *l = &p->l;
    results r = {0};
    const char *at = l->tok.at;
    sm_status st = SM_OK;
    sm_lex ahead = *l;
    SM_TRY(sm_lex_next(&ahead));
    if (sm_parse_starts_type(l) && !sm_lex_is(&ahead, '(')) {
        SM_TRY_DONE(read_typed_names(p, &r));
        SM_TRY_DONE(sm_lex_need(l, '='));
    }
    if (sm_lex_word(l, "const") && r.type.n == 1)
        st = read_const(p, s, r.name.v[0], at);
    else if (sm_lex_word(l, "classify") && r.type.n == 2)
        st = read_classify(p, b, s, &r, at);
    else
        st = read_op(p, b, s, &r, depth, at);
done:
    sm_free(r.type.v);
    sm_free(r.name.v);
    return st;
}

/* "{ statements } -> (names)"; the names become the block's results. */
static sm_status read_block_body(sm_parser *p, sm_builder *b, scope *s, int depth) {
    sm_lex *l = &p->l;
    SM_TRY(sm_lex_need(l, '{'));
    while (!sm_lex_is(l, '}'))
        SM_TRY(read_statement(p, b, s, depth));
    SM_TRY(sm_lex_next(l));
    if (l->tok.kind != SM_TOK_ARROW)
        return sm_lex_wanted(l, "'->'");
    SM_TRY(sm_lex_next(l));
    SM_TRY(sm_lex_need(l, '('));
    for (bool first = true; !sm_lex_is(l, ')'); first = false) {
        if (!first)
            SM_TRY(sm_lex_need(l, ','));
        bool name = l->tok.kind == SM_TOK_WORD || l->tok.kind == SM_TOK_NAME;
        sm_value *v = name ? look_up(s, l->tok.text) : NULL;
        if (v == NULL)
            return sm_lex_wanted(l, "a value defined before");
        sm_build_output(b, v, NULL);
        SM_TRY(sm_build_end(b, p->err));
        SM_TRY(sm_lex_next(l));
    }
    return sm_lex_next(l);
}

/* ---- functions, program ---- */

/* What is said of a function's inputs: by its attributes, else by the caller. */
typedef struct flex_names {
    sm_map *own, *given;
} flex_names;

/* An input's type: "?" becomes what is said of the input. */
static sm_status input_type(sm_parser *p, sm_written *w, sm_sv name, const sm_func_attrs *a, const flex_names *names) {
    const sm_flex_input *f = sm_flex_find(a->flex.v, names->own, name);
    if (f == NULL)
        f = sm_flex_find(p->o->flex, names->given, name);
    if (f == NULL)
        return resolve_dims(p, w);
    sm_written known = *w;
    for (int i = 0; i < w->type.rank; i++)
        if (sm_sv_is(w->dim[i], "?"))
            known.dim[i] = (sm_sv){"0", 1};
    SM_TRY(resolve_dims(p, &known));
    for (int i = 0; i < w->type.rank; i++)
        w->type.dims[i] = sm_sv_is(w->dim[i], "?") ? SM_DIM_UNKNOWN : known.type.dims[i];
    sm_status st = sm_flex_dims(p->g, p->f->name, name.p, f, &w->type, p->err);
    if (st != SM_OK) {
        sm_err_prefix(p->err, "input %s", sm_quote(name.p, name.n));
        sm_lex_place(&p->l, w->at);
    }
    return st;
}

static sm_status read_func_inputs(sm_parser *p, sm_builder *b, scope *s, const sm_func_attrs *a) {
    sm_lex *l = &p->l;
    results r = {0};
    sm_status st = SM_OK;
    SM_TRY(sm_lex_need(l, '('));
    sm_sv func = sm_sv_of(p->f->name + (p->o->prefix == NULL ? 0 : strlen(p->o->prefix)));
    flex_names names = {sm_flex_names(a->flex.v, (int)a->flex.n, func), sm_flex_names(p->o->flex, p->o->n_flex, func)};
    SM_TRY_DONE(names.own == NULL || names.given == NULL ? SM_NOMEM(p->err) : SM_OK);
    if (!sm_lex_is(l, ')'))
        SM_TRY_DONE(read_typed_names(p, &r));
    for (size_t i = 0; i < r.type.n; i++) {
        SM_TRY_DONE(input_type(p, &r.type.v[i], r.name.v[i], a, &names));
        sm_value *v = sm_build_input(b, r.name.v[i].p, r.type.v[i].type);
        st = sm_build_end(b, p->err);
        if (st != SM_OK) {
            sm_lex_place(l, r.type.v[i].at);
            goto done;
        }
        SM_TRY_DONE(declare(p, s, r.name.v[i], v, r.type.v[i].at));
    }
    SM_TRY_DONE(sm_lex_need(l, ')'));
    SM_TRY_DONE(sm_flex_sets(p->f, func, a->flex.v, (int)a->flex.n, p->err));
    if (a->flex.n == 0)
        SM_TRY_DONE(sm_flex_sets(p->f, func, p->o->flex, p->o->n_flex, p->err));
    st = sm_parse_shapes(p, a);
done:
    sm_map_free(&names.own);
    sm_map_free(&names.given);
    sm_free(r.type.v);
    sm_free(r.name.v);
    return st;
}

/* Attributes stand behind the inputs, whose extents they tell: a look ahead over the parentheses.  *body: what follows. */
static sm_status read_func_attributes(sm_parser *p, sm_func_attrs *a, sm_lex *body) {
    sm_lex from = p->l;
    while (!sm_lex_is(&p->l, ')')) {
        if (p->l.tok.kind == SM_TOK_END)
            return sm_lex_wanted(&p->l, "')'");
        SM_TRY(sm_lex_next(&p->l));
    }
    SM_TRY(sm_lex_next(&p->l));
    SM_TRY(sm_parse_attributes(p, a));
    *body = p->l;
    p->l = from;
    return SM_OK;
}

/* From the function's '(' on. */
static sm_status read_func_rest(sm_parser *p, scope *s) {
    sm_builder b;
    sm_func_attrs a = {0};
    sm_lex body;
    sm_status st;
    sm_build_start(&b, p->f);
    SM_TRY_DONE(read_func_attributes(p, &a, &body));
    SM_TRY_DONE(read_func_inputs(p, &b, s, &a));
    p->l = body;
    SM_TRY_DONE(read_block_body(p, &b, s, 0));
    st = sm_lex_need(&p->l, ';');
done:
    sm_free(a.flex.v);
    return st;
}

static sm_status read_func(sm_parser *p) {
    sm_lex *l = &p->l;
    sm_sv name = {0};
    int opset;
    scope s = {0};
    sm_status st = SM_OK;
    SM_TRY(sm_lex_need_word(l, "func"));
    const char *at = l->tok.at;
    SM_TRY(need_name(p, &name));
    SM_TRY(sm_lex_need(l, '<'));
    if (l->tok.kind != SM_TOK_WORD || !sm_text_opset_of(l->tok.text, &opset))
        return sm_lex_wanted(l, "ios15 to ios18, ios26 or rows");
    const char *as = p->o->prefix == NULL ? name.p : sm_arena_printf(p->g->arena, "%s%s", p->o->prefix, name.p);
    if (as == NULL)
        return SM_NOMEM(p->err);
    if (sm_graph_func(p->g, as) != NULL) {
        st = SM_FAIL(p->err, SM_BADINPUT, "two functions are named %s", sm_quote(name.p, name.n));
        sm_lex_place(l, at);
        return st;
    }
    SM_TRY(sm_lex_next(l));
    SM_TRY(sm_lex_need(l, '>'));
    SM_TRY(sm_func_new(p->g, as, opset, &p->f, p->err));
    p->anon = sm_map_new(16);
    if (p->anon == NULL || !scope_start(&s, NULL))
        st = SM_NOMEM(p->err);
    else
        st = read_func_rest(p, &s);
    sm_map_free(&p->anon);
    sm_map_free(&s.names);
    return st;
}

static sm_status read_program(sm_parser *p) {
    sm_lex *l = &p->l;
    SM_TRY(sm_lex_need_word(l, "program"));
    SM_TRY(sm_lex_need(l, '('));
    if (l->tok.kind != SM_TOK_NUM || (!sm_sv_is(l->tok.text, "1.0") && !sm_sv_is(l->tok.text, "1.3")))
        return sm_lex_wanted(l, "version 1.0 or 1.3");
    SM_TRY(sm_lex_next(l));
    SM_TRY(sm_lex_need(l, ')'));
    SM_TRY(sm_parse_attributes(p, NULL));
    SM_TRY(sm_lex_need(l, '{'));
    while (!sm_lex_is(l, '}'))
        SM_TRY(read_func(p));
    SM_TRY(sm_lex_next(l));
    return l->tok.kind == SM_TOK_END ? SM_OK : sm_lex_wanted(l, "the end");
}

sm_status sm_graph_parse_with(sm_sv text, const char *file, const sm_parse_opts *o, sm_graph **out, sm_err *err) {
    sm_err own = {0};
    sm_parser p = {.err = err != NULL ? err : &own, .o = o, .g = o->into};
    *out = NULL;
    if (p.g == NULL)
        SM_TRY(sm_graph_new(&p.g, p.err));
    p.env = (sm_text_env){o->blob, o->ctx, random_budget, p.g->arena};
    p.consts = sm_map_new(64);
    sm_status st = p.consts == NULL ? SM_NOMEM(p.err) : SM_OK;
    if (st == SM_OK)
        st = sm_lex_start(&p.l, text, file, p.g->arena, p.err);
    if (st == SM_OK)
        st = read_program(&p);
    sm_map_free(&p.consts);
    if (st != SM_OK && o->into == NULL)
        sm_graph_free(&p.g);
    *out = st == SM_OK ? p.g : NULL;
    return st;
}

sm_status sm_graph_parse(sm_sv text, const char *file, sm_blob_resolver blob, void *ctx, sm_graph **out, sm_err *err) {
    const sm_parse_opts o = {.blob = blob, .ctx = ctx};
    return sm_graph_parse_with(text, file, &o, out, err);
}
