/* SPDX-License-Identifier: MIT
 *
 * null.c: compiles anything whose types are known, runs to zeros of the right shapes.
 *
 * As written: symbols are bound from the inputs, outputs are zeros of the extents that inference gave.  Row form: zero
 * logits.  No weights are touched.
 */
#include "backend/null/null.h"

#include <string.h>

#include "backend/call.h"

struct sm_exe {
    const sm_func *f;
    sm_limits lim;
};

static bool null_available(char *why, size_t cap) {
    (void)why;
    (void)cap;
    return true;
}

static sm_status null_compile(const sm_func *f, const sm_limits *lim, sm_exe **out, sm_err *err) {
    *out = NULL;
    SM_TRY(sm_call_check_func(f, lim, err));
    sm_exe *e = sm_alloc(sizeof *e);
    if (e == NULL)
        return SM_NOMEM(err);
    e->f = f;
    if (lim != NULL)
        e->lim = *lim;
    *out = e;
    return SM_OK;
}

static void null_free(sm_exe **e) {
    sm_free(*e);
    *e = NULL;
}

static sm_status null_run_rows(sm_exe *e, const sm_batch *b, float *logits, sm_err *err) {
    const sm_value *v = e->f->body->out[0];
    int64_t vocab = v->type.rank == 2 ? v->type.dims[1] : -1;
    SM_TRY(sm_batch_check(b, &e->lim, err));
    if (!sm_dim_known(vocab) || vocab < 0)
        return SM_FAIL(err, SM_UNSUPPORTED, "function '%s': the vocabulary's size is not known", e->f->name);
    memset(logits, 0, (size_t)b->n_out * (size_t)vocab * sizeof *logits);
    return SM_OK;
}

static sm_status zero_outputs(const sm_func *f, const sm_binding *b, sm_arrays *out, sm_err *err) {
    for (int i = 0; i < f->body->n_out; i++) {
        const sm_value *v = f->body->out[i];
        int64_t dims[SM_MAX_RANK];
        SM_TRY(sm_call_dims(f, v, b, dims, err));
        sm_array *a = sm_arrays_add(out);
        if (a == NULL)
            return SM_NOMEM(err);
        SM_TRY(sm_array_new(a, v->name, sm_call_dtype(v->type.dtype), v->type.rank, dims, err));
    }
    return SM_OK;
}

static sm_status null_run(sm_exe *e, const sm_arrays *in, sm_states *states, sm_arrays *out, sm_err *err) {
    sm_binding b;
    sm_status st = sm_call_bind(e->f, in, &b, err);
    if (st == SM_OK)
        st = sm_call_states(e->f, states, err);
    if (st == SM_OK)
        st = zero_outputs(e->f, &b, out, err);
    sm_binding_free(&b);
    return st;
}

static void null_info(const sm_exe *e, sm_exe_info *out) {
    (void)e;
    *out = (sm_exe_info){.isa = "none", .n_threads = 1};
}

const sm_backend sm_backend_null = {
    .name = "null",
    .doc = "shapes only: zeros, for tests of logic",
    .rows = true,
    .as_written = true,
    .available = null_available,
    .compile = null_compile,
    .free = null_free,
    .run_rows = null_run_rows,
    .run = null_run,
    .info = null_info,
};
