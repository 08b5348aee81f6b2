/* SPDX-License-Identifier: MIT
 *
 * words.c: words, names and numbers of the text form, for its printer and its parser.
 */
#include <stdio.h>
#include <string.h>

#include "graph/text_int.h"

bool sm_text_word_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
           c == '@' || c == ':';
}

bool sm_text_plain_name(sm_sv name) {
    static const char *const taken[] = {"true", "false", "inf", "nan", "tensor"};
    if (name.n == 0 || (name.p[0] >= '0' && name.p[0] <= '9') || name.p[0] == '.' || name.p[0] == ':')
        return false;
    for (size_t i = 0; i < name.n; i++)
        if (!sm_text_word_char(name.p[i]))
            return false;
    for (size_t i = 0; i < SM_ARRAY_LEN(taken); i++)
        if (sm_sv_is(name, taken[i]))
            return false;
    return sm_dtype_of_name(name) == SM_NONE;
}

double sm_text_round(sm_dtype t, double v) {
    switch (t) {
    case SM_FP16:
        return sm_f16_to_f32(sm_f32_to_f16((float)v));
    case SM_BF16:
        return sm_bf16_to_f32(sm_f32_to_bf16((float)v));
    case SM_FP32:
        return (float)v;
    default:
        return v;
    }
}

bool sm_text_opset_of(sm_sv name, int *opset) {
    char buf[32];
    for (int v = 0; v <= 10; v++) {
        if (v > 0 && v < 6)
            continue;
        if (sm_sv_is(name, sm_text_opset(v, buf, sizeof buf))) {
            *opset = v;
            return true;
        }
        snprintf(buf, sizeof buf, "CoreML%d", v - 1);
        if (v > 0 && sm_sv_is(name, buf)) {
            *opset = v;
            return true;
        }
    }
    return false;
}
