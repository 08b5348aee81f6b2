/* SPDX-License-Identifier: MIT
 *
 * enc_int.h: what the files of this room share beside encoding.h.
 */
#ifndef SM_ENC_INT_H
#define SM_ENC_INT_H

#include "tensor/encoding.h"

/* Rounds x[n] through dtype t, where t is a 16-bit float; other types leave x as it is. */
void sm_enc_round(sm_dtype t, float *x, size_t n);

enum { ENC_BLOCK_MAX = 256, ENC_SUBS_MAX = 16 }; /* elements and sub-blocks of a block, at most */

#endif
