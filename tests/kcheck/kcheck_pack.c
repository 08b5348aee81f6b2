/* SPDX-License-Identifier: MIT
 *
 * kcheck_pack.c: packed weights against the decoders, one encoding a line.
 *
 * A row with a single 1 takes a column of the weights out of the product; it must be the decoded column up to the fp16
 * rounding of scales and mins.  Reading packed rows back must give the same.  Budget per row: 2^-10 of the row's largest
 * decoded magnitude plus what the code range makes of a rounded min.
 */
#include "kcheck.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backend/cpu/qpack.h"

/* Where a GGUF block keeps its fp16 numbers. */
static int f16_places(sm_enc_id id, int at[2]) {
    at[0] = 0;
    at[1] = 2;
    switch (id) {
    case SM_ENC_Q4_0:
    case SM_ENC_Q5_0:
    case SM_ENC_Q8_0:
        return 1;
    case SM_ENC_Q2_K:
        at[0] = 80;
        at[1] = 82;
        return 2;
    case SM_ENC_Q3_K:
        at[0] = 108;
        return 1;
    case SM_ENC_Q6_K:
        at[0] = 208;
        return 1;
    default:
        return 2;
    }
}

static void fill_floats(kc *k, sm_dtype t, uint8_t *p, size_t n, float lo, float hi) {
    for (size_t i = 0; i < n; i++) {
        float v = kc_uniform(k, lo, hi);
        uint16_t h = t == SM_BF16 ? sm_f32_to_bf16(v) : sm_f32_to_f16(v);
        if (t == SM_FP32)
            memcpy(p + 4 * i, &v, 4);
        else
            memcpy(p + 2 * i, &h, 2);
    }
}

static bool random_tensor(kc *k, sm_encoding enc, sm_dtype dtype, int n, int cols, sm_tensor *t) {
    size_t bytes[SM_PART_COUNT];
    *t = (sm_tensor){.name = SM_SV("w"), .dtype = dtype, .rank = 2, .dims = {n, cols}, .enc = enc};
    if (sm_enc_sizes(&enc, 2, t->dims, bytes, NULL) != SM_OK)
        return false;
    for (int p = 0; p < SM_PART_COUNT; p++) {
        uint8_t *data = kc_buf(k, bytes[p], p == SM_PART_DATA ? 1 : 0);
        for (size_t i = 0; i < bytes[p]; i++)
            data[i] = (uint8_t)kc_bits(k);
        sm_dtype part = sm_enc_part_dtype(&enc, p);
        if (bytes[p] > 0 && sm_dtype_kind(part) == 'f')
            fill_floats(k, part, data, bytes[p] * 8 / (size_t)sm_dtype_bits(part), p == SM_PART_OFFSET ? 5.0f : 0.001f,
                        p == SM_PART_OFFSET ? 9.0f : 0.02f);
        t->part[p] = (sm_bytes){data, bytes[p]};
    }
    const sm_enc_row *row = sm_enc_row_of(enc.id);
    int at[2], places = row->kind == SM_KIND_BLOCK ? f16_places(enc.id, at) : 0;
    uint8_t *block = (uint8_t *)t->part[SM_PART_DATA].p;
    for (size_t b = 0; places > 0 && b < bytes[SM_PART_DATA] / (size_t)row->block_bytes; b++, block += row->block_bytes)
        for (int i = 0; i < places; i++)
            fill_floats(k, SM_FP16, block + at[i], 1, 1e-5f, 0.01f);
    return sm_tensor_check(t, NULL) == SM_OK;
}

/* Largest relative error of one-hot products and of rows read back. */
static double packed_error(kc *k, const sm_tensor *t, sm_packed *p) {
    int n = p->n, cols = p->k;
    float *row = kc_buf(k, (size_t)cols * 4, 0), *all = kc_buf(k, (size_t)n * (size_t)cols * 4, 0);
    float *x = kc_buf(k, (size_t)cols * 4, 0), *y = kc_buf(k, (size_t)n * 4, 4);
    uint8_t *q = kc_buf(k, sm_qrow_bytes(cols), 0);
    double worst = 0.0;
    sm_decode_rows(t, 0, (uint64_t)n, all);
    float *most = kc_buf(k, (size_t)n * 4, 0);
    for (int r = 0; r < n; r++) {
        most[r] = 1e-20f;
        for (int c = 0; c < cols; c++)
            most[r] = fmaxf(most[r], fabsf(all[(size_t)r * (size_t)cols + (size_t)c]));
        sm_packed_row(p, r, 2.0f, row);
        for (int c = 0; c < cols; c++)
            worst = kc_worse(worst, fabs((double)row[c] * 0.5 - (double)all[(size_t)r * (size_t)cols + (size_t)c]) /
                                        (double)most[r]);
    }
    memset(x, 0, (size_t)cols * 4);
    for (int c = 0; c < cols; c += 1 + kc_below(k, 5)) {
        x[c] = 1.0f;
        if (p->coded) {
            k->c.quantize(x, cols, q);
            sm_qgemm_for(&k->c, &p->u.q)(&p->u.q, 0, sm_tiles(n), q, sm_qrow_bytes(cols), 1, y, (size_t)n);
        } else {
            k->c.dgemm[p->u.d.kind](&p->u.d, 0, sm_tiles(n), x, (size_t)cols, 1, y, (size_t)n);
        }
        x[c] = 0.0f;
        for (int r = 0; r < n; r++)
            worst = kc_worse(worst,
                             fabs((double)y[r] - (double)all[(size_t)r * (size_t)cols + (size_t)c]) / (double)most[r]);
    }
    return worst;
}

static void check_encoding(kc *k, sm_encoding enc, sm_dtype dtype, int n, int cols, int deinterleave, bool coded) {
    char name[160];
    sm_tensor t;
    sm_packed p;
    sm_enc_print(&enc, 2, name, sizeof name);
    bool ok = random_tensor(k, enc, dtype, n, cols, &t);
    t.deinterleave = deinterleave;
    double worst = INFINITY;
    if (ok && sm_packed_plan(&t, &p, NULL) == SM_OK) {
        void *data = kc_buf(k, p.bytes, 0), *scratch = kc_buf(k, sm_packed_scratch(&p), 0);
        memset(data, 0, p.bytes);
        sm_packed_place(&p, data);
        int tiles = sm_tiles(n);
        sm_packed_fill(&p, &t, 0, tiles / 2, tiles, scratch);
        sm_packed_fill(&p, &t, 0, 0, tiles / 2, scratch);
        worst = packed_error(k, &t, &p);
        ok = p.coded == coded && ok;
    }
    ok = kc_reset(k) && ok;
    kc_result(k, ok && worst < 0x1p-10, "pack %s %s [%d, %d]%s as %s: %.1e of the row's largest", name,
              sm_dtype_name(dtype), n, cols, deinterleave ? " interleaved" : "", sm_packed_name(&p), worst);
}

void kc_pack(kc *k) {
    if (!kc_wanted(k, "pack"))
        return;
    for (int id = 0; id < SM_ENC_COUNT_; id++)
        if (sm_enc_row_of((sm_enc_id)id)->kind == SM_KIND_BLOCK) {
            bool coded = sm_enc_row_of((sm_enc_id)id)->open != NULL;
            check_encoding(k, sm_enc_block((sm_enc_id)id), SM_FP32, 37, 512, 0, coded);
            check_encoding(k, sm_enc_block((sm_enc_id)id), SM_FP32, 32, 256, 16, coded);
        }
    static const struct {
        sm_dtype code, off;
        int block, cols;
        bool coded;
    } affine[] = {
        {SM_INT4, SM_NONE, 32, 96, true},   {SM_INT4, SM_NONE, 64, 128, true}, {SM_UINT4, SM_FP16, 32, 96, true},
        {SM_UINT4, SM_UINT4, 32, 96, true}, {SM_INT8, SM_NONE, 32, 64, true},  {SM_INT8, SM_NONE, 40, 40, true},
        {SM_UINT8, SM_UINT8, 32, 96, true}, {SM_UINT8, SM_FP16, 96, 96, true}, {SM_INT4, SM_INT4, 32, 64, true},
        {SM_INT8, SM_INT8, 16, 64, true},   {SM_UINT2, SM_FP16, 32, 64, true}, {SM_UINT4, SM_FP16, 8, 64, false},
        {SM_INT4, SM_NONE, 24, 48, false},  {SM_UINT3, SM_FP16, 32, 64, true}, {SM_UINT6, SM_FP16, 32, 64, true},
    };
    for (size_t i = 0; i < sizeof affine / sizeof *affine; i++) {
        sm_encoding e = sm_enc_affine(affine[i].code, SM_FP16, affine[i].off, 2, affine[i].block);
        check_encoding(k, e, SM_FP16, 37, affine[i].cols, 0, affine[i].coded);
    }
    static const struct {
        sm_dtype code;
        int rows, cols, group, across;
        bool coded, scaled;
    } luts[] = {
        {SM_UINT4, 37, 64, 37, 64, true, false},  {SM_UINT4, 48, 40, 4, 40, true, false},
        {SM_UINT4, 48, 96, 12, 96, true, true},   {SM_UINT1, 37, 7, 37, 7, true, false},
        {SM_UINT2, 40, 33, 8, 33, true, false},   {SM_UINT3, 64, 96, 32, 96, true, true},
        {SM_UINT6, 37, 64, 37, 64, true, false},  {SM_UINT6, 48, 70, 8, 70, true, true},
        {SM_UINT8, 37, 64, 37, 64, true, true},   {SM_UINT8, 64, 96, 16, 96, true, false},
        {SM_UINT8, 48, 64, 8, 64, false, false},  {SM_UINT4, 48, 64, 2, 64, false, false},
        {SM_UINT4, 48, 64, 48, 32, false, false},
    };
    for (size_t i = 0; i < sizeof luts / sizeof *luts; i++) {
        sm_encoding e = {.id = SM_ENC_LUT, .code = luts[i].code, .aux = SM_FP16, .vec = 1};
        e.block[0] = luts[i].group;
        e.block[1] = luts[i].across;
        if (luts[i].scaled) {
            e.sc = SM_FP16;
            e.sc_block[0] = 1;
            e.sc_block[1] = luts[i].cols;
        }
        check_encoding(k, e, luts[i].scaled ? SM_FP32 : SM_FP16, luts[i].rows, luts[i].cols, 0, luts[i].coded);
    }
    check_encoding(k, sm_enc_dense(SM_FP32), SM_FP32, 37, 50, 0, false);
    check_encoding(k, sm_enc_dense(SM_FP16), SM_FP16, 37, 50, 0, false);
    check_encoding(k, sm_enc_dense(SM_BF16), SM_FP32, 37, 50, 0, false);
}
