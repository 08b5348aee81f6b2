/* SPDX-License-Identifier: MIT
 *
 * raise.c: MIL as written -> row form: meanings given, the walk.
 *
 * The idea is in raise_int.h.  Symbolic shape arithmetic needs no meaning: inference has evaluated it (value->sym).
 */
#include "pass/raise_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/number.h"

const sm_meaning *sm_raise_of(const sm_raise *z, const sm_value *v) {
    static const sm_meaning none = {.kind = M_NONE};
    return v == NULL || v->id >= z->n_values || z->m[v->id].kind == M_NONE ? &none : &z->m[v->id];
}

void sm_raise_fail(sm_raise *z, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    if (z->info->ok)
        sm_vsnprintf(z->info->why, sizeof z->info->why, fmt, ap);
    va_end(ap);
    z->info->ok = false;
}

/* ------------------------------------------------------------------ types that meanings have */
/* Every token, or none where tokens are no part of it. */
static bool wants_tokens(const sm_meaning *m) {
    switch (m->kind) {
    case M_INT:
    case M_POS:
    case M_ANGLE:
    case M_COS:
    case M_SIN:
    case M_BACK:
    case M_ONE_HOT:
    case M_SCORES:
    case M_PROBS:
        return true;
    case M_KEY_POS:
    case M_AHEAD:
    case M_PAST:
        return false;
    default:
        return m->kind >= M_ROWS && m->kind <= M_TURNED && !m->last;
    }
}

/* Roles of a value over rows, positions or keys: tokens once, every piece that is more than 1 once. */
static bool roles_fit(const sm_raise *z, const sm_type *t, const sm_meaning *m) {
    int tokens = 0, keys = 0, count[SM_RAISE_PIECES] = {0};
    if (m->n_piece < 0 || m->n_piece > SM_RAISE_PIECES)
        return false;
    for (int i = 0; i < t->rank; i++) {
        int role = m->ax[i];
        if (role == AX_ANY && (m->kind == M_FILL || m->kind == M_POS || m->kind == M_INT))
            continue;
        if (role == AX_ONE ? t->dims[i] != 1 : role == AX_TOKENS ? t->dims[i] != z->n : role >= m->n_piece)
            return false;
        if (role >= 0 && t->dims[i] != m->piece[role])
            return false;
        tokens += role == AX_TOKENS;
        keys += role == AX_KEYS;
        if (role >= 0)
            count[role]++;
    }
    bool reduced = m->kind >= M_MEAN && m->kind <= M_TOP;
    int last = sm_raise_last(m);
    for (int k = 0; k < m->n_piece; k++)
        if (m->piece[k] != 1 && count[k] != (reduced && k == last ? 0 : 1))
            return false;
    if (tokens != (wants_tokens(m) && !sm_raise_single(z)) && !(m->kind == M_WHERE && tokens <= 1))
        return false;
    return keys <= 1;
}

/* Roles of a value that a cache's axes are: as they are there, those of chosen slots 1. */
static bool cache_fits(const sm_raise *z, const sm_type *t, const sm_meaning *m) {
    const sm_type *c = &z->cache[m->cache]->in->type;
    unsigned seen = m->cut;
    for (int i = 0; i < t->rank; i++) {
        int k = m->ax[i];
        if (k >= c->rank || (k < 0 && t->dims[i] != 1) || (k >= 0 && (seen & (1u << k))))
            return false;
        if (k < 0)
            continue;
        if (t->dims[i] != c->dims[k] && !(m->rolled && k == m->keys))
            return false;
        seen |= 1u << k;
    }
    for (int k = 0; k < c->rank; k++)
        if (c->dims[k] != 1 && !(seen & (1u << k)))
            return false;
    return true;
}

static bool fits(const sm_raise *z, const sm_type *t, const sm_meaning *m) {
    switch (m->kind) {
    case M_NONE:
    case M_FRESH:
    case M_PICKED:
    case M_ZERO:
        return true;
    case M_CACHE:
    case M_UPDATED:
    case M_KEPT:
        return cache_fits(z, t, m);
    default:
        return t->kind == SM_V_TENSOR && roles_fit(z, t, m);
    }
}

bool sm_raise_give(sm_raise *z, const sm_value *v, sm_meaning m) {
    if (z->b->st != SM_OK || m.kind == M_NONE || v->id >= z->n_values || !fits(z, &v->type, &m))
        return false;
    for (int i = v->type.rank; i < SM_MAX_RANK; i++)
        m.ax[i] = AX_ONE;
    z->m[v->id] = m;
    return true;
}

/* ------------------------------------------------------------------ questions about constants and slices */
float *sm_raise_floats(sm_raise *z, const sm_value *c, size_t *n) {
    if (c->cst->src.part[SM_PART_DATA].p == NULL) /* a program read without its weights */
        return NULL;
    float *x = sm_const_decode(c->cst, n);
    if (x == NULL && z->b->st == SM_OK)
        z->b->st = SM_NOMEM(&z->b->err);
    return x;
}

bool sm_raise_scalar(const sm_value *v, double *f) {
    return v->cst != NULL && v->cst->strs == NULL && sm_tensor_numel(&v->cst->src) == 1 && sm_value_float(v, f);
}

static bool bool_vector(const sm_node *n, const char *slot, bool *out, int rank) {
    int64_t v[SM_MAX_RANK];
    int got = 0;
    for (int i = 0; i < rank; i++)
        out[i] = false;
    if (sm_arg(n, slot) == NULL)
        return true;
    if (!sm_arg_ints(n, slot, v, SM_MAX_RANK, &got) || got != rank)
        return false;
    for (int i = 0; i < rank; i++)
        out[i] = v[i] != 0;
    return true;
}

bool sm_slice_bounds(sm_raise *z, const sm_node *n, const sm_type *x, sm_dim *begin, sm_dim *end, bool *squeeze) {
    int64_t stride[SM_MAX_RANK];
    if (!sm_slice_strided(z, n, x, begin, end, squeeze, stride))
        return false;
    for (int i = 0; i < x->rank; i++)
        if (stride[i] != 1)
            return false;
    return true;
}

bool sm_slice_strided(sm_raise *z, const sm_node *n, const sm_type *x, sm_dim *begin, sm_dim *end, bool *squeeze,
                      int64_t *stride) {
    bool open_lo[SM_MAX_RANK], open_hi[SM_MAX_RANK];
    int got = 0;
    for (int i = 0; i < x->rank; i++)
        stride[i] = 1;
    if (!sm_arg_dims(n, "begin", begin, SM_MAX_RANK, &got) || got != x->rank)
        return false;
    if (!sm_arg_dims(n, "end", end, SM_MAX_RANK, &got) || got != x->rank)
        return false;
    if (!bool_vector(n, "begin_mask", open_lo, x->rank) || !bool_vector(n, "end_mask", open_hi, x->rank) ||
        !bool_vector(n, "squeeze_mask", squeeze, x->rank))
        return false;
    if (sm_arg(n, "stride") != NULL) {
        if (!sm_arg_ints(n, "stride", stride, SM_MAX_RANK, &got) || got != x->rank)
            return false;
        for (int i = 0; i < x->rank; i++)
            if (stride[i] < 1)
                return false;
    }
    for (int i = 0; i < x->rank; i++) {
        if (open_lo[i])
            begin[i] = 0;
        else if (sm_dim_known(begin[i]) && begin[i] < 0)
            begin[i] = sm_dim_add(z->b->g, x->dims[i], begin[i]);
        if (squeeze[i])
            end[i] = sm_dim_add(z->b->g, begin[i], 1);
        else if (open_hi[i])
            end[i] = x->dims[i];
        else if (sm_dim_known(end[i]) && end[i] < 0)
            end[i] = sm_dim_add(z->b->g, x->dims[i], end[i]);
    }
    return true;
}

/* Every attention must be needed for the logits: its slot number would be a hole. */
static sm_status check_slots(sm_raise *z) {
    sm_kv_slot slots[SM_RAISE_SLOTS];
    SM_TRY(sm_func_remove_dead(z->r.f, z->err));
    if (z->n_attention == 0 && !z->info->part)
        sm_raise_fail(z, "the program has no attention that is known here");
    else if (sm_func_kv_slots(z->r.f, slots, SM_RAISE_SLOTS) != z->n_attention)
        sm_raise_fail(z, "an attention does not lead to the logits");
    return SM_OK;
}

/* ------------------------------------------------------------------ SMELT_DEBUG=pass:4 shows what each value means */
static const char *kind_name(sm_meaning_kind k) {
    static const char *const name[] = {
        [M_NONE] = "none",
        [M_ROWS] = "rows",
        [M_SQUARE] = "square",
        [M_MEAN] = "mean",
        [M_MEAN_EPS] = "mean_eps",
        [M_RMS] = "rms",
        [M_INV_RMS] = "inv_rms",
        [M_TOP] = "top",
        [M_SCALED] = "scaled",
        [M_PLUS_MINUS] = "plus_minus",
        [M_PAIRED] = "paired",
        [M_PM_NORM] = "pm_norm",
        [M_INT] = "int",
        [M_POS] = "pos",
        [M_PAST] = "past",
        [M_KEY_POS] = "key_pos",
        [M_AHEAD] = "ahead",
        [M_ANGLE] = "angle",
        [M_COS] = "cos",
        [M_SIN] = "sin",
        [M_ROTATED] = "rotated",
        [M_TURN] = "turn",
        [M_HALF_TURN] = "half_turn",
        [M_TURNED] = "turned",
        [M_FILL] = "fill",
        [M_FILLED] = "filled",
        [M_BACK] = "back",
        [M_WHERE] = "where",
        [M_CACHE] = "cache",
        [M_UPDATED] = "updated",
        [M_KV] = "kv",
        [M_FRESH] = "fresh",
        [M_PICKED] = "picked",
        [M_ZERO] = "zero",
        [M_ONE_HOT] = "one_hot",
        [M_OWN] = "own",
        [M_KEEP] = "keep",
        [M_KEPT] = "kept",
        [M_PLACED] = "placed",
        [M_SCORES] = "scores",
        [M_PROBS] = "probs",
    };
    return name[k];
}

static const char *role_name(int role) {
    static const char *const piece[SM_RAISE_PIECES] = {"a", "b", "c", "d", "e", "f"};
    switch (role) {
    case AX_ONE:
        return "1";
    case AX_TOKENS:
        return "n";
    case AX_KEYS:
        return "keys";
    case AX_GROUP:
        return "group";
    case AX_SLOTS:
        return "slots";
    case AX_ANY:
        return "any";
    default:
        return role >= 0 && role < SM_RAISE_PIECES ? piece[role] : "?";
    }
}

static void show(const sm_raise *z, const sm_node *n) {
    char roles[SM_MAX_RANK * 8 + 1] = "";
    if (!sm_trace_on(SM_T_PASS, 4))
        return;
    for (int i = 0; i < n->n_out; i++) {
        const sm_value *v = n->out[i];
        const sm_meaning *m = &z->m[v->id];
        size_t at = 0;
        for (int k = 0; k < v->type.rank && m->kind != M_NONE; k++)
            at += (size_t)snprintf(roles + at, sizeof roles - at, " %s", role_name(m->ax[k]));
        sm_trace(SM_T_PASS, 4, "%s -> %s: %s%s", sm_op_row_of(n->op)->name, v->name, kind_name(m->kind),
                 m->kind != M_NONE ? roles : "");
    }
}

/* The rooms that give meanings, in this order: the first one that has one for a node is it. */
typedef bool (*sm_raise_rule)(sm_raise *z, const sm_node *n);

/* What ends the meaning of rows is why, should raising fail. */
static void note_unknown(sm_raise *z, const sm_node *n) {
    const char *op = sm_op_row_of(n->op)->name, *name = n->n_out > 0 ? n->out[0]->name : "";
    bool rows = false, scores = false, masked = false, all = false, none = false;
    for (int i = 0; i < sm_op_row_of(n->op)->n_slots + n->n_list; i++) {
        int k = i - sm_op_row_of(n->op)->n_slots;
        const sm_meaning *m = sm_raise_of(z, k < 0 ? n->in[i] : n->list[k]);
        rows |= m->kind == M_ROWS;
        scores |= m->kind == M_SCORES;
        masked |= m->kind == M_SCORES && m->masked;
        all |= m->kind == M_WHERE && !m->causal && m->window == 0;
        const sm_value *v = k < 0 ? n->in[i] : n->list[k];
        none |= v != NULL && v->cst == NULL && m->kind == M_NONE;
    }
    bool fused = n->op == SM_OP_SDPA && rows, open = fused && sm_arg(n, "attn_mask") == NULL;
    open |= (n->op == SM_OP_SOFTMAX && scores && !masked) || ((scores || fused) && all);
    if (z->own && all && none && (n->op == SM_OP_ADD || n->op == SM_OP_SELECT)) /* scores of rows already unknown */
        z->near[0] = 0, open = true;
    if (z->own && open)
        sm_raise_near(z, "%s '%.80s' lets each token see those behind it, as in an encoder", op, name);
    else if (z->own && (scores || fused))
        sm_raise_near(z, "%s '%.80s' is not known to hide from each token those behind it, and no others", op, name);
    else if (rows && n->op != SM_OP_SHAPE)
        sm_raise_near(z, "%s '%.80s' is the first that is not", op, name);
}

static void walk(sm_raise *z, const sm_func *f) {
    static const sm_raise_rule rooms[] = {
        sm_raise_norm_op, sm_raise_turn_op, sm_raise_mask_op, sm_raise_attn_op,  sm_raise_own_op,
        sm_raise_pair_op, sm_raise_view_op, sm_raise_rows_op, sm_raise_cache_op, sm_raise_head_op,
    };
    for (const sm_node *n = f->body->first; n != NULL && z->b->st == SM_OK && z->info->ok; n = n->next) {
        if (n->n_blocks > 0) {
            sm_raise_fail(z, "op %s: control flow", sm_op_row_of(n->op)->name);
            return;
        }
        sm_raise_own_consts(z, n);
        size_t i = 0;
        while (i < SM_ARRAY_LEN(rooms) && z->b->st == SM_OK && !rooms[i](z, n))
            i++;
        if (i == SM_ARRAY_LEN(rooms))
            note_unknown(z, n);
        show(z, n);
    }
}

/* Builds the row function; info->ok says whether that came out. */
static sm_status raise_body(sm_raise *z) {
    SM_TRY(sm_raise_inputs(z));
    if (z->n == SM_DIM_UNKNOWN) {
        sm_raise_fail(z, "no input of integers [1, n] that could be token ids, and no rows [1, n, d]");
        return SM_OK;
    }
    walk(z, z->r.old);
    if (z->info->ok && z->b->st == SM_OK)
        sm_raise_outputs(z);
    sm_raise_check_caches(z);
    if (z->info->ok && z->b->st == SM_OK)
        SM_TRY(check_slots(z));
    if (z->b->st == SM_RESOURCE)
        return sm_build_end(z->b, z->err);
    if (z->b->st != SM_OK) /* the meanings did not fit together: not a decoder as we know it */
        sm_raise_fail(z, "%.200s", z->b->err.msg);
    return SM_OK;
}

sm_status sm_pass_raise(sm_func *f, const sm_raise_hints *hints, sm_func **out, sm_raised *info, sm_err *err) {
    sm_func *bound = f;
    memset(info, 0, sizeof *info);
    *out = NULL;
    info->ok = true;
    if (f->body->n_in > SM_RAISE_INPUTS) { /* each is looked at on its way through the whole program */
        info->ok = false;
        snprintf(info->why, sizeof info->why, "%d inputs, a decoder has at most %d", f->body->n_in, SM_RAISE_INPUTS);
        return SM_OK;
    }
    SM_TRY(sm_raise_bind(f, &bound, err));
    sm_raise *z = sm_alloc(sizeof *z);
    if (z == NULL)
        return SM_NOMEM(err);
    z->info = info;
    z->hints = hints;
    z->err = err;
    z->n_values = f->graph->n_values;
    z->m = sm_alloc_n(SM_MAX(z->n_values, 1), sizeof *z->m);
    z->cache = sm_alloc_n(SM_RAISE_CACHES, sizeof(sm_raise_cache *));
    sm_status st = z->m == NULL || z->cache == NULL ? SM_NOMEM(err) : sm_rebuild_start_bare(&z->r, bound, 0, err);
    if (st == SM_OK) {
        z->b = &z->r.b;
        st = raise_body(z);
        info->part &= info->ok;
        bool raised = st == SM_OK && info->ok;
        z->r.old = f; /* whose place on the graph's list the result takes */
        sm_status end = sm_rebuild_end_bare(&z->r, raised ? SM_OK : SM_FAILED, out, err); /* or abandons it */
        if (raised)
            st = end;
    }
    sm_free(z->m);
    sm_free(z->cache);
    sm_free(z);
    return st;
}
