/* SPDX-License-Identifier: MIT
 *
 * reply.c: detokenizing with stop texts.
 */
#include "engine/reply.h"

#include <string.h>

struct sm_reply {
    sm_detok *detok;
    const char *const *stop;
    size_t n_stop;
    sm_str held; /* decoded, not given out */
};

sm_status sm_reply_new(const sm_tokenizer *t, const char *const *stop, size_t n_stop, sm_reply **out, sm_err *err) {
    *out = NULL;
    sm_reply *r = sm_alloc(sizeof *r);
    if (!r)
        return SM_NOMEM(err);
    r->stop = stop;
    r->n_stop = n_stop;
    sm_status st = sm_detok_new(t, SM_DEC_PIECE, &r->detok, err);
    if (st != SM_OK) {
        sm_reply_free(&r);
        return st;
    }
    *out = r;
    return SM_OK;
}

void sm_reply_free(sm_reply **pr) {
    sm_reply *r = *pr;
    if (!r)
        return;
    sm_detok_free(&r->detok);
    sm_str_free(&r->held);
    sm_free(r);
    *pr = NULL;
}

/* Offset of the first complete stop text, or -1; *keep: length of the longest tail that begins one. */
static long find_stop(const sm_reply *r, size_t *keep) {
    const char *p = sm_str_z(&r->held);
    size_t n = r->held.n;
    long first = -1;
    *keep = 0;
    for (size_t i = 0; i < r->n_stop; i++) {
        size_t len = strlen(r->stop[i]);
        if (len == 0)
            continue;
        for (size_t at = 0; at < n; at++) {
            size_t m = SM_MIN(len, n - at);
            if (memcmp(p + at, r->stop[i], m) != 0)
                continue;
            if (m == len && (first < 0 || (long)at < first))
                first = (long)at;
            else if (m < len)
                *keep = SM_MAX(*keep, m);
            break;
        }
    }
    return first;
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
    SM_TRY(sm_detok_finish(r->detok, &r->held, err));
    give(r, r->held.n, out);
    return sm_str_ok(out) && sm_str_ok(&r->held) ? SM_OK : SM_NOMEM(err);
}
