/* SPDX-License-Identifier: MIT
 *
 * pipeline.c: the passes behind each job, in order.
 */
#include "pass/pass_int.h"

#include <string.h>

sm_status sm_pipeline_package(sm_func *f, const sm_profile *p, sm_func **out, sm_err *err) {
    SM_TRY(sm_pass_encode(f, p, &f, err));
    SM_TRY(sm_pass_check("encode", f, err));
    SM_TRY(sm_pass_lower(f, p, &f, err));
    SM_TRY(sm_pass_check("lower", f, err));
    SM_TRY(sm_pass_canonicalise(f, &f, err));
    SM_TRY(sm_pass_check("canonicalise", f, err));
    *out = f;
    return SM_OK;
}

sm_status sm_pipeline_raise(sm_func *f, sm_func **out, sm_raised *info, sm_err *err) {
    *out = NULL;
    SM_TRY(sm_pass_canonicalise(f, &f, err));
    SM_TRY(sm_pass_check("canonicalise", f, err));
    SM_TRY(sm_pass_raise(f, &f, info, err));
    if (!info->ok)
        return SM_OK;
    SM_TRY(sm_pass_check("raise", f, err));
    SM_TRY(sm_pass_fuse_rows(f, &f, err));
    SM_TRY(sm_pass_check("fuse_rows", f, err));
    *out = f;
    return SM_OK;
}

sm_status sm_pass_decompose(sm_func *f, sm_func **out, sm_err *err) {
    sm_profile p = *sm_profile_find("plain");
    SM_TRY(sm_pass_encode(f, &p, &f, err));
    return sm_pass_lower(f, &p, out, err);
}

/* ------------------------------------------------------------------ by name, for graph text tests */
static sm_status raise_only(sm_func *f, sm_func **out, sm_err *err) {
    sm_raised info;
    SM_TRY(sm_pass_raise(f, out, &info, err));
    return info.ok ? SM_OK : SM_FAIL(err, SM_FAILED, "not raised: %s", info.why);
}

static sm_status lower_as(const char *name, int64_t seq_min, int64_t seq_max, sm_func *f, sm_func **out, sm_err *err) {
    sm_profile p = *sm_profile_find(name);
    p.ctx = 16;
    p.seq_min = seq_min;
    p.seq_max = seq_max;
    return sm_pass_lower(f, &p, out, err);
}

static sm_status lower_gpu(sm_func *f, sm_func **out, sm_err *err) {
    return lower_as("gpu", 1, 16, f, out, err);
}
static sm_status lower_kv_io(sm_func *f, sm_func **out, sm_err *err) {
    return lower_as("kv-io", 4, 4, f, out, err);
}

sm_pass_fn sm_pass_by_name(const char *name) {
    static const struct {
        const char *name;
        sm_pass_fn fn;
    } table[] = {
        {"canonicalise", sm_pass_canonicalise},
        {"fuse_rows", sm_pass_fuse_rows},
        {"decompose", sm_pass_decompose},
        {"raise", raise_only},
        {"lower_gpu", lower_gpu},
        {"lower_kv_io", lower_kv_io},
    };
    for (size_t i = 0; i < SM_ARRAY_LEN(table); i++)
        if (strcmp(table[i].name, name) == 0)
            return table[i].fn;
    return NULL;
}
