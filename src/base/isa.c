/* SPDX-License-Identifier: MIT
 *
 * isa.c: which instruction sets this machine runs.
 *
 * Detection happens here and nowhere else.  A build has the sets of its architecture, or plain C only.
 */
#include "base/isa.h"

#include <string.h>

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#include "base/log.h"
#include "base/mem.h"

static const char *const names[SM_ISA_COUNT] = {"c", "avx2", "avx512", "avx512vnni", "neon", "dotprod", "i8mm"};

static const char *const needs[SM_ISA_COUNT] = {
    [SM_ISA_AVX2] = "avx2 fma f16c",     [SM_ISA_AVX512] = "avx512f avx512bw avx512vl avx512dq",
    [SM_ISA_AVX512VNNI] = "avx512_vnni", [SM_ISA_NEON] = "asimd",
    [SM_ISA_DOTPROD] = "asimddp",        [SM_ISA_I8MM] = "i8mm",
};

const char *sm_isa_name(sm_isa isa) {
    return names[isa];
}

bool sm_isa_built(sm_isa isa) {
#if defined(__x86_64__)
    return isa <= SM_ISA_AVX512VNNI;
#elif defined(__aarch64__)
    return isa == SM_ISA_C || isa >= SM_ISA_NEON;
#else
    return isa == SM_ISA_C;
#endif
}

bool sm_isa_of_name(const char *name, sm_isa *out) {
    for (int i = 0; i < SM_ISA_COUNT; i++)
        if (sm_isa_built((sm_isa)i) && strcmp(name, names[i]) == 0) {
            *out = (sm_isa)i;
            return true;
        }
    return false;
}

const char *sm_isa_needs(sm_isa isa) {
    return needs[isa] ? needs[isa] : "";
}

/* What a user can ask of this build. */
#if defined(__x86_64__)
static const char list[] = "c, avx2, avx512 or avx512vnni";
#elif defined(__aarch64__)
static const char list[] = "c, neon, dotprod or i8mm";
#else
static const char list[] = "c";
#endif

sm_status sm_isa_choose(sm_isa *out, sm_err *err) {
    const char *name = sm_knob(SM_KNOB_CPU);
    *out = sm_isa_detect();
    if (*name && !sm_isa_of_name(name, out))
        return SM_FAIL(err, SM_USAGE, "SMELT_CPU: wanted %s, found '%s'", list, name);
    *out = SM_MIN(*out, sm_isa_detect());
    return SM_OK;
}

#if defined(__aarch64__)
/* The kernel's word on what the CPU and the system together allow; where there is no way to ask, the compiler's. */
static sm_isa detect_arm(void) {
    bool dot = false, mm = false;
#if defined(__linux__)
    dot = getauxval(AT_HWCAP) & 1ul << 20; /* HWCAP_ASIMDDP */
    mm = getauxval(AT_HWCAP2) & 1ul << 13; /* HWCAP2_I8MM */
#elif defined(__APPLE__)
    int has = 0;
    size_t size = sizeof has;
    dot = sysctlbyname("hw.optional.arm.FEAT_DotProd", &has, &size, NULL, 0) == 0 && has;
    size = sizeof has;
    mm = sysctlbyname("hw.optional.arm.FEAT_I8MM", &has, &size, NULL, 0) == 0 && has;
#else
#if defined(__ARM_FEATURE_DOTPROD)
    dot = true;
#endif
#if defined(__ARM_FEATURE_MATMUL_INT8)
    mm = true;
#endif
#endif
    return dot && mm ? SM_ISA_I8MM : dot ? SM_ISA_DOTPROD : SM_ISA_NEON;
}
#endif

sm_isa sm_isa_detect(void) {
#if defined(__x86_64__)
    /* GCC has no name for F16C before 11; every CPU with AVX2 and FMA has it. */
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return SM_ISA_C;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq"))
        return SM_ISA_AVX2;
    return __builtin_cpu_supports("avx512vnni") ? SM_ISA_AVX512VNNI : SM_ISA_AVX512;
#elif defined(__aarch64__)
    return detect_arm();
#else
    return SM_ISA_C;
#endif
}
