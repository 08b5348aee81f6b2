/* SPDX-License-Identifier: MIT
 *
 * predict.c: runs a package's functions as they are written (predict.h).
 *
 * A function is compiled at its first call and kept: executables borrow the graph, states are shared by all of them.
 */
#include "job/predict.h"
#include "job/part_list.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/backend.h"
#include "format/mlpackage.h"
#include "format/npz.h"

/* One function of the package, compiled. */
typedef struct ready {
    const sm_func *f;
    const sm_backend *backend;
    sm_exe *exe;
} ready;

typedef struct predict {
    sm_package *pkg;
    const char *backend, *out_dir;
    int n_threads;
    ready *fns; /* one per call at most */
    size_t n_fns;
    sm_states states;
} predict;

static sm_status find_function(const predict *p, const char *name, const sm_func **out, sm_err *err) {
    const sm_graph *g = p->pkg->graph;
    const char *wanted = name != NULL ? name : p->pkg->default_function;
    *out = sm_graph_func(g, wanted);
    if (*out != NULL)
        return SM_OK;
    sm_str names = SM_STR_INIT;
    for (int i = 0; i < g->n_funcs; i++)
        sm_str_addf(&names, "%s'%s'", i > 0 ? ", " : "", g->funcs[i]->name);
    sm_status st = SM_FAIL(err, SM_BADINPUT, "%s has no function %s: wanted one of %s", p->pkg->path,
                           sm_quote(wanted, wanted == NULL ? 0 : strlen(wanted)), sm_str_z(&names));
    sm_str_free(&names);
    return st;
}

static sm_status get_ready(predict *p, const char *name, const ready **out, sm_err *err) {
    const sm_func *f;
    SM_TRY(find_function(p, name, &f, err));
    for (size_t i = 0; i < p->n_fns; i++) {
        if (p->fns[i].f == f) {
            *out = &p->fns[i];
            return SM_OK;
        }
    }
    ready *r = &p->fns[p->n_fns];
    const sm_limits lim = {.n_threads = p->n_threads};
    SM_TRY(sm_backend_pick(p->backend, f, &r->backend, err));
    SM_TRY(r->backend->compile(f, &lim, &r->exe, err));
    r->f = f;
    p->n_fns++;
    *out = r;
    return SM_OK;
}

static sm_status write_result(const predict *p, size_t index, const sm_arrays *out, sm_err *err) {
    char name[32];
    snprintf(name, sizeof name, "%zu.npz", index);
    char *path = sm_path_join(p->out_dir, name);
    sm_status st = path == NULL ? SM_NOMEM(err) : sm_npz_write(path, out, err);
    sm_free(path);
    return st;
}

/* Bytes as an image input takes them: [h, w] or [h, w, 1] gray, [h, w, 3] red, green, blue.  They become floats
 * [1, channels, h, w] in the order of the input's colours. */
static sm_status image_of(sm_array *a, const sm_pkg_image *m, sm_err *err) {
    int64_t channels = m->colours == SM_PKG_GRAY ? 1 : 3, found = a->rank == 2 ? 1 : a->rank == 3 ? a->dims[2] : 0;
    sm_array f;
    if (a->rank != 2 && a->rank != 3)
        return SM_OK; /* its shape is checked with those of other inputs */
    if (found != channels)
        return SM_FAIL(err, SM_BADINPUT, "image '%s': wanted bytes %s, found %" PRId64 " channels", m->input,
                       channels == 1 ? "[h, w] or [h, w, 1]" : "[h, w, 3]", found);
    int64_t h = a->dims[0], w = a->dims[1];
    SM_TRY(sm_array_new(&f, a->name, SM_FP32, 4, (int64_t[]){1, channels, h, w}, err));
    for (int64_t i = 0; i < h * w; i++)
        for (int64_t c = 0; c < channels; c++) {
            int64_t to = m->colours == SM_PKG_BGR ? 2 - c : c;
            ((float *)f.data)[to * h * w + i] = ((const uint8_t *)a->data)[i * channels + c];
        }
    sm_array_free(a);
    *a = f;
    return SM_OK;
}

/* Inputs that are images and were given as bytes. */
static sm_status take_images(const predict *p, const sm_func *f, sm_arrays *in, sm_err *err) {
    for (size_t i = 0; i < in->n; i++) {
        const sm_pkg_image *m = sm_package_image(p->pkg, f->name, in->v[i].name);
        if (m == NULL || in->v[i].dtype != SM_UINT8)
            continue;
        SM_TRY(image_of(&in->v[i], m, err));
        if (in->v[i].dtype == SM_UINT8)
            SM_TRY(sm_array_cast(&in->v[i], SM_FP32, err));
    }
    return SM_OK;
}

static sm_status run_call(predict *p, const sm_predict_call *call, size_t index, sm_err *err) {
    sm_arrays in = {0}, out = {0};
    const ready *r;
    sm_status st;
    SM_TRY_DONE(get_ready(p, call->function, &r, err));
    SM_TRY_DONE(sm_npz_read(call->npz, &in, err));
    st = take_images(p, r->f, &in, err);
    if (st == SM_OK)
        st = r->backend->run(r->exe, &in, &p->states, &out, err);
    if (st != SM_OK)
        sm_err_prefix(err, "%s", call->npz);
    if (st == SM_OK)
        st = write_result(p, index, &out, err);
done:
    sm_arrays_free(&in);
    sm_arrays_free(&out);
    return st;
}

static sm_status make_dir(const char *path, bool *made, sm_err *err) {
    *made = mkdir(path, 0777) == 0;
    if (*made || (errno == EEXIST && sm_path_is_dir(path)))
        return SM_OK;
    return SM_FAIL(err, SM_BADINPUT, "cannot make folder '%s': %s", path, strerror(errno));
}

sm_status sm_job_predict(const char *package, const sm_predict_call *calls, size_t n, const char *out_dir,
                         const char *backend, int n_threads, sm_err *err) {
    predict p = {.backend = backend, .out_dir = out_dir, .n_threads = n_threads};
    sm_status st;
    bool made = false;
    if (sm_part_list_sniff(package)) {
        SM_FAIL(err, SM_UNSUPPORTED, "%s: a folder of parts, each a program of its own", package);
        return sm_err_hint(err, "give one of the packages in it; `smelt run` takes the folder");
    }
    SM_TRY_DONE(sm_mlpackage_read(package, &p.pkg, err));
    SM_TRY_DONE(make_dir(out_dir, &made, err));
    p.fns = sm_alloc_n(n, sizeof *p.fns);
    SM_TRY_DONE(p.fns == NULL ? SM_NOMEM(err) : SM_OK);
    for (size_t i = 0; i < n; i++)
        SM_TRY_DONE(run_call(&p, &calls[i], i, err));
done:
    for (size_t i = 0; i < p.n_fns; i++)
        p.fns[i].backend->free(&p.fns[i].exe);
    sm_free(p.fns);
    sm_arrays_free(&p.states.a);
    if (p.pkg != NULL)
        sm_graph_free(&p.pkg->graph);
    if (made && st != SM_OK)
        rmdir(out_dir); /* ours, and nothing was written: goes only when it is empty */
    return st;
}
