/* SPDX-License-Identifier: MIT
 *
 * main.c: the program's entry: finds the command, turns statuses into messages and exit codes.
 *
 * Exit codes: 0 done, 1 a check failed, 2 wrong usage, 3 bad input, 4 not supported here, 5 out of a resource, 130 after
 * Ctrl-C.  The first Ctrl-C asks the work to stop, a second one ends the program at once.
 */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/cli.h"

const command *const commands[] = {
    &cmd_run,     &cmd_tokenize, &cmd_detokenize, &cmd_predict, &cmd_convert,
    &cmd_inspect, &cmd_eval,     &cmd_knobs,      &cmd_help,
};
const int n_commands = (int)SM_ARRAY_LEN(commands);

static void on_interrupt(int sig) {
    smelt_cancel(true);
    signal(sig, SIG_DFL);
}

/* ------------------------------------------------------------------ help */
typedef struct help_args {
    opt_common k;
    bool markdown;
} help_args;

static const opt help_opts[] = {
    {"markdown", 0, OPT_ON, offsetof(help_args, markdown), NULL, "all commands, as docs/cli.md", 0, 0, NULL},
};

static const command *find_command(const char *name) {
    for (int i = 0; i < n_commands; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static void overview(sm_str *out) {
    sm_str_addf(out, "smelt %s: language models as Core ML packages, and on this CPU\n\n", smelt_version());
    for (int i = 0; i < n_commands; i++)
        sm_str_addf(out, "  smelt %-11s %s\n", commands[i]->name, commands[i]->summary);
    sm_str_adds(out, "\nsmelt help COMMAND or smelt COMMAND --help tells more.\n");
}

static sm_status unknown_command(const char *name, sm_err *err) {
    SM_FAIL(err, SM_USAGE, "there is no command %s", sm_quote(name, strlen(name)));
    sm_err_hint(err, "smelt help lists the commands");
    return SM_USAGE;
}

static sm_status run_help(void *args, sm_err *err) {
    help_args *a = args;
    sm_str out = SM_STR_INIT;
    if (a->markdown) {
        sm_str_adds(&out, "<!-- Made by `smelt help --markdown`. -->\n# Commands\n\n");
        sm_str_adds(&out,
                    "Results go to stdout, progress and messages to stderr. Exit codes: 0 done; 1 a check failed; "
                    "2 wrong usage; 3 bad input; 4 not supported here; 5 out of memory, disk or context length; "
                    "130 after Ctrl-C.\n\n");
        for (int i = 0; i < n_commands; i++)
            opts_help(commands[i], true, &out);
    } else if (a->k.n_pos > 0) {
        const command *c = find_command(a->k.pos[0]);
        if (!c)
            return unknown_command(a->k.pos[0], err);
        opts_help(c, false, &out);
    } else {
        overview(&out);
    }
    sm_status st = cli_print(&out, err);
    sm_str_free(&out);
    return st;
}

const command cmd_help = {
    .name = "help",
    .usage = "[COMMAND]",
    .summary = "what commands there are and what they take",
    .opts = help_opts,
    .n_opts = SM_ARRAY_LEN(help_opts),
    .size = sizeof(help_args),
    .max_pos = 1,
    .run = run_help,
};

/* ------------------------------------------------------------------ */
static sm_status run_command(const command *c, int argc, char **argv, sm_err *err) {
    sm_str out = SM_STR_INIT;
    opt_common *k = sm_alloc(c->size);
    if (!k)
        return SM_NOMEM(err);
    sm_status st = opts_parse(c, argc, argv, k, err);
    if (st == SM_OK) {
        sm_log_set_level(k->quiet ? 0 : k->verbose ? 2 : 1);
        if (k->help) {
            opts_help(c, false, &out);
            st = cli_print(&out, err);
        } else {
            st = c->run(k, err);
        }
    }
    sm_str_free(&out);
    opts_free(c, k);
    sm_free(k);
    return st;
}

static int finish(sm_status st, const sm_err *err) {
    sm_err late = {0};
    if (st == SM_OK && (fflush(stdout) != 0 || ferror(stdout)))
        err = &late, st = SM_FAIL(&late, SM_RESOURCE, "standard output cannot be written");
    if (st == SM_OK)
        return 0;
    if (st == SM_CANCELLED)
        return sm_exit_code(st);
    fprintf(stderr, "smelt: %s\n", err->msg);
    if (err->hint[0])
        fprintf(stderr, "smelt: %s\n", err->hint);
    if (err->file)
        sm_trace(SM_T_RUN, 1, "failed at %s:%d", err->file, err->line);
    return sm_exit_code(st);
}

int main(int argc, char **argv) {
    sm_err err = {0};
    signal(SIGINT, on_interrupt);
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        sm_str out = SM_STR_INIT;
        overview(&out);
        fputs(sm_str_z(&out), stderr);
        sm_str_free(&out);
        return sm_exit_code(SM_USAGE);
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0) {
        printf("smelt %s\n", smelt_version());
        return finish(SM_OK, &err);
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    const command *c = find_command(name);
    return finish(c ? run_command(c, argc - 2, argv + 2, &err) : unknown_command(name, &err), &err);
}
