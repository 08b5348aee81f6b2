/* SPDX-License-Identifier: MIT
 *
 * raise_turn.c: meanings of positions, rotary embedding and masks.
 *
 * Rotary, halves form: y = x * cos + [-second half, first half] * sin, whole heads or their first elements only; cos and
 * sin of position * inv_freq, each half computed once or twice, in any order of axes.
 */
#include "pass/raise_int.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------ positions */
/* range_1d in steps of 1: from a computed start over n values the rows' positions, from 0 the keys'. */
static void range(sm_raise *z, const sm_node *n) {
    const sm_value *start = sm_arg(n, "start");
    int64_t from, step;
    if (!sm_value_int(sm_arg(n, "step"), &step) || step != 1)
        return;
    if (sm_value_int(start, &from)) {
        if (from == 0)
            sm_raise_set(z, n, (sm_meaning){.kind = M_KEY_POS});
        return;
    }
    if (start->sym == NULL || n->out[0]->type.dims[0] != z->n || (z->past_known && z->past != start->sym[0]))
        return;
    z->past = start->sym[0];
    z->past_known = true;
    sm_raise_set(z, n, (sm_meaning){.kind = M_POS});
}

/* An int input in the role of positions: the first use decides. */
static bool is_pos(sm_raise *z, const sm_meaning *m) {
    if (m->kind == M_POS)
        return true;
    if (m->kind != M_INT || z->old_ids == m->row || (z->old_pos != NULL && z->old_pos != m->row))
        return false;
    z->old_pos = m->row;
    return true;
}

/* Moves that only add or drop axes of extent 1. */
static bool pass_on(sm_raise *z, const sm_node *n) {
    const sm_meaning *x = sm_raise_arg(z, n, "x");
    sm_meaning m = *x;
    switch (x->kind) {
    case M_INT:
        if (!is_pos(z, x))
            return false;
        m = (sm_meaning){.kind = M_POS};
        break;
    case M_POS:
    case M_KEY_POS:
    case M_ANGLE:
    case M_COS:
    case M_SIN:
    case M_BACK:
    case M_FAR:
    case M_MASK:
        break;
    default:
        return false;
    }
    sm_raise_set(z, n, m);
    return true;
}

/* Extents other than 1 are kept in their order. */
static bool same_but_ones(const sm_type *a, const sm_type *b) {
    int i = 0, j = 0;
    for (;;) {
        while (i < a->rank && a->dims[i] == 1)
            i++;
        while (j < b->rank && b->dims[j] == 1)
            j++;
        if (i == a->rank || j == b->rank)
            return i == a->rank && j == b->rank;
        if (a->dims[i++] != b->dims[j++])
            return false;
    }
}

/* ------------------------------------------------------------------ angles */
static int64_t numel_const(const sm_value *c) {
    int64_t n = 1;
    for (int i = 0; i < c->type.rank; i++)
        n *= c->type.dims[i];
    return n;
}

/* One constant per content: exporters may write the frequencies once a layer. */
static sm_value *known_freq(sm_raise *z, const float *x, size_t n) {
    for (int i = 0; i < z->n_freqs; i++) {
        const sm_tensor *t = &z->freq[i]->cst->src;
        if (sm_tensor_numel(t) == n && memcmp(t->part[SM_PART_DATA].p, x, n * sizeof *x) == 0)
            return z->freq[i];
    }
    return NULL;
}

/* The constant as fp32 vector. */
static sm_value *freq_const(sm_raise *z, sm_value *c) {
    size_t got;
    float *x = sm_raise_floats(z, c, &got);
    if (x == NULL)
        return c->type.rank == 1 && c->type.dtype == SM_FP32 ? c : NULL;
    int64_t n = (int64_t)got;
    sm_value *v = known_freq(z, x, got);
    if (v == NULL) {
        const sm_encoding *e = &c->cst->src.enc;
        bool as_is = c->type.rank == 1 && c->type.dtype == SM_FP32 && e->id == SM_ENC_DENSE && e->code == SM_FP32;
        v = as_is ? c : sm_const_data(z->b, "inv_freq", SM_FP32, 1, &n, x);
        if (v != NULL && z->n_freqs < SM_RAISE_FREQS)
            z->freq[z->n_freqs++] = v;
    }
    sm_free(x);
    return v;
}

/* pos [.., n, 1] * freq [.., half] -> [.., n, half]; or turned: freq [.., half, 1] x pos [.., 1, n].  As mul or matmul. */
static bool angle(sm_raise *z, const sm_node *n) {
    sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    sm_value *c = x->cst != NULL ? x : y, *p = c == x ? y : x;
    bool tx = false, ty = false;
    if (n->op == SM_OP_MATMUL && (!sm_arg_bool(n, "transpose_x", &tx) || !sm_arg_bool(n, "transpose_y", &ty)))
        return false;
    if (tx || ty || c->cst == NULL || p->cst != NULL || sm_dtype_kind(c->type.dtype) != 'f' ||
        (z->m[p->id].kind != M_POS && z->m[p->id].kind != M_INT))
        return false;
    int64_t half = numel_const(c);
    bool turned = sm_is_plane(&c->type, half, 1) && sm_is_plane(&p->type, 1, z->n);
    bool straight = (c->type.rank == 1 || sm_is_plane(&c->type, 1, half)) && sm_is_plane(&p->type, z->n, 1);
    if (half < 2 || turned == straight || (n->op == SM_OP_MATMUL && (c == x) != turned) || !is_pos(z, &z->m[p->id]))
        return false;
    sm_raise_set(z, n, (sm_meaning){.kind = M_ANGLE, .freq = freq_const(z, c), .turned = turned, .f = 1});
    return true;
}

static bool both_halves(sm_raise *z, const sm_node *n) {
    int64_t axis;
    if (!sm_concat_two(n, &axis) || !sm_is_last_axis(n->list[0], axis))
        return false;
    const sm_meaning *a = &z->m[n->list[0]->id], *b = &z->m[n->list[1]->id];
    if (a->kind != b->kind || (a->kind != M_ANGLE && a->kind != M_COS && a->kind != M_SIN))
        return false;
    if (a->full || b->full || a->turned || b->turned || a->freq != b->freq || a->f != b->f)
        return false;
    sm_meaning m = *a;
    m.full = true;
    sm_raise_set(z, n, m);
    return true;
}

/* [.., half, n] -> [.., n, half] */
static bool turn_back(sm_raise *z, const sm_node *n) {
    sm_meaning m = *sm_raise_arg(z, n, "x");
    int64_t perm[SM_MAX_RANK];
    int r = 0;
    if ((m.kind != M_ANGLE && m.kind != M_COS && m.kind != M_SIN) || !m.turned ||
        !sm_arg_ints(n, "perm", perm, SM_MAX_RANK, &r) || r < 2)
        return false;
    for (int i = 0; i < r; i++) {
        int64_t want = i == r - 2 ? r - 1 : i == r - 1 ? r - 2 : i;
        if (perm[i] != want && perm[i] != want - r)
            return false;
    }
    m.turned = false;
    sm_raise_set(z, n, m);
    return true;
}

/* ------------------------------------------------------------------ parts of heads */
/* m as elements lo..hi of a row value, heads first. */
static bool part_of(const sm_meaning *m, int64_t *lo, int64_t *hi) {
    if (m->kind == M_PART) {
        *lo = m->lo;
        *hi = m->hi;
        return true;
    }
    if (m->kind != M_HEADS || m->f != 1)
        return false;
    *lo = 0;
    *hi = m->row->type.dims[2];
    return true;
}

static bool slice_part(sm_raise *z, const sm_node *n) {
    const sm_value *v = sm_arg(n, "x");
    const sm_meaning *x = sm_raise_arg(z, n, "x");
    sm_dim lo[SM_MAX_RANK], hi[SM_MAX_RANK];
    bool squeeze[SM_MAX_RANK];
    int64_t a, b;
    int last = v->type.rank - 1;
    if (!part_of(x, &a, &b) || !sm_slice_bounds(z, n, &v->type, lo, hi, squeeze) || squeeze[last])
        return false;
    for (int i = 0; i < last; i++)
        if (lo[i] != 0 || hi[i] != v->type.dims[i] || squeeze[i])
            return false;
    if (!sm_dim_known(lo[last]) || !sm_dim_known(hi[last]))
        return false;
    sm_raise_set(
        z, n,
        (sm_meaning){.kind = M_PART, .row = x->row, .lo = a + lo[last], .hi = a + hi[last], .f = 1, .heads = true});
    return true;
}

/* [-second half, first half], or turned part and untouched rest. */
static bool join_parts(sm_raise *z, const sm_node *n) {
    int64_t axis;
    if (!sm_concat_two(n, &axis) || !sm_is_last_axis(n->list[0], axis))
        return false;
    const sm_meaning *a = &z->m[n->list[0]->id], *b = &z->m[n->list[1]->id];
    if (b->kind != M_PART || a->row == NULL)
        return false;
    if (a->kind == M_NEG && a->row == b->row && b->lo == 0 && a->lo == b->hi && a->hi == 2 * b->hi) {
        sm_raise_set(z, n, (sm_meaning){.kind = M_ROTATED, .row = a->row, .lo = 0, .hi = a->hi, .f = 1, .heads = true});
        return true;
    }
    if (a->kind == M_TURNED && a->row_k == b->row && b->lo == a->hi && b->hi == b->row->type.dims[2]) {
        sm_raise_set(z, n, (sm_meaning){.kind = M_HEADS, .row = a->row, .f = 1, .heads = true});
        return true;
    }
    return false;
}

/* A table's type has been checked: tokens and angles are its last axes, like those of heads. */
static bool times_table(sm_raise *z, const sm_node *n) {
    const sm_meaning *a = sm_raise_arg(z, n, "x"), *b = sm_raise_arg(z, n, "y");
    if (a->kind == M_COS || a->kind == M_SIN) {
        const sm_meaning *t = a;
        a = b;
        b = t;
    }
    int64_t lo, hi;
    if ((b->kind != M_COS && b->kind != M_SIN) || !b->full || b->turned || b->freq == NULL)
        return false;
    int64_t rot = 2 * b->freq->type.dims[0];
    if (b->kind == M_COS && part_of(a, &lo, &hi) && lo == 0 && hi == rot) {
        sm_raise_set(
            z, n,
            (sm_meaning){.kind = M_TIMES_COS, .row = a->row, .freq = b->freq, .f = b->f, .hi = rot, .heads = true});
        return true;
    }
    if (b->kind == M_SIN && a->kind == M_ROTATED && a->hi == rot) {
        sm_raise_set(
            z, n,
            (sm_meaning){.kind = M_TIMES_SIN, .row = a->row, .freq = b->freq, .f = b->f, .hi = rot, .heads = true});
        return true;
    }
    return false;
}

static bool add_turns(sm_raise *z, const sm_node *n) {
    const sm_meaning *a = sm_raise_arg(z, n, "x"), *b = sm_raise_arg(z, n, "y");
    if (a->kind == M_TIMES_SIN) {
        const sm_meaning *t = a;
        a = b;
        b = t;
    }
    if (a->kind != M_TIMES_COS || b->kind != M_TIMES_SIN || a->row != b->row || a->freq != b->freq || a->f != b->f)
        return false;
    sm_value *scale = sm_const_f(z->b, SM_FP32, a->f);
    sm_value *y =
        sm_build(z->b, SM_OP_ROPE, NULL, "x", a->row, "pos", z->pos, "inv_freq", a->freq, "scale", scale, NULL);
    bool whole = a->hi == a->row->type.dims[2];
    sm_raise_set(
        z, n,
        (sm_meaning){
            .kind = whole ? M_HEADS : M_TURNED, .row = y, .row_k = a->row, .hi = a->hi, .f = 1, .heads = true});
    return true;
}

static bool scaled(sm_raise *z, const sm_node *n) {
    sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    sm_value *c = x->cst != NULL ? x : y, *v = c == x ? y : x;
    double f;
    if (c->cst == NULL || v->cst != NULL || !sm_value_float(c, &f) || numel_const(c) != 1)
        return false;
    sm_meaning m = z->m[v->id];
    if (m.kind == M_PART && f == -1) {
        m.kind = M_NEG;
    } else if (m.kind == M_COS || m.kind == M_SIN) {
        m.f *= f;
    } else {
        return false;
    }
    sm_raise_set(z, n, m);
    return true;
}

/* ------------------------------------------------------------------ masks */
/* pos [.., n, 1] - key pos [.., 1, keys] */
static bool back(sm_raise *z, const sm_node *n) {
    const sm_meaning *a = sm_raise_arg(z, n, "x"), *b = sm_raise_arg(z, n, "y");
    if (b->kind != M_KEY_POS || !sm_is_plane(&sm_arg(n, "x")->type, z->n, 1) || !is_pos(z, a))
        return false;
    sm_raise_set(z, n, (sm_meaning){.kind = M_BACK, .joined = b->joined});
    return true;
}

/* What is w positions back and more is hidden: w positions are seen. */
static bool far(sm_raise *z, const sm_node *n) {
    int64_t w;
    const sm_meaning *x = sm_raise_arg(z, n, "x");
    double f;
    const sm_value *y = sm_arg(n, "y");
    if (x->kind != M_BACK || y->cst == NULL)
        return false;
    if (!sm_value_int(y, &w)) { /* positions may have been cast to floats */
        if (!sm_value_float(y, &f) || !(f >= 0 && f < INT32_MAX) || f != floor(f))
            return false;
        w = (int64_t)f;
    }
    w += n->op == SM_OP_GREATER;
    if (w < 1 || w > INT32_MAX)
        return false;
    sm_raise_set(z, n, (sm_meaning){.kind = M_FAR, .window = w, .joined = x->joined});
    return true;
}

static bool windowed(sm_raise *z, const sm_node *n) {
    const sm_meaning *c = sm_raise_arg(z, n, "cond"), *b = sm_raise_arg(z, n, "b");
    double hidden;
    if (c->kind != M_FAR || b->kind != M_MASK || b->window != 0 || !sm_value_float(sm_arg(n, "a"), &hidden) ||
        !(hidden <= -1e4))
        return false;
    sm_dim keys = sm_arg(n, "b")->type.dims[sm_arg(n, "b")->type.rank - 1];
    if (!sm_is_plane(&sm_arg(n, "cond")->type, z->n, keys))
        return false;
    sm_raise_set(z, n, (sm_meaning){.kind = M_MASK, .window = c->window, .joined = c->joined});
    return true;
}

/* [old key positions, the rows' own]: keys of the form with caches as inputs. */
static bool join_positions(sm_raise *z, const sm_node *n) {
    int64_t axis;
    if (!sm_concat_two(n, &axis) || n->list[0]->type.rank != 1)
        return false;
    const sm_meaning *a = &z->m[n->list[0]->id];
    if (a->kind != M_KEY_POS || a->joined || !is_pos(z, &z->m[n->list[1]->id]))
        return false;
    sm_raise_set(z, n, (sm_meaning){.kind = M_KEY_POS, .joined = true});
    return true;
}

/* A mask cut to the keys at hand keeps its meaning. */
static bool slice_mask(sm_raise *z, const sm_node *n) {
    const sm_value *v = sm_arg(n, "x");
    const sm_meaning *x = sm_raise_arg(z, n, "x");
    sm_dim lo[SM_MAX_RANK], hi[SM_MAX_RANK];
    bool squeeze[SM_MAX_RANK];
    if (x->kind != M_MASK || v->type.rank != 4 || !sm_slice_bounds(z, n, &v->type, lo, hi, squeeze))
        return false;
    for (int i = 0; i < 4; i++)
        if (lo[i] != 0 || squeeze[i] || hi[i] != v->type.dims[i])
            return false;
    sm_raise_set(z, n, *x);
    return true;
}

void sm_raise_turn_op(sm_raise *z, const sm_node *n) {
    switch (n->op) {
    case SM_OP_RANGE_1D:
        range(z, n);
        return;
    case SM_OP_EXPAND_DIMS:
    case SM_OP_SQUEEZE:
        pass_on(z, n);
        return;
    case SM_OP_RESHAPE:
        if (same_but_ones(&sm_arg(n, "x")->type, &n->out[0]->type))
            pass_on(z, n);
        return;
    case SM_OP_TRANSPOSE:
        turn_back(z, n);
        return;
    case SM_OP_MATMUL:
        angle(z, n);
        return;
    case SM_OP_MUL:
        (void)(times_table(z, n) || scaled(z, n) || angle(z, n));
        return;
    case SM_OP_COS:
    case SM_OP_SIN: {
        sm_meaning m = *sm_raise_arg(z, n, "x");
        if (m.kind == M_ANGLE) {
            m.kind = n->op == SM_OP_COS ? M_COS : M_SIN;
            sm_raise_set(z, n, m);
        }
        return;
    }
    case SM_OP_ADD:
        add_turns(z, n);
        return;
    case SM_OP_CONCAT:
        (void)(both_halves(z, n) || join_parts(z, n) || join_positions(z, n));
        return;
    case SM_OP_SLICE_BY_INDEX:
        (void)(slice_mask(z, n) || slice_part(z, n));
        return;
    case SM_OP_SUB:
        back(z, n);
        return;
    case SM_OP_GREATER:
    case SM_OP_GREATER_EQUAL:
        far(z, n);
        return;
    case SM_OP_SELECT:
        windowed(z, n);
        return;
    default:
        return;
    }
}
