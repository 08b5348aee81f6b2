/* SPDX-License-Identifier: MIT
 *
 * cmd_run.c: smelt run: a prompt in, a reply out as it is made; or a chat (chat.h).
 */
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/chat.h"
#include "cli/cli.h"
#include "cli/request.h"
#include "cli/sampling.h"
#include "cli/turn.h"

typedef struct run_args {
    opt_common k;
    const char *text, *file, *system, *tokenizer, *ignored;
    opt_list stop, lora;
    int64_t n, logprobs;
    sampling_args sampling;
    request_args request;
    const char *draft;
    int64_t draft_max;
    bool raw, ignore_eos, interactive, print_prompt, lookup;
} run_args;

#define AT(field) offsetof(run_args, field)
static const opt run_opts[] = {
    {"prompt", 'p', OPT_STR, AT(text), "TEXT", "the prompt", 0, 0, NULL},
    {"file", 'f', OPT_STR, AT(file), "FILE", "a file with the prompt; - for standard input", 0, 0, NULL},
    {"predict", 'n', OPT_INT, AT(n), "N",
     "tokens to make at most; -1: until the model stops or the context is full; default 256, in a chat -1", -1,
     INT32_MAX, NULL},
    {"stop", 0, OPT_STRS, AT(stop), "STR", "text that ends the reply; may be given again", 0, 0, NULL},
    {"system", 0, OPT_STR, AT(system), "TEXT", "the system message", 0, 0, NULL},
    {"interactive", 'i', OPT_ON, AT(interactive), NULL,
     "chat, after the prompt if there is one; turns are read from standard input, be it a terminal or not", 0, 0, NULL},
    {"chat", 0, OPT_STR, AT(request.chat), "FILE",
     "a request as chat servers take it, instead of a prompt: JSON with messages, tools, documents, ..", 0, 0, NULL},
    {"chat-template", 0, OPT_STR, AT(request.tmpl), "FILE", "chat template to use instead of the model's", 0, 0, NULL},
    {"chat-template-kwargs", 0, OPT_STR, AT(request.variables), "JSON",
     "an object of variables for the template: {\"enable_thinking\": false}", 0, 0, NULL},
    {"print-prompt", 0, OPT_ON, AT(print_prompt), NULL,
     "print what the model would be given, and stop; with --json {\"prompt\":..}", 0, 0, NULL},
    {"raw", 0, OPT_ON, AT(raw), NULL, "continue the prompt, without chat template", 0, 0, NULL},
    {"tokenizer", 0, OPT_STR, AT(tokenizer), "PATH", "file to take vocabulary and template from", 0, 0, NULL},
    {"ignore-eos", 0, OPT_ON, AT(ignore_eos), NULL, "tokens that end a reply are never chosen", 0, 0, NULL},
    {"logprobs", 0, OPT_INT, AT(logprobs), "K", "with --json: the K most likely tokens of each place", 0, 1 << 20,
     NULL},
    {"lookup", 0, OPT_ON, AT(lookup), NULL,
     "guess tokens by what followed earlier where the text went the same way; the reply is the same, in fewer steps", 0,
     0, NULL},
    {"draft", 0, OPT_STR, AT(draft), "MODEL", "guess tokens with a smaller model of the same vocabulary; likewise", 0,
     0, NULL},
    {"draft-max", 0, OPT_INT, AT(draft_max), "N", "tokens guessed for one step at most (16)", 1, 64, NULL},
    {"lora", 0, OPT_STRS, AT(lora), "FILE[:SCALE]", "adapter", 0, 0, "merge the adapter into the checkpoint first"},
    {"units", 0, OPT_STR, AT(ignored), "U", "compute units", 0, 0,
     "they exist with Core ML on a Mac; leave the option out"},
    {"json-schema", 0, OPT_STR, AT(ignored), "FILE", "replies of a schema", 0, 0, "ask for the form in the prompt"},
    {"grammar", 0, OPT_STR, AT(ignored), "FILE", "replies of a grammar", 0, 0, "ask for the form in the prompt"},
    {"trace", 0, OPT_STR, AT(ignored), "FILE", "timeline of the run", 0, 0, "SMELT_DEBUG=run:3 prints steps"},
};
#undef AT

enum { NOT_GIVEN = -2 };

static void init(void *args) {
    ((run_args *)args)->n = NOT_GIVEN;
}

/* ------------------------------------------------------------------ */
/* Without a template, or where it is not wanted, the texts are continued as they stand. */
static const request_args *template_of(const run_args *a, const smelt_model *m) {
    smelt_model_info info;
    smelt_model_get_info(m, &info);
    bool has = info.has_tokenizer && (info.has_chat_template || request_given(&a->request));
    return has && !a->raw ? &a->request : NULL;
}

/* The text that the model is given, with the flags for smelt_tokenize. */
static sm_status prompt_text(const run_args *a, const smelt_model *m, const sm_str *text, sm_str *out, int *flags,
                             sm_err *err) {
    const request_args *q = template_of(a, m);
    smelt_message v[2];
    size_t k = 0;
    if (a->system && !q && !a->raw)
        sm_log(1, "the model has no chat template: --system is left out");
    else if (a->system && q)
        v[k++] = (smelt_message){"system", a->system};
    if (text) /* a request has its own */
        v[k++] = (smelt_message){"user", sm_str_z(text)};
    return turn_text(m, q, v, k, out, flags, err);
}

static sm_status print_prompt(const run_args *a, sm_str *prompt, sm_err *err) {
    sm_str out = SM_STR_INIT;
    if (!a->k.json)
        return cli_print(prompt, err);
    sm_str_adds(&out, "{\"prompt\":");
    json_text(&out, sm_str_z(prompt), prompt->n);
    sm_str_adds(&out, "}\n");
    sm_status st = cli_print(&out, err);
    sm_str_free(&out);
    return st;
}

/* Prints the prompt if that is all that is wanted; *ids stay NULL then. */
static sm_status make_prompt(const run_args *a, const smelt_model *m, const sm_str *text, int32_t **ids, size_t *n,
                             sm_err *err) {
    sm_str prompt = SM_STR_INIT;
    smelt_error e;
    int flags;
    sm_status st = prompt_text(a, m, text, &prompt, &flags, err);
    if (st == SM_OK && a->print_prompt)
        st = print_prompt(a, &prompt, err);
    else if (st == SM_OK && smelt_tokenize(m, sm_str_z(&prompt), prompt.n, flags, ids, n, &e) != SMELT_OK)
        st = cli_fail(&e, err);
    sm_str_free(&prompt);
    return st;
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
        .draft_tokens = a->draft || a->lookup ? (int32_t)(a->draft_max > 0 ? a->draft_max : 16) : 0,
    };
}

static sm_status print_stats(const run_args *a, const smelt_session *s, const turn *t, sm_err *err) {
    double ttft_ms = (double)((t->made ? t->first_us : t->end_us) - t->start_us) / 1000.0;
    smelt_session_info info;
    smelt_session_get_info(s, &info);
    if (a->k.json) {
        sm_str out = SM_STR_INIT;
        sm_str_addf(
            &out,
            "{\"done\":{\"prompt_tokens\":%zu,\"generated\":%d,\"finish_reason\":\"%s\",\"ttft_ms\":%.3f,"
            "\"prompt_tps\":%.3f,\"gen_tps\":%.3f,\"peak_rss_bytes\":%llu,\"peak_anon_bytes\":%llu,"
            "\"backend\":\"%s\",\"isa\":\"%s\",\"threads\":%d,\"seed\":%llu,\"drafted\":%llu,\"accepted\":%llu}}\n",
            t->n_prompt, t->made, turn_finish(t), ttft_ms, turn_prompt_tps(t), turn_gen_tps(t),
            (unsigned long long)sm_peak_rss_bytes(), (unsigned long long)sm_peak_anon_bytes(), info.backend, info.isa,
            info.threads, (unsigned long long)info.seed, (unsigned long long)info.drafted,
            (unsigned long long)info.accepted);
        sm_status st = cli_print(&out, err);
        sm_str_free(&out);
        return st;
    }
    char speed[32] = ""; /* one token has none */
    if (t->made > 1)
        snprintf(speed, sizeof speed, ", %.1f/s", turn_gen_tps(t));
    sm_log(1, "prompt %zu tokens, %.1f/s; made %d%s (%s); %s%s%s, peak memory %.0f MB", t->n_prompt, turn_prompt_tps(t),
           t->made, speed, turn_finish(t), info.backend, info.isa[0] ? " " : "", info.isa,
           (double)sm_peak_rss_bytes() / 1e6);
    if (info.drafted > 0)
        sm_log(1, "guesses: %llu of %llu held, %.2f tokens a step", (unsigned long long)info.accepted,
               (unsigned long long)info.drafted, (double)t->made / (double)SM_MAX(t->made - (int64_t)info.accepted, 1));
    sm_log(2, "seed %llu, context %d, %d threads, weights %.0f MB beyond the file, caches %.0f MB",
           (unsigned long long)info.seed, info.context, info.threads, (double)info.weight_bytes / 1e6,
           (double)info.kv_bytes / 1e6);
    return SM_OK;
}

/* One prompt and its reply, or, when there is to be one, a chat that may begin with it. */
static sm_status answer(run_args *a, smelt_model *m, smelt_model *draft, const sm_str *first, bool chat, sm_err *err) {
    smelt_session_options o;
    smelt_sampling sampling;
    smelt_model_info info;
    smelt_session *s = NULL;
    smelt_error e;
    turn t = {.json = a->k.json, .top = a->logprobs > 0, .silent = a->n == 0};
    const char **stop = sm_alloc_n(a->stop.n, sizeof *stop);
    int32_t *ids = NULL;
    size_t n = 0;
    sm_status st = SM_OK;
    if (!stop)
        return SM_NOMEM(err);
    for (size_t i = 0; i < a->stop.n; i++)
        stop[i] = a->stop.v[i].s;
    smelt_model_get_info(m, &info);
    if (!chat)
        SM_TRY_DONE(make_prompt(a, m, first, &ids, &n, err));
    if (a->print_prompt)
        goto done;
    SM_TRY_DONE(sampling_fill(&a->sampling, m, &sampling, err));
    fill_options(a, &info, n, stop, &sampling, &o);
    o.progress = true;
    o.draft = draft;
    if (info.trained_context > 0 && a->k.ctx > info.trained_context)
        sm_log(1, "smelt: a context of %d: the model was trained for %d, and is likely to fail beyond", o.context,
               info.trained_context);
    if (smelt_session_new(m, &o, &s, &e) != SMELT_OK)
        SM_TRY_DONE(cli_fail(&e, err));
    if (chat) {
        chat_setup c = {m, s, &o, &a->sampling, a->system, first ? sm_str_z(first) : NULL, template_of(a, m)};
        st = chat_run(&c, err);
    } else {
        SM_TRY_DONE(turn_run(&t, s, ids, n, err));
        st = print_stats(a, s, &t, err);
    }
done:
    smelt_session_free(&s);
    smelt_free(ids);
    sm_free(stop);
    return st;
}

static bool from_stdin(const run_args *a) {
    return a->file && strcmp(a->file, "-") == 0;
}

/* Whether to chat; refuses what does not go together. */
static sm_status check_args(const run_args *a, bool *chat, sm_err *err) {
    *chat = a->interactive || (!a->text && !a->file && isatty(STDIN_FILENO));
    if (a->draft && a->lookup)
        return SM_FAIL(err, SM_USAGE, "--lookup and --draft both guess: wanted one of them");
    if (a->request.chat && (a->text || a->file || a->system || a->interactive || a->raw))
        return SM_FAIL(err, SM_USAGE,
                       "--chat has the whole conversation: -p, -f, --system, -i and --raw do not go with it");
    if (a->request.chat) {
        *chat = false;
        return SM_OK;
    }
    if (*chat && a->print_prompt) {
        SM_FAIL(err, SM_USAGE, "--print-prompt is for one prompt: wanted -p, -f or --chat");
        sm_err_hint(err, "/prompt in a chat prints its prompt");
        return SM_USAGE;
    }
    if (a->raw && request_given(&a->request))
        return SM_FAIL(err, SM_USAGE, "--raw uses no chat template, %s wants one: wanted one of them",
                       a->request.tmpl ? "--chat-template" : "--chat-template-kwargs");
    if (*chat && a->k.json) {
        SM_FAIL(err, SM_USAGE, "--json is for one reply: wanted a prompt, found none");
        if (a->interactive)
            SM_FAIL(err, SM_USAGE, "--json is for one reply, --interactive for a chat: wanted one of them");
        sm_err_hint(err, "give it with -p TEXT, -f FILE or standard input; /save in a chat writes JSON");
        return SM_USAGE;
    }
    if (*chat && a->n == 0)
        return SM_FAIL(err, SM_USAGE, "-n 0: a chat wants replies of at least 1 token");
    if (*chat && from_stdin(a))
        return SM_FAIL(err, SM_USAGE, "-f - and --interactive both read standard input: wanted one of them");
    if (*chat && !a->interactive && !isatty(STDOUT_FILENO)) {
        SM_FAIL(err, SM_USAGE, "a chat needs a terminal: standard output is none");
        sm_err_hint(err, "give one prompt with -p TEXT or -f FILE, or --interactive to chat all the same");
        return SM_USAGE;
    }
    return cli_one_text(a->text, a->file, err);
}

/* The prompt that there is (*given), be it a reply's or the chat's first. */
static sm_status read_prompt(const run_args *a, bool chat, sm_str *text, bool *given, sm_err *err) {
    *given = false;
    if (a->request.chat || (chat && !a->text && !a->file))
        return SM_OK;
    SM_TRY(cli_text(a->text, a->file, text, given, err));
    if (!a->text && text->n > 0 && text->p[text->n - 1] == '\n')
        text->p[--text->n] = '\0'; /* a file's last line end is not part of the prompt */
    if (text->n == 0 && !a->text && (!a->file || from_stdin(a))) {
        SM_FAIL(err, SM_BADINPUT, "standard input: wanted a prompt, found 0 bytes");
        sm_err_hint(err, "give it with -p TEXT, -f FILE or standard input");
        return SM_BADINPUT;
    }
    return SM_OK;
}

static sm_status run(void *args, sm_err *err) {
    run_args *a = args;
    sm_str text = SM_STR_INIT;
    smelt_model *m = NULL, *draft = NULL;
    smelt_error e;
    bool given, chat;
    sm_status st;
    SM_TRY_DONE(check_args(a, &chat, err));
    if (a->n == NOT_GIVEN)
        a->n = chat ? -1 : 256;
    smelt_model_options o = {.size = sizeof o, .tokenizer = a->tokenizer};
    if (smelt_model_open(a->k.pos[0], &o, &m, &e) != SMELT_OK)
        SM_TRY_DONE(cli_fail(&e, err));
    if (a->draft && smelt_model_open(a->draft, NULL, &draft, &e) != SMELT_OK)
        SM_TRY_DONE(cli_fail(&e, err));
    SM_TRY_DONE(read_prompt(a, chat, &text, &given, err)); /* a model that is missing is said before a prompt that is */
    st = answer(a, m, draft, given ? &text : NULL, chat, err);
done:
    smelt_model_free(&draft);
    smelt_model_free(&m);
    sm_str_free(&text);
    return st;
}

const command cmd_run = {
    .name = "run",
    .usage = "MODEL [-p TEXT | -f FILE] [-n N] [-i]",
    .summary = "a reply to a prompt, or a chat",
    .notes =
        "The prompt is one user turn of the model's chat template, or is continued as it stands (--raw, or a model "
        "without template). Without a prompt, on a terminal: a chat, in which /help lists what it knows.\n\nWith "
        "--json: one object a token {\"id\":..,\"text\":..,\"logprob\":..,\"top\":[..]}, "
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
