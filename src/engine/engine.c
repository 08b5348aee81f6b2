/* SPDX-License-Identifier: MIT
 *
 * engine.c: the page allocator and the steps.
 *
 * Free pages are a stack, so that the pages given back last (still warm in cache) are handed out first.  A step first
 * makes sure of everything that can fail without running (room, pages, limits), then runs, and only then lengthens the
 * sequences: a failed step leaves them as they were, at most holding pages that they will need anyway.
 */
#include "engine/engine.h"

#include <string.h>

#include "base/log.h"

enum { ROWS_DEFAULT = 256 };

struct sm_engine {
    const sm_backend *backend;
    sm_exe *exe;
    sm_limits lim;
    int32_t vocab;
    float *logits;      /* [max_out][vocab] */
    int32_t *ref;       /* per page: sequences that hold it */
    int32_t *free_page; /* stack */
    int32_t n_free;
    int32_t *ids, *pos, *out; /* a step's rows */
    sm_batch_seq *seqs;
    sm_step_times *times; /* the caller's; NULL: nobody asked */
};

struct sm_seq {
    sm_engine *e;
    int32_t len, n_pages;
    int32_t *pages; /* room for max_ctx */
};

/* ------------------------------------------------------------------ the engine */
static int32_t pages_for(const sm_engine *e, int64_t positions) {
    return (int32_t)((positions + e->lim.page_tokens - 1) / e->lim.page_tokens);
}

static sm_status set_limits(sm_engine *e, const sm_engine_opts *o, sm_err *err) {
    sm_limits *l = &e->lim;
    int page = sm_knob_int(SM_KNOB_PAGE);
    if (page < 1 || page > 1 << 16 || (page & (page - 1)) != 0)
        return SM_FAIL(err, SM_USAGE, "SMELT_KV_PAGE: wanted a power of two up to 65536, found '%s'",
                       sm_knob(SM_KNOB_PAGE));
    if (o->ctx < 1)
        return SM_FAIL(err, SM_USAGE, "context: wanted at least 1 position, found %d", o->ctx);
    l->max_ctx = o->ctx;
    l->max_seqs = SM_MAX(o->max_seqs, 1);
    int64_t all = (int64_t)l->max_seqs * l->max_ctx;
    l->max_rows = o->max_rows > 0 ? o->max_rows : ROWS_DEFAULT;
    l->max_rows = (int32_t)SM_MAX(SM_MIN(l->max_rows, all), l->max_seqs);
    l->max_out = SM_MIN(SM_MAX(o->max_out, l->max_seqs), l->max_rows);
    l->page_tokens = page;
    int64_t kv = o->kv_tokens > 0 ? o->kv_tokens : 0;
    int64_t pages = kv ? (kv + page - 1) / page : (int64_t)l->max_seqs * pages_for(e, l->max_ctx);
    if (pages > INT32_MAX / 2)
        return SM_FAIL(err, SM_RESOURCE, "KV cache of %lld pages of %d tokens is too large", (long long)pages, page);
    l->n_pages = (int32_t)pages;
    l->n_threads = o->n_threads;
    return SM_OK;
}

static sm_status find_vocab(sm_engine *e, const sm_func *f, sm_err *err) {
    if (!sm_func_is_rows(f) || f->body->n_out != 1 || f->body->out[0]->type.rank != 2 ||
        !sm_dim_known(f->body->out[0]->type.dims[1]))
        return SM_FAIL(err, SM_UNSUPPORTED, "function '%s' is not a language model in row form", f->name);
    e->vocab = (int32_t)f->body->out[0]->type.dims[1];
    return SM_OK;
}

sm_status sm_engine_plan(const sm_func *f, const sm_engine_opts *o, sm_exe_info *out, const char **backend,
                         sm_err *err) {
    sm_engine e = {0};
    memset(out, 0, sizeof *out);
    SM_TRY(find_vocab(&e, f, err));
    SM_TRY(set_limits(&e, o, err));
    SM_TRY(sm_backend_pick(o->backend, f, &e.backend, err));
    *backend = e.backend->name;
    if (!e.backend->plan)
        return SM_FAIL(err, SM_UNSUPPORTED, "backend %s does not say what it would hold", e.backend->name);
    SM_TRY(e.backend->plan(f, &e.lim, out, err));
    out->arena_bytes += (uint64_t)e.lim.max_out * (uint64_t)e.vocab * sizeof(float); /* logits */
    return SM_OK;
}

sm_status sm_engine_new(const sm_func *f, const sm_engine_opts *o, sm_engine **out, sm_err *err) {
    sm_status st = SM_OK;
    *out = NULL;
    sm_engine *e = sm_alloc(sizeof *e);
    if (!e)
        return SM_NOMEM(err);
    SM_TRY_DONE(find_vocab(e, f, err));
    SM_TRY_DONE(set_limits(e, o, err));
    SM_TRY_DONE(sm_backend_pick(o->backend, f, &e->backend, err));
    if (!e->backend->rows || !e->backend->run_rows) {
        st = SM_FAIL(err, SM_UNSUPPORTED, "backend '%s' does not run language models", e->backend->name);
        goto done;
    }
    SM_TRY_DONE(e->backend->compile(f, &e->lim, &e->exe, err));
    size_t n = (size_t)e->lim.n_pages, rows = (size_t)e->lim.max_rows, cells;
    if (!sm_mul_ok((size_t)e->lim.max_out, (size_t)e->vocab, &cells)) {
        st = SM_NOMEM(err);
        goto done;
    }
    e->logits = sm_alloc_n(cells, sizeof *e->logits);
    e->ref = sm_alloc_n(n, sizeof *e->ref);
    e->free_page = sm_alloc_n(n, sizeof *e->free_page);
    e->ids = sm_alloc_n(rows, sizeof *e->ids);
    e->pos = sm_alloc_n(rows, sizeof *e->pos);
    e->out = sm_alloc_n((size_t)e->lim.max_out, sizeof *e->out);
    e->seqs = sm_alloc_n((size_t)e->lim.max_seqs, sizeof *e->seqs);
    if (!e->logits || !e->ref || !e->free_page || !e->ids || !e->pos || !e->out || !e->seqs) {
        st = SM_NOMEM(err);
        goto done;
    }
    for (int32_t p = e->lim.n_pages - 1; p >= 0; p--)
        e->free_page[e->n_free++] = p;
    sm_trace(SM_T_KV, 1, "%d pages of %d tokens, steps of %d rows, %d with logits", e->lim.n_pages, e->lim.page_tokens,
             e->lim.max_rows, e->lim.max_out);
    *out = e;
    e = NULL;
done:
    sm_engine_free(&e);
    return st;
}

void sm_engine_free(sm_engine **pe) {
    sm_engine *e = *pe;
    if (!e)
        return;
    if (e->exe)
        e->backend->free(&e->exe);
    sm_free(e->logits);
    sm_free(e->ref);
    sm_free(e->free_page);
    sm_free(e->ids);
    sm_free(e->pos);
    sm_free(e->out);
    sm_free(e->seqs);
    sm_free(e);
    *pe = NULL;
}

int32_t sm_engine_vocab(const sm_engine *e) {
    return e->vocab;
}

int32_t sm_engine_ctx(const sm_engine *e) {
    return e->lim.max_ctx;
}

int32_t sm_engine_rows(const sm_engine *e) {
    return e->lim.max_rows;
}

int32_t sm_engine_free_pages(const sm_engine *e) {
    return e->n_free;
}

const sm_backend *sm_engine_backend(const sm_engine *e) {
    return e->backend;
}

void sm_engine_info(const sm_engine *e, sm_exe_info *out) {
    memset(out, 0, sizeof *out);
    if (e->backend->info)
        e->backend->info(e->exe, out);
}

/* ------------------------------------------------------------------ sequences */
sm_status sm_seq_new(sm_engine *e, sm_seq **out, sm_err *err) {
    sm_seq *s = sm_alloc(sizeof *s);
    *out = NULL;
    if (s)
        s->pages = sm_alloc_n((size_t)pages_for(e, e->lim.max_ctx), sizeof *s->pages);
    if (!s || !s->pages) {
        sm_free(s);
        return SM_NOMEM(err);
    }
    s->e = e;
    *out = s;
    return SM_OK;
}

static void drop_pages(sm_seq *s, int32_t keep) {
    sm_engine *e = s->e;
    while (s->n_pages > keep) {
        int32_t p = s->pages[--s->n_pages];
        if (--e->ref[p] == 0)
            e->free_page[e->n_free++] = p;
    }
}

void sm_seq_free(sm_seq **ps) {
    sm_seq *s = *ps;
    if (!s)
        return;
    drop_pages(s, 0);
    sm_free(s->pages);
    sm_free(s);
    *ps = NULL;
}

int32_t sm_seq_len(const sm_seq *s) {
    return s->len;
}

int32_t sm_seq_truncate(sm_seq *s, int32_t n) {
    int32_t page = s->e->lim.page_tokens;
    if (n < 0 || n >= s->len)
        return s->len;
    if (n % page != 0 && s->e->ref[s->pages[n / page]] > 1)
        n -= n % page;
    drop_pages(s, pages_for(s->e, n));
    s->len = n;
    return n;
}

sm_status sm_seq_share(sm_seq *s, const sm_seq *from, int32_t n, int32_t *shared, sm_err *err) {
    if (s->e != from->e || s->len != 0)
        return SM_FAIL(err, SM_USAGE, "only an empty sequence of the same engine can share a beginning");
    int32_t page = s->e->lim.page_tokens, whole = SM_MIN(SM_MAX(n, 0), from->len) / page;
    drop_pages(s, 0);
    for (int32_t i = 0; i < whole; i++) {
        s->pages[i] = from->pages[i];
        s->e->ref[s->pages[i]]++;
    }
    s->n_pages = whole;
    s->len = whole * page;
    *shared = s->len;
    return SM_OK;
}

/* Pages for n more positions. */
static sm_status reserve(sm_seq *s, int32_t n, sm_err *err) {
    sm_engine *e = s->e;
    int64_t want = (int64_t)s->len + n;
    if (want > e->lim.max_ctx) {
        SM_FAIL(err, SM_RESOURCE, "context length exceeded: wanted %lld positions, there are %d", (long long)want,
                e->lim.max_ctx);
        sm_err_hint(err, "give a larger context with -c, or a shorter text");
        return SM_RESOURCE;
    }
    int32_t pages = pages_for(e, want);
    if (pages - s->n_pages > e->n_free)
        return SM_FAIL(err, SM_RESOURCE, "KV cache is full: wanted %d more pages of %d tokens, %d of %d are free",
                       pages - s->n_pages, e->lim.page_tokens, e->n_free, e->lim.n_pages);
    while (s->n_pages < pages) {
        int32_t p = e->free_page[--e->n_free];
        e->ref[p] = 1;
        s->pages[s->n_pages++] = p;
    }
    return SM_OK;
}

/* ------------------------------------------------------------------ steps */
static sm_status check_ids(const sm_engine *e, const int32_t *ids, int32_t n, sm_err *err) {
    for (int32_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= e->vocab)
            return SM_FAIL(err, SM_BADINPUT, "token %d: wanted an id of 0..%d, found %d", i, e->vocab - 1, ids[i]);
    return SM_OK;
}

/* Appends an item's rows to the batch. */
static sm_status add_item(sm_engine *e, sm_batch *b, sm_item *it, sm_err *err) {
    sm_seq *s = it->seq;
    int32_t n_want = it->want == SM_WANT_ALL ? it->n : it->want == SM_WANT_LAST;
    if (it->n < 1 || it->n > e->lim.max_rows - b->n_rows || n_want > e->lim.max_out - b->n_out)
        return SM_FAIL(err, SM_USAGE, "step: wanted at most %d tokens and %d rows of logits, found %d and %d",
                       e->lim.max_rows, e->lim.max_out, b->n_rows + it->n, b->n_out + n_want);
    SM_TRY(check_ids(e, it->ids, it->n, err));
    SM_TRY(reserve(s, it->n, err));
    e->seqs[b->n_seqs++] = (sm_batch_seq){b->n_rows, it->n, s->len, s->pages};
    it->out = n_want > 0 ? b->n_out : -1;
    for (int32_t i = 0; i < it->n; i++) {
        e->ids[b->n_rows] = it->ids[i];
        e->pos[b->n_rows] = s->len + i;
        if (it->want == SM_WANT_ALL || (it->want == SM_WANT_LAST && i == it->n - 1))
            e->out[b->n_out++] = b->n_rows;
        b->n_rows++;
    }
    return SM_OK;
}

sm_status sm_engine_step(sm_engine *e, sm_item *items, int n_items, sm_err *err) {
    sm_batch b = {.ids = e->ids, .pos = e->pos, .seqs = e->seqs, .out = e->out};
    if (n_items < 1 || n_items > e->lim.max_seqs)
        return SM_FAIL(err, SM_USAGE, "step: wanted 1..%d sequences, found %d", e->lim.max_seqs, n_items);
    for (int i = 0; i < n_items; i++) {
        for (int k = 0; k < i; k++)
            if (items[k].seq == items[i].seq)
                return SM_FAIL(err, SM_USAGE, "step: items %d and %d are of one sequence", k, i);
        SM_TRY(add_item(e, &b, &items[i], err));
    }
    sm_trace(SM_T_RUN, 3, "step: %d sequences, %d rows, %d with logits", b.n_seqs, b.n_rows, b.n_out);
    if (e->times)
        SM_TRY(e->backend->run_timed(e->exe, &b, e->logits, e->times, err));
    else
        SM_TRY(e->backend->run_rows(e->exe, &b, e->logits, err));
    for (int i = 0; i < n_items; i++)
        items[i].seq->len += items[i].n;
    return SM_OK;
}

sm_status sm_engine_time(sm_engine *e, sm_step_times *t, sm_err *err) {
    if (t && !e->backend->run_timed)
        return SM_FAIL(err, SM_UNSUPPORTED, "backend %s does not time its ops", e->backend->name);
    e->times = t;
    return SM_OK;
}

const float *sm_engine_logits(const sm_engine *e, int32_t out) {
    return e->logits + (size_t)out * (size_t)e->vocab;
}

sm_status sm_engine_feed(sm_engine *e, sm_seq *s, const int32_t *ids, int32_t n, sm_want want, sm_logits_fn fn,
                         void *ctx, sm_err *err) {
    int32_t chunk = want == SM_WANT_ALL ? SM_MIN(e->lim.max_rows, e->lim.max_out) : e->lim.max_rows;
    SM_TRY(check_ids(e, ids, n, err));
    SM_TRY(reserve(s, n, err));
    for (int32_t at = 0; at < n; at += chunk) {
        if (sm_cancelled())
            return SM_FAIL(err, SM_CANCELLED, "stopped");
        int32_t len = SM_MIN(chunk, n - at), pos = s->len;
        bool last = at + len == n;
        sm_item it = {s, ids + at, len, want == SM_WANT_LAST && !last ? SM_WANT_NONE : want, -1};
        SM_TRY(sm_engine_step(e, &it, 1, err));
        if (!fn || it.want == SM_WANT_NONE)
            continue;
        int32_t first = it.want == SM_WANT_ALL ? 0 : len - 1;
        for (int32_t i = first; i < len; i++)
            SM_TRY(fn(ctx, pos + i, sm_engine_logits(e, it.out + i - first), err));
    }
    return SM_OK;
}
