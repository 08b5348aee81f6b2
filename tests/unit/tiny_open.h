/* SPDX-License-Identifier: MIT
 *
 * tiny_open.h: a small random model (tiny_model.h) opened as smelt.h opens one: without file and vocabulary.
 */
#ifndef TINY_OPEN_H
#define TINY_OPEN_H

#include "api/api_int.h"
#include "tiny_model.h"

static inline smelt_model *tiny_open(const tiny_spec *z) {
    sm_err err = {0};
    smelt_model *m = sm_alloc(sizeof *m);
    m->l = sm_alloc(sizeof *m->l);
    m->path = sm_alloc(8);
    memcpy(m->path, "tiny", 5);
    if (tiny_model(z, &m->l->graph, &err) != SM_OK)
        fail_msg("%s", err.msg);
    m->l->func = sm_graph_func(m->l->graph, NULL);
    return m;
}

#endif
