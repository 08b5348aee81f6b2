/* SPDX-License-Identifier: MIT
 *
 * pkg_hints.c: smelt.turns and smelt.masks of a package's metadata.
 *
 *     smelt.turns   [{"cos":"cos","sin":"sin","scale":1,"inv_freq":[1,0.1,...]},...]
 *     smelt.masks   {"causalMask":0,"windowMask":512}
 */
#include "job/pkg_hints.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "job/load.h"

/* ------------------------------------------------------------------ writing */
static bool put_turn(sm_str *s, const sm_lowered_turn *t) {
    int64_t half = t->inv_freq->type.dims[0];
    float *f = sm_alloc_n((size_t)half, sizeof *f);
    if (f == NULL)
        return false;
    sm_decode_rows(&t->inv_freq->cst->src, 0, 1, f);
    sm_str_addf(s, "%s{\"cos\":\"%s\",\"sin\":\"%s\",\"scale\":%.9g,\"inv_freq\":[", s->n > 1 ? "," : "", t->cos,
                t->sin, t->scale);
    for (int64_t k = 0; k < half; k++)
        sm_str_addf(s, "%s%.9g", k > 0 ? "," : "", (double)f[k]);
    sm_str_adds(s, "]}");
    sm_free(f);
    return true;
}

/* Hands the text over to the arena; NULL when out of memory. */
static const char *keep(sm_str *s, sm_arena *a) {
    const char *text = sm_str_ok(s) ? sm_arena_strndup(a, s->p, s->n) : NULL;
    sm_str_free(s);
    return text;
}

static const char *turns_text(const sm_lowered *n, sm_arena *a) {
    sm_str s = SM_STR_INIT;
    bool ok = true;
    if (n->n_turns == 0)
        return "";
    sm_str_addc(&s, '[');
    for (int i = 0; i < n->n_turns && ok; i++)
        ok = put_turn(&s, &n->turn[i]);
    sm_str_addc(&s, ']');
    const char *text = keep(&s, a);
    return ok ? text : NULL;
}

/* A mask alone that hides no window says nothing new. */
static const char *masks_text(const sm_lowered *n, sm_arena *a) {
    sm_str s = SM_STR_INIT;
    bool told = n->n_turns > 0;
    for (int i = 0; i < n->n_masks; i++)
        told |= n->mask[i].window > 0;
    if (!told || n->n_masks == 0)
        return "";
    for (int i = 0; i < n->n_masks; i++)
        sm_str_addf(&s, "%s\"%s\":%" PRId64, i > 0 ? "," : "{", n->mask[i].name, n->mask[i].window);
    sm_str_addc(&s, '}');
    return keep(&s, a);
}

sm_status sm_pkg_hints_text(const sm_lowered *n, sm_arena *a, const char **turns, const char **masks, sm_err *err) {
    *turns = turns_text(n, a);
    *masks = masks_text(n, a);
    return *turns != NULL && *masks != NULL ? SM_OK : SM_NOMEM(err);
}

/* ------------------------------------------------------------------ reading */
static sm_status bad(const char *key, sm_err *err) {
    return SM_FAIL(err, SM_BADINPUT, "metadata '%s' is not what convert writes", key);
}

static json_t *parse(const sm_package *pkg, const char *key, bool *present) {
    const char *text = sm_package_meta(pkg, key);
    json_error_t where;
    *present = text != NULL;
    return text != NULL ? json_loads(text, JSON_REJECT_DUPLICATES, &where) : NULL;
}

static sm_status read_turn(sm_arena *a, json_t *j, sm_raise_turn *t, sm_err *err) {
    const char *cosine = json_string_value(json_object_get(j, "cos")),
               *sine = json_string_value(json_object_get(j, "sin"));
    json_t *scale = json_object_get(j, "scale"), *freq = json_object_get(j, "inv_freq");
    size_t n = json_array_size(freq);
    if (cosine == NULL || sine == NULL || !json_is_number(scale) || n < 1 || n > 4096)
        return bad(SM_PKG_META_TURNS, err);
    float *x = sm_arena_alloc_n(a, n, sizeof *x);
    *t = (sm_raise_turn){sm_arena_strdup(a, cosine), sm_arena_strdup(a, sine), json_number_value(scale), x, (int64_t)n};
    if (x == NULL || t->cos == NULL || t->sin == NULL)
        return SM_NOMEM(err);
    for (size_t i = 0; i < n; i++) {
        if (!json_is_number(json_array_get(freq, i)))
            return bad(SM_PKG_META_TURNS, err);
        x[i] = (float)json_number_value(json_array_get(freq, i));
        if (!isfinite(x[i]))
            return bad(SM_PKG_META_TURNS, err);
    }
    return isfinite(t->scale) ? SM_OK : bad(SM_PKG_META_TURNS, err);
}

static sm_status read_turns(sm_arena *a, json_t *j, sm_raise_hints *out, sm_err *err) {
    size_t n = json_array_size(j);
    if (!json_is_array(j) || n > 64)
        return bad(SM_PKG_META_TURNS, err);
    sm_raise_turn *t = sm_arena_alloc_n(a, n + 1, sizeof *t);
    if (t == NULL)
        return SM_NOMEM(err);
    for (size_t i = 0; i < n; i++)
        SM_TRY(read_turn(a, json_array_get(j, i), &t[i], err));
    out->turn = t;
    out->n_turns = (int)n;
    return SM_OK;
}

static sm_status read_masks(sm_arena *a, json_t *j, sm_raise_hints *out, sm_err *err) {
    size_t n = json_object_size(j), at = 0;
    const char *name;
    json_t *v;
    if (!json_is_object(j) || n > 64)
        return bad(SM_PKG_META_MASKS, err);
    sm_lowered_mask *m = sm_arena_alloc_n(a, n + 1, sizeof *m);
    if (m == NULL)
        return SM_NOMEM(err);
    json_object_foreach(j, name, v) {
        if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > INT32_MAX)
            return bad(SM_PKG_META_MASKS, err);
        m[at] = (sm_lowered_mask){sm_arena_strdup(a, name), json_integer_value(v)};
        if (m[at++].name == NULL)
            return SM_NOMEM(err);
    }
    out->mask = m;
    out->n_masks = (int)n;
    return SM_OK;
}

sm_status sm_pkg_hints(const sm_package *pkg, sm_raise_hints *out, sm_err *err) {
    sm_arena *a = pkg->graph->arena;
    bool present;
    *out = (sm_raise_hints){0};
    json_t *j = parse(pkg, SM_PKG_META_TURNS, &present);
    sm_status st = present ? read_turns(a, j, out, err) : SM_OK;
    json_decref(j);
    if (st != SM_OK)
        return st;
    j = parse(pkg, SM_PKG_META_MASKS, &present);
    st = present ? read_masks(a, j, out, err) : SM_OK;
    json_decref(j);
    return st;
}
