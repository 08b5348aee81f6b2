/* SPDX-License-Identifier: MIT
 *
 * pipeline.c: the passes behind each job, in order.
 */
#include "pass/pass_int.h"

#include <math.h>
#include <string.h>

/* A bound of half of what fp16 holds: room for what rounding adds. */
#define STREAM_MOST 32768.0

sm_status sm_pipeline_fit(sm_func *f, const sm_profile *p, sm_func **out, double *scale, double *most, sm_err *err) {
    *out = f;
    *scale = 1;
    *most = INFINITY;
    if (p->act != SM_FP16)
        return SM_OK;
    SM_TRY(sm_pass_stream_bound(f, most, err));
    if (!isfinite(*most) || *most <= STREAM_MOST)
        return SM_OK;
    *scale = exp2(floor(log2(STREAM_MOST / *most)));
    SM_TRY(sm_pass_scale_stream(f, *scale, out, err));
    return sm_pass_check("fit", *out, err);
}

sm_status sm_pipeline_encode(sm_func *f, const sm_profile *p, sm_func **out, sm_err *err) {
    SM_TRY(sm_pass_encode(f, p, out, err));
    return sm_pass_check("encode", *out, err);
}

sm_status sm_pipeline_split(sm_func *f, const sm_cut *cut, int n, sm_func **out, sm_err *err) {
    SM_TRY(sm_pass_split(f, cut, n, out, err));
    for (int i = 0; i <= n; i++)
        SM_TRY(sm_pass_check("split", out[i], err));
    return SM_OK;
}

sm_status sm_pipeline_lower(sm_func *f, const sm_profile *p, const char *const *name, int n, sm_func **out,
                            sm_lowered *notes, sm_err *err) {
    for (int i = 0; i < n; i++) {
        SM_TRY(sm_pass_lower(f, &p[i], &out[i], notes != NULL ? &notes[i] : NULL, err));
        SM_TRY(sm_pass_check("lower", out[i], err));
        SM_TRY(sm_pass_canonicalise(out[i], &out[i], err));
        SM_TRY(sm_pass_check("canonicalise", out[i], err));
        out[i]->name = sm_arena_strdup(f->graph->arena, name[i]);
        if (out[i]->name == NULL)
            return SM_NOMEM(err);
    }
    return SM_OK;
}

sm_status sm_pipeline_package(sm_func *f, const sm_profile *p, const char *const *name, int n, sm_func **out,
                              sm_lowered *notes, sm_err *err) {
    SM_TRY(sm_pipeline_encode(f, &p[0], &f, err));
    return sm_pipeline_lower(f, p, name, n, out, notes, err);
}

sm_status sm_pipeline_raise(sm_func *f, const sm_raise_hints *hints, sm_func **out, sm_raised *info, sm_err *err) {
    *out = NULL;
    SM_TRY(sm_pass_canonicalise(f, &f, err));
    SM_TRY(sm_pass_check("canonicalise", f, err));
    SM_TRY(sm_pass_raise(f, hints, &f, info, err));
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
    return sm_pass_lower(f, &p, out, NULL, err);
}

/* ------------------------------------------------------------------ by name, for graph text tests */
static sm_status raise_only(sm_func *f, sm_func **out, sm_err *err) {
    sm_raised info;
    SM_TRY(sm_pass_raise(f, NULL, out, &info, err));
    return info.ok ? SM_OK : SM_FAIL(err, SM_FAILED, "not raised: %s", info.why);
}

static sm_status lower_as(const char *name, int64_t hi, sm_func *f, sm_func **out, sm_err *err) {
    sm_profile p = *sm_profile_find(name);
    p.ctx = 16;
    sm_profile_tokens(&p, hi);
    return sm_pass_lower(f, &p, out, NULL, err);
}

static sm_status lower_gpu(sm_func *f, sm_func **out, sm_err *err) {
    return lower_as("gpu", 16, f, out, err);
}
static sm_status lower_kv_io(sm_func *f, sm_func **out, sm_err *err) {
    return lower_as("kv-io", 4, f, out, err);
}
static sm_status lower_ane(sm_func *f, sm_func **out, sm_err *err) {
    return lower_as("ane", 4, f, out, err);
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
        {"lower_ane", lower_ane},
    };
    for (size_t i = 0; i < SM_ARRAY_LEN(table); i++)
        if (strcmp(table[i].name, name) == 0)
            return table[i].fn;
    return NULL;
}
