/* SPDX-License-Identifier: MIT
 *
 * ref_nms.c: non_maximum_suppression.
 *
 * A box's score is its largest over the classes, its class the first that has it.  Boxes are taken by falling score, the
 * earlier of equals first; one is dropped when it overlaps a taken one by more than the threshold (intersection over
 * union; boxes without area overlap nothing), with per-class suppression only one of its own class.  Scores below
 * score_threshold are out; when that leaves nothing, the best box stays, as Core ML does.  Places left over hold zeros
 * and index -1.
 */
#include <math.h>
#include <stdlib.h>

#include "backend/ref/ref_int.h"

typedef struct candidate {
    double score, x0, y0, x1, y1;
    int64_t at, class;
} candidate;

static int by_score(const void *pa, const void *pb) {
    const candidate *a = pa, *b = pb;
    if (a->score != b->score && !(isnan(a->score) && isnan(b->score)))
        return a->score > b->score || isnan(b->score) ? -1 : 1;
    return a->at < b->at ? -1 : 1;
}

static double overlap(const candidate *a, const candidate *b) {
    double w = fmin(a->x1, b->x1) - fmax(a->x0, b->x0), h = fmin(a->y1, b->y1) - fmax(a->y0, b->y0);
    double aa = (a->x1 - a->x0) * (a->y1 - a->y0), ab = (b->x1 - b->x0) * (b->y1 - b->y0);
    if (!(w > 0 && h > 0 && aa > 0 && ab > 0))
        return 0;
    return w * h / (aa + ab - w * h);
}

/* Element (box, part) of image n; rows: parts innermost. */
static double element(const ref_val *v, bool rows, int64_t n, int64_t box, int64_t part) {
    int64_t a = v->dims[1], b = v->dims[2];
    return (double)v->f[n * a * b + (rows ? box * b + part : part * b + box)];
}

static void put(ref_val *v, bool rows, int64_t n, int64_t place, int64_t part, double x) {
    int64_t a = v->dims[1], b = v->dims[2];
    v->f[n * a * b + (rows ? place * b + part : part * b + place)] = (float)x;
}

typedef struct nms {
    const ref_val *boxes, *scores;
    bool rows, per_class;
    int64_t n_boxes, n_classes, most;
    double iou, least;
    candidate *c;  /* [n_boxes] */
    int64_t *kept; /* places in c */
} nms;

static candidate candidate_of(const nms *m, int64_t n, int64_t i) {
    candidate c = {.score = -INFINITY, .at = i};
    for (int64_t k = 0; k < m->n_classes; k++) {
        double s = element(m->scores, m->rows, n, i, k);
        if (k == 0 || s > c.score) {
            c.score = s;
            c.class = k;
        }
    }
    double x = element(m->boxes, m->rows, n, i, 0), y = element(m->boxes, m->rows, n, i, 1);
    double w = element(m->boxes, m->rows, n, i, 2), h = element(m->boxes, m->rows, n, i, 3);
    c.x0 = x - w / 2;
    c.x1 = x + w / 2;
    c.y0 = y - h / 2;
    c.y1 = y + h / 2;
    return c;
}

/* Chooses boxes of image n; their number. */
static int64_t choose(const nms *m, int64_t n) {
    int64_t kept = 0;
    for (int64_t i = 0; i < m->n_boxes; i++)
        m->c[i] = candidate_of(m, n, i);
    qsort(m->c, (size_t)m->n_boxes, sizeof *m->c, by_score);
    for (int64_t i = 0; i < m->n_boxes && kept < m->most; i++) {
        bool keep = !(m->c[i].score < m->least);
        for (int64_t k = 0; keep && k < kept; k++) {
            const candidate *better = &m->c[m->kept[k]];
            keep = (m->per_class && better->class != m->c[i].class) || !(overlap(better, &m->c[i]) > m->iou);
        }
        if (keep)
            m->kept[kept++] = i;
    }
    if (kept == 0 && m->n_boxes > 0)
        m->kept[kept++] = 0;
    return kept;
}

static sm_status nms_of(ref_call *c, nms *m) {
    *m =
        (nms){.boxes = ref_in(c, "boxes"), .scores = ref_in(c, "scores"), .rows = ref_in(c, "score_threshold") != NULL};
    const ref_val *b = m->boxes, *s = m->scores;
    int box = m->rows ? 1 : 2, part = m->rows ? 2 : 1;
    m->per_class = ref_bool(c, "per_class_suppression");
    m->iou = ref_num(c, "iou_threshold");
    m->least = m->rows ? ref_num(c, "score_threshold") : -INFINITY;
    m->most = ref_int(c, "max_boxes");
    if (b->rank != 3 || s->rank != 3 || !ref_is_float(b) || !ref_is_float(s) || b->dims[part] != 4 ||
        s->dims[part] < 1 || b->dims[0] != s->dims[0] || b->dims[box] != s->dims[box] || m->most < 1)
        return SM_FAIL(c->err, SM_BADINPUT, "boxes, scores and max_boxes do not fit each other");
    m->n_boxes = b->dims[box];
    m->n_classes = s->dims[part];
    int64_t n = b->dims[0], most = m->most;
    if (m->rows) {
        SM_TRY(ref_result(c, 0, b->dtype, 3, (int64_t[]){n, most, 4}));
        SM_TRY(ref_result(c, 1, s->dtype, 3, (int64_t[]){n, most, m->n_classes}));
        SM_TRY(ref_result(c, 3, SM_INT32, 1, &n));
    } else {
        SM_TRY(ref_result(c, 0, b->dtype, 3, (int64_t[]){n, 4, most}));
        SM_TRY(ref_result(c, 1, s->dtype, 3, (int64_t[]){n, m->n_classes, most}));
    }
    SM_TRY(ref_result(c, 2, SM_INT32, 2, (int64_t[]){n, most}));
    m->c = sm_alloc_n((size_t)m->n_boxes + 1, sizeof *m->c);
    m->kept = sm_alloc_n((size_t)m->n_boxes + 1, sizeof *m->kept);
    return m->c == NULL || m->kept == NULL ? SM_NOMEM(c->err) : SM_OK;
}

sm_status ref_nms(ref_call *c) {
    nms m = {0};
    sm_status st = nms_of(c, &m);
    for (int64_t n = 0; st == SM_OK && n < m.boxes->dims[0]; n++) {
        int64_t kept = choose(&m, n);
        for (int64_t k = 0; k < m.most; k++) {
            int64_t at = k < kept ? m.c[m.kept[k]].at : -1;
            ref_out(c, 2)->i[n * m.most + k] = at;
            for (int64_t i = 0; at >= 0 && i < 4; i++)
                put(ref_out(c, 0), m.rows, n, k, i, element(m.boxes, m.rows, n, at, i));
            for (int64_t i = 0; at >= 0 && i < m.n_classes; i++)
                put(ref_out(c, 1), m.rows, n, k, i, element(m.scores, m.rows, n, at, i));
        }
        if (m.rows)
            ref_out(c, 3)->i[n] = kept;
    }
    sm_free(m.c);
    sm_free(m.kept);
    return st;
}
