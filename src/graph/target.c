/* SPDX-License-Identifier: MIT
 *
 * target.c: specification versions, the systems that brought them, and what they hold.
 *
 * Two tables: targets here, features in features.def.  Ops and their parameters are gated by graph/ops.def, in the writer.
 */
#include "graph/target.h"

#include <strings.h>

static const sm_target targets[] = {
    {"iOS15", "macOS12", 6}, {"iOS16", "macOS13", 7},  {"iOS17", "macOS14", 8},
    {"iOS18", "macOS15", 9}, {"iOS26", "macOS26", 10},
};

static const struct {
    int spec;
    const char *doc;
} features[] = {
#define FEATURE(id, spec, doc) {spec, doc},
#include "graph/features.def"
};

const sm_target *sm_targets(int *n) {
    *n = (int)SM_ARRAY_LEN(targets);
    return targets;
}

const sm_target *sm_target_find(const char *name) {
    for (size_t i = 0; i < SM_ARRAY_LEN(targets); i++)
        if (strcasecmp(name, targets[i].ios) == 0 || strcasecmp(name, targets[i].macos) == 0)
            return &targets[i];
    return NULL;
}

const sm_target *sm_target_of(int spec) {
    for (size_t i = 0; i < SM_ARRAY_LEN(targets); i++)
        if (targets[i].spec == spec)
            return &targets[i];
    return NULL;
}

bool sm_target_has(int spec, sm_feature f) {
    return spec >= features[f].spec;
}

sm_status sm_target_want(int spec, sm_feature f, const char *what, sm_err *err) {
    if (sm_target_has(spec, f))
        return SM_OK;
    const sm_target *have = sm_target_of(spec), *need = sm_target_of(features[f].spec);
    SM_FAIL(err, SM_UNSUPPORTED, "%s: %s came with %s (%s), the target is %s", what, features[f].doc, need->ios,
            need->macos, have != NULL ? have->ios : "?");
    return sm_err_hint(err, "use --target %s or later", need->ios);
}
