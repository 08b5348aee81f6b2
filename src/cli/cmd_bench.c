/* SPDX-License-Identifier: MIT
 *
 * cmd_bench.c: smelt bench: how fast a model runs here, how near the machine's limits, and how fast it was before.
 */
#include <stdio.h>

#include "base/log.h"
#include "cli/cli.h"

typedef struct bench_args {
    opt_common k;
    const char *prompts, *gens, *depths, *seqs, *csv, *svg, *trace, *db;
    int64_t reps;
    bool history, no_save;
    smelt_error unsaved;
} bench_args;

static const opt bench_opts[] = {
    {"n-prompt", 'p', OPT_STR, offsetof(bench_args, prompts), "N,..",
     "tokens of the prompts to process; 0: none; default 512", 0, 0, NULL},
    {"n-gen", 'n', OPT_STR, offsetof(bench_args, gens), "N,..", "tokens to generate; 0: none; default 128", 0, 0, NULL},
    {"n-depth", 'd', OPT_STR, offsetof(bench_args, depths), "DEPTH,..",
     "tokens that are cached already, before each of these; default 0", 0, 0, NULL},
    {"sequences", 'b', OPT_STR, offsetof(bench_args, seqs), "SEQS,..", "sequences at once; default 1", 0, 0, NULL},
    {"repetitions", 'r', OPT_INT, offsetof(bench_args, reps), "REPS",
     "how often each test is repeated after its warm-up; default 5", 1, 1000, NULL},
    {"csv", 0, OPT_STR, offsetof(bench_args, csv), "FILE", "also write the figures as a table", 0, 0, NULL},
    {"svg", 0, OPT_STR, offsetof(bench_args, svg), "FILE", "also draw them as a chart", 0, 0, NULL},
    {"trace", 0, OPT_STR, offsetof(bench_args, trace), "FILE",
     "run one prompt and one token more, say where their time went op by op, and write it as trace events, which "
     "chrome://tracing and Perfetto show",
     0, 0, NULL},
    {"history", 0, OPT_ON, offsetof(bench_args, history), NULL,
     "measure nothing; print past runs (with MODEL: its own), each with its ratio to the one before", 0, 0, NULL},
    {"db", 0, OPT_STR, offsetof(bench_args, db), "FILE",
     "where results are kept; default bench.db in ~/.local/state/smelt", 0, 0, NULL},
    {"no-save", 0, OPT_ON, offsetof(bench_args, no_save), NULL, "keep nothing", 0, 0, NULL},
};

static void on_unsaved(void *ctx, const smelt_error *why) {
    bench_args *a = ctx;
    a->unsaved = *why;
}

static sm_status check_args(const bench_args *a, sm_err *err) {
    bool measures = a->prompts || a->gens || a->depths || a->seqs || a->reps || a->csv || a->svg || a->trace;
    if (a->history && (measures || a->no_save))
        return SM_FAIL(err, SM_USAGE, "bench: --history measures nothing: it goes with MODEL, --db and --json alone");
    if (!a->history && a->k.n_pos == 0)
        return SM_FAIL(err, SM_USAGE, "bench: wanted a model to measure, or --history");
    if (a->db && a->no_save)
        return SM_FAIL(err, SM_USAGE, "bench: --db and --no-save: wanted one of them");
    return SM_OK;
}

static sm_status run(void *args, sm_err *err) {
    bench_args *a = args;
    const char *model = a->k.n_pos > 0 ? a->k.pos[0] : NULL;
    smelt_error e;
    char *text;
    size_t n;
    SM_TRY(check_args(a, err));
    if (a->history) {
        CLI_TRY(smelt_bench_history(a->db, model, a->k.json, &text, &n, &e), &e, err);
        return cli_show_text(text, n, err);
    }
    smelt_bench_options o = {
        .size = sizeof o,
        .prompts = a->prompts,
        .generations = a->gens,
        .depths = a->depths,
        .sequences = a->seqs,
        .repetitions = (int)a->reps,
        .backend = a->k.backend,
        .threads = (int)a->k.threads,
        .context = (int32_t)a->k.ctx,
        .json = a->k.json,
        .progress = !a->k.quiet,
        .csv = a->csv,
        .svg = a->svg,
        .trace = a->trace,
        .db = a->db,
        .no_save = a->no_save,
        .on_unsaved = on_unsaved,
        .ctx = a,
    };
    CLI_TRY(smelt_bench(model, &o, &text, &n, &e), &e, err);
    SM_TRY(cli_show_text(text, n, err));
    if (a->unsaved.code == SMELT_OK)
        return SM_OK;
    if (a->db) /* it was asked for by name */
        return cli_fail(&a->unsaved, err);
    sm_log(1, "smelt: results are not kept: %s", a->unsaved.message);
    return SM_OK;
}

const command cmd_bench = {
    .name = "bench",
    .usage =
        "MODEL [-p N,..] [-n N,..] [-d DEPTH,..] [-b SEQS,..] [-r REPS] [--csv FILE] [--svg FILE] [--trace FILE] | "
        "--history [MODEL]",
    .summary = "how fast a model runs, how near that is to the machine's limits, and how fast it was before",
    .notes =
        "pp512 is a prompt of 512 tokens, tg128 the generation of 128, @d4096 behind 4096 cached ones, @b4 for four "
        "sequences at once. Tokens a second are means with one standard deviation, of all sequences together. The "
        "limits, memory's read speed and integer arithmetic, are measured in the same run, before and after; the "
        "roofline "
        "is the larger of the two shares of them, and says which it is.\n\n"
        "With --json: "
        "[{\"test\":\"tg128\",\"tps\":..,\"stddev\":..,\"bytes_per_token\":..,\"gbps\":..,\"roofline\":..},..], "
        "with all repetitions, the machine, the model and the settings in each.\n\n"
        "Results are kept in an SQLite file; --history prints them. docs/performance.md says what the figures mean.",
    .opts = bench_opts,
    .n_opts = SM_ARRAY_LEN(bench_opts),
    .size = sizeof(bench_args),
    .max_pos = 1,
    .pos = ".gguf .mlpackage",
    .run = run,
};
