/* SPDX-License-Identifier: MIT
 *
 * raise_bind.c: one symbol for the tokens of a call.
 *
 * Exporters declare the rows of the mask and the positions as symbols of their own beside the one of the ids, and two
 * symbols for one number are the rule there; what broadcasts them gets a third.  A decoder's ids, positions, mask rows and
 * hidden rows are as many as each other, so the program is rebuilt with one symbol, and inference then knows equal
 * extents to be equal.  So it is with caches that grow: their columns are the positions before the call, and all keys are
 * those and the call's own; with caches of a fixed length as inputs, that length and the call's own; without caches, the
 * call's own.
 */
#include "pass/raise_int.h"

static bool is_ints(const sm_type *t) {
    return t->kind == SM_V_TENSOR && (sm_dtype_kind(t->dtype) == 'i' || sm_dtype_kind(t->dtype) == 'u');
}

/* An input of integers that are only asked whether they are more than 0, or counted: which keys are there. */
bool sm_raise_is_flags(const sm_func *f, const sm_value *v) {
    bool compared = false;
    const sm_value *now[8] = {v};
    int n_now = 1;
    if (!is_ints(&v->type))
        return false;
    for (const sm_node *n = f->body->first; n != NULL; n = n->next)
        for (int i = 0; i < n_now; i++) {
            bool here = false;
            for (int k = 0; k < sm_op_row_of(n->op)->n_slots; k++)
                here |= n->in[k] == now[i];
            for (int k = 0; k < n->n_list; k++)
                here |= n->list[k] == now[i];
            if (!here)
                continue;
            bool moved = n->op == SM_OP_CAST || n->op == SM_OP_EXPAND_DIMS || n->op == SM_OP_IDENTITY ||
                         n->op == SM_OP_RESHAPE || n->op == SM_OP_SQUEEZE || n->op == SM_OP_TILE;
            bool asked = n->op == SM_OP_GREATER || n->op == SM_OP_EQUAL || n->op == SM_OP_NOT_EQUAL ||
                         n->op == SM_OP_GREATER_EQUAL || n->op == SM_OP_SUB || n->op == SM_OP_LESS;
            double one;
            asked = asked && ((n->in[0] != now[i] && sm_raise_scalar(n->in[0], &one)) ||
                              (n->in[1] != now[i] && sm_raise_scalar(n->in[1], &one)));
            const sm_value *other = n->op != SM_OP_ADD ? NULL : n->in[0] == now[i] ? n->in[1] : n->in[0];
            asked |= other != NULL && other != now[i] && other->type.rank >= 2 && !sm_raise_scalar(other, &one) &&
                     sm_dtype_kind(now[i]->type.dtype) == 'f'; /* to a mask, to see where both are 0 */
            asked |= n->out != NULL && n->n_out > 0 && moved && n->out[0]->type.dtype == SM_BOOL;
            compared |= asked;
            if (asked || n->op == SM_OP_SHAPE)
                break;
            if (!moved || n_now == (int)SM_ARRAY_LEN(now))
                return false;
            now[n_now++] = n->out[0];
            break;
        }
    return compared;
}

/* Does this axis of an input count tokens?  Integers [1, n] or [n]; rows of a mask [1, 1, n, keys]; hidden rows. */
static int token_axis(const sm_func *f, const sm_value *v) {
    const sm_type *t = &v->type;
    if (is_ints(t) && t->rank == 2 && t->dims[0] == 1)
        return sm_raise_is_flags(f, v) ? -1 : 1;
    if (is_ints(t) && t->rank == 1)
        return 0;
    bool floats = t->kind == SM_V_TENSOR && sm_dtype_kind(t->dtype) == 'f';
    if (floats && t->rank == 4 && t->dims[0] == 1 && t->dims[1] == 1)
        return 2;
    if (floats && t->rank == 3 && t->dims[0] == 1 && sm_dim_known(t->dims[2]))
        return 1;
    if (floats && t->rank == 4 && t->dims[0] == 1 && t->dims[2] == 1)
        return 3;
    return -1;
}

/* The axis of keys of a mask [1, 1, n, keys] or [1, keys, 1, n] whose extent is a symbol; -1: no such. */
static int keys_axis(const sm_func *f, const sm_value *v) {
    int tokens = token_axis(f, v), keys = tokens == 2 ? 3 : tokens == 3 ? 1 : -1;
    return keys >= 0 && v->type.rank == 4 && !sm_dim_known(v->type.dims[keys]) ? keys : -1;
}

/* Columns of caches of a fixed length in front of a call's own keys: what the keys' bounds are above those of n, when an
 * input is as long; 0: there are none. */
static int64_t fixed_past(const sm_func *f, sm_dim n) {
    int64_t lo, hi, klo, khi;
    if (n == SM_DIM_UNKNOWN || !sm_dim_bounds(f->graph, n, &lo, &hi))
        return 0;
    for (int i = 0; i < f->body->n_in; i++) {
        int keys = keys_axis(f, f->body->in[i]);
        if (keys < 0 || !sm_dim_bounds(f->graph, f->body->in[i]->type.dims[keys], &klo, &khi) || klo - lo != khi - hi ||
            klo <= lo)
            continue;
        for (int k = 0; k < f->body->n_in; k++) {
            const sm_type *t = &f->body->in[k]->type;
            for (int a = 0; a < t->rank && t->kind == SM_V_TENSOR && sm_dtype_kind(t->dtype) == 'f'; a++)
                if (t->dims[a] == klo - lo)
                    return klo - lo;
        }
    }
    return 0;
}

/* The only axis of a cache that grows: positions before the call. */
static int past_axis(const sm_func *f, const sm_value *v) {
    const sm_type *t = &v->type;
    int axis = -1;
    if (t->kind != SM_V_TENSOR || sm_dtype_kind(t->dtype) != 'f' || t->rank < 3 || token_axis(f, v) >= 0)
        return -1;
    for (int i = 0; i < t->rank; i++)
        if (!sm_dim_known(t->dims[i])) {
            if (axis >= 0)
                return -1;
            axis = i;
        }
    return axis;
}

static bool is_symbol(const sm_type *t, int axis) {
    return axis >= 0 && !sm_dim_known(t->dims[axis]);
}

/* Is no input a cache?  Then keys are the tokens of the call. */
static bool no_caches(const sm_func *f) {
    for (int i = 0; i < f->body->n_in; i++) {
        const sm_type *t = &f->body->in[i]->type;
        bool floats = t->kind == SM_V_TENSOR && sm_dtype_kind(t->dtype) == 'f';
        bool mask = t->rank == 4 && t->dims[0] == 1 && t->dims[1] == 1 &&
                    (t->dims[2] == t->dims[3] || (is_symbol(t, 2) && is_symbol(t, 3)));
        bool rows = t->rank > 0 && sm_dim_known(t->dims[t->rank == 4 ? 1 : t->rank - 1]);
        if (t->kind == SM_V_STATE ||
            (floats && t->rank > 2 && !mask && !(rows && token_axis(f, f->body->in[i]) == (t->rank == 4 ? 3 : 1))))
            return false;
    }
    return true;
}

typedef struct bound {
    bool own;       /* no caches */
    sm_dim n, past; /* SM_DIM_UNKNOWN: none */
    int64_t fixed;  /* columns of caches that do not grow; 0: none */
} bound;

/* The type that an input has with one symbol for each number. */
static sm_type bind_type(const sm_func *f, const sm_value *v, const bound *b) {
    sm_type t = v->type;
    int tokens = token_axis(f, v), past = past_axis(f, v);
    if (is_symbol(&t, tokens) && b->n != SM_DIM_UNKNOWN)
        t.dims[tokens] = b->n;
    if (b->own && b->n != SM_DIM_UNKNOWN) {
        int keys = tokens == 2 && t.rank == 4 ? 3 : sm_raise_is_flags(f, v) && t.rank == 2 ? 1 : -1;
        if (is_symbol(&t, keys))
            t.dims[keys] = b->n;
        return t;
    }
    if (past >= 0 && b->past != SM_DIM_UNKNOWN)
        t.dims[past] = b->past;
    if (b->past != SM_DIM_UNKNOWN && b->n != SM_DIM_UNKNOWN && t.rank > 0 && is_symbol(&t, t.rank - 1) &&
        (sm_raise_is_flags(f, v) || tokens == 2)) /* all keys */
        t.dims[t.rank - 1] = sm_dim_add(f->graph, b->past, b->n);
    else if (b->fixed > 0 && keys_axis(f, v) >= 0)
        t.dims[keys_axis(f, v)] = sm_dim_add(f->graph, b->n, b->fixed);
    return t;
}

sm_status sm_raise_bind(sm_func *f, sm_func **out, sm_err *err) {
    sm_rebuild r;
    bound b = {no_caches(f), SM_DIM_UNKNOWN, SM_DIM_UNKNOWN, 0};
    bool differs = false;
    *out = f;
    for (int hidden = 0; hidden < 2; hidden++) /* integers first */
        for (int i = 0; i < f->body->n_in; i++) {
            const sm_value *v = f->body->in[i];
            int axis = token_axis(f, v), past = past_axis(f, v);
            if (b.n == SM_DIM_UNKNOWN && is_symbol(&v->type, axis) && (v->type.rank <= 2 || hidden == 1))
                b.n = v->type.dims[axis];
            if (b.past == SM_DIM_UNKNOWN && past >= 0)
                b.past = v->type.dims[past];
        }
    b.fixed = fixed_past(f, b.n);
    for (int i = 0; i < f->body->n_in; i++) {
        sm_type t = bind_type(f, f->body->in[i], &b);
        differs |= !sm_type_eq(&t, &f->body->in[i]->type);
    }
    if (!differs)
        return SM_OK;
    SM_TRY(sm_rebuild_start_bare(&r, f, f->opset, err));
    for (int i = 0; i < f->body->n_in; i++) {
        const sm_value *v = f->body->in[i];
        r.map[v->id] = sm_build_input(&r.b, v->name, bind_type(f, v, &b));
    }
    for (const sm_node *d = f->body->first; d != NULL && r.b.st == SM_OK; d = d->next)
        sm_build_copy(&r.b, d, r.map);
    for (int i = 0; i < f->body->n_out && r.b.st == SM_OK; i++)
        sm_build_output(&r.b, sm_map_value(r.map, f->body->out[i]), f->body->out[i]->name);
    return sm_rebuild_end_aside(&r, out, err);
}
