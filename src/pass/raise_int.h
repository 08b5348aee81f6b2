/* SPDX-License-Identifier: MIT
 *
 * raise_int.h: the state of one raising: what each value of a program as written means.
 *
 * Raising walks a program once, in order, and gives every value a meaning in terms of the row function that is built
 * beside it.  A meaning is either a row value (tokens in axis 1, or heads first), or a station on the way to a composite:
 * the square of a row value, its mean, the mean plus epsilon ... until the product that completes rms_norm.  So there is
 * one set of stations per composite, and not one pattern per exporter: moves that do not change the meaning (casts,
 * inserted axes, slices to the length at hand) pass it on.
 *
 * What has no meaning is left alone; raising fails only if a result of the program needs it, or a state is written in a
 * way that is not understood.
 *
 * Three rules keep look-alikes out.  A meaning says which type its value must have, and a value of another type loses the
 * meaning (sm_raise_set): so an axis out of place is noticed where it happens.  Where equal extents could hide such an
 * axis (4 tokens, 4 heads), the op that joins two values looks at both.  And at the end every slot of every cache must
 * have been stored once, by the rows that one attention reads.
 */
#ifndef SM_RAISE_INT_H
#define SM_RAISE_INT_H

#include "graph/rows.h"
#include "pass/pass_int.h"

typedef enum sm_meaning_kind {
    M_NONE,
    /* row values */
    M_ROWS,  /* row [t, ...] as [1, n, ...] */
    M_HEADS, /* row [t, heads, d] as [1, heads, n, d], or with the heads split [kv heads, group, n, d] */
    M_PART,  /* elements lo..hi of the last axis of row, heads first */
    M_NEG,   /* -row, or -(part of row); layout as its operand */
    /* rms_norm: of row, in layout `heads` */
    M_SQUARE,
    M_MEAN,
    M_MEAN_EPS,
    M_INV_RMS,
    M_PLUS_MINUS, /* [row, -row] along the last axis */
    M_PM_NORM,    /* layer_norm of that */
    /* positions */
    M_INT,     /* an integer input [1, n], kept in `row`: ids or positions, as first used */
    M_POS,     /* positions of the rows, with any number of axes of extent 1 */
    M_KEY_POS, /* positions of the keys */
    M_ANGLE,   /* position * inv_freq; turned: [..., half, n] */
    M_COS,
    M_SIN,
    M_ROTATED,   /* [-second half, first half] of row's first hi elements */
    M_TIMES_COS, /* row's first hi elements * cos */
    M_TIMES_SIN, /* rotated * sin */
    M_TURNED,    /* rotary embedding of row's first hi elements, without the rest */
    /* masks */
    M_BACK, /* row position - key position */
    M_FAR,  /* that >= window */
    M_MASK, /* causal, added to scores; with window */
    /* caches */
    M_CACHE,   /* all slots of a cache: a state read, or an input */
    M_UPDATED, /* a cache with row stored in slot */
    M_SLOT,    /* old content of a slot of an input cache */
    M_KV,      /* keys or values of slot, row among them: [.., keys, d], each head of row repeated in place, or not */
    M_FRESH,   /* new columns of several slots, stacked by node `stack` */
    /* decomposed attention */
    M_SCORES,
    M_PROBS,
} sm_meaning_kind;

typedef struct sm_meaning {
    sm_meaning_kind kind;
    bool heads;    /* layout of the row value behind a station */
    bool full;     /* ANGLE, COS, SIN: both halves */
    bool turned;   /* ANGLE: tokens in the last axis */
    bool capped;   /* SCORES: after tanh */
    bool joined;   /* KV, SCORES: keys are an input cache, then the rows; KEY_POS, BACK, FAR, MASK: positions of such */
    sm_value *row; /* value of the row function */
    sm_value *row_k; /* SCORES, PROBS: keys */
    sm_value *freq;  /* ANGLE..TIMES_SIN: inv_freq constant, fp32 [half] */
    double f;        /* factor of ROWS/HEADS not yet applied (1: none); eps; scale of COS, SIN, SCORES; */
    double cap;      /* SCORES: soft cap */
    int64_t lo, hi;  /* PART, ROTATED, TIMES_*, TURNED */
    int64_t window;  /* FAR, MASK; SCORES after the mask; -1: not masked */
    int cache, slot; /* CACHE, UPDATED, SLOT, KV, SCORES */
    int version;     /* CACHE, UPDATED: number of writes that it has seen */
    const sm_node *stack;
} sm_meaning;

#define SM_RAISE_CACHES 1024
#define SM_RAISE_SLOTS 512
#define SM_RAISE_FREQS 16

typedef struct sm_raise_slot {
    sm_value *row;  /* stored in it */
    sm_value *used; /* what attention takes it to hold */
    int since;      /* number of the write that stored row */
} sm_raise_slot;

typedef struct sm_raise_cache {
    sm_value *in; /* the program's state or input */
    bool state;
    bool stacked;  /* [slots, 1, heads, ctx, d]; else [1, heads, ctx, d] */
    bool returned; /* input: its new columns are a result */
    int64_t ctx;
    int writes;
    int n_slots;
    sm_raise_slot *slot;
} sm_raise_cache;

typedef struct sm_raise {
    sm_rebuild r;
    sm_builder *b;
    sm_meaning *m; /* by old value id */
    sm_raised *info;
    sm_err *err;
    sm_value *ids, *pos, *out, *batch; /* inputs of the row function */
    sm_value *old_ids, *old_pos;       /* the program's inputs in these roles, once known */
    sm_value *old_mask;
    sm_dim n;    /* tokens of a call in the program */
    sm_dim past; /* position of the first one, when it is computed */
    bool past_known;
    sm_raise_cache **cache;
    int n_caches;
    sm_value *freq[SM_RAISE_FREQS]; /* rotary frequencies so far */
    int n_freqs;
    int n_attention; /* numbers the row function's slots */
} sm_raise;

static inline sm_meaning *sm_meaning_of(sm_raise *z, const sm_value *v) {
    return &z->m[v->id];
}
/* Meaning of an argument by slot; a shared M_NONE when absent. */
const sm_meaning *sm_raise_arg(sm_raise *z, const sm_node *n, const char *slot);
/* Gives n's result a meaning, if its type is one that such a value has. */
void sm_raise_set(sm_raise *z, const sm_node *n, sm_meaning m);
/* Row value of ROWS or HEADS with its pending factor applied. */
sm_value *sm_raise_row(sm_raise *z, const sm_meaning *m);
/* Elements of a constant, sm_free; NULL when out of memory, which the builder then knows. */
float *sm_raise_floats(sm_raise *z, const sm_value *c, size_t *n);
/* Raising ends without a result. */
void sm_raise_fail(sm_raise *z, const char *fmt, ...) SM_PRINTF(2, 3);
/* [1, .., 1, a, b] */
bool sm_is_plane(const sm_type *t, sm_dim a, sm_dim b);
/* [1, .., 1, n, keys], what a mask may be.  Programs declare the mask's rows as a symbol of its own beside that of ids, and
 * two symbols for one number are the rule there: any symbol does where n is one. */
bool sm_is_mask(const sm_raise *z, const sm_type *t, sm_dim keys);
/* The two values of a concat along the last axis (or along `axis` of rank 4), one after the other. */
bool sm_concat_two(const sm_node *n, int64_t *axis);
static inline bool sm_is_row(const sm_meaning *m) {
    return m->kind == M_ROWS || m->kind == M_HEADS;
}
/* The last axis of v: is `axis` (may be negative) that? */
bool sm_is_last_axis(const sm_value *v, int64_t axis);
/* Slice bounds of slice_by_index, slice_update over shape `x`: per axis begin, end, squeezed.  False: not affine with
 * stride 1. */
bool sm_slice_bounds(sm_raise *z, const sm_node *n, const sm_type *x, sm_dim *begin, sm_dim *end, bool *squeeze);

/* Transfer functions: give n's results a meaning if they have one. */
void sm_raise_rows_op(sm_raise *z, const sm_node *n);  /* raise_rows.c */
void sm_raise_turn_op(sm_raise *z, const sm_node *n);  /* raise_turn.c: positions, rotary, masks */
void sm_raise_cache_op(sm_raise *z, const sm_node *n); /* raise_attn.c: caches, attention */

#endif
