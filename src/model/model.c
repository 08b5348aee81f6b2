/* SPDX-License-Identifier: MIT
 *
 * model.c: from the architecture word to the family that takes it, and the frame round its graph.
 *
 * A tensor that the family did not ask for is an error: a bias or a norm left out would give a model that talks almost
 * right.
 */
#include "model/model.h"

#include <stdio.h>
#include <string.h>

#include "model/blocks.h"

static const struct family {
    const char *name, *words;
    sm_family_fn build;
} families[] = {
#define FAMILY(name, words, build) {#name, words, build},
#include "model/families.def"
#undef FAMILY
};

/* Tensors that say nothing which the hyper-parameters do not say. */
static const char *const redundant[] = {"rotary_emb.inv_freq", "attn_rot_embd.weight"};

static bool has_word(const char *words, sm_sv w) {
    for (const char *p = words; *p;) {
        size_t n = strcspn(p, " ");
        if (sm_sv_eq((sm_sv){p, n}, w))
            return true;
        p += n + (p[n] == ' ');
    }
    return false;
}

static sm_status find_family(const sm_checkpoint *c, const struct family **out, sm_model_info *info, sm_err *err) {
    sm_sv word;
    const char *key = c->dialect == SM_DIALECT_GGUF ? "general.architecture" : "model_type";
    SM_TRY(sm_meta_str(c, key, (sm_sv){"", 0}, &word, err));
    if (word.n == 0)
        return SM_FAIL(err, SM_BADINPUT, "%s: key '%s' is missing", c->path, key);
    for (size_t i = 0; i < SM_ARRAY_LEN(families); i++)
        if (has_word(families[i].words, word)) {
            *out = &families[i];
            snprintf(info->family, sizeof info->family, "%s", families[i].name);
            snprintf(info->architecture, sizeof info->architecture, "%.*s", (int)word.n, word.p);
            return SM_OK;
        }
    char list[160];
    size_t n = 0;
    for (size_t i = 0; i < SM_ARRAY_LEN(families) && n < sizeof list; i++)
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", i ? ", " : "", families[i].name);
    SM_FAIL(err, SM_UNSUPPORTED, "%s: architecture %s is not supported here; supported: %s", c->path,
            sm_quote(word.p, word.n), list);
    sm_err_hint(err, "take a checkpoint of one of these families");
    return SM_UNSUPPORTED;
}

static bool ends_in(sm_sv s, const char *tail) {
    size_t n = strlen(tail);
    return s.n >= n && memcmp(s.p + s.n - n, tail, n) == 0;
}

static sm_status check_all_used(const sm_mb *m, sm_err *err) {
    for (size_t i = 0; i < m->c->n_tensors; i++) {
        sm_sv name = m->c->tensors[i].name;
        bool known = m->used[i];
        for (size_t k = 0; k < SM_ARRAY_LEN(redundant); k++)
            known = known || ends_in(name, redundant[k]);
        if (!known)
            return SM_FAIL(err, SM_UNSUPPORTED, "%s: tensor %s has no place in a '%s' model here", m->c->path,
                           sm_quote(name.p, name.n), m->info->family);
    }
    return SM_OK;
}

/* Inputs of every family, the family's graph, its checks. */
static sm_status build(sm_mb *m, sm_graph *g, const struct family *fam, sm_err *err) {
    sm_func *f;
    SM_TRY(sm_func_new(g, "main", 0, &f, err));
    sm_build_start(&m->b, f);
    sm_dim t = sm_dim_symbol(g, "t", 1, -1), r = sm_dim_symbol(g, "r", 0, -1);
    sm_type rows = {.kind = SM_V_TENSOR, .dtype = SM_INT32, .rank = 1, .dims = {t}};
    m->ids = sm_build_input(&m->b, "ids", rows);
    m->pos = sm_build_input(&m->b, "pos", rows);
    rows.dims[0] = r;
    m->out = sm_build_input(&m->b, "out", rows);
    m->batch = sm_build_input(&m->b, "batch", (sm_type){.kind = SM_V_BATCH});
    sm_status st = fam->build(m);
    if (m->b.st == SM_OK)
        m->b.st = st;
    SM_TRY(sm_build_end(&m->b, err));
    return check_all_used(m, err);
}

sm_status sm_model_build(const sm_checkpoint *c, sm_graph **out, sm_model_info *info, sm_err *err) {
    sm_mb m = {.c = c, .info = info};
    sm_graph *g = NULL;
    const struct family *fam = NULL;
    sm_status st = SM_OK;
    *out = NULL;
    memset(info, 0, sizeof *info);
    SM_TRY(find_family(c, &fam, info, err));
    m.weight = sm_alloc_n(c->n_tensors, sizeof *m.weight);
    m.used = sm_alloc_n(c->n_tensors, sizeof *m.used);
    if (!m.weight || !m.used) {
        st = SM_NOMEM(err);
        goto done;
    }
    SM_TRY_DONE(sm_graph_new(&g, err));
    SM_TRY_DONE(build(&m, g, fam, err));
    for (size_t i = 0; i < c->n_tensors; i++)
        info->n_params += sm_tensor_numel(&c->tensors[i]);
    *out = g;
    g = NULL;
done:
    sm_graph_free(&g);
    sm_free(m.weight);
    sm_free(m.used);
    return st;
}
