/* SPDX-License-Identifier: MIT
 *
 * convert_split.c: the words of --split -> places to cut; the manifest of the parts.
 */
#include "job/convert_split.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/rows.h"

enum { LAYERS_MAX = 1024 };

/* ------------------------------------------------------------------ what the weights of each layer take */
typedef struct sizes {
    int n_layers;
    uint64_t embed, head, layer[LAYERS_MAX];
} sizes;

static uint64_t const_bytes(const sm_value *v) {
    size_t bytes[SM_PART_COUNT];
    uint64_t n = 0;
    if (sm_enc_sizes(&v->cst->want, v->cst->src.rank, v->cst->src.dims, bytes, NULL) == SM_OK)
        for (int k = 0; k < SM_PART_COUNT; k++)
            n += bytes[k];
    return n;
}

/* Each node's weights are those of the part that it comes to when the function is cut wherever it can be; a constant that a
 * part uses twice is there once.  seen[id]: the number, from 1, of the last part that a constant was counted for. */
static void add_weights(const sm_func *f, const int *at, int *seen, sizes *s) {
    int part = at[0] >= 0 ? 0 : 1, number = 0; /* 0: embedding; k: layer k - 1; n_layers + 1: head */
    for (const sm_node *n = f->body->first; n != NULL; n = n->next, number++) {
        uint64_t *to = part == 0 ? &s->embed : part > s->n_layers ? &s->head : &s->layer[part - 1];
        for (int i = 0; i < sm_op_row_of(n->op)->n_slots; i++) {
            const sm_value *v = n->in[i];
            if (v == NULL || v->cst == NULL || sm_dtype_kind(v->type.dtype) != 'f' || v->type.rank < 1 ||
                seen[v->id] == part + 1)
                continue;
            *to += const_bytes(v);
            seen[v->id] = part + 1;
        }
        for (int k = part; k <= s->n_layers; k++) /* where there is no cut the next part's weights come along */
            if (at[k] == number)
                part = k + 1;
    }
}

static sm_status measure(const sm_func *f, sizes *s, sm_err *err) {
    sm_kv_slot slots[LAYERS_MAX];
    int at[LAYERS_MAX + 1];
    memset(s, 0, sizeof *s);
    s->n_layers = sm_func_kv_slots(f, slots, LAYERS_MAX);
    if (s->n_layers < 1)
        return SM_FAIL(err, SM_UNSUPPORTED, "--split: the model has no layers with attention, or more than %d",
                       LAYERS_MAX);
    SM_TRY(sm_pass_cut_places(f, s->n_layers, at, err));
    int *seen = sm_alloc_n(f->graph->n_values, sizeof *seen);
    if (seen == NULL)
        return SM_NOMEM(err);
    add_weights(f, at, seen, s);
    sm_free(seen);
    return SM_OK;
}

/* ------------------------------------------------------------------ parts */
static sm_status push(sm_convert_parts *p, int after, const char *what, sm_err *err) {
    if (p->n >= SM_CONVERT_PARTS)
        return SM_FAIL(err, SM_UNSUPPORTED, "--split: at most %d packages", SM_CONVERT_PARTS);
    if (p->n > 0)
        p->cut[p->n - 1] = (sm_cut){after, what};
    p->n++;
    return SM_OK;
}

/* Layers [0, n_layers) to `n` packages, as even as can be. */
static sm_status push_even(sm_convert_parts *p, int n_layers, int n, sm_err *err) {
    for (int i = 1; i < n; i++)
        SM_TRY(push(p, (int)((int64_t)n_layers * i / n), "between layers", err));
    return SM_OK;
}

static bool count(const char **s, int64_t *out) {
    char *end;
    *out = strtoll(*s, &end, 10);
    bool ok = end != *s && *out >= 0 && **s >= '0' && **s <= '9';
    *s = end;
    return ok;
}

static sm_status bad(const char *words, sm_err *err) {
    SM_FAIL(err, SM_USAGE, "--split %s: not understood", words);
    sm_err_hint(err, "wanted N, layers:A-B,.., units, units:N or size:BYTES (500M, 1G)");
    return SM_USAGE;
}

static sm_status by_layers(const char *words, const char *s, const sizes *z, sm_convert_parts *p, sm_err *err) {
    int64_t a, b, next = 0;
    SM_TRY(push(p, 0, "", err));
    while (true) {
        if (!count(&s, &a) || *s++ != '-' || !count(&s, &b))
            return bad(words, err);
        if (a != next || b < a || b >= z->n_layers)
            return SM_FAIL(err, SM_USAGE, "--split %s: wanted layers %" PRId64 "-B with B below %d, each layer once",
                           words, next, z->n_layers);
        next = b + 1;
        if (*s == '\0')
            break;
        if (*s++ != ',')
            return bad(words, err);
        SM_TRY(push(p, (int)next, "between layers", err));
    }
    return next == z->n_layers ? SM_OK
                               : SM_FAIL(err, SM_USAGE, "--split %s: layers %" PRId64 "-%d stand in no part", words,
                                         next, z->n_layers - 1);
}

static sm_status by_size(const char *words, const char *s, const sizes *z, sm_convert_parts *p, sm_err *err) {
    int64_t most;
    if (!count(&s, &most))
        return bad(words, err);
    int64_t unit = *s == 'K' ? 1000 : *s == 'M' ? 1000000 : *s == 'G' ? 1000000000 : 1;
    s += unit > 1;
    if (*s != '\0' || most < 1 || most > INT64_MAX / unit)
        return bad(words, err);
    uint64_t limit = (uint64_t)(most * unit), at = z->embed;
    SM_TRY(push(p, 0, "", err));
    if (at + z->layer[0] > limit) {
        SM_TRY(push(p, SM_CUT_EMBED, "behind the embedding", err));
        at = 0;
    }
    for (int i = 0; i < z->n_layers; i++) {
        if (z->layer[i] > limit || z->embed > limit || z->head > limit) {
            SM_FAIL(err, SM_UNSUPPORTED,
                    "--split %s: layer %d takes %" PRIu64 " bytes, the embedding %" PRIu64 ", the head %" PRIu64, words,
                    i, z->layer[i], z->embed, z->head);
            return sm_err_hint(err, "give more bytes, or weights of fewer bits: --quant");
        }
        if (at > 0 && at + z->layer[i] > limit && i > 0) {
            SM_TRY(push(p, i, "between layers", err));
            at = 0;
        }
        at += z->layer[i];
    }
    return at + z->head > limit ? push(p, z->n_layers, "before the head", err) : SM_OK;
}

static sm_status name_parts(sm_convert_parts *p, const sm_func *f, sm_err *err) {
    for (int i = 0; i < p->n; i++) {
        bool apart = p->n > 1 && p->cut[0].after == SM_CUT_EMBED, embed = apart && i == 0;
        bool head = i == p->n - 1 && i > 0 && strcmp(p->cut[i - 1].what, "before the head") == 0;
        p->name[i] = embed ? "embedding" : head ? "head" : sm_arena_printf(f->graph->arena, "layers%d", i + !apart);
        if (p->name[i] == NULL)
            return SM_NOMEM(err);
    }
    return SM_OK;
}

sm_status sm_convert_parts_of(const char *words, const sm_func *f, sm_convert_parts *out, sm_err *err) {
    memset(out, 0, sizeof *out);
    if (words == NULL || strcmp(words, "none") == 0) {
        out->n = 1;
        return SM_OK;
    }
    sizes z;
    const char *s = words;
    int64_t n = 1;
    SM_TRY(measure(f, &z, err));
    if (strncmp(words, "layers:", 7) == 0) {
        SM_TRY(by_layers(words, words + 7, &z, out, err));
    } else if (strncmp(words, "size:", 5) == 0) {
        SM_TRY(by_size(words, words + 5, &z, out, err));
    } else if (strncmp(words, "units", 5) == 0) {
        s = words + 5;
        if (*s != '\0' && (*s++ != ':' || !count(&s, &n) || *s != '\0' || n < 1))
            return bad(words, err);
        if (n > z.n_layers)
            return SM_FAIL(err, SM_USAGE, "--split %s: the model has %d layers", words, z.n_layers);
        SM_TRY(push(out, 0, "", err));
        SM_TRY(push(out, SM_CUT_EMBED, "behind the embedding", err));
        SM_TRY(push_even(out, z.n_layers, (int)n, err));
        SM_TRY(push(out, z.n_layers, "before the head", err));
    } else {
        if (!count(&s, &n) || *s != '\0' || n < 1)
            return bad(words, err);
        if (n > z.n_layers)
            return SM_FAIL(err, SM_USAGE, "--split %s: the model has %d layers", words, z.n_layers);
        SM_TRY(push(out, 0, "", err));
        SM_TRY(push_even(out, z.n_layers, (int)n, err));
    }
    return name_parts(out, f, err);
}

sm_status sm_convert_manifest(const sm_convert_parts *p, sm_str *out, sm_err *err) {
    sm_str_adds(out, "{\n  \"smelt\": 1,\n  \"parts\": [\n");
    for (int i = 0; i < p->n; i++)
        sm_str_addf(out, "    {\"package\": \"%s.mlpackage\"}%s\n", p->name[i], i < p->n - 1 ? "," : "");
    sm_str_adds(out, "  ]\n}\n");
    return sm_str_ok(out) ? SM_OK : SM_NOMEM(err);
}
