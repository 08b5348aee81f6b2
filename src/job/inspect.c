/* SPDX-License-Identifier: MIT
 *
 * inspect.c: gathers facts about a file as one JSON value; people get the same value laid out as text.
 *
 * A file whose architecture no family takes is still described: what is missing is one of the facts.
 */
#include "job/inspect.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "backend/backend.h"
#include "job/load.h"
#include "pass/pass.h"

/* ------------------------------------------------------------------ small things */
static json_t *text_of(sm_sv s) {
    json_t *j = json_stringn(s.p ? s.p : "", s.n);
    return j ? j : json_string("(not UTF-8)");
}

static json_t *shape_of(int rank, const int64_t *dims) {
    json_t *a = json_array();
    for (int i = 0; i < rank; i++)
        json_array_append_new(a, json_integer(dims[i]));
    return a;
}

static void put_int(json_t *o, const char *key, int64_t v) {
    json_object_set_new(o, key, json_integer(v));
}

static void put_text(json_t *o, const char *key, const char *v) {
    if (v && *v)
        json_object_set_new(o, key, text_of(sm_sv_of(v)));
}

/* "q4_k": {"tensors": 12, "bytes": 345} */
static void count_encoding(json_t *o, const char *enc, uint64_t bytes) {
    json_t *e = json_object_get(o, enc);
    if (!e) {
        e = json_object();
        json_object_set_new(o, enc, e);
    }
    put_int(e, "tensors", json_integer_value(json_object_get(e, "tensors")) + 1);
    put_int(e, "bytes", json_integer_value(json_object_get(e, "bytes")) + (int64_t)bytes);
}

static json_t *describe_tensor(const char *name, const sm_tensor *t) {
    char enc[160];
    json_t *o = json_object();
    json_object_set_new(o, "name", text_of(sm_sv_of(name)));
    json_object_set_new(o, "shape", shape_of(t->rank, t->dims));
    put_text(o, "encoding", sm_enc_print(&t->enc, t->rank, enc, sizeof enc));
    put_int(o, "bytes", (int64_t)sm_tensor_bytes(t));
    return o;
}

/* ------------------------------------------------------------------ model facts */
static void put_runtime(json_t *o, const sm_loaded *l) {
    sm_kv_slot slots[1024];
    if (!l->func) {
        put_text(o, "not_runnable", l->why);
        return;
    }
    int n = sm_func_kv_slots(l->func, slots, 1024);
    int64_t per_token = 0, windowed = 0;
    for (int i = 0; i < n; i++) {
        per_token += 2 * (int64_t)slots[i].heads * (slots[i].head_dim + slots[i].v_dim);
        windowed += slots[i].window > 0;
    }
    put_int(o, "layers", n);
    if (n > 0) {
        put_int(o, "heads", slots[0].q_heads);
        put_int(o, "kv_heads", slots[0].heads);
        put_int(o, "head_dim", slots[0].head_dim);
    }
    put_int(o, "sliding_window_layers", windowed);
    put_int(o, "vocab", l->info.vocab);
    put_int(o, "kv_bytes_per_token_fp16", per_token);
}

static void put_tokenizer(json_t *o, const sm_loaded *l) {
    if (!l->tok) {
        put_text(o, "tokenizer_missing", l->tok_err.msg);
        return;
    }
    json_t *t = json_object();
    put_text(t, "kind", sm_tokenizer_kind(l->tok));
    put_int(t, "tokens", sm_tokenizer_count(l->tok));
    put_int(t, "bos", sm_tokenizer_bos(l->tok));
    put_int(t, "eos", sm_tokenizer_eos(l->tok));
    json_object_set_new(t, "adds_bos", json_boolean(sm_tokenizer_adds_bos(l->tok)));
    json_object_set_new(t, "chat_template", json_boolean(sm_tokenizer_chat_template(l->tok, NULL).n > 0));
    json_object_set_new(o, "tokenizer", t);
}

static json_t *meta_value(const sm_meta *m) {
    switch (m->type) {
    case SM_META_BOOL:
        return json_boolean(m->u.i != 0);
    case SM_META_INT:
        return json_integer(m->u.i);
    case SM_META_FLOAT:
        return json_real(m->u.f);
    case SM_META_STR:
        return text_of(m->u.s);
    case SM_META_ARRAY:
        break;
    }
    char note[64];
    snprintf(note, sizeof note, "(%" PRIu64 " elements)", m->u.a.n);
    return json_string(note);
}

static json_t *describe_checkpoint(const sm_loaded *l, const sm_inspect_opts *o) {
    json_t *j = json_object(), *enc = json_object(), *meta = json_object(), *weights = json_array();
    const sm_checkpoint *c = l->ckpt;
    uint64_t params = 0;
    put_text(j, "format", l->format);
    put_text(j, "name", l->name);
    put_text(j, "architecture", l->info.architecture);
    put_text(j, "family", l->info.family);
    for (size_t i = 0; i < c->n_tensors; i++) {
        const sm_tensor *t = &c->tensors[i];
        char name[160], label[160];
        snprintf(name, sizeof name, "%.*s", (int)t->name.n, t->name.p);
        count_encoding(enc, sm_enc_print(&t->enc, t->rank, label, sizeof label), sm_tensor_bytes(t));
        params += sm_tensor_numel(t);
        if (o->weights)
            json_array_append_new(weights, describe_tensor(name, t));
    }
    put_int(j, "parameters", (int64_t)params);
    put_int(j, "file_bytes", (int64_t)l->file_bytes);
    put_int(j, "trained_context", l->info.trained_ctx);
    if (l->func) {
        put_int(j, "width", l->info.d_model);
        put_int(j, "mlp_width", l->info.d_ff);
    }
    put_runtime(j, l);
    put_tokenizer(j, l);
    json_object_set_new(j, "encodings", enc);
    for (size_t i = 0; i < c->n_meta; i++) {
        char key[256];
        snprintf(key, sizeof key, "%.*s", (int)SM_MIN(c->meta[i].key.n, sizeof key - 1), c->meta[i].key.p);
        json_object_set_new(meta, key, meta_value(&c->meta[i]));
    }
    json_object_set_new(j, "metadata", meta);
    if (o->weights)
        json_object_set_new(j, "weights", weights);
    else
        json_decref(weights);
    return j;
}

/* ------------------------------------------------------------------ packages */
static json_t *describe_value(const sm_graph *g, const sm_value *v) {
    json_t *o = json_object(), *dims = json_array();
    char text[128];
    put_text(o, "name", v->name);
    put_text(o, "dtype", sm_dtype_name(v->type.dtype));
    for (int i = 0; i < v->type.rank; i++)
        json_array_append_new(dims, sm_dim_known(v->type.dims[i])
                                        ? json_integer(v->type.dims[i])
                                        : json_string(sm_dim_print(g, v->type.dims[i], text, sizeof text)));
    json_object_set_new(o, "shape", dims);
    return o;
}

static void count_block(const sm_block *b, json_t *ops, json_t *weights, json_t *enc, bool *seen) {
    for (const sm_node *n = b->first; n; n = n->next) {
        const char *name = sm_op_row_of(n->op)->name;
        put_int(ops, name, json_integer_value(json_object_get(ops, name)) + 1);
        for (int i = 0; i < sm_op_row_of(n->op)->n_slots + n->n_list; i++) {
            int k = i - sm_op_row_of(n->op)->n_slots;
            const sm_value *v = k < 0 ? n->in[i] : n->list[k];
            if (!v || !v->cst || seen[v->id] || v->cst->strs || sm_tensor_numel(&v->cst->src) < 16)
                continue;
            char label[160];
            const sm_tensor *t = &v->cst->src;
            seen[v->id] = true;
            count_encoding(enc, sm_enc_print(&t->enc, t->rank, label, sizeof label), sm_tensor_bytes(t));
            json_array_append_new(weights, describe_tensor(v->name, t));
        }
        for (int i = 0; i < n->n_blocks; i++)
            count_block(n->blocks[i], ops, weights, enc, seen);
    }
}

static json_t *describe_function(const sm_func *f, json_t *weights, json_t *enc, bool *seen) {
    json_t *o = json_object(), *in = json_array(), *out = json_array(), *states = json_array(), *ops = json_object();
    put_text(o, "name", f->name);
    for (int i = 0; i < f->body->n_in; i++)
        json_array_append_new(f->body->in[i]->type.kind == SM_V_STATE ? states : in,
                              describe_value(f->graph, f->body->in[i]));
    for (int i = 0; i < f->body->n_out; i++)
        json_array_append_new(out, describe_value(f->graph, f->body->out[i]));
    count_block(f->body, ops, weights, enc, seen);
    json_object_set_new(o, "inputs", in);
    json_object_set_new(o, "states", states);
    json_object_set_new(o, "outputs", out);
    json_object_set_new(o, "ops", ops);
    return o;
}

/* What is written first, then what raising makes of it, which takes the place of what was written. */
static sm_status describe_package(sm_loaded *l, const char *path, const sm_inspect_opts *o, json_t **out, sm_err *err) {
    json_t *j = json_object(), *enc = json_object(), *meta = json_object(), *weights = json_array();
    json_t *funcs = json_array(), *items = json_array();
    const sm_package *p = l->pkg;
    bool *seen = sm_alloc_n(l->graph->n_values, sizeof *seen);
    put_text(j, "format", l->format);
    put_int(j, "specification", p->spec_version);
    put_text(j, "name", l->name);
    put_text(j, "description", p->short_description);
    put_text(j, "default_function", p->default_function);
    put_int(j, "weight_bytes", (int64_t)p->weight_bytes);
    put_int(j, "model_bytes", (int64_t)p->model_bytes);
    for (int i = 0; i < l->graph->n_funcs && seen; i++)
        json_array_append_new(funcs, describe_function(l->graph->funcs[i], weights, enc, seen));
    sm_free(seen);
    json_object_set_new(j, "functions", funcs);
    json_object_set_new(j, "encodings", enc);
    sm_status st = sm_loaded_raise(l, path, err);
    put_runtime(j, l);
    if (l->pkg_ctx > 0)
        put_int(j, "context", l->pkg_ctx);
    if (l->pkg_seq > 0)
        put_int(j, "tokens_per_call", l->pkg_seq);
    put_tokenizer(j, l);
    for (size_t i = 0; i < p->n_meta; i++)
        json_object_set_new(meta, p->meta[i].key, text_of(sm_sv_of(p->meta[i].value)));
    json_object_set_new(j, "metadata", meta);
    for (size_t i = 0; i < p->n_items; i++)
        json_array_append_new(items, text_of(sm_sv_of(p->items[i].path)));
    json_object_set_new(j, "items", items);
    if (o->weights)
        json_object_set_new(j, "weights", weights);
    else
        json_decref(weights);
    *out = j;
    return st;
}

/* ------------------------------------------------------------------ the same for people */
static void print_inline(const json_t *v, sm_str *out) {
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(7));
    if (json_is_string(v)) {
        const char *s = json_string_value(v);
        size_t n = strcspn(s, "\n"), most = 96;
        sm_str_addf(out, "%.*s%s", (int)SM_MIN(n, most), s, n > most || s[n] ? " ..." : "");
    } else if (text) {
        for (const char *c = text; *c; c++)
            if (*c != '"')
                sm_str_addc(out, *c);
    }
    free(text);
}

/* Objects one key a line, lists one element a line, leaves in line. */
static void print_text(const json_t *v, int depth, sm_str *out) {
    const char *key;
    json_t *x;
    size_t i;
    if (json_is_object(v)) {
        json_object_foreach((json_t *)v, key, x) {
            sm_str_addf(out, "%*s%-*s ", 2 * depth, "", SM_MAX(26 - 2 * depth, 1), key);
            if ((json_is_object(x) || json_is_array(x)) && depth < 3) {
                sm_str_addc(out, '\n');
                print_text(x, depth + 1, out);
            } else {
                print_inline(x, out);
                sm_str_addc(out, '\n');
            }
        }
    } else if (json_is_array(v)) {
        json_array_foreach((json_t *)v, i, x) {
            if (json_is_object(x) && json_object_get(x, "ops")) {
                print_text(x, depth, out);
                continue;
            }
            sm_str_addf(out, "%*s", 2 * depth, "");
            json_t *part;
            if (json_is_object(x)) {
                json_object_foreach(x, key, part) {
                    print_inline(part, out);
                    sm_str_adds(out, "  ");
                }
            } else {
                print_inline(x, out);
            }
            sm_str_addc(out, '\n');
        }
    }
}

static sm_status print_graphs(const sm_loaded *l, sm_str *out, sm_err *err) {
    sm_print_opts po = {.no_data = true};
    if (!l->graph)
        return SM_FAIL(err, SM_UNSUPPORTED, "there is no graph to print: %s", l->why);
    if (!l->pkg)
        return sm_func_print(l->func, &po, out, err);
    for (int i = 0; i < l->graph->n_funcs; i++)
        SM_TRY(sm_func_print(l->graph->funcs[i], &po, out, err));
    return SM_OK;
}

static sm_status describe(sm_loaded *l, const char *path, const sm_inspect_opts *o, json_t **out, sm_err *err) {
    sm_str graph = SM_STR_INIT;
    sm_status st = SM_OK;
    if (o->graph)
        st = print_graphs(l, &graph, err);
    if (st == SM_OK && l->pkg)
        st = describe_package(l, path, o, out, err);
    else if (st == SM_OK)
        *out = describe_checkpoint(l, o);
    if (st == SM_OK && o->graph)
        json_object_set_new(*out, "graph", text_of((sm_sv){sm_str_z(&graph), graph.n}));
    sm_str_free(&graph);
    return st;
}

sm_status sm_inspect(const char *path, const sm_inspect_opts *o, sm_str *out, sm_err *err) {
    sm_load_opts lo = {.graph_optional = true, .as_written = true};
    sm_loaded *l = NULL;
    json_t *j = NULL;
    sm_status st;
    SM_TRY_DONE(sm_load(path, &lo, &l, err));
    if (o->graph && !o->json) {
        st = print_graphs(l, out, err);
        goto done;
    }
    SM_TRY_DONE(describe(l, path, o, &j, err));
    if (o->json) {
        char *text = json_dumps(j, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
        sm_str_adds(out, text ? text : "");
        sm_str_addc(out, '\n');
        free(text);
    } else {
        print_text(j, 0, out);
    }
    if (!sm_str_ok(out))
        st = SM_NOMEM(err);
done:
    json_decref(j);
    sm_loaded_free(&l);
    return st;
}
