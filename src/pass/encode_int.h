/* SPDX-License-Identifier: MIT
 *
 * encode_int.h: what the files of the pass encode share.
 */
#ifndef SM_ENCODE_INT_H
#define SM_ENCODE_INT_H

#include "pass/pass_int.h"

enum { SM_SAID = 128 };
/* "tensor 'name'", for messages. */
const char *sm_const_said(const sm_const *c, char out[SM_SAID]);

int64_t sm_divisor_of(int64_t n, int64_t most); /* the largest up to `most` */

/* A palette for the whole tensor (wanted 0), or one per group of output channels: axis 0, of which the group must be a
 * divisor; SM_GROUP_USUAL picks one. */
sm_status sm_want_palette(const sm_const *c, const sm_profile *p, sm_dtype code, int64_t wanted, sm_encoding *out,
                          sm_err *err);
/* The smallest palette that leaves at most SM_AUTO_NMSE of the tensor, else the finest one. */
sm_status sm_want_near_palette(const sm_const *c, const sm_profile *p, sm_encoding *out, sm_err *err);

#endif
