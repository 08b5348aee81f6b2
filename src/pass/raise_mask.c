/* SPDX-License-Identifier: MIT
 *
 * raise_mask.c: meanings of masks.
 *
 * A mask is a set of (row position, key position), and a value inside and outside of it: 1 and 0 of a comparison, 0 and
 * -40000 after (x - 1) * 40000, or whatever the program makes of it.  The set is: causal, within a window, or both.  So
 * one rule per operation serves masks made of comparisons, of selects and of arithmetic; what scores are given must be 0
 * inside and far below any score outside.
 *
 * A mask that is an input is taken to be the causal one: that is what its host must feed a decoder.  Flags of which keys
 * there are say 1 of every token there is: their set is everything, and what they are where it is not never counts.
 */
#include "pass/raise_int.h"

#include <math.h>
#include <string.h>

#define HIDDEN (-1e4) /* and below: exp is 0 beside any score that is seen */

/* ------------------------------------------------------------------ comparisons of positions */
static bool key_pos(sm_raise *z, const sm_value *v, sm_meaning *out) {
    if (v->cst != NULL && sm_raise_of(z, v)->kind == M_NONE)
        return sm_is_iota(z, v, out);
    *out = *sm_raise_of(z, v);
    return out->kind == M_KEY_POS;
}

/* Positions of a whole text on both sides, [.., n, 1] and [.., 1, n]: x's are the rows' or the keys'. */
static bool own_positions(sm_raise *z, const sm_node *n, bool x_is_row, sm_meaning *m) {
    const sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    sm_meaning a = *sm_raise_of(z, x), b = *sm_raise_of(z, y);
    sm_meaning row = sm_raise_place(z, x_is_row ? x : y);
    if (a.kind != M_KEY_POS || b.kind != M_KEY_POS || row.kind != M_POS ||
        sm_raise_place(z, x_is_row ? y : x).kind != M_POS)
        return false;
    *(x_is_row ? &a : &b) = row;
    *m = (sm_meaning){.made = true};
    return sm_raise_join(x, a.ax, y, b.ax, m->ax);
}

/* {row positions, key positions} of n's operands in the order row - key (sign 1), or key - row (-1). */
static bool positions(sm_raise *z, const sm_node *n, sm_meaning *m, double *sign) {
    const sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    sm_meaning key;
    bool x_is_row = n->op != SM_OP_LESS_EQUAL && n->op != SM_OP_GREATER; /* the larger, or not smaller, one */
    *sign = x_is_row ? 1 : -1;
    if (z->own && own_positions(z, n, x_is_row, m))
        return true;
    bool behind = key_pos(z, y, &key);
    const sm_value *p = behind ? x : y;
    const sm_meaning *pm = sm_raise_of(z, p);
    if (!behind && !key_pos(z, x, &key))
        return false;
    if (p->cst != NULL || (pm->kind != M_POS && pm->kind != M_INT))
        return false;
    *m = (sm_meaning){.joined = key.joined, .made = true, .guarded = key.guarded};
    *sign = behind ? 1 : -1;
    return sm_raise_join(x, behind ? pm->ax : key.ax, y, behind ? key.ax : pm->ax, m->ax) && sm_is_pos(z, pm);
}

static bool back(sm_raise *z, const sm_node *n) {
    sm_meaning m;
    double sign;
    if (!positions(z, n, &m, &sign))
        return false;
    m.kind = M_BACK;
    m.f = sign;
    m.loose = z->own && sm_raise_of(z, sm_arg(n, "x"))->kind == M_KEY_POS &&
              sm_raise_of(z, sm_arg(n, "y"))->kind == M_KEY_POS;
    return sm_raise_set(z, n, m);
}

/* The comparison with its operands swapped. */
static sm_op turned(sm_op op) {
    return op == SM_OP_LESS         ? SM_OP_GREATER
           : op == SM_OP_GREATER    ? SM_OP_LESS
           : op == SM_OP_LESS_EQUAL ? SM_OP_GREATER_EQUAL
                                    : SM_OP_LESS_EQUAL;
}

/* The other position is the row's. */
static void turn_over(sm_meaning *m) {
    for (int i = 0; i < SM_MAX_RANK; i++)
        m->ax[i] = (int8_t)(m->ax[i] == AX_KEYS ? AX_TOKENS : m->ax[i] == AX_TOKENS ? AX_KEYS : m->ax[i]);
}

/* back `op` c, for the distance back = row position - key position. */
static bool distance(sm_raise *z, const sm_node *n, sm_meaning m, sm_op op, double c) {
    if (c != floor(c) || fabs(c) >= INT32_MAX)
        return false;
    int64_t w = (int64_t)c + (op == SM_OP_GREATER || op == SM_OP_LESS_EQUAL);
    if (m.loose && (w < 0 || w == 1)) { /* key - row, then: what is behind a row is hidden, not the row itself */
        turn_over(&m);
        op = turned(op);
        w = (int64_t)-c + (op == SM_OP_GREATER || op == SM_OP_LESS_EQUAL);
    }
    bool at_least = op == SM_OP_GREATER || op == SM_OP_GREATER_EQUAL;
    if (w < 0)
        return false;
    m.kind = M_WHERE;
    m.causal = w == 0;
    if (m.causal && m.joined && !m.guarded) /* columns that are not filled would be seen */
        return false;
    m.window = w;
    m.given = false;
    m.made = true;
    bool inside = m.causal ? at_least : !at_least; /* is it the set itself, or what is left out? */
    m.seen = inside;
    m.hidden = !inside;
    return sm_raise_set(z, n, m);
}

/* Columns of a cache that hold something: key < position of the first row. */
static bool filled(sm_raise *z, const sm_node *n) {
    bool less = n->op == SM_OP_LESS;
    const sm_value *k = sm_arg(n, less ? "x" : "y"), *p = sm_arg(n, less ? "y" : "x");
    const sm_meaning *pm = sm_raise_of(z, p);
    sm_meaning key, m = {.kind = M_FILLED};
    if ((n->op != SM_OP_LESS && n->op != SM_OP_GREATER) || !key_pos(z, k, &key) || key.joined || key.guarded ||
        !(pm->kind == M_PAST || (sm_raise_single(z) && (pm->kind == M_POS || pm->kind == M_INT) && sm_is_pos(z, pm))) ||
        !sm_raise_join(k, key.ax, p, pm->ax, m.ax))
        return false;
    return sm_raise_set(z, n, m);
}

/* select(filled, key positions, far ahead) */
static bool guard(sm_raise *z, const sm_node *n) {
    const sm_value *a = sm_arg(n, "a");
    sm_meaning key;
    double far;
    if (sm_raise_arg(z, n, "cond")->kind != M_FILLED || !key_pos(z, a, &key) || key.joined ||
        a->type.rank != n->out[0]->type.rank || !sm_value_float(sm_arg(n, "b"), &far) || far < 1 << 24)
        return false;
    key.guarded = true;
    return sm_raise_set(z, n, key);
}

/* x + a op y + b, of positions of a whole text: x - y op b - a. */
static bool compare_ahead(sm_raise *z, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    sm_meaning a = *sm_raise_of(z, x), b = *sm_raise_of(z, y),
               m = {.kind = M_BACK, .made = true, .loose = true, .f = 1};
    if ((a.kind != M_AHEAD && b.kind != M_AHEAD) || (a.kind != M_AHEAD && a.kind != M_KEY_POS) ||
        (b.kind != M_AHEAD && b.kind != M_KEY_POS) || a.joined || b.joined || a.guarded || b.guarded)
        return false;
    double by = (b.kind == M_AHEAD ? b.f : 0) - (a.kind == M_AHEAD ? a.f : 0);
    int axis = sm_raise_axis(&a, x->type.rank, AX_KEYS);
    if (axis < 0 || x->type.dims[axis] != z->n)
        return false;
    a.ax[axis] = AX_TOKENS;
    return sm_raise_join(x, a.ax, y, b.ax, m.ax) && distance(z, n, m, n->op, by);
}

static bool compare(sm_raise *z, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    sm_meaning m;
    double sign, c;
    if (compare_ahead(z, n))
        return true;
    if (positions(z, n, &m, &sign)) /* row op key: row - key op 0 */
        return distance(z, n, m, sign > 0 ? n->op : turned(n->op), 0);
    bool first = x->cst != NULL && sm_raise_of(z, x)->kind != M_BACK;
    m = *sm_raise_of(z, first ? y : x);
    int64_t whole;
    const sm_value *k = first ? x : y;
    if (m.kind != M_BACK || k->cst == NULL)
        return false;
    if (sm_value_int(k, &whole))
        c = (double)whole;
    else if (!sm_raise_scalar(k, &c))
        return false;
    sm_op op = first ? turned(n->op) : n->op;
    return m.f == 1 ? distance(z, n, m, op, c) : m.f == -1 && distance(z, n, m, turned(op), -c);
}

/* ------------------------------------------------------------------ sets */
/* What is in both sets. */
static bool both(const sm_value *x, const sm_meaning *a, const sm_value *y, const sm_meaning *b, sm_meaning *out) {
    if (a->made && b->made && a->joined != b->joined)
        return false;
    if (a->window > 0 && b->window > 0 && a->window != b->window)
        return false;
    *out = *a;
    out->causal = a->causal || b->causal;
    out->window = SM_MAX(a->window, b->window);
    out->joined = a->made ? a->joined : b->joined;
    out->made = a->made || b->made;
    out->given = false;
    return sm_raise_join(x, a->ax, y, b->ax, out->ax);
}

/* Flags of keys that are there. */
static bool is_all(const sm_meaning *m) {
    return m->kind == M_WHERE && !m->causal && m->window == 0 && !m->given;
}

static bool is_set(const sm_meaning *m, bool inside) {
    return m->kind == M_WHERE && m->seen == inside && m->hidden == !inside;
}

static bool hides(const sm_meaning *m) {
    return m->kind == M_WHERE && (m->given || (m->seen == 0 && m->hidden <= HIDDEN));
}

static bool pairwise(sm_raise *z, const sm_node *n);

static bool logical(sm_raise *z, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    sm_meaning m;
    if (pairwise(z, n))
        return true;
    bool inside = n->op != SM_OP_LOGICAL_OR; /* outside one or the other: outside of both */
    return is_set(sm_raise_of(z, x), inside) && is_set(sm_raise_of(z, y), inside) &&
           both(x, sm_raise_of(z, x), y, sm_raise_of(z, y), &m) && sm_raise_set(z, n, m);
}

static bool swap(sm_raise *z, const sm_node *n) {
    sm_meaning m = *sm_raise_arg(z, n, "x");
    if (m.kind != M_WHERE || m.given)
        return false;
    m.seen = !m.seen;
    m.hidden = !m.hidden;
    return sm_raise_set(z, n, m);
}

static bool choose(sm_raise *z, const sm_node *n) {
    const sm_value *cv = sm_arg(n, "cond"), *a = sm_arg(n, "a"), *b = sm_arg(n, "b");
    const sm_meaning *c = sm_raise_of(z, cv);
    double in, out;
    if (c->kind == M_WHERE && !c->given && (is_all(c) || c->seen == c->hidden)) { /* the same everywhere */
        const sm_meaning *all = sm_raise_of(z, c->seen != 0 ? a : b);
        if (all->kind == M_WHERE && sm_type_eq(&(c->seen != 0 ? a : b)->type, &n->out[0]->type))
            return sm_raise_set(z, n, *all);
    }
    bool inside = is_set(c, true);
    if (c->kind != M_WHERE || c->given || (!inside && !is_set(c, false)))
        return false;
    const sm_value *yes = inside ? a : b, *no = inside ? b : a; /* inside and outside of the set */
    sm_meaning m = *c;
    if (!sm_raise_number(z, no, &out))
        return false;
    if (sm_raise_number(z, yes, &in)) {
        if (n->out[0]->type.rank != cv->type.rank)
            return false;
        m.seen = in;
        m.hidden = out;
        return sm_raise_set(z, n, m);
    }
    const sm_meaning *mask = sm_raise_of(z, yes);
    if (!hides(mask) || !(out <= HIDDEN) || !both(cv, c, yes, mask, &m))
        return false;
    m.seen = 0;
    m.hidden = SM_MAX(out, mask->given ? out : mask->hidden);
    return sm_raise_set(z, n, m);
}

/* ------------------------------------------------------------------ arithmetic */
static double apply(sm_op op, double x, double c, bool first) {
    switch (op) {
    case SM_OP_ADD:
        return x + c;
    case SM_OP_SUB:
        return first ? c - x : x - c;
    case SM_OP_MUL:
        return x * c;
    case SM_OP_REAL_DIV:
        return first ? (double)NAN : x / c;
    case SM_OP_MAXIMUM:
        return SM_MAX(x, c);
    case SM_OP_MINIMUM:
        return SM_MIN(x, c);
    case SM_OP_GREATER:
        return first ? c > x : x > c;
    case SM_OP_GREATER_EQUAL:
        return first ? c >= x : x >= c;
    case SM_OP_LESS:
        return first ? c < x : x < c;
    case SM_OP_LESS_EQUAL:
        return first ? c <= x : x <= c;
    case SM_OP_EQUAL:
        return x == c;
    case SM_OP_NOT_EQUAL:
        return x != c;
    default:
        return (double)NAN;
    }
}

/* An input mask that is computed with was 1 and 0; one that is only bounded stays what it is. */
static bool number(sm_raise *z, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    bool first = sm_raise_of(z, x)->kind != M_WHERE;
    const sm_value *v = first ? y : x, *k = first ? x : y;
    sm_meaning m = *sm_raise_of(z, v);
    double c;
    bool fits = k->type.rank <= v->type.rank || (z->own && n->out[0]->type.rank == v->type.rank);
    if (m.kind != M_WHERE || !fits || !sm_raise_number(z, k, &c))
        return false;
    for (int i = 0; i < v->type.rank; i++) /* nothing is repeated */
        if (n->out[0]->type.dims[i] != v->type.dims[i])
            return false;
    if (m.given && n->op == SM_OP_MAXIMUM && c <= HIDDEN)
        return sm_raise_set(z, n, m);
    if (m.given) {
        m.seen = 1;
        m.hidden = 0;
        m.given = false;
    }
    m.seen = apply(n->op, m.seen, c, first);
    m.hidden = apply(n->op, m.hidden, c, first);
    return !isnan(m.seen) && !isnan(m.hidden) && sm_raise_set(z, n, m);
}

static double of_pair(sm_op op, double x, double y) {
    switch (op) {
    case SM_OP_LOGICAL_AND:
        return x != 0 && y != 0;
    case SM_OP_LOGICAL_OR:
        return x != 0 || y != 0;
    case SM_OP_LOGICAL_XOR:
        return (x != 0) != (y != 0);
    default:
        return apply(op, x, y, false);
    }
}

/* Two masks of one set, or one of them of everything: value by value. */
static bool pairwise(sm_raise *z, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    const sm_meaning *a = sm_raise_of(z, x), *b = sm_raise_of(z, y);
    sm_meaning m;
    if (a->kind != M_WHERE || b->kind != M_WHERE || a->given || b->given || (is_all(a) && is_all(b)))
        return false;
    bool same = a->causal == b->causal && a->window == b->window;
    if ((!same && !is_all(a) && !is_all(b)) || !both(x, a, y, b, &m))
        return false;
    m.seen = of_pair(n->op, a->seen, b->seen);
    m.hidden = of_pair(n->op, is_all(a) ? a->seen : a->hidden, is_all(b) ? b->seen : b->hidden);
    return !isnan(m.seen) && !isnan(m.hidden) && sm_raise_set(z, n, m);
}

/* Sum of masks, product of flags: what is in both. */
static bool combine(sm_raise *z, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    const sm_meaning *a = sm_raise_of(z, x), *b = sm_raise_of(z, y);
    sm_meaning m;
    bool sum = n->op == SM_OP_ADD && hides(a) && hides(b);
    bool product = n->op == SM_OP_MUL && is_set(a, true) && is_set(b, true);
    bool lowest = n->op == SM_OP_MINIMUM && hides(a) && hides(b);
    if ((!sum && !product && !lowest) || !both(x, a, y, b, &m))
        return false;
    if (!product) {
        m.seen = 0;
        m.hidden = SM_MAX(a->given ? HIDDEN : a->hidden, b->given ? HIDDEN : b->hidden);
    }
    return sm_raise_set(z, n, m);
}

/* What is not 0. */
static bool as_flags(sm_raise *z, const sm_node *n) {
    sm_meaning m = *sm_raise_arg(z, n, "x");
    if (m.kind != M_WHERE || m.given || n->out[0]->type.dtype != SM_BOOL)
        return false;
    m.seen = m.seen != 0;
    m.hidden = m.hidden != 0;
    return sm_raise_set(z, n, m);
}

bool sm_raise_mask_op(sm_raise *z, const sm_node *n) {
    switch (n->op) {
    case SM_OP_CAST:
        return as_flags(z, n);
    case SM_OP_SUB:
        return back(z, n) || number(z, n) || pairwise(z, n);
    case SM_OP_GREATER:
    case SM_OP_GREATER_EQUAL:
    case SM_OP_LESS:
    case SM_OP_LESS_EQUAL:
        return filled(z, n) || compare(z, n) || number(z, n) || pairwise(z, n);
    case SM_OP_EQUAL:
    case SM_OP_NOT_EQUAL:
        return number(z, n) || pairwise(z, n);
    case SM_OP_LOGICAL_AND:
    case SM_OP_LOGICAL_OR:
        return logical(z, n);
    case SM_OP_LOGICAL_NOT:
        return swap(z, n);
    case SM_OP_SELECT:
        return guard(z, n) || choose(z, n);
    case SM_OP_ADD:
    case SM_OP_MUL:
    case SM_OP_MINIMUM:
    case SM_OP_MAXIMUM:
    case SM_OP_REAL_DIV:
        return number(z, n) || combine(z, n) || pairwise(z, n);
    default:
        return false;
    }
}
