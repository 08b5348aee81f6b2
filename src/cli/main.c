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
#include "cli/tables.h"

const command *const commands[] = {
    &cmd_run,   &cmd_tokenize, &cmd_detokenize, &cmd_predict, &cmd_convert, &cmd_inspect,     &cmd_eval,
    &cmd_check, &cmd_bench,    &cmd_doctor,     &cmd_knobs,   &cmd_help,    &cmd_completions,
};
const int n_commands = (int)SM_ARRAY_LEN(commands);

static void on_interrupt(int sig) {
    smelt_cancel(true);
    signal(sig, SIG_DFL);
}

/* A misspelt variable would be a setting that silently does nothing. */
static void warn_of_strangers(void) {
    char name[64];
    const char *nearest;
    for (int i = 0; sm_knob_stranger(i, name, sizeof name, &nearest); i++) {
        if (nearest)
            sm_log(1, "smelt: environment: %s is no setting of smelt; did you mean %s?", name, nearest);
        else
            sm_log(1, "smelt: environment: %s is no setting of smelt; `smelt knobs` lists them", name);
    }
}

static void print_version(bool json) {
    if (json)
        printf("{\"version\":\"%s\"}\n", smelt_version());
    else
        printf("smelt %s\n", smelt_version());
}

/* ------------------------------------------------------------------ */
static sm_status run_command(const command *c, int argc, char **argv, sm_err *err) {
    sm_str out = SM_STR_INIT;
    opt_common *k = sm_alloc(c->size);
    if (!k)
        return SM_NOMEM(err);
    sm_status st = opts_parse(c, argc, argv, k, err);
    if (st == SM_OK) {
        sm_log_set_level(k->quiet ? 0 : k->verbose ? 2 : 1);
        warn_of_strangers();
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

/* Every message goes with what to do next; this, where the place of the failure knew nothing better. */
static void hint_next(const command *c, sm_status st, sm_err *err) {
    if (err->hint[0])
        return;
    if (st == SM_USAGE || st == SM_UNSUPPORTED)
        sm_err_hint(err, "smelt help %s tells what it takes", c ? c->name : "");
    else if (st == SM_BADINPUT)
        sm_err_hint(err, "smelt help %s tells what it reads; smelt inspect FILE shows what a model holds",
                    c ? c->name : "");
    else if (st == SM_RESOURCE)
        sm_err_hint(err, "a smaller context (-c) or a smaller model takes less");
}

static int finish(const command *c, sm_status st, sm_err *err) {
    sm_str nothing = SM_STR_INIT;
    if (st == SM_OK)
        st = cli_print(&nothing, err); /* what is still held back */
    if (st == SM_OK)
        return 0;
    hint_next(c, st, err);
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
    signal(SIGXFSZ,
           SIG_IGN); /* a limit on the size of files is an error of writing, after which things are tidied up */
    if (argc < 2) {
        sm_str out = SM_STR_INIT;
        cli_overview(&out);
        fputs(sm_str_z(&out), stderr);
        sm_str_free(&out);
        return sm_exit_code(SM_USAGE);
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0) {
        print_version(argc > 2 && strcmp(argv[2], "--json") == 0);
        return finish(NULL, SM_OK, &err);
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    const command *c = find_command(name);
    return finish(c, c ? run_command(c, argc - 2, argv + 2, &err) : cli_unknown_command(name, &err), &err);
}
