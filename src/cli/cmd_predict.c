/* SPDX-License-Identifier: MIT
 *
 * cmd_predict.c: smelt predict: a program run as it is written, arrays in and out.
 */
#include <string.h>

#include "base/files.h"
#include "base/log.h"
#include "cli/cli.h"

typedef struct predict_args {
    opt_common k;
    opt_list function, in;
    const char *out;
} predict_args;

#define AT(field) offsetof(predict_args, field)
static const opt predict_opts[] = {
    {"function", 0, OPT_STRS, AT(function), "F", "function of the calls that follow; default: the package's own", 0, 0,
     NULL},
    {"in", 0, OPT_STRS, AT(in), "FILE.npz", "inputs of a call, by name; again for further calls", 0, 0, NULL},
    {"out", 0, OPT_STR, AT(out), "DIR", "folder for 0.npz, 1.npz, ...", 0, 0, NULL},
};
#undef AT

/* The last --function before place `order` on the command line. */
static const char *function_at(const opt_list *f, int order) {
    const char *name = NULL;
    for (size_t i = 0; i < f->n; i++)
        if (f->v[i].order < order)
            name = f->v[i].s;
    return name;
}

/* {"calls":[{"function":null,"in":"a.npz","out":"DIR/0.npz"}]} */
static sm_status print_calls(const predict_args *a, const smelt_predict_call *calls, sm_err *err) {
    sm_str out = SM_STR_INIT;
    sm_str_adds(&out, "{\"calls\":[");
    for (size_t i = 0; i < a->in.n; i++) {
        sm_str_addf(&out, "%s{\"function\":", i ? "," : "");
        if (calls[i].function)
            json_text(&out, calls[i].function, strlen(calls[i].function));
        else
            sm_str_adds(&out, "null");
        sm_str_adds(&out, ",\"in\":");
        json_text(&out, calls[i].npz, strlen(calls[i].npz));
        char name[32];
        snprintf(name, sizeof name, "%zu.npz", i);
        char *path = sm_path_join(a->out, name);
        sm_str_adds(&out, ",\"out\":");
        json_text(&out, path ? path : name, strlen(path ? path : name));
        sm_str_addc(&out, '}');
        sm_free(path);
    }
    sm_str_adds(&out, "]}\n");
    sm_status st = cli_print(&out, err);
    sm_str_free(&out);
    return st;
}

static sm_status run(void *args, sm_err *err) {
    predict_args *a = args;
    smelt_error e;
    if (a->in.n == 0 || !a->out)
        return SM_FAIL(err, SM_USAGE, "predict: wanted --in FILE.npz and --out DIR");
    smelt_predict_call *calls = sm_alloc_n(a->in.n, sizeof *calls);
    if (!calls)
        return SM_NOMEM(err);
    for (size_t i = 0; i < a->in.n; i++)
        calls[i] = (smelt_predict_call){function_at(&a->function, a->in.v[i].order), a->in.v[i].s};
    smelt_status st = smelt_predict(a->k.pos[0], calls, a->in.n, a->out, a->k.backend, (int)a->k.threads, &e);
    sm_status done = st != SMELT_OK ? cli_fail(&e, err) : a->k.json ? print_calls(a, calls, err) : SM_OK;
    sm_free(calls);
    sm_log(2, "peak memory %.0f MB", (double)sm_peak_rss_bytes() / 1e6);
    return done;
}

const command cmd_predict = {
    .name = "predict",
    .usage = "PACKAGE --in STEP0.npz [--in STEP1.npz ...] --out DIR",
    .summary = "any ML Program run as written, arrays in and out",
    .notes = "One call per --in, in order, sharing states; writes DIR/0.npz, DIR/1.npz, ... An input that the package "
             "describes as an image takes bytes, [height, width, 3] in red, green, blue or [height, width] gray, which "
             "are put "
             "into the order that the model wants; or floats of 0 to 255 as the program has it, [1, channels, height, "
             "width]. "
             "Its size is not changed.",
    .opts = predict_opts,
    .n_opts = SM_ARRAY_LEN(predict_opts),
    .size = sizeof(predict_args),
    .min_pos = 1,
    .max_pos = 1,
    .pos = ".mlpackage",
    .run = run,
};
