/* SPDX-License-Identifier: MIT
 *
 * fuzz_blob.c: any bytes as a weight file: every record that opens under some type is read to its last byte.
 */
#include <stdlib.h>

#include "format/blobfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static volatile unsigned sink;

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    sm_blobfile f;
    sm_bytes b;
    if (sm_blobfile_open("fuzz", p, n, &f, NULL) != SM_OK)
        return 0;
    for (uint64_t at = 0; at <= n + 64; at += 64)
        for (int t = 1; t < SM_DTYPE_COUNT_; t++)
            for (uint64_t numel = 0; numel < 40; numel += numel < 9 ? 1 : 7) {
                if (sm_blobfile_get(&f, at, (sm_dtype)t, numel, &b, NULL) != SM_OK)
                    continue;
                if (b.n != sm_dtype_size((sm_dtype)t, numel) || b.p < p || b.p + b.n > p + n)
                    abort();
                for (size_t i = 0; i < b.n; i++)
                    sink += b.p[i];
            }
    return 0;
}
