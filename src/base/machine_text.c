/* SPDX-License-Identifier: MIT
 *
 * machine_text.c: what operating systems write about a machine, read.
 *
 * /proc/cpuinfo has a paragraph a thread.  On x86 a core is known by its "physical id" and "core id"; where some cores
 * have two threads and others one, the former are a hybrid processor's fast ones.  On ARM a core's maker and part number
 * stand for its name, and two part numbers for two kinds of cores.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "base/number.h"

/* ------------------------------------------------------------------ small readers */
static sm_sv trimmed(sm_sv s) {
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s.p++, s.n--;
    while (s.n > 0 && strchr(" \t\r\n", s.p[s.n - 1]))
        s.n--;
    return s;
}

static void copy(char *out, size_t cap, sm_sv s) {
    snprintf(out, cap, "%.*s", (int)SM_MIN(s.n, cap - 1), s.p);
}

/* The next line; false at the end.  key and value are its parts round the first ':', value empty without one. */
static bool next_line(sm_sv *text, sm_sv *key, sm_sv *value) {
    if (text->n == 0)
        return false;
    const char *end = memchr(text->p, '\n', text->n);
    sm_sv line = {text->p, end ? (size_t)(end - text->p) : text->n};
    size_t step = line.n + (end != NULL);
    text->p += step;
    text->n -= step;
    const char *colon = line.n ? memchr(line.p, ':', line.n) : NULL;
    *key = trimmed((sm_sv){line.p, colon ? (size_t)(colon - line.p) : line.n});
    *value = colon ? trimmed((sm_sv){colon + 1, line.n - (size_t)(colon + 1 - line.p)}) : (sm_sv){line.p, 0};
    return true;
}

/* A number at the start of s: "0x41", "16 kB". */
static uint64_t number(sm_sv s) {
    char text[48];
    copy(text, sizeof text, s);
    return strtoull(text, NULL, 0);
}

uint64_t sm_machine_size(sm_sv text) {
    char copied[48], *end;
    copy(copied, sizeof copied, trimmed(text));
    double v = sm_strtod(copied, &end);
    while (*end == ' ')
        end++;
    double unit = *end == 'K' || *end == 'k' ? 1024.0 : *end == 'M' ? 1048576.0 : *end == 'G' ? 1073741824.0 : 1.0;
    return v > 0.0 && v * unit < 1.8e19 ? (uint64_t)(v * unit) : 0;
}

uint64_t sm_machine_limit(sm_sv text) {
    text = trimmed(text);
    if (text.n == 0 || text.p[0] < '0' || text.p[0] > '9')
        return SM_UNLIMITED;
    uint64_t v = number(text);
    return v >= (uint64_t)1 << 60 ? SM_UNLIMITED : v;
}

double sm_machine_cpu_max(sm_sv text) {
    char copied[64], *rest, *end;
    copy(copied, sizeof copied, trimmed(text));
    double quota = sm_strtod(copied, &rest), period = sm_strtod(rest, &end);
    return quota > 0.0 && period > 0.0 ? quota / period : 0.0; /* "max" is no number */
}

int sm_machine_list_count(sm_sv text) {
    char copied[1024];
    int n = 0;
    copy(copied, sizeof copied, trimmed(text));
    for (char *p = copied; *p >= '0' && *p <= '9';) {
        long from = strtol(p, &p, 10), to = from;
        if (*p == '-')
            to = strtol(p + 1, &p, 10);
        if (to < from || to - from > 1 << 20)
            return 0;
        n += (int)(to - from) + 1;
        p += *p == ',';
    }
    return n;
}

void sm_machine_choice(sm_sv text, char *out, size_t cap) {
    const char *from = text.n ? memchr(text.p, '[', text.n) : NULL;
    const char *to = from ? memchr(from, ']', text.n - (size_t)(from - text.p)) : NULL;
    copy(out, cap, to ? (sm_sv){from + 1, (size_t)(to - from - 1)} : trimmed(text));
}

/* ------------------------------------------------------------------ /proc/cpuinfo */
enum { CORES_MAX = 4096 };

/* What the paragraphs say, while they are read. */
typedef struct paragraphs {
    int threads;
    uint64_t socket, core; /* of the paragraph */
    bool has_core;
    uint64_t maker, part;
    uint64_t seen[CORES_MAX]; /* socket << 32 | core */
    int seen_threads[CORES_MAX];
    int n_seen;
    uint64_t sockets[64];
    int n_sockets;
    uint64_t parts[8]; /* ARM: maker << 16 | part */
    int part_threads[8];
    int n_parts;
} paragraphs;

static void note(uint64_t *list, int *counts, int *n, int cap, uint64_t v) {
    int i = 0;
    while (i < *n && list[i] != v)
        i++;
    if (i == *n && *n < cap) {
        list[(*n)++] = v;
        if (counts)
            counts[i] = 0;
    }
    if (i < *n && counts)
        counts[i]++;
}

static void end_paragraph(paragraphs *p) {
    if (p->has_core) {
        note(p->seen, p->seen_threads, &p->n_seen, CORES_MAX, p->socket << 32 | p->core);
        note(p->sockets, NULL, &p->n_sockets, 64, p->socket);
    }
    if (p->maker)
        note(p->parts, p->part_threads, &p->n_parts, 8, p->maker << 16 | p->part);
    p->has_core = false;
    p->maker = p->part = p->socket = p->core = 0;
}

/* ARM's part numbers: makers' manuals, and Linux's cputype.h. */
static const struct arm_part {
    uint64_t id; /* maker << 16 | part */
    const char *name;
    bool small; /* the frugal kind in a processor of two */
} arm_parts[] = {
    {0x410d03, "ARM Cortex-A53", true},   {0x410d05, "ARM Cortex-A55", true},
    {0x410d08, "ARM Cortex-A72", false},  {0x410d0b, "ARM Cortex-A76", false},
    {0x410d0c, "ARM Neoverse N1", false}, {0x410d40, "ARM Neoverse V1", false},
    {0x410d41, "ARM Cortex-A78", false},  {0x410d44, "ARM Cortex-X1", false},
    {0x410d46, "ARM Cortex-A510", true},  {0x410d49, "ARM Neoverse N2", false},
    {0x410d4f, "ARM Neoverse V2", false}, {0x410d84, "ARM Neoverse V3", false},
    {0x410d8e, "ARM Neoverse N3", false}, {0x610022, "Apple M1 (small)", true},
    {0x610023, "Apple M1", false},        {0x610024, "Apple M1 Pro (small)", true},
    {0x610025, "Apple M1 Pro", false},    {0x610028, "Apple M1 Max (small)", true},
    {0x610029, "Apple M1 Max", false},    {0x610032, "Apple M2 (small)", true},
    {0x610033, "Apple M2", false},        {0xc00ac3, "Ampere-1", false},
    {0xc00ac4, "Ampere-1A", false},
};

static const struct arm_part *arm_part(uint64_t id) {
    for (size_t i = 0; i < SM_ARRAY_LEN(arm_parts); i++)
        if (arm_parts[i].id == id)
            return &arm_parts[i];
    return NULL;
}

static void name_arm(const paragraphs *p, sm_machine *m) {
    size_t at = 0;
    int small = 0;
    for (int i = 0; i < p->n_parts; i++) {
        const struct arm_part *a = arm_part(p->parts[i]);
        small += a && a->small ? p->part_threads[i] : 0;
        if (at >= sizeof m->cpu)
            break;
        if (a)
            at += (size_t)snprintf(m->cpu + at, sizeof m->cpu - at, "%s%s", i ? " + " : "", a->name);
        else
            at += (size_t)snprintf(m->cpu + at, sizeof m->cpu - at, "%sARM part 0x%02llx-0x%03llx", i ? " + " : "",
                                   (unsigned long long)(p->parts[i] >> 16), (unsigned long long)(p->parts[i] & 0xFFFF));
    }
    if (p->n_parts > 1 && small > 0 && small < p->threads) {
        m->e_cores = small;
        m->p_cores = p->threads - small;
    }
}

static void count_cores(const paragraphs *p, sm_machine *m) {
    int twice = 0;
    m->threads = p->threads;
    m->sockets = SM_MAX(p->n_sockets, 1);
    m->cores = p->n_seen > 0 ? p->n_seen : p->threads;
    for (int i = 0; i < p->n_seen; i++)
        twice += p->seen_threads[i] > 1;
    if (twice > 0 && twice < p->n_seen && p->n_sockets == 1) {
        m->p_cores = twice;
        m->e_cores = p->n_seen - twice;
    }
}

void sm_machine_cpuinfo(sm_sv text, sm_machine *m) {
    sm_sv key, value;
    paragraphs *p = sm_alloc(sizeof *p);
    if (!p)
        return;
    while (next_line(&text, &key, &value)) {
        if (sm_sv_is(key, "processor")) {
            end_paragraph(p);
            p->threads++;
        } else if ((sm_sv_is(key, "model name") || sm_sv_is(key, "Model Name")) && !m->cpu[0]) {
            copy(m->cpu, sizeof m->cpu, value);
        } else if (sm_sv_is(key, "vendor_id") && !m->vendor[0]) {
            copy(m->vendor, sizeof m->vendor, value);
        } else if ((sm_sv_is(key, "flags") || sm_sv_is(key, "Features")) && !m->features[0]) {
            copy(m->features, sizeof m->features, value);
        } else if (sm_sv_is(key, "physical id")) {
            p->socket = number(value);
        } else if (sm_sv_is(key, "core id")) {
            p->core = number(value);
            p->has_core = true;
        } else if (sm_sv_is(key, "CPU implementer")) {
            p->maker = number(value);
        } else if (sm_sv_is(key, "CPU part")) {
            p->part = number(value);
        }
    }
    end_paragraph(p);
    count_cores(p, m);
    if (p->n_parts > 0 && !m->cpu[0])
        name_arm(p, m);
    m->is_virtual = sm_machine_has(m, "hypervisor");
    sm_free(p);
}

/* ------------------------------------------------------------------ /proc/meminfo, cgroups */
void sm_machine_meminfo(sm_sv text, sm_machine *m) {
    sm_sv key, value;
    while (next_line(&text, &key, &value)) {
        if (sm_sv_is(key, "MemTotal"))
            m->memory = number(value) * 1024;
        else if (sm_sv_is(key, "MemAvailable"))
            m->memory_available = number(value) * 1024;
        else if (sm_sv_is(key, "SwapTotal"))
            m->swap = number(value) * 1024;
        else if (sm_sv_is(key, "SwapFree"))
            m->swap_free = number(value) * 1024;
        else if (sm_sv_is(key, "HugePages_Total"))
            m->huge_pages = number(value);
        else if (sm_sv_is(key, "Hugepagesize"))
            m->huge_page_bytes = number(value) * 1024;
    }
}

/* "memory" among "cpu,cpuacct,memory". */
static bool in_list(sm_sv list, const char *word) {
    size_t n = strlen(word);
    while (list.n > 0) {
        const char *comma = memchr(list.p, ',', list.n);
        size_t k = comma ? (size_t)(comma - list.p) : list.n;
        if (k == n && memcmp(list.p, word, n) == 0)
            return true;
        k += comma != NULL;
        list.p += k;
        list.n -= k;
    }
    return false;
}

bool sm_machine_cgroup_path(sm_sv text, const char *controller, char *out, size_t cap) {
    sm_sv id, rest;
    while (next_line(&text, &id, &rest)) {
        const char *colon = rest.n ? memchr(rest.p, ':', rest.n) : NULL;
        if (!colon)
            continue;
        sm_sv names = {rest.p, (size_t)(colon - rest.p)};
        sm_sv path = {colon + 1, rest.n - names.n - 1};
        bool is = controller ? in_list(names, controller) : sm_sv_is(id, "0") && names.n == 0;
        if (!is || path.n >= cap)
            continue;
        copy(out, cap, path);
        return true;
    }
    return false;
}

/* ------------------------------------------------------------------ sysctl of a Mac */
const char *const sm_sysctl_names[] = {
    "machdep.cpu.brand_string",
    "machdep.cpu.features",
    "machdep.cpu.leaf7_features",
    "hw.model",
    "hw.packages",
    "hw.physicalcpu",
    "hw.logicalcpu",
    "hw.nperflevels",
    "hw.perflevel0.physicalcpu",
    "hw.perflevel1.physicalcpu",
    "hw.perflevel0.l1dcachesize",
    "hw.perflevel0.l2cachesize",
    "hw.perflevel0.cpusperl2",
    "hw.l1dcachesize",
    "hw.l2cachesize",
    "hw.l3cachesize",
    "hw.memsize",
    "hw.pagesize",
    "iogpu.wired_limit_mb",
    "kern.osproductversion",
    "kern.hv_vmm_present",
    "vm.swapusage",
    "hw.optional.arm.FEAT_DotProd",
    "hw.optional.arm.FEAT_FP16",
    "hw.optional.arm.FEAT_I8MM",
    "hw.optional.arm.FEAT_BF16",
    "hw.optional.arm.FEAT_SME",
    "hw.optional.arm.FEAT_SME2",
};
const int sm_n_sysctl_names = (int)SM_ARRAY_LEN(sm_sysctl_names);

static void add_cache(sm_machine *m, int level, char kind, uint64_t bytes, int shared_by) {
    for (int i = 0; i < m->n_caches; i++)
        if (m->cache[i].level == level && m->cache[i].kind == kind)
            return; /* the fast cores' was said before */
    if (bytes > 0 && m->n_caches < (int)SM_ARRAY_LEN(m->cache))
        m->cache[m->n_caches++] = (sm_cache){level, kind, bytes, shared_by};
}

static void add_features(sm_machine *m, sm_sv words) {
    size_t at = strlen(m->features);
    for (size_t i = 0; i < words.n && at + 2 < sizeof m->features; i++) {
        if (i == 0 && at > 0)
            m->features[at++] = ' ';
        char c = words.p[i];
        m->features[at++] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    m->features[at] = '\0';
}

/* "total = 2048.00M  used = 1024.00M  free = 1024.00M" */
static void read_swapusage(sm_sv v, sm_machine *m) {
    char text[128];
    copy(text, sizeof text, v);
    const char *total = strstr(text, "total = "), *rest = strstr(text, "free = ");
    if (total)
        m->swap = sm_machine_size(sm_sv_of(total + 8));
    if (rest)
        m->swap_free = sm_machine_size(sm_sv_of(rest + 7));
}

/* What one line says; levels and sharing are put together afterwards. */
static void read_sysctl(sm_sv key, sm_sv v, sm_machine *m, int *sharing) {
    static const char feature[] = "hw.optional.arm.FEAT_";
    if (sm_sv_is(key, "machdep.cpu.brand_string"))
        copy(m->cpu, sizeof m->cpu, v);
    else if (sm_sv_is(key, "machdep.cpu.features") || sm_sv_is(key, "machdep.cpu.leaf7_features"))
        add_features(m, v);
    else if (sm_sv_is(key, "hw.packages"))
        m->sockets = (int)number(v);
    else if (sm_sv_is(key, "hw.physicalcpu"))
        m->cores = (int)number(v);
    else if (sm_sv_is(key, "hw.logicalcpu"))
        m->threads = (int)number(v);
    else if (sm_sv_is(key, "hw.perflevel0.physicalcpu"))
        m->p_cores = (int)number(v);
    else if (sm_sv_is(key, "hw.perflevel1.physicalcpu"))
        m->e_cores = (int)number(v);
    else if (sm_sv_is(key, "hw.perflevel0.cpusperl2"))
        *sharing = (int)number(v);
    else if (sm_sv_is(key, "hw.perflevel0.l1dcachesize") || sm_sv_is(key, "hw.l1dcachesize"))
        add_cache(m, 1, 'd', number(v), 1);
    else if (sm_sv_is(key, "hw.perflevel0.l2cachesize") || sm_sv_is(key, "hw.l2cachesize"))
        add_cache(m, 2, 'u', number(v), 0);
    else if (sm_sv_is(key, "hw.l3cachesize"))
        add_cache(m, 3, 'u', number(v), 0);
    else if (sm_sv_is(key, "hw.memsize"))
        m->memory = number(v);
    else if (sm_sv_is(key, "hw.pagesize"))
        m->page_bytes = number(v);
    else if (sm_sv_is(key, "iogpu.wired_limit_mb"))
        m->gpu_wired = number(v) << 20;
    else if (sm_sv_is(key, "kern.osproductversion"))
        snprintf(m->os, sizeof m->os, "macOS %.*s", (int)SM_MIN(v.n, (size_t)32), v.p);
    else if (sm_sv_is(key, "kern.hv_vmm_present"))
        m->is_virtual = number(v) != 0;
    else if (sm_sv_is(key, "vm.swapusage"))
        read_swapusage(v, m);
    else if (key.n > sizeof feature - 1 && memcmp(key.p, feature, sizeof feature - 1) == 0 && number(v) != 0)
        add_features(m, (sm_sv){key.p + sizeof feature - 1, key.n - (sizeof feature - 1)});
}

void sm_machine_sysctl(sm_sv text, sm_machine *m) {
    sm_sv key, value;
    int sharing = 0;
    while (next_line(&text, &key, &value))
        read_sysctl(key, value, m, &sharing);
    bool apple = strncmp(m->cpu, "Apple", 5) == 0;
    for (int i = 0; i < m->n_caches; i++)
        if (m->cache[i].level == 2 && sharing > 0)
            m->cache[i].shared_by = sharing;
    if (m->e_cores == 0)
        m->p_cores = 0; /* one kind only */
    if (apple && !m->vendor[0])
        copy(m->vendor, sizeof m->vendor, SM_SV("Apple"));
    if (apple && m->gpu_wired == 0 && m->memory > 0) {
        /* Unset, the system allows two thirds of up to 36 GB, and three quarters of more. */
        m->gpu_wired = m->memory <= (uint64_t)36 << 30 ? m->memory / 3 * 2 : m->memory / 4 * 3;
        m->gpu_wired_default = true;
    }
}

/* ------------------------------------------------------------------ questions */
bool sm_machine_has(const sm_machine *m, const char *feature) {
    size_t n = strlen(feature);
    for (const char *p = m->features; n > 0 && (p = strstr(p, feature)) != NULL; p += n)
        if ((p == m->features || p[-1] == ' ') && (p[n] == '\0' || p[n] == ' '))
            return true;
    return false;
}

uint64_t sm_machine_last_cache(const sm_machine *m) {
    const sm_cache *last = NULL;
    for (int i = 0; i < m->n_caches; i++)
        if (m->cache[i].kind != 'i' && (!last || m->cache[i].level > last->level))
            last = &m->cache[i];
    if (!last)
        return 0;
    int each = last->shared_by > 0 ? last->shared_by : SM_MAX(m->threads, 1);
    int instances = SM_MAX((m->threads + each - 1) / each, 1);
    return last->bytes * (uint64_t)instances;
}

uint64_t sm_machine_memory(const sm_machine *m) {
    return m->cgroup_memory > 0 ? SM_MIN(m->memory, m->cgroup_memory) : m->memory;
}
