/* SPDX-License-Identifier: MIT
 *
 * ops.c: the table of ops.def, its slot strings parsed once at first use.
 *
 * A malformed row is a bug of smelt: an assert.  Threads: any; the table is built under pthread_once and then constant.
 */
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "graph/graph.h"

static const struct {
    const char *name, *inputs, *doc;
    int since, n_out;
    sm_cost_class cost;
    sm_lift lift;
} defs[SM_OP_COUNT_] = {
#define OP(id, name, since, inputs, n_out, infer, cost, lift, doc)                                                     \
    [SM_OP_##id] = {name, inputs, doc, since, n_out, SM_COST_##cost, SM_LIFT_##lift},
#include "graph/ops.def"
#undef OP
};

static sm_op_row rows[SM_OP_COUNT_];
static uint16_t by_name[SM_OP_COUNT_]; /* op numbers sorted by name */
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* One slot, "name:kind[?][*][=default][@spec]", from *p on; leaves *p behind it. */
static void parse_slot(const char **p, sm_slot *s) {
    const char *q = *p;
    size_t n = strcspn(q, ":");
    assert(q[n] == ':' && n > 0 && n < sizeof s->name);
    memcpy(s->name, q, n);
    q += n + 1;
    assert(*q != 0 && strchr("tviIfbBsdLSK", *q) != NULL);
    s->kind = *q++;
    for (; *q == '?' || *q == '*'; q++) {
        if (*q == '?')
            s->optional = true;
        else
            s->list = true;
    }
    if (*q == '=') {
        n = strcspn(++q, "@,");
        assert(n > 0 && n < sizeof s->def);
        memcpy(s->def, q, n);
        s->optional = true;
        q += n;
    }
    if (*q == '@')
        s->since = (int)strtol(q + 1, (char **)&q, 10);
    assert(*q == 0 || (q[0] == ',' && q[1] == ' '));
    *p = *q == 0 ? q : q + 2;
}

static int name_order(const void *a, const void *b) {
    return strcmp(rows[*(const uint16_t *)a].name, rows[*(const uint16_t *)b].name);
}

static void build_table(void) {
    for (int op = 0; op < SM_OP_COUNT_; op++) {
        sm_op_row *r = &rows[op];
        *r = (sm_op_row){.name = defs[op].name,
                         .doc = defs[op].doc,
                         .since = defs[op].since,
                         .n_out = defs[op].n_out,
                         .cost = defs[op].cost,
                         .lift = defs[op].lift};
        by_name[op] = (uint16_t)op;
        for (const char *p = defs[op].inputs; *p != 0;) {
            sm_slot s = {.since = r->since};
            parse_slot(&p, &s);
            if (s.list) {
                assert(r->n_lists < SM_MAX_LISTS);
                r->list[r->n_lists++] = s;
            } else {
                assert(r->n_slots < SM_MAX_SLOTS && r->n_lists == 0); /* lists stand last */
                r->slot[r->n_slots++] = s;
            }
        }
    }
    qsort(by_name, SM_OP_COUNT_, sizeof by_name[0], name_order);
}

const sm_op_row *sm_op_row_of(sm_op op) {
    assert((int)op >= 0 && op < SM_OP_COUNT_);
    pthread_once(&once, build_table);
    return &rows[op];
}

bool sm_op_of_name(sm_sv name, sm_op *out) {
    pthread_once(&once, build_table);
    int lo = 0, hi = SM_OP_COUNT_;
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        const char *z = rows[by_name[mid]].name;
        size_t n = strlen(z);
        int order = memcmp(z, name.p, SM_MIN(n, name.n));
        if (order == 0)
            order = n < name.n ? -1 : n > name.n;
        if (order == 0) {
            *out = (sm_op)by_name[mid];
            return true;
        }
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return false;
}

int sm_op_slot(sm_op op, const char *name) {
    const sm_op_row *r = sm_op_row_of(op);
    for (int i = 0; i < r->n_slots; i++)
        if (strcmp(r->slot[i].name, name) == 0)
            return i;
    return -1;
}

int sm_op_list(sm_op op, const char *name) {
    const sm_op_row *r = sm_op_row_of(op);
    for (int i = 0; i < r->n_lists; i++)
        if (strcmp(r->list[i].name, name) == 0)
            return i;
    return -1;
}
