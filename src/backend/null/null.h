/* SPDX-License-Identifier: MIT
 *
 * null.h: the backend that knows shapes only: for tests of logic and for planning (backend.h for the interface).
 */
#ifndef SM_NULL_H
#define SM_NULL_H

#include "backend/backend.h"

extern const sm_backend sm_backend_null;

#endif
