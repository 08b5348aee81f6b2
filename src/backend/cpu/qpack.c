/* SPDX-License-Identifier: MIT
 *
 * qpack.c: from encoded tensors to tiles, and a row back.
 *
 * A tile is made row by row: a row's codes are opened (tensor/), made unsigned and spread over their lane; its largest
 * scale or min decides its power of two.  Memory starts zeroed: lanes past the last row have mul 0, planes are ORed in.
 *
 * Core ML's unsigned codes with an offset are packed as signed ones: scale * (u - 128) + (min + 128 scale), with half of
 * what fewer bits hold when the codes in use have fewer.  Offsets lie
 * near the middle of the codes, so the new min is near zero, where fp16 is fine-grained.  GGUF mins are fp16 as they are.
 *
 * A palette's entries become whole numbers of 16 bits of a power of two, in two bytes: products are made for each byte.
 */
#include "backend/cpu/qpack.h"

#include <math.h>
#include <string.h>

#include "base/files.h"

/* Bits that hold every code of a tensor of 8-bit codes: Core ML has no type of 5 or 6, so what had as many comes as 8.
 * Real codes of 8 bits show it in the first piece.  The pages looked at are given back: packing comes later. */
static int bits_in_use(const sm_tensor *t, sm_dtype code) {
    enum { PIECE = 1 << 16 };
    const uint8_t *p = t->part[SM_PART_DATA].p;
    size_t n = p == NULL ? 0 : t->part[SM_PART_DATA].n;
    int bits = n == 0 ? 8 : 1;
    for (size_t at = 0; at < n && bits <= 6; at += PIECE) {
        size_t len = n - at < PIECE ? n - at : PIECE;
        unsigned used = 0;
        if (code == SM_INT8)
            for (size_t i = 0; i < len; i++)
                used |= p[at + i] ^ (p[at + i] & 0x80 ? 0xFFu : 0);
        else
            for (size_t i = 0; i < len; i++)
                used |= p[at + i];
        for (int need = code == SM_INT8; need <= 8; need++)
            if (used >> (need - (code == SM_INT8)) == 0) {
                bits = need > bits ? need : bits;
                break;
            }
        sm_mapfile_release(p + at, len);
    }
    return bits;
}

/* Kind and sign of a coded tensor's codes; false when they have no place here. */
static bool code_kind(const sm_tensor *t, sm_dtype code, int *bits, sm_qw *w) {
    w->is_signed = sm_dtype_kind(code) == 'i';
    switch (t->enc.id) {
    case SM_ENC_Q5_0:
    case SM_ENC_Q5_1:
    case SM_ENC_Q5_K:
        w->kind = SM_QW5;
        return true;
    case SM_ENC_Q6_K:
        w->kind = SM_QW6;
        return true;
    default:
        break;
    }
    if (*bits == 8 && t->enc.id == SM_ENC_AFFINE) {
        *bits = bits_in_use(t, code);
        *bits = *bits <= 4 ? 4 : *bits <= 6 ? *bits : 8;
        w->kind = *bits == 4 ? SM_QW4 : *bits == 5 ? SM_QW5 : *bits == 6 ? SM_QW6 : SM_QW8;
        return true;
    }
    w->kind = *bits <= 4 ? SM_QW4 : *bits <= 6 ? SM_QW6 : SM_QW8;
    return *bits <= 8 && (*bits == 4 || *bits == 8 || !w->is_signed);
}

static bool plan_coded(const sm_tensor *src, sm_packed *p) {
    int sub;
    sm_dtype code;
    sm_qw w = {.n = p->n, .k = p->k, .nb = sm_qrow_blocks(p->k)};
    if (!sm_is_coded(src, &sub, &code, &w.has_min))
        return false;
    int bits = sm_dtype_bits(code);
    bool whole = bits == 4 || bits == 8;
    if (!code_kind(src, code, &bits, &w))
        return false;
    if (src->enc.id == SM_ENC_AFFINE && w.has_min && !w.is_signed && whole) {
        p->centre = 1 << (bits - 1);
        w.is_signed = true;
    }
    w.sub16 = sub == 16 && p->k > 16;
    if (!w.sub16 && sub % SM_QBLOCK != 0 && sub != p->k)
        return false;
    w.code_bytes = w.kind == SM_QW8 ? 512 : 256 + 64 * (int)w.kind;
    w.meta_bytes = 32 * (w.sub16 ? 2 : 1) * (w.has_min ? 2 : 1);
    w.tile_bytes = ((size_t)w.nb * (size_t)(w.code_bytes + w.meta_bytes) + 64 + 63) / 64 * 64;
    p->coded = true;
    p->sub = sub;
    p->u.q = w;
    p->bytes = (size_t)sm_tiles(p->n) * w.tile_bytes;
    return true;
}

/* Palettes whose tables serve whole rows, and rows as the kernels want them. */
static bool plan_lut(const sm_tensor *src, sm_packed *p) {
    const sm_encoding *e = &src->enc;
    if (e->id != SM_ENC_LUT || e->vec > 1 || e->block[1] != p->k || src->deinterleave != 0 ||
        (e->sc != SM_NONE && e->sc_block[1] != p->k))
        return false;
    int bits = sm_dtype_bits(e->code), by = bits > 6 ? SM_TILE : 4;
    if (e->block[0] != p->n && e->block[0] % by != 0)
        return false;
    sm_qw w = {.n = p->n, .k = p->k, .nb = sm_qrow_blocks(p->k), .lut = true};
    w.kind = bits <= 4 ? SM_QW4 : bits <= 6 ? SM_QW6 : SM_QW8;
    w.code_bytes = w.kind == SM_QW8 ? 512 : 256 + 64 * (int)w.kind;
    w.entry_bytes = w.kind == SM_QW4 ? 128 : 512;
    w.tile_bytes = (sm_qw_mul_at(&w) + 64 + 63) / 64 * 64;
    p->coded = true;
    p->sub = p->k;
    p->group = (int)e->block[0];
    p->u.q = w;
    p->bytes = (size_t)sm_tiles(p->n) * w.tile_bytes;
    return true;
}

static sm_dw_kind dense_kind(const sm_tensor *t) {
    sm_dtype d = t->dtype;
    if (sm_enc_row_of(t->enc.id)->kind == SM_KIND_DENSE && d != SM_FP16 && d != SM_BF16)
        d = t->enc.code;
    else if (d == SM_FP32)
        d = SM_FP16;
    return d == SM_FP16 ? SM_DW_F16 : d == SM_BF16 ? SM_DW_BF16 : SM_DW_F32;
}

sm_status sm_packed_plan(const sm_tensor *src, sm_packed *p, sm_err *err) {
    memset(p, 0, sizeof *p);
    if (src->rank != 2 || src->dims[0] > INT32_MAX - SM_TILE || src->dims[1] > INT32_MAX / 64 || src->dims[0] < 1 ||
        src->dims[1] < 1)
        return SM_FAIL(err, SM_UNSUPPORTED, "weight '%.*s' of rank %d does not fit the cpu backend's matrices",
                       (int)src->name.n, src->name.p, src->rank);
    p->n = (int32_t)src->dims[0];
    p->k = (int32_t)src->dims[1];
    if (plan_coded(src, p) || plan_lut(src, p))
        return SM_OK;
    sm_dw w = {.n = p->n, .k = p->k, .kind = dense_kind(src)};
    w.tile_bytes = (size_t)p->k * SM_TILE * sm_dw_elem(w.kind);
    w.tile_bytes = (w.tile_bytes + 63) / 64 * 64;
    p->u.d = w;
    p->bytes = (size_t)sm_tiles(p->n) * w.tile_bytes;
    return SM_OK;
}

void sm_packed_place(sm_packed *p, void *data) {
    if (p->coded)
        p->u.q.data = data;
    else
        p->u.d.data = data;
}

/* Scratch of a coded row: codes, scales, mins; of a dense tile: 16 rows of f32. */
static size_t codes_bytes(const sm_packed *p) {
    return ((size_t)p->k * sizeof(int16_t) + 63) / 64 * 64;
}

size_t sm_packed_scratch(const sm_packed *p) {
    if (p->coded && p->u.q.lut)
        return codes_bytes(p) + (size_t)p->k * sizeof(int32_t);
    if (p->coded)
        return codes_bytes(p) + 2 * (size_t)(p->k / p->sub + 1) * sizeof(float);
    return (size_t)p->k * SM_TILE * sizeof(float);
}

/* ---- coded ---- */

/* A row's codes, unsigned, into its lane. */
static void spread_codes(const sm_packed *p, const int16_t *codes, int lane, uint8_t *tile) {
    const sm_qw *w = &p->u.q;
    int off = w->is_signed ? 1 << (sm_qw_bits(w->kind) - 1) : 0;
    for (int b = 0; b < w->nb; b++, tile += w->code_bytes) {
        uint8_t u[SM_QBLOCK];
        int left = w->k - b * SM_QBLOCK, n = left < SM_QBLOCK ? left : SM_QBLOCK;
        for (int c = 0; c < n; c++)
            u[c] = (uint8_t)(codes[b * SM_QBLOCK + c] + off - p->centre);
        for (int c = n; c < SM_QBLOCK; c++)
            u[c] = (uint8_t)off;
        if (w->kind == SM_QW8) {
            for (int g = 0; g < 8; g++)
                memcpy(tile + 64 * g + 4 * lane, u + 4 * g, 4);
            continue;
        }
        for (int g = 0; g < 4; g++)
            for (int c = 0; c < 4; c++)
                tile[64 * g + 4 * lane + c] = (uint8_t)((u[4 * g + c] & 15) | (u[16 + 4 * g + c] & 15) << 4);
        for (int plane = 0; plane < (int)w->kind - (int)SM_QW4; plane++)
            for (int g = 0; g < 8; g++) {
                int bits = 0;
                for (int c = 0; c < 4; c++)
                    bits |= (u[4 * g + c] >> (4 + plane) & 1) << c;
                tile[256 + 64 * plane + 8 * g + lane / 2] |= (uint8_t)(bits << (4 * (lane & 1)));
            }
    }
}

static void put_f16(uint8_t *p, float v) {
    uint16_t h = sm_f32_to_f16(v);
    memcpy(p, &h, 2);
}

/* A row's scales and mins, brought below 2^15 by the row's power of two. */
static void spread_meta(const sm_packed *p, const float *scale, const float *min, int lane, uint8_t *tile) {
    const sm_qw *w = &p->u.q;
    int n = (p->k + p->sub - 1) / p->sub, e = 0;
    float most = 0.0f;
    for (int i = 0; i < n; i++) {
        most = fabsf(scale[i]) > most ? fabsf(scale[i]) : most;
        if (w->has_min)
            most = fabsf(min[i]) > most ? fabsf(min[i]) : most;
    }
    if (most > 0.0f && isfinite(most))
        frexpf(most, &e);
    e = e < -105 ? -105 : e;
    float up = ldexpf(1.0f, 15 - e), mul = ldexpf(1.0f, e - 15);
    uint8_t *meta = tile + (size_t)w->nb * (size_t)w->code_bytes;
    int subs = w->sub16 ? 2 : 1;
    for (int b = 0; b < w->nb * subs; b++, meta += w->has_min ? 64 : 32) {
        int at = b * (SM_QBLOCK / subs) / p->sub;
        at = at < n ? at : n - 1;
        put_f16(meta + 2 * lane, scale[at] * up);
        if (w->has_min)
            put_f16(meta + 32 + 2 * lane, min[at] * up);
    }
    memcpy(meta + 4 * lane, &mul, 4);
}

static void fill_coded(sm_packed *p, const sm_tensor *src, int64_t row0, int t, void *scratch) {
    int16_t *codes = scratch;
    float *scale = (float *)(void *)((uint8_t *)scratch + codes_bytes(p)), *min = scale + p->k / p->sub + 1;
    uint8_t *tile = p->u.q.data + (size_t)t * p->u.q.tile_bytes;
    for (int lane = 0; lane < SM_TILE && t * SM_TILE + lane < p->n; lane++) {
        sm_open_row(src, (uint64_t)(t * (int64_t)SM_TILE + lane - row0), codes, scale, min);
        for (int i = 0; p->centre > 0 && i < (p->k + p->sub - 1) / p->sub; i++)
            min[i] += (float)p->centre * scale[i];
        spread_codes(p, codes, lane, tile);
        spread_meta(p, scale, min, lane, tile);
    }
}

/* ---- palettes ---- */

/* Numbers of at most 32639 that stand for a table's entries, for the rows from `lane` to lane + count; returns what
 * multiplies them. */
static float put_entries(const sm_tensor *src, int64_t table, sm_qw_kind kind, int lane, int count, uint8_t *entries) {
    enum { MOST = 127 * 256 + 127 };
    int n = 1 << sm_dtype_bits(src->enc.code), e = 0;
    const uint8_t *p = src->part[SM_PART_LUT].p;
    float entry[256], most = 0.0f;
    for (int c = 0; c < n; c++) {
        entry[c] = (float)sm_elem_get(src->enc.aux, p, (uint64_t)table * (uint64_t)n + (uint64_t)c);
        most = fabsf(entry[c]) > most ? fabsf(entry[c]) : most;
    }
    if (most > 0.0f && isfinite(most))
        frexpf(most, &e);
    e = e < -105 ? -105 : e;
    if (rintf(ldexpf(most, 15 - e)) > (float)MOST)
        e++;
    for (int c = 0; c < n; c++) {
        float v = ldexpf(entry[c], 15 - e);
        int i = (int)rintf(v < -(float)MOST ? -(float)MOST : v > (float)MOST ? (float)MOST : v) + 128 + 256 * 128;
        if (kind == SM_QW8) {
            entries[2 * c] = (uint8_t)i;
            entries[2 * c + 1] = (uint8_t)(i >> 8);
            continue;
        }
        for (int quad = lane / 4; quad < (lane + count + 3) / 4; quad++) {
            uint8_t *at = entries + 64 * (c / 16) + 16 * quad + c % 16;
            at[0] = (uint8_t)(i >> 8);
            at[kind == SM_QW4 ? 64 : 256] = (uint8_t)i;
        }
    }
    return ldexpf(1.0f, e - 15);
}

static void fill_lut(sm_packed *p, const sm_tensor *src, int64_t row0, int t, void *scratch) {
    const sm_qw *w = &p->u.q;
    int16_t *codes = scratch;
    int32_t *wide = (int32_t *)(void *)((uint8_t *)scratch + codes_bytes(p));
    uint8_t *tile = w->data + (size_t)t * w->tile_bytes, *entries = tile + (size_t)w->nb * (size_t)w->code_bytes;
    float mul = 1.0f;
    for (int lane = 0; lane < SM_TILE && t * SM_TILE + lane < p->n; lane++) {
        int64_t row = t * (int64_t)SM_TILE + lane - row0;
        if (lane == 0 || row % p->group == 0) {
            int left = p->group - (int)(row % p->group);
            mul =
                put_entries(src, row / p->group, w->kind, lane, left < SM_TILE - lane ? left : SM_TILE - lane, entries);
        }
        sm_codes_unpack(src->enc.code, src->part[SM_PART_DATA].p, (uint64_t)row * (uint64_t)p->k, (size_t)p->k, wide);
        for (int i = 0; i < p->k; i++)
            codes[i] = (int16_t)wide[i];
        spread_codes(p, codes, lane, tile);
        float scale = src->enc.sc == SM_NONE ? 1.0f
                                             : (float)sm_elem_get(src->enc.sc, src->part[SM_PART_SCALE].p,
                                                                  (uint64_t)(row / src->enc.sc_block[0]));
        scale *= mul;
        memcpy(tile + sm_qw_mul_at(w) + 4 * lane, &scale, 4);
    }
}

/* ---- dense ---- */

static void put_elem(uint8_t *p, sm_dw_kind kind, float v) {
    uint16_t h;
    switch (kind) {
    case SM_DW_F32:
        memcpy(p, &v, 4);
        return;
    case SM_DW_F16:
        h = sm_f32_to_f16(v);
        break;
    default:
        h = sm_f32_to_bf16(v);
        break;
    }
    memcpy(p, &h, 2);
}

static void fill_dense(sm_packed *p, const sm_tensor *src, int64_t row0, int t, void *scratch) {
    const sm_dw *w = &p->u.d;
    float *rows = scratch;
    int lanes = w->n - t * SM_TILE < SM_TILE ? w->n - t * SM_TILE : SM_TILE;
    uint8_t *out = w->data + (size_t)t * w->tile_bytes;
    size_t elem = sm_dw_elem(w->kind);
    sm_decode_rows(src, (uint64_t)(t * (int64_t)SM_TILE - row0), (uint64_t)lanes, rows);
    for (int c = 0; c < w->k; c++, out += SM_TILE * elem)
        for (int i = 0; i < lanes; i++)
            put_elem(out + (size_t)i * elem, w->kind, rows[(size_t)i * (size_t)w->k + (size_t)c]);
}

void sm_packed_fill(sm_packed *p, const sm_tensor *src, int64_t row0, int tile0, int tile1, void *scratch) {
    for (int t = tile0; t < tile1; t++) {
        if (p->coded && p->u.q.lut)
            fill_lut(p, src, row0, t, scratch);
        else if (p->coded)
            fill_coded(p, src, row0, t, scratch);
        else
            fill_dense(p, src, row0, t, scratch);
    }
}

/* ---- reading back ---- */

static float get_f16(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, 2);
    return sm_f16_to_f32(h);
}

/* Code of lane, column c of a block. */
static int code_at(const sm_qw *w, const uint8_t *block, int lane, int c) {
    int g = c / 4, i = 4 * lane + c % 4;
    if (w->kind == SM_QW8)
        return block[64 * g + i];
    int v = block[64 * (g & 3) + i] >> (g < 4 ? 0 : 4) & 15;
    for (int p = 0; p < (int)w->kind - (int)SM_QW4; p++)
        v |= (block[256 + 64 * p + 8 * g + i / 8] >> (i % 8) & 1) << (4 + p);
    return v;
}

static void lut_row(const sm_qw *w, int64_t row, float row_scale, float *out) {
    int lane = (int)(row % SM_TILE);
    const uint8_t *tile = w->data + (size_t)(row / SM_TILE) * w->tile_bytes;
    const uint8_t *entries = tile + (size_t)w->nb * (size_t)w->code_bytes;
    float mul, value[256];
    memcpy(&mul, tile + sm_qw_mul_at(w) + 4 * lane, 4);
    for (int c = 0; c < 1 << sm_qw_bits(w->kind); c++) {
        const uint8_t *at = w->kind == SM_QW8 ? entries + 2 * c : entries + 64 * (c / 16) + 16 * (lane / 4) + c % 16;
        int high = w->kind == SM_QW8 ? at[1] : at[0], low = w->kind == SM_QW8 ? at[0] : at[w->entry_bytes / 2];
        value[c] = row_scale * (mul * (float)(256 * (high - 128) + (low - 128)));
    }
    for (int c = 0; c < w->k; c++)
        out[c] = value[code_at(w, tile + (size_t)(c / SM_QBLOCK) * (size_t)w->code_bytes, lane, c % SM_QBLOCK)];
}

static void coded_row(const sm_qw *w, int64_t row, float row_scale, float *out) {
    int lane = (int)(row % SM_TILE), subs = w->sub16 ? 2 : 1, len = SM_QBLOCK / subs;
    const uint8_t *tile = w->data + (size_t)(row / SM_TILE) * w->tile_bytes;
    const uint8_t *meta = tile + (size_t)w->nb * (size_t)w->code_bytes;
    int off = w->is_signed ? 1 << (sm_qw_bits(w->kind) - 1) : 0;
    float mul;
    memcpy(&mul, meta + (size_t)w->nb * (size_t)w->meta_bytes + 4 * lane, 4);
    for (int b = 0; b < w->nb; b++, tile += w->code_bytes)
        for (int s = 0; s < subs; s++, meta += w->has_min ? 64 : 32) {
            float scale = get_f16(meta + 2 * lane), min = w->has_min ? get_f16(meta + 32 + 2 * lane) : 0.0f;
            for (int c = s * len; c < (s + 1) * len && b * SM_QBLOCK + c < w->k; c++)
                out[b * SM_QBLOCK + c] = row_scale * (mul * (scale * (float)(code_at(w, tile, lane, c) - off) + min));
        }
}

void sm_packed_row(const sm_packed *p, int64_t row, float scale, float *out) {
    if (p->coded) {
        (p->u.q.lut ? lut_row : coded_row)(&p->u.q, row, scale, out);
        return;
    }
    const sm_dw *w = &p->u.d;
    size_t elem = sm_dw_elem(w->kind);
    const uint8_t *at = w->data + (size_t)(row / SM_TILE) * w->tile_bytes + (size_t)(row % SM_TILE) * elem;
    for (int c = 0; c < w->k; c++, at += SM_TILE * elem) {
        uint16_t h;
        float v;
        if (w->kind == SM_DW_F32) {
            memcpy(&v, at, 4);
        } else {
            memcpy(&h, at, 2);
            v = w->kind == SM_DW_F16 ? sm_f16_to_f32(h) : sm_bf16_to_f32(h);
        }
        out[c] = scale * v;
    }
}

const char *sm_packed_name(const sm_packed *p) {
    static const char *const dense[SM_DW_COUNT] = {"f32", "f16", "bf16"};
    static const char *const coded[SM_QW_COUNT][2][2] = {
        {{"w4", "w4 min"}, {"w4 sub16", "w4 sub16 min"}},
        {{"w5", "w5 min"}, {"w5 sub16", "w5 sub16 min"}},
        {{"w6", "w6 min"}, {"w6 sub16", "w6 sub16 min"}},
        {{"w8", "w8 min"}, {"w8 sub16", "w8 sub16 min"}},
    };
    static const char *const lut[SM_QW_COUNT] = {"w4 table", "", "w6 table", "w8 table"};
    if (p->coded && p->u.q.lut)
        return lut[p->u.q.kind];
    return p->coded ? coded[p->u.q.kind][p->u.q.sub16][p->u.q.has_min] : dense[p->u.d.kind];
}
