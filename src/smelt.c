/* SPDX-License-Identifier: MIT
 *
 * smelt.c: implements smelt.h over the jobs and the engine.
 *
 * Translates between the public structs and the rooms' own, and owns nothing else: what a public call does is said where
 * the room says it.  Public structs are copied by the size their caller gave, so that fields it does not know are zero.
 */
#include "smelt.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <jansson.h>
#include <sodium.h>

#include "base/log.h"
#include "engine/engine.h"
#include "engine/reply.h"
#include "engine/sampler.h"
#include "job/convert.h"
#include "job/eval.h"
#include "job/inspect.h"
#include "job/load.h"
#include "job/predict.h"
#include "text/template.h"

_Static_assert((int)SMELT_CANCELLED == (int)SM_CANCELLED, "statuses are one list");

/* ------------------------------------------------------------------ errors, options */
static smelt_status give_error(smelt_status code, const sm_err *e, smelt_error *out) {
    if (out) {
        memset(out, 0, sizeof *out);
        out->code = code;
        if (code != SMELT_OK) {
            snprintf(out->message, sizeof out->message, "%s", e->msg);
            snprintf(out->hint, sizeof out->hint, "%s", e->hint);
            sm_trace(SM_T_RUN, 1, "failed at %s:%d", e->file ? e->file : "?", e->line);
        }
    }
    return code;
}

#define GIVE(st, e, out) give_error((smelt_status)(st), (e), (out))

/* Copies what the caller's header knew of an options struct; the rest stays zero. */
#define TAKE_OPTIONS(dst, src)                                                                                         \
    do {                                                                                                               \
        memset(&(dst), 0, sizeof(dst));                                                                                \
        if (src)                                                                                                       \
            memcpy(&(dst), (src), SM_MIN((src)->size, sizeof(dst)));                                                   \
    } while (0)

const char *smelt_version(void) {
    return SMELT_VERSION;
}

int smelt_exit_code(smelt_status s) {
    return sm_exit_code((sm_status)s);
}

void smelt_free(void *p) {
    sm_free(p);
}

void smelt_cancel(bool on) {
    sm_cancel_set(on);
}

/* ------------------------------------------------------------------ models */
struct smelt_model {
    sm_loaded *l;
    char *path;
};

smelt_status smelt_model_open(const char *path, const smelt_model_options *options, smelt_model **out,
                              smelt_error *err) {
    smelt_model_options o;
    sm_err e = {0};
    sm_status st;
    TAKE_OPTIONS(o, options);
    *out = NULL;
    smelt_model *m = sm_alloc(sizeof *m);
    if (m)
        m->path = sm_alloc(strlen(path) + 1);
    if (!m || !m->path) {
        sm_free(m);
        return GIVE(SM_NOMEM(&e), &e, err);
    }
    strcpy(m->path, path);
    sm_load_opts lo = {.tokenizer = o.tokenizer, .text_only = o.text_only};
    st = sm_load(path, &lo, &m->l, &e);
    if (st != SM_OK)
        smelt_model_free(&m);
    *out = m;
    return GIVE(st, &e, err);
}

void smelt_model_free(smelt_model **pm) {
    smelt_model *m = *pm;
    if (!m)
        return;
    sm_loaded_free(&m->l);
    sm_free(m->path);
    sm_free(m);
    *pm = NULL;
}

void smelt_model_get_info(const smelt_model *m, smelt_model_info *out) {
    const sm_loaded *l = m->l;
    *out = (smelt_model_info){
        .format = l->format,
        .name = l->name,
        .architecture = l->info.architecture,
        .layers = l->info.n_layers,
        .vocab = l->info.vocab,
        .trained_context = l->info.trained_ctx,
        .package_context = l->pkg_ctx,
        .parameters = l->info.n_params,
        .file_bytes = l->file_bytes,
        .has_tokenizer = l->tok != NULL,
        .has_chat_template = l->tok && sm_tokenizer_chat_template(l->tok, NULL).n > 0,
        .adds_bos = l->tok && sm_tokenizer_adds_bos(l->tok),
        .temp = l->gen.temp,
        .top_p = l->gen.top_p,
        .min_p = l->gen.min_p,
        .top_k = l->gen.top_k,
    };
}

/* ------------------------------------------------------------------ text */
smelt_status smelt_tokenize(const smelt_model *m, const char *text, size_t n_text, int flags, int32_t **ids, size_t *n,
                            smelt_error *err) {
    sm_err e = {0};
    sm_ids list = {0};
    *ids = NULL;
    *n = 0;
    sm_status st = sm_loaded_tokenizer(m->l, m->path, &e);
    unsigned f = (flags & SMELT_BOS ? SM_ENC_BOS : 0u) | (flags & (SMELT_SPECIAL | SMELT_CHAT) ? SM_ENC_SPECIAL : 0u);
    if (st == SM_OK && flags & SMELT_CHAT) {
        /* A template may write the beginning itself: look before adding one. */
        const sm_tokenizer *t = m->l->tok;
        sm_sv bos = sm_tokenizer_text(t, sm_tokenizer_bos(t));
        bool there = bos.n > 0 && n_text >= bos.n && memcmp(text, bos.p, bos.n) == 0;
        f = there ? f & ~(unsigned)SM_ENC_BOS : f | SM_ENC_BOS;
    }
    if (st == SM_OK)
        st = sm_tokenizer_encode(m->l->tok, (sm_sv){text, n_text}, f, &list, &e);
    if (st != SM_OK) {
        sm_ids_free(&list);
        return GIVE(st, &e, err);
    }
    *ids = list.v;
    *n = list.n;
    return GIVE(SM_OK, &e, err);
}

/* Hands a string over: terminated, never NULL. */
static sm_status hand_over(sm_str *s, char **text, size_t *n, sm_err *e) {
    sm_str_add(s, "", 0);
    if (!s->p && !s->failed)
        sm_str_addc(s, '\0'), s->n = 0;
    if (!sm_str_ok(s))
        return SM_NOMEM(e);
    *text = s->p;
    *n = s->n;
    *s = (sm_str)SM_STR_INIT;
    return SM_OK;
}

smelt_status smelt_detokenize(const smelt_model *m, const int32_t *ids, size_t n, char **text, size_t *n_text,
                              smelt_error *err) {
    sm_err e = {0};
    sm_str s = SM_STR_INIT;
    *text = NULL;
    sm_status st = sm_loaded_tokenizer(m->l, m->path, &e);
    if (st == SM_OK)
        st = sm_tokenizer_decode(m->l->tok, ids, n, SM_DEC_SPECIAL, &s, &e);
    if (st == SM_OK)
        st = hand_over(&s, text, n_text, &e);
    sm_str_free(&s);
    return GIVE(st, &e, err);
}

/* What templates expect: messages, add_generation_prompt, the spelling of the special tokens. */
static json_t *chat_context(const sm_tokenizer *t, const smelt_message *messages, size_t n) {
    sm_sv bos = sm_tokenizer_text(t, sm_tokenizer_bos(t)), eos = sm_tokenizer_text(t, sm_tokenizer_eos(t));
    json_t *list = json_array(), *c = json_object();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_pack("{s:s, s:s}", "role", messages[i].role, "content", messages[i].content));
    int bad = json_array_size(list) != n;
    bad |= json_object_set_new(c, "messages", list);
    bad |= json_object_set_new(c, "add_generation_prompt", json_true());
    bad |= json_object_set_new(c, "bos_token", json_stringn(bos.n ? bos.p : "", bos.n));
    bad |= json_object_set_new(c, "eos_token", json_stringn(eos.n ? eos.p : "", eos.n));
    if (!bad)
        return c;
    json_decref(c);
    return NULL;
}

smelt_status smelt_chat_prompt(const smelt_model *m, const smelt_message *messages, size_t n, char **text,
                               size_t *n_text, smelt_error *err) {
    sm_err e = {0};
    sm_str out = SM_STR_INIT;
    sm_template *t = NULL;
    json_t *context = NULL;
    sm_status st;
    *text = NULL;
    SM_TRY_DONE(sm_loaded_tokenizer(m->l, m->path, &e));
    sm_sv source = sm_tokenizer_chat_template(m->l->tok, NULL);
    if (source.n == 0) {
        st = SM_FAIL(&e, SM_UNSUPPORTED, "%s: the model has no chat template", m->path);
        goto done;
    }
    SM_TRY_DONE(sm_template_parse(source, &t, &e));
    context = chat_context(m->l->tok, messages, n);
    if (!context) {
        st = SM_FAIL(&e, SM_BADINPUT, "the messages are not UTF-8, or memory ran out");
        goto done;
    }
    SM_TRY_DONE(sm_template_render(t, context, &out, &e));
    st = hand_over(&out, text, n_text, &e);
done:
    json_decref(context);
    sm_template_free(&t);
    sm_str_free(&out);
    return GIVE(st, &e, err);
}

/* ------------------------------------------------------------------ sessions */
struct smelt_session {
    smelt_model *m;
    smelt_session_options o;
    uint64_t seed;
    sm_engine *e;
    sm_seq *seq;
    sm_sampler *sampler;
    sm_reply *reply;
    sm_ids history;   /* all tokens, computed and not */
    bool have_logits; /* of the last token */
    int32_t made;     /* tokens chosen */
    sm_str text;      /* of the last token */
    sm_logprob *top;
};
_Static_assert(sizeof(smelt_logprob) == sizeof(sm_logprob), "one layout");

static void set_sampling(const smelt_session *s, sm_sampling *p) {
    const smelt_session_options *o = &s->o;
    *p = (sm_sampling)SM_SAMPLING_DEFAULT;
    if (o->temp > 0.0 || o->temp < 0.0)
        p->temp = o->temp;
    if (o->greedy)
        p->temp = 0.0;
    if (o->top_k)
        p->top_k = o->top_k < 0 ? 0 : o->top_k;
    if (o->top_p > 0.0 || o->top_p < 0.0)
        p->top_p = o->top_p;
    p->min_p = o->min_p;
    if (o->repeat_penalty > 0.0 || o->repeat_penalty < 0.0)
        p->repeat_penalty = o->repeat_penalty;
    p->seed = s->seed;
}

enum { CTX_USUAL = 4096 };

static sm_status open_session(smelt_session *s, sm_err *e) {
    const sm_loaded *l = s->m->l;
    sm_engine_opts eo = {.backend = s->o.backend, .n_threads = s->o.threads};
    sm_sampling p;
    SM_TRY(sm_loaded_runnable(l, s->m->path, e));
    SM_TRY(sm_loaded_ctx(l, s->o.context, CTX_USUAL, 1, &eo.ctx, e));
    s->seed = s->o.seed;
    if (!s->o.seeded)
        s->seed = (uint64_t)randombytes_random(); /* 32 bits: short enough to type again */
    set_sampling(s, &p);
    SM_TRY(sm_sampling_check(&p, e));
    SM_TRY(sm_engine_new(l->func, &eo, &s->e, e));
    SM_TRY(sm_seq_new(s->e, &s->seq, e));
    SM_TRY(sm_sampler_new(&p, sm_engine_vocab(s->e), &s->sampler, e));
    if (l->tok)
        SM_TRY(sm_reply_new(l->tok, s->o.stop, s->o.n_stop, &s->reply, e));
    s->top = sm_alloc_n((size_t)SM_MAX(s->o.logprobs, 0) + 1, sizeof *s->top);
    return s->top ? SM_OK : SM_NOMEM(e);
}

smelt_status smelt_session_new(smelt_model *m, const smelt_session_options *options, smelt_session **out,
                               smelt_error *err) {
    sm_err e = {0};
    sm_status st;
    *out = NULL;
    smelt_session *s = sm_alloc(sizeof *s);
    if (!s)
        return GIVE(SM_NOMEM(&e), &e, err);
    TAKE_OPTIONS(s->o, options);
    s->m = m;
    st = open_session(s, &e);
    if (st != SM_OK)
        smelt_session_free(&s);
    *out = s;
    return GIVE(st, &e, err);
}

void smelt_session_free(smelt_session **ps) {
    smelt_session *s = *ps;
    if (!s)
        return;
    sm_reply_free(&s->reply);
    sm_sampler_free(&s->sampler);
    sm_seq_free(&s->seq);
    sm_engine_free(&s->e);
    sm_ids_free(&s->history);
    sm_str_free(&s->text);
    sm_free(s->top);
    sm_free(s);
    *ps = NULL;
}

void smelt_session_get_info(const smelt_session *s, smelt_session_info *out) {
    sm_exe_info x;
    sm_engine_info(s->e, &x);
    *out = (smelt_session_info){
        .backend = sm_engine_backend(s->e)->name,
        .threads = x.n_threads,
        .context = sm_engine_ctx(s->e),
        .length = (int32_t)s->history.n,
        .seed = s->seed,
        .weight_bytes = x.weight_bytes,
        .kv_bytes = x.kv_bytes,
    };
    memcpy(out->isa, x.isa, sizeof out->isa);
}

static sm_status add_history(smelt_session *s, const int32_t *ids, size_t n, sm_err *e) {
    for (size_t i = 0; i < n; i++) {
        if (!SM_GROW(&s->history))
            return SM_NOMEM(e);
        s->history.v[s->history.n++] = ids[i];
    }
    return SM_OK;
}

/* Computes what the engine has not seen yet. */
static sm_status catch_up(smelt_session *s, sm_err *e) {
    int32_t len = sm_seq_len(s->seq);
    if (s->have_logits && (size_t)len == s->history.n)
        return SM_OK;
    if (s->history.n > INT32_MAX)
        return SM_FAIL(e, SM_RESOURCE, "context length exceeded: wanted %zu positions, there are %d", s->history.n,
                       sm_engine_ctx(s->e));
    s->have_logits = false;
    SM_TRY(sm_engine_feed(s->e, s->seq, s->history.v + len, (int32_t)s->history.n - len, SM_WANT_LAST, NULL, NULL, e));
    s->have_logits = true;
    return SM_OK;
}

smelt_status smelt_session_prompt(smelt_session *s, const int32_t *ids, size_t n, smelt_error *err) {
    sm_err e = {0};
    size_t before = s->history.n;
    sm_status st = n > 0 ? add_history(s, ids, n, &e) : SM_OK;
    if (st == SM_OK && s->history.n == 0)
        st = SM_FAIL(&e, SM_BADINPUT, "the prompt is empty: wanted at least one token");
    if (st == SM_OK)
        st = catch_up(s, &e);
    if (st != SM_OK && st != SM_CANCELLED)
        s->history.n = SM_MAX(before, (size_t)sm_seq_len(s->seq));
    return GIVE(st, &e, err);
}

smelt_status smelt_session_logits(smelt_session *s, const float **logits, int32_t *vocab, smelt_error *err) {
    sm_err e = {0};
    sm_status st = s->history.n ? catch_up(s, &e) : SM_FAIL(&e, SM_USAGE, "there are no logits before the first token");
    *logits = st == SM_OK ? sm_engine_logits(s->e, 0) : NULL;
    *vocab = sm_engine_vocab(s->e);
    return GIVE(st, &e, err);
}

/* Text of the token just chosen, and whether the reply is over. */
static sm_status finish_token(smelt_session *s, smelt_token *t, sm_err *e) {
    const sm_tokenizer *tok = s->m->l->tok;
    bool stopped = false;
    sm_str_clear(&s->text);
    if (tok && sm_tokenizer_is_end(tok, t->id) && !s->o.ignore_eos)
        t->finish = SMELT_STOP;
    else if (s->reply)
        SM_TRY(sm_reply_push(s->reply, t->id, &s->text, &stopped, e));
    if (stopped)
        t->finish = SMELT_STOP;
    else if (t->finish == SMELT_GOING &&
             ((s->o.max_tokens > 0 && s->made >= s->o.max_tokens) || (int64_t)s->history.n >= sm_engine_ctx(s->e)))
        t->finish = SMELT_LENGTH;
    if (t->finish != SMELT_GOING && !stopped && s->reply)
        SM_TRY(sm_reply_finish(s->reply, &s->text, e));
    t->text = sm_str_z(&s->text);
    t->n_text = s->text.n;
    return SM_OK;
}

smelt_status smelt_session_next(smelt_session *s, smelt_token *out, smelt_error *err) {
    sm_err e = {0};
    memset(out, 0, sizeof *out);
    out->id = -1;
    out->text = "";
    sm_status st = s->history.n ? catch_up(s, &e) : SM_FAIL(&e, SM_USAGE, "a reply needs a prompt first");
    if (st != SM_OK)
        return GIVE(st, &e, err);
    const float *logits = sm_engine_logits(s->e, 0);
    int32_t vocab = sm_engine_vocab(s->e);
    out->id = sm_sampler_pick(s->sampler, logits, s->history.v, s->history.n);
    if (s->o.logprobs >= 0) {
        double lse = sm_log_sum_exp(logits, vocab);
        out->logprob = (float)(logits[out->id] - lse);
        out->n_top = s->o.logprobs > 0 ? sm_top_logprobs(logits, vocab, lse, s->o.logprobs, s->top) : 0;
        out->top = (const smelt_logprob *)s->top;
    }
    st = add_history(s, &out->id, 1, &e);
    s->made++;
    if (st == SM_OK)
        st = finish_token(s, out, &e);
    return GIVE(st, &e, err);
}

/* ------------------------------------------------------------------ jobs */
static sm_status convert_opts(const smelt_convert_options *o, sm_convert_opts *c, sm_err *e) {
    static const char *const quants[] = {"auto", "keep", "none", "int4", "int8"};
    const char *kv = o->kv ? o->kv : "state", *quant = o->quant ? o->quant : "auto";
    memset(c, 0, sizeof *c);
    if (strcmp(kv, "state") != 0 && strcmp(kv, "io") != 0)
        return SM_FAIL(e, SM_UNSUPPORTED, "KV form '%s' is not supported here: wanted state or io", kv);
    if (o->target && strcasecmp(o->target, "iOS18") != 0 && strcasecmp(o->target, "macOS15") != 0)
        return SM_FAIL(e, SM_UNSUPPORTED, "target '%s' is not supported here yet: wanted iOS18 or macOS15", o->target);
    c->profile = strcmp(kv, "io") == 0 ? "kv-io" : "gpu";
    size_t q = 0;
    while (q < SM_ARRAY_LEN(quants) && strcmp(quant, quants[q]) != 0)
        q++;
    if (q == SM_ARRAY_LEN(quants))
        return SM_FAIL(e, SM_UNSUPPORTED,
                       "quantization '%s' is not supported here yet: wanted auto, keep, none, int4 or int8", quant);
    c->quant = (sm_quant)q;
    c->quant_block = o->quant_block;
    c->ctx = o->context;
    c->seq = o->seq;
    c->tokenizer = o->tokenizer;
    c->dry_run = o->dry_run;
    c->progress = o->progress;
    return SM_OK;
}

static void relay_tensor(void *user, const sm_pkg_tensor_report *r) {
    const smelt_convert_options *o = user;
    char from[160], to[160];
    int rank = r->c->src.rank;
    double ref = r->err.sum_sq_ref > 0.0 ? r->err.sum_sq_ref : 1.0;
    smelt_tensor_report t = {
        .name = r->name,
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
        c.user = &o;
        st = sm_convert(in, out, &c, &r, &e);
    }
    *report = (smelt_convert_report){
        .same = r.count[SM_CARRY_SAME],
        .transcoded = r.count[SM_CARRY_TRANSCODED],
        .kept = r.count[SM_CARRY_KEPT],
        .requantized = r.count[SM_CARRY_REQUANTIZED],
        .widened = r.count[SM_CARRY_WIDENED],
        .from_bytes = r.from_bytes,
        .to_bytes = r.to_bytes,
        .kv_bytes = r.kv_bytes,
        .context = r.ctx,
        .spec_version = r.spec_version,
        .nmse = sm_xerr_nmse(&r.err),
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
    sm_inspect_opts io = {.graph = o.graph, .weights = o.weights, .json = o.json};
    sm_status st = sm_inspect(path, &io, &s, &e);
    if (st == SM_OK)
        st = hand_over(&s, text, n, &e);
    sm_str_free(&s);
    return GIVE(st, &e, err);
}

typedef struct token_relay {
    const smelt_eval_options *o;
} token_relay;

static void relay_token(void *ctx, int32_t id, double logprob, const sm_logprob *top, int n_top) {
    const smelt_eval_options *o = ((token_relay *)ctx)->o;
    o->on_token(o->ctx, id, logprob, (const smelt_logprob *)top, n_top);
}

static sm_eval_opts eval_opts(const smelt_eval_options *o, token_relay *r) {
    r->o = o;
    return (sm_eval_opts){
        .backend = o->backend,
        .n_threads = o->threads,
        .ctx = o->context,
        .top = o->top,
        .logits_npz = o->logits_npz,
        .on_token = o->on_token ? relay_token : NULL,
        .user = r,
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
    token_relay relay;
    sm_eval_report r = {0};
    TAKE_OPTIONS(o, options);
    sm_eval_opts eo = eval_opts(&o, &relay);
    sm_status st = sm_eval_ids(m->l, m->path, ids, n, &eo, &r, &e);
    give_eval(&r, out);
    return GIVE(st, &e, err);
}

smelt_status smelt_eval_text(smelt_model *m, const char *text, size_t n, const smelt_eval_options *options,
                             smelt_eval_report *out, smelt_error *err) {
    sm_err e = {0};
    smelt_eval_options o;
    token_relay relay;
    sm_eval_report r = {0};
    TAKE_OPTIONS(o, options);
    sm_eval_opts eo = eval_opts(&o, &relay);
    sm_status st = sm_eval_text(m->l, m->path, (sm_sv){text, n}, &eo, &r, &e);
    give_eval(&r, out);
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
