/* SPDX-License-Identifier: MIT
 *
 * inspect_ckpt.c: a checkpoint's tensors, and its numbers by the names that names.def has for them: so they are known of
 * architectures that no family takes, too.
 */
#include <stdio.h>
#include <string.h>

#include "job/inspect_int.h"

/* Names of the hyper-parameters per dialect (model/names.def). */
enum role {
#define HPARAM(role, gguf, hf) ROLE_##role,
#include "model/names.def"
    ROLE_COUNT
};
static const char *const role_names[ROLE_COUNT][2] = {
#define HPARAM(role, gguf, hf) [ROLE_##role] = {gguf, hf},
#include "model/names.def"
};
enum weight {
#define TENSOR(role, gguf, hf) WEIGHT_##role,
#include "model/names.def"
    WEIGHT_COUNT
};
static const char *const weight_names[WEIGHT_COUNT][2] = {
#define TENSOR(role, gguf, hf) [WEIGHT_##role] = {gguf, hf},
#include "model/names.def"
};

typedef struct reader {
    const sm_checkpoint *c;
    sm_sv arch;
} reader;

/* The key's value; NULL when the file does not say. */
static const sm_meta *find(const reader *k, enum role role) {
    const char *form = role_names[role][k->c->dialect == SM_DIALECT_GGUF ? 0 : 1];
    const char *mark = form ? strstr(form, "%s") : NULL;
    char key[256];
    if (!form)
        return NULL;
    if (mark)
        snprintf(key, sizeof key, "%.*s%.*s%s", (int)(mark - form), form, (int)SM_MIN(k->arch.n, (size_t)64), k->arch.p,
                 mark + 2);
    else
        snprintf(key, sizeof key, "%s", form);
    return sm_checkpoint_meta(k->c, key);
}

/* An array has one element a layer: the first stands for it, and `differ` says when others are not like it. */
static int64_t number(const reader *k, enum role role, bool *differ) {
    const sm_meta *m = find(k, role);
    if (!m)
        return 0;
    if (m->type == SM_META_INT)
        return m->u.i;
    if (m->type != SM_META_ARRAY || m->elem != SM_META_INT || m->u.a.n == 0)
        return 0;
    for (uint64_t i = 1; i < m->u.a.n && differ; i++)
        *differ |= sm_meta_elem_int(m, i) != sm_meta_elem_int(m, 0);
    return sm_meta_elem_int(m, 0);
}

static double real(const reader *k, enum role role) {
    const sm_meta *m = find(k, role);
    return !m ? 0.0 : m->type == SM_META_FLOAT ? m->u.f : m->type == SM_META_INT ? (double)m->u.i : 0.0;
}

static void read_hparams(sm_report *r) {
    const sm_checkpoint *c = r->l->ckpt;
    ins_hparams *h = &r->h;
    reader k = {.c = c};
    sm_sv word = {"", 0};
    const sm_meta *m = sm_checkpoint_meta(c, c->dialect == SM_DIALECT_GGUF ? "general.architecture" : "model_type");
    k.arch = m && m->type == SM_META_STR ? m->u.s : word;
    if (!r->l->info.architecture[0])
        snprintf(r->l->info.architecture, sizeof r->l->info.architecture, "%.*s",
                 (int)SM_MIN(k.arch.n, sizeof r->l->info.architecture - 1), k.arch.p);
    h->layers = number(&k, ROLE_LAYERS, NULL);
    h->width = number(&k, ROLE_D_MODEL, NULL);
    h->mlp_width = number(&k, ROLE_D_FF, &h->layers_differ);
    h->heads = number(&k, ROLE_HEADS, &h->layers_differ);
    h->kv_heads = number(&k, ROLE_KV_HEADS, &h->layers_differ);
    h->head_dim = number(&k, ROLE_HEAD_DIM, NULL);
    if (h->head_dim == 0 && h->heads > 0)
        h->head_dim = h->width / h->heads;
    h->v_dim = number(&k, ROLE_V_DIM, NULL);
    h->window = number(&k, ROLE_WINDOW, NULL);
    h->experts = number(&k, ROLE_EXPERTS, NULL);
    h->rope_base = real(&k, ROLE_ROPE_BASE);
    h->rope_local_base = real(&k, ROLE_ROPE_LOCAL_BASE);
    h->rope_factor = real(&k, ROLE_ROPE_FACTOR);
    if (h->rope_factor <= 0.0)
        h->rope_factor = real(&k, ROLE_ROPE_SCALE_LINEAR);
    h->rope_dim = number(&k, ROLE_ROPE_DIM, NULL);
    h->rope_ctx = number(&k, ROLE_ROPE_CTX, NULL);
    h->norm_eps = real(&k, ROLE_NORM_EPS);
    h->head_softcap = real(&k, ROLE_HEAD_SOFTCAP);
    m = find(&k, ROLE_ROPE_SCALING);
    if (m && m->type == SM_META_STR)
        snprintf(h->rope_scaling, sizeof h->rope_scaling, "%.*s", (int)SM_MIN(m->u.s.n, sizeof h->rope_scaling - 1),
                 m->u.s.p);
    if (h->trained_ctx == 0)
        h->trained_ctx = number(&k, ROLE_CTX, NULL);
}

sm_status ins_fill_checkpoint(sm_report *r, sm_err *err) {
    const sm_checkpoint *c = r->l->ckpt;
    const char *table = weight_names[WEIGHT_EMBED][c->dialect == SM_DIALECT_GGUF ? 0 : 1];
    for (size_t i = 0; i < c->n_tensors; i++)
        SM_TRY(ins_add_tensor(r, c->tensors[i].name, &c->tensors[i], err));
    r->parameters = r->weight_numel;
    const sm_tensor *t = sm_checkpoint_tensor(c, table);
    r->embedding_parameters = t ? sm_tensor_numel(t) : 0;
    if (t && t->rank == 2)
        r->h.vocab = t->dims[0];
    read_hparams(r);
    return r->l->func ? ins_count_op(&r->ops, r->l->func->body, err) : SM_OK;
}
