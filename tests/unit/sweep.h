/* SPDX-License-Identifier: MIT
 *
 * sweep.h: what unit tests share: cmocka with its includes, the allocation-failure sweep, a temporary folder.
 *
 *     static bool make_and_check(void *ctx) { ... return false when out of memory; leak nothing; }
 *     sweep(make_and_check, NULL);      // runs it with the 1st, 2nd, 3rd.. allocation failing, until none does
 */
#ifndef SM_TEST_SWEEP_H
#define SM_TEST_SWEEP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"

/* Returns how many allocations were made to fail.  `work` must say false for each failure and true at the end. */
static inline long sweep(bool (*work)(void *ctx), void *ctx) {
    for (long n = 0;; n++) {
        long before = sm_alloc_count();
        sm_alloc_fail_after(n);
        bool ok = work(ctx);
        sm_alloc_fail_after(-1);
        if (sm_alloc_count() - before <= n) {
            assert_true(ok); /* nothing failed this time */
            return n;
        }
        if (ok)
            fail_msg("allocation %ld failed and nobody noticed", n + 1);
    }
}

/* A fresh folder for this test; remove it with scratch_remove. */
static inline char *scratch_new(void) {
    const char *base = getenv("TMPDIR");
    char path[512];
    snprintf(path, sizeof path, "%s/smelt-test-XXXXXX", base && *base ? base : "/tmp");
    assert_non_null(mkdtemp(path));
    return strdup(path);
}

static inline void scratch_remove(char *path) {
    char command[600];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    assert_int_equal(system(command), 0);
    free(path);
}

#endif
