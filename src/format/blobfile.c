/* SPDX-License-Identifier: MIT
 *
 * blobfile.c: records of weight.bin, read with suspicion and written in order (blobfile.h).
 *
 * Numbers are taken byte by byte, so that the host's byte order does not matter here; data is used as it lies, which
 * wants a little-endian host like everything that maps weights.
 */
#include "format/blobfile.h"

#include <inttypes.h>
#include <string.h>

#define SENTINEL UINT32_C(0xDEADBEEF)
#define VERSION 2

static uint64_t get(const uint8_t *p, int n) {
    uint64_t v = 0;
    for (int i = n - 1; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

static void put(uint8_t *p, int n, uint64_t v) {
    for (int i = 0; i < n; i++, v >>= 8)
        p[i] = (uint8_t)v;
}

/* Unused bits of the last byte of n elements. */
static unsigned spare_bits(sm_dtype t, uint64_t n) {
    unsigned used = (unsigned)(n % 8 * (uint64_t)sm_dtype_bits(t) % 8);
    return used == 0 ? 0 : 8 - used;
}

sm_status sm_blobfile_open(const char *name, const uint8_t *p, size_t n, sm_blobfile *out, sm_err *err) {
    *out = (sm_blobfile){name, p, n};
    if (n < SM_BLOB_ALIGN)
        return SM_FAIL(err, SM_BADINPUT, "%s: wanted a header of %d bytes, found %zu", name, SM_BLOB_ALIGN, n);
    if (get(p + 4, 4) != VERSION)
        return SM_FAIL(err, SM_BADINPUT, "%s: offset 4: wanted blob storage version %d, found %" PRIu64, name, VERSION,
                       get(p + 4, 4));
    return SM_OK;
}

sm_status sm_blobfile_get(const sm_blobfile *f, uint64_t offset, sm_dtype t, uint64_t numel, sm_bytes *out,
                          sm_err *err) {
    size_t want;
    if (offset % SM_BLOB_ALIGN != 0 || offset < SM_BLOB_ALIGN || offset > f->n || f->n - offset < SM_BLOB_ALIGN)
        return SM_FAIL(err, SM_BADINPUT,
                       "%s: blob offset %" PRIu64
                       ": wanted a multiple of %d from %d on with a record inside the file's %zu bytes",
                       f->name, offset, SM_BLOB_ALIGN, SM_BLOB_ALIGN, f->n);
    const uint8_t *r = f->p + offset;
    if (get(r, 4) != SENTINEL)
        return SM_FAIL(err, SM_BADINPUT,
                       "%s: blob offset %" PRIu64 ": wanted sentinel 0x%08" PRIX32 ", found 0x%08" PRIX64, f->name,
                       offset, SENTINEL, get(r, 4));
    sm_dtype found = sm_dtype_of_blob((int)SM_MIN(get(r + 4, 4), (uint64_t)INT32_MAX));
    if (found == SM_NONE || found != t)
        return SM_FAIL(err, SM_BADINPUT, "%s: blob offset %" PRIu64 ": wanted %s, found %s (type %" PRIu64 ")", f->name,
                       offset, sm_dtype_name(t), found == SM_NONE ? "an unknown type" : sm_dtype_name(found),
                       get(r + 4, 4));
    uint64_t bytes = get(r + 8, 8), at = get(r + 16, 8), spare = get(r + 24, 8);
    if (!sm_dtype_bytes(t, numel, &want) || bytes != want)
        return SM_FAIL(err, SM_BADINPUT,
                       "%s: blob offset %" PRIu64 ": %" PRIu64 " elements of %s want %zu bytes, found %" PRIu64,
                       f->name, offset, numel, sm_dtype_name(t), want, bytes);
    if (at % SM_BLOB_ALIGN != 0 || at < SM_BLOB_ALIGN || at > f->n || f->n - at < bytes)
        return SM_FAIL(err, SM_BADINPUT,
                       "%s: blob offset %" PRIu64 ": data of %" PRIu64 " bytes at %" PRIu64
                       " is not aligned or not inside the file's %zu bytes",
                       f->name, offset, bytes, at, f->n);
    if (spare != spare_bits(t, numel))
        return SM_FAIL(err, SM_BADINPUT, "%s: blob offset %" PRIu64 ": wanted %u padding bits, found %" PRIu64, f->name,
                       offset, spare_bits(t, numel), spare);
    *out = (sm_bytes){f->p + at, want};
    return SM_OK;
}

/* ---- writing */

sm_status sm_blobout_start(sm_blobout *o, sm_outfile *file, sm_err *err) {
    static const uint8_t zeros[SM_BLOB_ALIGN];
    *o = (sm_blobout){.file = file, .end = SM_BLOB_ALIGN};
    return sm_outfile_write(file, 0, zeros, sizeof zeros, err);
}

sm_status sm_blobout_add(sm_blobout *o, sm_dtype t, uint64_t numel, uint64_t *record, uint64_t *data, sm_err *err) {
    uint8_t r[SM_BLOB_ALIGN] = {0};
    size_t bytes;
    if (!sm_dtype_bytes(t, numel, &bytes) || o->count == UINT32_MAX)
        return SM_FAIL(err, SM_RESOURCE, "a blob of %" PRIu64 " elements does not fit the weight file", numel);
    *record = (o->end + SM_BLOB_ALIGN - 1) / SM_BLOB_ALIGN * SM_BLOB_ALIGN;
    *data = *record + SM_BLOB_ALIGN;
    put(r, 4, SENTINEL);
    put(r + 4, 4, (uint64_t)sm_dtype_blob(t));
    put(r + 8, 8, bytes);
    put(r + 16, 8, *data);
    put(r + 24, 8, spare_bits(t, numel));
    SM_TRY(sm_outfile_write(o->file, *record, r, sizeof r, err));
    o->end = *data + bytes;
    o->count++;
    return SM_OK;
}

sm_status sm_blobout_finish(sm_blobout *o, sm_err *err) {
    uint8_t h[8];
    put(h, 4, o->count);
    put(h + 4, 4, VERSION);
    return sm_outfile_write(o->file, 0, h, sizeof h, err);
}
