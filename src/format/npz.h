/* SPDX-License-Identifier: MIT
 *
 * npz.h: NumPy .npz archives (zip of .npy version 1-3) to and from arrays, by libzip.
 *
 * Read: little-endian bool, (u)int8..64, float16/32/64, C or Fortran order (made C), stored or deflated, at most
 * 4 GiB an entry; strings and objects are refused by name.  Written: stored, C order, names sorted, so that equal
 * arrays give equal files.
 */
#ifndef SM_NPZ_H
#define SM_NPZ_H

#include "tensor/array.h"

sm_status sm_npz_read(const char *path, sm_arrays *out, sm_err *err);
sm_status sm_npz_read_mem(const char *name, const void *p, size_t n, sm_arrays *out, sm_err *err);
sm_status sm_npz_write(const char *path, const sm_arrays *in, sm_err *err);

#endif
