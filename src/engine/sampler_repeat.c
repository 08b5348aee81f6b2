/* SPDX-License-Identifier: MIT
 *
 * sampler_repeat.c: samplers that look back at the text: penalties on tokens that were there, DRY.
 *
 * Sources: repetition penalty, N. Keskar et al., "CTRL" (2019), with negative logits multiplied; presence and frequency
 * penalty as OpenAI's interface defines them; DRY ("don't repeat yourself"), P. E. Weidmann (text-generation-webui, 2024),
 * with sequence breakers.
 *
 * Both mark token ids (s->mark), then edit the marked logits, in the row or in the list, and take the marks away: a pick
 * costs as much as the window is long.
 */
#include "engine/sampler_int.h"

#include <math.h>
#include <string.h>

typedef double edit(const sm_sampler *s, int32_t id, double logit, uint32_t mark);

static void apply(sm_sampler *s, edit *f, const int32_t *window, size_t n) {
    if (s->listed) {
        for (int32_t i = 0; i < s->n; i++)
            if (s->mark[s->c[i].id])
                s->c[i].logprob = (float)f(s, s->c[i].id, s->c[i].logprob, s->mark[s->c[i].id]);
    } else {
        sm_s_own(s);
        for (size_t i = 0; i < n; i++)
            if (window[i] >= 0 && window[i] < s->vocab && s->mark[window[i]]) {
                s->edited[window[i]] = (float)f(s, window[i], s->edited[window[i]], s->mark[window[i]]);
                s->mark[window[i]] = 0;
            }
    }
    for (size_t i = 0; i < n; i++)
        if (window[i] >= 0 && window[i] < s->vocab)
            s->mark[window[i]] = 0;
}

static const int32_t *tail(const sm_sampler *s, int last, size_t *n) {
    *n = last < 0 || (size_t)last > s->n_history ? s->n_history : (size_t)last;
    return *n ? s->history + (s->n_history - *n) : NULL;
}

/* ------------------------------------------------------------------ penalties */
static double penalize(const sm_sampler *s, int32_t id, double logit, uint32_t count) {
    (void)id;
    double r = s->p.repeat_penalty;
    return (logit <= 0.0 ? logit * r : logit / r) - count * s->p.frequency_penalty - s->p.presence_penalty;
}

void sm_s_penalties(sm_sampler *s) {
    const sm_sampling *p = &s->p;
    size_t n;
    const int32_t *window = tail(s, p->repeat_last_n, &n);
    if (n == 0 || !(p->repeat_penalty < 1.0 || p->repeat_penalty > 1.0 || p->presence_penalty < 0.0 ||
                    p->presence_penalty > 0.0 || p->frequency_penalty < 0.0 || p->frequency_penalty > 0.0))
        return;
    for (size_t i = 0; i < n; i++)
        if (window[i] >= 0 && window[i] < s->vocab)
            s->mark[window[i]]++;
    apply(s, penalize, window, n);
}

/* ------------------------------------------------------------------ DRY
 *
 *     window   a b c c b c y a b c        its end "a b c" was there before, and a c followed it: c would make the
 *     z[k]     10 0 1 .. 3 ..             repetition longer by one.  z[k]: how many tokens before (and with) the one k from
 *                                         the end equal the window's end.
 *
 * All z come from one pass (D. Gusfield, "Algorithms on strings, trees and sequences", 1997, section 1.4), over the window
 * read backwards.  A repetition counts back to the last breaker at most.  Breakers are looked for in the text: no further
 * back than the longest repetition reaches, and whatever the tokens that spell them. */
bool sm_s_dry_reserve(sm_sampler *s) {
    size_t n;
    tail(s, s->p.dry_penalty_last_n, &n);
    if (!(s->p.dry_multiplier > 0.0) || n <= s->n_z)
        return true;
    n = SM_MAX(n, 2 * s->n_z);
    int32_t *z = sm_realloc(s->z, n * sizeof *z);
    if (!z)
        return false;
    s->z = z;
    s->n_z = n;
    return true;
}

static void fill_z(int32_t *z, const int32_t *window, int32_t n) {
    const int32_t *end = window + n - 1; /* end[-k]: the window read backwards */
    int32_t left = 0, right = 0;         /* [left, right): the match that reaches furthest */
    z[0] = n;
    for (int32_t k = 1; k < n; k++) {
        int32_t len = k < right ? SM_MIN(right - k, z[k - left]) : 0;
        while (k + len < n && end[-len] == end[-(k + len)])
            len++;
        z[k] = len;
        if (k + len > right) {
            left = k;
            right = k + len;
        }
    }
}

static void add_piece(sm_sampler *s, int32_t id) {
    if (s->tok && id >= 0 && id < sm_tokenizer_count(s->tok))
        (void)sm_tokenizer_decode(s->tok, &id, 1, SM_DEC_SPECIAL | SM_DEC_PIECE, &s->text, NULL);
}

static const char *find(const char *text, size_t n, const char *what, size_t len) {
    for (size_t i = 0; i + len <= n; i++)
        if (text[i] == *what && memcmp(text + i, what, len) == 0)
            return text + i;
    return NULL;
}

/* How many tokens follow the last one that a breaker ends in, among the last `reach`; reach when none does. */
static int32_t since_breaker(sm_sampler *s, const int32_t *window, int32_t n, int32_t reach) {
    size_t longest = 0, need = 0;
    for (size_t i = 0; i < s->p.n_dry_breakers; i++)
        longest = SM_MAX(longest, strlen(s->p.dry_breakers[i]));
    if (!s->tok || longest == 0)
        return reach;
    /* A breaker that ends in reach begins at most longest - 1 bytes before it. */
    int32_t from = n - reach;
    sm_str_clear(&s->text);
    for (; from > 0 && need < longest; from--) {
        add_piece(s, window[from - 1]);
        need = s->text.n;
    }
    sm_str_clear(&s->text);
    for (int32_t i = from; i < n; i++)
        add_piece(s, window[i]);
    const char *text = sm_str_z(&s->text), *last = NULL;
    for (size_t i = 0; i < s->p.n_dry_breakers; i++) {
        const char *what = s->p.dry_breakers[i], *p = text;
        size_t len = strlen(what), total = s->text.n;
        while (len > 0 && (p = find(p, total - (size_t)(p - text), what, len)) != NULL) {
            last = p + len > last || !last ? p + len : last;
            p++;
        }
    }
    if (!last)
        return reach;
    size_t end = (size_t)(last - text);
    sm_str_clear(&s->text);
    for (int32_t i = from; i < n; i++) {
        add_piece(s, window[i]);
        if (s->text.n >= end)
            return SM_MIN(reach, n - 1 - i);
    }
    return reach;
}

static bool has_breaker(sm_sampler *s, int32_t id) {
    sm_str_clear(&s->text);
    add_piece(s, id);
    for (size_t i = 0; i < s->p.n_dry_breakers; i++) {
        size_t len = strlen(s->p.dry_breakers[i]);
        if (len > 0 && find(sm_str_z(&s->text), s->text.n, s->p.dry_breakers[i], len))
            return true;
    }
    return false;
}

/* mark: tokens repeated, plus one. */
static double dry(const sm_sampler *s, int32_t id, double logit, uint32_t mark) {
    (void)id;
    double by = s->p.dry_multiplier * pow(s->p.dry_base, (double)mark - 1.0 - s->p.dry_allowed_length);
    return logit - SM_MIN(by, 1e30);
}

void sm_s_dry(sm_sampler *s) {
    size_t n_window;
    const int32_t *w = tail(s, s->p.dry_penalty_last_n, &n_window);
    int32_t n = (int32_t)n_window, allowed = s->p.dry_allowed_length, longest = 0;
    if (!(s->p.dry_multiplier > 0.0) || n <= SM_MAX(allowed, 1))
        return;
    fill_z(s->z, w, n);
    for (int32_t k = 1; k < n; k++)
        longest = SM_MAX(longest, s->z[k]);
    if (longest < allowed)
        return;
    int32_t limit = since_breaker(s, w, n, longest);
    if (limit < allowed)
        return;
    for (int32_t k = 1; k < n; k++) {
        int32_t len = SM_MIN(s->z[k], limit), next = w[n - k];
        if (len >= allowed && next >= 0 && next < s->vocab && s->mark[next] < (uint32_t)len + 1)
            s->mark[next] = (uint32_t)len + 1;
    }
    for (int32_t i = 0; i < n; i++) /* tokens that break are no repetition */
        if (w[i] >= 0 && w[i] < s->vocab && s->mark[w[i]] && has_breaker(s, w[i]))
            s->mark[w[i]] = 0;
    apply(s, dry, w, n_window);
}
