/* SPDX-License-Identifier: MIT
 *
 * raise_int.h: the state of one raising: what each value of a program as written means.
 *
 * Raising walks a program once, in order, and gives every value a meaning in terms of the row function that is built
 * beside it.  A meaning is either a row value, or a station on the way to a composite: the square of a row value, its
 * mean, the mean plus epsilon ... until the product that completes rms_norm.  So there is one set of stations per
 * composite, and not one pattern per exporter.
 *
 * Where things stand is no part of a meaning.  Each axis of a value as written has a role: it counts tokens, or keys, or
 * is the k-th piece of the features, or is 1.
 *
 *     [1, n, d]        1 tokens 0            row [t, d]
 *     [1, h, n, d]     1 0 tokens 1          row [t, h, d]
 *     [1, h * d, 1, n] 1 0 1 tokens          row [t, h * d]       channels first
 *     [kv, g, n, d]    0 1 tokens 2          row [t, kv, g, d]
 *
 * transpose, expand_dims, squeeze, reshape and slices of whole axes only change the roles (raise_view.c), for meanings of
 * every kind; a reshape that splits or merges features in order makes a reshape in row form, and one that would mix
 * tokens and features ends the meaning.
 *
 * What has no meaning is left alone; raising fails only if a result of the program needs it, or a state is written in a
 * way that is not understood.
 *
 * Three rules keep look-alikes out.  Roles are never guessed from extents once a value has them: 4 tokens and 4 heads
 * differ.  Two values meet only where their roles agree axis by axis (sm_raise_join).  And at the end every slot of every
 * cache must have been stored once, by the rows that one attention reads.
 */
#ifndef SM_RAISE_INT_H
#define SM_RAISE_INT_H

#include "graph/rows.h"
#include "pass/pass_int.h"

typedef enum sm_meaning_kind {
    M_NONE,
    /* row values: f * elements lo..hi of the last axis of row */
    M_ROWS,
    /* rms_norm of the last piece of that */
    M_SQUARE,     /* f * square */
    M_MEAN,       /* f * mean of squares over the last piece */
    M_MEAN_EPS,   /* f * (mean + eps) */
    M_RMS,        /* f * sqrt(mean + eps) */
    M_INV_RMS,    /* f / sqrt(mean + eps) */
    M_TOP,        /* largest |element| of the last piece, or no less than that */
    M_SCALED,     /* row / that */
    M_PLUS_MINUS, /* [row, -row] along the last piece */
    M_PM_NORM,    /* layer_norm of that */
    /* positions */
    M_INT,     /* an integer input over tokens, kept in `row`: ids or positions, as first used */
    M_POS,     /* positions of the rows */
    M_PAST,    /* position of the first of them */
    M_KEY_POS, /* positions of the keys */
    M_AHEAD,   /* f more than those, of a whole text */
    M_ANGLE,   /* position * inv_freq; piece 0 is the angle */
    M_COS,
    M_SIN,
    M_ROTATED,   /* [-second half, first half] of elements lo..hi of row */
    M_TURN,      /* those, or rotated ones, * cos or sin */
    M_HALF_TURN, /* first or second half of what turns: x1 cos - x2 sin, x2 cos + x1 sin */
    M_PAIRED,    /* rotary embedding, neighbours where row has halves (raise_pair.c) */
    M_TURNED,    /* rotary embedding of elements klo..khi of row_k, heads of which go on behind them */
    /* masks */
    M_FILL,   /* f everywhere, over axes that have no role yet */
    M_FILLED, /* key position < position of the first row */
    M_BACK,   /* f * (row position - key position) */
    M_WHERE,  /* seen where a key is in a set (causal, window), hidden elsewhere */
    /* caches; roles of CACHE are the axes of the cache */
    M_CACHE,   /* what a state or an input held before the call, or a slot of it */
    M_UPDATED, /* a cache with row stored in slot */
    M_KV,      /* keys or values of slot, row among them; each head `group` times in place */
    M_FRESH,   /* new columns of several slots, or their whole contents, joined by node `stack` */
    M_ONE_HOT, /* 1 where a key is the row's own position */
    M_OWN,     /* 1 where a key is any row's own position; KEEP: 0 there, 1 elsewhere */
    M_KEEP,
    M_KEPT,   /* a slot of an input cache, 0 where the rows will stand */
    M_PLACED, /* rows where they will stand, 0 elsewhere */
    M_ZERO,   /* an integer input times 0, which only keeps the input in use */
    M_PICKED, /* what is made of logits: largest, their ids */
    /* decomposed attention */
    M_SCORES,
    M_PROBS,
} sm_meaning_kind;

enum {
    AX_ONE = -1,
    AX_TOKENS = -2,
    AX_KEYS = -3,
    AX_GROUP = -4,
    AX_SLOTS = -5,
    AX_ANY = -6
}; /* roles of axes; 0 and above: a piece */

#define SM_RAISE_PIECES 6

typedef struct sm_meaning {
    sm_meaning_kind kind;
    int8_t ax[SM_MAX_RANK];         /* role of each axis of the value */
    int n_piece;                    /* pieces of the features, in row order; of a whole row: its axes after t */
    int64_t piece[SM_RAISE_PIECES]; /* extents */
    sm_value *row;                  /* value of the row function */
    int64_t lo, hi;                 /* elements of row's last axis */
    double f;                       /* factor not yet applied; scale of COS, SIN, SCORES */
    double eps;
    bool last;       /* row values and stations: of a call's last token only; computed for all in row form */
    bool full;       /* ANGLE, COS, SIN, TURN: both halves */
    bool sine;       /* TURN */
    bool rotated;    /* TURN of ROTATED */
    bool second;     /* HALF_TURN */
    sm_value *freq;  /* ANGLE..TURNED: inv_freq constant, fp32 [half]; or, of a table, cosines [positions, half] */
    sm_value *sines; /* TURN..TURNED of tables; NULL: of inv_freq */
    bool table;      /* COS, SIN, TURN: freq is a table */
    /* SCORES, PROBS: lo..hi are the query heads, row_k the keys, klo the key head they begin at, khi the width of a head.
     * TURNED and what it completes: elements klo..khi of row_k turned. */
    sm_value *row_k;
    int64_t klo, khi;
    double cap;              /* SCORES: soft cap */
    bool capped;             /* SCORES: after tanh */
    bool masked;             /* SCORES */
    bool joined;             /* KV, SCORES: old columns, then the rows' own; KEY_POS, BACK, WHERE: positions of such */
    bool given;              /* WHERE: an input of the program, taken to be the causal mask; ONE_HOT: an input too */
    bool made;               /* WHERE: of key positions */
    bool guarded;            /* KEY_POS: columns that are not filled yet are far ahead */
    bool loose;              /* BACK: of two positions of own text, either of which may be the row's */
    bool causal;             /* WHERE: key position <= row position */
    int64_t window;          /* WHERE, SCORES: row position - key position < window; 0: any */
    double seen, hidden;     /* WHERE: its two values */
    int64_t group;           /* KV: query heads per key head in the leading piece; 1: not repeated */
    int cache, slot;         /* CACHE, UPDATED, KV, KEPT, SCORES; slot: of UPDATED, KV, SCORES; cache -1: own text */
    unsigned cut;            /* CACHE, UPDATED, KEPT: axes of the cache that a slot was chosen from, a bit each */
    int16_t at[SM_MAX_RANK]; /* where on each */
    int keys;                /* KEPT, rolled CACHE: the cache's axis of keys */
    bool rolled;             /* CACHE: without its oldest columns, n of them */
    int version;             /* CACHE, UPDATED: number of writes that it has seen */
    bool whole;              /* KV: all columns of the slot as they are after the call */
    const sm_node *stack;    /* FRESH */
    const sm_value *over;    /* SCALED and the stations behind: what it was divided by; NULL: nothing */
} sm_meaning;

#define SM_RAISE_CACHES 1024
#define SM_RAISE_INPUTS (SM_RAISE_CACHES + 64)
#define SM_RAISE_SLOTS 512
#define SM_RAISE_FREQS 16
#define SM_RAISE_PAIRS 1024

typedef struct sm_raise_slot {
    sm_value *row;  /* stored in it */
    sm_value *used; /* what attention takes it to hold */
    int since;      /* number of the write that stored row */
    sm_value *attn; /* keys: the attention that reads it */
} sm_raise_slot;

typedef struct sm_raise_cache {
    sm_value *in; /* the program's state or input */
    bool state;
    bool laid;                /* roles are known: something was stored */
    bool returned;            /* input: its new columns or contents are a result */
    unsigned cut;             /* axes that slots are chosen from */
    int8_t role[SM_MAX_RANK]; /* of its axes: KEYS, ONE, or a piece of what is stored; those of `cut` are ONE */
    int n_piece;
    int64_t piece[SM_RAISE_PIECES];
    int64_t ctx; /* 0: grows */
    int writes;
    int n_slots;
    sm_raise_slot *slot; /* [n_slots], once the cut axes are known */
} sm_raise_cache;

#define SM_RAISE_HEADS 64

/* Logits of a part of the vocabulary. */
typedef struct sm_raise_piece {
    sm_value *row;
    int64_t first; /* id of its first one, as what is picked says; -1: it does not */
} sm_raise_piece;

typedef struct sm_raise {
    sm_rebuild r;
    sm_builder *b;
    sm_meaning *m; /* by old value id */
    uint32_t n_values;
    const sm_raise_hints *hints; /* may be NULL */
    sm_raised *info;
    sm_err *err;
    sm_value *ids, *pos, *out, *batch; /* inputs of the row function */
    sm_value *old_ids, *old_pos;       /* the program's inputs in these roles, once known */
    sm_value *rows_in;                 /* row input of a part */
    sm_value *table;                   /* of the embedding */
    sm_dim n;                          /* tokens of a call in the program */
    sm_dim past;                       /* position of the first one, when it is computed */
    bool past_known;
    sm_raise_cache **cache;
    int n_caches;
    bool own;                       /* there are none: keys are the tokens of the call itself */
    sm_value *freq[SM_RAISE_FREQS]; /* rotary frequencies so far */
    int n_freqs;
    sm_value *halved[SM_RAISE_PAIRS][2]; /* layers, and the same with their rows in halves */
    int n_halved;
    sm_value *paired[SM_RAISE_PAIRS]; /* what turned of those */
    int n_paired;
    int n_attention;                       /* numbers the row function's slots */
    sm_raise_piece logits[SM_RAISE_HEADS]; /* of which something is picked */
    int n_logits;
    char near[200]; /* the first thing that is almost known */
    bool in_order;  /* what is picked of each is listed in the order of `logits` */
} sm_raise;

/* ------------------------------------------------------------------ raise.c */
/* Meaning of a value of the program; a shared M_NONE for NULL and for constants, but those that raise_own.c knows. */
const sm_meaning *sm_raise_of(const sm_raise *z, const sm_value *v);
static inline const sm_meaning *sm_raise_arg(const sm_raise *z, const sm_node *n, const char *slot) {
    return sm_raise_of(z, sm_arg(n, slot));
}
/* Gives a value a meaning, if its type is one that such a value has in these roles.  True when it has. */
bool sm_raise_give(sm_raise *z, const sm_value *v, sm_meaning m);
static inline bool sm_raise_set(sm_raise *z, const sm_node *n, sm_meaning m) {
    return sm_raise_give(z, n->out[0], m);
}
/* Raising ends without a result. */
void sm_raise_fail(sm_raise *z, const char *fmt, ...) SM_PRINTF(2, 3);
/* Elements of a constant, sm_free; NULL when out of memory, which the builder then knows, or when there are none. */
float *sm_raise_floats(sm_raise *z, const sm_value *c, size_t *n);
/* Its only element, or the one that all of its elements are, with a number of elements that is 1. */
bool sm_raise_scalar(const sm_value *v, double *f);
/* Slice bounds of slice_by_index, slice_update over shape `x`: per axis begin, end, squeezed.  False: not affine with
 * stride 1. */
bool sm_slice_bounds(sm_raise *z, const sm_node *n, const sm_type *x, sm_dim *begin, sm_dim *end, bool *squeeze);
/* The same with any strides that are more than 0. */
bool sm_slice_strided(sm_raise *z, const sm_node *n, const sm_type *x, sm_dim *begin, sm_dim *end, bool *squeeze,
                      int64_t *stride);

/* ------------------------------------------------------------------ raise_view.c: roles */
/* The axis that has this role; -1 when there is none. */
int sm_raise_axis(const sm_meaning *m, int rank, int role);
/* Roles of a result of two values that broadcast against each other; false where they do not agree. */
bool sm_raise_join(const sm_value *a, const int8_t *ra, const sm_value *b, const int8_t *rb, int8_t *out);
/* Is one token a call: then tokens are an axis of extent 1 like others. */
static inline bool sm_raise_single(const sm_raise *z) {
    return z->n == 1;
}
/* Do bounds restrict one axis at most?  *axis: which, -1 none. */
bool sm_raise_one_axis(const sm_type *t, const sm_dim *lo, const sm_dim *hi, int *axis);
void sm_raise_all_ones(sm_meaning *m, int rank);
/* row [t, ...] with other feature axes in row form; the same value for the same question. */
sm_value *sm_raise_shape(sm_raise *z, sm_value *row, int n, const int64_t *piece);
sm_value *sm_raise_flat(sm_raise *z, sm_value *row);
int64_t sm_raise_features(const sm_value *row); /* elements per token */
/* A row value that is all of its row, roles as in `like`, with row's axes as pieces. */
sm_meaning sm_raise_whole(const sm_meaning *like, sm_value *row);
static inline bool sm_is_whole(const sm_meaning *m) {
    return m->lo == 0 && m->hi == m->row->type.dims[m->row->type.rank - 1];
}
/* The last piece that is more than 1, which stations work over; -1 when there is none. */
int sm_raise_last(const sm_meaning *m);
/* Is this axis (may be negative) of the value that piece? */
bool sm_raise_is_last(const sm_meaning *m, int rank, int64_t axis);
/* An op over pieces of `width` elements, applied to the whole row that m is a part of: the row as [t, .., width]; and a
 * part of such a result in m's roles.  NULL when m's elements are not such a piece. */
sm_value *sm_raise_piecewise(sm_raise *z, const sm_meaning *m, int64_t width);
sm_meaning sm_raise_part_of(sm_raise *z, const sm_meaning *m, sm_value *result);
/* The row value alone, whole and with its factor applied: NULL when it cannot be had. */
sm_value *sm_raise_row(sm_raise *z, const sm_meaning *m);
/* The same in place of *m, its roles and pieces kept. */
bool sm_raise_settle(sm_raise *z, sm_meaning *m);
/* An earlier node of the row function with these inputs (and op); else a new one.  in[] has one entry per slot. */
sm_value *sm_raise_again(sm_raise *z, sm_op op, sm_value *const *in);
bool sm_raise_view_op(sm_raise *z, const sm_node *n);

/* ------------------------------------------------------------------ transfer functions: give n's results a meaning */
bool sm_raise_rows_op(sm_raise *z, const sm_node *n);  /* raise_rows.c: embedding, layers, elementwise */
bool sm_raise_head_op(sm_raise *z, const sm_node *n);  /* raise_io.c: what is picked of logits */
bool sm_raise_norm_op(sm_raise *z, const sm_node *n);  /* raise_norm.c */
bool sm_raise_turn_op(sm_raise *z, const sm_node *n);  /* raise_turn.c: positions, rotary */
bool sm_raise_mask_op(sm_raise *z, const sm_node *n);  /* raise_mask.c */
bool sm_raise_cache_op(sm_raise *z, const sm_node *n); /* raise_cache.c */
/* A value's meaning, contents of a cache among which the rows stand being keys or values. */
sm_meaning sm_raise_content(sm_raise *z, const sm_value *v);
bool sm_raise_attn_op(sm_raise *z, const sm_node *n); /* raise_attn.c */
bool sm_raise_own_op(sm_raise *z, const sm_node *n);  /* raise_own.c */

/* What a constant varies along when it meets m's value x: the role of that axis (AX_ONE: nothing, a scalar).  False: more
 * than one axis, or tokens or keys. */
bool sm_raise_const_along(const sm_value *x, const sm_meaning *m, const sm_value *c, int *role);
/* Its elements as an fp32 vector, times f. */
sm_value *sm_raise_vector(sm_raise *z, sm_value *c, double f);

/* raise_act.c: row values whose product, or quotient (x NULL: 1), is an activation: it times *f; NULL when it is none. */
sm_value *sm_raise_product(sm_raise *z, sm_value *x, sm_value *y, double *f);
sm_value *sm_raise_quotient(sm_raise *z, sm_value *x, sm_value *y);

/* raise_weight.c: weights [out, in] of linear layers out of a program's constants. */
/* c with its rows along out_axis and its columns along in_axis, all others 1: a view, or a copy where it is dense and
 * stands the other way.  NULL when it is neither. */
sm_value *sm_raise_weight(sm_raise *z, sm_value *c, int out_axis, int in_axis);
/* Rows lo..hi of a weight as a view, or of a vector; NULL when its encoding does not divide there. */
sm_value *sm_raise_weight_rows(sm_raise *z, sm_value *w, int64_t lo, int64_t hi);
/* Weights of equal width one below the other. */
sm_value *sm_raise_weight_join(sm_raise *z, sm_value *const *w, int n);

/* Without axes of extent 1 that a tensor was given behind its last. */
sm_value *sm_raise_plain(sm_raise *z, sm_value *c);

/* raise_turn.c: rotary frequencies as a constant of the row function, one per content. */
sm_value *sm_raise_freq(sm_raise *z, const float *x, int64_t n);
/* raise_turn.c: an integer input in the role of positions: the first use decides. */
bool sm_is_pos(sm_raise *z, const sm_meaning *m);
/* The whole angle axis of a constant 0, 1, 2 ...: positions of the keys. */
bool sm_is_iota(sm_raise *z, const sm_value *c, sm_meaning *out);

/* raise_turn.c: the constant as a table [rows, cols] of cosines or sines for m: freq and full. */
bool sm_raise_table(sm_raise *z, sm_value *c, int64_t rows, int64_t cols, sm_meaning *m);

/* raise_turn.c: the rotary embedding of elements m.klo..khi of m.row_k, heads of `width`: a row value. */
bool sm_raise_turn_heads(sm_raise *z, sm_meaning *m, int64_t width);

/* raise_pair.c: rotary embedding of neighbours */
bool sm_raise_pair_op(sm_raise *z, const sm_node *n);
/* Does a row value hold halves of what stands in pairs as written? */
bool sm_raise_is_paired(const sm_raise *z, const sm_value *row);
/* A meaning as that of its row, for those who mind the order themselves. */
sm_meaning sm_raise_unpaired(const sm_meaning *m);

/* raise_own.c: programs without caches */
/* Why what follows has no meaning, if that is why raising fails: the first one is told. */
void sm_raise_near(sm_raise *z, const char *fmt, ...) SM_PRINTF(2, 3);
/* Gives n's constants that are positions or masks their meaning. */
void sm_raise_own_consts(sm_raise *z, const sm_node *n);
/* A value's meaning, positions of a whole text being those of its rows. */
sm_meaning sm_raise_place(const sm_raise *z, const sm_value *v);
/* A value's meaning, rows of a program without caches being keys or values. */
sm_meaning sm_raise_keys(sm_raise *z, const sm_value *v);
/* One number, in as many elements as it likes: a constant's, or what a fill is of. */
bool sm_raise_number(const sm_raise *z, const sm_value *v, double *f);
/* A constant table of cosines or sines over the rows. */
bool sm_raise_own_table(sm_raise *z, sm_value *c, sm_meaning *out);

/* raise_cache.c */
/* The rows' positions begin where begin says: the same place for all caches, and not always the same one. */
bool sm_at_past(sm_raise *z, sm_dim begin, sm_dim end);
/* All positions, or those up to the last one. */
bool sm_whole_or_seen(sm_raise *z, sm_dim hi, sm_dim extent);
bool sm_cut_cache(sm_raise *z, const sm_value *out, const sm_value *in, const sm_meaning *x, const sm_dim *lo,
                  const sm_dim *hi, const bool *squeeze);
/* Every cache is stored and read as one attention does; facts for info. */
void sm_raise_check_caches(sm_raise *z);
/* Is m what an input cache's host stores?  Then it is marked so. */
bool sm_returns_cache(sm_raise *z, const sm_value *v);

/* raise_bind.c: one symbol for the tokens of a call.  *out is off the graph's list. */
sm_status sm_raise_bind(sm_func *f, sm_func **out, sm_err *err);
bool sm_raise_is_flags(const sm_func *f, const sm_value *v);
/* raise_io.c */
sm_status sm_raise_inputs(sm_raise *z);
void sm_raise_outputs(sm_raise *z);

#endif
