/* SPDX-License-Identifier: MIT
 *
 * lower_head.c: which rows' logits a package gives, the projection to the vocabulary, and what is made of it.
 *
 *     all      logits of every row of the call
 *     last     of its last row
 *     argmax   token: the most likely id of the last row
 *     topk     topValues, topIds: its k best
 *
 * A projection of more rows than the profile allows at once is cut: logits1, logits2 ... in order; argmax and topk put
 * the pieces together again.
 */
#include "pass/lower_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

sm_value *sm_lower_select(sm_lower *l, const sm_value *rows) {
    sm_value *x = sm_lower_in(l, rows, l->rows);
    if (l->p->head == SM_HEAD_ALL || x == NULL)
        return x;
    return sm_lower_slice(l, x, l->rows == SM_LAY_CHANNELS ? 3 : 1, -1, 0);
}

/* Rows that a cut must keep together: whole bytes of codes, whole blocks of scales and palettes. */
static int64_t grain(const sm_value *w, int64_t vocab) {
    const sm_encoding *e = &w->cst->want;
    bool blocks = e->id == SM_ENC_AFFINE || e->id == SM_ENC_LUT;
    int64_t g = blocks && e->block[0] < vocab ? e->block[0] : 1, step = SM_MAX(g, 1);
    while (step % 8 != 0)
        step += SM_MAX(g, 1);
    return step;
}

/* Rows of the projection that one product computes: as even as whole grains allow. */
static int64_t piece_rows(const sm_lower *l, const sm_value *w, int64_t vocab, int *n) {
    int64_t most = l->p->head_rows, step = grain(w, vocab);
    *n = 1;
    if (most <= 0 || vocab <= most)
        return vocab;
    int64_t count = SM_MIN((vocab + most - 1) / most, SM_MAX_CHUNKS);
    int64_t rows = (vocab + count * step - 1) / (count * step) * step;
    *n = (int)((vocab + rows - 1) / rows);
    return rows;
}

static sm_value *piece(sm_lower *l, const sm_node *n, const char *name, sm_value *x, int64_t row, int64_t rows) {
    double cap = 0;
    sm_arg_float(n, "softcap", &cap);
    sm_value *w = sm_map_value(l->r.map, sm_arg(n, "weight")), *bias = sm_arg(n, "bias");
    if (bias != NULL)
        bias = sm_map_value(l->r.map, bias);
    if (w != NULL && rows < w->type.dims[0]) {
        w = sm_const_rows(l->b, w, row, rows);
        bias = bias != NULL ? sm_const_rows(l->b, bias, row, rows) : NULL;
    }
    sm_value *y = sm_lower_product(l, cap > 0 ? NULL : name, x, w, bias);
    return cap > 0 ? sm_lower_soft_cap(l, y, cap) : y;
}

/* ------------------------------------------------------------------ best ids */
typedef struct best {
    sm_value *values, *ids;
} best;

static best best_of(sm_lower *l, sm_value *x, int axis, int k) {
    best r = {0};
    sm_value *at = sm_const_i32(l->b, axis), *keep = sm_const_bool(l->b, true);
    if (k == 1) {
        r.values = sm_build(l->b, SM_OP_REDUCE_MAX, NULL, "x", x, "axes", sm_const_i32s(l->b, (int32_t[]){axis}, 1),
                            "keep_dims", keep, NULL);
        r.ids = sm_build(l->b, SM_OP_REDUCE_ARGMAX, NULL, "x", x, "axis", at, "keep_dims", keep, NULL);
        return r;
    }
    r.values = sm_build(l->b, SM_OP_TOPK, NULL, "x", x, "k", sm_const_i32(l->b, k), "axis", at, NULL);
    r.ids = r.values != NULL ? r.values->def->out[1] : NULL;
    return r;
}

/* The best of all pieces: of each piece, then of what those gave. */
static best best_of_all(sm_lower *l, sm_value *const *part, const int64_t *first, int n, int axis) {
    sm_value *values[SM_MAX_CHUNKS], *ids[SM_MAX_CHUNKS];
    int k = l->p->head == SM_HEAD_TOPK ? l->p->top_k : 1;
    for (int i = 0; i < n; i++) {
        best b = best_of(l, part[i], axis, k);
        values[i] = b.values;
        ids[i] = b.ids;
        if (first[i] > 0)
            ids[i] = sm_build(l->b, SM_OP_ADD, NULL, "x", b.ids, "y", sm_const_i32(l->b, (int32_t)first[i]), NULL);
    }
    if (n == 1)
        return (best){values[0], ids[0]};
    best all = best_of(l, sm_lower_join(l, NULL, values, n, axis), axis, k);
    all.ids = sm_build(l->b, SM_OP_GATHER_ALONG_AXIS, NULL, "x", sm_lower_join(l, NULL, ids, n, axis), "indices",
                       all.ids, "axis", sm_const_i32(l->b, axis), NULL);
    return all;
}

/* ------------------------------------------------------------------ */
sm_status sm_lower_head(sm_lower *l, const sm_node *n, sm_err *err) {
    const sm_value *w = sm_arg(n, "weight");
    int64_t vocab = w->type.dims[0], first[SM_MAX_CHUNKS];
    int count;
    if (w->cst == NULL)
        return SM_FAIL(err, SM_UNSUPPORTED, "op lm_head -> '%s': only a constant weight can be lowered",
                       n->out[0]->name);
    sm_value *lowered = sm_map_value(l->r.map, (sm_value *)w);
    int64_t rows = piece_rows(l, lowered != NULL ? lowered : w, vocab, &count);
    if (l->n_part > 0)
        return SM_FAIL(err, SM_UNSUPPORTED, "op lm_head -> '%s': a second projection to a vocabulary", n->out[0]->name);
    sm_value *x = sm_lower_in(l, sm_arg(n, "x"), l->rows);
    for (int i = 0; i < count && l->b->st == SM_OK; i++) {
        first[i] = i * rows;
        l->part[i] = piece(l, n, count == 1 ? n->out[0]->name : NULL, x, first[i], SM_MIN(rows, vocab - first[i]));
    }
    l->n_part = count;
    if ((l->p->head == SM_HEAD_ARGMAX || l->p->head == SM_HEAD_TOPK) && l->b->st == SM_OK) {
        int64_t least = SM_MIN(rows, vocab - first[count - 1]); /* of the last piece */
        if (l->p->top_k > least)
            return SM_FAIL(err, SM_UNSUPPORTED, "the %d most likely of %" PRId64 " tokens: wanted fewer", l->p->top_k,
                           least);
        best b = best_of_all(l, l->part, first, count, sm_lower_axis(l, l->part[0]));
        l->top_values = b.values;
        l->top_ids = b.ids;
    }
    sm_lower_set(l, n->out[0], l->part[0], l->rows);
    return SM_OK;
}

/* [1, 1, k], or with channels first [1, k, 1, 1], as [1, k]. */
static sm_value *flat(sm_lower *l, sm_value *x, int k) {
    return sm_lower_reshape(l, x, 2, (int32_t[]){1, k});
}

static void head_results(sm_lower *l, const char *name) {
    char text[32];
    if (l->p->head == SM_HEAD_ARGMAX) {
        sm_build_output(l->b, flat(l, l->top_ids, 1), "token");
        return;
    }
    if (l->p->head == SM_HEAD_TOPK) {
        sm_build_output(l->b, sm_lower_cast(l, flat(l, l->top_values, l->p->top_k), l->io), "topValues");
        sm_build_output(l->b, flat(l, l->top_ids, l->p->top_k), "topIds");
        return;
    }
    for (int i = 0; i < l->n_part; i++) {
        if (l->n_part > 1)
            snprintf(text, sizeof text, "%s%d", name, i + 1);
        sm_build_output(l->b, sm_lower_cast(l, l->part[i], l->io), l->n_part > 1 ? text : name);
    }
}

sm_status sm_lower_results(sm_lower *l, sm_err *err) {
    const sm_block *old = l->r.old->body;
    for (int i = 0; i < old->n_out; i++) {
        const sm_value *v = old->out[i];
        if (v->def != NULL && v->def->op == SM_OP_LM_HEAD) {
            head_results(l, v->name);
            continue;
        }
        sm_value *x = v->cst == NULL ? sm_lower_in(l, v, l->rows) : NULL;
        if (x == NULL && l->b->st == SM_OK)
            return SM_FAIL(err, SM_UNSUPPORTED, "output '%s' is not computed from tokens", v->name);
        sm_build_output(l->b, sm_lower_cast(l, x, l->io), v->name);
    }
    sm_lower_columns(l);
    return SM_OK;
}
