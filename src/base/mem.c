/* SPDX-License-Identifier: MIT
 *
 * mem.c: allocation with a failure switch, arenas, views.
 *
 * Arena chunks come zeroed and are never reused, so handing out is a pointer bump.  They double from 4 KiB to 1 MiB;
 * a request larger than the next chunk gets one of its own behind the current one, which stays in use.  Under ASan a
 * chunk starts poisoned, each hand-out opens its exact bytes, and 16 bytes stay closed between two of them.
 *
 *     arena -> chunk (current) -> chunk -> chunk      head | aaaaaaaa.|bbb.....|            |
 *                                                                             ^ used       ^ size
 *
 * Owns its chunks.  Threads: the counters are atomic, an arena belongs to one thread at a time.
 */
#include "base/mem.h"

#include <assert.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif

#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>

#define GAP ((size_t)16)
#define CLOSE(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define OPEN(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define GAP ((size_t)0)
#define CLOSE(p, n) ((void)(p), (void)(n))
#define OPEN(p, n) ((void)(p), (void)(n))
#endif

/* ---- heap ------------------------------------------------------------------------------------------------------ */

static atomic_long alloc_count;
static atomic_long fail_in = -1; /* successes left before the one that fails; negative: off */

/* Counts one allocation; true when it was told to fail. */
static bool told_to_fail(void) {
    atomic_fetch_add_explicit(&alloc_count, 1, memory_order_relaxed);
    long left = atomic_load_explicit(&fail_in, memory_order_relaxed);
    while (left >= 0)
        if (atomic_compare_exchange_weak_explicit(&fail_in, &left, left - 1, memory_order_relaxed,
                                                  memory_order_relaxed))
            return left == 0;
    return false;
}

void *sm_alloc(size_t n) {
    return told_to_fail() ? NULL : calloc(1, n ? n : 1);
}

void *sm_alloc_n(size_t count, size_t size) {
    size_t n;
    return sm_mul_ok(count, size, &n) ? sm_alloc(n) : NULL;
}

void *sm_realloc(void *p, size_t n) {
    return told_to_fail() ? NULL : realloc(p, n ? n : 1);
}

void sm_free(void *p) {
    free(p);
}

void *sm_alloc_aligned(size_t n, size_t align) {
    assert(align >= 64 && (align & (align - 1)) == 0);
    void *p = NULL;
    if (told_to_fail() || posix_memalign(&p, align, n ? n : 1) != 0)
        return NULL;
    return memset(p, 0, n);
}

void sm_free_aligned(void *p) {
    free(p);
}

void sm_alloc_fail_after(long n) {
    atomic_store(&fail_in, n < 0 ? -1 : n);
}

long sm_alloc_count(void) {
    return atomic_load(&alloc_count);
}

bool sm_grow_(void **v, size_t n, size_t *cap, size_t elem) {
    if (n < *cap)
        return true;
    size_t want = *cap < 8 ? 8 : *cap * 2, bytes;
    if (want <= *cap || !sm_mul_ok(want, elem, &bytes))
        return false;
    void *old;
    memcpy(&old, v, sizeof old); /* the caller's pointer has another type: copied, not aliased */
    void *grown = sm_realloc(old, bytes);
    if (!grown)
        return false;
    memcpy(v, &grown, sizeof grown);
    *cap = want;
    return true;
}

/* ---- arena ----------------------------------------------------------------------------------------------------- */

enum { ALIGN = 16, FIRST_CHUNK = 4 << 10, LAST_CHUNK = 1 << 20 };

typedef struct chunk {
    struct chunk *next;
    size_t used, size; /* of the bytes after the head */
} chunk;
#define HEAD ((sizeof(chunk) + ALIGN - 1) / ALIGN * ALIGN)

struct sm_arena {
    chunk *chunks; /* the first one is in use */
    size_t next_size;
    size_t bytes;
};

static char *chunk_data(chunk *c) {
    return (char *)c + HEAD;
}

static chunk *chunk_new(size_t size) {
    size_t n;
    if (!sm_add_ok(size, HEAD, &n))
        return NULL;
    chunk *c = sm_alloc(n);
    if (!c)
        return NULL;
    c->size = size;
    CLOSE(chunk_data(c), size);
    return c;
}

sm_arena *sm_arena_new(void) {
    sm_arena *a = sm_alloc(sizeof *a);
    if (a)
        a->next_size = FIRST_CHUNK;
    return a;
}

void sm_arena_free(sm_arena **a) {
    if (!a || !*a)
        return;
    for (chunk *c = (*a)->chunks, *next; c; c = next) {
        next = c->next;
        OPEN(chunk_data(c), c->size);
        sm_free(c);
    }
    sm_free(*a);
    *a = NULL;
}

void *sm_arena_alloc(sm_arena *a, size_t n) {
    size_t want;
    if (!sm_add_ok(n, GAP + ALIGN - 1, &want))
        return NULL;
    want = want / ALIGN * ALIGN;
    if (want == 0)
        want = ALIGN; /* no two hand-outs share an address */
    chunk *c = a->chunks;
    if (!c || c->size - c->used < want) {
        if (want > a->next_size / 2 && c) {
            c = chunk_new(want);
            if (!c)
                return NULL;
            c->next = a->chunks->next;
            a->chunks->next = c;
        } else {
            c = chunk_new(SM_MAX(want, a->next_size));
            if (!c)
                return NULL;
            c->next = a->chunks;
            a->chunks = c;
            if (a->next_size < LAST_CHUNK)
                a->next_size *= 2;
        }
    }
    char *p = chunk_data(c) + c->used;
    c->used += want;
    a->bytes += n;
    OPEN(p, n);
    return p;
}

void *sm_arena_alloc_n(sm_arena *a, size_t count, size_t size) {
    size_t n;
    return sm_mul_ok(count, size, &n) ? sm_arena_alloc(a, n) : NULL;
}

char *sm_arena_strndup(sm_arena *a, const char *s, size_t n) {
    size_t want;
    char *p = sm_add_ok(n, 1, &want) ? sm_arena_alloc(a, want) : NULL;
    if (p && n)
        memcpy(p, s, n);
    return p;
}

char *sm_arena_strdup(sm_arena *a, const char *s) {
    return sm_arena_strndup(a, s, strlen(s));
}

char *sm_arena_printf(sm_arena *a, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = sm_vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : sm_arena_alloc(a, (size_t)n + 1);
    if (!p)
        return NULL;
    va_start(ap, fmt);
    sm_vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}

size_t sm_arena_bytes(const sm_arena *a) {
    return a->bytes;
}

/* ---- views and sizes ------------------------------------------------------------------------------------------- */

sm_sv sm_sv_of(const char *s) {
    return s ? (sm_sv){s, strlen(s)} : (sm_sv){NULL, 0};
}

bool sm_sv_eq(sm_sv a, sm_sv b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool sm_sv_is(sm_sv a, const char *s) {
    return sm_sv_eq(a, sm_sv_of(s));
}

bool sm_mul_ok(size_t a, size_t b, size_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}

bool sm_add_ok(size_t a, size_t b, size_t *out) {
    return !__builtin_add_overflow(a, b, out);
}
