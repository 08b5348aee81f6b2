/* SPDX-License-Identifier: MIT
 *
 * dtype.c: the table of element types, float conversions, packed integer codes.
 *
 * Packed codes are a bit stream, least significant bit first.  Types of 4 and 8 bits are most of what is read and have
 * loops of their own; the others go through the bit-by-bit-position form, which reads only bytes that hold the element.
 * Multi-byte elements are read with memcpy: mapped files promise no alignment.  Hosts are little-endian.
 */
#include "tensor/dtype.h"

#include <assert.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "tensor/dtype_int.h"

static const struct {
    const char *name;
    uint8_t bits;
    char kind;
    uint8_t mil, blob;
} rows[SM_DTYPE_COUNT_] = {
    [SM_NONE] = {"none", 0, 0, 0, 0},
#define DTYPE(id, name, bits, kind, mil, blob) [SM_##id] = {name, bits, kind, mil, blob},
#include "tensor/dtypes.def"
#undef DTYPE
};

const char *sm_dtype_name(sm_dtype t) {
    return rows[t].name;
}

int sm_dtype_bits(sm_dtype t) {
    return rows[t].bits;
}

char sm_dtype_kind(sm_dtype t) {
    return rows[t].kind;
}

int sm_dtype_mil(sm_dtype t) {
    return rows[t].mil;
}

int sm_dtype_blob(sm_dtype t) {
    return rows[t].blob;
}

sm_dtype sm_dtype_of_mil(int n) {
    for (int t = 1; n != 0 && t < SM_DTYPE_COUNT_; t++)
        if (rows[t].mil == n)
            return (sm_dtype)t;
    return SM_NONE;
}

sm_dtype sm_dtype_of_blob(int n) {
    for (int t = 1; n != 0 && t < SM_DTYPE_COUNT_; t++)
        if (rows[t].blob == n)
            return (sm_dtype)t;
    return SM_NONE;
}

sm_dtype sm_dtype_of_name(sm_sv name) {
    for (int t = 1; t < SM_DTYPE_COUNT_; t++)
        if (sm_sv_is(name, rows[t].name))
            return (sm_dtype)t;
    return SM_NONE;
}

#ifndef NDEBUG /* only asserts ask */
static bool is_int(sm_dtype t) {
    return rows[t].kind == 'i' || rows[t].kind == 'u' || rows[t].kind == 'b';
}
#endif

int64_t sm_dtype_min(sm_dtype t) {
    assert(is_int(t));
    return rows[t].kind == 'i' ? -(INT64_C(1) << (rows[t].bits - 2)) * 2 : 0;
}

int64_t sm_dtype_max(sm_dtype t) {
    assert(is_int(t));
    if (rows[t].kind == 'b')
        return 1;
    if (t == SM_UINT64)
        return INT64_MAX; /* all that this interface can say */
    int bits = rows[t].kind == 'i' ? rows[t].bits - 1 : rows[t].bits;
    return (int64_t)((UINT64_C(1) << bits) - 1);
}

bool sm_dtype_bytes(sm_dtype t, uint64_t n, size_t *out) {
    size_t whole, bits = rows[t].bits, tail = ((size_t)(n % 8) * bits + 7) / 8;
    return n / 8 <= SIZE_MAX && sm_mul_ok((size_t)(n / 8), bits, &whole) && sm_add_ok(whole, tail, out);
}

uint64_t sm_dtype_size(sm_dtype t, uint64_t n) {
    return n / 8 * rows[t].bits + (n % 8 * rows[t].bits + 7) / 8;
}

/* ---- floats ---- */

float sm_f16_to_f32(uint16_t h) {
    return f16_to_f32(h);
}

uint16_t sm_f32_to_f16(float f) {
    return f32_to_f16(f);
}

float sm_bf16_to_f32(uint16_t h) {
    return bf16_to_f32(h);
}

uint16_t sm_f32_to_bf16(float f) {
    return f32_to_bf16(f);
}

float sm_round_f16(float f) {
    return f16_to_f32(f32_to_f16(f));
}

void sm_f16_to_f32_n(const uint16_t *h, float *f, size_t n) {
    for (size_t i = 0; i < n; i++)
        f[i] = f16_to_f32(h[i]);
}

void sm_f32_to_f16_n(const float *f, uint16_t *h, size_t n) {
    for (size_t i = 0; i < n; i++)
        h[i] = f32_to_f16(f[i]);
}

/* ---- packed integer codes ---- */

int64_t sm_code_get(sm_dtype t, const void *p, uint64_t i) {
    const uint8_t *b = p;
    unsigned bits = rows[t].bits;
    uint64_t v = 0;
    assert(is_int(t));
    if (bits < 8) {
        unsigned off = (unsigned)(i % 8) * bits, sh = off & 7;
        b += i / 8 * bits + off / 8;
        v = b[0];
        if (sh + bits > 8)
            v |= (uint64_t)b[1] << 8;
        v = v >> sh & ((1u << bits) - 1);
    } else {
        memcpy(&v, b + i * (bits / 8), bits / 8);
    }
    if (rows[t].kind == 'i' && bits < 64) {
        uint64_t sign = UINT64_C(1) << (bits - 1);
        return (int64_t)((v ^ sign) - sign);
    }
    return (int64_t)v;
}

void sm_code_put(sm_dtype t, void *p, uint64_t i, int64_t v) {
    uint8_t *b = p;
    unsigned bits = rows[t].bits;
    assert(is_int(t));
    if (bits >= 8) {
        memcpy(b + i * (bits / 8), &v, bits / 8);
        return;
    }
    unsigned off = (unsigned)(i % 8) * bits, sh = off & 7;
    unsigned mask = ((1u << bits) - 1) << sh, val = (unsigned)((uint64_t)v & ((1u << bits) - 1)) << sh;
    b += i / 8 * bits + off / 8;
    b[0] = (uint8_t)((b[0] & ~mask) | val);
    if (sh + bits > 8)
        b[1] = (uint8_t)((b[1] & ~(mask >> 8)) | val >> 8);
}

/* Elements 2k and 2k + 1 are the low and high half of byte k; `sign` is 8 for int4, 0 for uint4. */
static void unpack4(const uint8_t *b, size_t pairs, int32_t sign, int32_t *out) {
    for (size_t k = 0; k < pairs; k++) {
        out[2 * k] = ((b[k] & 15) ^ sign) - sign;
        out[2 * k + 1] = ((b[k] >> 4) ^ sign) - sign;
    }
}

/* Eight elements of 1, 2, 3 or 6 bits are as many whole bytes. */
static inline void unpack8(const uint8_t *b, unsigned bits, size_t eights, int32_t *out) {
    for (size_t k = 0; k < eights; k++, b += bits) {
        uint64_t v = 0;
        memcpy(&v, b, bits);
        for (int j = 0; j < 8; j++)
            *out++ = (int32_t)(v >> (bits * (unsigned)j) & ((1u << bits) - 1));
    }
}

static inline void pack8(uint8_t *b, unsigned bits, size_t eights, const int32_t *in) {
    for (size_t k = 0; k < eights; k++, b += bits, in += 8) {
        uint64_t v = 0;
        for (int j = 0; j < 8; j++)
            v |= (uint64_t)((unsigned)in[j] & ((1u << bits) - 1)) << (bits * (unsigned)j);
        memcpy(b, &v, bits);
    }
}

/* The number of bits is known in each copy of the loop. */
#define BY_BITS(call)                                                                                                  \
    switch (bits) {                                                                                                    \
    case 1:                                                                                                            \
        call(1);                                                                                                       \
        break;                                                                                                         \
    case 2:                                                                                                            \
        call(2);                                                                                                       \
        break;                                                                                                         \
    case 3:                                                                                                            \
        call(3);                                                                                                       \
        break;                                                                                                         \
    default:                                                                                                           \
        call(6);                                                                                                       \
    }

/* Unsigned types below 8 bits, but 4. */
static bool is_narrow(sm_dtype t) {
    return t == SM_UINT1 || t == SM_UINT2 || t == SM_UINT3 || t == SM_UINT6;
}

void sm_codes_unpack(sm_dtype t, const void *p, uint64_t i, size_t n, int32_t *out) {
    const uint8_t *b = p;
    size_t k = 0;
    switch (t) {
    case SM_INT8:
        for (b += i; k < n; k++)
            out[k] = (int8_t)b[k];
        return;
    case SM_UINT8:
        for (b += i; k < n; k++)
            out[k] = b[k];
        return;
    case SM_INT4:
    case SM_UINT4:
        if (n > 0 && i % 2)
            out[k++] = (int32_t)sm_code_get(t, p, i);
        unpack4(b + (i + k) / 2, (n - k) / 2, t == SM_INT4 ? 8 : 0, out + k);
        if ((n - k) % 2)
            out[n - 1] = (int32_t)sm_code_get(t, p, i + n - 1);
        return;
    default:
        for (; k < n && (!is_narrow(t) || (i + k) % 8 != 0); k++)
            out[k] = (int32_t)sm_code_get(t, p, i + k);
        if (k < n) {
            unsigned bits = rows[t].bits;
            size_t eights = (n - k) / 8;
#define UNPACK(bits) unpack8(b + (i + k) / 8 * (bits), bits, eights, out + k)
            BY_BITS(UNPACK)
            for (k += 8 * eights; k < n; k++)
                out[k] = (int32_t)sm_code_get(t, p, i + k);
        }
    }
}

/* Codes two a byte, sixteen at a time as far as they go: how many. */
static size_t pack4(const int32_t *in, size_t n, uint8_t *out) {
    size_t k = 0;
#if defined(__SSE2__)
    const __m128i low = _mm_set1_epi32(15), byte = _mm_set1_epi16(0xFF);
    for (; k + 16 <= n; k += 16) {
        const __m128i *v = (const __m128i *)(const void *)(in + k);
        __m128i a = _mm_and_si128(_mm_loadu_si128(v), low), b = _mm_and_si128(_mm_loadu_si128(v + 1), low);
        __m128i c = _mm_and_si128(_mm_loadu_si128(v + 2), low), d = _mm_and_si128(_mm_loadu_si128(v + 3), low);
        __m128i bytes = _mm_packus_epi16(_mm_packs_epi32(a, b), _mm_packs_epi32(c, d));
        __m128i pairs = _mm_and_si128(_mm_or_si128(bytes, _mm_srli_epi16(bytes, 4)), byte);
        _mm_storel_epi64((__m128i *)(void *)(out + k / 2), _mm_packus_epi16(pairs, pairs));
    }
#endif
    (void)in, (void)out, (void)n;
    return k;
}

void sm_codes_pack(sm_dtype t, void *p, uint64_t i, size_t n, const int32_t *in) {
    uint8_t *b = p;
    size_t k = 0;
    switch (t) {
    case SM_INT8:
    case SM_UINT8:
        for (b += i; k < n; k++)
            b[k] = (uint8_t)in[k];
        return;
    case SM_INT4:
    case SM_UINT4:
        if (n > 0 && i % 2)
            sm_code_put(t, p, i, in[k++]);
        k += pack4(in + k, n - k, b + (i + k) / 2);
        for (b += (i + k) / 2; k + 1 < n; k += 2)
            *b++ = (uint8_t)((in[k] & 15) | (in[k + 1] & 15) << 4);
        if (k < n)
            sm_code_put(t, p, i + k, in[k]);
        return;
    default:
        for (; k < n && (!is_narrow(t) || (i + k) % 8 != 0); k++)
            sm_code_put(t, p, i + k, in[k]);
        if (k < n) {
            unsigned bits = rows[t].bits;
            size_t eights = (n - k) / 8;
#define PACK(bits) pack8(b + (i + k) / 8 * (bits), bits, eights, in + k)
            BY_BITS(PACK)
            for (k += 8 * eights; k < n; k++)
                sm_code_put(t, p, i + k, in[k]);
        }
    }
}

/* Of every two fields of `wide` bits, the upper one's low `bits` move down to the lower one's. */
static inline uint64_t join(uint64_t v, unsigned wide, unsigned bits, uint64_t lower) {
    return (v & lower) | (v & lower << wide) >> (wide - bits);
}

/* Eight codes, one a byte, side by side: neighbours first, then pairs, then fours. */
static inline uint64_t squeeze8(uint64_t v, unsigned bits) {
    v = join(v, 8, bits, UINT64_C(0x00FF00FF00FF00FF));
    v = join(v, 16, 2 * bits, UINT64_C(0x0000FFFF0000FFFF));
    return join(v, 32, 4 * bits, UINT64_C(0x00000000FFFFFFFF));
}

static inline void squeeze(uint8_t *b, unsigned bits, size_t eights, const uint8_t *in) {
    for (size_t k = 0; k < eights; k++, b += bits) {
        uint64_t v;
        memcpy(&v, in + 8 * k, 8);
        v = squeeze8(v, bits);
        memcpy(b, &v, bits);
    }
}

void sm_codes_pack_bytes(sm_dtype t, void *p, uint64_t i, size_t n, const uint8_t *in) {
    unsigned bits = rows[t].bits;
    uint8_t *b = p;
    size_t k = 0;
    if (bits == 8) {
        memcpy(b + i, in, n);
        return;
    }
    for (; k < n && (i + k) % 8 != 0; k++)
        sm_code_put(t, p, i + k, in[k]);
    size_t eights = (n - k) / 8;
    b += (i + k) / 8 * bits;
    if (bits == 4) {
        squeeze(b, 4, eights, in + k);
    } else {
#define SQUEEZE(bits) squeeze(b, bits, eights, in + k)
        BY_BITS(SQUEEZE)
    }
    for (k += 8 * eights; k < n; k++)
        sm_code_put(t, p, i + k, in[k]);
}

double sm_elem_get(sm_dtype t, const void *p, uint64_t i) {
    const uint8_t *b = p;
    uint16_t h;
    float f;
    double d;
    switch (t) {
    case SM_FP16:
        return f16_at(b + i * 2);
    case SM_BF16:
        memcpy(&h, b + i * 2, 2);
        return bf16_to_f32(h);
    case SM_FP32:
        memcpy(&f, b + i * 4, 4);
        return f;
    case SM_FP64:
        memcpy(&d, b + i * 8, 8);
        return d;
    case SM_UINT64:
        return (double)(uint64_t)sm_code_get(t, p, i);
    default:
        return (double)sm_code_get(t, p, i);
    }
}
