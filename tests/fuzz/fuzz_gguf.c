/* SPDX-License-Identifier: MIT
 *
 * fuzz_gguf.c: any bytes as a GGUF file: opened, every row of what opens decoded, metadata written and read again.
 */
#include <stdlib.h>

#include "format/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static volatile uint64_t sink;

/* The whole value, element by element, so that every byte that a view promises is read. */
static void touch(const sm_meta *m) {
    uint64_t sum = 0;
    if (m->type == SM_META_STR)
        for (size_t i = 0; i < m->u.s.n; i++)
            sum += (uint8_t)m->u.s.p[i];
    for (uint64_t i = 0; m->type == SM_META_ARRAY && i < m->u.a.n; i++) {
        if (m->elem == SM_META_STR)
            sum += m->u.a.strs[i].n > 0 ? (uint8_t)m->u.a.strs[i].p[m->u.a.strs[i].n - 1] : 0;
        else
            sum += (uint64_t)sm_meta_elem_int(m, i);
    }
    sink = sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    sm_checkpoint *c, *again;
    sm_err err = {0};
    sm_str s = SM_STR_INIT;
    if (sm_gguf_open_mem(p, n, "fuzz", &c, &err) != SM_OK) {
        if (c != NULL || err.msg[0] == 0)
            abort();
        return 0;
    }
    for (size_t i = 0; i < c->n_meta; i++)
        touch(&c->meta[i]);
    for (size_t i = 0; i < c->n_tensors; i++) {
        const sm_tensor *t = &c->tensors[i];
        if (sm_tensor_check(t, &err) != SM_OK)
            abort();
        float *x = sm_alloc_n((size_t)sm_tensor_cols(t), sizeof *x);
        for (uint64_t r = 0; x != NULL && r < sm_tensor_rows(t); r++)
            sm_decode_rows(t, r, 1, x);
        sm_free(x);
    }
    if (sm_gguf_write_meta(c, (const char *const[]){""}, 1, &s, &err) != SM_OK ||
        sm_gguf_open_mem(s.p, s.n, "again", &again, &err) != SM_OK || again->n_meta != c->n_meta)
        abort();
    sm_checkpoint_free(&again);
    sm_checkpoint_free(&c);
    sm_str_free(&s);
    return 0;
}
