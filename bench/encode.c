/* SPDX-License-Identifier: MIT
 *
 * encode.c: how fast weights become codes.
 *
 *     ninja -C build bench/encode && build/bench/encode [ROWS COLS [THREADS]]
 *
 * One matrix of Gaussian weights in f32 goes through the encoder in chunks of rows, dealt to the threads as the package
 * writer does.  Each form is run until half a second is over, at least three times; the fastest run counts.  MB/s are of
 * the source, f32.  Beside it stand the error that was made, and what memory gives: reading the same matrix, and copying
 * it.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/threads.h"
#include "tensor/transcode.h"

enum { CHUNK_ELEMS = 1 << 17 };

typedef struct work {
    sm_encoding e;
    int64_t rows, cols;
    const float *x;
    float *copy;
    uint8_t *out[SM_PART_COUNT];
    size_t bytes[SM_PART_COUNT];
    double sums[64];
} work;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float gauss(uint64_t *s) {
    float sum = 0;
    for (int i = 0; i < 12; i++) {
        *s = *s * 6364136223846793005u + 1442695040888963407u;
        sum += (float)(*s >> 40) * 0x1p-24f;
    }
    return sum - 6.0f;
}

static void encode(void *ctx, int ith, int nth) {
    work *w = ctx;
    int64_t chunk = SM_MAX(CHUNK_ELEMS / w->cols / 8 * 8, 8);
    for (int64_t r = ith * chunk; r < w->rows; r += nth * chunk) {
        uint8_t *out[SM_PART_COUNT];
        for (int p = 0; p < SM_PART_COUNT; p++)
            out[p] = w->out[p] + w->bytes[p] * (size_t)r / (size_t)w->rows;
        if (sm_affine_encode(&w->e, w->cols, (uint64_t)SM_MIN(chunk, w->rows - r), w->x + r * w->cols, out, NULL))
            abort();
    }
}

static void read_all(void *ctx, int ith, int nth) {
    work *w = ctx;
    int64_t n = w->rows * w->cols / nth;
    const float *x = w->x + ith * n;
    float sum[16] = {0};
    for (int64_t i = 0; i + 16 <= n; i += 16)
        for (int l = 0; l < 16; l++)
            sum[l] += x[i + l];
    for (int l = 0; l < 16; l++)
        w->sums[ith] += (double)sum[l];
}

static void copy_all(void *ctx, int ith, int nth) {
    work *w = ctx;
    int64_t n = w->rows * w->cols / nth;
    memcpy(w->copy + ith * n, w->x + ith * n, (size_t)n * 4);
}

/* MB/s of source. */
static double measure(sm_pool *p, void (*fn)(void *, int, int), work *w) {
    double best = 1e30, start = now();
    for (int i = 0; i < 3 || now() - start < 0.5; i++) {
        double t = now();
        sm_pool_run(p, fn, w);
        best = fmin(best, now() - t);
    }
    return (double)(w->rows * w->cols) * 4e-6 / best;
}

static double nmse(work *w) {
    sm_tensor t = {.dtype = SM_FP32, .rank = 2, .dims = {w->rows, w->cols}, .enc = w->e};
    double err = 0, ref = 0;
    for (int p = 0; p < SM_PART_COUNT; p++)
        t.part[p] = (sm_bytes){w->out[p], w->bytes[p]};
    sm_decode_rows(&t, 0, (uint64_t)w->rows, w->copy);
    for (int64_t i = 0; i < w->rows * w->cols; i++) {
        err += ((double)w->copy[i] - w->x[i]) * ((double)w->copy[i] - w->x[i]);
        ref += (double)w->x[i] * w->x[i];
    }
    return err / ref;
}

int main(int argc, char **argv) {
    static const char *const forms[] = {"int4, fp16", "int8, fp16", "uint4, fp16, offset uint4",
                                        "uint8, fp16, offset uint8"};
    work w = {.rows = argc > 2 ? atoll(argv[1]) : 4096, .cols = argc > 2 ? atoll(argv[2]) : 4096};
    int most = argc > 3 ? atoi(argv[3]) : 2;
    size_t n = (size_t)(w.rows * w.cols);
    uint64_t seed = 1;
    float *x = malloc(n * 4);
    w.copy = malloc(n * 4);
    if (x == NULL || w.copy == NULL)
        return 1;
    for (size_t i = 0; i < n; i++)
        x[i] = 0.02f * gauss(&seed);
    w.x = x;
    for (int threads = 1; threads <= most; threads *= 2) {
        sm_pool *p;
        if (sm_pool_new(threads, &p, NULL) != SM_OK)
            return 1;
        printf("%d threads: reading %.0f MB/s, copying %.0f MB/s\n", threads, measure(p, read_all, &w),
               measure(p, copy_all, &w));
        for (int f = 0; f < 4; f++)
            for (int64_t block = 32; block != 0; block = block == 32 ? 128 : block == 128 ? w.cols : 0) {
                char text[96];
                snprintf(text, sizeof text, "affine(%s, [1, %lld])", forms[f], (long long)block);
                int64_t dims[2] = {w.rows, w.cols};
                if (sm_enc_parse(sm_sv_of(text), 2, &w.e, NULL) || sm_enc_sizes(&w.e, 2, dims, w.bytes, NULL))
                    return 1;
                for (int k = 0; k < SM_PART_COUNT; k++)
                    w.out[k] = malloc(w.bytes[k] + 1);
                double rate = measure(p, encode, &w);
                printf("  %-48s %7.0f MB/s   NMSE %.4e\n", text, rate, nmse(&w));
                for (int k = 0; k < SM_PART_COUNT; k++)
                    free(w.out[k]);
                if (block == w.cols)
                    break;
            }
        sm_pool_free(&p);
    }
    free(x);
    free(w.copy);
    return 0;
}
