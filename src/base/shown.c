/* SPDX-License-Identifier: MIT
 *
 * shown.c: untrusted text made harmless for a terminal.
 *
 * A model's text may hold any byte; escape sequences in it could recolour, rename or type into the terminal that it is
 * shown on.  All of those begin with a control character, so it is these that are spelled out: C0 as ^X, DEL as ^?, C1
 * as <9B>.  Line ends and tabs pass.  Bytes that are not UTF-8 (a terminal may take 0x9B for C1) become U+FFFD.
 */
#include "base/str.h"

void sm_str_add_shown(sm_str *out, const char *p, size_t n) {
    for (size_t i = 0; i < n;) {
        uint32_t c;
        int len = sm_utf8_decode(p + i, n - i, &c);
        if (len == 0) {
            sm_str_adds(out, "\xEF\xBF\xBD");
            i++;
            continue;
        }
        if (c < 0x20 && c != '\n' && c != '\t')
            sm_str_addf(out, "^%c", (char)(c + '@'));
        else if (c == 0x7f)
            sm_str_adds(out, "^?");
        else if (c >= 0x80 && c < 0xa0)
            sm_str_addf(out, "<%02X>", (unsigned)c);
        else
            sm_str_add(out, p + i, (size_t)len);
        i += (size_t)len;
    }
}
