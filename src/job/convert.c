/* SPDX-License-Identifier: MIT
 *
 * convert.c: from a checkpoint to a package, and the facts that travel with it.
 *
 * The same input gives the same bytes: what is put into the package comes from the checkpoint and the options alone.
 */
#include "job/convert.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backend/backend.h"
#include "base/log.h"
#include "format/gguf.h"
#include "job/hash.h"
#include "job/load.h"

enum { CTX_USUAL = 2048, META_MAX = 16 };

typedef struct job {
    const char *in, *out;
    const sm_convert_opts *o;
    sm_convert_report *rep;
    sm_loaded *l;
    sm_profile p;
    sm_func *f; /* lowered */
    sm_str tokenizer;
    sm_pkg_kv meta[META_MAX];
    size_t n_meta;
} job;

/* ------------------------------------------------------------------ options */
static sm_status fill_profile(job *j, sm_err *err) {
    const sm_profile *row = sm_profile_find(j->o->profile);
    int32_t ctx;
    if (!row)
        return SM_FAIL(err, SM_USAGE, "there is no package design '%s'", j->o->profile);
    SM_TRY(sm_loaded_ctx(j->l, j->o->ctx, CTX_USUAL, 1, &ctx, err));
    if (j->l->info.trained_ctx > 0 && ctx > j->l->info.trained_ctx)
        sm_log(1, "context of %d is more than the %d that the model was trained for", ctx, j->l->info.trained_ctx);
    j->p = *row;
    j->p.ctx = ctx;
    j->p.quant = j->o->quant;
    j->p.quant_block = j->o->quant_block;
    j->p.quant_group = j->o->group;
    if (j->o->seq > ctx)
        return SM_FAIL(err, SM_USAGE, "--seq %" PRId64 ": wanted at most the context, %d", j->o->seq, ctx);
    if (!row->flexible && j->o->seq < 1)
        return SM_FAIL(err, SM_USAGE, "a package of fixed shapes needs the number of tokens per call: --seq N");
    j->p.seq_min = j->o->seq > 0 && !row->flexible ? j->o->seq : 1;
    j->p.seq_max = j->o->seq > 0 ? j->o->seq : ctx;
    j->rep->ctx = ctx;
    j->rep->spec_version = row->opset;
    return SM_OK;
}

/* ------------------------------------------------------------------ what the package says about itself */
static sm_status put_meta(job *j, const char *key, const char *value, sm_err *err) {
    if (!value)
        return SM_NOMEM(err);
    if (!*value || j->n_meta == META_MAX)
        return SM_OK;
    j->meta[j->n_meta++] = (sm_pkg_kv){key, value};
    return SM_OK;
}

static sm_status put_number(job *j, const char *key, uint64_t v, sm_err *err) {
    return put_meta(j, key, sm_arena_printf(j->l->graph->arena, "%" PRIu64, v), err);
}

static const char *generation_config(job *j) {
    const sm_gen_config *g = &j->l->gen;
    sm_str s = SM_STR_INIT;
    if (g->temp >= 0.0)
        sm_str_addf(&s, ",\"temperature\":%g", g->temp);
    if (g->top_k >= 0)
        sm_str_addf(&s, ",\"top_k\":%d", g->top_k);
    if (g->top_p >= 0.0)
        sm_str_addf(&s, ",\"top_p\":%g", g->top_p);
    if (g->min_p >= 0.0)
        sm_str_addf(&s, ",\"min_p\":%g", g->min_p);
    if (g->repeat_penalty > 0.0)
        sm_str_addf(&s, ",\"repetition_penalty\":%g", g->repeat_penalty);
    const char *out = s.n ? sm_arena_printf(j->l->graph->arena, "{%s}", s.p + 1) : "";
    if (!sm_str_ok(&s))
        out = NULL;
    sm_str_free(&s);
    return out;
}

static sm_status fill_meta(job *j, sm_err *err) {
    sm_arena *a = j->l->graph->arena;
    const sm_loaded *l = j->l;
    char hex[65];
    SM_TRY(put_meta(j, SM_PKG_META_NAME, l->name, err));
    SM_TRY(put_meta(j, SM_PKG_META_ARCH, sm_arena_strdup(a, l->info.architecture), err));
    SM_TRY(put_number(j, SM_PKG_META_PARAMS, l->info.n_params, err));
    SM_TRY(put_number(j, SM_PKG_META_CTX, (uint64_t)j->p.ctx, err));
    SM_TRY(put_number(j, SM_PKG_META_TRAINED, (uint64_t)l->info.trained_ctx, err));
    SM_TRY(put_number(j, SM_PKG_META_KV, j->rep->kv_bytes, err));
    SM_TRY(put_meta(j, SM_PKG_META_SOURCE, sm_arena_strdup(a, sm_path_base(j->in)), err));
    if (!j->o->dry_run) {
        SM_TRY(sm_hash_file(j->in, NULL, hex, err));
        SM_TRY(put_meta(j, SM_PKG_META_SHA, sm_arena_strdup(a, hex), err));
    }
    SM_TRY(put_meta(j, SM_PKG_META_GENERATION, generation_config(j), err));
    if (l->tok) {
        sm_sv t = sm_tokenizer_chat_template(l->tok, NULL);
        SM_TRY(put_meta(j, SM_PKG_META_TEMPLATE, sm_arena_strndup(a, t.p ? t.p : "", t.n), err));
    }
    return SM_OK;
}

static sm_status make_tokenizer(job *j, sm_err *err) {
    static const char *const prefixes[] = {"general.architecture", "general.name", "tokenizer."};
    const sm_checkpoint *c = j->l->vocab ? j->l->vocab : j->l->ckpt;
    if (!j->l->tok) {
        sm_log(1, "%s holds no vocabulary: the package will need --tokenizer", j->in);
        return SM_OK;
    }
    return sm_gguf_write_meta(c, prefixes, SM_ARRAY_LEN(prefixes), &j->tokenizer, err);
}

/* Caches in fp16, as the package holds them. */
static void count_kv(job *j) {
    sm_kv_slot slots[1024];
    int n = sm_func_kv_slots(j->l->func, slots, 1024);
    for (int i = 0; i < n; i++)
        j->rep->kv_bytes +=
            2u * (uint64_t)j->p.ctx * (uint64_t)slots[i].heads * (uint64_t)(slots[i].head_dim + slots[i].v_dim);
}

/* ------------------------------------------------------------------ tensors */
static void count_tensor(void *ctx, const sm_pkg_tensor_report *r) {
    job *j = ctx;
    if (r->c->src.name.n == 0)
        return; /* the program's own constant (a bias of zeros, rotary frequencies), no tensor of the checkpoint */
    j->rep->count[r->how]++;
    j->rep->from_bytes += r->src_bytes;
    j->rep->to_bytes += r->out_bytes;
    sm_xerr_add(&j->rep->err, &r->err);
    if (j->o->on_tensor)
        j->o->on_tensor(j->o->user, r);
    sm_mem_sample();
}

/* What writing would do to one constant: converted a slab at a time, the bytes thrown away. */
static sm_status try_tensor(job *j, const char *name, const sm_const *c, sm_err *err) {
    sm_pkg_tensor_report r = {.name = name, .c = c, .src_bytes = sm_tensor_bytes(&c->src)};
    size_t part[SM_PART_COUNT], total = 0;
    uint8_t *out[SM_PART_COUNT] = {0};
    uint64_t rows = sm_tensor_rows(&c->src);
    uint64_t step = SM_MAX((uint64_t)2, ((uint64_t)1 << 20) / (uint64_t)SM_MAX(sm_tensor_cols(&c->src), 1));
    sm_status st = SM_OK;
    SM_TRY(sm_enc_sizes(&c->want, c->src.rank, c->src.dims, part, err));
    SM_TRY(sm_transcode_how(&c->src, &c->want, &r.how, err));
    for (int p = 0; p < SM_PART_COUNT; p++) {
        total += part[p];
        size_t room = (size_t)((double)part[p] / (double)rows * (double)SM_MIN(step, rows)) + 64;
        out[p] = part[p] ? sm_alloc(p == SM_PART_LUT ? part[p] : room) : NULL;
        if (part[p] && !out[p]) {
            st = SM_NOMEM(err);
            goto done;
        }
    }
    r.out_bytes = total;
    SM_TRY_DONE(sm_transcode_tables(&c->src, &c->want, NULL, out, err));
    for (uint64_t row = 0; row < rows; row += step) {
        if (sm_cancelled()) {
            st = SM_FAIL(err, SM_CANCELLED, "stopped");
            goto done;
        }
        SM_TRY_DONE(
            sm_transcode_rows(&c->src, &c->want, c->want_dtype, row, SM_MIN(step, rows - row), out, &r.err, err));
    }
    count_tensor(j, &r);
done:
    for (int p = 0; p < SM_PART_COUNT; p++)
        sm_free(out[p]);
    return st;
}

static sm_status try_values(job *j, sm_value **v, int n, bool *seen, sm_err *err) {
    for (int i = 0; i < n; i++) {
        if (!v[i] || !v[i]->cst || seen[v[i]->id] || v[i]->cst->src.name.n == 0)
            continue;
        seen[v[i]->id] = true;
        SM_TRY(try_tensor(j, v[i]->name, v[i]->cst, err));
    }
    return SM_OK;
}

static sm_status dry_run(job *j, sm_err *err) {
    bool *seen = sm_alloc_n(j->l->graph->n_values, sizeof *seen);
    sm_status st = seen ? SM_OK : SM_NOMEM(err);
    for (sm_node *n = j->f->body->first; n && st == SM_OK; n = n->next) {
        st = try_values(j, n->in, sm_op_row_of(n->op)->n_slots, seen, err);
        if (st == SM_OK)
            st = try_values(j, n->list, n->n_list, seen, err);
    }
    sm_free(seen);
    return st;
}

/* ------------------------------------------------------------------ */
static sm_status write_package(job *j, sm_err *err) {
    sm_graph *g = j->l->graph;
    for (int i = g->n_funcs - 1; i >= 0; i--)
        if (g->funcs[i] != j->f)
            sm_graph_drop_func(g, g->funcs[i]);
    sm_pkg_item item = {
        .path = SM_PKG_TOKENIZER,
        .author = "smelt",
        .name = "tokenizer.gguf",
        .description = "vocabulary and chat template, as a GGUF without tensors",
        .bytes = {(const uint8_t *)sm_str_z(&j->tokenizer), j->tokenizer.n},
    };
    sm_package p = {
        .path = j->out,
        .spec_version = j->p.opset,
        .default_function = j->f->name,
        .short_description = j->l->name,
        .version = "",
        .author = "",
        .license = "",
        .meta = j->meta,
        .n_meta = j->n_meta,
        .items = &item,
        .n_items = j->tokenizer.n ? 1 : 0,
        .graph = g,
    };
    sm_pkg_write_opts wo = {.on_tensor = count_tensor, .ctx = j, .progress = j->o->progress, .threads = j->o->threads};
    return sm_mlpackage_write(&p, j->out, &wo, err);
}

sm_status sm_convert(const char *in, const char *out, const sm_convert_opts *o, sm_convert_report *rep, sm_err *err) {
    job j = {.in = in, .out = out, .o = o, .rep = rep, .tokenizer = SM_STR_INIT};
    sm_load_opts lo = {.tokenizer = o->tokenizer};
    sm_status st;
    memset(rep, 0, sizeof *rep);
    if (!o->dry_run && strcmp(sm_path_ext(out), ".mlpackage") != 0)
        return SM_FAIL(err, SM_UNSUPPORTED,
                       "%s: only Core ML packages are written here yet: wanted a name ending in .mlpackage", out);
    SM_TRY_DONE(sm_load(in, &lo, &j.l, err));
    if (!j.l->ckpt) {
        st = SM_FAIL(err, SM_UNSUPPORTED, "%s: is a package already; only checkpoints are converted here yet", in);
        goto done;
    }
    SM_TRY_DONE(sm_loaded_runnable(j.l, in, err));
    SM_TRY_DONE(fill_profile(&j, err));
    count_kv(&j);
    SM_TRY_DONE(sm_pipeline_package(j.l->func, &j.p, &j.f, err));
    SM_TRY_DONE(fill_meta(&j, err));
    SM_TRY_DONE(make_tokenizer(&j, err));
    SM_TRY_DONE(o->dry_run ? dry_run(&j, err) : write_package(&j, err));
done:
    sm_str_free(&j.tokenizer);
    sm_loaded_free(&j.l);
    return st;
}
