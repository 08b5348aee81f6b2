/* SPDX-License-Identifier: MIT
 *
 * cmd_help.c: smelt help, smelt completions: the tables of all commands, in the forms that people, man and shells read.
 */
#include <string.h>

#include "cli/cli.h"
#include "cli/tables.h"

typedef struct help_args {
    opt_common k;
    bool markdown, man;
} help_args;

static const opt help_opts[] = {
    {"markdown", 0, OPT_ON, offsetof(help_args, markdown), NULL, "all commands, as docs/cli.md", 0, 0, NULL},
    {"man", 0, OPT_ON, offsetof(help_args, man), NULL, "the manual page, as mdoc source", 0, 0, NULL},
};

const command *find_command(const char *name) {
    for (int i = 0; i < n_commands; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

void cli_overview(sm_str *out) {
    sm_str_addf(out, "smelt %s: language models as Core ML packages, and on this CPU\n\n", smelt_version());
    for (int i = 0; i < n_commands; i++)
        sm_str_addf(out, "  smelt %-11s %s\n", commands[i]->name, commands[i]->summary);
    sm_str_adds(out, "\nsmelt help COMMAND or smelt COMMAND --help tells more.\n");
}

/* Commands of other programs of this kind, which people try; and what does it meanwhile. */
static const struct {
    const char *name, *instead;
} absent[] = {
    {"plan", "smelt doctor MODEL says whether a model fits this machine; docs/apple.md what is known of Apple's"},
    {"serve", "smelt run --chat FILE answers a request as chat servers take it"},
    {"pull", "fetch the file with another program and give its path"},
    {"list", "there is no store of models: give the path of a .gguf file or an .mlpackage"},
    {"rm", "there is no store of models: remove the file itself"},
};

sm_status cli_unknown_command(const char *name, sm_err *err) {
    const char *names[32];
    size_t n = 0;
    for (size_t i = 0; i < SM_ARRAY_LEN(absent); i++)
        if (strcmp(name, absent[i].name) == 0) {
            SM_FAIL(err, SM_UNSUPPORTED, "smelt %s is not supported here yet", name);
            sm_err_hint(err, "%s", absent[i].instead);
            return SM_UNSUPPORTED;
        }
    for (; n < (size_t)n_commands && n < SM_ARRAY_LEN(names); n++)
        names[n] = commands[n]->name;
    const char *nearest = sm_nearest(name, names, n);
    SM_FAIL(err, SM_USAGE, "there is no command %s", sm_quote(name, strlen(name)));
    if (nearest)
        sm_err_hint(err, "did you mean smelt %s? smelt help lists the commands", nearest);
    else
        sm_err_hint(err, "smelt help lists the commands");
    return SM_USAGE;
}

static void print_markdown(sm_str *out) {
    sm_str_adds(out, "<!-- Made by `smelt help --markdown`. -->\n# Commands\n\n");
    sm_str_adds(out, "Results go to stdout, progress and messages to stderr. Exit codes: 0 done; 1 a check failed; "
                     "2 wrong usage; 3 bad input; 4 not supported here; 5 out of memory, disk or context length; "
                     "130 after Ctrl-C.\n\n");
    for (int i = 0; i < n_commands; i++)
        opts_help(commands[i], true, out);
}

/* ------------------------------------------------------------------ JSON */
static void json_field(sm_str *out, const char *key, const char *v) {
    sm_str_addf(out, ",\"%s\":", key);
    if (v)
        json_text(out, v, strlen(v));
    else
        sm_str_adds(out, "null");
}

static void json_option(sm_str *out, const opt *o) {
    static const char *const kinds[] = {[OPT_ON] = "switch",  [OPT_OFF] = "switch", [OPT_INT] = "integer",
                                        [OPT_NUM] = "number", [OPT_STR] = "string", [OPT_STRS] = "strings"};
    char words[512];
    sm_str_addf(out, "{\"name\":\"--%s\"", o->name);
    if (o->letter)
        sm_str_addf(out, ",\"letter\":\"-%c\"", o->letter);
    sm_str_addf(out, ",\"kind\":\"%s\"", kinds[o->kind]);
    if (o->arg)
        json_field(out, "value", o->arg);
    if (o->kind == OPT_INT)
        sm_str_addf(out, ",\"least\":%lld,\"greatest\":%lld", (long long)o->lo, (long long)o->hi);
    if (opts_value(o, words, sizeof words) == VALUE_WORDS)
        json_field(out, "choices", words);
    json_field(out, "help", o->help);
    sm_str_addf(out, ",\"supported\":%s}", o->later ? "false" : "true");
}

static void json_command(sm_str *out, const command *c) {
    sm_str_addf(out, "{\"name\":\"%s\"", c->name);
    json_field(out, "usage", c->usage);
    json_field(out, "summary", c->summary);
    json_field(out, "notes", c->notes);
    sm_str_adds(out, ",\"options\":[");
    for (size_t i = 0; opts_at(c, i); i++) {
        sm_str_adds(out, i ? ",\n" : "");
        json_option(out, opts_at(c, i));
    }
    sm_str_adds(out, "]}");
}

static void print_json(const command *only, sm_str *out) {
    if (only) {
        json_command(out, only);
        sm_str_addc(out, '\n');
        return;
    }
    sm_str_addf(out, "{\"version\":\"%s\",\"commands\":[\n", smelt_version());
    for (int i = 0; i < n_commands; i++) {
        sm_str_adds(out, i ? ",\n" : "");
        json_command(out, commands[i]);
    }
    sm_str_adds(out, "]}\n");
}

/* ------------------------------------------------------------------ commands */
static sm_status run_help(void *args, sm_err *err) {
    help_args *a = args;
    sm_str out = SM_STR_INIT;
    const command *c = NULL;
    sm_status st = SM_OK;
    if (a->k.n_pos > 0 && !(c = find_command(a->k.pos[0])))
        return cli_unknown_command(a->k.pos[0], err);
    if (a->man)
        st = cli_man_page(c, &out, err);
    else if (a->markdown)
        print_markdown(&out);
    else if (a->k.json)
        print_json(c, &out);
    else if (c)
        opts_help(c, false, &out);
    else
        cli_overview(&out);
    if (st == SM_OK)
        st = cli_print(&out, err);
    sm_str_free(&out);
    return st;
}

const command cmd_help = {
    .name = "help",
    .usage = "[COMMAND]",
    .summary = "what commands there are and what they take",
    .notes = "--json prints the tables of options, --man a manual page: smelt help --man run | man -l -",
    .opts = help_opts,
    .n_opts = SM_ARRAY_LEN(help_opts),
    .size = sizeof(help_args),
    .max_pos = 1,
    .pos = "@commands",
    .run = run_help,
};

static sm_status run_completions(void *args, sm_err *err) {
    opt_common *k = args;
    sm_str out = SM_STR_INIT, script = SM_STR_INIT;
    if (!cli_completions(k->pos[0], &script)) {
        SM_FAIL(err, SM_USAGE, "completions: wanted bash, zsh or fish, found %s",
                sm_quote(k->pos[0], strlen(k->pos[0])));
        return SM_USAGE;
    }
    if (k->json) {
        sm_str_addf(&out, "{\"shell\":\"%s\",\"script\":", k->pos[0]);
        json_text(&out, sm_str_z(&script), script.n);
        sm_str_adds(&out, "}\n");
    }
    sm_status st = sm_str_ok(&script) ? cli_print(k->json ? &out : &script, err) : SM_NOMEM(err);
    sm_str_free(&out);
    sm_str_free(&script);
    return st;
}

const command cmd_completions = {
    .name = "completions",
    .usage = "bash|zsh|fish",
    .summary = "a script that completes smelt's options in a shell",
    .notes = "bash: source <(smelt completions bash). zsh: smelt completions zsh > a folder of $fpath/_smelt. "
             "fish: smelt completions fish > ~/.config/fish/completions/smelt.fish. make install puts them in place.",
    .size = sizeof(opt_common),
    .min_pos = 1,
    .max_pos = 1,
    .pos = "bash zsh fish",
    .run = run_completions,
};
