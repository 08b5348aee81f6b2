/* SPDX-License-Identifier: MIT
 *
 * flex.h: what a file says of a flexible input (a range per axis, or enumerated shapes) made symbols and shape sets.
 *
 * All readers of Core ML programs come through here: protobuf descriptions, FlexibleShapeInformation of MIL text,
 * metadata.json of compiled models.
 */
#ifndef SM_FLEX_H
#define SM_FLEX_H

#include "graph/graph.h"

/* One flexible input: bounds of each axis, or the shapes that it takes. */
typedef struct sm_flex_input {
    sm_sv func; /* empty: of every function */
    sm_sv name;
    int rank;
    int64_t lo[SM_MAX_RANK], hi[SM_MAX_RANK]; /* hi < 0: no bound; without rows */
    int n_rows;
    int64_t *rows; /* [n_rows][rank], the default first */
} sm_flex_input;

/* Gives the axes of t that are SM_DIM_UNKNOWN a number or a symbol with bounds; f NULL: nothing is known, from 1 up.
 * Symbols are called <input>_<axis>; where another function calls so what has other bounds, <function>_<input>_<axis>. */
sm_status sm_flex_dims(sm_graph *g, const char *func, const char *input, const sm_flex_input *f, sm_type *t,
                       sm_err *err);

/* Shape sets of the inputs that are enumerated; those with equally many shapes go together, row by row.  func: what the file
 * calls the function. */
sm_status sm_flex_sets(sm_func *fn, sm_sv func, const sm_flex_input *f, int n, sm_err *err);

/* The names of a function's inputs, for sm_flex_find; the first of a name counts.  NULL when out of memory. */
sm_map *sm_flex_names(const sm_flex_input *f, int n, sm_sv func);
/* The description of an input; NULL when there is none. */
const sm_flex_input *sm_flex_find(const sm_flex_input *f, const sm_map *names, sm_sv input);

#endif
