/* SPDX-License-Identifier: MIT
 *
 * raise_norm.c: rms_norm from its stations.
 *
 *     x    x * x    mean or sum    + eps    rsqrt, pow -0.5, or sqrt    x * that, x / that    * gamma
 *     x    [x, -x]    layer_norm    its first half                                            * gamma
 *
 * Before that, x may be scaled so that no square is too large for fp16: by a number, which belongs to eps, or by its largest
 * element, which a norm does not see but for an eps that is then next to nothing.
 *
 * Sums are means times the extent, and a norm of sums is 1 / sqrt(extent) of one of means: such factors ride along in `f`
 * until they meet the weight or are applied.  The reduced axis is the last piece of the features, wherever it stands.
 */
#include "pass/raise_int.h"

#include <math.h>

/* Most of eps * width that is next to nothing, and what takes its place. */
#define SCALED_EPS 0x1p-7
#define SMALLEST_EPS 1e-20

static bool same_row(const sm_meaning *a, const sm_meaning *b) {
    return a->row == b->row && a->lo == b->lo && a->hi == b->hi && a->last == b->last;
}

static sm_meaning station(const sm_meaning *m, sm_meaning_kind kind) {
    sm_meaning y = *m;
    y.kind = kind;
    y.f = 1;
    return y;
}

static int64_t width_of(const sm_meaning *m) {
    int k = sm_raise_last(m);
    return k >= 0 ? m->piece[k] : 0;
}

/* ------------------------------------------------------------------ to the mean of squares */
static bool square(sm_raise *z, const sm_node *n, const sm_meaning *x) {
    sm_meaning y = station(x, M_SQUARE);
    y.f = x->f * x->f;
    return (x->kind == M_ROWS || x->kind == M_SCALED) && y.f > 0 && sm_raise_set(z, n, y);
}

/* The one axis that a reduction runs over, kept or not. */
static bool one_axis(const sm_node *n, int64_t *axis, bool *keep) {
    int64_t axes[SM_MAX_RANK];
    int k = 0;
    *keep = false;
    if (!sm_arg_ints(n, "axes", axes, SM_MAX_RANK, &k) || k != 1 || !sm_arg_bool(n, "keep_dims", keep))
        return false;
    *axis = axes[0];
    return true;
}

static bool reduce(sm_raise *z, const sm_node *n) {
    const sm_meaning *x = sm_raise_arg(z, n, "x");
    bool squares = n->op == SM_OP_REDUCE_SUM_SQUARE || n->op == SM_OP_REDUCE_L2_NORM, keep;
    int rank = sm_arg(n, "x")->type.rank, to = 0;
    int64_t axis;
    bool row = x->kind == M_ROWS || x->kind == M_SCALED;
    if (!(squares ? row : x->kind == M_SQUARE) || !one_axis(n, &axis, &keep) || !sm_raise_is_last(x, rank, axis))
        return false;
    sm_meaning y = station(x, n->op == SM_OP_REDUCE_L2_NORM ? M_RMS : M_MEAN);
    if (axis < 0)
        axis += rank;
    for (int i = 0; i < rank; i++)
        if (i != axis || keep)
            y.ax[to++] = (int8_t)(i == axis ? AX_ONE : x->ax[i]);
    double d = (double)width_of(x);
    y.f = n->op == SM_OP_REDUCE_MEAN ? 1 : n->op == SM_OP_REDUCE_L2_NORM ? sqrt(d) : d;
    y.f *= n->op == SM_OP_REDUCE_SUM_SQUARE ? x->f * x->f : fabs(x->f);
    y.eps = 0;
    return sm_raise_set(z, n, y);
}

static bool rooted(sm_raise *z, const sm_node *n, const sm_meaning *x, bool inverse, double extra) {
    if (x->kind != M_MEAN && x->kind != M_MEAN_EPS)
        return false;
    sm_meaning y = *x;
    y.kind = inverse ? M_INV_RMS : M_RMS;
    if (x->kind == M_MEAN)
        y.eps = 0;
    if (!(x->f > 0))
        return false;
    if (extra / x->f > 1e-4 * y.eps) /* the default guards a division by 0 only */
        y.eps += extra / x->f;
    y.f = inverse ? 1 / sqrt(x->f) : sqrt(x->f);
    return sm_raise_set(z, n, y);
}

/* ------------------------------------------------------------------ norms */
/* m: the row value with factor 1; value = f * norm. */
static bool norm_of(sm_raise *z, const sm_node *n, const sm_meaning *m, const int8_t *ax, double eps, double f) {
    sm_value *whole = sm_raise_piecewise(z, m, width_of(m));
    if (whole == NULL || !(eps >= 0) || !isfinite(f))
        return false;
    sm_value *in[SM_MAX_SLOTS] = {whole, NULL, sm_const_f(z->b, SM_FP32, eps)};
    if (in[2] == NULL)
        return false;
    sm_meaning y = sm_raise_part_of(z, m, sm_raise_again(z, SM_OP_RMS_NORM, in));
    if (y.row == NULL)
        return false;
    for (int i = 0; i < SM_MAX_RANK; i++)
        y.ax[i] = ax[i];
    y.f = fabs(f - 1) < 1e-6 ? 1 : f;
    return sm_raise_set(z, n, y);
}

/* x = c * row, settled already: c, and the row. */
static double scale_behind(const sm_meaning *x, const sm_value **row) {
    const sm_node *d = x->row->def;
    double c = 1;
    *row = x->row;
    if (d != NULL && d->op == SM_OP_MUL && sm_arg(d, "y")->type.rank == 0 && sm_raise_scalar(sm_arg(d, "y"), &c))
        *row = sm_arg(d, "x");
    return c;
}

/* a * 1 / sqrt(mean((c a)^2) + eps) = norm(a, eps / c^2) / c */
static bool same_but_scaled(const sm_meaning *a, const sm_meaning *b, double *c) {
    const sm_value *ra, *rb;
    *c = 1;
    if (same_row(a, b))
        return true;
    double ca = scale_behind(a, &ra), cb = scale_behind(b, &rb);
    bool same = ra == rb || ra == b->row || rb == a->row;
    *c = ra == rb ? cb / ca : ra == b->row ? 1 / ca : cb;
    return same && a->lo == b->lo && a->hi == b->hi && a->last == b->last && *c != 0 && isfinite(*c);
}

/* The largest |element|: of abs(x), which is a row value. */
static bool top(sm_raise *z, const sm_node *n) {
    const sm_meaning *x = sm_raise_arg(z, n, "x");
    int rank = sm_arg(n, "x")->type.rank, to = 0;
    int64_t axis;
    bool keep;
    const sm_node *d = x->kind == M_ROWS && x->row != NULL ? x->row->def : NULL;
    if (d == NULL || d->op != SM_OP_ABS || x->f != 1 || !sm_is_whole(x) || !one_axis(n, &axis, &keep) ||
        !sm_raise_is_last(x, rank, axis))
        return false;
    sm_meaning y = station(x, M_TOP);
    y.row = sm_arg(d, "x");
    axis += axis < 0 ? rank : 0;
    for (int i = 0; i < rank; i++)
        if (i != axis || keep)
            y.ax[to++] = (int8_t)(i == axis ? AX_ONE : x->ax[i]);
    return sm_raise_set(z, n, y);
}

static bool over_top(sm_raise *z, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    const sm_meaning *a = sm_raise_of(z, x), *b = sm_raise_of(z, y);
    int8_t ax[SM_MAX_RANK];
    if (a->kind != M_ROWS || b->kind != M_TOP || a->f != 1 || !same_row(a, b) || !sm_raise_join(x, a->ax, y, b->ax, ax))
        return false;
    sm_meaning m = station(a, M_SCALED);
    for (int i = 0; i < SM_MAX_RANK; i++)
        m.ax[i] = ax[i];
    m.over = y;
    return sm_raise_set(z, n, m);
}

/* x * INV_RMS, x / RMS */
static bool product(sm_raise *z, const sm_node *n) {
    const sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    const sm_meaning *a = sm_raise_of(z, x), *b = sm_raise_of(z, y);
    int8_t ax[SM_MAX_RANK];
    if (n->op == SM_OP_MUL && a->kind == M_INV_RMS) {
        const sm_meaning *t = a;
        a = b;
        b = t;
    }
    double c, eps = b->eps, f = a->f * (n->op == SM_OP_MUL ? b->f : 1 / b->f);
    if ((a->kind != M_ROWS && a->kind != M_SCALED) || b->kind != (n->op == SM_OP_MUL ? M_INV_RMS : M_RMS) ||
        !same_but_scaled(a, b, &c) || !sm_raise_join(x, sm_raise_of(z, x)->ax, y, sm_raise_of(z, y)->ax, ax))
        return false;
    if (a->kind == M_ROWS && b->over == NULL)
        return norm_of(z, n, a, ax, eps / (c * c), f / fabs(c));
    /* with m the largest element, eps * m^2 beside a mean of squares that is m^2 / width at least */
    if (a->kind != M_SCALED || a->over != b->over || c != 1 || eps * (double)width_of(a) > SCALED_EPS)
        return false;
    return norm_of(z, n, a, ax, SMALLEST_EPS, f);
}

/* The norm behind a row value, past reshapes. */
static const sm_node *norm_behind(const sm_value *row) {
    while (row->def != NULL && row->def->op == SM_OP_RESHAPE)
        row = sm_arg(row->def, "x");
    return row->def != NULL && row->def->op == SM_OP_RMS_NORM ? row->def : NULL;
}

/* norm without weight * vector over its width: the weight belongs inside. */
static bool weight(sm_raise *z, const sm_node *n, const sm_value *xv, const sm_meaning *x, sm_value *w) {
    int role;
    const sm_node *d = x->kind == M_ROWS ? norm_behind(x->row) : NULL;
    if (d == NULL || sm_arg(d, "gamma") != NULL || !sm_raise_const_along(xv, x, w, &role) || role < 0 ||
        role != sm_raise_last(x))
        return false;
    const sm_type *t = &d->out[0]->type;
    int64_t width = width_of(x);
    if (t->dims[t->rank - 1] != width)
        return false;
    w = sm_raise_plain(z, w);
    if (w != NULL && (w->type.rank > 1 || x->f != 1))
        w = sm_raise_vector(z, w, x->f);
    sm_value *in[SM_MAX_SLOTS] = {sm_arg(d, "x"), w, sm_arg(d, "eps")};
    if (w == NULL)
        return false;
    sm_meaning y = sm_raise_part_of(z, x, sm_raise_again(z, SM_OP_RMS_NORM, in));
    return y.row != NULL && sm_raise_set(z, n, y);
}

static bool layer_norm(sm_raise *z, const sm_node *n) {
    const sm_meaning *x = sm_raise_arg(z, n, "x");
    int64_t axes[SM_MAX_RANK];
    int k = 0;
    double eps = 0;
    if (x->kind != M_PLUS_MINUS || !sm_arg_ints(n, "axes", axes, SM_MAX_RANK, &k) || k != 1 ||
        !sm_raise_is_last(x, sm_arg(n, "x")->type.rank, axes[0]) || sm_arg(n, "gamma") != NULL ||
        sm_arg(n, "beta") != NULL || !sm_arg_float(n, "epsilon", &eps))
        return false;
    sm_meaning y = *x;
    y.kind = M_PM_NORM;
    y.eps = eps;
    return sm_raise_set(z, n, y);
}

/* [x, -x] along the last piece */
static bool plus_minus(sm_raise *z, const sm_node *n) {
    int64_t axis = 0;
    bool interleave = false;
    if (n->n_list != 2 || !sm_arg_int(n, "axis", &axis) || !sm_arg_bool(n, "interleave", &interleave) || interleave)
        return false;
    const sm_value *v = n->list[0];
    const sm_meaning *a = sm_raise_of(z, v), *b = sm_raise_of(z, n->list[1]);
    if (a->kind != M_ROWS || b->kind != M_ROWS || a->f != 1 || b->f != -1 || !same_row(a, b) ||
        !sm_raise_is_last(a, v->type.rank, axis))
        return false;
    for (int i = 0; i < v->type.rank; i++)
        if (a->ax[i] != b->ax[i] && v->type.dims[i] != 1)
            return false;
    sm_meaning y = station(a, M_PLUS_MINUS);
    y.piece[sm_raise_last(a)] *= 2;
    return sm_raise_set(z, n, y);
}

/* Its first half, by a slice or a split in two. */
static bool first_half(sm_raise *z, const sm_node *n) {
    const sm_value *v = sm_arg(n, "x");
    const sm_meaning *x = sm_raise_of(z, v);
    int axis = -1, last = sm_raise_last(x), rank = v->type.rank;
    if (x->kind != M_PM_NORM)
        return false;
    const sm_dim half = x->piece[last] / 2;
    if (n->op == SM_OP_SPLIT) {
        int64_t a = 0;
        if (!sm_arg_int(n, "axis", &a))
            return false;
        axis = (int)(a < 0 ? a + rank : a);
        if (n->n_out < 1 || n->out[0]->type.dims[axis] != half)
            return false;
    } else {
        sm_dim lo[SM_MAX_RANK], hi[SM_MAX_RANK];
        bool gone[SM_MAX_RANK];
        if (!sm_slice_bounds(z, n, &v->type, lo, hi, gone) || !sm_raise_one_axis(&v->type, lo, hi, &axis) || axis < 0 ||
            lo[axis] != 0 || hi[axis] != half)
            return false;
        for (int i = 0; i < rank; i++)
            if (gone[i])
                return false;
    }
    if (x->ax[axis] != last)
        return false;
    sm_meaning m = *x;
    m.kind = M_ROWS;
    m.f = 1;
    m.piece[last] = half;
    return norm_of(z, n, &m, m.ax, x->eps, 1);
}

/* ------------------------------------------------------------------ stations and numbers */
static bool with_scalar(sm_raise *z, const sm_node *n, const sm_meaning *x, double c, bool first) {
    sm_meaning y = *x;
    switch (n->op) {
    case SM_OP_MAXIMUM:
        return x->kind == M_TOP && c > 0 && c < 1 && sm_raise_set(z, n, y);
    case SM_OP_ADD:
        if (x->kind == M_TOP)
            return c > 0 && c < 1e-2 && sm_raise_set(z, n, y);
        if (x->kind != M_MEAN || !(x->f > 0) || !(c >= 0))
            return false;
        y.kind = M_MEAN_EPS;
        y.eps = c / x->f;
        return sm_raise_set(z, n, y);
    case SM_OP_MUL:
        y.f *= c;
        return x->kind >= M_MEAN && x->kind <= M_INV_RMS && sm_raise_set(z, n, y);
    case SM_OP_REAL_DIV:
        if (!first) {
            y.f /= c;
            return x->kind >= M_MEAN && x->kind <= M_INV_RMS && isfinite(y.f) && sm_raise_set(z, n, y);
        }
        y.kind = x->kind == M_RMS ? M_INV_RMS : M_RMS;
        y.f = c / x->f;
        return (x->kind == M_RMS || x->kind == M_INV_RMS) && isfinite(y.f) && sm_raise_set(z, n, y);
    case SM_OP_POW:
        if (!first && (c == -0.5 || c == 0.5))
            return rooted(z, n, x, c < 0, 0);
        return !first && c == 2 && square(z, n, x);
    default:
        return false;
    }
}

static bool binary(sm_raise *z, const sm_node *n) {
    sm_value *x = sm_arg(n, "x"), *y = sm_arg(n, "y");
    double c;
    if (x == y)
        return n->op == SM_OP_MUL && square(z, n, sm_raise_of(z, x));
    if (y->cst != NULL && n->op == SM_OP_MUL && weight(z, n, x, sm_raise_of(z, x), y))
        return true;
    if (x->cst != NULL && n->op == SM_OP_MUL && weight(z, n, y, sm_raise_of(z, y), x))
        return true;
    if (y->cst != NULL)
        return sm_raise_scalar(y, &c) && y->type.rank <= x->type.rank && with_scalar(z, n, sm_raise_of(z, x), c, false);
    if (x->cst != NULL)
        return sm_raise_scalar(x, &c) && x->type.rank <= y->type.rank && with_scalar(z, n, sm_raise_of(z, y), c, true);
    return (n->op == SM_OP_REAL_DIV && over_top(z, n)) ||
           ((n->op == SM_OP_MUL || n->op == SM_OP_REAL_DIV) && product(z, n));
}

bool sm_raise_norm_op(sm_raise *z, const sm_node *n) {
    double extra = 0;
    switch (n->op) {
    case SM_OP_MUL:
    case SM_OP_ADD:
    case SM_OP_REAL_DIV:
    case SM_OP_MAXIMUM:
    case SM_OP_POW:
        return binary(z, n);
    case SM_OP_REDUCE_MAX:
        return top(z, n);
    case SM_OP_SQUARE:
        return square(z, n, sm_raise_arg(z, n, "x"));
    case SM_OP_REDUCE_MEAN:
    case SM_OP_REDUCE_SUM:
    case SM_OP_REDUCE_SUM_SQUARE:
    case SM_OP_REDUCE_L2_NORM:
        return reduce(z, n);
    case SM_OP_RSQRT:
        return sm_arg_float(n, "epsilon", &extra) && rooted(z, n, sm_raise_arg(z, n, "x"), true, extra);
    case SM_OP_SQRT:
        return rooted(z, n, sm_raise_arg(z, n, "x"), false, 0);
    case SM_OP_CONCAT:
        return plus_minus(z, n);
    case SM_OP_LAYER_NORM:
        return layer_norm(z, n);
    case SM_OP_SLICE_BY_INDEX:
    case SM_OP_SPLIT:
        return first_half(z, n);
    default:
        return false;
    }
}
