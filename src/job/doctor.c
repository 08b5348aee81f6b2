/* SPDX-License-Identifier: MIT
 *
 * doctor.c: asks the machine, the libraries and the backends.
 */
#include "job/doctor.h"

#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>
#include <sodium.h>
#include <utf8proc.h>
#include <zip.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "backend/backend.h"
#include "base/files.h"
#include "job/bench_int.h"
#include "job/doctor_int.h"
#include "job/sha256.h"

const doc_feature doc_unused[] = {
    {"avx_vnni", "int8 dot products in 256-bit registers"},
    {"avx512_bf16", "products of bf16 weights without widening"},
    {"avx512_fp16", "fp16 arithmetic"},
    {"amx_int8", "tiles of int8 products: prompts several times faster"},
    {"amx_bf16", "tiles of bf16 products"},
    {"sve", "longer vectors"},
    {"bf16", "products of bf16 weights without widening"},
    {"sme", "tiles of products"},
};
const int doc_n_unused = (int)SM_ARRAY_LEN(doc_unused);

/* ------------------------------------------------------------------ libraries */
static void add_lib(sm_doctor_report *d, const char *name, const char *used_for, const char *version) {
    doc_lib *l = &d->libs[d->n_libs++];
    *l = (doc_lib){.name = name, .used_for = used_for};
    snprintf(l->version, sizeof l->version, "%s", version);
}

static void list_libs(sm_doctor_report *d) {
    char version[48] = "", unicode[24] = "", both[96];
    pcre2_config(PCRE2_CONFIG_VERSION, version);
    pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, unicode);
    version[strcspn(version, " ")] = '\0'; /* its date */
    snprintf(both, sizeof both, "%s, Unicode %s", version, unicode);
    add_lib(d, "protobuf-c", "Core ML packages", protobuf_c_version());
    add_lib(d, "jansson", "JSON", jansson_version_str());
    add_lib(d, "pcre2", "splitting text before tokenizing", both);
    snprintf(both, sizeof both, "%s, Unicode %s", utf8proc_version(), utf8proc_unicode_version());
    add_lib(d, "utf8proc", "normal forms of text", both);
    add_lib(d, "libsodium", "hashes, random numbers", sodium_version_string());
    add_lib(d, "libzip", "arrays in .npz files", zip_libzip_version());
    if (sm_sha256_libcrypto())
        add_lib(d, "libcrypto", "hashes of files", sm_sha256_libcrypto());
    if (bench_db_version())
        add_lib(d, "sqlite3", "past results of bench", bench_db_version());
    if (d->o->editor)
        add_lib(d, "libedit", "editing and history of lines", d->o->editor);
}

/* ------------------------------------------------------------------ what is not here */
static void add_gap(sm_doctor_report *d, const char *name, const char *gives, const char *debian, const char *brew) {
    if (d->n_gaps == DOC_MOST)
        return;
    doc_gap *g = &d->gaps[d->n_gaps++];
    *g = (doc_gap){{0}};
    snprintf(g->name, sizeof g->name, "%s", name);
    snprintf(g->gives, sizeof g->gives, "%s", gives);
#if defined(__APPLE__)
    if (brew)
        snprintf(g->install, sizeof g->install, "brew install %s", brew);
    (void)debian;
#else
    if (debian)
        snprintf(g->install, sizeof g->install, "sudo apt-get install -y %s", debian);
    (void)brew;
#endif
}

static void list_gaps(sm_doctor_report *d) {
    char why[160], gives[256];
    int n;
    const sm_backend *const *b = sm_backends(&n);
    if (!d->o->editor)
        add_gap(d, "libedit", "editing and history of lines in a chat, once smelt is built again", "libedit-dev",
                "libedit");
    if (!sm_sha256_libcrypto())
        add_gap(d, "libcrypto", "hashes of files five times as fast, once smelt is built again", "libssl-dev", NULL);
    if (!bench_db_version())
        add_gap(d, "sqlite3", "bench keeps its results and compares them, once smelt is built again", "libsqlite3-dev",
                "sqlite");
    for (int i = 0; i < n; i++) {
        if (b[i]->available(why, sizeof why))
            continue;
        snprintf(gives, sizeof gives, "backend: %s (%s)", b[i]->doc, why);
        add_gap(d, b[i]->name, gives, NULL, NULL);
    }
#if !defined(__APPLE__)
    add_gap(d, "Core ML", "packages on the Neural Engine and Apple's GPU; only a Mac has it", NULL, NULL);
#endif
    for (int i = 0; i < doc_n_unused; i++)
        if (sm_machine_has(&d->m, doc_unused[i].name)) {
            snprintf(gives, sizeof gives, "%s; the processor has it, smelt does not use it yet", doc_unused[i].gives);
            add_gap(d, doc_unused[i].name, gives, NULL, NULL);
        }
}

/* ------------------------------------------------------------------ the model */
static sm_status ask_model(sm_doctor_report *d, sm_loaded **l, sm_err *err) {
    sm_load_opts lo = {.graph_optional = true};
    sm_inspect_opts io = {.ctx = d->o->ctx, .n_threads = d->o->n_threads};
    SM_TRY(sm_load(d->o->model, &lo, l, err));
    SM_TRY(sm_loaded_runnable(*l, d->o->model, err));
    sm_report r = {.o = &io, .path = d->o->model, .l = *l};
    SM_TRY(ins_fill_memory(&r, err));
    d->has_model = true;
    d->mem = r.mem;
    d->model_name = *(*l)->name ? (*l)->name : sm_path_base(d->o->model);
    d->model_bytes = (*l)->file_bytes;
    if (d->measured && d->mem.known && d->mem.read_per_token > 0.0)
        d->decode_bound = d->peak.read_gbps * 1e9 / d->mem.read_per_token;
    return SM_OK;
}

/* ------------------------------------------------------------------ */
static sm_status measure(sm_doctor_report *d, sm_err *err) {
    sm_peak_opts po = {
        .n_threads = d->o->n_threads,
        .last_cache_bytes = sm_machine_last_cache(&d->m),
        .memory_bytes = d->m.memory_available > 0 ? d->m.memory_available : sm_machine_memory(&d->m),
    };
    if (d->m.cgroup_memory != SM_UNLIMITED && d->m.cgroup_memory > d->m.cgroup_used)
        po.memory_bytes = SM_MIN(po.memory_bytes, d->m.cgroup_memory - d->m.cgroup_used);
    if (d->o->quick)
        return SM_OK;
    SM_TRY(sm_peak_measure(&po, d->isa, &d->peak, err));
    d->measured = true;
    return SM_OK;
}

sm_status sm_doctor(const sm_doctor_opts *o, sm_str *out, sm_err *err) {
    sm_doctor_report *d = sm_alloc(sizeof *d);
    sm_loaded *l = NULL;
    struct statvfs fs;
    sm_status st = d ? SM_OK : SM_NOMEM(err);
    SM_TRY_DONE(st);
    d->o = o;
    sm_machine_read("", &d->m);
    SM_TRY_DONE(sm_isa_choose(&d->isa, err));
    if (statvfs(".", &fs) == 0)
        d->disk_free = (uint64_t)fs.f_bavail * fs.f_frsize;
    SM_TRY_DONE(measure(d, err));
    if (o->model)
        SM_TRY_DONE(ask_model(d, &l, err));
    list_libs(d);
    list_gaps(d);
    doc_judge(d);
    if (o->json)
        st = doc_print_json(d, out, err);
    else
        doc_print_text(d, out);
    if (st == SM_OK && !sm_str_ok(out))
        st = SM_NOMEM(err);
done:
    sm_loaded_free(&l);
    sm_free(d);
    return st;
}
