/* SPDX-License-Identifier: MIT
 *
 * ref_plan.c: what compile works out: the steps of every block, and after which step each value is dead.
 *
 * A value dies after the last step that reads it in the block where it was defined; a read inside a nested block counts
 * for the step that owns it.  Results of a block live until they are taken (ref_take_results).
 */
#include "backend/ref/ref_int.h"

enum { MAX_DEPTH = 32 };

typedef struct planner {
    sm_exe *e;
    sm_err *err;
    int *level;             /* by value id: depth of its block + 1; 0: not seen */
    int32_t *last;          /* by value id: step that reads it last, in its own block */
    int32_t now[MAX_DEPTH]; /* the step each enclosing block is at */
} planner;

static void note_read(planner *p, const sm_value *v) {
    if (v != NULL && v->cst == NULL && p->level[v->id] > 0)
        p->last[v->id] = p->now[p->level[v->id] - 1];
}

static void define(planner *p, const sm_value *v, int depth, int32_t step) {
    p->level[v->id] = depth + 1;
    p->last[v->id] = step;
}

static sm_status plan_block(planner *p, const sm_block *b, int depth, ref_block *out);

static sm_status plan_step(planner *p, const sm_node *n, int depth, ref_step *s) {
    const char *name = sm_op_row_of(n->op)->name;
    s->node = n;
    s->op = p->e->ops != NULL && p->e->ops[n->op].fn != NULL ? &p->e->ops[n->op] : &ref_ops[n->op];
    if (s->op->fn == NULL)
        return SM_FAIL(p->err, SM_UNSUPPORTED, "backend ref has no kernel for op '%s' (value '%s')", name,
                       n->n_out > 0 ? n->out[0]->name : "");
    for (int i = 0; i < sm_op_row_of(n->op)->n_slots; i++)
        note_read(p, n->in[i]);
    for (int i = 0; i < n->n_list; i++)
        note_read(p, n->list[i]);
    s->blocks = sm_arena_alloc_n(p->e->arena, (size_t)n->n_blocks, sizeof *s->blocks);
    if (s->blocks == NULL)
        return SM_NOMEM(p->err);
    for (int i = 0; i < n->n_blocks; i++)
        SM_TRY(plan_block(p, n->blocks[i], depth + 1, &s->blocks[i]));
    for (int i = 0; i < n->n_out; i++)
        define(p, n->out[i], depth, p->now[depth]);
    return SM_OK;
}

/* Hands each value of a block that is not a result to the step after which it is dead. */
static sm_status plan_deaths(planner *p, const sm_block *b, int depth, ref_block *out) {
    for (int i = 0; i < b->n_out; i++)
        if (p->level[b->out[i]->id] == depth + 1)
            p->last[b->out[i]->id] = -1;
    for (int pass = 0; pass < 2; pass++) { /* count, then fill */
        for (int k = 0; k < out->n_steps; k++) {
            const sm_node *n = out->steps[k].node;
            for (int i = 0; i < n->n_out; i++) {
                int32_t at = p->last[n->out[i]->id];
                if (at < 0)
                    continue;
                ref_step *s = &out->steps[at];
                if (pass == 1)
                    s->dead[s->n_dead] = n->out[i]->id;
                s->n_dead++;
            }
        }
        for (int k = 0; pass == 0 && k < out->n_steps; k++) {
            ref_step *s = &out->steps[k];
            s->dead = sm_arena_alloc_n(p->e->arena, (size_t)s->n_dead, sizeof *s->dead);
            if (s->dead == NULL)
                return SM_NOMEM(p->err);
            s->n_dead = 0;
        }
    }
    return SM_OK;
}

static sm_status plan_block(planner *p, const sm_block *b, int depth, ref_block *out) {
    if (depth == MAX_DEPTH)
        return SM_FAIL(p->err, SM_UNSUPPORTED, "blocks are nested more than %d deep", MAX_DEPTH);
    *out = (ref_block){.b = b};
    for (const sm_node *n = b->first; n != NULL; n = n->next)
        out->n_steps++;
    out->steps = sm_arena_alloc_n(p->e->arena, (size_t)out->n_steps, sizeof *out->steps);
    if (out->steps == NULL)
        return SM_NOMEM(p->err);
    for (int i = 0; i < b->n_in; i++)
        define(p, b->in[i], depth, -1);
    int k = 0;
    for (const sm_node *n = b->first; n != NULL; n = n->next, k++) {
        p->now[depth] = k;
        SM_TRY(plan_step(p, n, depth, &out->steps[k]));
    }
    /* A result may belong to an enclosing block: that step reads it. */
    for (int i = 0; i < b->n_out; i++)
        if (p->level[b->out[i]->id] != depth + 1)
            note_read(p, b->out[i]);
    return plan_deaths(p, b, depth, out);
}

sm_status ref_plan(sm_exe *e, sm_err *err) {
    planner p = {.e = e, .err = err};
    p.level = sm_alloc_n(e->n_values, sizeof *p.level);
    p.last = sm_alloc_n(e->n_values, sizeof *p.last);
    sm_status st = p.level == NULL || p.last == NULL ? SM_NOMEM(err) : plan_block(&p, e->f->body, 0, &e->body);
    sm_free(p.level);
    sm_free(p.last);
    return st;
}
