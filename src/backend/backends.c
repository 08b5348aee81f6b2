/* SPDX-License-Identifier: MIT
 *
 * backends.c: the registry of backends.
 */
#include "backend/backend.h"

#include <string.h>

#include "backend/cpu/cpu.h"
#include "backend/null/null.h"
#include "backend/ref/ref.h"
#include "base/str.h"

/* Fastest first; `null` computes nothing and is only taken by name. */
static const sm_backend *const registry[] = {&sm_backend_cpu, &sm_backend_ref, &sm_backend_null};

const sm_backend *const *sm_backends(int *n) {
    *n = (int)SM_ARRAY_LEN(registry);
    return registry;
}

static bool runs_kind(const sm_backend *b, const sm_func *f) {
    return sm_func_is_rows(f) ? b->rows : b->as_written;
}

static sm_status pick_fastest(const sm_func *f, const sm_backend **out, sm_err *err) {
    char why[256];
    for (size_t i = 0; i < SM_ARRAY_LEN(registry); i++) {
        const sm_backend *b = registry[i];
        if (b != &sm_backend_null && runs_kind(b, f) && b->available(why, sizeof why)) {
            *out = b;
            return SM_OK;
        }
    }
    return SM_FAIL(err, SM_UNSUPPORTED, "no backend runs function '%s'", f->name);
}

void sm_step_times_free(sm_step_times *t) {
    sm_free(t->ops);
    sm_free(t->bytes);
    sm_free(t->start);
    sm_free(t->end);
    *t = (sm_step_times){0};
}

sm_status sm_backend_pick(const char *name, const sm_func *f, const sm_backend **out, sm_err *err) {
    *out = NULL;
    if (name == NULL || strcmp(name, "auto") == 0)
        return pick_fastest(f, out, err);
    char why[256] = "";
    for (size_t i = 0; i < SM_ARRAY_LEN(registry); i++) {
        const sm_backend *b = registry[i];
        if (strcmp(b->name, name) != 0)
            continue;
        if (!b->available(why, sizeof why))
            return SM_FAIL(err, SM_UNSUPPORTED, "backend '%s' is not available: %s", name, why);
        if (!runs_kind(b, f))
            return SM_FAIL(err, SM_UNSUPPORTED, "backend '%s' does not run %s (function '%s')", name,
                           sm_func_is_rows(f) ? "models" : "programs as written", f->name);
        *out = b;
        return SM_OK;
    }
    sm_str names = SM_STR_INIT;
    for (size_t i = 0; i < SM_ARRAY_LEN(registry); i++)
        sm_str_addf(&names, ", %s", registry[i]->name);
    sm_status st =
        SM_FAIL(err, SM_UNSUPPORTED, "no backend %s: there are auto%s", sm_quote(name, strlen(name)), sm_str_z(&names));
    sm_str_free(&names);
    sm_err_hint(err, "--backend auto takes the fastest that can");
    return st;
}
