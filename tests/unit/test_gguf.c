/* SPDX-License-Identifier: MIT
 *
 * GGUF: every value type, tensors, split files, what is refused and with which words; every truncation and every
 * flipped bit of a small file; metadata written and read back.
 */
#include <inttypes.h>
#include <math.h>

#include "base/files.h"
#include "format/gguf.h"
#include "sweep.h"

/* ---- a writer for test files ---- */

typedef struct file {
    uint8_t p[8192];
    size_t n;
} file;

static void raw(file *f, const void *p, size_t n) {
    assert_true(n <= sizeof f->p - f->n);
    memcpy(f->p + f->n, p, n);
    f->n += n;
}

static void u32(file *f, uint32_t v) {
    raw(f, &v, 4);
}

static void u64(file *f, uint64_t v) {
    raw(f, &v, 8);
}

static void str(file *f, const char *s) {
    u64(f, strlen(s));
    raw(f, s, strlen(s));
}

static void header(file *f, uint32_t version, uint64_t tensors, uint64_t keys) {
    f->n = 0;
    raw(f, "GGUF", 4);
    u32(f, version);
    u64(f, tensors);
    u64(f, keys);
}

enum { U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 };

static void key(file *f, const char *name, uint32_t type) {
    str(f, name);
    u32(f, type);
}

static void key_u32(file *f, const char *name, uint32_t v) {
    key(f, name, U32);
    u32(f, v);
}

static void tensor(file *f, const char *name, uint32_t rank, const uint64_t *dims, uint32_t type, uint64_t offset) {
    str(f, name);
    u32(f, rank);
    for (uint32_t i = 0; i < rank; i++)
        u64(f, dims[i]);
    u32(f, type);
    u64(f, offset);
}

static void pad(file *f, size_t align) {
    while (f->n % align != 0)
        raw(f, "", 1);
}

static void zeros(file *f, size_t n) {
    for (size_t i = 0; i < n; i++)
        raw(f, "", 1);
}

/* All value types, two tensors (fp32 3 x 2 and q8_0 2 x 32, dims stored innermost first). */
static void small_file(file *f) {
    const float x[6] = {1, 2, 3, 4, 5, 6};
    header(f, 3, 2, 16);
    key(f, "t.u8", U8), raw(f, "\xFF", 1);
    key(f, "t.i8", I8), raw(f, "\xFF", 1);
    key(f, "t.u16", U16), raw(f, "\xFF\xFF", 2);
    key(f, "t.i16", I16), raw(f, "\x00\x80", 2);
    key_u32(f, "t.u32", UINT32_MAX);
    key(f, "t.i32", I32), u32(f, (uint32_t)-5);
    key(f, "t.f32", F32), raw(f, &x[1], 4);
    key(f, "t.bool", BOOL), raw(f, "\x01", 1);
    key(f, "t.str", STRING), str(f, "h\xC3\xA9llo");
    key(f, "t.u64", U64), u64(f, INT64_MAX);
    key(f, "t.i64", I64), u64(f, (uint64_t)INT64_MIN);
    double d = -0.1;
    key(f, "t.f64", F64), raw(f, &d, 8);
    key(f, "tokenizer.strs", ARRAY), u32(f, STRING), u64(f, 3), str(f, "a"), str(f, ""), str(f, "bc");
    key(f, "tokenizer.ints", ARRAY), u32(f, I16), u64(f, 2), raw(f, "\x01\x00\xFE\xFF", 4);
    key(f, "t.empty", ARRAY), u32(f, F32), u64(f, 0);
    key(f, "t.nest", ARRAY), u32(f, ARRAY), u64(f, 2);
    u32(f, U8), u64(f, 2), raw(f, "\x07\x08", 2);
    u32(f, STRING), u64(f, 1), str(f, "z");
    tensor(f, "a", 2, (uint64_t[]){2, 3}, 0, 0);
    tensor(f, "b", 2, (uint64_t[]){32, 2}, 8, 32);
    pad(f, 32);
    raw(f, x, sizeof x);
    zeros(f, 8);
    for (int i = 0; i < 2; i++) {
        raw(f, "\x00\x3C", 2);
        for (int k = 0; k < 32; k++)
            raw(f, &(int8_t){(int8_t)(k - 16)}, 1);
    }
}

static sm_status open_file(const file *f, sm_checkpoint **c, sm_err *err) {
    *err = (sm_err){0};
    return sm_gguf_open_mem(f->p, f->n, "test.gguf", c, err);
}

static void expect_refused(const file *f, sm_status want, const char *words) {
    sm_checkpoint *c;
    sm_err err;
    sm_status st = open_file(f, &c, &err);
    if (st != want || strstr(err.msg, words) == NULL || strstr(err.msg, "test.gguf") == NULL)
        fail_msg("wanted %d with '%s', found %d: %s", want, words, st, err.msg);
    assert_null(c);
}

/* ---- reading ---- */

static int64_t int_of(const sm_checkpoint *c, const char *name) {
    int64_t v;
    sm_err err;
    assert_non_null(sm_checkpoint_meta(c, name));
    assert_int_equal(sm_meta_int(c, name, 0, &v, &err), SM_OK);
    return v;
}

static void values(void **state) {
    (void)state;
    file f;
    sm_checkpoint *c;
    sm_err err;
    small_file(&f);
    if (open_file(&f, &c, &err) != SM_OK)
        fail_msg("%s", err.msg);
    assert_string_equal(c->format, "gguf v3");
    assert_int_equal(c->dialect, SM_DIALECT_GGUF);
    assert_int_equal(c->file_bytes, f.n);
    assert_int_equal(c->n_meta, 17);
    assert_int_equal(int_of(c, "t.u8"), 255);
    assert_int_equal(int_of(c, "t.i8"), -1);
    assert_int_equal(int_of(c, "t.u16"), 65535);
    assert_int_equal(int_of(c, "t.i16"), -32768);
    assert_true(int_of(c, "t.u32") == UINT32_MAX && int_of(c, "t.u64") == INT64_MAX && int_of(c, "t.i64") == INT64_MIN);
    assert_int_equal(int_of(c, "t.i32"), -5);
    assert_int_equal(int_of(c, "t.f32"), 2); /* a whole float is an integer too */
    double d;
    bool b;
    sm_sv s;
    int64_t i;
    assert_true(sm_meta_float(c, "t.f64", 0, &d, &err) == SM_OK && d == -0.1);
    assert_true(sm_meta_float(c, "t.i32", 0, &d, &err) == SM_OK && d == -5);
    assert_true(sm_meta_float(c, "none", 1.5, &d, &err) == SM_OK && d == 1.5);
    assert_true(sm_meta_bool(c, "t.bool", false, &b, &err) == SM_OK && b);
    assert_true(sm_meta_str(c, "t.str", SM_SV(""), &s, &err) == SM_OK && sm_sv_is(s, "h\xC3\xA9llo"));
    assert_true(sm_meta_str(c, "none", SM_SV("x"), &s, &err) == SM_OK && sm_sv_is(s, "x"));
    assert_true(sm_meta_int(c, "none", 9, &i, &err) == SM_OK && i == 9);
    assert_true(sm_meta_bool(c, "none", true, &b, &err) == SM_OK && b);

    assert_int_equal(sm_meta_int(c, "t.f64", 0, &i, &err), SM_BADINPUT);
    assert_string_equal(err.msg, "test.gguf: key \"t.f64\": wanted an integer, found a float (-0.1)");
    assert_int_equal(sm_meta_int(c, "t.str", 0, &i, &err), SM_BADINPUT);
    assert_int_equal(sm_meta_bool(c, "t.u8", false, &b, &err), SM_BADINPUT);
    assert_int_equal(sm_meta_str(c, "t.u8", SM_SV(""), &s, &err), SM_BADINPUT);
    assert_int_equal(sm_meta_float(c, "t.bool", 0, &d, &err), SM_BADINPUT);
    assert_int_equal(sm_meta_float(c, "tokenizer.ints", 0, &d, &err), SM_BADINPUT);

    const sm_meta *m = sm_checkpoint_meta(c, "tokenizer.strs");
    assert_true(m->type == SM_META_ARRAY && m->elem == SM_META_STR && m->u.a.n == 3 && sm_sv_is(m->u.a.strs[2], "bc"));
    m = sm_checkpoint_meta(c, "tokenizer.ints");
    assert_true(m->elem == SM_META_INT && m->raw == SM_INT16 && sm_meta_elem_int(m, 1) == -2 &&
                sm_meta_elem_float(m, 0) == 1);
    m = sm_checkpoint_meta(c, "t.empty");
    assert_true(m->u.a.n == 0 && m->elem == SM_META_FLOAT);
    assert_null(sm_checkpoint_meta(c, "t.nest"));
    m = sm_checkpoint_meta(c, "t.nest.0");
    assert_true(m->u.a.n == 2 && sm_meta_elem_int(m, 1) == 8);
    m = sm_checkpoint_meta(c, "t.nest.1");
    assert_true(m->elem == SM_META_STR && sm_sv_is(m->u.a.strs[0], "z"));
    sm_checkpoint_free(&c);
    assert_null(c);
    sm_checkpoint_free(&c);
}

static void tensors(void **state) {
    (void)state;
    file f;
    sm_checkpoint *c;
    sm_err err;
    float x[64];
    small_file(&f);
    for (uint32_t version = 2; version <= 3; version++) {
        memcpy(f.p + 4, &version, 4);
        assert_int_equal(open_file(&f, &c, &err), SM_OK);
        const sm_tensor *a = sm_checkpoint_tensor(c, "a"), *b = sm_checkpoint_tensor(c, "b");
        assert_true(a->rank == 2 && a->dims[0] == 3 && a->dims[1] == 2 && a->dtype == SM_FP32);
        assert_true(a->part[SM_PART_DATA].p >= f.p && a->part[SM_PART_DATA].p < f.p + f.n); /* a view */
        sm_decode_rows(a, 1, 2, x);
        assert_true(x[0] == 3 && x[3] == 6);
        assert_true(b->enc.id == SM_ENC_Q8_0 && b->dims[0] == 2 && b->dims[1] == 32 && b->dtype == SM_FP32);
        sm_decode_rows(b, 0, 2, x);
        assert_true(x[0] == -16 && x[63] == 15);
        assert_null(sm_checkpoint_tensor(c, "c"));
        sm_checkpoint_free(&c);
    }
}

/* ---- refusals ---- */

static void headers(void **state) {
    (void)state;
    file f = {.n = 0};
    expect_refused(&f, SM_BADINPUT, "wanted 4 bytes, found 0");
    header(&f, 3, 0, 0);
    f.p[0] = 'X';
    expect_refused(&f, SM_BADINPUT, "wanted the letters GGUF");
    header(&f, 1, 0, 0);
    expect_refused(&f, SM_UNSUPPORTED, "found 1");
    header(&f, 4, 0, 0);
    expect_refused(&f, SM_UNSUPPORTED, "version 2 or 3, found 4");
    header(&f, 0x03000000, 0, 0);
    expect_refused(&f, SM_UNSUPPORTED, "big-endian");
    header(&f, 3, 0, UINT64_MAX);
    expect_refused(&f, SM_BADINPUT, "keys");
    header(&f, 3, UINT64_MAX, 0);
    expect_refused(&f, SM_BADINPUT, "tensors");
    header(&f, 3, 0, 0);
    sm_checkpoint *c;
    sm_err err;
    assert_int_equal(open_file(&f, &c, &err), SM_OK); /* empty, but whole */
    assert_true(c->n_tensors == 0 && c->n_meta == 0);
    sm_checkpoint_free(&c);
}

static void keys(void **state) {
    (void)state;
    file f;
    header(&f, 3, 0, 1), key(&f, "k", 13), u64(&f, 0);
    expect_refused(&f, SM_BADINPUT, "key \"k\" at offset 33: wanted a value type below 13, found 13");
    header(&f, 3, 0, 1), key(&f, "k", BOOL), raw(&f, "\x02", 1);
    expect_refused(&f, SM_BADINPUT, "0 or 1, found 2");
    header(&f, 3, 0, 1), key(&f, "k", U64), u64(&f, UINT64_C(1) << 63);
    expect_refused(&f, SM_BADINPUT, "below 2^63");
    header(&f, 3, 0, 1), key(&f, "k", ARRAY), u32(&f, U64), u64(&f, 1), u64(&f, UINT64_MAX);
    expect_refused(&f, SM_BADINPUT, "18446744073709551615");
    header(&f, 3, 0, 1), key(&f, "k", ARRAY), u32(&f, 99), u64(&f, 0);
    expect_refused(&f, SM_BADINPUT, "element type");
    header(&f, 3, 0, 1), key(&f, "k", ARRAY), u32(&f, U32), u64(&f, UINT64_MAX);
    expect_refused(&f, SM_BADINPUT, "before the end");
    header(&f, 3, 0, 1), key(&f, "k", ARRAY), u32(&f, STRING), u64(&f, UINT64_MAX / 8);
    expect_refused(&f, SM_BADINPUT, "strings");
    header(&f, 3, 0, 1), key(&f, "k", STRING), u64(&f, UINT64_MAX);
    expect_refused(&f, SM_BADINPUT, "before the end");
    header(&f, 3, 0, 1), key(&f, "", U32), u64(&f, 0);
    expect_refused(&f, SM_BADINPUT, "wanted a name");
    header(&f, 3, 0, 2), key_u32(&f, "k", 1), key_u32(&f, "k", 2);
    expect_refused(&f, SM_BADINPUT, "\"k\": wanted one of that name, found two");
    header(&f, 3, 0, 1), key(&f, "k", ARRAY);
    for (int i = 0; i < 6; i++)
        u32(&f, ARRAY), u64(&f, 1);
    u32(&f, U8), u64(&f, 0);
    expect_refused(&f, SM_UNSUPPORTED, "nested");
    header(&f, 3, 0, 1), key(&f, "k", ARRAY), u32(&f, ARRAY), u64(&f, UINT64_MAX);
    expect_refused(&f, SM_UNSUPPORTED, "nested");
    header(&f, 3, 0, 1), key_u32(&f, "general.alignment", 48);
    expect_refused(&f, SM_BADINPUT, "power of two, found 48");
    header(&f, 3, 0, 1), key_u32(&f, "general.alignment", 0);
    expect_refused(&f, SM_BADINPUT, "found 0");
    header(&f, 3, 0, 1), key(&f, "general.alignment", STRING), str(&f, "32");
    expect_refused(&f, SM_BADINPUT, "general.alignment");
}

/* One tensor with these numbers, and `data` bytes of data. */
static void one_tensor(file *f, uint32_t rank, const uint64_t *dims, uint32_t type, uint64_t offset, size_t data) {
    header(f, 3, 1, 0);
    tensor(f, "w", rank, dims, type, offset);
    pad(f, 32);
    zeros(f, data);
}

static void bad_tensors(void **state) {
    (void)state;
    file f;
    const uint64_t d[2] = {32, 2}, odd[2] = {33, 2}, zero[2] = {32, 0}, wide[2] = {UINT64_MAX, 1};
    const uint64_t big[2] = {UINT64_C(1) << 62, 32}, many[4] = {1 << 20, 1 << 20, 1 << 20, 1 << 20};
    one_tensor(&f, 2, d, 2, 0, 35);
    expect_refused(&f, SM_BADINPUT, "tensor \"w\" at offset 96: wanted 36 bytes of data, found 35");
    one_tensor(&f, 2, d, 2, 16, 100);
    expect_refused(&f, SM_BADINPUT, "multiple of 32, found 16");
    one_tensor(&f, 2, d, 2, 64, 99);
    expect_refused(&f, SM_BADINPUT, "wanted 36 bytes of data, found 35");
    one_tensor(&f, 2, d, 2, UINT64_MAX - 31, 99);
    expect_refused(&f, SM_BADINPUT, "inside the file");
    one_tensor(&f, 2, odd, 2, 0, 99);
    expect_refused(&f, SM_BADINPUT, "multiple of 32, found 33");
    one_tensor(&f, 2, zero, 2, 0, 99);
    expect_refused(&f, SM_BADINPUT, "dimension of 1");
    one_tensor(&f, 2, wide, 0, 0, 99);
    expect_refused(&f, SM_BADINPUT, "found 18446744073709551615");
    one_tensor(&f, 2, big, 0, 0, 99);
    expect_refused(&f, SM_BADINPUT, "more elements than can be addressed");
    one_tensor(&f, 4, many, 2, 0, 99);
    expect_refused(&f, SM_BADINPUT, "more elements");
    one_tensor(&f, 5, (uint64_t[]){1, 1, 1, 1, 1}, 0, 0, 99);
    expect_refused(&f, SM_BADINPUT, "at most 4 dimensions, found 5");
    one_tensor(&f, 2, d, 20, 0, 99);
    expect_refused(&f, SM_UNSUPPORTED, "found IQ4_NL (ggml type 20)");
    one_tensor(&f, 2, d, 4, 0, 99);
    expect_refused(&f, SM_UNSUPPORTED, "unknown ggml type 4");
    one_tensor(&f, 2, d, UINT32_MAX, 0, 99);
    expect_refused(&f, SM_UNSUPPORTED, "unknown ggml type 4294967295");
    sm_checkpoint *c;
    sm_err err;
    one_tensor(&f, 2, d, 39, 0, 99);
    assert_int_equal(open_file(&f, &c, &err), SM_UNSUPPORTED);
    assert_non_null(strstr(err.hint, "llama-quantize"));
}

static void pairs_of_tensors(void **state) {
    (void)state;
    file f;
    sm_checkpoint *c;
    sm_err err;
    const uint64_t d[1] = {16};
    header(&f, 3, 2, 0), tensor(&f, "v", 1, d, 0, 32), tensor(&f, "w", 1, d, 0, 0), pad(&f, 32), zeros(&f, 128);
    expect_refused(&f, SM_BADINPUT, "tensor \"w\" at offset 96: wanted its 64 bytes to itself, found tensor \"v\"");
    header(&f, 3, 2, 0), tensor(&f, "w", 1, d, 0, 0), tensor(&f, "w", 1, d, 0, 64), pad(&f, 32), zeros(&f, 128);
    expect_refused(&f, SM_BADINPUT, "tensor \"w\": wanted one of that name, found two");
    header(&f, 3, 1, 1), key_u32(&f, "general.alignment", 8), tensor(&f, "w", 1, d, 0, 8), pad(&f, 8), zeros(&f, 72);
    assert_int_equal(open_file(&f, &c, &err), SM_OK);
    sm_checkpoint_free(&c);
    header(&f, 3, 1, 0), tensor(&f, "s", 0, NULL, 0, 0), pad(&f, 32), zeros(&f, 4);
    assert_int_equal(open_file(&f, &c, &err), SM_OK); /* a scalar */
    assert_int_equal(sm_tensor_numel(&c->tensors[0]), 1);
    sm_checkpoint_free(&c);
}

/* ---- split models ---- */

static void write_file(const char *dir, const char *name, const file *f) {
    char *path = sm_path_join(dir, name);
    FILE *o = fopen(path, "wb");
    assert_non_null(o);
    assert_int_equal(fwrite(f->p, 1, f->n, o), f->n);
    fclose(o);
    sm_free(path);
}

static void part(file *f, uint16_t no, uint16_t of, int32_t total, const char *name, float value) {
    header(f, 3, 1, no == 0 ? 4 : 3);
    key(f, "split.no", U16), raw(f, &no, 2);
    key(f, "split.count", U16), raw(f, &of, 2);
    key(f, "split.tensors.count", I32), raw(f, &total, 4);
    if (no == 0)
        key(f, "general.architecture", STRING), str(f, "llama");
    tensor(f, name, 1, (uint64_t[]){1}, 0, 0);
    pad(f, 32);
    raw(f, &value, 4);
}

static void split_files(void **state) {
    (void)state;
    file f;
    sm_checkpoint *c;
    sm_err err;
    char *dir = scratch_new(), *first = sm_path_join(dir, "m-00001-of-00003.gguf");
    part(&f, 0, 3, 3, "a", 1), write_file(dir, "m-00001-of-00003.gguf", &f), write_file(dir, "renamed.gguf", &f);
    part(&f, 1, 3, 3, "b", 2), write_file(dir, "m-00002-of-00003.gguf", &f);
    assert_int_equal(sm_gguf_open(first, &c, &err), SM_BADINPUT);
    assert_non_null(strstr(err.msg, "part 3 of 3"));
    part(&f, 2, 3, 3, "c", 3), write_file(dir, "m-00003-of-00003.gguf", &f);
    if (sm_gguf_open(first, &c, &err) != SM_OK)
        fail_msg("%s", err.msg);
    assert_string_equal(c->format, "gguf v3, 3 files");
    assert_int_equal(c->n_tensors, 3);
    assert_int_equal(c->n_meta, 4); /* of the first part */
    float x;
    sm_decode_rows(sm_checkpoint_tensor(c, "c"), 0, 1, &x);
    assert_true(x == 3);
    sm_checkpoint_free(&c);

    char *path = sm_path_join(dir, "m-00002-of-00003.gguf");
    assert_int_equal(sm_gguf_open(path, &c, &err), SM_BADINPUT);
    assert_non_null(strstr(err.msg, "wanted the first of 3 parts, found part 2"));
    assert_non_null(strstr(err.hint, "m-00001-of-00003.gguf"));
    sm_free(path);
    path = sm_path_join(dir, "renamed.gguf");
    assert_int_equal(sm_gguf_open(path, &c, &err), SM_BADINPUT);
    assert_non_null(strstr(err.msg, "-00001-of-00003.gguf"));
    sm_free(path);

    part(&f, 1, 3, 3, "c", 3), write_file(dir, "m-00003-of-00003.gguf", &f);
    assert_int_equal(sm_gguf_open(first, &c, &err), SM_BADINPUT); /* part 2 twice */
    part(&f, 2, 3, 3, "a", 3), write_file(dir, "m-00003-of-00003.gguf", &f);
    assert_int_equal(sm_gguf_open(first, &c, &err), SM_BADINPUT); /* a tensor twice */
    header(&f, 3, 0, 0), write_file(dir, "m-00003-of-00003.gguf", &f);
    assert_int_equal(sm_gguf_open(first, &c, &err), SM_BADINPUT);
    assert_non_null(strstr(err.msg, "not a part"));
    part(&f, 2, 3, 3, "c", 3), write_file(dir, "m-00003-of-00003.gguf", &f);
    part(&f, 0, 3, 4, "a", 1), write_file(dir, "m-00001-of-00003.gguf", &f);
    assert_int_equal(sm_gguf_open(first, &c, &err), SM_BADINPUT);
    assert_non_null(strstr(err.msg, "wanted 4 tensors, found 3"));
    assert_int_equal(sm_gguf_open_mem(f.p, f.n, "mem", &c, &err), SM_UNSUPPORTED);

    assert_true(sm_gguf_sniff(first));
    assert_false(sm_gguf_sniff(dir));
    assert_int_not_equal(sm_gguf_open(dir, &c, &err), SM_OK);
    sm_free(first);
    first = sm_path_join(dir, "absent.gguf");
    assert_false(sm_gguf_sniff(first));
    assert_int_equal(sm_gguf_open(first, &c, &err), SM_BADINPUT);
    sm_free(first);
    scratch_remove(dir);
}

/* ---- damage ---- */

/* Whatever opens can be looked at in full. */
static void look(const void *p, size_t n) {
    sm_checkpoint *c;
    sm_err err = {0};
    static float x[4096];
    sm_status st = sm_gguf_open_mem(p, n, "test.gguf", &c, &err);
    if (st != SM_OK) {
        assert_true(err.code == st && err.msg[0] != 0);
        return;
    }
    for (size_t i = 0; i < c->n_tensors; i++) {
        assert_int_equal(sm_tensor_check(&c->tensors[i], &err), SM_OK);
        for (uint64_t r = 0; r < sm_tensor_rows(&c->tensors[i]) && sm_tensor_cols(&c->tensors[i]) <= 4096; r++)
            sm_decode_rows(&c->tensors[i], r, 1, x);
    }
    sm_checkpoint_free(&c);
}

static void every_truncation(void **state) {
    (void)state;
    file f;
    sm_checkpoint *c;
    sm_err err;
    small_file(&f);
    for (size_t n = 0; n < f.n; n++) {
        uint8_t *p = malloc(n + 1); /* exact, so that ASan sees a read past the end */
        memcpy(p, f.p, n);
        assert_int_equal(sm_gguf_open_mem(p, n, "t", &c, &err), SM_BADINPUT);
        free(p);
    }
}

static void every_flipped_bit(void **state) {
    (void)state;
    file f;
    small_file(&f);
    uint8_t *p = malloc(f.n);
    memcpy(p, f.p, f.n);
    for (size_t i = 0; i < f.n * 8; i++) {
        p[i / 8] ^= (uint8_t)(1 << i % 8);
        look(p, f.n);
        p[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    for (size_t i = 0; i + 8 <= f.n; i++) { /* lengths, counts and sizes of every magnitude */
        static const uint64_t v[] = {0, 1, 0x7F, 0xFFFFFFFF, UINT64_C(1) << 61, INT64_MAX, UINT64_MAX};
        for (size_t k = 0; k < SM_ARRAY_LEN(v); k++) {
            memcpy(p + i, &v[k], 8);
            look(p, f.n);
        }
        memcpy(p + i, f.p + i, 8);
    }
    free(p);
}

static bool work(void *ctx) {
    sm_checkpoint *c;
    const file *f = ctx;
    if (sm_gguf_open_mem(f->p, f->n, "test.gguf", &c, NULL) != SM_OK)
        return false;
    sm_checkpoint_free(&c);
    return true;
}

static void memory_runs_out(void **state) {
    (void)state;
    file f;
    small_file(&f);
    assert_true(sweep(work, &f) > 5);
}

/* ---- writing ---- */

static void metadata_written(void **state) {
    (void)state;
    file f;
    sm_checkpoint *c, *d;
    sm_err err;
    sm_str all = SM_STR_INIT, some = SM_STR_INIT, again = SM_STR_INIT;
    small_file(&f);
    assert_int_equal(open_file(&f, &c, &err), SM_OK);
    assert_int_equal(sm_gguf_write_meta(c, (const char *const[]){""}, 1, &all, &err), SM_OK);
    assert_int_equal(all.n % 32, 0);
    /* Keys have the same bytes up to the nested array, which is the last and is written flattened. */
    size_t same = 24;
    while (memcmp(f.p + same, "t.nest", 6) != 0)
        same++;
    assert_memory_equal(all.p + 24, f.p + 24, same - 8 - 24);
    assert_int_equal(sm_gguf_open_mem(all.p, all.n, "again", &d, &err), SM_OK);
    assert_true(d->n_meta == c->n_meta && d->n_tensors == 0);
    assert_int_equal(sm_gguf_write_meta(d, (const char *const[]){"t.", "tokenizer."}, 2, &again, &err), SM_OK);
    assert_true(again.n == all.n);
    assert_memory_equal(again.p, all.p, all.n);
    sm_checkpoint_free(&d);
    assert_int_equal(sm_gguf_write_meta(c, (const char *const[]){"tokenizer.", "general."}, 2, &some, &err), SM_OK);
    assert_int_equal(sm_gguf_open_mem(some.p, some.n, "some", &d, &err), SM_OK);
    assert_int_equal(d->n_meta, 2);
    sm_checkpoint_free(&d);
    c->meta[0].raw = SM_UINT4; /* as another dialect might hold */
    assert_int_equal(sm_gguf_write_meta(c, (const char *const[]){"t."}, 1, &some, &err), SM_UNSUPPORTED);
    sm_checkpoint_free(&c);
    sm_str_free(&all);
    sm_str_free(&some);
    sm_str_free(&again);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),
        cmocka_unit_test(tensors),
        cmocka_unit_test(headers),
        cmocka_unit_test(keys),
        cmocka_unit_test(bad_tensors),
        cmocka_unit_test(pairs_of_tensors),
        cmocka_unit_test(split_files),
        cmocka_unit_test(every_truncation),
        cmocka_unit_test(every_flipped_bit),
        cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(metadata_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
