/* SPDX-License-Identifier: MIT
 *
 * profile.c: the package designs, one row each.
 *
 * A profile says what a lowered program looks like; lower.c and its files only look at these fields, never at a name.
 * What a conversion chooses (target, context, tokens per call, quantization...) is filled into a copy of a row.
 */
#include "pass/pass.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <string.h>

static const sm_profile profiles[] = {
    {
        .name = "gpu",
        .doc = "GPU design: KV caches as states, fused attention, flexible length, blockwise integer weights",
        .opset = 9,
        .kv = SM_KV_STATE,
        .norm = SM_NORM_F32,
        .act = SM_FP16,
        .attn = SM_ATTN_FUSED,
        .turns = SM_PLACE_MADE,
        .shape = SM_SHAPE_RANGE,
        .blocks = true,
        .float_offset = true,
    },
    {
        .name = "kv-io",
        .doc = "static shapes, KV caches as inputs and new columns as outputs, decomposed attention",
        .opset = 9,
        .kv = SM_KV_IO,
        .norm = SM_NORM_LAYER_NORM,
        .act = SM_FP16,
        .attn = SM_ATTN_GROUPED,
        .turns = SM_PLACE_MADE,
        .shape = SM_SHAPE_FIXED,
        .blocks = true,
        .float_offset = true,
    },
    {
        .name = "ane",
        .doc = "Neural Engine design: channels first, 1x1 convolutions, heads one by one, KV caches as inputs and new "
               "columns as outputs, static shapes, palettes",
        .opset = 9,
        .kv = SM_KV_IO,
        .norm = SM_NORM_LAYER_NORM,
        .act = SM_FP16,
        .attn = SM_ATTN_PER_HEAD,
        .axes = SM_AXES_CHANNELS,
        .turns = SM_PLACE_GIVEN,
        .shape = SM_SHAPE_FIXED,
        .narrow = true,
        .head_rows = 16384,
    },
    {
        .name = "plain",
        .doc = "the definition of the composites: fp32 MIL for one whole text, no cache",
        .opset = 9,
        .kv = SM_KV_NONE,
        .norm = SM_NORM_F32,
        .act = SM_FP32,
        .attn = SM_ATTN_GROUPED,
        .mask = SM_PLACE_MADE,
        .turns = SM_PLACE_MADE,
        .shape = SM_SHAPE_RANGE,
        .as_is = true,
        .blocks = true,
        .float_offset = true,
    },
};

const sm_profile *sm_profiles(int *n) {
    *n = (int)SM_ARRAY_LEN(profiles);
    return profiles;
}

const sm_profile *sm_profile_find(const char *name) {
    for (size_t i = 0; i < SM_ARRAY_LEN(profiles); i++)
        if (strcmp(profiles[i].name, name) == 0)
            return &profiles[i];
    return NULL;
}

void sm_profile_tokens(sm_profile *p, int64_t most) {
    p->n_seq = 0;
    if (p->shape == SM_SHAPE_RANGE)
        p->seq[p->n_seq++] = 1;
    if (p->n_seq == 0 || most > 1)
        p->seq[p->n_seq++] = most;
}

bool sm_profile_measures(const sm_profile *p) {
    return p->kv == SM_KV_STATE && p->shape == SM_SHAPE_RANGE && p->mask == SM_PLACE_GIVEN;
}

/* ------------------------------------------------------------------ what goes together */
static sm_status check_lengths(const sm_profile *p, sm_err *err) {
    int64_t hi = p->n_seq > 0 ? p->seq[p->n_seq - 1] : 0;
    if (p->kv != SM_KV_NONE && p->ctx < 1)
        return SM_FAIL(err, SM_USAGE, "a context of %" PRId64 ": caches hold at least one position", p->ctx);
    if (p->kv != SM_KV_NONE && hi > p->ctx)
        return SM_FAIL(err, SM_USAGE, "%" PRId64 " tokens per call do not fit a context of %" PRId64, hi, p->ctx);
    if (p->shape != SM_SHAPE_RANGE && p->n_seq < 1)
        return SM_FAIL(err, SM_USAGE, "a package of fixed shapes needs the number of tokens per call: --seq N");
    if (p->shape == SM_SHAPE_LIST && p->kv != SM_KV_NONE)
        SM_TRY(sm_target_want(p->opset, SM_FEATURE_SHAPE_LISTS, "--seq N,M,..", err));
    for (int i = 0; i < p->n_seq; i++)
        if (p->seq[i] < 1 || (i > 0 && p->seq[i] <= p->seq[i - 1]))
            return SM_FAIL(err, SM_USAGE, "tokens per call: wanted numbers from 1 up, ascending");
    return SM_OK;
}

static sm_status refuse(sm_err *err, const char *why, const char *hint) {
    SM_FAIL(err, SM_UNSUPPORTED, "%s", why);
    sm_err_hint(err, "%s", hint);
    return SM_UNSUPPORTED;
}

sm_status sm_profile_check(const sm_profile *p, sm_err *err) {
    SM_TRY(check_lengths(p, err));
    if (p->kv == SM_KV_STATE)
        SM_TRY(sm_target_want(p->opset, SM_FEATURE_STATES, "--kv state", err));
    if (p->attn == SM_ATTN_FUSED)
        SM_TRY(sm_target_want(p->opset, SM_FEATURE_FUSED_ATTENTION, "attention", err));
    if (p->head == SM_HEAD_TOPK && p->top_k < 1)
        return SM_FAIL(err, SM_USAGE, "a head of the most likely tokens needs how many: topk:N");
    if (p->axes != SM_AXES_CHANNELS)
        return SM_OK;
    if (p->shape == SM_SHAPE_RANGE)
        return refuse(err, "the Neural Engine design wants static shapes",
                      "use --seq N or --functions prefill:64,decode:1");
    if (p->act != SM_FP16)
        return refuse(err, "the Neural Engine computes in fp16 only",
                      "use --precision fp16, or --units cpuAndGPU for fp32");
    if (p->n_wide > 0)
        return refuse(err, "an op in fp32 would leave the Neural Engine", "leave --fp32 out, or use --units cpuAndGPU");
    return SM_OK;
}

/* ------------------------------------------------------------------ mixed precision */
static bool named(const sm_profile *p, sm_sv name) {
    char text[256];
    if (name.n == 0 || name.n >= sizeof text)
        return false;
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    for (int i = 0; i < p->n_wide; i++)
        if (fnmatch(p->wide[i], text, 0) == 0)
            return true;
    return false;
}

bool sm_profile_is_wide(const sm_profile *p, const sm_node *n) {
    if (p->n_wide == 0 || p->act == SM_FP32)
        return false;
    for (int i = 0; i < n->n_out; i++)
        if (named(p, sm_sv_of(n->out[i]->name)))
            return true;
    for (int i = 0; i < sm_op_row_of(n->op)->n_slots; i++)
        if (n->in[i] != NULL && n->in[i]->cst != NULL && named(p, n->in[i]->cst->src.name))
            return true;
    return false;
}
