/* SPDX-License-Identifier: MIT
 *
 * target.h: specification versions, the systems that brought them, and what they hold.  Ops and their parameters say it
 * themselves (ops.def); everything else is a row of features.def.
 */
#ifndef SM_TARGET_H
#define SM_TARGET_H

#include "base/err.h"
#include "base/mem.h"

typedef struct sm_target {
    const char *ios, *macos; /* first systems: "iOS18", "macOS15" */
    int spec;                /* specification version; opset CoreML<spec - 1> */
} sm_target;
/* By either name, in any case ("ios18", "macOS15"); NULL when unknown. */
const sm_target *sm_target_find(const char *name);
const sm_target *sm_target_of(int spec);
const sm_target *sm_targets(int *n);

/* What a specification version may lack (features.def). */
typedef enum sm_feature {
#define FEATURE(id, spec, doc) SM_FEATURE_##id,
#include "graph/features.def"
    SM_FEATURE_COUNT_
} sm_feature;
bool sm_target_has(int spec, sm_feature f);
/* SM_OK, or SM_UNSUPPORTED: "WHAT: FEATURE came with iOS18 (macOS15), the target is iOS17", the hint naming the lowest target. */
sm_status sm_target_want(int spec, sm_feature f, const char *what, sm_err *err);

#endif
