/* SPDX-License-Identifier: MIT
 *
 * cmd_check.c: smelt check: how far two models are from each other, and where they part.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/files.h"
#include "base/log.h"
#include "cli/cli.h"

typedef struct check_args {
    opt_common k;
    const char *text, *backend_b, *tokenizer, *svg;
    int64_t tokens;
    double min_top1, max_kl;
    bool locate;
} check_args;

#define AT(field) offsetof(check_args, field)
static const opt check_opts[] = {
    {"text", 0, OPT_STR, AT(text), "FILE", "a file with the text; - for standard input (default: one of our own)", 0, 0,
     NULL},
    {"tokens", 0, OPT_INT, AT(tokens), "N", "the text's first N tokens only", 2, INT32_MAX, NULL},
    {"min-top1", 0, OPT_NUM, AT(min_top1), "X",
     "fail (exit 1) when the most likely token is the same in less than this share (0.97)", 0, 0, NULL},
    {"max-kl", 0, OPT_NUM, AT(max_kl), "X", "fail (exit 1) above this mean KL divergence (0.02)", 0, 0, NULL},
    {"locate", 0, OPT_ON, AT(locate), NULL, "say which op the models part at", 0, 0, NULL},
    {"svg", 0, OPT_STR, AT(svg), "FILE", "with --locate: a picture of the error of every op", 0, 0, NULL},
    {"backend-b", 0, OPT_STR, AT(backend_b), "NAME", "what runs B (default: as A)", 0, 0, NULL},
    {"tokenizer", 0, OPT_STR, AT(tokenizer), "PATH", "file to take the vocabulary from", 0, 0, NULL},
};
#undef AT

static void init(void *args) {
    ((check_args *)args)->min_top1 = NAN;
    ((check_args *)args)->max_kl = NAN;
}

/* ------------------------------------------------------------------ ops */
typedef struct op_row {
    char op[32], name_a[128], name_b[128];
    smelt_check_op v;
} op_row;

typedef struct const_row {
    char slot[32], name_a[128], name_b[128], enc_a[96], enc_b[96];
    double nmse, max_error;
} const_row;

typedef struct found {
    struct {
        op_row *v;
        size_t n, cap;
    } ops;
    struct {
        const_row *v;
        size_t n, cap;
    } consts;
    bool failed;
} found;

static void on_op(void *ctx, const smelt_check_op *op) {
    found *f = ctx;
    if (!SM_GROW(&f->ops)) {
        f->failed = true;
        return;
    }
    op_row *r = &f->ops.v[f->ops.n++];
    r->v = *op;
    snprintf(r->op, sizeof r->op, "%s", op->op);
    snprintf(r->name_a, sizeof r->name_a, "%s", op->name_a);
    snprintf(r->name_b, sizeof r->name_b, "%s", op->name_b);
}

static void on_const(void *ctx, const smelt_check_const *c) {
    found *f = ctx;
    if (!SM_GROW(&f->consts)) {
        f->failed = true;
        return;
    }
    const_row *r = &f->consts.v[f->consts.n++];
    snprintf(r->slot, sizeof r->slot, "%s", c->slot);
    snprintf(r->name_a, sizeof r->name_a, "%s", c->name_a);
    snprintf(r->name_b, sizeof r->name_b, "%s", c->name_b);
    snprintf(r->enc_a, sizeof r->enc_a, "%s", c->encoding_a);
    snprintf(r->enc_b, sizeof r->enc_b, "%s", c->encoding_b);
    r->nmse = c->nmse;
    r->max_error = c->max_error;
}

static const op_row *named_op(const found *f) {
    for (size_t i = 0; i < f->ops.n; i++)
        if (f->ops.v[i].v.named)
            return &f->ops.v[i];
    return NULL;
}

/* 0 at 1e-12 and below, 1 at 1 and above. */
static double height(double nmse) {
    return nmse > 0 ? fmin(fmax(1 + log10(nmse) / 12, 0), 1) : 0;
}

static void layer_name(int layer, int layers, char out[16]) {
    if (layer < 0 || layer >= layers)
        snprintf(out, 16, "%s", layer < 0 ? "in" : "out");
    else
        snprintf(out, 16, "%d", layer);
}

/* One line a layer: the sum it ends with; the bar has a mark for each power of ten above 1e-12. */
static void print_layers(const found *f, int layers, sm_str *out) {
    char name[16];
    sm_str_addf(out, "\n%-6s %-28s %9s %10s %10s\n", "layer", "sum that it ends with", "NMSE", "cosine", "max error");
    for (size_t i = 0; i < f->ops.n; i++) {
        const op_row *r = &f->ops.v[i];
        bool last = true;
        for (size_t k = i + 1; k < f->ops.n && f->ops.v[k].v.layer == r->v.layer; k++)
            last &= !f->ops.v[k].v.residual && r->v.layer < layers;
        if (!last || (!r->v.residual && r->v.layer < layers))
            continue;
        layer_name(r->v.layer, layers, name);
        sm_str_addf(out, "%-6s %-28.28s %9.2e %10.7f %10.3e ", name, r->name_a, r->v.nmse, r->v.cosine, r->v.max_error);
        for (int k = (int)ceil(12 * height(r->v.nmse)); k > 0; k--)
            sm_str_addc(out, '#');
        sm_str_addc(out, '\n');
    }
}

static void print_located(const found *f, const smelt_check_report *r, sm_str *out) {
    const op_row *n = named_op(f), *worst = NULL;
    char name[16];
    print_layers(f, r->layers, out);
    sm_str_addf(out, "\n%d ops compared, of %d and %d; the matrices differ by an NMSE of %.2e (median)\n", r->matched,
                r->ops_a, r->ops_b, r->usual);
    for (size_t i = 0; i < f->ops.n; i++)
        if (!worst || f->ops.v[i].v.nmse > worst->v.nmse)
            worst = &f->ops.v[i];
    if (!n) {
        sm_str_addf(out, "no op stands out; the largest NMSE is %.2e, of %s '%s'\n", worst ? worst->v.nmse : 0.0,
                    worst ? worst->op : "", worst ? worst->name_a : "");
        return;
    }
    layer_name(n->v.layer, r->layers, name);
    sm_str_addf(out, "error jumps at %s '%s' (B: '%s'), layer %s: NMSE %.2e, given %.2e\n", n->op, n->name_a, n->name_b,
                name, n->v.nmse, n->v.given);
    for (size_t i = 0; i < f->consts.n; i++) {
        const const_row *c = &f->consts.v[i];
        sm_str_addf(out, "  %-8s %s %s | %s %s: ", c->slot, c->name_a, c->enc_a, c->name_b, c->enc_b);
        if (isnan(c->nmse))
            sm_str_adds(out, "other shapes\n");
        else
            sm_str_addf(out, "NMSE %.2e, largest error %.3e\n", c->nmse, c->max_error);
    }
}

/* ------------------------------------------------------------------ SVG */
/* Names come from the files that are compared. */
static void add_xml(sm_str *out, const char *text) {
    for (; *text; text++)
        if (strchr("<>&", *text))
            sm_str_adds(out, *text == '<' ? "&lt;" : *text == '>' ? "&gt;" : "&amp;");
        else
            sm_str_addc(out, (unsigned char)*text < 0x20 ? ' ' : *text);
}

static sm_status write_svg(const char *path, const found *f, int layers, sm_err *err) {
    enum { W = 960, H = 320, LEFT = 60, TOP = 30, BOTTOM = 40 };
    sm_str s = SM_STR_INIT;
    sm_outfile *o = NULL;
    double step = f->ops.n > 1 ? (double)(W - LEFT - 20) / (double)(f->ops.n - 1) : 0;
    int layer = -2;
    sm_str_addf(&s,
                "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" "
                "font-size=\"11\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n<text x=\"%d\" y=\"16\">"
                "Normalized squared error of each op</text>\n",
                W, H, LEFT);
    for (int p = -12; p <= 0; p += 3) {
        double y = TOP + (H - TOP - BOTTOM) * (double)-p / 12;
        sm_str_addf(&s,
                    "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/><text x=\"%d\" y=\"%.1f\" "
                    "text-anchor=\"end\">1e%d</text>\n",
                    LEFT, W - 20, y, y, LEFT - 6, y + 4, p);
    }
    for (size_t i = 0; i < f->ops.n; i++) {
        const op_row *r = &f->ops.v[i];
        double x = LEFT + step * (double)i, y = TOP + (H - TOP - BOTTOM) * (1 - height(r->v.nmse));
        char name[16];
        if (r->v.layer != layer && (layers <= 16 || r->v.layer % 4 == 0 || r->v.layer < 0 || r->v.layer >= layers)) {
            layer_name(r->v.layer, layers, name);
            sm_str_addf(&s, "<text x=\"%.1f\" y=\"%d\">%s</text>\n", x, H - BOTTOM + 18, name);
        }
        layer = r->v.layer;
        sm_str_addf(&s, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%d\" fill=\"%s\"><title>%s ", x, y, r->v.named ? 5 : 2,
                    r->v.named      ? "#d62728"
                    : r->v.residual ? "#1f77b4"
                                    : "#999",
                    r->op);
        add_xml(&s, r->name_a);
        sm_str_addf(&s, ": %.3e</title></circle>\n", r->v.nmse);
    }
    sm_str_addf(&s,
                "<text x=\"%d\" y=\"%d\">layer; blue: sums that layers add to, red: where error jumps</text>\n</svg>\n",
                LEFT, H - 6);
    sm_status st = sm_str_ok(&s) ? sm_outfile_new(path, &o, err) : SM_NOMEM(err);
    if (st == SM_OK)
        st = sm_outfile_append(o, sm_str_z(&s), s.n, err);
    if (st == SM_OK)
        st = sm_outfile_commit(&o, err);
    sm_outfile_abandon(&o);
    sm_str_free(&s);
    return st;
}

/* ------------------------------------------------------------------ results */
static void json_field(sm_str *out, const char *name, double v, int digits) {
    sm_str_addf(out, ",\"%s\":", name);
    json_num(out, v, digits);
}

static void json_op(sm_str *out, const op_row *r) {
    sm_str_addf(out, "{\"op\":\"%s\",\"a\":", r->op);
    json_text(out, r->name_a, strlen(r->name_a));
    sm_str_adds(out, ",\"b\":");
    json_text(out, r->name_b, strlen(r->name_b));
    sm_str_addf(out, ",\"layer\":%d,\"residual\":%s", r->v.layer, r->v.residual ? "true" : "false");
    json_field(out, "nmse", r->v.nmse, 6);
    json_field(out, "cosine", r->v.cosine, 9);
    json_field(out, "max_error", r->v.max_error, 6);
    json_field(out, "given", r->v.given, 6);
    json_field(out, "constants", r->v.constants, 6);
}

static void json_located(const found *f, const smelt_check_report *r, sm_str *out) {
    const op_row *n = named_op(f);
    sm_str_addf(out, ",\"locate\":{\"ops_a\":%d,\"ops_b\":%d,\"matched\":%d,\"layers\":%d", r->ops_a, r->ops_b,
                r->matched, r->layers);
    json_field(out, "usual", r->usual, 6);
    sm_str_adds(out, ",\"named\":");
    if (!n)
        sm_str_adds(out, "null");
    else
        json_op(out, n);
    for (size_t i = 0; n && i < f->consts.n; i++) {
        const const_row *c = &f->consts.v[i];
        sm_str_addf(out, "%s{\"slot\":\"%s\",\"a\":", i ? "," : ",\"weights\":[", c->slot);
        json_text(out, c->name_a, strlen(c->name_a));
        sm_str_adds(out, ",\"b\":");
        json_text(out, c->name_b, strlen(c->name_b));
        sm_str_adds(out, ",\"encoding_a\":");
        json_text(out, c->enc_a, strlen(c->enc_a));
        sm_str_adds(out, ",\"encoding_b\":");
        json_text(out, c->enc_b, strlen(c->enc_b));
        json_field(out, "nmse", c->nmse, 6);
        json_field(out, "max_error", c->max_error, 6);
        sm_str_addc(out, '}');
    }
    sm_str_adds(out, !n ? "" : f->consts.n ? "]}" : "}");
    sm_str_adds(out, ",\"ops\":[");
    for (size_t i = 0; i < f->ops.n; i++) {
        sm_str_adds(out, i ? ",\n " : "\n ");
        json_op(out, &f->ops.v[i]);
        sm_str_addc(out, '}');
    }
    sm_str_adds(out, "]}");
}

static void json_report(const check_args *a, const smelt_check_report *r, const found *f, sm_str *out) {
    sm_str_addf(out, "{\"pass\":%s,\"rows\":%llu,\"scored\":%llu,\"windows\":%d,\"vocab\":%d",
                r->pass ? "true" : "false", (unsigned long long)r->rows, (unsigned long long)r->scored, r->windows,
                r->vocab);
    const struct {
        const char *name;
        double v;
    } all[] = {
        {"max_error", r->max_error},
        {"mean_error", r->mean_error},
        {"rmse", r->rmse},
        {"psnr", r->psnr},
        {"snr", r->snr},
        {"cosine", r->cosine},
        {"min_cosine", r->min_cosine},
        {"kl", r->kl},
        {"kl_error", r->kl_error},
        {"kl_max", r->kl_max},
        {"kl_p50", r->kl_p50},
        {"kl_p90", r->kl_p90},
        {"kl_p99", r->kl_p99},
        {"top1", r->top1},
        {"ppl_a", r->ppl_a},
        {"ppl_b", r->ppl_b},
        {"ppl_ratio", r->ppl_b / r->ppl_a},
    };
    for (size_t i = 0; i < SM_ARRAY_LEN(all); i++)
        json_field(out, all[i].name, all[i].v, 9);
    if (a->locate)
        json_located(f, r, out);
    sm_str_addf(out, ",\"peak_rss_bytes\":%llu}\n", (unsigned long long)sm_peak_rss_bytes());
}

static void text_report(const check_args *a, const smelt_check_report *r, const found *f, sm_str *out) {
    sm_str_addf(out, "%llu tokens in %d windows, vocabulary of %d\n", (unsigned long long)r->rows, r->windows,
                r->vocab);
    sm_str_addf(out, "logits      error: max %.4g, mean %.4g, RMS %.4g; PSNR %.1f dB, SNR %.1f dB\n", r->max_error,
                r->mean_error, r->rmse, r->psnr, r->snr);
    sm_str_addf(out, "cosine      mean %.7f, least %.7f\n", r->cosine, r->min_cosine);
    sm_str_addf(out, "KL          mean %.6f +/- %.6f, median %.6f, 90 %% %.6f, 99 %% %.6f, max %.6f\n", r->kl,
                r->kl_error, r->kl_p50, r->kl_p90, r->kl_p99, r->kl_max);
    sm_str_addf(out, "top-1       %.4f the same\n", r->top1);
    sm_str_addf(out, "perplexity  %.4f and %.4f, ratio %.5f\n", r->ppl_a, r->ppl_b, r->ppl_b / r->ppl_a);
    if (a->locate)
        print_located(f, r, out);
    sm_str_adds(out, r->pass ? "PASS\n" : "FAIL\n");
}

static sm_status compare(const check_args *a, smelt_model *const m[2], sm_err *err) {
    found f = {.failed = false};
    sm_str out = SM_STR_INIT, text = SM_STR_INIT;
    bool given;
    smelt_check_options o = {
        .size = sizeof o,
        .backend = a->k.backend,
        .backend_b = a->backend_b,
        .threads = (int)a->k.threads,
        .context = (int32_t)a->k.ctx,
        .tokens = a->tokens,
        .min_top1 = isnan(a->min_top1) ? 0
                    : a->min_top1 > 0  ? a->min_top1
                                       : -1,
        .max_kl = isnan(a->max_kl) ? 0
                  : a->max_kl > 0  ? a->max_kl
                                   : 1e-300,
        .locate = a->locate,
        .on_op = on_op,
        .on_const = on_const,
        .ctx = &f,
        .progress = !a->k.quiet,
    };
    smelt_check_report r;
    smelt_error e;
    sm_status st;
    if (a->text)
        SM_TRY_DONE(cli_text(NULL, a->text, &text, &given, err));
    smelt_status result = smelt_check(m[0], m[1], a->text ? sm_str_z(&text) : NULL, text.n, &o, &r, &e);
    st = result == SMELT_OK ? SM_OK : cli_fail(&e, err);
    if (result != SMELT_OK && result != SMELT_FAILED)
        goto done;
    if (a->k.json)
        json_report(a, &r, &f, &out);
    else
        text_report(a, &r, &f, &out);
    sm_status shown = f.failed ? SM_NOMEM(err) : cli_show(&out, err);
    if (shown == SM_OK && a->svg)
        shown = write_svg(a->svg, &f, r.layers, err);
    st = shown == SM_OK ? st : shown;
done:
    sm_free(f.ops.v);
    sm_free(f.consts.v);
    sm_str_free(&out);
    sm_str_free(&text);
    return st;
}

static sm_status run(void *args, sm_err *err) {
    check_args *a = args;
    smelt_model *m[2] = {NULL, NULL};
    smelt_model_options o = {.size = sizeof o, .tokenizer = a->tokenizer};
    smelt_error e;
    sm_status st = SM_OK;
    if (a->svg && !a->locate)
        return SM_FAIL(err, SM_USAGE, "check: --svg goes with --locate");
    for (int k = 0; k < 2 && st == SM_OK; k++)
        if (smelt_model_open(a->k.pos[k], &o, &m[k], &e) != SMELT_OK)
            st = cli_fail(&e, err);
    if (st == SM_OK)
        st = compare(a, m, err);
    smelt_model_free(&m[0]);
    smelt_model_free(&m[1]);
    return st;
}

const command cmd_check = {
    .name = "check",
    .usage = "A B",
    .summary = "how far two models are from each other, and where they part",
    .notes =
        "Both models compute the same text, and their logits are compared over the whole vocabulary. A is the one that "
        "is "
        "right: errors, PSNR and KL are those of B against A. Exit 1 when a threshold is not met.\n\n--locate compares "
        "the results of all ops on the first tokens too, and names the first op where error jumps and whose "
        "constants differ more than is usual between the two, with what it reads.",
    .opts = check_opts,
    .n_opts = SM_ARRAY_LEN(check_opts),
    .size = sizeof(check_args),
    .min_pos = 2,
    .max_pos = 2,
    .pos = ".gguf .mlpackage",
    .init = init,
    .run = run,
};
