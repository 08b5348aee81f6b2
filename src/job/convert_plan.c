/* SPDX-License-Identifier: MIT
 *
 * convert_plan.c: the words of a conversion -> profiles, one per function of the package.
 *
 * A word that is given is never changed: what does not go with it is refused (sm_profile_check).  What is not given takes
 * the design's usual form that the target holds.
 */
#include "job/convert_plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

/* ------------------------------------------------------------------ words */
typedef struct word {
    const char *name;
    int value;
} word;

static const word unit_words[] = {
    {"all", 0},      {"cpuAndGPU", 0},          {"cpuOnly", 0},    {"CPU_AND_GPU", 0},
    {"CPU_ONLY", 0}, {"cpuAndNeuralEngine", 1}, {"CPU_AND_NE", 1}, {NULL, 0},
};
static const word kv_words[] = {{"state", SM_KV_STATE}, {"io", SM_KV_IO}, {"none", SM_KV_NONE}, {NULL, 0}};
static const word precision_words[] = {
    {"fp16", SM_FP16}, {"fp32", SM_FP32}, {"float16", SM_FP16}, {"float32", SM_FP32}, {NULL, 0}};
static const word mask_words[] = {{"given", SM_PLACE_GIVEN}, {"made", SM_PLACE_MADE}, {NULL, 0}};
static const word attention_words[] = {{"fused", SM_ATTN_FUSED}, {"decomposed", SM_ATTN_GROUPED}, {NULL, 0}};

/* *out is `absent` when the word is not given. */
static sm_status take(const char *option, const char *text, const word *w, int absent, int *out, sm_err *err) {
    char list[256] = "";
    size_t n = 0;
    *out = absent;
    if (text == NULL)
        return SM_OK;
    for (const word *k = w; k->name != NULL; k++) {
        if (strcasecmp(text, k->name) == 0) {
            *out = k->value;
            return SM_OK;
        }
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", n > 0 ? ", " : "", k->name);
    }
    SM_FAIL(err, SM_UNSUPPORTED, "--%s %s is not supported", option, text);
    sm_err_hint(err, "supported: %s", list);
    return SM_UNSUPPORTED;
}

static sm_status take_target(const char *text, int *spec, sm_err *err) {
    int n;
    *spec = 9;
    if (text == NULL)
        return SM_OK;
    const sm_target *t = sm_target_find(text), *all = sm_targets(&n);
    if (t == NULL) {
        SM_FAIL(err, SM_UNSUPPORTED, "--target %s is not supported: no system that ML Programs are written for", text);
        sm_err_hint(err, "supported: %s to %s, or %s to %s", all[0].ios, all[n - 1].ios, all[0].macos,
                    all[n - 1].macos);
        return SM_UNSUPPORTED;
    }
    *spec = t->spec;
    return SM_OK;
}

/* ------------------------------------------------------------------ lengths */
static bool number(const char **p, int64_t *out) {
    int64_t v = 0;
    const char *s = *p;
    while (*s >= '0' && *s <= '9' && v < INT32_MAX)
        v = 10 * v + (*s++ - '0');
    bool ok = s != *p && v >= 1 && v <= INT32_MAX;
    *p = s;
    *out = v;
    return ok;
}

static void sorted_in(sm_profile *p, int64_t v) {
    int i = p->n_seq;
    for (int k = 0; k < p->n_seq; k++)
        if (p->seq[k] == v)
            return;
    for (; i > 0 && p->seq[i - 1] > v; i--)
        p->seq[i] = p->seq[i - 1];
    p->seq[i] = v;
    p->n_seq++;
}

/* "N", "A..B", "N,M,..". */
static sm_status take_seq(const char *text, sm_profile *p, sm_err *err) {
    const char *s = text;
    int64_t v, hi;
    p->n_seq = 0;
    if (!number(&s, &v))
        goto bad;
    if (*s == '\0') {
        p->shape = SM_SHAPE_FIXED;
        p->seq[p->n_seq++] = v;
        return SM_OK;
    }
    if (s[0] == '.' && s[1] == '.') {
        s += 2;
        if (!number(&s, &hi) || *s != '\0' || hi < v)
            goto bad;
        p->shape = SM_SHAPE_RANGE;
        p->seq[p->n_seq++] = v;
        p->seq[p->n_seq++] = hi;
        return SM_OK;
    }
    p->shape = SM_SHAPE_LIST;
    sorted_in(p, v);
    while (*s == ',') {
        s++;
        if (!number(&s, &v))
            goto bad;
        if (p->n_seq == SM_MAX_SHAPES)
            return SM_FAIL(err, SM_UNSUPPORTED, "--seq %s: Core ML enumerates at most %d shapes", text, SM_MAX_SHAPES);
        sorted_in(p, v);
    }
    if (*s == '\0')
        return SM_OK;
bad:
    return SM_FAIL(err, SM_USAGE, "--seq %s: wanted tokens per call as N, A..B or N,M,..", text);
}

/* "name:N,name:N@CTX": functions of fixed shapes. */
static sm_status take_functions(const char *text, sm_convert_plan *plan, const sm_profile *base, sm_arena *a,
                                sm_err *err) {
    const char *s = text;
    plan->n = 0;
    while (true) {
        const char *colon = strchr(s, ':');
        size_t len = colon != NULL ? (size_t)(colon - s) : 0;
        if (len == 0 || len > 64 || strcspn(s, ",@. /") < len)
            goto bad;
        if (plan->n == SM_CONVERT_FUNCTIONS)
            return SM_FAIL(err, SM_UNSUPPORTED, "--functions: at most %d", SM_CONVERT_FUNCTIONS);
        sm_profile *p = &plan->p[plan->n];
        *p = *base;
        plan->name[plan->n] = sm_arena_strndup(a, s, len);
        if (plan->name[plan->n] == NULL)
            return SM_NOMEM(err);
        for (int i = 0; i < plan->n; i++)
            if (strcmp(plan->name[i], plan->name[plan->n]) == 0)
                return SM_FAIL(err, SM_USAGE, "--functions %s: '%s' stands there twice", text, plan->name[i]);
        plan->n++;
        s = colon + 1;
        p->shape = SM_SHAPE_FIXED;
        p->n_seq = 1;
        if (!number(&s, &p->seq[0]) || (*s == '@' && (s++, !number(&s, &p->ctx))))
            goto bad;
        if (*s == '\0')
            return SM_OK;
        if (*s++ != ',')
            goto bad;
    }
bad:
    return SM_FAIL(err, SM_USAGE, "--functions %s: wanted NAME:TOKENS,.. or NAME:TOKENS@CONTEXT,..", text);
}

/* ------------------------------------------------------------------ head, precision */
static sm_status take_head(const char *text, sm_profile *p, sm_err *err) {
    static const word words[] = {{"all", SM_HEAD_ALL}, {"last", SM_HEAD_LAST}, {"argmax", SM_HEAD_ARGMAX}, {NULL, 0}};
    int64_t k;
    int v;
    if (text != NULL && strncasecmp(text, "topk:", 5) == 0) {
        const char *s = text + 5;
        if (!number(&s, &k) || *s != '\0' || k > 1024)
            return SM_FAIL(err, SM_USAGE, "--logits %s: wanted topk:K with K from 1 to 1024", text);
        p->head = SM_HEAD_TOPK;
        p->top_k = (int)k;
        return SM_OK;
    }
    SM_TRY(take("logits", text, words, SM_HEAD_ALL, &v, err));
    p->head = (sm_head_form)v;
    return SM_OK;
}

static sm_status take_wide(const char *text, sm_profile *p, sm_arena *a, sm_err *err) {
    if (text == NULL || *text == '\0')
        return SM_OK;
    size_t n = 1;
    for (const char *s = text; *s != '\0'; s++)
        n += *s == ',';
    const char **list = sm_arena_alloc_n(a, n, sizeof *list);
    if (list == NULL)
        return SM_NOMEM(err);
    p->n_wide = 0;
    for (const char *s = text;; s++) {
        size_t len = strcspn(s, ",");
        if (len > 0 && (list[p->n_wide++] = sm_arena_strndup(a, s, len)) == NULL)
            return SM_NOMEM(err);
        s += len;
        if (*s == '\0')
            break;
    }
    p->wide = list;
    return SM_OK;
}

/* ------------------------------------------------------------------ */
/* The row of the profiles' table that the words ask for, with what they say about it. */
static sm_status choose_design(const sm_convert_words *w, sm_profile *p, sm_err *err) {
    int spec, engine, kv, act, mask, attn;
    SM_TRY(take_target(w->target, &spec, err));
    SM_TRY(take("units", w->units, unit_words, 0, &engine, err));
    SM_TRY(take("kv", w->kv, kv_words, -1, &kv, err));
    SM_TRY(take("precision", w->precision, precision_words, SM_FP16, &act, err));
    bool states = sm_target_has(spec, SM_FEATURE_STATES);
    bool io = kv == SM_KV_IO || (kv < 0 && !states);
    *p = *sm_profile_find(engine != 0 ? "ane" : io ? "kv-io" : "gpu");
    p->opset = spec;
    p->act = (sm_dtype)act;
    if (kv >= 0)
        p->kv = (sm_kv_form)kv;
    if (act == SM_FP32)
        p->norm = SM_NORM_F32;
    SM_TRY(take("mask", w->mask, mask_words, p->kv == SM_KV_NONE ? SM_PLACE_MADE : (int)p->mask, &mask, err));
    p->mask = (sm_place_form)mask;
    int usual =
        p->attn == SM_ATTN_FUSED && !sm_target_has(spec, SM_FEATURE_FUSED_ATTENTION) ? SM_ATTN_GROUPED : (int)p->attn;
    SM_TRY(take("attention", w->attention, attention_words, usual, &attn, err));
    if (engine != 0 && w->attention != NULL && attn == SM_ATTN_FUSED) {
        SM_FAIL(err, SM_UNSUPPORTED, "--attention fused: the Neural Engine has no fused attention of any size");
        return sm_err_hint(err, "leave it out, or use --units cpuAndGPU");
    }
    if (engine == 0)
        p->attn = (sm_attn_form)attn;
    if (p->kv == SM_KV_NONE && p->mask == SM_PLACE_GIVEN)
        return SM_FAIL(err, SM_UNSUPPORTED, "--kv none with --mask given: without caches the mask is made inside");
    return take_head(w->logits, p, err);
}

sm_status sm_convert_plan_of(const sm_convert_words *w, int64_t ctx, sm_arena *a, sm_convert_plan *plan, sm_err *err) {
    sm_profile base;
    memset(plan, 0, sizeof *plan);
    SM_TRY(choose_design(w, &base, err));
    SM_TRY(take_wide(w->fp32, &base, a, err));
    base.ctx = ctx;
    if (w->seq != NULL && w->functions != NULL)
        return SM_FAIL(err, SM_USAGE,
                       "--seq and --functions: each says how many tokens a call has; wanted one of them");
    const char *functions = w->functions;
    char usual[64];
    bool several = sm_target_has(base.opset, SM_FEATURE_FUNCTIONS);
    if (functions == NULL && w->seq == NULL && base.axes == SM_AXES_CHANNELS && several) {
        snprintf(usual, sizeof usual, "prefill:%d,decode:1", (int)SM_MIN(ctx, 64));
        functions = usual;
    }
    if (functions != NULL) {
        SM_TRY(sm_target_want(base.opset, SM_FEATURE_FUNCTIONS, "--functions", err));
        SM_TRY(take_functions(functions, plan, &base, a, err));
    } else {
        plan->n = 1;
        plan->name[0] = "main";
        plan->p[0] = base;
        if (w->seq != NULL) {
            SM_TRY(take_seq(w->seq, &plan->p[0], err));
        } else if (base.axes != SM_AXES_CHANNELS) {
            plan->p[0].shape = SM_SHAPE_RANGE;
            plan->p[0].n_seq = 2;
            plan->p[0].seq[0] = 1;
            plan->p[0].seq[1] = ctx;
        }
    }
    for (int i = 0; i < plan->n; i++)
        SM_TRY(sm_profile_check(&plan->p[i], err));
    return SM_OK;
}
