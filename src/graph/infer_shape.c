/* SPDX-License-Identifier: MIT
 *
 * infer_shape.c: ops that rearrange, join or make whole axes.
 */
#include <inttypes.h>
#include <string.h>

#include "graph/infer.h"

/* Result k has the elements of v in the same order. */
static void copy_sym(sm_inf *c, int k, const sm_value *v) {
    int64_t n;
    sm_dim *sym = v->sym != NULL ? sm_inf_sym(c, k, &n) : NULL;
    if (sym != NULL && sm_type_numel(&v->type, SM_SYM_ELEMS) == n)
        memcpy(sym, v->sym, (size_t)n * sizeof *sym);
}

/* ---- reshape ---- */

/* A product of extents: a number and symbolic factors, those equal in both products taken out. */
typedef struct factors {
    int64_t number;
    int n;
    sm_dim sym[SM_MAX_RANK];
    bool overflow;
} factors;

static factors factors_of(const sm_dim *dims, int n, int skip) {
    factors f = {.number = 1};
    for (int i = 0; i < n; i++) {
        if (i == skip)
            continue;
        if (!sm_dim_known(dims[i]))
            f.sym[f.n++] = dims[i];
        else if (__builtin_mul_overflow(f.number, dims[i], &f.number))
            f.overflow = true;
    }
    return f;
}

static void cancel(factors *a, factors *b) {
    for (int i = 0; i < a->n;) {
        int j = 0;
        while (j < b->n && (b->sym[j] != a->sym[i] || a->sym[i] == SM_DIM_UNKNOWN))
            j++;
        if (j == b->n) {
            i++;
            continue;
        }
        a->sym[i] = a->sym[--a->n];
        b->sym[j] = b->sym[--b->n];
    }
}

static sm_dim product(sm_inf *c, const factors *f) {
    sm_dim p = f->number;
    for (int i = 0; i < f->n; i++)
        p = sm_dim_call(c->g, SM_FN_MUL, p, f->sym[i]);
    return p;
}

/* The extent at `at` of out[0..r) such that both shapes have equally many elements. */
static sm_status solve(sm_inf *c, const sm_value *x, const sm_dim *out, int r, int at, sm_dim *answer) {
    factors have = factors_of(x->type.dims, x->type.rank, -1), want = factors_of(out, r, at);
    if (have.overflow || want.overflow)
        return sm_inf_bad(c, "x", x, "more elements than can be counted");
    cancel(&have, &want);
    if (have.n == 0 && want.n == 0) {
        if (want.number == 0 || have.number % want.number != 0)
            return sm_inf_bad(c, "x", x, "%" PRId64 " elements (equal symbols cancelled) do not divide by %" PRId64,
                              have.number, want.number);
        *answer = have.number / want.number;
        return SM_OK;
    }
    sm_dim p = product(c, &have), q = product(c, &want);
    *answer = q == 0 ? SM_DIM_UNKNOWN : sm_dim_call(c->g, SM_FN_FLOOR_DIV, p, q);
    int64_t lo, hi;
    sm_dim_range(c->g, *answer, &lo, &hi);
    if (lo < 0) /* an extent is not negative, whatever its formula's bounds say */
        *answer = sm_dim_fresh(c->g);
    return SM_OK;
}

/* 0 copies an extent of x: counted from the right from iOS17 on, from the left before; the same for equal ranks. */
static sm_status copied(sm_inf *c, const sm_value *x, int r, int i, sm_dim *out) {
    const sm_func *f = c->n->block != NULL ? c->n->block->func : NULL;
    int from = f != NULL && f->opset >= 8 ? x->type.rank - (r - i) : i;
    if (from < 0 || from >= x->type.rank)
        return sm_inf_bad(c, "shape", sm_arg(c->n, "shape"), "element %d is 0, but x has no axis there to copy", i);
    *out = x->type.dims[from];
    return SM_OK;
}

/* Fails when x never has as many elements as a shape. */
static sm_status same_count(sm_inf *c, const sm_value *x, const sm_dim *dims, int r) {
    factors have = factors_of(x->type.dims, x->type.rank, -1), want = factors_of(dims, r, -1);
    cancel(&have, &want);
    if (have.n == 0 && want.n == 0 && !have.overflow && !want.overflow && have.number != want.number)
        return sm_inf_bad(c, "x", x, "wanted %" PRId64 " elements for the new shape, found %" PRId64, want.number,
                          have.number);
    return SM_OK;
}

sm_status sm_infer_reshape(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x"), *shape = sm_arg(c->n, "shape");
    sm_dim dims[SM_MAX_RANK];
    int r, open = -1;
    SM_TRY(sm_inf_dims(c, "shape", dims, SM_MAX_RANK, &r));
    for (int i = 0; i < r; i++) {
        if (dims[i] == -1 && open >= 0)
            return sm_inf_bad(c, "shape", shape, "-1 twice");
        if (dims[i] == -1)
            open = i;
        else if (dims[i] == 0 && sm_type_numel(&x->type, INT64_MAX) != 0)
            SM_TRY(copied(c, x, r, i, &dims[i]));
        else if (sm_dim_known(dims[i]) && dims[i] < 0)
            return sm_inf_bad(c, "shape", shape, "element %d is %" PRId64, i, (int64_t)dims[i]);
    }
    if (open >= 0) {
        SM_TRY(solve(c, x, dims, r, open, &dims[open]));
    } else {
        SM_TRY(same_count(c, x, dims, r));
    }
    SM_TRY(sm_inf_out(c, 0, x->type.dtype, r, dims));
    copy_sym(c, 0, x);
    return SM_OK;
}

sm_status sm_infer_flatten2d(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x");
    int64_t axis = 1;
    int rank = x->type.rank;
    SM_TRY(sm_inf_int(c, "axis", &axis));
    if (axis < -rank || axis > rank)
        return sm_inf_bad(c, "axis", sm_arg(c->n, "axis"), "%" PRId64 " of a value with %d axes", axis, rank);
    int cut = (int)(axis < 0 ? axis + rank : axis);
    factors before = factors_of(x->type.dims, cut, -1), after = factors_of(x->type.dims + cut, rank - cut, -1);
    if (before.overflow || after.overflow)
        return sm_inf_bad(c, "x", x, "more elements than can be counted");
    SM_TRY(sm_inf_out(c, 0, x->type.dtype, 2, (sm_dim[]){product(c, &before), product(c, &after)}));
    copy_sym(c, 0, x);
    return SM_OK;
}

/* Extents [begin, end) of one reference, as python slices them. */
static sm_status take_extents(sm_inf *c, const sm_value *ref, const sm_value *begin, const sm_value *end,
                              const sm_value *masked, sm_dim *dims, int *r) {
    int64_t b, e, open, rank = ref->type.rank;
    if (!sm_value_int(begin, &b) || !sm_value_int(end, &e) || !sm_value_int(masked, &open))
        return SM_FAIL(c->err, SM_BADINPUT, "begins, ends and end_masks: wanted numbers known before running");
    b = b < 0 ? SM_MAX(b + rank, 0) : SM_MIN(b, rank);
    e = open ? rank : e < 0 ? e + rank : SM_MIN(e, rank);
    for (; b < e; b++) {
        if (*r == SM_MAX_RANK)
            return SM_FAIL(c->err, SM_UNSUPPORTED, "result of more than %d axes", SM_MAX_RANK);
        dims[(*r)++] = ref->type.dims[b];
    }
    return SM_OK;
}

sm_status sm_infer_reshape_like(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x");
    sm_dim dims[SM_MAX_RANK];
    int r = 0, n;
    sm_value *const *refs = sm_arg_list(c->n, "ref_tensors", &n), *const *begins = sm_arg_list(c->n, "begins", &n);
    sm_value *const *ends = sm_arg_list(c->n, "ends", &n), *const *masks = sm_arg_list(c->n, "end_masks", &n);
    for (int i = 0; i < n; i++)
        SM_TRY(take_extents(c, refs[i], begins[i], ends[i], masks[i], dims, &r));
    SM_TRY(same_count(c, x, dims, r));
    SM_TRY(sm_inf_out(c, 0, x->type.dtype, r, dims));
    copy_sym(c, 0, x);
    return SM_OK;
}

sm_status sm_infer_transpose(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x");
    int64_t perm[SM_MAX_RANK], n;
    sm_dim dims[SM_MAX_RANK];
    bool seen[SM_MAX_RANK] = {false};
    int r, rank = x->type.rank;
    SM_TRY(sm_inf_ints(c, "perm", perm, SM_MAX_RANK, &r));
    if (r != rank)
        return sm_inf_bad(c, "perm", sm_arg(c->n, "perm"), "wanted %d elements", rank);
    for (int i = 0; i < r; i++) {
        int64_t a = perm[i] < 0 ? perm[i] + rank : perm[i];
        if (a < 0 || a >= rank || seen[a])
            return sm_inf_bad(c, "perm", sm_arg(c->n, "perm"), "not a permutation of %d axes", rank);
        seen[a] = true;
        perm[i] = a;
        dims[i] = x->type.dims[a];
    }
    SM_TRY(sm_inf_out(c, 0, x->type.dtype, rank, dims));
    sm_dim *sym = x->sym != NULL && sm_type_numel(&x->type, SM_SYM_ELEMS) >= 0 ? sm_inf_sym(c, 0, &n) : NULL;
    for (int64_t i = 0; sym != NULL && i < n; i++) {
        int64_t rest = i, at = 0, step[SM_MAX_RANK], s = 1;
        for (int a = rank - 1; a >= 0; a--) {
            step[a] = s;
            s *= x->type.dims[a];
        }
        for (int a = rank - 1; a >= 0; a--) {
            at += rest % dims[a] * step[perm[a]];
            rest /= dims[a];
        }
        sym[i] = x->sym[at];
    }
    return SM_OK;
}

sm_status sm_infer_expand_dims(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x");
    int64_t axes[SM_MAX_RANK];
    bool flag[SM_MAX_RANK];
    sm_dim dims[SM_MAX_RANK];
    int n;
    SM_TRY(sm_inf_ints(c, "axes", axes, SM_MAX_RANK, &n));
    if (x->type.rank + n > SM_MAX_RANK)
        return SM_FAIL(c->err, SM_UNSUPPORTED, "result of %d axes: wanted at most %d", x->type.rank + n, SM_MAX_RANK);
    SM_TRY(sm_inf_axes(c, "axes", x->type.rank + n, flag));
    for (int i = 0, from = 0; i < x->type.rank + n; i++)
        dims[i] = flag[i] ? 1 : x->type.dims[from++];
    SM_TRY(sm_inf_out(c, 0, x->type.dtype, x->type.rank + n, dims));
    copy_sym(c, 0, x);
    return SM_OK;
}

sm_status sm_infer_squeeze(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x");
    bool given = sm_arg(c->n, "axes") != NULL, flag[SM_MAX_RANK];
    sm_dim dims[SM_MAX_RANK];
    int rank = 0;
    SM_TRY(sm_inf_axes(c, "axes", x->type.rank, flag));
    for (int i = 0; i < x->type.rank; i++) {
        sm_dim d = x->type.dims[i];
        if (!flag[i] || (!given && d != 1)) {
            dims[rank++] = d;
            continue;
        }
        if (sm_dim_equal(c->g, d, 1) == 0)
            return sm_inf_bad(c, "x", x, "axis %d is not of extent 1", i);
    }
    SM_TRY(sm_inf_out(c, 0, x->type.dtype, rank, dims));
    copy_sym(c, 0, x);
    return SM_OK;
}

/* ---- joining and cutting ---- */

/* One dtype for all values of the list; int results keep elements of those that have them. */
static sm_status list_dtype(sm_inf *c, sm_dtype *out) {
    *out = c->n->list[0]->type.dtype;
    for (int i = 1; i < c->n->n_list; i++)
        if (c->n->list[i]->type.dtype != *out)
            return sm_inf_bad(c, "values", c->n->list[i], "wanted %s, the type of the first", sm_dtype_name(*out));
    return SM_OK;
}

/* Elements of all values one after the other: what joining along axis 0 of vectors and scalars gives. */
static void join_syms(sm_inf *c) {
    int64_t n, at = 0;
    sm_dim *sym = sm_inf_sym(c, 0, &n);
    for (int i = 0; sym != NULL && i < c->n->n_list; i++) {
        const sm_value *v = c->n->list[i];
        int64_t k = sm_type_numel(&v->type, SM_SYM_ELEMS);
        for (int64_t j = 0; j < k && at < n; j++)
            sym[at++] = v->sym != NULL ? v->sym[j] : SM_DIM_UNKNOWN;
    }
}

sm_status sm_infer_concat(sm_inf *c) {
    sm_dtype t;
    sm_dim dims[SM_MAX_RANK];
    const sm_value *first = c->n->list[0];
    int rank = SM_MAX(first->type.rank, 1), axis;
    bool interleave = false;
    SM_TRY(list_dtype(c, &t));
    SM_TRY(sm_inf_axis(c, "axis", rank, &axis));
    SM_TRY(sm_inf_bool(c, "interleave", &interleave));
    for (int i = 0; i < c->n->n_list; i++) {
        const sm_value *v = c->n->list[i];
        if (SM_MAX(v->type.rank, 1) != rank)
            return sm_inf_bad(c, "values", v, "wanted %d axes, like the first", rank);
        for (int a = 0; a < rank; a++) {
            sm_dim d = v->type.rank == 0 ? 1 : v->type.dims[a];
            if (i == 0)
                dims[a] = d;
            else if (a != axis)
                SM_TRY(sm_inf_same_dim(c, "values", dims[a], d, &dims[a]));
            else if (dims[a] != SM_DIM_UNKNOWN)
                dims[a] = sm_dim_add(c->g, dims[a], d);
        }
    }
    SM_TRY(sm_inf_out(c, 0, t, rank, dims));
    if (rank == 1 && !interleave)
        join_syms(c);
    return SM_OK;
}

sm_status sm_infer_stack(sm_inf *c) {
    sm_dtype t;
    sm_dim dims[SM_MAX_RANK + 1], in[SM_MAX_RANK];
    const sm_value *first = c->n->list[0];
    int rank = first->type.rank, axis;
    SM_TRY(list_dtype(c, &t));
    if (rank + 1 > SM_MAX_RANK)
        return SM_FAIL(c->err, SM_UNSUPPORTED, "result of %d axes: wanted at most %d", rank + 1, SM_MAX_RANK);
    SM_TRY(sm_inf_axis(c, "axis", rank + 1, &axis));
    memcpy(in, first->type.dims, sizeof in);
    for (int i = 1; i < c->n->n_list; i++) {
        const sm_value *v = c->n->list[i];
        if (v->type.rank != rank)
            return sm_inf_bad(c, "values", v, "wanted %d axes, like the first", rank);
        for (int a = 0; a < rank; a++)
            SM_TRY(sm_inf_same_dim(c, "values", in[a], v->type.dims[a], &in[a]));
    }
    for (int a = 0, from = 0; a < rank + 1; a++)
        dims[a] = a == axis ? c->n->n_list : in[from++];
    SM_TRY(sm_inf_out(c, 0, t, rank + 1, dims));
    if (axis == 0)
        join_syms(c);
    return SM_OK;
}

sm_status sm_infer_split(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x"), *sizes = sm_arg(c->n, "split_sizes");
    enum { MAX = 1024 };
    int64_t size[MAX], num = 0, total = 0, m;
    int axis, n = 0;
    if (x->type.rank == 0)
        return sm_inf_bad(c, "x", x, "wanted at least one axis");
    SM_TRY(sm_inf_axis(c, "axis", x->type.rank, &axis));
    SM_TRY(sm_inf_int(c, "num_splits", &num));
    if (sizes != NULL)
        SM_TRY(sm_inf_ints(c, "split_sizes", size, MAX, &n));
    sm_dim d = x->type.dims[axis], part = SM_DIM_UNKNOWN;
    if (sizes == NULL) {
        if (num < 1 || num > MAX)
            return SM_FAIL(c->err, SM_BADINPUT, "num_splits: wanted 1..%d, found %" PRId64, MAX, num);
        n = (int)num;
        part = sm_dim_div(c->g, d, num);
        if (part == SM_DIM_UNKNOWN && sm_dim_known(d))
            return sm_inf_bad(c, "x", x, "axis %d does not divide into %d", axis, n);
        if (part == SM_DIM_UNKNOWN)
            part = sm_dim_call(c->g, SM_FN_FLOOR_DIV, d, num);
    }
    for (int i = 0; sizes != NULL && i < n; i++)
        if (size[i] < 0 || __builtin_add_overflow(total, size[i], &total))
            return sm_inf_bad(c, "split_sizes", sizes, "element %d is %" PRId64, i, size[i]);
    if (n == 0 || (sizes != NULL && sm_dim_equal(c->g, d, total) == 0))
        return sm_inf_bad(c, "x", x, "split_sizes sum to %" PRId64, total);
    SM_TRY(sm_inf_results(c, n));
    for (int i = 0, at = 0; i < n; i++) {
        sm_dim dims[SM_MAX_RANK];
        memcpy(dims, x->type.dims, sizeof dims);
        dims[axis] = sizes != NULL ? size[i] : part;
        SM_TRY(sm_inf_out(c, i, x->type.dtype, x->type.rank, dims));
        bool follow = x->type.rank == 1 && x->sym != NULL && sm_type_numel(&x->type, SM_SYM_ELEMS) >= 0;
        sm_dim *sym = follow ? sm_inf_sym(c, i, &m) : NULL;
        if (sym != NULL)
            memcpy(sym, x->sym + at, (size_t)m * sizeof *sym);
        at += sm_dim_known(dims[axis]) && dims[axis] < INT32_MAX ? (int)dims[axis] : 0;
    }
    return SM_OK;
}

sm_status sm_infer_tile(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x");
    sm_dim reps[SM_MAX_RANK], dims[SM_MAX_RANK];
    int r;
    int64_t n;
    SM_TRY(sm_inf_dims(c, "reps", reps, SM_MAX_RANK, &r));
    if (r != x->type.rank)
        return sm_inf_bad(c, "reps", sm_arg(c->n, "reps"), "wanted %d elements, one per axis of x", x->type.rank);
    for (int i = 0; i < r; i++) {
        if (sm_dim_known(reps[i]) && reps[i] < 0)
            return sm_inf_bad(c, "reps", sm_arg(c->n, "reps"), "element %d is negative", i);
        dims[i] = reps[i] == SM_DIM_UNKNOWN ? reps[i] : sm_dim_call(c->g, SM_FN_MUL, x->type.dims[i], reps[i]);
        if (dims[i] != SM_DIM_UNKNOWN && !sm_dim_known(dims[i]) && !sm_dim_at_least(c->g, dims[i], 0))
            dims[i] = SM_DIM_UNKNOWN; /* a run-time factor has no bounds, an extent has */
    }
    SM_TRY(sm_inf_out(c, 0, x->type.dtype, r, dims));
    int64_t have = sm_type_numel(&x->type, SM_SYM_ELEMS);
    sm_dim *sym = x->sym != NULL && r == 1 && have > 0 ? sm_inf_sym(c, 0, &n) : NULL;
    for (int64_t i = 0; sym != NULL && i < n; i++)
        sym[i] = x->sym[i % have];
    return SM_OK;
}

/* ---- making ---- */

sm_status sm_infer_shape(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x");
    sm_dim dims[1] = {x->type.rank};
    int64_t n;
    SM_TRY(sm_inf_out(c, 0, SM_INT32, 1, dims));
    sm_dim *sym = sm_inf_sym(c, 0, &n);
    if (sym != NULL)
        memcpy(sym, x->type.dims, (size_t)n * sizeof *sym);
    return SM_OK;
}

static sm_status filled(sm_inf *c, int rank, const sm_dim *dims) {
    const sm_value *value = sm_arg(c->n, "value");
    int64_t n, v;
    if (value != NULL && sm_type_numel(&value->type, 1) != 1)
        return sm_inf_bad(c, "value", value, "wanted one element");
    SM_TRY(sm_inf_out(c, 0, value != NULL ? value->type.dtype : SM_FP32, rank, dims));
    sm_dim *sym = sm_value_int(value, &v) ? sm_inf_sym(c, 0, &n) : NULL;
    for (int64_t i = 0; sym != NULL && i < n; i++)
        sym[i] = v;
    return SM_OK;
}

/* The slot `shape` of ops that make values of it. */
static sm_status wanted_shape(sm_inf *c, sm_dim dims[SM_MAX_RANK], int *rank) {
    SM_TRY(sm_inf_dims(c, "shape", dims, SM_MAX_RANK, rank));
    for (int i = 0; i < *rank; i++)
        if (sm_dim_known(dims[i]) && dims[i] < 0)
            return sm_inf_bad(c, "shape", sm_arg(c->n, "shape"), "element %d is negative", i);
    return SM_OK;
}

sm_status sm_infer_fill(sm_inf *c) {
    sm_dim dims[SM_MAX_RANK];
    int r;
    SM_TRY(wanted_shape(c, dims, &r));
    return filled(c, r, dims);
}

sm_status sm_infer_fill_like(sm_inf *c) {
    const sm_value *ref = sm_arg(c->n, "ref_tensor");
    return filled(c, ref->type.rank, ref->type.dims);
}

/* random_bernoulli, random_normal, random_uniform: floats of the type of the distribution's parameters. */
sm_status sm_infer_random(sm_inf *c) {
    sm_op op = c->n->op;
    static const char *const names[] = {"prob", "mean", "stddev", "low", "high"};
    sm_dtype t = SM_NONE;
    sm_dim dims[SM_MAX_RANK];
    int r;
    SM_TRY(wanted_shape(c, dims, &r));
    for (size_t i = 0; i < SM_ARRAY_LEN(names); i++) {
        const sm_value *v = sm_op_slot(op, names[i]) < 0 ? NULL : sm_arg(c->n, names[i]);
        if (v == NULL)
            continue;
        if (!sm_is_float(v->type.dtype) || (t != SM_NONE && v->type.dtype != t))
            return sm_inf_bad(c, names[i], v, "wanted floats of one type");
        t = v->type.dtype;
    }
    return sm_inf_out(c, 0, t == SM_NONE ? SM_FP32 : t, r, dims);
}

sm_status sm_infer_categorical(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x");
    sm_sv mode = {0};
    int64_t size = 1;
    sm_dim dims[SM_MAX_RANK];
    if (x->type.rank == 0 || !sm_is_float(x->type.dtype))
        return sm_inf_bad(c, "x", x, "wanted floats with at least one axis");
    sm_arg_str(c->n, "mode", &mode);
    if (!sm_sv_is(mode, "logits") && !sm_sv_is(mode, "probs"))
        return SM_FAIL(c->err, SM_BADINPUT, "mode: wanted logits or probs, found %s", sm_quote(mode.p, mode.n));
    SM_TRY(sm_inf_int(c, "size", &size));
    if (size < 0 || size > INT32_MAX)
        return sm_inf_bad(c, "size", sm_arg(c->n, "size"), "is %" PRId64, size);
    memcpy(dims, x->type.dims, sizeof dims);
    dims[x->type.rank - 1] = size;
    return sm_inf_out(c, 0, x->type.dtype, x->type.rank, dims);
}

/* Elements of start, start + step ... below end when the three are numbers of a constant. */
static sm_dim float_count(const sm_value *start, const sm_value *end, const sm_value *step) {
    double a, b, s;
    if (!sm_value_float(start, &a) || !sm_value_float(end, &b) || !sm_value_float(step, &s) || s == 0)
        return SM_DIM_UNKNOWN;
    double n = (b - a) / s;
    if (!(n < 1e12))
        return SM_DIM_UNKNOWN;
    int64_t k = n <= 0 ? 0 : (int64_t)n;
    return n > (double)k ? k + 1 : k;
}

sm_status sm_infer_range(sm_inf *c) {
    const sm_value *start = sm_arg(c->n, "start"), *end = sm_arg(c->n, "end"), *step = sm_arg(c->n, "step");
    const sm_value *all[3] = {start, end, step};
    static const char *const names[3] = {"start", "end", "step"};
    sm_dim dims[1] = {SM_DIM_UNKNOWN};
    int64_t n, s;
    for (int i = 0; i < 3; i++)
        if (sm_type_numel(&all[i]->type, 1) != 1 || all[i]->type.dtype != start->type.dtype)
            return sm_inf_bad(c, names[i], all[i], "wanted one element, of the type of start");
    bool follow = start->sym != NULL && end->sym != NULL && sm_value_int(step, &s);
    if (follow && s == 0)
        return sm_inf_bad(c, "step", step, "is 0");
    if (follow) {
        sm_dim span = sm_dim_sub(c->g, end->sym[0], start->sym[0]);
        if (s < 0) {
            span = sm_dim_mul(c->g, span, -1);
            s = -s;
        }
        sm_dim up = span == SM_DIM_UNKNOWN || s == 1 ? span : sm_dim_add(c->g, span, s - 1);
        dims[0] = up == SM_DIM_UNKNOWN || s == 1 ? up : sm_dim_call(c->g, SM_FN_FLOOR_DIV, up, s);
        if (sm_dim_known(dims[0]) && dims[0] < 0)
            dims[0] = 0;
    } else if (sm_is_float(start->type.dtype)) {
        dims[0] = float_count(start, end, step);
    }
    SM_TRY(sm_inf_out(c, 0, start->type.dtype, 1, dims));
    sm_dim *sym = follow ? sm_inf_sym(c, 0, &n) : NULL;
    sm_value_int(step, &s);
    for (int64_t i = 0; sym != NULL && i < n; i++)
        sym[i] = sm_dim_add(c->g, start->sym[0], sm_dim_call(c->g, SM_FN_MUL, i, s));
    return SM_OK;
}

sm_status sm_infer_pad(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "x");
    sm_dim pad[2 * SM_MAX_RANK], dims[SM_MAX_RANK];
    int n;
    SM_TRY(sm_inf_dims(c, "pad", pad, 2 * SM_MAX_RANK, &n));
    if (n % 2 != 0 || n / 2 > x->type.rank)
        return sm_inf_bad(c, "pad", sm_arg(c->n, "pad"), "wanted two elements for each of the last axes of x");
    memcpy(dims, x->type.dims, sizeof dims);
    for (int i = 0; i < n / 2; i++) {
        sm_dim *d = &dims[x->type.rank - n / 2 + i];
        *d = sm_dim_add(c->g, *d, pad[2 * i]);
        if (*d != SM_DIM_UNKNOWN)
            *d = sm_dim_add(c->g, *d, pad[2 * i + 1]);
        if (sm_dim_known(*d) && *d < 0)
            return sm_inf_bad(c, "pad", sm_arg(c->n, "pad"), "leaves a negative extent");
    }
    return sm_inf_out(c, 0, x->type.dtype, x->type.rank, dims);
}

sm_status sm_infer_one_hot(sm_inf *c) {
    const sm_value *x = sm_arg(c->n, "indices"), *on = sm_arg(c->n, "on_value"), *off = sm_arg(c->n, "off_value");
    const sm_value *size = sm_arg(c->n, "one_hot_vector_size");
    sm_dim dims[SM_MAX_RANK + 1];
    int axis, rank = x->type.rank + 1;
    if (rank > SM_MAX_RANK)
        return SM_FAIL(c->err, SM_UNSUPPORTED, "result of %d axes: wanted at most %d", rank, SM_MAX_RANK);
    SM_TRY(sm_inf_axis(c, "axis", rank, &axis));
    for (int a = 0, from = 0; a < rank; a++)
        dims[a] = a == axis ? (size->sym != NULL ? size->sym[0] : SM_DIM_UNKNOWN) : x->type.dims[from++];
    if (sm_dim_known(dims[axis]) && dims[axis] < 0)
        return sm_inf_bad(c, "one_hot_vector_size", size, "is negative");
    sm_dtype t = on != NULL ? on->type.dtype : off != NULL ? off->type.dtype : SM_INT32;
    return sm_inf_out(c, 0, t, rank, dims);
}
