/* SPDX-License-Identifier: MIT
 *
 * The builder and what hangs on a graph: sticky errors, names, shared constants, parameters, copy, uses, outputs, verify,
 * cost.
 */
#include "graph/graph_int.h"
#include "sweep.h"

typedef struct fixture {
    sm_graph *g;
    sm_func *f;
    sm_builder b;
    sm_err err;
} fixture;

static int setup(void **state) {
    fixture *t = calloc(1, sizeof *t);
    assert_int_equal(sm_graph_new(&t->g, &t->err), SM_OK);
    assert_int_equal(sm_func_new(t->g, "main", 9, &t->f, &t->err), SM_OK);
    sm_build_start(&t->b, t->f);
    *state = t;
    return 0;
}

static int teardown(void **state) {
    fixture *t = *state;
    sm_graph_free(&t->g);
    free(t);
    return 0;
}

static sm_value *input(fixture *t, const char *name, sm_dtype dt, int rank, sm_dim a, sm_dim b) {
    return sm_build_input(&t->b, name, (sm_type){SM_V_TENSOR, dt, rank, {a, b}});
}

static void the_first_error_sticks(void **state) {
    fixture *t = *state;
    sm_value *x = input(t, "x", SM_FP16, 2, 2, 3);
    sm_value *bad =
        sm_build(&t->b, SM_OP_RESHAPE, "flat", "x", x, "shape", sm_const_i32s(&t->b, (int32_t[]){5}, 1), NULL);
    assert_null(bad);
    assert_null(sm_build(&t->b, SM_OP_EXP, NULL, "x", bad, NULL));
    assert_null(sm_const_i32(&t->b, 1));
    sm_build_output(&t->b, bad, "y");
    assert_int_equal(sm_build_end(&t->b, &t->err), SM_BADINPUT);
    assert_non_null(strstr(t->err.msg, "reshape 'flat': x x tensor<fp16, [2, 3]>: wanted 5 elements"));
    assert_int_equal(sm_func_n_nodes(t->f), 0);
}

static void names_are_unique_and_constants_yield(void **state) {
    fixture *t = *state;
    int64_t dims[1] = {2};
    sm_value *w = sm_const_data(&t->b, "y", SM_FP16, 1, dims, (uint16_t[]){0, 0});
    sm_value *w2 = sm_const_data(&t->b, "y", SM_FP16, 1, dims, (uint16_t[]){0, 0});
    sm_value *x = input(t, "x", SM_FP16, 1, 2, 0);
    assert_string_equal(w->name, "y");
    assert_string_not_equal(w2->name, "y");
    sm_value *a = sm_build(&t->b, SM_OP_EXP, "a", "x", x, NULL), *a2 = sm_build(&t->b, SM_OP_SIN, "a", "x", x, NULL);
    sm_value *y = sm_build(&t->b, SM_OP_ADD, "sum", "x", a, "y", w, NULL);
    assert_string_equal(a->name, "a");
    assert_string_not_equal(a2->name, "a");
    sm_build_output(&t->b, y, "y");  /* the name of a constant */
    sm_build_output(&t->b, a2, "a"); /* the name of another value */
    assert_string_equal(y->name, "y");
    assert_string_equal(a2->name, "a");
    assert_string_not_equal(w->name, "y");
    assert_string_not_equal(a->name, "a");
    assert_int_equal(sm_build_end(&t->b, &t->err), SM_OK);
    assert_int_equal(sm_verify(t->g, &t->err), SM_OK);
    assert_null(input(t, "x", SM_FP16, 0, 0, 0));
    assert_int_equal(sm_build_end(&t->b, &t->err), SM_BADINPUT);
}

static void outputs_keep_the_names_of_inputs(void **state) {
    fixture *t = *state;
    sm_value *x = input(t, "x", SM_FP16, 1, 2, 0);
    sm_build_output(&t->b, x, "copy");
    sm_build_output(&t->b, sm_const_f(&t->b, SM_FP16, 2), "two");
    sm_value *y = sm_build(&t->b, SM_OP_EXP, "y", "x", x, NULL);
    sm_build_output(&t->b, y, "y");
    sm_build_output(&t->b, y, "again");
    assert_int_equal(sm_build_end(&t->b, &t->err), SM_OK);
    assert_string_equal(x->name, "x");
    const char *const want[] = {"copy", "two", "y", "again"};
    assert_int_equal(t->f->body->n_out, 4);
    for (int i = 0; i < 4; i++)
        assert_string_equal(t->f->body->out[i]->name, want[i]);
    assert_int_equal(sm_verify(t->g, &t->err), SM_OK);
    sm_build_output(&t->b, y, "x");
    assert_int_equal(sm_build_end(&t->b, &t->err), SM_BADINPUT);
}

static void small_constants_are_shared(void **state) {
    fixture *t = *state;
    sm_builder *b = &t->b;
    assert_ptr_equal(sm_const_i32(b, 7), sm_const_i32(b, 7));
    assert_ptr_not_equal(sm_const_i32(b, 7), sm_const_i32(b, 8));
    assert_ptr_not_equal(sm_const_i32(b, 0), sm_const_f(b, SM_FP32, 0));
    assert_ptr_not_equal(sm_const_i32(b, 1), sm_const_i32s(b, (int32_t[]){1}, 1));
    assert_ptr_equal(sm_const_str(b, "int32"), sm_const_str(b, "int32"));
    assert_ptr_equal(sm_const_bools(b, (bool[]){true, false}, 2), sm_const_bools(b, (bool[]){true, false}, 2));
    sm_value *v = sm_const_i32s(b, (int32_t[]){3, -1}, 2);
    assert_true(v->sym[0] == 3 && v->sym[1] == -1);
    double d;
    assert_true(sm_value_float(sm_const_f(b, SM_FP16, 0.1), &d));
    assert_true(d == 0.0999755859375);
    int64_t i;
    assert_true(sm_value_int(sm_const_i32(b, -4), &i) && i == -4);
    assert_false(sm_value_int(v, &i));
    sm_encoding int4 = sm_enc_affine(SM_INT4, SM_FP16, SM_NONE, 2, 4);
    int64_t dims[2] = {2, 4};
    sm_value *w = sm_const_data(b, "w", SM_FP32, 2, dims, (float[8]){0});
    sm_value *w4 = sm_const_as(b, w, &int4, SM_FP16);
    assert_true(w4->type.dtype == SM_FP16 && w4->cst->src.part[0].p == w->cst->src.part[0].p);
    assert_string_not_equal(w4->name, w->name);
}

static void parameters_and_defaults(void **state) {
    fixture *t = *state;
    sm_builder *b = &t->b;
    sm_value *x = input(t, "x", SM_FP16, 2, 2, 3);
    sm_value *g = sm_build(b, SM_OP_GATHER, NULL, "x", x, "indices", sm_const_i32(b, 1), NULL);
    sm_value *c = sm_build(b, SM_OP_GELU, NULL, "x", g, NULL);
    sm_value *k = sm_build(b, SM_OP_TOPK, NULL, "x", x, "axis", sm_const_i32(b, 1), NULL);
    sm_value *n = sm_build(b, SM_OP_LOG, NULL, "x", x, "epsilon", sm_const_f(b, SM_FP16, 0.5), NULL);
    int64_t i, v[4];
    double f;
    bool flag;
    sm_sv s;
    int count;
    assert_int_equal(sm_build_end(b, &t->err), SM_OK);
    assert_true(sm_arg_int(g->def, "axis", &i) && i == 0);
    assert_null(sm_arg(g->def, "axis"));
    assert_true(sm_arg_str(c->def, "mode", &s) && sm_sv_is(s, "EXACT"));
    assert_true(sm_arg_bool(k->def, "sort", &flag) && flag);
    assert_true(sm_arg_int(k->def, "axis", &i) && i == 1);
    assert_int_equal(k->def->n_out, 2);
    assert_true(sm_arg_float(n->def, "epsilon", &f) && f == 0.5);
    sm_value *l = sm_build(b, SM_OP_LOG, NULL, "x", x, NULL);
    assert_true(sm_arg_float(l->def, "epsilon", &f) && f == 1e-45);
    sm_value *r = sm_build(b, SM_OP_RESHAPE, NULL, "x", x, "shape", sm_const_i32s(b, (int32_t[]){3, -1}, 2), NULL);
    assert_true(sm_arg_ints(r->def, "shape", v, 4, &count) && count == 2 && v[0] == 3 && v[1] == -1);
    assert_false(sm_arg_ints(r->def, "shape", v, 1, &count));
    sm_value *m = sm_build(b, SM_OP_REDUCE_SUM, NULL, "x", x, NULL);
    assert_false(sm_arg_ints(m->def, "axes", v, 4, &count));
    assert_int_equal(sm_op_slot(SM_OP_GATHER, "batch_dims"), 3);
    assert_int_equal(sm_op_row_of(SM_OP_GATHER)->slot[3].since, 7);
    assert_int_equal(sm_op_row_of(SM_OP_GATHER)->slot[4].since, 8);
    assert_int_equal(sm_op_row_of(SM_OP_GATHER)->slot[0].since, 6);
    sm_op op;
    assert_true(sm_op_of_name(SM_SV("smelt.rope"), &op) && op == SM_OP_ROPE);
    assert_false(sm_op_of_name(SM_SV("rop"), &op));
    for (int o = 0; o < SM_OP_COUNT_; o++)
        assert_true(sm_op_of_name(sm_sv_of(sm_op_row_of((sm_op)o)->name), &op) && (int)op == o);
}

static void copies_map_values_and_blocks(void **state) {
    fixture *t = *state;
    sm_builder *b = &t->b;
    sm_value *x = input(t, "x", SM_FP16, 1, 4, 0), *p = input(t, "p", SM_BOOL, 0, 0, 0);
    sm_block *yes = sm_build_block(b), *no = sm_build_block(b);
    sm_builder in = *b;
    in.b = yes;
    sm_build_output(&in, sm_build(&in, SM_OP_EXP, "e", "x", x, NULL), NULL);
    in.b = no;
    sm_build_output(&in, x, NULL);
    sm_value *args[1] = {p};
    sm_block *blocks[2] = {yes, no};
    sm_node *c = sm_build_node_blocks(b, SM_OP_COND, "c", args, NULL, 0, blocks, 2);
    sm_value *parts[2] = {x, c->out[0]};
    sm_value *cat = sm_build_list(b, SM_OP_CONCAT, "cat", parts, 2, "axis", sm_const_i32(b, 0), NULL);
    sm_value *cut =
        sm_build(b, SM_OP_SPLIT, "cut", "x", cat, "num_splits", sm_const_i32(b, 2), "axis", sm_const_i32(b, 0), NULL);
    sm_build_output(b, cut->def->out[1], "y");
    assert_int_equal(sm_build_end(b, &t->err), SM_OK);
    assert_int_equal(sm_func_n_nodes(t->f), 4);

    sm_func *f2;
    sm_builder b2;
    sm_value **map = sm_value_map_new(t->g);
    assert_int_equal(sm_func_new(t->g, "copy", 9, &f2, &t->err), SM_OK);
    sm_build_start(&b2, f2);
    for (int i = 0; i < t->f->body->n_in; i++)
        map[t->f->body->in[i]->id] = sm_build_input(&b2, t->f->body->in[i]->name, t->f->body->in[i]->type);
    for (const sm_node *n = t->f->body->first; n != NULL; n = n->next)
        assert_non_null(sm_build_copy(&b2, n, map));
    sm_build_output(&b2, sm_map_value(map, t->f->body->out[0]), "y");
    assert_int_equal(sm_build_end(&b2, &t->err), SM_OK);
    assert_int_equal(sm_verify(t->g, &t->err), SM_OK);
    assert_ptr_equal(sm_map_value(map, sm_arg(cat->def, "axis")), sm_arg(cat->def, "axis"));
    assert_null(sm_map_value(map, NULL));
    sm_free(map);
    sm_str one = SM_STR_INIT, two = SM_STR_INIT;
    assert_int_equal(sm_func_print(t->f, NULL, &one, &t->err), SM_OK);
    f2->name = t->f->name;
    assert_int_equal(sm_func_print(f2, NULL, &two, &t->err), SM_OK);
    assert_string_equal(one.p, two.p);
    sm_str_free(&one);
    sm_str_free(&two);
    int *uses = sm_func_uses(t->f);
    assert_int_equal(uses[x->id], 3);
    assert_int_equal(uses[cut->id], 0);
    assert_int_equal(uses[cut->def->out[1]->id], 1);
    sm_free(uses);
}

static void verify_finds_what_passes_break(void **state) {
    fixture *t = *state;
    sm_builder *b = &t->b;
    sm_value *x = input(t, "x", SM_FP16, 1, 4, 0);
    sm_value *y = sm_build(b, SM_OP_EXP, "y", "x", x, NULL), *z = sm_build(b, SM_OP_SIN, "z", "x", y, NULL);
    sm_build_output(b, z, NULL);
    assert_int_equal(sm_verify(t->g, &t->err), SM_OK);
    y->def->in[0] = z; /* a cycle */
    assert_int_equal(sm_verify(t->g, &t->err), SM_BADINPUT);
    assert_non_null(strstr(t->err.msg, "used before it is defined"));
    y->def->in[0] = x;
    z->type.dims[0] = 5;
    assert_int_equal(sm_verify(t->g, &t->err), SM_BADINPUT);
    assert_non_null(strstr(t->err.msg, "has type tensor<fp16, [5]>, inference gives tensor<fp16, [4]>"));
    z->type.dims[0] = 4;
    const char *name = z->name;
    z->name = "y";
    assert_int_equal(sm_verify(t->g, &t->err), SM_BADINPUT);
    z->name = name;
    y->def->next = NULL;
    assert_int_equal(sm_verify(t->g, &t->err), SM_BADINPUT);
}

static int freed;
static void count_free(void *p) {
    freed += *(int *)p;
}

static void owners_are_freed_with_the_graph(void **state) {
    (void)state;
    int one = 1, ten = 10;
    sm_graph *g;
    assert_int_equal(sm_graph_new(&g, NULL), SM_OK);
    assert_int_equal(sm_graph_keep(g, &one, count_free, NULL), SM_OK);
    assert_int_equal(sm_graph_keep(g, &ten, count_free, NULL), SM_OK);
    sm_graph_free(&g);
    assert_null(g);
    assert_int_equal(freed, 11);
    sm_graph_free(&g);
}

/* Hand-counted FLOPs and bytes. */
static void costs(void **state) {
    fixture *t = *state;
    sm_builder *b = &t->b;
    sm_dim n = sm_dim_symbol(t->g, "n", 1, 64);
    int64_t value[1] = {10}, dims[2] = {32, 64};
    sm_value *x = sm_build_input(b, "x", (sm_type){SM_V_TENSOR, SM_FP32, 2, {n, 64}});
    sm_value *q = sm_build_input(b, "q", (sm_type){SM_V_TENSOR, SM_FP32, 3, {n, 4, 8}});
    sm_value *k = sm_build_input(b, "k", (sm_type){SM_V_TENSOR, SM_FP32, 3, {n, 2, 8}});
    sm_value *batch = sm_build_input(b, "batch", (sm_type){.kind = SM_V_BATCH});
    sm_value *ids = sm_build_input(b, "ids", (sm_type){SM_V_TENSOR, SM_INT32, 1, {n}});
    static const float zero[32 * 64];
    sm_value *w = sm_const_data(b, "w", SM_FP32, 2, dims, zero);
    sm_encoding int4 = sm_enc_affine(SM_INT4, SM_FP16, SM_NONE, 2, 32);
    sm_value *w4 = sm_const_as(b, w, &int4, SM_FP16);
    sm_value *lin = sm_build(b, SM_OP_LINEAR, NULL, "x", x, "weight", w4, NULL);
    sm_value *att = sm_build(b, SM_OP_ATTENTION, NULL, "q", q, "k", k, "v", k, "batch", batch, "slot",
                             sm_const_i32(b, 0), "scale", sm_const_f(b, SM_FP32, 1), NULL);
    sm_value *emb = sm_build(b, SM_OP_EMBED, NULL, "ids", ids, "table", w, NULL);
    sm_value *two = sm_build(b, SM_OP_LINEAR, NULL, "x", emb, "weight", w4, NULL);
    sm_build_output(b, two, NULL);
    assert_int_equal(sm_build_end(b, &t->err), SM_OK);
    sm_cost c;
    sm_node_cost(t->g, lin->def, value, 100, &c);
    assert_true(c.flops == 2.0 * 10 * 64 * 32);
    assert_true(c.weight_bytes == 32 * 64 / 2 + 32 * 2 * 2);
    assert_true(c.act_bytes == 4.0 * (10 * 64 + 10 * 32));
    assert_true(c.kv_bytes == 0);
    sm_node_cost(t->g, att->def, value, 100, &c);
    assert_true(c.flops == 10.0 * 4 * 100 * (2 * 8 + 2 * 8 + 8));
    assert_true(c.kv_bytes == 2.0 * 2 * 16 * (100 + 10));
    sm_node_cost(t->g, emb->def, value, 100, &c);
    assert_true(c.weight_bytes == 10.0 * 64 * 4);
    sm_func_cost(t->f, value, 100, &c);
    assert_true(c.weight_bytes == 10.0 * 64 * 4 + 32 * 64 / 2 + 32 * 2 * 2 + 4 + 4); /* w4 once; slot and scale */
}

static bool build(void *ctx) {
    sm_graph *g = NULL;
    sm_func *f;
    sm_builder b;
    sm_err err = {0};
    sm_status st;
    (void)ctx;
    if (sm_graph_new(&g, &err) != SM_OK)
        return false;
    st = sm_func_new(g, "main", 0, &f, &err);
    if (st == SM_OK) {
        sm_build_start(&b, f);
        sm_dim t = sm_dim_symbol(g, "t", 1, 8);
        sm_value *x = sm_build_input(&b, "x", (sm_type){SM_V_TENSOR, SM_FP32, 2, {t, 8}});
        for (int i = 0; i < 40; i++)
            x = sm_build(&b, SM_OP_ADD, "x", "x", x, "y", sm_const_f(&b, SM_FP32, i), NULL);
        sm_value *s = sm_build(&b, SM_OP_SHAPE, NULL, "x", x, NULL);
        sm_value *e = sm_build(&b, SM_OP_CAST, NULL, "x", s, "dtype", sm_const_str(&b, "int16"), NULL);
        sm_build_output(&b, x, "y");
        sm_build_output(&b, e, "x_3");
        st = sm_build_end(&b, &err);
    }
    int *uses = st == SM_OK ? sm_func_uses(f) : NULL;
    if (st == SM_OK && uses == NULL)
        st = SM_RESOURCE;
    sm_free(uses);
    sm_graph_free(&g);
    if (st != SM_OK && st != SM_RESOURCE)
        fail_msg("another error: %s", err.msg);
    return st == SM_OK;
}

static void survives_failing_allocations(void **state) {
    (void)state;
    assert_true(sweep(build, NULL) > 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_first_error_sticks, setup, teardown),
        cmocka_unit_test_setup_teardown(names_are_unique_and_constants_yield, setup, teardown),
        cmocka_unit_test_setup_teardown(outputs_keep_the_names_of_inputs, setup, teardown),
        cmocka_unit_test_setup_teardown(small_constants_are_shared, setup, teardown),
        cmocka_unit_test_setup_teardown(parameters_and_defaults, setup, teardown),
        cmocka_unit_test_setup_teardown(copies_map_values_and_blocks, setup, teardown),
        cmocka_unit_test_setup_teardown(verify_finds_what_passes_break, setup, teardown),
        cmocka_unit_test(owners_are_freed_with_the_graph),
        cmocka_unit_test_setup_teardown(costs, setup, teardown),
        cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
