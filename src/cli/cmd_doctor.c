/* SPDX-License-Identifier: MIT
 *
 * cmd_doctor.c: smelt doctor: this machine, what it can do, what stands in the way.
 */
#include "cli/cli.h"
#include "cli/editor.h"

typedef struct doctor_args {
    opt_common k;
    bool quick;
} doctor_args;

static const opt doctor_opts[] = {
    {"quick", 0, OPT_ON, offsetof(doctor_args, quick), NULL, "measure nothing", 0, 0, NULL},
};

static sm_status run(void *args, sm_err *err) {
    doctor_args *a = args;
    smelt_doctor_options o = {
        .size = sizeof o,
        .model = a->k.n_pos > 0 ? a->k.pos[0] : NULL,
        .context = (int32_t)a->k.ctx,
        .threads = (int)a->k.threads,
        .quick = a->quick,
        .json = a->k.json,
        .line_editor = editor_version(),
    };
    smelt_error e;
    char *text;
    size_t n;
    CLI_TRY(smelt_doctor(&o, &text, &n, &e), &e, err);
    return cli_show_text(text, n, err);
}

const command cmd_doctor = {
    .name = "doctor",
    .usage = "[MODEL] [--quick]",
    .summary = "this machine, what it can do, and what stands in the way",
    .notes =
        "Processor, memory, limits, kernels in use, libraries, what is missing and the command that brings it. "
        "Measures memory and arithmetic for about two seconds. With MODEL also whether it fits, and how many tokens "
        "a second memory allows at most.",
    .opts = doctor_opts,
    .n_opts = SM_ARRAY_LEN(doctor_opts),
    .size = sizeof(doctor_args),
    .max_pos = 1,
    .pos = ".gguf .mlpackage",
    .run = run,
};
