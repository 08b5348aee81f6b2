/* SPDX-License-Identifier: MIT
 *
 * pkg_hints.h: what a package says of inputs that depend on positions (metadata smelt.turns and smelt.masks,
 * docs/formats.md), for raising its functions.
 */
#ifndef SM_PKG_HINTS_H
#define SM_PKG_HINTS_H

#include "format/mlpackage.h"
#include "pass/pass.h"

/* The two texts that convert puts into a package whose functions were lowered with these notes; "" for nothing to say.  In
 * the arena. */
sm_status sm_pkg_hints_text(const sm_lowered *n, sm_arena *a, const char **turns, const char **masks, sm_err *err);
/* Lives in the package's graph.  Metadata that is no such list is SM_BADINPUT, naming the key. */
sm_status sm_pkg_hints(const sm_package *pkg, sm_raise_hints *out, sm_err *err);

#endif
