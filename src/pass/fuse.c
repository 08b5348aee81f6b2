/* SPDX-License-Identifier: MIT
 *
 * fuse.c: row form: chains that families write as one composite become that composite.
 *
 *   linear(mul(act(linear(x, gate)), linear(x, up)), down)   -> gated_mlp      (no biases, inner results used once)
 *   mul(embed(ids, table), constant)                         -> embed with scale
 */
#include "pass/pass_int.h"

#include <string.h>

typedef struct fuse {
    sm_rebuild r;
    int *uses; /* by old value id */
} fuse;

static bool used_once(const fuse *z, const sm_value *v) {
    return z->uses[v->id] == 1;
}

static const sm_node *def_of(const sm_value *v, sm_op op) {
    return v->def != NULL && v->def->op == op ? v->def : NULL;
}

static const char *act_name(const sm_node *n) {
    sm_sv mode = {0};
    if (n == NULL)
        return NULL;
    if (n->op == SM_OP_SILU)
        return "silu";
    if (n->op != SM_OP_GELU || !sm_arg_str(n, "mode", &mode))
        return NULL;
    return sm_sv_is(mode, "TANH_APPROXIMATION") ? "gelu_tanh" : sm_sv_is(mode, "EXACT") ? "gelu" : NULL;
}

static bool plain_linear(const sm_node *n) {
    return n != NULL && sm_arg(n, "bias") == NULL && sm_arg(n, "weight")->cst != NULL &&
           sm_arg(n, "weight")->type.rank == 2;
}

/* act(linear(x, gate)) in `a`, linear(x, up) in `b`. */
static bool gate_and_up(const fuse *z, const sm_value *a, const sm_value *b, const sm_node **gate, const sm_node **up,
                        const char **act) {
    if (a->def == NULL || (*act = act_name(a->def)) == NULL || !used_once(z, a) || !used_once(z, b))
        return false;
    *gate = def_of(sm_arg(a->def, "x"), SM_OP_LINEAR);
    *up = def_of(b, SM_OP_LINEAR);
    return plain_linear(*gate) && plain_linear(*up) && used_once(z, (*gate)->out[0]) &&
           sm_arg(*gate, "x") == sm_arg(*up, "x");
}

static bool fuse_mlp(fuse *z, const sm_node *n) {
    const sm_node *mul, *gate, *up;
    const char *act;
    if (n->op != SM_OP_LINEAR || !plain_linear(n) || (mul = def_of(sm_arg(n, "x"), SM_OP_MUL)) == NULL ||
        !used_once(z, mul->out[0]))
        return false;
    const sm_value *x = sm_arg(mul, "x"), *y = sm_arg(mul, "y");
    if (!gate_and_up(z, x, y, &gate, &up, &act) && !gate_and_up(z, y, x, &gate, &up, &act))
        return false;
    sm_builder *b = &z->r.b;
    z->r.map[n->out[0]->id] =
        sm_build(b, SM_OP_GATED_MLP, n->out[0]->name, "x", sm_map_value(z->r.map, sm_arg(gate, "x")), "gate",
                 sm_arg(gate, "weight"), "up", sm_arg(up, "weight"), "down", sm_arg(n, "weight"), "act",
                 sm_const_str(b, act), NULL);
    return true;
}

static bool fuse_embed(fuse *z, const sm_node *n) {
    double f, had = 1;
    if (n->op != SM_OP_MUL)
        return false;
    const sm_value *x = sm_arg(n, "x"), *c = sm_arg(n, "y");
    if (x->cst != NULL) {
        const sm_value *t = x;
        x = c;
        c = t;
    }
    const sm_node *e = def_of(x, SM_OP_EMBED);
    if (e == NULL || !used_once(z, x) || c->cst == NULL || c->type.rank != 0 || !sm_value_float(c, &f) ||
        !sm_arg_float(e, "scale", &had))
        return false;
    sm_builder *b = &z->r.b;
    z->r.map[n->out[0]->id] = sm_build(b, SM_OP_EMBED, n->out[0]->name, "ids", sm_map_value(z->r.map, sm_arg(e, "ids")),
                                       "table", sm_arg(e, "table"), "scale", sm_const_f(b, SM_FP32, f * had), NULL);
    return true;
}

sm_status sm_pass_fuse_rows(sm_func *f, sm_func **out, sm_err *err) {
    fuse z;
    SM_TRY(sm_rebuild_start(&z.r, f, f->opset, err));
    sm_status st = SM_OK;
    z.uses = sm_func_uses(f);
    if (z.uses == NULL)
        st = SM_NOMEM(err);
    for (const sm_node *n = f->body->first; n != NULL && st == SM_OK; n = n->next)
        if (!fuse_mlp(&z, n) && !fuse_embed(&z, n))
            sm_build_copy(&z.r.b, n, z.r.map);
    sm_free(z.uses);
    return sm_rebuild_end(&z.r, st, out, err);
}
