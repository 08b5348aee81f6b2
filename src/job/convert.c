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
#include "job/convert_split.h"
#include "job/load.h"
#include "job/part_list.h"
#include "job/pkg_hints.h"
#include "job/source_hash.h"

enum { CTX_USUAL = 2048, META_MAX = 24 };

typedef struct job {
    const char *in, *out;
    const sm_convert_opts *o;
    sm_convert_report *rep;
    sm_loaded *l;
    sm_convert_plan plan;
    sm_func *f[SM_CONVERT_FUNCTIONS]; /* lowered */
    sm_lowered notes[SM_CONVERT_FUNCTIONS];
    sm_str tokenizer;
    sm_pkg_kv meta[META_MAX];
    size_t n_meta;
    sm_source_hash *hash;
    char sha[65];   /* a value of meta, filled when the weights are written */
    size_t n_facts; /* of them about the whole model */
    sm_convert_parts parts;
} job;

/* ------------------------------------------------------------------ options */
static sm_status make_plan(job *j, sm_err *err) {
    int32_t ctx;
    SM_TRY(sm_loaded_ctx(j->l, j->o->ctx, CTX_USUAL, 1, &ctx, err));
    if (j->l->info.trained_ctx > 0 && ctx > j->l->info.trained_ctx)
        sm_log(1, "context of %d is more than the %d that the model was trained for", ctx, j->l->info.trained_ctx);
    SM_TRY(sm_convert_plan_of(&j->o->words, ctx, j->l->graph->arena, &j->plan, err));
    for (int i = 0; i < j->plan.n; i++) {
        j->plan.p[i].quant = j->o->quant;
        j->plan.p[i].quant_block = j->o->quant_block;
        j->plan.p[i].quant_group = j->o->group;
    }
    j->rep->ctx = (int32_t)j->plan.p[0].ctx;
    j->rep->spec_version = j->plan.p[0].opset;
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
    SM_TRY(put_meta(j, SM_PKG_META_NAME, l->name, err));
    SM_TRY(put_meta(j, SM_PKG_META_ARCH, sm_arena_strdup(a, l->info.architecture), err));
    SM_TRY(put_number(j, SM_PKG_META_PARAMS, l->info.n_params, err));
    SM_TRY(put_number(j, SM_PKG_META_CTX, (uint64_t)j->rep->ctx, err));
    SM_TRY(put_number(j, SM_PKG_META_TRAINED, (uint64_t)l->info.trained_ctx, err));
    SM_TRY(put_number(j, SM_PKG_META_KV, j->rep->kv_bytes, err));
    SM_TRY(put_meta(j, SM_PKG_META_SOURCE, sm_arena_strdup(a, sm_path_base(j->in)), err));
    if (!j->o->dry_run) {
        strcpy(j->sha, "?");
        SM_TRY(put_meta(j, SM_PKG_META_SHA, j->sha, err));
    }
    if (j->rep->stream_scale != 1)
        SM_TRY(put_meta(j, SM_PKG_META_STREAM, sm_arena_printf(a, "%.17g", j->rep->stream_scale), err));
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

/* Caches in fp16, as the package holds them: none with --kv none. */
static void count_kv(job *j) {
    sm_kv_slot slots[1024];
    int n = j->plan.p[0].kv != SM_KV_NONE ? sm_func_kv_slots(j->l->func, slots, 1024) : 0;
    for (int i = 0; i < n; i++)
        j->rep->kv_bytes +=
            2u * (uint64_t)j->rep->ctx * (uint64_t)slots[i].heads * (uint64_t)(slots[i].head_dim + slots[i].v_dim);
}

/* ------------------------------------------------------------------ tensors */
static void count_tensor(void *ctx, const sm_pkg_tensor_report *r) {
    job *j = ctx;
    if (r->c->src.name.n == 0)
        return; /* the program's own constant (a bias of zeros, rotary frequencies), no tensor of the checkpoint */
    j->rep->count[r->how]++;
    if (r->c->want.id == SM_ENC_AFFINE) {
        int64_t cols = sm_tensor_cols(&r->c->src), asked = j->o->quant_block < 0 ? cols : j->o->quant_block;
        j->rep->scaled++;
        j->rep->in_blocks += r->c->want.block[SM_MAX(r->c->src.rank - 1, 0)] == asked;
    }
    j->rep->from_bytes += r->src_bytes;
    j->rep->to_bytes += r->out_bytes;
    sm_xerr_add(&j->rep->err, &r->err);
    if (j->o->on_tensor)
        j->o->on_tensor(j->o->user, r);
    sm_mem_sample();
}

static void source_reached(void *ctx, const void *p) {
    sm_source_hash_reached(((job *)ctx)->hash, p);
}

static sm_status weights_written(void *ctx, sm_err *err) {
    job *j = ctx;
    if (strcmp(j->sha, "?") != 0) /* a later one of several packages */
        return SM_OK;
    return sm_source_hash_end(j->hash, j->sha, err);
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
    for (int i = 0; i < j->plan.n && st == SM_OK; i++)
        for (sm_node *n = j->f[i]->body->first; n && st == SM_OK; n = n->next) {
            st = try_values(j, n->in, sm_op_row_of(n->op)->n_slots, seen, err);
            if (st == SM_OK)
                st = try_values(j, n->list, n->n_list, seen, err);
        }
    sm_free(seen);
    return st;
}

/* ------------------------------------------------------------------ */
static sm_status write_package(job *j, const char *path, bool first, sm_err *err) {
    sm_graph *g = j->l->graph;
    SM_TRY(sm_graph_list(g, j->f, j->plan.n, err));
    sm_pkg_item item = {
        .path = SM_PKG_TOKENIZER,
        .author = "smelt",
        .name = "tokenizer.gguf",
        .description = "vocabulary and chat template, as a GGUF without tensors",
        .bytes = {(const uint8_t *)sm_str_z(&j->tokenizer), j->tokenizer.n},
    };
    sm_package p = {
        .path = path,
        .spec_version = j->plan.p[0].opset,
        .default_function = j->f[0]->name,
        .short_description = j->l->name,
        .version = "",
        .author = "",
        .license = "",
        .meta = j->meta,
        .n_meta = j->n_meta,
        .items = &item,
        .n_items = first && j->tokenizer.n ? 1 : 0,
        .graph = g,
    };
    sm_pkg_write_opts wo = {.on_tensor = count_tensor,
                            .on_source = source_reached,
                            .on_written = weights_written,
                            .ctx = j,
                            .progress = j->o->progress,
                            .threads = j->o->threads};
    return sm_mlpackage_write(&p, path, &wo, err);
}

/* Refuses what the Neural Engine cannot take, and says what it will not. */
static sm_status check_gates(job *j, int part, sm_err *err) {
    sm_gate_found found[SM_GATES_MAX];
    bool embedding = part == 0 && j->parts.n > 1 && j->parts.cut[0].after == SM_CUT_EMBED; /* is for the CPU */
    if (j->plan.p[0].axes != SM_AXES_CHANNELS || embedding)
        return SM_OK;
    for (int i = 0; i < j->plan.n; i++) {
        int n = sm_pass_gates(j->f[i], found, SM_GATES_MAX);
        for (int k = 0; k < n; k++) {
            const sm_gate *g = found[k].gate;
            if (g->refuse) {
                SM_FAIL(err, SM_UNSUPPORTED, "function '%s', %s: %s, which the Neural Engine does not take (%s)",
                        j->plan.name[i], found[k].where, g->what, g->source);
                return sm_err_hint(err, "%s", g->hint);
            }
            if (j->o->on_note)
                j->o->on_note(j->o->user, &(sm_convert_note){.part = j->parts.name[part],
                                                             .function = j->plan.name[i],
                                                             .gate = g->name,
                                                             .where = found[k].where,
                                                             .what = g->what,
                                                             .hint = g->hint,
                                                             .source = g->source,
                                                             .count = found[k].count});
        }
    }
    return SM_OK;
}

/* One package: part `i` of the model, or the whole.  path NULL: everything but writing. */
static sm_status make_part(job *j, sm_func *f, int i, const char *path, sm_err *err) {
    char place[32];
    memset(j->notes, 0, sizeof j->notes);
    SM_TRY(sm_pipeline_lower(f, j->plan.p, j->plan.name, j->plan.n, j->f, j->notes, err));
    SM_TRY(check_gates(j, i, err));
    j->n_meta = j->n_facts;
    if (j->parts.n > 1) {
        snprintf(place, sizeof place, "%d/%d", i + 1, j->parts.n);
        SM_TRY(put_meta(j, SM_PKG_META_PART, sm_arena_strdup(j->l->graph->arena, place), err));
    }
    const char *turns, *masks;
    SM_TRY(sm_pkg_hints_text(&j->notes[0], j->l->graph->arena, &turns, &masks, err));
    SM_TRY(put_meta(j, SM_PKG_META_TURNS, turns, err));
    SM_TRY(put_meta(j, SM_PKG_META_MASKS, masks, err));
    return path != NULL ? write_package(j, path, i == 0, err) : dry_run(j, err);
}

static sm_status write_manifest(job *j, sm_outdir *dir, sm_err *err) {
    sm_str text = SM_STR_INIT;
    sm_outfile *f = NULL;
    sm_status st = sm_convert_manifest(&j->parts, &text, err);
    if (st == SM_OK)
        st = sm_outdir_file(dir, SM_PART_LIST_NAME, &f, err);
    if (st == SM_OK)
        st = sm_outfile_append(f, text.p, text.n, err);
    if (st == SM_OK)
        st = sm_outfile_commit(&f, err);
    sm_outfile_abandon(&f);
    sm_str_free(&text);
    return st;
}

/* A directory of packages and their manifest, whole or not at all. */
static sm_status make_parts(job *j, sm_func *f, sm_err *err) {
    sm_func *part[SM_CONVERT_PARTS];
    sm_outdir *dir = NULL;
    sm_status st = SM_OK;
    SM_TRY(sm_pipeline_split(f, j->parts.cut, j->parts.n - 1, part, err));
    if (!j->o->dry_run)
        SM_TRY(sm_outdir_new(j->out, SM_PART_LIST_NAME, &dir, err));
    for (int i = 0; i < j->parts.n && st == SM_OK; i++) {
        char *path = NULL;
        if (dir != NULL) {
            path = sm_path_join(sm_outdir_path(dir),
                                sm_arena_printf(j->l->graph->arena, "%s.mlpackage", j->parts.name[i]));
            if (path == NULL)
                st = SM_NOMEM(err);
        }
        if (st == SM_OK)
            st = make_part(j, part[i], i, path, err);
        sm_free(path);
    }
    if (st == SM_OK && dir != NULL)
        st = write_manifest(j, dir, err);
    if (st == SM_OK && dir != NULL)
        st = sm_outdir_commit(&dir, err);
    sm_outdir_abandon(&dir);
    return st;
}

/* Picks encodings; what weights are measured for that, all threads do. */
static sm_status encode(const job *j, sm_func **f, sm_err *err) {
    sm_profile p = j->plan.p[0];
    SM_TRY(sm_pool_new(j->o->threads, &p.pool, err));
    sm_status st = sm_pipeline_encode(*f, &p, f, err);
    sm_pool_free(&p.pool);
    return st;
}

static sm_status convert(job *j, sm_err *err) {
    sm_load_opts lo = {.tokenizer = j->o->tokenizer};
    bool dry = j->o->dry_run, several = j->o->split && strcmp(j->o->split, "none") != 0;
    bool named = strcmp(sm_path_ext(j->out), ".mlpackage") == 0;
    sm_func *f;
    if (!dry && !several && !named)
        return SM_FAIL(err, SM_UNSUPPORTED,
                       "%s: only Core ML packages are written here yet: wanted a name ending in .mlpackage", j->out);
    if (!dry && several && named) {
        SM_FAIL(err, SM_USAGE, "%s: --split makes a directory of several packages", j->out);
        return sm_err_hint(err, "name a folder: smelt convert IN FOLDER --split HOW");
    }
    SM_TRY(sm_load(j->in, &lo, &j->l, err));
    if (!j->l->ckpt)
        return SM_FAIL(err, SM_UNSUPPORTED, "%s: is a package already; only checkpoints are converted here yet", j->in);
    SM_TRY(sm_loaded_runnable(j->l, j->in, err));
    if (!dry)
        SM_TRY(sm_source_hash_start(j->in, j->o->threads != 1, &j->hash, err));
    SM_TRY(make_plan(j, err));
    count_kv(j);
    SM_TRY(sm_pipeline_fit(j->l->func, &j->plan.p[0], &f, &j->rep->stream_scale, &j->rep->stream_most, err));
    SM_TRY(fill_meta(j, err));
    j->n_facts = j->n_meta;
    SM_TRY(make_tokenizer(j, err));
    SM_TRY(encode(j, &f, err));
    SM_TRY(sm_convert_parts_of(j->o->split, f, &j->parts, err));
    j->rep->parts = j->parts.n;
    return several ? make_parts(j, f, err) : make_part(j, f, 0, dry ? NULL : j->out, err);
}

sm_status sm_convert(const char *in, const char *out, const sm_convert_opts *o, sm_convert_report *rep, sm_err *err) {
    memset(rep, 0, sizeof *rep);
    job *mine = sm_alloc(sizeof *mine);
    if (!mine)
        return SM_NOMEM(err);
    *mine = (job){.in = in, .out = out, .o = o, .rep = rep, .tokenizer = SM_STR_INIT};
    sm_status st = convert(mine, err);
    sm_source_hash_free(&mine->hash);
    sm_str_free(&mine->tokenizer);
    sm_loaded_free(&mine->l);
    sm_free(mine);
    return st;
}
