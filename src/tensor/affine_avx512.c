/* SPDX-License-Identifier: MIT
 *
 * affine_avx512.c: affine_blocks.h for AVX-512, 16 blocks side by side.
 */
#include "tensor/affine_avx512.h"
#include "tensor/affine_lanes.h"

const sm_block_loops sm_block_loops_avx512 = {"avx512", fit_vectors, codes8_vectors, codes4_vectors};
