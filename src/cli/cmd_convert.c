/* SPDX-License-Identifier: MIT
 *
 * cmd_convert.c: smelt convert: a checkpoint becomes a Core ML package, and how each tensor was carried is said.
 */
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "cli/cli.h"

typedef struct convert_args {
    opt_common k;
    const char *to, *target, *precision, *fp32, *quant, *units, *kv, *mask, *attention, *logits, *seq, *functions;
    const char *tokenizer, *block, *split, *ignored;
    int64_t group;
    bool dry_run;
} convert_args;

#define AT(field) offsetof(convert_args, field)
static const opt convert_opts[] = {
    {"to", 0, OPT_STR, AT(to), "mlpackage", "what to write; default: what OUT ends in", 0, 0, NULL},
    {"dry-run", 0, OPT_ON, AT(dry_run), NULL, "do everything but write", 0, 0, NULL},
    {"target", 0, OPT_STR, AT(target), "OS",
     "oldest system that shall run it: iOS15 to iOS18, iOS26, or macOS12 to macOS15, macOS26; default iOS18", 0, 0,
     NULL, "iOS15 iOS16 iOS17 iOS18 iOS26 macOS12 macOS13 macOS14 macOS15 macOS26"},
    {"precision", 0, OPT_STR, AT(precision), "fp16|fp32", "of activations; default fp16", 0, 0, NULL, "fp16 fp32"},
    {"fp32", 0, OPT_STR, AT(fp32), "NAME,..",
     "tensors (blk.0.*) or values whose ops are computed in fp32 although the rest is fp16", 0, 0, NULL},
    {"quant", 0, OPT_STR, AT(quant), "Q",
     "weights: auto keeps the codes where the package can hold them, keep insists on it, none: fp16; new codes: int4, "
     "int8, uint4, uint8 with a zero point, or palettes of 2 to 256 values: lut1, lut2, lut3, lut4, lut6, lut8; "
     "default auto",
     0, 0, NULL, "auto keep none int4 int8 uint4 uint8 lut1 lut2 lut3 lut4 lut6 lut8"},
    {"group", 0, OPT_INT, AT(group), "N",
     "output channels that share a palette; 0: one palette a tensor; default 16, or what from 8 to 32 divides a tensor",
     0, 1 << 20, NULL},
    {"block", 0, OPT_STR, AT(block), "N|channel",
     "weights of a row that share a scale when they are quantized anew; channel: the whole row; default 32", 0, 0,
     NULL},
    {"units", 0, OPT_STR, AT(units), "U",
     "compute units the design is for: all, cpuAndGPU, cpuOnly, or cpuAndNeuralEngine; default all", 0, 0, NULL,
     "all cpuAndGPU cpuOnly cpuAndNeuralEngine"},
    {"kv", 0, OPT_STR, AT(kv), "state|io|none",
     "caches as states, as inputs and outputs, or no caches; default state, before iOS18 and for the Neural Engine io",
     0, 0, NULL},
    {"seq", 0, OPT_STR, AT(seq), "N|A..B|N,M,..",
     "tokens per call: one number, a range, or a list; default 1..ctx, for the Neural Engine --functions "
     "prefill:64,decode:1",
     0, 0, NULL},
    {"functions", 0, OPT_STR, AT(functions), "NAME:N,..",
     "several functions of fixed shapes that share weights; NAME:N@CTX gives one a context of its own", 0, 0, NULL},
    {"mask", 0, OPT_STR, AT(mask), "given|made", "the causal mask as an input, or made from positions; default given",
     0, 0, NULL},
    {"attention", 0, OPT_STR, AT(attention), "fused|decomposed", "default fused where the target has it", 0, 0, NULL},
    {"logits", 0, OPT_STR, AT(logits), "all|last|argmax|topk:K",
     "of every token, of the last one, or what it makes most likely; default all", 0, 0, NULL, "all last argmax topk:"},
    {"tokenizer", 0, OPT_STR, AT(tokenizer), "PATH", "file to take vocabulary and template from", 0, 0, NULL},
    {"verify", 0, OPT_STR, AT(ignored), "TEXTFILE", "compare with the source", 0, 0,
     "compare `smelt eval` of both files"},
    {"max-kl", 0, OPT_STR, AT(ignored), "X", "for --verify", 0, 0, "compare `smelt eval` of both files"},
    {"imatrix", 0, OPT_STR, AT(ignored), "FILE", "importance of weights", 0, 0, "leave it out"},
    {"split", 0, OPT_STR, AT(split), "HOW",
     "several packages in the directory OUT: N of about as many layers, layers:A-B,.., units (embedding, layers, head; "
     "units:N), or size:BYTES of weights at most (500M, 1G)",
     0, 0, NULL, "none units units: layers: size:"},
    {"surgery", 0, OPT_STR, AT(ignored), "NAME,..", "rewrites", 0, 0, "leave it out"},
};
#undef AT

enum { GROUPS_MAX = 256 };

/* Tensors carried the same way. */
typedef struct group {
    char from[96], to[96], how[16];
    int n;
    double max_error, nmse_worst, max_error16;
} group;

typedef struct collector {
    group g[GROUPS_MAX];
    int n;
    bool verbose, json;
    sm_str tensors, notes;
} collector;

static void json_tensor(sm_str *out, const smelt_tensor_report *t) {
    sm_str_addf(out, "%s{\"name\":", out->n ? ",\n" : "");
    json_text(out, t->name, strlen(t->name));
    sm_str_adds(out, ",\"constant\":");
    json_text(out, t->constant, strlen(t->constant));
    if (t->n_rows > 0)
        sm_str_addf(out, ",\"rows\":[%lld,%lld]", (long long)t->first_row, (long long)(t->first_row + t->n_rows));
    sm_str_addf(out, ",\"from\":\"%s\",\"to\":\"%s\",\"how\":\"%s\",\"from_bytes\":%llu,\"to_bytes\":%llu,\"nmse\":",
                t->from, t->to, t->how, (unsigned long long)t->from_bytes, (unsigned long long)t->to_bytes);
    json_num(out, t->nmse, 6);
    sm_str_adds(out, ",\"max_error\":");
    json_num(out, t->max_error, 6);
    sm_str_adds(out, ",\"nmse_fp16\":");
    json_num(out, t->nmse16, 6);
    sm_str_adds(out, ",\"max_error_fp16\":");
    json_num(out, t->max_error16, 6);
    sm_str_addc(out, '}');
}

static void on_tensor(void *ctx, const smelt_tensor_report *t) {
    collector *c = ctx;
    int i = 0;
    while (i < c->n && (strcmp(c->g[i].from, t->from) || strcmp(c->g[i].to, t->to) || strcmp(c->g[i].how, t->how)))
        i++;
    if (i == c->n && c->n < GROUPS_MAX) {
        c->n++;
        snprintf(c->g[i].from, sizeof c->g[i].from, "%s", t->from);
        snprintf(c->g[i].to, sizeof c->g[i].to, "%s", t->to);
        snprintf(c->g[i].how, sizeof c->g[i].how, "%s", t->how);
    }
    if (i < c->n) {
        group *g = &c->g[i];
        g->n++;
        g->max_error = SM_MAX(g->max_error, t->max_error);
        g->max_error16 = SM_MAX(g->max_error16, t->max_error16);
        g->nmse_worst = SM_MAX(g->nmse_worst, t->nmse);
    }
    if (c->json)
        json_tensor(&c->tensors, t);
    char name[320];
    snprintf(name, sizeof name, t->n_rows > 0 ? "%s, rows %lld to %lld" : "%s", t->name, (long long)t->first_row,
             (long long)(t->first_row + t->n_rows - 1));
    sm_log(2, "%-40s %s -> %s: %s, NMSE %.2e, largest error %.2e (fp16 %.2e)", name, t->from, t->to, t->how, t->nmse,
           t->max_error, t->max_error16);
}

static void on_note(void *ctx, const smelt_convert_note *n) {
    collector *c = ctx;
    const struct {
        const char *key, *value;
    } field[] = {{"package", n->package}, {"function", n->function}, {"rule", n->rule},    {"where", n->where},
                 {"what", n->what},       {"hint", n->hint},         {"source", n->source}};
    sm_log(1, "%s%s%s, %s: %s (%s); %s", n->package ? n->package : "", n->package ? " " : "", n->function, n->where,
           n->what, n->source, n->hint);
    if (!c->json)
        return;
    sm_str_adds(&c->notes, c->notes.n ? ",\n{" : "{");
    for (size_t i = 0; i < SM_ARRAY_LEN(field); i++) {
        if (!field[i].value)
            continue;
        sm_str_addf(&c->notes, "\"%s\":", field[i].key);
        json_text(&c->notes, field[i].value, strlen(field[i].value));
        sm_str_addc(&c->notes, ',');
    }
    sm_str_addf(&c->notes, "\"count\":%d}", n->count);
}

/* ------------------------------------------------------------------ options */
static sm_status refuse(sm_err *err, const char *option, const char *value, const char *wanted) {
    SM_FAIL(err, SM_UNSUPPORTED, "--%s %s is not supported here yet", option, value);
    sm_err_hint(err, "supported: %s", wanted);
    return SM_UNSUPPORTED;
}

/* A number of weights, or "channel" (also 0): whole rows. */
static sm_status parse_block(const char *text, int *out, sm_err *err) {
    int n = 0, end = 0;
    if (strcasecmp(text, "channel") == 0) {
        *out = -1;
        return SM_OK;
    }
    if (sscanf(text, "%d%n", &n, &end) != 1 || text[end] != '\0' || n < 0 || n > 1 << 20)
        return SM_FAIL(err, SM_USAGE, "--block %s: wanted a number of weights, or channel", text);
    *out = n == 0 ? -1 : n;
    return SM_OK;
}

static sm_status fill_options(const convert_args *a, smelt_convert_options *o, sm_err *err) {
    if (a->to && strcmp(a->to, "mlpackage") != 0)
        return refuse(err, "to", a->to, "mlpackage");
    bool palettes = a->quant && strncasecmp(a->quant, "lut", 3) == 0;
    if (a->group >= 0 && !palettes)
        return SM_FAIL(err, SM_USAGE, "--group is for palettes, --quant lut1 to lut8; scales have --block");
    if (a->block && palettes)
        return SM_FAIL(err, SM_USAGE, "--block is for scales; the channels that share a palette are --group N");
    *o = (smelt_convert_options){
        .size = sizeof *o,
        .kv = a->kv,
        .quant = a->quant,
        .seq = a->seq,
        .functions = a->functions,
        .units = a->units,
        .precision = a->precision,
        .fp32 = a->fp32,
        .mask = a->mask,
        .attention = a->attention,
        .logits = a->logits,
        .threads = (int)a->k.threads,
        .context = (int32_t)a->k.ctx,
        .target = a->target,
        .tokenizer = a->tokenizer,
        .split = a->split,
        .dry_run = a->dry_run,
        .progress = !a->k.quiet,
        .on_tensor = on_tensor,
        .on_note = on_note,
    };
    if (a->group >= 0)
        o->quant_group = a->group == 0 ? -1 : (int32_t)a->group;
    return a->block ? parse_block(a->block, &o->quant_block, err) : SM_OK;
}

/* ------------------------------------------------------------------ report */
static void print_groups(const collector *c, sm_str *out) {
    for (int i = 0; i < c->n; i++) {
        const group *g = &c->g[i];
        sm_str_addf(out, "%5d tensors  %-8s -> %s: %s", g->n, g->from, g->to, g->how);
        if (g->nmse_worst > 0.0 || g->max_error > 0.0)
            sm_str_addf(out, ", NMSE up to %.2e, largest error %.2e", g->nmse_worst, g->max_error);
        else
            sm_str_adds(out, ", exact");
        if (g->max_error16 > g->max_error)
            sm_str_addf(out, " (%.2e with rounding to fp16)", g->max_error16);
        sm_str_addc(out, '\n');
    }
}

static sm_status print_report(const convert_args *a, const smelt_convert_report *r, const collector *c, sm_err *err) {
    sm_str out = SM_STR_INIT;
    if (a->k.json) {
        sm_str_addf(
            &out,
            "{\"written\":%s,\"packages\":%d,\"context\":%d,\"specification\":%d,\"from_bytes\":%llu,\"to_bytes\":%llu,"
            "\"kv_bytes\":%llu,\"same\":%d,\"transcoded\":%d,\"kept\":%d,\"requantized\":%d,\"widened\":%d,\"nmse\":",
            a->dry_run ? "false" : "true", r->packages, r->context, r->spec_version, (unsigned long long)r->from_bytes,
            (unsigned long long)r->to_bytes, (unsigned long long)r->kv_bytes, r->same, r->transcoded, r->kept,
            r->requantized, r->widened);
        json_num(&out, r->nmse, 6);
        sm_str_adds(&out, ",\"stream_scale\":");
        json_num(&out, r->stream_scale, 6);
        sm_str_adds(&out, ",\"stream_most\":");
        json_num(&out, r->stream_most, 6);
        if (a->block)
            sm_str_addf(&out, ",\"scaled\":%d,\"in_blocks\":%d", r->scaled, r->in_blocks);
        sm_str_addf(&out, ",\"peak_rss_bytes\":%llu,\"peak_anon_bytes\":%llu,\"tensors\":[",
                    (unsigned long long)sm_peak_rss_bytes(), (unsigned long long)sm_peak_anon_bytes());
        sm_str_add(&out, sm_str_z(&c->tensors), c->tensors.n);
        sm_str_adds(&out, "],\"notes\":[");
        sm_str_add(&out, sm_str_z(&c->notes), c->notes.n);
        sm_str_adds(&out, "]}\n");
    } else {
        print_groups(c, &out);
        if (a->block && r->in_blocks < r->scaled)
            sm_str_addf(&out, "--block %s: without effect on %d of %d tensors with scales, whose codes were kept\n",
                        a->block, r->scaled - r->in_blocks, r->scaled);
        if (a->block && r->scaled == 0)
            sm_str_addf(&out, "--block %s: without effect, no tensor has scales\n", a->block);
        sm_str_addf(&out, "%s: %.1f MB of weights (were %.1f MB), specification %d, context %d%s, caches %.1f MB\n",
                    a->dry_run ? "nothing written" : a->k.pos[1], (double)r->to_bytes / 1e6,
                    (double)r->from_bytes / 1e6, r->spec_version, r->context,
                    a->k.ctx > 0 ? "" : " (-c chooses another)", (double)r->kv_bytes / 1e6);
        if (r->stream_scale < 1)
            sm_str_addf(
                &out, "residual stream carried as 1/%.0f of itself: its weights let it reach %.3g, fp16 holds 65504\n",
                1 / r->stream_scale, r->stream_most);
        sm_log(1, "peak memory %.0f MB, of it not mapped files %.0f MB", (double)sm_peak_rss_bytes() / 1e6,
               (double)sm_peak_anon_bytes() / 1e6);
    }
    sm_status st = sm_str_ok(&c->tensors) && sm_str_ok(&c->notes) ? cli_show(&out, err) : SM_NOMEM(err);
    sm_str_free(&out);
    return st;
}

static void init(void *args) {
    convert_args *a = args;
    a->group = -1;
}

static sm_status run(void *args, sm_err *err) {
    convert_args *a = args;
    smelt_convert_options o;
    smelt_convert_report r = {0};
    smelt_error e;
    if (a->k.n_pos < 2 && !a->dry_run)
        return SM_FAIL(err, SM_USAGE, "convert: wanted IN OUT");
    SM_TRY(fill_options(a, &o, err));
    collector *c = sm_alloc(sizeof *c);
    if (!c)
        return SM_NOMEM(err);
    c->json = a->k.json;
    o.ctx = c;
    sm_status st = SM_OK;
    if (smelt_convert(a->k.pos[0], a->k.n_pos > 1 ? a->k.pos[1] : "", &o, &r, &e) != SMELT_OK)
        st = cli_fail(&e, err);
    else
        st = print_report(a, &r, c, err);
    sm_str_free(&c->tensors);
    sm_str_free(&c->notes);
    sm_free(c);
    return st;
}

const command cmd_convert = {
    .name = "convert",
    .usage = "IN OUT",
    .summary = "a checkpoint as a Core ML package",
    .notes = "IN is a GGUF file, OUT a name ending in .mlpackage, with --split that of a directory. For each way that "
             "tensors were carried over it prints "
             "how many there are and the error: transcoded (equal codes and scales), kept (equal codes, scales or "
             "offsets rounded), re-quantized, widened. -v prints every tensor. -c is the number of positions that the "
             "package's caches hold; default: what the model was trained for, at most 2048.",
    .opts = convert_opts,
    .n_opts = SM_ARRAY_LEN(convert_opts),
    .size = sizeof(convert_args),
    .min_pos = 1,
    .max_pos = 2,
    .pos = ".gguf",
    .init = init,
    .run = run,
};
