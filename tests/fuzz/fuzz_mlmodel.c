/* SPDX-License-Identifier: MIT
 *
 * fuzz_mlmodel.c: any bytes as a model file with its weight file.
 *
 *     u16 length of the weight file, the weight file, the model file
 *
 * What is read must verify and print; what can be written again must be read again, as the same functions.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/mlpackage_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static char folder[128];

static void leave(void) {
    char command[160];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (folder[0] != 0 && system(command) != 0)
        abort();
}

static const char *out_path(void) {
    static char path[160];
    if (folder[0] == 0) {
        snprintf(folder, sizeof folder, "%s/smelt-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        if (mkdtemp(folder) == NULL)
            abort();
        atexit(leave);
        snprintf(path, sizeof path, "%s/p.mlpackage", folder);
    }
    return path;
}

static void stop(const char *what, const sm_err *err) {
    fprintf(stderr, "%s: %s\n", what, err->msg);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    sm_package *pkg, *again;
    sm_err err = {0};
    sm_str s = SM_STR_INIT;
    if (n < 2)
        return 0;
    size_t w = SM_MIN(p[0] + 256 * (size_t)p[1], n - 2);
    /* At an address as aligned as a mapping. */
    uint8_t *weights = sm_alloc_aligned(w, 64);
    for (size_t i = 0; i < w; i++)
        weights[i] = p[2 + i];
    if (sm_mlpackage_read_mem("fuzz", (sm_bytes){p + 2 + w, n - 2 - w}, (sm_bytes){weights, w}, &pkg, &err) != SM_OK) {
        if (pkg != NULL || err.msg[0] == 0)
            abort();
        sm_free_aligned(weights);
        return 0;
    }
    if (sm_verify(pkg->graph, &err) != SM_OK)
        stop("verify", &err);
    if (sm_graph_print(pkg->graph, &(sm_print_opts){0}, &s, &err) != SM_OK && err.code != SM_UNSUPPORTED)
        stop("print", &err);
    if (sm_mlpackage_write(pkg, out_path(), NULL, &err) == SM_OK) {
        if (sm_mlpackage_read(out_path(), &again, &err) != SM_OK)
            stop("read again", &err);
        if (again->graph->n_funcs != pkg->graph->n_funcs)
            abort();
        sm_graph_free(&again->graph);
    } else if (err.code == SM_RESOURCE) {
        stop("write", &err);
    }
    sm_str_free(&s);
    sm_graph_free(&pkg->graph);
    sm_free_aligned(weights);
    return 0;
}
