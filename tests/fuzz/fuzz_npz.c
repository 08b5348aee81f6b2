/* SPDX-License-Identifier: MIT
 *
 * fuzz_npz.c: any bytes as an .npz archive; with a first byte of 1 as the content of its only entry, which spares the
 * fuzzer the checksum.
 */
#include <stdlib.h>
#include <string.h>
#include <zip.h>

#include "format/npz.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static volatile unsigned sink;

static void check(const void *p, size_t n) {
    sm_arrays s;
    sm_err err = {0};
    if (sm_npz_read_mem("fuzz", p, n, &s, &err) != SM_OK) {
        if (s.n != 0 || err.msg[0] == 0)
            abort();
        return;
    }
    for (size_t i = 0; i < s.n; i++) {
        const sm_array *a = &s.v[i];
        size_t bytes = (size_t)sm_dtype_size(a->dtype, sm_array_numel(a));
        for (size_t k = 0; k < bytes; k++)
            sink += ((const uint8_t *)a->data)[k];
    }
    sm_arrays_free(&s);
}

/* A stored archive with p as its one entry. */
static void wrapped(const uint8_t *p, size_t n) {
    zip_error_t ze;
    zip_error_init(&ze);
    zip_source_t *out = zip_source_buffer_create(NULL, 0, 0, &ze), *in = zip_source_buffer_create(p, n, 0, &ze);
    zip_t *z = zip_open_from_source(out, ZIP_TRUNCATE, &ze);
    zip_source_keep(out);
    zip_int64_t i = zip_file_add(z, "x.npy", in, 0);
    if (i < 0 || zip_set_file_compression(z, (zip_uint64_t)i, ZIP_CM_STORE, 0) != 0 || zip_close(z) != 0 ||
        zip_source_open(out) != 0)
        abort();
    zip_source_seek(out, 0, SEEK_END);
    size_t size = (size_t)zip_source_tell(out);
    uint8_t *all = malloc(size);
    zip_source_seek(out, 0, SEEK_SET);
    if (zip_source_read(out, all, size) != (zip_int64_t)size)
        abort();
    check(all, size);
    free(all);
    zip_source_free(out);
    zip_error_fini(&ze);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    if (n > 0 && p[0] == 1)
        wrapped(p + 1, n - 1);
    else
        check(p, n);
    return 0;
}
