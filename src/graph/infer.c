/* SPDX-License-Identifier: MIT
 *
 * infer.c: the driver of inference: slot checks, results, and the small tools that rules are written with.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/number.h"
#include "base/str.h"
#include "graph/infer.h"

typedef sm_status (*rule_fn)(sm_inf *c);

static const rule_fn rules[SM_OP_COUNT_] = {
#define OP(id, name, since, inputs, n_out, infer, cost, lift, doc) [SM_OP_##id] = sm_##infer,
#include "graph/ops.def"
#undef OP
};

/* ---- errors ---- */

sm_status sm_inf_bad(sm_inf *c, const char *slot, const sm_value *v, const char *fmt, ...) {
    char what[384], type[256];
    va_list ap;
    va_start(ap, fmt);
    sm_vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    if (v == NULL)
        return SM_FAIL(c->err, SM_BADINPUT, "%s: %s", slot, what);
    return SM_FAIL(c->err, SM_BADINPUT, "%s %s %s: %s", slot, v->name != NULL ? v->name : "(unnamed)",
                   sm_type_print(c->g, &v->type, NULL, false, type, sizeof type), what);
}

/* ---- slots ---- */

static sm_status check_const(sm_inf *c, const sm_slot *s, const sm_value *v) {
    int64_t n = sm_type_numel(&v->type, INT64_MAX), x;
    sm_dtype t = v->type.dtype;
    switch (s->kind) {
    case 'f':
        if (!sm_is_float(t) && !sm_is_int(t))
            return sm_inf_bad(c, s->name, v, "wanted a number");
        break;
    case 'b':
    case 'B':
        if (t != SM_BOOL)
            return sm_inf_bad(c, s->name, v, "wanted bool");
        break;
    default:
        if (t != SM_STRING)
            return sm_inf_bad(c, s->name, v, "wanted a string");
    }
    if (s->kind != 'B' && n != 1)
        return sm_inf_bad(c, s->name, v, "wanted one element");
    if (v->cst == NULL && !((s->kind == 'b' || s->kind == 'B') && sm_value_int(v, &x)))
        return sm_inf_bad(c, s->name, v, "wanted a constant");
    return SM_OK;
}

static sm_status check_slot(sm_inf *c, const sm_slot *s, const sm_value *v) {
    if (v == NULL)
        return s->optional ? SM_OK : SM_FAIL(c->err, SM_BADINPUT, "%s is missing", s->name);
    const sm_type *t = &v->type;
    sm_vkind kind = s->kind == 'S'   ? SM_V_STATE
                    : s->kind == 'K' ? SM_V_BATCH
                    : s->kind == 'L' ? SM_V_LIST
                                     : SM_V_TENSOR;
    static const char *const kinds[] = {"tensor", "state", "batch", "list"};
    if (t->kind != kind && !(s->kind == 'v' && t->kind == SM_V_LIST))
        return sm_inf_bad(c, s->name, v, "wanted a %s", kinds[kind]);
    switch (s->kind) {
    case 'S':
    case 'K':
    case 'L':
        return SM_OK;
    case 'd':
        if (v->cst == NULL || (t->dtype != SM_STRING && !sm_is_int(t->dtype)) || sm_type_numel(t, 1) != 1)
            return sm_inf_bad(c, s->name, v, "wanted a constant number, or the name of an unknown one");
        return SM_OK;
    case 't':
    case 'v':
        return t->dtype == SM_STRING ? sm_inf_bad(c, s->name, v, "wanted numbers") : SM_OK;
    case 'i':
    case 'I':
        if (!sm_is_int(t->dtype))
            return sm_inf_bad(c, s->name, v, "wanted integers");
        if (s->kind == 'i' ? t->rank > 0 && sm_type_numel(t, 1) != 1 : t->rank > 1)
            return sm_inf_bad(c, s->name, v, s->kind == 'i' ? "wanted one element" : "wanted a vector");
        return SM_OK;
    default:
        return check_const(c, s, v);
    }
}

static sm_status check_lists(sm_inf *c, const sm_op_row *row) {
    int n = c->n->n_list, per = row->n_lists == 0 ? 1 : n / row->n_lists;
    if (n > 0 && row->n_lists == 0)
        return SM_FAIL(c->err, SM_BADINPUT, "wanted no list of values, found %d", n);
    if (row->n_lists > 0 && !row->list[0].optional && n == 0)
        return SM_FAIL(c->err, SM_BADINPUT, "%s is empty", row->list[0].name);
    if (row->n_lists > 1 && n % row->n_lists != 0)
        return SM_FAIL(c->err, SM_BADINPUT, "wanted %d lists of one length, found %d values", row->n_lists, n);
    for (int i = 0; i < n; i++) {
        const sm_slot *s = &row->list[i / per];
        if (c->n->list[i] == NULL)
            return SM_FAIL(c->err, SM_BADINPUT, "%s: value %d is missing", s->name, i % per);
        SM_TRY(check_slot(c, s, c->n->list[i]));
    }
    return SM_OK;
}

static sm_status check_slots(sm_inf *c) {
    const sm_op_row *row = sm_op_row_of(c->n->op);
    for (int i = 0; i < row->n_slots; i++)
        SM_TRY(check_slot(c, &row->slot[i], c->n->in[i]));
    SM_TRY(check_lists(c, row));
    int blocks = c->n->op == SM_OP_COND || c->n->op == SM_OP_WHILE_LOOP ? 2 : 0;
    if (c->n->n_blocks != blocks)
        return SM_FAIL(c->err, SM_BADINPUT, "wanted %d blocks, found %d", blocks, c->n->n_blocks);
    return SM_OK;
}

/* ---- results ---- */

sm_status sm_inf_results(sm_inf *c, int n) {
    c->n->out = sm_arena_alloc_n(c->g->arena, (size_t)n + 1, sizeof *c->n->out);
    if (c->n->out == NULL)
        return SM_NOMEM(c->err);
    for (int i = 0; i < n; i++) {
        c->n->out[i] = sm_arena_alloc(c->g->arena, sizeof *c->n->out[i]);
        if (c->n->out[i] == NULL)
            return SM_NOMEM(c->err);
    }
    c->n->n_out = n;
    return SM_OK;
}

sm_status sm_inf_out(sm_inf *c, int k, sm_dtype t, int rank, const sm_dim *dims) {
    assert(k < c->n->n_out);
    if (rank > SM_MAX_RANK)
        return SM_FAIL(c->err, SM_UNSUPPORTED, "result of %d axes: wanted at most %d", rank, SM_MAX_RANK);
    sm_type *o = &c->n->out[k]->type;
    *o = (sm_type){.kind = SM_V_TENSOR, .dtype = t, .rank = rank};
    for (int i = 0; i < rank; i++)
        o->dims[i] = dims[i] == SM_DIM_UNKNOWN ? sm_dim_fresh(c->g) : dims[i];
    return SM_OK;
}

sm_status sm_inf_like(sm_inf *c, int k, const sm_value *v) {
    SM_TRY(sm_inf_out(c, k, v->type.dtype, v->type.rank, v->type.dims));
    if (v->type.kind == SM_V_LIST) {
        c->n->out[k]->type.kind = SM_V_LIST;
        c->n->out[k]->type.len = v->type.len;
    }
    return SM_OK;
}

sm_dim *sm_inf_sym(sm_inf *c, int k, int64_t *n) {
    sm_value *v = c->n->out[k];
    *n = sm_type_numel(&v->type, SM_SYM_ELEMS);
    if (*n < 0 || !(sm_is_int(v->type.dtype) || v->type.dtype == SM_BOOL))
        return NULL;
    v->sym = sm_arena_alloc_n(c->g->arena, (size_t)*n + 1, sizeof *v->sym);
    if (v->sym == NULL)
        c->g->priv->oom = true;
    for (int64_t i = 0; v->sym != NULL && i < *n; i++)
        v->sym[i] = SM_DIM_UNKNOWN;
    return v->sym;
}

/* Numbers that the result's type cannot hold are not what a runtime would compute: unknown. */
static bool fits(sm_dtype t, sm_dim d) {
    if (!sm_dim_known(d))
        return true;
    if (t == SM_BOOL)
        return d == 0 || d == 1;
    return sm_dtype_bits(t) >= 64 || (d >= sm_dtype_min(t) && d <= sm_dtype_max(t));
}

static void fill_result(sm_inf *c, int k) {
    sm_value *v = c->n->out[k];
    sm_dtype t = v->type.dtype;
    int64_t n;
    if (v->type.kind != SM_V_TENSOR || !(sm_is_int(t) || t == SM_BOOL))
        return;
    if (v->sym == NULL) {
        n = sm_type_numel(&v->type, SM_SYM_FRESH);
        if (n <= 0 || sm_inf_sym(c, k, &n) == NULL)
            return;
    }
    n = sm_type_numel(&v->type, SM_SYM_ELEMS);
    for (int64_t i = 0; i < n; i++)
        if (v->sym[i] == SM_DIM_UNKNOWN || !fits(t, v->sym[i]))
            v->sym[i] = sm_dim_anon(c->g, t == SM_BOOL ? 0 : INT64_MIN, t == SM_BOOL ? 1 : INT64_MAX);
}

sm_status sm_infer_node(sm_graph *g, sm_node *n, sm_err *err) {
    sm_inf c = {g, n, err};
    int n_out = sm_op_row_of(n->op)->n_out;
    SM_TRY(check_slots(&c));
    if (n_out >= 0)
        SM_TRY(sm_inf_results(&c, n_out));
    sm_status st = rules[n->op](&c);
    for (int i = 0; i < n->n_out && st == SM_OK; i++)
        fill_result(&c, i);
    if (g->priv->oom) {
        g->priv->oom = false;
        return SM_NOMEM(err);
    }
    return st;
}

/* ---- parameters ---- */

static bool absent(const sm_inf *c, const char *slot) {
    return sm_arg(c->n, slot) == NULL && sm_op_row_of(c->n->op)->slot[sm_op_slot(c->n->op, slot)].def[0] == 0;
}

sm_status sm_inf_int(sm_inf *c, const char *slot, int64_t *out) {
    if (absent(c, slot) || sm_arg_int(c->n, slot, out))
        return SM_OK;
    return sm_inf_bad(c, slot, sm_arg(c->n, slot), "wanted a number known before running");
}

sm_status sm_inf_bool(sm_inf *c, const char *slot, bool *out) {
    if (absent(c, slot) || sm_arg_bool(c->n, slot, out))
        return SM_OK;
    return sm_inf_bad(c, slot, sm_arg(c->n, slot), "wanted a constant");
}

sm_status sm_inf_axis(sm_inf *c, const char *slot, int rank, int *out) {
    int64_t a = 0;
    SM_TRY(sm_inf_int(c, slot, &a));
    if (a < -rank || a >= rank)
        return sm_inf_bad(c, slot, sm_arg(c->n, slot), "axis %" PRId64 " of a value with %d axes", a, rank);
    *out = (int)(a < 0 ? a + rank : a);
    return SM_OK;
}

sm_status sm_inf_axes(sm_inf *c, const char *slot, int rank, bool *flag) {
    int64_t a[SM_MAX_RANK];
    int n;
    memset(flag, 0, (size_t)SM_MAX_RANK * sizeof *flag);
    if (absent(c, slot)) {
        for (int i = 0; i < rank; i++)
            flag[i] = true;
        return SM_OK;
    }
    SM_TRY(sm_inf_ints(c, slot, a, SM_MAX_RANK, &n));
    for (int i = 0; i < n; i++) {
        if (a[i] < -rank || a[i] >= rank)
            return sm_inf_bad(c, slot, sm_arg(c->n, slot), "axis %" PRId64 " of a value with %d axes", a[i], rank);
        int64_t at = a[i] < 0 ? a[i] + rank : a[i];
        if (flag[at])
            return sm_inf_bad(c, slot, sm_arg(c->n, slot), "axis %" PRId64 " twice", at);
        flag[at] = true;
    }
    return SM_OK;
}

sm_status sm_inf_dims(sm_inf *c, const char *slot, sm_dim *out, int cap, int *n) {
    const sm_value *v = sm_arg(c->n, slot);
    *n = 0;
    if (v == NULL)
        return SM_OK;
    int64_t k = sm_type_numel(&v->type, cap);
    if (k < 0 && v->type.rank == 1 && !sm_dim_known(v->type.dims[0]))
        return SM_FAIL(c->err, SM_UNSUPPORTED, "%s '%s': how many elements it has is not known before running", slot,
                       v->name);
    if (k < 0)
        return sm_inf_bad(c, slot, v, "wanted at most %d elements", cap);
    *n = (int)k;
    for (int i = 0; i < *n; i++)
        out[i] = v->sym != NULL ? v->sym[i] : SM_DIM_UNKNOWN;
    return SM_OK;
}

sm_status sm_inf_ints(sm_inf *c, const char *slot, int64_t *out, int cap, int *n) {
    *n = 0;
    if (absent(c, slot))
        return SM_OK;
    if (sm_arg_ints(c->n, slot, out, cap, n))
        return SM_OK;
    return sm_inf_bad(c, slot, sm_arg(c->n, slot), "wanted at most %d numbers known before running", cap);
}

sm_status sm_inf_mask(sm_inf *c, const char *slot, int n, bool *out) {
    const sm_value *v = sm_arg(c->n, slot);
    memset(out, 0, (size_t)n * sizeof *out);
    if (v == NULL)
        return SM_OK;
    if (v->sym == NULL || sm_type_numel(&v->type, SM_SYM_ELEMS) != n)
        return sm_inf_bad(c, slot, v, "wanted %d constant elements", n);
    for (int i = 0; i < n; i++)
        out[i] = v->sym[i] != 0;
    return SM_OK;
}

sm_status sm_inf_word(sm_inf *c, const char *slot, const char *const *words, int *out) {
    char all[256] = "";
    sm_sv found = {0};
    *out = sm_arg_word(c->n, slot, words);
    if (*out >= 0)
        return SM_OK;
    for (size_t i = 0, at = 0; words[i] != NULL && at < sizeof all; i++)
        at += (size_t)snprintf(all + at, sizeof all - at, "%s%s",
                               i == 0                 ? ""
                               : words[i + 1] == NULL ? " or "
                                                      : ", ",
                               words[i]);
    sm_arg_str(c->n, slot, &found);
    return SM_FAIL(c->err, SM_BADINPUT, "%s: wanted %s, found %s", slot, all, sm_quote(found.p, found.n));
}

/* ---- extents ---- */

sm_status sm_inf_join(sm_inf *c, sm_dim a, sm_dim b, sm_dim *out) {
    char x[96], y[96];
    int eq = sm_dim_equal(c->g, a, b);
    if (eq == 1) {
        *out = sm_dim_known(b) ? b : a;
    } else if (a == 1 || b == 1) {
        *out = a == 1 ? b : a;
    } else if (eq == 0 &&
               ((sm_dim_known(a) && sm_dim_known(b)) || (sm_dim_at_least(c->g, a, 2) && sm_dim_at_least(c->g, b, 2)))) {
        return SM_FAIL(c->err, SM_BADINPUT, "extents %s and %s do not broadcast", sm_dim_print(c->g, a, x, sizeof x),
                       sm_dim_print(c->g, b, y, sizeof y));
    } else if (sm_dim_known(a) || sm_dim_known(b)) {
        *out = sm_dim_known(a) ? a : b; /* the other one is equal or 1 */
    } else if (sm_dim_at_least(c->g, a, 2)) {
        *out = a;
    } else if (sm_dim_at_least(c->g, b, 2)) {
        *out = b;
    } else {
        *out = sm_dim_call(c->g, SM_FN_MAX, a, b);
    }
    return SM_OK;
}

sm_status sm_inf_broadcast(sm_inf *c, int ra, const sm_dim *a, int rb, const sm_dim *b, int *rank, sm_dim *out) {
    *rank = SM_MAX(ra, rb);
    for (int i = 0; i < *rank; i++) {
        int ia = i - (*rank - ra), ib = i - (*rank - rb);
        if (ia < 0 || ib < 0)
            out[i] = ia < 0 ? b[ib] : a[ia];
        else
            SM_TRY(sm_inf_join(c, a[ia], b[ib], &out[i]));
    }
    return SM_OK;
}

sm_status sm_inf_same_dim(sm_inf *c, const char *what, sm_dim a, sm_dim b, sm_dim *out) {
    char x[96], y[96];
    if (sm_dim_equal(c->g, a, b) == 0)
        return SM_FAIL(c->err, SM_BADINPUT, "%s: extents %s and %s are never equal", what,
                       sm_dim_print(c->g, a, x, sizeof x), sm_dim_print(c->g, b, y, sizeof y));
    if (out != NULL)
        *out = sm_dim_known(a) ? a : sm_dim_known(b) ? b : a;
    return SM_OK;
}
