/* SPDX-License-Identifier: MIT
 *
 * mem.h: allocation that can be told to fail, arenas, byte views.
 *
 * All heap memory of smelt comes from sm_alloc/sm_realloc, so that a test can make the Nth call fail
 * (sm_alloc_fail_after) and a sweep can prove that every path survives it.  Libraries' own allocations are not ours.
 *
 * An arena is a chain of chunks freed together: one per graph, session or request.  It grows, never moves what it
 * gave out, and under ASan poisons what it has not given out.  Not thread-safe: one thread at a time.
 */
#ifndef SM_MEM_H
#define SM_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* n bytes, zeroed, aligned for any type; NULL when out of memory or told to fail.  n == 0 gives a valid pointer. */
void *sm_alloc(size_t n);
/* count * size with overflow check. */
void *sm_alloc_n(size_t count, size_t size);
/* Like realloc (contents kept, new tail not zeroed).  On NULL the old block stays. */
void *sm_realloc(void *p, size_t n);
void sm_free(void *p);
/* Aligned to `align` (power of two, at least 64): for kernels.  Free with sm_free_aligned. */
void *sm_alloc_aligned(size_t n, size_t align);
void sm_free_aligned(void *p);

/* Test hook: the allocation after `n` more successful ones fails, once; negative switches it off. */
void sm_alloc_fail_after(long n);
/* How many allocations were made so far (for the sweep's upper end). */
long sm_alloc_count(void);

typedef struct sm_arena sm_arena;
sm_arena *sm_arena_new(void);                                   /* NULL when out of memory */
void sm_arena_free(sm_arena **a);                               /* NULL-safe, nulls */
void *sm_arena_alloc(sm_arena *a, size_t n);                    /* zeroed, 16-aligned; NULL when out of memory */
void *sm_arena_alloc_n(sm_arena *a, size_t count, size_t size); /* with overflow check */
char *sm_arena_strdup(sm_arena *a, const char *s);              /* NULL when out of memory */
char *sm_arena_strndup(sm_arena *a, const char *s, size_t n);
char *sm_arena_printf(sm_arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
size_t sm_arena_bytes(const sm_arena *a); /* handed out so far */

/* Borrowed bytes; says nothing about lifetime: the header that returns one does. */
typedef struct sm_bytes {
    const uint8_t *p;
    size_t n;
} sm_bytes;

/* Borrowed text, not terminated. */
typedef struct sm_sv {
    const char *p;
    size_t n;
} sm_sv;
#define SM_SV(lit) ((sm_sv){(lit), sizeof(lit) - 1})
sm_sv sm_sv_of(const char *s); /* NULL gives an empty view */
bool sm_sv_eq(sm_sv a, sm_sv b);
bool sm_sv_is(sm_sv a, const char *s);

/* a * b and a + b without wrap: false when it does not fit. */
bool sm_mul_ok(size_t a, size_t b, size_t *out);
bool sm_add_ok(size_t a, size_t b, size_t *out);

#define SM_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define SM_MIN(a, b) ((a) < (b) ? (a) : (b))
#define SM_MAX(a, b) ((a) > (b) ? (a) : (b))

/* Grows a heap array {T *v; size_t n, cap;} so that one more element fits; false when out of memory. */
bool sm_grow_(void **v, size_t n, size_t *cap, size_t elem);
#define SM_GROW(a) sm_grow_((void **)&(a)->v, (a)->n, &(a)->cap, sizeof *(a)->v)

#endif
