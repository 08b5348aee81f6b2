/* SPDX-License-Identifier: MIT
 *
 * rows.c: what a row-form function asks of its surroundings: its cache slots.
 *
 * Attention stands only in the function's own block: a slot is written once per step.
 */
#include "graph/rows.h"

#include <string.h>

bool sm_func_is_rows(const sm_func *f) {
    for (int i = 0; i < f->body->n_in; i++)
        if (f->body->in[i]->type.kind == SM_V_BATCH)
            return true;
    return false;
}

int sm_func_kv_slots(const sm_func *f, sm_kv_slot *slots, int cap) {
    int n = 0;
    memset(slots, 0, (size_t)cap * sizeof *slots);
    for (const sm_node *a = f->body->first; a != NULL; a = a->next) {
        int64_t slot, window;
        if (a->op != SM_OP_ATTENTION)
            continue;
        if (!sm_arg_int(a, "slot", &slot) || !sm_arg_int(a, "window", &window) || slot < 0 || slot >= cap ||
            slots[slot].heads != 0)
            return -1;
        const sm_type *q = &sm_arg(a, "q")->type, *k = &sm_arg(a, "k")->type, *v = &sm_arg(a, "v")->type;
        slots[slot] = (sm_kv_slot){
            .heads = (int32_t)k->dims[1],
            .head_dim = (int32_t)k->dims[2],
            .v_dim = (int32_t)v->dims[2],
            .q_heads = (int32_t)q->dims[1],
            .window = (int32_t)window,
        };
        n++;
    }
    for (int i = 0; i < n; i++)
        if (slots[i].heads == 0)
            return -1;
    return n;
}
