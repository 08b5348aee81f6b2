/* SPDX-License-Identifier: MIT
 *
 * blobfile.h: weight.bin, the file that ML Programs keep large constants in (MIL blob storage, version 2).
 *
 *     0    u32 count of blobs, u32 version = 2, zeros to 64
 *     64   metadata of the first blob, 64 bytes: u32 0xDEADBEEF, u32 type, u64 bytes, u64 offset of the data, u64 unused
 *          bits at the end of the data (sub-byte types), zeros
 *     128  its data
 *     ..   the next blob's metadata, at the next multiple of 64
 *
 * Everything is little endian.  A program names a blob by the offset of its metadata.  Types are dtypes.def's blob
 * numbers; sub-byte elements are packed as tensor/dtype.h says.
 *
 * Reading gives views into the mapped file, every field of the record checked.  Writing reserves a blob of known size
 * and leaves filling it to the caller, in any order, so that the parts of one tensor grow side by side.
 */
#ifndef SM_BLOBFILE_H
#define SM_BLOBFILE_H

#include "base/files.h"
#include "tensor/dtype.h"

#define SM_BLOB_ALIGN 64

typedef struct sm_blobfile {
    const char *name; /* for messages; borrowed */
    const uint8_t *p;
    size_t n;
} sm_blobfile;
/* Over bytes that outlive it; checks the header. */
sm_status sm_blobfile_open(const char *name, const uint8_t *p, size_t n, sm_blobfile *out, sm_err *err);
/* The data of the blob at `offset`, which must hold numel elements of type t. */
sm_status sm_blobfile_get(const sm_blobfile *f, uint64_t offset, sm_dtype t, uint64_t numel, sm_bytes *out,
                          sm_err *err);

typedef struct sm_blobout {
    sm_outfile *file; /* borrowed */
    uint64_t end;     /* of the last blob's data */
    uint32_t count;
} sm_blobout;
sm_status sm_blobout_start(sm_blobout *o, sm_outfile *file, sm_err *err);
/* Room for numel elements: *record is what the program says, *data where the bytes go (sm_outfile_write). */
sm_status sm_blobout_add(sm_blobout *o, sm_dtype t, uint64_t numel, uint64_t *record, uint64_t *data, sm_err *err);
sm_status sm_blobout_finish(sm_blobout *o, sm_err *err);

#endif
