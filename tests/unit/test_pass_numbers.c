/* SPDX-License-Identifier: MIT
 *
 * test_pass_numbers.c: lowered programs, run as written by `ref`, give the numbers of the row form, run by `ref`: the
 * definition of every composite, and every KV form fed the way a host feeds it (prefill, then steps).  And programs that
 * are almost a decoder are refused by raising, or raised to what they are: SMELT_TEST_MUTANTS=4000@100 tries 4000 of them
 * from the 100th on.
 */
#include "tiny_model.h"

#include "backend/backend.h"
#include "pass/pass.h"
#include "sweep.h"

enum { CTX = 32, PROMPT = 11, STEPS = 4, TOTAL = PROMPT + STEPS, MAX_VOCAB = 128 };

static const int32_t tokens[TOTAL] = {5, 17, 3, 3, 29, 8, 0, 31, 12, 7, 22, 9, 1, 30, 4};

/* The larger; NaN stays, so that it never passes. */
static double worse(double worst, double d) {
    return worst >= d || isnan(worst) ? worst : d;
}

static sm_func *build(const tiny_spec *z, sm_graph **g) {
    sm_err err = {0};
    if (tiny_model(z, g, &err) != SM_OK)
        fail_msg("model %d: %s", (int)z->seed, err.msg);
    return sm_graph_func(*g, NULL);
}

/* Logits of every row of the whole text in one step of row form. */
static void run_rows(const sm_func *f, float *logits) {
    sm_err err = {0};
    const sm_backend *be = NULL;
    sm_exe *e = NULL;
    sm_limits lim = {.max_rows = TOTAL,
                     .max_out = TOTAL,
                     .max_ctx = CTX,
                     .max_seqs = 1,
                     .page_tokens = 16,
                     .n_pages = 2,
                     .n_threads = 1};
    int32_t pos[TOTAL], pages[2] = {1, 0};
    for (int i = 0; i < TOTAL; i++)
        pos[i] = i;
    sm_batch_seq seq = {.row0 = 0, .n_rows = TOTAL, .past = 0, .pages = pages};
    sm_batch b = {.n_rows = TOTAL, .ids = tokens, .pos = pos, .n_seqs = 1, .seqs = &seq, .n_out = TOTAL, .out = pos};
    if (sm_backend_pick("ref", f, &be, &err) != SM_OK || be->compile(f, &lim, &e, &err) != SM_OK ||
        be->run_rows(e, &b, logits, &err) != SM_OK)
        fail_msg("row form: %s", err.msg);
    be->free(&e);
}

static void put(sm_arrays *in, const char *name, sm_dtype t, int rank, const int64_t *dims) {
    sm_err err = {0};
    sm_array *a = sm_arrays_add(in);
    if (a == NULL || sm_array_new(a, name, t, rank, dims, &err) != SM_OK)
        fail_msg("input %s: %s", name, err.msg);
}

/* A mask by what it is said to be: 0 where a row sees a key, [1, 1, n, keys] or with channels first [1, keys, 1, n]. */
static void feed_mask(sm_arrays *in, const sm_profile *p, const char *name, int64_t window, int past, int n) {
    int keys = p->kv == SM_KV_STATE ? past + n : CTX + n;
    bool across = p->axes == SM_AXES_CHANNELS;
    put(in, name, SM_FP32, 4, across ? (int64_t[]){1, keys, 1, n} : (int64_t[]){1, 1, n, keys});
    float *m = in->v[in->n - 1].data;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < keys; k++) {
            int at = p->kv == SM_KV_STATE || k < CTX ? k : past + k - CTX; /* the key's position */
            bool there = p->kv == SM_KV_STATE || k < past || k >= CTX;
            bool seen = there && at <= past + i && (window <= 0 || past + i - at < window);
            m[across ? k * n + i : i * keys + k] = seen ? 0 : -INFINITY;
        }
}

static void feed_turn(sm_arrays *in, const sm_lowered_turn *t, bool sine, int past, int n) {
    int half = (int)t->inv_freq->type.dims[0];
    const float *f = (const float *)(const void *)t->inv_freq->cst->src.part[SM_PART_DATA].p;
    put(in, sine ? t->sin : t->cos, SM_FP32, 4, (int64_t[]){1, 2 * half, 1, n});
    float *x = in->v[in->n - 1].data;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < 2 * half; k++) {
            double angle = (double)((float)(past + i) * f[k % half]);
            x[k * n + i] = (float)((sine ? sin(angle) : cos(angle)) * t->scale);
        }
}

/* ids (and positions) of tokens [past, past + n), masks and turns as the notes of the lowering say. */
static void feed(sm_arrays *in, const sm_profile *p, const sm_lowered *notes, int past, int n) {
    put(in, "inputIds", SM_INT32, 2, (int64_t[]){1, n});
    memcpy(in->v[in->n - 1].data, tokens + past, (size_t)n * 4);
    for (int i = 0; i < notes->n_masks; i++)
        feed_mask(in, p, notes->mask[i].name, notes->mask[i].window, past, n);
    for (int i = 0; i < 2 * notes->n_turns; i++)
        feed_turn(in, &notes->turn[i / 2], i % 2 == 1, past, n);
    if (p->kv != SM_KV_IO || (p->turns == SM_PLACE_GIVEN && p->mask == SM_PLACE_GIVEN))
        return;
    put(in, "positionIds", SM_INT32, 2, (int64_t[]){1, n});
    for (int i = 0; i < n; i++)
        ((int32_t *)in->v[in->n - 1].data)[i] = past + i;
}

/* New columns into the cache: [slots, 1, heads, n, d] into [.., CTX, d], or [slots, 1, heads * d, 1, n] into [.., CTX]. */
static void write_columns(sm_array *cache, const sm_array *fresh, int past, int n) {
    const float *x = fresh->data;
    float *y = cache->data;
    int64_t outer = cache->dims[0] * cache->dims[2], d = cache->dims[4];
    if (cache->dims[3] == 1)
        d = 1;
    for (int64_t o = 0; o < outer; o++)
        memcpy(y + (o * CTX + past) * d, x + o * n * d, (size_t)(n * d) * sizeof *x);
}

typedef struct host {
    const sm_backend *be;
    sm_exe *e;
    sm_states st;
    sm_arrays cache; /* io form */
} host;

/* Logits of n rows, in one output or in pieces logits1, logits2 ...; with channels first [1, vocab, 1, n]. */
static sm_status read_logits(const sm_profile *p, sm_arrays *out, int n, int vocab, float *to, sm_err *err) {
    int at = 0;
    for (int piece = 0; at < vocab; piece++) {
        char name[32] = "logits";
        if (piece > 0)
            snprintf(name, sizeof name, "logits%d", piece);
        sm_array *y = sm_arrays_find(out, name);
        if (y == NULL && piece == 0)
            continue;
        assert_non_null(y);
        SM_TRY(sm_array_cast(y, SM_FP32, err));
        int rows = (int)(sm_array_numel(y) / (uint64_t)n);
        if (sm_array_numel(y) != (uint64_t)n * (uint64_t)rows || at + rows > vocab || (piece == 0 && rows != vocab))
            return SM_FAIL(err, SM_FAILED, "logits of another size");
        for (int i = 0; i < n; i++)
            for (int k = 0; k < rows; k++)
                to[i * vocab + at + k] =
                    ((const float *)y->data)[p->axes == SM_AXES_CHANNELS ? k * n + i : i * rows + k];
        at += rows;
    }
    return SM_OK;
}

static sm_status call(host *h, const sm_profile *p, const sm_lowered *notes, int past, int n, float *logits, int vocab,
                      sm_err *err) {
    sm_arrays in = {0}, out = {0};
    feed(&in, p, notes, past, n);
    for (size_t i = 0; i < h->cache.n; i++) {
        sm_array *a = sm_arrays_add(&in);
        if (sm_array_copy(a, &h->cache.v[i], err) != SM_OK)
            fail_msg("%s", err->msg);
    }
    sm_status st = h->be->run(h->e, &in, &h->st, &out, err);
    if (st == SM_OK)
        st = read_logits(p, &out, n, vocab, logits + (size_t)past * (size_t)vocab, err);
    if (st == SM_OK && p->kv == SM_KV_IO) {
        write_columns(sm_arrays_find(&h->cache, "keyCache"), sm_arrays_find(&out, "newKeys"), past, n);
        write_columns(sm_arrays_find(&h->cache, "valueCache"), sm_arrays_find(&out, "newValues"), past, n);
    }
    sm_arrays_free(&in);
    sm_arrays_free(&out);
    return st;
}

static sm_status open_host(host *h, const sm_func *f, const sm_profile *p, sm_err *err) {
    sm_limits lim = {.max_rows = TOTAL, .max_ctx = CTX, .n_threads = 1};
    memset(h, 0, sizeof *h);
    SM_TRY(sm_backend_pick("ref", f, &h->be, err));
    SM_TRY(h->be->compile(f, &lim, &h->e, err));
    for (int i = 0; i < f->body->n_in && p->kv == SM_KV_IO; i++)
        if (f->body->in[i]->type.rank == 5)
            put(&h->cache, f->body->in[i]->name, SM_FP32, 5, f->body->in[i]->type.dims);
    return SM_OK;
}

static void close_host(host *h) {
    if (h->be != NULL)
        h->be->free(&h->e);
    sm_arrays_free(&h->st.a);
    sm_arrays_free(&h->cache);
}

/* The whole text through the program: a prefill, then steps. */
static sm_status run_written(const sm_func *f, const sm_profile *p, const sm_lowered *notes, int prefill, int step,
                             int total, int vocab, float *logits, sm_err *err) {
    host h;
    sm_status st = open_host(&h, f, p, err);
    if (st == SM_OK)
        st = call(&h, p, notes, 0, prefill, logits, vocab, err);
    for (int past = prefill; past < total && st == SM_OK; past += step)
        st = call(&h, p, notes, past, step, logits, vocab, err);
    close_host(&h);
    return st;
}

static void compare(const tiny_spec *z, const char *what, const float *want, const float *got, double tol) {
    double worst = 0, top = 0;
    for (int i = 0; i < TOTAL * z->vocab; i++) {
        worst = worse(worst, fabs((double)want[i] - (double)got[i]));
        top = worse(top, fabs((double)want[i]));
        if (!isfinite(got[i]))
            fail_msg("model %d, %s: logit %d is not finite", (int)z->seed, what, i);
    }
    if (worst > tol * top)
        fail_msg("model %d, %s: max |difference| %g of max |logit| %g: over %g", (int)z->seed, what, worst, top, tol);
}

static void lowered(const tiny_spec *z, const char *profile, int prefill, int step, double tol) {
    static float want[TOTAL * MAX_VOCAB], got[TOTAL * MAX_VOCAB];
    sm_err err = {0};
    sm_graph *g = NULL;
    sm_func *f = build(z, &g);
    run_rows(f, want);
    sm_profile p = *sm_profile_find(profile);
    p.ctx = p.kv == SM_KV_NONE ? 0 : CTX;
    sm_profile_tokens(&p, p.shape == SM_SHAPE_RANGE ? p.ctx : step);
    if (p.head_rows > 0) {
        p.head_rows = 24; /* several pieces */
        p.quant = SM_QUANT_NONE;
    }
    const char *name = f->name;
    sm_lowered notes = {0};
    sm_status st =
        p.kv == SM_KV_NONE ? sm_pass_decompose(f, &f, &err) : sm_pipeline_package(f, &p, &name, 1, &f, &notes, &err);
    if (st != SM_OK || sm_verify_func(f, &err) != SM_OK)
        fail_msg("model %d as %s: %s", (int)z->seed, profile, err.msg);
    if (run_written(f, &p, &notes, prefill, step, TOTAL, z->vocab, got, &err) != SM_OK)
        fail_msg("model %d as %s, as written: %s", (int)z->seed, profile, err.msg);
    compare(z, profile, want, got, tol);
    sm_graph_free(&g);
}

static void decomposed(void **state) {
    (void)state;
    for (size_t i = 0; i < SM_ARRAY_LEN(tiny_specs); i++)
        lowered(&tiny_specs[i], "plain", TOTAL, 1, 2e-5);
}

/* fp16 states, fp16 weights and norms: the rest is f32 in `ref`. */
static void states(void **state) {
    (void)state;
    for (size_t i = 0; i < SM_ARRAY_LEN(tiny_specs); i++) {
        lowered(&tiny_specs[i], "gpu", PROMPT, 1, 4e-3);
        lowered(&tiny_specs[i], "gpu", 1, 1, 4e-3);
    }
}

static void caches_as_inputs(void **state) {
    (void)state;
    for (size_t i = 0; i < SM_ARRAY_LEN(tiny_specs); i++) {
        lowered(&tiny_specs[i], "kv-io", 1, 1, 4e-3);
        lowered(&tiny_specs[i], "kv-io", 5, 5, 4e-3);
        lowered(&tiny_specs[i], "ane", 1, 1, 1e-2);
        lowered(&tiny_specs[i], "ane", 5, 5, 1e-2);
    }
}

/* ------------------------------------------------------------------ the same program in other words */
typedef enum words {
    SUMS,
    POWERS,
    ROOTS,
    PRODUCTS,
    CONVOLUTIONS,
    SIGMOIDS,
    EXPONENTS,       /* silu as x / (1 + e^-x) */
    INVERSES,        /* as x * (1 / (1 + e^-x)) */
    ERRORS,          /* gelu by erf or tanh, 1 / 2 first */
    ERRORS_HALVED,   /* 1 / 2 last, x^3 as x (1 + x^2) */
    EIGHTHS,         /* squares of x / 8 */
    EIGHTHS_TURNED,  /* and that is what is turned to length 1 */
    TOPS,            /* squares of x / max |x| */
    SCATTERS,        /* caches by scatter, */
    SCATTERS_ALONG,  /* scatter_along_axis, */
    SCATTERS_BEHIND, /* scatter_nd */
    WORDS
} words;

static sm_value *scalar(sm_builder *b, sm_dtype t, double v) {
    return sm_const_f(b, t, v);
}

static sm_value *axes(sm_builder *b, int n, const int32_t *v) {
    return sm_const_i32s(b, v, n);
}

/* linear over [1, n, d] as a 1x1 convolution of [1, d, 1, n] */
static sm_value *as_conv(sm_builder *b, sm_value *x, sm_value *w, sm_value *bias) {
    static const int32_t third[1] = {2}, turn[3] = {0, 2, 1};
    x = sm_build(b, SM_OP_TRANSPOSE, NULL, "x", x, "perm", axes(b, 3, turn), NULL);
    x = sm_build(b, SM_OP_EXPAND_DIMS, NULL, "x", x, "axes", axes(b, 1, third), NULL);
    x = sm_build(b, SM_OP_CONV, NULL, "x", x, "weight", sm_const_behind(b, w, 2), "bias", bias, NULL);
    x = sm_build(b, SM_OP_SQUEEZE, NULL, "x", x, "axes", axes(b, 1, third), NULL);
    return sm_build(b, SM_OP_TRANSPOSE, NULL, "x", x, "perm", axes(b, 3, turn), NULL);
}

static sm_value *pair(sm_builder *b, sm_op op, sm_value *x, sm_value *y) {
    return sm_build(b, op, NULL, "x", x, "y", y, NULL);
}

static sm_value *written_silu(sm_builder *b, words w, sm_value *x) {
    sm_value *e = sm_build(b, SM_OP_EXP, NULL, "x", pair(b, SM_OP_MUL, x, scalar(b, x->type.dtype, -1)), NULL);
    e = pair(b, SM_OP_ADD, e, scalar(b, x->type.dtype, 1));
    return w == EXPONENTS ? pair(b, SM_OP_REAL_DIV, x, e)
                          : pair(b, SM_OP_MUL, pair(b, SM_OP_REAL_DIV, scalar(b, x->type.dtype, 1), e), x);
}

static sm_value *written_gelu(sm_builder *b, words w, sm_value *x, bool tanh) {
    sm_dtype t = x->type.dtype;
    sm_value *u, *one = scalar(b, t, 1), *half = scalar(b, t, 0.5);
    if (tanh && w == ERRORS) {
        u = pair(b, SM_OP_MUL, pair(b, SM_OP_POW, x, scalar(b, t, 3)), scalar(b, t, 0.044715));
        u = pair(b, SM_OP_ADD, x, u);
    } else if (tanh) {
        u = pair(b, SM_OP_MUL, pair(b, SM_OP_MUL, x, x), scalar(b, t, 0.044715));
        u = pair(b, SM_OP_MUL, x, pair(b, SM_OP_ADD, u, one));
    } else {
        u = x;
    }
    u = tanh          ? pair(b, SM_OP_MUL, u, scalar(b, t, 0.7978845608))
        : w == ERRORS ? pair(b, SM_OP_MUL, u, scalar(b, t, sqrt(0.5)))
                      : pair(b, SM_OP_REAL_DIV, u, scalar(b, t, sqrt(2)));
    u = pair(b, SM_OP_ADD, sm_build(b, tanh ? SM_OP_TANH : SM_OP_ERF, NULL, "x", u, NULL), one);
    return w == ERRORS ? pair(b, SM_OP_MUL, pair(b, SM_OP_MUL, x, half), u)
                       : pair(b, SM_OP_MUL, pair(b, SM_OP_MUL, x, u), half);
}

/* What the squares of a norm are of instead of x. */
static sm_value *scaled_row(sm_builder *b, words w, sm_value *x) {
    static const int32_t last[1] = {-1};
    if (w != TOPS)
        return pair(b, SM_OP_MUL, x, scalar(b, x->type.dtype, 0.125));
    sm_value *top = sm_build(b, SM_OP_REDUCE_MAX, NULL, "x", sm_build(b, SM_OP_ABS, NULL, "x", x, NULL), "axes",
                             axes(b, 1, last), "keep_dims", sm_const_bool(b, true), NULL);
    return pair(b, SM_OP_REAL_DIV, x, pair(b, SM_OP_MAXIMUM, top, scalar(b, x->type.dtype, 1e-6)));
}

static sm_value *reword_norm(sm_builder *b, words w, const sm_node *n, sm_value *x) {
    static sm_value *of, *now;
    if (n->op != SM_OP_MUL)
        return NULL;
    if (sm_arg(n, "x") == sm_arg(n, "y")) {
        of = x;
        now = scaled_row(b, w, x);
        return pair(b, SM_OP_MUL, now, now);
    }
    return sm_arg(n, "y")->def != NULL && sm_arg(n, "y")->def->op == SM_OP_RSQRT && of == x && w != EIGHTHS
               ? now /* to be multiplied */
               : NULL;
}

static const sm_node *find(const sm_func *f, sm_op op) {
    const sm_node *n = f->body->first;
    while (n != NULL && n->op != op)
        n = n->next;
    return n;
}

/* x [slots, 1, heads, positions, d] with update [1, heads, n, d] at the rows' positions of a slot. */
static sm_value *scattered(sm_builder *b, words w, const sm_node *n, sm_value *x, sm_value *update) {
    static const int32_t first[1] = {0}, to_front[5] = {3, 0, 1, 2, 4}, back[5] = {1, 2, 3, 0, 4};
    static const bool rest[5] = {false, true, true, true, true};
    int32_t slot = (int32_t)sm_arg(n, "begin")->sym[0], lo[5] = {slot}, hi[5] = {slot + 1};
    int32_t one_column[5] = {1, 1, 1, -1, 1}, reps[5] = {1, 1, (int32_t)x->type.dims[2], 1, (int32_t)x->type.dims[4]};
    sm_value *at = find(b->f, SM_OP_RANGE_1D)->out[0], *mode = sm_const_str(b, "update"), *y;
    sm_value *begin = axes(b, 5, lo), *end = axes(b, 5, hi), *open = sm_const_bools(b, rest, 5);
    x = sm_build(b, SM_OP_SLICE_BY_INDEX, NULL, "x", x, "begin", begin, "end", end, "end_mask", open, NULL);
    update = sm_build(b, SM_OP_EXPAND_DIMS, NULL, "x", update, "axes", axes(b, 1, first), NULL);
    if (w == SCATTERS) {
        y = sm_build(b, SM_OP_SCATTER, NULL, "data", x, "indices", at, "updates", update, "axis", sm_const_i32(b, 3),
                     "mode", mode, NULL);
    } else if (w == SCATTERS_ALONG) {
        at = sm_build(b, SM_OP_RESHAPE, NULL, "x", at, "shape", axes(b, 5, one_column), NULL);
        at = sm_build(b, SM_OP_TILE, NULL, "x", at, "reps", axes(b, 5, reps), NULL);
        y = sm_build(b, SM_OP_SCATTER_ALONG_AXIS, NULL, "data", x, "indices", at, "updates", update, "axis",
                     sm_const_i32(b, 3), "mode", mode, NULL);
    } else {
        static const int32_t behind[1] = {1};
        at = sm_build(b, SM_OP_EXPAND_DIMS, NULL, "x", at, "axes", axes(b, 1, behind), NULL);
        x = sm_build(b, SM_OP_TRANSPOSE, NULL, "x", x, "perm", axes(b, 5, to_front), NULL);
        update = sm_build(b, SM_OP_TRANSPOSE, NULL, "x", update, "perm", axes(b, 5, to_front), NULL);
        y = sm_build(b, SM_OP_SCATTER_ND, NULL, "data", x, "indices", at, "updates", update, "mode", mode, NULL);
        y = sm_build(b, SM_OP_TRANSPOSE, NULL, "x", y, "perm", axes(b, 5, back), NULL);
    }
    return y;
}

/* n in other words; NULL: as it is. */
static sm_value *reword(sm_builder *b, words w, const sm_node *n, sm_value *x, sm_value **map) {
    sm_value *v;
    sm_dtype t = x != NULL ? x->type.dtype : SM_FP32;
    if ((w == EXPONENTS || w == INVERSES) && n->op == SM_OP_SILU)
        return written_silu(b, w, x);
    if ((w == ERRORS || w == ERRORS_HALVED) && n->op == SM_OP_GELU) {
        sm_sv mode = {0};
        return sm_arg_str(n, "mode", &mode) ? written_gelu(b, w, x, sm_sv_is(mode, "TANH_APPROXIMATION")) : NULL;
    }
    if (w >= EIGHTHS && w <= TOPS) {
        v = reword_norm(b, w, n, x);
        return v != NULL && sm_arg(n, "x") != sm_arg(n, "y") ? pair(b, SM_OP_MUL, v, sm_map_value(map, sm_arg(n, "y")))
                                                             : v;
    }
    if (w >= SCATTERS && n->op == SM_OP_SLICE_UPDATE) {
        static const bool rest[5] = {false, true, true, true, true};
        int32_t slot = (int32_t)sm_arg(n, "begin")->sym[0], lo[5] = {slot}, hi[5] = {slot + 1};
        v = scattered(b, w, n, x, sm_map_value(map, sm_arg(n, "update")));
        return sm_build(b, SM_OP_SLICE_UPDATE, NULL, "x", x, "update", v, "begin", axes(b, 5, lo), "end",
                        axes(b, 5, hi), "end_mask", sm_const_bools(b, rest, 5), NULL);
    }
    if (w == SUMS && n->op == SM_OP_REDUCE_MEAN) {
        v = sm_build(b, SM_OP_REDUCE_SUM, NULL, "x", x, "axes", sm_arg(n, "axes"), "keep_dims", sm_arg(n, "keep_dims"),
                     NULL);
        return sm_build(b, SM_OP_REAL_DIV, NULL, "x", v, "y", scalar(b, t, (double)x->type.dims[x->type.rank - 1]),
                        NULL);
    }
    if (w == POWERS && n->op == SM_OP_RSQRT)
        return sm_build(b, SM_OP_POW, NULL, "x", x, "y", scalar(b, t, -0.5), NULL);
    if (w == ROOTS && n->op == SM_OP_RSQRT) {
        v = sm_build(b, SM_OP_SQRT, NULL, "x", x, NULL);
        return sm_build(b, SM_OP_REAL_DIV, NULL, "x", scalar(b, t, 1), "y", v, NULL);
    }
    if (w == SIGMOIDS && n->op == SM_OP_SILU) {
        v = sm_build(b, SM_OP_SIGMOID, NULL, "x", x, NULL);
        return sm_build(b, SM_OP_MUL, NULL, "x", v, "y", x, NULL);
    }
    if (n->op != SM_OP_LINEAR || x == NULL || x->type.rank != 3)
        return NULL;
    if (w == PRODUCTS)
        return sm_build(b, SM_OP_MATMUL, NULL, "x", x, "y", sm_arg(n, "weight"), "transpose_y", sm_const_bool(b, true),
                        NULL);
    return w == CONVOLUTIONS ? as_conv(b, x, sm_arg(n, "weight"), sm_arg(n, "bias")) : NULL;
}

static sm_func *reworded(sm_func *f, words w, int *n_changed) {
    sm_err err = {0};
    sm_func *to = NULL;
    sm_builder b;
    sm_value **map = calloc((size_t)f->graph->n_values * 4 + 64, sizeof *map);
    assert_int_equal(sm_func_new(f->graph, "reworded", f->opset, &to, &err), SM_OK);
    sm_build_start(&b, to);
    for (int i = 0; i < f->body->n_in; i++)
        map[f->body->in[i]->id] = sm_build_input(&b, f->body->in[i]->name, f->body->in[i]->type);
    for (const sm_node *n = f->body->first; n != NULL; n = n->next) {
        sm_value *x = sm_op_slot(n->op, "x") == 0 ? sm_map_value(map, sm_arg(n, "x")) : NULL;
        sm_value *y = reword(&b, w, n, x, map);
        *n_changed += y != NULL;
        if (y != NULL)
            map[n->out[0]->id] = y;
        else
            sm_build_copy(&b, n, map);
    }
    for (int i = 0; i < f->body->n_out; i++)
        sm_build_output(&b, sm_map_value(map, f->body->out[i]), f->body->out[i]->name);
    free(map);
    if (sm_build_end(&b, &err) != SM_OK)
        fail_msg("in other words %d: %s", (int)w, err.msg);
    return to;
}

/* ------------------------------------------------------------------ programs that are almost a decoder */
/* One node of a lowered program is changed at random.  Then raising must refuse, or find what the changed program means:
 * both are run.  Extents are equal wherever they can be (4 tokens, 4 heads, 4 angles), so that no type helps. */
typedef struct mutation {
    sm_builder *b;
    uint64_t s;
    const sm_value **old; /* the program's values so far */
    int n_seen;
} mutation;

static int pick(mutation *m, int n) {
    m->s = m->s * 6364136223846793005u + 1442695040888963407u;
    return (int)((m->s >> 33) % (uint64_t)n);
}

/* Another value of the same type as v from before; v itself when there is none. */
static sm_value *other_value(mutation *m, sm_value *v) {
    for (int tries = 0; tries < 64 && m->n_seen > 0; tries++) {
        int i = pick(m, m->n_seen);
        if (sm_type_eq(&m->old[i]->type, &v->type) && m->old[i] != v)
            return (sm_value *)m->old[i];
    }
    return v;
}

/* A parameter with one element changed. */
static sm_value *other_const(mutation *m, sm_value *v) {
    int64_t n = 1;
    int32_t x[8];
    double f;
    bool flags[8];
    for (int i = 0; i < v->type.rank; i++)
        n *= v->type.dims[i];
    if (sm_dtype_kind(v->type.dtype) == 'f' && v->type.rank == 0 && sm_value_float(v, &f)) {
        static const double by[] = {-1, 2, 0.5, 1.25, 0};
        return sm_const_f(m->b, v->type.dtype, f * by[pick(m, SM_ARRAY_LEN(by))]);
    }
    if (v->sym == NULL || n < 1 || n > 8 || v->type.rank > 1)
        return v;
    for (int i = 0; i < n; i++)
        flags[i] = (x[i] = (int32_t)v->sym[i]) != 0;
    int at = pick(m, (int)n), to = pick(m, (int)n);
    if (v->type.dtype == SM_BOOL) {
        flags[at] = !flags[at];
        return v->type.rank == 0 ? sm_const_bool(m->b, flags[0]) : sm_const_bools(m->b, flags, (int)n);
    }
    if (v->type.dtype != SM_INT32)
        return v;
    if (to != at && pick(m, 2) == 0) {
        int32_t t = x[at];
        x[at] = x[to];
        x[to] = t;
    } else {
        x[at] += pick(m, 2) == 0 ? 1 : -1;
    }
    return v->type.rank == 0 ? sm_const_i32(m->b, x[0]) : sm_const_i32s(m->b, x, (int)n);
}

static sm_op other_op(mutation *m, sm_op op) {
    static const sm_op like[][6] = {
        {SM_OP_COS, SM_OP_SIN, SM_OP_TANH, SM_OP_SILU, SM_OP_IDENTITY, SM_OP_SQUARE},
        {SM_OP_ADD, SM_OP_SUB, SM_OP_MUL, SM_OP_MAXIMUM, SM_OP_MINIMUM, SM_OP_ADD},
        {SM_OP_GREATER, SM_OP_GREATER_EQUAL, SM_OP_LESS, SM_OP_LESS_EQUAL, SM_OP_EQUAL, SM_OP_NOT_EQUAL},
        {SM_OP_REDUCE_MEAN, SM_OP_REDUCE_SUM, SM_OP_REDUCE_MAX, SM_OP_REDUCE_MIN, SM_OP_REDUCE_SUM_SQUARE,
         SM_OP_REDUCE_MEAN},
        {SM_OP_RSQRT, SM_OP_INVERSE, SM_OP_RSQRT, SM_OP_LOG, SM_OP_RSQRT, SM_OP_LOG},
    };
    for (size_t i = 0; i < SM_ARRAY_LEN(like); i++)
        for (int k = 0; k < 6; k++)
            if (like[i][k] == op)
                return like[i][pick(m, 6)];
    return op;
}

/* n, its inputs copied to in and list, changed. */
static void mutate(mutation *m, sm_node *n, sm_value **in, sm_value **list) {
    int n_slots = sm_op_row_of(n->op)->n_slots;
    n->in = memcpy(in, n->in, (size_t)n_slots * sizeof *in);
    n->list = memcpy(list, n->list, (size_t)n->n_list * sizeof *list);
    if (n->n_list > 0 && pick(m, 2) == 0) {
        int a = pick(m, n->n_list), b = pick(m, n->n_list);
        sm_value *v = list[a];
        list[a] = pick(m, 2) == 0 ? list[b] : v->cst == NULL ? other_value(m, v) : v;
        list[b] = v;
        return;
    }
    if (pick(m, 4) == 0 && n->op != SM_OP_WRITE_STATE) {
        n->op = other_op(m, n->op);
        return;
    }
    int i = pick(m, SM_MAX(n_slots, 1));
    if (n_slots == 0 || in[i] == NULL)
        return;
    if (in[i]->cst != NULL)
        in[i] = other_const(m, in[i]);
    else
        in[i] = other_value(m, in[i]);
}

/* The function with its k-th node changed; NULL when that is no program. */
static sm_func *mutant(sm_func *f, uint64_t seed, char *what, size_t cap) {
    sm_err err = {0};
    sm_func *to = NULL;
    sm_builder b;
    int at = 0, victim;
    size_t room = 2 * (size_t)f->graph->n_values + 64; /* the new ones stand in it as well */
    sm_value **map = calloc(room, sizeof *map), *in[SM_MAX_SLOTS], *list[64];
    mutation m = {.b = &b, .s = seed};
    m.old = calloc(room, sizeof *m.old);
    assert_int_equal(sm_func_new(f->graph, "changed", f->opset, &to, &err), SM_OK);
    sm_build_start(&b, to);
    for (int i = 0; i < f->body->n_in; i++) {
        sm_value *v = f->body->in[i];
        map[v->id] = sm_build_input(&b, v->name, v->type);
        m.old[m.n_seen++] = v;
    }
    pick(&m, 2);
    victim = pick(&m, sm_func_n_nodes(f));
    for (const sm_node *n = f->body->first; n != NULL; n = n->next, at++) {
        sm_node copy = *n;
        if (at == victim && n->n_list < 64) {
            mutate(&m, &copy, in, list);
            int len = snprintf(what, cap, "%s '%s' as %s of", sm_op_row_of(n->op)->name,
                               n->n_out > 0 ? n->out[0]->name : "", sm_op_row_of(copy.op)->name);
            double x;
            for (int i = 0; i < sm_op_row_of(copy.op)->n_slots && len > 0 && (size_t)len < cap; i++)
                if (copy.in[i] != NULL)
                    len += sm_value_float(copy.in[i], &x)
                               ? snprintf(what + len, cap - (size_t)len, " %g", x)
                               : snprintf(what + len, cap - (size_t)len, " %s", copy.in[i]->name);
        }
        sm_build_copy(&b, &copy, map);
        for (int i = 0; i < n->n_out; i++)
            m.old[m.n_seen++] = n->out[i];
    }
    for (int i = 0; i < f->body->n_out; i++)
        sm_build_output(&b, b.st == SM_OK ? sm_map_value(map, f->body->out[i]) : NULL, f->body->out[i]->name);
    if (sm_build_end(&b, &err) != SM_OK)
        to = NULL;
    free(map);
    free(m.old);
    return to;
}

static int n_raised, n_refused, n_no_program, n_wrong;

/* A design, and what may be chosen in it. */
typedef struct choice {
    const char *profile;
    sm_place_form mask;
    int seq;    /* tokens per call where they are fixed */
    bool whole; /* without caches: a call is the whole text */
    sm_attn_form attn;
    words words; /* 0: as lowering writes it */
} choice;

static const choice choices[] = {
    {"gpu", SM_PLACE_GIVEN, 0},
    {"kv-io", SM_PLACE_GIVEN, 4},
    {"ane", SM_PLACE_GIVEN, 4},
    {"kv-io", SM_PLACE_MADE, 4},
    {"ane", SM_PLACE_MADE, 4},
    {"kv-io", SM_PLACE_MADE, 1},
    {"ane", SM_PLACE_GIVEN, 1},

    {"gpu", SM_PLACE_MADE, 0, .whole = true},
    {"gpu", SM_PLACE_MADE, 4, .whole = true, .attn = SM_ATTN_GROUPED},
    {"ane", SM_PLACE_MADE, 4, .whole = true},
    {"gpu", SM_PLACE_GIVEN, 0, .words = INVERSES},
    {"gpu", SM_PLACE_GIVEN, 0, .words = ERRORS},
    {"gpu", SM_PLACE_MADE, 4, .whole = true, .words = ERRORS_HALVED},
    {"gpu", SM_PLACE_MADE, 4, .whole = true, .words = EIGHTHS_TURNED},
    {"gpu", SM_PLACE_MADE, 4, .whole = true, .words = TOPS},
    {"gpu", SM_PLACE_GIVEN, 0, .words = SCATTERS},
    {"gpu", SM_PLACE_GIVEN, 0, .words = SCATTERS_ALONG},
    {"gpu", SM_PLACE_GIVEN, 0, .words = SCATTERS_BEHIND},
};

static void one_mutant(const tiny_spec *z, const choice *c, uint64_t seed) {
    const char *profile = c->profile;
    static float want[TOTAL * MAX_VOCAB], got[TOTAL * MAX_VOCAB];
    sm_err err = {0};
    sm_graph *g = NULL;
    sm_func *f = build(z, &g), *to, *back = NULL;
    char what[256] = "";
    sm_raised info;
    sm_profile p = *sm_profile_find(profile);
    p.ctx = CTX;
    p.mask = c->mask;
    if (c->whole) {
        p.kv = SM_KV_NONE;
        p.shape = c->seq > 0 ? SM_SHAPE_FIXED : p.shape;
        p.attn = c->attn != SM_ATTN_FUSED ? c->attn : p.attn;
    }
    sm_profile_tokens(&p, p.shape == SM_SHAPE_RANGE ? p.ctx : c->seq);
    const char *name = f->name;
    sm_lowered notes = {0};
    sm_raise_turn turn[8];
    if (p.head_rows > 0)
        p.head_rows = 16;
    if (sm_pipeline_package(f, &p, &name, 1, &f, &notes, &err) != SM_OK)
        fail_msg("model %d as %s: %s", (int)z->seed, profile, err.msg);
    for (int i = 0; i < notes.n_turns; i++)
        turn[i] = (sm_raise_turn){notes.turn[i].cos, notes.turn[i].sin, notes.turn[i].scale,
                                  (const float *)(const void *)notes.turn[i].inv_freq->cst->src.part[SM_PART_DATA].p,
                                  notes.turn[i].inv_freq->type.dims[0]};
    sm_raise_hints hints = {turn, notes.n_turns, notes.mask, notes.n_masks};
    int reworded_ops = 0;
    if (c->words > 0)
        f = reworded(f, c->words, &reworded_ops);
    to = mutant(f, seed, what, sizeof what);
    if (to != NULL && sm_pipeline_raise(to, &hints, &back, &info, &err) != SM_OK)
        fail_msg("mutant %d (%s): %s", (int)seed, what, err.msg);
    n_no_program += to == NULL;
    n_refused += to != NULL && !info.ok;
    n_raised += to != NULL && info.ok;
    if (to != NULL && info.ok) {
        if (sm_verify_func(back, &err) != SM_OK)
            fail_msg("mutant %d (%s): %s", (int)seed, what, err.msg);
        run_rows(back, got);
        bool range = p.shape == SM_SHAPE_RANGE;
        int total = !c->whole || range ? 12 : c->seq, prefill = c->whole ? total : range ? 6 : c->seq;
        sm_status st = run_written(to, &p, &notes, prefill, range ? 3 : c->seq, total, z->vocab, want, &err);
        double worst = 0, top = 0;
        for (int i = 0; i < total * z->vocab; i++) {
            worst = worse(worst, fabs((double)want[i] - (double)got[i]));
            top = worse(top, fabs((double)want[i]));
        }
        if (st != SM_OK || !(worst <= 4e-3 * top)) {
            print_error("mutant %d of model %d as %s, choice %d (%s) is raised to another program: %g of %g %s\n",
                        (int)seed, (int)z->seed, profile, (int)(c - choices), what, worst, top, err.msg);
            n_wrong++;
        }
    }
    sm_graph_free(&g);
}

static const tiny_spec even_specs[] = {
    {.layers = 2,
     .d = 32,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 8,
     .ff = 32,
     .vocab = 33,
     .window = 3,
     .qk_norm = true,
     .enc = SM_ENC_DENSE,
     .seed = 11},
    {.layers = 2,
     .d = 32,
     .heads = 4,
     .kv_heads = 4,
     .head_dim = 16,
     .ff = 32,
     .vocab = 33,
     .rot = 8,
     .attn_cap = 3,
     .attn_scale = 0.5,
     .head_cap = 4,
     .post_norm = true,
     .enc = SM_ENC_DENSE,
     .act = "gelu_tanh",
     .seed = 12},
    {.layers = 2,
     .d = 32,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 4,
     .ff = 32,
     .vocab = 33,
     .attn_scale = 0.7,
     .two_bases = true,
     .enc = SM_ENC_DENSE,
     .act = "gelu",
     .seed = 13},
};

static void mutants(void **state) {
    (void)state;
    const char *many = getenv("SMELT_TEST_MUTANTS");
    int n = many != NULL ? atoi(many) : 30, first = many != NULL && strchr(many, '@') ? atoi(strchr(many, '@') + 1) : 0;
    for (int i = first; i < first + n; i++)
        for (size_t k = 0; k < SM_ARRAY_LEN(even_specs); k++) {
            for (size_t c = 0; c < SM_ARRAY_LEN(choices); c++)
                one_mutant(&even_specs[k], &choices[c], (uint64_t)i);
        }
    print_message("# %d changed programs raised, %d refused, %d none\n", n_raised, n_refused, n_no_program);
    assert_int_equal(n_wrong, 0);
}

/* ------------------------------------------------------------------ */
static void in_other_words(void **state) {
    static float want[TOTAL * MAX_VOCAB], got[TOTAL * MAX_VOCAB];
    (void)state;
    for (int w = 0; w < WORDS; w++)
        for (size_t i = 0; i < 3; i++) {
            const tiny_spec *z = &tiny_specs[i];
            sm_err err = {0};
            sm_graph *g = NULL;
            sm_func *f = build(z, &g), *back = NULL;
            sm_raised info;
            int changed = 0;
            sm_lowered notes = {0};
            sm_profile p = *sm_profile_find("gpu");
            p.ctx = CTX;
            sm_profile_tokens(&p, CTX);
            const char *name = f->name;
            if (sm_pipeline_package(f, &p, &name, 1, &f, &notes, &err) != SM_OK)
                fail_msg("model %d: %s", (int)z->seed, err.msg);
            f = reworded(f, (words)w, &changed);
            bool silu = w == SIGMOIDS || w == EXPONENTS || w == INVERSES, gelu = w == ERRORS || w == ERRORS_HALVED;
            if (!(gelu && z->act == NULL) && !(silu && z->act != NULL))
                assert_true(changed > 0);
            if (sm_pipeline_raise(f, NULL, &back, &info, &err) != SM_OK || !info.ok)
                fail_msg("model %d in other words %d: %s%s", (int)z->seed, w, err.msg, info.why);
            if (run_written(f, &p, &notes, PROMPT, 1, TOTAL, z->vocab, want, &err) != SM_OK)
                fail_msg("model %d in other words %d: %s", (int)z->seed, w, err.msg);
            run_rows(back, got);
            compare(z, "in other words", want, got, 4e-3);
            for (const sm_node *n = back->body->first; n != NULL; n = n->next) /* nothing of how they were written */
                if (n->op == SM_OP_EXP || n->op == SM_OP_ERF || n->op == SM_OP_TANH || n->op == SM_OP_ABS ||
                    n->op == SM_OP_SIGMOID)
                    fail_msg("model %d in other words %d: %s is left", (int)z->seed, w, sm_op_row_of(n->op)->name);
            sm_graph_free(&g);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decomposed),     cmocka_unit_test(states),  cmocka_unit_test(caches_as_inputs),
        cmocka_unit_test(in_other_words), cmocka_unit_test(mutants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
