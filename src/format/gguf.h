/* SPDX-License-Identifier: MIT
 *
 * gguf.h: GGUF files (versions 2 and 3) read into checkpoints; a metadata-only writer.
 *
 * Reading maps the file and copies no tensor and no string: everything points into the mapping, which the checkpoint
 * owns.  Of a split model the first part is named and all parts are opened.  Tensor dimensions, which GGUF stores
 * innermost first, become row-major; block tensors declare fp32.  The whole file is checked when it is opened: counts,
 * sizes, offsets, overlaps, types; what smelt cannot decode is refused there, naming the tensor.
 *
 *     u32 "GGUF" | u32 version | u64 tensors | u64 keys
 *     per key:    string name | u32 type | value           string: u64 bytes | text
 *     per tensor: string name | u32 n | u64 dims[n] | u32 ggml type | u64 offset from the start of the data
 *     padding to general.alignment (32) | data
 */
#ifndef SM_GGUF_H
#define SM_GGUF_H

#include "base/err.h"
#include "tensor/checkpoint.h"

/* True when the file can be read and starts like GGUF. */
bool sm_gguf_sniff(const char *path);

sm_status sm_gguf_open(const char *path, sm_checkpoint **out, sm_err *err);

/* The same over bytes in memory, which are borrowed and outlive the checkpoint; `name` stands for the path in
 * messages.  Parts of split models are refused. */
sm_status sm_gguf_open_mem(const void *p, size_t n, const char *name, sm_checkpoint **out, sm_err *err);

/* Appends a GGUF file without tensors to *out: the keys of c that start with one of the prefixes ("tokenizer.",
 * "general."), in c's order, with the values and widths that they have there. */
sm_status sm_gguf_write_meta(const sm_checkpoint *c, const char *const *prefixes, size_t n_prefixes, sm_str *out,
                             sm_err *err);

#endif
