/* SPDX-License-Identifier: MIT
 *
 * peak_dotprod.c: the integer peak with SDOT: 16 products and their sums in one instruction.
 */
#include "backend/cpu/arm/peak_arm_int.h"

PEAK_LOOP(dotprod, vdotq_s32, 16)
