/* SPDX-License-Identifier: MIT
 *
 * peak_i8mm.c: the integer peak with SMMLA: 32 products and their sums in one instruction.
 */
#include "backend/cpu/arm/peak_arm_int.h"

PEAK_LOOP(i8mm, vmmlaq_s32, 32)
