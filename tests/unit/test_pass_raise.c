/* SPDX-License-Identifier: MIT
 *
 * test_pass_raise.c: raise after lower is the identity up to names, for every package profile, on models of every shape.
 */
#include "tiny_model.h"

#include "backend/backend.h"
#include "pass/pass.h"
#include "sweep.h"

static const tiny_spec small_spec = {.layers = 1,
                                     .d = 32,
                                     .heads = 2,
                                     .kv_heads = 1,
                                     .head_dim = 16,
                                     .rot = 8,
                                     .ff = 32,
                                     .vocab = 33,
                                     .window = 3,
                                     .head_cap = 5,
                                     .attn_scale = 0.5,
                                     .embed_scale = 2,
                                     .enc = SM_ENC_Q4_0,
                                     .seed = 9};

enum { CTX = 32 };

/* A design by its name, or by "none " and its name: without caches. */
static sm_profile sized(const char *name) {
    bool whole = strncmp(name, "none ", 5) == 0;
    sm_profile p = *sm_profile_find(whole ? name + 5 : name);
    p.ctx = CTX;
    if (whole) {
        p.kv = SM_KV_NONE;
        p.mask = SM_PLACE_MADE;
    }
    sm_profile_tokens(&p, p.shape == SM_SHAPE_RANGE ? CTX : 4);
    return p;
}

static void print(const sm_func *f, sm_str *out) {
    sm_err err = {0};
    sm_print_opts o = {.anonymous = true, .no_data = true};
    if (sm_func_print(f, &o, out, &err) != SM_OK)
        fail_msg("print: %s", err.msg);
}

/* What convert writes beside a package for its host. */
typedef struct told {
    sm_raise_turn turn[8];
    sm_raise_hints h;
} told;

static const sm_raise_hints *tell(told *t, const sm_lowered *notes) {
    for (int i = 0; i < notes->n_turns; i++) {
        const sm_lowered_turn *n = &notes->turn[i];
        t->turn[i] =
            (sm_raise_turn){n->cos, n->sin, n->scale, (const float *)n->inv_freq->cst->src.part[SM_PART_DATA].p,
                            n->inv_freq->type.dims[0]};
    }
    t->h = (sm_raise_hints){t->turn, notes->n_turns, notes->mask, notes->n_masks};
    return &t->h;
}

static void identity(const tiny_spec *z, const char *profile) {
    sm_err err = {0};
    sm_graph *g = NULL;
    sm_func *f, *back = NULL;
    sm_raised info;
    sm_str before = SM_STR_INIT, after = SM_STR_INIT;
    sm_profile p = sized(profile);
    sm_lowered notes = {0};
    told t;
    if (tiny_model(z, &g, &err) != SM_OK)
        fail_msg("model %d: %s", (int)z->seed, err.msg);
    f = sm_graph_func(g, NULL);
    if (sm_pass_encode(f, &p, &f, &err) != SM_OK)
        fail_msg("encode %d: %s", (int)z->seed, err.msg);
    print(f, &before);
    if (sm_pass_lower(f, &p, &f, &notes, &err) != SM_OK || sm_verify_func(f, &err) != SM_OK)
        fail_msg("lower %d as %s: %s", (int)z->seed, profile, err.msg);
    if (sm_pipeline_raise(f, tell(&t, &notes), &back, &info, &err) != SM_OK)
        fail_msg("raise %d from %s: %s", (int)z->seed, profile, err.msg);
    if (!info.ok)
        fail_msg("model %d as %s not raised: %s", (int)z->seed, profile, info.why);
    assert_int_equal(info.ctx, p.kv == SM_KV_NONE ? p.seq[p.n_seq - 1] : CTX);
    assert_int_equal(info.seq_max, p.seq[p.n_seq - 1]);
    print(back, &after);
    if (strcmp(sm_str_z(&before), sm_str_z(&after)) != 0)
        fail_msg("model %d as %s: before:\n%s\nafter:\n%s", (int)z->seed, profile, sm_str_z(&before), sm_str_z(&after));
    sm_str_free(&before);
    sm_str_free(&after);
    sm_graph_free(&g);
}

static void identity_gpu(void **state) {
    (void)state;
    for (size_t i = 0; i < SM_ARRAY_LEN(tiny_specs); i++)
        identity(&tiny_specs[i], "gpu");
}

static void identity_kv_io(void **state) {
    (void)state;
    for (size_t i = 0; i < SM_ARRAY_LEN(tiny_specs); i++)
        identity(&tiny_specs[i], "kv-io");
}

static void identity_ane(void **state) {
    (void)state;
    for (size_t i = 0; i < SM_ARRAY_LEN(tiny_specs); i++) {
        tiny_spec z = tiny_specs[i];
        z.embed_scale = (double)sm_round_f16((float)z.embed_scale); /* all that this design holds */
        identity(&z, "ane");
    }
}

/* A call is a whole text: keys are its own tokens. */
static void identity_whole_text(void **state) {
    (void)state;
    for (size_t i = 0; i < SM_ARRAY_LEN(tiny_specs); i++) {
        tiny_spec z = tiny_specs[i];
        identity(&z, "none gpu");
        z.embed_scale = (double)sm_round_f16((float)z.embed_scale);
        identity(&z, "none ane");
    }
}

/* An empty function of a new graph. */
static sm_graph *begin(sm_builder *b) {
    sm_err err = {0};
    sm_graph *g = NULL;
    sm_func *f;
    assert_int_equal(sm_graph_new(&g, &err), SM_OK);
    assert_int_equal(sm_func_new(g, "main", 9, &f, &err), SM_OK);
    sm_build_start(b, f);
    return g;
}

/* What was built is no decoder: why, into info. */
static void refuse(sm_builder *b, sm_raised *info) {
    sm_err err = {0};
    sm_func *back = NULL;
    assert_int_equal(sm_build_end(b, &err), SM_OK);
    assert_int_equal(sm_pipeline_raise(b->f, NULL, &back, info, &err), SM_OK);
    assert_false(info->ok);
    assert_null(back);
}

/* What is not a decoder says why. */
static void not_raised(void **state) {
    (void)state;
    sm_builder b;
    sm_raised info;
    sm_graph *g = begin(&b);
    sm_value *x = sm_build_input(&b, "x", (sm_type){.kind = SM_V_TENSOR, .dtype = SM_FP16, .rank = 2, .dims = {3, 4}});
    sm_build_output(&b, sm_build(&b, SM_OP_RELU, "y", "x", x, NULL), NULL);
    refuse(&b, &info);
    assert_true(strlen(info.why) > 0);
    sm_graph_free(&g);
}

/* A program of more inputs than any decoder has is left alone. */
static void many_inputs(void **state) {
    (void)state;
    enum { INPUTS = 2000 };
    sm_builder b;
    sm_raised info;
    sm_graph *g = begin(&b);
    sm_value *sum = NULL;
    for (int i = 0; i < INPUTS; i++) {
        char name[16];
        snprintf(name, sizeof name, "x%d", i);
        sm_value *x =
            sm_build_input(&b, name, (sm_type){.kind = SM_V_TENSOR, .dtype = SM_FP16, .rank = 1, .dims = {4}});
        sum = sum == NULL ? x : sm_build(&b, SM_OP_ADD, NULL, "x", sum, "y", x, NULL);
    }
    sm_build_output(&b, sum, "y");
    refuse(&b, &info);
    assert_non_null(strstr(info.why, "2000 inputs"));
    sm_graph_free(&g);
}

/* Every allocation of lowering and raising may fail: it is reported, and nothing is leaked. */
static bool out_and_back(void *ctx) {
    sm_err err = {0};
    sm_graph *g = NULL;
    sm_func *back = NULL;
    sm_raised info = {0};
    sm_profile p = sized(ctx);
    sm_lowered notes = {0};
    told t;
    bool ok = tiny_model(&small_spec, &g, &err) == SM_OK;
    if (ok) {
        sm_func *f = sm_graph_func(g, NULL);
        const char *name = f->name;
        sm_status st = sm_pipeline_package(f, &p, &name, 1, &f, &notes, &err);
        if (st == SM_OK)
            st = sm_pipeline_raise(f, tell(&t, &notes), &back, &info, &err);
        ok = st == SM_OK;
        assert_true(ok || (st == SM_RESOURCE && err.msg[0] != 0));
        assert_true(!ok || info.ok);
    }
    sm_graph_free(&g);
    return ok;
}

static void out_of_memory(void **state) {
    (void)state;
    sweep(out_and_back, "gpu");
    sweep(out_and_back, "kv-io");
    sweep(out_and_back, "ane");
    sweep(out_and_back, "none gpu");
}

/* ------------------------------------------------------------------ almost a decoder */
/* One layer as exporters write it, with one thing done differently. */
typedef enum twist {
    RIGHT,
    RIGHT_TILED,      /* fused attention, keys tiled */
    HALVES_DIFFER,    /* rotary: other frequencies in the second half */
    IDS_AS_POSITIONS, /* one input in both roles */
    ROPE_OF_SCALED,   /* a factor before the rotation */
    GROUPS_FIRST,     /* query heads as [group, kv head] */
    TILED_ROUND,      /* keys repeated as a whole: 0 1 0 1 for 0 0 1 1 */
    STALE_KEYS,       /* cut from what the state held before */
    SAME_STATE,       /* keys and values in one slot of one cache */
    SHORT_KEYS,       /* without the last position */
    OTHER_PAST,       /* rotary position is not the cache's */
    TWO_MASKS,
    NO_MASK,
    TURNED_MASK, /* a mask of one row for all tokens */
    NEGATIVE_CAP,
    CAP_SCALED,   /* 2 * cap * tanh(..): right, with another scale */
    MIXED_HEADS,  /* heads to rows without the transpose */
    EPS_OUTSIDE,  /* rsqrt(mean) + eps */
    MEAN_OF_HALF, /* mean over another axis */
    HIDDEN_TOO,   /* hidden state as a second result */
    INTEGER_STOP, /* a cast to int32 and back */
    INTERLEAVED,  /* halves joined element by element */
    IN_PAIRS,     /* neighbours turn: right */
    SCATTERED,    /* the cache by scatter: right */
    SCATTER_ADDED,
    SCATTERED_BY_IDS,
    SCATTERED_HEADS, /* along the axis of heads */
    TWISTS
} twist;

enum { HEADS = 4, KV = 2, DIM = 8, WIDTH = HEADS * DIM, VOCAB = 33, POSITIONS = 16 };

static sm_value *i32s(sm_builder *b, int n, const int32_t *v) {
    return sm_const_i32s(b, v, n);
}
#define I32S(...) i32s(b, (int)SM_ARRAY_LEN(((int32_t[]){__VA_ARGS__})), (int32_t[]){__VA_ARGS__})

static sm_value *f16(sm_builder *b, double v) {
    return sm_const_f(b, SM_FP16, v);
}

static sm_value *two(sm_builder *b, sm_op op, sm_value *x, sm_value *y) {
    return sm_build(b, op, NULL, "x", x, "y", y, NULL);
}

static sm_value *cast(sm_builder *b, sm_value *x, const char *t) {
    return sm_build(b, SM_OP_CAST, NULL, "x", x, "dtype", sm_const_str(b, t), NULL);
}

static sm_value *weights(sm_builder *b, int rank, int64_t rows, int64_t cols) {
    static uint64_t s = 1;
    int64_t dims[2] = {rows, cols};
    uint16_t *x = calloc((size_t)(rows * cols), 2);
    for (int64_t i = 0; i < rows * cols; i++)
        x[i] = sm_f32_to_f16(0.2f * tiny_rand(&s));
    sm_value *v = sm_const_data(b, "w", SM_FP16, rank, rank == 2 ? dims : &cols, x);
    free(x);
    return v;
}

static sm_value *project(sm_builder *b, sm_value *x, int out) {
    return sm_build(b, SM_OP_LINEAR, NULL, "x", x, "weight", weights(b, 2, out, WIDTH), NULL);
}

static sm_value *written_norm(sm_builder *b, twist w, sm_value *x) {
    int32_t axis = w == MEAN_OF_HALF ? -2 : -1;
    sm_value *m = sm_build(b, SM_OP_REDUCE_MEAN, NULL, "x", two(b, SM_OP_MUL, x, x), "axes", I32S(axis), "keep_dims",
                           sm_const_bool(b, true), NULL);
    if (w == EPS_OUTSIDE)
        m = two(b, SM_OP_ADD, sm_build(b, SM_OP_RSQRT, NULL, "x", m, NULL), f16(b, 1e-3));
    else
        m = sm_build(b, SM_OP_RSQRT, NULL, "x", two(b, SM_OP_ADD, m, f16(b, 1e-3)), NULL);
    return two(b, SM_OP_MUL, two(b, SM_OP_MUL, x, m), weights(b, 1, 1, WIDTH));
}

static sm_value *slice(sm_builder *b, sm_value *x, sm_value *begin, sm_value *end, const bool *open, bool first_slot) {
    const bool squeeze[5] = {true, false, false, false, false};
    int r = x->type.rank;
    return sm_build(b, SM_OP_SLICE_BY_INDEX, NULL, "x", x, "begin", begin, "end", end, "end_mask",
                    sm_const_bools(b, open, r), "squeeze_mask", first_slot ? sm_const_bools(b, squeeze, 5) : NULL,
                    NULL);
}

static sm_value *written_table(sm_builder *b, twist w, sm_op op, sm_value *pos) {
    static const float f1[DIM / 2] = {1, 0.5, 0.25, 0.125}, f2[DIM / 2] = {1, 0.5, 0.25, 0.25};
    const int64_t n = DIM / 2;
    pos = sm_build(b, SM_OP_EXPAND_DIMS, NULL, "x", cast(b, pos, "fp32"), "axes", I32S(-1), NULL);
    sm_value *half[2] = {two(b, SM_OP_MUL, pos, sm_const_data(b, "f", SM_FP32, 1, &n, f1)), NULL};
    half[1] = w == HALVES_DIFFER ? two(b, SM_OP_MUL, pos, sm_const_data(b, "f", SM_FP32, 1, &n, f2)) : half[0];
    sm_value *both = sm_build_list(b, SM_OP_CONCAT, NULL, half, 2, "axis", sm_const_i32(b, -1), "interleave",
                                   sm_const_bool(b, w == INTERLEAVED), NULL);
    return cast(b, sm_build(b, op, NULL, "x", both, NULL), "fp16");
}

static sm_value *written_rope(sm_builder *b, twist w, sm_value *x, sm_value *pos) {
    const bool open[4] = {true, true, true, false}, all[4] = {true, true, true, true};
    if (w == ROPE_OF_SCALED)
        x = two(b, SM_OP_MUL, x, f16(b, 0.5));
    sm_value *lo = slice(b, x, I32S(0, 0, 0, 0), I32S(0, 0, 0, DIM / 2), open, false);
    sm_value *hi = slice(b, x, I32S(0, 0, 0, DIM / 2), I32S(0, 0, 0, 0), all, false);
    sm_value *turned[2] = {two(b, SM_OP_MUL, hi, f16(b, -1)), lo};
    sm_value *swapped = sm_build_list(b, SM_OP_CONCAT, NULL, turned, 2, "axis", sm_const_i32(b, -1), NULL);
    return two(b, SM_OP_ADD, two(b, SM_OP_MUL, x, written_table(b, w, SM_OP_COS, pos)),
               two(b, SM_OP_MUL, swapped, written_table(b, w, SM_OP_SIN, pos)));
}

static sm_value *split_heads(sm_builder *b, sm_value *x, int heads) {
    x = sm_build(b, SM_OP_RESHAPE, NULL, "x", x, "shape", I32S(1, -1, heads, DIM), NULL);
    return sm_build(b, SM_OP_TRANSPOSE, NULL, "x", x, "perm", I32S(0, 2, 1, 3), NULL);
}

typedef struct written {
    sm_value *ids, *mask, *cache[2], *past, *kv, *pos;
} written;

/* Element `axis` of x's shape, as a vector. */
static sm_value *extent(sm_builder *b, sm_value *x, int32_t axis) {
    sm_value *s = sm_build(b, SM_OP_SHAPE, NULL, "x", x, NULL);
    return sm_build(b, SM_OP_SLICE_BY_INDEX, NULL, "x", s, "begin", I32S(axis), "end", I32S(axis + 1), NULL);
}

static sm_value *at_position(sm_builder *b, int32_t slot, sm_value *p) {
    sm_value *v[3] = {I32S(slot, 0, 0), p, I32S(0)};
    return sm_build_list(b, SM_OP_CONCAT, NULL, v, 3, "axis", sm_const_i32(b, 0), NULL);
}

/* x [1, kv heads, n, d] into slot 0; keys or values up to the last position. */
static sm_value *store(sm_builder *b, twist w, const written *p, int which, sm_value *x) {
    const bool open[5] = {false, true, true, false, true}, squeeze[5] = {true, false, false, false, false};
    sm_value *state = p->cache[w == SAME_STATE ? 0 : which];
    sm_value *old = sm_build(b, SM_OP_READ_STATE, NULL, "input", state, NULL);
    sm_value *end = at_position(b, 1, p->kv);
    sm_value *y;
    if (w >= SCATTERED) {
        sm_value *at =
            w == SCATTERED_BY_IDS ? sm_build(b, SM_OP_SQUEEZE, NULL, "x", p->ids, "axes", I32S(0), NULL) : p->pos;
        y = sm_build(b, SM_OP_SCATTER, NULL, "data", old, "indices", at, "updates",
                     sm_build(b, SM_OP_EXPAND_DIMS, NULL, "x", x, "axes", I32S(0), NULL), "axis",
                     sm_const_i32(b, w == SCATTERED_HEADS ? 2 : 3), "mode",
                     sm_const_str(b, w == SCATTER_ADDED ? "add" : "update"), NULL);
    } else {
        y = sm_build(b, SM_OP_SLICE_UPDATE, NULL, "x", old, "update", x, "begin", at_position(b, 0, p->past), "end",
                     end, "end_mask", sm_const_bools(b, open, 5), "squeeze_mask", sm_const_bools(b, squeeze, 5), NULL);
    }
    sm_build(b, SM_OP_WRITE_STATE, NULL, "input", state, "data", y, NULL);
    sm_value *now = sm_build(b, SM_OP_READ_STATE, NULL, "input", state, NULL);
    if (w == SHORT_KEYS)
        end = at_position(b, 1, two(b, SM_OP_SUB, p->kv, I32S(1)));
    return slice(b, w == STALE_KEYS ? old : now, I32S(0, 0, 0, 0, 0), end, open, true);
}

static sm_value *written_mask(sm_builder *b, twist w, sm_value *mask) {
    const bool open[4] = {true, true, false, true};
    return w == TURNED_MASK ? slice(b, mask, I32S(0, 0, 0, 0), I32S(0, 0, 1, 0), open, false) : mask;
}

static sm_value *tiled(sm_builder *b, twist w, sm_value *x) {
    if (w == TILED_ROUND)
        return sm_build(b, SM_OP_TILE, NULL, "x", x, "reps", I32S(1, HEADS / KV, 1, 1), NULL);
    x = sm_build(b, SM_OP_EXPAND_DIMS, NULL, "x", x, "axes", I32S(2), NULL);
    x = sm_build(b, SM_OP_TILE, NULL, "x", x, "reps", I32S(1, 1, HEADS / KV, 1, 1), NULL);
    return sm_build(b, SM_OP_RESHAPE, NULL, "x", x, "shape", I32S(1, HEADS, -1, DIM), NULL);
}

static sm_value *written_attention(sm_builder *b, twist w, sm_value *q, sm_value *k, sm_value *v, sm_value *mask) {
    sm_value *yes = sm_const_bool(b, true);
    if (w == RIGHT_TILED || w == TILED_ROUND || w == NO_MASK)
        return sm_build(b, SM_OP_SDPA, NULL, "query", q, "key", tiled(b, w, k), "value", tiled(b, w, v), "attn_mask",
                        w == NO_MASK ? NULL : mask, NULL);
    int32_t c = w == GROUPS_FIRST ? HEADS / KV : KV;
    q = sm_build(b, SM_OP_RESHAPE, NULL, "x", q, "shape", I32S(c, HEADS / c, -1, DIM), NULL);
    int32_t first = w == GROUPS_FIRST ? 1 : KV, second = w == GROUPS_FIRST ? KV : 1;
    k = sm_build(b, SM_OP_RESHAPE, NULL, "x", k, "shape", I32S(first, second, -1, DIM), NULL);
    v = sm_build(b, SM_OP_RESHAPE, NULL, "x", v, "shape", I32S(first, second, -1, DIM), NULL);
    sm_value *s = sm_build(b, SM_OP_MATMUL, NULL, "x", q, "y", k, "transpose_y", yes, NULL);
    s = two(b, SM_OP_MUL, s, f16(b, 0.25));
    if (w == NEGATIVE_CAP || w == CAP_SCALED) {
        s = sm_build(b, SM_OP_TANH, NULL, "x", s, NULL);
        s = two(b, SM_OP_MUL, s, f16(b, w == NEGATIVE_CAP ? -4 : 4));
    }
    if (w == CAP_SCALED)
        s = two(b, SM_OP_MUL, s, f16(b, 2));
    s = two(b, SM_OP_ADD, s, mask);
    if (w == TWO_MASKS)
        s = two(b, SM_OP_ADD, s, mask);
    s = sm_build(b, SM_OP_SOFTMAX, NULL, "x", s, NULL);
    s = two(b, SM_OP_MATMUL, s, v);
    return sm_build(b, SM_OP_RESHAPE, NULL, "x", s, "shape", I32S(1, HEADS, -1, DIM), NULL);
}

static sm_value *paired_rope(sm_builder *b, bool apart, sm_value *x, sm_value *pos);

static sm_func *written_decoder(sm_graph *g, twist w) {
    sm_err err = {0};
    sm_func *f;
    sm_builder builder, *b = &builder;
    written p;
    assert_int_equal(sm_func_new(g, "main", 9, &f, &err), SM_OK);
    sm_build_start(b, f);
    sm_dim n = sm_dim_symbol(g, "n", 1, POSITIONS), kv = sm_dim_symbol(g, "kv", 1, POSITIONS);
    sm_type ids = {.dtype = SM_INT32, .rank = 2, .dims = {1, n}},
            mask = {.dtype = SM_FP16, .rank = 4, .dims = {1, 1, n, kv}};
    sm_type state = {.kind = SM_V_STATE, .dtype = SM_FP16, .rank = 5, .dims = {1, 1, KV, POSITIONS, DIM}};
    p.ids = sm_build_input(b, "inputIds", ids);
    p.mask = sm_build_input(b, "causalMask", mask);
    p.cache[0] = sm_build_input(b, "keyCache", state);
    p.cache[1] = sm_build_input(b, "valueCache", state);
    p.kv = extent(b, p.mask, 3);
    p.past = two(b, SM_OP_SUB, p.kv, extent(b, p.ids, 1));
    sm_value *start = sm_build(b, SM_OP_SQUEEZE, NULL, "x", p.past, NULL);
    sm_value *end = sm_build(b, SM_OP_SQUEEZE, NULL, "x", p.kv, NULL), *one = sm_const_i32(b, 1);
    if (w == OTHER_PAST)
        start = two(b, SM_OP_ADD, start, one), end = two(b, SM_OP_ADD, end, one);
    sm_value *pos = sm_build(b, SM_OP_RANGE_1D, NULL, "start", start, "end", end, "step", one, NULL);
    if (w == IDS_AS_POSITIONS)
        pos = sm_build(b, SM_OP_SQUEEZE, NULL, "x", p.ids, "axes", I32S(0), NULL);
    p.pos = pos;
    sm_value *x = sm_build(b, SM_OP_GATHER, NULL, "x", weights(b, 2, VOCAB, WIDTH), "indices", p.ids, NULL);
    sm_value *h = written_norm(b, w, x);
    sm_value *q = written_rope(b, w, split_heads(b, project(b, h, WIDTH), HEADS), pos);
    sm_value *k = written_rope(b, w, split_heads(b, project(b, h, KV * DIM), KV), pos);
    sm_value *v = split_heads(b, project(b, h, KV * DIM), KV);
    if (w == IN_PAIRS) {
        q = paired_rope(b, false, split_heads(b, project(b, h, WIDTH), HEADS), pos);
        k = paired_rope(b, true, split_heads(b, project(b, h, KV * DIM), KV), pos);
    }
    k = store(b, w, &p, 0, k);
    v = store(b, w == STALE_KEYS || w == SHORT_KEYS || w == SAME_STATE || w >= SCATTERED ? w : RIGHT, &p, 1, v);
    sm_value *m = w == SHORT_KEYS ? NULL : written_mask(b, w, p.mask);
    if (m == NULL) {
        const bool open[4] = {true, true, true, false};
        m = slice(b, p.mask, I32S(0, 0, 0, 0), I32S(0, 0, 0, -1), open, false);
    }
    sm_value *y = written_attention(b, w, q, k, v, m);
    if (w != MIXED_HEADS)
        y = sm_build(b, SM_OP_TRANSPOSE, NULL, "x", y, "perm", I32S(0, 2, 1, 3), NULL);
    y = sm_build(b, SM_OP_RESHAPE, NULL, "x", y, "shape", I32S(1, -1, WIDTH), NULL);
    if (w == INTEGER_STOP)
        y = cast(b, cast(b, y, "int32"), "fp16");
    y = two(b, SM_OP_ADD, x, project(b, y, WIDTH));
    if (w == HIDDEN_TOO)
        sm_build_output(b, project(b, y, WIDTH), "hidden");
    sm_build_output(b, project(b, y, VOCAB), "logits");
    if (sm_build_end(b, &err) != SM_OK)
        fail_msg("twist %d: %s", (int)w, err.msg);
    return f;
}

static void twists(void **state) {
    (void)state;
    for (int w = 0; w < TWISTS; w++) {
        bool right = w == RIGHT || w == RIGHT_TILED || w == CAP_SCALED || w == SCATTERED || w == IN_PAIRS;
        sm_err err = {0};
        sm_graph *g = NULL;
        sm_func *back = NULL;
        sm_raised info;
        assert_int_equal(sm_graph_new(&g, &err), SM_OK);
        sm_func *f = written_decoder(g, (twist)w);
        if (sm_pipeline_raise(f, NULL, &back, &info, &err) != SM_OK)
            fail_msg("twist %d: %s", w, err.msg);
        if (info.ok != right)
            fail_msg("twist %d: %s", w, info.ok ? "is raised" : info.why);
        if (w == CAP_SCALED) {
            double scale = 0, cap = 0;
            for (const sm_node *n = back->body->first; n != NULL; n = n->next)
                if (n->op == SM_OP_ATTENTION) {
                    assert_true(sm_arg_float(n, "scale", &scale));
                    assert_true(sm_arg_float(n, "softcap", &cap));
                }
            assert_true(scale == 2 && cap == 8);
        }
        sm_graph_free(&g);
    }
}

/* ------------------------------------------------------------------ whole texts: programs without caches */
/* The same layer over its call's own tokens, with masks as exporters write them. */
typedef enum text_mask {
    BY_COMPARING,    /* select(key <= row, 0, -40000) */
    BY_HIDING,       /* (key > row) * -40000 */
    BY_DISTANCE,     /* row - key >= 0 */
    BY_NEXT,         /* key < row + 1 */
    BY_WINDOW,       /* row - key in 0..2 */
    BY_BAND,         /* (1 - band_part(ones)) * -40000 */
    BY_UPPER_BAND,   /* full - band_part(full) */
    BY_BOOL_BAND,    /* band_part of true, select */
    BY_CONSTANT,     /* of n tokens */
    BY_CUT_CONSTANT, /* of more of them, cut at n, rows first */
    BY_FLAGS_TOO,    /* flags of the tokens that there are, and key <= row */
    BY_PADDING_TOO,  /* as transformers: where mask + flags is 0 */
    BY_INPUT,
    BY_KEYS_FIRST, /* scores [keys, rows] */
    PAIRS,         /* neighbours turn: every second element, stacked */
    PAIRS_APART,   /* the same of [d / 2, 2] */
    LAST_RIGHT = PAIRS_APART,
    PAIRED_QUERIES, /* keys in halves */
    PAIRED_VALUES,  /* in another order than as they are */
    NOTHING,        /* no mask */
    FLAGS_ALONE,    /* padding only: an encoder */
    TURNED_OVER,    /* row <= key: tokens see those behind them */
    STRICT,         /* key < row: none of itself */
    ONE_MORE,       /* key < row + 2 */
    WINDOW_ALONE,
    LOWER_BAND,    /* hides what is before */
    OPEN_PREFIX,   /* the first two are seen by all */
    HARDLY_HIDDEN, /* -10 */
    WRONG_SOFTMAX, /* over the rows */
    OTHER_ROWS,    /* a rotary position that is not the row's */
    TEXTS
} text_mask;

enum { TEXT = 6 };

typedef struct text {
    sm_dim n;
    sm_value *count, *place; /* n as a scalar; 0, 1 .. n-1 */
    sm_value *flags, *given;
} text;

static sm_value *hide(sm_builder *b, sm_value *seen, double hidden) {
    return sm_build(b, SM_OP_SELECT, NULL, "cond", seen, "a", f16(b, 0), "b", f16(b, hidden), NULL);
}

static sm_value *filled(sm_builder *b, const text *t, double v) {
    sm_value *n = sm_build(b, SM_OP_EXPAND_DIMS, NULL, "x", t->count, "axes", I32S(0), NULL);
    sm_value *two_of[2] = {n, n};
    sm_value *shape = sm_build_list(b, SM_OP_CONCAT, NULL, two_of, 2, "axis", sm_const_i32(b, 0), NULL);
    return sm_build(b, SM_OP_FILL, NULL, "shape", shape, "value", f16(b, v), NULL);
}

static sm_value *band(sm_builder *b, sm_value *x, int32_t lower, int32_t upper) {
    return sm_build(b, SM_OP_BAND_PART, NULL, "x", x, "lower", sm_const_i32(b, lower), "upper", sm_const_i32(b, upper),
                    NULL);
}

static sm_value *constant_mask(sm_builder *b, int64_t n, bool prefix) {
    int64_t dims[2] = {n, n};
    float *x = calloc((size_t)(n * n), sizeof *x);
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = i + 1; k < n; k++)
            x[i * n + k] = prefix && k < 2 ? 0 : -40000;
    sm_value *v = sm_const_data(b, "mask", SM_FP32, 2, dims, x);
    free(x);
    return cast(b, v, "fp16");
}

/* What is added to the scores [.., rows, keys]. */
static sm_value *text_bias(sm_builder *b, text_mask w, const text *t) {
    sm_value *row = sm_build(b, SM_OP_EXPAND_DIMS, NULL, "x", t->place, "axes", I32S(1), NULL), *key = t->place;
    sm_value *back = two(b, SM_OP_SUB, row, key), *zero = sm_const_i32(b, 0), *one = sm_const_i32(b, 1);
    switch (w) {
    case BY_HIDING:
        return two(b, SM_OP_MUL, cast(b, two(b, SM_OP_GREATER, key, row), "fp16"), f16(b, -40000));
    case BY_DISTANCE:
        return hide(b, two(b, SM_OP_GREATER_EQUAL, back, zero), -40000);
    case BY_NEXT:
        return hide(b, two(b, SM_OP_LESS, key, two(b, SM_OP_ADD, row, one)), -40000);
    case ONE_MORE:
        return hide(b, two(b, SM_OP_LESS, key, two(b, SM_OP_ADD, row, sm_const_i32(b, 2))), -40000);
    case BY_WINDOW:
    case WINDOW_ALONE: {
        sm_value *near = two(b, SM_OP_LESS, back, sm_const_i32(b, 3));
        return hide(b, w == WINDOW_ALONE ? near : two(b, SM_OP_LOGICAL_AND, near, two(b, SM_OP_LESS_EQUAL, key, row)),
                    -40000);
    }
    case BY_BAND:
        return two(b, SM_OP_MUL, two(b, SM_OP_SUB, f16(b, 1), band(b, filled(b, t, 1), -1, 0)), f16(b, -40000));
    case LOWER_BAND:
        return two(b, SM_OP_MUL, two(b, SM_OP_SUB, f16(b, 1), band(b, filled(b, t, 1), 0, -1)), f16(b, -40000));
    case BY_UPPER_BAND: {
        sm_value *full = filled(b, t, -40000);
        return two(b, SM_OP_SUB, full, band(b, full, -1, 0));
    }
    case BY_BOOL_BAND:
        return hide(b, band(b, cast(b, filled(b, t, 1), "bool"), -1, 0), -40000);
    case BY_CONSTANT:
    case OPEN_PREFIX:
        return constant_mask(b, TEXT, w == OPEN_PREFIX);
    case BY_CUT_CONSTANT: {
        sm_value *n1 = sm_build(b, SM_OP_EXPAND_DIMS, NULL, "x", t->count, "axes", I32S(0), NULL);
        sm_value *end[2][2] = {{n1, I32S(0)}, {I32S(0), n1}};
        const bool open[2][2] = {{false, true}, {true, false}};
        int64_t dims[2] = {POSITIONS, POSITIONS};
        uint16_t x[POSITIONS * POSITIONS] = {0};
        for (int i = 0; i < POSITIONS; i++)
            for (int k = i + 1; k < POSITIONS; k++)
                x[i * POSITIONS + k] = sm_f32_to_f16(-40000);
        sm_value *v = sm_const_data(b, "mask", SM_FP16, 2, dims, x);
        for (int i = 0; i < 2; i++)
            v = slice(b, v, I32S(0, 0),
                      sm_build_list(b, SM_OP_CONCAT, NULL, end[i], 2, "axis", sm_const_i32(b, 0), NULL), open[i],
                      false);
        return v;
    }
    case FLAGS_ALONE:
    case BY_FLAGS_TOO: {
        sm_value *there = two(b, SM_OP_SUB, f16(b, 1), cast(b, t->flags, "fp16"));
        there = two(b, SM_OP_MUL, there, f16(b, -40000));
        return w == FLAGS_ALONE ? there : two(b, SM_OP_ADD, there, hide(b, two(b, SM_OP_LESS_EQUAL, key, row), -40000));
    }
    case BY_PADDING_TOO: {
        sm_value *m = hide(b, two(b, SM_OP_LESS_EQUAL, key, row), -40000);
        sm_value *padded = two(b, SM_OP_EQUAL, two(b, SM_OP_ADD, m, cast(b, t->flags, "fp16")), f16(b, 0));
        return sm_build(b, SM_OP_SELECT, NULL, "cond", padded, "a", f16(b, -40000), "b", m, NULL);
    }
    case BY_INPUT:
        return t->given;
    case BY_KEYS_FIRST: /* [keys, rows] */
    case TURNED_OVER:
        return hide(b, two(b, SM_OP_GREATER_EQUAL, key, row), -40000);
    case STRICT:
        return hide(b, two(b, SM_OP_LESS, key, row), -40000);
    default:
        return hide(b, two(b, SM_OP_LESS_EQUAL, key, row), w == HARDLY_HIDDEN ? -10 : -40000);
    }
}

/* x [1, heads, n, d], whose neighbours turn. */
static sm_value *paired_rope(sm_builder *b, bool apart, sm_value *x, sm_value *pos) {
    static const float f[DIM / 2] = {1, 0.5, 0.25, 0.125};
    const int64_t n = DIM / 2;
    const bool open[4] = {true, true, true, true};
    int32_t heads = (int32_t)x->type.dims[1];
    sm_value *angle = sm_build(b, SM_OP_EXPAND_DIMS, NULL, "x", cast(b, pos, "fp32"), "axes", I32S(-1), NULL), *part[2];
    angle = two(b, SM_OP_MUL, angle, sm_const_data(b, "f", SM_FP32, 1, &n, f));
    sm_value *c = cast(b, sm_build(b, SM_OP_COS, NULL, "x", angle, NULL), "fp16");
    sm_value *s = cast(b, sm_build(b, SM_OP_SIN, NULL, "x", angle, NULL), "fp16");
    sm_value *in_two = sm_build(b, SM_OP_RESHAPE, NULL, "x", x, "shape", I32S(1, heads, -1, DIM / 2, 2), NULL);
    for (int i = 0; i < 2; i++)
        part[i] =
            apart ? sm_build(b, SM_OP_GATHER, NULL, "x", in_two, "indices", sm_const_i32(b, i), "axis",
                             sm_const_i32(b, 4), NULL)
                  : sm_build(b, SM_OP_SLICE_BY_INDEX, NULL, "x", x, "begin", I32S(0, 0, 0, i), "end", I32S(0, 0, 0, 0),
                             "stride", I32S(1, 1, 1, 2), "end_mask", sm_const_bools(b, open, 4), NULL);
    sm_value *turned[2] = {two(b, SM_OP_SUB, two(b, SM_OP_MUL, part[0], c), two(b, SM_OP_MUL, part[1], s)),
                           two(b, SM_OP_ADD, two(b, SM_OP_MUL, part[1], c), two(b, SM_OP_MUL, part[0], s))};
    x = sm_build_list(b, SM_OP_STACK, NULL, turned, 2, "axis", sm_const_i32(b, -1), NULL);
    return sm_build(b, SM_OP_RESHAPE, NULL, "x", x, "shape", I32S(1, heads, -1, DIM), NULL);
}

static sm_value *text_attention(sm_builder *b, text_mask w, const text *t, sm_value *q, sm_value *k, sm_value *v) {
    sm_value *yes = sm_const_bool(b, true);
    k = tiled(b, RIGHT_TILED, k);
    v = tiled(b, RIGHT_TILED, v);
    bool turned = w == BY_KEYS_FIRST;
    sm_value *s = sm_build(b, SM_OP_MATMUL, NULL, "x", turned ? k : q, "y", turned ? q : k, "transpose_y", yes, NULL);
    s = two(b, SM_OP_MUL, s, f16(b, 0.25));
    if (w != NOTHING)
        s = two(b, SM_OP_ADD, s, text_bias(b, w, t));
    s = sm_build(b, SM_OP_SOFTMAX, NULL, "x", s, "axis", sm_const_i32(b, turned || w == WRONG_SOFTMAX ? -2 : -1), NULL);
    return turned ? sm_build(b, SM_OP_MATMUL, NULL, "x", s, "y", v, "transpose_x", yes, NULL)
                  : two(b, SM_OP_MATMUL, s, v);
}

static sm_func *text_decoder(sm_graph *g, text_mask w, bool fixed) {
    sm_err err = {0};
    sm_func *f;
    sm_builder builder, *b = &builder;
    text t = {0};
    assert_int_equal(sm_func_new(g, "main", 9, &f, &err), SM_OK);
    sm_build_start(b, f);
    t.n = fixed ? TEXT : sm_dim_symbol(g, "n", 1, POSITIONS);
    sm_dim n2 = fixed ? TEXT : sm_dim_symbol(g, "n2", 1, POSITIONS);
    sm_value *ids = sm_build_input(b, "input_ids", (sm_type){.dtype = SM_INT32, .rank = 2, .dims = {1, t.n}});
    if (w == FLAGS_ALONE || w == BY_FLAGS_TOO || w == BY_PADDING_TOO)
        t.flags = sm_build_input(b, "attention_mask", (sm_type){.dtype = SM_INT32, .rank = 2, .dims = {1, n2}});
    if (w == BY_INPUT)
        t.given = sm_build_input(b, "mask", (sm_type){.dtype = SM_FP16, .rank = 4, .dims = {1, 1, n2, n2}});
    sm_value *one = sm_const_i32(b, 1);
    t.count = sm_build(b, SM_OP_SQUEEZE, NULL, "x", extent(b, ids, 1), NULL);
    t.place = sm_build(b, SM_OP_RANGE_1D, NULL, "start", sm_const_i32(b, 0), "end", t.count, "step", one, NULL);
    sm_value *pos = w == OTHER_ROWS ? two(b, SM_OP_ADD, t.place, one) : t.place;
    sm_value *x = sm_build(b, SM_OP_GATHER, NULL, "x", weights(b, 2, VOCAB, WIDTH), "indices", ids, NULL);
    sm_value *h = written_norm(b, RIGHT, x);
    sm_value *q = written_rope(b, RIGHT, split_heads(b, project(b, h, WIDTH), HEADS), pos);
    sm_value *k = written_rope(b, RIGHT, split_heads(b, project(b, h, KV * DIM), KV), pos);
    sm_value *v = split_heads(b, project(b, h, KV * DIM), KV);
    if (w == PAIRS || w == PAIRS_APART || w == PAIRED_QUERIES)
        q = paired_rope(b, w == PAIRS_APART, split_heads(b, project(b, h, WIDTH), HEADS), pos);
    if (w == PAIRS || w == PAIRS_APART)
        k = paired_rope(b, w == PAIRS_APART, split_heads(b, project(b, h, KV * DIM), KV), pos);
    if (w == PAIRED_VALUES)
        v = paired_rope(b, false, v, pos);
    sm_value *y = text_attention(b, w, &t, q, k, v);
    y = sm_build(b, SM_OP_TRANSPOSE, NULL, "x", y, "perm", I32S(0, 2, 1, 3), NULL);
    y = sm_build(b, SM_OP_RESHAPE, NULL, "x", y, "shape", I32S(1, -1, WIDTH), NULL);
    y = two(b, SM_OP_ADD, x, project(b, y, WIDTH));
    sm_build_output(b, project(b, y, VOCAB), "logits");
    if (sm_build_end(b, &err) != SM_OK)
        fail_msg("text %d: %s", (int)w, err.msg);
    return f;
}

static const int32_t text_ids[TEXT] = {5, 17, 3, 3, 29, 8};

static void put(sm_arrays *in, const char *name, sm_dtype t, int rank, const int64_t *dims) {
    sm_err err = {0};
    sm_array *a = sm_arrays_add(in);
    if (a == NULL || sm_array_new(a, name, t, rank, dims, &err) != SM_OK)
        fail_msg("input %s: %s", name, err.msg);
}

/* Logits [TEXT, VOCAB] of the program as written. */
static void run_text(const sm_func *f, float *logits) {
    sm_err err = {0};
    const sm_backend *be = NULL;
    sm_exe *e = NULL;
    sm_limits lim = {.max_rows = TEXT, .max_ctx = POSITIONS, .n_threads = 1};
    sm_arrays in = {0}, out = {0};
    sm_states st = {0};
    put(&in, "input_ids", SM_INT32, 2, (int64_t[]){1, TEXT});
    memcpy(in.v[0].data, text_ids, sizeof text_ids);
    for (int i = 1; i < f->body->n_in; i++) {
        bool flags = f->body->in[i]->type.rank == 2;
        put(&in, f->body->in[i]->name, flags ? SM_INT32 : SM_FP32, flags ? 2 : 4,
            flags ? (int64_t[]){1, TEXT} : (int64_t[]){1, 1, TEXT, TEXT});
        for (int k = 0; k < (flags ? TEXT : TEXT * TEXT); k++)
            if (flags)
                ((int32_t *)in.v[in.n - 1].data)[k] = 1;
            else
                ((float *)in.v[in.n - 1].data)[k] = k % TEXT <= k / TEXT ? 0 : -40000;
    }
    if (sm_backend_pick("ref", f, &be, &err) != SM_OK || be->compile(f, &lim, &e, &err) != SM_OK ||
        be->run(e, &in, &st, &out, &err) != SM_OK || sm_array_cast(&out.v[0], SM_FP32, &err) != SM_OK)
        fail_msg("as written: %s", err.msg);
    memcpy(logits, out.v[0].data, (size_t)TEXT * VOCAB * sizeof *logits);
    sm_arrays_free(&in);
    sm_arrays_free(&out);
    be->free(&e);
}

/* The same of the row form. */
static void run_rows(const sm_func *f, float *logits) {
    sm_err err = {0};
    const sm_backend *be = NULL;
    sm_exe *e = NULL;
    sm_limits lim = {.max_rows = TEXT,
                     .max_out = TEXT,
                     .max_ctx = POSITIONS,
                     .max_seqs = 1,
                     .page_tokens = POSITIONS,
                     .n_pages = 1,
                     .n_threads = 1};
    int32_t pos[TEXT], page = 0;
    for (int i = 0; i < TEXT; i++)
        pos[i] = i;
    sm_batch_seq seq = {.row0 = 0, .n_rows = TEXT, .past = 0, .pages = &page};
    sm_batch b = {.n_rows = TEXT, .ids = text_ids, .pos = pos, .n_seqs = 1, .seqs = &seq, .n_out = TEXT, .out = pos};
    if (sm_backend_pick("ref", f, &be, &err) != SM_OK || be->compile(f, &lim, &e, &err) != SM_OK ||
        be->run_rows(e, &b, logits, &err) != SM_OK)
        fail_msg("row form: %s", err.msg);
    be->free(&e);
}

static void same_logits(const char *what, int which, const sm_func *as_is, const sm_func *rows) {
    static float want[TEXT * VOCAB], got[TEXT * VOCAB];
    double worst = 0, top = 0;
    run_text(as_is, want);
    run_rows(rows, got);
    for (int i = 0; i < TEXT * VOCAB; i++) {
        worst = fmax(worst, fabs((double)want[i] - (double)got[i]));
        top = fmax(top, fabs((double)want[i]));
    }
    if (!(worst <= 1e-3 * top) || !(top > 0))
        fail_msg("%s %d: difference %g of %g", what, which, worst, top);
}

static void texts(void **state) {
    (void)state;
    for (int i = 0; i < 2 * TEXTS; i++) {
        text_mask w = (text_mask)(i / 2);
        bool fixed = i % 2 == 1, constant = w == BY_CONSTANT || w == OPEN_PREFIX;
        sm_err err = {0};
        sm_graph *g = NULL;
        sm_func *back = NULL;
        sm_raised info;
        if (constant && !fixed)
            continue;
        assert_int_equal(sm_graph_new(&g, &err), SM_OK);
        sm_func *f = text_decoder(g, w, fixed);
        if (sm_pipeline_raise(f, NULL, &back, &info, &err) != SM_OK)
            fail_msg("text %d: %s", (int)w, err.msg);
        if (info.ok != (w <= LAST_RIGHT))
            fail_msg("text %d, %s: %s", (int)w, fixed ? "fixed" : "flexible", info.ok ? "is raised" : info.why);
        if (info.ok) {
            assert_int_equal(info.ctx, fixed ? TEXT : POSITIONS);
            same_logits("text", (int)w, f, back);
        } else if (w == NOTHING || w == FLAGS_ALONE) {
            assert_non_null(strstr(info.why, "as in an encoder"));
        }
        sm_graph_free(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identity_gpu),        cmocka_unit_test(identity_kv_io), cmocka_unit_test(identity_ane),
        cmocka_unit_test(identity_whole_text), cmocka_unit_test(texts),          cmocka_unit_test(not_raised),
        cmocka_unit_test(many_inputs),         cmocka_unit_test(twists),         cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
