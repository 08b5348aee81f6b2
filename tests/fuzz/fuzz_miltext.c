/* SPDX-License-Identifier: MIT
 *
 * fuzz_miltext.c: any bytes as MIL text: what reads is a valid graph, prints, reads back to the same text, costs
 * something finite, and survives removal of dead nodes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/graph.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void die(const char *what, const char *a, const char *b) {
    fprintf(stderr, "%s\n%s\n%s\n", what, a, b);
    abort();
}

static void check_cost(const sm_graph *g) {
    int k = sm_graph_n_symbols(g);
    int64_t *value = calloc((size_t)k + 1, sizeof *value);
    sm_cost c;
    for (int i = 0; value != NULL && i < k; i++)
        value[i] = 3;
    for (int i = 0; value != NULL && i < g->n_funcs; i++) {
        sm_func_cost(g->funcs[i], value, 100, &c);
        if (!(c.flops >= 0) || !(c.act_bytes >= 0) || !(c.weight_bytes >= 0) || !(c.kv_bytes >= 0))
            die("a cost below 0", "", "");
    }
    free(value);
}

static void check_text(const sm_graph *g) {
    sm_err err = {0};
    sm_str first = SM_STR_INIT, second = SM_STR_INIT, strict = SM_STR_INIT;
    sm_graph *again;
    if (sm_graph_print(g, NULL, &first, &err) != SM_OK)
        die("does not print", err.msg, "");
    if (sm_graph_parse((sm_sv){first.p, first.n}, "printed", NULL, NULL, &again, &err) != SM_OK)
        die("does not read back", err.msg, first.p);
    if (sm_graph_print(again, NULL, &second, &err) != SM_OK || strcmp(first.p, second.p) != 0)
        die("reads back as another program", first.p, sm_str_z(&second));
    sm_graph_print(g, &(sm_print_opts){.mil = true}, &strict, &err);
    sm_graph_free(&again);
    sm_str_free(&first);
    sm_str_free(&second);
    sm_str_free(&strict);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    sm_err err = {0};
    sm_graph *g;
    if (sm_graph_parse((sm_sv){(const char *)p, n}, "fuzz", NULL, NULL, &g, &err) != SM_OK) {
        if (g != NULL || err.msg[0] == 0)
            abort();
        return 0;
    }
    if (sm_verify(g, &err) != SM_OK)
        die("not a valid graph", err.msg, "");
    check_text(g);
    check_cost(g);
    for (int i = 0; i < g->n_funcs; i++)
        if (sm_func_remove_dead(g->funcs[i], &err) != SM_OK)
            die("dead nodes", err.msg, "");
    if (sm_verify(g, &err) != SM_OK)
        die("not valid without dead nodes", err.msg, "");
    check_text(g);
    sm_graph_free(&g);
    return 0;
}
