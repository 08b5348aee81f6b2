/* SPDX-License-Identifier: MIT
 *
 * doctor_print.c: what the doctor found, for people and as JSON.
 */
#include <inttypes.h>
#include <string.h>

#include "backend/backend.h"
#include "base/json.h"
#include "job/doctor_int.h"

/* ------------------------------------------------------------------ text */
static void add_size(sm_str *out, uint64_t bytes) {
    if (bytes == SM_UNLIMITED)
        sm_str_adds(out, "unlimited");
    else if (bytes >= 1000000000)
        sm_str_addf(out, "%.1f GB", (double)bytes / 1e9);
    else if (bytes >= 1 << 20)
        sm_str_addf(out, "%.4g MiB", (double)bytes / 1048576.0);
    else
        sm_str_addf(out, "%.4g KiB", (double)bytes / 1024.0);
}

static void print_machine(const sm_doctor_report *d, sm_str *out) {
    const sm_machine *m = &d->m;
    sm_str_addf(out, "machine\n  %s, %s%s\n  %s\n", m->os, m->arch, m->is_virtual ? ", virtual" : "", m->cpu);
    sm_str_addf(out, "  %d cores, %d threads, %d usable", m->cores, m->threads, m->usable);
    if (m->sockets > 1)
        sm_str_addf(out, ", %d sockets", m->sockets);
    if (m->e_cores > 0)
        sm_str_addf(out, " (%d fast cores, %d frugal ones)", m->p_cores, m->e_cores);
    if (m->numa_nodes > 0)
        sm_str_addf(out, ", %d memory node%s", m->numa_nodes, m->numa_nodes == 1 ? "" : "s");
    sm_str_adds(out, "\n  caches:");
    for (int i = 0; i < m->n_caches; i++) {
        const sm_cache *c = &m->cache[i];
        sm_str_addf(out, "%s L%d%s ", i ? "," : "", c->level, c->kind == 'u' ? "" : c->kind == 'd' ? "d" : "i");
        add_size(out, c->bytes);
        if (c->shared_by > 1)
            sm_str_addf(out, " for %d threads", c->shared_by);
    }
    sm_str_adds(out, m->n_caches ? "\n  memory: " : " not known\n  memory: ");
    add_size(out, m->memory);
    sm_str_adds(out, ", available ");
    add_size(out, m->memory_available);
    sm_str_adds(out, ", pages of ");
    add_size(out, m->page_bytes);
    if (m->huge_pages > 0)
        sm_str_addf(out, ", %" PRIu64 " huge ones", m->huge_pages);
    if (m->gpu_wired > 0) {
        sm_str_adds(out, ", the GPU may hold ");
        add_size(out, m->gpu_wired);
    }
    sm_str_addc(out, '\n');
}

static void print_kernels(const sm_doctor_report *d, sm_str *out) {
    sm_str_adds(out, "\nkernels\n");
    for (int i = 0; i < SM_ISA_COUNT; i++) {
        if (!sm_isa_built((sm_isa)i))
            continue;
        bool there = i <= (int)sm_isa_detect(), used = i <= (int)d->isa;
        sm_str_addf(out, "  %-12s %-9s %s\n", sm_isa_name((sm_isa)i),
                    used    ? "in use"
                    : there ? "not used"
                            : "missing",
                    sm_isa_needs((sm_isa)i));
    }
}

static void print_measured(const sm_doctor_report *d, sm_str *out) {
    const sm_peak *p = &d->peak;
    if (!d->measured)
        return;
    sm_str_addf(out, "\nmeasured                       1 thread   %d threads\n", p->n_threads);
    sm_str_addf(out, "  memory read                %8.1f     %8.1f  GB/s\n", p->read_gbps_1, p->read_gbps);
    sm_str_addf(out, "  int8 dot products          %8.3f     %8.3f  Top/s (%s)\n", p->int8_tops_1, p->int8_tops,
                p->int8_isa);
    sm_str_addf(out, "  f32 multiply-adds          %8.1f     %8.1f  Gflop/s (%s)\n", p->f32_gflops_1, p->f32_gflops,
                p->f32_isa);
}

static void print_model(const sm_doctor_report *d, sm_str *out) {
    if (!d->has_model)
        return;
    sm_str_addf(out, "\nmodel\n  %s\n", d->model_name);
    if (!d->mem.known)
        return;
    sm_str_adds(out, "  weights ");
    add_size(out, d->mem.weights + d->mem.mapped);
    sm_str_addf(out, ", KV cache ");
    add_size(out, d->mem.kv);
    sm_str_addf(out, " for a context of %d, activations ", d->mem.ctx);
    add_size(out, d->mem.activations);
    sm_str_adds(out, "\n  a new token at the context's end reads ");
    add_size(out, (uint64_t)d->mem.read_per_token);
    if (d->decode_bound > 0.0)
        sm_str_addf(out, ": at most %.3g tokens/s", d->decode_bound);
    sm_str_addc(out, '\n');
}

void doc_print_text(const sm_doctor_report *d, sm_str *out) {
    int n;
    const sm_backend *const *b = sm_backends(&n);
    char why[160];
    print_machine(d, out);
    print_kernels(d, out);
    print_measured(d, out);
    print_model(d, out);
    sm_str_adds(out, "\nbackends\n");
    for (int i = 0; i < n; i++)
        sm_str_addf(out, "  %-12s %s%s\n", b[i]->name, b[i]->doc,
                    b[i]->available(why, sizeof why) ? "" : " (not available)");
    sm_str_adds(out, "\nlibraries\n");
    for (int i = 0; i < d->n_libs; i++)
        sm_str_addf(out, "  %-12s %-24s %s\n", d->libs[i].name, d->libs[i].version, d->libs[i].used_for);
    if (d->n_gaps > 0)
        sm_str_adds(out, "\nnot here, or not used\n");
    for (int i = 0; i < d->n_gaps; i++)
        sm_str_addf(out, "  %-12s %s%s%s\n", d->gaps[i].name, d->gaps[i].gives, d->gaps[i].install[0] ? ": " : "",
                    d->gaps[i].install);
    sm_str_adds(out, "\nchecks\n");
    for (int i = 0; i < d->n_checks; i++) {
        const doc_check *c = &d->checks[i];
        sm_str_addf(out, "  %-5s %-24s %s\n", c->warn ? "warn" : "ok", c->name, c->says);
        if (c->advice[0])
            sm_str_addf(out, "  %-30s -> %s\n", "", c->advice);
    }
}

/* ------------------------------------------------------------------ JSON */
/* null: no limit */
static void put_int(json_t *o, const char *key, uint64_t v) {
    sm_json_put(o, key, v == SM_UNLIMITED ? json_null() : json_integer((json_int_t)v));
}

static void put_known(json_t *o, const char *key, uint64_t v) {
    if (v > 0)
        put_int(o, key, v);
}

static json_t *machine_json(const sm_doctor_report *d) {
    const sm_machine *m = &d->m;
    json_t *j = json_object(), *caches = json_array(), *features = json_array();
    sm_json_put_text(j, "os", m->os);
    sm_json_put_text(j, "architecture", m->arch);
    sm_json_put_text(j, "cpu", m->cpu);
    sm_json_put_text(j, "vendor", m->vendor);
    sm_json_put(j, "virtual", json_boolean(m->is_virtual));
    put_int(j, "sockets", (uint64_t)SM_MAX(m->sockets, 1));
    put_int(j, "cores", (uint64_t)m->cores);
    put_int(j, "threads", (uint64_t)m->threads);
    put_int(j, "usable_threads", (uint64_t)m->usable);
    put_known(j, "fast_cores", (uint64_t)m->p_cores);
    put_known(j, "frugal_cores", (uint64_t)m->e_cores);
    put_known(j, "memory_nodes", (uint64_t)m->numa_nodes);
    for (int i = 0; i < m->n_caches; i++) {
        const sm_cache *c = &m->cache[i];
        json_t *o = json_object();
        put_int(o, "level", (uint64_t)c->level);
        sm_json_put_text(o, "kind", c->kind == 'u' ? "unified" : c->kind == 'd' ? "data" : "instructions");
        put_int(o, "bytes", c->bytes);
        put_known(o, "threads", (uint64_t)c->shared_by);
        json_array_append_new(caches, o);
    }
    sm_json_put(j, "caches", caches);
    for (const char *p = m->features; *p;) {
        size_t n = strcspn(p, " ");
        json_array_append_new(features, json_stringn(p, n));
        p += n + (p[n] == ' ');
    }
    sm_json_put(j, "features", features);
    return j;
}

static json_t *memory_json(const sm_doctor_report *d) {
    const sm_machine *m = &d->m;
    json_t *j = json_object();
    put_int(j, "total", m->memory);
    put_int(j, "available", m->memory_available);
    put_int(j, "swap", m->swap);
    put_int(j, "swap_free", m->swap_free);
    put_int(j, "page_bytes", m->page_bytes);
    put_int(j, "huge_pages", m->huge_pages);
    put_known(j, "huge_page_bytes", m->huge_page_bytes);
    sm_json_put_text(j, "transparent_huge_pages", m->transparent_huge);
    put_int(j, "lock_limit", m->memlock);
    put_int(j, "container_limit", m->cgroup_memory);
    if (m->cgroup_memory != SM_UNLIMITED)
        put_int(j, "container_used", m->cgroup_used);
    if (m->cgroup_cpus > 0.0)
        sm_json_put(j, "container_processors", json_real(m->cgroup_cpus));
    put_known(j, "gpu_limit", m->gpu_wired);
    if (m->gpu_wired > 0)
        sm_json_put(j, "gpu_limit_is_default", json_boolean(m->gpu_wired_default));
    put_known(j, "disk_free", d->disk_free);
    return j;
}

static json_t *kernels_json(const sm_doctor_report *d) {
    json_t *all = json_array();
    for (int i = 0; i < SM_ISA_COUNT; i++) {
        if (!sm_isa_built((sm_isa)i))
            continue;
        json_t *o = json_object();
        sm_json_put(o, "name", json_string(sm_isa_name((sm_isa)i)));
        sm_json_put(o, "needs", json_string(sm_isa_needs((sm_isa)i)));
        sm_json_put(o, "there", json_boolean(i <= (int)sm_isa_detect()));
        sm_json_put(o, "used", json_boolean(i <= (int)d->isa));
        json_array_append_new(all, o);
    }
    return all;
}

static json_t *measured_json(const sm_doctor_report *d) {
    const sm_peak *p = &d->peak;
    json_t *j = json_object();
    if (!d->measured) {
        json_decref(j);
        return json_null();
    }
    put_int(j, "threads", (uint64_t)p->n_threads);
    sm_json_put(j, "read_gbps_1", json_real(p->read_gbps_1));
    sm_json_put(j, "read_gbps", json_real(p->read_gbps));
    sm_json_put(j, "int8_tops_1", json_real(p->int8_tops_1));
    sm_json_put(j, "int8_tops", json_real(p->int8_tops));
    sm_json_put_text(j, "int8_isa", p->int8_isa);
    sm_json_put(j, "f32_gflops_1", json_real(p->f32_gflops_1));
    sm_json_put(j, "f32_gflops", json_real(p->f32_gflops));
    sm_json_put_text(j, "f32_isa", p->f32_isa);
    put_int(j, "working_set_bytes", p->working_set);
    sm_json_put(j, "seconds", json_real(p->seconds));
    return j;
}

static json_t *model_json(const sm_doctor_report *d) {
    json_t *j = json_object();
    sm_json_put_text(j, "name", d->model_name);
    put_int(j, "file_bytes", d->model_bytes);
    if (!d->mem.known) {
        sm_json_put_text(j, "unknown", d->mem.why);
        return j;
    }
    put_int(j, "context", (uint64_t)d->mem.ctx);
    put_int(j, "weight_bytes", d->mem.weights + d->mem.mapped);
    put_int(j, "kv_bytes", d->mem.kv);
    put_int(j, "activation_bytes", d->mem.activations);
    put_int(j, "total_bytes", d->mem.total);
    put_int(j, "read_bytes_per_token", (uint64_t)d->mem.read_per_token);
    if (d->decode_bound > 0.0)
        sm_json_put(j, "tokens_per_second_at_most", json_real(d->decode_bound));
    return j;
}

static json_t *lists_json(const sm_doctor_report *d, json_t *j) {
    json_t *libs = json_object(), *gaps = json_array(), *checks = json_array(), *backends = json_array();
    int n;
    const sm_backend *const *b = sm_backends(&n);
    char why[160];
    for (int i = 0; i < n; i++) {
        json_t *o = json_object();
        bool there = b[i]->available(why, sizeof why);
        sm_json_put_text(o, "name", b[i]->name);
        sm_json_put_text(o, "doc", b[i]->doc);
        sm_json_put(o, "available", json_boolean(there));
        if (!there)
            sm_json_put_text(o, "why", why);
        json_array_append_new(backends, o);
    }
    for (int i = 0; i < d->n_libs; i++)
        sm_json_put_text(libs, d->libs[i].name, d->libs[i].version);
    for (int i = 0; i < d->n_gaps; i++) {
        json_t *o = json_object();
        sm_json_put_text(o, "name", d->gaps[i].name);
        sm_json_put_text(o, "gives", d->gaps[i].gives);
        sm_json_put_text(o, "install", d->gaps[i].install);
        json_array_append_new(gaps, o);
    }
    for (int i = 0; i < d->n_checks; i++) {
        json_t *o = json_object();
        sm_json_put_text(o, "name", d->checks[i].name);
        sm_json_put_text(o, "verdict", d->checks[i].warn ? "warn" : "ok");
        sm_json_put_text(o, "says", d->checks[i].says);
        sm_json_put_text(o, "advice", d->checks[i].advice);
        json_array_append_new(checks, o);
    }
    sm_json_put(j, "backends", backends);
    sm_json_put(j, "libraries", libs);
    sm_json_put(j, "missing", gaps);
    sm_json_put(j, "checks", checks);
    return j;
}

sm_status doc_print_json(const sm_doctor_report *d, sm_str *out, sm_err *err) {
    json_t *j = json_object();
    sm_json_put(j, "machine", machine_json(d));
    sm_json_put(j, "memory", memory_json(d));
    sm_json_put(j, "kernels", kernels_json(d));
    sm_json_put(j, "measured", measured_json(d));
    if (d->has_model)
        sm_json_put(j, "model", model_json(d));
    lists_json(d, j);
    return sm_json_write(j, 6, out, err);
}
