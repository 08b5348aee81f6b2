/* SPDX-License-Identifier: MIT
 *
 * npz.c: .npz archives: zip by libzip, .npy headers by hand.
 *
 *     .npy    "\x93NUMPY", u8 major, u8 minor, u16 (version 1) or u32 length of the header, the header, the elements
 *     header  a Python dictionary: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
 *
 * The header's shape decides how much is allocated, so it must agree with the entry's size, and that with what its
 * compressed bytes can give (deflate: at most 1032 to 1).  Writing goes through memory to an output that appears whole;
 * elements are not copied for it.
 */
#include "format/npz.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

#include "base/files.h"
#include "base/str.h"

#define MAX_ENTRY ((uint64_t)4 << 30)
#define MAX_HEADER 65536
#define DEFLATE_RATIO 1032
#define END_RECORD 22

/* ------------------------------------------------------------------ .npy headers */

static const struct {
    char name[4];
    sm_dtype t;
} descrs[] = {{"b1", SM_BOOL},   {"i1", SM_INT8},  {"i2", SM_INT16},  {"i4", SM_INT32},
              {"i8", SM_INT64},  {"u1", SM_UINT8}, {"u2", SM_UINT16}, {"u4", SM_UINT32},
              {"u8", SM_UINT64}, {"f2", SM_FP16},  {"f4", SM_FP32},   {"f8", SM_FP64}};

typedef struct npy {
    sm_dtype t;
    bool fortran;
    int rank;
    int64_t dims[SM_MAX_RANK];
} npy;

typedef struct text {
    const char *p, *end;
} text;

static void skip_space(text *s) {
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t'))
        s->p++;
}

static bool take(text *s, char c) {
    skip_space(s);
    if (s->p == s->end || *s->p != c)
        return false;
    s->p++;
    return true;
}

static bool take_word(text *s, const char *w) {
    size_t n = strlen(w);
    skip_space(s);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, w, n) != 0)
        return false;
    s->p += n;
    return true;
}

/* A quoted string without escapes. */
static bool take_string(text *s, sm_sv *out) {
    skip_space(s);
    if (s->p == s->end || (*s->p != '\'' && *s->p != '"'))
        return false;
    char quote = *s->p++;
    const char *start = s->p;
    while (s->p < s->end && *s->p != quote && *s->p != '\\')
        s->p++;
    *out = (sm_sv){start, (size_t)(s->p - start)};
    return s->p < s->end && *s->p++ == quote;
}

static bool take_shape(text *s, npy *h) {
    if (!take(s, '('))
        return false;
    for (h->rank = 0; !take(s, ')'); h->rank++) {
        int64_t v = 0;
        int digits = 0;
        skip_space(s);
        for (; s->p < s->end && *s->p >= '0' && *s->p <= '9' && digits < 15; digits++)
            v = 10 * v + (*s->p++ - '0');
        if (digits == 0 || h->rank == SM_MAX_RANK)
            return false;
        h->dims[h->rank] = v;
        if (!take(s, ',') && (s->p == s->end || *s->p != ')'))
            return false;
    }
    return true;
}

static sm_status read_descr(sm_sv d, npy *h, sm_err *err) {
    char order = d.n > 0 ? d.p[0] : 0;
    h->t = SM_NONE;
    for (size_t i = 0; i < SM_ARRAY_LEN(descrs) && d.n == 3; i++)
        if (memcmp(d.p + 1, descrs[i].name, 2) == 0)
            h->t = descrs[i].t;
    if (h->t == SM_NONE || (order != '<' && !(order == '|' && sm_dtype_bits(h->t) == 8)))
        return SM_FAIL(err, SM_UNSUPPORTED, "element type %s: supported are bool, integers and floats, little-endian",
                       sm_quote(d.p, d.n));
    return SM_OK;
}

/* The dictionary of a header; key order is free, each key once. */
static sm_status read_dict(text s, npy *h, sm_err *err) {
    sm_sv key, descr = {0};
    int seen = 0;
    *h = (npy){0};
    if (!take(&s, '{'))
        return SM_FAIL(err, SM_BADINPUT, "header is no dictionary");
    while (!take(&s, '}')) {
        bool ok = take_string(&s, &key) && take(&s, ':');
        int bit = 0;
        if (ok && sm_sv_is(key, "descr")) {
            bit = 1;
            if (take(&s, '['))
                return SM_FAIL(err, SM_UNSUPPORTED, "structured elements are not supported");
            ok = take_string(&s, &descr);
        } else if (ok && sm_sv_is(key, "fortran_order")) {
            bit = 2;
            h->fortran = take_word(&s, "True");
            ok = h->fortran || take_word(&s, "False");
        } else if (ok && sm_sv_is(key, "shape")) {
            bit = 4;
            ok = take_shape(&s, h);
        }
        skip_space(&s);
        if (!ok || bit == 0 || (seen & bit) != 0 || (!take(&s, ',') && (s.p == s.end || *s.p != '}')))
            return SM_FAIL(err, SM_BADINPUT, "malformed header");
        seen |= bit;
    }
    if (seen != 7)
        return SM_FAIL(err, SM_BADINPUT, "header without descr, fortran_order or shape");
    return read_descr(descr, h, err);
}

/* ------------------------------------------------------------------ reading */

static sm_status read_exact(zip_file_t *f, void *p, uint64_t n, sm_err *err) {
    for (uint64_t at = 0; at < n;) {
        zip_int64_t got = zip_fread(f, (uint8_t *)p + at, n - at);
        if (got < 0)
            return SM_FAIL(err, SM_BADINPUT, "%s", zip_error_strerror(zip_file_get_error(f)));
        if (got == 0)
            return SM_FAIL(err, SM_BADINPUT, "cut off after %" PRIu64 " of %" PRIu64 " bytes", at, n);
        at += (uint64_t)got;
    }
    return SM_OK;
}

/* Rewrites elements stored with the first axis fastest. */
static sm_status from_fortran(sm_array *a, sm_err *err) {
    uint64_t n = sm_array_numel(a);
    size_t size = (size_t)sm_dtype_bits(a->dtype) / 8;
    int64_t at[SM_MAX_RANK] = {0};
    if (a->rank < 2 || n == 0)
        return SM_OK;
    uint8_t *out = sm_alloc_n((size_t)n, size);
    if (out == NULL)
        return SM_NOMEM(err);
    for (uint64_t i = 0; i < n; i++) { /* i-th element of the file has indices at[], first axis fastest */
        uint64_t to = 0;
        for (int d = 0; d < a->rank; d++)
            to = to * (uint64_t)a->dims[d] + (uint64_t)at[d];
        memcpy(out + to * size, (const uint8_t *)a->data + i * size, size);
        for (int d = 0; d < a->rank && ++at[d] == a->dims[d]; d++)
            at[d] = 0;
    }
    sm_free(a->data);
    a->data = out;
    return SM_OK;
}

/* One entry: header, then elements into *a, which is zeroed. */
static sm_status read_npy(zip_file_t *f, uint64_t size, const char *name, sm_array *a, sm_err *err) {
    uint8_t pre[12];
    char *header = NULL;
    npy h;
    sm_status st;
    if (size < 10)
        return SM_FAIL(err, SM_BADINPUT, "too short for an array");
    SM_TRY(read_exact(f, pre, 10, err));
    if (memcmp(pre, "\x93NUMPY", 6) != 0 || pre[6] < 1 || pre[6] > 3)
        return SM_FAIL(err, SM_BADINPUT, "no .npy array of version 1 to 3");
    uint64_t at = 10, len = pre[8] | (uint64_t)pre[9] << 8;
    if (pre[6] > 1) {
        if (size < 12)
            return SM_FAIL(err, SM_BADINPUT, "too short for an array");
        SM_TRY(read_exact(f, pre + 10, 2, err));
        len |= (uint64_t)pre[10] << 16 | (uint64_t)pre[11] << 24;
        at = 12;
    }
    if (len > MAX_HEADER || len > size - at)
        return SM_FAIL(err, SM_BADINPUT, "header of %" PRIu64 " bytes in an entry of %" PRIu64, len, size);
    header = sm_alloc((size_t)len);
    if (header == NULL)
        return SM_NOMEM(err);
    SM_TRY_DONE(read_exact(f, header, len, err));
    SM_TRY_DONE(read_dict((text){header, header + len}, &h, err));
    sm_encoding dense = sm_enc_dense(h.t);
    size_t bytes[SM_PART_COUNT];
    SM_TRY_DONE(sm_enc_sizes(&dense, h.rank, h.dims, bytes, err));
    if (bytes[0] != size - at - len) {
        st = SM_FAIL(err, SM_BADINPUT, "its shape wants %zu bytes of elements, found %" PRIu64, bytes[0],
                     size - at - len);
        goto done;
    }
    SM_TRY_DONE(sm_array_new(a, name, h.t, h.rank, h.dims, err));
    SM_TRY_DONE(read_exact(f, a->data, bytes[0], err));
    if (h.t == SM_BOOL)
        for (size_t i = 0; i < bytes[0]; i++)
            ((uint8_t *)a->data)[i] = ((uint8_t *)a->data)[i] != 0;
    if (h.fortran)
        SM_TRY_DONE(from_fortran(a, err));
    if (zip_fread(f, pre, 1) != 0) /* the end, where libzip compares the checksum */
        st = SM_FAIL(err, SM_BADINPUT, "%s", zip_error_strerror(zip_file_get_error(f)));
done:
    sm_free(header);
    return st;
}

static sm_status read_entry(zip_t *z, zip_uint64_t i, uint64_t file_bytes, sm_arrays *out, sm_err *err) {
    zip_stat_t s;
    zip_stat_init(&s);
    if (zip_stat_index(z, i, 0, &s) != 0 || (s.valid & ZIP_STAT_NAME) == 0 || (s.valid & ZIP_STAT_SIZE) == 0 ||
        (s.valid & ZIP_STAT_COMP_SIZE) == 0 || (s.valid & ZIP_STAT_COMP_METHOD) == 0)
        return SM_FAIL(err, SM_BADINPUT, "entry %" PRIu64 ": malformed", (uint64_t)i);
    size_t n = strlen(s.name);
    sm_status st = SM_OK;
    zip_file_t *f = NULL;
    if (s.comp_method != ZIP_CM_STORE && s.comp_method != ZIP_CM_DEFLATE)
        st = SM_FAIL(err, SM_UNSUPPORTED, "compression method %d: supported are stored and deflated", s.comp_method);
    else if (s.size > MAX_ENTRY || s.comp_size > file_bytes || s.size / DEFLATE_RATIO > s.comp_size)
        st = SM_FAIL(err, SM_BADINPUT, "%" PRIu64 " bytes cannot come from %" PRIu64 " or are more than 4 GiB",
                     (uint64_t)s.size, (uint64_t)s.comp_size);
    else if ((f = zip_fopen_index(z, i, 0)) == NULL)
        st = SM_FAIL(err, SM_BADINPUT, "%s", zip_strerror(z));
    if (st == SM_OK) {
        char *name = sm_alloc(n + 1);
        sm_array *a = name == NULL ? NULL : sm_arrays_add(out);
        if (name != NULL) {
            memcpy(name, s.name, n);
            if (n > 4 && strcmp(name + n - 4, ".npy") == 0)
                name[n - 4] = 0;
        }
        if (a == NULL)
            st = SM_NOMEM(err);
        else if (sm_arrays_find(out, name) != NULL)
            st = SM_FAIL(err, SM_BADINPUT, "there are two of this name");
        else
            st = read_npy(f, s.size, name, a, err);
        sm_free(name);
    }
    if (f != NULL)
        zip_fclose(f);
    if (st != SM_OK)
        sm_err_prefix(err, "entry %s", sm_quote(s.name, n));
    return st;
}

sm_status sm_npz_read_mem(const char *name, const void *p, size_t n, sm_arrays *out, sm_err *err) {
    zip_error_t ze;
    *out = (sm_arrays){0};
    sm_status st = SM_OK;
    zip_error_init(&ze);
    if (n < END_RECORD) /* which libzip takes for an archive to be made */
        return SM_FAIL(err, SM_BADINPUT, "%s: not a zip archive", name);
    zip_source_t *src = zip_source_buffer_create(p, n, 0, &ze);
    zip_t *z = src == NULL ? NULL : zip_open_from_source(src, ZIP_RDONLY, &ze);
    if (z == NULL) {
        st = SM_FAIL(err, SM_BADINPUT, "%s", zip_error_strerror(&ze));
        zip_source_free(src);
    }
    zip_int64_t count = z == NULL ? 0 : zip_get_num_entries(z, 0);
    for (zip_int64_t i = 0; i < count && st == SM_OK; i++)
        st = read_entry(z, (zip_uint64_t)i, n, out, err);
    if (z != NULL)
        zip_discard(z);
    zip_error_fini(&ze);
    if (st != SM_OK) {
        sm_arrays_free(out);
        sm_err_prefix(err, "%s", name);
    }
    return st;
}

sm_status sm_npz_read(const char *path, sm_arrays *out, sm_err *err) {
    sm_mapfile m;
    *out = (sm_arrays){0};
    SM_TRY(sm_mapfile_open(path, &m, err));
    sm_status st = sm_npz_read_mem(path, m.p, m.n, out, err);
    sm_mapfile_close(&m);
    return st;
}

/* ------------------------------------------------------------------ writing */

/* Preamble and dictionary, padded so that the elements begin at a multiple of 64. */
static sm_status make_header(const sm_array *a, sm_str *s, sm_err *err) {
    const char *descr = NULL;
    for (size_t i = 0; i < SM_ARRAY_LEN(descrs); i++)
        if (descrs[i].t == a->dtype)
            descr = descrs[i].name;
    if (descr == NULL)
        return SM_FAIL(err, SM_UNSUPPORTED, "array '%s': NumPy has no %s", a->name, sm_dtype_name(a->dtype));
    sm_str_add(s, "\x93NUMPY\x01\x00\x00\x00", 10);
    sm_str_addf(s, "{'descr': '%c%s', 'fortran_order': False, 'shape': (", descr[1] == '1' ? '|' : '<', descr);
    for (int d = 0; d < a->rank; d++)
        sm_str_addf(s, "%s%" PRId64 "%s", d > 0 ? " " : "", a->dims[d], a->rank == 1 || d < a->rank - 1 ? "," : "");
    sm_str_adds(s, "), }");
    while (sm_str_ok(s) && s->n % 64 != 63)
        sm_str_addc(s, ' ');
    sm_str_addc(s, '\n');
    if (!sm_str_ok(s))
        return SM_NOMEM(err);
    s->p[8] = (char)((s->n - 10) & 255);
    s->p[9] = (char)((s->n - 10) >> 8);
    return SM_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(const sm_array *const *)a)->name, (*(const sm_array *const *)b)->name);
}

static sm_status add_array(zip_t *z, const sm_array *a, const sm_str *header, sm_err *err) {
    zip_buffer_fragment_t frag[2] = {{(zip_uint8_t *)header->p, header->n},
                                     {a->data, sm_dtype_size(a->dtype, sm_array_numel(a))}};
    sm_str name = SM_STR_INIT;
    zip_error_t ze;
    zip_error_init(&ze);
    sm_str_adds(&name, a->name);
    sm_str_adds(&name, ".npy");
    zip_source_t *src =
        sm_str_ok(&name) ? zip_source_buffer_fragment_create(frag, frag[1].length > 0 ? 2 : 1, 0, &ze) : NULL;
    zip_int64_t i = src == NULL ? -1 : zip_file_add(z, name.p, src, ZIP_FL_ENC_UTF_8);
    sm_status st = SM_OK;
    if (i < 0) {
        st = SM_FAIL(err, SM_RESOURCE, "array '%s': %s", a->name, src == NULL ? "out of memory" : zip_strerror(z));
        zip_source_free(src);
    } else if (zip_set_file_compression(z, (zip_uint64_t)i, ZIP_CM_STORE, 0) != 0 ||
               zip_file_set_dostime(z, (zip_uint64_t)i, 0, 0x21, 0) != 0) { /* 1980-01-01 */
        st = SM_FAIL(err, SM_RESOURCE, "array '%s': %s", a->name, zip_strerror(z));
    }
    zip_error_fini(&ze);
    sm_str_free(&name);
    return st;
}

/* The archive that libzip left in its memory source into the file. */
static sm_status drain(zip_source_t *src, const char *path, sm_err *err) {
    sm_outfile *f = NULL;
    uint8_t *buf = sm_alloc((size_t)1 << 20);
    zip_int64_t n;
    sm_status st = SM_OK;
    if (buf == NULL)
        return SM_NOMEM(err);
    if (zip_source_open(src) != 0) {
        st = SM_FAIL(err, SM_RESOURCE, "%s", zip_error_strerror(zip_source_error(src)));
        goto done;
    }
    SM_TRY_DONE(sm_outfile_new(path, &f, err));
    while ((n = zip_source_read(src, buf, (zip_uint64_t)1 << 20)) > 0)
        SM_TRY_DONE(sm_outfile_append(f, buf, (size_t)n, err));
    if (n < 0)
        st = SM_FAIL(err, SM_RESOURCE, "%s", zip_error_strerror(zip_source_error(src)));
    else
        st = sm_outfile_commit(&f, err);
done:
    sm_outfile_abandon(&f);
    sm_free(buf);
    return st;
}

static sm_status write_sorted(const sm_array *const *v, sm_str *headers, size_t n, const char *path, sm_err *err) {
    zip_error_t ze;
    zip_error_init(&ze);
    sm_status st = SM_OK;
    zip_source_t *src = zip_source_buffer_create(NULL, 0, 0, &ze);
    zip_t *z = src == NULL ? NULL : zip_open_from_source(src, ZIP_TRUNCATE, &ze);
    if (z == NULL) {
        st = SM_FAIL(err, SM_RESOURCE, "%s", zip_error_strerror(&ze));
        zip_source_free(src);
        zip_error_fini(&ze);
        return st;
    }
    zip_source_keep(src);
    for (size_t i = 0; i < n && st == SM_OK; i++) {
        st = i > 0 && strcmp(v[i]->name, v[i - 1]->name) == 0
                 ? SM_FAIL(err, SM_BADINPUT, "two arrays are called '%s'", v[i]->name)
                 : make_header(v[i], &headers[i], err);
        if (st == SM_OK)
            st = add_array(z, v[i], &headers[i], err);
    }
    if (st != SM_OK) {
        zip_discard(z);
    } else if (zip_close(z) != 0) {
        st = SM_FAIL(err, SM_RESOURCE, "%s", zip_strerror(z));
        zip_discard(z);
    } else {
        st = drain(src, path, err);
    }
    zip_source_free(src);
    zip_error_fini(&ze);
    return st;
}

/* libzip deletes an archive without entries instead of writing it: the end record alone. */
static sm_status write_empty(const char *path, sm_err *err) {
    static const uint8_t end[END_RECORD] = {'P', 'K', 5, 6};
    sm_outfile *f = NULL;
    SM_TRY(sm_outfile_new(path, &f, err));
    sm_status st = sm_outfile_append(f, end, sizeof end, err);
    if (st == SM_OK)
        st = sm_outfile_commit(&f, err);
    sm_outfile_abandon(&f);
    return st;
}

sm_status sm_npz_write(const char *path, const sm_arrays *in, sm_err *err) {
    const sm_array **v = sm_alloc_n(in->n, sizeof *v);
    sm_str *headers = sm_alloc_n(in->n, sizeof *headers);
    sm_status st = v == NULL || headers == NULL ? SM_NOMEM(err) : SM_OK;
    for (size_t i = 0; i < in->n && st == SM_OK; i++) {
        v[i] = &in->v[i];
        if (v[i]->name == NULL)
            st = SM_FAIL(err, SM_BADINPUT, "an array without a name");
    }
    if (st == SM_OK) {
        qsort(v, in->n, sizeof *v, by_name);
        st = in->n == 0 ? write_empty(path, err) : write_sorted(v, headers, in->n, path, err);
    }
    if (st != SM_OK)
        sm_err_prefix(err, "%s", path);
    for (size_t i = 0; headers != NULL && i < in->n; i++)
        sm_str_free(&headers[i]);
    sm_free(headers);
    sm_free((void *)v);
    return st;
}
