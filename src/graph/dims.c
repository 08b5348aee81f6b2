/* SPDX-License-Identifier: MIT
 *
 * dims.c: extents that are not numbers yet.
 *
 * An extent is a number or a handle of an interned linear expression, so that equality of expressions is equality of
 * integers.  What is not linear (n * kv, n / 2 ...) becomes an anonymous symbol; when it is a function of two extents the
 * symbol remembers them, so that the same product asked for twice is the same symbol and can be evaluated.  Everything is
 * bounded: terms of a sum, nesting of functions; beyond that an extent is just unknown, which is never an error.
 *
 * The tables are in the graph; reading functions (bounds, equal, eval, print) change nothing and may be shared.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "graph/graph_int.h"

#define NO_LO INT64_MIN
#define NO_HI INT64_MAX

static sm_dim oom(sm_graph *g) {
    g->priv->oom = true;
    return SM_DIM_UNKNOWN;
}

/* ---- linear expressions ---- */

bool sm_lin_of(const sm_graph *g, sm_dim d, sm_lin *out) {
    if (d == SM_DIM_UNKNOWN)
        return false;
    out->n = 0;
    out->c = d;
    if (sm_dim_known(d))
        return true;
    int64_t i = SM_DIM_SYM_LIMIT - 1 - d;
    assert(i >= 0 && (size_t)i < g->priv->exprs.n);
    const int64_t *e = g->priv->exprs.v[i];
    out->n = (int)e[0];
    out->c = e[1];
    for (int t = 0; t < out->n; t++) {
        out->sym[t] = e[2 + 2 * t];
        out->k[t] = e[3 + 2 * t];
    }
    return true;
}

static sm_dim number(int64_t v) {
    return sm_dim_known(v) ? v : SM_DIM_UNKNOWN;
}

static sm_dim intern(sm_graph *g, const sm_lin *l) {
    if (l->n == 0)
        return number(l->c);
    int64_t key[2 + 2 * SM_LIN_MAX] = {l->n, l->c}, i;
    for (int t = 0; t < l->n; t++) {
        key[2 + 2 * t] = l->sym[t];
        key[3 + 2 * t] = l->k[t];
    }
    size_t bytes = (size_t)(2 + 2 * l->n) * sizeof key[0];
    struct sm_graph_priv *p = g->priv;
    if (sm_map_get(p->expr_of, (sm_sv){(const char *)key, bytes}, &i))
        return SM_DIM_SYM_LIMIT - 1 - i;
    int64_t *e = sm_arena_alloc(g->arena, bytes);
    if (e == NULL || !SM_GROW(&p->exprs))
        return oom(g);
    memcpy(e, key, bytes);
    i = (int64_t)p->exprs.n;
    if (!sm_map_put(p->expr_of, (sm_sv){(const char *)e, bytes}, i, NULL, NULL))
        return oom(g);
    p->exprs.v[p->exprs.n++] = e;
    return SM_DIM_SYM_LIMIT - 1 - i;
}

/* a + f * b; false when it does not fit. */
static bool lin_add(const sm_lin *a, const sm_lin *b, int64_t f, sm_lin *out) {
    int i = 0, j = 0;
    int64_t x;
    out->n = 0;
    if (__builtin_mul_overflow(b->c, f, &x) || __builtin_add_overflow(a->c, x, &out->c) || out->c == INT64_MIN)
        return false;
    while (i < a->n || j < b->n) {
        bool from_a = i < a->n && (j >= b->n || a->sym[i] <= b->sym[j]);
        bool from_b = j < b->n && (i >= a->n || b->sym[j] <= a->sym[i]);
        int64_t sym = from_a ? a->sym[i] : b->sym[j], k = 0;
        if (from_b && __builtin_mul_overflow(b->k[j], f, &k))
            return false;
        if (from_a && __builtin_add_overflow(k, a->k[i], &k))
            return false;
        i += from_a;
        j += from_b;
        if (k == 0)
            continue;
        if (out->n == SM_LIN_MAX || k == INT64_MIN)
            return false;
        out->sym[out->n] = sym;
        out->k[out->n++] = k;
    }
    return true;
}

static int64_t sat_add(int64_t a, int64_t b, int64_t none) {
    int64_t r;
    return a == none || b == none || __builtin_add_overflow(a, b, &r) ? none : r;
}

static int64_t sat_mul(int64_t a, int64_t k, int64_t none) {
    int64_t r;
    return a == NO_LO || a == NO_HI || __builtin_mul_overflow(a, k, &r) ? none : r;
}

static void lin_range(const sm_graph *g, const sm_lin *l, int64_t *lo, int64_t *hi) {
    *lo = *hi = l->c;
    for (int t = 0; t < l->n; t++) {
        const sm_symbol *s = &g->priv->syms.v[l->sym[t]];
        bool up = l->k[t] > 0;
        *lo = sat_add(*lo, sat_mul(up ? s->lo : s->hi, l->k[t], NO_LO), NO_LO);
        *hi = sat_add(*hi, sat_mul(up ? s->hi : s->lo, l->k[t], NO_HI), NO_HI);
    }
}

/* ---- symbols ---- */

static sm_dim symbol_dim(sm_graph *g, int64_t k) {
    sm_lin l = {.n = 1, .sym = {k}, .k = {1}};
    return intern(g, &l);
}

static sm_dim new_symbol(sm_graph *g, const sm_symbol *s) {
    struct sm_graph_priv *p = g->priv;
    if (s->name == NULL || !SM_GROW(&p->syms))
        return oom(g);
    p->syms.v[p->syms.n++] = *s;
    return symbol_dim(g, (int64_t)p->syms.n - 1);
}

/* Notes that a symbol shows this name; *old: the entry of one that does already, else -1. */
static bool take_shown(struct sm_graph_priv *p, const char *name, int64_t *old) {
    bool existed = false;
    if (!SM_GROW(&p->shown) || !sm_map_put(p->shown_of, sm_sv_of(name), (int64_t)p->shown.n, &existed, old))
        return false;
    if (existed)
        return true;
    *old = -1;
    p->shown.v[p->shown.n++] = 0;
    return true;
}

/* The name as a word of the text form, which no other symbol shows; NULL when out of memory. */
static const char *shown_name(sm_graph *g, const char *name) {
    size_t n = SM_MIN(strlen(name), 100);
    bool letter = (name[0] >= 'a' && name[0] <= 'z') || (name[0] >= 'A' && name[0] <= 'Z') || name[0] == '_';
    char *s = sm_arena_printf(g->arena, "%s%.*s", letter ? "" : "_", (int)n, name);
    for (char *q = s; q != NULL && *q != 0; q++)
        if (!((*q >= 'a' && *q <= 'z') || (*q >= 'A' && *q <= 'Z') || (*q >= '0' && *q <= '9') || strchr("_.@", *q)))
            *q = '_';
    const char *unique = s;
    int64_t taken, other;
    if (s == NULL || !take_shown(g->priv, s, &taken))
        return NULL;
    for (other = taken; unique != NULL && other >= 0;) {
        unique = sm_arena_printf(g->arena, "%s_%d", s, g->priv->shown.v[taken]++);
        if (unique == NULL || !take_shown(g->priv, unique, &other))
            return NULL;
    }
    return unique;
}

sm_dim sm_dim_symbol(sm_graph *g, const char *name, int64_t lo, int64_t hi) {
    struct sm_graph_priv *p = g->priv;
    int64_t k;
    assert(lo >= 0);
    if (hi < 0)
        hi = NO_HI;
    if (sm_map_get(p->sym_of, sm_sv_of(name), &k)) {
        p->syms.v[k].lo = SM_MAX(p->syms.v[k].lo, lo);
        p->syms.v[k].hi = SM_MIN(p->syms.v[k].hi, hi);
        return symbol_dim(g, k);
    }
    const char *kept = sm_arena_strdup(g->arena, name);
    sm_symbol s = {.name = shown_name(g, name), .lo = lo, .hi = hi};
    k = (int64_t)p->syms.n;
    if (kept == NULL)
        return oom(g);
    sm_dim d = new_symbol(g, &s);
    if (d != SM_DIM_UNKNOWN && !sm_map_put(p->sym_of, sm_sv_of(kept), k, NULL, NULL))
        return oom(g);
    return d;
}

sm_dim sm_dim_anon(sm_graph *g, int64_t lo, int64_t hi) {
    sm_symbol s = {.name = sm_arena_printf(g->arena, "?%d", g->priv->n_anon), .lo = lo, .hi = hi, .anon = true};
    g->priv->n_anon++;
    return new_symbol(g, &s);
}

sm_dim sm_dim_fresh(sm_graph *g) {
    return sm_dim_anon(g, 0, NO_HI);
}

int sm_graph_find_symbol(const sm_graph *g, const char *name) {
    int64_t k;
    return sm_map_get(g->priv->sym_of, sm_sv_of(name), &k) ? (int)k : -1;
}

int sm_graph_n_symbols(const sm_graph *g) {
    return (int)g->priv->syms.n;
}

const char *sm_graph_symbol(const sm_graph *g, int k, int64_t *lo, int64_t *hi) {
    assert(k >= 0 && (size_t)k < g->priv->syms.n);
    const sm_symbol *s = &g->priv->syms.v[k];
    if (lo != NULL)
        *lo = s->lo;
    if (hi != NULL)
        *hi = s->hi == NO_HI ? -1 : s->hi;
    return s->name;
}

int sm_dim_as_symbol(const sm_graph *g, sm_dim d) {
    sm_lin l;
    if (sm_dim_known(d) || !sm_lin_of(g, d, &l) || l.n != 1 || l.k[0] != 1 || l.c != 0)
        return -1;
    return (int)l.sym[0];
}

/* ---- arithmetic ---- */

static sm_dim combine(sm_graph *g, sm_dim a, sm_dim b, int64_t f) {
    sm_lin x, y, r;
    if (!sm_lin_of(g, a, &x) || !sm_lin_of(g, b, &y) || !lin_add(&x, &y, f, &r))
        return SM_DIM_UNKNOWN;
    return intern(g, &r);
}

sm_dim sm_dim_add(sm_graph *g, sm_dim a, sm_dim b) {
    return combine(g, a, b, 1);
}

sm_dim sm_dim_sub(sm_graph *g, sm_dim a, sm_dim b) {
    return combine(g, a, b, -1);
}

sm_dim sm_dim_mul(sm_graph *g, sm_dim a, sm_dim b) {
    if (a == 0 || b == 0)
        return 0;
    if (sm_dim_known(a) && a != SM_DIM_UNKNOWN)
        return combine(g, 0, b, a);
    return sm_dim_known(b) ? combine(g, 0, a, b) : SM_DIM_UNKNOWN;
}

/* a == q * b for a number q?  b has terms. */
static bool lin_ratio(const sm_lin *a, const sm_lin *b, int64_t *q) {
    if (a->n != b->n || b->n == 0 || a->k[0] % b->k[0] != 0)
        return false;
    *q = a->k[0] / b->k[0];
    int64_t x;
    for (int t = 0; t < a->n; t++)
        if (a->sym[t] != b->sym[t] || __builtin_mul_overflow(*q, b->k[t], &x) || a->k[t] != x)
            return false;
    return !__builtin_mul_overflow(*q, b->c, &x) && a->c == x;
}

sm_dim sm_dim_div(sm_graph *g, sm_dim a, sm_dim b) {
    sm_lin x, y;
    int64_t q;
    if (!sm_lin_of(g, a, &x) || !sm_lin_of(g, b, &y) || b == 0)
        return SM_DIM_UNKNOWN;
    if (a == 0)
        return 0;
    if (y.n > 0)
        return lin_ratio(&x, &y, &q) ? number(q) : SM_DIM_UNKNOWN;
    if (x.c % b != 0)
        return SM_DIM_UNKNOWN;
    x.c /= b;
    for (int t = 0; t < x.n; t++) {
        if (x.k[t] % b != 0)
            return SM_DIM_UNKNOWN;
        x.k[t] /= b;
    }
    return intern(g, &x);
}

static int64_t floor_div(int64_t a, int64_t b) {
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

/* fn of two numbers; SM_DIM_UNKNOWN for a division by 0 and what does not fit. */
static int64_t fn_of(sm_dim_fn fn, int64_t a, int64_t b) {
    int64_t r;
    switch (fn) {
    case SM_FN_MUL:
        return __builtin_mul_overflow(a, b, &r) ? SM_DIM_UNKNOWN : r;
    case SM_FN_FLOOR_DIV:
        return b == 0 || (b == -1 && a == INT64_MIN) ? SM_DIM_UNKNOWN : floor_div(a, b);
    case SM_FN_TRUNC_DIV:
        return b == 0 || (b == -1 && a == INT64_MIN) ? SM_DIM_UNKNOWN : a / b;
    case SM_FN_MOD:
        if (b == 0 || b == -1)
            return b == 0 ? SM_DIM_UNKNOWN : 0;
        r = a % b;
        return r != 0 && (r < 0) != (b < 0) ? r + b : r;
    case SM_FN_MAX:
        return SM_MAX(a, b);
    case SM_FN_MIN:
        return SM_MIN(a, b);
    case SM_FN_NONE:
        break;
    }
    return SM_DIM_UNKNOWN;
}

/* What algebra knows without a new symbol. */
static sm_dim fold(sm_graph *g, sm_dim_fn fn, sm_dim a, sm_dim b) {
    if (sm_dim_known(a) && sm_dim_known(b))
        return number(fn_of(fn, a, b));
    switch (fn) {
    case SM_FN_MUL:
        return sm_dim_mul(g, a, b);
    case SM_FN_FLOOR_DIV:
    case SM_FN_TRUNC_DIV:
        return sm_dim_div(g, a, b);
    case SM_FN_MOD:
        return sm_dim_div(g, a, b) == SM_DIM_UNKNOWN ? SM_DIM_UNKNOWN : 0;
    case SM_FN_MAX:
        return sm_dim_le(g, a, b) ? b : sm_dim_le(g, b, a) ? a : SM_DIM_UNKNOWN;
    case SM_FN_MIN:
        return sm_dim_le(g, a, b) ? a : sm_dim_le(g, b, a) ? b : SM_DIM_UNKNOWN;
    case SM_FN_NONE:
        break;
    }
    return SM_DIM_UNKNOWN;
}

/* Bounds of fn, from those of its operands: exact at the corners for what is monotone in each of them. */
static void fn_range(const sm_graph *g, sm_dim_fn fn, sm_dim a, sm_dim b, int64_t *lo, int64_t *hi) {
    int64_t al, ah, bl, bh;
    sm_dim_range(g, a, &al, &ah);
    sm_dim_range(g, b, &bl, &bh);
    *lo = NO_LO;
    *hi = NO_HI;
    switch (fn) {
    case SM_FN_MUL:
        if (al >= 0 && bl >= 0) {
            *lo = sat_mul(al, bl, 0);
            *hi = ah == NO_HI ? NO_HI : sat_mul(bh, ah, NO_HI);
        }
        break;
    case SM_FN_FLOOR_DIV:
    case SM_FN_TRUNC_DIV:
        if (al >= 0 && bl >= 1) {
            *lo = bh == NO_HI ? 0 : al / bh;
            *hi = ah == NO_HI ? NO_HI : ah / bl;
        }
        break;
    case SM_FN_MOD:
        if (bl >= 1) {
            *lo = 0;
            *hi = bh == NO_HI ? NO_HI : bh - 1;
        }
        break;
    case SM_FN_MAX:
        *lo = SM_MAX(al, bl);
        *hi = SM_MAX(ah, bh);
        break;
    case SM_FN_MIN:
        *lo = SM_MIN(al, bl);
        *hi = SM_MIN(ah, bh);
        break;
    case SM_FN_NONE:
        break;
    }
}

/* Depth of function nesting inside d. */
static int depth_of(const sm_graph *g, sm_dim d) {
    sm_lin l;
    int depth = 0;
    if (!sm_dim_known(d) && sm_lin_of(g, d, &l))
        for (int t = 0; t < l.n; t++)
            depth = SM_MAX(depth, g->priv->syms.v[l.sym[t]].depth);
    return depth;
}

sm_dim sm_dim_call(sm_graph *g, sm_dim_fn fn, sm_dim a, sm_dim b) {
    struct sm_graph_priv *p = g->priv;
    if (a == SM_DIM_UNKNOWN || b == SM_DIM_UNKNOWN)
        return sm_dim_anon(g, NO_LO, NO_HI);
    sm_dim d = fold(g, fn, a, b);
    if (d != SM_DIM_UNKNOWN)
        return d;
    int64_t lo, hi, k;
    fn_range(g, fn, a, b, &lo, &hi);
    int depth = 1 + SM_MAX(depth_of(g, a), depth_of(g, b));
    if (depth > SM_FN_DEPTH)
        return sm_dim_anon(g, lo, hi);
    bool swap = (fn == SM_FN_MUL || fn == SM_FN_MAX || fn == SM_FN_MIN) && a < b;
    int64_t key[3] = {(int64_t)fn, swap ? b : a, swap ? a : b};
    if (sm_map_get(p->fn_of, (sm_sv){(const char *)key, sizeof key}, &k))
        return symbol_dim(g, k);
    void *kept = sm_arena_alloc(g->arena, sizeof key);
    if (kept == NULL)
        return oom(g);
    memcpy(kept, key, sizeof key);
    k = (int64_t)p->syms.n;
    d = sm_dim_anon(g, lo, hi);
    if (d == SM_DIM_UNKNOWN || !sm_map_put(p->fn_of, (sm_sv){kept, sizeof key}, k, NULL, NULL))
        return oom(g);
    sm_symbol *s = &p->syms.v[k];
    s->fn = fn;
    s->a = key[1];
    s->b = key[2];
    s->depth = depth;
    return d;
}

/* ---- questions ---- */

void sm_dim_range(const sm_graph *g, sm_dim d, int64_t *lo, int64_t *hi) {
    sm_lin l;
    *lo = NO_LO;
    *hi = NO_HI;
    if (sm_lin_of(g, d, &l))
        lin_range(g, &l, lo, hi);
}

bool sm_dim_bounds(sm_graph *g, sm_dim d, int64_t *lo, int64_t *hi) {
    int64_t a, b;
    sm_dim_range(g, d, &a, &b);
    if (lo != NULL)
        *lo = a;
    if (hi != NULL)
        *hi = b;
    return a != NO_LO && b != NO_HI;
}

bool sm_dim_at_least(const sm_graph *g, sm_dim d, int64_t lo) {
    int64_t a, b;
    sm_dim_range(g, d, &a, &b);
    return a >= lo && a != NO_LO;
}

/* Bounds of a - b without a new expression. */
static void diff_range(const sm_graph *g, sm_dim a, sm_dim b, int64_t *lo, int64_t *hi) {
    sm_lin x, y, r;
    *lo = NO_LO;
    *hi = NO_HI;
    if (sm_lin_of(g, a, &x) && sm_lin_of(g, b, &y) && lin_add(&x, &y, -1, &r))
        lin_range(g, &r, lo, hi);
}

bool sm_dim_le(const sm_graph *g, sm_dim a, sm_dim b) {
    int64_t lo, hi;
    diff_range(g, a, b, &lo, &hi);
    return hi <= 0;
}

int sm_dim_equal(sm_graph *g, sm_dim a, sm_dim b) {
    int64_t lo, hi;
    diff_range(g, a, b, &lo, &hi);
    if (lo == 0 && hi == 0)
        return 1;
    return lo > 0 || hi < 0 ? 0 : -1;
}

int64_t sm_dim_eval(const sm_graph *g, sm_dim d, const int64_t *sym_value) {
    sm_lin l;
    if (!sm_lin_of(g, d, &l))
        return SM_DIM_UNKNOWN;
    int64_t sum = l.c;
    for (int t = 0; t < l.n; t++) {
        const sm_symbol *s = &g->priv->syms.v[l.sym[t]];
        int64_t v = s->fn == SM_FN_NONE
                        ? sym_value[l.sym[t]]
                        : fn_of(s->fn, sm_dim_eval(g, s->a, sym_value), sm_dim_eval(g, s->b, sym_value));
        if (__builtin_mul_overflow(v, l.k[t], &v) || __builtin_add_overflow(sum, v, &sum))
            return SM_DIM_UNKNOWN;
    }
    return sum;
}

/* ---- print ---- */

typedef struct text_out {
    char *p;
    size_t n, cap;
} text_out;

static void put(text_out *o, const char *s) {
    for (; *s != 0 && o->n + 1 < o->cap; s++)
        o->p[o->n++] = *s;
    o->p[o->n] = 0;
}

static void put_int(text_out *o, uint64_t v) {
    char buf[24];
    snprintf(buf, sizeof buf, "%" PRIu64, v);
    put(o, buf);
}

static uint64_t magnitude(int64_t v) {
    return v < 0 ? -(uint64_t)v : (uint64_t)v;
}

/* Order of terms in print: positive ones first, named symbols before anonymous ones, these by their shown number. */
static int64_t term_rank(const sm_graph *g, const sm_lin *l, int t, const int *anon) {
    const sm_symbol *s = &g->priv->syms.v[l->sym[t]];
    int64_t no = s->anon && anon != NULL ? anon[l->sym[t]] : l->sym[t];
    return (l->k[t] < 0 ? INT64_C(1) << 62 : 0) + (s->anon ? INT64_C(1) << 61 : 0) + no;
}

static void put_term(text_out *o, const sm_graph *g, const sm_lin *l, int t, const int *anon) {
    const sm_symbol *s = &g->priv->syms.v[l->sym[t]];
    bool minus = l->k[t] < 0;
    put(o, o->n == 0 ? (minus ? "-" : "") : minus ? " - " : " + ");
    if (magnitude(l->k[t]) != 1)
        put_int(o, magnitude(l->k[t]));
    if (s->anon && anon != NULL) {
        put(o, "?");
        put_int(o, (uint64_t)anon[l->sym[t]]);
    } else {
        put(o, s->name);
    }
}

/* "2n + kv - m - 1" */
const char *sm_dim_print_as(const sm_graph *g, sm_dim d, const int *anon, char *out, size_t cap) {
    text_out o = {out, 0, cap};
    sm_lin l;
    int64_t done = -1;
    assert(cap > 0);
    out[0] = 0;
    if (!sm_lin_of(g, d, &l)) {
        put(&o, "?");
        return out;
    }
    for (int i = 0; i < l.n; i++) {
        int best = -1;
        for (int t = 0; t < l.n; t++) {
            int64_t r = term_rank(g, &l, t, anon);
            if (r > done && (best < 0 || r < term_rank(g, &l, best, anon)))
                best = t;
        }
        done = term_rank(g, &l, best, anon);
        put_term(&o, g, &l, best, anon);
    }
    if (l.c != 0 || l.n == 0) {
        put(&o, o.n == 0 ? (l.c < 0 ? "-" : "") : l.c < 0 ? " - " : " + ");
        put_int(&o, magnitude(l.c));
    }
    return out;
}

const char *sm_dim_print(const sm_graph *g, sm_dim d, char *out, size_t cap) {
    return sm_dim_print_as(g, d, NULL, out, cap);
}
