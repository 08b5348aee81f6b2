/* SPDX-License-Identifier: MIT
 *
 * cpu.h: the fast backend for processors.
 *
 * Runs row-form functions: compile() packs the weights (qpack.h), turns the row graph into a flat list of steps
 * (plan.h) over one planned arena, and run_rows() walks it with every thread of a pool, meeting at a barrier wherever a
 * step needs what another thread made.  Kernels are picked once, by what the machine has (kernels.h).
 *
 * Programs as written run as `ref` runs them, with fast kernels where time goes (written.h).
 *
 * Results do not depend on the number of threads, nor on what else is in the batch: a row's arithmetic is the same,
 * bit for bit, alone or among others.
 */
#ifndef SM_CPU_H
#define SM_CPU_H

#include "backend/backend.h"

extern const sm_backend sm_backend_cpu;

#endif
