/* SPDX-License-Identifier: MIT
 *
 * lower_int.h: the state of one lowering, shared by lower*.c.
 */
#ifndef SM_LOWER_INT_H
#define SM_LOWER_INT_H

#include "graph/rows.h"
#include "pass/pass_int.h"

#define SM_MAX_SLOTS_KV 512 /* layers */
#define SM_MAX_TABLES 8     /* distinct rotary tables, distinct windows */

/* Where a row value's tokens are in the lowered program. */
typedef enum sm_layout {
    SM_LAY_TOKENS, /* [t, ...] -> [1, n, ...] */
    SM_LAY_HEADS,  /* [t, heads, d] -> [1, heads, n, d] */
} sm_layout;

typedef struct sm_rope_table {
    const sm_value *inv_freq;
    double scale;
    sm_value *cos, *sin; /* [1, 1, n, rot], both halves equal, activation dtype */
} sm_rope_table;

typedef struct sm_window_mask {
    int64_t window;
    sm_value *mask; /* [1, 1, n, keys], added to scores */
} sm_window_mask;

typedef struct sm_lower {
    sm_rebuild r;
    sm_builder *b; /* &r.b */
    const sm_profile *p;
    sm_layout *layout; /* by old value id */

    sm_dim n;              /* tokens of a call */
    sm_value *ids;         /* [1, n] int32 */
    sm_value *mask;        /* [1, 1, n, keys] as given or made: causal */
    sm_value *past, *kv;   /* int32 scalars: positions before and after the call (state form) */
    sm_value *past1, *kv1; /* the same as vectors of one element */
    sm_value *begin, *end; /* state form: bounds of slot at_slot's new columns; end also bounds its keys */
    int at_slot;
    sm_value *pos;     /* int32 [n]: positions of the call's tokens */
    sm_value *key_pos; /* int32 [keys]: positions of the keys that scores are over; made on demand */
    sm_rope_table rope[SM_MAX_TABLES];
    int n_rope;
    sm_window_mask window[SM_MAX_TABLES];
    int n_window;
    sm_value *zero[SM_MAX_TABLES]; /* zero biases, one a width */
    int n_zero;

    sm_kv_slot slot[SM_MAX_SLOTS_KV];
    int n_slots;
    sm_value *cache_in[2];               /* K, V: state or tensor inputs */
    sm_value *cache[2];                  /* what they hold now */
    sm_value *fresh[2][SM_MAX_SLOTS_KV]; /* io form: new columns per slot, [1, heads, n, d] */
} sm_lower;

/* lower_io.c: inputs, positions, masks, caches, outputs of each KV form. */
sm_status sm_lower_interface(sm_lower *l, sm_err *err);
void sm_lower_results(sm_lower *l);
/* Keys (which = 0) or values (1) of a slot after storing x [1, heads, n, d]: [1, heads, keys, d]. */
sm_value *sm_lower_store(sm_lower *l, int which, int slot, sm_value *x);
sm_value *sm_lower_mask(sm_lower *l, int64_t window);

/* lower_attn.c */
sm_status sm_lower_rope(sm_lower *l, const sm_node *n, sm_value *x_heads, sm_value **out, sm_err *err);
sm_value *sm_lower_attention(sm_lower *l, const sm_node *n, sm_value *q, sm_value *k, sm_value *v);

/* The mapped value of v in the layout asked for (transposes when needed). */
sm_value *sm_lower_in(sm_lower *l, const sm_value *v, sm_layout want);
/* Reshape to numbers; -1 as usual. */
sm_value *sm_lower_reshape(sm_lower *l, sm_value *x, int rank, const int32_t *shape);
sm_value *sm_lower_transpose(sm_lower *l, sm_value *x, int rank, const int32_t *perm);
/* Slice of a whole axis range: numbers only, stride 1. */
sm_value *sm_lower_slice_last(sm_lower *l, sm_value *x, int64_t begin, int64_t end);
sm_value *sm_lower_cast(sm_lower *l, sm_value *x, sm_dtype t);
/* cap * tanh(x / cap) */
sm_value *sm_lower_soft_cap(sm_lower *l, sm_value *x, double cap);
sm_value *sm_lower_scalar(sm_lower *l, double v); /* of the activation dtype */

#endif
