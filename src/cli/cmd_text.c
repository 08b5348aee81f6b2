/* SPDX-License-Identifier: MIT
 *
 * cmd_text.c: smelt tokenize, smelt detokenize.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

typedef struct text_args {
    opt_common k;
    const char *text, *file, *tokenizer;
    bool bos, special;
} text_args;

static const opt tokenize_opts[] = {
    {"prompt", 'p', OPT_STR, offsetof(text_args, text), "TEXT", "the text", 0, 0, NULL},
    {"file", 'f', OPT_STR, offsetof(text_args, file), "FILE", "a file with the text; - for standard input", 0, 0, NULL},
    {"no-bos", 0, OPT_OFF, offsetof(text_args, bos), NULL, "without the tokens that the model puts round a text", 0, 0,
     NULL},
    {"no-special", 0, OPT_OFF, offsetof(text_args, special), NULL, "special tokens in the text are plain text", 0, 0,
     NULL},
    {"tokenizer", 0, OPT_STR, offsetof(text_args, tokenizer), "PATH", "file to take the vocabulary from", 0, 0, NULL},
};

static const opt detokenize_opts[] = {
    {"tokenizer", 0, OPT_STR, offsetof(text_args, tokenizer), "PATH", "file to take the vocabulary from", 0, 0, NULL},
};

static void init(void *args) {
    text_args *a = args;
    a->bos = a->special = true;
}

static sm_status open_text(const text_args *a, smelt_model **m, sm_err *err) {
    smelt_error e;
    smelt_model_options o = {.size = sizeof o, .tokenizer = a->tokenizer, .text_only = true};
    CLI_TRY(smelt_model_open(a->k.pos[0], &o, m, &e), &e, err);
    return SM_OK;
}

static sm_status print_ids(const int32_t *ids, size_t n, bool json, sm_err *err) {
    sm_str out = SM_STR_INIT;
    sm_str_adds(&out, json ? "{\"ids\":[" : "");
    for (size_t i = 0; i < n; i++)
        sm_str_addf(&out, "%s%d", i == 0 ? "" : json ? "," : " ", ids[i]);
    sm_str_adds(&out, json ? "]}\n" : "\n");
    sm_status st = cli_print(&out, err);
    sm_str_free(&out);
    return st;
}

static sm_status run_tokenize(void *args, sm_err *err) {
    text_args *a = args;
    sm_str text = SM_STR_INIT;
    smelt_model *m = NULL;
    smelt_error e;
    int32_t *ids = NULL;
    size_t n;
    bool given;
    sm_status st;
    SM_TRY_DONE(cli_text(a->text, a->file, &text, &given, err));
    if (!given) {
        st = SM_FAIL(err, SM_USAGE, "tokenize: wanted a text: -p TEXT, -f FILE or standard input");
        goto done;
    }
    SM_TRY_DONE(open_text(a, &m, err));
    int flags = (a->bos ? SMELT_BOS : 0) | (a->special ? SMELT_SPECIAL : 0);
    if (smelt_tokenize(m, sm_str_z(&text), text.n, flags, &ids, &n, &e) != SMELT_OK)
        st = cli_fail(&e, err);
    else
        st = print_ids(ids, n, a->k.json, err);
done:
    smelt_free(ids);
    smelt_model_free(&m);
    sm_str_free(&text);
    return st;
}

static sm_status read_ids(const text_args *a, int32_t *ids, sm_err *err) {
    for (int i = 1; i < a->k.n_pos; i++) {
        char *end;
        errno = 0;
        long v = strtol(a->k.pos[i], &end, 10);
        if (errno || *end || end == a->k.pos[i] || v < 0 || v > INT32_MAX) {
            SM_FAIL(err, SM_USAGE, "detokenize: wanted token ids, found %s",
                    sm_quote(a->k.pos[i], strlen(a->k.pos[i])));
            sm_err_hint(err, "smelt tokenize MODEL -p TEXT gives the ids of a text");
            return SM_USAGE;
        }
        ids[i - 1] = (int32_t)v;
    }
    return SM_OK;
}

static sm_status print_text(const char *text, size_t n, bool json, sm_err *err) {
    sm_str out = SM_STR_INIT;
    if (json) {
        sm_str_adds(&out, "{\"text\":");
        json_text(&out, text, n);
        sm_str_adds(&out, "}\n");
    } else {
        sm_str_add(&out, text, n); /* exactly the text, so that it can be piped */
        if (isatty(STDOUT_FILENO))
            sm_str_addc(&out, '\n');
    }
    sm_status st = cli_print(&out, err);
    sm_str_free(&out);
    return st;
}

static sm_status run_detokenize(void *args, sm_err *err) {
    text_args *a = args;
    size_t n = (size_t)a->k.n_pos - 1, n_text;
    int32_t *ids = sm_alloc_n(n, sizeof *ids);
    smelt_model *m = NULL;
    smelt_error e;
    char *text = NULL;
    sm_status st;
    if (!ids)
        return SM_NOMEM(err);
    SM_TRY_DONE(read_ids(a, ids, err));
    SM_TRY_DONE(open_text(a, &m, err));
    if (smelt_detokenize(m, ids, n, &text, &n_text, &e) != SMELT_OK)
        st = cli_fail(&e, err);
    else
        st = print_text(text, n_text, a->k.json, err);
done:
    smelt_free(text);
    smelt_model_free(&m);
    sm_free(ids);
    return st;
}

const command cmd_tokenize = {
    .name = "tokenize",
    .usage = "MODEL [-p TEXT | -f FILE]",
    .summary = "the token ids of a text",
    .notes = "Prints the ids on one line; with --json {\"ids\":[..]}.",
    .opts = tokenize_opts,
    .n_opts = SM_ARRAY_LEN(tokenize_opts),
    .size = sizeof(text_args),
    .min_pos = 1,
    .max_pos = 1,
    .pos = ".gguf .mlpackage",
    .init = init,
    .run = run_tokenize,
};

const command cmd_detokenize = {
    .name = "detokenize",
    .usage = "MODEL ID...",
    .summary = "the text of token ids",
    .notes = "Prints exactly the text; with --json {\"text\":\"..\"}.",
    .opts = detokenize_opts,
    .n_opts = SM_ARRAY_LEN(detokenize_opts),
    .size = sizeof(text_args),
    .min_pos = 2,
    .max_pos = -1,
    .pos = ".gguf .mlpackage",
    .init = init,
    .run = run_detokenize,
};
