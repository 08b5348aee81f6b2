/* SPDX-License-Identifier: MIT
 *
 * Types: the table, float conversions against arithmetic in double, packed codes against single bits.
 */
#include <float.h>
#include <math.h>

#include "sweep.h"
#include "tensor/array.h"
#include "tensor/dtype.h"

static uint32_t bits_of(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static void table_is_consistent(void **state) {
    (void)state;
    assert_string_equal(sm_dtype_name(SM_NONE), "none");
    assert_int_equal(sm_dtype_kind(SM_NONE), 0);
    for (int i = 1; i < SM_DTYPE_COUNT_; i++) {
        sm_dtype t = (sm_dtype)i;
        assert_int_equal(sm_dtype_of_name(sm_sv_of(sm_dtype_name(t))), t);
        assert_int_equal(sm_dtype_of_mil(sm_dtype_mil(t)), t);
        if (sm_dtype_blob(t) != 0)
            assert_int_equal(sm_dtype_of_blob(sm_dtype_blob(t)), t);
    }
    assert_int_equal(sm_dtype_of_name(SM_SV("fp17")), SM_NONE);
    assert_int_equal(sm_dtype_of_name(SM_SV("none")), SM_NONE);
    assert_int_equal(sm_dtype_of_mil(0), SM_NONE);
    assert_int_equal(sm_dtype_of_blob(0), SM_NONE);
    assert_int_equal(sm_dtype_of_blob(99), SM_NONE);
    assert_int_equal(sm_dtype_bits(SM_STRING), 0);
    assert_int_equal(sm_dtype_blob(SM_BOOL), 0);
}

static void integer_limits(void **state) {
    (void)state;
    assert_int_equal(sm_dtype_min(SM_INT4), -8);
    assert_int_equal(sm_dtype_max(SM_INT4), 7);
    assert_int_equal(sm_dtype_min(SM_UINT6), 0);
    assert_int_equal(sm_dtype_max(SM_UINT6), 63);
    assert_true(sm_dtype_min(SM_INT64) == INT64_MIN && sm_dtype_max(SM_INT64) == INT64_MAX);
    assert_true(sm_dtype_max(SM_UINT32) == UINT32_MAX && sm_dtype_max(SM_UINT64) == INT64_MAX);
    assert_int_equal(sm_dtype_max(SM_BOOL), 1);
}

static void sizes(void **state) {
    (void)state;
    size_t n;
    assert_true(sm_dtype_bytes(SM_UINT3, 3, &n) && n == 2);
    assert_true(sm_dtype_bytes(SM_UINT3, 8, &n) && n == 3);
    assert_true(sm_dtype_bytes(SM_INT4, 5, &n) && n == 3);
    assert_true(sm_dtype_bytes(SM_FP64, 2, &n) && n == 16);
    assert_true(sm_dtype_bytes(SM_UINT1, UINT64_MAX, &n));
    assert_false(sm_dtype_bytes(SM_FP64, UINT64_MAX / 8 + 1, &n));
    assert_false(sm_dtype_bytes(SM_INT16, UINT64_MAX, &n));
    for (int i = 1; i < SM_DTYPE_COUNT_; i++)
        for (uint64_t k = 0; k < 40; k++)
            assert_true(sm_dtype_bytes((sm_dtype)i, k, &n) && n == sm_dtype_size((sm_dtype)i, k) &&
                        n == (k * (uint64_t)sm_dtype_bits((sm_dtype)i) + 7) / 8);
}

/* The value of an fp16 pattern by its definition. */
static double half_value(uint16_t h) {
    int e = h >> 10 & 31, m = h & 1023;
    double v = e == 0 ? ldexp(m, -24) : ldexp(1024 + m, e - 25);
    return h & 0x8000 ? -v : v;
}

static void every_half(void **state) {
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        float f = sm_f16_to_f32((uint16_t)h);
        if ((h & 0x7C00) == 0x7C00) {
            assert_true((h & 1023) == 0 ? isinf(f) && !signbit(f) == !(h >> 15) : isnan(f));
            if ((h & 1023) == 0)
                assert_int_equal(sm_f32_to_f16(f), h);
            else
                assert_true((sm_f32_to_f16(f) & 0x7C00) == 0x7C00 && (sm_f32_to_f16(f) & 1023) != 0);
            continue;
        }
        assert_true((double)f == half_value((uint16_t)h) && !signbit(f) == !(h >> 15));
        assert_int_equal(sm_f32_to_f16(f), h);
    }
}

/* Between neighbours a < b of fp16: below, at and above the middle. */
static void rounding_to_half(void **state) {
    (void)state;
    for (unsigned h = 0; h < 0x7BFF; h++) {
        double a = half_value((uint16_t)h), b = half_value((uint16_t)(h + 1));
        float mid = (float)((a + b) / 2);
        assert_true((double)mid == (a + b) / 2);
        assert_int_equal(sm_f32_to_f16(mid), h & 1 ? h + 1 : h);
        assert_int_equal(sm_f32_to_f16(nextafterf(mid, 0)), h);
        assert_int_equal(sm_f32_to_f16(nextafterf(mid, INFINITY)), h + 1);
        assert_int_equal(sm_f32_to_f16(-mid), 0x8000 | (h & 1 ? h + 1 : h));
    }
    assert_int_equal(sm_f32_to_f16(65519.996f), 0x7BFF);
    assert_int_equal(sm_f32_to_f16(65520.0f), 0x7C00);
    assert_int_equal(sm_f32_to_f16(-FLT_MAX), 0xFC00);
    assert_int_equal(sm_f32_to_f16(FLT_TRUE_MIN), 0);
    assert_int_equal(sm_f32_to_f16(-FLT_TRUE_MIN), 0x8000);
    assert_true(sm_round_f16(0.1f) == (float)half_value(0x2E66));
    uint16_t h[3];
    float f[3] = {1.0f, -2.5f, 1e9f}, back[3];
    sm_f32_to_f16_n(f, h, 3);
    sm_f16_to_f32_n(h, back, 3);
    assert_true(back[0] == 1.0f && back[1] == -2.5f && isinf(back[2]));
}

static void bfloat(void **state) {
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        float f = sm_bf16_to_f32((uint16_t)h);
        assert_int_equal(bits_of(f), h << 16);
        if (isnan(f))
            assert_true(isnan(sm_bf16_to_f32(sm_f32_to_bf16(f))));
        else
            assert_int_equal(sm_f32_to_bf16(f), h);
    }
    for (uint32_t u = 0x3F800000; u < 0x3F820000; u += 0x7FFF) {
        float f;
        memcpy(&f, &u, 4);
        uint32_t down = u >> 16, rest = u & 0xFFFF;
        assert_int_equal(sm_f32_to_bf16(f), rest > 0x8000 || (rest == 0x8000 && down & 1) ? down + 1 : down);
    }
    uint32_t nan_low = 0x7F800001;
    float f;
    memcpy(&f, &nan_low, 4);
    assert_true(isnan(sm_bf16_to_f32(sm_f32_to_bf16(f))));
}

/* Bit k of element i is bit i * bits + k of the stream. */
static int64_t naive_get(sm_dtype t, const uint8_t *p, uint64_t i) {
    int bits = sm_dtype_bits(t);
    uint64_t v = 0;
    for (int k = 0; k < bits; k++) {
        uint64_t at = i * (uint64_t)bits + (uint64_t)k;
        v |= (uint64_t)(p[at / 8] >> at % 8 & 1) << k;
    }
    if (sm_dtype_kind(t) == 'i' && bits < 64 && v >> (bits - 1))
        v -= UINT64_C(1) << bits;
    return (int64_t)v;
}

static void packed_codes(void **state) {
    (void)state;
    static const sm_dtype types[] = {SM_UINT1, SM_UINT2,  SM_UINT3, SM_UINT4,  SM_INT4,  SM_UINT6,  SM_INT8, SM_UINT8,
                                     SM_INT16, SM_UINT16, SM_INT32, SM_UINT32, SM_INT64, SM_UINT64, SM_BOOL};
    enum { N = 37 };
    srand(7);
    for (size_t k = 0; k < SM_ARRAY_LEN(types); k++) {
        sm_dtype t = types[k];
        size_t bytes = (size_t)sm_dtype_size(t, N);
        uint8_t *p = malloc(bytes), *q = malloc(bytes); /* exact: reading past the end is an error under ASan */
        int32_t out[N];
        for (size_t i = 0; i < bytes; i++)
            p[i] = q[i] = (uint8_t)rand();
        for (uint64_t i = 0; i < N; i++)
            assert_true(sm_code_get(t, p, i) == naive_get(t, p, i));
        for (uint64_t i = 0; i < N; i++) { /* one element moves, its neighbours stay */
            int64_t old = sm_code_get(t, q, i);
            sm_code_put(t, q, i, ~old);
            assert_true(sm_code_get(t, q, i) == naive_get(t, q, i));
            sm_code_put(t, q, i, old);
            assert_memory_equal(p, q, bytes);
        }
        for (size_t from = 0; from < N && sm_dtype_bits(t) <= 16; from++)
            for (size_t n = 0; from + n <= N; n++) {
                sm_codes_unpack(t, p, from, n, out);
                for (size_t i = 0; i < n; i++)
                    assert_int_equal(out[i], naive_get(t, p, from + i));
                for (size_t i = 0; i < n; i++)
                    sm_code_put(t, q, from + i, 0);
                sm_codes_pack(t, q, from, n, out);
                assert_memory_equal(p, q, bytes);
            }
        free(p);
        free(q);
    }
}

static void elements(void **state) {
    (void)state;
    uint16_t h[2] = {0x3C00, 0xBF80};
    double d = 1e300;
    float f = 2.5f;
    uint64_t big = UINT64_MAX;
    assert_true(sm_elem_get(SM_FP16, h, 0) == 1.0);
    assert_true(sm_elem_get(SM_BF16, h, 1) == -1.0);
    assert_true(sm_elem_get(SM_FP64, &d, 0) == 1e300);
    assert_true(sm_elem_get(SM_FP32, &f, 0) == 2.5);
    assert_true(sm_elem_get(SM_UINT64, &big, 0) == 18446744073709551615.0);
    assert_true(sm_elem_get(SM_INT64, &big, 0) == -1.0);
}

static void arrays(void **state) {
    (void)state;
    sm_err err;
    sm_array a, b;
    sm_arrays list = {0};
    const int64_t dims[2] = {2, 3}, huge[2] = {INT64_MAX, 4};
    assert_int_equal(sm_array_new(&a, "a", SM_FP32, 2, dims, &err), SM_OK);
    float v[6] = {1.9f, -1.9f, 300.0f, -300.0f, NAN, 0.0f};
    memcpy(a.data, v, sizeof v);
    assert_int_equal(sm_array_copy(&b, &a, &err), SM_OK);
    assert_int_equal(sm_array_cast(&b, SM_INT8, &err), SM_OK);
    assert_memory_equal(b.data, ((int8_t[6]){1, -1, 127, -128, 0, 0}), 6);
    assert_int_equal(sm_array_cast(&b, SM_BOOL, &err), SM_OK);
    assert_memory_equal(b.data, ((uint8_t[6]){1, 1, 1, 1, 0, 0}), 6);
    assert_int_equal(sm_array_cast(&b, SM_FP16, &err), SM_OK);
    assert_int_equal(((uint16_t *)b.data)[0], 0x3C00);
    assert_int_equal(sm_array_cast(&a, SM_UINT64, &err), SM_OK);
    assert_true(((uint64_t *)a.data)[2] == 300 && ((uint64_t *)a.data)[3] == 0);
    assert_int_equal(sm_array_new(&(sm_array){0}, NULL, SM_FP32, 2, huge, &err), SM_BADINPUT);
    sm_array *e = sm_arrays_add(&list);
    *e = a;
    assert_ptr_equal(sm_arrays_find(&list, "a"), e);
    assert_null(sm_arrays_find(&list, "b"));
    sm_arrays_free(&list);
    sm_array_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_is_consistent), cmocka_unit_test(integer_limits),   cmocka_unit_test(sizes),
        cmocka_unit_test(every_half),          cmocka_unit_test(rounding_to_half), cmocka_unit_test(bfloat),
        cmocka_unit_test(packed_codes),        cmocka_unit_test(elements),         cmocka_unit_test(arrays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
