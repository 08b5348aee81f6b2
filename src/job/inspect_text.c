/* SPDX-License-Identifier: MIT
 *
 * inspect_text.c: the report for people.
 *
 *     head       format, name, sizes                    always
 *     model      numbers, memory, text part             as far as they are known
 *     package    functions with interfaces and ops
 *     lists      encodings, files, tensors, metadata    the last, so that the rest is not pushed off the screen's top
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/number.h"
#include "job/inspect_int.h"

enum { LABEL = 20 };

/* ------------------------------------------------------------------ small things */
static void label(sm_str *out, const char *name) {
    sm_str_addf(out, "%-*s ", LABEL, name);
}

static void count_text(double v, char text[24]) {
    static const char *const unit[] = {"", " k", " M", " G", " T"};
    size_t k = 0;
    for (; v >= 1000.0 && k + 1 < SM_ARRAY_LEN(unit); k++)
        v /= 1000.0;
    sm_snprintf(text, 24, k == 0 ? "%.0f%s" : "%.1f%s", v, unit[k]);
}

/* "268.1 M" */
static void add_count(sm_str *out, double v) {
    char text[24];
    count_text(v, text);
    sm_str_adds(out, text);
}

static void add_bytes(sm_str *out, double v) {
    add_count(out, v);
    sm_str_adds(out, v < 1000.0 ? " B" : "B");
}

void ins_one_line(sm_str *out, sm_sv s, size_t most) {
    size_t n = 0;
    while (n < s.n && n < most && (unsigned char)s.p[n] >= 0x20 && s.p[n] != 0x7F)
        n++;
    while (n > 0 && n < s.n && ((unsigned char)s.p[n] & 0xC0) == 0x80)
        n--; /* whole characters */
    sm_str_add(out, s.p, n);
    if (n < s.n)
        sm_str_addf(out, " ... (%zu bytes)", s.n);
}

static double bits(uint64_t bytes, uint64_t numel) {
    return numel > 0 ? 8.0 * (double)bytes / (double)numel : 0.0;
}

/* ------------------------------------------------------------------ head */
static void print_head(const sm_report *r, sm_str *out) {
    const sm_loaded *l = r->l;
    uint64_t file_bytes = 0;
    for (size_t i = 0; i < r->files.n; i++)
        file_bytes += r->files.v[i].bytes;
    sm_str_addf(out, "%s%s%s\n", l->format, *l->name ? ": " : "", l->name);
    if (l->info.architecture[0]) {
        label(out, "architecture");
        sm_str_addf(out, "%s%s%s%s\n", l->info.architecture, l->info.family[0] ? " (family " : "", l->info.family,
                    l->info.family[0] ? ")" : "");
    }
    if (!l->func) {
        label(out, "not runnable");
        sm_str_addf(out, "%s\n", l->why);
    }
    if (r->parameters > 0) {
        label(out, "parameters");
        add_count(out, (double)r->parameters);
        if (r->embedding_parameters > 0 && r->embedding_parameters <= r->parameters) {
            sm_str_adds(out, ": ");
            add_count(out, (double)r->embedding_parameters);
            sm_str_adds(out, " in the embedding, ");
            add_count(out, (double)(r->parameters - r->embedding_parameters));
            sm_str_adds(out, " beside it");
        }
        sm_str_addc(out, '\n');
    }
    label(out, "size");
    add_bytes(out, (double)file_bytes);
    sm_str_addf(out, " in %zu file%s, ", r->files.n, r->files.n == 1 ? "" : "s");
    add_bytes(out, (double)r->weight_bytes);
    sm_str_addf(out, " of %zu tensors, %.3g bits per weight\n", r->n_tensors, bits(r->weight_bytes, r->weight_numel));
    label(out, "content hash");
    sm_str_addf(out, "%s\n", r->content_hash[0] ? r->content_hash : "not computed: --hash");
}

/* ------------------------------------------------------------------ numbers */
static void print_hparams(const sm_report *r, sm_str *out) {
    const ins_hparams *h = &r->h;
    const struct {
        const char *name;
        int64_t v;
    } rows[] = {{"layers", h->layers},
                {"width", h->width},
                {"MLP width", h->mlp_width},
                {"heads", h->heads},
                {"KV heads", h->kv_heads},
                {"head width", h->head_dim},
                {"vocabulary", h->vocab},
                {"experts", h->experts},
                {"trained context", h->trained_ctx},
                {"context held", r->l->pkg_ctx},
                {"tokens per call", r->l->pkg_seq}};
    for (size_t i = 0; i < SM_ARRAY_LEN(rows); i++)
        if (rows[i].v > 0) {
            label(out, rows[i].name);
            sm_str_addf(out, "%" PRId64 "\n", rows[i].v);
        }
    if (h->layers_differ)
        sm_str_adds(out, "                     (layers differ; numbers are the first one's)\n");
    if (h->window > 0) {
        label(out, "sliding window");
        sm_str_addf(out, "%" PRId64, h->window);
        if (r->l->func)
            sm_str_addf(out, " in %" PRId64 " of %" PRId64 " layers", h->windowed_layers, h->layers);
        sm_str_addc(out, '\n');
    }
    if (h->rope_base > 0.0 || h->rope_scaling[0]) {
        label(out, "rotary positions");
        sm_str_addf(out, "base %.4g", h->rope_base);
        if (h->rope_local_base > 0.0)
            sm_str_addf(out, ", %.4g in windowed layers", h->rope_local_base);
        if (h->rope_scaling[0])
            sm_str_addf(out, ", scaling %s", h->rope_scaling);
        if (h->rope_factor > 0.0)
            sm_str_addf(out, ", factor %.6g", h->rope_factor);
        sm_str_addc(out, '\n');
    }
    if (h->attn_softcap > 0.0 || h->head_softcap > 0.0) {
        label(out, "soft caps");
        sm_str_addf(out, "attention %.6g, logits %.6g\n", h->attn_softcap, h->head_softcap);
    }
}

static void print_memory(const sm_report *r, sm_str *out) {
    const ins_memory *m = &r->mem;
    if (!m->known) {
        if (r->l->func) {
            label(out, "memory");
            sm_str_addf(out, "not known: %s\n", m->why);
        }
        return;
    }
    label(out, "memory");
    add_bytes(out, (double)m->total);
    sm_str_addf(out, " at a context of %d (backend %s): weights ", m->ctx, m->backend);
    add_bytes(out, (double)(m->weights + m->mapped));
    sm_str_adds(out, ", KV cache ");
    add_bytes(out, (double)m->kv);
    sm_str_adds(out, ", activations ");
    add_bytes(out, (double)m->activations);
    sm_str_addc(out, '\n');
    label(out, "a token reads");
    add_bytes(out, m->read_per_token);
    sm_str_adds(out, " at that context\n");
}

/* ------------------------------------------------------------------ text part */
static void add_special(sm_str *out, const char *name, const sm_tokenizer *t, int32_t id) {
    if (id == SM_NO_TOKEN)
        return;
    sm_str_addf(out, ", %s %d ", name, id);
    ins_one_line(out, sm_tokenizer_text(t, id), 40);
}

static void print_tokenizer(const sm_report *r, sm_str *out) {
    const sm_tokenizer *t = r->l->tok;
    const sm_gen_config *g = &r->l->gen;
    label(out, "tokenizer");
    if (!t) {
        sm_str_addf(out, "%s\n", r->l->tok_err.code != SM_OK ? r->l->tok_err.msg : "none");
        return;
    }
    sm_str_addf(out, "%s, %d tokens", sm_tokenizer_kind(t), sm_tokenizer_count(t));
    add_special(out, "bos", t, sm_tokenizer_bos(t));
    add_special(out, "eos", t, sm_tokenizer_eos(t));
    add_special(out, "eot", t, sm_tokenizer_eot(t));
    bool bos = sm_tokenizer_adds_bos(t), eos = sm_tokenizer_adds_eos(t);
    sm_str_addf(out, "%s\n", bos && eos ? "; adds both" : bos ? "; adds bos" : eos ? "; adds eos" : "; adds none");
    sm_sv tmpl = sm_tokenizer_chat_template(t, NULL);
    label(out, "chat template");
    if (tmpl.n > 0)
        ins_one_line(out, tmpl, 60);
    else
        sm_str_adds(out, "none");
    sm_str_addc(out, '\n');
    if (g->temp >= 0.0 || g->top_k >= 0 || g->top_p >= 0.0 || g->min_p >= 0.0) {
        label(out, "asks to be sampled");
        if (g->temp >= 0.0)
            sm_str_addf(out, "temperature %.4g  ", g->temp);
        if (g->top_k >= 0)
            sm_str_addf(out, "top-k %d  ", g->top_k);
        if (g->top_p >= 0.0)
            sm_str_addf(out, "top-p %.4g  ", g->top_p);
        if (g->min_p >= 0.0)
            sm_str_addf(out, "min-p %.4g", g->min_p);
        sm_str_addc(out, '\n');
    }
}

/* ------------------------------------------------------------------ lists */
static void print_encodings(const sm_report *r, sm_str *out) {
    sm_str_addf(out, "\n%-48s %8s %10s %10s %8s\n", "encodings", "tensors", "weights", "bytes", "bits");
    for (size_t i = 0; i < r->encodings.n; i++) {
        const ins_encoding *e = &r->encodings.v[i];
        char numel[24], bytes[24];
        count_text((double)e->numel, numel);
        count_text((double)e->bytes, bytes);
        sm_str_addf(out, "  %-46s %8" PRIu64 " %10s %9sB %8.4g\n", e->name, e->tensors, numel, bytes,
                    bits(e->bytes, e->numel));
    }
}

static void print_ops(const char *title, const ins_ops *ops, sm_str *out) {
    sm_str_addf(out, "%s", title);
    for (size_t i = 0; i < ops->n; i++)
        sm_str_addf(out, "%s%s %" PRIu64 " (%s)", i % 6 == 0 ? "\n    " : ", ", ops->v[i].name, ops->v[i].n,
                    ins_opset_name(ops->v[i].since));
    sm_str_addc(out, '\n');
}

static void print_value(const struct ins_value *v, sm_str *out) {
    sm_str_addf(out, "  %-7s %-24s %s [",
                v->role == 'i'   ? "input"
                : v->role == 's' ? "state"
                                 : "output",
                v->name, v->dtype);
    for (int a = 0; a < v->rank; a++) {
        const struct ins_dim *d = &v->dim[a];
        sm_str_adds(out, a ? ", " : "");
        if (d->n >= 0)
            sm_str_addf(out, "%" PRId64, d->n);
        else if (v->shapes)
            sm_str_adds(out, d->text);
        else if (d->bounded && d->hi >= 0)
            sm_str_addf(out, "%s: %" PRId64 "..%" PRId64, d->text, d->lo, d->hi);
        else if (d->bounded)
            sm_str_addf(out, "%s: %" PRId64 "..", d->text, d->lo);
        else
            sm_str_adds(out, d->text);
    }
    sm_str_adds(out, "]");
    for (int i = 0; i < v->n_shapes; i++)
        for (int a = 0; a < v->rank; a++)
            sm_str_addf(out, "%s%" PRId64 "%s",
                        a   ? ", "
                        : i ? ", ["
                            : " one of [",
                        v->shapes[i * v->rank + a], a + 1 == v->rank ? "]" : "");
    sm_str_adds(out, "\n");
}

static void print_classes(const sm_package *p, sm_str *out) {
    enum { SHOWN = 8 };
    if (p->n_classes == 0)
        return;
    sm_str_addf(out, "a classifier of %zu labels: ", p->n_classes);
    for (size_t i = 0; i < p->n_classes && i < SHOWN; i++) {
        sm_str_adds(out, i ? ", " : "");
        ins_one_line(out, p->classes[i], 40);
    }
    sm_str_addf(out, "%s\n", p->n_classes > SHOWN ? ", ..." : "");
}

static void print_package(const sm_report *r, sm_str *out) {
    const sm_package *p = r->l->pkg;
    sm_str_addf(out, "\nspecification %d, for %s and later\n", p->spec_version, ins_opset_name(p->spec_version));
    if (p->n_parts > 0)
        sm_str_addf(out, "a pipeline of %d programs, shown as one\n", p->n_parts);
    print_classes(p, out);
    for (int i = 0; i < r->n_funcs; i++) {
        const ins_func *f = &r->funcs[i];
        sm_str_addf(out, "function %s, opset %s%s\n", f->f->name, ins_opset_name(f->f->opset),
                    p->default_function && strcmp(p->default_function, f->f->name) == 0 ? ", the default" : "");
        for (size_t k = 0; k < f->n_values; k++)
            print_value(&f->values[k], out);
        print_ops("  ops", &f->ops, out);
    }
}

static void print_files(const sm_report *r, sm_str *out) {
    if (r->files.n < 2 && !r->o->sha256)
        return;
    sm_str_adds(out, "\nfiles\n");
    for (size_t i = 0; i < r->files.n; i++) {
        const ins_file *f = &r->files.v[i];
        char bytes[24];
        count_text((double)f->bytes, bytes);
        sm_str_addf(out, "  %9sB  %s%s%s\n", bytes, f->sha256, f->sha256[0] ? "  " : "", f->path);
    }
}

static void print_weights(const sm_report *r, sm_str *out) {
    sm_str_addf(out, "\n%-44s %-20s %-28s %12s %7s %14s\n", "weights", "shape", "encoding", "bytes", "bits", "offset");
    for (size_t i = 0; i < r->n_tensors; i++) {
        const ins_tensor *x = &r->tensors[i];
        char shape[128];
        int n = 0;
        shape[0] = '\0';
        for (int a = 0; a < x->t->rank && n < 100; a++)
            n += snprintf(shape + n, sizeof shape - (size_t)n, "%s%" PRId64, a ? " x " : "", x->t->dims[a]);
        sm_str_addf(out, "  %-42.*s %-20s %-28s %12" PRIu64 " %7.4g ", (int)SM_MIN(x->name.n, (size_t)200), x->name.p,
                    shape, x->encoding, x->bytes, bits(x->bytes, x->numel));
        if (x->file)
            sm_str_addf(out, "%14" PRIu64 "\n", x->offset);
        else
            sm_str_addf(out, "%14s\n", "-");
    }
}

static void print_meta(const sm_meta *m, bool whole, sm_str *out) {
    enum { FIRST = 6 };
    switch (m->type) {
    case SM_META_BOOL:
        sm_str_adds(out, m->u.i ? "true" : "false");
        break;
    case SM_META_INT:
        sm_str_addf(out, "%" PRId64, m->u.i);
        break;
    case SM_META_FLOAT:
        sm_str_addf(out, "%.7g", m->u.f);
        break;
    case SM_META_STR:
        if (whole)
            sm_str_add(out, m->u.s.p, m->u.s.n);
        else
            ins_one_line(out, m->u.s, 72);
        break;
    case SM_META_ARRAY:
        sm_str_addf(out, "(%" PRIu64 " elements)", m->u.a.n);
        for (uint64_t i = 0; whole && i < m->u.a.n && i < FIRST; i++) {
            sm_str_adds(out, i ? ", " : " ");
            if (m->elem == SM_META_STR)
                ins_one_line(out, m->u.a.strs[i], 32);
            else if (m->elem == SM_META_FLOAT)
                sm_str_addf(out, "%.7g", sm_meta_elem_float(m, i));
            else
                sm_str_addf(out, "%" PRId64, sm_meta_elem_int(m, i));
        }
        if (whole && m->u.a.n > FIRST)
            sm_str_adds(out, ", ...");
        break;
    }
}

static void print_metadata(const sm_report *r, sm_str *out) {
    const sm_checkpoint *c = r->l->ckpt;
    const sm_package *p = r->l->pkg;
    if ((c ? c->n_meta : p->n_meta) == 0)
        return;
    sm_str_addf(out, "\nmetadata%s\n", r->o->metadata ? "" : " (--metadata: long values whole)");
    for (size_t i = 0; c && i < c->n_meta; i++) {
        sm_str_addf(out, "  %-42.*s ", (int)SM_MIN(c->meta[i].key.n, (size_t)200), c->meta[i].key.p);
        print_meta(&c->meta[i], r->o->metadata, out);
        sm_str_addc(out, '\n');
    }
    for (size_t i = 0; !c && i < p->n_meta; i++) {
        sm_str_addf(out, "  %-42s ", p->meta[i].key);
        if (r->o->metadata)
            sm_str_adds(out, p->meta[i].value);
        else
            ins_one_line(out, sm_sv_of(p->meta[i].value), 72);
        sm_str_addc(out, '\n');
    }
}

void ins_print_text(const sm_report *r, sm_str *out) {
    print_head(r, out);
    print_hparams(r, out);
    print_memory(r, out);
    print_tokenizer(r, out);
    if (r->l->pkg)
        print_package(r, out);
    else if (r->o->ops && r->l->func)
        print_ops("\nops", &r->ops, out);
    print_encodings(r, out);
    print_files(r, out);
    if (r->o->weights)
        print_weights(r, out);
    print_metadata(r, out);
}
