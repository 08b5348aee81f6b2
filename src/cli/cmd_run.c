/* SPDX-License-Identifier: MIT
 *
 * cmd_run.c: smelt run: a prompt in, a reply out as it is made.
 */
#include <string.h>

#include "base/log.h"
#include "cli/cli.h"
#include "cli/sampling.h"

typedef struct run_args {
    opt_common k;
    const char *text, *file, *system, *tokenizer, *ignored;
    opt_list stop, lora;
    int64_t n, logprobs;
    sampling_args sampling;
    bool raw, ignore_eos;
} run_args;

#define AT(field) offsetof(run_args, field)
static const opt run_opts[] = {
    {"prompt", 'p', OPT_STR, AT(text), "TEXT", "the prompt", 0, 0, NULL},
    {"file", 'f', OPT_STR, AT(file), "FILE", "a file with the prompt; - for standard input", 0, 0, NULL},
    {"predict", 'n', OPT_INT, AT(n), "N",
     "tokens to make at most; -1: until the model stops or the context is full; default 256", -1, INT32_MAX, NULL},
    {"stop", 0, OPT_STRS, AT(stop), "STR", "text that ends the reply; may be given again", 0, 0, NULL},
    {"system", 0, OPT_STR, AT(system), "TEXT", "the system message", 0, 0, NULL},
    {"raw", 0, OPT_ON, AT(raw), NULL, "continue the prompt, without chat template", 0, 0, NULL},
    {"tokenizer", 0, OPT_STR, AT(tokenizer), "PATH", "file to take vocabulary and template from", 0, 0, NULL},
    {"ignore-eos", 0, OPT_ON, AT(ignore_eos), NULL, "go on where the model would stop", 0, 0, NULL},
    {"logprobs", 0, OPT_INT, AT(logprobs), "K", "with --json: the K most likely tokens of each place", 0, 1 << 20,
     NULL},
    {"lora", 0, OPT_STRS, AT(lora), "FILE[:SCALE]", "adapter", 0, 0, "merge the adapter into the checkpoint first"},
    {"units", 0, OPT_STR, AT(ignored), "U", "compute units", 0, 0,
     "they exist with Core ML on a Mac; leave the option out"},
    {"json-schema", 0, OPT_STR, AT(ignored), "FILE", "replies of a schema", 0, 0, "ask for the form in the prompt"},
    {"grammar", 0, OPT_STR, AT(ignored), "FILE", "replies of a grammar", 0, 0, "ask for the form in the prompt"},
    {"trace", 0, OPT_STR, AT(ignored), "FILE", "timeline of the run", 0, 0, "SMELT_DEBUG=run:3 prints steps"},
};
#undef AT

static void init(void *args) {
    ((run_args *)args)->n = 256;
}

/* ------------------------------------------------------------------ */
typedef struct run_stats {
    size_t n_prompt;
    int generated;
    smelt_finish finish;
    int64_t start_us, first_us, end_us;
} run_stats;

static sm_status make_prompt(const run_args *a, smelt_model *m, const sm_str *text, int32_t **ids, size_t *n,
                             sm_err *err) {
    smelt_error e;
    smelt_model_info info;
    smelt_model_get_info(m, &info);
    if (!info.has_tokenizer || a->raw || !info.has_chat_template) {
        if (a->system && !a->raw)
            sm_log(1, "the model has no chat template: --system is left out");
        CLI_TRY(smelt_tokenize(m, sm_str_z(text), text->n, SMELT_BOS | SMELT_SPECIAL, ids, n, &e), &e, err);
        return SM_OK;
    }
    smelt_message msg[2];
    size_t n_msg = 0, n_out;
    char *out;
    if (a->system)
        msg[n_msg++] = (smelt_message){"system", a->system};
    msg[n_msg++] = (smelt_message){"user", sm_str_z(text)};
    CLI_TRY(smelt_chat_prompt(m, msg, n_msg, &out, &n_out, &e), &e, err);
    smelt_status st = smelt_tokenize(m, out, n_out, SMELT_CHAT, ids, n, &e);
    smelt_free(out);
    return st == SMELT_OK ? SM_OK : cli_fail(&e, err);
}

static void fill_options(const run_args *a, const smelt_model_info *info, size_t n_prompt, const char **stop,
                         const smelt_sampling *sampling, smelt_session_options *o) {
    int64_t limit = info->package_context > 0 ? info->package_context : info->trained_context;
    int64_t want = SM_MAX(4096, (int64_t)n_prompt + SM_MAX(a->n, 0));
    *o = (smelt_session_options){
        .size = sizeof *o,
        .backend = a->k.backend,
        .threads = (int)a->k.threads,
        .context = (int32_t)(a->k.ctx > 0 ? a->k.ctx
                             : limit > 0  ? SM_MIN(limit, want)
                                          : want),
        .max_tokens = (int32_t)SM_MAX(a->n, 0),
        .sampling = sampling,
        .stop = stop,
        .n_stop = a->stop.n,
        .logprobs = a->k.json ? (int)a->logprobs : -1,
        .ignore_eos = a->ignore_eos,
    };
}

static void json_token(sm_str *out, const smelt_token *t, bool with_top) {
    sm_str_addf(out, "{\"id\":%d,\"text\":", t->id);
    json_text(out, t->text, t->n_text);
    sm_str_adds(out, ",\"logprob\":");
    json_num(out, t->logprob, 9);
    if (with_top) {
        sm_str_adds(out, ",\"top\":");
        json_top(out, t->top, t->n_top);
    }
    sm_str_adds(out, "}\n");
}

static sm_status generate(const run_args *a, smelt_session *s, run_stats *r, sm_err *err) {
    sm_str out = SM_STR_INIT;
    smelt_error e;
    smelt_token t = {.finish = SMELT_GOING};
    sm_status st = SM_OK;
    while (t.finish == SMELT_GOING && a->n != 0) {
        if (smelt_session_next(s, &t, &e) != SMELT_OK) {
            SM_TRY_DONE(cli_fail(&e, err));
        }
        if (r->generated++ == 0)
            r->first_us = sm_now_us();
        if (a->k.json)
            json_token(&out, &t, a->logprobs > 0);
        else
            sm_str_add(&out, t.text, t.n_text);
        SM_TRY_DONE(cli_print(&out, err));
        sm_mem_sample();
        if (sm_cancelled() && t.finish == SMELT_GOING)
            st = SM_FAIL(err, SM_CANCELLED, "stopped");
        SM_TRY_DONE(st);
    }
    r->finish = t.finish;
done:
    r->end_us = sm_now_us();
    sm_str_free(&out);
    return st;
}

static double per_second(double n, int64_t us) {
    return us > 0 ? n * 1e6 / (double)us : 0.0;
}

static sm_status print_stats(const run_args *a, const smelt_session *s, const run_stats *r, sm_err *err) {
    int64_t first = r->generated ? r->first_us : r->end_us;
    double ttft_ms = (double)(first - r->start_us) / 1000.0;
    double prompt_tps = per_second((double)r->n_prompt, first - r->start_us);
    double gen_tps = per_second(SM_MAX(r->generated - 1, 0), r->end_us - first);
    smelt_session_info info;
    smelt_session_get_info(s, &info);
    if (a->k.json) {
        sm_str out = SM_STR_INIT;
        sm_str_addf(&out,
                    "{\"done\":{\"prompt_tokens\":%zu,\"generated\":%d,\"finish_reason\":\"%s\",\"ttft_ms\":%.3f,"
                    "\"prompt_tps\":%.3f,\"gen_tps\":%.3f,\"peak_rss_bytes\":%llu,\"peak_anon_bytes\":%llu,"
                    "\"backend\":\"%s\",\"isa\":\"%s\",\"threads\":%d,\"seed\":%llu}}\n",
                    r->n_prompt, r->generated, r->finish == SMELT_STOP ? "stop" : "length", ttft_ms, prompt_tps,
                    gen_tps, (unsigned long long)sm_peak_rss_bytes(), (unsigned long long)sm_peak_anon_bytes(),
                    info.backend, info.isa, info.threads, (unsigned long long)info.seed);
        sm_status st = cli_print(&out, err);
        sm_str_free(&out);
        return st;
    }
    sm_log(1, "prompt %zu tokens, %.1f/s; made %d, %.1f/s (%s); %s%s%s, peak memory %.0f MB", r->n_prompt, prompt_tps,
           r->generated, gen_tps, r->finish == SMELT_STOP ? "stop" : "length", info.backend, info.isa[0] ? " " : "",
           info.isa, (double)sm_peak_rss_bytes() / 1e6);
    sm_log(2, "seed %llu, context %d, %d threads, weights %.0f MB beyond the file, caches %.0f MB",
           (unsigned long long)info.seed, info.context, info.threads, (double)info.weight_bytes / 1e6,
           (double)info.kv_bytes / 1e6);
    return SM_OK;
}

static sm_status reply(run_args *a, smelt_model *m, const int32_t *ids, size_t n, sm_err *err) {
    smelt_session_options o;
    smelt_sampling sampling;
    smelt_model_info info;
    smelt_session *s = NULL;
    smelt_error e;
    run_stats r = {.n_prompt = n};
    const char **stop = sm_alloc_n(a->stop.n, sizeof *stop);
    sm_status st;
    if (!stop)
        return SM_NOMEM(err);
    for (size_t i = 0; i < a->stop.n; i++)
        stop[i] = a->stop.v[i].s;
    smelt_model_get_info(m, &info);
    SM_TRY_DONE(sampling_fill(&a->sampling, m, &sampling, err));
    fill_options(a, &info, n, stop, &sampling, &o);
    if (smelt_session_new(m, &o, &s, &e) != SMELT_OK)
        SM_TRY_DONE(cli_fail(&e, err));
    r.start_us = r.first_us = sm_now_us();
    if (smelt_session_prompt(s, ids, n, &e) != SMELT_OK)
        SM_TRY_DONE(cli_fail(&e, err));
    st = generate(a, s, &r, err);
    if (!a->k.json && r.generated > 0)
        putchar('\n');
    if (st == SM_OK)
        st = print_stats(a, s, &r, err);
done:
    smelt_session_free(&s);
    sm_free(stop);
    return st;
}

static sm_status run(void *args, sm_err *err) {
    run_args *a = args;
    sm_str text = SM_STR_INIT;
    smelt_model *m = NULL;
    smelt_error e;
    int32_t *ids = NULL;
    size_t n;
    bool given;
    sm_status st;
    SM_TRY_DONE(cli_text(a->text, a->file, &text, &given, err));
    if (!given) {
        st = SM_FAIL(err, SM_UNSUPPORTED, "interactive chat is not supported here yet");
        sm_err_hint(err, "give the prompt: -p TEXT, -f FILE or standard input");
        goto done;
    }
    if (!a->text && text.n > 0 && text.p[text.n - 1] == '\n')
        text.p[--text.n] = '\0'; /* a file's last line end is not part of the prompt */
    smelt_model_options o = {.size = sizeof o, .tokenizer = a->tokenizer};
    if (smelt_model_open(a->k.pos[0], &o, &m, &e) != SMELT_OK)
        SM_TRY_DONE(cli_fail(&e, err));
    SM_TRY_DONE(make_prompt(a, m, &text, &ids, &n, err));
    st = reply(a, m, ids, n, err);
done:
    smelt_free(ids);
    smelt_model_free(&m);
    sm_str_free(&text);
    return st;
}

const command cmd_run = {
    .name = "run",
    .usage = "MODEL [-p TEXT | -f FILE] [-n N]",
    .summary = "a reply to a prompt",
    .notes =
        "The prompt is one user turn of the model's chat template, or is continued as it stands (--raw, or a model "
        "without template).\n\nWith --json: one object a token {\"id\":..,\"text\":..,\"logprob\":..,\"top\":[..]}, "
        "then {\"done\":{..}}. A token's text is what became certain with it; log-probabilities are of the raw "
        "logits, before sampling.",
    .opts = run_opts,
    .n_opts = SM_ARRAY_LEN(run_opts),
    .groups = {{&sampling_group, offsetof(run_args, sampling)}},
    .size = sizeof(run_args),
    .min_pos = 1,
    .max_pos = 1,
    .pos = ".gguf .mlpackage",
    .init = init,
    .run = run,
};
