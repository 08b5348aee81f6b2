/* SPDX-License-Identifier: MIT
 *
 * palette_loops.h: the inner loops of palettes that are vector code, for the best instruction set of the machine.
 * All versions give the same numbers.
 */
#ifndef SM_PALETTE_LOOPS_H
#define SM_PALETTE_LOOPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SM_PALETTE_FEW = 16 };

typedef struct sm_palette_loops {
    /* x * scale (a power of two) as keys of fp16 numbers in ascending order, both zeros being one, when all of them are
     * finite fp16 numbers; false when some are not, and keys mean nothing then. */
    bool (*keys)(const float *x, size_t n, float scale, uint16_t *key);
    /* x * scale as bins: key[i] of its fp16 number, off[i] what it is off that number, in units of 2^-13 of the number's
     * last place.  False when one of them is not finite in fp16: its key means nothing. */
    bool (*bins)(const float *x, size_t n, float scale, uint32_t *key, int32_t *off);
    /* code[i] = how many of edge[0..n_edges), at most SM_PALETTE_FEW, are below x[i] */
    void (*count)(const float *x, size_t n, const float *edge, int n_edges, uint8_t *code);
} sm_palette_loops;

const sm_palette_loops *sm_palette_loops_c(void);
const sm_palette_loops *sm_palette_loops_best(void); /* of the sets that SMELT_CPU allows */

#endif
