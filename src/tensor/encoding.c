/* SPDX-License-Identifier: MIT
 *
 * encoding.c: encodings as values: constructors, comparison, sizes and part shapes, tensor checks, GGML's numbers.
 *
 * Nothing here reads a weight (decode.c does).  Every size is computed once, with overflow checks, in sm_enc_sizes;
 * whoever opens a file calls sm_tensor_check, and everything after it may multiply freely.
 */
#include <assert.h>
#include <inttypes.h>

#include "base/str.h"
#include "tensor/enc_int.h"

/* Names of GGML's tensor types, by number; NULL where a number was never given out or was taken back. */
static const char *const ggml_names[] = {
    [0] = "F32",     [1] = "F16",    [2] = "Q4_0",     [3] = "Q4_1",    [6] = "Q5_0",     [7] = "Q5_1",
    [8] = "Q8_0",    [9] = "Q8_1",   [10] = "Q2_K",    [11] = "Q3_K",   [12] = "Q4_K",    [13] = "Q5_K",
    [14] = "Q6_K",   [15] = "Q8_K",  [16] = "IQ2_XXS", [17] = "IQ2_XS", [18] = "IQ3_XXS", [19] = "IQ1_S",
    [20] = "IQ4_NL", [21] = "IQ3_S", [22] = "IQ2_S",   [23] = "IQ4_XS", [24] = "I8",      [25] = "I16",
    [26] = "I32",    [27] = "I64",   [28] = "F64",     [29] = "IQ1_M",  [30] = "BF16",    [34] = "TQ1_0",
    [35] = "TQ2_0",  [39] = "MXFP4", [40] = "NVFP4",   [41] = "Q1_0",
};
static const struct {
    int ggml;
    sm_dtype t;
} ggml_dense[] = {{0, SM_FP32},   {1, SM_FP16},   {24, SM_INT8}, {25, SM_INT16},
                  {26, SM_INT32}, {27, SM_INT64}, {28, SM_FP64}, {30, SM_BF16}};

const char *sm_ggml_type_name(int ggml_type) {
    return ggml_type >= 0 && ggml_type < (int)SM_ARRAY_LEN(ggml_names) ? ggml_names[ggml_type] : NULL;
}

bool sm_enc_of_ggml(int ggml_type, sm_encoding *out) {
    for (size_t i = 0; i < SM_ARRAY_LEN(ggml_dense); i++)
        if (ggml_dense[i].ggml == ggml_type) {
            *out = sm_enc_dense(ggml_dense[i].t);
            return true;
        }
    for (int id = 0; id < SM_ENC_COUNT_; id++) {
        const sm_enc_row *row = sm_enc_row_of((sm_enc_id)id);
        if (row->kind == SM_KIND_BLOCK && row->ggml_type == ggml_type && row->open != NULL) {
            *out = sm_enc_block((sm_enc_id)id);
            return true;
        }
    }
    return false;
}

sm_encoding sm_enc_dense(sm_dtype t) {
    return (sm_encoding){.id = SM_ENC_DENSE, .code = t};
}

sm_encoding sm_enc_block(sm_enc_id id) {
    assert(sm_enc_row_of(id)->kind == SM_KIND_BLOCK);
    return (sm_encoding){.id = id};
}

sm_encoding sm_enc_affine(sm_dtype code, sm_dtype scale, sm_dtype offset, int rank, int64_t block) {
    sm_encoding e = {.id = SM_ENC_AFFINE, .code = code, .aux = scale, .off = offset};
    for (int a = 0; a < rank; a++)
        e.block[a] = a == rank - 1 ? block : 1;
    return e;
}

static bool blocks_eq(const int64_t *a, const int64_t *b, int rank) {
    for (int i = 0; i < rank; i++)
        if (a[i] != b[i])
            return false;
    return true;
}

bool sm_enc_eq(const sm_encoding *a, const sm_encoding *b, int rank) {
    if (a->id != b->id)
        return false;
    switch (sm_enc_row_of(a->id)->kind) {
    case SM_KIND_DENSE:
        return a->code == b->code;
    case SM_KIND_BLOCK:
        return true;
    case SM_KIND_AFFINE:
        return a->code == b->code && a->aux == b->aux && a->off == b->off && blocks_eq(a->block, b->block, rank);
    case SM_KIND_LUT:
        break;
    }
    int va = SM_MAX(a->vec, 1), vb = SM_MAX(b->vec, 1);
    return a->code == b->code && a->aux == b->aux && a->sc == b->sc && va == vb &&
           (va == 1 || a->vec_axis == b->vec_axis) && blocks_eq(a->block, b->block, rank) &&
           (a->sc == SM_NONE || blocks_eq(a->sc_block, b->sc_block, rank));
}

/* ---- shapes and sizes ---- */

sm_dtype sm_enc_part_dtype(const sm_encoding *e, int part) {
    sm_enc_kind kind = sm_enc_row_of(e->id)->kind;
    switch (part) {
    case SM_PART_DATA:
        return kind == SM_KIND_BLOCK ? SM_UINT8 : e->code;
    case SM_PART_SCALE:
        return kind == SM_KIND_AFFINE ? e->aux : kind == SM_KIND_LUT ? e->sc : SM_NONE;
    case SM_PART_OFFSET:
        return kind == SM_KIND_AFFINE ? e->off : SM_NONE;
    case SM_PART_LUT:
        return kind == SM_KIND_LUT ? e->aux : SM_NONE;
    default:
        return SM_NONE;
    }
}

/* Extent of the blocks of a part along axis a; 1 for the codes of all but vector tables. */
static int64_t part_block(const sm_encoding *e, int part, int a) {
    bool lut = e->id == SM_ENC_LUT;
    if (part == SM_PART_DATA)
        return lut && e->vec > 1 && a == e->vec_axis ? e->vec : 1;
    return lut && part == SM_PART_SCALE ? e->sc_block[a] : e->block[a];
}

int sm_enc_part_shape(const sm_encoding *e, int part, int rank, const int64_t *dims, int64_t *out) {
    const sm_enc_row *row = sm_enc_row_of(e->id);
    if (sm_enc_part_dtype(e, part) == SM_NONE)
        return -1;
    for (int a = 0; a < rank; a++) {
        if (row->kind == SM_KIND_BLOCK)
            out[a] = a == rank - 1 ? dims[a] / row->block * row->block_bytes : dims[a];
        else if (row->kind == SM_KIND_DENSE)
            out[a] = dims[a];
        else
            out[a] = dims[a] / part_block(e, part, a);
    }
    if (part != SM_PART_LUT)
        return rank;
    out[rank] = INT64_C(1) << sm_dtype_bits(e->code);
    out[rank + 1] = SM_MAX(e->vec, 1);
    return rank + 2;
}

static bool is_float(sm_dtype t) {
    return t == SM_FP16 || t == SM_FP32 || t == SM_BF16;
}

static bool is_code(sm_dtype t) {
    char k = sm_dtype_kind(t);
    return (k == 'i' || k == 'u') && sm_dtype_bits(t) <= 8;
}

/* The parameters make sense together, whatever the shape. */
static sm_status check_params(const sm_encoding *e, int rank, sm_err *err) {
    switch (sm_enc_row_of(e->id)->kind) {
    case SM_KIND_DENSE:
        if (sm_dtype_bits(e->code) == 0)
            return SM_FAIL(err, SM_BADINPUT, "dense encoding of %s: wanted a type of fixed size",
                           sm_dtype_name(e->code));
        return SM_OK;
    case SM_KIND_BLOCK:
        return SM_OK;
    case SM_KIND_AFFINE:
        if (!is_code(e->code) && !is_float(e->code))
            return SM_FAIL(err, SM_BADINPUT, "affine codes of type %s: wanted an integer of at most 8 bits or a float",
                           sm_dtype_name(e->code));
        if (!is_float(e->aux))
            return SM_FAIL(err, SM_BADINPUT, "affine scale of type %s: wanted a float", sm_dtype_name(e->aux));
        if (e->off != SM_NONE && !is_code(e->off) && !is_float(e->off))
            return SM_FAIL(err, SM_BADINPUT, "affine offset of type %s: wanted a float or an integer of at most 8 bits",
                           sm_dtype_name(e->off));
        return SM_OK;
    case SM_KIND_LUT:
        break;
    }
    if (!is_code(e->code) || sm_dtype_kind(e->code) != 'u')
        return SM_FAIL(err, SM_BADINPUT, "table indices of type %s: wanted an unsigned integer of at most 8 bits",
                       sm_dtype_name(e->code));
    if (!is_float(e->aux) && !(is_code(e->aux) && sm_dtype_bits(e->aux) == 8))
        return SM_FAIL(err, SM_BADINPUT, "table entries of type %s: wanted a float or an 8-bit integer",
                       sm_dtype_name(e->aux));
    if (e->sc != SM_NONE && !is_float(e->sc))
        return SM_FAIL(err, SM_BADINPUT, "scale of table results of type %s: wanted a float", sm_dtype_name(e->sc));
    if (e->vec < 0 || e->vec > 4096 || (e->vec > 1 && (e->vec_axis < 0 || e->vec_axis >= rank)))
        return SM_FAIL(err, SM_BADINPUT,
                       "table vectors of length %d along axis %d: wanted 1..4096 and an axis below rank %d",
                       (int)e->vec, (int)e->vec_axis, rank);
    return SM_OK;
}

static sm_status check_blocks(const char *what, const int64_t *block, int rank, const int64_t *dims, sm_err *err) {
    for (int a = 0; a < rank; a++)
        if (block[a] < 1 || dims[a] % block[a] != 0)
            return SM_FAIL(err, SM_BADINPUT, "axis %d: wanted a multiple of the %s extent %" PRId64 ", found %" PRId64,
                           a, what, block[a], dims[a]);
    return SM_OK;
}

static sm_status check_shape(const sm_encoding *e, int rank, const int64_t *dims, sm_err *err) {
    const sm_enc_row *row = sm_enc_row_of(e->id);
    if (rank < 0 || rank > SM_MAX_RANK)
        return SM_FAIL(err, SM_BADINPUT, "wanted at most %d dimensions, found %d", SM_MAX_RANK, rank);
    SM_TRY(check_params(e, rank, err));
    for (int a = 0; a < rank; a++)
        if (dims[a] < 0)
            return SM_FAIL(err, SM_BADINPUT, "axis %d: wanted a size of 0 or more, found %" PRId64, a, dims[a]);
    switch (row->kind) {
    case SM_KIND_DENSE:
        return SM_OK;
    case SM_KIND_BLOCK:
        if (rank == 0 || dims[rank - 1] % row->block != 0)
            return SM_FAIL(err, SM_BADINPUT, "%s wants a last axis that is a multiple of %d, found %" PRId64, row->name,
                           row->block, rank == 0 ? INT64_C(0) : dims[rank - 1]);
        return SM_OK;
    case SM_KIND_AFFINE:
        return check_blocks("block", e->block, rank, dims, err);
    case SM_KIND_LUT:
        break;
    }
    SM_TRY(check_blocks("table", e->block, rank, dims, err));
    if (e->vec > 1 && e->block[e->vec_axis] % e->vec != 0)
        return SM_FAIL(err, SM_BADINPUT,
                       "axis %d: wanted a table extent that is a multiple of the vector length %d, found %" PRId64,
                       (int)e->vec_axis, (int)e->vec, e->block[e->vec_axis]);
    return e->sc == SM_NONE ? SM_OK : check_blocks("scale", e->sc_block, rank, dims, err);
}

/* Product of n extents, kept so far below int64 that blocks of wider rows and 8-byte elements still count in it. */
static bool product(const int64_t *v, int n, uint64_t *out) {
    size_t p = 1;
    bool ok = true, zero = false;
    for (int i = 0; i < n; i++) {
        zero = zero || v[i] == 0;
        ok = ok && sm_mul_ok(p, (size_t)SM_MAX(v[i], 1), &p) && p <= INT64_MAX / 16;
    }
    *out = zero ? 0 : p;
    return ok;
}

sm_status sm_enc_sizes(const sm_encoding *e, int rank, const int64_t *dims, size_t bytes[SM_PART_COUNT], sm_err *err) {
    uint64_t n;
    SM_TRY(check_shape(e, rank, dims, err));
    bool ok = product(dims, rank, &n);
    for (int p = 0; p < SM_PART_COUNT && ok; p++) {
        int64_t shape[SM_MAX_RANK + 2];
        int r = sm_enc_part_shape(e, p, rank, dims, shape);
        bytes[p] = 0;
        ok = r < 0 ||
             (product(shape, r, &n) && sm_dtype_bytes(sm_enc_part_dtype(e, p), n, &bytes[p]) && bytes[p] <= INT64_MAX);
    }
    if (!ok)
        return SM_FAIL(err, SM_BADINPUT, "dimensions multiply to more elements than can be addressed");
    return SM_OK;
}

double sm_enc_bits(const sm_encoding *e, int rank, const int64_t *dims) {
    size_t bytes[SM_PART_COUNT];
    uint64_t n;
    double sum = 0;
    if (sm_enc_sizes(e, rank, dims, bytes, NULL) != SM_OK || !product(dims, rank, &n) || n == 0)
        return 0;
    for (int p = 0; p < SM_PART_COUNT; p++)
        sum += (double)bytes[p];
    return sum * 8 / (double)n;
}

/* ---- tensors ---- */

uint64_t sm_tensor_numel(const sm_tensor *t) {
    return sm_tensor_rows(t) * (uint64_t)sm_tensor_cols(t);
}

uint64_t sm_tensor_rows(const sm_tensor *t) {
    uint64_t n = 1;
    for (int a = 0; a < t->rank - 1; a++)
        n *= (uint64_t)t->dims[a];
    return n;
}

int64_t sm_tensor_cols(const sm_tensor *t) {
    return t->rank == 0 ? 1 : t->dims[t->rank - 1];
}

uint64_t sm_tensor_bytes(const sm_tensor *t) {
    uint64_t n = 0;
    for (int p = 0; p < SM_PART_COUNT; p++)
        n += t->part[p].n;
    return n;
}

sm_status sm_tensor_check(const sm_tensor *t, sm_err *err) {
    static const char *const names[SM_PART_COUNT] = {"data", "scale", "offset", "table"};
    size_t want[SM_PART_COUNT];
    sm_status st = sm_enc_sizes(&t->enc, t->rank, t->dims, want, err);
    if (st != SM_OK) {
        sm_err_prefix(err, "tensor %s", sm_quote(t->name.p, t->name.n));
        return st;
    }
    for (int p = 0; p < SM_PART_COUNT; p++)
        if (t->part[p].n != want[p])
            return SM_FAIL(err, SM_BADINPUT, "tensor %s: %s: wanted %zu bytes, found %zu",
                           sm_quote(t->name.p, t->name.n), names[p], want[p], t->part[p].n);
    if (t->deinterleave != 0 &&
        (t->deinterleave < 0 || t->deinterleave % 2 != 0 || sm_tensor_rows(t) % (uint64_t)t->deinterleave != 0))
        return SM_FAIL(err, SM_BADINPUT, "tensor %s: %" PRIu64 " rows do not form groups of %d interleaved rows",
                       sm_quote(t->name.p, t->name.n), sm_tensor_rows(t), (int)t->deinterleave);
    return SM_OK;
}

static void ones_of(sm_encoding *e, int axis) {
    e->block[axis] = 1;
    e->sc_block[axis] = 1;
}

static bool is_one(const sm_encoding *e, int axis) {
    sm_enc_kind kind = sm_enc_row_of(e->id)->kind;
    if (kind == SM_KIND_BLOCK)
        return false;
    if (kind == SM_KIND_DENSE)
        return true;
    return e->block[axis] == 1 && (e->sc == SM_NONE || e->sc_block[axis] == 1);
}

void sm_tensor_fold(sm_tensor *t, sm_encoding *want) {
    while (t->rank > 2 && t->dims[t->rank - 1] == 1 && is_one(&t->enc, t->rank - 1) &&
           (want == NULL || is_one(want, t->rank - 1))) {
        t->rank--;
        t->ones++;
    }
}

void sm_tensor_unfold(sm_tensor *t, sm_encoding *want) {
    for (; t->ones > 0; t->ones--) {
        ones_of(&t->enc, t->rank);
        if (want != NULL)
            ones_of(want, t->rank);
        t->dims[t->rank++] = 1;
    }
}

bool sm_tensor_slice(const sm_tensor *t, int64_t row, int64_t n, sm_tensor *out) {
    *out = *t;
    bool blocks = sm_enc_row_of(t->enc.id)->kind == SM_KIND_BLOCK;
    if (t->rank < 1 || t->rank > 2 || (t->rank == 1 && blocks) || t->deinterleave != 0 || row < 0 || n < 1 ||
        row + n > t->dims[0])
        return false;
    out->cut_of = t->cut_of > 0 ? t->cut_of : t->dims[0];
    out->cut_row = t->cut_row + row;
    if (n == out->cut_of)
        out->cut_of = 0;
    out->dims[0] = n;
    for (int p = 0; p < SM_PART_COUNT; p++) {
        int64_t shape[SM_MAX_RANK + 2];
        int rank = sm_enc_part_shape(&t->enc, p, t->rank, t->dims, shape);
        if (rank < 0)
            continue;
        int64_t block = shape[0] > 0 ? t->dims[0] / shape[0] : 1, in_row = 1;
        for (int a = 1; a < rank; a++)
            in_row *= shape[a];
        int64_t bits = in_row * sm_dtype_bits(sm_enc_part_dtype(&t->enc, p));
        if (row % block != 0 || n % block != 0 || row / block * bits % 8 != 0 || n / block * bits % 8 != 0)
            return false;
        out->part[p] = (sm_bytes){t->part[p].p + row / block * bits / 8, (size_t)(n / block * bits / 8)};
    }
    return true;
}

sm_tensor sm_tensor_dense(sm_dtype t, int rank, const int64_t *dims, const void *data) {
    sm_tensor r = {.dtype = t, .rank = rank, .enc = sm_enc_dense(t)};
    for (int a = 0; a < rank; a++)
        r.dims[a] = dims[a];
    r.part[SM_PART_DATA] = (sm_bytes){data, (size_t)sm_dtype_size(t, sm_tensor_numel(&r))};
    return r;
}
