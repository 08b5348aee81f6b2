/* SPDX-License-Identifier: MIT
 *
 * Extents: interning, arithmetic, bounds, equality by bounds, evaluation, print.
 */
#include "graph/graph_int.h"
#include "sweep.h"

static sm_graph *new_graph(void **state) {
    sm_graph *g;
    assert_int_equal(sm_graph_new(&g, NULL), SM_OK);
    *state = g;
    return g;
}

static int setup(void **state) {
    new_graph(state);
    return 0;
}

static int teardown(void **state) {
    sm_graph *g = *state;
    sm_graph_free(&g);
    return 0;
}

static const char *text(sm_graph *g, sm_dim d) {
    static char buf[8][256];
    static int k;
    k = (k + 1) % 8;
    return sm_dim_print(g, d, buf[k], sizeof buf[k]);
}

static void equal_expressions_are_equal_handles(void **state) {
    sm_graph *g = *state;
    sm_dim n = sm_dim_symbol(g, "n", 1, 256), kv = sm_dim_symbol(g, "kv", 1, -1);
    assert_true(n == sm_dim_symbol(g, "n", 0, -1));
    assert_true(sm_dim_add(g, sm_dim_sub(g, kv, n), n) == kv);
    assert_true(sm_dim_sub(g, n, n) == 0);
    assert_true(sm_dim_add(g, n, kv) == sm_dim_add(g, kv, n));
    assert_true(sm_dim_mul(g, n, 3) == sm_dim_add(g, n, sm_dim_add(g, n, n)));
    assert_true(sm_dim_mul(g, n, 0) == 0);
    assert_true(sm_dim_add(g, 3, 4) == 7);
    assert_false(sm_dim_known(n));
    assert_true(sm_dim_known(-5));
    assert_int_equal(sm_dim_as_symbol(g, kv), 1);
    assert_int_equal(sm_dim_as_symbol(g, sm_dim_add(g, kv, 1)), -1);
    assert_int_equal(sm_dim_as_symbol(g, 4), -1);
}

static void prints_as_people_write(void **state) {
    sm_graph *g = *state;
    sm_dim n = sm_dim_symbol(g, "n", 1, 256), kv = sm_dim_symbol(g, "kv", 1, -1);
    assert_string_equal(text(g, 12), "12");
    assert_string_equal(text(g, -1), "-1");
    assert_string_equal(text(g, n), "n");
    assert_string_equal(text(g, sm_dim_sub(g, kv, n)), "kv - n");
    assert_string_equal(text(g, sm_dim_add(g, sm_dim_mul(g, n, 2), 1)), "2n + 1");
    assert_string_equal(text(g, sm_dim_sub(g, sm_dim_mul(g, n, -3), 7)), "-3n - 7");
    assert_string_equal(text(g, SM_DIM_UNKNOWN), "?");
    assert_string_equal(text(g, sm_dim_fresh(g)), "?0");
    assert_string_equal(text(g, sm_dim_add(g, sm_dim_fresh(g), n)), "n + ?1");
}

static void names_of_symbols_are_words(void **state) {
    sm_graph *g = *state;
    sm_dim a = sm_dim_symbol(g, "x-1", 1, 2), b = sm_dim_symbol(g, "x_1", 1, 2), c = sm_dim_symbol(g, "1 y", 1, 2);
    assert_true(a != b && a == sm_dim_symbol(g, "x-1", 1, 2) && b == sm_dim_symbol(g, "x_1", 1, 2));
    assert_string_equal(text(g, a), "x_1");
    assert_string_equal(text(g, b), "x_1_0");
    assert_string_equal(text(g, c), "_1_y");
}

/* Names that begin alike for longer than is shown: found at once, each of its own. */
static void many_names_that_begin_alike(void **state) {
    enum { N = 30000 };
    sm_graph *g = *state;
    char name[160], want[160];
    memset(name, 'a', 150);
    for (int k = 0; k < N; k++) {
        snprintf(name + 150, 10, "%d", k);
        assert_int_equal(sm_graph_find_symbol(g, name), -1);
        sm_dim_symbol(g, name, 0, -1);
        assert_int_equal(sm_graph_find_symbol(g, name), k);
        snprintf(want, sizeof want, k == 0 ? "%.100s" : "%.100s_%d", name, k - 1);
        assert_string_equal(sm_graph_symbol(g, k, NULL, NULL), want);
    }
}

static void division_is_exact_or_unknown(void **state) {
    sm_graph *g = *state;
    sm_dim n = sm_dim_symbol(g, "n", 1, 256), m = sm_dim_symbol(g, "m", 1, 8);
    sm_dim e = sm_dim_add(g, sm_dim_mul(g, n, 6), 9);
    assert_string_equal(text(g, sm_dim_div(g, e, 3)), "2n + 3");
    assert_true(sm_dim_div(g, e, 2) == SM_DIM_UNKNOWN);
    assert_true(sm_dim_div(g, e, e) == 1);
    assert_true(sm_dim_div(g, sm_dim_mul(g, e, 4), e) == 4);
    assert_true(sm_dim_div(g, n, m) == SM_DIM_UNKNOWN);
    assert_true(sm_dim_div(g, 0, n) == 0);
    assert_true(sm_dim_div(g, n, 0) == SM_DIM_UNKNOWN);
    assert_true(sm_dim_div(g, 12, 4) == 3);
    assert_true(sm_dim_mul(g, n, m) == SM_DIM_UNKNOWN);
}

static void bounds_and_equality(void **state) {
    sm_graph *g = *state;
    int64_t lo, hi;
    sm_dim n = sm_dim_symbol(g, "n", 1, 256), kv = sm_dim_symbol(g, "kv", 300, -1), one = sm_dim_symbol(g, "one", 1, 1);
    assert_true(sm_dim_bounds(g, n, &lo, &hi));
    assert_true(lo == 1 && hi == 256);
    assert_false(sm_dim_bounds(g, sm_dim_sub(g, kv, n), &lo, &hi));
    assert_true(lo == 44);
    assert_int_equal(sm_dim_equal(g, n, n), 1);
    assert_int_equal(sm_dim_equal(g, n, 5), -1);
    assert_int_equal(sm_dim_equal(g, n, 0), 0);
    assert_int_equal(sm_dim_equal(g, n, kv), 0);
    assert_int_equal(sm_dim_equal(g, one, 1), 1);
    assert_int_equal(sm_dim_equal(g, sm_dim_add(g, n, 1), sm_dim_add(g, one, n)), 1);
    assert_int_equal(sm_dim_equal(g, SM_DIM_UNKNOWN, 1), -1);
    sm_dim_symbol(g, "n", 4, 8); /* narrowed */
    sm_graph_symbol(g, sm_dim_as_symbol(g, n), &lo, &hi);
    assert_true(lo == 4 && hi == 8);
}

static void functions_are_interned_and_evaluate(void **state) {
    sm_graph *g = *state;
    int64_t value[16] = {0}, lo, hi;
    sm_dim n = sm_dim_symbol(g, "n", 1, 256), m = sm_dim_symbol(g, "m", 1, 8);
    sm_dim nm = sm_dim_call(g, SM_FN_MUL, n, m);
    assert_true(nm == sm_dim_call(g, SM_FN_MUL, m, n));
    sm_dim_range(g, nm, &lo, &hi);
    assert_true(lo == 1 && hi == 2048);
    assert_true(sm_dim_call(g, SM_FN_FLOOR_DIV, sm_dim_mul(g, nm, 4), 2) == sm_dim_mul(g, nm, 2));
    sm_dim half = sm_dim_call(g, SM_FN_FLOOR_DIV, sm_dim_add(g, nm, 1), 2);
    assert_true(half == sm_dim_call(g, SM_FN_FLOOR_DIV, sm_dim_add(g, nm, 1), 2));
    value[0] = 5;
    value[1] = 3;
    assert_int_equal(sm_dim_eval(g, half, value), 8);
    assert_int_equal(sm_dim_eval(g, sm_dim_sub(g, sm_dim_mul(g, n, 2), m), value), 7);
    assert_true(sm_dim_call(g, SM_FN_MIN, n, 1) == 1);
    assert_true(sm_dim_call(g, SM_FN_MAX, n, 0) == n);
    assert_true(sm_dim_call(g, SM_FN_MAX, n, sm_dim_add(g, n, 2)) == sm_dim_add(g, n, 2));
    assert_true(sm_dim_call(g, SM_FN_MOD, sm_dim_mul(g, n, 4), 4) == 0);
    assert_true(sm_dim_call(g, SM_FN_MOD, -7, 4) == 1);
    assert_true(sm_dim_call(g, SM_FN_FLOOR_DIV, -7, 4) == -2);
    assert_true(sm_dim_call(g, SM_FN_TRUNC_DIV, -7, 4) == -1);
    sm_dim unlike = sm_dim_call(g, SM_FN_MOD, n, 4);
    sm_dim_range(g, unlike, &lo, &hi);
    assert_true(lo == 0 && hi == 3);
}

static void limits_make_unknown_not_wrong(void **state) {
    sm_graph *g = *state;
    sm_dim sum = 0, n = sm_dim_symbol(g, "n", 1, -1);
    for (int i = 0; i < SM_LIN_MAX; i++)
        sum = sm_dim_add(g, sum, sm_dim_fresh(g));
    assert_true(sum != SM_DIM_UNKNOWN);
    assert_true(sm_dim_add(g, sum, n) == SM_DIM_UNKNOWN);
    assert_true(sm_dim_add(g, SM_DIM_UNKNOWN, 1) == SM_DIM_UNKNOWN);
    assert_true(sm_dim_mul(g, n, INT64_MAX) != SM_DIM_UNKNOWN);
    assert_true(sm_dim_mul(g, sm_dim_mul(g, n, INT64_MAX), 3) == SM_DIM_UNKNOWN);
    assert_true(sm_dim_mul(g, INT64_MAX, INT64_MAX) == SM_DIM_UNKNOWN);
    assert_true(sm_dim_sub(g, SM_DIM_SYM_LIMIT, 1) == SM_DIM_UNKNOWN);
    sm_dim deep = n;
    for (int i = 0; i < 40; i++)
        deep = sm_dim_call(g, SM_FN_MUL, deep, deep);
    assert_true(deep != SM_DIM_UNKNOWN);
}

static bool arithmetic(void *ctx) {
    sm_graph *g;
    (void)ctx;
    if (sm_graph_new(&g, NULL) != SM_OK)
        return false;
    bool ok = true;
    sm_dim n = sm_dim_symbol(g, "n", 1, 9), m = sm_dim_symbol(g, "m", 1, 9);
    ok = n != SM_DIM_UNKNOWN && m != SM_DIM_UNKNOWN && sm_dim_call(g, SM_FN_MUL, n, m) != SM_DIM_UNKNOWN;
    for (int i = 0; i < 100 && ok; i++)
        ok = sm_dim_add(g, sm_dim_mul(g, n, i + 1), m) != SM_DIM_UNKNOWN && sm_dim_fresh(g) != SM_DIM_UNKNOWN;
    assert_true(ok != g->priv->oom);
    sm_graph_free(&g);
    return ok;
}

static void survives_failing_allocations(void **state) {
    (void)state;
    assert_true(sweep(arithmetic, NULL) > 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(equal_expressions_are_equal_handles, setup, teardown),
        cmocka_unit_test_setup_teardown(prints_as_people_write, setup, teardown),
        cmocka_unit_test_setup_teardown(names_of_symbols_are_words, setup, teardown),
        cmocka_unit_test_setup_teardown(many_names_that_begin_alike, setup, teardown),
        cmocka_unit_test_setup_teardown(division_is_exact_or_unknown, setup, teardown),
        cmocka_unit_test_setup_teardown(bounds_and_equality, setup, teardown),
        cmocka_unit_test_setup_teardown(functions_are_interned_and_evaluate, setup, teardown),
        cmocka_unit_test_setup_teardown(limits_make_unknown_not_wrong, setup, teardown),
        cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
