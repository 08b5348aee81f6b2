/* SPDX-License-Identifier: MIT
 *
 * api_job.c: whole jobs of smelt.h.
 */
#include "api/api_int.h"

#include <stdio.h>

#include "base/log.h"
#include "engine/sampler.h"
#include "job/bench.h"
#include "job/choices.h"
#include "job/convert.h"
#include "job/doctor.h"
#include "job/eval.h"
#include "job/inspect.h"
#include "job/predict.h"

static sm_status take_quant(const char *name, sm_quant *out, sm_err *e) {
    char list[256] = "";
    size_t n = 0;
    if (sm_quant_of_name(name, out))
        return SM_OK;
    for (int q = 0; q <= SM_QUANT_LUT8; q++)
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", n > 0 ? ", " : "", sm_quant_name((sm_quant)q));
    SM_FAIL(e, SM_UNSUPPORTED, "--quant %s is not supported here yet", name);
    return sm_err_hint(e, "supported: %s", list);
}

static sm_status convert_opts(const smelt_convert_options *o, sm_convert_opts *c, sm_err *e) {
    memset(c, 0, sizeof *c);
    if (o->seq && o->functions)
        return SM_FAIL(e, SM_USAGE, "--seq and --functions: each says how many tokens a call has; wanted one of them");
    c->words = (sm_convert_words){
        .units = o->units,
        .target = o->target,
        .precision = o->precision,
        .fp32 = o->fp32,
        .kv = o->kv,
        .mask = o->mask,
        .attention = o->attention,
        .logits = o->logits,
        .seq = o->seq,
        .functions = o->functions,
    };
    SM_TRY(take_quant(o->quant ? o->quant : "auto", &c->quant, e));
    c->quant_block = o->quant_block;
    c->group = o->quant_group > 0 ? o->quant_group : o->quant_group < 0 ? 0 : SM_GROUP_USUAL;
    c->threads = o->threads;
    c->ctx = o->context;
    c->tokenizer = o->tokenizer;
    c->split = o->split;
    c->dry_run = o->dry_run;
    c->progress = o->progress;
    return SM_OK;
}

static void relay_tensor(void *user, const sm_pkg_tensor_report *r) {
    const smelt_convert_options *o = user;
    char from[160], to[160], name[256];
    const sm_tensor *src = &r->c->src;
    int rank = src->rank;
    snprintf(name, sizeof name, "%.*s", (int)SM_MIN(src->name.n, sizeof name - 1), src->name.p);
    double ref = r->err.sum_sq_ref > 0.0 ? r->err.sum_sq_ref : 1.0;
    smelt_tensor_report t = {
        .name = name,
        .constant = r->name,
        .first_row = src->cut_of > 0 ? src->cut_row : 0,
        .n_rows = src->cut_of > 0 ? src->dims[0] : 0,
        .from = sm_enc_print(&r->c->src.enc, rank, from, sizeof from),
        .to = sm_enc_print(&r->c->want, rank, to, sizeof to),
        .how = sm_carry_name(r->how),
        .from_bytes = r->src_bytes,
        .to_bytes = r->out_bytes,
        .nmse = sm_xerr_nmse(&r->err),
        .max_error = r->err.max_abs_err,
        .nmse16 = r->err.sum_sq_err16 / ref,
        .max_error16 = r->err.max_abs_err16,
    };
    o->on_tensor(o->ctx, &t);
}

static void relay_note(void *user, const sm_convert_note *n) {
    const smelt_convert_options *o = user;
    smelt_convert_note t = {
        .package = n->part,
        .function = n->function,
        .rule = n->gate,
        .where = n->where,
        .what = n->what,
        .hint = n->hint,
        .source = n->source,
        .count = n->count,
    };
    o->on_note(o->ctx, &t);
}

smelt_status smelt_convert(const char *in, const char *out, const smelt_convert_options *options,
                           smelt_convert_report *report, smelt_error *err) {
    sm_err e = {0};
    smelt_convert_options o;
    sm_convert_opts c;
    sm_convert_report r = {0};
    TAKE_OPTIONS(o, options);
    sm_status st = convert_opts(&o, &c, &e);
    if (st == SM_OK) {
        c.on_tensor = o.on_tensor ? relay_tensor : NULL;
        c.on_note = o.on_note ? relay_note : NULL;
        c.user = &o;
        st = sm_convert(in, out, &c, &r, &e);
    }
    *report = (smelt_convert_report){
        .same = r.count[SM_CARRY_SAME],
        .transcoded = r.count[SM_CARRY_TRANSCODED],
        .kept = r.count[SM_CARRY_KEPT],
        .requantized = r.count[SM_CARRY_REQUANTIZED],
        .scaled = r.scaled,
        .in_blocks = r.in_blocks,
        .widened = r.count[SM_CARRY_WIDENED],
        .from_bytes = r.from_bytes,
        .to_bytes = r.to_bytes,
        .kv_bytes = r.kv_bytes,
        .context = r.ctx,
        .spec_version = r.spec_version,
        .nmse = sm_xerr_nmse(&r.err),
        .packages = r.parts,
        .stream_scale = r.stream_scale,
        .stream_most = r.stream_most,
    };
    report->tensors = report->same + report->transcoded + report->kept + report->requantized + report->widened;
    return GIVE(st, &e, err);
}

smelt_status smelt_inspect(const char *path, const smelt_inspect_options *options, char **text, size_t *n,
                           smelt_error *err) {
    sm_err e = {0};
    sm_str s = SM_STR_INIT;
    smelt_inspect_options o;
    TAKE_OPTIONS(o, options);
    *text = NULL;
    sm_inspect_opts io = {
        .graph = o.graph,
        .weights = o.weights,
        .ops = o.ops,
        .metadata = o.metadata,
        .template = o.chat_template,
        .hash = o.hash,
        .sha256 = o.sha256,
        .json = o.json,
        .ctx = o.context,
        .n_threads = o.threads,
        .progress = o.progress,
    };
    sm_status st = sm_inspect(path, &io, &s, &e);
    if (st == SM_OK)
        st = api_hand_over(&s, text, n, &e);
    sm_str_free(&s);
    return GIVE(st, &e, err);
}

smelt_status smelt_doctor(const smelt_doctor_options *options, char **text, size_t *n, smelt_error *err) {
    sm_err e = {0};
    sm_str s = SM_STR_INIT;
    smelt_doctor_options o;
    TAKE_OPTIONS(o, options);
    *text = NULL;
    sm_doctor_opts d = {
        .model = o.model,
        .ctx = o.context,
        .n_threads = o.threads,
        .quick = o.quick,
        .json = o.json,
        .editor = o.line_editor,
    };
    sm_status st = sm_doctor(&d, &s, &e);
    if (st == SM_OK)
        st = api_hand_over(&s, text, n, &e);
    sm_str_free(&s);
    return GIVE(st, &e, err);
}

static void relay_unsaved(void *user, const sm_err *why) {
    const smelt_bench_options *o = user;
    smelt_error e;
    GIVE(why->code, why, &e);
    o->on_unsaved(o->ctx, &e);
}

smelt_status smelt_bench(const char *path, const smelt_bench_options *options, char **text, size_t *n,
                         smelt_error *err) {
    sm_err e = {0};
    sm_str s = SM_STR_INIT;
    smelt_bench_options o;
    TAKE_OPTIONS(o, options);
    *text = NULL;
    sm_bench_opts b = {
        .path = path,
        .prompts = o.prompts,
        .gens = o.generations,
        .depths = o.depths,
        .seqs = o.sequences,
        .reps = o.repetitions,
        .backend = o.backend,
        .n_threads = o.threads,
        .ctx = o.context,
        .json = o.json,
        .progress = o.progress,
        .csv = o.csv,
        .svg = o.svg,
        .trace = o.trace,
        .db = o.db,
        .no_save = o.no_save,
        .on_unsaved = o.on_unsaved ? relay_unsaved : NULL,
        .user = &o,
    };
    sm_status st = sm_bench(&b, &s, &e);
    if (st == SM_OK)
        st = api_hand_over(&s, text, n, &e);
    sm_str_free(&s);
    return GIVE(st, &e, err);
}

smelt_status smelt_bench_history(const char *db, const char *model, bool json, char **text, size_t *n,
                                 smelt_error *err) {
    sm_err e = {0};
    sm_str s = SM_STR_INIT;
    *text = NULL;
    sm_status st = sm_bench_history(db, model, json, &s, &e);
    if (st == SM_OK)
        st = api_hand_over(&s, text, n, &e);
    sm_str_free(&s);
    return GIVE(st, &e, err);
}

static void relay_token(void *user, int32_t id, double logprob, const sm_logprob *top, int n_top) {
    const smelt_eval_options *o = user;
    o->on_token(o->ctx, id, logprob, (const smelt_logprob *)top, n_top);
}

/* Borrows o, which the relay reads. */
static sm_eval_opts eval_opts(smelt_eval_options *o) {
    return (sm_eval_opts){
        .backend = o->backend,
        .n_threads = o->threads,
        .ctx = o->context,
        .top = o->top,
        .logits_npz = o->logits_npz,
        .on_token = o->on_token ? relay_token : NULL,
        .user = o,
        .progress = o->progress,
    };
}

static void give_eval(const sm_eval_report *r, smelt_eval_report *out) {
    *out = (smelt_eval_report){r->ppl, r->ppl_error, r->nll, r->scored, r->tokens, r->windows};
}

smelt_status smelt_eval_ids(smelt_model *m, const int32_t *ids, size_t n, const smelt_eval_options *options,
                            smelt_eval_report *out, smelt_error *err) {
    sm_err e = {0};
    smelt_eval_options o;
    sm_eval_report r = {0};
    TAKE_OPTIONS(o, options);
    sm_eval_opts eo = eval_opts(&o);
    sm_status st = sm_eval_ids(m->l, m->path, ids, n, &eo, &r, &e);
    give_eval(&r, out);
    return GIVE(st, &e, err);
}

smelt_status smelt_eval_text(smelt_model *m, const char *text, size_t n, const smelt_eval_options *options,
                             smelt_eval_report *out, smelt_error *err) {
    sm_err e = {0};
    smelt_eval_options o;
    sm_eval_report r = {0};
    TAKE_OPTIONS(o, options);
    sm_eval_opts eo = eval_opts(&o);
    sm_status st = sm_eval_text(m->l, m->path, (sm_sv){text, n}, &eo, &r, &e);
    give_eval(&r, out);
    return GIVE(st, &e, err);
}

static smelt_rate give_rate(const sm_rate *r) {
    return (smelt_rate){r->count, r->rate, r->error, r->low, r->high};
}

static void relay_task(void *user, const sm_choice_result *r) {
    const smelt_choices_options *o = user;
    smelt_choice_score scores[64]; /* a task has at most 26 choices */
    smelt_choice_task t = {r->index, r->task->line, r->task->n,    r->task->gold,
                           r->pick,  r->pick_norm,  r->pick_token, scores};
    for (int i = 0; i < r->task->n; i++) {
        const sm_choice_score *s = &r->score[i];
        scores[i] = (smelt_choice_score){s->sum, s->by_byte, s->by_token, s->n_tok, s->n_bytes};
    }
    o->on_task(o->ctx, &t);
}

static sm_status choice_style(const char *name, sm_choice_style *out, sm_err *e) {
    static const char *const names[] = {"auto", "text", "letters"};
    for (size_t i = 0; i < SM_ARRAY_LEN(names); i++)
        if (!name || strcmp(name, names[i]) == 0) {
            *out = (sm_choice_style)i;
            return SM_OK;
        }
    return SM_FAIL(e, SM_USAGE, "style: wanted auto, text or letters, found %s", sm_quote(name, strlen(name)));
}

smelt_status smelt_eval_choices(smelt_model *m, const char *file, const smelt_choices_options *options,
                                smelt_choices_report *out, smelt_error *err) {
    sm_err e = {0};
    smelt_choices_options o;
    sm_choices_report r = {0};
    TAKE_OPTIONS(o, options);
    sm_choices_opts c = {
        .backend = o.backend,
        .n_threads = o.threads,
        .ctx = o.context,
        .shots_file = o.shots_file,
        .shots = o.shots,
        .limit = (size_t)o.tasks,
        .on_task = o.on_task ? relay_task : NULL,
        .user = &o,
        .progress = o.progress,
    };
    sm_status st = choice_style(o.style, &c.style, &e);
    if (st == SM_OK)
        st = sm_eval_choices(m->l, m->path, file, &c, &r, &e);
    *out = (smelt_choices_report){r.format ? r.format : "", r.tasks, r.rows, give_rate(&r.acc), give_rate(&r.acc_norm),
                                  give_rate(&r.acc_token)};
    return GIVE(st, &e, err);
}

smelt_status smelt_predict(const char *package, const smelt_predict_call *calls, size_t n, const char *out_dir,
                           const char *backend, int threads, smelt_error *err) {
    sm_err e = {0};
    sm_predict_call *list = sm_alloc_n(n, sizeof *list);
    if (!list)
        return GIVE(SM_NOMEM(&e), &e, err);
    for (size_t i = 0; i < n; i++)
        list[i] = (sm_predict_call){calls[i].function, calls[i].npz};
    sm_status st = sm_job_predict(package, list, n, out_dir, backend, threads, &e);
    sm_free(list);
    return GIVE(st, &e, err);
}

smelt_status smelt_knobs(smelt_knob **knobs, int *n, smelt_error *err) {
    sm_err e = {0};
    const sm_knob_row *rows = sm_knob_rows(n);
    smelt_knob *k = sm_alloc_n((size_t)*n, sizeof *k);
    *knobs = k;
    if (!k)
        return GIVE(SM_NOMEM(&e), &e, err);
    for (int i = 0; i < *n; i++)
        k[i] = (smelt_knob){rows[i].name, sm_knob((sm_knob_id)i), rows[i].def, rows[i].help};
    return GIVE(SM_OK, &e, err);
}
