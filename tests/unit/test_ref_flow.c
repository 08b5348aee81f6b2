/* SPDX-License-Identifier: MIT
 *
 * test_ref_flow.c: `ref` on whole as-written functions: nested blocks, states between calls, lifetimes, recoded
 * constants, what inputs are refused.
 */
#include "backend/null/null.h"
#include "backend/ref/ref.h"
#include "sweep.h"

typedef struct program {
    sm_graph *g;
    sm_func *f;
    sm_builder b;
} program;

static void start(program *p) {
    sm_err err = {0};
    assert_int_equal(sm_graph_new(&p->g, &err), SM_OK);
    assert_int_equal(sm_func_new(p->g, "main", 9, &p->f, &err), SM_OK);
    sm_build_start(&p->b, p->f);
}

static void finish(program *p) {
    sm_err err = {0};
    if (sm_build_end(&p->b, &err) != SM_OK || sm_verify(p->g, &err) != SM_OK)
        fail_msg("%s", err.msg);
}

static sm_type tensor(sm_dtype t, int rank, sm_dim d0, sm_dim d1) {
    return (sm_type){.kind = SM_V_TENSOR, .dtype = t, .rank = rank, .dims = {d0, d1}};
}

static void put(sm_arrays *in, const char *name, sm_dtype t, int rank, const int64_t *dims, const void *data) {
    sm_array *a = sm_arrays_add(in);
    assert_int_equal(sm_array_new(a, name, t, rank, dims, NULL), SM_OK);
    memcpy(a->data, data, sm_dtype_size(t, sm_array_numel(a)));
}

static void put_i32(sm_arrays *in, const char *name, int32_t v) {
    put(in, name, SM_INT32, 0, NULL, &v);
}

/* Runs f once with its own executable. */
static sm_status run_once(const sm_backend *be, const sm_func *f, const sm_arrays *in, sm_states *st, sm_arrays *out,
                          sm_err *err) {
    sm_exe *e = NULL;
    sm_status s = be->compile(f, NULL, &e, err);
    if (s == SM_OK)
        s = be->run(e, in, st, out, err);
    be->free(&e);
    return s;
}

static int32_t only_int(const sm_arrays *out) {
    assert_int_equal(out->n, 1);
    assert_int_equal(out->v[0].dtype, SM_INT32);
    assert_int_equal(sm_array_numel(&out->v[0]), 1);
    return *(int32_t *)out->v[0].data;
}

static sm_value *binary(sm_builder *b, sm_op op, sm_value *x, sm_value *y) {
    return sm_build(b, op, NULL, "x", x, "y", y, NULL);
}

/* i, sum = loop(i < n: i + 1, sum + (i is odd ? i * k : -1)) with k from outside, the choice a cond inside the loop */
static void build_loop(program *p) {
    start(p);
    sm_builder *b = &p->b;
    sm_type scalar = tensor(SM_INT32, 0, 0, 0);
    sm_value *n = sm_build_input(b, "n", scalar), *k = sm_build_input(b, "k", scalar);
    sm_value *k2 = binary(b, SM_OP_MUL, k, sm_const_i32(b, 2));
    sm_builder test = *b, body = *b, yes, no;
    test.b = sm_build_block(b);
    body.b = sm_build_block(b);
    sm_value *ti = sm_build_input(&test, "ti", scalar);
    sm_build_input(&test, "ts", scalar);
    sm_build_output(&test, binary(&test, SM_OP_LESS, ti, n), NULL);
    sm_value *i = sm_build_input(&body, "i", scalar), *s = sm_build_input(&body, "s", scalar);
    sm_value *odd =
        binary(&body, SM_OP_EQUAL, binary(&body, SM_OP_MOD, i, sm_const_i32(&body, 2)), sm_const_i32(&body, 1));
    yes = no = body;
    yes.b = sm_build_block(&body);
    no.b = sm_build_block(&body);
    sm_build_output(&yes, binary(&yes, SM_OP_MUL, i, k2), NULL);
    sm_build_output(&no, sm_const_i32(&no, -1), NULL); /* a constant as a result */
    sm_node *c =
        sm_build_node_blocks(&body, SM_OP_COND, NULL, (sm_value *[]){odd}, NULL, 0, (sm_block *[]){yes.b, no.b}, 2);
    assert_non_null(c);
    sm_value *s2 = binary(&body, SM_OP_ADD, s, c->out[0]);
    sm_build_output(&body, binary(&body, SM_OP_ADD, i, sm_const_i32(&body, 1)), NULL);
    sm_build_output(&body, s2, NULL);
    sm_value *vars[2] = {sm_const_i32(b, 0), sm_const_i32(b, 100)};
    sm_node *w = sm_build_node_blocks(b, SM_OP_WHILE_LOOP, NULL, (sm_value *[]){NULL}, vars, 2,
                                      (sm_block *[]){test.b, body.b}, 2);
    assert_non_null(w);
    sm_build_output(b, w->out[1], "sum");
    finish(p);
}

static void test_loop(void **state) {
    (void)state;
    program p;
    build_loop(&p);
    sm_exe *e = NULL;
    sm_err err = {0};
    assert_int_equal(sm_backend_ref.compile(p.f, NULL, &e, &err), SM_OK);
    for (int n = 0; n < 6; n++) {
        sm_arrays in = {0}, out = {0};
        sm_states st = {0};
        put_i32(&in, "n", n);
        put_i32(&in, "k", 10);
        if (sm_backend_ref.run(e, &in, &st, &out, &err) != SM_OK)
            fail_msg("%s", err.msg);
        int want = 100;
        for (int i = 0; i < n; i++)
            want += i % 2 ? i * 20 : -1;
        assert_int_equal(only_int(&out), want);
        sm_arrays_free(&in);
        sm_arrays_free(&out);
    }
    sm_backend_ref.free(&e);
    sm_graph_free(&p.g);
}

static bool loop_survives(void *ctx) {
    sm_arrays in = {0}, out = {0};
    sm_states st = {0};
    sm_array *n = sm_arrays_add(&in), *k = n == NULL ? NULL : sm_arrays_add(&in);
    bool ok = k != NULL && sm_array_new(&in.v[0], "n", SM_INT32, 0, NULL, NULL) == SM_OK &&
              sm_array_new(&in.v[1], "k", SM_INT32, 0, NULL, NULL) == SM_OK;
    if (ok)
        *(int32_t *)in.v[0].data = 3;
    ok = ok && run_once(&sm_backend_ref, ctx, &in, &st, &out, NULL) == SM_OK;
    sm_arrays_free(&in);
    sm_arrays_free(&out);
    return ok;
}

static void test_loop_out_of_memory(void **state) {
    (void)state;
    program p;
    build_loop(&p);
    assert_true(sweep(loop_survives, p.f) > 20);
    sm_graph_free(&p.g);
}

/* y = state + x; state = y;  fp16 states are not rounded */
static void build_counter(program *p) {
    start(p);
    sm_builder *b = &p->b;
    sm_type t = tensor(SM_FP16, 1, 3, 0), s = t;
    s.kind = SM_V_STATE;
    sm_value *x = sm_build_input(b, "x", t), *acc = sm_build_input(b, "acc", s);
    sm_value *y = binary(b, SM_OP_ADD, sm_build(b, SM_OP_READ_STATE, NULL, "input", acc, NULL), x);
    sm_build(b, SM_OP_WRITE_STATE, NULL, "input", acc, "data", y, NULL);
    sm_build_output(b, y, "y");
    finish(p);
}

static void test_states(void **state) {
    (void)state;
    program p;
    build_counter(&p);
    sm_states st = {0};
    sm_err err = {0};
    const float x[3] = {1, 0.0001f, -2};
    for (int call = 1; call <= 3; call++) {
        sm_arrays in = {0}, out = {0};
        put(&in, "x", SM_FP32, 1, (int64_t[]){3}, x);
        assert_int_equal(run_once(&sm_backend_ref, p.f, &in, &st, &out, &err), SM_OK);
        assert_int_equal(out.v[0].dtype, SM_FP32);
        assert_int_equal(st.a.n, 1);
        assert_int_equal(st.a.v[0].dtype, SM_FP32);
        float sum = 0;
        for (int i = 0; i < call; i++)
            sum += x[1];
        assert_true(((float *)out.v[0].data)[0] == (float)call && ((float *)out.v[0].data)[1] == sum);
        assert_memory_equal(out.v[0].data, st.a.v[0].data, 12);
        sm_arrays_free(&in);
        sm_arrays_free(&out);
    }
    sm_arrays in = {0}, out = {0};
    put(&in, "x", SM_FP32, 1, (int64_t[]){3}, x);
    st.a.v[0].dims[0] = 2; /* somebody else's state of the same name */
    assert_int_equal(run_once(&sm_backend_ref, p.f, &in, &st, &out, &err), SM_BADINPUT);
    assert_non_null(strstr(err.msg, "acc"));
    sm_arrays_free(&in);
    sm_arrays_free(&out);
    sm_arrays_free(&st.a);
    sm_graph_free(&p.g);
}

/* A constant wanted in another encoding is computed with as it will be written. */
static void test_recoded_constants(void **state) {
    (void)state;
    enum { ROWS = 6, COLS = 64 };
    program p;
    start(&p);
    sm_builder *b = &p.b;
    static float w[ROWS][COLS], x[COLS];
    for (int i = 0; i < ROWS * COLS; i++)
        w[i / COLS][i % COLS] = (float)((i * 7919) % 1000) / 1000.0f - 0.5f;
    for (int i = 0; i < COLS; i++)
        x[i] = i == 5;
    sm_value *stored = sm_const_data(b, "w", SM_FP32, 2, (int64_t[]){ROWS, COLS}, w);
    sm_encoding half = sm_enc_dense(SM_FP16), int4 = sm_enc_affine(SM_INT4, SM_FP16, SM_NONE, 2, 32);
    sm_value *in = sm_build_input(b, "x", tensor(SM_FP32, 2, 1, COLS));
    sm_value *w16 = sm_const_as(b, stored, &half, SM_FP16), *w4 = sm_const_as(b, stored, &int4, SM_FP16);
    sm_build_output(
        b, sm_build(b, SM_OP_MATMUL, NULL, "x", in, "y", stored, "transpose_y", sm_const_bool(b, true), NULL), "full");
    sm_build_output(b, sm_build(b, SM_OP_IDENTITY, NULL, "x", w16, NULL), "half");
    sm_build_output(b, sm_build(b, SM_OP_IDENTITY, NULL, "x", w4, NULL), "int4");
    finish(&p);
    sm_arrays args = {0}, out = {0};
    sm_states st = {0};
    sm_err err = {0};
    put(&args, "x", SM_FP32, 2, (int64_t[]){1, COLS}, x);
    if (run_once(&sm_backend_ref, p.f, &args, &st, &out, &err) != SM_OK)
        fail_msg("%s", err.msg);
    const float *full = sm_arrays_find(&out, "full")->data, *h = sm_arrays_find(&out, "half")->data;
    const float *q = sm_arrays_find(&out, "int4")->data;
    float worst = 0;
    for (int i = 0; i < ROWS; i++)
        assert_true(full[i] == w[i][5]);
    for (int i = 0; i < ROWS * COLS; i++) {
        float d = q[i] - w[i / COLS][i % COLS];
        assert_true(h[i] == sm_round_f16(w[i / COLS][i % COLS]));
        worst = d > worst ? d : -d > worst ? -d : worst;
    }
    assert_true(worst > 0.01f && worst < 0.08f);
    sm_arrays_free(&args);
    sm_arrays_free(&out);
    sm_graph_free(&p.g);
}

/* Two inputs that share a symbol, one extent an expression of it. */
static void test_inputs(void **state) {
    (void)state;
    program p;
    start(&p);
    sm_builder *b = &p.b;
    sm_dim n = sm_dim_symbol(p.g, "n", 1, 4);
    sm_value *x = sm_build_input(b, "x", tensor(SM_FP16, 2, 2, n));
    sm_value *y = sm_build_input(b, "y", tensor(SM_INT32, 1, n, 0));
    sm_value *z = sm_build_input(b, "z", tensor(SM_FP32, 1, sm_dim_add(p.g, n, 3), 0));
    sm_build_output(
        b, binary(b, SM_OP_ADD, x, sm_build(b, SM_OP_CAST, NULL, "x", y, "dtype", sm_const_str(b, "fp16"), NULL)),
        "sum");
    sm_build_output(b, sm_build(b, SM_OP_SHAPE, NULL, "x", z, NULL), "shape");
    finish(&p);
    static const float xs[16];
    static const int32_t ys[16];
    static const struct {
        int64_t n_x, n_y, n_z;
        const char *words; /* in the message; NULL: accepted */
    } tries[] = {{3, 3, 6, NULL},  {1, 1, 4, NULL},  {5, 5, 8, "found 5"},
                 {3, 2, 6, "'y'"}, {3, 3, 5, "'z'"}, {0, 0, 3, "found 0"}};
    const sm_backend *both[] = {&sm_backend_ref, &sm_backend_null};
    for (size_t i = 0; i < 2 * SM_ARRAY_LEN(tries); i++) {
        size_t k = i / 2;
        sm_arrays in = {0}, out = {0};
        sm_states st = {0};
        sm_err err = {0};
        put(&in, "z", SM_FP32, 1, (int64_t[]){tries[k].n_z}, xs);
        put(&in, "x", SM_FP32, 2, (int64_t[]){2, tries[k].n_x}, xs);
        put(&in, "y", SM_INT32, 1, (int64_t[]){tries[k].n_y}, ys);
        sm_status s = run_once(both[i % 2], p.f, &in, &st, &out, &err);
        assert_int_equal(s, tries[k].words == NULL ? SM_OK : SM_BADINPUT);
        if (tries[k].words != NULL && strstr(err.msg, tries[k].words) == NULL)
            fail_msg("'%s' is not in '%s'", tries[k].words, err.msg);
        if (s == SM_OK) {
            assert_int_equal(sm_arrays_find(&out, "sum")->dims[1], tries[k].n_x);
            assert_int_equal(sm_arrays_find(&out, "shape")->dims[0], 1);
        }
        sm_arrays_free(&in);
        sm_arrays_free(&out);
    }
    sm_graph_free(&p.g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loop),   cmocka_unit_test(test_loop_out_of_memory), cmocka_unit_test(test_states),
        cmocka_unit_test(test_inputs), cmocka_unit_test(test_recoded_constants),
    };
    return cmocka_run_group_tests_name("ref_flow", tests, NULL, NULL);
}
