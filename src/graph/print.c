/* SPDX-License-Identifier: MIT
 *
 * print.c: graphs as MIL text (docs/text-form).
 *
 * Two dialects.  Ours shows everything: composites, names of symbols, encodings of constants; small parameters stand in
 * place.  The strict one is what MIL's own tools write: "?" for symbols, every parameter a const, names as attributes.
 * A constant is printed before the first node of the function's own block that uses it, nested blocks included, so that
 * it is in scope wherever it is used.  Anonymous symbols are numbered in order of appearance: equal programs give equal
 * text.
 */
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "graph/text_int.h"

typedef struct printer {
    const sm_graph *g;
    sm_print_opts o;
    sm_str *out;
    sm_arena *arena;   /* names made here */
    const char **name; /* by value id */
    sm_map *taken;     /* strict dialect: names given out */
    int n_value, n_const;
    int *anon;  /* shown number by symbol; -1: not seen yet */
    bool *used; /* by symbol */
    int n_anon;
    bool failed;
    sm_status st;
    sm_err *err;
} printer;

static void put(printer *p, const char *s) {
    sm_str_adds(p->out, s);
}

static void indent(printer *p, int depth) {
    for (int i = 0; i < depth; i++)
        put(p, "    ");
}

static void fail(printer *p, sm_status st) {
    if (p->st == SM_OK)
        p->st = st;
}

/* ---- names ---- */

static const char *strict_name(printer *p, const char *name) {
    char *s = sm_arena_strdup(p->arena, name);
    if (s == NULL)
        return NULL;
    for (char *q = s; *q != 0; q++)
        if (!sm_text_word_char(*q) || *q == '.')
            *q = '_';
    if (s[0] >= '0' && s[0] <= '9')
        s = sm_arena_printf(p->arena, "_%s", s);
    const char *unique = s;
    bool existed = true;
    for (int k = 0; s != NULL && unique != NULL; k++) {
        if (!sm_map_put(p->taken, sm_sv_of(unique), 0, &existed, NULL))
            return NULL;
        if (!existed)
            return unique;
        unique = sm_arena_printf(p->arena, "%s_%d", s, k);
    }
    return NULL;
}

static const char *name_of(printer *p, const sm_value *v) {
    const char **n = &p->name[v->id];
    if (*n == NULL && p->o.anonymous)
        *n = v->cst != NULL ? sm_arena_printf(p->arena, "c%d", p->n_const++)
                            : sm_arena_printf(p->arena, "v%d", p->n_value++);
    else if (*n == NULL && p->o.mil)
        *n = strict_name(p, v->name);
    else if (*n == NULL)
        *n = v->name;
    if (*n == NULL) {
        p->failed = true;
        return "";
    }
    return *n;
}

static void put_escaped(printer *p, sm_sv s, char quote) {
    char buf[8];
    sm_str_addc(p->out, quote);
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == (unsigned char)quote || c == '\\') {
            sm_str_addc(p->out, '\\');
            sm_str_addc(p->out, (char)c);
        } else if (c == '\n') {
            put(p, "\\n");
        } else if (c == '\t') {
            put(p, "\\t");
        } else if (c < 0x20 || c == 0x7f) {
            snprintf(buf, sizeof buf, "\\x%02x", c);
            put(p, buf);
        } else {
            sm_str_addc(p->out, (char)c);
        }
    }
    sm_str_addc(p->out, quote);
}

static void put_name(printer *p, const char *name) {
    if (sm_text_plain_name(sm_sv_of(name)))
        put(p, name);
    else
        put_escaped(p, sm_sv_of(name), '`');
}

static void put_string(printer *p, sm_sv s) {
    put_escaped(p, s, '"');
}

static void put_string_value(printer *p, const char *s) {
    put(p, "string(");
    put_string(p, sm_sv_of(s));
    put(p, ")");
}

/* ---- types ---- */

static void see_dim(printer *p, sm_dim d) {
    sm_lin l;
    if (sm_dim_known(d) || !sm_lin_of(p->g, d, &l))
        return;
    for (int t = 0; t < l.n; t++) {
        if (p->g->priv->syms.v[l.sym[t]].anon && p->anon[l.sym[t]] < 0)
            p->anon[l.sym[t]] = p->n_anon++;
        p->used[l.sym[t]] = true;
    }
}

static void put_type(printer *p, const sm_type *t) {
    char buf[SM_TYPE_TEXT];
    for (int i = 0; i < t->rank && t->kind != SM_V_BATCH && !p->o.mil; i++)
        see_dim(p, t->dims[i]);
    if (t->kind == SM_V_LIST && t->len != SM_DIM_UNKNOWN && !p->o.mil)
        see_dim(p, t->len);
    put(p, sm_type_print(p->g, t, p->anon, p->o.mil, buf, sizeof buf));
}

/* ---- literals ---- */

static void put_float(printer *p, sm_dtype t, double v) {
    char buf[48];
    if (isnan(v) || isinf(v)) {
        put(p, isnan(v) ? "nan" : v < 0 ? "-inf" : "inf");
        return;
    }
    if (p->o.mil) {
        sm_snprintf(buf, sizeof buf, "%a", v);
        put(p, buf);
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        sm_snprintf(buf, sizeof buf, "%.*g", digits, v);
        if (sm_text_round(t, sm_strtod(buf, NULL)) == v)
            break;
    }
    put(p, buf);
}

static void put_elem(printer *p, const sm_value *v, uint64_t i) {
    const sm_const *c = v->cst;
    sm_dtype t = c->src.enc.code;
    char buf[32];
    if (v->type.dtype == SM_STRING) {
        put_string(p, c->strs[i]);
        return;
    }
    const uint8_t *data = c->src.part[SM_PART_DATA].p;
    if (t == SM_BOOL) {
        put(p, data[i] != 0 ? "true" : "false");
    } else if (sm_is_float(t)) {
        put_float(p, t, sm_elem_get(t, data, i));
    } else {
        int64_t x = sm_code_get(t, data, i);
        snprintf(buf, sizeof buf, t == SM_UINT64 ? "%" PRIu64 : "%" PRId64, x);
        put(p, buf);
    }
}

static void put_list(printer *p, const sm_value *v, int axis, uint64_t *at) {
    if (axis == v->type.rank) {
        put_elem(p, v, (*at)++);
        return;
    }
    put(p, "[");
    for (int64_t i = 0; i < v->type.dims[axis]; i++) {
        put(p, i > 0 ? ", " : "");
        put_list(p, v, axis + 1, at);
    }
    put(p, "]");
}

static void put_hex(printer *p, sm_bytes b) {
    static const char digit[] = "0123456789abcdef";
    put(p, "HEX(\"");
    for (size_t i = 0; i < b.n; i++) {
        sm_str_addc(p->out, digit[b.p[i] >> 4]);
        sm_str_addc(p->out, digit[b.p[i] & 15]);
    }
    put(p, "\")");
}

static uint64_t numel(const sm_value *v) {
    return v->type.dtype == SM_STRING ? v->cst->n_str : sm_tensor_numel(&v->cst->src);
}

static bool has_data(const sm_value *v) {
    return v->type.dtype == SM_STRING || v->cst->src.part[SM_PART_DATA].p != NULL;
}

/* Numbers as they are, without encoding, conversion or order of rows. */
static bool is_plain(const sm_value *v) {
    const sm_const *c = v->cst;
    return v->type.dtype == SM_STRING ||
           (c->src.enc.id == SM_ENC_DENSE && c->src.enc.code == v->type.dtype && c->src.dtype == v->type.dtype &&
            sm_enc_eq(&c->src.enc, &c->want, v->type.rank) && c->src.deinterleave == 0);
}

static void put_data(printer *p, const sm_value *v) {
    const sm_tensor *t = &v->cst->src;
    uint64_t at = 0;
    bool first = true;
    if (!has_data(v) || (p->o.no_data && numel(v) > 16)) {
        put(p, "EXTERN(");
        put_string(p, t->name);
        put(p, ")");
    } else if (v->type.dtype == SM_STRING || t->enc.id == SM_ENC_DENSE) {
        put_list(p, v, 0, &at);
    } else {
        for (int i = 0; i < SM_PART_COUNT; i++)
            if (sm_enc_part_dtype(&t->enc, i) != SM_NONE) {
                put(p, first ? "" : ", ");
                put_hex(p, t->part[i]);
                first = false;
            }
    }
}

static void put_value(printer *p, const sm_value *v) {
    put_type(p, &v->type);
    put(p, "(");
    put_data(p, v);
    put(p, ")");
}

/* ---- constants ---- */

/* Does this constant stand in place in a slot of this kind (0: a result of a block, which has a name)? */
static bool in_place(const printer *p, const sm_value *v, char kind) {
    if (kind == 0 || p->o.mil || v->cst == NULL || !has_data(v) || !is_plain(v) || numel(v) > 16 || numel(v) == 0)
        return false;
    return kind != 't' || v->type.rank == 0 || sm_is_int(v->type.dtype);
}

/* The type that a bare literal has in a slot of this kind. */
static bool is_bare(const sm_value *v, char kind) {
    sm_dtype t = v->type.dtype;
    switch (kind) {
    case 'i':
    case 'd':
        return (t == SM_INT32 || (kind == 'd' && t == SM_STRING)) && v->type.rank == 0;
    case 'I':
        return t == SM_INT32 && v->type.rank == 1;
    case 'f':
        return t == SM_FP32 && v->type.rank == 0;
    case 'b':
        return t == SM_BOOL && v->type.rank == 0;
    case 'B':
        return t == SM_BOOL && v->type.rank == 1;
    case 's':
        return t == SM_STRING && v->type.rank == 0;
    default:
        return false;
    }
}

static void put_attr(printer *p, bool *first, const char *name) {
    put(p, *first ? "" : ", ");
    put(p, name);
    put(p, " = ");
    *first = false;
}

static void put_const(printer *p, const sm_value *v, int depth) {
    char buf[512];
    sm_const whole = *v->cst, *c = &whole;
    sm_tensor_unfold(&whole.src, &whole.want);
    bool first = true, number = v->type.dtype != SM_STRING;
    if (p->o.mil && !is_plain(v))
        fail(p, SM_FAIL(p->err, SM_UNSUPPORTED,
                        "constant '%s' is encoded: MIL text has no form for it, lower the graph first", v->name));
    indent(p, depth);
    put_type(p, &v->type);
    put(p, " ");
    put_name(p, name_of(p, v));
    put(p, " = const()[");
    if (p->o.mil) {
        put_attr(p, &first, "name");
        put_string_value(p, name_of(p, v));
    }
    if (number && (c->src.enc.id != SM_ENC_DENSE || c->src.enc.code != v->type.dtype)) {
        put_attr(p, &first, "enc");
        put_string_value(p, sm_enc_print(&c->src.enc, c->src.rank, buf, sizeof buf));
    }
    if (number && c->src.dtype != v->type.dtype) {
        put_attr(p, &first, "dtype");
        put_string_value(p, sm_dtype_name(c->src.dtype));
    }
    if (number && !sm_enc_eq(&c->src.enc, &c->want, c->src.rank)) {
        put_attr(p, &first, "want");
        put_string_value(p, sm_enc_print(&c->want, c->src.rank, buf, sizeof buf));
    }
    if (number && c->src.deinterleave != 0) {
        put_attr(p, &first, "deinterleave");
        snprintf(buf, sizeof buf, "int32(%" PRId32 ")", c->src.deinterleave);
        put(p, buf);
    }
    put_attr(p, &first, "val");
    put_value(p, v);
    put(p, "];\n");
}

static bool is_defined(const printer *p, const sm_value *v) {
    return p->name[v->id] != NULL;
}

/* Constants of a value in a slot that are not yet printed. */
static void define(printer *p, const sm_value *v, char kind, int depth) {
    if (v != NULL && v->cst != NULL && !in_place(p, v, kind) && !is_defined(p, v))
        put_const(p, v, depth);
}

static void define_all(printer *p, const sm_node *n, int depth) {
    const sm_op_row *row = sm_op_row_of(n->op);
    for (int i = 0; i < row->n_slots; i++)
        define(p, n->in[i], row->slot[i].kind, depth);
    for (int i = 0; i < n->n_list; i++)
        define(p, n->list[i], row->list[i / (n->n_list / row->n_lists)].kind, depth);
    for (int i = 0; i < n->n_blocks; i++) {
        for (const sm_node *d = n->blocks[i]->first; d != NULL; d = d->next)
            define_all(p, d, depth);
        for (int k = 0; k < n->blocks[i]->n_out; k++)
            define(p, n->blocks[i]->out[k], 0, depth);
    }
}

/* ---- nodes ---- */

static void put_operand(printer *p, const sm_value *v, char kind) {
    if (!in_place(p, v, kind))
        put_name(p, name_of(p, v));
    else if (is_bare(v, kind))
        put_data(p, v);
    else
        put_value(p, v);
}

static void put_args(printer *p, const sm_node *n) {
    const sm_op_row *row = sm_op_row_of(n->op);
    bool first = true;
    put(p, "(");
    for (int i = 0; i < row->n_slots; i++)
        if (n->in[i] != NULL) {
            put_attr(p, &first, row->slot[i].name);
            put_operand(p, n->in[i], row->slot[i].kind);
        }
    for (int k = 0; k < row->n_lists && n->n_list > 0; k++) {
        int len;
        sm_value *const *v = sm_arg_list(n, row->list[k].name, &len);
        put_attr(p, &first, row->list[k].name);
        put(p, "(");
        for (int i = 0; i < len; i++) {
            put(p, i > 0 ? ", " : "");
            put_operand(p, v[i], row->list[k].kind);
        }
        put(p, ")");
    }
    put(p, ")");
}

static void put_block(printer *p, const sm_block *b, int depth);

static void put_typed_names(printer *p, sm_value *const *v, int n) {
    for (int i = 0; i < n; i++) {
        put(p, i > 0 ? ", " : "");
        put_type(p, &v[i]->type);
        put(p, " ");
        put_name(p, name_of(p, v[i]));
    }
}

static void put_node(printer *p, const sm_node *n, int depth) {
    const sm_op_row *row = sm_op_row_of(n->op);
    if (p->o.mil && sm_op_is_composite(n->op))
        fail(p, SM_FAIL(p->err, SM_UNSUPPORTED, "'%s' is %s: MIL text has no such op, lower the graph first",
                        n->n_out > 0 ? n->out[0]->name : "", row->name));
    indent(p, depth);
    put_typed_names(p, n->out, n->n_out);
    put(p, n->n_out > 0 ? " = " : "");
    put(p, row->name);
    put_args(p, n);
    if (p->o.mil) {
        put(p, "[name = ");
        put_string_value(p, n->n_out > 0 ? name_of(p, n->out[0]) : row->name);
        put(p, "]");
    }
    for (int i = 0; i < n->n_blocks; i++) {
        put(p, "\n");
        indent(p, depth + 1);
        put(p, "block(");
        put_typed_names(p, n->blocks[i]->in, n->blocks[i]->n_in);
        put(p, ") {\n");
        put_block(p, n->blocks[i], depth + 2);
        indent(p, depth + 1);
        put(p, "} -> (");
        for (int k = 0; k < n->blocks[i]->n_out; k++) {
            put(p, k > 0 ? ", " : "");
            put_name(p, name_of(p, n->blocks[i]->out[k]));
        }
        put(p, ")");
    }
    put(p, ";\n");
}

static void put_block(printer *p, const sm_block *b, int depth) {
    for (const sm_node *n = b->first; n != NULL; n = n->next) {
        if (b->owner == NULL)
            define_all(p, n, depth);
        put_node(p, n, depth);
    }
}

/* ---- functions ---- */

/* [shapes = string("n kv: 1 8, 16 32; m: 4, 8")] */
static void put_shapes(printer *p, const sm_func *f) {
    char buf[32];
    for (int i = 0; i < f->n_shapes; i++) {
        const sm_shape_set *s = &f->shapes[i];
        put(p, i == 0 ? " [shapes = string(\"" : "; ");
        for (int k = 0; k < s->n_sym; k++) {
            p->used[s->sym[k]] = true;
            put(p, k > 0 ? " " : "");
            put(p, p->g->priv->syms.v[s->sym[k]].name);
        }
        for (int64_t k = 0; k < (int64_t)s->n_rows * s->n_sym; k++) {
            snprintf(buf, sizeof buf, "%s%" PRId64, k == 0 ? ": " : k % s->n_sym == 0 ? ", " : " ", s->value[k]);
            put(p, buf);
        }
    }
    put(p, f->n_shapes > 0 ? "\")]" : "");
}

static void put_func(printer *p, const sm_func *f) {
    char opset[16];
    put(p, "    func ");
    put_name(p, f->name);
    put(p, "<");
    put(p, sm_text_opset(f->opset, opset, sizeof opset));
    put(p, ">(");
    put_typed_names(p, f->body->in, f->body->n_in);
    put(p, ")");
    if (!p->o.mil)
        put_shapes(p, f);
    put(p, " {\n");
    put_block(p, f->body, 2);
    for (int i = 0; i < f->body->n_out; i++)
        define(p, f->body->out[i], 0, 2);
    put(p, "    } -> (");
    for (int i = 0; i < f->body->n_out; i++) {
        put(p, i > 0 ? ", " : "");
        put_name(p, name_of(p, f->body->out[i]));
    }
    put(p, ");\n");
}

const char *sm_text_opset(int opset, char *out, size_t cap) {
    if (opset == 0)
        snprintf(out, cap, "rows");
    else if (opset == 10)
        snprintf(out, cap, "ios26");
    else
        snprintf(out, cap, "ios%d", opset + 9);
    return out;
}

/* "n:1..256 kv:1.." of the symbols that appear. */
static void put_symbols(printer *p) {
    bool any = false;
    char buf[64];
    for (int k = 0; k < sm_graph_n_symbols(p->g); k++) {
        const sm_symbol *s = &p->g->priv->syms.v[k];
        if (!p->used[k] || s->anon)
            continue;
        put(p, any ? " " : "[symbols = string(\"");
        put(p, s->name);
        snprintf(buf, sizeof buf, ":%" PRId64 "..", s->lo);
        put(p, buf);
        if (s->hi != INT64_MAX) {
            snprintf(buf, sizeof buf, "%" PRId64, s->hi);
            put(p, buf);
        }
        any = true;
    }
    put(p, any ? "\")]\n" : "");
}

static sm_status print_all(const sm_graph *g, sm_func *const *funcs, int n, const sm_print_opts *o, sm_str *out,
                           sm_err *err) {
    size_t n_syms = (size_t)sm_graph_n_symbols(g) + 1, n_values = (size_t)g->n_values + 1;
    sm_str body = SM_STR_INIT;
    printer p = {.g = g, .out = &body, .err = err};
    if (o != NULL)
        p.o = *o;
    p.arena = sm_arena_new();
    p.name = sm_alloc_n(n_values, sizeof *p.name);
    p.anon = sm_alloc_n(n_syms, sizeof *p.anon);
    p.used = sm_alloc_n(n_syms, sizeof *p.used);
    p.failed = p.arena == NULL || p.name == NULL || p.anon == NULL || p.used == NULL;
    for (size_t i = 0; i < n_syms && !p.failed; i++)
        p.anon[i] = -1;
    for (int i = 0; i < n && !p.failed; i++) {
        memset(p.name, 0, n_values * sizeof *p.name);
        p.n_value = p.n_const = 0;
        sm_map_free(&p.taken);
        p.taken = sm_map_new(64);
        p.failed = p.taken == NULL;
        put(&p, i > 0 ? "\n" : "");
        if (!p.failed)
            put_func(&p, funcs[i]);
    }
    p.out = out;
    put(&p, "program(1.3)\n");
    if (!p.failed && !p.o.mil)
        put_symbols(&p);
    put(&p, "{\n");
    put(&p, sm_str_z(&body));
    put(&p, "}\n");
    if (p.failed || !sm_str_ok(&body) || !sm_str_ok(out))
        p.st = SM_NOMEM(err);
    sm_map_free(&p.taken);
    sm_arena_free(&p.arena);
    sm_free(p.name);
    sm_free(p.anon);
    sm_free(p.used);
    sm_str_free(&body);
    return p.st;
}

sm_status sm_graph_print(const sm_graph *g, const sm_print_opts *o, sm_str *out, sm_err *err) {
    return print_all(g, g->funcs, g->n_funcs, o, out, err);
}

sm_status sm_func_print(const sm_func *f, const sm_print_opts *o, sm_str *out, sm_err *err) {
    sm_func *one = (sm_func *)f;
    return print_all(f->graph, &one, 1, o, out, err);
}
