/* SPDX-License-Identifier: MIT
 *
 * api_check.c: smelt_check.
 */
#include "api/api_int.h"
#include "job/check.h"

static void relay_op(void *user, const sm_check_op *p) {
    const smelt_check_options *o = user;
    smelt_check_op q = {p->op,     p->name_a,    p->name_b, p->layer,      p->residual, p->nmse,
                        p->cosine, p->max_error, p->given,  p->const_nmse, p->named};
    o->on_op(o->ctx, &q);
}

static void relay_const(void *user, const sm_check_op *op, const sm_check_const *p) {
    const smelt_check_options *o = user;
    smelt_check_const q = {p->slot, p->name_a, p->name_b, p->enc_a, p->enc_b, p->nmse, p->max_error};
    (void)op;
    o->on_const(o->ctx, &q);
}

static double threshold(double asked, double usual, double none) {
    return asked < 0 ? none : asked > 0 ? asked : usual;
}

static void give(const sm_check_report *r, smelt_check_report *out) {
    *out = (smelt_check_report){
        .pass = r->pass,
        .rows = r->rows,
        .scored = r->scored,
        .windows = r->windows,
        .vocab = r->vocab,
        .max_error = r->max_error,
        .mean_error = r->mean_error,
        .rmse = r->rmse,
        .psnr = r->psnr,
        .snr = r->snr,
        .cosine = r->cosine,
        .min_cosine = r->min_cosine,
        .kl = r->kl,
        .kl_error = r->kl_error,
        .kl_max = r->kl_max,
        .kl_p50 = r->kl_p50,
        .kl_p90 = r->kl_p90,
        .kl_p99 = r->kl_p99,
        .top1 = r->top1,
        .ppl_a = r->ppl_a,
        .ppl_b = r->ppl_b,
        .ops_a = r->ops_a,
        .ops_b = r->ops_b,
        .matched = r->matched,
        .layers = r->layers,
        .usual = r->usual,
        .found = r->found,
    };
}

smelt_status smelt_check(smelt_model *a, smelt_model *b, const char *text, size_t n, const smelt_check_options *options,
                         smelt_check_report *out, smelt_error *err) {
    sm_err e = {0};
    smelt_check_options o;
    sm_check_report r = {0};
    TAKE_OPTIONS(o, options);
    sm_check_opts c = {
        .backend = o.backend,
        .backend_b = o.backend_b,
        .n_threads = o.threads,
        .ctx = o.context,
        .tokens = o.tokens,
        .min_top1 = threshold(o.min_top1, SM_CHECK_TOP1, 0),
        .max_kl = threshold(o.max_kl, SM_CHECK_KL, 1e300),
        .locate = o.locate,
        .on_op = o.on_op ? relay_op : NULL,
        .on_const = o.on_const ? relay_const : NULL,
        .user = &o,
        .progress = o.progress,
    };
    sm_status st = sm_check(a->l, a->path, b->l, b->path, (sm_sv){text, n}, &c, &r, &e);
    give(&r, out);
    return GIVE(st, &e, err);
}
