/* SPDX-License-Identifier: MIT
 *
 * loops_c.c: loops.inc for the machine that the compiler aims at, and the choice among the sets.
 */
#define LOOPS_INIT sm_loops_init_c
#define LOOPS_ISA "c"
#include "backend/cpu/loops.inc"

void sm_loops_init(sm_loops *l, sm_isa cap) {
    sm_isa has = sm_isa_detect(), isa = cap < has ? cap : has;
    sm_loops_init_c(l);
#if defined(__x86_64__)
    if (isa >= SM_ISA_AVX512 && isa <= SM_ISA_AVX512VNNI)
        sm_loops_init_avx512(l);
    else if (isa >= SM_ISA_AVX2 && isa <= SM_ISA_AVX512VNNI)
        sm_loops_init_avx2(l);
#else
    (void)isa;
#endif
}
