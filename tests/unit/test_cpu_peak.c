/* SPDX-License-Identifier: MIT
 *
 * test_cpu_peak.c: the measuring loops do what they count: they read every byte, and no compiler left them out.
 */
#include "sweep.h"

#include "backend/cpu/peak.h"
#include "base/log.h"

enum { BYTES = 64 << 10 };

/* Each loop gives the exclusive or of all 64-bit words: a byte changed anywhere changes it. */
static void reads_every_byte(void **state) {
    (void)state;
    uint8_t *p = sm_alloc_aligned(BYTES, 64);
    uint64_t want = 0, w;
    assert_non_null(p);
    for (size_t i = 0; i < BYTES; i++)
        p[i] = (uint8_t)(i * 7 + (i >> 8));
    for (size_t i = 0; i < BYTES; i += 8) {
        memcpy(&w, p + i, 8);
        want ^= w;
    }
    for (int isa = 0; isa <= (int)sm_isa_detect(); isa++) {
        if (!sm_isa_built((sm_isa)isa))
            continue;
        sm_peak_loops l;
        sm_peak_loops_init(&l, (sm_isa)isa);
        assert_int_equal(l.read(p, BYTES), want);
        for (size_t i = 0; i < BYTES; i += 61) {
            p[i] ^= 0x10;
            assert_int_equal(l.read(p, BYTES), want ^ (uint64_t)0x10 << 8 * (i % 8));
            p[i] ^= 0x10;
        }
    }
    sm_free_aligned(p);
}

/* Sums that are known: 3 * -5 over four products a lane and round, xor'ed over an even number of equal sums is 0; so the
 * loops are told apart by their counts. */
static void counts_what_it_does(void **state) {
    (void)state;
    for (int isa = 0; isa <= (int)sm_isa_detect(); isa++) {
        if (!sm_isa_built((sm_isa)isa))
            continue;
        sm_peak_loops l;
        int32_t i8;
        float f;
        sm_peak_loops_init(&l, (sm_isa)isa);
        double one = l.int8(1, &i8), many = l.int8(1000, &i8);
        assert_true(one >= 64 && many > 999.5 * one && many < 1000.5 * one);
        one = l.f32(1, &f), many = l.f32(1000, &f);
        assert_true(one >= 16 && many > 999.5 * one && many < 1000.5 * one);
        assert_true(f > 0.0f && f < 1e6f);
    }
}

/* Faster than any core could be would mean that the work was optimized away. */
static void within_reason(void **state) {
    (void)state;
    const sm_peak_opts o = {.n_threads = 2, .last_cache_bytes = 1 << 20, .memory_bytes = 256 << 20, .seconds = 0.3};
    for (int isa = 0; isa <= (int)sm_isa_detect(); isa++) {
        if (!sm_isa_built((sm_isa)isa))
            continue;
        sm_peak p;
        sm_err err;
        assert_int_equal(sm_peak_measure(&o, (sm_isa)isa, &p, &err), SM_OK);
        printf("# %s: read %.1f and %.1f GB/s, int8 %.3f and %.3f Top/s, f32 %.1f and %.1f Gflop/s (%s), %.2f s\n",
               p.int8_isa, p.read_gbps_1, p.read_gbps, p.int8_tops_1, p.int8_tops, p.f32_gflops_1, p.f32_gflops,
               p.f32_isa, p.seconds);
        assert_int_equal(p.n_threads, 2);
        assert_int_equal(p.working_set, 64 << 20);
        assert_true(p.read_gbps_1 > 0.05 && p.read_gbps_1 < 500 && p.read_gbps >= p.read_gbps_1);
        /* 2 ports, 64 products of 2 operations, 7 GHz; f32: 16 lanes */
        assert_true(p.int8_tops_1 > 1e-4 && p.int8_tops_1 < 2 * 64 * 2 * 7e-3 && p.int8_tops >= p.int8_tops_1);
        assert_true(p.f32_gflops_1 > 0.1 && p.f32_gflops_1 < 2 * 16 * 2 * 7 && p.f32_gflops >= p.f32_gflops_1);
        assert_true(p.seconds < 10);
    }
}

static bool measure(void *ctx) {
    const sm_peak_opts o = {.n_threads = 1, .memory_bytes = 1 << 20, .seconds = 0.001};
    sm_peak p;
    sm_err err;
    (void)ctx;
    sm_status st = sm_peak_measure(&o, SM_ISA_C, &p, &err);
    assert_true(st == SM_OK || st == SM_RESOURCE);
    return st == SM_OK;
}

static void fails_well(void **state) {
    (void)state;
    assert_true(sweep(measure, NULL) > 0);
    const sm_peak_opts o = {.n_threads = 1, .memory_bytes = 1 << 20, .seconds = 0.001};
    sm_peak p;
    sm_err err;
    sm_cancel_set(true);
    assert_int_equal(sm_peak_measure(&o, SM_ISA_C, &p, &err), SM_CANCELLED);
    sm_cancel_set(false);
}

static void choice_of_a_set(void **state) {
    (void)state;
    sm_isa isa;
    sm_err err;
    setenv("SMELT_CPU", "c", 1);
    assert_int_equal(sm_isa_choose(&isa, &err), SM_OK);
    assert_int_equal(isa, SM_ISA_C);
    setenv("SMELT_CPU", "z80", 1);
    assert_int_equal(sm_isa_choose(&isa, &err), SM_USAGE);
    unsetenv("SMELT_CPU");
    assert_int_equal(sm_isa_choose(&isa, &err), SM_OK);
    assert_int_equal(isa, sm_isa_detect());
    assert_string_equal(sm_isa_needs(SM_ISA_C), "");
#if defined(__x86_64__)
    assert_non_null(strstr(sm_isa_needs(SM_ISA_AVX512VNNI), "vnni"));
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_byte), cmocka_unit_test(counts_what_it_does), cmocka_unit_test(within_reason),
        cmocka_unit_test(fails_well),       cmocka_unit_test(choice_of_a_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
