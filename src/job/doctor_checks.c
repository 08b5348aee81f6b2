/* SPDX-License-Identifier: MIT
 *
 * doctor_checks.c: what is as it should be, and what costs speed or stands in the way.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/number.h"
#include "job/doctor_int.h"

static doc_check *add(sm_doctor_report *d, const char *name, bool warn, const char *fmt, ...) SM_PRINTF(4, 5);
static doc_check *add(sm_doctor_report *d, const char *name, bool warn, const char *fmt, ...) {
    doc_check *c = &d->checks[d->n_checks < DOC_MOST ? d->n_checks++ : DOC_MOST - 1];
    va_list ap;
    *c = (doc_check){.name = name, .warn = warn};
    va_start(ap, fmt);
    sm_vsnprintf(c->says, sizeof c->says, fmt, ap);
    va_end(ap);
    return c;
}

/* What to do about a warning. */
static void advise(doc_check *c, const char *fmt, ...) SM_PRINTF(2, 3);
static void advise(doc_check *c, const char *fmt, ...) {
    va_list ap;
    if (!c->warn)
        return;
    va_start(ap, fmt);
    sm_vsnprintf(c->advice, sizeof c->advice, fmt, ap);
    va_end(ap);
}

static double gb(uint64_t bytes) {
    return (double)bytes / 1e9;
}

static void check_processor(sm_doctor_report *d) {
    const sm_machine *m = &d->m;
    bool less = d->isa != sm_isa_detect();
    doc_check *c = add(d, "kernels", d->isa == SM_ISA_C || less, "%s%s", sm_isa_name(d->isa),
                       d->isa == SM_ISA_C ? ": plain C only"
                       : less             ? ": less than the processor has"
                                          : "");
    advise(c, less ? "unset SMELT_CPU" : "a processor with AVX2, or ARM's 64 bits, is many times faster");
    c = add(d, "processors", m->usable < m->threads, "%d of %d threads may be used", m->usable, m->threads);
    advise(c, "the process is bound to some of them (taskset, a container's cpuset)");
    if (m->cgroup_cpus > 0.0) {
        c = add(d, "container's processors", m->cgroup_cpus < m->usable - 0.01, "time of %.3g processors is allowed",
                m->cgroup_cpus);
        advise(c, "run with -t %d: more threads wait for each other", SM_MAX((int)m->cgroup_cpus, 1));
    }
    if (m->governor[0]) {
        bool slow = strcmp(m->governor, "powersave") == 0 || strcmp(m->governor, "conservative") == 0;
        c = add(d, "clock", slow, "governor %s", m->governor);
        advise(c, "sudo cpupower frequency-set -g performance");
    }
    if (m->numa_nodes > 1) {
        c = add(d, "memory nodes", true, "%d nodes; threads and weights are not kept together", m->numa_nodes);
        advise(c, "numactl --interleave=all smelt ..., or --cpunodebind and --membind of one node for small models");
    }
}

static void check_memory(sm_doctor_report *d) {
    const sm_machine *m = &d->m;
    uint64_t used = m->swap > m->swap_free ? m->swap - m->swap_free : 0;
    doc_check *c = add(d, "memory", m->memory_available > 0 && m->memory_available < m->memory / 10,
                       "%.1f of %.1f GB are available", gb(m->memory_available), gb(m->memory));
    advise(c, "end other programs: what does not fit is read from the disk again and again");
    if (m->swap > 0) {
        c = add(d, "swap", used > m->memory / 20, "%.1f of %.1f GB are used", gb(used), gb(m->swap));
        advise(c, "memory has run out before: weights in swap are read at the disk's speed");
    }
    if (m->cgroup_memory != SM_UNLIMITED) {
        c = add(d, "container's memory", m->cgroup_memory < m->memory, "%.1f GB are allowed, %.1f GB of them used",
                gb(m->cgroup_memory), gb(m->cgroup_used));
        advise(c, "a model that needs more ends with the process being killed: raise the container's limit");
    }
    if (m->transparent_huge[0]) {
        c = add(d, "huge pages", strcmp(m->transparent_huge, "never") == 0, "transparent ones: %s",
                m->transparent_huge);
        advise(c, "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled");
    }
    if (m->memlock == SM_UNLIMITED)
        add(d, "locked memory", false, "no limit");
    else
        add(d, "locked memory", false, "at most %.3g MB; smelt locks none", (double)m->memlock / 1e6);
    if (d->disk_free > 0) {
        uint64_t want = SM_MAX(2 * d->model_bytes, (uint64_t)2000000000);
        c = add(d, "disk", d->disk_free < want, "%.1f GB are free in this folder", gb(d->disk_free));
        advise(c, "a conversion writes about as much as the model has: make room, or go elsewhere");
    }
}

static void check_model(sm_doctor_report *d) {
    const sm_machine *m = &d->m;
    uint64_t all = sm_machine_memory(m), free = m->memory_available > 0 ? m->memory_available : all;
    if (m->cgroup_memory != SM_UNLIMITED && m->cgroup_memory > m->cgroup_used)
        free = SM_MIN(free, m->cgroup_memory - m->cgroup_used);
    if (!d->mem.known) {
        add(d, "model", true, "what it needs is not known: %.200s", d->mem.why);
        return;
    }
    doc_check *c = add(d, "model", d->mem.total > free, "needs %.2f GB at a context of %d; %.2f GB are there",
                       gb(d->mem.total), d->mem.ctx, gb(free));
    if (d->mem.total > all)
        advise(c, "it does not fit this machine: take fewer bits per weight, or a smaller context (-c)");
    else
        advise(c, "it fits when other programs end, or with a smaller context (-c)");
    if (m->gpu_wired > 0) {
        c = add(d, "GPU's memory", d->mem.total > m->gpu_wired, "%.1f GB may be held by the GPU%s", gb(m->gpu_wired),
                m->gpu_wired_default ? " (the system's rule)" : "");
        advise(c, "sudo sysctl iogpu.wired_limit_mb=%.0f (until the next start)", (double)d->mem.total / 1048576 * 1.1);
    }
}

void doc_judge(sm_doctor_report *d) {
    check_processor(d);
    check_memory(d);
    if (d->has_model)
        check_model(d);
}
