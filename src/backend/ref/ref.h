/* SPDX-License-Identifier: MIT
 *
 * ref.h: the backend that defines what every op computes: plain, complete, slow (backend.h for the interface).
 */
#ifndef SM_REF_H
#define SM_REF_H

#include "backend/backend.h"

extern const sm_backend sm_backend_ref;

#endif
