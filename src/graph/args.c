/* SPDX-License-Identifier: MIT
 *
 * args.c: what a node's parameters are: constants, symbolic values that are numbers, or the row's defaults.
 *
 * Pure reading; any thread.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/number.h"
#include "graph/graph_int.h"

static int slot_of(const sm_node *n, const char *slot) {
    int i = sm_op_slot(n->op, slot);
    assert(i >= 0);
    return i;
}

sm_value *sm_arg(const sm_node *n, const char *slot) {
    return n->in[slot_of(n, slot)];
}

sm_value *const *sm_arg_list(const sm_node *n, const char *list, int *len) {
    int k = sm_op_list(n->op, list);
    assert(k >= 0);
    *len = n->n_list / sm_op_row_of(n->op)->n_lists;
    return n->list + k * *len;
}

/* Text of the default of an absent slot; NULL when the slot has a value or no default. */
static const char *default_of(const sm_node *n, const char *slot) {
    const sm_slot *s = &sm_op_row_of(n->op)->slot[slot_of(n, slot)];
    return sm_arg(n, slot) == NULL && s->def[0] != 0 ? s->def : NULL;
}

static const uint8_t *dense_bytes(const sm_value *v) {
    const sm_const *c = v->cst;
    bool ok = c != NULL && v->type.dtype != SM_STRING && c->src.enc.id == SM_ENC_DENSE;
    return ok ? c->src.part[SM_PART_DATA].p : NULL;
}

bool sm_value_int(const sm_value *v, int64_t *out) {
    if (v == NULL || v->sym == NULL || sm_type_numel(&v->type, 1) != 1 || !sm_dim_known(v->sym[0]))
        return false;
    *out = v->sym[0];
    return true;
}

/* Element i of dense data in its own type. */
static double element(const sm_const *c, const uint8_t *p, uint64_t i) {
    return c->src.enc.code == SM_BOOL ? p[i] != 0 : sm_elem_get(c->src.enc.code, p, i);
}

bool sm_value_float(const sm_value *v, double *out) {
    if (v == NULL || v->cst == NULL || v->type.dtype == SM_STRING)
        return false;
    const sm_const *c = v->cst;
    uint64_t n = sm_tensor_numel(&c->src);
    const uint8_t *p = dense_bytes(v);
    if (n == 0 || c->src.part[SM_PART_DATA].p == NULL || c->src.deinterleave != 0)
        return false;
    if (p != NULL) {
        double x = element(c, p, 0);
        for (uint64_t i = 1; i < n; i++)
            if (element(c, p, i) != x)
                return false;
        *out = x;
        return true;
    }
    if (n > 4096)
        return false;
    float *x = sm_alloc_n(n, sizeof *x);
    if (x == NULL)
        return false;
    sm_decode_rows(&c->src, 0, sm_tensor_rows(&c->src), x);
    bool same = true;
    for (uint64_t i = 1; i < n && same; i++)
        same = x[i] == x[0];
    *out = x[0];
    sm_free(x);
    return same;
}

bool sm_arg_int(const sm_node *n, const char *slot, int64_t *out) {
    const char *def = default_of(n, slot);
    if (def == NULL)
        return sm_value_int(sm_arg(n, slot), out);
    *out = strtoll(def, NULL, 10);
    return true;
}

bool sm_arg_float(const sm_node *n, const char *slot, double *out) {
    const char *def = default_of(n, slot);
    if (def == NULL)
        return sm_value_float(sm_arg(n, slot), out);
    *out = sm_strtod(def, NULL);
    return true;
}

bool sm_arg_bool(const sm_node *n, const char *slot, bool *out) {
    const char *def = default_of(n, slot);
    int64_t v;
    if (def != NULL) {
        *out = strcmp(def, "true") == 0;
        return true;
    }
    if (!sm_value_int(sm_arg(n, slot), &v))
        return false;
    *out = v != 0;
    return true;
}

bool sm_arg_str(const sm_node *n, const char *slot, sm_sv *out) {
    const char *def = default_of(n, slot);
    const sm_value *v = sm_arg(n, slot);
    if (def != NULL) {
        *out = sm_sv_of(def);
        return true;
    }
    if (v == NULL || v->cst == NULL || v->type.dtype != SM_STRING || v->cst->n_str != 1)
        return false;
    *out = v->cst->strs[0];
    return true;
}

int sm_arg_word(const sm_node *n, const char *slot, const char *const *words) {
    sm_sv s;
    for (int i = 0; sm_arg_str(n, slot, &s) && words[i] != NULL; i++)
        if (strlen(words[i]) == s.n && strncasecmp(words[i], s.p, s.n) == 0)
            return i;
    return -1;
}

bool sm_arg_dims(const sm_node *n, const char *slot, sm_dim *out, int cap, int *n_out) {
    const sm_value *v = sm_arg(n, slot);
    if (v == NULL || v->sym == NULL)
        return false;
    int64_t k = sm_type_numel(&v->type, cap);
    if (k < 0)
        return false;
    memcpy(out, v->sym, (size_t)k * sizeof *out);
    *n_out = (int)k;
    return true;
}

bool sm_arg_ints(const sm_node *n, const char *slot, int64_t *out, int cap, int *n_out) {
    const sm_value *v = sm_arg(n, slot);
    if (v != NULL && v->sym == NULL) {
        /* More elements than are followed symbolically. */
        const uint8_t *p = dense_bytes(v);
        int64_t k = sm_type_numel(&v->type, cap);
        if (p == NULL || k < 0 || !sm_is_int(v->type.dtype))
            return false;
        for (int64_t i = 0; i < k; i++)
            out[i] = sm_code_get(v->cst->src.enc.code, p, (uint64_t)i);
        *n_out = (int)k;
        return true;
    }
    int k;
    if (!sm_arg_dims(n, slot, out, cap, &k))
        return false;
    for (int i = 0; i < k; i++)
        if (!sm_dim_known(out[i]))
            return false;
    *n_out = k;
    return true;
}
