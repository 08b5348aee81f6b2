/* SPDX-License-Identifier: MIT
 *
 * usage.c: clock, and memory use as the OS counts it.
 *
 * Anonymous memory is the figure that says what smelt itself costs: mapped weights can be taken back at any time, and
 * count as resident only because nobody else wanted the pages.  Linux: VmHWM and RssAnon of /proc/self/status.
 * macOS: the largest resident size, and the physical footprint.
 *
 * Threads: any.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/log.h"

#if defined(__APPLE__)
#include <mach/mach.h>
#endif

static _Atomic uint64_t peak_anon;

int64_t sm_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t sm_now_us(void) {
    return sm_now_ns() / 1000;
}

#if defined(__linux__)
/* A "Name:  123 kB" row of /proc/self/status in bytes; 0 when there is none. */
static uint64_t status_bytes(const char *name) {
    FILE *f = fopen("/proc/self/status", "re");
    char line[256];
    unsigned long long kb = 0;
    size_t n = strlen(name);
    if (!f)
        return 0;
    while (fgets(line, sizeof line, f))
        if (strncmp(line, name, n) == 0 && line[n] == ':') {
            if (sscanf(line + n + 1, "%llu", &kb) != 1)
                kb = 0;
            break;
        }
    fclose(f);
    return kb * 1024;
}
#endif

uint64_t sm_peak_rss_bytes(void) {
#if defined(__linux__)
    /* getrusage would count what the process was before exec, too. */
    uint64_t peak = status_bytes("VmHWM");
    if (peak)
        return peak;
#endif
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u) != 0)
        return 0;
#if defined(__APPLE__)
    return (uint64_t)u.ru_maxrss;
#else
    return (uint64_t)u.ru_maxrss * 1024;
#endif
}

uint64_t sm_anon_rss_bytes(void) {
#if defined(__linux__)
    return status_bytes("RssAnon");
#elif defined(__APPLE__)
    task_vm_info_data_t info;
    mach_msg_type_number_t count = TASK_VM_INFO_COUNT;
    if (task_info(mach_task_self(), TASK_VM_INFO, (task_info_t)&info, &count) != KERN_SUCCESS)
        return 0;
    return info.phys_footprint;
#else
    return 0;
#endif
}

uint64_t sm_peak_anon_bytes(void) {
    return atomic_load(&peak_anon);
}

void sm_mem_sample(void) {
    uint64_t now = sm_anon_rss_bytes(), seen = atomic_load(&peak_anon);
    while (now > seen && !atomic_compare_exchange_weak(&peak_anon, &seen, now))
        continue;
}
