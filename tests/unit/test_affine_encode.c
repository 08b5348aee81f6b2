/* SPDX-License-Identifier: MIT
 *
 * test_affine_encode.c: new codes: never worse than the plain scale, the same on every instruction set and for any
 * number of rows at a time, and what happens at the ends of fp16.
 */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tensor/affine_blocks.h"
#include "tensor/affine_fit.h"
#include "tensor/transcode.h"

static uint64_t seed = 20;

static uint32_t rnd(void) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}

static float uniform(void) {
    return (float)(rnd() % 20001) * 1e-4f - 1.0f;
}

static float gauss(void) {
    float sum = 0;
    for (int i = 0; i < 12; i++)
        sum += uniform() * 0.5f;
    return sum;
}

/* ---- one tensor through the encoder ---- */

typedef struct coded {
    sm_tensor t;
    uint8_t *out[SM_PART_COUNT];
    size_t bytes[SM_PART_COUNT];
    float *y; /* decoded, before rounding */
} coded;

static void coded_free(coded *c) {
    for (int p = 0; p < SM_PART_COUNT; p++)
        free(c->out[p]);
    free(c->y);
}

static coded encode(const char *form, int64_t block, const float *x, uint64_t rows, int64_t cols) {
    coded c = {.t = {.name = SM_SV("x"), .dtype = SM_FP32, .rank = 2, .dims = {(int64_t)rows, cols}}};
    char text[128];
    sm_err err = {0};
    snprintf(text, sizeof text, "affine(%s, [1, %d])", form, (int)block);
    assert_int_equal(sm_enc_parse(sm_sv_of(text), 2, &c.t.enc, NULL), SM_OK);
    assert_int_equal(sm_enc_sizes(&c.t.enc, 2, c.t.dims, c.bytes, NULL), SM_OK);
    for (int p = 0; p < SM_PART_COUNT; p++) {
        c.out[p] = malloc(c.bytes[p] + 1);
        memset(c.out[p], 0xA5, c.bytes[p] + 1);
        c.t.part[p] = (sm_bytes){c.out[p], c.bytes[p]};
    }
    if (sm_affine_encode(&c.t.enc, cols, rows, x, c.out, &err) != SM_OK)
        fail_msg("%s", err.msg);
    for (int p = 0; p < SM_PART_COUNT; p++)
        assert_int_equal(c.out[p][c.bytes[p]], 0xA5);
    c.y = malloc((size_t)cols * rows * sizeof *c.y);
    sm_decode_rows(&c.t, 0, rows, c.y);
    return c;
}

static double sq_error(const float *x, const float *y, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += ((double)y[i] - x[i]) * ((double)y[i] - x[i]);
    return sum;
}

/* The error of a block the plain way: the range over all codes, as coremltools does it. */
static double plain_error(const sm_encoding *e, const float *x, size_t n) {
    double lo = 0, hi = 0, sum = 0;
    for (size_t i = 0; i < n; i++) {
        lo = fmin(lo, (double)x[i]);
        hi = fmax(hi, (double)x[i]);
    }
    double qlo = (double)sm_dtype_min(e->code), qhi = (double)sm_dtype_max(e->code), zero = 0, scale;
    if (e->off == SM_NONE) {
        scale = fmax(hi, -lo) / qhi;
        qlo = -qhi;
    } else {
        scale = (hi - lo) / (qhi - qlo);
        zero = scale > 0 ? rint(qlo - lo / scale) : qlo;
    }
    if (e->aux == SM_FP16)
        scale = (double)sm_round_f16((float)scale);
    if (e->aux == SM_BF16)
        scale = (double)sm_bf16_to_f32(sm_f32_to_bf16((float)scale));
    for (size_t i = 0; i < n; i++) {
        double q = scale > 0 ? fmin(fmax(rint(x[i] / scale) + zero, qlo), qhi) : zero;
        sum += (scale * (q - zero) - x[i]) * (scale * (q - zero) - x[i]);
    }
    return sum;
}

static const char *const forms[] = {
    "int4, fp16", "int8, fp16", "uint4, fp16, offset uint4", "uint8, fp16, offset uint8", "int8, fp16, offset int8",
    "int4, fp32", "int8, bf16",
};

enum { KINDS = 8 };

/* Weights of several kinds: even, bell-shaped, heavy-tailed, one-sided, with outliers, sparse, tiny, large. */
static void fill(float *x, size_t n, int kind) {
    for (size_t i = 0; i < n; i++) {
        float g = gauss();
        switch (kind) {
        case 0:
            x[i] = uniform();
            break;
        case 1:
            x[i] = 0.02f * g;
            break;
        case 2:
            x[i] = 0.02f * g / (0.05f + fabsf(uniform()));
            break;
        case 3:
            x[i] = 1.0f + 0.3f * fabsf(g);
            break;
        case 4:
            x[i] = 0.02f * g * (rnd() % 100 == 0 ? 60.0f : 1.0f);
            break;
        case 5:
            x[i] = rnd() % 8 == 0 ? g : 0.0f;
            break;
        case 6:
            x[i] = g * 0x1p-18f;
            break;
        default:
            x[i] = g * 5000.0f;
        }
    }
}

static void never_worse_than_plain(void **state) {
    (void)state;
    static const int64_t shapes[][2] = {{1, 1},   {3, 3},   {7, 7},     {8, 8},      {16, 48},
                                        {32, 96}, {33, 99}, {100, 300}, {1000, 1000}};
    for (size_t f = 0; f < SM_ARRAY_LEN(forms); f++) {
        double ours = 0, theirs = 0;
        for (size_t s = 0; s < SM_ARRAY_LEN(shapes); s++)
            for (int kind = 0; kind < KINDS; kind++) {
                int64_t block = shapes[s][0], cols = shapes[s][1];
                uint64_t rows = 5;
                float *x = malloc((size_t)cols * rows * sizeof *x);
                fill(x, (size_t)cols * rows, kind);
                coded c = encode(forms[f], block, x, rows, cols);
                for (size_t b = 0; b < (size_t)cols * rows; b += (size_t)block) {
                    double mine = sq_error(x + b, c.y + b, (size_t)block),
                           plain = plain_error(&c.t.enc, x + b, (size_t)block);
                    double sum = sq_error(x + b, (const float[1000]){0}, (size_t)block);
                    if (!(mine <= plain * (1 + 1e-4) + sum * 1e-9))
                        fail_msg("%s, block %d at %zu, kind %d: error %g, plain %g", forms[f], (int)block, b, kind,
                                 mine, plain);
                    if (kind == 1) {
                        ours += mine;
                        theirs += plain;
                    }
                }
                coded_free(&c);
                free(x);
            }
        print_message("# %s: %.3f of the plain error on bell-shaped weights\n", forms[f], ours / theirs);
        assert_true(ours < theirs);
    }
}

/* Weights that a form holds exactly stay exact. */
static void found_again(void **state) {
    (void)state;
    float x[4 * 64];
    for (int i = 0; i < 4 * 64; i++)
        x[i] = (float)((int)(rnd() % 16) - 8) * 0.0123291015625f; /* 101 / 8192 */
    for (int i = 0; i < 4 * 64; i += 32)
        x[i] = -8 * 0.0123291015625f;
    coded c = encode("int4, fp16", 32, x, 4, 64);
    assert_memory_equal(c.y, x, sizeof x);
    coded_free(&c);
    for (int i = 0; i < 4 * 64; i++)
        x[i] = (float)((int)(rnd() % 3) - 1) * 0.333251953125f; /* three values */
    c = encode("int4, fp16", 64, x, 4, 64);
    assert_memory_equal(c.y, x, sizeof x);
    coded_free(&c);
    for (int i = 0; i < 4 * 64; i++)
        x[i] = (float)((int)(rnd() % 31) - 15) * 0.0123291015625f; /* codes of 5 bits */
    for (int i = 0; i < 4 * 64; i += 32)
        x[i] = i % 64 ? 16 * 0.0123291015625f : -16 * 0.0123291015625f;
    c = encode("int8, fp16", 32, x, 4, 64);
    assert_memory_equal(c.y, x, sizeof x);
    coded_free(&c);
    for (int i = 0; i < 4 * 64; i++)
        x[i] = i < 64 ? 0.0f : i < 128 ? -3.25f : i < 192 ? 65504.0f : 0x1p-24f; /* one value a row */
    for (size_t f = 0; f < 4; f++) {
        c = encode(forms[f], 64, x, 4, 64);
        assert_memory_equal(c.y, x, sizeof x);
        coded_free(&c);
    }
}

/* What fp16 can hold at all: products stay finite, units of 2^-24 are found. */
static void ends_of_half(void **state) {
    (void)state;
    float x[128];
    for (size_t f = 0; f < 5; f++) {
        for (int i = 0; i < 128; i++)
            x[i] = uniform() * 65504.0f;
        x[3] = 65504.0f;
        x[9] = -65504.0f;
        coded c = encode(forms[f], 32, x, 4, 32);
        double top = sm_dtype_bits(c.t.enc.code) == 4 ? 4000 : 300;
        for (int i = 0; i < 128; i++)
            assert_true(isfinite(sm_round_f16(c.y[i])) && fabs((double)c.y[i] - x[i]) < 2.2 * top);
        coded_free(&c);
        for (int i = 0; i < 128; i++)
            x[i] = (float)((int)(rnd() % 15) - 7) * 0x1p-24f; /* the smallest numbers that fp16 has */
        c = encode(forms[f], 32, x, 4, 32);
        for (int i = 0; i < 128; i++)
            if (fabs((double)c.y[i] - x[i]) > (c.t.enc.off == SM_UINT4 ? 0x1p-24 : 0))
                fail_msg("%s: wanted %g, found %g", forms[f], (double)x[i], (double)c.y[i]);
        coded_free(&c);
        for (int i = 0; i < 128; i++)
            x[i] = uniform() * FLT_MIN; /* nothing that fp16 has */
        c = encode(forms[f], 32, x, 4, 32);
        for (int i = 0; i < 128; i++)
            assert_true(c.y[i] == 0.0f);
        coded_free(&c);
        for (int i = 0; i < 128; i++)
            x[i] = i % 2 ? FLT_MAX : -1.0f; /* far beyond it */
        c = encode(forms[f], 32, x, 4, 32);
        for (int i = 0; i < 128; i++)
            assert_true(i % 2 ? c.y[i] >= 57000.0f && isfinite(sm_round_f16(c.y[i])) : c.y[i] <= 0.0f);
        coded_free(&c);
    }
}

static void same_on_every_machine(void **state) {
    (void)state;
    const sm_fit_loops *a = sm_fit_loops_c(), *b = sm_fit_loops_best();
    float x[1500];
    int32_t qa[1500], qb[1500];
    print_message("# %s against %s\n", b->name, a->name);
    for (size_t n = 1; n <= 1500; n += n < 70 ? 1 : 211)
        for (int kind = 0; kind < KINDS; kind++) {
            float lo[2], hi[2];
            double xd[2], dd[2], e[2];
            fill(x, n, kind);
            assert_true(a->range(x, n, &lo[0], &hi[0]) && b->range(x, n, &lo[1], &hi[1]));
            assert_memory_equal(&lo[0], &lo[1], sizeof(float));
            assert_memory_equal(&hi[0], &hi[1], sizeof(float));
            float scale = (hi[0] - lo[0] + 1e-9f) / 11.0f;
            for (size_t i = 0; i < n; i++)
                assert_true(x[i] >= lo[0] && x[i] <= hi[0]);
            a->products(x, n, 1.0f / scale, -8, 7, &xd[0], &dd[0]);
            b->products(x, n, 1.0f / scale, -8, 7, &xd[1], &dd[1]);
            assert_true(xd[0] == xd[1] && dd[0] == dd[1]);
            e[0] = a->error(x, n, scale, -8, 7, &xd[0], &dd[0]);
            e[1] = b->error(x, n, scale, -8, 7, &xd[1], &dd[1]);
            assert_true(e[0] == e[1] && xd[0] == xd[1] && dd[0] == dd[1]);
            a->codes(x, n, scale, -8, 7, 3, qa);
            b->codes(x, n, scale, -8, 7, 3, qb);
            assert_memory_equal(qa, qb, n * sizeof *qa);
        }
    x[700] = NAN;
    float lo, hi;
    assert_false(a->range(x, 1500, &lo, &hi) || b->range(x, 1500, &lo, &hi));
    assert_true(a->range(x, 700, &lo, &hi) && b->range(x, 700, &lo, &hi));
    x[699] = -INFINITY;
    assert_false(a->range(x, 700, &lo, &hi) || b->range(x, 700, &lo, &hi));
}

/* Weights for ordinary blocks and for others among them: kinds of blocks by turns, some constant, zero or not finite,
 * some outliers. */
static void fill_blocks(float *x, size_t n, size_t count, int kind) {
    for (size_t b = 0; b < count; b++, x += n) {
        fill(x, n, kind < KINDS ? kind : (int)(rnd() % KINDS));
        uint32_t what = kind < KINDS ? 99 : rnd() % 40;
        for (size_t i = 0; i < n && what < 3; i++)
            x[i] = what == 0 ? 0.0f : what == 1 ? -0.25f : x[i] * 1e-3f;
        if (what == 4)
            x[rnd() % n] = rnd() % 2 ? NAN : -INFINITY;
        if (what == 5)
            x[rnd() % n] = 30.0f;
        if (what == 6)
            x[rnd() % n] = 20000.0f;
        if (what == 7)
            for (size_t i = 0; i < n; i++)
                x[i] = (float)((int)(rnd() % 11) - 5) * 0.0078125f;
        for (size_t i = 0; i < n && what == 8; i++)
            x[i] = i == 0 ? 0.0f : 0.75f; /* sums as large as they get */
    }
}

/* Every instruction set of the machine against plain C: scales, ranges, offsets and codes, bit for bit. */
static void blocks_same_on_every_machine(void **state) {
    (void)state;
    enum { MOST = 9000 };
    static const size_t sizes[] = {1,   2,   3,   5,   8,   15,  16,  17,  31,   32,   33,   48,   63,   64,
                                   100, 128, 255, 256, 257, 300, 511, 512, 1000, 2047, 2048, 2049, 4097, MOST};
    float *x = malloc(4 * MOST * sizeof *x);
    int16_t *room = malloc(sm_block_room(MOST) * sizeof *room);
    sm_block_fit *a = malloc(4 * MOST * sizeof *a), *b = malloc(4 * MOST * sizeof *b);
    uint8_t *qa = malloc(4 * MOST + 2), *qb = malloc(4 * MOST + 2);
    const sm_block_loops *c = sm_block_loops_c(), *l = c;
    for (sm_isa isa = SM_ISA_C; isa <= sm_isa_detect(); isa++) {
        long blocks = 0, ordinary = 0;
        if (!sm_isa_built(isa) || l == sm_block_loops_of(isa))
            continue;
        l = sm_block_loops_of(isa);
        for (size_t f = 0; f < 5; f++)
            for (size_t s = 0; s < SM_ARRAY_LEN(sizes); s++)
                for (int kind = 0; kind <= KINDS; kind++) {
                    size_t n = sizes[s], some = 1 + rnd() % 50, count = SM_MIN(some, 4 * MOST / n);
                    char text[64];
                    sm_encoding e;
                    sm_block_rule r;
                    snprintf(text, sizeof text, "affine(%s, [1, 4])", forms[f]);
                    assert_int_equal(sm_enc_parse(sm_sv_of(text), 2, &e, NULL), SM_OK);
                    assert_true(sm_block_rule_of(e.code, e.off, e.aux, &r));
                    fill_blocks(x, n, count, kind);
                    c->fit(&r, x, n, count, room, a);
                    l->fit(&r, x, n, count, room, b);
                    for (size_t i = 0; i < count; i++) {
                        blocks++;
                        if (a[i].scale < 0.0f && b[i].scale < 0.0f) {
                            a[i] = b[i] = (sm_block_fit){i % 2 ? 0.0f : 0.01f, r.qlo, r.qhi, 0};
                            for (size_t k = 0; k < n; k++)
                                x[i * n + k] = isfinite(x[i * n + k]) ? x[i * n + k] : 0.0f;
                            continue;
                        }
                        ordinary++;
                        if (memcmp(a + i, b + i, sizeof *a) != 0)
                            fail_msg("%s, %s, %zu weights, kind %d, block %zu of %zu: scale %a, offset %d, plain C has "
                                     "%a, %d",
                                     l->name, forms[f], n, kind, i, count, (double)b[i].scale, (int)b[i].shift,
                                     (double)a[i].scale, (int)a[i].shift);
                    }
                    memset(qa, 0xA5, 4 * MOST + 2);
                    memset(qb, 0xA5, 4 * MOST + 2);
                    if (!r.coarse) {
                        c->codes8(x, n, count, a, qa);
                        l->codes8(x, n, count, b, qb);
                    } else if (n % 2 == 0) {
                        c->codes4(x, n, count, a, qa);
                        l->codes4(x, n, count, b, qb);
                    } else {
                        c->codes4(x, n, 1, a, qa);
                        l->codes4(x, n, 1, b, qb);
                    }
                    assert_memory_equal(qa, qb, 4 * MOST + 2);
                    for (size_t i = count * n; i < 4 * MOST + 2; i++)
                        assert_int_equal(qb[i], 0xA5);
                }
        print_message("# %s: %ld blocks, %ld of them ordinary, as plain C has them\n", l->name, blocks, ordinary);
        assert_true(ordinary > blocks / 2);
    }
    free(x);
    free(room);
    free(a);
    free(b);
    free(qa);
    free(qb);
}

/* A slab of rows at a time gives the same bytes as all at once, one zero point of four bits a row included. */
static void rows_at_a_time(void **state) {
    (void)state;
    enum { ROWS = 43, COLS = 75 };
    float x[ROWS * COLS];
    fill(x, ROWS * COLS, 3);
    for (size_t f = 0; f < 4; f++)
        for (int64_t block = 15; block <= COLS; block += COLS - 15) {
            coded c = encode(forms[f], block, x, ROWS, COLS);
            for (uint64_t step = 8; step < ROWS; step += 8)
                for (uint64_t r = 0; r < ROWS; r += step) {
                    uint64_t n = SM_MIN(step, ROWS - r);
                    coded part = encode(forms[f], block, x + r * COLS, n, COLS);
                    for (int p = 0; p < SM_PART_COUNT; p++) {
                        uint64_t elems = p == SM_PART_DATA ? COLS : (uint64_t)(COLS / block);
                        uint64_t bits = (uint64_t)sm_dtype_bits(sm_enc_part_dtype(&c.t.enc, p));
                        if (part.bytes[p] > 0)
                            assert_memory_equal(part.out[p], c.out[p] + r * elems * bits / 8, part.bytes[p]);
                    }
                    coded_free(&part);
                }
            coded_free(&c);
        }
}

static void not_finite_is_named(void **state) {
    (void)state;
    float x[6 * 40];
    uint8_t data[6 * 40], scale[64], offset[64], *out[SM_PART_COUNT] = {data, scale, offset, NULL};
    fill(x, 6 * 40, 1);
    sm_tensor t = sm_tensor_dense(SM_FP32, 2, (const int64_t[]){6, 40}, x);
    t.name = SM_SV("blk.3.weight");
    for (size_t f = 0; f < 4; f++) {
        static const float bad[] = {NAN, INFINITY, -INFINITY};
        char text[128];
        sm_encoding e;
        snprintf(text, sizeof text, "affine(%s, [1, 20])", forms[f]);
        assert_int_equal(sm_enc_parse(sm_sv_of(text), 2, &e, NULL), SM_OK);
        for (size_t i = 0; i < 3; i++) {
            sm_err err = {0};
            x[5 * 40 + 27] = bad[i];
            assert_int_equal(sm_transcode_rows(&t, &e, SM_FP16, 4, 2, out, NULL, &err), SM_BADINPUT);
            assert_non_null(strstr(err.msg, "blk.3.weight"));
            assert_non_null(strstr(err.msg, "row 5, column 27"));
            assert_non_null(strstr(err.msg, i == 0 ? "found nan" : "found inf"));
        }
        x[5 * 40 + 27] = 0.0f;
        assert_int_equal(sm_transcode_rows(&t, &e, SM_FP16, 4, 2, out, NULL, NULL), SM_OK);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_worse_than_plain),
        cmocka_unit_test(found_again),
        cmocka_unit_test(ends_of_half),
        cmocka_unit_test(same_on_every_machine),
        cmocka_unit_test(blocks_same_on_every_machine),
        cmocka_unit_test(rows_at_a_time),
        cmocka_unit_test(not_finite_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
