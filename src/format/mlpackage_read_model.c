/* SPDX-License-Identifier: MIT
 *
 * mlpackage_read_model.c: the model file: which kind of model it is, description, metadata; then function by function.
 *
 * The kind is told from field numbers before anything is unpacked, so that a gigabyte of neural network is refused at
 * once and by name.  The unpacked message lives in an arena that is freed at the end; what the graph keeps is copied or
 * mapped.
 *
 * A pipeline is models that run one after the other.  Each of its programs becomes a function, and these are chained to
 * one, main (chain.h): nothing above this room needs to know of pipelines.  Parts that are no ML Programs are refused.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/chain.h"
#include "format/mlpackage_int.h"
#include "format/pbwire.h"

#define MODEL_LIMIT ((uint64_t)1 << 30)
#define FIELD_VERSION 1
#define FIELD_CLASSIFIER 200
#define FIELD_REGRESSOR 201
#define FIELD_PIPELINE 202
#define FIELD_PROGRAM 502

enum { PARTS_MAX = 256, PIPELINE_DEPTH = 4 };

/* ------------------------------------------------------------------ kinds */

static const char *kind_of(uint32_t field) {
    static const struct {
        uint32_t field;
        const char *name;
    } kinds[] = {
        {303, "neural network"},
        {403, "neural network"},
        {500, "neural network"},
        {302, "tree ensemble"},
        {402, "tree ensemble"},
        {300, "linear model"},
        {400, "linear model"},
        {301, "support vector machine"},
        {401, "support vector machine"},
        {404, "nearest neighbours"},
        {555, "custom model"},
        {556, "linked model"},
        {604, "scaler"},
        {610, "non-maximum suppression"},
        {2000, "text classifier"},
        {2001, "word tagger"},
        {2002, "vision feature print"},
        {2005, "word embedding"},
        {3000, "serialized model"},
    };
    for (size_t i = 0; i < SM_ARRAY_LEN(kinds); i++)
        if (kinds[i].field == field)
            return kinds[i].name;
    return NULL;
}

static sm_status check_kind(const char *file, sm_bytes m, int depth, sm_err *err);

/* The kinds of a pipeline's parts. */
static sm_status check_parts(const char *file, sm_bytes pipeline, int depth, sm_err *err) {
    size_t at = 0;
    sm_pb_field f;
    int more, n = 0;
    while ((more = sm_pb_next(pipeline.p, pipeline.n, &at, &f)) > 0) {
        if (f.number != 1 || f.wire != 2)
            continue;
        sm_status st = n >= PARTS_MAX
                           ? SM_FAIL(err, SM_BADINPUT, "%s: a pipeline of more than %d parts", file, PARTS_MAX)
                           : check_kind(file, f.bytes, depth + 1, err);
        if (st != SM_OK) {
            sm_err_prefix(err, "part %d of the pipeline", n);
            return st;
        }
        n++;
    }
    if (more < 0)
        return SM_FAIL(err, SM_BADINPUT, "%s: malformed field in a pipeline", file);
    return n > 0 ? SM_OK : SM_FAIL(err, SM_BADINPUT, "%s: a pipeline without parts", file);
}

/* The same for a pipeline in a wrapper. */
static sm_status check_wrapped(const char *file, sm_bytes wrapper, int depth, sm_err *err) {
    size_t at = 0;
    sm_pb_field f;
    while (sm_pb_next(wrapper.p, wrapper.n, &at, &f) > 0)
        if (f.number == 1 && f.wire == 2)
            return check_parts(file, f.bytes, depth, err);
    return SM_FAIL(err, SM_BADINPUT, "%s: a pipeline without content", file);
}

static sm_status refuse_kind(const char *file, uint32_t field, sm_err *err) {
    const char *kind = kind_of(field);
    SM_FAIL(err, SM_UNSUPPORTED, "%s: wanted an ML Program, found a model of kind %s (field %" PRIu32 ")", file,
            kind == NULL ? "unknown" : kind, field);
    return err == NULL ? SM_UNSUPPORTED
                       : sm_err_hint(err, "convert the source model again with convert_to=\"mlprogram\" and a "
                                          "deployment target of iOS15 or later");
}

/* Version and kind from the outermost fields alone. */
static sm_status check_kind(const char *file, sm_bytes m, int depth, sm_err *err) {
    size_t at = 0;
    sm_pb_field f;
    int more;
    bool known = false;
    uint64_t version = 0;
    uint32_t other = 0;
    if (depth > PIPELINE_DEPTH)
        return SM_FAIL(err, SM_BADINPUT, "%s: pipelines are nested more than %d deep", file, PIPELINE_DEPTH);
    while ((more = sm_pb_next(m.p, m.n, &at, &f)) > 0) {
        if (f.number == FIELD_VERSION && f.wire == 0)
            version = f.value;
        else if (f.number == FIELD_PROGRAM)
            known = true;
        else if (f.number == FIELD_PIPELINE && f.wire == 2) {
            SM_TRY(check_parts(file, f.bytes, depth, err));
            known = true;
        } else if ((f.number == FIELD_CLASSIFIER || f.number == FIELD_REGRESSOR) && f.wire == 2) {
            SM_TRY(check_wrapped(file, f.bytes, depth, err));
            known = true;
        } else if (f.number >= 200)
            other = f.number;
    }
    if (more < 0)
        return SM_FAIL(err, SM_BADINPUT, "%s: offset %zu: malformed field: not a Core ML model", file, at);
    if (!known && other != 0)
        return refuse_kind(file, other, err);
    if (!known)
        return SM_FAIL(err, SM_BADINPUT, "%s: holds no model", file);
    if (version < 1 || version > SM_PKG_SPEC_MAX)
        return SM_FAIL(err, SM_UNSUPPORTED, "%s: specification version: supported are %d to %d, found %" PRIu64, file,
                       SM_PKG_SPEC_MIN, SM_PKG_SPEC_MAX, version);
    return SM_OK;
}

/* ------------------------------------------------------------------ description */

static sm_status copy_text(sm_package *pkg, const char *s, const char **out, sm_err *err) {
    *out = sm_arena_strdup(pkg->graph->arena, s == NULL ? "" : s);
    return *out == NULL ? SM_NOMEM(err) : SM_OK;
}

static sm_status read_description(sm_package *pkg, const SmPb__ModelDescription *d, sm_err *err) {
    static const SmPb__Metadata none = SM_PB__METADATA__INIT;
    const SmPb__Metadata *m = d == NULL || d->metadata == NULL ? &none : d->metadata;
    if (d != NULL && d->default_function[0] != 0)
        SM_TRY(copy_text(pkg, d->default_function, &pkg->default_function, err));
    SM_TRY(copy_text(pkg, m->short_description, &pkg->short_description, err));
    SM_TRY(copy_text(pkg, m->version, &pkg->version, err));
    SM_TRY(copy_text(pkg, m->author, &pkg->author, err));
    SM_TRY(copy_text(pkg, m->license, &pkg->license, err));
    pkg->meta = sm_arena_alloc_n(pkg->graph->arena, m->n_user_defined, sizeof *pkg->meta);
    if (pkg->meta == NULL)
        return SM_NOMEM(err);
    pkg->n_meta = m->n_user_defined;
    for (size_t i = 0; i < pkg->n_meta; i++) {
        SM_TRY(copy_text(pkg, m->user_defined[i]->key, &pkg->meta[i].key, err));
        SM_TRY(copy_text(pkg, m->user_defined[i]->value, &pkg->meta[i].value, err));
    }
    return SM_OK;
}

/* ------------------------------------------------------------------ programs */

static sm_status check_program(const SmPb__Model *m, sm_err *err) {
    const SmPb__Program *p = m->ml_program;
    if (m->specification_version < SM_PKG_SPEC_MIN || m->specification_version > SM_PKG_SPEC_MAX)
        return SM_FAIL(err, SM_UNSUPPORTED, "specification version: supported are %d to %d, found %" PRId32,
                       SM_PKG_SPEC_MIN, SM_PKG_SPEC_MAX, m->specification_version);
    if (p == NULL || p->n_functions == 0)
        return SM_FAIL(err, SM_BADINPUT, "the program has no function");
    if (p->version != 1)
        return SM_FAIL(err, SM_UNSUPPORTED, "program version: wanted 1, found %" PRId64, p->version);
    for (size_t i = 0; i < p->n_functions; i++)
        if (p->functions[i]->value == NULL)
            return SM_FAIL(err, SM_BADINPUT, "function %s is empty",
                           sm_quote(p->functions[i]->key, strlen(p->functions[i]->key)));
    return SM_OK;
}

/* <prefix><name>, in the graph's arena. */
static sm_status graph_name(sm_pkg_reader *r, const char *name, const char **out, sm_err *err) {
    *out = sm_arena_printf(r->g->arena, "%s%s", r->prefix, name);
    return *out == NULL ? SM_NOMEM(err) : SM_OK;
}

static sm_status read_functions(sm_pkg_reader *r, const SmPb__Model *m, sm_err *err) {
    const SmPb__Program *p = m->ml_program;
    const char *def = r->pkg->default_function, *as, *first = NULL;
    SM_TRY(check_program(m, err));
    for (size_t i = 0; i < p->n_functions; i++) {
        const char *name = p->functions[i]->key;
        SM_TRY(graph_name(r, name, &as, err));
        if (sm_graph_func(r->g, as) != NULL)
            return SM_FAIL(err, SM_BADINPUT, "function %s is defined twice", sm_quote(name, strlen(name)));
        SM_TRY(sm_pkg_read_function(r, m, name, as, p->functions[i]->value, err));
        first = first == NULL ? as : first;
    }
    SM_TRY(graph_name(r, def != NULL ? def : "main", &as, err));
    if (def != NULL && sm_graph_func(r->g, as) == NULL)
        return SM_FAIL(err, SM_BADINPUT, "the default function %s does not exist", sm_quote(def, strlen(def)));
    r->pkg->default_function = sm_graph_func(r->g, as) != NULL ? as : first;
    return SM_OK;
}

/* ------------------------------------------------------------------ pipelines */

static const SmPb__Pipeline *pipeline_of(const SmPb__Model *m) {
    const SmPb__PipelineOf *w = m->pipeline_classifier != NULL ? m->pipeline_classifier : m->pipeline_regressor;
    return m->pipeline != NULL ? m->pipeline : w != NULL ? w->pipeline : NULL;
}

/* The function of a part that a pipeline calls. */
static const SmPb__FunctionEntry *part_function(const SmPb__Model *m) {
    const SmPb__Program *p = m->ml_program;
    const char *wanted = m->description == NULL ? "" : m->description->default_function;
    for (size_t i = 0; i < p->n_functions; i++)
        if (strcmp(p->functions[i]->key, wanted[0] == 0 ? "main" : wanted) == 0)
            return p->functions[i];
    return p->n_functions == 1 ? p->functions[0] : NULL;
}

/* Reads the programs of a pipeline, nested ones in their place, as functions part0, part1 ... */
static sm_status read_parts(sm_pkg_reader *r, const SmPb__Pipeline *p, sm_func **parts, int *n, sm_err *err) {
    for (size_t i = 0; i < p->n_models; i++) {
        const SmPb__Model *m = p->models[i];
        const char *name;
        char part[16];
        sm_status st = SM_OK;
        const SmPb__FunctionEntry *f = NULL;
        if (pipeline_of(m) != NULL) {
            SM_TRY(read_parts(r, pipeline_of(m), parts, n, err));
            continue;
        }
        if (*n >= PARTS_MAX)
            return SM_FAIL(err, SM_BADINPUT, "a pipeline of more than %d parts", PARTS_MAX);
        snprintf(part, sizeof part, "part%d", *n);
        SM_TRY(graph_name(r, part, &name, err));
        st = check_program(m, err);
        if (st == SM_OK && (f = part_function(m)) == NULL)
            st = SM_FAIL(err, SM_BADINPUT, "which of its %zu functions is called is not said",
                         m->ml_program->n_functions);
        if (st == SM_OK)
            st = sm_pkg_read_function(r, m, f->key, name, f->value, err);
        if (st != SM_OK) {
            sm_err_prefix(err, "part %d of the pipeline", *n);
            return st;
        }
        r->pkg->spec_version = SM_MAX(r->pkg->spec_version, m->specification_version);
        parts[(*n)++] = sm_graph_func(r->g, name);
    }
    return SM_OK;
}

/* What no part gives must be an input of the pipeline. */
static sm_status check_inputs(const sm_func *f, const SmPb__ModelDescription *d, sm_err *err) {
    size_t n = d == NULL ? 0 : d->n_input;
    sm_map *known = sm_map_new(n);
    sm_status st = known == NULL ? SM_NOMEM(err) : SM_OK;
    int64_t at;
    for (size_t k = 0; k < n && st == SM_OK; k++)
        if (!sm_map_put(known, sm_sv_of(d->input[k]->name), 0, NULL, NULL))
            st = SM_NOMEM(err);
    for (int i = 0; i < f->body->n_in && st == SM_OK; i++) {
        const sm_value *v = f->body->in[i];
        if (v->type.kind == SM_V_TENSOR && !sm_map_get(known, sm_sv_of(v->name), &at))
            st = SM_FAIL(err, SM_BADINPUT,
                         "input '%s' of a part: no earlier part gives it, nor is it one of the pipeline", v->name);
    }
    sm_map_free(&known);
    return st;
}

static sm_status read_pipeline(sm_pkg_reader *r, const SmPb__Model *m, sm_err *err) {
    const SmPb__Pipeline *p = pipeline_of(m);
    const SmPb__ModelDescription *d = m->description;
    size_t n_out = d == NULL ? 0 : d->n_output;
    sm_func **parts = sm_arena_alloc_n(r->tmp, PARTS_MAX, sizeof *parts), *f;
    const char **outputs = sm_arena_alloc_n(r->tmp, n_out, sizeof *outputs);
    int n = 0;
    if (parts == NULL || outputs == NULL)
        return SM_NOMEM(err);
    SM_TRY(read_parts(r, p, parts, &n, err));
    if (n == 0)
        return SM_FAIL(err, SM_BADINPUT, "a pipeline without parts");
    for (size_t i = 0; i < n_out; i++)
        outputs[i] = d->output[i]->name;
    sm_chain chain = {.parts = parts, .n_parts = n, .outputs = outputs, .n_outputs = (int)n_out};
    SM_TRY(graph_name(r, "main", &chain.name, err));
    SM_TRY(sm_func_chain(r->g, &chain, &f, err));
    r->pkg->default_function = f->name;
    r->pkg->n_parts = n;
    return check_inputs(f, d, err);
}

/* ------------------------------------------------------------------ the whole */

sm_status sm_pkg_read_model(sm_pkg_reader *r, const char *file, sm_bytes m, sm_err *err) {
    ProtobufCMessage *msg = NULL;
    sm_status st = SM_OK;
    if (m.n > MODEL_LIMIT)
        return SM_FAIL(err, SM_UNSUPPORTED, "%s: more than %" PRIu64 " MiB of program", file, MODEL_LIMIT >> 20);
    SM_TRY(check_kind(file, m, 0, err));
    r->pkg->model_bytes = m.n;
    r->tmp = sm_arena_new();
    r->const_of = sm_map_new(1024);
    if (r->tmp == NULL || r->const_of == NULL) {
        st = SM_NOMEM(err);
        goto done;
    }
    SM_TRY_DONE(sm_pb_unpack(file, &sm_pb__model__descriptor, m.p, m.n, r->tmp, &msg, err));
    const SmPb__Model *model = (const SmPb__Model *)msg;
    r->pkg->spec_version = model->specification_version;
    SM_TRY_DONE(read_description(r->pkg, model->description, err));
    st = pipeline_of(model) != NULL ? read_pipeline(r, model, err) : read_functions(r, model, err);
    if (st != SM_OK)
        sm_err_prefix(err, "%s", file);
    if (r->pkg->n_images > 1)
        qsort(r->pkg->images, r->pkg->n_images, sizeof *r->pkg->images, sm_pkg_image_order);
done:
    sm_arena_free(&r->tmp);
    sm_map_free(&r->const_of);
    sm_map_free(&r->features.names);
    sm_free(r->consts.v);
    return st;
}
