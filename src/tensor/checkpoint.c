/* SPDX-License-Identifier: MIT
 *
 * checkpoint.c: looking up tensors and metadata of an opened checkpoint, with the errors that a person can act on.
 *
 * Readers fill tables on the checkpoint's arena; this file builds the maps over them and answers by name.  Numbers are
 * converted only where nothing is lost: an integer key may hold a whole float, a float key an integer.
 */
#include "tensor/checkpoint.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/number.h"

sm_status sm_checkpoint_new(sm_dialect dialect, const char *path, sm_checkpoint **out, sm_err *err) {
    sm_checkpoint *c = sm_alloc(sizeof *c);
    *out = NULL;
    if (c == NULL)
        return SM_NOMEM(err);
    c->dialect = dialect;
    c->arena = sm_arena_new();
    if (c->arena != NULL)
        c->path = sm_arena_strdup(c->arena, path);
    if (c->path == NULL) {
        sm_checkpoint_free(&c);
        return SM_NOMEM(err);
    }
    c->format = "";
    *out = c;
    return SM_OK;
}

void sm_checkpoint_free(sm_checkpoint **cp) {
    sm_checkpoint *c = *cp;
    if (c == NULL)
        return;
    if (c->close != NULL)
        c->close(c->owner);
    sm_map_free(&c->tensor_by_name);
    sm_map_free(&c->meta_by_key);
    sm_arena_free(&c->arena);
    sm_free(c);
    *cp = NULL;
}

sm_status sm_checkpoint_index(sm_checkpoint *c, sm_err *err) {
    bool existed;
    c->tensor_by_name = sm_map_new(c->n_tensors);
    c->meta_by_key = sm_map_new(c->n_meta);
    if (c->tensor_by_name == NULL || c->meta_by_key == NULL)
        return SM_NOMEM(err);
    for (size_t i = 0; i < c->n_tensors; i++) {
        sm_sv name = c->tensors[i].name;
        if (!sm_map_put(c->tensor_by_name, name, (int64_t)i, &existed, NULL))
            return SM_NOMEM(err);
        if (existed)
            return SM_FAIL(err, SM_BADINPUT, "%s: tensor %s: wanted one of that name, found two", c->path,
                           sm_quote(name.p, name.n));
    }
    for (size_t i = 0; i < c->n_meta; i++) {
        sm_sv key = c->meta[i].key;
        if (!sm_map_put(c->meta_by_key, key, (int64_t)i, &existed, NULL))
            return SM_NOMEM(err);
        if (existed)
            return SM_FAIL(err, SM_BADINPUT, "%s: key %s: wanted one of that name, found two", c->path,
                           sm_quote(key.p, key.n));
    }
    return SM_OK;
}

const sm_tensor *sm_checkpoint_tensor(const sm_checkpoint *c, const char *name) {
    int64_t i;
    return sm_map_get(c->tensor_by_name, sm_sv_of(name), &i) ? &c->tensors[i] : NULL;
}

const sm_meta *sm_checkpoint_meta(const sm_checkpoint *c, const char *key) {
    int64_t i;
    return sm_map_get(c->meta_by_key, sm_sv_of(key), &i) ? &c->meta[i] : NULL;
}

/* ---- typed reads ---- */

static sm_status wrong_type(const sm_checkpoint *c, const sm_meta *m, const char *wanted, sm_err *err) {
    static const char *const names[] = {
        [SM_META_BOOL] = "a boolean", [SM_META_INT] = "an integer", [SM_META_FLOAT] = "a float",
        [SM_META_STR] = "a string",   [SM_META_ARRAY] = "an array",
    };
    char value[96] = "";
    if (m->type == SM_META_INT || m->type == SM_META_BOOL)
        snprintf(value, sizeof value, " (%" PRId64 ")", m->u.i);
    else if (m->type == SM_META_FLOAT)
        sm_snprintf(value, sizeof value, " (%g)", m->u.f);
    else if (m->type == SM_META_STR)
        snprintf(value, sizeof value, " (%s)", sm_quote(m->u.s.p, m->u.s.n));
    else
        snprintf(value, sizeof value, " of %" PRIu64 " elements", m->u.a.n);
    return SM_FAIL(err, SM_BADINPUT, "%s: key %s: wanted %s, found %s%s", c->path, sm_quote(m->key.p, m->key.n), wanted,
                   names[m->type], value);
}

sm_status sm_meta_int(const sm_checkpoint *c, const char *key, int64_t def, int64_t *out, sm_err *err) {
    const sm_meta *m = sm_checkpoint_meta(c, key);
    *out = def;
    if (m == NULL)
        return SM_OK;
    if (m->type == SM_META_FLOAT && fabs(m->u.f) < 9e15 && m->u.f == floor(m->u.f))
        *out = (int64_t)m->u.f;
    else if (m->type == SM_META_INT)
        *out = m->u.i;
    else
        return wrong_type(c, m, "an integer", err);
    return SM_OK;
}

sm_status sm_meta_float(const sm_checkpoint *c, const char *key, double def, double *out, sm_err *err) {
    const sm_meta *m = sm_checkpoint_meta(c, key);
    *out = def;
    if (m == NULL)
        return SM_OK;
    if (m->type == SM_META_INT)
        *out = (double)m->u.i;
    else if (m->type == SM_META_FLOAT)
        *out = m->u.f;
    else
        return wrong_type(c, m, "a number", err);
    return SM_OK;
}

sm_status sm_meta_bool(const sm_checkpoint *c, const char *key, bool def, bool *out, sm_err *err) {
    const sm_meta *m = sm_checkpoint_meta(c, key);
    *out = def;
    if (m == NULL)
        return SM_OK;
    if (m->type != SM_META_BOOL)
        return wrong_type(c, m, "a boolean", err);
    *out = m->u.i != 0;
    return SM_OK;
}

sm_status sm_meta_str(const sm_checkpoint *c, const char *key, sm_sv def, sm_sv *out, sm_err *err) {
    const sm_meta *m = sm_checkpoint_meta(c, key);
    *out = def;
    if (m == NULL)
        return SM_OK;
    if (m->type != SM_META_STR)
        return wrong_type(c, m, "a string", err);
    *out = m->u.s;
    return SM_OK;
}

int64_t sm_meta_elem_int(const sm_meta *m, uint64_t i) {
    if (sm_dtype_kind(m->raw) != 'f')
        return sm_code_get(m->raw, m->u.a.data, i);
    double v = sm_elem_get(m->raw, m->u.a.data, i);
    return v > -9e18 && v < 9e18 ? (int64_t)v : 0;
}

double sm_meta_elem_float(const sm_meta *m, uint64_t i) {
    return sm_elem_get(m->raw, m->u.a.data, i);
}
