/* SPDX-License-Identifier: MIT
 *
 * isa.h: the instruction sets that loops are written for, and which of them this machine runs.
 *
 * Rooms with such loops lay plain C into a table, then each set up to the one chosen here, in rising order: avx2 (with
 * FMA and F16C), avx512 (F, BW, VL, DQ), avx512vnni; on ARM neon (all of 64-bit ARM), dotprod, i8mm.  Threads: any.
 */
#ifndef SM_ISA_H
#define SM_ISA_H

#include <stdbool.h>

#include "base/err.h"

/* Of one architecture, each holds those before it. */
typedef enum sm_isa {
    SM_ISA_C,
    SM_ISA_AVX2,
    SM_ISA_AVX512,
    SM_ISA_AVX512VNNI,
    SM_ISA_NEON,
    SM_ISA_DOTPROD,
    SM_ISA_I8MM,
    SM_ISA_COUNT
} sm_isa;
const char *sm_isa_name(sm_isa isa);
bool sm_isa_built(sm_isa isa);                      /* this build has it */
bool sm_isa_of_name(const char *name, sm_isa *out); /* false: unknown, or of another architecture */
sm_isa sm_isa_detect(void);                         /* highest this machine and this build have */
/* Features that a set takes, as /proc/cpuinfo names them; "" when nothing is asked. */
const char *sm_isa_needs(sm_isa isa);
/* The highest set to use: what is there, or less by SMELT_CPU.  SM_USAGE for a name that is no set of this build. */
sm_status sm_isa_choose(sm_isa *out, sm_err *err);

#endif
