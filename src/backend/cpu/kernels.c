/* SPDX-License-Identifier: MIT
 *
 * kernels.c: which kernels this machine runs.
 *
 * Detection happens here and nowhere else.  A build for another architecture has the plain C only.
 */
#include "backend/cpu/kernels.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"

static const char *const names[SM_ISA_COUNT] = {"c", "avx2", "avx512", "avx512vnni"};

static const char *const needs[SM_ISA_COUNT] = {
    [SM_ISA_AVX2] = "avx2 fma f16c",
    [SM_ISA_AVX512] = "avx512f avx512bw avx512vl avx512dq",
    [SM_ISA_AVX512VNNI] = "avx512_vnni",
};

const char *sm_isa_name(sm_isa isa) {
    return names[isa];
}

bool sm_isa_of_name(const char *name, sm_isa *out) {
    for (int i = 0; i < SM_ISA_COUNT; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (sm_isa)i;
            return true;
        }
    return false;
}

const char *sm_isa_needs(sm_isa isa) {
    return needs[isa] ? needs[isa] : "";
}

sm_status sm_isa_choose(sm_isa *out, sm_err *err) {
    const char *name = sm_knob(SM_KNOB_CPU);
    *out = sm_isa_detect();
    if (*name && !sm_isa_of_name(name, out))
        return SM_FAIL(err, SM_USAGE, "SMELT_CPU: wanted c, avx2, avx512 or avx512vnni, found '%s'", name);
    *out = SM_MIN(*out, sm_isa_detect());
    return SM_OK;
}

sm_isa sm_isa_detect(void) {
#if defined(__x86_64__)
    /* GCC has no name for F16C before 11; every CPU with AVX2 and FMA has it. */
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return SM_ISA_C;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq"))
        return SM_ISA_AVX2;
    return __builtin_cpu_supports("avx512vnni") ? SM_ISA_AVX512VNNI : SM_ISA_AVX512;
#else
    return SM_ISA_C;
#endif
}

void sm_kernels_init(sm_kernels *k, sm_isa cap) {
    sm_isa has = sm_isa_detect(), isa = cap < has ? cap : has;
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
#endif
    k->isa = names[isa];
}
