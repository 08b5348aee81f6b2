/* SPDX-License-Identifier: MIT
 *
 * loops_avx2.c: loops.inc with this set's compile flags.
 */
#define LOOPS_INIT sm_loops_init_avx2
#define LOOPS_ISA "avx2"
#include "backend/cpu/loops.inc"
