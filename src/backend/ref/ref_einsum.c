/* SPDX-License-Identifier: MIT
 *
 * ref_einsum.c: Einstein sums of one or two operands, by the definition: for each combination of the result's labels,
 * the sum over all other labels, in f64.  Extents of 1 broadcast.
 */
#include <inttypes.h>
#include <string.h>

#include "backend/ref/ref_int.h"

enum { MAX_LABELS = 26, MAX_OPERANDS = 2, UNSET = -1 };

typedef struct labels {
    char name[MAX_LABELS]; /* the result's first, then those summed over */
    int64_t extent[MAX_LABELS];
    int64_t stride[MAX_OPERANDS][MAX_LABELS];
    int n, n_out;
} labels;

static int find_label(const labels *l, char name) {
    for (int i = 0; i < l->n; i++)
        if (l->name[i] == name)
            return i;
    return -1;
}

static sm_status add_label(ref_call *c, labels *l, char name) {
    if (name < 'A' || (name > 'Z' && name < 'a') || name > 'z' || l->n == MAX_LABELS)
        return SM_FAIL(c->err, SM_UNSUPPORTED, "unknown character '%c' in the equation", name);
    if (find_label(l, name) < 0) {
        l->extent[l->n] = UNSET;
        l->name[l->n++] = name;
    }
    return SM_OK;
}

/* Extents and strides of operand k from its term of the equation. */
static sm_status add_operand(ref_call *c, labels *l, int k, const char *term, size_t len) {
    const ref_val *v = c->list[k];
    int64_t s[SM_MAX_RANK];
    if (v->rank != (int)len || !ref_is_float(v))
        return SM_FAIL(c->err, SM_BADINPUT, "operand %d is %s of rank %d, the equation says floats of rank %zu", k,
                       sm_dtype_name(v->dtype), v->rank, len);
    ref_strides(v->rank, v->dims, s);
    for (size_t i = 0; i < len; i++) {
        SM_TRY(add_label(c, l, term[i]));
        int at = find_label(l, term[i]);
        int64_t d = v->dims[i];
        if (l->extent[at] != UNSET && l->extent[at] != 1 && d != 1 && d != l->extent[at])
            return SM_FAIL(c->err, SM_BADINPUT, "label '%c' has extents %" PRId64 " and %" PRId64, term[i],
                           l->extent[at], d);
        if (l->extent[at] == UNSET || l->extent[at] == 1)
            l->extent[at] = d;
        l->stride[k][at] += d == 1 ? 0 : s[i];
    }
    return SM_OK;
}

/* "ab,bc->ac", blanks dropped, into l. */
static sm_status parse_equation(ref_call *c, labels *l) {
    sm_sv eq = {0};
    char text[64];
    size_t n = 0;
    sm_arg_str(c->node, "equation", &eq);
    for (size_t i = 0; i < eq.n && n + 1 < sizeof text; i++)
        if (eq.p[i] != ' ')
            text[n++] = eq.p[i];
    text[n] = '\0';
    char *arrow = strstr(text, "->");
    if (arrow == NULL || c->n_list < 1 || c->n_list > MAX_OPERANDS)
        return SM_FAIL(c->err, SM_UNSUPPORTED, "equation %s with %d operands", sm_quote(eq.p, eq.n), c->n_list);
    for (const char *p = arrow + 2; *p != '\0'; p++)
        SM_TRY(add_label(c, l, *p));
    l->n_out = l->n;
    *arrow = '\0';
    const char *term = text;
    for (int k = 0; k < c->n_list; k++) {
        size_t len = strcspn(term, ",");
        if ((term[len] == '\0') != (k == c->n_list - 1))
            return SM_FAIL(c->err, SM_BADINPUT, "equation %s with %d operands", sm_quote(eq.p, eq.n), c->n_list);
        SM_TRY(add_operand(c, l, k, term, len));
        term += len + 1;
    }
    for (int i = 0; i < l->n; i++)
        if (l->extent[i] == UNSET)
            return SM_FAIL(c->err, SM_BADINPUT, "no operand has the label '%c'", l->name[i]);
    return SM_OK;
}

/* Sum over labels [at, n) of the product of the operands at a and b. */
static double contract(const labels *l, int at, const float *a, const float *b) {
    if (at == l->n)
        return (double)*a * (b == NULL ? 1.0 : (double)*b);
    double sum = 0;
    for (int64_t i = 0; i < l->extent[at]; i++)
        sum += contract(l, at + 1, a + i * l->stride[0][at], b == NULL ? NULL : b + i * l->stride[1][at]);
    return sum;
}

sm_status ref_einsum(ref_call *c) {
    labels l = {0};
    SM_TRY(parse_equation(c, &l));
    SM_TRY(l.n_out > SM_MAX_RANK ? SM_FAIL(c->err, SM_UNSUPPORTED, "rank %d", l.n_out) : SM_OK);
    SM_TRY(ref_result(c, 0, c->list[0]->dtype, l.n_out, l.extent));
    float *y = ref_out(c, 0)->f;
    ref_walk w;
    ref_walk_init(&w, l.n_out, l.extent);
    ref_walk_add(&w, l.stride[0], 0);
    ref_walk_add(&w, l.stride[1], 0);
    const float *a = c->list[0]->f, *b = c->n_list > 1 ? c->list[1]->f : NULL;
    for (bool more = ref_walk_start(&w); more; more = ref_walk_next(&w))
        for (int64_t i = 0; i < w.inner; i++)
            *y++ = (float)contract(&l, l.n_out, a + w.off[0] + i * w.step[0],
                                   b == NULL ? NULL : b + w.off[1] + i * w.step[1]);
    return SM_OK;
}
