/* SPDX-License-Identifier: MIT
 *
 * test_base_threads.c: the pool runs everything once, its barrier separates steps, it sleeps and wakes.
 */
#include "sweep.h"

#include <stdatomic.h>

#include "base/threads.h"

typedef struct job {
    sm_pool *pool;
    int steps;
    int *cells; /* one a thread */
    atomic_int bad;
    atomic_int calls;
} job;

/* Every step each thread writes its cell, meets the others, and reads all cells. */
static void step_together(void *ctx, int ith, int nth) {
    job *j = ctx;
    atomic_fetch_add(&j->calls, 1);
    for (int s = 1; s <= j->steps; s++) {
        j->cells[ith * 32] = s;
        sm_pool_barrier(j->pool, ith);
        for (int k = 0; k < nth; k++)
            if (j->cells[k * 32] != s)
                atomic_fetch_add(&j->bad, 1);
        sm_pool_barrier(j->pool, ith);
    }
}

static void barrier_separates_steps(void **state) {
    (void)state;
    static const int sizes[] = {1, 2, 3, 4, 7};
    for (size_t i = 0; i < SM_ARRAY_LEN(sizes); i++) {
        job j = {.steps = 300, .cells = calloc(64 * 32, sizeof(int))};
        assert_int_equal(sm_pool_new(sizes[i], &j.pool, NULL), SM_OK);
        assert_int_equal(sm_pool_size(j.pool), sizes[i]);
        sm_pool_run(j.pool, step_together, &j);
        sm_pool_run(j.pool, step_together, &j);
        assert_int_equal(j.calls, 2 * sizes[i]);
        assert_int_equal(j.bad, 0);
        sm_pool_free(&j.pool);
        assert_null(j.pool);
        free(j.cells);
    }
}

static void count_call(void *ctx, int ith, int nth) {
    atomic_int *seen = ctx;
    (void)nth;
    atomic_fetch_add(&seen[ith], 1);
}

static void many_runs_with_sleep_between(void **state) {
    (void)state;
    sm_pool *p;
    atomic_int seen[3] = {0};
    assert_int_equal(sm_pool_new(3, &p, NULL), SM_OK);
    for (int i = 0; i < 2000; i++) {
        sm_pool_run(p, count_call, seen);
        for (int k = 0; k < 3; k++)
            assert_int_equal(seen[k], i + 1);
        if (i % 200 == 0)
            usleep(5000); /* long enough for the workers to sleep */
    }
    sm_pool_free(&p);
    sm_pool_free(&p);
    sm_pool_free(NULL);
}

static void sizes_and_unused_pools(void **state) {
    (void)state;
    sm_pool *p;
    assert_true(sm_cpu_count() >= 1);
    assert_int_equal(sm_pool_new(0, &p, NULL), SM_OK);
    assert_int_equal(sm_pool_size(p), SM_MIN(sm_cpu_count(), 64));
    sm_pool_free(&p);
    assert_int_equal(sm_pool_new(1000, &p, NULL), SM_OK);
    assert_int_equal(sm_pool_size(p), 64);
    sm_pool_free(&p);
}

static bool make_pool(void *ctx) {
    (void)ctx;
    sm_pool *p;
    sm_err e = {0};
    sm_status st = sm_pool_new(2, &p, &e);
    if (st != SM_OK) {
        assert_null(p);
        assert_int_equal(st, SM_RESOURCE);
        assert_string_equal(e.msg, "out of memory");
    }
    sm_pool_free(&p);
    return st == SM_OK;
}

static void survives_failures(void **state) {
    (void)state;
    sweep(make_pool, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(barrier_separates_steps),
        cmocka_unit_test(many_runs_with_sleep_between),
        cmocka_unit_test(sizes_and_unused_pools),
        cmocka_unit_test(survives_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
