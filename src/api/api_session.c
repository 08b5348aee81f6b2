/* SPDX-License-Identifier: MIT
 *
 * api_session.c: sessions of smelt.h over the engine.
 */
#include "api/api_int.h"

#include <sodium.h>

#include "base/log.h"
#include "engine/draft.h"
#include "engine/engine.h"
#include "engine/reply.h"
#include "engine/sampler.h"

struct smelt_session {
    smelt_model *m;
    smelt_session_options o;
    uint64_t seed;
    sm_engine *e;
    sm_seq *seq;
    sm_sampler *sampler;
    sm_reply *reply;
    sm_ids history;   /* all tokens, computed and not */
    bool have_logits; /* of the last token: */
    int32_t row;      /* the engine's row that they are in */
    int32_t made;     /* tokens chosen */
    sm_str text;      /* of the last token */
    sm_draft *draft;
    const int32_t *guess; /* [n_guess] computed behind the last token already, as long as the choice is theirs */
    int32_t n_guess, held;
    uint64_t drafted, accepted;
    sm_logprob *top;
};
_Static_assert(sizeof(smelt_logprob) == sizeof(sm_logprob), "one layout");
_Static_assert(sizeof(smelt_logit_bias) == sizeof(sm_logit_bias), "one layout");

static const char *const usual_breakers[] = {"\n", ":", "\"", "*"};

/* The model's word where it has one. */
static double either(double models, double usual) {
    return models >= 0.0 ? models : usual;
}

void smelt_sampling_default(const smelt_model *m, smelt_sampling *out) {
    const sm_gen_config none = {-1.0, -1.0, -1.0, -1, -1.0}, *g = m ? &m->l->gen : &none;
    const sm_sampling *u = &sm_sampling_usual;
    smelt_sampling p = {
        .size = out->size,
        .temp = either(g->temp, u->temp),
        .dynatemp_range = u->dynatemp_range,
        .dynatemp_exp = u->dynatemp_exp,
        .top_k = g->top_k >= 0 ? g->top_k : u->top_k,
        .top_p = either(g->top_p, u->top_p),
        .min_p = either(g->min_p, u->min_p),
        .typical_p = u->typical_p,
        .top_n_sigma = u->top_n_sigma,
        .xtc_probability = u->xtc_probability,
        .xtc_threshold = u->xtc_threshold,
        .repeat_penalty = g->repeat_penalty > 0.0 ? g->repeat_penalty : u->repeat_penalty,
        .presence_penalty = u->presence_penalty,
        .frequency_penalty = u->frequency_penalty,
        .repeat_last_n = u->repeat_last_n,
        .dry_multiplier = u->dry_multiplier,
        .dry_base = u->dry_base,
        .dry_allowed_length = u->dry_allowed_length,
        .dry_penalty_last_n = u->dry_penalty_last_n,
        .dry_breakers = usual_breakers,
        .n_dry_breakers = SM_ARRAY_LEN(usual_breakers),
        .mirostat = u->mirostat,
        .mirostat_tau = u->mirostat_tau,
        .mirostat_eta = u->mirostat_eta,
        .samplers = u->samplers,
        .seed = randombytes_random(), /* 32 bits: short enough to type again */
    };
    memcpy(out, &p, SM_MIN(out->size, sizeof p));
}

/* The caller's sampling over the model's defaults, as the engine takes it; all borrowed. */
static void translate(const smelt_session *s, const smelt_sampling *given, sm_sampling *out) {
    smelt_sampling p = {.size = sizeof p};
    smelt_sampling_default(s->m, &p);
    if (given)
        memcpy(&p, given, SM_MIN(given->size, sizeof p));
    *out = (sm_sampling){
        .temp = p.temp,
        .dynatemp_range = p.dynatemp_range,
        .dynatemp_exp = p.dynatemp_exp,
        .top_k = p.top_k,
        .top_p = p.top_p,
        .min_p = p.min_p,
        .typical_p = p.typical_p,
        .top_n_sigma = p.top_n_sigma,
        .xtc_probability = p.xtc_probability,
        .xtc_threshold = p.xtc_threshold,
        .repeat_penalty = p.repeat_penalty,
        .presence_penalty = p.presence_penalty,
        .frequency_penalty = p.frequency_penalty,
        .repeat_last_n = p.repeat_last_n,
        .dry_multiplier = p.dry_multiplier,
        .dry_base = p.dry_base,
        .dry_allowed_length = p.dry_allowed_length,
        .dry_penalty_last_n = p.dry_penalty_last_n,
        .dry_breakers = p.dry_breakers,
        .n_dry_breakers = p.n_dry_breakers,
        .mirostat = p.mirostat,
        .mirostat_tau = p.mirostat_tau,
        .mirostat_eta = p.mirostat_eta,
        .logit_bias = (const sm_logit_bias *)p.logit_bias,
        .n_logit_bias = p.n_logit_bias,
        .never_end = s->o.ignore_eos,
        .samplers = p.samplers,
        .seed = p.seed,
    };
}

enum { SLICE = 256, SLICE_LEAST = 32, SLICE_US = 500000 };

/* What depends on the options alone: sampler, stop texts, room for log-probabilities. */
static sm_status open_options(smelt_session *s, sm_err *e) {
    sm_sampling p;
    translate(s, s->o.sampling, &p);
    SM_TRY(sm_sampler_new(&p, sm_engine_vocab(s->e), s->m->l->tok, &s->sampler, e));
    s->seed = p.seed;
    s->o.sampling = NULL; /* the caller's, and not needed again */
    if (s->m->l->tok)
        SM_TRY(sm_reply_new(s->m->l->tok, s->o.stop, s->o.n_stop, &s->reply, e));
    s->top = sm_alloc_n((size_t)SM_MAX(s->o.logprobs, 0) + 1, sizeof *s->top);
    return s->top ? SM_OK : SM_NOMEM(e);
}

static void close_options(smelt_session *s) {
    sm_reply_free(&s->reply);
    sm_sampler_free(&s->sampler);
    sm_free(s->top);
    s->top = NULL;
}

static sm_status open_draft(smelt_session *s, const sm_engine_opts *eo, sm_err *e) {
    const smelt_model *d = s->o.draft;
    sm_sampling p;
    sm_draft_opts o = {.most = s->o.draft_tokens, .engine = *eo, .sampling = &p, .tok = s->m->l->tok};
    if (s->o.draft_tokens <= 0)
        return SM_OK;
    translate(s, s->o.sampling, &p);
    if (d) {
        SM_TRY(sm_loaded_runnable(d->l, d->path, e));
        SM_TRY(sm_loaded_ctx(d->l, 0, eo->ctx, 1, &o.engine.ctx, e));
        o.f = d->l->func;
        o.engine.max_out = 1;
        for (int32_t i = 0; s->m->l->tok && d->l->tok && i < sm_tokenizer_count(s->m->l->tok); i++)
            if (!sm_sv_eq(sm_tokenizer_text(s->m->l->tok, i), sm_tokenizer_text(d->l->tok, i))) {
                SM_FAIL(e, SM_UNSUPPORTED, "%s: token %d of its vocabulary is another than the model's", d->path, i);
                return sm_err_hint(e, "a draft model is a smaller one of the same family");
            }
    }
    return sm_draft_new(&o, sm_engine_vocab(s->e), &s->draft, e);
}

static sm_status open_session(smelt_session *s, sm_err *e) {
    const sm_loaded *l = s->m->l;
    sm_engine_opts eo = {.backend = s->o.backend, .n_threads = s->o.threads};
    sm_sampling p;
    SM_TRY(sm_loaded_runnable(l, s->m->path, e));
    SM_TRY(sm_loaded_ctx(l, s->o.context, SM_CTX_USUAL, 1, &eo.ctx, e));
    translate(s, s->o.sampling, &p);
    SM_TRY(sm_sampling_check(&p, e)); /* before the weights are packed */
    s->o.draft_tokens = SM_MIN(s->o.draft_tokens, SM_DRAFT_MOST);
    eo.max_out = 1 + SM_MAX(s->o.draft_tokens, 0);
    SM_TRY(sm_engine_new(l->func, &eo, &s->e, e));
    SM_TRY(sm_seq_new(s->e, &s->seq, e));
    SM_TRY(open_draft(s, &eo, e));
    return open_options(s, e);
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
    close_options(s);
    sm_draft_free(&s->draft);
    sm_seq_free(&s->seq);
    sm_engine_free(&s->e);
    sm_ids_free(&s->history);
    sm_str_free(&s->text);
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
        .drafted = s->drafted,
        .accepted = s->accepted,
    };
    memcpy(out->isa, x.isa, sizeof out->isa);
}

static sm_status add_history(smelt_session *s, const int32_t *ids, size_t n, sm_err *e) {
    for (size_t i = 0; i < n; i++)
        if (!sm_ids_add(&s->history, ids[i]))
            return SM_NOMEM(e);
    return SM_OK;
}

/* In slices, so that there is something to show; smaller ones where one takes long, so that a stop need not wait. */
static sm_status feed(smelt_session *s, const int32_t *ids, int32_t n, sm_err *e) {
    sm_progress bar;
    sm_status st = SM_OK;
    int32_t slice = SLICE;
    int64_t before = sm_now_us();
    sm_progress_start(&bar, "prompt", "tokens", (uint64_t)n);
    for (int32_t at = 0, len; at < n && st == SM_OK; at += len) {
        len = SM_MIN(slice, n - at);
        st = sm_engine_feed(s->e, s->seq, ids + at, len, at + len == n ? SM_WANT_LAST : SM_WANT_NONE, NULL, NULL, e);
        if (s->o.progress)
            sm_progress_add(&bar, (uint64_t)len);
        int64_t now = sm_now_us();
        if (now - before > SLICE_US && slice > SLICE_LEAST)
            slice /= 2;
        before = now;
    }
    sm_progress_end(&bar);
    return st;
}

static sm_status check_room(const smelt_session *s, size_t n, sm_err *e) {
    int32_t ctx = sm_engine_ctx(s->e);
    if (n <= (size_t)ctx)
        return SM_OK;
    SM_FAIL(e, SM_RESOURCE, "context length exceeded: wanted %zu positions, there are %d", n, ctx);
    sm_err_hint(e, "give a larger context with -c, or a shorter text");
    return SM_RESOURCE;
}

/* Gives up the guesses that are left: the engine holds the history, or less. */
static void settle(smelt_session *s) {
    if (s->draft)
        sm_draft_held(s->draft, s->held);
    s->n_guess = s->held = 0;
    if ((size_t)sm_seq_len(s->seq) > s->history.n)
        sm_seq_truncate(s->seq, (int32_t)s->history.n);
}

/* The last token and guesses of what follows, in one step. */
static sm_status guess_on(smelt_session *s, sm_err *e) {
    int32_t rows[1 + SM_DRAFT_MOST], k = 0;
    int32_t room = sm_engine_ctx(s->e) - (int32_t)s->history.n;
    if (s->o.max_tokens > 0)
        room = SM_MIN(room, s->o.max_tokens - s->made - 1);
    SM_TRY(sm_draft_guess(s->draft, s->history.v, s->history.n, SM_MAX(room, 0), &s->guess, &k, e));
    rows[0] = s->history.v[s->history.n - 1];
    memcpy(rows + 1, s->guess, (size_t)k * sizeof *rows);
    sm_item it = {s->seq, rows, 1 + k, SM_WANT_ALL, -1};
    SM_TRY(sm_engine_step(s->e, &it, 1, e));
    s->row = it.out;
    s->n_guess = k;
    s->held = 0;
    s->drafted += (uint64_t)k;
    return SM_OK;
}

/* The choice after the last row of logits: a guess that holds has its own row already. */
static void take_guess(smelt_session *s, int32_t id) {
    if (!s->draft)
        return;
    if (s->n_guess > 0 && id == *s->guess) {
        s->guess++;
        s->n_guess--;
        s->held++;
        s->accepted++;
        s->row++;
        return;
    }
    settle(s);
    s->have_logits = false;
}

/* Computes what the engine has not seen yet. */
static sm_status catch_up(smelt_session *s, sm_err *e) {
    int32_t len = sm_seq_len(s->seq);
    if (s->have_logits && (size_t)len >= s->history.n)
        return SM_OK;
    SM_TRY(check_room(s, s->history.n, e));
    s->have_logits = false;
    if ((size_t)len == s->history.n) /* the logits of the last token were overwritten: it is computed again */
        len = sm_seq_truncate(s->seq, len - 1);
    if (s->draft && s->made > 0 && (size_t)len + 1 == s->history.n) {
        SM_TRY(guess_on(s, e));
    } else {
        SM_TRY(feed(s, s->history.v + len, (int32_t)s->history.n - len, e));
        s->row = 0;
    }
    s->have_logits = true;
    return SM_OK;
}

/* Keeps the first n tokens. */
static void keep(smelt_session *s, size_t n) {
    settle(s);
    if (n >= s->history.n)
        return;
    s->history.n = n;
    if ((size_t)sm_seq_len(s->seq) > n)
        sm_seq_truncate(s->seq, (int32_t)n);
    s->have_logits = false;
}

smelt_status smelt_session_rewind(smelt_session *s, size_t n, smelt_error *err) {
    sm_err e = {0};
    if (n > s->history.n)
        return GIVE(SM_FAIL(&e, SM_USAGE, "rewind: wanted at most the %zu tokens that the session holds, found %zu",
                            s->history.n, n),
                    &e, err);
    keep(s, n);
    sm_sampler_reset(s->sampler);
    return GIVE(SM_OK, &e, err);
}

static sm_status new_reply(smelt_session *s, sm_err *e) {
    sm_reply *fresh = NULL;
    if (s->reply) {
        SM_TRY(sm_reply_new(s->m->l->tok, s->o.stop, s->o.n_stop, &fresh, e));
        sm_reply_free(&s->reply);
        s->reply = fresh;
    }
    s->made = 0;
    sm_sampler_reset(s->sampler);
    return SM_OK;
}

static sm_status sync_ids(smelt_session *s, const int32_t *ids, size_t n, size_t *reused, sm_err *e) {
    size_t same = 0;
    *reused = 0;
    if (n == 0)
        return SM_FAIL(e, SM_BADINPUT, "the prompt is empty: wanted at least one token");
    SM_TRY(check_room(s, n, e)); /* before anything is forgotten */
    SM_TRY(new_reply(s, e));
    while (same < n && same < s->history.n && s->history.v[same] == ids[same])
        same++;
    keep(s, same);
    size_t there = (size_t)sm_seq_len(s->seq);
    *reused = there == n && !s->have_logits ? n - 1 : there;
    SM_TRY(add_history(s, ids + same, n - same, e));
    return catch_up(s, e);
}

smelt_status smelt_session_sync(smelt_session *s, const int32_t *ids, size_t n, size_t *reused, smelt_error *err) {
    sm_err e = {0};
    size_t kept;
    sm_status st = sync_ids(s, ids, n, &kept, &e);
    if (st != SM_OK)
        keep(s, (size_t)sm_seq_len(s->seq));
    if (reused)
        *reused = kept;
    return GIVE(st, &e, err);
}

smelt_status smelt_session_configure(smelt_session *s, const smelt_session_options *options, smelt_error *err) {
    sm_err e = {0};
    smelt_session old = *s;
    s->sampler = NULL;
    s->reply = NULL;
    s->top = NULL;
    settle(s);
    TAKE_OPTIONS(s->o, options);
    sm_sampling p;
    translate(s, s->o.sampling, &p);
    sm_status st = open_options(s, &e);
    if (st == SM_OK && s->draft)
        st = sm_draft_sampling(s->draft, &p, &e);
    if (st == SM_OK) {
        close_options(&old);
    } else {
        close_options(s);
        *s = old;
    }
    return GIVE(st, &e, err);
}

smelt_status smelt_session_set_sampling(smelt_session *s, const smelt_sampling *given, smelt_error *err) {
    sm_err e = {0};
    sm_sampling p;
    sm_sampler *fresh = NULL;
    translate(s, given, &p);
    sm_status st = sm_sampler_new(&p, sm_engine_vocab(s->e), s->m->l->tok, &fresh, &e);
    if (st == SM_OK && s->draft)
        st = sm_draft_sampling(s->draft, &p, &e);
    if (st != SM_OK)
        sm_sampler_free(&fresh);
    else {
        if (p.seed == s->seed) /* draws go on; another seed begins its own */
            sm_sampler_carry(fresh, s->sampler);
        sm_sampler_free(&s->sampler);
        s->sampler = fresh;
        s->seed = p.seed;
    }
    return GIVE(st, &e, err);
}

smelt_status smelt_session_prompt(smelt_session *s, const int32_t *ids, size_t n, smelt_error *err) {
    sm_err e = {0};
    size_t before = s->history.n;
    settle(s);
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
    *logits = st == SM_OK ? sm_engine_logits(s->e, s->row) : NULL;
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
    const float *logits = sm_engine_logits(s->e, s->row);
    int32_t vocab = sm_engine_vocab(s->e);
    st = sm_sampler_pick(s->sampler, logits, s->history.v, s->history.n, &out->id, &e);
    if (st != SM_OK)
        return GIVE(st, &e, err);
    if (s->o.logprobs >= 0) {
        double lse = sm_log_sum_exp(logits, vocab);
        out->logprob = (float)(logits[out->id] - lse);
        out->n_top = s->o.logprobs > 0 ? sm_top_logprobs(logits, vocab, lse, s->o.logprobs, s->top) : 0;
        out->top = (const smelt_logprob *)s->top;
    }
    take_guess(s, out->id);
    st = add_history(s, &out->id, 1, &e);
    s->made++;
    if (st == SM_OK)
        st = finish_token(s, out, &e);
    return GIVE(st, &e, err);
}
