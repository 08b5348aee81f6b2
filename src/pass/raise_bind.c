/* SPDX-License-Identifier: MIT
 *
 * raise_bind.c: one symbol for the tokens of a call.
 *
 * Exporters declare the rows of the mask and the positions as symbols of their own beside the one of the ids, and two
 * symbols for one number are the rule there; what broadcasts them gets a third.  A decoder's ids, positions, mask rows and
 * hidden rows are as many as each other, so the program is rebuilt with one symbol, and inference then knows equal
 * extents to be equal.
 */
#include "pass/raise_int.h"

/* Does this axis of an input count tokens?  Integers [1, n] or [n]; rows of a mask [1, 1, n, keys]. */
static int token_axis(const sm_type *t) {
    if (t->kind != SM_V_TENSOR)
        return -1;
    bool ints = sm_dtype_kind(t->dtype) == 'i' || sm_dtype_kind(t->dtype) == 'u';
    if (ints && t->rank == 2 && t->dims[0] == 1)
        return 1;
    if (ints && t->rank == 1)
        return 0;
    if (sm_dtype_kind(t->dtype) == 'f' && t->rank == 4 && t->dims[0] == 1 && t->dims[1] == 1)
        return 2;
    return -1;
}

static bool is_symbol(const sm_type *t, int axis) {
    return axis >= 0 && !sm_dim_known(t->dims[axis]);
}

sm_status sm_raise_bind(sm_func *f, sm_func **out, sm_err *err) {
    sm_rebuild r;
    sm_dim n = SM_DIM_UNKNOWN;
    int others = 0;
    *out = f;
    for (int i = 0; i < f->body->n_in; i++) {
        const sm_type *t = &f->body->in[i]->type;
        int axis = token_axis(t);
        if (!is_symbol(t, axis))
            continue;
        if (n == SM_DIM_UNKNOWN && t->rank <= 2)
            n = t->dims[axis];
        others += n != SM_DIM_UNKNOWN && t->dims[axis] != n;
    }
    for (int i = 0; i < f->body->n_in && n != SM_DIM_UNKNOWN; i++) { /* masks may stand before the ids */
        const sm_type *t = &f->body->in[i]->type;
        others += is_symbol(t, token_axis(t)) && t->dims[token_axis(t)] != n;
    }
    if (n == SM_DIM_UNKNOWN || others == 0)
        return SM_OK;
    SM_TRY(sm_rebuild_start_bare(&r, f, f->opset, err));
    for (int i = 0; i < f->body->n_in; i++) {
        sm_type t = f->body->in[i]->type;
        int axis = token_axis(&t);
        if (is_symbol(&t, axis))
            t.dims[axis] = n;
        r.map[f->body->in[i]->id] = sm_build_input(&r.b, f->body->in[i]->name, t);
    }
    for (const sm_node *d = f->body->first; d != NULL && r.b.st == SM_OK; d = d->next)
        sm_build_copy(&r.b, d, r.map);
    for (int i = 0; i < f->body->n_out && r.b.st == SM_OK; i++)
        sm_build_output(&r.b, sm_map_value(r.map, f->body->out[i]), f->body->out[i]->name);
    return sm_rebuild_end_aside(&r, out, err);
}
