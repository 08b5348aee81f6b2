/* SPDX-License-Identifier: MIT
 *
 * chain.h: functions that run one after the other, made one function: Core ML's pipelines, and the programs of compiled
 * ones.
 *
 * What one part gives out under a name is what a later part takes in under that name, cast where the types differ.
 * Inputs that no earlier part gives are the chain's, one for all parts that ask for the name; states likewise.
 */
#ifndef SM_CHAIN_H
#define SM_CHAIN_H

#include "graph/graph.h"

/* Makes function `name` of the parts, which are functions of g and are taken off its list.  outputs[n_out]: names that
 * parts give out; n_out 0: those of the last part. */
sm_status sm_func_chain(sm_graph *g, const char *name, sm_func *const *parts, int n, const char *const *outputs,
                        int n_out, sm_func **out, sm_err *err);

#endif
