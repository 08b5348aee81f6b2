/* SPDX-License-Identifier: MIT
 *
 * cmd_eval.c: smelt eval: perplexity of a text, log-probabilities of given tokens, multiple-choice tests.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cli/cli.h"

typedef struct eval_args {
    opt_common k;
    const char *text, *ids, *tokenizer, *logits, *choices, *style, *shots_file;
    int64_t top, shots, tasks;
    double max_ppl;
} eval_args;

#define AT(field) offsetof(eval_args, field)
static const opt eval_opts[] = {
    {"text", 0, OPT_STR, AT(text), "FILE", "a file with the text; - for standard input", 0, 0, NULL},
    {"ids", 0, OPT_STR, AT(ids), "1,2,3..", "these tokens, as one window", 0, 0, NULL},
    {"top", 0, OPT_INT, AT(top), "K", "with --json: the K most likely tokens of each place", 0, 1 << 24, NULL},
    {"max-ppl", 0, OPT_NUM, AT(max_ppl), "X", "fail (exit 1) above this perplexity", 0, 0, NULL},
    {"logits", 0, OPT_STR, AT(logits), "FILE",
     "with --ids: all logits into an .npz file: logits f32 [tokens, vocabulary]", 0, 0, NULL},
    {"tokenizer", 0, OPT_STR, AT(tokenizer), "PATH", "file to take the vocabulary from", 0, 0, NULL},
    {"choices", 0, OPT_STR, AT(choices), "FILE", "multiple-choice tasks: HellaSwag, MMLU and files like them", 0, 0,
     NULL},
    {"style", 0, OPT_STR, AT(style), "auto|text|letters",
     "with --choices: choices continue the context, or are listed and their letters scored", 0, 0, NULL},
    {"tasks", 0, OPT_INT, AT(tasks), "N", "with --choices: the first N tasks only", 1, INT64_MAX, NULL},
    {"shots-file", 0, OPT_STR, AT(shots_file), "FILE", "with --choices: solved examples put before each task", 0, 0,
     NULL},
    {"shots", 0, OPT_INT, AT(shots), "N", "how many of them (5)", 1, 1 << 20, NULL},
};
#undef AT

static void init(void *args) {
    ((eval_args *)args)->max_ppl = NAN;
}

/* "1,2,3": commas or white space between. */
static sm_status parse_ids(const char *text, int32_t **out, size_t *n, sm_err *err) {
    size_t cap = strlen(text) / 2 + 1;
    int32_t *ids = sm_alloc_n(cap, sizeof *ids);
    if (!ids)
        return SM_NOMEM(err);
    *out = ids;
    *n = 0;
    for (const char *p = text; *p;) {
        char *end;
        long v = strtol(p, &end, 10);
        if (end == p || v < 0 || v > INT32_MAX)
            return SM_FAIL(err, SM_USAGE, "--ids: offset %zu: wanted token ids with commas between, found %s",
                           (size_t)(p - text), sm_quote(p, strlen(p)));
        ids[(*n)++] = (int32_t)v;
        p = end + strspn(end, ", \n\t");
    }
    return SM_OK;
}

typedef struct collector {
    sm_str out;
    bool top;
} collector;

static void on_token(void *ctx, int32_t id, double logprob, const smelt_logprob *top, int n_top) {
    collector *c = ctx;
    sm_str_addc(&c->out, c->out.n ? ',' : ' ');
    sm_str_addc(&c->out, '{');
    if (id >= 0) {
        sm_str_addf(&c->out, "\"id\":%d,\"logprob\":", id);
        json_num(&c->out, (float)logprob, 9); /* as `run` gives it */
    }
    if (c->top || id < 0) {
        sm_str_adds(&c->out, id >= 0 ? ",\"top\":" : "\"top\":");
        json_top(&c->out, top, n_top);
    }
    sm_str_addc(&c->out, '}');
}

static sm_status print_report(const eval_args *a, const smelt_eval_report *r, const collector *c, bool tokens,
                              sm_err *err) {
    sm_str out = SM_STR_INIT;
    double ppl = r->scored ? r->ppl : NAN;
    if (a->k.json) {
        sm_str_adds(&out, "{\"ppl\":");
        json_num(&out, ppl, 9);
        sm_str_adds(&out, ",\"ppl_error\":");
        json_num(&out, r->scored ? r->ppl_error : NAN, 6);
        sm_str_adds(&out, ",\"nll\":");
        json_num(&out, r->scored ? r->nll : NAN, 9);
        sm_str_addf(&out, ",\"scored\":%llu,\"windows\":%d", (unsigned long long)r->scored, r->windows);
        if (tokens) {
            sm_str_adds(&out, ",\"tokens\":[");
            sm_str_add(&out, sm_str_z(&c->out), c->out.n);
            sm_str_addc(&out, ']');
        }
        sm_str_addf(&out, ",\"peak_rss_bytes\":%llu}\n", (unsigned long long)sm_peak_rss_bytes());
    } else if (r->scored == 0) {
        sm_str_adds(&out, "no perplexity: one token alone has none before it that would foretell it\n");
    } else {
        sm_str_addf(&out, "perplexity %.4f +/- %.5f (%llu tokens scored in %d windows)\n", ppl, r->ppl_error,
                    (unsigned long long)r->scored, r->windows);
    }
    sm_status st = sm_str_ok(&c->out) ? cli_print(&out, err) : SM_NOMEM(err);
    sm_str_free(&out);
    if (st != SM_OK || isnan(a->max_ppl) || (r->scored && r->ppl <= a->max_ppl))
        return st;
    if (!r->scored || isnan(r->ppl)) { /* nothing was scored, or logits are no numbers: a limit is not kept by that */
        SM_FAIL(err, SM_FAILED, "there is no perplexity that could be within --max-ppl %g", a->max_ppl);
        return SM_FAILED;
    }
    return SM_FAIL(err, SM_FAILED, "perplexity %.4f is above --max-ppl %g", r->ppl, a->max_ppl);
}

static sm_status eval(const eval_args *a, smelt_model *m, sm_err *err) {
    collector c = {SM_STR_INIT, a->top > 0};
    bool tokens = a->k.json && (a->ids || a->top > 0), given;
    smelt_eval_options o = {
        .size = sizeof o,
        .backend = a->k.backend,
        .threads = (int)a->k.threads,
        .context = (int32_t)a->k.ctx,
        .top = (int)a->top,
        .logits_npz = a->logits,
        .on_token = tokens ? on_token : NULL,
        .ctx = &c,
        .progress = !a->k.quiet,
    };
    smelt_eval_report r = {0};
    smelt_error e;
    sm_str text = SM_STR_INIT;
    int32_t *ids = NULL;
    size_t n = 0;
    sm_status st;
    if (a->ids) {
        SM_TRY_DONE(parse_ids(a->ids, &ids, &n, err));
        if (smelt_eval_ids(m, ids, n, &o, &r, &e) != SMELT_OK)
            SM_TRY_DONE(cli_fail(&e, err));
    } else {
        SM_TRY_DONE(cli_text(NULL, a->text, &text, &given, err));
        if (smelt_eval_text(m, sm_str_z(&text), text.n, &o, &r, &e) != SMELT_OK)
            SM_TRY_DONE(cli_fail(&e, err));
    }
    st = print_report(a, &r, &c, tokens, err);
done:
    sm_free(ids);
    sm_str_free(&text);
    sm_str_free(&c.out);
    return st;
}

/* ------------------------------------------------------------------ multiple choice */
static void json_rate(sm_str *out, const char *name, const smelt_rate *r) {
    sm_str_addf(out, "\"%s\":%.6f,\"%s_error\":%.6f,\"%s_interval\":[%.6f,%.6f],", name, r->rate, name, r->error, name,
                r->low, r->high);
}

static void text_rate(sm_str *out, const char *name, const smelt_rate *r, const char *what) {
    sm_str_addf(out, "%-9s  %.4f +/- %.4f  95 %% within %.4f .. %.4f  %s\n", name, r->rate, r->error, r->low, r->high,
                what);
}

static void on_task(void *ctx, const smelt_choice_task *t) {
    collector *c = ctx;
    sm_str_addf(&c->out, "%s\n {\"task\":%llu,\"line\":%d,\"gold\":%d,\"pick\":%d,\"pick_norm\":%d,\"pick_token\":%d",
                c->out.n ? "," : "", (unsigned long long)t->index, t->line, t->gold, t->pick, t->pick_norm,
                t->pick_token);
    sm_str_adds(&c->out, ",\"choices\":[");
    for (int i = 0; i < t->n; i++) {
        const smelt_choice_score *s = &t->scores[i];
        sm_str_addf(&c->out, "%s{\"logprob\":", i ? "," : "");
        json_num(&c->out, s->logprob, 9);
        sm_str_adds(&c->out, ",\"per_byte\":");
        json_num(&c->out, s->per_byte, 9);
        sm_str_adds(&c->out, ",\"per_token\":");
        json_num(&c->out, s->per_token, 9);
        sm_str_addf(&c->out, ",\"tokens\":%d,\"bytes\":%d}", s->tokens, s->bytes);
    }
    sm_str_adds(&c->out, "]}");
}

static sm_status choices(const eval_args *a, smelt_model *m, sm_err *err) {
    collector c = {SM_STR_INIT, false};
    sm_str out = SM_STR_INIT;
    smelt_choices_options o = {
        .size = sizeof o,
        .backend = a->k.backend,
        .threads = (int)a->k.threads,
        .context = (int32_t)a->k.ctx,
        .style = a->style,
        .shots_file = a->shots_file,
        .shots = (int)a->shots,
        .tasks = (uint64_t)a->tasks,
        .on_task = a->k.json ? on_task : NULL,
        .ctx = &c,
        .progress = !a->k.quiet,
    };
    smelt_choices_report r = {0};
    smelt_error e;
    sm_status st = SM_OK;
    if (smelt_eval_choices(m, a->choices, &o, &r, &e) != SMELT_OK)
        SM_TRY_DONE(cli_fail(&e, err));
    if (a->k.json) {
        sm_str_addf(&out, "{\"format\":\"%s\",\"tasks\":%llu,", r.format, (unsigned long long)r.tasks);
        json_rate(&out, "acc", &r.acc);
        json_rate(&out, "acc_norm", &r.acc_norm);
        json_rate(&out, "acc_token", &r.acc_token);
        sm_str_addf(&out, "\"tokens_computed\":%llu,\"items\":[", (unsigned long long)r.tokens_computed);
        sm_str_add(&out, sm_str_z(&c.out), c.out.n);
        sm_str_addf(&out, "],\"peak_rss_bytes\":%llu}\n", (unsigned long long)sm_peak_rss_bytes());
    } else {
        sm_str_addf(&out, "%llu tasks (%s)\n", (unsigned long long)r.tasks, r.format);
        text_rate(&out, "acc", &r.acc, "by the sum of log-probabilities");
        text_rate(&out, "acc_norm", &r.acc_norm, "by the sum over bytes");
        text_rate(&out, "acc_token", &r.acc_token, "by the mean over tokens that differ");
    }
    st = sm_str_ok(&c.out) ? cli_print(&out, err) : SM_NOMEM(err);
done:
    sm_str_free(&out);
    sm_str_free(&c.out);
    return st;
}

static sm_status check_args(const eval_args *a, sm_err *err) {
    if ((a->ids != NULL) + (a->text != NULL) + (a->choices != NULL) != 1)
        return SM_FAIL(err, SM_USAGE, "eval: wanted one of --text FILE, --ids 1,2,3.. and --choices FILE");
    if (a->logits && !a->ids)
        return SM_FAIL(err, SM_USAGE, "eval: --logits goes with --ids");
    if (!a->choices && (a->style || a->shots_file || a->shots || a->tasks))
        return SM_FAIL(err, SM_USAGE, "eval: --style, --tasks, --shots and --shots-file go with --choices");
    if (a->shots && !a->shots_file)
        return SM_FAIL(err, SM_USAGE, "eval: --shots goes with --shots-file");
    if (a->choices && (a->top > 0 || !isnan(a->max_ppl)))
        return SM_FAIL(err, SM_USAGE, "eval: --top and --max-ppl go with --text or --ids");
    return SM_OK;
}

static sm_status run(void *args, sm_err *err) {
    eval_args *a = args;
    smelt_model *m = NULL;
    smelt_error e;
    SM_TRY(check_args(a, err));
    smelt_model_options o = {.size = sizeof o, .tokenizer = a->tokenizer};
    CLI_TRY(smelt_model_open(a->k.pos[0], &o, &m, &e), &e, err);
    sm_status st = a->choices ? choices(a, m, err) : eval(a, m, err);
    smelt_model_free(&m);
    return st;
}

const command cmd_eval = {
    .name = "eval",
    .usage = "MODEL (--text FILE | --ids 1,2,3.. | --choices FILE)",
    .summary = "perplexity, log-probabilities of tokens, multiple-choice tests",
    .notes =
        "A text is cut into windows of --ctx tokens (default 512); in each the first token is replaced by the model's "
        "beginning-of-text token where it adds one, and the second half is scored.\n\nWith --json and --ids or "
        "--top: {\"ppl\":..,\"tokens\":[{\"id\":..,\"logprob\":..,\"top\":[..]},..]}; with --ids entry i-1 is token "
        "i under the tokens before it, and one last entry has only \"top\": what would follow.\n\n"
        "--choices reads HellaSwag (JSON lines, or six lines a task), MMLU (CSV: question, choices, letter of the "
        "answer) "
        "and JSON lines with a question, choices and an answer. acc takes the choice with the largest log-probability, "
        "acc_norm the largest over its bytes, acc_token the largest mean over the tokens in which choices differ.",
    .opts = eval_opts,
    .n_opts = SM_ARRAY_LEN(eval_opts),
    .size = sizeof(eval_args),
    .min_pos = 1,
    .max_pos = 1,
    .pos = ".gguf .mlpackage",
    .init = init,
    .run = run,
};
