/* SPDX-License-Identifier: MIT
 *
 * parse_attr.c: attributes of programs and functions in MIL text: symbols, shape sets, flexible shapes.
 *
 * Core ML's compiler writes what it knows of flexible inputs as an attribute of the function:
 *
 *     FlexibleShapeInformation = tuple<..>((("DefaultShapes", {{"x", [1, 1]}}), ("RangeDims", {{"x", [[1, 1], [1, 64]]}})))
 *     FlexibleShapeInformation = tuple<..>((("DefaultShapes", ..), ("EnumeratedShapes", {{"any", {{"x", [1, 8]}, {"y", [1, 8]}}}, ..})))
 *
 * Ours are `symbols` of the program and `shapes` of a function: "n kv: 1 8, 16 32; m: 4, 8", symbols of each set and its
 * rows.  Every other attribute is skipped.
 */
#include <inttypes.h>
#include <string.h>

#include "graph/parse_int.h"

enum { SHAPES_MAX = 4096, INPUTS_MAX = 4096 }; /* enumerated shapes of one input; flexible inputs */

/* Over one value of whatever form, up to a ',' or closing bracket that is not its own. */
sm_status sm_parse_skip_value(sm_parser *p) {
    int open = 0;
    for (;;) {
        sm_lex *l = &p->l;
        if (l->tok.kind == SM_TOK_END)
            return sm_lex_wanted(l, "the rest of an attribute");
        if (l->tok.kind == SM_TOK_CHAR) {
            bool opens = strchr("([{<", l->tok.c) != NULL, closes = strchr(")]}>", l->tok.c) != NULL;
            if (open == 0 && (closes || l->tok.c == ',' || l->tok.c == ';'))
                return SM_OK;
            open += opens - closes;
        }
        SM_TRY(sm_lex_next(l));
    }
}

/* The type and bracket before a literal that has one: then *wrapped, and a bracket stands behind it. */
static sm_status open_literal(sm_parser *p, bool *wrapped) {
    sm_written w;
    *wrapped = sm_parse_starts_type(&p->l);
    if (!*wrapped)
        return SM_OK;
    SM_TRY(sm_parse_type(p, &w, 0));
    return sm_lex_need(&p->l, '(');
}

/* The string of "string("x")", "tensor<string, []>("x")" or "x". */
sm_status sm_parse_attr_string(sm_parser *p, sm_sv *out) {
    sm_lex *l = &p->l;
    bool wrapped;
    SM_TRY(open_literal(p, &wrapped));
    if (l->tok.kind != SM_TOK_STR)
        return sm_lex_wanted(l, "a string");
    *out = l->tok.text;
    SM_TRY(sm_lex_next(l));
    return wrapped ? sm_lex_need(l, ')') : SM_OK;
}

sm_status sm_parse_attr_int(sm_parser *p, int32_t *out) {
    sm_lex *l = &p->l;
    bool wrapped;
    SM_TRY(open_literal(p, &wrapped));
    SM_TRY(sm_text_elem(l, SM_INT32, out, 0));
    return wrapped ? sm_lex_need(l, ')') : SM_OK;
}

/* ---- labels ---- */

static sm_status read_label(sm_parser *p, sm_sv *out) {
    sm_lex *l = &p->l;
    bool wrapped;
    int64_t number;
    SM_TRY(open_literal(p, &wrapped));
    if (l->tok.kind == SM_TOK_STR) {
        *out = (sm_sv){sm_arena_strndup(p->g->arena, l->tok.text.p, l->tok.text.n), l->tok.text.n};
        SM_TRY(sm_lex_next(l));
    } else {
        SM_TRY(sm_text_elem(l, SM_INT64, &number, 0));
        const char *text = sm_arena_printf(p->g->arena, "%" PRId64, number);
        *out = (sm_sv){text, text == NULL ? 0 : strlen(text)};
    }
    if (out->p == NULL)
        return SM_NOMEM(p->err);
    return wrapped ? sm_lex_need(l, ')') : SM_OK;
}

sm_status sm_parse_labels(sm_parser *p) {
    sm_lex *l = &p->l;
    struct {
        sm_sv *v;
        size_t n, cap;
    } all = {0};
    bool wrapped;
    sm_status st;
    SM_TRY(open_literal(p, &wrapped));
    SM_TRY(sm_lex_need(l, '['));
    while (!sm_lex_is(l, ']')) {
        if (all.n > 0)
            SM_TRY_DONE(sm_lex_need(l, ','));
        SM_TRY_DONE(SM_GROW(&all) ? SM_OK : SM_NOMEM(p->err));
        SM_TRY_DONE(read_label(p, &all.v[all.n]));
        all.n++;
    }
    SM_TRY_DONE(sm_lex_next(l));
    SM_TRY_DONE(wrapped ? sm_lex_need(l, ')') : SM_OK);
    st = p->o->labels == NULL ? SM_OK : p->o->labels(p->o->ctx, all.v, all.n, p->err);
done:
    sm_free(all.v);
    return st;
}

/* "t:1..512 r:1..": symbols in the order of their creation. */
static sm_status read_symbols(sm_parser *p) {
    const char *at = p->l.tok.at;
    sm_sv s;
    SM_TRY(sm_parse_attr_string(p, &s));
    for (;;) {
        char name[128];
        size_t n = 0;
        int64_t lo, hi = -1;
        while (s.n > 0 && (*s.p == ' ' || *s.p == ',')) {
            s.p++;
            s.n--;
        }
        if (s.n == 0)
            return SM_OK;
        while (n < s.n && sm_parse_symbol_char(s.p[n]))
            n++;
        bool ok = n > 0 && n < sizeof name && sm_parse_letter(*s.p) && n < s.n && s.p[n] == ':';
        if (ok) {
            memcpy(name, s.p, n);
            name[n] = 0;
            s.p += n + 1;
            s.n -= n + 1;
            ok = sm_parse_number(&s, &lo) && s.n >= 2 && s.p[0] == '.' && s.p[1] == '.';
        }
        if (ok) {
            s.p += 2;
            s.n -= 2;
            if (s.n > 0 && sm_parse_digit(*s.p))
                ok = sm_parse_number(&s, &hi) && hi >= lo;
        }
        if (!ok) {
            sm_status st = SM_FAIL(p->err, SM_BADINPUT, "symbols: wanted \"name:least..greatest\" and the like");
            sm_lex_place(&p->l, at);
            return st;
        }
        if (sm_dim_symbol(p->g, name, lo, hi) == SM_DIM_UNKNOWN) {
            p->g->priv->oom = false;
            return SM_NOMEM(p->err);
        }
    }
}

/* ---- flexible shapes ---- */

/* "[1, 64]" of the input's rank. */
static sm_status read_shape(sm_parser *p, int64_t *out, int *rank) {
    sm_lex *l = &p->l;
    *rank = 0;
    SM_TRY(sm_lex_need(l, '['));
    while (!sm_lex_is(l, ']')) {
        if (*rank > 0)
            SM_TRY(sm_lex_need(l, ','));
        if (*rank == SM_MAX_RANK)
            return sm_lex_wanted(l, "fewer axes");
        SM_TRY(sm_text_elem(l, SM_INT64, out, (uint64_t)*rank));
        (*rank)++;
    }
    return sm_lex_next(l);
}

/* The input of a name, new with this rank when there is none. */
static sm_status flex_input(sm_parser *p, sm_func_attrs *a, sm_sv name, int rank, sm_flex_input **out) {
    for (size_t i = 0; i < a->flex.n; i++)
        if (sm_sv_eq(a->flex.v[i].name, name)) {
            *out = &a->flex.v[i];
            return (*out)->rank == rank ? SM_OK : sm_lex_wanted(&p->l, "shapes of one rank before this");
        }
    if (a->flex.n == INPUTS_MAX)
        return sm_lex_wanted(&p->l, "fewer inputs before this");
    if (!SM_GROW(&a->flex))
        return SM_NOMEM(p->err);
    *out = &a->flex.v[a->flex.n++];
    **out = (sm_flex_input){.name = name, .rank = rank};
    return SM_OK;
}

/* {{"x", [[1, 1], [1, 64]]}, ..} */
static sm_status read_ranges(sm_parser *p, sm_func_attrs *a) {
    sm_lex *l = &p->l;
    SM_TRY(sm_lex_need(l, '{'));
    while (!sm_lex_is(l, '}')) {
        int64_t lo[SM_MAX_RANK], hi[SM_MAX_RANK], pair[SM_MAX_RANK];
        int rank = 0, two;
        sm_sv name;
        sm_flex_input *f;
        SM_TRY(sm_lex_need(l, '{'));
        SM_TRY(sm_parse_attr_string(p, &name));
        SM_TRY(sm_lex_need(l, ','));
        SM_TRY(sm_lex_need(l, '['));
        while (!sm_lex_is(l, ']')) {
            if (rank > 0)
                SM_TRY(sm_lex_need(l, ','));
            if (rank == SM_MAX_RANK)
                return sm_lex_wanted(l, "fewer axes");
            SM_TRY(read_shape(p, pair, &two));
            if (two != 2)
                return sm_lex_wanted(l, "a least and a greatest extent before this");
            lo[rank] = pair[0];
            hi[rank++] = pair[1] < 0 || pair[1] >= INT32_MAX ? -1 : pair[1];
        }
        SM_TRY(sm_lex_next(l));
        SM_TRY(sm_lex_need(l, '}'));
        SM_TRY(flex_input(p, a, name, rank, &f));
        memcpy(f->lo, lo, sizeof lo);
        memcpy(f->hi, hi, sizeof hi);
        if (sm_lex_is(l, ','))
            SM_TRY(sm_lex_next(l));
    }
    return sm_lex_next(l);
}

/* One more row of an input. */
static sm_status add_row(sm_parser *p, sm_flex_input *f, const int64_t *shape) {
    if (f->n_rows == SHAPES_MAX)
        return sm_lex_wanted(&p->l, "fewer shapes");
    if ((f->n_rows & (f->n_rows - 1)) == 0) { /* a power of two: full */
        int64_t *more = sm_arena_alloc_n(p->g->arena, (size_t)SM_MAX(2 * f->n_rows, 1) * SM_MAX_RANK, sizeof *more);
        if (more == NULL)
            return SM_NOMEM(p->err);
        if (f->n_rows > 0)
            memcpy(more, f->rows, (size_t)f->n_rows * (size_t)f->rank * sizeof *more);
        f->rows = more;
    }
    memcpy(f->rows + (int64_t)f->n_rows * f->rank, shape, (size_t)f->rank * sizeof *shape);
    f->n_rows++;
    return SM_OK;
}

/* {{"x", [1, 8]}, {"y", [1, 8]}}; a NULL: read over. */
static sm_status read_shapes_of(sm_parser *p, sm_func_attrs *a) {
    sm_lex *l = &p->l;
    SM_TRY(sm_lex_need(l, '{'));
    while (!sm_lex_is(l, '}')) {
        int64_t shape[SM_MAX_RANK];
        int rank;
        sm_sv name;
        sm_flex_input *f;
        SM_TRY(sm_lex_need(l, '{'));
        SM_TRY(sm_parse_attr_string(p, &name));
        SM_TRY(sm_lex_need(l, ','));
        SM_TRY(read_shape(p, shape, &rank));
        SM_TRY(sm_lex_need(l, '}'));
        if (a != NULL) {
            SM_TRY(flex_input(p, a, name, rank, &f));
            SM_TRY(add_row(p, f, shape));
        }
        if (sm_lex_is(l, ','))
            SM_TRY(sm_lex_next(l));
    }
    return sm_lex_next(l);
}

/* {{"key", {{"x", [1, 8]}}}, ..} */
static sm_status read_enumerated(sm_parser *p, sm_func_attrs *a) {
    sm_lex *l = &p->l;
    sm_sv key;
    SM_TRY(sm_lex_need(l, '{'));
    while (!sm_lex_is(l, '}')) {
        SM_TRY(sm_lex_need(l, '{'));
        SM_TRY(sm_parse_attr_string(p, &key));
        SM_TRY(sm_lex_need(l, ','));
        SM_TRY(read_shapes_of(p, a));
        SM_TRY(sm_lex_need(l, '}'));
        if (sm_lex_is(l, ','))
            SM_TRY(sm_lex_next(l));
    }
    return sm_lex_next(l);
}

/* The value of FlexibleShapeInformation: its type, then pairs of a word and what it means, in parentheses. */
static sm_status read_flexible(sm_parser *p, sm_func_attrs *a) {
    sm_lex *l = &p->l;
    int open = 0;
    sm_sv word;
    while (!sm_lex_is(l, '(')) {
        if (l->tok.kind == SM_TOK_END)
            return sm_lex_wanted(l, "'('");
        SM_TRY(sm_lex_next(l));
    }
    do {
        if (l->tok.kind == SM_TOK_STR) {
            word = l->tok.text;
            SM_TRY(sm_lex_next(l));
            SM_TRY(sm_lex_need(l, ','));
            SM_TRY(sm_sv_is(word, "RangeDims")          ? read_ranges(p, a)
                   : sm_sv_is(word, "EnumeratedShapes") ? read_enumerated(p, a)
                   : sm_sv_is(word, "DefaultShapes")    ? read_shapes_of(p, NULL)
                                                        : sm_parse_skip_value(p));
            continue;
        }
        if (!sm_lex_is(l, '(') && !sm_lex_is(l, ')') && !sm_lex_is(l, ','))
            return sm_lex_wanted(l, "what is known of flexible shapes");
        open += sm_lex_is(l, '(') - sm_lex_is(l, ')');
        SM_TRY(sm_lex_next(l));
    } while (open > 0);
    return SM_OK;
}

/* ---- our shape sets ---- */

static void skip_blanks(sm_sv *s) {
    while (s->n > 0 && *s->p == ' ') {
        s->p++;
        s->n--;
    }
}

static bool take(sm_sv *s, char c) {
    skip_blanks(s);
    if (s->n == 0 || *s->p != c)
        return false;
    s->p++;
    s->n--;
    return true;
}

/* A symbol's number by its name; -1: no such symbol. */
static int take_symbol_number(sm_parser *p, sm_sv *s) {
    size_t n = 0;
    skip_blanks(s);
    while (n < s->n && sm_parse_symbol_char(s->p[n]))
        n++;
    sm_sv name = {s->p, n};
    s->p += n;
    s->n -= n;
    for (int k = 0; k < sm_graph_n_symbols(p->g); k++)
        if (sm_sv_is(name, sm_graph_symbol(p->g, k, NULL, NULL)))
            return k;
    return -1;
}

/* One set, up to its ';' or the end; false: malformed. */
static bool read_set(sm_parser *p, sm_sv *s, sm_status *st) {
    int sym[64], n_sym = 0, n_rows = 1;
    sm_shape_set *set = NULL;
    *st = SM_OK;
    while (!take(s, ':')) {
        if (s->n == 0 || n_sym == 64 || (sym[n_sym++] = take_symbol_number(p, s)) < 0)
            return false;
    }
    for (size_t i = 0; i < s->n && s->p[i] != ';'; i++)
        n_rows += s->p[i] == ',';
    if (n_sym == 0 || n_rows > SHAPES_MAX)
        return false;
    *st = sm_func_add_shapes(p->f, n_sym, n_rows, &set, p->err);
    if (*st != SM_OK)
        return true;
    memcpy(set->sym, sym, (size_t)n_sym * sizeof *sym);
    for (int r = 0; r < n_rows; r++) {
        for (int k = 0; k < n_sym; k++) {
            skip_blanks(s);
            if (!sm_parse_number(s, &set->value[(int64_t)r * n_sym + k]))
                return false;
        }
        if (r + 1 < n_rows && !take(s, ','))
            return false;
    }
    return true;
}

sm_status sm_parse_shapes(sm_parser *p, const sm_func_attrs *a) {
    sm_sv s = a->shapes;
    while (s.n > 0) {
        sm_status st;
        bool good = read_set(p, &s, &st);
        SM_TRY(st);
        skip_blanks(&s);
        if (!good || (s.n > 0 && !take(&s, ';'))) {
            st = SM_FAIL(p->err, SM_BADINPUT, "shapes: wanted \"symbol symbol: 1 2, 3 4; ..\" and the like");
            sm_lex_place(&p->l, a->at);
            return st;
        }
    }
    return SM_OK;
}

/* ---- lists of attributes ---- */

sm_status sm_parse_attributes(sm_parser *p, sm_func_attrs *a) {
    sm_lex *l = &p->l;
    if (!sm_lex_is(l, '['))
        return SM_OK;
    SM_TRY(sm_lex_next(l));
    bool twice = sm_lex_is(l, '[');
    if (twice)
        SM_TRY(sm_lex_next(l));
    for (bool first = true; !sm_lex_is(l, ']'); first = false) {
        if (!first)
            SM_TRY(sm_lex_need(l, ','));
        if (l->tok.kind != SM_TOK_WORD)
            return sm_lex_wanted(l, "an attribute");
        bool symbols = sm_lex_word(l, "symbols"), shapes = a != NULL && sm_lex_word(l, "shapes"),
             flexible = a != NULL && sm_lex_word(l, "FlexibleShapeInformation");
        SM_TRY(sm_lex_next(l));
        SM_TRY(sm_lex_need(l, '='));
        if (shapes)
            a->at = l->tok.at;
        SM_TRY(symbols    ? read_symbols(p)
               : shapes   ? sm_parse_attr_string(p, &a->shapes)
               : flexible ? read_flexible(p, a)
                          : sm_parse_skip_value(p));
    }
    SM_TRY(sm_lex_next(l));
    return twice ? sm_lex_need(l, ']') : SM_OK;
}
