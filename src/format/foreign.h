/* SPDX-License-Identifier: MIT
 *
 * foreign.h: models of other programs, told by name and first bytes and refused with what to do instead.
 */
#ifndef SM_FOREIGN_H
#define SM_FOREIGN_H

#include "base/err.h"

/* SM_UNSUPPORTED with the kind and a hint when the path names an ONNX, TensorFlow, PyTorch or Core ML neural-network
 * model; else SM_OK, also for what does not exist. */
sm_status sm_foreign_refuse(const char *path, sm_err *err);

#endif
