/* SPDX-License-Identifier: MIT
 *
 * pbwire.h: protobuf on the wire: a cursor over fields, and the check that makes unpacking safe.
 *
 * protobuf-c recurses once per nested message without limit, allocates what the bytes ask for, cuts strings at a zero
 * byte and merges a field given twice in quadratic time.  So bytes from a file go through sm_pb_check first, with the
 * descriptor of the message that they are to become: nesting, lengths, wire types, text, repetition and the memory that
 * the unpacked form will take are all known to be sound before protobuf-c sees them.
 */
#ifndef SM_PBWIRE_H
#define SM_PBWIRE_H

#include <protobuf-c/protobuf-c.h>

#include "base/err.h"
#include "base/mem.h"

#define SM_PB_DEPTH 64                   /* nested messages */
#define SM_PB_MEMORY ((uint64_t)2 << 30) /* bytes of the unpacked form */

typedef struct sm_pb_field {
    uint32_t number;
    int wire;       /* 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes */
    uint64_t value; /* wire 0 */
    sm_bytes bytes; /* wire 1, 2, 5 */
} sm_pb_field;
/* Next field of p[0, n) from *at on: 1 (a field), 0 (the end), -1 (malformed; *at is where it begins). */
int sm_pb_next(const uint8_t *p, size_t n, size_t *at, sm_pb_field *out);

/* Fails (SM_BADINPUT) unless p[0, n) is a sound message of type d; messages name `file`, field and offset. */
sm_status sm_pb_check(const char *file, const ProtobufCMessageDescriptor *d, const uint8_t *p, size_t n, sm_err *err);

/* Checks, then unpacks into the arena; nothing needs to be freed but the arena. */
sm_status sm_pb_unpack(const char *file, const ProtobufCMessageDescriptor *d, const uint8_t *p, size_t n, sm_arena *a,
                       ProtobufCMessage **out, sm_err *err);

#endif
