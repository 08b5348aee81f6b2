/* SPDX-License-Identifier: MIT
 *
 * rows.h: questions about row-form functions (graph.h) that passes, backends and the engine all ask.
 */
#ifndef SM_ROWS_H
#define SM_ROWS_H

#include "graph/graph.h"

/* Geometry of one attention cache slot. */
typedef struct sm_kv_slot {
    int32_t heads;    /* of keys and values */
    int32_t head_dim; /* of keys */
    int32_t v_dim;    /* of values */
    int32_t q_heads;
    int32_t window; /* 0: sees everything before it */
} sm_kv_slot;

/* A batch input makes a function row form. */
bool sm_func_is_rows(const sm_func *f);
/* slots[cap], by slot number; returns how many there are; -1 when they do not fit, repeat, or leave holes. */
int sm_func_kv_slots(const sm_func *f, sm_kv_slot *slots, int cap);

#endif
