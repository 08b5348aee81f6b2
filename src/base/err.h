/* SPDX-License-Identifier: MIT
 *
 * err.h: the one error channel.
 *
 * Every function that can fail returns sm_status: 0 is success, negative is failure.  The last parameter is an
 * sm_err * that receives code, message and place; it may be NULL when the caller only wants the status.  The
 * negated status is the process's exit code (docs/cli), except SM_CANCELLED (130).
 *
 *     if (n > max)
 *         return SM_FAIL(err, SM_BADINPUT, "%s: tensor '%s' at offset %zu: wanted at most %d dims, found %u", ...);
 *     SM_TRY(sm_thing_read(t, err));                 // hands a failure on, filled in by the callee
 *
 * Messages for bad input name file, field, offset, wanted and found.  A bug in smelt itself is an assert, not an
 * error.  Nothing below cli/ prints an error or exits.
 *
 * Threads: an sm_err belongs to one thread.
 */
#ifndef SM_ERR_H
#define SM_ERR_H

typedef enum sm_status {
    SM_OK = 0,
    SM_FAILED = -1,      /* a check ran and found a difference */
    SM_USAGE = -2,       /* wrong arguments */
    SM_BADINPUT = -3,    /* missing or malformed input */
    SM_UNSUPPORTED = -4, /* well-formed, but not supported here: the message says what is missing and what to do */
    SM_RESOURCE = -5,    /* memory, disk, context length */
    SM_CANCELLED = -6,   /* the user stopped it */
} sm_status;

typedef struct sm_err {
    sm_status code;
    char msg[768];    /* one line, no trailing newline or full stop */
    char hint[256];   /* what to do next; empty when there is nothing useful to say */
    const char *file; /* place in smelt's sources, for debug output */
    int line;
} sm_err;

#if defined(__GNUC__)
#define SM_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define SM_PRINTF(fmt, args)
#endif

/* Fills *err (if not NULL) and returns code.  Use through SM_FAIL. */
sm_status sm_err_set(sm_err *err, sm_status code, const char *file, int line, const char *fmt, ...) SM_PRINTF(5, 6);

/* Adds or replaces the hint of a failure; returns err->code (SM_OK when err is NULL). */
sm_status sm_err_hint(sm_err *err, const char *fmt, ...) SM_PRINTF(2, 3);

/* Puts "prefix: " before the message, as a failure passes a level that knows more (a file name, a command). */
void sm_err_prefix(sm_err *err, const char *fmt, ...) SM_PRINTF(2, 3);

void sm_err_clear(sm_err *err);

/* Exit code for a status: 0, 1..5, or 130. */
int sm_exit_code(sm_status st);

#define SM_FAIL(err, code, ...) sm_err_set((err), (code), __FILE__, __LINE__, __VA_ARGS__)
#define SM_NOMEM(err) SM_FAIL((err), SM_RESOURCE, "out of memory")
#define SM_TRY(call)                                                                                                   \
    do {                                                                                                               \
        sm_status sm_try_st_ = (call);                                                                                 \
        if (sm_try_st_ != SM_OK)                                                                                       \
            return sm_try_st_;                                                                                         \
    } while (0)
/* The same inside functions with one cleanup label `done:` and a local `sm_status st`. */
#define SM_TRY_DONE(call)                                                                                              \
    do {                                                                                                               \
        st = (call);                                                                                                   \
        if (st != SM_OK)                                                                                               \
            goto done;                                                                                                 \
    } while (0)

#endif
