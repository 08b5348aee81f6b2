/* SPDX-License-Identifier: MIT
 *
 * loops_avx512.c: loops.inc with this set's compile flags.
 */
#define LOOPS_INIT sm_loops_init_avx512
#define LOOPS_ISA "avx512"
#include "backend/cpu/loops.inc"
