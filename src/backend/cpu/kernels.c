/* SPDX-License-Identifier: MIT
 *
 * kernels.c: which kernels this machine runs: sets of instructions (base/isa.h), lowest first.
 */
#include "backend/cpu/kernels.h"

#include <string.h>

void sm_kernels_init(sm_kernels *k, sm_isa cap) {
    sm_isa has = sm_isa_detect(), isa = cap < has ? cap : has;
    isa = sm_isa_built(isa) ? isa : SM_ISA_C;
    memset(k, 0, sizeof *k);
    sm_qgemm_init_c(k);
    sm_dense_init_c(k);
    sm_rowops_init_c(k);
    sm_attn_init_c(k);
#if defined(__x86_64__)
    if (isa >= SM_ISA_AVX2) {
        sm_qgemm_init_avx2(k);
        sm_dense_init_avx2(k);
        sm_rowops_init_avx2(k);
        sm_attn_init_avx2(k);
    }
    if (isa >= SM_ISA_AVX512) {
        sm_qgemm_init_avx512(k);
        sm_dense_init_avx512(k);
        sm_rowops_init_avx512(k);
        sm_attn_init_avx512(k);
    }
    if (isa >= SM_ISA_AVX512VNNI)
        sm_qgemm_init_avx512vnni(k);
#elif defined(__aarch64__)
    if (isa >= SM_ISA_NEON) {
        sm_qgemm_init_neon(k);
        sm_dense_init_neon(k);
        sm_rowops_init_neon(k);
        sm_attn_init_neon(k);
    }
    if (isa >= SM_ISA_DOTPROD)
        sm_qgemm_init_dotprod(k);
    if (isa >= SM_ISA_I8MM)
        sm_qgemm_init_i8mm(k);
#endif
    k->isa = sm_isa_name(isa);
}
