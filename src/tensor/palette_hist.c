/* SPDX-License-Identifier: MIT
 *
 * palette_hist.c: histograms over fp16 numbers (palette_hist.h).
 *
 * Two quick arrays take the weights, and a slow one, wide enough for any number of them, takes what those have when they
 * are full or merged:
 *
 *     counts  weights that are fp16 numbers: two counters a key, in turn, so that equal weights in a row wait less for
 *             each other
 *     sums    others: a count in the upper 24 bits, what they are off, below 2^12 each, in the lower 40
 *     bins    both, settled
 */
#include "tensor/palette_hist.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/dtype_int.h"
#include "tensor/palette_loops.h"

enum {
    SPAN = 64, /* keys that are noted together */
    SPANS = SM_HIST_KEYS / SPAN,
    BATCH = 256, /* weights at a time */
    SUMS_MAX = 1 << 23,
    TURNS = 2,
    WIDE = 16, /* equal weights that are counted at once */
};

#define SUMS_ONE ((int64_t)1 << 40)
#define COUNTS_MAX UINT32_MAX

typedef struct bin {
    int64_t off; /* sum of distances to the bin's number, in its units */
    uint64_t n;
} bin;

struct sm_hist {
    uint32_t (*counts)[TURNS]; /* SM_HIST_KEYS */
    int64_t *sums;             /* SM_HIST_KEYS, once needed */
    bin *bins;                 /* SM_HIST_KEYS, once needed */
    uint32_t n_counts, n_sums;
    bool settled; /* bins hold something */
    sm_status state;
    uint8_t used[SPANS]; /* spans that hold something */
    const sm_palette_loops *loops;
};

sm_status sm_hist_new(sm_hist **out, sm_err *err) {
    sm_hist *h = *out = sm_alloc(sizeof *h);
    if (h == NULL)
        return SM_NOMEM(err);
    h->loops = sm_palette_loops_best();
    h->counts = sm_alloc_n(SM_HIST_KEYS, sizeof *h->counts);
    if (h->counts != NULL)
        return SM_OK;
    sm_hist_free(out);
    return SM_NOMEM(err);
}

void sm_hist_free(sm_hist **h) {
    if (*h == NULL)
        return;
    sm_free((*h)->counts);
    sm_free((*h)->sums);
    sm_free((*h)->bins);
    sm_free(*h);
    *h = NULL;
}

sm_status sm_hist_state(const sm_hist *h) {
    return h->state;
}

/* ------------------------------------------------------------------ adding */

/* Where a key's counters are: not in order, because keys a power of two apart, as weights on a lattice have, would fight
 * for a few lines of the cache.  Eight keys side by side stay so. */
static inline uint16_t place_of(uint16_t key) {
    return (uint16_t)(key ^ (key >> 6 & 0x1F8));
}

static inline uint64_t counted(const uint32_t counts[TURNS]) {
    uint64_t n = 0;
    for (int l = 0; l < TURNS; l++)
        n += counts[l];
    return n;
}

static inline int64_t off_of(int64_t sums) {
    return (int64_t)((uint64_t)sums << 24) >> 24;
}

static inline uint64_t many_of(int64_t sums) {
    return (uint64_t)(sums - off_of(sums)) >> 40;
}

/* Memory for an array that is needed now. */
static bool need(sm_hist *h, void *array, size_t each) {
    void **p = array;
    if (*p == NULL)
        *p = sm_alloc_n(SM_HIST_KEYS, each);
    if (*p == NULL)
        h->state = SM_RESOURCE;
    return *p != NULL;
}

/* What the quick arrays hold moves to the bins. */
static bool settle(sm_hist *h) {
    if (!need(h, &h->bins, sizeof *h->bins))
        return false;
    for (size_t s = 0; s < SPANS; s++)
        for (size_t k = s * SPAN; h->used[s] && k < (s + 1) * SPAN; k++) {
            if (h->n_counts > 0) {
                h->bins[k].n += counted(h->counts[place_of((uint16_t)k)]);
                memset(h->counts[place_of((uint16_t)k)], 0, sizeof h->counts[k]);
            }
            if (h->n_sums > 0) {
                h->bins[k].off += off_of(h->sums[k]);
                h->bins[k].n += many_of(h->sums[k]);
                h->sums[k] = 0;
            }
        }
    h->n_counts = h->n_sums = 0;
    h->settled = true;
    return true;
}

static inline bool all_equal(const uint16_t key[WIDE]) {
    uint64_t v[WIDE / 4];
    memcpy(v, key, sizeof v);
    uint64_t turned = v[0] << 16 | v[0] >> 48;
    return ((v[0] ^ turned) | (v[0] ^ v[1]) | (v[0] ^ v[2]) | (v[0] ^ v[3])) == 0;
}

static void add_keys(sm_hist *h, const uint16_t *key, size_t n) {
    uint16_t place[BATCH];
    size_t i = 0;
    for (size_t k = 0; k < n; k++)
        place[k] = place_of(key[k]);
    if (h->n_counts > COUNTS_MAX - BATCH && !settle(h))
        return;
    h->n_counts += (uint32_t)n;
    for (; i + WIDE <= n; i += WIDE) {
        if (all_equal(key + i)) {
            h->used[key[i] / SPAN] = 1;
            h->counts[place[i]][0] += WIDE;
            continue;
        }
        for (size_t j = i; j < i + WIDE; j += TURNS)
            for (size_t l = 0; l < TURNS; l++) {
                h->counts[place[j + l]][l]++;
                h->used[key[j + l] / SPAN] = 1;
            }
    }
    for (; i < n; i++) {
        h->counts[place[i]][0]++;
        h->used[key[i] / SPAN] = 1;
    }
}

static void add_bins(sm_hist *h, const uint32_t *key, const int32_t *off, size_t n) {
    if (!need(h, &h->sums, sizeof *h->sums) || (h->n_sums + n > SUMS_MAX && !settle(h)))
        return;
    h->n_sums += (uint32_t)n;
    for (size_t i = 0; i < n; i++) {
        h->sums[key[i]] += SUMS_ONE + off[i];
        h->used[key[i] / SPAN] = 1;
    }
}

void sm_hist_add(sm_hist *h, const float *x, size_t n, float scale) {
    uint16_t whole[BATCH];
    uint32_t key[BATCH];
    int32_t off[BATCH];
    for (size_t from = 0, len; from < n; from += len) {
        len = SM_MIN(n - from, (size_t)BATCH);
        if (h->loops->keys(x + from, len, scale, whole))
            add_keys(h, whole, len);
        else if (h->loops->bins(x + from, len, scale, key, off))
            add_bins(h, key, off, len);
        else if (h->state == SM_OK)
            h->state = SM_BADINPUT;
    }
}

/* ------------------------------------------------------------------ taking */

static void clear(sm_hist *h) {
    for (size_t s = 0; s < SPANS; s++) {
        if (!h->used[s])
            continue;
        for (size_t k = s * SPAN; h->n_counts > 0 && k < (s + 1) * SPAN; k += 8)
            memset(h->counts + place_of((uint16_t)k), 0, 8 * sizeof *h->counts);
        if (h->n_sums > 0)
            memset(h->sums + s * SPAN, 0, SPAN * sizeof *h->sums);
        if (h->settled)
            memset(h->bins + s * SPAN, 0, SPAN * sizeof *h->bins);
    }
    memset(h->used, 0, sizeof h->used);
    h->n_counts = h->n_sums = 0;
    h->settled = false;
    h->state = SM_OK;
}

void sm_hist_merge(sm_hist *to, sm_hist *from) {
    bool room = settle(from) && need(to, &to->bins, sizeof *to->bins);
    for (size_t s = 0; s < SPANS && room; s++) {
        if (!from->used[s])
            continue;
        to->used[s] = 1;
        for (size_t k = s * SPAN; k < (s + 1) * SPAN; k++) {
            to->bins[k].n += from->bins[k].n;
            to->bins[k].off += from->bins[k].off;
        }
    }
    to->settled = to->settled || room;
    if (from->state == SM_RESOURCE || to->state == SM_OK)
        to->state = from->state;
    clear(from);
}

/* Keys of a span that hold something, ascending, without a branch for each; returns how many. */
static uint32_t keys_in(const sm_hist *h, uint32_t span, uint32_t *keys) {
    uint64_t any[SPAN] = {0};
    uint32_t n = 0, first = span * SPAN;
    if (h->n_counts > 0)
        for (uint32_t k = 0; k < SPAN; k++) {
            any[k] |= counted(h->counts[place_of((uint16_t)(first + k))]);
        }
    if (h->n_sums > 0)
        for (uint32_t k = 0; k < SPAN; k++)
            any[k] |= (uint64_t)h->sums[first + k];
    if (h->settled)
        for (uint32_t k = 0; k < SPAN; k++)
            any[k] |= h->bins[first + k].n;
    for (uint32_t k = 0; k < SPAN; k++) {
        keys[n] = first + k;
        n += any[k] != 0;
    }
    return n;
}

static inline bin bin_at(const sm_hist *h, uint32_t k) {
    bin b = h->settled ? h->bins[k] : (bin){0, 0};
    if (h->n_counts > 0)
        b.n += counted(h->counts[place_of((uint16_t)k)]);
    if (h->n_sums > 0) {
        b.off += off_of(h->sums[k]);
        b.n += many_of(h->sums[k]);
    }
    return b;
}

uint32_t sm_hist_take(sm_hist *h, double *mass, double *sum, double *middle) {
    double total = 0.0, all = 0.0, unit[32];
    uint32_t n = 0, keys[SPAN + 1];
    for (int e = 0; e < 32; e++) /* of a bin's sums: 2^-13 of the last place of fp16 numbers of this exponent */
        unit[e] = ldexp(1.0, SM_MAX(e, 1) - 38);
    for (uint32_t s = 0; s < SPANS; s++) {
        uint32_t n_keys = h->used[s] ? keys_in(h, s, keys) : 0;
        for (uint32_t i = 0; i < n_keys; i++) {
            uint32_t k = keys[i];
            uint16_t half = (uint16_t)(k >= 0x8000 ? k - 0x8000 : 0x8000 | (0x8000 - k));
            bin b = bin_at(h, k);
            mass[++n] = (double)(int64_t)b.n;
            sum[n] = mass[n] * (double)f16_to_f32(half) + (double)b.off * unit[half >> 10 & 31];
            total += mass[n];
            all += sum[n];
        }
    }
    *middle = n == 0 ? 0.0 : all / total;
    mass[0] = sum[0] = 0.0;
    for (uint32_t i = 1; i <= n; i++) {
        sum[i] = sum[i - 1] + (sum[i] - mass[i] * *middle);
        mass[i] += mass[i - 1];
    }
    clear(h);
    return n;
}
