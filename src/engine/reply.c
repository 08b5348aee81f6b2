/* SPDX-License-Identifier: MIT
 *
 * reply.c: detokenizing with stop texts.
 */
#include "engine/reply.h"

#include <string.h>

struct sm_reply {
    sm_detok *detok;
    sm_arena *arena;
    sm_sv *stop;
    size_t n_stop;
    sm_str held; /* decoded, not given out */
};

static sm_status copy_stops(sm_reply *r, const char *const *stop, size_t n_stop, sm_err *err) {
    r->stop = sm_arena_alloc_n(r->arena, n_stop, sizeof *r->stop);
    if (!r->stop)
        return SM_NOMEM(err);
    for (size_t i = 0; i < n_stop; i++) {
        size_t n = strlen(stop[i]), good = sm_utf8_valid(stop[i], n);
        if (n == 0)
            return SM_FAIL(err, SM_USAGE, "stop: wanted a text, found an empty one");
        if (good < n)
            return SM_FAIL(err, SM_BADINPUT, "stop: offset %zu: wanted UTF-8, found byte 0x%02x in %s", good,
                           (unsigned)(unsigned char)stop[i][good], sm_quote(stop[i], n));
        r->stop[i] = (sm_sv){sm_arena_strdup(r->arena, stop[i]), n};
        if (!r->stop[i].p)
            return SM_NOMEM(err);
    }
    r->n_stop = n_stop;
    return SM_OK;
}

static sm_status set_up(sm_reply *r, const sm_tokenizer *t, const char *const *stop, size_t n_stop, sm_err *err) {
    r->arena = sm_arena_new();
    if (!r->arena)
        return SM_NOMEM(err);
    SM_TRY(copy_stops(r, stop, n_stop, err));
    return sm_detok_new(t, SM_DEC_PIECE, &r->detok, err);
}

sm_status sm_reply_new(const sm_tokenizer *t, const char *const *stop, size_t n_stop, sm_reply **out, sm_err *err) {
    *out = NULL;
    sm_reply *r = sm_alloc(sizeof *r);
    if (!r)
        return SM_NOMEM(err);
    sm_status st = set_up(r, t, stop, n_stop, err);
    if (st != SM_OK)
        sm_reply_free(&r);
    *out = r;
    return st;
}

void sm_reply_free(sm_reply **pr) {
    sm_reply *r = *pr;
    if (!r)
        return;
    sm_detok_free(&r->detok);
    sm_arena_free(&r->arena);
    sm_str_free(&r->held);
    sm_free(r);
    *pr = NULL;
}

/* Offset of the stop text that is complete first, or -1; *keep: length of the longest tail that begins one. */
static long find_stop(const sm_reply *r, size_t *keep) {
    const char *p = sm_str_z(&r->held);
    size_t n = r->held.n, end = n + 1, at = 0;
    *keep = 0;
    for (size_t i = 0; i < r->n_stop; i++) {
        size_t len = r->stop[i].n;
        for (size_t from = 0; from < n; from++) {
            size_t m = SM_MIN(len, n - from);
            if (memcmp(p + from, r->stop[i].p, m) != 0)
                continue;
            if (m < len) {
                *keep = SM_MAX(*keep, m);
            } else if (from + len < end || (from + len == end && from < at)) {
                end = from + len;
                at = from;
            }
            break; /* later ones of the same text end later, and begin less of it */
        }
    }
    return end <= n ? (long)at : -1;
}

/* Gives out the first n held bytes. */
static void give(sm_reply *r, size_t n, sm_str *out) {
    if (n == 0)
        return;
    sm_str_add(out, r->held.p, n);
    memmove(r->held.p, r->held.p + n, r->held.n - n);
    r->held.n -= n;
    r->held.p[r->held.n] = '\0';
}

sm_status sm_reply_push(sm_reply *r, int32_t id, sm_str *out, bool *stopped, sm_err *err) {
    size_t keep;
    *stopped = false;
    SM_TRY(sm_detok_push(r->detok, id, &r->held, err));
    long at = find_stop(r, &keep);
    if (at >= 0) {
        give(r, (size_t)at, out);
        sm_str_clear(&r->held);
        *stopped = true;
    } else {
        give(r, r->held.n - keep, out);
    }
    return sm_str_ok(out) && sm_str_ok(&r->held) ? SM_OK : SM_NOMEM(err);
}

sm_status sm_reply_finish(sm_reply *r, sm_str *out, sm_err *err) {
    size_t keep;
    SM_TRY(sm_detok_finish(r->detok, &r->held, err));
    long at = find_stop(r, &keep); /* what can be no character may have completed one */
    give(r, at >= 0 ? (size_t)at : r->held.n, out);
    sm_str_clear(&r->held);
    return sm_str_ok(out) && sm_str_ok(&r->held) ? SM_OK : SM_NOMEM(err);
}
