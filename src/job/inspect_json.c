/* SPDX-License-Identifier: MIT
 *
 * inspect_json.c: the report as JSON.  docs/inspect.md lists the keys; what nothing says is left out.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "job/inspect_int.h"

/* ------------------------------------------------------------------ small things */
static void put_real(json_t *o, const char *key, double v) {
    if (v > 0.0)
        sm_json_put(o, key, json_real(v));
}

static double bits(uint64_t bytes, uint64_t numel) {
    return numel > 0 ? 8.0 * (double)bytes / (double)numel : 0.0;
}

/* ------------------------------------------------------------------ numbers of the model */
static void put_hparams(json_t *j, const sm_report *r) {
    const ins_hparams *h = &r->h;
    json_t *rope = json_object();
    sm_json_put_known(j, "trained_context", h->trained_ctx);
    sm_json_put_known(j, "layers", h->layers);
    sm_json_put_known(j, "width", h->width);
    sm_json_put_known(j, "mlp_width", h->mlp_width);
    sm_json_put_known(j, "heads", h->heads);
    sm_json_put_known(j, "kv_heads", h->kv_heads);
    sm_json_put_known(j, "head_dim", h->head_dim);
    sm_json_put_known(j, "value_dim", h->v_dim);
    sm_json_put_known(j, "vocab", h->vocab);
    if (h->layers_differ)
        sm_json_put(j, "layers_differ", json_true());
    sm_json_put_known(j, "sliding_window", h->window);
    if (r->l->func)
        sm_json_put_int(j, "sliding_window_layers", h->windowed_layers);
    sm_json_put_known(j, "experts", h->experts);
    put_real(j, "norm_epsilon", h->norm_eps);
    put_real(j, "attention_softcap", h->attn_softcap);
    put_real(j, "logit_softcap", h->head_softcap);
    put_real(rope, "base", h->rope_base);
    put_real(rope, "local_base", h->rope_local_base);
    sm_json_put_text(rope, "scaling", h->rope_scaling);
    put_real(rope, "factor", h->rope_factor);
    sm_json_put_known(rope, "dimensions", h->rope_dim);
    sm_json_put_known(rope, "original_context", h->rope_ctx);
    if (json_object_size(rope) > 0)
        sm_json_put(j, "rope", json_incref(rope));
    json_decref(rope);
}

static void put_memory(json_t *j, const sm_report *r) {
    const ins_memory *m = &r->mem;
    json_t *o = json_object();
    if (m->known) {
        sm_json_put_int(o, "context", m->ctx);
        sm_json_put_text(o, "backend", m->backend);
        sm_json_put_int(o, "weight_bytes", (int64_t)m->weights);
        sm_json_put_int(o, "mapped_bytes", (int64_t)m->mapped);
        sm_json_put_int(o, "kv_bytes", (int64_t)m->kv);
        sm_json_put_int(o, "activation_bytes", (int64_t)m->activations);
        sm_json_put_int(o, "total_bytes", (int64_t)m->total);
        sm_json_put_int(o, "read_bytes_per_token", (int64_t)m->read_per_token);
        sm_json_put_int(o, "flops_per_token", (int64_t)m->flops_per_token);
        sm_json_put_int(j, "kv_bytes_per_token_fp16", (int64_t)(m->kv_f16 / (uint64_t)m->ctx));
    } else {
        sm_json_put_text(o, "unknown", m->why);
    }
    sm_json_put(j, "memory", o);
}

/* ------------------------------------------------------------------ text part */
static void put_special(json_t *o, const char *key, const sm_tokenizer *t, int32_t id) {
    if (id == SM_NO_TOKEN)
        return;
    json_t *s = json_object();
    sm_json_put_int(s, "id", id);
    sm_json_put(s, "text", sm_json_text(sm_tokenizer_text(t, id)));
    sm_json_put(o, key, s);
}

static void put_template(json_t *j, const sm_report *r) {
    sm_sv t = sm_tokenizer_chat_template(r->l->tok, NULL);
    if (t.n == 0)
        return;
    json_t *o = json_object();
    const char *end = memchr(t.p, '\n', t.n);
    sm_json_put_int(o, "bytes", (int64_t)t.n);
    sm_json_put(o, "first_line", sm_json_text((sm_sv){t.p, end ? (size_t)(end - t.p) : t.n}));
    if (r->o->template)
        sm_json_put(o, "text", sm_json_text(t));
    sm_json_put(j, "chat_template", o);
}

static void put_tokenizer(json_t *j, const sm_report *r) {
    const sm_loaded *l = r->l;
    if (!l->tok) {
        sm_json_put_text(j, "tokenizer_missing", l->tok_err.msg);
        return;
    }
    const sm_tokenizer *tk = l->tok;
    json_t *t = json_object(), *special = json_object(), *ends = json_array();
    const sm_meta *pre = sm_checkpoint_meta(l->vocab ? l->vocab : l->ckpt, "tokenizer.ggml.pre");
    size_t n;
    const int32_t *end = sm_tokenizer_ends(tk, &n);
    sm_json_put_text(t, "kind", sm_tokenizer_kind(tk));
    if (pre && pre->type == SM_META_STR)
        sm_json_put(t, "pre", sm_json_text(pre->u.s));
    sm_json_put_int(t, "tokens", sm_tokenizer_count(tk));
    sm_json_put_int(t, "bos", sm_tokenizer_bos(tk));
    sm_json_put_int(t, "eos", sm_tokenizer_eos(tk));
    put_special(special, "bos", tk, sm_tokenizer_bos(tk));
    put_special(special, "eos", tk, sm_tokenizer_eos(tk));
    put_special(special, "eot", tk, sm_tokenizer_eot(tk));
    put_special(special, "unk", tk, sm_tokenizer_unk(tk));
    put_special(special, "pad", tk, sm_tokenizer_pad(tk));
    sm_json_put(t, "special", special);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(ends, json_integer(end[i]));
    sm_json_put(t, "ends", ends);
    sm_json_put(t, "adds_bos", json_boolean(sm_tokenizer_adds_bos(tk)));
    sm_json_put(t, "adds_eos", json_boolean(sm_tokenizer_adds_eos(tk)));
    sm_json_put(t, "chat_template", json_boolean(sm_tokenizer_chat_template(tk, NULL).n > 0));
    sm_json_put(j, "tokenizer", t);
    put_template(j, r);
}

static void put_generation(json_t *j, const sm_gen_config *g) {
    json_t *o = json_object();
    if (g->temp >= 0.0)
        sm_json_put(o, "temperature", json_real(g->temp));
    if (g->top_k >= 0)
        sm_json_put_int(o, "top_k", g->top_k);
    if (g->top_p >= 0.0)
        sm_json_put(o, "top_p", json_real(g->top_p));
    if (g->min_p >= 0.0)
        sm_json_put(o, "min_p", json_real(g->min_p));
    if (g->repeat_penalty > 0.0)
        sm_json_put(o, "repetition_penalty", json_real(g->repeat_penalty));
    if (json_object_size(o) > 0)
        sm_json_put(j, "generation", json_incref(o));
    json_decref(o);
}

/* ------------------------------------------------------------------ tensors, ops */
static void put_encodings(json_t *j, const sm_report *r) {
    json_t *all = json_object();
    for (size_t i = 0; i < r->encodings.n; i++) {
        const ins_encoding *e = &r->encodings.v[i];
        json_t *o = json_object();
        sm_json_put_int(o, "tensors", (int64_t)e->tensors);
        sm_json_put_int(o, "weights", (int64_t)e->numel);
        sm_json_put_int(o, "bytes", (int64_t)e->bytes);
        sm_json_put(o, "bits_per_weight", json_real(bits(e->bytes, e->numel)));
        sm_json_put(all, e->name, o);
    }
    sm_json_put(j, "encodings", all);
}

static void put_weights(json_t *j, const sm_report *r) {
    json_t *all = json_array();
    for (size_t i = 0; i < r->n_tensors; i++) {
        const ins_tensor *x = &r->tensors[i];
        json_t *o = json_object(), *shape = json_array();
        for (int a = 0; a < x->t->rank; a++)
            json_array_append_new(shape, json_integer(x->t->dims[a]));
        sm_json_put(o, "name", sm_json_text(x->name));
        sm_json_put(o, "shape", shape);
        sm_json_put_text(o, "encoding", x->encoding);
        sm_json_put_text(o, "dtype", sm_dtype_name(x->t->dtype));
        sm_json_put_int(o, "bytes", (int64_t)x->bytes);
        sm_json_put(o, "bits_per_weight", json_real(bits(x->bytes, x->numel)));
        if (x->file) {
            if (r->files.n > 1)
                sm_json_put_text(o, "file", x->file);
            sm_json_put_int(o, "offset", (int64_t)x->offset);
        }
        json_array_append_new(all, o);
    }
    sm_json_put(j, "weights", all);
}

static json_t *ops_of(const ins_ops *ops) {
    json_t *o = json_object();
    for (size_t i = 0; i < ops->n; i++)
        sm_json_put_int(o, ops->v[i].name, (int64_t)ops->v[i].n);
    return o;
}

/* Ops by the version that introduced them. */
static json_t *opsets_of(const ins_ops *ops) {
    json_t *o = json_object();
    for (size_t i = 0; i < ops->n; i++) {
        const char *name = ins_opset_name(ops->v[i].since);
        sm_json_put_int(o, name, json_integer_value(json_object_get(o, name)) + (int64_t)ops->v[i].n);
    }
    return o;
}

/* ------------------------------------------------------------------ packages */
static json_t *shapes_of(const struct ins_value *v) {
    json_t *all = json_array();
    for (int i = 0; i < v->n_shapes; i++) {
        json_t *row = json_array();
        for (int a = 0; a < v->rank; a++)
            json_array_append_new(row, json_integer(v->shapes[i * v->rank + a]));
        json_array_append_new(all, row);
    }
    return all;
}

static json_t *values_of(const ins_func *f, char role) {
    json_t *all = json_array();
    for (size_t i = 0; i < f->n_values; i++) {
        const struct ins_value *v = &f->values[i];
        if (v->role != role)
            continue;
        json_t *o = json_object(), *dims = json_array(), *flexible = json_object();
        for (int a = 0; a < v->rank; a++) {
            const struct ins_dim *d = &v->dim[a];
            json_array_append_new(dims, d->n >= 0 ? json_integer(d->n) : json_string(d->text));
            if (d->bounded)
                sm_json_put(flexible, d->text,
                            d->hi < 0 ? json_pack("{s:I}", "least", (json_int_t)d->lo)
                                      : json_pack("{s:I,s:I}", "least", (json_int_t)d->lo, "most", (json_int_t)d->hi));
        }
        sm_json_put_text(o, "name", v->name);
        sm_json_put_text(o, "dtype", v->dtype);
        sm_json_put(o, "shape", dims);
        if (v->n_shapes > 0)
            sm_json_put(o, "shapes", shapes_of(v));
        if (json_object_size(flexible) > 0)
            sm_json_put(o, "flexible", json_incref(flexible));
        json_decref(flexible);
        json_array_append_new(all, o);
    }
    return all;
}

static void put_package(json_t *j, const sm_report *r) {
    const sm_package *p = r->l->pkg;
    json_t *funcs = json_array(), *items = json_array(), *meta = json_object();
    sm_json_put_int(j, "specification", p->spec_version);
    sm_json_put_text(j, "minimum_os", sm_target_of(p->spec_version) != NULL ? ins_opset_name(p->spec_version) : "");
    sm_json_put_text(j, "description", p->short_description);
    sm_json_put_text(j, "author", p->author);
    sm_json_put_text(j, "license", p->license);
    sm_json_put_text(j, "model_version", p->version);
    sm_json_put_text(j, "default_function", p->default_function);
    sm_json_put_int(j, "model_bytes", (int64_t)p->model_bytes);
    sm_json_put_known(j, "pipeline_parts", p->n_parts);
    if (p->n_classes > 0) {
        json_t *classes = json_array();
        for (size_t i = 0; i < p->n_classes; i++)
            json_array_append_new(classes, sm_json_text(p->classes[i]));
        sm_json_put(j, "classes", classes);
    }
    sm_json_put_known(j, "context", r->l->pkg_ctx);
    sm_json_put_known(j, "tokens_per_call", r->l->pkg_seq);
    for (int i = 0; i < r->n_funcs; i++) {
        const ins_func *f = &r->funcs[i];
        json_t *o = json_object();
        sm_json_put_text(o, "name", f->f->name);
        sm_json_put_text(o, "opset", ins_opset_name(f->f->opset));
        sm_json_put(o, "inputs", values_of(f, 'i'));
        sm_json_put(o, "states", values_of(f, 's'));
        sm_json_put(o, "outputs", values_of(f, 'o'));
        sm_json_put(o, "ops", ops_of(&f->ops));
        sm_json_put(o, "ops_by_version", opsets_of(&f->ops));
        json_array_append_new(funcs, o);
    }
    sm_json_put(j, "functions", funcs);
    for (size_t i = 0; i < p->n_meta; i++)
        sm_json_put(meta, p->meta[i].key, sm_json_text(sm_sv_of(p->meta[i].value)));
    sm_json_put(j, "metadata", meta);
    for (size_t i = 0; i < p->n_items; i++)
        json_array_append_new(items, sm_json_text(sm_sv_of(p->items[i].path)));
    sm_json_put(j, "items", items);
}

/* ------------------------------------------------------------------ checkpoints */
/* The first elements of a list, and how many there are. */
static json_t *array_of(const sm_meta *m, bool first) {
    enum { SHOWN = 8 };
    json_t *o, *v;
    char note[64];
    snprintf(note, sizeof note, "(%" PRIu64 " elements)", m->u.a.n);
    if (!first)
        return json_string(note);
    o = json_object(), v = json_array();
    sm_json_put_int(o, "elements", (int64_t)m->u.a.n);
    sm_json_put_text(o, "type", m->elem == SM_META_STR ? "string" : sm_dtype_name(m->raw));
    for (uint64_t i = 0; i < m->u.a.n && i < SHOWN; i++)
        json_array_append_new(v, m->elem == SM_META_STR     ? sm_json_text(m->u.a.strs[i])
                                 : m->elem == SM_META_FLOAT ? json_real(sm_meta_elem_float(m, i))
                                                            : json_integer(sm_meta_elem_int(m, i)));
    sm_json_put(o, "first", v);
    return o;
}

static json_t *meta_value(const sm_meta *m, bool first) {
    switch (m->type) {
    case SM_META_BOOL:
        return json_boolean(m->u.i != 0);
    case SM_META_INT:
        return json_integer(m->u.i);
    case SM_META_FLOAT:
        return json_real(m->u.f);
    case SM_META_STR:
        return sm_json_text(m->u.s);
    case SM_META_ARRAY:
        break;
    }
    return array_of(m, first);
}

static void put_checkpoint(json_t *j, const sm_report *r) {
    const sm_checkpoint *c = r->l->ckpt;
    json_t *meta = json_object();
    char key[256];
    for (size_t i = 0; i < c->n_meta; i++) {
        snprintf(key, sizeof key, "%.*s", (int)SM_MIN(c->meta[i].key.n, sizeof key - 1), c->meta[i].key.p);
        sm_json_put(meta, key, meta_value(&c->meta[i], r->o->metadata));
    }
    sm_json_put(j, "metadata", meta);
    if (r->o->ops && r->l->func) {
        sm_json_put(j, "ops", ops_of(&r->ops));
        sm_json_put(j, "ops_by_version", opsets_of(&r->ops));
    }
}

/* ------------------------------------------------------------------ */
static void put_files(json_t *j, const sm_report *r) {
    json_t *files = json_array();
    uint64_t bytes = 0;
    for (size_t i = 0; i < r->files.n; i++) {
        json_t *o = json_object();
        sm_json_put_text(o, "path", r->files.v[i].path);
        sm_json_put_int(o, "bytes", (int64_t)r->files.v[i].bytes);
        sm_json_put_text(o, "sha256", r->files.v[i].sha256);
        json_array_append_new(files, o);
        bytes += r->files.v[i].bytes;
    }
    sm_json_put_int(j, "file_bytes", (int64_t)bytes);
    sm_json_put(j, "files", files);
}

sm_status ins_print_json(const sm_report *r, sm_str *out, sm_err *err) {
    const sm_loaded *l = r->l;
    json_t *j = json_object();
    sm_json_put_text(j, "format", l->format);
    sm_json_put_text(j, "name", l->name);
    sm_json_put_text(j, "architecture", l->info.architecture);
    sm_json_put_text(j, "family", l->info.family);
    sm_json_put_known(j, "parameters", (int64_t)r->parameters);
    if (r->embedding_parameters > 0 && r->embedding_parameters <= r->parameters) {
        sm_json_put_int(j, "embedding_parameters", (int64_t)r->embedding_parameters);
        sm_json_put_int(j, "non_embedding_parameters", (int64_t)(r->parameters - r->embedding_parameters));
    }
    put_files(j, r);
    sm_json_put_int(j, "tensors", (int64_t)r->n_tensors);
    sm_json_put_int(j, "weight_bytes", (int64_t)r->weight_bytes);
    sm_json_put(j, "bits_per_weight", json_real(bits(r->weight_bytes, r->weight_numel)));
    sm_json_put(j, "content_hash", r->content_hash[0] ? json_string(r->content_hash) : json_null());
    put_hparams(j, r);
    if (!l->func)
        sm_json_put_text(j, "not_runnable", l->why);
    put_memory(j, r);
    put_tokenizer(j, r);
    put_generation(j, &l->gen);
    put_encodings(j, r);
    if (l->pkg)
        put_package(j, r);
    else
        put_checkpoint(j, r);
    if (r->o->weights)
        put_weights(j, r);
    if (r->o->graph)
        sm_json_put(j, "graph", sm_json_text((sm_sv){sm_str_z(&r->graph), r->graph.n}));
    return sm_json_write(j, 9, out, err);
}
