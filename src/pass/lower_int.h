/* SPDX-License-Identifier: MIT
 *
 * lower_int.h: the state of one lowering, shared by lower*.c.
 *
 *     lower.c       the walk: ops that carry over, reshapes
 *     lower_rows.c  composites that work on rows one by one: embed, rms_norm, gated_mlp, linear
 *     lower_attn.c  rotary embedding, attention
 *     lower_io.c    inputs, positions, masks, caches
 *     lower_head.c  selection of rows, logits and what is made of them
 */
#ifndef SM_LOWER_INT_H
#define SM_LOWER_INT_H

#include "graph/rows.h"
#include "pass/pass_int.h"

#define SM_MAX_SLOTS_KV 512 /* layers */
#define SM_MAX_TABLES 8     /* distinct rotary tables, windows, widths of biases */
#define SM_MAX_CHUNKS 64    /* pieces of a split head */
#define SM_MAX_HEADS 256

/* Hides a key; far below any score, far above fp16's lowest, so that adding it never gives NaN. */
#define SM_MASKED (-40000.0)

/* Where a row value's tokens are in the lowered program. */
typedef enum sm_layout {
    SM_LAY_TOKENS,   /* [t, ...] -> [1, n, ...] */
    SM_LAY_HEADS,    /* [t, heads, d] -> [1, heads, n, d] */
    SM_LAY_CHANNELS, /* [t, d] -> [1, d, 1, n]; [t, heads, d] -> [heads, d, 1, n] */
} sm_layout;

typedef struct sm_rope_table {
    const sm_value *inv_freq;
    double scale;
    sm_dtype dtype;
    sm_value *cos, *sin; /* [1, 1, n, rot] or [1, rot, 1, n]: both halves equal */
} sm_rope_table;

typedef struct sm_window_mask {
    int64_t window;
    sm_dtype dtype;
    sm_value *mask; /* [1, 1, n, keys] or [1, keys, 1, n], added to scores */
} sm_window_mask;

typedef struct sm_lower {
    sm_rebuild r;
    sm_builder *b; /* &r.b */
    const sm_profile *p;
    sm_layout *layout; /* by old value id */
    sm_layout rows;    /* where rows are: TOKENS or CHANNELS */
    sm_dtype act;      /* what the node at hand is computed in */
    sm_dtype io;       /* of masks, caches, logits and other floats that go in and out */

    sm_dim n, keys;        /* tokens of a call; columns that scores are over */
    sm_value *ids;         /* [1, n] int32; NULL: the function has none */
    sm_value *hidden;      /* rows that come in; NULL: none */
    sm_value *given_pos;   /* [1, n] int32 input; NULL: none */
    sm_value *past, *kv;   /* int32 scalars: positions before and after the call (measured state form) */
    sm_value *past1, *kv1; /* the same as vectors of one element (state form) */
    sm_value *begin, *end; /* state form: bounds of slot at_slot's new columns; end also bounds its keys */
    int at_slot;
    sm_value *pos;     /* int32 [n]: positions of the call's tokens */
    sm_value *key_pos; /* int32 [keys]: positions of the keys that scores are over; made on demand */
    sm_rope_table rope[SM_MAX_TABLES];
    int n_rope;
    sm_window_mask window[SM_MAX_TABLES]; /* window 0: the causal mask itself */
    int n_window;
    sm_value *zero[SM_MAX_TABLES]; /* zero biases, one a width and type */
    int n_zero;

    sm_kv_slot slot[SM_MAX_SLOTS_KV];
    int n_slots;
    sm_value *cache_in[2];               /* K, V: state or tensor inputs */
    sm_value *cache[2];                  /* what they hold now */
    sm_value *fresh[2][SM_MAX_SLOTS_KV]; /* io form: new columns per slot, as a slot of the cache has them */
    sm_value *part[SM_MAX_CHUNKS];       /* logits, in pieces */
    int n_part;
    sm_value *top_values, *top_ids; /* of heads that choose */
    sm_lowered *notes;              /* NULL: nobody asks */
} sm_lower;

/* The mapped value of v in the layout asked for (transposes when needed) and in l->act. */
sm_value *sm_lower_in(sm_lower *l, const sm_value *v, sm_layout want);
void sm_lower_set(sm_lower *l, const sm_value *v, sm_value *x, sm_layout lay);
/* Axis of the features of a row value: 1 with channels first, else the last. */
int sm_lower_axis(const sm_lower *l, const sm_value *x);

/* lower_io.c: inputs, positions, masks, caches of each form. */
sm_status sm_lower_interface(sm_lower *l, sm_err *err);
void sm_lower_columns(sm_lower *l); /* outputs newKeys, newValues */
/* Keys (which = 0) or values (1) of a slot after storing x: [1, heads, n, d] -> [1, heads, keys, d], with channels first
 * [heads, d, 1, n] -> [1, heads * d, 1, keys]. */
sm_value *sm_lower_store(sm_lower *l, int which, int slot, sm_value *x);
sm_value *sm_lower_mask(sm_lower *l, int64_t window);

/* lower_rows.c */
sm_status sm_lower_embed(sm_lower *l, const sm_node *n, sm_err *err);
sm_value *sm_lower_rms_norm(sm_lower *l, const sm_node *n);
sm_value *sm_lower_gated_mlp(sm_lower *l, const sm_node *n);
/* `linear`, or with channels first a 1x1 `conv`. */
sm_value *sm_lower_product(sm_lower *l, const char *name, sm_value *x, sm_value *w, sm_value *bias);

/* lower_attn.c */
sm_status sm_lower_rope(sm_lower *l, const sm_node *n, sm_value *x, sm_value **out, sm_err *err);
sm_value *sm_lower_attention(sm_lower *l, const sm_node *n, sm_value *q, sm_value *k, sm_value *v);

/* lower_head.c: lm_head, and all outputs. */
sm_value *sm_lower_select(sm_lower *l, const sm_value *rows); /* rows whose logits are wanted */
sm_status sm_lower_head(sm_lower *l, const sm_node *n, sm_err *err);
sm_status sm_lower_results(sm_lower *l, sm_err *err);

/* ------------------------------------------------------------------ small builders (lower.c) */
/* Reshape to numbers; -1 as usual. */
sm_value *sm_lower_reshape(sm_lower *l, sm_value *x, int rank, const int32_t *shape);
sm_value *sm_lower_transpose(sm_lower *l, sm_value *x, int rank, const int32_t *perm);
/* Slice of an axis: numbers only, stride 1. */
sm_value *sm_lower_slice(sm_lower *l, sm_value *x, int axis, int64_t begin, int64_t end);
sm_value *sm_lower_cast(sm_lower *l, sm_value *x, sm_dtype t);
/* cap * tanh(x / cap) */
sm_value *sm_lower_soft_cap(sm_lower *l, sm_value *x, double cap);
sm_value *sm_lower_scalar(sm_lower *l, double v); /* of l->act */
sm_value *sm_lower_join(sm_lower *l, const char *name, sm_value *const *x, int n, int axis);

#endif
