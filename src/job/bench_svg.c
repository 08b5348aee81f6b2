/* SPDX-License-Identifier: MIT
 *
 * bench_svg.c: the results as a bar chart.
 *
 *     pp512   ####################|--|                     412 tok/s, 61 %      ¦   the limit
 *     tg128   ##########|-|                                 72 tok/s, 88 %   ¦
 *
 * Prompts and generation have scales of their own.  A bar is the mean, its whisker one standard deviation to either side,
 * the dashed line what the machine's limit allows (the mean over the roofline fraction).  A limit more than WIDEST times
 * the longest bar lies beyond the right edge, where a chevron stands for it.
 */
#include <string.h>

#include "job/bench_int.h"

enum { WIDTH = 980, LEFT = 200, BAR = 460, ROW = 34, TOP = 86, GAP = 48 };
static const double WIDEST = 4.0;

/* Text of XML: what would be markup is spelled out; bytes that may not stand in XML, or are not UTF-8, become "?". */
static void add_text(sm_str *out, const char *text) {
    size_t n = strlen(text);
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        int len = sm_utf8_decode(text + i, n - i, &cp);
        if (len == 0 || cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0xfffe || cp == 0xffff)
            sm_str_addc(out, '?');
        else if (cp == '&')
            sm_str_adds(out, "&amp;");
        else if (cp == '<')
            sm_str_adds(out, "&lt;");
        else if (cp == '>')
            sm_str_adds(out, "&gt;");
        else if (cp == '"')
            sm_str_adds(out, "&quot;");
        else
            sm_str_add(out, text + i, (size_t)len);
        i += (size_t)SM_MAX(len, 1);
    }
}

static double limit_of(const bench_row *r) {
    return r->roofline > 0.0 ? r->tps.mean / r->roofline : 0.0;
}

/* Tokens a second at the right edge. */
static double scale_of(const sm_bench_run *b, bench_kind kind) {
    double bar = 1e-9, all = 1e-9;
    for (int i = 0; i < b->n_rows; i++)
        if (b->rows[i].kind == kind)
            bar = SM_MAX(bar, b->rows[i].tps.mean + b->rows[i].tps.stddev);
    all = bar;
    for (int i = 0; i < b->n_rows; i++)
        if (b->rows[i].kind == kind && limit_of(&b->rows[i]) <= WIDEST * bar)
            all = SM_MAX(all, limit_of(&b->rows[i]));
    return all * 1.02;
}

static void add_bar(const bench_row *r, double scale, int y, sm_str *out) {
    double px = BAR / scale, end = LEFT + r->tps.mean * px, mid = y + 11.0;
    double lo = LEFT + SM_MAX(r->tps.mean - r->tps.stddev, 0.0) * px, hi = LEFT + (r->tps.mean + r->tps.stddev) * px;
    double limit = LEFT + limit_of(r) * px;
    sm_str_addf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">", LEFT - 10, y + 16);
    add_text(out, r->test);
    sm_str_addf(out, "</text>\n<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%.2f\" height=\"22\"/>\n",
                r->kind == BENCH_PROMPT ? "pp" : "tg", LEFT, y, end - LEFT);
    sm_str_addf(out, "<path class=\"sd\" d=\"M%.2f %.2fH%.2fM%.2f %.2fv8M%.2f %.2fv8\"/>\n", lo, mid, hi, lo, mid - 4,
                hi, mid - 4);
    if (limit > LEFT && limit <= LEFT + BAR + 1)
        sm_str_addf(out, "<path class=\"roof\" d=\"M%.2f %dv28\"/>\n", limit, y - 3);
    else if (limit > LEFT)
        sm_str_addf(out, "<path class=\"far\" d=\"M%d %dl6 6l-6 6\"/>\n", LEFT + BAR - 4, y + 5);
    sm_str_addf(out, "<text x=\"%d\" y=\"%d\">%.1f tok/s, %.0f %% of the %s limit</text>\n", LEFT + BAR + 14, y + 16,
                r->tps.mean, 100.0 * r->roofline, r->bound);
}

static int add_panel(const sm_bench_run *b, bench_kind kind, int y, sm_str *out) {
    double scale = scale_of(b, kind);
    bool any = false;
    for (int i = 0; i < b->n_rows; i++) {
        if (b->rows[i].kind != kind)
            continue;
        if (!any)
            sm_str_addf(out, "<text class=\"h\" x=\"%d\" y=\"%d\">%s, tokens/s</text>\n", LEFT, y - 10,
                        kind == BENCH_PROMPT ? "prompt" : "generation");
        any = true;
        add_bar(&b->rows[i], scale, y, out);
        y += ROW;
    }
    return any ? y + GAP : y;
}

void bench_print_svg(const sm_bench_run *b, sm_str *out) {
    sm_str body = SM_STR_INIT;
    int y = add_panel(b, BENCH_PROMPT, TOP + 20, &body);
    y = add_panel(b, BENCH_GEN, y, &body) - GAP;
    sm_str_addf(
        out,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
        "font-family=\"sans-serif\" font-size=\"13\">\n"
        "<style>text{fill:#222}.t{font-size:17px;font-weight:bold}.s,.h{fill:#666}.pp{fill:#4c78a8}.tg{fill:#59a14f}"
        ".sd{stroke:#222;fill:none}.roof{stroke:#d1495b;stroke-width:2;stroke-dasharray:4 3;fill:none}"
        ".far{stroke:#d1495b;stroke-width:2;fill:none}</style>\n"
        "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n<text class=\"t\" x=\"20\" y=\"28\">",
        WIDTH, y + 44, WIDTH, y + 44);
    add_text(out, b->name);
    sm_str_adds(out, ", ");
    add_text(out, b->quant);
    sm_str_adds(out, "</text>\n<text class=\"s\" x=\"20\" y=\"50\">");
    add_text(out, b->m.cpu[0] ? b->m.cpu : b->m.arch);
    sm_str_addf(out, ", %d threads, backend ", b->info.n_threads);
    add_text(out, b->backend);
    sm_str_adds(out, " ");
    add_text(out, b->info.isa);
    sm_str_addf(out, ", smelt " SMELT_VERSION ", %s</text>\n", b->date);
    sm_str_add(out, sm_str_z(&body), body.n);
    sm_str_addf(
        out,
        "<text class=\"s\" x=\"20\" y=\"%d\">bars: mean of %d, whiskers: one standard deviation; dashed: the limit, or "
        "beyond the edge "
        "(memory read %.1f GB/s, int8 %.3f Top/s)</text>\n</svg>\n",
        y + 26, b->reps, b->peak.read_gbps, b->peak.int8_tops);
    if (!sm_str_ok(&body))
        out->failed = true;
    sm_str_free(&body);
}
