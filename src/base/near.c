/* SPDX-License-Identifier: MIT
 *
 * near.c: which known name a mistyped one was meant to be.  Pure functions; any thread.
 */
#include <limits.h>
#include <string.h>

#include "base/str.h"

/* Letters to insert, leave out or replace (Levenshtein); names longer than 63 count as far. */
static int distance(const char *a, const char *b) {
    int row[64], n = (int)strlen(b);
    if (n > 63)
        return INT_MAX;
    for (int j = 0; j <= n; j++)
        row[j] = j;
    for (int i = 0; a[i]; i++) {
        int diagonal = row[0];
        row[0] = i + 1;
        for (int j = 0; j < n; j++) {
            int replace = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = SM_MIN(replace, SM_MIN(row[j], diagonal) + 1);
        }
    }
    return row[n];
}

const char *sm_nearest(const char *word, const char *const *names, size_t n) {
    const char *best = NULL;
    int least = SM_MAX((int)strlen(word) / 2, 1); /* more letters off is another word */
    for (size_t i = 0; i < n; i++) {
        int d = distance(word, names[i]);
        if (d <= least) {
            least = d - 1;
            best = names[i];
        }
    }
    return best;
}
