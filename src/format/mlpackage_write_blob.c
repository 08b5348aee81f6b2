/* SPDX-License-Identifier: MIT
 *
 * mlpackage_write_blob.c: constants into the weight file, a few rows at a time.
 *
 *     plan      the parts that the wanted encoding has, their shapes in the file, and which of them are blobs
 *     reserve   a blob per part, sizes known from sm_enc_sizes
 *     fill      source bytes as they are when nothing changes, else chunks of rows through sm_transcode_rows, to all
 *               parts side by side
 *
 * Memory is one chunk a thread whatever the model's size: source pages are released behind the writer.  Chunks go to all
 * threads; their borders, and so the sums of errors, do not depend on how many there are.  A source that is asked for
 * again in the same form is already there; so are equal small dense constants (the zero bias of every linear of a width).
 */
#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/log.h"
#include "format/mlpackage_int.h"

#define SLAB_BYTES ((size_t)4 << 20)    /* copied at a time */
#define CHUNK_LEAST ((uint64_t)1 << 16) /* weights transcoded at a time by one thread: a share of the tensor's, */
#define CHUNK_MOST ((uint64_t)1 << 18)  /* so that small ones go to all threads and large ones in few calls */
#define CHUNK_SHARE 32
#define RELEASE_BYTES ((uint64_t)2 << 20) /* source pages given back at a time: every time stops the other threads */
#define ROOM_ALIGN 128                    /* between what two threads write */
#define SHARE_BYTES ((size_t)64 << 10)    /* dense constants up to this size are shared by content */
#define BLOB_ELEMS 10                     /* fewer elements are immediate values */

/* ------------------------------------------------------------------ plan */

static bool may_be_blob(sm_dtype t, int opset) {
    switch (t) {
    case SM_FP16:
    case SM_FP32:
    case SM_INT8:
    case SM_UINT8:
        return true;
    default:
        return opset >= 9 && sm_dtype_blob(t) != 0;
    }
}

static uint64_t part_numel(const sm_pkg_part *p) {
    uint64_t n = 1;
    for (int a = 0; a < p->rank; a++)
        n *= (uint64_t)p->dims[a];
    return n;
}

static void make_flat(sm_pkg_part *p, uint64_t n) {
    p->rank = 1;
    p->dims[0] = (int64_t)n;
}

/* Shapes of the parts in the file, and where they go. */
static void plan_parts(const sm_const *c, int opset, bool flat, const size_t bytes[SM_PART_COUNT], sm_pkg_placed *out) {
    sm_const whole = *c;
    sm_tensor_unfold(&whole.src, &whole.want);
    *out = (sm_pkg_placed){0};
    for (int k = 0; k < SM_PART_COUNT; k++) {
        sm_pkg_part *p = &out->part[k];
        p->rank = sm_enc_part_shape(&whole.want, k, whole.src.rank, whole.src.dims, p->dims);
        if (p->rank < 0)
            continue;
        p->dtype = sm_enc_part_dtype(&c->want, k);
        uint64_t n = part_numel(p);
        if (flat && k == SM_PART_DATA && c->want.id == SM_ENC_LUT) {
            p->dtype = SM_UINT8;
            make_flat(p, bytes[k]);
        } else if (flat && k != SM_PART_DATA && n == 1) {
            p->rank = 0;
        } else if (flat && k != SM_PART_DATA) {
            make_flat(p, n);
        }
        if (flat && k == SM_PART_LUT)
            make_flat(p, n);
        p->blob = part_numel(p) >= BLOB_ELEMS && may_be_blob(p->dtype, opset);
    }
}

/* What must be equal for two constants to be one blob. */
static void sharing_key(const sm_const *c, int opset, bool flat, sm_str *key) {
    char enc[256];
    for (int k = 0; k < SM_PART_COUNT; k++)
        sm_str_addf(key, "%p:%zu,", (const void *)c->src.part[k].p, c->src.part[k].n);
    sm_str_addf(key, "%d,", (int)c->src.deinterleave);
    sm_str_adds(key, sm_enc_print(&c->src.enc, c->src.rank, enc, sizeof enc));
    sm_str_addf(key, ",%s>", sm_dtype_name(c->src.dtype));
    sm_str_adds(key, sm_enc_print(&c->want, c->src.rank, enc, sizeof enc));
    sm_str_addf(key, ",%s,%d,%d", sm_dtype_name(c->want_dtype), flat, opset >= 9);
    for (int a = 0; a < c->src.rank; a++)
        sm_str_addf(key, ",%" PRId64, c->src.dims[a]);
    sm_str_addf(key, "+%d", c->src.ones);
}

/* ------------------------------------------------------------------ fill */

typedef struct filler {
    sm_pkg_writer *w;
    const sm_const *c;
    sm_pkg_placed *placed;
    uint64_t data[SM_PART_COUNT]; /* offset of each blob's data */
    size_t bytes[SM_PART_COUNT];
    sm_carry how;
    bool as_is;  /* the source's bytes are what is wanted */
    bool shared; /* with an equal constant */
    sm_xerr xerr;
    sm_err *err;
} filler;

/* Bytes [from, to) of a part of the source were read for the last time. */
static void release(const filler *f, int k, uint64_t from, uint64_t to) {
    if (to > from)
        sm_mapfile_release(f->c->src.part[k].p + from, (size_t)(to - from));
}

static void tell_source(const filler *f, int k, uint64_t at) {
    const sm_pkg_write_opts *o = f->w->o;
    if (o != NULL && o->on_source != NULL && at > 0)
        o->on_source(o->ctx, f->c->src.part[k].p + at - 1);
}

/* n bytes of part k from its byte `at` on.  Any thread. */
static sm_status put_bytes(const filler *f, int k, uint64_t at, const uint8_t *p, size_t n, sm_err *err) {
    const sm_pkg_part *part = &f->placed->part[k];
    if (sm_cancelled())
        return SM_FAIL(err, SM_CANCELLED, "cancelled");
    if (n == 0)
        return SM_OK;
    if (part->blob)
        return sm_outfile_write(f->w->blobs.file, f->data[k] + at, p, n, err);
    memcpy(part->bytes + at, p, n);
    return SM_OK;
}

static void add_progress(filler *f, uint64_t n) {
    if (f->w->progress != NULL)
        sm_progress_add(f->w->progress, n);
}

/* The source is already what is wanted. */
static sm_status copy_parts(filler *f) {
    for (int k = 0; k < SM_PART_COUNT; k++)
        for (size_t at = 0, n; at < f->bytes[k]; at += n) {
            n = SM_MIN(f->bytes[k] - at, SLAB_BYTES);
            SM_TRY(put_bytes(f, k, at, f->c->src.part[k].p + at, n, f->err));
            release(f, k, at, at + n);
            tell_source(f, k, at + n);
            add_progress(f, n);
        }
    f->xerr.n = sm_tensor_numel(&f->c->src);
    return SM_OK;
}

/* Bytes of the first n rows of part k; n is a multiple of 8 or all rows, so that sub-byte rows end on a byte. */
static uint64_t rows_bytes(const filler *f, int k, uint64_t n) {
    const sm_tensor *src = &f->c->src;
    int64_t shape[SM_MAX_RANK + 2];
    uint64_t rows = sm_tensor_rows(src), numel = 1;
    if (n == rows || f->bytes[k] == 0)
        return n == 0 ? 0 : f->bytes[k];
    int rank = sm_enc_part_shape(&f->c->want, k, src->rank, src->dims, shape);
    for (int a = 0; a < rank; a++)
        numel *= (uint64_t)shape[a];
    return sm_dtype_size(sm_enc_part_dtype(&f->c->want, k), numel / rows * n);
}

/* The chunks of one tensor: taken in turn by all threads, each of which writes what it has made while it is in its
 * cache.  A failure ends the taking; of several the first chunk's is told, as one thread would. */
typedef struct chunks {
    filler *f;
    uint64_t rows, step, n; /* rows of a chunk (a multiple of 8), chunks */
    size_t room[SM_PART_COUNT];
    uint8_t *buf[SM_PART_COUNT]; /* a room for each thread; tables are shared */
    sm_xerr *xerr;               /* of each chunk: their sum does not depend on who made them */
    atomic_uint_fast64_t next, written;
    atomic_bool failed;
    pthread_mutex_t lock; /* of what follows */
    sm_status st;
    uint64_t st_chunk;
    sm_err err;
} chunks;

static void fail_chunk(chunks *c, uint64_t i, sm_status st, const sm_err *err) {
    pthread_mutex_lock(&c->lock);
    if (c->st == SM_OK || i < c->st_chunk) {
        c->st = st;
        c->st_chunk = i;
        c->err = *err;
    }
    pthread_mutex_unlock(&c->lock);
    atomic_store(&c->failed, true);
}

/* Rows stored in another order are read from all over the tensor: their pages stay until it is through. */
static void chunk_read(chunks *c, uint64_t row, uint64_t n) {
    const sm_tensor *src = &c->f->c->src;
    if (src->deinterleave != 0)
        return;
    for (int k = 0; k < SM_PART_LUT; k++) {
        uint64_t bytes = src->part[k].n / c->rows;
        /* Of the whole stretches that end in this chunk; what is left goes with the tensor. */
        release(c->f, k, row * bytes / RELEASE_BYTES * RELEASE_BYTES,
                (row + n) * bytes / RELEASE_BYTES * RELEASE_BYTES);
    }
    pthread_mutex_lock(&c->lock);
    tell_source(c->f, SM_PART_DATA, (row + n) * (src->part[SM_PART_DATA].n / c->rows));
    pthread_mutex_unlock(&c->lock);
}

static sm_status transcode_chunk(chunks *c, uint64_t i, int ith, sm_err *err) {
    const filler *f = c->f;
    uint64_t row = i * c->step, n = SM_MIN(c->step, c->rows - row), sum = 0;
    uint8_t *out[SM_PART_COUNT];
    for (int k = 0; k < SM_PART_COUNT; k++)
        out[k] = c->buf[k] == NULL || k == SM_PART_LUT ? c->buf[k] : c->buf[k] + (size_t)ith * c->room[k];
    SM_TRY(sm_transcode_rows(&f->c->src, &f->c->want, f->c->want_dtype, row, n, out, &c->xerr[i], err));
    for (int k = 0; k < SM_PART_COUNT; k++) {
        if (k == SM_PART_LUT)
            continue;
        uint64_t from = rows_bytes(f, k, row), to = rows_bytes(f, k, row + n);
        SM_TRY(put_bytes(f, k, from, out[k], (size_t)(to - from), err));
        sum += to - from;
    }
    atomic_fetch_add(&c->written, sum);
    chunk_read(c, row, n);
    return SM_OK;
}

static void transcode_chunks(void *ctx, int ith, int nth) {
    chunks *c = ctx;
    sm_err err = {0};
    (void)nth;
    for (;;) {
        uint64_t i = atomic_fetch_add(&c->next, 1);
        if (i >= c->n || atomic_load(&c->failed))
            return;
        sm_status st = transcode_chunk(c, i, ith, &err);
        if (st != SM_OK)
            fail_chunk(c, i, st, &err);
        if (ith == 0) {
            add_progress(c->f, atomic_exchange(&c->written, 0));
        }
    }
}

static sm_status need_pool(filler *f) {
    sm_pkg_writer *w = f->w;
    return w->pool != NULL ? SM_OK : sm_pool_new(w->o == NULL ? 0 : w->o->threads, &w->pool, f->err);
}

static sm_status make_rooms(chunks *c, int threads) {
    filler *f = c->f;
    c->xerr = sm_alloc_n((size_t)c->n, sizeof *c->xerr);
    if (c->xerr == NULL && c->n > 0)
        return SM_NOMEM(f->err);
    for (int k = 0; k < SM_PART_COUNT; k++) {
        if (f->bytes[k] == 0)
            continue;
        c->room[k] = k == SM_PART_LUT ? f->bytes[k] : (size_t)rows_bytes(f, k, SM_MIN(c->step, c->rows));
        c->room[k] = (c->room[k] + ROOM_ALIGN - 1) / ROOM_ALIGN * ROOM_ALIGN;
        c->buf[k] = sm_alloc_n(k == SM_PART_LUT ? 1 : (size_t)threads, c->room[k]);
        if (c->buf[k] == NULL)
            return SM_NOMEM(f->err);
    }
    return SM_OK;
}

static sm_status run_chunks(chunks *c) {
    filler *f = c->f;
    if (c->n > 1)
        sm_pool_run(f->w->pool, transcode_chunks, c);
    else
        transcode_chunks(c, 0, 1);
    add_progress(f, atomic_exchange(&c->written, 0));
    sm_mem_sample();
    if (c->st != SM_OK && f->err != NULL)
        *f->err = c->err;
    for (uint64_t i = 0; i < c->n && c->st == SM_OK; i++)
        sm_xerr_add(&f->xerr, &c->xerr[i]);
    return c->st;
}

/* Row by row; sm_transcode_how has accepted the pair, so that every part is contiguous in rows. */
static sm_status transcode_parts(filler *f) {
    const sm_tensor *src = &f->c->src;
    uint64_t cols = (uint64_t)SM_MAX(sm_tensor_cols(src), 1);
    bool tables = sm_transcode_has_tables(src, &f->c->want);
    sm_status st = SM_OK;
    chunks *c = sm_alloc(sizeof *c);
    if (c == NULL)
        return SM_NOMEM(f->err);
    pthread_mutex_init(&c->lock, NULL);
    c->f = f;
    c->rows = sm_tensor_rows(src);
    uint64_t elems = SM_MIN(SM_MAX(c->rows * cols / CHUNK_SHARE, CHUNK_LEAST), CHUNK_MOST);
    c->step = SM_MAX(elems / cols / 8 * 8, (uint64_t)8);
    c->n = (c->rows + c->step - 1) / c->step;
    if (c->n > 1 || tables)
        SM_TRY_DONE(need_pool(f));
    SM_TRY_DONE(make_rooms(c, c->n > 1 ? sm_pool_size(f->w->pool) : 1));
    if (tables) {
        SM_TRY_DONE(sm_transcode_tables(src, &f->c->want, f->w->pool, c->buf, f->err));
        SM_TRY_DONE(put_bytes(f, SM_PART_LUT, 0, c->buf[SM_PART_LUT], f->bytes[SM_PART_LUT], f->err));
        add_progress(f, f->bytes[SM_PART_LUT]);
    }
    st = run_chunks(c);
done:
    for (int k = 0; k < SM_PART_COUNT; k++)
        sm_free(c->buf[k]);
    sm_free(c->xerr);
    pthread_mutex_destroy(&c->lock);
    sm_free(c);
    return st;
}

/* ------------------------------------------------------------------ place */

/* Small dense constants: bytes first, then shared by content. */
static sm_status place_small(filler *f) {
    sm_pkg_part *p = &f->placed->part[SM_PART_DATA];
    size_t n = f->bytes[SM_PART_DATA];
    int64_t at;
    char *key = sm_arena_alloc(f->w->a, n + 1);
    if (key == NULL || !SM_GROW(&f->w->records))
        return SM_NOMEM(f->err);
    p->blob = false;
    p->bytes = (uint8_t *)key + 1;
    SM_TRY(f->as_is ? copy_parts(f) : transcode_parts(f));
    p->blob = true;
    key[0] = (char)p->dtype;
    if (sm_map_get(f->w->bytes_of, (sm_sv){key, n + 1}, &at)) {
        p->record = f->w->records.v[at];
        f->shared = true;
        return SM_OK;
    }
    SM_TRY(sm_blobout_add(&f->w->blobs, p->dtype, part_numel(p), &p->record, &f->data[0], f->err));
    SM_TRY(sm_outfile_write(f->w->blobs.file, f->data[0], p->bytes, n, f->err));
    f->w->records.v[f->w->records.n++] = p->record;
    if (!sm_map_put(f->w->bytes_of, (sm_sv){key, n + 1}, (int64_t)f->w->records.n - 1, NULL, NULL))
        return SM_NOMEM(f->err);
    return SM_OK;
}

static sm_status place_new(filler *f) {
    const sm_const *c = f->c;
    SM_TRY(sm_transcode_how(&c->src, &c->want, &f->how, f->err));
    f->as_is = f->how == SM_CARRY_SAME && c->src.deinterleave == 0;
    if (c->want.id == SM_ENC_DENSE && f->placed->part[SM_PART_DATA].blob && f->bytes[SM_PART_DATA] <= SHARE_BYTES)
        return place_small(f);
    for (int k = 0; k < SM_PART_COUNT; k++) {
        sm_pkg_part *p = &f->placed->part[k];
        if (p->dtype == SM_NONE)
            continue;
        if (p->blob) {
            SM_TRY(sm_blobout_add(&f->w->blobs, p->dtype, part_numel(p), &p->record, &f->data[k], f->err));
        } else {
            p->bytes = sm_arena_alloc(f->w->a, f->bytes[k] + 1);
            if (p->bytes == NULL)
                return SM_NOMEM(f->err);
        }
    }
    SM_TRY(f->as_is ? copy_parts(f) : transcode_parts(f));
    for (int k = 0; k < SM_PART_COUNT; k++)
        release(f, k, 0, c->src.part[k].n);
    tell_source(f, SM_PART_DATA, c->src.part[SM_PART_DATA].n);
    sm_mem_sample();
    return SM_OK;
}

static void report(const filler *f, const char *name) {
    const sm_pkg_write_opts *o = f->w->o;
    sm_pkg_tensor_report r = {
        .name = name, .c = f->c, .how = f->how, .err = f->xerr, .src_bytes = sm_tensor_bytes(&f->c->src)};
    bool blob = false;
    for (int k = 0; k < SM_PART_COUNT; k++) {
        r.out_bytes += f->bytes[k];
        blob = blob || f->placed->part[k].blob;
    }
    if (name != NULL && blob && !f->shared && o != NULL && o->on_tensor != NULL)
        o->on_tensor(o->ctx, &r);
}

sm_status sm_pkg_place(sm_pkg_writer *w, const sm_const *c, const char *name, int opset, bool flat, sm_pkg_placed *out,
                       sm_err *err) {
    filler f = {.w = w, .c = c, .placed = out, .err = err};
    sm_str key = SM_STR_INIT;
    int64_t at;
    sm_status st = SM_OK;
    SM_TRY_DONE(sm_enc_sizes(&c->want, c->src.rank, c->src.dims, f.bytes, err));
    plan_parts(c, opset, flat, f.bytes, out);
    sharing_key(c, opset, flat, &key);
    char *kept = sm_str_ok(&key) ? sm_arena_strndup(w->a, key.p, key.n) : NULL;
    if (kept == NULL || !SM_GROW(&w->placed)) {
        st = SM_NOMEM(err);
        goto done;
    }
    if (sm_map_get(w->placed_of, (sm_sv){kept, key.n}, &at)) {
        *out = w->placed.v[at];
        goto done;
    }
    SM_TRY_DONE(place_new(&f));
    w->placed.v[w->placed.n++] = *out;
    if (!sm_map_put(w->placed_of, (sm_sv){kept, key.n}, (int64_t)w->placed.n - 1, NULL, NULL))
        st = SM_NOMEM(err);
    else
        report(&f, name);
done:
    sm_str_free(&key);
    if (st != SM_OK && name != NULL)
        sm_err_prefix(err, "constant '%s'", name);
    return st;
}
