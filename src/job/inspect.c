/* SPDX-License-Identifier: MIT
 *
 * inspect.c: opens a file, fills the report, prints it.
 *
 * A file whose architecture no family takes, and a package that is not recognised as a model, are described all the same:
 * what is missing is one of the facts.  A package is described as it is written first, then raised, for raising takes the
 * place of what was written.
 */
#include "job/inspect.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/files.h"
#include "engine/engine.h"
#include "graph/rows.h"
#include "job/inspect_int.h"
#include "job/part_list.h"

enum { SLOTS_MAX = 4096 };
static const uint64_t HASH_ALWAYS = 1u << 30; /* bytes of weights whose hash takes no second */

/* ------------------------------------------------------------------ what both kinds have */
sm_status ins_add_tensor(sm_report *r, sm_sv name, const sm_tensor *t, sm_err *err) {
    if (!sm_grow_((void **)&r->tensors, r->n_tensors, &r->cap_tensors, sizeof *r->tensors))
        return SM_NOMEM(err);
    ins_tensor *x = &r->tensors[r->n_tensors++];
    *x = (ins_tensor){.name = name, .t = t, .numel = sm_tensor_numel(t), .bytes = sm_tensor_bytes(t)};
    sm_enc_print(&t->enc, t->rank, x->encoding, sizeof x->encoding);
    sm_mapfile_at(t->part[SM_PART_DATA].p, &x->file, &x->offset);
    r->weight_bytes += x->bytes;
    r->weight_numel += x->numel;
    size_t i = 0;
    while (i < r->encodings.n && strcmp(r->encodings.v[i].name, x->encoding) != 0)
        i++;
    if (i == r->encodings.n) {
        if (!SM_GROW(&r->encodings))
            return SM_NOMEM(err);
        ins_encoding *e = &r->encodings.v[r->encodings.n++];
        *e = (ins_encoding){0};
        memcpy(e->name, x->encoding, sizeof e->name);
    }
    r->encodings.v[i].tensors++;
    r->encodings.v[i].numel += x->numel;
    r->encodings.v[i].bytes += x->bytes;
    return SM_OK;
}

sm_status ins_count_op(ins_ops *ops, const sm_block *b, sm_err *err) {
    for (const sm_node *n = b->first; n; n = n->next) {
        const sm_op_row *row = sm_op_row_of(n->op);
        size_t i = 0;
        while (i < ops->n && ops->v[i].name != row->name)
            i++;
        if (i == ops->n) {
            if (!SM_GROW(ops))
                return SM_NOMEM(err);
            ops->v[ops->n++] = (ins_op){row->name, row->since, 0};
        }
        ops->v[i].n++;
        for (int k = 0; k < n->n_blocks; k++)
            SM_TRY(ins_count_op(ops, n->blocks[k], err));
    }
    return SM_OK;
}

const char *ins_opset_name(int since) {
    const sm_target *t = sm_target_of(since);
    return since == 0 ? "smelt" : t != NULL ? t->ios : "?";
}

/* ------------------------------------------------------------------ the row form */
/* Frequencies base^(-2i/d): the base, when all of them are so. */
static sm_status base_of(const sm_value *inv_freq, double *out, sm_err *err) {
    *out = 0.0;
    if (!inv_freq || !inv_freq->cst || inv_freq->type.rank != 1 || !sm_dim_known(inv_freq->type.dims[0]))
        return SM_OK;
    int64_t n = inv_freq->type.dims[0];
    if (n < 2 || n > 4096)
        return SM_OK;
    float *f = sm_alloc_n((size_t)n, sizeof *f);
    if (!f)
        return SM_NOMEM(err);
    sm_decode_rows(&inv_freq->cst->src, 0, 1, f);
    double base = f[n - 1] > 0.0f ? pow(f[n - 1], -(double)n / (double)(n - 1)) : 0.0;
    for (int64_t i = 0; i < n && base > 0.0; i++) {
        double want = pow(base, -(double)i / (double)n);
        if (fabs(f[i] - want) > 2e-3 * want)
            base = 0.0;
    }
    sm_free(f);
    *out = base > 1.0 ? base : 0.0;
    return SM_OK;
}

/* Where layers have two bases, the windowed ones have the smaller. */
static void read_rope(ins_hparams *h, double base) {
    if (base <= 0.0)
        return;
    if (h->rope_base <= 0.0)
        h->rope_base = base;
    if (fabs(base - h->rope_base) > 0.01 * h->rope_base && h->rope_local_base <= 0.0) {
        h->rope_local_base = SM_MIN(base, h->rope_base);
        h->rope_base = SM_MAX(base, h->rope_base);
    }
}

static void set(int64_t *field, int64_t v) {
    if (*field == 0)
        *field = v;
}

static sm_status read_node(ins_hparams *h, const sm_node *n, uint64_t *embedding, sm_err *err) {
    double base;
    const sm_value *v;
    int64_t window;
    if (n->op == SM_OP_EMBED) {
        v = sm_arg(n, "table");
        set(&h->width, v->type.rank == 2 ? v->type.dims[1] : 0);
        if (v->cst)
            *embedding += sm_tensor_numel(&v->cst->src);
    } else if (n->op == SM_OP_GATED_MLP) {
        v = sm_arg(n, "gate");
        set(&h->mlp_width, v->type.rank == 2 ? v->type.dims[0] : 0);
    } else if (n->op == SM_OP_ROPE) {
        SM_TRY(base_of(sm_arg(n, "inv_freq"), &base, err));
        read_rope(h, base);
        set(&h->rope_dim, 2 * sm_arg(n, "inv_freq")->type.dims[0]);
    } else if (n->op == SM_OP_ATTENTION) {
        if (sm_arg_int(n, "window", &window) && window > 0)
            set(&h->window, window);
        if (h->attn_softcap <= 0.0 && !sm_arg_float(n, "softcap", &h->attn_softcap))
            h->attn_softcap = 0.0;
    } else if (n->op == SM_OP_LM_HEAD && h->head_softcap <= 0.0 && !sm_arg_float(n, "softcap", &h->head_softcap)) {
        h->head_softcap = 0.0;
    } else if (n->op == SM_OP_RMS_NORM && h->norm_eps <= 0.0 && !sm_arg_float(n, "eps", &h->norm_eps)) {
        h->norm_eps = 0.0;
    }
    return SM_OK;
}

sm_status ins_fill_from_rows(sm_report *r, sm_err *err) {
    ins_hparams *h = &r->h;
    uint64_t embedding = 0;
    for (const sm_node *x = r->l->func->body->first; x; x = x->next)
        SM_TRY(read_node(h, x, &embedding, err));
    sm_kv_slot *s = sm_alloc_n(SLOTS_MAX, sizeof *s);
    if (!s)
        return SM_NOMEM(err);
    int n = sm_func_kv_slots(r->l->func, s, SLOTS_MAX);
    h->layers = n > 0 ? n : h->layers; /* what is there counts, not what a key says */
    for (int i = 0; i < n; i++) {
        h->windowed_layers += s[i].window > 0;
        h->layers_differ |= s[i].heads != s[0].heads || s[i].head_dim != s[0].head_dim || s[i].q_heads != s[0].q_heads;
    }
    if (n > 0) {
        h->heads = s[0].q_heads;
        h->kv_heads = s[0].heads;
        h->head_dim = s[0].head_dim;
        h->v_dim = s[0].v_dim;
    }
    set(&h->vocab, r->l->info.vocab);
    if (embedding > 0)
        r->embedding_parameters = embedding;
    sm_free(s);
    return SM_OK;
}

/* ------------------------------------------------------------------ memory */
static sm_status token_cost(sm_report *r, int32_t ctx, sm_err *err) {
    const sm_graph *g = r->l->func->graph;
    int n = sm_graph_n_symbols(g);
    int64_t *sym = sm_alloc_n((size_t)n + 1, sizeof *sym);
    sm_cost c = {0};
    if (!sym)
        return SM_NOMEM(err);
    for (int i = 0; i < n; i++)
        sym[i] = 1; /* one row, and its logits */
    sm_func_cost(r->l->func, sym, ctx, &c);
    r->mem.read_per_token = c.weight_bytes + c.kv_bytes;
    r->mem.flops_per_token = c.flops;
    sm_free(sym);
    return SM_OK;
}

sm_status ins_fill_memory(sm_report *r, sm_err *err) {
    ins_memory *m = &r->mem;
    sm_exe_info info;
    sm_err why = {0};
    sm_engine_opts eo = {.n_threads = r->o->n_threads};
    if (!r->l->func) {
        snprintf(m->why, sizeof m->why, "not recognised as a model that runs here");
        return SM_OK;
    }
    SM_TRY(sm_loaded_ctx(r->l, r->o->ctx, SM_CTX_USUAL, 1, &eo.ctx, err));
    sm_status st = sm_engine_plan(r->l->func, &eo, &info, &m->backend, &why);
    if (st == SM_RESOURCE && err)
        *err = why;
    if (st == SM_RESOURCE)
        return st;
    if (st != SM_OK) {
        snprintf(m->why, sizeof m->why, "%.255s", why.msg);
        return SM_OK;
    }
    m->known = true;
    m->ctx = eo.ctx;
    m->weights = info.weight_bytes;
    m->mapped = info.mapped_bytes;
    m->kv = info.kv_bytes;
    m->activations = info.arena_bytes;
    m->total = m->weights + m->mapped + m->kv + m->activations;
    sm_kv_slot *s = sm_alloc_n(SLOTS_MAX, sizeof *s);
    if (!s)
        return SM_NOMEM(err);
    int n = sm_func_kv_slots(r->l->func, s, SLOTS_MAX);
    for (int i = 0; i < n; i++)
        m->kv_f16 += 2u * (uint64_t)eo.ctx * (uint64_t)s[i].heads * (uint64_t)(s[i].head_dim + s[i].v_dim);
    sm_free(s);
    return token_cost(r, eo.ctx, err);
}

/* ------------------------------------------------------------------ files */
static sm_status add_file(sm_report *r, const char *path, const char *shown, sm_err *err) {
    struct stat s;
    if (stat(path, &s) != 0)
        return SM_OK; /* gone since it was opened */
    const char *name = sm_arena_strdup(r->arena, shown);
    if (!name || !SM_GROW(&r->files))
        return SM_NOMEM(err);
    r->files.v[r->files.n++] = (ins_file){.path = name, .bytes = (uint64_t)s.st_size};
    return SM_OK;
}

static int by_path(const void *a, const void *b) {
    return strcmp(((const ins_file *)a)->path, ((const ins_file *)b)->path);
}

/* Files below a folder; `shown` is their path from the package. */
static sm_status walk(sm_report *r, const char *dir, const char *shown, int depth, sm_err *err) {
    DIR *d = depth < 16 ? opendir(dir) : NULL;
    sm_status st = SM_OK;
    if (!d && depth == 0)
        return SM_FAIL(err, SM_BADINPUT, "%s: cannot be read", dir);
    for (struct dirent *e; d && st == SM_OK && (e = readdir(d)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        char *full = sm_path_join(dir, e->d_name);
        char *inside = *shown ? sm_path_join(shown, e->d_name) : NULL;
        const char *name = *shown ? inside : e->d_name;
        if (!full || !name)
            st = SM_NOMEM(err);
        else if (sm_path_is_dir(full))
            st = walk(r, full, name, depth + 1, err);
        else
            st = add_file(r, full, name, err);
        sm_free(full);
        sm_free(inside);
    }
    if (d)
        closedir(d);
    return st;
}

/* The other parts of a split model stand beside the first under its name. */
static sm_status list_files(sm_report *r, sm_err *err) {
    static const char first[] = "-00001-of-";
    int64_t parts = 1;
    if (sm_path_is_dir(r->path)) {
        sm_status st = walk(r, r->path, "", 0, err);
        if (r->files.n > 0)
            qsort(r->files.v, r->files.n, sizeof *r->files.v, by_path);
        return st;
    }
    if (r->l->ckpt)
        SM_TRY(sm_meta_int(r->l->ckpt, "split.count", 1, &parts, err));
    SM_TRY(add_file(r, r->path, r->path, err));
    const char *at = parts > 1 ? strstr(r->path, first) : NULL;
    for (const char *next = at; next; next = strstr(next + 1, first))
        at = next;
    for (int64_t i = 2; at && i <= parts; i++) {
        char *part =
            sm_arena_printf(r->arena, "%.*s-%05d-of-%s", (int)(at - r->path), r->path, (int)i, at + sizeof first - 1);
        if (!part)
            return SM_NOMEM(err);
        SM_TRY(add_file(r, part, part, err));
    }
    return SM_OK;
}

/* ------------------------------------------------------------------ the report */
static sm_status print_graphs(sm_report *r, sm_err *err) {
    const sm_loaded *l = r->l;
    sm_print_opts po = {.no_data = true};
    if (!l->graph)
        return SM_FAIL(err, SM_UNSUPPORTED, "there is no graph to print: %s", l->why);
    if (!l->pkg)
        return sm_func_print(l->func, &po, &r->graph, err);
    for (int i = 0; i < l->graph->n_funcs; i++)
        SM_TRY(sm_func_print(l->graph->funcs[i], &po, &r->graph, err));
    return SM_OK;
}

static sm_status fill(sm_report *r, sm_err *err) {
    sm_loaded *l = r->l;
    const sm_inspect_opts *o = r->o;
    r->h.trained_ctx = l->info.trained_ctx;
    if (o->graph || l->pkg)
        SM_TRY(print_graphs(r, err)); /* a package's hash is of it too */
    if (!sm_str_ok(&r->graph))
        return SM_NOMEM(err);
    if (l->pkg) {
        SM_TRY(ins_fill_package(r, err));
        if (o->hash || r->weight_bytes <= HASH_ALWAYS)
            SM_TRY(ins_hash_content(r, err));
        SM_TRY(sm_loaded_raise(l, r->path, err));
    } else {
        SM_TRY(ins_fill_checkpoint(r, err));
        if (o->hash || r->weight_bytes <= HASH_ALWAYS)
            SM_TRY(ins_hash_content(r, err));
    }
    if (l->func)
        SM_TRY(ins_fill_from_rows(r, err));
    SM_TRY(ins_fill_memory(r, err));
    SM_TRY(list_files(r, err));
    return o->sha256 ? ins_hash_files(r, err) : SM_OK;
}

static void release(sm_report *r) {
    sm_free(r->tensors);
    sm_free(r->encodings.v);
    sm_free(r->files.v);
    sm_free(r->ops.v);
    for (int i = 0; i < r->n_funcs; i++) {
        sm_free(r->funcs[i].ops.v);
        sm_free(r->funcs[i].values);
    }
    sm_str_free(&r->graph);
    sm_arena_free(&r->arena);
    sm_loaded_free(&r->l);
}

static sm_status print_template(const sm_report *r, sm_str *out, sm_err *err) {
    sm_sv t = r->l->tok ? sm_tokenizer_chat_template(r->l->tok, NULL) : (sm_sv){"", 0};
    if (t.n == 0) {
        SM_FAIL(err, SM_BADINPUT, "%s: it holds no chat template", r->path);
        return SM_BADINPUT;
    }
    sm_str_add(out, t.p, t.n);
    sm_str_addc(out, '\n');
    return SM_OK;
}

static sm_status inspect_one(const char *path, const sm_inspect_opts *o, sm_str *out, sm_err *err) {
    sm_load_opts lo = {.graph_optional = true, .as_written = true};
    sm_report r = {.o = o, .path = path};
    sm_status st;
    r.arena = sm_arena_new();
    SM_TRY_DONE(r.arena ? SM_OK : SM_NOMEM(err));
    SM_TRY_DONE(sm_load(path, &lo, &r.l, err));
    if (o->template && !o->json) {
        st = print_template(&r, out, err);
    } else if (o->graph && !o->json) {
        SM_TRY_DONE(print_graphs(&r, err));
        SM_TRY_DONE(sm_str_ok(&r.graph) ? SM_OK : SM_NOMEM(err));
        sm_str_add(out, sm_str_z(&r.graph), r.graph.n);
    } else {
        SM_TRY_DONE(fill(&r, err));
        if (o->json)
            st = ins_print_json(&r, out, err);
        else
            ins_print_text(&r, out);
    }
    if (st == SM_OK && !sm_str_ok(out))
        st = SM_NOMEM(err);
done:
    release(&r);
    return st;
}

/* A model in parts: each package, one after the other. */
static sm_status inspect_parts(const char *path, const sm_inspect_opts *o, sm_str *out, sm_err *err) {
    sm_listed_part part[SM_PART_LIST_MOST];
    int n = 0;
    sm_arena *a = sm_arena_new();
    sm_status st = a != NULL ? sm_part_list_read(path, a, part, &n, err) : SM_NOMEM(err);
    sm_str_adds(out, o->json ? "{\"parts\":[" : "");
    for (int i = 0; i < n && st == SM_OK; i++) {
        if (o->json)
            sm_str_adds(out, i > 0 ? ",\n" : "");
        else if (!o->graph && !o->template)
            sm_str_addf(out, "%spart %d of %d: %s\n", i > 0 ? "\n" : "", i + 1, n, sm_path_base(part[i].path));
        st = inspect_one(part[i].path, o, out, err);
        while (o->json && out->n > 0 && out->p[out->n - 1] == '\n')
            out->p[--out->n] = '\0';
    }
    sm_str_adds(out, o->json ? "]}\n" : "");
    sm_arena_free(&a);
    return st != SM_OK || sm_str_ok(out) ? st : SM_NOMEM(err);
}

sm_status sm_inspect(const char *path, const sm_inspect_opts *o, sm_str *out, sm_err *err) {
    return sm_part_list_sniff(path) ? inspect_parts(path, o, out, err) : inspect_one(path, o, out, err);
}
