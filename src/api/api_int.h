/* SPDX-License-Identifier: MIT
 *
 * api_int.h: what the files that implement smelt.h share.
 *
 * The room translates between the public structs and the rooms' own, and owns nothing else: what a public call does is
 * said where the room says it.  Public structs are copied by the size their caller gave, so that fields it does not know
 * are zero.
 */
#ifndef SM_API_INT_H
#define SM_API_INT_H

#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "job/load.h"
#include "smelt.h"

struct smelt_model {
    sm_loaded *l;
    char *path;
};

/* Fills the public error from a room's and returns the code. */
smelt_status api_give(smelt_status code, const sm_err *e, smelt_error *out);
#define GIVE(st, e, out) api_give((smelt_status)(st), (e), (out))

/* Copies what the caller's header knew of an options struct; the rest stays zero. */
#define TAKE_OPTIONS(dst, src)                                                                                         \
    do {                                                                                                               \
        memset(&(dst), 0, sizeof(dst));                                                                                \
        if (src)                                                                                                       \
            memcpy(&(dst), (src), SM_MIN((src)->size, sizeof(dst)));                                                   \
    } while (0)

/* Hands a string over: terminated, never NULL.  *s is empty afterwards. */
sm_status api_hand_over(sm_str *s, char **text, size_t *n, sm_err *e);

#endif
