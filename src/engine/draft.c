/* SPDX-License-Identifier: MIT
 *
 * draft.c: guesses by lookup and by a draft model.
 */
#include "engine/draft.h"

#include <string.h>

enum { LEAST = 2, ENOUGH = 32 }; /* tokens that must be the same, and that are compared at most */

struct sm_draft {
    sm_draft_opts o;
    int32_t ids[SM_DRAFT_MOST];
    int32_t n, next; /* guessed last; to be guessed the next time */
    sm_engine *e;
    sm_seq *seq;
    sm_sampler *sampler;
    sm_ids seen; /* tokens that the draft model's cache holds, and room for guesses */
};

/* ------------------------------------------------------------------ lookup */
int32_t sm_draft_lookup(const int32_t *text, size_t n, int32_t most, int32_t *out) {
    size_t best = LEAST - 1, at = 0;
    for (size_t end = n; end-- > LEAST;) { /* text[0..end) is compared with the whole */
        size_t same = 0;
        while (same < ENOUGH && same < end && text[end - 1 - same] == text[n - 1 - same])
            same++;
        if (same > best) {
            best = same;
            at = end;
        }
        if (same >= ENOUGH)
            break;
    }
    if (at == 0)
        return 0;
    int32_t k = (int32_t)SM_MIN((size_t)most, n - at);
    memcpy(out, text + at, (size_t)k * sizeof *out);
    return k;
}

/* ------------------------------------------------------------------ model */
static sm_status open_model(sm_draft *d, int32_t vocab, sm_err *err) {
    sm_sampling p = *d->o.sampling;
    SM_TRY(sm_engine_new(d->o.f, &d->o.engine, &d->e, err));
    if (sm_engine_vocab(d->e) != vocab) {
        SM_FAIL(err, SM_UNSUPPORTED, "the draft model's vocabulary: wanted the model's %d tokens, found %d", vocab,
                sm_engine_vocab(d->e));
        return sm_err_hint(err, "a draft model is a smaller one of the same family");
    }
    SM_TRY(sm_seq_new(d->e, &d->seq, err));
    return sm_draft_sampling(d, &p, err);
}

sm_status sm_draft_sampling(sm_draft *d, const sm_sampling *s, sm_err *err) {
    sm_sampler *fresh = NULL;
    sm_sampling p = *s;
    if (d->e == NULL)
        return SM_OK;
    p.mirostat = 0; /* learns from what it draws: its guesses are no draws */
    SM_TRY(sm_sampler_new(&p, sm_engine_vocab(d->e), d->o.tok, &fresh, err));
    sm_sampler_free(&d->sampler);
    d->sampler = fresh;
    d->o.sampling = NULL;
    return SM_OK;
}

/* The cache holds what is the same at the beginning. */
static void go_back(sm_draft *d, const int32_t *text, size_t n) {
    size_t same = 0, len = (size_t)sm_seq_len(d->seq);
    while (same < len && same + 1 < n && d->seen.v[same] == text[same])
        same++;
    if (same < len)
        len = (size_t)sm_seq_truncate(d->seq, (int32_t)same);
    d->seen.n = len;
}

static sm_status by_model(sm_draft *d, const int32_t *text, size_t n, int32_t most, sm_err *err) {
    go_back(d, text, n);
    for (size_t i = d->seen.n; i < n; i++)
        if (!sm_ids_add(&d->seen, text[i]))
            return SM_NOMEM(err);
    while (d->n < most && d->seen.n < (size_t)sm_engine_ctx(d->e)) {
        int32_t at = sm_seq_len(d->seq), id;
        SM_TRY(sm_engine_feed(d->e, d->seq, d->seen.v + at, (int32_t)d->seen.n - at, SM_WANT_LAST, NULL, NULL, err));
        SM_TRY(sm_sampler_pick(d->sampler, sm_engine_logits(d->e, 0), d->seen.v, d->seen.n, &id, err));
        if (d->o.tok != NULL && sm_tokenizer_is_end(d->o.tok, id)) /* nothing comes behind it */
            break;
        d->ids[d->n++] = id;
        if (!sm_ids_add(&d->seen, id))
            return SM_NOMEM(err);
    }
    return SM_OK;
}

/* ------------------------------------------------------------------ either */
sm_status sm_draft_new(const sm_draft_opts *o, int32_t vocab, sm_draft **out, sm_err *err) {
    *out = NULL;
    sm_draft *d = sm_alloc(sizeof *d);
    if (d == NULL)
        return SM_NOMEM(err);
    d->o = *o;
    d->o.most = SM_MIN(SM_MAX(o->most, 1), SM_DRAFT_MOST);
    d->next = SM_MIN(d->o.most, 4);
    sm_status st = o->f != NULL ? open_model(d, vocab, err) : SM_OK;
    if (st != SM_OK)
        sm_draft_free(&d);
    *out = d;
    return st;
}

void sm_draft_free(sm_draft **pd) {
    sm_draft *d = *pd;
    if (d == NULL)
        return;
    sm_sampler_free(&d->sampler);
    sm_seq_free(&d->seq);
    sm_engine_free(&d->e);
    sm_ids_free(&d->seen);
    sm_free(d);
    *pd = NULL;
}

sm_status sm_draft_guess(sm_draft *d, const int32_t *text, size_t n, int32_t room, const int32_t **ids, int32_t *n_ids,
                         sm_err *err) {
    int32_t most = SM_MIN(d->next, room);
    sm_status st = SM_OK;
    d->n = 0;
    if (most > 0 && n > 0 && d->e != NULL && n <= (size_t)sm_engine_ctx(d->e))
        st = by_model(d, text, n, most, err);
    else if (most > 0 && d->e == NULL)
        d->n = sm_draft_lookup(text, n, most, d->ids);
    *ids = d->ids;
    *n_ids = st == SM_OK ? d->n : 0;
    return st;
}

void sm_draft_held(sm_draft *d, int32_t held) {
    if (d->n == 0)
        return;
    d->next = held >= d->n ? SM_MAX(d->next, SM_MIN(2 * d->n, d->o.most)) : SM_MAX(held + 1, 2);
    d->next = SM_MIN(d->next, d->o.most);
}
