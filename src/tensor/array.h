/* SPDX-License-Identifier: MIT
 *
 * array.h: a dense array with its own memory: what goes into and comes out of programs run as written.
 *
 * Elements are packed as dtype.h says (fp16 as 16-bit patterns).  Owned by whoever holds the struct; zeroed = empty.
 */
#ifndef SM_ARRAY_H
#define SM_ARRAY_H

#include "base/err.h"
#include "tensor/encoding.h"

typedef struct sm_array {
    char *name; /* heap, may be NULL */
    sm_dtype dtype;
    int rank;
    int64_t dims[SM_MAX_RANK];
    void *data; /* heap */
} sm_array;
uint64_t sm_array_numel(const sm_array *a);
sm_status sm_array_new(sm_array *a, const char *name, sm_dtype t, int rank, const int64_t *dims,
                       sm_err *err); /* zeroed */
sm_status sm_array_copy(sm_array *dst, const sm_array *src, sm_err *err);
sm_status sm_array_cast(sm_array *a, sm_dtype t, sm_err *err); /* in place; floats to ints truncate, saturating */
void sm_array_free(sm_array *a);
/* Named list, as npz files and predict calls use it. */
typedef struct sm_arrays {
    sm_array *v;
    size_t n, cap;
} sm_arrays;
sm_array *sm_arrays_find(const sm_arrays *s, const char *name);
sm_array *sm_arrays_add(sm_arrays *s); /* zeroed new entry, NULL when out of memory */
void sm_arrays_free(sm_arrays *s);

#endif
