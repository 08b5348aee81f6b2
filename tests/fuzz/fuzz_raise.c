/* SPDX-License-Identifier: MIT
 *
 * fuzz_raise.c: any program, as MIL text, through the passes: a package's program is raised, a row-form one is lowered by
 * every profile.  What comes out is a valid graph; what does not come out says why.
 *
 * Most changes are of words (words.h).
 */
#include <stdio.h>

#include "graph/rows.h"
#include "pass/pass.h"
#include "words.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
size_t LLVMFuzzerCustomMutator(uint8_t *p, size_t n, size_t max, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *p, size_t n, size_t max);

static void die(const char *what, const char *why) {
    fprintf(stderr, "%s\n%s\n", what, why);
    abort();
}

static void lower(sm_func *f, const char *profile) {
    sm_err err = {0};
    sm_profile p = *sm_profile_find(profile);
    p.ctx = 16;
    sm_profile_tokens(&p, p.shape == SM_SHAPE_RANGE ? 16 : 4);
    const char *name = f->name;
    sm_status st = sm_pipeline_package(f, &p, &name, 1, &f, NULL, &err);
    if (st == SM_OK && sm_verify_func(f, &err) != SM_OK)
        die("lowered to an invalid graph", err.msg);
    if (st != SM_OK && err.msg[0] == 0)
        die("not lowered, and no word why", profile);
}

static void raise_func(sm_func *f) {
    sm_err err = {0};
    sm_raised info = {0};
    sm_func *out = NULL;
    sm_status st = sm_pipeline_raise(f, NULL, &out, &info, &err);
    if (st != SM_OK)
        die("raising failed", err.msg);
    if (info.ok != (out != NULL) || (!info.ok && info.why[0] == 0))
        die("not raised, and no word why", "");
    if (out != NULL && (!sm_func_is_rows(out) || sm_verify_func(out, &err) != SM_OK))
        die("raised to an invalid graph", err.msg);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    static const char *const profiles[] = {"gpu", "kv-io", "ane", "plain"};
    sm_err err = {0};
    sm_graph *g;
    for (size_t i = 0; i < SM_ARRAY_LEN(profiles); i++) {
        if (sm_graph_parse((sm_sv){(const char *)p, n}, "fuzz", NULL, NULL, &g, &err) != SM_OK)
            return 0;
        sm_func *f = sm_graph_func(g, NULL);
        bool rows = f != NULL && sm_func_is_rows(f);
        if (rows)
            lower(f, profiles[i]);
        else if (f != NULL)
            raise_func(f);
        sm_graph_free(&g);
        if (!rows)
            break;
    }
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *p, size_t n, size_t max, unsigned seed) {
    if (n < 16 || seed % 4 == 0)
        return LLVMFuzzerMutate(p, n, max);
    srand(seed);
    return change_words(p, n, 0, n, max);
}
