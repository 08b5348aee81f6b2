/* SPDX-License-Identifier: MIT
 *
 * cmd_inspect.c: smelt inspect, smelt knobs: what is in a file, what can be turned.
 */
#include <string.h>

#include "cli/cli.h"

typedef struct inspect_args {
    opt_common k;
    bool graph, weights, ops, metadata, chat_template, hash, sha256;
} inspect_args;

#define AT(field) offsetof(inspect_args, field)
static const opt inspect_opts[] = {
    {"graph", 0, OPT_ON, AT(graph), NULL, "the program as text", 0, 0, NULL},
    {"weights", 0, OPT_ON, AT(weights), NULL, "every tensor: shape, encoding, bytes, bits per weight, offset", 0, 0,
     NULL},
    {"ops", 0, OPT_ON, AT(ops), NULL, "how often each op stands in a checkpoint's program; packages always say it", 0,
     0, NULL},
    {"metadata", 0, OPT_ON, AT(metadata), NULL, "metadata with long texts whole and the beginnings of lists", 0, 0,
     NULL},
    {"template", 0, OPT_ON, AT(chat_template), NULL, "the chat template, and nothing else unless --json", 0, 0, NULL},
    {"hash", 0, OPT_ON, AT(hash), NULL, "the content hash, also of more than 1 GiB of weights", 0, 0, NULL},
    {"sha256", 0, OPT_ON, AT(sha256), NULL, "SHA-256 of every file", 0, 0, NULL},
};
#undef AT

static sm_status run_inspect(void *args, sm_err *err) {
    inspect_args *a = args;
    smelt_inspect_options o = {
        .size = sizeof o,
        .graph = a->graph,
        .weights = a->weights,
        .ops = a->ops,
        .metadata = a->metadata,
        .chat_template = a->chat_template,
        .hash = a->hash,
        .sha256 = a->sha256,
        .json = a->k.json,
        .progress = !a->k.quiet,
        .context = (int32_t)a->k.ctx,
        .threads = (int)a->k.threads,
    };
    smelt_error e;
    char *text;
    size_t n;
    CLI_TRY(smelt_inspect(a->k.pos[0], &o, &text, &n, &e), &e, err);
    return cli_show_text(text, n, err);
}

const command cmd_inspect = {
    .name = "inspect",
    .usage = "MODEL [--graph] [--weights] [--ops] [--metadata] [--template] [--hash] [--sha256]",
    .summary = "what a checkpoint or package holds",
    .notes =
        "Sizes, encodings, the numbers of the model, what memory it needs at a context (-c), tokenizer, metadata, and "
        "a "
        "hash of its weights that does not depend on file names, order, padding or splitting. --graph prints the "
        "program: a checkpoint's as smelt runs it, a package's as it is written. docs/inspect.md lists the keys of "
        "--json.",
    .opts = inspect_opts,
    .n_opts = SM_ARRAY_LEN(inspect_opts),
    .size = sizeof(inspect_args),
    .min_pos = 1,
    .max_pos = 1,
    .pos = ".gguf .mlpackage",
    .run = run_inspect,
};

static sm_status run_knobs(void *args, sm_err *err) {
    opt_common *k = args;
    smelt_error e;
    smelt_knob *knobs;
    int n;
    CLI_TRY(smelt_knobs(&knobs, &n, &e), &e, err);
    sm_str out = SM_STR_INIT;
    sm_str_adds(&out, k->json ? "[" : "");
    for (int i = 0; i < n; i++) {
        if (!k->json) {
            sm_str_addf(&out, "%-16s %-10s %s%s%s%s\n", knobs[i].name, *knobs[i].value ? knobs[i].value : "-",
                        knobs[i].help, *knobs[i].def ? " (default: " : "", knobs[i].def, *knobs[i].def ? ")" : "");
            continue;
        }
        sm_str_addf(&out, "%s{\"name\":\"%s\",\"value\":", i ? ",\n" : "", knobs[i].name);
        json_text(&out, knobs[i].value, strlen(knobs[i].value));
        sm_str_addf(&out, ",\"default\":\"%s\",\"help\":", knobs[i].def);
        json_text(&out, knobs[i].help, strlen(knobs[i].help));
        sm_str_addc(&out, '}');
    }
    sm_str_adds(&out, k->json ? "]\n" : "");
    smelt_free(knobs);
    sm_status st = cli_print(&out, err);
    sm_str_free(&out);
    return st;
}

const command cmd_knobs = {
    .name = "knobs",
    .usage = "",
    .summary = "environment variables that smelt reads, and their values",
    .size = sizeof(opt_common),
    .run = run_knobs,
};
