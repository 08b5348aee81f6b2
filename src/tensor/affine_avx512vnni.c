/* SPDX-License-Identifier: MIT
 *
 * affine_avx512vnni.c: affine_blocks.h for AVX-512 with VNNI, 16 blocks side by side.
 */
#include "tensor/affine_avx512.h"
#include "tensor/affine_lanes.h"

const sm_block_loops sm_block_loops_avx512vnni = {"avx512vnni", fit_vectors, codes8_vectors, codes4_vectors};
