/* SPDX-License-Identifier: MIT
 *
 * dump_tensor.c: decoded weights of a GGUF file on stdout, for comparison with other readers.
 *
 *     dump_tensor FILE            one line a tensor: name, encoding, dims (outermost first)
 *     dump_tensor FILE all        f32 values of all tensors, in the order of that list
 *     dump_tensor FILE meta       the file's general.* and tokenizer.* keys as a GGUF file without tensors
 *     dump_tensor FILE time       decodes everything, prints weights per second
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "format/gguf.h"

enum { SLAB = 1 << 20 }; /* values decoded at a time, at least a row */

static void list(const sm_checkpoint *c) {
    char enc[128];
    for (size_t i = 0; i < c->n_tensors; i++) {
        const sm_tensor *t = &c->tensors[i];
        printf("%.*s %s", (int)t->name.n, t->name.p, sm_enc_print(&t->enc, t->rank, enc, sizeof enc));
        for (int a = 0; a < t->rank; a++)
            printf(" %" PRId64, t->dims[a]);
        printf("\n");
    }
}

static sm_status decode(const sm_checkpoint *c, FILE *to, sm_err *err) {
    uint64_t total = 0;
    int64_t us = 0;
    for (size_t i = 0; i < c->n_tensors; i++) {
        const sm_tensor *t = &c->tensors[i];
        uint64_t rows = sm_tensor_rows(t), cols = (uint64_t)sm_tensor_cols(t);
        uint64_t slab = SM_MAX(UINT64_C(1), SLAB / cols);
        float *x = sm_alloc_n((size_t)(slab * cols), sizeof *x);
        if (x == NULL)
            return SM_NOMEM(err);
        for (uint64_t r = 0; r < rows; r += slab) {
            uint64_t n = SM_MIN(slab, rows - r);
            int64_t t0 = sm_now_us();
            sm_decode_rows(t, r, n, x);
            us += sm_now_us() - t0;
            if (to != NULL)
                fwrite(x, sizeof *x, (size_t)(n * cols), to);
        }
        total += rows * cols;
        sm_free(x);
    }
    if (to == NULL)
        printf("%.1f M weights/s\n", (double)total / (double)SM_MAX(us, 1));
    return SM_OK;
}

static sm_status dump(const char *path, const char *what, sm_err *err) {
    static const char *const prefixes[] = {"general.", "tokenizer."};
    sm_checkpoint *c;
    sm_str s = SM_STR_INIT;
    SM_TRY(sm_gguf_open(path, &c, err));
    sm_status st = SM_OK;
    if (what == NULL)
        list(c);
    else if (strcmp(what, "all") == 0)
        st = decode(c, stdout, err);
    else if (strcmp(what, "time") == 0)
        st = decode(c, NULL, err);
    else
        st = sm_gguf_write_meta(c, prefixes, 2, &s, err);
    if (st == SM_OK && s.n > 0)
        fwrite(s.p, 1, s.n, stdout);
    sm_str_free(&s);
    sm_checkpoint_free(&c);
    return st;
}

int main(int argc, char **argv) {
    sm_err err = {0};
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: dump_tensor FILE [all|meta|time]\n");
        return 2;
    }
    sm_status st = dump(argv[1], argc > 2 ? argv[2] : NULL, &err);
    if (st != SM_OK)
        fprintf(stderr, "%s\n", err.msg);
    return sm_exit_code(st);
}
