/* SPDX-License-Identifier: MIT
 *
 * chain.h: functions that run one after the other, made one function: Core ML's pipelines, and models whose parts lie in
 * packages of their own.
 *
 * What one part gives out under a name is what a later part takes in under that name, cast where the types differ.
 * Inputs that no earlier part gives are the chain's, one for all parts that ask for the name.  States are each part's own.
 * An extent that is flexible in an earlier part and a number in a later one is that number in the whole chain.
 */
#ifndef SM_CHAIN_H
#define SM_CHAIN_H

#include "graph/graph.h"

typedef struct sm_chain {
    const char *name; /* of the function that is made */
    sm_func *const *parts;
    int n_parts;
    const char *const *outputs; /* names that parts give out; n_outputs 0: those of the last part */
    int n_outputs;
    /* Parts that were not made to be a pipeline: the one float output of a part is also the float input of the next that
     * has its shape, whatever the two are called, and slices of equal shape that the last part gives out are joined along
     * their last axis, as one output, logits. */
    bool loose;
} sm_chain;
/* Makes the function of functions of g, which are taken off its list. */
sm_status sm_func_chain(sm_graph *g, const sm_chain *c, sm_func **out, sm_err *err);

#endif
