/* SPDX-License-Identifier: MIT
 *
 * encode_tensor.c: f32 weights through the encoder of package weights and back.
 *
 *     encode_tensor ENCODING ROWS COLS IN OUT     "affine(int4, fp16, [1, 32])"; IN raw f32, OUT raw f32
 *     encode_tensor - < LIST                      many: a line each, the five words separated by tabs
 *
 * OUT holds the decoded products, scale * (code - offset), before their rounding to fp16.  "lut(uint4, fp16, [16, 64])"
 * fits palettes; a line says how many seconds of CPU a tensor took, palettes the least of three times.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/files.h"
#include "tensor/transcode.h"

static int fail(const char *what) {
    fprintf(stderr, "encode_tensor: %s\n", what);
    return 1;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int encode(const char *text, int64_t rows, int64_t cols, const char *in, const char *path) {
    sm_encoding e;
    sm_err err = {0};
    size_t bytes[SM_PART_COUNT], n = (size_t)(rows * cols);
    uint8_t *out[SM_PART_COUNT];
    sm_tensor t = {.name = SM_SV("x"), .dtype = SM_FP32, .rank = 2, .dims = {rows, cols}};
    float *x = malloc(n * 4);
    FILE *f = fopen(in, "rb");
    if (f == NULL || x == NULL || fread(x, 4, n, f) != n)
        return fail("input too short");
    fclose(f);
    if (sm_enc_parse(sm_sv_of(text), 2, &e, &err) != SM_OK || sm_enc_sizes(&e, 2, t.dims, bytes, &err) != SM_OK)
        return fail(err.msg);
    t.enc = e;
    for (int p = 0; p < SM_PART_COUNT; p++) {
        out[p] = malloc(bytes[p] + 1);
        t.part[p] = (sm_bytes){out[p], bytes[p]};
    }
    double least = INFINITY;
    sm_tensor src = sm_tensor_dense(SM_FP32, 2, t.dims, x);
    for (int i = 0; i < (e.id == SM_ENC_LUT ? 3 : 1); i++) {
        double start = now();
        sm_status st = e.id == SM_ENC_LUT ? sm_transcode_whole(&src, &e, SM_FP32, NULL, out, NULL, &err)
                                          : sm_affine_encode(&e, cols, (uint64_t)rows, x, out, &err);
        if (st != SM_OK)
            return fail(err.msg);
        least = fmin(least, now() - start);
    }
    printf("%.6f\n", least);
    sm_decode_rows(&t, 0, (uint64_t)rows, x);
    f = fopen(path, "wb");
    if (f == NULL || fwrite(x, 4, n, f) != n || fclose(f) != 0)
        return fail("cannot write");
    for (int p = 0; p < SM_PART_COUNT; p++)
        free(out[p]);
    free(x);
    return 0;
}

int main(int argc, char **argv) {
    static char line[4096], enc[256], in[1024], out[1024];
    long long rows, cols;
    if (argc == 6)
        return encode(argv[1], atoll(argv[2]), atoll(argv[3]), argv[4], argv[5]);
    if (argc != 2 || strcmp(argv[1], "-") != 0)
        return fail("wanted ENCODING ROWS COLS IN OUT, or -");
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (sscanf(line, "%255[^\t]\t%lld\t%lld\t%1023[^\t]\t%1023[^\n]", enc, &rows, &cols, in, out) != 5)
            return fail("a line needs five words");
        if (encode(enc, rows, cols, in, out) != 0)
            return 1;
    }
    return 0;
}
