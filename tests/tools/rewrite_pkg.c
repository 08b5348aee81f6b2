/* SPDX-License-Identifier: MIT
 *
 * rewrite_pkg.c: Core ML packages through our reader and writer, for comparison with other readers.
 *
 *     rewrite_pkg IN OUT [-v]    reads and writes; -v: one line a tensor, as it is written
 *     rewrite_pkg IN             graph text, values renamed in order, constants' data left out
 *     rewrite_pkg IN names       the same with names
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "format/mlpackage.h"

static void on_tensor(void *ctx, const sm_pkg_tensor_report *r) {
    (void)ctx;
    printf("%s %s nmse %.3g %" PRIu64 " -> %" PRIu64 "\n", r->name, sm_carry_name(r->how), sm_xerr_nmse(&r->err),
           r->src_bytes, r->out_bytes);
}

static sm_status print(const sm_package *p, bool names, sm_err *err) {
    sm_str s = SM_STR_INIT;
    sm_print_opts o = {.anonymous = !names, .no_data = true};
    SM_TRY(sm_graph_print(p->graph, &o, &s, err));
    fwrite(sm_str_z(&s), 1, s.n, stdout);
    sm_str_free(&s);
    return SM_OK;
}

int main(int argc, char **argv) {
    sm_err err = {0};
    sm_package *p = NULL;
    if (argc < 2)
        return 2;
    bool names = argc == 3 && strcmp(argv[2], "names") == 0;
    sm_pkg_write_opts o = {.on_tensor = argc > 3 && strcmp(argv[3], "-v") == 0 ? on_tensor : NULL};
    sm_status st = sm_mlpackage_read(argv[1], &p, &err);
    if (st == SM_OK)
        st = sm_verify(p->graph, &err);
    if (st == SM_OK)
        st = argc == 2 || names ? print(p, names, &err) : sm_mlpackage_write(p, argv[2], &o, &err);
    if (st == SM_OK && argc > 3)
        printf("peak %" PRIu64 " bytes\n", sm_peak_anon_bytes());
    if (st != SM_OK)
        fprintf(stderr, "rewrite_pkg: %s\n", err.msg);
    if (st != SM_OK && err.hint[0] != 0)
        fprintf(stderr, "hint: %s\n", err.hint);
    if (p != NULL)
        sm_graph_free(&p->graph);
    return sm_exit_code(st);
}
