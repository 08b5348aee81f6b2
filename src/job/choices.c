/* SPDX-License-Identifier: MIT
 *
 * choices.c: scores multiple-choice tasks.
 *
 * Tasks walk side by side, each in a lane with a sequence of its own.  A lane computes what its task's choices have in
 * common once, then one choice after the other, cutting the sequence back to the common part in between:
 *
 *     ids of choice 0   c c c c c c | a a a a         prefix: c, fed once; its last row scores every first token
 *               1       c c c c c c | b b b           rows of a choice score its other tokens; its last is not fed
 *
 * So every token is computed once, and a step holds rows of as many tasks as there are lanes.  Which rows stand beside
 * each other does not change what they compute (engine.h), so scores do not depend on it.
 */
#include "job/choices.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/files.h"
#include "base/log.h"
#include "engine/engine.h"
#include "engine/sampler.h"

enum { LANES = 8, ROWS = 256, OUT_BYTES = 64 << 20, OUT_MIN = 16, SHOTS_USUAL = 5, FILE_MAX = 1 << 30 };

/* A task as tokens. */
typedef struct job {
    const sm_choice_task *task;
    int32_t **ids;  /* [n] */
    int32_t *len;   /* [n] */
    int32_t *start; /* [n] first token that belongs to the choice */
    int32_t prefix; /* tokens fed once */
    int32_t differ; /* first token in which the choices differ */
    double *tail;   /* [n] sum from there on */
    sm_choice_score *score;
    bool done;
} job;

typedef struct lane {
    sm_seq *seq;
    job *j;     /* NULL: free */
    int stage;  /* -1: prefix; else a choice */
    int32_t at; /* tokens of the stage fed */
} lane;

typedef struct grader {
    const sm_choices_opts *o;
    const sm_tokenizer *tok;
    const char *file;
    sm_arena *mem;
    job *jobs;
    size_t n_jobs, next, shown;
    sm_engine *eng;
    lane lanes[LANES];
    int n_lanes;
    int32_t max_rows, max_out, vocab;
    sm_choices_report *r;
    uint64_t right, right_norm, right_token;
    sm_progress progress;
} grader;

/* ------------------------------------------------------------------ numbers */
sm_rate sm_rate_of(uint64_t count, uint64_t n) {
    const double z = 1.959963984540054; /* 95 % of a normal distribution */
    sm_rate r = {.count = count};
    if (n == 0)
        return r;
    double m = (double)n, p = (double)count / m, w = z * z / m;
    double middle = (p + w / 2) / (1 + w), half = z * sqrt(p * (1 - p) / m + w / (4 * m)) / (1 + w);
    r.rate = p;
    r.error = sqrt(p * (1 - p) / m);
    r.low = fmax(middle - half, 0);
    r.high = fmin(middle + half, 1);
    return r;
}

static int best(const sm_choice_score *s, int n, int which) {
    int k = 0;
    double most = -INFINITY;
    for (int i = 0; i < n; i++) {
        double x = which == 0 ? s[i].sum : which == 1 ? s[i].by_byte : s[i].by_token;
        if (x > most) {
            most = x;
            k = i;
        }
    }
    return k;
}

/* ------------------------------------------------------------------ tokens */
static sm_status encode(const grader *g, const char *text, sm_ids *out, sm_err *err) {
    out->n = 0;
    SM_TRY(sm_tokenizer_encode(g->tok, sm_sv_of(text), SM_ENC_BOS, out, err));
    if (out->n > 0 && sm_tokenizer_adds_eos(g->tok))
        out->n--;
    return SM_OK;
}

static int32_t common(const int32_t *a, int32_t na, const int32_t *b, int32_t nb) {
    int32_t n = 0;
    while (n < na && n < nb && a[n] == b[n])
        n++;
    return n;
}

/* A first token to score needs one before it. */
static sm_status begin_with_something(const grader *g, const job *j, sm_ids *ids, sm_err *err) {
    int32_t id = sm_tokenizer_bos(g->tok);
    if (id == SM_NO_TOKEN)
        id = sm_tokenizer_eos(g->tok);
    if (id == SM_NO_TOKEN)
        return SM_FAIL(err, SM_BADINPUT,
                       "%s: line %d: wanted a context: the model has no token that could stand before the choices",
                       g->file, j->task->line);
    if (!SM_GROW(ids))
        return SM_NOMEM(err);
    memmove(ids->v + 1, ids->v, ids->n * sizeof *ids->v);
    ids->v[0] = id;
    ids->n++;
    return SM_OK;
}

static sm_status encode_choice(const grader *g, const job *j, int i, const char *head, sm_err *err) {
    const sm_choice *c = &j->task->v[i];
    sm_ids context = {0}, whole = {0};
    sm_str s = SM_STR_INIT;
    sm_status st;
    sm_str_addf(&s, "%s%s", head, c->before);
    SM_TRY_DONE(sm_str_ok(&s) ? encode(g, sm_str_z(&s), &context, err) : SM_NOMEM(err));
    sm_str_adds(&s, c->text);
    SM_TRY_DONE(sm_str_ok(&s) ? encode(g, sm_str_z(&s), &whole, err) : SM_NOMEM(err));
    j->start[i] = common(context.v, (int32_t)context.n, whole.v, (int32_t)whole.n);
    if (whole.n > 0 && j->start[i] == 0) {
        SM_TRY_DONE(begin_with_something(g, j, &whole, err));
        j->start[i] = 1;
    }
    if (whole.n <= (size_t)j->start[i]) {
        st = SM_FAIL(err, SM_BADINPUT, "%s: line %d: choice %d: wanted at least one token, found none", g->file,
                     j->task->line, i + 1);
        goto done;
    }
    j->len[i] = (int32_t)whole.n;
    j->ids[i] = sm_arena_alloc_n(g->mem, whole.n, sizeof *whole.v);
    if (!j->ids[i]) {
        st = SM_NOMEM(err);
        goto done;
    }
    memcpy(j->ids[i], whole.v, whole.n * sizeof *whole.v);
done:
    sm_ids_free(&context);
    sm_ids_free(&whole);
    sm_str_free(&s);
    return st;
}

static sm_status prepare_job(const grader *g, job *j, const sm_choice_task *t, const char *head, sm_err *err) {
    size_t n = (size_t)t->n;
    *j = (job){.task = t};
    j->ids = sm_arena_alloc_n(g->mem, n, sizeof *j->ids);
    j->len = sm_arena_alloc_n(g->mem, n, sizeof *j->len);
    j->start = sm_arena_alloc_n(g->mem, n, sizeof *j->start);
    j->tail = sm_arena_alloc_n(g->mem, n, sizeof *j->tail);
    j->score = sm_arena_alloc_n(g->mem, n, sizeof *j->score);
    if (!j->ids || !j->len || !j->start || !j->tail || !j->score)
        return SM_NOMEM(err);
    for (int i = 0; i < t->n; i++)
        SM_TRY(encode_choice(g, j, i, head, err));
    j->differ = j->len[0];
    for (int i = 0; i < t->n; i++) {
        j->differ = SM_MIN(j->differ, common(j->ids[0], j->len[0], j->ids[i], j->len[i]));
        j->differ = SM_MIN(j->differ, j->len[i] - 1);
    }
    j->prefix = j->differ;
    for (int i = 0; i < t->n; i++)
        j->prefix = SM_MIN(j->prefix, j->start[i]);
    return SM_OK;
}

/* The examples that stand before every task; SUBJECT of "SUBJECT_test.csv" introduces MMLU's. */
static sm_status spell_head(const grader *g, const sm_choice_file *f, sm_str *head, sm_err *err) {
    sm_choice_file shots = {0};
    sm_str text = SM_STR_INIT;
    sm_status st = SM_OK;
    if (f->letters && strcmp(f->format, "mmlu") == 0) {
        const char *base = sm_path_base(g->file), *tail = strstr(base, "_test.csv");
        tail = tail ? tail : strstr(base, "_val.csv");
        sm_str_adds(head, "The following are multiple choice questions (with answers)");
        if (tail)
            sm_str_adds(head, " about ");
        for (const char *p = base; tail && p < tail; p++)
            sm_str_addc(head, *p == '_' ? ' ' : *p);
        sm_str_adds(head, ".\n\n");
    }
    if (g->o->shots_file) {
        SM_TRY_DONE(sm_file_read(g->o->shots_file, FILE_MAX, &text, err));
        SM_TRY_DONE(sm_choices_parse(g->o->shots_file, (sm_sv){sm_str_z(&text), text.n}, g->o->style, &shots, err));
        size_t n = (size_t)(g->o->shots > 0 ? g->o->shots : SHOTS_USUAL);
        if (n > shots.n && g->o->shots > 0) {
            st = SM_FAIL(err, SM_BADINPUT, "%s: wanted %zu examples, found %zu", g->o->shots_file, n, shots.n);
            goto done;
        }
        for (size_t i = 0; i < SM_MIN(n, shots.n); i++) {
            const sm_choice *c = &shots.v[i].v[shots.v[i].gold];
            sm_str_addf(head, "%s%s\n\n", c->before, c->text);
        }
    }
    if (!sm_str_ok(head))
        st = SM_NOMEM(err);
done:
    sm_str_free(&text);
    sm_choice_file_free(&shots);
    return st;
}

static sm_status prepare(grader *g, const sm_choice_file *f, sm_err *err) {
    sm_str head = SM_STR_INIT;
    sm_status st = spell_head(g, f, &head, err);
    g->n_jobs = g->o->limit > 0 ? SM_MIN(g->o->limit, f->n) : f->n;
    g->jobs = sm_arena_alloc_n(g->mem, g->n_jobs, sizeof *g->jobs);
    if (st == SM_OK && !g->jobs)
        st = SM_NOMEM(err);
    for (size_t i = 0; st == SM_OK && i < g->n_jobs; i++)
        st = prepare_job(g, &g->jobs[i], &f->v[i], sm_str_z(&head), err);
    sm_str_free(&head);
    return st;
}

/* ------------------------------------------------------------------ scores */
static void add_logprob(job *j, int i, int32_t at, double logprob) {
    if (at < j->start[i])
        return;
    j->score[i].sum += logprob;
    j->score[i].n_tok++;
    if (at >= j->differ)
        j->tail[i] += logprob;
}

static void finish_job(grader *g, job *j) {
    for (int i = 0; i < j->task->n; i++) {
        sm_choice_score *s = &j->score[i];
        s->n_bytes = (int32_t)j->task->v[i].bytes;
        s->by_byte = s->sum / s->n_bytes;
        s->by_token = j->tail[i] / (j->len[i] - SM_MAX(j->differ, j->start[i]));
    }
    j->done = true;
    for (; g->shown < g->n_jobs && g->jobs[g->shown].done; g->shown++) {
        const job *k = &g->jobs[g->shown];
        sm_choice_result r = {.task = k->task, .index = g->shown, .score = k->score};
        r.pick = best(k->score, k->task->n, 0);
        r.pick_norm = best(k->score, k->task->n, 1);
        r.pick_token = best(k->score, k->task->n, 2);
        g->right += r.pick == k->task->gold;
        g->right_norm += r.pick_norm == k->task->gold;
        g->right_token += r.pick_token == k->task->gold;
        if (g->o->on_task)
            g->o->on_task(g->o->user, &r);
    }
    if (g->o->progress)
        sm_progress_add(&g->progress, 1);
}

/* Rows of a step belong to lane l: `n` tokens from l->at on, logits from `out` on. */
static void score_rows(const grader *g, const lane *l, const sm_item *it) {
    job *j = l->j;
    if (it->out < 0)
        return;
    for (int32_t r = 0; r < (l->stage < 0 ? 1 : it->n); r++) {
        const float *x = sm_engine_logits(g->eng, it->out + r);
        double lse = sm_log_sum_exp(x, g->vocab);
        if (l->stage < 0) {
            for (int i = 0; i < j->task->n; i++)
                add_logprob(j, i, j->prefix, x[j->ids[i][j->prefix]] - lse);
        } else {
            int32_t at = j->prefix + l->at + r + 1;
            add_logprob(j, l->stage, at, x[j->ids[l->stage][at]] - lse);
        }
    }
}

/* ------------------------------------------------------------------ lanes */
static int32_t stage_len(const lane *l) {
    return l->stage < 0 ? l->j->prefix : l->j->len[l->stage] - 1 - l->j->prefix;
}

/* To the next stage that has tokens to feed; frees the lane at the end of its task. */
static void advance(grader *g, lane *l) {
    while (l->j && l->at >= stage_len(l)) {
        sm_seq_truncate(l->seq, l->j->prefix);
        l->at = 0;
        if (++l->stage == l->j->task->n) {
            finish_job(g, l->j);
            l->j = NULL;
        }
    }
}

static void take_job(grader *g, lane *l) {
    if (l->j || g->next >= g->n_jobs)
        return;
    l->j = &g->jobs[g->next++];
    l->stage = -1;
    l->at = 0;
    sm_seq_truncate(l->seq, 0);
}

/* One step of what the lanes have; *busy is false when there is nothing left. */
static sm_status step(grader *g, bool *busy, sm_err *err) {
    sm_item items[LANES];
    lane *of[LANES];
    int n_items = 0;
    int32_t rows = g->max_rows, outs = g->max_out;
    if (sm_cancelled())
        return SM_FAIL(err, SM_CANCELLED, "stopped");
    for (int i = 0; i < g->n_lanes; i++) {
        lane *l = &g->lanes[i];
        take_job(g, l);
        if (!l->j)
            continue;
        int32_t n = SM_MIN(stage_len(l) - l->at, rows);
        const int32_t *ids = l->stage < 0 ? l->j->ids[0] + l->at : l->j->ids[l->stage] + l->j->prefix + l->at;
        sm_want want = l->stage >= 0 ? SM_WANT_ALL : l->at + n == l->j->prefix ? SM_WANT_LAST : SM_WANT_NONE;
        if (want == SM_WANT_ALL)
            n = SM_MIN(n, outs);
        int32_t wanted = want == SM_WANT_ALL ? n : want == SM_WANT_LAST;
        if (n < 1 || wanted > outs)
            continue;
        of[n_items] = l;
        items[n_items++] = (sm_item){l->seq, ids, n, want, -1};
        rows -= n;
        outs -= wanted;
    }
    *busy = n_items > 0;
    if (n_items == 0)
        return SM_OK;
    SM_TRY(sm_engine_step(g->eng, items, n_items, err));
    for (int i = 0; i < n_items; i++) {
        score_rows(g, of[i], &items[i]);
        of[i]->at += items[i].n;
        g->r->rows += (uint64_t)items[i].n;
        advance(g, of[i]);
    }
    return SM_OK;
}

static sm_status start(grader *g, const sm_loaded *l, sm_err *err) {
    int32_t need = 1, ctx;
    const job *longest = &g->jobs[0];
    for (size_t k = 0; k < g->n_jobs; k++)
        for (int i = 0; i < g->jobs[k].task->n; i++)
            if (g->jobs[k].len[i] > need) {
                need = g->jobs[k].len[i];
                longest = &g->jobs[k];
            }
    sm_status st = sm_loaded_ctx(l, g->o->ctx, 1, need, &ctx, err);
    if (st != SM_OK)
        sm_err_prefix(err, "%s: line %d", g->file, longest->task->line);
    SM_TRY(st);
    g->n_lanes = (int)SM_MIN(g->n_jobs, (size_t)LANES);
    g->vocab = l->info.vocab;
    int64_t outs = OUT_BYTES / (4 * (int64_t)SM_MAX(g->vocab, 1));
    g->max_rows = ROWS;
    g->max_out = (int32_t)SM_MIN(SM_MAX(outs, OUT_MIN), ROWS);
    sm_engine_opts eo = {.backend = g->o->backend,
                         .ctx = ctx,
                         .max_seqs = g->n_lanes,
                         .n_threads = g->o->n_threads,
                         .max_rows = g->max_rows,
                         .max_out = g->max_out};
    SM_TRY(sm_engine_new(l->func, &eo, &g->eng, err));
    g->vocab = sm_engine_vocab(g->eng);
    int64_t all = (int64_t)g->n_lanes * ctx; /* the engine's own limits */
    g->max_rows = (int32_t)SM_MAX(SM_MIN(g->max_rows, all), g->n_lanes);
    g->max_out = SM_MIN(SM_MAX(g->max_out, g->n_lanes), g->max_rows);
    for (int i = 0; i < g->n_lanes; i++)
        SM_TRY(sm_seq_new(g->eng, &g->lanes[i].seq, err));
    return SM_OK;
}

static const char *static_format(const char *f) {
    static const char *const all[] = {"hellaswag", "hellaswag-text", "mmlu", "json"};
    size_t i = 0;
    while (i + 1 < SM_ARRAY_LEN(all) && strcmp(all[i], f) != 0)
        i++;
    return all[i];
}

sm_status sm_eval_choices(const sm_loaded *l, const char *path, const char *file, const sm_choices_opts *o,
                          sm_choices_report *out, sm_err *err) {
    sm_choice_file f = {0};
    sm_str text = SM_STR_INIT;
    bool busy = true;
    sm_status st;
    grader g = {.o = o, .r = out, .file = strcmp(file, "-") == 0 ? "standard input" : file};
    memset(out, 0, sizeof *out);
    SM_TRY(sm_loaded_runnable(l, path, err));
    SM_TRY(sm_loaded_tokenizer(l, path, err));
    g.tok = l->tok;
    SM_TRY_DONE(sm_file_read(file, FILE_MAX, &text, err));
    SM_TRY_DONE(sm_choices_parse(g.file, (sm_sv){sm_str_z(&text), text.n}, o->style, &f, err));
    g.mem = f.mem;
    SM_TRY_DONE(prepare(&g, &f, err));
    SM_TRY_DONE(start(&g, l, err));
    sm_progress_start(&g.progress, "eval", "tasks", g.n_jobs);
    while (busy && st == SM_OK)
        st = step(&g, &busy, err);
    sm_progress_end(&g.progress);
    out->format = static_format(f.format);
    out->tasks = g.shown;
    out->acc = sm_rate_of(g.right, g.shown);
    out->acc_norm = sm_rate_of(g.right_norm, g.shown);
    out->acc_token = sm_rate_of(g.right_token, g.shown);
done:
    for (int i = 0; i < g.n_lanes; i++)
        if (g.lanes[i].seq)
            sm_seq_free(&g.lanes[i].seq);
    sm_engine_free(&g.eng);
    sm_choice_file_free(&f);
    sm_str_free(&text);
    return st;
}
