/* SPDX-License-Identifier: MIT
 *
 * machine.c: asks this machine about itself: /proc and /sys on Linux, sysctl on macOS.
 *
 * Limits of a container are those of its control groups: each group from the process's own up to the root may have one,
 * and the least holds.  Inside a container the path that /proc names may not be there; the root always is.
 */
#include "base/machine.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/files.h"
#include "base/threads.h"

#if defined(__APPLE__)
#include <mach/mach.h>
#include <sys/sysctl.h>
#endif

enum { TEXT_LIMIT = 16 << 20 };

/* A file below root, whole; false (and empty) when it is not there. */
static bool read_text(const char *root, const char *path, sm_str *out) {
    char full[1024];
    sm_str_clear(out);
    if ((size_t)snprintf(full, sizeof full, "%s%s", root, path) >= sizeof full)
        return false;
    return sm_file_read(full, TEXT_LIMIT, out, NULL) == SM_OK && out->n > 0;
}

static sm_sv view(const sm_str *s) {
    return (sm_sv){sm_str_z(s), s->n};
}

/* ------------------------------------------------------------------ Linux */
static void read_caches(const char *root, sm_machine *m, sm_str *t) {
    char path[128];
    for (int i = 0; i < (int)SM_ARRAY_LEN(m->cache); i++) {
        sm_cache c = {0};
#define CACHE_FILE(name) (snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/" name, i), path)
        if (!read_text(root, CACHE_FILE("level"), t))
            break;
        c.level = sm_str_z(t)[0] - '0';
        if (read_text(root, CACHE_FILE("type"), t))
            c.kind = sm_str_z(t)[0] == 'D' ? 'd' : sm_str_z(t)[0] == 'I' ? 'i' : 'u';
        if (read_text(root, CACHE_FILE("size"), t))
            c.bytes = sm_machine_size(view(t));
        if (read_text(root, CACHE_FILE("shared_cpu_list"), t))
            c.shared_by = sm_machine_list_count(view(t));
#undef CACHE_FILE
        if (c.bytes > 0)
            m->cache[m->n_caches++] = c;
    }
}

/* Calls take for `group` and every group above it, as folders below `mount`. */
static void each_group(const char *root, const char *mount, char *group, sm_machine *m, sm_str *t,
                       void (*take)(const char *root, const char *dir, sm_machine *m, sm_str *t)) {
    char dir[768];
    for (;;) {
        size_t n = strlen(group);
        while (n > 0 && group[n - 1] == '/')
            group[--n] = '\0';
        snprintf(dir, sizeof dir, "%s%s", mount, group);
        take(root, dir, m, t);
        char *slash = strrchr(group, '/');
        if (!slash)
            return;
        *slash = '\0';
    }
}

static bool read_in(const char *root, const char *dir, const char *name, sm_str *t) {
    char path[896];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return read_text(root, path, t);
}

/* The group with the least limit also says what is used of it. */
static void take_memory(const char *root, const char *dir, const char *limit, const char *used, sm_machine *m,
                        sm_str *t) {
    if (!read_in(root, dir, limit, t))
        return;
    uint64_t v = sm_machine_limit(view(t));
    if (v == SM_UNLIMITED || v >= m->cgroup_memory)
        return;
    m->cgroup_memory = v;
    m->cgroup_used = read_in(root, dir, used, t) ? sm_machine_limit(view(t)) : 0;
}

static void take_cpus(double cpus, sm_machine *m) {
    if (cpus > 0.0 && (m->cgroup_cpus <= 0.0 || cpus < m->cgroup_cpus))
        m->cgroup_cpus = cpus;
}

static void take_v2(const char *root, const char *dir, sm_machine *m, sm_str *t) {
    take_memory(root, dir, "memory.max", "memory.current", m, t);
    if (read_in(root, dir, "cpu.max", t))
        take_cpus(sm_machine_cpu_max(view(t)), m);
}

static void take_v1_memory(const char *root, const char *dir, sm_machine *m, sm_str *t) {
    take_memory(root, dir, "memory.limit_in_bytes", "memory.usage_in_bytes", m, t);
}

static void take_v1_cpu(const char *root, const char *dir, sm_machine *m, sm_str *t) {
    char both[96];
    if (!read_in(root, dir, "cpu.cfs_quota_us", t))
        return;
    int n = snprintf(both, sizeof both, "%.*s ", (int)strcspn(sm_str_z(t), "\n"), sm_str_z(t));
    if (read_in(root, dir, "cpu.cfs_period_us", t) && n > 0 && (size_t)n < sizeof both) {
        snprintf(both + n, sizeof both - (size_t)n, "%s", sm_str_z(t));
        take_cpus(sm_machine_cpu_max(sm_sv_of(both)), m);
    }
}

static void read_cgroups(const char *root, sm_machine *m, sm_str *t) {
    char group[512];
    sm_str groups = SM_STR_INIT;
    m->cgroup_memory = SM_UNLIMITED;
    if (read_text(root, "/proc/self/cgroup", &groups)) {
        if (sm_machine_cgroup_path(view(&groups), NULL, group, sizeof group))
            each_group(root, "/sys/fs/cgroup", group, m, t, take_v2);
        if (sm_machine_cgroup_path(view(&groups), "memory", group, sizeof group))
            each_group(root, "/sys/fs/cgroup/memory", group, m, t, take_v1_memory);
        if (sm_machine_cgroup_path(view(&groups), "cpu", group, sizeof group))
            each_group(root, "/sys/fs/cgroup/cpu", group, m, t, take_v1_cpu);
    }
    sm_str_free(&groups);
}

static void read_linux(const char *root, sm_machine *m) {
    sm_str t = SM_STR_INIT;
    if (read_text(root, "/proc/cpuinfo", &t))
        sm_machine_cpuinfo(view(&t), m);
    if (read_text(root, "/proc/meminfo", &t))
        sm_machine_meminfo(view(&t), m);
    read_caches(root, m, &t);
    if (read_text(root, "/sys/devices/system/node/online", &t))
        m->numa_nodes = sm_machine_list_count(view(&t));
    if (read_text(root, "/sys/kernel/mm/transparent_hugepage/enabled", &t))
        sm_machine_choice(view(&t), m->transparent_huge, sizeof m->transparent_huge);
    if (read_text(root, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", &t))
        sm_machine_choice(view(&t), m->governor, sizeof m->governor);
    read_cgroups(root, m, &t);
    sm_str_free(&t);
}

/* ------------------------------------------------------------------ macOS */
#if defined(__APPLE__)
/* The values of sm_sysctl_names as `sysctl` would print them. */
static void print_sysctls(sm_str *out) {
    for (int i = 0; i < sm_n_sysctl_names; i++) {
        union {
            char text[1024];
            int32_t i32;
            int64_t i64;
            struct xsw_usage swap;
        } v;
        const char *name = sm_sysctl_names[i];
        size_t n = sizeof v - 1;
        memset(&v, 0, sizeof v);
        if (sysctlbyname(name, &v, &n, NULL, 0) != 0)
            continue;
        if (strcmp(name, "vm.swapusage") == 0)
            sm_str_addf(out, "%s: total = %.2fM  used = %.2fM  free = %.2fM\n", name,
                        (double)v.swap.xsu_total / 1048576.0, (double)v.swap.xsu_used / 1048576.0,
                        (double)v.swap.xsu_avail / 1048576.0);
        else if (strncmp(name, "machdep.cpu.", 12) == 0 || strcmp(name, "hw.model") == 0 ||
                 strcmp(name, "kern.osproductversion") == 0)
            sm_str_addf(out, "%s: %s\n", name, v.text);
        else
            sm_str_addf(out, "%s: %lld\n", name, n == 4 ? (long long)v.i32 : (long long)v.i64);
    }
}

static void read_macos(sm_machine *m) {
    sm_str t = SM_STR_INIT;
    vm_statistics64_data_t vm;
    mach_msg_type_number_t n = HOST_VM_INFO64_COUNT;
    print_sysctls(&t);
    sm_machine_sysctl(view(&t), m);
    sm_str_free(&t);
    m->cgroup_memory = SM_UNLIMITED;
    if (host_statistics64(mach_host_self(), HOST_VM_INFO64, (host_info64_t)&vm, &n) == KERN_SUCCESS)
        m->memory_available = ((uint64_t)vm.free_count + vm.inactive_count + vm.purgeable_count) * m->page_bytes;
}
#endif

void sm_machine_read(const char *root, sm_machine *m) {
    struct utsname u;
    struct rlimit lock;
    memset(m, 0, sizeof *m);
    if (uname(&u) == 0) {
        snprintf(m->os, sizeof m->os, "%.40s %.48s", u.sysname, u.release);
        snprintf(m->arch, sizeof m->arch, "%.31s", u.machine);
    }
    m->page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    if (getrlimit(RLIMIT_MEMLOCK, &lock) == 0)
        m->memlock = lock.rlim_cur == RLIM_INFINITY ? SM_UNLIMITED : (uint64_t)lock.rlim_cur;
#if defined(__APPLE__)
    if (!*root)
        read_macos(m);
    else
#endif
        read_linux(root, m);
    m->usable = sm_cpu_count();
    if (m->threads == 0)
        m->threads = m->usable;
    if (m->cores == 0)
        m->cores = m->threads;
}
