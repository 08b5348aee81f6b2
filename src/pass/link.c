/* SPDX-License-Identifier: MIT
 *
 * link.c: parts of a model in row form -> one function.
 *
 * The rows that a part gives are the rows that the next one takes; ids, positions, selection and batch are the step's, for
 * all of them.  Attention slots are numbered through.  Constants of another graph are views of its bytes.
 */
#include "graph/rows.h"
#include "pass/pass_int.h"

#include <inttypes.h>
#include <string.h>

typedef struct linking {
    sm_builder b;
    sm_graph *to;
    sm_value *in[4]; /* ids, pos, out, batch */
    sm_value *rows;  /* result of the part before */
    sm_value **map;  /* by value id of the part's graph */
    int n_slots;
} linking;

static const char *const input_name[4] = {"ids", "pos", "out", "batch"};

static void build_inputs(linking *l) {
    sm_dim t = sm_dim_symbol(l->to, "t", 1, -1), r = sm_dim_symbol(l->to, "r", 0, -1);
    sm_type rows = {.kind = SM_V_TENSOR, .dtype = SM_INT32, .rank = 1, .dims = {t}};
    sm_type outs = {.kind = SM_V_TENSOR, .dtype = SM_INT32, .rank = 1, .dims = {r}};
    const sm_type type[4] = {rows, rows, outs, {.kind = SM_V_BATCH}};
    for (int i = 0; i < 4; i++)
        l->in[i] = sm_build_input(&l->b, input_name[i], type[i]);
}

static sm_status map_inputs(linking *l, const sm_func *f, int number, sm_err *err) {
    bool took = false;
    for (int i = 0; i < f->body->n_in; i++) {
        const sm_value *v = f->body->in[i];
        sm_value **to = &l->map[v->id];
        for (int k = 0; k < 4 && *to == NULL; k++)
            if (strcmp(v->name, input_name[k]) == 0)
                *to = l->in[k];
        if (*to != NULL)
            continue;
        if (l->rows == NULL)
            return SM_FAIL(err, SM_UNSUPPORTED, "part %d takes rows: no part before it gives any", number);
        if (l->rows->type.rank != 2 || v->type.rank != 2 || l->rows->type.dims[1] != v->type.dims[1])
            return SM_FAIL(err, SM_UNSUPPORTED, "part %d takes rows of %" PRId64 ", the part before it gives %" PRId64,
                           number, v->type.dims[1], l->rows->type.dims[1]);
        *to = l->rows;
        took = true;
    }
    if (l->rows != NULL && !took)
        return SM_FAIL(err, SM_UNSUPPORTED, "part %d does not take the rows of the part before it", number);
    return SM_OK;
}

/* The constant in the graph that is built. */
static sm_value *constant(linking *l, const sm_func *f, sm_value *v) {
    if (f->graph == l->to)
        return v;
    sm_value **made = &l->map[v->id];
    if (*made != NULL)
        return *made;
    if (v->cst->strs != NULL)
        *made = sm_const_str(&l->b, sm_arena_strndup(l->to->arena, v->cst->strs[0].p, v->cst->strs[0].n));
    else
        *made = sm_const_tensor(&l->b, v->name, &v->cst->src);
    return *made;
}

static sm_value *operand(linking *l, const sm_func *f, sm_value *v) {
    return v == NULL ? NULL : v->cst != NULL ? constant(l, f, v) : l->map[v->id];
}

static void copy_node(linking *l, const sm_func *f, const sm_node *n) {
    sm_value *in[SM_MAX_SLOTS] = {NULL}, *list[64];
    int64_t slot = 0;
    for (int i = 0; i < sm_op_row_of(n->op)->n_slots; i++)
        in[i] = operand(l, f, n->in[i]);
    for (int i = 0; i < n->n_list && i < (int)SM_ARRAY_LEN(list); i++)
        list[i] = operand(l, f, n->list[i]);
    if (n->n_blocks > 0 || n->n_list > (int)SM_ARRAY_LEN(list) || n->n_out != 1) {
        l->b.st = SM_FAIL(&l->b.err, SM_UNSUPPORTED, "op %s is not linked", sm_op_row_of(n->op)->name);
        return;
    }
    if (n->op == SM_OP_ATTENTION && sm_arg_int(n, "slot", &slot))
        in[sm_op_slot(n->op, "slot")] = sm_const_i32(&l->b, (int32_t)(slot + l->n_slots));
    const sm_node *made = sm_build_node(&l->b, n->op, NULL, in, list, n->n_list);
    if (made != NULL)
        l->map[n->out[0]->id] = made->out[0];
}

static sm_status add_part(linking *l, const sm_func *f, int number, sm_err *err) {
    enum { MOST = 1024 };
    sm_kv_slot slots[MOST];
    int n_slots = sm_func_kv_slots(f, slots, MOST);
    if (n_slots < 0 || f->body->n_out != 1)
        return SM_FAIL(err, SM_UNSUPPORTED, "part %d is not in row form with one result", number);
    l->map = sm_value_map_new(f->graph);
    if (l->map == NULL)
        return SM_NOMEM(err);
    sm_status st = map_inputs(l, f, number, err);
    for (const sm_node *n = f->body->first; n != NULL && st == SM_OK && l->b.st == SM_OK; n = n->next)
        copy_node(l, f, n);
    if (st == SM_OK && l->b.st == SM_OK)
        l->rows = operand(l, f, f->body->out[0]);
    l->n_slots += n_slots;
    sm_free(l->map);
    l->map = NULL;
    return st;
}

sm_status sm_pass_link(sm_func *const *part, int n, sm_graph *to, sm_func **out, sm_err *err) {
    linking l = {.to = to};
    sm_func *f;
    SM_TRY(sm_func_new(to, "main", 0, &f, err));
    sm_build_start(&l.b, f);
    build_inputs(&l);
    sm_status st = SM_OK;
    for (int i = 0; i < n && st == SM_OK && l.b.st == SM_OK; i++)
        st = add_part(&l, part[i], i + 1, err);
    const sm_node *last = l.rows != NULL ? l.rows->def : NULL;
    if (st == SM_OK && l.b.st == SM_OK && (last == NULL || last->op != SM_OP_LM_HEAD || l.n_slots == 0))
        st = SM_FAIL(err, SM_UNSUPPORTED, "%s",
                     l.n_slots == 0 ? "no part has attention" : "the last part gives no logits");
    if (st == SM_OK)
        sm_build_output(&l.b, l.rows, "logits");
    sm_status built = sm_build_end(&l.b, st == SM_OK ? err : NULL);
    st = st == SM_OK ? built : st;
    if (st == SM_OK)
        st = sm_func_remove_dead(f, err);
    if (st != SM_OK) {
        sm_graph_drop_func(to, f);
        return st;
    }
    *out = f;
    return sm_pass_check("link", f, err);
}
