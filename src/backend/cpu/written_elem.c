/* SPDX-License-Identifier: MIT
 *
 * written_elem.c: elementwise ops over floats.
 *
 * Two operands are walked row by row of the last axis; where leading axes fold into it (equal shapes, a scalar, a plane
 * times one number of its channel) rows become as long as they can, and short rows are taken many at a time.
 */
#include <string.h>

#include "backend/cpu/written_int.h"

/* ---- one operand ---- */

typedef struct unary_job {
    void (*f)(const float *x, int64_t n, float a, float b, float *y);
    const float *x;
    float *y, a, b;
} unary_job;

static void unary_part(void *ctx, int ith, int64_t from, int64_t to) {
    const unary_job *j = ctx;
    (void)ith;
    j->f(j->x + from, to - from, j->a, j->b, j->y + from);
}

static const struct {
    bool known;
    sm_unary_loop loop;
    const char *a, *b; /* slots */
} unary_of[SM_OP_COUNT_] = {
    [SM_OP_ABS] = {true, SM_LU_ABS, NULL, NULL},
    [SM_OP_CLIP] = {true, SM_LU_CLIP, "alpha", "beta"},
    [SM_OP_ERF] = {true, SM_LU_ERF, NULL, NULL},
    [SM_OP_EXP] = {true, SM_LU_EXP, NULL, NULL},
    [SM_OP_INVERSE] = {true, SM_LU_INVERSE, "epsilon", NULL},
    [SM_OP_LEAKY_RELU] = {true, SM_LU_LEAKY, "alpha", NULL},
    [SM_OP_RELU] = {true, SM_LU_RELU, NULL, NULL},
    [SM_OP_RELU6] = {true, SM_LU_CLIP, NULL, NULL},
    [SM_OP_RSQRT] = {true, SM_LU_RSQRT, "epsilon", NULL},
    [SM_OP_SIGMOID] = {true, SM_LU_SIGMOID, NULL, NULL},
    [SM_OP_SILU] = {true, SM_LU_SILU, NULL, NULL},
    [SM_OP_SQRT] = {true, SM_LU_SQRT, NULL, NULL},
    [SM_OP_SQUARE] = {true, SM_LU_SQUARE, NULL, NULL},
    [SM_OP_TANH] = {true, SM_LU_TANH, NULL, NULL},
};

sm_status wr_unary(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    sm_op op = c->node->op;
    if (!ref_is_float(x) || !unary_of[op].known)
        return ref_unary(c);
    SM_TRY(ref_result_raw(c, 0, x->dtype, x->rank, x->dims));
    unary_job j = {.f = wr_of(c)->l.unary[unary_of[op].loop], .x = x->f, .y = ref_out(c, 0)->f};
    j.a = unary_of[op].a != NULL ? (float)ref_num(c, unary_of[op].a) : 0;
    j.b = unary_of[op].b != NULL ? (float)ref_num(c, unary_of[op].b) : op == SM_OP_RELU6 ? 6 : 0;
    wr_share(wr_of(c), x->n, WR_PIECE, 1, unary_part, &j);
    return SM_OK;
}

sm_status wr_gelu(ref_call *c) {
    static const char *const words[] = {"EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION", NULL};
    const ref_val *x = ref_in(c, "x");
    int mode = sm_arg_word(c->node, "mode", words);
    if (!ref_is_float(x) || mode < 0)
        return ref_gelu_op(c);
    SM_TRY(ref_result_raw(c, 0, x->dtype, x->rank, x->dims));
    unary_job j = {.x = x->f, .y = ref_out(c, 0)->f};
    j.f = wr_of(c)->l.unary[mode == 0 ? SM_LU_GELU : mode == 1 ? SM_LU_GELU_TANH : SM_LU_GELU_SIGMOID];
    wr_share(wr_of(c), x->n, WR_PIECE, 8, unary_part, &j);
    return SM_OK;
}

/* Floats stay as they are, whatever width they are declared as. */
sm_status wr_cast(ref_call *c) {
    const ref_val *x = ref_in(c, "x");
    sm_sv name;
    sm_dtype t = sm_arg_str(c->node, "dtype", &name) ? sm_dtype_of_name(name) : SM_NONE;
    if (!ref_is_float(x) || sm_dtype_kind(t) != 'f')
        return ref_cast(c);
    ref_share(ref_out(c, 0), x);
    ref_out(c, 0)->dtype = t;
    return SM_OK;
}

/* ---- two operands ---- */

typedef struct binary_job {
    void (*f)(const float *x, int xs, const float *y, int ys, int64_t n, float *z);
    const ref_val *x, *y;
    float *z;
    int rank; /* folded axes; the last one is a row */
    int64_t dims[SM_MAX_RANK], xs[SM_MAX_RANK], ys[SM_MAX_RANK];
    int64_t cut, piece; /* pieces of a row, elements of one */
} binary_job;

/* Rows from .. to, each piece of a row counting on its own. */
static void binary_rows(void *ctx, int ith, int64_t from, int64_t to) {
    const binary_job *j = ctx;
    int last = j->rank - 1;
    int64_t n = j->dims[last];
    (void)ith;
    for (int64_t at = from; at < to; at++) {
        int64_t row = at / j->cut, c0 = at % j->cut * j->piece, xo = c0 * j->xs[last], yo = c0 * j->ys[last],
                rest = row;
        for (int a = last - 1; a >= 0; a--) {
            xo += rest % j->dims[a] * j->xs[a];
            yo += rest % j->dims[a] * j->ys[a];
            rest /= j->dims[a];
        }
        j->f(j->x->f + xo, (int)j->xs[last], j->y->f + yo, (int)j->ys[last], SM_MIN(j->piece, n - c0),
             j->z + row * n + c0);
    }
}

/* Strides of v broadcast to the result. */
static void spread(const ref_val *v, int rank, int64_t *out) {
    int64_t s[SM_MAX_RANK];
    ref_strides(v->rank, v->dims, s);
    for (int i = 0; i < rank; i++) {
        int a = i - (rank - v->rank);
        out[i] = a < 0 || v->dims[a] == 1 ? 0 : s[a];
    }
}

/* Axes that both operands step through as one become one; those of extent 1 vanish. */
static void fold(binary_job *j, int rank, const int64_t *dims, const int64_t *xs, const int64_t *ys) {
    j->rank = 0;
    for (int i = 0; i < rank; i++) {
        if (dims[i] == 1)
            continue;
        int p = j->rank - 1;
        if (p >= 0 && j->xs[p] == xs[i] * dims[i] && j->ys[p] == ys[i] * dims[i]) {
            j->dims[p] *= dims[i];
            j->xs[p] = xs[i];
            j->ys[p] = ys[i];
            continue;
        }
        j->dims[j->rank] = dims[i];
        j->xs[j->rank] = xs[i];
        j->ys[j->rank++] = ys[i];
    }
    if (j->rank == 0) {
        j->rank = 1;
        j->dims[0] = 1;
        j->xs[0] = j->ys[0] = 0;
    }
}

sm_status wr_binary(ref_call *c) {
    static const struct {
        sm_op op;
        sm_binary_loop loop;
    } loops[] = {{SM_OP_ADD, SM_LB_ADD},      {SM_OP_SUB, SM_LB_SUB},     {SM_OP_MUL, SM_LB_MUL},
                 {SM_OP_REAL_DIV, SM_LB_DIV}, {SM_OP_MAXIMUM, SM_LB_MAX}, {SM_OP_MINIMUM, SM_LB_MIN}};
    const ref_val *x = ref_in(c, "x"), *y = ref_in(c, "y");
    int64_t dims[SM_MAX_RANK], xs[SM_MAX_RANK], ys[SM_MAX_RANK];
    int rank = x->rank;
    if (!ref_is_float(x) || !ref_is_float(y))
        return ref_binary(c);
    memcpy(dims, x->dims, sizeof dims);
    SM_TRY(ref_broadcast(&rank, dims, y, c->err));
    SM_TRY(ref_result_raw(c, 0, x->dtype, rank, dims));
    binary_job j = {.x = x, .y = y, .z = ref_out(c, 0)->f};
    if (ref_out(c, 0)->n == 0)
        return SM_OK;
    for (size_t i = 0; i < SM_ARRAY_LEN(loops); i++)
        if (loops[i].op == c->node->op)
            j.f = wr_of(c)->l.binary[loops[i].loop];
    spread(x, rank, xs);
    spread(y, rank, ys);
    fold(&j, rank, dims, xs, ys);
    int64_t row = j.dims[j.rank - 1];
    j.piece = SM_MIN(row, (int64_t)WR_PIECE);
    j.cut = (row + j.piece - 1) / j.piece;
    wr_share(wr_of(c), ref_out(c, 0)->n / row * j.cut, SM_MAX(WR_PIECE / j.piece, 1), j.piece, binary_rows, &j);
    return SM_OK;
}
