/* SPDX-License-Identifier: MIT
 *
 * dtype_int.h: the float codecs as inline functions, for loops inside this room.
 *
 * Written without data-dependent branches, so that compilers turn the loops over them into vector code, and without
 * subnormal f32 operands, so that a thread that flushes those to zero still gets the same bytes.
 */
#ifndef SM_DTYPE_INT_H
#define SM_DTYPE_INT_H

#include <string.h>

#include "tensor/dtype.h"

static inline uint32_t f32_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static inline float f32_of_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static inline float f16_to_f32(uint16_t h) {
    uint32_t mag = (uint32_t)(h & 0x7FFF) << 13;
    uint32_t normal = mag + (112u << 23); /* exponent bias 15 -> 127 */
    /* A subnormal is m * 2^-24: put m behind the leading one of 2^-14, then take that one away. */
    uint32_t tiny = f32_bits(f32_of_bits(mag + (113u << 23)) - f32_of_bits(113u << 23));
    uint32_t special = mag | (255u << 23) | ((uint32_t)(mag > (31u << 23)) << 22); /* a NaN becomes a quiet one */
    uint32_t u = mag < (1u << 23) ? tiny : normal;
    u = mag >= (31u << 23) ? special : u;
    return f32_of_bits(u | (uint32_t)(h & 0x8000) << 16);
}

static inline uint16_t f32_to_f16(float f) {
    uint32_t u = f32_bits(f), mag = u & 0x7FFFFFFF;
    uint32_t normal = (mag - (112u << 23) + 0xFFF + (mag >> 13 & 1)) >> 13;
    /* Below 2^-14 the result counts units of 2^-24: adding 0.5 rounds to that unit (its ulp is 2^-24). */
    uint32_t small = mag < 0x38800000u ? mag : 0;
    uint32_t tiny = f32_bits(f32_of_bits(small) + 0.5f) - 0x3F000000u;
    uint32_t special = mag > 0x7F800000u ? 0x7E00u | (mag >> 13 & 0x3FF) : 0x7C00u;
    uint32_t r = mag < 0x38800000u ? tiny : normal;
    r = mag >= 0x47800000u ? special : r;
    return (uint16_t)(r | (u >> 16 & 0x8000));
}

static inline float bf16_to_f32(uint16_t h) {
    return f32_of_bits((uint32_t)h << 16);
}

static inline uint16_t f32_to_bf16(float f) {
    uint32_t u = f32_bits(f);
    if ((u & 0x7FFFFFFF) > 0x7F800000u)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7FFF + (u >> 16 & 1)) >> 16);
}

/* fp16 at an address of any alignment. */
static inline float f16_at(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, 2);
    return f16_to_f32(h);
}

#endif
