/* SPDX-License-Identifier: MIT
 *
 * decode.c: the values of encoded tensors: the definition that kernels, writers and transcoding are tested against.
 *
 * One function per kind decodes one stored row; sm_decode_rows maps logical rows to stored rows, calls it and rounds to
 * the declared dtype.  sm_open_row gives the same rows as codes, scales and mins.  Arithmetic is f32, one rounding per
 * operation; blocks are walked in the order of the row, so that every part is read once, forward.
 *
 * Threads: pure functions of their arguments.
 */
#include <assert.h>

#include "tensor/dtype_int.h"
#include "tensor/enc_int.h"

enum { CHUNK = 512 }; /* codes unpacked at a time */

void sm_enc_round(sm_dtype t, float *x, size_t n) {
    if (t == SM_FP16)
        for (size_t i = 0; i < n; i++)
            x[i] = f16_to_f32(f32_to_f16(x[i]));
    else if (t == SM_BF16)
        for (size_t i = 0; i < n; i++)
            x[i] = bf16_to_f32(f32_to_bf16(x[i]));
}

uint64_t sm_stored_row(const sm_tensor *t, uint64_t row) {
    uint64_t h = (uint64_t)t->deinterleave;
    if (h == 0)
        return row;
    uint64_t i = row % h, group = row - i;
    return group + (i < h / 2 ? 2 * i : 2 * (i - h / 2) + 1);
}

/* Index of the first block of a row in a grid of blocks: where the row starts in an array of shape dims / block. */
static uint64_t first_block(const sm_tensor *t, const int64_t *block, uint64_t row) {
    if (t->rank == 0)
        return 0;
    uint64_t stride = (uint64_t)(t->dims[t->rank - 1] / block[t->rank - 1]), at = 0;
    for (int a = t->rank - 2; a >= 0; a--) {
        uint64_t n = (uint64_t)t->dims[a];
        at += row % n / (uint64_t)block[a] * stride;
        row /= n;
        stride *= n / (uint64_t)block[a];
    }
    return at;
}

static int64_t last_extent(const sm_tensor *t, const int64_t *block) {
    return t->rank == 0 ? 1 : block[t->rank - 1];
}

/* Elements [i, i + n) of a part as f32. */
static void load_f32(sm_dtype t, const uint8_t *p, uint64_t i, size_t n, float *out) {
    switch (t) {
    case SM_FP32:
        memcpy(out, p + i * 4, n * 4);
        return;
    case SM_FP16:
        for (size_t k = 0; k < n; k++)
            out[k] = f16_at(p + (i + k) * 2);
        return;
    default:
        for (size_t k = 0; k < n; k++)
            out[k] = (float)sm_elem_get(t, p, i + k);
    }
}

/* ---- one stored row of each kind ---- */

static void decode_dense(const sm_tensor *t, uint64_t row, float *out) {
    size_t cols = (size_t)sm_tensor_cols(t);
    load_f32(t->enc.code, t->part[SM_PART_DATA].p, row * cols, cols, out);
}

static void decode_block(const sm_tensor *t, uint64_t row, float *out) {
    const sm_enc_row *e = sm_enc_row_of(t->enc.id);
    size_t n_blocks = (size_t)sm_tensor_cols(t) / (size_t)e->block;
    const uint8_t *p = t->part[SM_PART_DATA].p + row * n_blocks * (size_t)e->block_bytes;
    int8_t codes[ENC_BLOCK_MAX];
    float scale[ENC_SUBS_MAX], min[ENC_SUBS_MAX];
    for (size_t b = 0; b < n_blocks; b++, p += e->block_bytes) {
        e->open(p, codes, scale, min);
        const int8_t *q = codes;
        for (int s = 0; s < e->block / e->sub; s++, q += e->sub, out += e->sub) {
            float d = scale[s], m = min[s];
            if (e->has_min)
                for (int i = 0; i < e->sub; i++)
                    out[i] = d * (float)q[i] + m;
            else
                for (int i = 0; i < e->sub; i++)
                    out[i] = d * (float)q[i];
        }
    }
}

/* out[i] = scale * (q[i] - offset) with n at most CHUNK codes, block after block of a row, starting inside a block.  Codes
 * that are floats are in out. */
static void affine_apply(const sm_tensor *t, uint64_t block0, size_t from, size_t n, const int32_t *q, float *out) {
    size_t ext = (size_t)last_extent(t, t->enc.block);
    const uint8_t *sp = t->part[SM_PART_SCALE].p, *op = t->part[SM_PART_OFFSET].p;
    float scale[CHUNK], offset[CHUNK];
    size_t first = from / ext, n_blocks = (from + n - 1) / ext - first + 1;
    load_f32(t->enc.aux, sp, block0 + first, n_blocks, scale);
    if (t->enc.off != SM_NONE)
        load_f32(t->enc.off, op, block0 + first, n_blocks, offset);
    else
        memset(offset, 0, n_blocks * sizeof *offset);
    for (size_t i = 0; i < n;) {
        size_t k = (from + i) / ext, len = SM_MIN((k + 1) * ext - (from + i), n - i);
        float s = scale[k - first], o = offset[k - first];
        if (q != NULL)
            for (size_t j = 0; j < len; j++)
                out[i + j] = s * ((float)q[i + j] - o);
        else
            for (size_t j = 0; j < len; j++)
                out[i + j] = s * (out[i + j] - o);
        i += len;
    }
}

static void decode_affine(const sm_tensor *t, uint64_t row, float *out) {
    size_t cols = (size_t)sm_tensor_cols(t);
    uint64_t block0 = first_block(t, t->enc.block, row);
    const uint8_t *p = t->part[SM_PART_DATA].p;
    bool floats = sm_dtype_kind(t->enc.code) == 'f';
    int32_t codes[CHUNK];
    for (size_t from = 0; from < cols; from += CHUNK) {
        size_t n = SM_MIN(cols - from, (size_t)CHUNK);
        if (floats)
            load_f32(t->enc.code, p, row * cols + from, n, out + from);
        else
            sm_codes_unpack(t->enc.code, p, row * cols + from, n, codes);
        affine_apply(t, block0, from, n, floats ? NULL : codes, out + from);
    }
}

static void lut_scale(const sm_tensor *t, uint64_t row, float *out) {
    size_t cols = (size_t)sm_tensor_cols(t), ext = (size_t)last_extent(t, t->enc.sc_block);
    uint64_t block0 = first_block(t, t->enc.sc_block, row);
    for (size_t i = 0; i < cols; i += ext) {
        float s = (float)sm_elem_get(t->enc.sc, t->part[SM_PART_SCALE].p, block0 + i / ext);
        for (size_t j = 0; j < ext; j++)
            out[i + j] *= s;
    }
}

/* Element e of vector v of a table: (v * vec + e).  With vectors along the last axis, one index gives vec neighbours;
 * along another axis, a row takes the same element of every vector that it meets. */
static void decode_lut(const sm_tensor *t, uint64_t row, float *out) {
    const sm_encoding *e = &t->enc;
    size_t cols = (size_t)sm_tensor_cols(t), ext = (size_t)last_extent(t, e->block);
    uint64_t vec = (uint64_t)SM_MAX(e->vec, 1), table = (UINT64_C(1) << sm_dtype_bits(e->code)) * vec;
    uint64_t block0 = first_block(t, e->block, row);
    int64_t index_block[SM_MAX_RANK];
    for (int a = 0; a < t->rank; a++)
        index_block[a] = vec > 1 && a == e->vec_axis ? e->vec : 1;
    uint64_t index0 = first_block(t, index_block, row), along_row = 1, elem = 0;
    if (vec > 1 && e->vec_axis == t->rank - 1) {
        along_row = vec;
    } else if (vec > 1) {
        uint64_t below = 1;
        for (int a = t->rank - 2; a > e->vec_axis; a--)
            below *= (uint64_t)t->dims[a];
        elem = row / below % vec;
    }
    int32_t codes[CHUNK];
    size_t n_codes = cols / along_row;
    for (size_t from = 0; from < n_codes; from += CHUNK) {
        size_t n = SM_MIN(n_codes - from, (size_t)CHUNK), at = from * along_row;
        sm_codes_unpack(e->code, t->part[SM_PART_DATA].p, index0 + from, n, codes);
        if (along_row == 1 && e->aux == SM_FP16) { /* the common case: one fp16 entry an index */
            for (size_t i = 0; i < n; i++)
                out[at + i] = f16_at(t->part[SM_PART_LUT].p +
                                     2 * ((block0 + (at + i) / ext) * table + (uint64_t)codes[i] * vec + elem));
            continue;
        }
        for (size_t i = 0; i < n; i++, at += along_row)
            load_f32(e->aux, t->part[SM_PART_LUT].p, (block0 + at / ext) * table + (uint64_t)codes[i] * vec + elem,
                     (size_t)along_row, out + at);
    }
    if (e->sc != SM_NONE)
        lut_scale(t, row, out);
}

void sm_decode_rows(const sm_tensor *t, uint64_t row, uint64_t n, float *out) {
    size_t cols = (size_t)sm_tensor_cols(t);
    assert(row + n <= sm_tensor_rows(t));
    for (uint64_t r = row; r < row + n && cols > 0; r++, out += cols) {
        uint64_t stored = sm_stored_row(t, r);
        switch (sm_enc_row_of(t->enc.id)->kind) {
        case SM_KIND_DENSE:
            decode_dense(t, stored, out);
            break;
        case SM_KIND_BLOCK:
            decode_block(t, stored, out);
            break;
        case SM_KIND_AFFINE:
            decode_affine(t, stored, out);
            break;
        case SM_KIND_LUT:
            decode_lut(t, stored, out);
            break;
        }
        sm_enc_round(t->dtype, out, cols);
    }
}

/* ---- codes, scales, mins ---- */

bool sm_is_coded(const sm_tensor *t, int *sub, sm_dtype *code, bool *has_min) {
    const sm_enc_row *e = sm_enc_row_of(t->enc.id);
    if (e->kind == SM_KIND_BLOCK && e->open != NULL) {
        *sub = e->sub;
        *code = e->code;
        *has_min = e->has_min;
        return true;
    }
    int64_t ext = last_extent(t, t->enc.block);
    if (e->kind != SM_KIND_AFFINE || sm_dtype_kind(t->enc.code) == 'f' || t->rank == 0 || ext > INT32_MAX)
        return false;
    if (ext == 1 && sm_tensor_cols(t) > 1)
        return false; /* blocks lie along another axis */
    *sub = (int)ext;
    *code = t->enc.code;
    *has_min = t->enc.off != SM_NONE;
    return true;
}

static void open_block_row(const sm_tensor *t, uint64_t row, int16_t *codes, float *scale, float *min) {
    const sm_enc_row *e = sm_enc_row_of(t->enc.id);
    size_t n_blocks = (size_t)sm_tensor_cols(t) / (size_t)e->block, subs = (size_t)(e->block / e->sub);
    const uint8_t *p = t->part[SM_PART_DATA].p + row * n_blocks * (size_t)e->block_bytes;
    int8_t q[ENC_BLOCK_MAX];
    for (size_t b = 0; b < n_blocks; b++, p += e->block_bytes) {
        e->open(p, q, scale, min);
        for (int i = 0; i < e->block; i++)
            codes[i] = q[i];
        for (size_t s = 0; !e->has_min && s < subs; s++)
            min[s] = 0.0f;
        codes += e->block;
        scale += subs;
        min += subs;
    }
}

static void open_affine_row(const sm_tensor *t, uint64_t row, int16_t *codes, float *scale, float *min) {
    size_t cols = (size_t)sm_tensor_cols(t), n = cols / (size_t)last_extent(t, t->enc.block);
    uint64_t block0 = first_block(t, t->enc.block, row);
    int32_t q[CHUNK];
    for (size_t from = 0; from < cols; from += CHUNK) {
        size_t len = SM_MIN(cols - from, (size_t)CHUNK);
        sm_codes_unpack(t->enc.code, t->part[SM_PART_DATA].p, row * cols + from, len, q);
        for (size_t i = 0; i < len; i++)
            codes[from + i] = (int16_t)q[i];
    }
    load_f32(t->enc.aux, t->part[SM_PART_SCALE].p, block0, n, scale);
    if (t->enc.off == SM_NONE) {
        memset(min, 0, n * sizeof *min);
        return;
    }
    load_f32(t->enc.off, t->part[SM_PART_OFFSET].p, block0, n, min);
    for (size_t k = 0; k < n; k++)
        min[k] = -(scale[k] * min[k]);
}

void sm_open_row(const sm_tensor *t, uint64_t row, int16_t *codes, float *scale, float *min) {
    uint64_t stored = sm_stored_row(t, row);
    if (sm_enc_row_of(t->enc.id)->kind == SM_KIND_BLOCK)
        open_block_row(t, stored, codes, scale, min);
    else
        open_affine_row(t, stored, codes, scale, min);
}
