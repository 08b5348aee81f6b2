/* SPDX-License-Identifier: MIT
 *
 * machine.h: facts about the machine that this runs on.
 *
 * The readers take the text that an operating system gives (/proc, /sys, sysctl), so that any machine's can be tested
 * anywhere.  sm_machine_read gathers them here; what a system does not say stays 0 or empty.
 * Threads: any.  A sm_machine is a plain value.
 */
#ifndef SM_MACHINE_H
#define SM_MACHINE_H

#include "base/mem.h"

#define SM_UNLIMITED UINT64_MAX

typedef struct sm_cache {
    int level;
    char kind;      /* 'd' data, 'i' instructions, 'u' both */
    uint64_t bytes; /* of one instance */
    int shared_by;  /* threads that share an instance; 0: unknown */
} sm_cache;

typedef struct sm_machine {
    char os[96], arch[32]; /* "Linux 6.1.0", "x86_64" */
    char cpu[128];         /* "AMD EPYC 9B14", "Apple M2 Pro" */
    char vendor[48];
    char features[6144]; /* as the system spells them, with spaces between */
    bool is_virtual;     /* runs under a hypervisor that says so */
    int sockets, cores, threads;
    int usable;           /* threads that this process may use */
    int p_cores, e_cores; /* of a hybrid processor; both 0 on others */
    int numa_nodes;
    sm_cache cache[8];
    int n_caches;
    uint64_t memory, memory_available, swap, swap_free;
    uint64_t page_bytes, huge_pages, huge_page_bytes;
    char transparent_huge[16]; /* "always", "madvise", "never" */
    char governor[32];         /* of cpu 0's clock */
    uint64_t memlock;          /* bytes that may be locked; SM_UNLIMITED */
    uint64_t cgroup_memory;    /* least limit of the process's groups; SM_UNLIMITED */
    uint64_t cgroup_used;
    double cgroup_cpus; /* processors' time that the groups may use; 0: no limit */
    /* Macs: memory that the GPU may hold; `gpu_wired_default` when it is the system's rule and nobody's setting. */
    uint64_t gpu_wired;
    bool gpu_wired_default;
} sm_machine;

/* root: "" for this machine, or a folder that stands for / (tests). */
void sm_machine_read(const char *root, sm_machine *m);

/* A feature by its whole name. */
bool sm_machine_has(const sm_machine *m, const char *feature);
/* Bytes of the last cache level, all instances together; 0: unknown. */
uint64_t sm_machine_last_cache(const sm_machine *m);
/* Memory that this process may have: the machine's, or the containers' limit when that is less. */
uint64_t sm_machine_memory(const sm_machine *m);

/* ---- readers of texts; each fills what its text says ---- */
void sm_machine_cpuinfo(sm_sv text, sm_machine *m); /* /proc/cpuinfo of x86 and ARM */
void sm_machine_meminfo(sm_sv text, sm_machine *m); /* /proc/meminfo */
/* Lines "key: value", as sysctl prints them.  Names wanted of a Mac are in sm_sysctl_names. */
void sm_machine_sysctl(sm_sv text, sm_machine *m);
extern const char *const sm_sysctl_names[];
extern const int sm_n_sysctl_names;
/* Group of the process in /proc/self/cgroup: of controller "memory" or "cpu" (version 1), or NULL (version 2). */
bool sm_machine_cgroup_path(sm_sv text, const char *controller, char *out, size_t cap);
uint64_t sm_machine_limit(sm_sv text);                     /* "max", "-1" and version 1's huge numbers: SM_UNLIMITED */
double sm_machine_cpu_max(sm_sv text);                     /* "200000 100000": 2; "max 100000": 0 */
int sm_machine_list_count(sm_sv text);                     /* "0-3,8": 5 */
uint64_t sm_machine_size(sm_sv text);                      /* "32768K", "512M", "2048.00M", "96": bytes */
void sm_machine_choice(sm_sv text, char *out, size_t cap); /* "always [madvise] never": "madvise" */

#endif
